"""JSON, YAML and ZIP within bounds: the values are Python's and PyYAML's, up to the bounds."""

from __future__ import annotations

import io
import json
import math
import zipfile
from typing import Any

import pytest
import yaml
from helpers import CONFIGS
from hypothesis import given
from hypothesis import strategies as st

from lsplus_tf import bounded
from lsplus_tf.bounded import json_of, opened_zip, read_member, yaml_of, yaml_text
from lsplus_tf.errors import InputError

# Brackets, quotation marks and backslashes are what levels are counted by.
TEXT = st.text('[]{}"\\a é', max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def levels(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, (dict, list)) + max(map(levels, inner), default=0)


@given(VALUES, st.booleans())
def test_json_of_200_levels_is_read_and_of_201_is_not(value: Any, ascii_only: bool):
    def spelled(deep: int) -> str:
        around = deep - levels(value)
        return "[" * around + json.dumps(value, ensure_ascii=ascii_only) + "]" * around

    text = spelled(200)
    assert json_of(text) == json_of(text.encode()) == json.loads(text)
    with pytest.raises(InputError, match="at most 200 levels"):
        json_of(spelled(201))


def test_levels_are_counted_over_blocks(monkeypatch: pytest.MonkeyPatch):
    text = '[["]]"], ' * 150 + "[" * 51 + "]" * 51 + "]" * 150
    for block in (1, 2, 3, 64):
        monkeypatch.setattr(bounded, "_BLOCK", block)
        with pytest.raises(InputError, match="at most 200 levels"):
            json_of(text)
        assert json_of(text.replace("[" * 51 + "]" * 51, "[]"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NaN", "NaN is not a JSON number"),
        ("[-Infinity]", "-Infinity is not a JSON number"),
        ("[-1e400]", "expected numbers that a float can hold, received -1e400"),
        (f"1{'0' * 308}", "expected integers of at most 308 digits, received 10000"),
        ('{"a": 1, "b": 2, "a": 3}', "duplicate key 'a'"),
        (b'"\xff"', "expected text in UTF-8"),
        ("[1, 2", "delimiter"),
    ],
)
def test_what_is_no_json(text: str | bytes, message: str):
    with pytest.raises(InputError, match=message):
        json_of(text)


def test_tables_may_have_what_is_not_finite():
    found = json_of('[NaN, Infinity, 1e400, {"a": 1}]', finite=False)
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, math.inf, {"a": 1}]
    float(json_of("9" * 308))  # the largest that is let through
    with pytest.raises(InputError, match="at most 0 MiB"):
        json_of("[1, 2]", 5)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_our_own_configs_are_read_as_by_pyyaml(path: Any):
    text = path.read_text(encoding="utf-8")
    assert yaml_of(text) == bounded.read_yaml(path) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # As people mean them: text, which YAML 1.1 takes for 5400, 8, a date, and an error.
        ("1:30:00", "1:30:00"),
        ("010", "010"),
        ("2026-11-29", "2026-11-29"),
        ("=", "="),
        # A number, which YAML 1.1 takes for text.
        ("1e-3", 0.001),
        ("-2E+3", -2000.0),
        # As before.
        ("1e", "1e"),
        ("[yes, No, on, OFF, true, False]", [True, False, True, False, True, False]),
        ("[y, n, nUll]", ["y", "n", "nUll"]),
        ("[~, null, Null, ]", [None, None, None]),
        ("[1_000, 0x1F, 0b11, -7, +1, 0]", [1000, 31, 3, -7, 1, 0]),
        ("[0o17, 08, 0x, 1__, _1]", ["0o17", "08", "0x", 1, "_1"]),
        ("[.5, 1., 1.5e3, 1_0.5, -.inf, .Inf]", [0.5, 1.0, 1500.0, 10.5, -math.inf, math.inf]),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("{a: &a {k: 1, l: 2}, b: {<<: *a, l: 3}}", {"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 3}}),
        ("[&a {k: 1}, &b {l: 2}, {<<: [*a, *b]}]", [{"k": 1}, {"l": 2}, {"l": 2, "k": 1}]),
        ("{a: &a [1], b: *a}", {"a": [1], "b": [1]}),
        ("", None),
        ("\ufeffa: b", {"a": "b"}),
    ],
)  # fmt: skip
def test_what_yaml_is_taken_for(text: str, value: Any):
    found = yaml_of(text)
    assert found == value
    assert repr(found) == repr(value)  # True is no 1


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("{yes: a, true: b, TRUE: c}", "true"),
        ("{a: 1, 'a': 2}", "a"),
        ("{0x10: a, 16: b}", "16"),
        ("{1: a, 1.0: b}", "1.0"),
        ("{1: a, on: b}", "on"),  # which Python takes for the same
        ("{~: a, null: b}", "null"),
        ("{&a b: 1, *a : 2}", "b"),
        ("{'<<': a, \"<<\": b}", "<<"),
    ],
)
def test_keys_that_mean_the_same(text: str, key: str):
    with pytest.raises(InputError, match=f"duplicate key {key} in line 1"):
        yaml_of(text)


def test_keys_that_only_look_alike():
    found = yaml_of("{yes: 3, 'yes': 4, 7: 5, '7': 6, !!str 8: 7, 8: 8}")
    assert found == {True: 3, "yes": 4, 7: 5, "7": 6, "8": 7, 8: 8}
    assert yaml_of("{<<: {x: 1}, <<: {y: 1}}") == {"x": 1, "y": 1}


@given(
    VALUES | st.sampled_from(["1e3", "1:30", "010", "no", "=", "<<", "2020-01-01", "0o7", ".5E3"])
)
def test_what_is_written_is_read_and_by_others_too(value: Any):
    text = yaml_text({"a": value})
    assert yaml_of(text) == yaml.safe_load(text) == {"a": value}


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ("{a: ", "}"), ("- ", "")])
def test_yaml_has_a_bound_of_levels(opened: str, closed: str):
    assert yaml_of(opened * 100 + "x" + closed * 100)
    with pytest.raises(InputError, match="at most 100 levels, received more in line 1"):
        yaml_of(opened * 101 + "x" + closed * 101)


def zipped(data: bytes, method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("a", data)
    return file


def test_a_member_is_read_up_to_its_bound():
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        with opened_zip(zipped(bytes(10**6), method)) as archive:
            assert read_member(archive, "a", 10**6) == bytes(10**6)
            with pytest.raises(InputError, match="expected at most 1 MiB, received more"):
                read_member(archive, "a", 10**6 - 1)


def test_constants_are_let_through_up_to_a_gigabyte(monkeypatch: pytest.MonkeyPatch):
    bounded.check_unpacked(2**30, 1)
    bounded.check_unpacked(900 * 2**22, 2**22)
    with pytest.raises(InputError, match="only constants do"):
        bounded.check_unpacked(901 * 2**22, 2**22)
    monkeypatch.setattr(bounded, "_memory", lambda: 2**20)
    with pytest.raises(InputError, match="more than the memory here"):
        bounded.check_unpacked(2**20 + 1, 2**20)


def test_no_decoder_is_made_for_each_text(monkeypatch: pytest.MonkeyPatch):
    """A table may have a million of them."""
    monkeypatch.setattr(json, "JSONDecoder", None)
    assert json_of("[1]") == json_of(b"[1]", finite=False) == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n\tb: 1\n", r"line 2, column 1; YAML is indented by blanks: replace the tabs"),
        ("a:\n  b: 1\n  \tc: 2\n", "replace the tabs in front of its lines"),
        ("a: {b\n", r"in line 1, column 4 did not find .* in line 2, column 1$"),
    ],
)
def test_where_yaml_is_wrong(text: str, message: str):
    with pytest.raises(InputError, match=message):
        yaml_of(text)
