"""One metric of several methods in several experiments."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lsplus_tf.errors import InputError
from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import METHOD_COLOURS, check_methods, look

_MARKERS = "osD^vPX"
_WIDTH = 0.6  # of what the methods of an experiment take up, where experiments are 1 apart


def metric_by_experiment(
    experiments: Sequence[str],
    mean: Mapping[str, npt.ArrayLike],
    spread: Mapping[str, npt.ArrayLike],
    *,
    ylabel: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One metric of methods in several experiments, such as shares of wrong labels.

    Parameters
    ----------
    experiments : sequence of str, length E
        Each has a place on the horizontal axis, in this order.
    mean, spread : mapping of str to array_like, shape (E,)
        By the methods' names, such as mean and standard deviation over seeds. A mean of NaN, as of
        an experiment without this method, leaves its place empty; a spread of NaN has no bar.
    ylabel : str, optional
        The metric and its unit.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there is no experiment or no method, means and spreads are not one for each experiment,
        or a spread is negative.

    Examples
    --------
    >>> ax = metric_by_experiment(
    ...     ["0%", "20%"], {"HL": [98, 91], "OLS": [98, 93]}, {"HL": [1, 2], "OLS": [1, 2]}
    ... )
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['HL', 'OLS']
    """
    if len(experiments) == 0:
        raise InputError("experiments: expected at least one, received none")
    check_methods("mean", mean)
    if list(mean) != list(spread):
        raise InputError(
            f"spread: expected that of {', '.join(mean)}, received {', '.join(spread)}"
        )
    shape = (len(experiments),)
    points: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = []
    for method in mean:
        values, bars = np.asarray(mean[method], float), np.asarray(spread[method], float)
        if not values.shape == bars.shape == shape:
            raise InputError(
                f"mean, spread: expected shape {shape} of {method!r}, one for each experiment, "
                f"received {values.shape} and {bars.shape}"
            )
        if (bars < 0).any():
            raise InputError(f"spread: expected no negative numbers, received {bars.min():g}")
        points.append((values, np.nan_to_num(bars)))
    places = np.arange(len(experiments))
    ax = ax or _shared.new_axes(1.6 + len(experiments) * max(0.8, 0.14 * len(mean)), 3.2)
    for i, (method, (values, bars)) in enumerate(zip(mean, points, strict=True)):
        shift = _WIDTH * ((i + 0.5) / len(points) - 0.5)
        ax.errorbar(
            places + shift,
            values,
            bars,
            fmt=_MARKERS[(i + i // len(METHOD_COLOURS)) % len(_MARKERS)],
            color=look(i)["color"],
            label=method,
            markersize=5,
            linewidth=1.2,
        )
    for place in places[1:]:
        ax.axvline(place - 0.5, color="grey", linewidth=0.5, alpha=0.4, zorder=0)
    ax.set_xticks(places, list(experiments))
    ax.set_xlim(-0.5, len(experiments) - 0.5)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.grid(axis="y", alpha=0.3)
    if ylabel is not None:
        ax.set_ylabel(ylabel)
    ax.legend(fontsize=8)
    return ax
