"""What calibration error chance alone makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsplus_tf.metrics import bin_totals, forms, measures, weighted
from lsplus_tf.metrics.metric import Sums
from lsplus_tf.metrics.resampling import Cases, resampled
from lsplus_tf.predictions import Predictions

_DRAWS = 10**8  # of single cases, so that a million of them take seconds
_FEWEST, _MOST = 200, 1000
_BLOCK = 2**18  # cases that are drawn at a time, which stay in the processor's cache


@dataclass(frozen=True)
class Chance:
    """The ECE of a calibrated model of the same confidences.

    Attributes
    ----------
    mean : float
        What it has on average in a sample of this size.
    upper : float
        What it stays below in 95% of samples.
    p_value : float
        How often it is at least the ECE that was observed.
    """

    mean: float
    upper: float
    p_value: float


def ece_by_chance(predictions: Predictions, seed: int) -> Chance:
    """The ECE, with 15 bins of equal width, that chance makes.

    Without groups each case is drawn right with its confidence, 200 to 1000 times over. With
    groups, whose cases are right or wrong together in a way that confidences do not tell, the bins'
    gaps are those of resampled groups about the observed ones.
    """
    groups = predictions.groups
    repetitions = int(np.clip(_DRAWS // len(predictions), _FEWEST, _MOST))
    if groups is None:
        errors = _drawn(predictions, np.random.default_rng(seed), repetitions)
    else:
        form = forms.ece(predictions)
        totals = (form.terms.T @ predictions.weights)[:, np.newaxis]
        samples = weighted.total(predictions)

        def about_observed(
            drawn: npt.NDArray[np.float64], sums: npt.NDArray[np.float64]
        ) -> npt.NDArray[np.float64]:
            return np.abs(sums - totals * drawn / samples).sum(axis=0) / drawn

        cases = Cases.all_of(len(predictions), groups, seed)
        drawn = Sums(form.terms, about_observed, form.weights)
        (errors,) = resampled([drawn], cases, repetitions, seed)
    observed = measures.ece(predictions)
    # Sums in another order may differ by rounding.
    larger = np.count_nonzero(errors >= observed - 1e-9)
    return Chance(
        float(errors.mean()),
        float(np.quantile(errors, 0.95)),
        float((1 + larger) / (1 + repetitions)),
    )


def _drawn(
    predictions: Predictions, rng: np.random.Generator, repetitions: int
) -> npt.NDArray[np.float64]:
    """The ECE (repetitions,) of labels drawn from the confidences."""
    confidence, own = np.sort(predictions.confidence), None
    if predictions.sample_weight is not None:
        order = np.argsort(predictions.confidence)
        confidence, own = predictions.confidence[order], predictions.sample_weight[order]
    edges = bin_totals.equal_width_edges(bin_totals.PAPER_BINS, confidence.dtype)
    # Bins of sorted confidences are slices.
    starts = np.flatnonzero(np.diff(bin_totals.bin_index(confidence, edges), prepend=0))
    confidence = confidence.astype(np.float64)
    expected = np.add.reduceat(confidence if own is None else own * confidence, starts)
    chances, total = confidence.astype(np.float32), weighted.total(predictions)
    ends = [*starts[1:].tolist(), confidence.size]
    parts = [slice(*each) for each in zip(starts.tolist(), ends, strict=True)]
    errors = []
    size = max(1, _BLOCK // confidence.size)
    numbers = np.empty((size, confidence.size), np.float32)
    is_right = np.empty(numbers.shape, bool)
    for start in range(0, repetitions, size):
        some = slice(min(size, repetitions - start))
        rng.random(dtype=np.float32, out=numbers[some])
        right = np.less(numbers[some], chances, out=is_right[some])
        if own is None:
            # Bytes are counted several times as fast as they are added up.
            hits = np.array([[np.count_nonzero(row[part]) for part in parts] for row in right])
        else:
            hits = np.add.reduceat(right * own, starts, axis=1)
        errors.append(np.abs(hits - expected).sum(axis=1) / total)
    return np.concatenate(errors)
