"""How a model's output carries the features behind its logits to the loss, as an attribute.

Keras puts the logits of a softmax on its output in the same way. So there is no second output:
predictions, metrics, saved and exported models are what they were.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lsplus_tf.errors import InputError

_CARRIED = "_lsplus_features"


def with_features(outputs: Any, features: Any) -> tf.Tensor:
    """The outputs, for a loss that needs the features too; for use in a loop of one's own.

    In a model `lsplus_tf.backbones.CarryFeatures` does it.

    Parameters
    ----------
    outputs : array_like, shape (..., K)
        Logits, or the output of a softmax.
    features : array_like, shape (..., F)
        Of the same samples. No gradient flows into them.

    Returns
    -------
    tf.Tensor, shape (..., K)
        The outputs. What TensorFlow computes of them does not carry the features, nor what a
        `tf.function` returns.

    Raises
    ------
    InputError
        Shapes that do not fit.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> lsp.losses.with_features([[0.5, 2.0]], [[1.0, -2.0, 0.0]]).numpy().tolist()
    [[0.5, 2.0]]
    """
    tensor, carried = tf.convert_to_tensor(outputs), tf.convert_to_tensor(features)
    if (
        not tensor.shape.rank
        or carried.shape.rank != tensor.shape.rank
        or not carried.shape[:-1].is_compatible_with(tensor.shape[:-1])
    ):
        raise InputError(
            f"features: expected a row for each of the outputs, of shape {tuple(tensor.shape)}; "
            f"received shape {tuple(carried.shape)}"
        )
    carrying = tf.identity(tensor)
    for name in ("_keras_logits", "_keras_mask"):
        if hasattr(outputs, name):
            setattr(carrying, name, getattr(outputs, name))
    setattr(carrying, _CARRIED, carried)
    return carrying


def features_of(outputs: Any) -> tf.Tensor | None:
    """What outputs carry, or the logits that a softmax made them of; None without any."""
    logits = getattr(outputs, "_keras_logits", None)
    return getattr(outputs, _CARRIED, getattr(logits, _CARRIED, None))


# Here, so that models with it load wherever losses do.
@keras.saving.register_keras_serializable(package="lsplus_tf")
class CarryFeatures(keras.layers.Identity):
    """Gives back the logits as they are, with the features for a loss such as `FedLASLoss`.

    Called on [logits, features], as the last layer of a model or just before its softmax, or on
    [outputs of a softmax, features] behind it. It has no weights, and predictions, metrics and
    exported models are what they are without it.

    Raises
    ------
    InputError
        When called on something else, or on shapes that do not fit.

    Notes
    -----
    The features are an attribute of the output tensor, as are the logits that Keras puts on that
    of a softmax. Models within models keep it, and so do steps that are traced, compiled by XLA, or
    run on several devices. A layer that computes something of the output loses it, but for a
    softmax of the same dtype; so does a `tf.function` around the model. The loss then says so. A
    softmax of another dtype, as a mixed precision policy needs, goes before this layer.

    Examples
    --------
    >>> import keras
    >>> from lsplus_tf.backbones import CarryFeatures
    >>> inputs = keras.Input([4])
    >>> features = keras.layers.Dense(8, activation="relu")(inputs)
    >>> logits = keras.layers.Dense(3)(features)
    >>> keras.Model(inputs, CarryFeatures()([logits, features])).output_shape
    (None, 3)
    """

    def __init__(self, **kwargs: Any) -> None:
        # As they are: in another policy Keras would cast the logits.
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs: Any) -> Any:
        return with_features(*_pair(inputs))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        del inputs
        return None if previous_mask is None else previous_mask[0]

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        logits, _ = _pair(inputs)
        return keras.KerasTensor(logits.shape, logits.dtype)


def _pair(inputs: Any) -> tuple[Any, Any]:
    if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
        received = f"{len(inputs)} of them" if isinstance(inputs, (list, tuple)) else "one tensor"
        raise InputError(
            "CarryFeatures: expected to be called on [logits, features], a list of two tensors; "
            f"received {received}"
        )
    return inputs[0], inputs[1]
