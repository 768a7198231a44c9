"""Decision curves of the classes of interest, and what they show in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from lsplus_tf.metrics import decision_curve, useful_thresholds
from lsplus_tf.page import Tone
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.positive import Positive, one_vs_rest, positive_classes

_MOST_RANGES = 3


@dataclass(frozen=True)
class Decisions:
    """Whether a class is better treated by the model than in all cases or in none.

    Attributes
    ----------
    name : str
        Of the class; of several that count as one with " or " between them.
    classes : tuple of str
        The class, or the several.
    cases : int
        Of the class.
    curve : DataFrame
        Of :func:`lsplus_tf.metrics.decision_curve`.
    """

    name: str
    classes: tuple[str, ...]
    cases: int
    curve: pd.DataFrame

    @cached_property
    def better(self) -> list[tuple[float, float]]:
        """From which to which thresholds the model is shown to be better than both."""
        return useful_thresholds(self.curve)

    @cached_property
    def worse(self) -> list[tuple[float, float]]:
        """From which to which it is shown to be worse than the better of the two."""
        # That is as good as "the other side of 0" of the same intervals.
        return useful_thresholds(self.curve.assign(gain_low=-self.curve["gain_high"]))

    @property
    def tone(self) -> Tone:
        """Of the sentence."""
        if self.worse:
            return "bad"
        return "good" if self.better else "unsure"

    @property
    def text(self) -> str:
        """What the intervals support, in a sentence or two."""
        model = f"Treating {self.name} by the model is"
        if self.better:
            text = (
                f"{model} better than treating all or none at thresholds {_ranges(self.better)} "
                "(95% intervals, each threshold on its own)."
            )
        else:
            text = (
                f"At no threshold is treating {self.name} by the model shown to be better than "
                "treating all or none."
            )
        if self.worse:
            which = "It is" if self.better else model
            text += (
                f" {which} worse than the better of the two at thresholds {_ranges(self.worse)}: "
                "its probabilities cannot be taken at their word there."
            )
        return text


def decisions_of(predictions: Predictions, interest: Sequence[Positive]) -> list[Decisions]:
    """The decision curve of each class of interest.

    Parameters
    ----------
    predictions : Predictions
        Of the confidence alone there are none.
    interest : sequence of Positive
        Each a class, or several that count as one.

    Returns
    -------
    list of Decisions

    Examples
    --------
    >>> second = np.array([0.1, 0.4, 0.3, 0.8] * 50)
    >>> predictions = Predictions([0, 0, 1, 1] * 50, np.stack([1 - second, second], axis=1))
    >>> (found,) = decisions_of(predictions, [1])
    >>> found.tone, found.text.partition(" at ")[0]
    ('good', 'Treating 1 by the model is better than treating all or none')
    """
    if predictions.kind == "confidence":
        return []
    found = []
    for positive in interest:
        cases = one_vs_rest(predictions, positive)
        curve = decision_curve(predictions, positive=positive)
        names = predictions.class_names
        classes = tuple(names[k] for k in positive_classes(positive, names))
        found.append(Decisions(cases.name, classes, int(np.count_nonzero(cases.outcome)), curve))
    return found


def _ranges(ranges: Sequence[tuple[float, float]]) -> str:
    if len(ranges) > _MOST_RANGES:
        return f"between {ranges[0][0]:.2f} and {ranges[-1][1]:.2f}, with gaps"
    texts = [
        f"from {low:.2f} to {high:.2f}" if low < high else f"of {low:.2f}" for low, high in ranges
    ]
    *others, last = texts
    return f"{', '.join(others)} and {last}" if others else last
