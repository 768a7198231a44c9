"""Table 1 of the LS+ paper, from the published metrics of every run and from predictions.

The predictions of MHIST are published; the other data sets have the runs' metrics alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pandas as pd

from lsplus_tf import metrics
from lsplus_tf.paper import printed
from lsplus_tf.paper.artifacts import BACKBONES, DATASETS, METHODS, RUNS, Artifacts
from lsplus_tf.paper.cells import CELL, beside_printed, count_matches, panels, summarise
from lsplus_tf.paper.checks import Check

# Table 1's metrics by their names in `metrics.evaluate` and in the authors' metrics.csv.
COLUMNS = {
    "accuracy": "acc",
    "auroc": "auc",
    "precision": "precision",
    "recall": "recall",
    "f1": "f1",
    "ece": "ece",
    "ace": "aece",
    "sce": "sce",
    "nll": "ce",
    "brier": "brierloss",
}
METRICS = tuple(COLUMNS)
# Half a unit of the files' last decimal, and what float32 leaves open.
PER_RUN_TOLERANCE = 0.5e-4 + 1e-6
WRONG_SD = ("isic2018", "resnet34", "label_smoothing", "accuracy")
WRONG_SD_NOTE = "ISIC-2018, ResNet-34, LS, ACC: printed 73.19 ± 0.1; the SD of the runs is 1.1"


def runs_from_files(artifacts: Artifacts) -> pd.DataFrame:
    """The published test metrics of every run: dataset, backbone, method, run, and METRICS."""
    frames = []
    for dataset, backbone in product(DATASETS, BACKBONES):
        table = artifacts.run_metrics(dataset, backbone)
        if table is not None:
            names = {f"T{column}": metric for metric, column in COLUMNS.items()}
            chosen = table[["method", "run", *names]].rename(columns=names)
            frames.append(chosen.assign(dataset=dataset, backbone=backbone))
    return _runs(frames)


def runs_from_predictions(artifacts: Artifacts) -> pd.DataFrame:
    """The same for MHIST, measured on the published predictions by the authors' definitions."""
    frames = []
    for backbone, method, run in product(BACKBONES, METHODS, RUNS):
        published = artifacts.predictions(backbone, method, run)
        if published is not None:
            measured = metrics.evaluate(
                published.labels, published.probabilities, convention="released_code"
            )
            row = {"dataset": "mhist", "backbone": backbone, "method": method, "run": run}
            frames.append(pd.DataFrame([row | {m: measured[m] for m in METRICS}]))
    return _runs(frames)


def _runs(frames: list[pd.DataFrame]) -> pd.DataFrame:
    columns = [*CELL[:3], "run", *METRICS]
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Table 1's cells, printed and recomputed from the runs; see `cells.beside_printed`."""
    return beside_printed(printed.table_1(), summarise(runs, METRICS))


def per_run(from_files: pd.DataFrame, from_predictions: pd.DataFrame) -> pd.DataFrame:
    """Every run's metrics as published and as measured on its predictions.

    Returns
    -------
    DataFrame
        Columns dataset, backbone, method, run, metric, published, measured.
    """
    keys = [*CELL[:3], "run"]
    published = from_files.melt(keys, METRICS, "metric", "published")
    measured = from_predictions.melt(keys, METRICS, "metric", "measured")
    return published.merge(measured, on=[*keys, "metric"])


def checks(from_files: pd.DataFrame, from_predictions: pd.DataFrame) -> Iterator[Check]:
    """Matches of printed means and SDs, per data set, network and source; and run by run."""
    for source, runs in (
        ("metrics of the runs", from_files),
        ("predictions", from_predictions),
    ):
        for where, group in panels(cells(runs)):
            for value, name in (("mean", "means"), ("sd", "SDs")):
                exceptions = [WRONG_SD] if value == "sd" else []
                check = count_matches(
                    group,
                    value,
                    f"Table 1, {where}, from {source}: {name}",
                    exceptions,
                    WRONG_SD_NOTE,
                )
                if check is not None:
                    yield check
    for where, group in panels(per_run(from_files, from_predictions)):
        off = (group["published"] - group["measured"]).abs()
        matched = int((off <= PER_RUN_TOLERANCE).sum())
        yield Check(
            f"{where}: metrics of every run, from its predictions",
            matched,
            len(group),
            len(group),
        )
