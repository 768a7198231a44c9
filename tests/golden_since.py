"""What the authors' own code of the methods since 2022 gives: `golden_since.npz`, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import GOLDEN, value_and_gradient

CASES = [f"s{i}" for i in range(8)]
SEQUENCES = ["k4", "k7", "k5under"]


class Golden:
    """The arrays by their names, and the facts of the JSON beside them."""

    def __init__(self) -> None:
        if not (GOLDEN / "golden_since.npz").is_file():
            pytest.skip(f"no golden values at {GOLDEN}")
        with np.load(GOLDEN / "golden_since.npz") as file:
            self.arrays = dict(file)
        self.facts = json.loads((GOLDEN / "golden_since.json").read_text())

    def given(self, case: str, what: str) -> np.ndarray:
        return self.arrays[f"in/{case}/{what}"]

    def expected(self, entry: str, case: str) -> tuple[float, np.ndarray]:
        """Value and gradient in float64."""
        found = [self.arrays[f"{entry}/{case}/{what}_f64"] for what in ("loss", "grad")]
        return float(found[0]), found[1]

    def epochs(self, sequence: str) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Epoch, logits (batches, B, K) and labels (batches, B) of its training."""
        for epoch in range(self.facts["sequences"][sequence]["epochs"]):
            parts = (f"seq/{sequence}/in/train_{what}_e{epoch}" for what in ("logits", "labels"))
            yield epoch, *(self.arrays[part] for part in parts)

    def validation(self, sequence: str, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Labels and logits of the validation's batches, of which the last is smaller."""
        labels, logits = (
            self.arrays[f"seq/{sequence}/in/val_{what}_e{epoch}"] for what in ("labels", "logits")
        )
        size = self.facts["sequences"][sequence]["val_batch"]
        for start in range(0, len(labels), size):
            yield labels[start : start + size], logits[start : start + size]


def assert_close(
    loss: Callable[..., Any],
    labels: np.ndarray,
    logits: np.ndarray,
    value: float,
    gradient: np.ndarray,
    rows: Any = slice(None),
) -> None:
    """In float32: the value to 1e-6, the gradient of `rows` to 1e-6 of its largest entry."""
    found, slope = value_and_gradient(loss, labels, logits)
    np.testing.assert_allclose(found, value, rtol=1e-6, atol=6e-8)
    largest = np.abs(gradient).max()
    np.testing.assert_allclose(slope[rows], gradient[rows], rtol=0, atol=1e-6 * largest)
