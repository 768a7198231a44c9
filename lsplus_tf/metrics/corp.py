"""CORP: isotonic regression, which chooses its bins itself, and what a Brier score is made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from lsplus_tf.metrics.metric import Values
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.positive import Positive, one_vs_rest

__all__ = ["CorpDecomposition", "corp_decomposition"]


class CorpDecomposition(NamedTuple):
    """The three terms of a Brier score, see :func:`corp_decomposition`.

    Attributes
    ----------
    miscalibration, discrimination, uncertainty : float
        MCB, DSC and UNC, none below 0.

    Examples
    --------
    >>> P = [[0.8, 0.2], [0.8, 0.2], [0.3, 0.7], [0.3, 0.7]]
    >>> terms = corp_decomposition([0, 1, 1, 1], P, positive=1)
    >>> round(terms.brier_score, 4)  # (0.04 + 0.64 + 0.09 + 0.09) / 4
    0.215
    """

    miscalibration: float
    discrimination: float
    uncertainty: float

    @property
    def brier_score(self) -> float:
        """The score that the terms make up."""
        return self.miscalibration - self.discrimination + self.uncertainty


def corp_decomposition(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> CorpDecomposition:
    """Miscalibration, discrimination and uncertainty of a Brier score, without bins to choose.

    The outcome's isotonic regression on the probability (pool adjacent violators) is the best
    recalibration that keeps the order of the cases. With the Brier score S of the probabilities,
    of their recalibration, and of the class's share for all cases,

    * miscalibration (MCB) = S(probabilities) - S(recalibrated),
    * discrimination (DSC) = S(share) - S(recalibrated),
    * uncertainty (UNC) = S(share),

    and the score is MCB - DSC + UNC exactly. :func:`brier_decomposition` has bins of equal width
    instead, and two more terms for what they hide. MCB of a finite sample is above 0 for a
    calibrated model too.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class, or several that count as one: the score is the mean of (p - y)^2 then. By default
        the terms of all classes are summed, as ``scale="sum"`` of :func:`brier_score` has them.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional

    Returns
    -------
    CorpDecomposition

    Raises
    ------
    InputError
        If the predictions or an option are not valid.

    References
    ----------
    Dimitriadis, Gneiting and Jordan, "Stable reliability diagrams for probabilistic classifiers",
    PNAS 118, 2021.

    Examples
    --------
    >>> P = [[0.8, 0.2], [0.8, 0.2], [0.3, 0.7], [0.3, 0.7]]
    >>> terms = corp_decomposition([0, 1, 1, 1], P, positive=1)
    >>> [round(term, 4) for term in terms]  # recalibrated to 0.5 and 1
    [0.09, 0.0625, 0.1875]
    """
    predictions = as_predictions(
        labels,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
    )
    predictions.need("labels", "probabilities")
    weights = predictions.weights
    if positive is not None:
        chosen = one_vs_rest(predictions, positive)
        return CorpDecomposition(*corp_terms(chosen.probability, chosen.outcome, weights))
    terms = np.zeros(3)
    for k, column in predictions.columns():
        terms += corp_terms(column, predictions.labels == k, weights)
    return CorpDecomposition(*terms.tolist())


def corp_terms(
    probability: npt.NDArray[Any], outcome: npt.NDArray[np.bool_], weights: Values
) -> tuple[float, float, float]:
    """Miscalibration, discrimination and uncertainty of probabilities (N,)."""
    blocks = isotonic_blocks(probability.astype(np.float64), outcome, weights)
    total = weights.sum()
    share = blocks.hits.sum() / total
    # Within a block the recalibrated probability is the share of hits.
    recalibrated = float(np.sum(blocks.hits * (1 - blocks.hits / blocks.samples)) / total)
    given = float(weights @ (probability - outcome) ** 2 / total)
    uncertainty = float(share * (1 - share))
    # Rounding may leave -1e-17 of a zero.
    return max(0.0, given - recalibrated), max(0.0, uncertainty - recalibrated), uncertainty


class IsotonicBlocks(NamedTuple):
    """What isotonic regression pools, from the lowest probability on, each (B,)."""

    samples: Values
    probability: Values  # summed
    hits: Values
    low: Values
    high: Values


def isotonic_blocks(
    probability: Values, outcome: npt.NDArray[np.bool_], weights: Values
) -> IsotonicBlocks:
    """The blocks of pool adjacent violators; cases of equal probability are in one."""
    kept = weights > 0
    values, place = np.unique(probability[kept], return_inverse=True)
    samples = np.bincount(place, weights[kept])
    hits = np.bincount(place, (weights * outcome)[kept])
    starts = isotonic_regression(hits / samples, weights=samples).blocks[:-1]
    return IsotonicBlocks(
        np.add.reduceat(samples, starts),
        np.add.reduceat(samples * values, starts),
        np.add.reduceat(hits, starts),
        values[starts],
        values[np.append(starts[1:], values.size) - 1],
    )
