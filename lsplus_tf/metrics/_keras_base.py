"""How streaming metrics read and check batches, and what they add up."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from lsplus_tf.errors import MOST_BINS, InputError, check_count, check_flag
from lsplus_tf.losses.base import (
    OTHER_IDS,
    AsMade,
    Batch,
    are_of_class,
    as_tensor,
    check_ignore_class,
    class_ids,
    has_class,
    one_per_sample,
    refuse,
)
from lsplus_tf.metrics.metric import Metric


@dataclass(frozen=True)
class Scored(Batch):
    """A `Batch` of probabilities, with what they were made of.

    `...` is (N,), `values` are probabilities in the dtype in which they were given (bfloat16 as
    float32), and the weights float64: 0 for a sample that is removed, NaN for one that is not
    valid.

    Attributes
    ----------
    scores : tf.Tensor, shape (N, K), optional
        Logits where those were given, None for `values`. Classes go by them, since different logits
        have equal softmaxes where those are 0 or 1.
    weighed : bool
        Whether the weights say more than that each sample counts once: otherwise they are 1 or NaN.
    """

    weights: Any = None  # of every sample here
    scores: tf.Tensor | None = None
    weighed: bool = True

    @cached_property
    def predicted(self) -> tf.Tensor:
        scores = self.values if self.scores is None else self.scores
        return tf.argmax(scores, axis=-1, output_type=tf.int32)

    @cached_property
    def correct(self) -> tf.Tensor:
        """What the label gives the predicted class, (N,) float64."""
        if self.labels is not None:
            return tf.cast(self.labels == self.predicted, tf.float64)
        return tf.cast(self.at(self.given_rows, self.predicted), tf.float64)

    def weigh(self, numbers: tf.Tensor) -> tf.Tensor:
        """Each sample's number (N,) float64 times its weight.

        NaN of a sample that is not valid, but where its weight is added to the same sum.
        """
        return self.weights * numbers if self.weighed else numbers

    @cached_property
    def ranks(self) -> tf.Tensor:
        """Integers (N, K) in the order of the scores, equal where those are."""
        return _ranks(self.values if self.scores is None else self.scores)


class StreamingMetric(AsMade, keras.metrics.Metric, abc.ABC):
    """Reads and checks batches; subclasses add them up."""

    record: ClassVar[Metric]

    def __init__(
        self, from_logits: bool, name: str | None, dtype: Any, ignore_class: int | None
    ) -> None:
        super().__init__(name=name or self.record.function, dtype=dtype or "float64")
        if self.record.better:  # what Keras's callbacks read where they have no `mode`
            self._direction = "up" if self.record.better > 0 else "down"
        self.from_logits = check_flag("from_logits", from_logits)
        self.ignore_class = check_ignore_class(ignore_class)

    @abc.abstractmethod
    def add(self, batch: Scored) -> None:
        """Add the samples to the state."""

    @abc.abstractmethod
    def value(self) -> tf.Tensor:
        """The metric () float64 of the state."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: labels (B,), (B, 1) or (B, K), predictions (B, K), weights (B,) or None."""
        if self.from_logits and getattr(y_pred, "_keras_logits", None) is not None:
            raise InputError(
                f"{self.name}: from_logits=True, but y_pred is the output of a softmax. "
                "Use from_logits=False, or give the model an output without activation."
            )
        mask = getattr(y_pred, "_keras_mask", None)  # Keras leaves it to each metric
        y_true, y_pred = as_tensor("y_true", y_true), as_tensor("y_pred", y_pred)
        if y_true.dtype == tf.bool:  # as of pandas.get_dummies
            y_true = tf.cast(y_true, tf.int32)
        labels, rows = class_ids(y_true, y_pred), None
        num_classes = y_pred.shape[-1]
        outputs = _flat(y_pred, 2)
        if not outputs.dtype.is_floating:
            outputs = tf.cast(outputs, tf.float64)

        removed: Any = None  # of all, unless there are reasons to look at each
        if labels is None:
            rows = _flat(y_true, 2)
            removed = ~has_class(rows)
        else:
            labels = _flat(labels, 1)
        if self.ignore_class is not None:
            given: Any = labels if rows is None else rows
            ignored = are_of_class(given, self.ignore_class, num_classes, rows=rows is not None)
            removed = _either(ignored, removed)
        if mask is not None:
            mask = one_per_sample(mask, y_pred, tf.bool)
            removed = _either(~tf.reshape(mask, [-1]), removed)
        weights = tf.ones([], tf.float64)
        if sample_weight is not None:
            weights = one_per_sample(sample_weight, y_pred, tf.float64)
            weights = tf.reshape(weights, [-1])
            removed = _either(weights == 0.0, removed)
            positive = weights >= 0.0
            refuse(
                # Not ~(weights < 0): Grappler makes that weights >= 0, which NaN is not.
                removed | positive | tf.math.is_nan(weights),
                "sample_weight: expected numbers that are not negative",
                weights,
            )
            weights = tf.where(positive, weights, np.nan)
        if removed is not None:
            outputs = tf.where(removed[:, None], tf.zeros_like(outputs), outputs)
        values = tf.nn.softmax(tf.cast(outputs, tf.float64)) if self.from_logits else outputs
        distributions, hold_nan = _are_distributions(values)
        valid = _either(distributions, removed)
        if not self.from_logits:
            refuse(
                valid | hold_nan,
                "y_pred: expected probabilities that sum to 1 in every row; if these are logits, "
                "make the metric with from_logits=True",
                values,
            )
        if values.dtype == tf.bfloat16:
            values = tf.cast(values, tf.float32)  # as the NumPy functions do, before they bin
        if labels is None:
            distributions, hold_nan = _are_distributions(rows)
            known = _either(distributions, removed)
            refuse(
                known | hold_nan,
                "y_true: expected rows of numbers that are not negative and sum to 1",
                rows,
            )
            rows = tf.where((valid & known & ~removed)[:, None], tf.cast(rows, tf.float64), 0.0)
        else:
            ids = _clipped(tf.cast(labels, tf.int32), num_classes - 1)
            # Compared in the labels' type: NaN and 1.5 equal nothing, and casts make them classes.
            known = _either(tf.cast(ids, labels.dtype) == labels, removed)
            expected = f"y_true: expected class ids in 0..{num_classes - 1}"
            refuse(known, expected, labels, hint=OTHER_IDS)
            labels = ids
        weights = tf.where(valid & known, weights, np.nan)
        if removed is not None:
            weights = tf.where(removed, tf.zeros_like(weights), weights)
        scores = outputs if self.from_logits else None
        weighed = removed is not None
        self.add(Scored(labels, rows, values, False, weights, scores=scores, weighed=weighed))

    def result(self) -> tf.Tensor:
        """The metric () of all samples since the last `reset_state`; NaN if there are none."""
        return tf.cast(self.value(), self.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
        }

    def _zeros(self, name: str, *shape: int) -> keras.Variable:
        """A variable of which every device has its own, and which reads as their sum."""
        # `add_weight` gives one that inside a layer with a mixed policy reads as float16.
        return keras.Variable(
            "zeros",
            shape=shape,
            dtype="float64",
            trainable=False,
            autocast=False,
            synchronization="on_read",
            aggregation="sum",
            name=name,
        )


class SampleMean(StreamingMetric):
    """The weighted mean of one number per sample."""

    def __init__(
        self, from_logits: bool, name: str | None, dtype: Any, ignore_class: int | None
    ) -> None:
        super().__init__(from_logits, name, dtype, ignore_class)
        self.totals = self._zeros("totals", 2)  # of the weights, and of the weighed numbers

    @abc.abstractmethod
    def sample_values(self, batch: Scored) -> tf.Tensor:
        """The samples' numbers (N,) float64, finite."""

    def add(self, batch: Scored) -> None:
        weighed = tf.stack([batch.weights, batch.weights * self.sample_values(batch)])
        self.totals.assign_add(tf.reduce_sum(weighed, axis=1))

    def value(self) -> tf.Tensor:
        weights, values = tf.unstack(tf.convert_to_tensor(self.totals))
        return values / weights


class BinnedMetric(StreamingMetric):
    """A metric of probabilities that are sorted into bins of equal width."""

    def __init__(
        self,
        num_bins: int,
        from_logits: bool,
        name: str | None,
        dtype: Any,
        ignore_class: int | None,
    ) -> None:
        check_count("num_bins", num_bins, most=MOST_BINS)
        super().__init__(from_logits, name, dtype, ignore_class)
        self.num_bins = int(num_bins)

    def edges(self, dtype: tf.DType) -> np.ndarray:
        """The B - 1 edges between the bins."""
        return (np.arange(1, self.num_bins) / self.num_bins).astype(dtype.as_numpy_dtype)

    def bins(self, values: tf.Tensor) -> tf.Tensor:
        """The bins 0..B-1 of `values`: (b/B, (b+1)/B], 0 in the first, above 1 in the last."""
        edges = self.edges(values.dtype)
        # What `tf.searchsorted` calls, which fails on a device whose part of a batch is empty.
        index = tf.raw_ops.LowerBound(
            sorted_inputs=edges[np.newaxis], values=tf.reshape(values, [1, -1])
        )
        return tf.reshape(index, [-1] if values.shape.rank == 1 else tf.shape(values))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_bins": self.num_bins}


class TopLabelMetric(BinnedMetric):
    """A metric of the confidence and accuracy of the predicted class in each bin."""

    def __init__(
        self,
        num_bins: int,
        from_logits: bool,
        name: str | None,
        dtype: Any,
        ignore_class: int | None,
    ) -> None:
        super().__init__(num_bins, from_logits, name, dtype, ignore_class)
        # Of the weights, and weighed of the confidences and of the correct predictions.
        self.totals = self._zeros("totals", self.num_bins, 3)

    def add(self, batch: Scored) -> None:
        numbers = (tf.cast(batch.confidence, tf.float64), batch.correct)
        weighed = tf.stack([batch.weights, *map(batch.weigh, numbers)], axis=1)
        index = self.bins(batch.confidence)
        self.totals.assign_add(tf.math.unsorted_segment_sum(weighed, index, self.num_bins))

    def weights_and_gaps(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Of every bin (B,): the weights' sum W, and W times |mean confidence - accuracy|."""
        weights, confidence, correct = tf.unstack(tf.convert_to_tensor(self.totals), axis=1)
        return weights, tf.abs(confidence - correct)


def as_float64(values: tf.Tensor) -> tf.Tensor:
    """`values` in float64, where no number of another dtype is too small to be told from 0."""
    wide = tf.cast(values, tf.float64)
    if values.dtype != tf.float32:
        return wide
    # TensorFlow's kernels take float32 below 1.2e-38 for 0, but for those that look at bits alone.
    bits = tf.bitcast(values, tf.int32)
    steps = bits & 0x7FFFFFFF
    tiny = tf.cast(steps, tf.float64) * 2.0**-149
    return tf.where(steps < 2**23, tf.where(bits < 0, -tiny, tiny), wide)


def _ranks(scores: tf.Tensor) -> tf.Tensor:
    """Int64 in the order of `scores`; comparisons of floats take tiny ones for equal."""
    if scores.dtype == tf.bfloat16:
        scores = tf.cast(scores, tf.float32)
    bits = tf.bitcast(as_float64(scores), tf.int64)
    # Of negative numbers the other bits count down; -0 is 0.
    return tf.where(bits < 0, tf.int64.min - bits, bits)


def _flat(values: tf.Tensor, rank: int) -> tf.Tensor:
    """`values` as (N, K), or as (N,) for the rank 1."""
    if values.shape.rank == rank:
        return values
    return tf.reshape(values, [-1, values.shape[-1]][:rank])


def _either(first: tf.Tensor, second: tf.Tensor | None) -> tf.Tensor:
    """Where one of them holds; None holds nowhere."""
    return first if second is None else first | second


def _clipped(ids: tf.Tensor, largest: int) -> tf.Tensor:
    # One operation; `tf.clip_by_value` is two, and an update has only some 30.
    return tf.raw_ops.ClipByValue(t=ids, clip_value_min=0, clip_value_max=largest)


def _are_distributions(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of rows (N, K): are they not negative and sum to 1, but for rounding; do they hold NaN."""
    # Softmaxes of float16 were seen to be off by 2e-3 on CPUs, of bfloat16 by 6e-3 under XLA.
    tolerance = 1e-2 if rows.dtype in (tf.float16, tf.bfloat16) else 1e-3
    sums = tf.reduce_sum(tf.cast(rows, tf.float32), axis=-1)
    # Of a row with NaN the least may be any; its sum is NaN, and no sum is within a tolerance.
    valid = (tf.reduce_min(rows, axis=-1) >= 0) & (tf.abs(sums - 1.0) <= tolerance)
    return valid, tf.math.is_nan(sums)
