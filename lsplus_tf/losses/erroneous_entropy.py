"""A loss that keeps the network uncertain where it is wrong."""

from __future__ import annotations

import math
from typing import Any, Literal

import tensorflow as tf

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import check_choice
from lsplus_tf.losses.base import Batch, LossDtype
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.penalty import Base, PenaltyLoss
from lsplus_tf.losses.scheduled import Scheduled

Divergence = Literal["entropy", "kl"]
Samples = Literal["erroneous", "all"]

# Where Keras's binary cross-entropy, and with it the released code, clips probabilities.
_CLIP = 1e-7


@registered
class ErroneousEntropyLoss(PenaltyLoss):
    """Cross-entropy - weight * mean entropy of the misclassified samples' predictions (MEEP).

    Parameters
    ----------
    weight : float or callable
        Of the mean, >= 0. The authors used 0.3. Or a function of the epoch, as in
        `MaxSupLoss`.
    divergence : {"entropy", "kl"}
        "entropy" (MEEP) maximises H(p), in nats; "kl" (MEEP-KL) minimises KL(u || p), u uniform.
    samples : {"erroneous", "all"}
        "erroneous", or "all" for the mean over right samples too.
    convention : {"standard", "released_code"}
        "standard", or "released_code" for the authors' numbers: cross-entropy and entropy are then
        binary, of every class for itself, and averaged over the classes, probabilities are clipped
        at 1e-7, where gradients vanish, and the constant log K of KL(u || p) is left out.
    base : ClassificationLoss, "hard_labels" or "none"
        What it is added to; see `lsplus_tf.losses.penalty`. With convention="released_code",
        "hard_labels" is the binary cross-entropy.
    from_logits : bool
        Whether `y_pred` holds logits (B, K) or (B, H, W, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        An unknown divergence, choice of samples, convention or base, or a negative weight;
        otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    The mean is 0 where nothing is misclassified; the released code gives NaN. It belongs to the
    batch, and every sample's loss contains it whole: in a batch with one error, that one sample
    has all its weight. At an accuracy of 0.9, 43% of batches of 8 have no error and 38% a single
    one; batches of 256 have 26 on average. On several devices that train together the mean is that
    of the global batch. Sample weights weigh it. A soft label is misclassified where its largest
    entry is not the predicted class.
    Source: Larrazabal et al., MICCAI 2023, and the authors' code; both are on segmentation.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.ErroneousEntropyLoss(weight=0.3)
    >>> round(float(loss([0, 0], [[0.8, 0.2], [0.4, 0.6]])), 4)  # 0.5697 - 0.3 * 0.6730
    0.3678
    """

    def __init__(
        self,
        weight: Scheduled = 0.3,
        *,
        divergence: Divergence = "entropy",
        samples: Samples = "erroneous",
        convention: Convention = "standard",
        base: Base = "hard_labels",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "erroneous_entropy",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            weight, base, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )
        self.divergence = check_choice("divergence", divergence, Divergence)
        self.samples = check_choice("samples", samples, Samples)
        self.convention = check_choice("convention", convention, Convention)

    def base_losses(self, batch: Batch) -> tf.Tensor:
        if self.convention == "standard" or self.base != "hard_labels":
            return super().base_losses(batch)
        return _binary_cross_entropy(batch.rows, batch.probabilities)

    def penalty(self, batch: Batch) -> tf.Tensor:
        certainty = self._certainty(batch)
        if self.samples == "all":
            return batch.mean(certainty)
        wrong = batch.predicted != batch.classes
        return tf.math.divide_no_nan(
            batch.mean(tf.where(wrong, certainty, 0.0)),
            batch.mean(tf.cast(wrong, certainty.dtype)),
        )

    def _certainty(self, batch: Batch) -> tf.Tensor:
        """What is to become small, of every sample (...)."""
        p, log_p = batch.probabilities, batch.log_probabilities
        if self.divergence == "entropy":
            if self.convention == "standard":
                return tf.reduce_sum(p * log_p, axis=-1)
            return -_binary_cross_entropy(p, p)
        if self.convention == "standard":
            return -tf.reduce_mean(log_p, axis=-1) - math.log(batch.num_classes)
        return -tf.reduce_mean(tf.math.log(tf.clip_by_value(p, _CLIP, 1.0)), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "divergence": self.divergence,
            "samples": self.samples,
            "convention": self.convention,
        }


def _binary_cross_entropy(targets: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy of each class, averaged over the classes, (...).

    The order of operations is that of Keras in TensorFlow 2.4, on which the last digits depend:
    in float32, 1 - 1e-7 is 1 - 1.2e-7.
    """
    p = tf.clip_by_value(p, _CLIP, 1.0 - _CLIP)
    yes, no = tf.math.log(p + _CLIP), tf.math.log(1.0 - p + _CLIP)
    return -tf.reduce_mean(targets * yes + (1.0 - targets) * no, axis=-1)
