"""What other callbacks save and restore of losses that change, in any order: as the live model."""

from __future__ import annotations

import functools
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_ways_of_keras import CLASSES, VALID_X, VALID_Y, Method, X, Y

from lsplus_tf import backbones, callbacks, losses
from lsplus_tf.callbacks.history import History

pytestmark = pytest.mark.usefixtures("nondeterministic")

EPOCHS = 2
KERNEL = np.random.default_rng(5).normal(0, 0.3, (4, CLASSES)).astype(np.float32)
# CALS has the mechanism of AdaFocal, and its callback.
METHODS = ["online", "confusion", "refreshed", "learned", "adaptive"]
each_method = pytest.mark.parametrize("method", METHODS)
each_order = pytest.mark.parametrize("first", [True, False], ids=["before", "after"])


@functools.cache
def batches() -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Three of an epoch, and the validation; of arrays, Keras makes them for every training."""
    training, validation = ((X, Y), 32), ((VALID_X, VALID_Y), len(VALID_Y))
    made = [
        tf.data.Dataset.from_tensor_slices(of).batch(size) for of, size in (training, validation)
    ]
    return made[0], made[1]


def compiled(method: Method, *, graph: bool = False) -> keras.Model:
    """Run eagerly, where a step is slower but many models need not be traced, or in a graph."""
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(CLASSES, use_bias=False)])
    model.set_weights([KERNEL])
    optimizer = keras.optimizers.SGD(0.3, momentum=0.9)
    loss = method.loss(from_logits=True)
    model.compile(optimizer, loss, run_eagerly=not graph, jit_compile=False)
    return model


def train(model: keras.Model, used: list[Any], epochs: int = EPOCHS, **options: Any) -> None:
    training, validation = batches()
    options = {"validation_data": validation, **options}
    model.fit(training, epochs=epochs, callbacks=used, verbose=0, **options)


@functools.cache
def undisturbed(name: str, *, graph: bool = False) -> keras.Model:
    """A training that is not interrupted; its model is left as it is."""
    method = Method(name)
    model = compiled(method, graph=graph)
    train(model, [method.callback])
    return model


def ordered(method: Method, other: Any, first: bool) -> list[Any]:
    return [other, method.callback] if first else [method.callback, other]


def on_both_sides(method: Method, others: list[Any], last: Any) -> list[Any]:
    """Callbacks before the method's and after it."""
    half = len(others) // 2
    return [*others[:half], method.callback, *others[half:], last]


def assert_same(method: Method, a: keras.Model, b: keras.Model) -> None:
    """Bit for bit, the loss's targets too."""
    np.testing.assert_array_equal(a.get_weights()[0], b.get_weights()[0])
    np.testing.assert_array_equal(method.held(a.loss), method.held(b.loss))
    _, validation = batches()
    assert a.evaluate(validation, verbose=0) == b.evaluate(validation, verbose=0)


class Compare(keras.callbacks.Callback):
    """What was saved at an epoch's end with the model as it is then."""

    def __init__(self, method: Method, paths: list[Path]) -> None:
        super().__init__()
        self.method, self.paths, self.compared = method, paths, 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for path in self.paths:
            if path.suffix == ".keras":
                saved = keras.models.load_model(path)
            else:
                saved = compiled(self.method)
                saved.load_weights(path)
            # A nested evaluation resets what `fit` measures, but not what it trains.
            assert_same(self.method, saved, self.model)
            self.compared += 1


@pytest.mark.parametrize(
    ("method", "validation"), [*((method, True) for method in METHODS), ("online", False)]
)
def test_a_file_of_an_epoch_is_the_live_model(method, tmp_path, validation):
    """Of both kinds, saved before the method's callback and after it."""
    method = Method(method)
    paths = [
        tmp_path / f"{moment}.{kind}"
        for moment in ("before", "after")
        for kind in ("keras", "weights.h5")
    ]
    saving = [
        keras.callbacks.ModelCheckpoint(path, save_weights_only=path.suffix == ".h5")
        for path in paths
    ]
    compare, model = Compare(method, paths), compiled(method)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "validation_data: expected", UserWarning)
        options = {} if validation else {"validation_data": None}
        train(model, on_both_sides(method, saving, compare), **options)
    assert compare.compared == len(paths) * EPOCHS
    for path in paths[1::2]:
        saved = compiled(method)
        saved.load_weights(path)
        assert_same(method, saved, model)  # and when training is over


class Dies(keras.callbacks.Callback):
    """In an epoch, after so many of its batches."""

    def __init__(self, epoch: int, batches: int) -> None:
        super().__init__()
        self.moment, self.now = (epoch, batches), 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.now = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.now, batch + 1) == self.moment:
            raise KeyboardInterrupt


def killed(method: Method, dies: Dies, folder: Path, *, graph: bool = False, **saving: Any) -> None:
    """A training that dies, and leaves a backup of either order."""
    backups = [
        keras.callbacks.BackupAndRestore(folder / order, **saving) for order in ("before", "after")
    ]
    with pytest.raises(KeyboardInterrupt):
        train(compiled(method, graph=graph), on_both_sides(method, backups, dies))


def resumed(method: Method, folder: Path, order: str, *, graph: bool = False) -> keras.Model:
    backup = keras.callbacks.BackupAndRestore(folder / order)
    model = compiled(method, graph=graph)
    train(model, ordered(method, backup, order == "before"))
    return model


@pytest.mark.parametrize(
    ("method", "graph"), [*((method, False) for method in METHODS), ("online", True)]
)
def test_a_training_that_is_resumed_is_the_undisturbed_one(method, tmp_path, graph):
    """Killed in the second epoch; what it learned there is not in the first one's backup."""
    killed(Method(method), Dies(1, 3), tmp_path, graph=graph)
    for order in ("before", "after"):
        other = Method(method)
        model = resumed(other, tmp_path, order, graph=graph)
        assert_same(other, model, undisturbed(method, graph=graph))


@each_method
def test_an_epoch_that_is_resumed_within_counts_once(method, tmp_path):
    """Keras begins it anew, with the weights that it had reached in it."""
    killed(Method(method), Dies(1, 2), tmp_path, save_freq=2)
    for order in ("before", "after"):
        left = shutil.copytree(tmp_path / order, tmp_path / f"{order}_copy")
        other = Method(method)
        model = resumed(other, tmp_path, order)

        # Of the same weights, optimizer and matrix, without what was accumulated.
        anew = Method(method)
        begun = compiled(anew)
        begun.optimizer.build(begun.trainable_variables)
        begun.load_weights(left / "latest.weights.h5")
        if method == "online":
            begun.loss.reset_accumulator()
        epoch = json.loads((left / "training_metadata.json").read_text())["epoch"]
        assert epoch == 1  # in whose first batch it was saved last
        train(begun, [anew.callback], initial_epoch=epoch)
        assert_same(other, model, begun)


@each_order
@each_method
def test_after_restored_weights_the_matrix_is_the_last_epochs(method, first):
    stopping = keras.callbacks.EarlyStopping(
        "val_loss", mode="max", min_delta=10.0, patience=1, restore_best_weights=True
    )
    chosen = Method(method)
    stopped = compiled(chosen)
    train(stopped, ordered(chosen, stopping, first), epochs=EPOCHS + 1)
    assert stopping.stopped_epoch == EPOCHS - 1
    plain = undisturbed(method)
    np.testing.assert_array_equal(chosen.held(stopped.loss), chosen.held(plain.loss))


@pytest.mark.parametrize("kind", ["online", "fedlas"])
def test_what_a_saved_loss_learned_is_missed_where_keras_drops_it(tmp_path, kind):
    if kind == "online":
        method = Method(kind)
        model, state, callback = compiled(method), "soft labels", callbacks.OnlineLabelSmoothing
    else:
        inputs = keras.Input([4])
        logits = keras.layers.Dense(CLASSES)(inputs)
        model = keras.Model(inputs, backbones.CarryFeatures()([logits, inputs]))
        made = losses.FedLASLoss(CLASSES, from_logits=True)
        model.compile("sgd", made, run_eagerly=True)
        state, callback = "statistics and gate", callbacks.FedLAS
    fresh = type(model.loss)(CLASSES, from_logits=True)
    train(model, [callback()], epochs=1)

    def said(make: Any) -> str:
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            make().evaluate(VALID_X, VALID_Y, verbose=0)
        return " ".join(str(w.message) for w in given if state in str(w.message))

    model.save(tmp_path / "model.keras")
    assert said(lambda: keras.models.load_model(tmp_path / "model.keras")) == ""
    model.save(tmp_path / "model.h5")
    assert "were not where it came from" in said(
        lambda: keras.models.load_model(tmp_path / "model.h5")
    )

    def cloned() -> keras.Model:
        clone = keras.models.clone_model(model)
        clone.compile("sgd", keras.losses.deserialize(keras.losses.serialize(model.loss)))
        return clone

    assert "were not where it came from" in said(cloned)
    model.compile("sgd", fresh)
    with pytest.warns(UserWarning, match=f"compiled anew, with a new loss, so that its {state}"):
        train(model, [callback()], epochs=1)
    clone = keras.models.clone_model(model)
    clone.compile("sgd", model.loss)
    with pytest.warns(UserWarning, match="one loss object is in two models"):
        train(clone, [callback()], epochs=1)


def test_a_large_prior_is_small_in_a_file_and_comes_back(tmp_path):
    prior = np.random.default_rng(0).dirichlet(np.full(300, 0.1), 300)
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(300)])
    model.compile("sgd", losses.LSPlusLoss(prior, from_logits=True), jit_compile=False)
    model.save(tmp_path / "model.keras")
    # 90,000 numbers of 4 bytes, in base 64, beside a network of some 30 kB.
    assert (tmp_path / "model.keras").stat().st_size < 90_000 * 4 * 4 / 3 + 60_000
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.loss.prior, model.loss.prior)
    np.testing.assert_allclose(loaded.loss.prior, prior, rtol=1e-7, atol=1e-40)
    x, y = np.ones((5, 4), np.float32), np.arange(5)
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    # As files were until now.
    config = {**model.loss.get_config(), "prior": prior.tolist()}
    np.testing.assert_array_equal(losses.LSPlusLoss.from_config(config).prior, model.loss.prior)


def test_a_history_keeps_the_last():
    for most in (0, 1, 3, 8, 20):
        history = History(most)
        for i in range(8):
            history.add(i)
        assert history == list(range(8))[max(0, 8 - most) :]


def test_a_file_from_before_the_first_estimate_brings_the_first_prior_back(tmp_path):
    method = Method("refreshed")
    method.callback = callbacks.PriorRefresh(2)
    model = compiled(method)
    first = model.loss.prior
    saving = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.weights.h5", save_weights_only=True
    )
    train(model, [saving, method.callback])
    assert not np.array_equal(model.loss.prior, first)
    model.load_weights(tmp_path / "2.weights.h5")
    assert not np.array_equal(model.loss.prior, first)
    model.load_weights(tmp_path / "1.weights.h5")
    np.testing.assert_array_equal(model.loss.prior, first)


class Interrupt(keras.callbacks.Callback):
    def __init__(self, moment: str) -> None:
        super().__init__()
        setattr(self, moment, self.interrupt)

    def interrupt(self, *_: Any, **__: Any) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("moment", ["on_train_batch_end", "on_test_batch_end"])
def test_after_a_training_that_was_broken_off(moment):
    """Its callback lets go of the model, whose next training says what is missing."""
    method = Method("online")
    model = compiled(method)
    with pytest.raises(KeyboardInterrupt):
        train(model, [method.callback, Interrupt(moment)])
    before = model.loss.soft_labels.numpy()

    def fit(broken: keras.Model) -> float:  # not Keras's
        return broken.evaluate(VALID_X, VALID_Y, verbose=0)

    fit(model)
    np.testing.assert_array_equal(model.loss.soft_labels, before)
    with pytest.warns(UserWarning, match="nothing accumulates its soft labels"):
        train(model, [], epochs=3)
    assert not {"train_step", "test_step", "get_metrics_result"} & set(vars(model))
    renewed = moment == "on_test_batch_end"  # the epoch's training was over
    uniform = np.full((CLASSES, CLASSES), 1 / CLASSES, np.float32)
    assert np.array_equal(model.loss.soft_labels, uniform) != renewed


@pytest.mark.parametrize(
    ("method", "most", "kept"),
    [*((method, 2, 2) for method in METHODS), ("online", None, 3), ("online", 0, 0)],
)
def test_the_history_is_as_long_as_is_asked(method, most, kept):
    kind = type(Method(method).callback)
    callback = kind(max_history=most)
    train(compiled(Method(method)), [callback], epochs=3)
    assert len(callback.history) == kept
