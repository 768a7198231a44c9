"""The callback that tells losses the epoch."""

from __future__ import annotations

from typing import Any

from lsplus_tf.callbacks.loss_callback import LossCallback
from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import ClassificationLoss


class EpochSchedule(LossCallback[ClassificationLoss]):
    """Tell losses whose `alpha` or `weight` is a function of the epoch which epoch it is.

    `OnlineLabelSmoothing`, `LearnedLabelSmoothing`, `ConfusionPenalty`, `ValidationFeedback` and
    `PriorRefresh` tell their own losses, which do not need it beside them.

    Parameters
    ----------
    loss : ClassificationLoss or sequence of ClassificationLoss, optional
        The losses to tell; None is all that the model was compiled with, or that it, its layers,
        losses and functions hold.

    Raises
    ------
    InputError
        When training begins, if no loss of this package is there, or none has such a function. When
        an epoch begins, if what its function gives is out of range.

    Examples
    --------
    >>> import keras, numpy as np, lsplus_tf as lsp
    >>> model = keras.Sequential([keras.Input([4]), keras.layers.Dense(2)])
    >>> loss = lsp.losses.LabelSmoothingLoss(lambda epoch: 0.1 * epoch, from_logits=True)
    >>> model.compile("sgd", loss)
    >>> x, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> schedule = lsp.callbacks.EpochSchedule()
    >>> history = model.fit(x, y, callbacks=[schedule], epochs=3, verbose=0)
    >>> len(history.history["loss"])
    3
    """

    loss_class = ClassificationLoss

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        if not any(loss.follows_epochs for loss in self.losses):
            raise InputError(
                "EpochSchedule: expected a loss whose alpha or weight is a function of the epoch, "
                "received none"
            )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for loss in self.losses:
            loss.end_epochs()
