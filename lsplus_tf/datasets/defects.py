"""Images that occur twice, and images that show nothing: finding them, and dropping them."""

from __future__ import annotations

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from lsplus_tf.config import Background, Defect, Scaling
from lsplus_tf.datasets.finding import masks_beside
from lsplus_tf.datasets.image_files import READ_ERRORS, Whole, decode_whole
from lsplus_tf.datasets.images import for_each
from lsplus_tf.datasets.splitting import PARTS
from lsplus_tf.errors import InputError

if TYPE_CHECKING:
    from lsplus_tf.datasets.file_list import FileList

# In grey levels. An otherwise even image of 224x224 with one pixel of the other extreme has an SD
# of 1.1, and counts as showing something.
BLANK_SD = 1.0


def drop_defects(
    files: FileList,
    drop: Collection[Defect],
    *,
    scaling: Scaling | None = None,
    background: Background | None = None,
) -> tuple[FileList, dict[str, list[str]]]:
    """Leave out what is defective.

    Parameters
    ----------
    files : FileList
        N files.
    drop : collection of {"duplicates", "blank", "masks"}
        "masks" drops what `masks_beside` says, "blank" what `is_blank` says. Of files with the same
        pixels "duplicates" keeps one: the first of those in the test split, else in validation,
        else in train, so that nothing that is tested on is trained on and test splits lose only
        what they have twice. Where their labels differ all are dropped, as none of the labels can
        be told to be right. Files that cannot be read are not judged.
    scaling : Scaling, optional
        Without it more than 8 bits are not judged to be blank.
    background : {"black", "white"}, optional
        Without it images with transparent pixels are not judged to be blank.

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
    if "blank" in drop or "duplicates" in drop:
        digests, blank = _look_at(kept, scaling, background)
        # Blank ones first: most of them are identical too.
        if "blank" in drop:
            digests = [digest for digest, out in zip(digests, blank, strict=True) if not out]
            kept, dropped["blank"] = _without(kept, np.flatnonzero(blank).tolist())
        if "duplicates" in drop:
            kept, dropped["duplicates"] = _without(kept, _superfluous(kept, equal_keys(digests)))
    for part in np.setdiff1d(files.parts, kept.parts).tolist():
        raise InputError(
            f"{files.name}: dataset.drop={','.join(drop)} leaves no image of the {part} split"
        )
    return kept, dropped


def pixel_digest(whole: Whole) -> bytes | None:
    """The same of two images if, and in practice only if, they have the same pixels, upright.

    Grey and colour are compared as colour, without alpha channels; more than 8 bits by their
    values. None of an image whose values Pillow does not give.
    """
    if not whole.comparable:
        return None
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
    files: FileList, scaling: Scaling | None, background: Background | None
) -> tuple[list[bytes | None], npt.NDArray[np.bool_]]:
    """The digest of every file, None where it cannot be read, and whether it is blank."""
    digests: list[bytes | None] = [None] * len(files)
    blank = np.zeros(len(files), np.bool_)

    def look(index: int) -> None:
        # What cannot be read is told, or skipped, when the file is read for use.
        with contextlib.suppress(*READ_ERRORS):
            whole = decode_whole(files.path(index), scaling, background)
            digests[index] = pixel_digest(whole)
            judged = whole.header.too_deep(scaling) is None and not whole.transparent
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


def _without(files: FileList, indices: list[int]) -> tuple[FileList, list[str]]:
    leave = np.zeros(len(files), np.bool_)
    leave[np.array(indices, np.intp)] = True
    return files.take(np.flatnonzero(~leave)), files.ids[leave].tolist()
