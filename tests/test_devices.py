"""Several devices of one host train as one device does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from rounding import assert_equal_but_for_rounding, assert_exact_step, variables

import lsplus_tf.training.train  # noqa: F401  registers what saved models are made of
from lsplus_tf.backbones import build_classifier
from lsplus_tf.backbones.weights import leaf_layers
from lsplus_tf.config import Augmentation, Protocol, load_config
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.base import Split
from lsplus_tf.datasets.pipeline import evaluation_batches, training_batches
from lsplus_tf.errors import InputError
from lsplus_tf.training import run_folder
from lsplus_tf.training.devices import evaluation_batch_size, replicated, strategy_for

# --- the parts of batches -------------------------------------------------------------------------


@pytest.mark.parametrize("mixup", [0.0, 0.3])
def test_the_parts_of_batches_are_the_batches(mixup):
    """Augmented as in the whole batch, and of equal size but for one sample."""
    split = load_dataset("digits").test
    augmentation = Augmentation(
        horizontal_flip=True, rotation=20.0, zoom=0.2, shift=0.2, channel_shift=20.0
    )

    def batches(**part: int) -> list[tuple[np.ndarray, np.ndarray]]:
        made = training_batches(
            split,
            batch_size=119,
            epochs=2,
            seed=3,
            augmentation=augmentation,
            mixup=mixup,
            num_classes=10,
            **part,
        )
        return list(made.as_numpy_iterator())

    whole, parts = batches(), [batches(part=part, parts=4) for part in range(4)]
    assert_parts(whole, parts)
    for sizes in zip(*([len(labels) for _, labels in part] for part in parts), strict=True):
        assert max(sizes) - min(sizes) <= 1


def test_the_parts_of_batches_for_evaluation():
    split = load_dataset("digits").test

    def batches(**part: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(evaluation_batches(split, batch_size=50, **part).as_numpy_iterator())

    assert_parts(batches(), [batches(part=part, parts=3) for part in range(3)])


def assert_parts(whole: list[Any], parts: list[list[Any]]) -> None:
    for batch, *of_batch in zip(whole, *parts, strict=True):
        for i, expected in enumerate(batch):
            joined = np.concatenate([part[i] for part in of_batch])
            np.testing.assert_allclose(joined, expected, rtol=1e-6, atol=1e-4)


# --- the network of several devices ---------------------------------------------------------------


def test_the_copy_of_a_network_is_the_network_with_synchronized_statistics():
    strategy = tf.distribute.get_strategy()
    model = build_classifier("small_residual_cnn", (8, 8, 1), 10, width=0.1, head=(4,))
    copy = replicated(model, strategy)
    images = load_dataset("digits").test.images[:20].astype(np.float32)
    np.testing.assert_array_equal(copy(images), model(images))
    for made, expected in ((model, False), (copy, True)):
        norms = [x for x in leaf_layers(made) if isinstance(x, keras.layers.BatchNormalization)]
        assert len(norms) == 9
        assert all(norm.synchronized == expected for norm in norms)


# --- two devices ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What on_two_devices.py leaves: all that needs devices of its own, in one process."""
    out = tmp_path_factory.mktemp("devices")
    script = Path(__file__).with_name("on_two_devices.py")
    done = forked.run(str(script), str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def told(trained: Path) -> dict[str, Any]:
    return json.loads((trained / "told.json").read_text())


@pytest.mark.parametrize("run", ["online", "confusion", "self", "learned", "fedlas"])
def test_two_devices_give_what_one_gives(trained, run):
    """With BatchNormalization, batches that are split unevenly, mixup, and in two stages."""
    one, two = (trained / f"{run}_on_{devices}" for devices in (1, 2))
    assert_equal_but_for_rounding(two, one)
    counts = [
        run_folder.read_json(folder, run_folder.SUMMARY)["performance"]["devices"]
        for folder in (one, two)
    ]
    assert counts == [1, 2]


def test_a_step_of_two_devices_is_as_exact_as_that_of_one(trained):
    whole = load_dataset("digits").train
    split = Split(whole.images[:127], whole.labels[:127], whole.ids[:127])
    assert_exact_step(trained / "step_on_2", split)


def test_a_training_on_two_devices_goes_on(trained):
    """To the same bits, but for what is summed over the epoch that was interrupted.

    That is the last of two; the sums of both devices are saved, and restored to the first.
    """
    resumed, whole = trained / "online_resumed", trained / "online_on_2"
    assert "goes on after 1 epochs and 4 steps" in (resumed / run_folder.LOG).read_text()
    assert_equal_but_for_rounding(resumed, whole)
    models = [keras.models.load_model(folder / run_folder.MODEL) for folder in (resumed, whole)]
    for a, b in zip(*map(variables, models), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), a.path)
    ours, theirs = (run_folder.read_soft_labels(folder) for folder in (resumed, whole))
    np.testing.assert_array_equal(ours[0], theirs[0])


@pytest.mark.usefixtures("nondeterministic")
def test_xla_gives_what_the_kernels_give(trained):
    """And is what a run had: Keras leaves it out where it cannot compile."""
    summary = run_folder.read_json(trained / "xla_on_1", run_folder.SUMMARY)
    assert summary["performance"]["jit_compile"] is True
    # XLA has a logarithm and an exponential function of its own.
    assert_equal_but_for_rounding(trained / "xla_on_1", trained / "online_on_1", atol=1e-5)


def test_the_saved_model_is_of_one_device(trained):
    for folder in ("online_on_2", "half_on_2"):
        model = keras.models.load_model(trained / folder / run_folder.MODEL, compile=False)
        norm = model.get_layer("backbone").layers[1]
        assert isinstance(norm, keras.layers.BatchNormalization)
        assert not norm.synchronized


def test_half_precision_trains_on_two_devices(trained):
    history = run_folder.read_history(trained / "half_on_2")
    assert np.isfinite(history).all(axis=None)


def test_two_devices_learn_of_a_validation_what_one_learns(told):
    one, two = told["from_validation"]
    assert one.keys() == two.keys()
    assert one["cals validations"] == [2.0]
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-6, atol=1e-12, err_msg=name)


def test_an_infinite_gradient_on_the_second_device_is_passed_over(told):
    ours, theirs = told["ours"], told["keras"]
    # Two devices' gradients of 1, unscaled by 4, times the learning rate of 0.5.
    assert ours["finite"] == theirs["finite"] == [0.75, 0.75, 4.0]
    assert ours["infinite"] == [0.75, 0.75, 2.0]
    assert ours["iterations"] == 1
    assert not np.isfinite(theirs["infinite"][1]), "then Keras's own would do"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            "devices=2,jit_compile=true,deterministic=false",
            "protocol.jit_compile: only on one device, expected the default on 2, received True; "
            "protocol.devices: 1 trains on one",
        ),
        (
            "devices=2,steps_per_execution=4",
            "protocol.steps_per_execution: only on one device, expected the default on 2, "
            "received 4; protocol.devices: 1 trains on one",
        ),
        (
            "devices=2,batch_size=1",
            "protocol.batch_size: expected batches of at least 2 images, one for each device, "
            "received 1, with which the last batch of 127 training images has 1",
        ),
        (
            "devices=2,batch_size=126",
            "protocol.batch_size: expected batches of at least 2 images, one for each device, "
            "received 126, with which the last batch of 127 training images has 1",
        ),
        (
            "devices=4",
            "protocol.devices: expected at most 3 (CPU devices, since there is no GPU), received 4",
        ),
        (
            "devices=3",
            "protocol.devices: expected as many as this process has trained on before, received "
            "3; begin another process",
        ),
    ],
)
def test_what_several_devices_cannot_is_told(told, settings, message):
    assert told["refusals"][settings] == message


def test_batches_of_the_validation_have_a_sample_for_each_device():
    sizes = [(100, 25, 4, 25), (101, 25, 1, 25), (101, 25, 4, 24), (9, 8, 2, 7), (5, 64, 4, 64)]
    for samples, batch_size, devices, expected in sizes:
        assert evaluation_batch_size(samples, batch_size, devices) == expected
        assert samples % expected == 0 or samples % expected >= devices
    with pytest.raises(InputError, match="devices: expected no more than the images of the valid"):
        evaluation_batch_size(3, 64, 4)


def test_on_one_cpu_there_is_no_strategy():
    assert strategy_for(Protocol(epochs=1, batch_size=1), 3) is tf.distribute.get_strategy()


# --- what the documentation shows -----------------------------------------------------------------

DOCUMENTED = (Path(__file__).resolve().parents[1] / "docs" / "multi_gpu.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENTED, re.DOTALL)


def test_the_settings_that_it_shows_are_settings():
    """Its Python is run by on_two_devices.py, its TF_CONFIG read by test_hosts.py."""
    (shown,) = blocks("yaml")
    changes = [
        f"protocol.{k}={json.dumps(v)}" for k, v in yaml.safe_load(shown)["protocol"].items()
    ]
    assert len(changes) == 4
    load_config(Path(__file__).resolve().parents[1] / "configs" / "digits.yaml", changes)
    assert len(blocks("python")) == 1


def test_the_keys_of_the_summary_that_it_names_are_there(trained):
    summary = run_folder.read_json(trained / "online_on_2", run_folder.SUMMARY)
    assert summary["performance"].keys() <= set(re.findall(r"`(\w+)`", DOCUMENTED))
