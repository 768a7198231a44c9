"""LS++: values, gradients and steps of its matrix, against its authors' code and NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_since import CASES, SEQUENCES, Golden, assert_close
from helpers import value_and_gradient
from learned_in_numpy import of_matrix, slope_of_matrix, square, targets, trained_in_numpy
from scipy.special import softmax

from lsplus_tf import callbacks, losses
from lsplus_tf.errors import InputError
from lsplus_tf.losses import LearnedLabelSmoothingLoss
from lsplus_tf.losses.companions import rate_of
from lsplus_tf.training.optimizers import LossScaleOptimizer

GOLDEN = ["lspp_a0.1_init", "lspp_a0.1_case"]
SEQUENCES_COMPARED = {"lspp_a0.1_wd5e-4": 5e-4, "lspp_a0.1_wd0": 0.0}  # their weight decay
PLAIN = {"momentum": 0.0, "weight_decay": 0.0}  # SGD whose step is rate times gradient
RNG = np.random.default_rng(3)
CLASSES, SAMPLES = 3, 12
X = RNG.normal(0, 2, (SAMPLES, CLASSES)).astype(np.float32)
Y = np.arange(SAMPLES) % CLASSES
FIRST = RNG.normal(size=(CLASSES, CLASSES - 1)).astype(np.float32)


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


def off_diagonal(free_logits: Any) -> np.ndarray:
    values = np.asarray(tf.convert_to_tensor(free_logits))
    np.testing.assert_array_equal(values.diagonal(), 0)
    return values[~np.eye(len(values), dtype=bool)].reshape(len(values), -1)


# --- the authors' values --------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("entry", GOLDEN)
def test_values_and_gradients_are_the_authors(golden, entry, case):
    labels, logits = golden.given(case, "labels"), golden.given(case, "logits")
    num_classes = logits.shape[1]
    loss = LearnedLabelSmoothingLoss(num_classes, learning_rate=1.0, from_logits=True, **PLAIN)
    loss.is_fed = True
    first = np.zeros((num_classes, num_classes - 1), np.float32)
    if entry.endswith("case"):
        first = golden.given(case, "c_matrix")
    expected = golden.arrays[f"{entry}/{case}/grad_c_matrix_f64"]
    for given in (labels, np.eye(num_classes)[labels]):
        loss.free_logits.assign(square(first))
        assert_close(loss, given, logits, *golden.expected(entry, case))
        loss.learn(given, logits)
        # The step was the gradient; of numbers of some size, which float32 takes it from.
        found = first - off_diagonal(loss.free_logits)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2.5e-7 * max(1, abs(first).max()))


@pytest.mark.parametrize("variant", SEQUENCES_COMPARED)
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_training_is_the_authors(golden, sequence, variant):
    """Step by step, the loss of each with the matrix from before the step."""
    loss, decay = None, SEQUENCES_COMPARED[variant]
    stored = f"seq/{sequence}/{variant}"
    for epoch, logits, labels in golden.epochs(sequence):
        if loss is None:
            loss = LearnedLabelSmoothingLoss(logits.shape[-1], weight_decay=decay, from_logits=True)
            loss.is_fed = True
        values = golden.arrays[f"{stored}/train_loss_e{epoch}_f64"]
        gradients = golden.arrays[f"{stored}/train_grad_e{epoch}_f64"]
        for batch in zip(labels, logits, values, gradients, strict=True):
            assert_close(loss, *batch)
            loss.learn(*batch[:2])
        for name, found in (
            ("c_logits", off_diagonal(loss.free_logits)),
            ("c_matrix", loss.soft_labels),
        ):
            expected = golden.arrays[f"{stored}/{name}_after_e{epoch}_f64"]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def identity(num_classes: int) -> keras.Model:
    return keras.Sequential([keras.Input([num_classes]), keras.layers.Activation("linear")])


@pytest.mark.parametrize(
    "options", [{"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}], ids=str
)
@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
def test_fit_trains_as_the_authors(golden, options):
    """What `fit` measures too; its callback, in every mode."""
    logits, labels = (np.concatenate([epoch[i] for epoch in golden.epochs("k4")]) for i in (1, 2))
    stored, decay = "seq/k4/lspp_a0.1_wd5e-4", 5e-4
    loss = LearnedLabelSmoothingLoss(4, weight_decay=decay, from_logits=True)
    model, used = identity(4), callbacks.LearnedLabelSmoothing()
    model.compile(keras.optimizers.SGD(0.0), loss, **options)
    of_an_epoch = iter(zip(logits, labels, strict=True))
    steps = len(labels) // 3
    batches = tf.data.Dataset.from_generator(
        lambda: of_an_epoch,
        output_signature=(tf.TensorSpec([8, 4]), tf.TensorSpec([8], tf.int64)),
    )
    log = model.fit(batches, epochs=3, steps_per_epoch=steps, callbacks=[used], verbose=0)
    for epoch in range(3):
        after = golden.arrays[f"{stored}/c_matrix_after_e{epoch}_f64"]
        np.testing.assert_allclose(used.history[epoch], after, rtol=0, atol=1e-6)
        measured = golden.arrays[f"{stored}/train_loss_e{epoch}_f64"].mean()
        assert log.history["loss"][epoch] == pytest.approx(measured, rel=1e-6)
    np.testing.assert_array_equal(used.soft_labels, loss.soft_labels)


# --- what is computed -----------------------------------------------------------------------------


@pytest.mark.parametrize("labels_are", ["class ids", "rows", "soft"])
@pytest.mark.parametrize("from_logits", [True, False])
def test_the_network_descends_the_first_half(from_logits, labels_are):
    """With the targets fixed; against central differences, a second derivative too."""
    rows = np.eye(CLASSES)[Y]
    if labels_are == "soft":
        rows = 0.8 * rows + 0.2 * np.roll(rows, 1, axis=1)
    labels = Y if labels_are == "class ids" else rows
    loss = LearnedLabelSmoothingLoss(CLASSES, from_logits=from_logits, dtype="float64")
    loss.free_logits.assign(square(FIRST))
    loss.is_fed = True
    outputs = X.astype(np.float64) if from_logits else softmax(X.astype(np.float64), axis=1)

    def first_half(outputs: np.ndarray) -> float:
        p = softmax(outputs, axis=1) if from_logits else outputs
        mixture = rows @ targets(FIRST.astype(np.float64))
        return -0.5 * (mixture * np.log(p + 1e-6)).sum(axis=1).mean()

    direction = np.random.default_rng(5).normal(size=outputs.shape)
    ahead, behind = (outputs + sign * 1e-7 * direction for sign in (1, -1))
    _, slope = value_and_gradient(loss, labels, outputs)
    expected = (first_half(ahead) - first_half(behind)) / 2e-7
    np.testing.assert_allclose(np.sum(slope * direction), expected, rtol=1e-6)

    z = tf.Variable(outputs)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            value = loss(labels, z)
        along = tf.reduce_sum(inner.gradient(value, z) * direction)
    curvature = np.sum(outer.gradient(along, z) * direction)
    slopes = (value_and_gradient(loss, labels, end)[1] for end in (ahead, behind))
    expected = np.sum(np.subtract(*slopes) * direction) / 2e-7
    np.testing.assert_allclose(curvature, expected, rtol=1e-5)


ALL = np.ones(SAMPLES)
SOME = (np.arange(SAMPLES) % 4 != 1).astype(np.float32)


def masked(outputs: Any) -> tf.Tensor:
    outputs = tf.constant(outputs)
    outputs._keras_mask = tf.constant(SOME, tf.bool)
    return outputs


def with_nan(outputs: np.ndarray) -> np.ndarray:
    return np.where(SOME[:, None] == 1, outputs, np.nan).astype(np.float32)


WEIGHTS = np.linspace(0.5, 2.0, SAMPLES).astype(np.float32)
HARD = np.eye(CLASSES, dtype=np.float32)[Y]
# The loss's options, labels, outputs, sample weights; what a sample's loss is multiplied by.
WHAT_COUNTS: dict[str, tuple[dict[str, Any], Any, Any, Any, np.ndarray]] = {
    "a mean": ({}, Y, X, None, ALL / SAMPLES),
    "a sum": ({"reduction": "sum"}, Y, X, None, ALL),
    "each": ({"reduction": "none"}, Y, X, None, ALL),
    "weights": ({}, Y, X, WEIGHTS, WEIGHTS / SAMPLES),
    "by weight": (
        {"reduction": "mean_with_sample_weight"}, Y, X, WEIGHTS, WEIGHTS / WEIGHTS.sum(),
    ),
    "by weight, masked": (
        {"reduction": "mean_with_sample_weight"}, Y, masked(X), WEIGHTS,
        WEIGHTS * SOME / (WEIGHTS * SOME).sum(),
    ),
    "no weight": ({}, Y, with_nan(X), SOME, SOME / SAMPLES),
    "a mask": ({}, Y, masked(X), None, SOME / SOME.sum()),
    "an ignored class": (
        {"ignore_class": -1}, np.where(SOME == 1, Y, -1), X, None, SOME / SOME.sum(),
    ),
    "rows of zeros": ({}, HARD * SOME[:, None], X, None, SOME / SAMPLES),
    "rows": ({}, HARD, X, WEIGHTS, WEIGHTS / SAMPLES),
    "NaN": ({}, Y, with_nan(X), None, SOME / SAMPLES),
    "NaN, rows": ({}, HARD, with_nan(X), None, SOME / SAMPLES),
    "images": ({}, Y.reshape(2, 2, 3), X.reshape(2, 2, 3, 3), None, ALL / SAMPLES),
}  # fmt: skip


@pytest.mark.parametrize("seen", ["by itself", "within a penalty"])
@pytest.mark.parametrize("name", WHAT_COUNTS)
def test_what_counts_in_the_matrix_counts_as_in_the_loss(name, seen, monkeypatch):
    """By `learn`, and where a callback is shown it; within a penalty the penalty's settings."""
    options, labels, outputs, weights, shares = WHAT_COUNTS[name]
    mine = dict(options) if seen == "by itself" else {}
    loss = LearnedLabelSmoothingLoss(
        CLASSES, learning_rate=1.0, from_logits=seen == "by itself", **mine, **PLAIN
    )
    loss.free_logits.assign(square(FIRST))
    if seen == "by itself":
        loss.learn(labels, outputs, weights)
    else:
        loss.is_fed = True
        asked = losses.ConfidencePenaltyLoss(0.1, base=loss, from_logits=True, **options)
        monkeypatch.setattr(
            "lsplus_tf.losses.base.show", lambda of, batch: of is loss and of.learn_batch(batch)
        )
        asked(labels, outputs, weights)
    expected = FIRST - slope_of_matrix(FIRST.astype(np.float64), softmax(X, axis=1), HARD, shares)
    np.testing.assert_allclose(off_diagonal(loss.free_logits), expected, rtol=0, atol=5e-7)


def test_labels_outside_of_the_classes_are_left_out_of_what_learns():
    """As by `OnlineLabelSmoothingLoss.accumulate`."""
    loss, without = (
        LearnedLabelSmoothingLoss(CLASSES, from_logits=True, **PLAIN) for _ in range(2)
    )
    loss.learn(np.append(Y, [-1, CLASSES, 255]), np.append(X, X[:3], axis=0))
    without.learn(Y, X)
    np.testing.assert_allclose(loss.free_logits, without.free_logits, rtol=1e-6)
    assert without.free_logits.numpy().any()


def test_a_soft_label_is_a_mixture_for_the_matrix_too():
    rows = RNG.dirichlet(np.ones(CLASSES), SAMPLES).astype(np.float32)
    loss = LearnedLabelSmoothingLoss(CLASSES, learning_rate=1.0, **PLAIN)
    loss.free_logits.assign(square(FIRST))
    p = softmax(X, axis=1)
    first_half = -0.5 * ((rows @ targets(FIRST)) * np.log(p + 1e-6)).sum(axis=1).mean()
    value = first_half + of_matrix(FIRST, p, rows, 1 / SAMPLES)
    assert float(loss(rows, p)) == pytest.approx(value, rel=1e-6)
    loss.learn(rows, p)
    expected = FIRST - slope_of_matrix(FIRST.astype(np.float64), p, rows, 1 / SAMPLES)
    np.testing.assert_allclose(off_diagonal(loss.free_logits), expected, rtol=0, atol=5e-7)


def test_outputs_of_a_softmax_are_their_logits():
    logits = np.array([[200.0, 0.0, -50.0]], np.float32)
    of_softmax, of_logits = (
        LearnedLabelSmoothingLoss(CLASSES, from_logits=given) for given in (False, True)
    )
    of_softmax.learn([1], keras.activations.softmax(tf.constant(logits)))
    of_logits.learn([1], logits)
    np.testing.assert_array_equal(of_softmax.free_logits, of_logits.free_logits)
    assert of_logits.free_logits.numpy().any()
    within = LearnedLabelSmoothingLoss(CLASSES)
    within.learn([1], logits, from_logits=True)
    np.testing.assert_array_equal(within.free_logits, of_logits.free_logits)


def test_with_a_uniform_matrix_the_gradient_is_half_that_of_label_smoothing():
    alpha = 0.12
    loss = LearnedLabelSmoothingLoss(CLASSES, alpha=alpha, epsilon=1e-20, from_logits=True)
    loss.is_fed = True
    smoothing = losses.LabelSmoothingLoss(alpha * CLASSES / (CLASSES - 1), from_logits=True)
    half, whole = (value_and_gradient(each, Y, X)[1] for each in (loss, smoothing))
    np.testing.assert_allclose(2 * half, whole, rtol=1e-5, atol=1e-7)


def test_a_lost_sample_has_almost_no_gradient():
    logits = np.array([[40.0, 0.0, 0.0]], np.float32)
    loss = LearnedLabelSmoothingLoss(CLASSES, from_logits=True)
    loss.is_fed = True
    value, gradient = value_and_gradient(loss, [1], logits)
    assert 0 < value < 14  # of two logarithms of 1e-6 at most
    assert np.abs(gradient).max() < 1e-11
    assert (
        np.abs(value_and_gradient(losses.HardLabelLoss(from_logits=True), [1], logits)[1]).max()
        == 1
    )


def test_with_two_classes_nothing_can_be_learned():
    loss = LearnedLabelSmoothingLoss(2, from_logits=True)
    for _ in range(3):
        loss.learn([0, 1, 1], [[2.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    np.testing.assert_array_equal(loss.soft_labels, [[0, 1], [1, 0]])


def test_of_predictions_that_stay_it_learns_their_means():
    loss = LearnedLabelSmoothingLoss(CLASSES, learning_rate=2.0, weight_decay=0.0, dtype="float64")
    p = softmax(X / 4, axis=1)
    step = tf.function(lambda: loss.learn(Y, p))
    for _ in range(200):
        step()
    means = np.stack([p[k == Y].mean(axis=0) for k in range(CLASSES)])
    np.fill_diagonal(means, 0)
    expected = means / means.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(loss.soft_labels, expected, atol=1e-5)


# --- training -------------------------------------------------------------------------------------


class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step: Any) -> tf.Tensor:
        return 0.1 * (tf.cast(step, tf.float32) + 1.0)


class WithWeight(keras.Layer):
    """Leaves its inputs as they are; Keras trains no model without a weight."""

    def build(self, shape: Any) -> None:
        self.weight = self.add_weight(shape=())

    def call(self, inputs: Any) -> Any:
        return inputs + 0.0 * self.weight


RATES = {
    "schedule": lambda: keras.optimizers.SGD(Scaled()),
    "scaled by Keras": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(Scaled())),
    "scaled": lambda: LossScaleOptimizer(keras.optimizers.SGD(Scaled())),
}


@pytest.mark.parametrize("name", RATES)
def test_without_a_rate_of_its_own_it_has_the_networks(name):
    model = keras.Sequential([keras.Input([CLASSES]), WithWeight()])
    loss = LearnedLabelSmoothingLoss(CLASSES, learning_rate=None, from_logits=True)
    model.compile(RATES[name](), loss, jit_compile=False)
    model.fit(
        X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0,
        callbacks=[callbacks.LearnedLabelSmoothing()],
    )  # fmt: skip
    p = softmax(X, axis=1)
    batches = [(p[i : i + 4], Y[i : i + 4]) for i in (0, 4, 8)] * 2
    expected = trained_in_numpy(batches, [0.1 * (step + 1) for step in range(6)])
    np.testing.assert_allclose(off_diagonal(loss.free_logits), expected, atol=1e-6)


def test_a_rate_that_another_callback_sets_is_the_matrixs_too():
    optimizer = keras.optimizers.SGD(0.5)
    assert float(rate_of(optimizer)) == 0.5
    optimizer.learning_rate = 0.25
    assert float(rate_of(LossScaleOptimizer(optimizer))) == 0.25
    assert rate_of(None) is None


def test_without_any_rate_that_is_said():
    loss = LearnedLabelSmoothingLoss(CLASSES, learning_rate=None, from_logits=True)
    with pytest.raises(InputError, match="learning_rate: expected the rate of the network's"):
        loss.learn(Y, X)
    loss.learn(Y, X, learning_rate=0.3)
    expected = trained_in_numpy([(softmax(X, axis=1), Y)], [0.3])
    np.testing.assert_allclose(off_diagonal(loss.free_logits), expected, atol=1e-7)


def test_training_without_what_shows_it_the_batches_is_said(recwarn):
    loss = LearnedLabelSmoothingLoss(CLASSES, from_logits=True)
    model = keras.Sequential([keras.Input([CLASSES]), keras.layers.Dense(CLASSES)])
    model.compile("sgd", loss, run_eagerly=True)
    with pytest.warns(UserWarning, match=r"is being trained, .*LearnedLabelSmoothing\(\)"):
        model.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(loss.free_logits, 0)
    recwarn.clear()
    model.fit(X, Y, callbacks=[callbacks.LearnedLabelSmoothing()], verbose=0)
    in_own_loop = LearnedLabelSmoothingLoss(CLASSES, from_logits=True)
    for _ in range(2):
        value_and_gradient(in_own_loop, Y, X)
        in_own_loop.learn(Y, X)
    del in_own_loop
    assert [str(w.message) for w in recwarn] == []
    model.compile("sgd", "mse", run_eagerly=True)
    apart = callbacks.LearnedLabelSmoothing(loss)
    with pytest.warns(UserWarning, match="learned nothing in an epoch"):
        model.fit(X, X, callbacks=[apart], epochs=2, verbose=0)
    assert len(apart.history) == 2


def test_the_callback_asks_for_its_loss():
    with pytest.raises(InputError, match="soft_labels: expected after training has begun"):
        _ = callbacks.LearnedLabelSmoothing().soft_labels
    model = identity(CLASSES)
    model.compile("sgd", losses.HardLabelLoss(from_logits=True))
    with pytest.raises(InputError, match="expected a model compiled with LearnedLabelSmoothing"):
        model.fit(X, Y, callbacks=[callbacks.LearnedLabelSmoothing()], verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes"),
        ({"alpha": 1.5}, "alpha: expected a number in"),
        ({"learning_rate": -0.1}, "learning_rate: expected a number"),
        ({"momentum": 1.5}, "momentum: expected a number in"),
        ({"weight_decay": -1.0}, "weight_decay: expected a number"),
        ({"epsilon": 0.0}, "epsilon: expected a number"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(InputError, match=message):
        LearnedLabelSmoothingLoss(**{"num_classes": 3, **arguments})


@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5"])
def test_what_it_learned_is_saved_within_a_penalty_too(tmp_path, file):
    def compiled() -> tuple[keras.Model, LearnedLabelSmoothingLoss]:
        model = keras.Sequential([keras.Input([CLASSES]), keras.layers.Dense(CLASSES)])
        base = LearnedLabelSmoothingLoss(CLASSES)
        loss = losses.ConfidencePenaltyLoss(0.1, base=base, from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
        return model, base

    model, base = compiled()
    model.fit(X, Y, callbacks=[callbacks.LearnedLabelSmoothing()], verbose=0)
    if file.endswith(".keras"):
        model.save(tmp_path / file)
        restored = keras.models.load_model(tmp_path / file)
        found = restored.loss.base
    else:
        model.save_weights(tmp_path / file)
        restored, found = compiled()
        restored.load_weights(tmp_path / file)
    for _ in range(2):
        np.testing.assert_array_equal(found.free_logits, base.free_logits)
        assert base.free_logits.numpy().any()
        for each in (base, found):  # with the momentum there was
            each.learn(Y, X, from_logits=True)
