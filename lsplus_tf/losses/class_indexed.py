"""What the class-indexed losses share: cross-entropy against a target that is looked up by class.

Hard labels, label smoothing, LS+ and online label smoothing differ only in the row of targets
that belongs to a class, and in when that row changes. The subclasses give the rows; reading the
labels, choosing logits or probabilities, and the cross-entropy itself are here, once.
"""

from __future__ import annotations

import abc
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lsplus_tf.errors import InputError

# The smallest normal float32: zero probabilities stay finite, and nothing above it is clipped.
_TINY = float(np.finfo(np.float32).tiny)
# The largest number that passes for a probability: a float16 softmax may round above 1.
_MOST = 1.001


def check_alpha(alpha: float) -> float:
    """Return `alpha` as a float; raise `InputError` unless it lies in [0, 1]."""
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float, np.number)):
        raise InputError(f"alpha: expected a number in [0, 1], received {alpha!r}")
    if not 0.0 <= alpha <= 1.0:
        raise InputError(f"alpha: expected a number in [0, 1], received {alpha}")
    return float(alpha)


def cross_entropy(targets: tf.Tensor, outputs: tf.Tensor, from_logits: bool) -> tf.Tensor:
    """Cross-entropy of every sample, - sum_k targets_k log p_k.

    Parameters
    ----------
    targets : (..., K) float32, rows that sum to 1.
    outputs : (..., K) float32, logits or probabilities.
    from_logits : whether `outputs` are logits.

    Returns
    -------
    (...) float32. From probabilities, p below 1.2e-38 counts as 1.2e-38, and samples with a value
    that is no probability give NaN (and an exception where one can be raised).
    """
    if from_logits:
        return tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=outputs)
    valid = tf.reduce_all((outputs >= 0.0) & (outputs <= _MOST), axis=-1)
    _refuse(
        valid | tf.reduce_any(tf.math.is_nan(outputs), axis=-1),  # NaN tells of itself
        "y_pred: expected probabilities; if these are logits, make the loss with from_logits=True",
        outputs,
    )
    losses = -tf.reduce_sum(targets * tf.math.log(tf.maximum(outputs, _TINY)), axis=-1)
    return tf.where(valid, losses, np.nan)


def class_ids(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor | None:
    """The labels (...) where `y_true` holds class ids, None where it holds (..., K) rows."""
    rank, num_classes = y_pred.shape.rank, y_pred.shape[-1]
    if num_classes is None or num_classes < 2:
        raise InputError(
            f"y_pred: expected a column for each of two or more classes, received shape "
            f"{tuple(y_pred.shape)}; in place of one sigmoid output use two"
        )
    if y_true.shape.rank == rank:
        if y_true.shape[-1] == num_classes:
            return None
        if y_true.shape[-1] == 1:
            return tf.squeeze(y_true, axis=-1)
    elif y_true.shape.rank == rank - 1:
        return y_true
    raise InputError(
        f"y_true: expected class ids of shape (batch,) or (batch, 1), or rows of shape "
        f"(batch, {num_classes}), for y_pred of shape {tuple(y_pred.shape)}; "
        f"received shape {tuple(y_true.shape)}"
    )


def _refuse(valid: tf.Tensor, message: str, values: tf.Tensor) -> None:
    """Raise where samples are not valid and an exception can be raised: XLA drops assertions."""
    if not tf.executing_eagerly():
        tf.debugging.Assert(tf.reduce_all(valid), [message, "received:", values], summarize=8)
    elif not np.all(valid):
        raise InputError(f"{message}, received {values.numpy()[~valid.numpy()][0]}")


class ClassIndexedLoss(keras.losses.Loss, abc.ABC):
    """Cross-entropy whose target is a row per class; subclasses say which row.

    Parameters
    ----------
    from_logits : whether `y_pred` holds logits; otherwise probabilities. Where a softmax layer
        made the probabilities, its logits are used, which keeps the gradient of a confident error.
    reduction, name : as in `keras.losses.Loss`.
    """

    def __init__(self, *, from_logits: bool, reduction: str, name: str) -> None:
        # float32 whatever the global policy: Keras casts the labels to this dtype too, and
        # float16 turns class 4097 into 4096.
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.from_logits = bool(from_logits)

    @abc.abstractmethod
    def rows(self, labels: tf.Tensor, num_classes: int) -> tf.Tensor:
        """The target rows (..., K) of integer `labels` (...)."""

    @abc.abstractmethod
    def mixed_rows(self, soft_labels: tf.Tensor) -> tf.Tensor:
        """The mixture of target rows (..., K) with the weights `soft_labels` (..., K)."""

    def constant(self, labels: tf.Tensor | None, soft_labels: tf.Tensor) -> tf.Tensor | float:
        """What is added to the cross-entropy and does not depend on the network."""
        del labels, soft_labels
        return 0.0

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        logits = getattr(y_pred, "_keras_logits", None)
        if logits is not None:
            if self.from_logits:
                raise InputError(
                    f"{self.name}: from_logits=True, but y_pred is the output of a softmax. "
                    "Use from_logits=False, or give the model an output without activation."
                )
            # Keras casts float16 outputs, and the cast tensor would have lost its logits.
            y_pred = tf.cast(y_pred, tf.float32)
            y_pred._keras_logits = tf.cast(logits, tf.float32)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The loss of every sample, (...) float32."""
        y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        logits = getattr(y_pred, "_keras_logits", None)
        outputs = y_pred if logits is None else logits
        from_logits = self.from_logits or logits is not None
        num_classes = y_pred.shape[-1]
        labels = class_ids(y_true, y_pred)
        if labels is None:
            losses = cross_entropy(self.mixed_rows(y_true), outputs, from_logits)
            return losses + self.constant(None, y_true)
        # One operation; `tf.clip_by_value` is two, and a step of a tiny model has only some thirty.
        clipped = tf.raw_ops.ClipByValue(
            t=labels,
            clip_value_min=tf.constant(0, labels.dtype),
            clip_value_max=tf.constant(num_classes - 1, labels.dtype),
        )
        valid = clipped == labels  # false for NaN too, which a cast would make a class
        _refuse(valid, f"y_true: expected class ids in 0..{num_classes - 1}", labels)
        labels = tf.cast(clipped, tf.int32)
        losses = cross_entropy(self.rows(labels, num_classes), outputs, from_logits)
        # Where nothing could be raised, a wrong label must not pass for a plausible loss.
        return tf.where(valid, losses + self.constant(labels, y_true), np.nan)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits}
