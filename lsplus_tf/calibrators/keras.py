"""A calibrator inside a Keras model, which then goes out of the door calibrated."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from lsplus_tf.calibrators.base import Calibrator
from lsplus_tf.errors import InputError

__all__ = [
    "CalibrationLayer",
    "attach",
    "gives_probabilities",
    "known_outputs",
]


@keras.saving.register_keras_serializable(package="lsplus_tf")
class CalibrationLayer(layers.Layer):
    """Logits (B, K) to a calibrator's probabilities, computed in float64, given in float32.

    It has no weights and nothing to train: the calibrator is in its config, so that it is in
    `.keras` files and in SavedModels.

    Parameters
    ----------
    calibrator : str
        `Calibrator.to_json()` of a fitted one.

    Raises
    ------
    InputError
        Not such a text, or logits of another number of classes than it was fitted on.

    Examples
    --------
    >>> from lsplus_tf.calibrators import TemperatureScaling
    >>> fitted = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    >>> CalibrationLayer(fitted.to_json())(ops.array([[2.0, 0.0]])).numpy().round(4).tolist()
    [[0.75, 0.25]]
    """

    def __init__(self, calibrator: str, **kwargs: Any) -> None:
        # float32 whatever the global policy, of which float16 would ruin the probabilities.
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        self.calibrator = Calibrator.from_json(calibrator)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        expected = self.calibrator.n_classes_
        if len(input_shape) != 2 or input_shape[-1] != expected:
            raise InputError(
                f"logits: expected shape (B, {expected}), as the calibrator was fitted on "
                f"{expected} classes, received shape {tuple(input_shape)}"
            )
        super().build(input_shape)

    def call(self, logits: Any) -> Any:
        # In float64 as in `predict_proba`, so that a sample does not fall into another bin.
        probabilities = self.calibrator._probabilities(ops.cast(logits, "float64"), ops)
        return ops.cast(probabilities, "float32")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "calibrator": self.calibrator.to_json()}


def attach(model: keras.Model, calibrator: Calibrator) -> keras.Model:
    """One model that gives calibrated probabilities, with the layers of the model given.

    Parameters
    ----------
    model : keras.Model
        Gives logits (B, K): functional, or a built Sequential.
    calibrator : Calibrator
        Fitted on K classes.

    Returns
    -------
    keras.Model
        Named `<name>_calibrated`. It saves to `.keras` and exports to a SavedModel. A process that
        loads the `.keras` file imports `lsplus_tf.calibrators.keras` first; a SavedModel needs
        nothing of this package.

    Raises
    ------
    InputError
        A model without known inputs, with several outputs, with a softmax at its end, or of
        another number of classes.

    Examples
    --------
    >>> import keras, numpy as np
    >>> from lsplus_tf.calibrators import TemperatureScaling, attach
    >>> inputs = keras.Input((2,))
    >>> model = keras.Model(inputs, keras.layers.Identity()(inputs))
    >>> logits = [[2, 0], [2, 0], [2, 0], [2, 0]]
    >>> calibrated = attach(model, TemperatureScaling().fit(logits, [0, 0, 0, 1]))
    >>> calibrated(np.array([[2.0, 0.0]])).numpy().round(4).tolist()
    [[0.75, 0.25]]
    """
    (outputs,) = known_outputs(model)
    if gives_probabilities(model):
        raise InputError(f"model: expected logits, {model.name} ends in probabilities")
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    probabilities = calibrator.to_layer()(outputs)
    return keras.Model(inputs, probabilities, name=f"{model.name}_calibrated")


def known_outputs(model: keras.Model) -> list[keras.KerasTensor]:
    """The one output (B, K) of a model that is made of known layers; `InputError` for others.

    Parameters
    ----------
    model : keras.Model
    """
    try:
        outputs = model.outputs
    except AttributeError:
        outputs = None
    if not outputs:
        raise InputError(
            f"model: expected a functional or built Sequential model, {model.name} has no known "
            "inputs and outputs"
        )
    if len(outputs) != 1:
        raise InputError(f"model: expected one output, {model.name} has {len(outputs)}")
    shape = outputs[0].shape
    if len(shape) != 2 or shape[1] is None or shape[1] < 2:
        raise InputError(
            f"model: expected an output (B, K) of two classes or more, {model.name} gives {shape}"
        )
    if getattr(model.layers[-1], "activation", None) is keras.activations.sigmoid:
        raise InputError(
            f"model: expected logits or a softmax, {model.name} ends in a sigmoid for each class"
        )
    return list(outputs)


def gives_probabilities(model: keras.Model) -> bool:
    """Whether a model's last layer is one that gives probabilities.

    Parameters
    ----------
    model : keras.Model
    """
    last = model.layers[-1]
    return getattr(last, "activation", None) is keras.activations.softmax or isinstance(
        last, (layers.Softmax, CalibrationLayer)
    )
