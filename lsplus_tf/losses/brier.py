"""The Brier score as a training loss."""

from __future__ import annotations

import tensorflow as tf

from lsplus_tf.losses.base import Batch, ClassificationLoss, LossDtype
from lsplus_tf.losses.keras_names import registered


@registered
class BrierLoss(ClassificationLoss):
    """Brier score: sum_k (p_k - t_k)^2, t the one-hot row of the class.

    Summed over the classes as in `lsplus_tf.metrics`, so that it lies in 0..2. Its gradient for
    the logits vanishes where the network is sure, of a wrong class too.

    Parameters
    ----------
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
        As in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`; a soft label is t itself.
    Source: Brier, Monthly Weather Review 1950; as a training loss in Mukhoti et al., NeurIPS 2020.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.BrierLoss()
    >>> round(float(loss([0], [[0.8, 0.2]])), 4)
    0.08
    """

    def __init__(
        self,
        from_logits: bool = False,
        *,
        reduction: str = "sum_over_batch_size",
        name: str = "brier",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name, dtype, ignore_class=ignore_class)

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        return tf.reduce_sum(tf.square(batch.probabilities - batch.rows), axis=-1)
