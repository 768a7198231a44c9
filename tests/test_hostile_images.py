"""Image files that are broken, or made to harm: refused in one line, within little memory."""

from __future__ import annotations

import contextlib
import functools
import io
import shutil
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import NOTHING, within_bounds
from PIL import Image

from lsplus_tf.config import Scaling
from lsplus_tf.datasets.image_files import READ_ERRORS, ImageFiles, decode_whole, read_header
from lsplus_tf.errors import InputError

# Sides that are just within Pillow's limit of 179 million pixels, and beyond it.
LARGE, HUGE = 13_000, 60_000
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
pytestmark = [
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of damaged tags, and of pydicom
]


@functools.cache
def packed() -> bytes:
    """100 MB of zeros in 430 kB."""
    return zlib.compress(bytes(100_000_000), 1)


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes = b"", *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels


def tiff(width: int, height: int, data: bytes = b"", following: int = 0, **changes: Any) -> bytes:
    """A grey TIFF with a strip behind its tags; `changes` are counts and values of tags, t256."""
    tags = {256: (1, width), 257: (1, height), 258: (1, 8), 259: (1, 1), 262: (1, 1)}
    tags |= {273: (1, 122), 277: (1, 1), 278: (1, height), 279: (1, len(data))}
    tags |= {int(key[1:]): value for key, value in changes.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, *tags[tag]) for tag in sorted(tags))
    return (
        struct.pack("<2sHIH", b"II", 42, 8, len(tags))
        + entries
        + struct.pack("<I", following)
        + data
    )


def bmp(width: int, height: int, packing: int, data: bytes) -> bytes:
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, packing, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 1078) + sizes + bytes(1024) + data


def jpeg(width: int, height: int) -> bytes:
    content = bytearray(written(Image.fromarray(PIXELS), "JPEG"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def hostile() -> Iterator[tuple[str, bytes]]:
    """None of them can be decoded."""
    yield "empty.png", b""
    yield "text.png", b"no image"
    yield "program.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
    yield "pickle.png", b"\x80\x04cos\nsystem\n."
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM"):
        content = written(Image.fromarray(PIXELS), kind)
        for eighths in (1, 4):
            yield f"cut-{eighths}.{kind.lower()}", content[: len(content) * eighths // 8]
    yield "nothing.png", png(0, 0)
    yield "huge.png", png(2**31 - 1, 2**31 - 1)
    yield "large.png", png(HUGE, HUGE, packed())
    yield "packed text.png", png(9, 9, b"", chunk(b"zTXt", b"a\0\0" + packed()))
    yield (
        "texts.png",
        png(9, 9, b"", *100 * [chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6)))]),
    )
    yield "a long chunk.png", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"IHDR"
    yield "huge.ppm", b"P6 2000000000 2000000000 255\n"
    yield "negative.ppm", b"P6 -5 10 255\n" + bytes(150)
    yield "digits.ppm", b"P6 " + b"9" * 10**6 + b" 1 255\n"
    yield "short.ppm", b"P6 %d %d 255\n" % (LARGE, LARGE) + bytes(999)
    yield "comments.ppm", b"P6 " + b"#" * 10**7 + b"\n1 1 255\n123"
    yield "many comments.png", b"P6 " + 10**6 * b"# \n" + b"1 1 255\n123"
    yield "highest.ppm", b"P6 10 10 99999999\n" + bytes(600)
    yield "huge.tif", tiff(2**31, 2**31)
    yield "large.tif", tiff(HUGE, HUGE, packed(), t259=(1, 8))
    yield "short.tif", tiff(5_000, 5_000, bytes(9))
    yield "many samples.tif", tiff(9, 9, bytes(81), t277=(1, 65535))
    yield "tags.tif", struct.pack("<2sHIH", b"II", 42, 8, 65535) + bytes(12 * 65535)
    yield "far away.tif", b"II*\0" + struct.pack("<I", 2**32 - 1)
    yield "pages.tif", tiff(9, 9, bytes(81) + tiff(9, 9)[8:], 203)
    yield "screen.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",;"
    yield "huge.bmp", bmp(2**31 - 1, 2**31 - 1, 0, b"")
    yield "runs.bmp", bmp(HUGE, HUGE, 1, b"\xff\0" * 1000)
    yield "huge.webp", b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6
    yield "huge.jpg", jpeg(65535, 65535)


def test_images_that_are_not_read(tmp_path):
    for name, content in hostile():
        path = tmp_path / name
        path.write_bytes(content)
        refuse(path)


def refuse(path: Path) -> None:
    """No image comes of it, whoever asks; of some the header alone can be read."""
    images = ImageFiles(path.parent, np.array([path.name]), (16, 16, 3), resize=True)
    text = ""
    with within_bounds():
        with contextlib.suppress(*READ_ERRORS):
            read_header(path, size_matters=True)
        with contextlib.suppress(*READ_ERRORS):
            decode_whole(path, Scaling(percentiles=(0, 100)))
            pytest.fail(path.name)
        try:
            images.read(np.array([0]))
        except InputError as error:
            text = str(error)
    assert text.startswith(f"{path}: cannot be read ("), path.name
    assert "\n" not in text


def test_images_with_more_than_pixels(tmp_path):
    """What they hold beside an image of 9x9 zeros is not unpacked."""
    for name, content in {
        "more pixels.png": png(9, 9, packed()),
        "a large tag.tif": tiff(9, 9, bytes(81), t273=(1, 134), t700=(2**31, 134)),
        "more pixels.tif": tiff(9, 9, packed(), t259=(1, 8)),
        "a page that follows itself.tif": tiff(9, 9, bytes(81), 8),
        "comment.ppm": b"P6 # made by hand\n9 9 255\n" + bytes(243),
    }.items():
        (tmp_path / name).write_bytes(content)
        images = ImageFiles(tmp_path, np.array([name]), (9, 9, 1), resize=False)
        with within_bounds():
            found = images.read(np.array([0]))
        np.testing.assert_array_equal(found, np.zeros((1, 9, 9, 1)), name)


def test_what_is_no_file(tmp_path):
    for name in ("mine.png", "mine.dcm"):
        for kind, make in NOTHING.items():
            (tmp_path / kind).mkdir()
            make(tmp_path / kind / name)
            refuse(tmp_path / kind / name)
            shutil.rmtree(tmp_path / kind)


# --- DICOM ----------------------------------------------------------------------------------------


def dicom(syntax: str = "1.2.840.10008.1.2.1", pixels: bytes = bytes(256), **values: Any) -> bytes:
    """A grey image of 16x16, by default in explicit little endian."""
    pydicom = pytest.importorskip("pydicom", reason="needs lsplus_tf[dicom]")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    of_image: dict[str, Any] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
        "SOPInstanceUID": "1.2.3",
        "Rows": 16,
        "Columns": 16,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "SamplesPerPixel": 1,
        "PixelRepresentation": 0,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": pixels,
    }
    for key, value in {**of_image, **values}.items():
        setattr(dataset, key, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


_DEFLATED = "1.2.840.10008.1.2.1.99"
_IN_SEQUENCES = struct.pack("<HH2sHI", 0x40, 0xA730, b"SQ", 0, 2**32 - 1)
_IN_SEQUENCES += struct.pack("<HHI", 0xFFFE, 0xE000, 2**32 - 1)
DICOM = {
    "huge": lambda: dicom(Rows=HUGE, Columns=HUGE),
    "large": lambda: dicom(Rows=LARGE, Columns=LARGE),
    "large and deep": lambda: dicom(Rows=LARGE, Columns=LARGE, BitsAllocated=64, BitsStored=64),
    "no rows": lambda: dicom(Rows=0),
    "many samples": lambda: dicom(SamplesPerPixel=60_000, PhotometricInterpretation="RGB"),
    "many frames": lambda: dicom(NumberOfFrames="1000000"),
    "negative frames": lambda: dicom(NumberOfFrames="-3"),
    "few pixels": lambda: dicom(pixels=bytes(99)),
    "deflated": lambda: dicom(_DEFLATED, pixels=bytes(100_000_000)),
    "deflated, of a length": lambda: dicom(_DEFLATED)[:-30],
    "no such colours": lambda: dicom(PhotometricInterpretation="MINE"),
    "no pixels": lambda: dicom()[:-270],
    "deep": lambda: dicom()[:-268] + _IN_SEQUENCES * 5_000,
    "a long element": lambda: dicom()[:-268] + struct.pack("<HH2sHI", 64, 1, b"OB", 0, 2**32 - 16),
    "cut within the header": lambda: dicom()[:200],
    "cut before it begins": lambda: dicom()[:100],
    "text": lambda: b"no image",
    "empty": lambda: b"",
    "another image": lambda: written(Image.fromarray(PIXELS), "PNG"),
    "no such syntax": lambda: dicom().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0"),
}


@pytest.mark.parametrize("kind", DICOM)
def test_dicom_that_is_not_read(tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (tmp_path / "mine.dcm").write_bytes(DICOM[kind]())
    refuse(tmp_path / "mine.dcm")


def test_dicom_that_is_deflated(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 1), np.uint8)
    (tmp_path / "mine.dcm").write_bytes(dicom(_DEFLATED, pixels.tobytes()))
    images = ImageFiles(tmp_path, np.array(["mine.dcm"]), (16, 16, 1), resize=False)
    np.testing.assert_array_equal(images.read(np.array([0]))[0], pixels)
