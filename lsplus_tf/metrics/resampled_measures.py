"""Metrics as functions of sums over the samples, or of the samples' order.

`_resampled_statistics` evaluates them on many resamples at once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from lsplus_tf.metrics import measures
from lsplus_tf.metrics.bin_totals import PAPER_BINS, bin_index, equal_mass_gap, equal_width_edges
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.arrays import FloatArray, average_ties

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


class RankMeasure(NamedTuple):
    """A metric that depends on the order of the samples.

    `of_weights` sorts them, and returns the metric of how often each is there (N,).
    """

    of_all: Callable[[Predictions], float]
    of_weights: Callable[[Predictions], Callable[[Labels], float]]


@dataclass(frozen=True)
class Sums:
    """A metric that depends on the samples through sums only.

    `terms` (N, D) holds what each sample adds; `finish` makes the metric (M,) of the numbers of
    samples (M,) and the sums (D, M).
    """

    terms: csr_array
    finish: Callable[[Values, Values], Values]


# Metrics as sums ---------------------------------------------------------------------------------


def _sums(
    columns: npt.NDArray[np.integer[Any]],
    values: npt.NDArray[Any] | None,
    width: int,
    finish: Callable[[Values, Values], Values],
) -> Sums:
    """What adds `values` (N, T), by default ones, to the sums `columns` (N, T) of `width` many."""
    samples, terms = columns.shape
    data = np.ones(columns.size) if values is None else values.astype(np.float64).ravel()
    starts = np.arange(samples + 1) * terms
    return Sums(csr_array((data, columns.ravel(), starts), shape=(samples, width)), finish)


def _mean(values: npt.NDArray[Any]) -> Sums:
    columns = np.zeros((values.size, 1), np.intp)
    return _sums(columns, values[:, np.newaxis], 1, lambda samples, sums: sums[0] / samples)


def _mean_of_blocks(
    measure: Callable[[Predictions], Iterable[npt.NDArray[Any]]],
) -> Callable[[Predictions], Sums]:
    return lambda predictions: _mean(np.concatenate(list(measure(predictions))))


def _bins(values: FloatArray) -> npt.NDArray[np.intp]:
    edges = equal_width_edges(PAPER_BINS, values.dtype)
    return bin_index(values, edges, "standard", "right") - 1


def _ece(predictions: Predictions) -> Sums:
    gaps = predictions.confidence.astype(np.float64) - predictions.correct
    return _sums(
        _bins(predictions.confidence)[:, np.newaxis],
        gaps[:, np.newaxis],
        PAPER_BINS,
        lambda samples, sums: np.abs(sums).sum(axis=0) / samples,
    )


def _mce(predictions: Predictions) -> Sums:
    bins = _bins(predictions.confidence)
    gaps = predictions.confidence.astype(np.float64) - predictions.correct

    def largest(_: Values, sums: Values) -> Values:
        # Weights are whole numbers, so that a bin is empty or holds at least one sample.
        held = sums[PAPER_BINS:].clip(min=1)
        return np.asarray((np.abs(sums[:PAPER_BINS]) / held).max(axis=0))

    return _sums(
        np.stack([bins, bins + PAPER_BINS], axis=1),
        np.stack([gaps, np.ones_like(gaps)], axis=1),
        2 * PAPER_BINS,
        largest,
    )


def _sce(predictions: Predictions) -> Sums:
    samples, classes = predictions.probabilities.shape
    gaps = predictions.probabilities.astype(np.float64)
    gaps[np.arange(samples), predictions.labels] -= 1
    return _sums(
        _bins(predictions.probabilities) + np.arange(classes) * PAPER_BINS,
        gaps,
        classes * PAPER_BINS,
        lambda samples, sums: np.abs(sums).sum(axis=0) / samples / classes,
    )


def _by_class(
    score: Callable[[Values, Values, Values], Values],
    counted: Callable[[Values, Values], Values] = np.add,
) -> Callable[[Predictions], Sums]:
    """Mean of score(hits, true, predicted) over the classes with a counted(true, predicted) > 0."""

    def sums(predictions: Predictions) -> Sums:
        classes = predictions.probabilities.shape[1]
        misses = 3 * classes
        columns = [
            np.where(predictions.correct, predictions.labels, misses),
            predictions.labels + classes,
            predictions.predicted.astype(np.intp) + 2 * classes,
        ]

        def mean(_: Values, sums: Values) -> Values:
            hits, true, predicted = sums[:misses].reshape(3, classes, -1)
            present = np.count_nonzero(counted(true, predicted), axis=0)
            return np.asarray(score(hits, true, predicted).sum(axis=0) / present)

        return _sums(np.stack(columns, axis=1), None, misses + 1, mean)

    return sums


def _recall(hits: Values, true: Values, _: Values) -> Values:
    return hits / true.clip(min=1)


SUMMED: dict[str, Callable[[Predictions], Sums]] = {
    "accuracy": lambda predictions: _mean(predictions.correct),
    "precision": _by_class(lambda hits, true, predicted: hits / predicted.clip(min=1)),
    "recall": _by_class(_recall),
    "balanced_accuracy": _by_class(_recall, lambda true, _: true),
    "f1": _by_class(lambda hits, true, predicted: 2 * hits / (true + predicted).clip(min=1)),
    "ece": _ece,
    "mce": _mce,
    "sce": _sce,
    "ce": _mean_of_blocks(measures.log_losses),
    "brier": _mean_of_blocks(measures.squared_distances),
    "top1_error": lambda predictions: _mean(~predictions.correct),
    "top5_error": _mean_of_blocks(lambda predictions: measures.top_k_misses(predictions, 5)),
    "mean_confidence": lambda predictions: _mean(predictions.confidence),
}


# Metrics of ranked samples -----------------------------------------------------------------------


def _auroc_of_weights(predictions: Predictions) -> Callable[[Labels], float]:
    classes = []
    for k, column in predictions.rankings():
        order = np.argsort(column)
        own = np.flatnonzero(predictions.labels == k)
        below, up_to = (
            np.searchsorted(column[order], column[own], side) for side in ("left", "right")
        )
        classes.append((order.astype(np.int32), own, below, up_to))

    def auroc(weights: Labels) -> float:
        positives, wins = np.empty(len(classes)), np.empty(len(classes))
        for k, (order, own, below, up_to) in enumerate(classes):
            cumulative = np.concatenate(([0], np.cumsum(weights[order])))
            positives[k] = weights[own].sum()
            # Against each other and themselves, a class's own samples win half of all pairs.
            all_wins = weights[own] @ (cumulative[below] + cumulative[up_to])
            wins[k] = (all_wins - positives[k] ** 2) / 2
        if not positives.all() or (positives == weights.sum()).any():
            return float("nan")
        return float(np.mean(wins / (positives * (weights.sum() - positives))))

    return auroc


def _by_confidence(
    measure: Callable[[FloatArray, Values], float],
) -> Callable[[Predictions], Callable[[Labels], float]]:
    """`measure` receives confidences in descending order (N,), and how many are hits, (N + 1,)."""

    def prepared(predictions: Predictions) -> Callable[[Labels], float]:
        ranking = np.argsort(-predictions.confidence)
        confidence, correct = predictions.confidence[ranking], predictions.correct[ranking]

        def of_weights(weights: Labels) -> float:
            drawn = weights[ranking]
            ranked = confidence.repeat(drawn)
            hits = np.concatenate(([0.0], np.cumsum(correct.repeat(drawn))))
            return measure(ranked, average_ties(hits, ranked))

        return of_weights

    return prepared


WEIGHTED: dict[str, RankMeasure] = {
    "auroc": RankMeasure(measures.auroc, _auroc_of_weights),
    "ace": RankMeasure(
        lambda predictions: measures.ace(predictions, PAPER_BINS),
        _by_confidence(lambda ranked, hits: equal_mass_gap(ranked, hits, PAPER_BINS)),
    ),
    "retention_auc": RankMeasure(
        measures.retention_auc, _by_confidence(lambda _, hits: measures.retention_area(hits))
    ),
    "aurc": RankMeasure(
        measures.aurc, _by_confidence(lambda _, hits: float(measures.risks(hits).mean()))
    ),
}
