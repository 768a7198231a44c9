"""Image files that are decoded when they are asked for, and what their headers say."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin

from lsplus_tf.bounded import LFS, LFS_POINTER
from lsplus_tf.config import Background, Interpolation, Scaling
from lsplus_tf.datasets import dicom
from lsplus_tf.datasets.images import to_8_bits, to_array
from lsplus_tf.errors import InputError, one_line

# What a file's name ends in, in any case of letters. What it holds is told by its content, among
# the formats that Pillow decodes by itself: none of them runs another program, as EPS does.
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".gif"),
    *(".pgm", ".ppm"),
    *dicom.SUFFIXES,
)
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
# What is raised for a file that is cut short, damaged, no image or implausibly large.
READ_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
# Why such a file is not read. It is a sound image: dropping it would lose data.
MORE_THAN_8_BITS = "more than 8 bits per channel"
NEVER_SCALED = "more than 8 bits per channel, scaled only of grey PNG, TIFF and DICOM files"
# The same of transparent pixels: what colour they have nobody has seen.
TRANSPARENT = "transparent pixels, and no background is set"
GREY_MODES = ("1", "L", "LA", "La")
_DEEP_GREY = "IF"  # what the names of such modes begin with
_HEAD = 2**16  # bytes, within which a PPM says its size after any comments
# EXIF orientations that turn the image by a quarter, so that width and height change places.
_QUARTER_TURNS = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)  # there may be a million
class Header:
    """What a file says of itself: (width, height), and what keeps it from being used as it is.

    Of an image that is `deep`, `scalable` says whether a scaling makes it one of 8 bits.
    """

    size: tuple[int, int]
    grey: bool
    alpha: bool
    deep: bool
    scalable: bool = False

    def too_deep(self, scaling: Scaling | None) -> str | None:
        """Why it is not used with this scaling, if it has more than 8 bits."""
        return _too_deep(self.deep, self.scalable, scaling)


@dataclass(frozen=True)
class Whole:
    """A file that is decoded in full.

    Attributes
    ----------
    header : Header
    picture : PIL.Image.Image
        Upright, of 8 bits: L or RGB. Of a deep image scaled as asked for, or where that cannot be
        by its own lowest and highest value.
    values : ndarray or None
        float64, shape (H, W): of a deep image that can be scaled, negated where the lowest is
        white.
    transparent : bool
        Whether there are transparent pixels and no background, so that these have any colour.
    """

    header: Header
    picture: Image.Image
    values: npt.NDArray[np.float64] | None
    transparent: bool = False

    @property
    def comparable(self) -> bool:
        """Whether all that the file shows is here: of what is never scaled, bits are missing."""
        return self.values is not None or not self.header.deep


def read_header(path: Path, *, size_matters: bool) -> Header:
    """Read what a file says of itself; raises one of `READ_ERRORS` if it is no image."""
    with _opened(path, header_only=True) as image:
        return _header(image, size_matters=size_matters)


def decode(
    path: Path,
    *,
    channels: int,
    image_size: int | None = None,
    interpolation: Interpolation = "bilinear",
    scaling: Scaling | None = None,
    background: Background | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode a file, upright, as `to_array` does; raises one of `READ_ERRORS` if it cannot.

    More than 8 bits become 8 by `scaling`, and transparent pixels show the background, before the
    image is stretched. A JPEG of at least twice
    the size is reduced while it is decoded, to no less than the size wanted, which saves a third of
    the time. "nearest" takes its pixels from the whole image.
    """
    with _opened(path) as image:
        deep, scalable = _depth(image)
        why_not = _too_deep(deep, scalable, scaling)
        if why_not is not None:
            raise ValueError(why_not)
        reduced = None
        picture: Image.Image
        if deep or isinstance(image, dicom.Slice):
            picture, *_ = _picture(image, scaling, background)
        else:
            picture, transparent = _flattened(image, background)
            if transparent:
                raise ValueError(TRANSPARENT)
            if image_size is not None and interpolation == "bilinear":
                reduced = image.draft(None, (image_size, image_size))
        return to_array(
            picture,
            channels=channels,
            image_size=image_size,
            interpolation=interpolation,
            # A side of odd length ends within the last pixel of the reduced image.
            box=None if reduced is None else reduced[1],
        )


def decode_whole(
    path: Path, scaling: Scaling | None = None, background: Background | None = None
) -> Whole:
    """Decode a file in full, to look at it; raises one of `READ_ERRORS` if it cannot."""
    with _opened(path) as image:
        header = _header(image, size_matters=True)
        return Whole(header, *_picture(image, scaling, background))


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
    scaling : Scaling, optional
        How more than 8 bits become 8; without it such files are refused.
    background : {"black", "white"}, optional
        What transparent pixels show; without it files that have any are refused.
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
        scaling: Scaling | None = None,
        background: Background | None = None,
    ) -> None:
        self.root, self.names, self.resize = root, names, resize
        self.interpolation: Interpolation = interpolation
        self.scaling = scaling
        self.background: Background | None = background
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
            scaling=self.scaling,
            background=self.background,
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
            scaling=self.scaling,
            background=self.background,
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


@contextlib.contextmanager
def _opened(
    path: Path, *, header_only: bool = False
) -> Iterator[ImageFile.ImageFile | dicom.Slice]:
    """A file of one image, not decoded; whatever goes wrong within is one of `READ_ERRORS`."""
    try:
        if dicom.is_named(path.name):
            yield dicom.Slice(path, header_only=header_only)
            return
        _check_begins_well(path)
        with Image.open(path, formats=FORMATS) as image:
            # A telephone's JPEG has previews behind the photograph.
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise ValueError("it has several frames or pages, expected one")
            if image.format == "TIFF":
                # A plain file that is known by name is mapped, with its sides exchanged if turned.
                image.filename = ""
            yield image
    except READ_ERRORS:
        raise
    except Exception as error:  # on broken bytes decoders stumble in all ways
        raise ValueError(f"{type(error).__name__}: {one_line(error)}") from error


def _check_begins_well(path: Path) -> None:
    """Refuse an empty file, a note in place of one, and a PPM whose comments hide its size.

    Pillow reads such comments byte by byte, for hours.
    """
    with path.open("rb", buffering=0) as file:
        head = file.read(len(LFS))
        if head == LFS:
            raise ValueError(LFS_POINTER)
        if not head:
            raise ValueError("it is empty")
        if not head.startswith(b"P"):
            return
        head += file.read(_HEAD)
    if len(head) > _HEAD and len(re.sub(rb"#[^\r\n]*", b"", head).split(None, 3)) < 4:
        raise ValueError(f"its size is not in its first {_HEAD} bytes")


def _header(image: ImageFile.ImageFile | dicom.Slice, *, size_matters: bool) -> Header:
    deep, scalable = _depth(image)
    if isinstance(image, dicom.Slice):
        return Header(image.size, image.grey, False, deep, scalable)
    # A PNG's EXIF may follow the pixels, so that looking for it decodes them. Pillow turns a TIFF.
    turned = (
        size_matters
        and image.format != "TIFF"
        and image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS
    )
    return Header(
        size=image.size[::-1] if turned else image.size,
        grey=image.mode in GREY_MODES or image.mode[0] in _DEEP_GREY,
        alpha=image.has_transparency_data,
        deep=deep,
        scalable=scalable,
    )


def _depth(image: ImageFile.ImageFile | dicom.Slice) -> tuple[bool, bool]:
    """Whether an image, not loaded, is not of 8 bits 0..255, and if so can be scaled to them.

    Pillow reads 16-bit grey as mode I;16, and cuts 16-bit colour to 8 bits with no sign but the
    raw mode of the compressed tiles, which it forgets on decoding; of a PPM the highest value is
    there. It stretches the values of a PGM, so that no window fits them.
    """
    if isinstance(image, dicom.Slice):
        return image.deep, image.deep and image.grey
    if image.mode[0] in _DEEP_GREY:
        return True, image.format in ("PNG", "TIFF")
    if image.format == "TIFF" and isinstance(image, TiffImagePlugin.TiffImageFile):
        if _is_signed(image):
            return True, image.mode == "L"
        if max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8:
            return True, False
    if image.format == "PPM":  # (raw mode, highest value), where that is not 255
        return any(isinstance(tile[3], tuple) and tile[3][1] > 255 for tile in image.tile), False
    return any(";16" in str(tile[3]) for tile in image.tile), False


def _is_signed(image: TiffImagePlugin.TiffImageFile) -> bool:
    return 2 in image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (1,))


def _picture(
    image: ImageFile.ImageFile | dicom.Slice,
    scaling: Scaling | None,
    background: Background | None,
) -> tuple[Image.Image, npt.NDArray[np.float64] | None, bool]:
    """Picture, values and transparency, as `Whole` has them."""
    deep, scalable = _depth(image)
    if not (deep and scalable):
        if isinstance(image, dicom.Slice):
            return image.picture(), None, False
        picture, transparent = _flattened(image, background)
        mode = "L" if image.mode in GREY_MODES or image.mode[0] in _DEEP_GREY else "RGB"
        picture = picture if picture.mode == mode else picture.convert(mode)
        ImageOps.exif_transpose(picture, in_place=True)
        picture.load()
        return picture, None, transparent
    if isinstance(image, dicom.Slice):
        values, inverted = image.values(), image.inverted
    else:
        values, inverted = _values(image)
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite")
    levels = to_8_bits(values, scaling or Scaling(percentiles=(0, 100)))
    if inverted:  # brighter is more in the second too, so that a negative is no copy
        return Image.fromarray(255 - levels), -values, False
    return Image.fromarray(levels), values, False


def _flattened(
    image: ImageFile.ImageFile, background: Background | None
) -> tuple[Image.Image, bool]:
    """An image of 8 bits on the background, and whether it is transparent somewhere without one."""
    if not image.has_transparency_data:
        return image, False
    colours = image.convert("RGBA")  # at once, of what a palette says of transparency Pillow warns
    alpha = colours.getchannel("A")
    opaque = alpha.getextrema() == (255, 255)
    if background is None and not opaque:
        return image, True
    mode = "L" if image.mode in GREY_MODES else "RGB"
    flat = Image.new(mode, alpha.size, background or "black")
    flat.paste(colours.convert(mode), mask=alpha)
    flat.info["exif"] = image.info.get("exif", b"")  # how it is turned
    return flat, False


def _values(image: ImageFile.ImageFile) -> tuple[npt.NDArray[np.float64], bool]:
    """The values of a deep grey PNG or TIFF, upright, (H, W), and whether the lowest is white."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        ImageOps.exif_transpose(image, in_place=True)
        return np.asarray(image, np.float64), False
    inverted = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    signed = _is_signed(image)
    values = np.asarray(image)  # Pillow turns a TIFF upright
    if image.mode == "L":
        values = values.view(np.int8)
    elif image.mode == "I" and not signed:
        values = values.view(np.uint32)  # which Pillow takes for signed ones
    return values.astype(np.float64), inverted


def _too_deep(deep: bool, scalable: bool, scaling: Scaling | None) -> str | None:
    if not deep:
        return None
    if not scalable:
        return NEVER_SCALED
    return MORE_THAN_8_BITS if scaling is None else None
