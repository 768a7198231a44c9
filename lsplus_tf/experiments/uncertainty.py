"""How sure the rows of an experiment's table are: intervals, and tests against the first row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lsplus_tf import run_comparison, tables
from lsplus_tf.experiments.gather import Results
from lsplus_tf.metrics import holm
from lsplus_tf.predictions import Predictions
from lsplus_tf.run_comparison import Measure, Resampled

METRICS = {column.key: column for column in tables.COLUMNS if column.key in tables.MAIN}
# Images times predictions times resamples that take some ten seconds of one core; for the AUROC,
# for which each class is sorted, times classes, half a minute.
_WORK = _AUROC_WORK = 2e9
_FEWEST, _MOST = 400, 2000
# The smallest p value is 2 / (1 + resamples), which Holm's correction multiplies by the tests.
_FEWEST_PER_TEST = 100
_MOST_UNDEFINED = 0.05
_LARGEST = {"ce": float("inf"), "brier": 2.0}  # of the others 1; reflected bounds may lie beyond


@dataclass(frozen=True)
class Difference:
    """A metric of a row less the first row's.

    Attributes
    ----------
    value, low, high : with the 95% percentile interval.
    p : two-sided.
    p_holm : corrected over the rows, metric by metric.
    verdict : of the row: better, worse or undecided.
    """

    value: float
    low: float
    high: float
    p: float
    p_holm: float
    verdict: str


@dataclass(frozen=True)
class Uncertainty:
    """Intervals of the main metrics of every row, and paired tests against the first row.

    The images of the test split are resampled, for all rows and seeds at once, and the mean over
    the seeds is taken anew; see `lsplus_tf.run_comparison`. The trained networks stay as they are.

    Attributes
    ----------
    intervals : low and high by row (its key) and metric: 95%, as fractions, reflected. Without a
        metric where a class is absent from more than 5% of the resamples, and without the AUROC
        where it would take minutes.
    differences : by row and metric, as fractions, of all rows but the first.
    resamples : how many were drawn.
    images : how many there are.
    groups : of how many patients or the like they are, which are then drawn as a whole; None where
        that is not known.
    """

    intervals: dict[tuple[str, str], tuple[float, float]]
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
            lines.append({"method": row, "metric": metric, "low": low, "high": high, **against})
        return pd.DataFrame(lines)


def measure_uncertainty(results: Results, *, seed: int = 0) -> Uncertainty:
    """Resample the test split 2,000 times; of many images and runs fewer times, at least 400.

    Of more than 20 rows more often, or no difference could be shown after Holm's correction.
    """
    predictions = {row.key: results.predictions(row) for row in results.rows}
    count = sum(map(len, predictions.values()))
    first = predictions[results.rows[0].key]
    images, classes = first[0].scores.shape
    groups = _groups(results)
    resamples = _number_of_resamples(images * count, len(predictions))
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
    intervals = {}
    differences = {}
    for metric in keys:
        found = {row: resampled[metric, row] for row in predictions}
        if any(np.isnan(each.drawn).mean() > _MOST_UNDEFINED for each in found.values()):
            continue
        for row, each in found.items():
            low, high = Resampled(each.values, each.drawn[~np.isnan(each.drawn)]).interval()
            intervals[row, metric] = max(low, 0.0), min(high, _LARGEST.get(metric, 1.0))
        for row, difference in _differences(metric, found).items():
            differences[row, metric] = difference
    number = None if groups is None else np.unique(groups).size
    return Uncertainty(intervals, differences, resamples, images, number)


def _number_of_resamples(work: int, rows: int) -> int:
    return max(int(np.clip(_WORK / work, _FEWEST, _MOST)), _FEWEST_PER_TEST * (rows - 1))


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


def _differences(metric: str, found: dict[str, Resampled]) -> dict[str, Difference]:
    (_, first), *others = found.items()
    drawn = {row: each.drawn - first.drawn for row, each in others}
    defined = {row: differences[~np.isnan(differences)] for row, differences in drawn.items()}
    p_values = [run_comparison.two_sided_p(differences) for differences in defined.values()]
    tested = {}
    for (row, each), p, p_holm in zip(others, p_values, holm(p_values), strict=True):
        value = each.value - first.value
        verdict = "undecided"
        if p_holm < run_comparison.SIGNIFICANCE:
            verdict = "better" if METRICS[metric].better * value > 0 else "worse"
        bounds = run_comparison.percentile_interval(defined[row])
        tested[row] = Difference(value, *bounds, p, float(p_holm), verdict)
    return tested
