"""How a model's output carries the features behind its logits to the loss, as an attribute.

Keras puts the logits of a softmax on its output in the same way. So there is no second output:
predictions, metrics, saved and exported models are what they were.
"""

from __future__ import annotations

from typing import Any

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
