"""The Brier score on its three scales, and what it is made of.

Arguments are checked and errors raised as in :mod:`lsplus_tf.metrics.functional`.
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lsplus_tf.errors import check_choice
from lsplus_tf.metrics import bin_totals, forms, measures, weighted
from lsplus_tf.metrics.bin_totals import CLOSED, PAPER_BINS, Closed
from lsplus_tf.metrics.metric import Metric
from lsplus_tf.predictions import Predictions, as_predictions

__all__ = ["BrierDecomposition", "brier_decomposition", "brier_score"]

BrierScale = Literal["sum", "half", "mean"]


class BrierDecomposition(NamedTuple):
    """The five terms of a Brier score, see :func:`brier_decomposition`.

    Attributes
    ----------
    reliability, resolution, uncertainty : float
    within_bin_variance, within_bin_covariance : float

    Examples
    --------
    >>> terms = brier_decomposition([0, 1, 1], [[0.8, 0.2], [0.8, 0.2], [0.3, 0.7]])
    >>> abs(terms.brier_score - brier_score([0, 1, 1], [[0.8, 0.2], [0.8, 0.2], [0.3, 0.7]])) < 1e-9
    True
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bin_variance: float
    within_bin_covariance: float

    @property
    def brier_score(self) -> float:
        """The score that the terms make up."""
        within = self.within_bin_variance - self.within_bin_covariance
        return self.reliability - self.resolution + self.uncertainty + within

    @property
    def generalised_resolution(self) -> float:
        """Resolution less what is left within bins, so that three terms make up the score."""
        return self.resolution - self.within_bin_variance + self.within_bin_covariance


def brier_score(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    scale: BrierScale = "sum",
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Mean over samples of the squared distance to the one-hot label.

    Three scales of this score are in use. scikit-learn's ``brier_score_loss`` of two classes is the
    half, which is the mean there.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    scale : {"sum", "half", "mean"}
        Brier's original sum over the K classes, in [0, 2]; half of it, in [0, 1]; or the mean over
        the classes, in [0, 2/K].
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    float
        0 is perfect; the largest value is that of ``scale``.

    References
    ----------
    Brier, Monthly Weather Review 78, 1950.

    Examples
    --------
    >>> round(brier_score([0, 1], [[0.8, 0.2], [0.5, 0.5]]), 4)
    0.29
    >>> round(brier_score([0, 1], [[0.8, 0.2], [0.5, 0.5]], scale="half"), 4)
    0.145
    """
    check_choice("scale", scale, BrierScale)
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    return measures.brier(predictions) * brier_factor(scale, predictions.probabilities.shape[1])


def brier_decomposition(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    num_bins: int = PAPER_BINS,
    scale: BrierScale = "sum",
    closed: Closed = CLOSED,
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> BrierDecomposition:
    """What a Brier score is made of: calibration, discrimination and the difficulty of the task.

    Each class's probability is binned by width as in the SCE. With the mean probability p and the
    frequency o of the class in a bin, and its frequency q over all samples, the class has

    * reliability, the mean of (p - o)^2 over samples: its squared calibration error,
    * resolution, the mean of (o - q)^2: how far bins separate samples,
    * uncertainty, q (1 - q): the score of always answering with q,
    * within-bin variance and covariance, the mean of (f - p)^2 and of 2 (f - p) (y - o) for the
      probability f and outcome y of each sample: what binning hides.

    Murphy's identity, score = reliability - resolution + uncertainty, holds only where all of a
    bin's probabilities are equal; the score is reliability - resolution + uncertainty + variance -
    covariance exactly. All terms are summed over classes.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
    probabilities : array_like, shape (N, K), optional
    num_bins : int
        Number of bins B of equal width, at least 1.
    scale : {"sum", "half", "mean"}
        That of :func:`brier_score`.
    closed : {"right", "left"}
        The side of a bin that belongs to it.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    BrierDecomposition
        Named tuple of reliability, resolution, uncertainty, within_bin_variance and
        within_bin_covariance, with the properties brier_score and generalised_resolution.

    References
    ----------
    Murphy, J. Applied Meteorology 12, 1973; Stephenson, Coelho and Jolliffe, "Two extra components
    in the Brier score decomposition", Weather and Forecasting 23, 2008.

    Examples
    --------
    >>> P, y = [[0.8, 0.2], [0.8, 0.2], [0.3, 0.7], [0.3, 0.7]], [0, 1, 1, 1]
    >>> terms = brier_decomposition(y, P)
    >>> [round(term, 4) for term in terms]
    [0.18, 0.125, 0.375, 0.0, 0.0]
    >>> round(terms.brier_score, 4), round(brier_score(y, P), 4)
    (0.43, 0.43)
    """
    check_choice("scale", scale, BrierScale)
    check_choice("closed", closed, Closed)
    predictions = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    samples, classes = weighted.total(predictions), len(predictions.class_names)
    bins = bin_totals.class_bin_sums(predictions, num_bins, (0, 1, 2), closed)
    hits = bin_totals.class_bin_hits(predictions, num_bins, closed)
    hit_sums = bin_totals.class_bin_hits(
        predictions, num_bins, closed, predictions.true_probability
    )
    counts, sums, squares = bins
    sizes = np.where(counts > 0, counts, 1)
    overall = hits.sum(axis=1, keepdims=True) / samples
    terms = (
        (sums - hits) ** 2 / sizes,
        counts * (hits / sizes - overall) ** 2,
        samples * overall * (1 - overall),
        (squares - sums**2 / sizes).clip(0),
        2 * (hit_sums - sums * hits / sizes),
    )
    factor = brier_factor(scale, classes) / samples
    return BrierDecomposition(*(float(term.sum()) * factor for term in terms))


def brier_factor(scale: BrierScale, classes: int) -> float:
    """What Brier's sum over the classes is multiplied by."""
    return {"sum": 1.0, "half": 0.5, "mean": 1 / classes}[scale]


RECORDS = (
    Metric(
        key="brier",
        function="brier_score",
        name="Brier score",
        definition=(
            "mean squared distance of the probabilities to the true class's 1 and the others' 0, "
            "summed over the classes: from 0, the best, to 2"
        ),
        short="Brier",
        better=-1,
        bounds=(0.0, 2.0),
        value=lambda predictions, _: measures.brier(predictions),
        form=forms.mean_of_blocks(measures.squared_distances),
        unit="squared distance",
        needs="all",
    ),
)
