"""What is computed from the rows of predictions: blocks of them, softmax, log-odds, ties."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lsplus_tf.errors import InputError

FloatArray = npt.NDArray[np.floating[Any]]

# What is worked on at a time: 1 to 2 MB, which stays in a core's cache; with few classes less, so
# that it is a small part of the predictions.
_BLOCK = 2**18  # elements
_BLOCK_ROWS = 2**12

_SMALLEST = 1e-38  # stands for a probability of 0 in logits


def row_blocks(array: npt.NDArray[Any]) -> Iterator[slice]:
    """Slices that walk over an array (N,) or (N, K), so that temporaries stay small."""
    rows = len(array)
    step = max(1, min(_BLOCK_ROWS, _BLOCK * rows // array.size))
    return (slice(start, start + step) for start in range(0, rows, step))


def of_impossible(logits: npt.NDArray[Any]) -> str:
    """What to give for logits of which all that are not finite say that a class is impossible."""
    infinite = logits[~np.isfinite(logits)]
    only = infinite.size and (infinite < 0).all()
    return "in place of -inf give numbers as np.maximum(logits, -1e4) has" if only else ""


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
        If a logit is NaN, infinite or masked.

    Examples
    --------
    >>> softmax([[0.0, 0.0], [1000.0, 0.0]]).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    if np.ma.is_masked(logits):
        raise InputError("logits: expected a value everywhere, received masked ones")
    rows = np.array(logits, dtype=np.float64)  # a copy, in which all is done
    finite = np.isfinite(rows)
    if not finite.all():
        where, hint = tuple(int(i) for i in np.argwhere(~finite)[0]), of_impossible(rows)
        raise InputError(
            f"logits: expected finite numbers, received {rows[where]} at {where}"
            + (f"; {hint}" if hint else "")
        )
    rows -= rows.max(axis=-1, keepdims=True)
    np.exp(rows, out=rows)
    rows /= rows.sum(axis=-1, keepdims=True)
    return rows


def log_probabilities(probabilities: Any, xp: Any = np) -> Any:
    """Logarithms of float64 probabilities, at least that of 1e-38; in `numpy` or `keras.ops`."""
    return xp.log(xp.maximum(probabilities, _SMALLEST))


class LogOdds:
    """log p_k / (1 - p_k) of logits or probabilities (N, K), a few classes at a time.

    Those of logits rank cases where the probabilities of all of them round to 1.
    """

    def __init__(self, scores: FloatArray, *, are_logits: bool = True) -> None:
        self._scores, self._are_logits = scores, are_logits
        samples = len(scores)
        self._top = np.empty(samples, np.min_scalar_type(scores.shape[1] - 1))
        self._rest, self._everything = np.empty(samples), np.empty(samples)
        for rows in row_blocks(scores):
            rivals = self._logits(scores[rows])
            each = np.arange(len(rivals))
            top = rivals.argmax(axis=1)
            largest = rivals[each, top]
            rivals[each, top] = -np.inf
            second = rivals.max(axis=1)
            rivals -= second[:, np.newaxis]
            # Of the most probable class 1 - p rounds to 0, so that its rivals are summed instead.
            rest = second + np.log(np.exp(rivals, out=rivals).sum(axis=1))
            self._top[rows], self._rest[rows] = top, rest
            self._everything[rows] = np.logaddexp(largest, rest)

    def of(self, classes: slice) -> npt.NDArray[np.float64]:
        """Those of some classes, (classes, N)."""
        columns = self._logits(self._scores[:, classes].T)
        numbers = np.arange(self._scores.shape[1], dtype=self._top.dtype)[classes]
        top = numbers[:, np.newaxis] == self._top
        of_top = columns[top] - np.broadcast_to(self._rest, top.shape)[top]
        columns -= self._everything
        # Where p is above 1/2 the class is the most probable one, of which this is not used.
        columns[top] = -1.0
        columns -= np.log1p(-np.exp(columns))
        columns[top] = of_top
        return columns

    def _logits(self, scores: FloatArray) -> npt.NDArray[np.float64]:
        """A copy."""
        found = np.array(scores, np.float64, order="C")
        return found if self._are_logits else log_probabilities(found)


def one_ranking(scores: FloatArray, are_logits: bool) -> npt.NDArray[Any]:
    """Numbers (N,) in the order of the log-odds of the second of two classes.

    Of probabilities it is exact at both ends: 1e-12 and 2e-12 differ, and so do 1 - 1e-12 and
    1 - 2e-12 as far as the other column tells them apart.
    """
    if are_logits:
        return scores[:, 1].astype(np.float64) - scores[:, 0].astype(np.float64)
    # Positive floats are ordered as the integers of the same bits.
    signed = np.dtype(f"i{scores.itemsize}")
    zero = scores.dtype.type(0)  # added, it makes 0 of -0
    first, second = ((c + zero).view(signed).astype(np.int64) for c in scores.T.copy())
    half = np.asarray(0.5, scores.dtype).view(signed).astype(np.int64)
    return np.where(second <= first, second.clip(max=half), (2 * half - first).clip(min=half))


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
