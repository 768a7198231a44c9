"""Losses that add how far the confidence of a whole batch is from its accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import MOST_BINS, check_choice, check_count, check_flag, check_positive
from lsplus_tf.losses.base import (
    Batch,
    LossDtype,
    matrix_product,
    sum_over_replicas,
)
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.penalty import Base, PenaltyLoss
from lsplus_tf.losses.scheduled import Scheduled

# The authors' width of the Laplacian kernel between confidences.
_KERNEL_WIDTH = 0.4
# What the released weighted MMCE adds to the number of pairs when it divides by it again.
_MORE_PAIRS = 1e-5


@registered
class DCALoss(PenaltyLoss):
    """Cross-entropy + weight ``|mean confidence - accuracy|`` of the batch (DCA).

    Parameters
    ----------
    weight : float or callable
        Of the difference, >= 0. The authors' code has 10. Or a function of the epoch, as in
        `MaxSupLoss`.
    base : ClassificationLoss, "hard_labels" or "none"
        What it is added to; see `lsplus_tf.losses.penalty`.
    from_logits : bool
        Whether `y_pred` holds logits (B, K) or (B, H, W, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        A negative weight or an unknown base; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    The difference belongs to the batch, and every sample's loss contains it whole. Small batches
    mostly penalise chance: of a calibrated model whose confidence is always 0.8 its expected value
    is 0.12 at batch size 8 and 0.020 at 256. On several devices that train together it is that of
    the global batch. Sample weights weigh both means. A soft label counts as right by what it gives
    the predicted class.

    The gradient flows through the confidence, which belongs to the predicted class (of equals the
    first), and not through the accuracy; a difference of 0 has none.
    Source: Liang et al., BMVC 2020, and the authors' code.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.DCALoss(weight=10.0)
    >>> round(float(loss([0, 0], [[0.8, 0.2], [0.4, 0.6]])), 4)  # 0.5697 + 10 (0.7 - 0.5)
    2.5697
    """

    def __init__(
        self,
        weight: Scheduled = 10.0,
        *,
        base: Base = "hard_labels",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "dca",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            weight, base, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )

    def penalty(self, batch: Batch) -> tf.Tensor:
        return tf.abs(batch.mean(batch.confidence - batch.correct))


@registered
class MDCALoss(PenaltyLoss):
    """Cross-entropy + weight ``(1/K) sum_k |mean p_k - frequency of k in the batch|`` (MDCA).

    Parameters
    ----------
    weight : float or callable
        Of the differences, >= 0. The authors used 1. Or a function of the epoch, as in
        `MaxSupLoss`.
    base : ClassificationLoss, "hard_labels" or "none"
        What they are added to; see `lsplus_tf.losses.penalty`. "none" gives the differences alone;
        the authors also used a `FocalLoss` and a `LabelSmoothingLoss`.
    from_logits : bool
        Whether `y_pred` holds logits (B, K) or (B, H, W, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        A negative weight or an unknown base; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    The differences belong to the batch, and every sample's loss contains their mean whole. Small
    batches mostly penalise chance: of a calibrated model that always gives four classes 0.7, 0.1,
    0.1 and 0.1 the expected mean is 0.098 at batch size 8 and 0.017 at 256. On several
    devices that train together they are those of the global batch. Sample weights weigh both means.
    Soft labels are averaged as they are.
    Source: Hebbalaguppe et al., CVPR 2022, and the authors' code.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.MDCALoss(base="none")
    >>> round(float(loss([0, 0], [[0.8, 0.2], [0.4, 0.6]])), 4)
    0.4
    """

    def __init__(
        self,
        weight: Scheduled = 1.0,
        *,
        base: Base = "hard_labels",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "mdca",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            weight, base, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )

    def penalty(self, batch: Batch) -> tf.Tensor:
        return tf.reduce_mean(tf.abs(batch.mean(batch.probabilities - batch.rows)))


@registered
class MMCELoss(PenaltyLoss):
    """Cross-entropy + weight * maximum mean calibration error, a kernel measure (MMCE).

    Of B samples with confidence r, m are right and n wrong. The sum over all pairs i, j of
    ``v_i v_j exp(-|r_i - r_j| / 0.4)`` is the penalty, or its root is:

    ======================= ================ ================ =======
    penalty                 v if right       v if wrong       root
    ======================= ================ ================ =======
    MMCE, released code     (1 - r) / B      -r / B           no
    MMCE, paper             (1 - r) / B      -r / B           yes
    weighted, released code (1 - r) / m^2 *  -r / n^2 *       yes
    weighted, paper         (1 - r) / m      -r / n           yes
    ======================= ================ ================ =======

    * with 1e-5 added to each number of pairs the second time that it divides.

    Parameters
    ----------
    weight : float or callable
        Of the penalty, >= 0. Published settings, 2 to 8, go with the released code. Or a function
        of the epoch, as in `MaxSupLoss`.
    weighted : bool
        Whether right and wrong samples have the same say; 0 if all are right or all wrong.
    convention : {"standard", "released_code"}
        "released_code" or "standard". The released code of the weighted penalty divides by the
        number of pairs twice, so that the penalty vanishes as batches grow.
    base : ClassificationLoss, "hard_labels" or "none"
        What it is added to; see `lsplus_tf.losses.penalty`.
    from_logits : bool
        Whether `y_pred` holds logits (B, K) or (B, H, W, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        An unknown convention or base, or a negative weight; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    The penalty belongs to the batch, and every sample's loss contains it whole. A sample's pair
    with itself counts, so that small batches mostly penalise chance: of a calibrated model whose
    confidence is always 0.8 the sum's expected value is 0.020 at batch size 8 and 0.0006 at 256,
    and 0.12 and 0.020 that of its root. On several devices that train together the penalty is that
    of the global batch; confidences are gathered from all of them. Sample weights count a sample so
    many times, in B, m and n too. A soft label counts as right by what it gives the predicted
    class. Pairs are never formed, so that time grows as B log B and a batch of pixels is no
    trouble.
    Source: Kumar et al., ICML 2018, and the code of its authors and of Mukhoti et al.,
    NeurIPS 2020, which agree.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.MMCELoss(weight=1.0, base="none")
    >>> round(float(loss([0, 0], [[0.8, 0.2], [0.4, 0.6]])), 4)
    0.0636
    """

    def __init__(
        self,
        weight: Scheduled = 2.0,
        *,
        weighted: bool = False,
        convention: Convention = "released_code",
        base: Base = "hard_labels",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "mmce",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            weight, base, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )
        self.weighted = check_flag("weighted", weighted)
        self.convention = check_choice("convention", convention, Convention)

    def penalty(self, batch: Batch) -> tf.Tensor:
        confidence, right = _flat(batch.confidence), _flat(batch.correct)
        wrong = 1.0 - right
        if batch.weights is not None:
            weights = _flat(batch.weights)
            right, wrong = weights * right, weights * wrong
        counts = sum_over_replicas(tf.stack([tf.reduce_sum(right), tf.reduce_sum(wrong)]))
        m, n = tf.unstack(counts)
        gaps = tf.stack([right * (1.0 - confidence), -wrong * confidence], axis=-1)
        rr, rw, ww = _over_pairs(confidence, gaps)
        if not self.weighted:
            total = tf.math.divide_no_nan(rr + ww + 2.0 * rw, (m + n) ** 2)
            if self.convention == "released_code":
                return total
            enough = m + n
        else:
            more = _MORE_PAIRS if self.convention == "released_code" else None
            total = _mean(rr, m * m, more) + _mean(ww, n * n, more) + 2.0 * _mean(rw, m * n, more)
            enough = tf.minimum(m, n)
        # A root has no gradient at 0; the authors add the same constant.
        return tf.where(enough > 0.0, tf.sqrt(tf.maximum(total, 0.0) + 1e-10), 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weighted": self.weighted, "convention": self.convention}


@registered
class DifferentiableECELoss(PenaltyLoss):
    """Cross-entropy + weight * expected calibration error with soft bins and accuracy (DECE).

    Sample b belongs to bin m by the softmax over the bins of
    -num_bins (r_b - centre of m)^2 / (2 bin_temperature), r_b its confidence. It counts as right
    by max(0, 2 - rank), where the rank of its class is 1 + the sum over the other classes j of
    sigmoid(accuracy_temperature (p_j - p_y)). The penalty is the sum over the bins of the absolute
    difference that the samples' right counts and confidences then have in a bin, over B.

    Parameters
    ----------
    weight : float or callable
        Of the penalty, >= 0. Or a function of the epoch, as in `MaxSupLoss`.
    num_bins : int
        Bins of equal width on [0, 1].
    accuracy_temperature : float
        How sharply ranks are separated, > 0; more is sharper.
    bin_temperature : float
        How far a sample's membership reaches beyond its bin, > 0; less is sharper.
    base : ClassificationLoss, "hard_labels" or "none"
        What it is added to; see `lsplus_tf.losses.penalty`.
    from_logits : bool
        Whether `y_pred` holds logits (B, K) or (B, H, W, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        No bins, a temperature that is not positive, a negative weight or an unknown base; otherwise
        as in `LabelSmoothingLoss`.

    Notes
    -----
    The authors do not train a network on this: they evaluate it, with weight 0.5, on validation
    batches, to learn a label smoothing that makes the network calibrated.

    The penalty belongs to the batch, and every sample's loss contains it whole. A bin sees few
    samples, so that small batches mostly penalise chance: of a calibrated model of two classes
    whose confidence is uniform on [0.5, 1] its expected value is 0.23 at batch size 8 and 0.047
    at 256. On several devices that train together it is that of the global batch. Sample
    weights weigh the samples of a bin. Of a soft label the class of its largest entry is taken.
    Source: Bohdal et al., TMLR 2023, and the authors' code.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.DifferentiableECELoss(base="none", weight=1.0)
    >>> round(float(loss([0, 0], [[0.8, 0.2], [0.4, 0.6]])), 4)
    0.3999
    """

    def __init__(
        self,
        weight: Scheduled = 0.5,
        *,
        num_bins: int = 15,
        accuracy_temperature: float = 100.0,
        bin_temperature: float = 0.01,
        base: Base = "hard_labels",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "differentiable_ece",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            weight, base, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )
        self.num_bins = check_count("num_bins", num_bins, most=MOST_BINS)
        self.accuracy_temperature = check_positive("accuracy_temperature", accuracy_temperature)
        self.bin_temperature = check_positive("bin_temperature", bin_temperature)

    def penalty(self, batch: Batch) -> tf.Tensor:
        p, bins = batch.probabilities, self.num_bins
        margins = p - batch.at(p, batch.classes)[..., None]
        # Of the class itself the sigmoid is 1/2, so that this is 2 - its rank.
        ahead = tf.reduce_sum(tf.sigmoid(self.accuracy_temperature * margins), axis=-1)
        right = tf.nn.relu(1.5 - ahead)
        centres = ((np.arange(bins) + 0.5) / bins).astype(self.dtype)
        distance = tf.math.squared_difference(batch.confidence[..., None], centres)
        # On CPUs the softmax kernel is slower.
        log_membership = tf.nn.log_softmax(-bins / (2.0 * self.bin_temperature) * distance)
        # The authors' guard against empty bins, which this needs not, kept for equal values.
        membership = tf.exp(log_membership) + 1e-6
        gap = (right - batch.confidence)[..., None] / (1.0 + (bins + 1) * 1e-6)
        return tf.reduce_sum(tf.abs(batch.mean(membership * gap)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_bins": self.num_bins,
            "accuracy_temperature": self.accuracy_temperature,
            "bin_temperature": self.bin_temperature,
        }


def _flat(values: tf.Tensor) -> tf.Tensor:
    return tf.reshape(values, [-1])


def _mean(total: tf.Tensor, pairs: tf.Tensor, more: float | None) -> tf.Tensor:
    """`total` over the number of `pairs`; in the released code a second time over a little more."""
    mean = tf.math.divide_no_nan(total, pairs)
    return mean if more is None else mean / (pairs + more)


def _over_pairs(confidence: tf.Tensor, gaps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Sums over all pairs of samples, of all devices, of gap_i gap_j exp(-|r_i - r_j| / 0.4).

    `gaps` (B, 2) has the right samples' in its first column and the wrong ones' in its second; the
    sums are those of right with right, right with wrong, and wrong with wrong.

    In order of confidence r, the kernel of i < j is exp(r_i / 0.4) exp(-r_j / 0.4), and a
    cumulative sum takes all pairs.
    """
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        # As one tensor, since the gradient of `all_gather` takes none of `tf.gather`'s slices.
        both = context.all_gather(tf.concat([confidence[:, None], gaps], axis=-1), axis=0)
        confidence, gaps = both[:, 0], both[:, 1:]
    order = tf.argsort(confidence)
    confidence, gaps = tf.gather(confidence, order), tf.gather(gaps, order)
    # Equal confidences are one place: none of them comes first, so they do not pull on each other.
    before = tf.concat([confidence[:1], confidence[:-1]], axis=0)
    place = tf.cumsum(tf.cast(confidence > before, tf.int32))
    growth = tf.exp(confidence / _KERNEL_WIDTH)[:, None]
    here, up, down = (
        tf.math.unsorted_segment_sum(values, place, tf.size(place))
        for values in (gaps, gaps * growth, gaps / growth)
    )
    ordered = matrix_product(tf.transpose(down), tf.cumsum(up, exclusive=True))
    sums = matrix_product(tf.transpose(here), here) + ordered + tf.transpose(ordered)
    return sums[0, 0], sums[0, 1], sums[1, 1]
