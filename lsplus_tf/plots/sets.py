"""A figure of how often prediction sets hold the true class, class by class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lsplus_tf.errors import InputError, check_level
from lsplus_tf.plots import _shared

_MOST_CLASSES = 40
_MARKERS = "osD^vP"
_COLUMNS = ("by", "part", "coverage", "low", "high", "mean_size")


def coverage_by_class(
    tables: Mapping[str, pd.DataFrame],
    *,
    error_rate: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Coverage of prediction sets among the cases of each class, with its interval.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Of :func:`~lsplus_tf.metrics.set_coverage`, one entry per method, in the order of its
        colours. Classes without a case have no row there, and are left out.
    error_rate : float, optional
        That the sets were made for, in (0, 1): a dashed line shows what they promise.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        A row for each class and one for all cases; of more than 40 classes the 40 that some method
        covers least. The legend has each method's mean size.

    Raises
    ------
    InputError
        If there is no method, or a table is not such a one.

    Examples
    --------
    >>> from lsplus_tf.metrics import set_coverage
    >>> table = set_coverage([0, 1, 1], [[True, False], [True, True], [False, True]])
    >>> ax = coverage_by_class({"LAC": table}, error_rate=0.1)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['all', '0', '1']
    >>> ax.get_legend().get_texts()[0].get_text()
    'LAC (1.33 classes)'
    """
    _shared.check_methods("tables", tables)
    if error_rate is not None:
        check_level("error_rate", error_rate)
    shown, names = {}, ["all"]
    for method, table in tables.items():
        if not isinstance(table, pd.DataFrame) or not set(_COLUMNS) <= set(table):
            raise InputError(
                f"tables: expected a table of set_coverage for {method!r}, received a "
                f"{type(table).__name__}"
            )
        shown[method] = table[table["by"].isin(["all", "class"])].set_index("by")
        if not {"all", "class"} <= set(shown[method].index):
            raise InputError(f"tables: expected rows by all and by class for {method!r}")
        names += [part for part in shown[method].loc[["class"], "part"] if part not in names[1:]]
    names, classes = _least_covered(names, shown), len(names) - 1
    ax = ax or _shared.new_axes(5.2, 1.3 + (0.16 + 0.12 * len(tables)) * len(names))
    step = 0.6 / len(tables)
    for position, (method, rows) in enumerate(shown.items()):
        rows = rows[(rows.index == "all") | rows["part"].isin(names[1:])]
        is_all = rows.index == "all"
        places = np.array(
            [
                0 if by == "all" else names.index(part, 1)
                for by, part in zip(rows.index, rows["part"], strict=True)
            ]
        )
        low, value, high = (rows[each].to_numpy() for each in ("low", "coverage", "high"))
        size = rows["mean_size"].to_numpy()[is_all][0]
        ax.errorbar(
            value,
            places + (position - (len(tables) - 1) / 2) * step,
            xerr=(value - low, high - value),
            fmt=_MARKERS[position % len(_MARKERS)],
            color=_shared.look(position)["color"],
            markersize=4,
            capsize=2,
            linewidth=1.2,
            label=f"{method} ({size:.2f} classes)",
        )
    if error_rate is not None:
        ax.axvline(1 - error_rate, color="grey", linestyle="--", linewidth=0.9, zorder=0)
    ax.axhline(0.5, color="lightgrey", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(right=1.01)
    ax.grid(axis="x", alpha=0.3)
    few = f" ({len(names) - 1} of {classes}, least covered)" if len(names) - 1 < classes else ""
    ax.set(
        xlabel="Sets with the true class (share of cases, 95% interval)",
        ylabel=f"True class{few}",
    )
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=9)
    return ax


def _least_covered(names: list[str], shown: Mapping[str, pd.DataFrame]) -> list[str]:
    """The first, which is all cases, and of many classes those that some method covers least."""
    if len(names) - 1 <= _MOST_CLASSES:
        return names
    rows = pd.concat([table.loc[["class"]] for table in shown.values()])
    coverage = rows.groupby("part")["coverage"].min()
    order = np.argsort(coverage[names[1:]].to_numpy(), kind="stable")[:_MOST_CLASSES]
    return [names[0], *(names[1 + place] for place in np.sort(order))]
