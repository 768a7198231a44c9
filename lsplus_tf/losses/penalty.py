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
import numpy as np
import tensorflow as tf

from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import Batch, ClassificationLoss, LossDtype
from lsplus_tf.losses.scheduled import Scheduled, ScheduledLoss, number_config, variable_of

Base = ClassificationLoss | str


class PenaltyLoss(ScheduledLoss):
    """`base` + weight * penalty; subclasses give the penalty.

    Parameters
    ----------
    weight : float or callable
        Of the penalty, >= 0; 0 gives `base` exactly. Or a function of the epoch, counted from 0,
        that gives it; then it is saved in `.keras` and `.weights.h5`.
    base : ClassificationLoss, "hard_labels" or "none"
        What the penalty is added to: "hard_labels" (cross-entropy), "none" (the penalty alone), or
        a loss of this package, whose own `from_logits` and `reduction` play no part.
    from_logits, reduction, name, dtype, ignore_class
        As in `ClassificationLoss`.
    """

    scheduled = "weight"
    weight: Scheduled

    def __init__(
        self,
        weight: Scheduled,
        base: Base,
        from_logits: bool,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(weight, from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self._weight: Any = self._now
        if callable(weight):
            self._weight = variable_of(np.array(self._now, self.dtype))
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

    def use_number(self, number: float) -> None:
        self._weight.assign(number)

    @property
    def follows_epochs(self) -> bool:
        return super().follows_epochs or getattr(self.base, "follows_epochs", False)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        if isinstance(self.base, ClassificationLoss):
            self.base.set_epoch(epoch)

    def end_epochs(self) -> None:
        super().end_epochs()
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
        if callable(self.weight) or self.weight:
            losses += self._weight * self.penalty(batch)
        return self.noticing_training(losses)

    def get_config(self) -> dict[str, Any]:
        base = self.base
        if isinstance(base, ClassificationLoss):
            base = keras.losses.serialize(base)
        return {**super().get_config(), "weight": number_config(self.weight), "base": base}
