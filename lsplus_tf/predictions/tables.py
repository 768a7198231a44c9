"""Columns of CSV and Parquet files, by Arrow."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lsplus_tf.csv_files import split_heading
from lsplus_tf.errors import one_line
from lsplus_tf.predictions.rows import Rows

_RAGGED_NAMED = 3


class _Heading(NamedTuple):
    names: list[str]
    delimiter: str


class Table:
    """A file's columns: their names first, then those that are wanted.

    Attributes
    ----------
    names : list of str
        Of all columns.
    rows : Rows
        What its rows are called.
    """

    def __init__(self, path: Path, names: list[str], delimiter: str | None) -> None:
        self.names = names
        self._path = path
        self._delimiter = delimiter  # None for Parquet
        self._table = pa.table({})
        self.rows = (
            Rows(str(path))
            if delimiter is None
            else Rows(str(path), "line", lambda rows: _line_numbers(path, delimiter, rows))
        )

    def read(self, wanted: Collection[str], text: Collection[str]) -> None:
        """Read columns that are there; those in `text` stay as they are written, "007" not 7."""
        unique = list(dict.fromkeys(wanted))
        for name in unique:
            if self.names.count(name) > 1:
                listed = ", ".join(map(repr, self.names[:20]))
                raise self.rows.error(f"expected one column {name!r}, found several among {listed}")
        if self._delimiter is None:
            self._table = _read_parquet(self._path, unique, self.rows)
        else:
            self._table = self._read_csv(unique, text, ".")
            if self._delimiter == ";" and any(
                pa.types.is_string(self._table[name].type) for name in unique if name not in text
            ):  # where the decimal sign is a comma, the delimiter cannot be one
                self._table = self._read_csv(unique, text, ",")
        if not self._table.num_rows:
            raise self.rows.error("expected a row for each case, there is none")

    def values(self, name: str | None) -> Any:
        """A column as text, or as whatever Parquet has, (N,)."""
        column = self._table[name]
        return column.to_pandas()

    def numbers(self, names: Sequence[str]) -> npt.NDArray[Any]:
        """Columns of numbers as an array (N, len(names)), NaN where a cell is empty."""
        types = [self._table[name].type for name in names]
        single = all(pa.types.is_float32(kind) or pa.types.is_float16(kind) for kind in types)
        matrix = np.empty((self._table.num_rows, len(names)), np.float32 if single else np.float64)
        for k, (name, kind) in enumerate(zip(names, types, strict=True)):
            column = self._table[name]
            if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
                self._refuse_text(name, column)
            matrix[:, k] = column.to_numpy()
        return matrix

    def _refuse_text(self, name: str, column: pa.ChunkedArray) -> None:
        cells = column.to_pandas()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            bad = pd.to_numeric(cells, errors="coerce").isna().to_numpy()
            self.rows.refuse(bad, f"column {name!r}", "numbers", lambda row: repr(cells[row]))
        if not pa.types.is_null(column.type):
            raise self.rows.error(f"column {name!r}: expected numbers, it is of {column.type}")

    def _read_csv(self, wanted: list[str], text: Collection[str], decimal: str) -> pa.Table:
        try:
            return pyarrow.csv.read_csv(
                self._path,
                pyarrow.csv.ReadOptions(column_names=self.names, skip_rows=1),
                pyarrow.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                pyarrow.csv.ConvertOptions(
                    include_columns=wanted,
                    column_types=dict.fromkeys(text, pa.string()),
                    decimal_point=decimal,
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            ragged = _ragged(self._path, self._delimiter or ",", len(self.names))
            why = ragged or one_line(error)
            raise self.rows.error(f"cannot be read as a table in UTF-8 ({why})") from error


def open_table(path: Path) -> Table:
    """The table of a file, whose columns are not read yet."""
    if path.suffix.lower() == ".parquet":
        rows = Rows(str(path))
        try:
            names = pyarrow.parquet.read_schema(path).names
        except (pa.ArrowInvalid, OSError) as error:
            raise rows.error(f"cannot be read as Parquet ({one_line(error)})") from error
        return Table(path, names, None)
    heading = _heading(path)
    return Table(path, heading.names, heading.delimiter)


def _read_parquet(path: Path, wanted: list[str], rows: Rows) -> pa.Table:
    try:
        return pyarrow.parquet.read_table(path, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise rows.error(f"cannot be read as Parquet ({one_line(error)})") from error


def _heading(path: Path) -> _Heading:
    """The names in the first line, and what separates them."""
    rows = Rows(str(path))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
    except UnicodeDecodeError as error:
        raise rows.error("cannot be read as UTF-8; save it as CSV in UTF-8") from error
    if not line.strip():
        raise rows.error("expected a heading with the names of the columns in line 1, it is empty")
    return _Heading(*split_heading(line))


def _line_numbers(path: Path, delimiter: str, rows: Sequence[int]) -> list[int]:
    """The lines in which the rows of a CSV end; it is read again, as mistakes are rare."""
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        reader = csv.reader(file, delimiter=delimiter)
        next(reader)
        lines = (reader.line_num for cells in reader if cells)
        by_row = dict(enumerate(islice(lines, max(rows) + 1)))
    return [by_row[row] for row in rows]


def _ragged(path: Path, delimiter: str, columns: int) -> str:
    """The first lines that have more or fewer cells than the heading, in words."""
    found = []
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        reader = csv.reader(file, delimiter=delimiter)
        for cells in reader:
            if cells and len(cells) != columns:
                found.append(f"line {reader.line_num} has {len(cells)}")
            if len(found) == _RAGGED_NAMED:
                break
    return f"expected {columns} cells in every line: {', '.join(found)}" if found else ""
