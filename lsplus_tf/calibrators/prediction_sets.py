"""Sets of classes that hold the true one as often as promised: split conformal prediction."""

from __future__ import annotations

import copy
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from lsplus_tf.calibrators.base import (
    WRONG,
    Calibrator,
    Floats,
    check_classes,
    check_is_calibrator,
    json_document,
    read_saved,
)
from lsplus_tf.calibrators.provenance import Provenance, check_document, warn_of_another_model
from lsplus_tf.errors import (
    InputError,
    check_choice,
    check_count,
    check_flag,
    check_level,
    check_number,
    check_seed,
    counted,
    one_line,
    some_of,
)
from lsplus_tf.files import FileKind, begins_with, writing
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.arrays import row_blocks

SetsMethod = Literal["lac", "aps", "raps"]
METHODS: tuple[str, ...] = get_args(SetsMethod)

_FORMAT = "lsplus_tf prediction sets"
_VERSION = 2
SETS = FileKind(
    "prediction sets", begins_with(rb'\s*\{\s*"format":\s*"' + _FORMAT.encode() + b'"'), ".json"
)
_KEYS_1 = ("settings", "class_names", "thresholds")
_VERSIONS = {1: _KEYS_1, 2: (*_KEYS_1, "model", "data", "made_by")}
_NO_JSON = "not prediction sets saved by lsplus_tf, which are JSON"
# Sums of the same probabilities in another order differ by less, and so do the softmax of the same
# logits in batches of other sizes.
_ROUNDING = 1e-9
_ROUNDING_OF_FLOAT32 = 1e-7  # of probabilities in at most 32 bits, whose thresholds were in 64
_THRESHOLD_TOLERANCE = 1e-3  # as rows of probabilities sum to 1
_MOST_K_REG = 2**31
_MOST_PENALTY = 1e100
_LONGEST = 200  # characters of what is said of a wrong file


class PredictionSets(Provenance, BaseEstimator):
    """Sets of classes that hold the true one in 1 - error_rate of new cases: split conformal.

    Each class of each case has a score, which is low where the class is probable. A set has the
    classes whose score is not above a threshold: a quantile of the true classes' scores in cases
    that the model was not trained on.

    Parameters
    ----------
    method : {"lac", "aps", "raps"}
        The score. "lac" (least ambiguous): 1 - p_k, which gives the smallest sets on average.
        "aps" (adaptive): the probabilities of all classes from the most probable one to k, which
        gives hard cases larger sets and easy ones smaller. "raps" (regularised): the same, and
        `penalty` for each class after the first `k_reg`, which keeps large sets from growing.
    error_rate : float
        The share of sets that may miss the true class, in (0, 1).
    class_conditional : bool
        A threshold for each class, so that the promise holds among the cases of each, a rare and
        hard one too. Sets are larger, and each class needs 1 / error_rate - 1 cases.
    randomized : bool
        Of "aps" and "raps": count a random part of p_k, as in the papers, in place of all of it.
        Sets are smaller. The part is drawn by `seed` and the case's id, so that the same case gets
        the same set; predictions need ids.
    penalty : float
        Of "raps", at least 0.
    k_reg : int
        Of "raps", at least 0.
    allow_empty : bool
        Leave sets without a class as they are. By default the most probable class is put into them,
        which makes the coverage higher, if anything.
    seed : int
        Of `randomized`.
    calibrator : Calibrator, optional
        A fitted one, whose probabilities are taken, in `fit` and in `predict`. Fit it to other
        cases than the sets, or the promise holds only nearly.

    Attributes
    ----------
    thresholds_ : ndarray, shape (1,) or (K,)
        Of all classes or of each; infinite where there were too few cases.
    class_names_ : tuple of str, length K
    n_classes_ : int
        Number of classes, K.
    model_ : str or None
        `lsplus_tf.fingerprint` of the model whose outputs they were fitted to, if it is known.
    data_ : dict or None
        "digest" of the cases, as `Predictions.digest` gives it, and how many "cases" there were.
    made_by_ : str or None
        The package and its version.

    Notes
    -----
    **What is promised.** Let n cases and a new one be exchangeable, as independent draws from one
    population are. Then the new set holds the true class with a probability of at least
    1 - error_rate, and of at most 1 / (n + 1) more where scores are not tied and empty sets are
    allowed. That is marginal: on average over new cases, and over draws of the n cases. It is not
    promised for a class (but with `class_conditional`), a subgroup or a single case;
    :func:`~lsplus_tf.metrics.set_coverage` measures those. With n cases at hand the coverage is
    Beta(k, n + 1 - k), k = ceil((n + 1) (1 - error_rate)): with 500 and an error rate of 0.1 it is
    87.2 to 92.5% nineteen times out of twenty. Nothing is promised for other hospitals, other
    devices, or another prevalence.

    **Groups.** Cases of a patient are not exchangeable with those of another, patients are. With
    groups each counts alike: a case of a group of m weighs 1 / m (hierarchical conformal
    prediction, Lee, Barber and Willett 2023). The promise holds for a random case of a new group,
    so that coverage is an average over groups, not over cases. With `class_conditional`, groups are
    those of the class's cases.

    **Weights.** Predictions with sample weights are refused: the promise would need the weight of
    each new case.

    **Conventions.** The threshold is the k-th smallest score, as in all papers and tools. APS and
    RAPS have the same score in `fit` and in `predict`, with a random part in both or in neither,
    and a case has one random number, as in the papers. torchcp 1.2 does the same, but draws one for
    each class of a new case. MAPIE 1.6 always draws it in `fit`; its
    include_last_label="randomized" is `randomized=True` here, its default, True, adds the whole of
    the class at which the sum passes the threshold, more than the promise needs, and False leaves
    it out, without the promise. Without a random part the least probable class has the score 1 in
    all cases, so that sets cover more than promised where it is often the true one. Classes of
    equal probability come in their order.

    In 1,000 draws of 500 cases of five classes, of which the rarest is one in twenty, sets for an
    error rate of 0.1 covered 89.9 to 90.1% by each method, random or not, with a standard error of
    0.06 and a promise of 90.02; with empty sets filled, APS covered 93.7%, if random 90.5%. The
    rarest class was in 78 to 87% of its sets, with `class_conditional` in 90.9 to 91.4%, where 91.0
    is promised. New groups, of which small ones were hard, were covered in 90.3%, and in 89.6%
    where sets did not know of the groups (`benchmarks/coverage_sets.py`).

    Sources: Vovk, Gammerman and Shafer 2005 (conformal prediction, also by class; for which see
    also Lofstrom et al. 2015); Sadinle, Lei and Wasserman 2019 (LAC); Romano, Sesia and Candes 2020
    (APS); Angelopoulos et al. 2021 (RAPS).

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> held_out = lsp.Predictions([0, 1] * 10, [[0.8, 0.2], [0.4, 0.6]] * 10)
    >>> sets = lsp.PredictionSets(error_rate=0.1).fit(held_out)
    >>> sets.thresholds_.round(2).tolist()
    [0.4]
    >>> new = lsp.Predictions(None, [[0.9, 0.1], [0.5, 0.5], [0.35, 0.65]])
    >>> sets.predict(new).tolist()
    [[True, False], [True, False], [False, True]]
    >>> lsp.PredictionSets.from_json(sets.to_json()).method
    'lac'
    """

    thresholds_: Floats
    class_names_: tuple[str, ...]
    n_classes_: int

    def __init__(
        self,
        method: SetsMethod = "lac",
        *,
        error_rate: float = 0.1,
        class_conditional: bool = False,
        randomized: bool = False,
        penalty: float = 0.1,
        k_reg: int = 1,
        allow_empty: bool = False,
        seed: int = 0,
        calibrator: Calibrator | None = None,
    ) -> None:
        self.method = method
        self.error_rate = error_rate
        self.class_conditional = class_conditional
        self.randomized = randomized
        self.penalty = penalty
        self.k_reg = k_reg
        self.allow_empty = allow_empty
        self.seed = seed
        self.calibrator = calibrator

    def fit(self, predictions: Predictions) -> Self:
        """Find the thresholds, on cases that the model was not trained on.

        Parameters
        ----------
        predictions : Predictions
            With labels, and the probabilities of all classes. The cases must not be those on which
            coverage is then reported.

        Raises
        ------
        InputError
            A setting or predictions that are not as above, or predictions with sample weights.

        Warns
        -----
        UserWarning
            Too few cases, of all or of a class: all classes, or that one, are in every set.
        """
        self._check_settings()
        self._check(predictions)
        predictions.need("labels")
        if predictions.sample_weight is not None:
            raise InputError(
                "sample_weight: expected predictions without weights, since sets would need the "
                "weight of every new case too; where classes are weighted, take class_conditional"
            )
        judged = self._calibrated(predictions)
        scores = self._true_scores(judged)
        if self.class_conditional:
            order = np.argsort(judged.labels, kind="stable")
            parts = np.split(order, np.cumsum(judged.class_counts)[:-1])
        else:
            parts = [np.arange(len(judged))]
        groups = judged.groups
        self.thresholds_ = np.array(
            [
                _quantile(
                    scores[part], None if groups is None else groups[part], float(self.error_rate)
                )
                for part in parts
            ]
        )
        self.class_names_ = judged.class_names
        self.n_classes_ = len(judged.class_names)
        self._remember(predictions)
        self._warn_of_too_few(predictions, parts)
        return self

    def predict(self, predictions: Predictions) -> NDArray[np.bool_]:
        """Which classes are in the set of each case, (N, K).

        Parameters
        ----------
        predictions : Predictions
            Of the classes that it was fitted on; labels are not needed.

        Raises
        ------
        InputError
            Other classes than in `fit`, the confidence alone, or no ids where sets are randomized.

        Warns
        -----
        UserWarning
            Predictions of another model than in `fit`, where both are known.
        """
        check_is_fitted(self)
        self._check(predictions)
        check_classes("predictions", predictions.class_names, self.class_names_, "the sets'")
        if self.calibrator is None or self.calibrator.model_ is None:  # else it warns itself
            warn_of_another_model("sets", self.model_, predictions.model)
        judged = self._calibrated(predictions)
        sets = np.empty((len(judged), self.n_classes_), bool)
        highest = self._highest_scores(judged.probabilities.dtype)
        for rows, scores in self._scores(judged):
            sets[rows] = scores <= highest
        if not self.allow_empty:
            empty = np.flatnonzero(~sets.any(axis=1))
            sets[empty, judged.predicted[empty]] = True
        return sets

    def _highest_scores(self, dtype: np.dtype[Any]) -> Floats:
        """The highest scores in a set, (1,) or (K,), of probabilities that were in this dtype."""
        return self.thresholds_ + (_ROUNDING if dtype.itemsize == 8 else _ROUNDING_OF_FLOAT32)

    def on_calibrated(self) -> PredictionSets:
        """The same for predictions that its calibrator has calibrated already."""
        others = copy.copy(self)
        others.calibrator = None
        return others

    def to_json(self) -> str:
        """All that makes these fitted sets, for :meth:`from_json`; null for infinite thresholds."""
        check_is_fitted(self)
        settings = self.get_params(deep=False)
        if self.calibrator is not None:
            settings["calibrator"] = json.loads(self.calibrator.to_json())
        thresholds = [float(each) if np.isfinite(each) else None for each in self.thresholds_]
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "settings": settings,
            "class_names": list(self.class_names_),
            **self._provenance(),
            "thresholds": thresholds,
        }
        return json.dumps(document, default=lambda number: number.item(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The fitted sets of :meth:`to_json`.

        Raises
        ------
        InputError
            Not such a text.
        """
        document = json_document(text, _NO_JSON)
        try:
            check_document(document, _FORMAT, _VERSIONS, optional=())
            settings = dict(document["settings"])
            if settings["calibrator"] is not None:
                settings["calibrator"] = Calibrator.from_json(json.dumps(settings["calibrator"]))
            sets = cls(**settings)
            sets._check_settings()
            names, thresholds = document["class_names"], document["thresholds"]
            if (
                not isinstance(names, list)
                or len(names) < 2
                or not all(isinstance(name, str) for name in names)
                or len(set(names)) < len(names)
            ):
                raise ValueError("its class names are not two or more different texts")
            expected = len(names) if sets.class_conditional else 1
            if not isinstance(thresholds, list) or len(thresholds) != expected:
                raise ValueError(f"expected {counted(expected, 'threshold')}")
            sets.thresholds_ = np.array(
                [
                    math.inf if each is None else check_number("thresholds", each)
                    for each in thresholds
                ]
            )
            most = 1 + sets._penalties(np.array([len(names)]))[0] * (sets.method == "raps")
            finite = sets.thresholds_[np.isfinite(sets.thresholds_)]
            if (finite > most + _THRESHOLD_TOLERANCE).any():
                raise ValueError(f"thresholds: expected numbers of at most {most:g}")
            sets.class_names_, sets.n_classes_ = tuple(names), len(names)
            if sets.calibrator is not None:
                if sets.calibrator.n_classes_ != len(names):
                    raise ValueError(f"its calibrator is not of {len(names)} classes")
                check_classes("calibrator", names, sets.calibrator.class_names_, "the calibrator's")
            sets._restore_provenance(document)
        except WRONG as error:
            raise InputError(
                f"not prediction sets saved by lsplus_tf ({one_line(error, _LONGEST)})"
            ) from error
        return sets

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_json` to a file, whole or not at all.

        Raises
        ------
        InputError
            There is something that is no such file, or nothing can be written.
        """
        text = self.to_json()
        with writing(path, SETS, argument="path") as new:
            new.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The sets that :meth:`save` wrote.

        Raises
        ------
        InputError
            No such file, or not such a file.
        """
        return read_saved(path, "sets", cls.from_json, _NO_JSON)

    def _check_settings(self) -> None:
        check_choice("method", self.method, SetsMethod)
        check_level("error_rate", self.error_rate)
        for flag in ("class_conditional", "randomized", "allow_empty"):
            check_flag(flag, getattr(self, flag))
        if check_number("penalty", self.penalty) > _MOST_PENALTY:
            raise InputError(f"penalty: expected at most {_MOST_PENALTY:g}")
        if check_count("k_reg", self.k_reg, least=0) > _MOST_K_REG:
            raise InputError(f"k_reg: expected at most {_MOST_K_REG}, received {self.k_reg}")
        check_seed(self.seed)
        if self.randomized and self.method == "lac":
            raise InputError("randomized: expected False with 'lac', which has no random part")
        if self.calibrator is not None:
            check_is_calibrator(self.calibrator)
            check_is_fitted(self.calibrator)

    def _check(self, predictions: Predictions) -> None:
        if not isinstance(predictions, Predictions):
            raise InputError(
                "predictions: expected lsp.Predictions(labels, probabilities), received a "
                f"{type(predictions).__name__}"
            )
        predictions.need("probabilities")
        if self.randomized and predictions.ids is None:
            raise InputError(
                "predictions: expected ids where sets are randomized, so that the same case gets "
                "the same set; make them with ids=, or take randomized=False"
            )

    def _calibrated(self, predictions: Predictions) -> Predictions:
        return predictions if self.calibrator is None else self.calibrator.calibrate(predictions)

    def _scores(self, predictions: Predictions) -> Iterator[tuple[slice, Floats]]:
        """Blocks of rows, and the scores (n, K) of all their classes."""
        for rows, each, part in self._blocks(predictions):
            if self.method == "lac":
                yield rows, 1 - each
                continue
            order = np.argsort(-each, axis=1, kind="stable")
            ranked = np.take_along_axis(each, order, axis=1)
            sums = ranked.cumsum(axis=1) - (1 - part)[:, np.newaxis] * ranked
            sums += self._penalties(np.arange(1, each.shape[1] + 1))
            scores = np.empty_like(sums)
            np.put_along_axis(scores, order, sums, axis=1)
            yield rows, scores

    def _true_scores(self, predictions: Predictions) -> Floats:
        """The scores (N,) of the true classes, which need no sorting."""
        found = np.empty(len(predictions))
        for rows, each, part in self._blocks(predictions):
            labels = predictions.labels[rows, np.newaxis]
            own = np.take_along_axis(each, labels, axis=1)
            if self.method == "lac":
                found[rows] = 1 - own[:, 0]
                continue
            before = (each > own) | ((each == own) & (np.arange(each.shape[1]) < labels))
            sums = np.einsum("nk,nk->n", each, before)
            found[rows] = sums + part * own[:, 0] + self._penalties(before.sum(axis=1) + 1)
        return found

    def _blocks(self, predictions: Predictions) -> Iterator[tuple[slice, Floats, Floats]]:
        """Rows, their probabilities (n, K), and the part (n,) that counts of a class's own."""
        probabilities = predictions.probabilities
        ids = predictions.ids if self.randomized else None
        for rows in row_blocks(probabilities):
            each = probabilities[rows].astype(np.float64)
            part = np.ones(len(each)) if ids is None else _uniform(ids[rows], self.seed)
            yield rows, each, part

    def _penalties(self, ranks: NDArray[np.int64]) -> Floats:
        """Of the most probable class, which is the first, and so on."""
        penalty = float(self.penalty) if self.method == "raps" else 0.0
        return penalty * np.maximum(0, ranks - self.k_reg)

    def _warn_of_too_few(self, predictions: Predictions, parts: list[NDArray[np.intp]]) -> None:
        few = np.flatnonzero(np.isinf(self.thresholds_))
        if not few.size:
            return
        unit = "case" if predictions.groups is None else "group"
        needed = counted(_fewest(float(self.error_rate)), unit)
        if not self.class_conditional:
            warnings.warn(
                f"an error rate of {self.error_rate:g} needs at least {needed}: all classes are in "
                "every set",
                stacklevel=3,
            )
            return
        named = some_of([f"{self.class_names_[k]} ({parts[k].size})" for k in few], 8)
        warnings.warn(
            f"an error rate of {self.error_rate:g} for each class needs at least {needed} of it; "
            f"these classes have fewer and are in every set (with their cases): {named}",
            stacklevel=3,
        )


def _quantile(scores: Floats, groups: NDArray[np.intp] | None, error_rate: float) -> float:
    """The smallest score that (1 - error_rate) (n + 1) of n cases do not exceed; infinite if none.

    Of groups, each counts as one case, and its cases as equal parts of it.
    """
    codes, units = None, scores.size
    if groups is not None and scores.size:
        codes, distinct = pd.factorize(groups)
        units = len(distinct)
    # What is equal but for rounding is enough: (1 - 0.1) * 10 is 9.
    needed = (1 - error_rate) * (units + 1) * (1 - 1e-12) - 1e-9
    if codes is None:
        place = max(0, math.ceil(needed) - 1)
        return float(np.partition(scores, place)[place]) if place < scores.size else math.inf
    order = np.argsort(scores, kind="stable")
    counted_until = np.cumsum((1 / np.bincount(codes)[codes])[order])
    enough = np.flatnonzero(counted_until >= needed)
    return float(scores[order[enough[0]]]) if enough.size else math.inf


def _fewest(error_rate: float) -> int:
    """How many units a finite threshold takes."""
    return math.ceil(1 / error_rate - 1 - 1e-9)


def _uniform(ids: pd.Index, seed: int) -> Floats:
    """A number in [0, 1) for each id, the same wherever it comes."""
    texts = ids.astype(str).to_numpy(dtype=object)
    hashed = pd.util.hash_array(texts, hash_key=f"{seed % 10**16:016d}", categorize=False)
    uniform: Floats = (hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform
