"""How callbacks see labels and outputs in the steps of `fit`: through the model's `compute_loss`.

Only `compute_loss` sees labels, outputs and `training` in the same forward pass: callbacks see no
outputs, a loss is not told `training`, and a metric is reset before it can be read. `training` is a
Python bool, so that a step holds nothing of a callback that does not look at its kind.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Iterator
from typing import Any

import keras
from numpy.typing import NDArray

from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import ClassificationLoss


class ComputeLossCallback(keras.callbacks.Callback, abc.ABC):
    """A callback that is shown labels and outputs, from `on_train_begin` to `on_train_end`.

    The wrapper around the model's `compute_loss` is one for all such callbacks of a `fit`. A step
    that was traced before does not have it: subclasses have the steps traced anew.

    Raises
    ------
    InputError
        When training begins, if the model was not compiled with one `loss_class`, or overrides
        `compute_loss` without the `training` argument, or if the class is there twice.
    """

    loss_class: type[ClassificationLoss]

    def __init__(self) -> None:
        super().__init__()
        self._loss: Any = None
        self._from_logits = False

    @abc.abstractmethod
    def see(self, y_true: Any, y_pred: Any, *, training: bool) -> None:
        """Look at a step of training or evaluation; called where the step is traced."""

    @abc.abstractmethod
    def training_state(self) -> dict[str, NDArray]:
        """What the callback holds between two epochs, beside the loss's own variables."""

    @abc.abstractmethod
    def resume(self, state: dict[str, NDArray]) -> None:
        """Go on from a `training_state`; for use after `on_train_begin`, which starts anew."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        key, compiled, self._loss = self._find_loss()
        # Of a loss inside a penalty the outer one's counts.
        self._from_logits = compiled.from_logits
        seen_by = _seen_by(self.model)
        for other in list(seen_by):
            # The callbacks of a `fit` share one dict of params. Others are left from a training
            # that ended in an exception.
            if other is self or other.params is not self.params:
                del seen_by[other]
            elif type(other) is type(self):
                raise InputError(f"callbacks: expected one {type(self).__name__}, received two")
        seen_by[self] = key

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if hasattr(self.model.compute_loss, "seen_by"):
            del self.model.compute_loss  # the instance's attribute; the class's method shows again

    def _find_loss(self) -> tuple[Any, Any, Any]:
        """The loss's key among the outputs, the compiled loss that is or has it, and the loss."""
        losses = self.model.loss
        found = [
            (key, compiled, loss)
            for key, compiled in _entries(losses)
            for loss in with_bases(compiled)
            if isinstance(loss, self.loss_class)
        ]
        if len(found) != 1:
            raise InputError(
                f"{type(self).__name__}: expected a model compiled with one "
                f"{self.loss_class.__name__}, received {described(losses)}"
            )
        return found[0]


def _seen_by(model: keras.Model) -> dict[ComputeLossCallback, Any]:
    """The callbacks that `compute_loss` shows its arguments, each with the key of its output."""
    inner = model.compute_loss
    if hasattr(inner, "seen_by"):
        return inner.seen_by
    if "training" not in inspect.signature(inner).parameters:
        raise InputError(
            f"{type(model).__name__}.compute_loss: expected an argument `training`, without which "
            "training and validation cannot be told apart"
        )
    seen_by: dict[ComputeLossCallback, Any] = {}

    def compute_loss(
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        for callback, key in seen_by.items():
            one = (y, y_pred) if key is None else (y[key], y_pred[key])
            callback.see(*one, training=training)
        return inner(x, y, y_pred, sample_weight, training=training)

    compute_loss.seen_by = seen_by  # type: ignore[attr-defined]
    model.compute_loss = compute_loss
    return seen_by


def _entries(losses: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(losses, dict):
        yield from losses.items()
    elif isinstance(losses, (list, tuple)):
        yield from enumerate(losses)
    else:
        yield None, losses


def with_bases(loss: Any) -> Iterator[Any]:
    """A loss, and those that it adds a penalty to."""
    while isinstance(loss, ClassificationLoss):
        yield loss
        loss = getattr(loss, "base", None)


def described(losses: Any) -> str:
    """What a model was compiled with, in words."""
    named = (
        loss if isinstance(loss, str) or loss is None else type(loss).__name__
        for _, loss in _entries(losses)
    )
    return f"loss: {', '.join(map(str, named))}"
