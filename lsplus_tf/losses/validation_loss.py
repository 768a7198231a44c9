"""Losses that learn from sums over the validation's samples, and how those sums are made.

The sums are made in the validation's own forward passes, each device its own part; they are read,
and the parts put together, when the validation is over.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import Batch, LossDtype
from lsplus_tf.losses.feeding import Feeding
from lsplus_tf.losses.renewed import RenewedLoss

SAMPLES = "samples"  # beside what else is summed: how many there were

Shapes = dict[str, tuple[tuple[int, ...], tf.DType]]


class Summed(Protocol):
    """What is summed over a validation's samples."""

    def sums(self) -> Shapes:
        """Shape and dtype of each sum, by its name."""

    def add(self, sums: dict[str, tf.Variable], batch: Batch, counted: tf.Tensor) -> None:
        """Add the samples of a batch that are `counted`, (...) bool; in graph mode too."""


class ConfusionCounts:
    """A confusion matrix (K, K), rows = true classes.

    Parameters
    ----------
    num_classes : int
        How many classes.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes

    def sums(self) -> Shapes:
        return {"confusion": ((self._num_classes, self._num_classes), tf.int64)}

    def add(self, sums: dict[str, tf.Variable], batch: Batch, counted: tf.Tensor) -> None:
        size, counts = self._num_classes, sums["confusion"]
        cells = tf.where(counted, batch.classes * size + batch.predicted, -1)
        cells = tf.reshape(cells, [-1])  # segment sums leave out -1
        ones = tf.ones_like(cells, tf.float32)  # exact up to 2^24 in a batch's cell
        found = tf.math.unsorted_segment_sum(ones, cells, size**2)
        counts.assign_add(tf.cast(tf.reshape(found, counts.shape), tf.int64))


class ValidationSums:
    """The variables of what is summed over one validation; made in the strategy's scope.

    Every sample counts once, whatever its weight. Left out are those that the loss leaves out, and
    those whose softmax is NaN: of outputs with NaN or inf, or of logits that are all -inf.

    Parameters
    ----------
    summed : Summed
        What is summed.
    """

    def __init__(self, summed: Summed) -> None:
        self._summed = summed
        shapes: Shapes = {SAMPLES: ((), tf.int64), **summed.sums()}
        # Every replica adds to its own part; the parts are summed when they are read.
        self._variables = {
            name: tf.Variable(
                tf.zeros(shape, dtype),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
                name=name,
            )
            for name, (shape, dtype) in shapes.items()
        }

    def add(self, batch: Batch) -> None:
        counted = tf.reduce_all(batch.values < np.inf, axis=-1)  # which NaN is not either
        counted &= tf.reduce_any(batch.values > -np.inf, axis=-1)
        if batch.counted is not None:
            counted &= batch.counted
        self._variables[SAMPLES].assign_add(tf.math.count_nonzero(counted))
        self._summed.add(self._variables, batch, counted)

    def reset(self) -> None:
        for variable in self._variables.values():
            variable.assign(tf.zeros(variable.shape, variable.dtype))

    def totals(self) -> dict[str, NDArray[Any]]:
        """The sums over all devices, and the number of "samples"."""
        return {
            name: tf.convert_to_tensor(variable).numpy()
            for name, variable in self._variables.items()
        }


class ValidationLoss(RenewedLoss):
    """A loss whose state every validation renews, from sums over the validation's samples.

    `lsplus_tf.callbacks.ValidationFeedback` feeds it in `fit`. In a loop of one's own,
    `accumulate_validation` for every batch of a validation, and `update_from_validation` after it.
    Subclasses say what is summed (`sums`, `add`), what the totals change (`renew`), and, as of all
    renewed losses, in which variables it is held.

    Parameters
    ----------
    from_logits, reduction, name, dtype, ignore_class
        As in `ClassificationLoss`.
    """

    when_fed = "after epochs"

    def __init__(
        self,
        from_logits: bool,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name, dtype, ignore_class=ignore_class)
        kind = type(self).__name__
        self._watch(Feeding(kind, self.not_fed, self.not_renewed, when=self.when_fed))
        self._own_sums: ValidationSums | None = None  # of a loop of one's own
        self._is_traced = False  # which keeps the variables of the sums

    # What subclasses say in `not_fed` and `not_renewed`, after what they say of their state.
    _feed_it: ClassVar[str] = (
        "give fit validation_data and callbacks=[lsplus_tf.callbacks.ValidationFeedback()], or "
        "call loss.accumulate_validation(y_true, y_pred) for the batches of your own validation."
    )

    @abc.abstractmethod
    def sums(self) -> Shapes:
        """Shape and dtype of each sum over the validation, by its name."""

    @abc.abstractmethod
    def add(self, sums: dict[str, tf.Variable], batch: Batch, counted: tf.Tensor) -> None:
        """Add the samples of a batch that are `counted`, (...) bool; in graph mode too."""

    @abc.abstractmethod
    def renew(self, totals: dict[str, NDArray[Any]]) -> None:
        """Change the state by the sums, of a validation of one sample or more."""

    def state(self) -> dict[str, NDArray[Any]]:
        """The state as it is now, by the names that files have of its parts."""
        return {name: variable.numpy() for name, variable in self._state().items()}

    def renew_from(self, totals: dict[str, NDArray[Any]]) -> None:
        """Change the state by the sums of a validation; nothing if it showed no sample."""
        if totals[SAMPLES]:
            self.renew(totals)
            self._feeding.renewed = True

    def accumulate_validation(
        self, y_true: Any, y_pred: Any, from_logits: bool | None = None
    ) -> None:
        """Add a batch of a validation in a loop of your own.

        Parameters
        ----------
        y_true, y_pred : array_like
            As the loss takes them. Rows whose softmax is NaN, and rows whose label is outside
            0..K-1, are left out; so are those that the loss leaves out, by a mask or
            `ignore_class`, and rows of zeros. Every sample counts once: a validation has no
            weights.
        from_logits : bool, optional
            Whether `y_pred` holds logits; None means as in the loss. For a loss inside a
            `PenaltyLoss`, whose `from_logits` counts.

        Raises
        ------
        InputError
            In a strategy's scope and not in what it runs.
        """
        if tf.distribute.in_cross_replica_context():
            raise InputError(
                "accumulate_validation: expected a call by each device, received one in a "
                "strategy's scope: call it in the function that you give strategy.run"
            )
        batch = self._own_batch(y_true, y_pred, from_logits)
        self._is_traced |= not tf.executing_eagerly()
        if self._own_sums is None:
            with tf.init_scope():  # in a traced step, too
                self._own_sums = ValidationSums(self)
        self._own_sums.add(batch)

    def update_from_validation(self) -> None:
        """Change the state by the validation that was accumulated, and begin the next.

        Raises
        ------
        InputError
            Nothing was accumulated.
        """
        totals = {} if self._own_sums is None else self._own_sums.totals()
        if self._own_sums is None or not totals[SAMPLES]:
            raise InputError(
                f"{self.name}: expected a validation of one sample or more before "
                "update_from_validation, received none: call accumulate_validation(y_true, y_pred)"
            )
        self.renew_from(totals)
        if self._is_traced:
            self._own_sums.reset()
        else:
            self._own_sums = None  # which may be large
