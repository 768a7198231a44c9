"""Decision curves: whether treating by a model's probability is better than treating all or none.

Treating those whose probability is at least a threshold t has the net benefit

    TP / N - FP / N * t / (1 - t)

in true positives per case: t / (1 - t) false positives weigh as much as a true one, to whoever
treats from a probability of t on. Treating none has 0, treating all has that of TP = positives and
FP = negatives. A known prevalence in place of the sample's reweights the two outcomes, as sampling
by outcome asks for. A probability that equals the threshold is treated, as in dcurves; so is a sum
over classes that equals it as written, as .1 + .2 and .3, which in dcurves depends on its rounding.

Net benefit is a mean over the cases, and its intervals are Student's t of that mean, by the
variance between the cases or the groups' sums, each threshold on its own. They are in the way of
Agresti and Coull: as if two more cases had been there, half a one of each outcome that is treated
and that is not; at a known prevalence two of each outcome. So the interval has some width where no
case reaches the threshold, which the bootstrap and the plain variance do not give.

In a simulation of 500 cases, 2,000 samples each at five thresholds, independent and in correlated
groups of 5, 95% intervals covered the net benefit in 94.4 to 95.8% of balanced samples and in 92.8
to 96.6% at 1:20; at a known prevalence in 93.8 to 95.9% and 93.2 to 99.0%; the gain in 94.0 to
95.6% and 92.8 to 96.6%; the difference of two models in 94.7 to 96.2% and 95.7 to 99.2%, most at
thresholds below the prevalence, where few cases are treated by one model alone. Without the two
cases it was, at 1:24, 89 to 94% of the net benefit, and 82% of the difference at the lowest
threshold.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special
from scipy.sparse import csr_array

from lsplus_tf.errors import InputError, check_level
from lsplus_tf.metrics.intervals import Interval, share_interval
from lsplus_tf.metrics.metric import Values
from lsplus_tf.metrics.resampling import counted_cases
from lsplus_tf.metrics.statistics import pair_of
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.positive import OneVsRest, Positive, in_precision, one_vs_rest

__all__ = ["decision_curve", "net_benefit", "net_benefit_difference", "useful_thresholds"]


_BLOCK = 2**22  # elements that are held at a time
_DRAWS = 10_000  # of the largest deviation over the thresholds


def net_benefit(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive,
    threshold: float,
    prevalence: float | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """Net benefit of treating the cases whose probability of a class is at least a threshold.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
        N >= 2.
    positive : str, int, or sequence of str or int
        The class to treat, or several that count as one.
    threshold : float
        In (0, 1).
    prevalence, from_logits, sample_weight, groups, confidence_level
        As :func:`decision_curve` takes them.

    Returns
    -------
    Interval
        In true positives per case.

    Raises
    ------
    InputError
        If an argument is not as above.

    Warns
    -----
    UserWarning
        A prevalence is given and the sample lacks the class or has no other: all is NaN.

    References
    ----------
    Vickers and Elkin, Medical Decision Making 26, 2006.

    Examples
    --------
    >>> labels, second = [0, 0, 1, 1] * 25, np.array([0.1, 0.4, 0.3, 0.8] * 25)
    >>> found = net_benefit(labels, np.stack([1 - second, second], 1), positive=1, threshold=0.35)
    >>> round(found.value, 4), round(found.low, 2), round(found.high, 2)
    (0.1154, 0.01, 0.23)
    """
    check_level("threshold", threshold)
    curve = decision_curve(
        labels,
        probabilities,
        positive=positive,
        thresholds=[threshold],
        prevalence=prevalence,
        from_logits=from_logits,
        sample_weight=sample_weight,
        groups=groups,
        confidence_level=confidence_level,
    )
    columns = ["net_benefit", "low", "high", "standard_error"]
    value, low, high, error = map(float, curve.loc[0, columns])
    return Interval(value, low, high, error, confidence_level, "agresti_coull", 0, 0)


def decision_curve(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive,
    thresholds: npt.ArrayLike | None = None,
    prevalence: float | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """Net benefit over thresholds, of the model, of treating all, and against the better of these.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
        N >= 2.
    positive : str, int, or sequence of str or int
        The class to treat, or several that count as one.
    thresholds : array_like, shape (T,), optional
        In (0, 1). By default 0.01, 0.02, .., 0.99.
    prevalence : float, optional
        That of the class where the model is to be used, in (0, 1), taken as known exactly. By
        default that of the sample.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        The values are as if each case were repeated that often; the intervals are those of as many
        independent cases as there are rows. Predictions have their own.
    groups : array_like, shape (N,), optional
        A patient or lesion for each case; by default those of the predictions.
    confidence_level : float
        In (0, 1).

    Returns
    -------
    DataFrame
        A row for each threshold:

        * threshold; net_benefit, low, high, standard_error;
        * treat_all, treat_all_low, treat_all_high: the interval is that of the prevalence, by
          Agresti and Coull, and without width at a known one. Treating none has 0;
        * gain, gain_low, gain_high: the net benefit less the larger of treat_all and 0. The
          interval is paired, the lower of the two differences' ends, and so a little wide where
          the two are nearly equal, at thresholds near the prevalence;
        * interventions_avoided: by how many per case the model treats fewer than all, at the same
          number of true positives (net).

    Raises
    ------
    InputError
        If an argument is not as above.

    Warns
    -----
    UserWarning
        A prevalence is given and the sample lacks the class or has no other: all is NaN.

    See Also
    --------
    useful_thresholds : where the gain is shown.
    lsplus_tf.plots.decision_curve : the figure.

    References
    ----------
    Vickers and Elkin, Medical Decision Making 26, 2006; Vickers, Van Calster and Steyerberg,
    Diagnostic and Prognostic Research 3, 2019.

    Examples
    --------
    >>> labels, second = [0, 0, 1, 1] * 25, np.array([0.1, 0.4, 0.3, 0.8] * 25)
    >>> rows = np.stack([1 - second, second], axis=1)
    >>> curve = decision_curve(labels, rows, positive=1, thresholds=[0.2, 0.5])
    >>> curve[["net_benefit", "treat_all", "gain"]].round(3).values.tolist()
    [[0.438, 0.375, 0.062], [0.25, 0.0, 0.25]]
    """
    given = as_predictions(
        labels,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
    )
    cases = _Cases([given], positive, thresholds, prevalence, groups, confidence_level)
    model, everyone = cases.benefit(0), cases.benefit_of_all
    over_none = cases.estimate(model)
    # No net benefit is larger than the share of true positives, which a high threshold's price of
    # false ones says nothing of.
    limit = cases.estimate(lambda some: model(some).clip(min=0))[2]
    over_none[2][:] = np.minimum(over_none[2], limit)
    all_value, *all_bounds = cases.treat_all()
    over_all = cases.estimate(lambda some: model(some) - everyone(some))
    # The lower end of "better than both" is the lower of the two.
    gain, gain_low, gain_high = (
        np.minimum(none, every) for none, every in zip(over_none[:3], over_all[:3], strict=True)
    )
    return pd.DataFrame(
        {
            "threshold": cases.thresholds,
            "net_benefit": over_none[0],
            "low": over_none[1],
            "high": over_none[2],
            "standard_error": over_none[3],
            "treat_all": all_value,
            "treat_all_low": all_bounds[0],
            "treat_all_high": all_bounds[1],
            "gain": gain,
            "gain_low": gain_low,
            "gain_high": gain_high,
            "interventions_avoided": over_all[0] / cases.odds,
        }
    )


def net_benefit_difference(
    labels: npt.ArrayLike | Predictions,
    probabilities_a: npt.ArrayLike | Predictions,
    probabilities_b: npt.ArrayLike | None = None,
    *,
    positive: Positive,
    thresholds: npt.ArrayLike | None = None,
    prevalence: float | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """Net benefit of one model less that of another on the same cases, with paired intervals.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities_a, probabilities_b : array_like, shape (N, K), or Predictions
        The two models' predictions of the same cases in the same order: (labels, a, b), or their
        two `Predictions` alone, of which the first say the weights and groups.
    positive, thresholds, prevalence, from_logits, sample_weight, groups, confidence_level
        As :func:`decision_curve` takes them.

    Returns
    -------
    DataFrame
        threshold, first, second, difference (first less second), low and high.

    Raises
    ------
    InputError
        If an argument is not as above.

    Examples
    --------
    >>> labels, second = [0, 0, 1, 1] * 25, np.array([0.1, 0.4, 0.3, 0.8] * 25)
    >>> one, other = (np.stack([1 - p, p], axis=1) for p in (second, second**2))
    >>> found = net_benefit_difference(labels, one, other, positive=1, thresholds=[0.35])
    >>> found.round(3).values.tolist()
    [[0.35, 0.115, 0.25, -0.135, -0.18, -0.084]]
    """
    pair = pair_of(labels, probabilities_a, probabilities_b, from_logits, sample_weight)
    cases = _Cases(pair, positive, thresholds, prevalence, groups, confidence_level)
    one, other = cases.benefit(0), cases.benefit(1)
    difference, low, high, _ = cases.estimate(lambda some: one(some) - other(some))
    return pd.DataFrame(
        {
            "threshold": cases.thresholds,
            "first": cases.estimate(one)[0],
            "second": cases.estimate(other)[0],
            "difference": difference,
            "low": low,
            "high": high,
        }
    )


def useful_thresholds(curve: pd.DataFrame) -> list[tuple[float, float]]:
    """The ranges of thresholds at which the model is shown to be better than treating all or none.

    Parameters
    ----------
    curve : DataFrame
        Of :func:`decision_curve`.

    Returns
    -------
    list of (float, float)
        The first and the last threshold of each run of rows whose gain is above 0 by its interval,
        which is of each threshold on its own. In a simulation of 500 cases, of which a model knew
        nothing, any of the 99 thresholds was one in 0.5% of 600 balanced samples, and in 0.3% at
        1:20: a useless model is worse than the better of the two at all but few.

    Examples
    --------
    >>> labels, second = [0, 0, 1, 1] * 25, np.array([0.1, 0.4, 0.3, 0.8] * 25)
    >>> useful_thresholds(decision_curve(labels, np.stack([1 - second, second], 1), positive=1))
    [(0.11, 0.3), (0.45, 0.8)]
    """
    if not isinstance(curve, pd.DataFrame):
        raise InputError(
            f"curve: expected the table that decision_curve gives, received a "
            f"{type(curve).__name__}"
        )
    lacking = [column for column in ("threshold", "gain_low") if column not in curve]
    if lacking:
        raise InputError(
            "curve: expected the table that decision_curve gives, received one without the column "
            f"{' and '.join(lacking)}"
        )
    ordered = curve.sort_values("threshold")
    shown = (ordered["gain_low"] > 0).to_numpy()
    thresholds = ordered["threshold"].to_numpy()
    ends = np.flatnonzero(np.diff(np.concatenate([[False], shown, [False]])))
    return [
        (float(thresholds[start]), float(thresholds[stop - 1]))
        for start, stop in ends.reshape(-1, 2)
    ]


def simultaneous_level(
    predictions: Predictions, positive: Positive, confidence_level: float = 0.95
) -> float:
    """The level of :func:`decision_curve` at which its gains hold at all thresholds together.

    It is that of the largest of the standardised deviations of the net benefit from treating none
    and from treating all, at the 99 thresholds of the default: multivariate t with the correlation
    that the cases or groups show, by 10,000 draws of a fixed seed.

    In 1,000 samples of 500 cases, of which the model knew the true probabilities, the better of the
    two was said to be better than the model somewhere in 1.0% where these were Beta(1, 19) and in
    0.7% where Beta(0.5, 9.5), in 0.1% at 1:20 in correlated groups of five, and (of 300 samples) in
    1.3% where all were 0.05; with 95% intervals of each threshold in 7.5%, 4.7%, 1.7% and 4.0%. It
    does not hold where a class is of a handful of groups that are alike throughout: of five in a
    hundred, 16% of 100 samples.

    Examples
    --------
    >>> second = np.array([0.1, 0.4, 0.3, 0.8] * 25)
    >>> rows = np.stack([1 - second, second], axis=1)
    >>> level = simultaneous_level(Predictions([0, 0, 1, 1] * 25, rows), 1)
    >>> 0.99 < level < 0.9995
    True
    """
    cases = _Cases([predictions], positive, None, None, None, confidence_level)
    model, everyone = cases.benefit(0), cases.benefit_of_all
    covariance = cases.covariance([model, lambda some: model(some) - everyone(some)])
    errors = np.sqrt(covariance.diagonal())
    scales = np.divide(1, errors, out=np.zeros_like(errors), where=errors > 0)
    values, vectors = np.linalg.eigh(covariance * scales * scales[:, np.newaxis])
    kept = values > 1e-9 * values.max()
    rng, freedom = np.random.default_rng(0), cases.units - 1
    drawn = rng.normal(size=(_DRAWS, int(kept.sum())))
    drawn = drawn @ (vectors[:, kept] * np.sqrt(values[kept])).T
    largest = np.abs(drawn).max(axis=1) / np.sqrt(rng.chisquare(freedom, _DRAWS) / freedom)
    return float(1 - 2 * special.stdtr(freedom, -np.quantile(largest, confidence_level)))


Contribution = Callable[[slice], Values]
"""What each kind of case adds to a net benefit, (C, t), at some of the thresholds."""


class _Cases:
    """The cases of one or two models, of which those that are alike at all thresholds are one kind.

    There are at most 2 (T + 1) kinds of one model: the outcome, and how many of the thresholds the
    probability reaches. All sums over the cases are sums over the kinds.
    """

    def __init__(
        self,
        models: list[Predictions],
        positive: Positive,
        thresholds: npt.ArrayLike | None,
        prevalence: float | None,
        groups: npt.ArrayLike | None,
        confidence_level: float,
    ) -> None:
        if len(models[0]) < 2:
            raise InputError("probabilities: expected at least two rows, received 1")
        counted, self._groups = counted_cases(models, groups)
        self.level = check_level("confidence_level", confidence_level)
        self.thresholds = _checked(thresholds)
        self.odds = self.thresholds / (1 - self.thresholds)
        self._prevalence = None if prevalence is None else check_level("prevalence", prevalence)
        self._weights = counted[0].weights
        found = [one_vs_rest(model, positive) for model in counted]
        self._cases = found[0]
        self._count_kinds(
            found, [in_precision(np.sort(self.thresholds), each, positive) for each in counted]
        )
        self._weigh_strata()

    def _count_kinds(self, found: list[OneVsRest], ordered: list[Values]) -> None:
        self._rank = np.searchsorted(np.sort(self.thresholds), self.thresholds)
        outcome, most = found[0].outcome, self.thresholds.size
        # Of how many thresholds, as the scores have them, a probability is at least.
        reached = [
            np.searchsorted(limits, each.probability, side="right")
            for each, limits in zip(found, ordered, strict=True)
        ]
        columns = np.stack([outcome, *reached])
        shape = 2, *(most + 1,) * len(found)
        codes, self._kind = np.unique(np.ravel_multi_index(columns, shape), return_inverse=True)
        # The cases that intervals add: of each outcome, treated or not by each model throughout.
        made_up = np.array(list(itertools.product((0, 1), *((0, most),) * len(found)))).T
        kinds = np.concatenate([np.stack(np.unravel_index(codes, shape)), made_up], axis=1)
        self._outcome, self._reached = kinds[0].astype(bool), kinds[1:]
        size = kinds.shape[1]
        self._weight = np.bincount(self._kind, self._weights, size)
        self._squared = np.bincount(self._kind, self._weights**2, size)
        self._number = np.bincount(self._kind, minlength=size).astype(np.float64)
        self._added = np.zeros(size)
        self._added[codes.size :] = 2 / made_up.shape[1]

    def _weigh_strata(self) -> None:
        """The parts whose shares are fixed: one of all cases, or each outcome.

        A stratum is of which kinds, its share, and by what weights of its cases are multiplied to
        be 1 on average.
        """
        everything = np.ones(self._outcome.size, bool)
        shares = [(everything, 1.0)]
        if self._prevalence is not None:
            # Two cases are added to each outcome, where else there are two in all.
            self._added *= 2
            shares = [(self._outcome, self._prevalence), (~self._outcome, 1 - self._prevalence)]
        self._strata = []
        for kinds, share in shares:
            weight, number = self._weight[kinds].sum(), self._number[kinds].sum()
            if not weight > 0:
                what = "has no case" if kinds[-1] else "has no case that is not"
                warnings.warn(
                    f"the sample {what} of {self._cases.name}: the net benefit at a known "
                    "prevalence is not defined",
                    stacklevel=4,
                )
            scale = number / weight if weight > 0 else np.nan
            self._strata.append((kinds, share, scale))

    def benefit(self, model: int) -> Contribution:
        """That of treating by a model."""
        reached = self._reached[model][:, np.newaxis]
        return lambda some: self._treated(reached > self._rank[some], some)

    @property
    def benefit_of_all(self) -> Contribution:
        """That of treating all."""
        return lambda some: self._treated(np.ones((1, 1), bool), some)

    def _treated(self, treated: npt.NDArray[np.bool_], some: slice) -> Values:
        worth = np.where(self._outcome[:, np.newaxis], 1.0, -self.odds[some])
        return np.where(treated, worth, 0.0)

    def estimate(self, contribution: Contribution) -> tuple[Values, Values, Values, Values]:
        """Value, low, high and standard error, each (T,), of a mean of what the cases add."""
        value, centre, squares = np.zeros((3, self.thresholds.size))
        groups = None if self._groups is None else int(self._groups.max()) + 1
        step = max(1, _BLOCK // max(groups or 0, self._weight.size))
        for start in range(0, value.size, step):
            some = slice(start, start + step)
            adds = contribution(some)
            influences = np.empty_like(adds)
            for kinds, share, scale in self._strata:
                weight, added = scale * self._weight[kinds], self._added[kinds]
                value[some] += share * (weight @ adds[kinds]) / weight.sum()
                total = weight.sum() + added.sum()
                mean = (weight + added) @ adds[kinds] / total
                centre[some] += share * mean
                influences[kinds] = share * (adds[kinds] - mean) / total
            squares[some] = self._squares(influences) + self._added @ influences**2
        units = self.units
        error = np.sqrt(squares * units / (units - 1))
        half = special.stdtrit(units - 1, (1 + self.level) / 2) * error
        return value, centre - half, centre + half, error

    def _squares(self, influences: Values) -> Values:
        """The sum of squares, over the cases or the groups' sums, of influences (C, t) by kind."""
        scales = np.empty(self._weight.size)
        for kinds, _, scale in self._strata:
            scales[kinds] = scale
        if self._groups is None:
            return (self._squared * scales**2) @ influences**2
        shape = int(self._groups.max()) + 1, scales.size
        members = csr_array((self._weights, (self._groups, self._kind)), shape=shape)
        return np.sum((members @ (scales[:, np.newaxis] * influences)) ** 2, axis=0)

    @property
    def units(self) -> float:
        """How many cases or groups there are, with those that intervals add."""
        groups = None if self._groups is None else int(self._groups.max()) + 1
        return float((self._kind.size if groups is None else groups) + self._added.sum())

    def covariance(self, contributions: Sequence[Contribution]) -> Values:
        """Of the means of several contributions at all thresholds, (C T, C T), but for a factor."""
        every = slice(0, self.thresholds.size)
        adds = np.concatenate([each(every) for each in contributions], axis=1)
        influences = np.empty_like(adds)
        scales = np.empty(self._weight.size)
        for kinds, share, scale in self._strata:
            weight, added = scale * self._weight[kinds], self._added[kinds]
            total = weight.sum() + added.sum()
            mean = (weight + added) @ adds[kinds] / total
            influences[kinds] = share * (adds[kinds] - mean) / total
            scales[kinds] = scale
        found = (influences.T * self._added) @ influences
        if self._groups is None:
            return found + (influences.T * (self._squared * scales**2)) @ influences
        shape = int(self._groups.max()) + 1, scales.size
        members = csr_array((self._weights, (self._groups, self._kind)), shape=shape)
        influences *= scales[:, np.newaxis]
        step = max(1, _BLOCK // influences.shape[1])
        for start in range(0, shape[0], step):
            totals = members[start : start + step] @ influences
            found += totals.T @ totals
        return found

    def treat_all(self) -> tuple[Values, Values, Values]:
        """Value, low and high, each (T,), of treating all: it follows from the prevalence."""
        if self._prevalence is None:
            hits = self._cases.outcome.astype(np.float64)
            found = share_interval(hits, self._groups, self.level, self._weights)
            shares = found.value, found.low, found.high
        else:
            known = sum(share * scale / scale for kinds, share, scale in self._strata if kinds[-1])
            shares = known, known, known
        value, low, high = (share - self.odds * (1 - share) for share in shares)
        return value, low, high


def _checked(thresholds: npt.ArrayLike | None) -> Values:
    if thresholds is None:
        return np.arange(1, 100) / 100
    try:
        chosen = np.asarray(thresholds, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"thresholds: expected numbers, received {thresholds!r}") from None
    if chosen.ndim == 0:
        raise InputError(
            f"thresholds: expected several, shape (T,), or a list of one, [{chosen:g}], received "
            f"{chosen:g}"
        )
    if chosen.ndim != 1 or chosen.size == 0:
        raise InputError(f"thresholds: expected shape (T,), received {chosen.shape}")
    bad = ~((chosen > 0) & (chosen < 1))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"thresholds: expected numbers between 0 and 1, received {chosen[row]:g} at position "
            f"{row}"
        )
    return chosen
