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
from rich.progress import track
from rich.table import Table

import lsplus_tf as lsp
from lsplus_tf import losses

FEATURES = 512
CLASSES = (4, 165, 1000)
LIMIT = 1.25
LIMITS = {"LS+": {4: 1.05, 165: 1.05, 1000: 1.05}, "OLS": {4: 1.10, 165: 1.10, 1000: 1.30}}


def make_losses(num_classes: int) -> dict[str, keras.losses.Loss]:
    """All losses, by their names in the papers' tables, after the reference."""
    accuracy = np.linspace(0.3, 0.9, num_classes)
    prior, counts = lsp.informed_prior(accuracy), np.arange(1, num_classes + 1)
    confusion = losses.ConfusionPenaltyLoss(num_classes, from_logits=True)
    cals = losses.CALSLoss(num_classes, from_logits=True)
    adaptive = losses.AdaptiveFocalLoss(from_logits=True)
    for fed_by_validations in (confusion, cals, adaptive):
        fed_by_validations.is_fed = True
    return {
        "Keras": keras.losses.CategoricalCrossentropy(True, label_smoothing=0.1),
        "HL": losses.HardLabelLoss(from_logits=True),
        "LS": losses.LabelSmoothingLoss(from_logits=True),
        "LS+": losses.LSPlusLoss(prior, from_logits=True),
        "OLS": losses.OnlineLabelSmoothingLoss(num_classes, from_logits=True),
        "LS+ with OLS": losses.OnlineLabelSmoothingLoss(num_classes, prior=prior, from_logits=True),
        "CPLS": confusion,
        "LS++": losses.LearnedLabelSmoothingLoss(num_classes, from_logits=True),
        "CALS": cals,
        "AdaFocal": adaptive,
        "CDA-LS": losses.ClassDistributionLabelSmoothingLoss(counts, from_logits=True),
        "FL": losses.FocalLoss(from_logits=True),
        "FLSD": losses.SampleDependentFocalLoss(from_logits=True),
        "DFL": losses.DualFocalLoss(from_logits=True),
        "BSCE-GRA": losses.BrierScaledCrossEntropyLoss(from_logits=True),
        "FCL": losses.FocalCalibrationLoss(from_logits=True),
        "SA-FCL": losses.FocalCalibrationLoss(gate=2.0, from_logits=True),
        "Brier": losses.BrierLoss(from_logits=True),
        "ECP": losses.ConfidencePenaltyLoss(from_logits=True),
        "L1": losses.UniformPenaltyLoss(from_logits=True),
        "MbLS": losses.MarginLabelSmoothingLoss(from_logits=True),
        "MaxSup": losses.MaxSupLoss(from_logits=True),
        "ACLS": losses.ACLSLoss(from_logits=True),
        "DCA": losses.DCALoss(from_logits=True),
        "MDCA": losses.MDCALoss(from_logits=True),
        "FL + MDCA": losses.MDCALoss(base=losses.FocalLoss(), from_logits=True),
        "MMCE": losses.MMCELoss(from_logits=True),
        "MMCE, weighted": losses.MMCELoss(weighted=True, from_logits=True),
        "DECE": losses.DifferentiableECELoss(from_logits=True),
        "MEEP": losses.ErroneousEntropyLoss(from_logits=True),
        "MEEP-KL": losses.ErroneousEntropyLoss(divergence="kl", from_logits=True),
        "FedLAS": losses.FedLASLoss(num_classes, from_logits=True),
        "FedLAS+": losses.FedLASLoss(num_classes, margin=6.0, from_logits=True),
        "Tf-KD reg": losses.TfKDRegularizationLoss(from_logits=True),
        "Tf-KD self": losses.TfKDSelfTrainingLoss(from_logits=True),
    }


def make_step(
    name: str, loss: keras.losses.Loss, num_classes: int, batch: int, jit_compile: bool
) -> Callable[[], object]:
    """One training step on fixed data, as `fit` would make it."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(batch, FEATURES)), tf.float32)
    y = rng.integers(0, num_classes, batch)
    if name == "Keras":
        y = np.eye(num_classes, dtype=np.float32)[y]
    elif name == "Tf-KD self":  # the teacher's own time is not the loss's
        y = losses.with_teacher_logits(y, rng.normal(size=(batch, num_classes)).astype(np.float32))
    y = tf.constant(y)
    inputs = keras.Input([FEATURES])
    outputs = keras.layers.Dense(num_classes)(inputs)
    if isinstance(loss, losses.FedLASLoss):
        outputs = lsp.backbones.CarryFeatures()([outputs, inputs])
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=jit_compile)
    model.optimizer.build(model.trainable_variables)
    learning: dict[type, Callable[[], keras.callbacks.Callback]] = {
        losses.OnlineLabelSmoothingLoss: lsp.callbacks.OnlineLabelSmoothing,
        losses.LearnedLabelSmoothingLoss: lsp.callbacks.LearnedLabelSmoothing,
        losses.FedLASLoss: lsp.callbacks.FedLAS,
    }
    if type(loss) in learning:
        callback = learning[type(loss)]()
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
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    cases = [(k, jit_compile) for k in CLASSES for jit_compile in (False, True)]
    ratios: dict[tuple[int, bool], dict[str, float]] = {}
    headings = ["Loss"]
    for num_classes, jit_compile in track(cases, "Measuring", console=Console(stderr=True)):
        steps = {
            name: make_step(name, loss, num_classes, options.batch, jit_compile)
            for name, loss in make_losses(num_classes).items()
        }
        measured = medians(steps, options.rounds)
        reference = measured.pop("Keras")
        mode = "XLA" if jit_compile else "graph"
        headings.append(f"K={num_classes}\n{mode}\n{1000 * reference:.2f} ms")
        ratios[num_classes, jit_compile] = {n: v / reference for n, v in measured.items()}
    table = Table(title=f"Training step, batch {options.batch}, over Keras cross-entropy")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "Loss" else "right")
    for name in ratios[cases[0]]:
        cells = []
        for num_classes, jit_compile in cases:
            ratio = ratios[num_classes, jit_compile][name]
            above = ratio > LIMITS.get(name, {}).get(num_classes, LIMIT)
            cells.append(f"[red]{ratio:.2f} ![/]" if above else f"{ratio:.2f}")
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
