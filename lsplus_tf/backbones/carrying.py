"""Models whose output carries the features before the logits, for losses that need them."""

from __future__ import annotations

from typing import Any

import keras

from lsplus_tf.losses.features import with_features


@keras.saving.register_keras_serializable(package="lsplus_tf")
class CarryFeatures(keras.layers.Identity):
    """Gives back the logits as they are, with the features for a loss such as `FedLASLoss`.

    Called on [logits, features], as the last layer of a model or just before its softmax. It has no
    weights, and predictions, metrics and exported models are what they are without it.

    Notes
    -----
    The features are an attribute of the output tensor, as are the logits that Keras puts on that
    of a softmax. Models within models keep it, and so do steps that are traced, compiled by XLA, or
    run on several devices. A layer that computes something of the output loses it, but for a
    softmax of the same dtype; so does a `tf.function` around the model. The loss then says so.

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
        logits, features = inputs
        return with_features(logits, features)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        del inputs
        return None if previous_mask is None else previous_mask[0]

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        logits, _ = inputs
        return keras.KerasTensor(logits.shape, logits.dtype)


def carrying_features(model: keras.Model) -> keras.Model:
    """A model with the layers of `model` whose output carries what its last layer is given.

    Parameters
    ----------
    model : keras.Model
        Functional, with one output, which its last layer makes: that of `build_classifier`.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> model = lsp.backbones.build_classifier("small_residual_cnn", (8, 8, 1), num_classes=10)
    >>> lsp.backbones.carrying_features(model).layers[-1].name
    'carry_features'
    """
    outputs = CarryFeatures(name="carry_features")([model.output, features_behind(model)])
    return keras.Model(model.inputs, outputs, name=model.name)


def features_behind(model: keras.Model) -> keras.KerasTensor:
    """What the last layer of a model makes its output of, or what the output carries."""
    last = model.layers[-1]
    return last.input[1] if isinstance(last, CarryFeatures) else last.input
