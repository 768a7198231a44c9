"""Cross-entropy against a target that is looked up by class, which most methods are.

Hard labels, label smoothing, LS+, class-distribution-aware smoothing, online label smoothing and
confusion penalties differ in the matrix whose rows are looked up, and in when it changes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lsplus_tf.losses.base import Batch, LossDtype, matrix_product
from lsplus_tf.losses.renewed import RenewedLoss
from lsplus_tf.losses.scheduled import AlphaLoss, Scheduled, variable_of


class TargetMatrixLoss(RenewedLoss, AlphaLoss):
    """hard CE(y, p) + soft CE(M_y, p) + c_y, where row y of a matrix M belongs to class y.

    A matrix that stays is put together with the hard labels once, so that a step looks up one row.
    One that something renews between epochs is a variable, saved in `.keras` and `.weights.h5`: of
    the losses that say what to do when they are `not_fed`. What depends on an alpha that is a
    function of the epoch is in variables too.

    Parameters
    ----------
    matrix : ndarray, shape (K, K), or None
        M, rows = true classes; None is 1/K everywhere, of any number of classes.
    alpha : float or callable
        What `weights` makes hard and soft from, in [0, 1], or a function of the epoch that gives
        it.
    from_logits, reduction, name, dtype, ignore_class
        As in `ClassificationLoss`.
    rows_sum_to_one : bool
        Whether rows of targets do. TensorFlow's fused cross-entropy is faster, and its gradient
        right for such rows only.

    Attributes
    ----------
    soft_labels : tf.Variable, shape (K, K)
        M, where it is renewed.
    """

    # Whether the matrix may be replaced after steps were traced, though nothing renews it.
    in_variables: ClassVar[bool] = False

    def __init__(
        self,
        matrix: NDArray[np.float64] | None,
        alpha: Scheduled,
        from_logits: bool,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        rows_sum_to_one: bool = True,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(alpha, from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self._hard: Any
        self._soft: Any
        self._hard, self._soft = self.weights(self._now)
        if callable(alpha):
            self._hard, self._soft = (
                variable_of(np.array(weight, self.dtype)) for weight in (self._hard, self._soft)
            )
        self._rows_sum_to_one = rows_sum_to_one
        self._matrix = matrix
        self._rows: NDArray[Any] | tf.Variable | None = None  # M, or targets that stay
        self._constants: NDArray[Any] | tf.Variable | None = None
        if matrix is None:
            return
        self.num_classes = len(matrix)
        if self.not_fed:
            self.soft_labels = self._rows = variable_of(matrix.astype(self.dtype), "soft_labels")
        else:
            # A loss that is made within a traced function can have none.
            may_change = self.in_variables and tf.executing_eagerly()
            self._hold(in_variables=may_change or callable(alpha))

    def weights(self, alpha: float) -> tuple[float, float]:
        """The weights of the hard and of the soft labels."""
        return 1.0 - alpha, alpha

    def targets_at(self, alpha: float) -> NDArray[np.float64]:
        """The targets (K, K) of the classes with a matrix that stays."""
        assert self._matrix is not None
        hard, soft = self.weights(alpha)
        return hard * np.eye(self.num_classes) + soft * self._matrix

    def constants_at(self, alpha: float) -> NDArray[np.float64] | None:
        """c (K,) of the classes, or None."""
        del alpha
        return None

    def _tables(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        constants = self.constants_at(self._now)
        targets = self.targets_at(self._now).astype(self.dtype)
        return targets, None if constants is None else constants.astype(self.dtype)

    def _hold(self, *, in_variables: bool) -> None:
        """Hold the tables in variables, which traced steps read anew, or else in constants."""
        self._rows, self._constants = self._tables()
        if in_variables:
            self._rows = variable_of(self._rows)
            if self._constants is not None:
                self._constants = variable_of(self._constants)

    def _renew_tables(self) -> None:
        """Make the tables anew of the matrix and alpha."""
        if not isinstance(self._rows, tf.Variable):
            self._rows, self._constants = self._tables()
            return
        for variable, table in zip((self._rows, self._constants), self._tables(), strict=True):
            if variable is not None:
                variable.assign(table)

    def use_number(self, number: float) -> None:
        for variable, weight in zip((self._hard, self._soft), self.weights(number), strict=True):
            variable.assign(weight)
        if self._rows is not None and not self.not_fed:
            self._renew_tables()

    def targets(self, batch: Batch) -> tf.Tensor:
        """The target rows (..., K); of soft labels the mixture of their classes' rows."""
        if self._rows is None:
            return self._labels(batch, self._soft / batch.num_classes)
        self.check_num_classes(batch.num_classes)
        rows = _looked_up(self._rows, batch)
        return self._labels(batch) + self._soft * rows if self.not_fed else rows

    def _labels(self, batch: Batch, everywhere: Any = 0.0) -> tf.Tensor:
        """hard times the labels, (..., K), plus the same `everywhere`."""
        if batch.given_rows is None:
            return tf.one_hot(
                batch.labels,
                batch.num_classes,
                on_value=self._hard + everywhere,
                off_value=everywhere,
                dtype=self.dtype,
            )
        rows = batch.given_rows
        if callable(self.alpha) or self._hard != 1.0:
            rows = self._hard * rows
        return rows + everywhere if tf.is_tensor(everywhere) or everywhere else rows

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        # Soft labels from elsewhere, and so their mixtures, need not sum to 1.
        unit_rows = self._rows_sum_to_one and batch.given_rows is None
        losses = batch.cross_entropy_with(self.targets(batch), unit_rows=unit_rows)
        if self._constants is not None:
            losses += _looked_up(self._constants, batch)
        return self.noticing_training(losses)

    def _state(self) -> dict[str, tf.Variable]:
        return {"soft_labels": self.soft_labels} if self.not_fed else {}


def _looked_up(table: NDArray[Any] | tf.Variable, batch: Batch) -> tf.Tensor:
    """The entries of `table` (K, ...) of the samples' classes, of soft labels mixed."""
    if batch.given_rows is not None:
        return matrix_product(batch.given_rows, table)
    return tf.gather(table, batch.labels)
