"""The classes of interest at fixed sensitivities and specificities, and in each subgroup."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lsplus_tf.errors import InputError
from lsplus_tf.metrics import (
    operating_point,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)
from lsplus_tf.metrics.intervals import share_interval
from lsplus_tf.predictions import Predictions

RATES = (0.8, 0.9, 0.95)
SHARES = ("sensitivity", "specificity", "ppv")
_LEVEL = 0.95


@dataclass(frozen=True)
class OperatingPoints:
    """What is found of the classes of interest where the specificity, or the sensitivity, is fixed.

    Attributes
    ----------
    table : DataFrame
        class; fixed, "specificity" or "sensitivity", and rate, what it is to be at least;
        threshold, the probability from which on a case is taken for the class; and of sensitivity,
        specificity and ppv the value and its bounds, as in ppv, ppv_low and ppv_high. Bounds that
        the choice of the threshold leaves without meaning are NaN.
    chosen_on : str
        The file of the other cases on which the thresholds were chosen, or "other cases"; "" where
        that was on these.
    """

    table: pd.DataFrame
    chosen_on: str

    def of(self, name: str, fixed: str, rate: float) -> dict[str, float]:
        """The numbers of a class where a rate is fixed."""
        table = self.table
        own = (table["class"] == name) & (table["fixed"] == fixed) & (table["rate"] == rate)
        row = table[own].drop(columns=["class", "fixed"]).iloc[0]
        return {str(key): float(value) for key, value in row.items()}


def operating_points(
    predictions: Predictions,
    interest: Sequence[tuple[int, ...]],
    chosen_on: Predictions | None = None,
) -> OperatingPoints | None:
    """Each class of interest at specificities and sensitivities of 80, 90 and 95%.

    Parameters
    ----------
    predictions : Predictions
        Of the confidence alone there are none.
    interest : sequence of tuple of int
        Each a class, or several that count as one.
    chosen_on : Predictions, optional
        The same model's predictions of other cases, to choose the thresholds on; by default they
        are chosen on the same cases. Its classes are in the same order.
    """
    if predictions.kind == "confidence" or not interest:
        return None
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what NaN tells
        for classes in interest:
            for fixed in ("specificity", "sensitivity"):
                rows += [_row(predictions, classes, fixed, rate, chosen_on) for rate in RATES]
    source = "" if chosen_on is None else chosen_on.source or "other cases"
    return OperatingPoints(pd.DataFrame(rows), source)


def _row(
    predictions: Predictions,
    classes: tuple[int, ...],
    fixed: str,
    rate: float,
    chosen_on: Predictions | None,
) -> dict[str, str | float]:
    by = chosen_on or predictions
    if fixed == "specificity":
        chosen = operating_point(by, positive=classes, specificity=rate)
    else:
        chosen = operating_point(by, positive=classes, sensitivity=rate)
    threshold = float(chosen["threshold"].iloc[0])
    found = chosen
    if chosen_on is not None and not np.isnan(threshold):
        found = operating_point(predictions, positive=classes, threshold=threshold)
    shares = found.set_index("metric")
    row: dict[str, str | float] = {
        "class": str(found["class"].iloc[0]),
        "fixed": fixed,
        "rate": rate,
        "threshold": threshold,
    }
    for name in SHARES:
        value, low, high = (float(shares[key][name]) for key in ("value", "low", "high"))
        if chosen_on is None:
            low = high = float("nan")
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    if chosen_on is None:
        if fixed == "specificity":
            other = "sensitivity"
            interval = sensitivity_at_specificity(predictions, positive=classes, specificity=rate)
        else:
            other = "specificity"
            interval = specificity_at_sensitivity(predictions, positive=classes, sensitivity=rate)
        row |= {other: interval.value, f"{other}_low": interval.low, f"{other}_high": interval.high}
    return row


def check_thresholds_from(predictions: Predictions, other: Predictions) -> Predictions:
    """The predictions on which thresholds are chosen, with the classes in the same order.

    Raises
    ------
    InputError
        They have other classes, are of another model or of some of the same cases, or lack the
        probabilities of all classes.
    """
    name = "thresholds_from (--thresholds-from)"
    try:
        other.need("labels", "probabilities")
        predictions.need("probabilities")
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if set(other.class_names) != set(predictions.class_names):
        raise InputError(
            f"{name}: expected the classes {', '.join(predictions.class_names)}, received "
            f"{', '.join(other.class_names)}"
        )
    if predictions.model and other.model and predictions.model != other.model:
        raise InputError(
            f"{name}: expected predictions of the model of {predictions.name}, received those of "
            "another one"
        )
    if predictions.ids is not None and other.ids is not None:
        both = predictions.ids.intersection(other.ids)
        if both.size:
            raise InputError(
                f"{name}: expected other cases than those of {predictions.name}, received "
                f"{both.size:,} of the same, such as {both[0]!r}"
            )
    return other.ordered(predictions.class_names).counted()


def found_by_subgroup(
    predictions: Predictions, interest: Sequence[tuple[int, ...]]
) -> pd.DataFrame:
    """The sensitivity and specificity for each class of interest in each subgroup.

    A case is taken for a class where that is the most probable one.

    Parameters
    ----------
    predictions : Predictions
    interest : sequence of tuple of int
        Each a class, or several that count as one.

    Returns
    -------
    DataFrame
        class, by (what the subgroups are of), part, metric ("sensitivity" or "specificity"), value,
        low, high, hits and cases: those of the class, or all others. NaN where there are none.
    """
    names, rows = np.array(predictions.class_names), []
    weights, groups = predictions.weights, predictions.groups
    for classes in interest:
        inside = np.zeros(len(names), bool)
        inside[list(classes)] = True
        outcome, taken = inside[predictions.labels], inside[predictions.predicted]
        for by, parts in predictions.subgroups.items():
            for part in range(len(parts.categories)):
                members = parts.codes == part
                if not members.any():
                    continue
                for metric, own, right in (
                    ("sensitivity", members & outcome, taken),
                    ("specificity", members & ~outcome, ~taken),
                ):
                    found = share_interval(
                        right[own].astype(np.float64),
                        None if groups is None else groups[own],
                        _LEVEL,
                        weights[own],
                    )
                    bounds = found.value, found.low, found.high
                    counts = float(weights[own & right].sum()), float(weights[own].sum())
                    name = " or ".join(names[list(classes)])
                    rows.append((name, by, str(parts.categories[part]), metric, *bounds, *counts))
    columns = ["class", "by", "part", "metric", "value", "low", "high", "hits", "cases"]
    return pd.DataFrame(rows, columns=columns)
