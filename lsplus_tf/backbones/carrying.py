"""Models whose output carries the features before the logits, for losses that need them."""

from __future__ import annotations

import keras

from lsplus_tf.losses.features import CarryFeatures


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
    return keras.Model(model.input, outputs, name=model.name)


def features_behind(model: keras.Model) -> keras.KerasTensor:
    """What the last layer of a model makes its output of, or what the output carries."""
    last = model.layers[-1]
    return last.input[1] if isinstance(last, CarryFeatures) else last.input
