"""What the command line says about the data sets: the known ones, and those given by a path."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lsplus_tf.config import CSV_PREFIX, FOLDER_PREFIX, NPZ_PREFIX, TFDS_PREFIX
from lsplus_tf.datasets.image_files import SUFFIXES
from lsplus_tf.datasets.known import RECORDS
from lsplus_tf.errors import InputError, did_you_mean
from lsplus_tf.files import expanded


@dataclass(frozen=True)
class DatasetInfo:
    """What the command line says about a data set.

    Attributes
    ----------
    name : str
        What `load_dataset` takes.
    classes : tuple of str
        Class names; empty where they depend on the files.
    sizes : mapping of str to int
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
    citation : str
        BibTeX, where there is one.
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
    sizes: Mapping[str, int] = field(default_factory=dict)
    present: bool | None = None
    citation: str = ""


_SUFFIXES = ", ".join(SUFFIXES)
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
        source=f"your own {_SUFFIXES} files",
        licence="yours",
        get="yours",
        put="PATH/{train,validation,test}/CLASS/, only train is required; or PATH/CLASS/; images "
        "at any depth below CLASS",
    ),
    DatasetInfo(
        name=f"{CSV_PREFIX}PATH",
        source=f"your own {_SUFFIXES} files, listed in a table",
        licence="yours",
        get="yours",
        put="PATH has columns path (below PATH's folder) and label, perhaps split, group, "
        "votes_CLASS; for other names see --path-column and the like of datasets check",
    ),
    DatasetInfo(
        name=f"{NPZ_PREFIX}PATH",
        source="your own arrays of images and labels",
        licence="yours",
        get="yours",
        put="PATH has train_images, uint8 of shape (N, H, W) or (N, H, W, 3), and train_labels, "
        "perhaps the same of val and test, and class_names",
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
    folder = None if data_dir is None else expanded(data_dir, "data_dir")
    known = []
    for record in RECORDS.values():
        present = record.find(folder) is not None
        if present or not record.rare:
            known.append(
                DatasetInfo(
                    name=record.name,
                    source=record.source,
                    licence=record.licence,
                    get=record.get,
                    put=record.put(folder or "DATA_DIR"),
                    classes=record.classes,
                    sizes=record.sizes,
                    present=present,
                    citation=record.citation,
                )
            )
    return [*known, *BY_PREFIX]


def reject_name(name: str) -> InputError:
    """Return the error for an unknown name."""
    known = [info.name for info in available_datasets(None)]
    hint = did_you_mean(name, known)
    return InputError(f"dataset {name!r}: unknown name{hint or ';'} known are {', '.join(known)}")
