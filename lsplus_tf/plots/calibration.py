"""Figures of how far confidence is from accuracy."""

import textwrap
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression
from scipy.special import ndtri

from lsplus_tf.errors import InputError, check_choice, check_level
from lsplus_tf.metrics import METRICS, bin_totals, measures, weighted
from lsplus_tf.metrics.corp import corp_terms, isotonic_blocks
from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import METHOD_COLOURS
from lsplus_tf.predictions import Predictions, as_predictions

FloatArray = npt.NDArray[np.float64]
Bins = Literal["width", "mass", "isotonic"]

# Up to this many classes each has a panel; beyond, all are in one and the worst have a name.
_MOST_PANELS = 12
_NAMED_CLASSES = 5
_MARKERS = "os^Dv"
_OUTLINED = 30  # bars, beyond which they have no outlines


def reliability_diagram(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = 15,
    bins: Bins = "width",
    interval: float | None = 0.95,
    sample_weight: npt.ArrayLike | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Accuracy per confidence bin, its gap to the diagonal, and the share of samples per bin.

    A bar stands on each bin that has samples; the hatched part is the gap between the bin's
    accuracy and its mean confidence, the quantity that the ECE averages. The strip below, which is
    the last of ``ax.child_axes``, shows what share of the samples each bin has.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Bins of equal width, as in
        :func:`~lsplus_tf.metrics.expected_calibration_error`, or of equal mass, as in
        :func:`~lsplus_tf.metrics.adaptive_calibration_error`; where equal confidences fill several
        of these, they are drawn as one.
    bins : {"width", "mass", "isotonic"}
        Bins of equal width or mass; or those of isotonic regression, which chooses as many as make
        the accuracy increase with the confidence (CORP), whatever `num_bins`.
    interval : float or None
        Level of Wilson's interval of each bin's accuracy, or None for no interval. It takes the
        samples as independent: where several seeds predict the same samples, or patients have
        several, it is too short. With weights it is that of as many samples as have the same
        variance, sum(w)^2 / sum(w^2) in each bin; bins of equal mass have equal parts of that of
        all. Isotonic bins, which the outcomes have chosen, have a consistency band about the
        diagonal in place of it: where the bars of a calibrated model would end, by 200 draws of the
        outcomes from the confidences.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; those of the predictions.
    ax : matplotlib.axes.Axes, optional
    title : str, optional

    Returns
    -------
    matplotlib.axes.Axes
        The containers are the accuracy bars, the gaps and the intervals, each with one entry per
        bin that has samples.

    Raises
    ------
    InputError
        If the predictions are not valid, `bins` is another, or `interval` is not between 0 and 1.

    References
    ----------
    Niculescu-Mizil and Caruana, ICML 2005; Guo et al., ICML 2017, Fig. 1. Wilson, JASA 1927.
    Dimitriadis, Gneiting and Jordan, PNAS 118, 2021 (isotonic).

    Examples
    --------
    >>> ax = reliability_diagram([0, 0], [[0.9, 0.1], [0.3, 0.7]])
    >>> ax.get_ylabel()
    'Accuracy (fraction)'
    """
    predictions = as_predictions(labels, probabilities, sample_weight=sample_weight)
    check_choice("bins", bins, Bins)
    if interval is not None:
        check_level("interval", interval)
    drawn = _top_label_bars(predictions, num_bins, bins)
    samples, left, width = drawn.samples, drawn.left, drawn.width
    accuracy, confidence = drawn.correct / samples, drawn.confidence / samples

    ax = ax or _shared.new_axes(4.2, 5.6)
    # Outlines of many bars would hide them.
    line = 0.0 if samples.size > _OUTLINED else 1.0
    ax.bar(
        left,
        accuracy,
        width,
        align="edge",
        color="#56B4E9",
        edgecolor="black",
        linewidth=line,
        label="Accuracy",
    )
    ax.bar(
        left,
        confidence - accuracy,
        width,
        bottom=accuracy,
        align="edge",
        color="none",
        edgecolor="#D55E00",
        linewidth=line,
        hatch="////",
        label="Gap to confidence",
    )
    ax.plot([0, 1], [0, 1], color="0.3", linestyle="--", label="Calibrated")
    if interval is not None and bins == "isotonic":
        at, low, high = _consistency_band(predictions, interval)
        # As far as the bars.
        at = np.concatenate([left[:1], at, left[-1:] + np.ravel(width)[-1:]])
        low, high = (np.pad(each, 1, "edge") for each in (low, high))
        ax.fill_between(
            at,
            low,
            high,
            color="0.5",
            alpha=0.35,
            linewidth=0,
            zorder=3,
            label=f"{100 * interval:g}% of calibrated models",
        )
    elif interval is not None:
        ax.errorbar(
            left + width / 2,
            accuracy,
            _wilson_bars(accuracy, drawn.evidence, interval),
            fmt="none",
            ecolor="black",
            elinewidth=1.2,
            capsize=2,
            label=_interval_label(interval),
        )
    # Outside the square, which bars may fill anywhere.
    ax.text(
        0.5,
        1.02,
        f"{_error_of(predictions, num_bins, bins)}"
        f"accuracy {measures.accuracy(predictions):.1%}, "
        f"confidence {measures.mean_confidence(predictions):.1%}",
        transform=ax.transAxes,
        ha="center",
        va="bottom",
        fontsize="small",
    )
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.42), ncols=2, fontsize="small", frameon=False
    )
    ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="Accuracy (fraction)", aspect="equal")
    if title is not None:
        ax.set_title(title, pad=34 if bins == "isotonic" else 20, y=1.0)

    strip = ax.inset_axes((0, -0.25, 1, 0.2), sharex=ax)
    share = samples / samples.sum()
    strip.bar(left, share, width, align="edge", color="0.7", edgecolor="black", linewidth=line)
    strip.set(xlabel="Confidence (largest probability)", ylabel="Share of\nsamples")
    ax.tick_params(labelbottom=False)
    # Where a panel is taller than the square, the room it leaves is needed by the strip.
    ax.set_anchor("N")
    return ax


def _touching(low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Left ends and widths of bars from the lowest to the highest confidences, without gaps."""
    between = (high[:-1] + low[1:]) / 2
    # A single confidence would have no width.
    edges = np.concatenate(([max(0, low[0] - 0.005)], between, [min(1, high[-1] + 0.005)]))
    return edges[:-1], np.diff(edges)


class _Bars(NamedTuple):
    """What the bars of a diagram show, of bins that have samples: float64 (B,)."""

    left: FloatArray
    width: FloatArray | float
    samples: FloatArray
    confidence: FloatArray
    correct: FloatArray
    evidence: FloatArray  # as how many samples they are in an interval


def _top_label_bars(predictions: Predictions, num_bins: int, bins: Bins) -> _Bars:
    if bins == "width":
        totals = bin_totals.top_label_bins(predictions, num_bins)
        filled = totals.samples > 0
        evidence = totals.samples
        if predictions.sample_weight is not None:
            squares = bin_totals.top_label_bins(_squared(predictions), num_bins)
            evidence = _effective(totals.samples, squares.samples)
        left = np.flatnonzero(filled) / num_bins
        return _Bars(left, 1 / num_bins, *(each[filled] for each in (*totals, evidence)))
    confidence = predictions.confidence.astype(np.float64)
    if bins == "mass":
        low, high, sums = _mass_bars(predictions, num_bins)
    else:
        blocks = isotonic_blocks(confidence, predictions.correct, predictions.weights)
        low, high = blocks.low, blocks.high
        sums = [blocks.samples, blocks.probability, blocks.hits]
    # Bars touch midway between their confidences; a single confidence would have no width.
    between = (high[:-1] + low[1:]) / 2
    edges = np.concatenate(([max(0, low[0] - 0.005)], between, [min(1, high[-1] + 0.005)]))
    # A bin may hold a part of a sample that counts much: each has its share of the whole evidence.
    weights = predictions.weights
    evidence = sums[0] / sums[0].sum() * (weights.sum() ** 2 / np.sum(weights**2))
    return _Bars(edges[:-1], np.diff(edges), sums[0], sums[1], sums[2], evidence)


def _mass_bars(
    predictions: Predictions, num_bins: int
) -> tuple[FloatArray, FloatArray, list[FloatArray]]:
    """Lowest and highest confidences of bins of equal mass, from the lowest on, and their sums."""
    order = np.argsort(-predictions.confidence)
    weights, number = weighted.samples_of(predictions.weights, predictions.weights_are_counts)
    ranks = np.cumsum(weights[order]) + 1e-9
    ranked = predictions.confidence[order].astype(np.float64)
    ends = np.arange(num_bins + 1) * number // num_bins
    totals = bin_totals.equal_mass_bins(predictions, num_bins)
    filled = totals.samples > 0
    last = order.size - 1
    high = ranked[np.searchsorted(ranks, ends[:-1][filled] + 1e-6).clip(max=last)][::-1]
    low = ranked[np.searchsorted(ranks, ends[1:][filled]).clip(max=last)][::-1]
    # Those that hold one and the same confidence are one.
    alone = (low[1:] == high[1:]) & (low[1:] == low[:-1])
    starts = np.flatnonzero(np.concatenate(([True], ~alone)))
    sums = [np.add.reduceat(each[filled][::-1], starts) for each in totals]
    return low[starts], high[np.append(starts[1:], low.size) - 1], sums


def _error_of(predictions: Predictions, num_bins: int, bins: Bins) -> str:
    """The calibration error that belongs to the bins, and what parts it from other numbers."""
    if bins == "width":
        return f"{METRICS['ece'].heading} {measures.ece(predictions, num_bins=num_bins):.1%}, "
    if bins == "mass":
        return f"{METRICS['ace'].heading} {measures.ace(predictions, num_bins=num_bins):.1%}, "
    terms = corp_terms(
        predictions.confidence.astype(np.float64), predictions.correct, predictions.weights
    )
    return f"MCB {terms[0]:.4f} (miscalibration, a part of the Brier score)\n"


def _consistency_band(
    predictions: Predictions, level: float, draws: int = 200, points: int = 1000
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Confidences, and between which isotonic accuracies are, were they calibrated."""
    order = np.argsort(predictions.confidence)
    confidence = predictions.confidence[order].astype(np.float64)
    weights = predictions.weights[order]
    confidence, weights = confidence[weights > 0], weights[weights > 0]
    starts = np.unique(np.arange(points) * confidence.size // points)
    totals = np.add.reduceat(weights, starts)
    means = np.add.reduceat(weights * confidence, starts) / totals
    cases = _effective(totals, np.add.reduceat(weights**2, starts)).round().astype(np.int64)
    hits = np.random.default_rng(0).binomial(cases, means.clip(0, 1), (draws, cases.size))
    fitted = np.stack([isotonic_regression(each / cases, weights=totals).x for each in hits])
    low, high = np.quantile(fitted, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return means, low, high


def classwise_reliability(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = 15,
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
        (squares,) = bin_totals.class_bin_sums(_squared(predictions), num_bins, (0,))
        evidence = _effective(samples, squares)
    hits = bin_totals.class_bin_hits(predictions, num_bins)
    return _ClassBins(samples, probability, hits, evidence)


def _squared(predictions: Predictions) -> Predictions:
    """The same with the squares of the weights."""
    return predictions.weighted(predictions.weights**2)


def _effective(weights: FloatArray, squares: FloatArray) -> FloatArray:
    """Kish's number of samples of bins, from the sums of their weights and of the squares."""
    return np.divide(weights**2, squares, out=np.zeros_like(weights), where=squares > 0)


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
            bars = _wilson_bars(share[filled], bins.evidence[j, filled], interval)
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


def _interval_label(interval: float) -> str:
    return f"{100 * interval:g}% interval (Wilson)"


def _wilson_bars(share: FloatArray, samples: FloatArray, level: float) -> FloatArray:
    """Distances (2, B) from each share of hits down and up to the ends of Wilson's interval."""
    share = share.clip(0, 1)  # which rounding may leave
    z, hits = ndtri((1 + level) / 2), share * samples
    centre = (hits + z**2 / 2) / (samples + z**2)
    half = z * np.sqrt(hits * (samples - hits) / samples + z**2 / 4) / (samples + z**2)
    # Rounding may put an end an ulp inside the share 0 or 1.
    bars: FloatArray = np.stack([share - (centre - half), centre + half - share]).clip(min=0)
    return bars
