"""ResNet-34 in its standard form and in the pre-activation form that the LS+ authors trained.

Their layers have the names of the files that published weights come in, see
`lsplus_tf.backbones.weights`.
"""

from __future__ import annotations

from functools import partial

import keras
from keras import layers

_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # channels and residual blocks

# As PyTorch draws the weights of its ResNets, and as He et al., ICCV 2015, do for ReLU networks.
_convolution = partial(
    layers.Conv2D,
    use_bias=False,
    kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
)
_normalisation = partial(layers.BatchNormalization, momentum=0.9, epsilon=1e-5)

_preact_convolution = partial(layers.Conv2D, use_bias=False, kernel_initializer="he_uniform")
_preact_normalisation = partial(layers.BatchNormalization, momentum=0.99, epsilon=2e-5)


def resnet34(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """The standard ResNet-34 without its head, 21,301,696 parameters with three channels.

    Parameters
    ----------
    inputs : keras.KerasTensor, shape (B, H, W, C)
        H and W at least 32.

    Returns
    -------
    keras.KerasTensor, shape (B, ceil(H/32), ceil(W/32), 512)
        Features.

    Notes
    -----
    Source: He et al., CVPR 2016. Padding is symmetric before every stride, as in torchvision, whose
    parameter names the layers have with "_" for ".".
    """
    x = _padded(inputs, 3, _convolution(64, 7, strides=2, name="conv1"))
    x = layers.ReLU()(_normalisation(name="bn1")(x))
    x = _padded_pooling(x)
    for stage, (channels, blocks) in enumerate(_STAGES, start=1):
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 1 else 1
            x = _block(x, channels, stride, f"layer{stage}_{block}_")
    return x


def _block(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    shortcut = x
    if stride > 1:
        shortcut = _convolution(channels, 1, strides=stride, name=f"{name}downsample_0")(shortcut)
        shortcut = _normalisation(name=f"{name}downsample_1")(shortcut)
    x = _padded(x, 1, _convolution(channels, 3, strides=stride, name=f"{name}conv1"))
    x = layers.ReLU()(_normalisation(name=f"{name}bn1")(x))
    x = _padded(x, 1, _convolution(channels, 3, name=f"{name}conv2"))
    x = _normalisation(name=f"{name}bn2")(x)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def resnet34_preact(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """The LS+ authors' pre-activation ResNet-34, 21,302,473 parameters with three channels.

    Parameters
    ----------
    inputs : keras.KerasTensor, shape (B, H, W, C)
        H and W at least 32.

    Returns
    -------
    keras.KerasTensor, shape (B, ceil(H/32), ceil(W/32), 512)
        Features, after BatchNormalization and ReLU.

    Notes
    -----
    The network of the package image-classifiers 1.0.0, with its layers' names: inputs are
    normalised without a scale, normalisation and ReLU come before each convolution, and every
    stage's first shortcut is a convolution of what was normalised.
    """
    x = _preact_normalisation(scale=False, name="bn_data")(inputs)
    x = _padded(x, 3, _preact_convolution(64, 7, strides=2, name="conv0"))
    x = layers.ReLU(name="relu0")(_preact_normalisation(name="bn0")(x))
    x = _padded_pooling(x)
    for stage, (channels, blocks) in enumerate(_STAGES, start=1):
        for unit in range(1, blocks + 1):
            stride = 2 if unit == 1 and stage > 1 else 1
            x = _preact_block(x, channels, stride, unit == 1, f"stage{stage}_unit{unit}_")
    return layers.ReLU(name="relu1")(_preact_normalisation(name="bn1")(x))


def _preact_block(
    x: keras.KerasTensor, channels: int, stride: int, projects: bool, name: str
) -> keras.KerasTensor:
    activated = layers.ReLU(name=f"{name}relu1")(_preact_normalisation(name=f"{name}bn1")(x))
    shortcut = x
    if projects:
        shortcut = _preact_convolution(channels, 1, strides=stride, name=f"{name}sc")(activated)
    x = _padded(activated, 1, _preact_convolution(channels, 3, strides=stride, name=f"{name}conv1"))
    x = layers.ReLU(name=f"{name}relu2")(_preact_normalisation(name=f"{name}bn2")(x))
    x = _padded(x, 1, _preact_convolution(channels, 3, name=f"{name}conv2"))
    return layers.Add()([x, shortcut])


def _padded(x: keras.KerasTensor, pixels: int, layer: keras.Layer) -> keras.KerasTensor:
    # Keras's padding="same" puts the odd pixel of a strided convolution on the right and below.
    return layer(layers.ZeroPadding2D(pixels)(x))


def _padded_pooling(x: keras.KerasTensor) -> keras.KerasTensor:
    """The maximum of 3x3 at every second pixel; `x` is not negative, so that zeros change none."""
    return _padded(x, 1, layers.MaxPooling2D(3, strides=2))
