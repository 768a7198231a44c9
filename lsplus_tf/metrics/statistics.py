"""How far a metric can be trusted: bootstrap intervals, tests between models and between methods.

Two models on the same samples: :func:`paired_bootstrap` and :func:`permutation_test`. Two or more
methods over seeds or data sets: :func:`compare_scores` and :func:`friedman_test`. The predictions
and the errors raised are those of :mod:`lsplus_tf.metrics.functional`.

A metric is a key of :data:`lsplus_tf.metrics.METRICS`, such as "ece", in the standard convention
and with 15 bins, or a function of labels (N,) and probabilities (N, K) that returns a number, such
as ``partial(expected_calibration_error, num_bins=10)``, which is evaluated once for each resample.
A public function that is a metric of a key, with its defaults, such as
``expected_calibration_error``, is that metric.
With sample weights a function is called with ``sample_weight=`` too.

More than 5,000 samples or groups are drawn in 5,000 random blocks, and the metrics that sort the
samples, such as the AUROC, on a random part of more than 10,000 samples, fewer with many classes;
:mod:`lsplus_tf.metrics.resampling` says why that changes little.

A class may be absent from a resample. balanced_accuracy, precision, recall and f1 are then means
over the classes present, as always. auroc is undefined: such resamples are left out, a warning and
``num_undefined`` say how many, and where their share is above 1 - confidence_level, what the
interval leaves outside, its bounds are NaN. ``stratify=True`` draws within each class instead, and
:func:`~lsplus_tf.metrics.delong_interval` and :func:`~lsplus_tf.metrics.delong_test` draw nothing.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from lsplus_tf.errors import (
    MOST_RESAMPLES,
    InputError,
    check_choice,
    check_count,
    check_flag,
    check_level,
    check_seed,
)
from lsplus_tf.metrics._method_tests import (
    HypothesisTest,
    compare_scores,
    friedman_test,
    holm,
)
from lsplus_tf.metrics.intervals import Interval, bootstrap, rounding, share_interval
from lsplus_tf.metrics.metric import IntervalMethod, Metric, Sums
from lsplus_tf.metrics.records import METRICS, OF_FUNCTIONS
from lsplus_tf.metrics.resampling import (
    Groups,
    counted,
    counted_cases,
    exchange,
    of_function,
    resample,
)
from lsplus_tf.predictions import Predictions, as_predictions, ordered_as
from lsplus_tf.predictions.predictions import of_one_kind, weighted_alike

Function = Callable[[npt.NDArray[np.int64], Any], Any]
NUM_RESAMPLES = 1000
Resampling = Literal["percentile", "bca", "reflected"]
_ANALYTIC = ("agresti_coull", "linearised")

__all__ = [
    "HypothesisTest",
    "Interval",
    "PairedDifference",
    "bootstrap_interval",
    "compare_scores",
    "friedman_test",
    "holm",
    "paired_bootstrap",
    "permutation_test",
    "spiegelhalter_test",
]


@dataclass(frozen=True)
class PairedDifference:
    """Two models on the same samples: each one's metric, a's less b's, and a two-sided p value.

    Attributes
    ----------
    value_a, value_b : float
        The metric of each.
    difference : Interval
        Of a less b.
    p_value : float
        In (0, 1]; NaN where the interval does not exist.

    Examples
    --------
    >>> a, b = [[0.8, 0.2], [0.3, 0.7]] * 20, [[0.8, 0.2], [0.6, 0.4]] * 20
    >>> paired = paired_bootstrap("accuracy", [0, 1] * 20, a, b)
    >>> paired.value_a, paired.value_b, paired.difference.value, paired.p_value < 0.05
    (1.0, 0.5, 0.5, True)
    """

    value_a: float
    value_b: float
    difference: Interval
    p_value: float


def bootstrap_interval(
    metric: str | Metric | Function,
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    confidence_level: float = 0.95,
    method: IntervalMethod | None = None,
    num_resamples: int = NUM_RESAMPLES,
    groups: npt.ArrayLike | None = None,
    stratify: bool = False,
    seed: int = 0,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> Interval:
    """Confidence interval of a metric, by the method that is right for it.

    An audit and a report have the same interval of the same predictions.

    The binned calibration errors of a finite sample are too large, and those of a resample larger
    still, so that with few samples percentiles lie too high and the reflected interval covers best.
    In a simulation of two-class models with confidences uniform in [0.5, 1] and 0.05 above the
    accuracy, whose ECE is 0.05, the 95% interval covered 0.05 in 90% of samples of N = 200
    (percentile: 27%, BCa: 81%); at N = 1,000 and 5,000 each of the three covered some 85% to
    95%. With calibrated models at N = 200 it covered 0 in some 60%, and the other two never. It is
    of the binned error: for one without the bias, give
    :func:`~lsplus_tf.metrics.debiased_calibration_error` as the function: its percentile interval
    covered 85% at N = 200, and 79% of calibrated models.

    Parameters
    ----------
    metric : str, Metric or callable
        A name, a record or a function of (labels, probabilities); see the head of this module.
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
        N >= 2.
    confidence_level : float
        In (0, 1).
    method : {"percentile", "bca", "reflected", "agresti_coull", "linearised"}, optional
        :mod:`lsplus_tf.metrics.intervals` has them. By default that of the metric's record: for
        shares of the samples (accuracy, top1_error, top5_error) "agresti_coull" and for the AUROC
        "linearised", :func:`~lsplus_tf.metrics.delong_interval`, both of which draw no resamples
        and are for them alone; for the ECE, ACE, SCE and MCE "reflected"; for the others, and
        functions of your own, "percentile".
    num_resamples : int
        At least 1; some thousands for bounds that another seed would not move.
    groups : array_like, shape (N,), optional
        A patient or lesion for each sample; by default those of the predictions. Whole groups are
        then drawn, as many as there are: samples of one patient are no independent evidence, and
        without groups the interval would be too narrow.
    stratify : bool
        Whether as many samples of each class are drawn as there are, so that none is absent from a
        resample. It answers another question: how the metric would vary in samples with these very
        numbers of each class, as where they were collected so. What new patients would give varies
        more, as their numbers would, in an accuracy or a calibration error; a sensitivity or an
        AUROC hardly knows the difference. With groups, each is drawn among those whose rarest class
        is the same; the numbers are then nearly fixed. A class of one sample, or group, is in every
        resample and seems not to vary at all. The method is then "percentile" where it would be one
        without resamples.
    seed : int
        The same seed gives the same interval.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts, in the metric and on each resample; see
        :mod:`lsplus_tf.metrics.weighted`. Each row counts as one independent sample,
        whatever the weights sum to. Of 500 samples with
        exponential weights that were three times as large where the model erred, 95% intervals of
        accuracy, NLL, Brier score and AUROC covered in 91 to 95% where classes were balanced, also
        in groups, and in 87 to 92% at 1:20, where few samples decide (without weights 93 to 96%).

    Returns
    -------
    Interval
        Its bounds are NaN where all resamples are alike, which a warning says: the bootstrap cannot
        tell what the sample does not show.

    Raises
    ------
    InputError
        If an argument is not as above, or there is a single sample or group.

    Warns
    -----
    UserWarning
        If the metric is undefined on resamples, if all resamples give the same value, or if the
        value is outside the central 90% of theirs: resampling then biases the metric by more than
        it varies, as it does the ECE of a nearly calibrated model with percentiles or BCa, whose
        interval may leave out the value itself.

    References
    ----------
    Efron, Annals of Statistics 7, 1979; Efron, JASA 82, 1987 (BCa); DiCiccio and Efron, Statistical
    Science 11, 1996.

    Examples
    --------
    >>> interval = bootstrap_interval("accuracy", [0, 0, 1, 0] * 25, [[0.9, 0.1], [0.6, 0.4]] * 50)
    >>> interval.value, round(interval.low, 2), round(interval.high, 2)
    (0.75, 0.65, 0.83)
    """
    record = _record(metric)
    _check_options(confidence_level, num_resamples, seed)
    check_flag("stratify", stratify)
    if method is not None:
        check_choice("method", method, IntervalMethod)
        if stratify and method in _ANALYTIC:
            raise InputError(
                f"stratify: expected a method that draws resamples, received {method!r}, which "
                "draws none"
            )
    given = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    _check_rows(given)
    (given,), codes = counted_cases([given], groups)
    (found,) = intervals_of(
        [record],
        given,
        confidence_level=confidence_level,
        method=method,
        num_resamples=num_resamples,
        groups=codes,
        stratify=stratify,
        seed=seed,
    )
    return found


def intervals_of(
    metrics: Sequence[Metric],
    predictions: Predictions,
    *,
    confidence_level: float = 0.95,
    method: IntervalMethod | None = None,
    num_resamples: int = NUM_RESAMPLES,
    groups: Groups = None,
    stratify: bool = False,
    seed: int = 0,
) -> list[Interval]:
    """:func:`bootstrap_interval` of several metrics at once, which draws resamples once.

    Parameters
    ----------
    metrics : sequence of Metric
        Of :data:`lsplus_tf.metrics.METRICS`.
    predictions : Predictions
    confidence_level, method, num_resamples, stratify, seed
        As :func:`bootstrap_interval` takes them.
    groups : ndarray of int, shape (N,), or None
        The number of each case's group; of the predictions' own only if they are given.

    Returns
    -------
    list of Interval

    Examples
    --------
    >>> predictions = Predictions([0, 0, 1, 0] * 25, [[0.9, 0.1], [0.6, 0.4]] * 50)
    >>> found = intervals_of([METRICS["accuracy"], METRICS["brier"]], predictions)
    >>> [round(each.value, 3) for each in found]
    [0.75, 0.57]
    """
    (predictions,), groups = counted([predictions], groups)
    methods = [method or metric.interval for metric in metrics]
    if stratify:
        methods = ["percentile" if chosen in _ANALYTIC else chosen for chosen in methods]
    drawn = [m for m, chosen in zip(metrics, methods, strict=True) if chosen not in _ANALYTIC]
    resampled = iter(
        resample(
            drawn,
            [predictions],
            groups,
            num_resamples,
            seed,
            without_one=method == "bca",
            stratify=stratify,
        )
    )
    found = []
    for metric, chosen in zip(metrics, methods, strict=True):
        if chosen in _ANALYTIC:
            found.append(_without_resamples(metric, chosen, predictions, groups, confidence_level))
            continue
        here = next(resampled)
        value, bounds = float(here.values[0]), metric.bounds
        settings = confidence_level, chosen, bounds
        found.append(bootstrap(value, here.drawn[0], here.left_out[0], *settings, 4)[0])
    return found


def paired_bootstrap(
    metric: str | Metric | Function,
    labels: npt.ArrayLike | Predictions,
    probabilities_a: npt.ArrayLike | Predictions,
    probabilities_b: npt.ArrayLike | None = None,
    *,
    confidence_level: float = 0.95,
    method: Resampling = "percentile",
    num_resamples: int = NUM_RESAMPLES,
    groups: npt.ArrayLike | None = None,
    stratify: bool = False,
    seed: int = 0,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> PairedDifference:
    """Difference of a metric between two models, each resample drawn for both.

    The p value is the smallest significance level whose interval, of this method, leaves 0
    outside; it is at least 2 / (1 + num_resamples). It asks whether the metrics differ in the
    population; :func:`permutation_test` asks whether the models do.

    Parameters
    ----------
    metric : str, Metric or callable
        A name, a record or a function of (labels, probabilities); see the head of this module.
    labels : array_like of int, shape (N,), or Predictions
    probabilities_a, probabilities_b : array_like, shape (N, K), or Predictions
        The two models' predictions of the same samples in the same order: (labels, a, b), or their
        two `Predictions` alone.
    confidence_level, num_resamples, groups, stratify, seed
        As :func:`bootstrap_interval` takes them.
    method : {"percentile", "bca", "reflected"}
        Two models' biases mostly cancel, so that percentiles are right for every metric.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        As :func:`bootstrap_interval` takes it.

    Returns
    -------
    PairedDifference
        Of a less b; p_value in (0, 1], or NaN where the interval does not exist.

    Raises
    ------
    InputError
        If an argument is not as above, or there is a single sample or group.

    Warns
    -----
    UserWarning
        As :func:`bootstrap_interval` does.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 14 and 15.

    Examples
    --------
    >>> a, b = [[0.9, 0.1], [0.2, 0.8]] * 50, [[0.6, 0.4], [0.6, 0.4]] * 50
    >>> result = paired_bootstrap("accuracy", [0, 1] * 50, a, b)
    >>> result.value_a, result.value_b, result.difference.value, round(result.p_value, 3)
    (1.0, 0.5, 0.5, 0.002)
    """
    record = _record(metric)
    _check_options(confidence_level, num_resamples, seed)
    check_choice("method", method, Resampling)
    check_flag("stratify", stratify)
    pair = pair_of(labels, probabilities_a, probabilities_b, from_logits, sample_weight)
    models, codes = counted_cases(pair, groups)
    (found,) = differences_of(
        record,
        models[:1],
        models[1],
        codes,
        confidence_level=confidence_level,
        method=method,
        num_resamples=num_resamples,
        stratify=stratify,
        seed=seed,
        stacklevel=4,
    )
    return found


def differences_of(
    metric: Metric,
    models: Sequence[Predictions],
    base: Predictions,
    groups: Groups,
    *,
    confidence_level: float = 0.95,
    method: Resampling = "percentile",
    num_resamples: int = NUM_RESAMPLES,
    stratify: bool = False,
    seed: int = 0,
    stacklevel: int = 3,
) -> list[PairedDifference]:
    """:func:`paired_bootstrap` of each of several models less one, all on the same resamples.

    They are those that it draws for each pair, drawn once.

    Parameters
    ----------
    metric : Metric
    models : sequence of Predictions
    base : Predictions
        Of the same cases in the same order, with the same sample weights, as every model; none of
        a weight of 0.
    groups : ndarray of int, shape (N,), or None
        The number of each case's group.
    confidence_level, method, num_resamples, stratify, seed
        As :func:`paired_bootstrap` takes them.
    stacklevel : int
        How far up the warnings point.

    Returns
    -------
    list of PairedDifference

    Examples
    --------
    >>> base = Predictions([0, 1] * 20, [[0.8, 0.2], [0.6, 0.4]] * 20)
    >>> model = base.replace(probabilities=[[0.8, 0.2], [0.3, 0.7]] * 20)
    >>> [each.difference.value for each in differences_of(METRICS["accuracy"], [model], base, None)]
    [0.5]
    """
    (found,) = resample(
        [metric],
        [*models, base],
        groups,
        num_resamples,
        seed,
        without_one=method == "bca",
        stratify=stratify,
    )
    *values, last = found.values.tolist()
    results = []
    for value, drawn, left_out in zip(values, found.drawn, found.left_out, strict=False):
        interval = bootstrap(
            value - last,
            drawn - found.drawn[-1],
            left_out - found.left_out[-1],
            confidence_level,
            method,
            None,
            stacklevel,
        )
        results.append(PairedDifference(value, last, *interval))
    return results


def permutation_test(
    metric: str | Metric | Function,
    labels: npt.ArrayLike | Predictions,
    probabilities_a: npt.ArrayLike | Predictions,
    probabilities_b: npt.ArrayLike | None = None,
    *,
    num_permutations: int = 1000,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> HypothesisTest:
    """Test whether two models are exchangeable, by a metric's difference on the same samples.

    Each permutation exchanges the two models' predictions of a random half of the samples, or of
    the groups. Of n of them, p is the share (1 + those with at least as large a difference) /
    (1 + n), two-sided, which makes the test exact for any n; that of a metric on a random part of
    the samples is approximate.

    Parameters
    ----------
    metric : str, Metric or callable
        A name, a record or a function of (labels, probabilities); see the head of this module.
    labels : array_like of int, shape (N,), or Predictions
    probabilities_a, probabilities_b : array_like, shape (N, K), or Predictions
        The two models' predictions of the same samples in the same order: (labels, a, b), or their
        two `Predictions` alone.
    num_permutations : int
        At least 1.
    groups : array_like, shape (N,), optional
        A patient or lesion for each sample, whose samples are exchanged together.
    seed : int
        The same seed gives the same p value.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        As :func:`bootstrap_interval` takes it.

    Returns
    -------
    HypothesisTest
        The metric of a less that of b, and p in (0, 1]; both NaN where the metric is undefined.

    Raises
    ------
    InputError
        If an argument is not as above, or there is a single sample or group.

    References
    ----------
    Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005; Phipson and Smyth,
    Statistical Applications in Genetics and Molecular Biology 9, 2010 (the 1 +).

    Examples
    --------
    >>> a, b = [[0.9, 0.1], [0.2, 0.8]] * 50, [[0.6, 0.4], [0.6, 0.4]] * 50
    >>> result = permutation_test("accuracy", [0, 1] * 50, a, b)
    >>> result.statistic, round(result.p_value, 4)
    (0.5, 0.001)
    """
    check_count("num_permutations", num_permutations, most=MOST_RESAMPLES)
    check_seed(seed)
    record = _record(metric)
    pair = pair_of(labels, probabilities_a, probabilities_b, from_logits, sample_weight)
    models, codes = counted_cases(pair, groups)
    first, second = (record.value(model, "standard") for model in models)
    observed = first - second
    if np.isnan(observed):
        return HypothesisTest(observed, float("nan"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        swapped = exchange(record, models, codes, num_permutations, seed)
    if np.isnan(swapped).all():
        return HypothesisTest(observed, float("nan"))
    # An undefined difference counts as a large one.
    smaller = np.abs(swapped) < abs(observed) - rounding(observed)
    larger = num_permutations - np.count_nonzero(smaller)
    return HypothesisTest(observed, float((1 + larger) / (1 + num_permutations)))


def spiegelhalter_test(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> HypothesisTest:
    """Spiegelhalter's z test of calibration: is the Brier score what the probabilities promise?

    Under the null hypothesis each label is drawn from its row p, so that the sample's squared
    distance to the one-hot label has the mean 1 - sum_k p_k^2 and the variance
    4 (sum_k p_k^3 - (sum_k p_k^2)^2). z is the sum of the distances less its mean, over its
    standard deviation: asymptotically standard normal, positive where the model is overconfident.
    For two classes it is Spiegelhalter's statistic,
    sum (y - p)(1 - 2p) / sqrt(sum (1 - 2p)^2 p (1 - p)); for more, all K classes' probabilities
    are tested at once. That it is not significant does not prove calibration: errors of opposite
    sign cancel.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
        Rows are rescaled to sum to 1 exactly.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts in both sums; the variance has the squares of the weights,
        since repeating a row is no more evidence. z does not depend on their scale.

    Returns
    -------
    HypothesisTest
        z and the two-sided p. Where no row leaves the distance to chance, each being one-hot or
        uniform over classes: z is infinite and p = 0 if a class of probability 0 came true, and
        else, nothing being tested, both are NaN with a warning.

    Raises
    ------
    InputError
        If the predictions are not valid.

    Warns
    -----
    UserWarning
        If no row lets the distance vary.

    References
    ----------
    Spiegelhalter, "Probabilistic prediction in patient management and clinical trials", Statistics
    in Medicine 5, 1986.

    Examples
    --------
    >>> result = spiegelhalter_test([0] * 65 + [1] * 35, [[0.8, 0.2]] * 100)
    >>> round(result.statistic, 4), round(result.p_value, 4)
    (3.75, 0.0002)
    """
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    ).counted()
    rows = predictions.probabilities
    first = rows.sum(axis=1, dtype=np.float64)
    second = np.einsum("nk,nk->n", rows, rows, dtype=np.float64)
    third = np.einsum("nk,nk,nk->n", rows, rows, rows, dtype=np.float64)
    expected_true = second / first**2
    variances = third / first**3 - expected_true**2
    excesses = expected_true - predictions.true_probability / first
    if predictions.sample_weight is not None:
        relative = predictions.sample_weight / predictions.sample_weight.max()
        variances, excesses = relative**2 * variances, relative * excesses
    variance, excess = np.sum(variances), np.sum(excesses)
    if variance > 1e-12 * first.size:  # otherwise, rounding
        z = float(excess / np.sqrt(variance))
    elif predictions.true_probability.min() > 0:
        warnings.warn(
            "spiegelhalter_test is NaN: every row is one-hot or uniform over classes, "
            "so that the Brier score does not vary",
            stacklevel=2,
        )
        return HypothesisTest(float("nan"), float("nan"))
    else:
        z = float("inf")
    return HypothesisTest(z, float(2 * special.ndtr(-abs(z))))


def _check_options(confidence_level: float, num_resamples: int, seed: int) -> None:
    check_level("confidence_level", confidence_level)
    check_count("num_resamples", num_resamples, most=MOST_RESAMPLES)
    check_seed(seed)


def _record(metric: str | Metric | Function) -> Metric:
    if isinstance(metric, Metric):
        return metric
    if callable(metric):
        # One of our own, with its defaults, is the metric itself.
        return next((own for it, own in OF_FUNCTIONS if it is metric), None) or of_function(metric)
    if not isinstance(metric, str) or metric not in METRICS:
        listed = ", ".join(METRICS)
        raise InputError(f"metric: expected a function or one of {listed}, received {metric!r}")
    return METRICS[metric]


def _check_rows(predictions: Predictions) -> None:
    if len(predictions) < 2:
        raise InputError("probabilities: expected at least two rows, received 1")
    if np.count_nonzero(predictions.weights) < 2:
        raise InputError("sample_weight: expected at least two above 0, received 1")


def _without_resamples(
    metric: Metric,
    method: IntervalMethod,
    predictions: Predictions,
    groups: Groups,
    confidence_level: float,
) -> Interval:
    if metric.analytic is not None and method == metric.interval:
        found = metric.analytic(predictions, groups, confidence_level)
        if np.isnan(found.low) and not np.isnan(found.value):
            warnings.warn(
                f"there is no interval of {metric.key}: too few cases or groups are of a class or "
                "its rest, or all rank alike",
                stacklevel=4,
            )
        return found
    if method == "linearised":
        own = ", ".join(k for k, m in METRICS.items() if m.interval == method)
        raise InputError(
            f"method: 'linearised' is for {own}, received it for {metric.key or 'a function'}"
        )
    hits = _hits(metric, predictions)
    return share_interval(hits, groups, confidence_level, predictions.sample_weight)


def _hits(metric: Metric, predictions: Predictions) -> npt.NDArray[np.float64]:
    """Whether each case counts, (N,), of a metric that is a share of them."""
    form = metric.form(predictions) if metric.interval == "agresti_coull" else None
    if not isinstance(form, Sums):
        shares = ", ".join(k for k, m in METRICS.items() if m.interval == "agresti_coull")
        raise InputError(
            "method: 'agresti_coull' is for shares of the samples, which are "
            f"{shares}, received it for {metric.key or 'a function'}"
        )
    return np.asarray(form.terms.toarray()[:, 0])


def pair_of(
    labels: npt.ArrayLike | Predictions,
    probabilities_a: npt.ArrayLike | Predictions,
    probabilities_b: npt.ArrayLike | None,
    from_logits: bool,
    sample_weight: npt.ArrayLike | None,
) -> list[Predictions]:
    """Two models of the same cases, from (labels, a, b) or from two `Predictions`."""
    if isinstance(labels, Predictions) and isinstance(probabilities_a, Predictions):
        first = as_predictions(
            labels, probabilities_b, named="probabilities_b", sample_weight=sample_weight
        )
        second = as_predictions(probabilities_a)
    elif isinstance(labels, Predictions) or isinstance(probabilities_a, Predictions):
        raise InputError(
            "probabilities_a: expected (labels, probabilities_a, probabilities_b), or the "
            "Predictions of both models, received Predictions beside arrays"
        )
    else:
        first, second = (
            as_predictions(
                labels, model, from_logits=from_logits, named=named, sample_weight=sample_weight
            )
            for model, named in (
                (probabilities_a, "probabilities_a"),
                (probabilities_b, "probabilities_b"),
            )
        )
    first, second = of_one_kind(first, second)
    named = "probabilities_a", "probabilities_b"
    second = ordered_as(first, second, named)
    first, second = weighted_alike(first, second, named)
    _check_rows(first)
    return [first, second]
