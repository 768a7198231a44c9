"""Image files to calibrated probabilities."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsplus_tf.calibrators import Calibrator
from lsplus_tf.datasets import dicom
from lsplus_tf.datasets.finding import check_encoding, find_below, said_of_dicom
from lsplus_tf.datasets.image_files import (
    MORE_THAN_8_BITS,
    NEVER_SCALED,
    READ_ERRORS,
    SUFFIXES,
    TRANSPARENT,
    Header,
    ImageFiles,
    read_header,
)
from lsplus_tf.deployment.model import TrainedModel, check_calibrator
from lsplus_tf.errors import InputError, MissingDataError, one_line
from lsplus_tf.files import expanded
from lsplus_tf.predictions import Predictions

_PREPARED = 3  # batches that are decoded ahead, at most


@dataclass(frozen=True)
class PredictedBatch:
    """What was predicted of the files that could be read, and why others of `size` could not.

    Attributes
    ----------
    predictions : Predictions or None
        Without labels; the ids are the files. None where nothing was predicted.
    unreadable : dict of Path to str
    size : int
        Files in the batch.
    remedies : dict of Path to list of str
        Options of `open_model` that make an unreadable file readable, such as "channels=3".

    Examples
    --------
    >>> why = {Path("b.png"): "cannot identify image file"}
    >>> batch = PredictedBatch(Predictions(None, [[0.9, 0.1]], ids=["a.png"]), why, size=2)
    >>> len(batch.predictions) + len(batch.unreadable) == batch.size
    True
    """

    predictions: Predictions | None
    unreadable: dict[Path, str]
    size: int
    remedies: dict[Path, list[str]] = field(default_factory=dict)


def find_images(inputs: Sequence[str | Path]) -> tuple[list[Path], int]:
    """The image files of folders, with all below them, and of files, each once.

    Parameters
    ----------
    inputs : sequence of str or Path

    Returns
    -------
    tuple of (list of Path, int)
        The paths, those of a folder in alphabetical order, and how many other files were left out.
        What starts with a dot is passed over, and what systems put there, such as Thumbs.db.

    Raises
    ------
    InputError
        Nothing there, no image in it, or a name that is not UTF-8.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.png", "a.jpg", "notes.txt"):
    ...     (folder / name).touch()
    >>> files, others = find_images([folder])
    >>> [file.name for file in files], others
    (['a.jpg', 'b.png'], 1)
    """
    found: dict[Path, None] = {}
    others, dicom_hint = 0, ""
    for given in (expanded(each, "images") for each in inputs):
        check_encoding(given)
        if given.is_dir():
            below = find_below(given)
            others += len(below.others)
            dicom_hint = dicom_hint or said_of_dicom(given, below.others)
            found |= dict.fromkeys(given / image for image in below.images)
        elif given.is_file():
            found[given] = None
        elif given.exists():
            raise InputError(f"images: expected files or folders, {given} is a device or pipe")
        else:
            raise MissingDataError(f"images: expected files or folders, there is no {given}")
    if not found:
        where = ", ".join(map(str, inputs))
        raise InputError(
            f"images: no {', '.join(SUFFIXES)} file in {where} ({others} others){dicom_hint}"
        )
    return list(found), others


def predict_files(
    trained: TrainedModel,
    files: Sequence[str | Path],
    *,
    calibrator: Calibrator | None = None,
    batch_size: int = 32,
    stop_at_unreadable: bool = False,
) -> Iterator[PredictedBatch]:
    """Predict image files, a batch at a time, so that any number of them fits in memory.

    Parameters
    ----------
    trained : TrainedModel
        From `open_model`.
    files : sequence of str or Path
        Of the formats that data sets are read of, and read as in training: more than 8 bits per
        channel are refused where the model has no scaling. As `find_images` gives them: "~" is
        part of a name here.
    calibrator : Calibrator, optional
        Fitted to the model's logits, or to the logarithms of its probabilities.
    batch_size : int
        Files in a batch.
    stop_at_unreadable : bool
        Predict nothing more once a file could not be read, but go on reading, so that all such
        files are known.

    Raises
    ------
    InputError
        A calibrator of another number of classes, outputs that are not finite, or DICOM files
        without pydicom.

    Examples
    --------
    >>> import keras, tempfile
    >>> from lsplus_tf.deployment import open_model
    >>> inputs = keras.Input((8, 8, 1))
    >>> outputs = keras.layers.Dense(2)(keras.layers.Flatten()(inputs))
    >>> file = Path(tempfile.mkdtemp()) / "mine.keras"
    >>> keras.Model(inputs, outputs).save(file)
    >>> from PIL import Image
    >>> Image.new("L", (20, 10)).save(file.with_name("black.png"))
    >>> (batch,) = predict_files(open_model(file), [file.with_name("black.png")])
    >>> batch.predictions.probabilities.tolist()  # of no light, and without biases
    [[0.5, 0.5]]
    """
    if calibrator is not None:
        check_calibrator(trained, calibrator)
    paths = [Path(file) for file in files]  # `find_images` has expanded "~", which a name may have
    dicom.check_installed(map(str, paths))
    failed = False
    for read, pixels, unread in _decoded(trained, paths, batch_size):
        failed = failed or (stop_at_unreadable and bool(unread))
        predictions = None
        if read and not failed:
            outputs = np.asarray(trained.model.predict_on_batch(pixels.astype(np.float32)))
            predictions = _predictions(outputs, read, trained, calibrator)
        yield PredictedBatch(
            predictions,
            {file: each.why for file, each in unread.items()},
            len(read) + len(unread),
            {file: each.remedies for file, each in unread.items() if each.remedies},
        )


@dataclass(frozen=True)
class _Unread:
    """Why a file could not be read, and what of `open_model` would help."""

    why: str
    remedies: list[str]


def _decoded(
    trained: TrainedModel, files: Sequence[Path], batch_size: int
) -> Iterator[tuple[list[Path], NDArray[np.uint8], dict[Path, _Unread]]]:
    """Batches of what could be read, its pixels (M, H, W, C), and why the rest could not."""
    height, width, channels = trained.image_shape
    images = ImageFiles(
        Path(),
        np.array([str(file) for file in files]),
        (height, width, channels),
        resize=trained.resize,
        interpolation=trained.interpolation,
        scaling=trained.scaling,
        background=trained.background,
    )

    def decode(index: int) -> NDArray[np.uint8] | _Unread:
        try:
            header = read_header(files[index], size_matters=not trained.resize)
            unlike = _unlike_training(header, trained)
            if unlike:
                return _Unread("; ".join(unlike.values()), list(unlike))
            return images.decode_one(index)
        except READ_ERRORS as error:
            option = "background=white"
            if str(error) == TRANSPARENT:
                return _Unread(f"{TRANSPARENT}; {option}, or black, is shown there", [option])
            return _Unread(one_line(error), [])

    starts = range(0, len(files), batch_size)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        batches: dict[int, list[Future[NDArray[np.uint8] | _Unread]]] = {}
        for start in starts:
            for ahead in starts[start // batch_size :][:_PREPARED]:
                if ahead not in batches:
                    stop = min(ahead + batch_size, len(files))
                    batches[ahead] = [pool.submit(decode, i) for i in range(ahead, stop)]
            results = [future.result() for future in batches.pop(start)]
            of_batch = list(zip(files[start : start + batch_size], results, strict=True))
            pixels = [image for _, image in of_batch if not isinstance(image, _Unread)]
            yield (
                [file for file, image in of_batch if not isinstance(image, _Unread)],
                np.stack(pixels) if pixels else np.empty((0, height, width, channels), np.uint8),
                {file: unread for file, unread in of_batch if isinstance(unread, _Unread)},
            )


def _unlike_training(header: Header, trained: TrainedModel) -> dict[str, str]:
    """Why the training would not have had an image, by the option that resolves it."""
    height, width, channels = trained.image_shape
    unlike: dict[str, str] = {}
    if header.too_deep(trained.scaling) == NEVER_SCALED:
        return unlike
    if not trained.convert and header.grey != (channels == 1):
        option, kinds = f"channels={channels}", ("grey", "colour")
        one, other = kinds if header.grey else kinds[::-1]
        unlike[option] = f"it is {one}, not {other}; {option} converts it"
    if header.too_deep(trained.scaling) == MORE_THAN_8_BITS:
        option = "scaling=window=40,400"
        unlike[option] = f"{MORE_THAN_8_BITS}; scaling, as window=40,400, scales it"
    if not trained.resize and height == width and header.size != (width, height):
        option, (wide, high) = f"image_size={width}", header.size
        unlike[option] = (
            f"expected {width}x{height} pixels, not {wide}x{high}; {option} stretches it"
        )
    return unlike


def _predictions(
    outputs: NDArray[Any], files: list[Path], trained: TrainedModel, calibrator: Calibrator | None
) -> Predictions:
    scores: dict[str, Any] = {"probabilities" if trained.gives_probabilities else "logits": outputs}
    names = [str(file) for file in files]
    found = Predictions(None, **scores, ids=names, class_names=trained.class_names)
    return found if calibrator is None else calibrator.calibrate(found)
