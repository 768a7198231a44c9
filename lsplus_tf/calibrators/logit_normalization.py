"""Logits divided by their norm: the confidence that label smoothing spoils, mended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lsplus_tf import metrics
from lsplus_tf.calibrators.arrays import softmax, within_range
from lsplus_tf.calibrators.base import Calibrator, Floats, as_number
from lsplus_tf.calibrators.temperature import best_temperature
from lsplus_tf.errors import InputError

_EQUAL = 1e-300  # logits of a row that differ by no more are equal


def _optional_number(value: Any) -> float | None:
    return None if value is None else as_number(value)


class LogitNormalization(Calibrator):
    """Logit normalisation for selective prediction after label smoothing.

    The confidence is max(z') with z' = (z - mean z) / ||z - mean z||_p. Label smoothing pulls the
    largest logit down most where the prediction is right, so that the softmax ranks errors badly;
    the norm takes that out. Meant for ranking: the probabilities are softmax(z' / T), T fitted by
    likelihood. The order of the classes in a row stays as it was.

    Parameters
    ----------
    norms : sequence of float
        The p >= 1 to choose from, by the area under the risk-coverage curve.

    Attributes
    ----------
    norm_ : float or None
        The p chosen; None where the softmax's own confidence ranks better than each, and z' is z.
    temperature_ : float
        T > 0.
    n_classes_ : int
        Number of classes, K.

    Notes
    -----
    With two classes z' is the same for all samples but for its sign, so None is taken.

    Source: Xia et al., ICLR 2025, section 5, who take the score from Cattelan and Silva, UAI 2024
    (MaxLogit-pNorm). The rule of choosing p, the grid and the fallback to the softmax are those of
    Cattelan and Silva's published code; the probabilities are their earlier p-NormSoftmax, with T
    fitted to the likelihood and not to the ranking, so that they are calibrated.

    Examples
    --------
    >>> from lsplus_tf.calibrators import LogitNormalization
    >>> logits = [[2, 0, 0], [8, 5, 0], [3, 0, 0], [9, 5, 0], [2, 0, 0], [7, 4, 0]]
    >>> normalization = LogitNormalization().fit(logits, [0, 1, 0, 0, 0, 1])
    >>> normalization.norm_
    1.0
    >>> normalization.confidence([[2, 0, 0], [8, 5, 0]]).round(4).tolist()
    [0.5, 0.4231]
    """

    name: ClassVar = "logit_normalization"
    takes_weights: ClassVar = True
    _fitted: ClassVar = {"norm_": _optional_number, "temperature_": as_number}
    _above_zero: ClassVar = ("temperature_",)

    norm_: float | None
    temperature_: float

    def __init__(self, norms: Sequence[float] = (1, 2, 3, 4, 5, 6, 7, 8, 9)) -> None:
        self.norms = norms

    def _check_settings(self, num_classes: int) -> None:
        if isinstance(self.norms, str) or not np.iterable(self.norms):
            raise InputError(f"norms: expected numbers of at least 1, received {self.norms!r:.80}")
        for norm in self.norms:
            is_number = isinstance(norm, Real) and not isinstance(norm, bool)
            if not is_number or not 1 <= norm < math.inf:
                raise InputError(f"norms: expected numbers of at least 1, received {norm!r:.80}")

    def _check_fitted(self) -> None:
        super()._check_fitted()
        if self.norm_ is not None and self.norm_ < 1:
            raise ValueError("norm_: expected a number of at least 1")

    def confidence(self, logits: ArrayLike) -> Floats:
        """The score (N,) to rank samples by; a probability only where `norm_` is None."""
        checked = within_range(self._check_fitting_logits(logits), np)
        return self._confidence(checked, self.norm_)

    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        wrong = logits.argmax(axis=1) != labels
        choices = [None, *map(float, self.norms)] if logits.shape[1] > 2 else [None]
        self.norm_ = min(
            choices, key=lambda norm: _aurc(self._confidence(logits, norm), wrong, weights)
        )
        self.temperature_ = best_temperature(_normalise(logits, self.norm_, np), labels, weights)

    def _confidence(self, logits: Floats, norm: float | None) -> Floats:
        if norm is None:
            return softmax(logits, np).max(axis=1)
        return _normalise(logits, norm, np).max(axis=1)

    def _probabilities(self, logits: Any, xp: Any) -> Any:
        return softmax(_normalise(logits, self.norm_, xp) / self.temperature_, xp)

    def _samples_needed(self, num_classes: int) -> int:
        return 2


def _normalise(logits: Any, norm: float | None, xp: Any) -> Any:
    """z' (N, K), 0 where all logits of a row are equal."""
    if norm is None:
        return logits
    below = logits - xp.max(logits, axis=-1, keepdims=True)
    spread = xp.max(-below, axis=-1, keepdims=True)
    below = below / xp.where(spread > _EQUAL, spread, 1.0)
    centred = below - xp.mean(below, axis=-1, keepdims=True)
    # Divided by the largest first, whose power could be 0.
    largest = xp.max(xp.abs(centred), axis=-1, keepdims=True)
    unit = centred / xp.where(largest > _EQUAL, largest, 1.0)
    size = xp.power(xp.sum(xp.power(xp.abs(unit), norm), axis=-1, keepdims=True), 1 / norm)
    return unit / xp.where(size > _EQUAL, size, 1.0)


def _aurc(scores: Floats, wrong: NDArray[np.bool_], weights: Floats | None) -> float:
    """The area under the risk-coverage curve of any score, by its ranks."""
    ranks = 1 + np.unique(scores, return_inverse=True)[1]
    confidence = 0.5 + ranks / ranks.max() / 2
    rows = np.stack([confidence, 1 - confidence], axis=1)
    return metrics.aurc(wrong, rows, sample_weight=weights)
