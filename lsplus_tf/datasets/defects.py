"""Images that occur twice, and images that show nothing: finding them, and dropping them."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from lsplus_tf.config import Defect, Scaling
from lsplus_tf.datasets.image_files import READ_ERRORS, Whole, decode_whole
from lsplus_tf.datasets.images import for_each
from lsplus_tf.datasets.splitting import PARTS
from lsplus_tf.errors import InputError

if TYPE_CHECKING:
    from lsplus_tf.datasets.file_list import FileList

# In grey levels. An otherwise even image of 224x224 with one pixel of the other extreme has an SD
# of 1.1, and counts as showing something.
BLANK_SD = 1.0
_MASK = re.compile(r"(.+?)[ _.-](?:masks?|seg|segmentation)(?:[ _.-]?\d+)?", re.IGNORECASE)


def drop_defects(
    files: FileList, drop: Collection[Defect], scaling: Scaling | None = None
) -> tuple[FileList, dict[str, list[str]]]:
    """Leave out what is defective.

    Parameters
    ----------
    files : FileList
        N files.
    drop : collection of {"duplicates", "blank"}
        "blank" drops what `is_blank` says. Of files with the same pixels "duplicates" keeps one:
        the first of those in the test split, else in validation, else in train, so that nothing
        that is tested on is trained on and test splits lose only what they have twice. Where their
        labels differ all are dropped, as none of the labels can be told to be right. Files that
        cannot be read are not judged.
    scaling : Scaling, optional
        Without it more than 8 bits are not judged to be blank.

    Returns
    -------
    kept : FileList
        In their order.
    dropped : dict of str to list of str
        Ids by defect; blank ones are not also duplicates.

    Raises
    ------
    InputError
        If nothing is left of a split.
    """
    dropped: dict[str, list[str]] = {}
    if not drop:
        return files, dropped
    digests, blank = _look_at(files, scaling)
    leave = np.zeros(len(files), np.bool_)
    # Blank ones first: most of them are identical too.
    if "blank" in drop:
        leave = blank.copy()
        dropped["blank"] = files.ids[blank].tolist()
    if "duplicates" in drop:
        keys = [None if out else digest for digest, out in zip(digests, leave, strict=True)]
        found = sorted(_superfluous(files, equal_keys(keys)))
        leave[np.array(found, np.intp)] = True
        dropped["duplicates"] = files.ids[np.array(found, np.intp)].tolist()
    kept = files.take(np.flatnonzero(~leave))
    for part in np.setdiff1d(files.parts, kept.parts).tolist():
        raise InputError(
            f"{files.name}: dataset.drop={','.join(drop)} leaves no image of the {part} split"
        )
    return kept, dropped


def masks_beside(names: Sequence[str]) -> list[int]:
    """Which files are masks of another: in its folder, of its stem with "_mask" or so behind it.

    Examples
    --------
    >>> masks_beside(["a/benign (1).png", "a/benign (1)_mask.png", "a/b_mask.png"])
    [1]
    """
    stems = {PurePosixPath(name).with_suffix("").as_posix() for name in names}
    found = []
    for index, name in enumerate(names):
        match = _MASK.fullmatch(PurePosixPath(name).with_suffix("").as_posix())
        if match and match[1] in stems:
            found.append(index)
    return found


def pixel_digest(whole: Whole) -> bytes:
    """The same of two images if, and in practice only if, they have the same pixels, upright.

    Grey and colour are compared as colour, without alpha; more than 8 bits by their values.
    """
    if whole.values is None:
        pixels, kind = whole.picture.convert("RGB").tobytes(), whole.picture.size
    else:
        pixels, kind = whole.values.tobytes(), (*whole.values.shape, "deep")
    return hashlib.blake2b(pixels, digest_size=16, key=repr(kind).encode()).digest()


def equal_keys(keys: Sequence[Hashable | None]) -> list[list[int]]:
    """Positions of keys that are equal, for every key that is there more than once; None is not."""
    positions: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        if key is not None:
            positions[key].append(position)
    return [group for group in positions.values() if len(group) > 1]


def is_blank(picture: Image.Image) -> bool:
    """Whether in every channel the SD over the pixels is below `BLANK_SD` grey levels."""
    histograms = np.reshape(picture.histogram(), (-1, 256))
    shares = histograms / histograms.sum(1, keepdims=True)
    levels = np.arange(256)
    means = shares @ levels
    variances = (shares * (levels - means[:, np.newaxis]) ** 2).sum(1)
    return bool((variances < BLANK_SD**2).all())


def _look_at(
    files: FileList, scaling: Scaling | None
) -> tuple[list[bytes | None], npt.NDArray[np.bool_]]:
    """The digest of every file, None where it cannot be read, and whether it is blank."""
    digests: list[bytes | None] = [None] * len(files)
    blank = np.zeros(len(files), np.bool_)

    def look(index: int) -> None:
        # What cannot be read is told, or skipped, when the file is read for use.
        with contextlib.suppress(*READ_ERRORS):
            whole = decode_whole(files.path(index), scaling)
            digests[index] = pixel_digest(whole)
            judged = whole.header.too_deep(scaling) is None
            blank[index] = judged and is_blank(whole.picture)

    for_each(look, len(files))
    return digests, blank


def _superfluous(files: FileList, identical: list[list[int]]) -> list[int]:
    """Indices of identical files beside the one that is kept."""
    found = []
    for group in identical:
        keep = max(group, key=lambda index: PARTS.index(str(files.parts[index])))
        alike = len({int(files.labels[index]) for index in group}) == 1
        found += [index for index in group if not (alike and index == keep)]
    return found
