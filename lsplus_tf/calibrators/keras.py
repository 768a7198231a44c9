"""A calibrator inside a Keras model, which then goes out of the door calibrated."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from lsplus_tf.backbones import fingerprint
from lsplus_tf.calibrators.base import Calibrator, check_classes, check_is_calibrator
from lsplus_tf.calibrators.provenance import warn_of_another_model
from lsplus_tf.errors import InputError, check_flag
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.arrays import log_probabilities
from lsplus_tf.predictions.checks import Kind

__all__ = [
    "CalibrationLayer",
    "ModelOutput",
    "attach",
    "check_provenance",
    "is_calibrated",
    "model_output",
]

_Gives = Literal["probabilities", "logits", "sigmoids"]  # the last of each column by itself

_NONE = keras.activations.linear
_OF_ACTIVATIONS: dict[Any, _Gives] = {
    keras.activations.softmax: "probabilities",
    keras.activations.sigmoid: "sigmoids",
}
_16_BITS = ("float16", "bfloat16")


@keras.saving.register_keras_serializable(package="lsplus_tf")
class CalibrationLayer(layers.Layer):
    """Logits or probabilities (B, K) to a calibrator's, computed in float64, given in float32.

    It has no weights and nothing to train: the calibrator is in its config, so that it is in
    `.keras` files and in SavedModels.

    Parameters
    ----------
    calibrator : str
        `Calibrator.to_json()` of a fitted one.
    from_logits : bool
        Whether it takes logits; otherwise probabilities, whose logarithms are the logits as in
        `Predictions`: at least that of 1e-38. A single column (B, 1) is then the probability of
        class 2 of 2.

    Raises
    ------
    InputError
        Not such a text, inputs of another number of classes than it was fitted on, or a calibrator
        that takes logits alone with `from_logits=False`.

    Examples
    --------
    >>> from lsplus_tf.calibrators import TemperatureScaling
    >>> fitted = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    >>> CalibrationLayer(fitted.to_json())(ops.array([[2.0, 0.0]])).numpy().round(4).tolist()
    [[0.75, 0.25]]
    """

    def __init__(self, calibrator: str, *, from_logits: bool = True, **kwargs: Any) -> None:
        # float32 whatever the global policy, of which float16 would ruin the probabilities.
        fixed = {"dtype": "float32", "trainable": False, "autocast": False}  # of float64 scores
        super().__init__(**{**kwargs, **fixed})
        self.calibrator = Calibrator.from_json(calibrator)
        self.from_logits = check_flag("from_logits", from_logits)
        self.calibrator.check_takes(self._kind, "calibrator")

    @property
    def _kind(self) -> Kind:
        return "logits" if self.from_logits else "probabilities"

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        expected = self.calibrator.n_classes_
        columns = input_shape[-1]
        if columns == 1 and not self.from_logits:
            columns = 2
        if len(input_shape) != 2 or columns != expected:
            raise InputError(
                f"{self._kind}: expected shape (B, {expected}), as the calibrator was fitted on "
                f"{expected} classes, received shape {tuple(input_shape)}"
            )
        super().build(input_shape)

    def call(self, scores: Any) -> Any:
        # In float64 as in `predict_proba`, so that a sample does not fall into another bin.
        scores = ops.cast(scores, "float64")
        if not self.from_logits:
            if scores.shape[-1] == 1:
                scores = ops.concatenate([1 - scores, scores], axis=-1)
            scores = log_probabilities(scores, ops)
        return ops.cast(self.calibrator._calibrated(scores, ops), "float32")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.calibrator.n_classes_)

    def get_config(self) -> dict[str, Any]:
        config = {"calibrator": self.calibrator.to_json(), "from_logits": self.from_logits}
        return {**super().get_config(), **config}


def attach(
    model: keras.Model, calibrator: Calibrator, *, class_names: Sequence[str] | None = None
) -> keras.Model:
    """One model that gives calibrated probabilities, with the layers of the model given.

    Parameters
    ----------
    model : keras.Model
        Gives logits or probabilities (B, K), or ends in one sigmoid (B, 1), the probability of
        class 2 of 2: functional, or a built Sequential.
    calibrator : Calibrator
        Fitted on K classes, to what this model gives. Of probabilities it takes the logarithms, as
        `Calibrator.calibrate` does.
    class_names : sequence of str, length K, optional
        What the model's classes are called, in its order: to be sure that they are the
        calibrator's, where it was fitted to named ones.

    Returns
    -------
    keras.Model
        Named `<name>_calibrated`. It saves to `.keras` and exports to a SavedModel. A process that
        loads the `.keras` file imports `lsplus_tf.calibrators.keras` first; a SavedModel needs
        nothing of this package.

    Raises
    ------
    InputError
        A model without known inputs, with several outputs, that is calibrated already, with a
        sigmoid for each class, or of another number of classes, other names or another order; of a
        model that gives probabilities, a calibrator whose `ignores_constants` is False.

    Warns
    -----
    UserWarning
        The model gives probabilities in 16 bits; or the calibrator was fitted to another model, or
        to log-probabilities where this one gives logits and a constant in a row matters.

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
    output = model_output(model)
    check_is_calibrator(calibrator)
    if is_calibrated(model):
        raise InputError(
            f"model: expected one without a calibrator, {model.name} gives calibrated probabilities"
        )
    if class_names is not None and calibrator.class_names_ is not None:
        check_classes("calibrator", calibrator.class_names_, class_names, "the model's")
    check_provenance(model, output.kind, calibrator)
    if output.kind == "probabilities" and output.tensor.dtype in _16_BITS:
        warnings.warn(
            f"model: {model.name} gives probabilities in {output.tensor.dtype}, which rounds away "
            'what calibration measures; give its last layer dtype="float32"',
            stacklevel=2,
        )
    layer = CalibrationLayer(calibrator.to_json(), from_logits=output.kind == "logits")
    return keras.Model(_input_of(model), layer(output.tensor), name=f"{model.name}_calibrated")


def check_provenance(model: keras.Model, kind: Kind, calibrator: Calibrator) -> None:
    """Refuse a calibrator that a model cannot have, and warn of one that was not fitted to it.

    Parameters
    ----------
    model : keras.Model
    kind : {"probabilities", "logits"}
        What it gives.
    calibrator : Calibrator

    Raises
    ------
    InputError
        The model gives probabilities, and a constant in a row of logits matters.

    Warns
    -----
    UserWarning
        It was fitted to another model's outputs; or to log-probabilities where this one gives
        logits and a constant matters.

    Examples
    --------
    >>> import keras, lsplus_tf as lsp
    >>> from lsplus_tf.calibrators import TemperatureScaling
    >>> inputs = keras.Input((2,))
    >>> model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    >>> rows = [[2.0, 0.0]] * 4
    >>> held_out = lsp.Predictions([0, 0, 0, 1], logits=rows, model=lsp.fingerprint(model))
    >>> check_provenance(model, "logits", TemperatureScaling().fit(held_out))
    """
    calibrator.check_takes(kind, "calibrator")
    if calibrator.model_ is not None:
        warn_of_another_model("calibrator", calibrator.model_, fingerprint(model))
    if (
        kind == "logits"
        and calibrator.kind_ == "log-probabilities"
        and not (calibrator.ignores_constants)
    ):
        warnings.warn(
            f"calibrator: {calibrator.name} was fitted to log-probabilities, and this model gives "
            "logits, which differ from them by a constant in each row; fit it to logits",
            stacklevel=1,
        )


@dataclass(frozen=True)
class ModelOutput:
    """The one output of a classifier.

    Attributes
    ----------
    tensor : keras.KerasTensor
        Shape (B, K), or (B, 1) where one sigmoid stands for two classes.
    kind : {"probabilities", "logits"}
        What it holds.
    num_classes : int
        Number of classes, K.
    """

    tensor: keras.KerasTensor
    kind: Kind
    num_classes: int


def model_output(model: keras.Model) -> ModelOutput:
    """The one output of a model that is made of known layers; `InputError` for others.

    What it gives is told by its last layer. Where that does not tell, as a `Lambda`, an `Average`
    of several networks or one of your own, the model is asked what it gives for random inputs:
    distributions, other numbers from 0 to 1, as a sigmoid does, or logits.

    Parameters
    ----------
    model : keras.Model

    Examples
    --------
    >>> import keras
    >>> inputs = keras.Input((5,))
    >>> model_output(keras.Model(inputs, keras.layers.Dense(3)(inputs))).kind
    'logits'
    >>> binary = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
    >>> model_output(binary).kind, model_output(binary).num_classes
    ('probabilities', 2)
    """
    if not isinstance(model, keras.Model):
        raise InputError(
            f"model: expected a keras.Model, received {model!r}; "
            "keras.models.load_model reads files"
        )
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
    tensor = outputs[0]
    columns = tensor.shape[1] if len(tensor.shape) == 2 else None
    gives = None if columns is None else _by_last_layer(tensor) or _by_trial(model)
    if columns == 1 and gives == "sigmoids":
        return ModelOutput(tensor, "probabilities", 2)
    if columns is None or columns < 2:
        hint = "; end it in a sigmoid" if columns == 1 and gives == "logits" else ""
        raise InputError(
            f"model: expected an output (B, K) of two classes or more, or (B, 1) of one sigmoid, "
            f"{model.name} gives {tensor.shape}{hint}"
        )
    if gives == "sigmoids":
        raise InputError(
            f"model: expected logits or a softmax, {model.name} gives each class a number from 0 "
            "to 1, as a sigmoid for each class does, and these need not sum to 1; train it with a "
            "softmax, or with one sigmoid for two classes"
        )
    if gives is None:
        warnings.warn(
            f"model: {model.name} is taken to give logits, which its last layer does not tell, nor "
            "can a trial; end it in a Softmax layer if it gives probabilities",
            stacklevel=3,
        )
    return ModelOutput(tensor, gives or "logits", columns)


def is_calibrated(model: keras.Model) -> bool:
    """Whether a model ends in a calibrator.

    Parameters
    ----------
    model : keras.Model
    """
    return isinstance(_last_layer(model.outputs[0]), CalibrationLayer)


def _last_layer(tensor: keras.KerasTensor) -> Any:
    """What made a tensor: inside of models, and before layers that only pass it on."""
    made_by, node, place = tensor._keras_history
    if isinstance(made_by, keras.Model) and getattr(made_by, "outputs", None):
        return _last_layer(made_by.outputs[place])
    if isinstance(made_by, (layers.Identity, layers.Dropout)) or (
        isinstance(made_by, layers.Activation) and made_by.activation is _NONE
    ):
        return _last_layer(made_by._inbound_nodes[node].input_tensors[0])
    return made_by


def _input_of(model: keras.Model) -> Any:
    """Its input, or a list or dict of them."""
    # `input` of a Sequential is that of a call of it.
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def _by_last_layer(tensor: keras.KerasTensor) -> _Gives | None:
    """What a tensor holds, by the layer that made it; None of one that does not tell."""
    last = _last_layer(tensor)
    if isinstance(last, (layers.Softmax, CalibrationLayer)):
        return "probabilities"
    dense = isinstance(last, (layers.Dense, layers.EinsumDense))
    activation = last.activation if dense or isinstance(last, layers.Activation) else None
    if activation is _NONE:
        return "logits" if dense else None
    return _OF_ACTIVATIONS.get(activation)


def _by_trial(model: keras.Model) -> _Gives | None:
    """What outputs for random inputs show; None where they show nothing.

    Logits that sum to 1 in each of several rows, none below 0, are no accident; nor are any that
    lie between 0 and 1 whatever the inputs.
    """
    found = _tried(model)
    if found is None or not len(found):
        return None
    with contextlib.suppress(InputError):
        if found.shape[1] > 1:
            Predictions(None, probabilities=found)
            return "probabilities"
    if found.min() < 0 or found.max() > 1:
        return "logits"
    return "sigmoids" if np.ptp(found, axis=0).all() else None


def _tried(model: keras.Model) -> np.ndarray | None:
    """The finite rows that a model gives for small and large inputs; None if it cannot be tried."""
    rng = np.random.default_rng(0)
    sizes = np.array([1.0, 1.0, 10.0, 1000.0])

    def random(given: keras.KerasTensor) -> Any:
        shape = (given.shape[0] or len(sizes), *given.shape[1:])
        if "float" not in given.dtype:
            most = 2 if given.dtype == "bool" else 128
            return ops.cast(rng.integers(0, most, shape), given.dtype)
        noise = rng.normal(size=shape)
        rows = np.resize(sizes, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        return ops.cast(noise * rows, given.dtype)

    def zeros(given: keras.KerasTensor) -> Any:
        return ops.zeros((given.shape[0] or len(sizes), *given.shape[1:]), given.dtype)

    if any(None in given.shape[1:] or given.dtype == "string" for given in model.inputs):
        return None
    for inputs in (random, zeros):  # which a table of few entries has too
        with contextlib.suppress(Exception):  # of layers of any kind
            outputs = model(keras.tree.map_structure(inputs, _input_of(model)))
            found = ops.convert_to_numpy(keras.tree.flatten(outputs)[0])
            return found[np.isfinite(found.astype(np.float64)).all(axis=1)]
    return None
