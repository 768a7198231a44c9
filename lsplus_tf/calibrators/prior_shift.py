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
from scipy.sparse import csr_array
from scipy.stats import chi2
from sklearn.utils.validation import check_is_fitted

from lsplus_tf.calibrators._arrays import softmax
from lsplus_tf.calibrators.affine import BiasCorrectedTemperature
from lsplus_tf.calibrators.base import Floats, as_array, check_logits
from lsplus_tf.errors import InputError, check_level, counted, some_of
from lsplus_tf.metrics.intervals import linearised_interval
from lsplus_tf.metrics.resampling import check_groups
from lsplus_tf.predictions import Predictions, as_predictions

_CLOSE = 1e-10  # how far a step of EM still goes
_MOST_STEPS = 30_000
_NO_CASE = 1e-3  # an estimate of fewer cases than this is one of none
_FAR = 1e9  # a fall of the log-likelihood in place of an infinite one
_WIDE = 0.5  # an interval of this width says little
_SINGULAR = 1e10  # a condition from which on the shares are not told apart
_SUM_TOLERANCE = 1e-3

Groups = NDArray[np.intp] | None


class LabelShift(BiasCorrectedTemperature):
    """`BiasCorrectedTemperature`, and then another prevalence of the classes than it was fitted at.

    `fit` takes labelled held-out predictions, as that of all calibrators. `adapt` gives the
    calibrator for a target of another prevalence, which is known, or estimated from the target's
    predictions without its labels. Before `adapt` it is the `BiasCorrectedTemperature` alone.

    Attributes
    ----------
    temperature_ : float
        T.
    bias_ : ndarray, shape (K,)
        b.
    source_prevalence_ : ndarray, shape (K,)
        Each class's share of the cases that it was fitted to.
    prevalence_ : ndarray, shape (K,)
        That of the target; before `adapt` the same.
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
    }

    source_prevalence_: Floats
    prevalence_: Floats

    def _fit(self, logits: Floats, labels: NDArray[np.int64]) -> None:
        super()._fit(logits, labels)
        self.source_prevalence_ = np.bincount(labels, minlength=logits.shape[1]) / len(labels)
        self.prevalence_ = self.source_prevalence_

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
            Both or neither of the two, shares that are no distribution, predictions of another K,
            or fewer of them than classes, as of a single image.

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
            shares = _known_prevalence(prevalence, self.n_classes_)
        else:
            given = self._target(target)
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
            A class of which no case is found, predictions that do not tell classes apart, or an
            interval wider than one half.

        Notes
        -----
        The intervals are Student's t of the linearised estimate, on the scale of the logit; of a
        class of which nothing is found, the share at which the likelihood falls as that of no case
        does at Clopper and Pearson's bound, with no more cases than there are groups. **They take
        the fitted calibrator as it is**: with few cases in `fit` they are too narrow.

        Examples
        --------
        >>> from lsplus_tf.calibrators import LabelShift
        >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]] * 50
        >>> fitted = LabelShift().fit(logits, [0, 0, 1, 1, 0, 1] * 50)
        >>> fitted.estimate_prevalence([[2, 0]] * 240 + [[0, 2]] * 160).round(3)
        ... # doctest: +NORMALIZE_WHITESPACE
               source  prevalence    low   high  standard_error
        class
        0         0.5         0.8  0.618  0.908           0.074
        1         0.5         0.2  0.092  0.382           0.074
        """
        check_level("confidence_level", confidence_level)
        given = self._target(target)
        codes = given.groups if groups is None else check_groups(groups, len(given))
        log_ratios = given.logits / self.temperature_ + (
            self.bias_ - np.log(self.source_prevalence_)
        )
        mixture = _Mixture(log_ratios, given.weights)
        shares = mixture.most_likely(self.source_prevalence_)
        table = _intervals(mixture, shares, codes, confidence_level)
        names = pd.Index(given.class_names, name="class")
        found = pd.DataFrame({"source": self.source_prevalence_, **table}).set_index(names)
        _warn_of_little(found, len(given))
        return found

    def _target(self, target: ArrayLike | Predictions | None) -> Predictions:
        if not isinstance(target, Predictions):
            target = Predictions(None, logits=check_logits(target))  # type: ignore[arg-type]
        target.need("probabilities")
        self._of_as_many_classes(target.logits)  # type: ignore[arg-type]
        if len(target) < self.n_classes_:
            raise InputError(
                f"target: expected at least {self.n_classes_} cases, of which the prevalence of "
                f"{self.n_classes_} classes is estimated together, received {len(target)}; give "
                "the prevalence where it is known"
            )
        return target


def _known_prevalence(prevalence: ArrayLike, num_classes: int) -> Floats:
    try:
        shares = np.asarray(prevalence, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"prevalence: expected {num_classes} numbers, received {prevalence!r}"
        ) from error
    if shares.shape != (num_classes,):
        raise InputError(
            f"prevalence: expected shape ({num_classes},), a share for each class, received shape "
            f"{shares.shape}"
        )
    if not (shares >= 0).all() or not abs(shares.sum() - 1) <= _SUM_TOLERANCE:
        raise InputError(
            f"prevalence: expected shares >= 0 that sum to 1, received {shares.tolist()}"
        )
    return shares


# The estimate ------------------------------------------------------------------------------------


class _Mixture:
    """The likelihood of shares q of the classes, sum_i w_i log sum_k q_k r_ik.

    r_ik is in proportion to p(x_i | k), with 1 the largest of each case.
    """

    def __init__(self, log_ratios: Floats, weights: Floats) -> None:
        self.ratios = np.exp(log_ratios - log_ratios.max(axis=1, keepdims=True))
        self.weights = weights

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
                "steps of EM: the predictions hardly tell the classes apart",
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


def _intervals(
    mixture: _Mixture, shares: Floats, groups: Groups, confidence_level: float
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
        for k, row in zip(np.flatnonzero(present), inverse, strict=True):
            if present.sum() == 1:
                continue
            influences = weights * (inside @ row)
            found = linearised_interval(
                float(shares[k]), influences, groups, confidence_level, scale="logit", bounds=(0, 1)
            )
            low[k], high[k], error[k] = found.low, found.high, found.standard_error
        units = len(weights) if groups is None else int(groups.max()) + 1
        for k in np.flatnonzero(~present):
            # The others give way to it as they do at the top of the likelihood.
            direction = np.zeros(len(shares))
            direction[present] = -inverse @ ((weights * scores[:, k]) @ inside) - own
            bound = _highest(mixture, shares, direction, k, units, confidence_level)
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
            "the predictions do not tell the classes apart, and any prevalence fits them: give it "
            "where it is known, or leave them as they are",
            stacklevel=3,
        )
        return
    if len(absent):
        highest = found.loc[absent, "high"].max()
        warnings.warn(
            f"no case of {counted(len(absent), 'class', 'classes')} {some_of(list(absent))} is "
            f"found among the {cases} (at most {highest:.2g} of them are); give the prevalence "
            "where it is known",
            stacklevel=3,
        )
    wide = found[bounds["high"] - bounds["low"] > _WIDE]
    if len(wide):
        name, row = wide.index[0], wide.iloc[0]
        warnings.warn(
            f"the {cases} cases say little of the prevalence: that of class {name} may be "
            f"{row['low']:.2g} to {row['high']:.2g}; give it where it is known, or leave the "
            "probabilities as they are",
            stacklevel=3,
        )


# Whether it is label shift -----------------------------------------------------------------------

_BINS = 4  # of the confidence, for each predicted class
_IN_A_BIN = 40  # cases of both together


@dataclass(frozen=True)
class LabelShiftTest:
    """Whether some prevalence explains the predictions of a target.

    Attributes
    ----------
    p_value : float
        Of as large a difference where p(x | y) is the same; NaN where there are too few cells.
    statistic : float
        Chi-squared: the squared differences of the cells' shares from those of the mixture that
        comes closest, over their variance.
    degrees_of_freedom : int
        Cells less classes.
    table : DataFrame
        A row for each cell: predicted class, from and to which confidence, its share of the target
        and that of the mixture.
    """

    p_value: float
    statistic: float
    degrees_of_freedom: int
    table: pd.DataFrame


def label_shift_test(source: Predictions, target: Predictions) -> LabelShiftTest:
    """Test whether the target's predictions are a mixture of those of the source's classes.

    Under label shift they are, whatever the prevalence. The predicted classes and up to four bins
    of the confidence in each are counted, and compared with the mixture that comes closest.

    Parameters
    ----------
    source : Predictions
        Held-out predictions with labels, as for `LabelShift.fit`.
    target : Predictions
        Of the same model and classes; labels are not looked at. Groups and sample weights of both
        count.

    Returns
    -------
    LabelShiftTest

    Raises
    ------
    InputError
        Predictions without the probabilities of all classes, other classes, a class without
        samples in the source, or a single group.

    Warns
    -----
    UserWarning
        Too few cells, as of few cases: there is no p value.

    Notes
    -----
    A small p value says that no prevalence explains the target: do not estimate one. A large one is
    no proof: a change of p(x | y) that looks like another prevalence cannot be seen without labels.
    In a simulation of 500 cases each, two and three classes, @SIZE@.

    The closest mixture is that of generalised least squares, whose differences are chi-squared
    with as many degrees of freedom as there are cells more than classes (Hansen, Econometrica
    1982); the covariance is that of the sums over groups.

    Examples
    --------
    >>> import numpy as np
    >>> from lsplus_tf import Predictions
    >>> from lsplus_tf.calibrators import label_shift_test
    >>> rng = np.random.default_rng(0)
    >>> def drawn(cases, share, harder=1.0):
    ...     labels = (rng.random(cases) < share).astype(int)
    ...     margins = harder * (2 * labels - 1) + rng.normal(size=cases)
    ...     return Predictions(labels, logits=np.stack([-margins, margins], axis=1))
    >>> source = drawn(1000, 0.5)
    >>> label_shift_test(source, drawn(1000, 0.1)).p_value > 0.05
    True
    >>> label_shift_test(source, drawn(1000, 0.5, harder=0.5)).p_value < 0.001
    True
    """
    as_predictions(source, takes_weights=True).need("probabilities")
    target.need("probabilities")
    if source.class_names != target.class_names:
        raise InputError(
            f"target: expected the classes of the source, {some_of(source.class_names, 12)}, "
            f"received {some_of(target.class_names, 12)}"
        )
    absent = [source.class_names[k] for k in np.flatnonzero(source.class_counts == 0)]
    if absent:
        raise InputError(f"source: expected samples of every class, received none of {absent[0]}")
    cells, described = _cells(source, target)
    here, there = cells[: len(source)], cells[len(source) :]
    labels, classes = source.labels, len(source.class_names)
    totals = np.bincount(labels, source.weights, classes)
    of_class = np.zeros((len(described), classes))
    np.add.at(of_class, (here, labels), source.weights / totals[labels])
    shares = np.bincount(there, target.weights, len(described)) / target.weights.sum()
    own = target.weights / target.weights.sum()
    covariance = _covariance(own, there, shares[:, np.newaxis], np.zeros_like(there), target.groups)

    freedom = len(described) - classes
    found = _closest(of_class, shares, np.diag(np.maximum(shares, 1e-12)))
    statistic = p_value = float("nan")
    if freedom > 0:
        for _ in range(2):
            each = source.weights / totals[labels] * found[labels]
            of_source = _covariance(each, here, of_class, labels, source.groups)
            found = _closest(of_class, shares, covariance + of_source)
        differences = shares - of_class @ found
        spread = np.linalg.pinv(covariance + of_source, rcond=1e-10, hermitian=True)
        statistic = float(differences @ spread @ differences)
        p_value = float(chi2.sf(statistic, freedom))
    else:
        warnings.warn(
            f"the predictions fall into {counted(len(described), 'cell')}, which some prevalence of "
            f"{classes} classes always explains: there is no p value, give more cases",
            stacklevel=2,
        )
        freedom = 0
    described = described.assign(share=shares, expected=of_class @ found)
    return LabelShiftTest(p_value, statistic, freedom, described)


def _cells(source: Predictions, target: Predictions) -> tuple[NDArray[np.intp], pd.DataFrame]:
    """The cell of each case of both, one after the other, and what the cells are."""
    predicted = np.concatenate([source.predicted, target.predicted])
    confidence = np.concatenate([source.confidence, target.confidence]).astype(np.float64)
    cells, rows = np.zeros(predicted.size, np.intp), []
    for k, name in enumerate(source.class_names):
        inside = np.flatnonzero(predicted == k)
        if inside.size == 0:
            continue
        of_these = confidence[inside]
        bins = max(1, min(_BINS, inside.size // _IN_A_BIN))
        edges = np.unique(np.quantile(of_these, np.arange(1, bins) / bins))
        place = np.searchsorted(edges, of_these, side="left")
        present, place = np.unique(place, return_inverse=True)
        for number in range(present.size):
            here = of_these[place == number]
            rows.append({"predicted": name, "from": here.min(), "to": here.max()})
        cells[inside] = len(rows) - present.size + place
    return cells, pd.DataFrame(rows)


def _covariance(
    weights: Floats,
    cells: NDArray[np.intp],
    shares: Floats,
    columns: NDArray[np.intp],
    groups: Groups,
) -> Floats:
    """Of the cells' shares, by the sums over groups; each case deviates from its column's shares.

    Parameters
    ----------
    weights : ndarray, shape (N,)
        What each case adds to the share of its cell.
    cells, columns : ndarray of int, shape (N,)
    shares : ndarray, shape (B, C)
    groups : ndarray of int, shape (N,), or None
    """
    units = np.arange(cells.size) if groups is None else groups
    count = int(units.max()) + 1
    if count < 2:
        raise InputError("groups: expected at least two groups, received only one")
    sums = csr_array((weights, (units, cells)), (count, len(shares)))
    by_column = csr_array((weights, (units, columns)), (count, shares.shape[1]))
    expected = shares @ (by_column.T @ sums).toarray()
    squares = shares @ (by_column.T @ by_column).toarray() @ shares.T
    spread = (sums.T @ sums).toarray() - expected - expected.T + squares
    return spread * count / (count - 1)


def _closest(of_class: Floats, shares: Floats, covariance: Floats) -> Floats:
    """The weights of the classes, of sum 1, whose mixture is closest to the shares."""
    spread = np.linalg.pinv(covariance, rcond=1e-10, hermitian=True)
    base, others = of_class[:, -1], of_class[:, :-1] - of_class[:, -1:]
    found = np.linalg.pinv(others.T @ spread @ others) @ (others.T @ spread @ (shares - base))
    return np.append(found, 1 - found.sum())
