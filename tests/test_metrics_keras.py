"""The streaming metrics against the NumPy functions of the same definition."""

from __future__ import annotations

import functools
import textwrap
from typing import Any

import forked
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lsplus_tf import metrics
from lsplus_tf.errors import InputError
from lsplus_tf.metrics import keras as streaming

CLASSES = 4
# Class, its arguments, and the NumPy function with the same.
METRICS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "ece": (streaming.ExpectedCalibrationError, {}, metrics.expected_calibration_error),
    "ece10": (
        streaming.ExpectedCalibrationError,
        {"num_bins": 10},
        lambda y, p: metrics.expected_calibration_error(y, p, num_bins=10),
    ),
    "ece1": (
        streaming.ExpectedCalibrationError,
        {"num_bins": 1},
        lambda y, p: metrics.expected_calibration_error(y, p, num_bins=1),
    ),
    "mce": (streaming.MaximumCalibrationError, {}, metrics.maximum_calibration_error),
    "sce": (streaming.StaticCalibrationError, {}, metrics.static_calibration_error),
    "sce10": (
        streaming.StaticCalibrationError,
        {"num_bins": 10},
        lambda y, p: metrics.static_calibration_error(y, p, num_bins=10),
    ),
    "brier": (streaming.BrierScore, {}, metrics.brier_score),
    "nll": (streaming.NegativeLogLikelihood, {}, metrics.negative_log_likelihood),
    "confidence": (streaming.MeanConfidence, {}, metrics.mean_confidence),
    "top1": (streaming.TopKError, {"k": 1}, lambda y, p: metrics.top_k_error(y, p, k=1)),
    "top2": (streaming.TopKError, {"k": 2}, lambda y, p: metrics.top_k_error(y, p, k=2)),
    "top9": (streaming.TopKError, {"k": 9}, lambda y, p: metrics.top_k_error(y, p, k=9)),
}
MODES = {"eager": None, "graph": {}, "xla": {"jit_compile": True}}
every_metric = pytest.mark.parametrize("name", METRICS)
# Those that differ in more than a number of bins or classes: XLA takes a second for each.
KINDS = ["ece", "mce", "sce", "brier", "nll", "confidence", "top2"]
every_kind = pytest.mark.parametrize("name", KINDS)
every_mode = pytest.mark.parametrize("mode", MODES)


def make(name: str, /, **arguments: Any) -> keras.metrics.Metric:
    cls, fixed, _ = METRICS[name]
    return cls(**fixed, **arguments)


@functools.cache
def every(mode: str, **arguments: Any) -> tuple[dict[str, keras.metrics.Metric], Any]:
    """A metric of each kind, without samples, and what updates all; traced once for all tests."""
    found = {name: make(name, **arguments) for name in KINDS}

    def update(*batch: Any) -> None:
        for metric in found.values():
            metric.update_state(*batch)

    options = MODES[mode]
    return found, update if options is None else tf.function(update, **options)


def emptied(mode: str, **arguments: Any) -> tuple[dict[str, keras.metrics.Metric], Any]:
    found, update = every(mode, **arguments)
    for metric in found.values():
        metric.reset_state()
    return found, update


def thirds(*arrays: np.ndarray) -> Any:
    return zip(*(np.split(array, 3) for array in arrays), strict=True)


def value(metric: keras.metrics.Metric, *batch: Any) -> float:
    metric.reset_state()
    metric.update_state(*batch)
    return float(metric.result())


def samples(number: int = 60, classes: int = CLASSES, seed: int = 0, dtype: str = "float32") -> Any:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes) / 2, number).astype(dtype)
    return rng.integers(classes, size=number), probabilities


# Equality ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_equals_the_functions_after_any_batching(data):
    """Probabilities on bin edges, ties, 0 and 1 are frequent; the batches may be empty."""
    number = data.draw(st.integers(1, 40), "samples")
    classes = data.draw(st.integers(2, 6), "classes")
    dtype = data.draw(st.sampled_from(["bfloat16", "float16", "float32", "float64"]), "dtype")
    steps = data.draw(st.sampled_from([10, 15, 30, 1000]), "steps")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    shares = rng.dirichlet(np.full(classes, 0.4), number)
    probabilities = (rng.multinomial(steps, shares) / steps).astype(
        tf.as_dtype(dtype).as_numpy_dtype
    )
    labels = rng.integers(classes, size=number)
    cuts = sorted(data.draw(st.lists(st.integers(0, number), max_size=3), "cuts"))
    for name, (_, _, function) in METRICS.items():
        metric = make(name)
        for part in np.split(np.arange(number), cuts):
            metric.update_state(labels[part], probabilities[part])
        expected = function(labels, probabilities)
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-13, atol=1e-15, err_msg=name)


@every_mode
@pytest.mark.parametrize("from_logits", [False, True])
def test_equals_the_function_in_every_mode(from_logits, mode):
    labels, probabilities = samples()
    given_ = np.log(probabilities) if from_logits else probabilities
    rows = metrics.softmax(given_) if from_logits else probabilities
    found, update = emptied(mode, from_logits=from_logits)
    for part in thirds(labels, given_):
        update(*part)
    for name, metric in found.items():
        expected = METRICS[name][2](labels, rows)
        assert metric.result().dtype == tf.float64
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-13, atol=1e-15, err_msg=name)


@every_mode
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_classwise_error_of_many_classes(dtype, mode):
    """Where only what lies above the first bin is looked at by itself."""
    classes, num_bins = 16, 4
    labels, probabilities = samples(90, classes, dtype=dtype)
    probabilities[:2] = np.eye(classes)[[5, 7]]
    probabilities[2] = np.eye(classes)[[0, 1, 1, 2]].mean(axis=0)  # on two edges
    labels[:3] = 5, 6, 1

    def expected(index):
        part = labels[index], probabilities[index]
        return metrics.static_calibration_error(*part, num_bins=num_bins)

    metric = streaming.StaticCalibrationError(num_bins, num_classes=classes)
    update, options = metric.update_state, MODES[mode]
    if options is not None:
        update = tf.function(update, reduce_retracing=True, **options)
    # XLA, which takes seconds for each, compiles for batches of one size, weighed.
    xla = mode == "xla"
    for part in np.split(np.arange(90), 3 if xla else [0, 30, 45]):  # of which the first is empty
        update(labels[part], probabilities[part], *([np.ones(30)] if xla else []))
    np.testing.assert_allclose(metric.result(), expected(np.arange(90)), rtol=1e-13)
    metric.reset_state()
    weights = np.arange(90) % 3
    spoilt = np.where(weights[:, None] == 0, np.nan, probabilities)
    for part in thirds(np.where(weights == 0, -1, labels), spoilt, weights * 1.0):
        update(*part)
    repeats = np.repeat(np.arange(90), weights)
    np.testing.assert_allclose(metric.result(), expected(repeats), rtol=1e-13)
    metric.reset_state()
    spoilt = probabilities.copy()
    spoilt[4, 3] = np.nan
    # Of one dtype without weights too, of which other operations are made.
    alone = not xla or dtype == "float32"
    for part in thirds(labels, spoilt):
        update(*part, *([] if alone else [np.ones(30)]))
    assert np.isnan(metric.result())
    if xla and alone:
        metric.reset_state()
        for part in thirds(labels, probabilities):
            update(*part)
        np.testing.assert_allclose(metric.result(), expected(np.arange(90)), rtol=1e-13)


@every_metric
def test_forms_of_labels(name):
    labels, probabilities = samples()
    expected = value(make(name), labels, probabilities)
    one_hot = np.eye(CLASSES, dtype=np.float32)[labels]
    ids = (labels[:, None], labels.astype(np.uint8), labels.astype(np.float32))
    rows = [one_hot.astype(dtype) for dtype in (np.float32, np.float16, np.int64, bool)]
    for same in (*ids, *rows, pd.get_dummies(labels)):
        assert value(make(name), same, probabilities) == pytest.approx(expected, rel=1e-14)
    pixels = (labels.reshape(3, 4, 5), probabilities.reshape(3, 4, 5, CLASSES))
    assert value(make(name), *pixels) == pytest.approx(expected, rel=1e-14)
    weights = np.array([0.0, 1.0, 3.0])
    weighted = value(make(name), labels, probabilities, np.repeat(weights, 20))
    assert value(make(name), *pixels, weights) == pytest.approx(weighted, rel=1e-14)


@every_metric
def test_a_soft_label_counts_as_the_expectation_over_its_classes(name):
    labels, probabilities = samples()
    _, soft = samples(seed=1, dtype="float64")
    result = value(make(name), soft, probabilities)
    if name == "brier":
        assert result == pytest.approx(np.sum((probabilities - soft) ** 2) / len(labels))
        return
    every_class = np.tile(np.arange(CLASSES), len(labels))
    repeated = np.repeat(probabilities, CLASSES, axis=0)
    expected = value(make(name), every_class, repeated, soft.ravel())
    assert result == pytest.approx(expected, rel=1e-12, abs=1e-15)


@every_mode
def test_sample_weights(mode):
    """A weight of 2 is the sample twice, of 0 its absence, whatever it holds."""
    labels, probabilities = samples()
    weights = np.arange(60) % 3
    repeats = np.repeat(np.arange(60), weights)
    rows = probabilities[repeats]
    right = labels[repeats]
    labels[weights == 0] = -1
    probabilities[weights == 0] = np.nan
    column = weights[:, None].astype(np.float32)
    for given_ in (column,) if mode == "xla" else (weights, column):
        found, update = emptied(mode, from_logits=False)
        for part in thirds(labels, probabilities, given_):
            update(*part)
        for name, metric in found.items():
            expected = METRICS[name][2](right, rows)
            np.testing.assert_allclose(
                metric.result(), expected, rtol=1e-13, atol=1e-15, err_msg=name
            )


def test_scikit_learn():
    labels, probabilities = samples(200, dtype="float64")
    cases = {
        "nll": sk.log_loss(labels, probabilities),
        "top1": 1 - sk.accuracy_score(labels, probabilities.argmax(axis=1)),
        "top2": 1 - sk.top_k_accuracy_score(labels, probabilities, k=2),
    }
    for name, expected in cases.items():
        assert value(make(name), labels, probabilities) == pytest.approx(expected)
    labels, probabilities = samples(200, classes=2, dtype="float64")
    expected = 2 * sk.brier_score_loss(labels, probabilities[:, 1])
    assert value(make("brier"), labels, probabilities) == pytest.approx(expected)


# Counters ----------------------------------------------------------------------------------------


def test_twenty_million_samples_in_one_bin():
    """Where a float32 counter stops at 16,777,216."""
    labels = tf.constant(np.arange(1_000_000) % 4 != 0, tf.int32)  # three quarters are correct
    probabilities = tf.constant(np.tile(np.float32([0.25, 0.75]), (1_000_000, 1)))
    ece, sce = make("ece"), make("sce")
    for metric in (ece, sce):
        metric.update_state(labels, probabilities)
        for state in metric.variables:
            state.assign(state * 19.0)  # as after as many batches
        metric.update_state(labels, probabilities)
    ece.update_state([0], [[0.25, 0.75]])
    assert ece.totals.numpy()[11].tolist() == [20_000_001, 15_000_000.75, 15_000_000]
    assert float(ece.result()) == 0.75 / 20_000_001
    sce.update_state([0], [[0.25, 0.75]])
    assert float(sce.result()) == 0.75 / 20_000_001


@every_metric
def test_one_sample_more_than_float32_can_count(name):
    many, row = 2**25, np.array([0.125, 0.0, 0.125, 0.75])
    metric = make(name)
    metric.update_state([3], [row], [many])
    for _ in range(3):
        metric.update_state([0], [row])
    right, wrong = value(make(name), [3], [row]), value(make(name), [0], [row])
    expected = (many * right + 3 * wrong) / (many + 3)
    hits = np.array([3, 0, 0, many])
    if name in ("ece", "ece10", "ece1", "mce"):
        expected = abs(0.75 * (many + 3) - many) / (many + 3)
    elif name in ("sce", "sce10"):
        expected = np.abs(row * (many + 3) - hits).mean() / (many + 3)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-15)


# What is no number -------------------------------------------------------------------------------


@every_mode
def test_nan_stays_nan_until_the_reset(mode):
    labels, probabilities = (part[:20] for part in samples())
    found, update = emptied(mode, from_logits=False)
    ones = np.ones([20, 1], np.float32)

    def results() -> list[float]:
        return [float(metric.result()) for metric in found.values()]

    assert np.isnan(results()).all()  # no samples
    update(labels, probabilities)
    expected = results()
    for bad in ("prediction", "row", "weight"):
        spoilt, weights = probabilities.copy(), ones.copy()
        if bad == "weight":
            weights[5] = np.nan
        else:
            spoilt[5, : 1 if bad == "prediction" else None] = np.nan
        update(labels, spoilt, weights)
        update(labels, probabilities)
        assert np.isnan(results()).all()
        emptied(mode, from_logits=False)
        assert np.isnan(results()).all()
        update(labels, probabilities, 0 * ones)
        assert np.isnan(results()).all()
        update(labels, probabilities)
        assert results() == expected
    found, update = emptied(mode, from_logits=True)
    logits = np.log(probabilities)
    logits[1] = [np.inf, 0, 0, 0]
    update(labels, logits)
    assert np.isnan(results()).all()


GOOD = np.array([[0.5, 0.25, 0.25, 0.0]] * 2, np.float32)
BAD = {
    "label too large": (([0, CLASSES], GOOD), r"y_true: expected class ids in 0\.\.3"),
    "label negative": (([-1, 0], GOOD), r"y_true: expected class ids in 0\.\.3"),
    "label fractional": (([0.0, 1.5], GOOD), r"y_true: expected class ids in 0\.\.3"),
    "label nan": (([0.0, np.nan], GOOD), r"y_true: expected class ids in 0\.\.3"),
    "soft label": ((GOOD * 2, GOOD), r"y_true: expected rows of numbers that are not negative"),
    "logits": (([0, 1], GOOD * 3), r"y_pred: expected probabilities .* from_logits=True"),
    "negative": (([0, 1], GOOD - np.array([0, 0, -0.1, 0.1])), r"y_pred: expected probabilities"),
    "infinite": (([0, 1], GOOD + np.array([0, 0, 0, np.inf])), r"y_pred: expected probabilities"),
    "weight": (([0, 1], GOOD, [1.0, -1.0]), r"sample_weight: expected numbers that are not neg"),
}


@functools.cache
def traced(name: str) -> Any:
    return tf.function(make(name).update_state)


@pytest.mark.parametrize("bad", BAD)
def test_bad_values_raise_and_are_nan_under_xla(bad):
    batch, message = BAD[bad]
    # Of one dtype, so that they are compiled once.
    batch = [np.asarray(part) for part in batch]
    batch = [part.astype(np.float32) if part.dtype == np.float64 else part for part in batch]
    for name in KINDS:
        with pytest.raises(InputError, match=message):
            make(name).update_state(*batch)
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            traced(name)(*batch)
    found, update = emptied("xla", from_logits=False)
    update(*batch)
    assert np.isnan([float(metric.result()) for metric in found.values()]).all()


@every_metric
def test_shapes_that_do_not_fit(name):
    for one_column in ([[0.3], [0.7]], [0.3, 0.7]):
        with pytest.raises(InputError, match="in place of one sigmoid output use two"):
            make(name).update_state([0, 1], one_column)
    with pytest.raises(InputError, match=r"y_true: expected class ids of shape \(batch,\)"):
        make(name).update_state(np.zeros((2, 3)), GOOD)


def test_arguments():
    for call in (
        lambda: streaming.ExpectedCalibrationError(num_bins=0),
        lambda: streaming.MaximumCalibrationError(num_bins=2.5),
        lambda: streaming.StaticCalibrationError(num_classes=0),
        lambda: streaming.TopKError(k=0),
    ):
        with pytest.raises(InputError, match="expected an integer of at least 1"):
            call()
    metric = streaming.StaticCalibrationError(num_classes=3)
    with pytest.raises(InputError, match="expected num_classes=3 columns, received 4"):
        metric.update_state([0, 1], GOOD)


def test_logits_declared_of_a_softmax_output():
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(CLASSES, "softmax")])
    model.compile(metrics=[make("ece", from_logits=True)], loss="sparse_categorical_crossentropy")
    with pytest.raises(InputError, match="y_pred is the output of a softmax"):
        model.evaluate(np.zeros((2, 3)), np.zeros(2), verbose=0)


# In Keras ----------------------------------------------------------------------------------------


def classifier(activation: str | None = "softmax") -> tuple[keras.Model, np.ndarray, np.ndarray]:
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(CLASSES, activation)
    rng = np.random.default_rng(0)
    return (
        keras.Sequential([keras.Input([3]), dense]),
        rng.normal(size=(50, 3)).astype(np.float32),
        rng.integers(CLASSES, size=50),
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 3}],
    ids=lambda options: next(iter(options), "graph"),
)
def test_in_the_training_log(options):
    model, x, y = classifier()
    chosen = ["ece", "mce", "sce", "nll"]
    model.compile(
        "sgd",
        "sparse_categorical_crossentropy",
        metrics=[make(name) for name in chosen],
        weighted_metrics=[make("ece", name="weighted")],
        **options,
    )
    weights = np.arange(50) % 3
    batch_size = 25 if "jit_compile" in options else 15  # XLA compiles for each size
    log = model.fit(
        x, y, batch_size=batch_size, epochs=2, verbose=0, validation_data=(x, y, weights)
    ).history
    probabilities = model.predict(x, verbose=0)
    tolerance = 1e-6  # the network's last bit depends on batch size, XLA and TensorFlow's version
    for name in chosen:
        key, expected = "val_" + make(name).name, METRICS[name][2](y, probabilities)
        assert log[key][-1] == pytest.approx(expected, rel=tolerance), key
    repeats = np.repeat(np.arange(50), weights)
    expected = metrics.expected_calibration_error(y[repeats], probabilities[repeats])
    assert log["val_weighted"][-1] == pytest.approx(expected, rel=tolerance)
    assert len(log["expected_calibration_error"]) == 2


@every_metric
def test_names_and_directions_are_those_of_the_records(name):
    metric = make(name)
    (record,) = (r for r in metrics.METRICS.values() if r is type(metric).record)
    if not isinstance(metric, streaming.TopKError):
        assert metric.name == record.function
        assert callable(getattr(metrics, record.function))
    assert getattr(metric, "_direction", None) == {1: "up", -1: "down", 0: None}[record.better]


def test_ece_chooses_the_checkpoint(tmp_path):
    model, x, y = classifier(activation=None)
    model.compile(
        keras.optimizers.SGD(5.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[make("ece", from_logits=True), make("sce", from_logits=True)],
        run_eagerly=True,
    )
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras",
        monitor="val_expected_calibration_error",  # less is better, as Keras is told
        save_best_only=True,
    )
    log = model.fit(
        x, y, epochs=4, verbose=0, validation_data=(x, y), callbacks=[checkpoint]
    ).history
    best = keras.models.load_model(tmp_path / "best.keras").evaluate(
        x, y, verbose=0, return_dict=True
    )
    assert best["expected_calibration_error"] == min(log["val_expected_calibration_error"])
    assert set(best) == {"loss", "expected_calibration_error", "static_calibration_error"}


@every_kind
def test_keras_has_it_by_its_registered_name(name):
    kind, arguments, _ = METRICS[name]
    registered = f"lsplus_tf>{kind.__name__}"
    assert keras.metrics.deserialize(registered) is kind
    found = keras.metrics.deserialize({"class_name": registered, "config": arguments})
    assert found.get_config() == kind(**arguments).get_config()
    if not arguments:
        assert keras.metrics.get(registered).get_config() == kind().get_config()


@every_metric
def test_serialization(name):
    metric = make(name, from_logits=True, name="mine", dtype="float32")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(copy) is type(metric)
    assert copy.get_config() == metric.get_config()
    labels, probabilities = samples()
    logits = np.log(probabilities)
    assert value(copy, labels, logits) == value(metric, labels, logits)
    assert copy.result().dtype == tf.float32
    default = make(name)
    assert type(default).from_config(default.get_config()).get_config() == default.get_config()


def test_state_is_small_and_can_be_had_before_the_first_batch():
    metric = streaming.StaticCalibrationError(num_bins=10, num_classes=CLASSES)
    assert sum(int(np.prod(v.shape)) for v in metric.variables) == CLASSES * 10 + 1
    labels, probabilities = samples()
    state = [v.numpy() for v in metric.variables]
    state = metric.stateless_update_state(state, labels, probabilities)
    expected = metrics.static_calibration_error(labels, probabilities, num_bins=10)
    assert float(metric.stateless_result(state)) == pytest.approx(expected)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model, x, y = classifier()
        chosen = ["ece", "sce", "brier", "nll", "confidence", "top1"]
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=list(map(make, chosen)))
        log = model.evaluate(x, y, verbose=0, return_dict=True)
        half = tf.function(model)(x)
        assert half.dtype == policy.removeprefix("mixed_")

        class Counting(keras.layers.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.seen = make("top1")

            def call(self, outputs: tf.Tensor) -> tf.Tensor:
                self.seen.update_state(tf.zeros_like(outputs[:, 0]), outputs)
                return outputs

        layer = Counting()
        for _ in range(2):
            layer(tf.one_hot(np.arange(4099) % 2, 2))
    finally:
        keras.config.set_dtype_policy(before)
    for name in chosen:
        metric = make(name)
        assert {v.dtype for v in metric.variables} == {"float64"}
        assert log[metric.name] == pytest.approx(value(metric, y, half), rel=0.01), name
    assert layer.seen.totals.numpy().tolist() == [8198, 4098]


def test_two_replicas():
    script = """
        import keras, numpy as np, tensorflow as tf
        import lsplus_tf.metrics as m
        import lsplus_tf.metrics.keras as streaming

        cpu, device = tf.config.list_physical_devices("CPU"), tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu[0], [device, device])
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(49, 3)).astype("float32"), rng.integers(4, size=49)
        weights = np.arange(49) % 3
        chosen = {
            streaming.ExpectedCalibrationError: m.expected_calibration_error,
            streaming.MaximumCalibrationError: m.maximum_calibration_error,
            streaming.StaticCalibrationError: m.static_calibration_error,
            streaming.BrierScore: m.brier_score,
        }
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            model = keras.Sequential([keras.Input([3]), keras.layers.Dense(4, "softmax")])
            model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy",
                          weighted_metrics=[cls() for cls in chosen])
            own = [streaming.StaticCalibrationError(), streaming.MaximumCalibrationError()]
        # The last batch holds one sample: a replica has none.
        log = model.fit(x, y, batch_size=8, verbose=0, sample_weight=weights).history
        p = model.predict(x, verbose=0)
        twice = np.repeat(np.arange(49), weights)
        for cls, function in chosen.items():
            expected = function(y[twice], p[twice])
            # Not closer: the float32 outputs of batches of another size may differ in the last bit.
            np.testing.assert_allclose(log[cls().name][-1], expected, rtol=1e-6)

        @tf.function
        def step(labels, outputs):
            strategy.run(lambda *batch: [metric.update_state(*batch) for metric in own],
                         args=(labels, outputs))

        data = tf.data.Dataset.from_tensor_slices((y, p)).batch(16)
        for labels, outputs in strategy.experimental_distribute_dataset(data):
            step(labels, outputs)
        for metric in own:
            np.testing.assert_allclose(metric.result(), chosen[type(metric)](y, p), rtol=1e-12)
        print("done")
    """
    done = forked.run("-c", textwrap.dedent(script))
    assert done.stdout.endswith("done\n"), done.stderr
