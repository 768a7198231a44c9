"""Which data sets are known by name, what is in them, and where they come from."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path

from lsplus_tf.datasets import medmnist
from lsplus_tf.datasets.official import chaoyang, isic2018, mhist
from lsplus_tf.datasets.official.folders import find_folder, origin
from lsplus_tf.errors import InputError

FOLDER_PREFIX = "folder:"
CSV_PREFIX = "csv:"
TFDS_PREFIX = "tfds:"


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

    Examples
    --------
    >>> from lsplus_tf.datasets import available_datasets
    >>> [(info.name, info.sizes) for info in available_datasets(None) if info.name == "digits"]
    [('digits', {'all': 1797})]
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

PHANTOM = DatasetInfo(
    name="phantom",
    source="synthetic, grey, of any size and number, with exact class probabilities",
    licence="none, made by this package",
    get="made on the fly, as dataset.phantom says",
    put="nowhere, always there",
    present=True,
)


@dataclass(frozen=True)
class OfficialSet:
    """What is in a data set of the papers; `official.folders` knows where it comes from."""

    source: str
    classes: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)


# Sizes are those of the splits that the LS+ authors published.
OFFICIAL = {
    "mhist": OfficialSet(
        "colorectal polyps, histology, 224x224 colour, votes of 7 pathologists (LS+ paper)",
        mhist.CLASSES,
        _sizes(1740, 435, 977),
    ),
    "chaoyang": OfficialSet(
        "colon tissue, histology, 512x512 colour (LS+ paper)",
        chaoyang.CLASSES,
        _sizes(3618, 403, 2139),
    ),
    "chaoyang/grouped": OfficialSet(
        "chaoyang, with no slide in both training and validation", chaoyang.CLASSES, {"all": 6160}
    ),
    "isic2018": OfficialSet(
        "skin lesions, dermoscopy, colour, ISIC 2018 task 3 (LS+ paper)",
        isic2018.CLASSES,
        _sizes(10015, 193, 1512),
    ),
    "radimagenet": OfficialSet(
        "1.35 million CT, MRI and ultrasound images, 165 classes (online label smoothing paper)"
    ),
}

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
        put="PATH/{train,validation,test}/CLASS/, only train is required; or PATH/CLASS/",
    ),
    DatasetInfo(
        name=f"{CSV_PREFIX}PATH",
        source="your own .png, .jpg and .jpeg files, listed in a table",
        licence="yours",
        get="yours",
        put="PATH has columns path (below PATH's folder) and label, perhaps split, group, "
        "votes_CLASS",
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
    known = [DIGITS, PHANTOM]
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
    return [*known, *(_official(name, folder) for name in OFFICIAL), *BY_PREFIX]


def _official(name: str, folder: Path | None) -> DatasetInfo:
    known, contents = origin(name), OFFICIAL[name]
    return DatasetInfo(
        name=name,
        source=contents.source,
        licence=known.licence,
        get=known.get,
        put=f"{folder or 'DATA_DIR'}/{known.names[0]}: {known.contents}",
        classes=contents.classes,
        sizes=contents.sizes,
        present=find_folder(name, folder) is not None,
    )


def reject_name(name: str) -> InputError:
    """Return the error for an unknown name."""
    known = [info.name for info in available_datasets(None)]
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return InputError(f"dataset {name!r}: unknown name; {hint}known are {', '.join(known)}")
