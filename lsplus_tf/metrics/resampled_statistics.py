"""A metric on resampled, reduced and swapped samples: from sums where it is a function of sums.

The units that are drawn, left out or swapped are single samples or, given groups, all the samples
of a group at once.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from lsplus_tf.errors import InputError
from lsplus_tf.metrics.resampled_measures import (
    SUMMED,
    WEIGHTED,
    Labels,
    RankMeasure,
    Sums,
    Values,
)
from lsplus_tf.predictions import Predictions, as_predictions, concatenated
from lsplus_tf.predictions.arrays import FloatArray

Measure = Callable[[Labels, FloatArray], float]
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
        weighted = self.measure.of_weights(concatenated(self.models))

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
        return [float(self.measure(self.labels, model)) for model in self.models]

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
            a, b = (self.measure(self.labels, model) for model in models)
            values[i] = a - b
        return values

    def _statistic(self, chosen: npt.NDArray[Any]) -> float:
        labels = self.labels[chosen]
        first, *second = (self.measure(labels, model[chosen]) for model in self.models)
        return first - second[0] if second else first


# The statistic of what the user gave -------------------------------------------------------------


def statistic_of(
    metric: Metric, models: list[Predictions], groups: npt.ArrayLike | None
) -> Statistic:
    """The metric of one model, or of two of the same cases.

    The groups are those of the predictions unless others are given.
    """
    named = SUMMED.keys() | WEIGHTED.keys()
    if not callable(metric) and not (isinstance(metric, str) and metric in named):
        raise InputError(
            f"metric: expected a function or one of {', '.join(sorted(named))}, received {metric!r}"
        )
    first = models[0]
    if len(first) < 2:
        raise InputError("probabilities: expected at least two rows, received 1")
    groups = first.groups if groups is None else groups
    codes = None if groups is None else check_groups(groups, len(first))
    if not callable(metric) and metric in SUMMED:
        return SummedStatistic([SUMMED[metric](model) for model in models], codes)
    if not callable(metric):
        return WeightedStatistic(WEIGHTED[metric], models, codes)
    arrays = [model.probabilities for model in models]
    return LoopedStatistic(_checked_function(metric), arrays, first.labels, codes)


def pair_of(
    labels: npt.ArrayLike | Predictions,
    probabilities_a: npt.ArrayLike | Predictions,
    probabilities_b: npt.ArrayLike | None,
    from_logits: bool,
) -> list[Predictions]:
    """Two models of the same cases, from (labels, a, b) or from two `Predictions`."""
    if isinstance(labels, Predictions) and isinstance(probabilities_a, Predictions):
        first = as_predictions(labels, probabilities_b, named="probabilities_b")
        second = as_predictions(probabilities_a)
    elif isinstance(labels, Predictions) or isinstance(probabilities_a, Predictions):
        raise InputError(
            "probabilities_a: expected (labels, probabilities_a, probabilities_b), or the "
            "Predictions of both models, received Predictions beside arrays"
        )
    else:
        first, second = (
            as_predictions(labels, model, from_logits=from_logits, named=named)
            for model, named in (
                (probabilities_a, "probabilities_a"),
                (probabilities_b, "probabilities_b"),
            )
        )
    if first.scores.shape != second.scores.shape:
        raise InputError(
            f"probabilities_b: expected the shape of probabilities_a, {first.scores.shape}, "
            f"received {second.scores.shape}"
        )
    if not np.array_equal(first.labels, second.labels):
        raise InputError(
            "probabilities_b: expected predictions of the same cases in the same order, received "
            "some with other labels"
        )
    return [first, second]


def _checked_function(metric: Callable[[Labels, FloatArray], Any]) -> Measure:
    def measure(labels: Labels, probabilities: FloatArray) -> float:
        value = np.asarray(metric(labels, probabilities))
        if value.ndim or value.dtype.kind not in "fiub":
            raise InputError(f"metric: expected a function that returns a number, received {value}")
        return float(value)

    return measure


def check_groups(groups: npt.ArrayLike, samples: int) -> npt.NDArray[np.intp]:
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
