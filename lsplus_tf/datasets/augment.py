"""Random augmentation of a batch: one resampling for everything geometric, and a channel shift."""

import math
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from lsplus_tf.config import Augmentation

# One independent stream of random numbers per use, so that switching one option on does not
# change what the others draw. Append only: the position is the stream.
_STREAMS = (
    "horizontal_flip",
    "vertical_flip",
    "rotation",
    "zoom",
    "shift",
    "shear",
    "crop",
    "channel_shift",
)


def augment_batch(
    images: tf.Tensor,
    augmentation: "Augmentation",
    seed: tf.Tensor,
    *,
    first: tf.Tensor | int = 0,
    whole: tf.Tensor | None = None,
) -> tf.Tensor:
    """Augment each image of a batch on its own.

    Parameters
    ----------
    images : tf.Tensor
        float32, shape (B, H, W, C), values 0..255.
    augmentation : lsplus_tf.config.Augmentation
        What to do, and how strongly.
    seed : tf.Tensor
        int32 or int64, shape (2,). The result is a function of the arguments alone.
    first, whole : tf.Tensor or int, tf.Tensor or None
        The images are those from `first` on of a batch of `whole`, and are changed as they are
        there; by default they are the whole batch.

    Returns
    -------
    tf.Tensor
        float32, shape (B, H, W, C), values 0..255. With every option off, `images` itself; with
        every geometric option off, no resampling.

    Notes
    -----
    The content of the image is cropped, shifted, rotated, sheared, zoomed and flipped, in this
    order, about the centre of the image. All of it is one affine map per image, which is sampled
    once, bilinearly; beyond the border the nearest pixel is repeated.

    Examples
    --------
    >>> from lsplus_tf.config import Augmentation
    >>> images = tf.random.stateless_uniform((2, 8, 8, 3), seed=[0, 0], maxval=255.0)
    >>> options = Augmentation(rotation=10.0, zoom=0.2)
    >>> augment_batch(images, options, tf.constant([0, 1])).shape
    TensorShape([2, 8, 8, 3])
    """
    streams = tf.unstack(tf.random.split(seed, num=len(_STREAMS)))
    seeds = dict(zip(_STREAMS, streams, strict=True))
    count, channels = tf.shape(images)[0], images.shape[3]
    batch = count if whole is None else whole
    size = tf.concat([[batch], tf.shape(images)[1:3]], axis=0)
    geometric = (
        augmentation.horizontal_flip,
        augmentation.vertical_flip,
        augmentation.rotation,
        augmentation.zoom,
        augmentation.shift,
        augmentation.shear,
        augmentation.crop,
    )
    if any(geometric):
        shape = images.shape
        images = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=random_transforms(size, augmentation, seeds)[first : first + count],
            output_shape=size[1:],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="NEAREST",
        )
        images = tf.ensure_shape(images, shape)
    if augmentation.channel_shift:
        offsets = _symmetric(
            (batch, 1, 1, channels), augmentation.channel_shift, seeds["channel_shift"]
        )
        images = tf.clip_by_value(images + offsets[first : first + count], 0.0, 255.0)
    return images


def random_transforms(
    size: tf.Tensor, augmentation: "Augmentation", seeds: dict[str, tf.Tensor]
) -> tf.Tensor:
    """Draw one affine map per image.

    Parameters
    ----------
    size : tf.Tensor
        int32, shape (3,): batch, height, width.
    augmentation : lsplus_tf.config.Augmentation
        The ranges.
    seeds : dict of str to tf.Tensor
        A seed, shape (2,), for each option.

    Returns
    -------
    tf.Tensor
        float32, shape (B, 8), as ImageProjectiveTransformV3 takes it: the first six are the rows
        of the matrix that takes a pixel (x, y, 1) of the result to where it is read in the image.
    """
    batch = size[0]
    # Pixel centres have whole coordinates, so the middle of the image is half a pixel lower.
    extent = tf.cast(size[:0:-1], tf.float32)
    centre = (extent - 1.0) / 2.0

    flips = [
        _flip_signs(batch, on, seeds[option])
        for option, on in (
            ("horizontal_flip", augmentation.horizontal_flip),
            ("vertical_flip", augmentation.vertical_flip),
        )
    ]
    zoom = 1.0 + _symmetric((batch, 2), augmentation.zoom, seeds["zoom"])
    angle = _symmetric((batch,), math.radians(augmentation.rotation), seeds["rotation"])
    slope = tf.tan(_symmetric((batch,), math.radians(augmentation.shear), seeds["shear"]))
    shift = _symmetric((batch, 2), augmentation.shift, seeds["shift"])
    window = 1.0 - augmentation.crop
    corner = _symmetric((batch, 2), augmentation.crop / 2.0, seeds["crop"])

    cos, sin, one, zero = tf.cos(angle), tf.sin(angle), tf.ones_like(angle), tf.zeros_like(angle)
    rotation = _matrices([[cos, -sin], [sin, cos]])
    shear = _matrices([[one, slope], [zero, one]])
    linear = window * rotation @ shear @ tf.linalg.diag(zoom * tf.stack(flips, axis=1))
    offset = (corner + window * shift) * extent
    # source = centre + offset + linear (pixel - centre)
    constant = centre + offset - tf.linalg.matvec(linear, centre)
    affine = tf.concat([linear, constant[:, :, None]], axis=2)
    return tf.pad(tf.reshape(affine, (batch, 6)), [[0, 0], [0, 2]])


def _symmetric(shape: tuple[Any, ...], limit: float, seed: tf.Tensor) -> tf.Tensor:
    """Draw float32 uniformly from [-limit, limit)."""
    return limit * (2.0 * tf.random.stateless_uniform(shape, seed) - 1.0)


def _flip_signs(batch: tf.Tensor, on: bool, seed: tf.Tensor) -> tf.Tensor:
    """Draw -1 (flip) or 1 with equal chance, shape (B,); 1 where the option is off."""
    if not on:
        return tf.ones((batch,))
    return tf.where(tf.random.stateless_uniform((batch,), seed) < 0.5, -1.0, 1.0)


def _matrices(rows: list[list[tf.Tensor]]) -> tf.Tensor:
    """Stack a matrix of (B,) tensors into shape (B, rows, columns)."""
    return tf.stack([tf.stack(row, axis=1) for row in rows], axis=1)
