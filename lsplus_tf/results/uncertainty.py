"""How sure the rows of an experiment's table are: intervals, and tests against the first row."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lsplus_tf import metrics
from lsplus_tf.metrics.method_comparison import (
    Difference,
    Estimate,
    MeasuredRuns,
    judge,
    measure_runs,
)
from lsplus_tf.metrics.resampling import Groups, rows_to_rank
from lsplus_tf.metrics.statistics import NUM_RESAMPLES, intervals_of
from lsplus_tf.predictions import Predictions
from lsplus_tf.results import tables
from lsplus_tf.results.finished import Results, Row

METRICS = {column.key: column for column in tables.COLUMNS if column.key in tables.MAIN}
# Classes times cases that are sorted times predictions, above which the AUROC takes minutes.
_AUROC_WORK = 1.5e7

Bounds = tuple[float, float]


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
    intervals : dict of (str, str) to (float, float)
        Low and high by row (its key) and metric: 95%, as fractions. Rows of several predictions
        are without the AUROC where a class is absent from more than 5% of the resamples, and all
        are where it would take minutes.
    single : set of str
        Keys of the rows with a single prediction, of one seed or an ensemble. Their intervals are
        about *these networks on new images*, those of `lsplus_tf.metrics.bootstrap_interval` and of
        an audit, and nothing can be said of the method.
    differences : dict of (str, str) to Difference
        By row and metric, less the first row, as fractions, of all rows but the first.
    resamples : int
        How many were drawn.
    images : int
        How many there are.
    groups : int or None
        Of how many patients or the like they are, which are then drawn as a whole; None where that
        is not known.
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
        for row, metric in dict.fromkeys([*self.intervals, *self.differences]):
            low, high = self.intervals.get((row, metric), (np.nan, np.nan))
            found = self.differences.get((row, metric))
            against = {f"difference_{k}": v for k, v in vars(found).items()} if found else {}
            about = "networks" if row in self.single else "method"
            line = {"method": row, "metric": metric, "about": about, "low": low, "high": high}
            lines.append(line | against)
        return pd.DataFrame(lines)


@dataclass(frozen=True)
class MeasuredRows:
    """Metrics of every row's predictions on the test images, and on the same resamples of them.

    Attributes
    ----------
    metrics : dict of str to MeasuredRuns
        By their keys, of the predictions of all rows.
    runs : dict of str to slice
        Which of these are a row's, by its key.
    rows : dict of str to Row
        By their keys.
    groups : ndarray of int, shape (N,), or None
        Of the images.
    seed : int
        Of the resamples.
    """

    metrics: dict[str, MeasuredRuns]
    runs: dict[str, slice]
    rows: dict[str, Row]
    groups: Groups
    seed: int

    def mean(self, metric: str, row: str) -> float:
        """Of a row's predictions."""
        return float(self.metrics[metric].values[self.runs[row]].mean())

    def difference(self, metric: str, row: str, baseline: str) -> Estimate:
        """A row's mean less a baseline's, seed by seed where both are of the same networks."""
        return self.metrics[metric].difference(
            self.runs[row],
            self.runs[baseline],
            paired=_same_networks(self.rows[row], self.rows[baseline]),
        )


def measure_rows(results: Results, also: Collection[str] = (), *, seed: int = 0) -> MeasuredRows:
    """Resample the test split 1,000 times, in the standard convention.

    Parameters
    ----------
    results : Results
    also : collection of str
        Keys of metrics that are measured beside the main ones.
    seed : int
        Of the resamples.
    """
    predictions = {row.key: results.predictions(row) for row in results.rows}
    every = [each for of_row in predictions.values() for each in of_row]
    classes = every[0].scores.shape[1]
    groups = groups_of_images(results)
    keys = list(METRICS)
    ranked = rows_to_rank(every[0], groups, seed).size
    if ranked * classes * len(every) > _AUROC_WORK:
        keys.remove("auroc")
    keys = list(dict.fromkeys([*keys, *also]))
    measured = measure_runs(keys, every, groups, NUM_RESAMPLES, seed)
    runs, start = {}, 0
    for row, of_row in predictions.items():
        runs[row] = slice(start, start := start + len(of_row))
    return MeasuredRows(measured, runs, {row.key: row for row in results.rows}, groups, seed)


def measure_uncertainty(results: Results, measured: MeasuredRows | None = None) -> Uncertainty:
    """Intervals and tests of the main metrics.

    Parameters
    ----------
    results : Results
    measured : MeasuredRows, optional
        Of them, where that is there already.
    """
    measured = measured or measure_rows(results)
    predictions = {row.key: results.predictions(row) for row in results.rows}
    keys = [metric for metric in METRICS if metric in measured.metrics]
    groups = measured.groups
    single = frozenset(row for row, of_row in predictions.items() if len(of_row) == 1)
    bounds: dict[str, dict[str, Bounds]] = {
        row: (
            _of_networks(keys, of_row[0], groups, measured.seed)
            if row in single
            else {
                metric: measured.metrics[metric].interval(
                    measured.runs[row], metrics.METRICS[metric].bounds
                )
                for metric in keys
            }
        )
        for row, of_row in predictions.items()
    }
    # A class may be absent from too many resamples.
    shown = [metric for metric in keys if not np.isnan(measured.metrics[metric].bias).any()]
    intervals = {
        (row, metric): bounds[row][metric]
        for metric in keys
        for row in predictions
        if not np.isnan(bounds[row][metric]).any()
    }
    differences = {
        (row, metric): difference
        for metric in shown
        for row, difference in _differences(metric, measured).items()
    }
    images = len(next(iter(predictions.values()))[0])
    number = None if groups is None else np.unique(groups).size
    return Uncertainty(intervals, single, differences, NUM_RESAMPLES, images, number)


def _of_networks(
    keys: Sequence[str], predictions: Predictions, groups: Groups, seed: int
) -> dict[str, Bounds]:
    """The intervals of one prediction on new images."""
    records = [metrics.METRICS[key] for key in keys]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what NaN bounds tell
        found = intervals_of(records, predictions, groups=groups, seed=seed)
    return {key: (each.low, each.high) for key, each in zip(keys, found, strict=True)}


def groups_of_images(results: Results) -> Groups:
    """The groups of the test images, if a run says them; those of older versions do not."""
    for run in results.runs:
        found = results.saved(run, "test")
        if found.group_names is not None and len(found.group_names) > 1:
            return found.groups
    return None


def _differences(metric: str, measured: MeasuredRows) -> dict[str, Difference]:
    """Each row less the first, a family of tests."""
    first, *others = measured.rows
    estimates = {row: measured.difference(metric, row, first) for row in others}
    return judge(estimates, dict.fromkeys(estimates, METRICS[metric].better))


def _same_networks(row: Row, other: Row) -> bool:
    return (row.method, row.seeds, row.ensemble) == (other.method, other.seeds, other.ensemble)
