"""What the callbacks have in common whose losses hold soft labels of the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsplus_tf.callbacks.history import History
from lsplus_tf.callbacks.loss_callback import LossType, ObservingCallback, losses_of, other_shapes
from lsplus_tf.errors import InputError


class SoftLabelsCallback(ObservingCallback[LossType]):
    """Says what its losses' `soft_labels` are, and keeps what they were after each epoch.

    A subclass adds them to `history` when an epoch ends.

    Parameters
    ----------
    loss, max_history
        As in `OnlineLabelSmoothing`.
    """

    def __init__(self, loss: Any = None, *, max_history: int | None = None) -> None:
        super().__init__(loss)
        self.history: History = History(max_history)

    @property
    def soft_labels(self) -> Any:
        if not self.losses:
            raise InputError("soft_labels: expected after training has begun, fit was not called")
        return self.of_losses(lambda loss: loss.soft_labels.numpy())

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self.history.clear()
        held = losses_of(self.model, saved=True)
        for loss in self.losses:
            loss.begins_in(self.model, held)

    def training_state(self) -> dict[str, NDArray]:
        return {"history": np.array(self.history)}

    def problem(self, state: dict[str, NDArray], epochs: int, num_classes: int) -> str | None:
        each = (num_classes, num_classes)
        return other_shapes(state, history=(epochs, *each) if epochs else (0,))

    def resume(self, state: dict[str, NDArray]) -> None:
        self.history[:] = list(state["history"])

    def on_broken_off(self) -> None:
        for loss in self.losses:
            loss.is_fed = False

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_end(logs)
        for loss in self.losses:
            loss.is_fed = False
