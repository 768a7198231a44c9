"""`lsplus-tf audit` of a million rows by 10 classes: seconds and peak memory, from each format.

A row of a group (a patient with ten images) and of two subgroups. The floor of a format is another
process that does no more than read the file with pandas or NumPy and count the correct ones; "of
floor" is seconds as a multiple of its. The aim is 30 seconds and 2 GB on 2 cores.

    python benchmarks/bench_audit.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from rich.table import Table

CLASSES = 10
READ = {
    "npz": "d = numpy.load(path); p = d['probabilities']; y = d['label']",
    "parquet": "d = pandas.read_parquet(path); p = d.filter(like='p_').to_numpy(); y = d['label']",
    "csv": "d = pandas.read_csv(path); p = d.filter(like='p_').to_numpy(); y = d['label']",
}
FLOOR = "import sys, numpy, pandas; path = sys.argv[1]; {}; print((p.argmax(1) == y).mean())"


def write_files(folder: Path, rows: int) -> dict[str, Path]:
    """The same overconfident predictions in every format."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=1.5, size=(rows, CLASSES))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = (truth.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1).clip(max=CLASSES - 1)
    sharp = np.exp(1.5 * logits)
    probabilities = (sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32)
    columns = {
        "label": label,
        "patient": np.arange(rows) // 10,
        "site": np.where(rng.random(rows) < 0.3, "north", "south"),
    }
    paths = {format_: folder / f"predictions.{format_}" for format_ in READ}
    np.savez(paths["npz"], probabilities=probabilities, **columns)
    table = pd.DataFrame(probabilities, columns=[f"p_{k}" for k in range(CLASSES)]).assign(
        **columns
    )
    table.to_parquet(paths["parquet"])
    table.to_csv(paths["csv"], index=False)
    return paths


def run(command: list[str]) -> tuple[float, float]:
    """Seconds, and the peak of resident memory in GB."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        raise RuntimeError(f"{' '.join(command)}: exit code {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2, help="of each, of which the faster counts")
    options = parser.parse_args()
    title = f"lsplus-tf audit of {options.rows:,} rows by {CLASSES} classes"
    table = Table(
        "format", "cases", "seconds", "peak GB", "floor, seconds", "of floor", title=title
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for format_, path in write_files(folder, options.rows).items():
            audit = [sys.executable, "-m", "lsplus_tf.cli", "audit", str(path)]
            audit += ["--out", str(folder / "audit"), "--subgroup", "site"]
            if format_ != "npz":
                audit += ["--probabilities", "p_*"]
            commands = {
                "floor": [sys.executable, "-c", FLOOR.format(READ[format_]), str(path)],
                "independent": audit,
                "grouped": [*audit, "--group", "patient"],
            }
            turns = list(commands) * options.rounds
            measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
            for name in track(turns, format_, console=Console(stderr=True)):
                measured[name].append(run(commands[name]))
            floor = min(seconds for seconds, _ in measured["floor"])
            for name in ("independent", "grouped"):
                seconds = min(seconds for seconds, _ in measured[name])
                peak = max(peak for _, peak in measured[name])
                cells = (f"{seconds:.1f}", f"{peak:.2f}", f"{floor:.1f}", f"{seconds / floor:.1f}")
                table.add_row(format_, name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
