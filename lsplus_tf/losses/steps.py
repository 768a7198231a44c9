"""What a loss's call is part of: a step of training, or of evaluation, and of which model.

Keras tells a loss neither. A model's `train_step` and `test_step` say it here, for their thread,
while they run or are traced: whoever calls a loss within one, and however outputs and losses are
nested, the loss shows its samples to the model's observers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from lsplus_tf.losses.base import Batch, ClassificationLoss


class Observer(Protocol):
    """What learns from the samples that a loss is asked about."""

    def follows(self, loss: ClassificationLoss) -> bool:
        """Whether it learns from the samples of this loss."""

    def see(self, loss: ClassificationLoss, batch: Batch, *, training: bool) -> None:
        """Look at a batch; called where the step is traced."""


class _Step(NamedTuple):
    training: bool
    observers: Sequence[Observer]


_of_thread = threading.local()  # a strategy runs each replica in a thread of its own


@contextmanager
def step(observers: Sequence[Observer], *, training: bool) -> Iterator[None]:
    """A step of a model with these observers; within another one, the inner one counts."""
    before = getattr(_of_thread, "step", None)
    _of_thread.step = _Step(training, observers)
    try:
        yield
    finally:
        _of_thread.step = before


def within_step() -> bool:
    """Whether a step is being run or traced, in this thread."""
    return getattr(_of_thread, "step", None) is not None


def learns(loss: ClassificationLoss) -> bool:
    """Whether a step of training is run or traced, in this thread, in which the loss is followed.

    For a loss that learns by itself, before it is computed or with what it is computed of.
    """
    now: _Step | None = getattr(_of_thread, "step", None)
    return now is not None and now.training and any(each.follows(loss) for each in now.observers)


def show(loss: ClassificationLoss, batch: Batch) -> None:
    """Show a loss's batch to the observers of the step that it is part of."""
    now: _Step | None = getattr(_of_thread, "step", None)
    if now is not None:
        for observer in now.observers:
            observer.see(loss, batch, training=now.training)
