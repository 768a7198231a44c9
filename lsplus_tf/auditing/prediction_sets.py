"""Prediction sets on folds that they were not fitted on: their coverage and their size."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lsplus_tf.auditing.cross_fitting import FEWEST_CASES, FOLDS, held_out_folds
from lsplus_tf.auditing.gaps import LEVEL
from lsplus_tf.calibrators import PredictionSets
from lsplus_tf.errors import check_level, some_of
from lsplus_tf.metrics import set_coverage
from lsplus_tf.metrics.resampling import random_part
from lsplus_tf.page import Tone
from lsplus_tf.predictions import Predictions

MARGINAL, BY_CLASS = "lac", "lac by class"
_METHODS = {
    MARGINAL: PredictionSets("lac"),
    BY_CLASS: PredictionSets("lac", class_conditional=True),
    "aps": PredictionSets("aps"),
    "raps": PredictionSets("raps"),
}
_NAMED = 3
_VALUES = 2_000_000  # cases times classes, of which sets are made in seconds


@dataclass(frozen=True)
class CrossFitSets:
    """Prediction sets, each fitted on the other folds of the cases that it is judged on.

    Attributes
    ----------
    table : DataFrame
        method; then the columns of :func:`~lsplus_tf.metrics.set_coverage`, of all cases, each
        class and each subgroup; and missed, whether a part is shown to be covered less often than
        promised, with Bonferroni's correction for all parts of the method.
    error_rate : float
        That the sets were made for.
    cases : int
        How many were used, of more than 2,000,000 / K a random choice.
    always : tuple of str
        Classes that have too few cases for a threshold of their own in some fold, and are then in
        every set of "lac by class".
    """

    table: pd.DataFrame
    error_rate: float
    cases: int
    always: tuple[str, ...]


def prediction_sets_of(
    predictions: Predictions, *, error_rate: float = 0.1, seed: int
) -> CrossFitSets | None:
    """Sets by five-fold cross-fitting, as :func:`~lsplus_tf.auditing.cross_fitting.cross_fit`.

    None for the confidence alone, with sample weights, of which sets would need those of new cases
    too, and for fewer than 50 cases or 5 groups.

    The intervals are those of the sets as they were fitted.
    """
    check_level("error_rate", error_rate)
    if predictions.kind == "confidence" or len(predictions) < FEWEST_CASES:
        return None
    if predictions.sample_weight is not None:
        return None
    most = max(FEWEST_CASES, _VALUES // len(predictions.class_names))
    rows = random_part(len(predictions), most, predictions.groups, seed)
    part = predictions if rows.size == len(predictions) else predictions.take(rows)
    if part.groups is not None and part.groups.max() + 1 < FOLDS:
        return None
    folds = [(part.take(some), part.take(rest), rest) for some, rest in held_out_folds(part, seed)]
    by = ["all", "class", *part.subgroups]
    tables, always = [], np.zeros(len(part.class_names), bool)
    for method, settings in _METHODS.items():
        inside = np.empty((len(part), len(part.class_names)), bool)
        for fitted, held_out, judged in folds:
            sets = PredictionSets(**settings.get_params() | {"error_rate": error_rate})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of too few cases, which is noted
                sets.fit(fitted)
            inside[judged] = sets.predict(held_out)
            if method == BY_CLASS:
                always |= np.isinf(sets.thresholds_)
        table = set_coverage(part, inside, by=by)
        together = 1 - (1 - LEVEL) / (len(table) - 1)
        bounds = set_coverage(part, inside, by=by, confidence_level=together)["high"]
        table["missed"] = (bounds < 1 - error_rate) & (table["by"] != "all")
        table.insert(0, "method", method)
        tables.append(table)
    names = tuple(np.array(part.class_names)[always].tolist())
    return CrossFitSets(pd.concat(tables, ignore_index=True), error_rate, len(part), names)


def sets_said(found: CrossFitSets) -> tuple[Tone, str]:
    """What the sets come to, in words, and whether that is bad news."""
    marginal, by_class = (rows_of(found, method) for method in (MARGINAL, BY_CLASS))
    whole = marginal["all", "all"]
    text = (
        f"Prediction sets at an error rate of {100 * found.error_rate:g}%: {_share(whole)} hold "
        f"the true class, with {whole['mean_size']:.1f} classes on average; "
        f"{100 * whole['singletons']:.0f}% have a single one."
    )
    missed = sorted(
        (part for part, row in marginal.items() if row["missed"]),
        key=lambda part: marginal[part]["coverage"],
    )
    if not missed:
        return "fact", f"{text} No class or subgroup is shown to be covered less often."
    worst, *others = missed
    text += f" Of {_named(worst)} only {_share(marginal[worst])} are covered"
    if others:
        text += f", and less than promised also of {some_of([*map(_named, others)], _NAMED)}"
    if worst[0] == "class":
        text += (
            f". With a threshold for each class it is {_share(by_class[worst])}, at "
            f"{by_class['all', 'all']['mean_size']:.1f} classes on average"
        )
    return "bad", f"{text}."


def rows_of(found: CrossFitSets, method: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of a method, by what a part is by and what it is called."""
    rows = found.table[found.table["method"] == method].to_dict(orient="records")
    return {(row["by"], row["part"]): {str(key): row[key] for key in row} for row in rows}


def _named(key: tuple[str, str]) -> str:
    by, part = key
    return part if by == "class" else f"{by} {part}"


def _share(row: dict[str, Any]) -> str:
    low, high = 100 * row["low"], 100 * row["high"]
    return f"{100 * row['coverage']:.0f}% (95% interval {low:.0f}% to {high:.0f}%)"
