"""What bins hold: of the predicted class's confidence, or of every class's probability."""

import functools
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import MOST_BINS, InputError, check_choice, check_count
from lsplus_tf.metrics import weighted
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.arrays import FloatArray, row_blocks

Binning = Literal["equal_width", "equal_mass"]
Closed = Literal["right", "left"]
Norm = float | Literal["max"]

PAPER_BINS = 15
# The side of a bin of equal width that belongs to it, where nobody asks for another.
CLOSED: Closed = "right"
_FEW_EDGES = 1_001  # of which it is worth while to look for a number that tells the bin


class BinTotals(NamedTuple):
    """Sums over the samples of each bin, float64 (B,): how many, their confidence, the hits.

    With weights, of these: what they count, and their weighted confidence and hits.
    """

    samples: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    correct: npt.NDArray[np.float64]


def top_label_bins(
    predictions: Predictions,
    num_bins: int,
    convention: Convention = "standard",
    *,
    closed: Closed = CLOSED,
) -> BinTotals:
    """What the B bins of equal width hold when samples are binned by confidence."""
    edges = equal_width_edges(num_bins, predictions.confidence.dtype)
    check_closed(closed, convention)
    return width_totals(
        predictions.confidence,
        predictions.correct,
        edges,
        convention,
        closed,
        predictions.sample_weight,
    )


def equal_mass_bins(
    predictions: Predictions, num_bins: int, convention: Convention = "standard"
) -> BinTotals:
    """What the B bins hold that cut the samples, ranked by confidence, into equal parts."""
    check_count("num_bins", num_bins, most=MOST_BINS)
    if predictions.sample_weight is not None:
        return weighted_mass_totals(weighted.by_confidence(predictions), num_bins)
    ranked = predictions.ranked[0]
    if convention == "released_code":
        samples = ranked.size
        positions = np.linspace(0, samples, num_bins + 1)
        quantiles = np.interp(positions, np.arange(samples), ranked[::-1]).astype(np.float32)
        return width_totals(predictions.confidence, predictions.correct, quantiles, "released_code")
    return mass_totals(ranked, predictions.cumulative_correct, num_bins)


def label_bins(
    predictions: Predictions,
    num_bins: int,
    binning: Binning,
    closed: Closed,
    convention: Convention = "standard",
) -> BinTotals:
    """The top label's bins in either binning."""
    check_choice("binning", binning, Binning)
    check_closed(closed, convention)
    if binning == "equal_mass":
        return equal_mass_bins(predictions, num_bins, convention)
    return top_label_bins(predictions, num_bins, convention, closed=closed)


def width_totals(
    confidence: FloatArray,
    hits: npt.NDArray[Any],
    edges: FloatArray,
    convention: Convention = "standard",
    closed: Closed = CLOSED,
    weights: npt.NDArray[np.float64] | None = None,
) -> BinTotals:
    """Totals of the bins between the edges."""
    totals = np.zeros((3, edges.size + 1))
    for rows in row_blocks(confidence):
        index = bin_index(confidence[rows], edges, convention, closed)
        terms: tuple[Any, ...] = (None, confidence[rows], hits[rows])
        if weights is not None:
            own = weights[rows]
            terms = own, own * confidence[rows], own * hits[rows]
        for total, term in zip(totals, terms, strict=True):
            total += np.bincount(index, term, minlength=edges.size + 1)
    return BinTotals(*totals[:, 1:-1])


def mass_totals(
    ranked: FloatArray, cumulative_hits: npt.NDArray[np.float64], num_bins: int
) -> BinTotals:
    """Totals of bins whose sizes differ by at most one, of confidences in descending order."""
    ends = np.arange(num_bins + 1) * ranked.size // num_bins
    cumulative = np.concatenate(([0.0], np.cumsum(ranked, dtype=np.float64)))
    return BinTotals(
        np.diff(ends).astype(np.float64),
        np.diff(cumulative[ends]),
        np.diff(cumulative_hits[ends]),
    )


def weighted_mass_totals(ranked: weighted.Ranked, num_bins: int) -> BinTotals:
    """The same with weights: bins of N/B samples, as :mod:`lsplus_tf.metrics.weighted` has N."""
    ends = np.arange(num_bins + 1) * ranked.samples // num_bins
    return BinTotals(
        np.diff(ends).astype(np.float64),
        np.diff(ranked.up_to(ends, ranked.sums)),
        np.diff(ranked.up_to(ends, ranked.hits)),
    )


def gap_norm(totals: BinTotals, samples: float, norm: Norm = 1) -> float:
    """The p-norm of the bins' gaps under their shares of the samples."""
    exponent = check_norm(norm)
    gaps = np.abs(totals.confidence - totals.correct)
    if exponent == 1:
        return float(gaps.sum() / samples)
    filled = totals.samples > 0
    gaps, sizes = gaps[filled] / totals.samples[filled], totals.samples[filled]
    largest = gaps.max(initial=0.0)
    if np.isinf(exponent) or largest == 0:
        return float(largest)
    # Relative to the largest gap, so that a high power does not underflow.
    share = np.sum(sizes / samples * (gaps / largest) ** exponent)
    return float(largest * share ** (1 / exponent))


def class_bin_sums(
    predictions: Predictions,
    num_bins: int,
    powers: tuple[int, ...],
    closed: Closed = CLOSED,
    convention: Convention = "standard",
) -> npt.NDArray[np.float64]:
    """Sums of powers of each class's probabilities in its bins of equal width, (P, K, B)."""
    probabilities = predictions.probabilities
    classes = probabilities.shape[1]
    edges = equal_width_edges(num_bins, probabilities.dtype)
    slots, weights = num_bins + 2, predictions.sample_weight
    totals = np.zeros((len(powers), classes))
    sums = np.zeros((len(powers), classes * slots))
    for rows in row_blocks(probabilities):
        block = probabilities[rows]
        # With many classes nearly every probability is in the first bin, which is what the others
        # leave of a class's total. With weights that would leave more than nothing by rounding.
        if weights is None:
            beyond = np.flatnonzero(block > edges[1] if closed == "right" else block >= edges[1])
        else:
            beyond = np.arange(block.size)
        values = block.ravel()[beyond]
        index = bin_index(values, edges, convention, closed)
        index += beyond % classes * slots
        for i, power in enumerate(powers):
            terms = values.astype(np.float64) ** power
            if weights is None:
                totals[i] += _column_sums(block, power)
            else:
                terms *= weights[rows].repeat(classes)
            sums[i] += np.bincount(index, terms, minlength=classes * slots)
    binned = sums.reshape(len(powers), classes, slots)
    if weights is None:
        binned[:, :, 1] = totals - binned[:, :, 2:].sum(axis=2)
    return binned[:, :, 1:-1]


def class_bin_hits(
    predictions: Predictions,
    num_bins: int,
    closed: Closed = CLOSED,
    values: npt.NDArray[Any] | None = None,
    convention: Convention = "standard",
) -> npt.NDArray[np.float64]:
    """How many samples of each class have its probability in a bin, or their values, (K, B)."""
    weights = predictions.sample_weight
    if weights is not None:
        values = weights if values is None else weights * values
    true = predictions.true_probability
    edges = equal_width_edges(num_bins, true.dtype)
    classes, slots = predictions.probabilities.shape[1], num_bins + 2
    hits = np.zeros(classes * slots)
    for rows in row_blocks(true):
        index = bin_index(true[rows], edges, convention, closed)
        index += predictions.labels[rows] * slots
        hits += np.bincount(index, None if values is None else values[rows], hits.size)
    return hits.reshape(classes, slots)[:, 1:-1]


def equal_width_edges(num_bins: int, dtype: npt.DTypeLike) -> FloatArray:
    """The B + 1 edges of bins of equal width, rounded to the dtype of what they bin."""
    check_count("num_bins", num_bins, most=MOST_BINS)
    return _equal_width(int(num_bins), np.dtype(dtype))


@functools.lru_cache(maxsize=16)
def _equal_width(num_bins: int, dtype: np.dtype[Any]) -> FloatArray:
    edges: FloatArray = (np.arange(num_bins + 1) / num_bins).astype(dtype)
    edges.flags.writeable = False
    return edges


@functools.lru_cache(maxsize=16)
def _bins_per_unit(edges: bytes, dtype: np.dtype[Any], closed: Closed) -> float | None:
    """What a probability is multiplied by, in float64, for its bin, if there is such a number.

    For float32 and 15 bins there is, for most numbers of bins there is none. Rounding keeps the
    order, so that it is enough to try the numbers at both sides of each edge.
    """
    given = np.frombuffer(edges, dtype)
    num_bins = given.size - 1
    if dtype.itemsize > 4 or not np.array_equal(given, _equal_width(num_bins, dtype)):
        return None
    inner, numbers = given[1:-1], np.arange(1, num_bins)
    beside = np.nextafter(inner, dtype.type(2 if closed == "right" else 0))
    low, high = (inner, beside) if closed == "right" else (beside, inner)
    below, above = low.astype(np.float64), high.astype(np.float64)
    for steps in range(-8, 9):
        factor = num_bins * (1 + steps * float(np.finfo(dtype).eps) / 8)
        if (below * factor < numbers).all() and (above * factor >= numbers).all():
            return factor
    return None


def check_norm(norm: Norm) -> float:
    """The exponent of a norm: at least 1, infinity for "max"; InputError for anything else."""
    if norm == "max":
        return np.inf
    number = isinstance(norm, (int, float, np.number)) and not isinstance(norm, bool)
    if not number or not norm >= 1:
        raise InputError(f"norm: expected a number of at least 1 or 'max', received {norm!r}")
    return float(norm)


def check_closed(closed: Closed, convention: Convention) -> None:
    check_choice("closed", closed, Closed)
    if closed == "left" and convention == "released_code":
        raise InputError("closed: expected 'right', which the paper's bins are, received 'left'")


def bin_index(
    values: FloatArray,
    edges: FloatArray,
    convention: Convention = "standard",
    closed: Closed = CLOSED,
) -> npt.NDArray[np.intp]:
    """Bins 1..B; in the paper's convention also 0, not above the first edge, and B + 1."""
    if convention == "standard" and edges.size <= _FEW_EDGES and edges.dtype == values.dtype:
        factor = _bins_per_unit(edges.tobytes(), edges.dtype, closed)
        if factor is not None:
            found = np.multiply(values, factor, dtype=np.float64).astype(np.intp)
            found += 1
            return found.clip(1, edges.size - 1, out=found)
    if values.size < 256 * edges.size or edges.size > 32:
        index = np.searchsorted(edges, values, side="left" if closed == "right" else "right")
    else:  # for few edges it is faster to count those below each value
        is_above = np.greater if closed == "right" else np.greater_equal
        counts = np.zeros(values.shape, np.uint8)
        for edge in edges:
            counts += is_above(values, edge)
        index = counts.astype(np.intp)
    return index if convention == "released_code" else index.clip(1, edges.size - 1, out=index)


def _column_sums(block: FloatArray, power: int) -> npt.NDArray[np.float64]:
    if power == 0:
        return np.full(block.shape[1], float(block.shape[0]))
    values = block.astype(np.float64)
    return np.einsum("nk->k", values if power == 1 else values**power)
