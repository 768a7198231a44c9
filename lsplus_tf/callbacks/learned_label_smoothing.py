"""The callback that trains the soft labels of `LearnedLabelSmoothingLoss` during `Model.fit`."""

from __future__ import annotations

import warnings
from typing import Any

from lsplus_tf.callbacks.renewing import SoftLabelsCallback
from lsplus_tf.losses.base import Batch
from lsplus_tf.losses.companions import rate_of
from lsplus_tf.losses.learned_smoothing import LearnedLabelSmoothingLoss


class LearnedLabelSmoothing(SoftLabelsCallback[LearnedLabelSmoothingLoss]):
    """Train the soft labels of LS++ with every batch that the network is trained with.

    The predictions are those of the training step's own forward pass: nothing is predicted twice,
    and no validation or nested `evaluate()` enters. A step's loss has the soft labels from before
    the step.

    Parameters
    ----------
    loss : LearnedLabelSmoothingLoss or sequence of LearnedLabelSmoothingLoss, optional
        The losses to train, as in `OnlineLabelSmoothing`.
    max_history : int, optional
        As in `OnlineLabelSmoothing`.

    Attributes
    ----------
    soft_labels : ndarray, shape (K, K), or list of ndarray
        The matrix in use, rows = true classes, with 0 on the diagonal; of several losses a list.
    history : list of ndarray, shape (K, K), or list of list
        What `soft_labels` was after each epoch of the last `fit`.

    Raises
    ------
    InputError
        When training begins, if the model has no `LearnedLabelSmoothingLoss`. In the first step, if
        the loss has `learning_rate=None` and the model no optimizer with a learning rate.

    Warns
    -----
    UserWarning
        After the first epoch of a `fit`, if its steps did not call a loss.

    Notes
    -----
    Works in every way that `OnlineLabelSmoothing` does. A loss that a step asks several times, as
    one object for several outputs is, takes a step for each. Steps that an optimizer passes over,
    or puts together of several batches, are steps for the soft labels.
    `EarlyStopping(restore_best_weights=True)` restores weights, not losses: the soft labels stay
    those of the last epoch.
    Source: LS++, BMVC 2024, paper 392.

    Examples
    --------
    >>> import keras, numpy as np, lsplus_tf as lsp
    >>> model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    >>> model.compile("sgd", lsp.losses.LearnedLabelSmoothingLoss(3, from_logits=True))
    >>> smoothing = lsp.callbacks.LearnedLabelSmoothing()
    >>> x, y = np.eye(4), np.array([0, 1, 2, 1])
    >>> _ = model.fit(x, y, callbacks=[smoothing], epochs=3, verbose=0)
    >>> len(smoothing.history), smoothing.soft_labels.shape
    (3, (3, 3))
    """

    loss_class = LearnedLabelSmoothingLoss

    def __init__(self, loss: Any = None, *, max_history: int | None = None) -> None:
        super().__init__(loss, max_history=max_history)
        # Losses whose steps were traced, by their ids, until that was looked at.
        self._shown: set[int] | None = set()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self._shown = set()

    def learn(self, loss: LearnedLabelSmoothingLoss, batch: Batch, *, training: bool) -> None:
        if training:
            loss.learn_batch(batch, rate_of(getattr(self.model, "optimizer", None)))
            if self._shown is not None:
                self._shown.add(id(loss))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for loss in self.losses:
            if self._shown is not None and id(loss) not in self._shown:
                warnings.warn(
                    f"{loss.name}: its soft labels learned nothing in an epoch: the training step "
                    "does not call this loss",
                    stacklevel=2,
                )
        self._shown = None
        super().on_epoch_end(epoch, logs)
