"""What makes a training fast does what it says, and how fast it was is measured."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import DIGITS

from lsplus_tf.config import Experiment, load_config
from lsplus_tf.datasets import ImageDataset, load_dataset
from lsplus_tf.datasets.base import Split
from lsplus_tf.errors import InputError
from lsplus_tf.training import run_folder, steps, train
from lsplus_tf.training.environment import import_tensorflow
from lsplus_tf.training.steps import Speed, peak_process_bytes


def experiment(*overrides: str) -> Experiment:
    common = ["protocol.epochs=2", "protocol.schedule=null", "protocol.batch_size=50", "seeds=[0]"]
    return load_config(DIGITS, [*common, *overrides])


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    whole = load_dataset("digits")
    splits = (Split(s.images[:120], s.labels[:120], s.ids[:120]) for _, s in whole.splits())
    return ImageDataset(whole.name, whole.class_names, *splits)


def network(scale: float = 1.0) -> Any:
    def build(*, image_shape: tuple[int, ...], num_classes: int, **_: Any) -> keras.Model:
        inputs = keras.Input(image_shape)
        x = keras.layers.Rescaling(1 / 255, dtype="float32")(inputs)
        x = keras.layers.Dense(8, activation="relu", name="first")(keras.layers.Flatten()(x))
        x = keras.layers.Dense(num_classes, name="second")(x)
        return keras.Model(inputs, keras.layers.Rescaling(scale, dtype="float32")(x))

    return build


@pytest.fixture
def run(dataset, monkeypatch, tmp_path):
    def trained(*overrides: str, scale: float = 1.0) -> Path:
        monkeypatch.setattr(train, "build_classifier", network(scale))
        folder = tmp_path / f"run_{len(list(tmp_path.iterdir()))}"
        train.Training(folder, experiment(*overrides), "hard_labels", 0, dataset).run()
        return folder

    return trained


# --- precision ------------------------------------------------------------------------------------


def moved(folder: Path) -> float:
    """How far the first layer is from where the same seed begins."""
    keras.utils.set_random_seed(0)
    fresh = network()(image_shape=(8, 8, 1), num_classes=10)
    model = keras.models.load_model(folder / run_folder.MODEL, compile=False)
    kernels = [m.get_layer("first").kernel.numpy() for m in (model, fresh)]
    return float(np.abs(kernels[0] - kernels[1]).max())


def test_mixed_float16_scales_the_loss(run, monkeypatch):
    """Gradients of 1e-9 are 0 in float16; the learning rate makes steps of them."""
    settings = ("protocol.precision=mixed_float16", "protocol.checkpoint=last")
    settings += ("protocol.optimizer={name: sgd, learning_rate: 1.0e+5}",)
    assert moved(run(*settings, scale=1e-7)) > 1e-5
    kind = keras.optimizers.LossScaleOptimizer
    unscaled = functools.partialmethod(kind.__init__, initial_scale=1.0)
    monkeypatch.setattr(kind, "__init__", unscaled)
    assert moved(run(*settings, scale=1e-7)) == 0.0, "the test needs such gradients"


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_precision_is_that_of_layers_and_not_of_weights(run, precision):
    folder = run(f"protocol.precision={precision}", "protocol.epochs=1")
    model = keras.models.load_model(folder / run_folder.MODEL, compile=False)
    layer = model.get_layer("first")
    assert layer.compute_dtype == precision.removeprefix("mixed_")
    assert layer.kernel.dtype == "float32"
    assert run_folder.read_predictions(folder, "test").logits.dtype == np.float32
    assert keras.config.dtype_policy().name == "float32"


# --- XLA ------------------------------------------------------------------------------------------


def test_xla_beside_determinism_is_refused():
    with pytest.raises(InputError, match="jit_compile: set deterministic: false, which"):
        experiment("protocol.jit_compile=true")


@pytest.mark.parametrize("value", ["yes please", "2", "null"])
def test_what_is_no_choice_of_xla_is_told(value):
    with pytest.raises(InputError, match=r"protocol\.jit_compile: expected 'auto', True or"):
        experiment(f"protocol.jit_compile={value}")


def test_what_changes_rounding_alone_is_no_setting_of_the_result():
    for setting in ("devices=2", "jit_compile=false", "steps_per_execution=8"):
        settings = experiment(f"protocol.{setting}").run_settings("hard_labels", 0)
        assert settings == experiment().run_settings("hard_labels", 0)
    half = experiment("protocol.precision=mixed_float16").run_settings("hard_labels", 0)
    assert half != experiment().run_settings("hard_labels", 0)


# --- what is measured -----------------------------------------------------------------------------


def test_a_run_says_how_fast_it_was(run):
    begun = time.perf_counter()
    summary = run_folder.read_json(run(), run_folder.SUMMARY)
    seconds = time.perf_counter() - begun
    performance = summary["performance"]
    assert performance["devices"] == performance["hosts"] == performance["steps_per_execution"] == 1
    # Not by itself on a CPU; by config it is in test_devices.py, in a process that is not
    # deterministic yet.
    assert performance["jit_compile"] is False
    assert 0 < performance["step_seconds"] < performance["first_step_seconds"] < seconds
    assert 70 / seconds < performance["images_per_second"] < 1e6
    assert performance["peak_gpu_bytes"] == []
    assert 1e8 < performance["peak_process_bytes"] <= peak_process_bytes()


@pytest.mark.parametrize(("at_once", "first", "rest"), [(1, 50, 190), (2, 100, 140), (4, 120, 120)])
def test_steps_and_images_are_counted(monkeypatch, at_once, first, rest):
    """Two epochs of 50, 50 and 20 images; a step takes a second, an epoch's validation an hour."""
    clock = 0.0
    monkeypatch.setattr(steps.time, "perf_counter", lambda: clock)
    speed = Speed(samples=120, batch_size=50)
    speed.set_params({"steps": 3})
    for _ in range(2):
        for begin in range(0, 3, at_once):
            speed.on_train_batch_begin(begin)
            clock += min(at_once, 3 - begin)
            speed.on_train_batch_end(begin + at_once - 1, {"loss": 1.0})
        clock += 3600.0
    record = speed.record()
    executed_first = min(at_once, 3)
    assert record["first_step_seconds"] == executed_first
    assert first + rest == 240
    assert record["images_per_second"] == pytest.approx(rest / (6 - executed_first), abs=0.05)
    assert record["step_seconds"] == 1.0


def test_steps_that_are_passed_over_are_not_timed():
    speed = Speed(samples=120, batch_size=50)
    speed.set_params({"steps": 3})
    speed.on_train_batch_begin(0)
    speed.on_train_batch_end(0, {})
    record = speed.record()
    assert record["first_step_seconds"] is record["step_seconds"] is None
    assert record["images_per_second"] is None


def test_memory_of_gpus_is_that_of_the_training(monkeypatch):
    """Which begins where it was reset."""
    reset: list[str] = []
    names = ["/device:GPU:0", "/job:worker/replica:0/task:0/device:GPU:1"]
    names.append(names[-1].replace("task:0", "task:1"))  # another host's
    gpus = [tf.config.LogicalDevice(name, "GPU") for name in names]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, "reset_memory_stats", reset.append)
    monkeypatch.setattr(
        tf.config.experimental,
        "get_memory_info",
        lambda name: {"current": 1, "peak": int(name[-1])},
    )
    assert Speed(120, 50).record()["peak_gpu_bytes"] == [0, 1]
    assert reset == ["GPU:0", "GPU:1"]


@pytest.mark.parametrize(("given", "used"), [(None, "true"), ("false", "false")])
def test_gpu_memory_is_taken_as_needed(monkeypatch, given, used):
    if given is None:
        monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    else:
        monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", given)
    import_tensorflow(experiment().backbone, 8)
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == used
