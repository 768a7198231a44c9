"""Soft labels, refreshed priors and confusion penalties in every way that Keras is used.

Against a replay in NumPy: the learning rate is 0, so that predictions stay.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

import lsplus_tf as lsp
from lsplus_tf import callbacks, losses, priors

pytestmark = pytest.mark.usefixtures("nondeterministic")

SAMPLES, CLASSES, BATCH = 96, 3, 16
rng = np.random.default_rng(0)
X = rng.normal(size=(SAMPLES, 4)).astype(np.float32)
Y = rng.integers(0, CLASSES, SAMPLES)
KERNELS = [rng.normal(size=(4, CLASSES)).astype(np.float32) for _ in range(2)]
VALID_X = rng.normal(size=(40, 4)).astype(np.float32)
VALID_Y = np.arange(40) % CLASSES


def mean_softmax(kernel: np.ndarray, x: np.ndarray = X, y: np.ndarray = Y) -> np.ndarray:
    """Of the correctly predicted samples of each class."""
    p = softmax(x.astype(np.float64) @ kernel.astype(np.float64), axis=1)
    right = p.argmax(axis=1) == y
    return np.stack([p[right & (y == k)].mean(axis=0) for k in range(CLASSES)])


def confusion(kernel: np.ndarray) -> np.ndarray:
    counts = np.zeros((CLASSES, CLASSES))
    np.add.at(counts, (VALID_Y, (VALID_X @ kernel).argmax(axis=1)), 1)
    return counts


def shares_of_errors(kernel: np.ndarray) -> np.ndarray:
    counts = confusion(kernel)
    np.fill_diagonal(counts, 0)
    return counts / counts.sum(axis=1, keepdims=True)


def refreshed(kernel: np.ndarray) -> np.ndarray:
    counts = confusion(kernel)
    return priors.informed_prior(counts.diagonal() / counts.sum(axis=1))


class Method:
    """A loss, its callback, what it holds, and the replay of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.callback = {
            "online": callbacks.OnlineLabelSmoothing,
            "confusion": callbacks.ConfusionPenalty,
            "refreshed": callbacks.PriorRefresh,
        }[name]()

    def loss(self, **options: Any) -> Any:
        if self.name == "refreshed":
            return losses.LSPlusLoss(priors.uniform_prior(CLASSES), **options)
        kinds = {
            "online": losses.OnlineLabelSmoothingLoss,
            "confusion": losses.ConfusionPenaltyLoss,
        }
        return kinds[self.name](CLASSES, **options)

    def held(self, loss: Any) -> np.ndarray:
        return loss.prior if self.name == "refreshed" else loss.soft_labels.numpy()

    def replay(self, kernel: np.ndarray) -> np.ndarray:
        replays = {"online": mean_softmax, "confusion": shares_of_errors, "refreshed": refreshed}
        return replays[self.name](kernel)


class GuidesTestStep:
    """As Keras's guide to steps of one's own has it: `training` is not said."""

    def test_step(self, data):
        x, y = data
        y_pred = self(x, training=False)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        return {"loss": loss}


class TrainStepWithSelfLoss:
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            total = sum(
                loss(target, output)
                for loss, target, output in zip(
                    *map(keras.tree.flatten, (self.loss, y, y_pred)), strict=True
                )
            )
        gradients = tape.gradient(total, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": total}


class ComputeLossOfOnesOwn:
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 2.0 * super().compute_loss(x, y, y_pred, sample_weight, training=training)


STEPS: dict[str, tuple[type, ...]] = {
    "default": (),
    "test_step": (GuidesTestStep,),
    "train_step": (TrainStepWithSelfLoss,),
    "compute_loss": (ComputeLossOfOnesOwn,),
}
EXECUTION: dict[str, dict[str, Any]] = {
    "graph": {},
    "eager": {"run_eagerly": True},
    "xla": {"jit_compile": True},
    "steps_per_execution": {"steps_per_execution": 3},
}
SEVERAL = ["list", "dict"]
STRUCTURES = ["functional", "subclassed", "nested", "one-element list", "one-element dict", *SEVERAL]
NAMES = ["a", "b"]


def dense(place: int) -> keras.layers.Dense:
    layer = keras.layers.Dense(CLASSES, use_bias=False, activation="softmax", name=NAMES[place])
    layer.build((None, 4))
    layer.kernel.assign(KERNELS[place])
    return layer


def build(structure: str, step: str) -> keras.Model:
    bases = STEPS[step]
    if structure == "subclassed":

        class Subclassed(*bases, keras.Model):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.layer = dense(0)

            def call(self, x):
                return self.layer(x)

        return Subclassed()
    inputs = keras.Input([4])
    if structure == "nested":
        inner = keras.Sequential([keras.Input([4]), dense(0)], name="a")
        outputs: Any = keras.Model(inputs, inner(inputs), name="a")(inputs)
    elif structure == "functional":
        outputs = dense(0)(inputs)
    elif structure == "one-element list":
        outputs = [dense(0)(inputs)]
    elif structure == "one-element dict":
        outputs = {"a": dense(0)(inputs)}
    elif structure == "list":
        outputs = [dense(i)(inputs) for i in range(2)]
    else:
        outputs = {NAMES[i]: dense(i)(inputs) for i in range(2)}

    class Functional(*bases, keras.Model):  # type: ignore[misc]
        pass

    return Functional(inputs, outputs)


def nested_as(kind: str, values: list[Any]) -> Any:
    if kind == "dict":
        return dict(zip(NAMES, values, strict=False))
    if kind == "list" or len(values) > 1:
        return list(values)
    return values[0]


class Evaluates(keras.callbacks.Callback):
    """On training data, from within it, which is neither training nor the validation."""

    def __init__(self, x: Any, y: Any) -> None:
        super().__init__()
        self.data = x, y

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.evaluate(*self.data, verbose=0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.evaluate(*self.data, verbose=0)


def fit(model: keras.Model, y: Any, y_valid: Any, used: list[Any], nested: bool, **options: Any):
    if nested:
        used = [Evaluates(X[:20], keras.tree.map_structure(lambda t: t[:20], y)), *used]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*structure of|.*keys", UserWarning)
        model.fit(
            X, y, BATCH, validation_data=(VALID_X, y_valid), callbacks=used,
            shuffle=False, verbose=0, **options,
        )  # fmt: skip


def keras_accepts(structure: str, loss: str, labels: str, execution: str, step: str) -> bool:
    """Whether Keras trains so with a loss of its own."""
    model, count = build(structure, step), 2 if structure in SEVERAL else 1
    plain = [keras.losses.SparseCategoricalCrossentropy() for _ in range(count)]
    model.compile("sgd", nested_as(loss, plain), **{"jit_compile": False, **EXECUTION[execution]})
    try:
        fit(model, *(nested_as(labels, [y] * count) for y in (Y, VALID_Y)), [], nested=False)
    except Exception:
        return False
    return True


def check(name: str, structure: str, loss: str, labels: str, execution: str, step: str) -> None:
    method, model = Method(name), build(structure, step)
    count = 2 if structure in SEVERAL else 1
    mine = [method.loss() for _ in range(count)]
    options = {"jit_compile": False, **EXECUTION[execution]}
    model.compile(keras.optimizers.SGD(0.0), nested_as(loss, mine), **options)
    y, y_valid = (nested_as(labels, [y] * count) for y in (Y, VALID_Y))
    fit(model, y, y_valid, [method.callback], nested=True)
    for each, kernel in zip(mine, KERNELS, strict=False):
        np.testing.assert_allclose(method.held(each), method.replay(kernel), atol=1e-6)
    if name != "refreshed":
        found = method.callback.soft_labels
        expected = [method.replay(kernel) for kernel in KERNELS[:count]]
        np.testing.assert_allclose(found, expected[0] if count == 1 else expected, atol=1e-6)


NESTINGS = [
    (structure, loss, labels)
    for structure, loss, labels in itertools.product(STRUCTURES, *[["plain", "list", "dict"]] * 2)
    if structure not in SEVERAL or "plain" not in (loss, labels)
]
