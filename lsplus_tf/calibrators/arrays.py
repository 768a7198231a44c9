"""What calibrators compute, in NumPy for `predict_proba` and in Keras for the layer.

`xp` is `numpy` or `keras.ops`, whose functions have the same names here, so that what is deployed
is what was measured. Arrays are float64 in both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LARGEST = 1e100
"""How far logits and fitted numbers are computed with: their products and sums are finite."""

_TINY = 1e-300  # from here down TensorFlow takes numbers for 0 in some operations and not in others


def within_range(logits: Any, xp: Any) -> Any:
    """Finite logits (N, K), with rows that go beyond `LARGEST` shrunk to it; others as they are."""
    highest = xp.max(logits, axis=-1, keepdims=True)
    largest = xp.maximum(highest, -xp.min(logits, axis=-1, keepdims=True))
    beyond = largest > LARGEST
    if xp is np and not beyond.any():
        return logits  # without a copy
    return logits * xp.where(beyond, LARGEST / xp.where(beyond, largest, 1.0), 1.0)


def softmax(logits: Any, xp: Any) -> Any:
    """Probabilities (N, K), without overflow."""
    powers = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return powers / xp.sum(powers, axis=-1, keepdims=True)


def log_softmax(logits: Any, xp: Any) -> Any:
    """Logarithms of the probabilities (N, K), finite for finite logits."""
    below = logits - xp.max(logits, axis=-1, keepdims=True)
    return below - xp.log(xp.sum(xp.exp(below), axis=-1, keepdims=True))


def log_odds(logits: Any, xp: Any) -> Any:
    """log p_k / (1 - p_k) of every class (N, K), finite where 1 - p_k rounds to 0."""
    logits = logits - xp.max(logits, axis=-1, keepdims=True)  # sums of large ones are not exact
    # 1 - p is exact enough for all but the most probable class, whose rivals are summed instead.
    top = xp.equal(xp.arange(logits.shape[-1]), xp.expand_dims(xp.argmax(logits, axis=-1), -1))
    rivals = xp.where(top, -float("inf"), logits)
    second = xp.max(rivals, axis=-1, keepdims=True)
    rest = second + xp.log(xp.sum(xp.exp(rivals - second), axis=-1, keepdims=True))
    everything = xp.logaddexp(xp.max(logits, axis=-1, keepdims=True), rest)
    unlikely = xp.where(top, 0.0, xp.exp(logits - everything))
    return logits - xp.where(top, rest, everything + xp.log1p(-unlikely))


def sigmoid(values: Any, xp: Any) -> Any:
    """1 / (1 + exp(-values)), without overflow."""
    return xp.exp(-xp.logaddexp(0.0 * values, -values))


def divide_by_sum(scores: Any, xp: Any) -> Any:
    """Rows (N, K) that sum to 1 from scores that are not negative; uniform where all are 0."""
    total = xp.sum(scores, axis=-1, keepdims=True)
    some = total > _TINY
    return xp.where(some, scores / xp.where(some, total, 1.0), 1 / scores.shape[-1])


def interpolate(values: Any, knots: Any, heights: Any, xp: Any) -> Any:
    """The line through (knots, heights), two or more, at values (N,); constant beyond its ends."""
    left = xp.clip(xp.searchsorted(knots, values, side="right") - 1, 0, len(knots) - 2)
    start, end = xp.take(knots, left), xp.take(knots, left + 1)
    width = end - start
    part = xp.clip((values - start) / xp.where(width > _TINY, width, 1.0), 0.0, 1.0)
    return xp.take(heights, left) * (1 - part) + xp.take(heights, left + 1) * part
