"""Losses that add a penalty, times a weight, to another loss, their `base`.

The base is "hard_labels" (cross-entropy), "none" (the penalty alone), or a loss of this package,
also one with a penalty itself: `DCALoss(base=FocalLoss())`. Its own `from_logits` and `reduction`
play no part, and it need not repeat `ignore_class`. Callbacks such as `OnlineLabelSmoothing` find
their loss inside. In a config only `mdca` has a choice of bases.
"""

from __future__ import annotations

import abc
from typing import Any

import keras
import tensorflow as tf

from lsplus_tf.errors import InputError, check_number
from lsplus_tf.losses.base import Batch, ClassificationLoss, LossDtype

Base = ClassificationLoss | str


class PenaltyLoss(ClassificationLoss):
    """`base` + weight * penalty; subclasses give the penalty.

    Parameters
    ----------
    weight : float
        Of the penalty, >= 0; 0 gives `base` exactly.
    base : ClassificationLoss, "hard_labels" or "none"
        What the penalty is added to: "hard_labels" (cross-entropy), "none" (the penalty alone), or
        a loss of this package, whose own `from_logits` and `reduction` play no part.
    from_logits, reduction, name, dtype, ignore_class
        As in `ClassificationLoss`.
    """

    def __init__(
        self,
        weight: float,
        base: Base,
        from_logits: bool,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self.weight = check_number("weight", weight)
        if base not in ("hard_labels", "none") and not isinstance(base, ClassificationLoss):
            raise InputError(
                f"base: expected 'hard_labels', 'none' or a loss of lsplus_tf, received {base!r}"
            )
        if isinstance(base, ClassificationLoss) and base.dtype != self.dtype:
            raise InputError(f"base: expected a loss of dtype {self.dtype}, received {base.dtype}")
        ignored = getattr(base, "ignore_class", None)
        if ignored not in (None, self.ignore_class):
            raise InputError(
                f"ignore_class: expected {ignored}, as in base, received {self.ignore_class}"
            )
        self.base = base

    @abc.abstractmethod
    def penalty(self, batch: Batch) -> tf.Tensor:
        """The penalty of every sample (...), or of the whole batch ()."""

    def split_labels(
        self, y_true: tf.Tensor, y_pred: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        if isinstance(self.base, ClassificationLoss):
            return self.base.split_labels(y_true, y_pred)
        return super().split_labels(y_true, y_pred)

    def set_epoch(self, epoch: int) -> None:
        if isinstance(self.base, ClassificationLoss):
            self.base.set_epoch(epoch)

    def end_epochs(self) -> None:
        if isinstance(self.base, ClassificationLoss):
            self.base.end_epochs()

    def base_losses(self, batch: Batch) -> tf.Tensor:
        """What the penalty is added to, (...)."""
        if isinstance(self.base, ClassificationLoss):
            return self.base.losses_of(batch)
        if self.base == "hard_labels":
            return batch.cross_entropy
        return tf.zeros_like(batch.values[..., 0])

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        losses = self.base_losses(batch)
        return losses + self.weight * self.penalty(batch) if self.weight else losses

    def get_config(self) -> dict[str, Any]:
        base = self.base
        if isinstance(base, ClassificationLoss):
            base = keras.losses.serialize(base)
        return {**super().get_config(), "weight": self.weight, "base": base}
