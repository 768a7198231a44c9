"""What the callbacks have in common whose losses hold something that changes during training."""

from __future__ import annotations

import abc
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lsplus_tf.callbacks.history import History
from lsplus_tf.callbacks.loss_callback import ObservingCallback, losses_of, other_shapes
from lsplus_tf.errors import InputError
from lsplus_tf.losses.renewed import RenewedLoss

RenewedType = TypeVar("RenewedType", bound=RenewedLoss)


class FeedingCallback(ObservingCallback[RenewedType]):
    """Tells its losses when they are fed, and says of a model that has lost their state."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        held = losses_of(self.model, saved=True)
        for loss in self.losses:
            loss.begins_in(self.model, held)

    def on_broken_off(self) -> None:
        super().on_broken_off()
        self._feed_no_more()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_end(logs)
        self._feed_no_more()

    def _feed_no_more(self) -> None:
        for loss in self.losses:
            loss.is_fed = False


class RenewingCallback(FeedingCallback[RenewedType]):
    """Keeps what its losses held after each epoch.

    Parameters
    ----------
    loss, max_history
        As in `OnlineLabelSmoothing`.
    """

    def __init__(self, loss: Any = None, *, max_history: int | None = None) -> None:
        super().__init__(loss)
        self.history: History = History(max_history)

    @abc.abstractmethod
    def held(self, loss: RenewedType) -> Any:
        """What changes, as it is now."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self.history.clear()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        self.history.add(self.of_losses(self.held))


class SoftLabelsCallback(RenewingCallback[RenewedType]):
    """Its losses hold `soft_labels` (K, K)."""

    @property
    def soft_labels(self) -> Any:
        if not self.losses:
            raise InputError("soft_labels: expected after training has begun, fit was not called")
        return self.of_losses(self.held)

    def held(self, loss: Any) -> NDArray[Any]:
        return loss.soft_labels.numpy()

    def training_state(self) -> dict[str, NDArray[Any]]:
        self.only_loss(self.model)
        return {"history": np.array(self.history)}

    def problem(self, state: dict[str, NDArray[Any]], epochs: int, loss: RenewedType) -> str | None:
        each, kept = (loss.num_classes, loss.num_classes), self.history.kept(epochs)
        return other_shapes(state, history=(kept, *each) if kept else (0,))

    def resume(self, state: dict[str, NDArray[Any]]) -> None:
        self.history[:] = list(state["history"])
