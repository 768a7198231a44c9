"""Cross-entropy against a target that is looked up by class, which most methods are.

Hard labels, label smoothing, LS+, class-distribution-aware smoothing, online label smoothing and
confusion penalties differ in the matrix whose rows are looked up, and in when it changes.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import Batch, ClassificationLoss, LossDtype, matrix_product


class TargetMatrixLoss(ClassificationLoss):
    """hard CE(y, p) + soft CE(M_y, p) + c_y, where row y of a matrix M belongs to class y.

    A matrix that stays is put together with the hard labels once, so that a step looks up one row.
    One that something renews between epochs is a variable, saved in `.keras` and `.weights.h5`: of
    the losses that say what to do when they are `not_fed`.

    Parameters
    ----------
    matrix : ndarray, shape (K, K), or None
        M, rows = true classes; None is 1/K everywhere, of any number of classes.
    from_logits, reduction, name, dtype, ignore_class
        As in `ClassificationLoss`.
    hard, soft : float
        The weights of the two terms, >= 0.
    constants : ndarray, shape (K,), optional
        What c adds to the losses of a class; None is nothing.
    rows_sum_to_one : bool
        Whether rows of targets do. TensorFlow's fused cross-entropy is faster, and its gradient
        right for such rows only.

    Attributes
    ----------
    soft_labels : tf.Variable, shape (K, K)
        M, where it is renewed.
    is_fed : bool
        Whether something renews M; training warns where nothing does.
    """

    num_classes_from: ClassVar[str]  # the argument that tells K, for messages
    not_fed: ClassVar[str] = ""  # what is missing where nothing renews M, and what to do

    def __init__(
        self,
        matrix: NDArray[np.float64] | None,
        from_logits: bool,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        hard: float,
        soft: float,
        constants: NDArray[np.float64] | None = None,
        rows_sum_to_one: bool = True,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self._hard, self._soft = hard, soft
        self._rows_sum_to_one = rows_sum_to_one
        self._rows: NDArray | tf.Variable | None = None  # M, or targets that stay
        self._constants: NDArray | tf.Variable | None = None
        self.is_fed = False
        if matrix is None:
            return
        self.num_classes = len(matrix)
        if self.not_fed:
            self.soft_labels = self._rows = variable_of(matrix.astype(self.dtype), "soft_labels")
        else:
            self._rows = self.targets_of_classes(matrix)
        if constants is not None:
            self._constants = constants.astype(self.dtype)

    def targets_of_classes(self, matrix: NDArray[np.float64]) -> NDArray:
        """The targets (K, K) with a matrix M that stays."""
        return (self._hard * np.eye(len(matrix)) + self._soft * matrix).astype(self.dtype)

    def targets(self, batch: Batch) -> tf.Tensor:
        """The target rows (..., K); of soft labels the mixture of their classes' rows."""
        if self._rows is None:
            return self._labels(batch, self._soft / batch.num_classes)
        self.check_num_classes(batch.num_classes)
        rows = _looked_up(self._rows, batch)
        return self._labels(batch) + self._soft * rows if self.not_fed else rows

    def _labels(self, batch: Batch, everywhere: float = 0.0) -> tf.Tensor:
        """hard times the labels, (..., K), plus the same `everywhere`."""
        if batch.given_rows is not None:
            rows = batch.given_rows if self._hard == 1.0 else self._hard * batch.given_rows
            return rows + everywhere if everywhere else rows
        return tf.one_hot(
            batch.labels,
            batch.num_classes,
            on_value=self._hard + everywhere,
            off_value=everywhere,
            dtype=self.dtype,
        )

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        # Soft labels from elsewhere, and so their mixtures, need not sum to 1.
        unit_rows = self._rows_sum_to_one and batch.given_rows is None
        losses = batch.cross_entropy_with(self.targets(batch), unit_rows=unit_rows)
        if self._constants is not None:
            losses += _looked_up(self._constants, batch)
        return self._warning_in_training(losses) if self.not_fed else losses

    def _warning_in_training(self, losses: tf.Tensor) -> tf.Tensor:
        # The loss is not told whether it trains or evaluates, but only training takes a gradient:
        # the inner function runs when the gradient is traced.
        @tf.custom_gradient
        def warn_in_training(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                if not self.is_fed:
                    warnings.warn(
                        f"{type(self).__name__} is being trained, but {self.not_fed}", stacklevel=2
                    )
                return upstream

            return tf.identity(values), gradient

        return warn_in_training(losses)

    def check_num_classes(self, num_classes: int) -> None:
        if num_classes != self.num_classes:
            raise InputError(
                f"y_pred: expected {self.num_classes} classes as in {self.num_classes_from}, "
                f"received {num_classes}"
            )

    def _state(self) -> dict[str, tf.Variable]:
        """What is saved; names that are this loss's alone, so that another's are not taken."""
        return {"soft_labels": self.soft_labels} if self.not_fed else {}

    def save_own_variables(self, store: Any) -> None:
        for name, variable in self._state().items():
            store[name] = tf.convert_to_tensor(variable).numpy()

    def load_own_variables(self, store: Any) -> None:
        # Weights that were saved under another loss hold no state of this; that here then stays.
        state = self._state()
        if all(name in store for name in state):
            for name, variable in state.items():
                variable.assign(store[name][...])


def variable_of(array: NDArray, name: str | None = None) -> tf.Variable:
    """A variable that traced steps read anew, and that is the same on all devices."""
    return tf.Variable(
        array,
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        name=name,
    )


def _looked_up(table: NDArray | tf.Variable, batch: Batch) -> tf.Tensor:
    """The entries of `table` (K, ...) of the samples' classes, of soft labels mixed."""
    if batch.given_rows is not None:
        return matrix_product(batch.given_rows, table)
    return tf.gather(table, batch.labels)
