"""Sensitivity and the like of many classes at once, each against the rest, with intervals.

The intervals are those of :func:`lsplus_tf.metrics.intervals.share_interval`, which needs sums of
squares over the groups. Few groups hold a class, so that sparse matrices (groups, classes) have
them of all classes in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.sparse import csr_array

from lsplus_tf.metrics.areas import Units
from lsplus_tf.metrics.intervals import Interval
from lsplus_tf.metrics.metric import IntervalMethod, Values

SHARES = ("sensitivity", "specificity", "ppv", "npv", "prevalence")


Cases = Sequence[npt.NDArray[np.intp]]
"""The positions of some cases for each of C classes."""


@dataclass(frozen=True)
class ByClass:
    """A number for each of C classes.

    Attributes
    ----------
    value, low, high, error : ndarray of float64, shape (C,)
        NaN where it does not exist; the error is the standard error.
    hits, cases : ndarray of float64, shape (C,)
        Numerator and denominator: numbers of cases, or sums of their weights.
    """

    value: Values
    low: Values
    high: Values
    error: Values
    hits: Values
    cases: Values

    @classmethod
    def of(cls, intervals: Sequence[Interval], cases: Values) -> ByClass:
        """From an interval for each class; `cases` are those of the class."""
        value, low, high, error = (
            np.array([getattr(each, name) for each in intervals])
            for name in ("value", "low", "high", "standard_error")
        )
        return cls(value, low, high, error, np.full_like(cases, np.nan), cases)

    def interval(self, row: int, confidence_level: float, method: IntervalMethod) -> Interval:
        """That of one class."""
        value, low, high, error = (
            float(each[row]) for each in (self.value, self.low, self.high, self.error)
        )
        return Interval(value, low, high, error, confidence_level, method, 0, 0)

    def complement(self) -> ByClass:
        """The share of the others."""
        others = (self.cases - self.hits).clip(min=0)  # weights round
        return ByClass(1 - self.value, 1 - self.high, 1 - self.low, self.error, others, self.cases)


class _Sums:
    """Numbers of cases and sums of their weights, by unit and class (U, C)."""

    def __init__(self, numbers: csr_array, weights: csr_array) -> None:
        self.numbers, self.weights = numbers, weights

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(self.numbers + other.numbers, self.weights + other.weights)

    def __sub__(self, other: _Sums) -> _Sums:
        return _Sums(self.numbers - other.numbers, self.weights - other.weights)

    def times(self, other: _Sums) -> Values:
        """The products' sums over the units (C,)."""
        return _total(self.weights.multiply(other.weights))


class ClassShares:
    """Shares of the cases, by class.

    Parameters
    ----------
    true, decided, both : sequence of ndarray of int, length C
        The positions of the cases of each class, of those that are taken for it, and of those that
        are both.
    weights : ndarray of float64, shape (N,)
    units : Units
    """

    def __init__(
        self, true: Cases, decided: Cases, both: Cases, weights: Values, units: Units
    ) -> None:
        codes = np.arange(weights.size) if units.codes is None else units.codes
        alike = bool((weights == 1).all())
        shape = units.count, len(true)

        def sums(cases: Cases) -> _Sums:
            chosen = np.concatenate(cases)
            places = codes[chosen], np.repeat(np.arange(len(cases)), [each.size for each in cases])
            numbers = csr_array((np.ones(chosen.size), places), shape=shape)
            if alike:
                return _Sums(numbers, numbers)
            return _Sums(numbers, csr_array((weights[chosen], places), shape=shape))

        self._true, self._decided, self._both = (sums(each) for each in (true, decided, both))
        self._nothing = self._true - self._true
        self._units, self._weights = units, units.totals(weights)

    @property
    def positives(self) -> Values:
        """The weights of the cases of each class (C,)."""
        return _total(self._true.weights)

    def share(self, name: str, confidence_level: float) -> ByClass:
        """One of :data:`SHARES`."""
        true, decided, both = self._true, self._decided, self._both
        match name:
            case "sensitivity":
                return self._inside(both, true, confidence_level)
            case "ppv":
                return self._inside(both, decided, confidence_level)
            case "specificity":
                return self._outside(decided - both, true, confidence_level).complement()
            case "npv":
                return self._outside(true - both, decided, confidence_level).complement()
        return self._outside(true, self._nothing, confidence_level)

    def f1(self, confidence_level: float) -> ByClass:
        """2 J / (1 + J), J being the share of the hits among all cases of or taken for the class.

        Its interval is that of J, bent the same way, so that it has some width at 0 and 1 too.
        """
        either = self._true + self._decided - self._both
        found = self._inside(self._both, either, confidence_level)
        value, low, high = (2 * each / (1 + each) for each in (found.value, found.low, found.high))
        error = 2 * found.error / (1 + found.value) ** 2
        cases = self.positives
        return ByClass(value, low, high, error, np.full_like(cases, np.nan), cases)

    def _inside(self, hits: _Sums, cases: _Sums, confidence_level: float) -> ByClass:
        """Of the cases that are in a column."""
        squares = hits.times(hits), hits.times(cases), cases.times(cases)
        weight, number = _total(cases.weights), _total(cases.numbers)
        return self._agresti_coull(
            _total(hits.weights), weight, number, _held(cases), squares, confidence_level
        )

    def _outside(self, hits: _Sums, others: _Sums, confidence_level: float) -> ByClass:
        """Of those that are not."""
        every, sizes = self._weights, self._units.sizes
        squares = (
            hits.times(hits),
            hits.weights.T @ every - hits.times(others),
            every @ every - 2 * (others.weights.T @ every) + others.times(others),
        )
        number = sizes.sum() - _total(others.numbers)
        weight = np.where(number > 0, every.sum() - _total(others.weights), 0.0)
        entries = others.numbers.tocoo()
        filled = entries.col[entries.data == sizes[entries.row]]
        held = sizes.size - np.bincount(filled, minlength=number.size)
        return self._agresti_coull(
            _total(hits.weights), weight, number, held, squares, confidence_level
        )

    def _agresti_coull(
        self,
        hits: Values,
        cases: Values,
        numbers: Values,
        units: npt.NDArray[Any],
        squares: tuple[Values, Values, Values],
        confidence_level: float,
    ) -> ByClass:
        """From sums of weights, numbers of cases and units, and sums of squares over the units.

        The squares are those of the hits' weights, of these times the cases', and of the cases'.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            value, mean = np.clip(hits / cases, 0, 1), cases / numbers  # weights round
            centre = (hits / mean + 2) / (numbers + 4)
            of_hits, of_both, of_cases = squares
            residuals = (of_hits - 2 * centre * of_both + centre**2 * of_cases) / mean**2
            added = 2 * centre**2 + 2 * (1 - centre) ** 2
            units = numbers + 4 if self._units.codes is None else units
            # NaN of a single unit, which shows nothing of how they vary.
            factor = np.where(units > 1, units / (units - 1), np.nan)
            variance = (residuals.clip(min=0) + added) * factor
            error = np.sqrt(variance) / (numbers + 4)
            half = special.stdtrit(units - 1, (1 + confidence_level) / 2) * error
        low, high = (np.clip(each, 0, 1) for each in (centre - half, centre + half))
        return ByClass(value, low, high, error, hits, cases)


def _held(cases: _Sums) -> Values:
    """How many units have some of the cases (C,)."""
    return _total(cases.numbers > 0)


def _total(matrix: Any) -> Values:
    """Sums over the units (C,)."""
    return np.asarray(matrix.sum(axis=0), np.float64)
