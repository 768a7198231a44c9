"""One model to pass on, which takes pixels and gives probabilities, and what `predict` adds."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lsplus_tf import bounded, files
from lsplus_tf.calibrators import Calibrator, PredictionSets
from lsplus_tf.deployment import onnx_files
from lsplus_tf.deployment.model import (
    DESCRIPTION,
    FORMAT,
    TrainedModel,
    calibrator_beside,
    check_calibrator,
    check_sets,
)
from lsplus_tf.errors import InputError, check_number
from lsplus_tf.training import run_folder

_EXTRA = "assets.extra"
_SCRIPT = "predict_images.py"  # in this folder, and in what is written
_describes = files.begins_with(rb'\s*\{\s*"format":\s*"' + FORMAT.encode() + b'"')


def _is_exported(file: Path) -> bool:
    try:
        with bounded.opened_zip(file) as archive:
            return DESCRIPTION in archive.namelist()
    except InputError:
        return False


_KERAS_FILE = files.FileKind("a .keras file of export", _is_exported, ".keras")
_SAVED_MODEL = files.FolderKind(
    "a SavedModel of export",
    lambda folder: _describes(folder / _EXTRA / DESCRIPTION),
    re.compile(
        r"saved_model\.pb|fingerprint\.pb|assets/|"
        r"assets\.extra/(lsplus_tf\.json|predict_images\.py)?|"
        r"variables/(variables\.(index|data-\d+-of-\d+))?"
    ),
)
# What names of models in other formats end in; a folder may be called served.v2.
_OF_OTHERS = (
    *(".h5", ".hdf5", ".pb", ".tflite", ".lite", ".pt", ".pth", ".ckpt", ".safetensors", ".pkl"),
    *(".mlmodel", ".mlpackage", ".zip", ".json", ".npz", ".csv"),
)


def export_kind(out: str | Path, *, argument: str = "--out") -> files.FileKind | files.FolderKind:
    """What `export` writes to a path, which its ending says.

    Parameters
    ----------
    out : str or Path
    argument : str
        What `out` was given as.

    Raises
    ------
    OutputError
        The ending is that of a model in another format.

    Examples
    --------
    >>> [export_kind(out).what for out in ("one.keras", "one.onnx", "served")]
    ['a .keras file of export', 'an ONNX file of export', 'a SavedModel of export']
    """
    suffix = Path(out).suffix
    if suffix == ".keras":
        return _KERAS_FILE
    if suffix == ".onnx":
        return onnx_files.ONNX_FILE
    if suffix.lower() in (".keras", ".onnx", *_OF_OTHERS):
        raise files.OutputError(
            argument,
            "expected NAME.keras, NAME.onnx, or a folder for a SavedModel, received "
            f"{files.shown(out)}",
        )
    return _SAVED_MODEL


def check_out(
    out: str | Path, *, argument: str = "--out", inputs: Iterable[str | Path | None] = ()
) -> tuple[Path, files.FileKind | files.FolderKind]:
    """The path, and what `export` writes there; nothing is written.

    Parameters
    ----------
    out, argument, inputs
        As of `lsplus_tf.files.check_output`.

    Raises
    ------
    OutputError
        It must not be written there, or cannot be.
    """
    kind = export_kind(out, argument=argument)
    path = files.check_output(out, kind, argument=argument, inputs=inputs)
    if kind is onnx_files.ONNX_FILE:
        onnx_files.check_installed(argument)
    return path, kind


def export(
    trained: TrainedModel,
    out: str | Path,
    *,
    calibrator: Calibrator | None = None,
    abstain_below: float | None = None,
    sets: PredictionSets | None = None,
) -> None:
    """Write one model that takes pixels 0..255 and gives probabilities, of which `predict` knows.

    Parameters
    ----------
    trained : TrainedModel
        From `open_model`. Of logits the probabilities are the softmax, in float64; of one sigmoid
        there are two columns.
    out : str or Path
        NAME.keras for a Keras file, which gives probabilities (B, K) and needs Keras alone; with a
        calibrator in it, this package too. NAME.onnx for an ONNX file, by tf2onnx. Else a folder,
        which becomes a SavedModel that needs TensorFlow alone. lsplus_tf.json, in the Keras file,
        in the SavedModel's assets.extra or in the ONNX file's metadata, has the class names, how
        images are read, the threshold and the sets; beside it, but not in Keras files, lies
        predict_images.py, which reads images as in training and prints what `lsplus-tf predict`
        writes, without this package.
    calibrator : Calibrator, optional
        Fitted to what the model gives; of probabilities it takes the logarithms.
    abstain_below : float, optional
        Abstain from cases of less confidence. By default that of an export, or 0.
    sets : PredictionSets, optional
        Fitted to the probabilities that come out; or with their own calibrator, which is then
        taken. By default those of an export.

    Notes
    -----
    SavedModels and ONNX files take ``pixels`` (B, H, W, C), float32, and give by name:
    ``probabilities`` (B, K), ``predicted`` (B,), which is the place of the class, ``confidence``
    (B,), ``abstained`` (B,), and ``set`` (B, K) if there are sets. A row with NaN abstains, and has
    all classes in its set. The endpoint ``class_names`` of SavedModels gives the names.

    Raises
    ------
    InputError
        A calibrator or sets of another number of classes, or sets that are random; a calibrator
        for logits alone where the model gives probabilities; or `out` is there and is no earlier
        export, or cannot be written; for ONNX, packages that are missing, or a model that cannot be
        converted.

    Examples
    --------
    >>> import keras, tempfile
    >>> from lsplus_tf.deployment import open_model
    >>> inputs = keras.Input((8, 8, 1))
    >>> outputs = keras.layers.Dense(2)(keras.layers.Flatten()(inputs))
    >>> file = Path(tempfile.mkdtemp()) / "mine.keras"
    >>> keras.Model(inputs, outputs).save(file)
    >>> from lsplus_tf.calibrators import TemperatureScaling
    >>> fitted = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    >>> out = file.with_name("calibrated.keras")
    >>> export(open_model(file), out, calibrator=fitted, abstain_below=0.7)
    >>> again = open_model(out)
    >>> again.gives_probabilities, again.abstain_below
    (True, 0.7)
    """
    _, kind = check_out(out, argument="out")
    given = trained.abstain_below if abstain_below is None else abstain_below
    threshold = check_number("abstain_below", given, most=1.0)
    if sets is None:
        _check_other_scores(trained, calibrator)
        sets = trained.sets
    else:
        if not isinstance(sets, PredictionSets):
            raise InputError(f"sets: expected PredictionSets, received a {type(sets).__name__}")
        if sets.randomized:
            raise InputError(
                "sets: expected ones that are not randomized, as a model does not know the names "
                "of its cases, by which they are drawn"
            )
        calibrator = calibrator_beside(sets, calibrator)
        check_sets(trained, sets, calibrator)
        sets = sets.on_calibrated()
    if calibrator is not None:
        check_calibrator(trained, calibrator)
    description = {
        "format": FORMAT,
        "class_names": list(trained.class_names),
        "image_shape": list(trained.image_shape),
        "resize": trained.resize,
        "convert": trained.convert,
        "interpolation": trained.interpolation,
        "scaling": None if trained.scaling is None else trained.scaling.model_dump(),
        "background": trained.background,
        "calibrator": None if calibrator is None else json.loads(calibrator.to_json()),
        "abstain_below": threshold,
        "sets": None if sets is None else json.loads(sets.to_json()),
    }
    what = (trained, calibrator, threshold, sets)
    script = Path(__file__).with_name(_SCRIPT).read_text(encoding="utf-8")
    if kind is onnx_files.ONNX_FILE:
        metadata = {DESCRIPTION: json.dumps(description, indent=2), _SCRIPT: script}
        content = onnx_files.convert(*what, metadata)
        with files.writing(out, kind, argument="out") as new:
            new.write_bytes(content)
    elif kind is _KERAS_FILE:
        with files.writing(out, kind, argument="out") as new:
            _write_keras(trained, calibrator, description, new)
    else:
        with files.writing(out, kind, argument="out") as new:
            _write_saved_model(*what, new)
            (new / _EXTRA).mkdir()
            run_folder.write_json(new / _EXTRA / DESCRIPTION, description)
            (new / _EXTRA / _SCRIPT).write_text(script, encoding="utf-8")


def _check_other_scores(trained: TrainedModel, calibrator: Calibrator | None) -> None:
    """Raise `InputError` where a calibrator would change what an export's sets were fitted to."""
    if calibrator is not None and trained.sets is not None:
        raise InputError(
            "calibrator: expected none, as the sets in this export were fitted to probabilities "
            "without one; give sets too"
        )


def _write_keras(
    trained: TrainedModel,
    calibrator: Calibrator | None,
    description: dict[str, Any],
    new: Path,
) -> None:
    from lsplus_tf.calibrators.keras import attach
    from lsplus_tf.deployment.graph import with_probabilities

    model = with_probabilities(trained) if calibrator is None else attach(trained.model, calibrator)
    named = new.with_suffix(".keras")  # Keras goes by the name's ending
    model.save(named)
    with zipfile.ZipFile(named, "a") as archive:  # Keras reads past it
        archive.writestr(DESCRIPTION, json.dumps(description, indent=2))
    named.rename(new)


def _write_saved_model(
    trained: TrainedModel,
    calibrator: Calibrator | None,
    abstain_below: float,
    sets: PredictionSets | None,
    new: Path,
) -> None:
    import keras
    import tensorflow as tf

    from lsplus_tf.deployment.graph import outputs

    archive = keras.export.ExportArchive()
    archive.track(trained.model)
    pixels = tf.TensorSpec((None, *trained.image_shape), tf.float32, name="pixels")
    of_pixels = outputs(trained, calibrator, abstain_below, sets)
    archive.add_endpoint("serve", of_pixels, input_signature=[pixels])
    names = tf.constant(trained.class_names)
    archive.add_endpoint(
        "class_names", tf.function(lambda: {"class_names": names}), input_signature=[]
    )
    try:
        archive.write_out(new, verbose=False)
    except tf.errors.OpError as error:  # where Python would raise an OSError
        if str(new) not in error.message:
            raise
        raise OSError(error.message.rpartition("; ")[2].partition(" [Op:")[0]) from error
