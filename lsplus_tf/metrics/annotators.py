"""Agreement with several annotators: predictions against a distribution of votes.

Every function takes softmax outputs ``probabilities`` (N, K), or logits with ``from_logits=True``,
and ``votes`` (N, K): how many annotators chose each class for each sample, or the shares that they
are. Each row of votes is divided by its sum, so that every sample counts the same however many
annotators it had. With all of a row's votes on one class the functions are those of
:mod:`lsplus_tf.metrics.functional`.
:class:`~lsplus_tf.errors.InputError` names the first row of votes that is negative, not finite or
without a vote.
"""

import numpy as np
import numpy.typing as npt

from lsplus_tf.errors import check_choice
from lsplus_tf.metrics import _bins
from lsplus_tf.metrics._bins import PAPER_BINS
from lsplus_tf.metrics._predictions import (
    Binning,
    Closed,
    Norm,
    average_ties,
    check_count,
    check_votes,
    row_blocks,
)
from lsplus_tf.metrics.brier import BrierScale, brier_factor


def annotator_cross_entropy(
    votes: npt.ArrayLike, probabilities: npt.ArrayLike, *, from_logits: bool = False
) -> float:
    """Mean over samples of - sum_k v_k log p_k for the shares v of votes.

    It is the expected negative log-likelihood of one annotator's label. The smallest that is
    possible is the mean entropy of the votes, not 0. A probability of 0 counts as 2.2e-308, as in
    :func:`~lsplus_tf.metrics.negative_log_likelihood`.

    Parameters
    ----------
    votes : array_like, shape (N, K)
        Counts or shares, not negative.
    probabilities : array_like, shape (N, K)
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.

    Returns
    -------
    float
        0 or more, in nats.

    Raises
    ------
    InputError
        If the predictions or the votes are not valid.

    References
    ----------
    Peterson et al., "Human uncertainty makes classification more robust", ICCV 2019.

    Examples
    --------
    >>> round(annotator_cross_entropy([[3, 1], [4, 0]], [[0.5, 0.5], [0.8, 0.2]]), 4)
    0.4581
    """
    checked, array, row_sums = check_votes(probabilities, votes, from_logits=from_logits)
    total = 0.0
    for rows in row_blocks(checked):
        logs = np.log(checked[rows].astype(np.float64).clip(np.finfo(np.float64).tiny, 1))
        total -= float(np.einsum("nk,nk,n->", logs, array[rows], 1 / row_sums[rows]))
    return abs(total) / len(checked)


def annotator_brier_score(
    votes: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    scale: BrierScale = "sum",
    from_logits: bool = False,
) -> float:
    """Mean over samples of the squared distance to the shares of votes, 0 where they are met.

    The expected Brier score of one annotator's label is larger by the mean of 1 - sum_k v_k^2, by
    which annotators disagree among themselves.

    Parameters
    ----------
    votes : array_like, shape (N, K)
        Counts or shares, not negative.
    probabilities : array_like, shape (N, K)
    scale : {"sum", "half", "mean"}
        That of :func:`~lsplus_tf.metrics.brier_score`.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.

    Returns
    -------
    float
        In [0, 2] for "sum".

    Raises
    ------
    InputError
        If the predictions or the votes are not valid.

    Examples
    --------
    >>> round(annotator_brier_score([[3, 1], [4, 0]], [[0.5, 0.5], [0.8, 0.2]]), 4)
    0.1025
    """
    check_choice("scale", scale, BrierScale)
    checked, array, row_sums = check_votes(probabilities, votes, from_logits=from_logits)
    total = 0.0
    for rows in row_blocks(checked):
        distances = checked[rows] - array[rows] / row_sums[rows, np.newaxis]
        total += float(np.sum(distances**2))
    return total / len(checked) * brier_factor(scale, checked.shape[1])


def annotator_calibration_error(
    votes: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    num_bins: int = PAPER_BINS,
    binning: Binning = "equal_width",
    norm: Norm = 1,
    closed: Closed = "right",
    from_logits: bool = False,
) -> float:
    """ECE against annotators: confidence against the share of votes for the predicted class.

    A bin's accuracy is the mean share of votes that its predictions have, the probability that an
    annotator agrees with the model. Labels of the majority alone would call a model overconfident
    that is as unsure as the annotators are.

    Parameters
    ----------
    votes : array_like, shape (N, K)
        Counts or shares, not negative.
    probabilities : array_like, shape (N, K)
    num_bins : int
        Number of bins B, at least 1.
    binning : {"equal_width", "equal_mass"}
    norm : float or "max"
    closed : {"right", "left"}
        All as in :func:`~lsplus_tf.metrics.expected_calibration_error`.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    Raises
    ------
    InputError
        If the predictions, the votes or an option are not valid.

    Examples
    --------
    >>> P = [[0.75, 0.25], [0.75, 0.25]]
    >>> annotator_calibration_error([[3, 1], [3, 1]], P)
    0.0
    >>> annotator_calibration_error([[1, 0], [1, 0]], P)
    0.25
    """
    check_count("num_bins", num_bins)
    check_choice("binning", binning, Binning)
    check_choice("closed", closed, Closed)
    checked, array, row_sums = check_votes(probabilities, votes, from_logits=from_logits)
    samples = np.arange(len(checked))
    predicted = checked.argmax(axis=1)
    confidence = checked[samples, predicted]
    agreement = array[samples, predicted] / row_sums
    if binning == "equal_width":
        edges = _bins.equal_width_edges(num_bins, confidence.dtype)
        bins = _bins.width_totals(confidence, agreement, edges, closed=closed)
    else:
        ranking = np.argsort(-confidence, kind="stable")
        ranked = confidence[ranking]
        cumulative = np.concatenate(([0.0], np.cumsum(agreement[ranking])))
        bins = _bins.mass_totals(ranked, average_ties(cumulative, ranked), num_bins)
    return _bins.gap_norm(bins, samples.size, norm)


def annotator_static_calibration_error(
    votes: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    num_bins: int = PAPER_BINS,
    closed: Closed = "right",
    from_logits: bool = False,
) -> float:
    """SCE against annotators: each class's probability against its share of votes, over classes.

    For class j every sample counts: its probability of j is compared, within bins of equal width,
    with the share of annotators who chose j.

    Parameters
    ----------
    votes : array_like, shape (N, K)
        Counts or shares, not negative.
    probabilities : array_like, shape (N, K)
    num_bins : int
        Number of bins B, at least 1.
    closed : {"right", "left"}
        As in :func:`~lsplus_tf.metrics.static_calibration_error`.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    Raises
    ------
    InputError
        If the predictions, the votes or an option are not valid.

    Examples
    --------
    >>> P = [[0.75, 0.25], [0.75, 0.25]]
    >>> annotator_static_calibration_error([[3, 1], [3, 1]], P)
    0.0
    >>> annotator_static_calibration_error([[1, 0], [0, 1]], P)
    0.25
    """
    check_choice("closed", closed, Closed)
    checked, array, row_sums = check_votes(probabilities, votes, from_logits=from_logits)
    samples, classes = checked.shape
    edges = _bins.equal_width_edges(num_bins, checked.dtype)
    first_slots = np.arange(classes) * (num_bins + 1)
    gaps = np.zeros(classes * (num_bins + 1))
    for rows in row_blocks(checked):
        slots = _bins.bin_index(checked[rows], edges, "standard", closed) + first_slots
        differences = checked[rows] - array[rows] / row_sums[rows, np.newaxis]
        gaps += np.bincount(slots.ravel(), differences.ravel(), minlength=gaps.size)
    return float(np.abs(gaps).sum() / (samples * classes))
