"""One model to pass on, which takes pixels and gives calibrated probabilities."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from lsplus_tf import files
from lsplus_tf.calibrators import Calibrator
from lsplus_tf.deployment.model import DESCRIPTION, TrainedModel, check_calibrator
from lsplus_tf.training import run_folder

_FORMAT = "lsplus_tf export"
_EXTRA = "assets.extra"
_describes = files.begins_with(rb'\s*\{\s*"format":\s*"' + _FORMAT.encode() + b'"')


def _is_exported(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return DESCRIPTION in archive.namelist()
    except zipfile.BadZipFile:
        return False


_KERAS_FILE = files.FileKind("a .keras file of export", _is_exported)
_SAVED_MODEL = files.FolderKind(
    "a SavedModel of export",
    lambda folder: _describes(folder / _EXTRA / DESCRIPTION),
    re.compile(
        r"saved_model\.pb|fingerprint\.pb|assets/|assets\.extra/(lsplus_tf\.json)?|"
        r"variables/(variables\.(index|data-\d+-of-\d+))?"
    ),
)


def export_kind(out: str | Path) -> files.FileKind | files.FolderKind:
    """What `export` writes to a path, which its ending says.

    Examples
    --------
    >>> export_kind("calibrated.keras").what, export_kind("served").what
    ('a .keras file of export', 'a SavedModel of export')
    """
    return _KERAS_FILE if Path(out).suffix == ".keras" else _SAVED_MODEL


def export(trained: TrainedModel, calibrator: Calibrator, out: str | Path) -> None:
    """Write one model that takes pixels and gives calibrated probabilities.

    Parameters
    ----------
    trained : TrainedModel
        From `open_model`.
    calibrator : Calibrator
        Fitted to what the model gives; of probabilities it takes the logarithms.
    out : str or Path
        NAME.keras for a Keras file, which needs this package to be loaded; else a folder, which
        becomes a SavedModel that needs TensorFlow alone. lsplus_tf.json, in the Keras file or in
        the SavedModel's assets.extra, has the class names and how images are read.

    Raises
    ------
    InputError
        A calibrator of another number of classes, or for logits alone where the model gives
        probabilities; or `out` is there and is no earlier export, or cannot be written.

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
    >>> export(open_model(file), fitted, file.with_name("calibrated.keras"))
    >>> open_model(file.with_name("calibrated.keras")).gives_probabilities
    True
    """
    import tensorflow as tf

    from lsplus_tf.calibrators.keras import attach

    kind = export_kind(out)
    files.check_output(out, kind, argument="out")
    check_calibrator(trained, calibrator)
    calibrated = attach(trained.model, calibrator)
    description = {
        "format": _FORMAT,
        "class_names": list(trained.class_names),
        "image_shape": list(trained.image_shape),
        "resize": trained.resize,
        "convert": trained.convert,
        "interpolation": trained.interpolation,
        "scaling": None if trained.scaling is None else trained.scaling.model_dump(),
        "calibrator": json.loads(calibrator.to_json()),
    }
    with files.writing(out, kind, argument="out") as new:
        if kind is _KERAS_FILE:
            named = new.with_suffix(".keras")  # Keras goes by the name's ending
            calibrated.save(named)
            with zipfile.ZipFile(named, "a") as archive:  # Keras reads past it
                archive.writestr(DESCRIPTION, json.dumps(description, indent=2))
            named.rename(new)
            return
        try:
            calibrated.export(new, verbose=False)
        except tf.errors.OpError as error:  # where Python would raise an OSError
            if str(new) not in error.message:
                raise
            raise OSError(error.message.rpartition("; ")[2].partition(" [Op:")[0]) from error
        (new / _EXTRA).mkdir()
        run_folder.write_json(new / _EXTRA / DESCRIPTION, description)
