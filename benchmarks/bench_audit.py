"""`lsplus-tf audit` and `lsplus-tf report` at size: seconds, processor time and peak memory.

Audited are a million rows by 10 classes, from each format, and 200,000 by 165, with two subgroups;
a row is of a group too (a patient with ten images). The floor of a format is another process that
does no more than read the file with pandas or NumPy and count the correct ones. Reported are an
experiment's finished runs with predictions of 2,000 images each, of which the floor reads all and
counts the correct ones. "Of floor" is processor time as a multiple of its. The aims are 8 seconds
and 0.6 GB for a million rows as NPZ and as Parquet, 6 seconds for 165 classes and 10 for 100 runs,
on 2 cores.

    python benchmarks/bench_audit.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lsplus_tf.config import Experiment, load_config
from lsplus_tf.config.loading import to_yaml
from lsplus_tf.experiments.plan import Run
from lsplus_tf.predictions import Predictions
from lsplus_tf.training import run_folder

CLASSES = 10
MANY = 165  # of RadImageNet
READ = {
    "npz": "d = numpy.load(path); p = d['probabilities']; y = d['label']",
    "parquet": "d = pandas.read_parquet(path); p = d.filter(like='p_').to_numpy(); y = d['label']",
    "csv": "d = pandas.read_csv(path); p = d.filter(like='p_').to_numpy(); y = d['label']",
}
FLOOR = "import sys, numpy, pandas; path = sys.argv[1]; {}; print((p.argmax(1) == y).mean())"
FLOOR_OF_RUNS = (
    "import sys, pathlib, numpy, pandas\n"
    "for path in pathlib.Path(sys.argv[1]).rglob('predictions_*.npz'):\n"
    "    d = numpy.load(path); print((d['logits'].argmax(1) == d['labels']).mean())"
)
SEEDS = 5
IMAGES, CLASSES_OF_RUNS = 2_000, 7
SUMMARY = {"skipped_images": [], "seconds": 60.0, "epochs": 25, "best_epoch": 20}
FLOOR_NAME = "floor"
LAUNCHER = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds, used = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


class Cost(NamedTuple):
    """What a process took."""

    seconds: float
    processor: float
    peak: float  # of resident memory, GB


def write_files(
    folder: Path, rows: int, classes: int, formats: Sequence[str] = tuple(READ)
) -> dict[str, Path]:
    """The same overconfident predictions in every format."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=1.5, size=(rows, classes))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = (truth.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1).clip(max=classes - 1)
    sharp = np.exp(1.5 * logits)
    probabilities = (sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32)
    columns = {
        "label": label,
        "patient": np.arange(rows) // 10,
        "site": np.where(rng.random(rows) < 0.3, "north", "south"),
    }
    paths = {format_: folder / f"predictions.{format_}" for format_ in formats}
    np.savez(paths["npz"], probabilities=probabilities, **columns)
    table = pd.DataFrame(probabilities, columns=[f"p_{k}" for k in range(classes)]).assign(
        **columns
    )
    if "parquet" in paths:
        table.to_parquet(paths["parquet"])
    if "csv" in paths:
        table.to_csv(paths["csv"], index=False)
    return paths


def write_runs(folder: Path, runs: int) -> None:
    """An experiment of methods of five seeds, all finished, with made-up predictions."""
    methods = {
        f"ls_{k:03}": {"loss": "label_smoothing", "alpha": round(0.005 * (k + 1), 3)}
        for k in range(max(1, runs // SEEDS))
    }
    given = load_config("digits").model_dump(mode="json")
    given |= {"methods": methods, "seeds": list(range(min(runs, SEEDS)))}
    experiment = Experiment.model_validate(given)
    folder.mkdir()
    (folder / "experiment.yaml").write_text(to_yaml(experiment))
    rng = np.random.default_rng(0)
    names = [f"class {k}" for k in range(CLASSES_OF_RUNS)]
    ids = np.arange(IMAGES).astype(str)
    history = pd.DataFrame(
        {name: np.linspace(1, 0.5, 25) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
    ).rename_axis("epoch")
    labels = {split: rng.integers(CLASSES_OF_RUNS, size=IMAGES) for split in run_folder.SPLITS}
    for method in experiment.methods:
        for seed in experiment.seeds:
            run = Run(method, seed).folder(folder)
            run.mkdir(parents=True)
            settings = experiment.run_settings(method, seed)
            (run / run_folder.SETTINGS).write_text(yaml.safe_dump(settings))
            run_folder.write_json(run / run_folder.SUMMARY, SUMMARY | {"class_names": names})
            run_folder.write_json(run / run_folder.ENVIRONMENT, {"packages": {}})
            history.to_csv(run / run_folder.HISTORY)
            for split, true in labels.items():
                logits = rng.normal(size=(IMAGES, CLASSES_OF_RUNS))
                logits[np.arange(IMAGES), true] += 2
                found = Predictions(
                    true, logits=logits.astype(np.float32), ids=ids, class_names=names
                )
                run_folder.write_predictions(run, split, found)


def run(command: list[str]) -> Cost:
    """What a command costs; a small process starts it, whose own memory is not the command's."""
    launched = [sys.executable, "-c", LAUNCHER, *command]
    ended = subprocess.run(launched, stdout=subprocess.PIPE, text=True, check=True)
    status, seconds, processor, kilobytes = json.loads(ended.stdout)
    if status:
        raise RuntimeError(f"{' '.join(command)}: exit code {status}")
    return Cost(seconds, processor, kilobytes * 1024 / 1e9)


def measure(
    table: Table, what: str, floor: list[str], commands: dict[str, list[str]], rounds: int
) -> None:
    """Rows of the table: each command in turn with its floor; of each the cheapest round counts."""
    every = {FLOOR_NAME: floor, **commands}
    costs: dict[str, list[Cost]] = {name: [] for name in every}
    for name in track([*every] * rounds, what, console=Console(stderr=True)):
        costs[name].append(run(every[name]))
    least = {name: [*map(min, zip(*each, strict=True))] for name, each in costs.items()}
    for name in commands:
        seconds, processor, _ = least[name]
        peak = max(cost.peak for cost in costs[name])
        numbers = (seconds, processor, peak, least[FLOOR_NAME][1], processor / least[FLOOR_NAME][1])
        cells = (
            f"{each:.{digits}f}" for each, digits in zip(numbers, (1, 1, 2, 2, 1), strict=True)
        )
        table.add_row(what, name, *cells)


def audits(
    table: Table, folder: Path, rows: int, classes: int, options: argparse.Namespace
) -> None:
    """Of a size, from the formats that are asked for."""
    formats = [each for each in options.formats if each != "csv" or classes == CLASSES]
    paths = write_files(folder, rows, classes, formats)
    for format_, path in paths.items():
        audit = [sys.executable, "-m", "lsplus_tf.cli", "audit", str(path)]
        audit += ["--out", str(folder / "audit"), "--subgroup", "site"]
        if format_ != "npz":
            audit += ["--probabilities", "p_*"]
        commands = {"independent": audit, "grouped": [*audit, "--group", "patient"]}
        floor = [sys.executable, "-c", FLOOR.format(READ[format_]), str(path)]
        what = f"audit, {rows:,} x {classes}, {format_}"
        measure(table, what, floor, commands, options.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, nargs="+", default=[25, 50, 100], help="of a report")
    parser.add_argument("--formats", nargs="+", choices=READ, default=[*READ], help="npz is one")
    parser.add_argument("--rounds", type=int, default=2, help="of each, of which the faster counts")
    options = parser.parse_args()
    options.formats = list(dict.fromkeys(["npz", *options.formats]))
    table = Table(
        *("what", "cases", "seconds", "processor, s", "peak GB", "floor, s", "of floor"),
        title="lsplus-tf audit and report",
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        audits(table, folder / "rows", options.rows, CLASSES, options)
        audits(table, folder / "classes", options.rows // 5, MANY, options)
        for runs in options.runs:
            out = folder / f"runs_{runs}"
            write_runs(out, runs)
            report = [sys.executable, "-m", "lsplus_tf.cli", "report", str(out)]
            floor = [sys.executable, "-c", FLOOR_OF_RUNS, str(out)]
            measure(table, f"report, {runs} runs", floor, {"": report}, options.rounds)
    Console().print(table)


if __name__ == "__main__":
    main()
