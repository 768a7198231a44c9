"""The reliability diagram as scikit-learn's displays are made and drawn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from lsplus_tf.errors import InputError, check_choice, check_level
from lsplus_tf.metrics.bin_totals import PAPER_BINS
from lsplus_tf.plots.calibration import Bins, FloatArray, _top_label_bars, reliability_diagram
from lsplus_tf.predictions import Predictions, as_predictions


class ReliabilityDisplay:
    """A reliability diagram with the names of :class:`sklearn.calibration.CalibrationDisplay`.

    :meth:`from_predictions` makes and draws one. It shows the confidence in the predicted class, as
    :func:`reliability_diagram` does, and not the probability of one of two classes, of which
    :func:`calibration_curve` is.

    Parameters
    ----------
    predictions : Predictions
        With labels.
    num_bins, bins, interval
        As in :func:`reliability_diagram`.
    name : str, optional
        The model's, the title of the figure.

    Attributes
    ----------
    prob_true : ndarray of float64, shape (B,)
        The accuracy in each bin that has samples.
    prob_pred : ndarray of float64, shape (B,)
        Its mean confidence.
    ax_ : matplotlib.axes.Axes
        Once it is drawn.
    figure_ : matplotlib.figure.Figure
        Once it is drawn.

    Raises
    ------
    InputError
        As :func:`reliability_diagram`.

    Examples
    --------
    >>> display = ReliabilityDisplay.from_predictions([0, 0], [[0.9, 0.1], [0.3, 0.7]])
    >>> display.prob_true.tolist(), display.prob_pred.round(2).tolist()
    ([0.0, 1.0], [0.7, 0.9])
    >>> display.ax_.get_ylabel()
    'Accuracy (fraction)'
    """

    ax_: Axes
    figure_: FigureBase

    def __init__(
        self,
        predictions: Predictions,
        *,
        num_bins: int = PAPER_BINS,
        bins: Bins = "width",
        interval: float | None = 0.95,
        name: str | None = None,
    ) -> None:
        check_choice("bins", bins, Bins)
        if interval is not None:
            check_level("interval", interval)
        self.predictions, self.name = as_predictions(predictions), name
        self.num_bins, self.bins, self.interval = num_bins, bins, interval
        found = _top_label_bars(self.predictions, num_bins, bins)
        self.prob_true: FloatArray = found.correct / found.samples
        self.prob_pred: FloatArray = found.confidence / found.samples

    @classmethod
    def from_predictions(
        cls,
        y_true: npt.ArrayLike | Predictions,
        y_prob: npt.ArrayLike | None = None,
        *,
        num_bins: int = PAPER_BINS,
        bins: Bins = "width",
        interval: float | None = 0.95,
        sample_weight: npt.ArrayLike | None = None,
        name: str | None = None,
        ax: Axes | None = None,
    ) -> ReliabilityDisplay:
        """Make and draw the diagram of some predictions.

        Parameters
        ----------
        y_true : array_like of int, shape (N,), or Predictions
            The labels; or predictions that have them.
        y_prob : array_like, shape (N, K) or (N,), optional
            Probabilities; (N,) are those of the second of two classes.
        num_bins, bins, interval, sample_weight
            As in :func:`reliability_diagram`.
        name : str, optional
            The model's, the title of the figure.
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        ReliabilityDisplay

        Raises
        ------
        InputError
            As :func:`reliability_diagram`.

        Examples
        --------
        >>> display = ReliabilityDisplay.from_predictions([0, 1], [0.2, 0.7], name="mine")
        >>> display.ax_.get_title(), display.prob_pred.tolist()
        ('mine', [0.7, 0.8])
        """
        if isinstance(y_true, Predictions) or y_prob is None or np.ndim(y_prob) == 2:
            given = as_predictions(y_true, y_prob, sample_weight=sample_weight, named="y_prob")
        else:
            try:
                given = Predictions(y_true, y_prob, sample_weight=sample_weight)
            except InputError as error:
                raise InputError(str(error).replace("probabilities:", "y_prob:", 1)) from None
        return cls(given, num_bins=num_bins, bins=bins, interval=interval, name=name).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None, name: str | None = None) -> ReliabilityDisplay:
        """Draw it, on other axes or under another name.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        name : str, optional
            In place of the display's own.

        Returns
        -------
        ReliabilityDisplay
            Itself, with `ax_` and `figure_`.

        Examples
        --------
        >>> predictions = Predictions([0, 0], [[0.9, 0.1], [0.3, 0.7]])
        >>> ReliabilityDisplay(predictions, name="mine").plot(name="yours").ax_.get_title()
        'yours'
        """
        self.ax_ = reliability_diagram(
            self.predictions,
            num_bins=self.num_bins,
            bins=self.bins,
            interval=self.interval,
            ax=ax,
            title=self.name if name is None else name,
        )
        self.figure_ = self.ax_.figure
        return self
