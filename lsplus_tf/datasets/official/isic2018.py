"""ISIC 2018 task 3: dermoscopy of skin lesions (Codella et al., 2018; Tschandl et al., 2018)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.labels_file import LabelsFile, check_files, read_csv

# Alphabetical, as the LS+ authors have them. The columns of the official files are in another
# order: MEL, NV, BCC, AKIEC, BKL, DF, VASC.
CLASSES = ("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC")
_PARTS = {"train": "Training", "validation": "Validation", "test": "Test"}


def list_isic2018(root: Path) -> FileList:
    """List ISIC 2018 task 3 with its official splits, which are also those of the LS+ authors.

    Parameters
    ----------
    root : Path
        The folder with ISIC2018_Task3_{Training,Validation,Test}_{Input,GroundTruth}/.

    Returns
    -------
    FileList
        Groups are lesions where ISIC2018_Task3_Training_LesionGroupings.csv is in the folder; an
        image of the other splits, of whose lesions nothing is published, is a group of its own.
    """
    files: dict[str, LabelsFile] = {}
    ids: dict[str, npt.NDArray[np.str_]] = {}
    for part, word in _PARTS.items():
        truth = f"ISIC2018_Task3_{word}_GroundTruth"
        files[part] = read_csv(root / truth / f"{truth}.csv", ("image", *CLASSES))
        ids[part] = files[part].paths(
            "image", prefix=f"ISIC2018_Task3_{word}_Input/", suffix=".jpg"
        )
        check_files(root, ids[part], files[part])
    return FileList(
        "isic2018",
        root,
        CLASSES,
        np.concatenate(list(ids.values())),
        np.concatenate([_labels(file) for file in files.values()]),
        np.repeat(list(_PARTS), [len(file) for file in files.values()]),
        groups=_lesions(root, files),
    )


def _labels(file: LabelsFile) -> npt.NDArray[np.int64]:
    one_hot = np.stack([file.integers(name, 0, 1) for name in CLASSES], axis=1)
    file.refuse(one_hot.sum(axis=1) != 1, "image", f"one 1 in the row's {', '.join(CLASSES)}")
    return one_hot.argmax(axis=1)


def _lesions(root: Path, files: dict[str, LabelsFile]) -> npt.NDArray[np.str_] | None:
    path = root / "ISIC2018_Task3_Training_LesionGroupings.csv"
    if not path.is_file():
        return None
    groupings = read_csv(path, ("image", "lesion_id"))
    lesion_of = pd.Series(groupings.text("lesion_id"), index=groupings.paths("image"))
    train = files["train"]
    lesions = train.table["image"].map(lesion_of)
    train.refuse(lesions.isna().to_numpy(), "image", f"a row in {path.name}")
    others = [files[part].text("image") for part in ("validation", "test")]
    return np.concatenate([lesions.to_numpy(np.str_), *others])
