"""Figures of how well confidence ranks right predictions before wrong ones."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from lsplus_tf.conventions import Convention
from lsplus_tf.metrics import (
    METRICS,
    aurc,
    retention_auc,
    retention_curve,
    risk_coverage_curve,
)
from lsplus_tf.plots import _shared
from lsplus_tf.plots._shared import Runs
from lsplus_tf.predictions import Predictions

FloatArray = npt.NDArray[np.float64]


def retention_curves(
    predictions: Mapping[str, Runs],
    *,
    convention: Convention = "standard",
    ax: Axes | None = None,
) -> Axes:
    """Accuracy against the fraction of samples that the model, not an expert, decides.

    Parameters
    ----------
    predictions : mapping of str to Runs
        One entry per method, in the order of its colours: `Predictions`, or (labels,
        probabilities); a list holds one item per seed, and its curve is the mean with a band from
        the lowest to the highest seed.
    convention : {"standard", "released_code"}
        How the legend's R-AUC is computed, as in :func:`~lsplus_tf.metrics.retention_auc`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        One line per method, whose label gives the mean R-AUC times 100.

    Raises
    ------
    InputError
        If there is no method, or one has no predictions or some that are not valid.

    See Also
    --------
    lsplus_tf.metrics.retention_curve : ranks by confidence, which the paper's Fig. 1 does not.

    Examples
    --------
    >>> ax = retention_curves({"HL": ([0, 0], [[0.9, 0.1], [0.4, 0.6]])})
    >>> ax.get_lines()[0].get_label()
    'HL (R-AUC 87.50)'
    """
    fractions = np.linspace(0, 1, 201)

    def accuracies(run: Predictions) -> FloatArray:
        return retention_curve(run, fractions=fractions)[1]

    def area(run: Predictions) -> float:
        return retention_auc(run, convention=convention)

    ax = _curves(predictions, fractions, accuracies, area, METRICS["retention_auc"].heading, ax)
    ax.set(
        xlabel="Fraction decided by the model, most confident first",
        ylabel="Accuracy of model and expert (fraction)",
    )
    return ax


def risk_coverage_curves(predictions: Mapping[str, Runs], *, ax: Axes | None = None) -> Axes:
    """Error rate among the samples that a model answers against the fraction that it answers.

    Parameters
    ----------
    predictions : mapping of str to Runs
        One entry per method, in the order of its colours: `Predictions`, or (labels,
        probabilities); a list holds one item per seed, and its curve is the mean with a band from
        the lowest to the highest seed.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        One line per method, whose label gives the mean AURC times 100. Each run's risks at its
        coverages 1/N, 2/N, .., 1 are joined by straight lines and read at coverages 0.5% apart;
        below 1/N, where no whole sample is answered, the first risk holds.

    Raises
    ------
    InputError
        If there is no method, or one has no predictions or some that are not valid.

    See Also
    --------
    lsplus_tf.metrics.risk_coverage_curve : every point of the curve.

    References
    ----------
    Geifman, Uziel and El-Yaniv, ICLR 2019, Fig. 1.

    Examples
    --------
    >>> ax = risk_coverage_curves({"HL": ([0, 0], [[0.9, 0.1], [0.4, 0.6]])})
    >>> ax.get_lines()[0].get_label()
    'HL (AURC 25.00)'
    """
    coverages = np.linspace(0, 1, 201)

    def risks(run: Predictions) -> FloatArray:
        return np.interp(coverages, *risk_coverage_curve(run))

    ax = _curves(predictions, coverages, risks, lambda run: aurc(run), METRICS["aurc"].heading, ax)
    ax.set_ylim(bottom=0)
    ax.set(
        xlabel="Coverage (fraction answered, most confident first)",
        ylabel="Risk: error rate among the answered (fraction)",
    )
    return ax


def _curves(
    predictions: Mapping[str, Runs],
    x: FloatArray,
    curve: Callable[[Predictions], FloatArray],
    area: Callable[[Predictions], float],
    name_of_area: str,
    ax: Axes | None,
) -> Axes:
    """A line per method of the mean of its runs' curves, with the mean area in the legend."""
    lines = []
    for method, runs in _shared.runs_of(predictions):
        curves = np.stack([curve(run) for run in runs])
        mean_area = 100 * np.mean([area(run) for run in runs])
        mean_and_range = (curves.mean(axis=0), curves.min(axis=0), curves.max(axis=0))
        lines.append((f"{method} ({name_of_area} {mean_area:.2f})", mean_and_range))
    ax = ax or _shared.new_axes(5.6, 4.2)
    for position, (label, mean_and_range) in enumerate(lines):
        _shared.line_with_band(ax, position, label, x, mean_and_range)
    ax.set(xlim=(0, 1))
    ax.margins(x=0)
    ax.grid(alpha=0.3)
    ax.legend()
    return ax
