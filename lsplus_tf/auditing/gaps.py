"""How far mean confidence is from accuracy, over all cases and over parts of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from lsplus_tf.metrics import holm
from lsplus_tf.metrics.intervals import mean_error
from lsplus_tf.predictions import Predictions

Groups = npt.NDArray[np.intp] | None
Values = npt.NDArray[np.float64]

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


def mean_estimate(values: Values, groups: Groups) -> Estimate:
    """The mean of values (N,) by Student's t; cases of a group vary together."""
    residuals = values - values.mean()
    return _estimate(float(values.mean()), float(values.mean()), residuals, np.empty(0), groups)


def gap_estimate(confidence: Values, correct: Values, groups: Groups) -> Estimate:
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
    """
    gaps = confidence - correct
    mean = confidence.mean()
    added = mean - np.array([0.0, 0.0, 1.0, 1.0])
    centre = (gaps.sum() + added.sum()) / (gaps.size + 4)
    found = _estimate(float(gaps.mean()), centre, gaps - centre, added - centre, groups)
    low, high = np.clip((found.low, found.high), -1, 1)
    return replace(found, low=float(low), high=float(high))


def _estimate(
    value: float, centre: float, residuals: Values, added: Values, groups: Groups
) -> Estimate:
    """By the sandwich variance of the residuals' sums over the groups."""
    error, freedom = mean_error(residuals, added, groups)
    if freedom < 1:
        return Estimate(value, *[float("nan")] * 3)
    if error <= 1e-9 * abs(centre):  # but for rounding all are alike, which shows nothing
        return Estimate(value, *[float("nan")] * 3)
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * error
    p_value = 2 * stats.t.sf(abs(centre) / error, freedom)
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
    classes = pd.Categorical.from_codes(predictions.predicted, pd.Index(predictions.class_names))
    rows = []
    all_parts: list[tuple[str, Any]] = [("predicted class", classes)]
    for by, parts in [*all_parts, *predictions.subgroups.items()]:
        if len(parts.categories) < 2:
            continue
        for part, members in _members(parts):
            groups = None if predictions.groups is None else predictions.groups[members]
            rows.append((by, part, *_gap_row(confidence[members], correct[members], groups)))
    table = pd.DataFrame(rows, columns=["by", "part", *COLUMNS])
    tested = table["p"].notna()
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"])
    return table


def _gap_row(confidence: Values, correct: Values, groups: Groups) -> tuple[float, ...]:
    gap = gap_estimate(confidence, correct, groups)
    means = confidence.mean(), correct.mean()
    return confidence.size, *means, gap.value, gap.low, gap.high, gap.p_value


def _members(parts: pd.Categorical) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
    """The rows of each category that has any."""
    order = np.argsort(parts.codes, kind="stable")
    ends = np.cumsum(np.bincount(parts.codes, minlength=len(parts.categories)))
    for name, members in zip(parts.categories, np.split(order, ends[:-1]), strict=True):
        if members.size:
            yield str(name), members
