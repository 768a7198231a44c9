"""The columns of any table, cleaned: what all kinds of files have in common."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lsplus_tf.errors import InputError, one_line
from lsplus_tf.tables.names import listed, spelled_alike
from lsplus_tf.tables.rows import Rows

_SAMPLE = 100  # rows that show whether values repeat
# What a person or a program types for a cell without a value.
_NO_VALUE = pa.array(["", "nan", "NaN"])
# What is one in a column of numbers, and may be a name in a column of text.
_PERHAPS_NO_VALUE = ["NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "<NA>"]
NO_NUMBER = pa.array(["", "nan", "NaN", "NAN", "-nan", "none", *_PERHAPS_NO_VALUE])
_WHOLE_NUMBER = r"^(-?(?:0|[1-9][0-9]*))\.0+$"  # of a column of floats
# As NumPy and PyTorch write a number in a list, "np.float64(0.9)", and a list, "array([0.9])".
_WRITTEN_NUMBER = r"[a-z.]*(?:float[0-9]*|tensor)\(([-+0-9.e]+)[^()\[\]]*\)"
_WRITTEN_LIST = r"(?s)^\s*[a-z.]*(?:array|tensor)\((\[[^\]]*\]+)[^\]]*\)\s*$"
_THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+$"
# What pandas calls an index that has no name.
_INDEX = re.compile(r"|Unnamed: \d+(\.\d+)?|__index_level_\d+__")


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
        self._said: list[str] = []
        self._names: frozenset[str] = frozenset()  # columns of classes, groups and the like

    def __len__(self) -> int:
        return self._count

    @abstractmethod
    def _load(self, positions: list[int], numbers: list[bool]) -> list[Any]:
        """Read columns: chunked arrays; of text only those that are not of numbers."""

    @abstractmethod
    def first_row(self) -> list[str]:
        """The first cell of each column as text, without reading the columns; [] of no row."""

    def _filled(self) -> npt.NDArray[np.bool_] | None:
        """Which rows have a value in any column; None where those without are left out already."""
        return None

    def read(
        self, wanted: Iterable[str], *, numbers: Collection[str] = (), names: Collection[str] = ()
    ) -> None:
        """Read columns, each of which must be there, once.

        Those in `numbers` are numbers, or lists of numbers; the others of a text file stay as they
        are written, "007" not 7. A warning says what was changed, and which values of columns in
        `names`, of classes or groups, are spelled nearly alike.
        """
        unique, counts = list(dict.fromkeys(wanted)), Counter(self.names)
        self._names = frozenset(names)
        for name in unique:
            if (count := counts[name]) != 1:
                raise self.rows.error(
                    f"expected one column {name!r}, found {count} among {listed(self.names)}"
                )
        try:
            columns = self._cleaned_columns(unique, numbers)
        except MemoryError as error:
            raise self.rows.error(
                f"its columns take more memory than there is ({one_line(error)})"
            ) from error
        self._count = len(next(iter(columns.values()), ()))
        if columns and not self._count:
            raise self._no_row()
        self._columns |= columns
        if self._said:
            warnings.warn(f"{self.rows.source}: {'; '.join(self._said)}", stacklevel=2)
            self._said = []

    def _cleaned_columns(self, names: list[str], numbers: Collection[str]) -> dict[str, Any]:
        places = {name: place for place, name in enumerate(self.names)}
        are_numbers = frozenset(numbers)
        loaded = self._load([places[n] for n in names], [n in are_numbers for n in names])
        columns = {
            name: self._number(name, column) if name in are_numbers else self._text(name, column)
            for name, column in zip(names, map(_plain, loaded), strict=True)
        }
        return self._without_blank_rows(columns)

    def unused(self, used: Collection[str]) -> tuple[str, ...]:
        """The columns but those that are used, and indices without a name."""
        return tuple(n for n in self.names if n not in used and not _INDEX.fullmatch(n))

    def _no_heading(self, unit: str, received: str) -> InputError:
        return self.rows.error(
            f"expected a heading with the names of the columns in {unit} 1, received "
            f"{received!r}; delete the {unit}s above the heading"
        )

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
            if not is_bytes(column.type) and not pa.types.is_nested(column.type):
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
        if name in self._names:
            self._say_of_spelling(name, distinct)
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

    def _say_of_spelling(self, name: str, distinct: Any) -> None:
        if same := spelled_alike(distinct.drop_null().to_pylist()):
            self._said.append(f"{listed(same[0])} of {name!r}, spelled nearly alike, kept apart")

    def _number(self, name: str, column: Any) -> Any:
        """A column of numbers or lists of numbers, or of text if it cannot be one."""
        if pa.types.is_decimal(column.type):
            return column.cast(pa.float64())
        if not _is_text(column.type):
            return column
        text = written_numbers(column)
        if (numbers := as_floats(text)) is not None:
            return numbers
        if (numbers := self._of_decimal_commas(name, text)) is not None:
            return numbers
        lists = pc.replace_substring_regex(text, _WRITTEN_NUMBER, r"\1")
        lists = pc.replace_substring_regex(lists, _WRITTEN_LIST, r"\1")
        if pc.all(pc.match_substring_regex(lists, r"(?s)^[\[(].*[\])]$")).as_py():
            # A list in a cell, as Python or NumPy prints it.
            parts = pc.split_pattern_regex(pc.utf8_trim(lists, "[](), \t\n"), r"\s*[,\s]\s*")
            with suppress(pa.ArrowInvalid):
                return parts.cast(pa.list_(pa.float64()))
        return text

    def _of_decimal_commas(self, name: str, text: Any) -> Any | None:
        """Numbers of text with decimal commas; None if it is none, or may be thousands."""
        with_commas = text.filter(pc.match_substring(text, ","))
        if pc.all(pc.match_substring_regex(with_commas, _THOUSANDS)).as_py():
            return None
        return of_decimal_commas(text)

    def values(self, name: str) -> pd.Series:
        """A column as text, or as whatever the file has, (N,)."""
        # Beside a cell without a value integers would be floats, which from 2**53 on are not exact.
        return self._columns[name].to_pandas(integer_object_nulls=True)

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
        if len(names) == 1 and is_list(columns[0].type):
            return self._lists(names[0], columns[0])
        single = all(pa.types.is_float32(column.type) for column in columns)
        array = np.empty((len(self), len(names)), np.float32 if single else np.float64)
        for k, (name, column) in enumerate(zip(names, columns, strict=True)):
            if not is_number(column.type):
                self._refuse_text(name, column)
            array[:, k] = column.to_numpy()
        return array

    def _lists(self, name: str, column: pa.ChunkedArray) -> npt.NDArray[Any]:
        named = f"column {name!r}"
        self.rows.refuse(column.is_null().to_numpy(), named, "a list of numbers", lambda _: "none")
        lengths = pc.list_value_length(column).to_numpy()
        most = int(np.bincount(lengths).argmax())
        self.rows.refuse(
            lengths != most,
            named,
            f"lists of {most} numbers, as most are",
            lambda row: f"one of {lengths[row]}",
        )
        flat = pc.list_flatten(column)
        if not most or not is_number(flat.type):
            raise self.rows.error(f"column {name!r}: expected numbers, it is of {column.type}")
        return flat.to_numpy().reshape(len(self), most)

    def _refuse_text(self, name: str, column: pa.ChunkedArray) -> None:
        if _is_text(column.type):
            there = column.is_valid().to_numpy()
            as_written = _is_no_number(column) & there
            # Of decimal commas, which some other cell keeps from being read, that cell.
            with_points = _is_no_number(pc.replace_substring(column, ",", ".")) & there
            commas = as_written.sum() - with_points.sum() > with_points.sum() > 0
            bad, expected = with_points if commas else as_written, "numbers"
            first = int(bad.argmax())
            cell = column[first].as_py()
            if bad.any() and (percent := re.fullmatch(r"([0-9]+(?:[.,][0-9]+)?)\s*%", cell)):
                number = float(percent[1].replace(",", "."))
                expected += f" without % (write {number / 100:g}, or {number:g} and --normalize)"
            elif bad.any() and not with_points[first]:
                expected += " with decimal points"
            self.rows.refuse(
                bad, f"column {name!r}", expected, lambda row: repr(column[row].as_py())
            )
        if not pa.types.is_null(column.type):
            raise self.rows.error(f"column {name!r}: expected numbers, it is of {column.type}")


def written_numbers(column: Any) -> Any:
    """A column of text without what may stand around numbers, and null for what is none."""
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"^\+", "")
    return pc.if_else(pc.is_in(text, NO_NUMBER), None, text)


def of_decimal_commas(text: Any) -> Any | None:
    """A column of text with decimal commas as numbers; None if it is none."""
    if pc.any(pc.match_substring(text, ".")).as_py():
        return None
    return as_floats(pc.replace_substring(text, ",", "."))


def _is_no_number(text: Any) -> npt.NDArray[np.bool_]:
    return pd.to_numeric(text.to_pandas(), errors="coerce").isna().to_numpy()


def as_floats(text: Any) -> Any | None:
    """A column of text as numbers; None if some of it is none."""
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:
        return None


def _count(chosen: Any) -> int:
    return pc.sum(chosen).as_py() or 0


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _is_clean(text: Any) -> bool:
    """Whether nothing of it is to be mended, or said."""
    return bool(
        pc.utf8_trim_whitespace(text).equals(text)
        and not _count(pc.is_in(text, NO_NUMBER))
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


def is_bytes(kind: pa.DataType) -> bool:
    return "binary" in str(kind)


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
