"""What every metric starts from: checked predictions, and what several metrics derive from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lsplus_tf.errors import InputError, check_choice

Convention = Literal["standard", "paper"]
Binning = Literal["equal_width", "equal_mass"]
Closed = Literal["right", "left"]
Norm = float | Literal["max"]

FloatArray = npt.NDArray[np.floating[Any]]

# float32 softmaxes stay within 1e-5 of a sum of 1; those of 16 bits were seen to be off by 2e-3
# (float16) and 6e-3 (bfloat16). Logits and percentages are off by far more.
_ROW_SUM_TOLERANCE = 1e-3
_ROW_SUM_TOLERANCE_16_BITS = 1e-2
_POSTERIOR_SUM_TOLERANCE = 1e-6  # it is computed, in float64

_NEGATIVE = "probabilities: expected no negative numbers (are they logits? give from_logits=True)"

# What is worked on at a time: 1 to 2 MB, which stays in a core's cache; with few classes less, so
# that it is a small part of the predictions.
_BLOCK = 2**18  # elements
_BLOCK_ROWS = 2**12


@dataclass(frozen=True, eq=False)
class Predictions:
    """Valid probabilities (N, K) and labels (N,), and what is computed from them at most once."""

    probabilities: FloatArray
    labels: npt.NDArray[np.int64]
    convention: Convention

    @cached_property
    def predicted(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Most probable class (N,), the first one where several tie; in as few bits as hold it."""
        samples, classes = self.probabilities.shape
        predicted = np.empty(samples, np.min_scalar_type(classes - 1))
        for rows in row_blocks(self.probabilities):
            predicted[rows] = self.probabilities[rows].argmax(axis=1)
        return predicted

    @cached_property
    def confidence(self) -> FloatArray:
        """Probability of the predicted class (N,), in the dtype of the probabilities."""
        return self._probability_of(self.predicted)

    @cached_property
    def true_probability(self) -> FloatArray:
        """Probability of the true class (N,), in the dtype of the probabilities."""
        return self._probability_of(self.labels)

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the predicted class is the true one (N,)."""
        return self.predicted == self.labels

    @cached_property
    def ranked(self) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Confidence and correctness from the most to the least confident sample, both (N,).

        Equally confident samples are in no particular order, in the paper's convention in theirs.
        """
        if self.convention == "paper":
            ranking = np.argsort(-self.confidence, kind="stable")
            return self.confidence[ranking], self.correct[ranking]
        # Positive floats are ordered as the integers of the same bits, and leave the sign's bit for
        # the correctness: sorting these is several times as fast as sorting indices.
        unsigned = np.dtype(f"u{self.confidence.itemsize}")
        keys = self.confidence.view(unsigned) << 1
        keys |= self.correct
        keys.sort()
        keys = keys[::-1]
        correct = (keys & 1).astype(bool)
        keys >>= 1
        return keys.view(self.confidence.dtype), correct

    @cached_property
    def cumulative_correct(self) -> npt.NDArray[np.float64]:
        """Number of correct samples among the i most confident ones, i = 0..N, (N + 1,).

        Inside a group of equal confidence the order means nothing, so the standard convention
        takes the expectation over all orders: a straight line between the group's ends.
        """
        ranked, correct = self.ranked
        cumulative = np.zeros(ranked.size + 1)
        np.cumsum(correct, dtype=np.float64, out=cumulative[1:])
        return cumulative if self.convention == "paper" else average_ties(cumulative, ranked)

    def _probability_of(self, classes: npt.NDArray[np.integer[Any]]) -> FloatArray:
        """Probability (N,) of one class in each row."""
        picked = np.empty(classes.size, self.probabilities.dtype)
        for rows in row_blocks(classes):
            block = self.probabilities[rows]
            picked[rows] = block[np.arange(len(block)), classes[rows]]
        return picked


def check_predictions(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    convention: Convention = "standard",
    *,
    from_logits: bool = False,
) -> Predictions:
    """Predictions that are safe to measure.

    Parameters
    ----------
    probabilities : array_like, shape (N, K)
        N >= 1, K >= 2; not negative, every row sums to 1 within 1e-3, in 16 bits within 1e-2. Any
        real dtype; 16, 32 and 64 bit floats are kept, not copied.
    labels : array_like of int, shape (N,)
        True classes in [0, K).
    convention : {"standard", "paper"}
        "paper" casts the probabilities to float32 and flushes subnormals to zero, as the
        TensorFlow 2.4 of the LS+ authors did.
    from_logits : bool
        The rows are finite logits instead, whose softmax is taken in float64.

    Raises
    ------
    InputError
        If something is not as above; the message names the argument and the first bad row.
    """
    check_choice("convention", convention, Convention)
    checked = check_probabilities(probabilities, from_logits=from_logits)
    true_classes = _check_labels(np.asarray(labels), *checked.shape)
    if convention == "paper":
        checked = checked.astype(np.float32, copy=False)
        checked = np.where(checked < np.finfo(np.float32).tiny, np.float32(0), checked)
    return Predictions(checked, true_classes, convention)


def check_votes(
    probabilities: npt.ArrayLike, votes: npt.ArrayLike, *, from_logits: bool
) -> tuple[FloatArray, npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Probabilities (N, K), votes (N, K) and the votes of each row (N,), safe to measure.

    The votes are finite, not negative and not all 0 in any row; they are not divided here.
    """
    checked = check_probabilities(probabilities, from_logits=from_logits)
    array = _numbers_beside("votes", votes, checked)
    with np.errstate(invalid="ignore", over="ignore"):
        row_sums: npt.NDArray[np.float64] = array.sum(axis=1, dtype=np.float64)
    _refuse_rows(~np.isfinite(row_sums), array, "votes: expected finite numbers")
    if array.min() < 0:
        negative = np.asarray((array < 0).any(axis=1))
        _refuse_rows(negative, array, "votes: expected no negative numbers")
    _refuse_rows(row_sums == 0, array, "votes: expected a vote in every row")
    return checked, array, row_sums


def check_posterior(
    probabilities: npt.ArrayLike, posterior: npt.ArrayLike, *, from_logits: bool = False
) -> tuple[FloatArray, npt.NDArray[np.float64]]:
    """Probabilities and the exact posterior, both (N, K), safe to measure.

    The posterior is finite and not negative, and its rows sum to 1 within 1e-6.
    """
    checked = check_probabilities(probabilities, from_logits=from_logits)
    array = _numbers_beside("posterior", posterior, checked)
    exact = array.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        row_sums: npt.NDArray[np.float64] = exact.sum(axis=1)
    _refuse_rows(~np.isfinite(row_sums), exact, "posterior: expected finite numbers")
    negative = np.asarray((exact < 0).any(axis=1))
    _refuse_rows(negative, exact, "posterior: expected no negative numbers")
    wrong = np.abs(row_sums - 1) > _POSTERIOR_SUM_TOLERANCE
    _refuse_rows(wrong, row_sums, "posterior: expected rows that sum to 1 (within 1e-6)")
    return checked, exact


def check_count(name: str, value: int) -> None:
    """Raise InputError unless the value is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InputError(f"{name}: expected an integer of at least 1, received {value!r}")


def check_level(name: str, value: float) -> None:
    """Raise InputError unless the value is a number between 0 and 1, neither included."""
    if not (isinstance(value, (float, np.floating)) and 0 < value < 1):
        raise InputError(f"{name}: expected a number between 0 and 1, received {value!r}")


def check_seed(value: int) -> None:
    """Raise InputError unless the value is an integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise InputError(f"seed: expected an integer of at least 0, received {value!r}")


def check_flag(name: str, value: bool) -> None:
    """Raise InputError unless the value is a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name}: expected True or False, received {value!r}")


def check_norm(norm: Norm) -> float:
    """The exponent of a norm: at least 1, infinity for "max"; InputError for anything else."""
    if norm == "max":
        return np.inf
    number = isinstance(norm, (int, float, np.number)) and not isinstance(norm, bool)
    if not number or not norm >= 1:
        raise InputError(f"norm: expected a number of at least 1 or 'max', received {norm!r}")
    return float(norm)


def check_fraction(name: str, value: float) -> None:
    """Raise InputError unless the value is a number in [0, 1]."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise InputError(f"{name}: expected a number in [0, 1], received {value!r}")


def average_ties(
    cumulative: npt.NDArray[np.float64], ranked: FloatArray
) -> npt.NDArray[np.float64]:
    """Cumulative sums (N + 1,) over ranked values (N,), in expectation over the orders of ties.

    That is a straight line between the ends of each group of equal values. Changed in place.
    """
    tied = ranked[1:] == ranked[:-1]
    inside = np.flatnonzero(tied) + 1
    if inside.size:
        ends = np.concatenate(([0], np.flatnonzero(~tied) + 1, [ranked.size]))
        cumulative[inside] = np.interp(inside, ends, cumulative[ends])
    return cumulative


def row_blocks(array: npt.NDArray[Any]) -> Iterator[slice]:
    """Slices that walk over an array (N,) or (N, K), so that temporaries stay small."""
    rows = len(array)
    step = max(1, min(_BLOCK_ROWS, _BLOCK * rows // array.size))
    return (slice(start, start + step) for start in range(0, rows, step))


def softmax(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Softmax over the last axis, in float64 and without overflow.

    Parameters
    ----------
    logits : array_like, shape (..., K)
        Finite numbers.

    Returns
    -------
    ndarray of float64, shape (..., K)
        Rows in [0, 1] that sum to 1.

    Raises
    ------
    InputError
        If a logit is NaN or infinite.

    Examples
    --------
    >>> softmax([[0.0, 0.0], [1000.0, 0.0]]).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    rows = np.array(logits, dtype=np.float64)  # a copy, in which all is done
    finite = np.isfinite(rows)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(f"logits: expected finite numbers, received {rows[where]} at {where}")
    rows -= rows.max(axis=-1, keepdims=True)
    np.exp(rows, out=rows)
    rows /= rows.sum(axis=-1, keepdims=True)
    return rows


def check_probabilities(probabilities: npt.ArrayLike, *, from_logits: bool = False) -> FloatArray:
    """Probabilities (N, K) as :func:`check_predictions` wants them."""
    check_flag("from_logits", from_logits)
    array = np.asarray(probabilities)
    if array.ndim != 2:
        raise InputError(f"probabilities: expected shape (N, K), received {array.shape}")
    if array.shape[0] == 0:
        raise InputError(f"probabilities: expected at least one row, received shape {array.shape}")
    if array.shape[1] < 2:
        raise InputError(
            "probabilities: expected one column per class, at least two, "
            f"received shape {array.shape}"
        )
    tolerance = _ROW_SUM_TOLERANCE_16_BITS if array.dtype.itemsize == 2 else _ROW_SUM_TOLERANCE
    if array.dtype.name == "bfloat16":  # what TensorFlow gives, of no kind that NumPy knows
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise InputError(f"probabilities: expected real numbers, received dtype {array.dtype}")
    if from_logits:
        return softmax(array)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # ranked by its bits
    if not _are_surely_distributions(array, tolerance):
        _refuse_other_than_distributions(array, tolerance)
    return array


def _are_surely_distributions(array: FloatArray, tolerance: float) -> bool:
    """Whether no number is negative and all rows sum to 1 within half the tolerance.

    Sums in float32 are exact enough for that; NaN and infinity survive them.
    """
    for rows in row_blocks(array):
        block = array[rows]
        with np.errstate(invalid="ignore", over="ignore"):
            sums = np.einsum("nk->n", block, dtype=np.promote_types(array.dtype, np.float32))
            close = np.abs(sums - 1) <= tolerance / 2
        if not close.all() or block.min() < 0:
            return False
    return True


def _refuse_other_than_distributions(array: FloatArray, tolerance: float) -> None:
    # One sum per row finds NaN and infinity without a mask of N x K.
    with np.errstate(invalid="ignore"):
        row_sums: npt.NDArray[np.float64] = array.sum(axis=1, dtype=np.float64)
    _refuse_rows(~np.isfinite(row_sums), array, "probabilities: expected finite numbers")
    if array.min() < 0:
        negative = np.asarray((array < 0).any(axis=1))
        _refuse_rows(negative, array, _NEGATIVE)
    _refuse_rows(
        np.abs(row_sums - 1) > tolerance,
        row_sums,
        f"probabilities: expected rows that sum to 1 (within {tolerance:g}; of logits, give "
        "from_logits=True; of a model that computes in 16 bits, make the last layer float32)",
    )


def _check_labels(array: npt.NDArray[Any], rows: int, classes: int) -> npt.NDArray[np.int64]:
    if array.shape == (rows, 1):  # as MedMNIST and Keras store them
        array = array[:, 0]
    if array.shape != (rows,):
        raise InputError(
            f"labels: expected shape ({rows},), one class index for each row of probabilities, "
            f"received {array.shape}"
        )
    if array.dtype.kind not in "iub":
        raise InputError(
            f"labels: expected integers, received dtype {array.dtype} ({array[0]!r} at row 0)"
        )
    if array.min() < 0 or array.max() >= classes:
        outside = np.asarray((array < 0) | (array >= classes))
        _refuse_rows(outside, array, f"labels: expected integers from 0 to {classes - 1}")
    return array.astype(np.int64, copy=False)


def _numbers_beside(
    name: str, values: npt.ArrayLike, probabilities: FloatArray
) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.shape != probabilities.shape:
        raise InputError(
            f"{name}: expected shape {probabilities.shape}, as the probabilities have, "
            f"received {array.shape}"
        )
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name}: expected real numbers, received dtype {array.dtype}")
    return array


def _refuse_rows(bad: npt.NDArray[np.bool_], values: npt.NDArray[Any], expected: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        # A row of a thousand classes would bury the message.
        received = np.array2string(values[row], threshold=8, edgeitems=4, max_line_width=10_000)
        raise InputError(f"{expected}, received {received} at row {row}")
