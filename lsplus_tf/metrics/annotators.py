"""Agreement with several annotators: predictions against a distribution of votes.

Every function takes ``votes`` (N, K), how many annotators chose each class for each sample, or the
shares that they are, and softmax outputs ``probabilities`` (N, K), or logits with
``from_logits=True``; or one :class:`~lsplus_tf.predictions.Predictions` that has votes. Each row of
votes is divided by its sum, so that every sample counts the same however many annotators it had.
With all of a row's votes on one class the functions are those of
:mod:`lsplus_tf.metrics.functional`.
:class:`~lsplus_tf.errors.InputError` names the first row of votes that is negative, not finite or
without a vote.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from lsplus_tf.errors import MOST_BINS, check_choice, check_count
from lsplus_tf.metrics import bin_totals, weighted
from lsplus_tf.metrics.bin_totals import CLOSED, PAPER_BINS, Binning, Closed, Norm
from lsplus_tf.metrics.brier import BrierScale, brier_factor
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.arrays import average_ties, row_blocks

__all__ = [
    "annotator_brier_score",
    "annotator_calibration_error",
    "annotator_cross_entropy",
    "annotator_static_calibration_error",
]


def annotator_cross_entropy(
    votes: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Mean over samples of - sum_k v_k log p_k for the shares v of votes.

    It is the expected negative log-likelihood of one annotator's label. The smallest that is
    possible is the mean entropy of the votes, not 0. A probability of 0 counts as 2.2e-308, as in
    :func:`~lsplus_tf.metrics.negative_log_likelihood`.

    Parameters
    ----------
    votes : array_like, shape (N, K), or Predictions
        Counts or shares, not negative.
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

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
    given = as_predictions(
        votes, probabilities, from_logits=from_logits, sample_weight=sample_weight, of="votes"
    )
    checked, array = given.probabilities, _votes_of(given)
    row_sums = _row_sums(array)
    scales, total = _scales(given, row_sums), 0.0
    for rows in row_blocks(checked):
        logs = np.log(checked[rows].astype(np.float64).clip(np.finfo(np.float64).tiny, 1))
        total -= float(np.einsum("nk,nk,n->", logs, array[rows], scales[rows]))
    return abs(total) / weighted.total(given)


def annotator_brier_score(
    votes: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    scale: BrierScale = "sum",
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Mean over samples of the squared distance to the shares of votes, 0 where they are met.

    The expected Brier score of one annotator's label is larger by the mean of 1 - sum_k v_k^2, by
    which annotators disagree among themselves.

    Parameters
    ----------
    votes : array_like, shape (N, K), or Predictions
        Counts or shares, not negative.
    probabilities : array_like, shape (N, K), optional
    scale : {"sum", "half", "mean"}
        That of :func:`~lsplus_tf.metrics.brier_score`.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

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
    given = as_predictions(
        votes, probabilities, from_logits=from_logits, sample_weight=sample_weight, of="votes"
    )
    checked, array = given.probabilities, _votes_of(given)
    row_sums = _row_sums(array)
    total = 0.0
    for rows in row_blocks(checked):
        distances = checked[rows] - array[rows] / row_sums[rows, np.newaxis]
        if given.sample_weight is None:
            total += float(np.sum(distances**2))
        else:
            total += float(given.weights[rows] @ np.vecdot(distances, distances))
    return total / weighted.total(given) * brier_factor(scale, checked.shape[1])


def annotator_calibration_error(
    votes: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    binning: Binning = "equal_width",
    norm: Norm = 1,
    closed: Closed = CLOSED,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """ECE against annotators: confidence against the share of votes for the predicted class.

    A bin's accuracy is the mean share of votes that its predictions have, the probability that an
    annotator agrees with the model. By the majority's labels alone, a model that is exactly as
    unsure as its annotators looks underconfident, as the majority agrees more often than one
    annotator does.

    Parameters
    ----------
    votes : array_like, shape (N, K), or Predictions
        Counts or shares, not negative.
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
        How often each sample counts; in bins of equal mass as in
        :func:`~lsplus_tf.metrics.adaptive_calibration_error`.

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
    given = as_predictions(
        votes, probabilities, from_logits=from_logits, sample_weight=sample_weight, of="votes"
    )
    return gap_to_shares(given, _votes_of(given), num_bins, binning, norm, closed)


def annotator_static_calibration_error(
    votes: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    closed: Closed = CLOSED,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """SCE against annotators: each class's probability against its share of votes, over classes.

    For class j every sample counts: its probability of j is compared, within bins of equal width,
    with the share of annotators who chose j.

    Parameters
    ----------
    votes : array_like, shape (N, K), or Predictions
        Counts or shares, not negative.
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
        If the predictions, the votes or an option are not valid.

    Examples
    --------
    >>> P = [[0.75, 0.25], [0.75, 0.25]]
    >>> annotator_static_calibration_error([[3, 1], [3, 1]], P)
    0.0
    >>> annotator_static_calibration_error([[1, 0], [0, 1]], P)
    0.25
    """
    given = as_predictions(
        votes, probabilities, from_logits=from_logits, sample_weight=sample_weight, of="votes"
    )
    return static_gap_to_shares(given, _votes_of(given), num_bins, closed)


def gap_to_shares(
    given: Predictions,
    shares: npt.NDArray[Any],
    num_bins: int,
    binning: Binning,
    norm: Norm,
    closed: Closed,
) -> float:
    """The ECE where a prediction is right by its class's share of a row of numbers (N, K)."""
    check_count("num_bins", num_bins, most=MOST_BINS)
    check_choice("binning", binning, Binning)
    check_choice("closed", closed, Closed)
    samples, confidence = np.arange(len(given)), given.confidence
    agreement = shares[samples, given.predicted] / _row_sums(shares)
    if binning == "equal_width":
        edges = bin_totals.equal_width_edges(num_bins, confidence.dtype)
        bins = bin_totals.width_totals(
            confidence, agreement, edges, closed=closed, weights=given.sample_weight
        )
        return bin_totals.gap_norm(bins, weighted.total(given), norm)
    if given.sample_weight is not None:
        bins = bin_totals.weighted_mass_totals(weighted.by_confidence(given, agreement), num_bins)
    else:
        ranking = np.argsort(-confidence, kind="stable")
        ranked = confidence[ranking]
        cumulative = np.concatenate(([0.0], np.cumsum(agreement[ranking])))
        bins = bin_totals.mass_totals(ranked, average_ties(cumulative, ranked), num_bins)
    return bin_totals.gap_norm(bins, weighted.number(given), norm)


def static_gap_to_shares(
    given: Predictions, shares: npt.NDArray[Any], num_bins: int, closed: Closed
) -> float:
    """The SCE where a class is right by its share of a row of numbers (N, K)."""
    check_choice("closed", closed, Closed)
    checked, row_sums = given.probabilities, _row_sums(shares)
    classes = checked.shape[1]
    edges = bin_totals.equal_width_edges(num_bins, checked.dtype)
    first_slots = np.arange(classes) * (num_bins + 1)
    gaps = np.zeros(classes * (num_bins + 1))
    for rows in row_blocks(checked):
        slots = bin_totals.bin_index(checked[rows], edges, "standard", closed) + first_slots
        differences = checked[rows] - shares[rows] / row_sums[rows, np.newaxis]
        if given.sample_weight is not None:
            differences *= given.sample_weight[rows, np.newaxis]
        gaps += np.bincount(slots.ravel(), differences.ravel(), minlength=gaps.size)
    return float(np.abs(gaps).sum() / (weighted.total(given) * classes))


def _votes_of(given: Predictions) -> npt.NDArray[Any]:
    assert given.votes is not None
    return given.votes


def _row_sums(shares: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(shares.sum(axis=1, dtype=np.float64))


def _scales(given: Predictions, row_sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What a row of votes is multiplied by, to count what its sample does."""
    weights = given.sample_weight
    return (1 if weights is None else weights) / row_sums
