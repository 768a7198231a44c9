"""Figures of the methods themselves: their soft labels, and one metric of many of them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from lsplus_tf.errors import InputError, check_positive
from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import METHOD_COLOURS

# Above this many classes the printed values would overlap, and above the second the names too.
_MOST_PRINTED_VALUES = 12
_MOST_CLASS_NAMES = 40
_MOST_DOTS = 10  # runs of which each has a dot


def soft_label_matrix(
    matrix: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    largest: float = 1.0,
    label: str = "Soft label (probability)",
    empty: Sequence[int] = (),
    ax: Axes | None = None,
) -> Axes:
    """Heat map of a (K, K) matrix of soft labels: row k is what class k is smoothed towards.

    Parameters
    ----------
    matrix : array_like, shape (K, K)
        In [0, 1]. The values are printed where K <= 12.
    class_names : sequence of str, length K
        Written at the ticks where K <= 40.
    largest : float
        What has the darkest colour, > 0.
    label : str
        What the numbers are, beside the colours.
    empty : sequence of int
        Rows of classes that no sample was of, so that nothing was learned of them: they are hatched
        and marked.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.images[0]`` holds the matrix.

    Raises
    ------
    InputError
        If the matrix is not square, not finite or not in [0, 1], the names are not K, `largest` is
        not above 0, or a row of `empty` is not in 0..K-1.

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
    check_positive("largest", largest)
    outside = [row for row in empty if not 0 <= row < classes]
    if outside:
        raise InputError(f"empty: expected rows in 0..{classes - 1}, received {outside[0]}")

    if ax is None:
        side = 3.2 + 0.35 * min(classes, _MOST_PRINTED_VALUES)
        ax = _shared.new_axes(side + 0.8, side)
    image = ax.imshow(values, cmap="Blues", vmin=0, vmax=largest, interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    if classes <= _MOST_PRINTED_VALUES:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value > 0.6 * largest else "black"
            text = ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
            text.set_in_layout(False)  # inside the axes, which many texts would make slow
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
        marked = [f"{name} †" if row in empty else name for row, name in enumerate(class_names)]
        ax.set_yticks(range(classes), marked)
    for row in empty:
        hatched = Rectangle((-0.5, row - 0.5), classes, 1, fill=False, edgecolor="0.6", hatch="///")
        hatched.set_linewidth(0)
        ax.add_patch(hatched)
    note = "\n† hatched: no sample to learn from" if len(empty) else ""
    ax.set(xlabel=f"Class in the soft label{note}", ylabel="True class")
    return ax


def metric_comparison(
    names: Sequence[str],
    mean: npt.ArrayLike,
    spread: npt.ArrayLike,
    *,
    better: int = 0,
    runs: Sequence[npt.ArrayLike] | None = None,
    reference: int | None = 0,
    xlabel: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One metric of many methods: a row a method, its mean a dot and its spread a bar.

    Parameters
    ----------
    names : sequence of str
        M methods.
    mean, spread : array_like, shape (M,)
        Such as mean and standard deviation over seeds. A mean of NaN leaves its row empty; a spread
        of NaN has no bar.
    better : {-1, 0, 1}
        Whether lower (-1) or higher (1) values are better: the best mean is an orange diamond.
    runs : sequence of array_like, length M, optional
        The value of each run, which are small dots where a method has 2 to 10.
    reference : int or None
        The method whose mean is a dashed line, or None for no line.
    xlabel : str, optional
        The metric and its unit, and what the bars are, such as "ECE (%), mean and SD of 5 seeds".
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there is no name, there are not as many means, spreads or runs as names, a spread is
        negative, `better` is another number, or `reference` is not in 0..M-1.

    Examples
    --------
    >>> ax = metric_comparison(["HL", "LS+"], [3.9, 2.2], [0.1, 0.7], better=-1)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['HL', 'LS+']
    """
    values, bars = np.asarray(mean, np.float64), np.nan_to_num(np.asarray(spread, np.float64))
    if len(names) == 0:
        raise InputError("names: expected at least one method, received none")
    if not values.shape == bars.shape == (len(names),):
        raise InputError(
            f"mean, spread: expected shape ({len(names)},), one per name, "
            f"received {values.shape} and {bars.shape}"
        )
    if (bars < 0).any():
        raise InputError(f"spread: expected no negative numbers, received {bars.min():g}")
    if better not in (-1, 0, 1):
        raise InputError(f"better: expected -1, 0 or 1, received {better!r}")
    if runs is not None and len(runs) != len(names):
        raise InputError(f"runs: expected {len(names)}, one per name, received {len(runs)}")
    if reference is not None and not 0 <= reference < len(names):
        raise InputError(f"reference: expected 0..{len(names) - 1} or None, received {reference!r}")
    ax = ax or _shared.new_axes(4.2, 0.9 + 0.24 * len(names))
    rows = np.arange(len(names))
    # fmax passes over a mean of NaN.
    best = (better * values == np.fmax.reduce(better * values)) & (better != 0)
    if reference is not None:
        ax.axvline(values[reference], color="grey", linestyle="--", linewidth=0.8, zorder=0)
    for group, colour, marker, size in (
        (~best, METHOD_COLOURS[0], "o", 22),
        (best, METHOD_COLOURS[1], "D", 26),
    ):
        low, high = (values - bars)[group], (values + bars)[group]
        ax.hlines(rows[group], low, high, colors=colour, linewidth=1.5)
        ax.scatter(values[group], rows[group], color=colour, marker=marker, s=size, zorder=3)
    for row, each in enumerate(() if runs is None else runs):
        one = np.asarray(each, np.float64)
        if 1 < one.size <= _MOST_DOTS:
            ax.plot(
                one,
                np.full(one.shape, row - 0.28),
                "o",
                markersize=2.4,
                markerfacecolor="none",
                markeredgecolor="0.35",
                markeredgewidth=0.8,
            )
    ax.set_yticks(rows, list(names), fontsize=9)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    ax.ticklabel_format(axis="x", useOffset=False)  # 99.99, not 99.98 + 0.01
    ax.grid(axis="x", alpha=0.3)
    if xlabel is not None:
        ax.set_xlabel(xlabel)
    return ax
