"""Decision curves of the classes of interest, and what they show in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from lsplus_tf.metrics import decision_curve, useful_thresholds
from lsplus_tf.metrics.decision import simultaneous_level
from lsplus_tf.page import Tone
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.positive import Positive, one_vs_rest, positive_classes

_MOST_RANGES = 3
ABOUT_DECISIONS = (
    "What acting on the probability of a class is worth, against acting in all cases or in none. "
    "The threshold is the probability from which on one would act: at 10%, nine needless acts "
    "weigh as much as one case that is missed."
)


@dataclass(frozen=True)
class Decisions:
    """Whether acting on the probability of a class is better than acting in all cases or in none.

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
    together : DataFrame
        The same with wider intervals, which hold at all thresholds together in 95%: what the
        sentence goes by.
    """

    name: str
    classes: tuple[str, ...]
    cases: int
    curve: pd.DataFrame
    together: pd.DataFrame

    @cached_property
    def better(self) -> list[tuple[float, float]]:
        """From which to which thresholds the model is shown to be better than both."""
        return useful_thresholds(self.together)

    @cached_property
    def worse(self) -> list[tuple[float, float]]:
        """From which to which it is shown to be worse than the better of the two."""
        # That is as good as "the other side of 0" of the same intervals.
        return useful_thresholds(self.together.assign(gain_low=-self.together["gain_high"]))

    @property
    def tone(self) -> Tone:
        """Of the sentence."""
        if self.worse:
            return "bad"
        return "good" if self.better else "unsure"

    @property
    def text(self) -> str:
        """What the intervals support, in a sentence or two."""
        model = f"Acting on the model's probability of {self.name} is"
        if self.better:
            text = (
                f"{model} better than acting in all cases or in none at thresholds "
                f"{_ranges(self.better)} (95% confidence for all thresholds together)."
            )
        else:
            text = (
                f"At no threshold is acting on the model's probability of {self.name} shown to be "
                "better than acting in all cases or in none."
            )
        if self.worse:
            which = "It is" if self.better else model
            text += (
                f" {which} worse than the better of the two at thresholds {_ranges(self.worse)}: "
                "its probabilities cannot be taken at their word there."
            )
        return text


def decisions_of(predictions: Predictions, interest: Sequence[Positive]) -> list[Decisions]:
    """The decision curve of each class of interest of which there are cases, and others.

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
    >>> found.text.partition(" at ")[0]
    "Acting on the model's probability of 1 is better than acting in all cases or in none"
    >>> found.better, found.worse, found.tone
    ([(0.11, 0.3), (0.45, 0.8)], [(0.31, 0.36)], 'bad')
    """
    if predictions.kind == "confidence":
        return []
    found = []
    for positive in interest:
        cases = one_vs_rest(predictions, positive)
        counted = cases.outcome[predictions.weights > 0]
        if counted.all() or not counted.any():
            continue
        curve = decision_curve(predictions, positive=positive)
        level = simultaneous_level(predictions, positive)
        together = decision_curve(predictions, positive=positive, confidence_level=level)
        names = predictions.class_names
        classes = tuple(names[k] for k in positive_classes(positive, names))
        number = int(np.count_nonzero(counted))
        found.append(Decisions(cases.name, classes, number, curve, together))
    return found


def _ranges(ranges: Sequence[tuple[float, float]]) -> str:
    if len(ranges) > _MOST_RANGES:
        return f"between {ranges[0][0]:.2f} and {ranges[-1][1]:.2f}, with gaps"
    texts = [
        f"from {low:.2f} to {high:.2f}" if low < high else f"of {low:.2f}" for low, high in ranges
    ]
    *others, last = texts
    return f"{', '.join(others)} and {last}" if others else last
