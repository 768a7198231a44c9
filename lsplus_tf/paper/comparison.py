"""Measured tables beside those that the papers print, of one experiment and of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table as RichTable

from lsplus_tf.config import CSV_PREFIX, FOLDER_PREFIX, NPZ_PREFIX, Experiment
from lsplus_tf.config.methods import METHODS, MethodSettings, short_names
from lsplus_tf.metrics import evaluate
from lsplus_tf.page import Block, Cell, Section, Table, Text
from lsplus_tf.paper import printed
from lsplus_tf.paper.cells import (
    CELL,
    HEADINGS,
    beside_printed,
    markdown_panel,
    mean_and_sd,
    title,
)
from lsplus_tf.results import Results, Row

# What decides that a method of a config is one of the LS+ paper's.
LS_PLUS_PAPER: dict[str, dict[str, Any]] = {
    "hard_labels": {},
    "label_smoothing": {"alpha": 0.1},
    "focal": {"gamma": 3.0},
    "dca": {"weight": 10.0},
    "mdca": {"weight": 1.0, "base": "hard_labels"},
    "ls_plus": {
        "alpha": 0.5,
        "start_from": "initial_weights",
        "refresh_every": None,
        "class_accuracy.shrinkage": 0.0,
    },
}
# The other paper gives no settings: any will do.
RADIMAGENET_PAPER: dict[str, str] = {
    "hard_labels": "hard_labels",
    "label_smoothing": "label_smoothing",
    "tf_kd_regularization": "tf_kd",
    "tf_kd_self_training": "tf_kd",
    "online_label_smoothing": "online_label_smoothing",
}
ON_THE_TERMINAL = (("accuracy", "ece"), ("top1_error", "top5_error"))
_OF_THE_USER = (FOLDER_PREFIX, CSV_PREFIX, NPZ_PREFIX)
MEASURED_SD = "†"
COLUMNS = ["dataset", "backbone", "method", "name", "printed_method", "metric", "mean_printed"]
COLUMNS += ["sd_printed", "mean_measured", "sd_measured", "seeds", "difference", "in_sd", "sd_of"]


@dataclass(frozen=True)
class BesidePrinted:
    """Measured and printed numbers of a data set and network, in percent.

    Attributes
    ----------
    title : str
        The data set and network.
    rows : DataFrame
        Columns dataset, backbone, method (as in the config), name (in tables), printed_method,
        metric, mean_printed, sd_printed (NaN where none is), mean_measured, sd_measured (NaN with
        one seed), seeds, difference (measured - printed), in_sd (NaN where there is no SD at all)
        and sd_of ("printed", else "measured", else "").
    missing : tuple of str
        What the paper prints, or the config has, and is not among the rows, and why.
    notes : tuple of str
        What a reader of the numbers must know.
    """

    title: str
    rows: pd.DataFrame
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def compare(experiment: Experiment, results: Results | None) -> BesidePrinted | None:
    """The measured table beside the printed one.

    Parameters
    ----------
    experiment : Experiment
    results : Results or None
        Of its finished runs; None where there are none.

    Returns
    -------
    BesidePrinted or None
        None where no paper has the data and network.
    """
    dataset, network = _dataset(experiment), _network(experiment)
    expected = printed.cells_of(dataset, network)
    matches = {name: _Match.of(method, dataset) for name, method in experiment.methods.items()}
    if expected.empty or not any(match.printed_method for match in matches.values()):
        return None
    measured = _measured(results, matches) if results is not None else []
    table = beside_printed(
        expected,
        pd.DataFrame(
            [{"dataset": dataset, "backbone": network, **cell} for cell in measured],
            columns=[*CELL, "mean", "sd", "row", "name", "seeds"],
        ),
    ).rename(columns={"method": "printed_method", "row": "method"})
    # In the order of the config; within a method in the printed one.
    order = {row: i for i, row in enumerate(dict.fromkeys(cell["row"] for cell in measured))}
    table = table.sort_values("method", key=lambda rows: rows.map(order), kind="stable")
    table["difference"] = table["mean_measured"] - table["mean_printed"]
    has_printed = table["sd_printed"].notna()
    # A measured SD of 0, of runs that are all alike, is no unit.
    own = table["sd_measured"].where(table["sd_measured"] > 0)
    sd = table["sd_printed"].where(has_printed, own)
    table["in_sd"] = table["difference"] / sd
    table["sd_of"] = np.where(has_printed, "printed", np.where(sd.notna(), "measured", ""))
    return BesidePrinted(
        title(dataset, network),
        table[COLUMNS].reset_index(drop=True),
        tuple(_missing(experiment, results, matches, expected)),
        tuple(_notes(experiment, table, expected)),
    )


@dataclass(frozen=True)
class _Match:
    """The printed method that a config's is; with a `reason` it is not, though it has its loss."""

    printed_method: str | None
    reason: str = ""

    @classmethod
    def of(cls, method: MethodSettings, dataset: str) -> _Match:
        settings = method.model_dump()
        loss = settings["loss"]
        wanted: dict[str, Any] = {"mixup": 0.0}
        if dataset == "radimagenet":
            name = RADIMAGENET_PAPER.get(loss)
        else:
            name = loss if loss in LS_PLUS_PAPER else None
            wanted |= LS_PLUS_PAPER.get(loss, {})
        other = [
            f"{key} is {_in_yaml(found)}, the paper's {_in_yaml(value)}"
            for key, value in wanted.items()
            if (found := _setting(settings, key, value)) != value
        ]
        return cls(name, ", ".join(other) if name else "")


def _in_yaml(value: Any) -> str:
    return "null" if value is None else str(value)


def _setting(settings: dict[str, Any], key: str, default: Any) -> Any:
    """A method's setting; the default where its section has another form, without this key."""
    found: Any = settings
    for part in key.split("."):
        found = found.get(part, default) if isinstance(found, dict) else default
    return found


def _measured(results: Results, matches: dict[str, _Match]) -> list[dict[str, Any]]:
    """The test metrics of the paper's methods as the released code has them, a cell each."""
    cells = []
    for row in results.rows:
        match = matches.get(row.key)
        if match is None or match.printed_method is None or match.reason:
            continue
        for metric, values in _metrics(results, row).items():
            cell = {"row": row.key, "name": row.name, "seeds": len(row.seeds)}
            cell |= {"method": match.printed_method, "metric": metric}
            cells.append(cell | {"mean": 100 * values.mean(), "sd": 100 * values.std(ddof=1)})
    return cells


def _metrics(results: Results, row: Row) -> pd.DataFrame:
    return pd.DataFrame(
        [evaluate(each, convention="released_code") for each in results.predictions(row)]
    )


def _missing(
    experiment: Experiment,
    results: Results | None,
    matches: dict[str, _Match],
    expected: pd.DataFrame,
) -> list[str]:
    """What is not in the table: methods of the paper, or of the config, and seeds."""
    names = short_names(experiment.methods)
    finished = [] if results is None else results.methods
    said = [
        f"{names[method]} is not the paper's: {match.reason}"
        for method, match in matches.items()
        if match.reason and (method in finished or method in experiment.usual_methods)
    ]
    for method in experiment.usual_methods:
        match = matches[method]
        if match.printed_method is None or match.reason:
            continue
        done = [] if results is None else [run.seed for run in results.of_method(method)]
        left = [str(seed) for seed in experiment.seeds if seed not in done]
        if left:
            seeds = "seed" if len(left) == 1 else "seeds"
            said.append(f"{names[method]}, {seeds} {', '.join(left)}: not finished")
    there = {match.printed_method for match in matches.values()}
    return said + [
        f"{_printed_name(method)}: the config has no such method"
        for method in dict.fromkeys(expected["method"])
        if method not in there
    ]


def _printed_name(method: str) -> str:
    return METHODS[method].short_name if method in METHODS else "Tf-KD"


def markdown_text(compared: Sequence[BesidePrinted], heading: str = "") -> str:
    """Three lines a method: printed, measured, and the difference, with how many SDs it is.

    Parameters
    ----------
    compared : sequence of BesidePrinted
    heading : str
        Of several; one has its own.
    """
    several = len(compared) > 1 or bool(heading)
    parts = [f"# {heading}"] if several else []
    for beside in compared:
        parts.append(
            f"## {beside.title}"
            if several
            else f"# {beside.title}: measured beside the paper's table"
        )
        if beside.rows.empty:
            parts.append("No finished run yet.")
        else:
            rows = beside.rows.assign(name=beside.rows["name"] + beside.rows["seeds"].map(_seeds))
            parts.append(markdown_panel(rows, LINES, by="method"))
        if beside.missing:
            parts.append("Not in the table:")
            parts.append("\n".join(f"- {each}" for each in beside.missing))
        if not several:
            parts.append("\n".join(f"- {note}" for note in beside.notes))
    if several:
        notes = dict.fromkeys(note for beside in compared for note in beside.notes)
        parts += ["## Notes", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def write_files(compared: Sequence[BesidePrinted], folder: Path, heading: str = "") -> None:
    """Write `paper.md` and `paper.csv` into a folder."""
    (folder / "paper.md").write_text(markdown_text(compared, heading), encoding="utf-8")
    rows = pd.concat([beside.rows for beside in compared])
    rows.to_csv(folder / "paper.csv", index=False)


def rich_table(compared: Sequence[BesidePrinted]) -> RichTable:
    """Two of the metrics, for a terminal of 80 characters."""
    measured = {metric for beside in compared for metric in beside.rows["metric"]}
    metrics = next((pair for pair in ON_THE_TERMINAL if pair[0] in measured), ON_THE_TERMINAL[0])
    what = f"{compared[0].title}: the" if len(compared) == 1 else "The"
    table = RichTable(
        title=f"{what} paper's means, those here, and the difference in SDs",
        caption="Computed as in the released code. The other metrics, and what to know of the "
        "numbers: paper.md",
        caption_justify="left",
    )
    table.add_column("Method")
    for metric in metrics:
        for heading in (f"{HEADINGS[metric]} paper", "here", "in SDs"):
            table.add_column(heading, justify="right")
    for beside in compared:
        if len(compared) > 1:
            table.add_row(f"[bold]{beside.title}[/]")
        if beside.rows.empty:
            table.add_row("no finished run yet")
        for _, group in beside.rows.groupby("method", sort=False):
            row = []
            for metric in metrics:
                for cell in group[group["metric"] == metric].itertuples():
                    row += [f"{cell.mean_printed:.2f}", f"{cell.mean_measured:.2f}", _in_sd(cell)]
            table.add_row(group.iloc[0]["name"], *row)
        table.add_section()
    return table


def page_section(compared: Sequence[BesidePrinted]) -> Section:
    """The tables for a page."""
    blocks: list[Block] = []
    for beside in compared:
        blocks += [Text(f"{beside.title}: {each}.", "unsure") for each in beside.missing]
        if beside.rows.empty:
            continue
        rows: list[list[str | Cell]] = []
        metrics = list(dict.fromkeys(beside.rows["metric"]))
        for _, group in beside.rows.groupby("method", sort=False):
            by_metric = group.set_index("metric")
            first = group.iloc[0]
            row: list[str | Cell] = [first["name"], Cell(str(first["seeds"]), first["seeds"])]
            for metric in metrics:
                if metric not in by_metric.index:
                    row.append("")
                    continue
                cell = by_metric.loc[metric]
                text = f"{mean_and_sd(cell, 'measured')}\nprinted {mean_and_sd(cell, 'printed')}"
                row.append(Cell(text, cell["mean_measured"]))
            rows.append(row)
        headings = ["Method", "Seeds", *(HEADINGS[metric] for metric in metrics)]
        blocks.append(Table(f"{beside.title}, percent: measured here, and printed", headings, rows))
    notes = dict.fromkeys(note for beside in compared for note in beside.notes)
    blocks += [Text(note, "note") for note in notes]
    return Section("Beside the paper's tables", blocks)


def _dataset(experiment: Experiment) -> str:
    """The data set's name; of images in a folder, the experiment's name tells which they are."""
    name = experiment.dataset.name
    return experiment.name if name.startswith(_OF_THE_USER) else name


def _network(experiment: Experiment) -> str:
    """The network's name in the papers, whose ResNet-34 is the pre-activation form."""
    return experiment.backbone.name.removesuffix("_preact")


def _notes(experiment: Experiment, table: pd.DataFrame, expected: pd.DataFrame) -> list[str]:
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
    shown = dict(zip(table["printed_method"], table["name"], strict=True))
    noted = expected[(expected["note"] != "") & expected["method"].isin(shown)]
    notes += [
        f"{shown[method]}, {HEADINGS[metric]}: {note}."
        for method, metric, note in zip(
            noted["method"], noted["metric"], noted["note"], strict=True
        )
    ]
    return notes


def _seeds(number: int) -> str:
    return " (1 seed)" if number == 1 else f" ({number} seeds)"


def _difference(cell: pd.Series) -> str:
    text = _in_sd(cell)
    return f"{cell.difference:+.2f} ({text} SD)" if text else f"{cell.difference:+.2f}"


def _in_sd(cell: Any) -> str:
    if np.isnan(cell.in_sd):
        return ""
    return f"{cell.in_sd:+.1f}" + (MEASURED_SD if cell.sd_of == "measured" else "")


LINES = {
    "printed": lambda cell: mean_and_sd(cell, "printed"),
    "here": lambda cell: mean_and_sd(cell, "measured"),
    "difference": _difference,
}
