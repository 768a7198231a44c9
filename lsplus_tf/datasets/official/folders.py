"""Where the papers' data sets are looked for, and where to get them."""

from dataclasses import dataclass
from pathlib import Path

from lsplus_tf.errors import MissingDataError


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from and how its folder is known.

    Attributes
    ----------
    get : str
        Where to get it.
    licence : str
        Licence or terms of access.
    names : tuple of str
        Usual names of its folder; the first is the one that messages recommend.
    mark : str
        A file or folder by which its folder is known.
    contents : str
        What belongs into the folder.
    """

    get: str
    licence: str
    names: tuple[str, ...]
    mark: str
    contents: str


ORIGINS = {
    "mhist": Origin(
        get="https://bmirds.github.io/MHIST/",
        # https://kaiko-ai.github.io/eva/dev/datasets/mhist describes the access.
        licence="on request, under its Dataset Research Use Agreement",
        names=("MHIST", "mhist"),
        mark="annotations.csv",
        contents="annotations.csv and images/",
    ),
    "chaoyang": Origin(
        get="https://bupt-ai-cz.github.io/HSA-NRL/",
        # The README that comes with the images.
        licence="non-commercial use, no redistribution, with a reference (the data's own README)",
        names=("chaoyang-data", "chaoyang", "Chaoyang"),
        mark="train.json",
        contents="train.json, test.json, train/ and test/",
    ),
    "isic2018": Origin(
        get="https://challenge.isic-archive.com/data/#2018",
        # As https://datasetninja.com/isic-challenge-2018 records it.
        licence="CC BY-NC 4.0",
        names=("ISIC_2018", "ISIC2018", "isic2018"),
        mark="ISIC2018_Task3_Training_GroundTruth",
        contents="ISIC2018_Task3_{Training,Validation,Test}_{Input,GroundTruth}/ and, if wanted, "
        "ISIC2018_Task3_Training_LesionGroupings.csv",
    ),
    "radimagenet": Origin(
        get="https://www.radimagenet.com",
        # https://github.com/BMEII-AI/RadImageNet
        licence="on request, under its publisher's terms",
        names=("RadImageNet", "radimagenet"),
        mark="RadiologyAI_train.csv",
        contents="RadiologyAI_{train,val,test}.csv and radiology_ai/",
    ),
}


def origin(name: str) -> Origin:
    """Where a data set comes from; "chaoyang/grouped" is "chaoyang"."""
    return ORIGINS[name.partition("/")[0]]


def find_folder(name: str, data_dir: Path | None) -> Path | None:
    """Return the folder of a data set: `data_dir` itself or one of the usual names in it."""
    if data_dir is None:
        return None
    known = origin(name)
    candidates = (data_dir, *(data_dir / folder for folder in known.names))
    return next((folder for folder in candidates if (folder / known.mark).exists()), None)


def require_folder(name: str, data_dir: Path | None) -> Path:
    """Return the folder of a data set, or raise MissingDataError."""
    folder = find_folder(name, data_dir)
    if folder is None:
        known = origin(name)
        looked = (
            "received no data_dir (--data-dir)"
            if data_dir is None
            else f"{data_dir} has none, nor have its folders {', '.join(known.names)}"
        )
        raise MissingDataError(
            f"{name}: expected a folder with {known.mark}, {looked}; get it from {known.get} "
            f"({known.licence}) and put {known.contents} into DATA_DIR/{known.names[0]}"
        )
    return folder
