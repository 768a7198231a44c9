"""Tables as people have them: one reader, for labels and for predictions.

A table is a text file whose cells commas, semicolons, tabs or vertical bars separate; where it is
no comma, numbers may have a decimal comma. Or it is a Parquet file (`.parquet`), JSON (`.json`, a
list of objects, or `.jsonl`, one in a line), or the first sheet of an Excel file (`.xlsx`). Each
may be packed by gzip (`.csv.gz`).

What a file certainly means is taken; what of it was changed is said in one warning. Text is in
UTF-8, or in UTF-16 with a byte-order mark, or else taken for Latin-1. Blanks around cells are
removed, "12" and "12.0" in one column are one value, and so are two Unicode forms of one text.
Cells that are empty, "nan" or "NaN" have no value; nor have "NA", "None" and their like in columns
of numbers.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import unicodedata
import warnings
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from lsplus_tf.errors import InputError, MissingDataError, one_line
from lsplus_tf.files import shown

__all__ = ["Rows", "Table", "class_order", "listed", "one_form", "open_table"]

_DELIMITERS = ",;\t|"
_SAMPLE = 100  # rows that show which of them separates cells, and whether values repeat
# What a person or a program types for a cell without a value.
_NO_VALUE = pa.array(["", "nan", "NaN"])
# What is one in a column of numbers, and may be a name in a column of text.
_PERHAPS_NO_VALUE = ["NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "<NA>"]
_NO_NUMBER = pa.array(["", "nan", "NaN", "NAN", "-nan", "none", *_PERHAPS_NO_VALUE])
_WHOLE_NUMBER = r"^(-?(?:0|[1-9][0-9]*))\.0+$"  # of a column of floats
# What pandas calls an index that has no name.
_INDEX = re.compile(r"|Unnamed: \d+(\.\d+)?|__index_level_\d+__")
_NAMED = 3
_LISTED = 20
_LONGEST_CELL = 2**31 - 1  # Python's reader of CSV stops at 2**17 characters otherwise
_BLOCK = 2**20  # bytes that Arrow reads at a time, in which a row has to fit

_CSV_IN_UTF_8 = "save it as CSV in UTF-8"
_LINES_OF_JSON = (".jsonl", ".ndjson")
_EXCEL = (".xlsx", ".xlsm")
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
# Files that are no tables, by how they begin.
_REFUSED = {
    _OLD_EXCEL: f"is an old or protected Excel file; save it as .xlsx, or {_CSV_IN_UTF_8}",
    b"\x93NUMPY": "is a single NumPy array; save labels and scores together with np.savez, as .npz",
    b"BZh": "is packed by bzip2; unpack it, or pack it by gzip",
    b"\xfd7zXZ": "is packed by xz; unpack it, or pack it by gzip",
    b"%PDF": f"is a PDF file; {_CSV_IN_UTF_8}",
}


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
        What is counted: "line" of a text file, from 1; "entry" of a JSON list, from 1; "row" of
        an Excel sheet, as it numbers them; "row", from 0, elsewhere.
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
        The file. What it begins with tells Parquet, Excel and gzip, whatever it is called; else
        its suffix tells JSON, and everything else is text.
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
    rows = Rows(shown(path))
    try:
        if path.is_dir():
            raise rows.error(f"expected {what}, received a folder")
        if not path.is_file():
            raise MissingDataError(f"{rows.source}: expected {what}, there is none")
        return _kind(path, rows)(path)
    except InputError:
        raise
    except OSError as error:
        raise rows.error(f"cannot be read ({one_line(error)})") from error


def one_form(text: str) -> str:
    """Text without blanks around it, in the one Unicode form (NFC) of its several.

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> one_form(" Cafe\\u0301") == "Caf\\xe9"
    True
    """
    return unicodedata.normalize("NFC", text.strip())


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct classes, sorted: by value if all are integers, else as text.

    Parameters
    ----------
    names : iterable of str

    Examples
    --------
    >>> class_order(["10", "9", "10"]), class_order(["10", "9", "b"])
    (('9', '10'), ('10', '9', 'b'))
    """
    found = sorted(set(names))
    if all(re.fullmatch(r"-?[0-9]+", name) for name in found):
        found.sort(key=int)
    return tuple(found)


def _kind(path: Path, rows: Rows) -> Callable[[Path], Table]:
    suffix = _suffix(path)
    with _binary(path) as file:
        head = file.read(8)
        if suffix == ".parquet" or (head.startswith(b"PAR1") and _end(file) == b"PAR1"):
            return _Parquet
        if suffix in _EXCEL and not head.startswith(_OLD_EXCEL):
            return _Excel
        if head.startswith((b"PK\3\4", b"PK\5\6")):
            try:
                members = zipfile.ZipFile(file).namelist()
            except Exception:  # of a broken one
                members = []
            if any(name.startswith("xl/") for name in members):
                return _Excel
            if any(name.endswith(".npy") for name in members):
                raise rows.error("holds arrays of NumPy; call it .npz")
            raise rows.error("is a zip archive; unpack it, and give a table that is in it")
    for start, why in _REFUSED.items():
        if head.startswith(start):
            raise rows.error(why)
    return _Json if suffix in (".json", *_LINES_OF_JSON) else _Csv


def _end(file: BinaryIO) -> bytes:
    file.seek(-4, io.SEEK_END)
    return file.read()


def _suffix(path: Path) -> str:
    """In small letters, without that of gzip."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == ".gz" else suffix


def _binary(path: Path) -> BinaryIO:
    """The file, unpacked where it is packed by gzip."""
    file = path.open("rb")
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not packed:
        return file
    with file:
        try:
            return io.BytesIO(gzip.decompress(file.read()))
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(
                f"{shown(path)}: cannot be unpacked by gzip ({one_line(error)}); copy or download "
                "it again"
            ) from error


def _utf_8(path: Path) -> tuple[Callable[[], BinaryIO], list[str]]:
    """A function that opens a file's text, in UTF-8, and what is to be said of it."""
    rows = Rows(shown(path))
    with _binary(path) as file:
        if _is_utf_8(file):
            if isinstance(file, io.BytesIO):  # what was unpacked
                return partial(io.BytesIO, file.getvalue()), []
            return partial(_binary, path), []
        file.seek(0)
        data = file.read()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            data = data.decode("utf-16").encode()
        except UnicodeError as error:
            raise rows.error(f"cannot be read as UTF-16; {_CSV_IN_UTF_8}") from error
    if b"\0" in data:
        raise rows.error(f"is no text; {_CSV_IN_UTF_8}, or as .xlsx or .parquet with that suffix")
    try:
        data.decode()
        return partial(io.BytesIO, data), []
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    # Text in Latin-1 has no control characters, and hardly ever what would be a letter in UTF-8.
    try:
        text = data.decode("cp1252")
        mixed = not data.decode(errors="ignore").isascii()
    except UnicodeDecodeError:
        mixed = True
    if mixed or re.search(rb"[\x01-\x08\x0e-\x1f\x7f]", data):
        raise rows.error(f"cannot be read as UTF-8 (line {line}), nor as Latin-1; {_CSV_IN_UTF_8}")
    said = ["read as Latin-1 (Windows-1252), as it is not in UTF-8"]
    return partial(io.BytesIO, text.encode()), said


def _is_utf_8(file: BinaryIO) -> bool:
    """Whether a file is text in UTF-8; the same memory is used again and again."""
    block, decoder = bytearray(_BLOCK), codecs.getincrementaldecoder("utf-8")()
    with suppress(UnicodeDecodeError):
        while size := file.readinto(block):  # type: ignore[attr-defined]
            part = block if size == len(block) else block[:size]
            if 0 in part:
                return False
            decoder.decode(part)
        decoder.decode(b"", final=True)
        return True
    return False


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

    # Whether its numbers may have a decimal comma.
    _decimal_comma = False

    def __init__(self) -> None:
        self._columns: dict[str, pa.ChunkedArray] = {}
        self._count = 0
        self._said: list[str] = []

    def __len__(self) -> int:
        return self._count

    @abstractmethod
    def _load(self, positions: list[int], numbers: list[bool]) -> list[Any]:
        """Read columns: chunked arrays; of text only those that are not of numbers."""

    def _filled(self) -> npt.NDArray[np.bool_] | None:
        """Which rows have a value in any column; None where those without are left out already."""
        return None

    def read(self, wanted: Iterable[str], *, numbers: Collection[str] = ()) -> None:
        """Read columns, each of which must be there, once.

        Those in `numbers` are numbers, or lists of numbers; the others of a text file stay as they
        are written, "007" not 7. A warning says what was changed.
        """
        unique = list(dict.fromkeys(wanted))
        for name in unique:
            if (count := self.names.count(name)) != 1:
                raise self.rows.error(
                    f"expected one column {name!r}, found {count} among {listed(self.names)}"
                )
        loaded = self._load([*map(self.names.index, unique)], [name in numbers for name in unique])
        columns = {
            name: self._number(name, column) if name in numbers else self._text(name, column)
            for name, column in zip(unique, map(_plain, loaded), strict=True)
        }
        columns = self._without_blank_rows(columns)
        self._count = len(next(iter(columns.values()), ()))
        if columns and not self._count:
            raise self._no_row()
        self._columns |= columns
        if self._said:
            warnings.warn(f"{self.rows.source}: {'; '.join(self._said)}", stacklevel=2)
            self._said = []

    def unused(self, used: Collection[str]) -> tuple[str, ...]:
        """The columns but those that are used, and indices without a name."""
        return tuple(n for n in self.names if n not in used and not _INDEX.fullmatch(n))

    def _no_row(self) -> InputError:
        return self.rows.error("expected at least one row, there is none")

    def _without_blank_rows(self, columns: dict[str, Any]) -> dict[str, Any]:
        """Without rows that are all separators, which spreadsheets leave below a table."""
        if not columns or not all(column.null_count for column in columns.values()):
            return columns
        if not np.logical_and.reduce([column.is_null() for column in columns.values()]).any():
            return columns
        # Other columns may have something in such a row.
        filled = self._filled()
        if filled is None or len(filled) != len(next(iter(columns.values()))):
            return columns
        return {name: column.filter(pa.array(filled)) for name, column in columns.items()}

    def _text(self, name: str, column: Any) -> Any:
        """A column of names: of each one form, null where there is no value."""
        if _is_text(column.type):
            return self._cleaned(name, column)
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
            with suppress(pa.ArrowInvalid):  # where all are whole, 12.0 is 12
                column = column.cast(pa.int64())
        with suppress(pa.ArrowException):
            if not _is_bytes(column.type) and not pa.types.is_nested(column.type):
                column.slice(0, 0).cast(pa.string())
                return column
        raise self.rows.error(f"column {name!r}: expected text or numbers, it is of {column.type}")

    def _cleaned(self, name: str, column: Any) -> Any:
        sample = column.slice(0, _SAMPLE)
        repeated = len(sample.unique()) < len(sample)
        distinct = column.unique() if repeated else column  # quicker to look at
        if not _is_clean(distinct):
            column = self._mended(name, column)
            distinct = column.unique()
        if repeated:  # not names of cases, which may differ by anything
            self._say_of_case(name, distinct)
        return column

    def _mended(self, name: str, column: Any) -> Any:
        new = pc.utf8_trim_whitespace(column)
        new = pc.if_else(pc.is_in(new, _NO_VALUE), None, new)
        if count := _count(pc.not_equal(new, column)):
            self._said.append(f"spaces around {_cells(count)} of {name!r} removed")
        new = self._merged(name, new, pc.utf8_normalize(new, "NFC"), "in two Unicode forms")
        whole = pc.replace_substring_regex(new, _WHOLE_NUMBER, r"\1")
        new = self._merged(name, new, whole, "with and without .0")
        for text in _PERHAPS_NO_VALUE:
            count = _count(pc.equal(new, text))
            if count and not any(heading.endswith(f"_{text}") for heading in self.names):
                self._said.append(
                    f"{text!r} in {_cells(count)} of {name!r} taken as a name; leave cells without "
                    "a value empty"
                )
        return new

    def _merged(self, name: str, old: Any, new: Any, how: str) -> Any:
        """The new values if they make one of two that are different."""
        if not _count(pc.not_equal(old, new)) or len(new.unique()) == len(old.unique()):
            return old
        self._said.append(f"values of {name!r} that are there {how} taken as one")
        return new

    def _say_of_case(self, name: str, distinct: Any) -> None:
        lower = pc.utf8_lower(distinct)
        if len(lower.unique()) < len(lower):
            texts = pd.Series(lower.to_pylist(), distinct.to_pylist())
            alike = texts.index[texts == texts[texts.duplicated()].iloc[0]].tolist()
            self._said.append(f"{listed(alike)} of {name!r}, alike but for capitals, kept apart")

    def _number(self, name: str, column: Any) -> Any:
        """A column of numbers or lists of numbers, or of text if it cannot be one."""
        if pa.types.is_decimal(column.type):
            return column.cast(pa.float64())
        if not _is_text(column.type):
            return column
        text = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"^\+", "")
        text = pc.if_else(pc.is_in(text, _NO_NUMBER), None, text)
        with suppress(pa.ArrowInvalid):
            return text.cast(pa.float64())
        if self._decimal_comma and not pc.any(pc.match_substring(text, ".")).as_py():
            with suppress(pa.ArrowInvalid):
                return pc.replace_substring(text, ",", ".").cast(pa.float64())
        if pc.all(pc.match_substring_regex(text, r"(?s)^[\[(].*[\])]$")).as_py():
            # A list in a cell, as Python or NumPy prints it.
            parts = pc.split_pattern_regex(pc.utf8_trim(text, "[](), \t\n"), r"\s*[,\s]\s*")
            with suppress(pa.ArrowInvalid):
                return parts.cast(pa.list_(pa.float64()))
        return text

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
        """A column as int64, (N,), all within low..high; "1.0" is 1, of 0..1 "true" is too."""
        text = self.text(name)
        if (low, high) == (0, 1):
            text = text.str.lower().replace({"false": "0", "true": "1"})
        numbers = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
        good = (numbers == np.round(numbers)) & (numbers >= low) & (numbers <= high)
        self.refuse(~good, name, f"an integer in {low}..{high}")
        return numbers.astype(np.int64)

    def classes(self, name: str, class_names: Sequence[str]) -> npt.NDArray[np.int64]:
        """A column as indices, (N,), into the names of the K classes."""
        indices = pd.Index(class_names).get_indexer(pd.Index(self.text(name)))
        named = ", ".join(map(repr, class_names[:10]))
        more = f" and {len(class_names) - 10} more" if len(class_names) > 10 else ""
        self.refuse(indices < 0, name, f"one of {named}{more}")
        return indices.astype(np.int64)

    def matrix(self, names: Sequence[str]) -> npt.NDArray[Any]:
        """Columns of numbers as an array (N, len(names)), NaN where a cell is empty.

        A single column of lists of K numbers is (N, K).
        """
        columns = [self._columns[name] for name in names]
        if len(names) == 1 and _is_list(columns[0].type):
            return self._lists(names[0], columns[0])
        single = all(pa.types.is_float32(column.type) for column in columns)
        array = np.empty((len(self), len(names)), np.float32 if single else np.float64)
        for k, (name, column) in enumerate(zip(names, columns, strict=True)):
            if not _is_number(column.type):
                self._refuse_text(name, column)
            array[:, k] = column.to_numpy()
        return array

    def _lists(self, name: str, column: pa.ChunkedArray) -> npt.NDArray[Any]:
        lengths = pc.list_value_length(column).fill_null(0).to_numpy()
        most = int(np.bincount(lengths).argmax())
        self.rows.refuse(
            lengths != most,
            f"column {name!r}",
            f"lists of {most} numbers, as most are",
            lambda row: f"one of {lengths[row]}",
        )
        flat = pc.list_flatten(column)
        if not most or not _is_number(flat.type):
            raise self.rows.error(f"column {name!r}: expected numbers, it is of {column.type}")
        return flat.to_numpy().reshape(len(self), most)

    def _refuse_text(self, name: str, column: pa.ChunkedArray) -> None:
        if _is_text(column.type):
            found = pd.to_numeric(column.to_pandas(), errors="coerce")
            bad = found.isna().to_numpy() & column.is_valid().to_numpy()
            self.rows.refuse(
                bad, f"column {name!r}", "numbers", lambda row: repr(column[row].as_py())
            )
        if not pa.types.is_null(column.type):
            raise self.rows.error(f"column {name!r}: expected numbers, it is of {column.type}")


def _count(chosen: Any) -> int:
    return pc.sum(chosen).as_py() or 0


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _is_clean(text: Any) -> bool:
    """Whether nothing of it is to be mended, or said."""
    return bool(
        pc.utf8_trim_whitespace(text).equals(text)
        and not _count(pc.is_in(text, _NO_NUMBER))
        and not _count(pc.ends_with(text, ".0"))
        and (
            pc.all(pc.string_is_ascii(text)).as_py() or pc.utf8_normalize(text, "NFC").equals(text)
        )
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column in a form that Arrow can compare and cast."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind)
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if pa.types.is_float16(column.type):  # which older versions cannot cast
        column = pa.chunked_array([column.to_numpy().astype(np.float32)])
    return column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return "binary" in str(kind)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


# Text --------------------------------------------------------------------------------------------


def _records(file: BinaryIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The heading and the rows by Python's reader, each with the line that it ends in."""
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
            reader = csv.reader(text, delimiter=delimiter)
            for cells in reader:
                yield reader.line_num, cells
    finally:
        csv.field_size_limit(limit)


def _is_blank(cells: Sequence[str]) -> bool:
    return not any(map(str.strip, cells))


def _line_numbers(path: Path, delimiter: str, rows: Sequence[int]) -> list[int]:
    """The lines in which rows end; the file is read again, as mistakes are rare."""
    below = islice(_records(_utf_8(path)[0](), delimiter), 1, None)
    lines = (line for line, cells in below if not _is_blank(cells))
    by_row = dict(enumerate(islice(lines, max(rows) + 1)))
    # Should the two readers differ, where the row would be if none were blank.
    return [by_row.get(row, row + 2) for row in rows]


class _Csv(Table):
    def __init__(self, path: Path) -> None:
        super().__init__()
        # A function of the file and not of this table, whose columns it would hold.
        self.rows = Rows(shown(path), "line")
        self._open, self._said = _utf_8(path)
        self._delimiter = max(_DELIMITERS, key=self._separates)
        self._decimal_comma = self._delimiter != ","
        self._heading_lines, heading = next(_records(self._open(), self._delimiter), (0, []))
        self.names = [*map(one_form, heading)]
        if not any(self.names):
            raise self.rows.error(
                "expected a heading with the names of the columns in line 1, it is empty"
            )
        self.rows = replace(self.rows, numbers=partial(_line_numbers, path, self._delimiter))

    def _separates(self, delimiter: str) -> tuple[bool, int]:
        """Whether a mark makes as many cells in the first rows as in the heading, and how many."""
        heading, *below = [
            len(cells) for _, cells in islice(_records(self._open(), delimiter), _SAMPLE) if cells
        ] or [0]
        return heading > 1 and all(cells == heading for cells in below), heading

    def _rows_below(self) -> Iterator[tuple[int, list[str]]]:
        """The rows below the heading, without lines that are blank."""
        below = islice(_records(self._open(), self._delimiter), 1, None)
        return (
            (line, cells)
            for line, cells in below
            if cells and not (len(cells) == 1 < len(self.names) and _is_blank(cells))
        )

    def _load(self, positions: list[int], numbers: list[bool]) -> list[Any]:
        # Columns are called by their position, as some may be there twice.
        every = [*map(str, range(len(self.names)))]
        wanted = [every[k] for k in positions]
        text = [k for k, number in zip(wanted, numbers, strict=True) if not number]
        try:
            with self._open() as file:
                return pyarrow.csv.read_csv(
                    file,
                    pyarrow.csv.ReadOptions(
                        column_names=every,
                        skip_rows=self._heading_lines,
                        block_size=max(_BLOCK, 8 * sum(map(len, self.names))),
                    ),
                    pyarrow.csv.ParseOptions(
                        delimiter=self._delimiter,
                        newlines_in_values=True,
                        invalid_row_handler=lambda row: "error" if row.text.strip() else "skip",
                    ),
                    pyarrow.csv.ConvertOptions(
                        include_columns=wanted,
                        column_types={k: pa.string() for k in text},
                        null_values=_NO_NUMBER.to_pylist(),
                    ),
                ).columns
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            if next(self._rows_below(), None) is None:
                raise self._no_row() from error
            why = self._ragged() or one_line(error)
            raise self.rows.error(f"cannot be read as a table ({why})") from error

    def _filled(self) -> npt.NDArray[np.bool_]:
        return np.array([not _is_blank(cells) for _, cells in self._rows_below()])

    def _ragged(self) -> str:
        """The first lines that have more or fewer cells than the heading, in words."""
        width, found = len(self.names), [(line, len(cells)) for line, cells in self._rows_below()]
        wrong = [f"line {line} has {cells}" for line, cells in found if cells != width]
        if not wrong:
            return ""
        named = f"expected {width} cells in every line: {', '.join(wrong[:_NAMED])}"
        if all(cells == width + 1 for _, cells in found):
            named += "; name the first column, or end the heading with a separator, as the lines do"
        return named


# Other kinds -------------------------------------------------------------------------------------


class _Parquet(Table):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self.rows = path, Rows(shown(path))
        self._written = self._read(pyarrow.parquet.read_schema).names
        self.names = [*map(one_form, self._written)]

    def _load(self, positions: list[int], numbers: list[bool]) -> list[Any]:
        wanted = [self._written[k] for k in positions]
        table = self._read(pyarrow.parquet.read_table, columns=wanted)
        return table.select(wanted).columns

    def _read(self, function: Callable[..., Any], **options: Any) -> Any:
        try:
            with _binary(self._path) as file:
                found = function(file, **options)
                if options:
                    found.validate(full=True)  # that its text is UTF-8
                return found
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self.rows.error(
                f"cannot be read as Parquet ({one_line(error)}); the name of a CSV ends in .csv"
            ) from error


class _Objects(Table):
    """A table whose cells are Python's objects."""

    def _load(self, positions: list[int], numbers: list[bool]) -> list[Any]:
        return [self._arrays[k] for k in positions]

    def _take(self, cells: pd.DataFrame, names: Iterable[Any]) -> None:
        self.names = [one_form("" if name is None else str(name)) for name in names]
        self._arrays = [pa.chunked_array([_array(column)]) for _, column in cells.items()]


class _Json(_Objects):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows = Rows(shown(path), "entry", lambda rows: [row + 1 for row in rows])
        text, self._said = _utf_8(path)
        with text() as file:
            data = file.read().removeprefix(codecs.BOM_UTF8)
        entries, by_line = None, _suffix(path) in _LINES_OF_JSON
        try:
            entries = json.loads(data)
        except (ValueError, RecursionError) as error:
            # Where more follows what is whole, there is an object in each line.
            by_line = by_line or getattr(error, "msg", "") == "Extra data"
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
        try:
            frame = pd.DataFrame(entries, dtype=object)
            self._take(frame, frame.columns)
        except UnicodeError as error:  # of half a character, which JSON can spell
            raise self.rows.error(f"holds text that is no Unicode ({one_line(error)})") from error

    def _entry(self, number: int, line: bytes) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self.rows.error(
                f"line {number} cannot be read as JSON ({one_line(error)})"
            ) from error


class _Excel(_Objects):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows = Rows(shown(path))
        sheets, cells = self._first_sheet(path)
        if len(sheets) > 1:
            self._said = [f"sheet {sheets[0]!r} was read, the first of {len(sheets)}"]
        if cells.empty or cells.iloc[0].isna().all():
            raise self.rows.error(
                "expected a heading with the names of the columns in row 1 of sheet "
                f"{sheets[0]!r}, it is empty"
            )
        heading, cells = cells.iloc[0], cells.iloc[1:].dropna(how="all")
        if cells.empty:
            raise self._no_row()
        numbers = cells.index + 1
        self.rows = Rows(shown(path), "row", lambda rows: numbers[list(rows)].tolist())
        self._take(cells, heading.where(heading.notna(), None))

    def _first_sheet(self, path: Path) -> tuple[list[Any], pd.DataFrame]:
        try:
            with warnings.catch_warnings(), _binary(path) as file:
                warnings.simplefilter("ignore")  # about styles
                with pd.ExcelFile(file, engine="openpyxl") as book:
                    cells = book.parse(
                        0, header=None, dtype=object, keep_default_na=False, na_values=[""]
                    )
                    return book.sheet_names, cells
        except Exception as error:  # of a broken file openpyxl raises almost any
            raise self.rows.error(
                f"cannot be read as an Excel file ({one_line(error)}); the name of a CSV ends in "
                ".csv"
            ) from error


def _array(cells: pd.Series) -> pa.Array:
    """What Python's objects are in a column; of text and numbers all is text."""
    try:
        return pa.array(cells, from_pandas=True)
    except (pa.ArrowException, OverflowError):
        return pa.array(cells.map(str, na_action="ignore"), from_pandas=True)
