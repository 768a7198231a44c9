"""Step time of the package's losses over plain Keras cross-entropy, in one process.

The network is one dense layer, 512 -> K, so that the loss is as large a part of the step as it can
be. The reference is `CategoricalCrossentropy(label_smoothing=0.1)` on one-hot labels. Steps of all
losses take turns, and a ratio is that of the medians.

    python benchmarks/bench_losses.py
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import lsplus_tf as lsp

FEATURES = 512
LIMITS = {"LS+": {4: 1.05, 165: 1.05, 1000: 1.05}, "OLS": {4: 1.10, 165: 1.10, 1000: 1.30}}


def make_step(
    loss: keras.losses.Loss, num_classes: int, batch: int, onehot: bool, jit_compile: bool
) -> Callable[[], object]:
    """One training step on fixed data, as `fit` would make it."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(batch, FEATURES)), tf.float32)
    labels = rng.integers(0, num_classes, batch)
    y = tf.constant(np.eye(num_classes, dtype=np.float32)[labels] if onehot else labels)
    model = keras.Sequential([keras.Input([FEATURES]), keras.layers.Dense(num_classes)])
    model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=jit_compile)
    model.optimizer.build(model.trainable_variables)
    if isinstance(loss, lsp.OnlineLabelSmoothingLoss):
        callback = lsp.OnlineLabelSmoothing()
        callback.set_model(model)
        callback.on_train_begin()
    step = tf.function(model.train_step, jit_compile=jit_compile)
    return lambda: step((x, y))


def medians(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of a step, every loss measured in turn."""
    for step in steps.values():
        for _ in range(20):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(5):
                step()
            seconds[name].append((time.perf_counter() - started) / 5)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    table = Table(title=f"Training step, batch {options.batch}, over Keras cross-entropy")
    for heading in ("K", "mode", "Keras, ms", "HL", "LS", "LS+", "OLS", "within limits"):
        table.add_column(heading, justify="right")
    for num_classes in (4, 165, 1000):
        for jit_compile in (False, True):
            losses = {
                "Keras": keras.losses.CategoricalCrossentropy(True, label_smoothing=0.1),
                "HL": lsp.HardLabelLoss(from_logits=True),
                "LS": lsp.LabelSmoothingLoss(0.1, from_logits=True),
                "LS+": lsp.LSPlusLoss(
                    lsp.informed_prior(np.linspace(0.3, 0.9, num_classes)), from_logits=True
                ),
                "OLS": lsp.OnlineLabelSmoothingLoss(num_classes, from_logits=True),
            }
            steps = {
                name: make_step(loss, num_classes, options.batch, name == "Keras", jit_compile)
                for name, loss in losses.items()
            }
            measured = medians(steps, options.rounds)
            ratios = {name: value / measured["Keras"] for name, value in measured.items()}
            within = all(ratios[name] <= LIMITS[name][num_classes] for name in LIMITS)
            table.add_row(
                str(num_classes),
                "XLA" if jit_compile else "graph",
                f"{1000 * measured['Keras']:.3f}",
                *(f"{ratios[name]:.3f}" for name in ("HL", "LS", "LS+", "OLS")),
                "yes" if within else "no",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
