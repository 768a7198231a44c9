"""What sample weights mean: a metric is that of samples that are repeated this many times.

Whole numbers say how often each sample is there; N is then their sum. Other weights say what
samples count beside each other, so that only their ratios matter: they are scaled to a sum of N,
the number of samples that have one above 0. Most metrics depend on the ratios in either case. Those
that depend on N too are the ones that rank samples and count them: bins of equal mass, curves over
the samples, and what corrects for a sample's own part. What they do between whole numbers of
samples is what they do among samples of equal value: sums grow in a straight line.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import digamma

from lsplus_tf.errors import InputError
from lsplus_tf.metrics.metric import Values
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.arrays import FloatArray

_MOST_POINTS = 10**8  # of a curve that has one for each repetition: 0.8 GB


def total(predictions: Predictions) -> float:
    """What all samples count, N where there are no weights."""
    weights = predictions.sample_weight
    return float(len(predictions)) if weights is None else float(weights.sum())


def number(predictions: Predictions) -> int:
    """N, as weights are taken."""
    if predictions.sample_weight is None:
        return len(predictions)
    return samples_of(predictions.weights, predictions.weights_are_counts)[1]


def mean(values: npt.NDArray[Any], predictions: Predictions) -> float:
    """The mean of a value (N,) of each sample; of floats in float64."""
    weights = predictions.sample_weight
    if weights is None:
        return float(values.mean(dtype=np.float64))
    return float(weights @ values / weights.sum())


def class_totals(classes: npt.NDArray[Any], weights: Values | None, num_classes: int) -> Values:
    """What the samples of each class count (K,)."""
    return np.bincount(classes, weights, num_classes).astype(np.float64, copy=False)


def samples_of(weights: Values, are_counts: bool) -> tuple[Values, int]:
    """Weights that sum to N, and N: how many samples the weights are taken for."""
    if are_counts:
        return weights, int(weights.sum())
    number = int(np.count_nonzero(weights))
    return weights * (number / weights.sum()), number


class Ranked(NamedTuple):
    """Sums over samples in the order of a value, up to each different one, from 0 on, (P + 1,).

    Attributes
    ----------
    samples : int
        N, as the weights are taken.
    ranks : ndarray of float64
        How many samples.
    sums : ndarray of float64
        Of the value.
    hits : ndarray of float64
        Of whether they are right, or by how much.
    """

    samples: int
    ranks: Values
    sums: Values
    hits: Values

    def up_to(self, ranks: npt.NDArray[Any], sums: Values) -> Values:
        """Sums up to any ranks in [0, N]: equal values count by expectation over their orders."""
        return np.interp(ranks, self.ranks, sums)

    def all_hits(self) -> Values:
        """The hits among the first i = 0..N samples, (N + 1,)."""
        if self.samples > _MOST_POINTS:
            raise InputError(
                "sample_weight: expected whole numbers that sum to at most "
                f"{_MOST_POINTS:,} for a curve with a point for each repetition, received a sum of "
                f"{self.samples:,}; divide them by their mean"
            )
        return self.up_to(np.arange(self.samples + 1), self.hits)


def ranked(
    values: FloatArray,
    hits: npt.NDArray[Any],
    weights: Values,
    are_counts: bool,
    *,
    descending: bool = True,
) -> Ranked:
    """The samples from the largest value down, or from the smallest up."""
    weights, samples = samples_of(weights, are_counts)
    order = np.argsort(values, kind="stable")
    if descending:
        order = order[::-1]
    sorted_values, own = values[order], weights[order]
    starts = np.flatnonzero(np.concatenate(([True], sorted_values[1:] != sorted_values[:-1])))

    def sums(each: Values) -> Values:
        found = np.zeros(starts.size + 1)
        np.cumsum(np.add.reduceat(each, starts), out=found[1:])
        return found

    ranks = sums(own)
    ranks[-1] = samples  # but for rounding
    return Ranked(samples, ranks, sums(own * sorted_values), sums(own * hits[order]))


def by_confidence(predictions: Predictions, hits: npt.NDArray[Any] | None = None) -> Ranked:
    """The samples from the most to the least confident."""
    return ranked(
        predictions.confidence.astype(np.float64),
        predictions.correct if hits is None else hits,
        predictions.weights,
        predictions.weights_are_counts,
    )


def harmonic(ranks: npt.ArrayLike) -> Values:
    """1 + 1/2 + ... + 1/n of whole numbers, less a constant that differences do without."""
    return np.asarray(digamma(np.asarray(ranks, dtype=np.float64) + 1))


def mean_risk(of: Ranked) -> float:
    """The mean over i = 1..N of the share of errors among the first i samples."""
    errors = (of.ranks - of.hits).clip(0)
    sizes = np.diff(of.ranks)
    rates = np.divide(np.diff(errors), sizes, out=np.zeros_like(sizes), where=sizes > 0)
    # Within equal values there are e + (i - a) r errors among i, from e among a on.
    ends = np.floor(of.ranks)
    ahead = errors[:-1] - rates * of.ranks[:-1]
    return float((rates * np.diff(ends) + ahead * np.diff(harmonic(ends))).sum() / of.samples)


def least_mean_risk(of: Ranked) -> float:
    """The same where every error comes after every hit."""
    hits, ends = of.hits[-1], np.array([np.floor(of.hits[-1]), of.samples])
    (beyond,), (weighed,) = np.diff(ends), np.diff(harmonic(ends))
    return float((beyond - hits * weighed) / of.samples)


def error_area(of: Ranked) -> float:
    """The area under the share of all samples that is answered and wrong, over coverage."""
    errors = of.ranks - of.hits
    sizes = np.diff(of.ranks)
    return float(sizes @ (errors[1:] + errors[:-1]) / 2 / of.samples**2)
