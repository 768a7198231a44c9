"""The callback that tells losses the epoch."""

from __future__ import annotations

from typing import Any

from lsplus_tf.callbacks.loss_callback import LossCallback
from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import ClassificationLoss


class AlphaSchedule(LossCallback[ClassificationLoss]):
    """Tell losses whose `alpha` is a function of the epoch which epoch it is.

    `OnlineLabelSmoothing`, `ConfusionPenalty` and `PriorRefresh` tell their own losses; beside them
    it is not needed.

    Parameters
    ----------
    loss : ClassificationLoss or sequence of ClassificationLoss, optional
        The losses to tell; None is all that the model was compiled with, or that it, its layers,
        losses and functions hold.

    Raises
    ------
    InputError
        When training begins, if no loss of this package is there, or none has such an alpha. When
        an epoch begins, if its alpha is not in [0, 1].

    Examples
    --------
    >>> import keras, numpy as np, lsplus_tf as lsp
    >>> model = keras.Sequential([keras.Input([4]), keras.layers.Dense(2)])
    >>> loss = lsp.losses.LabelSmoothingLoss(lambda epoch: 0.1 * epoch, from_logits=True)
    >>> model.compile("sgd", loss)
    >>> x, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> schedule = lsp.callbacks.AlphaSchedule()
    >>> history = model.fit(x, y, callbacks=[schedule], epochs=3, verbose=0)
    >>> len(history.history["loss"])
    3
    """

    loss_class = ClassificationLoss

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        parts = [part for loss in self.losses for part in (loss, getattr(loss, "base", None))]
        if not any(callable(getattr(part, "alpha", None)) for part in parts):
            raise InputError(
                "AlphaSchedule: expected a loss whose alpha is a function of the epoch, received "
                "none"
            )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for loss in self.losses:
            loss.end_epochs()
