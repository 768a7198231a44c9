"""A residual network for small images, such as 8x8 digits or 28x28 X-rays."""

from __future__ import annotations

import keras
from keras import layers


def small_residual_cnn(inputs: keras.KerasTensor, *, width: float = 1.0) -> keras.KerasTensor:
    """Three residual stages of 32, 64 and 128 channels (times `width`), the last two at half size.

    About 300,000 parameters at width 1.

    Parameters
    ----------
    inputs : keras.KerasTensor, shape (B, H, W, C)
        H and W at least 4.
    width : float
        Multiplier of the channel counts, > 0.

    Returns
    -------
    keras.KerasTensor, shape (B, ceil(H/4), ceil(W/4), round(128 * width))
        Features, after BatchNormalization and ReLU.
    """
    x = inputs
    for stage, channels in enumerate((32, 64, 128)):
        stride = 1 if stage == 0 else 2
        x = _residual_block(x, max(1, round(channels * width)), stride, f"stage{stage + 1}_")
    return x


def _residual_block(
    x: keras.KerasTensor, channels: int, stride: int, name: str
) -> keras.KerasTensor:
    # Every `stride`-th pixel, then a 1x1 convolution: what a strided 1x1 convolution computes. The
    # weight gradient of that one, in TensorFlow 2.21's oneDNN kernels, corrupts memory for odd
    # batches and fewer than 16 channels.
    shortcut = x if stride == 1 else layers.MaxPooling2D(pool_size=1, strides=stride)(x)
    shortcut = _convolution(shortcut, channels, 1, 1, f"{name}shortcut")
    x = layers.ReLU()(_convolution(x, channels, 3, stride, f"{name}conv1"))
    x = _convolution(x, channels, 3, 1, f"{name}conv2")
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _convolution(
    x: keras.KerasTensor, channels: int, kernel_size: int, stride: int, name: str
) -> keras.KerasTensor:
    x = layers.Conv2D(
        channels,
        kernel_size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    # The default momentum of 0.99 lags for hundreds of steps, which small sets do not have.
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
