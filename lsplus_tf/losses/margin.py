"""Margin-based label smoothing: a penalty on logits that lie too far below the largest."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lsplus_tf.errors import check_number
from lsplus_tf.losses.base import Batch, LossDtype
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.penalty import Base, PenaltyLoss
from lsplus_tf.losses.scheduled import Scheduled


@registered
class MarginLabelSmoothingLoss(PenaltyLoss):
    """MbLS: cross-entropy + weight * mean_k relu(max_j z_j - z_k - margin), z the logits.

    Logits closer to the largest than the margin are left alone; with margin 0 every distance
    counts, which is label smoothing's pull towards uniform.

    Parameters
    ----------
    margin : float
        Distance between logits that costs nothing, >= 0.
    weight : float or callable
        Of the penalty, >= 0; 0 gives `base` exactly. Or a function of the epoch, as in
        `MaxSupLoss`.
    base : ClassificationLoss, "hard_labels" or "none"
        What the penalty is added to, "hard_labels" for cross-entropy; see
        `lsplus_tf.losses.penalty`.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities, whose logarithms lie as far
        apart as the logits. One below 1.2e-38 counts as 1.2e-38.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        A negative margin or weight, or an invalid base; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`. Of several largest logits the first has the gradient.
    Source: Liu et al., CVPR 2022; margin 10 and weight 0.1 are the defaults of their code.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.MarginLabelSmoothingLoss(margin=1.0, weight=0.1, from_logits=True)
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)
    0.1769
    """

    def __init__(
        self,
        margin: float = 10.0,
        *,
        weight: Scheduled = 0.1,
        base: Base = "hard_labels",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "margin_label_smoothing",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            weight, base, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )
        self.margin = check_number("margin", margin)

    def penalty(self, batch: Batch) -> tf.Tensor:
        return beyond_margin(batch, self.margin)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin}


def beyond_margin(batch: Batch, margin: float) -> tf.Tensor:
    """mean_k relu(max_j z_j - z_k - margin), (...)."""
    return tf.reduce_mean(tf.nn.relu(batch.largest[..., None] - batch.logits - margin), axis=-1)
