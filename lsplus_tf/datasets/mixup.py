"""Mixup: every image of a batch is blended with another of it, and so are the labels."""

import tensorflow as tf

from lsplus_tf.errors import InputError


def mixup_batch(
    images: tf.Tensor, labels: tf.Tensor, num_classes: int, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend a batch with a permutation of itself, by one factor that is drawn for the batch.

    Parameters
    ----------
    images : tf.Tensor
        float32, shape (B, H, W, C).
    labels : tf.Tensor
        Class ids, int, shape (B,), 0..K-1, or soft labels, float32, shape (B, K).
    num_classes : int
        K.
    alpha : float
        The factor is drawn from Beta(alpha, alpha), alpha > 0. Small values leave most batches
        nearly as they are; 1 draws evenly from 0..1.
    seed : tf.Tensor
        int32 or int64, shape (2,). The result is a function of the arguments alone.

    Returns
    -------
    tuple of tf.Tensor
        Images, float32 (B, H, W, C), and soft labels, float32 (B, K), rows that sum to 1. All
        losses of `lsplus_tf.losses` take them: one that is linear in the label loses
        factor * loss(a) + (1 - factor) * loss(b), as in the paper.

    Raises
    ------
    InputError
        If `alpha` is not above 0.

    Notes
    -----
    Source: Zhang et al., ICLR 2018; one factor per batch as in their released code.

    Examples
    --------
    >>> images, labels = tf.ones((4, 8, 8, 1)), tf.constant([0, 1, 2, 0])
    >>> mixed, soft = mixup_batch(images, labels, 3, alpha=0.2, seed=tf.constant([0, 1]))
    >>> mixed.shape, soft.shape
    (TensorShape([4, 8, 8, 1]), TensorShape([4, 3]))
    """
    if not 0 < alpha < float("inf"):
        raise InputError(f"alpha: expected a number above 0, received {alpha}")
    if labels.shape.rank == 1:
        labels = tf.one_hot(labels, num_classes)
    factor_seed, order_seed = tf.unstack(tf.random.split(seed, num=2))
    # Beta from two Gammas; both may underflow where alpha is tiny, which is a factor of 0 then.
    gammas = tf.random.stateless_gamma([2], factor_seed, alpha)
    factor = tf.math.divide_no_nan(gammas[0], gammas[0] + gammas[1])
    keys = tf.random.stateless_uniform(
        tf.shape(images)[:1], order_seed, minval=None, maxval=None, dtype=tf.int64
    )
    order = tf.argsort(keys, stable=True)

    def blend(values: tf.Tensor) -> tf.Tensor:
        return factor * values + (1.0 - factor) * tf.gather(values, order)

    return blend(images), blend(labels)
