"""From a backbone's name to a Keras model that takes pixels and gives float32 logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
from keras import layers
from keras.applications import imagenet_utils

from lsplus_tf import pretrained
from lsplus_tf.backbones.resnet import resnet34, resnet34_preact
from lsplus_tf.backbones.small_cnn import small_residual_cnn
from lsplus_tf.backbones.weights import load_published, load_weights
from lsplus_tf.config.sections import (
    MOST_LAYERS,
    MOST_PARAMETERS,
    MOST_UNITS,
    MOST_WIDTH,
    count_parameters,
)
from lsplus_tf.errors import InputError, check_choice, check_count, check_positive

BackboneName = Literal[
    "small_residual_cnn", "mobilenet_v2", "resnet34", "resnet34_preact", "resnet50", "vgg19"
]
Scaling = Literal["unit", "raw", "symmetric", "caffe", "torch"]
_KERAS_MODES = {"symmetric": "tf", "caffe": "caffe", "torch": "torch"}


@keras.saving.register_keras_serializable(package="lsplus_tf")
class PixelScaling(layers.Layer):
    """Pixels 0..255 to what a network's weights expect, inside the model that is saved.

    Parameters
    ----------
    mode : {"unit", "raw", "symmetric", "caffe", "torch"}
        To [0, 1]; left at 0..255; to [-1, 1]; BGR minus the ImageNet mean; to [0, 1], minus the
        ImageNet mean, divided by its SD.

    Examples
    --------
    >>> import numpy as np
    >>> from lsplus_tf.backbones import PixelScaling
    >>> PixelScaling("symmetric")(np.array([0.0, 255.0])).numpy().tolist()
    [-1.0, 1.0]
    """

    def __init__(self, mode: Scaling, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mode = check_choice("mode", mode, Scaling)

    def call(self, pixels: Any) -> Any:
        if self.mode == "raw":
            return pixels
        if self.mode == "unit":
            return pixels / 255.0
        return imagenet_utils.preprocess_input(
            pixels, data_format="channels_last", mode=_KERAS_MODES[self.mode]
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


def build_classifier(
    name: BackboneName,
    image_shape: Sequence[int],
    num_classes: int,
    *,
    weights: str | Path | None = None,
    width: float = 1.0,
    head: Sequence[int] = (),
    scaling: Scaling = "unit",
    batch_norm_momentum: float | None = None,
) -> keras.Model:
    """A classifier of images: pixels 0..255 (B, H, W, C) in, float32 logits (B, K) out.

    Parameters
    ----------
    name : str
        The backbone; its features are averaged over the image (global average pooling).
    image_shape : sequence of int, length 3
        (H, W, C). All networks but the small one need H and W of at least 32.
    num_classes : int
        K >= 2.
    weights : str or Path, optional
        None (random, drawn from the global seed), "imagenet" (in Keras's cache, or downloaded to
        it), or the path of a file, see `lsplus_tf.backbones.load_weights`. Pretrained weights take
        three channels: grey images are repeated.
    width : float
        Multiplier of the channel counts (MobileNetV2's alpha).
    head : sequence of int
        Units of hidden ReLU layers before the logits; the LS+ authors used (1024, 512).
    scaling : {"unit", "raw", "symmetric", "caffe", "torch"}
        How pixels are scaled, see `PixelScaling`.
    batch_norm_momentum : float, optional
        For every BatchNormalization; None keeps the architecture's own. That of MobileNetV2 is
        0.999, whose moving statistics lag for hundreds of steps on small sets.

    Raises
    ------
    InputError
        An image too small for the network, a weights file that does not fit, or ImageNet weights
        that cannot be downloaded.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> model = lsp.backbones.build_classifier("small_residual_cnn", (8, 8, 1), num_classes=10)
    >>> model.output_shape, model.layers[-1].compute_dtype
    ((None, 10), 'float32')
    """
    pretrained.check_input(name, image_shape, weights, scaling)
    _check_size(name, num_classes, width, head)
    inputs = keras.Input(tuple(image_shape), name="pixels")
    x = inputs
    if weights is not None and image_shape[2] == 1:
        x = layers.Concatenate(name="grey_to_rgb")([x, x, x])
    x = PixelScaling(scaling, name="pixel_scaling")(x)
    backbone = _backbone(name, x.shape[1:], weights, width)
    if batch_norm_momentum is not None:
        for layer in backbone.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = batch_norm_momentum
    x = layers.GlobalAveragePooling2D(name="features")(backbone(x))
    for i, units in enumerate(head):
        x = layers.Dense(units, activation="relu", name=f"head_{i + 1}")(x)
    # float32 under a mixed policy too: a softmax of float16 logits loses the tails.
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=name)


def _check_size(name: BackboneName, num_classes: int, width: float, head: Sequence[int]) -> None:
    """Raise `InputError` for a network that takes more memory than there is."""
    check_count("num_classes", num_classes, least=1, most=MOST_UNITS)
    check_positive("width", width, most=MOST_WIDTH)
    units = [*(check_count("head", each, most=MOST_UNITS) for each in head), num_classes]
    if len(units) > MOST_LAYERS or count_parameters(name, width, units) > MOST_PARAMETERS:
        raise InputError(
            f"head: expected a network of at most {MOST_PARAMETERS:.0e} parameters and "
            f"{MOST_LAYERS} layers, received {list(head)} with width {width:g} for {num_classes} "
            "classes"
        )


def _backbone(
    name: BackboneName, shape: Sequence[int], weights: str | Path | None, width: float
) -> keras.Model:
    """The feature extractor as a nested model, so that its weights load and save by themselves."""
    ours: dict[str, Callable[[keras.KerasTensor], keras.KerasTensor]] = {
        "small_residual_cnn": partial(small_residual_cnn, width=width),
        "resnet34": resnet34,
        "resnet34_preact": resnet34_preact,
    }
    found = pretrained.find(name, weights, width, shape)
    file = None if found is None else pretrained.get(found)
    if name in ours:
        inputs = keras.Input(tuple(shape))
        model = keras.Model(inputs, ours[name](inputs), name="backbone")
    else:
        builder, options = {
            "mobilenet_v2": (keras.applications.MobileNetV2, {"alpha": width}),
            "resnet50": (keras.applications.ResNet50, {}),
            "vgg19": (keras.applications.VGG19, {}),
        }[name]
        model = builder(
            include_top=False,
            weights=None,
            input_shape=tuple(shape),
            name="backbone",
            **options,
        )
    if found is not None and file is not None:
        if found.published and name not in ours:
            load_published(model, found)
        else:
            load_weights(model, file)
    return model
