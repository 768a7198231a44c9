"""The one reader of tables, by both that use it: tables of images, and files of predictions."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from lsplus_tf.datasets.loading import list_files
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.predictions import read_predictions
from lsplus_tf.tables import open_table


class Read(NamedTuple):
    classes: list[str]
    groups: list[str]


class Use(NamedTuple):
    """One of the two: how it reads a file, and the columns that it needs beside those below."""

    read: Callable[[Path], Read]
    label: str  # what its messages call the labels
    key: str  # and its column of names
    more: dict[str, list[float]]


def read_images(path: Path) -> Read:
    files = list_files(f"csv:{path}", unlisted="ignore")
    return Read([files.class_names[k] for k in files.labels], files.groups.tolist())


def read_scores(path: Path) -> Read:
    read = read_predictions(path)
    return Read(
        [read.class_names[k] for k in read.labels], [read.group_names[k] for k in read.groups]
    )


USES = {
    "images": Use(read_images, "label", "path", {}),
    "predictions": Use(
        read_scores, "labels", "id", {"logit_HP": [1.5, -2.0, 0.0], "logit_SSA": [0.5, 3.0, -1.0]}
    ),
}
# A table of both: an image or case in each row.
NAMES, LABELS, GROUPS = ["0.png", "1.png", "2.png"], ["HP", "SSA", "HP"], ["007", "7", "007"]
pytestmark = pytest.mark.filterwarnings("ignore:.*other columns are ignored")


@pytest.fixture(params=USES)
def use(request, tmp_path) -> Use:
    for name in NAMES:
        (tmp_path / name).touch()
    return USES[request.param]


def frame(use: Use) -> pd.DataFrame:
    return pd.DataFrame({use.key: NAMES, "label": LABELS, "group": GROUPS, **use.more})


def text(use: Use, mark: str = ",", decimal: str = ".") -> str:
    return frame(use).to_csv(index=False, sep=mark, decimal=decimal)


def widened(table: str, heading: str, cells: str, mark: str = ",") -> str:
    """The CSV with one more column in front."""
    first, *rows = table.splitlines()
    return "\n".join([f"{heading}{mark}{first}", *(f"{cells}{mark}{row}" for row in rows)])


ACCEPTED = {
    "commas": text,
    "semicolons": lambda use: text(use, ";"),
    "decimal commas": lambda use: text(use, ";", ","),
    "tabs": lambda use: text(use, "\t"),
    "byte-order mark": lambda use: "\ufeff" + text(use),
    "Windows' ends of lines": lambda use: text(use).replace("\n", "\r\n"),
    "no end of the last line": lambda use: text(use).rstrip("\n"),
    "blank lines": lambda use: text(use).replace("\n", "\n\n"),
    "rows of separators": lambda use: (
        text(use) + "\n".join(["," * (len(frame(use).columns) - 1)] * 3)
    ),
    "spaces in the heading": lambda use: text(use).replace("label", " label "),
    "quotes": lambda use: text(use).replace("HP,0", '"HP","0"'),
    "a column of text with separators": lambda use: widened(text(use), "note", '"a, ""b""\nc"'),
    "a heading of two lines": lambda use: widened(text(use), '"no\nte"', "x"),
    "a column that is there twice": lambda use: widened(text(use), "x,x", "1,2"),
    "a heading of 200,000 characters": lambda use: widened(text(use), "x" * 200_000, "1"),
    "more columns than cells in a cell's limit": lambda use: widened(
        text(use), ",".join(f"a_long_name_{i}" for i in range(20_000)), ",".join("1" * 20_000)
    ),
    "vertical bars": lambda use: text(use, "|"),
    "tabs and decimal commas": lambda use: text(use, "\t", ","),
    "the ends of lines of old Macs": lambda use: text(use).replace("\n", "\r"),
    "UTF-16, as Excel's Unicode text": lambda use: text(use, "\t").encode("utf-16"),
    "UTF-16 of the other order": lambda use: ("\ufeff" + text(use)).encode("utf-16-be"),
    "gzip": lambda use: gzip.compress(text(use).encode()),
    "separators at the ends of all lines": lambda use: text(use).replace("\n", ",\n"),
    "rows of blanks below": lambda use: (
        text(use) + " \n" + " ,\t" * (len(frame(use).columns) - 1) + "\n\n"
    ),
    "an index without a name": lambda use: frame(use).to_csv(),
    "other separators in the heading": lambda use: widened(text(use), "a|b;c|d;e|f|g|h", "x"),
    "text and letters of Unicode": lambda use: widened(text(use), "\u00e4", "\u65e5\u672c"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ACCEPTED)
@pytest.mark.parametrize("suffix", [".csv", ".DAT"])
@pytest.mark.filterwarnings("error:.*table")
def test_what_is_read_alike(use, tmp_path, kind, suffix):
    path, made = tmp_path / f"table{suffix}", ACCEPTED[kind](use)
    path.write_bytes(made.encode() if isinstance(made, str) else made)
    assert use.read(path) == (LABELS, GROUPS)


def test_json(use, tmp_path):
    path = tmp_path / "table.json"
    entries = frame(use).to_dict("records")
    path.write_text(json.dumps(entries), encoding="utf-8-sig")
    assert use.read(path) == (LABELS, GROUPS)
    for entry, group in zip(entries, [7, 12, 7], strict=True):
        entry["group"] = group
    path.write_text(json.dumps(entries))
    assert use.read(path).groups == ["7", "12", "7"]


@pytest.mark.parametrize("groups", [["007", "7", "007"], [7, 12, 7], [7.0, 12.0, 7.0]])
def test_parquet(use, tmp_path, groups):
    path = tmp_path / "table.Parquet"
    table = frame(use).assign(group=groups, label=pd.Categorical(LABELS), list=[[1], [], [2]])
    table.to_parquet(path)
    expected = groups if isinstance(groups[0], str) else ["7", "12", "7"]
    assert use.read(path) == (LABELS, expected)


def with_cell(use: Use, column: str, row: int, value: str) -> str:
    table = frame(use)
    table.loc[row, column] = value
    return table.to_csv(index=False)


REFUSED = {
    "empty": (lambda use: "", "expected a heading with the names of the columns in line 1"),
    "blank": (lambda use: "\n\n", "expected a heading with the names of the columns in line 1"),
    "no row": (lambda use: text(use).split("\n")[0], "expected at least one row, there is none"),
    "half of UTF-16": (
        lambda use: text(use).encode("utf-16")[:-1],
        "cannot be read as UTF-16; save it as CSV in UTF-8",
    ),
    "UTF-16 without a mark": (
        lambda use: text(use).encode("utf-16-le"),
        "is no text; save it as CSV in UTF-8",
    ),
    "UTF-8 and Latin-1": (
        lambda use: text(use).replace("HP", "\u00e4", 1).encode() + b"3.png,\xe4,1\n",
        r"cannot be read as UTF-8 \(line 5\), nor as Latin-1; save it as CSV in UTF-8",
    ),
    "no character of Latin-1": (
        lambda use: text(use).encode().replace(b"HP", b"\x81"),
        r"cannot be read as UTF-8 \(line 2\), nor as Latin-1",
    ),
    "a control character": (
        lambda use: text(use).encode().replace(b"HP", b"\xe4\x02"),
        r"cannot be read as UTF-8 \(line 2\), nor as Latin-1",
    ),
    "a zip": (lambda use: b"PK\x03\x04\x14\x00\x9c\xe2", "is a zip archive; unpack it"),
    "old Excel": (
        lambda use: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "is an old or protected Excel file; save it as .xlsx, or save it as CSV",
    ),
    "half of a gzip": (
        lambda use: gzip.compress(text(use).encode())[:-9],
        "cannot be unpacked by gzip .*; copy or download it again",
    ),
    "a row with a cell less": (
        lambda use: text(use).replace("1.png,", ""),
        r"cannot be read as a table \(expected \d cells in every line: line 3 has \d\)",
    ),
    "rows with cells more": (
        lambda use: text(use).replace(",HP,", ",HP,HP,"),
        r"expected \d cells in every line: line 2 has \d, line 4 has \d\)",
    ),
    "R's names of rows": (
        lambda use: text(use).replace("\n", "\n1,")[:-2],
        r"line 2 has \d, .*; if the first of each line is its name, the heading needs one for these",
    ),
    "a needed column twice": (
        lambda use: widened(text(use), "label", "HP"),
        "expected one column 'label', found 2 among 'label', '",
    ),
    "no label": (
        lambda use: with_cell(use, "label", 1, ""),
        r"{label}: expected a value, received none at line 3 \(of 3 rows\)",
    ),
    "the label nan": (
        lambda use: with_cell(use, "label", 2, "nan"),
        r"{label}: expected a value, received none at line 4 \(of 3 rows\)",
    ),
    "no group": (
        lambda use: with_cell(use, "group", 0, "NaN"),
        "groups?: expected a value, received none at line 2",
    ),
    "no split": (
        lambda use: widened(text(use), "split", "train").replace("train", "", 1),
        r"split: expected a value, received none at line 2 \(of 3 rows\)",
    ),
    "no label below a blank line and a row of separators": (
        lambda use: text(use)
        .replace("\n", "\n\n" + "," * (len(frame(use).columns) - 1) + "\n", 1)
        .replace("1.png,SSA", "1.png,"),
        r"{label}: expected a value, received none at line 5 \(of 3 rows\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_alike(use, tmp_path, kind):
    write, message = REFUSED[kind]
    path, made = tmp_path / "table.csv", write(use)
    path.write_bytes(made.encode() if isinstance(made, str) else made)
    with pytest.raises(InputError, match=message.replace("{label}", use.label)) as caught:
        use.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"path": 1}', "expected a JSON list of objects"),
        ("[1, 2]", "expected a JSON list of objects"),
        ("[]", "expected at least one row, there is none"),
    ],
)
def test_json_that_is_no_table(use, tmp_path, text, message):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        use.read(path)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([1], "column 'label': expected text or numbers, it is of list"),
        (None, "expected a value, received none at entry 2"),
        ("NaN", "expected a value, received none at entry 2"),
    ],
)
def test_an_entry_that_does_not_fit(use, tmp_path, label, message):
    path = tmp_path / "table.json"
    entries = frame(use).to_dict("records")
    for entry in entries if isinstance(label, list) else entries[1:2]:
        entry["label"] = label
    path.write_text(json.dumps(entries))
    with pytest.raises(InputError, match=message):
        use.read(path)
    for entry in entries:
        del entry["label"]
    path.write_text(json.dumps(entries))
    with pytest.raises(InputError, match=f"expected .*'label'.* found .*'{use.key}', 'group'"):
        use.read(path)


def test_parquet_that_is_no_table(use, tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"PAR1 junk")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        use.read(path)
    for wrong in ([[1], [], [2]], [b"HP", b"SSA", b"HP"]):
        frame(use).assign(label=wrong).to_parquet(path)
        with pytest.raises(InputError, match="column 'label': expected text or numbers, it is of"):
            use.read(path)
    frame(use).assign(label=["HP", None, "HP"]).to_parquet(path)
    with pytest.raises(InputError, match="expected a value, received none at row 1"):
        use.read(path)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_text_of_arrow(use, tmp_path, kind):
    path = tmp_path / "table.parquet"
    table = pa.Table.from_pandas(frame(use))
    for name in (use.key, "label", "group"):
        at = table.column_names.index(name)
        table = table.set_column(at, name, table.column(at).cast(pa.string()).cast(kind))
    pyarrow.parquet.write_table(table, path)
    assert use.read(path) == (LABELS, GROUPS)
    at = table.column_names.index("group")
    numbers = pa.array([1.0, float("nan"), 2.0])
    pyarrow.parquet.write_table(table.set_column(at, "group", numbers), path)
    with pytest.raises(InputError, match=r"groups?: expected a value, received none at row 1"):
        use.read(path)


def test_what_is_no_file(use, tmp_path):
    with pytest.raises(MissingDataError, match=r"none\.csv: expected a .*file.*, there is none"):
        use.read(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"expected a .*file.*, received a folder"):
        use.read(tmp_path)


def test_numbers_of_json_and_text_beside_numbers(tmp_path):
    path = tmp_path / "table.json"
    path.write_text('[{"a": 1, "b": "x"}, {"a": 2.5, "b": 3}, {"b": 4.5}]')
    table = open_table(path)
    table.read(["a", "b"], numbers=["a"])
    np.testing.assert_array_equal(table.matrix(["a"]), [[1], [2.5], [np.nan]])
    assert table.text("b").tolist() == ["x", "3", "4.5"]


def test_a_row_of_which_only_other_columns_are_filled_stays(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("path,label,note\n0.png,HP,\n,,see below\n,,\n1.png,SSA,\n")
    table = open_table(path)
    table.read(["path", "label"])
    assert len(table) == 3
    with pytest.raises(InputError, match=r"path: expected a value, .* at line 3 \(of 3 rows\)"):
        table.text("path")


def test_float32_of_parquet_stays(tmp_path):
    path = tmp_path / "table.parquet"
    columns = {"a": pa.array([0.1, 0.2], pa.float32()), "b": pa.array([1, 2], pa.int8())}
    pyarrow.parquet.write_table(pa.table(columns), path)
    table = open_table(path)
    table.read(["a", "b"], numbers=["a", "b"])
    assert table.matrix(["a"]).dtype == np.float32
    assert table.matrix(["a", "b"]).dtype == np.float64
    assert table.text("b").tolist() == ["1", "2"]
