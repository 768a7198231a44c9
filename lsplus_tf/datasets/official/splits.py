"""The LS+ authors' validation splits, where the publisher of a data set has none."""

import math

import numpy as np
import numpy.typing as npt

from lsplus_tf.datasets.splitting import stratified_indices


def hold_out(
    parts: npt.NDArray[np.str_],
    labels: npt.NDArray[np.int64],
    class_names: tuple[str, ...],
    *,
    fraction: float,
    seed: int,
    name: str,
    groups: npt.NDArray[np.str_] | None = None,
) -> npt.NDArray[np.str_]:
    """Move some training images to the validation split, stratified by class.

    Parameters
    ----------
    parts : numpy.ndarray
        str, shape (N,): "train" or "test".
    labels : numpy.ndarray
        int64, shape (N,).
    class_names : tuple of str
        The K classes, for messages.
    fraction : float
        Share of the training images, rounded up.
    seed : int
        The seed of scikit-learn's splitter, which sees the training images in their order.
    name : str
        The data set, for messages.
    groups : numpy.ndarray or None
        str, shape (N,). With them whole groups are moved, and the share is only about right.

    Returns
    -------
    numpy.ndarray
        str, shape (N,): "train", "validation" or "test".

    Raises
    ------
    InputError
        If a class has too few training images.
    """
    train = np.flatnonzero(parts == "train")
    _, taken = stratified_indices(
        labels[train],
        math.ceil(fraction * len(train)),
        class_names,
        seed=seed,
        purpose=f"{name}: validation split of {fraction:.0%}",
        groups=None if groups is None else groups[train],
    )
    divided = parts.astype("<U10")
    divided[train[taken]] = "validation"
    return divided
