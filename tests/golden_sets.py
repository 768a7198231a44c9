"""Prediction sets made of seeds, and what was measured of them once: `golden.json`.

    python tests/golden_sets.py > tests/golden.json

made that file at 4496a8a, with six types of predictions, four definitions of the ECE, two
resamplers and three policies of intervals: an audit's ("audit"), a report's of a single run
("report"), and those of `bootstrap_interval`. `test_golden.py` compares what is measured now and
explains what differs.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lsplus_tf import metrics
from lsplus_tf.metrics.statistics import intervals_of
from lsplus_tf.predictions import Predictions

RESAMPLES = 200
SEED = 3
INTERVALS = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "ece", "mce", "sce")
INTERVALS += ("ace", "nll", "brier", "top1_error", "mean_confidence", "auroc", "retention_auc")
INTERVALS += ("aurc",)
REPORT = ("accuracy", "auroc", "precision", "recall", "f1", "ece", "ace", "sce", "nll", "brier")
TWO_NUMBERS = ("percentile", "bca")


class Set(NamedTuple):
    """Scores (N, K), labels (N,), what the scores are, and the group of each case if there are."""

    scores: np.ndarray
    labels: np.ndarray
    logits: bool = False
    groups: np.ndarray | None = None


def drawn(seed: int, samples: int, classes: int, sharp: float, honest: float) -> Set:
    """Logits of a size, and labels drawn from their softmax at another temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(samples, classes)) * sharp
    noise = rng.gumbel(size=(samples, classes))
    return Set(logits, (honest * logits + noise).argmax(axis=1), True)


def as_probabilities(given: Set, dtype: type = np.float64, decimals: int | None = None) -> Set:
    powers = np.exp(given.scores - given.scores.max(axis=1, keepdims=True))
    rows = powers / powers.sum(axis=1, keepdims=True)
    if decimals is not None:  # what is cut off goes to the last class, so that rows sum to 1
        rows = rows.round(decimals)
        rows[:, -1] = (1 - rows[:, :-1].sum(axis=1)).round(decimals).clip(0)
        rows /= rows.sum(axis=1, keepdims=True)
    return Set(rows.astype(dtype), given.labels, False, given.groups)


def sets() -> Iterator[tuple[str, Set]]:
    """Two to twelve classes; saturated, tied, grouped; float32 and float64; of few cases."""
    yield "two classes, 600 cases", as_probabilities(drawn(1, 600, 2, 1.2, 1.0))
    yield (
        "two classes like MHIST, float32",
        as_probabilities(drawn(2, 977, 2, 2.5, 0.6), np.float32),
    )
    yield "four classes, overconfident", as_probabilities(drawn(3, 2139, 4, 3.0, 0.5))
    yield "twelve classes, float32", as_probabilities(drawn(4, 600, 12, 2.0, 0.8), np.float32)
    yield "logits of five classes", drawn(5, 400, 5, 2.0, 0.7)
    yield "saturated logits of two classes", drawn(6, 300, 2, 60.0, 0.02)
    yield "saturated logits of three classes", drawn(7, 300, 3, 60.0, 0.02)
    yield "ties, one decimal", as_probabilities(drawn(8, 300, 3, 1.0, 1.0), decimals=1)
    grouped = drawn(9, 500, 3, 2.0, 0.6)
    groups = np.random.default_rng(9).integers(60, size=500)
    yield "groups of eight", as_probabilities(grouped._replace(groups=groups))
    yield "four cases", as_probabilities(drawn(10, 4, 2, 1.0, 1.0))
    yield "twelve cases", as_probabilities(drawn(11, 12, 3, 1.0, 1.0))
    absent = drawn(12, 200, 5, 1.5, 1.0)
    few = absent._replace(labels=absent.labels % 4)
    yield "a class without a case", as_probabilities(few)
    constant = Set(np.tile([0.5, 0.3, 0.2], (100, 1)), np.arange(100) % 3)
    yield "the same row for all", constant


def rounded(values: object) -> object:
    """Numbers with ten significant digits, NaN as null."""
    if isinstance(values, dict):
        return {key: rounded(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [rounded(value) for value in values]
    number = float(values)
    return None if np.isnan(number) else float(f"{number:.10g}")


def measured(given: Set) -> dict[str, object]:
    scores, labels, logits, groups = given
    found: dict[str, object] = {}
    for convention in ("standard", "released_code"):
        found[convention] = metrics.evaluate(
            labels, scores, convention=convention, from_logits=logits
        )
    others = ("maximum_calibration_error", "classwise_adaptive_calibration_error")
    others += ("overconfidence_error", "underconfidence_error", "debiased_calibration_error")
    others += ("sweep_calibration_error", "smooth_calibration_error", "kde_calibration_error")
    others += ("balanced_accuracy", "aurc", "excess_aurc", "augrc")
    found["others"] = {
        name: getattr(metrics, name)(labels, scores, from_logits=logits) for name in others
    }
    rows = metrics.softmax(scores) if logits else scores
    second = (rows + 1 / rows.shape[1]) / 2
    found["bootstrap"] = {
        name: {
            method: bounds(
                metrics.bootstrap_interval(
                    name,
                    labels,
                    scores,
                    method=method,
                    num_resamples=RESAMPLES,
                    groups=groups,
                    seed=SEED,
                    from_logits=logits,
                )
            )
            for method in TWO_NUMBERS
        }
        for name in INTERVALS
    }
    found["paired"] = {}
    for name in ("accuracy", "ece", "auroc"):
        given_both = (name, labels, rows, second)
        settings = {"groups": groups, "seed": SEED}
        pair = metrics.paired_bootstrap(*given_both, num_resamples=RESAMPLES, **settings)
        test = metrics.permutation_test(*given_both, num_permutations=RESAMPLES, **settings)
        found["paired"][name] = [*bounds(pair.difference), pair.p_value, test.p_value]
    kind = "logits" if logits else "probabilities"
    predictions = Predictions(labels, **{kind: scores}, groups=groups)
    records = [record for record in metrics.METRICS.values() if record.evaluated]
    intervals = dict(
        zip(
            found["standard"],
            map(
                bounds,
                intervals_of(
                    records,
                    predictions,
                    num_resamples=RESAMPLES,
                    groups=predictions.groups,
                    seed=SEED,
                ),
            ),
            strict=True,
        )
    )
    found["audit"] = {name: of_metric[1:] for name, of_metric in intervals.items()}
    return rounded(found)


def bounds(interval: metrics.Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    head = {"made_by": "python tests/golden_sets.py > tests/golden.json, at 4496a8a"}
    print(json.dumps(head | {name: measured(given) for name, given in sets()}, indent=1))
