"""Chaoyang: patches of colon slides, labelled by three annotators (Zhu et al., 2021)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.labels_file import LabelsFile, check_distinct, check_files, read_json
from lsplus_tf.datasets.official.splits import hold_out

CLASSES = ("normal", "serrated", "adenocarcinoma", "adenoma")
_ANNOTATORS = ("label_A", "label_B", "label_C")
_PARTS = ("train", "test")
# What the LS+ authors took: train_test_split(..., test_size=0.10, random_state=101).
_FRACTION, _SEED = 0.10, 101


def list_chaoyang(root: Path) -> FileList:
    """List Chaoyang with the LS+ authors' validation split: 10% of the training patches.

    Their split is by patch: 86 of its 87 slides are in the training split too, so that accuracies
    on it are optimistic. `list_chaoyang_grouped` keeps slides apart.

    Parameters
    ----------
    root : Path
        The folder with train.json, test.json, train/ and test/.

    Returns
    -------
    FileList
        Groups are slides: what stands before "-IMG" in a file's name. `votes` where the lists
        have label_A, label_B and label_C.
    """
    return _list(root, grouped=False)


def list_chaoyang_grouped(root: Path) -> FileList:
    """List Chaoyang with a validation split of about 10% that shares no slide with training.

    The test split is the publisher's, as in `list_chaoyang`; 80 of its 81 slides are also among
    those of train.json.
    """
    return replace(_list(root, grouped=True), name="chaoyang/grouped")


def _list(root: Path, *, grouped: bool) -> FileList:
    files = {part: read_json(root / f"{part}.json", ("name", "label")) for part in _PARTS}
    ids = {part: file.paths("name") for part, file in files.items()}
    check_distinct(files.values(), "name")
    for part, file in files.items():
        check_files(root, ids[part], file)
    labels = np.concatenate(
        [file.integers("label", 0, len(CLASSES) - 1) for file in files.values()]
    )
    groups = np.concatenate([_slides(file) for file in files.values()])
    parts = np.repeat(list(files), [len(file) for file in files.values()])
    return FileList(
        "chaoyang",
        root,
        CLASSES,
        np.concatenate(list(ids.values())),
        labels,
        hold_out(
            parts,
            labels,
            CLASSES,
            fraction=_FRACTION,
            seed=_SEED,
            name="chaoyang",
            groups=groups if grouped else None,
        ),
        groups=groups,
        votes=_votes(files),
    )


def _slides(file: LabelsFile) -> npt.NDArray[np.str_]:
    slides = file.table["name"].str.extract(r"([^/]+)-IMG[^/]*$", expand=False)
    file.refuse(slides.isna().to_numpy(), "name", "a name like SLIDE-IMG001x002-0.JPG")
    return slides.to_numpy(np.str_)


def _votes(files: dict[str, LabelsFile]) -> npt.NDArray[np.int64] | None:
    """How many of the three annotators chose each class, (N, K); None where no list has them.

    Where only one list has them, the rows of the other are 0.
    """
    votes = {part: np.zeros((len(file), len(CLASSES)), np.int64) for part, file in files.items()}
    known = [part for part, file in files.items() if any(a in file for a in _ANNOTATORS)]
    for part in known:
        files[part].require(_ANNOTATORS)
        for annotator in _ANNOTATORS:
            chosen = files[part].integers(annotator, 0, len(CLASSES) - 1)
            votes[part][np.arange(len(chosen)), chosen] += 1
    return np.concatenate(list(votes.values())) if known else None
