"""What the benchmarks of training share: one training, timed in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CLASSES = 4
METHODS = {
    "HL": {"loss": "hard_labels"},
    "LS+": {"loss": "ls_plus"},
    "OLS": {"loss": "online_label_smoothing"},
}
KERAS, PYTORCH = "Keras", "PyTorch"


@dataclass(frozen=True)
class Case:
    """A network on random images: `size` pixels a side, `steps` of `batch` images an epoch."""

    network: str
    size: int
    channels: int
    batch: int
    steps: int
    width: float = 1.0
    epochs: int = 3
    precision: str = "float32"


@dataclass(frozen=True)
class Measured:
    """Seconds of a step, the mean over the fastest epoch but the first; the most memory, bytes."""

    step_seconds: float
    process_bytes: int
    gpu_bytes: int | None = None


def in_a_process(case: Case, variant: str) -> Measured:
    """Train in a new process, since what TensorFlow keeps from one training slows the next."""
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(
            [sys.executable, __file__, json.dumps(asdict(case)), variant],
            env={"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        errors.seek(0)
        if done.returncode:
            raise RuntimeError(f"{variant} on {case}: {errors.read()[-2000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


class EpochTimer:
    """Times the steps of each epoch, from the beginning of the first to the end of the last."""

    def __init__(self, steps: int) -> None:
        self._steps, self._begun = steps, 0.0
        self.step_seconds: list[float] = []

    def begin(self) -> None:
        self._begun = time.perf_counter()

    def end(self) -> None:
        self.step_seconds.append((time.perf_counter() - self._begun) / self._steps)


def _measure(case: Case, variant: str) -> Measured:
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (case.batch * case.steps, case.size, case.size, case.channels)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = rng.permutation(np.arange(len(images)) % CLASSES)
    timer = EpochTimer(case.steps)
    train: Callable[..., None] = {KERAS: _keras, PYTORCH: _pytorch}.get(variant, _package)
    train(case, variant, images, labels, timer)
    import resource

    gpu_bytes = None
    if variant != PYTORCH:
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            gpu_bytes = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Measured(min(timer.step_seconds[1:]), peak, gpu_bytes)


def _time_every_fit(timer: EpochTimer) -> None:
    """Let every `fit` of the process be timed, those that the package calls too."""
    import keras

    class Timer(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 0:
                timer.begin()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch + 1 == self.params["steps"]:
                timer.end()

    fit = keras.Model.fit

    def timed_fit(
        self: keras.Model, *args: Any, callbacks: list[Any] | None = None, **options: Any
    ) -> Any:
        # Last, so that the time of all callbacks is within.
        return fit(self, *args, callbacks=[*(callbacks or []), Timer()], **options)

    keras.Model.fit = timed_fit


def _package(case: Case, variant: str, images: Any, labels: Any, timer: EpochTimer) -> None:
    """A run as the package makes it, with all that it records and saves."""
    import numpy as np

    from lsplus_tf.config import Experiment
    from lsplus_tf.datasets import ImageDataset, Split
    from lsplus_tf.training.train import Training

    _time_every_fit(timer)
    few = slice(0, 2 * CLASSES)

    def split(part: slice) -> Split:
        ids = np.arange(len(labels))[part].astype(np.str_)
        return Split(images[part], labels[part], ids)

    names = tuple("abcd")
    dataset = ImageDataset("random", names, split(slice(None)), split(few), split(few))
    experiment = Experiment.model_validate(
        {
            "name": "benchmark",
            "dataset": {"name": "random"},
            "backbone": {"name": case.network, "width": case.width},
            "protocol": {
                "epochs": case.epochs,
                "batch_size": case.batch,
                "precision": case.precision,
                "checkpoint": "last",
                "deterministic": False,
            },
            "methods": {"hard_labels": METHODS["HL"], "measured": METHODS[variant]},
            "seeds": [0],
        }
    )
    prior = {"class_accuracy": [0.9, 0.8, 0.7, 0.6]} if variant == "LS+" else None
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        Training(run, experiment, "measured", 0, dataset, prior=prior).run()


def _keras(case: Case, variant: str, images: Any, labels: Any, timer: EpochTimer) -> None:
    """What a user of Keras writes for the same network and images."""
    import keras
    import tensorflow as tf

    import lsplus_tf as lsp

    _time_every_fit(timer)
    keras.config.set_dtype_policy(case.precision)
    keras.utils.set_random_seed(0)
    model = lsp.backbones.build_classifier(
        case.network, images.shape[1:], CLASSES, width=case.width
    )
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
    )
    with tf.device("CPU:0"):
        batches = (
            tf.data.Dataset.from_tensor_slices((images, labels))
            .shuffle(len(images))
            .batch(case.batch)
            .map(lambda x, y: (tf.cast(x, tf.float32), y), tf.data.AUTOTUNE)
            .prefetch(tf.data.AUTOTUNE)
        )
    few = slice(0, 2 * CLASSES)
    validation = (images[few].astype("float32"), labels[few])
    model.fit(batches, epochs=case.epochs, validation_data=validation, verbose=0)


def _pytorch(case: Case, variant: str, images: Any, labels: Any, timer: EpochTimer) -> None:
    """A plain loop over the same number of images, with a network of the same size."""
    import torch

    torch.manual_seed(0)
    # A process that TensorFlow shares the cores with has as many threads.
    torch.set_num_threads(os.cpu_count() or 1)
    network = {"small_residual_cnn": _small_residual_cnn, "resnet34": _resnet34}[case.network]
    model = network(case.channels, case.width).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    loss_of = torch.nn.CrossEntropyLoss()
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels)
    for _ in range(case.epochs):
        order = torch.randperm(len(x))
        correct = 0
        timer.begin()
        for step in range(case.steps):
            chosen = order[step * case.batch : (step + 1) * case.batch]
            optimizer.zero_grad()
            logits = model(x[chosen].float() / 255)
            loss = loss_of(logits, y[chosen])
            loss.backward()
            optimizer.step()
            correct += int((logits.argmax(1) == y[chosen]).sum())
        timer.end()


def _small_residual_cnn(channels: int, width: float) -> Any:
    from torch import nn

    first, second, last = (round(width * filters) for filters in (32, 64, 128))
    stages = [(channels, first, 1), (first, second, 2), (second, last, 2)]
    blocks = [_block(*stage, always_projects=True) for stage in stages]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, CLASSES))


def _resnet34(channels: int, width: float) -> Any:
    from torch import nn

    stem, *stages = (round(width * filters) for filters in (64, 64, 128, 256, 512))
    layers: list[Any] = [
        nn.Conv2d(channels, stem, 7, 2, 3, bias=False),
        nn.BatchNorm2d(stem),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    before = stem
    for stage, (after, count) in enumerate(zip(stages, (3, 4, 6, 3), strict=True)):
        for i in range(count):
            layers.append(_block(before, after, 2 if stage and i == 0 else 1))
            before = after
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, CLASSES)]
    return nn.Sequential(*layers)


def _block(before: int, after: int, stride: int, always_projects: bool = False) -> Any:
    from torch import nn

    def convolution(channels: int, kernel: int, step: int) -> list[Any]:
        layer = nn.Conv2d(channels, after, kernel, step, kernel // 2, bias=False)
        return [layer, nn.BatchNorm2d(after)]

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main = nn.Sequential(
                *convolution(before, 3, stride), nn.ReLU(), *convolution(after, 3, 1)
            )
            projects = always_projects or stride != 1 or before != after
            self.shortcut = nn.Sequential(*(convolution(before, 1, stride) if projects else []))

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.main(x) + self.shortcut(x))

    return Block()


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(Case(**json.loads(sys.argv[1])), sys.argv[2]))))
