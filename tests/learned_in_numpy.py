"""LS++ in NumPy: its matrix C, what C descends, and steps of its SGD."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax


def square(free_logits: np.ndarray) -> np.ndarray:
    """(K, K - 1) logits of the others as the loss has them, (K, K)."""
    return np.stack([np.insert(row, k, 0.0) for k, row in enumerate(free_logits)])


def matrix(free_logits: np.ndarray) -> np.ndarray:
    """C (K, K)."""
    return square(softmax(free_logits, axis=1))


def targets(free_logits: np.ndarray, alpha: float = 0.1) -> np.ndarray:
    return (1 - alpha) * np.eye(len(free_logits)) + alpha * matrix(free_logits)


def of_matrix(free_logits: np.ndarray, p: np.ndarray, rows: np.ndarray, shares: Any) -> float:
    """What the matrix descends: the second half of the loss."""
    return float(-0.5 * np.sum(shares * ((rows @ np.log(targets(free_logits) + 1e-6)) * p).sum(1)))


def slope_of_matrix(
    free_logits: np.ndarray, p: np.ndarray, rows: np.ndarray, shares: Any
) -> np.ndarray:
    """By central differences."""
    found = np.empty(free_logits.shape)
    for place in np.ndindex(free_logits.shape):
        step = np.zeros(free_logits.shape)
        step[place] = 1e-5
        ends = (of_matrix(free_logits + sign * step, p, rows, shares) for sign in (1, -1))
        found[place] = np.subtract(*ends) / 2e-5
    return found


def trained_in_numpy(
    batches: list[tuple[np.ndarray, np.ndarray]],
    rates: list[float],
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
) -> np.ndarray:
    """The free logits after a step with each batch (probabilities, labels), from zeros."""
    num_classes = batches[0][0].shape[1]
    w = np.zeros((num_classes, num_classes - 1))
    v = np.zeros_like(w)
    for (p, labels), rate in zip(batches, rates, strict=True):
        slope = slope_of_matrix(w, p, np.eye(num_classes)[labels], 1 / len(p))
        v = momentum * v + slope + weight_decay * w
        w = w - rate * v
    return w
