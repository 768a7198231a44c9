"""Calibrators of one class against the rest, whose outputs are divided by their sum."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from lsplus_tf.calibrators import arrays
from lsplus_tf.calibrators._optimise import minimise
from lsplus_tf.calibrators.base import Calibrator, Floats, as_array, as_arrays
from lsplus_tf.errors import MOST_BINS, check_choice, check_count

Binning = Literal["equal_width", "equal_mass"]


class PlattScaling(Calibrator):
    """Platt scaling, one class against the rest: sigmoid(a_k s_k + b_k), divided by the sum.

    s_k = log p_k / (1 - p_k) is the log-odds of the softmax, so that a = 1 and b = 0 leave
    probabilities as they are. With two classes, it is the margin of their logits.

    Attributes
    ----------
    slopes_, intercepts_ : ndarray, shape (K,)
        a and b.
    n_classes_ : int
        Number of classes, K.

    Notes
    -----
    Fitted to Platt's targets, (n_k + 1) / (n_k + 2) for the n_k samples of the class and
    1 / (n - n_k + 2) for the others, for which a and b are always finite. The predicted class can
    change.

    Source: Platt, "Probabilistic outputs for support vector machines", 1999; one against the rest:
    Zadrozny and Elkan, KDD 2002.

    Examples
    --------
    Two thirds of either prediction are right. The targets 4/5 and 1/5 draw that towards a half.

    >>> from lsplus_tf.calibrators import PlattScaling
    >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]]
    >>> scaling = PlattScaling().fit(logits, [0, 0, 1, 1, 0, 1])
    >>> scaling.predict_proba([[2, 0], [0, 2]]).round(4).tolist()
    [[0.6, 0.4], [0.4, 0.6]]
    """

    name: ClassVar = "platt"
    takes_weights: ClassVar = True
    _fitted: ClassVar = {"slopes_": as_array, "intercepts_": as_array}
    _sizes: ClassVar = {"slopes_": lambda k: (k,), "intercepts_": lambda k: (k,)}
    _needs_every_class: ClassVar = True

    slopes_: Floats
    intercepts_: Floats

    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        scores = arrays.log_odds(logits, np)
        fits = [_fit_sigmoid(scores[:, k], labels == k, weights) for k in range(logits.shape[1])]
        self.slopes_, self.intercepts_ = np.transpose(fits)

    def _probabilities(self, logits: Any, xp: Any) -> Any:
        scores = arrays.log_odds(logits, xp) * self.slopes_ + self.intercepts_
        return arrays.divide_by_sum(arrays.sigmoid(scores, xp), xp)

    def _samples_needed(self, num_classes: int) -> int:
        return 2 * num_classes


class IsotonicCalibration(Calibrator):
    """Isotonic regression of one class against the rest on p_k, divided by the sum.

    Attributes
    ----------
    inputs_, outputs_ : list of ndarray, length K
        The corners of each class's line: probabilities before, in order, and
        after.
    n_classes_ : int
        Number of classes, K.

    Notes
    -----
    scikit-learn's `IsotonicRegression` of [label = k] on p_k, straight between its corners and
    constant beyond them; rows where all classes get 0 become uniform, as in its
    `CalibratedClassifierCV`. It takes many samples (a thousand, by scikit-learn's advice), and
    probabilities of exactly 0 and 1 come out. The predicted class can change.

    Source: Zadrozny and Elkan, KDD 2002.

    Examples
    --------
    >>> from lsplus_tf.calibrators import IsotonicCalibration
    >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]]
    >>> calibration = IsotonicCalibration().fit(logits, [0, 0, 1, 1, 0, 1])
    >>> calibration.predict_proba([[2, 0], [0, 0]]).round(4).tolist()
    [[0.6667, 0.3333], [0.5, 0.5]]
    """

    name: ClassVar = "isotonic"
    takes_weights: ClassVar = True
    _fitted: ClassVar = {"inputs_": as_arrays, "outputs_": as_arrays}
    _needs_every_class: ClassVar = True

    inputs_: list[Floats]
    outputs_: list[Floats]

    def _check_fitted(self) -> None:
        super()._check_fitted()
        _check_pairs(self.inputs_, self.outputs_, self.n_classes_, more=0, least=2)
        if any((np.diff(heights) < 0).any() for heights in self.outputs_):
            raise ValueError("outputs_: expected numbers that do not fall")

    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        probabilities = arrays.softmax(logits, np)
        self.inputs_, self.outputs_ = [], []
        for k in range(logits.shape[1]):
            fit = IsotonicRegression(y_min=0, y_max=1)
            fit.fit(probabilities[:, k], labels == k, sample_weight=weights)
            inputs, outputs = fit.X_thresholds_, fit.y_thresholds_
            if len(inputs) == 1:  # all samples alike: a line needs two points
                inputs, outputs = np.array([0.0, 1.0]), np.repeat(outputs, 2)
            self.inputs_.append(np.asarray(inputs, np.float64))
            self.outputs_.append(np.asarray(outputs, np.float64))

    def _probabilities(self, logits: Any, xp: Any) -> Any:
        before = arrays.softmax(logits, xp)
        after = [
            arrays.interpolate(before[:, k], inputs, outputs, xp)
            for k, (inputs, outputs) in enumerate(zip(self.inputs_, self.outputs_, strict=True))
        ]
        return arrays.divide_by_sum(xp.stack(after, axis=-1), xp)

    def _samples_needed(self, num_classes: int) -> int:
        return 2 * num_classes  # a line of one step has two levels


class HistogramBinning(Calibrator):
    """Histogram binning, one class against the rest: the share of class k in p_k's bin.

    Parameters
    ----------
    n_bins : int
        Bins of each class, (low, high].
    binning : {"equal_width", "equal_mass"}
        Bins of the same width in [0, 1], or of about the same number of samples.

    Attributes
    ----------
    edges_ : list of ndarray, length K
        The edges between the bins of each class.
    values_ : list of ndarray, length K
        The share of the class in each bin, one more than edges; the bin's middle
        where it is empty.
    n_classes_ : int
        Number of classes, K.

    Notes
    -----
    The shares of a row are divided by their sum; rows where all are 0 become uniform. The
    predicted class can change, and probabilities of exactly 0 and 1 come out.

    Source: Zadrozny and Elkan, ICML 2001; for several classes as in Guo et al., ICML 2017,
    section 4.2. Neither says what an empty bin gives.

    Examples
    --------
    >>> from lsplus_tf.calibrators import HistogramBinning
    >>> logits = [[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [2, 0]]
    >>> binning = HistogramBinning(n_bins=2).fit(logits, [0, 0, 1, 1, 0, 1])
    >>> binning.predict_proba([[2, 0], [0, 1]]).round(4).tolist()
    [[0.6667, 0.3333], [0.3333, 0.6667]]
    """

    name: ClassVar = "histogram"
    takes_weights: ClassVar = True
    _fitted: ClassVar = {"edges_": as_arrays, "values_": as_arrays}
    _needs_every_class: ClassVar = True

    edges_: list[Floats]
    values_: list[Floats]

    def _check_fitted(self) -> None:
        super()._check_fitted()
        _check_pairs(self.edges_, self.values_, self.n_classes_, more=1, least=0)

    def __init__(self, n_bins: int = 15, *, binning: Binning = "equal_mass") -> None:
        self.n_bins = n_bins
        self.binning = binning

    def _fit(
        self, logits: Floats, labels: NDArray[np.int64], weights: Floats | None = None
    ) -> None:
        probabilities = arrays.softmax(logits, np)
        self.edges_, self.values_ = [], []
        for k in range(logits.shape[1]):
            edges = inner_edges(probabilities[:, k], self.n_bins, self.binning, weights)
            middles = np.convolve([0.0, *edges, 1.0], [0.5, 0.5], "valid")
            bins = np.searchsorted(edges, probabilities[:, k], side="left")
            self.edges_.append(edges)
            self.values_.append(mean_in_bins(bins, labels == k, middles, weights))

    def _probabilities(self, logits: Any, xp: Any) -> Any:
        before = arrays.softmax(logits, xp)
        after = [
            xp.take(values, xp.searchsorted(edges, before[:, k], side="left"))
            for k, (edges, values) in enumerate(zip(self.edges_, self.values_, strict=True))
        ]
        return arrays.divide_by_sum(xp.stack(after, axis=-1), xp)

    def _check_settings(self, num_classes: int) -> None:
        check_count("n_bins", self.n_bins, most=MOST_BINS)
        check_choice("binning", self.binning, Binning)

    def _samples_needed(self, num_classes: int) -> int:
        return self.n_bins


def inner_edges(
    values: Floats, n_bins: int, binning: Binning, weights: Floats | None = None
) -> Floats:
    """The edges between bins of [0, 1], increasing; fewer where quantiles coincide."""
    parts = np.arange(1, n_bins) / n_bins
    if binning == "equal_width":
        return parts
    if weights is None:
        return np.unique(np.quantile(values, parts))
    # Between the values that are in the places below and above each quantile's own.
    order = np.argsort(values, kind="stable")
    up_to = np.cumsum(weights[order])
    places = parts * (round(up_to[-1]) - 1)
    lower, upper = (
        values[order][np.searchsorted(up_to, at + 1e-9, side="right").clip(max=values.size - 1)]
        for at in (np.floor(places), np.ceil(places))
    )
    return np.unique(lower + (places - np.floor(places)) * (upper - lower))


def mean_in_bins(
    bins: NDArray[np.integer[Any]],
    values: NDArray[Any],
    where_empty: Floats,
    weights: Floats | None = None,
) -> Floats:
    """The mean of the values (N,) in each bin, in (M,) bins."""
    counts = np.bincount(bins, weights, len(where_empty))
    terms = values if weights is None else weights * values
    sums = np.bincount(bins, terms, minlength=len(where_empty))
    return np.where(counts > 0, sums / np.where(counts > 0, counts, 1), where_empty)


def _fit_sigmoid(
    scores: Floats, is_class: NDArray[np.bool_], weights: Floats | None
) -> tuple[float, float]:
    """Slope and intercept by maximum likelihood of Platt's targets."""
    counts = np.ones(len(is_class)) if weights is None else weights
    positives, samples = counts[is_class].sum(), counts.sum()
    shares = counts / samples
    targets = np.where(is_class, (positives + 1) / (positives + 2), 1 / (samples - positives + 2))
    size = max(float(shares @ np.abs(scores)), np.finfo(float).tiny)
    unit = scores / size

    def objective(parameters: Floats) -> tuple[float, Floats]:
        values = unit * parameters[0] + parameters[1]
        residual = shares * (expit(values) - targets)
        loss = float(shares @ (np.logaddexp(0, values) - targets * values))
        return loss, np.array([residual @ unit, residual.sum()])

    start = np.array([0.0, np.log((positives + 1) / (samples - positives + 1))])
    slope, intercept = minimise(objective, start, PlattScaling.__name__)
    return slope / size, intercept


def _check_pairs(
    places: list[Floats], values: list[Floats], classes: int, *, more: int, least: int
) -> None:
    """Raise `ValueError` unless each class has growing places, and values in [0, 1] for them."""
    if len(places) != classes or len(values) != classes:
        raise ValueError(f"expected numbers of {classes} classes")
    for inputs, outputs in zip(places, values, strict=True):
        if inputs.ndim != 1 or inputs.size < least or outputs.shape != (inputs.size + more,):
            raise ValueError("expected as many values of a class as its places have")
        check_places(inputs)
        if (outputs < 0).any() or (outputs > 1).any():
            raise ValueError("expected values in [0, 1]")


def check_places(places: Floats) -> None:
    """Raise `ValueError` unless corners or edges (M,) grow, within [0, 1]."""
    if (np.diff(places) <= 0).any() or (places < 0).any() or (places > 1).any():
        raise ValueError("expected places that grow, in [0, 1]")
