"""Streaming metrics for `compile(metrics=[...])`, equal to the NumPy functions of the same name.

    import lsplus_tf as lsp

    ece = lsp.metrics.keras.ExpectedCalibrationError()
    model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=[ece])

puts `expected_calibration_error` and `val_expected_calibration_error` into the training log, where
`ModelCheckpoint(monitor=...)` finds them. For all of them:

- `y_true` is class ids (B,) or (B, 1), or one-hot or soft labels (B, K); `y_pred` is probabilities
  (B, K), or logits with `from_logits=True`. Further axes, as in dense prediction, count as samples.
  A soft label counts as the expectation over its classes, and is q in q - p where the score is one
  of distributions (Brier, classwise calibration).
- The state is float64 whatever the precision policy, so that counts are exact up to 9e15 samples,
  and as large as the bins whatever the data. On several devices each keeps its own until it is
  read: the value at an epoch's end is that of all samples, and the progress bar's between steps
  the mean of the devices' values.
- Results equal those of `lsplus_tf.metrics` on the same probabilities, whatever the batches, but
  for the order in which float64 numbers are summed. Softmax of logits is taken in float64 as in
  `lsplus_tf.metrics.softmax`; the last bit may differ, which matters on a bin's edge alone.
- `sample_weight` weighs samples; those of weight 0 count as if they were not there, even if NaN.
  Keras gives it to `weighted_metrics`, not to `metrics`.
- Samples that Keras masks, as padded steps, and those of the `ignore_class` count as if they were
  not there, and so do those with a row of zeros as label.
- NaN in predictions, soft labels or weights makes the result NaN until the state is reset, and so
  does having no sample. Invalid class ids, negative weights, and rows that do not sum to 1
  (within 1e-3; 1e-2 in 16 bits) raise: `InputError` eagerly, `tf.errors.InvalidArgumentError` in
  graph mode. XLA cannot raise, and there the result is NaN.
- The result is float64 unless `dtype` asks for another.
- Keras is told which way is better: `EarlyStopping(monitor="val_brier_score")` needs no `mode`.
  Of `MeanConfidence` neither way is, and Keras asks for a `mode`.
- A softmax in 16 bits has no number between 0.9995 (bfloat16: 0.996) and 1. Give the last layer no
  activation, and after it put `keras.layers.Activation("softmax", dtype="float32")`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from lsplus_tf.errors import MOST_CLASSES, InputError, check_count
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.metrics._keras_base import (
    BinnedMetric,
    SampleMean,
    Scored,
    TopLabelMetric,
    as_float64,
)
from lsplus_tf.metrics.bin_totals import PAPER_BINS
from lsplus_tf.metrics.records import METRICS

__all__ = [
    "BrierScore",
    "ExpectedCalibrationError",
    "MaximumCalibrationError",
    "MeanConfidence",
    "NegativeLogLikelihood",
    "StaticCalibrationError",
    "TopKError",
]

_TINY = float(np.finfo(np.float64).tiny)
_MANY = 4  # times as many classes as bins: at most a quarter of the probabilities are above 1/B


@registered
class ExpectedCalibrationError(TopLabelMetric):
    """ECE: mean distance between confidence and accuracy over bins of equal width, in [0, 1].

    `lsplus_tf.metrics.expected_calibration_error` of a stream; see the head of this module.

    Parameters
    ----------
    num_bins : int
        Number of bins B >= 1; bin b = 1..B is ((b-1)/B, b/B], its edges rounded to the dtype of the
        probabilities (float32 for bfloat16), and 0 is in the first.
    from_logits : bool
        Whether `y_pred` holds logits; otherwise probabilities.
    name, dtype
        As in `keras.metrics.Metric`; None names it as the function, such as
        "expected_calibration_error". The dtype is the result's, None for float64.
    ignore_class : int, optional
        Label of samples, or pixels, that are left out as if they were not there; any integer, such
        as 255 or -1. Of rows, the one-hot row of that class.

    Raises
    ------
    InputError
        `num_bins` is not an integer >= 1; a shape does not fit, or one sigmoid output stands in
        place of two columns; invalid labels, weights or probabilities.

    Notes
    -----
    Sources: Naeini, Cooper and Hauskrecht, AAAI 2015; Guo et al., ICML 2017, Eq. 3.

    Examples
    --------
    >>> metric = ExpectedCalibrationError()
    >>> metric.update_state([0], [[0.9, 0.1]])
    >>> metric.update_state([0], [[0.3, 0.7]])
    >>> round(float(metric.result()), 4)
    0.4
    """

    record = METRICS["ece"]

    def __init__(
        self,
        num_bins: int = PAPER_BINS,
        *,
        from_logits: bool = False,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(num_bins, from_logits, name, dtype, ignore_class)

    def value(self) -> tf.Tensor:
        weights, gaps = self.weights_and_gaps()
        return tf.reduce_sum(gaps) / tf.reduce_sum(weights)


@registered
class MaximumCalibrationError(TopLabelMetric):
    """MCE: the largest distance between confidence and accuracy in a bin of the ECE, in [0, 1].

    `lsplus_tf.metrics.maximum_calibration_error` of a stream; see the head of this module.

    Parameters
    ----------
    num_bins, from_logits, name, dtype, ignore_class
        As in `ExpectedCalibrationError`.

    Raises
    ------
    InputError
        As in `ExpectedCalibrationError`.

    Notes
    -----
    Source: Naeini, Cooper and Hauskrecht, AAAI 2015.

    Examples
    --------
    >>> metric = MaximumCalibrationError()
    >>> metric.update_state([0, 0], [[0.9, 0.1], [0.3, 0.7]])
    >>> round(float(metric.result()), 4)
    0.7
    """

    record = METRICS["mce"]

    def __init__(
        self,
        num_bins: int = PAPER_BINS,
        *,
        from_logits: bool = False,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(num_bins, from_logits, name, dtype, ignore_class)

    def value(self) -> tf.Tensor:
        weights, gaps = self.weights_and_gaps()
        largest = tf.reduce_max(tf.math.divide_no_nan(gaps, weights))
        # Of NaN and of no samples the maximum would be a plausible number.
        return tf.where(tf.reduce_sum(weights) > 0.0, largest, np.nan)


@registered
class StaticCalibrationError(BinnedMetric):
    """SCE, or classwise ECE: the ECE of each class's probability, mean over classes, in [0, 1].

    `lsplus_tf.metrics.static_calibration_error` of a stream; see the head of this module.

    Parameters
    ----------
    num_bins, from_logits, name, dtype, ignore_class
        As in `ExpectedCalibrationError`.
    num_classes : int, optional
        K >= 2; None takes it from the first batch. Needed where a training loop of your own makes
        that batch inside `strategy.run`.

    Raises
    ------
    InputError
        As in `ExpectedCalibrationError`; another K than before.

    Notes
    -----
    For class k every sample counts: its probability of k is compared with whether its label is k.
    Sources: Nixon et al., CVPR Workshops 2019, Eq. 3; Kull et al., NeurIPS 2019.

    Examples
    --------
    >>> metric = StaticCalibrationError()
    >>> metric.update_state([0, 0], [[0.9, 0.1], [0.3, 0.7]])
    >>> round(float(metric.result()), 4)
    0.4
    """

    record = METRICS["sce"]

    def __init__(
        self,
        num_bins: int = PAPER_BINS,
        *,
        from_logits: bool = False,
        name: str | None = None,
        dtype: Any = None,
        num_classes: int | None = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(num_bins, from_logits, name, dtype, ignore_class)
        self.num_classes = num_classes
        self.weight = self._zeros("weight")
        self.gaps: Any = None  # (K, B), the bins' sums of p_k - q_k
        if num_classes is not None:
            check_count("num_classes", num_classes, most=MOST_CLASSES)
            self.gaps = self._zeros("gaps", num_classes, self.num_bins)

    def add(self, batch: Scored) -> None:
        num_classes = batch.num_classes
        if self.gaps is None:
            self.gaps = self._zeros("gaps", num_classes, self.num_bins)
        if self.gaps.shape[0] != num_classes:
            raise InputError(
                f"y_pred: expected num_classes={self.gaps.shape[0]} columns, received {num_classes}"
            )
        cells = num_classes * self.num_bins  # (class, bin) pairs, in one histogram for all classes
        if batch.labels is not None and num_classes >= _MANY * self.num_bins:
            index, gaps = self._few(batch)
        else:
            index = self.bins(batch.values) + self._first(np.arange(num_classes, dtype=np.int32))
            gaps = tf.cast(batch.values, tf.float64) - tf.cast(batch.rows, tf.float64)
            if batch.weighed:
                gaps *= batch.weights[:, None]
        sums = tf.math.unsorted_segment_sum(gaps, index, cells)
        self.gaps.assign_add(tf.reshape(sums, [num_classes, self.num_bins]))
        self.weight.assign_add(tf.reduce_sum(batch.weights))

    def _few(self, batch: Scored) -> tuple[tf.Tensor, tf.Tensor]:
        """The same sums of fewer gaps: with many classes nearly all are in the first bins.

        There go the classes' sums, and what lies in other bins is taken away again.
        """
        values = tf.reshape(batch.values, [-1])
        beyond = tf.where(values > self.edges(values.dtype)[0])[:, 0]
        samples = tf.cast(beyond // batch.num_classes, tf.int32)
        first = self._first(tf.cast(beyond % batch.num_classes, tf.int32))
        found = tf.gather(values, beyond)
        moved = tf.cast(found, tf.float64)
        if batch.weighed:
            moved *= tf.gather(batch.weights, samples)
        wide = tf.cast(batch.values, tf.float64)
        every = np.arange(batch.num_classes, dtype=np.int32)
        true = self.bins(batch.at(batch.values, batch.labels)) + self._first(batch.labels)
        index = [self._first(every), first, first + self.bins(found), true]
        gaps = [tf.matmul(batch.weights[None], wide)[0], -moved, moved, -batch.weights]
        return tf.concat(index, axis=0), tf.concat(gaps, axis=0)

    def _first(self, classes: Any) -> Any:
        """The first of the cells of `classes`."""
        return classes * self.num_bins

    def value(self) -> tf.Tensor:
        if self.gaps is None:
            return tf.constant(np.nan, tf.float64)
        gaps, weight = tf.convert_to_tensor(self.gaps), tf.convert_to_tensor(self.weight)
        return tf.reduce_mean(tf.reduce_sum(tf.abs(gaps), axis=1)) / weight

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@registered
class BrierScore(SampleMean):
    """Mean over samples of sum_k (p_k - q_k)^2, q the one-hot or soft label; in [0, 2].

    `lsplus_tf.metrics.brier_score` of a stream; see the head of this module.

    Parameters
    ----------
    from_logits, name, dtype, ignore_class
        As in `ExpectedCalibrationError`.

    Raises
    ------
    InputError
        As in `ExpectedCalibrationError`.

    Notes
    -----
    Source: Brier, Monthly Weather Review 78, 1950.

    Examples
    --------
    >>> metric = BrierScore()
    >>> metric.update_state([0, 1], [[0.8, 0.2], [0.5, 0.5]])
    >>> round(float(metric.result()), 4)
    0.29
    """

    record = METRICS["brier"]

    def __init__(
        self,
        from_logits: bool = False,
        *,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, name, dtype, ignore_class)

    def sample_values(self, batch: Scored) -> tf.Tensor:
        gaps = tf.cast(batch.values, tf.float64) - tf.cast(batch.rows, tf.float64)
        return tf.reduce_sum(tf.square(gaps), axis=-1)


@registered
class NegativeLogLikelihood(SampleMean):
    """Mean of -log p(true class), the cross-entropy in nats, in [0, 708.4].

    `lsplus_tf.metrics.negative_log_likelihood` of a stream; see the head of this module. Unlike a
    loss in the log it is not clipped at 1e-7, and has no penalty and no smoothed target in it.

    Parameters
    ----------
    from_logits, name, dtype, ignore_class
        As in `ExpectedCalibrationError`.

    Raises
    ------
    InputError
        As in `ExpectedCalibrationError`.

    Notes
    -----
    A probability of 0 counts as the smallest normal float64, 2.2e-308. float32 probabilities are 0
    below 1e-45: a model that is so sure had better give logits.

    Examples
    --------
    >>> metric = NegativeLogLikelihood()
    >>> metric.update_state([0, 1], [[0.8, 0.2], [0.5, 0.5]])
    >>> round(float(metric.result()), 4)
    0.4581
    """

    record = METRICS["nll"]

    def __init__(
        self,
        from_logits: bool = False,
        *,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, name, dtype, ignore_class)

    def sample_values(self, batch: Scored) -> tf.Tensor:
        if batch.labels is not None:
            return -_log(as_float64(batch.at(batch.values, batch.labels)))
        return -tf.reduce_sum(batch.rows * _log(as_float64(batch.values)), axis=-1)


@registered
class MeanConfidence(SampleMean):
    """Mean of the largest probability, in [1/K, 1]; minus the accuracy it is the overconfidence.

    `lsplus_tf.metrics.mean_confidence` of a stream; see the head of this module.

    Parameters
    ----------
    from_logits, name, dtype, ignore_class
        As in `ExpectedCalibrationError`.

    Raises
    ------
    InputError
        As in `ExpectedCalibrationError`.

    Examples
    --------
    >>> metric = MeanConfidence()
    >>> metric.update_state([0, 1], [[0.75, 0.25], [0.5, 0.5]])
    >>> float(metric.result())
    0.625
    """

    record = METRICS["mean_confidence"]

    def __init__(
        self,
        from_logits: bool = False,
        *,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, name, dtype, ignore_class)

    def sample_values(self, batch: Scored) -> tf.Tensor:
        return tf.cast(tf.reduce_max(batch.values, axis=-1), tf.float64)


@registered
class TopKError(SampleMean):
    """Share of samples whose true class is not among the k most probable ones, in [0, 1].

    `lsplus_tf.metrics.top_k_error` of a stream; see the head of this module. Of equally probable
    classes those with the lower index come first, so that k = 1 is the complement of accuracy.

    Parameters
    ----------
    k : int
        At least 1; from K on the error is 0.
    from_logits, dtype, ignore_class
        As in `ExpectedCalibrationError`.
    name
        As in `keras.metrics.Metric`; None means "top{k}_error".

    Raises
    ------
    InputError
        `k` is not an integer >= 1; otherwise as in `ExpectedCalibrationError`.

    Examples
    --------
    >>> metric = TopKError(k=2)
    >>> metric.update_state([1, 2], [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    >>> float(metric.result())
    0.5
    """

    record = METRICS["top1_error"]

    def __init__(
        self,
        k: int,
        *,
        from_logits: bool = False,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
    ) -> None:
        check_count("k", k)
        super().__init__(from_logits, name or f"top{k}_error", dtype, ignore_class)
        self.k = int(k)

    def sample_values(self, batch: Scored) -> tf.Tensor:
        top = tf.math.top_k(batch.ranks, min(self.k, batch.num_classes)).indices
        if batch.labels is not None:
            return tf.cast(tf.reduce_all(top != batch.labels[:, None], axis=-1), tf.float64)
        inside = tf.gather(batch.rows, top, batch_dims=1)
        return tf.maximum(tf.reduce_sum(batch.rows, axis=-1) - tf.reduce_sum(inside, axis=-1), 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}


def _log(values: tf.Tensor) -> tf.Tensor:
    """log p, finite and not above 0, of float64."""
    return tf.math.log(tf.clip_by_value(values, _TINY, 1.0))
