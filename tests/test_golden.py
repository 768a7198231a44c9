"""Every number of `golden.json` is still what it was, but for those that are explained here."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator
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
    r"saturated logits of .* / (standard|bootstrap|audit|report) / auroc.*": (
        "logits rank cases by their log-odds, which tell apart those whose softmax is 1 for all"
    ),
    r"saturated logits of two classes / paired / auroc.*": (
        "of two classes one ranking serves both, also where p or 1 - p rounds to 1"
    ),
    r".* / audit / (accuracy|top1_error|top5_error) / [01]": (
        "shares have Agresti and Coull's interval everywhere; of these three the bootstrap's was "
        "measured here, and an audit had it of the top-5 error"
    ),
    r".* / report / .* / [12]": (
        "a report's interval of one run is what an audit and bootstrap_interval have; it was the "
        "reflected one of every metric, from other draws, and NaN where a resample was undefined"
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


@pytest.mark.parametrize(("name", "given"), list(golden_sets.sets()))
def test_the_numbers_are_those_of_before(name, given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        now = dict(numbers(golden_sets.measured(given), name))
    before = dict(numbers(GOLDEN[name], name))
    assert before.keys() <= now.keys()  # there may be a metric more since
    different = {
        path: (value, now[path]) for path, value in before.items() if not is_same(now[path], value)
    }
    unexplained = {
        path: values
        for path, values in different.items()
        if not any(re.fullmatch(pattern, path) for pattern in EXPLAINED)
    }
    assert not unexplained


def test_every_explanation_is_needed():
    paths = [path for path, _ in numbers(GOLDEN)]
    for pattern in EXPLAINED:
        assert any(re.fullmatch(pattern, path) for path in paths), pattern
