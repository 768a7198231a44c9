"""What every loss of the package must hold, whatever it computes."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import textwrap
from collections.abc import Callable
from typing import Any

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import value_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax, softmax

import lsplus_tf as lsp
from lsplus_tf import losses
from lsplus_tf.errors import InputError

CLASSES = 3


def prior(order: np.ndarray) -> np.ndarray:
    """A prior whose classes are those of a fixed one in another order."""
    matrix = np.random.default_rng(0).dirichlet(np.ones(CLASSES), CLASSES)
    return matrix[np.ix_(order, order)]


def fed(loss: Any) -> Any:
    """Without its warning that nothing renews the soft labels: here nothing is trained."""
    loss.is_fed = True
    return loss


def online(order: np.ndarray, options: dict[str, Any], **arguments: Any) -> keras.losses.Loss:
    loss = losses.OnlineLabelSmoothingLoss(CLASSES, **arguments, **options)
    loss.soft_labels.assign(prior(order))
    return fed(loss)


def confusion(order: np.ndarray, options: dict[str, Any]) -> keras.losses.Loss:
    loss = losses.ConfusionPenaltyLoss(CLASSES, alpha=0.3, **options)
    loss.update_from_confusion(np.array([[5, 2, 1], [0, 4, 0], [3, 3, 9]])[np.ix_(order, order)])
    return fed(loss)


def fedlas(order: np.ndarray, options: dict[str, Any], **arguments: Any) -> keras.losses.Loss:
    loss = losses.FedLASLoss(CLASSES, smoothing=0.2, seed=3, **arguments, **options)
    loss.gate["hidden_kernel"].assign(loss.gate["hidden_kernel"].numpy()[order])
    return fed(loss)


def learned(order: np.ndarray, options: dict[str, Any]) -> keras.losses.Loss:
    loss = losses.LearnedLabelSmoothingLoss(CLASSES, alpha=0.3, weight_decay=0.1, **options)
    free = np.random.default_rng(0).normal(size=(CLASSES, CLASSES))[np.ix_(order, order)]
    loss.free_logits.assign(free * (1 - np.eye(CLASSES)))
    return fed(loss)


def constrained(order: np.ndarray, options: dict[str, Any], penalty: Any) -> keras.losses.Loss:
    loss = losses.CALSLoss(CLASSES, margin=0.7, penalty=penalty, **options)
    loss.multipliers.assign(np.array([0.5, 0.0, 1.5])[order])
    loss.penalty_parameters.assign(np.array([1.0, 3.0, 2.0])[order])
    return fed(loss)


def adaptive(options: dict[str, Any]) -> keras.losses.Loss:
    loss = losses.AdaptiveFocalLoss(4, **options)
    loss.gammas.assign([0.3, -1.2, -0.4, 2.5])
    loss.bin_edges.assign([0.2, 0.3, 0.6, 0.9, 1.0])
    return fed(loss)


def focal(options: dict[str, Any]) -> keras.losses.Loss:
    return losses.FocalLoss(2.0, dtype=options.get("dtype", "float32"))


Factory = Callable[[np.ndarray, dict[str, Any]], keras.losses.Loss]

# With arguments that are not the defaults; `order` permutes what belongs to classes.
LOSSES: dict[str, Factory] = {
    "HardLabelLoss": lambda order, o: losses.HardLabelLoss(**o),
    "LabelSmoothingLoss": lambda order, o: losses.LabelSmoothingLoss(0.2, **o),
    "LSPlusLoss": lambda order, o: losses.LSPlusLoss(prior(order), alpha=0.4, **o),
    "OnlineLabelSmoothingLoss": lambda order, o: online(
        order, o, alpha=0.3, soft_weight=0.9, freeze_above=0.8, empty_class="keep"
    ),
    "OnlineLabelSmoothingLoss, zeros": lambda order, o: online(
        order, o, initial="zeros", empty_class="zeros"
    ),
    "OnlineLabelSmoothingLoss, prior": lambda order, o: online(
        order, o, prior=prior(order), prior_weight=0.3
    ),
    "ConfusionPenaltyLoss": confusion,
    "LearnedLabelSmoothingLoss": learned,
    "CALSLoss": lambda order, o: constrained(order, o, "phr"),
    "CALSLoss, p2": lambda order, o: constrained(order, o, "p2"),
    "CALSLoss, p3": lambda order, o: constrained(order, o, "p3"),
    "AdaptiveFocalLoss": lambda order, o: adaptive(o),
    "ClassDistributionLabelSmoothingLoss": lambda order, o: (
        losses.ClassDistributionLabelSmoothingLoss(
            np.array([5, 20, 80])[order], alpha=0.2, gamma=0.3, **o
        )
    ),
    "FocalLoss": lambda order, o: losses.FocalLoss(2.0, **o),
    "FocalLoss, small gamma": lambda order, o: losses.FocalLoss(0.3, **o),
    "SampleDependentFocalLoss": lambda order, o: losses.SampleDependentFocalLoss(2.0, **o),
    "DualFocalLoss": lambda order, o: losses.DualFocalLoss(2.0, **o),
    "DualFocalLoss, small gamma": lambda order, o: losses.DualFocalLoss(0.3, **o),
    "DualFocalLoss, detached rival": lambda order, o: losses.DualFocalLoss(
        0.3, detached="rival", **o
    ),
    "DualFocalLoss, detached weight": lambda order, o: losses.DualFocalLoss(
        0.3, detached="weight", **o
    ),
    "BrierScaledCrossEntropyLoss": lambda order, o: losses.BrierScaledCrossEntropyLoss(
        1.5, gamma=0.3, **o
    ),
    "BrierScaledCrossEntropyLoss, not detached": lambda order, o: (
        losses.BrierScaledCrossEntropyLoss(1.5, gamma=0.3, detached=False, **o)
    ),
    "FocalCalibrationLoss": lambda order, o: losses.FocalCalibrationLoss(0.3, weight=0.7, **o),
    "FocalCalibrationLoss, gate": lambda order, o: losses.FocalCalibrationLoss(
        0.3, weight=0.7, gate=0.4, **o
    ),
    "FocalCalibrationLoss, gate with gradient": lambda order, o: losses.FocalCalibrationLoss(
        0.3, weight=0.7, gate=0.4, gate_detached=False, **o
    ),
    "BrierLoss": lambda order, o: losses.BrierLoss(**o),
    "ConfidencePenaltyLoss": lambda order, o: losses.ConfidencePenaltyLoss(0.4, **o),
    "UniformPenaltyLoss": lambda order, o: losses.UniformPenaltyLoss(0.4, **o),
    "MarginLabelSmoothingLoss": lambda order, o: losses.MarginLabelSmoothingLoss(
        2.0, weight=0.4, **o
    ),
    "MaxSupLoss": lambda order, o: losses.MaxSupLoss(0.4, **o),
    "ACLSLoss": lambda order, o: losses.ACLSLoss(
        1.0, weight=0.2, positive_weight=0.7, negative_weight=0.5, **o
    ),
    "DCALoss": lambda order, o: losses.DCALoss(2.0, **o),
    "MDCALoss": lambda order, o: losses.MDCALoss(2.0, base=focal(o), **o),
    "MDCALoss, alone": lambda order, o: losses.MDCALoss(2.0, base="none", **o),
    "MMCELoss": lambda order, o: losses.MMCELoss(3.0, **o),
    "MMCELoss, weighted": lambda order, o: losses.MMCELoss(3.0, weighted=True, **o),
    "DifferentiableECELoss": lambda order, o: losses.DifferentiableECELoss(2.0, num_bins=7, **o),
    "ErroneousEntropyLoss": lambda order, o: losses.ErroneousEntropyLoss(0.5, **o),
    "ErroneousEntropyLoss, KL": lambda order, o: losses.ErroneousEntropyLoss(
        0.5, divergence="kl", **o
    ),
    "TfKDRegularizationLoss": lambda order, o: losses.TfKDRegularizationLoss(
        0.7, temperature=5.0, correct_probability=0.9, **o
    ),
    "TfKDSelfTrainingLoss": lambda order, o: losses.TfKDSelfTrainingLoss(0.7, temperature=5.0, **o),
    "FedLASLoss": fedlas,
    "FedLASLoss, margin": lambda order, o: fedlas(order, o, margin=0.5),
}
NEEDS_TEACHER = {"TfKDSelfTrainingLoss"}
NEEDS_FEATURES = {"FedLASLoss", "FedLASLoss, margin"}
# What they compute of logits cannot be told from probabilities alone, which they refuse.
NEEDS_LOGITS = {"ACLSLoss", "FedLASLoss", "FedLASLoss, margin"}
# They hold a part of what they compute fixed in the gradient. Their own tests have its closed form.
VALUE_IS_NOT_THE_ANTIDERIVATIVE = {
    "ACLSLoss",
    "BrierScaledCrossEntropyLoss",
    "DualFocalLoss, detached rival",
    "DualFocalLoss, detached weight",
    "FocalCalibrationLoss, gate",
    "LearnedLabelSmoothingLoss",
}
# Where a loss branches, in its value or gradient, its variants have to be looked at. What all share
# in how labels, outputs and weights are read, and in what Keras does with them, one of each shows.
ONE_OF_EACH = [name for name in LOSSES if "," not in name]
every_variant = pytest.mark.parametrize("name", LOSSES)
every_loss = pytest.mark.parametrize("name", ONE_OF_EACH)


def make(kind: str, order: Any = None, **options: Any) -> Callable[..., Any]:
    """The loss, as a function of labels, outputs and sample weights.

    A teacher, or features, are given to it.
    """
    options = {"from_logits": True, **options}
    loss = LOSSES[kind](np.arange(CLASSES) if order is None else order, options)

    def call(labels: Any, outputs: Any, sample_weight: Any = None) -> tf.Tensor:
        if kind in NEEDS_TEACHER:
            labels = losses.with_teacher_logits(labels, teacher(np.shape(outputs), order))
        if kind in NEEDS_FEATURES:
            outputs = losses.with_features(outputs, features(np.shape(outputs)))
        return loss(labels, outputs, sample_weight)

    call.loss = loss  # type: ignore[attr-defined]
    return call


def teacher(shape: tuple[int, ...], order: Any = None) -> np.ndarray:
    logits = np.random.default_rng(1).normal(0, 2, (64, CLASSES)).astype(np.float32)
    logits = logits if order is None else logits[:, order]
    return logits[: int(np.prod(shape[:-1]))].reshape(shape)


def features(shape: tuple[int, ...]) -> np.ndarray:
    found = np.random.default_rng(2).normal(0, 20, (64, 5)).astype(np.float32)
    return found[: int(np.prod(shape[:-1]))].reshape(*shape[:-1], 5)


@functools.cache
def compiled(name: str, *, xla: bool) -> Any:
    """Value and gradient of float labels (9,) and logits, traced once for all tests."""
    loss = make(name)

    @tf.function(jit_compile=xla)
    def value_and_slope(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(labels, logits)
        return value, tape.gradient(value, logits)

    return value_and_slope


def samples(count: int = 9, seed: int = 0, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (count, CLASSES)).astype(np.float32)
    return rng.integers(0, CLASSES, count), logits


def test_every_loss_is_here():
    classes = {name for name in losses.__all__ if name.endswith("Loss")}
    assert classes == set(ONE_OF_EACH) == {name.split(",")[0] for name in LOSSES}


@pytest.mark.parametrize("labels_are", ["class ids", "rows"])
@pytest.mark.parametrize("from_logits", [True, False])
@every_variant
def test_in_float64_the_gradient_is_that_of_the_value(name, from_logits, labels_are):
    """Against central differences; float32, which is the default, keeps 7 digits of the same."""
    if name in NEEDS_LOGITS and not from_logits:
        pytest.skip("refuses probabilities")
    ids, logits = samples()
    labels = ids if labels_are == "class ids" else np.eye(CLASSES)[ids] * 0.9 + 0.1 / CLASSES
    outputs = logits.astype(np.float64)
    if not from_logits:
        outputs = softmax(outputs, axis=-1)
    weights = np.linspace(0.5, 2.0, len(ids))
    loss = make(name, from_logits=from_logits, dtype="float64")

    def value_and_slope(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(values)
            value = loss(labels, values, weights)
        return value, tape.gradient(value, values)

    value, slope = value_and_slope(tf.constant(outputs))
    assert value.dtype == slope.dtype == tf.float64
    # Of the others graphs are compared below.
    if name not in ONE_OF_EACH and labels_are == "rows" and from_logits == (name in NEEDS_LOGITS):
        in_graph = tf.function(value_and_slope)(tf.constant(outputs))
        np.testing.assert_allclose(in_graph[0], value, rtol=1e-14)
        np.testing.assert_allclose(in_graph[1], slope, rtol=1e-12, atol=1e-15)
    single = make(name, from_logits=from_logits)(labels, outputs.astype(np.float32), weights)
    np.testing.assert_allclose(single, value, rtol=1e-5, atol=1e-6)
    direction = np.random.default_rng(5).normal(size=outputs.shape)
    step = 1e-6
    ahead, behind = (float(loss(labels, outputs + s * direction, weights)) for s in (step, -step))
    expected = (ahead - behind) / (2 * step)
    found = float(np.sum(slope * direction))
    if name in VALUE_IS_NOT_THE_ANTIDERIVATIVE:
        assert abs(found - expected) > 1e-3 * abs(expected)  # or it stands there without need
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    restored = keras.losses.deserialize(keras.losses.serialize(loss.loss))
    assert restored.dtype == "float64"


@every_loss
def test_keras_has_it_by_its_registered_name(name):
    """In a config; where an argument has no default, its name is in the error."""
    kind = getattr(losses, name)
    registered = f"lsplus_tf>{kind.__name__}"
    assert keras.losses.deserialize(registered) is kind
    needed = [
        parameter.name
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.default is inspect.Parameter.empty
    ]
    alone = {"class_name": registered, "config": {}}
    if needed:
        with pytest.raises(TypeError, match=f"missing .*'{needed[0]}'"):
            keras.losses.deserialize(alone)
    else:
        assert keras.losses.deserialize(alone).get_config() == kind().get_config()
    if needed:
        with pytest.raises(TypeError, match=f"missing .*'{needed[0]}'"):
            keras.losses.get(registered)
    else:
        assert keras.losses.get(registered).get_config() == kind().get_config()


def test_a_string_in_compile(tmp_path):
    importlib.import_module("lsplus_tf.metrics.keras")
    labels, x = samples(40)
    outputs = [keras.layers.Dense(CLASSES, activation="softmax")]
    model = keras.Sequential([keras.Input([CLASSES]), *outputs])
    ece = "lsplus_tf>ExpectedCalibrationError"
    model.compile("sgd", loss="lsplus_tf>HardLabelLoss", metrics=[ece], jit_compile=False)
    log = model.fit(x, labels, verbose=0).history
    assert set(log) == {"loss", ece}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(x, labels, verbose=0) == model.evaluate(x, labels, verbose=0)


@every_loss
def test_flags_are_flags(name):
    """A reduction in the wrong place, or "no", is not True."""
    for wrong in ("none", "no", 1, None):
        with pytest.raises(InputError, match="from_logits: expected True or False, received"):
            make(name, from_logits=wrong)


def test_other_precisions_are_refused():
    with pytest.raises(InputError, match="dtype: expected 'float32' or 'float64', received"):
        losses.HardLabelLoss(dtype="float16")
    with pytest.raises(
        InputError, match="base: expected a loss of dtype float64, received float32"
    ):
        losses.DCALoss(base=losses.FocalLoss(), dtype="float64")


@every_variant
@settings(max_examples=4, deadline=None)
@given(
    logits=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 15), st.just(CLASSES)),
        elements=st.one_of(
            st.floats(-30, 30, width=16),
            st.floats(-6e4, 6e4, width=16),
            st.sampled_from([0.0, 1e30, -1e30]),
        ),
    ),
    seed=st.integers(0, 2**16),
)
def test_any_finite_logits_give_finite_values(name, logits, seed):
    labels = np.random.default_rng(seed).integers(0, CLASSES, len(logits))
    loss = make(name)
    for dtype in (tf.float32, tf.bfloat16, tf.float16):
        given_logits = np.clip(logits, -6e4, 6e4) if dtype == tf.float16 else logits
        value, gradient = value_and_gradient(loss, labels, tf.cast(given_logits, dtype))
        assert np.isfinite(value)
        finite = np.isfinite(gradient.astype(np.float32))
        if dtype == tf.float16 and not finite.all():
            # It has no number above 65504; where logits lie that far apart, a square's slope has.
            _, of_float32 = value_and_gradient(loss, labels, given_logits)
            finite |= np.abs(of_float32) > 65504
        assert finite.all()


@every_loss
def test_class_ids_and_onehot_rows_agree(name):
    labels, logits = samples()
    loss = make(name)
    value, gradient = value_and_gradient(loss, labels, logits)
    for same in (labels[:, None], np.eye(CLASSES)[labels].astype(np.float32)):
        other_value, other_gradient = value_and_gradient(loss, same, logits)
        np.testing.assert_allclose(other_value, value, rtol=1e-5)
        np.testing.assert_allclose(other_gradient, gradient, rtol=1e-4, atol=1e-6)


@every_loss
def test_soft_labels_are_taken(name):
    """Near one-hot rows the loss is near that of the one-hot rows, and mixing is smooth."""
    labels, logits = samples()
    loss, onehot = make(name), np.eye(CLASSES, dtype=np.float32)[labels]
    hard = float(loss(onehot, logits))
    near = float(loss(0.999 * onehot + 0.001 / CLASSES, logits))
    half = float(loss(0.5 * onehot + 0.5 * np.roll(onehot, 1, axis=1), logits))
    assert near == pytest.approx(hard, rel=0.02, abs=0.02)
    assert np.isfinite(half)


@every_variant
@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2]])
def test_permuted_classes_permute_everything(name, order):
    labels, logits = samples()
    order = np.array(order)
    value, gradient = value_and_gradient(make(name), labels, logits)
    permuted = make(name, order)
    other_value, other_gradient = value_and_gradient(
        permuted, np.argsort(order)[labels], logits[:, order]
    )
    np.testing.assert_allclose(other_value, value, rtol=1e-5)
    np.testing.assert_allclose(other_gradient, gradient[:, order], rtol=1e-4, atol=1e-6)


@every_loss
def test_a_sample_without_weight_is_not_there(name):
    labels, logits = samples(8)
    keep = np.array([1, 1, 1, 1, 1, 0, 0, 0], np.float32)
    logits[keep == 0] = [1e6, 0, 0]
    summed = make(name, reduction="sum")
    expected = summed(labels[:5], logits[:5])
    for weights in (keep, keep[:, None]):
        np.testing.assert_allclose(summed(labels, logits, weights), expected, rtol=1e-5)
    z = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = summed(labels, z, keep)
    gradient = tape.gradient(value, z).numpy()
    np.testing.assert_allclose(
        gradient[:5], value_and_gradient(summed, labels[:5], logits[:5])[1], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(gradient[5:], 0)


@every_loss
def test_reductions_agree(name):
    labels, logits = samples()
    each = make(name, reduction="none")(labels, logits).numpy()
    assert each.shape == (9,)
    assert each.dtype == np.float32
    np.testing.assert_allclose(make(name, reduction="sum")(labels, logits), each.sum(), rtol=1e-5)
    np.testing.assert_allclose(make(name)(labels, logits), each.mean(), rtol=1e-5)


@every_loss
def test_pixels_are_samples(name):
    labels, logits = samples(24)
    loss = make(name)
    flat, flat_gradient = value_and_gradient(loss, labels, logits)
    image = logits.reshape(2, 3, 4, CLASSES)
    for pixels in (labels.reshape(2, 3, 4), np.eye(CLASSES)[labels.reshape(2, 3, 4)]):
        value, gradient = value_and_gradient(loss, pixels.astype(np.float32), image)
        np.testing.assert_allclose(value, flat, rtol=1e-5)
        np.testing.assert_allclose(
            gradient.reshape(24, CLASSES), flat_gradient, rtol=1e-4, atol=1e-6
        )


@every_loss
def test_a_weight_of_an_image_is_that_of_its_pixels(name):
    """Keras alone would weigh along the last axis, and say nothing where it has the same length."""
    labels, logits = samples(18)
    labels, logits = labels.reshape(3, 2, 3), logits.reshape(3, 2, 3, CLASSES)
    weights = np.array([0.0, 1.0, 2.0], np.float32)
    summed = make(name, reduction="sum")
    each_pixel = np.broadcast_to(weights[:, None, None], labels.shape)
    np.testing.assert_allclose(
        summed(labels, logits, weights), summed(labels, logits, each_pixel), rtol=1e-6
    )
    flat = summed(labels.reshape(-1), logits.reshape(-1, CLASSES), each_pixel.reshape(-1))
    np.testing.assert_allclose(summed(labels, logits, weights), flat, rtol=1e-5)


@every_loss
def test_probabilities_and_a_softmax_give_the_same_as_logits(name):
    labels, logits = samples()
    expected, expected_gradient = value_and_gradient(make(name), labels, logits)
    from_probabilities = make(name, from_logits=False)
    probabilities = np.exp(log_softmax(logits, axis=1))
    if name not in NEEDS_LOGITS:
        np.testing.assert_allclose(from_probabilities(labels, probabilities), expected, rtol=1e-4)
    z = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = from_probabilities(labels, keras.activations.softmax(z))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(value, z), expected_gradient, rtol=1e-4, atol=1e-6)


WITHOUT_SMOOTHING = {
    "LabelSmoothingLoss": lambda o: losses.LabelSmoothingLoss(0.0, **o),
    "LSPlusLoss": lambda o: losses.LSPlusLoss(prior(np.arange(CLASSES)), alpha=0.0, **o),
    "OnlineLabelSmoothingLoss": lambda o: fed(
        losses.OnlineLabelSmoothingLoss(CLASSES, alpha=1.0, **o)
    ),
    "ConfusionPenaltyLoss": lambda o: fed(losses.ConfusionPenaltyLoss(CLASSES, alpha=0.0, **o)),
    "CALSLoss": lambda o: fed(
        losses.CALSLoss(CLASSES, margin=0.7, penalty="p3", multiplier_min=0.0, **o)
    ),
    "AdaptiveFocalLoss": lambda o: fed(losses.AdaptiveFocalLoss(gamma_initial=0.0, **o)),
    "ClassDistributionLabelSmoothingLoss": lambda o: losses.ClassDistributionLabelSmoothingLoss(
        [1, 2, 3], alpha=0.0, gamma=0.0, **o
    ),
    "FocalLoss": lambda o: losses.FocalLoss(0.0, **o),
    "DualFocalLoss": lambda o: losses.DualFocalLoss(0.0, **o),
    "BrierScaledCrossEntropyLoss": lambda o: losses.BrierScaledCrossEntropyLoss(gamma=0.0, **o),
    "FocalCalibrationLoss": lambda o: losses.FocalCalibrationLoss(0.0, weight=0.0, **o),
    "ConfidencePenaltyLoss": lambda o: losses.ConfidencePenaltyLoss(0.0, **o),
    "UniformPenaltyLoss": lambda o: losses.UniformPenaltyLoss(0.0, **o),
    "MarginLabelSmoothingLoss": lambda o: losses.MarginLabelSmoothingLoss(weight=0.0, **o),
    "MaxSupLoss": lambda o: losses.MaxSupLoss(0.0, **o),
    "ACLSLoss": lambda o: losses.ACLSLoss(weight=0.0, **o),
    "DCALoss": lambda o: losses.DCALoss(0.0, **o),
    "MDCALoss": lambda o: losses.MDCALoss(0.0, **o),
    "MMCELoss": lambda o: losses.MMCELoss(0.0, **o),
    "DifferentiableECELoss": lambda o: losses.DifferentiableECELoss(0.0, **o),
    "ErroneousEntropyLoss": lambda o: losses.ErroneousEntropyLoss(0.0, **o),
    "TfKDRegularizationLoss": lambda o: losses.TfKDRegularizationLoss(0.0, **o),
    "TfKDSelfTrainingLoss": lambda o: losses.TfKDSelfTrainingLoss(0.0, **o),
    "FedLASLoss": lambda o: fed(losses.FedLASLoss(CLASSES, smoothing=0.0, **o)),
}


def test_every_loss_with_a_weight_is_among_those_without_smoothing():
    plain = {"HardLabelLoss", "BrierLoss", "SampleDependentFocalLoss"}
    plain |= {"LearnedLabelSmoothingLoss"}  # half of it trains its matrix
    assert set(ONE_OF_EACH) - plain == set(WITHOUT_SMOOTHING)


@pytest.mark.parametrize("name", WITHOUT_SMOOTHING)
def test_weight_zero_is_cross_entropy(name):
    """To the last bit: nothing is added and nothing rescaled."""
    labels, logits = samples(64, scale=5.0)
    y = losses.with_teacher_logits(labels, teacher(logits.shape)) if "Self" in name else labels
    expected = value_and_gradient(losses.HardLabelLoss(from_logits=True), labels, logits)
    loss = WITHOUT_SMOOTHING[name]({"from_logits": True})

    def call(labels: Any, outputs: Any) -> tf.Tensor:
        return loss(labels, losses.with_features(outputs, features(logits.shape)))

    value, gradient = value_and_gradient(call, y, logits)
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])


@every_variant
def test_a_config_round_trip_keeps_every_argument(name):
    loss = make(name, reduction="sum", name="mine").loss
    copy = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
    assert (copy.from_logits, copy.reduction, copy.name) == (True, "sum", "mine")


def test_saved_models_evaluate_the_same_in_a_new_process(tmp_path):
    """Weights, arguments and the matrices that training changed, of all losses at once."""
    labels, x = samples(40)
    inputs, outputs, chosen, given_labels = keras.Input([CLASSES]), [], [], []
    for name in ONE_OF_EACH:
        output = keras.layers.Dense(CLASSES)(inputs)
        if name in NEEDS_FEATURES:
            output = lsp.backbones.CarryFeatures()([output, inputs])
        outputs.append(output)
        chosen.append(make(name).loss)
        packed = losses.with_teacher_logits(labels, teacher((40, CLASSES)))
        given_labels.append(packed if name in NEEDS_TEACHER else labels)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", chosen, run_eagerly=True)  # many: a trace of each takes longer
    here = model.evaluate(x, given_labels, verbose=0)
    assert len(here) == 1 + len(ONE_OF_EACH)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x, *given_labels)
    script = f"""
        import json, keras, numpy as np, lsplus_tf.losses
        x, *labels = np.load({str(tmp_path)!r} + "/data.npz").values()
        model = keras.models.load_model({str(tmp_path)!r} + "/model.keras")
        print(json.dumps(model.evaluate(x, labels, verbose=0)))
    """
    output = forked.run("-c", textwrap.dedent(script)).stdout
    assert json.loads(output.splitlines()[-1]) == pytest.approx(here, rel=1e-6)


@every_loss
def test_graph_mode_and_xla_give_the_same(name):
    labels, logits = samples()
    expected, expected_gradient = value_and_gradient(make(name), labels, logits)
    ids, rows = labels.astype(np.float32), np.eye(CLASSES, dtype=np.float32)[labels]
    for y, xla in ((ids, False), (rows, False), (ids, True)):
        value, gradient = compiled(name, xla=xla)(y, logits)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


@every_loss
@pytest.mark.parametrize("rows", [False, True], ids=["class-ids", "rows"])
def test_nothing_that_a_gpu_computes_in_tf32(name, rows):
    """On GPUs, products of matrices and convolutions keep 11 bits of float32, the rest all 24."""
    labels, logits = samples()
    y = tf.TensorSpec(logits.shape if rows else labels.shape)
    step = compiled(name, xla=False).get_concrete_function(y, tf.TensorSpec(logits.shape))
    definition = step.graph.as_graph_def()
    functions = [function.node_def for function in definition.library.function]
    found = {
        node.op
        for nodes in [definition.node, *functions]
        for node in nodes
        if any(word in node.op for word in ("MatMul", "Einsum", "Conv"))
        and tf.as_dtype(node.attr["T"].type) != tf.float64
    }
    assert not found


@every_loss
def test_labels_out_of_range(name):
    """Eager and graph mode raise; XLA cannot, and makes the loss NaN: never a plausible value."""
    loss, (_, logits) = make(name), samples()
    for bad in ([0, CLASSES], [-1, 0], [0.0, np.nan], [0.0, 1.5]):
        with pytest.raises(InputError, match=r"y_true: expected class ids in 0\.\.2, received"):
            loss(np.array(bad), logits[:2])
        labels = np.zeros(len(logits), np.float32)
        labels[3:5] = bad
        # The lookup's own error may come before the named one.
        message = r"class ids in 0\.\.2|is not in \[0, 3\)"
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            compiled(name, xla=False)(labels, logits)
        assert np.isnan(compiled(name, xla=True)(labels, logits)[0])


@every_loss
def test_logits_that_were_not_declared(name):
    loss = make(name, from_logits=False)
    outputs, labels = np.array([[2.0, -0.1, 0.1]], np.float32), np.array([0])
    with pytest.raises(InputError, match=r"expected probabilities .* from_logits=True"):
        loss(labels, outputs)
    if name not in NEEDS_LOGITS:  # which are never traced
        xla = tf.function(loss, jit_compile=True)
        assert np.isnan(xla(labels, outputs))
        right = np.array([[0.5, 0.3, 0.2]], np.float32)
        np.testing.assert_allclose(xla(labels, right), loss(labels, right), rtol=1e-5, atol=1e-6)


@every_loss
def test_a_batch_without_samples(name):
    """As a generator of filtered images may give: nothing, as from Keras's losses."""
    labels, logits = np.zeros(0, np.int32), np.zeros((0, CLASSES), np.float32)
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    value, gradient = value_and_gradient(make(name), labels, logits)
    assert value.shape == theirs.shape
    assert gradient.shape == logits.shape


@every_loss
@pytest.mark.parametrize("row", [[0.9, 0.9, 0.9], [0.2, 0.1, 0.1], [0.0, 0.0, 0.0]])
def test_rows_that_do_not_sum_to_1(name, row):
    """As sigmoids do not: all 1 they would have no loss, whatever the labels."""
    loss = make(name, from_logits=False)
    outputs, labels = np.array([row], np.float32), np.array([0])
    with pytest.raises(InputError, match=r"expected probabilities that sum to 1 in every row"):
        loss(labels, outputs)
    if name not in NEEDS_LOGITS:  # which refuse all that a softmax layer did not make
        assert np.isnan(tf.function(loss, jit_compile=True)(labels, outputs))
        loss(labels, np.array([[0.333, 0.333, 0.333]], np.float32))
        loss(labels, np.zeros_like(outputs), np.zeros(1))


@every_loss
def test_shapes_that_do_not_fit(name):
    if name in NEEDS_TEACHER:
        pytest.skip("takes other shapes; see test_distillation.py")
    with pytest.raises(InputError, match=r"y_true: expected class ids of shape \(batch,\)"):
        make(name)(np.zeros((2, 4)), np.zeros((2, CLASSES)))
    with pytest.raises(InputError, match=r"received shape \(3,\)"):
        make(name)(np.zeros(3), np.zeros((2, CLASSES)))


def test_ls_plus_with_the_accuracy_of_chance_is_label_smoothing():
    labels, logits = samples()
    smooth = value_and_gradient(losses.LabelSmoothingLoss(0.3, from_logits=True), labels, logits)
    chance = lsp.informed_prior([1 / CLASSES] * CLASSES)
    plus = value_and_gradient(
        losses.LSPlusLoss(chance, alpha=0.3, from_logits=True), labels, logits
    )
    np.testing.assert_allclose(smooth[0] - 0.3 * np.log(CLASSES), plus[0], rtol=1e-5)
    np.testing.assert_allclose(smooth[1], plus[1], atol=1e-7)


def test_every_entry_of_the_golden_file_is_compared(shared):
    """Each entry is in the table of one of the test files, and no table names another."""
    import test_distillation
    import test_losses
    import test_losses_batch
    import test_losses_pointwise
    import test_released_losses

    facts = json.loads((shared / "golden" / "golden_losses.json").read_text())
    compared = [
        *{entry for entry, _ in test_losses.LS_PLUS_CASES},
        *test_losses_pointwise.GOLDEN,
        *test_losses_batch.GOLDEN,
        *test_distillation.GOLDEN,
        *test_released_losses.GOLDEN,
    ]
    assert sorted(compared) == sorted(facts["losses"])
