"""Arrays of images and labels in one `.npz` file, laid out as MedMNIST's are.

For each split there are images and labels, such as train_images and train_labels. Labels are
integers or text, one per image, or a row with one 1 for each. An array class_names, if there is
one, names the classes 0, 1 and so on.
"""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsplus_tf.config import Dataset
from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.finding import check_encoding
from lsplus_tf.datasets.images import fit_images
from lsplus_tf.datasets.splitting import PARTS, complete_splits
from lsplus_tf.errors import InputError
from lsplus_tf.files import shown
from lsplus_tf.npz_files import array_names, decoded, read_arrays
from lsplus_tf.tables import class_order, listed, one_form
from lsplus_tf.tables.names import alike
from lsplus_tf.tables.splits import split_meanings

SPLIT_KEYS = {"train": "train", "validation": "val", "test": "test"}
_CLASS_NAMES = "class_names"
_Arrays = dict[str, npt.NDArray[np.generic]]


def load_npz(
    path: Path, settings: Dataset, class_names: tuple[str, ...] | None = None
) -> ImageDataset:
    """Load the images and labels of the file's splits.

    Parameters
    ----------
    path : Path
        A file with arrays train_images, train_labels, val_images and so on.
    settings : lsplus_tf.config.Dataset
        How they become arrays of one shape, and how validation and test split are carved from
        train where the file has none.
    class_names : tuple of str or None
        The classes of a set that is known, which has all splits. None for those of the file: its
        array class_names, or the distinct labels.

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If the file cannot be read, or is no single-label set of uint8 images.
    """
    check_encoding(path)
    wanted = _wanted(path, sorted(array_names(path)), official=class_names is not None)
    arrays = {
        key: array if key.endswith("_images") else decoded(array, f"{shown(path)}: {key}")
        for key, array in read_arrays(path, wanted).items()
    }
    keys = {part: key for key, part in _split_keys(path, arrays).items()}
    keys = {part: keys[part] for part in PARTS if part in keys}
    images = {part: _images(path, f"{key}_images", arrays) for part, key in keys.items()}
    found = {part: _labels(path, f"{key}_labels", arrays) for part, key in keys.items()}
    names = class_names or _names(path, arrays)
    _check_widths(path, [arrays[f"{key}_labels"] for key in keys.values()], names)
    labels, names = _resolve(path, found, names, keys)
    splits: dict[str, Split] = {}
    for part, key in keys.items():
        if len(images[part]) == 0 or len(labels[part]) != len(images[part]):
            raise InputError(
                f"{path}: {key}: expected as many labels as images and at least one, "
                f"received {len(images[part])} images and {len(labels[part])} labels"
            )
        ids = np.array([f"{key}-{index:06d}" for index in range(len(labels[part]))])
        splits[part] = Split(fit_images(images[part], settings), labels[part], ids)
    if class_names is None and (same := alike(names)):
        warnings.warn(f"{settings.name}: {same}", stacklevel=3)
    if len(splits) < len(PARTS):
        _check_range(splits["train"], names, settings.name)
        splits = complete_splits(splits, names, settings)
    return ImageDataset(settings.name, names, **splits, skipped=())


def _wanted(path: Path, found: list[str], *, official: bool) -> list[str]:
    """The keys to read: images and labels of each split, and the classes' names.

    Of a set that is known all three splits must be there.
    """
    splits = {key.removesuffix("_images") for key in found if key.endswith("_images")}
    splits |= {key.removesuffix("_labels") for key in found if key.endswith("_labels")}
    meant = split_meanings(splits, str(path))
    keys = [f"{split}_{kind}" for split in meant for kind in ("images", "labels")]
    needed = SPLIT_KEYS.values() if official else ("train",)
    parts = set(meant.values())
    keys += [
        f"{key}_{kind}"
        for part, key in SPLIT_KEYS.items()
        if key in needed and part not in parts
        for kind in ("images", "labels")
    ]
    missing = [key for key in keys if key not in found]
    if missing:
        raise InputError(
            f"{path}: key {missing[0]!r} is missing, found {found}; expected train_images and "
            "train_labels, and the same of val and test or neither"
        )
    if unused := sorted({*found} - {*keys, _CLASS_NAMES}):
        warnings.warn(
            f"{path}: arrays that are not used: {', '.join(unused)}; groups, such as patients, are "
            "read from a table of image files only (csv:FILE)",
            stacklevel=4,
        )
    return [*keys, *([_CLASS_NAMES] if _CLASS_NAMES in found else [])]


def _split_keys(path: Path, arrays: _Arrays) -> dict[str, str]:
    """The split that each key begins with the name of: {"val": "validation"} of val_images."""
    names = [key.removesuffix("_images") for key in arrays if key.endswith("_images")]
    meant = split_meanings(names, str(path))
    for part in PARTS:
        same = [name for name, meaning in meant.items() if meaning == part]
        if len(same) > 1:
            raise InputError(
                f"{path}: {same[0]}_images and {same[1]}_images are both of the {part} split; "
                "keep one"
            )
    return meant


def _images(path: Path, key: str, arrays: _Arrays) -> npt.NDArray[np.uint8]:
    """Images (N, H, W, C) of one split."""
    images = arrays[key]
    shaped = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or shaped.ndim != 4 or shaped.shape[3] not in (1, 3):
        remedy = ""
        if images.dtype.kind == "f":
            remedy = "; of values 0..1 save (255 * images).round().astype(np.uint8)"
        elif images.dtype.kind in "iu" and images.dtype != np.uint8:
            remedy = "; divide all by one number, so that they are in 0..255, and save as np.uint8"
        elif images.ndim == 4 and images.shape[1] in (1, 3):
            remedy = "; move the channels last: np.moveaxis(images, 1, -1)"
        raise InputError(
            f"{path}: {key}: expected uint8 of shape (N, H, W) or (N, H, W, 3), "
            f"received {images.dtype} of shape {images.shape}{remedy}"
        )
    return shaped.astype(np.uint8, copy=False)


def _labels(path: Path, key: str, arrays: _Arrays) -> npt.NDArray[np.int64] | npt.NDArray[np.str_]:
    """Labels (N,) of one split: integers or text."""
    labels = arrays[key]
    if labels.dtype.kind == "U" and labels.ndim in (1, 2) and labels.size == len(labels):
        return _text(path, key, labels.reshape(-1))
    if labels.ndim == 2 and labels.shape[1] > 1:
        ones = labels.astype(np.float64) if labels.dtype.kind in "biuf" else np.zeros((1, 2))
        if not (np.isin(ones, (0, 1)).all() and (ones.sum(axis=1) == 1).all()):
            raise InputError(
                f"{path}: {key}: expected one label per image, received {labels.shape[1]}, and "
                "not one 1 and otherwise 0 in each row; multi-label sets are not supported"
            )
        return ones.argmax(axis=1).astype(np.int64)
    are_whole = labels.dtype.kind == "f" and bool(
        (np.abs(labels) < 2**53).all() and np.equal(labels, np.rint(labels)).all()
    )
    if not (labels.dtype.kind in "biu" or are_whole) or labels.ndim not in (1, 2):
        raise InputError(
            f"{path}: {key}: expected integers or text of shape (N,) or (N, 1), or rows with one 1 "
            f"(N, K), received {labels.dtype} of shape {labels.shape}"
        )
    return labels.reshape(-1).astype(np.int64)


def _check_widths(
    path: Path, labels: list[npt.NDArray[np.generic]], names: tuple[str, ...] | None
) -> None:
    """Refuse rows with one 1 whose lengths differ, or are not the number of classes."""
    widths = {array.shape[1] for array in labels if array.ndim == 2 and array.shape[1] > 1}
    if len(widths) > 1 or (names is not None and widths - {len(names)}):
        expected = "one number of columns" if names is None else f"{len(names)} columns (classes)"
        raise InputError(
            f"{path}: labels: expected {expected} in all splits, received {sorted(widths)}"
        )


def _text(path: Path, key: str, labels: npt.NDArray[np.generic]) -> npt.NDArray[np.str_]:
    """Text in its one form; "nan" is what a missing one becomes as text."""
    distinct, which = np.unique(labels.astype(np.str_), return_inverse=True)
    text = np.array([*map(one_form, distinct.tolist())], np.str_)[which]
    empty = np.flatnonzero(np.isin(text, ("", "nan", "NaN")))
    if empty.size:
        raise InputError(
            f"{path}: {key}: expected text, received {text[empty[0]].item()!r} at row {empty[0]} "
            f"({empty.size} such rows)"
        )
    return text


def _names(path: Path, arrays: _Arrays) -> tuple[str, ...] | None:
    """The classes' names in the file, if it has them."""
    names = arrays.get(_CLASS_NAMES)
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind != "U":
        raise InputError(
            f"{path}: {_CLASS_NAMES}: expected text of shape (K,), received {names.dtype} of "
            f"shape {names.shape}"
        )
    found = _text(path, _CLASS_NAMES, names).tolist()
    if len(set(found)) < len(found):
        raise InputError(
            f"{path}: {_CLASS_NAMES}: expected different names, received {listed(found)}"
        )
    return tuple(found)


def _resolve(
    path: Path,
    found: dict[str, npt.NDArray[np.int64] | npt.NDArray[np.str_]],
    names: tuple[str, ...] | None,
    keys: dict[str, str],
) -> tuple[dict[str, npt.NDArray[np.int64]], tuple[str, ...]]:
    """Labels as indices into the names of the classes, which all splits' labels decide."""
    kinds = {labels.dtype.kind == "U" for labels in found.values()}
    if len(kinds) > 1:
        raise InputError(f"{path}: labels: expected integers or text in all splits, found both")
    if names is not None and kinds == {False}:
        return {part: labels.astype(np.int64) for part, labels in found.items()}, names
    text = {part: labels.astype(np.str_) for part, labels in found.items()}
    if names is None:
        names = class_order(
            label for labels in text.values() for label in np.unique(labels).tolist()
        )
    position = {name: k for k, name in enumerate(names)}
    resolved = {}
    for part, labels in text.items():
        values, inverse = np.unique(labels, return_inverse=True)
        unknown = [str(value) for value in values if value not in position]
        if unknown:
            raise InputError(
                f"{path}: {keys[part]}_labels: expected one of {list(names)}, received "
                f"{unknown[0]!r}"
            )
        resolved[part] = np.array([position[value] for value in values], np.int64)[inverse]
    return resolved, names


def _check_range(split: Split, names: tuple[str, ...], name: str) -> None:
    """Refuse labels without a class, before anything is stratified by them."""
    bad = np.flatnonzero((split.labels < 0) | (split.labels >= len(names)))
    if bad.size:
        raise InputError(
            f"{name}: train sample {str(split.ids[bad[0]])!r} has label {split.labels[bad[0]]}, "
            f"expected 0..{len(names) - 1} ({bad.size} such samples)"
        )
