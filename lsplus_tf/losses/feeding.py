"""Says once what is missing where a loss should change between epochs and does not."""

from __future__ import annotations

import inspect
import sys
import warnings
from types import CodeType
from typing import Any, Literal

import keras
import tensorflow as tf

Moment = Literal["before", "in steps", "after epochs"]

_FIT = inspect.unwrap(keras.Model.fit).__code__


class Feeding:
    """What is known of how a loss's state is fed.

    A loss is not told whether it trains; the gradient that is taken of it tells. What feeds it may
    come after the gradient: then what comes next tells, or the end.

    Parameters
    ----------
    kind : str
        The loss's class.
    not_fed, not_renewed : str
        What to say, and what to do, where nothing feeds it, and where what it is fed is not
        used.
    when : {"before", "in steps", "after epochs"}
        When it is: before it is trained with; in every step, in a step or loop of one's own after
        the gradient too, and before the next call; or, in a loop of one's own, until the end.
    """

    def __init__(
        self, kind: str, not_fed: str, not_renewed: str = "", *, when: Moment = "before"
    ) -> None:
        self._when = when
        self._kind, self._not_fed, self._not_renewed = kind, not_fed, not_renewed
        self._trained = self._told = self._was_fed = self._is_fed = False
        self.in_own_loop = self.renewed = False

    @property
    def is_fed(self) -> bool:
        return self._is_fed

    @is_fed.setter
    def is_fed(self, fed: bool) -> None:
        self._is_fed, self._was_fed = fed, self._was_fed or fed
        if not fed:  # a training is over; what is said of the next is new
            self._trained = self._told = False

    def in_gradient(self) -> None:
        """A gradient of the loss is taken, or traced."""
        self._trained = True
        if not self._is_fed and self._is_late():
            self._tell(self._not_fed)

    def _is_late(self) -> bool:
        """Whether nothing can come any more that feeds it, where a gradient is taken."""
        if self._when == "before":
            return True
        frames = _code_that_runs()
        in_own_step = keras.Model.train_step.__code__ not in frames
        return _FIT in frames and not (self._when == "in steps" and in_own_step)

    def in_call(self) -> None:
        """The loss is called, or traced."""
        if self._when != "after epochs" and self._trained and not self._is_fed:
            self._tell(self._not_fed)

    def when_saved(self) -> None:
        """The loss is saved."""
        if self._trained and not self._was_fed:
            self._tell(self._not_fed)

    def at_end(self) -> None:
        """Nobody has the loss any more."""
        self.when_saved()
        if self._trained and self.in_own_loop and not self.renewed:
            self._tell(self._not_renewed)

    def _tell(self, missing: str) -> None:
        if not self._told:
            self._told = True
            warnings.warn(f"{self._kind} is being trained, but {missing}", stacklevel=3)


def noticing_training(losses: tf.Tensor, feeding: Feeding) -> tf.Tensor:
    """`losses` as they are; `feeding` is told that they are computed, and of their gradient.

    A loss is not told whether it trains or evaluates, but only training takes a gradient.
    """
    feeding.in_call()

    @tf.custom_gradient
    def noticing(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:  # runs when the gradient is traced
            feeding.in_gradient()
            return upstream

        return tf.identity(values), gradient

    return noticing(losses)


def _code_that_runs() -> set[CodeType]:
    """That of the functions which have not returned yet, up to the innermost `fit`."""
    found, frame = set(), sys._getframe(1)
    while frame is not None and _FIT not in found:
        found.add(frame.f_code)
        frame = frame.f_back  # type: ignore[assignment]
    return found
