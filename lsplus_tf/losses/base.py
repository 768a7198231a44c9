"""What all losses share: reading labels and outputs, once, into a `Batch`.

A subclass of `ClassificationLoss` says what a batch's samples lose. Class ids or rows, logits or
probabilities, what is wrong with them, and what several devices have together, is decided here.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import importlib
import inspect
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import Any, ClassVar, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from lsplus_tf.errors import InputError, check_choice, check_flag
from lsplus_tf.losses.arrays import unpacked
from lsplus_tf.losses.features import features_of
from lsplus_tf.losses.steps import show

LossDtype = Literal["float32", "float64"]

# The smallest normal float32: zero probabilities stay finite, and nothing above it is clipped.
_TINY = float(np.finfo(np.float32).tiny)
# By how much a row of probabilities may miss 1. Softmaxes of 16 bits do by up to 6e-3, and Keras
# has cast them when the loss is called.
_ROW_SUM_TOLERANCE = 1e-2
OTHER_IDS = "; ids count from 0, and ignore_class names one whose samples do not count"
# The largest numbers below 1 of 16 bits.
_BELOW_ONE = {"float16": 0.9995, "bfloat16": 0.996}


def class_ids(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor | None:
    """The labels (...) where `y_true` holds class ids, None where it holds (..., K) rows."""
    rank = y_pred.shape.rank or 0  # 0 of one that is not known
    num_classes = y_pred.shape[-1] if rank > 1 else None
    if num_classes is None or num_classes < 2:
        hint = "in place of one sigmoid output use two"
        if rank < (y_true.shape.rank or 0) and y_true.shape[-1] != 1:
            hint = f"y_true has shape {y_true.shape}: labels come first, are the two exchanged?"
        raise InputError(
            f"y_pred: expected shape (batch, K), a column for each of two or more classes, "
            f"received shape {y_pred.shape}; {hint}"
        )
    samples = y_pred.shape[:-1]
    if y_true.shape.rank == rank and y_true.shape[:-1].is_compatible_with(samples):
        if y_true.shape[-1] == num_classes:
            return None
        if y_true.shape[-1] == 1:
            return tf.squeeze(y_true, axis=-1)
    elif y_true.shape.rank == rank - 1 and y_true.shape.is_compatible_with(samples):
        return y_true
    raise InputError(
        f"y_true: expected class ids of shape (batch,) or (batch, 1), or rows of shape "
        f"(batch, {num_classes}), for y_pred of shape {y_pred.shape}; received shape {y_true.shape}"
        + ("; set it, as with y_true.set_shape([None])" if y_true.shape.rank is None else "")
    )


def has_class(rows: tf.Tensor) -> tf.Tensor:
    """Whether the rows (..., K) are labels: a row of zeros stands for none."""
    return tf.reduce_any(tf.cast(rows, tf.bool), axis=-1)


def are_of_class(labels: tf.Tensor, ignored: int, num_classes: int, *, rows: bool) -> tf.Tensor:
    """Whether class ids (...) are `ignored`, or rows (..., K) its one-hot row.

    The one-hot row of a class outside 0..K-1 is a row of zeros.
    """
    if rows:
        place = ignored if 0 <= ignored < num_classes else -1
        one_hot = tf.one_hot(place, num_classes, dtype=labels.dtype)
        return tf.reduce_all(labels == one_hot, axis=-1)
    if not labels.dtype.is_floating:
        labels = tf.cast(labels, tf.int64)  # uint8 has no -1
    return labels == tf.constant(ignored, labels.dtype)


def check_ignore_class(value: Any) -> int | None:
    """Return the class to ignore, or raise `InputError` unless it is an integer or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"ignore_class: expected an integer or None, received {value!r}")
    return int(value)


def matrix_product(left: tf.Tensor, right: np.ndarray | tf.Tensor | tf.Variable) -> tf.Tensor:
    """Of `left` (..., K) and `right` (K, M) or (K,), in the dtype of `left`.

    In float64, since on GPUs TensorFlow multiplies float32 matrices in TF32, with 11 significant
    bits: on an H200 losses were off by up to 4e-4 of their value, and MMCE, whose terms cancel each
    other, by up to 38%.
    """
    product = tf.tensordot(tf.cast(left, tf.float64), tf.cast(right, tf.float64), axes=1)
    return tf.cast(product, left.dtype)


def as_tensor(name: str, values: Any) -> tf.Tensor:
    """`values` as a dense tensor of numbers, or raise `InputError`."""
    if isinstance(values, (tf.RaggedTensor, tf.SparseTensor)):
        dense = "to_tensor()" if isinstance(values, tf.RaggedTensor) else "tf.sparse.to_dense"
        raise InputError(
            f"{name}: expected a dense tensor, received a {type(values).__name__}; use {dense}"
        )
    if np.ma.is_masked(values):  # TensorFlow would take what is masked for values
        raise InputError(
            f"{name}: expected a value everywhere, received masked ones; leave these samples out, "
            "or give them the weight 0"
        )
    if not tf.is_tensor(values) and hasattr(values, "__array__"):
        values = np.asarray(values)
        if values.dtype.kind in "OSU":  # perhaps of numbers
            with contextlib.suppress(TypeError, ValueError):
                values = values.astype(np.float64)
    is_object = getattr(values, "dtype", None) == np.object_
    tensor = values if is_object else tf.convert_to_tensor(values)
    if is_object or tensor.dtype == tf.string:
        hint = "number classes from 0, as with np.unique(labels, return_inverse=True)[1]"
        raise InputError(
            f"{name}: expected numbers, received {'objects' if is_object else 'text'}"
            + (f"; {hint}" if name == "y_true" else "")
        )
    return tensor


def at_least_float32(values: Any) -> tf.Tensor:
    """`values` in float64 if they are, otherwise in float32."""
    tensor = tf.convert_to_tensor(values)
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """The sum of `value` over the devices that train together; differentiable."""
    if replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def refuse(valid: tf.Tensor, message: str, values: tf.Tensor, *, hint: str = "") -> None:
    """Raise where samples are not valid and an exception can be raised: XLA drops assertions."""
    if not tf.executing_eagerly():
        # `tf.debugging.Assert` leaves the values on a GPU until it fails, by a dozen operations,
        # which take longer than to hand over a number for each sample.
        near = values.shape.rank == 1 or not tf.config.list_physical_devices("GPU")
        check: Any = tf.raw_ops.Assert if near else tf.debugging.Assert
        shown = [f"{message}{hint}", "received:", values]
        check(condition=tf.reduce_all(valid), data=shown, summarize=64)
    elif not np.all(valid):
        raise InputError(f"{message}, received {values.numpy()[~valid.numpy()][0]}{hint}")


@dataclass(frozen=True)
class Batch:
    """The samples that a loss is asked about; `...` is (B,), or (B, H, W) for dense prediction.

    All but the labels are of the loss's dtype.

    Attributes
    ----------
    labels : tf.Tensor, shape (...), optional
        Int32 class ids, None where rows were given.
    given_rows : tf.Tensor, shape (..., K), optional
        One-hot or soft labels, None where class ids were given.
    values : tf.Tensor, shape (..., K)
        Outputs of the network.
    from_logits : bool
        Whether `values` are logits; otherwise probabilities.
    weights : tf.Tensor, shape (...), optional
        Sample weights, 0 of those that are left out; None for all 1.
    teacher_logits : tf.Tensor, shape (..., K), optional
        None where `y_true` carries none.
    counted : tf.Tensor, shape (...), optional
        Bool, None for all True. False for a sample that is masked, of the ignored class or labelled
        by a row of zeros, that has weight 0 and no label or outputs to speak of, or that is not
        valid where that could not be raised. What the other attributes hold of it is made up or
        wrong: it must not count.
    reduction : str, optional
        How Keras reduces the losses, of a loss within a `PenaltyLoss` those of the penalty.
    divided_by : tf.Tensor, shape (...), optional
        What each sample adds to what a mean is divided by; None for 1 each.
    features : tf.Tensor, shape (..., F), optional
        What is behind the outputs, where they carry it. No gradient flows into it.
    kept : dict
        What losses computed of it and need again when they learn from it, by the losses.
    """

    labels: tf.Tensor | None
    given_rows: tf.Tensor | None
    values: tf.Tensor
    from_logits: bool
    weights: tf.Tensor | None
    teacher_logits: tf.Tensor | None = None
    counted: tf.Tensor | None = None
    reduction: str | None = "sum_over_batch_size"
    divided_by: tf.Tensor | None = None
    features: tf.Tensor | None = None
    kept: dict[keras.losses.Loss, tf.Tensor] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return self.values.shape[-1]

    @cached_property
    def rows(self) -> tf.Tensor:
        """The one-hot or soft labels, (..., K)."""
        if self.given_rows is not None:
            return self.given_rows
        return tf.one_hot(self.labels, self.num_classes, dtype=self.values.dtype)

    @cached_property
    def classes(self) -> tf.Tensor:
        """The class ids (...) int32; of a soft label that of its largest entry."""
        if self.labels is not None:
            return self.labels
        return tf.argmax(self.given_rows, axis=-1, output_type=tf.int32)

    @cached_property
    def log_probabilities(self) -> tf.Tensor:
        """log p, (..., K). Of probabilities below 1.2e-38 that of 1.2e-38."""
        if self.from_logits:
            return tf.nn.log_softmax(self.values)
        return tf.math.log(tf.maximum(self.values, _TINY))

    @cached_property
    def probabilities(self) -> tf.Tensor:
        """p, (..., K)."""
        # On CPUs the softmax kernel takes 0.1 ms more than this, whatever the size.
        return tf.exp(self.log_probabilities) if self.from_logits else self.values

    @cached_property
    def predicted(self) -> tf.Tensor:
        """The predicted class ids (...) int32, of equals the first."""
        return tf.argmax(self.values, axis=-1, output_type=tf.int32)

    @cached_property
    def logits(self) -> tf.Tensor:
        """The logits, (..., K); of probabilities their logarithms, which lie as far apart."""
        return self.values if self.from_logits else self.log_probabilities

    @cached_property
    def largest(self) -> tf.Tensor:
        """The largest of the `logits`, (...); the gradient goes to the first of equals."""
        # Of a maximum it would be shared among them.
        return self.at(self.logits, self.predicted)

    @cached_property
    def confidence(self) -> tf.Tensor:
        """max p, (...); the gradient goes to the predicted class alone."""
        return self.at(self.probabilities, self.predicted)

    @cached_property
    def correct(self) -> tf.Tensor:
        """What the label gives the predicted class, (...): 1 or 0 for hard labels."""
        if self.labels is not None:
            return tf.cast(self.labels == self.predicted, self.values.dtype)
        return self.at(self.given_rows, self.predicted)

    @cached_property
    def cross_entropy(self) -> tf.Tensor:
        """- sum_k t_k log p_k with the labels as targets, (...)."""
        return self.cross_entropy_with(self.rows, unit_rows=self.given_rows is None)

    def cross_entropy_with(self, targets: tf.Tensor, *, unit_rows: bool) -> tf.Tensor:
        """- sum_k targets_k log p_k of every sample, (...).

        Parameters
        ----------
        targets : tf.Tensor, shape (..., K)
        unit_rows : bool
            Whether the rows of `targets` sum to 1, as TensorFlow's fused operation takes for
            granted in its gradient.
        """
        if self.from_logits and unit_rows:
            return tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=self.values)
        return -tf.reduce_sum(targets * self.log_probabilities, axis=-1)

    @property
    def shares(self) -> tf.Tensor:
        """By what Keras multiplies a sample's loss in that of the batch on all devices.

        (...), or () where it is the same for all. A gradient that no tape takes is the sum over
        samples and devices of what these weigh. Where devices have different numbers of samples,
        Keras takes the mean of the devices' means; here each sample counts the same.
        """
        # Not a cached property: Python 3.11 locks those of all batches while one is computed, and
        # devices that wait for each other in a sum would wait for ever.
        weights = tf.ones([], self.values.dtype) if self.weights is None else self.weights
        if self.reduction in ("sum", "none", None):
            return weights
        if self.divided_by is None:
            divisor = tf.cast(tf.size(self.values), weights.dtype) / self.num_classes
        else:
            divisor = tf.reduce_sum(tf.cast(self.divided_by, weights.dtype))
        return tf.math.divide_no_nan(weights, sum_over_replicas(divisor))

    def at(self, values: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """The entries of `values` (..., K) at the class `ids` (...)."""
        return tf.gather(values, ids, axis=-1, batch_dims=ids.shape.rank)

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """The weighted mean over all samples on all devices: (...) gives (), (..., K) gives (K,).

        0 if no sample has weight.
        """
        axes = list(range(self.values.shape.rank - 1))
        if self.weights is None and replicas() == 1:
            return tf.reduce_mean(values, axis=axes)
        weights = tf.ones_like(self.values[..., 0]) if self.weights is None else self.weights
        weighed = values * (weights if values.shape.rank == len(axes) else weights[..., None])
        return tf.math.divide_no_nan(
            sum_over_replicas(tf.reduce_sum(weighed, axis=axes)),
            sum_over_replicas(tf.reduce_sum(weights)),
        )


class _Read(NamedTuple):
    """What a loss was given. Of its samples, (...), each bool, None for all True."""

    batch: Batch
    valid: tf.Tensor | None  # nothing is wrong with it, or nothing is wanted of it
    wanted: tf.Tensor | None  # something is to be computed of it
    is_there: tf.Tensor | None  # it is neither masked nor ignored


class AsMade:
    """Keeps what its constructor was given: traced steps would not see a change."""

    scheduled: ClassVar[str] = ""  # the argument that may be a function of the epoch, if any

    def __setattr__(self, name: str, value: Any) -> None:
        made: Any = type(self)
        if name in _arguments(made) and name in vars(self):
            raise AttributeError(
                f"{name}: expected to stay as {made.__name__} was made with it; make another one"
                + (", or give a function of the epoch" if name == self.scheduled else "")
            )
        super().__setattr__(name, value)


class ClassificationLoss(AsMade, keras.losses.Loss, abc.ABC):
    """A loss of classifiers; subclasses give the losses of a `Batch`.

    Samples that are not there, by Keras's mask on `y_pred` or by `ignore_class`, are in no
    statistic, and means are over the others, as those of Keras's own losses. A row of zeros as a
    label, which is what one-hot encoding makes of a label outside 0..K-1, is a sample of weight 0:
    it adds nothing and counts in what the mean is divided by, as in
    `keras.losses.CategoricalCrossentropy`. Of samples of weight 0 neither labels nor outputs need
    be any.

    Parameters
    ----------
    from_logits : bool
        Whether `y_pred` holds logits; otherwise probabilities. Where a softmax layer made the
        probabilities, its logits are used, which keeps the gradient of a confident error.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in, whatever the policy: Keras casts the labels to
        this dtype too, and float16 turns class 4097 into 4096.
    ignore_class : int, optional
        Label of samples that are not there: any integer. Of rows, its one-hot row; that of a label
        outside 0..K-1 is a row of zeros.
    """

    def __init__(
        self,
        from_logits: bool,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=_loss_dtype(dtype))
        self.from_logits = check_flag("from_logits", from_logits)
        self.ignore_class = check_ignore_class(ignore_class)
        self._has_warned = False

    @abc.abstractmethod
    def sample_losses(self, batch: Batch) -> tf.Tensor:
        """The loss of every sample, (...)."""

    def losses_of(self, batch: Batch) -> tf.Tensor:
        """The loss of every sample, (...), of a batch that is shown to who learns from it.

        Shown when they are computed: what changes the loss in the step itself comes after.
        """
        losses = self.sample_losses(batch)
        show(self, batch)
        return losses

    @property
    def follows_epochs(self) -> bool:
        """Whether a number of it, or of the loss within it, is a function of the epoch."""
        return False

    def set_epoch(self, epoch: int) -> None:
        """Take the numbers of an epoch, counted from 0, that are functions of the epoch."""

    def end_epochs(self) -> None:
        """Nothing tells it the epoch any more."""

    def split_labels(
        self, y_true: tf.Tensor, y_pred: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The labels, and the teacher's logits (..., K) that `y_true` carries for some losses."""
        del y_pred
        return y_true, None

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        y_true, y_pred = as_tensor("y_true", y_true), as_tensor("y_pred", y_pred)
        logits = getattr(y_pred, "_keras_logits", None)
        mask = getattr(y_pred, "_keras_mask", None)
        if logits is not None and self.from_logits:
            raise InputError(
                f"{self.name}: from_logits=True, but y_pred is the output of a softmax. "
                "Use from_logits=False, or give the model an output without activation."
            )
        if logits is not None and _are_sigmoids(y_pred):
            raise InputError(
                f"{self.name}: expected a softmax over the classes, received a sigmoid of each; "
                'end the model in activation="softmax", or make the loss with from_logits=True '
                "and end the model without an activation"
            )
        self._warn_of_half_precision(y_pred)
        # What Keras does not give to `call`, where a batch's statistics need it.
        beside = {}
        features = features_of(y_pred)
        if features is not None:
            beside["features"] = tf.stop_gradient(tf.cast(features, self.dtype))
        if mask is not None:
            beside["mask"] = one_per_sample(mask, y_pred, tf.bool)
            y_pred = tf.identity(y_pred)  # without the mask, which `call` gives back to Keras
        if sample_weight is not None:
            # Keras would weigh pixels (B, H, W) by sample weights (B,) along the last axis.
            sample_weight = one_per_sample(sample_weight, y_pred, self.dtype)
            beside["weights"] = sample_weight
        if logits is not None:
            # Keras casts float16 outputs, and the cast tensor would have lost its logits.
            y_pred = tf.cast(y_pred, self.dtype)
            y_pred._keras_logits = tf.cast(logits, self.dtype)
        if beside:
            y_true = {"y_true": y_true, **beside}
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: tf.Tensor) -> tf.Tensor:
        """The loss of every sample, (...)."""
        is_ours = isinstance(y_true, dict) and "y_true" in y_true  # from `__call__`
        given = y_true if is_ours else {"y_true": y_true}
        y_true, y_pred = tf.convert_to_tensor(given["y_true"]), tf.convert_to_tensor(y_pred)
        if _asked_for_its_shape():
            return tf.zeros(tf.shape(y_pred)[:-1], self.dtype)
        beside = (given.get(name) for name in ("weights", "mask", "features"))
        read = self._read(y_true, y_pred, *beside)
        losses = self.losses_of(read.batch)
        if read.wanted is not None:
            losses = tf.where(read.wanted, losses, 0.0)
        if read.valid is not None:
            # Where nothing could be raised, a wrong value must not pass for a plausible loss.
            losses = tf.where(read.valid, losses, np.nan)
        if read.is_there is not None:
            losses._keras_mask = read.is_there  # Keras takes the mean over these
        return losses

    def batch_of(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, from_logits: bool | None = None
    ) -> Batch:
        """What a call with these has to compute with; for what learns beside the loss.

        Labels outside 0..K-1 are no error here: their samples are left out, as if not there.

        Parameters
        ----------
        y_true, y_pred, sample_weight : array_like
            As a call takes them.
        from_logits : bool, optional
            Whether `y_pred` holds logits; None means as in the loss.
        """
        logits, mask = (getattr(y_pred, f"_keras_{what}", None) for what in ("logits", "mask"))
        values = tf.cast(as_tensor("y_pred", y_pred), self.dtype)
        y_true = tf.cast(as_tensor("y_true", y_true), self.dtype)
        if logits is not None:
            values._keras_logits = tf.cast(logits, self.dtype)
        if mask is not None:
            mask = one_per_sample(mask, values, tf.bool)
        if sample_weight is not None:
            sample_weight = one_per_sample(sample_weight, values, self.dtype)
        labels = class_ids(y_true, values)
        if labels is not None:
            mask = _both(mask, _are_classes(labels, values.shape[-1])[1])
        return self._read(y_true, values, sample_weight, mask, None, from_logits).batch

    def _read(
        self,
        y_true: tf.Tensor,
        y_pred: tf.Tensor,
        weights: tf.Tensor | None,
        mask: tf.Tensor | None,
        features: tf.Tensor | None = None,
        from_logits: bool | None = None,
    ) -> _Read:
        """Where nothing is masked, ignored or weighed, nothing is computed for it."""
        logits = getattr(y_pred, "_keras_logits", None)
        values = y_pred if logits is None else logits
        from_logits = self.from_logits if from_logits is None else from_logits
        from_logits = from_logits or logits is not None
        num_classes = y_pred.shape[-1]
        y_true, teacher_logits = self.split_labels(y_true, y_pred)
        labels, rows = class_ids(y_true, y_pred), None
        is_there = None if mask is None else tf.cast(mask, tf.bool)
        proper = ids = known = None
        if not from_logits:
            proper = _are_distributions(values)
        if labels is None:
            rows = y_true
        else:
            ids, known = _are_classes(labels, num_classes)
        if self.ignore_class is not None:
            given: Any = labels if rows is None else rows
            ignored = are_of_class(given, self.ignore_class, num_classes, rows=rows is not None)
            is_there = _both(is_there, ~ignored)
        divided_by = is_there
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            divided_by = weights if is_there is None else tf.where(is_there, weights, 0.0)
        wanted = is_there if rows is None else _both(is_there, has_class(rows))
        if weights is not None:
            sound = _both(_both(proper, known), _finite(values))
            if rows is not None:
                sound &= _finite(rows)
            if teacher_logits is not None:
                sound &= _finite(teacher_logits)
            if features is not None:
                sound &= _finite(features)
            wanted = _both(wanted, sound | (weights != 0.0))
        if proper is not None:
            proper = _or_unwanted(proper, wanted)
            refuse(
                proper | tf.reduce_any(tf.math.is_nan(values), axis=-1),  # NaN tells of itself
                "y_pred: expected probabilities that sum to 1 in every row; if these are logits, "
                "make the loss with from_logits=True",
                values,
            )
        if known is not None:
            known = _or_unwanted(known, wanted)
            expected = f"y_true: expected class ids in 0..{num_classes - 1}"
            refuse(known, expected, labels, hint=OTHER_IDS)
        if wanted is not None:
            # Before anything is computed of them, since 0 * NaN is NaN in gradients too.
            of_sample = wanted[..., None]
            values = tf.where(of_sample, values, 0.0 if from_logits else 1.0 / num_classes)
            if teacher_logits is not None:
                teacher_logits = tf.where(of_sample, teacher_logits, 0.0)
            if features is not None:
                features = tf.where(of_sample, features, 0.0)
            if rows is None:
                ids = tf.where(wanted, ids, 0)  # of a NaN the cast makes no class at all
            else:
                rows = tf.where(of_sample, rows, 0.0)
            zero_or_one = tf.cast(wanted, values.dtype)
            weights = zero_or_one if weights is None else tf.where(wanted, weights, 0.0)
        valid = _both(proper, known)
        counted = _both(wanted, valid)
        batch = Batch(
            ids,
            rows,
            values,
            from_logits,
            weights,
            teacher_logits,
            counted,
            self.reduction,
            divided_by,
            features,
        )
        return _Read(batch, valid, wanted, is_there)

    def _warn_of_half_precision(self, y_pred: Any) -> None:
        """Say once that a softmax in 16 bits is too coarse for calibration."""
        dtype = getattr(y_pred, "dtype", None)
        name = getattr(dtype, "name", dtype)
        if self._has_warned or self.from_logits or name not in _BELOW_ONE:
            return
        self._has_warned = True
        warnings.warn(
            f"{self.name}: y_pred is a softmax in {name}, which has no number between "
            f"{_BELOW_ONE[name]} and 1 and rounds the logits as coarsely: confidences are lost. "
            "Give the last layer no activation, and after it put "
            'keras.layers.Activation("softmax", dtype="float32")',
            stacklevel=3,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "dtype": self.dtype,
            "ignore_class": self.ignore_class,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ClassificationLoss:
        return cls(**{name: _from_config(value) for name, value in config.items()})


def _are_classes(labels: tf.Tensor, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Int32 class ids (...), and whether the labels are these."""
    # One operation; `tf.clip_by_value` is two, and a tiny model's step has only some 30.
    clipped = tf.raw_ops.ClipByValue(
        t=labels,
        clip_value_min=tf.constant(0, labels.dtype),
        clip_value_max=tf.constant(num_classes - 1, labels.dtype),
    )
    ids = tf.cast(clipped, tf.int32)
    # False for NaN and fractions too, which a cast makes a class.
    return ids, tf.cast(ids, labels.dtype) == labels


def _asked_for_its_shape() -> bool:
    """Whether Keras asks for the shape alone, as before the first step on several devices.

    The outputs are made up then, and carry neither a softmax's logits nor features. Keras has no
    public way to know. Without this one, losses that need these say that they are missing.
    """
    try:
        scopes = importlib.import_module("keras.src.backend.common.symbolic_scope")
    except ImportError:
        return False
    return getattr(scopes, "in_symbolic_scope", bool)()


def _are_distributions(values: tf.Tensor) -> tf.Tensor:
    """Whether a sample's numbers (..., K) are probabilities of the classes."""
    sums = tf.reduce_sum(values, axis=-1)
    return (tf.reduce_min(values, axis=-1) >= 0.0) & (tf.abs(sums - 1.0) <= _ROW_SUM_TOLERANCE)


def _are_sigmoids(y_pred: tf.Tensor) -> bool:
    """Whether outputs that carry logits are a sigmoid of each; Keras keeps its logits too."""
    if y_pred.shape[-1] == 1:  # which stands for two classes, and has a message of its own
        return False
    if tf.executing_eagerly():
        values = tf.cast(y_pred, tf.float32)
        return not np.all(_are_distributions(values) | tf.reduce_any(values != values, axis=-1))
    operation = y_pred.op
    while operation.type in ("Cast", "Identity"):
        operation = operation.inputs[0].op
    return operation.type == "Sigmoid"


def _both(first: tf.Tensor | None, second: tf.Tensor | None) -> tf.Tensor | None:
    """Where both hold; None holds everywhere."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def _or_unwanted(fit: tf.Tensor, wanted: tf.Tensor | None) -> tf.Tensor:
    return fit if wanted is None else fit | ~wanted


def _finite(values: tf.Tensor) -> tf.Tensor:
    """Whether a sample's numbers (..., K) are finite."""
    return tf.reduce_all(tf.math.is_finite(values), axis=-1)


@functools.cache
def _arguments(cls: type) -> frozenset[str]:
    """What instances hold of the arguments of this package's classes, but for Keras's name."""
    ours = [kind for kind in cls.__mro__ if kind.__module__.startswith("lsplus_tf.")]
    arguments = [inspect.signature(kind).parameters for kind in ours if "__init__" in vars(kind)]
    return frozenset().union(*arguments) - {"name"}


def _from_config(value: Any) -> Any:
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    return unpacked(value)


def _loss_dtype(dtype: Any) -> str:
    """The name of a dtype, of which Keras's None is "float32"."""
    if dtype is None:
        return "float32"
    try:
        name = tf.as_dtype(dtype).name
    except TypeError:
        name = dtype
    return check_choice("dtype", name, LossDtype)


def replicas() -> int:
    """How many devices train together, of which this is one."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def one_per_sample(weights: Any, y_pred: Any, dtype: Any) -> tf.Tensor:
    """Sample weights or a mask, (B,), (B, 1), () or (...), in the shape (...) of the samples."""
    weights = given = tf.cast(as_tensor("sample_weight", weights), dtype)
    values = tf.convert_to_tensor(y_pred)
    samples = values.shape[:-1]
    if given.shape.rank is None:
        raise InputError(
            f"sample_weight: expected shape (batch,), received shape {given.shape}; set it, as "
            "with sample_weight.set_shape([None])"
        )
    if given.shape.rank == samples.rank + 1 and given.shape[-1] in (1, None):
        weights = tf.squeeze(weights, axis=-1)
    while 0 < weights.shape.rank < samples.rank:
        weights = weights[..., None]
    fits = weights.shape.rank <= samples.rank and all(
        of_weights in (1, None) or of_samples in (of_weights, None)
        for of_weights, of_samples in zip(weights.shape, samples, strict=False)
    )
    if not fits:
        raise InputError(
            f"sample_weight: expected one for each sample, shape {samples} or (batch,), for y_pred "
            f"of shape {values.shape}; received shape {given.shape}"
        )
    return tf.broadcast_to(weights, tf.shape(values)[:-1])
