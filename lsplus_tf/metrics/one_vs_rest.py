"""One class against the rest: what is found of it, what is mistaken for it, and how it ranks.

A case is taken for a class where that is the most probable one, or with ``threshold=`` where its
probability is at least so much. Several classes may count as one: ``positive=["mel", "bcc"]``.
Values are those of scikit-learn; sample weights count as if each case were repeated. Intervals take
cases of a group as varying together, and weighted cases as as many independent ones as there are:

* shares (sensitivity, specificity, PPV, NPV, prevalence): Agresti and Coull's;
* F1: 2 J / (1 + J) of the share J of hits among all cases that are of the class or taken for it, so
  that Agresti and Coull's interval of J serves it, at 0 and 1 too;
* AUROC: :func:`~lsplus_tf.metrics.delong_interval`;
* AUPRC: :func:`average_precision`.

In simulations of 500 cases the 95% intervals of shares and of F1 covered in 94% to 96% of the
samples where half of the cases were of the class, in groups of five or not. They are wider than
need be where few cases count: where one in 21 was of the class, prevalence and NPV in 95% to 96%,
the sensitivity and F1 in 96% to 99%, and specificity and PPV, which are near 1 or of few cases, in
98% to nearly 100%.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import InputError, check_fraction, check_level, some_of
from lsplus_tf.metrics import forms
from lsplus_tf.metrics.areas import Auroc, AveragePrecision, MeanAuroc, Ranked, Units
from lsplus_tf.metrics.class_shares import SHARES, ByClass, ClassShares
from lsplus_tf.metrics.intervals import Interval
from lsplus_tf.metrics.metric import Form, IntervalMethod, Metric
from lsplus_tf.metrics.resampling import Groups, counted_cases
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.positive import (
    OneVsRest,
    Positive,
    in_precision,
    one_vs_rest,
    positive_classes,
)

__all__ = [
    "average_precision",
    "class_metrics",
    "confusion_matrix",
    "negative_predictive_value",
    "one_vs_rest_metrics",
    "operating_point",
    "positive_predictive_value",
    "prevalence",
    "sensitivity",
    "specificity",
]

AREAS = ("auroc", "auprc")
KEYS = (*SHARES, "f1", *AREAS)
INTERVALS: dict[str, IntervalMethod] = {
    key: "linearised" if key in AREAS else "agresti_coull" for key in KEYS
}


_AT_THRESHOLD = ("sensitivity", "specificity", "ppv", "npv")
_ROUNDING = 1e-12  # of sums of weights


@dataclass(frozen=True)
class _Target:
    """A class, or several that count as one."""

    name: str
    classes: list[int]


def class_metrics(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | Sequence[Positive] | None = None,
    threshold: float | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """Each class against the rest: sensitivity, specificity, PPV, NPV, F1, AUROC and AUPRC.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class by name or number, or several, ``["mel", "bcc"]``, that count as one; or, where one
        of them is itself a sequence, ``[["mel"], ["mel", "bcc"]]``, a list of such. By default each
        of the K classes.
    threshold : float, optional
        In [0, 1]: a case is taken for a class where its probability is at least this. By default
        the most probable class is decided for.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        What each case counts.
    groups : array_like, shape (N,), optional
        A patient or lesion for each case, whose cases vary together; by default those of the
        predictions.
    confidence_level : float
        In (0, 1).

    Returns
    -------
    DataFrame
        For each class and metric, in this order, a row with the columns

        * class: its name, of several with " or " between them;
        * metric: sensitivity, specificity, ppv, npv, prevalence, f1, auroc or auprc;
        * value, low, high: as fractions, with the interval;
        * hits, cases: numerator and denominator of a share, sums of weights where there are some;
          of f1, auroc and auprc, NaN and the cases of the class.

        Of predictions with the predicted class and its confidence alone auroc and auprc are NaN.

    Raises
    ------
    InputError
        If an argument is not as above, or there is a single group.

    Warns
    -----
    UserWarning
        Once, where something is NaN, which says why: a class without cases has no sensitivity, one
        that is never predicted no PPV, one of a single case no interval of its AUROC.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]] * 4
    >>> table = class_metrics([0, 0, 0, 1, 1] * 4, p, positive=1)
    >>> table.query("metric == 'sensitivity'").round(2)
      class       metric  value   low  high  hits  cases
    0     1  sensitivity    0.5  0.17  0.83   4.0    8.0
    """
    given = as_predictions(
        labels,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
    )
    targets = _targets(positive, given.class_names)
    (given,), codes = counted_cases([given], groups)
    found = _measure(
        given, targets, KEYS, threshold, codes, check_level("confidence_level", confidence_level)
    )
    _warn_of_nan("class_metrics", targets, found, known=given.kind != "confidence")
    names = [target.name for target in targets]
    columns = {
        name: np.stack([getattr(found[key], name) for key in KEYS], axis=1).ravel()
        for name in ("value", "low", "high", "hits", "cases")
    }
    return pd.DataFrame(
        {"class": np.repeat(names, len(KEYS)), "metric": list(KEYS) * len(names), **columns}
    )


def those_first(
    measure: Callable[..., pd.DataFrame],
    predictions: Predictions,
    first: Sequence[tuple[int, ...]],
) -> pd.DataFrame:
    """A table of every class, and of several that count as one; some of them first.

    All single classes are measured at once, which is faster than one after the other.

    Parameters
    ----------
    measure : callable
        Of predictions and `positive`, such as :func:`class_metrics`: a table with a column "class".
    predictions : Predictions
    first : sequence of tuple of int
        Those that come first.
    """
    names = [" or ".join(predictions.class_names[k] for k in each) for each in first]
    several = [each for each in first if len(each) > 1]
    tables = [measure(predictions), *(measure(predictions, positive=each) for each in several)]
    table = pd.concat(tables, ignore_index=True)
    place = table["class"].map({name: k for k, name in enumerate(names)}).fillna(len(names))
    return table.iloc[place.argsort(kind="stable")].reset_index(drop=True)


def sensitivity(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | None = None,
    threshold: float | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """Share of the cases of a class that are taken for it: its recall.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class by name or number, or several that count as one; by default class 2 of 2.
    threshold : float, optional
        In [0, 1]: a case is taken for the class where its probability is at least this. By default
        where the class is the most probable one.
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
        NaN, with a warning, where no case is of the class.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]] * 4
    >>> found = sensitivity([0, 0, 0, 1, 1] * 4, p)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.5, 0.168, 0.832)
    """
    return _single(
        "sensitivity",
        "sensitivity",
        labels,
        probabilities,
        positive,
        threshold,
        from_logits,
        sample_weight,
        groups,
        confidence_level,
    )


def specificity(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | None = None,
    threshold: float | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """Share of the cases of other classes that are not taken for a class.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class by name or number, or several that count as one; by default class 2 of 2.
    threshold : float, optional
        In [0, 1]: a case is taken for the class where its probability is at least this. By default
        where the class is the most probable one.
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
        NaN, with a warning, where all cases are of the class.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]] * 4
    >>> found = specificity([0, 0, 0, 1, 1] * 4, p)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.667, 0.359, 0.891)
    """
    return _single(
        "specificity",
        "specificity",
        labels,
        probabilities,
        positive,
        threshold,
        from_logits,
        sample_weight,
        groups,
        confidence_level,
    )


def positive_predictive_value(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | None = None,
    threshold: float | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """Share of the cases taken for a class that are of it: its precision.

    It holds for the prevalence of these cases; where the class is rarer, it is lower.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class by name or number, or several that count as one; by default class 2 of 2.
    threshold : float, optional
        In [0, 1]: a case is taken for the class where its probability is at least this. By default
        where the class is the most probable one.
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
        NaN, with a warning, where no case is taken for the class.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]] * 4
    >>> found = positive_predictive_value([0, 0, 0, 1, 1] * 4, p)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.5, 0.168, 0.832)
    """
    return _single(
        "positive_predictive_value",
        "ppv",
        labels,
        probabilities,
        positive,
        threshold,
        from_logits,
        sample_weight,
        groups,
        confidence_level,
    )


def negative_predictive_value(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | None = None,
    threshold: float | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """Share of the cases not taken for a class that are of another one.

    It holds for the prevalence of these cases; where the class is more frequent, it is lower.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class by name or number, or several that count as one; by default class 2 of 2.
    threshold : float, optional
        In [0, 1]: a case is taken for the class where its probability is at least this. By default
        where the class is the most probable one.
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
        NaN, with a warning, where all cases are taken for the class.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]] * 4
    >>> found = negative_predictive_value([0, 0, 0, 1, 1] * 4, p)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.667, 0.359, 0.891)
    """
    return _single(
        "negative_predictive_value",
        "npv",
        labels,
        probabilities,
        positive,
        threshold,
        from_logits,
        sample_weight,
        groups,
        confidence_level,
    )


def prevalence(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """Share of the cases that are of a class.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class by name or number, or several that count as one; by default class 2 of 2.
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
        Never NaN.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]] * 4
    >>> found = prevalence([0, 0, 0, 1, 1] * 4, p)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.4, 0.204, 0.629)
    """
    return _single(
        "prevalence",
        "prevalence",
        labels,
        probabilities,
        positive,
        None,
        from_logits,
        sample_weight,
        groups,
        confidence_level,
    )


def average_precision(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Interval:
    """Area under the precision-recall curve of a class, as steps: average precision.

    scikit-learn's ``average_precision_score``, ranked by the log-odds. Chance has the class's
    prevalence.

    The interval is Wilson's of a share of the positives, whose variance is multiplied by how much
    larger the infinitesimal jackknife's is, taken as 1 for four more cases, or groups: as
    :func:`~lsplus_tf.metrics.delong_interval` does. In simulations of 500 cases, with 24 positives
    or 250, in groups of five or not, it covered in 94% to 96% of the samples. Of fewer positives
    the value itself is too large, by 0.06 where ten of 500 have an average precision of 0.19; there
    it covered in 92% to 94%.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class by name or number, or several that count as one; by default class 2 of 2.
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
        NaN, with a warning, where no case is of the class. Where all of its cases are above all
        others, the interval is that of a share of its cases of which all are found.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]] * 4
    >>> found = average_precision([0, 0, 0, 1, 1] * 4, p)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.75, 0.428, 0.923)
    """
    return _single(
        "average_precision",
        "auprc",
        labels,
        probabilities,
        positive,
        None,
        from_logits,
        sample_weight,
        groups,
        confidence_level,
    )


def _targets(
    positive: Positive | Sequence[Positive] | None, class_names: Sequence[str]
) -> list[_Target]:
    every: list[Any] = [positive]
    if positive is None:
        every = list(range(len(class_names)))
    elif _is_list(positive) and any(not isinstance(e, str | int | np.integer) for e in positive):
        every = list(positive)
    return [_of_classes(each, class_names) for each in every]


def _rankings(
    predictions: Predictions, targets: Sequence[_Target], probability: bool
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """The ranking and the probability of each target; the latter if it is asked for."""
    if len(predictions.class_names) > 2 and _are_all(targets, predictions):
        rankings = (ranking for _, ranking in predictions.rankings())
        if probability and predictions.kind == "logits":
            yield from zip(rankings, (column for _, column in predictions.columns()), strict=True)
        else:
            yield from ((ranking, ranking) for ranking in rankings)
    else:
        for target in targets:
            found = one_vs_rest(predictions, target.classes)
            yield found.ranking, found.probability


def _are_all(targets: Sequence[_Target], predictions: Predictions) -> bool:
    """Whether they are the classes, in their order."""
    return [target.classes for target in targets] == [
        [k] for k in range(len(predictions.class_names))
    ]


def _measure(
    predictions: Predictions,
    targets: Sequence[_Target],
    keys: Sequence[str],
    threshold: float | None,
    groups: Groups,
    confidence_level: float,
) -> dict[str, ByClass]:
    samples, names = len(predictions), predictions.class_names
    units, weights = Units.of(groups, samples), predictions.weights
    areas = [key for key in AREAS if key in keys]
    known = predictions.kind != "confidence"
    columns: Iterator[tuple[Any, Any]] = iter([(None, None)] * len(targets))
    if known and (areas or threshold is not None):
        columns = _rankings(predictions, targets, threshold is not None)
    true, decided, both = [], [], []
    first_of_two = [0] if len(names) == 2 else None  # whose area is that of the other
    rows: dict[str, list[Interval]] = {key: [] for key in areas}
    mean = MeanAuroc() if known and "auroc" in areas and _are_all(targets, predictions) else None
    for target, (ranking, probability) in zip(targets, columns, strict=True):
        inside = np.zeros(len(names), bool)
        inside[target.classes] = True
        own = np.flatnonzero(inside[predictions.labels])
        limit = _limit(predictions, threshold, target.classes)
        taken = inside[predictions.predicted] if threshold is None else probability >= limit
        true.append(own)
        decided.append(np.flatnonzero(taken))
        both.append(own[taken[own]])
        if not areas:
            continue
        ranked = None if ranking is None else Ranked(ranking, own, weights)
        area = None if ranked is None or "auroc" not in areas else Auroc.of(ranked, units)
        for key, interval in _areas(areas, ranked, area, units, confidence_level).items():
            rows[key].append(interval)
        if mean is not None and area is not None and target.classes != first_of_two:
            mean.add(area)
    if mean is not None:
        mean.keep(predictions, groups)
    shares = ClassShares(true, decided, both, weights, units)
    found = {key: shares.share(key, confidence_level) for key in SHARES if key in keys}
    if "f1" in keys:
        found["f1"] = shares.f1(confidence_level)
    for key, intervals in rows.items():
        found[key] = ByClass.of(intervals, shares.positives)
    return {key: found[key] for key in keys}


def _areas(
    keys: Sequence[str],
    ranked: Ranked | None,
    auroc: Auroc | None,
    units: Units,
    confidence_level: float,
) -> dict[str, Interval]:
    nan = float("nan")
    empty = Interval(nan, nan, nan, nan, confidence_level, "linearised", 0, 0)
    found = dict.fromkeys(keys, empty)
    if auroc is not None and not np.isnan(auroc.value):
        found["auroc"] = auroc.interval(confidence_level)
    if ranked is not None and "auprc" in keys and not np.isnan(ranked.auprc):
        found["auprc"] = AveragePrecision.of(ranked, units).interval(confidence_level)
    return found


# Why a metric is NaN.
_REASONS = {
    "sensitivity": "no case is of class {}",
    "specificity": "all cases are of class {}",
    "ppv": "no case is taken for class {}",
    "npv": "all cases are taken for class {}",
    "f1": "no case is of class {} or taken for it",
    "auroc": "no case, or all, are of class {}",
    "auprc": "no case is of class {}",
}


def _warn_of_nan(
    what: str,
    targets: Sequence[_Target],
    found: dict[str, ByClass],
    stacklevel: int = 3,
    *,
    known: bool = True,
) -> None:
    """One warning of all that is NaN in a result; `known` is whether the probabilities are."""
    names = np.array([target.name for target in targets], object)
    parts: dict[str, list[str]] = {}
    for key, each in found.items():
        absent = np.isnan(each.value)
        bare = np.isnan(each.low) & ~absent
        if absent.any():
            reason = f"as {_REASONS[key].format(some_of([*names[absent]]))}"
            if key in AREAS and not known:
                reason = "as the probabilities of all classes are not known"
            parts.setdefault(reason, []).append(key)
        if bare.any():
            listed = some_of([*names[bare]])
            reason = (
                f"(the interval), as too few cases or groups are of class {listed} or its rest, or "
                "all rank alike"
            )
            parts.setdefault(reason, []).append(key)
    if parts:
        text = "; ".join(f"{', '.join(keys)} {reason}" for reason, keys in parts.items())
        warnings.warn(f"{what}: NaN are {text}", stacklevel=stacklevel)


def _single(
    function: str,
    key: str,
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None,
    positive: Positive | None,
    threshold: float | None,
    from_logits: bool,
    sample_weight: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
    confidence_level: float,
) -> Interval:
    given = as_predictions(
        labels,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
    )
    if key in AREAS:
        given.need("probabilities")
    level = check_level("confidence_level", confidence_level)
    targets = [_target(positive, given.class_names)]
    (given,), codes = counted_cases([given], groups)
    found = _measure(given, targets, (key,), threshold, codes, level)
    _warn_of_nan(function, targets, found, 4)
    return found[key].interval(0, level, INTERVALS[key])


def _is_list(positive: Any) -> TypeGuard[Iterable[Any]]:
    return isinstance(positive, Iterable) and not isinstance(positive, str)


def _target(positive: Positive | None, class_names: Sequence[str]) -> _Target:
    """By default class 2 of 2."""
    if positive is None:
        if len(class_names) != 2:
            raise InputError(
                f"positive: expected one of the classes {some_of(class_names, 12)}, or several, "
                "against the rest, received None, which stands for class 2 of 2"
            )
        positive = 1
    return _of_classes(positive, class_names)


def _of_classes(positive: Positive, class_names: Sequence[str]) -> _Target:
    chosen = positive_classes(positive, class_names)
    return _Target(" or ".join(class_names[k] for k in chosen), chosen)


def confusion_matrix(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """How often each class is taken for each other, by the most probable class.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    from_logits : bool
        Whether the rows are logits.
    sample_weight : array_like, shape (N,), optional
        What each case counts.

    Returns
    -------
    DataFrame, shape (K, K)
        Rows are true classes, columns predicted ones, by name; numbers of cases, or sums of their
        weights where there are some.

    Examples
    --------
    >>> confusion_matrix([0, 0, 1], [[0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]).to_numpy().tolist()
    [[1, 1], [0, 1]]
    """
    given = as_predictions(
        labels,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
    )
    names = list(given.class_names)
    places = given.labels * len(names) + given.predicted
    counts = np.bincount(places, given.sample_weight, minlength=len(names) ** 2)
    return pd.DataFrame(
        counts.reshape(len(names), -1),
        pd.Index(names, name="true"),
        pd.Index(names, name="predicted"),
    )


def operating_point(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | None = None,
    threshold: float | None = None,
    sensitivity: float | None = None,
    specificity: float | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> pd.DataFrame:
    """A class against the rest at a threshold, or at the one that a sensitivity or such asks for.

    Give exactly one of `threshold`, `sensitivity` and `specificity`. A case is taken for the class
    where its probability is at least the threshold, and cases of equal probability all together, so
    that what is wanted may be exceeded. The intervals take the threshold as given: where it was
    chosen on these very cases they are optimistic, and the share that was asked for is met by
    construction. Choose it on other cases, such as a validation split, and give it as `threshold`.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class by name or number, or several that count as one; by default class 2 of 2.
    threshold : float, optional
        In [0, 1].
    sensitivity : float, optional
        In [0, 1]: the largest threshold whose sensitivity is at least this.
    specificity : float, optional
        In [0, 1]: the smallest of the cases' probabilities, or the next number above all of them,
        whose specificity is at least this.
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
    DataFrame
        The columns of :func:`class_metrics` with the threshold after the class, in rows for
        sensitivity, specificity, ppv, npv and f1. The threshold and all values are NaN where none
        in [0, 1] gives what is wanted: no case is of the class, or too many others have probability
        1.

    Raises
    ------
    InputError
        If an argument is not as above, or there is a single group.

    Warns
    -----
    UserWarning
        If something is NaN.

    Examples
    --------
    >>> p = [[0.8, 0.2], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]] * 4
    >>> operating_point([0, 0, 0, 1, 1] * 4, p, sensitivity=0.9).round(2)
      class  threshold       metric  value   low  high  hits  cases
    0     1        0.3  sensitivity   1.00  0.59  1.00   8.0    8.0
    1     1        0.3  specificity   0.33  0.11  0.64   4.0   12.0
    2     1        0.3          ppv   0.50  0.26  0.74   8.0   16.0
    3     1        0.3          npv   1.00  0.36  1.00   4.0    4.0
    4     1        0.3           f1   0.67  0.41  0.85   NaN    8.0
    """
    wanted = {"threshold": threshold, "sensitivity": sensitivity, "specificity": specificity}
    chosen = {name: value for name, value in wanted.items() if value is not None}
    if len(chosen) != 1:
        raise InputError(
            "threshold, sensitivity, specificity: expected exactly one of them, received "
            f"{' and '.join(chosen) or 'none'}"
        )
    ((name, value),) = chosen.items()
    check_fraction(name, value)
    level = check_level("confidence_level", confidence_level)
    given = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    given.need("probabilities")
    target = _target(positive, given.class_names)
    (given,), codes = counted_cases([given], groups)
    against, weights = one_vs_rest(given, target.classes), given.weights
    if name == "threshold":
        cut = _limit(given, value, target.classes)
    else:
        cut = _cut(
            name,
            float(value),
            against.probability,
            against.outcome,
            weights,
            lambda largest: _above(given, target.classes, largest),
        )
        if np.isnan(cut):
            warnings.warn(
                f"operating_point is NaN: no threshold in [0, 1] has a {name} of {value} for "
                f"class {target.name}",
                stacklevel=2,
            )
    rows = _shares_at(cut, against, weights, Units.of(codes, len(given)), level)
    if not np.isnan(cut):
        _warn_of_nan("operating_point", [target], rows)
    return _at(cut, target, rows)


# Records -----------------------------------------------------------------------------------------

_NAMES = {
    "sensitivity": ("sensitivity", "Sensitivity"),
    "specificity": ("specificity", "Specificity"),
    "ppv": ("positive_predictive_value", "PPV"),
    "npv": ("negative_predictive_value", "NPV"),
    "prevalence": ("prevalence", "Prevalence"),
    "f1": ("class_metrics", "F1"),
    "auroc": ("delong_interval", "AUROC"),
    "auprc": ("average_precision", "AUPRC"),
}


def one_vs_rest_metrics(positive: Positive, *, threshold: float | None = None) -> dict[str, Metric]:
    """Records of one class against the rest, for intervals, tests and comparisons.

    :func:`~lsplus_tf.metrics.bootstrap_interval`, :func:`~lsplus_tf.metrics.paired_bootstrap`,
    :func:`~lsplus_tf.metrics.permutation_test` and :func:`~lsplus_tf.metrics.compare_methods` take
    them in place of a metric's name.

    Parameters
    ----------
    positive : str, int, or sequence
        A class by name or number, or several that count as one. Whether the predictions have such
        is checked when a metric is measured.
    threshold : float, optional
        In [0, 1]: a case is taken for the class where its probability is at least this. By default
        where the class is the most probable one.

    Returns
    -------
    dict of str to Metric
        By the names that :func:`class_metrics` has: sensitivity, specificity, ppv, npv, prevalence,
        f1, auroc and auprc. Their own keys say the class too, as in "sensitivity of mel".

    Raises
    ------
    InputError
        If the threshold is not as above.

    Examples
    --------
    >>> from lsplus_tf.metrics import paired_bootstrap
    >>> a, b = [[0.9, 0.1], [0.2, 0.8]] * 50, [[0.6, 0.4], [0.6, 0.4]] * 50
    >>> found = one_vs_rest_metrics(1)["sensitivity"]
    >>> found.key, found.heading, found.interval
    ('sensitivity of 1', 'Sensitivity', 'agresti_coull')
    >>> paired_bootstrap(found, [0, 1] * 50, a, b, num_resamples=100).difference.value
    1.0
    """
    if threshold is not None:
        check_fraction("threshold", threshold)
    name = " or ".join(map(str, positive)) if _is_list(positive) else str(positive)
    return {key: _record(key, name, positive, threshold) for key in KEYS}


def _record(key: str, of: str, positive: Positive, threshold: float | None) -> Metric:
    function, name = _NAMES[key]

    def form(predictions: Predictions) -> Form:
        predictions.need("labels")
        outcome, taken, ranking = _of_one(predictions, positive, threshold, key in AREAS)
        if key == "auroc":
            return forms.mean_area(predictions, [(ranking, np.flatnonzero(outcome))])
        if key == "auprc":
            return forms.from_the_top(forms.precision_area, predictions, ranking, outcome)
        hits, cases = _counted(key, outcome, taken)
        return forms.share_of(hits, cases, predictions.sample_weight)

    def value(predictions: Predictions, _: Convention) -> float:
        outcome, taken, ranking = _of_one(predictions, positive, threshold, key in AREAS)
        if key in AREAS:
            ranked = Ranked(ranking, np.flatnonzero(outcome), predictions.weights)
            return ranked.auroc if key == "auroc" else ranked.auprc
        hits, cases = (predictions.weights @ each for each in _counted(key, outcome, taken))
        return min(1.0, float(hits / cases)) if cases > 0 else float("nan")

    def interval(predictions: Predictions, groups: Groups, confidence_level: float) -> Interval:
        target = _target(positive, predictions.class_names)
        found = _measure(predictions, [target], (key,), threshold, groups, confidence_level)
        _warn_of_nan(f"{key} of {target.name}", [target], found, 6)
        return found[key].interval(0, confidence_level, INTERVALS[key])

    return Metric(
        key=f"{key} of {of}",
        function=function,
        name=f"{name} of {of}",
        short=name,
        better=0 if key == "prevalence" else 1,
        value=value,
        form=form,
        ranks=key in AREAS,
        interval=INTERVALS[key],
        evaluated=False,
        needs="all" if key in AREAS or threshold is not None else "top",
        analytic=interval,
    )


def _of_one(
    predictions: Predictions, positive: Positive, threshold: float | None, ranks: bool
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[Any]]:
    """Whether each case is of the class, whether it is taken for it, and its rank."""
    if ranks or threshold is not None:
        against = one_vs_rest(predictions, positive)
        classes = positive_classes(positive, predictions.class_names)
        limit = _limit(predictions, threshold, classes)
        taken = against.predicted if threshold is None else against.probability >= limit
        return against.outcome, taken, against.ranking
    inside = np.zeros(len(predictions.class_names), bool)
    inside[positive_classes(positive, predictions.class_names)] = True
    return inside[predictions.labels], inside[predictions.predicted], np.empty(0)


def _counted(
    key: str, outcome: npt.NDArray[np.bool_], taken: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Numerator and denominator (N,) of a ratio: what each case adds to both."""
    hits, cases = {
        "sensitivity": (taken & outcome, outcome),
        "specificity": (~taken & ~outcome, ~outcome),
        "ppv": (taken & outcome, taken),
        "npv": (~taken & ~outcome, ~taken),
        "prevalence": (outcome, np.ones_like(outcome)),
        "f1": (2 * (taken & outcome), 1 * outcome + taken),
    }[key]
    return hits.astype(np.float64), cases.astype(np.float64)


def _limit(predictions: Predictions, threshold: float | None, classes: Sequence[int]) -> float:
    """The threshold as the probabilities have it."""
    if threshold is None:
        return 0.0
    predictions.need("probabilities")
    return float(in_precision(check_fraction("threshold", threshold), predictions, classes))


def _above(predictions: Predictions, classes: Sequence[int], probability: float) -> float:
    """The next number, as the probability has them."""
    step = np.finfo(predictions.probabilities.dtype).eps / 2
    found = probability
    while found <= probability:
        step *= 2
        found = float(in_precision(probability * (1 + step), predictions, classes))
    return found


def _cut(
    name: str,
    wanted: float,
    probability: npt.NDArray[np.float64],
    outcome: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64],
    next_above: Callable[[float], float],
) -> float:
    """The threshold that a sensitivity or a specificity asks for; NaN where there is none."""
    places, where = np.unique(probability, return_inverse=True)
    counts = np.where(outcome if name == "sensitivity" else ~outcome, weights, 0.0)
    mass = np.bincount(where, counts)
    if not mass.sum() > 0:
        return float("nan")
    below = np.concatenate(([0.0], np.cumsum(mass))) / mass.sum()  # of each place, and of above all
    if name == "sensitivity":
        return float(places[np.flatnonzero(1 - below[:-1] >= wanted - _ROUNDING)[-1]])
    first = int(np.argmax(below >= wanted - _ROUNDING))
    if first < places.size:
        return float(places[first])
    above = next_above(float(places[-1]))
    return above if above <= 1 else float("nan")


def _shares_at(
    cut: float,
    against: OneVsRest,
    weights: npt.NDArray[np.float64],
    units: Units,
    confidence_level: float,
) -> dict[str, ByClass]:
    taken = against.probability >= cut
    true, decided, both = (
        [np.flatnonzero(each)] for each in (against.outcome, taken, against.outcome & taken)
    )
    shares = ClassShares(true, decided, both, weights, units)
    found = {key: shares.share(key, confidence_level) for key in _AT_THRESHOLD}
    return found | {"f1": shares.f1(confidence_level)}


def _at(cut: float, target: _Target, rows: dict[str, ByClass]) -> pd.DataFrame:
    columns = {
        name: [float("nan") if np.isnan(cut) else getattr(each, name)[0] for each in rows.values()]
        for name in ("value", "low", "high", "hits", "cases")
    }
    head = {"class": target.name, "threshold": cut, "metric": list(rows)}
    return pd.DataFrame(head | columns)
