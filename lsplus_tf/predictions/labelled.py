"""Predictions with their labels and what else is known of each case, checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.metrics._predictions import row_blocks, softmax
from lsplus_tf.predictions.rows import Rows

FloatArray = npt.NDArray[np.floating[Any]]
Kind = Literal["probabilities", "logits"]

_ROW_SUM_TOLERANCE = 1e-3  # those that `lsplus_tf.metrics` has
_ROW_SUM_TOLERANCE_16_BITS = 1e-2
_SMALLEST = 1e-38  # stands for a probability of 0 in logits
_MOST_SUBGROUPS = 50
_MISSING = "(missing)"


@dataclass(frozen=True, eq=False)
class LabelledPredictions:
    """A model's predictions of N cases and K classes, and the truth; all of it valid.

    Attributes
    ----------
    kind : {"probabilities", "logits"}
        What `scores` are.
    scores : ndarray, shape (N, K)
        16, 32 or 64 bit floats.
    labels : ndarray of int64, shape (N,)
        True classes in [0, K).
    class_names : tuple of str, length K
        All different.
    ids : pandas.Index or None
        N different names of the cases, as text.
    groups : ndarray of int, shape (N,), or None
        Patients or the like as numbers 0..G-1. Cases of a group are no independent evidence.
    subgroups : dict of str to pandas.Categorical
        By what the cases can be told apart, such as a site.
    votes : ndarray, shape (N, K), or None
        Annotators' votes for each class.
    source : str
        Where it was read, for messages.
    unused : tuple of str
        Columns of that file, if it is a table, that play no part.

    Examples
    --------
    `label_predictions` and `read_predictions` check what they make it of.

    >>> names = ["HP", "SSA"]
    >>> predictions = label_predictions(["SSA", "HP"], logits=[1.5, -0.5], class_names=names)
    >>> predictions.probabilities.round(3).tolist()
    [[0.182, 0.818], [0.622, 0.378]]
    >>> predictions.take(np.array([1])).labels.tolist()
    [0]
    """

    kind: Kind
    scores: FloatArray
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    ids: pd.Index | None = None
    groups: npt.NDArray[np.intp] | None = None
    subgroups: dict[str, pd.Categorical] = field(default_factory=dict)
    votes: npt.NDArray[Any] | None = None
    source: str = ""
    unused: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def name(self) -> str:
        """The file's name without its folder, or "predictions"."""
        return Path(self.source).name or "predictions"

    @cached_property
    def probabilities(self) -> FloatArray:
        """Probabilities (N, K): the softmax, in float64, where the scores are logits."""
        return self.scores if self.kind == "probabilities" else softmax(self.scores)

    @cached_property
    def logits(self) -> npt.NDArray[np.float64]:
        """Logits (N, K) in float64: of probabilities, their logarithms, at least that of 1e-38."""
        scores = self.scores.astype(np.float64)
        return scores if self.kind == "logits" else np.log(np.maximum(scores, _SMALLEST))

    def take(self, rows: npt.NDArray[np.intp]) -> LabelledPredictions:
        """Some of the cases, in the order of `rows` (M,)."""
        return LabelledPredictions(
            self.kind,
            self.scores[rows],
            self.labels[rows],
            self.class_names,
            None if self.ids is None else self.ids[rows],
            None if self.groups is None else pd.factorize(self.groups[rows])[0],
            {name: values[rows] for name, values in self.subgroups.items()},
            None if self.votes is None else self.votes[rows],
            self.source,
            self.unused,
        )


def label_predictions(
    labels: npt.ArrayLike,
    *,
    probabilities: npt.ArrayLike | None = None,
    logits: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    ids: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    subgroups: Mapping[str, npt.ArrayLike] | None = None,
    votes: npt.ArrayLike | None = None,
    rows: Rows | None = None,
) -> LabelledPredictions:
    """Check predictions and what belongs to them.

    Parameters
    ----------
    labels : array_like, shape (N,) or (N, 1)
        True classes: names, or integers in [0, K).
    probabilities, logits : array_like, shape (N, K), or of two classes (N,) or (N, 1)
        One of the two. A single column is the probability, or the log-odds, of the second class.
    class_names : sequence of str, length K, optional
        Default "0", "1" and so on.
    ids, groups : array_like, shape (N,), optional
    subgroups : mapping of str to array_like, shape (N,), optional
        At most 50 different values each; missing ones are a subgroup of their own.
    votes : array_like, shape (N, K), optional
        Counts or shares, at least one in each row.
    rows : Rows, optional
        What they are called in messages.

    Returns
    -------
    LabelledPredictions

    Raises
    ------
    InputError
        If something is not as above; the message names the first rows that are not.

    Examples
    --------
    >>> predictions = label_predictions(
    ...     ["SSA", "HP"], probabilities=[[0.9, 0.1], [0.7, 0.3]], class_names=["HP", "SSA"]
    ... )
    >>> predictions.labels.tolist()
    [1, 0]
    """
    rows = rows or Rows()
    if (probabilities is None) == (logits is None):
        raise rows.error("expected probabilities or logits, one of the two")
    kind: Kind = "logits" if probabilities is None else "probabilities"
    scores = _scores(kind, probabilities if logits is None else logits, rows)
    samples, classes = scores.shape
    names = tuple(map(str, range(classes) if class_names is None else class_names))
    if len(names) != classes or len(set(names)) != classes:
        raise rows.error(
            f"class_names: expected {classes} different names, received {', '.join(names)}"
        )
    return LabelledPredictions(
        kind,
        scores,
        _labels(labels, names, samples, rows),
        names,
        None if ids is None else _ids(ids, samples, rows),
        None if groups is None else _groups(groups, samples, rows),
        {name: _subgroup(name, v, samples, rows) for name, v in (subgroups or {}).items()},
        None if votes is None else _votes(votes, scores.shape, rows),
        rows.source,
    )


def _scores(kind: Kind, given: Any, rows: Rows) -> FloatArray:
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise rows.error(f"{kind}: expected numbers, received dtype {array.dtype}")
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or not array.size:
        raise rows.error(
            f"{kind}: expected shape (N, K), a row for each case and a column for each class, "
            f"received shape {array.shape}"
        )
    sums = _row_sums(array)
    rows.refuse(
        ~np.isfinite(sums), kind, "a finite number in every column", lambda row: array[row].tolist()
    )
    if array.shape[1] == 1:
        array = _both_classes(kind, array, rows)
        sums = _row_sums(array)
    check = _check_probabilities if kind == "probabilities" else _refuse_probabilities
    check(array, sums, rows)
    return array


def _both_classes(kind: Kind, column: FloatArray, rows: Rows) -> FloatArray:
    """Scores (N, 2) from those of the second class alone, (N, 1)."""
    outside = ((column < 0) | (column > 1))[:, 0]
    if kind == "logits":
        if len(column) >= 10 and not outside.any():
            raise rows.error(
                "logits: received a column of numbers from 0 to 1: declare it as probabilities"
            )
        return np.concatenate([np.zeros_like(column), column], axis=1)
    hint = (
        "divide percentages by 100"
        if column.min() >= 0 and column.max() <= 100
        else "if they are logits, declare them as logits"
    )
    rows.refuse(outside, kind, f"numbers from 0 to 1 ({hint})", lambda row: column[row, 0])
    return np.concatenate([1 - column, column], axis=1)


def _row_sums(array: FloatArray) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore", over="ignore"):
        return np.einsum("nk->n", array, dtype=np.float64)


def _tolerance(array: FloatArray) -> float:
    return _ROW_SUM_TOLERANCE_16_BITS if array.dtype.itemsize == 2 else _ROW_SUM_TOLERANCE


def _check_probabilities(array: FloatArray, sums: npt.NDArray[np.float64], rows: Rows) -> None:
    def row(number: int) -> str:
        return np.array2string(array[number], threshold=8, max_line_width=10_000)

    tolerance = _tolerance(array)
    off = np.abs(sums - 1) > tolerance
    if array.min() < 0:
        negative = np.concatenate([(array[block] < 0).any(axis=1) for block in row_blocks(array)])
        hint = "if they are logits, declare them as logits"
        rows.refuse(negative, "probabilities", f"no negative number ({hint})", row)
    if not off.any():
        return
    if (np.abs(sums / 100 - 1) <= tolerance).all():
        hint = "they sum to 100: divide percentages by 100"
    elif np.abs(sums - 1).max() <= 0.01 * array.shape[1]:
        hint = "if they were rounded, write more decimals or divide each row by its sum"
    else:
        hint = "if they are logits, declare them as logits"
    rows.refuse(
        off,
        "probabilities",
        f"rows that sum to 1 within {tolerance:g} ({hint})",
        lambda number: f"{row(number)}, which sum to {sums[number]:.6g},",
    )


def _refuse_probabilities(array: FloatArray, sums: npt.NDArray[np.float64], rows: Rows) -> None:
    if array.min() >= 0 and (np.abs(sums - 1) <= _tolerance(array)).all():
        raise rows.error(
            "logits: received rows of numbers from 0 to 1 that sum to 1: declare them as "
            "probabilities"
        )


def _column(name: str, given: npt.ArrayLike, samples: int, rows: Rows) -> Any:
    """Values (N,), as pandas has them if they are of pandas."""
    values: Any = given if isinstance(given, (pd.Index, pd.Series)) else np.asarray(given)
    if values.shape == (samples, 1):
        values = values[:, 0]
    if values.shape != (samples,):
        raise rows.error(f"{name}: expected {samples} values, received shape {values.shape}")
    return values


def _codes(name: str, values: Any, rows: Rows) -> tuple[npt.NDArray[np.intp], Any]:
    """A number for each value, and the different values; none may be missing."""
    codes, distinct = pd.factorize(values)
    empty = (pd.Series(distinct).astype("str").str.strip() == "").to_numpy(np.bool_)
    rows.refuse((codes < 0) | np.isin(codes, np.flatnonzero(empty)), name, "a value", _none)
    return codes, distinct


def _none(_: int) -> str:
    return "none"


def _labels(
    given: npt.ArrayLike, names: tuple[str, ...], samples: int, rows: Rows
) -> npt.NDArray[np.int64]:
    values = _column("labels", given, samples, rows)
    codes, distinct = _codes("labels", values, rows)
    texts = [_text(value) for value in distinct]
    position = {name: k for k, name in enumerate(names)}
    by_name = np.array([position.get(text, -1) for text in texts], np.int64)
    by_index = np.array([_as_index(text, len(names)) for text in texts], np.int64)
    # Names first: classes may be called 1, 2 and 3.
    indexed = np.count_nonzero(by_index >= 0) > np.count_nonzero(by_name >= 0)
    classes = by_index if indexed else by_name
    if (classes < 0).any():
        shown = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
        expected = f"one of the classes {shown}" + (
            "" if names == tuple(map(str, range(len(names)))) else f", or 0..{len(names) - 1}"
        )
        wrong = np.isin(codes, np.flatnonzero(classes < 0))
        rows.refuse(wrong, "labels", expected, lambda row: repr(texts[codes[row]]))
    return classes[codes]


def _text(value: Any) -> str:
    if isinstance(value, (float, np.floating)) and value == np.round(value):
        return str(int(value))  # what pandas makes of integers beside a missing one
    return str(value).strip()


def _as_index(text: str, classes: int) -> int:
    if classes == 2 and text.lower() in ("false", "true"):
        return int(text.lower() == "true")
    number = re.fullmatch(r"(\d+)(?:\.0*)?", text)
    return int(number[1]) if number and int(number[1]) < classes else -1


def _ids(given: npt.ArrayLike, samples: int, rows: Rows) -> pd.Index:
    values = pd.Series(_column("ids", given, samples, rows))
    rows.refuse(values.isna().to_numpy(), "ids", "a value", _none)
    ids = pd.Index(values.astype("str"))  # so that 7 in one file is "7" in another
    again = np.asarray(ids.duplicated(keep=False))
    if again.any():
        first = ids[int(again.argmax())]
        same = np.flatnonzero(np.asarray(ids == first))
        count = np.count_nonzero(np.asarray(ids.duplicated()))
        raise rows.error(
            f"ids: expected every case once, received {first!r} at {rows.named(same)} "
            f"({count} of {samples} rows repeat an id; if it names a patient, declare it as the "
            "group)"
        )
    return ids


def _groups(given: npt.ArrayLike, samples: int, rows: Rows) -> npt.NDArray[np.intp]:
    codes, distinct = _codes("groups", _column("groups", given, samples, rows), rows)
    if len(distinct) < 2:
        raise rows.error(f"groups: expected two or more, received only {distinct[0]!r}")
    return codes


def _subgroup(name: str, given: npt.ArrayLike, samples: int, rows: Rows) -> pd.Categorical:
    codes, distinct = pd.factorize(_column(f"subgroup {name}", given, samples, rows))
    texts = [_text(value) or _MISSING for value in distinct] + [_MISSING]  # where a code is -1
    names, position = np.unique(texts, return_inverse=True)
    categorical = pd.Categorical.from_codes(position[codes], names.tolist())
    categorical = categorical.remove_unused_categories()
    if len(categorical.categories) > _MOST_SUBGROUPS:
        raise rows.error(
            f"subgroup {name}: expected at most {_MOST_SUBGROUPS} different values, received "
            f"{len(categorical.categories)}; put numbers such as ages into a few ranges"
        )
    return categorical


def _votes(given: npt.ArrayLike, shape: tuple[int, ...], rows: Rows) -> npt.NDArray[Any]:
    votes = np.asarray(given)
    if votes.shape != shape or votes.dtype.kind not in "fiub":
        raise rows.error(
            f"votes: expected numbers of shape {shape}, as the scores have, received shape "
            f"{votes.shape}, dtype {votes.dtype}"
        )
    with np.errstate(invalid="ignore"):
        sums = votes.sum(axis=1, dtype=np.float64)
        bad = ~(np.isfinite(sums) & (sums > 0)) | (votes < 0).any(axis=1)
    rows.refuse(bad, "votes", "counts of which one is above 0", lambda row: votes[row].tolist())
    return votes
