"""ISIC 2018 task 3: dermoscopy of skin lesions (Codella et al., 2018; Tschandl et al., 2018).

Lesions of seven kinds: 10,015 images for training (HAM10000), 193 for validation and 1,512 for
testing.

Classes are in alphabetical order, not in that of the official files. `group` is the lesion where
`ISIC2018_Task3_Training_LesionGroupings.csv` is among the files, else it is empty; an image for
validation or testing is then a group of its own.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.labels_file import check_files, one_hot, paths, read_labels
from lsplus_tf.datasets.record import Record, sizes
from lsplus_tf.tables import Table

_PARTS = {"train": "Training", "validation": "Validation", "test": "Test"}
_LESIONS = "ISIC2018_Task3_Training_LesionGroupings.csv"


def list_isic2018(root: Path) -> FileList:
    """List ISIC 2018 task 3 with its official splits, which are also those of the LS+ authors.

    Groups are lesions where ISIC2018_Task3_Training_LesionGroupings.csv is in the folder; an image
    of the other splits, of whose lesions nothing is published, is a group of its own.
    """
    tables: dict[str, Table] = {}
    ids: dict[str, npt.NDArray[np.str_]] = {}
    for part, word in _PARTS.items():
        truth = f"ISIC2018_Task3_{word}_GroundTruth"
        tables[part] = read_labels(root / truth / f"{truth}.csv", ("image", *ISIC2018.classes))
        folder = f"ISIC2018_Task3_{word}_Input/"
        ids[part] = paths(tables[part], "image", prefix=folder, suffix=".jpg")
        check_files(root, ids[part], tables[part])
    return FileList(
        ISIC2018.name,
        root,
        ISIC2018.classes,
        np.concatenate(list(ids.values())),
        np.concatenate([one_hot(t, ISIC2018.classes, "image") for t in tables.values()]),
        np.repeat(list(_PARTS), [len(table) for table in tables.values()]),
        groups=_lesions(root, tables),
    )


def _lesions(root: Path, tables: dict[str, Table]) -> npt.NDArray[np.str_] | None:
    if not (root / _LESIONS).is_file():
        return None
    groupings = read_labels(root / _LESIONS, ("image", "lesion_id"))
    lesion_of = pd.Series(groupings.text("lesion_id").array, index=paths(groupings, "image"))
    lesions = tables["train"].text("image").map(lesion_of)
    tables["train"].refuse(lesions.isna().to_numpy(), "image", f"a row in {_LESIONS}")
    others = [tables[part].text("image").to_numpy(np.str_) for part in ("validation", "test")]
    return np.concatenate([lesions.to_numpy(np.str_), *others])


ISIC2018 = Record(
    name="isic2018",
    source="skin lesions, dermoscopy, colour, ISIC 2018 task 3 (LS+ paper)",
    # As https://datasetninja.com/isic-challenge-2018 records it.
    licence="CC BY-NC 4.0",
    get="https://challenge.isic-archive.com/data/#2018",
    # Alphabetical, as the LS+ authors have them. The columns of the official files are in another
    # order: MEL, NV, BCC, AKIEC, BKL, DF, VASC.
    classes=("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC"),
    positive=("MEL", ("AKIEC", "BCC", "MEL")),  # melanoma, and the malignant ones together
    sizes=sizes(10015, 193, 1512),
    mark="ISIC2018_Task3_Training_GroundTruth",
    folders=("ISIC_2018", "ISIC2018", "isic2018"),
    contents=f"ISIC2018_Task3_{{Training,Validation,Test}}_{{Input,GroundTruth}}/ and, if wanted, "
    f"{_LESIONS}",
    list_files=list_isic2018,
    groups=True,
    description=__doc__,
    citation="""\
@misc{codella2019skin,
  title = {Skin Lesion Analysis Toward Melanoma Detection 2018: A Challenge Hosted by the
           International Skin Imaging Collaboration (ISIC)},
  author = {Codella, Noel and Rotemberg, Veronica and Tschandl, Philipp and Celebi, M. Emre and
            Dusza, Stephen and Gutman, David and Helba, Brian and Kalloo, Aadi and Liopyris,
            Konstantinos and Marchetti, Michael and Kittler, Harald and Halpern, Allan},
  year = {2019},
  note = {arXiv:1902.03368},
}

@article{tschandl2018ham10000,
  title = {The HAM10000 dataset, a large collection of multi-source dermatoscopic images of common
           pigmented skin lesions},
  author = {Tschandl, Philipp and Rosendahl, Cliff and Kittler, Harald},
  journal = {Scientific Data},
  volume = {5},
  pages = {180161},
  year = {2018},
}
""",
)
RECORDS = (ISIC2018,)
