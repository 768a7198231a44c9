"""The reliability diagram: how far confidence is from accuracy."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from scipy.optimize import isotonic_regression

from lsplus_tf.errors import InputError, check_choice, check_level
from lsplus_tf.metrics import METRICS, bin_totals, measures, weighted
from lsplus_tf.metrics.bin_totals import PAPER_BINS
from lsplus_tf.metrics.corp import corp_terms, isotonic_blocks
from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import effective, squared, wilson_bars
from lsplus_tf.predictions import Predictions, as_predictions

FloatArray = npt.NDArray[np.float64]
Bins = Literal["width", "mass", "isotonic"]

_OUTLINED = 30  # bars, beyond which they have no outlines
_FEW = 10  # samples, below which a bin is faint
_FAINT = 0.3
_MOST_DOTS = 10  # runs of which each has a dot


def reliability_diagram(
    labels: npt.ArrayLike | Predictions | Sequence[Predictions],
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    bins: Bins = "width",
    interval: float | None = 0.95,
    sample_weight: npt.ArrayLike | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Accuracy per confidence bin, its gap to the diagonal, and the share of samples per bin.

    A bar stands on each bin that has samples, faint where it has fewer than 10; the hatched part is
    the gap between the bin's accuracy and its mean confidence, the quantity that the ECE averages.
    The strip below, which is the last of ``ax.child_axes``, shows what share of the samples each
    bin has.

    Several runs of a method have bars of all their predictions, in which errors of different runs
    may cancel. So the ECE is the mean of the runs' own, and the hatched part as high as the mean of
    the runs' gaps, upwards or downwards as for all together: weighted by the strip, the hatched
    parts sum to the ECE for several runs as for one. Up to 10 runs have a dot each, at their own
    accuracy.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions, or sequence of Predictions
        Several are runs of one method, such as its seeds; each counts as much as another.
    probabilities : array_like, shape (N, K), optional
        Of labels that are an array.
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
        samples as independent: where patients have several, it is too short. Of several runs, which
        predict the same samples, it is that of as many samples as a run has there on average. With
        weights it is that of as many samples as have the same
        variance, sum(w)^2 / sum(w^2) in each bin; bins of equal mass have equal parts of that of
        all. Isotonic bins, which the outcomes have chosen, have a consistency band about the
        diagonal in place of it: where the bars of a calibrated model would end, by 200 draws of the
        outcomes from the confidences.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; those of the predictions. Of several runs they are in the
        predictions.
    ax : matplotlib.axes.Axes, optional
    title : str, optional

    Returns
    -------
    matplotlib.axes.Axes
        The containers are the accuracy bars, the gaps and the intervals, each with one entry per
        bin that has samples. The label of an accuracy bar has its bin's numbers in words.

    Raises
    ------
    InputError
        If the predictions are not valid, `bins` is another, or other than "width" for several runs,
        or `interval` is not between 0 and 1.

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
    check_choice("bins", bins, Bins)
    runs = _runs(labels, probabilities, sample_weight, bins)
    predictions = runs[0]
    if interval is not None:
        check_level("interval", interval)
    dots: FloatArray | None = None
    if len(runs) > 1:
        drawn, dots = _bars_of_runs(runs, num_bins)
    else:
        drawn = _top_label_bars(predictions, num_bins, bins)
    samples, left, width = drawn.samples, drawn.left, drawn.width
    accuracy = drawn.correct / samples
    ends = None if interval is None else wilson_bars(accuracy, drawn.evidence, interval)

    ax = ax or _shared.new_axes(4.2, 6.0)
    # Outlines of many bars would hide them.
    line = 0.0 if samples.size > _OUTLINED else 1.0
    bar: dict[str, Any] = {"facecolor": "#56B4E9", "edgecolor": "black", "linewidth": line}
    hatched: dict[str, Any] = {**bar, "facecolor": "none", "edgecolor": "#D55E00", "hatch": "////"}
    accuracies = ax.bar(left, accuracy, width, align="edge", **bar)
    gaps = ax.bar(left, drawn.gap, width, bottom=accuracy, align="edge", **hatched)
    few = drawn.evidence < _FEW
    for i in np.flatnonzero(few).tolist():
        accuracies[i].set_alpha(_FAINT)
        gaps[i].set_alpha(_FAINT)
    keys: dict[str, dict[str, Any]] = {
        "Accuracy": bar,
        "Gap to confidence": hatched,
        f"Fewer than {_FEW} samples": {**bar, "alpha": _FAINT},
    }
    for label, shown in list(keys.items())[: 3 if few.any() else 2]:
        # Outside the axes, for legends: the first bar may be a faint one.
        ax.add_artist(Rectangle((-1, -1), 0, 0, label=label, **shown))
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
    elif ends is not None and interval is not None:
        bars = ax.errorbar(
            left + width / 2,
            accuracy,
            ends,
            fmt="none",
            ecolor="black",
            elinewidth=1.2,
        )
        bars.lines[2][0].set_color([(0, 0, 0, _FAINT if it else 1) for it in few])
        ax.plot([], [], "|k", markersize=9, markeredgewidth=1.2, label=_interval_label(interval))
    if dots is not None and len(runs) <= _MOST_DOTS:
        places = left[:, None] + width * (np.arange(len(runs)) + 1) / (len(runs) + 1)
        ax.plot(
            places.ravel(),
            dots.T.ravel(),
            "o",
            color="#00324F",
            markersize=2,
            label="A run's accuracy",
        )
    for i, column in enumerate(accuracies):
        span = left[i], left[i] + np.broadcast_to(width, left.shape)[i]
        each = None if ends is None or bins == "isotonic" else ends[:, i]
        _shared.tell(column, _in_words(drawn, i, span, each, len(runs)))
    mean_accuracy, mean_confidence = (
        np.mean([measure(run) for run in runs])
        for measure in (measures.accuracy, measures.mean_confidence)
    )
    # Outside the square, which bars may fill anywhere.
    ax.text(
        0.5,
        1.02,
        f"{_error_of(runs, num_bins, bins)}"
        f"accuracy {mean_accuracy:.1%}, confidence {mean_confidence:.1%}",
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
        ax.set_title(title, pad=34, y=1.0)

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
    gap: FloatArray  # from the accuracy to the confidence


def _bars(*columns: Any, evidence: FloatArray) -> _Bars:
    """Those of one run: left, width, samples, confidence, correct."""
    left, width, samples, confidence, correct = columns
    gap = (confidence - correct) / samples
    return _Bars(left, width, samples, confidence, correct, evidence, gap)


def _runs(
    labels: Any,
    probabilities: npt.ArrayLike | None,
    sample_weight: npt.ArrayLike | None,
    bins: Bins,
) -> list[Predictions]:
    """The predictions of each run, of which there is at least one."""
    several = isinstance(labels, (list, tuple)) and any(
        isinstance(each, Predictions) for each in labels
    )
    if not several:
        return [as_predictions(labels, probabilities, sample_weight=sample_weight)]
    for name, given in (("probabilities", probabilities), ("sample_weight", sample_weight)):
        if given is not None:
            raise InputError(
                f"{name}: expected none beside the Predictions of several runs, which have their "
                "own, received some"
            )
    if bins != "width" and len(labels) > 1:
        raise InputError(
            f"bins: expected 'width' for several runs, whose other bins differ, received {bins!r}"
        )
    return [as_predictions(each) for each in labels]


def _bars_of_runs(runs: Sequence[Predictions], num_bins: int) -> tuple[_Bars, FloatArray]:
    """The bars of all runs together, and each run's accuracy in their bins, (runs, B)."""
    found = [_width_totals(run, num_bins) for run in runs]
    totals = np.stack([np.stack(each) / each.samples.sum() for each, _ in found])
    filled = totals[:, 0].sum(axis=0) > 0
    evidence = np.mean([each for _, each in found], axis=0)
    samples, confidence, correct = totals[..., filled].transpose(1, 0, 2)  # (runs, B) each
    accuracies = np.divide(correct, samples, out=np.full_like(samples, np.nan), where=samples > 0)
    sums = [each.sum(axis=0) for each in (samples, confidence, correct)]
    overconfident = np.where(sums[1] >= sums[2], 1.0, -1.0)
    gap = overconfident * np.abs(confidence - correct).sum(axis=0) / sums[0]
    left = np.flatnonzero(filled) / num_bins
    return _Bars(left, 1 / num_bins, sums[0], sums[1], sums[2], evidence[filled], gap), accuracies


def _in_words(
    drawn: _Bars, i: int, span: tuple[float, float], ends: FloatArray | None, runs: int
) -> str:
    """The numbers of a bin."""
    accuracy = drawn.correct[i] / drawn.samples[i]
    number = f"{drawn.evidence[i]:.0f}" if runs == 1 else f"{drawn.evidence[i]:.1f}"
    samples = f"{number} samples" + (" a run" if runs > 1 else "")
    interval = "" if ends is None else f" [{accuracy - ends[0]:.1%}, {accuracy + ends[1]:.1%}]"
    return (
        f"Confidence {span[0]:.2f} to {span[1]:.2f}: {samples} "
        f"({drawn.samples[i] / drawn.samples.sum():.1%}), "
        f"mean confidence {drawn.confidence[i] / drawn.samples[i]:.1%}, "
        f"accuracy {accuracy:.1%}{interval}"
        + (f", mean gap of the runs {abs(drawn.gap[i]):.1%}" if runs > 1 else "")
    )


def _width_totals(
    predictions: Predictions, num_bins: int
) -> tuple[bin_totals.BinTotals, FloatArray]:
    """The sums in bins of equal width, and as how many samples they are in an interval."""
    totals = bin_totals.top_label_bins(predictions, num_bins)
    if predictions.sample_weight is None:
        return totals, totals.samples
    squares = bin_totals.top_label_bins(squared(predictions), num_bins)
    return totals, effective(totals.samples, squares.samples)


def _top_label_bars(predictions: Predictions, num_bins: int, bins: Bins) -> _Bars:
    if bins == "width":
        totals, evidence = _width_totals(predictions, num_bins)
        filled = totals.samples > 0
        left = np.flatnonzero(filled) / num_bins
        sums = [each[filled] for each in totals]
        return _bars(left, 1 / num_bins, *sums, evidence=evidence[filled])
    confidence = predictions.confidence.astype(np.float64)
    if bins == "mass":
        low, high, sums = _mass_bars(predictions, num_bins)
    else:
        blocks = isotonic_blocks(confidence, predictions.correct, predictions.weights)
        low, high = blocks.low, blocks.high
        sums = [blocks.samples, blocks.probability, blocks.hits]
    left, width = _touching(low, high)
    # A bin may hold a part of a sample that counts much: each has its share of the whole evidence.
    weights = predictions.weights
    evidence = sums[0] / sums[0].sum() * (weights.sum() ** 2 / np.sum(weights**2))
    return _bars(left, width, *sums, evidence=evidence)


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


def _error_of(runs: Sequence[Predictions], num_bins: int, bins: Bins) -> str:
    """The calibration error that belongs to the bins, and what parts it from other numbers."""
    predictions = runs[0]
    if bins == "width":
        ece = np.mean([measures.ece(run, num_bins=num_bins) for run in runs])
        after = "" if len(runs) == 1 else f", the mean of {len(runs)} runs"
        return f"{METRICS['ece'].heading} {ece:.1%}{after}\n"
    if bins == "mass":
        return f"{METRICS['ace'].heading} {measures.ace(predictions, num_bins=num_bins):.1%}\n"
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
    cases = effective(totals, np.add.reduceat(weights**2, starts)).round().astype(np.int64)
    hits = np.random.default_rng(0).binomial(cases, means.clip(0, 1), (draws, cases.size))
    fitted = np.stack([isotonic_regression(each / cases, weights=totals).x for each in hits])
    low, high = np.quantile(fitted, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return means, low, high


def _interval_label(interval: float) -> str:
    return f"{100 * interval:g}% interval (Wilson)"
