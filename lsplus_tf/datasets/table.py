"""Image files listed in a table of your own.

The table is a CSV in UTF-8 with a heading; commas, semicolons or tabs separate its cells. Its
columns, in any order, of which the first two are needed:

- path: the .png, .jpg or .jpeg file, relative to the table's folder and below it, with "/".
- label: the class. Classes are sorted as text, or as numbers if all are integers.
- split: train or training, val, valid or validation, test or testing, in any case of letters.
  Without the column all rows are train, from which the other splits are carved.
- group: the patient, lesion or slide. Splits that are carved share none.
- votes_CLASS, one for each class: how many annotators chose it.

For example::

    path,label,group,votes_HP,votes_SSA
    images/a.png,HP,patient 1,7,0
    images/b.png,SSA,patient 2,2,5

Other columns are ignored, with a warning. A cell of these that is empty is refused.
"""

import re
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.image_files import SUFFIXES
from lsplus_tf.datasets.labels_file import LabelsFile, read_csv, unlisted_files
from lsplus_tf.datasets.splitting import SPLIT_NAMES
from lsplus_tf.errors import InputError

Unlisted = Literal["fail", "ignore"]

_VOTES = "votes_"
_MOST_VOTES = 1_000_000


def list_table(path: str, unlisted: Unlisted = "fail") -> FileList:
    """List the image files that a CSV names.

    Parameters
    ----------
    path : str
        The CSV, relative to the current folder or absolute; "~" is the home folder.
    unlisted : {"fail", "ignore"}
        Whether image files without a row, in the folders that rows name, are an error.

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If a column, a row or an image does not fit; the message names the line.
    """
    name = f"csv:{path}"
    file = read_csv(Path(path).expanduser(), ("path", "label"))
    twice = file.table.columns[file.table.columns.duplicated()]
    if len(twice):
        raise InputError(f"{file.path}: column {twice[0]!r} is there more than once")
    ids = file.paths("path")
    image = file.table["path"].str.lower().str.endswith(SUFFIXES).to_numpy(np.bool_)
    file.refuse(~image, "path", f"a name that ends in {', '.join(SUFFIXES)}")
    class_names = _class_names(file)
    files = FileList(
        name,
        file.path.parent,
        class_names,
        ids,
        file.classes("label", class_names),
        _parts(file),
        groups=file.text("group") if "group" in file else None,
        votes=_votes(file, class_names),
    )
    without_row = unlisted_files(files.root, ids, file)
    if without_row and unlisted == "fail":
        raise InputError(
            f"{file.path}: {len(without_row)} images have no row, such as {without_row[0]}; add "
            "them or set dataset.unlisted=ignore"
        )
    _warn_of_other_columns(file, class_names, name)
    return files


def _class_names(file: LabelsFile) -> tuple[str, ...]:
    """The labels, sorted; by value if all are integers."""
    found = np.unique(file.text("label")).tolist()
    if all(re.fullmatch(r"-?[0-9]+", label) for label in found):
        found.sort(key=int)
    return tuple(found)


def _parts(file: LabelsFile) -> npt.NDArray[np.str_]:
    """The split of every row."""
    if "split" not in file:
        return np.full(len(file), "train")
    parts = file.table["split"].str.lower().map(SPLIT_NAMES)
    file.refuse(parts.isna().to_numpy(), "split", f"one of {', '.join(SPLIT_NAMES)}")
    if not (parts == "train").any():
        raise InputError(f"{file.path}: column 'split': expected rows of split train, found none")
    return parts.to_numpy(np.str_)


def _votes(file: LabelsFile, class_names: tuple[str, ...]) -> npt.NDArray[np.int64] | None:
    """The votes (N, K) of the columns that are named after the classes, if there are any."""
    found = [column for column in file.table.columns if str(column).startswith(_VOTES)]
    if not found:
        return None
    expected = [f"{_VOTES}{class_name}" for class_name in class_names]
    if sorted(found) != sorted(expected):
        raise InputError(
            f"{file.path}: expected the columns {', '.join(expected)}, or none of these; "
            f"found {', '.join(found)}"
        )
    votes = np.stack([file.integers(column, 0, _MOST_VOTES) for column in expected], axis=1)
    file.refuse(votes.sum(1) == 0, expected[0], "at least one vote in a row")
    return votes


def _warn_of_other_columns(file: LabelsFile, class_names: tuple[str, ...], name: str) -> None:
    known = {"path", "label", "split", "group", *(f"{_VOTES}{c}" for c in class_names)}
    others = [column for column in file.table.columns if column not in known]
    if others:
        hint = "" if "group" in file else "; a column of patients has to be called group"
        warnings.warn(f"{name}: other columns are ignored: {', '.join(others)}{hint}", stacklevel=5)
