"""Calibration intercept, slope and O/E ratio: weak calibration of a class against the rest.

The log-odds of a class are the model's own: of logits they are computed from them, so that cases
whose probabilities round to 0 or 1 remain distinct; of probabilities they are the
logarithm of the class's over the sum of the others'. A probability of 0 counts as 1e-38 there, as
everywhere in this package, so that no log-odds are infinite (CalibrationCurves in R takes 1e-8,
rms::val.prob refuses).

More than 5,000 cases are put together where their log-odds agree in the first ten binary digits;
values move by a few parts in 100,000, quantiles as E50 by a few in 10,000.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, special

from lsplus_tf.errors import InputError, check_level, some_of
from lsplus_tf.metrics import weighted
from lsplus_tf.metrics.intervals import Interval, Scale, linearised_interval
from lsplus_tf.metrics.metric import Values
from lsplus_tf.metrics.resampling import Groups, counted_cases, rows_to_rank
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.arrays import LogOdds, log_probabilities
from lsplus_tf.predictions.positive import Positive, positive_classes

__all__ = [
    "LogisticRecalibration",
    "calibration_intercept",
    "calibration_slope",
    "logistic_recalibration",
    "multinomial_recalibration",
    "observed_expected_ratio",
]

ALL = ""  # in the column of classes, which may have any name, what is of all together
_EXACT = 5_000  # cases, above which they are put together
_STEPS = 25  # of Newton's method; where there is no maximum it takes one for each unit of log-odds
_HALVINGS = 30  # of a step that leads too far
_CONVERGED = 1e-12  # squared distance to the maximum, in standard errors
_BLOCK = 2**18  # numbers of all classes that are held at a time
_SINGLE = 2**23  # of them, above which they are float32
_TINY = 1e-30
_FEWEST = 1e-6  # cases that are expected, below which nothing is compared with them


class LogisticRecalibration(NamedTuple):
    """Intercept and slope fitted together, see :func:`logistic_recalibration`.

    Attributes
    ----------
    intercept, slope : Interval

    Examples
    --------
    >>> P, y = [[0.9, 0.1]] * 5 + [[0.1, 0.9]] * 5, [0, 0, 0, 0, 1, 1, 1, 1, 1, 0]
    >>> round(logistic_recalibration(y, P, positive=1).slope.value, 3)  # log 4 / log 9
    0.631
    """

    intercept: Interval
    slope: Interval


def calibration_intercept(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """Calibration in the large: how far a class's log-odds are from its frequency.

    The intercept of a logistic regression of the outcome on nothing, with the log-odds as offset.
    0 is right; below 0 the class is predicted too often, above 0 too rarely.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence
        A class, or several that count as one, against the rest.
    from_logits : bool
        Whether the rows are logits.
    sample_weight : array_like, shape (N,), optional
        The value is that of cases which are repeated as often.
    groups : array_like, shape (N,), optional
        By default those of the predictions. Cases of a group vary together.
    confidence_level : float
        In (0, 1).

    Returns
    -------
    Interval
        By the sandwich estimate of the variance, summed up within groups. NaN where all cases or
        none are of the class, and where fewer than 1e-6 of them, or of the others, are expected;
        the bounds also where it makes all probabilities 0 or 1, as of logits of tens of thousands.
        In simulations of 500 cases, half of them or one in 21 of the class, independent or in
        groups of 5, 95% intervals covered in 94 to 95%.

    Raises
    ------
    InputError
        If the predictions or an option are not valid, or all cases are of one group.

    Warns
    -----
    UserWarning
        If it is NaN.

    References
    ----------
    Cox, Biometrika 45, 1958; Steyerberg, Clinical Prediction Models, 2019, chapter 15; Van Calster
    et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17, 2019.

    Examples
    --------
    >>> P, y = [[0.8, 0.2]] * 50, [1] * 20 + [0] * 30
    >>> found = calibration_intercept(y, P, positive=1)  # log(0.4 / 0.6) - log(0.2 / 0.8)
    >>> round(found.value, 4), found.low < 0.98 < found.high
    (0.9808, True)
    """
    cases = one_class(labels, probabilities, positive, from_logits, sample_weight, groups)
    return intercept_of(cases, check_level("confidence_level", confidence_level))


def calibration_slope(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """How far apart the log-odds of a class should be, over how far apart they are.

    The coefficient of the log-odds in a logistic regression of the outcome on them, with an
    intercept. 1 is right; below 1 the probabilities are too extreme (overfitting), above 1 not
    extreme enough.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive, from_logits, sample_weight, groups, confidence_level
        As :func:`calibration_intercept` takes them.

    Returns
    -------
    Interval
        By the sandwich estimate of the variance, summed up within groups. NaN where all cases or
        none are of the class, where all log-odds are equal, and where they separate the class
        from the rest without a mistake: then a larger slope is always better. In simulations of
        500 cases 95% intervals covered in 94 to 95% where half of them were of the class, in 92 to
        93.5% where one in 21 was.

    Raises
    ------
    InputError
        If the predictions or an option are not valid, or all cases are of one group.

    Warns
    -----
    UserWarning
        If it is NaN.

    References
    ----------
    As of :func:`calibration_intercept`.

    Examples
    --------
    >>> P, y = [[0.9, 0.1]] * 50 + [[0.1, 0.9]] * 50, [0] * 40 + [1] * 10 + [1] * 40 + [0] * 10
    >>> round(calibration_slope(y, P, positive=1).value, 4)  # log 4 / log 9
    0.6309
    """
    return logistic_recalibration(
        labels,
        probabilities,
        positive=positive,
        from_logits=from_logits,
        sample_weight=sample_weight,
        groups=groups,
        confidence_level=confidence_level,
    ).slope


def logistic_recalibration(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> LogisticRecalibration:
    """Both coefficients of Cox's recalibration: observed log-odds = intercept + slope * predicted.

    The slope is :func:`calibration_slope`. This intercept, which rms::val.prob reports, belongs to
    that slope; :func:`calibration_intercept` is the one for a slope of 1.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive, from_logits, sample_weight, groups, confidence_level
        As :func:`calibration_intercept` takes them.

    Returns
    -------
    LogisticRecalibration

    Raises
    ------
    InputError
        If the predictions or an option are not valid, or all cases are of one group.

    Warns
    -----
    UserWarning
        If they are NaN, as :func:`calibration_slope` says.

    Examples
    --------
    >>> P, y = [[0.9, 0.1]] * 50 + [[0.1, 0.9]] * 50, [0] * 40 + [1] * 10 + [1] * 45 + [0] * 5
    >>> found = logistic_recalibration(y, P, positive=1)
    >>> round(found.intercept.value, 4), round(found.slope.value, 4)
    (0.4055, 0.8155)
    """
    cases = one_class(labels, probabilities, positive, from_logits, sample_weight, groups)
    return recalibration_of(cases, check_level("confidence_level", confidence_level))


def observed_expected_ratio(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """O/E: how many cases are of a class over how many were expected, its summed probabilities.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
        Rows are rescaled to sum to 1 exactly.
    positive, from_logits, sample_weight, groups, confidence_level
        As :func:`calibration_intercept` takes them.

    Returns
    -------
    Interval
        Symmetric in the ratio's logarithm. Of a class without cases the ratio is 0, and has no
        bounds; where it has cases and fewer than 1e-6 are expected, it is NaN. In
        simulations of 500 cases, half of them or one in 21 of the class, independent or in groups
        of 5, 95% intervals covered in 94 to 95%.

    Raises
    ------
    InputError
        If the predictions or an option are not valid, or all cases are of one group.

    Warns
    -----
    UserWarning
        If no case is of the class, or next to none is expected.

    References
    ----------
    Debray et al., "A framework for meta-analysis of prediction model studies with binary and
    time-to-event outcomes", Statistical Methods in Medical Research 28, 2019.

    Examples
    --------
    >>> P, y = [[0.8, 0.2]] * 50, [1] * 20 + [0] * 30
    >>> round(observed_expected_ratio(y, P, positive=1).value, 6)
    2.0
    """
    cases = one_class(labels, probabilities, positive, from_logits, sample_weight, groups)
    return ratio_of(cases, check_level("confidence_level", confidence_level))


# Cases of a class --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassCases:
    """A class against the rest: log-odds and outcomes, put together where they are many.

    Attributes
    ----------
    name : str
        Of the class.
    outcome : ndarray of bool, shape (N,)
    weights : ndarray of float64, shape (N,)
    groups : ndarray of int, shape (N,), or None
    place : ndarray of int, shape (N,)
        Which of the points each case is at.
    odds : ndarray of float64, shape (B,)
        The log-odds of the points.
    total, positives : ndarray of float64, shape (B,)
        The weights of the cases there, and of those that are of the class.
    weights_are_counts : bool
        Whether they say how often each case is there, see :mod:`lsplus_tf.metrics.weighted`.
    """

    name: str
    outcome: npt.NDArray[np.bool_]
    weights: Values
    groups: Groups
    place: npt.NDArray[Any]
    odds: Values
    total: Values
    positives: Values
    weights_are_counts: bool = True

    @classmethod
    def of(
        cls,
        name: str,
        odds: Values,
        outcome: npt.NDArray[np.bool_],
        weights: Values,
        groups: Groups,
        weights_are_counts: bool = True,
    ) -> ClassCases:
        """Those of log-odds and outcomes (N,)."""
        counts = weights_are_counts
        if odds.size <= _EXACT:
            alone = np.arange(odds.size)
            return cls(
                name, outcome, weights, groups, alone, odds, weights, weights * outcome, counts
            )
        # Of a float32 the sign, the exponent and nine places after the leading one.
        code: npt.NDArray[Any] = odds.astype(np.float32).view(np.int32)
        code >>= 14
        code += 2**17
        held = np.bincount(code, weights, minlength=2**18)
        filled = np.flatnonzero(held)
        number = np.zeros(2**18, np.int32)
        number[filled] = np.arange(filled.size)
        total = held[filled]
        sums = np.bincount(code, weights * odds, minlength=2**18)[filled]
        place = number[code]
        positives = np.bincount(place[outcome], weights[outcome], filled.size)
        sizes = total.astype(np.float64), positives.astype(np.float64)
        return cls(name, outcome, weights, groups, place, sums / total, *sizes, counts)

    @cached_property
    def probability(self) -> Values:
        """That of the class at the points (B,)."""
        found: Values = special.expit(self.odds)
        return found

    @cached_property
    def share(self) -> float:
        """Of the class among the cases."""
        return float(self.positives.sum() / self.total.sum())

    @cached_property
    def samples(self) -> tuple[float, float]:
        """How many cases are not of the class, and how many are, as weights are taken."""
        scaled, number = weighted.samples_of(self.weights, self.weights_are_counts)
        own = float(scaled[self.outcome].sum())
        return number - own, own

    def unexpected(self, *, own: bool) -> str:
        """Why the cases of the class, or the others, cannot be compared with the expected ones."""
        odds, name = (self.odds, self.name) if own else (-self.odds, f"all but {self.name}")
        expected = float(np.average(special.expit(odds), weights=self.total))
        if self.samples[own] and expected * sum(self.samples) < _FEWEST:
            return f"fewer than 1e-6 cases of {name} are expected"
        return ""

    @cached_property
    def lacks(self) -> str:
        """Why nothing can be fitted, or nothing."""
        if not self.positives.any():
            return f"no case is of {self.name}"
        if not (self.total > self.positives).any():
            return f"all cases are of {self.name}"
        return ""

    @cached_property
    def lacks_slope(self) -> str:
        """Why no slope can be fitted, or nothing."""
        if self.lacks:
            return self.lacks
        ones, others = self.positives > 0, self.total > self.positives
        if np.ptp(self.odds[self.total > 0]) == 0:
            return f"all probabilities of {self.name} are equal"
        # There is a maximum just where the ranges overlap (Albert and Anderson 1984).
        ends = [(self.odds[some].min(), self.odds[some].max()) for some in (ones, others)]
        (low, high), (other_low, other_high) = ends
        if low >= other_high or high <= other_low:
            return f"its probabilities separate {self.name} from the rest without a mistake"
        return ""

    @property
    def units(self) -> int:
        """Groups, or cases."""
        return self.weights.size if self.groups is None else int(self.groups.max()) + 1

    def influences(self, rest: Values, own: Values) -> Values:
        """By how much units move something: per case of weight 1 of the rest and of the class (B,).

        Of cases without groups that are put together, numbers of the same sum of squares.
        """
        if self.groups is None and self.odds.size < self.weights.size:
            return np.concatenate([rest, own]) * self._root_squares
        found = np.concatenate([rest, own])[self._side]
        found *= self.weights
        if self.groups is None:
            return found
        return np.bincount(self.groups, found).astype(np.float64)

    @cached_property
    def _side(self) -> npt.NDArray[Any]:
        """The place of each case among the points of the rest, and after them of the class."""
        return self.place + self.odds.size * self.outcome

    @cached_property
    def _root_squares(self) -> Values:
        found: Values = np.sqrt(np.bincount(self._side, self.weights**2, 2 * self.odds.size))
        return found

    def interval(
        self, value: float, influences: Values, level: float, scale: Scale = "identity"
    ) -> Interval:
        """Of what these influences move."""
        if influences.size < self.units:
            influences = np.append(influences, np.zeros(self.units - influences.size))
        return linearised_interval(value, influences, None, level, scale=scale)


def one_class(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None,
    positive: Positive,
    from_logits: bool,
    sample_weight: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
) -> ClassCases:
    """What a function was given, of a class against the rest."""
    predictions = as_predictions(
        labels,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
    )
    (predictions,), codes = counted_cases([predictions], groups)
    return cases_of(predictions, positive, codes)


def cases_of(predictions: Predictions, positive: Positive, groups: Groups) -> ClassCases:
    """A class, or several as one, against the rest."""
    (found,) = each_of(predictions, [positive], groups)
    return found


def each_of(
    predictions: Predictions, several: Sequence[Positive], groups: Groups
) -> Iterator[ClassCases]:
    """Classes, or several as one, each against the rest."""
    predictions.need("labels", "probabilities")
    names = predictions.class_names
    odds = _ClassOdds(predictions)
    for positive in several:
        chosen = positive_classes(positive, names)
        inside = np.zeros(len(names), bool)
        inside[chosen] = True
        yield ClassCases.of(
            " or ".join(names[k] for k in chosen),
            odds.of(inside),
            inside[predictions.labels],
            predictions.weights,
            groups,
            predictions.weights_are_counts,
        )


def all_classes_of(predictions: Predictions, groups: Groups) -> Iterator[ClassCases]:
    """Each class against the rest."""
    predictions.need("labels", "probabilities")
    names = predictions.class_names
    if len(names) == 2:
        yield from each_of(predictions, range(2), groups)
        return
    odds, counts = _log_odds(predictions), predictions.weights_are_counts
    for first, columns in predictions.column_blocks(odds.of):
        for k, column in enumerate(columns, start=first):
            yield ClassCases.of(
                names[k], column, predictions.labels == k, predictions.weights, groups, counts
            )


def _logits(
    predictions: Predictions, rows: Any = slice(None), dtype: type = np.float64
) -> npt.NDArray[Any]:
    """Logits, or log-probabilities in a dtype, which are not kept."""
    scores = predictions.scores[rows]
    if predictions.kind == "logits":
        return scores
    logits: npt.NDArray[Any] = log_probabilities(scores.astype(dtype))
    return logits


class _ClassOdds:
    """The log-odds of classes; what several need is computed once."""

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions

    @cached_property
    def _of_single(self) -> LogOdds:
        return _log_odds(self._predictions)

    @cached_property
    def _logits(self) -> Values:
        return _logits(self._predictions).astype(np.float64, copy=False)

    def of(self, inside: npt.NDArray[np.bool_]) -> Values:
        """Those of the classes inside, as one, against the others, (N,)."""
        if inside.size > 2 and inside.sum() == 1:
            k = int(np.flatnonzero(inside)[0])
            return self._of_single.of(slice(k, k + 1))[0]
        found: Values = special.logsumexp(self._logits[:, inside], axis=1) - special.logsumexp(
            self._logits[:, ~inside], axis=1
        )
        return found


def _log_odds(predictions: Predictions) -> LogOdds:
    return LogOdds(predictions.scores, are_logits=predictions.kind == "logits")


# Measures of them --------------------------------------------------------------------------------


def ratio_of(cases: ClassCases, confidence_level: float) -> Interval:
    """O/E."""
    expected = float(cases.total @ cases.probability)
    observed = float(cases.positives.sum())
    if observed == 0:
        warn_nan("the interval of O/E", cases.lacks)
        return undefined(confidence_level, 0.0)
    if cases.unexpected(own=True):
        warn_nan("O/E", cases.unexpected(own=True))
        return undefined(confidence_level)
    value = observed / expected
    rest = -value * cases.probability / expected
    influences = cases.influences(rest, rest + 1 / expected)
    return cases.interval(value, influences, confidence_level, "log")


def intercept_of(cases: ClassCases, confidence_level: float) -> Interval:
    """The intercept at a slope of 1."""
    why = cases.lacks or cases.unexpected(own=True) or cases.unexpected(own=False)
    if why:
        warn_nan("the calibration intercept", why)
        return undefined(confidence_level)
    observed = float(cases.positives.sum())

    def excess(intercept: float) -> float:
        return float(cases.total @ special.expit(cases.odds + intercept)) - observed

    # Where the largest log-odds give the mean all give too few, and where the smallest do too many.
    middle = special.logit(cases.share)
    ends = middle - cases.odds.max() - 1e-6, middle - cases.odds.min() + 1e-6
    value = float(optimize.brentq(excess, *ends, xtol=1e-13, rtol=1e-14))
    fitted = special.expit(cases.odds + value)
    curvature = float(cases.total @ (fitted * (1 - fitted)))
    # Of logits of tens of thousands.
    if curvature / cases.total.sum() * sum(cases.samples) < _FEWEST:
        warn_nan("the interval of the calibration intercept", "all probabilities are 0 or 1 there")
        return undefined(confidence_level, value)
    influences = cases.influences(-fitted / curvature, (1 - fitted) / curvature)
    return cases.interval(value, influences, confidence_level)


def recalibration_of(cases: ClassCases, confidence_level: float) -> LogisticRecalibration:
    """Intercept and slope together."""
    basis = np.column_stack([np.ones_like(cases.odds), cases.odds])
    why = cases.lacks_slope
    fit = None if why else fitted_logistic(cases, basis)
    if fit is None:
        warn_nan("the calibration slope", why or "no maximum was found")
        return LogisticRecalibration(undefined(confidence_level), undefined(confidence_level))
    influences = fit.influences(cases, basis)
    return LogisticRecalibration(
        *(
            cases.interval(float(value), each, confidence_level)
            for value, each in zip(fit.coefficients, influences, strict=True)
        )
    )


class Logistic(NamedTuple):
    """A logistic regression of the outcome on columns of the points."""

    coefficients: Values
    fitted: Values
    inverse: Values  # of the matrix of second derivatives

    def influences(self, cases: ClassCases, basis: Values) -> Values:
        """By how much each unit moves each coefficient, (D, units)."""
        moves = basis @ self.inverse
        return np.stack(
            [cases.influences(-self.fitted * m, (1 - self.fitted) * m) for m in moves.T]
        )


def fitted_logistic(cases: ClassCases, basis: Values) -> Logistic | None:
    """By Newton's method; None where no finite maximum is found."""
    coefficients = np.zeros(basis.shape[1])
    coefficients[0] = special.logit(cases.share)

    def loss(at: Values) -> float:
        eta = basis @ at
        return float(cases.total @ np.logaddexp(0, eta) - cases.positives @ eta)

    smallest = loss(coefficients)
    for _ in range(_STEPS):
        fitted = special.expit(basis @ coefficients)
        gradient = basis.T @ (cases.positives - cases.total * fitted)
        curvature = (basis * (cases.total * fitted * (1 - fitted))[:, np.newaxis]).T @ basis
        try:
            inverse = np.linalg.inv(curvature)
        except np.linalg.LinAlgError:
            return None
        step = inverse @ gradient
        distance = float(gradient @ step)
        if not np.isfinite(distance):
            return None
        if distance < _CONVERGED:
            coefficients = coefficients + step
            return Logistic(coefficients, special.expit(basis @ coefficients), inverse)
        for _ in range(_HALVINGS):
            now = loss(coefficients + step)
            if now <= smallest * (1 + 1e-12):
                break
            step = step / 2
        coefficients, smallest = coefficients + step, now
    return None


def undefined(confidence_level: float, value: float = float("nan")) -> Interval:
    """Of what has no bounds."""
    nan = float("nan")
    return Interval(value, nan, nan, nan, confidence_level, "linearised", 0, 0)


def warn_nan(what: str, why: str) -> None:
    """Say that something does not exist."""
    warnings.warn(f"{what} is NaN: {why}", stacklevel=4)


# Of all classes at once --------------------------------------------------------------------------


def multinomial_recalibration(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    reference: str | int | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """Intercepts and slope of all classes at once, by multinomial logistic regression.

    The intercepts are what has to be added to the log-probabilities of the classes, that of a
    reference being 0, for all mean probabilities to be right: calibration in the large, with a
    slope of 1. The slope is the one coefficient of all log-probabilities beside free intercepts:
    below 1 the probabilities are too extreme. Its inverse is the temperature that calibrates best
    together with a bias for each class; of two classes it is :func:`calibration_slope`. Van Hoorde
    et al. fit a slope, or a row of slopes, for each class; one alone is the most that classes with
    a few cases can tell, and does not depend on the reference.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    reference : str or int, optional
        The class that the intercepts are against; by default the one with most cases. Against
        another, the intercepts are those less its own.
    from_logits, sample_weight, groups, confidence_level
        As :func:`calibration_intercept` takes them.

    Returns
    -------
    pandas.DataFrame
        Columns class, metric ("intercept", and in the last row, whose class is empty, "slope"),
        value, low and high. A class without cases has a NaN intercept, and plays no part in the
        slope.

    Raises
    ------
    InputError
        If the predictions or an option are not valid, or all cases are of one group.

    Warns
    -----
    UserWarning
        If something is NaN: the slope is where the log-probabilities separate the classes
        without a mistake, or do not vary.

    References
    ----------
    Van Hoorde et al., "Assessing calibration of multinomial risk prediction models", Statistics in
    Medicine 33, 2014.

    Examples
    --------
    >>> P, y = [[0.5, 0.25, 0.25]] * 10 + [[0.2, 0.4, 0.4]] * 10, [0, 0, 0, 1, 2] * 4
    >>> found = multinomial_recalibration(y, P, reference=0)
    >>> found["metric"].tolist(), found["value"].round(3).tolist()[1:3]
    (['intercept', 'intercept', 'intercept', 'slope'], [-1.148, -1.148])
    """
    predictions = as_predictions(
        labels,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
    )
    predictions.need("labels", "probabilities")
    level = check_level("confidence_level", confidence_level)
    (predictions,), codes = counted_cases([predictions], groups)
    names = predictions.class_names
    counts = np.bincount(predictions.labels, predictions.weights, len(names))
    base = int(counts.argmax())
    if reference is not None:
        base = _reference(reference, names)
    rows: list[tuple[str, str, float, float, float]] = []
    missing = np.flatnonzero(counts == 0)
    found: dict[int, Interval] = {}
    if counts[base]:
        found = _multinomial(predictions, codes, level, base, free_slope=False)
    for k, name in enumerate(names):
        rows.append((name, "intercept", *_three(found.get(k, undefined(level)))))
    if missing.size:
        some = some_of([names[k] for k in missing])
        warn_nan("the multinomial calibration intercept", f"no case is of {some}")
    rows.append((ALL, "slope", *_three(multinomial_slope(predictions, codes, level))))
    return pd.DataFrame(rows, columns=["class", "metric", "value", "low", "high"])


def _reference(reference: str | int, names: Sequence[str]) -> int:
    """The number of a class."""
    try:
        (number,) = positive_classes(reference, names)
    except ValueError:  # also of several classes, which cannot be unpacked
        raise InputError(
            f"reference: expected one of the classes {some_of(names, 12)}, or its number, received "
            f"{reference!r}"
        ) from None
    return number


def multinomial_slope(predictions: Predictions, groups: Groups, level: float) -> Interval:
    """The one coefficient of all log-probabilities beside free intercepts."""
    counts = np.bincount(predictions.labels, predictions.weights, len(predictions.class_names))
    if np.count_nonzero(counts) < 2:
        only = predictions.class_names[int(counts.argmax())]
        warn_nan("the calibration slope", f"all cases are of {only}")
        return undefined(level)
    base = int(counts.argmax())
    found = _multinomial(predictions, groups, level, base, free_slope=True).get(-1)
    if found is None:
        warn_nan(
            "the calibration slope",
            "the log-probabilities separate the classes perfectly, or do not vary",
        )
        return undefined(level)
    return found


def _three(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def _multinomial(
    predictions: Predictions, groups: Groups, level: float, base: int, *, free_slope: bool
) -> dict[int, Interval]:
    """The intercept of each class that has cases, at a slope of 1, or the slope as that of -1."""
    model = _Multinomial(predictions, base, free_slope)
    start = np.zeros(model.classes.size + 1)
    start[-1] = 1
    # Most steps are taken on a part, if there are many cases.
    rows = rows_to_rank(predictions, None, 0)
    first = model.maximum(start, rows) if 2 * rows.size < len(predictions) else (start,)
    fit = first and model.maximum(first[0], np.arange(len(predictions)))
    if fit is None:
        return {}
    at, inverse = fit
    names = [*model.classes.tolist(), -1]
    chosen = [-1] if free_slope else [j for j in range(model.classes.size) if names[j] != base]
    found = {base: Interval(0.0, 0.0, 0.0, 0.0, level, "linearised", 0, 0)}
    for j, each in zip(chosen, model.influences(at, inverse[:, chosen]).T, strict=True):
        units = each if groups is None else np.bincount(groups, each).astype(np.float64)
        found[names[j]] = linearised_interval(float(at[j]), units, None, level)
    return found


class _Multinomial:
    """Log-probabilities times a slope, plus an intercept for each class that has cases."""

    def __init__(self, predictions: Predictions, base: int, free_slope: bool) -> None:
        self._predictions = predictions
        classes = len(predictions.class_names)
        counts = np.bincount(predictions.labels, predictions.weights, classes)
        self.classes = np.flatnonzero(counts)
        self._place = np.zeros(classes, np.intp)
        self._place[self.classes] = np.arange(self.classes.size)
        self._free = np.append(self.classes != base, free_slope)
        if not free_slope:
            self._free[-1] = False

    def _dtype(self, rows: npt.NDArray[np.intp]) -> type:
        """Single precision moves the coefficients of so many by less than 1e-3 of their errors."""
        return np.float64 if rows.size * self.classes.size < _SINGLE else np.float32

    def _blocks(
        self, rows: npt.NDArray[np.intp], at: Values
    ) -> Iterator[tuple[slice, Any, Any, Values, npt.NDArray[np.intp]]]:
        """Rows' log-probabilities, fitted probabilities, weights and places of their classes."""
        given, size = self._predictions, self.classes.size
        dtype = self._dtype(rows)
        step = max(1, _BLOCK // size)
        for start in range(0, rows.size, step):
            block = slice(start, start + step)
            some: Any = block if rows.size == len(given) else rows[block]
            logs = _logits(given, some, dtype)
            if size < len(given.class_names):
                logs = logs[:, self.classes]
            logs = (logs - logs.max(axis=1, keepdims=True)).astype(dtype, copy=False)
            fitted = logs * dtype(at[-1])
            fitted += at[:-1].astype(dtype)
            fitted -= fitted.max(axis=1, keepdims=True)
            np.exp(fitted, out=fitted)
            fitted /= fitted.sum(axis=1, keepdims=True)
            yield block, logs, fitted, given.weights[some], self._place[given.labels[some]]

    def _derivatives(self, at: Values, rows: npt.NDArray[np.intp]) -> tuple[float, Values, Values]:
        """The loss, and by the free parameters its negative gradient and second derivatives."""
        size = self.classes.size
        loss, gradient, curvature = 0.0, np.zeros(size + 1), np.zeros((size + 1, size + 1))
        for _, logs, fitted, weights, labels in self._blocks(rows, at):
            each = np.arange(labels.size)
            loss -= float(weights @ np.log(fitted[each, labels].clip(min=_TINY).astype(np.float64)))
            mean = np.vecdot(fitted, logs)
            gradient[:-1] += np.bincount(labels, weights, size)
            gradient[-1] += weights @ (logs[each, labels] - mean)
            # The columns are the classes' indicators and the slope's.
            logs -= mean[:, np.newaxis]
            moved = fitted * logs
            curvature[-1, -1] += weights @ np.vecdot(moved, logs)
            weights = weights.astype(fitted.dtype)
            curvature[-1, :-1] += weights @ moved
            expected = weights @ fitted
            gradient[:-1] -= expected
            curvature[:-1, :-1][np.diag_indices(size)] += expected
            fitted *= np.sqrt(weights)[:, np.newaxis]
            curvature[:-1, :-1] -= fitted.T @ fitted
        curvature[:-1, -1] = curvature[-1, :-1]
        return loss, gradient, curvature

    def maximum(self, at: Values, rows: npt.NDArray[np.intp]) -> tuple[Values, Values] | None:
        """By Newton's method, and the inverse second derivatives; None where there is none."""
        single = self._dtype(rows) is np.float32
        converged, rounding = (1e-6, 1e-6) if single else (_CONVERGED, 1e-12)
        free = np.ix_(self._free, self._free)
        inverse = np.zeros((at.size, at.size))
        loss, gradient, curvature = self._derivatives(at, rows)
        for _ in range(_STEPS):
            try:
                inverse[free] = np.linalg.inv(curvature[free])
            except np.linalg.LinAlgError:
                return None
            step = inverse @ gradient
            distance = float(gradient @ step)
            if not np.isfinite(distance) or distance < 0:
                return None
            if distance < converged:
                return at + step, inverse
            for _ in range(_HALVINGS):
                now, gradient, curvature = self._derivatives(at + step, rows)
                if now <= loss * (1 + rounding):
                    break
                step = step / 2
            at, loss = at + step, now
        return None

    def influences(self, at: Values, moves: Values) -> Values:
        """By how much each case moves some parameters, of which the inverse has the columns."""
        rows = np.arange(len(self._predictions))
        found = np.empty((rows.size, moves.shape[1]))
        for block, logs, fitted, weights, labels in self._blocks(rows, at):
            each = np.arange(labels.size)
            slopes = logs[each, labels] - np.vecdot(fitted, logs)
            found[block] = moves[labels] - fitted @ moves[:-1] + slopes[:, np.newaxis] * moves[-1]
            found[block] *= weights[:, np.newaxis]
        return found
