"""Calibration errors: how far confidence is from accuracy, exact and in NumPy.

The arguments, the errors raised and the two conventions are those of
:mod:`lsplus_tf.metrics.functional`.
"""

from functools import partial

import numpy as np
import numpy.typing as npt

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import check_fraction
from lsplus_tf.metrics import bin_totals, forms, measures, weighted
from lsplus_tf.metrics.bin_totals import CLOSED, PAPER_BINS, Binning, Closed, Norm
from lsplus_tf.metrics.conventions import predictions_for
from lsplus_tf.metrics.metric import Metric
from lsplus_tf.predictions import Predictions, as_predictions

__all__ = [
    "adaptive_calibration_error",
    "classwise_adaptive_calibration_error",
    "expected_calibration_error",
    "maximum_calibration_error",
    "overconfidence_error",
    "static_calibration_error",
    "underconfidence_error",
]


def expected_calibration_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    convention: Convention = "standard",
    binning: Binning = "equal_width",
    norm: Norm = 1,
    closed: Closed = CLOSED,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """ECE: mean distance between confidence and accuracy over bins of equal width.

    Bin b = 1..B holds the confidences in ((b-1)/B, b/B]. The edges are rounded to the dtype of the
    probabilities, so that a float32 0.2 ends a bin at 0.2 as a float64 one does. With n_b of the N
    samples in bin b, the error is the p-norm (sum_b n_b/N gap_b^p)^(1/p) of the bins' gaps.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Number of bins B, at least 1.
    convention : {"standard", "released_code"}
        See the table at the head of :mod:`lsplus_tf.metrics.functional`.
    binning : {"equal_width", "equal_mass"}
        Bins of equal width, or those of :func:`adaptive_calibration_error`, which have no edges.
    norm : float or "max"
        The power p, at least 1: 1 for the ECE, 2 for the root mean square gap, which weighs large
        gaps more, "max" for the MCE.
    closed : {"right", "left"}
        The side of a bin of equal width that belongs to it: (lower, upper] with 0 in the first, or
        [lower, upper) with 1 in the last.
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
        If the predictions or an option are not valid; also for the paper's convention with bins
        closed on the left.

    References
    ----------
    Naeini, Cooper and Hauskrecht, AAAI 2015; Guo et al., ICML 2017, Eq. 3; Kumar, Liang and Ma,
    NeurIPS 2019 (the norms); LS+ paper, ECE.

    Examples
    --------
    >>> P, y = [[0.9, 0.1], [0.3, 0.7]], [0, 0]
    >>> round(expected_calibration_error(y, P), 4)
    0.4
    >>> round(expected_calibration_error(y, P, norm=2), 4)
    0.5
    >>> round(expected_calibration_error(y, P, num_bins=1, binning="equal_mass"), 4)
    0.3

    0.5 ends a bin or begins one:

    >>> P, y = [[0.5, 0.5], [0.9, 0.1]], [1, 0]
    >>> round(expected_calibration_error(y, P, num_bins=2, closed="right"), 4)
    0.3
    >>> round(expected_calibration_error(y, P, num_bins=2, closed="left"), 4)
    0.2
    """
    predictions = predictions_for(convention, labels, probabilities, from_logits, sample_weight)
    bins = bin_totals.label_bins(predictions, num_bins, binning, closed, convention)
    equal_mass = binning == "equal_mass"
    samples = weighted.number(predictions) if equal_mass else weighted.total(predictions)
    return bin_totals.gap_norm(bins, samples, norm)


def maximum_calibration_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """MCE: the largest distance between confidence and accuracy in a bin of the ECE.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Number of bins B, at least 1.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    References
    ----------
    Naeini, Cooper and Hauskrecht, AAAI 2015.

    Examples
    --------
    >>> round(maximum_calibration_error([0, 0], [[0.9, 0.1], [0.3, 0.7]]), 4)
    0.7
    """
    return measures.mce(
        as_predictions(labels, probabilities, from_logits=from_logits, sample_weight=sample_weight),
        num_bins,
    )


def adaptive_calibration_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    convention: Convention = "standard",
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """The LS+ paper's ACE: the ECE of the top label over bins of equal mass.

    The samples are ranked by confidence and cut into bins whose sizes differ by at most one; where
    equal confidences are cut apart, each part takes the group's mean accuracy. Not the classwise
    ACE of Nixon et al. (2019), nor netcal's unweighted average calibration error.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Number of bins B, at least 1.
    convention : {"standard", "released_code"}
        See the table at the head of :mod:`lsplus_tf.metrics.functional`.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts. Whole numbers sum to N; others are scaled to a sum of N, the
        number of samples above 0, see :mod:`lsplus_tf.metrics.weighted`. A sample that
        a bin ends in is in both by its parts.

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
    >>> round(adaptive_calibration_error([0, 1, 1, 1], P, num_bins=2), 4)
    0.15
    """
    predictions = predictions_for(convention, labels, probabilities, from_logits, sample_weight)
    return measures.ace(predictions, convention, num_bins)


def classwise_adaptive_calibration_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    threshold: float = 0.0,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """The ACE and TACE of Nixon et al.: classwise calibration error over bins of equal mass.

    For class j the samples are ranked by their probability of j and cut into bins whose sizes
    differ by at most one; a bin's gap is the distance between its mean probability and its share
    of samples labelled j. The error is the mean gap over a class's samples, averaged over classes.
    Where a cut goes through equal probabilities, each part takes its share of their hits.

    With many classes nearly all probabilities are close to 0, and so are their gaps. A threshold
    above 0 gives the TACE: a class is measured on the samples whose probability of it is at least
    the threshold, and a class that has none is left out. The weights are shares of these samples,
    as in the paper; some released code divides by all N, which shrinks the error again.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Number of bins B, at least 1; a class with fewer samples has that many.
    threshold : float
        Smallest probability that counts, in [0, 1], rounded to the dtype of the probabilities.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts. Whole numbers sum to N; others are scaled to a sum of N, the
        number of samples above 0, see :mod:`lsplus_tf.metrics.weighted`.
        Both are those that reach the threshold.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    Raises
    ------
    InputError
        If the predictions or an option are not valid, or no probability reaches the threshold.

    References
    ----------
    Nixon et al., "Measuring calibration in deep learning", CVPR Workshops 2019.

    Examples
    --------
    >>> P = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]]
    >>> round(classwise_adaptive_calibration_error([0, 1, 1, 1], P, num_bins=2), 4)
    0.3
    >>> round(classwise_adaptive_calibration_error([0, 1, 1, 1], P, num_bins=2, threshold=0.5), 4)
    0.35
    """
    check_fraction("threshold", threshold)
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    return measures.classwise_ace(predictions, num_bins, threshold)


def static_calibration_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    convention: Convention = "standard",
    closed: Closed = CLOSED,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """SCE, or classwise ECE: the ECE of each class's probability, averaged over classes.

    For class j every sample counts: its probability of j is compared with whether its label is j.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Number of bins B, at least 1.
    convention : {"standard", "released_code"}
        See the table at the head of :mod:`lsplus_tf.metrics.functional`.
    closed : {"right", "left"}
        The side of a bin that belongs to it, as in :func:`expected_calibration_error`.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    References
    ----------
    Nixon et al., CVPR Workshops 2019, Eq. 3; Kull et al., NeurIPS 2019; LS+ paper, SCE.

    Examples
    --------
    >>> round(static_calibration_error([0, 0], [[0.9, 0.1], [0.3, 0.7]]), 4)
    0.4
    """
    predictions = predictions_for(convention, labels, probabilities, from_logits, sample_weight)
    return measures.sce(predictions, convention, num_bins, closed=closed)


def overconfidence_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    confidence_weighted: bool = False,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """The part of the ECE that is due to bins whose confidence is above their accuracy.

    This and :func:`underconfidence_error` add up to :func:`expected_calibration_error`.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Number of bins B of equal width, at least 1.
    confidence_weighted : bool
        Multiply each bin's gap by its mean confidence, as Thulasidasan et al. define the
        overconfidence error: gaps among sure predictions then count most.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        In [0, 1]; 0 where no bin is overconfident.

    References
    ----------
    Thulasidasan et al., "On mixup training", NeurIPS 2019.

    Examples
    --------
    >>> P, y = [[0.9, 0.1], [0.3, 0.7]], [0, 0]
    >>> round(overconfidence_error(y, P), 4), round(underconfidence_error(y, P), 4)
    (0.35, 0.05)
    >>> round(overconfidence_error(y, P, confidence_weighted=True), 4)
    0.245
    """
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    bins = bin_totals.top_label_bins(predictions, num_bins)
    excess = (bins.confidence - bins.correct).clip(0)
    if confidence_weighted:
        excess *= bins.confidence / np.where(bins.samples > 0, bins.samples, 1)
    return float(np.sum(excess) / weighted.total(predictions))


def underconfidence_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """The part of the ECE that is due to bins whose confidence is below their accuracy.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Number of bins B of equal width, at least 1.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        In [0, 1]; 0 where no bin is underconfident.

    Examples
    --------
    >>> round(underconfidence_error([0, 0], [[0.9, 0.1], [0.3, 0.7]]), 4)
    0.05
    """
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    bins = bin_totals.top_label_bins(predictions, num_bins)
    return float(np.sum((bins.correct - bins.confidence).clip(0)) / weighted.total(predictions))


# With the LS+ paper's 15 bins.
_BINNED = partial(Metric, better=-1, interval="reflected")


def _largest_gap(predictions: Predictions, _: Convention) -> float:
    return measures.mce(predictions, PAPER_BINS)


RECORDS = (
    _BINNED(
        key="ece",
        function="expected_calibration_error",
        name="ECE",
        definition=(
            "expected calibration error: mean distance of confidence and accuracy over 15 bins of "
            "confidence of equal width, weighted by their cases (Guo et al. 2017)"
        ),
        value=measures.ece,
        form=forms.ece,
    ),
    _BINNED(
        key="ace",
        function="adaptive_calibration_error",
        name="ACE",
        definition="adaptive calibration error: the same over 15 bins with equally many cases",
        value=measures.ace,
        form=forms.by_confidence(forms.mass_gap),
        ranks=True,
    ),
    _BINNED(
        key="sce",
        function="static_calibration_error",
        name="SCE",
        definition=(
            "static calibration error: the same of every class's probability in bins of equal "
            "width, mean over the classes (Nixon et al. 2019)"
        ),
        value=measures.sce,
        form=forms.sce,
        needs="all",
    ),
    _BINNED(
        key="mce",
        function="maximum_calibration_error",
        name="MCE",
        definition=(
            "maximum calibration error: the largest distance of confidence and accuracy in a bin"
        ),
        value=_largest_gap,
        form=forms.mce,
        evaluated=False,
    ),
)
