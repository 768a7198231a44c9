"""The audit of a model's predictions: everything that is measured, as numbers."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from lsplus_tf import metrics
from lsplus_tf.auditing.automatic import Automatic, automatic_share
from lsplus_tf.auditing.chance import Chance, ece_by_chance
from lsplus_tf.auditing.classes import ByClass, by_class
from lsplus_tf.auditing.comparison import Comparison, compare
from lsplus_tf.auditing.cross_fitting import CrossFit, cross_fit
from lsplus_tf.auditing.gaps import Estimate, gap_estimate, gaps_by_part
from lsplus_tf.auditing.operating import check_thresholds_from
from lsplus_tf.auditing.prediction_sets import CrossFitSets, prediction_sets_of
from lsplus_tf.calibrators import Calibrator
from lsplus_tf.errors import MOST_RESAMPLES, InputError, check_count, check_level, some_of
from lsplus_tf.metrics.statistics import intervals_of
from lsplus_tf.metrics.weighted import samples_of
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.positive import Positive

_GIVEN_AS = {
    "probabilities": "probabilities",
    "logits": "logits",
    "confidence": "predicted class and confidence",
}


@dataclass(frozen=True)
class Votes:
    """Agreement with several annotators.

    Attributes
    ----------
    gap : Estimate
        Mean confidence less the mean share of annotators who agree with the prediction.
    agreement : float
        That share.
    ece, cross_entropy, brier : float
        Against the shares of votes, as in :mod:`lsplus_tf.metrics.annotators`.
    """

    gap: Estimate
    agreement: float
    ece: float
    cross_entropy: float
    brier: float


@dataclass(frozen=True)
class Audit:
    """What an audit found; :mod:`lsplus_tf.auditing` says how each number is made.

    Attributes
    ----------
    predictions : Predictions
    metrics : DataFrame
        value, low and high, as fractions, of "gap" (mean confidence less accuracy), the metrics of
        :func:`lsplus_tf.evaluate` in the standard convention, and "coverage" at the error rate; of
        the predicted class and its confidence alone, those that need no more.
    paper_metrics : dict or None
        Those of :func:`lsplus_tf.evaluate` in the paper's convention, if they were asked for.
    classes : ByClass
        Each class against the rest.
    gap : Estimate
    chance : Chance
    parts : DataFrame
        The gap by predicted class and subgroup.
    automatic : Automatic
    sets : CrossFitSets or None
        Prediction sets at an error rate of 10%; None where there are too few cases, and of the
        confidence alone.
    calibrators : CrossFit or None
        None where there are too few cases, and of the confidence alone.
    votes : Votes or None
    comparison : Comparison or None
    second : Predictions or None
        What it was compared with.
    settings : dict of str to str
    notes : list of str
        What the reader should know of the cases.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> result = lsp.audit(predictions, num_resamples=20)
    >>> round(result.gap.value, 2), result.settings["bootstrap resamples"]
    (0.4, '20')
    """

    predictions: Predictions
    metrics: pd.DataFrame
    paper_metrics: dict[str, float] | None
    classes: ByClass
    gap: Estimate
    chance: Chance
    parts: pd.DataFrame
    automatic: Automatic
    sets: CrossFitSets | None
    calibrators: CrossFit | None
    votes: Votes | None
    comparison: Comparison | None
    second: Predictions | None
    settings: dict[str, str]
    notes: list[str]


def audit(
    predictions: Predictions,
    second: Predictions | None = None,
    *,
    positive: Sequence[Positive] = (),
    thresholds_from: Predictions | None = None,
    calibrator: Calibrator | None = None,
    error_rate: float = 0.05,
    paper: bool = False,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Audit:
    """Measure how far a model's confidence can be relied on, and how sure that is.

    Parameters
    ----------
    predictions : Predictions
        Of cases that the model was not trained or tuned on; from
        :func:`lsplus_tf.read_predictions`, or made of arrays.
    second : Predictions, optional
        Another model's predictions of the same cases, to compare with.
    positive : sequence of str, int or sequence
        The classes that matter most, such as ``["mel"]``: the verdict begins with how many of their
        cases are found. ``[["mel", "bcc"]]`` counts several as one.
    thresholds_from : Predictions, optional
        The same model's predictions of other cases, such as a validation split: the thresholds at
        which `positive` has a specificity or a sensitivity of 80, 90 and 95% are chosen on them. By
        default they are chosen on the cases that are audited.
    calibrator : Calibrator, optional
        Fitted to other cases, such as a validation split: audited are the calibrated probabilities,
        as they will be used, and thresholds are chosen on such. `second` stays as it is.
    error_rate : float
        That is accepted among cases that are decided automatically, in (0, 1).
    paper : bool
        Compute the metrics also as the LS+ paper's released code does.
    num_resamples : int
        Of each bootstrap interval, and permutations of each test.
    seed : int
        The same seed gives the same audit.

    Returns
    -------
    Audit

    Raises
    ------
    InputError
        If an argument is not as above, or the two do not belong together.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> result = lsp.audit(predictions)
    >>> result.metrics.loc["gap"].round(2).tolist()
    [0.4, 0.3, 0.5]
    """
    # The matrices are small: threads would wait for each other longer than they work.
    with threadpool_limits(1):
        return _audit(
            predictions,
            second,
            positive,
            thresholds_from,
            calibrator,
            error_rate,
            paper,
            num_resamples,
            seed,
        )


def _audit(
    predictions: Predictions,
    second: Predictions | None,
    positive: Sequence[Positive],
    thresholds_from: Predictions | None,
    calibrator: Calibrator | None,
    error_rate: float,
    paper: bool,
    num_resamples: int,
    seed: int,
) -> Audit:
    check_count("num_resamples", num_resamples, most=MOST_RESAMPLES)
    if isinstance(positive, str) or not isinstance(positive, Sequence):
        raise InputError(
            f"positive: expected a sequence of classes, as positive=['mel'], received {positive!r}"
        )
    for given in (predictions, second):
        if given is not None:
            _check(given)
            if paper:  # it tells ties of the largest probability apart
                try:
                    given.need("probabilities")
                    given.refuse_weights("the LS+ paper's code")
                except InputError as error:
                    raise InputError(f"{error}, or leave out --paper (paper=True)") from None
    check_level("error_rate", error_rate)
    settings = {
        "predictions": predictions.source or "arrays",
        **_digest(predictions),
        "given as": _GIVEN_AS[predictions.kind],
        "calibrated by": "nothing here" if calibrator is None else calibrator.name,
        "accepted error rate": f"{error_rate:g}",
        "bootstrap resamples": str(num_resamples),
        "seed": str(seed),
    }
    if thresholds_from is not None:
        if not positive:
            raise InputError(
                "thresholds_from (--thresholds-from): expected beside classes of interest, as "
                "--positive mel (positive=['mel']), received it alone"
            )
        thresholds_from = check_thresholds_from(predictions, thresholds_from)
        settings |= {"thresholds chosen on": thresholds_from.source or "other arrays"}
    notes: list[str] = []
    if calibrator is not None:
        fitted_to = calibrator.data_
        if fitted_to is not None and fitted_to["digest"] == predictions.digest():
            raise InputError(
                "calibrator (--calibrator): expected one that was fitted to other cases than those "
                f"that are audited, received one of these very {len(predictions):,} cases"
            )
        notes.append(
            f"Audited are the probabilities that {calibrator.name} calibration gives, which was "
            "fitted to other cases; calibrators that are tried below come on top of it."
        )
        predictions = calibrator.calibrate(predictions)
        if thresholds_from is not None:
            thresholds_from = calibrator.calibrate(thresholds_from)
    comparison = None
    if second is not None:
        comparison = compare(
            predictions, second, positive=positive, num_resamples=num_resamples, seed=seed
        )
        settings |= {"second": second.source or "arrays"}
    given, predictions = predictions, _counted(predictions)
    second = None if second is None else _counted(second)
    _check_groups(predictions)
    if predictions.sample_weight is not None:
        settings |= {"cases": "count by their sample weights"}
    confidence = predictions.confidence.astype(np.float64)
    correct = predictions.correct.astype(np.float64)
    gap = gap_estimate(confidence, correct, predictions.groups, predictions.sample_weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of absent classes, which the notes tell
        # The classes first: the mean of their AUROCs is kept from there.
        classes = by_class(predictions, positive, thresholds_from)
        table = _metrics(predictions, gap, num_resamples, seed)
        paper_metrics = metrics.evaluate(predictions, convention="released_code") if paper else None
    automatic = automatic_share(predictions, error_rate)
    table.loc["coverage"] = automatic.observed, automatic.low, automatic.high
    return Audit(
        predictions,
        table,
        paper_metrics,
        classes,
        gap,
        ece_by_chance(predictions, seed),
        gaps_by_part(predictions),
        automatic,
        # Of weighted cases the promise of a set would need the weight of every new case.
        prediction_sets_of(predictions, seed=seed) if predictions.sample_weight is None else None,
        (
            None
            if predictions.kind == "confidence"
            else cross_fit(predictions, num_resamples=num_resamples, seed=seed)
        ),
        _votes(predictions, confidence),
        comparison,
        second,
        settings,
        notes + _weights_notes(given, predictions) + _notes(predictions, second),
    )


def _check(predictions: Predictions) -> None:
    as_predictions(predictions)  # with labels
    _check_groups(predictions)


def _counted(predictions: Predictions) -> Predictions:
    """The cases that count; those of weights that are not whole count 1 on average."""
    counted = predictions.counted()
    if counted.sample_weight is None:
        return counted
    weights, _ = samples_of(counted.sample_weight, counted.weights_are_counts)
    return counted.weighted(weights)


def _check_groups(predictions: Predictions) -> None:
    names = predictions.group_names
    if names is not None and len(names) < 2:
        raise InputError(f"groups: expected two or more, received only {names[0]!r}")


def _metrics(
    predictions: Predictions,
    gap: Estimate,
    num_resamples: int,
    seed: int,
) -> pd.DataFrame:
    """value, low and high of the gap and all metrics."""
    records = [
        record
        for record in metrics.METRICS.values()
        if record.evaluated and record.is_known_of(predictions)
    ]
    found = intervals_of(
        records,
        predictions,
        num_resamples=num_resamples,
        groups=predictions.groups,
        seed=seed,
    )
    rows = {"gap": (gap.value, gap.low, gap.high)}
    rows |= {
        record.key: (each.value, each.low, each.high)
        for record, each in zip(records, found, strict=True)
    }
    columns = ["value", "low", "high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _weights_notes(given: Predictions, predictions: Predictions) -> list[str]:
    """What sample weights do."""
    if given.sample_weight is None:
        return []
    weights = given.counted().weights
    scaled = "" if given.weights_are_counts else ", scaled to a mean of 1"
    note = (
        f"Cases count by their sample weights, {weights.min():.4g} to {weights.max():.4g}{scaled}: "
        "every value is that of cases that are repeated so often, and numbers of a class's cases "
        "are sums of weights. Intervals and tests take them as as many independent cases as there "
        "are rows. Prediction sets are not tried: they would need the weights of new cases."
    )
    if len(given) > len(predictions):
        note += f" {len(given) - len(predictions):,} of weight 0 are left out."
    return [note]


def _notes(predictions: Predictions, second: Predictions | None) -> list[str]:
    """What the reader should know of the cases."""
    notes = []
    if predictions.kind == "confidence":
        missing = [r.name for r in metrics.METRICS.values() if r.evaluated and r.needs == "all"]
        note = (
            f"Not measured: {', '.join(missing)}, calibrators, and each class's own probability. "
            "They need the probabilities of all classes; this is the predicted class and its "
            "confidence alone."
        )
        if len(predictions.class_names) == 2:
            note += (
                f" If there are these two classes and no other, that of "
                f"{predictions.class_names[1]} follows: the confidence where it is predicted, and "
                "1 less it elsewhere."
            )
        notes.append(note)
    elif second is not None and second.kind == "confidence":
        notes.append(
            f"Of {second.name} the predicted class and its confidence alone are known: the two are "
            "compared on what these tell."
        )
    impossible = (
        np.count_nonzero(predictions.true_probability == 0)
        if predictions.kind == "probabilities"
        else 0
    )
    if impossible:
        notes.append(
            f"In {impossible:,} of {len(predictions):,} cases the true class has the probability "
            "0, as rounding makes it: they decide the negative log-likelihood, and calibrators "
            "that take logarithms. More decimals, or logits, mend that."
        )
    if predictions.unused:
        note = f"Columns not used: {some_of(predictions.unused, 8)}."
        if predictions.groups is None:
            note += " If one says of which patient or lesion a case is, declare it with --group."
        if not predictions.subgroups:
            note += " Declare one with --subgroup, such as a site, to report its parts separately."
        notes.append(note)
    counts = zip(predictions.class_names, predictions.class_counts, strict=True)
    absent = [name for name, count in counts if not count]
    if absent:
        which = "class" if len(absent) == 1 else "the classes"
        note = f"No case is of {which} {some_of(absent, 8)}"
        if predictions.kind != "confidence":
            note += ": the AUROC is not defined, and some calibrators cannot be fitted"
        notes.append(f"{note}.")
    return notes


def _votes(predictions: Predictions, confidence: npt.NDArray[np.float64]) -> Votes | None:
    if predictions.votes is None:
        return None
    votes = predictions.votes.astype(np.float64)
    chosen = votes[np.arange(len(votes)), predictions.predicted] / votes.sum(axis=1)
    return Votes(
        gap_estimate(confidence, chosen, predictions.groups, predictions.sample_weight),
        float(np.average(chosen, weights=predictions.sample_weight)),
        metrics.annotator_calibration_error(predictions),
        metrics.annotator_cross_entropy(predictions),
        metrics.annotator_brier_score(predictions),
    )


def _digest(predictions: Predictions) -> dict[str, str]:
    """What tells the file that was read from every other."""
    path = Path(predictions.source)
    if not predictions.source or not path.is_file():
        return {}
    with path.open("rb") as file:
        return {"SHA-256": hashlib.file_digest(file, "sha256").hexdigest()}
