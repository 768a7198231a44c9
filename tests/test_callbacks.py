"""Online label smoothing through `fit`, against a NumPy replay of a linear softmax classifier."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

import lsplus_tf as lsp
from lsplus_tf.errors import InputError

SAMPLES, FEATURES, CLASSES, BATCH, EPOCHS, RATE, ALPHA = 70, 4, 3, 32, 3, 0.5, 0.4


pytestmark = pytest.mark.usefixtures("nondeterministic")


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1.0, (CLASSES, FEATURES))
    y = rng.integers(0, CLASSES, SAMPLES)
    return {
        "x": (centres[y] + rng.normal(size=(SAMPLES, FEATURES))).astype(np.float32),
        "y": y,
        "weights": rng.uniform(0, 2, SAMPLES).astype(np.float32),
        "kernel": rng.normal(0, 0.3, (FEATURES, CLASSES)).astype(np.float32),
    }


def replay(
    data: dict[str, np.ndarray], sample_weight: np.ndarray | None, empty_class: str = "uniform"
) -> tuple[list[np.ndarray], np.ndarray, list[float]]:
    """SGD on the OLS loss in float64: the matrix after every epoch, the kernel, epoch losses."""
    kernel = data["kernel"].astype(np.float64)
    weights = np.ones(SAMPLES) if sample_weight is None else sample_weight.astype(np.float64)
    soft = np.full((CLASSES, CLASSES), 1 / CLASSES)
    matrices, losses = [], []
    for _ in range(EPOCHS):
        sums, counts, total = np.zeros((CLASSES, CLASSES)), np.zeros(CLASSES), 0.0
        for start in range(0, SAMPLES, BATCH):
            part = slice(start, start + BATCH)
            x, y, w = data["x"][part].astype(np.float64), data["y"][part], weights[part]
            p = softmax(x @ kernel, axis=1)
            for row, label in zip(p, y, strict=True):
                if row.argmax() == label:
                    sums[label] += row
                    counts[label] += 1
            targets = ALPHA * np.eye(CLASSES)[y] + (1 - ALPHA) * soft[y]
            total += -(w[:, None] * targets * np.log(p)).sum()
            kernel -= RATE * x.T @ (w[:, None] * (p - targets)) / len(y)
        otherwise = np.full((CLASSES, CLASSES), 1 / CLASSES) if empty_class == "uniform" else soft
        means = sums / np.maximum(counts, 1)[:, None]
        soft = np.where(counts[:, None] > 0, means, otherwise)
        matrices.append(soft)
        losses.append(total / SAMPLES)
    return matrices, kernel, losses


def build(data: dict[str, np.ndarray], loss: Any, **options: Any) -> keras.Model:
    model = keras.Sequential([keras.Input([FEATURES]), keras.layers.Dense(CLASSES, use_bias=False)])
    model.set_weights([data["kernel"]])
    # XLA compiles for longer than all else takes here: only where it is what is tested.
    model.compile(keras.optimizers.SGD(RATE), loss, **{"jit_compile": False, **options})
    return model


def online(**options: Any) -> lsp.OnlineLabelSmoothingLoss:
    return lsp.OnlineLabelSmoothingLoss(CLASSES, alpha=ALPHA, from_logits=True, **options)


class NestedEvaluate(keras.callbacks.Callback):
    """What contaminated the statistics of designs that were tried before this one."""

    def __init__(self, data: dict[str, np.ndarray]) -> None:
        super().__init__()
        # Made once; of arrays, Keras makes one for every evaluation.
        self.batches = tf.data.Dataset.from_tensor_slices((data["x"], data["y"])).batch(BATCH)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.evaluate(self.batches, verbose=0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.evaluate(self.batches, verbose=0)


@pytest.mark.parametrize(
    ("compile_options", "fit_options"),
    [
        pytest.param({}, {}, id="graph"),
        pytest.param({"run_eagerly": True}, {}, id="eager"),
        pytest.param({"steps_per_execution": 2}, {}, id="steps-per-execution"),
        # Where it is the data that differ, without tracing a graph.
        pytest.param({"run_eagerly": True}, {"validation": True}, id="validation-data"),
        pytest.param({"run_eagerly": True}, {"sample_weight": True}, id="sample-weight"),
        pytest.param({}, {"nested": True}, id="nested-evaluate"),
        pytest.param({"run_eagerly": True}, {"dataset": True}, id="tf-data"),
        pytest.param({"run_eagerly": True}, {"class_weight": True}, id="class-weight"),
        pytest.param({"run_eagerly": True}, {"onehot": True}, id="one-hot"),
        pytest.param(
            {"steps_per_execution": 2, "jit_compile": True},
            {"validation": True, "sample_weight": True, "nested": True},
            id="all-xla",
        ),
    ],
)
def test_fit_gives_the_soft_labels_of_a_replay(data, compile_options, fit_options):
    callback = lsp.OnlineLabelSmoothing()
    model = build(data, online(), **compile_options)
    options: dict[str, Any] = {"callbacks": [callback]}
    weights = None
    if "nested" in fit_options:
        # On both sides of the callback, since each order hides other mistakes.
        options["callbacks"] = [NestedEvaluate(data), callback, NestedEvaluate(data)]
    if "validation" in fit_options:
        bad = np.full_like(data["x"], np.nan)  # must not reach the statistics
        options["validation_data"] = (bad, data["y"])
    if "sample_weight" in fit_options:
        weights = options["sample_weight"] = data["weights"]
    if "class_weight" in fit_options:
        options["class_weight"] = {0: 0.5, 1: 1.0, 2: 2.0}
        weights = np.array([0.5, 1.0, 2.0])[data["y"]]
    y = np.eye(CLASSES)[data["y"]] if "onehot" in fit_options else data["y"]
    if "dataset" in fit_options:
        arguments: tuple[Any, ...] = (
            tf.data.Dataset.from_tensor_slices((data["x"], y)).batch(BATCH),
        )
    else:
        arguments = (data["x"], y)
        options |= {"batch_size": BATCH, "shuffle": False}
    history = model.fit(*arguments, epochs=EPOCHS, verbose=0, **options).history
    assert model.jit_compile == compile_options.get("jit_compile", False)

    matrices, kernel, losses = replay(data, weights)
    assert len(callback.history) == EPOCHS
    np.testing.assert_allclose(callback.history, matrices, atol=2e-6)
    np.testing.assert_allclose(callback.soft_labels, matrices[-1], atol=2e-6)
    np.testing.assert_allclose(model.get_weights()[0], kernel, atol=1e-5)
    if "nested" not in fit_options:  # Keras's own loss tracker is reset by a nested evaluate
        np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)


def test_weights_are_the_same_bits_with_and_without_accumulation(data):
    """In the first epoch the soft labels are uniform either way."""
    weights = []
    for callbacks in ([lsp.OnlineLabelSmoothing()], []):
        model = build(data, online())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(data["x"], data["y"], BATCH, callbacks=callbacks, shuffle=False, verbose=0)
        weights.append(model.get_weights()[0])
    np.testing.assert_array_equal(*weights)


def test_forgetting_the_callback_is_said(data):
    model = build(data, online(), run_eagerly=True)
    with pytest.warns(UserWarning, match=r"callbacks=\[lsplus_tf.callbacks.OnlineLabelSmoothing"):
        model.fit(data["x"], data["y"], verbose=0)


def test_forgetting_the_callback_the_second_time_is_said_too(data):
    model = build(data, online())
    callback = lsp.OnlineLabelSmoothing()
    model.fit(data["x"], data["y"], callbacks=[callback], verbose=0)
    before = callback.soft_labels
    with pytest.warns(UserWarning, match="nothing accumulates its soft labels"):
        model.fit(data["x"], data["y"], verbose=0)
    np.testing.assert_array_equal(callback.soft_labels, before)
    assert "train_step" not in vars(model)


def test_a_training_that_was_interrupted_does_not_count_twice(data):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            raise KeyboardInterrupt

    model = build(data, online())
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            data["x"], data["y"], BATCH, callbacks=[lsp.OnlineLabelSmoothing(), Interrupt()],
            verbose=0,
        )  # fmt: skip
    model.set_weights([data["kernel"]])
    callback = lsp.OnlineLabelSmoothing()
    model.fit(data["x"], data["y"], BATCH, EPOCHS, callbacks=[callback], shuffle=False, verbose=0)
    np.testing.assert_allclose(callback.history, replay(data, None)[0], atol=2e-6)


def test_one_of_several_outputs(data):
    inputs = keras.Input([FEATURES])
    a = keras.layers.Dense(CLASSES, use_bias=False, name="a")(inputs)
    b = keras.layers.Dense(1, name="b")(inputs)
    model = keras.Model(inputs, {"a": a, "b": b})
    model.get_layer("a").set_weights([data["kernel"]])
    losses = {"a": online(), "b": "mse"}
    model.compile(keras.optimizers.SGD(RATE), losses, run_eagerly=True)
    callback = lsp.OnlineLabelSmoothing()
    targets = {"a": data["y"], "b": np.zeros((SAMPLES, 1), np.float32)}
    model.fit(data["x"], targets, BATCH, EPOCHS, callbacks=[callback], shuffle=False, verbose=0)
    np.testing.assert_allclose(callback.history, replay(data, None)[0], atol=2e-6)


def test_a_softmax_output_gives_the_same(data):
    model = keras.Sequential(
        [
            keras.Input([FEATURES]),
            keras.layers.Dense(CLASSES, use_bias=False, activation="softmax"),
        ]
    )
    model.set_weights([data["kernel"]])
    loss = lsp.OnlineLabelSmoothingLoss(CLASSES, alpha=ALPHA)
    model.compile(keras.optimizers.SGD(RATE), loss, run_eagerly=True)
    callback = lsp.OnlineLabelSmoothing()
    model.fit(data["x"], data["y"], BATCH, EPOCHS, callbacks=[callback], shuffle=False, verbose=0)
    np.testing.assert_allclose(callback.history, replay(data, None)[0], atol=2e-6)


def test_a_class_that_is_never_right_gets_what_was_chosen(data):
    flipped = {**data, "y": np.where(data["y"] == 2, 0, data["y"])}
    flipped["y"][:2] = 2  # too few to be learnt
    for empty_class in ("uniform", "keep"):
        callback = lsp.OnlineLabelSmoothing()
        model = build(flipped, online(empty_class=empty_class), run_eagerly=True)
        model.fit(
            flipped["x"], flipped["y"], BATCH, EPOCHS, callbacks=[callback], shuffle=False,
            verbose=0,
        )  # fmt: skip
        expected = replay(flipped, None, empty_class)[0]
        np.testing.assert_allclose(callback.history, expected, atol=2e-6)
        np.testing.assert_allclose(expected[-1][2], 1 / 3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_state_and_loss_in_float32(data, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        for logits_dtype in ("float32", None):
            model = keras.Sequential(
                [keras.Input([FEATURES]), keras.layers.Dense(CLASSES, dtype=logits_dtype)]
            )
            loss = online()
            model.compile("sgd", loss, run_eagerly=True)
            history = model.fit(
                data["x"], data["y"], callbacks=[lsp.OnlineLabelSmoothing()], verbose=0
            ).history
            assert np.isfinite(history["loss"]).all()
            assert loss.dtype == "float32"
            assert loss.soft_labels.dtype == loss._sums.dtype == tf.float32
            np.testing.assert_allclose(loss.soft_labels.numpy().sum(axis=1), 1.0, atol=1e-5)
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("loss", [lsp.HardLabelLoss(from_logits=True), "mse"])
def test_another_loss_is_refused(data, loss):
    model = build(data, loss)
    with pytest.raises(InputError, match="expected a model compiled with OnlineLabelSmoothing"):
        model.fit(data["x"], data["y"], callbacks=[lsp.OnlineLabelSmoothing()], verbose=0)


@pytest.mark.parametrize("compiled", [list, tuple])
def test_several_losses_for_one_output_are_refused(data, compiled):
    """Keras asks all of them, and trains with the first alone."""
    model = build(data, compiled([lsp.HardLabelLoss(from_logits=True), online()]))
    with pytest.raises(InputError, match=r"for each output of the model, 1, received a list of 2"):
        model.fit(data["x"], data["y"], callbacks=[lsp.OnlineLabelSmoothing()], verbose=0)


def test_losses_that_a_function_adds_up(data):
    hard, soft = lsp.HardLabelLoss(from_logits=True), online()
    model = build(data, lambda y_true, y_pred: hard(y_true, y_pred) + soft(y_true, y_pred))
    callback = lsp.OnlineLabelSmoothing(loss=soft)
    with pytest.warns(UserWarning, match="Keras does not save what it learns"):
        model.fit(data["x"], data["y"], callbacks=[callback], verbose=0)
    assert np.ptp(callback.soft_labels) > 0.01  # which begin uniform


def test_soft_labels_before_training():
    with pytest.raises(InputError, match="soft_labels: expected after training has begun"):
        _ = lsp.OnlineLabelSmoothing().soft_labels
