"""The checks of numbers and choices, one set for the whole package."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest

from lsplus_tf import errors
from lsplus_tf.errors import InputError


@pytest.mark.parametrize(
    ("check", "good", "bad", "expected"),
    [
        (
            "check_count",
            [1, np.int64(7)],
            [0, -1, 1.0, "1", True, None],
            "an integer of at least 1",
        ),
        ("check_fraction", [0, 1, 0.5, np.float32(0.5)], [-0.1, 1.1, "0"], "a number in [0, 1]"),
        ("check_level", [0.5, np.float64(0.9)], [0, 1, 95, None], "a number between 0 and 1"),
        ("check_number", [0, 0.0, 1e300, np.int32(3)], [-1, -1e-9, [1]], "a number >= 0"),
        ("check_positive", [1e-300, 2, np.float16(1)], [0, 0.0, -1, {}], "a number > 0"),
        ("check_flag", [True, False, np.True_], [0, 1, "yes", None], "True or False"),
    ],
)
def test_what_passes_and_what_is_said_of_the_rest(check, good, bad, expected):
    checked = getattr(errors, check)
    kind = {"check_count": int, "check_flag": bool}.get(check, float)
    for value in good:
        assert checked("name", value) == value
        assert type(checked("name", value)) is kind
    never = [math.nan, math.inf, np.float64("nan"), 1j]
    if kind is float:
        never += [10**400]  # beyond all floats
        never += [True, False, np.True_]
    for value in [*bad, *never]:
        with pytest.raises(InputError) as caught:
            checked("name", value)
        assert str(caught.value).startswith(f"name: expected {expected}, received ")
        assert "\n" not in str(caught.value)


def test_bounds_and_numbers_as_they_are_typed():
    assert errors.check_count("steps", 0, least=0) == errors.check_seed(np.int64(0)) == 0
    told = {
        lambda: errors.check_count(
            "K", np.int64(1), least=2
        ): "an integer of at least 2, received 1",
        lambda: errors.check_number("x", np.float64(2.5), 1, 2): "a number in [1, 2], received 2.5",
        lambda: errors.check_positive("p", 1.5, most=1): "a number in (0, 1], received 1.5",
        lambda: errors.check_number("x", "2"): "a number >= 0, received '2'",
        lambda: errors.check_seed(-1): "an integer of at least 0, received -1",
    }
    for call, message in told.items():
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value).endswith(f": expected {message}")


def test_a_choice():
    kinds = Literal["a", "b", "c"]
    assert errors.check_choice("kind", "b", kinds) == "b"
    for value in ("d", None, 1, ["a"], np.array(["a", "b"])):
        with pytest.raises(InputError) as caught:
            errors.check_choice("kind", value, kinds)
        assert str(caught.value) == f"kind: expected 'a' or 'b' or 'c', received {value!r}"
