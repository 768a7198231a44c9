"""Image files that are decoded when they are asked for, and what their headers say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile

from lsplus_tf.config import Interpolation
from lsplus_tf.datasets.images import to_array
from lsplus_tf.errors import InputError, one_line

SUFFIXES = (".png", ".jpg", ".jpeg")
# What Pillow raises for a file that is cut short, damaged, no image or implausibly large.
READ_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
# Why such a file is not read. It is a sound image: dropping it would lose data.
MORE_THAN_8_BITS = "more than 8 bits per channel"
GREY_MODES = ("1", "L", "LA", "La")
_DEEP_GREY = "IF"  # what the names of such modes begin with
# EXIF orientations that turn the image by a quarter, so that width and height change places.
_QUARTER_TURNS = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)  # there may be a million
class Header:
    """What a file says of itself: (width, height), and what keeps it from being used as it is."""

    size: tuple[int, int]
    grey: bool
    alpha: bool
    deep: bool


def read_header(path: Path, *, size_matters: bool) -> Header:
    """Read what a file says of itself; raises one of `READ_ERRORS` if it is no image."""
    with Image.open(path) as image:
        deep = _is_deep(image)
        # A PNG's EXIF may follow the pixels, so that looking for it decodes them.
        turned = size_matters and image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS
        return Header(
            size=image.size[::-1] if turned else image.size,
            grey=image.mode in GREY_MODES or image.mode[0] in _DEEP_GREY,
            alpha=image.has_transparency_data,
            deep=deep,
        )


def decode(
    path: Path,
    *,
    channels: int,
    image_size: int | None = None,
    interpolation: Interpolation = "bilinear",
) -> npt.NDArray[np.uint8]:
    """Decode a file, upright, as `to_array` does; raises one of `READ_ERRORS` if it cannot.

    A JPEG of at least twice the size is reduced while it is decoded, to no less than the size
    wanted, which saves a third of the time. "nearest" takes its pixels from the whole image.
    """
    with Image.open(path) as image:
        if _is_deep(image):
            raise ValueError(MORE_THAN_8_BITS)
        reduced = None
        if image_size is not None and interpolation == "bilinear":
            reduced = image.draft(None, (image_size, image_size))
        return to_array(
            image,
            channels=channels,
            image_size=image_size,
            interpolation=interpolation,
            # A side of odd length ends within the last pixel of the reduced image.
            box=None if reduced is None else reduced[1],
        )


class ImageFiles:
    """Files that stand for a uint8 array (N, H, W, C), without its memory.

    Parameters
    ----------
    root : Path
        The data set's folder.
    names : ndarray
        str, shape (N,): paths below `root`.
    shape : tuple of int
        Height, width and channels of every image.
    resize : bool
        Whether images are stretched to that height and width, which must be equal.
    interpolation : {"bilinear", "nearest"}
        How.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        root: Path,
        names: npt.NDArray[np.str_],
        shape: tuple[int, int, int],
        *,
        resize: bool,
        interpolation: Interpolation = "bilinear",
    ) -> None:
        self.root, self.names, self.resize = root, names, resize
        self.interpolation: Interpolation = interpolation
        self.shape = (len(names), *shape)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, indices: npt.NDArray[np.intp] | slice) -> ImageFiles:
        """The files at `indices`, still not decoded."""
        return ImageFiles(
            self.root,
            self.names[indices],
            self.shape[1:],
            resize=self.resize,
            interpolation=self.interpolation,
        )

    def decode_one(self, index: int) -> npt.NDArray[np.uint8]:
        """Image (H, W, C) of one file.

        Raises one of `READ_ERRORS` if the file is damaged or has another size than the others.
        """
        height, width, channels = self.shape[1:]
        image = decode(
            self.root / str(self.names[index]),
            channels=channels,
            image_size=height if self.resize else None,
            interpolation=self.interpolation,
        )
        if image.shape != self.shape[1:]:
            raise ValueError(f"expected {width}x{height} pixels, not {image.shape[1::-1]}")
        return image

    def read(self, indices: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Images (M, H, W, C) at `indices` (M,), decoded one after the other.

        Raises
        ------
        InputError
            If a file cannot be read.
        """
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for row, index in enumerate(indices):
            try:
                images[row] = self.decode_one(int(index))
            except READ_ERRORS as error:
                raise InputError(
                    f"{self.root / str(self.names[index])}: cannot be read ({one_line(error)})"
                ) from error
        return images


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether an image that is open but not loaded has more than 8 bits per channel.

    Pillow reads 16-bit grey as mode I;16, and cuts 16-bit colour to 8 bits with no sign but the
    raw mode of the compressed tiles, which it forgets on decoding.
    """
    return image.mode[0] in _DEEP_GREY or any(";16" in str(tile[3]) for tile in image.tile)
