"""Each class against the rest: what is found of it, what is missed, and a model that is no use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from lsplus_tf import metrics
from lsplus_tf.auditing.decisions import Decisions, decisions_of
from lsplus_tf.auditing.operating import OperatingPoints, found_by_subgroup, operating_points
from lsplus_tf.metrics.degenerate import constant_class
from lsplus_tf.metrics.one_vs_rest import those_first
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.positive import Positive, positive_classes


@dataclass(frozen=True)
class ByClass:
    """Each class against the rest.

    Attributes
    ----------
    table : DataFrame
        class, metric, value, low, high, hits and cases of `lsplus_tf.metrics.class_metrics`: of the
        classes of interest first, then of the others.
    calibration : DataFrame or None
        class, metric, value, low and high of `lsplus_tf.metrics.calibration_summary`, in the same
        order, last the class "" for all together; None of the confidence alone.
    decisions : list of Decisions
        The decision curves of the classes of interest; of two classes without such, of the second.
    operating : OperatingPoints or None
        The classes of interest at fixed sensitivities and specificities; None where there are no
        such classes, and of the confidence alone.
    by_subgroup : DataFrame
        What is found of them in each subgroup; without rows where there are none.
    positive : tuple of str
        The classes of interest, as the table calls them; several that count as one are "a or b".
    numbers : tuple of tuple of int
        The same by the numbers of the classes.
    confusion : DataFrame
        How many cases of each class, a row, are predicted as each.
    only : str or None
        The class that is predicted for all cases, by `lsplus_tf.metrics.degenerate`.
    only_cases : int
        Of how many.
    """

    table: pd.DataFrame
    calibration: pd.DataFrame | None
    decisions: list[Decisions]
    operating: OperatingPoints | None
    by_subgroup: pd.DataFrame
    positive: tuple[str, ...]
    numbers: tuple[tuple[int, ...], ...]
    confusion: pd.DataFrame
    only: str | None
    only_cases: int

    def of(self, name: str, metric: str) -> dict[str, float]:
        """The numbers of a class and metric, by the table's columns."""
        return self._rows[name, metric]

    def calibration_of(self, name: str, metric: str) -> dict[str, float]:
        """Those of its calibration; of the name "" of all classes together."""
        return self._calibration_rows[name, metric]

    @cached_property
    def names(self) -> list[str]:
        """The classes as the table has them."""
        return list(dict.fromkeys(self.table["class"]))

    @cached_property
    def _rows(self) -> dict[tuple[str, str], dict[str, float]]:
        return _by_class_and_metric(self.table)

    @cached_property
    def _calibration_rows(self) -> dict[tuple[str, str], dict[str, float]]:
        assert self.calibration is not None
        return _by_class_and_metric(self.calibration)


def _by_class_and_metric(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, float]]:
    columns = [str(column) for column in table if column not in ("class", "metric")]
    keys = zip(table["class"], table["metric"], strict=True)
    rows = table[columns].to_numpy(np.float64).tolist()
    return {key: dict(zip(columns, row, strict=True)) for key, row in zip(keys, rows, strict=True)}


def by_class(
    predictions: Predictions,
    positive: Sequence[Positive] = (),
    thresholds_from: Predictions | None = None,
) -> ByClass:
    """Measure each class against the rest.

    Parameters
    ----------
    predictions : Predictions
    positive : sequence of str, int or sequence
        The classes of interest; several that count as one are a sequence.
    thresholds_from : Predictions, optional
        Of other cases, on which the thresholds of fixed rates are chosen.

    Raises
    ------
    InputError
        `positive` names what is no class.
    """
    names = predictions.class_names
    chosen = [tuple(positive_classes(each, names)) for each in positive]
    chosen = list(dict.fromkeys(chosen))
    table = those_first(metrics.class_metrics, predictions, chosen)
    calibration = None
    if predictions.kind == "confidence":
        table = table[~table["metric"].isin(["auroc", "auprc"])].reset_index(drop=True)
    else:
        calibration = those_first(metrics.calibration_summary, predictions, chosen)
    curves = chosen or [(1,)] if len(names) == 2 else chosen
    confusion = pd.DataFrame(
        metrics.confusion_matrix(predictions), index=pd.Index(names), columns=pd.Index(names)
    )
    only = constant_class(predictions)
    return ByClass(
        table,
        calibration,
        decisions_of(predictions, curves),
        operating_points(predictions, chosen, thresholds_from),
        found_by_subgroup(predictions, chosen),
        tuple(" or ".join(names[k] for k in each) for each in chosen),
        tuple(chosen),
        confusion,
        None if only is None else names[only],
        int(np.count_nonzero(predictions.predicted == only)),
    )
