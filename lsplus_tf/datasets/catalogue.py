"""Which data sets are known by name, what is in them, and where they come from."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path

from lsplus_tf.datasets import medmnist
from lsplus_tf.errors import InputError

FOLDER_PREFIX = "folder:"
TFDS_PREFIX = "tfds:"
LATER = "a builder comes in a later version; until then lay the images out as folder:PATH"
ASK_PUBLISHER = "its publisher's terms"


@dataclass(frozen=True)
class DatasetInfo:
    """What the command line says about a data set.

    Attributes
    ----------
    name : str
        What `load_dataset` takes.
    classes : tuple of str
        Class names; empty where they depend on the files.
    sizes : dict of str to int
        Images in "train", "validation" and "test" (or "all" where they are carved); empty where
        they depend on the files.
    source : str
        What the images are.
    licence : str
        Licence or terms.
    get : str
        Where to get it.
    put : str
        Where to put it.
    present : bool or None
        Whether it can be loaded from the data folder asked about; None where the name alone does
        not say.
    """

    name: str
    source: str
    licence: str
    get: str
    put: str
    classes: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    present: bool | None = None


def _sizes(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


DIGITS = DatasetInfo(
    name="digits",
    source="handwritten digits, 8x8 grey, from scikit-learn",
    licence="CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits)",
    get="comes with scikit-learn",
    put="nowhere, always there",
    classes=tuple("0123456789"),
    sizes={"all": 1797},
    present=True,
)

# Known from the two papers. Sizes are those of the splits that the LS+ authors published.
ANNOUNCED = (
    DatasetInfo(
        name="mhist",
        source="colorectal polyps, histology, colour (LS+ paper)",
        licence=ASK_PUBLISHER,
        get="https://bmirds.github.io/MHIST/",
        put=LATER,
        classes=("HP", "SSA"),
        sizes=_sizes(1740, 435, 977),
        present=False,
    ),
    DatasetInfo(
        name="chaoyang",
        source="colon tissue patches, histology, colour (LS+ paper)",
        licence=ASK_PUBLISHER,
        get="https://bupt-ai-cz.github.io/HSA-NRL/",
        put=LATER,
        classes=("normal", "serrated", "adenocarcinoma", "adenoma"),
        sizes=_sizes(3618, 403, 2139),
        present=False,
    ),
    DatasetInfo(
        name="isic2018",
        source="skin lesions, dermoscopy, colour, ISIC 2018 task 3 (LS+ paper)",
        licence=ASK_PUBLISHER,
        get="https://challenge.isic-archive.com/data/#2018",
        put=LATER,
        classes=("AKIEC", "BCC", "BKL", "DF", "MEL", "NV", "VASC"),
        sizes=_sizes(10015, 193, 1512),
        present=False,
    ),
    DatasetInfo(
        name="radimagenet",
        source="CT, MRI and ultrasound (online label smoothing paper)",
        licence=ASK_PUBLISHER,
        get="https://www.radimagenet.com",
        put=LATER,
        present=False,
    ),
)

BY_PREFIX = (
    DatasetInfo(
        name=f"{TFDS_PREFIX}NAME",
        source="any TensorFlow Datasets set with features 'image' and 'label'",
        licence="see the set's page on https://www.tensorflow.org/datasets",
        get="--set dataset.download=true",
        put="prepared under the data folder",
    ),
    DatasetInfo(
        name=f"{FOLDER_PREFIX}PATH",
        source="your own .png, .jpg and .jpeg files",
        licence="yours",
        get="yours",
        put="PATH/{train,validation,test}/CLASS/; only train is required",
    ),
)


def available_datasets(data_dir: Path | str | None) -> list[DatasetInfo]:
    """Return what is known by name or prefix, and whether it is there.

    Parameters
    ----------
    data_dir : Path, str or None
        The folder with data files; None for none.

    Returns
    -------
    list of DatasetInfo
        Larger MedMNIST sets ("pneumoniamnist_64") only where they are in `data_dir`.

    Examples
    --------
    >>> available_datasets(None)[0].name
    'digits'
    """
    folder = None if data_dir is None else Path(data_dir)
    known = [DIGITS]
    for base, entry in medmnist.SETS.items():
        for suffix in ("", *medmnist.LARGER_SIZES):
            file_name = f"{base}{suffix}.npz"
            present = folder is not None and (folder / file_name).is_file()
            if suffix and not present:
                continue
            pixels = suffix.removeprefix("_") or "28"
            known.append(
                DatasetInfo(
                    name=f"{base}{suffix}",
                    source=f"MedMNIST v2, {pixels}x{pixels}",
                    licence=entry.licence,
                    get=f"{medmnist.DOWNLOAD} ({medmnist.HOMEPAGE})",
                    put=str((folder or Path("DATA_DIR")) / file_name),
                    classes=entry.classes,
                    sizes=_sizes(*entry.sizes),
                    present=present,
                )
            )
    return [*known, *ANNOUNCED, *BY_PREFIX]


def reject_name(name: str) -> InputError:
    """Return the error for a name that cannot be loaded: announced only, or unknown."""
    if name in {info.name for info in ANNOUNCED}:
        return InputError(
            f"dataset {name!r}: its builder comes in a later version; today its images can be "
            "loaded as folder:PATH (PATH/train/CLASS/*.png)"
        )
    known = [info.name for info in available_datasets(None)]
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return InputError(f"dataset {name!r}: unknown name; {hint}known are {', '.join(known)}")
