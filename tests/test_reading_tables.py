"""The one reader of tables, by both that use it: tables of images, and files of predictions."""

from __future__ import annotations

import gzip
import json
import os
import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from lsplus_tf.datasets.loading import list_files
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.predictions import read_predictions
from lsplus_tf.tables import open_table, spelled_alike


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
NAMES, LABELS, GROUPS = ["0.png", "1.png", "2.png"], ["HP", "SSA", "HP"], ["007", "8", "007"]
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
    "separators at the ends of lines, not of the heading": lambda use: (
        text(use).replace("\n", ",\n").replace(",\n", "\n", 1)
    ),
    "quoted decimal commas": lambda use: text(use, ",", ","),
    "DOS's mark of the end": lambda use: text(use) + "\x1a",
    "DOS's mark of the end, and a line's": lambda use: (
        text(use).replace("\n", "\r\n") + "\x1a\r\n"
    ),
    "other separators in the heading": lambda use: widened(text(use), "a|b;c|d;e|f|g|h", "x"),
    "blank lines above": lambda use: "\n \n" + text(use),
    "rows of separators above": lambda use: (
        ";" * (len(frame(use).columns) - 1) + "\n;\n" + text(use, ";")
    ),
    "a byte-order mark and a blank line above": lambda use: "\ufeff\r\n" + text(use, "\t"),
    "text and letters of Unicode": lambda use: widened(text(use), "\u00e4", "\u65e5\u672c"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ACCEPTED)
@pytest.mark.parametrize("suffix", [".csv", ".DAT"])
@pytest.mark.filterwarnings("error:.*table")
def test_what_is_read_alike(use, tmp_path, kind, suffix):
    path, made = tmp_path / f"table{suffix}", ACCEPTED[kind](use)
    path.write_bytes(made.encode() if isinstance(made, str) else made)
    assert use.read(path) == (LABELS, GROUPS)


def as_lines(use: Use) -> str:
    return "\n".join(map(json.dumps, frame(use).to_dict("records")))


def as_excel(use: Use, path: Path) -> None:
    frame(use).to_excel(path, engine="openpyxl", index=False)


OTHER_KINDS = {
    "table.jsonl": lambda use, path: path.write_text(as_lines(use) + "\n\n"),
    "list.ndjson": lambda use, path: path.write_text(frame(use).to_json(orient="records")),
    "lines.json": lambda use, path: path.write_text(as_lines(use)),
    "table.json.gz": lambda use, path: frame(use).to_json(path, orient="records"),
    "table.csv.gz": lambda use, path: frame(use).to_csv(path, index=False),
    "unpacked.csv.gz": lambda use, path: path.write_text(text(use)),
    "gzip.tsv": lambda use, path: path.write_bytes(gzip.compress(text(use, "\t").encode())),
    "parquet.csv": lambda use, path: frame(use).to_parquet(path),
    "parquet_with_an_index.parquet": lambda use, path: frame(use).iloc[[0, 1, 2]].to_parquet(path),
    "table.XLSX": as_excel,
    "excel.csv": as_excel,
    "excel.xls": as_excel,
}


@pytest.mark.parametrize("name", OTHER_KINDS)
@pytest.mark.filterwarnings("error:.*table")
def test_other_kinds_are_read_alike(use, tmp_path, name):
    OTHER_KINDS[name](use, tmp_path / "made")
    (tmp_path / "made").rename(tmp_path / name)
    assert use.read(tmp_path / name) == (LABELS, GROUPS)


def test_excel_as_it_is(tmp_path):
    path, book = tmp_path / "table.xlsx", openpyxl.Workbook()
    book.active.title = "first"
    cells = [["label ", "group", "x"], ["NA", 12, 0.5], [None] * 3, ["b", "007", None], [" ", 1, 2]]
    for row in cells:
        book.active.append(row)
    book.create_sheet("second").append(["other"])
    book.save(path)
    table = open_table(path)
    with pytest.warns(UserWarning, match="sheet 'first' was read, the first of 2; 'NA' in 1 cell"):
        table.read(["label", "group", "x"], numbers=["x"])
    assert table.text("group").tolist() == ["12", "007", "1"]
    np.testing.assert_array_equal(table.matrix(["x"])[:, 0], [0.5, np.nan, 2])
    with pytest.raises(InputError, match=r"label: expected a value, received none at row 5 \(of 3"):
        table.text("label")
    book.active.delete_rows(1, 5)
    book.save(path)
    with pytest.raises(InputError, match="names of the columns in sheet 'first', it is empty"):
        open_table(path)


@pytest.mark.parametrize("above", [0, 1, 3])
@pytest.mark.parametrize("beside", [0, 2])
@pytest.mark.parametrize("hidden", ["", "hidden", "veryHidden"])
@pytest.mark.filterwarnings("ignore:.*sheet 'shown' was read")
def test_where_a_sheet_has_its_table(use, tmp_path, above, beside, hidden):
    """Below blank rows, beside blank columns, and in the first sheet that is shown."""
    book, table = openpyxl.Workbook(), frame(use)
    book.active.title = "shown"
    for number, row in enumerate([[*table.columns], *table.to_numpy().tolist()], above + 1):
        for column, value in enumerate(row, beside + 1):
            book.active.cell(number, column, value)
    if hidden:
        old = book.create_sheet("old", 0)
        old.append(["label", use.key])
        old.append(["x", "y"])
        old.sheet_state = hidden
        book.create_sheet("another")
    book.save(tmp_path / "table.xlsx")
    assert use.read(tmp_path / "table.xlsx") == (LABELS, GROUPS)


def changed(use: Use, column: str, values: list[str]) -> str:
    return frame(use).assign(**{column: values}).to_csv(index=False)


def with_row_names(table: str, mark: str = ",") -> str:
    """As R writes it: the heading has no cell above the names of the rows."""
    first, *rows = table.splitlines()
    return "\n".join([first, *(f'"{k}"{mark}{row}' for k, row in enumerate(rows, 1))])


# One thing to a reader: capitals, blanks, what has no width, what is between words, numbers.
SPELLED_ALIKE = [
    *(("a", "A"), ("a b", "a  b"), ("a b", "a\u00a0b"), ("a", "a\u200b"), ("a", "\u00ada")),
    *(("x1", "x\uff11"), ("a b", "a_b"), ("a-b", "a b"), ("12", "0012"), ("P1", "P01")),
    *(("1.5", "1.50"), ("1", "+1"), ("20", "2e1"), (".5", "0.5"), ("2020-01-02", "2020-1-2")),
]
NOT_ALIKE = ["1.5", "1.05", "-1", "1", "10", "A+", "A-", "<5", ">5", "v1.05", "v1.5", "P10", "P1"]
E_ACUTE = ("\u00e9", "e\u0301")  # one letter in the two forms of Unicode
SAID = {
    "Latin-1": (
        lambda use: changed(use, "label", ["HP", "\u00e4", "HP"]).encode("latin-1"),
        "read as Latin-1 (Windows-1252), as it is not in UTF-8: if letters come out wrong, save it "
        "as CSV in UTF-8",
        (["HP", "\u00e4", "HP"], GROUPS),
    ),
    "spaces of several kinds": (
        lambda use: changed(use, "group", ["007 ", "\t8", "\u00a0007"]),
        "spaces around 3 cells of 'group' removed",
        (LABELS, GROUPS),
    ),
    "a space beside none": (
        lambda use: changed(use, "label", ["HP", "SSA", "HP "]),
        "spaces around 1 cell of 'label' removed",
        (LABELS, GROUPS),
    ),
    "integers and floats": (
        lambda use: changed(use, "group", ["12", "7", "12.0"]),
        "values of 'group' that are there with and without .0 taken as one",
        (LABELS, ["12", "7", "12"]),
    ),
    "forms of Unicode": (
        lambda use: changed(use, "group", [E_ACUTE[0], "7", E_ACUTE[1]]),
        "values of 'group' that are there in two Unicode forms taken as one",
        (LABELS, [E_ACUTE[0], "7", E_ACUTE[0]]),
    ),
    "blanks in front of quotation marks": (
        lambda use: re.sub(r",([^,\n]*)", r', "\1"', text(use)),
        "blanks in front of quotation marks passed over",
        (LABELS, GROUPS),
    ),
    "blanks in front of a quotation mark in one cell": (
        lambda use: changed(use, "group", ["007", "8", "007"]).replace(",8", ',  "8"'),
        "blanks in front of quotation marks passed over",
        (LABELS, GROUPS),
    ),
    **{
        f"spelled nearly alike, {first!r} and {second!r}": (
            partial(changed, column="group", values=[first, second, first]),
            f"{first!r}, {second!r} of 'group', spelled nearly alike, kept apart",
            (LABELS, [first, second, first]),
        )
        for first, second in SPELLED_ALIKE
    },
    "what may be no value": (
        lambda use: changed(use, "group", ["NA", "7", "NA"]),
        "'NA' in 2 cells of 'group' taken as a name; leave cells without a value empty",
        (LABELS, ["NA", "7", "NA"]),
    ),
    "R's names of rows": (
        lambda use: with_row_names(text(use)),
        "the first column has no heading and is taken for row names",
        (LABELS, GROUPS),
    ),
    "all of it": (
        lambda use: changed(use, "group", ["n/a", "12.0 ", "12"]),
        "spaces around 1 cell of 'group' removed; values of 'group' that are there with and "
        "without .0 taken as one; 'n/a' in 1 cell of 'group' taken as a name; leave cells without "
        "a value empty",
        (LABELS, ["n/a", "12", "12"]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SAID)
def test_what_is_changed_is_said_in_one_line(use, tmp_path, kind):
    make, said, expected = SAID[kind]
    path, made = tmp_path / "table.csv", make(use)
    path.write_bytes(made.encode() if isinstance(made, str) else made)
    if use.label == "labels" and expected[0] != LABELS:  # the classes of its columns
        path.write_bytes(path.read_bytes().replace(b"SSA", "\u00e4".encode("latin-1")))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read = use.read(path)
    assert read == expected
    about_the_table = [str(w.message) for w in caught if "ignored" not in str(w.message)]
    assert about_the_table == [f"{path}: {said}"]


def test_names_that_are_not_spelled_alike():
    assert spelled_alike(NOT_ALIKE) == []


def test_names_that_are_not_one(tmp_path):
    """Without a word: 007 is not 7, versions are no numbers, and a class may be called NA."""
    path = tmp_path / "table.csv"
    path.write_text("a,b,c,label,votes_NA,votes_x\n007,1.0,b,NA,1,0\n7,1.1,B,x,0,1\n")
    table = open_table(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table.read(["a", "b", "c", "label"])
    assert table.text("a").tolist() == ["007", "7"]
    assert table.text("b").tolist() == ["1.0", "1.1"]
    assert table.text("label").tolist() == ["NA", "x"]


def test_indices_are_not_what_is_unused(tmp_path):
    path = tmp_path / "table.csv"
    pd.DataFrame({"Unnamed: 0": [3], "label": ["a"], "age": [1]}).to_csv(path)
    table = open_table(path)
    assert table.unused(["label"]) == ("age",)
    table.read(["Unnamed: 0"])
    assert table.text("Unnamed: 0").tolist() == ["3"]


NUMBERS = {
    "empty": (["0.5", "", " ", "NA", "None", "<NA>", "n/a"], [0.5] + [np.nan] * 6),
    "blanks and signs": ([" 0.5", "1e-3 ", "+2", "-.5"], [0.5, 0.001, 2, -0.5]),
    "lists": (["[0.1, 0.9]", "[0.25 0.75]", "(1,0)"], [[0.1, 0.9], [0.25, 0.75], [1, 0]]),
    "lists of NumPy": (["[1.  0.5\n 3. ]", "[ 1 2  3 ]"], [[1, 0.5, 3], [1, 2, 3]]),
}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_numbers_as_text(tmp_path, kind, suffix):
    texts, expected = NUMBERS[kind]
    path = tmp_path / f"table.{suffix}"
    table = pd.DataFrame({"x": texts, "y": "a"})
    {
        "csv": lambda: table.to_csv(path, index=False),
        "json": lambda: table.to_json(path, orient="records"),
        "parquet": lambda: table.to_parquet(path),
    }[suffix]()
    table = open_table(path)
    table.read(["x", "y"], numbers=["x"])
    np.testing.assert_array_equal(table.matrix(["x"]), np.reshape(expected, (len(texts), -1)))


TYPES = {
    "decimal": (pa.array([12, 7, 12], pa.decimal128(9, 2)), ["12", "7", "12"]),
    "float16": (pa.array([12.0, 7.0, 12.0], pa.float16()), ["12", "7", "12"]),
    "uint8": (pa.array([12, 7, 12], pa.uint8()), ["12", "7", "12"]),
    "bool": (pa.array([True, False, True]), ["true", "false", "true"]),
    "large integers": (pa.array([2.0**52 + 1, 7, 1]), ["4503599627370497", "7", "1"]),
    "date": (pa.array([1, 2, 1], pa.date32()), ["1970-01-02", "1970-01-03", "1970-01-02"]),
    "dictionary": (pa.array(["007", "8", "007"]).dictionary_encode(), GROUPS),
    "large text": (pa.array(["007 ", "8", "007"], pa.large_string()), GROUPS),
    "lists": (pa.array([[1], [2], [3]]), None),
    "bytes": (pa.array([b"a", b"b", b"c"], pa.large_binary()), None),
    "structs": (pa.array([{"a": 1}] * 3), None),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.filterwarnings("ignore:.*spaces around")
def test_types_of_arrow(tmp_path, kind):
    column, expected = TYPES[kind]
    path = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pa.table({"x": column}), path)
    table = open_table(path)
    if expected is None:
        with pytest.raises(InputError, match="column 'x': expected text or numbers, it is of "):
            table.read(["x"])
    else:
        table.read(["x"])
        assert table.text("x").tolist() == expected


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([[0.1, 0.9], [0.5], [0.2, 0.8]], "lists of 2 numbers, .* received one of 1 at row 1"),
        ([[0.1, 0.9], None, [0.2, 0.8]], "expected a list of numbers, received none at row 1"),
        ([[0.1, 0.9], None, None], "expected a list of numbers, received none at rows 1 and 2"),
        ([["a"], ["b"]], "column 'x': expected numbers, it is of list<element: string>"),
        ([{"a": 1.0}], "column 'x': expected numbers, it is of struct"),
        (["[1, 2]", "[1, b]"], r"'x': expected numbers, received '\[1, 2\]' at rows 0 and 1"),
        ([b"1"], "column 'x': expected numbers, it is of binary"),
    ],
)  # fmt: skip
def test_lists_that_are_no_scores(tmp_path, lists, message):
    pyarrow.parquet.write_table(pa.table({"x": lists}), tmp_path / "table.parquet")
    table = open_table(tmp_path / "table.parquet")

    def scores() -> object:
        table.read(["x"], numbers=["x"])
        return table.matrix(["x"])

    with pytest.raises(InputError, match=message):
        scores()


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
        r"cannot be read as UTF-8 \(line \d\), nor as Latin-1",
    ),
    "a control character": (
        lambda use: text(use).encode().replace(b"HP", b"\xe4\x02"),
        r"cannot be read as UTF-8 \(line \d\), nor as Latin-1",
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
    "blanks as separators": (
        lambda use: text(use, " "),
        r"that a mark separates, received '.* label .* in line 1; save it with commas, semicolons",
    ),
    "R's default": (
        lambda use: with_row_names(text(use, " ", ","), " "),
        "that a mark separates, received .* in line 1; save it with commas, semicolons, tabs or |",
    ),
    "colons": (lambda use: text(use, ":"), r"that a mark separates, .* tabs or \|"),
    **{
        f"the line {above!r} above the heading, cells separated by {mark!r}": (
            lambda use, above=above, mark=mark: f"{above}\n{text(use, mark)}",
            f"received '{above.split(mark)[0]}'; delete the lines above the heading",
        )
        for above, mark in [
            *(("# a comment", ","), ("# two, of them", ","), ("Model: ResNet50", ";")),
            *(("Model", "\t"), ("Model: ResNet50" + ";" * 10, ";")),
        ]
    },
    "a row with a cell less": (
        lambda use: text(use).replace("1.png,", ""),
        r"cannot be read as a table \(expected \d cells in every line: line 3 has \d\)",
    ),
    "rows with cells more": (
        lambda use: text(use).replace(",HP,", ",HP,HP,"),
        r"expected \d cells in every line: line 2 has \d, line 4 has \d\)",
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


@pytest.mark.parametrize("name", ["table.jsonl", "table.json"])
def test_lines_of_json_are_named(use, tmp_path, name):
    path, lines = tmp_path / name, as_lines(use).split("\n")
    path.write_text(lines[0] + "\n\n" + lines[1].replace('"SSA"', "null") + "\n")
    with pytest.raises(InputError, match=r"expected a value, received none at line 3 \(of 2 rows"):
        use.read(path)
    path.write_text(lines[0] + "\n\n" + lines[1][:-1] + "\n")
    with pytest.raises(InputError, match="line 3 cannot be read as JSON"):
        use.read(path)


def test_parquet_that_is_no_table(use, tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"PAR1 junk")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        use.read(path)
    frame(use).to_parquet(path, compression=None)
    path.write_bytes(path.read_bytes().replace(b"\3\0\0\0SSA", b"\3\0\0\0S\xffA"))
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


# Files that are broken ----------------------------------------------------------------------------


def whole_files(folder: Path) -> dict[str, bytes]:
    """A file of each kind that can be read."""
    use, made = USES["predictions"], {}
    table = frame(use).assign(path=NAMES)
    for suffix, write in {
        ".csv": lambda path: table.to_csv(path, index=False),
        ".csv.gz": lambda path: table.to_csv(path, index=False),
        ".parquet": lambda path: table.to_parquet(path),
        ".json": lambda path: table.to_json(path, orient="records"),
        ".jsonl": lambda path: table.to_json(path, orient="records", lines=True),
        ".xlsx": lambda path: table.to_excel(path, engine="openpyxl", index=False),
        ".npz": lambda path: np.savez(path, logits=np.eye(2), labels=[0, 1], group=["a", "b"]),
    }.items():
        path = folder / f"whole{suffix}"
        write(path)
        made[suffix] = path.read_bytes()
    return made


def broken(whole: dict[str, bytes]) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    made = {
        "empty": b"",
        "one byte": b"a",
        "zeros": bytes(1000),
        "control characters": bytes(range(1, 32)) * 10,
        "quotes": b'"' * 1001,
        "an open quote": b'label,logit_a,logit_b,path\n"a,1,2,0.png\nb,1,2,1.png\n',
        "separators": b",;\t|\n" * 10,
        "half a character": "label,logit_a,logit_\u00e9".encode()[:-1],
        "a surrogate": rb'[{"label": "\ud800", "path": "0.png", "logit_\ud800": 1}]',
        "a surrogate below a number": rb'[{"label": 1, "path": 1}, {"label": "\ud800"}]',
        "nested": b'[{"label": ' + b"[" * 400 + b"]" * 400 + b"}]",
        "large numbers": b'[{"label": 1e999, "path": 1' + b"0" * 400 + b', "logit_a": -1e999}]',
        "mixed": b'[{"label": [1], "path": {"a": 1}}, {"label": {}, "path": true}, {}]',
        "an archive": b"PK\5\6" + bytes(18),
        "an array": b"\x93NUMPY\x01\x00v\x00{}",
        "noise": rng.bytes(3000),
    }
    for suffix, data in whole.items():
        made[f"half of {suffix}"] = data[: len(data) // 2]
        made[f"most of {suffix}"] = data[:-5]
        for k in range(3):
            noisy = bytearray(data)
            for place in rng.integers(0, len(data), 8):
                noisy[place] = rng.integers(256)
            made[f"{suffix} with noise {k}"] = bytes(noisy)
    return made


@pytest.mark.filterwarnings("ignore")
def test_broken_files_end_in_a_line(tmp_path):
    """Whatever is in a file, and whatever it is called: it is read, or refused in one line."""
    for name in NAMES:
        (tmp_path / name).touch()
    whole = whole_files(tmp_path)
    contents = whole | broken(whole)
    lines = []
    for suffix in [".csv", ".tsv.gz", ".json", ".jsonl", ".parquet", ".xlsx", ".xls", ".npz", ""]:
        path = tmp_path / f"labels{suffix}"
        for what, data in contents.items():
            path.write_bytes(data)
            for read in (read_images, read_scores):
                try:
                    read(path)
                except InputError as error:
                    lines.append(str(error))
                except Exception as error:
                    pytest.fail(f"{what} as {suffix}: {type(error).__name__}: {error}")
        path.unlink()
    assert len(lines) > 500
    assert [line for line in lines if "\n" in line or not line.startswith(str(tmp_path))] == []


HOSTILE = {
    "no UTF-8": os.fsdecode(b"\xff\xe4 table.csv"),
    "two lines": "two\nlines.csv",
    "markup": "[red]table.csv",
    "a scheme": "file:table.csv",
    "a partition": "label=3.parquet",
    "a star": "*.csv",
    "long": "a" * 251 + ".csv",
    "too long": "a" * 300 + ".csv",
    "zero": "a\0b.csv",
    "no home": "~nobody-here/table.csv",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore")
def test_hostile_names(use, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / HOSTILE[kind]
    if kind == "no home":
        path = Path(HOSTILE[kind])
    with pytest.raises(InputError) as caught:
        use.read(path)
    assert "\n" not in str(caught.value)
    if kind in ("too long", "zero", "no home"):
        return
    if kind == "no UTF-8" and use is USES["images"]:  # runs name their data set in UTF-8
        assert "expected names in UTF-8" in str(caught.value)
        return
    path.mkdir()
    with pytest.raises(InputError, match="received a folder"):
        use.read(path)
    path.rmdir()
    frame(use).to_parquet("made") if kind == "a partition" else Path("made").write_text(text(use))
    Path("made").rename(path)
    assert use.read(path) == (LABELS, GROUPS)
    path.write_text("label\n")
    with pytest.raises(InputError) as caught:
        use.read(path)
    assert "\n" not in str(caught.value)


# Dialects and types that are seldom ------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "mark"),
    [("sep=;", ";"), ('"sep=,"', ","), ("SEP=\t", "\t"), ("\ufeffsep=|", "|"), ("sep=:", ":")],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_first_line_that_declares_the_separator(use, tmp_path, first, mark, end):
    """What Excel reads and writes; lines are counted with it."""
    path = tmp_path / "table.csv"
    table = f"{first}\n{text(use, mark)}".replace("\n", end)
    path.write_bytes(table.encode())
    assert use.read(path) == (LABELS, GROUPS)
    path.write_bytes(table.replace(f"1.png{mark}SSA", f"1.png{mark}").encode())
    with pytest.raises(InputError, match=f"{use.label}: expected a value, received none at line 4"):
        use.read(path)


def test_a_first_line_that_declares_no_separator(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("sep=a\nxay\n1a2\n")
    with pytest.raises(InputError, match=r"expected a mark that separates cells, .* 'sep=a'"):
        open_table(path)


@pytest.mark.parametrize(
    ("columns", "refused"),
    [
        ("1,5;1.000", "'1,5' in 'a' and '1.000' in 'b'; write all with a point"),
        ("1.000;1,5", "'1,5' in 'b' and '1.000' in 'a'"),
        ("1,5; 0.25 ", "'1,5' in 'a' and '0.25' in 'b'"),
        ("1,5;1e-05", None),
        ("1,5;7", None),
        ("1,5;2,5", None),
        ("1.5;2.5", None),
    ],
)
def test_two_decimal_marks_in_one_file(tmp_path, columns, refused):
    path = tmp_path / "table.csv"
    path.write_text(f"a;b;version\n{columns};1.0\n")
    table = open_table(path)
    if refused is None:
        table.read(["a", "b", "version"], numbers=["a", "b"])
        expected = [float(cell.replace(",", ".")) for cell in columns.split(";")]
        assert table.matrix(["a", "b"]).tolist() == [expected]
    else:
        with pytest.raises(InputError, match=f"one decimal mark in all .*, received {refused}"):
            table.read(["a", "b", "version"], numbers=["a", "b"])


@pytest.mark.parametrize(
    ("rows", "mark", "expected"),
    [
        (["a,0,25", "b,0,75"], ",", None),
        (["1,0,25", "2,0,75"], ",", None),
        (["1,1,a", "2,0,b"], ",", ["1", "0"]),  # the row names 1 and 2
        (["3,1,a", "7,0,b"], ",", None),  # or 3,1 and 7,0
        (["3;1;a", "7;0;b"], ";", ["1", "0"]),
        (["x,1,a", "x,0,b"], ",", None),
        (["1,a,", "2,b,"], ",", ["1", "2"]),
        (["1,a,", "2,b,c"], ",", ["a", "b"]),
        (["1,a,b", "2,b"], ",", None),
    ],
)
def test_a_heading_one_cell_short(tmp_path, rows, mark, expected):
    """In commas two cells may be one number with a decimal comma."""
    path = tmp_path / "table.csv"
    path.write_text("\n".join([f"x{mark}y", *rows]))
    table = open_table(path)
    if expected is None:
        with pytest.raises(InputError, match=r"expected 2 cells in every line: line 2 has 3"):
            table.read(["x"])
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table.read(["x"])
        assert table.text("x").tolist() == expected
        assert table.unused(["x"]) == ("y",)


@pytest.mark.parametrize("suffix", ["csv", "xlsx", "json"])
@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["0,5", "1", "-1,25e-1"], [0.5, 1, -0.125]),
        (["0,125", "0,250", "1,000"], [0.125, 0.25, 1]),
        (["1,250", "12,500", "7"], "numbers with decimal points, received '1,250'"),
        (["1,5", "0.5", "2,5"], "numbers"),
        (["0,5", "0,7", "Total"], "received 'Total' at (line 4|row 4|entry 3) "),
        (["12.5%", "7%", "80 %"], r"without % \(write 0.125, or 12.5 and --normalize\), .*'12.5%'"),
        (["12,5 %", "7%", "80%"], r"without % \(write 0.125, or 12.5 and --normalize\)"),
    ],
)
def test_decimal_commas_and_percentages_as_text(tmp_path, suffix, cells, found):
    path = tmp_path / f"table.{suffix}"
    made = pd.DataFrame({"x": cells, "y": "a"})
    if suffix == "csv":
        made.to_csv(path, index=False)
    elif suffix == "json":
        made.to_json(path, orient="records")
    else:
        made.to_excel(path, index=False)
    table = open_table(path)
    table.read(["x", "y"], numbers=["x"])
    if isinstance(found, list):
        assert table.matrix(["x"])[:, 0].tolist() == found
    else:
        with pytest.raises(InputError, match=found):
            table.matrix(["x"])


def test_the_last_line_of_decimal_commas_that_sums_up(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("x;y\n\n0,5;a\n0,25;b\n0,75;a\nTotal;3\n")
    table = open_table(path)
    table.read(["x"], numbers=["x"])
    with pytest.raises(InputError, match=r"expected numbers, received 'Total' at line 6 \(of 4"):
        table.matrix(["x"])


def test_excel_with_the_table_elsewhere(tmp_path):
    path, book = tmp_path / "table.xlsx", openpyxl.Workbook()
    book.active.title = "notes"
    book.create_sheet("scores")
    book.create_sheet("old")
    for row in (["by", "whom"], [1, 2]):
        book.active.append(row)
    book.save(path)
    with pytest.raises(
        InputError,
        match=r"xlsx \(sheet 'notes', the first; others: 'scores', 'old'\): expected columns prob",
    ):
        read_predictions(path)
    book.active.insert_rows(1)
    book.active["A1"] = "Model: ResNet50"
    book.save(path)
    with pytest.raises(InputError, match=r"in row 1, received 'Model: .*'; delete the rows above"):
        open_table(path)


def test_excel_with_formulas_that_have_no_values(tmp_path):
    path, book = tmp_path / "table.xlsx", openpyxl.Workbook()
    for row in (["label", "x", "y"], ["a", "=1/4", None], ["b", "=3/4", None]):
        book.active.append(row)
    book.save(path)
    table = open_table(path)
    table.read(["label", "y"], numbers=["y"])
    with pytest.raises(InputError, match=r"'x': holds formulas without .*; open and save it in Ex"):
        table.read(["x"], numbers=["x"])


@pytest.mark.parametrize("suffix", ["parquet", "json", "csv"])
def test_large_integers_beside_none(tmp_path, suffix):
    """As floats these would be one value."""
    path, large = tmp_path / f"table.{suffix}", [2**53, 2**53 + 1]
    table = pd.DataFrame({"x": pd.array([*large, None], dtype="Int64"), "y": [1, 2, 3]})
    {
        "csv": lambda: table.to_csv(path, index=False),
        "json": lambda: table.to_json(path, orient="records"),
        "parquet": lambda: table.to_parquet(path),
    }[suffix]()
    opened = open_table(path)
    opened.read(["x", "y"])
    values = opened.values("x")
    assert [int(value) for value in values.dropna()] == large
    assert values.isna().tolist() == [False, False, True]


def test_a_row_larger_than_a_block(tmp_path):
    """As of an embedding of a million numbers in a cell."""
    path = tmp_path / "table.csv"
    path.write_text('label,e,x\na,"[0]",1\n' + f'b,"[{"0.123, " * 300_000}0]",2\n' * 2)
    table = open_table(path)
    table.read(["label", "x"], numbers=["x"])
    assert table.text("label").tolist() == ["a", "b", "b"]
    assert table.matrix(["x"])[:, 0].tolist() == [1, 2, 2]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a", {"b": 1}], "column 'x': expected text or numbers .*, received an object at entry 2"),
        ([[1], 2], "column 'x': expected text or numbers .*, received a list at entry 1"),
        ([{"b": 1}, {"b": "c"}], "received an object at entries 1 and 2"),
    ],
)
@pytest.mark.parametrize("numbers", [[], ["x"]])
def test_nested_values_of_json(tmp_path, cells, message, numbers):
    path = tmp_path / "table.json"
    path.write_text(json.dumps([{"x": cell, "y": 1} for cell in cells]))
    table = open_table(path)
    with pytest.raises(InputError, match=message):
        table.read(["x"], numbers=numbers)
    table.read(["y"])
    assert table.text("y").tolist() == ["1", "1"]


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "json", "jsonl", "xlsx", "parquet"])
def test_the_first_row_of_every_kind(tmp_path, kind):
    """A table of a million rows is not read to find what its columns are."""
    made = pd.DataFrame({"id": ["a", "b"], "usage": [" train", "test"], "age": [50.0, 60.5]})
    path = tmp_path / f"made.{kind}"
    write = {
        "csv": partial(made.to_csv, index=False),
        "csv.gz": partial(made.to_csv, index=False),
        "json": partial(made.to_json, orient="records"),
        "jsonl": partial(made.to_json, orient="records", lines=True),
        "xlsx": partial(made.to_excel, index=False),
        "parquet": made.to_parquet,
    }[kind]
    write(path)
    name, usage, age = open_table(path).first_row()
    assert (name, usage.strip(), float(age)) == ("a", "train", 50)


@pytest.mark.parametrize("name", ["p.csv", "p.json", "p.npz"])
def test_a_pointer_of_git_lfs_is_told(tmp_path, name):
    path = tmp_path / name
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(InputError, match=r"is a pointer of Git LFS .* git lfs pull"):
        read_predictions(path)
