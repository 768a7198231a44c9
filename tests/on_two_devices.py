"""Trains on one and on two CPU devices; run by test_devices.py, in a process of its own."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 3
)

from rounding import ONE_STEP, network  # noqa: E402

from lsplus_tf.callbacks import ValidationFeedback  # noqa: E402
from lsplus_tf.config import Experiment, load_config  # noqa: E402
from lsplus_tf.datasets import ImageDataset, load_dataset  # noqa: E402
from lsplus_tf.datasets.base import Split  # noqa: E402
from lsplus_tf.errors import InputError  # noqa: E402
from lsplus_tf.losses import AdaptiveFocalLoss, CALSLoss  # noqa: E402
from lsplus_tf.training import run_folder, train  # noqa: E402
from lsplus_tf.training.devices import strategy_for  # noqa: E402
from lsplus_tf.training.optimizers import LossScaleOptimizer  # noqa: E402
from lsplus_tf.training.resume import Checkpoints, Progress  # noqa: E402

METHODS = {
    "online": {"loss": "online_label_smoothing"},
    "confusion": {"loss": "confusion_penalty", "mixup": 0.4},
    "learned": {"loss": "learned_label_smoothing", "learning_rate": 50.0},
    "hard": {"loss": "hard_labels"},
    "self": {"loss": "tf_kd_self_training"},
    "fedlas": {"loss": "fedlas"},
}
SGD = "protocol.optimizer={name: sgd, learning_rate: 0.1}"
TWO_STAGES = (
    "protocol.optimizer={name: sgd, learning_rate: 0.1, weight_decay: 0.001}",
    "backbone.weights=mine.weights.h5",
    "protocol.fine_tuning.frozen_epochs=1",
    "protocol.checkpoint=last",
)


def experiment(*overrides: str) -> Experiment:
    """Batches of 31 of 127 images, the last one of 3: none is split evenly."""
    config = Path(__file__).resolve().parents[1] / "configs" / "digits.yaml"
    common = ["protocol.epochs=2", "protocol.schedule=null", "protocol.batch_size=31"]
    # Nothing is augmented: on one host that comes before a batch is split.
    common += ["protocol.augmentation={shift: 0.0, rotation: 0.0, zoom: 0.0}", "seeds=[0]"]
    values = load_config(config, [*common, *overrides]).model_dump(mode="json")
    return Experiment.model_validate({**values, "methods": METHODS})


def images() -> ImageDataset:
    whole = load_dataset("digits")
    counts = {"train": 127, "validation": 94, "test": 60}
    splits = (
        Split(s.images[: counts[n]], s.labels[: counts[n]], s.ids[: counts[n]])
        for n, s in whole.splits()
    )
    return ImageDataset(whole.name, whole.class_names, *splits)


def run(folder: Path, method: str, *overrides: str, copied_to: Path | None = None) -> None:
    """`copied_to` is left with what a power cut before the last step would have left."""
    teacher = folder.parent / "online_on_1" / "model.keras" if method == "self" else None
    save = Checkpoints.save

    def copying_save(checkpoints: Checkpoints, progress: Progress, arrays: Any) -> None:
        save(checkpoints, progress, arrays)
        if (progress.epochs, progress.step) == (1, 4) and copied_to is not None:
            shutil.copytree(run_folder.unfinished(folder), run_folder.unfinished(copied_to))

    Checkpoints.save = copying_save
    train.Training(folder, experiment(*overrides), method, 0, images(), teacher=teacher).run()
    Checkpoints.save = save


def refusals() -> dict[str, str]:
    told = {}
    for settings in (
        "devices=2,jit_compile=true,deterministic=false",
        "devices=2,steps_per_execution=4",
        "devices=2,batch_size=1",
        "devices=2,batch_size=126",
        "devices=4",
        "devices=3",
    ):
        overrides = [f"protocol.{setting}" for setting in settings.split(",")]
        try:
            strategy_for(experiment(*overrides).protocol, 127)
        except InputError as error:
            told[settings] = str(error)
    return told


def step_with_an_infinite_gradient_on_the_second_device(kind: type) -> dict[str, Any]:
    strategy = strategy_for(experiment("protocol.devices=2").protocol, 127)
    with strategy.scope():
        weight = keras.Variable(np.ones(2, np.float32))
        optimizer = kind(keras.optimizers.SGD(0.5), initial_scale=4.0)
        optimizer.build([weight])

    @tf.function(autograph=False)
    def step(of_the_second: tf.Tensor) -> None:
        def on_a_device() -> None:
            context = tf.distribute.get_replica_context()
            is_second = context.replica_id_in_sync_group == 1
            gradient = tf.stack([1.0, tf.where(is_second, of_the_second, 1.0)])
            optimizer.apply_gradients([(gradient, weight)])

        strategy.run(on_a_device)

    def state() -> list[float]:
        return [*weight.numpy().tolist(), float(optimizer.dynamic_scale.numpy())]

    step(tf.constant(1.0))
    finite = state()
    step(tf.constant(np.inf))
    return {"finite": finite, "infinite": state(), "iterations": int(optimizer.iterations.numpy())}


def learned_from_validation(devices: int) -> dict[str, list[float]]:
    """By CALS and AdaFocal, of 37 samples in batches of 10, of which the last is split unevenly."""
    rng = np.random.default_rng(3)
    x, y, kernel = rng.normal(size=(37, 4)), np.arange(37) % 3, rng.normal(size=(4, 3))
    found = {}
    with strategy_for(experiment(f"protocol.devices={devices}").protocol, 127).scope():
        mine = [CALSLoss(3, margin=0.5, from_logits=True), AdaptiveFocalLoss(4, from_logits=True)]
        for loss in mine:
            model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3, use_bias=False)])
            model.set_weights([kernel])
            model.compile(keras.optimizers.SGD(0.0), loss, jit_compile=False)
            model.fit(
                x, y, 10, validation_data=(x, y), epochs=2, callbacks=[ValidationFeedback()],
                verbose=0,
            )  # fmt: skip
            for name, values in loss.state().items():
                found[f"{loss.name} {name}"] = np.ravel(values).tolist()
    return found


def main(out: Path) -> None:
    train.build_classifier = network("float64")  # type: ignore[attr-defined]
    # First, since what makes TensorFlow deterministic stays, and then it has no XLA.
    xla = ("protocol.deterministic=false", "protocol.jit_compile=true")
    run(out / "xla_on_1", "online", SGD, *xla)
    run(out / "online_on_1", "online", SGD, "protocol.devices=1")
    for devices in (1, 2):
        on = f"protocol.devices={devices}"
        run(out / f"confusion_on_{devices}", "confusion", on)
        run(out / f"fedlas_on_{devices}", "fedlas", SGD, on)
        run(out / f"learned_on_{devices}", "learned", on, SGD)
        run(out / f"self_on_{devices}", "self", on, *TWO_STAGES)
    resumed, often = out / "online_resumed", "protocol.save_every_minutes=1e-9"
    run(out / "online_on_2", "online", SGD, "protocol.devices=2", often, copied_to=resumed)
    run(resumed, "online", SGD, "protocol.devices=2")
    train.build_classifier = network("float32")  # type: ignore[attr-defined]
    one_step = ("protocol.batch_size=127", *ONE_STEP)
    run(out / "step_on_2", "hard", "protocol.devices=2", *one_step)
    train.build_classifier = network(None)  # type: ignore[attr-defined]
    half = ("protocol.precision=mixed_float16", "protocol.epochs=1", "protocol.devices=2")
    run(out / "half_on_2", "hard", *half)
    told = {
        "refusals": refusals(),
        "from_validation": [learned_from_validation(devices) for devices in (1, 2)],
        "ours": step_with_an_infinite_gradient_on_the_second_device(LossScaleOptimizer),
        "keras": step_with_an_infinite_gradient_on_the_second_device(
            keras.optimizers.LossScaleOptimizer
        ),
    }
    documented = (Path(__file__).resolve().parents[1] / "docs" / "multi_gpu.md").read_text()
    strategy = strategy_for(experiment("protocol.devices=2").protocol, 127)
    tf.distribute.MirroredStrategy = lambda: strategy  # of all devices there are three
    for block in re.findall(r"```python\n(.*?)```", documented, re.DOTALL):
        exec(compile(block, "multi_gpu.md", "exec"), {})
    (out / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
