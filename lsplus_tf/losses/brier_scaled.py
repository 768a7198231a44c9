"""Cross-entropy whose gradient is scaled by how far the prediction is from the label."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lsplus_tf.errors import MOST_SCALE_EXPONENT, check_flag, check_number
from lsplus_tf.losses.base import Batch, ClassificationLoss, LossDtype
from lsplus_tf.losses.focal import power
from lsplus_tf.losses.keras_names import registered


@registered
class BrierScaledCrossEntropyLoss(ClassificationLoss):
    """BSCE-GRA: w * cross-entropy, with the weight w = ||t - p||^gamma that has no gradient.

    t is the label's one-hot row and || || the norm over the classes. With norm 2 and gamma 2, w is
    the Brier score. The gradient for the logits is w (p - t).

    **The value is not what the gradient descends.** It may rise while the training goes well: do
    not stop early on it, nor reduce the learning rate where it no longer falls. Monitor the
    cross-entropy or the accuracy instead.

    Parameters
    ----------
    norm : float
        Order of the norm, >= 1. With norm 1, and with two classes whatever the norm, the loss is
        focal loss whose weight is detached (FL-GRA), times a constant: 2^gamma, and
        2^(gamma / norm).
    gamma : float
        Exponent of the norm, in [0, 100]; 0 gives cross-entropy exactly.
    detached : bool
        Whether w has no gradient. False is the authors' "BSCE", of which the value can be
        monitored.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`. The authors' code sums over the batch unless told otherwise.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        A norm below 1 or a gamma out of range; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`; a soft label is t itself, in the weight and in the
    cross-entropy.
    Source: Lin et al., CVPR 2025, from their code and a summary by others, which has norm 2 and
    gamma 2. The code takes 1 and 1 unless told otherwise.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.BrierScaledCrossEntropyLoss()
    >>> round(float(loss([0], [[0.6, 0.3, 0.1]])), 4)
    0.1328
    """

    def __init__(
        self,
        norm: float = 2.0,
        *,
        gamma: float = 2.0,
        detached: bool = True,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "brier_scaled_cross_entropy",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self.norm = check_number("norm", norm, 1.0)
        self.gamma = check_number("gamma", gamma, most=MOST_SCALE_EXPONENT)
        self.detached = check_flag("detached", detached)

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        weight = power(self._distance(batch), self.gamma)
        return (tf.stop_gradient(weight) if self.detached else weight) * batch.cross_entropy

    def _distance(self, batch: Batch) -> tf.Tensor:
        """||t - p||, (...)."""
        apart = tf.abs(batch.rows - batch.probabilities)
        # Powers of what is at most 1, of which one is 1: their sum neither vanishes nor has an
        # infinite slope for the root. What is divided by is multiplied again, so it is a constant.
        largest = tf.stop_gradient(tf.reduce_max(apart, axis=-1))
        shares = tf.math.divide_no_nan(apart, largest[..., None])
        powers = tf.square(shares) if self.norm == 2.0 else tf.pow(shares, self.norm)
        return largest * power(tf.reduce_sum(powers, axis=-1), 1.0 / self.norm)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "norm": self.norm,
            "gamma": self.gamma,
            "detached": self.detached,
        }
