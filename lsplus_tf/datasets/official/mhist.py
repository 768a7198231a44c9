"""MHIST: colorectal polyps, each seen by seven pathologists (Wei et al., 2021)."""

from pathlib import Path

import numpy as np

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.labels_file import check_files, read_csv
from lsplus_tf.datasets.official.splits import hold_out

CLASSES = ("HP", "SSA")
ANNOTATORS = 7
_NAME, _LABEL, _PART = "Image Name", "Majority Vote Label", "Partition"
_VOTES = "Number of Annotators who Selected SSA (Out of 7)"


def list_mhist(root: Path) -> FileList:
    """List MHIST with the LS+ authors' validation split: 20% of the training images.

    Parameters
    ----------
    root : Path
        The folder with annotations.csv and images/.

    Returns
    -------
    FileList
        HP is 0, SSA 1. `votes` are those of the seven pathologists; the majority is the label.
    """
    file = read_csv(root / "annotations.csv", (_NAME, _LABEL, _VOTES, _PART))
    ids = file.paths(_NAME, prefix="images/")
    labels = file.classes(_LABEL, CLASSES)
    for_ssa = file.integers(_VOTES, 0, ANNOTATORS)
    file.refuse(
        (2 * for_ssa > ANNOTATORS) != (labels == 1), _VOTES, "a majority for the label in the row"
    )
    parts = np.array(["train", "test"])[file.classes(_PART, ("train", "test"))]
    check_files(root, ids, file)
    return FileList(
        "mhist",
        root,
        CLASSES,
        ids,
        labels,
        hold_out(parts, labels, CLASSES, fraction=0.20, seed=42, name="mhist"),
        votes=np.stack([ANNOTATORS - for_ssa, for_ssa], axis=1),
    )
