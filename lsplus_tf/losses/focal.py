"""Focal losses: cross-entropy that weighs a sample less the surer the network is of its label."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from lsplus_tf.errors import check_fraction, check_number
from lsplus_tf.losses.base import Batch, ClassificationLoss, LossDtype
from lsplus_tf.losses.keras_names import registered

_TINY = float(np.finfo(np.float32).tiny)


def doubt(nll: tf.Tensor) -> tf.Tensor:
    """1 - p, of nll = -log p."""
    # Where p rounds to 1, 1 - exp(-nll) would have lost what expm1 keeps.
    return -tf.math.expm1(-nll)


def power(base: tf.Tensor, exponent: tf.Tensor | float) -> tf.Tensor:
    """base^exponent, of a base >= 0 in whose place a tiny number stands for 0."""
    # An exponent below 1 has an infinite slope at 0, which is where a sure sample's base rounds to.
    return tf.pow(tf.maximum(base, _TINY), exponent)


@registered
class FocalLoss(ClassificationLoss):
    """Focal loss (FL): (1 - p_y)^gamma * -log p_y.

    No class is weighed: `keras.losses.CategoricalFocalCrossentropy` multiplies by alpha = 0.25
    unless told otherwise, and is this loss with alpha = 1.

    Parameters
    ----------
    gamma : float
        >= 0; 0 gives cross-entropy exactly. Mukhoti et al. and the LS+ authors used 3.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`. The code of Mukhoti et al. sums over the batch unless told
        otherwise.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        gamma below 0 or not a number; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`; a soft label t takes the mixture
    sum_k t_k (1 - p_k)^gamma * -log p_k of the classes' losses.
    Source: Lin et al., ICCV 2017, Eq. 4; Mukhoti et al., NeurIPS 2020.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.FocalLoss(gamma=1.0, from_logits=True)
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)
    0.0151
    """

    def __init__(
        self,
        gamma: float = 3.0,
        *,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "focal",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self.gamma = check_number("gamma", gamma)

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        if batch.given_rows is None:
            # From the cross-entropy, all that the modulation costs is one number per sample.
            return self._modulate(batch.cross_entropy)
        return tf.reduce_sum(batch.given_rows * self._modulate(-batch.log_probabilities), axis=-1)

    def _modulate(self, nll: tf.Tensor) -> tf.Tensor:
        """(1 - p)^gamma * nll, of nll = -log p of any shape."""
        return power(doubt(nll), self._exponent(nll)) * nll

    def _exponent(self, nll: tf.Tensor) -> tf.Tensor | float:
        """The gamma of each entry of `nll`, or one for all."""
        del nll
        return self.gamma

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma}


@registered
class SampleDependentFocalLoss(FocalLoss):
    """Focal loss whose gamma depends on the sample (FLSD-53).

    gamma is `gamma_low_confidence` where p_y < threshold, and `gamma` elsewhere. The choice
    carries no gradient, and the loss jumps at the threshold.

    Parameters
    ----------
    gamma : float
        Where the label's probability p_y is at least `threshold`, >= 0.
    gamma_low_confidence : float
        Where it is below, >= 0.
    threshold : float
        In [0, 1]; 0 gives `FocalLoss(gamma)`.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        An argument outside its range; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `FocalLoss`; the classes of a soft label have each the gamma of their p_k.
    Source: Mukhoti et al., NeurIPS 2020, who chose 5, 3 and 0.2.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.SampleDependentFocalLoss(from_logits=True, reduction="none")
    >>> [round(float(x), 4) for x in loss([0, 1], [[2.0, 0.0], [2.0, 0.0]])]
    [0.0002, 1.1275]
    """

    def __init__(
        self,
        gamma: float = 3.0,
        *,
        gamma_low_confidence: float = 5.0,
        threshold: float = 0.2,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "sample_dependent_focal",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            gamma,
            from_logits=from_logits,
            reduction=reduction,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
        )
        self.gamma_low_confidence = check_number("gamma_low_confidence", gamma_low_confidence)
        self.threshold = check_fraction("threshold", threshold)

    def _exponent(self, nll: tf.Tensor) -> tf.Tensor:
        unsure = tf.exp(-nll) < self.threshold
        return tf.where(unsure, tf.cast(self.gamma_low_confidence, nll.dtype), self.gamma)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "gamma_low_confidence": self.gamma_low_confidence,
            "threshold": self.threshold,
        }
