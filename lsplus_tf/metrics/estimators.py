"""Estimators of the calibration error that do without a fixed binning, or correct its bias.

The binned ECE depends on the number of bins and is biased upwards: a calibrated model has a
positive ECE on any finite sample. The arguments and the errors raised are those of
:mod:`lsplus_tf.metrics.functional`.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.fft import dct, idct
from scipy.optimize import brentq
from scipy.special import erf, gammaln

from lsplus_tf.errors import InputError, check_choice
from lsplus_tf.metrics import bin_totals, weighted
from lsplus_tf.metrics.bin_totals import CLOSED, PAPER_BINS, Binning, Closed, Norm, check_norm
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.arrays import FloatArray

__all__ = [
    "debiased_calibration_error",
    "kde_calibration_error",
    "smooth_calibration_error",
    "sweep_calibration_error",
]

KdeKind = Literal["canonical", "marginal", "top_label"]

# Kernel values that are held at a time: 16 MB.
_KERNEL_BLOCK = 2**21
_SMOOTH_CELLS = 2**13


def debiased_calibration_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    norm: Literal[1, 2] = 2,
    binning: Binning = "equal_mass",
    closed: Closed = CLOSED,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Top-label calibration error without the bias that the bins' sampling noise adds.

    With norm 2 each bin's squared gap loses a (1 - a) / (n - 1), the unbiased estimate of the
    variance of its accuracy a over n samples, as Kumar et al. do; Bröcker, and Ferro and Fricker,
    correct the Brier score's reliability in the same way. A bin of one sample counts 0. The square
    of the error is then unbiased, unless it is negative: the error of that is 0.

    With norm 1 the bias is estimated, as the ECE that is expected if each bin's gap had the normal
    noise of its accuracy added, less the ECE. Kumar et al. draw that noise; its mean has a closed
    form. Of a calibrated model's ECE this leaves 2 - sqrt(2), 59%, so that norm 2 is to be
    preferred.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Number of bins B, at least 1.
    norm : {1, 2}
        1 for the ECE, 2 for the root mean square gap.
    binning : {"equal_mass", "equal_width"}
        As in :func:`~lsplus_tf.metrics.expected_calibration_error`.
    closed : {"right", "left"}
        The side of a bin of equal width that belongs to it.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts. Of whole numbers n is a bin's sum; of others it is Kish's
        number of samples that are as much evidence, sum(w)^2 / sum(w^2).

    Returns
    -------
    float
        In [0, 1]; 0 where the gaps are no larger than chance makes them.

    References
    ----------
    Kumar, Liang and Ma, "Verified uncertainty calibration", NeurIPS 2019; Bröcker, "Estimating
    reliability and resolution of probability forecasts", Climate Dynamics 39, 2012; Ferro and
    Fricker, "A bias-corrected decomposition of the Brier score", Q. J. R. Meteorol. Soc. 138, 2012.

    Examples
    --------
    >>> P, y = [[0.8, 0.2]] * 5, [0, 0, 0, 1, 1]
    >>> debiased_calibration_error(y, P, num_bins=1)
    0.0
    >>> P, y = [[0.8, 0.2]] * 50, [0] * 30 + [1] * 20
    >>> round(debiased_calibration_error(y, P, num_bins=1), 4)
    0.1874
    """
    if norm not in (1, 2):
        raise InputError(f"norm: expected 1 or 2, received {norm!r}")
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    bins = bin_totals.label_bins(predictions, num_bins, binning, closed)
    bins = bin_totals.BinTotals(*(total[bins.samples > 0] for total in bins))
    shares = bins.samples / bins.samples.sum()
    sizes = bins.samples
    if not predictions.weights_are_counts:
        sizes = _effective(predictions, binning, num_bins, closed)
    accuracy = (bins.correct / bins.samples).clip(0, 1)
    gaps = np.abs(bins.confidence / bins.samples - accuracy)
    variance = accuracy * (1 - accuracy)
    if norm == 2:
        several = sizes > 1 + 1e-9
        squares = gaps**2 - variance / np.where(several, sizes - 1, 1)
        return float(np.sqrt(max(0.0, np.sum((shares * squares)[several]))))
    noise = np.sqrt(variance / sizes)
    # In units of the noise; where there is none the gap stays as it is.
    relative = np.divide(gaps, noise * np.sqrt(2), out=np.full_like(gaps, np.inf), where=noise > 0)
    noisy = noise * np.sqrt(2 / np.pi) * np.exp(-(relative**2)) + gaps * erf(relative)
    return float(max(0.0, np.sum(shares * (2 * gaps - noisy))))


def sweep_calibration_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    norm: Norm = 1,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """ECE over the most bins of equal mass that keep accuracy rising with confidence.

    The number of bins grows from 1 until for the next one the accuracy falls from some bin to the
    following one. The bins are those of :func:`~lsplus_tf.metrics.adaptive_calibration_error`.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    norm : float or "max"
        As in :func:`~lsplus_tf.metrics.expected_calibration_error`. The authors' released code
        takes 2 unless told otherwise.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts. Whole numbers sum to N; others are scaled to a sum of N, the
        number of samples above 0, see :mod:`lsplus_tf.metrics.weighted`. There are
        at most N bins.

    Returns
    -------
    float
        In [0, 1]; 0 is calibrated.

    References
    ----------
    Roelofs, Cain, Shlens and Mozer, "Mitigating bias in calibration error estimation", AISTATS
    2022.

    Examples
    --------
    >>> P = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]]
    >>> round(sweep_calibration_error([0, 0, 1, 1], P), 4)  # 4 bins
    0.4
    >>> round(sweep_calibration_error([1, 0, 0, 1], P), 4)  # 3 bins
    0.25
    """
    check_norm(norm)
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    bins = bin_totals.equal_mass_bins(predictions, _monotone_bins(predictions))
    return bin_totals.gap_norm(bins, weighted.number(predictions), norm)


def smooth_calibration_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Smooth ECE of the top label: a kernel instead of bins, whose width the data decide.

    At width s, the differences between hit and confidence, as a function of confidence, are
    smoothed by a Gaussian that is reflected at 0 and 1, and the mean size of the result is the
    error. The width is the one that equals its error, so that there is nothing to choose, and the
    error changes continuously with the predictions.

    The confidences are spread over 8192 cells and smoothed by a cosine transform.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
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
    Błasiok and Nakkiran, "Smooth ECE: principled reliability diagrams via kernel smoothing", ICLR
    2024.

    Examples
    --------
    >>> round(smooth_calibration_error([0] * 6 + [1] * 4, [[0.8, 0.2]] * 10), 3)
    0.2
    """
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    confidence = predictions.confidence.astype(np.float64).clip(0, 1)
    residual = (predictions.correct - confidence) / weighted.total(predictions)
    if predictions.sample_weight is not None:
        residual *= predictions.sample_weight
    # Each sample is shared by the two cells whose centres are on either side of it.
    position = (confidence * _SMOOTH_CELLS - 0.5).clip(0, _SMOOTH_CELLS - 1)
    cell = np.minimum(position.astype(np.intp), _SMOOTH_CELLS - 2)
    upper = position - cell
    mass = np.bincount(cell, residual * (1 - upper), _SMOOTH_CELLS)
    mass += np.bincount(cell + 1, residual * upper, _SMOOTH_CELLS)
    # Cosines are symmetric about 0 and 1: damping them is the reflected Gaussian.
    spectrum = dct(mass, type=2, norm="ortho")
    frequency = np.pi * np.arange(_SMOOTH_CELLS)

    def excess(width: float) -> float:
        smoothed = idct(spectrum * np.exp(-((frequency * width) ** 2) / 2), type=2, norm="ortho")
        return float(np.abs(smoothed).sum()) - width

    if excess(0.0) <= 0:
        return 0.0
    # The error is at most 1 and falls with the width, so that they meet once.
    return float(brentq(excess, 0.0, 1.0 + 1e-9, xtol=1e-9))


def kde_calibration_error(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    bandwidth: float | None = None,
    norm: float = 1,
    kind: KdeKind = "canonical",
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """ECE-KDE: the frequency of the classes near each prediction, by a kernel, against itself.

    The kernel is a Dirichlet density (two classes: beta) of concentration p / bandwidth + 1 around
    each other sample's prediction p. The frequency of the classes near a sample is the mean of the
    other samples' labels under it, and the error is the mean over samples of the distances |
    frequency - prediction|^norm, without a root:

    * "canonical" compares whole rows, and sums the distances over the classes. It is the strictest
      notion of calibration, and the one of the LS+ paper, which has bandwidth 0.001;
    * "marginal" compares each class's probability on its own, and sums over the classes;
    * "top_label" compares the confidence with the accuracy.

    The authors' code is the same, in float32: probabilities of exactly 0 or 1 give NaN there in
    the last two kinds, and samples far from all others the frequency 0. Here both have the value
    of the formula. The time is that of N^2 K multiplications (N^2 for the top label), times 21 for
    the choice of a bandwidth; the memory does not grow with N^2.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
        N >= 2.
    bandwidth : float, optional
        Positive. Default: of 21 from 1e-5 to 1, the one with the largest leave-one-out likelihood
        of the predictions (for "top_label" of the confidences).
    norm : float
        At least 1.
    kind : {"canonical", "marginal", "top_label"}
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts. Whole numbers are repetitions, of which a sample leaves out
        one, itself; with others it leaves itself out as a whole.

    Returns
    -------
    float
        In [0, 2], [0, K] or [0, 1] for the three kinds; 0 is calibrated.

    Raises
    ------
    InputError
        If the predictions or an option are not valid, or N is 1.

    References
    ----------
    Popordanoska, Sayer and Blaschko, "A consistent and differentiable Lp canonical calibration
    error estimator", NeurIPS 2022. The LS+ authors' code, not their paper, has it with a
    bandwidth of 0.001.

    Examples
    --------
    >>> P, y = [[0.8, 0.2]] * 10, [0] * 6 + [1] * 4
    >>> round(kde_calibration_error(y, P, bandwidth=0.1), 4)  # 5/9 or 6/9, without the sample
    0.4
    >>> round(kde_calibration_error(y, P, bandwidth=0.1, kind="top_label"), 4)
    0.2
    """
    check_choice("kind", kind, KdeKind)
    exponent = check_norm(norm)
    if np.isinf(exponent):
        raise InputError(f"norm: expected a finite number of at least 1, received {norm!r}")
    if bandwidth is not None and not 0 < bandwidth < np.inf:
        raise InputError(f"bandwidth: expected a positive number, received {bandwidth!r}")
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    predictions = predictions.counted()
    classes, samples = len(predictions.class_names), weighted.number(predictions)
    if samples < 2:
        raise InputError("probabilities: expected at least two rows, received 1")
    counts = _Counts.of(predictions)
    rows = predictions.probabilities.astype(np.float64).clip(0, 1)
    confidence = predictions.confidence.astype(np.float64).clip(0, 1)
    points = _binary(confidence) if kind == "top_label" else rows
    chosen = bandwidth or _likeliest_bandwidth(points, counts)

    def distance(points: FloatArray, hits: npt.NDArray[Any], expected: FloatArray) -> float:
        frequency = _kernel_frequencies(points, hits, chosen, counts)
        distances = np.abs(frequency - expected) ** exponent
        if counts is not None:
            distances *= counts.weights[:, np.newaxis]
        return float(np.sum(distances) / weighted.total(predictions))

    if kind == "top_label":
        hits = predictions.correct[:, np.newaxis]
        return distance(_binary(confidence), hits, confidence[:, np.newaxis])
    one_hot = predictions.labels[:, np.newaxis] == np.arange(classes)
    if kind == "canonical":
        return distance(rows, one_hot, rows)
    return sum(
        distance(_binary(rows[:, j]), one_hot[:, j : j + 1], rows[:, j : j + 1])
        for j in range(classes)
    )


def _monotone_bins(predictions: Predictions) -> int:
    """Number of bins before the first one for which accuracy is not monotone."""
    if predictions.sample_weight is None:
        hits = predictions.cumulative_correct
    else:
        hits = weighted.by_confidence(predictions).all_hits()
    samples = hits.size - 1
    # From the least confident sample on.
    hits = hits[-1] - hits[::-1]
    shares = np.diff(hits)
    # Below the first hit every bin's accuracy is 0 and above the last error it is 1: only bins
    # between them can break the order.
    some, missed = np.flatnonzero(shares > 1e-12), np.flatnonzero(shares < 1 - 1e-12)
    if not some.size or not missed.size or some[0] > missed[-1]:
        return samples
    first, last = int(some[0]), int(missed[-1])
    for bins in range(2, samples + 1):
        cuts = np.arange(first * bins // samples - 1, last * bins // samples + 3).clip(0, bins)
        ends = -(-np.unique(cuts) * samples // bins)
        accuracy = np.diff(hits[ends]) / np.diff(ends)
        if np.any(np.diff(accuracy) < -1e-12):
            return bins - 1
    return samples


def _binary(values: FloatArray) -> FloatArray:
    return np.column_stack((values, 1 - values))


def _effective(
    predictions: Predictions, binning: Binning, num_bins: int, closed: Closed
) -> npt.NDArray[np.float64]:
    """Kish's number of samples, sum(w)^2 / sum(w^2), of each bin that is not empty."""
    weights, _ = weighted.samples_of(predictions.weights, are_counts=False)
    if binning == "equal_width":
        edges = bin_totals.equal_width_edges(num_bins, predictions.confidence.dtype)
        bins = bin_totals.width_totals(
            predictions.confidence, weights, edges, closed=closed, weights=weights
        )
    else:
        # In the place of the hits are the weights.
        of = weighted.by_confidence(predictions, weights)
        bins = bin_totals.weighted_mass_totals(of, num_bins)
    filled = bins.samples > 0
    sizes: npt.NDArray[np.float64] = bins.samples[filled] ** 2 / bins.correct[filled]
    return sizes


class _Counts(NamedTuple):
    """What each sample counts, and how much is left of it where it is itself left out, (N,).

    That is one less where weights say how often it is there, and else nothing.
    """

    weights: npt.NDArray[np.float64]
    left: npt.NDArray[np.float64]

    @classmethod
    def of(cls, predictions: Predictions) -> _Counts | None:
        """None where there are no weights."""
        if predictions.sample_weight is None:
            return None
        weights = predictions.sample_weight
        left = weights - 1 if predictions.weights_are_counts else np.zeros_like(weights)
        return cls(weights, left)


def _log_kernels(
    points: FloatArray,
    bandwidth: float,
    counts: _Counts | None,
) -> Any:
    """Blocks of rows of the log kernel, -inf on the diagonal, with the slice that each covers.

    With weights each column counts what its sample does, the diagonal what is left of it.
    """
    samples, classes = points.shape
    concentration = points / bandwidth
    log_normaliser = gammaln(concentration + 1).sum(axis=1)
    log_normaliser -= gammaln(concentration.sum(axis=1) + classes)
    with np.errstate(divide="ignore"):
        if counts is None:
            left = np.full(samples, -np.inf)
        else:
            log_normaliser -= np.log(counts.weights)
            left = np.log(counts.left) - np.log(counts.weights)
    # 0 log 0 is 0: a sample at a corner is under the kernel of another at the same corner.
    logs = np.log(points.clip(np.finfo(np.float64).tiny))
    step = max(1, _KERNEL_BLOCK // samples)
    for start in range(0, samples, step):
        rows = slice(start, min(start + step, samples))
        kernel = logs[rows] @ concentration.T
        kernel -= log_normaliser
        kernel[np.arange(rows.stop - start), np.arange(start, rows.stop)] += left[rows]
        yield rows, kernel


def _kernel_frequencies(
    points: FloatArray,
    hits: npt.NDArray[Any],
    bandwidth: float,
    counts: _Counts | None,
) -> npt.NDArray[np.float64]:
    """Mean of the other samples' hits (N, T) under the kernel at each point."""
    outcomes = hits.astype(np.float64)
    frequencies = np.empty_like(outcomes)
    for rows, kernel in _log_kernels(points, bandwidth, counts):
        kernel -= kernel.max(axis=1, keepdims=True)
        np.exp(kernel, out=kernel)
        frequencies[rows] = kernel @ outcomes / kernel.sum(axis=1, keepdims=True)
    return frequencies


def _likeliest_bandwidth(
    points: FloatArray,
    counts: _Counts | None,
) -> float:
    """Of a grid, the bandwidth with the largest leave-one-out likelihood of the points."""

    def log_likelihood(bandwidth: float) -> float:
        total = 0.0
        for rows, kernel in _log_kernels(points, bandwidth, counts):
            largest = kernel.max(axis=1, keepdims=True)
            logs = np.log(np.exp(kernel - largest).sum(axis=1)) + largest[:, 0]
            total += float(logs.sum() if counts is None else counts.weights[rows] @ logs)
        return total

    grid = np.logspace(-5, 0, 21)
    return float(grid[np.argmax([log_likelihood(float(b)) for b in grid])])
