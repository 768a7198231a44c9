"""Images that occur twice, and images that show nothing: finding them, and dropping them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lsplus_tf.config import Defect
from lsplus_tf.datasets.finding import masks_beside
from lsplus_tf.datasets.image_files import GREY_MODES, READ_ERRORS
from lsplus_tf.datasets.images import for_each
from lsplus_tf.datasets.splitting import PARTS
from lsplus_tf.errors import InputError

if TYPE_CHECKING:
    from lsplus_tf.datasets.file_list import FileList

# In grey levels. An otherwise even image of 224x224 with one pixel of the other extreme has an SD
# of 1.1, and counts as showing something.
BLANK_SD = 1.0


def drop_defects(
    files: FileList, drop: Collection[Defect]
) -> tuple[FileList, dict[str, list[str]]]:
    """Leave out what is defective.

    Parameters
    ----------
    files : FileList
        N files.
    drop : collection of {"duplicates", "blank", "masks"}
        "masks" drops what `masks_beside` says, "blank" what `is_blank` says. Of identical files
        "duplicates" keeps one: the first of those in the test split, else in validation, else in
        train, so that nothing that is tested on is trained on and test splits lose only what they
        have twice. Identical files with different labels are all dropped, as none of the labels
        can be told to be right. Files that cannot be read are not judged.

    Returns
    -------
    kept : FileList
        In their order.
    dropped : dict of str to list of str
        Ids by defect; each file is in one only.

    Raises
    ------
    InputError
        If nothing is left of a split.
    """
    dropped: dict[str, list[str]] = {}
    kept = files
    if "masks" in drop:
        masks = masks_beside(kept.ids.tolist(), kept.labels.tolist())
        kept, dropped["masks"] = _without(kept, masks)
    # Blank ones first: most of them are identical too.
    if "blank" in drop:
        kept, dropped["blank"] = _without(kept, blank_files(kept))
    if "duplicates" in drop:
        kept, dropped["duplicates"] = _without(kept, _superfluous(kept))
    for part in np.setdiff1d(files.parts, kept.parts).tolist():
        raise InputError(
            f"{files.name}: dataset.drop={','.join(drop)} leaves no image of the {part} split"
        )
    return kept, dropped


def identical_files(files: FileList) -> list[list[int]]:
    """Groups of two or more files with the same bytes, as indices; those of no size are left out.

    Only files of equal size are read.
    """
    sizes = np.zeros(len(files), np.int64)

    def measure(index: int) -> None:
        try:
            sizes[index] = files.path(index).stat().st_size
        except OSError:  # told when the file is read
            sizes[index] = 0

    for_each(measure, len(files))
    _, inverse, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    candidates = np.flatnonzero((counts[inverse] > 1) & (sizes > 0)).tolist()
    digests: list[bytes | None] = [None] * len(candidates)

    def read(position: int) -> None:
        try:
            with files.path(candidates[position]).open("rb") as opened:
                digests[position] = hashlib.file_digest(opened, "sha256").digest()
        except OSError:
            digests[position] = None

    for_each(read, len(candidates))
    return [[candidates[position] for position in group] for group in equal_keys(digests)]


def equal_keys(keys: Sequence[Hashable | None]) -> list[list[int]]:
    """Positions of keys that are equal, for every key that is there more than once; None is not."""
    positions: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        if key is not None:
            positions[key].append(position)
    return [group for group in positions.values() if len(group) > 1]


def blank_files(files: FileList) -> list[int]:
    """Indices of the files that can be read and are blank."""
    blank = np.zeros(len(files), np.bool_)

    def look(index: int) -> None:
        try:
            with Image.open(files.path(index)) as image:
                blank[index] = is_blank(image)
        except READ_ERRORS:  # told, or skipped, when the file is read for use
            blank[index] = False

    for_each(look, len(files))
    return np.flatnonzero(blank).tolist()


def is_blank(image: Image.Image) -> bool:
    """Whether in every channel the SD over the pixels is below `BLANK_SD` grey levels.

    Alpha is not looked at. 16-bit grey, which cannot be used, is not judged.
    """
    if image.mode[0] in "IF":
        return False
    plain = image.convert("L" if image.mode in GREY_MODES else "RGB")
    histograms = np.reshape(plain.histogram(), (-1, 256))
    shares = histograms / histograms.sum(1, keepdims=True)
    levels = np.arange(256)
    means = shares @ levels
    variances = (shares * (levels - means[:, np.newaxis]) ** 2).sum(1)
    return bool((variances < BLANK_SD**2).all())


def _superfluous(files: FileList) -> list[int]:
    """Indices of identical files beside the one that is kept."""
    found = []
    for group in identical_files(files):
        keep = max(group, key=lambda index: PARTS.index(str(files.parts[index])))
        alike = len({int(files.labels[index]) for index in group}) == 1
        found += [index for index in group if not (alike and index == keep)]
    return found


def _without(files: FileList, indices: list[int]) -> tuple[FileList, list[str]]:
    leave = np.zeros(len(files), np.bool_)
    leave[np.array(indices, np.intp)] = True
    return files.take(np.flatnonzero(~leave)), files.ids[leave].tolist()
