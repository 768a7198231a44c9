"""How sure the rows of an experiment's table are: intervals, and tests against the first row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lsplus_tf import resampling, tables
from lsplus_tf.experiments.gather import Prediction, Results
from lsplus_tf.metrics import holm
from lsplus_tf.resampling import Measure, Resampled

METRICS = {column.key: column for column in tables.COLUMNS if column.key in tables.MAIN}
# Resamples times images times predictions that take about half a minute on one core; the AUROC of
# every class, which sorts them, takes some ten times as long.
_WORK, _AUROC_WORK = 2e9, 2e8
_FEWEST, _MOST = 400, 2000
_MOST_UNDEFINED = 0.05


@dataclass(frozen=True)
class Uncertainty:
    """Intervals of the main metrics of every row, and paired tests against the first row.

    The images of the test split are resampled, for all rows and seeds at once, and the mean over
    the seeds is taken anew; see `lsplus_tf.resampling`. The trained networks stay as they are.

    Attributes
    ----------
    intervals : columns row (its key), metric, low and high: 95%, as fractions, reflected. NaN where
        a class is absent from more than 5% of the resamples, or the AUROC would take minutes.
    tests : columns row, metric, difference (of the row less the first), low and high: 95%
        percentiles; p, two-sided; p_holm, corrected over the rows, metric by metric; verdict, of
        the row: better, worse or undecided.
    resamples : how many were drawn.
    images : how many there are.
    """

    intervals: pd.DataFrame
    tests: pd.DataFrame
    resamples: int
    images: int


def measure_uncertainty(results: Results, *, seed: int = 0) -> Uncertainty:
    """Resample the test split; with so many images and runs fewer times, to take half a minute."""
    predictions = {row.key: results.predictions(row) for row in results.rows}
    count = sum(map(len, predictions.values()))
    first = predictions[results.rows[0].key]
    images, classes = first[0][0].shape
    resamples = int(np.clip(_WORK / (images * count), _FEWEST, _MOST))
    keys = list(METRICS)
    if images * count * resamples * classes > _AUROC_WORK * 10:
        keys.remove("auroc")
    measures = {
        (metric, row): [_measure(metric, *prediction) for prediction in each]
        for metric in keys
        for row, each in predictions.items()
    }
    # A class may be absent from a resample, whose AUROC is then not a number.
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = resampling.resample(measures, images, resamples, seed)
    intervals = [
        (row, metric, *_interval(resampled.get((metric, row))))
        for row in predictions
        for metric in METRICS
    ]
    frame = pd.DataFrame(intervals, columns=["row", "metric", "low", "high"])
    tests = [_tests(results.rows[0].key, metric, resampled) for metric in keys]
    return Uncertainty(frame, pd.concat(tests, ignore_index=True), resamples, images)


def _measure(metric: str, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Measure:
    """A metric as the table has it, in the LS+ paper's convention."""
    single = probabilities.astype(np.float32)
    match metric:
        case "accuracy":
            largest = single == single.max(axis=1, keepdims=True)
            right = largest[np.arange(labels.size), labels] & (largest.sum(axis=1) == 1)
            return resampling.mean_of(right.astype(np.float64))
        case "ce":
            true = probabilities[np.arange(labels.size), labels]
            return resampling.mean_of(-np.log(true.clip(1e-7, 1 - 1e-7)))
    return resampling.measure_of(metric, single, labels)


def _interval(found: Resampled | None) -> tuple[float, float]:
    if found is None or np.isnan(found.drawn).mean() > _MOST_UNDEFINED:
        return float("nan"), float("nan")
    defined = Resampled(found.values, found.drawn[~np.isnan(found.drawn)])
    low, high = defined.interval()
    return max(low, 0.0), high


def _tests(first: str, metric: str, resampled: dict[tuple[str, str], Resampled]) -> pd.DataFrame:
    rows = []
    control = resampled[metric, first]
    for (measured, row), found in resampled.items():
        if measured == metric and row != first:
            drawn = found.drawn - control.drawn
            defined = drawn[~np.isnan(drawn)]
            if defined.size >= (1 - _MOST_UNDEFINED) * drawn.size:
                difference = found.value - control.value
                bounds = resampling.percentile_interval(defined)
                rows.append((row, metric, difference, *bounds, resampling.two_sided_p(defined)))
    table = pd.DataFrame(rows, columns=["row", "metric", "difference", "low", "high", "p"])
    table["p_holm"] = holm(table["p"])
    better = METRICS[metric].better * table["difference"] > 0
    table["verdict"] = np.where(
        table["p_holm"] < resampling.SIGNIFICANCE, np.where(better, "better", "worse"), "undecided"
    )
    return table
