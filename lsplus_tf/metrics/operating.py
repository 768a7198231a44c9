"""A class against the rest where one of its two rates is fixed: sensitivity at a specificity.

A case is taken for the class where its probability is at least a threshold, cases of equal
probability all together. Of the thresholds whose specificity is at least what is asked for the one
with the highest sensitivity counts: the value is that of scikit-learn's ``roc_curve``, without a
line between its points. Sample weights count as if each case were repeated.

The threshold is chosen on the cases themselves, and the interval takes that into account: Agresti
and Coull's of the sensitivity at this threshold, whose variance is increased by what choosing the
threshold anew on each of 500 resamples, of groups if there are some, adds to that of a threshold
that stays. In simulations of 200 samples each, with a rate of 80 or 95% fixed and 24 cases of the
class among 500, or 229 among 2,000, 95% intervals covered in 93% to 99% of the samples; with 50
among 500, all in groups of five, a sensitivity's in 96%, and a specificity's, which depends on ten
groups alone, in 90%. A threshold that was chosen on other cases is for
:func:`~lsplus_tf.metrics.operating_point`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import InputError, check_level, check_positive
from lsplus_tf.metrics import forms
from lsplus_tf.metrics.intervals import Interval, share_interval
from lsplus_tf.metrics.metric import Form, Metric, OfWeights, Values, Weights
from lsplus_tf.metrics.one_vs_rest import operating_point
from lsplus_tf.metrics.resampling import Groups, counted_cases, resample
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.arrays import FloatArray
from lsplus_tf.predictions.positive import OneVsRest, Positive, one_vs_rest

__all__ = ["fixed_rate_metric", "sensitivity_at_specificity", "specificity_at_sensitivity"]

_RESAMPLES = 500
_SEED = 0
_ROUNDING = 1e-12  # of sums of weights
Rate = Literal["sensitivity", "specificity"]


def sensitivity_at_specificity(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | None = None,
    specificity: float = 0.9,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """The highest sensitivity for a class whose specificity is at least so much.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class by name or number, or several that count as one; by default the second of two.
    specificity : float
        In (0, 1].
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        What each case counts.
    groups : array_like, shape (N,), optional
        A patient or lesion for each case; by default those of the predictions.
    confidence_level : float
        In (0, 1).

    Returns
    -------
    Interval
        0 where every threshold takes too many others for the class. NaN, with a warning, where no
        case is of the class, or all are.

    Raises
    ------
    InputError
        If an argument is not as above, or there is a single group.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]] * 20
    >>> found = sensitivity_at_specificity([0, 0, 0, 1, 1] * 20, p, specificity=0.9)
    >>> found.value, found.low < 0.5 < found.high
    (0.5, True)
    """
    return _measured(
        "specificity",
        specificity,
        as_predictions(labels, probabilities, from_logits=from_logits, sample_weight=sample_weight),
        positive,
        groups,
        confidence_level,
    )


def specificity_at_sensitivity(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | None = None,
    sensitivity: float = 0.9,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """The highest specificity for a class whose sensitivity is at least so much.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class by name or number, or several that count as one; by default the second of two.
    sensitivity : float
        In (0, 1].
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        What each case counts.
    groups : array_like, shape (N,), optional
        A patient or lesion for each case; by default those of the predictions.
    confidence_level : float
        In (0, 1).

    Returns
    -------
    Interval
        NaN, with a warning, where no case is of the class, or all are.

    Raises
    ------
    InputError
        If an argument is not as above, or there is a single group.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]] * 20
    >>> found = specificity_at_sensitivity([0, 0, 0, 1, 1] * 20, p, sensitivity=0.9)
    >>> round(found.value, 3), found.low < 0.33 < found.high
    (0.333, True)
    """
    return _measured(
        "sensitivity",
        sensitivity,
        as_predictions(labels, probabilities, from_logits=from_logits, sample_weight=sample_weight),
        positive,
        groups,
        confidence_level,
    )


def fixed_rate_metric(
    positive: Positive,
    *,
    specificity: float | None = None,
    sensitivity: float | None = None,
) -> Metric:
    """The record of a sensitivity at a specificity, or the other way round.

    :func:`~lsplus_tf.metrics.bootstrap_interval`, :func:`~lsplus_tf.metrics.paired_bootstrap`,
    :func:`~lsplus_tf.metrics.permutation_test` and :func:`~lsplus_tf.metrics.compare_methods` take
    it in place of a metric's name; each model has its own threshold, also on each resample.

    Parameters
    ----------
    positive : str, int, or sequence
        A class by name or number, or several that count as one. Whether the predictions have such
        is checked when the metric is measured.
    specificity, sensitivity : float, optional
        In (0, 1], exactly one of the two: what is fixed.

    Returns
    -------
    Metric

    Raises
    ------
    InputError
        If they are not as above.

    Examples
    --------
    >>> from lsplus_tf.metrics import paired_bootstrap
    >>> a, b = [[0.9, 0.1], [0.2, 0.8]] * 50, [[0.6, 0.4], [0.6, 0.4]] * 50
    >>> found = fixed_rate_metric(1, specificity=0.9)
    >>> found.key
    'sensitivity of 1 at a specificity of 0.9'
    >>> paired_bootstrap(found, [0, 1] * 50, a, b, num_resamples=100).difference.value
    1.0
    """
    wanted = {"specificity": specificity, "sensitivity": sensitivity}
    chosen = {name: value for name, value in wanted.items() if value is not None}
    if len(chosen) != 1:
        raise InputError(
            "specificity, sensitivity: expected exactly one of them, received "
            f"{' and '.join(chosen) or 'none'}"
        )
    is_list = not isinstance(positive, str | int | np.integer)
    name = " or ".join(map(str, positive)) if is_list else str(positive)  # type: ignore[arg-type]
    fixed: Rate = "sensitivity" if specificity is None else "specificity"
    return _Fixed(fixed, check_positive(fixed, chosen[fixed], 1.0), positive).record(name)


def _measured(
    fixed: Rate,
    rate: float,
    given: Predictions,
    positive: Positive | None,
    groups: npt.ArrayLike | None,
    confidence_level: float,
) -> Interval:
    rate = check_positive(fixed, rate, 1.0)
    level = check_level("confidence_level", confidence_level)
    given.need("probabilities")
    if positive is None and len(given.class_names) == 2:
        positive = 1
    (given,), codes = counted_cases([given], groups)
    return _Fixed(fixed, rate, positive).interval(given, codes, level, stacklevel=4)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Fixed:
    """The rate that is not fixed, where the other one is at least so much."""

    fixed: Rate
    rate: float
    positive: Positive

    @property
    def other(self) -> Rate:
        return "specificity" if self.fixed == "sensitivity" else "sensitivity"

    def record(self, name: str) -> Metric:
        heading = f"{self.other} at {100 * self.rate:g}% {self.fixed}"
        return Metric(
            key=f"{self.other} of {name} at a {self.fixed} of {self.rate:g}",
            function=f"{self.other}_at_{self.fixed}",
            name=f"{self.other} of {name} at {100 * self.rate:g}% {self.fixed}",
            short=heading[:1].upper() + heading[1:],
            better=1,
            value=self.value,
            form=self.form,
            ranks=True,
            interval="agresti_coull",
            evaluated=False,
            needs="all",
            analytic=self.interval,
        )

    def form(self, predictions: Predictions) -> OfWeights:
        against = one_vs_rest(predictions, self.positive)
        return forms.from_the_top(
            self._of_levels, predictions, against.probability, against.outcome
        )

    def _of_levels(self, _: FloatArray, drawn: Weights | Values, hits: Weights | Values) -> Values:
        """The rate (M,) of cases by level (M, P), from the most probable one down."""
        # The first place is that of a threshold above all.
        found = np.zeros((len(drawn), drawn.shape[1] + 1))
        taken = np.zeros_like(found)
        np.cumsum(hits, axis=1, out=found[:, 1:])
        np.cumsum(drawn - hits, axis=1, out=taken[:, 1:])
        positives, negatives = found[:, -1].copy(), taken[:, -1].copy()
        rows = np.arange(len(drawn))
        defined = (positives > 0) & (negatives > 0)
        positives[~defined] = negatives[~defined] = np.nan
        with np.errstate(invalid="ignore"):
            found /= positives[:, np.newaxis]
            taken /= negatives[:, np.newaxis]
            if self.fixed == "specificity":
                place = (taken <= 1 - self.rate + _ROUNDING).sum(axis=1) - 1
                return np.asarray(found[rows, place].clip(max=1))
            place = (found < self.rate - _ROUNDING).sum(axis=1)
            return np.asarray(1 - taken[rows, place].clip(max=1))

    def value(self, predictions: Predictions, _: Convention) -> float:
        return float(self.form(predictions)(np.ones((1, len(predictions)), np.int32))[0])

    def interval(
        self,
        predictions: Predictions,
        groups: Groups,
        confidence_level: float,
        stacklevel: int = 3,
    ) -> Interval:
        against, weights = one_vs_rest(predictions, self.positive), predictions.weights
        if np.isnan(self.value(predictions, "standard")):
            warnings.warn(
                f"{self.other} at a {self.fixed} is NaN: no case, or all, are of class "
                f"{against.name}",
                stacklevel=stacklevel,
            )
            nan = float("nan")
            return Interval(nan, nan, nan, nan, confidence_level, "agresti_coull", 0, 0)
        threshold = self.threshold(predictions)

        def of_one(some: Predictions) -> tuple[Values, Values]:
            return self._at(one_vs_rest(some, self.positive), threshold)

        def stays(some: Predictions) -> Form:
            return forms.share_of(*of_one(some), some.sample_weight)

        def value(some: Predictions, _: Convention) -> float:
            hits, cases = (some.weights @ each for each in of_one(some))
            return float(hits / cases) if cases > 0 else float("nan")

        anew = self.record("")
        given = replace(anew, form=stays, value=value)
        drawn = [
            each.drawn[0]
            for each in resample([anew, given], [predictions], groups, _RESAMPLES, _SEED)
        ]
        hits, cases = self._at(against, threshold)
        own = cases > 0
        # The threshold varies with the cases whose rate is fixed.
        others = int(np.unique(np.arange(own.size)[~own] if groups is None else groups[~own]).size)
        extra = max(0.0, float(np.nanvar(drawn[0]) - np.nanvar(drawn[1])))
        extra *= others / max(1, others - 1)
        share = share_interval(
            hits[own],
            None if groups is None else groups[own],
            confidence_level,
            weights[own],
            extra=(extra, max(1, others - 1)),
        )
        undefined = int(np.count_nonzero(np.isnan(drawn[0])))
        return replace(share, num_resamples=_RESAMPLES, num_undefined=undefined)

    def threshold(self, predictions: Predictions) -> float:
        """That is chosen on the predictions; NaN where none takes few enough."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            table = operating_point(
                predictions,
                positive=self.positive,
                **{self.fixed: self.rate},  # type: ignore[arg-type]
            )
        return float(table["threshold"].iloc[0])

    def _at(self, against: OneVsRest, threshold: float) -> tuple[Values, Values]:
        """What each case adds (N,) to numerator and denominator of the rate."""
        taken = against.probability >= threshold  # none where it is NaN
        own = against.outcome if self.other == "sensitivity" else ~against.outcome
        right = taken if self.other == "sensitivity" else ~taken
        return (right & own).astype(np.float64), own.astype(np.float64)
