"""The callback that feeds `OnlineLabelSmoothingLoss` during `Model.fit`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lsplus_tf.errors import InputError
from lsplus_tf.losses.online import OnlineLabelSmoothingLoss


class OnlineLabelSmoothing(keras.callbacks.Callback):
    """Accumulate the softmaxes of correct training predictions; renew the soft labels each epoch.

    The predictions are those of the training step's own forward pass: nothing is predicted twice,
    and no validation or nested `evaluate()` enters. The soft labels change at the end of an epoch,
    after its validation, so that an epoch's `loss` and `val_loss` have the same targets.

    Attributes
    ----------
    soft_labels : (K, K) float32 array, the matrix in use, rows = true classes.
    history : list of (K, K) float32 arrays, the matrix after each epoch of the last `fit`.

    Raises
    ------
    InputError : when training begins, if the model was not compiled with an
        `OnlineLabelSmoothingLoss`, or overrides `compute_loss` without the `training` argument.

    Notes
    -----
    Works with one loss, or a list or dict of losses for several outputs, of which exactly one is
    online label smoothing. Source: Zhang et al., IEEE TIP 2021, Eq. 4 and 5.

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

    def __init__(self) -> None:
        super().__init__()
        self.history: list[NDArray[np.float32]] = []
        self._loss: OnlineLabelSmoothingLoss | None = None

    @property
    def soft_labels(self) -> NDArray[np.float32]:
        if self._loss is None:
            raise InputError("soft_labels: expected after training has begun, fit was not called")
        return self._loss.soft_labels.numpy()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.history = []
        key, self._loss = _online_loss(self.model.loss)
        self._loss.reset_accumulator()
        self._loss.is_fed = True
        _unwrap(self.model)  # of a training that ended in an exception
        self.model.compute_loss = _accumulating(self.model, key, self._loss)
        # A step that was traced before would not accumulate.
        self.model.make_train_function(force=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert self._loss is not None
        self._loss.update_soft_labels()
        self.history.append(self.soft_labels)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        assert self._loss is not None
        self._loss.is_fed = False
        _unwrap(self.model)
        self.model.train_function = None


def _accumulating(model: keras.Model, key: Any, loss: OnlineLabelSmoothingLoss) -> Any:
    """The model's `compute_loss` that also accumulates, where it is told that it trains.

    Only `compute_loss` sees labels, predictions and `training` in the same forward pass: callbacks
    see no predictions, a loss is not told `training`, and a metric is reset before it can be read.
    `training` is a Python bool, so nothing at all is traced into the evaluation step.
    """
    inner = model.compute_loss
    if "training" not in inspect.signature(inner).parameters:
        raise InputError(
            f"{type(model).__name__}.compute_loss: expected an argument `training`, without which "
            "training and validation cannot be told apart"
        )

    def compute_loss(
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        if training:
            loss.accumulate(*((y, y_pred) if key is None else (y[key], y_pred[key])))
        return inner(x, y, y_pred, sample_weight, training=training)

    compute_loss.accumulates = True  # type: ignore[attr-defined]
    return compute_loss


def _unwrap(model: keras.Model) -> None:
    if getattr(model.compute_loss, "accumulates", False):
        del model.compute_loss  # the instance's attribute; the class's method shows again


def _online_loss(losses: Any) -> tuple[Any, OnlineLabelSmoothingLoss]:
    """The one online label smoothing loss of a compiled model, and its key among the outputs."""

    def entries() -> Iterator[tuple[Any, Any]]:
        if isinstance(losses, dict):
            yield from losses.items()
        elif isinstance(losses, (list, tuple)):
            yield from enumerate(losses)
        else:
            yield None, losses

    found = [(key, x) for key, x in entries() if isinstance(x, OnlineLabelSmoothingLoss)]
    if len(found) != 1:
        raise InputError(
            "OnlineLabelSmoothing: expected a model compiled with one OnlineLabelSmoothingLoss, "
            f"received loss={losses!r}"
        )
    return found[0]
