"""A set of predictions: the one form in which all parts of the package take and give them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.errors import InputError, check_flag
from lsplus_tf.predictions import checks
from lsplus_tf.predictions.arrays import (
    FloatArray,
    LogOdds,
    average_ties,
    log_probabilities,
    one_ranking,
    row_blocks,
    softmax,
)
from lsplus_tf.predictions.checks import Kind, ScoreKind
from lsplus_tf.tables import Rows, class_order

Truth = Literal["labels", "votes", "posterior"]
Known = Truth | Literal["probabilities"]

# What is there in some kinds of predictions only, or not always, (N, ...).
_OF_CASES = ("_scores", "_predicted", "_confidence", "_labels")
_COLUMNS_BLOCK = 2**22  # elements of the columns that are copied at a time: 16 MB in float32
_SMALL = 2**16  # elements of scores of which all columns are copied at once


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Predictions:
    """A model's predictions of N cases and K classes, and the truth: checked, and frozen.

    Parameters
    ----------
    labels : array_like, shape (N,) or (N, 1), or None
        True classes: integers in [0, K), or names of `class_names`; rows (N, K) of zeros and a
        single one are taken too. None where they are not known; what needs them then says so.
    probabilities, logits : array_like, shape (N, K), (N,) or (N, 1), optional
        One of the two. Rows of probabilities sum to 1 within 1e-3, in 16 bits within 1e-2, and
        where they were rounded within K/2 units of their last decimal. A single column is the
        probability, or the log-odds, of the second class. Floats of 16 to 64 bits are not copied.
    predicted, confidence : array_like, shape (N,) or (N, 1), optional
        In place of these, where no more is known: the most probable class, as the labels have it,
        and its probability. What needs the probabilities of all classes then says so.
    class_names : sequence of str, length K, optional
        All different; default "0", "1" and so on. Beside `predicted` those that occur in it or in
        the labels, in order; name them all if the model has more.
    ids : array_like, shape (N,), optional
        What the cases are called, each once.
    groups : array_like, shape (N,), optional
        The patient, lesion or slide of each case. Cases of a group are no independent evidence.
    subgroups : mapping of str to array_like, shape (N,), optional
        Subgroups to report separately, such as sites: at most 50 different values each; missing
        ones are a subgroup of their own.
    votes : array_like, shape (N, K), optional
        Annotators' votes for each class, counts or shares, at least one in each row. They and the
        posterior stand beside the scores of all classes only.
    posterior : array_like, shape (N, K), optional
        The exact p(y | x), where it is known.
    sample_weight : array_like, shape (N,), optional
        What each case counts: metrics are those of cases that are repeated so often. Numbers of at
        least 0 that are not all 0.
    model : str, optional
        `lsplus_tf.fingerprint` of the model whose own outputs the scores are. A calibrator that is
        fitted to them keeps it. Other scores, as calibrated ones or a mean, are no model's own.
    rows : Rows, optional
        What the rows are called in messages, and the file that they are of.

    Attributes
    ----------
    kind : {"probabilities", "logits", "confidence"}
        What `scores` are; "confidence" where there are none.
    groups : ndarray of int, shape (N,), or None
        As numbers 0..G-1, in the order in which they come.
    group_names : Index or None
        What the groups are called, as text.
    source : str
        The file that was read, for messages.
    unused : tuple of str
        Columns of that file, if it is a table, that play no part.

    Raises
    ------
    InputError
        If something is not as above; the message names the first rows that are not.

    Examples
    --------
    >>> names = ["HP", "SSA"]
    >>> predictions = Predictions(["SSA", "HP"], [[0.9, 0.1], [0.7, 0.3]], class_names=names)
    >>> predictions.labels.tolist(), predictions.correct.tolist()
    ([1, 0], [False, True])
    >>> Predictions([1, 0], logits=[1.5, -0.5]).probabilities.round(3).tolist()
    [[0.182, 0.818], [0.622, 0.378]]
    >>> predictions.take([1]).labels.tolist()
    [0]
    >>> Predictions(["SSA", "HP"], predicted=["HP", "HP"], confidence=[0.9, 0.7]).correct.tolist()
    [False, True]
    """

    kind: Kind
    class_names: tuple[str, ...]
    ids: pd.Index | None
    groups: npt.NDArray[np.intp] | None
    group_names: pd.Index | None
    subgroups: dict[str, pd.Categorical]
    votes: npt.NDArray[Any] | None
    posterior: npt.NDArray[np.float64] | None
    sample_weight: npt.NDArray[np.float64] | None
    model: str | None
    source: str
    unused: tuple[str, ...]

    def __init__(
        self,
        labels: npt.ArrayLike | None,
        probabilities: npt.ArrayLike | None = None,
        *,
        logits: npt.ArrayLike | None = None,
        predicted: npt.ArrayLike | None = None,
        confidence: npt.ArrayLike | None = None,
        class_names: Sequence[str] | None = None,
        ids: npt.ArrayLike | None = None,
        groups: npt.ArrayLike | None = None,
        subgroups: Mapping[str, npt.ArrayLike] | None = None,
        votes: npt.ArrayLike | None = None,
        posterior: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        model: str | None = None,
        rows: Rows | None = None,
    ) -> None:
        rows = rows or Rows()
        given = {
            "probabilities": probabilities,
            "logits": logits,
            "predicted": predicted,
            "confidence": confidence,
        }
        match [name for name, values in given.items() if values is not None]:
            case ["predicted", "confidence"]:
                known = checks.top_label(labels, predicted, confidence, class_names, rows)
            case ["probabilities" | "logits" as kind]:
                known = checks.all_classes(labels, kind, given[kind], class_names, rows)
            case received:
                raise rows.error(
                    "expected probabilities or logits, one of the two, or else predicted and "
                    f"confidence, both; received {', '.join(received) or 'none of them'}"
                )
        for name, matrix in (("votes", votes), ("posterior", posterior)):
            if matrix is not None and known.kind == "confidence":
                raise rows.error(
                    f"{name}: expected probabilities or logits of all classes beside it, received "
                    "the predicted class and its confidence alone"
                )
        samples, shape = known.samples, (known.samples, len(known.class_names))
        found, group_names = (
            (None, None) if groups is None else checks.groups(groups, samples, rows)
        )
        self._fill(
            kind=known.kind,
            _scores=known.scores,
            _predicted=known.predicted,
            _confidence=known.confidence,
            _labels=known.labels,
            class_names=known.class_names,
            ids=None if ids is None else checks.ids(ids, samples, rows),
            groups=found,
            group_names=group_names,
            subgroups={
                name: checks.subgroup(name, values, samples, rows)
                for name, values in (subgroups or {}).items()
            },
            votes=None if votes is None else checks.votes(votes, shape, rows),
            posterior=None if posterior is None else checks.posterior(posterior, shape, rows),
            sample_weight=(
                None
                if sample_weight is None
                else checks.sample_weight(sample_weight, samples, rows)
            ),
            model=None if model is None else checks.fingerprint(model, rows),
            source=rows.source,
            unused=rows.unused,
        )

    def __len__(self) -> int:
        first = "_confidence" if self.kind == "confidence" else "_scores"
        return len(self.__dict__[first])

    def __repr__(self) -> str:
        where = f" of {self.source}" if self.source else ""
        return f"<Predictions: {len(self)} cases, {len(self.class_names)} classes{where}>"

    # What is given -------------------------------------------------------------------------------

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """True classes in [0, K), (N,)."""
        self.need("labels")
        found: npt.NDArray[np.int64] = self.__dict__["_labels"]
        return found

    @property
    def scores(self) -> FloatArray:
        """Probabilities or logits as they were given, (N, K)."""
        self.need("probabilities")
        found: FloatArray = self.__dict__["_scores"]
        return found

    @property
    def name(self) -> str:
        """The file's name without its folder, or "predictions"."""
        return Path(self.source).name or "predictions"

    def need(self, *known: Known) -> None:
        """Raise `InputError` unless these are known; probabilities are those of all classes.

        Examples
        --------
        >>> Predictions(None, [[0.9, 0.1]]).need("labels")
        Traceback (most recent call last):
        lsplus_tf.errors.InputError: labels: expected predictions with labels, received some without
        """
        for each in known:
            if each == "probabilities":
                if self.kind == "confidence":
                    raise Rows(self.source).error(
                        "probabilities: expected those of all classes, received predictions with "
                        "the predicted class and its confidence alone; make them with "
                        "probabilities or logits (N, K)"
                    )
            elif self.__dict__["_labels" if each == "labels" else each] is None:
                raise InputError(f"{each}: expected predictions with {each}, received some without")

    def take(self, rows: npt.ArrayLike) -> Predictions:
        """Some of the cases.

        Parameters
        ----------
        rows : array_like of int, shape (M,), or of bool, shape (N,)
            Their numbers, in any order, or which they are.

        Returns
        -------
        Predictions
            Those of the cases; its groups are numbered anew.
        """
        chosen = np.asarray(rows)

        def of(values: Any) -> Any:
            return None if values is None else values[chosen]

        groups, names = of(self.groups), self.group_names
        if groups is not None and names is not None:
            groups, left = pd.factorize(groups)
            names = names[left]
        return self._changed(
            **{name: of(self.__dict__[name]) for name in _OF_CASES},
            ids=of(self.ids),
            groups=groups,
            group_names=names,
            subgroups={name: values[chosen] for name, values in self.subgroups.items()},
            votes=of(self.votes),
            posterior=of(self.posterior),
            sample_weight=of(self.sample_weight),
        )

    def top_label(self) -> Predictions:
        """The same with the predicted class and its confidence alone.

        Examples
        --------
        >>> full = Predictions([1, 0], [[0.9, 0.1], [0.7, 0.3]])
        >>> full.top_label().confidence.tolist()
        [0.9, 0.7]
        """
        return self._changed(
            kind="confidence",
            _scores=None,
            _predicted=self.predicted,
            _confidence=self.confidence,
            votes=None,
            posterior=None,
        )

    def replace(
        self,
        *,
        probabilities: npt.ArrayLike | None = None,
        logits: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        groups: npt.ArrayLike | None = None,
        class_names: Sequence[str] | None = None,
        model: str | None = None,
    ) -> Predictions:
        """The same cases with other scores, labels, groups or names, which are checked.

        Other scores are of no known model, unless it is given.

        Parameters
        ----------
        probabilities, logits : array_like, shape (N, K), optional
            At most one of the two.
        labels, groups : array_like, shape (N,), optional
        class_names : sequence of str, length K, optional
            What the same classes are called.
        model : str, optional
            The fingerprint of the model that the scores are of.

        Returns
        -------
        Predictions

        Raises
        ------
        InputError
            If something is not as above.

        Examples
        --------
        >>> sharp = Predictions([0, 1], [[0.9, 0.1], [0.2, 0.8]], ids=["a", "b"])
        >>> sharp.replace(probabilities=[[0.8, 0.2], [0.3, 0.7]]).ids.tolist()
        ['a', 'b']
        """
        rows, samples, classes = Rows(), len(self), len(self.class_names)
        changes: dict[str, Any] = {}
        if probabilities is not None and logits is not None:
            raise rows.error("expected probabilities or logits, received both")
        if probabilities is not None or logits is not None:
            kind: ScoreKind = "logits" if probabilities is None else "probabilities"
            scores = checks.scores(kind, logits if probabilities is None else probabilities, rows)
            if scores.shape != (samples, classes):
                raise rows.error(
                    f"{kind}: expected shape {(samples, classes)}, as those that they replace, "
                    f"received {scores.shape}"
                )
            changes |= self._of_scores(kind, scores)
        if labels is not None:
            given = {"labels": labels}
            changes["_labels"] = checks.classes(given, self.class_names, samples, rows)["labels"]
        if groups is not None:
            changes["groups"], changes["group_names"] = checks.groups(groups, samples, rows)
        if class_names is not None:
            names = tuple(map(str, class_names))
            if len(names) != classes or len(set(names)) != classes:
                raise rows.error(
                    f"class_names: expected {classes} different names, received {', '.join(names)}"
                )
            changes["class_names"] = names
        if model is not None:
            changes["model"] = checks.fingerprint(model, rows)
        return self._changed(**changes)

    def computed(self, kind: ScoreKind, scores: FloatArray, *, how: str = "") -> Predictions:
        """The same cases with scores (N, K) that were computed of these, and need no check.

        How is said behind the file that these are from, which does not hold them.
        """
        source = f"{self.source}, {how}" if self.source and how else self.source
        return self._changed(**self._of_scores(kind, scores), source=source)

    def ordered(self, class_names: Sequence[str]) -> Predictions:
        """The same with the classes in another order, which has all of them.

        Without scores it may have more: they are classes that did not occur.
        """
        given = sorted(class_names)
        if self.kind == "confidence" and len(set(given)) == len(given):
            given = [name for name in given if name in self.class_names]
        if given != sorted(self.class_names):
            raise InputError(
                f"class_names: expected the classes {', '.join(self.class_names)} in some order, "
                f"received {', '.join(class_names)}"
            )
        labels = self.__dict__["_labels"]
        if self.kind == "confidence":
            place = np.array([class_names.index(name) for name in self.class_names])
            return self._changed(
                class_names=tuple(class_names),
                _predicted=place.astype(np.min_scalar_type(len(class_names) - 1))[self.predicted],
                _labels=None if labels is None else place[labels],
            )
        order = np.array([self.class_names.index(name) for name in class_names])
        return self._changed(
            class_names=tuple(class_names),
            _scores=self.scores[:, order],
            _labels=None if labels is None else np.argsort(order)[labels],
            votes=None if self.votes is None else self.votes[:, order],
            posterior=None if self.posterior is None else self.posterior[:, order],
        )

    def same_scores(self, other: Predictions) -> bool:
        """Whether all scores are the very same, or without them all predicted classes and such."""
        return self.kind == other.kind and all(
            np.array_equal(self.__dict__[name], other.__dict__[name])
            for name in ("_scores", "_predicted", "_confidence")
        )

    def digest(self) -> str:
        """A text that identifies a set of cases: "sha256:" and 64 digits.

        It is of the labels, scores, ids and sample weights, in their order; numbers count, and not
        in how many bits they are. A calibrator keeps that of the cases it was fitted to.

        Examples
        --------
        >>> one, other = Predictions([0], [[0.9, 0.1]]), Predictions([1], [[0.9, 0.1]])
        >>> one.digest() == Predictions([0], [[0.9, 0.1]]).digest(), one.digest() == other.digest()
        (True, False)
        """
        found = hashlib.sha256()
        parts = {name: self.__dict__[name] for name in _OF_CASES}
        for name, values in {**parts, "ids": self.ids, "weights": self.sample_weight}.items():
            if values is None:
                continue
            found.update(f"{name} {values.shape}\n".encode())
            if isinstance(values, pd.Index):
                texts = [str(each).encode("utf-8", "surrogatepass") for each in values]
                found.update(b"".join(b"%d:%b" % (len(text), text) for text in texts))
                continue
            kind = "<f8" if values.dtype.kind == "f" else "<i8"
            for rows in row_blocks(values) if values.size else ():
                found.update(np.ascontiguousarray(values[rows], kind).tobytes())
        return f"sha256:{found.hexdigest()}"

    # What follows from it ------------------------------------------------------------------------

    @cached_property
    def probabilities(self) -> FloatArray:
        """Probabilities (N, K); the softmax, in float64, where the scores are logits."""
        return self.scores if self.kind == "probabilities" else _fixed(softmax(self.scores))

    @cached_property
    def logits(self) -> FloatArray:
        """Logits (N, K); of probabilities, their logarithms in float64, at least that of 1e-38."""
        if self.kind == "logits":
            return self.scores
        return _fixed(log_probabilities(self.scores.astype(np.float64)))

    @cached_property
    def predicted(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Most probable class (N,), the first one where several tie; in as few bits as hold it."""
        if self.kind == "confidence":
            return self.__dict__["_predicted"]
        samples, classes = self.scores.shape
        predicted = np.empty(samples, np.min_scalar_type(classes - 1))
        for rows in row_blocks(self.scores):
            predicted[rows] = self.scores[rows].argmax(axis=1)
        return _fixed(predicted)

    @cached_property
    def confidence(self) -> FloatArray:
        """Probability of the predicted class (N,), in the dtype of the probabilities."""
        if self.kind == "confidence":
            return self.__dict__["_confidence"]
        return _fixed(self._at(self.probabilities, self.predicted))

    @cached_property
    def true_probability(self) -> FloatArray:
        """Probability of the true class (N,), in the dtype of the probabilities."""
        return _fixed(self._at(self.probabilities, self.labels))

    @cached_property
    def weights(self) -> npt.NDArray[np.float64]:
        """What each case counts (N,): the sample weights, or 1."""
        if self.sample_weight is not None:
            return self.sample_weight
        return _fixed(np.ones(len(self)))

    @cached_property
    def weights_are_counts(self) -> bool:
        """Whether the weights are whole numbers: how often each case is there.

        Other weights say what cases count beside each other, and not how many there are.
        """
        return bool((self.weights == np.floor(self.weights)).all())

    def counted(self) -> Predictions:
        """Those that count: without the cases of weight 0."""
        weights = self.sample_weight
        return self if weights is None or weights.all() else self.take(weights > 0)

    def weighted(self, weights: npt.NDArray[np.float64] | None) -> Predictions:
        """The same cases with other weights (N,), which need no check."""
        return self._changed(sample_weight=weights)

    def refuse_weights(self, why: str) -> None:
        """Raise `InputError` if there are sample weights, which something cannot take.

        Examples
        --------
        >>> weighted = Predictions([0], [[0.9, 0.1]], sample_weight=[2])
        >>> weighted.refuse_weights("this")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        lsplus_tf.errors.InputError: sample_weight: ...
        """
        if self.sample_weight is not None:
            raise InputError(
                f"sample_weight: {why} takes no weights; give predictions without them, or with "
                "each case as often as it counts"
            )

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the predicted class is the true one (N,)."""
        return _fixed(self.predicted == self.labels)

    @cached_property
    def class_counts(self) -> npt.NDArray[np.int64]:
        """How many cases are of each class (K,)."""
        return _fixed(np.bincount(self.labels, minlength=len(self.class_names)))

    @cached_property
    def ranked(self) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Confidence and correctness from the most to the least confident sample, both (N,).

        Equally confident samples are in no particular order.
        """
        # Positive floats are ordered as the integers of the same bits, and leave the sign's bit for
        # the correctness: sorting these is several times as fast as sorting indices.
        unsigned = np.dtype(f"u{self.confidence.itemsize}")
        keys = self.confidence.view(unsigned) << 1
        keys |= self.correct
        keys.sort()
        keys = keys[::-1]
        correct = (keys & 1).astype(bool)
        keys >>= 1
        return _fixed(keys.view(self.confidence.dtype)), _fixed(correct)

    @cached_property
    def cumulative_correct(self) -> npt.NDArray[np.float64]:
        """Number of correct samples among the i most confident ones, i = 0..N, (N + 1,).

        Inside a group of equal confidence the order means nothing: there it is the expectation over
        all orders, a straight line between the group's ends.
        """
        ranked, correct = self.ranked
        cumulative = np.zeros(ranked.size + 1)
        np.cumsum(correct, dtype=np.float64, out=cumulative[1:])
        return _fixed(average_ties(cumulative, ranked))

    def columns(self) -> Iterator[tuple[int, FloatArray]]:
        """Each class and its probabilities (N,), which may be changed at will."""
        for first, columns in self.column_blocks(
            lambda some: self.probabilities[:, some].T.copy("C")
        ):
            yield from enumerate(columns, start=first)

    def rankings(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Classes, and numbers (N,) that rank the cases by each against all others.

        Of logits they are in the order of the log-odds, which tell cases apart whose probabilities
        all round to 1. Of two classes the second alone comes: one ranking serves both.
        """
        if len(self.class_names) == 2:
            yield 1, one_ranking(self.scores, self.kind == "logits")
        elif self.kind == "probabilities":
            yield from self.columns()
        else:
            odds = LogOdds(self.scores)
            for first, columns in self.column_blocks(odds.of):
                yield from enumerate(columns, start=first)

    def column_blocks(
        self, columns: Callable[[slice], npt.NDArray[Any]]
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Blocks of columns (k, N), which a function makes of a slice, with the first's number.

        A single column of a row-major array touches all of its memory; several at once do not cost
        more. Two blocks are held at a time, so that each is a small part of the whole.
        """
        samples, classes = self.scores.shape
        step = max(1, min(classes // 12, _COLUMNS_BLOCK // samples))
        if self.scores.size <= _SMALL:
            step = classes
        for first in range(0, classes, step):
            yield first, columns(slice(first, first + step))

    def _at(self, array: FloatArray, classes: npt.NDArray[np.integer[Any]]) -> FloatArray:
        """One class (N,) of each row of an array (N, K)."""
        picked = np.empty(classes.size, array.dtype)
        for rows in row_blocks(classes):
            block = array[rows]
            picked[rows] = block[np.arange(len(block)), classes[rows]]
        return picked

    def _changed(self, **changes: Any) -> Predictions:
        """The same but for some valid attributes; what was computed is left behind."""
        new = object.__new__(Predictions)
        names = (*_OF_CASES, *Predictions.__dataclass_fields__)
        new._fill(**{name: self.__dict__[name] for name in names} | changes)
        return new

    @staticmethod
    def _of_scores(kind: ScoreKind, scores: FloatArray) -> dict[str, Any]:
        """What changes with other scores, which are then not a model's own."""
        return {
            "kind": kind,
            "_scores": scores,
            "_predicted": None,
            "_confidence": None,
            "model": None,
        }

    def _fill(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            fixed = _fixed(value) if isinstance(value, np.ndarray) else value
            object.__setattr__(self, name, fixed)


def as_predictions(
    truth: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    of: Truth = "labels",
    named: str = "probabilities",
) -> Predictions:
    """What a function was given as (labels, probabilities), or as one `Predictions`.

    Parameters
    ----------
    truth : array_like or Predictions
        Labels (N,), or what `of` says; or predictions that have them.
    probabilities : array_like, shape (N, K), optional
        None beside predictions.
    from_logits : bool
        Whether the rows are logits instead.
    sample_weight : array_like, shape (N,), optional
        Not beside predictions, which have their own.
    of : {"labels", "votes", "posterior"}
        What the truth is, and has to be there.
    named : str
        What the caller calls the probabilities, for messages.

    Returns
    -------
    Predictions
        The one that was given, which is not checked again.

    Raises
    ------
    InputError
        If they are not valid, or if predictions come with something else.

    Examples
    --------
    >>> as_predictions([0, 1], [[0.9, 0.1], [0.2, 0.8]]).correct.tolist()
    [True, True]
    >>> as_predictions([[0.9, 0.1], [0.2, 0.8]], [0, 1])  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: labels: ...
    """
    check_flag("from_logits", from_logits)
    if isinstance(truth, Predictions):
        if probabilities is not None:
            raise InputError(
                f"{named}: expected nothing beside Predictions, which have their own, received "
                f"a {type(probabilities).__name__}"
            )
        if sample_weight is not None:
            raise InputError(
                "sample_weight: expected none beside Predictions, which have their own; make them "
                "with sample_weight="
            )
        given = truth
    elif probabilities is None or isinstance(probabilities, Predictions):
        raise InputError(
            f"{named}: expected ({of}, {named}), or one lsp.Predictions alone, received "
            + (f"{of} alone" if probabilities is None else "Predictions in the second place")
        )
    else:
        kind: ScoreKind = "logits" if from_logits else "probabilities"
        scores: dict[str, Any] = {kind: probabilities}
        try:
            if of == "labels":
                checks.exchanged(truth, named, probabilities, Rows())
            checks.several_columns(kind, probabilities, Rows())
            truths: dict[str, Any] = {"labels": None, of: truth}
            given = Predictions(**truths, **scores, sample_weight=sample_weight)
        except InputError as error:
            if named == "probabilities":
                raise
            raise InputError(str(error).replace("probabilities:", f"{named}:", 1)) from None
    given.need(of)
    return given


def ordered_as(first: Predictions, second: Predictions, named: tuple[str, str]) -> Predictions:
    """The second with its cases and classes in the order of the first, which has the same.

    Parameters
    ----------
    first, second : Predictions
        With labels. Cases are matched by id and classes by name where both have them; otherwise
        they are in one order, and equal labels have to do for a sign of it.
    named : tuple of (str, str)
        What the caller calls them, for messages.

    Returns
    -------
    Predictions

    Raises
    ------
    InputError
        Another shape, or other classes, ids or labels.

    Examples
    --------
    >>> first = Predictions([0, 1], [[0.9, 0.1], [0.2, 0.8]], ids=["a", "b"])
    >>> second = Predictions([1, 0], [[0.4, 0.6], [0.7, 0.3]], ids=["b", "a"])
    >>> ordered_as(first, second, ("one", "other")).ids.tolist()
    ['a', 'b']
    """
    one, other = named
    names = first.class_names
    unnamed = tuple(map(str, range(len(names))))
    if len(names) == len(second.class_names) and unnamed in (names, second.class_names):
        pass  # in one order, for all that is known
    elif set(names) == set(second.class_names):
        second = second.ordered(names)
    else:
        raise InputError(
            f"{other}: expected the classes of {one}, {', '.join(names)}; "
            f"received {', '.join(second.class_names)}"
        )
    if len(first) != len(second):
        raise InputError(
            f"{other}: expected the {len(first)} cases of {one}, received {len(second)}"
        )
    if first.ids is not None and second.ids is not None and not first.ids.equals(second.ids):
        positions = second.ids.get_indexer(first.ids)
        missing = np.flatnonzero(positions < 0)
        if missing.size:
            raise InputError(
                f"{other}: expected the cases of {one}, received none with the id "
                f"{first.ids[missing[0]]!r}"
            )
        second = second.take(positions)
    different = np.flatnonzero(first.labels != second.labels)
    if different.size:
        row = int(different[0])
        case = f"row {row}" if first.ids is None else f"id {first.ids[row]!r}"
        raise InputError(
            f"{other}: expected the labels of {one}, received others for {different.size} of "
            f"{len(first)} cases: {case} is {names[first.labels[row]]!r} there, "
            f"{names[second.labels[row]]!r} here"
        )
    return second


def of_one_kind(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions]:
    """Both with what both have: where one has the confidence alone, the other too.

    Classes that occurred in one of the two only are then classes of both.

    Examples
    --------
    >>> full = Predictions([0, 2], [[0.9, 0.1, 0.0], [0.2, 0.1, 0.7]])
    >>> less = Predictions([0, 2], predicted=[0, 0], confidence=[0.8, 0.6])
    >>> [(each.kind, each.class_names) for each in of_one_kind(full, less)]
    [('confidence', ('0', '1', '2')), ('confidence', ('0', '1', '2'))]
    """
    both = (first, second)
    if all(each.kind != "confidence" for each in both):
        return first, second
    whole = next((each.class_names for each in both if each.kind != "confidence"), None)
    names = whole or class_order({*first.class_names, *second.class_names})

    def of_both(each: Predictions) -> Predictions:
        each = each.top_label()
        # Those that have no class in common may be names and numbers of the same.
        alike = set(first.class_names) & set(second.class_names)
        return each.ordered(names) if alike and set(each.class_names) < set(names) else each

    return of_both(first), of_both(second)


def weighted_alike(
    first: Predictions, second: Predictions, named: tuple[str, str]
) -> tuple[Predictions, Predictions]:
    """Both with the sample weights that one of them has; `InputError` where they have others.

    They are of the same cases in the same order.

    Examples
    --------
    >>> one = Predictions([0], [[0.9, 0.1]], sample_weight=[2])
    >>> other = Predictions([0], [[0.7, 0.3]])
    >>> [each.weights.tolist() for each in weighted_alike(one, other, ("one", "other"))]
    [[2.0], [2.0]]
    """
    own, others = first.sample_weight, second.sample_weight
    if own is not None and others is not None and not np.allclose(own, others, rtol=1e-9, atol=0):
        row = int(np.argmax(~np.isclose(own, others, rtol=1e-9, atol=0)))
        raise InputError(
            f"sample_weight: expected the weights of {named[0]} in {named[1]} too, received "
            f"{others[row]:g} in place of {own[row]:g} for case {row}"
        )
    if own is others or (own is not None and others is not None):
        return first, second
    weights = others if own is None else own
    return first.weighted(weights), second.weighted(weights)


def concatenated(parts: Sequence[Predictions]) -> Predictions:
    """The cases of several one after the other: their scores, labels and posteriors.

    Parameters
    ----------
    parts : sequence of Predictions
        Of the same classes. Where some are logits and some probabilities, the result has
        probabilities; where some have the confidence alone, it has no more.

    Returns
    -------
    Predictions
        Without ids, groups, subgroups and votes, as the same case may be in several; of a model
        where all are of that one.

    Examples
    --------
    >>> one = Predictions([0], [[0.9, 0.1]])
    >>> len(concatenated([one, one]))
    2
    """
    first = parts[0]
    kinds = {part.kind for part in parts}
    kind: Kind = first.kind if len(kinds) == 1 else "probabilities"
    if "confidence" in kinds:
        kind, parts = "confidence", [part.top_label() for part in parts]

    def joined(arrays: list[Any]) -> Any:
        return None if any(array is None for array in arrays) else np.concatenate(arrays)

    of_all = kind != "confidence"
    return first._changed(
        kind=kind,
        _scores=np.concatenate([getattr(part, kind) for part in parts]) if of_all else None,
        _predicted=None if of_all else np.concatenate([part.predicted for part in parts]),
        _confidence=None if of_all else np.concatenate([part.confidence for part in parts]),
        _labels=joined([part.__dict__["_labels"] for part in parts]),
        ids=None,
        groups=None,
        group_names=None,
        subgroups={},
        votes=None,
        posterior=joined([part.posterior for part in parts]),
        sample_weight=joined([part.sample_weight for part in parts]),
        model=first.model if len({part.model for part in parts}) == 1 else None,
    )


def _fixed(array: npt.NDArray[Any]) -> Any:
    """A view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
