"""The callback that tells `FedLASLoss` during `Model.fit` that it trains."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from lsplus_tf.callbacks.loss_callback import other_shapes
from lsplus_tf.callbacks.renewing import FeedingCallback
from lsplus_tf.losses.base import Batch
from lsplus_tf.losses.fedlas import FedLASLoss


class FedLAS(FeedingCallback[FedLASLoss]):
    """Let the running statistics and the gate of FedLAS learn in the training steps of `fit`.

    In validation, and in an `evaluate` of one's own, they stay as they are. A loss that a step asks
    several times, as one object for several outputs is, learns from each: give every output its
    own.

    Parameters
    ----------
    loss : FedLASLoss or sequence of FedLASLoss, optional
        The losses. None is all that the model was compiled with, or that the model, its layers,
        losses and functions hold; only a global variable has to be given.

    Raises
    ------
    InputError
        When training begins, if the model has no `FedLASLoss`.

    Examples
    --------
    >>> import keras, numpy as np, lsplus_tf as lsp
    >>> inputs = keras.Input([4])
    >>> logits = keras.layers.Dense(2)(inputs)
    >>> outputs = lsp.backbones.CarryFeatures()([logits, inputs])
    >>> model = keras.Model(inputs, outputs)
    >>> loss = lsp.losses.FedLASLoss(num_classes=2, momentum=1.0, from_logits=True)
    >>> model.compile("sgd", loss)
    >>> x, y = np.array([[1.0, -2, 0, 0], [3, 0, 0, 4]]), np.array([0, 1])
    >>> _ = model.fit(x, y, callbacks=[lsp.callbacks.FedLAS()], verbose=0)
    >>> loss.norm_mean.numpy().item()  # of 3 and 7
    5.0
    """

    loss_class = FedLASLoss

    def learn(self, loss: FedLASLoss, batch: Batch, *, training: bool) -> None:
        """Nothing is left to do: the loss asks whether it is followed when it is computed."""

    def training_state(self) -> dict[str, NDArray[Any]]:
        return {}

    def problem(self, state: dict[str, NDArray[Any]], epochs: int, loss: FedLASLoss) -> str | None:
        return other_shapes(state)

    def resume(self, state: dict[str, NDArray[Any]]) -> None:
        """The loss holds all there is."""
