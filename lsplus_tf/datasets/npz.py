"""Arrays of images and labels in one `.npz` file, laid out as MedMNIST's are."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsplus_tf.config import Dataset
from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.images import fit_images
from lsplus_tf.errors import InputError

SPLIT_KEYS = {"train": "train", "validation": "val", "test": "test"}


def load_npz(
    path: Path, settings: Dataset, class_names: tuple[str, ...] | None = None
) -> ImageDataset:
    """Load the images and labels of the file's three splits.

    Parameters
    ----------
    path : Path
        A file with arrays train_images, train_labels, val_images and so on.
    settings : lsplus_tf.config.Dataset
        How they become arrays of one shape.
    class_names : tuple of str or None
        The classes; None calls them "0", "1" and so on up to the largest label.

    Raises
    ------
    InputError
        If the file cannot be read, or is no single-label set of uint8 images.
    """
    arrays = _read_arrays(path)
    splits: dict[str, Split] = {}
    for part, key in SPLIT_KEYS.items():
        images, labels = _check_split(path, key, arrays)
        ids = np.array([f"{key}-{index:06d}" for index in range(len(labels))])
        splits[part] = Split(fit_images(images, settings), labels, ids)
    if class_names is None:
        largest = max(int(split.labels.max()) for split in splits.values())
        class_names = tuple(str(k) for k in range(largest + 1))
    return ImageDataset(settings.name, class_names, **splits, skipped=())


def _read_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read the six arrays of the three splits."""
    keys = [f"{key}_{kind}" for key in SPLIT_KEYS.values() for kind in ("images", "labels")]
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: cannot be read as a .npz file, it may be cut short")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive]
            if not missing:
                return {key: archive[key] for key in keys}
            found = sorted(archive.keys())
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be read as a .npz file, it may be damaged ({error})"
        ) from error
    raise InputError(f"{path}: key {missing[0]!r} is missing, found {found}")


def _check_split(
    path: Path, key: str, arrays: dict[str, npt.NDArray[np.generic]]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return images (N, H, W, C) and labels (N,) of one split."""
    images, labels = arrays[f"{key}_images"], arrays[f"{key}_labels"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise InputError(
            f"{path}: {key}_images: expected uint8 of shape (N, H, W) or (N, H, W, 3), "
            f"received {images.dtype} of shape {arrays[f'{key}_images'].shape}"
        )
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise InputError(
            f"{path}: {key}_labels: expected one label per image, received {labels.shape[1]}; "
            "multi-label sets are not supported"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim not in (1, 2):
        raise InputError(
            f"{path}: {key}_labels: expected integers of shape (N, 1), "
            f"received {labels.dtype} of shape {labels.shape}"
        )
    if len(images) == 0 or labels.size != len(images):
        raise InputError(
            f"{path}: {key}: expected as many labels as images and at least one, "
            f"received {len(images)} images and {labels.size} labels"
        )
    return images.astype(np.uint8, copy=False), labels.reshape(-1).astype(np.int64)
