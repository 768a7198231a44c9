"""What the figures share: the colours, how runs are distinguished, checks of arguments."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from scipy.special import ndtri

from lsplus_tf.errors import InputError
from lsplus_tf.predictions import Predictions, as_predictions
from lsplus_tf.predictions.positive import Positive
from lsplus_tf.predictions.predictions import Truth

Run = Predictions | tuple[npt.ArrayLike, npt.ArrayLike]
Runs = Run | Sequence[Run]
"""Of one run or several: Predictions, or pairs of labels (N,) and probabilities (N, K)."""
History = Mapping[str, npt.ArrayLike] | pd.DataFrame
"""Columns by name, such as "epoch" and "val_loss": a run's history.csv, or Keras's history."""
Given = TypeVar("Given")
FloatArray = npt.NDArray[np.float64]

# Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow that
# vanishes on white. The i-th method has the i-th colour in every figure; the line styles tell
# methods apart in a black and white print, and beyond the seventh.
METHOD_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#56B4E9")
"""The colours of the methods, in turn."""
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)))


def new_axes(width: float, height: float) -> Axes:
    """The axes of a new figure of a size in inches."""
    ax: Axes = plt.subplots(figsize=(width, height), layout="constrained")[1]
    return ax


def check_methods(argument: str, given: Mapping[str, Given]) -> None:
    """Raise InputError unless there is a mapping of at least one method."""
    if not isinstance(given, Mapping):
        raise InputError(
            f"{argument}: expected a mapping with an entry per method, "
            f"received {type(given).__name__}"
        )
    if not given:
        raise InputError(f"{argument}: expected at least one method, received none")


def panels_of(
    positive: Positive | Sequence[Positive] | None,
) -> tuple[Positive | None, list[Any] | None]:
    """One class, or several that count as one; or else what has a panel each."""
    if positive is None or isinstance(positive, str | int | np.integer):
        return positive, None
    each: list[Any] = list(positive)
    alone = all(isinstance(one, str | int | np.integer) for one in each)
    return (each, None) if alone else (None, each)


def look(position: int) -> dict[str, Any]:
    """Colour and line style of the method at a position, for a figure of one's own.

    Parameters
    ----------
    position : int
        Of the method among those that are compared, counted from 0.

    Returns
    -------
    dict
        Arguments of `matplotlib.axes.Axes.plot`.

    Examples
    --------
    >>> look(0)
    {'color': '#0072B2', 'linestyle': '-'}
    """
    return {
        "color": METHOD_COLOURS[position % len(METHOD_COLOURS)],
        "linestyle": LINE_STYLES[position % len(LINE_STYLES)],
    }


def tell(artist: Artist, text: str) -> None:
    """Keep what a mark says in words, which a page shows where a pointer is on it.

    Matplotlib leaves a label that begins with an underscore out of legends.
    """
    artist.set_label(f"_ {text}")


def line_with_band(
    ax: Axes, position: int, label: str, x: npt.NDArray[Any], y: tuple[npt.NDArray[Any], ...]
) -> None:
    """The line of the method at a position: its mean, and a band from its low to its high."""
    mean, low, high = y
    # A single point makes no line.
    ax.plot(x, mean, label=label, marker="o" if np.size(x) == 1 else "", **look(position))
    if (low < high).any():
        ax.fill_between(x, low, high, color=look(position)["color"], alpha=0.15, linewidth=0)


def runs_of(
    predictions: Mapping[str, Runs], truth: Truth = "labels"
) -> Iterator[tuple[str, list[Predictions]]]:
    """Each method with the predictions of its runs, which have the truth."""
    check_methods("predictions", predictions)
    for method, given in predictions.items():
        runs: Sequence[Run] = [given] if isinstance(given, (tuple, Predictions)) else given
        if len(runs) == 0:
            raise InputError(f"predictions: expected at least one run of {method!r}, received none")
        found = []
        for run in runs:
            if isinstance(run, Predictions):
                found.append(as_predictions(run, of=truth))
            elif isinstance(run, (tuple, list)) and len(run) == 2:
                found.append(as_predictions(*run, of=truth))
            else:
                raise InputError(
                    f"predictions: expected Predictions or a pair ({truth}, probabilities) for "
                    f"each run of {method!r}, received a {type(run).__name__}"
                )
        yield method, found


def squared(predictions: Predictions) -> Predictions:
    """The same with the squares of the weights."""
    return predictions.weighted(predictions.weights**2)


def effective(weights: FloatArray, squares: FloatArray) -> FloatArray:
    """Kish's number of samples of bins, from the sums of their weights and of the squares."""
    return np.divide(weights**2, squares, out=np.zeros_like(weights), where=squares > 0)


def wilson_bars(share: FloatArray, samples: FloatArray, level: float) -> FloatArray:
    """Distances (2, B) from each share of hits down and up to the ends of Wilson's interval."""
    share = share.clip(0, 1)  # which rounding may leave
    z, hits = ndtri((1 + level) / 2), share * samples
    centre = (hits + z**2 / 2) / (samples + z**2)
    half = z * np.sqrt(hits * (samples - hits) / samples + z**2 / 4) / (samples + z**2)
    # Rounding may put an end an ulp inside the share 0 or 1.
    bars: FloatArray = np.stack([share - (centre - half), centre + half - share]).clip(min=0)
    return bars
