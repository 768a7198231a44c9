"""Measured tables beside those that the papers print, of one experiment and of a grid."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table as RichTable

from lsplus_tf.config import CSV_PREFIX, FOLDER_PREFIX, NPZ_PREFIX, Experiment, load_config
from lsplus_tf.config.methods import METHODS, MethodSettings
from lsplus_tf.experiments.folder import different_settings
from lsplus_tf.experiments.plan import Run
from lsplus_tf.metrics import evaluate
from lsplus_tf.page import Block, Cell, Section, Table, Text
from lsplus_tf.paper import printed
from lsplus_tf.paper.cells import (
    CELL,
    HEADINGS,
    beside_printed,
    markdown_panel,
    mean_and_sd,
    mean_and_sd_rounded_up,
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
_NAMED = 8  # settings that are told to be others
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
    left_out : tuple of str
        Methods of the config that are the paper's but for a setting, and have no row.
    missing : tuple of str
        What else the paper prints and is not among the rows, or not with all seeds, and why.
    different : tuple of str
        In what the experiment is not that of the packaged config.
    notes : tuple of str
        What a reader of the numbers must know.
    """

    title: str
    rows: pd.DataFrame
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    different: tuple[str, ...]
    notes: tuple[str, ...]


def compare(
    experiment: Experiment, results: Results | None, missing: Collection[Run] = ()
) -> BesidePrinted | None:
    """The measured table beside the printed one.

    Parameters
    ----------
    experiment : Experiment
    results : Results or None
        Of its finished runs; None where there are none.
    missing : collection of Run
        What is not finished, where there are no results.

    Returns
    -------
    BesidePrinted or None
        None where no paper has the data and network.
    """
    dataset, network = dataset_of(experiment), network_of(experiment)
    expected = printed.cells_of(dataset, network)
    matches = {name: Match.of(method, dataset) for name, method in experiment.methods.items()}
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
        tuple(_left_out(experiment, results, matches)),
        tuple(_missing(experiment, results, missing, matches, expected)),
        tuple(_different(experiment, matches)),
        tuple(_notes(experiment, table, expected)),
    )


@dataclass(frozen=True)
class Match:
    """The printed method that a config's is; with a `reason` it is not, though it has its loss."""

    printed_method: str | None
    reason: str = ""

    @classmethod
    def of(cls, method: MethodSettings, dataset: str) -> Match:
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


def _measured(results: Results, matches: dict[str, Match]) -> list[dict[str, Any]]:
    """The test metrics of the paper's methods as the released code has them, a cell each."""
    rounded_up = dataset_of(results.experiment) != "radimagenet"
    cells = []
    for row in results.rows:
        match = matches.get(row.key)
        if match is None or match.printed_method is None or match.reason:
            continue
        for metric, values in _metrics(results, row).items():
            if rounded_up:
                mean, sd = mean_and_sd_rounded_up(values.tolist())
            else:
                mean, sd = 100 * values.mean(), 100 * values.std(ddof=1)
            cell = {"row": row.key, "name": row.name, "seeds": len(row.seeds)}
            cell |= {"method": match.printed_method, "metric": metric, "mean": mean, "sd": sd}
            cells.append(cell)
    return cells


def _metrics(results: Results, row: Row) -> pd.DataFrame:
    return pd.DataFrame(
        [evaluate(each, convention="released_code") for each in results.predictions(row)]
    )


def _left_out(
    experiment: Experiment, results: Results | None, matches: dict[str, Match]
) -> list[str]:
    finished = [] if results is None else results.methods
    return [
        f"{experiment.titles[method]} is not the paper's: {match.reason}"
        for method, match in matches.items()
        if match.reason and (method in finished or method in experiment.usual_methods)
    ]


def _missing(
    experiment: Experiment,
    results: Results | None,
    missing: Collection[Run],
    matches: dict[str, Match],
    expected: pd.DataFrame,
) -> list[str]:
    """What the paper prints and is not in the table, or not with all seeds, and why."""
    unfinished = {*missing} if results is None else {*results.missing}
    finished = set() if results is None else {*results.runs}
    said = []
    for printed_method in dict.fromkeys(expected["method"]):
        ours = [name for name, match in matches.items() if match.printed_method == printed_method]
        asked = [
            name
            for name in ours
            if name in experiment.usual_methods
            or any(Run(name, seed) in finished | unfinished for seed in experiment.seeds)
        ]
        if not ours:
            said.append(f"{_printed_name(printed_method)}: the config has no such method")
        elif not asked:
            said.append(f"{experiment.titles[ours[0]]}: optional, and not trained")
        for name in asked:
            if matches[name].reason:
                continue
            runs = [Run(name, seed) for seed in experiment.seeds]
            left = [run for run in runs if run in unfinished]
            others = [run for run in runs if run not in unfinished | finished]
            for these, why in ((left, "not finished"), (others, "not in this report")):
                if these:
                    seeds = ", ".join(str(run.seed) for run in these)
                    plural = "s" * (len(these) > 1)
                    said.append(f"{experiment.titles[name]}, seed{plural} {seeds}: {why}")
    return said


def _different(experiment: Experiment, matches: dict[str, Match]) -> list[str]:
    """In what the experiment is not that of the packaged config of its data set."""
    packaged = load_config(dataset_of(experiment)).shared_settings()
    here = experiment.shared_settings()
    for settings in (packaged, here):
        del settings["name"], settings["convention"], settings["dataset"]["name"]
        del settings["backbone"]["name"]
    other = [
        f"{key} is {_in_yaml(now)} (there {_in_yaml(there)})"
        for key, there, now in different_settings(packaged, here)
    ]
    said = []
    if other:
        more = f", and {len(other) - _NAMED} more" if len(other) > _NAMED else ""
        said.append(
            f"Not the protocol of configs/{dataset_of(experiment)}.yaml: "
            f"{', '.join(other[:_NAMED])}{more}"
        )
    if experiment.convention == "standard":
        said += [
            f"{experiment.titles[name]}: its class accuracies are given, and not measured"
            for name, match in matches.items()
            if match.printed_method and getattr(experiment.methods[name], "given_accuracies", None)
        ]
    return said


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
        parts += [f"**{each}.**" for each in beside.different]
        if beside.left_out or beside.missing:
            parts.append("Not in the table:")
            parts.append("\n".join(f"- {each}" for each in (*beside.left_out, *beside.missing)))
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
            lines = beside.title.replace(", ", "\n")  # which a narrow column does not cut
            table.add_row(f"[bold]{lines}[/]")
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
        said = (*beside.different, *beside.left_out, *beside.missing)
        blocks += [Text(f"{beside.title}: {each}.", "unsure") for each in said]
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


def dataset_of(experiment: Experiment) -> str:
    """The data set's name; of images in a folder, the experiment's name tells which they are."""
    name = experiment.dataset.name
    return experiment.name if name.startswith(_OF_THE_USER) else name


def network_of(experiment: Experiment) -> str:
    """The network's name in the papers, whose ResNet-34 is the pre-activation form."""
    return experiment.backbone.name.removesuffix("_preact")


def _notes(experiment: Experiment, table: pd.DataFrame, expected: pd.DataFrame) -> list[str]:
    notes = [
        "Measured: as the LS+ authors' released code computes the metrics, from the runs' "
        "predictions; table.md has their standard definitions."
    ]
    if experiment.dataset.name.startswith(_OF_THE_USER):
        notes.append(f"The images are the user's own; the name {experiment.name} chose the table.")
    if dataset_of(experiment) == "radimagenet":
        notes.append(
            "Printed: arXiv 2510.20011, Table 1 (the second block of numbers; the first is "
            "impossible) and Table 2. It prints no SDs and gives no settings of the losses."
        )
    else:
        notes.append(
            "Printed: the LS+ paper's Table 1, mean and SD of three runs, both rounded up, as are "
            "those here. The SD of a difference is the printed one."
        )
    if experiment.backbone.name == "resnet34":
        notes.append(
            "The network here is the standard ResNet-34; the paper's is its pre-activation form, "
            "`backbone.name: resnet34_preact`."
        )
    if (table["sd_of"] == "measured").any():
        notes.append(f"{MEASURED_SD}: the measured SD, as none is printed.")
    if table["printed_method"].isin(["focal", "dca", "mdca"]).any():
        marks = (
            "a method marked 'released code' repeats that, and the others are"
            if experiment.convention == "standard"
            else "this experiment repeats that, and a method marked 'standard' is one of"
        )
        notes.append(
            "The paper's FL, DCA and MDCA come from its released code, which optimised something "
            f"else in their names: {marks} the methods as published (see docs/errata.md)."
        )
    if experiment.convention == "released_code":
        notes.append(
            "The experiment goes by the released code: its losses, early stopping of LS and LS+ "
            "alone, whole batches (convention: released_code)."
        )
    there = {*table["printed_method"]}
    noted = expected[(expected["note"] != "") & expected["method"].isin(there)]
    where = title(dataset_of(experiment), network_of(experiment))
    notes += [
        f"{where}, {_printed_name(method)}, {HEADINGS[metric]}: {note}."
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
