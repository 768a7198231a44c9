"""Smooth calibration curves of a class, how far they are from the diagonal, and a table of all.

The curve is a logistic regression of the outcome on a restricted cubic spline of the class's
log-odds, as in Harrell's rms: cubic between the outermost knots, beyond them a straight line. Of
the smoothers in use (lowess in rms::val.prob, loess and splines in CalibrationCurves) it is the one
that has bands by a formula, takes groups and weights, does not bend where there are no cases, needs
a fraction of a second for a million cases, and has no bias where a model is calibrated: the
diagonal is one of the curves it can take. Against the lowess of rms::val.prob it is smoother, at
the ends above all; :func:`calibration_curve_errors` says how far apart their numbers are.

The log-odds, and how many cases are put together, are those of
:mod:`lsplus_tf.metrics.recalibration`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from lsplus_tf.errors import MOST_BINS, InputError, check_count, check_level
from lsplus_tf.metrics import recalibration
from lsplus_tf.metrics.intervals import Interval, t_quantile
from lsplus_tf.metrics.metric import Values
from lsplus_tf.metrics.recalibration import ClassCases
from lsplus_tf.metrics.resampling import counted_cases
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.positive import Positive

__all__ = [
    "CalibrationCurveErrors",
    "calibration_curve",
    "calibration_curve_errors",
    "calibration_summary",
]

# Harrell, Regression Modeling Strategies, 2015, Table 2.3: the quantiles at which knots stand.
_KNOTS = {3: (0.1, 0.5, 0.9), 4: (0.05, 0.35, 0.65, 0.95), 5: (0.05, 0.275, 0.5, 0.725, 0.95)}
_CELLS = 100  # of cases, where curves are drawn at random
_DRAWS = 200
_FARTHEST = 2.0  # from the curve's log-odds
_PARTS = np.linspace(0, 1, 5)


class CalibrationCurveErrors(NamedTuple):
    """Distances of a calibration curve to the diagonal, see :func:`calibration_curve_errors`.

    Attributes
    ----------
    ici, e50, e90, emax : Interval

    Examples
    --------
    >>> P, y = [[0.8, 0.2]] * 50 + [[0.3, 0.7]] * 50, [1] * 20 + [0] * 30 + [1] * 35 + [0] * 15
    >>> round(calibration_curve_errors(y, P, positive=1).ici.value, 4)
    0.1
    """

    ici: Interval
    e50: Interval
    e90: Interval
    emax: Interval


def calibration_curve(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive,
    num_points: int = 101,
    num_knots: int | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """How often a class is observed at each predicted probability: a smooth curve with its band.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence
        A class, or several that count as one, against the rest.
    num_points : int
        At least 2, at equal steps from the smallest to the largest probability.
    num_knots : int, optional
        3, 4 or 5, at Harrell's quantiles of the log-odds, where a case counts as much as the
        standard deviation of its outcome, sqrt(p (1 - p)): rms counts all alike, and has no knot
        where a rare class is probable. By default 5 where the rarer outcome has at least 500 cases,
        repeated as weights that are whole numbers say, 4 from 100 on, 3 below. Fewer where knots
        fall together or the curve has no maximum of the likelihood; then a straight line in the
        log-odds, and where all probabilities are equal a single point.
    from_logits, sample_weight, groups
        As :func:`~lsplus_tf.metrics.calibration_intercept` takes them.
    confidence_level : float
        In (0, 1).

    Returns
    -------
    pandas.DataFrame
        Columns predicted, observed, low, high, and cases: the weight of the cases that are nearest
        to the point. The band is pointwise, by the sandwich estimate of the variance of the
        log-odds, summed up within groups; in simulations of 500 cases 95% bands covered in 93 to
        95% of them at the 10%, 50% and 95% quantiles of the probabilities where half of the cases
        were of the class, and where one in 21 was, at the lowest of the three, in 90 to 92%.
        Where all cases or none are of the class, or the probabilities separate it from the rest
        without a mistake, there is no curve: observed, low and high are NaN.

    Raises
    ------
    InputError
        If the predictions or an option are not valid, or all cases are of one group.

    Warns
    -----
    UserWarning
        If there is no curve.

    References
    ----------
    Harrell, Regression Modeling Strategies, 2015, sections 2.4 and 10.11; Van Calster et al., "A
    calibration hierarchy for risk models was defined", Journal of Clinical Epidemiology 74, 2016.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(size=1000)
    >>> curve = calibration_curve(rng.uniform(size=1000) < p, np.c_[1 - p, p], positive=1)
    >>> bool((curve["low"] < curve["predicted"]).mean() > 0.9)
    True
    """
    level = check_level("confidence_level", confidence_level)
    count = check_count("num_points", num_points, 2, MOST_BINS)
    knots = _check_knots(num_knots)
    cases = recalibration.one_class(
        labels, probabilities, positive, from_logits, sample_weight, groups
    )
    grid, odds, weights = grid_of(cases, count)
    curve = curve_of(cases, knots)
    nothing = np.full(grid.size, np.nan)
    observed, low, high = (nothing,) * 3 if curve is None else curve.band(odds, level)
    return pd.DataFrame(
        {"predicted": grid, "observed": observed, "low": low, "high": high, "cases": weights}
    )


def calibration_curve_errors(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive,
    num_knots: int | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> CalibrationCurveErrors:
    """ICI, E50, E90 and Emax: mean, median, 90% quantile and largest distance of the curve from p.

    A curve that is found is farther from the diagonal than the true one, so that these are too
    large, as binned calibration errors are, and of a calibrated model above 0. Their intervals take
    it into account: they have the distances of true curves, on the way from the diagonal to the
    curve and beyond it, of which the ones found would be no unusual draw; upwards at least as far
    as the curves drawn about the one found vary. No lower bound of the ICI is below what the
    interval of O/E implies, none of E90 below that of E50, and none of Emax below the others'.

    In simulations of 500 cases, half of them or one in 21 of the class, independent or in groups of
    5, 95% intervals of the ICI covered in 91 to 95% where the model was calibrated and in 93 to 98%
    where it was overconfident (a slope of 0.7), of E90 in 91 to 97%, of E50 in 91 to 98% but for
    the rarer class of the overconfident model, 87 to 90%. On the skewed log-odds that a skin lesion
    classifier gave to 2,038 cases, of melanoma (11%) and of vascular lesions (1.5%), where the true
    curve was the one fitted to them or the diagonal, they covered in 92 to 95% (ICI), 90 to 100%
    (E50), 92 to 95% (E90) and 87 to 96% (Emax): of a calibrated model Emax has a lower bound above
    0 in one sample in eight. Of melanoma, with a true ICI of 5.2%, no lower bound was 0.

    rms::val.prob has the same numbers of a lowess: on the 300 cases of the tests 0.101 for an ICI
    of 0.101, 0.168 for an E90 of 0.166 and 0.174 for an Emax of 0.167. rms::lrm with the same knots
    has the same numbers as here.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive, num_knots, from_logits, sample_weight, groups, confidence_level
        As :func:`calibration_curve` takes them.

    Returns
    -------
    CalibrationCurveErrors
        Four intervals, NaN where there is no curve.

    Raises
    ------
    InputError
        If the predictions or an option are not valid, or all cases are of one group.

    Warns
    -----
    UserWarning
        If there is no curve.

    References
    ----------
    Austin and Steyerberg, "The Integrated Calibration Index (ICI) and related metrics for
    quantifying the calibration of logistic regression models", Statistics in Medicine 38, 2019.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(size=4000)
    >>> y = rng.uniform(size=4000) < p**2  # |p^2 - p| has the mean 1/6 and is at most 1/4
    >>> found = calibration_curve_errors(y, np.c_[1 - p, p], positive=1)
    >>> round(found.ici.value, 2), round(found.emax.value, 2)
    (0.17, 0.24)
    """
    level = check_level("confidence_level", confidence_level)
    knots = _check_knots(num_knots)
    cases = recalibration.one_class(
        labels, probabilities, positive, from_logits, sample_weight, groups
    )
    return errors_of(cases, curve_of(cases, knots), level)


def calibration_summary(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """Calibration of every class in a table: intercept, slope, O/E, ICI, E50 and E90.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class, or several that count as one; by default each class in turn, and all at once.
    from_logits, sample_weight, groups, confidence_level
        As :func:`~lsplus_tf.metrics.calibration_intercept` takes them.

    Returns
    -------
    pandas.DataFrame
        Columns class, metric, value, low and high. Of each class the metrics "intercept", "slope",
        "o_e", "ici", "e50" and "e90", as the functions of each have them. The last two rows,
        whose class is empty, are of all: the "slope" of
        :func:`~lsplus_tf.metrics.multinomial_recalibration`, and as "ici" the mean of those that
        the classes have, without bounds.

    Raises
    ------
    InputError
        If the predictions or an option are not valid, or all cases are of one group.

    Warns
    -----
    UserWarning
        Once, if something is NaN, with the classes.

    Examples
    --------
    >>> P, y = [[0.8, 0.2]] * 50 + [[0.3, 0.7]] * 50, [1] * 20 + [0] * 30 + [1] * 35 + [0] * 15
    >>> table = calibration_summary(y, P, positive=1)
    >>> table["metric"].tolist()
    ['intercept', 'slope', 'o_e', 'ici', 'e50', 'e90']
    >>> table["value"].round(3).tolist()
    [0.539, 0.561, 1.222, 0.1, 0.0, 0.2]
    """
    level = check_level("confidence_level", confidence_level)
    predictions = as_predictions(
        labels,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
    )
    (predictions,), codes = counted_cases([predictions], groups)
    if positive is not None:
        each = iter([recalibration.cases_of(predictions, positive, codes)])
    else:
        each = recalibration.all_classes_of(predictions, codes)
    rows: list[tuple[str, str, float, float, float]] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for cases in each:
            found = {
                "intercept": recalibration.intercept_of(cases, level),
                "slope": recalibration.recalibration_of(cases, level).slope,
                "o_e": recalibration.ratio_of(cases, level),
                **errors_of(cases, curve_of(cases, None), level)._asdict(),
            }
            del found["emax"]
            for key, interval in found.items():
                rows.append((cases.name, key, interval.value, interval.low, interval.high))
        if positive is None:
            slope = recalibration.multinomial_slope(predictions, codes, level)
            errors = np.array([value for _, key, value, *_ in rows if key == "ici"])
            errors = errors[np.isfinite(errors)]
            nan = float("nan")
            rows.append((recalibration.ALL, "slope", slope.value, slope.low, slope.high))
            mean = float(errors.mean()) if errors.size else nan
            rows.append((recalibration.ALL, "ici", mean, nan, nan))
    reasons = list(dict.fromkeys(str(each.message).split(": ", 1)[-1] for each in caught))
    if reasons:
        warnings.warn(f"some of the calibration summary is NaN: {'; '.join(reasons)}", stacklevel=2)
    return pd.DataFrame(rows, columns=["class", "metric", "value", "low", "high"])


# The curve ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """A spline of the log-odds.

    Attributes
    ----------
    knots : ndarray of float64, or None
        Fewer than three for a straight line; None for a constant.
    coefficients : ndarray of float64, shape (D,)
    covariance : ndarray of float64, shape (D, D)
    units : int
        Cases, or groups.
    """

    knots: Values | None
    coefficients: Values
    covariance: Values
    units: int

    def band(self, odds: Values, level: float) -> tuple[Values, Values, Values]:
        """The probability of the class at log-odds, and its bounds."""
        basis = _basis(odds, self.knots)
        centre = basis @ self.coefficients
        error = np.sqrt(np.vecdot(basis @ self.covariance, basis).clip(min=0))
        half = t_quantile(level, self.units - 1) * error
        return special.expit(centre), special.expit(centre - half), special.expit(centre + half)


def curve_of(cases: ClassCases, num_knots: int | None) -> Curve | None:
    """The curve with most knots that can be fitted; None with a warning where there is none."""
    if cases.lacks:
        recalibration.warn_nan("the calibration curve", cases.lacks)
        return None
    if np.ptp(cases.odds[cases.total > 0]) == 0:
        tried: list[Values | None] = [None]
    elif cases.lacks_slope:
        recalibration.warn_nan("the calibration curve", cases.lacks_slope)
        return None
    else:
        most = _default_knots(cases) if num_knots is None else num_knots
        splines = [_knots(cases, count) for count in range(most, 2, -1)]
        tried = [*(knots for knots in splines if knots.size > 2), np.array([])]
    for knots in tried:
        basis = _basis(cases.odds, knots)
        fit = recalibration.fitted_logistic(cases, basis)
        if fit is not None:
            influences = fit.influences(cases, basis)
            units = cases.units
            covariance = influences @ influences.T * (units / max(1, units - 1))
            return Curve(knots, fit.coefficients, covariance, units)
    recalibration.warn_nan("the calibration curve", "no maximum was found")
    return None


def grid_of(cases: ClassCases, count: int) -> tuple[Values, Values, Values]:
    """Probabilities at equal steps, their log-odds, and the weights of the cases nearest to each.

    A single one where all are equal.
    """
    held = cases.odds[cases.total > 0]
    ends = float(held.min()), float(held.max())
    first, last = (float(special.expit(end)) for end in ends)
    grid = np.linspace(first, last, count if np.ptp(held) else 1)
    edges = np.concatenate([[-np.inf], (grid[1:] + grid[:-1]) / 2, [np.inf]])
    weights, _ = np.histogram(cases.probability, edges, weights=cases.total)
    return grid, special.logit(grid).clip(*ends), weights


def errors_of(cases: ClassCases, curve: Curve | None, level: float) -> CalibrationCurveErrors:
    """How far it is from the diagonal."""
    if curve is None:
        return CalibrationCurveErrors(*(recalibration.undefined(level),) * 4)
    fitted = special.expit(_basis(cases.odds, curve.knots) @ curve.coefficients)
    distances = np.abs(fitted - cases.probability)
    inner = np.quantile(distances, (0.5, 0.9), weights=cases.total, method="inverted_cdf")
    values = np.array(
        [
            np.average(distances, weights=cases.total),
            *inner,
            distances[cases.total > 0].max(),
        ]
    )
    return CalibrationCurveErrors(*_inverted(cases, curve, values, level))


def _inverted(cases: ClassCases, curve: Curve, values: Values, level: float) -> list[Interval]:
    """Which distances would not make the ones that are found unusual.

    A curve that is found is farther from the diagonal than the true one, most so where that is the
    diagonal itself. So true curves are tried on the way from the diagonal to the curve, and beyond
    it: from each, many are drawn with the errors of the coefficients. The interval has the
    distances of those whose central draws hold the distance that was found.

    Curves and errors are those of the probabilities, in which the errors are nearly normal: of
    log-odds far from 0, where no outcome could tell a curve from another, they have no bounds.
    """
    basis = _basis(cases.odds, curve.knots)
    fitted = special.expit(basis @ curve.coefficients)
    cells = _Cells.of(cases)
    away = cells.mean(fitted - cases.probability)
    normal = _normal_draws(curve)

    def noise(step: float) -> Values:
        return normal @ _errors(cases, curve, basis, fitted, step, cells).T

    by_chance = noise(0.0)
    if np.abs(away).max() < 1e-9:
        away = by_chance[0]

    def distances(of: Values) -> Values:
        """Four of each row of differences, (4, M)."""
        each = np.abs(of).clip(max=1)
        order = each.argsort(axis=1)
        ranks = cells.shares[order].cumsum(axis=1)
        ends = [(ranks < q * (1 - 1e-9)).sum(axis=1)[:, np.newaxis] for q in (0.5, 0.9)]
        at = [np.take_along_axis(order, end, axis=1) for end in ends]
        inner = [np.take_along_axis(each, end, axis=1)[:, 0] for end in at]
        return np.stack([each @ cells.shares, *inner, each.max(axis=1)])

    tails = (1 - level) / 2, (1 + level) / 2
    found = distances(away[np.newaxis])[:, 0]
    farthest = 1 + 6 * float(np.quantile(distances(by_chance)[0], tails[1]) / max(found[0], 1e-12))
    steps = np.concatenate([_PARTS, 1 + (farthest - 1) * np.linspace(0, 1, 7)[1:] ** 2])
    drawn = np.stack([distances(step * away + noise(step)) for step in steps], axis=1)
    low, high = np.quantile(drawn, tails, axis=2)
    # Of a rare class the probabilities vary more upwards than downwards, as their log-odds do.
    middle = cells.mean(fitted).clip(0, 1)  # but for rounding
    slopes = (middle * (1 - middle)).clip(min=1e-300)
    odds = (noise(1.0) / slopes).clip(-_FARTHEST, _FARTHEST) + special.logit(middle)
    about = drawn[:, 4], distances(special.expit(odds) - (middle - away))
    upwards = np.max(
        [np.quantile(each, tails[1], axis=1) - np.median(each, axis=1) for each in about], axis=0
    )
    # The distances of a curve so far on the way are that part of those of the one found.
    least, most = (
        values
        * [
            np.interp(at, np.maximum.accumulate(each), steps)
            for at, each in zip(found, bound, strict=True)
        ]
        for bound in (high, low)
    )
    # Curves whose sides of the diagonal alternate vary less than those on one side.
    most = np.maximum(most, values + upwards).clip(max=1)
    # No mean distance is below that of the means, no quantile below a smaller one.
    least[0] = max(least[0], _implied(cases, level))
    least[2] = least[1:3].max()
    least[3] = least.max()
    bounds = np.minimum(least, values), most, drawn[:, 4].std(axis=1, ddof=1)
    return [
        Interval(value, low, high, error, level, "linearised", 0, 0)
        for value, low, high, error in np.stack([values, *bounds], axis=1).tolist()
    ]


def _implied(cases: ClassCases, level: float) -> float:
    """How far at least the mean probability is from the share of the class, by O/E's interval."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ratio = recalibration.ratio_of(cases, level)
    least = max(0.0, 1 - ratio.high, ratio.low - 1)  # of NaN 0
    return least * float(cases.total @ cases.probability / cases.total.sum())


def _normal_draws(curve: Curve) -> Values:
    """Rows of standard normal numbers, or of t where units are few, one for each coefficient."""
    freedom = max(1, curve.units - 1)
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((_DRAWS // 2, curve.coefficients.size))
    normal /= np.sqrt(rng.chisquare(freedom, (len(normal), 1)) / freedom)
    return np.vstack([normal, -normal])


def _errors(
    cases: ClassCases, curve: Curve, basis: Values, fitted: Values, part: float, cells: _Cells
) -> Values:
    """What a standard normal number of each coefficient does to the probabilities, (C, D).

    Of the curve so far on the way from the diagonal to the one found. What groups and weights add
    to the variance that a logistic regression has is that of the curve found.
    """
    nearest = 0.1 * np.minimum(cases.probability, fitted)
    farthest = 1 - 0.1 * np.minimum(1 - cases.probability, 1 - fitted)
    true = (cases.probability + part * (fitted - cases.probability)).clip(nearest, farthest)
    try:
        roots = [
            np.linalg.cholesky((basis * (cases.total * each * (1 - each))[:, np.newaxis]).T @ basis)
            for each in (fitted, true)
        ]
    except np.linalg.LinAlgError:  # outcomes of that curve say next to nothing about a coefficient
        roots, true = [np.eye(basis.shape[1])] * 2, fitted
    spread, turned = np.linalg.eigh(roots[0].T @ curve.covariance @ roots[0])
    added = turned * np.sqrt(spread.clip(min=0))
    moves = basis @ np.linalg.solve(roots[1].T, added)
    moves *= (true * (1 - true))[:, np.newaxis]
    return np.column_stack([cells.mean(each) for each in moves.T])


@dataclass(frozen=True)
class _Cells:
    """Neighbours put together, which stand for the cases where curves are drawn at random.

    Half of the cells go by the number of cases, half by how much their outcomes vary: of a rare
    class the few of high probability make up most of the mean distance.
    """

    place: npt.NDArray[np.intp]
    points: Values  # (B,) what each counts in its cell
    shares: Values  # (C,) of all cases

    @classmethod
    def of(cls, cases: ClassCases) -> _Cells:
        order = np.argsort(cases.odds)
        varied = cases.total * np.sqrt(cases.probability * (1 - cases.probability))
        share = (cases.total / cases.total.sum() + varied / (varied.sum() or 1.0))[order] / 2
        cell = np.zeros(order.size, np.intp)
        cell[order] = ((np.cumsum(share) - share / 2) * _CELLS).clip(0, _CELLS - 1)
        sums = np.bincount(cell, cases.total, _CELLS)
        filled = np.flatnonzero(sums)
        place = np.searchsorted(filled, cell).clip(max=filled.size - 1)
        return cls(place, cases.total / sums[filled][place], sums[filled] / sums.sum())

    def mean(self, each: Values) -> Values:
        """Of something of the points (B,), (C,)."""
        sums = np.bincount(self.place, self.points * each, self.shares.size)
        return sums.astype(np.float64, copy=False)


def _check_knots(num_knots: int | None) -> int | None:
    if num_knots is not None and (not isinstance(num_knots, Integral) or num_knots not in _KNOTS):
        raise InputError(f"num_knots: expected 3, 4, 5 or None, received {num_knots!r}")
    return num_knots


def _default_knots(cases: ClassCases) -> int:
    rarer = min(cases.samples)
    return 5 if rarer >= 500 else 4 if rarer >= 100 else 3


def _knots(cases: ClassCases, count: int) -> Values:
    """Quantiles of the log-odds; fewer where they fall together."""
    order = np.argsort(cases.odds)
    odds = cases.odds[order]
    deviation = np.sqrt(special.expit(odds) * special.expit(-odds))
    cumulative = np.cumsum(cases.total[order] * deviation)
    places = np.searchsorted(cumulative, np.array(_KNOTS[count]) * cumulative[-1] * (1 - 1e-12))
    found = np.unique(odds[places])
    # Between knots that are all but equal the spline would bend without cases.
    apart = np.diff(found, prepend=-np.inf) > 1e-3 * np.ptp(found)
    kept: Values = found[apart]
    return kept


def _basis(odds: Values, knots: Values | None) -> Values:
    """Columns 1, the log-odds, and the cubic terms of Harrell's restricted spline."""
    columns = [np.ones_like(odds)]
    if knots is not None:
        columns.append(odds)
    if knots is not None and knots.size > 2:
        cubes = (odds - knots[:, np.newaxis]).clip(min=0) ** 3 / (knots[-1] - knots[0]) ** 2
        last, before = knots[-1], knots[-2]
        for knot, cube in zip(knots[:-2], cubes[:-2], strict=True):
            columns.append(
                cube
                - cubes[-2] * (last - knot) / (last - before)
                + cubes[-1] * (before - knot) / (last - before)
            )
    return np.column_stack(columns)
