"""Mixup: every image of a batch is blended with another of it, and so are the labels."""

from typing import Any

import tensorflow as tf

from lsplus_tf.errors import InputError, check_positive
from lsplus_tf.losses.base import refuse


def mixup_batch(
    images: Any, labels: Any, num_classes: int, alpha: float, seed: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend a batch with a permutation of itself, by one factor that is drawn for the batch.

    Parameters
    ----------
    images : tf.Tensor or ndarray
        Shape (B, H, W, C), or (B, F) features; any real dtype.
    labels : tf.Tensor or ndarray
        Class ids, shape (B,) or (B, 1), 0..K-1, or soft labels, shape (B, K).
    num_classes : int
        How many classes there are.
    alpha : float
        The factor is drawn from Beta(alpha, alpha), alpha > 0. Small values leave most batches
        nearly as they are; 1 draws evenly from 0..1.
    seed : tf.Tensor or ndarray
        int32 or int64, shape (2,), another for every batch. The result is a function of the
        arguments alone.

    Returns
    -------
    tuple of tf.Tensor
        Images, float32, in their shape, and soft labels, float32 (B, K), rows that sum to 1. All
        losses of `lsplus_tf.losses` take them: one that is linear in the label loses
        factor * loss(a) + (1 - factor) * loss(b), as in the paper.

    Raises
    ------
    InputError
        If `alpha` is not above 0, a shape does not fit, or, in eager mode, a class id is out of
        range; in the graph of a `tf.data` pipeline that stops the step.

    Notes
    -----
    Not linear in the label are the Brier score (its gradient is), DCA, MDCA, MMCE, DECE and MEEP,
    which measure the mixed batch as it is.
    Source: Zhang et al., ICLR 2018; one factor per batch as in their released code.

    Examples
    --------
    >>> import numpy as np, tensorflow as tf
    >>> batches = tf.data.Dataset.from_tensors((np.ones((4, 8, 8, 1)), np.array([0, 1, 2, 0])))
    >>> seeds = tf.data.Dataset.random(seed=1).batch(2)
    >>> mixed = tf.data.Dataset.zip(batches, seeds).map(
    ...     lambda batch, seed: mixup_batch(*batch, num_classes=3, alpha=0.2, seed=seed)
    ... )
    >>> [tuple(part.shape) for part in next(iter(mixed))]
    [(4, 8, 8, 1), (4, 3)]
    """
    check_positive("alpha", alpha)
    images, labels = tf.cast(images, tf.float32), tf.convert_to_tensor(labels)
    seed = tf.convert_to_tensor(seed)
    if seed.shape.rank != 1 or not seed.shape.is_compatible_with([2]):
        raise InputError(f"seed: expected two integers, received shape {tuple(seed.shape)}")
    if labels.shape.rank == 2 and labels.shape[1] == 1:
        labels = tf.squeeze(labels, axis=1)
    if labels.shape.rank == 1:
        ids = tf.cast(labels, tf.int32)
        known = (tf.cast(ids, labels.dtype) == labels) & (ids >= 0) & (ids < num_classes)
        refuse(known, f"labels: expected class ids in 0..{num_classes - 1}", labels)
        labels = tf.one_hot(ids, num_classes)
    elif labels.shape.rank != 2 or labels.shape[1] != num_classes:
        raise InputError(
            f"labels: expected shape (batch,) or (batch, {num_classes}), "
            f"received shape {tuple(labels.shape)}"
        )
    labels = tf.cast(labels, tf.float32)
    factor_seed, order_seed = tf.unstack(tf.random.split(seed, num=2))
    # Beta from two Gammas; both may underflow where alpha is tiny, which is a factor of 0 then.
    gammas = tf.random.stateless_gamma([2], factor_seed, alpha)
    factor = tf.math.divide_no_nan(gammas[0], gammas[0] + gammas[1])
    keys = tf.random.stateless_uniform(
        tf.shape(labels)[:1], order_seed, minval=None, maxval=None, dtype=tf.int64
    )
    order = tf.argsort(keys, stable=True)

    def blend(values: tf.Tensor) -> tf.Tensor:
        return factor * values + (1.0 - factor) * tf.gather(values, order)

    return blend(images), blend(labels)
