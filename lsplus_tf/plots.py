"""Figures of calibration, selective prediction, soft labels and training, from plain arrays.

Every function draws on the ``ax`` given, or on a new figure of a fitting size, and returns the
axes; nothing is shown, saved or changed globally. Predictions are softmax outputs (N, K) and true
classes (N,) as in :mod:`lsplus_tf.metrics`, and :class:`~lsplus_tf.errors.InputError` says what is
wrong with any that are not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lsplus_tf.errors import InputError
from lsplus_tf.metrics import _measures, retention_auc, retention_curve
from lsplus_tf.metrics._predictions import Convention, check_predictions

Prediction = tuple[npt.ArrayLike, npt.ArrayLike]
History = Mapping[str, npt.ArrayLike] | pd.DataFrame

# Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow that
# vanishes on white. The i-th method has the i-th colour in every figure; the line styles tell
# methods apart in a black and white print, and beyond the seventh.
METHOD_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#56B4E9")
_LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)))

_CORRECT_COLOUR = "#037804"
_INCORRECT_COLOUR = "#aa0504"

# Above this many classes the printed values would overlap, and above the second the names too.
_MOST_PRINTED_VALUES = 12
_MOST_CLASS_NAMES = 40


def reliability_diagram(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    num_bins: int = 15,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Accuracy per confidence bin, its gap to the diagonal, and the share of samples per bin.

    A bar stands on each bin that has samples; the hatched part is the gap between the bin's
    accuracy and its mean confidence, the quantity that the ECE averages. The strip below, which is
    the last of ``ax.child_axes``, shows how many samples each bin has.

    Parameters
    ----------
    probabilities : array_like, shape (N, K)
    labels : array_like of int, shape (N,)
    num_bins : int
        Bins of equal width, as in
        :func:`~lsplus_tf.metrics.expected_calibration_error`.
    ax : matplotlib.axes.Axes, optional
    title : str, optional

    Returns
    -------
    matplotlib.axes.Axes
        The containers are the accuracy bars and the gaps, one patch per bin that has samples.

    Raises
    ------
    InputError
        If the predictions are not valid.

    References
    ----------
    Niculescu-Mizil and Caruana, ICML 2005; Guo et al., ICML 2017, Fig. 1.

    Examples
    --------
    >>> ax = reliability_diagram([[0.9, 0.1], [0.3, 0.7]], [0, 0])
    >>> ax.get_ylabel()
    'Accuracy (fraction)'
    """
    predictions = check_predictions(probabilities, labels)
    bins = _measures.top_label_bins(predictions, num_bins)
    filled = bins.samples > 0
    samples = bins.samples[filled]
    accuracy, confidence = bins.correct[filled] / samples, bins.confidence[filled] / samples
    left, width = np.flatnonzero(filled) / num_bins, 1 / num_bins

    if ax is None:
        ax = plt.subplots(figsize=(4.8, 5.6), layout="constrained")[1]
    ax.bar(
        left, accuracy, width, align="edge", color="#56B4E9", edgecolor="black", label="Accuracy"
    )
    ax.bar(
        left,
        confidence - accuracy,
        width,
        bottom=accuracy,
        align="edge",
        color="none",
        edgecolor="#D55E00",
        hatch="////",
        label="Gap to confidence",
    )
    ax.plot([0, 1], [0, 1], color="0.3", linestyle="--", label="Calibrated")
    # Outside the square, which bars may fill anywhere.
    ax.text(
        0.5,
        1.02,
        f"ECE {_measures.ece(predictions, num_bins):.1%}, "
        f"accuracy {_measures.accuracy(predictions):.1%}, "
        f"confidence {_measures.mean_confidence(predictions):.1%}",
        transform=ax.transAxes,
        ha="center",
        va="bottom",
        fontsize="small",
    )
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.42), ncols=3, fontsize="small", frameon=False
    )
    ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="Accuracy (fraction)", aspect="equal")
    if title is not None:
        ax.set_title(title, pad=20)

    strip = ax.inset_axes((0, -0.25, 1, 0.2), sharex=ax)
    share = samples / samples.sum()
    strip.bar(left, share, width, align="edge", color="0.7", edgecolor="black")
    strip.set(xlabel="Confidence (largest probability)", ylabel="Share of\nsamples")
    ax.tick_params(labelbottom=False)
    # Where a panel is taller than the square, the room it leaves is needed by the strip.
    ax.set_anchor("N")
    return ax


def retention_curves(
    predictions: Mapping[str, Prediction | Sequence[Prediction]],
    *,
    convention: Convention = "standard",
    ax: Axes | None = None,
) -> Axes:
    """Accuracy against the fraction of samples that the model, not an expert, decides.

    Parameters
    ----------
    predictions : mapping of str to (probabilities, labels), or to a list of them
        One entry per method, in the order of its colours; a list holds one pair per seed, and its
        curve is the mean with a band from the lowest to the highest seed.
    convention : {"standard", "paper"}
        How the legend's R-AUC is computed, as in :func:`~lsplus_tf.metrics.retention_auc`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        One line per method, whose label gives the mean R-AUC times 100.

    Raises
    ------
    InputError
        If a method has no predictions, or some that are not valid.

    See Also
    --------
    lsplus_tf.metrics.retention_curve : ranks by confidence, which the paper's Fig. 1 does not.

    Examples
    --------
    >>> ax = retention_curves({"HL": ([[0.9, 0.1], [0.4, 0.6]], [0, 0])})
    >>> ax.get_lines()[0].get_label()
    'HL (R-AUC 87.50)'
    """
    if ax is None:
        ax = plt.subplots(figsize=(5.6, 4.2), layout="constrained")[1]
    fractions = np.linspace(0, 1, 201)
    for position, (name, given) in enumerate(predictions.items()):
        runs: Sequence[Prediction] = [given] if isinstance(given, tuple) else given
        if not runs:
            raise InputError(f"predictions: expected at least one run of {name!r}, received none")
        curves = np.stack([retention_curve(*run, fractions=fractions)[1] for run in runs])
        area = np.mean([retention_auc(*run, convention=convention) for run in runs])
        _line_with_band(
            ax,
            position,
            f"{name} (R-AUC {100 * area:.2f})",
            fractions,
            (curves.mean(axis=0), curves.min(axis=0), curves.max(axis=0)),
        )
    ax.set(
        xlim=(0, 1),
        xlabel="Fraction decided by the model, most confident first",
        ylabel="Accuracy of model and expert (fraction)",
    )
    ax.margins(x=0)
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def confidence_density(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, ax: Axes | None = None
) -> Axes:
    """Density of the largest probability, of correct and of incorrect samples apart.

    15 bins over each group's own range, each group's area 1, and seaborn's kernel density estimate,
    as in the LS+ paper's density figures. A group of one value has no density: it is a vertical
    line. An empty group shows in the legend only.

    Parameters
    ----------
    probabilities : array_like, shape (N, K)
    labels : array_like of int, shape (N,)
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the predictions are not valid.

    Examples
    --------
    >>> ax = confidence_density([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]], [0, 0, 0])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['Correct (n = 2)', 'Incorrect (n = 1)']
    """
    checked = check_predictions(probabilities, labels)
    if ax is None:
        ax = plt.subplots(figsize=(5.2, 3.6), layout="constrained")[1]
    confidence = checked.confidence.astype(np.float64)
    keys: list[Patch] = []
    for name, group, colour in (
        ("Correct", confidence[checked.correct], _CORRECT_COLOUR),
        ("Incorrect", confidence[~checked.correct], _INCORRECT_COLOUR),
    ):
        # A legend built from what was drawn would put lines before bars.
        keys.append(Patch(color=colour, alpha=0.6, label=f"{name} (n = {group.size})"))
        # Within 1e-6, fifteen bins run into the precision of float32 confidences.
        if group.size and np.ptp(group) > 1e-6:
            sns.histplot(
                x=group,
                bins=15,
                kde=True,
                stat="density",
                common_norm=False,
                color=colour,
                alpha=0.15,
                linewidth=0.3,
                ax=ax,
            )
        elif group.size:
            ax.axvline(group[0], color=colour)
    ax.set(xlabel="Confidence (largest probability)", ylabel="Density")
    ax.legend(handles=keys)
    return ax


def soft_label_matrix(
    matrix: npt.ArrayLike, class_names: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Heat map of a (K, K) matrix of soft labels: row k is what class k is trained towards.

    Parameters
    ----------
    matrix : array_like, shape (K, K)
        In [0, 1]. The values are printed where K <= 12.
    class_names : sequence of str, length K
        Written at the ticks where K <= 40.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.images[0]`` holds the matrix.

    Raises
    ------
    InputError
        If the matrix is not square, not finite or not in [0, 1], or the names are not K.

    Examples
    --------
    >>> ax = soft_label_matrix([[0.9, 0.1], [0.3, 0.7]], ["HP", "SSA"])
    >>> [text.get_text() for text in ax.texts]
    ['0.90', '0.10', '0.30', '0.70']
    """
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise InputError(f"matrix: expected shape (K, K), received {values.shape}")
    classes = values.shape[0]
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError("matrix: expected numbers in [0, 1], received others")
    if len(class_names) != classes:
        raise InputError(f"class_names: expected {classes} names, received {len(class_names)}")

    if ax is None:
        side = 3.2 + 0.35 * min(classes, _MOST_PRINTED_VALUES)
        ax = plt.subplots(figsize=(side + 0.8, side), layout="constrained")[1]
    image = ax.imshow(values, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="Soft label (probability)", shrink=0.8)
    if classes <= _MOST_PRINTED_VALUES:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value > 0.6 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
    if classes <= _MOST_CLASS_NAMES:
        angle = 45 if classes <= _MOST_PRINTED_VALUES else 90
        ax.set_xticks(
            range(classes),
            class_names,
            rotation=angle,
            ha="right",
            va="center",
            rotation_mode="anchor",
        )
        ax.set_yticks(range(classes), class_names)
    ax.set(xlabel="Class in the soft label", ylabel="True class")
    return ax


def training_curves(
    histories: Mapping[str, Sequence[History]],
    *,
    metric: str = "val_accuracy",
    ax: Axes | None = None,
) -> Axes:
    """A training metric against the epoch: mean over seeds, with a band from lowest to highest.

    Parameters
    ----------
    histories : mapping of str to a list of histories
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
        If a method has no history, or a history lacks the column.

    Examples
    --------
    >>> ax = training_curves({"HL": [{"epoch": [0, 1], "val_accuracy": [0.5, 0.7]}]})
    >>> ax.get_ylabel()
    'Validation accuracy (fraction)'
    """
    if ax is None:
        ax = plt.subplots(figsize=(5.6, 4.0), layout="constrained")[1]
    for position, (name, runs) in enumerate(histories.items()):
        if not runs:
            raise InputError(f"histories: expected at least one run of {name!r}, received none")
        epochs = np.concatenate([_column(run, "epoch", name) for run in runs])
        values = np.concatenate([_column(run, metric, name) for run in runs])
        measured = np.isfinite(values)
        axis, index = np.unique(epochs[measured], return_inverse=True)
        values = values[measured]
        low, high = np.full(axis.size, np.inf), np.full(axis.size, -np.inf)
        np.minimum.at(low, index, values)
        np.maximum.at(high, index, values)
        mean = np.bincount(index, values, axis.size) / np.bincount(index, minlength=axis.size)
        _line_with_band(ax, position, name, axis, (mean, low, high))
    ax.set(xlabel="Epoch", ylabel=_metric_label(metric))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def metric_comparison(
    names: Sequence[str],
    mean: npt.ArrayLike,
    spread: npt.ArrayLike,
    *,
    better: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """One metric of many methods: a row a method, its mean a dot and its spread a bar.

    Parameters
    ----------
    names : sequence of str
        M methods, the first of which is the reference, marked by a dashed line.
    mean, spread : array_like, shape (M,)
        Such as mean and standard deviation over seeds; a spread of NaN has no bar.
    better : {-1, 0, 1}
        Whether lower (-1) or higher (1) values are better: the best mean is drawn in orange.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there are not as many means and spreads as names.

    Examples
    --------
    >>> ax = metric_comparison(["HL", "LS+"], [3.9, 2.2], [0.1, 0.7], better=-1)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['HL', 'LS+']
    """
    values, bars = np.asarray(mean, np.float64), np.nan_to_num(np.asarray(spread, np.float64))
    if not values.shape == bars.shape == (len(names),):
        raise InputError(
            f"mean, spread: expected shape ({len(names)},), one per name, "
            f"received {values.shape} and {bars.shape}"
        )
    if ax is None:
        height = 0.9 + 0.24 * len(names)
        ax = plt.subplots(figsize=(4.2, height), layout="constrained")[1]
    rows = np.arange(len(names))
    best = better * values == np.max(better * values) if better else np.zeros(len(names), bool)
    colours = np.where(best, METHOD_COLOURS[1], METHOD_COLOURS[0])
    ax.axvline(values[0], color="grey", linestyle="--", linewidth=0.8, zorder=0)
    ax.hlines(rows, values - bars, values + bars, colors=list(colours), linewidth=1.5)
    ax.scatter(values, rows, c=list(colours), s=22, zorder=3)
    ax.set_yticks(rows, list(names), fontsize=9)
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.3)
    return ax


def _line_with_band(
    ax: Axes, position: int, label: str, x: npt.NDArray[Any], y: tuple[npt.NDArray[Any], ...]
) -> None:
    mean, low, high = y
    colour = METHOD_COLOURS[position % len(METHOD_COLOURS)]
    style = _LINE_STYLES[position % len(_LINE_STYLES)]
    # A single point makes no line.
    ax.plot(x, mean, color=colour, linestyle=style, label=label, marker="o" if len(x) == 1 else "")
    if (low < high).any():
        ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


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
