"""One door to every data set."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lsplus_tf.datasets import medmnist
from lsplus_tf.datasets.base import ImageDataset
from lsplus_tf.datasets.catalogue import CSV_PREFIX, FOLDER_PREFIX, TFDS_PREFIX, reject_name
from lsplus_tf.datasets.defects import Defect
from lsplus_tf.datasets.digits import load_digits
from lsplus_tf.datasets.file_list import Cache, FileList, FileOptions, load_files
from lsplus_tf.datasets.folder import list_folder
from lsplus_tf.datasets.images import Interpolation
from lsplus_tf.datasets.official import LISTERS, list_official
from lsplus_tf.datasets.phantom import load_phantom
from lsplus_tf.datasets.splitting import sample_per_class
from lsplus_tf.datasets.table import Unlisted, list_table
from lsplus_tf.datasets.tfds import load_tfds
from lsplus_tf.errors import InputError

if TYPE_CHECKING:
    from lsplus_tf.config import Phantom

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
    interpolation: Interpolation = "bilinear",
    cache: Cache = "memory",
    cache_dir: Path | str | None = None,
    group_pattern: str | None = None,
    samples_per_class: int | None = None,
    drop: Sequence[Defect] = (),
    unlisted: Unlisted = "fail",
    phantom: "Phantom | None" = None,
    decode: bool = True,
) -> ImageDataset:
    """Load a data set as uint8 images of one shape.

    Parameters
    ----------
    name : str
        - "digits": 1,797 scans of 8x8 pixels that come with scikit-learn.
        - "pneumoniamnist" and the other single-label MedMNIST sets, also as "..._64", "..._128"
          and "..._224": read from `data_dir`/`name`.npz.
        - "mhist", "chaoyang", "chaoyang/grouped", "isic2018" and "radimagenet": the papers' sets in
          their publishers' layouts, with the splits of the papers, see
          `lsplus_tf.datasets.official`. `data_dir` is the set's own folder, or the one it is in
          under one of its usual names, which `lsplus-tf datasets` shows.
        - "phantom": synthetic images whose exact p(y | x) is known, see
          `lsplus_tf.datasets.phantom`.
        - "tfds:NAME": a TensorFlow Datasets set with features 'image' and 'label'.
        - "folder:PATH": files PATH/split/class/*.png, .jpg or .jpeg, in any case of letters.
          Splits are called train or training, val, valid or validation, test or testing. A
          relative PATH starts at the current folder. Every class must be in train. EXIF
          orientation is followed. Files that start with a dot are ignored. PATH/class/* without
          split folders is a training split, from which the others are carved.
        - "csv:PATH": the image files that a table names, see `lsplus_tf.datasets.table`.
    data_dir : Path, str or None
        Where MedMNIST files, the papers' sets or prepared TFDS sets are.
    image_size : int or None
        Stretch every image to this height and width. None: all images must have one size already.
    channels : {1, 3} or None
        1 converts colour to ITU-R 601 luma, 3 repeats grey; both drop an alpha channel. None
        keeps what the files have: all grey or all colour, without alpha. Palette images count as
        colour. More than 8 bits per channel are refused.
    split_seed : int
        Which samples a carved split takes, 0..2**32-1.
    validation_fraction, test_fraction : float
        Size of a split that the data set does not have, as a share of its training split before
        anything is carved from it, rounded up; stratified by class. In (0, 1), sum below 1. Where
        samples have groups (patients, lesions, slides) a group is never in two splits, and the
        share is only about what is asked for.
    unreadable : {"fail", "skip"}
        Whether image files that cannot be read are an error, or are left out with a warning and
        listed in `skipped`: before splits are carved and `samples_per_class` are drawn if it is
        their header, and after if it is their pixels. With `cache` "none" an error comes when the
        file is used, and "skip" decodes all files once to find out. Files of more than 8 bits per
        channel are an error in either case.
    download : bool
        Let TFDS download and prepare the set. Without it the network is never used.
    interpolation : {"bilinear", "nearest"}
        How images are stretched: antialiased, where JPEGs of twice the size or more are first
        reduced while they are decoded; or the nearest pixel, as the LS+ authors did.
    cache : {"memory", "disk", "none"}
        Image files are decoded once into memory, once into a file under `cache_dir` from which
        tf.data reads (which is used again as long as the images do not change), or every time.
        The pixels are the same. On disk needs the file locks of Linux and macOS.
    cache_dir : Path, str or None
        Default ~/.cache/lsplus_tf/images.
    group_pattern : str or None
        For "folder:PATH", a regular expression whose first parenthesis (or all of it), as found
        in the path of a file below PATH, names its group: "([^/]*)-IMG" for SLIDE-IMG001.JPG.
    samples_per_class : int or None
        Train on a random sample of that many of each class, drawn with `split_seed`.
    drop : sequence of {"duplicates", "blank"}
        What to leave out, with a warning, before anything is carved; listed in `skipped`.
        "blank" images have an SD below one grey level over the pixels of every channel. Of files
        with the same bytes one stays: in the test split if it is there, else in validation, else
        in train; none stays where their labels differ.
    unlisted : {"fail", "ignore"}
        For "csv:PATH", whether images without a row, in the folders of those that have one, are
        an error.
    phantom : lsplus_tf.config.Phantom or None
        What the synthetic images of "phantom" are; None is the default phantom.
    decode : bool
        False only lists image files: they are decoded when they are asked for, whatever `cache`
        says, `drop` is passed over, and of unreadable ones those are found whose header is needed.

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
        interpolation=interpolation,
        cache=cache,
        samples_per_class=samples_per_class,
        drop=drop,
        unlisted=unlisted,
    )
    folder = None if data_dir is None else Path(data_dir).expanduser()
    files = list_files(name, folder, group_pattern=group_pattern, unlisted=unlisted)
    if files is not None:
        options = FileOptions(
            image_size=image_size,
            channels=channels,
            interpolation=interpolation,
            cache=cache if decode else "none",
            cache_dir=None if cache_dir is None else Path(cache_dir),
            split_seed=split_seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            samples_per_class=samples_per_class,
            unreadable=unreadable,
            drop=tuple(drop) if decode else (),
            decode=decode,
        )
        return load_files(files, options)
    if cache != "memory":
        raise InputError(f"cache: expected 'memory' for {name!r}, which is no list of image files")
    if drop:
        raise InputError(f"drop: expected none for {name!r}, which is no list of image files")
    if name == "phantom":
        if image_size is not None:
            raise InputError("image_size: expected none for 'phantom'; set phantom.image_size")
        if samples_per_class is not None:  # which would change the classes' prior
            raise InputError("samples_per_class: expected none for 'phantom'; set phantom.train")
        from lsplus_tf.config import Phantom

        return load_phantom(phantom or Phantom(), channels=channels)
    dataset = _load_arrays(
        name,
        folder,
        download,
        {"image_size": image_size, "channels": channels, "interpolation": interpolation},
        {
            "split_seed": split_seed,
            "validation_fraction": validation_fraction,
            "test_fraction": test_fraction,
        },
    )
    if samples_per_class is None:
        return dataset
    train = sample_per_class(
        dataset.train, dataset.class_names, samples_per_class, seed=split_seed, name=name
    )
    return dataclasses.replace(dataset, train=train)


def list_files(
    name: str,
    data_dir: Path | None,
    *,
    group_pattern: str | None = None,
    unlisted: Unlisted = "fail",
) -> FileList | None:
    """List the image files of a data set; None for those that are no image files.

    Parameters
    ----------
    name, data_dir, group_pattern, unlisted
        As in `load_dataset`.

    Raises
    ------
    MissingDataError
        If the data is not there.
    InputError
        If its layout or labels do not fit; the message names what.
    """
    if group_pattern is not None and not name.startswith(FOLDER_PREFIX):
        hint = "; name the column `group`" if name.startswith(CSV_PREFIX) else ""
        raise InputError(
            f"group_pattern: expected none for {name!r}, which is no folder:PATH{hint}"
        )
    if unlisted != "fail" and not name.startswith(CSV_PREFIX):
        raise InputError(f"unlisted: expected 'fail' for {name!r}, which is no csv:PATH")
    if name.startswith(FOLDER_PREFIX):
        return list_folder(name.removeprefix(FOLDER_PREFIX), group_pattern)
    if name.startswith(CSV_PREFIX):
        return list_table(name.removeprefix(CSV_PREFIX), unlisted)
    if name in LISTERS:
        return list_official(name, data_dir)
    return None


def _load_arrays(
    name: str,
    folder: Path | None,
    download: bool,
    shape: dict[str, Any],
    carving: dict[str, Any],
) -> ImageDataset:
    """Load a data set that is no list of image files."""
    if name.startswith(TFDS_PREFIX):
        return load_tfds(
            name.removeprefix(TFDS_PREFIX),
            data_dir=folder,
            download=download,
            **shape,
            **carving,
        )
    if name == "digits":
        return load_digits(**shape, **carving)
    medmnist_name = medmnist.NAME_PATTERN.fullmatch(name)
    if medmnist_name is not None:
        known = medmnist_name["base"] in medmnist.SETS
        # A misspelt name gets a suggestion, while the file of a set not listed here is read.
        if known or (folder is not None and (folder / f"{name}.npz").is_file()):
            return medmnist.load_medmnist(name, data_dir=folder, **shape)
    raise reject_name(name)


def _check_arguments(
    *,
    image_size: int | None,
    channels: int | None,
    split_seed: int,
    validation_fraction: float,
    test_fraction: float,
    unreadable: str,
    interpolation: str,
    cache: str,
    samples_per_class: int | None,
    drop: Sequence[str],
    unlisted: str,
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
    choices: list[tuple[str, str, tuple[str, ...]]] = [
        ("unreadable", unreadable, ("fail", "skip")),
        ("interpolation", interpolation, get_args(Interpolation)),
        ("cache", cache, get_args(Cache)),
        ("unlisted", unlisted, get_args(Unlisted)),
        *(("drop", defect, get_args(Defect)) for defect in drop),
    ]
    for argument, value, allowed in choices:
        if value not in allowed:
            expected = ", ".join(map(repr, allowed[:-1])) + f" or {allowed[-1]!r}"
            raise InputError(f"{argument}: expected {expected}, received {value!r}")
    if samples_per_class is not None and samples_per_class < 1:
        raise InputError(f"samples_per_class: expected at least 1, received {samples_per_class}")
