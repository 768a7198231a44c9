"""One model to pass on, which takes pixels and gives calibrated probabilities."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from lsplus_tf.atomic import written_whole
from lsplus_tf.calibrators import Calibrator
from lsplus_tf.deployment.model import DESCRIPTION, TrainedModel, check_calibrator
from lsplus_tf.errors import InputError
from lsplus_tf.training import run_folder


def export(trained: TrainedModel, calibrator: Calibrator, out: str | Path) -> None:
    """Write one model that takes pixels and gives calibrated probabilities.

    Parameters
    ----------
    trained : from `open_model`; a model that gives logits.
    calibrator : fitted to the model's logits.
    out : str or Path
        NAME.keras for a Keras file, which needs this package to be loaded; else a folder, which
        becomes a SavedModel that needs TensorFlow alone. lsplus_tf.json, in the Keras file or in
        the SavedModel's assets.extra, has the class names and how images are read.

    Raises
    ------
    InputError
        The model gives probabilities, or the calibrator is of another number of classes.

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
    from lsplus_tf.calibrators.keras import attach

    check_calibrator(trained, calibrator)
    calibrated, out = attach(trained.model, calibrator), Path(out).expanduser()
    description = {
        "class_names": list(trained.class_names),
        "image_shape": list(trained.image_shape),
        "resize": trained.resize,
        "convert": trained.convert,
        "interpolation": trained.interpolation,
        "calibrator": json.loads(calibrator.to_json()),
    }
    if out.suffix == ".keras":
        with written_whole(out) as partial:
            # Keras goes by the name's ending.
            temporary = partial.with_name(f"{partial.name}.keras")
            calibrated.save(temporary)
            with zipfile.ZipFile(temporary, "a") as file:  # Keras reads past it
                file.writestr(DESCRIPTION, json.dumps(description, indent=2))
            temporary.rename(partial)
        return
    if out.exists() and not (out / "saved_model.pb").exists():
        raise InputError(f"out: {out} holds something that is not a SavedModel; name another")
    with written_whole(out) as partial:
        calibrated.export(partial, verbose=False)
        (partial / "assets.extra").mkdir()
        run_folder.write_json(partial / "assets.extra" / DESCRIPTION, description)
