"""The callback that feeds `OnlineLabelSmoothingLoss` during `Model.fit`."""

from __future__ import annotations

import warnings
from typing import Any

from numpy.typing import NDArray

from lsplus_tf.callbacks.renewing import SoftLabelsCallback
from lsplus_tf.losses.base import Batch
from lsplus_tf.losses.online import OnlineLabelSmoothingLoss


class OnlineLabelSmoothing(SoftLabelsCallback[OnlineLabelSmoothingLoss]):
    """Accumulate the softmaxes of correct training predictions; renew the soft labels each epoch.

    The predictions are those of the training step's own forward pass: nothing is predicted twice,
    and no validation or nested `evaluate()` enters. An epoch's `loss` and `val_loss` have the same
    targets; those of the next are in place before any callback's `on_epoch_end`, so that what
    another callback saves there does not depend on the order of the callbacks.

    Parameters
    ----------
    loss : OnlineLabelSmoothingLoss or sequence of OnlineLabelSmoothingLoss, optional
        The losses to feed. None is all that the model was compiled with, or that the model, its
        layers, losses and functions hold; only a global variable has to be given.
    max_history : int, optional
        How many matrices `history` keeps, the last ones; None keeps all, 0 none.

    Attributes
    ----------
    soft_labels : ndarray, shape (K, K), or list of ndarray
        The matrix in use, rows = true classes; of several losses a list.
    history : list of ndarray, shape (K, K), or list of list
        What `soft_labels` was after each epoch of the last `fit`.

    Raises
    ------
    InputError
        When training begins, if the model has no `OnlineLabelSmoothingLoss`.

    Warns
    -----
    UserWarning
        Once in a `fit`, after an epoch in which nothing was accumulated.

    Notes
    -----
    Works with any outputs, losses and labels that Keras takes, with losses inside a penalty or a
    loss or model of your own, and with a `train_step`, `test_step` or `compute_loss` of your own.
    A training that another callback resumes within an epoch begins that epoch anew, and its sums
    too. `EarlyStopping(restore_best_weights=True)` restores weights, not losses: the soft labels
    stay those of the last epoch.
    Source: Zhang et al., IEEE TIP 2021, Eq. 4 and 5.

    Examples
    --------
    >>> import keras, numpy as np, lsplus_tf as lsp
    >>> model = keras.Sequential([keras.Input([4]), keras.layers.Dense(2)])
    >>> model.compile("sgd", lsp.losses.OnlineLabelSmoothingLoss(2, from_logits=True))
    >>> smoothing = lsp.callbacks.OnlineLabelSmoothing()
    >>> x, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> _ = model.fit(x, y, callbacks=[smoothing], epochs=3, verbose=0)
    >>> len(smoothing.history), smoothing.soft_labels.shape
    (3, (2, 2))
    """

    loss_class = OnlineLabelSmoothingLoss

    def __init__(self, loss: Any = None, *, max_history: int | None = None) -> None:
        super().__init__(loss, max_history=max_history)
        self._continues = False
        # Before and after an epoch's renewal, while the epoch is not over.
        self._renewed: list[tuple[NDArray[Any], NDArray[Any]]] | None = None
        self._warned = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.on_broken_off()
        super().on_train_begin(logs)
        self._continues = self._warned = False

    def resume(self, state: dict[str, NDArray[Any]]) -> None:
        super().resume(state)
        self._continues = True  # with what was accumulated in the epoch

    def learn(self, loss: OnlineLabelSmoothingLoss, batch: Batch, *, training: bool) -> None:
        if training:
            loss.accumulate_batch(batch)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        # Sums that are there are of an epoch that was broken off, and which begins anew.
        if not self._continues:
            for loss in self.losses:
                loss.reset_accumulator()
        self._continues = False

    def on_steps_end(self) -> None:
        if self._renewed is None:
            self._renew()

    def on_broken_off(self) -> None:
        self.on_test_end()  # where it was broken off within a validation
        self._renewed = None
        super().on_broken_off()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        for loss, (before, _) in zip(self.losses, self._renewed or [], strict=False):
            loss.soft_labels.assign(before)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        for loss, (_, after) in zip(self.losses, self._renewed or [], strict=False):
            loss.soft_labels.assign(after)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._renewed is None:  # a `fit` that does not ask for the model's metrics
            self._renew()
        self._renewed = None
        super().on_epoch_end(epoch, logs)

    def _renew(self) -> None:
        self._renewed = []
        for loss in self.losses:
            before = loss.soft_labels.numpy()
            if not loss.accumulated().any() and not self._warned:
                self._warned = True
                warnings.warn(
                    f"{loss.name}: nothing was accumulated in an epoch: no training sample was "
                    "predicted correctly, or the training step does not call this loss",
                    stacklevel=2,
                )
            loss.update_soft_labels()
            self._renewed.append((before, loss.soft_labels.numpy()))
