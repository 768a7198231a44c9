"""Losses whose target rows never change: hard labels, label smoothing, LS+."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from scipy.special import xlogy

from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import check_alpha
from lsplus_tf.losses.class_indexed import ClassIndexedLoss
from lsplus_tf.priors import check_prior


@keras.saving.register_keras_serializable(package="lsplus_tf")
class LabelSmoothingLoss(ClassIndexedLoss):
    """Cross-entropy with label smoothing: the target is (1 - alpha) one-hot + alpha / K.

    The smoothing mass is spread over all K classes, the true one included, as in
    `keras.losses.CategoricalCrossentropy(label_smoothing=alpha)`. The LS+ paper writes the second
    term as KL(u || p), which is smaller by the constant alpha log K; for that value use
    `LSPlusLoss(uniform_prior(K), alpha)`, whose gradient is the same.

    Parameters
    ----------
    alpha : smoothing weight in [0, 1]; 0 gives cross-entropy. The LS+ authors used 0.1.
    from_logits : whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : as in `keras.losses.Loss`.

    Raises
    ------
    InputError : alpha outside [0, 1]; labels of the wrong shape or, in eager mode, outside 0..K-1.
        In a graph a wrong label stops the step, under XLA it makes the loss NaN.

    Notes
    -----
    `y_true` is (B,) or (B, 1) class ids, (B, K) one-hot rows, or (B, K) soft labels that sum to 1.
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
        alpha: float = 0.1,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "label_smoothing",
    ) -> None:
        super().__init__(from_logits=from_logits, reduction=reduction, name=name)
        self.alpha = check_alpha(alpha)

    def rows(self, labels: tf.Tensor, num_classes: int) -> tf.Tensor:
        rest = self.alpha / num_classes
        return tf.one_hot(labels, num_classes, on_value=1.0 - self.alpha + rest, off_value=rest)

    def mixed_rows(self, soft_labels: tf.Tensor) -> tf.Tensor:
        return (1.0 - self.alpha) * soft_labels + self.alpha / soft_labels.shape[-1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable(package="lsplus_tf")
class HardLabelLoss(ClassIndexedLoss):
    """Cross-entropy with hard labels (HL): the target is the one-hot row of the class.

    Parameters
    ----------
    from_logits : whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : as in `keras.losses.Loss`.

    Raises
    ------
    InputError : as in `LabelSmoothingLoss`.

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
        reduction: str = "sum_over_batch_size",
        name: str = "hard_labels",
    ) -> None:
        super().__init__(from_logits=from_logits, reduction=reduction, name=name)

    def rows(self, labels: tf.Tensor, num_classes: int) -> tf.Tensor:
        return tf.one_hot(labels, num_classes)

    def mixed_rows(self, soft_labels: tf.Tensor) -> tf.Tensor:
        return soft_labels


@keras.saving.register_keras_serializable(package="lsplus_tf")
class LSPlusLoss(ClassIndexedLoss):
    """LS+: (1 - alpha) CE(y, p) + alpha KL(v^y || p), v^k the informed prior of class k.

    Up to a constant, which is included here as in the paper, this is cross-entropy against
    (1 - alpha) one-hot + alpha v^y. With v from class accuracies V, the true class's target is
    1 - alpha + alpha V_y, so at alpha = 0.5 it is (1 + V_y) / 2 and not V_y.

    Parameters
    ----------
    prior : (K, K), row k the distribution v^k; see `lsplus_tf.priors.informed_prior`.
    alpha : weight of the prior in [0, 1]; 0 gives cross-entropy. The authors used 0.5.
    from_logits : whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : as in `keras.losses.Loss`.

    Raises
    ------
    InputError : a prior that is not (K, K), holds NaN or negative values, or has rows that do not
        sum to 1; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    A soft label (B, K) takes the matching mixture of the classes' losses.
    Source: Sambyal et al., MICCAI 2024, Eq. 3 and 4. The original clips p at 1e-7 inside the
    KL term, where its gradient vanishes; here the logits are never clipped.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> prior = lsp.priors.informed_prior([0.9, 0.6])
    >>> loss = lsp.losses.LSPlusLoss(prior, alpha=0.5, from_logits=True)
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)
    0.0644
    """

    def __init__(
        self,
        prior: ArrayLike,
        alpha: float = 0.5,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "ls_plus",
    ) -> None:
        super().__init__(from_logits=from_logits, reduction=reduction, name=name)
        self.prior = check_prior(prior)
        self.alpha = check_alpha(alpha)
        eye = np.eye(len(self.prior))
        self._rows = ((1.0 - self.alpha) * eye + self.alpha * self.prior).astype(np.float32)
        negative_entropy = xlogy(self.prior, self.prior).sum(axis=1)
        self._constants = (self.alpha * negative_entropy).astype(np.float32)

    def rows(self, labels: tf.Tensor, num_classes: int) -> tf.Tensor:
        self._check_num_classes(num_classes)
        return tf.gather(self._rows, labels)

    def mixed_rows(self, soft_labels: tf.Tensor) -> tf.Tensor:
        self._check_num_classes(soft_labels.shape[-1])
        return tf.tensordot(soft_labels, self._rows, axes=1)

    def constant(self, labels: tf.Tensor | None, soft_labels: tf.Tensor | None) -> tf.Tensor:
        if labels is None:
            return tf.linalg.matvec(soft_labels, self._constants)
        return tf.gather(self._constants, labels)

    def _check_num_classes(self, num_classes: int) -> None:
        if num_classes != len(self.prior):
            raise InputError(
                f"y_pred: expected {len(self.prior)} classes as in the prior, "
                f"received {num_classes}"
            )

    def get_config(self) -> dict[str, Any]:
        # A list, since Keras gives an array in a config back as a dict.
        return {**super().get_config(), "prior": self.prior.tolist(), "alpha": self.alpha}
