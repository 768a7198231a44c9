"""Online label smoothing: the targets of a class are its mean prediction in the epoch before."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from lsplus_tf.errors import InputError, check_choice, check_flag, check_fraction, check_number
from lsplus_tf.losses.arrays import held, packed
from lsplus_tf.losses.base import Batch, LossDtype
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.scheduled import Scheduled, number_config
from lsplus_tf.losses.target_matrix import TargetMatrixLoss
from lsplus_tf.priors import check_prior, uniform_prior

EmptyClass = Literal["uniform", "keep", "zeros"]
FirstMatrix = Literal["uniform", "zeros", "label_smoothed"]
Initial = FirstMatrix | ArrayLike


@registered
class OnlineLabelSmoothingLoss(TargetMatrixLoss):
    """Online label smoothing (OLS): alpha CE(y, p) + (1 - alpha) CE(S_y, p).

    Row k of S is the mean softmax of the training samples of class k that the network classified
    correctly in the epoch before; in the first epoch it is uniform. The loss holds S and what is
    being accumulated; `lsplus_tf.callbacks.OnlineLabelSmoothing` feeds it during `fit`. Training
    without the callback warns, since S then stays uniform.

    In a training loop of your own call `accumulate(y_true, y_pred)` beside the loss, and
    `update_soft_labels()` after every epoch.

    Parameters
    ----------
    num_classes : int
        K >= 2.
    alpha : float or callable
        Weight of the **hard** labels in [0, 1], as in the paper (1 gives cross-entropy; LS and LS+
        use alpha for the smoothing instead). The paper uses 0.5. Or a function of the epoch, as in
        `LabelSmoothingLoss`; the callback tells the loss the epoch.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    empty_class : {"uniform", "keep", "zeros"}
        The row of a class without a correct prediction in an epoch, which the paper leaves
        undefined: "uniform" (1/K, as in the authors' code), "keep" (the row it had) or "zeros" (no
        soft term).
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    count_zero_weights : bool
        Whether samples of weight 0 are accumulated too: they are samples, though the loss does not
        train on them.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.
    soft_weight : float, optional
        Weight of the soft labels, >= 0; None means 1 - alpha.
    initial : str or array_like, shape (K, K)
        S in the first epoch: "uniform", "zeros" (no soft term), "label_smoothed" (0.9 for the
        class, the rest spread over the others), or (K, K) rows that sum to 1.
    freeze_above : float, optional
        A row whose largest entry is at least this stays as it is, unless the class had no correct
        prediction; in [0, 1]. None freezes none.
    prior : array_like, shape (K, K), optional
        Rows v^k as in `LSPlusLoss`, to blend with; None for plain OLS. See the notes.
    prior_weight : float
        Share of `prior` in S, in [0, 1].

    Attributes
    ----------
    soft_labels : tf.Variable, shape (K, K)
        The matrix S, rows = true classes.

    Raises
    ------
    InputError
        An argument out of range, or `initial` beside `prior`; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    The state is saved with the model, in `.keras` and `.weights.h5`. A soft label (B, K) takes the
    matching mixture of rows, and is accumulated under its largest entry. Sample weights weigh the
    loss and not the accumulation: every correct prediction counts once, as in the paper, but for
    `count_zero_weights`.
    Source: Zhang et al., IEEE TIP 2021, Eq. 1 to 5. Their CIFAR script is `initial="zeros"`, their
    fine-grained one `alpha=1, soft_weight=1, freeze_above=0.88`.

    With `prior`, S after an epoch is (1 - prior_weight) OLS + prior_weight prior, and before the
    first epoch's end the prior itself. So prior_weight = 0 is OLS from that matrix, and 1 is LS+
    with smoothing 1 - alpha, less a constant. The OLS paper names the combination as future work;
    this form of it is our own.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.OnlineLabelSmoothingLoss(num_classes=2, from_logits=True)
    >>> loss.accumulate([0, 1], [[2.0, 0.0], [3.0, 0.0]])  # only the first is correct
    >>> loss.update_soft_labels()
    >>> loss.soft_labels.numpy().round(3).tolist()
    [[0.8809999823570251, 0.11900000274181366], [0.5, 0.5]]
    """

    not_fed = (
        "nothing accumulates its soft labels, so they stay as they are: give fit "
        "callbacks=[lsplus_tf.callbacks.OnlineLabelSmoothing()], or call "
        "loss.accumulate(y_true, y_pred) in your own loop."
    )
    when_fed = "in steps"
    not_renewed = (
        "what it accumulated never became its soft labels: call loss.update_soft_labels() after "
        "every epoch of your own loop."
    )

    def __init__(
        self,
        num_classes: int,
        *,
        alpha: Scheduled = 0.5,
        from_logits: bool = False,
        empty_class: EmptyClass = "uniform",
        reduction: str = "sum_over_batch_size",
        name: str = "online_label_smoothing",
        dtype: LossDtype = "float32",
        soft_weight: float | None = None,
        initial: Initial = "uniform",
        freeze_above: float | None = None,
        prior: ArrayLike | None = None,
        prior_weight: float = 0.5,
        count_zero_weights: bool = True,
        ignore_class: int | None = None,
    ) -> None:
        self.empty_class = check_choice("empty_class", empty_class, EmptyClass)
        self.soft_weight = soft_weight
        if soft_weight is not None:
            check_number("soft_weight", soft_weight)
        if freeze_above is not None:
            freeze_above = check_fraction("freeze_above", freeze_above)
        self.freeze_above = freeze_above
        self.prior_weight = check_fraction("prior_weight", prior_weight)
        self.count_zero_weights = check_flag("count_zero_weights", count_zero_weights)
        uniform = uniform_prior(num_classes)
        if prior is None:
            self.prior: NDArray[np.float64] | None = None
        if isinstance(initial, str):
            self.initial: Any = initial
        if prior is not None:
            if not isinstance(initial, str) or initial != "uniform":
                raise InputError(
                    "initial: expected none beside prior, which is the first matrix; "
                    f"received {initial!r}"
                )
            first = self.prior = held(_check_matrix("prior", prior, len(uniform)))
        elif isinstance(initial, str):
            matrices = {
                "uniform": uniform,
                "zeros": np.zeros_like(uniform),
                "label_smoothed": _spread(len(uniform), 0.1),
            }
            first = matrices[check_choice("initial", initial, FirstMatrix)]
        else:
            first = self.initial = held(_check_matrix("initial", initial, len(uniform)))
        super().__init__(
            first,
            alpha,
            from_logits,
            reduction,
            name,
            dtype,
            # Otherwise they need not. And the fused operation would be no faster here: in a
            # training step the log-softmax is there for the accumulation already.
            rows_sum_to_one=alpha == 1.0 and not soft_weight,
            ignore_class=ignore_class,
        )
        self._empty_rows = (uniform * (self.empty_class == "uniform")).astype(self.dtype)
        # Every replica accumulates its own part, without communication in the step; the parts are
        # summed when they are read, once an epoch.
        self._sums = tf.Variable(
            tf.zeros_like(self._empty_rows),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
            name="sums",
        )

    def weights(self, alpha: float) -> tuple[float, float]:
        return alpha, 1.0 - alpha if self.soft_weight is None else self.soft_weight

    def accumulate(
        self,
        y_true: Any,
        y_pred: Any,
        from_logits: bool | None = None,
        *,
        sample_weight: Any = None,
    ) -> None:
        """Add the softmaxes of correct predictions to their classes' sums.

        Parameters
        ----------
        y_true, y_pred : array_like
            As the loss takes them. No gradient flows. Rows with NaN, and rows whose label is
            outside 0..K-1, are left out; so are those that the loss leaves out, by a mask or
            `ignore_class`, and rows of zeros.
        from_logits : bool, optional
            Whether `y_pred` holds logits; None means as in the loss. For a loss inside a
            `PenaltyLoss`, whose `from_logits` counts.
        sample_weight : array_like, shape (B,), optional
            Matters with count_zero_weights=False alone, and there whether it is 0.

        Raises
        ------
        InputError
            Outputs that are not probabilities, unless they are declared as logits.
        """
        self.accumulate_batch(self._own_batch(y_true, y_pred, from_logits, sample_weight))

    def accumulate_batch(self, batch: Batch) -> None:
        """Add the samples that the loss was asked about; for callbacks."""
        self.check_num_classes(batch.num_classes)
        probabilities = tf.stop_gradient(batch.probabilities)
        correct = batch.predicted == batch.classes
        correct &= tf.math.is_finite(tf.reduce_sum(probabilities, axis=-1))
        if batch.counted is not None:
            correct &= batch.counted
        if not self.count_zero_weights and batch.weights is not None:
            correct &= batch.weights != 0.0
        # Segment sums leave out negative ids, and with them the NaN that zero weights would keep.
        segments = tf.where(correct, batch.predicted, -1)
        self._sums.assign_add(
            tf.math.unsorted_segment_sum(probabilities, segments, self.num_classes)
        )

    def accumulated(self) -> NDArray[np.floating]:
        """How many predictions of each class (K,) were accumulated since the last update."""
        # Every softmax sums to 1.
        return tf.reduce_sum(tf.convert_to_tensor(self._sums), axis=1).numpy()

    def update_soft_labels(self) -> None:
        """Make the accumulated means the new soft labels, and start accumulating anew."""
        sums, before = tf.convert_to_tensor(self._sums), tf.convert_to_tensor(self.soft_labels)
        # Every softmax sums to 1, so a row's sum is the number of its predictions.
        counts = tf.reduce_sum(sums, axis=1, keepdims=True)
        rows = self._blended(tf.math.divide_no_nan(sums, counts))
        if self.freeze_above is not None:
            frozen = tf.reduce_max(before, axis=1, keepdims=True) >= self.freeze_above
            rows = tf.where(frozen, before, rows)
        otherwise = before if self.empty_class == "keep" else self._blended(self._empty_rows)
        self.soft_labels.assign(tf.where(counts > 0, rows, otherwise))
        self.reset_accumulator()
        self._feeding.renewed = True

    def _blended(self, rows: Any) -> Any:
        if self.prior is None:
            return rows
        prior = self.prior.astype(self.dtype)
        return (1.0 - self.prior_weight) * rows + self.prior_weight * prior

    def reset_accumulator(self) -> None:
        """Forget what was accumulated since the last update."""
        self._sums.assign(tf.zeros_like(self._empty_rows))

    def _state(self) -> dict[str, tf.Variable]:
        return {**super()._state(), "sums": self._sums}

    def get_config(self) -> dict[str, Any]:
        initial = self.initial
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "alpha": number_config(self.alpha),
            "empty_class": self.empty_class,
            "soft_weight": self.soft_weight,
            "initial": initial if isinstance(initial, str) else packed(initial),
            "freeze_above": self.freeze_above,
            "prior": None if self.prior is None else packed(self.prior),
            "prior_weight": self.prior_weight,
            "count_zero_weights": self.count_zero_weights,
        }


def _spread(num_classes: int, mass: float) -> NDArray[np.float64]:
    """1 - mass on the diagonal, the rest evenly beside it, (K, K)."""
    rows = np.full((num_classes, num_classes), mass / (num_classes - 1))
    np.fill_diagonal(rows, 1.0 - mass)
    return rows


def _check_matrix(name: str, matrix: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    """Return `matrix` as float64 (K, K) whose rows are distributions, or raise `InputError`."""
    try:
        checked = check_prior(matrix)
    except InputError as error:
        raise InputError(str(error).replace("prior", name, 1)) from None
    if len(checked) != num_classes:
        raise InputError(
            f"{name}: expected shape {(num_classes, num_classes)}, as num_classes={num_classes}, "
            f"received shape {checked.shape}"
        )
    return checked
