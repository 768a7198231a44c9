"""Chaoyang: patches of colon slides, labelled by three annotators (Zhu et al., 2021).

6,160 patches of 512x512 pixels: normal, serrated, adenocarcinoma or adenoma.

`group` is the slide. `votes` counts which classes three annotators chose, and is 0 where the label
lists have no `label_A`, `label_B` and `label_C`. `test` is the publisher's, and shares slides with
the rest. `validation` holds out 10% of the publisher's training patches: as the authors of LS+
(MICCAI 2024) did, which shares slides with training, or by slide with `chaoyang/grouped`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.labels_file import LABELS_FILE, check_distinct, check_files, paths
from lsplus_tf.datasets.record import Record, sizes
from lsplus_tf.datasets.splitting import hold_out
from lsplus_tf.tables import Table, open_table

_ANNOTATORS = ("label_A", "label_B", "label_C")
_PARTS = ("train", "test")
# What the LS+ authors took: train_test_split(..., test_size=0.10, random_state=101).
_FRACTION, _SEED = 0.10, 101


def list_chaoyang(root: Path) -> FileList:
    """List Chaoyang with the LS+ authors' validation split: 10% of the training patches.

    Their split is by patch: 86 of its 87 slides are in the training split too, so that accuracies
    on it are optimistic. `list_chaoyang_grouped` keeps slides apart. Groups are slides: what stands
    before "-IMG" in a file's name. `votes` where the lists have label_A, label_B and label_C.
    """
    return _list(root, grouped=False)


def list_chaoyang_grouped(root: Path) -> FileList:
    """List Chaoyang with a validation split of about 10% that shares no slide with training.

    The test split is the publisher's, as in `list_chaoyang`; 80 of its 81 slides are also among
    those of train.json.
    """
    return replace(_list(root, grouped=True), name=GROUPED.name)


def _list(root: Path, *, grouped: bool) -> FileList:
    tables = {part: _read(root / f"{part}.json") for part in _PARTS}
    ids = {part: paths(table, "name") for part, table in tables.items()}
    check_distinct(tables.values(), "name")
    for part, table in tables.items():
        check_files(root, ids[part], table)
    classes = CHAOYANG.classes
    labels = np.concatenate([t.integers("label", 0, len(classes) - 1) for t in tables.values()])
    groups = np.concatenate([_slides(table) for table in tables.values()])
    parts = np.repeat(list(tables), [len(table) for table in tables.values()])
    return FileList(
        CHAOYANG.name,
        root,
        classes,
        np.concatenate(list(ids.values())),
        labels,
        hold_out(
            parts,
            labels,
            classes,
            fraction=_FRACTION,
            seed=_SEED,
            name=CHAOYANG.name,
            groups=groups if grouped else None,
        ),
        groups=groups,
        votes=_votes(tables),
    )


def _read(path: Path) -> Table:
    table = open_table(path, LABELS_FILE)
    table.read(("name", "label", *(_ANNOTATORS if _is_annotated(table) else ())))
    return table


def _is_annotated(table: Table) -> bool:
    return any(annotator in table.names for annotator in _ANNOTATORS)


def _slides(table: Table) -> npt.NDArray[np.str_]:
    slides = table.text("name").str.extract(r"([^/]+)-IMG[^/]*$", expand=False)
    table.refuse(slides.isna().to_numpy(), "name", "a name like SLIDE-IMG001x002-0.JPG")
    return slides.to_numpy(np.str_)


def _votes(tables: dict[str, Table]) -> npt.NDArray[np.int64] | None:
    """How many of the three annotators chose each class, (N, K); None where no list has them.

    Where only one list has them, the rows of the other are 0.
    """
    classes = len(CHAOYANG.classes)
    votes = {part: np.zeros((len(table), classes), np.int64) for part, table in tables.items()}
    known = [part for part, table in tables.items() if _is_annotated(table)]
    for part in known:
        for annotator in _ANNOTATORS:
            chosen = tables[part].integers(annotator, 0, classes - 1)
            votes[part][np.arange(len(chosen)), chosen] += 1
    return np.concatenate(list(votes.values())) if known else None


CHAOYANG = Record(
    name="chaoyang",
    source="colon tissue, histology, 512x512 colour (LS+ paper)",
    # The README that comes with the images.
    licence="non-commercial use, no redistribution, with a reference (the data's own README)",
    get="https://bupt-ai-cz.github.io/HSA-NRL/",
    classes=("normal", "serrated", "adenocarcinoma", "adenoma"),
    positive=("adenocarcinoma",),
    sizes=sizes(3618, 403, 2139),  # of the splits that the LS+ authors published
    mark="train.json",
    folders=("chaoyang-data", "chaoyang", "Chaoyang"),
    contents="train.json, test.json, train/ and test/",
    list_files=list_chaoyang,
    groups=True,
    votes=True,
    variant="authors",
    description=__doc__,
    citation="""\
@article{zhu2021hard,
  title = {Hard Sample Aware Noise Robust Learning for Histopathology Image Classification},
  author = {Zhu, Chuang and Chen, Wenkai and Peng, Ting and Wang, Ying and Jin, Mulan},
  journal = {IEEE Transactions on Medical Imaging},
  year = {2021},
}
""",
)
GROUPED = replace(
    CHAOYANG,
    name="chaoyang/grouped",
    source="chaoyang, with no slide in both training and validation",
    sizes={"all": 6160},
    list_files=list_chaoyang_grouped,
    variant="grouped",
)
RECORDS = (CHAOYANG, GROUPED)
