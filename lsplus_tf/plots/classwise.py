"""Figures of how far each class's probability is from how often a sample is of the class."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from lsplus_tf.errors import InputError, check_level
from lsplus_tf.metrics import METRICS, bin_totals, weighted
from lsplus_tf.metrics.bin_totals import PAPER_BINS
from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import METHOD_COLOURS, effective, squared, wilson_bars
from lsplus_tf.predictions import Predictions, as_predictions

FloatArray = npt.NDArray[np.float64]

# Up to this many classes each has a panel; beyond, all are in one and the worst have a name.
_MOST_PANELS = 12
_NAMED_CLASSES = 5
_MARKERS = "os^Dv"


def classwise_reliability(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    class_names: Sequence[str] | None = None,
    interval: float | None = 0.95,
    sample_weight: npt.ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """How often a sample is of a class against the probability that the model gave the class.

    Every sample counts for every class, in bins of equal width of the class's probability: what
    the SCE averages. Up to 12 classes have a panel each. More classes share one: a grey dot for
    each bin of a class, larger where it has more samples, a black line for all classes together,
    and lines for the five classes of largest calibration error.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Bins of equal width, as in :func:`~lsplus_tf.metrics.static_calibration_error`.
    class_names : sequence of str, length K, optional
        Default: those of the predictions, or "Class 0" and so on. A name of more than two
        lines is cut short.
    interval : float or None
        Level of Wilson's intervals in the panels, or None for none; see
        :func:`reliability_diagram`.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; those of the predictions.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Where K <= 12 it is an empty frame with the labels, and ``ax.child_axes[j]`` is the panel of
        class j. ECE in a title is the class's calibration error, n its samples.

    Raises
    ------
    InputError
        If the predictions are not valid, the names are not K, or `interval` is not between 0 and 1.

    References
    ----------
    Nixon et al., CVPR Workshops 2019; Kull et al., NeurIPS 2019, Fig. 1.

    Examples
    --------
    >>> ax = classwise_reliability([0, 0], [[0.9, 0.1], [0.3, 0.7]], class_names=["HP", "SSA"])
    >>> [panel.get_title() for panel in ax.child_axes]
    ['HP\\nECE 40.0%, n = 2', 'SSA\\nECE 40.0%, n = 0']
    """
    predictions = as_predictions(labels, probabilities, sample_weight=sample_weight)
    if interval is not None:
        check_level("interval", interval)
    classes = predictions.probabilities.shape[1]
    names = [f"Class {j}" for j in range(classes)]
    if class_names is not None:
        names = list(class_names)
    elif predictions.class_names != tuple(map(str, range(classes))):
        names = list(predictions.class_names)
    if len(names) != classes:
        raise InputError(f"class_names: expected {classes} names, received {len(names)}")
    bins = _class_bins(predictions, num_bins)
    errors = np.abs(bins.probability - bins.hits).sum(axis=1) / weighted.total(predictions)
    counts = predictions.counted().class_counts

    if classes <= _MOST_PANELS:
        ax = _class_panels(bins, errors, counts, names, interval, ax)
    else:
        ax = ax or _shared.new_axes(8.4, 5.2)
        _all_classes(ax, bins, errors, names)
    ax.set(
        xlabel="Predicted probability of the class",
        ylabel="Observed share of the class",
    )
    # With many classes most probabilities are near 0, and so is the mean error.
    digits = 1 if classes <= _MOST_PANELS else 2
    ax.set_title(
        f"{METRICS['sce'].heading} {errors.mean():.{digits}%}, the mean of {classes} classes",
        fontsize="medium",
    )
    return ax


class _ClassBins(NamedTuple):
    """Sums over the samples in each bin of each class's probability, float64 (K, B) or (B,)."""

    samples: FloatArray
    probability: FloatArray
    hits: FloatArray
    evidence: FloatArray  # as how many samples they are in an interval

    def means(self) -> tuple[FloatArray, FloatArray]:
        """Mean probability and share of hits, NaN in an empty bin."""
        samples = np.where(self.samples > 0, self.samples, np.nan)
        return self.probability / samples, self.hits / samples


def _class_bins(predictions: Predictions, num_bins: int) -> _ClassBins:
    """What the bins of the SCE hold."""
    samples, probability = bin_totals.class_bin_sums(predictions, num_bins, (0, 1))
    evidence = samples
    if predictions.sample_weight is not None:
        (squares,) = bin_totals.class_bin_sums(squared(predictions), num_bins, (0,))
        evidence = effective(samples, squares)
    hits = bin_totals.class_bin_hits(predictions, num_bins)
    return _ClassBins(samples, probability, hits, evidence)


def _class_panels(
    bins: _ClassBins,
    errors: FloatArray,
    counts: npt.NDArray[np.int64],
    names: Sequence[str],
    interval: float | None,
    ax: Axes | None,
) -> Axes:
    classes = len(names)
    columns = int(np.ceil(np.sqrt(classes)))
    rows = -(-classes // columns)
    titles = [
        "\n".join(
            [
                *textwrap.wrap(name, 22, max_lines=2, placeholder="…"),
                f"ECE {error:.1%}, n = {count}",
            ]
        )
        for name, error, count in zip(names, errors, counts, strict=True)
    ]
    ax = ax or _shared.new_axes(2.2 * columns + 0.7, 2.5 * rows + 0.9)
    # The frame's own tick labels are unseen and keep its labels off those of the panels.
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[0.5], yticks=[0.5])
    ax.tick_params(color="none", labelcolor="none")
    ax.spines[:].set_visible(False)
    ax.patch.set_visible(False)
    lines = 1 + max(title.count("\n") for title in titles)
    width, height = 1 / (columns + 0.15 * (columns - 1)), 1 - 0.08 * lines
    for j, (title, probability, share) in enumerate(zip(titles, *bins.means(), strict=True)):
        row, column = divmod(j, columns)
        panel = ax.inset_axes(
            (column * 1.15 * width, 1 - (row + 1) / rows, width, height / rows), aspect="equal"
        )
        panel.plot([0, 1], [0, 1], color="0.3", linestyle="--", linewidth=1)
        filled = bins.samples[j] > 0
        bars = None
        if interval is not None:
            bars = wilson_bars(share[filled], bins.evidence[j, filled], interval)
        panel.errorbar(
            probability[filled],
            share[filled],
            bars,
            color=METHOD_COLOURS[0],
            ecolor="0.45",
            elinewidth=1,
            marker="o",
            markersize=3.5,
            linewidth=1.2,
        )
        panel.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        panel.set_title(title, fontsize="small")
        panel.tick_params(
            labelsize="small", labelleft=column == 0, labelbottom=j + columns >= classes
        )
        panel.grid(alpha=0.3)
    return ax


def _all_classes(ax: Axes, bins: _ClassBins, errors: FloatArray, names: Sequence[str]) -> None:
    probability, share = bins.means()
    ax.plot([0, 1], [0, 1], color="0.3", linestyle="--", linewidth=1, label="Calibrated")
    filled = bins.samples > 0
    ax.scatter(
        probability[filled],
        share[filled],
        # Nearly all samples lie in the first bin of a class; the others set the scale.
        s=(60 * bins.samples / (bins.samples[:, 1:].max() or 1.0))[filled].clip(3, 60),
        color="0.4",
        alpha=0.5,
        linewidths=0,
        label="A class in a bin",
    )
    together = _ClassBins(*(total.sum(axis=0) for total in bins))
    held = together.samples > 0
    mean_probability, mean_share = together.means()
    ax.plot(
        mean_probability[held], mean_share[held], color="black", linewidth=2, label="All classes"
    )
    for position, j in enumerate(np.argsort(-errors, kind="stable")[:_NAMED_CLASSES]):
        ax.plot(
            probability[j][filled[j]],
            share[j][filled[j]],
            marker=_MARKERS[position],
            markersize=4,
            linewidth=1.2,
            label=f"{textwrap.shorten(names[j], 24, placeholder='…')} (ECE {errors[j]:.2%})",
            **_shared.look(position),
        )
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize="small", frameon=False)
