"""What is learnt from fit's validation, against a NumPy replay of a linear softmax classifier."""

from __future__ import annotations

import re
import textwrap
import warnings
from typing import Any

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
import test_callbacks
from scipy.special import softmax

import lsplus_tf as lsp
from lsplus_tf.callbacks import ConfusionPenalty, PriorRefresh
from lsplus_tf.errors import InputError
from lsplus_tf.losses import ConfidencePenaltyLoss, ConfusionPenaltyLoss

SAMPLES, VALIDATION, FEATURES, CLASSES = 70, 53, 4, 3
BATCH, EPOCHS, RATE, ALPHA, SHRINKAGE = 32, 4, 0.5, 0.4, 2.0
PRIOR = np.array([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4]])


pytestmark = pytest.mark.usefixtures("nondeterministic")


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1.0, (CLASSES, FEATURES))
    found: dict[str, Any] = {"kernel": rng.normal(0, 0.3, (FEATURES, CLASSES)).astype(np.float32)}
    for part, samples in (("", SAMPLES), ("val_", VALIDATION)):
        y = rng.integers(0, CLASSES, samples)
        found[part + "y"] = y
        found[part + "x"] = (centres[y] + rng.normal(size=(samples, FEATURES))).astype(np.float32)
        # Made once; of arrays, Keras makes one for every training and validation.
        batches = tf.data.Dataset.from_tensor_slices((found[part + "x"], y)).batch(BATCH)
        found[part + "batches"] = batches
    return found


class Method:
    """A loss with its callback, and both restated: rows of targets from a confusion matrix."""

    def __init__(self, name: str, every: int = 1) -> None:
        self.name, self.every = name, every
        self.callback: Any = (
            ConfusionPenalty()
            if name == "confusion"
            else PriorRefresh(every=every, shrinkage=SHRINKAGE)
        )

    def loss(self, **options: Any) -> Any:
        options = {"alpha": ALPHA, "from_logits": True, **options}
        if self.name == "confusion":
            return ConfusionPenaltyLoss(CLASSES, **options)
        return lsp.LSPlusLoss(PRIOR, **options)

    def first(self) -> np.ndarray:
        return PRIOR if self.name == "prior" else (1 - np.eye(CLASSES)) / (CLASSES - 1)

    def rows(self, confusion: np.ndarray) -> np.ndarray:
        counts = confusion.sum(axis=1)
        rows = np.empty((CLASSES, CLASSES))
        for k in range(CLASSES):
            if self.name == "prior":
                overall = np.trace(confusion) / confusion.sum()
                v = (confusion[k, k] + SHRINKAGE * overall) / (counts[k] + SHRINKAGE)
                rows[k] = (1 - v) / (CLASSES - 1)
                rows[k, k] = v
            else:
                errors = np.where(np.arange(CLASSES) == k, 0, confusion[k])
                rows[k] = errors / errors.sum() if errors.any() else self.first()[k]
        return rows

    def history(self) -> np.ndarray:
        """The rows after every change."""
        if self.name == "confusion":
            return np.array(self.callback.history)
        return np.array([lsp.informed_prior(v) for _, v in self.callback.history])


METHODS = ["confusion", "prior"]


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    counts = np.zeros((CLASSES, CLASSES), int)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def replay(
    data: dict[str, np.ndarray], method: Method, validated: set[int] | None = None
) -> tuple[list[np.ndarray], np.ndarray]:
    """SGD in float64: the rows after every change (every epoch for CPLS), and the kernel."""
    kernel, rows, history, since = data["kernel"].astype(np.float64), method.first(), [], 0
    for epoch in range(EPOCHS):
        for start in range(0, SAMPLES, BATCH):
            part = slice(start, start + BATCH)
            x, y = data["x"][part].astype(np.float64), data["y"][part]
            targets = (1 - ALPHA) * np.eye(CLASSES)[y] + ALPHA * rows[y]
            kernel -= RATE * x.T @ (softmax(x @ kernel, axis=1) - targets) / len(y)
        since += 1
        changes = (validated is None or epoch in validated) and since >= method.every
        if changes:
            predicted = (data["val_x"] @ kernel).argmax(axis=1)
            rows, since = method.rows(confusion_matrix(data["val_y"], predicted)), 0
        if changes or method.name == "confusion":
            history.append(rows)
    return history, kernel


def build(data: dict[str, np.ndarray], loss: Any, **options: Any) -> keras.Model:
    model = keras.Sequential([keras.Input([FEATURES]), keras.layers.Dense(CLASSES, use_bias=False)])
    model.set_weights([data["kernel"]])
    compile_model(model, loss, **options)
    return model


def compile_model(model: keras.Model, loss: Any, *, graph: bool = False, **options: Any) -> None:
    """Run eagerly but where a graph is what is tested; XLA compiles for longer than all else."""
    options = {"run_eagerly": not graph, "jit_compile": False, **options}
    model.compile(keras.optimizers.SGD(RATE), loss, **options)


def of_both(value: Any) -> dict[str, Any]:
    """For each of two outputs, one with each method."""
    return dict.fromkeys(METHODS, value)


def fit(model: keras.Model, data: dict[str, Any], callbacks: list[Any], **more: Any) -> None:
    options = {"validation_data": data["val_batches"], "epochs": EPOCHS, "verbose": 0}
    model.fit(data["batches"], callbacks=callbacks, **{**options, **more})


class Predictions(keras.callbacks.Callback):
    """The confusion matrix of what each output predicts after every epoch."""

    def __init__(self, data: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.data, self.found = data, []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        outputs = keras.tree.flatten(self.model.predict_on_batch(self.data["val_x"]))
        self.found.append(
            [confusion_matrix(self.data["val_y"], output.argmax(axis=1)) for output in outputs]
        )


@pytest.mark.parametrize(
    ("compile_options", "kind"),
    [
        pytest.param({"graph": True}, "arrays", id="graph"),
        pytest.param({}, "arrays", id="eager"),
        pytest.param({"graph": True, "steps_per_execution": 2}, "nested", id="steps-per-execution"),
        # Where it is the data that differ, without tracing a graph.
        pytest.param({}, "dataset", id="tf-data"),
        pytest.param({}, "weights", id="sample-weight"),
        pytest.param({}, "one-hot", id="one-hot"),
        pytest.param({}, "soft", id="soft-labels"),
        pytest.param({}, "column", id="labels-in-a-column"),
        pytest.param({"graph": True, "jit_compile": True}, "bad", id="xla-nan-and-no-class"),
    ],
)
def test_fit_gives_the_rows_of_a_replay(data, compile_options, kind):
    """Of both methods, each with an output of its own of one model."""
    methods, predictions = [Method(name) for name in METHODS], Predictions(data)
    inputs = keras.Input([FEATURES])
    heads = [keras.layers.Dense(CLASSES, use_bias=False, name=name) for name in METHODS]
    model = keras.Model(inputs, {head.name: head(inputs) for head in heads})
    model.set_weights([data["kernel"]] * 2)
    compile_model(model, {each.name: each.loss() for each in methods}, **compile_options)
    changing = [each.callback for each in methods]
    callbacks: list[Any] = [*changing, predictions]
    x, y = data["val_x"], data["val_y"]
    validation: tuple[Any, ...] = (x, of_both(y))
    if kind == "nested":
        # On other data than those of the validation, and on both sides of the callback, since each
        # order hides other mistakes.
        nested = {"x": data["x"], "y": of_both(data["y"])}
        callbacks = [
            test_callbacks.NestedEvaluate(nested), *callbacks, test_callbacks.NestedEvaluate(nested)
        ]  # fmt: skip
    elif kind == "weights":
        validation = (x, of_both(y), of_both(np.linspace(0, 2, VALIDATION)))
    elif kind == "one-hot":
        validation = (x, of_both(np.eye(CLASSES)[y]))
    elif kind == "soft":
        validation = (x, of_both(0.6 * np.eye(CLASSES)[y] + 0.4 / CLASSES))
    elif kind == "column":
        validation = (x, of_both(y[:, None].astype(np.uint8)))
    elif kind == "bad":
        # Only XLA, which cannot refuse what is no class, lets the last three reach the counts.
        x = np.concatenate([x, np.full((2, FEATURES), np.nan), x[:3]]).astype(np.float32)
        validation = (x, of_both(np.concatenate([y, [0, 1, 3, -1, 99]])))
    batches = tf.data.Dataset.from_tensor_slices((data["x"], of_both(data["y"]))).batch(BATCH)
    validated = tf.data.Dataset.from_tensor_slices(validation).batch(
        20 if kind == "dataset" else BATCH
    )
    given: Any = validation if kind == "arrays" else validated
    model.evaluate(batches, verbose=0)  # traces the test step without the callback
    model.fit(batches, epochs=EPOCHS, validation_data=given, callbacks=callbacks, verbose=0)
    assert "train_step" not in vars(model)
    model.evaluate(batches, verbose=0, callbacks=changing)  # changes nothing

    for place, method in enumerate(methods):
        history, kernel = replay(data, method)
        np.testing.assert_allclose(method.history(), history, rtol=1e-6)
        expected = [method.rows(found[place]) for found in predictions.found]
        np.testing.assert_allclose(method.history(), expected, rtol=1e-6)
        np.testing.assert_allclose(model.get_weights()[place], kernel, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_epochs_without_validation_keep_the_rows(data, name):
    method = Method(name)
    with warnings.catch_warnings():
        # It is to come, so that nothing is missing.
        warnings.filterwarnings("error", "validation_data: expected")
        fit(build(data, method.loss()), data, [method.callback], validation_freq=[2, 4])
    history, _ = replay(data, method, validated={1, 3})
    np.testing.assert_allclose(method.history(), history, rtol=1e-6)


@pytest.mark.parametrize(
    ("every", "frequency", "epochs"), [(2, 1, [1, 3]), (3, 1, [2]), (2, 3, [2]), (1, 3, [2])]
)
def test_the_prior_is_refreshed_every_so_many_epochs(data, every, frequency, epochs):
    method = Method("prior", every=every)
    model = build(data, method.loss())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(model, data, [method.callback], validation_freq=frequency)
    assert [epoch for epoch, _ in method.callback.history] == epochs
    validated = set(range(frequency - 1, EPOCHS, frequency))
    history, kernel = replay(data, method, validated)
    np.testing.assert_allclose(method.history(), history, rtol=1e-6)
    np.testing.assert_allclose(model.get_weights()[0], kernel, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_validation_split_will_do(data, name):
    method = Method(name)
    predictions = Predictions({"val_x": data["x"][56:], "val_y": data["y"][56:]})
    model = build(data, method.loss())
    model.fit(
        data["x"], data["y"], BATCH, EPOCHS, shuffle=False, verbose=0, validation_split=0.2,
        callbacks=[method.callback, predictions],
    )  # fmt: skip
    expected = [method.rows(c) for (c,) in predictions.found]
    np.testing.assert_allclose(method.history(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_two_fits_and_one_that_was_interrupted(data, name):
    class Interrupt(keras.callbacks.Callback):
        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            raise KeyboardInterrupt

    method, stale = Method(name), Method(name)
    model = build(data, method.loss())
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, [stale.callback, Interrupt()])
    for _ in range(2):
        model = build(data, model.loss)
        if name == "confusion":
            model.loss.update_from_confusion(np.eye(CLASSES))
        else:
            model.loss.set_prior(PRIOR)
        fit(model, data, [method.callback])
        history, kernel = replay(data, method)
        np.testing.assert_allclose(method.history(), history, rtol=1e-6)
        np.testing.assert_allclose(model.get_weights()[0], kernel, atol=1e-5)
    assert not stale.callback.history


@pytest.mark.parametrize("name", METHODS)
def test_the_same_model_after_an_interruption(data, name):
    """The wrapper that the first training left does not count twice, nor for its own callback."""

    class Interrupt(keras.callbacks.Callback):
        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            raise KeyboardInterrupt

    method, stale = Method(name), Method(name)
    model = build(data, method.loss(), graph=True)
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, [stale.callback, Interrupt()])
    model.set_weights([data["kernel"]])
    fit(model, data, [method.callback])
    np.testing.assert_allclose(method.history(), replay(data, method)[0], rtol=1e-6)
    assert "train_step" not in vars(model)


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_is_found_inside_a_penalty_and_among_outputs(data, name):
    """Inside a penalty, whose weight is 0 so that the replay holds, and beside another callback."""
    method = Method(name)
    inner = method.loss(from_logits=False)  # plays no part
    inputs = keras.Input([FEATURES])
    a, b = (keras.layers.Dense(CLASSES, use_bias=False, name=n) for n in "ab")
    model = keras.Model(inputs, {"a": a(inputs), "b": b(inputs)})
    model.set_weights([data["kernel"], data["kernel"]])
    online = ConfidencePenaltyLoss(
        0.0, base=lsp.OnlineLabelSmoothingLoss(CLASSES, alpha=ALPHA), from_logits=True
    )
    losses = {"a": ConfidencePenaltyLoss(0.0, base=inner, from_logits=True), "b": online}
    compile_model(model, losses)
    smoothing = lsp.OnlineLabelSmoothing()
    model.fit(
        data["x"], {"a": data["y"], "b": data["y"]}, BATCH, EPOCHS, shuffle=False, verbose=0,
        validation_data=(data["val_x"], {"a": data["val_y"], "b": data["val_y"]}),
        callbacks=[smoothing, method.callback],
    )  # fmt: skip
    history, kernel = replay(data, method)
    np.testing.assert_allclose(method.history(), history, rtol=1e-6)
    np.testing.assert_allclose(model.get_weights()[0], kernel, atol=1e-5)
    matrices, *_ = test_callbacks.replay(data, None)  # with as many samples, a batch and ALPHA
    np.testing.assert_allclose(smoothing.history[: len(matrices)], matrices, atol=2e-6)
    assert "train_step" not in vars(model)


def test_the_last_prior_is_saved(data, tmp_path):
    method = Method("prior")
    model = build(data, method.loss())
    fit(model, data, [method.callback])
    loss = model.loss
    np.testing.assert_allclose(loss.prior, method.history()[-1])
    fresh = lsp.LSPlusLoss(loss.prior, alpha=ALPHA, from_logits=True)
    x, y = data["val_x"], data["val_y"]
    expected = float(fresh(y, model.predict(x, verbose=0)))
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-6)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(copy.loss.prior, loss.prior)
    assert copy.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-6)


def test_nothing_of_the_callback_is_left_in_the_steps(data):
    """They read the loss's constants again."""
    method = Method("prior")
    model = build(data, method.loss(), graph=True)
    fit(model, data, [method.callback])
    model.loss.set_prior(PRIOR)
    fresh = build(data, method.loss(), graph=True)
    fresh.set_weights(model.get_weights())
    x, y = data["x"], data["y"]
    assert model.evaluate(x, y, verbose=0) == pytest.approx(fresh.evaluate(x, y, verbose=0))
    for one in (model, fresh):
        fit(one, data, [])
    np.testing.assert_array_equal(model.get_weights()[0], fresh.get_weights()[0])


def test_a_model_that_is_saved_in_training_has_the_prior_of_the_epoch(data, tmp_path):
    method = Method("prior")
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    fit(build(data, method.loss()), data, [method.callback, checkpoint])
    for epoch, expected in enumerate(method.history(), start=1):
        model = keras.models.load_model(tmp_path / f"{epoch}.keras")
        np.testing.assert_allclose(model.loss.prior, expected)


def test_set_prior_in_a_loop_of_ones_own():
    loss = lsp.LSPlusLoss(PRIOR, alpha=ALPHA, from_logits=True)
    other = PRIOR[::-1, ::-1]
    fresh = lsp.LSPlusLoss(other, alpha=ALPHA, from_logits=True)
    y, z = np.array([0, 2, 1]), np.random.default_rng(0).normal(size=(3, 3))
    mixed = np.random.default_rng(1).dirichlet(np.ones(3), 3)
    loss.set_prior(other)
    for labels in (y, mixed):
        np.testing.assert_allclose(loss(labels, z), fresh(labels, z), rtol=1e-6)
    with pytest.raises(InputError, match=r"prior: expected shape \(3, 3\), received shape \(2, 2"):
        loss.set_prior(np.eye(2))


def test_soft_labels_and_priors_under_a_strategy_of_two_devices():
    """In a process of its own, since one has one set of devices."""
    script = """
        import keras, numpy as np, tensorflow as tf
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )
        import lsplus_tf as lsp

        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(64, 4)).astype("float32"), rng.integers(0, 3, 64)
        kernel = rng.normal(size=(4, 3))

        def train():
            # In float64, so that only the losses, in float32, round.
            inputs = keras.Input([4])
            names = ["online", "confusion", "prior"]
            heads = [keras.layers.Dense(3, use_bias=False, dtype="float64", name=n) for n in names]
            model = keras.Model(inputs, {head.name: head(inputs) for head in heads})
            model.set_weights([kernel] * 3)
            losses = {
                "online": lsp.losses.OnlineLabelSmoothingLoss(3, from_logits=True),
                "confusion": lsp.losses.ConfusionPenaltyLoss(3, alpha=0.4, from_logits=True),
                "prior": lsp.losses.LSPlusLoss(lsp.priors.uniform_prior(3), from_logits=True),
            }
            model.compile(keras.optimizers.SGD(0.5), losses, jit_compile=False)
            used = [
                lsp.callbacks.OnlineLabelSmoothing(),
                lsp.callbacks.ConfusionPenalty(),
                lsp.callbacks.PriorRefresh(shrinkage=1),
            ]
            # The last batch of the validation has one sample, so that a device has none.
            targets = {"online": y, "confusion": y, "prior": np.eye(3)[y]}
            validated = {name: target[:33] for name, target in targets.items()}
            model.fit(x, targets, 32, 3, callbacks=used, shuffle=False, verbose=0,
                      validation_data=(x[:33], validated))
            online, confusion, prior = (callback.history for callback in used)
            return online, confusion, [v for _, v in prior], *model.get_weights()

        alone = train()
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            together = train()
        assert [len(history) for history in alone[:3]] == [3] * 3
        for found, expected in zip(together[:3], alone[:3], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5)
        for found, expected in zip(together[3:], alone[3:], strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)
        print("the same")
    """
    result = forked.run("-c", textwrap.dedent(script))
    assert result.returncode == 0, result.stderr[-3000:]
    assert "the same" in result.stdout


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("options", [{"validation_data": None}, {"validation_freq": 9}])
def test_no_validation_is_said_in_the_first_epoch_and_at_the_end(data, name, options):
    """In the first epoch where none can come."""
    method = Method(name)
    model = build(data, method.loss())
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        fit(model, data, [method.callback], epochs=2, **options)
    said = [str(w.message) for w in given if str(w.message).startswith("validation_data: expected")]
    moments = ["in the first epoch"] * ("validation_data" in options) + ["in all epochs"]
    assert all(moment in each for moment, each in zip(moments, said, strict=True))
    assert "train_step" not in vars(model)


def test_a_class_without_validation_samples(data):
    keep = data["val_y"] != 1
    with pytest.raises(InputError, match=r"validation_data: expected .* found none of \[1\]"):
        fit(
            build(data, Method("prior").loss()), data, [PriorRefresh()],
            validation_data=(data["val_x"][keep], data["val_y"][keep]),
        )  # fmt: skip


def test_shrinkage_covers_a_class_without_validation_samples(data):
    keep = data["val_y"] != 1
    model = build(data, Method("prior").loss())
    refresh = lsp.callbacks.PriorRefresh(shrinkage=2.0)
    x, y = data["val_x"][keep], data["val_y"][keep]
    fit(model, data, [refresh], validation_data=(x, y))
    overall = np.mean(model.predict(x, verbose=0).argmax(axis=1) == y)
    assert refresh.history[-1][1][1] == pytest.approx(overall)


@pytest.mark.parametrize(
    ("confusion", "shrinkage", "advice"),
    [
        ([[9, 1], [0, 3]], 0.0, r"exactly 1 of class 1.*use PriorRefresh\(shrinkage=5\)"),
        ([[9, 1], [0, 3]], 5.0, None),
        ([[9, 0], [0, 3]], 0.0, "exactly 1 of class 0, 1.*All are the same, so shrinking changes"),
        ([[9, 0], [0, 3]], 5.0, "exactly 1 of class 0, 1.*All are the same, so shrinking changes"),
        ([[0, 9], [0, 0]], 5.0, "exactly 0 of class 0, 1.*All are the same, so shrinking changes"),
    ],
)
def test_doubtful_refreshes_know_the_setting_that_answers_them(confusion, shrinkage, advice):
    refresh = PriorRefresh(shrinkage=shrinkage)
    refresh.on_epoch_begin(0)
    loss = lsp.LSPlusLoss(np.full((2, 2), 0.5), from_logits=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        refresh.after_validation(loss, {"confusion": np.array(confusion)})
    assert len(told) == bool(advice)
    assert all(re.search(advice, str(each.message)) for each in told)


def test_a_fit_of_too_few_epochs_to_refresh(data):
    refresh = lsp.callbacks.PriorRefresh(every=9)
    with pytest.warns(UserWarning, match="every=9.* fewer epochs, the prior stayed"):
        fit(build(data, Method("prior").loss()), data, [refresh], epochs=2)
    assert refresh.history == []


@pytest.mark.parametrize("name", METHODS)
def test_another_loss_or_two_callbacks(data, name):
    method = Method(name)
    for loss in (lsp.HardLabelLoss(from_logits=True), "mse"):
        with pytest.raises(InputError, match=r"expected a model compiled with .*received loss: "):
            fit(build(data, loss), data, [method.callback])
        with pytest.raises(InputError, match="compiled with CALSLoss or AdaptiveFocalLoss, rec"):
            fit(build(data, loss), data, [lsp.callbacks.ValidationFeedback()])
    with pytest.raises(InputError, match=r"callbacks: expected one .*, received two"):
        fit(build(data, method.loss()), data, [method.callback, Method(name).callback])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every: expected an integer of at least 1, received 0"),
        ({"every": 1.5}, "every: expected an integer of at least 1, received 1.5"),
        ({"shrinkage": -1}, "shrinkage: expected a number >= 0, received -1"),
    ],
)
def test_arguments_of_prior_refresh(options, message):
    with pytest.raises(InputError, match=message):
        PriorRefresh(**options)


def test_soft_labels_before_training():
    with pytest.raises(InputError, match="soft_labels: expected after training has begun"):
        _ = ConfusionPenalty().soft_labels
