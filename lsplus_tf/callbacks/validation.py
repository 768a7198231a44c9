"""Callbacks that learn from the validation that `fit` does after an epoch.

What is summed over its samples, and what the sums change, is the losses': see
`lsplus_tf.losses.validation_loss`.
"""

from __future__ import annotations

import abc
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsplus_tf.callbacks.history import History
from lsplus_tf.callbacks.loss_callback import (
    LossType,
    ObservingCallback,
    is_prior,
    other_shapes,
    running_fits,
)
from lsplus_tf.callbacks.renewing import RenewingCallback, SoftLabelsCallback
from lsplus_tf.errors import InputError, check_count, check_number
from lsplus_tf.losses.base import Batch
from lsplus_tf.losses.confusion import ConfusionPenaltyLoss
from lsplus_tf.losses.smoothing import LSPlusLoss
from lsplus_tf.losses.validation_loss import (
    SAMPLES,
    ConfusionCounts,
    Summed,
    ValidationLoss,
    ValidationSums,
)
from lsplus_tf.priors import (
    ALL_THE_SAME,
    doubtful_values,
    informed_prior,
    shrink_class_accuracy,
)


class _ValidationCallback(ObservingCallback[LossType]):
    """Sums over the samples of `fit`'s own validation, in its forward passes.

    `fit` calls the test hooks of its callbacks around its validation. An `evaluate` from within
    another callback does not, so that what it adds is forgotten when the validation begins.
    """

    def __init__(self, loss: Any = None) -> None:
        super().__init__(loss)
        self._sums: list[ValidationSums] = []  # one for each loss
        self._epoch = 0
        self._validated_epoch = False
        self._validated: bool | None = None  # None in the first epoch
        self._warned = False

    @abc.abstractmethod
    def summed(self, loss: LossType) -> Summed:
        """What is summed for a loss."""

    @abc.abstractmethod
    def after_validation(self, loss: LossType, totals: dict[str, NDArray[Any]]) -> None:
        """Use the sums over the epoch's validation, which had one sample or more."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self._validated, self._warned = None, False
        with self.model.distribute_strategy.scope():
            self._sums = [ValidationSums(self.summed(loss)) for loss in self.losses]

    def learn(self, loss: LossType, batch: Batch, *, training: bool) -> None:
        if not training:
            of_losses = zip(self._sums, self.losses, strict=True)
            next(sums for sums, mine in of_losses if mine is loss).add(batch)

    def on_broken_off(self) -> None:
        super().on_broken_off()
        self._sums = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._epoch, self._validated_epoch = epoch, False

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        for sums in self._sums:
            sums.reset()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        # Not at the epoch's end: what another callback saves there has it, whatever their order.
        for loss, sums in zip(self.losses, self._sums, strict=bool(self._sums)):
            self._validated_epoch = True
            totals = sums.totals()
            if totals[SAMPLES]:
                self.after_validation(loss, totals)
            elif not self._warned:
                self._warned = True
                warnings.warn(
                    f"{loss.name}: the validation showed it no sample: all outputs were NaN, all "
                    "labels ignored, or the test step does not call this loss",
                    stacklevel=2,
                )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._validated_epoch and self._validated is None and self._has_none_to_come():
            warnings.warn(f"{self._expected()} in the first epoch", stacklevel=2)
        self._validated = self._validated or self._validated_epoch

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_end(logs)
        self._sums = []
        if self._validated is False:
            warnings.warn(f"{self._expected()} in all epochs: nothing changed", stacklevel=2)

    def _has_none_to_come(self) -> bool:
        """Whether the `fit` that runs has no validation data, which it does not tell its callbacks.

        With validation_freq it comes in a later epoch. False where it cannot be seen.
        """
        fits = running_fits(self.model)
        return bool(fits) and fits[0].get("validation_data", fits) is None

    def _expected(self) -> str:
        return f"validation_data: expected by {type(self).__name__} in fit, received no validation"


class ConfusionPenalty(
    SoftLabelsCallback[ConfusionPenaltyLoss], _ValidationCallback[ConfusionPenaltyLoss]
):
    """Give `ConfusionPenaltyLoss` the confusion matrix of every epoch's validation.

    The matrix is counted in the validation's own forward passes: nothing is predicted twice, and no
    nested `evaluate()` enters. The soft labels change when the validation ends, before any
    callback's `on_epoch_end`: an epoch's `loss` and `val_loss` have the same targets, and what
    another callback saves does not depend on the order of the callbacks. In an epoch without one
    (`validation_freq` > 1) they stay.

    Parameters
    ----------
    loss : ConfusionPenaltyLoss or sequence of ConfusionPenaltyLoss, optional
        The losses, as in `OnlineLabelSmoothing`.
    max_history : int, optional
        As in `OnlineLabelSmoothing`.

    Attributes
    ----------
    soft_labels : ndarray, shape (K, K), or list of ndarray
        The rows in use, rows = true classes; of several losses a list.
    history : list of ndarray, shape (K, K), or list of list
        What `soft_labels` was after each epoch of the last `fit`.

    Raises
    ------
    InputError
        When training begins, if the model has no `ConfusionPenaltyLoss`.

    Warns
    -----
    UserWarning
        After the first epoch, if `fit` has no validation, and after the last, if there was none; of
        a validation that showed the loss no sample.

    Notes
    -----
    Works in every way that `OnlineLabelSmoothing` does. Every validation sample counts once,
    whatever its weight, and a soft label under its largest entry. Rows with NaN, and labels outside
    0..K-1, do not count.
    Source: Kuiry et al., arXiv 2403.10881, as interpreted in `ConfusionPenaltyLoss`.

    Examples
    --------
    >>> import keras, numpy as np, lsplus_tf as lsp
    >>> model = keras.Sequential([keras.Input([4]), keras.layers.Dense(2)])
    >>> model.compile("sgd", lsp.losses.ConfusionPenaltyLoss(2, from_logits=True))
    >>> penalty = lsp.callbacks.ConfusionPenalty()
    >>> x, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> _ = model.fit(x, y, validation_data=(x, y), callbacks=[penalty], epochs=3, verbose=0)
    >>> len(penalty.history), penalty.soft_labels.tolist()
    (3, [[0.0, 1.0], [1.0, 0.0]])
    """

    loss_class = ConfusionPenaltyLoss

    def summed(self, loss: ConfusionPenaltyLoss) -> Summed:
        return ConfusionCounts(loss.num_classes)

    def after_validation(self, loss: ConfusionPenaltyLoss, totals: dict[str, NDArray[Any]]) -> None:
        loss.update_from_confusion(totals["confusion"])


class ValidationFeedback(RenewingCallback[ValidationLoss], _ValidationCallback[ValidationLoss]):
    """Give losses that learn from the validation what they need of every validation of `fit`.

    These are `CALSLoss` and `AdaptiveFocalLoss`. What they sum over the validation's samples is
    summed in its own forward passes: nothing is predicted twice, and no nested `evaluate()` enters.
    Their state changes when the validation ends, before any callback's `on_epoch_end`: an epoch's
    `loss` and `val_loss` have the same state, and what another callback saves does not depend on
    the order of the callbacks. In an epoch without one (`validation_freq` > 1) it stays.

    Parameters
    ----------
    loss : ValidationLoss or sequence of ValidationLoss, optional
        The losses, as in `OnlineLabelSmoothing`.
    max_history : int, optional
        As in `OnlineLabelSmoothing`.

    Attributes
    ----------
    history : list of dict of str to ndarray, or list of list
        What the state was after each epoch of the last `fit`, by the names of its parts; of several
        losses a list of dicts an epoch.

    Raises
    ------
    InputError
        When training begins, if the model has no such loss.

    Warns
    -----
    UserWarning
        After the first epoch, if `fit` has no validation, and after the last, if there was none; of
        a validation that showed the loss no sample.

    Notes
    -----
    Works in every way that `OnlineLabelSmoothing` does. Every validation sample counts once,
    whatever its weight. Rows whose softmax is NaN, and labels outside 0..K-1, do not count.
    The validation split, which often chooses the epoch and fits a temperature too, is used once
    more here. It must not be the test split.
    Since the state changes the loss, `val_loss` of different epochs cannot be compared: choose
    epochs by another measure. `EarlyStopping(restore_best_weights=True)` restores weights, not
    losses: the state stays that of the last epoch. A `ModelCheckpoint` keeps both of the best.

    Examples
    --------
    >>> import keras, numpy as np, lsplus_tf as lsp
    >>> model = keras.Sequential([keras.Input([4]), keras.layers.Dense(2)])
    >>> model.compile("sgd", lsp.losses.AdaptiveFocalLoss(num_bins=3, from_logits=True))
    >>> feedback = lsp.callbacks.ValidationFeedback()
    >>> x, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> _ = model.fit(x, y, validation_data=(x, y), callbacks=[feedback], epochs=2, verbose=0)
    >>> [state["gammas"].shape for state in feedback.history]
    [(3,), (3,)]
    """

    loss_class = ValidationLoss
    loss_names = "CALSLoss or AdaptiveFocalLoss"

    def held(self, loss: ValidationLoss) -> dict[str, NDArray[Any]]:
        return loss.state()

    def training_state(self) -> dict[str, NDArray[Any]]:
        self.only_loss(self.model)
        names = self.history[0] if self.history else {}
        return {name: np.array([state[name] for state in self.history]) for name in names}

    def problem(
        self, state: dict[str, NDArray[Any]], epochs: int, loss: ValidationLoss
    ) -> str | None:
        kept = self.history.kept(epochs)
        parts = loss.state() if kept else {}
        return other_shapes(state, **{name: (kept, *part.shape) for name, part in parts.items()})

    def resume(self, state: dict[str, NDArray[Any]]) -> None:
        epochs = zip(*state.values(), strict=True)
        self.history[:] = [dict(zip(state, values, strict=True)) for values in epochs]

    def summed(self, loss: ValidationLoss) -> Summed:
        return loss

    def after_validation(self, loss: ValidationLoss, totals: dict[str, NDArray[Any]]) -> None:
        loss.renew_from(totals)


class PriorRefresh(_ValidationCallback[LSPlusLoss]):
    """Estimate the prior of `LSPlusLoss` anew, from the validation after every so many epochs.

    LS+ has the prior of a network that was trained with hard labels before. With this callback it
    comes from the network in training: its class accuracies on the validation data give, by
    `lsplus_tf.priors.informed_prior`, the prior for the epochs that follow. It starts with the
    prior that the loss was made with. The predictions are those of the validation itself.

    Parameters
    ----------
    every : int
        After how many epochs an estimate is due, >= 1, counted from the first epoch; where that
        epoch has no validation, the next one that has makes it.
    shrinkage : float
        Samples' worth of the overall accuracy that each class accuracy is drawn towards, >= 0; see
        `lsplus_tf.priors.shrink_class_accuracy`. Worth having where a class has few samples, or
        where V may become 0 or 1 in early epochs.
    loss : LSPlusLoss or sequence of LSPlusLoss, optional
        The losses, as in `OnlineLabelSmoothing`.
    max_history : int, optional
        As in `OnlineLabelSmoothing`.

    Attributes
    ----------
    history : list of (int, ndarray)
        The epoch and its class accuracies (K,), one for each estimate in the last `fit`, epochs
        counted from 0, accuracies as shrunk; of several losses a list of accuracies.

    Raises
    ------
    InputError
        An argument out of range. When training begins, if the model has no `LSPlusLoss`. After a
        validation without samples of some class, if there is no `shrinkage`, with which the class
        takes the overall accuracy.

    Warns
    -----
    UserWarning
        After the first epoch, if `fit` has no validation, and after the last, if there was none;
        after a `fit` of fewer epochs than `every`; of a class accuracy of exactly 0 or 1.

    Notes
    -----
    Works in every way that `OnlineLabelSmoothing` does. Samples count as in `ConfusionPenalty`.
    After `fit` the last prior is `loss.prior`; it is saved with the model, and with its weights.
    The targets change with the prior, and with them the scale of the loss: choose checkpoints by
    another measure than `val_loss`. The paper estimates the prior once; this is our own.

    Examples
    --------
    >>> import keras, numpy as np, lsplus_tf as lsp
    >>> model = keras.Sequential([keras.Input([4]), keras.layers.Dense(2)])
    >>> loss = lsp.losses.LSPlusLoss(lsp.priors.uniform_prior(2), from_logits=True)
    >>> model.compile("sgd", loss)
    >>> refresh = lsp.callbacks.PriorRefresh(every=2, shrinkage=1.0)
    >>> x, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> _ = model.fit(x, y, validation_data=(x, y), callbacks=[refresh], epochs=5, verbose=0)
    >>> [epoch for epoch, _ in refresh.history]
    [1, 3]
    >>> bool(np.all(loss.prior.diagonal() == refresh.history[-1][1]))
    True
    """

    loss_class = LSPlusLoss

    def __init__(
        self,
        every: int = 1,
        *,
        shrinkage: float = 0.0,
        loss: Any = None,
        max_history: int | None = None,
    ) -> None:
        super().__init__(loss)
        self.every = check_count("every", every)
        self.shrinkage = check_number("shrinkage", shrinkage)
        self.history: History = History(max_history)
        self._last: int | None = None  # epoch with an estimate
        self._estimated: list[NDArray[Any]] = []  # in this epoch
        self._refreshed = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self.history.clear()
        self._last, self._refreshed = None, False

    def training_state(self) -> dict[str, NDArray[Any]]:
        loss = self.only_loss(self.model)
        epochs, accuracies = zip(*self.history, strict=True) if self.history else ((), ())
        return {
            "prior": loss.prior,
            "epochs": np.array(epochs, np.int64),
            "class_accuracy": np.array(accuracies),
        }

    def problem(self, state: dict[str, NDArray[Any]], epochs: int, loss: LSPlusLoss) -> str | None:
        num_classes = loss.num_classes
        times = len(state["epochs"]) if state.get("epochs", np.zeros(())).ndim == 1 else 0
        if not is_prior(state.get("prior", np.zeros(())), num_classes):
            return f"the callback has no prior of {num_classes} classes"
        return other_shapes(
            state,
            prior=(num_classes, num_classes),
            epochs=(times,),
            class_accuracy=(times, num_classes) if times else (0,),
        )

    def resume(self, state: dict[str, NDArray[Any]]) -> None:
        self.losses[0].set_prior(state["prior"])
        self.history[:] = zip(state["epochs"].tolist(), state["class_accuracy"], strict=True)
        self._last = self.history[-1][0] if self.history else -1
        self._refreshed = bool(self.history)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if self._last is None:
            # Of a training that another callback resumed, that of its last due epoch.
            self._last = epoch - 1
        self._estimated = []

    def summed(self, loss: LSPlusLoss) -> Summed:
        return ConfusionCounts(loss.num_classes)

    def after_validation(self, loss: LSPlusLoss, totals: dict[str, NDArray[Any]]) -> None:
        assert self._last is not None
        if (self._epoch + 1) // self.every <= (self._last + 1) // self.every:
            return
        confusion = totals["confusion"]
        counts = confusion.sum(axis=1)
        if not counts.all() and not self.shrinkage:
            raise InputError(
                "validation_data: expected samples of every class, found none of "
                f"{np.flatnonzero(counts == 0).tolist()}; with shrinkage > 0 such classes take the "
                "overall accuracy"
            )
        measured = confusion.diagonal() / np.maximum(counts, 1)
        accuracy = shrink_class_accuracy(measured, counts, self.shrinkage)
        if doubts := doubtful_values(accuracy):
            remedy = ALL_THE_SAME
            if 0 < confusion.trace() < confusion.sum():
                remedy = (
                    "To draw them towards the overall accuracy, use PriorRefresh(shrinkage=5), in "
                    "a config class_accuracy: {shrinkage: 5}"
                )
            warnings.warn(
                f"the class accuracies behind the prior are doubtful ({'; '.join(doubts)}). "
                f"{remedy}",
                stacklevel=2,
            )
        loss.set_prior(informed_prior(accuracy, warn=False))
        self._estimated.append(accuracy)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if self._estimated:
            one = len(self.losses) == 1
            self.history.add((epoch, self._estimated[0] if one else self._estimated))
            self._last, self._refreshed = epoch, True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if not self._refreshed and self._validated and not self._warned:
            warnings.warn(
                f"PriorRefresh(every={self.every}): fit had fewer epochs, the prior stayed",
                stacklevel=2,
            )
        super().on_train_end(logs)
