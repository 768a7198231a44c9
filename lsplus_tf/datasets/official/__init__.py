"""The papers' data sets, read as their publishers lay them out."""

from collections.abc import Callable
from pathlib import Path

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.official.chaoyang import list_chaoyang, list_chaoyang_grouped
from lsplus_tf.datasets.official.folders import require_folder
from lsplus_tf.datasets.official.isic2018 import list_isic2018
from lsplus_tf.datasets.official.mhist import list_mhist
from lsplus_tf.datasets.official.radimagenet import list_radimagenet

__all__ = ["LISTERS", "list_official"]

LISTERS: dict[str, Callable[[Path], FileList]] = {
    "mhist": list_mhist,
    "chaoyang": list_chaoyang,
    "chaoyang/grouped": list_chaoyang_grouped,
    "isic2018": list_isic2018,
    "radimagenet": list_radimagenet,
}


def list_official(name: str, data_dir: Path | None) -> FileList:
    """List the image files of one of `LISTERS`, with labels, splits and what else is known.

    Parameters
    ----------
    name : str
        One of `LISTERS`.
    data_dir : Path or None
        The data set's own folder, or a folder that holds it under one of its usual names.

    Raises
    ------
    MissingDataError
        If the data is not there; the message says where to get and put it.
    InputError
        If labels and files do not agree; the message names file and line.
    """
    return LISTERS[name](require_folder(name, data_dir))
