"""How compact the classes are in what a network makes of its images before its last layer."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lsplus_tf.errors import InputError
from lsplus_tf.predictions import Rows, checks

__all__ = ["within_class_share"]


def within_class_share(labels: npt.ArrayLike, features: npt.ArrayLike) -> float:
    """The share of the features' variance that lies within classes: tr(S_W) / tr(S_T).

    S_W is the scatter of the samples about their class's mean, S_T that about the mean of all. 0
    means that every class is one point, 1 that the classes have the same mean. Neither the scale
    of the features nor a rotation or shift changes it, so that it compares networks.

    It does not show whether neighbouring classes overlap: two classes in the same place lie well
    within a share of 0.1 if the others are far away; scikit-learn's `silhouette_score` compares
    each sample with the nearest other class. Nor does a small share of training images show
    anything about new images or about calibration: label smoothing makes classes compact by its
    targets, whether or not that helps, and so does knowing the training images by heart. Every
    direction of the features counts by its variance, used by the last layer or not.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        True classes. A class of one sample has no scatter, so that several of each are needed.
    features : array_like, shape (N, D)
        Such as the outputs of a network's penultimate layer.

    Returns
    -------
    float
        In [0, 1]; NaN where all samples have the same features.

    Raises
    ------
    InputError
        If features and labels are not as above.

    References
    ----------
    Fukunaga, "Introduction to Statistical Pattern Recognition", 2nd edition, 1990, chapter 10 (the
    scatter matrices). Mueller et al., NeurIPS 2019, on what label smoothing does to the penultimate
    layer.

    Examples
    --------
    Two classes with the means 1 and 5, each with its samples 1 from it; all have the mean 3:

    >>> within_class_share([0, 0, 1, 1], [[0.0], [2.0], [4.0], [6.0]])
    0.2
    """
    classes, points = checked_features(labels, features)
    centred = points - points.mean(axis=0)
    total = float(np.einsum("nd,nd->", centred, centred))
    # Differences that are nothing but rounding are no variance.
    if total <= points.size * (4 * np.finfo(np.float64).eps * np.abs(points).max()) ** 2:
        return float("nan")
    for k in np.unique(classes):
        centred[classes == k] -= centred[classes == k].mean(axis=0)
    return float(np.einsum("nd,nd->", centred, centred)) / total


def checked_features(
    labels: npt.ArrayLike, features: npt.ArrayLike
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Labels (N,) and features (N, D) as arrays; raises InputError for what is neither."""
    points = checks.numbers("features", features, Rows()).astype(np.float64)
    classes = checks.numbers("labels", labels, Rows())
    if points.ndim != 2 or 0 in points.shape or not np.isfinite(points).all():
        raise InputError(
            f"features: expected finite numbers of shape (N, D), received shape {points.shape}"
            + ("" if np.isfinite(points).all() else " with NaN or infinity")
        )
    if classes.shape != (len(points),) or not np.issubdtype(classes.dtype, np.integer):
        raise InputError(
            f"labels: expected integers of shape ({len(points)},), "
            f"received {classes.dtype} of shape {classes.shape}"
        )
    return classes, points
