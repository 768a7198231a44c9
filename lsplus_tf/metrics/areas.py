"""Areas under the ROC and the precision-recall curve, and by how much each case moves them.

Both are nearly sums over the cases: of the AUROC these are DeLong's structural components, of the
average precision its infinitesimal jackknife. Cases are looked up among the different values of the
positives, which are few where a class is rare.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from lsplus_tf.metrics.intervals import Interval, linearised_interval, share_interval
from lsplus_tf.metrics.metric import Values

Codes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Units:
    """What varies independently: groups of cases, or the cases.

    Attributes
    ----------
    codes : ndarray of int, shape (N,), or None
        The number of each case's group, 0..G-1; None where each is on its own.
    sizes : ndarray of int, shape (G,)
        Cases in each.
    """

    codes: Codes | None
    sizes: npt.NDArray[np.intp]

    @classmethod
    def of(cls, groups: Codes | None, samples: int) -> Units:
        """Of group numbers as :func:`lsplus_tf.metrics.resampling.check_groups` gives them."""
        if groups is None:
            return cls(None, np.ones(samples, np.intp))
        return cls(groups, np.bincount(groups))

    @property
    def count(self) -> int:
        """How many there are."""
        return self.sizes.size

    def totals(self, values: Values) -> Values:
        """Sums (G,) of the cases' values (N,)."""
        if self.codes is None:
            return values
        return np.bincount(self.codes, values, minlength=self.count).astype(np.float64)

    def with_and_without(self, cases: npt.NDArray[np.intp]) -> tuple[int, int]:
        """How many hold some of these cases, and how many hold some of the others."""
        if self.codes is None:
            return cases.size, self.count - cases.size
        inside = np.bincount(self.codes[cases], minlength=self.count)
        return int(np.count_nonzero(inside)), int(np.count_nonzero(inside < self.sizes))


class Ranked:
    """Cases of a class and the others, ranked by how likely they are of it.

    Parameters
    ----------
    ranking : ndarray, shape (N,)
        Numbers in the order of the class's probability.
    own : ndarray of int, shape (P,)
        The positions of its cases.
    weights : ndarray of float64, shape (N,)
        What each case counts.
    """

    def __init__(
        self, ranking: npt.NDArray[Any], own: npt.NDArray[np.intp], weights: Values
    ) -> None:
        self._own, self._weights = own, weights
        levels, self._level = np.unique(ranking[own], return_inverse=True)
        # 2 l for a case below the l-th level of the positives and above the one before, 2 l + 1
        # for one that ties with it.
        place = levels.searchsorted(ranking)
        tied = np.append(levels, levels[-1:])[place] == ranking if levels.size else False
        self._place = 2 * place + tied
        mass = np.bincount(self._place, weights, minlength=2 * levels.size + 1)
        self._positives = np.bincount(self._level, weights[own], minlength=levels.size)
        mass[1::2] -= self._positives
        self._negatives = mass.clip(min=0)  # rounding may leave -1e-17 of weights
        self.positive, self.negative = self._positives.sum(), self._negatives.sum()

    @cached_property
    def _won(self) -> Values:
        """Of each level, the share of the negatives that are below, of ties half."""
        below = np.cumsum(self._negatives)[:-1:2]
        return (below + self._negatives[1::2] / 2) / self.negative

    @property
    def auroc(self) -> float:
        """The share of pairs in which the positive ranks higher, of ties half; or NaN."""
        if not (self.positive > 0 and self.negative > 0):
            return float("nan")
        return float(self._positives @ self._won / self.positive)

    def auroc_influences(self, units: Units) -> Values:
        """By how much each case (N,) moves it.

        The sum of their squares over cases, times N / (N - 1), is DeLong's variance; over groups,
        Obuchowski's. NaN where fewer than two units have positives, or negatives.
        """
        value = self.auroc
        before = np.concatenate(([0.0], np.cumsum(self._positives)))
        above = np.empty(self._negatives.size)
        above[::2] = self.positive - before
        above[1::2] = self.positive - (before[1:] + before[:-1]) / 2
        mine, others = units.with_and_without(self._own)
        of_own, of_others = (
            np.sqrt((1 - 1 / units.count) * each / (each - 1)) if each > 1 else float("nan")
            for each in (mine, others)
        )
        lost = of_others * (above / self.positive - value) / self.negative
        found = lost[self._place]
        found[self._own] = (of_own * (self._won - value) / self.positive)[self._level]
        found *= self._weights
        return found

    @cached_property
    def _precision(self) -> tuple[Values, Values]:
        """Of each level: the precision, and the weight, of all cases from there up."""
        true = np.cumsum(self._positives[::-1])[::-1]
        every = true + np.cumsum(self._negatives[::-1])[::-1][1::2]
        every = np.maximum(every, np.finfo(np.float64).tiny)
        return true / every, every

    @property
    def auprc(self) -> float:
        """Average precision; NaN without positives."""
        if not self.positive > 0:
            return float("nan")
        return float(self._positives @ self._precision[0] / self.positive)

    def auprc_influences(self) -> Values:
        """By how much each case (N,) moves it."""
        precision, every = self._precision
        share = self._positives / self.positive
        raised, lowered = (
            np.concatenate(([0.0], np.cumsum(each)))
            for each in (share / every, share * precision / every)
        )
        levels = (self._place + 1) // 2  # how many are not above the case
        found = -lowered[levels]
        found[self._own] += (
            raised[1:][self._level] + (precision - self.auprc)[self._level] / self.positive
        )
        found *= self._weights
        return found


def auroc_interval(
    value: float,
    influences: Values,
    separated: tuple[int, int],
    units: Units,
    confidence_level: float,
) -> Interval:
    """DeLong's interval of an AUROC, symmetric in its log-odds.

    Parameters
    ----------
    value : float
    influences : ndarray, shape (N,)
        As :meth:`Ranked.auroc_influences` gives them.
    separated : tuple of int
        How many units have positives, and how many negatives. Where all cases are separated the
        variance is 0, and Newcombe's interval (his method 5) takes its place, which needs no more.
    units : Units
    confidence_level : float
    """
    totals = units.totals(influences)
    if _nothing_varies(totals) and round(value, 12) in (0, 1):
        return _newcombe(round(value, 12), separated, confidence_level)
    return _on_logits(value, totals, confidence_level)


def auprc_interval(
    value: float,
    influences: Values,
    own: npt.NDArray[np.intp],
    units: Units,
    confidence_level: float,
) -> Interval:
    """The interval of an average precision, symmetric in its log-odds.

    Parameters
    ----------
    value : float
    influences : ndarray, shape (N,)
        As :meth:`Ranked.auprc_influences` gives them.
    own : ndarray of int, shape (P,)
        The positives. Where all are above all others the variance is 0, and the interval that of a
        share of the positives of which all are found.
    units : Units
    confidence_level : float
    """
    totals = units.totals(influences)
    if _nothing_varies(totals) and round(value, 12) == 1:
        groups = None if units.codes is None else units.codes[own]
        return share_interval(np.ones(own.size), groups, confidence_level)
    return _on_logits(value, totals, confidence_level)


def _on_logits(value: float, totals: Values, confidence_level: float) -> Interval:
    """NaN bounds where nothing varies: the sample does not show how the value would."""
    if _nothing_varies(totals):
        totals = np.full_like(totals, np.nan)
    return linearised_interval(
        value, totals, None, confidence_level, scale="logit", bounds=(0.0, 1.0)
    )


def _nothing_varies(totals: Values) -> bool:
    return bool(np.abs(totals).max() <= 1e-13)  # rounding; a case counts 1e-7 and more


def _newcombe(value: float, separated: tuple[int, int], confidence_level: float) -> Interval:
    """Where |value - theta| is z standard errors by Hanley and McNeil's variance at theta."""
    mine, others = separated
    quantile = stats.norm.ppf((1 + confidence_level) / 2)
    more = (mine + others) / 2 - 1

    def excess(loss: float) -> float:
        """Of a loss below 1."""
        theta = 1 - loss
        extra = 1 + more * loss / (1 + loss) + more * theta / (1 + theta)
        return float(loss - quantile**2 * theta * extra / (mine * others))

    loss = float(optimize.brentq(excess, 0.0, 1.0))
    bounds = (1 - loss, 1.0) if value == 1 else (0.0, loss)
    return Interval(value, *bounds, 0.0, confidence_level, "linearised", 0, 0)
