"""The figure of the probability of a class, in cases that have it and in cases that have not."""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import METHOD_COLOURS
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.positive import Positive, one_vs_rest

FloatArray = npt.NDArray[np.float64]

_MOST_PANELS = 12
_BINS = 25
_EDGES = {"linear": np.linspace(0, 1, _BINS + 1), "log": np.geomspace(1e-4, 1, _BINS + 1)}
_TICKS = np.array([0.02, 0.1, 0.3, 0.6, 1.0])
_LOOKS: tuple[dict[str, Any], ...] = (
    {"facecolor": (METHOD_COLOURS[1], 0.45), "edgecolor": METHOD_COLOURS[1]},
    {"facecolor": (METHOD_COLOURS[0], 0.25), "edgecolor": METHOD_COLOURS[0], "hatch": "////"},
)


def probability_distributions(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    positive: Positive | Sequence[Positive] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """How the probability of a class is distributed among cases of it, and among the others.

    Upwards are the cases of the class, downwards the others, each as shares of its own number in 25
    bins of the probability, on a square-root scale, which keeps rare bins in sight. The bins are
    equal, or where most cases of the class would be in the lowest, as of many classes, equal in the
    logarithm from 0.0001 on, with those below in the first.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
        Their weights count in the shares.
    probabilities : array_like, shape (N, K), optional
    positive : str, int, or sequence of str or int, optional
        A class, or several, ``["mel", "bcc"]``, that count as one, in a single panel; or, where one
        of them is itself a sequence, ``[["mel"], ["mel", "bcc"]]``, a panel of each. By default
        each class has a panel;
        of more than 12, the 12 whose mean probability is raised least in cases of the class (the
        smallest Tjur's D), those without a case last.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Without `positive` it is an empty frame with the labels, and `ax.child_axes` are the panels.
        Legends and titles give the numbers of cases.

    Raises
    ------
    InputError
        If the predictions are not valid, or `positive` is no class.

    References
    ----------
    Van Calster et al., "Evaluation of performance measures in predictive artificial intelligence
    models to support medical decisions", 2025, who ask for such a plot; Tjur, The American
    Statistician 63, 2009.

    Examples
    --------
    >>> ax = probability_distributions([0, 0, 1], [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]], positive=1)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['1 (n = 1)', 'Others (n = 2)']
    """
    predictions = as_predictions(labels, probabilities).counted()
    alone, several = _shared.panels_of(positive)
    if several is not None:
        each_found = (one_vs_rest(predictions, each) for each in several)
        shown_each = [
            _shown(each.name, each.outcome, each.probability, predictions.weights)
            for each in each_found
        ]
        return _panels(shown_each, "", ax)
    if alone is not None:
        found = one_vs_rest(predictions, alone)
        shown = _shown(found.name, found.outcome, found.probability, predictions.weights)
        ax = ax or _shared.new_axes(5.2, 3.6)
        scale = _scale([shown])
        _draw(ax, shown, scale)
        _limits(ax, [shown], scale)
        names = (f"{shown.name} (n = {shown.inside:,})", f"Others (n = {shown.outside:,})")
        ax.legend(handles=_keys(*names))
        ax.set(xlabel=f"Predicted probability of {found.name}", ylabel="Share of the cases (%)")
        return ax
    return _panels(*_all_shown(predictions), ax)


class _Shown(NamedTuple):
    """A class, its cases and the others, and their shares in the bins of each scale, (2, B)."""

    name: str
    inside: int
    outside: int
    shares: dict[str, FloatArray]
    raised: float


def _shown(
    name: str, outcome: npt.NDArray[np.bool_], probability: FloatArray, weights: FloatArray
) -> _Shown:
    shares = {scale: np.zeros((2, _BINS)) for scale in _EDGES}
    means = np.full(2, np.nan)
    for row, members in enumerate((outcome, ~outcome)):
        weight = weights[members]
        if weight.sum() > 0:
            inside = probability[members].clip(0, 1)
            for scale, edges in _EDGES.items():
                counts, _ = np.histogram(inside.clip(edges[0], 1), edges, weights=weight)
                shares[scale][row] = counts / weight.sum()
            means[row] = np.average(inside, weights=weight)
    cases = int(outcome.sum())
    return _Shown(name, cases, outcome.size - cases, shares, float(means[0] - means[1]))


def _scale(shown: list[_Shown]) -> str:
    """On which most classes show more than a bar at 0."""
    lowest = np.median([each.shares["linear"][0, 0] for each in shown])
    return "log" if lowest > 0.5 else "linear"


def _draw(ax: Axes, shown: _Shown, scale: str) -> None:
    for sign, shares, look in zip((1, -1), shown.shares[scale], _LOOKS, strict=True):
        ax.stairs(sign * np.sqrt(shares), _EDGES[scale], fill=True, linewidth=1, **look)
    ax.axhline(0, color="0.2", linewidth=0.8)


def _limits(ax: Axes, shown: list[_Shown], scale: str) -> None:
    """The same scale for both directions and all panels, with ticks in percent."""
    most = max(0.1, *(each.shares[scale].max() for each in shown))
    ticks = _TICKS[most >= _TICKS]
    places = np.concatenate([-np.sqrt(ticks[::-1]), [0], np.sqrt(ticks)])
    texts = [f"{100 * tick:g}" for tick in [*ticks[::-1], 0, *ticks]]
    ax.set_yticks(places, texts)
    ax.set(
        xscale=scale, xlim=(_EDGES[scale][0], 1), ylim=(-1.06 * np.sqrt(most), 1.06 * np.sqrt(most))
    )
    ax.grid(alpha=0.3)


def _keys(*names: str) -> list[Patch]:
    return [Patch(label=name, **look) for name, look in zip(names, _LOOKS, strict=True)]


def _all_shown(predictions: Predictions) -> tuple[list[_Shown], str]:
    """Of each class, or of those that the model separates least, which a title says."""
    predictions.need("probabilities")
    outcomes, weights = predictions.labels, predictions.weights
    shown = [
        _shown(predictions.class_names[j], outcomes == j, column.astype(np.float64), weights)
        for j, column in predictions.columns()
    ]
    classes, title = len(shown), ""
    if classes > _MOST_PANELS:
        raised = np.array([each.raised for each in shown])
        worst = np.sort(np.argsort(raised, kind="stable")[:_MOST_PANELS])  # NaN comes last
        shown = [shown[j] for j in worst]
        title = f"The {_MOST_PANELS} of {classes} classes that the model separates least"
    return shown, title


def _panels(shown: list[_Shown], title: str, ax: Axes | None) -> Axes:
    scale = _scale(shown)
    columns = int(np.ceil(np.sqrt(len(shown))))
    rows = -(-len(shown) // columns)
    titles = [
        "\n".join(
            [
                *textwrap.wrap(each.name, 22, max_lines=2, placeholder="…"),
                f"n = {each.inside:,} and {each.outside:,}",
            ]
        )
        for each in shown
    ]
    ax = ax or _shared.new_axes(2.3 * columns + 0.7, 2.2 * rows + 1.0)
    # The frame's own tick labels are unseen and keep its labels off those of the panels.
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[0.5], yticks=[0.5])
    ax.tick_params(color="none", labelcolor="none")
    ax.spines[:].set_visible(False)
    ax.patch.set_visible(False)
    lines = 1 + max(text.count("\n") for text in titles)
    width, height = 1 / (columns + 0.12 * (columns - 1)), 1 - 0.105 * lines
    for place, (text, each) in enumerate(zip(titles, shown, strict=True)):
        row, column = divmod(place, columns)
        panel = ax.inset_axes((column * 1.12 * width, 1 - (row + 1) / rows, width, height / rows))
        _draw(panel, each, scale)
        _limits(panel, shown, scale)
        if scale == "linear":
            panel.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
        else:
            panel.set_xticks((1e-3, 1e-2, 1e-1), ("0.001", "0.01", "0.1"))
            panel.minorticks_off()
        panel.set_title(text, fontsize="small")
        panel.tick_params(
            labelsize="small", labelleft=column == 0, labelbottom=place + columns >= len(shown)
        )
    ax.set(xlabel="Predicted probability of the class", ylabel="Share of the cases (%)")
    ax.legend(
        handles=_keys("Cases of the class (first n)", "Others (second n)"),
        title=title or None,
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=2,
        fontsize="small",
        frameon=False,
    )
    return ax
