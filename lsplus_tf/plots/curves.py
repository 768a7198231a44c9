"""Figures of smooth calibration curves."""

import textwrap
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from lsplus_tf.errors import check_level
from lsplus_tf.metrics import calibration_curves, recalibration
from lsplus_tf.metrics.recalibration import ClassCases
from lsplus_tf.metrics.resampling import Groups, counted_cases
from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import METHOD_COLOURS
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.positive import Positive, positive_classes

_MOST_PANELS = 12
_STRIP_BINS = 50
_STRIP = 0.22  # of a panel's height


def calibration_curve(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | Sequence[Positive] | None = None,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    confidence_level: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """How often a class is observed at each predicted probability: smooth curve, band, cases.

    The curve and its band are those of :func:`~lsplus_tf.metrics.calibration_curve`; a text above
    has the calibration intercept, slope and ICI. The strip below has the probabilities of the cases
    of the class upwards and of the others downwards, as shares of each, by the square root.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence, optional
        A class, or several, ``["mel", "bcc"]``, that count as one; or, where one of them is itself
        a sequence, ``[["mel"], ["mel", "bcc"]]``, a panel of each. By default each class has a
        panel, of more than 12 those with most cases; of two classes the second alone is shown.
    from_logits : bool
        Whether the rows are logits.
    sample_weight, groups, confidence_level
        As :func:`~lsplus_tf.metrics.calibration_intercept` takes them.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Of one class the curve's own, whose last of ``ax.child_axes`` is the strip. Of several an
        empty frame with the labels, and ``ax.child_axes`` are the classes' panels.

    Raises
    ------
    InputError
        If the predictions or an option are not valid, or all cases are of one group.

    References
    ----------
    As of :func:`~lsplus_tf.metrics.calibration_curve`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(size=200)
    >>> ax = calibration_curve(rng.uniform(size=200) < p, np.c_[1 - p, p], positive=1)
    >>> ax.get_ylabel()
    'Observed share'
    """
    level = check_level("confidence_level", confidence_level)
    predictions = as_predictions(
        labels,
        probabilities,
        from_logits=from_logits,
        sample_weight=sample_weight,
    )
    (predictions,), codes = counted_cases([predictions], groups)
    names = predictions.class_names
    if positive is None and len(names) == 2:
        positive = 1
    alone, several = _shared.panels_of(positive)
    if several is not None:
        shown = [positive_classes(each, names) for each in several]
        return _panels(predictions, shown, codes, level, ax)
    if alone is not None:
        cases = recalibration.cases_of(predictions, alone, codes)
        ax = ax or _shared.new_axes(4.6, 5.8)
        _panel(ax, cases, level, small=False)
        ax.set_ylabel("Observed share")
        ax.set_title(_shortened(cases.name, 44), fontsize="medium", pad=18)
        ax.child_axes[-1].set_xlabel("Predicted probability")
        ax.legend(loc="best", fontsize="small", frameon=False)
        return ax
    largest = np.sort(np.argsort(-predictions.class_counts, kind="stable")[:_MOST_PANELS])
    ax = _panels(predictions, [[int(k)] for k in largest], codes, level, ax)
    if largest.size < len(names):
        ax.set_title(
            f"The {largest.size} classes with most cases, of {len(names)}", fontsize="medium"
        )
    return ax


def _panels(
    predictions: Predictions,
    chosen: Sequence[Sequence[int]],
    codes: Groups,
    level: float,
    ax: Axes | None,
) -> Axes:
    columns = int(np.ceil(np.sqrt(len(chosen))))
    rows = -(-len(chosen) // columns)
    ax = ax or _shared.new_axes(2.4 * columns + 0.7, 3.2 * rows + 0.7)
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[0.5], yticks=[0.5])
    # The frame's own tick labels are unseen and keep its labels off those of the panels.
    ax.tick_params(color="none", labelcolor="none")
    ax.spines[:].set_visible(False)
    ax.patch.set_visible(False)
    width, height = 1 / (columns + 0.15 * (columns - 1)), 0.82 * (1 - _STRIP) / rows
    for position, cases in enumerate(recalibration.each_of(predictions, chosen, codes)):
        row, column = divmod(position, columns)
        panel = ax.inset_axes(
            (column * 1.15 * width, 1 - row / rows - height - 0.1 / rows, width, height)
        )
        _panel(panel, cases, level, small=True)
        panel.set_title(_shortened(cases.name, 26), fontsize="small", pad=14)
        panel.tick_params(labelsize="small", labelleft=column == 0)
        panel.child_axes[-1].tick_params(
            labelsize="small", labelbottom=position + columns >= len(chosen)
        )
    ax.set(xlabel="Predicted probability of the class", ylabel="Observed share of the class")
    return ax


def _panel(ax: Axes, cases: ClassCases, level: float, *, small: bool) -> None:
    """One class's curve, and the strip below."""
    ax.plot([0, 1], [0, 1], color="0.3", linestyle="--", linewidth=1, label="Calibrated")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the text says what is NaN
        curve = calibration_curves.curve_of(cases, None)
        ici = calibration_curves.errors_of(cases, curve, level).ici.value
        intercept = recalibration.intercept_of(cases, level).value
        slope = recalibration.recalibration_of(cases, level).slope.value
    if curve is not None:
        grid, odds, _ = calibration_curves.grid_of(cases, 201)
        observed, low, high = curve.band(odds, level)
        colour, label = METHOD_COLOURS[0], f"{100 * level:g}% band"
        if grid.size == 1:  # all probabilities are equal
            bars = [observed - low, high - observed]
            ax.errorbar(grid, observed, bars, color=colour, fmt="o", capsize=3, label="Observed")
        else:
            ax.fill_between(grid, low, high, color=colour, alpha=0.2, linewidth=0, label=label)
            ax.plot(grid, observed, color=colour, linewidth=1.8, label="Smooth curve")
    numbers = [
        f"{name} {round(value, digits) + 0.0:.{digits}f}" if np.isfinite(value) else f"{name} n/a"
        for name, value, digits in (
            ("intercept", intercept, 2),
            ("slope", slope, 2),
            ("ICI", ici, 3),
        )
    ]
    # Above the square, in which curves may be anywhere.
    ax.text(
        0.5,
        1.015,
        ", ".join(numbers),
        transform=ax.transAxes,
        ha="center",
        va="bottom",
        fontsize="x-small" if small else "small",
    )
    ticks = (0, 0.5, 1) if small else np.arange(6) / 5
    ax.set(xlim=(0, 1), ylim=(0, 1), yticks=ticks)
    ax.tick_params(labelbottom=False)
    ax.set_xticks(ticks)
    ax.grid(alpha=0.3)
    strip = ax.inset_axes((0, -0.05 - _STRIP, 1, _STRIP), sharex=ax)
    _strip(strip, cases, small)


def _strip(ax: Axes, cases: ClassCases, small: bool) -> None:
    edges = np.linspace(0, 1, _STRIP_BINS + 1)
    sides = (
        (cases.positives, 1, METHOD_COLOURS[1], ""),
        (cases.total - cases.positives, -1, METHOD_COLOURS[2], "////"),
    )
    largest = 0.0
    for weights, sign, colour, hatch in sides:
        heights, _ = np.histogram(cases.probability, edges, weights=weights)
        share = np.sqrt(heights / (weights.sum() or 1.0))
        largest = max(largest, share.max())
        ax.stairs(
            sign * share, edges, fill=True, facecolor=(colour, 0.6), edgecolor=colour, hatch=hatch
        )
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(ylim=(-1.5 * largest, 1.5 * largest), yticks=[])
    own, rest = np.count_nonzero(cases.outcome), np.count_nonzero(~cases.outcome)
    for text, y, va in ((f"class, n = {own}", 0.95, "top"), (f"rest, n = {rest}", 0.05, "bottom")):
        ax.text(
            0.5,
            y,
            text,
            transform=ax.transAxes,
            ha="center",
            va=va,
            fontsize="xx-small" if small else "x-small",
        )


def _shortened(name: str, width: int) -> str:
    return textwrap.shorten(name, width, placeholder="…") or name[:width]
