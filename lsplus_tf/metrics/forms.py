"""Metrics in the forms in which they are resampled: sums over the cases, or their ranks.

A form takes how often each case is drawn, for many resamples at once; there is no loop over
resamples or cases in any of them. A case that is drawn counts its sample weight each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from lsplus_tf.metrics.bin_totals import PAPER_BINS, bin_index, equal_width_edges
from lsplus_tf.metrics.measures import ClassScore
from lsplus_tf.metrics.metric import OfWeights, Sums, Values, Weights
from lsplus_tf.metrics.weighted import harmonic
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.arrays import FloatArray, row_blocks

# Sums --------------------------------------------------------------------------------------------


def _sums(
    columns: npt.NDArray[np.integer[Any]],
    values: npt.NDArray[Any] | None,
    width: int,
    finish: Callable[[Values, Values], Values],
    weights: Values | None,
) -> Sums:
    """What adds `values` (N, T), by default ones, to the sums `columns` (N, T) of `width` many."""
    samples, terms = columns.shape
    data = (
        np.ones(columns.size) if values is None else values.astype(np.float64, copy=False).ravel()
    )
    # In 64 bits one of the two would have SciPy copy the other.
    kind = np.int32 if columns.size < 2**31 else np.int64
    places = columns.ravel().astype(kind, copy=False)
    starts = np.arange(samples + 1, dtype=kind) * kind(terms)
    return Sums(csr_array((data, places, starts), shape=(samples, width)), finish, weights)


def mean_of(values: npt.NDArray[Any], weights: Values | None = None) -> Sums:
    """The mean of a value (N,) of each case."""
    columns = np.zeros((values.size, 1), np.intp)
    return _sums(
        columns, values[:, np.newaxis], 1, lambda samples, sums: sums[0] / samples, weights
    )


def mean_of_blocks(
    measure: Callable[[Predictions], Iterable[npt.NDArray[Any]]],
) -> Callable[[Predictions], Sums]:
    """The same of values that come in blocks of cases."""
    return lambda predictions: mean_of(
        np.concatenate(list(measure(predictions))), predictions.sample_weight
    )


def share_of(hits: Values, cases: Values, weights: Values | None = None) -> Sums:
    """The sum of the hits (N,) over that of the cases (N,) that count, NaN where none do."""

    def share(_: Values, sums: Values) -> Values:
        return np.asarray(sums[0] / np.where(sums[1] > 0, sums[1], np.nan))

    return Sums(csr_array(np.stack([hits, cases], axis=1)), share, weights)


def _bins(values: FloatArray) -> npt.NDArray[np.intp]:
    edges = equal_width_edges(PAPER_BINS, values.dtype)
    return bin_index(values, edges) - 1


def width_gap(
    scores: FloatArray, outcomes: npt.NDArray[Any], weights: Values | None = None
) -> Sums:
    """The calibration error of scores (N,) in bins of equal width, against outcomes in [0, 1]."""
    gaps = scores.astype(np.float64) - outcomes
    return _sums(
        _bins(scores)[:, np.newaxis],
        gaps[:, np.newaxis],
        PAPER_BINS,
        lambda samples, sums: np.abs(sums).sum(axis=0) / samples,
        weights,
    )


def ece(predictions: Predictions) -> Sums:
    return width_gap(predictions.confidence, predictions.correct, predictions.sample_weight)


def mce(predictions: Predictions) -> Sums:
    bins = _bins(predictions.confidence)
    gaps = predictions.confidence.astype(np.float64) - predictions.correct

    def largest(_: Values, sums: Values) -> Values:
        held = sums[PAPER_BINS:]
        return np.asarray((np.abs(sums[:PAPER_BINS]) / np.where(held > 0, held, 1)).max(axis=0))

    return _sums(
        np.stack([bins, bins + PAPER_BINS], axis=1),
        np.stack([gaps, np.ones_like(gaps)], axis=1),
        2 * PAPER_BINS,
        largest,
        predictions.sample_weight,
    )


def sce(predictions: Predictions) -> Sums:
    probabilities = predictions.probabilities
    samples, classes = probabilities.shape
    gaps = probabilities.astype(np.float64)
    gaps[np.arange(samples), predictions.labels] -= 1
    columns = np.empty(gaps.shape, np.int32)
    for rows in row_blocks(gaps):
        columns[rows] = _bins(probabilities[rows]) + np.arange(classes) * PAPER_BINS
    return _sums(
        columns,
        gaps,
        classes * PAPER_BINS,
        lambda samples, sums: np.abs(sums).sum(axis=0) / samples / classes,
        predictions.sample_weight,
    )


def mean_over_classes(score: ClassScore) -> Callable[[Predictions], Sums]:
    """The mean of a score over the classes that count."""

    def sums(predictions: Predictions) -> Sums:
        classes = len(predictions.class_names)
        misses = 3 * classes
        columns = [
            np.where(predictions.correct, predictions.labels, misses),
            predictions.labels + classes,
            predictions.predicted.astype(np.intp) + 2 * classes,
        ]

        def mean(_: Values, sums: Values) -> Values:
            return np.nanmean(score(*sums[:misses].reshape(3, classes, -1)), axis=0)

        weights = predictions.sample_weight
        return _sums(np.stack(columns, axis=1), None, misses + 1, mean, weights)

    return sums


# Ranks -------------------------------------------------------------------------------------------


def auroc(predictions: Predictions) -> OfWeights:
    return mean_area(
        predictions,
        ((column, np.flatnonzero(predictions.labels == k)) for k, column in predictions.rankings()),
    )


def mean_area(
    predictions: Predictions,
    rankings: Iterable[tuple[npt.NDArray[Any], npt.NDArray[np.intp]]],
) -> OfWeights:
    """The mean AUROC of rankings (N,), each with the positions of the positives."""
    classes = []
    for column, own in rankings:
        order = np.argsort(column)
        below, up_to = (
            np.searchsorted(column[order], column[own], side) for side in ("left", "right")
        )
        classes.append((order, own, below, up_to))
    if predictions.sample_weight is not None:
        return _weighted_auroc(predictions, classes)

    def of_weights(weights: Weights) -> Values:
        samples = weights.sum(axis=1).astype(np.float64)
        areas = np.zeros(samples.size)
        cumulative = np.zeros((samples.size, weights.shape[1] + 1), np.int32)
        for order, own, below, up_to in classes:
            _cumulate(weights.take(order, axis=1), cumulative[:, 1:])
            mine = weights.take(own, axis=1)
            positives = mine.sum(axis=1).astype(np.float64)
            # Against each other and themselves, a class's own cases win half of all pairs.
            before = cumulative.take(below, axis=1) + cumulative.take(up_to, axis=1)
            wins = (_dot(mine, before) - positives**2) / 2
            pairs = positives * (samples - positives)
            # NaN for a class that is absent, or the only one.
            areas += wins / np.where(pairs > 0, pairs, np.nan)
        return areas / len(classes)

    return of_weights


def _weighted_auroc(
    predictions: Predictions, classes: Sequence[tuple[npt.NDArray[np.intp], ...]]
) -> OfWeights:
    def of_weights(weights: Weights) -> Values:
        drawn = _counted(weights, predictions)
        areas = np.zeros(len(drawn))
        for order, own, below, up_to in classes:
            others = drawn.copy()
            others[:, own] = 0
            before = np.zeros((len(drawn), drawn.shape[1] + 1))
            np.cumsum(others.take(order, axis=1), axis=1, out=before[:, 1:])
            mine = drawn.take(own, axis=1)
            wins = _dot(mine, before.take(below, axis=1) + before.take(up_to, axis=1)) / 2
            pairs = mine.sum(axis=1) * before[:, -1]
            areas += wins / np.where(pairs > 0, pairs, np.nan)
        return areas / len(classes)

    return of_weights


def _counted(weights: Weights, predictions: Predictions) -> Weights | Values:
    """What each case counts in each resample, which sums to the samples that there are."""
    own = predictions.sample_weight
    if own is None:
        return weights
    drawn = weights * own
    if not predictions.weights_are_counts:
        drawn *= (weights @ (own > 0) / drawn.sum(axis=1))[:, np.newaxis]
    return drawn


def by_confidence(
    measure: Callable[[FloatArray, Weights | Values, Weights | Values], Values],
) -> Callable[[Predictions], OfWeights]:
    """A measure of the cases from the most to the least confident.

    It receives the different confidences in descending order (P,), how many cases have each (M, P),
    and how many of them are right (M, P).
    """

    return lambda predictions: from_the_top(
        measure, predictions, predictions.confidence, predictions.correct
    )


def from_the_top(
    measure: Callable[[FloatArray, Weights | Values, Weights | Values], Values],
    predictions: Predictions,
    values: npt.NDArray[Any],
    outcome: npt.NDArray[np.bool_],
) -> OfWeights:
    """A measure of the cases by other values (N,), and of how many have another outcome (N,)."""
    order = np.argsort(-values)
    ranked = values[order]
    right = outcome[order].astype(np.int32)
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    different = ranked[starts]

    def of_weights(weights: Weights) -> Values:
        drawn = _counted(weights, predictions).take(order, axis=1)
        hits = drawn * right
        if starts.size < order.size:
            drawn, hits = (np.add.reduceat(each, starts, axis=1) for each in (drawn, hits))
        return measure(different, drawn, hits)

    return of_weights


def precision_area(_: FloatArray, drawn: Weights | Values, hits: Weights | Values) -> Values:
    """The average precision; NaN without hits."""
    found, every = _cumulate(hits), _cumulate(drawn)
    precision = found / np.where(every > 0, every, 1)
    total = found[:, -1].astype(np.float64)
    return np.asarray(_dot(hits, precision) / np.where(total > 0, total, np.nan))


def mass_gap(confidence: FloatArray, drawn: Weights | Values, hits: Weights | Values) -> Values:
    """The ACE; where a bin ends among equal confidences it takes its share of their gap."""
    gaps = confidence.astype(np.float64) * drawn - hits
    ranks = _ranks(drawn)
    resamples, places = ranks.shape
    sizes = ranks[:, -1:].astype(np.int64)
    ends = np.arange(1, PAPER_BINS + 1) * sizes // PAPER_BINS
    # The place in which each bin ends. All resamples' ranks are searched as one ascending row.
    first = np.arange(resamples)[:, np.newaxis]
    apart = first * (sizes.max() + 1)
    cut = np.searchsorted((ranks + apart).ravel(), ends + apart)
    own, all_gaps = drawn.ravel()[cut], gaps.ravel()
    # Sums from each cut to the next: of the places, less what the next bin has of the last.
    cuts = np.hstack([first * places, cut])
    whole = np.add.reduceat(all_gaps, cuts.ravel()).reshape(cuts.shape)[:, :-1]
    whole[np.diff(cuts, axis=1) == 0] = 0
    inside = (ends - ranks.ravel()[cut] + own) / np.where(own > 0, own, 1) * all_gaps[cut]
    bins = whole + np.diff(inside, axis=1, prepend=0)
    return np.asarray(np.abs(bins).sum(axis=1) / sizes[:, 0])


def retention_area(_: FloatArray, drawn: Weights | Values, hits: Weights | Values) -> Values:
    """The area under the retention curve, which is straight among equal confidences."""
    samples = drawn.sum(axis=1)
    decided = _dot(drawn, _cumulate(hits)) - _dot(drawn, hits) / 2
    return np.asarray(decided / samples**2 + 0.5)


def mean_risk(_: FloatArray, drawn: Weights | Values, hits: Weights | Values) -> Values:
    """The AURC: the mean over i = 1..n of the share of errors among the i most confident."""
    if drawn.dtype.kind == "f":
        return _weighted_risk(drawn, hits)
    up_to: Weights = _cumulate(drawn)
    samples = up_to[:, -1]
    # An error at rank j counts in the shares from i = j on, with 1/i each: h(n) - h(j - 1). Among
    # equal confidences the errors' ranks are any, and h their mean.
    harmonic = np.concatenate(([0.0], np.cumsum(1 / np.arange(1, samples.max() + 1))))
    sums = np.concatenate(([0.0], np.cumsum(harmonic)))
    places = np.flatnonzero((hits < drawn).any(axis=0))
    chosen: tuple[Any, ...] = up_to, drawn, hits
    up_to, own, right = (each.take(places, axis=1) for each in chosen)
    means = (sums.take(up_to) - sums.take(up_to - own)) / own.clip(min=1)
    weighed = _dot(own - right, harmonic[samples, np.newaxis] - means)
    return np.asarray(weighed / samples)


def _weighted_risk(drawn: Weights | Values, hits: Weights | Values) -> Values:
    """As :func:`lsplus_tf.metrics.weighted.mean_risk` has it."""
    ranks, errors = (
        np.concatenate((np.zeros((len(drawn), 1)), each), axis=1)
        for each in (_ranks(drawn), _cumulate(drawn - hits))
    )
    rates = (drawn - hits) / np.where(drawn > 0, drawn, 1)
    ends = np.floor(ranks)
    ahead = errors[:, :-1] - rates * ranks[:, :-1]
    sums = _dot(rates, np.diff(ends, axis=1)) + _dot(ahead, np.diff(harmonic(ends), axis=1))
    return np.asarray(sums / ranks[:, -1])


def _ranks(drawn: Weights | Values) -> Weights | Values:
    """How many cases there are up to each place; in the end a whole number of them."""
    ranks = _cumulate(drawn)
    if drawn.dtype.kind == "f":  # which rounding may miss
        last = np.rint(ranks[:, -1:])
        ranks = np.minimum(ranks, last)
        ranks[:, -1:] = last
    return ranks


def _cumulate(values: Any, out: Weights | None = None) -> Any:
    """Cumulative sums along the rows; whole numbers are small enough for 32 bits."""
    dtype = np.float64 if values.dtype.kind == "f" else np.int32
    return np.cumsum(values, axis=1, dtype=dtype, out=out)


def _dot(first: Weights | Values, second: Weights | Values) -> Values:
    """The products' sum in each row."""
    return np.asarray(np.einsum("mn,mn->m", first, second, dtype=np.float64))
