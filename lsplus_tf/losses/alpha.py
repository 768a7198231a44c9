"""Losses whose alpha may change from epoch to epoch."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lsplus_tf.errors import check_fraction
from lsplus_tf.losses.base import LossDtype
from lsplus_tf.losses.feeding import Feeding
from lsplus_tf.losses.renewed import FedLoss

Alpha = float | Callable[[int], float]  # the same in all epochs, or a function of the epoch from 0

_NOT_TOLD = (
    "nothing tells it the epoch, so alpha stays that of the first: give fit "
    "callbacks=[lsplus_tf.callbacks.AlphaSchedule()], or call loss.set_epoch(epoch) in your own "
    "loop."
)


class AlphaLoss(FedLoss):
    """A loss with an alpha; training warns where what changes it between epochs is missing.

    Parameters
    ----------
    alpha : float or callable
        In [0, 1], or a function of the epoch, counted from 0, that gives it. Then it is saved in
        `.keras` and `.weights.h5`.
    from_logits, reduction, name, dtype, ignore_class
        As in `ClassificationLoss`.
    """

    def __init__(
        self,
        alpha: Alpha,
        from_logits: bool,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self.alpha = alpha if callable(alpha) else check_fraction("alpha", alpha)
        self._alpha_now = alpha_at(alpha, 0)
        self._watch(
            Feeding(type(self).__name__, self.not_fed or _NOT_TOLD, self.not_renewed),
            changes=bool(self.not_fed) or callable(alpha),
        )

    @abc.abstractmethod
    def use_alpha(self, alpha: float) -> None:
        """Compute with another alpha from now on, in steps that were traced before too."""

    def set_epoch(self, epoch: int) -> None:
        if callable(self.alpha):
            self._set_alpha(alpha_at(self.alpha, epoch))
            if not self.not_fed:
                self.is_fed = True

    def end_epochs(self) -> None:
        if not self.not_fed:
            self.is_fed = False

    def _set_alpha(self, alpha: float) -> None:
        self._alpha_now = alpha
        self.use_alpha(alpha)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if callable(self.alpha):
            store["alpha"] = np.array(self._alpha_now)

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        if callable(self.alpha) and "alpha" in store:
            self._set_alpha(float(store["alpha"][...]))


def alpha_at(alpha: Alpha, epoch: int) -> float:
    """`alpha` in an epoch, counted from 0; an `InputError` unless it is in [0, 1]."""
    if not callable(alpha):
        return check_fraction("alpha", alpha)
    value = alpha(epoch)
    with contextlib.suppress(TypeError, ValueError):  # which the check says
        value = float(value)  # of a tensor too, as Keras's schedules give
    return check_fraction(f"alpha({epoch})", value)


def alpha_config(alpha: Alpha) -> Any:
    """What a config holds of `alpha`."""
    return keras.saving.serialize_keras_object(alpha) if callable(alpha) else alpha


def variable_of(array: NDArray, name: str | None = None) -> tf.Variable:
    """A variable that traced steps read anew, and that is the same on all devices."""
    return tf.Variable(
        array,
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        name=name,
    )
