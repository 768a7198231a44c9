"""A metric on resampled, reduced and swapped samples: from sums where it is a function of sums.

The units that are drawn, left out or swapped are single samples or, given groups, all the samples
of a group at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from lsplus_tf.errors import InputError
from lsplus_tf.metrics import _measures
from lsplus_tf.metrics._measures import PAPER_BINS, equal_width_edges
from lsplus_tf.metrics._predictions import FloatArray, Predictions, check_predictions

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Measure = Callable[[FloatArray, Labels], float]
Metric = str | Measure

_CACHED = 2**18  # resampled units in a block that stays in the processor's cache
_AT_MOST = 2**21  # and where eight resamples need more: a block of 50 MB


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


@dataclass(frozen=True)
class Sums:
    """A metric that depends on the samples through sums only.

    `terms` (N, D) holds what each sample adds, its first column ones; `finish` makes the metric
    (M,) of M columns of sums (D, M).
    """

    terms: csr_array
    finish: Callable[[Values], Values]


class SummedStatistic:
    """All resamples of a block by one product of the units' terms with how often each is drawn."""

    def __init__(self, models: list[Sums], groups: npt.NDArray[np.intp] | None) -> None:
        self.finish = models[0].finish
        self.terms = [model.terms for model in models]
        if groups is not None:
            ones, samples = np.ones(groups.size), np.arange(groups.size)
            members = csr_array((ones, (groups, samples)))
            self.terms = [members @ terms for terms in self.terms]
        self.units: int = self.terms[0].shape[0]
        self.totals = [terms.sum(axis=0)[:, np.newaxis] for terms in self.terms]

    def values(self) -> list[float]:
        return [float(self.finish(totals)[0]) for totals in self.totals]

    def resampled(self, rng: np.random.Generator, repetitions: int) -> Values:
        blocks = []
        for size in self._blocks(repetitions):
            drawn = rng.integers(self.units, size=(size, self.units))
            drawn *= size
            drawn += np.arange(size)[:, np.newaxis]
            counts = np.bincount(drawn.ravel(), minlength=self.units * size)
            weights = counts.reshape(self.units, size).astype(np.float64)
            blocks.append(self._statistic([terms.T @ weights for terms in self.terms]))
        return np.concatenate(blocks)

    def without_one(self) -> Values:
        rows = max(1, _CACHED // self.terms[0].shape[1])
        blocks = []
        for start in range(0, self.units, rows):
            left_out = [terms[start : start + rows].toarray().T for terms in self.terms]
            rest = [totals - one for totals, one in zip(self.totals, left_out, strict=True)]
            blocks.append(self._statistic(rest))
        return np.concatenate(blocks)

    def swapped(self, rng: np.random.Generator, repetitions: int) -> Values:
        difference = (self.terms[1] - self.terms[0]).T
        blocks = []
        for size in self._blocks(repetitions):
            swap = rng.integers(2, size=(size, self.units)).astype(np.float64)
            change = difference @ np.ascontiguousarray(swap.T)
            blocks.append(self._statistic([self.totals[0] + change, self.totals[1] - change]))
        return np.concatenate(blocks)

    def _statistic(self, totals: list[Values]) -> Values:
        first, *second = (self.finish(total) for total in totals)
        return first - second[0] if second else first

    def _blocks(self, repetitions: int) -> Iterator[int]:
        size = max(_CACHED // self.units, min(8, _AT_MOST // self.units), 1)
        for start in range(0, repetitions, size):
            yield min(size, repetitions - start)


class LoopedStatistic:
    """One evaluation of the metric for each resample, from the same draws as the sums."""

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
    """What adds `values` (N, T), by default ones, to the sums `columns` (N, T) of `width` many.

    `finish` receives the number of samples (M,) and the sums (width, M).
    """
    samples, terms = columns.shape
    data, places = np.ones((samples, terms + 1)), np.zeros((samples, terms + 1), np.intp)
    places[:, 1:] = columns + 1
    if values is not None:
        data[:, 1:] = values
    starts = np.arange(samples + 1) * (terms + 1)
    matrix = csr_array((data.ravel(), places.ravel(), starts), shape=(samples, width + 1))
    return Sums(matrix, lambda totals: finish(totals[0], totals[1:]))


def _mean(values: npt.NDArray[Any]) -> Sums:
    columns = np.zeros((values.size, 1), np.intp)
    return _sums(columns, values[:, np.newaxis], 1, lambda samples, sums: sums[0] / samples)


def _log_loss(predictions: Predictions) -> Sums:
    true = predictions.true_probability.astype(np.float64)
    return _mean(np.abs(np.log(true.clip(np.finfo(np.float64).tiny, 1))))


def _brier(predictions: Predictions) -> Sums:
    squares = np.einsum("nk,nk->n", *[predictions.probabilities] * 2, dtype=np.float64)
    return _mean((squares - 2 * predictions.true_probability.astype(np.float64) + 1).clip(0))


def _top5_error(predictions: Predictions) -> Sums:
    true = predictions.true_probability[:, np.newaxis]
    earlier = np.arange(predictions.probabilities.shape[1]) < predictions.labels[:, np.newaxis]
    before = (predictions.probabilities > true) | ((predictions.probabilities == true) & earlier)
    return _mean(np.count_nonzero(before, axis=1) >= 5)


def _bins(values: FloatArray) -> npt.NDArray[np.intp]:
    edges = equal_width_edges(PAPER_BINS, values.dtype)
    return np.searchsorted(edges, values, side="left").clip(1, PAPER_BINS) - 1


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
            predictions.predicted + 2 * classes,
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
    "ce": _log_loss,
    "brier": _brier,
    "top1_error": lambda predictions: _mean(~predictions.correct),
    "top5_error": _top5_error,
    "mean_confidence": lambda predictions: _mean(predictions.confidence),
}
LOOPED: dict[str, Callable[[Predictions], float]] = {
    "auroc": _measures.auroc,
    "ace": lambda predictions: _measures.ace(predictions, PAPER_BINS),
    "retention_auc": _measures.retention_auc,
    "aurc": lambda predictions: float(_measures.selective_risk(predictions).mean()),
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
    named = SUMMED.keys() | LOOPED.keys()
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
    measure = _checked_function(metric) if callable(metric) else _named(LOOPED[metric])
    arrays = [predictions.probabilities for predictions in checked]
    return LoopedStatistic(measure, arrays, first.labels, codes)


def _named(measure: Callable[[Predictions], float]) -> Measure:
    return lambda probabilities, labels: measure(Predictions(probabilities, labels, "standard"))


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
