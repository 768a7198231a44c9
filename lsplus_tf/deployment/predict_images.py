"""Predict image files with a model that `lsplus-tf export` wrote, without lsplus_tf.

    python predict_images.py [--unreadable skip] MODEL IMAGES... > predictions.csv

MODEL is the folder of a SavedModel, which needs TensorFlow, or an ONNX file, which needs
onnxruntime; IMAGES are files, or folders of them. NumPy and Pillow 10.3 or later are needed too.
Images are read as in the training, and the CSV is that of `lsplus-tf predict`. DICOM files, and
images of more than 8 bits per channel, are refused; that command reads them. The first file that
cannot be read is the end of it; with --unreadable skip each is named on stderr and left out.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

_DESCRIPTION = "lsplus_tf.json"
_DICOM = (".dcm", ".dicom")
_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".gif"),
    *(".pgm", ".ppm"),
    *_DICOM,
)
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
_GREY_MODES = ("1", "L", "LA", "La")
_QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_PASSED_OVER = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    *("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information"),
    "lost+found",
}
_FORMULA = ("=", "+", "-", "@", "\t")  # what spreadsheets take for formulas begins so
_SEPARATORS = "|;/&"
_BATCH = 32
_SKIP = "--unreadable skip"


class RefusedError(ValueError):
    """What is wrong, in one line."""


# --- the model ------------------------------------------------------------------------------------


class Model:
    """An exported model, and what it says of itself.

    Parameters
    ----------
    path : str
        A SavedModel's folder, or an ONNX file.
    """

    def __init__(self, path: str) -> None:
        file = Path(path) / "assets.extra" / _DESCRIPTION
        if path.endswith(".onnx") and Path(path).is_file():
            import onnxruntime

            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            text = session.get_modelmeta().custom_metadata_map.get(_DESCRIPTION)
            if text is None:
                raise RefusedError(f"{path}: expected an ONNX file of lsplus-tf export")
            names = [output.name for output in session.get_outputs()]
            self._run = lambda pixels: dict(
                zip(names, session.run(names, {"pixels": pixels}), strict=True)
            )
        elif file.is_file():
            import tensorflow as tf

            text = file.read_text(encoding="utf-8")
            module = tf.saved_model.load(path)  # which its functions need
            self._run = lambda pixels: {
                name: each.numpy() for name, each in module.serve(tf.constant(pixels)).items()
            }
        else:
            raise RefusedError(
                f"{path}: expected the folder of a SavedModel, or an ONNX file, of lsplus-tf export"
            )
        self.description: dict[str, Any] = json.loads(text)

    def predict(self, images: list[Any]) -> dict[str, Any]:
        """The outputs by name for pixels (H, W, C)."""
        given = self._run(np.stack(images).astype(np.float32))
        if not np.isfinite(given["probabilities"]).all():
            raise RefusedError("the model gives numbers that are not finite")
        return given


# --- reading of images ----------------------------------------------------------------------------


def read_image(path: str, description: dict[str, Any]) -> Any:
    """Pixels (H, W, C), uint8, as in training; `RefusedError` for what it would not have had."""
    if path.lower().endswith(_DICOM):
        raise RefusedError("a DICOM file, which is not read here")
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise RefusedError("it has several frames or pages, expected one")
            if image.format == "TIFF":
                image.filename = ""  # or a plain file is mapped, with its sides exchanged if turned
            if _is_deep(image):
                raise RefusedError("more than 8 bits per channel, which are not read here")
            return _pixels(image, description)
    except RefusedError:
        raise
    except Exception as error:  # on broken bytes decoders stumble in all ways
        raise RefusedError(" ".join(str(error).split()) or type(error).__name__) from error


def _is_deep(image: Any) -> bool:
    """Whether an image, not loaded, is not of 8 bits 0..255."""
    if image.mode[0] in "IF":
        return True
    if image.format == "TIFF":
        tags = image.tag_v2
        if 2 in tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,)):
            return True
        if max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8:
            return True
    if image.format == "PPM":
        return any(isinstance(tile[3], tuple) and tile[3][1] > 255 for tile in image.tile)
    return any(";16" in str(tile[3]) for tile in image.tile)


def _pixels(image: Any, description: dict[str, Any]) -> Any:
    height, width, channels = description["image_shape"]
    file_format = image.format
    grey, nearest = image.mode in _GREY_MODES, description["interpolation"] == "nearest"
    if not description["convert"] and grey != (channels == 1):
        kinds = ("grey", "colour") if grey else ("colour", "grey")
        raise RefusedError(f"it is {kinds[0]}, not {kinds[1]} as in training")
    image = _flattened(image, description["background"])
    box = None
    if description["resize"]:
        if not nearest:  # a large JPEG is reduced while it is decoded
            reduced = image.draft(None, (width, height))
            box = None if reduced is None else reduced[1]
    else:
        size = image.size
        if file_format != "TIFF":  # which Pillow turns by itself
            turned = image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS
            size = size[::-1] if turned else size
        if size != (width, height):
            raise RefusedError(f"expected {width}x{height} pixels, not {size[0]}x{size[1]}")
    image = image.convert("L" if channels == 1 else "RGB")
    if description["resize"]:
        method = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
        image = image.resize((width, height), method, box)
    ImageOps.exif_transpose(image, in_place=True)
    array = np.asarray(image)
    return array[..., np.newaxis] if channels == 1 else array


def _flattened(image: Any, background: str | None) -> Any:
    """The image on the background, if it is transparent somewhere."""
    if not image.has_transparency_data:
        return image
    colours = image.convert("RGBA")
    alpha = colours.getchannel("A")
    if background is None and alpha.getextrema() != (255, 255):
        raise RefusedError(
            "it has transparent pixels, and no background is set: export with --background "
            "black or white, what belongs behind them"
        )
    mode = "L" if image.mode in _GREY_MODES else "RGB"
    flat = Image.new(mode, alpha.size, background or "black")
    flat.paste(colours.convert(mode), mask=alpha)
    flat.info["exif"] = image.info.get("exif", b"")  # how it is turned
    return flat


def find_images(inputs: list[str]) -> list[str]:
    """Files, and what has an image's suffix in folders and below them, in order, each once."""
    found: dict[str, None] = {}
    for given in inputs:
        if os.path.isdir(given):
            below = sorted(_below(given), key=lambda path: path.split("/"))
            found |= dict.fromkeys(str(Path(given, path)) for path in below)
        elif os.path.exists(given):
            found[str(Path(given))] = None
        else:
            raise RefusedError(f"images: expected files or folders, there is no {given}")
    if not found:
        raise RefusedError(f"images: no image file in {', '.join(inputs)}")
    return list(found)


def _below(root: str) -> list[str]:
    """Paths of images below a folder; links to folders are followed where nothing else leads."""
    found: list[str] = []
    seen: set[str] = set()
    waiting, links = [""], list[str]()
    while waiting or links:
        # Folders come before links to them, which then lead to what is seen.
        start = waiting.pop() if waiting else links.pop(0)
        real = os.path.realpath(os.path.join(root, start))
        if real in seen or any(f"{each}{os.sep}".startswith(f"{real}{os.sep}") for each in seen):
            continue
        seen.add(real)
        for entry in sorted(os.scandir(os.path.join(root, start)), key=lambda entry: entry.name):
            name = entry.name
            if name.startswith(".") or name.lower() in _PASSED_OVER:
                continue
            if os.path.isdir(entry.path):
                (links if entry.is_symlink() else waiting).append(f"{start}{name}/")
            elif name.lower().endswith(_SUFFIXES):
                found.append(f"{start}{name}")
    return found


# --- the CSV --------------------------------------------------------------------------------------


def neutral(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = text.replace("\r", " ")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def rows_of(files: list[str], given: dict[str, Any], class_names: list[str]) -> list[list[str]]:
    """The rows of the CSV, of a batch."""
    between = separator(class_names) if "set" in given else ""
    rows = []
    for row, file in enumerate(files):
        cells = [neutral(file), neutral(class_names[int(given["predicted"][row])])]
        cells.append(f"{given['confidence'][row]:.8g}")
        cells.append("yes" if given["abstained"][row] else "no")
        if "set" in given:
            inside = [
                name for name, each in zip(class_names, given["set"][row], strict=True) if each
            ]
            cells.append(neutral(between.join(inside)))
        rows.append([*cells, *(f"{each:.8g}" for each in given["probabilities"][row])])
    return rows


def separator(class_names: list[str]) -> str:
    """What stands between the classes of a set: a character that no class name has."""
    for each in _SEPARATORS:
        if not any(each in name for name in class_names):
            return each
    raise RefusedError(f"no character of {_SEPARATORS} is in no class name, to stand between them")


def _printable(text: str) -> str:
    """The text with control characters escaped, so that no name of a file steers a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def main(arguments: list[str]) -> int:
    """Print the CSV of image files; 2 if something is wrong, which is then said in one line."""
    skip = arguments[:2] == ["--unreadable", "skip"]
    if skip:
        arguments = arguments[2:]
    if len(arguments) < 2 or arguments[0].startswith("--"):
        print(f"usage: predict_images.py [{_SKIP}] MODEL IMAGES...", file=sys.stderr)
        return 2
    try:
        files = find_images(arguments[1:])
        model = Model(arguments[0])
        names = model.description["class_names"]
        rows = []
        for start in range(0, len(files), _BATCH):
            read = {}
            for file in files[start : start + _BATCH]:
                try:
                    read[file] = read_image(file, model.description)
                except RefusedError as error:
                    if not skip:
                        raise RefusedError(f"{file}: {error}; mend it, or give {_SKIP}") from error
                    print(_printable(f"skipped {file}: {error}"), file=sys.stderr)
            if read:
                rows += rows_of([*read], model.predict([*read.values()]), names)
        if not rows:
            raise RefusedError("images: none can be read")
    except (RefusedError, OSError, ImportError) as error:
        print(f"error: {_printable(str(error))}", file=sys.stderr)
        return 2
    headings = ["file", "predicted", "confidence", "abstained"]
    headings += ["set"] * (model.description["sets"] is not None)
    headings += [f"probability_{name}" for name in names]
    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
    csv.writer(sys.stdout).writerows([headings, *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
