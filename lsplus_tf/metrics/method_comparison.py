"""Is a method better than another, or only these networks? :func:`compare_methods`.

Two questions have a name each:

* *these networks on new images*: the trained networks stay as they are and other images of the kind
  are drawn. :func:`~lsplus_tf.metrics.paired_bootstrap`, an audit and its comparison answer it.
* *the method with new seeds on new images*: the networks are trained anew, too. Only this question
  can call a method better, and it takes several runs of each method.

A metric of run r of a method on the test images is taken as

    mean of the method + run + images + run and images,

independent terms with mean 0. The variance of a mean over R runs is then that of the run, alone and
with the images, divided by R, plus that of the images, which more runs do not lessen. The sample
variance of the runs estimates the first; the covariance between *different* runs on resamples of
the images the second, for a difference less the part that both methods share. This is the analysis
of studies with many readers and many cases (Obuchowski and Rockette), where our runs are the
readers. Where new images would change nothing it is Welch's t test of the runs with Satterthwaite's
degrees of freedom; where new seeds would not, a paired t test of the images; between them the
half-widths of the two intervals are added in squares (Zou and Donner). Satterthwaite's degrees of
freedom for the whole would promise too much of few runs: in a simulation at a level of 0.005, such
as Holm's correction asks for, up to 2.7% of equal methods differed in three pairs of runs and 0.8%
in three runs each without pairs; so it is at most 0.5%.

The runs' sample variance may be small by chance, above all that of two or three. It is raised to
what the images alone explain: the variance that one run has on resamples less that of the images.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, special

from lsplus_tf.errors import (
    MOST_RESAMPLES,
    InputError,
    check_count,
    check_flag,
    check_level,
    check_seed,
    did_you_mean,
)
from lsplus_tf.metrics._method_tests import holm
from lsplus_tf.metrics.intervals import rounding
from lsplus_tf.metrics.metric import Metric, Values
from lsplus_tf.metrics.records import METRICS
from lsplus_tf.metrics.resampling import Groups, Resampled, counted_cases, resample
from lsplus_tf.predictions import Predictions, as_predictions, ordered_as
from lsplus_tf.predictions.predictions import weighted_alike

__all__ = ["compare_methods"]

CONFIDENCE_LEVEL = 0.95
POWER = 0.8
COMPARED = ("accuracy", "auroc", "ece", "nll", "brier")
_SMALLEST = 1e-50  # p value; far below, quantiles of Student's t are not to be relied on
# Of the resamples, on which a metric may be undefined because a class is absent.
_MOST_UNDEFINED = 0.05

Run = Predictions | tuple[npt.ArrayLike, npt.ArrayLike]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Estimate:
    """A mean over runs, or a difference of two, and how far new seeds and images would move it.

    Attributes
    ----------
    value : float
        As measured.
    runs : tuple of (float, int)
        For each method, or for the pairs of two, the variance of one run and how many there are.
    images : float
        The variance that is due to the images, however many runs there are.
    units : int
        How many images there are, or groups of them.
    """

    value: float
    runs: tuple[tuple[float, int], ...]
    images: float
    units: int

    @property
    def p_value(self) -> float:
        """Two-sided, of 0: the smallest level whose interval leaves out 0.

        NaN where nothing can be said, for want of runs or because nothing varies.
        """
        size, error = abs(self.value), self._error()
        if size <= rounding(self.value) and not np.isnan(error):
            return 1.0
        if not (error > rounding(self.value) and np.isfinite(size)):
            return float("nan")
        if self._half_width(_SMALLEST) < size:
            return _SMALLEST
        exponent = optimize.brentq(
            lambda power: self._half_width(10**power) - size, np.log10(_SMALLEST), 0, xtol=1e-10
        )
        return float(10**exponent)

    def interval(self, confidence_level: float = CONFIDENCE_LEVEL) -> tuple[float, float]:
        """The bounds; NaN where there is a single run."""
        half = self._half_width(1 - confidence_level)
        return self.value - half, self.value + half

    def runs_needed(self, level: float, power: float = POWER) -> float:
        """How many runs of each method would show a difference of this size.

        Parameters
        ----------
        level : float
            The p value, two-sided, below which a difference is shown.
        power : float
            The probability to show it.

        Returns
        -------
        float
            At least 2, the variances taken as they are; infinite if no number of runs would, on
            this many images; NaN where nothing can be said.
        """
        if np.isnan(self.p_value):
            return float("nan")

        def shown(count: float) -> bool:
            error = self._error(count)
            if error == 0:
                return self.value != 0
            size, bound = abs(self.value) / error, self._half_width(level, count) / error
            if size > 10 * bound + 40:  # where SciPy's noncentral t may give up
                return True
            freedom = _satterthwaite(self._parts(count))
            return bool(special.nctdtr(freedom, size, bound) <= 1 - power)

        if not shown(np.inf):
            return float("inf")
        enough = 2
        while not shown(enough):
            enough *= 2
        too_few = enough // 2
        while enough - too_few > 1:
            middle = (enough + too_few) // 2
            enough, too_few = (middle, too_few) if shown(middle) else (enough, middle)
        return float(enough)

    def _half_width(self, level: float, count: float | None = None) -> float:
        """Of the interval: those of seeds and of images alone, added in squares."""
        of_images, *of_runs = self._parts(count)
        squares = [
            # Student's t; that of `stats` takes a hundred times as long for the same number.
            special.stdtrit(freedom, level / 2) ** 2 * variance
            for variance, freedom in (of_images, (_total(of_runs), _satterthwaite(of_runs)))
            if variance != 0
        ]
        return float(np.sqrt(sum(squares)))

    def _error(self, count: float | None = None) -> float:
        """The standard error."""
        return float(np.sqrt(_total(self._parts(count))))

    def _parts(self, count: float | None = None) -> list[tuple[float, float]]:
        """Variances and degrees of freedom: of the images, and of each method's `count` runs."""
        parts = [(self.images, self.units - 1.0)]
        for variance, own in self.runs:
            runs = count or own
            known = variance if own > 1 else float("nan")
            parts.append((known / runs, max(runs - 1.0, 1.0)))
        return parts


def _total(parts: Sequence[tuple[float, float]]) -> float:
    return sum(variance for variance, _ in parts)


def _satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """The degrees of freedom of a sum of variances."""
    total = _total(parts)
    # Shares of the total, whose squares are not too small for a float.
    shares = sum((variance / total) ** 2 / freedom for variance, freedom in parts) if total else 0
    return 1 / shares if shares else float("inf")


@dataclass(frozen=True)
class MeasuredRuns:
    """A metric of runs, on the images and on resamples of them.

    Attributes
    ----------
    values : ndarray of float64, shape (R,)
        Of each run.
    bias : ndarray of float64, shape (R,)
        The mean of its resamples less the value.
    covariance : ndarray of float64, shape (R, R)
        That other images give the runs' values; NaN where the metric is undefined on more than 5%
        of the resamples.
    units : int
        How many images, or groups of them, were drawn.
    """

    values: Values
    bias: Values
    covariance: Values
    units: int

    @classmethod
    def of(cls, resampled: Resampled, *, tells: bool = True) -> MeasuredRuns:
        """From each run's value, and its values on the same resamples for all runs.

        With `tells` false nothing is taken to be known but the values.
        """
        values, drawn, units = resampled.values, resampled.drawn, resampled.units
        defined = ~np.isnan(drawn).any(axis=0)
        if not tells or units < 2 or defined.sum() < 2 or defined.mean() < 1 - _MOST_UNDEFINED:
            nothing = np.full((values.size, values.size), np.nan)
            return cls(values, nothing[0], nothing, units)
        kept = drawn[:, defined]
        # Resamples vary less than samples, by what a sample's mean takes off its variance.
        covariance = np.atleast_2d(np.cov(kept)) * units / (units - 1)
        return cls(values, kept.mean(axis=1) - values, covariance, units)

    def mean(self, runs: slice) -> Estimate:
        """The mean over some of the runs."""
        return _mean(self.values[runs], self.covariance[runs, runs], self.units)

    def interval(
        self, runs: slice, bounds: tuple[float, float] = (-np.inf, np.inf)
    ) -> tuple[float, float]:
        """The interval of a method's mean with new seeds on new images, within `bounds`.

        A calibration error of few images is too large, and that of their resamples larger still, so
        that the resamples' mean deviation is taken off.
        """
        low, high = np.clip(self.mean(runs).interval() - self.bias[runs].mean(), *bounds)
        return float(low), float(high)

    def difference(self, runs: slice, others: slice, *, paired: bool) -> Estimate:
        """The mean over `runs` less that over `others`.

        Parameters
        ----------
        runs, others : slice
            The runs of two methods.
        paired : bool
            Whether they are pairs that share what else is random between runs.
        """
        covariance = self.covariance
        between = covariance[runs, others]
        if paired:
            of_pairs = covariance[runs, runs] + covariance[others, others] - between - between.T
            return _mean(self.values[runs] - self.values[others], of_pairs, self.units)
        first, second = self.mean(runs), self.mean(others)
        shared = _shared(covariance[runs, runs]) + _shared(covariance[others, others])
        images = max(shared - 2 * between.mean(), 0.0)
        return Estimate(first.value - second.value, (*first.runs, *second.runs), images, self.units)


def _mean(values: Values, covariance: Values, units: int) -> Estimate:
    if values.size < 2:
        return Estimate(float(values.mean()), ((float("nan"), 1),), float("nan"), units)
    shared = _shared(covariance)
    variance = max(float(values.var(ddof=1)), float(covariance.trace() / values.size - shared))
    # What is not known stays so: max(NaN, 0.0) is NaN.
    return Estimate(float(values.mean()), ((variance, values.size),), max(shared, 0.0), units)


def _shared(covariance: Values) -> float:
    """Mean covariance of two different runs; NaN of one."""
    runs = len(covariance)
    pairs = runs * (runs - 1)
    return float((covariance.sum() - covariance.trace()) / pairs) if pairs else float("nan")


@dataclass(frozen=True)
class Difference:
    """A metric of a method less that of another, and what is shown by it.

    Attributes
    ----------
    value, low, high : float
        With the interval.
    p : float
        Two-sided; NaN, as the bounds are, where nothing can be said.
    p_holm : float
        Corrected over the tests of a family.
    verdict : {"better", "worse", "undecided"}
        Of the first method.
    seeds_needed : float
        How many seeds of each method would show a difference of this size with 80% power, at the
        level of Holm's strictest step; infinite where it would take more images.
    """

    value: float
    low: float
    high: float
    p: float
    p_holm: float
    verdict: str
    seeds_needed: float


@dataclass(frozen=True)
class Contrast:
    """A method less a baseline in a metric, which is tested among others.

    Attributes
    ----------
    metric, method, baseline : str
        Their names.
    estimate : Estimate
        Of the difference.
    better : {1, -1}
        Whether higher or lower values are better.
    seeds : tuple of int
        How many runs there are of the method, and of the baseline.
    note : str
        Why nothing can be said, where that is known beforehand.
    """

    metric: str
    method: str
    baseline: str
    estimate: Estimate
    better: int
    seeds: tuple[int, int]
    note: str = ""


def judge(
    estimates: Mapping[Key, Estimate],
    better: Mapping[Key, int],
    confidence_level: float = CONFIDENCE_LEVEL,
) -> dict[Key, Difference]:
    """What differences show, as one family of tests.

    Parameters
    ----------
    estimates : mapping
        Of differences.
    better : mapping
        For each of them 1 where higher values are better, -1 where lower ones are.
    confidence_level : float
        Of the intervals; 1 less it is the level at which a difference is shown.
    """
    p_values = {key: estimate.p_value for key, estimate in estimates.items()}
    tested = [key for key, p in p_values.items() if not np.isnan(p)]
    corrected = dict(zip(tested, holm([p_values[key] for key in tested]), strict=True))
    level = (1 - confidence_level) / max(len(tested), 1)
    found = {}
    for key, estimate in estimates.items():
        p_holm = float(corrected.get(key, np.nan))
        verdict = "undecided"
        if p_holm < 1 - confidence_level:
            verdict = "better" if better[key] * estimate.value > 0 else "worse"
        nothing = np.isnan(p_holm)
        low, high = (np.nan, np.nan) if nothing else estimate.interval(confidence_level)
        needed = estimate.runs_needed(level)
        found[key] = Difference(estimate.value, low, high, p_values[key], p_holm, verdict, needed)
    return found


def compare_methods(
    runs: Mapping[str, Sequence[Run]],
    *,
    control: str | None = None,
    metrics: Sequence[str | Metric] = COMPARED,
    paired_seeds: bool = False,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = CONFIDENCE_LEVEL,
    num_resamples: int = 1000,
    seed: int = 0,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Methods against a control: would they differ, trained with new seeds, on new images?

    The head of this module says what is computed. Of two runs of a method little can be shown, of
    one nothing: whether *these networks* differ on new images,
    :func:`~lsplus_tf.metrics.paired_bootstrap` tells.

    Parameters
    ----------
    runs : mapping of str to sequence
        For each method its runs, as `Predictions` or pairs (labels (N,), probabilities (N, K)):
        those of networks that differ by their seed, all of the same images in the same order.
    control : str, optional
        The method that each of the others is compared with; by default the first.
    metrics : sequence of str or Metric
        Keys of :data:`lsplus_tf.metrics.METRICS`, in the standard convention, or records, such as
        those of :func:`~lsplus_tf.metrics.one_vs_rest_metrics`; not mean_confidence, of which
        neither more nor less is better.
    paired_seeds : bool
        Whether the i-th run of every method started from the same initial weights. Differences are
        then taken run by run, which halves the degrees of freedom. Whether that helps should be
        known beforehand and not be tried out on the runs that are compared: with ten networks on
        digits intervals were 20% to 40% narrower in all metrics but the ECE, in our experiments on
        other images they were up to 60% wider.
    groups : array_like, shape (N,), optional
        A patient or lesion for each image; whole groups are then drawn. By default those of the
        first run, if it has some.
    confidence_level : float
        In (0, 1), of the intervals; 1 less it is the level at which a difference is shown.
    num_resamples : int
        At least 2, of the images. They give variances: more than 1000 hardly matter.
    seed : int
        The same seed gives the same resamples.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each image counts; see :mod:`lsplus_tf.metrics.weighted`. By default that of runs
        that have it.

    Returns
    -------
    DataFrame
        A row for each metric and method but the control, with the columns

        * metric, method, baseline (the control);
        * difference (mean over the runs of the method less that of the control), low, high;
        * p (two-sided), p_holm (corrected over all rows that have a p);
        * verdict: the method is "better" or "worse" than the control where p_holm is below 1 -
          confidence_level, and else "undecided";
        * seeds, baseline_seeds: how many runs each has;
        * seeds_needed: how many seeds of each would show a difference of this size with 80% power,
          at the level of Holm's strictest step; infinite where it would take more images;
        * note: why nothing can be said, where p is NaN.

    Raises
    ------
    InputError
        If an argument is not as above, or the runs are not of the same images.

    References
    ----------
    Obuchowski and Rockette, Communications in Statistics: Simulation and Computation 24, 1995;
    Hillis, Statistics in Medicine 33, 2014; Zou and Donner, Statistics in Medicine 27, 2008; Welch,
    Biometrika 34, 1947; Satterthwaite, Biometrics Bulletin 2, 1946; Holm, Scandinavian Journal of
    Statistics 6, 1979.

    Examples
    --------
    Two methods of three runs on forty images; the second gets four of them wrong.

    >>> labels = [0, 1] * 20
    >>> def run(confidence, wrong=()):
    ...     p = [confidence if i not in wrong else 1 - confidence for i in range(40)]
    ...     return labels, [[q, 1 - q] if y == 0 else [1 - q, q] for q, y in zip(p, labels)]
    >>> sharp = [run(c, wrong=(3, 8, 20, 31)) for c in (0.96, 0.98, 0.97)]
    >>> mild = [run(c) for c in (0.80, 0.82, 0.79)]
    >>> table = compare_methods({"sharp": sharp, "mild": mild}, metrics=["accuracy", "brier"])
    >>> table[["metric", "method", "difference", "verdict", "seeds"]].round(3)
         metric method  difference    verdict  seeds
    0  accuracy   mild       0.100  undecided      3
    1     brier   mild      -0.112  undecided      3
    """
    checked, names = _check_runs(runs, from_logits, sample_weight), list(runs)
    control = names[0] if control is None else control
    if control not in names:
        hint = did_you_mean(control, names)
        raise InputError(f"control: expected one of {', '.join(names)}, received {control!r}{hint}")
    _check_metrics(metrics)
    check_level("confidence_level", confidence_level)
    check_count("num_resamples", num_resamples, most=MOST_RESAMPLES)
    if num_resamples < 2:
        raise InputError("num_resamples: expected at least 2, which have a variance, received 1")
    check_seed(seed)
    check_flag("paired_seeds", paired_seeds)
    numbers = {name: len(each) for name, each in checked.items()}
    if paired_seeds and len(set(numbers.values())) > 1:
        listed = ", ".join(f"{count} of {name}" for name, count in numbers.items())
        raise InputError(
            f"paired_seeds: expected as many runs of every method, the i-th from the same initial "
            f"weights, received {listed}"
        )
    every = [run for each in checked.values() for run in each]
    kept, codes = counted_cases(every, groups)
    ends = np.cumsum(list(numbers.values()))
    of_method = {
        name: slice(end - numbers[name], end) for name, end in zip(names, ends, strict=True)
    }
    records, contrasts = _records(metrics), []
    for metric, measured in measure_runs(metrics, kept, codes, num_resamples, seed).items():
        for name in names:
            if name != control:
                estimate = measured.difference(
                    of_method[name], of_method[control], paired=paired_seeds
                )
                contrasts.append(
                    Contrast(
                        metric,
                        name,
                        control,
                        estimate,
                        records[metric].better,
                        (numbers[name], numbers[control]),
                        too_few_classes(records[metric], kept[0]),
                    )
                )
    return family_of_tests(contrasts, confidence_level)


def measure_runs(
    metrics: Sequence[str | Metric],
    runs: Sequence[Predictions],
    groups: Groups,
    num_resamples: int,
    seed: int,
) -> dict[str, MeasuredRuns]:
    """Each metric of every run, by its key, on the images and on the same resamples of them."""
    records = _records(metrics)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that are absent
        resampled = resample([*records.values()], runs, groups, num_resamples, seed)
    return {
        key: MeasuredRuns.of(each, tells=not too_few_classes(records[key], runs[0]))
        for key, each in zip(records, resampled, strict=True)
    }


def _records(metrics: Sequence[str | Metric]) -> dict[str, Metric]:
    """By their keys."""
    records = [METRICS[each] if isinstance(each, str) else each for each in metrics]
    return {record.key: record for record in records}


def too_few_classes(metric: Metric, predictions: Predictions) -> str:
    """Why nothing can be said of a metric that is the same for all predictions of few classes."""
    classes = len(predictions.class_names)
    if metric.fewest_classes <= classes:
        return ""
    return f"{metric.key} of {classes} classes is the same for all predictions"


def family_of_tests(
    contrasts: Sequence[Contrast], confidence_level: float = CONFIDENCE_LEVEL
) -> pd.DataFrame:
    """A row for each contrast, with the columns of :func:`compare_methods`.

    Parameters
    ----------
    contrasts : sequence of Contrast
        Holm's correction is over all that have a p.
    confidence_level : float
        Of the intervals.
    """
    places = dict(enumerate(contrasts))
    found = judge(
        {place: each.estimate for place, each in places.items()},
        {place: each.better for place, each in places.items()},
        confidence_level,
    )
    rows = []
    for place, each in places.items():
        of_test = found[place]
        rows.append(
            {
                "metric": each.metric,
                "method": each.method,
                "baseline": each.baseline,
                "difference": of_test.value,
                "low": of_test.low,
                "high": of_test.high,
                "p": of_test.p,
                "p_holm": of_test.p_holm,
                "verdict": of_test.verdict,
                "seeds": each.seeds[0],
                "baseline_seeds": each.seeds[1],
                "seeds_needed": of_test.seeds_needed,
                "note": each.note or _why_nothing(each),
            }
        )
    return pd.DataFrame(rows)


def _why_nothing(contrast: Contrast) -> str:
    estimate, names = contrast.estimate, (contrast.method, contrast.baseline)
    single = [name for name, seeds in zip(names, contrast.seeds, strict=True) if seeds < 2]
    if single:
        return f"one run of {' and of '.join(single)}: nothing can be said of the method"
    if np.isnan(estimate.images + estimate.value):
        return f"{contrast.metric} is not defined: the images, or too many resamples, lack a class"
    if np.isnan(estimate.p_value):
        return "neither seeds nor images change the difference: its variance is not known"
    return ""


def _check_runs(
    runs: Mapping[str, Sequence[Run]],
    from_logits: bool,
    sample_weight: npt.ArrayLike | None,
) -> dict[str, list[Predictions]]:
    if not isinstance(runs, Mapping) or len(runs) < 2:
        raise InputError(
            "runs: expected a mapping of at least two methods to their runs, received "
            + (f"{len(runs)}" if isinstance(runs, Mapping) else type(runs).__name__)
        )
    checked: dict[str, list[Predictions]] = {}
    first: tuple[str, Predictions] | None = None
    for method, each in runs.items():
        if isinstance(each, str) or not isinstance(each, Sequence) or not each:
            received = "none" if isinstance(each, Sequence) and not each else type(each).__name__
            raise InputError(
                f"runs[{method!r}]: expected a list of runs, Predictions or (labels, "
                f"probabilities) of each, received {received}"
            )
        checked[method] = []
        for i, run in enumerate(each):
            name = f"runs[{method!r}][{i}]"
            predictions = _check_run(name, run, from_logits, sample_weight)
            first = first or (name, predictions)
            predictions = ordered_as(first[1], predictions, (first[0], name))
            _warn_of_copies(name, predictions, method, checked[method])
            checked[method].append(predictions)
    return _weighted_alike(checked)


def _weighted_alike(checked: dict[str, list[Predictions]]) -> dict[str, list[Predictions]]:
    """All runs with the weights that some have."""
    named = {f"runs[{m!r}][{i}]": run for m, each in checked.items() for i, run in enumerate(each)}
    first = next((name for name, run in named.items() if run.sample_weight is not None), None)
    if first is None:
        return checked
    alike = (weighted_alike(named[first], run, (first, name))[1] for name, run in named.items())
    return {method: [next(alike) for _ in each] for method, each in checked.items()}


def _check_run(
    name: str, run: Run, from_logits: bool, sample_weight: npt.ArrayLike | None
) -> Predictions:
    pair = isinstance(run, (tuple, list)) and len(run) == 2
    if not (pair or isinstance(run, Predictions)):
        raise InputError(
            f"{name}: expected Predictions or a pair (labels, probabilities), received "
            f"{type(run).__name__}"
        )
    try:
        given = (run,) if isinstance(run, Predictions) else run
        predictions = as_predictions(*given, from_logits=from_logits, sample_weight=sample_weight)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if len(predictions) < 2:
        raise InputError(f"{name}: expected at least two images, received 1")
    return predictions


def _warn_of_copies(name: str, run: Predictions, method: str, before: list[Predictions]) -> None:
    for i, other in enumerate(before):
        if run.same_scores(other):
            warnings.warn(
                f"{name} has the very predictions of runs[{method!r}][{i}]: runs of other seeds "
                "are expected, and one that is given twice makes the test too sure",
                stacklevel=4,
            )
            return


def _check_metrics(metrics: Sequence[str | Metric]) -> None:
    if isinstance(metrics, str) or not isinstance(metrics, Sequence) or not metrics:
        raise InputError(f"metrics: expected a list of names, received {metrics!r}")
    known = [key for key, record in METRICS.items() if record.better]
    keys = [each.key if isinstance(each, Metric) else each for each in metrics]
    for key, each in zip(keys, metrics, strict=True):
        if not (each.better if isinstance(each, Metric) else each in known):
            raise InputError(f"metrics: expected some of {', '.join(known)}, received {key!r}")
    if len(set(keys)) < len(keys):
        raise InputError(f"metrics: expected each name once, received {keys}")
