"""How far mean confidence is from accuracy, over all cases and over parts of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from lsplus_tf.metrics import holm
from lsplus_tf.metrics.intervals import mean_error, t_quantile
from lsplus_tf.metrics.metric import Values
from lsplus_tf.metrics.resampling import Groups
from lsplus_tf.predictions import Predictions

LEVEL = 0.95
COLUMNS = ("cases", "confidence", "accuracy", "gap", "low", "high", "p")


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95% interval, and the p value of its being 0.

    NaN where they do not exist: of a single unit, or of values that are all alike.
    """

    value: float
    low: float
    high: float
    p_value: float


def mean_estimate(values: Values, groups: Groups, weights: Values | None = None) -> Estimate:
    """The mean of values (N,) by Student's t; cases of a group vary together.

    With weights (N,) it is that of cases that count so much, and as many independent ones as there
    are rows.
    """
    mean = float(np.average(values, weights=weights))
    residuals = _counted(values - mean, weights)
    return _estimate(mean, mean, residuals, np.empty(0), groups)


def gap_estimate(
    confidence: Values, correct: Values, groups: Groups, weights: Values | None = None
) -> Estimate:
    """Mean confidence less accuracy.

    The interval and the p value are Agresti and Coull's: as if two more cases had been right and
    two more wrong, with the mean confidence. Twenty cases of which all are right have an interval
    of some width then, which neither the bootstrap nor the plain standard error gives. It ends at
    -1 and 1, which no gap is beyond.

    Parameters
    ----------
    confidence, correct : ndarray of float64, shape (N,)
        `correct` is 1 where the prediction is right, or the share of annotators who agree.
    groups : ndarray of int, shape (N,), or None
        Cases of a group vary together.
    weights : ndarray of float64, shape (N,), optional
        What each case counts; the four that are added count as much as the mean one.
    """
    gaps = confidence - correct
    mean = np.average(confidence, weights=weights)
    added = mean - np.array([0.0, 0.0, 1.0, 1.0])
    centre = (_counted(gaps, weights).sum() + added.sum()) / (gaps.size + 4)
    value, residuals = float(np.average(gaps, weights=weights)), _counted(gaps - centre, weights)
    found = _estimate(value, centre, residuals, added - centre, groups)
    low, high = np.clip((found.low, found.high), -1, 1)
    return replace(found, low=float(low), high=float(high))


def _counted(values: Values, weights: Values | None) -> Values:
    """Values times what their cases count beside the mean one."""
    return values if weights is None else values * (weights / weights.mean())


def _estimate(
    value: float, centre: float, residuals: Values, added: Values, groups: Groups
) -> Estimate:
    """By the sandwich variance of the residuals' sums over the groups."""
    error, freedom = mean_error(residuals, added, groups)
    if freedom < 1:
        return Estimate(value, *[float("nan")] * 3)
    if error <= 1e-9 * abs(centre):  # but for rounding all are alike, which shows nothing
        return Estimate(value, *[float("nan")] * 3)
    half = t_quantile(LEVEL, freedom) * error
    p_value = 2 * special.stdtr(freedom, -abs(centre) / error)
    return Estimate(value, float(centre - half), float(centre + half), float(p_value))


def gaps_by_part(predictions: Predictions) -> pd.DataFrame:
    """The gap among the cases predicted as each class, and in each subgroup.

    Returns
    -------
    DataFrame
        by ("predicted class" or the subgroup's name), part, cases, confidence, accuracy, gap, low,
        high, p, and p_holm, corrected for all rows together. Parts without a case have no row.
    """
    confidence = predictions.confidence.astype(np.float64)
    correct = predictions.correct.astype(np.float64)
    all_groups, all_weights = predictions.groups, predictions.sample_weight
    classes = pd.Categorical.from_codes(predictions.predicted, pd.Index(predictions.class_names))
    rows = []
    all_parts: list[tuple[str, Any]] = [("predicted class", classes)]
    for by, parts in [*all_parts, *predictions.subgroups.items()]:
        if len(parts.categories) < 2:
            continue
        for part, members in _members(parts):
            groups = None if all_groups is None else all_groups[members]
            weights = None if all_weights is None else all_weights[members]
            row = _gap_row(confidence[members], correct[members], groups, weights)
            rows.append((by, part, *row))
    table = pd.DataFrame(rows, columns=["by", "part", *COLUMNS])
    tested = table["p"].notna()
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"])
    return table


def _gap_row(
    confidence: Values, correct: Values, groups: Groups, weights: Values | None
) -> tuple[float, ...]:
    gap = gap_estimate(confidence, correct, groups, weights)
    means = (np.average(each, weights=weights) for each in (confidence, correct))
    return confidence.size, *means, gap.value, gap.low, gap.high, gap.p_value


def _members(parts: pd.Categorical) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
    """The rows of each category that has any."""
    order = np.argsort(parts.codes, kind="stable")
    ends = np.cumsum(np.bincount(parts.codes, minlength=len(parts.categories)))
    for name, members in zip(parts.categories, np.split(order, ends[:-1]), strict=True):
        if members.size:
            yield str(name), members
