"""Formats of image files, more than 8 bits, DICOM, and files that are broken in every way."""

from __future__ import annotations

import builtins
import contextlib
import io
import struct
import warnings
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lsplus_tf.config import Dataset, Scaling
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.check import check_dataset
from lsplus_tf.datasets.defects import drop_defects
from lsplus_tf.datasets.image_files import (
    READ_ERRORS,
    decode,
    decode_whole,
    read_header,
)
from lsplus_tf.datasets.loading import list_files
from lsplus_tf.deployment import find_images
from lsplus_tf.errors import InputError

pydicom = pytest.importorskip("pydicom")
WINDOW = Scaling(window=(40, 400))


def noise(*shape: int, high: int = 256, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape, dtype=dtype)


def spread(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Limits to grey levels, in exact fractions."""
    levels, where = np.unique(values, return_inverse=True)
    low, high = Fraction(float(low)), Fraction(float(high))
    exact = (255 * (Fraction(float(level)) - low) / (high - low) for level in levels)
    return np.array([round(min(max(x, 0), 255)) for x in exact], np.uint8)[where]


# --- formats of 8 bits ----------------------------------------------------------------------------

LOSSLESS = ("png", "tif", "tiff", "bmp", "webp", "ppm")
LOSSY = ("jpg", "jpeg", "jpe", "jfif")


def save(path: Path, image: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".jpe": "JPEG", ".jfif": "JPEG", ".pgm": "PPM"}.get(path.suffix.lower())
    image.save(path, format=kind, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


@pytest.mark.parametrize("suffix", [*LOSSLESS, *LOSSY, "pgm", "gif", "TIF"])
def test_every_format_of_8_bits(tmp_path, suffix):
    grey = suffix in ("pgm", "gif")
    pixels = noise(9, 7) if grey else noise(9, 7, 3)
    path = save(tmp_path / f"a/1.{suffix}", Image.fromarray(pixels))
    found = decode(path, channels=1 if grey else 3)
    if suffix in LOSSY:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="JPEG")
        pixels = np.asarray(Image.open(stream))
    np.testing.assert_array_equal(found, pixels[..., None] if grey else pixels)
    save(tmp_path / f"b/1.{suffix}", Image.fromarray(pixels))
    assert list_files(f"folder:{tmp_path}").ids.tolist() == [f"a/1.{suffix}", f"b/1.{suffix}"]
    assert find_images([tmp_path]) == ([tmp_path / f"{c}/1.{suffix}" for c in "ab"], 0)


def test_content_decides_and_not_the_name(tmp_path):
    pixels = noise(5, 4)
    save(tmp_path / "one.bmp", Image.fromarray(pixels)).rename(tmp_path / "one.png")
    np.testing.assert_array_equal(decode(tmp_path / "one.png", channels=1)[..., 0], pixels)
    # What another program would have to decode is not passed on to it.
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n%%EndComments\nshowpage\n"
    (tmp_path / "two.png").write_bytes(eps)
    assert Image.open(tmp_path / "two.png").format == "EPS"
    with pytest.raises(READ_ERRORS, match="cannot identify"):
        decode(tmp_path / "two.png", channels=1)


@pytest.mark.parametrize("suffix", ["gif", "tif", "webp", "png"])
def test_several_frames_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(noise(8, 8, 3, seed=seed)) for seed in range(3)]
    for name in ("a/1", "b/2"):
        save(tmp_path / f"{name}.{suffix}", frames[0])
    path = tmp_path / f"a/0.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    said = r"it has several frames or pages, expected one"
    with pytest.raises(InputError, match=rf"1 unreadable image: a/0\.{suffix} \({said}"):
        load_dataset(f"folder:{tmp_path}", channels=3)
    report = check_dataset(list_files(f"folder:{tmp_path}"))
    (problem,) = [p for p in report.problems if p.problem == "unreadable"]
    assert problem.file == f"a/0.{suffix}"


def test_a_photograph_with_a_preview_behind_it_is_one_image(tmp_path):
    """As telephones write them."""
    pixels = noise(16, 16, 3)
    preview = Image.fromarray(noise(8, 8, 3, seed=1))
    path = tmp_path / "1.jpg"
    Image.fromarray(pixels).save(path, format="MPO", save_all=True, append_images=[preview])
    with Image.open(path) as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
        expected = np.asarray(image)
    np.testing.assert_array_equal(decode(path, channels=3), expected)


def test_a_tiff_is_turned_once(tmp_path):
    pixels = noise(9, 7)
    for suffix, deep in (("tif", False), ("tif", True), ("png", True), ("webp", False)):
        image = Image.fromarray(pixels.astype(np.uint16) if deep else pixels)
        exif = Image.Exif()
        exif[0x0112] = 6  # shown after a quarter turn clockwise
        image = image if suffix != "webp" else image.convert("RGB")
        options = {"lossless": True} if suffix == "webp" else {}
        image.save(tmp_path / f"one.{suffix}", exif=exif, **options)
        found = decode(tmp_path / f"one.{suffix}", channels=1, scaling=Scaling(range=(0, 255)))
        np.testing.assert_array_equal(found[..., 0], np.rot90(pixels, -1))
        assert read_header(tmp_path / f"one.{suffix}", size_matters=True).size == (9, 7)


# --- transparent pixels ---------------------------------------------------------------------------

RGBA = noise(6, 5, 4, seed=3)
HIDDEN = {"black": 0, "white": 255}


def with_alpha(kind: str, alpha: np.ndarray) -> Image.Image:
    """Images of all kinds that can be transparent, from the same colours."""
    colour = Image.fromarray(RGBA[..., :3])
    if kind == "palette":
        return colour.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    if kind == "colour key":
        return colour
    image = colour if kind == "colour" else Image.fromarray(RGBA[..., 0])
    image.putalpha(Image.fromarray(alpha))
    return image


def over(pixels: np.ndarray, alpha: np.ndarray, background: str) -> np.ndarray:
    """Porter and Duff's "over": each pixel as much of the image as it is opaque."""
    alpha = alpha[..., None] / 255
    return alpha * pixels + (1 - alpha) * HIDDEN[background]


@pytest.mark.parametrize("background", HIDDEN)
@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        *((kind, suffix) for kind in ("colour", "grey") for suffix in ("png", "tif", "webp")),
        *(("palette", "png"), ("colour key", "png")),
    ],
)
def test_transparent_pixels_show_the_background(tmp_path, kind, suffix, background):
    alpha = RGBA[..., 3]
    image = with_alpha(kind, alpha)
    path, options = tmp_path / f"a.{suffix}", {"lossless": True, "exact": True}
    if kind == "palette":
        shown = np.asarray(image.convert("RGB"))
        alpha = np.where(np.asarray(image) == 2, 0, 255).astype(np.uint8)
        options = {"transparency": 2}
    elif kind == "colour key":
        shown = RGBA[..., :3]
        alpha = np.full((6, 5), 255, np.uint8)
        alpha[2, 3] = 0
        options = {"transparency": tuple(RGBA[2, 3, :3].tolist())}
    else:
        shown = RGBA[..., :3] if kind == "colour" else np.repeat(RGBA[..., :1], 3, axis=2)
    image.save(path, **options)
    with pytest.raises(ValueError, match=r"^transparent pixels, and no background is set$"):
        decode(path, channels=3)
    found = decode(path, channels=3, background=background)
    np.testing.assert_allclose(found, over(shown, alpha, background), atol=0.51)
    whole = decode_whole(path, background=background)
    np.testing.assert_array_equal(np.asarray(whole.picture.convert("RGB")), found)
    assert not whole.transparent
    assert decode_whole(path).transparent


@pytest.mark.parametrize("kind", ["colour", "grey"])
def test_an_alpha_channel_that_is_opaque_is_dropped(tmp_path, kind):
    with_alpha(kind, np.full((6, 5), 255, np.uint8)).save(tmp_path / "a.png")
    with_alpha(kind, np.full((6, 5), 255, np.uint8)).convert(
        "RGB" if kind == "colour" else "L"
    ).save(tmp_path / "b.png")
    for channels in (1, 3):
        found, expected = (decode(tmp_path / f"{k}.png", channels=channels) for k in "ab")
        np.testing.assert_array_equal(found, expected)


def test_a_faint_image_is_turned_upright_and_stretched_on_its_background(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    faint = with_alpha("colour", RGBA[..., 3]).resize((64, 48))
    faint.save(tmp_path / "faint.png", exif=exif)
    flat = Image.new("RGBA", faint.size, "white")
    flat.alpha_composite(faint)
    flat.convert("RGB").save(tmp_path / "flat.png", exif=exif)
    for size in (None, 16):
        found, expected = (
            decode(tmp_path / f"{name}.png", channels=3, image_size=size, background="white")
            for name in ("faint", "flat")
        )
        np.testing.assert_allclose(found, expected, atol=1)


def test_a_background_is_part_of_the_data_set_and_of_its_caches(tmp_path):
    for k in range(40):
        image = Image.fromarray(noise(8, 8, 4, seed=k))
        save(tmp_path / "images" / "ab"[k % 2] / f"{k}.png", image)
    name, cache = f"folder:{tmp_path / 'images'}", {"cache_dir": tmp_path / "cache"}
    found = {
        (background, where): load_dataset(name, background=background, cache=where, **cache)
        for background in ("black", "white")
        for where in ("memory", "disk", "none")
    }
    for background in ("black", "white"):
        cached = found[background, "memory"].train.images
        np.testing.assert_array_equal(found[background, "disk"].train.images, cached)
        files = found[background, "none"].train.images
        np.testing.assert_array_equal(files.read(np.arange(len(files))), cached)
    black, white = (found[key, "memory"].train.images for key in ("black", "white"))
    assert (black < white).any()
    with pytest.raises(InputError, match="background: expected none for 'digits'"):
        load_dataset("digits", background="white")


# --- more than 8 bits -----------------------------------------------------------------------------


def tiff(path: Path, pixels: np.ndarray, *, photometric: int = 1, sample: int = 1) -> Path:
    """An uncompressed grey TIFF, byte by byte."""
    height, width = pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    bits = pixels.dtype.itemsize * 8
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, samples), (278, 4, 1, height),
        (279, 4, 1, len(data)), (339, 3, 1, sample),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory)
    return path


DEEP = {
    "uint16 png": (lambda p, v: Image.fromarray(v.astype(np.uint16)).save(p), "png", (0, 4096)),
    "uint16 tiff": (lambda p, v: tiff(p, v.astype(np.uint16)), "tif", (0, 65536)),
    "big-endian tiff": (
        lambda p, v: Image.fromarray(v.astype(">u2")).save(p, compression="tiff_lzw"),
        "tif",
        (0, 65536),
    ),
    "white is zero": (
        lambda p, v: tiff(p, v.astype(np.uint16), photometric=0), "tif", (0, 65536),
    ),
    "int16 tiff": (lambda p, v: tiff(p, v.astype(np.int16), sample=2), "tif", (-2000, 3000)),
    "int8 tiff": (lambda p, v: tiff(p, v.astype(np.int8), sample=2), "tif", (-128, 128)),
    "uint32 tiff": (lambda p, v: tiff(p, v.astype(np.uint32)), "tif", (0, 2**32)),
    "int32 tiff": (lambda p, v: tiff(p, v.astype(np.int32), sample=2), "tif", (-(2**31), 2**31)),
    "float tiff": (lambda p, v: tiff(p, v.astype(np.float32), sample=3), "tif", (-1000, 1000)),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEEP)
def test_grey_of_more_than_8_bits(tmp_path, kind):
    write, suffix, (low, high) = DEEP[kind]
    values = np.random.default_rng(1).integers(low, high, (12, 9))
    path = tmp_path / f"one.{suffix}"
    write(path, values)
    with pytest.raises(ValueError, match="more than 8 bits per channel"):
        decode(path, channels=1)
    header = read_header(path, size_matters=True)
    assert (header.size, header.grey, header.deep) == ((9, 12), True, True)
    third, width = low + (high - low) // 3, (high - low) // 2
    cut = np.percentile(values, [5, 90])
    for scaling, limits in (
        (Scaling(window=(third, width)), (third - width / 2, third + width / 2)),
        (Scaling(range=(low, high - 1)), (low, high - 1)),
        (Scaling(percentiles=(5, 90)), cut),
    ):
        expected = spread(values.astype(np.float64), *limits).astype(int)
        if kind == "white is zero":
            expected = 255 - expected
        found = decode(path, channels=1, scaling=scaling)[..., 0].astype(int)
        np.testing.assert_array_equal(found, expected)
        in_colour = decode(path, channels=3, scaling=scaling)
        np.testing.assert_array_equal(in_colour, np.repeat(found[..., None], 3, axis=2))
    small = decode(path, channels=1, scaling=scaling, image_size=6)
    whole = Image.fromarray(found.astype(np.uint8))
    resized = whole.resize((6, 6), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(small[..., 0], np.asarray(resized))


def test_limits_are_rounded_and_cut():
    from lsplus_tf.datasets.images import to_8_bits

    values = np.array([-1000.0, -160, -159, 40, 239.9, 240, 3000])
    assert to_8_bits(values, WINDOW).tolist() == [0, 0, 1, 128, 255, 255, 255]
    even = np.full((3, 3), 7.0)
    assert to_8_bits(even, Scaling(percentiles=(1, 99))).max() == 0


def write_png_of_16_bits(path: Path, channels: int) -> Path:
    """16-bit colour, which Pillow does not write."""
    rows = noise(6, 5 * channels, high=65536, dtype=np.uint16).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", 5, 6, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize("channels", [2, 3, 4, "tiff", "pgm", "ppm"])
def test_what_pillow_cuts_stays_refused(tmp_path, channels):
    if channels == "tiff":
        path = tiff(tmp_path / "a.tif", noise(6, 5, 3, high=65536, dtype=np.uint16), photometric=2)
    elif channels == "pgm":
        path = tmp_path / "a.pgm"
        path.write_bytes(b"P5 5 6 4095\n" + noise(6, 5, high=4096, dtype=np.uint16).tobytes())
    elif channels == "ppm":
        path = tmp_path / "a.ppm"
        path.write_bytes(b"P6 5 6 65535\n" + noise(6, 5, 3, high=65536, dtype=np.uint16).tobytes())
    else:
        path = write_png_of_16_bits(tmp_path / "a.png", channels)
    with pytest.raises(ValueError, match="more than 8 bits per channel, scaled only of grey"):
        decode(path, channels=3, scaling=WINDOW)
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"has more \(2 such files\); convert them to 8 bits$"):
        load_dataset(f"folder:{tmp_path / 'set'}", scaling=WINDOW, channels=3)
    # Pillow gives a part of the bits: the same part does not make two images the same.
    files = list_files(f"folder:{tmp_path / 'set'}")
    for scaling in (None, WINDOW):
        kinds = [p.problem for p in check_dataset(files, scaling=scaling).problems]
        assert kinds[-2:] == ["more than 8 bits, never scaled"] * 2
        assert "more than 8 bits" not in kinds
    assert drop_defects(files, ["duplicates"], scaling=WINDOW)[1] == {"duplicates": []}


def test_dicom_files_are_cached_on_disk(tmp_path):
    for name in "ab":
        for i in range(5):
            write_dicom(tmp_path / f"set/{name}/{i}.dcm", noise(6, 5, seed=10 * (name == "a") + i))
    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    for _ in range(2):
        train = load_dataset(f"folder:{tmp_path / 'set'}", **options).train
        for image, key in zip(train.images, train.ids, strict=True):
            stored = pydicom.dcmread(tmp_path / "set" / key).PixelData
            assert image.tobytes() == stored


@pytest.fixture
def deep_folder(tmp_path):
    for k, part in enumerate(("train", "validation", "test")):
        for name in ("a", "b"):
            for i in range(3):
                seed = 100 * k + 10 * (name == "b") + i
                path = tmp_path / f"set/{part}/{name}/{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(noise(8, 8, high=4096, dtype=np.uint16, seed=seed)).save(path)
    return tmp_path / "set"


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_data_sets_are_scaled_however_they_are_cached(deep_folder, cache):
    name = f"folder:{deep_folder}"
    options = {"cache": cache, "cache_dir": deep_folder.parent / "cache"}
    plain = r"0\.png has more \(18 such files\); set dataset\.scaling, or convert them to 8 bits$"
    with pytest.raises(InputError, match=plain):
        load_dataset(name, **options)
    for low, high in ((0, 4095), (1000, 2000)):  # another scaling is another cache
        train = load_dataset(name, scaling={"range": [low, high]}, **options).train
        images = train.images.read(np.arange(6)) if cache == "none" else train.images
        for image, key in zip(images, train.ids, strict=True):
            values = np.asarray(Image.open(deep_folder / key)).astype(float)
            np.testing.assert_array_equal(image[..., 0], spread(values, low, high))


def test_files_of_8_bits_are_not_scaled(deep_folder):
    pixels = noise(8, 8)
    Image.fromarray(pixels).save(deep_folder / "train/a/0.png")
    train = load_dataset(f"folder:{deep_folder}", scaling={"percentiles": [0, 50]}).train
    np.testing.assert_array_equal(train.images[0, ..., 0], pixels)
    report = check_dataset(list_files(f"folder:{deep_folder}"), scaling=WINDOW)
    assert {"8 and more bits mixed": "1 image of 8 bits, 17 of more"}.items() <= {
        p.problem: p.detail for p in report.problems
    }.items()
    kinds = [p.problem for p in check_dataset(list_files(f"folder:{deep_folder}")).problems]
    assert kinds.count("more than 8 bits") == 17


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        ({}, "expected one of window, range and percentiles, received none"),
        ({"window": [0, 1], "range": [0, 1]}, "expected one of .* received 2"),
        ({"range": [5, 5]}, r"range: expected \[low, high\], received \[5"),
        ({"percentiles": [0, 101]}, r"percentiles.*at most 100"),
        ({"window": [40, 0]}, r"window.*more than 0"),
        ({"windows": [40, 1]}, "windows: unknown key, did you mean 'window'"),
        ({"range": "9,2"}, r"range: expected \[low, high\], received \[9"),
        (
            {"window": [40, 400, 3]},
            r"scaling\.window: expected two numbers, as \[40,400\], received",
        ),
        ({"window": "40"}, r"scaling\.window: expected two numbers, as \[40,400\], received 40$"),
        ("window=a,b", r"scaling\.window: expected two numbers, as \[40,400\], received a,b$"),
        ("window=", r"scaling\.window: expected two numbers, as \[40,400\], received ''$"),
        (7, "scaling: expected a key and two numbers, as window=40,400, received 7$"),
        ("40,400", "scaling: expected a key and two numbers, as window=40,400, received 40,400$"),
    ],
)
def test_a_scaling_says_one_thing(scaling, said):
    with pytest.raises(InputError, match=said):
        load_dataset("folder:nowhere", scaling=scaling)


@pytest.mark.parametrize("given", ["window=40,400", {"window": "40,400"}, {"window": "[40, 400]"}])
def test_a_scaling_may_be_text(given):
    assert Dataset(name="x", scaling=given).scaling == Scaling(window=(40, 400))


def test_a_scaling_of_what_is_no_list_of_files():
    with pytest.raises(InputError, match="scaling: expected none for 'digits'"):
        load_dataset("digits", scaling={"range": [0, 1]})


# --- DICOM ----------------------------------------------------------------------------------------


def write_dicom(path: Path, pixels: np.ndarray, photometric: str = "MONOCHROME2", **tags) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.PhotometricInterpretation = photometric
    dataset.SamplesPerPixel = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for key, value in tags.items():
        setattr(dataset, key, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def bundled(name: str) -> str:
    found = pydicom.data.get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"pydicom has no {name}")
    return str(found)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_a_window_of_hounsfield_units(tmp_path, photometric):
    stored = noise(7, 5, high=4096, dtype=np.uint16)
    path = write_dicom(
        tmp_path / "1.dcm", stored, photometric, RescaleSlope=2, RescaleIntercept=-1024
    )
    expected = spread(2.0 * stored - 1024, -160, 240)
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    np.testing.assert_array_equal(decode(path, channels=1, scaling=WINDOW)[..., 0], expected)
    with pytest.raises(ValueError, match="more than 8 bits per channel"):
        decode(path, channels=1)


def test_a_negative_is_no_copy(tmp_path):
    stored = noise(7, 5, high=4096, dtype=np.uint16)
    for name, photometric in (("a", "MONOCHROME2"), ("b", "MONOCHROME1"), ("c", "MONOCHROME1")):
        write_dicom(tmp_path / "x" / f"{name}.dcm", stored, photometric)
    write_dicom(tmp_path / "y" / "d.dcm", stored + np.uint16(1))
    _, dropped = drop_defects(list_files(f"folder:{tmp_path}"), ["duplicates"], scaling=WINDOW)
    assert dropped["duplicates"] == ["x/c.dcm"]


@pytest.mark.parametrize("of", ["Shared", "PerFrame"])
def test_the_rescale_of_an_enhanced_file_is_in_its_groups(tmp_path, of):
    stored = noise(7, 5)  # of 8 bits, which without it need no scaling
    rescale, group = pydicom.Dataset(), pydicom.Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, -200
    group.PixelValueTransformationSequence = [rescale]
    path = write_dicom(
        tmp_path / "1.dcm",
        stored,
        NumberOfFrames=1,
        **{f"{of}FunctionalGroupsSequence": [group]},
    )
    found = decode(path, channels=1, scaling=WINDOW)[..., 0]
    np.testing.assert_array_equal(found, spread(2.0 * stored - 200, -160, 240))
    with pytest.raises(ValueError, match="more than 8 bits per channel"):
        decode(path, channels=1)


def test_the_ct_slice_that_comes_with_pydicom():
    path = Path(bundled("CT_small.dcm"))
    # Its own numbers: 128x128 signed, slope 1, intercept -1024, and the bytes at the end.
    dataset = pydicom.dcmread(path)
    stored = np.frombuffer(dataset.PixelData, "<i2").reshape(128, 128)
    assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (1, -1024)
    found = decode(path, channels=1, scaling=WINDOW)[..., 0]
    np.testing.assert_array_equal(found, spread(stored - 1024.0, -160, 240))
    assert len(np.unique(found)) > 50


def test_the_mr_slice_that_comes_with_pydicom():
    path = Path(bundled("MR_small.dcm"))
    dataset = pydicom.dcmread(path)
    stored = np.frombuffer(dataset.PixelData, "<i2").reshape(dataset.Rows, dataset.Columns)
    limits = np.percentile(stored, [1, 99])
    found = decode(path, channels=1, scaling=Scaling(percentiles=(1, 99)))[..., 0]
    np.testing.assert_array_equal(found, spread(stored.astype(float), *limits))


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1", "RGB"])
def test_dicom_of_8_bits_needs_no_scaling(tmp_path, photometric):
    pixels = noise(7, 5, 3) if photometric == "RGB" else noise(7, 5)
    path = write_dicom(tmp_path / "1.dicom", pixels, photometric)
    found = decode(path, channels=3 if photometric == "RGB" else 1, scaling=WINDOW)
    expected = 255 - pixels if photometric == "MONOCHROME1" else pixels
    np.testing.assert_array_equal(found, expected.reshape(found.shape))
    # Rescaled, they are no grey levels any more.
    if photometric == "MONOCHROME2":
        write_dicom(path, pixels, photometric, RescaleSlope=1, RescaleIntercept=-100)
        with pytest.raises(ValueError, match="more than 8 bits"):
            decode(path, channels=1)
        found = decode(path, channels=1, scaling=Scaling(range=(-100, 155)))
        np.testing.assert_array_equal(found[..., 0], pixels)


def test_dicom_colours_become_rgb(tmp_path):
    rgb = np.repeat(noise(4, 4, 3), 8, axis=1)
    ycbcr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    path = write_dicom(tmp_path / "1.dcm", ycbcr, "YBR_FULL")
    assert np.abs(decode(path, channels=3).astype(int) - rgb).max() <= 3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["SC_ybr_full_422_uncompressed", "SC_rgb_dcmtk_+eb+cy+np", "SC_rgb_rle"]
)
def test_the_colour_bars_that_come_with_pydicom(name):
    """Red, green, blue, black and white, however they are coded."""
    found = decode(Path(bundled(f"{name}.dcm")), channels=3).astype(int)
    bars = {5: (255, 0, 0), 25: (0, 255, 0), 45: (0, 0, 255), 65: (0, 0, 0), 95: (255, 255, 255)}
    for row, colour in bars.items():
        assert np.abs(found[row, 50] - colour).max() <= 6


@pytest.mark.filterwarnings("ignore")
def test_every_file_that_comes_with_pydicom_is_read_or_refused():
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    read = 0
    for path in sorted(folder.glob("*.dcm")):
        with contextlib.suppress(*READ_ERRORS):
            image = decode(path, channels=1, image_size=16, scaling=Scaling(percentiles=(1, 99)))
            read += 1
            assert image.std() > 0, path
    assert read > 20


def test_what_dicom_files_cannot_be(tmp_path):
    grey = noise(6, 5)
    files = {
        "frames": write_dicom(tmp_path / "1.dcm", np.stack([grey, grey])[:, :, :1].reshape(2, 6),
                              NumberOfFrames=2),
        "PALETTE COLOR": write_dicom(tmp_path / "2.dcm", grey, "PALETTE COLOR"),
        "without an image": write_dicom(tmp_path / "3.dcm", grey, Rows=None),
        "not the lowest": write_dicom(tmp_path / "4.dcm", grey.astype(np.uint16),
                                      BitsStored=12, HighBit=15),
    }  # fmt: skip
    dataset = pydicom.dcmread(files["without an image"])
    del dataset.Rows, dataset.PixelData
    dataset.save_as(files["without an image"])
    for said, path in files.items():
        with pytest.raises(READ_ERRORS, match=said):
            read_header(path, size_matters=True)
        with pytest.raises(READ_ERRORS, match=said):
            decode(path, channels=1, scaling=WINDOW)


def test_a_missing_decoder_is_named(tmp_path):
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGLSLossless

    path = write_dicom(tmp_path / "1.dcm", noise(6, 5, high=4096, dtype=np.uint16))
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    if pydicom.pixels.get_decoder(JPEGLSLossless).is_available:
        pytest.skip("its decoder is installed")
    with pytest.raises(ValueError, match=r"JPEG-LS Lossless.*: pip install pyjpegls"):
        decode(path, channels=1, scaling=WINDOW)


def test_without_pydicom_one_line_says_what_to_install(tmp_path, monkeypatch):
    for name in ("a", "b"):
        for i in range(4):
            write_dicom(tmp_path / f"set/{name}/{i}.dcm", noise(6, 6, seed=i))
    dataset = load_dataset(f"folder:{tmp_path / 'set'}")
    assert dataset.image_shape == (6, 6, 1)
    plain = builtins.__import__

    def without(name: str, *rest):
        if name.partition(".")[0] == "pydicom":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    said = r'a/0\.dcm: DICOM files need .* pip install "lsplus_tf\[dicom\]"$'
    for action in (
        lambda: load_dataset(f"folder:{tmp_path / 'set'}"),
        lambda: check_dataset(list_files(f"folder:{tmp_path / 'set'}")),
    ):
        with pytest.raises(InputError, match=said):
            action()


# --- broken files ---------------------------------------------------------------------------------


def whole_files(folder: Path) -> dict[str, bytes]:
    """A sound file of every kind."""
    files = {}
    image = Image.fromarray(noise(40, 30, 3))
    for suffix in (".png", ".jpg", ".tif", ".bmp", ".webp", ".gif", ".ppm", ".dcm"):
        path = folder / f"whole{suffix}"
        if suffix == ".dcm":
            write_dicom(path, noise(40, 30, high=4096, dtype=np.uint16))
        else:
            save(path, image)
        files[suffix] = path.read_bytes()
    Image.fromarray(noise(40, 30, 3)).save(folder / "lzw.tif", compression="tiff_lzw")
    files[".lzw.tif"] = (folder / "lzw.tif").read_bytes()
    Image.fromarray(noise(40, 30, high=4096, dtype=np.uint16)).save(folder / "deep.png")
    files[".deep.png"] = (folder / "deep.png").read_bytes()
    return files


def corpus(folder: Path) -> list[Path]:
    """Files that are cut short at many places, or have bytes that are not theirs."""
    written = []

    def write(name: str, data: bytes) -> None:
        written.append(folder / name)
        written[-1].write_bytes(data)

    rng = np.random.default_rng(0)
    sound = folder / "sound"
    sound.mkdir()
    for suffix, data in whole_files(sound).items():
        for k, share in enumerate((0.0, 0.01, 0.1, 0.3, 0.6, 0.99)):
            write(f"cut{k}{suffix}", data[: int(share * len(data))])
        for k in range(10):
            hurt = np.frombuffer(data, np.uint8).copy()
            places = rng.integers(0, min(400, len(hurt)) if k % 2 else len(hurt), 1 + 3 * k)
            hurt[places] = rng.integers(0, 256, len(places))
            write(f"hurt{k}{suffix}", hurt.tobytes())
        write(f"noise{suffix}", rng.bytes(500))
        write(f"text{suffix}", b"no image\n" * 50)
        other = ".png" if suffix != ".png" else ".dcm"
        write(f"wrong_suffix{suffix.replace('.', '_')}{other}", data)
        (folder / f"folder{suffix}").mkdir()
        written.append(folder / f"folder{suffix}")
    small = io.BytesIO()
    Image.new("1", (8, 8)).save(small, format="PNG")
    header = b"IHDR" + struct.pack(">II", 40_000, 40_000) + small.getvalue()[24:29]
    bomb = small.getvalue()[:12] + header + struct.pack(">I", zlib.crc32(header))
    (folder / "bomb.png").write_bytes(bomb + small.getvalue()[33:])
    write_dicom(folder / "bomb.dcm", noise(6, 6), Rows=60_000, Columns=60_000)
    return [*written, folder / "bomb.png", folder / "bomb.dcm", folder / "missing.png"]


@pytest.mark.filterwarnings("ignore")
def test_broken_files_are_unreadable_and_nothing_else(tmp_path):
    refused = 0
    paths = corpus(tmp_path)
    for path in paths:
        for action in (
            lambda path=path: read_header(path, size_matters=True),
            lambda path=path: decode(path, channels=1, image_size=8, scaling=WINDOW),
            lambda path=path: decode_whole(path, None),
        ):
            try:
                action()
            except READ_ERRORS:
                refused += 1
    assert refused > len(paths)  # and the rest is an image still
    with pytest.raises(Image.DecompressionBombError):
        decode(tmp_path / "bomb.png", channels=1)
    with pytest.raises(ValueError, match="implausibly large"):
        decode(tmp_path / "bomb.dcm", channels=1)


@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_broken_files_is_told_in_a_line(tmp_path):
    (tmp_path / "set").mkdir()
    corpus(tmp_path / "set")
    (tmp_path / "set/sound").rename(tmp_path / "set/a")
    (tmp_path / "set/b").mkdir()
    for path in (tmp_path / "set").iterdir():
        if path.is_file():
            path.rename(tmp_path / "set/b" / path.name)
    for path in (tmp_path / "set").iterdir():
        if path.name.startswith("folder"):
            path.rmdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = list_files(f"folder:{tmp_path / 'set'}")
        report = check_dataset(files)
        unreadable = [p for p in report.problems if p.problem == "unreadable"]
        assert len(unreadable) > 100
        assert all(p.detail and "\n" not in p.detail for p in unreadable)
        with pytest.raises(InputError, match="unreadable images: ") as error:
            load_dataset(f"folder:{tmp_path / 'set'}", scaling=WINDOW, image_size=8, channels=1)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\nsize 9\n",
            "pointer of Git LFS.*git lfs pull",
        ),
    ],
)
def test_a_file_without_an_image_says_what_it_is(tmp_path, data, why):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(READ_ERRORS, match=why):
        decode(tmp_path / "a.png", channels=1)
