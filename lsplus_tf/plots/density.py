"""Figures of how the confidences of correct and of incorrect samples are distributed."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from lsplus_tf.errors import check_choice
from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import METHOD_COLOURS
from lsplus_tf.predictions import Predictions, as_predictions

DensityRecipe = Literal["paper", "plain"]
FloatArray = npt.NDArray[np.float64]

_CORRECT_COLOUR = "#037804"
_INCORRECT_COLOUR = "#aa0504"
_PLAIN_BINS = 20


def confidence_density(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    recipe: DensityRecipe = "paper",
    sample_weight: npt.ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Density of the largest probability, of correct and of incorrect samples apart.

    "paper" draws 15 bins over each group's own range, each group's area 1, and seaborn's kernel
    density estimate, as in the LS+ paper's density figures. A group of one value has no density: it
    is a vertical line. "plain" draws both groups in the same 20 bins from 1/K, the least that a
    largest probability can be, to 1, each group's area 1, and no estimate, which would smooth over
    the ends: heights and places of the two groups can be compared. An empty group shows in the
    legend only.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    recipe : {"paper", "plain"}
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; those of the predictions.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the predictions are not valid or the recipe is another.

    Examples
    --------
    >>> ax = confidence_density([0, 0, 0], [[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['Correct (n = 2)', 'Incorrect (n = 1)']
    """
    checked = as_predictions(labels, probabilities, sample_weight=sample_weight).counted()
    check_choice("recipe", recipe, DensityRecipe)
    ax = ax or _shared.new_axes(5.2, 3.6)
    confidence = checked.confidence.astype(np.float64)
    masks = {"Correct": checked.correct, "Incorrect": ~checked.correct}
    groups = {name: confidence[mask] for name, mask in masks.items()}
    weights: dict[str, FloatArray | None] = {
        name: None if checked.sample_weight is None else checked.sample_weight[mask]
        for name, mask in masks.items()
    }
    if recipe == "paper":
        looks = _densities_of_the_paper(ax, groups, weights)
    else:
        looks = _densities_in_equal_bins(ax, groups, weights, len(checked.class_names))
    # A legend built from what was drawn would put lines before bars.
    keys = [
        Patch(label=f"{name} (n = {groups[name].size})", linewidth=1.5, **look)
        for name, look in looks.items()
    ]
    ax.set(xlabel="Confidence (largest probability)", ylabel="Density")
    ax.legend(handles=keys)
    return ax


def _densities_of_the_paper(
    ax: Axes, groups: dict[str, FloatArray], weights: dict[str, FloatArray | None]
) -> dict[str, dict[str, Any]]:
    import seaborn as sns  # which takes long, and nothing else needs

    looks: dict[str, dict[str, Any]] = {}
    for (name, group), colour, style in zip(
        groups.items(), (_CORRECT_COLOUR, _INCORRECT_COLOUR), ("-", "--"), strict=True
    ):
        looks[name] = {"facecolor": (colour, 0.3), "edgecolor": colour, "linestyle": style}
        # Within 1e-6, fifteen bins run into the precision of float32 confidences.
        if group.size and np.ptp(group) > 1e-6:
            sns.histplot(
                x=group,
                weights=weights[name],
                bins=15,
                kde=True,
                stat="density",
                common_norm=False,
                color=colour,
                alpha=0.15,
                linewidth=0.3,
                line_kws={"linestyle": style},
                ax=ax,
            )
        elif group.size:
            ax.axvline(group[0], color=colour, linestyle=style)
    return looks


def _densities_in_equal_bins(
    ax: Axes, groups: dict[str, FloatArray], weights: dict[str, FloatArray | None], classes: int
) -> dict[str, dict[str, Any]]:
    edges = np.linspace(1 / classes, 1, _PLAIN_BINS + 1)
    looks: dict[str, dict[str, Any]] = {}
    for position, (name, group) in enumerate(groups.items()):
        colour = METHOD_COLOURS[position]
        looks[name] = {
            "facecolor": (colour, 0.25),
            "edgecolor": colour,
            "linestyle": _shared.LINE_STYLES[position],
            "hatch": ("", "////")[position],
        }
        if group.size:
            # Rounding may put a probability a little outside.
            heights, _ = np.histogram(
                group.clip(edges[0], 1), edges, density=True, weights=weights[name]
            )
            ax.stairs(heights, edges, fill=True, linewidth=1.5, **looks[name])
    ax.set_xlim(edges[0], 1)
    return looks
