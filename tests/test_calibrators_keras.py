"""Calibrators inside Keras models: the same probabilities, saved, exported, and loaded anew."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from lsplus_tf.backbones import fingerprint
from lsplus_tf.calibrators import CALIBRATORS, CalibrationLayer, TemperatureScaling, attach
from lsplus_tf.calibrators.keras import model_output
from lsplus_tf.errors import InputError
from lsplus_tf.predictions import Predictions

EVERY = pytest.mark.parametrize("name", CALIBRATORS)
CLASSES, INPUTS = 4, 6
# The layers that a network ends in.
ENDS = {
    "linear": lambda: [keras.layers.Dense(CLASSES)],
    "dense": lambda: [keras.layers.Dense(CLASSES, activation="softmax")],
    "softmax": lambda: [keras.layers.Dense(CLASSES), keras.layers.Softmax()],
    "activation": lambda: [keras.layers.Dense(CLASSES), keras.layers.Activation("softmax")],
    "function": lambda: [
        keras.layers.Dense(CLASSES),
        keras.layers.Activation(keras.activations.softmax, dtype="float32"),
    ],
    "passed on": lambda: [
        keras.layers.Dense(CLASSES, activation="softmax"),
        keras.layers.Dropout(0.5),
        keras.layers.Activation("linear", dtype="float32"),
    ],
    "of one's own": lambda: [
        keras.layers.Dense(CLASSES),
        keras.layers.Lambda(lambda z: keras.ops.exp(z - keras.ops.logsumexp(z, -1, True))),
    ],
}


pytestmark = pytest.mark.usefixtures("float32_afterwards")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((INPUTS,))
    hidden = keras.layers.Dense(8, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(hidden), name="small")


def images(samples: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(samples, INPUTS)).astype(np.float32) * 4


@pytest.fixture(scope="module")
def fitted(model):
    logits = model(images()).numpy()
    labels = (logits / 3 + np.random.default_rng(1).gumbel(size=logits.shape)).argmax(axis=1)
    return {name: kind().fit(logits, labels) for name, kind in CALIBRATORS.items()}


def layers_to(end: str) -> list[keras.layers.Layer]:
    return [keras.layers.Dense(8, activation="relu"), *ENDS[end]()]


def sequential(layers: list[keras.layers.Layer]) -> keras.Model:
    return keras.Sequential([keras.Input((INPUTS,)), *layers])


def functional(layers: list[keras.layers.Layer]) -> keras.Model:
    inputs = outputs = keras.Input((INPUTS,))
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def nested(layers: list[keras.layers.Layer]) -> keras.Model:
    return functional([keras.Sequential([sequential(layers)])])


def up_to_logits(layers: list[keras.layers.Layer]) -> keras.Model:
    """The network of built layers without what comes after its logits."""
    last = keras.layers.Dense(CLASSES)
    network = sequential([layers[0], last])
    last.set_weights(layers[1].get_weights())
    return network


@EVERY
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_layer_gives_the_calibrators_probabilities(fitted, name, jit_compile):
    logits = np.random.default_rng(2).normal(size=(200, CLASSES)).astype(np.float32) * 5
    logits[0], logits[1, 0] = 2.0, 500.0
    layer = tf.function(fitted[name].to_layer(), jit_compile=jit_compile)
    probabilities = layer(logits)
    assert probabilities.dtype == "float32"
    np.testing.assert_allclose(probabilities, fitted[name].predict_proba(logits), atol=1e-7)


@EVERY
def test_rows_sum_to_1_of_any_finite_logits_and_float64_is_not_rounded_on_the_way_in(fitted, name):
    rows = np.array(
        [
            [1e300, -1e308, 0, 1e299],
            [1.7e308, 1.7e308, -1.7e308, 0],
            [-1.7e308] * CLASSES,
            [1e308] * CLASSES,
            [1e17] * CLASSES,
            [5e-324, 0, -5e-324, 1e-310],
            [745, 0, -745, 1e-9],
        ]
    )
    rows = np.concatenate([rows, np.random.default_rng(0).normal(size=(40, CLASSES)) * 1e3])
    layer = fitted[name].to_layer()
    received = layer(rows).numpy()
    # What is subnormal is 0 to TensorFlow in some operations.
    usual = np.abs(rows).max(axis=1) > 1e-300
    np.testing.assert_allclose(received[usual], fitted[name].predict_proba(rows)[usual], atol=1e-7)
    single = np.float32([[3e38, -3e38, 0, 3e37], [3e38] * CLASSES, [1e-45, 0, 0, 0]])
    for probabilities in (received, layer(single).numpy()):
        assert np.isfinite(probabilities).all()
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("made", [functional, sequential, nested])
@pytest.mark.parametrize("end", ENDS)
def test_a_model_may_end_in_a_softmax(fitted, end, made):
    """Of logits z, log p is z but for a constant in each row, which most calibrators ignore."""
    keras.utils.set_random_seed(0)
    layers = layers_to(end)
    network = made(layers)
    new = images(300, seed=5) / 4
    logits = up_to_logits(layers)(new).numpy()
    assert model_output(network).kind == ("logits" if end == "linear" else "probabilities")
    # Where the logits come from does not depend on the calibrator: some stand for all.
    whole = made is functional and end in ("linear", "dense")
    for name in fitted if whole else ("temperature", "dirichlet", "platt"):
        calibrator = fitted[name]
        if end == "linear" or calibrator.ignores_constants:
            probabilities = attach(network, calibrator)(new).numpy()
            assert probabilities.dtype == np.float32
            np.testing.assert_allclose(probabilities, calibrator.predict_proba(logits), atol=2e-6)
        else:
            with pytest.raises(InputError, match=r"is a function of the logits.*temperature or"):
                attach(network, calibrator)


def test_the_calibrators_that_take_probabilities_are_those_that_a_constant_does_not_change(fitted):
    logits = np.random.default_rng(2).normal(size=(50, CLASSES)) * 5
    for calibrator in fitted.values():
        moved = calibrator.predict_proba(logits + np.linspace(-9, 9, 50)[:, None])
        if np.allclose(moved, calibrator.predict_proba(logits), atol=1e-9):
            CalibrationLayer(calibrator.to_json(), from_logits=False)
        else:
            with pytest.raises(InputError, match=f"calibrator: {calibrator.name} is a function of"):
                CalibrationLayer(calibrator.to_json(), from_logits=False)


def logarithms(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype(np.float64), 1e-38))


def test_probabilities_of_exactly_zero(fitted):
    inputs = keras.Input((CLASSES,))
    network = keras.Model(inputs, keras.layers.Softmax()(inputs))
    logits = images(200)[:, :CLASSES] * 30
    probabilities = network(logits).numpy()
    assert (probabilities == 0).mean() > 0.1
    for name, calibrator in fitted.items():
        if calibrator.ignores_constants:
            calibrated = tf.function(attach(network, calibrator), jit_compile=name == "dirichlet")
            expected = calibrator.predict_proba(logarithms(probabilities))
            np.testing.assert_allclose(calibrated(logits), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_softmax_in_16_bits_is_calibrated_as_it_is_and_told(fitted, dtype):
    keras.config.set_dtype_policy(f"mixed_{dtype}")
    network = sequential(layers_to("dense"))
    new = images(200)
    probabilities = network(new).numpy()
    assert probabilities.dtype == dtype
    for name in ("temperature", "dirichlet"):
        with pytest.warns(UserWarning, match=f"gives probabilities in {dtype}, which rounds"):
            calibrated = attach(network, fitted[name])
        expected = fitted[name].predict_proba(logarithms(probabilities))
        np.testing.assert_allclose(calibrated(new), expected, atol=1e-6)
    attach(sequential(layers_to("function")), fitted["temperature"])  # whose softmax is in float32


def test_one_sigmoid_is_the_probability_of_the_second_class():
    keras.utils.set_random_seed(1)
    scores = np.random.default_rng(0).normal(size=(300, 1)) * 3
    labels = (scores / 2 + np.random.default_rng(1).logistic(size=(300, 1)) > 0).astype(int)
    both = np.concatenate([np.zeros_like(scores), scores], axis=1)
    inputs = keras.Input((1,))
    ends = (
        keras.layers.Activation("sigmoid"),
        keras.Sequential([keras.layers.Activation(keras.activations.sigmoid)]),
    )
    for end in ends:
        network = keras.Model(inputs, end(inputs))
        assert model_output(network).num_classes == 2
        for name, kind in CALIBRATORS.items():
            calibrator = kind().fit(both, labels)
            new = np.linspace(-12, 12, 77, dtype=np.float32)[:, None]
            if calibrator.ignores_constants:
                calibrated = attach(network, calibrator)
                assert calibrated.output_shape == (None, 2)
                expected = calibrator.predict_proba(np.concatenate([0 * new, new], axis=1))
                # 1 - p keeps three digits where p is 1 - 6e-6.
                np.testing.assert_allclose(calibrated(new), expected, atol=3e-3, err_msg=name)
                p = network(new).numpy().astype(np.float64)
                exact = calibrator.predict_proba(logarithms(np.concatenate([1 - p, p], axis=1)))
                np.testing.assert_allclose(calibrated(new), exact, atol=1e-6, err_msg=name)
            else:
                with pytest.raises(InputError, match="is a function of the logits"):
                    attach(network, calibrator)


def test_what_several_networks_give_together_are_probabilities(fitted):
    inputs = keras.Input((INPUTS,))
    members = [sequential(layers_to("dense"))(inputs) for _ in range(2)]
    mean = keras.Model(inputs, keras.layers.Average()(members))
    assert model_output(mean).kind == "probabilities"
    raw = keras.Model(
        inputs, keras.layers.Add()([keras.layers.Dense(CLASSES)(inputs) for _ in range(2)])
    )
    assert model_output(raw).kind == "logits"
    new = images(50)
    expected = fitted["platt"].predict_proba(logarithms(mean(new).numpy()))
    np.testing.assert_allclose(attach(mean, fitted["platt"])(new), expected, atol=1e-6)


def test_inputs_stay_as_they_are_named_and_those_that_cannot_be_tried_are_told(fitted):
    inputs = {"pixels": keras.Input((INPUTS,), name="pixels")}
    network = keras.Model(inputs, keras.ops.softmax(keras.layers.Dense(CLASSES)(inputs["pixels"])))
    new = images(20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probabilities = attach(network, fitted["temperature"])({"pixels": new})
        expected = fitted["temperature"].predict_proba(logarithms(network({"pixels": new}).numpy()))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    any_size = keras.Input((None, None, CLASSES))
    pooled = keras.layers.GlobalAveragePooling2D()(any_size)
    with pytest.warns(UserWarning, match="is taken to give logits"):
        assert model_output(keras.Model(any_size, keras.ops.softmax(pooled))).kind == "logits"


def by_itself(z):
    return 1 / (1 + keras.ops.exp(-z))


SIGMOIDS: dict[str, Callable[[Any], Any]] = {
    "activation": lambda z: keras.layers.Activation("sigmoid")(z),
    "of TensorFlow": lambda z: keras.layers.Activation(tf.sigmoid)(z),
    "operation": keras.ops.sigmoid,
    "hard": lambda z: keras.layers.Activation("hard_sigmoid")(z),
    "of one's own": lambda z: keras.layers.Lambda(by_itself)(z),
    "reshaped": lambda z: keras.layers.Reshape(z.shape[1:])(keras.ops.sigmoid(z)),
    "mean": lambda z: keras.layers.Average()([keras.ops.sigmoid(z), keras.ops.sigmoid(2 * z)]),
}


@pytest.mark.parametrize("dtype", ["float32", "uint8", "mixed_float16"])
@pytest.mark.parametrize("end", SIGMOIDS)
def test_every_sigmoid_is_one(end, dtype):
    """Of one column the probability of the second class; of several refused."""
    keras.config.set_dtype_policy("float32" if dtype == "uint8" else dtype)
    given = keras.Input((INPUTS,), dtype="uint8" if dtype == "uint8" else None)
    pixels = keras.layers.Rescaling(1 / 64, offset=-1)(given)
    one = keras.Model(given, SIGMOIDS[end](keras.layers.Dense(1)(pixels)))
    assert model_output(one).num_classes == 2
    two = keras.Model(given, SIGMOIDS[end](keras.layers.Dense(2)(pixels)))
    with pytest.raises(InputError, match="a sigmoid for each class"):
        model_output(two)
    assert model_output(keras.Model(given, keras.ops.softmax(two.output))).kind == "probabilities"
    logits = keras.Model(given, keras.ops.add(keras.layers.Dense(2)(pixels), 0.5))
    assert model_output(logits).kind == "logits"
    with pytest.raises(InputError, match="end it in a sigmoid"):
        model_output(keras.Model(given, keras.layers.Dense(1)(pixels)))


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_a_model_that_takes_few_numbers_is_tried_with_zeros(dtype):
    """A table of seven entries, as of words, of which Keras's inputs are float32 by default."""
    words = keras.Input((5,), dtype=dtype)
    hidden = keras.layers.Flatten()(keras.layers.Embedding(7, 3)(words))
    probabilities = keras.ops.softmax(keras.layers.Dense(CLASSES)(hidden))
    assert model_output(keras.Model(words, probabilities)).kind == "probabilities"
    with pytest.warns(UserWarning, match="is taken to give logits"):
        model_output(keras.Model(words, keras.ops.sigmoid(keras.layers.Dense(CLASSES)(hidden))))


def test_files_give_the_same_probabilities_in_a_new_process(model, fitted, tmp_path):
    """Of all calibrators in one file, and of models that end in a softmax and in a sigmoid."""
    pixels = images(50, seed=3)
    np.save(tmp_path / "pixels.npy", pixels)
    binary = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    inputs = keras.Input((INPUTS,))
    one_sigmoid = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
    p = one_sigmoid(pixels).numpy()
    softmax = nested(layers_to("softmax"))
    every = [attach(model, calibrator).output for calibrator in fitted.values()]
    logits = model(pixels).numpy()
    for name, calibrated, expected in (
        (
            "every",
            keras.Model(model.input, keras.ops.stack(every)),
            [calibrator.predict_proba(logits) for calibrator in fitted.values()],
        ),
        (
            "softmax",
            attach(softmax, fitted["dirichlet"]),
            fitted["dirichlet"].predict_proba(logarithms(softmax(pixels).numpy())),
        ),
        (
            "sigmoid",
            attach(one_sigmoid, binary),
            binary.predict_proba(logarithms(np.concatenate([1 - p, p], axis=1))),
        ),
    ):
        calibrated.save(tmp_path / f"{name}.keras")
        calibrated.export(tmp_path / name, verbose=False)
        np.testing.assert_allclose(calibrated(pixels), expected, atol=1e-6)
        np.save(tmp_path / f"{name}.npy", expected)
    script = """
        import sys
        from pathlib import Path
        import numpy as np
        import tensorflow as tf
        folder = Path(sys.argv[1])
        expected = {path.stem: np.load(path) for path in folder.glob("*.npy")}
        pixels = expected.pop("pixels")
        for name, probabilities in expected.items():
            module = tf.saved_model.load(folder / name)
            np.testing.assert_allclose(module.serve(pixels), probabilities, atol=1e-6)
        assert "lsplus_tf" not in sys.modules
        import keras
        import lsplus_tf.calibrators.keras
        for name, probabilities in expected.items():
            loaded = keras.models.load_model(folder / f"{name}.keras")
            np.testing.assert_allclose(loaded(pixels), probabilities, atol=1e-6)
        print(len(expected), len(expected["every"]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == f"3 {len(CALIBRATORS)}"


def test_it_shares_the_models_layers_and_has_nothing_to_train(model, fitted):
    calibrated = attach(model, fitted["matrix"])
    assert calibrated.name == "small_calibrated"
    assert calibrated.layers[:-1] == model.layers
    assert calibrated.layers[-1].variables == []
    assert not calibrated.layers[-1].trainable


def test_a_sequential_model_and_one_of_two_inputs(fitted):
    calibrator = fitted["temperature"]
    sequential = keras.Sequential([keras.Input((INPUTS,)), keras.layers.Dense(CLASSES)])
    pixels = images(5)
    expected = calibrator.predict_proba(sequential(pixels).numpy())
    np.testing.assert_allclose(attach(sequential, calibrator)(pixels), expected, atol=1e-6)
    two = [keras.Input((CLASSES,)), keras.Input((CLASSES,))]
    added = attach(keras.Model(two, keras.layers.Add()(two)), calibrator)
    ones, logits = np.ones((5, CLASSES), np.float32), images(5)[:, :CLASSES]
    np.testing.assert_allclose(
        added([ones, logits]), calibrator.predict_proba(ones + logits), atol=1e-6
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_probabilities_are_float32_under_a_mixed_policy(fitted, policy):
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input((CLASSES,), dtype="float32")
    model = attach(keras.Model(inputs, keras.layers.Identity()(inputs)), fitted["platt"])
    logits = images(50)[:, :CLASSES]
    rounded = tf.cast(logits, policy.removeprefix("mixed_")).numpy().astype(np.float32)
    assert model(logits).dtype == "float32"
    np.testing.assert_allclose(model(logits), fitted["platt"].predict_proba(rounded), atol=1e-6)


def test_a_config_makes_the_same_layer(fitted):
    for calibrator in fitted.values():
        layer = CalibrationLayer.from_config(calibrator.to_layer().get_config())
        assert layer.calibrator.to_json() == calibrator.to_json()


def test_what_is_refused(model, fitted):
    calibrator = fitted["temperature"]
    inputs = keras.Input((INPUTS,))
    logits = keras.layers.Dense(CLASSES)(inputs)

    class Subclassed(keras.Model):
        pass

    three = TemperatureScaling().fit([[1.0, 0, 0], [0, 2, 0], [1, 0, 0]], [0, 1, 1])
    refused = [
        (Subclassed(), calibrator, "functional or built Sequential"),
        (keras.Sequential([keras.layers.Dense(CLASSES)]), calibrator, "functional or built"),
        (keras.Model(inputs, [logits, logits]), calibrator, "expected one output"),
        (keras.Model(inputs, keras.layers.Dense(1)(inputs)), calibrator, "one sigmoid"),
        (
            keras.Model(inputs, keras.layers.Activation("sigmoid")(logits)),
            calibrator,
            "a sigmoid for each class",
        ),
        (attach(model, calibrator), calibrator, "gives calibrated probabilities"),
        (keras.Model(inputs, attach(model, calibrator)(inputs)), calibrator, "gives calibrated"),
        (model, three, r"expected shape \(B, 3\)"),
    ]
    refused += [
        ("model.keras", calibrator, r"model: expected a keras.Model, received 'model.keras'"),
        (model, "temperature", "calibrator: expected a fitted Calibrator, received a str"),
    ]
    for wrong, fitted_, message in refused:
        with pytest.raises(InputError, match=message):
            attach(wrong, fitted_)
    with pytest.raises(InputError, match="not a calibrator"):
        CalibrationLayer("{}")


# --- which model a calibrator is for --------------------------------------------------------------


def held_out(network: keras.Model, **changes) -> Predictions:
    logits = network(images()).numpy()
    labels = (logits / 3 + np.random.default_rng(1).gumbel(size=logits.shape)).argmax(axis=1)
    given = {"logits": logits, "class_names": ["a", "b", "c", "d"], "model": fingerprint(network)}
    return Predictions(labels, **(given | changes))


def test_a_fingerprint_is_of_the_weights_and_nothing_else(model, fitted, tmp_path):
    found = fingerprint(model)
    # Restated.
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(f"float32 {weight.shape}\n".encode() + weight.tobytes())
    digest.update(b"classes [4]")
    assert found == f"sha256:{digest.hexdigest()}"
    model.save(tmp_path / "model.keras")
    inputs = keras.Input((INPUTS,))
    nested_in = keras.Model(inputs, keras.layers.Softmax()(model(inputs)), name="other")
    again = [keras.models.load_model(tmp_path / "model.keras"), nested_in]
    again += [attach(model, fitted["temperature"])]
    keras.config.set_dtype_policy("mixed_float16")
    mixed = keras.Sequential(
        [
            keras.Input((INPUTS,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(CLASSES, dtype="float32"),
        ]
    )
    mixed.set_weights(model.get_weights())
    mixed.trainable = False
    assert {fingerprint(each) for each in [*again, mixed]} == {found}
    changed = model.get_weights()
    changed[-1][0] = np.nextafter(changed[-1][0], 1, dtype=np.float32)
    mixed.set_weights(changed)
    assert fingerprint(mixed) != found
    binary = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    two = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    assert fingerprint(attach(binary, two)) == fingerprint(binary)
    with pytest.raises(InputError, match="model: expected a built model"):
        fingerprint(keras.Sequential([keras.layers.Dense(2)]))
    with pytest.raises(InputError, match="model: expected a Keras model, received a str"):
        fingerprint("model.keras")


def test_attach_warns_of_another_model_and_refuses_other_classes(model):
    one = TemperatureScaling().fit(held_out(model))
    keras.utils.set_random_seed(1)
    other = sequential(layers_to("dense"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        attach(model, one, class_names=["a", "b", "c", "d"])
        attach(model, one, class_names=["0", "1", "2", "3"])
        attach(other, TemperatureScaling().fit(held_out(model, model=None)))
    with pytest.warns(UserWarning, match="calibrator: fitted to the outputs of another model"):
        attach(other, one)
    for names in (["b", "a", "c", "d"], ["a", "b", "c", "e"]):
        with pytest.raises(InputError, match="calibrator: expected the model's classes"):
            attach(model, one, class_names=names)


def test_log_probabilities_matter_where_a_constant_does(model):
    labels, rows = held_out(model).labels, log_softmax(model(images()).numpy(), axis=1)
    for kind in CALIBRATORS.values():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            attach(model, kind().fit(rows, labels))
        said = any("was fitted to log-probabilities" in str(each.message) for each in caught)
        assert said != kind.ignores_constants
