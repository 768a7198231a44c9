"""The bootstrap's intervals and p values, public in :mod:`lsplus_tf.metrics.statistics`."""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from lsplus_tf.metrics.resampled_measures import Values
from lsplus_tf.metrics.resampled_statistics import Statistic

Method = Literal["percentile", "bca"]


@dataclass(frozen=True)
class Interval:
    """A value and its bootstrap confidence interval.

    Attributes
    ----------
    value : float
        The metric, or the difference, on the samples themselves.
    low, high : float
        Bounds of the interval; NaN where it does not exist.
    standard_error : float
        Standard deviation of the resampled values; NaN for a single one.
    confidence_level : float
        In (0, 1).
    method : {"percentile", "bca"}
    num_resamples : int
        Resamples drawn.
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
    method: Method
    num_resamples: int
    num_undefined: int


def bootstrap(
    statistic: Statistic,
    value: float,
    confidence_level: float,
    method: Method,
    num_resamples: int,
    seed: int,
) -> tuple[Interval, float]:
    """The interval, and the two-sided p value of zero."""
    nan = float("nan")
    if np.isnan(value):
        empty = Interval(nan, nan, nan, nan, confidence_level, method, num_resamples, num_resamples)
        return empty, nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one for each resample without a class
        drawn = statistic.resampled(np.random.default_rng(seed), num_resamples)
        left_out = statistic.without_one() if method == "bca" else np.zeros(1)
    defined = drawn[~np.isnan(drawn)]
    undefined = num_resamples - defined.size
    settings = confidence_level, method, num_resamples, undefined
    if undefined:
        warnings.warn(
            f"the metric is NaN on {undefined} of {num_resamples} resamples, which are left out "
            "(a class may be absent from them)",
            stacklevel=3,
        )
    if undefined > (1 - confidence_level) * num_resamples:
        return Interval(value, nan, nan, nan, *settings), nan
    if np.ptp(defined) == 0:
        warnings.warn(
            f"all resamples give {defined[0]:g}: the interval has no width, as the bootstrap "
            "cannot tell what the sample does not show",
            stacklevel=3,
        )
    below = _share_below(defined, value)
    if not 0.05 <= (below * defined.size + 1) / (defined.size + 2) <= 0.95:
        warnings.warn(
            f"{below:.1%} of the resampled values are below the value, {value:.4g}: resampling "
            "biases the metric by more than it varies, so that its interval cannot be trusted",
            stacklevel=3,
        )
    bias = _normal_quantile(below, defined.size) if method == "bca" else 0.0
    skew = _acceleration(left_out[~np.isnan(left_out)])
    tails = stats.norm.ppf([(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    low, high = np.quantile(defined, stats.norm.cdf(bias + _bent(bias + tails, -skew)))
    error = float(defined.std(ddof=1)) if defined.size > 1 else nan
    interval = Interval(value, float(low), float(high), error, *settings)

    # The level at which a bound is 0: the shift above, undone.
    def tail(share: float) -> float:
        shift = _normal_quantile(share, defined.size) - bias
        return float(stats.norm.cdf(_bent(shift, skew) - bias))

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
    return float(stats.norm.ppf(np.clip(share, 0.5 / (1 + size), 1 - 0.5 / (1 + size))))


def _acceleration(left_out: Values) -> float:
    deviations = left_out.mean() - left_out
    squares = np.sum(deviations**2)
    return float(np.sum(deviations**3) / (6 * squares**1.5)) if squares > 0 else 0.0


def _bent(shift: npt.ArrayLike, skew: float) -> Values:
    """shift / (1 + skew shift), which beyond its pole is as far as it goes."""
    return np.asarray(shift / np.maximum(1 + skew * np.asarray(shift), 1e-12))
