"""Class priors: what the targets of a class are smoothed towards. NumPy in, (K, K) out.

Row k of a prior is a distribution over the K classes, the v^k of the LS+ paper
(Sambyal et al., MICCAI 2024). What cannot be used raises `InputError`, which names the argument.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lsplus_tf.errors import MOST_CLASSES, InputError, check_count, check_number, some_of

__all__ = [
    "can_shrink",
    "check_prior",
    "class_accuracy",
    "class_counts",
    "doubtful_estimates",
    "doubtful_values",
    "informed_prior",
    "shrink_class_accuracy",
    "uniform_prior",
]

ALL_THE_SAME = (
    "All are the same, so shrinking changes none; estimate them from samples that the network has "
    "partly right"
)
FEW_SAMPLES = 5  # below this many validation samples an accuracy is hardly an estimate


def check_prior(prior: ArrayLike) -> NDArray[np.float64]:
    """Return `prior` as float64 (K, K), or raise `InputError` with what is wrong with it.

    Rows must be distributions: no NaN, nothing negative, sums within 1e-5 of 1.

    Parameters
    ----------
    prior : array_like, shape (K, K)

    Examples
    --------
    >>> from lsplus_tf.priors import check_prior
    >>> check_prior([[0.5, 0.5], [0.1, 0.9]]).shape
    (2, 2)
    """
    try:
        matrix = np.array(prior, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"prior: expected a (K, K) matrix of numbers, received {prior!r}"
        ) from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        hint = "; make one from class accuracies with informed_prior()" if matrix.ndim == 1 else ""
        raise InputError(
            f"prior: expected shape (K, K) with K >= 2, received shape {matrix.shape}{hint}"
        )
    for wrong, what in ((~np.isfinite(matrix), "finite values"), (matrix < 0, "values >= 0")):
        if wrong.any():
            k, j = np.argwhere(wrong)[0]
            raise InputError(f"prior: expected {what}, received {matrix[k, j]} at [{k}, {j}]")
    sums = matrix.sum(axis=1)
    if not np.allclose(sums, 1.0, rtol=0, atol=1e-5):
        k = int(np.argmax(np.abs(sums - 1.0)))
        raise InputError(f"prior: expected rows that sum to 1, received {sums[k]:.6g} in row {k}")
    return matrix


def class_accuracy(
    labels: ArrayLike, predictions: ArrayLike, num_classes: int
) -> NDArray[np.float64]:
    """Class-wise accuracy V (recall): of the samples of class k, the share predicted as k.

    Parameters
    ----------
    labels : array_like of int, shape (N,) or (N, 1)
        True class ids, 0..K-1; beside scores one-hot rows (N, K) are taken too.
    predictions : array_like, shape (N,) or (N, K)
        Predicted class ids, or logits or probabilities.
    num_classes : int
        Number of classes, K.

    Returns
    -------
    ndarray of float64, shape (K,)
        In [0, 1].

    Raises
    ------
    InputError
        Shapes that do not fit, NaN, ids out of range, or a class without samples, whose accuracy is
        not defined.

    Notes
    -----
    Source: V^acc of Sambyal et al., MICCAI 2024, estimated on the validation data.

    Examples
    --------
    >>> from lsplus_tf.priors import class_accuracy
    >>> class_accuracy([0, 0, 1, 1], [0, 1, 1, 1], num_classes=2).tolist()
    [0.5, 1.0]
    """
    scores = np.asarray(predictions)
    if np.ndim(labels) == 2 and np.shape(labels)[1] > 1 and scores.shape == np.shape(labels)[:1]:
        raise InputError(
            f"labels: expected a class for each sample, received shape {np.shape(labels)}, and one "
            "for each in place of the predictions; labels come first: exchange the two"
        )
    if scores.ndim == 2:
        labels = _of_one_hot(labels, num_classes)
    labels = _class_ids("labels", labels, num_classes)
    if scores.ndim == 2:
        if scores.shape != (len(labels), num_classes):
            raise InputError(
                f"predictions: expected shape ({len(labels)},) or ({len(labels)}, {num_classes}), "
                f"received shape {scores.shape}"
            )
        if not np.isfinite(scores).all():
            row = int(np.argwhere(~np.isfinite(scores))[0, 0])
            raise InputError(
                f"predictions: expected finite values, received {scores[row]} in row {row}"
            )
        scores = scores.argmax(axis=1)
    predicted = _class_ids("predictions", scores, num_classes)
    if len(predicted) != len(labels):
        raise InputError(
            f"predictions: expected {len(labels)} entries, one per label, received {len(predicted)}"
        )
    counts = class_counts(labels, num_classes)
    if (counts == 0).any():
        raise InputError(
            f"labels: expected samples of every class, found none of "
            f"{np.flatnonzero(counts == 0).tolist()}"
        )
    return np.bincount(labels[predicted == labels], minlength=num_classes) / counts


def class_counts(labels: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Number of samples of every class, (K,).

    Parameters
    ----------
    labels : array_like of int, shape (N,) or (N, 1)
        Class ids, 0..K-1; also one-hot rows (N, K).
    num_classes : int
        Number of classes, K.

    Examples
    --------
    >>> from lsplus_tf.priors import class_counts
    >>> class_counts([0, 2, 2], num_classes=3).tolist()
    [1, 0, 2]
    """
    ids = _class_ids("labels", _of_one_hot(labels, num_classes), num_classes)
    return np.bincount(ids, minlength=num_classes)


def shrink_class_accuracy(
    accuracy: ArrayLike, counts: ArrayLike, strength: float
) -> NDArray[np.float64]:
    """Draw class accuracies towards the overall accuracy, those of few samples most.

    V_k becomes (n_k V_k + m V) / (n_k + m) with V the accuracy over all samples and m the
    `strength`: the posterior mean under a Beta prior worth m samples. It keeps a class with one
    or two validation images from a V of exactly 0 or 1. The LS+ paper does not shrink.

    Parameters
    ----------
    accuracy : array_like, shape (K,)
        Class accuracies in [0, 1].
    counts : array_like of int, shape (K,)
        Validation samples per class.
    strength : float
        m >= 0, in samples; 0 changes nothing.

    Returns
    -------
    ndarray of float64, shape (K,)
        In [0, 1].

    Examples
    --------
    >>> from lsplus_tf.priors import shrink_class_accuracy
    >>> shrink_class_accuracy([0.8, 1.0], [9, 1], strength=1).round(3).tolist()
    [0.802, 0.91]
    """
    accuracy = _check_accuracy(accuracy)
    samples = _check_counts(counts, len(accuracy))
    strength = check_number("strength", strength)
    if strength == 0:
        return accuracy
    overall = (samples * accuracy).sum() / samples.sum()
    return (samples * accuracy + strength * overall) / (samples + strength)


def can_shrink(accuracy: ArrayLike) -> bool:
    """Whether shrinking keeps class accuracies from exactly 0 and 1: not if all are 0, or all 1.

    Parameters
    ----------
    accuracy : array_like, shape (K,)
        Class accuracies in [0, 1].

    Examples
    --------
    >>> from lsplus_tf.priors import can_shrink
    >>> can_shrink([0.9, 1.0]), can_shrink([1.0, 1.0])
    (True, False)
    """
    values = _check_accuracy(accuracy)
    return bool((values > 0).any() and (values < 1).any())


def informed_prior(class_accuracy: ArrayLike, *, warn: bool = True) -> NDArray[np.float64]:
    """The LS+ prior: row k has V_k on the diagonal and (1 - V_k) / (K - 1) elsewhere.

    Parameters
    ----------
    class_accuracy : array_like, shape (K,)
        Class accuracies V in [0, 1], K >= 2.
    warn : bool
        Whether to warn of doubtful accuracies; False where that was done.

    Returns
    -------
    ndarray of float64, shape (K, K)
        Rows that sum to 1.

    Raises
    ------
    InputError
        Not one number per class, NaN, or values outside [0, 1].

    Warns
    -----
    UserWarning
        An accuracy of exactly 0 or 1, as a network has that predicts one class alone: labels of the
        class are then smoothed towards every class but itself, or not at all.

    Notes
    -----
    Source: Sambyal et al., MICCAI 2024, Eq. 3.

    Examples
    --------
    >>> from lsplus_tf.priors import informed_prior
    >>> informed_prior([0.6, 0.9, 0.8]).round(3).tolist()
    [[0.6, 0.2, 0.2], [0.05, 0.9, 0.05], [0.1, 0.1, 0.8]]
    """
    accuracy = _check_accuracy(class_accuracy)
    doubts = doubtful_values(accuracy)
    if warn and doubts:
        if can_shrink(accuracy):
            remedy = (
                "To draw them towards the overall accuracy, use shrink_class_accuracy(accuracy, "
                "counts, strength=5), or a larger strength if they were"
            )
        else:
            remedy = ALL_THE_SAME
        warnings.warn(
            f"the class accuracies behind the prior are doubtful ({'; '.join(doubts)}). {remedy}",
            stacklevel=2,
        )
    num_classes = len(accuracy)
    prior = np.repeat(((1.0 - accuracy) / (num_classes - 1))[:, None], num_classes, axis=1)
    np.fill_diagonal(prior, accuracy)
    return prior


def uniform_prior(num_classes: int) -> NDArray[np.float64]:
    """The prior of plain label smoothing, 1/K everywhere, (K, K).

    Parameters
    ----------
    num_classes : int
        Number of classes, K.

    Examples
    --------
    >>> from lsplus_tf.priors import uniform_prior
    >>> uniform_prior(2).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    check_count("num_classes", num_classes, least=2, most=MOST_CLASSES)
    return np.full((num_classes, num_classes), 1.0 / num_classes)


def doubtful_estimates(
    accuracy: ArrayLike,
    counts: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    shrinkage: float = 0.0,
) -> list[str]:
    """What is doubtful about class accuracies as a prior, a phrase each; empty if nothing is.

    Named are classes with fewer than five validation samples, accuracies of exactly 0 or 1, for
    which the prior's row is one-hot or has nothing on the true class, and others below 1/K, for
    which it has less there than on every other class.

    Parameters
    ----------
    accuracy : array_like, shape (K,)
        Class accuracies in [0, 1].
    counts : array_like of int, shape (K,)
        Validation samples per class.
    class_names : sequence of str, length K, optional
        By default 0, 1 and so on.
    shrinkage : float
        The strength with which `accuracy` was shrunk, if it was: samples that count beside those
        of a class, so that 5 answers for every class.

    Examples
    --------
    >>> from lsplus_tf.priors import doubtful_estimates
    >>> doubtful_estimates([0.5, 1.0, 1.0], [100, 3, 50])
    ['fewer than 5 validation samples of class 1', 'class accuracy exactly 1 of class 1, 2']
    """
    values = _check_accuracy(accuracy)
    samples = _check_counts(counts, len(values))
    few = samples + check_number("shrinkage", shrinkage) < FEW_SAMPLES
    found = _phrases({f"fewer than {FEW_SAMPLES} validation samples": few}, class_names)
    return found + doubtful_values(values, class_names)


def doubtful_values(accuracy: ArrayLike, class_names: Sequence[str] | None = None) -> list[str]:
    """What is doubtful about class accuracies whatever they come from: 0, 1 or below 1/K.

    Parameters
    ----------
    accuracy : array_like, shape (K,)
        Class accuracies in [0, 1].
    class_names : sequence of str, length K, optional
        By default 0, 1 and so on.

    Examples
    --------
    >>> from lsplus_tf.priors import doubtful_values
    >>> doubtful_values([0.5, 1.0], ["benign", "malignant"])
    ['class accuracy exactly 1 of class malignant']
    >>> doubtful_values([0.8, 0.1])
    ['class accuracy below 1/2, that of guessing, of class 1']
    """
    values = _check_accuracy(accuracy)
    found = {f"class accuracy exactly {value}": values == value for value in (0, 1)}
    guessed = f"class accuracy below 1/{len(values)}, that of guessing,"
    found[guessed] = (values > 0) & (values < 1 / len(values))
    return _phrases(found, class_names)


def _phrases(
    reasons: dict[str, NDArray[np.bool_]], class_names: Sequence[str] | None = None
) -> list[str]:
    """A phrase for each reason that concerns some class."""

    def name(k: int) -> str:
        return str(k) if class_names is None else class_names[k]

    return [
        f"{reason} of class {some_of([name(int(k)) for k in np.flatnonzero(concerned)])}"
        for reason, concerned in reasons.items()
        if concerned.any()
    ]


def _check_accuracy(accuracy: ArrayLike) -> NDArray[np.float64]:
    try:
        values = np.array(accuracy, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"class_accuracy: expected numbers, received {accuracy!r}") from error
    if values.ndim != 1 or len(values) < 2:
        raise InputError(
            f"class_accuracy: expected shape (K,) with K >= 2, received shape {values.shape}"
        )
    outside = ~((values >= 0) & (values <= 1))  # also true for NaN
    if outside.any():
        k = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"class_accuracy: expected values in [0, 1], received {values[k]} for class {k}"
        )
    return values


def _check_counts(counts: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    samples = np.asarray(counts, dtype=np.float64)
    if (
        samples.shape != (num_classes,)
        or not (samples >= 0).all()
        or not 0 < samples.sum() < np.inf
    ):
        raise InputError(
            f"counts: expected {num_classes} numbers >= 0 that are not all 0, received {counts!r}"
        )
    return samples


def _class_ids(name: str, values: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    ids = np.asarray(values)
    if ids.ndim == 2 and ids.shape[1] == 1:  # as MedMNIST and Keras store labels
        ids = ids[:, 0]
    if ids.ndim != 1 or len(ids) == 0:
        raise InputError(f"{name}: expected shape (N,) with N >= 1, received shape {ids.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{name}: expected integer class ids, received dtype {ids.dtype}")
    outside = (ids < 0) | (ids >= num_classes)
    if outside.any():
        i = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"{name}: expected class ids in 0..{num_classes - 1}, received {ids[i]} at index {i}"
        )
    return ids.astype(np.int64)


def _of_one_hot(values: ArrayLike, num_classes: int) -> ArrayLike:
    """The class ids of rows (N, K) of zeros and a single one each; other values as they are."""
    rows = np.asarray(values)
    if rows.ndim != 2 or rows.shape[1] != num_classes or not ((rows == 0) | (rows == 1)).all():
        return values
    return rows.argmax(axis=1) if (rows.sum(axis=1) == 1).all() else values
