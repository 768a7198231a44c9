"""Tables that are text, whose cells a mark separates: CSV and its like."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, dropwhile, islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from lsplus_tf.errors import one_line
from lsplus_tf.files import shown
from lsplus_tf.tables.encodings import BLOCK, utf_8
from lsplus_tf.tables.names import one_form
from lsplus_tf.tables.rows import Rows
from lsplus_tf.tables.table import (
    NO_NUMBER,
    Table,
    as_floats,
    of_decimal_commas,
    written_numbers,
)

_NAMED = 3
_SHOWN = 60  # characters of a line
_SAMPLE = 100  # rows that show which mark separates cells
_DELIMITERS = ",;\t|"
_DECLARED = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # the first line of some, for Excel
_WHOLE = re.compile(r"[+-]?[0-9]+")
_LARGEST_BLOCK = 2**31 - 1  # that Arrow takes
_LONGEST_CELL = 2**31 - 1  # Python's reader of CSV stops at 2**17 characters otherwise


def _records(
    file: BinaryIO, delimiter: str, *, skip_blanks: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """The heading and the rows by Python's reader, each with the line that it ends in.

    Blank lines above the heading are left out, and blanks in front of quotation marks.
    """
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
            first = text.readline()
            above = 1 if _DECLARED.fullmatch(first) else 0
            lines = text if above else chain([first], text)
            reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=skip_blanks)
            for cells in dropwhile(_is_blank, reader):
                yield above + reader.line_num, cells
    finally:
        csv.field_size_limit(limit)


def _is_blank(cells: Sequence[str]) -> bool:
    return not any(map(str.strip, cells))


def _line_numbers(path: Path, delimiter: str, rows: Sequence[int]) -> list[int]:
    """The lines in which rows end; the file is read again, as mistakes are rare."""
    below = islice(_records(utf_8(path)[0](), delimiter), 1, None)
    lines = (line for line, cells in below if not _is_blank(cells))
    by_row = dict(enumerate(islice(lines, max(rows) + 1)))
    # Should the two readers differ, where the row would be if none were blank.
    return [by_row.get(row, row + 2) for row in rows]


def _size(file: BinaryIO) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


class Csv(Table):
    def __init__(self, path: Path) -> None:
        super().__init__()
        # A function of the file and not of this table, whose columns it would hold.
        self.rows = Rows(shown(path), "line")
        self._open, self._said = utf_8(path)
        self._delimiter = self._declared() or max(_DELIMITERS, key=self._separates)
        self._move_quotes()
        self._measured: list[int] = []  # the columns that are read as numbers
        self._heading_lines, heading = next(_records(self._open(), self._delimiter), (0, []))
        self.names = [*map(one_form, heading)]
        if not any(self.names):
            raise self.rows.error(
                "expected a heading with the names of the columns in line 1, it is empty"
            )
        self._refuse_other_marks()
        self._refuse_lines_above()
        self._name_the_unnamed()
        self.rows = replace(self.rows, numbers=partial(_line_numbers, path, self._delimiter))

    def _move_quotes(self) -> None:
        """Read a copy without blanks in front of quotation marks, as Arrow keeps them."""
        records = _records(self._open(), self._delimiter, skip_blanks=False)
        cells = chain.from_iterable(cells for _, cells in islice(records, _SAMPLE))
        if not any(cell.startswith(" ") and cell.lstrip().startswith('"') for cell in cells):
            return
        copy = io.StringIO(newline="")
        writer = csv.writer(copy, delimiter=self._delimiter, lineterminator="\n")
        writer.writerows(cells for _, cells in _records(self._open(), self._delimiter))
        self._open = partial(io.BytesIO, copy.getvalue().encode())
        self._said.append("blanks in front of quotation marks passed over")

    def _refuse_lines_above(self) -> None:
        """Refuse a first line that is no heading: one cell above lines of several."""
        remark = self.names[0].startswith("#")
        if sum(map(bool, self.names)) > 1 and not remark:
            return
        for mark in self._delimiter, *_DELIMITERS:
            heading, *below = self._sample(mark) or [[]]
            alone = sum(map(bool, heading)) == 1
            other = remark and all(len(cells) != len(heading) for cells in below)
            if (alone or other) and any(sum(map(bool, cells)) > 1 for cells in below):
                raise self._no_heading("line", next(filter(None, self.names)))

    def _refuse_other_marks(self) -> None:
        """Refuse lines of several words that no known mark separates."""
        if len(self.names) > 1:
            return
        with io.TextIOWrapper(self._open(), "utf-8-sig") as text:
            lines = [line.strip() for line in islice(text, _SAMPLE) if line.strip()]
        for mark in None, ":", "^", "~":
            heading, *below = (len(line.split(mark)) for line in lines)
            if heading > 1 and {cells - heading for cells in below} in ({0}, {1}):
                raise self.rows.error(
                    f"expected cells that a mark separates, received {lines[0][:_SHOWN]!r} in "
                    "line 1; save it with commas, semicolons, tabs or |"
                )

    def _name_the_unnamed(self) -> None:
        """Where the heading alone lacks a cell: the last if all are empty, else names of rows."""
        width = len(self.names) + 1
        if {*map(len, self._sample(self._delimiter)[1:])} != {width}:
            return
        columns = [*zip(*(cells for _, cells in self._rows_below()), strict=False)]
        if any(len(cells) != width for _, cells in self._rows_below()):
            return
        if _is_blank(columns[-1]):
            self.names.append("")
        elif self._are_names_of_rows(columns):
            self.names.insert(0, "")
            self._said.append("the first column has no heading and is taken for row names")

    def _are_names_of_rows(self, columns: Sequence[Sequence[str]]) -> bool:
        """Whether the first column is: not where a decimal comma may have made two cells of one."""
        names = [*map(str.strip, columns[0])]
        if len({*names}) < len(names):
            return False
        if self._delimiter != ",":
            return True
        whole = [all(_WHOLE.fullmatch(cell.strip()) for cell in cells) for cells in columns]
        counted = any(names == [*map(str, range(k, k + len(names)))] for k in (0, 1))
        return not any(map(all, pairwise(whole[1:]))) and (counted or not all(whole[:2]))

    def _sample(self, delimiter: str) -> list[list[str]]:
        """The first rows, without lines that are blank."""
        records = islice(_records(self._open(), delimiter), _SAMPLE)
        return [[*map(one_form, cells)] for _, cells in records if cells and not _is_blank(cells)]

    def _declared(self) -> str | None:
        """The mark that a first line such as "sep=;" declares."""
        with io.TextIOWrapper(self._open(), "utf-8-sig", newline="") as text:
            found = _DECLARED.fullmatch(text.readline())
        if found is None:
            return None
        if not found[1].isascii() or found[1].isalnum() or found[1] in "\"'.+-\r\n":
            raise self.rows.error(
                "line 1: expected a mark that separates cells, such as 'sep=;', received "
                f"{found[0].strip()!r}"
            )
        return found[1]

    def _separates(self, delimiter: str) -> tuple[bool, int]:
        """Whether a mark makes as many cells in the first rows as in the heading, and how many."""
        heading, *below = [
            len(cells)
            for _, cells in islice(_records(self._open(), delimiter), _SAMPLE)
            if not _is_blank(cells)
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

    def first_row(self) -> list[str]:
        _, cells = next(self._rows_below(), (0, []))
        return [*map(one_form, cells)]

    def _load(self, positions: list[int], numbers: list[bool]) -> list[Any]:
        chosen = [*zip(positions, numbers, strict=True)]
        self._measured = [k for k, number in chosen if number]
        return self._read(positions, [k for k, number in chosen if not number])

    def _read(self, positions: list[int], text: list[int]) -> list[Any]:
        block = max(BLOCK, 8 * sum(map(len, self.names)))
        try:
            try:
                return self._in_blocks(block, positions, text)
            except pa.ArrowInvalid as error:
                if "straddl" not in str(error):  # two blocks, as a row that is larger than one
                    raise
                return self._in_blocks(_LARGEST_BLOCK, positions, text)
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            if next(self._rows_below(), None) is None:
                raise self._no_row() from error
            why = self._ragged() or one_line(error)
            raise self.rows.error(f"cannot be read as a table ({why})") from error

    def _in_blocks(self, block: int, positions: list[int], text: list[int]) -> list[Any]:
        """Columns as Arrow's reader gives them, which are called by their position.

        Names may be there twice.
        """
        with self._open() as file:
            return pyarrow.csv.read_csv(
                file,
                pyarrow.csv.ReadOptions(
                    column_names=[*map(str, range(len(self.names)))],
                    skip_rows=self._heading_lines,
                    block_size=min(block, _LARGEST_BLOCK, max(1, _size(file))),
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=self._delimiter,
                    newlines_in_values=True,
                    invalid_row_handler=lambda row: "error" if row.text.strip() else "skip",
                ),
                pyarrow.csv.ConvertOptions(
                    include_columns=[*map(str, positions)],
                    column_types={str(k): pa.string() for k in text},
                    null_values=NO_NUMBER.to_pylist(),
                ),
            ).columns

    def _of_decimal_commas(self, name: str, text: Any) -> Any | None:
        if self._delimiter == ",":
            numbers = super()._of_decimal_commas(name, text)
        else:
            numbers = of_decimal_commas(text)
        if numbers is not None and (found := self._of_points):
            comma = text.filter(pc.match_substring(text, ","))[0].as_py()
            raise self.rows.error(
                f"expected one decimal mark in all columns of numbers, received {comma!r} in "
                f"{name!r} and {found[1]!r} in {found[0]!r}; write all with a point"
            )
        return numbers

    @cached_property
    def _of_points(self) -> tuple[str, str] | None:
        """A column of numbers that has decimal points, and one of them, as it is written."""
        for k, column in zip(
            self._measured, self._read(self._measured, self._measured), strict=True
        ):
            text = written_numbers(column)
            points = text.filter(pc.match_substring(text, "."))
            if len(points) and as_floats(text) is not None:
                return self.names[k], points[0].as_py()
        return None

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
            named += "; name all columns, and write numbers with decimal points"
        return named
