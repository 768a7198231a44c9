"""Figures of how training went, from the columns of its logs."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lsplus_tf.errors import InputError, check_choice
from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import History

Histories = History | Sequence[History]
ConfidenceView = Literal["gap", "path"]
FloatArray = npt.NDArray[np.float64]


def training_curves(
    histories: Mapping[str, Histories],
    *,
    metric: str = "val_accuracy",
    ax: Axes | None = None,
) -> Axes:
    """A training metric against the epoch: mean over seeds, with a band from lowest to highest.

    Epochs are drawn as counted from 1; logs count from 0.

    Parameters
    ----------
    histories : mapping of str to History, or to sequence of History
        One entry per method, in the order of its colours, and one history per seed: a DataFrame or
        a dict of columns, of which "epoch" and the metric are read. Seeds may stop at different
        epochs; each epoch's mean is over the seeds that reached it. NaN is left out.
    metric : str
        Such as "loss", "val_loss", "accuracy" or "val_accuracy".
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        One line per method.

    Raises
    ------
    InputError
        If there is no method, one has no history, or a history lacks the column.

    Examples
    --------
    >>> ax = training_curves({"HL": [{"epoch": [0, 1], "val_accuracy": [0.5, 0.7]}]})
    >>> ax.get_ylabel()
    'Validation accuracy (fraction)'
    """
    logs = _logs(histories, [metric])
    ax = ax or _shared.new_axes(5.6, 4.0)
    for position, (method, log) in enumerate(logs.items()):
        _line_over_epochs(ax, position, method, log["epoch"], log[metric])
    ax.set_ylabel(_metric_label(metric))
    _label_epochs(ax)
    return ax


def confidence_against_accuracy(
    histories: Mapping[str, Histories],
    *,
    accuracy: str = "val_accuracy",
    confidence: str = "val_mean_confidence",
    view: ConfidenceView = "gap",
    ax: Axes | None = None,
) -> Axes:
    """Whether a model grows more confident than it is accurate while it trains.

    Parameters
    ----------
    histories : mapping of str to History, or to sequence of History
        One entry per method, in the order of its colours, and one history per seed: a DataFrame or
        a dict of columns, of which "epoch" and the two below are read. Seeds may stop at different
        epochs; each epoch's mean is over the seeds that reached it. An epoch in which either is NaN
        is left out.
    accuracy, confidence : str
        Columns of the accuracy and of the mean largest probability, both in [0, 1].
    view : {"gap", "path"}
        "gap" draws confidence - accuracy against the epoch, counted from 1, mean over seeds with a
        band from lowest to highest: above 0 is overconfident. "path" draws, epoch by epoch,
        mean confidence against mean accuracy, from a hollow marker to a full one, beside the
        diagonal of calibration.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        One line per method, after the line of calibration.

    Raises
    ------
    InputError
        If there is no method, one has no history, a history lacks a column, or one of the columns
        holds a number outside [0, 1], such as a percentage.

    Examples
    --------
    >>> log = {"epoch": [0, 1], "val_accuracy": [0.5, 0.7], "val_mean_confidence": [0.5, 0.9]}
    >>> ax = confidence_against_accuracy({"HL": [log]})
    >>> ax.get_lines()[1].get_ydata().round(6).tolist()
    [0.0, 0.2]
    """
    check_choice("view", view, ConfidenceView)
    logs = _logs(histories, [accuracy, confidence])
    for method, log in logs.items():
        for column in (accuracy, confidence):
            outside = log[column][(log[column] < 0) | (log[column] > 1)]
            if outside.size:
                raise InputError(
                    f"histories: expected numbers in [0, 1] in column {column!r} of {method!r}, "
                    f"received {outside.iloc[0]:g}"
                )
    split = "Validation" if confidence.startswith("val_") else "Training"
    if view == "gap":
        ax = ax or _shared.new_axes(5.6, 4.0)
        ax.axhline(0, color="0.3", linewidth=1)
        for position, (method, log) in enumerate(logs.items()):
            _line_over_epochs(ax, position, method, log["epoch"], log[confidence] - log[accuracy])
        ax.set_ylabel(f"{split} confidence - accuracy (fraction)\nabove 0: overconfident")
        _label_epochs(ax)
        return ax
    ax = ax or _shared.new_axes(5.6, 5.2)
    means = {method: log.groupby("epoch").mean() for method, log in logs.items()}
    drawn = np.concatenate([mean.to_numpy().ravel() for mean in means.values()])
    low, high = (drawn.min(), drawn.max()) if drawn.size else (0, 1)
    margin = 0.05 * max(high - low, 0.1)
    limits = (low - margin, high + margin)
    ax.plot(limits, limits, color="0.6", linewidth=1, label="Calibrated")
    for position, (method, mean) in enumerate(means.items()):
        look = _shared.look(position)
        ax.plot(mean[accuracy], mean[confidence], label=method, **look)
        for end, fill in ((mean[:1], "white"), (mean[-1:], look["color"])):
            ax.plot(
                end[accuracy],
                end[confidence],
                marker="o",
                markerfacecolor=fill,
                markeredgecolor=look["color"],
            )
    ax.set(
        xlabel=f"{split} accuracy (fraction)",
        ylabel=f"{split} mean confidence (fraction)\nabove the diagonal: overconfident",
        xlim=limits,
        ylim=limits,
        aspect="equal",
    )
    ax.grid(alpha=0.3)
    ends = [
        Line2D([], [], color="0.3", linestyle="", marker="o", markerfacecolor=fill, label=label)
        for fill, label in (("white", "First epoch"), ("0.3", "Last epoch"))
    ]
    ax.legend(handles=[*ax.get_legend_handles_labels()[0], *ends])
    return ax


def _logs(histories: Mapping[str, Histories], columns: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Per method the epochs of all its runs at which every column has a finite number."""
    _shared.check_methods("histories", histories)
    logs = {}
    for method, given in histories.items():
        runs = [given] if isinstance(given, (Mapping, pd.DataFrame)) else given
        if len(runs) == 0:
            raise InputError(f"histories: expected at least one run of {method!r}, received none")
        log = pd.concat(
            [
                pd.DataFrame({name: _column(run, name, method) for name in ("epoch", *columns)})
                for run in runs
            ],
            ignore_index=True,
        )
        logs[method] = log.loc[np.isfinite(log.to_numpy()).all(axis=1)]
    return logs


def _line_over_epochs(
    ax: Axes, position: int, method: str, epochs: pd.Series, values: pd.Series
) -> None:
    over_seeds = values.groupby(epochs)
    mean, low, high = (over_seeds.agg(how) for how in ("mean", "min", "max"))
    curves = (mean.to_numpy(), low.to_numpy(), high.to_numpy())
    _shared.line_with_band(ax, position, method, mean.index.to_numpy() + 1, curves)


def _label_epochs(ax: Axes) -> None:
    ax.set_xlabel("Epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.grid(alpha=0.3)
    ax.legend()


def _column(history: History, column: str, method: str) -> npt.NDArray[np.float64]:
    if column not in history:
        raise InputError(
            f"histories: expected a column {column!r} in every run of {method!r}, "
            f"received {', '.join(map(str, history))}"
        )
    return np.asarray(history[column], dtype=np.float64)


def _metric_label(metric: str) -> str:
    split, name = (
        ("Validation ", metric[4:]) if metric.startswith("val_") else ("Training ", metric)
    )
    unit = {"loss": " (nats)", "accuracy": " (fraction)"}.get(name, "")
    return split + name.replace("_", " ") + unit
