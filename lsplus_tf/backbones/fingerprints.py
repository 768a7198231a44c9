"""Which network something was made with: a fingerprint of its weights."""

from __future__ import annotations

import hashlib

import keras
import numpy as np

from lsplus_tf.errors import InputError


def fingerprint(model: keras.Model) -> str:
    """A text that identifies a network by its weights: "sha256:" and 64 digits.

    `Predictions(..., model=...)` and a run's `predictions_*.npz` keep it, and so does a calibrator
    that is fitted to them, which then warns where it is used on another model.

    Parameters
    ----------
    model : keras.Model
        Built, so that it has its weights.

    Returns
    -------
    str
        SHA-256 of each weight's dtype, shape and numbers, in order, and of the number of classes.
        Names do not count, nor do layers without weights: it is the same in another process, once
        the model is saved and loaded, in mixed precision, and with a softmax or a calibrator
        behind it.

    Raises
    ------
    InputError
        No Keras model, or one that is not built.

    Examples
    --------
    >>> import keras
    >>> inputs = keras.Input((5,))
    >>> logits = keras.layers.Dense(3)(inputs)
    >>> with_softmax = keras.Model(inputs, keras.layers.Softmax()(logits))
    >>> fingerprint(keras.Model(inputs, logits)) == fingerprint(with_softmax)
    True
    """
    if not isinstance(model, keras.Model):
        raise InputError(f"model: expected a Keras model, received a {type(model).__name__}")
    if not model.built:
        raise InputError(f"model: expected a built model, {model.name} has no weights yet")
    found = hashlib.sha256()
    for weight in model.weights:
        values = keras.ops.convert_to_numpy(weight.value)
        found.update(f"{weight.dtype} {tuple(weight.shape)}\n".encode())
        if values.dtype.byteorder == ">":
            values = values.astype(values.dtype.newbyteorder("<"))
        found.update(np.ascontiguousarray(values).tobytes())
    # One sigmoid stands for two classes, as a calibrator's output says.
    outputs = getattr(model, "outputs", None) or ()
    classes = [max(2, each.shape[-1] or 0) for each in outputs if each.shape]
    found.update(f"classes {classes}".encode())
    return f"sha256:{found.hexdigest()}"
