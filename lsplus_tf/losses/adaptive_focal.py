"""AdaFocal: focal loss whose gamma the validation's calibration sets, by bins of confidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lsplus_tf.errors import check_count, check_number
from lsplus_tf.losses.base import Batch, LossDtype
from lsplus_tf.losses.focal import doubt, power
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.scheduled import variable_of
from lsplus_tf.losses.validation_loss import Shapes, ValidationLoss

# Cells of the validation's confidences. A cell's samples count with their mean, so that bin edges
# are off by less than a cell is wide, 2e-6 or less; a sample alone in its cell is exact.
_CELLS = 2**20
# What confidences are above their cell's lower edge is summed in whole numbers of this: up to 2^21
# each, which float64 adds exactly, in any order, up to 2^32 samples in a cell.
_UNIT = 2.0**-40
_LARGEST_EXPONENT = 700.0  # whose exponential float64 has
_MOST_BINS = 10_000
_LEAST_GAMMA = -100.0  # with which 2^-gamma times a loss is finite in float32


@registered
class AdaptiveFocalLoss(ValidationLoss):
    """AdaFocal: -(1 - p_y)^gamma log p_y with a gamma for each bin of p_y; inverse where it is < 0.

    After every validation, bins of equally many validation samples are made of the confidences
    max_k p_k, and the gap between confidence and accuracy of each scales its gamma: by
    exp(rate * gap), for a negative gamma by exp(-rate * gap). Where the network is too sure in a
    bin, the loss there becomes more focal; where it is not sure enough, less, and at last it is
    inverse focal loss, -(1 + p_y)^|gamma| log p_y, which makes it surer. A sample's gamma is that
    of the bin of its p_y, and carries no gradient. `lsplus_tf.callbacks.ValidationFeedback` sees to
    it in `fit`. Training without it warns.

    In a training loop of your own call `accumulate_validation(y_true, y_pred)` for every batch of a
    validation, and `update_from_validation()` after it.

    Parameters
    ----------
    num_bins : int
        Of equal width before the first validation, >= 1.
    rate : float
        How fast gamma follows the gap, >= 0 (their lambda); 0 keeps it, unless it is closer to 0
        than `switch`.
    gamma_initial : float
        Before the first validation, between the bounds.
    switch : float
        A gamma closer to 0 than this becomes this with the other sign, >= 0, and within both
        bounds.
    gamma_min, gamma_max : float
        Bounds of gamma, on either side of 0; the lower one at least -100.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`. The authors' code sums over the batch, and clips the gradient.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Attributes
    ----------
    gammas : tf.Variable, shape (num_bins,)
        In float64.
    bin_edges : tf.Variable, shape (num_bins + 1,)
        In float64. The first bin takes all that is below it, the last all above it.
    gaps : tf.Variable, shape (num_bins,)
        Mean confidence less accuracy of each bin in the last validation, 0 where it was empty; in
        float64.

    Raises
    ------
    InputError
        An argument out of range; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`; a soft label t takes the mixture of the classes' losses,
    sum_k t_k of each, with the gammas of their p_k.
    Bins are made of the confidences of predictions and used for p_y: where a prediction is wrong,
    p_y often lies below them all and takes the first bin's gamma. A p_y on an edge is in the bin
    above it; in a validation a confidence on an edge is in the bin below, as in the authors' code,
    so that the smallest is in none, and where all are equal nothing changes. A gap that lasts
    multiplies gamma up to its bound. With the default `switch` gamma never comes closer to 0 than
    0.2.
    The gammas change from epoch to epoch, and the loss with them: compare epochs by another measure
    than `val_loss`. `EarlyStopping(restore_best_weights=True)` restores weights, not losses: the
    gammas stay those of the last epoch.
    The validation split, which often chooses the epoch and fits a temperature too, is used once
    more here. It must not be the test split.

    The state is saved with the model, in `.keras` and `.weights.h5`. What is kept of a validation
    does not grow with it, and is on every device 25 MB: how many samples, how many right ones and
    which mean confidence are in each of 2^20 cells, the finer the nearer 1. Edges are off by 2e-6
    at most.
    Source: Ghosh et al., NeurIPS 2022, from the authors' code.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.AdaptiveFocalLoss(num_bins=2, from_logits=True)
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)
    0.0151
    >>> loss.accumulate_validation([1, 1, 0], [[2.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> loss.update_from_validation()
    >>> loss.gammas.numpy().round(4).tolist(), loss.bin_edges.numpy().round(3).tolist()
    ([1.0, 0.9537], [0.881, 0.917, 0.953])
    """

    state_is = "gammas"
    not_fed = f"no validation sets its gammas, so they stay: {ValidationLoss._feed_it}"
    not_renewed = (
        "what it accumulated never became its gammas: call loss.update_from_validation() after "
        "every validation of your own loop."
    )

    def __init__(
        self,
        num_bins: int = 15,
        *,
        rate: float = 1.0,
        gamma_initial: float = 1.0,
        switch: float = 0.2,
        gamma_min: float = -2.0,
        gamma_max: float = 20.0,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "adaptive_focal",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self.num_bins = check_count("num_bins", num_bins, most=_MOST_BINS)
        self.rate = check_number("rate", rate)
        self.gamma_min = check_number("gamma_min", gamma_min, least=_LEAST_GAMMA, most=0.0)
        self.gamma_max = check_number("gamma_max", gamma_max)
        # Beyond a bound, gamma would jump from one to the other in every validation.
        nearer = min(self.gamma_max, -self.gamma_min)
        self.switch = check_number("switch", switch, most=nearer)
        self.gamma_initial = check_number(
            "gamma_initial", gamma_initial, least=self.gamma_min, most=self.gamma_max
        )
        self.gammas = variable_of(np.full(self.num_bins, self.gamma_initial), "gammas")
        self.bin_edges = variable_of(np.linspace(0.0, 1.0, self.num_bins + 1), "bin_edges")
        self.gaps = variable_of(np.zeros(self.num_bins), "gaps")

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        if batch.given_rows is None:
            losses = self._modulate(batch.cross_entropy)
        else:
            losses = batch.given_rows * self._modulate(-batch.log_probabilities)
            losses = tf.reduce_sum(losses, axis=-1)
        return self.noticing_training(losses)

    def _modulate(self, nll: tf.Tensor) -> tf.Tensor:
        """The loss of nll = -log p of any shape."""
        doubts = doubt(nll)
        p = 1.0 - doubts
        inner_edges = tf.cast(self.bin_edges[1:-1], nll.dtype)
        bins = tf.searchsorted(inner_edges, tf.reshape(p, [-1]), side="right")
        gammas = tf.gather(tf.cast(self.gammas, nll.dtype), tf.reshape(bins, tf.shape(p)))
        return power(tf.where(gammas > 0.0, doubts, 1.0 + p), tf.abs(gammas)) * nll

    def sums(self) -> Shapes:
        return {"cells": ((_CELLS, 3), tf.float64)}  # samples, right ones, sum above the edge

    def add(self, sums: dict[str, tf.Variable], batch: Batch, counted: tf.Tensor) -> None:
        # Float32 has no confidences between 1 and 1 - 6e-8, where many lie.
        values = tf.cast(batch.values, tf.float64)
        confidence = tf.reduce_max(tf.nn.softmax(values) if batch.from_logits else values, axis=-1)
        confidence = tf.where(counted, tf.minimum(confidence, 1.0), 0.0)
        cells = tf.floor(_CELLS * (1.0 - tf.sqrt(1.0 - confidence)))
        cells = tf.minimum(cells, _CELLS - 1.0)
        right = tf.cast(batch.predicted == batch.classes, tf.float64)
        above = tf.round((confidence - _lower_edge(cells)) / _UNIT)
        rows = tf.stack([tf.ones_like(right), right, above], axis=-1)
        rows = tf.where(counted[..., None], rows, 0.0)
        # Not the dense sum of all cells, which takes 20 times as long; nor is there a method for it
        # of a variable that several devices have parts of.
        tf.raw_ops.ResourceScatterAdd(
            resource=sums["cells"].handle,
            indices=tf.reshape(tf.cast(cells, tf.int32), [-1]),
            updates=tf.reshape(rows, [-1, 3]),
        )

    def renew(self, totals: dict[str, NDArray[Any]]) -> None:
        cells = np.flatnonzero(totals["cells"][:, 0])
        counts, right, above = totals["cells"][cells].T
        confidence = _lower_edge(cells) + above * _UNIT / counts  # ascending
        edges = _equal_mass_edges(confidence, counts, self.num_bins)
        # Above its lower edge, up to the upper one: the smallest confidence is in no bin.
        bins = np.searchsorted(edges, confidence, side="left") - 1
        inside = bins >= 0
        size, correct, total = (
            np.bincount(bins[inside], of[inside], self.num_bins)
            for of in (counts, right, counts * confidence)
        )
        gaps = np.divide(total - correct, size, out=np.zeros(self.num_bins), where=size > 0)
        before = self.gammas.numpy()
        change = np.clip(self.rate * gaps, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
        gammas = before * np.exp(np.where(before > 0.0, change, -change))
        switched = np.where(gammas > 0.0, -self.switch, self.switch)
        gammas = np.where(np.abs(gammas) < self.switch, switched, gammas)
        self.gammas.assign(np.clip(gammas, self.gamma_min, self.gamma_max))
        self.bin_edges.assign(edges)
        self.gaps.assign(gaps)

    def _state(self) -> dict[str, tf.Variable]:
        return {"gammas": self.gammas, "bin_edges": self.bin_edges, "gaps": self.gaps}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_bins": self.num_bins,
            "rate": self.rate,
            "gamma_initial": self.gamma_initial,
            "switch": self.switch,
            "gamma_min": self.gamma_min,
            "gamma_max": self.gamma_max,
        }


def _lower_edge(cells: Any) -> Any:
    """The least confidences in `cells`, which float64 has exactly."""
    return 1.0 - (1.0 - cells / _CELLS) ** 2


def _equal_mass_edges(
    values: NDArray[np.float64], counts: NDArray[np.float64], num_bins: int
) -> NDArray[np.float64]:
    """Values at equal steps of the sorted samples, of which `counts` have each of the `values`."""
    until = np.cumsum(counts)
    last = until[-1] - 1
    places = np.minimum(np.arange(num_bins + 1) * until[-1] / num_bins, last)
    below = np.floor(places)
    of_below, of_above = (
        values[np.searchsorted(until, np.minimum(place, last), side="right")]
        for place in (below, below + 1)
    )
    # So that between equals it is exactly these.
    return of_below + (places - below) * (of_above - of_below)
