"""Each class against the rest: what is found of it, what is missed, and a model that is no use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lsplus_tf import metrics
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.one_vs_rest import Positive, positive_classes

_ALL_BUT = 0.01  # of the cases: a model that predicts one class but for so few predicts that class


@dataclass(frozen=True)
class ByClass:
    """Each class against the rest.

    Attributes
    ----------
    table : DataFrame
        class, metric, value, low, high, hits and cases of `lsplus_tf.metrics.class_metrics`: of the
        classes of interest first, then of the others.
    positive : tuple of str
        The classes of interest, as the table calls them; several that count as one are "a or b".
    confusion : DataFrame
        How many cases of each class, a row, are predicted as each.
    only : str or None
        The class that is predicted for all cases but 1% at most, which are of several classes.
    only_cases : int
        Of how many.
    """

    table: pd.DataFrame
    positive: tuple[str, ...]
    confusion: pd.DataFrame
    only: str | None
    only_cases: int

    def of(self, name: str, metric: str) -> pd.Series[float]:
        """The row of a class and metric."""
        table = self.table
        return table[(table["class"] == name) & (table["metric"] == metric)].iloc[0]


def by_class(predictions: Predictions, positive: Sequence[Positive] = ()) -> ByClass:
    """Measure each class against the rest.

    Parameters
    ----------
    predictions : Predictions
    positive : sequence of (str, int, or sequence of them)
        The classes of interest; several that count as one are a sequence.

    Raises
    ------
    InputError
        `positive` names what is no class.
    """
    names = predictions.class_names
    chosen = [tuple(positive_classes(each, names)) for each in positive]
    chosen = list(dict.fromkeys(chosen))
    table = metrics.class_metrics(predictions)
    if chosen:
        first = metrics.class_metrics(predictions, positive=chosen)
        others = table[~table["class"].isin(first["class"])]
        table = pd.concat([first, others], ignore_index=True)
    confusion = pd.DataFrame(
        metrics.confusion_matrix(predictions), index=pd.Index(names), columns=pd.Index(names)
    )
    counts = np.bincount(predictions.predicted, minlength=len(names))
    largest = int(counts.argmax())
    only = (
        counts[largest] >= (1 - _ALL_BUT) * len(predictions)
        and predictions.class_counts[largest] < (1 - _ALL_BUT) * len(predictions)
        and len(predictions) > 1
    )
    return ByClass(
        table,
        tuple(" or ".join(names[k] for k in each) for each in chosen),
        confusion,
        names[largest] if only else None,
        int(counts[largest]),
    )
