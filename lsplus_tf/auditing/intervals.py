"""Bootstrap intervals of many metrics, quick enough for a million cases."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lsplus_tf.auditing.gaps import Groups
from lsplus_tf.metrics import _resampling, bootstrap_interval
from lsplus_tf.metrics._predictions import FloatArray

BLOCKS = 5_000
RANKED = 10_000
_RANKED_VALUES = 200_000  # cases times classes

Bounds = tuple[float, float]


def units_to_draw(samples: int, groups: Groups, seed: int) -> Groups:
    """What the bootstrap draws: the groups, or 5,000 random blocks of cases or groups if more.

    The sum over a random block varies as those of its cases do together, so that resampled blocks
    give a mean the same standard error, known to 1% as there are so many.
    """
    units = samples if groups is None else int(groups.max()) + 1
    if units <= BLOCKS:
        return groups
    blocks = np.random.default_rng(seed).permutation(units) % BLOCKS
    return blocks if groups is None else blocks[groups]


def rows_to_rank(samples: int, classes: int, groups: Groups, seed: int) -> npt.NDArray[np.intp]:
    """A random choice of the cases, of whole groups, that is small enough to be sorted often."""
    most = min(RANKED, max(1000, _RANKED_VALUES // classes))
    if samples <= most:
        return np.arange(samples)
    rng = np.random.default_rng(seed)
    if groups is None:
        return np.sort(rng.choice(samples, most, replace=False))
    order = rng.permutation(int(groups.max()) + 1)
    sizes = np.bincount(groups)[order]
    taken = order[: max(2, int(np.searchsorted(np.cumsum(sizes), most)))]
    return np.flatnonzero(np.isin(groups, taken))


def bootstrap_bounds(
    values: Mapping[str, float],
    probabilities: FloatArray,
    labels: npt.NDArray[np.int64],
    groups: Groups,
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, Bounds]:
    """95% bounds of metrics, given by name with their values.

    They are those of :func:`~lsplus_tf.metrics.bootstrap_interval`. Metrics that are not made of
    sums over the cases are resampled on a random part of more than 10,000 (fewer with many
    classes), and the interval is narrowed by the square root of that part's share of the units.
    Bounds are NaN where all resamples are alike, or the metric is undefined on too many.
    """
    samples, classes = probabilities.shape
    bounds = dict.fromkeys(values, (float("nan"), float("nan")))
    if samples < 2:
        return bounds
    everything: tuple[Any, Groups, float] = (
        slice(None),
        units_to_draw(samples, groups, seed),
        1.0,
    )
    part = rows_to_rank(samples, classes, groups, seed)
    part_groups = None if groups is None else groups[part]
    narrower = float(np.sqrt(_units(part.size, part_groups) / _units(samples, groups)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what they say is in the audit's notes
        for metric, value in values.items():
            ranked = metric in _resampling.WEIGHTED
            rows, units, factor = (part, part_groups, narrower) if ranked else everything
            interval = bootstrap_interval(
                metric,
                probabilities[rows],
                labels[rows],
                groups=units,
                num_resamples=num_resamples,
                seed=seed,
            )
            if interval.low < interval.high:
                low, high = interval.low - interval.value, interval.high - interval.value
                bounds[metric] = value + factor * low, value + factor * high
    return bounds


def _units(samples: int, groups: Groups) -> int:
    return samples if groups is None else np.unique(groups).size
