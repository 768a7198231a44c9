"""A trained model put to use: image files to calibrated probabilities, and one model to pass on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsplus_tf.atomic import written_whole
from lsplus_tf.calibrators import Calibrator
from lsplus_tf.calibrators.base import check_logits
from lsplus_tf.datasets.image_files import (
    READ_ERRORS,
    SUFFIXES,
    ImageFiles,
    read_header,
)
from lsplus_tf.datasets.images import Interpolation
from lsplus_tf.errors import InputError, MissingDataError, one_line
from lsplus_tf.metrics import softmax
from lsplus_tf.training import run_folder

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float64]

DESCRIPTION = "lsplus_tf.json"
_PREPARED = 3  # batches that are decoded ahead, at most


@dataclass(frozen=True)
class TrainedModel:
    """A classifier, and how its images are read.

    Attributes
    ----------
    model : takes pixels 0..255, float32 (B, H, W, C), and gives logits or probabilities (B, K).
    class_names : the K classes.
    gives_probabilities : whether the outputs are probabilities.
    resize : whether images are stretched to (H, W), which are then equal, or must have that size.
    convert : whether colour becomes grey, grey is repeated, and alpha channels are dropped; else
        such images are refused.
    interpolation : how images are stretched, as `load_dataset` takes it.

    Examples
    --------
    `open_model` makes it of a file.

    >>> import keras
    >>> inputs = keras.Input((8, 8, 1))
    >>> model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    >>> names = ("HP", "SSA")
    >>> trained = TrainedModel(model, names, False, True, True, "bilinear")
    >>> trained.image_shape
    (8, 8, 1)
    """

    model: keras.Model
    class_names: tuple[str, ...]
    gives_probabilities: bool
    resize: bool
    convert: bool
    interpolation: Interpolation

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """H, W and C."""
        height, width, channels = self.model.input_shape[1:]
        return height, width, channels


@dataclass(frozen=True)
class PredictedBatch:
    """Probabilities (M, K) of M files that could be read, and why others of `size` could not.

    Examples
    --------
    >>> why = {Path("b.png"): "cannot identify image file"}
    >>> batch = PredictedBatch([Path("a.png")], np.array([[0.9, 0.1]]), why, size=2)
    >>> len(batch.files) + len(batch.unreadable) == batch.size
    True
    """

    files: list[Path]
    probabilities: Floats
    unreadable: dict[Path, str]
    size: int


def open_model(
    path: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    image_size: int | None = None,
    channels: Literal[1, 3] | None = None,
    interpolation: Interpolation | None = None,
) -> TrainedModel:
    """Load a model, and what is known of how its images were read.

    Parameters
    ----------
    path : str or Path
        A run's folder or its model.keras, of which everything is known; or any `.keras` file.
    class_names : sequence of str, length K, optional
        By default those of the run; of another model class_0 and so on.
    image_size : int, optional
        Stretch images to this height and width, which must be the model's. By default as in the
        run; for another model of square images, images are stretched to its size.
    channels : {1, 3}, optional
        Convert images to the model's channels. By default as in the run: where its config names no
        channels, images that have others are refused. For another model they are converted.
    interpolation : {"bilinear", "nearest"}, optional
        By default that of the run; of another model "bilinear".

    Raises
    ------
    InputError
        Not a model of images with one output of K classes, or an option that does not fit it.

    Examples
    --------
    >>> import keras, tempfile
    >>> inputs = keras.Input((8, 8, 1))
    >>> outputs = keras.layers.Dense(2)(keras.layers.Flatten()(inputs))
    >>> file = Path(tempfile.mkdtemp()) / "mine.keras"
    >>> keras.Model(inputs, outputs).save(file)
    >>> trained = open_model(file, class_names=["HP", "SSA"])
    >>> trained.class_names, trained.image_shape, trained.gives_probabilities
    (('HP', 'SSA'), (8, 8, 1), False)
    """
    run, file = find_model(Path(path))
    settings: dict[str, Any] = {}
    if run is not None:
        settings = run_folder.read_yaml(run, run_folder.SETTINGS)["dataset"]
        if class_names is None:
            class_names = run_folder.read_json(run, run_folder.SUMMARY)["class_names"]
    model, gives_probabilities = _load(file)
    height, width, depth = _image_shape(model, file)
    if image_size is not None and (image_size, image_size) != (height, width):
        raise InputError(
            f"image_size: expected {height}, as {file} takes {width}x{height} pixels, "
            f"received {image_size}"
        )
    if channels is not None and channels != depth:
        raise InputError(
            f"channels: expected {depth}, as {file} takes images of {depth}, received {channels}"
        )
    num_classes = model.output_shape[-1]
    names = class_names or [f"class_{k}" for k in range(num_classes)]
    if len(names) != num_classes or len(set(names)) != num_classes:
        raise InputError(
            f"class_names: expected {num_classes} different names, received {', '.join(names)}"
        )
    known = run is not None
    return TrainedModel(
        model,
        tuple(names),
        gives_probabilities,
        resize=image_size is not None
        or (settings["image_size"] is not None if known else height == width),
        convert=channels is not None or not known or settings["channels"] is not None,
        interpolation=interpolation or settings.get("interpolation", "bilinear"),
    )


def find_images(inputs: Sequence[str | Path]) -> tuple[list[Path], int]:
    """The image files of folders, with all below them, and of files, each once.

    Returns
    -------
    The paths, those of a folder in alphabetical order, and how many other files were left out. What
    starts with a dot is passed over.

    Raises
    ------
    InputError
        Nothing there, or no image in it.

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
    others = 0
    for given in map(Path, inputs):
        given = given.expanduser()
        if given.is_dir():
            below = [p for p in sorted(given.rglob("*")) if _is_shown(p, given) and p.is_file()]
            images = [p for p in below if p.suffix.lower() in SUFFIXES]
            others += len(below) - len(images)
            found |= dict.fromkeys(images)
        elif given.exists():
            found[given] = None
        else:
            raise MissingDataError(f"images: expected files or folders, there is no {given}")
    if not found:
        where = ", ".join(map(str, inputs))
        raise InputError(f"images: no {', '.join(SUFFIXES)} file in {where} ({others} others)")
    return list(found), others


def check_calibrator(trained: TrainedModel, calibrator: Calibrator) -> None:
    """Raise `InputError` unless the calibrator is for a model like this.

    Examples
    --------
    >>> import keras
    >>> from lsplus_tf.calibrators import TemperatureScaling
    >>> inputs = keras.Input((8, 8, 1))
    >>> model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    >>> trained = TrainedModel(model, ("a", "b", "c"), False, True, True, "bilinear")
    >>> fitted = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    >>> check_calibrator(trained, fitted)
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: calibrator: expected one of 3 classes, as the model has, received
    one of 2
    """
    if _is_calibrated(trained.model):
        raise InputError("calibrator: expected none, the model gives calibrated probabilities")
    num_classes = len(trained.class_names)
    if calibrator.n_classes_ != num_classes:
        raise InputError(
            f"calibrator: expected one of {num_classes} classes, as the model has, received one "
            f"of {calibrator.n_classes_}"
        )
    if trained.gives_probabilities and not calibrator.ignores_constants:
        raise InputError(
            f"calibrator: {calibrator.name} is a function of the logits, which the model, that "
            "gives probabilities, does not tell; take temperature or dirichlet"
        )


def predict_files(
    trained: TrainedModel,
    files: Sequence[Path],
    *,
    calibrator: Calibrator | None = None,
    batch_size: int = 32,
    stop_at_unreadable: bool = False,
) -> Iterator[PredictedBatch]:
    """Predict image files, a batch at a time, so that any number of them fits in memory.

    Parameters
    ----------
    trained : from `open_model`.
    files : Pillow reads them; as in training, more than 8 bits per channel are refused.
    calibrator : fitted to the model's logits, or to the logarithms of its probabilities.
    batch_size : files in a batch.
    stop_at_unreadable : predict nothing more once a file could not be read, but go on reading, so
        that all such files are known.

    Raises
    ------
    InputError
        A calibrator of another number of classes, or outputs that are not finite.

    Examples
    --------
    >>> import keras, tempfile
    >>> inputs = keras.Input((8, 8, 1))
    >>> outputs = keras.layers.Dense(2)(keras.layers.Flatten()(inputs))
    >>> file = Path(tempfile.mkdtemp()) / "mine.keras"
    >>> keras.Model(inputs, outputs).save(file)
    >>> from PIL import Image
    >>> Image.new("L", (20, 10)).save(file.with_name("black.png"))
    >>> (batch,) = predict_files(open_model(file), [file.with_name("black.png")])
    >>> batch.probabilities.tolist()  # of no light, and without biases, both classes are as likely
    [[0.5, 0.5]]
    """
    if calibrator is not None:
        check_calibrator(trained, calibrator)
    failed = False
    for read, pixels, unreadable in _decoded(trained, files, batch_size):
        failed = failed or (stop_at_unreadable and bool(unreadable))
        probabilities = np.empty((0, len(trained.class_names)))
        if read and not failed:
            outputs = trained.model.predict_on_batch(pixels.astype(np.float32))
            probabilities = _probabilities(np.asarray(outputs), trained, calibrator)
        size = len(read) + len(unreadable)
        yield PredictedBatch([] if failed else read, probabilities, unreadable, size)


def export(trained: TrainedModel, calibrator: Calibrator, out: str | Path) -> None:
    """Write one model that takes pixels and gives calibrated probabilities.

    Parameters
    ----------
    trained : from `open_model`; a model that gives logits.
    calibrator : fitted to the model's logits.
    out : str or Path
        NAME.keras for a Keras file, which needs this package to be loaded; else a folder, which
        becomes a SavedModel that needs TensorFlow alone. Its assets.extra/lsplus_tf.json has the
        class names and how images are read.

    Raises
    ------
    InputError
        The model gives probabilities, or the calibrator is of another number of classes.

    Examples
    --------
    >>> import keras, tempfile
    >>> inputs = keras.Input((8, 8, 1))
    >>> outputs = keras.layers.Dense(2)(keras.layers.Flatten()(inputs))
    >>> file = Path(tempfile.mkdtemp()) / "mine.keras"
    >>> keras.Model(inputs, outputs).save(file)
    >>> from lsplus_tf.calibrators import TemperatureScaling
    >>> fitted = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    >>> export(open_model(file), fitted, file.with_name("calibrated.keras"))
    >>> open_model(file.with_name("calibrated.keras")).gives_probabilities
    True
    """
    from lsplus_tf.calibrators.keras import attach

    check_calibrator(trained, calibrator)
    calibrated, out = attach(trained.model, calibrator), Path(out).expanduser()
    if out.suffix == ".keras":
        with written_whole(out) as partial:
            # Keras goes by the name's ending.
            temporary = partial.with_name(f"{partial.name}.keras")
            calibrated.save(temporary)
            temporary.rename(partial)
        return
    if out.exists() and not (out / "saved_model.pb").exists():
        raise InputError(f"out: {out} holds something that is not a SavedModel; name another")
    with written_whole(out) as partial:
        calibrated.export(partial, verbose=False)
        description = partial / "assets.extra" / DESCRIPTION
        description.parent.mkdir()
        run_folder.write_json(
            description,
            {
                "class_names": list(trained.class_names),
                "image_shape": list(trained.image_shape),
                "resize": trained.resize,
                "interpolation": trained.interpolation,
                "calibrator": json.loads(calibrator.to_json()),
            },
        )


def find_model(path: Path) -> tuple[Path | None, Path]:
    """The run's folder, or None for a model that is not of a run, and the model's file.

    Raises
    ------
    InputError
        Neither a run's folder nor a `.keras` file.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "mine.keras"
    >>> file.touch()
    >>> find_model(file) == (None, file)
    True
    """
    path = path.expanduser()
    file = path / run_folder.MODEL if path.is_dir() else path
    if not file.is_file():
        hint = ""
        if path.is_dir() and any(path.glob(f"*/seed_*/{run_folder.MODEL}")):
            one = min(path.glob(f"*/seed_*/{run_folder.MODEL}")).parent
            hint = f"; it is an experiment: name one of its runs, such as {one}"
        raise MissingDataError(
            f"model: expected the folder of a finished run or a .keras file, received {path}{hint}"
        )
    if file.suffix != ".keras":
        raise InputError(f"model: expected a .keras file, received {file}")
    of_a_run = all(
        (file.parent / name).is_file() for name in (run_folder.SETTINGS, run_folder.SUMMARY)
    )
    return (file.parent if of_a_run else None), file


def _load(file: Path) -> tuple[keras.Model, bool]:
    """The model, and whether it gives probabilities."""
    import keras

    import lsplus_tf.backbones
    import lsplus_tf.losses  # noqa: F401  the classes that files name
    from lsplus_tf.calibrators.keras import gives_probabilities, known_outputs

    try:
        model = keras.models.load_model(file, compile=False)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise InputError(
            f"{file}: cannot be loaded as a Keras model ({one_line(error)})"
        ) from error
    known_outputs(model)
    return model, gives_probabilities(model)


def _image_shape(model: keras.Model, file: Path) -> tuple[int, int, int]:
    shape = model.inputs[0].shape
    if len(model.inputs) != 1 or len(shape) != 4 or None in shape[1:] or shape[3] not in (1, 3):
        raise InputError(
            f"{file}: expected a model of images (B, H, W, C) of a known size with 1 or 3 "
            f"channels, it takes {', '.join(str(tuple(x.shape)) for x in model.inputs)}"
        )
    return shape[1], shape[2], shape[3]


def _is_calibrated(model: keras.Model) -> bool:
    from lsplus_tf.calibrators.keras import CalibrationLayer

    return isinstance(model.layers[-1], CalibrationLayer)


def _is_shown(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _decoded(
    trained: TrainedModel, files: Sequence[Path], batch_size: int
) -> Iterator[tuple[list[Path], NDArray[np.uint8], dict[Path, str]]]:
    """Batches of what could be read, its pixels (M, H, W, C), and why the rest could not."""
    height, width, channels = trained.image_shape
    images = ImageFiles(
        Path(),
        np.array([str(file) for file in files]),
        (height, width, channels),
        resize=trained.resize,
        interpolation=trained.interpolation,
    )

    def decode(index: int) -> NDArray[np.uint8] | str:
        try:
            if not trained.convert:
                _refuse_other_channels(files[index], channels)
            return images.decode_one(index)
        except READ_ERRORS as error:
            return one_line(error)

    starts = range(0, len(files), batch_size)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        batches: dict[int, list[Future[NDArray[np.uint8] | str]]] = {}
        for start in starts:
            for ahead in starts[start // batch_size :][:_PREPARED]:
                if ahead not in batches:
                    stop = min(ahead + batch_size, len(files))
                    batches[ahead] = [pool.submit(decode, i) for i in range(ahead, stop)]
            results = [future.result() for future in batches.pop(start)]
            of_batch = list(zip(files[start : start + batch_size], results, strict=True))
            pixels = [image for _, image in of_batch if not isinstance(image, str)]
            yield (
                [file for file, image in of_batch if not isinstance(image, str)],
                np.stack(pixels) if pixels else np.empty((0, height, width, channels), np.uint8),
                {file: why for file, why in of_batch if isinstance(why, str)},
            )


def _refuse_other_channels(file: Path, channels: int) -> None:
    """Raise ValueError for an image that the training, without a conversion, would not have had."""
    header = read_header(file, size_matters=False)
    if header.alpha:
        raise ValueError(f"it has an alpha channel; channels={channels} drops it")
    if header.grey != (channels == 1):
        kinds = ("grey", "colour") if header.grey else ("colour", "grey")
        raise ValueError(f"it is {kinds[0]}, not {kinds[1]}; channels={channels} converts it")


def _probabilities(
    outputs: NDArray[Any], trained: TrainedModel, calibrator: Calibrator | None
) -> Floats:
    scores = outputs.astype(np.float64)
    if trained.gives_probabilities:
        if calibrator is None:
            return scores
        scores = np.log(scores.clip(np.finfo(np.float64).tiny))
    checked = check_logits(scores)
    return softmax(checked) if calibrator is None else calibrator.predict_proba(checked)
