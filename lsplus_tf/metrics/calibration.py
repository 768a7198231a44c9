"""Calibration errors: how far confidence is from accuracy, exact and in NumPy.

The arguments, the errors raised and the two conventions are those of
:mod:`lsplus_tf.metrics.functional`.
"""

import numpy.typing as npt

from lsplus_tf.metrics import _measures
from lsplus_tf.metrics._measures import PAPER_BINS
from lsplus_tf.metrics._predictions import Convention, check_predictions


def expected_calibration_error(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    num_bins: int = PAPER_BINS,
    convention: Convention = "standard",
) -> float:
    """ECE: mean distance between confidence and accuracy over bins of equal width.

    Bin b = 1..B holds the confidences in ((b-1)/B, b/B]. The edges are rounded to the dtype of the
    probabilities, so that a float32 0.2 ends a bin at 0.2 as a float64 one does.

    Parameters
    ----------
    probabilities : array_like, shape (N, K)
    labels : array_like of int, shape (N,)
    num_bins : int
        Number of bins B, at least 1.
    convention : {"standard", "paper"}
        See the table at the head of :mod:`lsplus_tf.metrics.functional`.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    References
    ----------
    Naeini, Cooper and Hauskrecht, AAAI 2015; Guo et al., ICML 2017, Eq. 3; LS+ paper, ECE.

    Examples
    --------
    >>> round(expected_calibration_error([[0.9, 0.1], [0.3, 0.7]], [0, 0]), 4)
    0.4
    """
    return _measures.ece(check_predictions(probabilities, labels, convention), num_bins)


def maximum_calibration_error(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, num_bins: int = PAPER_BINS
) -> float:
    """MCE: the largest distance between confidence and accuracy in a bin of the ECE.

    Parameters
    ----------
    probabilities : array_like, shape (N, K)
    labels : array_like of int, shape (N,)
    num_bins : int
        Number of bins B, at least 1.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    References
    ----------
    Naeini, Cooper and Hauskrecht, AAAI 2015.

    Examples
    --------
    >>> round(maximum_calibration_error([[0.9, 0.1], [0.3, 0.7]], [0, 0]), 4)
    0.7
    """
    return _measures.mce(check_predictions(probabilities, labels), num_bins)


def adaptive_calibration_error(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    num_bins: int = PAPER_BINS,
    convention: Convention = "standard",
) -> float:
    """The LS+ paper's ACE: the ECE of the top label over bins of equal mass.

    The samples are ranked by confidence and cut into bins whose sizes differ by at most one; where
    equal confidences are cut apart, each part takes the group's mean accuracy. Not the classwise
    ACE of Nixon et al. (2019), nor netcal's unweighted average calibration error.

    Parameters
    ----------
    probabilities : array_like, shape (N, K)
    labels : array_like of int, shape (N,)
    num_bins : int
        Number of bins B, at least 1.
    convention : {"standard", "paper"}
        See the table at the head of :mod:`lsplus_tf.metrics.functional`.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    References
    ----------
    Mukhoti et al., NeurIPS 2020 (AdaECE); LS+ paper, ACE.

    Examples
    --------
    >>> P = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]
    >>> round(adaptive_calibration_error(P, [0, 1, 1, 1], num_bins=2), 4)
    0.15
    """
    return _measures.ace(check_predictions(probabilities, labels, convention), num_bins)


def static_calibration_error(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    num_bins: int = PAPER_BINS,
    convention: Convention = "standard",
) -> float:
    """SCE, or classwise ECE: the ECE of each class's probability, averaged over classes.

    For class j every sample counts: its probability of j is compared with whether its label is j.

    Parameters
    ----------
    probabilities : array_like, shape (N, K)
    labels : array_like of int, shape (N,)
    num_bins : int
        Number of bins B, at least 1.
    convention : {"standard", "paper"}
        See the table at the head of :mod:`lsplus_tf.metrics.functional`.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    References
    ----------
    Nixon et al., CVPR Workshops 2019, Eq. 3; Kull et al., NeurIPS 2019; LS+ paper, SCE.

    Examples
    --------
    >>> round(static_calibration_error([[0.9, 0.1], [0.3, 0.7]], [0, 0]), 4)
    0.4
    """
    return _measures.sce(check_predictions(probabilities, labels, convention), num_bins)
