"""Calibrators that divide the logits by temperatures."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from lsplus_tf.calibrators._optimise import LIMIT
from lsplus_tf.calibrators.arrays import softmax
from lsplus_tf.calibrators.base import Calibrator, Floats, as_array, as_number
from lsplus_tf.errors import InputError, check_number


class TemperatureScaling(Calibrator):
    """p = softmax(z / T), with the one T that minimises the negative log-likelihood.

    The order of the classes in a row, and with it the predicted class, stays as it was.

    Attributes
    ----------
    temperature_ : float
        T > 0; above 1 for an overconfident model.
    n_classes_ : int
        Number of classes, K.

    Notes
    -----
    The likelihood is concave in 1/T, so its slope has at most one root, which is bracketed and
    found to 1e-12 in log T. There is none where every sample is right, when T would go to 0, or
    where the logits tell nothing about the labels, when it would grow without end. T then stops
    where the mean of max(z / T) - mean(z / T) is 100, or 0.01, with a warning.

    Source: Guo et al., ICML 2017, section 4.2. Their released code starts at 1.5 and the LS+
    authors' at 1, and both stop before the optimum.

    Examples
    --------
    Three of four samples with odds of e^2 : 1 are right, where odds of 3 : 1 were honest.

    >>> from lsplus_tf.calibrators import TemperatureScaling
    >>> scaling = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    >>> scaling.predict_proba([[2, 0]]).round(4).tolist()
    [[0.75, 0.25]]
    """

    name: ClassVar = "temperature"
    takes_weights: ClassVar = True
    _fitted: ClassVar = {"temperature_": as_number}
    _above_zero: ClassVar = ("temperature_",)

    temperature_: float

    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        self.temperature_ = best_temperature(logits, labels, weights)

    def _probabilities(self, logits: Any, xp: Any) -> Any:
        return softmax(logits / self.temperature_, xp)

    def _samples_needed(self, num_classes: int) -> int:
        return 1


class ClassDistributionTemperature(Calibrator):
    """Class-distribution-aware temperature scaling (CDA-TS): more for common classes.

    p = softmax(z_k / T_k) with T_k = T + gamma n_k / max(n), T that of `TemperatureScaling`.

    Parameters
    ----------
    class_counts : array_like, shape (K,), or None
        Training samples per class, or anything in proportion to them; None counts the labels that
        it is fitted on.
    gamma : float
        What is added to the temperature of the most common class, >= 0.

    Attributes
    ----------
    temperatures_ : ndarray, shape (K,)
        T_k.
    n_classes_ : int
        Number of classes, K.

    Notes
    -----
    As the columns are divided by different numbers, the predicted class can change, and so do the
    probabilities when a constant is added to a row, which softmax does not see.

    Source: Islam et al., arXiv 2109.05263, with the 0.1 of their code, which fits T on the test
    data. T here comes from what `fit` is given.

    Examples
    --------
    >>> from lsplus_tf.calibrators import ClassDistributionTemperature
    >>> scaling = ClassDistributionTemperature(class_counts=[90, 10], gamma=0.5)
    >>> scaling = scaling.fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    >>> scaling.temperatures_.round(4).tolist()
    [2.3205, 1.876]
    """

    name: ClassVar = "class_distribution_temperature"
    takes_weights: ClassVar = True
    ignores_constants: ClassVar = False
    _fitted: ClassVar = {"temperatures_": as_array}
    _sizes: ClassVar = {"temperatures_": lambda k: (k,)}
    _above_zero: ClassVar = ("temperatures_",)

    temperatures_: Floats

    def __init__(self, class_counts: ArrayLike | None = None, *, gamma: float = 0.1) -> None:
        self.class_counts = class_counts
        self.gamma = gamma

    def _check_settings(self, num_classes: int) -> None:
        check_number("gamma", self.gamma)
        if self.class_counts is not None:
            _check_class_counts(self.class_counts, num_classes)

    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        num_classes = logits.shape[1]
        counts = (
            np.bincount(labels, weights, num_classes)
            if self.class_counts is None
            else np.asarray(self.class_counts, dtype=np.float64)
        )
        shares = counts / counts.max()
        self.temperatures_ = best_temperature(logits, labels, weights) + self.gamma * shares

    def _probabilities(self, logits: Any, xp: Any) -> Any:
        return softmax(logits / self.temperatures_, xp)

    def _samples_needed(self, num_classes: int) -> int:
        return 1


def best_temperature(
    logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
) -> float:
    """The temperature that minimises the negative log-likelihood, see `TemperatureScaling`."""
    above_true = logits - logits[np.arange(len(labels)), labels][:, None]

    def slope(log_temperature: float) -> float:
        """Of the mean negative log-likelihood against 1 / T: E_p[z] - z_y."""
        probabilities = softmax(above_true * np.exp(-log_temperature), np)
        slopes = np.einsum("nk,nk->n", probabilities, above_true)
        return float(np.average(slopes, weights=weights))

    size = np.log(typical_size(logits, weights))
    lowest, highest = size - np.log(LIMIT), size + np.log(LIMIT)
    if slope(lowest) <= 0:
        _warn("the logits separate the labels perfectly, or nearly so", lowest)
        return float(np.exp(lowest))
    if slope(highest) >= 0:
        _warn("the logits tell nothing about the labels, or the opposite", highest)
        return float(np.exp(highest))
    return float(np.exp(brentq(slope, lowest, highest, xtol=1e-12)))


def typical_size(logits: Floats, weights: Floats | None = None) -> float:
    """How far the largest logit of a row is above the row's mean, in the mean over the rows."""
    size = float(np.average(logits.max(axis=1) - logits.mean(axis=1), weights=weights))
    if size == 0:
        raise InputError("logits: expected logits that differ, received the same for every class")
    return size


def _warn(why: str, log_temperature: float) -> None:
    warnings.warn(
        f"no temperature is the best, {why}; it is limited to {np.exp(log_temperature):.3g}",
        stacklevel=5,
    )


def _check_class_counts(class_counts: ArrayLike, num_classes: int) -> None:
    counts = np.asarray(class_counts, dtype=np.float64)
    if counts.shape != (num_classes,):
        raise InputError(
            f"class_counts: expected shape ({num_classes},), received shape {counts.shape}"
        )
    if not (np.isfinite(counts) & (counts >= 0)).all() or not counts.any():
        raise InputError(
            f"class_counts: expected finite numbers >= 0, not all 0, received {counts.tolist()}"
        )
