"""The cells of a table: mean and SD of three runs, beside what is printed.

The authors gave every run's metrics 4 decimals, took the mean and the sample SD, and rounded both
up, to 2 and 1 decimals of a percent: so all but one of Table 1's numbers are met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal

import numpy as np
import pandas as pd
from tabulate import tabulate

from lsplus_tf.config.methods import METHODS
from lsplus_tf.paper.artifacts import RUNS
from lsplus_tf.paper.checks import Check
from lsplus_tf.results.tables import COLUMNS

CELL = ["dataset", "backbone", "method", "metric"]
DATASET_TITLES = {
    "chaoyang": "Chaoyang",
    "mhist": "MHIST",
    "isic2018": "ISIC-2018",
    "radimagenet": "RadImageNet",
}
BACKBONE_TITLES = {
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "mobilenet_v2": "MobileNetV2",
    "vgg19": "VGG-19",
}


HEADINGS = {column.key: column.heading for column in COLUMNS}


def mean_and_sd_rounded_up(values: Sequence[float]) -> tuple[float, float]:
    """Mean (2 decimals) and sample SD (1 decimal) in percent, of fractions with 4 decimals.

    Computed in decimals: in floats a mean of exactly 77.21 can be 77.21000000000001, which rounds
    up to 77.22. One value has no SD, NaN.

    Examples
    --------
    >>> mean_and_sd_rounded_up([0.7963, 0.7308, 0.7871])
    (77.14, 3.6)
    """
    if np.isnan(values).any():
        return np.nan, np.nan
    percent = [100 * Decimal(f"{value:.4f}") for value in values]
    mean = sum(percent, Decimal(0)) / len(percent)
    if len(percent) == 1:
        return _up(mean, "0.01"), np.nan
    squares = sum(((value - mean) ** 2 for value in percent), Decimal(0))
    sd = (squares / (len(percent) - 1)).sqrt()
    return _up(mean, "0.01"), _up(sd, "0.1")


def _up(value: Decimal, unit: str) -> float:
    # The division above is to 28 digits; what is left beyond 15 is not part of the number.
    return float(round(value, 15).quantize(Decimal(unit), ROUND_CEILING))


def summarise(runs: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Mean and SD of the three runs, rounded up as the authors did; fewer runs give no row.

    Parameters
    ----------
    runs : DataFrame
        Columns dataset, backbone, method, run and the metrics, as fractions.

    Returns
    -------
    DataFrame
        Columns dataset, backbone, method, metric, mean, sd.
    """
    rows = []
    for cell, group in runs.groupby(CELL[:3], sort=False):
        if len(group) == len(RUNS):
            rows += [
                [*cell, metric, *mean_and_sd_rounded_up(group[metric].tolist())]
                for metric in metrics
            ]
    return pd.DataFrame(rows, columns=[*CELL, "mean", "sd"])


def beside_printed(printed: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """The printed cells that were measured, in the printed order.

    Parameters
    ----------
    printed : DataFrame
        Columns dataset, backbone, method, metric, mean, and sd where SDs are printed.
    measured : DataFrame
        The same, and whatever else is known of a cell; a printed cell may be there several times.

    Returns
    -------
    DataFrame
        Columns dataset, backbone, method, metric, mean_printed, mean_measured, sd_printed and
        sd_measured where SDs are printed, and what else `measured` has.
    """
    values = [column for column in ("mean", "sd") if column in printed]
    more = [column for column in measured if column not in (*CELL, "mean", "sd")]
    both = printed[CELL + values].merge(
        measured[CELL + values + more], on=CELL, suffixes=("_printed", "_measured")
    )
    return both[CELL + [f"{v}_{side}" for v in values for side in ("printed", "measured")] + more]


def count_matches(
    cells: pd.DataFrame,
    value: str,
    name: str,
    exceptions: Sequence[tuple[str, str, str, str]] = (),
    note: str = "",
) -> Check | None:
    """How many measured means or SDs (`value`) are the printed ones; None where there are none.

    `exceptions` are the cells (dataset, backbone, method, metric) known to differ, which `note`
    explains.
    """
    if cells.empty:
        return None
    known = set(exceptions).intersection(cells[CELL].itertuples(index=False, name=None))
    matches = cells[f"{value}_printed"] == cells[f"{value}_measured"]
    return Check(
        name, int(matches.sum()), len(cells), len(cells) - len(known), note if known else ""
    )


def markdown_panel(
    cells: pd.DataFrame, lines: Mapping[str, Callable[[pd.Series], str]], by: str = "method"
) -> str:
    """One data set and network, for each method lines of cells.

    Parameters
    ----------
    cells : DataFrame
        As `beside_printed` gives them.
    lines : dict of str to callable
        What each line is called, and how a cell is written in it.
    by : str
        The column that tells the methods apart; their names are in the column "name", if there.
    """
    metrics = list(dict.fromkeys(cells["metric"]))
    rows = []
    for method, group in cells.groupby(by, sort=False):
        by_metric = group.set_index("metric")
        name = group["name"].iloc[0] if "name" in group else METHODS[str(method)].short_name
        for i, (label, written) in enumerate(lines.items()):
            texts = [written(by_metric.loc[m]) if m in by_metric.index else "" for m in metrics]
            rows.append(["" if i else name, label, *texts])
    return markdown(["Method", "", *(HEADINGS[metric] for metric in metrics)], rows)


def mean_and_sd(cell: pd.Series, side: str) -> str:
    """What is "printed" or "measured" in a cell, with the decimals of the LS+ paper."""
    sd = cell.get(f"sd_{side}", np.nan)
    mean = f"{cell[f'mean_{side}']:.2f}"
    return mean if np.isnan(sd) else f"{mean} ± {sd:.1f}"


def _exactly(side: str) -> Callable[[pd.Series], str]:
    """Writes a cell in bold where printed and measured differ."""

    def written(cell: pd.Series) -> str:
        text = mean_and_sd(cell, side)
        same = mean_and_sd(cell, "printed") == mean_and_sd(cell, "measured")
        return text if same else f"**{text}**"

    return written


# Of the LS+ authors' published runs, which give the printed numbers to the last digit.
RECOMPUTED = {"printed": _exactly("printed"), "recomputed": _exactly("measured")}


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 2) -> str:
    """A Markdown table whose first columns are text and the others numbers."""
    align = ["left"] * text_columns + ["right"] * (len(headings) - text_columns)
    return tabulate(rows, headings, tablefmt="pipe", colalign=align, disable_numparse=True)


def panels(cells: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of every data set and network, with what these are called."""
    for (dataset, backbone), group in cells.groupby(CELL[:2], sort=False):
        yield title(str(dataset), str(backbone)), group


def title(dataset: str, backbone: str) -> str:
    return f"{DATASET_TITLES[dataset]}, {BACKBONE_TITLES[backbone]}"
