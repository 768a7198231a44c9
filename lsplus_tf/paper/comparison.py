"""An experiment's measured table beside the one that its paper prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from lsplus_tf.config import CSV_PREFIX, FOLDER_PREFIX, NPZ_PREFIX, Experiment
from lsplus_tf.config.methods import MethodSettings
from lsplus_tf.metrics import evaluate
from lsplus_tf.paper import printed
from lsplus_tf.paper.cells import HEADINGS, markdown, title
from lsplus_tf.results import Results, Row

# What decides that a method of a config is one of the LS+ paper's.
LS_PLUS_PAPER: dict[str, dict[str, Any]] = {
    "hard_labels": {},
    "label_smoothing": {"alpha": 0.1},
    "focal": {"gamma": 3.0},
    "dca": {"weight": 10.0},
    "mdca": {"weight": 1.0, "base": "hard_labels"},
    "ls_plus": {"alpha": 0.5, "start_from": "initial_weights", "refresh_every": None},
}
# The other paper gives no settings: any will do.
RADIMAGENET_PAPER = {
    "hard_labels": "hard_labels",
    "label_smoothing": "label_smoothing",
    "tf_kd_regularization": "tf_kd",
    "tf_kd_self_training": "tf_kd",
    "online_label_smoothing": "online_label_smoothing",
}
ON_THE_TERMINAL = (("accuracy", "ece"), ("top1_error", "top5_error"))
_OF_THE_USER = (FOLDER_PREFIX, CSV_PREFIX, NPZ_PREFIX)
MEASURED_SD = "†"
COLUMNS = ["method", "name", "printed_method", "metric", "mean_printed", "sd_printed"]
COLUMNS += ["mean_measured", "sd_measured", "seeds", "difference", "in_sd", "sd_of"]


@dataclass(frozen=True)
class BesidePrinted:
    """Measured and printed numbers, in percent.

    Attributes
    ----------
    title : str
        The data set and network.
    rows : DataFrame
        Columns method (as in the config), name (in tables), printed_method, metric, mean_printed,
        sd_printed (NaN where none is), mean_measured, sd_measured (NaN with one seed), seeds,
        difference (measured - printed), in_sd (NaN where there is no SD at all) and sd_of
        ("printed", else "measured", else "").
    notes : tuple of str
        What a reader of the numbers must know.
    """

    title: str
    rows: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def headings(self) -> dict[str, str]:
        return {metric: HEADINGS[metric] for metric in dict.fromkeys(self.rows["metric"])}


def beside_printed(results: Results) -> BesidePrinted | None:
    """The measured table beside the printed one; None where no paper has the data and network."""
    experiment = results.experiment
    dataset, network = _dataset(experiment), _network(experiment)
    expected = _printed(dataset, network)
    names = {
        m: n for m in results.methods if (n := _printed_method(experiment.methods[m], dataset))
    }
    if expected.empty or not names:
        return None
    found = pd.DataFrame(
        [
            {"method": row.key, "name": row.name, "seeds": len(row.seeds), "metric": metric}
            | {"mean_measured": 100 * values.mean(), "sd_measured": 100 * values.std(ddof=1)}
            for row in results.rows
            if row.key in names
            for metric, values in _measured(results, row).items()
        ]
    )
    found["printed_method"] = found["method"].map(names)
    renamed = {"method": "printed_method", "mean": "mean_printed", "sd": "sd_printed"}
    table = found.merge(expected.rename(columns=renamed), on=["printed_method", "metric"])
    table["difference"] = table["mean_measured"] - table["mean_printed"]
    has_printed = table["sd_printed"].notna()
    # A measured SD of 0, of runs that are all alike, is no unit.
    measured = table["sd_measured"].where(table["sd_measured"] > 0)
    sd = table["sd_printed"].where(has_printed, measured)
    table["in_sd"] = table["difference"] / sd
    table["sd_of"] = np.where(has_printed, "printed", np.where(sd.notna(), "measured", ""))
    return BesidePrinted(title(dataset, network), table[COLUMNS], tuple(_notes(experiment, table)))


def _measured(results: Results, row: Row) -> pd.DataFrame:
    """The test metrics of a row's predictions as the released code has them, a line a run."""
    return pd.DataFrame(
        [evaluate(each, convention="released_code") for each in results.predictions(row)]
    )


def markdown_text(beside: BesidePrinted) -> str:
    """Three lines a method: printed, measured, and the difference, with how many SDs it is."""
    lines = []
    for _, group in beside.rows.groupby("method", sort=False):
        cells = [group[group["metric"] == metric] for metric in beside.headings]
        first = group.iloc[0]
        lines += [
            [first["name"], "printed", *(_mean(cell, "printed") for cell in cells)],
            ["", _seeds(first["seeds"]), *(_mean(cell, "measured") for cell in cells)],
            ["", "difference", *map(_difference, cells)],
        ]
    table = markdown(["Method", "", *beside.headings.values()], lines)
    notes = "\n".join(f"- {note}" for note in beside.notes)
    return f"# {beside.title}: measured beside the paper's table\n\n{table}\n\n{notes}\n"


def write_files(beside: BesidePrinted, folder: Path) -> None:
    """Write `paper.md` and `paper.csv` into a folder."""
    (folder / "paper.md").write_text(markdown_text(beside), encoding="utf-8")
    beside.rows.to_csv(folder / "paper.csv", index=False)


def rich_table(beside: BesidePrinted) -> Table:
    """Two of the metrics, for a terminal of 80 characters."""
    metrics = next(pair for pair in ON_THE_TERMINAL if pair[0] in beside.headings)
    table = Table(
        title=f"{beside.title}: the paper's means, those here, and the difference in SDs",
        caption="Computed as in the released code. The other metrics, and what to know of the "
        "numbers: paper.md",
        caption_justify="left",
    )
    table.add_column("Method")
    for metric in metrics:
        for heading in (f"{beside.headings[metric]} paper", "here", "in SDs"):
            table.add_column(heading, justify="right")
    for _, group in beside.rows.groupby("method", sort=False):
        row = []
        for metric in metrics:
            for cell in group[group["metric"] == metric].itertuples():
                row += [f"{cell.mean_printed:.2f}", f"{cell.mean_measured:.2f}", _in_sd(cell)]
        table.add_row(group.iloc[0]["name"], *row)
    return table


def _dataset(experiment: Experiment) -> str:
    """The data set's name; of images in a folder, the experiment's name tells which they are."""
    name = experiment.dataset.name
    return experiment.name if name.startswith(_OF_THE_USER) else name


def _network(experiment: Experiment) -> str:
    """The network's name in the papers, whose ResNet-34 is the pre-activation form."""
    return experiment.backbone.name.removesuffix("_preact")


def _printed(dataset: str, backbone: str) -> pd.DataFrame:
    """The printed cells of a data set and network in percent: method, metric, mean, sd, note."""
    confidence = printed.radimagenet_confidence()
    confidence["mean"] *= 100
    both = pd.concat([printed.table_1(), printed.radimagenet_errors(), confidence])
    return both[(both["dataset"] == dataset) & (both["backbone"] == backbone)]


def _printed_method(method: MethodSettings, dataset: str) -> str | None:
    """The printed method that a config's method is; None where its settings are others."""
    settings = method.model_dump()
    loss = settings["loss"]
    if settings["mixup"] or getattr(method, "shrinkage", 0.0):
        return None
    if dataset == "radimagenet":
        return RADIMAGENET_PAPER.get(loss)
    wanted = LS_PLUS_PAPER.get(loss)
    if wanted is None or any(settings[key] != value for key, value in wanted.items()):
        return None
    return str(loss)


def _notes(experiment: Experiment, table: pd.DataFrame) -> list[str]:
    notes = [
        "Measured: as the LS+ authors' released code computes the metrics, from the runs' "
        "predictions; table.md has their standard definitions."
    ]
    if experiment.dataset.name.startswith(_OF_THE_USER):
        notes.append(f"The images are the user's own; the name {experiment.name} chose the table.")
    if _dataset(experiment) == "radimagenet":
        notes.append(
            "Printed: arXiv 2510.20011, Table 1 (the second block of numbers; the first is "
            "impossible) and Table 2. It prints no SDs and gives no settings of the losses."
        )
    else:
        notes.append(
            "Printed: the LS+ paper's Table 1, mean and SD of three runs, both rounded up. The "
            "SD of a difference is the printed one."
        )
    if experiment.backbone.name == "resnet34":
        notes.append(
            "The network here is the standard ResNet-34; the paper's is its pre-activation form, "
            "`backbone.name: resnet34_preact`."
        )
    if (table["sd_of"] == "measured").any():
        notes.append(f"{MEASURED_SD}: the measured SD, as none is printed.")
    if table["printed_method"].isin(["focal", "dca", "mdca"]).any():
        notes.append(
            "The paper's FL, DCA and MDCA come from its released code, which optimised something "
            "else in their names: a method marked 'released code' repeats that, and the others "
            "are the methods as published (see docs/errata.md)."
        )
    noted = table[table["note"] != ""].drop_duplicates(["printed_method", "metric"])
    notes += [
        f"{method}, {HEADINGS[metric]}: {note}."
        for method, metric, note in zip(noted["name"], noted["metric"], noted["note"], strict=True)
    ]
    return notes


def _seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"


def _mean(cell: pd.DataFrame, side: str) -> str:
    """The mean and SD of a cell, a table of one row, or of none where nothing is printed."""
    if cell.empty:
        return ""
    mean, sd = cell.iloc[0][[f"mean_{side}", f"sd_{side}"]]
    return f"{mean:.2f}" if np.isnan(sd) else f"{mean:.2f} ± {sd:.1f}"


def _difference(cell: pd.DataFrame) -> str:
    if cell.empty:
        return ""
    row = cell.iloc[0]
    text = _in_sd(row)
    return f"{row.difference:+.2f} ({text} SD)" if text else f"{row.difference:+.2f}"


def _in_sd(cell: Any) -> str:
    if np.isnan(cell.in_sd):
        return ""
    return f"{cell.in_sd:+.1f}" + (MEASURED_SD if cell.sd_of == "measured" else "")
