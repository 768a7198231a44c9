"""MaxSup: label smoothing's pull, on the logit of the predicted class in place of the true one."""

from __future__ import annotations

import tensorflow as tf

from lsplus_tf.losses.base import Batch, LossDtype
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.penalty import Base, PenaltyLoss
from lsplus_tf.losses.scheduled import Scheduled


@registered
class MaxSupLoss(PenaltyLoss):
    """MaxSup: cross-entropy + weight * (max_k z_k - mean_k z_k), z the logits.

    Label smoothing is cross-entropy + alpha (z_y - mean_k z_k). Where the prediction is right the
    two are the same. Where it is wrong, label smoothing pulls down the logit of the true class, and
    MaxSup that of the wrong one.

    Parameters
    ----------
    weight : float or callable
        Of the penalty, >= 0; 0 gives `base` exactly. Or a function of the epoch, counted from 0,
        that gives it: then `lsplus_tf.callbacks.EpochSchedule` tells the loss the epoch in `fit`,
        and `set_epoch` in a loop of your own.
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
        A negative weight, or an invalid base; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`; the penalty does not see it. Of several largest logits
    the first has the gradient.
    Source: Zhou et al., NeurIPS 2025, arXiv 2502.15798. The weight of the paper rises linearly,
    that of its code from 0.1 towards 0.2. In N epochs, the last with 0.2, it is
    `keras.optimizers.schedules.PolynomialDecay(0.1, N - 1, 0.2, power=1.0)`, which loads with a
    saved model as it is.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.MaxSupLoss(weight=0.1, from_logits=True)
    >>> round(float(loss([1], [[2.0, 0.0]])), 4)
    2.2269
    """

    def __init__(
        self,
        weight: Scheduled = 0.1,
        *,
        base: Base = "hard_labels",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "maxsup",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            weight, base, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )

    def penalty(self, batch: Batch) -> tf.Tensor:
        # A mean of differences is rounded less.
        return tf.reduce_mean(batch.largest[..., None] - batch.logits, axis=-1)
