"""Probabilities mixed with the uniform ones, as much as their confidence calls for."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lsplus_tf.calibrators.arrays import softmax
from lsplus_tf.calibrators.base import Calibrator, Floats, as_array
from lsplus_tf.calibrators.one_vs_rest import Binning, check_places, inner_edges, mean_in_bins
from lsplus_tf.errors import MOST_BINS, check_choice, check_count

_LEAST_WEIGHT = 1e-3  # of 0, all classes would be equal and the predicted one lost


class WeightScaling(Calibrator):
    """p' = w p + (1 - w) / K, with a weight w in (0, 1] for each bin of the confidence max p.

    Parameters
    ----------
    n_bins : int
        Bins of the confidence, (low, high].
    binning : {"equal_width", "equal_mass"}
        Bins of the same width in [0, 1], or of about the same number of samples.

    Attributes
    ----------
    edges_ : ndarray, shape (M - 1,)
        The edges between the M bins, which are fewer than `n_bins` where quantiles coincide.
    weights_ : ndarray, shape (M,)
        w in [0.001, 1]; 1 in an empty bin.
    n_classes_ : int
        Number of classes, K.

    Notes
    -----
    The predicted class stays as it was; confidence is only ever lowered.

    This is an interpretation: of Frenkel and Goldberger, "Calibration of medical imaging
    classification systems with weight scaling", MICCAI 2022, only the abstract could be read, which
    has the mixture, a weight as a function of the binned confidence, and a closed form per bin.
    Here a bin's mean confidence C becomes its accuracy A, w = (A - 1/K) / (C - 1/K), limited to
    [0.001, 1]. The paper's bins and limits may be others.

    Examples
    --------
    >>> from lsplus_tf.calibrators import WeightScaling
    >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]]
    >>> scaling = WeightScaling(n_bins=1).fit(logits, [0, 0, 1, 1, 0, 1])
    >>> scaling.predict_proba([[2, 0], [0, 0]]).round(4).tolist()
    [[0.6667, 0.3333], [0.5, 0.5]]
    """

    name: ClassVar = "weight"
    takes_weights: ClassVar = True
    _fitted: ClassVar = {"edges_": as_array, "weights_": as_array}

    edges_: Floats
    weights_: Floats

    def _check_fitted(self) -> None:
        super()._check_fitted()
        if self.edges_.ndim != 1 or self.weights_.shape != (self.edges_.size + 1,):
            raise ValueError("weights_: expected one more than edges_")
        check_places(self.edges_)
        if not ((self.weights_ >= 0) & (self.weights_ <= 1)).all():
            raise ValueError("weights_: expected numbers in [0, 1]")

    def __init__(self, n_bins: int = 15, *, binning: Binning = "equal_mass") -> None:
        self.n_bins = n_bins
        self.binning = binning

    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        probabilities = softmax(logits, np)
        confidence = probabilities.max(axis=1)
        chance = 1 / logits.shape[1]
        self.edges_ = inner_edges(confidence, self.n_bins, self.binning, weights)
        bins = np.searchsorted(self.edges_, confidence, side="left")
        everywhere = np.ones(len(self.edges_) + 1)  # an empty bin is left as it is
        right = logits.argmax(axis=1) == labels
        accuracy = mean_in_bins(bins, right, everywhere, weights)
        above_chance = mean_in_bins(bins, confidence, everywhere, weights) - chance
        # Confidence at chance level is the uniform distribution, which no weight changes.
        mixture = (accuracy - chance) / np.where(above_chance > 0, above_chance, np.inf)
        mixture[above_chance <= 0] = 1.0
        self.weights_ = np.clip(mixture, _LEAST_WEIGHT, 1.0)

    def _probabilities(self, logits: Any, xp: Any) -> Any:
        before = softmax(logits, xp)
        bins = xp.searchsorted(self.edges_, xp.max(before, axis=-1), side="left")
        weights = xp.expand_dims(xp.take(self.weights_, bins), -1)
        return before * weights + (1 - weights) / before.shape[-1]

    def _check_settings(self, num_classes: int) -> None:
        check_count("n_bins", self.n_bins, most=MOST_BINS)
        check_choice("binning", self.binning, Binning)

    def _samples_needed(self, num_classes: int) -> int:
        return self.n_bins
