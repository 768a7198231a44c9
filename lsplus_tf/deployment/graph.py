"""What a model gives as a graph: the outputs of a SavedModel or an ONNX file, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from lsplus_tf.backbones import CarryFeatures, PixelScaling
from lsplus_tf.calibrators import Calibrator, PredictionSets
from lsplus_tf.calibrators.arrays import softmax
from lsplus_tf.calibrators.keras import is_calibrated
from lsplus_tf.deployment.model import TrainedModel
from lsplus_tf.predictions.arrays import log_probabilities

_16_BITS = ("float16", "bfloat16")


class OnnxOps:
    """`keras.ops` for calibrators, in terms of what tf2onnx converts."""

    def __getattr__(self, name: str) -> Any:
        return getattr(ops, name)

    @staticmethod
    def argmax(values: Any, axis: int) -> Any:
        """The place of the highest, of which Keras's looks at the bits."""
        return tf.argmax(values, axis=axis, output_type=tf.int32)

    @staticmethod
    def searchsorted(places: Any, values: Any, side: str) -> Any:
        """How many places are below each value, or not above it."""
        before = tf.less_equal if side == "right" else tf.less
        below = before(tf.constant(places, tf.float64), tf.expand_dims(values, -1))
        return tf.reduce_sum(tf.cast(below, tf.int32), axis=-1)

    @staticmethod
    def log(values: Any) -> Any:
        """In float64, of positive numbers; tf2onnx has logarithms in float32 alone."""
        small = values < 1e-20
        scaled = tf.where(small, values * 2.0**100, values)  # or some would be 0 in float32
        rough = tf.math.log(scaled)
        back = tf.exp(rough)
        exact = rough + 2 * (scaled - back) / (scaled + back)  # one step of Halley's method
        return exact - 100 * np.log(2) * tf.cast(small, tf.float64)

    def log1p(self, values: Any) -> Any:
        """Exact to a few units in the last place (Kahan)."""
        sums = 1.0 + values
        rounded = tf.equal(sums, 1.0)
        parts = tf.where(rounded, tf.ones_like(sums), sums - 1.0)
        return tf.where(rounded, values, self.log(sums) * values / parts)

    def logaddexp(self, first: Any, second: Any) -> Any:
        """log(exp(first) + exp(second)), without overflow."""
        apart = tf.abs(first - second)
        return tf.maximum(first, second) + self.log1p(tf.exp(-apart))


def outputs(
    trained: TrainedModel,
    calibrator: Calibrator | None,
    abstain_below: float,
    sets: PredictionSets | None,
    xp: Any = ops,
) -> Callable[[Any], dict[str, Any]]:
    """A function of pixels (B, H, W, C) to what `predict` would say of them.

    Probabilities (B, K), float32; predicted (B,), the place of the class; confidence (B,);
    abstained (B,); set (B, K) where there are sets. All follows from the probabilities in the
    precision in which `predict` has them, so that what ties there ties here. A row that is not
    finite abstains, and has all classes in its set.

    Parameters
    ----------
    trained : TrainedModel
    calibrator : Calibrator or None
    abstain_below : float
    sets : PredictionSets or None
        Of the probabilities that come out, without a calibrator of their own.
    xp : object
        What calibrators compute with: `keras.ops`, or `OnnxOps()` for tf2onnx.
    """

    def of_pixels(pixels: Any) -> dict[str, Any]:
        scores = trained.model(pixels, training=False)
        if scores.dtype == "bfloat16" or (scores.shape[1] == 1 and scores.dtype in _16_BITS):
            scores = tf.cast(scores, tf.float32)
        if scores.shape[1] == 1:
            scores = tf.concat([1 - scores, scores], axis=1)
        if calibrator is not None:
            logits = tf.cast(scores, tf.float64)
            if trained.gives_probabilities:
                logits = log_probabilities(logits, xp)
            probabilities = calibrator._calibrated(logits, xp)
        elif trained.gives_probabilities:
            probabilities = scores
        else:
            probabilities = softmax(tf.cast(scores, tf.float64), ops)
        confidence = tf.reduce_max(probabilities, axis=1)
        # In the precision of the probabilities, as NumPy compares a number with them.
        threshold = tf.constant(abstain_below, probabilities.dtype)
        predicted = tf.argmax(probabilities, axis=1)
        given = {
            "probabilities": tf.cast(probabilities, tf.float32),
            "predicted": predicted,
            "confidence": tf.cast(confidence, tf.float32),
            # Not `not (confidence >= threshold)`, which TensorFlow's optimizer turns round.
            "abstained": tf.logical_or(confidence < threshold, tf.math.is_nan(confidence)),
        }
        if sets is not None:
            given["set"] = inside_sets(sets, probabilities, predicted)
        return given

    return of_pixels


def inside_sets(sets: PredictionSets, probabilities: Any, predicted: Any) -> Any:
    """Which classes are in the sets (B, K), as `PredictionSets.predict` says.

    Parameters
    ----------
    sets : PredictionSets
    probabilities : array_like, shape (B, K)
    predicted : array_like of int, shape (B,)
    """
    classes = sets.n_classes_
    each = tf.cast(probabilities, tf.float64)
    if sets.method == "lac":
        scores = 1 - each
    else:
        # Without sorting, which tf2onnx does in float32.
        own, other = tf.expand_dims(each, -1), tf.expand_dims(each, 1)
        earlier = np.tri(classes, k=-1, dtype=bool)  # of equal ones the first comes first
        before = tf.logical_or(other > own, tf.logical_and(tf.equal(other, own), earlier))
        scores = each + tf.reduce_sum(tf.where(before, other, tf.zeros_like(other)), axis=-1)
        if sets.method == "raps":
            penalties = tf.constant(sets._penalties(np.arange(1, classes + 1)))
            scores += tf.gather(penalties, tf.reduce_sum(tf.cast(before, tf.int32), axis=-1))
    most = sets._highest_scores(np.dtype(tf.as_dtype(probabilities.dtype).as_numpy_dtype))
    inside = tf.logical_or(scores <= tf.constant(most, tf.float64), tf.math.is_nan(scores))
    if not sets.allow_empty:
        empty = tf.logical_not(tf.reduce_any(inside, axis=1, keepdims=True))
        top = tf.equal(tf.expand_dims(predicted, -1), tf.range(classes, dtype=tf.int64))
        inside = tf.logical_or(inside, tf.logical_and(empty, top))
    return inside


def with_probabilities(trained: TrainedModel) -> keras.Model:
    """A model that gives probabilities (B, K), of layers of Keras alone if its own others are."""
    model = _without_own_layers(trained.model)
    scores = model.outputs[0]
    if trained.gives_probabilities:
        if scores.shape[1] != 1:
            return model
        first = layers.Rescaling(-1.0, offset=1.0, dtype="float32", name="first_class")(scores)
        both = layers.Concatenate(dtype="float32", name="both_classes")([first, scores])
        return keras.Model(model.inputs[0], both, name=model.name)
    probabilities = layers.Softmax(dtype="float64", name="softmax")(scores)
    # The next layer's dtype is what its input is cast to.
    probabilities = layers.Activation("linear", dtype="float32", name="probabilities")(
        probabilities
    )
    return keras.Model(model.inputs[0], probabilities, name=model.name)


def _without_own_layers(model: keras.Model) -> keras.Model:
    """The same model, of layers of Keras in place of this package's.

    Operations stand for the scaling of pixels, and the logits alone for logits that carry features,
    which no output has. A model that ends in a calibrator, a layer of this package too, stays as it
    is.
    """
    own = (PixelScaling, CarryFeatures)
    if is_calibrated(model) or not any(isinstance(each, own) for each in model._flatten_layers()):
        return model

    def in_its_place(layer: layers.Layer) -> layers.Layer:
        # A layer comes last, as a model that changes nothing cannot be saved.
        if isinstance(layer, PixelScaling):
            pixels = keras.Input(layer.input.shape[1:], dtype=layer.compute_dtype)
            last = layers.Activation("linear", dtype=layer.dtype_policy)
            return keras.Model(pixels, last(layer.call(pixels)), name=layer.name)
        if isinstance(layer, CarryFeatures):
            both = [keras.Input(each.shape[1:], dtype=each.dtype) for each in layer.input]
            last = layers.Activation("linear", dtype=both[0].dtype)
            return keras.Model(both, last(both[0]), name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    plain = keras.models.clone_model(model, clone_function=in_its_place, recursive=True)
    plain.set_weights(model.get_weights())
    return plain
