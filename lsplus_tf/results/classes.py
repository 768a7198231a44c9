"""What the methods of an experiment find of each class, and what they miss."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import special

from lsplus_tf import metrics
from lsplus_tf.metrics.degenerate import constant_class
from lsplus_tf.metrics.intervals import share_interval
from lsplus_tf.metrics.method_comparison import CONFIDENCE_LEVEL
from lsplus_tf.metrics.metric import Values
from lsplus_tf.metrics.one_vs_rest import those_first
from lsplus_tf.metrics.resampling import Groups
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.positive import positive_classes
from lsplus_tf.results.finished import Results, Row

MOST_SHOWN = 12  # classes in a table of columns; of more, those of interest and the hardest


@dataclass(frozen=True)
class ByClass:
    """What the rows of an experiment's table find of each class.

    Attributes
    ----------
    frame : DataFrame
        A line for each row of the table (its key and name), class and metric of
        `lsplus_tf.metrics.class_metrics`, of the classes of interest also of
        `lsplus_tf.metrics.calibration_summary`: the mean and the sample SD over its predictions;
        of the sensitivity also the 95% interval, and how many test images are of the class.
    positive : tuple of str
        The classes of interest, as the config has them; several that count as one are "a or b".
    shown : tuple of str
        Those and others that a table has room for.
    plain : dict of str to str
        The rows without a calibrator, of which most change no predicted class: names by keys.
    constant : dict of str to str
        Of predictions that are one class for all images (`lsplus_tf.metrics.degenerate`), by
        "METHOD seed N", what that class is.
    """

    frame: pd.DataFrame
    positive: tuple[str, ...]
    shown: tuple[str, ...]
    plain: dict[str, str]
    constant: dict[str, str]

    def of(self, name: str, metric: str) -> dict[str, dict[str, float]]:
        """The numbers of a class and metric, by the rows' keys."""
        return self._lines[name, metric]

    @cached_property
    def _lines(self) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
        lines: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
        columns = ["mean", "sd", "low", "high", "images"]
        keys = zip(self.frame["method"], self.frame["class"], self.frame["metric"], strict=True)
        numbers = self.frame[columns].to_numpy(np.float64).tolist()
        for (row, name, metric), line in zip(keys, numbers, strict=True):
            lines.setdefault((name, metric), {})[row] = dict(zip(columns, line, strict=True))
        return lines


def measure_classes(results: Results, groups: Groups) -> ByClass:
    """Each class against the rest, of every row.

    The interval of a sensitivity is about the method with new seeds on new images: Agresti and
    Coull's of the share of the class's images that is found, where an image counts by how many of
    the runs find it, and Student's t of the runs, their half-widths added in squares. The variance
    between runs is that of all methods with several runs together, as two or three tell little of
    it: that they vary alike is assumed. Of a single prediction it is the former alone, about this
    network on new images.

    In a simulation of four methods with 2 to 5 runs on 25 or 100 images of a class, with runs that
    differ by an SD of 0 to 0.8 in log-odds, it covered in 95 to 100%: what single runs get wrong
    on single images counts twice. Of a method whose runs differ by 0.8 where those of the others
    differ by 0.1 it covered in 80 to 98%.

    Parameters
    ----------
    results : Results
    groups : ndarray of int, shape (N,), or None
        Of the test images.
    """
    names = results.class_names
    declared = [tuple(positive_classes(each, names)) for each in results.positive]
    declared = list(dict.fromkeys(declared))
    every = [*declared, *((k,) for k in range(len(names)) if (k,) not in declared)]
    frames, constant = [], {}
    for row in results.rows:
        predictions = results.predictions(row)
        for seed, each in zip(_seeds(row), predictions, strict=True):
            only = constant_class(each)
            if only is not None:
                constant[f"{row.name}{seed}"] = names[only]
        frames.append(_of_row(row, predictions, every, groups, len(declared)))
    frame = pd.concat(frames, ignore_index=True)
    _add_spread_of_seeds(frame, results.rows)
    positive = tuple(" or ".join(names[k] for k in each) for each in declared)
    plain = {row.key: row.name for row in results.rows if not row.calibrators}
    return ByClass(frame, positive, _shown(frame, positive, names), plain, constant)


def _seeds(row: Row) -> Sequence[str]:
    return [""] if row.ensemble else [f" seed {seed}" for seed in row.seeds]


def _of_row(
    row: Row,
    predictions: Sequence[Predictions],
    classes: Sequence[tuple[int, ...]],
    groups: Groups,
    declared: int,
) -> pd.DataFrame:
    """The first `declared` classes are those of interest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of absent classes, which NaN tells
        tables = [
            pd.concat(
                [
                    those_first(metrics.class_metrics, each, classes),
                    *(metrics.calibration_summary(each, positive=k) for k in classes[:declared]),
                ],
                ignore_index=True,
            )
            for each in predictions
        ]
    values = np.stack([table["value"].to_numpy(np.float64) for table in tables])
    frame = tables[0][["class", "metric"]].copy()
    frame.insert(0, "method", row.key)
    frame.insert(1, "name", row.name)
    frame["mean"] = values.mean(axis=0)
    frame["sd"] = values.std(axis=0, ddof=1) if len(values) > 1 else np.nan
    of_sensitivity = frame["metric"] == "sensitivity"
    for chosen, line in zip(classes, frame.index[of_sensitivity], strict=True):
        low, high, images = _found(predictions, chosen, groups)
        frame.loc[line, ["low", "high"]] = low, high
        frame.loc[line, "images"] = images
    return frame


def _found(
    predictions: Sequence[Predictions], positive: tuple[int, ...], groups: Groups
) -> tuple[float, float, int]:
    """The interval of the mean sensitivity, and how many images there are of the classes."""
    of_class = np.isin(predictions[0].labels, positive)
    if not of_class.any():
        return float("nan"), float("nan"), 0
    found = [np.isin(each.predicted[of_class], positive) for each in predictions]
    hits = np.stack(found).astype(np.float64)
    own = None if groups is None else groups[of_class]
    images = share_interval(hits.mean(axis=0), own, CONFIDENCE_LEVEL)
    low, high = images.low, images.high
    return low, high, int(of_class.sum())


def _with_seeds(
    low: Values, high: Values, runs: Values, variance: float, freedom: int
) -> tuple[Values, Values]:
    """Intervals of means over `runs`, made wider by the variance of one run."""
    of_runs = special.stdtrit(freedom, (1 + CONFIDENCE_LEVEL) / 2) * np.sqrt(variance / runs)
    middle, half = (low + high) / 2, np.hypot((high - low) / 2, of_runs)
    return (middle - half).clip(0, 1), (middle + half).clip(0, 1)


def _add_spread_of_seeds(frame: pd.DataFrame, rows: Sequence[Row]) -> None:
    """Widen the intervals of the rows of several runs, by the spread of all of them together."""
    runs = pd.Series({row.key: 1 if row.ensemble else len(row.seeds) for row in rows})
    plain = [row.key for row in rows if not row.calibrators and runs[row.key] > 1]
    freedom = int(runs[plain].sum()) - len(plain)
    if not freedom:
        return
    for _, lines in frame[frame["metric"] == "sensitivity"].groupby("class"):
        lines = lines[lines["method"].map(runs) > 1]
        of_plain = lines[lines["method"].isin(plain)]
        weights = of_plain["method"].map(runs) - 1
        variance = float((weights * of_plain["sd"] ** 2).sum()) / freedom
        low, high, several = (
            np.asarray(each, np.float64)
            for each in (lines["low"], lines["high"], lines["method"].map(runs))
        )
        wider = _with_seeds(low, high, several, variance, freedom)
        frame.loc[lines.index, ["low", "high"]] = np.stack(wider, axis=1)


def _shown(frame: pd.DataFrame, positive: tuple[str, ...], names: Sequence[str]) -> tuple[str, ...]:
    """The classes of interest, and the others if there is room; else the hardest of them."""
    others = [name for name in names if name not in positive]
    if len(positive) + len(others) > MOST_SHOWN:
        lines = frame[(frame["metric"] == "sensitivity") & frame["class"].isin(others)]
        hardest = lines.groupby("class")["mean"].mean().sort_values(kind="stable")
        others = [*hardest.index[: max(MOST_SHOWN - len(positive), 0)]]
    return (*positive, *others)
