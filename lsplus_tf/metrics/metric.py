"""What a metric is: a record, from which tables, pages, tests and intervals take what they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from lsplus_tf.conventions import Convention
from lsplus_tf.predictions import Predictions

if TYPE_CHECKING:
    from lsplus_tf.metrics.intervals import Interval

Values = npt.NDArray[np.float64]
Weights = npt.NDArray[np.int32]
IntervalMethod = Literal["percentile", "bca", "reflected", "agresti_coull", "linearised"]


@dataclass(frozen=True)
class Sums:
    """A metric that depends on the cases through sums only.

    Attributes
    ----------
    terms : csr_array, shape (N, D)
        What each case adds.
    finish : callable
        Makes the metric (M,) of the numbers of cases (M,) and the sums (D, M).
    weights : ndarray of float64, shape (N,), or None
        What each case counts in both, by default 1.
    """

    terms: csr_array
    finish: Callable[[Values, Values], Values]
    weights: Values | None = None


# The metric (M,) of how often each case is drawn in each of M resamples, (M, N).
OfWeights = Callable[[Weights], Values]
Form = Sums | OfWeights


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes
    ----------
    key : str
        By which functions, options and files name it.
    function : str
        The public function, and the streaming metric if there is one.
    name : str
        In sentences, and in tables with room.
    better : {1, -1, 0}
        1 where higher values are better, -1 where lower ones are, 0 where neither are.
    value : callable
        The metric of predictions in a convention; if it has one definition only, of both.
    form : callable
        Of predictions, the form in which they are resampled, in the standard convention.
    ranks : bool
        Whether that form sorts the cases, which makes it slow for many.
    interval : {"percentile", "bca", "reflected", "agresti_coull", "linearised"}
        The method that is right for its interval; :mod:`lsplus_tf.metrics.intervals` says why.
    bounds : tuple of float
        The smallest and the largest value that there can be.
    unit : str
        What it is in, "fraction" for shares and probabilities, which alone are shown in percent.
    short : str
        What columns of tables are headed by, if not the name.
    definition : str
        What the number is, in words, for the glossary of pages.
    evaluated : bool
        Whether it is among those of :func:`lsplus_tf.evaluate`, and so in tables and audits.
    needs : {"top", "all"}
        What it needs of the probabilities: that of the predicted class, or those of all classes.
    fewest_classes : int
        Of fewer classes it says nothing: it is the same for all predictions.
    analytic : callable, optional
        Its interval without resamples, by the method in `interval`: of predictions, the numbers of
        the cases' groups (N,) or None, and a confidence level.

    Examples
    --------
    >>> from lsplus_tf.metrics import METRICS
    >>> ece = METRICS["ece"]
    >>> ece.function, ece.heading, ece.better, ece.interval
    ('expected_calibration_error', 'ECE', -1, 'reflected')
    >>> predictions = Predictions([0, 0], [[0.9, 0.1], [0.3, 0.7]])
    >>> round(ece.value(predictions, "standard"), 4)
    0.4
    """

    key: str
    function: str
    name: str
    better: Literal[1, -1, 0]
    value: Callable[[Predictions, Convention], float]
    form: Callable[[Predictions], Form]
    ranks: bool = False
    interval: IntervalMethod = "percentile"
    bounds: tuple[float, float] = (0.0, 1.0)
    unit: str = "fraction"
    short: str = ""
    definition: str = ""
    evaluated: bool = True
    needs: Literal["top", "all"] = "top"
    fewest_classes: int = 2
    analytic: Callable[[Predictions, npt.NDArray[np.intp] | None, float], Interval] | None = None

    def is_known_of(self, predictions: Predictions) -> bool:
        """Whether the predictions tell what it needs."""
        return self.needs == "top" or predictions.kind != "confidence"

    @property
    def heading(self) -> str:
        """What columns of tables are headed by."""
        return self.short or self.name
