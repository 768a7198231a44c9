"""Training step of the package's runs over that of a bare Keras `fit` on the same network.

A run of the package counts and checks labels, keeps the accuracy, saves its state after every
epoch and, with OLS, accumulates soft labels; the bare `fit` takes Keras's cross-entropy on the same
images. Where torch is installed, a plain PyTorch loop with a network of as many weights is beside
them. Every training has a process of its own; they take turns, and of each the fastest epoch of all
rounds counts.

    python benchmarks/bench_train.py
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from _training import KERAS, METHODS, PYTORCH, Case, Measured, in_a_process
from rich.console import Console
from rich.progress import track
from rich.table import Table

CASES = (
    Case("small_residual_cnn", 28, 1, batch=64, steps=20, width=0.5),
    Case("mobilenet_v2", 64, 3, batch=32, steps=15, width=0.35),
    Case("resnet34", 32, 3, batch=32, steps=20),
)
LIMIT = 1.02  # of a run of the package over the bare `fit`
WITH_PYTORCH = ("small_residual_cnn", "resnet34")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4, help="trainings of each kind")
    options = parser.parse_args()
    table = Table(title="Training step over a bare Keras fit (peak memory of the process)")
    for heading in ("network", "pixels", "batch", KERAS, *METHODS, PYTORCH):
        table.add_column(heading, justify="right")
    for case in CASES:
        variants = [KERAS, *METHODS]
        if case.network in WITH_PYTORCH and find_spec("torch"):
            variants.append(PYTORCH)
        turns = [variant for _ in range(options.rounds) for variant in variants]
        found: dict[str, list[Measured]] = {variant: [] for variant in variants}
        for variant in track(turns, case.network, console=Console(stderr=True)):
            found[variant].append(in_a_process(case, variant))
        seconds = {v: min(m.step_seconds for m in measured) for v, measured in found.items()}
        cells = [f"{1000 * seconds[KERAS]:.1f} ms ({_mib(found[KERAS])})"]
        for variant in (*METHODS, PYTORCH):
            if variant not in seconds:
                cells.append("-")
                continue
            ratio = seconds[variant] / seconds[KERAS]
            above = variant != PYTORCH and ratio > LIMIT
            text = f"[red]{ratio:.3f} ![/]" if above else f"{ratio:.3f}"
            cells.append(f"{text} ({_mib(found[variant])})")
        table.add_row(case.network, str(case.size), str(case.batch), *cells)
    Console().print(table)


def _mib(measured: list[Measured]) -> str:
    return f"{max(m.process_bytes for m in measured) / 2**20:,.0f} MiB"


if __name__ == "__main__":
    main()
