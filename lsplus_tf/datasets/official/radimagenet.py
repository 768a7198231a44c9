"""RadImageNet: CT, MRI and ultrasound images of 165 findings (Mei et al., 2022)."""

import warnings
from pathlib import Path

import numpy as np

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.labels_file import check_distinct, read_csv

CLASS_COUNT = 165
_PARTS = {"train": "train", "validation": "val", "test": "test"}


def list_radimagenet(root: Path) -> FileList:
    """List RadImageNet with its official splits.

    Whether 1.35 million files are there is not looked at here: what cannot be read is told when
    it is read, and `lsplus-tf datasets check` looks at all of them.

    Parameters
    ----------
    root : Path
        The folder with RadiologyAI_{train,val,test}.csv and radiology_ai/.

    Returns
    -------
    FileList
        Class ids are those of the sorted labels of the training list, warned about where these
        are not 165: a sample of the list would give the classes other ids.
    """
    files = {
        part: read_csv(root / f"RadiologyAI_{word}.csv", ("filename", "label"))
        for part, word in _PARTS.items()
    }
    ids = {part: file.paths("filename") for part, file in files.items()}
    check_distinct(files.values(), "filename")
    class_names = tuple(sorted(files["train"].cells("label").unique()))
    if len(class_names) != CLASS_COUNT:
        warnings.warn(
            f"radimagenet: expected {CLASS_COUNT} labels in {files['train'].path}, found "
            f"{len(class_names)}; class ids are not those of the full list",
            stacklevel=5,
        )
    return FileList(
        "radimagenet",
        root,
        class_names,
        np.concatenate(list(ids.values())),
        np.concatenate([file.classes("label", class_names) for file in files.values()]),
        np.repeat(list(_PARTS), [len(file) for file in files.values()]),
    )
