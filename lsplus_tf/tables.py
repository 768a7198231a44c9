"""Tables as people have them: one reader, for labels and for predictions.

A table is a CSV in UTF-8, with or without a byte-order mark, whose cells commas, semicolons or tabs
separate, whichever its heading has most of; where semicolons do, scores and votes of predictions
may have a decimal comma. Or it is a Parquet file (`.parquet`), or a JSON list of objects (`.json`).
Empty cells, and the text "nan" or "NaN", are no values.
"""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from lsplus_tf.errors import InputError, MissingDataError, one_line

__all__ = ["Rows", "Table", "listed", "open_table"]

_DELIMITERS = ",;\t"
# What a person or a program types for a cell without a value.
_NO_VALUE = pa.array(["", "nan", "NaN"])
_NAMED = 3
_LISTED = 20
_LONGEST_CELL = 2**31 - 1  # Python's reader of CSV stops at 2**17 characters otherwise


def listed(names: Sequence[str]) -> str:
    """Names for a message; of many the first.

    Parameters
    ----------
    names : sequence of str

    Examples
    --------
    >>> listed(["path", "label"])
    "'path', 'label'"
    """
    return ", ".join(map(repr, names[:_LISTED])) + (", ..." if len(names) > _LISTED else "")


def _as_it_is(rows: Sequence[int]) -> list[int]:
    return list(rows)


@dataclass(frozen=True)
class Rows:
    """The rows of a file, or of arrays.

    Parameters
    ----------
    source : str
        The file, or "" for arrays.
    unit : str
        What is counted: "line" of a CSV, where the heading is line 1; "entry" of a JSON list, from
        1; "row", from 0, elsewhere.
    numbers : callable
        The numbers in this unit of some rows.
    unused : tuple of str
        Columns of the file that play no part.

    Examples
    --------
    >>> str(Rows("cases.csv", "line").error("labels: expected a value"))
    'cases.csv: labels: expected a value'
    >>> Rows().named(np.array([2, 5]))
    'rows 2 and 5'
    """

    source: str = ""
    unit: str = "row"
    numbers: Callable[[Sequence[int]], list[int]] = _as_it_is
    unused: tuple[str, ...] = ()

    def error(self, message: str) -> InputError:
        """An error that names the file."""
        return InputError(f"{self.source}: {message}" if self.source else message)

    def named(self, rows: npt.NDArray[np.intp]) -> str:
        """The first few of the rows in words: "lines 3, 5 and 9"."""
        numbers = [str(n) for n in self.numbers(rows[:_NAMED].tolist())]
        if len(numbers) == 1:
            return f"{self.unit} {numbers[0]}"
        units = "entries" if self.unit == "entry" else f"{self.unit}s"
        return f"{units} {', '.join(numbers[:-1])} and {numbers[-1]}"

    def refuse(
        self,
        bad: npt.NDArray[np.bool_],
        what: str,
        expected: str,
        received: Callable[[int], Any],
    ) -> None:
        """Raise an error that counts and names the rows that are `bad` (N,), if any is.

        `received` tells what is in a row, and is asked for the first one.
        """
        rows = np.flatnonzero(bad)
        if rows.size:
            many = f", the first of {rows.size} such" if rows.size > _NAMED else ""
            raise self.error(
                f"{what}: expected {expected}, received {received(int(rows[0]))} at "
                f"{self.named(rows)}{many} (of {bad.size} rows)"
            )

    def take(self, rows: npt.NDArray[np.intp]) -> Rows:
        """Where a choice of the rows came from."""
        return replace(self, numbers=lambda chosen: self.numbers(rows[list(chosen)].tolist()))


def open_table(path: Path, what: str = "a table") -> Table:
    """Open a table; its columns are read by :meth:`Table.read`.

    Parameters
    ----------
    path : Path
        The file; its suffix tells Parquet and JSON, and everything else is a CSV.
    what : str
        What is expected there, for messages.

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If it is no table.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels.csv"
    >>> _ = path.write_text("path;label\\na.png;HP\\nb.png;SSA\\n")
    >>> table = open_table(path)
    >>> table.names
    ['path', 'label']
    >>> table.read(["label"])
    >>> table.classes("label", ("HP", "SSA")).tolist()
    [0, 1]
    """
    if path.is_dir():
        raise InputError(f"{path}: expected {what}, received a folder")
    if not path.is_file():
        raise MissingDataError(f"{path}: expected {what}, there is none")
    kinds: dict[str, Callable[[Path], Table]] = {".parquet": _Parquet, ".json": _Json}
    try:
        return kinds.get(path.suffix.lower(), _Csv)(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from error


class Table(ABC):
    """A file's columns: their names first, then those that are wanted.

    Attributes
    ----------
    names : list of str
        Of all columns.
    rows : Rows
        What its rows are called.
    """

    names: list[str]
    rows: Rows

    def __init__(self) -> None:
        self._columns: dict[str, pa.ChunkedArray] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @abstractmethod
    def _load(self, wanted: list[str], numbers: Collection[str]) -> pa.Table:
        """Read columns, each of which is there once, in this order."""

    def read(self, wanted: Iterable[str], *, numbers: Collection[str] = ()) -> None:
        """Read columns, each of which must be there, once.

        Those in `numbers` may be numbers; the others of a CSV stay as they are written, "007" not
        7.
        """
        unique = list(dict.fromkeys(wanted))
        for name in unique:
            if (count := self.names.count(name)) != 1:
                raise self.rows.error(
                    f"expected one column {name!r}, found {count} among {listed(self.names)}"
                )
        loaded = self._load(unique, numbers)
        if not loaded.num_rows:
            raise self._no_row()
        self._count = loaded.num_rows
        for name, column in zip(unique, loaded.columns, strict=True):
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            if pa.types.is_string_view(column.type):  # which Arrow cannot compare
                column = column.cast(pa.string())
            if pa.types.is_nested(column.type) or _is_bytes(column.type):
                raise self.rows.error(
                    f"column {name!r}: expected text or numbers, it is of {column.type}"
                )
            if _is_text(column.type) and name not in numbers:
                column = pc.if_else(pc.is_in(column, _NO_VALUE), None, column)
            self._columns[name] = column

    def _no_row(self) -> InputError:
        return self.rows.error("expected at least one row, there is none")

    def values(self, name: str) -> pd.Series:
        """A column as text, or as whatever the file has, (N,)."""
        return self._columns[name].to_pandas()

    def text(self, name: str) -> pd.Series:
        """A column as text, (N,); no cell may be without a value."""
        column = self._columns[name]
        missing = column.is_null(nan_is_null=True).to_numpy()
        self.rows.refuse(missing, name, "a value", lambda _: "none")
        return column.cast(pa.string()).to_pandas()

    def refuse(self, bad: npt.NDArray[np.bool_], name: str, expected: str) -> None:
        """Raise an error that names the rows whose cell in a column is `bad` (N,), if any is."""
        column = self._columns[name]
        self.rows.refuse(bad, name, expected, lambda row: repr(str(column[row].as_py())))

    def integers(self, name: str, low: int, high: int) -> npt.NDArray[np.int64]:
        """A column as int64, (N,), all within low..high; "1.0" is 1."""
        numbers = pd.to_numeric(self.text(name), errors="coerce").to_numpy(np.float64)
        good = (numbers == np.round(numbers)) & (numbers >= low) & (numbers <= high)
        self.refuse(~good, name, f"an integer in {low}..{high}")
        return numbers.astype(np.int64)

    def classes(self, name: str, class_names: Sequence[str]) -> npt.NDArray[np.int64]:
        """A column as indices, (N,), into the names of the K classes."""
        indices = pd.Index(class_names).get_indexer(pd.Index(self.text(name)))
        shown = ", ".join(map(repr, class_names[:10]))
        more = f" and {len(class_names) - 10} more" if len(class_names) > 10 else ""
        self.refuse(indices < 0, name, f"one of {shown}{more}")
        return indices.astype(np.int64)

    def matrix(self, names: Sequence[str]) -> npt.NDArray[Any]:
        """Columns of numbers as an array (N, len(names)), NaN where a cell is empty."""
        columns = [self._columns[name] for name in names]
        single = all(pa.types.is_float32(c.type) or pa.types.is_float16(c.type) for c in columns)
        array = np.empty((len(self), len(names)), np.float32 if single else np.float64)
        for k, (name, column) in enumerate(zip(names, columns, strict=True)):
            if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
                self._refuse_text(name, column)
            array[:, k] = column.to_numpy()
        return array

    def _refuse_text(self, name: str, column: pa.ChunkedArray) -> None:
        if _is_text(column.type):
            bad = pd.to_numeric(column.to_pandas(), errors="coerce").isna().to_numpy()
            self.rows.refuse(
                bad, f"column {name!r}", "numbers", lambda row: repr(column[row].as_py())
            )
        if not pa.types.is_null(column.type):
            raise self.rows.error(f"column {name!r}: expected numbers, it is of {column.type}")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return "binary" in str(kind)


class _Heading(NamedTuple):
    names: list[str]
    delimiter: str
    lines: int


def _records(
    path: Path, delimiter: str, errors: str = "replace"
) -> Iterator[tuple[int, list[str]]]:
    """The heading and the rows by Python's reader, each with the line that it ends in."""
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", errors=errors, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            for cells in reader:
                yield reader.line_num, cells
    finally:
        csv.field_size_limit(limit)


def _rows_below(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows below the heading, without lines that are empty."""
    return ((n, cells) for n, cells in islice(_records(path, delimiter), 1, None) if cells)


def _line_numbers(path: Path, delimiter: str, rows: Sequence[int]) -> list[int]:
    """The lines in which rows end; the file is read again, as mistakes are rare."""
    lines = (line for line, cells in _rows_below(path, delimiter) if any(cells))
    by_row = dict(enumerate(islice(lines, max(rows) + 1)))
    return [by_row[row] for row in rows]


class _Csv(Table):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.rows = Rows(str(path), "line")
        try:
            # Of the marks that may separate cells the one that makes the most.
            found = [_Heading(*self._first(mark)) for mark in _DELIMITERS]
        except UnicodeDecodeError as error:
            raise self.rows.error("cannot be read as UTF-8; save it as CSV in UTF-8") from error
        heading = max(found, key=lambda heading: len(heading.names))
        if not any(heading.names):
            raise self.rows.error(
                "expected a heading with the names of the columns in line 1, it is empty"
            )
        self.names, self._delimiter, self._heading_lines = heading
        # A function of the file and not of this table, whose columns it would hold.
        self.rows = replace(self.rows, numbers=partial(_line_numbers, path, self._delimiter))

    def _first(self, delimiter: str) -> tuple[list[str], str, int]:
        line, cells = next(_records(self._path, delimiter, errors="strict"), (0, []))
        return [name.strip() for name in cells], delimiter, line

    def _rows_below(self) -> Iterator[tuple[int, list[str]]]:
        return _rows_below(self._path, self._delimiter)

    def _load(self, wanted: list[str], numbers: Collection[str]) -> pa.Table:
        table = self._parse(wanted, numbers, ".")
        if self._delimiter == ";" and any(_is_text(table[name].type) for name in numbers):
            # Where the decimal sign is a comma, the delimiter cannot be one.
            table = self._parse(wanted, numbers, ",")
        return self._without_blank_rows(table)

    def _parse(self, wanted: list[str], numbers: Collection[str], decimal: str) -> pa.Table:
        # Columns are called by their position, as some may be there twice.
        position = {name: str(k) for k, name in enumerate(self.names)}
        try:
            table = pyarrow.csv.read_csv(
                self._path,
                pyarrow.csv.ReadOptions(
                    column_names=list(map(str, range(len(self.names)))),
                    skip_rows=self._heading_lines,
                ),
                pyarrow.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                pyarrow.csv.ConvertOptions(
                    include_columns=[position[name] for name in wanted],
                    column_types={position[n]: pa.string() for n in wanted if n not in numbers},
                    decimal_point=decimal,
                ),
            )
            return table.rename_columns(wanted)
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            if next(self._rows_below(), None) is None:
                raise self._no_row() from error
            why = self._ragged() or one_line(error)
            raise self.rows.error(f"cannot be read as a table in UTF-8 ({why})") from error

    def _without_blank_rows(self, table: pa.Table) -> pa.Table:
        """The rows that are more than separators, which spreadsheets leave below a table."""
        blank = np.ones(table.num_rows, bool)
        for column in table.columns:
            empty = pc.equal(column, "") if _is_text(column.type) else column.is_null()
            blank &= empty.to_numpy()
            if not blank.any():
                return table
        # Other columns may have something in such a row.
        full = np.array([any(cells) for _, cells in self._rows_below()])
        return table.filter(pa.array(full))

    def _ragged(self) -> str:
        """The first lines that have more or fewer cells than the heading, in words."""
        wrong = (
            f"line {line} has {len(cells)}"
            for line, cells in self._rows_below()
            if len(cells) != len(self.names)
        )
        found = ", ".join(islice(wrong, _NAMED))
        return f"expected {len(self.names)} cells in every line: {found}" if found else ""


class _Parquet(Table):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self.rows = path, Rows(str(path))
        try:
            self.names = pyarrow.parquet.read_schema(path).names
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _load(self, wanted: list[str], numbers: Collection[str]) -> pa.Table:
        try:
            return pyarrow.parquet.read_table(self._path, columns=wanted).select(wanted)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> InputError:
        return self.rows.error(f"cannot be read as Parquet ({one_line(error)})")


class _Json(Table):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows = Rows(str(path), "entry", lambda rows: [row + 1 for row in rows])
        try:
            entries: Any = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise self.rows.error(f"cannot be read as JSON ({one_line(error)})") from error
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.rows.error("expected a JSON list of objects")
        if not entries:
            raise self._no_row()
        frame = pd.DataFrame(entries, dtype=object)
        self._table = pa.table({str(name): _array(frame[name]) for name in frame})
        self.names = self._table.column_names

    def _load(self, wanted: list[str], numbers: Collection[str]) -> pa.Table:
        return self._table.select(wanted)


def _array(cells: pd.Series) -> pa.Array:
    """What JSON has in a column; of text and numbers all is text."""
    try:
        return pa.array(cells, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        return pa.array(cells.map(str, na_action="ignore"), from_pandas=True)
