"""The computations behind the metrics, on predictions that have been checked."""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.integrate import trapezoid
from scipy.stats import rankdata
from sklearn.metrics import precision_recall_fscore_support

from lsplus_tf.metrics._predictions import Convention, FloatArray, Predictions, check_count

PAPER_BINS = 15


class BinTotals(NamedTuple):
    """Sums over the samples of each bin, float64 (B,): how many, their confidence, the hits."""

    samples: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    correct: npt.NDArray[np.float64]


def top_label_bins(predictions: Predictions, num_bins: int) -> BinTotals:
    """What the B bins of equal width hold when samples are binned by confidence."""
    check_count("num_bins", num_bins)
    return _bin_totals(predictions, _equal_width_edges(num_bins, predictions.confidence.dtype))


def accuracy(predictions: Predictions) -> float:
    """Share of correct samples."""
    correct = predictions.correct
    if predictions.convention == "paper":
        maxima = predictions.probabilities == predictions.confidence[:, np.newaxis]
        correct = correct & (np.count_nonzero(maxima, axis=1) == 1)
    return float(correct.mean())


def top_k_error(predictions: Predictions, k: int) -> float:
    """Share of samples whose true class has k or more classes before it."""
    true = predictions.true_probability[:, np.newaxis]
    above = np.count_nonzero(predictions.probabilities > true, axis=1)
    earlier = np.arange(predictions.probabilities.shape[1]) < predictions.labels[:, np.newaxis]
    tied_before = np.count_nonzero((predictions.probabilities == true) & earlier, axis=1)
    return float(np.mean(above + tied_before >= k))


def auroc(predictions: Predictions) -> float:
    """One-vs-rest macro AUROC, NaN with a warning where a class has no sample."""
    samples, classes = predictions.probabilities.shape
    positives = np.bincount(predictions.labels, minlength=classes)
    missing = np.flatnonzero(positives == 0)
    if missing.size:
        warnings.warn(
            f"auroc is NaN: no sample of class {', '.join(map(str, missing))}", stacklevel=3
        )
        return float("nan")
    # Mann-Whitney: the rank sum of a class's own samples in its column gives its area directly.
    ranks = rankdata(predictions.probabilities, axis=0)
    own_ranks = ranks[np.arange(samples), predictions.labels]
    rank_sums = np.bincount(predictions.labels, own_ranks, minlength=classes)
    wins = rank_sums - positives * (positives + 1) / 2
    return float(np.mean(wins / (positives * (samples - positives))))


def precision_recall_f1(predictions: Predictions) -> tuple[float, float, float]:
    """Macro precision, recall and F1."""
    scores = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, average="macro", zero_division=0
    )
    return float(scores[0]), float(scores[1]), float(scores[2])


def ece(predictions: Predictions, num_bins: int) -> float:
    """Top-label calibration error over bins of equal width."""
    return _weighted_gap(top_label_bins(predictions, num_bins), predictions.labels.size)


def mce(predictions: Predictions, num_bins: int) -> float:
    """Largest top-label gap in a bin of equal width that is not empty."""
    totals = top_label_bins(predictions, num_bins)
    filled = totals.samples > 0
    gaps = np.abs(totals.confidence - totals.correct)[filled] / totals.samples[filled]
    return float(gaps.max())


def ace(predictions: Predictions, num_bins: int) -> float:
    """Top-label calibration error over bins of equal mass."""
    check_count("num_bins", num_bins)
    samples = predictions.labels.size
    ranked = predictions.confidence[predictions.ranking]
    if predictions.convention == "paper":
        positions = np.linspace(0, samples, num_bins + 1)
        quantiles = np.interp(positions, np.arange(samples), ranked[::-1])
        return _weighted_gap(_bin_totals(predictions, quantiles.astype(np.float32)), samples)
    ends = np.arange(num_bins + 1) * samples // num_bins
    cumulative_confidence = np.concatenate(([0.0], np.cumsum(ranked, dtype=np.float64)))
    gaps = np.diff(cumulative_confidence[ends] - predictions.cumulative_correct[ends])
    return float(np.abs(gaps).sum() / samples)


def sce(predictions: Predictions, num_bins: int) -> float:
    """Calibration error of each class's probability over bins of equal width, mean over classes."""
    check_count("num_bins", num_bins)
    probabilities, labels = predictions.probabilities, predictions.labels
    samples, classes = probabilities.shape
    edges = _equal_width_edges(num_bins, probabilities.dtype)
    slots = num_bins + 2
    # One histogram over (class, bin) pairs for all classes.
    index = _bin_index(probabilities, edges, predictions.convention)
    index += np.arange(classes) * slots
    gaps = np.bincount(index.ravel(), probabilities.ravel(), minlength=classes * slots)
    gaps -= np.bincount(index[np.arange(samples), labels], minlength=classes * slots)
    class_errors = np.abs(gaps.reshape(classes, slots)[:, 1:-1]).sum(axis=1) / samples
    if predictions.convention == "paper":
        class_errors = class_errors[: labels.max() + 1]
    return float(class_errors.mean())


def nll(predictions: Predictions) -> float:
    """Mean of -log p(true class)."""
    true = predictions.true_probability
    if predictions.convention == "paper":
        # In float32, where 1 - 1e-7 is 0.99999988.
        clipped = true.clip(np.float32(1e-7), np.float32(1 - 1e-7)).astype(np.float64)
    else:
        clipped = true.astype(np.float64).clip(np.finfo(np.float64).tiny, 1)
    return float(np.abs(np.log(clipped)).mean())


def brier(predictions: Predictions) -> float:
    """Mean squared distance to the one-hot label, summed over classes."""
    probabilities = predictions.probabilities
    true = predictions.true_probability.astype(np.float64)
    squares = np.einsum("nk,nk->n", probabilities, probabilities, dtype=np.float64)
    # sum_k (p_k - 1[k = y])^2 without the one-hot matrix; rounding may leave -1e-17 of a zero.
    return max(0.0, float(np.mean(squares - 2 * true + 1)))


def mean_confidence(predictions: Predictions) -> float:
    """Mean probability of the predicted class."""
    return float(predictions.confidence.mean(dtype=np.float64))


def retention(
    predictions: Predictions, fractions: npt.NDArray[np.float64] | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fractions retained, by default those of the convention, and the accuracy at each."""
    samples = predictions.labels.size
    if fractions is None and predictions.convention == "paper":
        fractions = np.log(np.arange(1, 201)) / np.log(200)
    elif fractions is None:
        fractions = np.arange(samples + 1) / samples
    # N * (i / N) can fall an ulp short of i, which would retain one sample too few.
    retained = (samples * fractions * (1 + 2 * np.finfo(np.float64).eps)).astype(np.intp)
    decided_by_expert = samples - retained
    return fractions, (predictions.cumulative_correct[retained] + decided_by_expert) / samples


def retention_auc(predictions: Predictions) -> float:
    """Area under the retention curve at its default fractions."""
    fractions, curve = retention(predictions)
    return float(trapezoid(curve, fractions))


def _equal_width_edges(num_bins: int, dtype: npt.DTypeLike) -> FloatArray:
    return (np.arange(num_bins + 1) / num_bins).astype(dtype)


def _bin_index(
    values: FloatArray, edges: FloatArray, convention: Convention
) -> npt.NDArray[np.intp]:
    """Bins 1..B; in the paper's convention also 0, not above the first edge, and B + 1."""
    index = np.searchsorted(edges, values, side="left")
    return index if convention == "paper" else index.clip(1, edges.size - 1, out=index)


def _bin_totals(predictions: Predictions, edges: FloatArray) -> BinTotals:
    index = _bin_index(predictions.confidence, edges, predictions.convention)
    weights = (None, predictions.confidence, predictions.correct)
    samples, confidence, correct = (
        np.bincount(index, weight, minlength=edges.size + 1)[1:-1].astype(np.float64)
        for weight in weights
    )
    return BinTotals(samples, confidence, correct)


def _weighted_gap(totals: BinTotals, samples: int) -> float:
    return float(np.abs(totals.confidence - totals.correct).sum() / samples)
