"""One door to every data set."""

from pathlib import Path
from typing import Literal

from lsplus_tf.datasets import medmnist
from lsplus_tf.datasets.base import ImageDataset
from lsplus_tf.datasets.catalogue import FOLDER_PREFIX, TFDS_PREFIX, reject_name
from lsplus_tf.datasets.digits import load_digits
from lsplus_tf.datasets.folder import load_folder
from lsplus_tf.datasets.tfds import load_tfds
from lsplus_tf.errors import InputError

# The largest seed that scikit-learn takes.
MAX_SPLIT_SEED = 2**32 - 1


def load_dataset(
    name: str,
    *,
    data_dir: Path | str | None = None,
    image_size: int | None = None,
    channels: Literal[1, 3] | None = None,
    split_seed: int = 0,
    validation_fraction: float = 0.2,
    test_fraction: float = 0.2,
    unreadable: Literal["fail", "skip"] = "fail",
    download: bool = False,
) -> ImageDataset:
    """Load a data set into memory, as uint8 images of one shape.

    Parameters
    ----------
    name : str
        - "digits": 1,797 scans of 8x8 pixels that come with scikit-learn.
        - "pneumoniamnist" and the other single-label MedMNIST sets, also as "..._64", "..._128"
          and "..._224": read from `data_dir`/`name`.npz.
        - "tfds:NAME": a TensorFlow Datasets set with features 'image' and 'label'.
        - "folder:PATH": files PATH/split/class/*.png, .jpg or .jpeg, in any case of letters.
          Splits are called train or training, val, valid or validation, test or testing. A
          relative PATH starts at the current folder. Every class must be in train. EXIF
          orientation is followed. Files that start with a dot are ignored.
    data_dir : Path, str or None
        Where MedMNIST files or prepared TFDS sets are.
    image_size : int or None
        Stretch every image to this height and width (bilinear with antialiasing). None: all
        images must have one size already.
    channels : {1, 3} or None
        1 converts colour to ITU-R 601 luma, 3 repeats grey; both drop an alpha channel. None
        keeps what the files have: all grey or all colour, without alpha. Palette images count as
        colour. More than 8 bits per channel are refused.
    split_seed : int
        Which samples a carved split takes, 0..2**32-1.
    validation_fraction, test_fraction : float
        Size of a split that the data set does not have, as a share of its training split before
        anything is carved from it, rounded up; stratified by class. In (0, 1), sum below 1.
    unreadable : {"fail", "skip"}
        Whether image files in a folder that cannot be read are an error, or are left out with a
        warning and listed in `skipped`.
    download : bool
        Let TFDS download and prepare the set. Without it the network is never used.

    Returns
    -------
    ImageDataset
        With `train`, `validation` and `test`.

    Raises
    ------
    MissingDataError
        If the data is not there; the message says where to get and put it.
    InputError
        If an argument or the data cannot be used; the message names it.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> len(digits.train), len(digits.validation), len(digits.test), digits.image_shape
    (1077, 360, 360, (8, 8, 1))
    """
    _check_arguments(
        image_size=image_size,
        channels=channels,
        split_seed=split_seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        unreadable=unreadable,
    )
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if name.startswith(FOLDER_PREFIX):
        return load_folder(
            name.removeprefix(FOLDER_PREFIX),
            image_size=image_size,
            channels=channels,
            split_seed=split_seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            unreadable=unreadable,
        )
    if name.startswith(TFDS_PREFIX):
        return load_tfds(
            name.removeprefix(TFDS_PREFIX),
            data_dir=folder,
            image_size=image_size,
            channels=channels,
            split_seed=split_seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            download=download,
        )
    if name == "digits":
        return load_digits(
            image_size=image_size,
            channels=channels,
            split_seed=split_seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
        )
    medmnist_name = medmnist.NAME_PATTERN.fullmatch(name)
    if medmnist_name is not None:
        known = medmnist_name["base"] in medmnist.SETS
        # A misspelt name gets a suggestion, while the file of a set not listed here is read.
        if known or (folder is not None and (folder / f"{name}.npz").is_file()):
            return medmnist.load_medmnist(
                name, data_dir=folder, image_size=image_size, channels=channels
            )
    raise reject_name(name)


def _check_arguments(
    *,
    image_size: int | None,
    channels: int | None,
    split_seed: int,
    validation_fraction: float,
    test_fraction: float,
    unreadable: str,
) -> None:
    """Refuse arguments of `load_dataset` that no data set takes."""
    if image_size is not None and image_size < 1:
        raise InputError(f"image_size: expected at least 1, received {image_size}")
    if channels not in (None, 1, 3):
        raise InputError(f"channels: expected 1, 3 or none, received {channels}")
    if not 0 <= split_seed <= MAX_SPLIT_SEED:
        raise InputError(f"split_seed: expected 0..{MAX_SPLIT_SEED}, received {split_seed}")
    fractions = {"validation_fraction": validation_fraction, "test_fraction": test_fraction}
    for argument, fraction in fractions.items():
        if not 0 < fraction < 1:
            raise InputError(f"{argument}: expected a number between 0 and 1, received {fraction}")
    if validation_fraction + test_fraction >= 1:
        raise InputError(
            "validation_fraction + test_fraction: expected less than 1, received "
            f"{validation_fraction} + {test_fraction}"
        )
    if unreadable not in ("fail", "skip"):
        raise InputError(f"unreadable: expected 'fail' or 'skip', received {unreadable!r}")
