"""Tables that are not text: Parquet, JSON, and the first sheet of an Excel file."""

from __future__ import annotations

import codecs
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from lsplus_tf.bounded import check_unpacked, json_of, largest_unpacked, opened_zip
from lsplus_tf.errors import InputError, one_line
from lsplus_tf.files import shown
from lsplus_tf.tables.encodings import binary, suffix_of, utf_8
from lsplus_tf.tables.names import listed, one_form
from lsplus_tf.tables.rows import Rows
from lsplus_tf.tables.table import Table, is_bytes, is_list, is_number

_LARGEST_JSON = 8 * 2**30  # bytes; in memory some ten times as many
# Cells that a table may have, and for each that is filled.
_MOST_EMPTY, _TIMES_EMPTY = 2 * 10**6, 20
_EXCEL_ROWS = 2**20  # the most that a sheet can have
# Bytes of XML in an Excel file: as many, or as many for each packed one. Constants are packed to a
# twentieth; each byte takes some 30 in memory.
_XML, _TIMES_XML = 16 * 2**20, 60
_NUMBER = 8  # bytes
LINES_OF_JSON = (".jsonl", ".ndjson")


class Parquet(Table):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self.rows = path, Rows(shown(path))
        self._schema: pa.Schema = self._read(pyarrow.parquet.read_schema)
        self._written = self._schema.names
        self.names = [*map(one_form, self._written)]

    def first_row(self) -> list[str]:
        columns = self._read(_first_batch).columns
        return [_shown(column[0]) if len(column) else "" for column in columns]

    def _load(self, positions: list[int], numbers: list[bool]) -> list[Any]:
        wanted = [self._written[k] for k in positions]
        fields = [self._schema.field(k) for k in positions]
        for field, number in zip(fields, numbers, strict=True):
            if not _may_be_read(field.type, number):
                raise self.rows.error(
                    f"column {one_form(field.name)!r}: expected {'' if number else 'text or '}"
                    f"numbers, it is of {field.type}"
                )
        # Of constants a few bytes can claim any number of rows, and of long texts.
        self._check_claimed(self._claimed({*wanted}))
        texts = [field.name for field in fields if _is_text(field.type)]
        table = self._read(pyarrow.parquet.read_table, columns=wanted, read_dictionary=texts)
        columns: list[Any] = table.select(wanted).columns
        self._check_claimed(sum(map(_bytes_of_text, columns)))
        return columns

    def _claimed(self, wanted: set[str]) -> int:
        """The bytes of some columns, as the file's footer has it; rows of lists have several."""
        about = self._read(pyarrow.parquet.read_metadata)
        parts = (
            about.row_group(k).column(j)
            for j in range(about.num_columns)
            if _is_of(about.schema.column(j).path, wanted)
            for k in range(about.num_row_groups)
        )
        return sum(max(_NUMBER * part.num_values, part.total_uncompressed_size) for part in parts)

    def _check_claimed(self, claimed: int) -> None:
        try:
            check_unpacked(claimed, self._path.stat().st_size)
        except InputError as error:
            raise self.rows.error(f"{error}") from error

    def _read(self, function: Callable[..., Any], **options: Any) -> Any:
        try:
            with binary(self._path) as file:
                found = function(file, **options)
                if options:
                    found.validate(full=True)  # that its text is UTF-8
                return found
        except InputError:
            raise
        except (pa.ArrowException, MemoryError, OSError, ValueError) as error:
            raise self.rows.error(
                f"cannot be read as Parquet ({one_line(error)}); the name of a CSV ends in .csv"
            ) from error


def _first_batch(file: Any) -> pa.RecordBatch:
    parquet = pyarrow.parquet.ParquetFile(file)
    rows = parquet.iter_batches(batch_size=1)
    return next(rows, pa.RecordBatch.from_pylist([], parquet.schema_arrow))


def _shown(cell: Any) -> str:
    """The text of a cell; "" of a list, which may be very long."""
    return "" if pa.types.is_nested(cell.type) else str(cell.as_py())


def _is_of(path: str, names: set[str]) -> bool:
    """Whether what Parquet calls by a path is one of the columns, or what is in its rows."""
    return not names.isdisjoint(accumulate(path.split("."), "{}.{}".format))


def _may_be_read(kind: pa.DataType, number: bool) -> bool:
    """Whether a column may have names, or numbers; what cannot have is not worth its memory."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
        if _is_text(kind):  # which is read text by text, however often each is there
            return False
    if pa.types.is_nested(kind):
        return number and is_list(kind) and is_number(kind.value_type)
    return not is_bytes(kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _bytes_of_text(column: pa.ChunkedArray) -> int:
    """The bytes that a column of numbers for texts has when each is written out."""
    if not pa.types.is_dictionary(column.type):
        return 0
    lengths = (
        pc.binary_length(chunk.dictionary).take(chunk.indices)
        for chunk in column.chunks
        if _is_text(chunk.dictionary.type)
    )
    return sum(pc.sum(pc.cast(each, pa.int64())).as_py() or 0 for each in lengths)


class _Objects(Table):
    """A table whose cells are Python's objects."""

    def _take(self, cells: pd.DataFrame, names: Iterable[Any]) -> None:
        """Keep the cells and the names; `UnicodeError` if one of the names is no Unicode."""
        self.names = [one_form("" if name is None else str(name)) for name in names]
        self._cells = [column for _, column in cells.items()]
        "".join(self.names).encode()

    def _check_filled(self, rows: int, columns: int, filled: int) -> None:
        """Refuse a table whose few cells lie so far apart that memory is for empty ones."""
        if rows * columns > max(_MOST_EMPTY, _TIMES_EMPTY * filled):
            raise self.rows.error(
                f"expected cells in rows and columns, received {filled} that lie scattered over "
                f"{rows} rows and {columns} columns"
            )

    def first_row(self) -> list[str]:
        return [one_form(str(column.iloc[0])) for column in self._cells if len(column)]

    def _load(self, positions: list[int], numbers: list[bool]) -> list[Any]:
        try:
            return [pa.chunked_array([self._array(k)]) for k in positions]
        except UnicodeError as error:
            raise self._no_unicode(error) from error

    def _no_unicode(self, error: UnicodeError) -> InputError:
        """An error about half a character, which JSON can spell."""
        return self.rows.error(f"holds text that is no Unicode ({one_line(error)})")

    def _array(self, position: int) -> pa.Array:
        """What the objects of a column are; of text and numbers all is text."""
        cells = self._cells[position]
        try:
            return pa.array(cells, from_pandas=True)
        except (pa.ArrowException, OverflowError):
            self.rows.refuse(
                np.array([isinstance(cell, (dict, list)) for cell in cells]),
                f"column {self.names[position]!r}",
                "text or numbers in every row, or lists of numbers in every row",
                lambda row: "a list" if isinstance(cells.iloc[row], list) else "an object",
            )
            return pa.array(cells.map(str, na_action="ignore"), from_pandas=True)


class Json(_Objects):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows = Rows(shown(path), "entry", lambda rows: [row + 1 for row in rows])
        text, self._said = utf_8(path)
        with text() as file:
            data = file.read().removeprefix(codecs.BOM_UTF8)
        entries, by_line = None, suffix_of(path) in LINES_OF_JSON
        try:
            entries = json_of(data, _LARGEST_JSON, finite=False)
        except InputError as error:
            # Where more follows what is whole, there is an object in each line.
            by_line = by_line or getattr(error.__cause__, "msg", "") == "Extra data"
            if not by_line:
                raise self.rows.error(f"cannot be read as JSON ({one_line(error)})") from error
        if by_line and not isinstance(entries, list):
            lines = [(k, line) for k, line in enumerate(data.split(b"\n"), 1) if line.strip()]
            self.rows = Rows(shown(path), "line", lambda rows: [lines[row][0] for row in rows])
            entries = [self._entry(number, line) for number, line in lines]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.rows.error(
                "expected a JSON list of objects, one for each row (of pandas: "
                "to_json(orient='records'))"
            )
        if not entries:
            raise self._no_row()
        keys: set[str] = set().union(*entries)
        self._check_filled(len(entries), len(keys), sum(map(len, entries)))
        try:
            frame = pd.DataFrame(entries, dtype=object)
            self._take(frame, frame.columns)
        except UnicodeError as error:
            raise self._no_unicode(error) from error

    def _entry(self, number: int, line: bytes) -> Any:
        try:
            return json_of(line, _LARGEST_JSON, finite=False)
        except InputError as error:
            raise self.rows.error(
                f"line {number} cannot be read as JSON ({one_line(error)})"
            ) from error


class Excel(_Objects):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self.rows = path, Rows(shown(path))
        sheets, cells = self._first_sheet(path)
        if len(sheets) > 1:
            part = f" (sheet {sheets[0]!r}, the first; others: {listed(sheets[1:])})"
            self.rows = replace(self.rows, part=part)
            self._said = [f"sheet {sheets[0]!r} was read, the first of {len(sheets)}"]
        if cells.empty:
            raise self.rows.error(
                f"expected a heading with the names of the columns in sheet {sheets[0]!r}, it is "
                "empty"
            )
        heading, cells = cells.iloc[0], cells.iloc[1:]
        if heading.notna().sum() == 1 and (cells.notna().sum(axis=1) > 1).any():
            raise self._no_heading("row", str(heading.dropna().iloc[0]))
        if cells.empty:
            raise self._no_row()
        numbers = cells.index + 1
        self.rows = replace(
            self.rows, unit="row", numbers=lambda rows: numbers[list(rows)].tolist()
        )
        self._take(cells, heading.where(heading.notna(), None))

    def _load(self, positions: list[int], numbers: list[bool]) -> list[Any]:
        for position in positions:
            cells = self._cells[position]
            if cells.isna().all() and self._has_formulas(position):
                raise self.rows.error(
                    f"column {self.names[position]!r}: holds formulas without their values; open "
                    "and save it in Excel"
                )
        return super()._load(positions, numbers)

    def _has_formulas(self, position: int) -> bool:
        """Whether a column has formulas; their values are read, if a program has stored them."""
        with warnings.catch_warnings(), binary(self._path) as file:
            warnings.simplefilter("ignore")
            book = _workbook(file)
            column = position + 1
            rows = _shown_sheets(book)[0].iter_rows(min_col=column, max_col=column)
            return any(cell.data_type == "f" for row in rows for cell in row)

    def _first_sheet(self, path: Path) -> tuple[list[Any], pd.DataFrame]:
        try:
            with warnings.catch_warnings(), binary(path) as file:
                warnings.simplefilter("ignore")  # about styles
                _check_xml(file)
                book = _workbook(file, data_only=True)
                try:
                    sheets = _shown_sheets(book)
                    return [sheet.title for sheet in sheets], self._cells_of(sheets[0])
                finally:
                    book.close()
        except Exception as error:  # of a broken file openpyxl raises almost any
            why = one_line(error).removeprefix(f"{self.rows.source}: ")
            raise self.rows.error(
                f"cannot be read as an Excel file ({why}); the name of a CSV ends in .csv"
            ) from error

    def _cells_of(self, sheet: Any) -> pd.DataFrame:
        """The cells of the rows that have some, by the numbers of the rows from 0."""
        sheet.reset_dimensions()  # which may be wrong
        rows: dict[int, list[Any]] = {}
        width = filled = 0
        for number, cells in enumerate(sheet.iter_rows(max_row=_EXCEL_ROWS + 1)):
            if number == _EXCEL_ROWS:
                raise self.rows.error(f"has more than {_EXCEL_ROWS} rows")
            row = [_value(cell) for cell in cells]
            while row and row[-1] is np.nan:
                row.pop()
            if row:
                rows[number] = row
                width = max(width, len(row))
                filled += sum(value is not np.nan for value in row)
                self._check_filled(len(rows), width, filled)
        padded = [row + [np.nan] * (width - len(row)) for row in rows.values()]
        return pd.DataFrame(padded, index=[*rows], dtype=object)


def _workbook(file: Any, **options: bool) -> Any:
    import openpyxl  # which takes a tenth of a second, and most files are none

    return openpyxl.load_workbook(file, read_only=True, **options)


def _shown_sheets(book: Any) -> list[Any]:
    return [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]


def _value(cell: Any) -> Any:
    """The value of a cell; NaN for an empty one, or the name of an error."""
    value = cell.value
    if value is None or value == "" or cell.data_type == "e":
        return np.nan
    if cell.data_type == "n" and value == int(value):
        return int(value)
    return value


def _check_xml(file: Any) -> None:
    """Raise `InputError` for an Excel file whose parts claim far more than they are packed in."""
    with opened_zip(file) as archive:
        members = archive.infolist()
        claimed = sum(member.file_size for member in members)
        packed = sum(member.compress_size for member in members)
        if claimed > largest_unpacked(packed, _XML, _TIMES_XML):
            raise InputError(f"{packed} bytes would become {claimed}, as those of no sheet do")
