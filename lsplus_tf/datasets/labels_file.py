"""Label files and the image files that they name; every defect is reported with its line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.config import Dataset
from lsplus_tf.datasets.finding import look_into
from lsplus_tf.errors import InputError, some_of
from lsplus_tf.tables import Table, open_table

LABELS_FILE = "a labels file"  # as messages call it
# Absolute, with a drive or backslashes, or with a part that is "..", "." or empty. Other spellings
# of a path would also hide that two rows name one file.
NOT_BELOW = r"^/|^[A-Za-z]:|\\|\x00|(?:^|/)\.{0,2}(?:/|$)"
_NAMED = 3
# What a pattern finds, and what to do about files in which it finds nothing.
_PATTERNS = {
    "group_pattern": (
        "group",
        "if they have no group, (X|^(?!.*X).*) makes each a group of its own, X being the pattern",
    ),
    "class_pattern": ("class", "widen the pattern, or move away what is of no class"),
}


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
    leaves = cells.str.contains(NOT_BELOW, regex=True).to_numpy(np.bool_)
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
    there = image_files_beside(root, paths)
    refuse_missing(root, paths, ~pd.Index(paths).isin(list(there)), table)
    unlisted = sorted(there - set(paths.tolist()))
    if unlisted:
        raise InputError(
            f"{table.rows.source}: {len(unlisted)} images in {root} have no row: "
            f"{', '.join(unlisted[:_NAMED])}"
        )


def refuse_missing(
    root: Path | str,
    paths: npt.NDArray[np.str_],
    missing: npt.NDArray[np.bool_],
    table: Table,
    hint: str = "",
) -> None:
    """Refuse rows of a labels file whose image is `missing` (N,), with a hint how to mend it."""
    if missing.any():
        rows = np.flatnonzero(missing)[:_NAMED]
        numbers = table.rows.numbers(rows.tolist())
        named = "; ".join(
            f"{path} ({table.rows.unit} {number})"
            for path, number in zip(paths[rows], numbers, strict=True)
        )
        raise table.rows.error(
            f"{missing.sum()} images are not in {root}: {named} (of {missing.size} rows){hint}"
        )


def image_files_beside(root: Path, paths: npt.NDArray[np.str_]) -> set[str]:
    """Paths below `root` of all image files in the folders that `paths` (N,) name."""
    folders = {path.rpartition("/")[0] for path in paths.tolist()}
    return {
        f"{folder}/{name}" if folder else name
        for folder in folders
        if os.path.isdir(root / folder)
        for name in look_into(root / folder).images
    }


def found_in_paths(
    ids: Sequence[str], settings: Dataset, key: Literal["group_pattern", "class_pattern"]
) -> npt.NDArray[np.str_]:
    """The group, or class, of every file: what a pattern finds in its path."""
    pattern = getattr(settings, key)
    assert pattern is not None
    option = f"{settings.name}: dataset.{key}={pattern!r}"
    what, remedy = _PATTERNS[key]
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(f"{option}: {error}") from error
    matches = [compiled.search(file) for file in ids]
    missing = [file for file, match in zip(ids, matches, strict=True) if match is None]
    if missing:
        raise InputError(
            f"{option} is not found in {missing[0]} ({len(missing)} such files); {remedy}"
        )
    # A parenthesis that takes no part in the match, or matches nothing, names nothing.
    which = min(1, compiled.groups)
    names = [match[which] if match else None for match in matches]
    empty = [file for file, name in zip(ids, names, strict=True) if not name]
    if empty:
        part = "its first parenthesis" if which else "what it matches"
        raise InputError(
            f"{option} is found in {empty[0]}, but {part} is empty there ({len(empty)} such "
            f"files); the {what} is what the first parenthesis matches"
        )
    return np.array(names, np.str_)


def refuse_empty(table: Table, column: str) -> None:
    """Refuse empty cells of a column of labels, with what mends them."""
    try:
        table.text(column)
    except InputError as error:
        raise InputError(f"{error}; leave out these rows, or fill them") from error


def one_hot(table: Table, columns: Sequence[str], named: str) -> npt.NDArray[np.int64]:
    """The column of each row that has its 1, as an index into `columns`, (N,).

    A row without, or with more than one, is refused, and told by its cell in the column `named`.
    """
    for name in columns:
        refuse_empty(table, name)
    ones = np.stack([table.integers(name, 0, 1) for name in columns], axis=1)
    table.refuse(ones.sum(axis=1) != 1, named, f"one 1 in the row's {some_of(columns)}")
    return ones.argmax(axis=1)
