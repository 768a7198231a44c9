"""Penalties on probabilities that are far from uniform, whatever the label."""

from __future__ import annotations

import tensorflow as tf

from lsplus_tf.losses.base import Batch, LossDtype
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.penalty import Base, PenaltyLoss
from lsplus_tf.losses.scheduled import Scheduled

_ROUNDING = 1e-6  # relative; what float32 leaves of a softmax


@registered
class ConfidencePenaltyLoss(PenaltyLoss):
    """Confidence penalty (ECP): cross-entropy - weight * H(p), H the entropy of the prediction.

    H = -sum_k p_k log p_k is summed over the classes, in nats, so that the loss may be negative
    and is at least -weight * log K. The code of Liu et al. (MbLS) averages over the classes: its
    weight, divided by K, is the one here.

    Parameters
    ----------
    weight : float or callable
        Of the entropy, >= 0; 0 gives `base` exactly. Or a function of the epoch, as in
        `MaxSupLoss`.
    base : ClassificationLoss, "hard_labels" or "none"
        What the penalty is added to, "hard_labels" for cross-entropy; see
        `lsplus_tf.losses.penalty`.
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
        A negative weight, or an invalid base; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`.
    Source: Pereyra et al., ICLR 2017 workshop.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.ConfidencePenaltyLoss(weight=0.1, from_logits=True)
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)
    0.0904
    """

    def __init__(
        self,
        weight: Scheduled = 0.1,
        *,
        base: Base = "hard_labels",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "confidence_penalty",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            weight, base, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )

    def penalty(self, batch: Batch) -> tf.Tensor:
        return tf.reduce_sum(batch.probabilities * batch.log_probabilities, axis=-1)


@registered
class UniformPenaltyLoss(PenaltyLoss):
    """Cross-entropy + weight * ``sum_k |p_k - 1/K|``, the L1 distance of p from uniform.

    The distance lies in 0..2 (1 - 1/K).

    Parameters
    ----------
    weight : float or callable
        Of the distance, >= 0; 0 gives `base` exactly. Or a function of the epoch, as in
        `MaxSupLoss`.
    base : ClassificationLoss, "hard_labels" or "none"
        What the penalty is added to, "hard_labels" for cross-entropy; see
        `lsplus_tf.losses.penalty`.
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
        A negative weight, or an invalid base; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`. A p_k within a millionth of 1/K counts as 1/K, where
    the distance has no gradient.
    Source: the L1 penalty in the code of Liu et al., CVPR 2022 (MbLS).

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.UniformPenaltyLoss(weight=1.0, base="none")
    >>> round(float(loss([0], [[0.8, 0.2]])), 4)
    0.6
    """

    def __init__(
        self,
        weight: Scheduled = 1.0,
        *,
        base: Base = "hard_labels",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "uniform_penalty",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            weight, base, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )

    def penalty(self, batch: Batch) -> tf.Tensor:
        distance = tf.abs(batch.probabilities - 1.0 / batch.num_classes)
        # Equal logits can give probabilities that differ in their last bit; that of a new network,
        # whose logits are all 0, must not decide which way they are pushed.
        is_rounding = distance < _ROUNDING / batch.num_classes
        return tf.reduce_sum(tf.where(is_rounding, tf.zeros_like(distance), distance), axis=-1)
