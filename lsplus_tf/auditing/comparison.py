"""Two models on the same cases."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from lsplus_tf.errors import InputError
from lsplus_tf.metrics import (
    METRICS,
    fixed_rate_metric,
    holm,
    one_vs_rest_metrics,
    paired_bootstrap,
    permutation_test,
)
from lsplus_tf.predictions import Predictions, ordered_as
from lsplus_tf.predictions.positive import Positive, positive_classes
from lsplus_tf.predictions.predictions import of_one_kind, weighted_alike

_SPECIFICITY = 0.9
COMPARED = ("accuracy", "auroc", "brier", "nll", "ece", "retention_auc")


@dataclass(frozen=True)
class Comparison:
    """The second model's predictions beside the first's.

    Attributes
    ----------
    table : DataFrame
        metric, first, second, difference (first less second), low, high, p and p_holm.
    cases : int
        That both have.
    left_out : int
        Cases of either that the other lacks.
    by : {"id", "order"}
        How cases were matched.
    """

    table: pd.DataFrame
    cases: int
    left_out: int
    by: str


class Matched(NamedTuple):
    """Two models' predictions of the same cases in the same order."""

    first: Predictions
    second: Predictions
    left_out: int
    by: str


def match(first: Predictions, second: Predictions) -> Matched:
    """The cases that both have, in the order of the first, and what is known of them in both.

    Raises
    ------
    InputError
        If the classes differ, no case is shared, a label or a sample weight differs, or, without
        ids in both, the numbers of cases do.
    """
    left_out, by = 0, "order"
    if first.ids is not None and second.ids is not None:
        positions = second.ids.get_indexer(first.ids)
        there = np.flatnonzero(positions >= 0)
        if not there.size:
            raise InputError(
                f"{second.source}: expected cases of {first.source}; no id is in both, such as "
                f"{first.ids[0]!r} and {second.ids[0]!r}"
            )
        left_out, by = len(first) + len(second) - 2 * there.size, "id"
        if there.size < len(first):
            first = first.take(there)
        second = second.take(positions[there])
    elif len(first) != len(second):
        raise InputError(
            f"{second.source}: expected {len(first)} cases, as {first.source} has, received "
            f"{len(second)}; give both files a column id to match them by"
        )
    first, second = of_one_kind(first, second)
    names = first.source or "the first", second.source or "the second"
    second = ordered_as(first, second, (first.source, second.source))
    weighted = [each.sample_weight is not None for each in (first, second)]
    if weighted[0] != weighted[1]:
        has, lacks = names if weighted[0] else names[::-1]
        raise InputError(
            f"sample_weight: expected weights in both, received them in {has} and none in {lacks}"
        )
    weighted_alike(first, second, names)
    return Matched(first, second, left_out, by)


def compare(
    first: Predictions,
    second: Predictions,
    *,
    positive: Sequence[Positive] = (),
    num_resamples: int,
    seed: int,
) -> Comparison:
    """Paired differences with bootstrap intervals, and permutation tests with Holm's correction.

    Of the classes of interest also the sensitivity and the specificity, and the sensitivity at a
    specificity of 90%.
    """
    first, second, left_out, by = match(first, second)
    first, second = first.counted(), second.counted()
    records = [METRICS[metric] for metric in COMPARED]
    for each in positive:
        names = [first.class_names[k] for k in positive_classes(each, first.class_names)]
        of_class = one_vs_rest_metrics(names)
        records += [of_class["sensitivity"], of_class["specificity"]]
        records.append(fixed_rate_metric(names, specificity=_SPECIFICITY))
    rows = []
    for metric in records:
        if not metric.is_known_of(first):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what NaN bounds tell
            paired = paired_bootstrap(metric, first, second, num_resamples=num_resamples, seed=seed)
            test = permutation_test(
                metric, first, second, num_permutations=num_resamples, seed=seed
            )
        change = paired.difference
        bounds = change.value, change.low, change.high
        rows.append((metric.key, paired.value_a, paired.value_b, *bounds, test.p_value))
    columns = ["metric", "first", "second", "difference", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=columns)
    tested = table["p"].notna()
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"])
    return Comparison(table, len(first), left_out, by)
