"""The comparison of an experiment's methods as a table: terminal, Markdown, LaTeX, CSV."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from tabulate import tabulate

from lsplus_tf.calibrators import LabelShift, label_shift_test
from lsplus_tf.errors import some_of
from lsplus_tf.metrics import METRICS, Metric
from lsplus_tf.results.finished import Results, Row

_MOST_SHARES = 6
SIDE_BY_SIDE = 6  # methods; more are rows, since so many columns fit no page


@dataclass(frozen=True)
class Column:
    """A metric in the table.

    Attributes
    ----------
    key : str
        In `metrics.evaluate`.
    heading : str
        What stands above the column.
    better : {1, -1, 0}
        Whether higher or lower values are better, or neither.
    """

    key: str
    heading: str
    better: int

    @classmethod
    def of(cls, record: Metric) -> Column:
        return cls(record.key, record.heading, record.better)

    def titled(self, up: str = "↑", down: str = "↓") -> str:
        """The heading with an arrow in the better direction."""
        return self.heading + {1: f" {up}", -1: f" {down}", 0: ""}[self.better]


COLUMNS = tuple(Column.of(record) for record in METRICS.values() if record.evaluated)
MAIN = ("accuracy", "auroc", "ece", "nll", "brier")
_OVER_SEEDS = "mean and sample SD over seeds"
CAPTION = (
    f"Test metrics times 100, {_OVER_SEEDS}: ECE, ACE and SCE with 15 bins, NLL in nats, "
    "Brier summed over classes; the standard definitions, best means in bold."
)


@dataclass(frozen=True)
class Comparison:
    """The table: a row for each of the results' rows, a column for each metric.

    Attributes
    ----------
    columns : tuple of Column
        M metrics.
    names : list of str
        Of R rows, as they are shown.
    seeds : list of int
        Of how many seeds each row is.
    mean, sd : pandas.DataFrame
        (R, M), in percent, by the keys of rows and metrics; the SD is the sample's, over seeds.
    best : pandas.DataFrame
        (R, M), whether a mean is the best of its column.
    caption : str
        What the numbers are.
    """

    columns: tuple[Column, ...]
    names: list[str]
    seeds: list[int]
    mean: pd.DataFrame
    sd: pd.DataFrame
    best: pd.DataFrame
    caption: str

    def cells(self, bold: str, plus_minus: str, decimals: int = 2) -> list[list[str]]:
        """The rows of the table as text; `bold` is a pattern with one {} for the best values."""
        rows = []
        for i, (name, seeds) in enumerate(zip(self.names, self.seeds, strict=True)):
            row = [name, str(seeds)]
            for column in self.columns:
                mean, sd = self.mean[column.key].iloc[i], self.sd[column.key].iloc[i]
                text = f"{mean:.{decimals}f}"
                if not np.isnan(sd):
                    text += f"{plus_minus}{sd:.{decimals}f}"
                row.append(bold.format(text) if self.best[column.key].iloc[i] else text)
            rows.append(row)
        return rows

    def headings(self, up: str = "↑", down: str = "↓") -> list[str]:
        return ["Method", "Seeds", *(column.titled(up, down) for column in self.columns)]

    def only(self, keys: Collection[str]) -> Comparison:
        """The same with these columns alone."""
        return replace(self, columns=tuple(c for c in self.columns if c.key in keys))


def compare(results: Results) -> Comparison:
    """Mean and sample SD (n - 1) over the seeds of every row of the results."""
    classes = len(results.class_names)
    columns = tuple(c for c in COLUMNS if METRICS[c.key].fewest_classes <= classes)
    text = caption(results, CAPTION) + "".join(f" {line}" for line in label_shifts(results))
    return summarise(results, columns, results.measured, text)


def label_shifts(results: Results) -> list[str]:
    """Of each row with label shift the prevalence it was adapted to, and whether that explains."""
    of_key, end = {row.key: row for row in results.rows}, f"+{LabelShift.name}"
    lines = []
    for row in results.rows:
        plain = of_key.get(row.key.removesuffix(end))
        if plain is None or plain is row:  # members have their own line
            continue
        shares = np.mean(
            [each.prevalence_ for each in row.calibrators if isinstance(each, LabelShift)], axis=0
        )
        named = [
            f"{name} {share:.1%}" for name, share in zip(results.class_names, shares, strict=True)
        ]
        pairs = zip(
            results.predictions(plain, "validation"), results.predictions(plain), strict=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of too few cases, whose p is NaN
            found = [label_shift_test(held_out, judged).p_value for held_out, judged in pairs]
        tested = [f"{p_value:.2g}" for p_value in found if not np.isnan(p_value)]
        said = f"p = {', '.join(tested)}" if tested else "not testable with so few cases"
        lines.append(
            f"{row.name}: adapted to {some_of(named, _MOST_SHARES)}; whether another prevalence "
            f"explains the test split's predictions: {said}"
            + (", where a small p says no." if tested else ".")
        )
    return lines


def summarise(
    results: Results,
    columns: tuple[Column, ...],
    measure: Callable[[Row], Sequence[Mapping[str, float]]],
    text: str,
) -> Comparison:
    """Mean and sample SD of what `measure` gives for each prediction of a row, as fractions."""
    keys = [column.key for column in columns]
    frames = {row.key: pd.DataFrame(measure(row))[keys] for row in results.rows}
    mean = pd.DataFrame({key: 100 * frame.mean() for key, frame in frames.items()}).T
    # An ensemble is one prediction, which has no SD.
    sd = pd.DataFrame({key: 100 * frame.std(ddof=1) for key, frame in frames.items()}).T
    names, seeds = [row.name for row in results.rows], [len(row.seeds) for row in results.rows]
    return Comparison(columns, names, seeds, mean, sd, best_means(mean, columns), text)


def caption(results: Results, text: str) -> str:
    """The text as it is of so many seeds, and what to know of its rows."""
    if results.one_seed:
        text = text.replace(_OVER_SEEDS, "of one seed")
    if results.experiment.convention == "released_code":
        text += " Trained by the LS+ authors' released code (convention: released_code)."
    if not any(row.calibrators for row in results.rows):
        return text
    text += (
        " METHOD + CALIBRATOR: the same runs, each with the calibrator fitted to its validation "
        "split alone."
    )
    if any(row.by_member for row in results.rows):
        text += (
            " (METHOD + CALIBRATOR) ensemble: each member with its own calibrator before the mean."
        )
    protocol = results.experiment.protocol
    if protocol.checkpoint == "best_validation_accuracy" or protocol.early_stopping:
        text += (
            " That split also chose the epoch of each run, which therefore looks a little better "
            "on it than on new images: a calibrator fitted there may leave some overconfidence."
        )
    if "label_shift" in results.experiment.calibrators:
        text += (
            " Label shift is also adapted to the test split: the prevalence is estimated from all "
            "of its predictions together, without labels, as if nothing else differed."
        )
    return text


def best_means(mean: pd.DataFrame, columns: Collection[Column]) -> pd.DataFrame:
    """Which rows have the best mean of a column as printed, with two decimals; alone none has."""
    best = pd.DataFrame(False, index=mean.index, columns=[column.key for column in columns])
    if len(mean) > 1:
        for column in columns:
            if column.better:
                printed = (column.better * mean[column.key]).round(2)
                best[column.key] = printed == printed.max()
    return best


def rich_table(comparison: Comparison, title: str, console: Console) -> Table:
    """The table for a terminal, in a form that fits it.

    The methods are columns; where there are more than six, or no room for their words, they are
    rows, with the main metrics.
    """
    bold = "[bold green]{}[/]"
    if len(comparison.names) <= SIDE_BY_SIDE:
        table = Table(title=title, caption=comparison.caption, caption_justify="left")
        table.add_column("Metric (x100)")
        for name in comparison.names:
            table.add_column(name, justify="right")
        for row in _a_row_per_metric(comparison, bold)[1:]:
            table.add_row(*row)
        if Measurement.get(console, console.options, table).minimum <= console.width:
            return table
    more = " Seeds and the other metrics are in table.md and table.csv."
    table = Table(title=title, caption=comparison.caption + more, caption_justify="left")
    main = comparison.only(MAIN)
    (name, _, *headings) = main.headings()
    table.add_column(name)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, _, *cells in main.cells(bold, "±", decimals=1):
        table.add_row(name, *cells)
    return table


def _a_row_per_metric(comparison: Comparison, bold: str) -> list[list[str]]:
    """The headings and cells with the methods side by side; the first row holds their names."""
    columns = [comparison.headings(), *comparison.cells(bold, " ± ")]
    return [list(row) for row in zip(*columns, strict=True)]


def markdown_table(comparison: Comparison) -> str:
    """A row a metric and a column a method, which fits a page; a row a method if they are many."""
    if len(comparison.names) <= SIDE_BY_SIDE:
        (_, *names), *rows = _a_row_per_metric(comparison, "**{}**")
        headings = ["Metric (x100)", *names]
    else:
        headings, rows = comparison.headings(), comparison.cells("**{}**", " ± ")
    align = ["left"] + ["right"] * (len(headings) - 1)
    return tabulate(rows, headings, tablefmt="pipe", colalign=align, disable_numparse=True)


def latex_table(comparison: Comparison) -> str:
    rows = comparison.cells(r"\textbf{{{}}}", r" $\pm$ ")
    rows = [[row[0].replace("_", r"\_"), *row[1:]] for row in rows]
    headings = comparison.headings(r"$\uparrow$", r"$\downarrow$")
    align = ["left"] + ["right"] * (len(rows[0]) - 1)
    return tabulate(
        rows,
        headings,
        tablefmt="latex_raw",
        colalign=align,
        disable_numparse=True,
    )


def csv_table(comparison: Comparison) -> pd.DataFrame:
    """One row a method, two columns a metric: `KEY_mean` and `KEY_sd`, in percent."""
    mean, sd = comparison.mean.add_suffix("_mean"), comparison.sd.add_suffix("_sd")
    columns = [f"{c.key}_{what}" for c in comparison.columns for what in ("mean", "sd")]
    return pd.concat([mean, sd], axis=1)[columns]
