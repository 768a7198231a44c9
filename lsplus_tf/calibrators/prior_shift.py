"""Another prevalence than that of the cases a calibrator was fitted to: known, or estimated.

Of label shift only the prevalence of the classes differs, and the cases of each class look as they
did: p(x | y) is the same, p(y) is not. Then p'(k | x) is in proportion to p(k | x) q_k / pi_k, with
pi the prevalence that the probabilities p are calibrated at, and q that of the target.
"""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from sklearn.utils.validation import check_is_fitted

from lsplus_tf.calibrators.affine import BiasCorrectedTemperature
from lsplus_tf.calibrators.arrays import softmax
from lsplus_tf.calibrators.base import Floats, Groups, as_array, check_classes, check_logits
from lsplus_tf.calibrators.provenance import warn_of_another_model
from lsplus_tf.errors import InputError, check_level, counted, some_of
from lsplus_tf.metrics.intervals import linearised_interval
from lsplus_tf.metrics.resampling import check_groups
from lsplus_tf.predictions import Predictions

_CLOSE = 1e-10  # how far a step of EM still goes
_MOST_STEPS = 30_000
_NO_CASE = 1e-3  # an estimate of fewer cases than this is one of none
_FLAT = 2.0  # a standard error of the logit, which is then nowhere near linear
_FAR = 1e9  # a fall of the log-likelihood in place of an infinite one
_WIDE = 0.5  # an interval of this width says little
_SINGULAR = 1e10  # a condition from which on the shares are not told apart
_SUM_TOLERANCE = 1e-3
_ALIKE = 1e-9  # ratios of cases
_CLEAR = 0.05  # a ratio of two classes that tells them apart


class LabelShift(BiasCorrectedTemperature):
    """`BiasCorrectedTemperature`, and then another prevalence of the classes than it was fitted at.

    `fit` takes labelled held-out predictions, as that of all calibrators. `adapt` gives the
    calibrator for a target of another prevalence, which is known, or estimated from the target's
    predictions without its labels. Before `adapt` it is the `BiasCorrectedTemperature` alone.

    Attributes
    ----------
    temperature_ : float
        T > 0.
    bias_ : ndarray, shape (K,)
        b, which sums to 0.
    source_prevalence_ : ndarray, shape (K,)
        Each class's share of the cases that it was fitted to.
    prevalence_ : ndarray, shape (K,)
        That of the target; before `adapt` the same.
    covariance_ : ndarray, shape (K + 1, K + 1)
        Of 1 / T and of b - log pi, with pi the prevalence that it was fitted at, for the intervals
        of an estimate.
    n_classes_ : int
        Number of classes, K.

    Notes
    -----
    **What it assumes.** That the cases of each class look in the target as they did where it was
    fitted, p(x | y) unchanged. Another scanner, another stage of disease or harder cases break
    that; the estimate then takes them for another prevalence, and the probabilities can be worse
    than before. `label_shift_test` compares the distributions of the predictions: run it before.
    That the mean adapted probability of a class is its prevalence says nothing: the estimate is
    where they are equal, whatever was assumed.

    **What it uses.** An estimate is made of all cases of the target together, and each of their
    probabilities then depends on the others: report it as such (transductive). For single cases to
    come, adapt to those before, or give the prevalence.

    The estimate is the maximum likelihood of a mixture of the classes, by the EM of Saerens et al.
    with accelerated steps that are kept where the likelihood does not fall.

    Source: Saerens, Latinne and Decaestecker, Neural Computation 2002; with bias-corrected
    temperature scaling before it: Alexandari, Kundaje and Shrikumar, ICML 2020. The acceleration:
    Varadhan and Roland, Scandinavian Journal of Statistics 2008.

    Examples
    --------
    Half of the cases are of class 1 where it is fitted, and a tenth in a screening:

    >>> from lsplus_tf.calibrators import LabelShift
    >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]]
    >>> fitted = LabelShift().fit(logits, [0, 0, 1, 1, 0, 1])
    >>> fitted.predict_proba([[0, 2]]).round(4).tolist()
    [[0.3333, 0.6667]]
    >>> fitted.adapt(prevalence=[0.9, 0.1]).predict_proba([[0, 2]]).round(4).tolist()
    [[0.8182, 0.1818]]
    """

    name: ClassVar = "label_shift"
    _fitted: ClassVar = {
        **BiasCorrectedTemperature._fitted,
        "source_prevalence_": as_array,
        "prevalence_": as_array,
        "covariance_": as_array,
    }
    _sizes: ClassVar = {
        **BiasCorrectedTemperature._sizes,
        "source_prevalence_": lambda k: (k,),
        "prevalence_": lambda k: (k,),
        "covariance_": lambda k: (k + 1, k + 1),
    }
    _above_zero: ClassVar = (*BiasCorrectedTemperature._above_zero, "source_prevalence_")

    source_prevalence_: Floats
    prevalence_: Floats
    covariance_: Floats

    @classmethod
    def uncalibrated(cls, source_prevalence: ArrayLike) -> Self:
        """One that takes the model's probabilities as they are, T = 1 and b = 0, without a fit.

        Parameters
        ----------
        source_prevalence : array_like, shape (K,)
            The prevalence that they are calibrated at: that of the training images, if anything.

        Returns
        -------
        LabelShift
            To be adapted. Intervals take the model for calibrated.

        Raises
        ------
        InputError
            Shares that are not above 0 or do not sum to 1.

        Examples
        --------
        >>> import numpy as np
        >>> from lsplus_tf.calibrators import LabelShift
        >>> screening = LabelShift.uncalibrated([0.5, 0.5]).adapt(prevalence=[0.9, 0.1])
        >>> screening.predict_proba(np.log([[0.2, 0.8]])).round(4).tolist()
        [[0.6923, 0.3077]]
        """
        classes = np.size(source_prevalence)
        shares = _known_prevalence("source_prevalence", source_prevalence, classes)
        if classes < 2 or not (shares > 0).all():
            raise InputError(
                "source_prevalence: expected shares > 0 of two classes or more, received "
                f"{shares.tolist()}"
            )
        made = cls()
        made.temperature_, made.bias_ = 1.0, np.zeros(classes)
        made.source_prevalence_ = made.prevalence_ = shares / shares.sum()
        made.covariance_ = np.zeros((classes + 1, classes + 1))
        made.n_classes_, made.classes_ = classes, np.arange(classes)
        return made

    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        super()._fit(logits, labels, weights)
        totals = np.bincount(labels, weights, logits.shape[1])
        self.source_prevalence_ = self.prevalence_ = totals / totals.sum()

    def _estimate_error(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats, groups: Groups
    ) -> None:
        influences = self._influences(_centred(logits), labels, weights / weights.sum())
        if groups is not None and groups.max() == 0:
            warnings.warn(
                "the held-out cases are of a single group, which tells nothing of the fit's error: "
                "intervals of an estimate take them as independent",
                stacklevel=3,
            )
        elif groups is not None:
            units = int(groups.max()) + 1
            sums = np.zeros((units, influences.shape[1]))
            np.add.at(sums, groups, influences)
            influences = sums * math.sqrt(units / (units - 1))
        self.covariance_ = influences.T @ influences

    def _check_fitted(self) -> None:
        super()._check_fitted()
        for name in ("source_prevalence_", "prevalence_"):
            _known_prevalence(name, getattr(self, name), self.n_classes_)
        if (np.diag(self.covariance_) < 0).any():
            raise ValueError("covariance_: expected variances of at least 0")

    def _probabilities(self, logits: Any, xp: Any) -> Any:
        with np.errstate(divide="ignore"):  # a class that cannot occur has probability 0
            shift = np.log(self.prevalence_) - np.log(self.source_prevalence_)
        return softmax(logits / self.temperature_ + (self.bias_ + shift), xp)

    def adapt(
        self,
        target: ArrayLike | Predictions | None = None,
        *,
        prevalence: ArrayLike | None = None,
    ) -> Self:
        """The calibrator for another prevalence; this one stays as it is.

        Parameters
        ----------
        target : array_like, shape (N, K), or Predictions, optional
            What the model gave, as for `fit`, for all cases of the target. Labels are not looked
            at. Their prevalence is estimated: see `estimate_prevalence`.
        prevalence : array_like, shape (K,), optional
            Instead, the known share of each class.

        Returns
        -------
        LabelShift
            A new one. Of a class of which less than half a case is estimated it takes half a case,
            so that no probability becomes 0 by an estimate.

        Raises
        ------
        InputError
            Both or neither of the two, shares that are no distribution, predictions of other
            classes, or fewer of them than classes, as of a single image.

        Examples
        --------
        Eight cases of ten look like class 0; of them a third are of class 1 where it was fitted,
        and fewer where class 1 is rare.

        >>> from lsplus_tf.calibrators import LabelShift
        >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]] * 50
        >>> fitted = LabelShift().fit(logits, [0, 0, 1, 1, 0, 1] * 50)
        >>> adapted = fitted.adapt([[2, 0]] * 240 + [[0, 2]] * 160)
        >>> adapted.prevalence_.round(4).tolist()
        [0.8, 0.2]
        """
        check_is_fitted(self)
        if (target is None) == (prevalence is None):
            received = "neither" if target is None else "both"
            raise InputError(
                "adapt: expected the target's predictions, or prevalence=, one of the two, "
                f"received {received}"
            )
        if prevalence is not None:
            shares = _known_prevalence("prevalence", prevalence, self.n_classes_)
        else:
            given = self._target(target).counted()
            estimated = self.estimate_prevalence(given)["prevalence"].to_numpy()
            shares = np.maximum(estimated, 0.5 / len(given))
        adapted = copy.copy(self)
        adapted.prevalence_ = shares / shares.sum()
        return adapted

    def estimate_prevalence(
        self,
        target: ArrayLike | Predictions,
        *,
        groups: ArrayLike | None = None,
        confidence_level: float = 0.95,
    ) -> pd.DataFrame:
        """The share of each class among cases without labels, with intervals.

        Parameters
        ----------
        target : array_like, shape (N, K), or Predictions
            What the model gave, as for `fit`. Sample weights count.
        groups : array_like, shape (N,), optional
            The patient or slide of each case; those of the predictions.
        confidence_level : float

        Returns
        -------
        DataFrame
            A row for each class: source (its prevalence where this was fitted), prevalence, low,
            high, standard_error.

        Warns
        -----
        UserWarning
            A class of which no case is found, predictions that do not separate classes, or an
            interval wider than one half.

        Notes
        -----
        The intervals are Student's t of the linearised estimate, on the scale of the logit, or on
        its own where the logit's standard error is above 2. They contain the error of the fit,
        by the groups and weights of its cases. Of a class of which nothing is found the interval
        ends where the likelihood has fallen as it does at Clopper and Pearson's bound of no case,
        with no more cases than there are groups; the error of the fit is not in it.

        95% intervals covered in 93.2 to 96.4% of 2,000 simulated targets of 500 cases, of two and
        three classes, even and 1:20, each case on its own and in groups of five, with the
        calibrator known and fitted to 500 cases; in 94 to 97% of 400 where it was fitted to 50
        groups of ten cases with one label each, or to enriched and weighted cases, and in 92% with
        20 such groups of 25.

        Examples
        --------
        >>> from lsplus_tf.calibrators import LabelShift
        >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]] * 50
        >>> fitted = LabelShift().fit(logits, [0, 0, 1, 1, 0, 1] * 50)
        >>> fitted.estimate_prevalence([[2, 0]] * 240 + [[0, 2]] * 160).round(3)
        ... # doctest: +NORMALIZE_WHITESPACE
               source  prevalence    low   high  standard_error
        class
        0         0.5         0.8  0.477  0.946            0.12
        1         0.5         0.2  0.054  0.523            0.12
        """
        check_level("confidence_level", confidence_level)
        given = self._target(target)
        if groups is not None:
            given = given.replace(groups=check_groups(groups, len(given)))
        given = given.counted()
        self._refuse_few(given)
        log_ratios = given.logits / self.temperature_ + (
            self.bias_ - np.log(self.source_prevalence_)
        )
        # Whatever their scale, as many cases as there are.
        mixture = _Mixture(log_ratios, given.weights * (len(given) / given.weights.sum()))
        if mixture.is_silent():
            nan = np.full(self.n_classes_, np.nan)
            table = {"prevalence": self.source_prevalence_}
            table |= {"low": nan, "high": nan, "standard_error": nan}
        else:
            shares = mixture.most_likely(self.source_prevalence_)
            errors = _Errors(_centred(given.logits), self.covariance_)
            table = _intervals(mixture, shares, given.groups, confidence_level, errors)
        names = pd.Index(self.class_names_ or given.class_names, name="class")
        found = pd.DataFrame({"source": self.source_prevalence_, **table}).set_index(names)
        _warn_of_little(found, len(given))
        return found

    def _influences(self, logits: Floats, labels: NDArray[np.int64], weights: Floats) -> Floats:
        """By how much each case moves what is fitted (N, K + 1); weights sum to 1.

        A constant in b leaves the parameters as they are.
        """
        samples, classes = logits.shape
        probabilities = softmax(logits / self.temperature_ + self.bias_, np)
        weighed = probabilities * weights[:, np.newaxis]
        mean = (probabilities * logits).sum(axis=1)
        slope = np.empty((classes + 1, classes + 1))
        slope[0, 0] = (weighed * (logits - mean[:, np.newaxis]) ** 2).sum()
        slope[0, 1:] = slope[1:, 0] = (weighed * (logits - mean[:, np.newaxis])).sum(axis=0)
        slope[1:, 1:] = np.diag(weighed.sum(axis=0)) - weighed.T @ probabilities
        is_class = np.eye(classes)[labels]
        scores = np.column_stack(
            [logits[np.arange(samples), labels] - mean, is_class - probabilities]
        )
        influences = scores @ np.linalg.pinv(slope, rcond=1e-10, hermitian=True)
        influences[:, 1:] -= is_class / self.source_prevalence_ - 1
        return influences * weights[:, np.newaxis]

    def _target(self, target: ArrayLike | Predictions | None) -> Predictions:
        if not isinstance(target, Predictions):
            target = Predictions(None, logits=check_logits(target))  # type: ignore[arg-type]
        target.need("probabilities")
        self._of_as_many_classes(target.logits)  # type: ignore[arg-type]
        check_classes("target", target.class_names, self.class_names_, "the calibrator's")
        warn_of_another_model("calibrator", self.model_, target.model)
        return target

    def _refuse_few(self, target: Predictions) -> None:
        if len(target) < self.n_classes_:
            raise InputError(
                f"target: expected at least {self.n_classes_} cases, of which the prevalence of "
                f"{self.n_classes_} classes is estimated together, received {len(target)}; give "
                "the prevalence where it is known"
            )


def _known_prevalence(name: str, prevalence: ArrayLike, num_classes: int) -> Floats:
    try:
        shares = np.asarray(prevalence, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: expected {num_classes} numbers, received {_plain(prevalence)}"
        ) from error
    if shares.shape != (num_classes,):
        raise InputError(
            f"{name}: expected shape ({num_classes},), a share for each class, received shape "
            f"{shares.shape}"
        )
    if not (shares >= 0).all() or not abs(shares.sum() - 1) <= _SUM_TOLERANCE:
        raise InputError(f"{name}: expected shares >= 0 that sum to 1, received {_plain(shares)}")
    return shares


def _plain(values: Any) -> str:
    """Without the types that NumPy shows."""
    return some_of([*map(str, np.ravel(np.asarray(values, object)))], 12)


# The estimate ------------------------------------------------------------------------------------


class _Mixture:
    """The likelihood of shares q of the classes, sum_i w_i log sum_k q_k r_ik.

    r_ik is in proportion to p(x_i | k), with 1 the largest of each case.
    """

    def __init__(self, log_ratios: Floats, weights: Floats) -> None:
        self.ratios = np.exp(log_ratios - log_ratios.max(axis=1, keepdims=True))
        self.weights = weights

    def is_silent(self) -> bool:
        """Whether all cases say the same, and nothing that is clear."""
        return bool(np.ptp(self.ratios, axis=0).max() < _ALIKE and self.ratios.min() > _CLEAR)

    def log_likelihood(self, shares: Floats) -> float:
        with np.errstate(divide="ignore"):
            return float(self.weights @ np.log(self.ratios @ shares))

    def step(self, shares: Floats) -> tuple[Floats, float]:
        """What a step of EM makes of the shares, and their log-likelihood."""
        density = self.ratios @ shares
        expected = shares * ((self.weights / density) @ self.ratios)
        return expected / expected.sum(), float(self.weights @ np.log(density))

    def most_likely(self, start: Floats) -> Floats:
        """The shares of the largest likelihood: exactly 0 where they are next to no case."""
        shares, moved = start, np.inf
        for _ in range(_MOST_STEPS // 3):
            first, _ = self.step(shares)
            moved = np.abs(first - shares).max()
            if moved < _CLOSE:
                break
            second, least = self.step(first)
            shares = self._leap(shares, first, second, least)
        else:
            warnings.warn(
                f"the estimate of the prevalence still moves by {moved:.1e} after {_MOST_STEPS} "
                "steps of EM: the predictions hardly separate the classes",
                stacklevel=4,
            )
        shares = np.where(shares * self.weights.sum() < _NO_CASE, 0.0, shares)
        return shares / shares.sum()

    def _leap(self, shares: Floats, first: Floats, second: Floats, least: float) -> Floats:
        """Where two steps lead to in the end, if that is no less likely than the first of them."""
        slow, bend = first - shares, second - 2 * first + shares
        size = np.linalg.norm(bend)
        if size > 0:
            far = max(1.0, float(np.linalg.norm(slow) / size))
            leap = shares + 2 * far * slow + far**2 * bend
            if (leap > 0).all():
                after, likelihood = self.step(leap / leap.sum())
                if likelihood >= least:
                    return after
        return second


@dataclass(frozen=True)
class _Errors:
    """What the ratios of a mixture, exp(beta z + c), are uncertain by.

    Attributes
    ----------
    logits : ndarray, shape (N, K)
        z, of K classes.
    covariance : ndarray, shape (K + 1, K + 1)
        Of beta and c.
    """

    logits: Floats
    covariance: Floats

    def of_shares(self, inverse: Floats, posterior: Floats, weights: Floats) -> Floats:
        """The standard error (M,) of the shares that are not 0.

        Parameters
        ----------
        inverse : ndarray, shape (M, M)
            Of the information.
        posterior : ndarray, shape (N, K)
            The adapted probabilities of the cases.
        weights : ndarray, shape (N,)
        """
        mean = (posterior * self.logits).sum(axis=1, keepdims=True)
        weighed = posterior * weights[:, np.newaxis]
        expected = weighed.sum(axis=0)
        # How the expected number of cases of each class moves with beta and c.
        moved = np.empty((len(expected), 1 + len(expected)))
        moved[:, 0] = (weighed * (self.logits - mean)).sum(axis=0)
        moved[:, 1:] = np.diag(expected) - weighed.T @ posterior
        present = expected > 0
        slopes = inverse @ (moved[present] * (weights.sum() / expected[present])[:, np.newaxis])
        return np.sqrt(np.einsum("kp,pq,kq->k", slopes, self.covariance, slopes))


def _centred(logits: Any) -> Floats:
    """Without the constant of a row, which softmax does not see."""
    rows = np.asarray(logits, np.float64)
    return rows - rows.mean(axis=1, keepdims=True)


def _intervals(
    mixture: _Mixture,
    shares: Floats,
    groups: Groups,
    confidence_level: float,
    errors: _Errors,
) -> dict[str, Floats]:
    """The shares with low, high and standard_error, each (K,)."""
    present = shares > 0
    low, high, error = (np.full(len(shares), np.nan) for _ in range(3))
    weights = mixture.weights
    scores = mixture.ratios / (mixture.ratios @ shares)[:, np.newaxis]
    inside = scores[:, present]
    information = (inside * weights[:, np.newaxis]).T @ inside
    if present.sum() == 1 or np.linalg.cond(information) < _SINGULAR:
        # On the shares that sum to 1; the information times the shares is the total weight.
        own = shares[present]
        inverse = np.linalg.inv(information) - np.outer(own, own) / weights.sum()
        of_fit = errors.of_shares(inverse, shares * scores, weights)
        # The fit's error is that of one more unit, which is independent of the cases.
        units = np.arange(len(weights)) if groups is None else groups
        units = np.append(units, units.max() + 1)
        for k, row, more in zip(np.flatnonzero(present), inverse, of_fit, strict=True):
            if present.sum() == 1:
                continue
            influences = np.append(weights * (inside @ row), more)
            value, settings = float(shares[k]), (units, confidence_level)
            found = linearised_interval(value, influences, *settings, scale="logit", bounds=(0, 1))
            if found.standard_error > _FLAT * value * (1 - value):
                found = linearised_interval(value, influences, *settings, bounds=(0, 1))
            low[k], high[k], error[k] = found.low, found.high, found.standard_error
        for k in np.flatnonzero(~present):
            # The others give way to it as they do at the top of the likelihood.
            direction = np.zeros(len(shares))
            direction[present] = -inverse @ ((weights * scores[:, k]) @ inside) - own
            bound = _highest(mixture, shares, direction, int(k), int(units[-1]), confidence_level)
            low[k], high[k] = 0.0, bound
        if present.sum() == 1 and len(shares) > 1:
            low[present], high[present] = max(0.0, 1 - np.nansum(high)), 1.0
    return {"prevalence": shares, "low": low, "high": high, "standard_error": error}


def _highest(
    mixture: _Mixture,
    shares: Floats,
    direction: Floats,
    k: int,
    units: int,
    confidence_level: float,
) -> float:
    """The share of a class of which nothing is found that is just not too unlikely."""
    narrower = units / mixture.weights.sum()
    top, fall = mixture.log_likelihood(shares), -math.log((1 - confidence_level) / 2)

    def beyond(share: float) -> float:
        others = np.maximum(shares + share * direction, 0)
        others *= (1 - share) / max(others.sum(), np.finfo(float).tiny)
        others[k] = share
        return min(narrower * (top - mixture.log_likelihood(others)) - fall, _FAR)

    return float(brentq(beyond, 0, 1 - 1e-9)) if beyond(1 - 1e-9) > 0 else 1.0


def _warn_of_little(found: pd.DataFrame, cases: int) -> None:
    bounds = found[["low", "high"]]
    absent = found.index[found["prevalence"] == 0]
    if bounds.isna().any(axis=None):
        warnings.warn(
            "the predictions do not separate the classes, and any prevalence fits them: give it "
            "where it is known, or leave them as they are",
            stacklevel=3,
        )
        return
    if len(absent):
        highest = found.loc[absent, "high"].max()
        which = "the class" if len(absent) == 1 else f"the {len(absent)} classes"
        warnings.warn(
            f"no case of {which} {some_of([*map(repr, absent)])} is found among the "
            f"{counted(cases, 'case')} (at most {highest:.2%} are of it); give the prevalence "
            "where it is known",
            stacklevel=3,
        )
    wide = found[bounds["high"] - bounds["low"] > _WIDE]
    if len(wide):
        name, row = wide.index[0], wide.iloc[0]
        warnings.warn(
            f"the {cases} cases say little of the prevalence: that of the class {name!r} may "
            f"be {row['low']:.0%} to {row['high']:.0%}; give it where it is known, or leave the "
            "probabilities as they are",
            stacklevel=3,
        )
