"""Optimizers against float64 restatements, and the epochs in which the learning rate changes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from lsplus_tf.config import Protocol
from lsplus_tf.training.optimizers import CoupledAdam, CoupledSGD, build_optimizer

START = np.array([1.0, -2.0, 0.5])
GRADIENTS = np.random.default_rng(0).normal(size=(6, 3))


def build(
    optimizer: dict[str, Any], schedule: dict[str, Any] | None = None, steps: int = 1
) -> keras.optimizers.Optimizer:
    values = {"optimizer": optimizer, "schedule": schedule, "epochs": 9, "batch_size": 1}
    return build_optimizer(Protocol.model_validate(values), steps)


def trajectory(optimizer: keras.optimizers.Optimizer) -> np.ndarray:
    """The variable after each of the steps."""
    variable = keras.Variable(START, dtype="float32")
    after = []
    for gradient in GRADIENTS:
        optimizer.apply([keras.ops.cast(gradient, "float32")], [variable])
        after.append(variable.numpy())
    return np.array(after)


def sgd_of_pytorch(lr: float, momentum: float, nesterov: bool, decay: float) -> np.ndarray:
    """`torch.optim.SGD`, from its documentation."""
    w, buffer, after = START.copy(), np.zeros(3), []
    for gradient in GRADIENTS:
        g = gradient + decay * w
        buffer = momentum * buffer + g
        w = w - lr * (g + momentum * buffer if nesterov else buffer)
        after.append(w)
    return np.array(after)


def adam_of_the_paper(lr: float, coupled: float = 0.0, decoupled: float = 0.0) -> np.ndarray:
    w, m, v, after = START.copy(), np.zeros(3), np.zeros(3), []
    for t, gradient in enumerate(GRADIENTS, start=1):
        g = gradient + coupled * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        step = lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)
        w = w - lr * decoupled * w - step
        after.append(w)
    return np.array(after)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_coupled_sgd_is_that_of_pytorch(momentum, nesterov, decay):
    settings = {
        "name": "sgd",
        "learning_rate": 0.1,
        "momentum": momentum,
        "nesterov": nesterov,
        "weight_decay": decay,
    }
    expected = sgd_of_pytorch(0.1, momentum, nesterov and momentum > 0, decay)
    np.testing.assert_allclose(trajectory(build(settings)), expected, rtol=2e-6, atol=1e-6)


def test_coupled_adam_restated():
    settings = {"name": "adam", "learning_rate": 0.1, "weight_decay": 0.3, "decoupled": False}
    expected = adam_of_the_paper(0.1, coupled=0.3)
    np.testing.assert_allclose(trajectory(build(settings)), expected, rtol=1e-5, atol=1e-6)


def test_decoupled_adam_restated():
    settings = {"name": "adam", "learning_rate": 0.1, "weight_decay": 0.3}
    expected = adam_of_the_paper(0.1, decoupled=0.3)
    np.testing.assert_allclose(trajectory(build(settings)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        ({"name": "sgd", "momentum": 0.9}, keras.optimizers.SGD(0.1, momentum=0.9)),
        (
            {"name": "sgd", "momentum": 0.5, "weight_decay": 0.3, "decoupled": True},
            keras.optimizers.SGD(0.1, momentum=0.5, weight_decay=0.3),
        ),
        ({"name": "adam"}, keras.optimizers.Adam(0.1)),
        ({"name": "adam", "weight_decay": 0.3}, keras.optimizers.AdamW(0.1, weight_decay=0.3)),
    ],
)
def test_without_coupling_they_are_kerass(settings, theirs):
    np.testing.assert_array_equal(
        trajectory(build({**settings, "learning_rate": 0.1})), trajectory(theirs)
    )


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_coupled_and_decoupled_differ(name):
    shared = {"name": name, "learning_rate": 0.1, "weight_decay": 0.3}
    coupled, decoupled = (trajectory(build({**shared, "decoupled": d})) for d in (False, True))
    assert np.abs(coupled - decoupled)[-1].min() > 1e-3


def test_sgd_is_coupled_and_adam_decoupled_unless_said_otherwise():
    assert isinstance(build({"name": "sgd", "weight_decay": 0.1}), CoupledSGD)
    adam = build({"name": "adam", "weight_decay": 0.1})
    assert not isinstance(adam, CoupledAdam)
    assert adam.weight_decay == 0.1


def test_decay_is_not_scaled_with_the_loss():
    """The loss scale of mixed_float16 is undone before the decay is added."""
    settings = {"name": "sgd", "learning_rate": 0.1, "weight_decay": 0.3}
    scaled = keras.optimizers.LossScaleOptimizer(build(settings), initial_scale=1024.0)
    variable = keras.Variable(START, dtype="float32")
    for gradient in GRADIENTS:
        scaled.apply([keras.ops.cast(gradient * 1024, "float32")], [variable])
    expected = sgd_of_pytorch(0.1, 0.9, False, 0.3)[-1]
    np.testing.assert_allclose(variable, expected, rtol=2e-6, atol=1e-6)


# --- schedule -------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 4])
def test_the_schedule_changes_with_the_first_step_of_the_named_epochs(steps):
    """With gradient 1 and plain SGD, a step is as long as the learning rate is high."""
    settings = {"name": "sgd", "learning_rate": 0.5, "momentum": 0.0}
    optimizer = build(settings, {"epochs": [2, 3, 5], "factor": 0.1}, steps)
    variable = keras.Variable(0.0, dtype="float32")
    by_epoch = []
    for _ in range(7):
        lengths = []
        for _ in range(steps):
            before = float(variable)
            optimizer.apply([keras.ops.ones(())], [variable])
            lengths.append(before - float(variable))
        by_epoch.append(lengths)
    rates = [0.5, 0.5, 0.05, 0.005, 0.005, 0.0005, 0.0005]
    np.testing.assert_allclose(by_epoch, np.array(rates)[:, None].repeat(steps, 1), rtol=1e-2)


@pytest.mark.parametrize("schedule", [None, {"epochs": []}])
def test_without_a_schedule_the_learning_rate_stays(schedule):
    optimizer = build({"name": "sgd", "learning_rate": 0.25}, schedule)
    trajectory(optimizer)
    assert float(optimizer.learning_rate) == 0.25


# --- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "sgd", "weight_decay": 0.01, "nesterov": True},
        {"name": "adam", "weight_decay": 0.01, "decoupled": False},
    ],
)
def test_a_loaded_model_goes_on_as_the_saved_one(settings, tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 1))
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(1)])
    model.compile(build(settings, {"epochs": [2], "factor": 0.5}, steps=2), "mse")
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert type(copy.optimizer) is type(model.optimizer)
    assert copy.optimizer.coupled_weight_decay == 0.01
    for m in (model, copy):
        for _ in range(4):
            m.train_on_batch(x, y)
    for ours, theirs in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
