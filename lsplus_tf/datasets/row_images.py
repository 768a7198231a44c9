"""The image file that each row of a table means.

A cell is a path below the images' folder, with or without its suffix. The folders that cells name
are listed, rather than each file looked for, so that a million rows take seconds.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.datasets.finding import check_encoding, look_into
from lsplus_tf.datasets.image_files import SUFFIXES
from lsplus_tf.datasets.labels_file import NOT_BELOW, refuse_missing
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.files import expanded
from lsplus_tf.tables import Table

_OPTION = "dataset.image_folder (--image-folder)"
# What else than a plain path below a folder a cell may be.
_NOT_PLAIN = r"\\|//|(?:^|/)\./|^/|^[A-Za-z]:"
_ABSOLUTE = "^(?:/|[A-Za-z]:/)"
_OTHER_SUFFIX = r"\.[A-Za-z][A-Za-z0-9]{1,4}$"


@dataclass(frozen=True)
class RowImages:
    """The images of a table's N rows.

    Attributes
    ----------
    root : Path
        The folder that paths start at.
    ids : ndarray
        str, shape (N,): the path below `root` of every row's image.
    without_row : list of str
        Paths of the images without a row, in the folders of those that have one.
    folders : list of str
        The folders beside the table that images were found in, where its own has none.
    removed : str
        What the paths of all rows began with, and was removed: folders of another computer.
    """

    root: Path
    ids: npt.NDArray[np.str_]
    without_row: list[str]
    folders: list[str]
    removed: str


def find_row_images(table: Table, column: str, beside: Path, given: Path | None) -> RowImages:
    """Find the image of every row.

    Parameters
    ----------
    table : Table
        N rows.
    column : str
        The paths.
    beside : Path
        The table's folder.
    given : Path or None
        The images' folder, relative to the table's or the current one; None for the table's, or
        those beside it.

    Raises
    ------
    InputError
        If a row means no image or several; the message names the line.
    """
    base = beside if given is None else _image_folder(beside, given)
    cells, removed = _plain_paths(table.text(column), base), ""
    for folders_before in _folders_before(cells, base):
        below = cells.str.slice(len(folders_before))
        if all(_find(table, column, base, below.tolist(), beside=given is None)[0].options):
            cells, removed = below, folders_before
            break
    elsewhere = f", or {_OPTION}" if given is None else ""
    leaves = cells.str.contains(NOT_BELOW, regex=True).to_numpy(np.bool_)
    table.refuse(
        leaves,
        column,
        f"a plain path that stays below {base} (leave only the names below it){elsewhere}",
    )
    table.refuse(cells.duplicated().to_numpy(), column, "every image once")
    names = cells.tolist()
    found, folders = _find(table, column, base, names, beside=given is None)
    missing = np.array([not options for options in found.options])
    is_image = cells.str.lower().str.endswith(SUFFIXES)
    other = (cells.str.contains(_OTHER_SUFFIX, regex=True) & ~is_image).to_numpy(np.bool_)
    table.refuse(missing & other, column, f"a name that ends in {', '.join(SUFFIXES)}")
    hint = f"; if they are elsewhere, set {_OPTION}" if given is None else ""
    if not missing.all():
        hint = f"; leave out these rows{hint.replace('; if', ', or, if')}"
    if missing.any():
        stems = [_split_suffix(names[row])[0] for row in np.flatnonzero(missing)]
        found_by_stem, _ = _find(table, column, base, stems, beside=given is None)
        if others := next(filter(None, found_by_stem.options), None):
            hint = f"; {others[0]} is there: write this suffix in the column, or none"
    where = ", ".join(f"{folder}/" for folder in folders) or base
    refuse_missing(where, np.array(names), missing, table, hint)
    several = np.array([len(options) > 1 for options in found.options])
    if several.any():
        some = " or ".join(found.options[int(several.argmax())][:3])
        table.refuse(several, column, f"the path of one image, not of {some}: name it in full")
    ids = [options[0] for options in found.options]
    table.refuse(pd.Series(ids).duplicated().to_numpy(), column, "every image once")
    without_row = sorted(found.there - set(ids))
    # Of a folder below the table's, paths start at the latter, whichever was given.
    whole, inner = Path(os.path.abspath(beside)), Path(os.path.abspath(base))
    if inner != whole and inner.is_relative_to(whole):
        prefix = inner.relative_to(whole).as_posix()
        ids, without_row = ([f"{prefix}/{name}" for name in names] for names in (ids, without_row))
        base = beside
    return RowImages(base, np.array(ids), without_row, folders, removed)


def _folders_before(cells: pd.Series, base: Path) -> list[str]:
    """The folders that paths of another computer may begin with, the fewest first.

    All absolute paths in common may have any; others the name of the images' folder itself.
    """
    first, last = (path.split("/")[:-1] for path in (cells.min(), cells.max()))
    both = takewhile(lambda folders: folders[0] == folders[1], zip(first, last, strict=False))
    common = [folder for folder, _ in both]  # of all, which are between these two
    if cells.str.contains(_ABSOLUTE, regex=True).all():
        lengths = range(1, len(common) + 1)
    elif common[:1] == [Path(os.path.abspath(base)).name] and not (base / common[0]).is_dir():
        lengths = range(1, 2)
    else:
        return []
    return ["/".join(common[:length]) + "/" for length in lengths]


def _find(
    table: Table, column: str, base: Path, names: list[str], *, beside: bool
) -> tuple[_Images, list[str]]:
    """The images that names mean in a folder or, if it has none of them, in those in it."""
    found = _look_for(names, base)
    if beside and not any(found.options):
        return _in_folders_beside(table, column, base, names, otherwise=found)
    return found, []


def _image_folder(beside: Path, given: Path) -> Path:
    """The folder that is meant: relative to the table's or to the current one, or absolute."""
    path = expanded(given, _OPTION)
    check_encoding(path)
    tried = list(dict.fromkeys(map(os.path.abspath, (beside / path, path))))
    there = [folder for folder in tried if os.path.isdir(folder)]
    if not there:
        raise MissingDataError(
            f"{_OPTION}: expected a folder, there is no {' and no '.join(tried)}"
        )
    if len({os.path.realpath(folder) for folder in there}) > 1:
        raise InputError(
            f"{_OPTION}: {str(given)!r} could be {there[0]}, below the table's folder, or "
            f"{there[1]}, below the current one; give an absolute path"
        )
    # As it was given, where it is below the table's folder.
    return beside / path if os.path.isdir(beside / path) else path


def _plain_paths(cells: pd.Series, base: Path) -> pd.Series:
    """Cells as paths with "/" below the images' folder, where they are certainly such."""
    if not cells.str.contains(_NOT_PLAIN, regex=True).any():
        return cells
    plain = cells.str.replace("\\", "/", regex=False)
    for folder in dict.fromkeys((str(base), os.path.abspath(base), os.path.realpath(base))):
        plain = plain.str.removeprefix(f"{Path(folder).as_posix().rstrip('/')}/")
    plain = plain.str.replace(r"(?<!^)/{2,}", "/", regex=True)
    return plain.str.replace(r"(?:(?<=/)|^)(?:\./)+", "", regex=True)


@dataclass(frozen=True)
class _Images:
    """The images in a folder, or in several, that some names may mean.

    Attributes
    ----------
    options : list of list of str
        The images that each of the names may mean: that of exactly this name, else those whose
        name differs in the suffix's case or the form of Unicode, or that it lacks the suffix of.
    there : set of str
        All images in the folders that the names name.
    """

    options: list[list[str]]
    there: set[str]


def _look_for(names: Sequence[str], base: Path, prefix: str = "") -> _Images:
    """The images below a folder that the names may mean, with a prefix before their paths."""
    exact: dict[str, str] = {}
    by_name: dict[str, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
    for folder in dict.fromkeys(name.rpartition("/")[0] for name in names):
        real = _existing_form(base, folder)
        if real is None:
            continue
        asked, below = (f"{folder}/", f"{real}/") if folder else ("", "")
        for image in look_into(base / real).images:
            path = f"{prefix}{below}{image}"
            exact[asked + image] = path
            stem, suffix = _split_suffix(asked + image)
            by_name.setdefault(stem + suffix, []).append(path)
            by_stem.setdefault(stem, []).append(path)
    options = []
    for name in names:
        stem, suffix = _split_suffix(name)
        alike = by_name.get(stem + suffix, []) if suffix else by_stem.get(stem, [])
        options.append([exact[name]] if name in exact else alike)
    return _Images(options, set(exact.values()))


def _existing_form(base: Path, folder: str) -> str | None:
    """The name of a folder as the disk has it, in one form of Unicode or the other."""
    forms = dict.fromkeys((folder, _normal(folder), unicodedata.normalize("NFD", folder)))
    return next((form for form in forms if os.path.isdir(base / form)), None)


def _normal(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _split_suffix(name: str) -> tuple[str, str]:
    """The stem in one form of Unicode, and the suffix of an image in lower case or ""."""
    lower = name.lower()
    suffix = next((suffix for suffix in SUFFIXES if lower.endswith(suffix)), "")
    return _normal(name[: len(name) - len(suffix)]), suffix


def _in_folders_beside(
    table: Table, column: str, base: Path, names: list[str], *, otherwise: _Images
) -> tuple[_Images, list[str]]:
    """The images in the folders beside a table, and the folders, if none is in two of them.

    If no name is in any, what is there `otherwise`.
    """
    inside = {name: _look_for(names, base / name, f"{name}/") for name in look_into(base).folders}
    folders = [name for name, images in inside.items() if any(images.options)]
    used = [inside[name] for name in folders]
    options = [
        [path for found in row for path in found]
        for row in zip(*(images.options for images in used), strict=True)
    ]
    if not options:
        return otherwise, []
    if len(folders) > 1 and any(len(found) > 1 for found in options):
        raise table.rows.error(
            f"column {column!r}: images of one name are in "
            f"{', '.join(f'{name}/' for name in folders)}; choose with {_OPTION}"
        )
    there = set().union(*(images.there for images in used))
    return _Images(options, there), folders
