"""Losses whose target rows never change: hard labels, label smoothing and its class-wise forms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from lsplus_tf.errors import InputError, check_number
from lsplus_tf.losses.arrays import held, packed, storage_dtype
from lsplus_tf.losses.base import LossDtype
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.scheduled import Scheduled, number_config
from lsplus_tf.losses.target_matrix import TargetMatrixLoss
from lsplus_tf.priors import check_prior, uniform_prior


@registered
class LabelSmoothingLoss(TargetMatrixLoss):
    """Cross-entropy with label smoothing: the target is (1 - alpha) one-hot + alpha / K.

    The smoothing mass is spread over all K classes, the true one included, as in
    `keras.losses.CategoricalCrossentropy(label_smoothing=alpha)`. The LS+ paper writes the second
    term as KL(u || p), which is smaller by the constant alpha log K; for that value use
    `LSPlusLoss(uniform_prior(K), alpha=alpha)`, whose gradient is the same.

    Parameters
    ----------
    alpha : float or callable
        Smoothing weight in [0, 1]; 0 gives cross-entropy. The LS+ authors used 0.1. Or a function
        of the epoch, counted from 0, that gives it: then `lsplus_tf.callbacks.EpochSchedule` tells
        the loss the epoch in `fit`, and `set_epoch` in a loop of your own.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples, or pixels, that are left out as if they were not there; any integer, such
        as 255 or -1. The mean is over the others, as in
        `keras.losses.SparseCategoricalCrossentropy`. Of rows, the one-hot row of that class; a
        class outside 0..K-1 has a row of zeros.

    Raises
    ------
    InputError
        alpha outside [0, 1]; labels, outputs or weights of the wrong shape; a sigmoid of each class
        in place of a softmax. In eager mode also labels outside 0..K-1, and probabilities that do
        not sum to 1 (within 0.01) in every row: in a graph these stop the step, under XLA they make
        the loss NaN.

    Notes
    -----
    `y_true` is (B,) or (B, 1) class ids, (B, K) one-hot rows, or (B, K) soft labels that sum to 1.

    A mask that Keras has on `y_pred`, as of padded steps, leaves samples out as `ignore_class`
    does, whatever the dtype. A row of zeros is a sample of weight 0: nothing is lost by it, and it
    counts in what the mean is divided by, both as in `keras.losses.CategoricalCrossentropy`. Of
    weight 0 a sample may have any label and outputs. What belongs to a batch, such as the
    difference of `DCALoss`, is that of the samples with weight.
    Source: Szegedy et al., CVPR 2016, section 7; Sambyal et al., MICCAI 2024, Eq. 2.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.LabelSmoothingLoss(alpha=0.1, from_logits=True)
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)
    0.2269
    """

    def __init__(
        self,
        alpha: Scheduled = 0.1,
        *,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "label_smoothing",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            None, alpha, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": number_config(self.alpha)}


@registered
class HardLabelLoss(TargetMatrixLoss):
    """Cross-entropy with hard labels (HL): the target is the one-hot row of the class.

    Parameters
    ----------
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        As in `LabelSmoothingLoss`.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.HardLabelLoss(from_logits=True)
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)
    0.1269
    """

    def __init__(
        self,
        from_logits: bool = False,
        *,
        reduction: str = "sum_over_batch_size",
        name: str = "hard_labels",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(None, 0.0, from_logits, reduction, name, dtype, ignore_class=ignore_class)


@registered
class LSPlusLoss(TargetMatrixLoss):
    """LS+: (1 - alpha) CE(y, p) + alpha KL(v^y || p), v^k the informed prior of class k.

    Up to a constant, which is included here as in the paper, this is cross-entropy against
    (1 - alpha) one-hot + alpha v^y. With v from class accuracies V, the true class's target is
    1 - alpha + alpha V_y, so at alpha = 0.5 it is (1 + V_y) / 2 and not V_y.

    Parameters
    ----------
    prior : array_like, shape (K, K)
        Row k the distribution v^k; see `lsplus_tf.priors.informed_prior`.
    alpha : float or callable
        Weight of the prior in [0, 1]; 0 gives cross-entropy. The authors used 0.5. Or a function of
        the epoch, as in `LabelSmoothingLoss`.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        A prior that is not (K, K), holds NaN or negative values, or has rows that do not sum to 1;
        otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    A soft label (B, K) takes the matching mixture of the classes' losses.
    Source: Sambyal et al., MICCAI 2024, Eq. 3 and Algorithm 1. Their code clips p at 1e-7 inside
    the KL term, where its gradient vanishes; here the logits are never clipped.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> prior = lsp.priors.informed_prior([0.9, 0.6])
    >>> loss = lsp.losses.LSPlusLoss(prior, alpha=0.5, from_logits=True)
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)
    0.0644
    """

    num_classes_from = "the prior"
    in_variables = True

    def __init__(
        self,
        prior: ArrayLike,
        *,
        alpha: Scheduled = 0.5,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "ls_plus",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            held(check_prior(prior)),
            alpha,
            from_logits,
            reduction,
            name,
            dtype,
            ignore_class=ignore_class,
        )
        self._first_prior = self.prior

    @property
    def prior(self) -> NDArray[np.float64]:
        """The prior (K, K) in use."""
        assert self._matrix is not None
        return self._matrix

    def constants_at(self, alpha: float) -> NDArray[np.float64]:
        # What KL has on top of cross-entropy.
        return alpha * xlogy(self.prior, self.prior).sum(axis=1)

    def set_prior(self, prior: ArrayLike) -> None:
        """Replace the prior by another of the same shape, in steps that were traced before too."""
        checked = held(check_prior(prior))
        if checked.shape != self.prior.shape:
            raise InputError(
                f"prior: expected shape {self.prior.shape}, received shape {checked.shape}"
            )
        self._matrix = checked
        self._renew_tables()

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        # A config has the prior, but not a file of weights, which is loaded into the same loss.
        if self.prior is self._first_prior:
            store["first_prior"] = np.array(True)
        else:
            store["prior"] = self.prior.astype(storage_dtype(self.prior))

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        if "prior" in store:
            self.set_prior(store["prior"][...])
        elif "first_prior" in store and self.prior is not self._first_prior:
            self._matrix = self._first_prior
            self._renew_tables()

    def get_config(self) -> dict[str, Any]:
        config = {"prior": packed(self.prior), "alpha": number_config(self.alpha)}
        return {**super().get_config(), **config}


@registered
class ClassDistributionLabelSmoothingLoss(TargetMatrixLoss):
    """Class-distribution-aware label smoothing (CDA-LS): common classes are smoothed more.

    The target of class k is (1 - a_k) one-hot + a_k / K with a_k = alpha + gamma n_k / max(n),
    n the class counts.

    Parameters
    ----------
    class_counts : array_like, shape (K,)
        Training samples per class, or anything in proportion to them.
    alpha : float or callable
        Smoothing of a class without samples, in [0, 1], or a function of the epoch, as in
        `LabelSmoothingLoss`.
    gamma : float
        What the smoothing of the most common class has on top, >= 0, at most 1 - alpha.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        Counts that are not two or more finite numbers >= 0, or all zero; alpha or gamma outside its
        range; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    A soft label (B, K) takes the matching mixture of the classes' rows.
    Source: Islam et al., arXiv 2109.05263, whose code has 0.1 and 0.01. In that code the target
    of class k has a_j / K in place of a_k / K at class j, and does not sum to 1.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.ClassDistributionLabelSmoothingLoss(
    ...     [90, 10], alpha=0.1, gamma=0.1, from_logits=True, reduction="none"
    ... )
    >>> [round(float(x), 4) for x in loss([0, 1], [[2.0, 0.0], [0.0, 2.0]])]
    [0.3269, 0.238]
    """

    num_classes_from = "class_counts"

    def __init__(
        self,
        class_counts: ArrayLike,
        *,
        alpha: Scheduled = 0.1,
        gamma: float = 0.01,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "class_distribution_label_smoothing",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        self.class_counts = held(_check_class_counts(class_counts))
        self.gamma = check_number("gamma", gamma)
        uniform = uniform_prior(len(self.class_counts))
        super().__init__(
            uniform, alpha, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )

    def targets_at(self, alpha: float) -> NDArray[np.float64]:
        if alpha + self.gamma > 1.0:
            raise InputError(
                f"gamma: expected at most 1 - alpha, received {self.gamma:g} with alpha={alpha:g}"
            )
        smoothing = alpha + self.gamma * self.class_counts / self.class_counts.max()
        return np.diag(1.0 - smoothing) + smoothing[:, None] / len(smoothing)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "class_counts": packed(self.class_counts),
            "alpha": number_config(self.alpha),
            "gamma": self.gamma,
        }


def _check_class_counts(class_counts: ArrayLike) -> np.ndarray:
    """Return `class_counts` as float64 (K,), or raise `InputError` with what is wrong with it."""
    try:
        counts = np.array(class_counts, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"class_counts: expected (K,) numbers, received {class_counts!r}"
        ) from error
    if counts.ndim != 1 or len(counts) < 2:
        raise InputError(
            f"class_counts: expected shape (K,) with K >= 2, received shape {counts.shape}"
        )
    wrong = ~(np.isfinite(counts) & (counts >= 0))
    if wrong.any():
        k = int(np.argmax(wrong))
        raise InputError(
            f"class_counts: expected finite numbers >= 0, received {counts[k]} at [{k}]"
        )
    if not counts.any():
        raise InputError("class_counts: expected a class with samples, received only zeros")
    return counts
