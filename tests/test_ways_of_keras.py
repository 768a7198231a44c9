"""Losses that change between epochs in every way that Keras is used.

Against a replay in NumPy: the learning rate is 0, so that predictions stay.
"""

from __future__ import annotations

import copy
import functools
import gc
import itertools
import textwrap
import warnings
from pathlib import Path
from typing import Any

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
from learned_in_numpy import matrix, trained_in_numpy
from scipy.special import softmax

import lsplus_tf as lsp
from lsplus_tf import callbacks, losses, priors
from lsplus_tf.errors import InputError

pytestmark = pytest.mark.usefixtures("nondeterministic")

SAMPLES, CLASSES, BATCH = 96, 3, 32
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


def learned(kernel: np.ndarray) -> np.ndarray:
    """After a step with every batch."""
    p = softmax(X.astype(np.float64) @ kernel.astype(np.float64), axis=1)
    starts = range(0, SAMPLES, BATCH)
    batches = [(p[start : start + BATCH], Y[start : start + BATCH]) for start in starts]
    return matrix(trained_in_numpy(batches, [0.1] * len(batches)))


def multipliers(kernel: np.ndarray) -> np.ndarray:
    """Those of CALS by its defaults but for a margin of 0.5, then the mean constraints."""
    logits = VALID_X.astype(np.float64) @ kernel.astype(np.float64)
    h = (logits.max(axis=1, keepdims=True) - logits - 0.5) / 0.5
    return np.concatenate([np.maximum(1e-6 + h, 1e-6).mean(axis=0), h.mean(axis=0)])


def gammas(kernel: np.ndarray) -> np.ndarray:
    """Those of AdaFocal with three bins, then the edges and the gaps."""
    p = softmax(VALID_X.astype(np.float64) @ kernel.astype(np.float64), axis=1)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == VALID_Y
    n = len(confidence)
    edges = np.interp(np.arange(4) * n / 3, np.arange(n), np.sort(confidence))
    inside = [(confidence > a) & (confidence <= b) for a, b in itertools.pairwise(edges)]
    gaps = np.array([confidence[of].mean() - right[of].mean() for of in inside])
    return np.concatenate([np.exp(gaps), edges, gaps])


class Method:
    """A loss, its callback, what it holds, and the replay of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.callback = {
            "online": callbacks.OnlineLabelSmoothing,
            "confusion": callbacks.ConfusionPenalty,
            "refreshed": callbacks.PriorRefresh,
            "learned": callbacks.LearnedLabelSmoothing,
            "cals": callbacks.ValidationFeedback,
            "adaptive": callbacks.ValidationFeedback,
        }[name]()

    def loss(self, **options: Any) -> Any:
        if self.name == "refreshed":
            return losses.LSPlusLoss(priors.uniform_prior(CLASSES), **options)
        kinds: dict[str, Any] = {
            "online": losses.OnlineLabelSmoothingLoss,
            "confusion": losses.ConfusionPenaltyLoss,
            "learned": losses.LearnedLabelSmoothingLoss,
            "cals": functools.partial(losses.CALSLoss, margin=0.5),
            "adaptive": losses.AdaptiveFocalLoss,  # with bins, not classes
        }
        return kinds[self.name](CLASSES, **options)

    def held(self, loss: Any) -> np.ndarray:
        if self.name == "cals":
            return np.concatenate([loss.multipliers, loss.constraints])
        if self.name == "adaptive":
            return np.concatenate([loss.gammas, loss.bin_edges, loss.gaps])
        return loss.prior if self.name == "refreshed" else loss.soft_labels.numpy()

    def replay(self, kernel: np.ndarray) -> np.ndarray:
        replays = {
            "online": mean_softmax,
            "confusion": shares_of_errors,
            "refreshed": refreshed,
            "learned": learned,
            "cals": multipliers,
            "adaptive": gammas,
        }
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
    "steps_per_execution": {"steps_per_execution": 2},  # of three steps
}
SEVERAL = ["list", "dict"]
ONE = ["functional", "subclassed", "nested", "one-element list", "one-element dict"]
NAMES = ["a", "b"]


def dense(place: int, name: str | None = None) -> keras.layers.Dense:
    name = name or NAMES[place]
    layer = keras.layers.Dense(CLASSES, use_bias=False, activation="softmax", name=name)
    layer.build((None, 4))
    layer.kernel.assign(KERNELS[place])
    return layer


def build(structure: str, step: str) -> keras.Model:
    bases = STEPS[step]
    if structure == "subclassed":

        class Subclassed(*bases, keras.Model):
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
    return functional(inputs, outputs, step)


def functional(inputs: Any, outputs: Any, step: str) -> keras.Model:
    if not (bases := STEPS[step]):
        return keras.Model(inputs, outputs)

    class Functional(*bases, keras.Model):
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
        # Made once; of arrays, Keras makes one for every evaluation, with tuples for lists too.
        labels = tuple(y) if isinstance(y, list) else y
        self.batches = tf.data.Dataset.from_tensor_slices((x, labels)).batch(BATCH)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.evaluate(self.batches, verbose=0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.evaluate(self.batches, verbose=0)


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
    if name in ("online", "confusion"):
        found = method.callback.soft_labels
        expected = [method.replay(kernel) for kernel in KERNELS[:count]]
        np.testing.assert_allclose(found, expected[0] if count == 1 else expected, atol=1e-6)


NESTINGS = [
    (structure, loss, labels)
    for structure, loss, labels in itertools.product(
        [*ONE, *SEVERAL], *[["plain", "list", "dict"]] * 2
    )
    if structure not in SEVERAL or "plain" not in (loss, labels)
]
METHODS = ["online", "confusion", "refreshed", "learned", "cals", "adaptive"]
MECHANISMS = [name for name in METHODS if name != "cals"]  # AdaFocal's
WAYS = list(itertools.product(METHODS, NESTINGS, EXECUTION, STEPS))
# A few of them; `make slow` goes through all. XLA, which compiles for long, has a test of its own.
WITHOUT_XLA = [way for way in WAYS if way[2] != "xla"]
FEW = [WITHOUT_XLA[i] for i in np.random.default_rng(1).choice(len(WITHOUT_XLA), 8, replace=False)]


def check_if_keras_accepts(ways: list[tuple[Any, ...]]) -> int:
    accepted = {}
    for name, nesting, execution, step in ways:
        if nesting not in accepted:
            accepted[nesting] = keras_accepts(*nesting, "eager", "default")
        if accepted[nesting]:
            check(name, *nesting, execution, step)
            keras.backend.clear_session()
    return sum(accepted.values())


@pytest.mark.parametrize("part", range(2))
def test_ways_drawn_at_random(part):
    assert check_if_keras_accepts(FEW[part::2])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "execution"), list(itertools.product(METHODS, EXECUTION)))
def test_all_ways(name, execution):
    ways = [way for way in WAYS if (way[0], way[2]) == (name, execution)]
    assert check_if_keras_accepts(ways) == 39


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_method_with_one_output(name):
    check(name, "functional", "list", "plain", "eager", "default")


def check_together(names: list[str], places: int, execution: str, step: str) -> None:
    """A model with an output for each kernel and method, whose step is traced once for all."""
    inputs, methods = keras.Input([4]), [Method(name) for name in names]
    outputs, held = {}, {}
    for method, place in itertools.product(methods, range(places)):
        name = f"{method.name}_{place}"
        outputs[name] = dense(place, name)(inputs)
        held[name] = method, method.loss(), KERNELS[place]
    model = functional(inputs, outputs, step)
    options = {"jit_compile": False, **EXECUTION[execution]}
    mine = {name: loss for name, (_, loss, _) in held.items()}
    model.compile(keras.optimizers.SGD(0.0), mine, **options)
    used = {type(method.callback): method.callback for method in methods}
    y, y_valid = dict.fromkeys(mine, Y), dict.fromkeys(mine, VALID_Y)
    fit(model, y, y_valid, [*used.values()], nested=True)
    for method, loss, kernel in held.values():
        np.testing.assert_allclose(method.held(loss), method.replay(kernel), atol=1e-6)
    for method in methods:
        if method.name in ("online", "confusion"):
            found = method.callback.soft_labels
            expected = [method.replay(kernel) for kernel in KERNELS[:places]]
            np.testing.assert_allclose(found, expected[0] if places == 1 else expected, atol=1e-6)


@pytest.mark.parametrize("step", STEPS)
def test_every_step(step):
    check_together(MECHANISMS, 1, "graph", step)


@pytest.mark.parametrize(("execution", "places"), [("xla", 1), ("steps_per_execution", 2)])
def test_every_execution_with_several_outputs(execution, places):
    check_together(["online", "cals", "adaptive"], places, execution, "default")


# --- losses that the model was not compiled with --------------------------------------------------


class Within(keras.losses.Loss):
    """A loss of one's own around another."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def call(self, y_true, y_pred):
        return 3.0 * self.inner(y_true, y_pred)


class HoldsALoss:
    """An object that Keras can call, and no loss of Keras."""

    def __init__(self, inner: Any) -> None:
        self.inner = {"of this object": [inner]}

    def __call__(self, y_true, y_pred):
        return self.inner["of this object"][0](y_true, y_pred)


class OfATrainer:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def loss(self, y_true, y_pred):
        return self.inner(y_true, y_pred)


def a_global_loss(y_true, y_pred):
    return globals()["hidden"](y_true, y_pred)


class Distiller(keras.Model):
    """Holds a student and the loss; compiled without one."""

    def __init__(self, student: keras.Model, inner: Any) -> None:
        super().__init__()
        self.student, self.inner = student, inner

    def call(self, x):
        return self.student(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 0.5 * self.inner(y, y_pred)


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize(
    "way", ["penalty", "within", "distiller", "function", "object", "method", "given"]
)
def test_a_loss_inside_of_something(name, way, monkeypatch):
    method, model = Method(name), build("functional", "default")
    inner = method.loss()
    compiled: Any = {
        "penalty": lambda: losses.ConfidencePenaltyLoss(weight=0.1, base=inner),
        "within": lambda: Within(inner),
        "distiller": lambda: None,
        "function": lambda: functools.partial(lambda y_true, y_pred: inner(y_true, y_pred)),
        "object": lambda: HoldsALoss(inner),
        "method": lambda: OfATrainer(inner).loss,
        "given": lambda: a_global_loss,
    }[way]()
    if way == "distiller":
        model = Distiller(model, inner)
    if way == "given":
        monkeypatch.setitem(globals(), "hidden", inner)
        method.callback = type(method.callback)(loss=inner)
    model.compile(keras.optimizers.SGD(0.0), compiled, run_eagerly=True, jit_compile=False)
    fit(model, Y, VALID_Y, [method.callback], nested=False)
    np.testing.assert_allclose(method.held(inner), method.replay(KERNELS[0]), atol=1e-6)


def test_two_heads_with_a_callback_each():
    model = build("list", "default")
    mine = [losses.OnlineLabelSmoothingLoss(CLASSES) for _ in range(2)]
    used = [callbacks.OnlineLabelSmoothing(loss) for loss in mine]
    model.compile(keras.optimizers.SGD(0.0), mine, run_eagerly=True)
    fit(model, [Y, Y], [VALID_Y, VALID_Y], used, nested=False)
    for callback, kernel in zip(used, KERNELS, strict=True):
        np.testing.assert_allclose(callback.soft_labels, mean_softmax(kernel), atol=1e-6)
    with pytest.raises(InputError, match="expected one OnlineLabelSmoothing for a loss"):
        fit(model, [Y, Y], [VALID_Y] * 2, [*used, callbacks.OnlineLabelSmoothing()], nested=False)
    with pytest.raises(InputError, match=r"loss: expected LSPlusLoss, received loss: Online"):
        callbacks.PriorRefresh(loss=mine[0])


def test_steps_that_were_replaced_come_back():
    model = build("functional", "default")
    model.compile("sgd", losses.OnlineLabelSmoothingLoss(CLASSES), run_eagerly=True)
    model.train_step = mine = functools.partial(keras.Model.train_step, model)
    fit(model, Y, VALID_Y, [callbacks.OnlineLabelSmoothing()], nested=False)
    assert model.train_step is mine
    assert not {"test_step", "get_metrics_result"} & set(vars(model))


def test_a_loss_in_a_function_is_not_saved_and_that_is_said():
    inner = losses.OnlineLabelSmoothingLoss(CLASSES)
    model = build("functional", "default")
    model.compile("sgd", lambda y, p, loss=inner: loss(y, p), run_eagerly=True)
    with pytest.warns(UserWarning, match="online_label_smoothing: Keras does not save what it"):
        model.fit(X, Y, callbacks=[callbacks.OnlineLabelSmoothing()], verbose=0)
    np.testing.assert_allclose(inner.soft_labels.numpy().sum(axis=1), 1.0, atol=1e-6)


def test_what_a_model_within_was_compiled_with_is_its_own():
    teacher, model = build("functional", "default"), build("functional", "default")
    of_teacher, mine = (losses.OnlineLabelSmoothingLoss(CLASSES) for _ in range(2))
    teacher.compile("sgd", of_teacher)
    distiller = Distiller(model, mine)
    distiller.teacher = teacher
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    callback = callbacks.OnlineLabelSmoothing()
    distiller.fit(X, Y, callbacks=[callback], verbose=0)
    assert [*map(id, callback.losses)] == [id(mine)]
    np.testing.assert_allclose(callback.soft_labels, mean_softmax(KERNELS[0]), atol=1e-6)
    np.testing.assert_allclose(of_teacher.soft_labels, 1 / CLASSES)
    # Where it is meant, it is given; and saved it is.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        callback = callbacks.OnlineLabelSmoothing(of_teacher)
        callback.set_model(distiller)
        callback.on_train_begin()
        callback.on_train_end()


class Evaluating(keras.utils.PyDataset):
    """Evaluates the model in the middle of an epoch, past all callbacks."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model

    def __len__(self) -> int:
        return SAMPLES // BATCH

    def __getitem__(self, i: int):
        return X[i * BATCH : (i + 1) * BATCH], Y[i * BATCH : (i + 1) * BATCH]

    def on_epoch_begin(self) -> None:
        self.model.evaluate(VALID_X, VALID_Y, verbose=0)


def test_data_that_evaluate_the_model():
    model = build("functional", "default")
    loss = losses.OnlineLabelSmoothingLoss(CLASSES)
    model.compile(keras.optimizers.SGD(0.0), loss, jit_compile=False)
    model.events = Within(None)
    model.events.observers = []  # an attribute of the user's
    callback = callbacks.OnlineLabelSmoothing()
    model.fit(Evaluating(model), callbacks=[callback], epochs=2, verbose=0)
    np.testing.assert_allclose(callback.soft_labels, mean_softmax(KERNELS[0]), atol=1e-6)
    assert model.events.observers == []


class Fits(keras.callbacks.Callback):
    """The model in training, once, from within its training."""

    def __init__(self, moment: str, **options: Any) -> None:
        super().__init__()
        self.options: dict[str, Any] | None = options
        setattr(self, moment, self.fit)

    def fit(self, *_: Any, **__: Any) -> None:
        options, self.options = self.options, None
        if options is not None:
            self.model.fit(X, Y, BATCH, verbose=0, **options)


@pytest.mark.parametrize("name", ["online", "confusion", "refreshed"])
@pytest.mark.parametrize("moment", ["on_train_batch_end", "on_epoch_end"])
def test_a_fit_within_a_fit(name, moment):
    """Its samples are those of the epoch once more; the outer one's callbacks go on."""
    method, model = Method(name), build("functional", "default")
    loss = method.loss()
    eager = (name, moment) != ("online", "on_train_batch_end")
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=eager, jit_compile=False)
    used = [method.callback, Fits(moment, validation_data=(X, Y))]
    fit(model, Y, VALID_Y, used, nested=False, epochs=2)
    np.testing.assert_allclose(method.held(loss), method.replay(KERNELS[0]), atol=1e-6)
    assert len(method.callback.history) == 2
    assert not {"train_step", "test_step", "get_metrics_result"} & set(vars(model))


@pytest.mark.parametrize("same", [True, False])
def test_a_fit_within_a_fit_has_no_callback_for_the_same_loss(same):
    model, callback = build("functional", "default"), callbacks.OnlineLabelSmoothing()
    model.compile("sgd", losses.OnlineLabelSmoothingLoss(CLASSES), run_eagerly=True)
    inner = Fits("on_epoch_end", callbacks=[callback if same else copy.copy(callback)])
    with pytest.raises(InputError, match="one of a fit that has called this one; leave it out"):
        fit(model, Y, VALID_Y, [callback, inner], nested=False)
    fit(model, Y, VALID_Y, [inner], nested=False)
    # The outer one goes on after one within it that has a callback alone.
    inner = Fits("on_train_batch_end", callbacks=[callback])
    model.compile(keras.optimizers.SGD(0.0), model.loss, run_eagerly=True)
    model.set_weights(KERNELS[:1])
    fit(model, Y, VALID_Y, [inner], nested=False)
    np.testing.assert_allclose(callback.soft_labels, mean_softmax(KERNELS[0]), atol=1e-6)


class TracedSteps(keras.Model):
    """Steps that are tf.functions, which keep what they traced."""

    @tf.function
    def train_step(self, data):
        x, y = data
        total = tf.constant(0.0)
        for _ in tf.range(1):  # which needs AutoGraph
            with tf.GradientTape() as tape:
                loss = self.loss(y, self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            total += loss
        return {"loss": total}

    @tf.function
    def test_step(self, data):
        return {"loss": self.loss(data[1], self(data[0], training=False))}


@pytest.mark.parametrize("name", ["online", "confusion"])
def test_steps_that_are_tf_functions(name):
    inputs = keras.Input([4])
    model = TracedSteps(inputs, dense(0)(inputs))
    loss = Method(name).loss()
    model.compile(keras.optimizers.SGD(0.0), loss, jit_compile=False)
    with pytest.warns(UserWarning, match="nothing (accumulates|gives it)"):
        fit(model, Y, VALID_Y, [], nested=False)
    for _ in range(2):
        method = Method(name)
        fit(model, Y, VALID_Y, [method.callback], nested=False)
        np.testing.assert_allclose(method.held(loss), method.replay(KERNELS[0]), atol=1e-6)


@pytest.mark.parametrize("place", ["loss", "compute_loss"])
def test_a_tf_function_that_training_and_validation_share_is_refused(place):
    inner = losses.OnlineLabelSmoothingLoss(CLASSES)
    model = build("functional", "default")
    if place == "compute_loss":
        model.compute_loss = tf.function(model.compute_loss)
    model.compile("sgd", tf.function(lambda y, p: inner(y, p)) if place == "loss" else inner)
    with pytest.raises(InputError, match=f"^{place}: expected a Python function, received a tf.f"):
        fit(model, Y, VALID_Y, [callbacks.OnlineLabelSmoothing()], nested=False)


# --- what counts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("counted", [True, False])
def test_whether_samples_of_weight_0_enter_the_soft_labels(counted):
    weights = np.arange(SAMPLES) % 3
    model = build("functional", "default")
    loss = losses.OnlineLabelSmoothingLoss(CLASSES, count_zero_weights=counted)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    callback = callbacks.OnlineLabelSmoothing()
    model.fit(X, Y, sample_weight=weights, callbacks=[callback], verbose=0)
    there = slice(None) if counted else weights > 0
    expected = mean_softmax(KERNELS[0], X[there], Y[there])
    np.testing.assert_allclose(callback.soft_labels, expected, atol=1e-6)
    loss.reset_accumulator()
    loss.accumulate(Y, softmax(X @ KERNELS[0], axis=1), sample_weight=weights)
    loss.update_soft_labels()
    np.testing.assert_allclose(loss.soft_labels, expected, atol=1e-6)


# What is learned depends on how samples are put together in batches; see test_losses_learned.py.
@pytest.mark.parametrize("name", [name for name in METHODS if name != "learned"])
def test_masked_steps_and_ignored_classes_do_not_enter(name):
    """Steps of sequences, whose first feature is 0 where there is none, and labels 255."""

    def sequences(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """With padding and pixels without a label between the others."""
        x = np.insert(x, np.arange(0, len(x), 2), 0.0, axis=0)
        y = np.insert(y, np.arange(0, len(y), 2), 0)
        x = np.append(x, x[1 : 1 + len(x) // 3], axis=0)
        y = np.append(y, np.full(len(x) - len(y), 255))
        return x.reshape(-1, 4, 4), y.reshape(-1, 4)

    inputs = keras.Input([4, 4])
    model = keras.Model(inputs, dense(0)(keras.layers.Masking()(inputs)))
    method = Method(name)
    loss = method.loss(ignore_class=255)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    model.fit(
        *sequences(X, Y), 7, validation_data=sequences(VALID_X, VALID_Y),
        callbacks=[method.callback], verbose=0,
    )  # fmt: skip
    np.testing.assert_allclose(method.held(loss), method.replay(KERNELS[0]), atol=1e-6)


# --- what is not seen is said ---------------------------------------------------------------------


def test_an_epoch_in_which_nothing_is_accumulated_is_said_once():
    model = build("functional", "default")
    loss = losses.OnlineLabelSmoothingLoss(CLASSES)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    wrong = (X @ KERNELS[0]).argmin(axis=1)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        model.fit(X, wrong, epochs=3, verbose=0, callbacks=[callbacks.OnlineLabelSmoothing()])
    said = [
        str(w.message) for w in given if "nothing was accumulated in an epoch" in str(w.message)
    ]
    assert len(said) == 1


def in_a_loop(loss: Any, step: str, *, graph: bool, update: bool) -> None:
    """Two epochs in a loop of one's own: the loss, and what of accumulating it the steps do."""
    model = build("functional", "default")

    def train_step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            y_pred = model(x)
            value = loss(y, y_pred)
            if step == "before":
                loss.accumulate(y, y_pred)
        tape.gradient(value, model.trainable_variables)
        if step == "after":
            loss.accumulate(y, y_pred)

    made = tf.function(train_step) if graph else train_step
    for _ in range(2):
        for start in range(0, SAMPLES, BATCH):
            made(X[start : start + BATCH], Y[start : start + BATCH])
        if update:
            loss.update_soft_labels()


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("step", ["before", "after"])
def test_a_loop_of_ones_own(step, graph):
    loss = losses.OnlineLabelSmoothingLoss(CLASSES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        in_a_loop(loss, step, graph=graph, update=True)
        np.testing.assert_allclose(loss.soft_labels, mean_softmax(KERNELS[0]), atol=1e-6)
        del loss
        gc.collect()


LACKS = {
    "never": "nothing accumulates its soft labels",
    "after": "what it accumulated never became its soft labels: call loss.update_soft_labels",
}


@pytest.mark.parametrize("step", LACKS)
def test_what_a_loop_of_ones_own_lacks(step):
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        loss = losses.OnlineLabelSmoothingLoss(CLASSES)
        in_a_loop(loss, step, graph=False, update=False)
        del loss
        gc.collect()
    assert [LACKS[step] in str(w.message) for w in given] == [True]


def test_what_a_traced_loop_lacks_is_said_at_the_end_of_the_program():
    """TensorFlow never lets go of a loss that it traced."""
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_ways_of_keras as here
        for step in here.LACKS:
            loss = here.losses.OnlineLabelSmoothingLoss(here.CLASSES)
            here.in_a_loop(loss, step, graph=True, update=False)
    """
    ended = forked.run("-c", textwrap.dedent(script))
    assert ended.returncode == 0, ended.stderr
    assert [ended.stderr.count(said) for said in LACKS.values()] == [1, 1]


def test_a_step_of_keras_outside_of_fit():
    """After which a loop of one's own may accumulate."""
    model = build("functional", "default")
    loss = losses.OnlineLabelSmoothingLoss(CLASSES)
    model.compile(keras.optimizers.SGD(0.0), loss, jit_compile=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.train_on_batch(X, Y)
        loss.accumulate(Y, model(X))
        loss.update_soft_labels()
    np.testing.assert_allclose(loss.soft_labels, mean_softmax(KERNELS[0]), atol=1e-6)


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("online", "learned")])
def test_a_validation_that_shows_the_loss_nothing_is_said_once(name):
    class Silent(keras.Model):
        def test_step(self, data):
            return {"loss": tf.reduce_mean(self(data[0]))}

    inputs = keras.Input([4])
    method, model = Method(name), Silent(inputs, dense(0)(inputs))
    loss = method.loss()
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    before = method.held(loss)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        model.fit(
            X, Y, validation_data=(VALID_X, VALID_Y), epochs=2, callbacks=[method.callback],
            verbose=0,
        )  # fmt: skip
    assert ["showed it no sample" in str(w.message) for w in given] == [True]
    np.testing.assert_array_equal(method.held(loss), before)


def test_a_prior_that_is_set_or_loaded_reaches_traced_steps(tmp_path):
    first, second = (priors.informed_prior(accuracy) for accuracy in ([0.9, 0.6, 0.7], [0.5] * 3))
    model, other = (build("functional", "default") for _ in range(2))
    for each, prior in ((model, first), (other, first)):
        each.compile(keras.optimizers.SGD(0.0), losses.LSPlusLoss(prior), jit_compile=False)
    before = other.evaluate(X, Y, verbose=0)
    model.loss.set_prior(second)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    expected = float(losses.LSPlusLoss(second)(Y, other(X)))
    assert other.evaluate(X, Y, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert before != pytest.approx(expected, rel=1e-3)


# --- an alpha that changes ------------------------------------------------------------------------

ALPHAS = [0.0, 0.2, 0.6, 1.0]
SCHEDULED: dict[str, Any] = {
    "label_smoothing": losses.LabelSmoothingLoss,
    "ls_plus": lambda alpha: losses.LSPlusLoss(priors.informed_prior([0.9, 0.6, 0.7]), alpha=alpha),
    "class_distribution": lambda alpha: losses.ClassDistributionLabelSmoothingLoss(
        [3, 2, 1], alpha=alpha, gamma=0.0
    ),
    "online": lambda alpha: losses.OnlineLabelSmoothingLoss(CLASSES, alpha=alpha),
    "confusion": lambda alpha: losses.ConfusionPenaltyLoss(CLASSES, alpha=alpha),
    "tf_kd": losses.TfKDRegularizationLoss,
    "inside": lambda alpha: losses.DCALoss(base=losses.LabelSmoothingLoss(alpha)),
    "weight": losses.MaxSupLoss,
}


def schedule(epoch: int) -> float:
    return ALPHAS[epoch]


@pytest.mark.parametrize("name", SCHEDULED)
def test_an_alpha_or_weight_as_a_function_of_the_epoch(name, tmp_path):
    """In a traced step too; rows and ids; saved and loaded."""
    loss = SCHEDULED[name](schedule)
    p = softmax(X[:20] @ KERNELS[0], axis=1).astype(np.float32)
    traced = tf.function(lambda y: loss(y, p))
    for epoch, alpha in enumerate(ALPHAS):
        loss.set_epoch(epoch)
        fixed = SCHEDULED[name](alpha)
        for y in (Y[:20], np.eye(CLASSES, dtype=np.float32)[Y[:20]]):
            np.testing.assert_allclose(traced(y), fixed(y, p), rtol=1e-6, atol=1e-7)

    def model() -> keras.Model:
        made = build("functional", "default")
        # One in a graph, which Keras traces; above all are traced.
        options = {"run_eagerly": name != "confusion", "jit_compile": False}
        made.compile(keras.optimizers.SGD(0.0), SCHEDULED[name](schedule), **options)
        return made

    first = model()
    callback = {"online": callbacks.OnlineLabelSmoothing, "confusion": callbacks.ConfusionPenalty}
    used = [callback.get(name, callbacks.EpochSchedule)()]
    first.fit(X, Y, validation_data=(VALID_X, VALID_Y), epochs=3, callbacks=used, verbose=0)
    expected = first.evaluate(X, Y, verbose=0)
    first.save(tmp_path / "model.keras")
    with keras.saving.custom_object_scope({"schedule": schedule}):
        loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(X, Y, verbose=0) == expected


def test_an_alpha_that_is_not_told_the_epoch_or_is_none():
    model = build("functional", "default")
    model.compile("sgd", losses.LabelSmoothingLoss(schedule), run_eagerly=True)
    with pytest.warns(UserWarning, match=r"it is not given the epoch.*EpochSchedule\(\)"):
        model.fit(X, Y, verbose=0)
    with pytest.raises(InputError, match=r"alpha\(0\): expected a number in .0, 1., received 3.0"):
        losses.LabelSmoothingLoss(lambda epoch: 3)
    model.compile("sgd", losses.LabelSmoothingLoss(0.1), run_eagerly=True)
    with pytest.raises(InputError, match="expected a loss whose alpha or weight is a function of"):
        model.fit(X, Y, callbacks=[callbacks.EpochSchedule()], verbose=0)


def test_what_losses_and_metrics_were_made_with_cannot_be_set():
    loss = losses.OnlineLabelSmoothingLoss(CLASSES)
    for name in ("alpha", "from_logits", "empty_class", "freeze_above", "reduction"):
        with pytest.raises(AttributeError, match=f"{name}: expected to stay as OnlineLabel"):
            setattr(loss, name, 0.9)

    class Mine(losses.LabelSmoothingLoss):
        def __init__(self, scale: int = 1) -> None:
            super().__init__()
            self.scale = scale
            self.scale = float(self.scale)

    mine = Mine()
    mine.scale = 3.0
    with pytest.raises(AttributeError, match=r"alpha: .* or give a function of the epoch"):
        mine.alpha = 0.3
    metric = lsp.metrics.keras.ExpectedCalibrationError()
    with pytest.raises(AttributeError, match="num_bins: expected to stay as ExpectedCal"):
        metric.num_bins = 10
    with pytest.raises(AttributeError):
        losses.LSPlusLoss(priors.uniform_prior(2)).prior = np.eye(2)


def test_a_loss_that_is_made_within_a_traced_function():
    prior = priors.informed_prior([0.9, 0.6, 0.7])
    p = softmax(X[:4] @ KERNELS[0], axis=1).astype(np.float32)
    traced = tf.function(lambda: losses.LSPlusLoss(prior)(Y[:4], p))
    np.testing.assert_allclose(traced(), losses.LSPlusLoss(prior)(Y[:4], p), rtol=1e-6)
