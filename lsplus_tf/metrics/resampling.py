"""The one resampler: metrics of cases that are drawn with replacement, left out or exchanged.

Intervals, differences of two models, permutation tests and means over runs are made of it, in
:mod:`lsplus_tf.metrics.statistics`, :mod:`lsplus_tf.metrics.method_comparison`, an audit and a
report. Whatever asks, the same seed draws the same cases, and these rules hold:

* With groups, whole ones are drawn, as many as there are. A unit is a group, or else a case.
* More than 5,000 units are drawn as 5,000 random blocks of them. The sum over a random block varies
  as those of its units do together, so that resampled blocks give a mean the same standard error,
  known to 1% as there are so many.
* Metrics that sort the cases take a random part of more than 10,000, fewer with many classes, but
  enough to have some 30 of the rarest class, so that they are defined on it and its resamples. How
  far resamples of the part are from its value is narrowed by the square root of its share of the
  units.
* Stratified, as many units of each class are drawn as there are, so that no class is absent. A
  group is of the rarest class that it holds.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from lsplus_tf.errors import InputError
from lsplus_tf.metrics.metric import Form, Metric, OfWeights, Sums, Values, Weights
from lsplus_tf.predictions import Predictions, checks, concatenated
from lsplus_tf.tables import Rows

BLOCKS = 5_000
RANKED = 10_000
_RANKED_VALUES = 200_000  # cases times classes
_RAREST = 30  # cases of the rarest class in a part, expected
_CACHED = 2**16  # resampled units or cases in a block that stays in the processor's cache
_TOGETHER = 8  # times as many resamples, where metrics are sums

Groups = npt.NDArray[np.intp] | None


def check_groups(groups: npt.ArrayLike, samples: int) -> npt.NDArray[np.intp]:
    """The number of each case's group."""
    return _several(checks.groups(groups, samples, Rows())[0])


def _several(codes: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Numbers of groups as they are, unless all are of one."""
    if not codes.any():
        raise InputError("groups: expected at least two groups, received one for all cases")
    return codes


# What is drawn -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cases:
    """The cases that are resampled.

    Attributes
    ----------
    rows : ndarray of int, shape (n,), or None
        Which they are of all; None where they are all of them.
    unit : ndarray of int, shape (n,)
        The unit that each is drawn with.
    units : int
        How many there are.
    narrower : float
        By what a part's deviations are multiplied, to be those of all.
    strata : ndarray of int, shape (units,), or None
        Within which each unit is drawn; None where all are drawn among all.
    """

    rows: npt.NDArray[np.intp] | None
    unit: npt.NDArray[np.intp]
    units: int
    narrower: float = 1.0
    strata: npt.NDArray[np.intp] | None = None

    @classmethod
    def all_of(
        cls, samples: int, groups: Groups, seed: int, labels: npt.NDArray[Any] | None = None
    ) -> Cases:
        """All cases; stratified where their labels are given."""
        return cls._drawn(None, np.arange(samples) if groups is None else groups, 1.0, seed, labels)

    @classmethod
    def to_rank(
        cls, predictions: Predictions, groups: Groups, seed: int, stratify: bool = False
    ) -> Cases:
        """Those that are few enough to be sorted often."""
        samples, labels = len(predictions), predictions.labels if stratify else None
        rows = rows_to_rank(predictions, groups, seed)
        if rows.size == samples:
            return cls.all_of(samples, groups, seed, labels)
        codes = np.arange(rows.size) if groups is None else pd.factorize(groups[rows])[0]
        share = _units(codes) / (samples if groups is None else _units(groups))
        labels = None if labels is None else labels[rows]
        return cls._drawn(rows, codes, float(np.sqrt(share)), seed, labels)

    @classmethod
    def _drawn(
        cls,
        rows: npt.NDArray[np.intp] | None,
        codes: npt.NDArray[np.intp],
        narrower: float,
        seed: int,
        labels: npt.NDArray[Any] | None,
    ) -> Cases:
        if labels is None:
            return cls(rows, *_in_blocks(codes, seed), narrower)
        unit, strata = _blocks_of_strata(codes, _strata(codes, labels), seed)
        return cls(rows, unit, strata.size, narrower, strata)


def rows_to_rank(predictions: Predictions, groups: Groups, seed: int) -> npt.NDArray[np.intp]:
    """A random choice of the cases, of whole groups, that is small enough to be sorted often.

    All of them where such a choice lacks a class that they have.
    """
    samples, counts = len(predictions), predictions.class_counts
    most = min(RANKED, max(1000, _RANKED_VALUES // counts.size))
    most = max(most, math.ceil(samples * _RAREST / counts[counts > 0].min()))
    rows = random_part(samples, most, groups, seed)
    has_all = np.unique(predictions.labels[rows]).size == np.count_nonzero(counts)
    return rows if has_all else np.arange(samples)


def random_part(samples: int, most: int, groups: Groups, seed: int) -> npt.NDArray[np.intp]:
    """The rows of at most so many cases, in order; of whole groups, two at least."""
    if samples <= most:
        return np.arange(samples)
    rng = np.random.default_rng(seed)
    if groups is None:
        return np.sort(rng.choice(samples, most, replace=False))
    order = rng.permutation(_units(groups))
    sizes = np.bincount(groups)[order]
    taken = order[: max(2, int(np.searchsorted(np.cumsum(sizes), most)))]
    return np.flatnonzero(np.isin(groups, taken))


def _in_blocks(codes: npt.NDArray[np.intp], seed: int) -> tuple[npt.NDArray[np.intp], int]:
    units = _units(codes)
    if units <= BLOCKS:
        return codes, units
    blocks = np.random.default_rng(seed).permutation(units) % BLOCKS
    return blocks[codes], BLOCKS


def _strata(
    codes: npt.NDArray[np.intp], labels: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.intp]:
    """Of each unit the rarest class that it holds, as a number."""
    counts = np.bincount(labels)
    rarity = np.empty_like(counts)
    rarity[np.argsort(counts, kind="stable")] = np.arange(counts.size)
    found = np.full(_units(codes), counts.size, np.intp)
    np.minimum.at(found, codes, rarity[labels])
    return found


def _blocks_of_strata(
    codes: npt.NDArray[np.intp], strata: npt.NDArray[np.intp], seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """What each case is drawn with, and within which stratum: blocks do not cross strata."""
    if strata.size <= BLOCKS:
        return codes, strata
    order = np.random.default_rng(seed).permutation(strata.size)
    order = order[np.argsort(strata[order], kind="stable")]
    sizes = np.bincount(strata)
    starts = np.cumsum(sizes) - sizes
    shares = -(-BLOCKS * sizes // strata.size)
    shares = np.minimum(sizes, np.maximum(shares, _RAREST)).clip(1)
    each = -(-sizes // shares)
    blocks = sizes // each.clip(1)  # all of one size, but for a few that have one more
    if blocks.sum() == strata.size:
        return codes, strata
    ends, own = np.cumsum(blocks), strata[order]
    block = np.empty(strata.size, np.intp)
    block[order] = (ends - blocks)[own] + (np.arange(own.size) - starts[own]) % blocks[own].clip(1)
    return block[codes], np.repeat(np.arange(sizes.size), blocks)


def _units(codes: npt.NDArray[np.intp]) -> int:
    return int(codes.max()) + 1


# Forms on what is drawn --------------------------------------------------------------------------


class _Summed:
    """Each resample by one product of the units' terms with how often each is drawn."""

    def __init__(self, form: Sums, cases: Cases) -> None:
        self.weighted, self.finish = form.weights is not None, form.finish
        self.sizes = np.bincount(cases.unit, form.weights, cases.units).astype(np.float64)
        self.terms = _by_unit(form, cases)
        self.totals = self.terms.sum(axis=0)

    def of(self, drawn: _Drawn) -> Values:
        sums = self.terms.T @ drawn.columns
        return self.finish(np.einsum("u,um->m", self.sizes, drawn.columns), sums)

    def without_one(self) -> Values:
        rows = max(1, _CACHED // self.totals.size)
        blocks = []
        for start in range(0, self.sizes.size, rows):
            block = slice(start, start + rows)
            rest = self.totals[:, np.newaxis] - self.terms[block].toarray().T
            if self.weighted:  # what rounding leaves of nothing
                rest[np.abs(rest) <= 1e-12 * np.abs(self.totals).max()] = 0
            blocks.append(self.finish(self.sizes.sum() - self.sizes[block], rest))
        return np.concatenate(blocks)


def _by_unit(form: Sums, cases: Cases) -> csr_array:
    """The terms' sums over the cases of each unit, (U, D)."""
    terms, width = form.terms, form.terms.shape[1]
    if terms.nnz < cases.units * width:
        weights = np.ones(cases.unit.size) if form.weights is None else form.weights
        return csr_array((weights, (cases.unit, np.arange(cases.unit.size)))) @ terms
    # Many times as fast as the product, for its sums in the same order; of a few cases at a time.
    sums = np.zeros(cases.units * width)
    step = max(1, _CACHED * cases.unit.size // terms.nnz)
    for start in range(0, cases.unit.size, step):
        ends = terms.indptr[start : start + step + 1]
        some, each = slice(ends[0], ends[-1]), np.diff(ends)
        values = terms.data[some]
        if form.weights is not None:
            values = values * form.weights[start : start + step].repeat(each)
        places = (cases.unit[start : start + step] * width).repeat(each) + terms.indices[some]
        np.add.at(sums, places, values)
    return csr_array(sums.reshape(cases.units, width))


class _Weighed:
    """Each resample from how often each case is drawn."""

    def __init__(self, form: OfWeights, cases: Cases) -> None:
        self.form, self.cases = form, cases

    def of(self, drawn: _Drawn) -> Values:
        return self.form(drawn.of_cases)

    def without_one(self) -> Values:
        unit, units = self.cases.unit, self.cases.units
        return np.concatenate(
            [
                self.form((np.array(some)[:, np.newaxis] != unit).astype(np.int32))
                for some in _blocks(units, unit.size)
            ]
        )


class _Drawn:
    """How often each unit is drawn, whole numbers (M, U), in the forms that are asked for."""

    def __init__(self, counts: npt.NDArray[np.integer[Any]], cases: Cases) -> None:
        self._counts, self._unit, self._units = counts, cases.unit, cases.units

    @cached_property
    def columns(self) -> Values:
        """The same, (U, M)."""
        return self._counts.T.astype(np.float64, order="C")

    @cached_property
    def of_cases(self) -> Weights:
        """How often each case is, (M, n)."""
        counts = self._counts.astype(np.int32)
        # Units are numbered as they come, so that each is a case where there are as many.
        alone = self._unit.size == self._units
        return counts if alone else counts.take(self._unit, axis=1)


def _on(form: Form, cases: Cases) -> _Summed | _Weighed:
    return _Summed(form, cases) if isinstance(form, Sums) else _Weighed(form, cases)


def resampled(forms: Iterable[Form], cases: Cases, repetitions: int, seed: int) -> Values:
    """Of each form (F, M), on the same M resamples of as many units as there are."""
    return _resampled([_on(form, cases) for form in forms], cases, repetitions, seed)


def _resampled(
    statistics: Sequence[_Summed | _Weighed], cases: Cases, repetitions: int, seed: int
) -> Values:
    rng, units = np.random.default_rng(seed), cases.units
    values = np.empty((len(statistics), repetitions))
    draw = _drawing(cases)
    for some in _blocks(repetitions, _held(statistics, cases)):
        chosen = draw(rng, len(some))
        chosen += np.arange(len(some))[:, np.newaxis] * units
        counts = np.bincount(chosen.ravel(), minlength=chosen.size).reshape(chosen.shape)
        drawn = _Drawn(counts, cases)
        for value, statistic in zip(values, statistics, strict=True):
            value[some.start : some.stop] = statistic.of(drawn)
    return values


def _drawing(cases: Cases) -> Callable[[np.random.Generator, int], npt.NDArray[np.intp]]:
    """Draws units (M, U) with replacement, each place among all or within its stratum."""
    units, strata = cases.units, cases.strata
    if strata is None:
        return lambda rng, resamples: rng.integers(units, size=(resamples, units))
    order = np.argsort(strata, kind="stable")
    sizes = np.bincount(strata)
    ends = np.cumsum(sizes)
    first, last = (np.repeat(each, sizes) for each in (ends - sizes, ends))
    return lambda rng, resamples: order[rng.integers(first, last, size=(resamples, units))]


def _held(statistics: Sequence[_Summed | _Weighed], cases: Cases) -> int:
    """How many numbers a resample is, by which it is decided how many are held at a time.

    Sparse products with several times as many columns take half the time for each.
    """
    if all(isinstance(each, _Summed) for each in statistics):
        return -(-cases.units // _TOGETHER)
    return cases.unit.size


def exchanged(form: Form, cases: Cases, repetitions: int, seed: int) -> Values:
    """The difference (M,) of two models that have exchanged half of the units.

    `form` is of the first model's cases and, after them, the second's.
    """
    rng, units = np.random.default_rng(seed), cases.units
    both = Cases(None, np.concatenate([cases.unit, cases.unit + units]), 2 * units)
    statistic = _on(form, both)
    values = np.empty(repetitions)
    for some in _blocks(repetitions, _held([statistic], both)):
        swap = rng.integers(2, size=(len(some), units))
        of_first, of_second = np.hstack([1 - swap, swap]), np.hstack([swap, 1 - swap])
        first, second = (statistic.of(_Drawn(each, both)) for each in (of_first, of_second))
        values[some.start : some.stop] = first - second
    return values


def _blocks(count: int, size: int) -> Iterator[range]:
    """Of `count` columns of a size, those that are held at a time."""
    step = max(1, _CACHED // size)
    return (range(start, min(start + step, count)) for start in range(0, count, step))


# Metrics of models -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resampled:
    """A metric of R models of the same cases.

    Attributes
    ----------
    values : ndarray of float64, shape (R,)
        Of each model.
    drawn : ndarray of float64, shape (R, M)
        On each resample, the same ones for all models.
    units : int
        How many units were drawn each time.
    left_out : ndarray of float64, shape (R, U)
        Without each of the units in turn, if asked for.
    """

    values: Values
    drawn: Values
    units: int
    left_out: Values


def resample_forms(forms: Sequence[Form], cases: Cases, num_resamples: int, seed: int) -> Resampled:
    """What is no metric of :data:`lsplus_tf.metrics.METRICS`, in a form for each model."""
    everything = Cases(None, np.arange(cases.unit.size), cases.unit.size)
    once = _Drawn(np.ones((1, cases.unit.size), np.int32), everything)
    values = np.array([_on(form, everything).of(once)[0] for form in forms])
    drawn = resampled(forms, cases, num_resamples, seed)
    return Resampled(values, drawn, cases.units, np.zeros((len(forms), 1)))


def resample(
    metrics: Sequence[Metric],
    models: Sequence[Predictions],
    groups: Groups,
    num_resamples: int,
    seed: int,
    *,
    without_one: bool = False,
    stratify: bool = False,
) -> list[Resampled]:
    """Each metric of the models, all on the same resamples."""
    models, groups = counted(models, groups)
    values = [_values(metric, models) for metric in metrics]
    found: dict[int, Resampled] = {}
    for ranks in (False, True):
        chosen = [i for i, metric in enumerate(metrics) if metric.ranks == ranks]
        if not chosen:
            continue
        cases = _cases(ranks, models[0], groups, seed, stratify)
        part = [model if cases.rows is None else model.take(cases.rows) for model in models]
        shape = len(chosen), len(models), -1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one for each resample without a class
            # One form after the other: of many cases its terms are large.
            statistics = [_on(metrics[i].form(model), cases) for i in chosen for model in part]
            drawn = _resampled(statistics, cases, num_resamples, seed).reshape(shape)
            left_out = (
                np.stack([each.without_one() for each in statistics]).reshape(shape)
                if without_one
                else np.zeros((*shape[:2], 1))
            )
        for i, here, rest in zip(chosen, drawn, left_out, strict=True):
            if cases.rows is not None:
                deviations = here - _values(metrics[i], part)[:, np.newaxis]
                here = values[i][:, np.newaxis] + cases.narrower * deviations
            found[i] = Resampled(values[i], here, cases.units, rest)
    return [found[i] for i in range(len(metrics))]


def _values(metric: Metric, models: Sequence[Predictions]) -> Values:
    return np.array([metric.value(model, "standard") for model in models])


def exchange(
    metric: Metric, models: Sequence[Predictions], groups: Groups, repetitions: int, seed: int
) -> Values:
    """The difference (M,) of two models after each exchange of half of the units."""
    models, groups = counted(models, groups)
    cases = _cases(metric.ranks, models[0], groups, seed)
    part = [model if cases.rows is None else model.take(cases.rows) for model in models]
    return cases.narrower * exchanged(metric.form(concatenated(part)), cases, repetitions, seed)


def _cases(
    ranks: bool, predictions: Predictions, groups: Groups, seed: int, stratify: bool = False
) -> Cases:
    if ranks:
        return Cases.to_rank(predictions, groups, seed, stratify)
    labels = predictions.labels if stratify else None
    return Cases.all_of(len(predictions), groups, seed, labels)


def counted_cases(
    models: Sequence[Predictions], groups: npt.ArrayLike | None
) -> tuple[list[Predictions], Groups]:
    """Models of the same cases and sample weights without those of weight 0, and the groups (N,).

    The groups are those of the predictions unless others are given, of all cases.

    Raises
    ------
    InputError
        Groups of another shape, or fewer than two that count.
    """
    own = models[0].groups
    if groups is not None:
        codes = check_groups(groups, len(models[0]))
    elif own is None:
        return counted(models, None)
    else:
        codes = _several(own)
    if np.unique(codes[models[0].weights > 0]).size < 2:
        raise InputError("sample_weight: expected two groups or more with one above 0, received 1")
    return counted(models, codes)


def counted(models: Sequence[Predictions], groups: Groups) -> tuple[list[Predictions], Groups]:
    """Models of the same cases and sample weights, and their groups, without those of weight 0."""
    weights = models[0].sample_weight
    if weights is None or weights.all():
        return [*models], groups
    kept = weights > 0
    left = None if groups is None else pd.factorize(groups[kept])[0]
    return [model.take(kept) for model in models], left


def of_function(function: Callable[..., Any]) -> Metric:
    """A user's function of labels and probabilities, evaluated on the rows of each resample.

    Of weighted predictions it has their weights as `sample_weight`.
    """

    def measure(labels: npt.NDArray[np.int64], probabilities: Any, weights: Any) -> float:
        if weights is None:
            value = np.asarray(function(labels, probabilities))
        else:
            _check_takes_weights(function)
            value = np.asarray(function(labels, probabilities, sample_weight=weights))
        if value.ndim or value.dtype.kind not in "fiub":
            raise InputError(f"metric: expected a function that returns a number, received {value}")
        return float(value)

    def form(predictions: Predictions) -> OfWeights:
        labels, rows = predictions.labels, predictions.probabilities
        own = predictions.sample_weight

        def of_weights(weights: Weights) -> Values:
            chosen = (np.repeat(np.arange(labels.size), each) for each in weights)
            return np.array(
                [
                    measure(labels[some], rows[some], None if own is None else own[some])
                    for some in chosen
                ]
            )

        return of_weights

    return Metric(
        key="",
        function="",
        name="",
        better=0,
        value=lambda predictions, _: measure(
            predictions.labels, predictions.probabilities, predictions.sample_weight
        ),
        form=form,
        bounds=(-np.inf, np.inf),
    )


def _check_takes_weights(function: Callable[..., Any]) -> None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of some that are not written in Python
        return
    if not any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters):
        raise InputError(
            "metric: expected a function that takes sample_weight= too, as the predictions have "
            "weights, received one that does not"
        )
