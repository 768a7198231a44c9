"""Label files and the image files that they name, with every defect told by its line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.datasets.image_files import SUFFIXES
from lsplus_tf.errors import InputError
from lsplus_tf.tables import Table, open_table

LABELS_FILE = "a labels file"  # as messages call it
# Absolute, with a drive or backslashes, or with a part that is "..", "." or empty. Other spellings
# of a path would also hide that two rows name one file.
_NOT_BELOW = r"^/|^[A-Za-z]:|\\|\x00|(?:^|/)\.{0,2}(?:/|$)"
_NAMED = 3


def read_labels(path: Path, columns: Sequence[str]) -> Table:
    """Read these columns of a labels file, whose other columns are passed over.

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If it is no table, has no row, or a column is missing or there twice.
    """
    table = open_table(path, LABELS_FILE)
    table.read(columns)
    return table


def paths(table: Table, column: str, *, prefix: str = "", suffix: str = "") -> npt.NDArray[np.str_]:
    """Prefix, cell and suffix, (N,): paths below the data folder, each once."""
    cells = table.text(column)
    leaves = cells.str.contains(_NOT_BELOW, regex=True).to_numpy(np.bool_)
    table.refuse(leaves, column, "a plain path that stays below the data folder")
    table.refuse(cells.duplicated().to_numpy(), column, "every image once")
    return (prefix + cells + suffix).to_numpy(np.str_)


def check_distinct(tables: Iterable[Table], column: str) -> None:
    """Refuse what is in a column of two labels files."""
    cells = pd.concat({table.rows.source: table.text(column) for table in tables})
    # By a hash table: sorting a million paths takes ten times as long.
    again = np.flatnonzero(cells.duplicated())
    if again.size:
        path, cell = cells.index[again[0]][0], cells.iloc[again[0]]
        first = cells.index[np.flatnonzero(cells == cell)[0]][0]
        raise InputError(f"{path}: {cell!r} is also in {first} ({again.size} such images)")


def check_files(root: Path, paths: npt.NDArray[np.str_], table: Table) -> None:
    """Refuse rows of a labels file without an image file, and image files without a row.

    Parameters
    ----------
    root : Path
        The data folder.
    paths : ndarray
        str, shape (N,): the path below `root` of every row, in the order of the rows.
    table : Table
        The labels file. Image files are looked for in all folders that its rows name.

    Raises
    ------
    InputError
        If the two do not agree; the message counts and names them.
    """
    unlisted = unlisted_files(root, paths, table)
    if unlisted:
        raise InputError(
            f"{table.rows.source}: {len(unlisted)} images in {root} have no row: "
            f"{', '.join(unlisted[:_NAMED])}"
        )


def unlisted_files(root: Path, paths: npt.NDArray[np.str_], table: Table) -> list[str]:
    """Return the image files without a row, and refuse rows without a file, as `check_files`."""
    there = image_files_beside(root, paths)
    missing = ~pd.Index(paths).isin(list(there))
    if missing.any():
        rows = np.flatnonzero(missing)[:_NAMED]
        numbers = table.rows.numbers(rows.tolist())
        named = "; ".join(
            f"{path} ({table.rows.unit} {number})"
            for path, number in zip(paths[rows], numbers, strict=True)
        )
        raise InputError(f"{table.rows.source}: {missing.sum()} images are not in {root}: {named}")
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
