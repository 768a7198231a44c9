"""Focal loss and the Brier score in one loss, of which one is not proper and the other is."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lsplus_tf.errors import check_flag, check_number
from lsplus_tf.losses.base import Batch, LossDtype
from lsplus_tf.losses.focal import FocalLoss, doubt, power
from lsplus_tf.losses.keras_names import registered


@registered
class FocalCalibrationLoss(FocalLoss):
    """Focal calibration loss (FCL): focal loss + weight * the Brier score sum_k (p_k - t_k)^2.

    With a gate it is SA-FCL: the Brier score counts (1 - p_y)^gate times, and so hardly at all
    where the network is sure of the label. The Brier score is least at the true probabilities and
    focal loss is not: the weight decides between them.

    Parameters
    ----------
    gamma : float
        Exponent of the focal loss, >= 0.
    weight : float
        Of the Brier score, >= 0; 0 gives `FocalLoss(gamma)` exactly.
    gate : float, optional
        Exponent of the gate, >= 0; None for no gate. The authors' SA-FCL has 2.
    gate_detached : bool
        Whether the gate has no gradient. It plays no part where there is no gate.
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
        gamma, weight or gate below 0; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`. For a soft label t focal loss is as in `FocalLoss`, the
    Brier score as in `BrierLoss`, and the gate sum_k t_k (1 - p_k)^gate.

    With a detached gate the value is not what the gradient descends: do not stop early on it, nor
    reduce the learning rate where it no longer falls.
    Source: arXiv 2410.18321 and its authors' code, whose defaults these are. The code is younger
    than the article, which could not be compared with it.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.FocalCalibrationLoss()
    >>> round(float(loss([0], [[0.6, 0.3, 0.1]])), 4)
    0.3417
    >>> loss = lsp.losses.FocalCalibrationLoss(gate=2.0)
    >>> round(float(loss([0], [[0.6, 0.3, 0.1]])), 4)
    0.1233
    """

    def __init__(
        self,
        gamma: float = 2.0,
        *,
        weight: float = 1.0,
        gate: float | None = None,
        gate_detached: bool = True,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "focal_calibration",
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
        self.weight = check_number("weight", weight)
        self.gate = None if gate is None else check_number("gate", gate)
        self.gate_detached = check_flag("gate_detached", gate_detached)

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        focal = super().sample_losses(batch)
        if not self.weight:
            return focal
        brier = tf.reduce_sum(tf.square(batch.probabilities - batch.rows), axis=-1)
        if self.gate is not None:
            brier *= self._open(batch, self.gate)
        return focal + self.weight * brier

    def _open(self, batch: Batch, exponent: float) -> tf.Tensor:
        """(1 - p_y)^exponent, (...)."""
        if batch.given_rows is None:
            gate = power(doubt(batch.cross_entropy), exponent)
        else:
            of_classes = power(doubt(-batch.log_probabilities), exponent)
            gate = tf.reduce_sum(batch.given_rows * of_classes, axis=-1)
        return tf.stop_gradient(gate) if self.gate_detached else gate

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "weight": self.weight,
            "gate": self.gate,
            "gate_detached": self.gate_detached,
        }
