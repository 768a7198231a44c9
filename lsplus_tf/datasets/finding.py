"""Finding image files: what lies in a folder and below it, and which images are masks of others.

What systems and hidden tools put into folders is passed over.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lsplus_tf.datasets.image_files import SUFFIXES
from lsplus_tf.errors import InputError, one_line
from lsplus_tf.files import shown

# In lower case. Names that begin with a dot are hidden, such as ".DS_Store" and "._a.png".
_OF_THE_SYSTEM = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
        *("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information"),
        "lost+found",
    }
)
# "benign (1)_mask", "a_mask_1", "a.gt", "a_ground_truth": the image's stem comes first.
_MASK = (
    "masks?|msk|seg|segmentations?|gt|ground[ _-]?truth|labels?|annotations?|anno|rois?|overlays?"
)
_MASK_OF = re.compile(rf"(.+?)((?:[ _.-](?:{_MASK}|lesions?))+)(?:[ _-]?\d+)?", re.I)
# "masks", "lung masks", "Ground_Truth".
_MASK_FOLDER = re.compile(rf"(?:.+[ _-])?(?:{_MASK})", re.I)
_PERHAPS_A_MASK = re.compile("mask|msk|seg|gt|truth|label|anno|roi|overlay|lesion", re.I)


@dataclass(frozen=True)
class Found:
    """What was found in a folder: paths with "/", in alphabetical order.

    Attributes
    ----------
    images : list of str
        What has an image's suffix, also links that lead nowhere: they are told when they are read.
    others : list of str
        Files that are no images.
    folders : list of str
        Folders in it; empty for what was found below a folder at any depth.
    """

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


def look_into(folder: str | Path) -> Found:
    """What lies directly in a folder; names of it.

    Raises
    ------
    InputError
        If the folder cannot be listed, or the name of an image or folder in it is not UTF-8.
    """
    found = Found()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                lower = name.lower()
                if name[0] == "." or lower in _OF_THE_SYSTEM:
                    continue
                # Of a link that leads to itself `entry.is_dir` raises an error.
                is_link = entry.is_symlink()
                if os.path.isdir(entry.path) if is_link else entry.is_dir():
                    _check_name(name, folder)
                    found.folders.append(name)
                elif lower.endswith(SUFFIXES) and (
                    os.path.isfile(entry.path) or not os.path.exists(entry.path)
                    if is_link
                    else entry.is_file()
                ):
                    _check_name(name, folder)
                    found.images.append(name)
                else:
                    found.others.append(name)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shown(folder)}: cannot be listed ({one_line(error)})") from error
    for names in (found.images, found.others, found.folders):
        names.sort()
    return found


def find_below(root: str | Path, start: str = "") -> Found:
    """The files in a folder and at any depth below it.

    Links to folders are followed, but not those that lead to what is found anyway, or up.

    Parameters
    ----------
    root : str or Path
        A folder.
    start : str
        The folder to look into, below `root`.

    Returns
    -------
    Found
        Paths below `root`.

    Raises
    ------
    InputError
        As of `look_into`; or if `start` is a link that leads up.
    """
    found = Found()
    real = os.path.realpath(os.path.join(root, start))
    if start and _holds(real, os.path.realpath(root)):
        raise InputError(
            f"{shown(os.path.join(root, start))}: the link leads up, to {shown(real)}; remove it"
        )
    followed: set[str] = set()
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        here = look_into(os.path.join(root, folder))
        prefix = f"{folder}/" if folder else ""
        found.images.extend(prefix + name for name in here.images)
        found.others.extend(prefix + name for name in here.others)
        for name in here.folders:
            path = os.path.join(root, prefix + name)
            if os.path.islink(path):
                target = os.path.realpath(path)
                if target in followed or _is_found_anyway(target, real):
                    continue
                followed.add(target)
            waiting.append(prefix + name)
    for paths in (found.images, found.others):
        paths.sort(key=_parts)
    return found


def _parts(path: str) -> list[str]:
    return path.split("/")


def _is_found_anyway(target: str, start: str) -> bool:
    """Whether a folder holds `start`, or lies below it where it is looked at."""
    if _holds(target, start):
        return True
    if not _holds(start, target):
        return False
    names = os.path.relpath(target, start).lower().split(os.sep)
    return not any(name[0] == "." or name in _OF_THE_SYSTEM for name in names)


def _holds(folder: str, path: str) -> bool:
    """Whether a path is the folder, or lies below it."""
    return f"{path}{os.sep}".startswith(folder.rstrip(os.sep) + os.sep)


def said_of_dicom(root: str | Path, others: Sequence[str]) -> str:
    """A remedy, if the first file without a suffix is DICOM; "" if it is not."""
    first = next((name for name in others if "." not in os.path.basename(name)), None)
    if first is not None:
        with suppress(OSError, ValueError), open(os.path.join(root, first), "rb") as file:
            if file.read(132)[128:] == b"DICM":
                return "; they are DICOM: add .dcm to their names"
    return ""


def check_encoding(path: str | Path) -> None:
    """Refuse a path that is not UTF-8: no table of results could name it."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{os.fsencode(path)!r}: expected names in UTF-8, as tables of results need them; "
            "rename it"
        ) from error


def _check_name(name: str, folder: str | Path) -> None:
    if not name.isascii():
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"{shown(folder)}: the name {os.fsencode(name)!r} in it is not UTF-8, as "
                "after unpacking an archive of another system; rename it"
            ) from error


@functools.cache
def of_masks(folder: str) -> bool:
    """Whether a folder is called as one of masks."""
    return _MASK_FOLDER.fullmatch(folder) is not None


def image_of_mask(stem: str) -> str | None:
    """What a mask with this name would be of: "a" of "a_mask"; None if it is called otherwise."""
    match = _MASK_OF.fullmatch(stem)
    return match[1] if match else None


def masks_beside(names: Sequence[str], labels: Sequence[int] | None = None) -> list[int]:
    """Which files are masks of others among them, as indices.

    A mask is called as another image in its folder, followed by "_mask", "_seg", "_gt", "_label"
    and the like, and perhaps a number; or it lies in a folder "masks", "lung masks", "GT" and the
    like, and an image of the same class and stem in a folder beside it, or in the one above.

    Parameters
    ----------
    names : sequence of str
        Paths with "/".
    labels : sequence of int, optional
        Their classes; without them all are of one.

    Examples
    --------
    >>> masks_beside(["a/benign (1).png", "a/benign (1)_mask.png", "a/b_mask.png"])
    [1]
    >>> masks_beside(["a/images/1.png", "a/masks/1.png"])
    [1]
    """
    suspects = [i for i, name in enumerate(names) if _PERHAPS_A_MASK.search(name)]
    if not suspects:
        return []
    places = [name.rpartition(".")[0].rpartition("/")[::2] for name in names]
    classes = [0] * len(names) if labels is None else list(labels)
    beside = set()  # class, folder or the one above it, and stem of what lies in no folder of masks
    for label, (folder, stem) in zip(classes, places, strict=True):
        above, _, last = folder.rpartition("/")
        if not of_masks(last):
            beside |= {(label, folder, stem), (label, above, stem)}
    there = set(places)
    masks = []
    for index in suspects:
        folder, stem = places[index]
        above, _, last = folder.rpartition("/")
        image = image_of_mask(stem)
        of_an_image = image is not None and (folder, image) in there
        if not of_an_image and of_masks(last):
            of_an_image = any((classes[index], above, one) in beside for one in (stem, image))
        if of_an_image:
            masks.append(index)
    return masks
