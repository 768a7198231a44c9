"""A trained model from its file, and how its images are read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import StrictBool, StrictStr

from lsplus_tf import keras_files
from lsplus_tf.calibrators import Calibrator, PredictionSets
from lsplus_tf.calibrators.base import check_classes, check_is_calibrator
from lsplus_tf.calibrators.provenance import warn_of_another_model
from lsplus_tf.config import Background, Interpolation, Scaling, checked
from lsplus_tf.config.settings import Settings, Weight
from lsplus_tf.errors import InputError, MissingDataError, one_line
from lsplus_tf.files import expanded
from lsplus_tf.manifest import is_run
from lsplus_tf.predictions.checks import Kind
from lsplus_tf.training import run_folder

if TYPE_CHECKING:
    import keras

    from lsplus_tf.calibrators.keras import ModelOutput


_MOST_PIXELS = 2**25  # of an image; mammograms as they are have 2**24
DESCRIPTION = "lsplus_tf.json"  # in a .keras file that `export` wrote
FORMAT = "lsplus_tf export"


class _Description(Settings):
    """What `export` writes of a model beside it; of a model without it the class names are ()."""

    format: Literal["lsplus_tf export"] = "lsplus_tf export"
    class_names: tuple[StrictStr, ...] = ()
    image_shape: tuple[int, int, int] | None = None
    resize: StrictBool | None = None
    convert: StrictBool = True
    interpolation: Interpolation = "bilinear"
    scaling: Scaling | None = None
    background: Background | None = None
    calibrator: Any = None  # which is in the model
    abstain_below: Weight = 0.0
    sets: Any = None  # which check themselves


@dataclass(frozen=True)
class TrainedModel:
    """A classifier, and how its images are read.

    Attributes
    ----------
    model : keras.Model
        Takes pixels 0..255, float32 (B, H, W, C), and gives logits or probabilities (B, K), or
        (B, 1), the probability of class 2 of 2.
    class_names : tuple of str, length K
        The classes.
    gives_probabilities : bool
        Whether the outputs are probabilities.
    resize : bool
        Whether images are stretched to (H, W), which are then equal, or must have that size.
    convert : bool
        Whether colour becomes grey, and grey is repeated; else such images are refused.
    interpolation : {"bilinear", "nearest"}
        How images are stretched, as `load_dataset` takes it.
    scaling : Scaling or None
        How files of more than 8 bits become 8-bit ones; without it they are refused.
    background : {"black", "white"} or None
        What files show where they are transparent; without it such files are refused.
    abstain_below : float
        Of an export: the confidence below which `predict` abstains.
    sets : PredictionSets or None
        Of an export: fitted to the probabilities that it gives.

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
    scaling: Scaling | None = None
    background: Background | None = None
    abstain_below: float = 0.0
    sets: PredictionSets | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """H, W and C."""
        height, width, channels = self.model.input_shape[1:]
        return height, width, channels


def open_model(
    path: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    image_size: int | None = None,
    channels: Literal[1, 3] | None = None,
    interpolation: Interpolation | None = None,
    scaling: Scaling | None = None,
    background: Background | None = None,
) -> TrainedModel:
    """Load a model, and what is known of how its images were read.

    Parameters
    ----------
    path : str or Path
        A run's folder or its model.keras, or what `export` made of it, of which everything is
        known; or any `.keras` file.
    class_names : sequence of str, length K, optional
        By default those of the run or export; of another model class_0 and so on.
    image_size : int, optional
        Stretch images to this height and width, which must be the model's, if it takes no other. By
        default as in the run; for another model of square images, images are stretched to its size.
    channels : {1, 3}, optional
        Convert images to the model's channels. By default as in the run: where its config names no
        channels, images that have others are refused. For another model they are converted.
    interpolation : {"bilinear", "nearest"}, optional
        By default that of the run; of another model "bilinear".
    scaling : Scaling, optional
        How files of more than 8 bits become 8-bit ones. By default as in the run; for another model
        they are refused.
    background : {"black", "white"}, optional
        What files show where they are transparent. By default as in the run; for another model they
        are refused.

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
        file = run_folder.check_model(run)
        settings = run_folder.read_settings(run)["dataset"]
        if class_names is None:
            class_names = run_folder.read_summary(run)["class_names"]
    model, output = _load(file, image_size, channels)
    exported = _description(file)
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
    num_classes = output.num_classes
    names = class_names or exported.class_names or unnamed(num_classes)
    if len(names) != num_classes or len(set(names)) != num_classes:
        raise InputError(
            f"class_names: expected {num_classes} different names, received {', '.join(names)}"
        )
    if run is not None:
        resize, convert = (settings[key] is not None for key in ("image_size", "channels"))
    else:
        resize = height == width if exported.resize is None else exported.resize
        convert = exported.convert
    usual = settings.get("interpolation") or exported.interpolation
    if scaling is None and settings.get("scaling"):
        scaling = checked(Scaling, settings["scaling"], f"{file}: scaling")
    return TrainedModel(
        model,
        tuple(names),
        output.kind == "probabilities",
        resize=resize or image_size is not None,
        convert=convert or channels is not None,
        interpolation=interpolation or usual,
        scaling=scaling or exported.scaling,
        background=background or settings.get("background") or exported.background,
        abstain_below=exported.abstain_below,
        sets=_sets(exported.sets, tuple(names), file),
    )


def _sets(described: Any, class_names: tuple[str, ...], file: Path) -> PredictionSets | None:
    """The sets of an export, which are of its classes, whatever these are called now."""
    if described is None:
        return None
    try:
        sets = PredictionSets.from_json(json.dumps(described))
    except InputError as error:
        raise InputError(f"{file}: sets: {error}") from error
    if sets.n_classes_ != len(class_names) or sets.calibrator is not None:
        raise InputError(f"{file}: sets: expected those of the model's own probabilities")
    sets.class_names_ = class_names
    return sets


def unnamed(num_classes: int) -> tuple[str, ...]:
    """What the classes of a model are called that does not name them.

    Parameters
    ----------
    num_classes : int

    Examples
    --------
    >>> unnamed(2)
    ('class_0', 'class_1')
    """
    return tuple(f"class_{k}" for k in range(num_classes))


def check_calibrator(trained: TrainedModel, calibrator: Calibrator) -> None:
    """Raise `InputError` unless the calibrator is for a model like this.

    Parameters
    ----------
    trained : TrainedModel
    calibrator : Calibrator

    Warns
    -----
    UserWarning
        It was fitted to another model's outputs, where it says so.

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
    from lsplus_tf.calibrators.keras import check_provenance, is_calibrated

    check_is_calibrator(calibrator)
    if is_calibrated(trained.model):
        raise InputError("calibrator: expected none, the model gives calibrated probabilities")
    num_classes = len(trained.class_names)
    if calibrator.n_classes_ != num_classes:
        raise InputError(
            f"calibrator: expected one of {num_classes} classes, as the model has, received one "
            f"of {calibrator.n_classes_}"
        )
    if calibrator.class_names_ is not None:
        check_classes("calibrator", calibrator.class_names_, trained.class_names, "the model's")
    kind: Kind = "probabilities" if trained.gives_probabilities else "logits"
    check_provenance(trained.model, kind, calibrator)


def calibrator_beside(
    sets: PredictionSets, calibrator: Calibrator | None, *, argument: str = "calibrator"
) -> Calibrator | None:
    """The calibrator whose probabilities sets take: their own, or else the one that is given.

    Parameters
    ----------
    sets : PredictionSets
    calibrator : Calibrator or None
    argument : str
        What `calibrator` was given as.

    Raises
    ------
    InputError
        The sets have their own, and another is given.

    Examples
    --------
    >>> from lsplus_tf.calibrators import TemperatureScaling
    >>> fitted = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    >>> calibrator_beside(PredictionSets(calibrator=fitted), None) is fitted
    True
    """
    if sets.calibrator is None:
        return calibrator
    if calibrator is not None and not calibrator.same_as(sets.calibrator):
        raise InputError(f"{argument}: expected that of the sets, received another; leave it out")
    return sets.calibrator


def check_sets(
    trained: TrainedModel,
    sets: PredictionSets,
    calibrator: Calibrator | None = None,
    *,
    argument: str = "sets",
) -> None:
    """Raise `InputError` unless fitted sets are of the model's classes.

    Parameters
    ----------
    trained : TrainedModel
    sets : PredictionSets
    calibrator : Calibrator, optional
        From `calibrator_beside`.
    argument : str
        What `sets` were given as.

    Warns
    -----
    UserWarning
        They were fitted to another model's outputs, where they say so.

    Examples
    --------
    >>> import keras, warnings
    >>> from lsplus_tf import Predictions, PredictionSets, fingerprint
    >>> inputs = keras.Input((8, 8, 1))
    >>> model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    >>> trained = TrainedModel(model, ("a", "b"), False, True, True, "bilinear")
    >>> held_out = Predictions(
    ...     [0, 1] * 10, [[0.8, 0.2], [0.4, 0.6]] * 10, model=fingerprint(model), class_names="ab"
    ... )
    >>> with warnings.catch_warnings(action="error", category=UserWarning):
    ...     check_sets(trained, PredictionSets().fit(held_out))  # of this model
    """
    check_classes(argument, sets.class_names_, trained.class_names, "the model's")
    from lsplus_tf.backbones import fingerprint

    known_by_calibrator = calibrator is not None and calibrator.model_ is not None
    if sets.model_ is not None and not known_by_calibrator:  # of which `check_calibrator` warns
        warn_of_another_model("sets", sets.model_, fingerprint(trained.model))


def find_model(path: str | Path) -> tuple[Path | None, Path]:
    """The run's folder, or None for a model that is not of a run, and the model's file.

    Parameters
    ----------
    path : str or Path

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
    path = expanded(path, "model")
    file = path / run_folder.MODEL if path.is_dir() else path
    if not file.is_file():
        if path.is_dir() and is_run(path):
            run_folder.check_model(path)  # which says that it is missing
        hint = ""
        for runs, what in (("*/seed_*", "an experiment"), ("seed_*", "a method of an experiment")):
            found = path.glob(f"{runs}/{run_folder.MODEL}") if path.is_dir() else iter(())
            one = min(found, default=None)
            if one is not None:
                hint = f"; it is {what}: name one of its runs, such as {one.parent}"
        script = path / "assets.extra" / "predict_images.py"
        if script.is_file():
            hint = f"; it is a SavedModel of export: use python {script} {path} IMAGES"
        raise MissingDataError(
            f"model: expected the folder of a finished run or a .keras file, received {path}{hint}"
        )
    if file.suffix != ".keras":
        raise InputError(f"model: expected a .keras file, received {file}")
    of_a_run = file.name == run_folder.MODEL and is_run(file.parent)
    return (file.parent if of_a_run else None), file


def _load(
    file: Path, image_size: int | None, channels: int | None
) -> tuple[keras.Model, ModelOutput]:
    """The model, for images of a size if it takes any, and what it gives."""
    import keras

    import lsplus_tf.backbones
    import lsplus_tf.losses  # noqa: F401  the classes that files name
    from lsplus_tf.calibrators.keras import model_output

    model = keras_files.load(file, str(file))
    named = getattr(model, "output", None)  # others than functional ones have none
    if isinstance(named, dict) and len(named) == 1:
        model = keras.Model(model.input, *named.values(), name=model.name)
    # TensorFlow takes a model's name for a scope's, of which not all characters can be.
    model.name = re.sub(r"[^A-Za-z0-9_.-]", "_", model.name).lstrip("_-") or "model"
    taken = _inputs(model)
    if len(taken) == 1 and len(taken[0].shape) == 4:
        known = taken[0].shape[1:]
        given = (image_size, image_size, channels)
        shape = tuple(b if a is None else a for a, b in zip(known, given, strict=True))
        if shape != known and None not in shape:
            pixels = keras.Input(shape, dtype=taken[0].dtype)
            model = keras.Model(pixels, model(pixels), name=model.name)
    _image_shape(model, file)  # before it is tried with images of its size
    return model, model_output(model)


def _description(file: Path) -> _Description:
    """What `export` wrote into a `.keras` file, a ZIP archive; of others what is usual."""
    try:
        with keras_files.opened(file) as archive:
            if DESCRIPTION not in archive.namelist():
                return _Description()
            description = keras_files.read_json(archive, DESCRIPTION)
    except ValueError as error:
        raise InputError(f"{file}: {one_line(error)}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise InputError(f"{file}: its {DESCRIPTION} is not one of export")
    return checked(_Description, description, f"{file}: {DESCRIPTION}")


def _inputs(model: keras.Model) -> list[keras.KerasTensor]:
    """What a model takes; nothing of a subclass of one's own, which does not say."""
    return getattr(model, "inputs", None) or []


def _image_shape(model: keras.Model, file: Path) -> tuple[int, int, int]:
    shapes = [tuple(given.shape) for given in _inputs(model)]
    shape = shapes[0] if shapes else ()
    if len(shapes) != 1 or len(shape) != 4 or None in shape[1:] or shape[3] not in (1, 3):
        hint = "; image_size and channels say what it does not" if None in shape[1:] else ""
        raise InputError(
            f"{file}: expected a model of images (B, H, W, C) of a known size with 1 or 3 "
            f"channels, it takes {', '.join(map(str, shapes)) or 'what it does not say'}{hint}"
        )
    if shape[1] * shape[2] > _MOST_PIXELS:
        raise InputError(
            f"{file}: expected a model of images of up to {_MOST_PIXELS} pixels, it takes "
            f"{shape[2]}x{shape[1]}"
        )
    return shape[1], shape[2], shape[3]
