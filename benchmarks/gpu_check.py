"""The papers' networks at 224 pixels on a GPU: step time, images per second and memory.

For each network and precision a bare Keras `fit` with cross-entropy, and the package's runs with
LS+ and OLS as a ratio to it, a row of a Markdown table each, printed when it is measured. It runs
wherever TensorFlow sees a GPU; compiling a ResNet-50 took 80 of the 90 seconds of a training on an
H200.

    python benchmarks/gpu_check.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from _training import KERAS, Case, Measured, in_a_process
from rich.console import Console
from rich.progress import track

NETWORKS = ("resnet34", "resnet50", "mobilenet_v2", "vgg19")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
OURS = ("LS+", "OLS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=30, help="in an epoch; three are trained")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--cpu", action="store_true", help="go on without a GPU, to try the script")
    options = parser.parse_args()
    device = _gpu()
    if device is None:
        if not options.cpu:
            sys.exit(
                "TensorFlow sees no GPU here: pip install 'lsplus_tf[gpu]' on a machine with one, "
                "or try the script with --cpu --size 32 --batch 8 --steps 3"
            )
        device = "no GPU"
    cases = [
        Case(network, options.size, 3, options.batch, options.steps, precision=precision)
        for network in options.networks
        for precision in options.precisions
    ]
    print(f"{device}: {options.size} pixels, batch {options.batch}\n")
    _print_row("network", "precision", "Keras ms", "images/s", *OURS, "GPU GiB")
    _print_row("---", "---", *["---:"] * (3 + len(OURS)))
    for case in track(cases, "Measuring", console=Console(stderr=True)):
        bare = in_a_process(case, KERAS)
        ours = {variant: in_a_process(case, variant) for variant in OURS}
        _print_row(
            case.network,
            case.precision,
            f"{1000 * bare.step_seconds:.1f}",
            f"{case.batch / bare.step_seconds:,.0f}",
            *(f"{m.step_seconds / bare.step_seconds:.3f}" for m in ours.values()),
            _gib([bare, *ours.values()]),
        )


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _gpu() -> str | None:
    """The GPU's name, asked in another process so that this one does not take its memory."""
    code = (
        "import tensorflow as tf; gpus = tf.config.list_physical_devices('GPU'); "
        "print(tf.config.experimental.get_device_details(gpus[0]).get('device_name', 'GPU') "
        "if gpus else '')"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return found.stdout.strip() or None


def _gib(measured: list[Measured]) -> str:
    peaks = [m.gpu_bytes for m in measured if m.gpu_bytes is not None]
    return f"{max(peaks) / 2**30:.1f}" if peaks else "-"


if __name__ == "__main__":
    main()
