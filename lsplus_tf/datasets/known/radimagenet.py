"""RadImageNet: CT, MRI and ultrasound images of 165 findings (Mei et al., 2022).

1.35 million images, in the publisher's splits.

Class ids are those of the sorted labels of the training list.
"""

import warnings
from pathlib import Path

import numpy as np

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.labels_file import check_distinct, paths, read_labels
from lsplus_tf.datasets.record import Record

CLASS_COUNT = 165
_PARTS = {"train": "train", "validation": "val", "test": "test"}


def list_radimagenet(root: Path) -> FileList:
    """List RadImageNet with its official splits.

    Whether 1.35 million files are there is not looked at here: what cannot be read is told when
    it is read, and `lsplus-tf datasets check` looks at all of them. Class ids are those of the
    sorted labels of the training list, warned about where these are not 165: a sample of the list
    would give the classes other ids.
    """
    tables = {
        part: read_labels(root / f"RadiologyAI_{word}.csv", ("filename", "label"))
        for part, word in _PARTS.items()
    }
    ids = {part: paths(table, "filename") for part, table in tables.items()}
    check_distinct(tables.values(), "filename")
    train = tables["train"]
    class_names = tuple(sorted(train.text("label").unique()))
    if len(class_names) != CLASS_COUNT:
        warnings.warn(
            f"radimagenet: expected {CLASS_COUNT} labels in {train.rows.source}, found "
            f"{len(class_names)}; class ids are not those of the full list",
            stacklevel=4,
        )
    return FileList(
        RADIMAGENET.name,
        root,
        class_names,
        np.concatenate(list(ids.values())),
        np.concatenate([table.classes("label", class_names) for table in tables.values()]),
        np.repeat(list(_PARTS), [len(table) for table in tables.values()]),
    )


RADIMAGENET = Record(
    name="radimagenet",
    source="1.35 million CT, MRI and ultrasound images, 165 classes (online label smoothing paper)",
    # https://github.com/BMEII-AI/RadImageNet
    licence="on request, under its publisher's terms",
    get="https://www.radimagenet.com",
    mark="RadiologyAI_train.csv",
    folders=("RadImageNet", "radimagenet"),
    contents="RadiologyAI_{train,val,test}.csv and radiology_ai/",
    list_files=list_radimagenet,
    description=__doc__,
    citation="""\
@article{mei2022radimagenet,
  title = {RadImageNet: An Open Radiologic Deep Learning Research Dataset for Effective Transfer
           Learning},
  author = {Mei, Xueyan and Liu, Zelong and Robson, Philip M. and Marinelli, Brett and Huang,
            Mingqian and Doshi, Amish and Jacobi, Adam and Cao, Chendi and Link, Katherine E. and
            Yang, Thomas and Wang, Ying and Greenspan, Hayit and Deyer, Timothy and Fayad, Zahi A.
            and Yang, Yang},
  journal = {Radiology: Artificial Intelligence},
  volume = {4},
  number = {5},
  pages = {e210315},
  year = {2022},
}
""",
)
RECORDS = (RADIMAGENET,)
