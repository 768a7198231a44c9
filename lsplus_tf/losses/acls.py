"""ACLS: a penalty on the largest logit, and on logits that lie too far below it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lsplus_tf.errors import MOST_ACLS_WEIGHT, InputError, check_number
from lsplus_tf.losses.base import Batch, LossDtype
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.penalty import Base, PenaltyLoss
from lsplus_tf.losses.scheduled import Scheduled

# What is left free above the largest sum of squares, for weights and sums over a batch.
_SUMMANDS = 2.0**28


@registered
class ACLSLoss(PenaltyLoss):
    """ACLS: cross-entropy + weight * (a penalty on the largest logit, and on low ones).

    With z* = max_k z_k and r(x) = max(x, 0)^2 the penalty is
    positive_weight * r(z* - margin), once for each k with z_k = z*, plus
    negative_weight * sum_k r(z* - z_k - margin) / (K - 1). In the second term z* has no gradient:
    it pulls low logits up, and the first the largest logit down.

    The first term sees the size of the logits and not their differences alone, so the loss must be
    given logits: of probabilities it cannot be computed.

    Parameters
    ----------
    margin : float
        Size, and distance from the largest, of logits that costs nothing, >= 0.
    weight : float or callable
        Of both terms, in [0, 1e4]; 0 gives `base` exactly. Or a function of the epoch, as in
        `MaxSupLoss`.
    positive_weight, negative_weight : float
        Of the first and of the second term, in [0, 1e4].
    base : ClassificationLoss, "hard_labels" or "none"
        What the penalty is added to, "hard_labels" for cross-entropy; see
        `lsplus_tf.losses.penalty`.
    from_logits : bool
        Whether `y_pred` holds logits (B, K). With False it has to be the output of a softmax layer
        of the model, of which Keras keeps the logits.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        A negative margin, a weight out of range, or an invalid base; probabilities without
        their logits; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`; the penalty does not see it. Of several largest logits
    each counts in the first term, and the gradient of all goes to the first. The value is not an
    antiderivative of the gradient.

    Sums of squares above 1.3e30, of logits above 1e15, count as 1.3e30 (in float64 those above
    6.7e299), so that the loss stays finite; their gradient is exact.
    Source: Park et al., ICCV 2023, arXiv 2308.11911; the defaults are those of their code, which
    clips the norm of the network's gradient at 2.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.ACLSLoss(margin=1.0, weight=0.1, from_logits=True)
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)  # 0.1269 + 0.1 (1 + 0.1)
    0.2369
    """

    most = MOST_ACLS_WEIGHT

    def __init__(
        self,
        margin: float = 10.0,
        *,
        weight: Scheduled = 0.1,
        positive_weight: float = 1.0,
        negative_weight: float = 0.1,
        base: Base = "hard_labels",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "acls",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            weight, base, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )
        self.margin = check_number("margin", margin)
        self.positive_weight = check_number("positive_weight", positive_weight, most=self.most)
        self.negative_weight = check_number("negative_weight", negative_weight, most=self.most)

    def penalty(self, batch: Batch) -> tf.Tensor:
        if not batch.from_logits:
            raise InputError(
                f"{self.name}: expected logits, whose size it penalises, received probabilities, "
                "which do not tell it; end the model without an activation and make the loss with "
                'from_logits=True, or end it with keras.layers.Activation("softmax")'
            )
        logits = batch.values
        largest = batch.largest
        fixed = tf.stop_gradient(largest)[..., None]
        ties = tf.reduce_sum(tf.cast(logits == fixed, logits.dtype), axis=-1)
        too_large = ties * _squared_excess((largest - self.margin)[..., None])
        # 0 for the largest itself, as the margin is not negative.
        too_low = _squared_excess(fixed - logits - self.margin)
        of_low = self.negative_weight / (batch.num_classes - 1)
        return self.positive_weight * too_large + of_low * too_low

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "margin": self.margin,
            "positive_weight": self.positive_weight,
            "negative_weight": self.negative_weight,
        }


@tf.custom_gradient
def _squared_excess(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """sum_k r(values_k), (...), up to the largest that many can be added of.

    With the gradient of all: it is finite where the square is not.
    """
    excess = tf.nn.relu(values)
    total = tf.reduce_sum(tf.square(excess), axis=-1)
    total = tf.minimum(total, values.dtype.max / _SUMMANDS)
    return total, lambda upstream: 2.0 * upstream[..., None] * excess
