"""The computations behind the metrics, on predictions that have been checked."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import MOST_BINS, InputError, check_count, some_of
from lsplus_tf.metrics import weighted
from lsplus_tf.metrics.bin_totals import (
    CLOSED,
    PAPER_BINS,
    Closed,
    check_closed,
    class_bin_hits,
    class_bin_sums,
    equal_mass_bins,
    gap_norm,
    top_label_bins,
)
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.arrays import FloatArray, row_blocks

Counts = npt.NDArray[np.float64]
ClassScore = Callable[[Counts, Counts, Counts], Counts]

# Buckets of values that share exponent and first six binary places in float32; of values below 2
# the last one is empty.
_BUCKETS = 2**13
_SORTED_BELOW = 2**13  # so few values are rather sorted as they are


def accuracy(predictions: Predictions, convention: Convention = "standard") -> float:
    """Share of correct samples."""
    correct = predictions.correct
    if convention == "released_code":
        maxima = predictions.probabilities == predictions.confidence[:, np.newaxis]
        correct = correct & (np.count_nonzero(maxima, axis=1) == 1)
    return weighted.mean(correct, predictions)


# Of a class's hits, its cases and how often it is predicted, in arrays of any shape; NaN where a
# class does not count.


def precision(hits: Counts, true: Counts, predicted: Counts) -> Counts:
    """0 of a class with cases that is never predicted, as scikit-learn has it."""
    return np.where(true + predicted > 0, hits / _or_one(predicted), np.nan)


def recall(hits: Counts, true: Counts, predicted: Counts) -> Counts:
    """0 of a class without cases that is predicted."""
    return np.where(true + predicted > 0, hits / _or_one(true), np.nan)


def f1(hits: Counts, true: Counts, predicted: Counts) -> Counts:
    """The harmonic mean of both."""
    return np.where(true + predicted > 0, 2 * hits / _or_one(true + predicted), np.nan)


def own_recall(hits: Counts, true: Counts, _: Counts) -> Counts:
    """The recall of classes with cases."""
    return np.where(true > 0, hits / _or_one(true), np.nan)


def _or_one(counts: Counts) -> Counts:
    """What is divided by, 1 where there is nothing to divide."""
    return np.where(counts > 0, counts, 1)


def mean_over_classes(predictions: Predictions, score: ClassScore) -> float:
    """The mean of a score over the classes that count."""
    classes, weights = len(predictions.class_names), predictions.sample_weight
    correct, labels = predictions.correct, predictions.labels
    hits = weighted.class_totals(
        labels[correct], None if weights is None else weights[correct], classes
    )
    true, predicted = (
        weighted.class_totals(each, weights, classes) for each in (labels, predictions.predicted)
    )
    return float(np.nanmean(score(hits, true, predicted)))


def top_k_error(predictions: Predictions, k: int) -> float:
    """Share of samples whose true class has k or more classes before it."""
    return _mean_of_blocks(top_k_misses(predictions, k), predictions)


def top_k_misses(predictions: Predictions, k: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Whether k or more classes come before each sample's true one, for blocks of samples."""
    classes = np.arange(predictions.scores.shape[1])
    for rows in row_blocks(predictions.scores):
        block, labels = predictions.scores[rows], predictions.labels[rows, np.newaxis]
        true = np.take_along_axis(block, labels, axis=1)
        before = block == true
        before &= classes < labels
        before |= block > true
        yield np.count_nonzero(before, axis=1) >= k


def auroc(predictions: Predictions, convention: Convention = "standard") -> float:
    """One-vs-rest macro AUROC, NaN with a warning where a class has no sample."""
    weights = predictions.sample_weight
    classes = len(predictions.class_names)
    missing = np.flatnonzero(weighted.class_totals(predictions.labels, weights, classes) == 0)
    if missing.size:
        names = some_of([predictions.class_names[k] for k in missing])
        warnings.warn(f"auroc is NaN: no sample of class {names}", stacklevel=3)
        return float("nan")
    rankings = predictions.rankings() if convention == "standard" else predictions.columns()
    if weights is not None:
        return float(np.mean([_weighted_area(predictions, k, column) for k, column in rankings]))
    own_samples = _samples_of_classes(predictions)
    areas = []
    # Mann-Whitney: the rank sum of a class's own samples in its column gives its area directly.
    for k, column in rankings:
        own = np.sort(column[own_samples[k]])
        column.sort()
        ranks = column.searchsorted(own, "left") + column.searchsorted(own, "right") + 1
        wins = ranks.sum() / 2 - own.size * (own.size + 1) / 2
        areas.append(wins / (own.size * (column.size - own.size)))
    return float(np.mean(areas))


def _weighted_area(predictions: Predictions, k: int, column: npt.NDArray[Any]) -> float:
    """The share of pairs of a class's samples and others that a column ranks so, ties by half."""
    order = np.argsort(column)
    own = predictions.labels == k
    others = np.where(own, 0.0, predictions.weights)[order]
    below = np.concatenate(([0.0], np.cumsum(others)))
    values, ranked = column[own], column[order]
    left, right = (below[ranked.searchsorted(values, side)] for side in ("left", "right"))
    weights = predictions.weights[own]
    negatives = below[-1]
    if negatives == 0:
        return float("nan")
    return float(weights @ (left + right) / (2 * weights.sum() * negatives))


def ece(
    predictions: Predictions, convention: Convention = "standard", num_bins: int = PAPER_BINS
) -> float:
    """Top-label calibration error over bins of equal width."""
    return gap_norm(top_label_bins(predictions, num_bins, convention), weighted.total(predictions))


def mce(predictions: Predictions, num_bins: int) -> float:
    """Largest top-label gap in a bin of equal width that is not empty."""
    return gap_norm(top_label_bins(predictions, num_bins), weighted.total(predictions), "max")


def ace(
    predictions: Predictions, convention: Convention = "standard", num_bins: int = PAPER_BINS
) -> float:
    """Top-label calibration error over bins of equal mass."""
    bins = equal_mass_bins(predictions, num_bins, convention)
    return gap_norm(bins, weighted.number(predictions))


def sce(
    predictions: Predictions,
    convention: Convention = "standard",
    num_bins: int = PAPER_BINS,
    *,
    closed: Closed = CLOSED,
) -> float:
    """Calibration error of each class's probability over bins of equal width, mean over classes."""
    check_closed(closed, convention)
    gaps = class_bin_sums(predictions, num_bins, (1,), closed, convention)[0]
    gaps -= class_bin_hits(predictions, num_bins, closed, convention=convention)
    class_errors = np.abs(gaps).sum(axis=1) / weighted.total(predictions)
    if convention == "released_code":
        class_errors = class_errors[: predictions.labels.max() + 1]
    return float(class_errors.mean())


def classwise_ace(predictions: Predictions, num_bins: int, threshold: float) -> float:
    """Calibration error of each class's probability over bins of equal mass, mean over classes."""
    check_count("num_bins", num_bins, most=MOST_BINS)
    lowest = predictions.probabilities.dtype.type(threshold)
    if predictions.sample_weight is not None:
        return _weighted_classwise_ace(predictions.counted(), num_bins, threshold)
    own_samples = _samples_of_classes(predictions)
    errors = []
    for k, column in predictions.columns():
        own = np.sort(column[own_samples[k]])
        if lowest > 0:
            column, own = column[column >= lowest], own[own.searchsorted(lowest) :]
        if column.size:
            errors.append(_classwise_gap(column, own, num_bins))
    return _mean_error(errors, threshold)


def _weighted_classwise_ace(predictions: Predictions, num_bins: int, threshold: float) -> float:
    """The same with weights, none of which is 0."""
    lowest, errors = predictions.probabilities.dtype.type(threshold), []
    for k, column in predictions.columns():
        kept = column >= lowest
        if kept.any():
            of = weighted.ranked(
                column[kept].astype(np.float64),
                predictions.labels[kept] == k,
                predictions.weights[kept],
                predictions.weights_are_counts,
                descending=False,
            )
            ends = -(-np.arange(num_bins + 1) * of.samples // num_bins)
            gaps = of.up_to(ends, of.sums) - of.up_to(ends, of.hits)
            errors.append(float(np.abs(np.diff(gaps)).sum() / of.samples))
    return _mean_error(errors, threshold)


def _mean_error(errors: list[float], threshold: float) -> float:
    if not errors:
        raise InputError(f"threshold: received {threshold}, which no probability reaches")
    return float(np.mean(errors))


def nll(predictions: Predictions, convention: Convention = "standard") -> float:
    """Mean of -log p(true class)."""
    return _mean_of_blocks(log_losses(predictions, convention), predictions)


def log_losses(
    predictions: Predictions, convention: Convention = "standard"
) -> Iterator[npt.NDArray[np.float64]]:
    """-log p(true class) of each sample, for blocks of samples."""
    for rows in row_blocks(predictions.labels):
        true = predictions.true_probability[rows]
        if convention == "released_code":
            # In float32, where 1 - 1e-7 is 0.99999988.
            clipped = true.clip(np.float32(1e-7), np.float32(1 - 1e-7)).astype(np.float64)
        else:
            clipped = true.astype(np.float64).clip(np.finfo(np.float64).tiny, 1)
        yield np.abs(np.log(clipped))


def brier(predictions: Predictions) -> float:
    """Mean squared distance to the one-hot label, summed over classes."""
    return _mean_of_blocks(squared_distances(predictions), predictions)


def squared_distances(predictions: Predictions) -> Iterator[npt.NDArray[np.float64]]:
    """Squared distance of each sample to its one-hot label, for blocks of samples."""
    for rows in row_blocks(predictions.probabilities):
        block = predictions.probabilities[rows].astype(np.float64)
        true = predictions.true_probability[rows].astype(np.float64)
        # sum_k (p_k - 1[k = y])^2 without the one-hot matrix; rounding may leave -1e-17 of a zero.
        yield (np.vecdot(block, block) - 2 * true + 1).clip(0)


def _mean_of_blocks(blocks: Iterator[npt.NDArray[Any]], predictions: Predictions) -> float:
    weights = predictions.sample_weight
    if weights is None:
        return sum(float(block.sum()) for block in blocks) / predictions.labels.size
    return weighted.mean(np.concatenate(list(blocks)), predictions)


def mean_confidence(predictions: Predictions) -> float:
    """Mean probability of the predicted class."""
    return weighted.mean(predictions.confidence, predictions)


def retention(
    predictions: Predictions,
    fractions: npt.NDArray[np.float64] | None = None,
    convention: Convention = "standard",
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fractions retained, by default those of the convention, and the accuracy at each."""
    if predictions.sample_weight is not None:
        return _weighted_retention(weighted.by_confidence(predictions), fractions)
    samples = predictions.labels.size
    cumulative = predictions.cumulative_correct
    if convention == "released_code":  # ties in the order in which they come
        ranking = np.argsort(-predictions.confidence, kind="stable")
        cumulative = np.concatenate(([0.0], np.cumsum(predictions.correct[ranking])))
    if fractions is None and convention == "released_code":
        fractions = np.log(np.arange(1, 201)) / np.log(200)
    elif fractions is None:
        fractions = np.arange(samples + 1) / samples
    return fractions, _retention(cumulative, _retained(samples, fractions))


def _retained(samples: int, fractions: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    # N * (i / N) can fall an ulp short of i, which would retain one sample too few.
    return (samples * fractions * (1 + 2 * np.finfo(np.float64).eps)).astype(np.intp)


def _weighted_retention(
    of: weighted.Ranked, fractions: npt.NDArray[np.float64] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if fractions is None:
        hits = of.all_hits()
        retained = np.arange(of.samples + 1)
        fractions = retained / of.samples
    else:
        retained = _retained(of.samples, fractions)
        hits = of.up_to(retained, of.hits)
    return fractions, (hits + of.samples - retained) / of.samples


def retention_auc(predictions: Predictions, convention: Convention = "standard") -> float:
    """Area under the retention curve at its default fractions."""
    if predictions.sample_weight is not None:
        return 1 - weighted.error_area(weighted.by_confidence(predictions))
    fractions, curve = retention(predictions, convention=convention)
    return float(np.trapezoid(curve, fractions))


def _retention(
    cumulative_correct: npt.NDArray[np.float64], retained: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Accuracy where the most confident samples are retained and an expert decides the others."""
    samples = cumulative_correct.size - 1
    return (cumulative_correct[retained] + samples - retained) / samples


def selective_risk(predictions: Predictions) -> npt.NDArray[np.float64]:
    """Error rate of the i most confident samples, i = 1..N."""
    if predictions.sample_weight is None:
        cumulative = predictions.cumulative_correct
    else:
        cumulative = weighted.by_confidence(predictions).all_hits()
    return 1 - cumulative[1:] / np.arange(1, cumulative.size)


def aurc(predictions: Predictions) -> float:
    """Mean of the selective risk."""
    if predictions.sample_weight is not None:
        return weighted.mean_risk(weighted.by_confidence(predictions))
    return float(selective_risk(predictions).mean())


def _samples_of_classes(predictions: Predictions) -> list[npt.NDArray[np.intp]]:
    """The numbers of the samples of each class."""
    # Of integers in few bits NumPy's stable sort is a radix sort.
    labels = predictions.labels.astype(np.min_scalar_type(len(predictions.class_names) - 1))
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(predictions.class_counts).tolist()
    return [order[start:end] for start, end in itertools.pairwise([0, *ends])]


def _classwise_gap(column: FloatArray, own: FloatArray, num_bins: int) -> float:
    """Mean gap of values (N,) in bins of equal mass, ties in expectation; `own` are ascending."""
    num_bins = min(num_bins, column.size)  # which leaves out those without a value
    ends = -(-np.arange(num_bins + 1) * column.size // num_bins)
    values, left_out, total_left_out = _around_ranks(column, ends[1:])
    places = ends[1:] - left_out
    cumulative = np.zeros(values.size + 1)
    np.cumsum(values, dtype=np.float64, out=cumulative[1:])
    confidence = cumulative[places] + total_left_out
    # Where a cut goes through equal values, its side takes a proportional share of their hits.
    cuts = places[:-1]
    at_cut = values[cuts]
    first, last = values.searchsorted(at_cut, "left"), values.searchsorted(at_cut, "right")
    below, up_to = own.searchsorted(at_cut, "left"), own.searchsorted(at_cut, "right")
    hits = below + (cuts - first) / (last - first) * (up_to - below)
    gaps = np.zeros(num_bins + 1)
    gaps[1:] = confidence
    gaps[1:-1] -= hits
    gaps[-1] -= own.size
    return float(np.abs(gaps[1:] - gaps[:-1]).sum() / column.size)


def _around_ranks(
    column: FloatArray, ranks: npt.NDArray[np.intp]
) -> tuple[FloatArray, npt.NDArray[np.intp] | int, npt.NDArray[np.float64] | float]:
    """Values in ascending order, without most that are far from the ranks 1..N.

    Also how many are left out below each rank, and their sum.
    """
    if column.size < _SORTED_BELOW:
        return np.sort(column), 0, 0.0
    # Positive floats are ordered as the integers of the same bits. Counting buckets of them and
    # sorting those with a rank takes a seventh of the time of sorting all.
    bits = column.astype(np.float32, copy=False).view(np.uint32)
    bucket = (bits << 1 >> 18).astype(np.intp)
    sizes = np.bincount(bucket, minlength=_BUCKETS)
    totals = np.bincount(bucket, column, minlength=_BUCKETS)
    of_rank = np.searchsorted(np.cumsum(sizes[:-1]), ranks, side="right")
    kept = np.zeros(_BUCKETS, bool)
    kept[of_rank] = True
    sizes[kept], totals[kept] = 0, 0
    total_left_out = np.cumsum(totals, dtype=np.float64)[of_rank]
    return np.sort(column[kept[bucket]]), np.cumsum(sizes)[of_rank], total_left_out
