"""Image files listed in a table of your own.

The table is any that `lsplus_tf.tables` reads. Its columns, in any order, of which the first two
are needed:

- path: the image file, relative to the table's folder and below it. Also without its suffix, with
  backslashes, or absolute.
- label: the class. Classes are sorted as text, or as numbers if all are integers.
- split: train or training, val, valid or validation, test or testing and the like, in any case of
  letters. Without the column all rows are train, from which the other splits are carved.
- group: the patient, lesion or slide. Splits that are carved share none.
- votes_CLASS, one for each class: how many annotators chose it.

For example::

    path,label,group,votes_HP,votes_SSA
    images/a.png,HP,patient 1,7,0
    images/b.png,SSA,patient 2,2,5

Columns of other names are named by options, `path_column` and so on. Without these, usual names are
taken where there is one candidate only, and a warning says which; so is a column that holds names
of splits alone. Other columns are ignored, with a warning. An empty cell of those that are used is
refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.config import CSV_PREFIX, Dataset
from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.finding import check_encoding
from lsplus_tf.datasets.labels_file import (
    LABELS_FILE,
    found_in_paths,
    one_hot,
    refuse_empty,
)
from lsplus_tf.datasets.row_images import find_row_images
from lsplus_tf.errors import InputError, did_you_mean, some_of
from lsplus_tf.files import expanded
from lsplus_tf.tables import Table, class_order, listed, open_table
from lsplus_tf.tables.headings import Role, called, if_no_heading, usual
from lsplus_tf.tables.names import alike
from lsplus_tf.tables.splits import SPLIT_NAMES, split_meanings

_FEW = 10  # numbers, which may be classes however few rows there are
_VOTES = "votes_"
_MOST_VOTES = 1_000_000


def list_table(settings: Dataset) -> FileList:
    """List the image files that a table names.

    Parameters
    ----------
    settings : lsplus_tf.config.Dataset
        Its name is "csv:PATH", PATH relative to the current folder or absolute; "~" is the home
        folder. The options `path_column`, `label_column`, `label_columns`, `group_column`,
        `split_column` and `image_folder` say what the table has and where the images are.
        `unlisted` says whether image files without a row, in the folders that rows name, are an
        error.

    Raises
    ------
    MissingDataError
        If there is no such file or folder.
    InputError
        If a column, a row or an image does not fit; the message names the line.
    """
    path = expanded(settings.name.removeprefix(CSV_PREFIX), CSV_PREFIX)
    check_encoding(path)
    table = open_table(path, LABELS_FILE)
    columns, said = _choose_columns(table, settings)
    if columns.label is not None:
        refuse_empty(table, columns.label)
        class_names = class_order(table.text(columns.label))
        _refuse_measurements(table, columns.label, class_names)
        labels = table.classes(columns.label, class_names)
    else:
        class_names = columns.one_hot
        labels = one_hot(table, class_names, columns.path)
        _refuse_empty_classes(table, class_names, labels)
    parts = _parts(table, columns.split)
    groups = None
    if columns.group is not None:
        groups = table.text(columns.group).to_numpy(np.str_)
    votes = _votes(table, columns.votes, class_names)
    # Last, as it takes longest.
    images = find_row_images(table, columns.path, path.parent, settings.image_folder)
    if images.folders:
        said.append(f"images are in {', '.join(f'{folder}/' for folder in images.folders)}")
    if images.removed:
        said.append(f"{images.removed!r} before all paths was removed")
    if settings.group_pattern is not None:
        groups = found_in_paths(images.ids.tolist(), settings, "group_pattern")
    files = FileList(
        settings.name, images.root, class_names, images.ids, labels, parts, groups, votes
    )
    if images.without_row and settings.unlisted == "fail":
        raise table.rows.error(
            f"{len(images.without_row)} images have no row, such as {images.without_row[0]}; add "
            "them or set dataset.unlisted=ignore"
        )
    if others := table.unused(columns.used):
        hint = ""
        if groups is None and settings.group_column is None:
            hint = f"; if one of them names patients, lesions or slides, set {_option('group')}"
        said.append(f"other columns are ignored: {', '.join(others)}{hint}")
    if said:
        warnings.warn(f"{settings.name}: {'; '.join(said)}", stacklevel=4)
    # Of a column of labels the reader has said it.
    if columns.one_hot and (same := alike(class_names)):
        warnings.warn(f"{settings.name}: {same}", stacklevel=4)
    return files


@dataclass(frozen=True)
class _Columns:
    """The columns that play a part."""

    path: str
    label: str | None
    one_hot: tuple[str, ...]  # in place of the label
    group: str | None
    split: str | None
    votes: list[str]

    @property
    def used(self) -> set[str]:
        roles = (self.path, self.label, *self.one_hot, self.group, self.split, *self.votes)
        return {name for name in roles if name is not None}


def _choose_columns(table: Table, settings: Dataset) -> tuple[_Columns, list[str]]:
    """Decide which column is what, and read those; also which were taken unasked, in words."""
    votes = [name for name in table.names if name.startswith(_VOTES)]
    path = _only(table, "path", _candidates(table, "path", settings.path_column))
    labels = _candidates(table, "label", settings.label_column)
    ones = settings.label_columns
    for name in ones:
        _refuse_unknown(table, "label_columns", name)
    label = None if ones or not labels else _only(table, "label", labels)
    # A pattern finds groups in the paths.
    by_pattern = settings.group_pattern is not None
    groups = _candidates(table, "group", "" if by_pattern else settings.group_column)
    splits = _candidates(table, "split", settings.split_column)
    unusual: list[str] = []
    if settings.split_column is None and [name.lower() for name in splits] != ["split"]:
        others = table.unused(
            {name for name in (path, label, *ones, *groups, *splits, *votes) if name}
        )
        unusual = _perhaps_splits(table, others)
    rest: tuple[str, ...] = ()
    if label is None and not ones:
        rest = table.unused({path, *groups, *splits, *unusual, *votes})
    wanted = (path, label, *ones, *groups, *splits, *unusual, *votes)
    names = [name for name in (label, *groups) if name is not None]
    table.read((name for name in wanted if name is not None), names=names)
    if rest:
        ones = _ones(table, rest)
    if label is None and not ones:
        alternative = ", or dataset.label_columns for one column of 0 and 1 per class"
        raise _no_column(table, "label", alternative)
    group = _coarsest(table, groups)
    splits += [name for name in unusual if _are_splits(table, name)]
    split = settings.split_column or _of_splits(table, splits)
    if group is not None and group not in ("group", settings.group_column):
        missing = table.values(group).isna().to_numpy()
        table.refuse(missing, group, "a value, or dataset.group_column='' for no groups")
    taken = [f"{path} as path"] if path not in ("path", settings.path_column) else []
    if label is not None and label not in ("label", settings.label_column):
        taken.append(f"{label} as label")
    if ones and not settings.label_columns:
        taken.append(f"{some_of(ones)} as classes")
    if group is not None and group not in ("group", settings.group_column):
        taken.append(f"{group} as group")
    if split is not None and split not in ("split", settings.split_column):
        taken.append(f"{split} as split")
    said = [f"took {', '.join(taken)}"] if taken else []
    return _Columns(path, label, ones, group, split, votes), said


def _candidates(table: Table, role: Role, declared: str | None) -> list[str]:
    """The columns that may play a role: the declared one, the role's namesake, or usual ones."""
    if declared == "":  # none is wanted
        return []
    if declared is not None:
        _refuse_unknown(table, f"{role}_column", declared)
        return [declared]
    if role in table.names:
        return [role]
    roles: tuple[Role, ...] = ("label", "class") if role == "label" else (role,)
    return called(table.names, role) or usual(table.names, *roles)


def _refuse_unknown(table: Table, option: str, name: str) -> None:
    if name not in table.names:
        hint = did_you_mean(name, table.names)
        raise table.rows.error(
            f"dataset.{option}: expected one of {listed(table.names)}, received {name!r}{hint}"
        )


def _only(table: Table, role: str, candidates: list[str]) -> str:
    if not candidates:
        raise _no_column(table, role)
    if len(candidates) > 1:
        raise _several(table, role, candidates)
    return candidates[0]


def _option(role: str) -> str:
    return f"dataset.{role}_column (--{role}-column)"


def _no_column(table: Table, role: str, alternative: str = "") -> InputError:
    return table.rows.error(
        f"expected one column {role!r}, found 0 among {listed(table.names)}; name it as "
        f"{_option(role)}{alternative}{if_no_heading(table.names)}"
    )


def _several(table: Table, role: str, candidates: Iterable[str], none: str = "") -> InputError:
    return table.rows.error(
        f"expected one column {role!r}, {' and '.join(map(repr, candidates))} could be it; choose "
        f"with {_option(role)}{none}"
    )


def _ones(table: Table, names: Sequence[str]) -> tuple[str, ...]:
    """The columns, if there are several and every row has one 1 and otherwise 0 in them."""
    try:
        table.read(names)
    except InputError:  # of what is no text or number, such as bytes
        return ()
    numbers = [pd.to_numeric(table.values(name), errors="coerce") for name in names]
    cells = np.stack([column.to_numpy(np.float64, na_value=np.nan) for column in numbers], axis=1)
    good = len(names) > 1 and np.isin(cells, (0, 1)).all() and (cells.sum(axis=1) == 1).all()
    return tuple(names) if good else ()


def _refuse_empty_classes(
    table: Table, class_names: tuple[str, ...], labels: npt.NDArray[np.int64]
) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    empty = [name for name, count in zip(class_names, counts, strict=True) if not count]
    if empty:
        rest = ",".join(name for name in class_names if name not in empty)
        raise table.rows.error(
            f"column {empty[0]!r}: expected a 1, there is none ({len(empty)} such classes); set "
            f"dataset.label_columns=[{rest}] (--label-columns {rest})"
        )


def _coarsest(table: Table, candidates: list[str]) -> str | None:
    """The column of groups; of several the one that keeps the others' groups together too."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    cells = pd.DataFrame({name: table.values(name) for name in candidates})
    for name in candidates:
        others = [cells.groupby(other, dropna=False)[name] for other in candidates if other != name]
        if all((groups.nunique(dropna=False) == 1).all() for groups in others):
            return name
    raise _several(table, "group", candidates, "; '' takes none")


def _of_splits(table: Table, candidates: list[str]) -> str | None:
    """The column of splits: that of this name, or the one that holds names of splits."""
    if len(candidates) == 1 and called(candidates, "split"):
        return candidates[0]
    found = []
    for name in candidates:
        values = [str(value).strip() for value in table.values(name).dropna().unique()]
        if any(value.lower() in SPLIT_NAMES for value in values):
            found.append(name)
    if len(found) > 1:
        raise _several(table, "split", found, "; '' takes none")
    return found[0] if found else None


def _perhaps_splits(table: Table, names: Sequence[str]) -> list[str]:
    """Columns of unusual names whose first cell is the name of a split."""
    first = table.first_row()
    if len(first) != len(table.names):
        return []
    cells = dict(zip(table.names, first, strict=True))
    found = [name for name in names if cells[name].lower() in SPLIT_NAMES]
    return [name for name in found if table.names.count(name) == 1]


def _are_splits(table: Table, name: str) -> bool:
    """Whether a column holds names of splits and nothing else, train among them."""
    meant = {SPLIT_NAMES.get(str(value).lower()) for value in table.values(name).unique()}
    return None not in meant and "train" in meant and len(meant) > 1


def _refuse_measurements(table: Table, column: str, class_names: tuple[str, ...]) -> None:
    """Refuse a column of numbers of which most are there once: they are no classes."""
    if len(class_names) > max(_FEW, len(table) / 2) and all(map(_is_number, class_names)):
        raise table.rows.error(
            f"column {column!r}: expected classes, received {len(class_names)} different numbers "
            f"in {len(table)} rows; make classes of them, or name another column as "
            f"{_option('label')}"
        )


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return np.isfinite(float(text))
    return False


def _parts(table: Table, column: str | None) -> npt.NDArray[np.str_]:
    """The split of every row."""
    if column is None:
        return np.full(len(table), "train")
    cells = table.text(column)
    meanings = split_meanings(cells.unique(), f"{table.rows.source}: column {column!r}")
    parts = cells.map(meanings)
    none = ", or dataset.split_column='' (--split-column '') for none" if parts.isna().all() else ""
    table.refuse(parts.isna().to_numpy(), column, f"one of {', '.join(SPLIT_NAMES)}{none}")
    if not (parts == "train").any():
        raise table.rows.error(f"column {column!r}: expected rows of split train, found none")
    return parts.to_numpy(np.str_)


def _votes(
    table: Table, found: list[str], class_names: tuple[str, ...]
) -> npt.NDArray[np.int64] | None:
    """The votes (N, K) of the columns that are named after the classes, if there are any."""
    if not found:
        return None
    expected = [f"{_VOTES}{class_name}" for class_name in class_names]
    if sorted(found) != sorted(expected):
        raise table.rows.error(
            f"expected the columns {', '.join(expected)}, or none of these; "
            f"found {', '.join(found)}"
        )
    votes = np.stack([table.integers(column, 0, _MOST_VOTES) for column in expected], axis=1)
    table.refuse(votes.sum(1) == 0, expected[0], "at least one vote in a row")
    return votes
