"""Calibrators inside Keras models: the same probabilities, saved, exported, and loaded anew."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from lsplus_tf.calibrators import CALIBRATORS, CalibrationLayer, TemperatureScaling, attach
from lsplus_tf.errors import InputError

EVERY = pytest.mark.parametrize("name", CALIBRATORS)
CLASSES, INPUTS = 4, 6
# All operations are in these.
EXPORTED = ("dirichlet", "isotonic", "weight", "platt", "logit_normalization")


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


@EVERY
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_layer_gives_the_calibrators_probabilities(fitted, name, jit_compile):
    logits = np.random.default_rng(2).normal(size=(200, CLASSES)).astype(np.float32) * 5
    logits[0], logits[1, 0] = 2.0, 500.0
    layer = tf.function(fitted[name].to_layer(), jit_compile=jit_compile)
    probabilities = layer(logits)
    assert probabilities.dtype == "float32"
    np.testing.assert_allclose(probabilities, fitted[name].predict_proba(logits), atol=1e-7)


def test_files_give_the_same_probabilities_in_a_new_process(model, fitted, tmp_path):
    pixels = images(50, seed=3)
    np.save(tmp_path / "pixels.npy", pixels)
    for name, calibrator in fitted.items():
        calibrated = attach(model, calibrator)
        calibrated.save(tmp_path / f"{name}.keras")
        if name in EXPORTED:
            calibrated.export(tmp_path / name, verbose=False)
        expected = calibrator.predict_proba(model(pixels).numpy())
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
        exported = [path for path in folder.iterdir() if path.is_dir()]
        for path in exported:
            module = tf.saved_model.load(path)
            np.testing.assert_allclose(module.serve(pixels), expected[path.name], atol=1e-6)
        assert "lsplus_tf" not in sys.modules
        import keras
        import lsplus_tf.calibrators.keras
        for name, probabilities in expected.items():
            loaded = keras.models.load_model(folder / f"{name}.keras")
            np.testing.assert_allclose(loaded(pixels), probabilities, atol=1e-6)
        print(len(exported), len(expected))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == f"{len(EXPORTED)} {len(CALIBRATORS)}"


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
        (keras.Model(inputs, keras.layers.Softmax()(logits)), calibrator, "ends in probabilities"),
        (
            keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax")(inputs)),
            calibrator,
            "ends in probabilities",
        ),
        (
            keras.Model(inputs, keras.layers.Activation("softmax")(logits)),
            calibrator,
            "ends in probabilities",
        ),
        (attach(model, calibrator), calibrator, "ends in probabilities"),
        (model, three, r"expected shape \(B, 3\)"),
    ]
    for wrong, fitted_, message in refused:
        with pytest.raises(InputError, match=message):
            attach(wrong, fitted_)
    with pytest.raises(InputError, match="not a calibrator"):
        CalibrationLayer("{}")
