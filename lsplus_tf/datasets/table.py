"""Image files listed in a table of your own.

The table is a CSV in UTF-8 with a heading, whose cells commas, semicolons or tabs separate, or a
`.parquet` or `.json` file, see `lsplus_tf.tables`. Its columns, in any order, of which the first
two are needed:

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

import numpy as np
import numpy.typing as npt

from lsplus_tf.config import CSV_PREFIX, Dataset
from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.image_files import SUFFIXES
from lsplus_tf.datasets.labels_file import LABELS_FILE, paths, unlisted_files
from lsplus_tf.datasets.splitting import SPLIT_NAMES
from lsplus_tf.files import expanded
from lsplus_tf.tables import Table, open_table

_VOTES = "votes_"
_MOST_VOTES = 1_000_000


def list_table(settings: Dataset) -> FileList:
    """List the image files that a table names.

    Parameters
    ----------
    settings : lsplus_tf.config.Dataset
        Its name is "csv:PATH", PATH relative to the current folder or absolute; "~" is the home
        folder. `unlisted` says whether image files without a row, in the folders that rows name,
        are an error.

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If a column, a row or an image does not fit; the message names the line.
    """
    path = expanded(settings.name.removeprefix(CSV_PREFIX), CSV_PREFIX)
    table = open_table(path, LABELS_FILE)
    votes = [name for name in table.names if name.startswith(_VOTES)]
    optional = [name for name in ("split", "group") if name in table.names]
    table.read(["path", "label", *optional, *votes])
    ids = paths(table, "path")
    image = table.text("path").str.lower().str.endswith(SUFFIXES).to_numpy(np.bool_)
    table.refuse(~image, "path", f"a name that ends in {', '.join(SUFFIXES)}")
    class_names = _class_names(table)
    files = FileList(
        settings.name,
        path.parent,
        class_names,
        ids,
        table.classes("label", class_names),
        _parts(table),
        groups=table.text("group").to_numpy(np.str_) if "group" in optional else None,
        votes=_votes(table, votes, class_names),
    )
    without_row = unlisted_files(files.root, ids, table)
    if without_row and settings.unlisted == "fail":
        raise table.rows.error(
            f"{len(without_row)} images have no row, such as {without_row[0]}; add them or set "
            "dataset.unlisted=ignore"
        )
    others = [name for name in table.names if name not in {"path", "label", *optional, *votes}]
    if others:
        hint = "" if "group" in optional else "; a column of patients has to be called group"
        warnings.warn(
            f"{settings.name}: other columns are ignored: {', '.join(others)}{hint}", stacklevel=4
        )
    return files


def _class_names(table: Table) -> tuple[str, ...]:
    """The labels, sorted; by value if all are integers."""
    found = sorted(table.text("label").unique())
    if all(re.fullmatch(r"-?[0-9]+", label) for label in found):
        found.sort(key=int)
    return tuple(found)


def _parts(table: Table) -> npt.NDArray[np.str_]:
    """The split of every row."""
    if "split" not in table.names:
        return np.full(len(table), "train")
    parts = table.text("split").str.lower().map(SPLIT_NAMES)
    table.refuse(parts.isna().to_numpy(), "split", f"one of {', '.join(SPLIT_NAMES)}")
    if not (parts == "train").any():
        raise table.rows.error("column 'split': expected rows of split train, found none")
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
