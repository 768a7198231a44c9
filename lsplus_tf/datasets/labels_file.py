"""Labels files (CSV or JSON) and the image files they name, with every defect told by its line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.csv_files import split_heading
from lsplus_tf.datasets.image_files import SUFFIXES
from lsplus_tf.errors import InputError, MissingDataError, one_line

# What pandas writes, or a person types, for a cell without a value.
_EMPTY = ("", "nan", "NaN")
# Absolute, with a drive or backslashes, or with a part that is "..", "." or empty. Other spellings
# of a path would also hide that two rows name one file.
_NOT_BELOW = r"^/|^[A-Za-z]:|\\|\x00|(?:^|/)\.{0,2}(?:/|$)"
_NAMED = 3


@dataclass(frozen=True, eq=False)
class LabelsFile:
    """A table with one row per image.

    Parameters
    ----------
    path : Path
        The file, for messages.
    table : pandas.DataFrame
        All cells are str, empty ones "". Its index is the row's number for messages.
    unit : str
        What that number counts: "line" of a CSV (the heading is line 1), "entry" of a JSON list.
    """

    path: Path
    table: pd.DataFrame
    unit: str

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, column: str) -> bool:
        return column in self.table.columns

    def require(self, columns: Iterable[str]) -> None:
        """Raise an error unless each of the columns is there, once."""
        found = self.table.columns.tolist()
        for column in columns:
            if found.count(column) != 1:
                raise InputError(
                    f"{self.path}: expected one column {column!r}, found {found.count(column)} "
                    f"among {found}"
                )

    def refuse(self, bad: npt.NDArray[np.bool_], column: str, expected: str) -> None:
        """Raise an error that names the first of the rows that are `bad` (N,), if any is."""
        rows = np.flatnonzero(bad)
        if rows.size:
            number, value = self.table.index[rows[0]], self.table[column].iloc[rows[0]]
            raise InputError(
                f"{self.path}, {self.unit} {number}: {column} {value!r}, expected {expected} "
                f"({rows.size} such in {len(self)})"
            )

    def cells(self, column: str) -> pd.Series:
        """The cells of a column, (N,); none may be empty."""
        cells = self.table[column]
        self.refuse(cells.isin(_EMPTY).to_numpy(), column, "a value")
        return cells

    def text(self, column: str) -> npt.NDArray[np.str_]:
        """The cells of a column as an array, (N,); none may be empty."""
        return self.cells(column).to_numpy(np.str_)

    def integers(self, column: str, low: int, high: int) -> npt.NDArray[np.int64]:
        """The cells of a column as int64, (N,), all within low..high; "1.0" is 1."""
        numbers = pd.to_numeric(self.cells(column), errors="coerce").to_numpy(np.float64)
        good = (numbers == np.round(numbers)) & (numbers >= low) & (numbers <= high)
        self.refuse(~good, column, f"an integer in {low}..{high}")
        return numbers.astype(np.int64)

    def classes(self, column: str, class_names: Sequence[str]) -> npt.NDArray[np.int64]:
        """The cells of a column as indices, (N,), into the names of the K classes."""
        indices = pd.Index(class_names).get_indexer(pd.Index(self.cells(column)))
        shown = ", ".join(map(repr, class_names[:10]))
        more = f" and {len(class_names) - 10} more" if len(class_names) > 10 else ""
        self.refuse(indices < 0, column, f"one of {shown}{more}")
        return indices.astype(np.int64)

    def paths(self, column: str, *, prefix: str = "", suffix: str = "") -> npt.NDArray[np.str_]:
        """Prefix, cell and suffix, (N,): paths below the data folder, each once."""
        cells = self.cells(column)
        leaves = cells.str.contains(_NOT_BELOW, regex=True).to_numpy()
        self.refuse(leaves, column, "a plain path that stays below the data folder")
        self.refuse(cells.duplicated().to_numpy(), column, "every image once")
        return (prefix + cells + suffix).to_numpy(np.str_)


def read_csv(path: Path, columns: Iterable[str]) -> LabelsFile:
    """Read a CSV in UTF-8 with a heading; other columns than these are kept too.

    Commas, semicolons or tabs separate its cells, whichever the heading has.

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If it is no such file, has no row, or a column is missing or there twice.
    """
    _check_is_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            _, delimiter = split_heading(opened.readline())
        # The heading is read as a row: pandas would rename a column that is there twice, and
        # take the first one for an index where rows are longer than the heading.
        cells = pd.read_csv(
            path,
            sep=delimiter,
            header=None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
        ).fillna("")
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: cannot be read as a CSV in UTF-8 ({one_line(error)})") from error
    table = cells.iloc[1:].set_axis(cells.iloc[0].str.strip().tolist(), axis=1)
    table.index = pd.RangeIndex(2, 2 + len(table))
    # Blank lines have been read so that they count.
    return _checked(LabelsFile(path, table[(table != "").any(axis=1)], "line"), columns)


def read_json(path: Path, columns: Iterable[str]) -> LabelsFile:
    """Read a JSON list of objects with these keys; others are kept too.

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If it is no such file, is empty, or no object has one of the keys.
    """
    _check_is_file(path)
    try:
        entries: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: expected a JSON list of objects")
    table = pd.DataFrame(entries, dtype=object)
    table = table.where(table.notna(), "").map(str)
    table.index = pd.RangeIndex(1, 1 + len(table))
    return _checked(LabelsFile(path, table, "entry"), columns)


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise MissingDataError(f"{path}: expected a labels file, there is none")


def _checked(file: LabelsFile, columns: Iterable[str]) -> LabelsFile:
    if not len(file):
        raise InputError(f"{file.path}: expected a row per image, there is none")
    file.require(columns)
    return file


def check_distinct(files: Iterable[LabelsFile], column: str) -> None:
    """Refuse what is in a column of two labels files."""
    cells = pd.concat({file.path: file.table[column] for file in files})
    # By a hash table: sorting a million paths takes ten times as long.
    again = np.flatnonzero(cells.duplicated())
    if again.size:
        path, cell = cells.index[again[0]][0], cells.iloc[again[0]]
        first = cells.index[np.flatnonzero(cells == cell)[0]][0]
        raise InputError(f"{path}: {cell!r} is also in {first} ({again.size} such images)")


def check_files(root: Path, paths: npt.NDArray[np.str_], file: LabelsFile) -> None:
    """Refuse rows of a labels file without an image file, and image files without a row.

    Parameters
    ----------
    root : Path
        The data folder.
    paths : numpy.ndarray
        str, shape (N,): the path below `root` of every row, in the order of the rows.
    file : LabelsFile
        The labels file. Image files are looked for in all folders that its rows name.

    Raises
    ------
    InputError
        If the two do not agree; the message counts and names them.
    """
    unlisted = unlisted_files(root, paths, file)
    if unlisted:
        raise InputError(
            f"{file.path}: {len(unlisted)} images in {root} have no row: "
            f"{', '.join(unlisted[:_NAMED])}"
        )


def unlisted_files(root: Path, paths: npt.NDArray[np.str_], file: LabelsFile) -> list[str]:
    """Return the image files without a row, and refuse rows without a file, as `check_files`."""
    there = image_files_beside(root, paths)
    missing = np.array([path not in there for path in paths.tolist()])
    if missing.any():
        named = "; ".join(
            f"{path} ({file.unit} {number})"
            for path, number in zip(
                paths[missing][:_NAMED], file.table.index[missing][:_NAMED], strict=True
            )
        )
        raise InputError(f"{file.path}: {missing.sum()} images are not in {root}: {named}")
    return sorted(there - set(paths.tolist()))


def image_files_beside(root: Path, paths: npt.NDArray[np.str_]) -> set[str]:
    """Paths below `root` of all image files in the folders that `paths` (N,) name."""
    folders = {path.rpartition("/")[0] for path in paths.tolist()}
    return {name for folder in folders for name in _image_files(root, folder)}


def _image_files(root: Path, folder: str) -> list[str]:
    """Paths below `root` of the image files directly in a folder; none if there is no folder."""
    below = root / folder
    if not below.is_dir():
        return []
    prefix = f"{folder}/" if folder else ""
    return [
        f"{prefix}{path.name}"
        for path in below.iterdir()
        if path.suffix.lower() in SUFFIXES and path.name[0] != "."
    ]
