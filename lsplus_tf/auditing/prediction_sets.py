"""Prediction sets on folds that they were not fitted on: their coverage and their size."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lsplus_tf.auditing.cross_fitting import FEWEST_CASES, FOLDS, held_out_folds
from lsplus_tf.auditing.gaps import LEVEL
from lsplus_tf.calibrators import PredictionSets
from lsplus_tf.errors import check_level, some_of
from lsplus_tf.metrics.intervals import exact_intervals
from lsplus_tf.metrics.resampling import random_part
from lsplus_tf.metrics.sets import coverage_shares, with_bounds
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
        promised, with Bonferroni's correction for all parts of the method. A subgroup called
        "all" or "class" is "all (subgroup)" or "class (subgroup)" there.
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
    judged_by = part
    if any(_apart(name) != name for name in part.subgroups):
        judged_by = Predictions(
            part.labels,
            part.probabilities,
            class_names=part.class_names,
            subgroups={_apart(name): codes for name, codes in part.subgroups.items()},
            groups=part.groups,
        )
    by = ["all", "class", *judged_by.subgroups]
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
        table, shares = coverage_shares(judged_by, inside, by=by)
        with_bounds(table, shares, LEVEL)
        _, bounds = exact_intervals(shares, 1 - (1 - LEVEL) / (len(table) - 1))
        table["missed"] = (bounds < 1 - error_rate) & (table["by"] != "all")
        table.insert(0, "method", method)
        tables.append(table)
    names = tuple(np.array(part.class_names)[always].tolist())
    return CrossFitSets(pd.concat(tables, ignore_index=True), error_rate, len(part), names)


def sets_said(found: CrossFitSets, positive: Sequence[str] = ()) -> tuple[Tone, str]:
    """What the sets come to, in words, and whether that is bad news.

    Parameters
    ----------
    found : CrossFitSets
    positive : sequence of str
        The classes of interest, several that count as one with " or " between them: the sentence
        begins with them, each class on its own.
    """
    marginal, by_class = (rows_of(found, method) for method in (MARGINAL, BY_CLASS))
    whole = marginal["all", "all"]
    first = _of_interest(positive, marginal)
    if first:
        class_, *more = first
        text = (
            f"Of {class_[1]} {_share(marginal[class_])} are covered by prediction sets at an error "
            f"rate of {100 * found.error_rate:g}%"
        )
        text += "".join(f", of {each[1]} {_share(marginal[each])}" for each in more)
        text += f". Of all cases it is {_share(whole)}"
    else:
        text = (
            f"Prediction sets at an error rate of {100 * found.error_rate:g}%: {_share(whole)} "
            "hold the true class"
        )
    text += (
        f", with {whole['mean_size']:.1f} classes on average; "
        f"{100 * whole['singletons']:.0f}% have a single one."
    )
    missed = sorted(
        (part for part, row in marginal.items() if row["missed"]),
        key=lambda part: marginal[part]["coverage"],
    )
    if not missed:
        return "fact", f"{text} No class or subgroup is shown to be covered less often."
    worst, *others = missed
    if worst in first:
        text += f" Of {_named(worst)} it is less than promised"
    else:
        text += f" Of {_named(worst)} only {_share(marginal[worst])} are covered"
    if others:
        text += f", and less than promised also of {some_of([*map(_named, others)], _NAMED)}"
    if worst[0] == "class":
        text += (
            f". With a threshold for each class {_share(by_class[worst])} of {_named(worst)} are "
            f"covered, at {by_class[worst]['mean_size']:.1f} classes on average "
            f"({by_class['all', 'all']['mean_size']:.1f} over all cases)"
        )
    return "bad", f"{text}."


def rows_of(found: CrossFitSets, method: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of a method, by what a part is by and what it is called."""
    rows = found.table[found.table["method"] == method].to_dict(orient="records")
    return {(row["by"], row["part"]): {str(key): row[key] for key in row} for row in rows}


def _apart(name: str) -> str:
    """A subgroup's name that is none of the other parts'."""
    return f"{name} (subgroup)" if name in ("all", "class") else name


def _of_interest(
    positive: Sequence[str], marginal: dict[tuple[str, str], dict[str, Any]]
) -> list[tuple[str, str]]:
    """The classes of interest that have a case, each once; no more than are named."""
    single = []
    for name in positive:
        parts = [name] if ("class", name) in marginal else name.split(" or ")
        single += [("class", part) for part in parts if ("class", part) in marginal]
    return list(dict.fromkeys(single))[:_NAMED]


def _named(key: tuple[str, str]) -> str:
    by, part = key
    return part if by == "class" else f"{by} {part}"


def _share(row: dict[str, Any]) -> str:
    low, high = 100 * row["low"], 100 * row["high"]
    return f"{100 * row['coverage']:.0f}% (95% interval {low:.0f}% to {high:.0f}%)"
