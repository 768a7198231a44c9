"""Losses with a number that may change from epoch to epoch: an alpha, or a penalty's weight."""

from __future__ import annotations

import abc
import contextlib
import math
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lsplus_tf.errors import check_number
from lsplus_tf.losses.base import LossDtype
from lsplus_tf.losses.feeding import Feeding
from lsplus_tf.losses.renewed import ChangingLoss

# The same in all epochs, or a function of the epoch, counted from 0.
Scheduled = float | Callable[[int], float]

_NOT_TOLD = (
    "it is not given the epoch, so {name} stays that of the first: give fit "
    "callbacks=[lsplus_tf.callbacks.EpochSchedule()], or call loss.set_epoch(epoch) in your own "
    "loop."
)


class ScheduledLoss(ChangingLoss):
    """A loss with such a number; training warns where what changes it between epochs is missing.

    Parameters
    ----------
    number : float or callable
        The argument that `scheduled` names, >= 0, or a function of the epoch, counted from 0, that
        gives it. Then it is saved in `.keras` and `.weights.h5`.
    from_logits, reduction, name, dtype, ignore_class
        As in `ClassificationLoss`.
    """

    most: ClassVar[float] = math.inf  # the least is 0

    def __init__(
        self,
        number: Scheduled,
        from_logits: bool,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self._function = number if callable(number) else None
        self._now = self._number_at(number, 0)
        setattr(self, self.scheduled, number if callable(number) else self._now)
        not_fed = self.not_fed or _NOT_TOLD.format(name=self.scheduled)
        self._watch(
            Feeding(type(self).__name__, not_fed, self.not_renewed, when=self.when_fed),
            changes=bool(self.not_fed) or callable(number),
        )

    @abc.abstractmethod
    def use_number(self, number: float) -> None:
        """Compute with another number from now on, in steps that were traced before too."""

    @property
    def follows_epochs(self) -> bool:
        return self._function is not None

    def set_epoch(self, epoch: int) -> None:
        if self._function is not None:
            self._set(self._number_at(self._function, epoch))
            if not self.not_fed:
                self.is_fed = True

    def end_epochs(self) -> None:
        if not self.not_fed:
            self.is_fed = False

    def _number_at(self, number: Scheduled, epoch: int) -> float:
        """The number in an epoch; an `InputError` unless it is in its range."""
        if not callable(number):
            return check_number(self.scheduled, number, most=self.most)
        value: Any = number(epoch)
        with contextlib.suppress(TypeError, ValueError):  # which the check says
            value = float(value)  # of a tensor too, as Keras's schedules give
        return check_number(f"{self.scheduled}({epoch})", value, most=self.most)

    def _set(self, number: float) -> None:
        self._now = number
        self.use_number(number)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self._function is not None:
            store[self.scheduled] = np.array(self._now)

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        if self._function is not None and self.scheduled in store:
            self._set(float(store[self.scheduled][...]))


class AlphaLoss(ScheduledLoss):
    """A loss whose number is an alpha, in [0, 1]."""

    scheduled, most = "alpha", 1.0
    alpha: Scheduled


def number_config(number: Scheduled) -> Any:
    """What a config holds of a number that may be a function."""
    return keras.saving.serialize_keras_object(number) if callable(number) else number


def variable_of(array: NDArray[Any], name: str | None = None) -> tf.Variable:
    """A variable that traced steps read anew, and that is the same on all devices."""
    return tf.Variable(
        array,
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        name=name,
    )
