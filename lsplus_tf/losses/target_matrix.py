"""Cross-entropy against a target that is looked up by class, which most methods are.

Hard labels, label smoothing, LS+, class-distribution-aware smoothing, online label smoothing and
confusion penalties differ in the matrix whose rows are looked up, and in when it changes.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import Batch, ClassificationLoss, LossDtype, matrix_product
from lsplus_tf.losses.feeding import Feeding
from lsplus_tf.losses.scheduled import AlphaLoss, Scheduled, variable_of


class TargetMatrixLoss(AlphaLoss):
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

    num_classes_from: ClassVar[str]  # the argument that tells K, for messages
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
        self._rows: NDArray | tf.Variable | None = None  # M, or targets that stay
        self._constants: NDArray | tf.Variable | None = None
        self._awaits_state = False
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

    def _tables(self) -> tuple[NDArray, NDArray | None]:
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

    def begins_in(self, model: keras.Model, held: Sequence[ClassificationLoss]) -> None:
        """A training of `model` begins in which a callback renews the soft labels.

        Parameters
        ----------
        model : keras.Model
            Compiled with the loss, or given it.
        held : sequence of ClassificationLoss
            The losses that the model has now.
        """
        self.is_fed = True
        kind = type(self).__name__
        other = _OF_MODELS.get(model, {}).get(kind)
        is_new = not (self._feeding.renewed or self._awaits_state)
        is_gone = not any(getattr(loss, "_feeding", None) is other for loss in held)
        if other is not None and is_gone and other.renewed and is_new:
            warnings.warn(
                f"{self.name}: the model was compiled anew, with a new loss, so that its soft "
                "labels begin anew; to go on with those there are, compile with the same loss",
                stacklevel=3,
            )
        shared = [m for m, of_model in _OF_MODELS.items() if of_model.get(kind) is self._feeding]
        if any(m is not model for m in shared):
            warnings.warn(
                f"{self.name}: one loss object is in two models, which share its soft labels; give "
                "each model its own",
                stacklevel=3,
            )
        _OF_MODELS.setdefault(model, {})[kind] = self._feeding

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

    def noticing_training(self, losses: tf.Tensor) -> tf.Tensor:
        if self._awaits_state:
            self._awaits_state = False
            warnings.warn(
                f"{self.name}: expected the soft labels that it was trained with, which were not "
                "where it came from: .h5 files and copies of a config have none. They are those "
                "of a new loss; .keras and .weights.h5 files keep them",
                stacklevel=3,
            )
        return super().noticing_training(losses)

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
        super().save_own_variables(store)
        for name, variable in self._state().items():
            store[name] = tf.convert_to_tensor(variable).numpy()

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        # Weights that were saved under another loss hold no state of this; that here then stays.
        state = self._state()
        if state and all(name in store for name in state):
            self._awaits_state = False
            self._feeding.renewed = True
            for name, variable in state.items():
                variable.assign(store[name][...])

    def get_config(self) -> dict[str, Any]:
        renewed = self.not_fed and (self._awaits_state or self._feeding.renewed)
        return {**super().get_config(), **({"renewed": True} if renewed else {})}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TargetMatrixLoss:
        config = dict(config)
        renewed = config.pop("renewed", False)
        loss = super().from_config(config)
        loss._awaits_state = renewed
        return loss


# Of a class, the feeding of the loss whose soft labels a model's last training renewed.
_OF_MODELS: weakref.WeakKeyDictionary[keras.Model, dict[str, Feeding]]
_OF_MODELS = weakref.WeakKeyDictionary()


def _looked_up(table: NDArray | tf.Variable, batch: Batch) -> tf.Tensor:
    """The entries of `table` (K, ...) of the samples' classes, of soft labels mixed."""
    if batch.given_rows is not None:
        return matrix_product(batch.given_rows, table)
    return tf.gather(table, batch.labels)
