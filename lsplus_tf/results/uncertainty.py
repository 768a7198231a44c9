"""How sure the rows of an experiment's table are: intervals, and tests against the first row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lsplus_tf import run_comparison
from lsplus_tf.metrics.method_comparison import Difference, judge
from lsplus_tf.predictions import Predictions
from lsplus_tf.results import tables
from lsplus_tf.results.finished import Results, Row
from lsplus_tf.run_comparison import Measure, Resampled

METRICS = {column.key: column for column in tables.COLUMNS if column.key in tables.MAIN}
# Images times predictions times resamples that take some ten seconds of one core; for the AUROC,
# for which each class is sorted, times classes, half a minute.
_WORK = _AUROC_WORK = 2e9
_FEWEST, _MOST = 400, 2000
_MOST_UNDEFINED = 0.05
_LARGEST = {"ce": float("inf"), "brier": 2.0}  # of the others 1; bounds may lie beyond


@dataclass(frozen=True)
class Uncertainty:
    """Intervals of the main metrics of every row, and tests against the first row.

    Both are about *the method with new seeds on new images*: the images of the test split are
    resampled, for all rows and seeds at once, and the spread of the seeds is added, as
    `lsplus_tf.metrics.method_comparison` defines it. Rows of the same networks, such as a method
    with and without a calibrator, are compared seed by seed. Rows of different methods are not,
    though the same seed gives them the same initial weights: in docs/results pairs make the
    intervals half as wide to 1.6 times as wide, as often wider as narrower.

    Attributes
    ----------
    intervals : low and high by row (its key) and metric: 95%, as fractions. Without a metric where
        a class is absent from more than 5% of the resamples, and without the AUROC where it would
        take minutes.
    single : keys of the rows with a single prediction, of one seed or an ensemble. Their intervals
        are about *these networks on new images*, and nothing can be said of the method.
    differences : by row and metric, less the first row, as fractions, of all rows but the first.
    resamples : how many were drawn.
    images : how many there are.
    groups : of how many patients or the like they are, which are then drawn as a whole; None where
        that is not known.
    """

    intervals: dict[tuple[str, str], tuple[float, float]]
    single: frozenset[str]
    differences: dict[tuple[str, str], Difference]
    resamples: int
    images: int
    groups: int | None

    def frame(self) -> pd.DataFrame:
        """One line for each row and metric, for a CSV file."""
        lines = []
        for (row, metric), (low, high) in self.intervals.items():
            found = self.differences.get((row, metric))
            against = {f"difference_{k}": v for k, v in vars(found).items()} if found else {}
            about = "networks" if row in self.single else "method"
            line = {"method": row, "metric": metric, "about": about, "low": low, "high": high}
            lines.append(line | against)
        return pd.DataFrame(lines)


def measure_uncertainty(results: Results, *, seed: int = 0) -> Uncertainty:
    """Resample the test split 2,000 times; of many images and runs fewer times, at least 400."""
    predictions = {row.key: results.predictions(row) for row in results.rows}
    count = sum(map(len, predictions.values()))
    first = predictions[results.rows[0].key]
    images, classes = first[0].scores.shape
    groups = _groups(results)
    resamples = int(np.clip(_WORK / (images * count), _FEWEST, _MOST))
    keys = list(METRICS)
    if images * count * resamples * classes > _AUROC_WORK:
        keys.remove("auroc")
    measures = {
        (metric, row): [_measure(metric, prediction) for prediction in each]
        for metric in keys
        for row, each in predictions.items()
    }
    # A class may be absent from a resample, whose AUROC is then not a number.
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = run_comparison.resample(measures, images, resamples, seed, groups)
    single = frozenset(row for row, each in predictions.items() if len(each) == 1)
    intervals = {}
    differences = {}
    for metric in keys:
        found = {row: resampled[metric, row] for row in predictions}
        if any(np.isnan(each.drawn).mean() > _MOST_UNDEFINED for each in found.values()):
            continue
        for row, each in found.items():
            low, high = each.interval() if row in single else each.method_interval()
            intervals[row, metric] = max(low, 0.0), min(high, _LARGEST.get(metric, 1.0))
        for row, difference in _differences(results, METRICS[metric].better, found).items():
            differences[row, metric] = difference
    number = None if groups is None else np.unique(groups).size
    return Uncertainty(intervals, single, differences, resamples, images, number)


def _groups(results: Results) -> NDArray[np.intp] | None:
    """The groups of the test images, if a run says them; those of older versions do not."""
    for run in results.runs:
        found = results.saved(run, "test")
        if found.group_names is not None and len(found.group_names) > 1:
            return found.groups
    return None


def _measure(metric: str, predictions: Predictions) -> Measure:
    """A metric as the table has it, in the LS+ paper's convention."""
    labels, single = predictions.labels, predictions.probabilities.astype(np.float32)
    match metric:
        case "accuracy":
            largest = single == single.max(axis=1, keepdims=True)
            right = largest[np.arange(labels.size), labels] & (largest.sum(axis=1) == 1)
            return run_comparison.mean_of(right.astype(np.float64))
        case "ce":
            true = predictions.true_probability.astype(np.float64)
            return run_comparison.mean_of(-np.log(true.clip(1e-7, 1 - 1e-7)))
    return run_comparison.measure_of(metric, labels, single)


def _differences(
    results: Results, better: int, found: Mapping[str, Resampled]
) -> dict[str, Difference]:
    """Each row less the first, a family of tests."""
    first, *others = results.rows
    estimates = {
        row.key: found[row.key].difference(found[first.key], paired=_same_networks(row, first))
        for row in others
    }
    return judge(estimates, dict.fromkeys(estimates, better))


def _same_networks(row: Row, other: Row) -> bool:
    return (row.method, row.seeds, row.ensemble) == (other.method, other.seeds, other.ensemble)
