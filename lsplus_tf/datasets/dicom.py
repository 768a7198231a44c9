"""DICOM files of one frame, which the package pydicom reads, for those who have it."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lsplus_tf.bounded import LITTLE_PACKED, UNPACKED, largest_unpacked
from lsplus_tf.errors import InputError, one_line

SUFFIXES = (".dcm", ".dicom")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
# The decoders that pydicom's documentation names first, by what the name of the syntax begins with.
_DECODERS = {
    "JPEG-LS": "pyjpegls",
    "JPEG 2000": "pylibjpeg pylibjpeg-openjpeg",
    "High-Throughput JPEG 2000": "pylibjpeg pylibjpeg-openjpeg",
    "JPEG": "pylibjpeg pylibjpeg-libjpeg",
}


class _Bounded(io.BufferedReader):
    """A file whose rest pydicom only gets where it is not too much once inflated.

    pydicom asks for all of the rest where it is deflated, and for so many bytes elsewhere.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is None or size < 0:
            most = largest_unpacked(len(data), UNPACKED, LITTLE_PACKED)
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            if len(inflater.decompress(data, most + 1)) > most:
                raise ValueError(f"its {len(data)} bytes become more than {most} when inflated")
        return data


def is_named(name: str) -> bool:
    """Whether a file's name says that it is a DICOM file."""
    return name.lower().endswith(SUFFIXES)


def check_installed(names: Iterable[str]) -> None:
    """Refuse DICOM files, if there are any among these, where pydicom is missing."""
    first = next(filter(is_named, names), None)
    if first is None:
        return
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise InputError(
            f'{first}: DICOM files need the package pydicom; pip install "lsplus_tf[dicom]"'
        ) from error


class Slice:
    """A DICOM file that is open. What is wrong with it may raise any exception.

    Attributes
    ----------
    size : tuple of int
        Width and height.
    grey, deep : bool
        Monochrome; not of 8 bits 0..255 as they are: of another number, signed, or rescaled.
    inverted : bool
        Whether its lowest value is white.
    """

    def __init__(self, path: Path, *, header_only: bool = False) -> None:
        import pydicom
        from pydicom.errors import InvalidDicomError

        try:
            with _Bounded(path.open("rb", buffering=0)) as file:
                dataset = pydicom.dcmread(file, stop_before_pixels=header_only)
        except InvalidDicomError as error:
            raise ValueError("no DICOM file: it does not begin as one") from error
        if "Rows" not in dataset or "PhotometricInterpretation" not in dataset:
            raise ValueError("a DICOM file without an image")
        frames = int(dataset.get("NumberOfFrames") or 1)
        if frames > 1:
            raise ValueError(f"it has {frames} frames, expected one")
        self.size = int(dataset.Columns), int(dataset.Rows)
        if self.size[0] * self.size[1] > 2 * (Image.MAX_IMAGE_PIXELS or np.inf):  # as Pillow
            raise ValueError(f"implausibly large: {self.size[0]}x{self.size[1]} pixels")
        photometric = str(dataset.PhotometricInterpretation)
        if photometric not in (*_GREY, *_COLOUR):
            raise ValueError(f"its photometric interpretation, {photometric}, is not read")
        self.grey, self.inverted = photometric in _GREY, photometric == "MONOCHROME1"
        stored = dataset.get("BitsStored")
        if stored is not None and dataset.get("HighBit", stored - 1) != stored - 1:
            raise ValueError(f"its {stored} bits are not the lowest, which pydicom does not read")
        _lift_rescale(dataset)
        plain = (stored, dataset.get("PixelRepresentation")) == (8, 0)
        slope, intercept = (dataset.get(f"Rescale{key}") for key in ("Slope", "Intercept"))
        rescaled = (slope or 1) != 1 or (intercept or 0) != 0 or "ModalityLUTSequence" in dataset
        self.deep = not plain or (self.grey and rescaled)
        self._dataset = dataset

    def values(self) -> npt.NDArray[np.float64]:
        """The values of a monochrome image, (H, W), in the units of its modality."""
        from pydicom.pixels import apply_modality_lut

        return np.asarray(apply_modality_lut(self._pixels(), self._dataset), np.float64)

    def picture(self) -> Image.Image:
        """The image of 8 bits, L or RGB."""
        pixels = self._pixels()
        return Image.fromarray((255 - pixels if self.inverted else pixels).astype(np.uint8))

    def _pixels(self) -> npt.NDArray[Any]:
        from pydicom.pixels import get_decoder, pixel_array

        syntax = self._dataset.file_meta.TransferSyntaxUID
        if not syntax.is_encapsulated:
            return pixel_array(self._dataset)  # YBR becomes RGB
        kinds = (kind for kind in _DECODERS if syntax.name.startswith(kind))
        needs = f"pip install {_DECODERS.get(next(kinds, ''), 'a decoder for pydicom')}"
        decoder = get_decoder(syntax)
        if not decoder.is_available:
            raise ValueError(f"{syntax.name}: {needs}")
        try:
            return pixel_array(self._dataset)
        except RuntimeError as error:  # of the decoders that there are
            more = f"; {needs} may help" if decoder.missing_dependencies else ""
            raise ValueError(f"{one_line(error)}{more}") from error


def _lift_rescale(dataset: Any) -> None:
    """Put the rescale of an enhanced file's one frame where that of others is."""
    for of in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in dataset.get(of) or ():
            for rescale in group.get("PixelValueTransformationSequence") or ():
                dataset.RescaleSlope = rescale.RescaleSlope
                dataset.RescaleIntercept = rescale.RescaleIntercept
