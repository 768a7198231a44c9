"""Every number of `golden.json` is still what it was, but for those that are explained here."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import golden_sets
import pytest

# One key was renamed since.
GOLDEN = json.loads(
    (Path(__file__).parent / "golden.json").read_text(encoding="utf-8"),
    object_pairs_hook=lambda pairs: {"nll" if key == "ce" else key: v for key, v in pairs},
)

# What may differ, as a pattern of "set / kind / metric / ...", and why.
EXPLAINED = {
    r"saturated logits of .* / (standard|bootstrap|audit) / auroc.*": (
        "logits rank cases by their log-odds, which tell apart those whose softmax is 1 for all"
    ),
    r"saturated logits of two classes / paired / auroc.*": (
        "of two classes one ranking serves both, also where p or 1 - p rounds to 1"
    ),
    r".* / audit / (accuracy|top1_error|top5_error) / [01]": (
        "shares have Agresti and Coull's interval everywhere; of these three the bootstrap's was "
        "measured here, and an audit had it of the top-5 error"
    ),
    r".* / audit / auroc / [01]": (
        "the AUROC's interval is by DeLong's variance, without resamples; it exists where a "
        "resample may lack a class"
    ),
    r"the same row for all / bootstrap / (balanced_accuracy|recall|mean_confidence|auroc) / .*": (
        "resamples that are all alike give no interval, as in an audit, and not one without width"
    ),
}


def numbers(found: object, path: str = "") -> Iterator[tuple[str, float | None]]:
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    for key, value in pairs:
        here = f"{path} / {key}" if path else str(key)
        if isinstance(value, (dict, list)):
            yield from numbers(value, here)
        else:
            yield here, value


def is_same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-8, abs_tol=1e-12)


@cache
def different(name: str) -> dict[str, tuple[float | None, float | None]]:
    """What is not as before, of one set of predictions.

    Without the intervals of a report, which are an audit's and :func:`bootstrap_interval`'s now:
    test_one_interval.py shows it.
    """
    given = dict(golden_sets.sets())[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        now = dict(numbers(golden_sets.measured(given), name))
    before = dict(numbers({k: v for k, v in GOLDEN[name].items() if k != "report"}, name))
    assert before.keys() <= now.keys()  # there may be a metric more since
    return {p: (value, now[p]) for p, value in before.items() if not is_same(now[p], value)}


SETS = [name for name, _ in golden_sets.sets()]


@pytest.mark.parametrize("name", SETS)
def test_the_numbers_are_those_of_before(name):
    unexplained = {
        path: values
        for path, values in different(name).items()
        if not any(re.fullmatch(pattern, path) for pattern in EXPLAINED)
    }
    assert not unexplained


@pytest.mark.parametrize("pattern", EXPLAINED)
def test_every_explanation_is_needed(pattern):
    assert any(re.fullmatch(pattern, path) for name in SETS for path in different(name))
