"""Samples that are not to count: masked, of an ignored class, without a label or without weight.

What is expected is what the same loss or metric gives the other samples alone, and of some what
Keras or NumPy gives.
"""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import value_and_gradient
from scipy.special import log_softmax, softmax
from test_losses_all import (
    CLASSES,
    NEEDS_FEATURES,
    NEEDS_LOGITS,
    NEEDS_TEACHER,
    ONE_OF_EACH,
    make,
    samples,
)
from test_metrics_keras import KINDS, METRICS
from test_metrics_keras import make as make_metric

from lsplus_tf import callbacks, losses, metrics, priors
from lsplus_tf.errors import InputError
from lsplus_tf.losses import released
from lsplus_tf.losses.base import Batch, ClassificationLoss

RELEASED = [name for name in released.__all__ if name.endswith("Loss")]
# Variants with statistics of a batch of their own. Of the others each sample has a loss alone, and
# of those that are left out they see made-up outputs, which test_losses_all.py tries.
OF_BATCH = [
    "MDCALoss, alone",
    "MMCELoss, weighted",
    "ErroneousEntropyLoss, KL",
    "FedLASLoss, margin",
]
# The tests' teacher goes by a sample's place; its labels have a test of their own below.
EVERY = [name for name in [*ONE_OF_EACH, *OF_BATCH] if name not in NEEDS_TEACHER] + RELEASED
every_loss = pytest.mark.parametrize("name", EVERY)
every_metric = pytest.mark.parametrize("name", METRICS)
# A loss of each kind: pointwise, from a matrix, of a batch by means, pairs and bins.
SOME = ["FocalLoss, small gamma", "LSPlusLoss", "MDCALoss, alone", "MMCELoss", "ReleasedDCALoss"]
COMPILED = {"graph": {}, "xla": {"jit_compile": True}}

STEPS = 4
KEPT = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], bool)
SHAPE = KEPT.shape


def any_loss(name: str, **options: Any) -> Any:
    if name in RELEASED:
        options.pop("from_logits", None)
        if name == "ReleasedLSPlusLoss":
            options["prior"] = priors.informed_prior(np.linspace(0.5, 0.9, CLASSES))
        return getattr(released, name)(**options)
    loss = make(name, **options)
    return of_all_alike(loss.loss) if name in NEEDS_FEATURES else loss  # type: ignore[attr-defined]


def of_all_alike(loss: Any) -> Any:
    """The loss, of samples with the same features, NaN where their outputs are not finite."""

    def call(labels: Any, outputs: Any, *weights: Any) -> tf.Tensor:
        features = 10.0 + 0.0 * tf.stop_gradient(tf.cast(outputs, tf.float32))
        return loss(labels, losses.with_features(outputs, features), *weights)

    call.loss = loss  # type: ignore[attr-defined]
    return call


def steps() -> tuple[np.ndarray, np.ndarray]:
    labels, logits = samples(KEPT.size)
    return labels.reshape(SHAPE), logits.reshape(*SHAPE, CLASSES)


def alone(loss: Any, labels: np.ndarray, logits: np.ndarray, *weights: Any) -> Any:
    """Value, and gradient as of all steps, of those that are kept."""
    value, kept = value_and_gradient(loss, labels[KEPT], logits[KEPT], *weights)
    gradient = np.zeros(logits.shape, kept.dtype)
    gradient[KEPT] = kept
    return value, gradient


def assert_same(found: Any, expected: Any, **tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, **{"rtol": 2e-5, "atol": 1e-6, **tolerance})


def masked(loss: Any, labels: Any, logits: Any, mask: Any, *weights: Any) -> Any:
    z = tf.Variable(logits)
    with tf.GradientTape() as tape:
        outputs = tf.identity(z)
        outputs._keras_mask = tf.constant(mask)
        value = loss(labels, outputs, *weights)
    return value.numpy(), tape.gradient(value, z).numpy()


# --- losses ---------------------------------------------------------------------------------------


@every_loss
def test_masked_steps_are_not_there(name):
    """Whatever they hold."""
    labels, logits = steps()
    loss = any_loss(name)
    expected = alone(loss, labels, logits)
    labels[~KEPT], logits[~KEPT] = 77, np.nan
    assert_same(masked(loss, labels, logits, KEPT), expected)
    rows = np.eye(CLASSES, dtype=np.float32)[labels % CLASSES]
    rows[~KEPT] = np.nan
    assert_same(masked(loss, rows, logits, KEPT), expected)
    weights = np.linspace(0.5, 2.0, KEPT.size, dtype=np.float32).reshape(SHAPE)
    reductions = ["sum", "mean_with_sample_weight"]
    if name in SOME:  # how labels and weights are read is the same of all
        assert_same(masked(loss, np.where(KEPT, labels, np.nan), logits, KEPT), expected)
        reductions.append("sum_over_batch_size")
    for reduction in reductions:
        loss = any_loss(name, reduction=reduction)
        weighted = alone(loss, labels, logits, weights[KEPT])
        weights[~KEPT] = 5.0
        assert_same(masked(loss, labels, logits, KEPT, weights), weighted)


@every_loss
def test_an_ignored_class_is_not_there(name):
    labels, logits = steps()
    labels %= CLASSES - 1  # without the last
    expected = alone(any_loss(name), labels, logits)
    forms = [
        lambda ids: ids,
        lambda ids: ids[..., None].astype(np.float32),
        lambda ids: tf.one_hot(ids, CLASSES).numpy(),  # a row of zeros outside 0..K-1
    ]
    logits[~KEPT] = np.inf
    for place, ignored in enumerate([255, -1, CLASSES - 1]):
        labels[~KEPT] = ignored
        loss = any_loss(name, ignore_class=ignored)
        for form in forms if name in SOME else forms[place:][:1]:
            assert_same(value_and_gradient(loss, form(labels), logits), expected)


@every_loss
def test_a_row_of_zeros_is_a_sample_of_weight_0(name):
    """As it is to `keras.losses.CategoricalCrossentropy`, which divides by all samples."""
    labels, logits = steps()
    value, gradient = alone(any_loss(name), labels, logits)
    rows = np.eye(CLASSES, dtype=np.float32)[labels] * KEPT[..., None]
    found = value_and_gradient(any_loss(name), rows, logits)
    assert_same(found, (value * KEPT.mean(), gradient * KEPT.mean()))
    logits[~KEPT] = np.nan
    assert_same(value_and_gradient(any_loss(name), rows, logits), found)


@every_loss
def test_of_weight_0_a_sample_may_be_anything(name):
    labels, logits = steps()
    summed = any_loss(name, reduction="sum")
    expected = alone(summed, labels, logits)
    labels[~KEPT] = 255
    weights = KEPT.astype(np.float32)
    assert_same(value_and_gradient(summed, labels, logits, weights), expected)
    logits[~KEPT] = np.nan
    assert_same(value_and_gradient(summed, labels, logits, weights), expected)
    if name in SOME:
        nothing = np.where(KEPT, labels, np.nan)
        assert_same(value_and_gradient(summed, nothing, logits, weights), expected)
    rows = np.eye(CLASSES, dtype=np.float32)[labels % CLASSES]
    rows[~KEPT] = np.nan
    assert_same(value_and_gradient(summed, rows, logits, weights), expected)
    assert np.isnan(summed(rows, np.zeros_like(logits)))
    labels[0, 0] = 255
    with pytest.raises(InputError, match=r"y_true: expected class ids in 0\.\.2, received 255"):
        summed(labels, logits, weights)


@pytest.mark.parametrize(("name", "mode"), [*((n, "graph") for n in SOME), (SOME[2], "xla")])
def test_in_graphs_and_xla(name, mode):
    labels, logits = steps()
    expected = alone(any_loss(name), labels, logits)
    labels[~KEPT], logits[~KEPT] = 255, np.nan
    ignoring, masking = any_loss(name, ignore_class=255), any_loss(name)

    @tf.function(**COMPILED[mode])
    def both(y: tf.Tensor, z: tf.Tensor) -> list[Any]:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(z)
            outputs = tf.identity(z)
            outputs._keras_mask = tf.constant(KEPT)
            values = [ignoring(y, z), masking(y, outputs)]
        return [(value, tape.gradient(value, z)) for value in values]

    labels = labels.astype(np.float32) if mode == "xla" else labels
    for found in both(tf.constant(labels), tf.constant(logits)):
        assert_same(found, expected)
    labels[0, 0] = 254
    if mode == "graph":
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"class ids in 0\.\.2"):
            both(tf.constant(labels), tf.constant(logits))
    else:
        values = both(tf.constant(labels), tf.constant(logits))
        assert np.isnan([value for value, _ in values]).all()


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none"])
def test_as_the_losses_of_keras(reduction):
    labels, logits = steps()
    ours = losses.HardLabelLoss(from_logits=True, reduction=reduction)
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    weights = np.linspace(0.0, 2.0, KEPT.size, dtype=np.float32).reshape(SHAPE)
    for more in ((), (weights,)):
        found = masked(ours, labels, logits, KEPT, *more)
        assert_same(found, masked(theirs, labels, logits, KEPT, *more))
    options = {"from_logits": True, "reduction": reduction, "ignore_class": 255}
    labels[~KEPT] = 255
    theirs = keras.losses.SparseCategoricalCrossentropy(**options)
    assert_same([losses.HardLabelLoss(**options)(labels, logits)], [theirs(labels, logits)])
    rows = tf.one_hot(labels, CLASSES)
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, reduction=reduction)
    assert_same([ours(rows, logits)], [theirs(rows, logits)])


def test_a_mask_of_whole_rows_is_that_of_their_steps():
    labels, logits = steps()
    mask = np.array([True, False, True])
    expected = losses.MDCALoss(from_logits=True)(labels[mask], logits[mask])
    found = masked(losses.MDCALoss(from_logits=True), labels, logits, mask)
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


@pytest.mark.parametrize("probabilities", [False, True])
def test_the_statistics_of_a_batch_against_numpy(probabilities):
    labels, logits = steps()
    p, y = softmax(logits[KEPT].astype(np.float64), axis=-1), labels[KEPT]
    gaps = p.max(axis=-1) - (p.argmax(axis=-1) == y)
    expected = abs(gaps.mean()) - log_softmax(logits[KEPT], axis=-1)[np.arange(len(y)), y].mean()
    labels[~KEPT] = 255
    outputs = softmax(logits, axis=-1) if probabilities else logits
    loss = losses.DCALoss(1.0, from_logits=not probabilities, ignore_class=255)
    np.testing.assert_allclose(loss(labels, outputs), expected, rtol=1e-6)
    outputs[~KEPT] = -7.0  # no probabilities
    np.testing.assert_allclose(loss(labels, outputs), expected, rtol=1e-6)


def test_labels_beside_the_logits_of_a_teacher():
    labels, logits = steps()
    of_teacher = np.roll(logits, 1, axis=0)
    plain = losses.TfKDSelfTrainingLoss(0.7, temperature=5.0, from_logits=True)
    expected = plain(losses.with_teacher_logits(labels[KEPT], of_teacher[KEPT]), logits[KEPT])
    labels[~KEPT], of_teacher[~KEPT] = 255, np.nan
    packed = losses.with_teacher_logits(labels, of_teacher)
    ignoring = losses.TfKDSelfTrainingLoss(0.7, temperature=5.0, from_logits=True, ignore_class=255)
    inside = losses.DCALoss(0.0, base=plain, from_logits=True, ignore_class=255)
    for found in (
        value_and_gradient(ignoring, packed, logits),
        value_and_gradient(inside, packed, logits),
        masked(plain, packed, logits, KEPT),
    ):
        np.testing.assert_allclose(found[0], expected, rtol=1e-5)
        assert np.isfinite(found[1]).all()
        assert not found[1][~KEPT].any()


def test_nothing_counts():
    """No sample is left: 0, as Keras has it, and a gradient of 0."""
    labels, logits = steps()
    for name in SOME:
        loss = any_loss(name, ignore_class=255)
        value, gradient = value_and_gradient(loss, np.full_like(labels, 255), logits)
        assert value == 0.0
        assert not gradient.any()


class Seeing(ClassificationLoss):
    """Keeps what the losses are given."""

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        self.batch = batch
        return batch.cross_entropy


def test_what_a_batch_tells_of_its_samples():
    labels, logits = samples(6)
    loss = Seeing(True, "sum", "seeing", "float32", ignore_class=255)
    loss(labels, logits)
    assert loss.batch.counted.numpy().all()
    labels[:3] = [255, 7, 0]
    logits[3] = np.nan
    weights = np.array([1, 0, 0, 0, 2, 3], np.float32)
    loss(labels, logits, weights)
    # Of weight 0 it counts where it has a label and outputs: whoever wants to may count it.
    assert loss.batch.counted.numpy().tolist() == [False, False, True, False, True, True]
    assert loss.batch.weights.numpy().tolist() == [0, 0, 0, 0, 2, 3]
    assert np.isfinite(loss.batch.values).all()
    np.testing.assert_array_equal(loss.batch.values[2], logits[2])
    rows = np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 2, 2]]
    rows[0] = 0.0
    loss(rows, np.zeros_like(rows))
    assert loss.batch.counted.numpy().tolist() == [False, True, True, True, True, True]
    assert loss.batch.weights.numpy().tolist() == [0, 1, 1, 1, 1, 1]


def test_what_online_label_smoothing_accumulates():
    """In `fit` and in a loop of one's own: the kept samples that are right, in NumPy."""
    labels, logits = steps()
    labels %= CLASSES - 1
    p = softmax(logits.astype(np.float64), axis=-1)
    right = KEPT & (p.argmax(axis=-1) == labels)
    expected = np.stack(
        [
            p[right & (labels == k)].mean(axis=0)
            if (right & (labels == k)).any()
            else np.ones(3) / 3
            for k in range(CLASSES)
        ]
    )
    assert right.sum() > 1
    ignored = CLASSES - 1  # which the network often predicts
    of_mask = tf.constant(logits)
    of_mask._keras_mask = tf.constant(KEPT)
    given = np.where(KEPT, labels, ignored)
    zeros = np.eye(CLASSES, dtype=np.float32)[labels] * KEPT[..., None]
    one_hot = np.eye(CLASSES, dtype=np.float32)[given]
    for y, z, options in (
        (labels, of_mask, {}),
        (zeros, logits, {}),
        (given, logits, {"ignore_class": ignored}),
        (given.astype(np.uint8), logits, {"ignore_class": ignored}),
        (one_hot, logits, {"ignore_class": ignored}),
    ):
        loss = losses.OnlineLabelSmoothingLoss(CLASSES, from_logits=True, **options)
        loss.accumulate(y, z)
        loss.update_soft_labels()
        np.testing.assert_allclose(loss.soft_labels, expected, atol=1e-6)

    for y, options in ((zeros, {}), (given, {"ignore_class": ignored})):
        loss = losses.OnlineLabelSmoothingLoss(CLASSES, from_logits=True, **options)
        inside = losses.DCALoss(base=loss, from_logits=True, **options)
        # Logits are what comes in, and the weight of 1 stays.
        scale = keras.layers.EinsumDense(
            "abc,c->abc", kernel_initializer="ones", output_shape=(STEPS, CLASSES)
        )
        model = keras.Sequential([keras.Input([STEPS, CLASSES]), scale])
        model.compile(keras.optimizers.SGD(0.0), inside)
        model.fit(logits, y, callbacks=[callbacks.OnlineLabelSmoothing()], verbose=0)
        np.testing.assert_allclose(loss.soft_labels, expected, atol=1e-6)


def test_where_everything_counts_nothing_is_computed_for_it():
    labels, logits = samples(6)
    loss = Seeing(False, "sum", "seeing", "float32")

    @tf.function
    def step(y: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
        return loss(y, p)

    graph = step.get_concrete_function(tf.constant(labels), tf.constant(softmax(logits))).graph
    assert loss.batch.weights is None
    found = {node.op for node in graph.as_graph_def().node}
    assert not found & {"IsFinite", "LogicalNot", "NotEqual"}


@pytest.mark.parametrize("wrong", ["255", 2.0, True, [1]])
def test_ignored_classes_that_are_none(wrong):
    for kind in (losses.HardLabelLoss, losses.DCALoss, metrics.keras.BrierScore):
        with pytest.raises(InputError, match="ignore_class: expected an integer or None, received"):
            kind(ignore_class=wrong)


def test_a_base_ignores_what_the_loss_does():
    base = losses.FocalLoss(ignore_class=255)
    with pytest.raises(InputError, match="ignore_class: expected 255, as in base, received None"):
        losses.DCALoss(base=base)
    assert losses.DCALoss(base=base, ignore_class=255).ignore_class == 255


@every_loss
def test_the_ignored_class_is_in_the_config(name):
    loss = any_loss(name, ignore_class=np.int64(-1))
    loss = getattr(loss, "loss", loss)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.ignore_class == loss.ignore_class == -1


# --- in networks ----------------------------------------------------------------------------------

Spread = keras.initializers.RandomNormal
WEIGHTED = ["ece", "nll"]
POLICIES = ["float32", "float64", "mixed_float16", "mixed_bfloat16"]
X = np.where(KEPT, np.arange(KEPT.size).reshape(SHAPE) % 5 + 1, 0)


@pytest.fixture(scope="module", params=POLICIES)
def network(request) -> keras.Model:
    """Of a softmax over the steps, those of 0 masked."""
    keras.utils.set_random_seed(0)
    policy = {"dtype": request.param}
    return keras.Sequential(
        [
            keras.Input([STEPS]),
            keras.layers.Embedding(6, 4, "normal", mask_zero=True, **policy),
            keras.layers.Dense(CLASSES, "softmax", kernel_initializer=Spread(0.0, 9.0), **policy),
        ]
    )


def loss_dtype(model: keras.Model) -> str:
    return "float64" if model.layers[-1].compute_dtype == "float64" else "float32"


@pytest.fixture(scope="module")
def predicted(network) -> tuple[Any, Any, Any, Any]:
    """All outputs, with logits and mask, and without logits; the kept ones, likewise."""
    outputs = network(X)
    assert outputs.dtype == network.layers[-1].compute_dtype
    without = tf.identity(outputs)
    without._keras_mask = outputs._keras_mask
    kept, kept_without = (tf.boolean_mask(outputs, KEPT) for _ in range(2))
    kept._keras_logits = tf.boolean_mask(outputs._keras_logits, KEPT)
    return outputs, without, kept, kept_without


@pytest.mark.filterwarnings("ignore:.*y_pred is a softmax in")
@pytest.mark.parametrize("name", [*ONE_OF_EACH, *OF_BATCH])
def test_the_mask_of_a_network(name, network, predicted):
    """With the logits that a softmax layer leaves, and without, as in `TimeDistributed`."""
    labels, _ = steps()
    outputs, without, kept, kept_without = predicted
    loss = any_loss(name, from_logits=False, dtype=loss_dtype(network))
    loss = loss if name in NEEDS_FEATURES else loss.loss
    if "Self" in name:
        labels = losses.with_teacher_logits(labels, np.zeros([*SHAPE, CLASSES]))
    if name not in NEEDS_LOGITS:
        expected = loss(labels[KEPT], kept_without)
        np.testing.assert_allclose(loss(labels, without), expected, rtol=1e-5)
    np.testing.assert_allclose(loss(labels, outputs), loss(labels[KEPT], kept), rtol=1e-5)


def test_the_metrics_of_a_network(network):
    """In `metrics` and `weighted_metrics`: `evaluate` gives what NumPy gives on the kept steps."""
    labels, _ = steps()
    weights = np.arange(KEPT.size).reshape(SHAPE) % 3
    in_graph = network.layers[-1].compute_dtype == "float16"  # whose softmax differs there
    network.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=[make_metric(name, name=name) for name in KINDS],
        weighted_metrics=[make_metric(name, name=f"w_{name}") for name in WEIGHTED],
        run_eagerly=not in_graph,
    )
    log = network.evaluate(X, labels, sample_weight=weights, verbose=0, return_dict=True)
    outputs = (tf.function(network) if in_graph else network)(X)
    probabilities, y = outputs.numpy()[KEPT], labels[KEPT]
    if outputs.dtype == tf.bfloat16:
        # As 16 bits, which it fits into, so that rows may miss 1 by their rounding.
        probabilities = probabilities.astype(np.float32).astype(np.float16)
    repeats = np.repeat(np.arange(len(y)), weights[KEPT])
    tolerance = 1e-9 if outputs.dtype in (tf.float16, tf.bfloat16) else 1e-6
    for name in KINDS:
        expected = METRICS[name][2](y, probabilities)
        assert log[name] == pytest.approx(expected, rel=tolerance, abs=tolerance), name
    for name in WEIGHTED:
        expected = METRICS[name][2](y[repeats], probabilities[repeats])
        assert log[f"w_{name}"] == pytest.approx(expected, rel=tolerance, abs=tolerance), name


@pytest.mark.filterwarnings("ignore:.*y_pred is a softmax in")
@pytest.mark.parametrize(
    ("network", "jit_compile"), [("float64", True), ("mixed_float16", False)], indirect=["network"]
)
def test_training_with_a_mask_and_an_ignored_class(network, jit_compile):
    """A step of `fit` moves the weights as one on the kept steps alone."""
    labels, _ = steps()
    labels[2, 3] = 255
    kept = KEPT & (labels != 255)
    begin = network.get_weights()
    dtype = loss_dtype(network)
    loss = losses.DCALoss(2.0, dtype=dtype, ignore_class=255)
    network.compile(
        keras.optimizers.SGD(0.1),
        loss,
        metrics=[make_metric("ece", ignore_class=255)],
        jit_compile=jit_compile,
    )
    log = network.fit(X, labels, verbose=0, shuffle=False).history
    moved = network.get_weights()
    network.set_weights(begin)
    with tf.GradientTape() as tape:
        outputs = network(X)
        flat = tf.boolean_mask(outputs, kept)
        flat._keras_logits = tf.boolean_mask(outputs._keras_logits, kept)
        value = losses.DCALoss(2.0, dtype=dtype)(labels[kept], flat)
    gradients = tape.gradient(value, network.trainable_weights)
    tolerance = 1e-6 if dtype == "float64" else 2e-2
    assert log["loss"][0] == pytest.approx(float(value), rel=tolerance)
    for before, after, gradient in zip(begin, moved, gradients, strict=True):
        expected = 0.1 * tf.convert_to_tensor(gradient).numpy()
        np.testing.assert_allclose(before - after, expected, rtol=tolerance, atol=tolerance / 10)


# --- streaming metrics ----------------------------------------------------------------------------


@every_metric
def test_streaming_metrics_leave_out(name):
    labels, logits = steps()
    probabilities = softmax(logits.astype(np.float64), axis=-1)
    expected = METRICS[name][2](labels[KEPT], probabilities[KEPT])
    rows = np.eye(CLASSES)[labels] * KEPT[..., None]
    probabilities[~KEPT] = np.nan

    def found(y: Any, mask: Any = None, weights: Any = None, **options: Any) -> float:
        metric, p = make_metric(name, **options), tf.constant(probabilities)
        if mask is not None:
            p._keras_mask = tf.constant(mask)
        metric.update_state(y, p, weights)
        return float(metric.result())

    assert found(rows) == pytest.approx(expected, rel=1e-12)
    for ignored in (255, -1):
        y = np.where(KEPT, labels, ignored)
        assert found(y, ignore_class=ignored) == pytest.approx(expected, rel=1e-12)
        assert found(y * 1.0, ignore_class=ignored) == pytest.approx(expected, rel=1e-12)
        assert found(y, mask=KEPT) == pytest.approx(expected, rel=1e-12)
        half = KEPT & (np.arange(STEPS) != 1)
        weights = np.where(np.arange(STEPS) != 1, 2.0, 0.0) * np.ones(SHAPE)
        metric = make_metric(name)
        metric.update_state(labels[half], probabilities[half])
        both = found(y, mask=KEPT, weights=weights)
        assert both == pytest.approx(float(metric.result()), rel=1e-12)
    for y in (np.where(KEPT, labels, 255).astype(np.uint8), np.where(KEPT, labels, -1)):
        with pytest.raises(InputError, match=r"y_true: expected class ids in 0\.\.2"):
            found(y, ignore_class=254 if y.dtype == np.uint8 else None)
    one_hot = np.where(KEPT[..., None], np.eye(CLASSES)[labels % 2], np.eye(CLASSES)[2])
    metric = make_metric(name)
    metric.update_state(labels[KEPT] % 2, probabilities[KEPT])
    expected = pytest.approx(float(metric.result()), rel=1e-12)
    assert found(one_hot, ignore_class=2) == expected


@pytest.mark.parametrize("mode", COMPILED)
def test_streaming_metrics_leave_out_in_graphs_and_xla(mode):
    labels, logits = steps()
    probabilities = softmax(logits.astype(np.float64), axis=-1)
    kept = labels[KEPT], probabilities[KEPT]
    labels[~KEPT], probabilities[~KEPT] = 255, np.nan
    ignoring = {name: make_metric(name, ignore_class=255) for name in WEIGHTED}
    masking = {name: make_metric(name) for name in WEIGHTED}

    @tf.function(**COMPILED[mode])
    def update(y: tf.Tensor, p: tf.Tensor) -> None:
        outputs = tf.identity(p)
        outputs._keras_mask = tf.constant(KEPT)
        for name in WEIGHTED:
            ignoring[name].update_state(y, p)
            masking[name].update_state(y, outputs)

    update(tf.constant(labels), tf.constant(probabilities))
    for name in WEIGHTED:
        expected = METRICS[name][2](*kept)
        assert float(ignoring[name].result()) == pytest.approx(expected, rel=1e-12)
        assert float(masking[name].result()) == pytest.approx(expected, rel=1e-12)


def saturated(dtype: str) -> np.ndarray:
    """Softmaxes with 0, 1, equals, and the smallest numbers of the dtype."""
    smallest = {"float16": 6e-8, "bfloat16": 1e-40, "float32": 1e-45, "float64": 5e-324}[dtype]
    rng = np.random.default_rng(0)
    p = softmax(rng.normal(0, 200, (40, 4)), axis=-1)
    p[np.arange(40), p.argmin(axis=-1)] = np.arange(40) % 3 * smallest
    p[:4] = [1 - 1e-2, 1e-2, 0, smallest]
    return p.astype(tf.as_dtype(dtype).as_numpy_dtype)


@pytest.mark.parametrize("mode", ["eager", *COMPILED])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_saturated_softmaxes(dtype, mode):
    """TensorFlow takes numbers below the smallest normal one for 0, where NumPy does not."""
    p = saturated(dtype)
    labels = np.arange(40) % 4
    names = ["nll", "top2", "brier", "sce"] if mode != "xla" else ["nll", "top2"]
    chosen = {name: make_metric(name) for name in names}

    def update(y: Any, outputs: Any) -> None:
        for metric in chosen.values():
            metric.update_state(y, outputs)

    step = update if mode == "eager" else tf.function(update, **COMPILED[mode])
    step(tf.constant(labels), tf.constant(p))
    for name, metric in chosen.items():
        expected = METRICS[name][2](labels, p)
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-12, err_msg=name)


def test_classes_go_by_the_logits():
    """Which differ where their softmax is 0, or 1/K to the last bit."""
    logits = np.array([[900.0, 0.0, -0.0, 5.0], [0.0, 1e-20, 0.0, -2.0], [-800.0, 0.0, 0.0, -900]])
    for k in (1, 2, 3):
        for labels in np.arange(4)[:, None] * np.ones(3, int):
            metric = metrics.keras.TopKError(k, from_logits=True)
            metric.update_state(labels, logits)
            expected = metrics.top_k_error(labels, logits, k=k, from_logits=True)
            assert float(metric.result()) == pytest.approx(expected)
    ece = metrics.keras.ExpectedCalibrationError(from_logits=True)
    ece.update_state([0, 1, 1], logits)
    expected = metrics.expected_calibration_error([0, 1, 1], logits, from_logits=True)
    assert float(ece.result()) == pytest.approx(expected)


def test_callbacks_know_which_way_is_better(tmp_path):
    """`ModelCheckpoint` and `EarlyStopping` without `mode`, of every metric with a direction."""
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(4, "softmax")])
    model.compile(
        keras.optimizers.SGD(0.5),
        losses.HardLabelLoss(),
        metrics=list(map(make_metric, KINDS)),
        run_eagerly=True,
    )
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(4, size=20)
    watching = []
    for metric in map(make_metric, KINDS):
        monitor = f"val_{metric.name}"
        if metric.record.better:
            watching += [
                keras.callbacks.EarlyStopping(monitor, patience=9),
                keras.callbacks.ModelCheckpoint(
                    tmp_path / f"{metric.name}.weights.h5",
                    monitor,
                    save_best_only=True,
                    save_weights_only=True,
                ),
            ]
    data = {"x": x, "y": y, "validation_data": (x, y), "verbose": 0}
    log = model.fit(**data, epochs=2, callbacks=watching).history
    assert len(watching) >= 12
    for callback in watching:
        # All of them are errors.
        assert float(callback.best) == pytest.approx(min(log[callback.monitor]))
    undirected = keras.callbacks.EarlyStopping("val_mean_confidence")
    with pytest.raises(ValueError, match="Pass `mode='max'`"):
        model.fit(**data, callbacks=[undirected])


# --- 16 bits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_softmax_in_16_bits_is_told_once(policy):
    labels, logits = samples(6)

    def fit(*top: keras.layers.Layer, eagerly: bool = True, **options: Any) -> list[str]:
        model = keras.Sequential([keras.Input([CLASSES]), *top])
        model.compile("sgd", losses.LabelSmoothingLoss(**options), run_eagerly=eagerly)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(logits, labels, verbose=0, batch_size=4, validation_data=(logits, labels))
        return [str(one.message) for one in caught if "softmax in" in str(one.message)]

    half = {"dtype": policy}
    (told,) = fit(keras.layers.Dense(CLASSES, "softmax", **half), eagerly="bfloat" in policy)
    assert policy.removeprefix("mixed_") in told
    assert 'keras.layers.Activation("softmax", dtype="float32")' in told
    mended = (
        keras.layers.Dense(CLASSES, **half),
        keras.layers.Activation("softmax", dtype="float32"),
    )
    assert fit(*mended) == []
    assert fit(keras.layers.Dense(CLASSES, **half), from_logits=True) == []
