"""Which calibrator helps, judged on folds that it was not fitted on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import GroupKFold, StratifiedKFold

from lsplus_tf.auditing.gaps import mean_estimate
from lsplus_tf.calibrators import CALIBRATORS
from lsplus_tf.errors import InputError
from lsplus_tf.metrics import METRICS, holm, measures
from lsplus_tf.metrics.resampling import rows_to_rank
from lsplus_tf.metrics.statistics import differences_of
from lsplus_tf.predictions import Predictions

FOLDS = 5
FEWEST_CASES = 50
FEWEST_WRONG = 10  # of wrong and of right predictions: the loss of a few tells little
# The simplest first. Without the one that needs the training set's counts, the one that is for
# ranking, and label shift: between folds there is none.
_METHODS = ("temperature", "weight", "vector")
_ONE_AGAINST_REST = ("platt", "isotonic", "histogram")
_MATRICES = ("matrix", "dirichlet")
_MOST_CLASSES_ONE_BY_ONE = 100
_MOST_CLASSES_OF_MATRICES = 20

COLUMNS = (
    "method",
    "brier_change",
    "low",
    "high",
    "p",
    "p_holm",
    "ece_change",
    "ece_low",
    "ece_high",
    "brier",
    "ece",
    "nll",
    "accuracy",
    "note",
)


@dataclass(frozen=True)
class CrossFit:
    """Calibrators, each fitted on the other folds of the cases that it is judged on.

    Attributes
    ----------
    table : DataFrame
        A row for each method, "none" first: brier, ece, nll and accuracy after it; brier_change and
        ece_change against none with 95% intervals, the p value of the former and Holm's. The note
        says why one could not be fitted, or what its fit warned of.
    cases : int
        How many were used, a random choice of more than 10,000.
    recommended : str or None
        The simplest of those that are shown to lower the Brier score and not shown to have a higher
        one than `lowest`.
    lowest : str or None
        The method of lowest Brier score among those that are shown to lower it.
    """

    table: pd.DataFrame
    cases: int
    recommended: str | None
    lowest: str | None

    def said_of(self, method: str) -> dict[str, Any] | None:
        """What a calibrator of this method keeps as `held_out_`; None where it was not fitted."""
        rows: dict[Any, dict[Any, Any]] = self.table.set_index("method").to_dict("index")
        before, after = rows["none"], rows[method]
        metrics = ("brier", "ece", "accuracy")
        if not all(math.isfinite(after[metric]) for metric in metrics):
            return None
        said: dict[str, Any] = {
            metric: {"before": float(before[metric]), "after": float(after[metric])}
            for metric in metrics
        }
        for metric, bounds in (("brier", ("low", "high")), ("ece", ("ece_low", "ece_high"))):
            change = [float(after[bound]) for bound in bounds]
            said[metric]["change"] = change if all(map(math.isfinite, change)) else None
        helps = self.recommended == method
        return {"cases": self.cases, "folds": FOLDS, **said, "shown_to_help": helps}


def cross_fit(
    predictions: Predictions,
    *,
    num_resamples: int,
    seed: int,
    methods: Sequence[str] | None = None,
) -> CrossFit | None:
    """Compare calibrators by five-fold cross-fitting.

    None for fewer than 50 cases, 5 groups, or 10 predictions that are right or wrong.

    Folds are stratified by class or, where there are groups, made of whole groups. The Brier score
    decides: it is proper, and finite where a method gives probabilities of 0. `methods` are short
    names of `CALIBRATORS`; None takes those that can be expected to help.
    """
    predictions = predictions.counted()
    rows = rows_to_rank(predictions, predictions.groups, seed)
    part = predictions if rows.size == len(predictions) else predictions.take(rows)
    wrong = np.count_nonzero(~part.correct)
    if (
        len(part) < FEWEST_CASES
        or min(wrong, len(part) - wrong) < FEWEST_WRONG
        or (part.groups is not None and part.groups.max() + 1 < FOLDS)
    ):
        return None
    folds = held_out_folds(part, seed)
    judged, notes = {"none": part}, {"none": ""}
    for method in methods or _methods(part):
        calibrated, notes[method] = _out_of_fold(method, part, folds)
        if calibrated is not None:
            judged[method] = part.computed("probabilities", calibrated)
    losses = {
        method: np.concatenate(list(measures.squared_distances(predictions)))
        for method, predictions in judged.items()
    }
    changes = _ece_changes(judged, num_resamples, seed)
    found = []
    for method, note in notes.items():
        row: dict[str, float | str] = {"method": method, "note": note}
        if method in losses:
            row |= _measured(judged[method])
        if method in losses and method != "none":
            row |= _changes(losses, method, part)
            row |= changes[method]
        found.append(row)
    table = pd.DataFrame(found).reindex(columns=list(COLUMNS))
    tested = table["p"].notna()
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"])
    shown = table[(table["p_holm"] < 0.05) & (table["high"] < 0)]
    helping = [str(method) for method in shown["method"]]  # the simplest first
    lowest = min(helping, key=lambda method: float(part.weights @ losses[method]), default=None)
    recommended = None
    if lowest is not None:
        recommended = next(
            method
            for method in helping
            if method == lowest
            or mean_estimate(losses[method] - losses[lowest], part.groups, part.sample_weight).low
            <= 0
        )
    return CrossFit(table, len(part), recommended, lowest)


def _methods(part: Predictions) -> list[str]:
    """Those that take seconds with so many classes."""
    classes = len(part.class_names)
    methods = list(_METHODS)
    if classes <= _MOST_CLASSES_ONE_BY_ONE:
        methods += _ONE_AGAINST_REST
    if classes <= _MOST_CLASSES_OF_MATRICES:
        # Of probabilities, whose logits are their logarithms, matrix scaling is Dirichlet's.
        methods += _MATRICES if part.kind == "logits" else _MATRICES[1:]
    return methods


def held_out_folds(
    part: Predictions, seed: int
) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    unused = np.zeros(len(part))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer samples than folds
        if part.groups is not None:
            return list(
                GroupKFold(FOLDS, shuffle=True, random_state=seed).split(unused, None, part.groups)
            )
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        return list(folds.split(unused, part.labels))


def _out_of_fold(
    method: str,
    part: Predictions,
    folds: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]],
) -> tuple[npt.NDArray[np.float64] | None, str]:
    """Calibrated probabilities (N, K), each from a fit without its fold, and what to note."""
    calibrated = np.empty(part.scores.shape)
    parts = [(part.take(fitted), part.take(judged), judged) for fitted, judged in folds]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for fitted, held_out, judged in parts:
            try:
                calibrator = CALIBRATORS[method]().fit(fitted)
            except InputError as error:
                return None, f"not fitted: {error}"
            calibrated[judged] = calibrator.calibrate(held_out).probabilities
    return calibrated, str(caught[0].message) if caught else ""


def _measured(predictions: Predictions) -> dict[str, float | str]:
    keys = ("brier", "ece", "nll", "accuracy")
    return {key: METRICS[key].value(predictions, "standard") for key in keys}


def _changes(
    losses: dict[str, npt.NDArray[np.float64]], method: str, part: Predictions
) -> dict[str, float | str]:
    change = mean_estimate(losses[method] - losses["none"], part.groups, part.sample_weight)
    return {
        "brier_change": change.value,
        "low": change.low,
        "high": change.high,
        "p": change.p_value,
    }


def _ece_changes(
    judged: dict[str, Predictions], num_resamples: int, seed: int
) -> dict[str, dict[str, float | str]]:
    """Of each method against none."""
    before = judged["none"]
    calibrated = {method: each for method, each in judged.items() if method != "none"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        changes = differences_of(
            METRICS["ece"],
            [*calibrated.values()],
            before,
            before.groups,
            num_resamples=num_resamples,
            seed=seed,
        )
    return {
        method: {
            "ece_change": each.difference.value,
            "ece_low": each.difference.low,
            "ece_high": each.difference.high,
        }
        for method, each in zip(calibrated, changes, strict=True)
    }
