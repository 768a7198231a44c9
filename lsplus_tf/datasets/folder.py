"""Image files in one folder per split and class: PATH/split/class/*.png, *.jpg or *.jpeg."""

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps

from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.images import check_memory, for_each, to_array
from lsplus_tf.datasets.splitting import complete_splits, match_splits
from lsplus_tf.errors import InputError, MissingDataError

SUFFIXES = (".png", ".jpg", ".jpeg")
GREY_MODES = ("1", "L", "LA", "La")
# EXIF orientations that turn the image by a quarter, so that width and height change places.
QUARTER_TURNS = (5, 6, 7, 8)
# What Pillow raises for a file that is cut short, damaged, no image or implausibly large.
READ_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
NAMED = 3


@dataclass(frozen=True)
class _File:
    key: str  # the path relative to the data set's folder, which becomes the sample's id
    path: Path
    label: int


@dataclass(frozen=True)
class _Header:
    size: tuple[int, int]
    grey: bool
    alpha: bool
    deep: bool


def load_folder(
    folder: str,
    *,
    image_size: int | None,
    channels: Literal[1, 3] | None,
    split_seed: int,
    validation_fraction: float,
    test_fraction: float,
    unreadable: Literal["fail", "skip"],
) -> ImageDataset:
    """Load a folder of image files; `load_dataset` says what is accepted.

    Parameters
    ----------
    folder : str
        The folder, relative to the current one or absolute; "~" is the home folder.
    image_size, channels, split_seed, validation_fraction, test_fraction, unreadable
        As in `load_dataset`.

    Raises
    ------
    MissingDataError
        If there is no such folder.
    InputError
        If the layout, the files or the options do not fit; the message names which.
    """
    name = f"folder:{folder}"
    root = Path(folder).expanduser()
    if not folder or not root.is_dir():
        raise MissingDataError(f"{name}: expected a folder, {root.absolute()} is none")
    class_names, files = _find_files(root, name)
    headers, broken = _read_headers(files, sizes_matter=image_size is None)
    channels, size = _decide_shape(headers, channels, image_size, name)
    check_memory(len(headers), *size, channels, name)
    images = {
        part: _decode(part_files, headers, size, channels, image_size, broken)
        for part, part_files in files.items()
    }
    if broken:
        _report_unreadable(broken, unreadable, name)
    splits: dict[str, Split] = {}
    for part, part_files in files.items():
        kept = np.array([file.key not in broken for file in part_files])
        if not kept.any():
            raise InputError(f"{name}: no readable image in the {part} split")
        splits[part] = Split(
            images[part] if kept.all() else images[part][kept],
            np.array([file.label for file in part_files], np.int64)[kept],
            np.array([file.key for file in part_files])[kept],
        )
    splits = complete_splits(
        splits,
        class_names,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        split_seed=split_seed,
        name=name,
    )
    return ImageDataset(
        name=name,
        class_names=class_names,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        skipped=tuple(broken),
    )


def _subfolders(folder: Path) -> dict[str, Path]:
    return {p.name: p for p in sorted(folder.iterdir()) if p.is_dir() and p.name[0] != "."}


def _find_files(root: Path, name: str) -> tuple[tuple[str, ...], dict[str, list[_File]]]:
    """Return the class names and, for each split found, its files by class and name."""
    folders = _subfolders(root)
    parts = match_splits(list(folders), name)
    ignored = sorted(set(folders) - set(parts.values()))
    if ignored:
        warnings.warn(f"{name}: folders that are no split are ignored: {ignored}", stacklevel=4)
    class_folders = {part: _subfolders(folders[found]) for part, found in parts.items()}
    class_names = tuple(sorted(set().union(*class_folders.values())))
    files: dict[str, list[_File]] = {}
    others: list[str] = []
    for part, by_class in class_folders.items():
        unknown = sorted(set(by_class) - set(class_folders["train"]))
        if unknown:
            raise InputError(
                f"{name}: class folder {parts[part]}/{unknown[0]} has no counterpart in "
                f"{parts['train']}, which has {sorted(class_folders['train'])}"
            )
        files[part] = []
        for class_name, class_folder in by_class.items():
            found = [p for p in sorted(class_folder.iterdir()) if p.is_file() and p.name[0] != "."]
            usable = [p for p in found if p.suffix.lower() in SUFFIXES]
            others += [p.relative_to(root).as_posix() for p in found if p not in usable]
            if part == "train" and not usable:
                raise InputError(
                    f"{name}: class folder {parts[part]}/{class_name} holds no "
                    f"{', '.join(SUFFIXES)} file ({len(found)} other files)"
                )
            label = class_names.index(class_name)
            files[part] += [_File(p.relative_to(root).as_posix(), p, label) for p in usable]
        if not files[part]:
            raise InputError(
                f"{name}: no {', '.join(SUFFIXES)} file in {parts[part]}/CLASS/, "
                f"class folders found: {sorted(by_class) or 'none'}"
            )
    if others:
        warnings.warn(
            f"{name}: {len(others)} files that are no {', '.join(SUFFIXES)} are ignored, such as "
            f"{others[0]}",
            stacklevel=4,
        )
    return class_names, files


def _read_headers(
    files: dict[str, list[_File]], *, sizes_matter: bool
) -> tuple[dict[str, _Header], dict[str, str]]:
    """Read every file's header: what could be read, by id, and why the others could not."""
    every = [file for part_files in files.values() for file in part_files]
    results: list[_Header | str] = [""] * len(every)

    def read(index: int) -> None:
        try:
            with Image.open(every[index].path) as image:
                # Pillow reads 16-bit grey as mode I;16, and cuts 16-bit colour to 8 bits with no
                # sign but the raw mode of the compressed tiles, which it forgets on decoding.
                deep = image.mode[0] in "IF" or any(";16" in str(t[3]) for t in image.tile)
                # A PNG's EXIF may follow the pixels, so that looking for it decodes them.
                turned = (
                    sizes_matter and image.getexif().get(ExifTags.Base.Orientation) in QUARTER_TURNS
                )
                results[index] = _Header(
                    size=image.size[::-1] if turned else image.size,
                    grey=image.mode in GREY_MODES,
                    alpha=image.has_transparency_data,
                    deep=deep,
                )
        except READ_ERRORS as error:
            results[index] = _one_line(error)

    for_each(read, len(every))
    headers: dict[str, _Header] = {}
    broken: dict[str, str] = {}
    for file, result in zip(every, results, strict=True):
        if isinstance(result, str):
            broken[file.key] = result
        else:
            headers[file.key] = result
    return headers, broken


def _decide_shape(
    headers: dict[str, _Header],
    channels: Literal[1, 3] | None,
    image_size: int | None,
    name: str,
) -> tuple[Literal[1, 3], tuple[int, int]]:
    """Return the number of channels and the (height, width) that all images will have."""
    deep = [key for key, header in headers.items() if header.deep]
    if deep:
        raise InputError(
            f"{name}: expected 8 bits per channel, {deep[0]} has more ({len(deep)} such files); "
            "rescale them to 8 bits first"
        )
    if channels is None:
        alpha = [key for key, header in headers.items() if header.alpha]
        if alpha:
            raise InputError(
                f"{name}: {alpha[0]} has an alpha channel ({len(alpha)} such files); "
                "set dataset.channels to 1 or 3 to drop it"
            )
        grey = [key for key, header in headers.items() if header.grey]
        colour = [key for key, header in headers.items() if not header.grey]
        if grey and colour:
            raise InputError(
                f"{name}: {len(grey)} grey images ({grey[0]}) and {len(colour)} colour images "
                f"({colour[0]}); set dataset.channels to 1 or 3"
            )
        channels = 3 if colour else 1
    if image_size is not None:
        return channels, (image_size, image_size)
    # The commonest size first, so that the example of the other size is an odd one out.
    sizes = Counter(header.size for header in headers.values()).most_common()
    if len(sizes) > 1:
        one, two = (
            next(f"{key} is {w}x{h}" for key, header in headers.items() if header.size == (w, h))
            for (w, h), _ in sizes[:2]
        )
        raise InputError(
            f"{name}: images have {len(sizes)} sizes ({one}, {two}); set dataset.image_size"
        )
    width, height = sizes[0][0] if sizes else (1, 1)
    return channels, (height, width)


def _decode(
    files: list[_File],
    headers: dict[str, _Header],
    size: tuple[int, int],
    channels: int,
    image_size: int | None,
    broken: dict[str, str],
) -> np.ndarray:
    """Decode one split, shape (N, H, W, C); add files that fail to `broken`, their rows unset."""
    images = np.empty((len(files), *size, channels), np.uint8)
    failures: dict[int, str] = {}

    def decode(index: int) -> None:
        if files[index].key not in headers:
            return
        try:
            with Image.open(files[index].path) as image:
                upright = ImageOps.exif_transpose(image)
        except READ_ERRORS as error:
            failures[index] = _one_line(error)
            return
        images[index] = to_array(upright, channels=channels, image_size=image_size)

    for_each(decode, len(files))
    broken.update((files[index].key, failures[index]) for index in sorted(failures))
    return images


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _report_unreadable(
    broken: dict[str, str], unreadable: Literal["fail", "skip"], name: str
) -> None:
    """Raise or warn about files that could not be read."""
    if unreadable == "skip":
        warnings.warn(
            f"{name}: skipped {len(broken)} unreadable images: {', '.join(broken)}", stacklevel=4
        )
        return
    named = "; ".join(f"{key} ({reason})" for key, reason in list(broken.items())[:NAMED])
    more = f"; and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    raise InputError(
        f"{name}: {len(broken)} unreadable images: {named}{more}; "
        "mend them or set dataset.unreadable=skip"
    )
