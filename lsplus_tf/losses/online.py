"""Online label smoothing: the targets of a class are its mean prediction in the epoch before."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import keras
import tensorflow as tf

from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import Batch, check_alpha, class_ids
from lsplus_tf.losses.class_indexed import ClassIndexedLoss
from lsplus_tf.priors import uniform_prior

EmptyClass = Literal["uniform", "keep"]


@keras.saving.register_keras_serializable(package="lsplus_tf")
class OnlineLabelSmoothingLoss(ClassIndexedLoss):
    """Online label smoothing (OLS): alpha CE(y, p) + (1 - alpha) CE(S_y, p).

    Row k of S is the mean softmax of the training samples of class k that the network classified
    correctly in the epoch before; in the first epoch it is uniform. The loss holds S and what is
    being accumulated; `lsplus_tf.callbacks.OnlineLabelSmoothing` feeds it during `fit`. Training
    without the callback warns, since S then stays uniform.

    In a training loop of your own call `accumulate(y_true, y_pred)` beside the loss, before the
    gradient is taken, and `update_soft_labels()` after every epoch.

    Parameters
    ----------
    num_classes : K >= 2.
    alpha : weight of the **hard** labels in [0, 1], as in the paper (1 gives cross-entropy; LS and
        LS+ use alpha for the smoothing instead). The paper uses 0.5.
    from_logits : whether `y_pred` holds logits (B, K); otherwise probabilities.
    empty_class : the row of a class without a correct prediction in an epoch, which the paper
        leaves undefined: "uniform" (1/K, as in the authors' code) or "keep" (the row it had).
    reduction, name : as in `keras.losses.Loss`.

    Attributes
    ----------
    soft_labels : (K, K) float32 variable, the matrix S, rows = true classes.

    Raises
    ------
    InputError : an argument out of range; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    The state is saved with the model, in `.keras` and `.weights.h5`. A soft label (B, K) takes the
    matching mixture of rows, and is accumulated under its largest entry. Sample weights weigh the
    loss and not the accumulation: every correct prediction counts once, as in the paper.
    Source: Zhang et al., IEEE TIP 2021, Eq. 1 to 5.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.OnlineLabelSmoothingLoss(num_classes=2, from_logits=True)
    >>> loss.accumulate([0, 1], [[2.0, 0.0], [3.0, 0.0]])  # only the first is correct
    >>> loss.update_soft_labels()
    >>> loss.soft_labels.numpy().round(3).tolist()
    [[0.8809999823570251, 0.11900000274181366], [0.5, 0.5]]
    """

    def __init__(
        self,
        num_classes: int,
        alpha: float = 0.5,
        from_logits: bool = False,
        empty_class: EmptyClass = "uniform",
        reduction: str = "sum_over_batch_size",
        name: str = "online_label_smoothing",
    ) -> None:
        super().__init__(from_logits=from_logits, reduction=reduction, name=name)
        self.alpha = check_alpha(alpha)
        if empty_class not in ("uniform", "keep"):
            raise InputError(f"empty_class: expected 'uniform' or 'keep', received {empty_class!r}")
        self.empty_class = empty_class
        self._uniform = uniform_prior(num_classes).astype("float32")
        self.num_classes = len(self._uniform)
        self.soft_labels = tf.Variable(
            self._uniform,
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            name="soft_labels",
        )
        # Every replica accumulates its own part, without communication in the step; the parts are
        # summed when they are read, once an epoch.
        self._sums = tf.Variable(
            tf.zeros_like(self._uniform),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
            name="sums",
        )
        self.is_fed = False

    def rows(self, labels: tf.Tensor, num_classes: int) -> tf.Tensor:
        self._check_num_classes(num_classes)
        soft = (1.0 - self.alpha) * tf.gather(self.soft_labels, labels)
        return tf.one_hot(labels, num_classes, on_value=self.alpha, off_value=0.0) + soft

    def mixed_rows(self, soft_labels: tf.Tensor) -> tf.Tensor:
        self._check_num_classes(soft_labels.shape[-1])
        soft = tf.tensordot(soft_labels, tf.convert_to_tensor(self.soft_labels), axes=1)
        return self.alpha * soft_labels + (1.0 - self.alpha) * soft

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        losses = super().sample_losses(batch)

        # The loss is not told whether it trains or evaluates, but only training takes a gradient:
        # the inner function runs when the gradient is traced.
        @tf.custom_gradient
        def warn_in_training(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                if not self.is_fed:
                    warnings.warn(
                        "OnlineLabelSmoothingLoss is being trained, but nothing accumulates its "
                        "soft labels, so they stay as they are: give fit "
                        "callbacks=[lsplus_tf.callbacks.OnlineLabelSmoothing()], or call "
                        "loss.accumulate(y_true, y_pred) in your own loop.",
                        stacklevel=2,
                    )
                return upstream

            return tf.identity(values), gradient

        return warn_in_training(losses)

    def accumulate(self, y_true: Any, y_pred: Any) -> None:
        """Add the softmaxes of correct predictions to their classes' sums.

        Parameters
        ----------
        y_true, y_pred : as the loss takes them. No gradient flows. Rows with NaN, and rows whose
            label is outside 0..K-1, are left out.
        """
        self.is_fed = True
        outputs = getattr(y_pred, "_keras_logits", y_pred)
        from_logits = self.from_logits or outputs is not y_pred
        outputs = tf.stop_gradient(tf.cast(outputs, tf.float32))
        self._check_num_classes(outputs.shape[-1])
        y_true = tf.convert_to_tensor(y_true)
        labels = class_ids(y_true, outputs)
        if labels is None:
            labels = tf.argmax(y_true, axis=-1, output_type=tf.int32)
        if outputs.shape.rank > 2:
            labels = tf.reshape(labels, [-1])
            outputs = tf.reshape(outputs, [-1, self.num_classes])
        # On CPUs the softmax kernel takes 0.1 ms more than this, whatever the size.
        probabilities = tf.exp(tf.nn.log_softmax(outputs)) if from_logits else outputs
        predicted = tf.argmax(outputs, axis=-1, output_type=tf.int32)
        # Compared in the labels' type: a NaN label equals nothing, and casting it makes it a class.
        correct = tf.cast(predicted, labels.dtype) == labels
        correct &= tf.math.is_finite(tf.reduce_sum(probabilities, axis=-1))
        # Segment sums leave out negative ids, and with them the NaN that zero weights would keep.
        segments = tf.where(correct, predicted, -1)
        self._sums.assign_add(
            tf.math.unsorted_segment_sum(probabilities, segments, self.num_classes)
        )

    def update_soft_labels(self) -> None:
        """Make the accumulated means the new soft labels, and start accumulating anew."""
        sums = tf.convert_to_tensor(self._sums)
        # Every softmax sums to 1, so a row's sum is the number of its predictions.
        counts = tf.reduce_sum(sums, axis=1, keepdims=True)
        otherwise = self._uniform if self.empty_class == "uniform" else self.soft_labels
        means = tf.math.divide_no_nan(sums, counts)
        self.soft_labels.assign(tf.where(counts > 0, means, otherwise))
        self.reset_accumulator()

    def reset_accumulator(self) -> None:
        """Forget what was accumulated since the last update."""
        self._sums.assign(tf.zeros_like(self._uniform))

    def _check_num_classes(self, num_classes: int) -> None:
        if num_classes != self.num_classes:
            raise InputError(
                f"y_pred: expected num_classes={self.num_classes} columns, received {num_classes}"
            )

    def save_own_variables(self, store: Any) -> None:
        for name, variable in self._state().items():
            store[name] = tf.convert_to_tensor(variable).numpy()

    def load_own_variables(self, store: Any) -> None:
        # Weights that were saved under another loss hold no soft labels; those here then stay.
        if "soft_labels" in store:
            for name, variable in self._state().items():
                variable.assign(store[name][...])

    def _state(self) -> dict[str, tf.Variable]:
        return {"soft_labels": self.soft_labels, "sums": self._sums}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "alpha": self.alpha,
            "empty_class": self.empty_class,
        }
