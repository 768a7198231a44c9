"""MHIST: colorectal polyps, each seen by seven pathologists (Wei et al., 2021).

3,152 images of 224x224 pixels, stained with H&E, each either a hyperplastic polyp (HP) or a sessile
serrated adenoma (SSA) by the majority of the seven.

`votes` counts the pathologists for HP and for SSA. `test` is the publisher's; `validation` is the
20% of the publisher's training images that the authors of LS+ (MICCAI 2024) held out.
"""

from pathlib import Path

import numpy as np

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.labels_file import check_files, paths, read_labels
from lsplus_tf.datasets.record import Record, sizes
from lsplus_tf.datasets.splitting import hold_out

ANNOTATORS = 7
_NAME, _LABEL, _PART = "Image Name", "Majority Vote Label", "Partition"
_VOTES = "Number of Annotators who Selected SSA (Out of 7)"


def list_mhist(root: Path) -> FileList:
    """List MHIST with the LS+ authors' validation split: 20% of the training images.

    HP is 0, SSA 1. `votes` are those of the seven pathologists; the majority is the label.
    """
    table = read_labels(root / "annotations.csv", (_NAME, _LABEL, _VOTES, _PART))
    ids = paths(table, _NAME, prefix="images/")
    labels = table.classes(_LABEL, MHIST.classes)
    for_ssa = table.integers(_VOTES, 0, ANNOTATORS)
    table.refuse(
        (2 * for_ssa > ANNOTATORS) != (labels == 1), _VOTES, "a majority for the label in the row"
    )
    parts = np.array(["train", "test"])[table.classes(_PART, ("train", "test"))]
    check_files(root, ids, table)
    return FileList(
        MHIST.name,
        root,
        MHIST.classes,
        ids,
        labels,
        hold_out(parts, labels, MHIST.classes, fraction=0.20, seed=42, name=MHIST.name),
        votes=np.stack([ANNOTATORS - for_ssa, for_ssa], axis=1),
    )


MHIST = Record(
    name="mhist",
    source="colorectal polyps, histology, 224x224 colour, votes of 7 pathologists (LS+ paper)",
    # https://kaiko-ai.github.io/eva/dev/datasets/mhist describes the access.
    licence="on request, under its Dataset Research Use Agreement",
    get="https://bmirds.github.io/MHIST/",
    classes=("HP", "SSA"),
    positive=("SSA",),
    sizes=sizes(1740, 435, 977),  # of the splits that the LS+ authors published
    mark="annotations.csv",
    folders=("MHIST", "mhist"),
    contents="annotations.csv and images/",
    list_files=list_mhist,
    votes=True,
    description=__doc__,
    citation="""\
@inproceedings{wei2021petri,
  title = {A Petri Dish for Histopathology Image Analysis},
  author = {Wei, Jerry and Suriawinata, Arief and Ren, Bing and Liu, Xiaoying and Lisovsky, Mikhail
            and Vaickus, Louis and Brown, Charles and Baker, Michael and Tomita, Naofumi and
            Torresani, Lorenzo and Wei, Jason and Hassanpour, Saeed},
  booktitle = {Artificial Intelligence in Medicine},
  year = {2021},
  note = {arXiv:2101.12355},
}
""",
)
RECORDS = (MHIST,)
