"""Figures of predictions against the exact class probabilities, where those are known."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from lsplus_tf.errors import MOST_BINS, check_count
from lsplus_tf.metrics.bin_totals import PAPER_BINS
from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import Runs
from lsplus_tf.predictions import Predictions


def true_reliability(
    predictions: Mapping[str, Runs],
    *,
    num_bins: int = PAPER_BINS,
    ax: Axes | None = None,
) -> Axes:
    """The exact probability of being right against the confidence, without the noise of labels.

    A point is the mean over the predictions whose confidence lies in one of the bins of equal
    width that :func:`~lsplus_tf.metrics.true_calibration_error` has; below the diagonal is
    overconfident. A bin with less than one in a thousand of the predictions has no point.

    Parameters
    ----------
    predictions : mapping of str to Runs
        One entry per method, in the order of its colours, and in a list one item per seed:
        predictions that have the exact posterior, or it and the probabilities, both (N, K).
    num_bins : int
        Number of bins, at least 1.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        The diagonal, and one line per method.

    Raises
    ------
    InputError
        If there is no method, or predictions or a posterior are not valid.

    Examples
    --------
    >>> posterior = [[0.7, 0.3], [0.6, 0.4]]
    >>> ax = true_reliability({"HL": [(posterior, [[0.9, 0.1], [0.9, 0.1]])]})
    >>> ax.get_lines()[1].get_xydata().round(6).tolist()
    [[0.9, 0.65]]
    """
    _shared.check_methods("predictions", predictions)
    check_count("num_bins", num_bins, most=MOST_BINS)
    ax = ax or _shared.new_axes(4.8, 4.6)
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="Calibrated")
    lowest = 1.0
    for position, (method, runs) in enumerate(_shared.runs_of(predictions, "posterior")):
        confidence, probability = np.concatenate([_top_label(run) for run in runs], axis=1)
        bins = np.ceil(confidence * num_bins).astype(int)
        weights = np.concatenate([run.weights for run in runs])
        samples = np.bincount(bins, weights)
        shown = (samples > 0) & (samples >= weights.sum() / 1000)
        x, y = (
            np.bincount(bins, weights * values)[shown] / samples[shown]
            for values in (confidence, probability)
        )
        ax.plot(x, y, marker="o", markersize=3, label=method, **_shared.look(position))
        lowest = min(lowest, x.min(), y.min())
    low = max(0.0, lowest - 0.05)
    ax.set(
        xlabel="Confidence (probability)",
        ylabel="Exact probability of being right",
        xlim=(low, 1.02),
        ylim=(low, 1.02),
        aspect="equal",
    )
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def _top_label(run: Predictions) -> npt.NDArray[np.float64]:
    """Confidence, and the exact probability of the predicted class, (2, N)."""
    assert run.posterior is not None
    return np.stack([run.confidence, run.posterior[np.arange(len(run)), run.predicted]])
