"""Pretrained networks: which weights are frozen, and a first stage that trains the head alone."""

from __future__ import annotations

from typing import Any, Literal

import keras

from lsplus_tf.config import Protocol


def freeze(model: keras.Model, what: Literal["none", "batch_norm", "backbone"]) -> None:
    """Make the backbone of `model` trainable but for what is to be frozen.

    A step that was traced before trains what it trained before.
    """
    backbone = model.get_layer("backbone")
    backbone.trainable = what != "backbone"
    if what == "batch_norm":
        for layer in backbone.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False


class FrozenEpochs(keras.callbacks.Callback):
    """Train the head alone in the first epochs, then the backbone as well.

    The optimizer is built for all weights that are ever trained, and starts anew with the second
    stage, as that of a model that is compiled again does: Adam, which corrects for moments that
    start at 0 by the steps since training began, would otherwise begin with steps of three times
    the learning rate. The learning rate is set for each epoch, since the optimizer's own count of
    steps starts anew too.

    All that changes during training is in the optimizer when an epoch has ended, so that a `fit`
    with `initial_epoch` goes on as if it had not been interrupted.

    Parameters
    ----------
    protocol : Protocol
        With `fine_tuning.frozen_epochs` of at least 1. The model is to be compiled with the
        optimizer of this protocol, built for all weights that `fine_tuning.freeze` leaves.
    initial_epoch : int
        That of `fit`.
    """

    def __init__(self, protocol: Protocol, initial_epoch: int = 0) -> None:
        super().__init__()
        self._protocol = protocol
        self._initial_epoch = initial_epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._begin_stage(self._initial_epoch)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # The first step of `fit` is left as other callbacks have made it since.
        if epoch == self._protocol.fine_tuning.frozen_epochs != self._initial_epoch:
            self._begin_stage(epoch)
        self.model.optimizer.learning_rate = self._learning_rate(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch + 1 == self._protocol.fine_tuning.frozen_epochs:
            # Of mixed_float16's optimizer the one inside: the loss scale that was found holds.
            # Adam's and SGD's variables start at 0, but for the learning rate, which is set above.
            optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
            for variable in optimizer.variables:
                variable.assign(keras.ops.zeros_like(variable))

    def _begin_stage(self, epoch: int) -> None:
        settings = self._protocol.fine_tuning
        freeze(self.model, "backbone" if epoch < settings.frozen_epochs else settings.freeze)
        self.model.make_train_function(force=True)

    def _learning_rate(self, epoch: int) -> float:
        optimizer, schedule = self._protocol.optimizer, self._protocol.schedule
        settings = self._protocol.fine_tuning
        start = optimizer.learning_rate
        if epoch >= settings.frozen_epochs and settings.learning_rate is not None:
            start = settings.learning_rate
        begun = [] if schedule is None else [at for at in schedule.epochs if at <= epoch]
        return start * (1.0 if schedule is None else schedule.factor ** len(begun))
