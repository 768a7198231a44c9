"""Confidence intervals from resamples: their three methods, and a fourth for shares.

* percentile: the quantiles of the resampled values.
* bca: those that correct for the median's bias and for the skewness, which the values with one unit
  left out in turn give.
* reflected: the value less the resamples' deviations from it. For metrics that are too large in a
  finite sample, and larger still in a resample of it, as binned calibration errors are: where the
  percentiles lie too high by the sample's excess and the resamples', it takes the second off the
  first. In a simulation of two-class models whose confidence was 0.02, 0.05 or 0.1 above the
  accuracy, 200 samples each of 100 to 5,000 cases, reflected 95% intervals covered the true ECE in
  73 to 94%, the MCE in 72 to 90%, and from 1,000 cases on the ACE in 86 to 94%, in fewer below (48
  to 90%); percentiles in 0 to 97%, fewest with few cases, and the MCE in at most 3%.
* agresti_coull: of a share of the cases, as if two more had counted and two more had not. Twenty
  cases of which all are right have an interval of some width then, which no resample of them gives.
* linearised: of what is nearly a sum over the cases, by the variance of that sum over the units, as
  DeLong's of an AUROC is. :func:`~lsplus_tf.metrics.delong_interval` says how far that covers.

What a metric's record says is the one that :func:`~lsplus_tf.metrics.bootstrap_interval`, an audit
and a report take. No interval ends beyond the values that there can be.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from lsplus_tf.metrics.metric import IntervalMethod, Values


@dataclass(frozen=True)
class Interval:
    """A value and its confidence interval.

    Attributes
    ----------
    value : float
        The metric, or the difference, on the samples themselves.
    low, high : float
        Bounds of the interval; NaN where it does not exist.
    standard_error : float
        Standard deviation of the resampled values, NaN for a single one; for "agresti_coull" that
        of the share with the four cases more, for "linearised" that of the sum.
    confidence_level : float
        In (0, 1).
    method : {"percentile", "bca", "reflected", "agresti_coull", "linearised"}
    num_resamples : int
        Resamples drawn; none for the last two.
    num_undefined : int
        Those among them on which the metric is not defined.

    Examples
    --------
    >>> from lsplus_tf.metrics import bootstrap_interval
    >>> interval = bootstrap_interval("accuracy", [0, 1] * 20, [[0.8, 0.2], [0.6, 0.4]] * 20)
    >>> interval.value, interval.low < 0.5 < interval.high
    (0.5, True)
    """

    value: float
    low: float
    high: float
    standard_error: float
    confidence_level: float
    method: IntervalMethod
    num_resamples: int
    num_undefined: int


def share_interval(
    hits: Values,
    groups: npt.NDArray[np.intp] | None,
    confidence_level: float,
    weights: Values | None = None,
    *,
    extra: tuple[float, float] = (0.0, np.inf),
) -> Interval:
    """Agresti and Coull's interval of the share of hits; cases of a group vary together.

    Parameters
    ----------
    hits : ndarray, shape (n,)
        1 or 0 of the cases that count: of a sensitivity those of the class.
    groups : ndarray of int, shape (n,), or None
    confidence_level : float
    weights : ndarray of float64, shape (n,), optional
        What each case counts; the four that are added count as much as the mean one.
    extra : tuple of float
        A variance that is added, as where what a hit is was chosen on these cases, and its degrees
        of freedom, which make those of the sum after Welch and Satterthwaite.
    """
    weights = np.ones(hits.size) if weights is None else weights
    if not weights.sum() > 0:
        nan = float("nan")
        return Interval(nan, nan, nan, nan, confidence_level, "agresti_coull", 0, 0)
    weights = weights / weights.mean()
    value = float(np.average(hits, weights=weights).clip(0, 1))  # weights round
    centre = (weights @ hits + 2) / (hits.size + 4)
    added = np.array([0.0, 0.0, 1.0, 1.0]) - centre
    error, freedom = mean_error(weights * (hits - centre), added, groups)
    if extra[0] > 0 and freedom > 0:
        parts = np.array([(error**2, freedom), extra])
        error = float(np.sqrt(parts[:, 0].sum()))
        freedom = error**4 / (parts[:, 0] ** 2 / parts[:, 1]).sum()
    half = t_quantile(confidence_level, freedom) * error
    low, high = np.clip((centre - half, centre + half), 0, 1)
    bounds = float(low), float(high)
    return Interval(value, *bounds, error, confidence_level, "agresti_coull", 0, 0)


def exact_interval(
    hits: Values,
    groups: npt.NDArray[np.intp] | None,
    confidence_level: float,
    weights: Values | None = None,
) -> tuple[float, float]:
    """Clopper and Pearson's interval of the share of hits; cases of a group vary together.

    With groups or weights it is that of as many independent cases as have the same variance, fewer
    where it is known from a few groups alone (Korn and Graubard 1998; `svyciprop` of R's survey).

    Parameters
    ----------
    hits : ndarray, shape (n,)
        1 or 0 of the cases that count.
    groups : ndarray of int, shape (n,), or None
        Numbers from 0 on, not too large.
    confidence_level : float
    weights : ndarray of float64, shape (n,), optional

    Returns
    -------
    low, high : float
        0 and 1 of a single group, NaN where no case counts.
    """
    low, high = exact_intervals([Share.of(hits, groups, weights)], confidence_level)
    return float(low[0]), float(high[0])


class Share(NamedTuple):
    """A share of hits, and how much is known of it.

    Attributes
    ----------
    value : float
        NaN where no case counts.
    samples : int
        Cases.
    effect : float
        Their design effect.
    units : int
        Groups; 0 where each case is on its own.
    """

    value: float
    samples: int
    effect: float
    units: int

    @classmethod
    def of(
        cls,
        hits: Values,
        groups: npt.NDArray[np.intp] | None,
        weights: Values | None = None,
    ) -> Share:
        """Of hits (n,), of which the others are as :func:`exact_interval` takes them."""
        if not (hits.size if weights is None else weights.sum()) > 0:
            return cls(float("nan"), 0, 1.0, 0)
        units = 0 if groups is None else int(np.count_nonzero(np.bincount(groups)))
        effect = design_effect(hits, groups, weights)
        return cls(float(np.average(hits, weights=weights)), hits.size, effect, units)


def exact_intervals(shares: Sequence[Share], confidence_level: float) -> tuple[Values, Values]:
    """:func:`exact_interval` of several shares at once, which is faster than one by one."""
    tail = (1 - confidence_level) / 2
    value, samples, effect, units = np.array(shares, np.float64).reshape(-1, 4).T
    cases = samples / effect
    some = units > 1
    known = special.stdtrit(samples[some] - 1, tail) / special.stdtrit(units[some] - 1, tail)
    cases[some] *= known**2
    hits, misses = value * cases, (1 - value) * cases
    with np.errstate(invalid="ignore"):
        low = np.where(value > 0, special.betaincinv(hits, misses + 1, tail), 0.0)
        high = np.where(value < 1, special.betaincinv(hits + 1, misses, 1 - tail), 1.0)
    low[units == 1], high[units == 1] = 0.0, 1.0
    nothing = np.isnan(value)
    low[nothing], high[nothing] = np.nan, np.nan
    return low, high


def design_effect(
    values: Values, groups: npt.NDArray[np.intp] | None, weights: Values | None = None
) -> float:
    """By how much groups and weights increase the variance of a mean, at least 1."""
    if weights is None and groups is None:
        return 1.0
    shares = None if weights is None else weights / weights.mean()
    totals = values - np.average(values, weights=shares)
    squares = totals**2
    if shares is not None:
        totals, squares = shares * totals, shares * squares
    alone = np.sum(squares)
    if alone == 0:  # all are alike, which does not show that groups vary together
        return 1.0 if shares is None else float(np.mean(shares**2))
    if groups is not None:
        totals = np.bincount(groups, totals).astype(np.float64, copy=False)
    return float(max(1.0, np.sum(totals**2) / alone))


def linearised_interval(
    value: float,
    influences: Values,
    groups: npt.NDArray[np.intp] | None,
    confidence_level: float,
    *,
    scale: Scale = "identity",
    bounds: tuple[float, float] = (-np.inf, np.inf),
    freedom: float | None = None,
) -> Interval:
    """The interval of what is nearly a sum over the cases: Student's t on a scale of its own.

    Parameters
    ----------
    value : float
    influences : ndarray of float64, shape (N,)
        By how much each case moves the value: its deviation is nearly their sum. They contain the
        cases' weights, and are divided by their total already.
    groups : ndarray of int, shape (N,), or None
        Cases of a group vary together: their influences are added up before they are squared.
    confidence_level : float
    scale : {"identity", "logit", "log"}
        On which the interval is symmetric: a share near 0 or 1 and a ratio have none that is so on
        their own. At the ends of a scale, where the value has no finite place, it is not used.
    bounds : tuple of float
        Of the value.
    freedom : float, optional
        Degrees of freedom of the variance, by default one less than units.

    Returns
    -------
    Interval
        The standard error is on the scale of the value.
    """
    settings: tuple[float, IntervalMethod, int, int] = confidence_level, "linearised", 0, 0
    totals = influences
    if groups is not None:
        totals = np.bincount(pd.factorize(groups)[0], influences).astype(np.float64)
    units, nan = totals.size, float("nan")
    if units < 2 or not np.isfinite(value):
        return Interval(value, nan, nan, nan, *settings)
    error = float(np.sqrt(np.sum(totals**2) * units / (units - 1)))
    to, slope, back = _SCALES[scale]
    with np.errstate(divide="ignore", invalid="ignore"):  # at the ends of a scale
        place, steep = float(to(np.float64(value))), float(slope(np.float64(value)))
    if not np.isfinite(place):
        (to, slope, back), place, steep = _SCALES["identity"], value, 1.0
    freedom = units - 1 if freedom is None else freedom
    half = t_quantile(confidence_level, freedom) * error * steep
    low, high = np.clip(back(np.array([place - half, place + half])), *bounds)
    return Interval(value, float(low), float(high), error, *settings)


Scale = Literal["identity", "logit", "log"]
# Onto a scale, the slope there, and back.
_SCALES: dict[Scale, tuple[Callable[[Any], Any], ...]] = {
    "identity": (lambda value: value, lambda value: 1.0, lambda place: place),
    "logit": (special.logit, lambda value: 1 / (value * (1 - value)), special.expit),
    "log": (np.log, lambda value: 1 / value, np.exp),
}


@lru_cache(maxsize=1024)
def t_quantile(confidence_level: float, freedom: float) -> float:
    """Of Student's t, what a two-sided interval is wide by on each side; often of the same."""
    return float(special.stdtrit(freedom, (1 + confidence_level) / 2))


def mean_error(
    residuals: Values, added: Values, groups: npt.NDArray[np.intp] | None
) -> tuple[float, float]:
    """The standard error of a mean, and its degrees of freedom: the sandwich of the groups' sums.

    Parameters
    ----------
    residuals : ndarray of float64, shape (N,)
        From the mean.
    added : ndarray of float64
        Those of cases that are made up, each on its own.
    groups : ndarray of int, shape (N,), or None
        Cases of a group vary together.

    Returns
    -------
    error, freedom : float
        NaN and 0 where there is a single unit.
    """
    samples = residuals.size + added.size
    totals, units = residuals, samples
    if groups is not None:
        totals = np.bincount(pd.factorize(groups)[0], residuals).astype(np.float64)
        units = totals.size
    if units < 2:
        return float("nan"), 0
    squares = np.sum(totals**2) + np.sum(added**2)
    return float(np.sqrt(squares * units / (units - 1)) / samples), units - 1


def bootstrap(
    value: float,
    drawn: Values,
    left_out: Values,
    confidence_level: float,
    method: IntervalMethod,
    bounds: tuple[float, float] | None,
    stacklevel: int = 3,
) -> tuple[Interval, float]:
    """The interval, and the two-sided p value of zero.

    Parameters
    ----------
    value : float
    drawn : ndarray of float64, shape (M,)
        On resamples.
    left_out : ndarray of float64, shape (U,)
        Without each unit in turn, for "bca".
    confidence_level : float
    method : {"percentile", "bca", "reflected"}
    bounds : tuple of float, or None
        Of the metric; None of a difference. Where all resamples are alike a metric has no interval,
        and a difference one without width.
    stacklevel : int
        How far up the warnings point.
    """
    nan, num_resamples = float("nan"), drawn.size
    if np.isnan(value):
        empty = Interval(nan, nan, nan, nan, confidence_level, method, num_resamples, num_resamples)
        return empty, nan
    defined = drawn[~np.isnan(drawn)]
    undefined = num_resamples - defined.size
    settings = confidence_level, method, num_resamples, undefined
    if undefined:
        warnings.warn(
            f"the metric is NaN on {undefined} of {num_resamples} resamples, which are left out "
            "(a class may be absent from them)",
            stacklevel=stacklevel,
        )
    if undefined > (1 - confidence_level) * num_resamples:
        return Interval(value, nan, nan, nan, *settings), nan
    error = float(defined.std(ddof=1)) if defined.size > 1 else nan
    if np.ptp(defined) <= rounding(value):
        what = "there is no interval" if bounds else "the interval has no width"
        warnings.warn(
            f"all resamples give {defined[0]:g}: {what}, as the bootstrap cannot tell what the "
            "sample does not show",
            stacklevel=stacklevel,
        )
        if bounds:
            return Interval(value, nan, nan, error, *settings), nan
    if method == "reflected":
        defined = 2 * value - defined
    below = _share_below(defined, value)
    outside = not 0.05 <= (below * defined.size + 1) / (defined.size + 2) <= 0.95
    if outside and method != "reflected":
        warnings.warn(
            f"{below:.1%} of the resampled values are below the value, {value:.4g}: resampling "
            "biases the metric by more than it varies, so that its interval cannot be trusted",
            stacklevel=stacklevel,
        )
    bias = _normal_quantile(below, defined.size) if method == "bca" else 0.0
    skew = _acceleration(left_out[~np.isnan(left_out)]) if method == "bca" else 0.0
    tails = special.ndtri([(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    ends = np.quantile(defined, special.ndtr(bias + _bent(bias + tails, -skew)))
    low, high = np.clip(ends, *(bounds or (-np.inf, np.inf)))
    interval = Interval(value, float(low), float(high), error, *settings)

    # The level at which a bound is 0: the shift above, undone.
    def tail(share: float) -> float:
        shift = _normal_quantile(share, defined.size) - bias
        return float(special.ndtr(_bent(shift, skew) - bias))

    not_above = (1 + np.count_nonzero(defined <= 0)) / (1 + defined.size)
    not_below = (1 + np.count_nonzero(defined >= 0)) / (1 + defined.size)
    smaller = min(tail(not_above), 1 - tail(1 - not_below))
    return interval, float(np.clip(2 * smaller, 2 / (1 + defined.size), 1))


def rounding(value: float) -> float:
    """What sums in another order may be off by, generously."""
    return 1e-12 * max(1.0, abs(value))


def _share_below(values: Values, point: float) -> float:
    """Share of values below the point, those equal to it but for rounding by half."""
    margin = rounding(point)
    below, not_above = values < point - margin, values <= point + margin
    return float((below.mean() + not_above.mean()) / 2)


def _normal_quantile(share: float, size: int) -> float:
    """Quantile of a share that is known to half a value of `size`, and so never infinite."""
    return float(special.ndtri(np.clip(share, 0.5 / (1 + size), 1 - 0.5 / (1 + size))))


def _acceleration(left_out: Values) -> float:
    deviations = left_out.mean() - left_out
    squares = np.sum(deviations**2)
    return float(np.sum(deviations**3) / (6 * squares**1.5)) if squares > 0 else 0.0


def _bent(shift: npt.ArrayLike, skew: float) -> Values:
    """shift / (1 + skew shift), which beyond its pole is as far as it goes."""
    return np.asarray(shift / np.maximum(1 + skew * np.asarray(shift), 1e-12))
