"""Training images per second with and without oneDNN's CPU kernels, for networks and image sizes.

Each figure comes from a process of its own, since TensorFlow reads the setting when it is imported.
`lsplus_tf.training.environment.import_tensorflow` takes its default from this table.

    python benchmarks/bench_cpu_kernels.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

CASES = (
    ("small_residual_cnn", 8, 1),
    ("small_residual_cnn", 28, 1),
    ("mobilenet_v2", 32, 3),
    ("mobilenet_v2", 64, 3),
    ("mobilenet_v2", 96, 3),
    ("resnet50", 32, 3),
    ("vgg19", 32, 3),
)


def measure(name: str, size: int, channels: int, batch: int, seconds: float) -> float:
    """Images per second of training steps, after two that are not counted."""
    import keras
    import numpy as np

    import lsplus_tf as lsp

    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (batch, size, size, channels)).astype(np.float32)
    y = rng.integers(0, 4, batch)
    width = 0.35 if name == "mobilenet_v2" else 1.0
    model = lsp.backbones.build_classifier(name, x.shape[1:], 4, width=width)
    model.compile(
        keras.optimizers.Adam(1e-3), lsp.HardLabelLoss(from_logits=True), jit_compile=False
    )
    for _ in range(2):
        model.train_on_batch(x, y)
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        model.train_on_batch(x, y)
        steps += 1
    return steps * batch / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(measure(*json.loads(options.case), options.batch, options.seconds))
        return
    table = Table(title=f"Training images per second, batch {options.batch}")
    for heading in ("network", "pixels", "without oneDNN", "with", "ratio"):
        table.add_column(heading, justify="right")
    for case in CASES:
        rates = []
        for setting in ("0", "1"):
            output = subprocess.run(
                [sys.executable, __file__, "--case", json.dumps(case),
                 "--batch", str(options.batch), "--seconds", str(options.seconds)],
                env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": setting, "TF_CPP_MIN_LOG_LEVEL": "3"},
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ).stdout  # fmt: skip
            rates.append(float(output.splitlines()[-1]))
        table.add_row(
            case[0],
            str(case[1]),
            f"{rates[0]:.0f}",
            f"{rates[1]:.0f}",
            f"{rates[1] / rates[0]:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
