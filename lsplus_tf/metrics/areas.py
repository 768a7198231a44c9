"""Areas under the ROC and the precision-recall curve, and by how much each case moves them.

Both are nearly sums over the cases: of the AUROC these are DeLong's structural components, of the
average precision its infinitesimal jackknife. Cases are looked up among the different values of the
positives, which are few where a class is rare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from scipy import optimize

from lsplus_tf.errors import some_of
from lsplus_tf.metrics.intervals import Interval, linearised_interval, t_quantile
from lsplus_tf.metrics.metric import Values
from lsplus_tf.predictions import Predictions

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
        self._place = _places(ranking, levels)
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

    def held(self, units: Units) -> tuple[int, int]:
        """How many units have positives, and how many negatives."""
        return units.with_and_without(self._own)

    @property
    def auroc(self) -> float:
        """The share of pairs in which the positive ranks higher, of ties half; or NaN."""
        if not (self.positive > 0 and self.negative > 0):
            return float("nan")
        return min(1.0, float(self._positives @ self._won / self.positive))  # weights round

    def auroc_influences(self, units: Units) -> Values:
        """By how much each case (N,) moves it.

        The sum of their squares over cases, times N / (N - 1), is DeLong's variance; over G groups
        Obuchowski's but for a part of 1 / G. Of a single positive nothing is known.
        """
        value = self.auroc
        if np.isnan(value):
            return np.full(self._weights.size, np.nan)
        before = np.concatenate(([0.0], np.cumsum(self._positives)))
        above = np.empty(self._negatives.size)
        above[::2] = self.positive - before
        above[1::2] = self.positive - (before[1:] + before[:-1]) / 2
        of_own, of_others = (
            np.sqrt((1 - 1 / units.count) * each / (each - 1)) if each > 1 else 0.0
            for each in self.held(units)
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
        return min(1.0, float(self._positives @ self._precision[0] / self.positive))

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


def _places(ranking: npt.NDArray[Any], levels: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """2 l for a case above l of the sorted levels and below the next, 2 l + 1 if it ties with it.

    Looking cases up as they come is slow where the levels do not stay in the cache: of many levels
    these are looked up among the sorted cases instead.
    """
    if _FEW * levels.size < ranking.size:
        place = levels.searchsorted(ranking)
        return 2 * place + (np.append(levels, levels[-1:])[place] == ranking if levels.size else 0)
    order = ranking.argsort()
    ranked = ranking[order]
    ends = np.stack([ranked.searchsorted(levels, side) for side in _SIDES], axis=1).ravel()
    sizes = np.diff(np.concatenate(([0], ends, [ranking.size])))
    found = np.empty(ranking.size, np.intp)
    found[order] = np.repeat(np.arange(sizes.size), sizes)
    return found


_FEW = 50  # cases for each level
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


@dataclass(frozen=True)
class Area:
    """An area under a curve, and how it varies.

    Attributes
    ----------
    value : float
    influences : ndarray of float64, shape (U,)
        By how much each unit moves it.
    positives, negatives : int
        How many units hold cases of the class, and how many others.
    """

    value: float
    influences: Values
    positives: int
    negatives: int

    @cached_property
    def variance(self) -> float:
        """DeLong's or the jackknife's: of independent cases, or of groups."""
        units = self.influences.size
        if units < 2:
            return float("nan")
        return float(np.sum(self.influences**2) * units / (units - 1))

    @cached_property
    def varies(self) -> bool:
        """Whether the sample shows that it does."""
        return bool(np.abs(self.influences).max() > 1e-13)  # rounding; a case moves it by 1e-7

    @property
    def is_known(self) -> bool:
        """Whether an interval exists: not without a rest, nor where all cases rank alike."""
        return min(self.positives, self.negatives) > 0 and (
            self.varies or round(self.value, 12) in (0, 1)
        )

    @property
    def freedom(self) -> float:
        """Degrees of freedom of `excess`."""
        return min(self.positives, self.negatives) - 1 + _ADDED

    def excess(self, simple: float) -> float:
        """The variance in units of a simple model's, as if some more cases had varied as that has.

        Of few cases the variance itself is not known well, and is small just where the value is
        too large. It is what Agresti and Coull do for a share.
        """
        if not (self.varies and simple > 0):
            return 1.0
        own = self.freedom - _ADDED
        return float((own * self.variance / simple + _ADDED) / self.freedom)

    def _quantile(self, confidence_level: float) -> float:
        return t_quantile(confidence_level, self.freedom)

    def _interval(self, bounds: tuple[float, float], confidence_level: float) -> Interval:
        error, (low, high) = float(np.sqrt(self.variance)), bounds
        return Interval(self.value, low, high, error, confidence_level, "linearised", 0, 0)


_ADDED = 4  # positives and negatives


class Auroc(Area):
    """Area under the ROC curve.

    Examples
    --------
    >>> ranked = Ranked(np.array([0.1, 0.4, 0.3, 0.8]), np.array([1, 3]), np.ones(4))
    >>> found = Auroc.of(ranked, Units.of(None, 4)).interval(0.95)
    >>> found.value, round(found.low, 2), found.high
    (1.0, 0.27, 1.0)
    """

    @classmethod
    def of(cls, ranked: Ranked, units: Units) -> Auroc:
        """Of ranked cases, which are of the class and not."""
        return cls(ranked.auroc, units.totals(ranked.auroc_influences(units)), *ranked.held(units))

    def interval(self, confidence_level: float) -> Interval:
        """Newcombe's (method 5), with Hanley and McNeil's variance times the excess."""
        bounds = float("nan"), float("nan")
        if self.is_known:
            squared = self._quantile(confidence_level) ** 2 * self.excess(self._simple)
            low, below = (self._lower(value, squared) for value in (self.value, 1 - self.value))
            bounds = low, 1 - below
        return self._interval(bounds, confidence_level)

    @cached_property
    def _simple(self) -> float:
        """Hanley and McNeil's variance."""
        return self.value * (1 - self.value) * self._spread(self.value)

    @property
    def raised(self) -> float:
        """The variance that its interval has at the value."""
        return self.excess(self._simple) * self._simple

    def _lower(self, value: float, squared: float) -> float:
        """The lowest theta that is not further from the value than the quantile's errors there."""
        if round(value, 12) == 0:
            return 0.0
        if round(value, 12) == 1:  # 1 - theta taken out, which is a root too
            return float(optimize.brentq(lambda t: 1 - t - squared * t * self._spread(t), 0, 1))
        return float(
            optimize.brentq(
                lambda t: (value - t) ** 2 - squared * t * (1 - t) * self._spread(t), 0, value
            )
        )

    def _spread(self, theta: float) -> float:
        """Their variance without theta (1 - theta), for as many positives as negatives."""
        more = (self.positives + self.negatives) / 2 - 1
        found = 1 + more * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return found / (self.positives * self.negatives)


class AveragePrecision(Area):
    """Area under the precision-recall curve."""

    @classmethod
    def of(cls, ranked: Ranked, units: Units) -> AveragePrecision:
        """Of ranked cases, some of which are of the class."""
        return cls(ranked.auprc, units.totals(ranked.auprc_influences()), *ranked.held(units))

    def interval(self, confidence_level: float) -> Interval:
        """Wilson's, of a share of the positives, with the variance times the excess."""
        value, bounds = self.value, (float("nan"), float("nan"))
        if self.is_known:
            inflation = self.excess(value * (1 - value) / self.positives)
            share = self._quantile(confidence_level) ** 2 * inflation / self.positives
            centre = value + share / 2
            half = np.sqrt(share * (value * (1 - value) + share / 4))
            low, high = np.clip([centre - half, centre + half], 0, 1 + share) / (1 + share)
            bounds = float(low), float(high)
        return self._interval(bounds, confidence_level)


def ranked_classes(predictions: Predictions) -> Iterator[tuple[int, Ranked]]:
    """Each class against the rest; of two classes, the second."""
    for k, ranking in predictions.rankings():
        yield k, Ranked(ranking, np.flatnonzero(predictions.labels == k), predictions.weights)


def class_aurocs(predictions: Predictions) -> Values:
    """The AUROC of each class (K,), NaN where it lacks cases, or a rest."""
    found = [ranked.auroc for _, ranked in ranked_classes(predictions)]
    return np.full(len(predictions.class_names), found, np.float64)


def absent_classes(predictions: Predictions) -> str:
    """The names of the classes without cases."""
    totals = np.bincount(
        predictions.labels, predictions.weights, minlength=len(predictions.class_names)
    )
    return some_of([predictions.class_names[k] for k in np.flatnonzero(totals == 0)])


class MeanAuroc:
    """The mean AUROC over classes, which are added one by one.

    Before influences are added up, each class's are raised to the variance of its own interval.
    """

    def __init__(self) -> None:
        self._values: list[float] = []
        self._variances: list[float] = []
        self._freedoms: list[float] = []
        self._apart: list[float] = []
        self._influences: Any = 0.0
        self._only: Auroc | None = None

    @classmethod
    def of(
        cls, predictions: Predictions, groups: Codes | None, *, present: bool = False
    ) -> MeanAuroc:
        """Over all classes, or over those that have cases and a rest; of two, one serves both."""
        kept = None if present else _KEPT.get(predictions)
        if kept is not None and _alike(kept[0], groups):
            return kept[1]
        found, units = cls(), Units.of(groups, len(predictions))
        for _, ranked in ranked_classes(predictions):
            if not (present and np.isnan(ranked.auroc)):
                found.add(Auroc.of(ranked, units))
        return found

    def keep(self, predictions: Predictions, groups: Codes | None) -> None:
        """Keep what all classes were added to for :meth:`of`, as long as the predictions are."""
        _KEPT[predictions] = groups, self

    def add(self, area: Auroc) -> None:
        """The next class."""
        self._only = None if self._values else area
        self._values.append(area.value)
        self._freedoms.append(area.freedom)
        if area.varies:
            self._variances.append(area.raised)
            self._influences = self._influences + area.influences * np.sqrt(
                area.raised / area.variance
            )
        else:
            # All of its cases are above all others: how it varies with the others is not known.
            found = area.interval(0.95)
            loss = (found.high - found.low) / t_quantile(0.95, area.freedom)
            self._variances.append(loss**2)
            self._apart.append(loss)

    @property
    def value(self) -> float:
        """NaN where a class lacks cases, or a rest."""
        return float(np.mean(self._values)) if self._values else float("nan")

    def interval(self, confidence_level: float) -> Interval:
        """Symmetric in the log-odds of the mean; of a single class its own."""
        if self._only is not None:
            return self._only.interval(confidence_level)
        variances = np.array(self._variances)
        with np.errstate(invalid="ignore"):
            freedom = variances.sum() ** 2 / np.sum(variances**2 / self._freedoms)
        totals = np.append(self._influences, self._apart) / len(self._values)
        return linearised_interval(
            self.value,
            totals,
            None,
            confidence_level,
            scale="logit",
            bounds=(0.0, 1.0),
            freedom=float(freedom),
        )


# To rank a million cases by each class takes a second, and an audit needs it twice.
_KEPT: WeakKeyDictionary[Predictions, tuple[Codes | None, MeanAuroc]] = WeakKeyDictionary()


def _alike(first: Codes | None, second: Codes | None) -> bool:
    """Whether groups are the same."""
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)
