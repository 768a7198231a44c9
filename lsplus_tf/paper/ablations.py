"""What the authors' repository has beyond the paper: temperature scaling, and ECE-KDE."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pandas as pd

from lsplus_tf import metrics
from lsplus_tf.paper import printed
from lsplus_tf.paper.artifacts import BACKBONES, DATASETS, METHODS, RUNS, Artifacts, has_temperature
from lsplus_tf.paper.cells import CELL, beside_printed, count_matches, panels, summarise, title
from lsplus_tf.paper.checks import Check
from lsplus_tf.paper.table_1 import COLUMNS

TEMPERATURE_METRICS = ("ece", "ace", "sce", "nll", "brier")
ECE_KDE_BANDWIDTH = 0.001
# Half a unit of the file's last decimal, and the authors' float32: at this bandwidth the kernel's
# logarithms are in the hundreds, and what their code gives is up to 1.2e-5 from ours in float64.
ECE_KDE_TOLERANCE = 0.5e-4 + 2e-5
ECE_KDE_NOTE = "to 0.00007: half of the last decimal, and 0.00002 for the authors' float32 sums"


def temperature_runs(artifacts: Artifacts) -> pd.DataFrame:
    """Every run after temperature scaling.

    Returns
    -------
    DataFrame
        Columns dataset, backbone, method, run, TEMPERATURE_METRICS, temperature.
    """
    names = {f"T{COLUMNS[metric]}": metric for metric in TEMPERATURE_METRICS}
    names["Temperature"] = "temperature"
    frames = []
    for dataset, backbone in product(filter(has_temperature, DATASETS), BACKBONES):
        table = artifacts.temperature_metrics(dataset, backbone)
        if table is not None:
            chosen = table[["method", "run", *names]].rename(columns=names)
            frames.append(chosen.assign(dataset=dataset, backbone=backbone))
    columns = [*CELL[:3], "run", *TEMPERATURE_METRICS, "temperature"]
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)


def temperature_cells(runs: pd.DataFrame) -> pd.DataFrame:
    """The cells of the README's tables, printed and recomputed."""
    return beside_printed(printed.temperature_scaling(), summarise(runs, TEMPERATURE_METRICS))


def ece_kde_runs(artifacts: Artifacts) -> pd.DataFrame:
    """ECE-KDE of every run on MHIST: backbone, method, run, published, measured.

    `published` is from metrics_ecekde.csv, `measured` on the predictions; NaN where not here.
    """
    rows = []
    for backbone in BACKBONES:
        table = artifacts.ece_kde_metrics(backbone)
        for method, run in product(METHODS, RUNS):
            row = {"backbone": backbone, "method": method, "run": run}
            if table is not None:
                of_run = (table["method"] == method) & (table["run"] == run)
                row["published"] = table.loc[of_run, "Tecekde"].item()
            predictions = artifacts.predictions(backbone, method, run)
            if predictions is not None:
                row["measured"] = metrics.kde_calibration_error(
                    predictions.labels, predictions.probabilities, bandwidth=ECE_KDE_BANDWIDTH
                )
            rows.append(row)
    columns = ["backbone", "method", "run", "published", "measured"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.dropna(subset=["published", "measured"], how="all")


def checks(temperature: pd.DataFrame, ece_kde: pd.DataFrame) -> Iterator[Check]:
    for where, group in panels(temperature_cells(temperature)):
        check = count_matches(group, "mean", f"README, temperature scaling, {where}: means")
        if check is not None:
            yield check
    for backbone, group in ece_kde.dropna().groupby("backbone", sort=False):
        off = (group["published"] - group["measured"]).abs()
        matched = int((off <= ECE_KDE_TOLERANCE).sum())
        name = f"ECE-KDE of every run, {title('mhist', str(backbone))}, from predictions"
        yield Check(name, matched, len(group), len(group), ECE_KDE_NOTE)
