"""Predictions against the exact class probabilities, where those are known.

Every function takes ``posterior`` (N, K), the exact p(y | x) of each image, which the phantom of
:mod:`lsplus_tf.datasets.known.phantom` has, and softmax outputs ``probabilities`` (N, K), or logits
with ``from_logits=True``; or one :class:`~lsplus_tf.predictions.Predictions` that has it. No labels
enter, so that none of the numbers has the noise of drawn labels. What chance is left is which
images there are.
:class:`~lsplus_tf.errors.InputError` names the first row of a posterior that is negative, not
finite or does not sum to 1 within 1e-6.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr

from lsplus_tf.errors import check_flag
from lsplus_tf.metrics import weighted
from lsplus_tf.metrics.annotators import gap_to_shares, static_gap_to_shares
from lsplus_tf.metrics.bin_totals import CLOSED, PAPER_BINS, Binning, Closed, Norm
from lsplus_tf.predictions import Predictions, Rows, as_predictions, checks
from lsplus_tf.predictions.arrays import row_blocks

__all__ = [
    "excess_log_loss",
    "total_variation",
    "true_accuracy",
    "true_calibration_error",
    "true_class_confusion",
    "true_static_calibration_error",
]


def true_accuracy(
    posterior: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Mean exact probability that the predicted class is the right one.

    It is the expectation of the accuracy over labels, given the images. Of the posterior itself it
    is the Bayes accuracy on these images, which no other predictions exceed.

    Parameters
    ----------
    posterior : array_like, shape (N, K), or Predictions
        The exact p(y | x).
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If the predictions or the posterior are not valid.

    Examples
    --------
    >>> posterior = [[0.75, 0.25], [0.5, 0.5]]
    >>> true_accuracy(posterior, [[0.9, 0.1], [0.2, 0.8]])
    0.625
    """
    given = as_predictions(
        posterior,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
        of="posterior",
    )
    checked, exact = given.probabilities, _exact(given)
    return weighted.mean(exact[np.arange(len(exact)), checked.argmax(axis=1)], given)


def true_calibration_error(
    posterior: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    binning: Binning = "equal_width",
    norm: Norm = 1,
    closed: Closed = CLOSED,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """The ECE without label noise: confidence against the exact probability of being right.

    In each bin of confidence the mean confidence is compared with the mean posterior probability of
    the predicted classes, which is what the accuracy of the bin has as its expectation, given the
    images. The ECE from labels adds their noise to every gap before it takes its size, and so is
    larger on average; the truth itself has an ECE above 0, and an error of 0 here. What
    remains of the ECE is the binning: errors of opposite sign in one bin cancel. An error of 0 says
    that confidences are right on average over the images of a bin, not that they are right for
    each, which :func:`excess_log_loss` and :func:`total_variation` ask.

    Parameters
    ----------
    posterior : array_like, shape (N, K), or Predictions
        The exact p(y | x).
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Number of bins B, at least 1.
    binning : {"equal_width", "equal_mass"}
    norm : float or "max"
    closed : {"right", "left"}
        All as in :func:`~lsplus_tf.metrics.expected_calibration_error`.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each image counts; in bins of equal mass as in
        :func:`~lsplus_tf.metrics.adaptive_calibration_error`.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    Raises
    ------
    InputError
        If the predictions, the posterior or an option are not valid.

    Examples
    --------
    >>> posterior = [[0.75, 0.25], [0.5, 0.5]]
    >>> true_calibration_error(posterior, posterior)
    0.0
    >>> true_calibration_error(posterior, [[0.75, 0.25], [0.75, 0.25]])
    0.125
    """
    given = as_predictions(
        posterior,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
        of="posterior",
    )
    # The shares that endlessly many annotators' votes would have, if each saw the truth.
    return gap_to_shares(given, _exact(given), num_bins, binning, norm, closed)


def true_static_calibration_error(
    posterior: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    closed: Closed = CLOSED,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """The SCE without label noise: each class's probability against the exact one, over classes.

    For class j every sample counts: within bins of its probability of j, the mean probability is
    compared with the mean of p(j | x).

    Parameters
    ----------
    posterior : array_like, shape (N, K), or Predictions
        The exact p(y | x).
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Number of bins B, at least 1.
    closed : {"right", "left"}
        As in :func:`~lsplus_tf.metrics.static_calibration_error`.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    Raises
    ------
    InputError
        If the predictions, the posterior or an option are not valid.

    Examples
    --------
    >>> posterior = [[0.75, 0.25], [0.5, 0.5]]
    >>> true_static_calibration_error(posterior, [[0.75, 0.25], [0.75, 0.25]])
    0.125
    """
    given = as_predictions(
        posterior,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
        of="posterior",
    )
    return static_gap_to_shares(given, _exact(given), num_bins, closed)


def excess_log_loss(
    posterior: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Mean over samples of KL(p* || p): the expected log loss above the lowest that is possible.

    The expectation of the negative log-likelihood over labels is this plus the mean entropy of the
    posterior. A probability of 0 counts as 2.2e-308, as in
    :func:`~lsplus_tf.metrics.negative_log_likelihood`.

    Parameters
    ----------
    posterior : array_like, shape (N, K), or Predictions
        The exact p(y | x).
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        0 or more, in nats; 0 only where every row is the posterior.

    Raises
    ------
    InputError
        If the predictions or the posterior are not valid.

    Examples
    --------
    >>> posterior = [[0.75, 0.25], [0.5, 0.5]]
    >>> round(excess_log_loss(posterior, [[0.75, 0.25], [0.75, 0.25]]), 4)
    0.0719
    """
    given = as_predictions(
        posterior,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
        of="posterior",
    )
    checked, exact = given.probabilities, _exact(given)
    total = 0.0
    for rows in row_blocks(checked):
        block = checked[rows].astype(np.float64)
        # Rows of float32 sum to 1 within their rounding, which would count as an excess, or as less
        # than none.
        block /= block.sum(axis=1, keepdims=True)
        divergences = rel_entr(exact[rows], block.clip(np.finfo(np.float64).tiny)).sum(axis=1)
        divergences = divergences.clip(0)
        if given.sample_weight is not None:
            divergences *= given.sample_weight[rows]
        total += float(divergences.sum())
    return total / weighted.total(given)


def total_variation(
    posterior: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Mean over samples of the total variation distance, half the sum of ``|p*_k - p_k|``.

    Parameters
    ----------
    posterior : array_like, shape (N, K), or Predictions
        The exact p(y | x).
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        In [0, 1]: the largest difference that the two give an event, so that every
        probability of an image is off by at most its distance.

    Raises
    ------
    InputError
        If the predictions or the posterior are not valid.

    Examples
    --------
    >>> posterior = [[0.75, 0.25], [0.5, 0.5]]
    >>> total_variation(posterior, [[0.75, 0.25], [0.75, 0.25]])
    0.125
    """
    given = as_predictions(
        posterior,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
        of="posterior",
    )
    checked, exact = given.probabilities, _exact(given)
    total, weights = 0.0, given.sample_weight
    for rows in row_blocks(checked):
        distances = np.abs(checked[rows] - exact[rows])
        if weights is not None:
            distances *= weights[rows, np.newaxis]
        total += float(distances.sum())
    return total / (2 * weighted.total(given))


def true_class_confusion(
    posterior: npt.ArrayLike | Predictions,
    *,
    correct_only: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float64]:
    """Row k: what the exact posterior is on average over the images of class k.

    An image counts for class k by p(k | x), which is the share of its labels that would be k: the
    mean over drawn labels would have the same expectation, and more noise.

    Online label smoothing averages a network's predictions over those training images of a class
    that it classified correctly. With `correct_only` row k is that average for predictions that are
    the truth: E[p(. | x) | y = k, k is the most probable class]. With two classes its diagonal is
    never below that of all images of the class; with more it can be, where a class is a close
    second.

    Parameters
    ----------
    posterior : array_like, shape (N, K), or Predictions
        The exact p(y | x).
    correct_only : bool
        Count an image only for its most probable class, of equal ones the first.
    sample_weight : array_like, shape (N,), optional
        How often each image counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    ndarray of float64, shape (K, K)
        Rows sum to 1; NaN in the row of a class for which no image counts.

    Raises
    ------
    InputError
        If the posterior is not valid.

    Examples
    --------
    >>> posterior = [[0.75, 0.25], [0.25, 0.75]]
    >>> true_class_confusion(posterior).tolist()
    [[0.625, 0.375], [0.375, 0.625]]
    >>> true_class_confusion(posterior, correct_only=True).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """
    check_flag("correct_only", correct_only)
    if isinstance(posterior, Predictions):
        given = as_predictions(posterior, sample_weight=sample_weight, of="posterior")
        exact, counts = _exact(given), given.sample_weight
    else:
        exact, counts = checks.posterior(posterior, np.shape(posterior), Rows()), None
        if sample_weight is not None:
            counts = checks.sample_weight(sample_weight, len(exact), Rows())
    weights = exact
    if correct_only:
        weights = np.zeros_like(exact)
        samples, predicted = np.arange(len(exact)), exact.argmax(axis=1)
        weights[samples, predicted] = exact[samples, predicted]
    if counts is not None:
        weights = weights * counts[:, np.newaxis]
    with np.errstate(invalid="ignore"):
        confusion: npt.NDArray[np.float64] = (weights.T @ exact) / weights.sum(axis=0)[:, None]
    return confusion


def _exact(given: Predictions) -> npt.NDArray[np.float64]:
    assert given.posterior is not None
    return given.posterior
