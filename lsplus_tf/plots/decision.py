"""The figure of decision curves: net benefit of models, of treating all and of treating none."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from lsplus_tf.errors import InputError
from lsplus_tf.metrics import decision_curve as curve_of
from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import Runs
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.positive import Positive, one_vs_rest
from lsplus_tf.predictions.predictions import ordered_as, weighted_alike

_LOWEST = 0.05  # of the net benefit that is shown, below 0


def decision_curve(
    predictions: Mapping[str, Runs],
    *,
    positive: Positive,
    thresholds: npt.ArrayLike | None = None,
    prevalence: float | None = None,
    interval: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """Net benefit against the threshold from which on a case is treated as one of a class.

    A model is worth using at the thresholds where its curve is above both grey lines. Which
    thresholds count is not the model's to say but the user's: at a threshold of 10%, nine treated
    in vain are as bad as one missed.

    Parameters
    ----------
    predictions : mapping of str to Runs
        One entry per method, in the order of its colours: `Predictions`, or (labels,
        probabilities), with a band of its intervals at each threshold; a list holds one item per
        seed, and its curve is the mean with a band from the lowest to the highest seed. A figure
        has one kind of band: beside a method of several seeds a single one has none. All are of
        the same cases.
    positive : str, int, or sequence of str or int
        The class to treat, or several that count as one.
    thresholds, prevalence
        As :func:`lsplus_tf.metrics.decision_curve` takes them.
    interval : float
        Level of the intervals, in (0, 1).
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Below the axis at 0 the net benefit is shown to a third of the prevalence, at most 0.05.

    Raises
    ------
    InputError
        If there is no method, one has no predictions or some that are not valid, they are of other
        cases than the first, these lack the class or have no other at a given prevalence, or an
        argument is not as above.

    References
    ----------
    Vickers, Van Calster and Steyerberg, Diagnostic and Prognostic Research 3, 2019.

    Examples
    --------
    >>> second = np.array([0.1, 0.4, 0.3, 0.8] * 25)
    >>> run = [0, 0, 1, 1] * 25, np.stack([1 - second, second], axis=1)
    >>> ax = decision_curve({"LS+": run}, positive=1)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['LS+', 'Treat all', 'Treat none']
    """
    lines, treat_all = [], None
    methods = _of_the_same_cases(dict(_shared.runs_of(predictions)))
    name = _need_cases(methods, positive, prevalence)
    seeds = max(map(len, methods.values())) > 1
    for method, runs in methods.items():
        curves = [
            curve_of(
                run,
                positive=positive,
                thresholds=thresholds,
                prevalence=prevalence,
                confidence_level=interval,
            ).sort_values("threshold")
            for run in runs
        ]
        treat_all = curves[0] if treat_all is None else treat_all
        values = np.stack([curve["net_benefit"] for curve in curves])
        ends = values.min(axis=0), values.max(axis=0)
        if not seeds:
            ends = curves[0]["low"].to_numpy(), curves[0]["high"].to_numpy()
        lines.append((method, (values.mean(axis=0), *ends)))
    assert treat_all is not None  # of at least one method
    ax = ax or _shared.new_axes(5.6, 4.2)
    x = treat_all["threshold"].to_numpy()
    for position, (method, mean_and_band) in enumerate(lines):
        _shared.line_with_band(ax, position, method, x, mean_and_band)
    everyone = treat_all["treat_all"].to_numpy()
    ax.plot(x, everyone, color="0.35", linewidth=1, marker=_mark(x), label="Treat all")
    ax.axhline(0, color="0.35", linewidth=1, linestyle=(0, (1, 1.5)), label="Treat none")
    # What all have at a threshold of 0: no more is to be had.
    share = everyone[0] * (1 - x[0]) + x[0]
    highest = np.nanmax([share, *(band[0].max() for _, band in lines)])
    ax.set_ylim(-min(_LOWEST, highest / 3), 1.06 * highest)
    ax.set_xlim((0, 1) if thresholds is None else (x.min(), x.max()) if x.size > 1 else None)
    ax.set(
        xlabel=f"Threshold: probability of {name} from which on to treat",
        ylabel="Net benefit (true positives per case)",
    )
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def _of_the_same_cases(methods: dict[str, list[Predictions]]) -> dict[str, list[Predictions]]:
    """Refuse others than the first has; where one has sample weights, all have them."""
    first, *_ = ((method, runs[0]) for method, runs in methods.items())
    found: dict[str, list[Predictions]] = {}
    for method, runs in methods.items():
        found[method] = []
        for i, run in enumerate(runs):
            place = f"[{i}]" if len(runs) > 1 else ""
            named = f"predictions[{first[0]!r}]", f"predictions[{method!r}]{place}"
            ordered = ordered_as(first[1], run, named)
            found[method].append(weighted_alike(first[1], ordered, named)[1])
    return found


def _need_cases(
    methods: dict[str, list[Predictions]], positive: Positive, prevalence: float | None
) -> str:
    """The name of the class, of which there are cases."""
    model = next(iter(methods.values()))[0]
    against = one_vs_rest(model, positive)
    outcome = against.outcome[model.weights > 0]
    if not outcome.any():
        raise InputError(f"positive: expected a class that has cases, received {against.name}")
    if prevalence is not None and outcome.all():
        raise InputError(
            f"prevalence: expected cases that are not of {against.name} too, received none"
        )
    return against.name


def _mark(x: npt.NDArray[np.float64]) -> str:
    return "o" if x.size == 1 else ""
