"""Broken and hostile YAML, JSON, NPZ and tables: an `InputError`, in little time and memory."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from helpers import DIGITS
from hostile import (
    BZIP2,
    DEFLATED,
    Kind,
    Make,
    Member,
    check_refused,
    check_survived,
    damaged,
    deflated,
    holding,
    refused,
    within_bounds,
    zip_of,
)

from lsplus_tf import datasets
from lsplus_tf.calibrators import Calibrator, IsotonicCalibration, PredictionSets
from lsplus_tf.config import read_config
from lsplus_tf.errors import InputError
from lsplus_tf.predictions import read_predictions

DRAW = random.Random(1)
ROWS = 40
TABLE = pd.DataFrame(
    {
        "label": [DRAW.choice(["HP", "SSA"]) for _ in range(ROWS)],
        "probability_HP": [k / ROWS for k in range(ROWS)],
        "probability_SSA": [1 - k / ROWS for k in range(ROWS)],
    }
)

# --- YAML -----------------------------------------------------------------------------------------

CONFIG = DIGITS.read_text(encoding="utf-8")


def doubling(first: str, each: str, levels: int = 26) -> str:
    """Lines of which each has the one before twice."""
    return first + "".join(f"a{k}: {each.format(k=k, b=k - 1)}\n" for k in range(1, levels))


YAML = {
    "nested lists": "[" * 100_000,
    "nested sections": "{a: " * 100_000,
    "nested dashes": "- " * 100_000,
    "nested lines": "\n".join(" " * k + "a:" for k in range(2000)),
    "nested keys": "? " * 100_000,
    "aliases of aliases": doubling("a0: &a0 [x, x]\n", "&a{k} [*a{b}, *a{b}]"),
    "merges of merges": doubling("a0: &a0 {k: v}\n", "&a{k} {{<<: [*a{b}, *a{b}]}}"),
    "aliases of a long text": f"a: &a {'x' * 1_000_000}\nb: [{'*a,' * 1000}]",
    "interpolation of interpolation": doubling("a0: xxxxxxxx\n", "${{a{b}}}${{a{b}}}"),
    "an environment variable": f"{CONFIG}\noptional_methods: ['${{oc.env:HOME}}']",
    "an environment variable in a key": f"{CONFIG}\n${{oc.env:HOME}}: 1",
    "a list in itself": "a: &a [*a]",
    "an alias of nothing": "a: *b",
    "Python": "!!python/object/apply:os.system [exit]",
    "a date by its tag": "!!timestamp 2020-01-01",
    "bytes": "a: !!binary aGVsbG8=",
    "no number by its tag": "a: !!int [1]",
    "no truth by its tag": "a: !!bool x",
    "a section as a key": "{a: 1}: 2",
    "a long integer": f"seeds: [{'1' * 5000}]",
    "an integer beyond all floats": f"seeds: [1{'0' * 400}]",
    "a number beyond all floats": CONFIG.replace("alpha: 0.1", "alpha: 1e999"),
    "sexagesimal": CONFIG.replace("epochs: 25", "epochs: 1:30"),
    "a key twice": f"{CONFIG}\nname: other",
    "a key twice, deep": CONFIG.replace("width: 0.5", "width: 0.5\n  width: 1"),
    "two documents": f"{CONFIG}\n---\n{CONFIG}",
    "too long": f"{CONFIG}\n# {'x' * 5 * 2**20}",
    "many values": f"a: [{'1,' * 500_000}]",
    "many unknown keys": "\n".join(f"k{k}: {k}" for k in range(5000)),
    "many experiments": "name: g\ngrid:\n"
    + "".join(f"  g{k}: {{config: digits}}\n" for k in range(5000)),
    "a long unknown key": f"{'k' * 1000}: 1",
    "a long value": CONFIG.replace("name: digits", f"name: {'x' * 100_000}"),
    "a tab": "a:\n\tb: 1",
    "a list": "- a",
    "a number": "3",
    "escape sequences": "name: \x1b[2J",
    "control characters": '"a\\e[2J": 1',
    "other bytes": b"name: \xff\xfe",
    "UTF-16": CONFIG.encode("utf-16"),
}

# --- JSON -----------------------------------------------------------------------------------------

ENTRIES = TABLE.to_json(orient="records")


def entries(**others: Any) -> str:
    """The table in JSON, of whose first row some values are others, given in JSON."""
    first = {"label": '"HP"', "probability_HP": "1.0", "probability_SSA": "0.0", **others}
    return f"[{{{', '.join(f'{json.dumps(k)}: {v}' for k, v in first.items())}}}, {ENTRIES[1:]}"


JSON = {
    "nested lists": "[" * 100_000,
    "nested lists that end": "[" * 100_000 + "]" * 100_000,
    "nested objects": '{"a":' * 100_000,
    "nested in a cell": entries(more="[" * 5000 + "]" * 5000),
    "nested after texts of brackets": entries(more=f'["]]]]\\"]]]", {"[" * 300}{"]" * 300}]'),
    "a long integer": entries(probability_HP="1" * 5000),
    "an integer beyond all floats": entries(probability_HP="1" + "0" * 400),
    "a number beyond all floats": entries(probability_HP="1e999"),
    "no number": entries(probability_HP="NaN"),
    "infinity": entries(probability_HP="-Infinity"),
    "a key twice": f'[{{"label": "HP", "label": "SSA"}}, {ENTRIES[1:]}',
    "an object in a cell": entries(probability_HP="{}"),
    "a list in a cell": entries(label="[]"),
    "half a character": entries(label='"\\ud800"'),
    "keys that are half a character": f'[{{"\\ud800": 1}}, {ENTRIES[1:]}',
    "other bytes": b'[{"label": "\xff"}]',
    "a key of its own for each row": json.dumps([{f"k{k}": 1} for k in range(20_000)]),
    "one object": "{}",
    "text": '"label"',
    "null": "null",
    "no rows": "[]",
    "rows without cells": "[{}, {}]",
    "rows and others": "[{}, 3]",
    "columns": TABLE.to_json(),
    "lists": TABLE.to_json(orient="values"),
    "another value behind": f"{ENTRIES} []",
    "no end": ENTRIES[:-1],
    "a comma too many": f"{ENTRIES[:-1]},]",
    "single quotes": ENTRIES.replace('"', "'"),
    "a remark": f"// rows\n{ENTRIES}",
    "a control character": entries(label='"\x07"'),
}

# --- CSV ------------------------------------------------------------------------------------------

CSV = TABLE.to_csv(index=False)
HEAD = "label,probability_HP,probability_SSA\n"

TEXTS = {
    "NUL": CSV.replace("SSA,", "S\0A,"),
    "only a heading": HEAD,
    "only blank lines": "\n" * 1000,
    "only quotation marks": '"' * 10_000,
    "a quotation mark without end": HEAD + '"HP,0.5,0.5\n' * 1000,
    "a long line": HEAD + "x" * 2**22,
    "a heading of many columns": "a," * 50_000 + "\n1\n",
    "a column twice": "label,label,probability_HP,probability_SSA\nHP,HP,0.5,0.5\n",
    "fewer cells": CSV + "HP,0.5\n",
    "more cells": CSV + "HP,0.5,0.5,0.5,0.5\n",
    "a long number": f"{HEAD}HP,0.{'5' * 100_000},0.5\n",
    "a number beyond all floats": f"{HEAD}HP,1e999,0\n",
    "no number": f"{HEAD}HP,nan,nan\n",
    "infinity": f"{HEAD}HP,inf,0\n",
    "text for a number": f"{HEAD}HP,half,0.5\n",
    "a formula for a number": f"{HEAD}HP,=1/2,0.5\n",
    "escape sequences in a class": f"{HEAD}\x1b[2J,0.5,0.5\n",
    "no class": f"{HEAD},0.5,0.5\n",
    "another class": f"{CSV}HPV,0.5,0.5\n",
    "more than 1": f"{CSV}HP,1.5,-0.5\n",
    "other bytes": CSV.encode() + b"\x80\x81\xfe\xff,0.5,0.5\n",
    "half of UTF-16": CSV.encode("utf-16")[:-1],
    "UTF-32": CSV.encode("utf-32"),
    "a mark that is none": f"sep=a\n{CSV}",
    "no mark": CSV.replace(",", " : "),
    "bzip2": b"BZh91AY&SY",
    "PDF": b"%PDF-1.7\n",
    "an array": b"\x93NUMPY\1\0v\0{}",
    "an archive": zip_of(Member("table.csv", CSV.encode())),
}

PACKED = gzip.compress(CSV.encode(), mtime=0)
GZIP = {
    "zeros": gzip.compress(bytes(2**20)) * 200,
    "rows": gzip.compress(CSV.encode()) + gzip.compress(b"HP,0.5,0.5\n" * 2**17) * 100,
    "packed twice": gzip.compress(PACKED),
    "another checksum": PACKED[:-8] + bytes(4) + PACKED[-4:],
    "another size": PACKED[:-4] + bytes(4),
    "more behind": PACKED + b"more",
    "no data": gzip.compress(b""),
}

# --- NPZ ------------------------------------------------------------------------------------------


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array))
    return file.getvalue()


def header(
    shape: object = (ROWS, 2), descr: object = "<f8", length: int | None = None, **others: object
) -> bytes:
    """The beginning of an array's file, as it is given."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape} | others).encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text) if length is None else length) + text


LABELS = Member("label.npy", npy(TABLE["label"].to_numpy(np.str_)))
SCORES = Member("probabilities.npy", npy(TABLE.iloc[:, 1:].to_numpy()))
NAMES = Member("class_names.npy", npy(np.array(["HP", "SSA"])))
VALUES = SCORES.data[-16 * ROWS :]


def with_scores(data: bytes, **claims: Any) -> bytes:
    return zip_of(LABELS, NAMES, Member(SCORES.name, data, **claims))


def zeros(name: str, mebibytes: int) -> Member:
    """An array of zeros, packed; its checksum is wrong."""
    data = header((2**17 * mebibytes,))
    claimed = len(data) + 2**20 * mebibytes
    return Member(name, deflated(data, mebibytes), DEFLATED, claimed, crc=0)


NPZ = {
    "claims more than it has": with_scores(SCORES.data, claimed=2**31),
    "claims more than deflate can": with_scores(
        deflated(SCORES.data), method=DEFLATED, claimed=2**31
    ),
    "claims less than it has": with_scores(SCORES.data, claimed=200),
    "zeros": zip_of(LABELS, NAMES, zeros(SCORES.name, 3000)),
    "a shape of more than it has": with_scores(header((10**9, 2)) + VALUES),
    "a shape beyond all": with_scores(header((10**30, 10**30)) + VALUES),
    "a negative shape": with_scores(header((-1, 2)) + VALUES),
    "a shape of floats": with_scores(header((40.0, 2)) + VALUES),
    "a shape of truths": with_scores(header((True, 2)) + VALUES),
    "no shape": with_scores(header("40, 2") + VALUES),
    "many axes": with_scores(header((1,) * 3000) + VALUES),
    "nothing, very often": with_scores(header((10**12, 2), "<U0")),
    "Python objects": with_scores(header(descr="|O") + VALUES),
    "Python objects in fields": with_scores(header(descr=[("a", "|O")]) + VALUES),
    "no kind of number": with_scores(header(descr="<f77") + VALUES),
    "a nested kind": with_scores(header(descr=[("a", [("a", "<f8")])]) + VALUES),
    "a header of brackets": with_scores(b"\x93NUMPY\1\0\x88\x13" + b"(" * 5000),
    "a header that calls": with_scores(b"\x93NUMPY\1\0\x10\0__import__('os')" + VALUES),
    "a header that is long": with_scores(header(length=65535) + VALUES),
    "a header that is very long": with_scores(b"\x93NUMPY\2\0\xff\xff\xff\x7f" + VALUES),
    "a header with more": with_scores(header(more=1) + VALUES),
    "a version to come": with_scores(SCORES.data[:6] + b"\x09\0" + SCORES.data[8:]),
    "no array": with_scores(b"no array"),
    "nothing": with_scores(b""),
    "more behind its array": with_scores(SCORES.data + b"more"),
    "another checksum": with_scores(SCORES.data, crc=0),
    "a password": with_scores(SCORES.data, flags=1),
    "bzip2": with_scores(SCORES.data, method=BZIP2),
    "an unknown packing": with_scores(SCORES.data, method=99),
    "two arrays of one name": zip_of(LABELS, NAMES, SCORES, SCORES),
    "members of more than the file": with_scores(SCORES.data, claimed=10**6, packed=10**6),
    "long names": zip_of(*(Member(f"{k:060000}", b"") for k in range(150))),
    "a long list of members": zip_of(LABELS, NAMES, SCORES, directory=2**31),
    "many members": zip_of(*(Member(f"{k}", b"") for k in range(21_000)), count=21_000),
    "text": CSV.encode(),
    "an array alone": SCORES.data,
}

# --- Parquet --------------------------------------------------------------------------------------


def parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pa.parquet.write_table(table, file, **options)
    return file.getvalue()


def of_columns(label: Any, scores: Any = None) -> bytes:
    rows = len(label)
    scores = pa.array(np.full(rows, 0.5)) if scores is None else scores
    table = pa.table({"label": label, "probability_HP": scores, "probability_SSA": scores})
    return parquet(table)


def nested(levels: int) -> pa.DataType:
    kind: pa.DataType = pa.float64()
    for _ in range(levels):
        kind = pa.struct([("a", kind)])
    return kind


WHOLE = parquet(pa.Table.from_pandas(TABLE))
FOOTER = struct.unpack("<L", WHOLE[-8:-4])[0]
LONG = pa.DictionaryArray.from_arrays(np.zeros(20_000, np.int32), ["x" * 1_000_000])


def often(kind: pa.DataType, **options: Any) -> bytes:
    """A label of a megabyte in each of 20,000 rows, in a kilobyte."""
    label = pa.DictionaryArray.from_arrays(
        np.zeros(20_000, np.int32), pa.array(["x" * 1_000_000]).cast(kind)
    )
    scores = np.full(20_000, 0.5)
    table = pa.table({"label": label, "probability_HP": scores, "probability_SSA": scores})
    return parquet(table, **options)


def long_lists(name: str) -> bytes:
    """Rows of millions of zeros, which Parquet counts."""
    zeros = pa.array(np.zeros(10**7, np.int16))
    lists = pa.chunked_array([pa.ListArray.from_arrays([0, len(zeros)], zeros)] * 14)
    return parquet(pa.table({"label": ["HP"] * 14, name: lists}), row_group_size=1)


def json_texts() -> bytes:
    """As `often`, of Arrow's JSON, which it does not read as a dictionary."""
    texts = pa.array([json.dumps("x" * 10**6)] * 100)
    column = pa.ExtensionArray.from_storage(pa.json_(), texts)
    scores = pa.array(np.full(100, 0.5))
    table = pa.table({"label": column, "probability_HP": scores, "probability_SSA": scores})
    return parquet(table, compression="zstd")


def with_footer(size: int) -> bytes:
    return WHOLE[:-8] + struct.pack("<L", size) + b"PAR1"


PARQUET = {
    "a long text, often": of_columns(LONG),
    "a long text, often, as text": parquet(
        pa.table(
            {"label": LONG, "probability_HP": np.zeros(20_000), "probability_SSA": np.ones(20_000)}
        ),
        store_schema=False,
    ),
    "long bytes, often": often(pa.binary()),
    "long bytes, often, plain": often(pa.binary(), store_schema=False),
    "long large bytes, often": often(pa.large_binary()),
    "long lists": lambda: long_lists("probabilities"),
    "a footer of more than it has": with_footer(2**31),
    "a footer as large as can be": with_footer(2**32 - 1),
    "no footer": with_footer(0),
    "half a footer": with_footer(FOOTER // 2),
    "a footer of zeros": WHOLE[: -8 - FOOTER] + bytes(FOOTER) + WHOLE[-8:],
    "a footer of ones": WHOLE[: -8 - FOOTER] + b"\xff" * FOOTER + WHOLE[-8:],
    "a footer of nested structures": WHOLE[: -8 - FOOTER] + b"\x1c" * FOOTER + WHOLE[-8:],
    "zeros for data": WHOLE[:4] + bytes(len(WHOLE) - 12 - FOOTER) + WHOLE[-8 - FOOTER :],
    "encrypted": b"PARE" + WHOLE[4:-4] + b"PARE",
    "only its marks": b"PAR1PAR1",
    "only its mark": b"PAR1",
    "text": CSV.encode(),
    "no rows": parquet(pa.Table.from_pandas(TABLE.iloc[:0])),
    "no columns": parquet(pa.table({})),
    "no values": of_columns(pa.nulls(ROWS)),
    "no scores": of_columns(pa.array(["HP"] * ROWS), pa.nulls(ROWS)),
    "text for scores": of_columns(pa.array(["HP"] * ROWS), pa.array(["half"] * ROWS)),
    "bytes for text": of_columns(pa.array([b"\xff\xfe"] * ROWS)),
    "lists for text": of_columns(pa.array([["HP"]] * ROWS)),
    "nested scores": of_columns(pa.array(["HP"] * ROWS), pa.nulls(ROWS, nested(90))),
    "scores nested deeper": parquet(pa.table({"label": pa.nulls(1, nested(300))})),
    "dates for scores": of_columns(pa.array(["HP"] * ROWS), pa.array([0] * ROWS, pa.date32())),
    "scores that are no numbers": of_columns(pa.array(["HP"] * ROWS), pa.array([np.nan] * ROWS)),
    **({"long texts of JSON": json_texts()} if hasattr(pa, "json_") else {}),
    "a column twice": parquet(
        pa.Table.from_arrays(
            [pa.array(["HP"] * ROWS)] * 2 + [pa.array([0.5] * ROWS)] * 2,
            ["label", "label", "probability_HP", "probability_SSA"],
        )
    ),
    "another class": of_columns(pa.array(["HP"] * 39 + ["HPV"])),
    "another class of a long name": of_columns(pa.array(["HP"] * 38 + ["SSA", "x" * 10**6])),
}

# --- Excel ----------------------------------------------------------------------------------------


def excel(table: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    table.to_excel(file, index=False)
    return file.getvalue()


BOOK = excel(TABLE)
SHEET = "xl/worksheets/sheet1.xml"


def book(changes: dict[str, Any]) -> bytes:
    """The Excel file, of which some parts are others, or are not there."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(BOOK)) as old,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            part = changes.get(name, old.read(name))
            if part is not None:
                new.writestr(name, part)
    return file.getvalue()


def sheet(cells: str, before: str = "", start: str = '<?xml version="1.0"?>') -> bytes:
    """The Excel file with another sheet."""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    text = f'{start}<worksheet xmlns="{space}">{before}<sheetData>{cells}</sheetData></worksheet>'
    return book({SHEET: text})


def cell(text: str, kind: str = "inlineStr", at: str = "A1") -> str:
    inner = f"<is><t>{text}</t></is>" if kind == "inlineStr" else f"<v>{text}</v>"
    return f'<c r="{at}" t="{kind}">{inner}</c>'


TITLES = "<row>" + "".join(
    cell(name, at=f"{at}1") for name, at in zip(TABLE.columns, "ABC", strict=True)
) + "</row>"  # fmt: skip
LAUGHS = '<!ENTITY a0 "hahahahaha">' + "".join(
    f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 10)
)

EXCEL = {
    "a row beyond all": sheet(
        TITLES + f'<row r="99999999999">{cell("x", at="A99999999999")}</row>'
    ),
    "a row below the last": sheet(TITLES + f'<row r="1048577">{cell("x", at="A1048577")}</row>'),
    "a column beyond all": sheet(f"<row>{cell('x', at='ABCDEFG1')}</row>"),
    "cells far to the right": sheet(f"<row>{cell('x', at='ZZZ1')}</row>" * 20_000),
    "many empty cells": sheet(f"<row>{'<c/>' * 2**23}</row>"),
    "many blanks": sheet(" " * 2**25),
    "entities of entities": sheet(
        f"<row>{cell('&a9;')}</row>", start=f'<?xml version="1.0"?><!DOCTYPE x [{LAUGHS}]>'
    ),
    "a file as an entity": sheet(
        f"<row>{cell('&a;')}</row>",
        start='<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>',
    ),
    "nested elements": sheet("<row>" * 5000),
    "no sheet": book({SHEET: None}),
    "no workbook": book({"xl/workbook.xml": None}),
    "no styles": book({"xl/workbook.xml": b"<workbook/>"}),
    "no types": book({"[Content_Types].xml": None}),
    "a sheet that is no XML": book({SHEET: b"\0" * 100}),
    "no cells": sheet(""),
    "only a heading": sheet(TITLES),
    "a text that is not there": sheet(f"<row>{cell('99999', 's')}</row>"),
    "a text before the first": sheet(f"<row>{cell('-99999', 's')}</row>"),
    "a number beyond all floats": sheet(TITLES + f"<row>{cell('1e999', 'n')}</row>"),
    "a long number": sheet(TITLES + f"<row>{cell('1' * 5000, 'n')}</row>"),
    "no number": sheet(TITLES + f"<row>{cell('x', 'n')}</row>"),
    "an unknown kind of cell": sheet(TITLES + f"<row>{cell('x', 'zz')}</row>"),
    "an old Excel file": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000),
    "another archive": zip_of(Member("a.txt", b"text")),
    "a long list of members": BOOK[:-10] + struct.pack("<L", 2**31) + BOOK[-6:],
    "text": CSV.encode(),
}

KINDS = {
    "YAML": Kind("a.yaml", read_config, CONFIG.encode(), {k: holding(v) for k, v in YAML.items()}),
    "JSON": Kind(
        "a.json", read_predictions, ENTRIES.encode(), {k: holding(v) for k, v in JSON.items()}
    ),
    "CSV": Kind("a.csv", read_predictions, CSV.encode(), {k: holding(v) for k, v in TEXTS.items()}),
    "gzip": Kind("a.csv.gz", read_predictions, PACKED, {k: holding(v) for k, v in GZIP.items()}),
    "NPZ": Kind(
        "a.npz",
        read_predictions,
        zip_of(LABELS, NAMES, SCORES),
        {k: holding(v) for k, v in NPZ.items()},
    ),
    "Parquet": Kind(
        "a.parquet", read_predictions, WHOLE, {k: holding(v) for k, v in PARQUET.items()}
    ),
    "Excel": Kind("a.xlsx", read_predictions, BOOK, {k: holding(v) for k, v in EXCEL.items()}),
}


@refused(KINDS)
def test_a_hostile_file_is_refused_within_bounds(kind: Kind, make: Make, tmp_path: Path):
    check_refused(kind, make, tmp_path)


@pytest.mark.filterwarnings("ignore")
@damaged(KINDS)
def test_a_damaged_file_is_read_or_refused(kind: Kind, make: Make, tmp_path: Path):
    check_survived(kind, make, tmp_path)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_whole_file_is_read(kind: Kind, tmp_path: Path):
    """Without which all others could be refused for the same reason."""
    path = tmp_path / kind.name
    path.write_bytes(kind.whole)
    found = kind.read(path)
    if kind.read is read_predictions:
        np.testing.assert_allclose(found.probabilities, TABLE.iloc[:, 1:])
        assert found.class_names == ("HP", "SSA")


def test_an_array_that_is_not_wanted_costs_nothing(tmp_path: Path):
    """Three gigabytes of zeros in three megabytes."""
    path = tmp_path / "a.npz"
    path.write_bytes(zip_of(LABELS, NAMES, zeros("more.npy", 3000), SCORES))
    with within_bounds():
        np.testing.assert_allclose(read_predictions(path).probabilities, TABLE.iloc[:, 1:])


def test_what_does_not_fit_into_memory_is_said(tmp_path: Path, monkeypatch: Any):
    path = tmp_path / "a.parquet"
    path.write_bytes(WHOLE)

    def full(*_: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 30000000000 failed")

    monkeypatch.setattr("lsplus_tf.tables.table._plain", full)
    with pytest.raises(InputError, match=r"a.parquet: its columns take more memory than there is"):
        read_predictions(path)


@pytest.mark.parametrize("kind", [Calibrator, PredictionSets])
@pytest.mark.parametrize("values", ["[],", "1,", '{"a":1},', "[[[[1]]]],"])
def test_a_calibrator_of_many_values_is_refused_before_they_are_made(kind: Any, values: str):
    text = f'{{"format": [{values * (8 * 2**20 // len(values))}0]}}'
    with within_bounds(), pytest.raises(InputError, match="expected at most 2000000 values"):
        kind.from_json(text)


def test_a_calibrator_of_200_000_corners_is_read():
    fitted = IsotonicCalibration().fit([[0.0, 2.0], [2.0, 0.0]] * 2, [1, 0, 1, 0])
    inputs, outputs = np.sort(np.random.default_rng(0).random((2, 100_000))).tolist()
    document = json.loads(fitted.to_json())
    assert [*document["fitted"]] == ["inputs_", "outputs_"]
    document["fitted"] = {"inputs_": [inputs] * 2, "outputs_": [outputs] * 2}
    found = Calibrator.from_json(json.dumps(document))
    np.testing.assert_array_equal(found.outputs_, [outputs] * 2)


def test_a_wrong_dimension_of_a_sheet_is_not_believed(tmp_path: Path):
    rows = "".join(
        f"<row>{cell(label)}{cell(str(p), 'n', 'B1')}{cell(str(q), 'n', 'C1')}</row>"
        for label, p, q in TABLE.itertuples(index=False)
    )
    path = tmp_path / "a.xlsx"
    path.write_bytes(sheet(TITLES + rows, before='<dimension ref="A1:XFD1048576"/>'))
    with within_bounds():
        np.testing.assert_allclose(read_predictions(path).probabilities, TABLE.iloc[:, 1:])


def images_of(shape: tuple[int, ...]) -> bytes:
    """An archive of 60 images, of which the header claims a shape, and of more than is wanted."""
    images = header(shape, "|u1") + bytes(60 * 8 * 8)
    return zip_of(
        Member("train_images.npy", images),
        Member("train_labels.npy", npy(np.arange(60) % 2)),
        zeros("thumbnails.npy", 3000),
    )


@pytest.mark.filterwarnings("ignore:.*not used. thumbnails")
def test_the_images_of_an_archive(tmp_path: Path):
    path = tmp_path / "a.npz"
    path.write_bytes(images_of((60, 8, 8)))
    with within_bounds():
        assert len(datasets.load_dataset(f"npz:{path}").train) == 36
    path.write_bytes(images_of((10**9, 8, 8)))
    with within_bounds(), pytest.raises(InputError, match=r"train_images: its header claims 64000"):
        datasets.load_dataset(f"npz:{path}")
