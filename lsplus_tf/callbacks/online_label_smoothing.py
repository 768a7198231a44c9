"""The callback that feeds `OnlineLabelSmoothingLoss` during `Model.fit`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsplus_tf.callbacks.compute_loss import ComputeLossCallback
from lsplus_tf.errors import InputError
from lsplus_tf.losses.online import OnlineLabelSmoothingLoss


class OnlineLabelSmoothing(ComputeLossCallback):
    """Accumulate the softmaxes of correct training predictions; renew the soft labels each epoch.

    The predictions are those of the training step's own forward pass: nothing is predicted twice,
    and no validation or nested `evaluate()` enters. The soft labels change at the end of an epoch,
    after its validation, so that an epoch's `loss` and `val_loss` have the same targets.

    Attributes
    ----------
    soft_labels : ndarray, shape (K, K)
        The matrix in use, rows = true classes.
    history : list of ndarray, shape (K, K)
        The matrix after each epoch of the last `fit`.

    Raises
    ------
    InputError
        When training begins, if the model was not compiled with an `OnlineLabelSmoothingLoss`, or
        overrides `compute_loss` without the `training` argument.

    Notes
    -----
    Works with one loss, or a list or dict of losses for several outputs, of which exactly one is
    online label smoothing, or a penalty added to it.
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

    def __init__(self) -> None:
        super().__init__()
        self.history: list[NDArray[np.floating]] = []

    @property
    def soft_labels(self) -> NDArray[np.floating]:
        if self._loss is None:
            raise InputError("soft_labels: expected after training has begun, fit was not called")
        return self._loss.soft_labels.numpy()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self.history = []
        self._loss.reset_accumulator()
        self._loss.is_fed = True
        self.model.make_train_function(force=True)

    def training_state(self) -> dict[str, NDArray]:
        return {"history": np.array(self.history)}

    def resume(self, state: dict[str, NDArray]) -> None:
        self.history = list(state["history"])

    def see(self, y_true: Any, y_pred: Any, *, training: bool) -> None:
        if training:
            self._loss.accumulate(y_true, y_pred, self._from_logits)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._loss.update_soft_labels()
        self.history.append(self.soft_labels)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_end(logs)
        self._loss.is_fed = False
        self.model.train_function = None
