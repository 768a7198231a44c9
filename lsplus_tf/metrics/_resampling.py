"""A metric on resampled, reduced and swapped samples: from sums where it is a function of sums.

The units that are drawn, left out or swapped are single samples or, given groups, all the samples
of a group at once.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from lsplus_tf.errors import InputError
from lsplus_tf.metrics import _measures
from lsplus_tf.metrics._measures import PAPER_BINS, bin_index, equal_width_edges
from lsplus_tf.metrics._predictions import (
    FloatArray,
    Predictions,
    average_ties,
    check_predictions,
)

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Measure = Callable[[FloatArray, Labels], float]
Metric = str | Measure

_CACHED = 2**18  # resampled units, or sums, in a block that stays in the processor's cache


class Statistic(Protocol):
    """A metric of one model, or the first model's less the second's."""

    units: int

    def values(self) -> list[float]:
        """The metric of each model."""

    def resampled(self, rng: np.random.Generator, repetitions: int) -> Values:
        """Statistic (repetitions,) of as many units drawn with replacement."""

    def without_one(self) -> Values:
        """Statistic (units,) with each unit left out in turn."""

    def swapped(self, rng: np.random.Generator, repetitions: int) -> Values:
        """Statistic (repetitions,) after the two models have exchanged half of the units."""


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


class SummedStatistic:
    """Each resample by one product of the units' terms with how often each is drawn."""

    def __init__(self, models: list[Sums], groups: npt.NDArray[np.intp] | None) -> None:
        self.finish = models[0].finish
        self.terms = [model.terms for model in models]
        self.sizes = np.ones(self.terms[0].shape[0])  # how many samples each unit is
        if groups is not None:
            members = csr_array((self.sizes, (groups, np.arange(groups.size))))
            self.sizes = members.sum(axis=1)
            self.terms = [members @ terms for terms in self.terms]
        self.units: int = self.sizes.size
        self.totals = [terms.sum(axis=0) for terms in self.terms]

    def values(self) -> list[float]:
        samples = self.sizes.sum(keepdims=True)
        return [float(self.finish(samples, totals[:, np.newaxis])[0]) for totals in self.totals]

    def resampled(self, rng: np.random.Generator, repetitions: int) -> Values:
        blocks = []
        for size in self._blocks(repetitions):
            drawn = rng.integers(self.units, size=(size, self.units))
            drawn *= size
            drawn += np.arange(size)[:, np.newaxis]
            counts = np.bincount(drawn.ravel(), minlength=self.units * size)
            del drawn
            weights = counts.reshape(self.units, size).astype(np.float64)
            sums = [terms.T @ weights for terms in self.terms]
            samples = np.einsum("u,um->m", self.sizes, weights)
            blocks.append(self._statistic(samples, sums))
        return np.concatenate(blocks)

    def without_one(self) -> Values:
        rows = max(1, _CACHED // self.totals[0].size)
        blocks = []
        for start in range(0, self.units, rows):
            block = slice(start, start + rows)
            rest = [
                totals[:, np.newaxis] - terms[block].toarray().T
                for totals, terms in zip(self.totals, self.terms, strict=True)
            ]
            blocks.append(self._statistic(self.sizes.sum() - self.sizes[block], rest))
        return np.concatenate(blocks)

    def swapped(self, rng: np.random.Generator, repetitions: int) -> Values:
        difference = (self.terms[1] - self.terms[0]).T
        totals = [total[:, np.newaxis] for total in self.totals]
        samples = self.sizes.sum(keepdims=True)
        blocks = []
        for size in self._blocks(repetitions):
            swap = rng.integers(2, size=(size, self.units)).astype(np.float64)
            change = difference @ np.ascontiguousarray(swap.T)
            blocks.append(self._statistic(samples, [totals[0] + change, totals[1] - change]))
        return np.concatenate(blocks)

    def _statistic(self, samples: Values, sums: list[Values]) -> Values:
        first, *second = (self.finish(samples, model) for model in sums)
        return first - second[0] if second else first

    def _blocks(self, repetitions: int) -> Iterator[int]:
        size = max(_CACHED // self.units, 1)
        for start in range(0, repetitions, size):
            yield min(size, repetitions - start)


class WeightedStatistic:
    """Each resample from how often each sample is drawn, of samples that are sorted once."""

    def __init__(
        self,
        measure: RankMeasure,
        models: list[Predictions],
        groups: npt.NDArray[np.intp] | None,
    ) -> None:
        self.measure, self.models = measure, models
        self.weighted = [measure.of_weights(model) for model in models]
        self.codes = np.arange(models[0].labels.size) if groups is None else groups
        self.units = int(self.codes.max()) + 1

    def values(self) -> list[float]:
        return [self.measure.of_all(model) for model in self.models]

    def resampled(self, rng: np.random.Generator, repetitions: int) -> Values:
        def draw() -> float:
            drawn = rng.integers(self.units, size=self.units)
            return self._statistic(np.bincount(drawn, minlength=self.units)[self.codes])

        return np.array([draw() for _ in range(repetitions)])

    def without_one(self) -> Values:
        return np.array([self._statistic(1 * (self.codes != unit)) for unit in range(self.units)])

    def swapped(self, rng: np.random.Generator, repetitions: int) -> Values:
        rows = np.concatenate([model.probabilities for model in self.models])
        labels = np.tile(self.models[0].labels, 2)
        weighted = self.measure.of_weights(Predictions(rows, labels, "standard"))

        def draw() -> float:
            swap = rng.integers(2, size=self.units)[self.codes]
            stay = 1 - swap
            return weighted(np.concatenate((stay, swap))) - weighted(np.concatenate((swap, stay)))

        return np.array([draw() for _ in range(repetitions)])

    def _statistic(self, weights: Labels) -> float:
        first, *second = (measure(weights) for measure in self.weighted)
        return first - second[0] if second else first


class LoopedStatistic:
    """One evaluation of a function for each resample, from the same draws as the others."""

    def __init__(
        self,
        measure: Measure,
        models: list[FloatArray],
        labels: Labels,
        groups: npt.NDArray[np.intp] | None,
    ) -> None:
        self.measure, self.models, self.labels = measure, models, labels
        codes = np.arange(labels.size) if groups is None else groups
        self.codes, self.units = codes, int(codes.max()) + 1
        ends = np.cumsum(np.bincount(codes))[:-1]
        self.members = None if groups is None else np.split(np.argsort(codes, kind="stable"), ends)

    def values(self) -> list[float]:
        return [float(self.measure(model, self.labels)) for model in self.models]

    def resampled(self, rng: np.random.Generator, repetitions: int) -> Values:
        values = np.empty(repetitions)
        for i in range(repetitions):
            drawn = rng.integers(self.units, size=self.units)
            if self.members is not None:
                drawn = np.concatenate([self.members[unit] for unit in drawn])
            values[i] = self._statistic(drawn)
        return values

    def without_one(self) -> Values:
        return np.array([self._statistic(self.codes != unit) for unit in range(self.units)])

    def swapped(self, rng: np.random.Generator, repetitions: int) -> Values:
        values = np.empty(repetitions)
        first, second = self.models
        for i in range(repetitions):
            swap = rng.integers(2, size=self.units).astype(bool)[self.codes, np.newaxis]
            models = np.where(swap, second, first), np.where(swap, first, second)
            a, b = (self.measure(model, self.labels) for model in models)
            values[i] = a - b
        return values

    def _statistic(self, chosen: npt.NDArray[Any]) -> float:
        labels = self.labels[chosen]
        first, *second = (self.measure(model[chosen], labels) for model in self.models)
        return first - second[0] if second else first


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
    "ce": _mean_of_blocks(_measures.log_losses),
    "brier": _mean_of_blocks(_measures.squared_distances),
    "top1_error": lambda predictions: _mean(~predictions.correct),
    "top5_error": _mean_of_blocks(lambda predictions: _measures.top_k_misses(predictions, 5)),
    "mean_confidence": lambda predictions: _mean(predictions.confidence),
}


# Metrics of ranked samples -----------------------------------------------------------------------


def _auroc_of_weights(predictions: Predictions) -> Callable[[Labels], float]:
    classes = []
    for k, column in enumerate(predictions.probabilities.T):
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
        if not positives.all():
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
    "auroc": RankMeasure(_measures.auroc, _auroc_of_weights),
    "ace": RankMeasure(
        lambda predictions: _measures.ace(predictions, PAPER_BINS),
        _by_confidence(lambda ranked, hits: _measures.equal_mass_gap(ranked, hits, PAPER_BINS)),
    ),
    "retention_auc": RankMeasure(
        _measures.retention_auc, _by_confidence(lambda _, hits: _measures.retention_area(hits))
    ),
    "aurc": RankMeasure(
        _measures.aurc, _by_confidence(lambda _, hits: float(_measures.risks(hits).mean()))
    ),
}


# The statistic of what the user gave -------------------------------------------------------------


def statistic_of(
    metric: Metric,
    models: dict[str, npt.ArrayLike],
    labels: npt.ArrayLike,
    groups: npt.ArrayLike | None,
    from_logits: bool,
) -> Statistic:
    """The metric of one model, or of two, whose names are those of the arguments."""
    named = SUMMED.keys() | WEIGHTED.keys()
    if not callable(metric) and not (isinstance(metric, str) and metric in named):
        raise InputError(
            f"metric: expected a function or one of {', '.join(sorted(named))}, received {metric!r}"
        )
    checked = [_check_model(name, model, labels, from_logits) for name, model in models.items()]
    first, last = checked[0], checked[-1]
    if first.probabilities.shape != last.probabilities.shape:
        raise InputError(
            f"probabilities_b: expected the shape of probabilities_a, {first.probabilities.shape}, "
            f"received {last.probabilities.shape}"
        )
    if first.labels.size < 2:
        raise InputError(f"{next(iter(models))}: expected at least two rows, received 1")
    codes = None if groups is None else _check_groups(groups, first.labels.size)
    if not callable(metric) and metric in SUMMED:
        return SummedStatistic([SUMMED[metric](predictions) for predictions in checked], codes)
    if not callable(metric):
        return WeightedStatistic(WEIGHTED[metric], checked, codes)
    arrays = [predictions.probabilities for predictions in checked]
    return LoopedStatistic(_checked_function(metric), arrays, first.labels, codes)


def _checked_function(metric: Callable[[FloatArray, Labels], Any]) -> Measure:
    def measure(probabilities: FloatArray, labels: Labels) -> float:
        value = np.asarray(metric(probabilities, labels))
        if value.ndim or value.dtype.kind not in "fiub":
            raise InputError(f"metric: expected a function that returns a number, received {value}")
        return float(value)

    return measure


def _check_model(
    name: str, model: npt.ArrayLike, labels: npt.ArrayLike, from_logits: bool
) -> Predictions:
    try:
        return check_predictions(model, labels, from_logits=from_logits)
    except InputError as error:
        raise InputError(str(error).replace("probabilities:", f"{name}:", 1)) from None


def _check_groups(groups: npt.ArrayLike, samples: int) -> npt.NDArray[np.intp]:
    array = np.asarray(groups)
    if array.shape != (samples,):
        raise InputError(f"groups: expected shape ({samples},), received {array.shape}")
    codes, distinct = pd.factorize(array)
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        raise InputError(
            f"groups: expected a group for every sample, received {array[row]} at row {row}"
        )
    if len(distinct) < 2:
        raise InputError(f"groups: expected at least two groups, received only {distinct[0]!r}")
    return codes
