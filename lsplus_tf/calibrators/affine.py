"""Calibrators that are linear in the logits, or in the logarithms of the probabilities."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lsplus_tf.calibrators._optimise import LIMIT, minimise
from lsplus_tf.calibrators.arrays import log_softmax, softmax
from lsplus_tf.calibrators.base import Calibrator, Floats, as_array, as_number
from lsplus_tf.calibrators.temperature import typical_size
from lsplus_tf.errors import check_number

_PENALTY = 0.01


class BiasCorrectedTemperature(Calibrator):
    """p = softmax(z / T + b): one temperature, and a bias for each class, by maximum likelihood.

    The biases give every class its share: over the cases that it was fitted to, the mean
    probability of a class is its prevalence. That is what an estimate of another prevalence starts
    from, see `LabelShift`; a temperature alone does not do it.

    Attributes
    ----------
    temperature_ : float
        T > 0; above 1 for an overconfident model.
    bias_ : ndarray, shape (K,)
        b, which sums to 0.
    n_classes_ : int
        Number of classes, K.

    Notes
    -----
    The predicted class can change. The likelihood is concave in 1/T and b, so that it has one
    maximum, but where the logits separate classes without an error, or say nothing about them:
    the search then stops at 1/T times the logits' size of 100, or of 0.01, with a warning.

    Source: Alexandari, Kundaje and Shrikumar, ICML 2020, as BCTS. Their code starts L-BFGS at
    T = 1 and leaves b without a fixed sum, which softmax does not see.

    Examples
    --------
    >>> from lsplus_tf.calibrators import BiasCorrectedTemperature
    >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]]
    >>> scaling = BiasCorrectedTemperature().fit(logits, [0, 0, 1, 1, 0, 1])
    >>> scaling.predict_proba([[2, 0], [0, 2]]).round(4).tolist()
    [[0.6667, 0.3333], [0.3333, 0.6667]]
    """

    name: ClassVar = "bias_corrected_temperature"
    takes_weights: ClassVar = True
    _fitted: ClassVar = {"temperature_": as_number, "bias_": as_array}
    _sizes: ClassVar = {"bias_": lambda k: (k,)}
    _above_zero: ClassVar[tuple[str, ...]] = ("temperature_",)
    _needs_every_class: ClassVar = True

    temperature_: float
    bias_: Floats

    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        num_classes = logits.shape[1]
        size = typical_size(logits, weights)
        # A constant in a row changes nothing here, but the scale's slope would be lost in it.
        unit = (logits - logits.mean(axis=1, keepdims=True)) / size

        def objective(parameters: Floats) -> tuple[float, Floats]:
            scale, bias = parameters[0], parameters[1:]
            loss, residual = _log_loss(unit * scale + bias, labels, weights)
            return loss, np.concatenate([[(residual * unit).sum()], residual.sum(axis=0)])

        start = np.concatenate([[size], np.zeros(num_classes)])
        lowest = np.concatenate([[1 / LIMIT], np.full(num_classes, -LIMIT)])
        found = minimise(objective, start, type(self).__name__, lowest=lowest)
        scale, bias = found[0], found[1:]
        if scale <= lowest[0]:
            warnings.warn(
                f"{type(self).__name__}: no temperature is the best, the logits tell nothing about "
                f"the labels, or the opposite; it is limited to {size / scale:.3g}",
                stacklevel=3,
            )
        self.temperature_, self.bias_ = float(size / scale), bias - bias.mean()

    def _probabilities(self, logits: Any, xp: Any) -> Any:
        return softmax(logits / self.temperature_ + self.bias_, xp)

    def _samples_needed(self, num_classes: int) -> int:
        return num_classes + 1


class VectorScaling(Calibrator):
    """p = softmax(w * z + b), with a weight and a bias for each class, by maximum likelihood.

    Attributes
    ----------
    scale_, bias_ : ndarray, shape (K,)
        w, and b, which sums to 0.
    n_classes_ : int
        Number of classes, K.

    Notes
    -----
    The predicted class can change. Adding a constant to a row, which softmax does not see, changes
    the probabilities: give logits of one kind to `fit` and `predict_proba`.

    Of classes that are separated perfectly the likelihood has no maximum; the search then stops
    where it is flat, with a warning. Weights times the logits' size, and biases, stay within 100.

    Source: Guo et al., ICML 2017, section 4.2.

    Examples
    --------
    >>> from lsplus_tf.calibrators import VectorScaling
    >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]]
    >>> scaling = VectorScaling().fit(logits, [0, 0, 1, 1, 0, 1])
    >>> scaling.predict_proba([[2, 0], [0, 2]]).round(4).tolist()
    [[0.6667, 0.3333], [0.3333, 0.6667]]
    """

    name: ClassVar = "vector"
    takes_weights: ClassVar = True
    ignores_constants: ClassVar = False
    _fitted: ClassVar = {"scale_": as_array, "bias_": as_array}
    _sizes: ClassVar = {"scale_": lambda k: (k,), "bias_": lambda k: (k,)}
    _needs_every_class: ClassVar = True

    scale_: Floats
    bias_: Floats

    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        num_classes = logits.shape[1]
        size = typical_size(logits, weights)
        unit = logits / size

        def objective(parameters: Floats) -> tuple[float, Floats]:
            scale, bias = np.split(parameters, 2)
            loss, residual = _log_loss(unit * scale + bias, labels, weights)
            return loss, np.concatenate([(residual * unit).sum(axis=0), residual.sum(axis=0)])

        start = np.concatenate([np.full(num_classes, size), np.zeros(num_classes)])
        scale, bias = np.split(minimise(objective, start, type(self).__name__), 2)
        self.scale_, self.bias_ = scale / size, bias - bias.mean()

    def _probabilities(self, logits: Any, xp: Any) -> Any:
        return softmax(logits * self.scale_ + self.bias_, xp)

    def _samples_needed(self, num_classes: int) -> int:
        return 2 * num_classes


class MatrixScaling(Calibrator):
    """p = softmax(W z + b), with penalties on what is not on the diagonal of W, and on b.

    Minimises NLL + off_diagonal_penalty mean_{i != j} W_ij^2 + bias_penalty mean_j b_j^2, with the
    negative log-likelihood's mean over the samples.

    Parameters
    ----------
    off_diagonal_penalty, bias_penalty : float
        lambda and mu, >= 0. Large ones give VectorScaling without its biases. What is best depends
        on the data: choose by cross-validation, as
        `sklearn.model_selection.GridSearchCV(..., scoring="neg_log_loss")` does.

    Attributes
    ----------
    weights_ : ndarray, shape (K, K)
        W; row k gives the new logit of class k.
    bias_ : ndarray, shape (K,)
        b, which sums to 0.
    n_classes_ : int
        Number of classes, K.

    Notes
    -----
    With `VectorScaling`'s reservations. With many classes and fewer samples than the K^2 + K
    parameters (a warning says so), it takes minutes and larger penalties: their mean over K^2
    weights thins out the default.

    Source: Guo et al., ICML 2017, section 4.2; the penalties (ODIR) are of Kull et al., NeurIPS
    2019, who chose both by cross-validation.

    Examples
    --------
    >>> from lsplus_tf.calibrators import MatrixScaling
    >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]]
    >>> scaling = MatrixScaling().fit(logits, [0, 0, 1, 1, 0, 1])
    >>> scaling.predict_proba([[2, 0], [0, 2]]).round(4).tolist()
    [[0.6667, 0.3333], [0.3333, 0.6667]]
    """

    name: ClassVar = "matrix"
    takes_weights: ClassVar = True
    ignores_constants: ClassVar = False
    _fitted: ClassVar = {"weights_": as_array, "bias_": as_array}
    _sizes: ClassVar = {"weights_": lambda k: (k, k), "bias_": lambda k: (k,)}
    _needs_every_class: ClassVar = True

    weights_: Floats
    bias_: Floats

    def __init__(
        self, off_diagonal_penalty: float = _PENALTY, *, bias_penalty: float = _PENALTY
    ) -> None:
        self.off_diagonal_penalty = off_diagonal_penalty
        self.bias_penalty = bias_penalty

    def _features(self, logits: Any, xp: Any) -> Any:
        return logits

    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        samples, num_classes = logits.shape
        if samples < num_classes * (num_classes + 1):
            chosen = (self.off_diagonal_penalty, self.bias_penalty) != (_PENALTY, _PENALTY)
            advice = "" if chosen else "; choose these by cross-validation"
            warnings.warn(
                f"{type(self).__name__} estimates {num_classes * (num_classes + 1)} numbers from "
                f"{samples} samples, held by its penalties alone{advice}",
                stacklevel=3,
            )
        size = typical_size(logits, weights)
        unit = self._features(logits, np) / size
        off_diagonal = 1 - np.eye(num_classes)
        # On the weights of the unit features, which are larger by the size.
        matrix_penalty = self.off_diagonal_penalty / off_diagonal.sum() / size**2
        bias_penalty = self.bias_penalty / num_classes

        def objective(parameters: Floats) -> tuple[float, Floats]:
            matrix, bias = _unpack(parameters, num_classes)
            outside = matrix * off_diagonal
            loss, residual = _log_loss(unit @ matrix.T + bias, labels, weights)
            loss += matrix_penalty * (outside**2).sum() + bias_penalty * (bias**2).sum()
            matrix_slope = residual.T @ unit + 2 * matrix_penalty * outside
            bias_slope = residual.sum(axis=0) + 2 * bias_penalty * bias
            return loss, np.concatenate([matrix_slope.ravel(), bias_slope])

        start = np.concatenate([(np.eye(num_classes) * size).ravel(), np.zeros(num_classes)])
        parameters = minimise(objective, start, type(self).__name__)
        matrix, bias = _unpack(parameters, num_classes)
        self.weights_, self.bias_ = matrix / size, bias - bias.mean()

    def _probabilities(self, logits: Any, xp: Any) -> Any:
        features = self._features(logits, xp)
        return softmax(xp.matmul(features, self.weights_.T) + self.bias_, xp)

    def _check_settings(self, num_classes: int) -> None:
        check_number("off_diagonal_penalty", self.off_diagonal_penalty)
        check_number("bias_penalty", self.bias_penalty)

    def _samples_needed(self, num_classes: int) -> int:
        # Penalties hold what is not on the diagonal.
        free = 2 if self.off_diagonal_penalty > 0 else num_classes + 1
        return num_classes * free


class DirichletCalibration(MatrixScaling):
    """p = softmax(W log q + b), q = softmax(z): `MatrixScaling` of the log-probabilities.

    That is the form that calibrated probabilities have where q is Dirichlet distributed in every
    class. A function of q alone: a constant added to a row of logits changes nothing.

    Parameters, attributes and penalties are those of `MatrixScaling`.

    Notes
    -----
    Source: Kull et al., NeurIPS 2019, with ODIR regularisation. Their code clips q before the
    logarithm; log-softmax needs no clipping.

    Examples
    --------
    >>> from lsplus_tf.calibrators import DirichletCalibration
    >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]]
    >>> calibration = DirichletCalibration().fit(logits, [0, 0, 1, 1, 0, 1])
    >>> calibration.predict_proba([[2, 0], [0, 2]]).round(4).tolist()
    [[0.6667, 0.3333], [0.3333, 0.6667]]
    """

    name: ClassVar = "dirichlet"
    takes_weights: ClassVar = True
    ignores_constants: ClassVar = True

    def _features(self, logits: Any, xp: Any) -> Any:
        return log_softmax(logits, xp)


def _unpack(parameters: Floats, num_classes: int) -> tuple[Floats, Floats]:
    """Weights (K, K) and biases (K,)."""
    return (
        parameters[: num_classes**2].reshape(num_classes, num_classes),
        parameters[num_classes**2 :],
    )


def _log_loss(
    scores: Floats, labels: NDArray[np.int64], weights: Floats | None
) -> tuple[float, Floats]:
    """The mean negative log-likelihood, and its slope against the scores (N, K).

    The slope is in the place of the scores: new arrays of this size take longer than the sums.
    """
    rows = np.arange(len(labels))
    scores -= scores.max(axis=1, keepdims=True)
    of_true = scores[rows, labels]
    np.exp(scores, out=scores)
    totals = scores.sum(axis=1)
    losses = np.log(totals) - of_true
    scores /= totals[:, None]
    scores[rows, labels] -= 1
    if weights is None:
        scores /= len(labels)
        return float(losses.mean()), scores
    shares = weights / weights.sum()
    scores *= shares[:, None]
    return float(shares @ losses), scores
