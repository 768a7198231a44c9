"""The cells of a table: mean and SD of three runs, beside what is printed.

The authors gave every run's metrics 4 decimals, took the mean and the sample SD, and rounded both
up, to 2 and 1 decimals of a percent: so all but one of Table 1's numbers are met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_CEILING, Decimal

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
    up to 77.22.

    Examples
    --------
    >>> mean_and_sd_rounded_up([0.7963, 0.7308, 0.7871])
    (77.14, 3.6)
    """
    percent = [100 * Decimal(f"{value:.4f}") for value in values]
    mean = sum(percent, Decimal(0)) / len(percent)
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


def beside_printed(printed: pd.DataFrame, recomputed: pd.DataFrame) -> pd.DataFrame:
    """The printed cells that were recomputed, in the printed order.

    Returns
    -------
    DataFrame
        Columns dataset, backbone, method, metric, mean_printed, mean_recomputed, and sd_printed,
        sd_recomputed where SDs are printed.
    """
    values = [column for column in ("mean", "sd") if column in printed]
    both = printed[CELL + values].merge(
        recomputed[CELL + values], on=CELL, suffixes=("_printed", "_recomputed")
    )
    return both[CELL + [f"{v}_{side}" for v in values for side in ("printed", "recomputed")]]


def count_matches(
    cells: pd.DataFrame,
    value: str,
    name: str,
    exceptions: Sequence[tuple[str, str, str, str]] = (),
    note: str = "",
) -> Check | None:
    """How many recomputed means or SDs (`value`) are the printed ones; None where there are none.

    `exceptions` are the cells (dataset, backbone, method, metric) known to differ, which `note`
    explains.
    """
    if cells.empty:
        return None
    known = set(exceptions).intersection(cells[CELL].itertuples(index=False, name=None))
    matches = cells[f"{value}_printed"] == cells[f"{value}_recomputed"]
    return Check(
        name, int(matches.sum()), len(cells), len(cells) - len(known), note if known else ""
    )


def markdown_panel(cells: pd.DataFrame) -> str:
    """One data set and network, two lines a method: printed and recomputed, bold if they differ."""
    metrics = list(dict.fromkeys(cells["metric"]))
    rows = []
    for method, group in cells.groupby("method", sort=False):
        by_metric = group.set_index("metric")
        for side in ("printed", "recomputed"):
            rows.append([METHODS[str(method)].short_name if side == "printed" else "", side])
            rows[-1] += [_cell(by_metric.loc[metric], side) for metric in metrics]
    headings = ["Method", "", *(HEADINGS[metric] for metric in metrics)]
    return markdown(headings, rows)


def _cell(cell: pd.Series, side: str) -> str:
    differs = False
    text = []
    formats: dict[str, Callable[[float], str]] = {"mean": "{:.2f}".format, "sd": "{:.1f}".format}
    for value, written in formats.items():
        if f"{value}_printed" in cell:
            text.append(written(cell[f"{value}_{side}"]))
            differs |= cell[f"{value}_printed"] != cell[f"{value}_recomputed"]
    joined = " ± ".join(text)
    return f"**{joined}**" if differs else joined


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
