"""The losses that the LS+ authors' released code minimised, mistakes included.

They are here to repeat the published runs, not to train with: the methods as their own papers
define them are `lsplus_tf.losses.HardLabelLoss`, `FocalLoss`, `DCALoss`, `MDCALoss`,
`LabelSmoothingLoss` and `LSPlusLoss`.

The released networks have two outputs, the logits z and p = softmax(z), and for the baselines Keras
applied the loss to each and added the two. The softmax has no weights, so the sum is a function of
z, and a network whose one output is z, trained with a loss below, is the released network in
training. Three of the four losses expect probabilities. For p that is so; the logits were taken for
probabilities all the same, as q = z / sum(z), clipped to [1e-7, 1 - 1e-7]. This head contradicts
the other: where sum(z) is negative, it pulls the true class's logit down. LS and LS+ are trained in
a step of their own, on p alone, which their KL term clips to [1e-7, 1].

Source: Sambyal et al., MICCAI 2024, code github.com/abhisheksambyal/lsplus @6618d89.
"""

from __future__ import annotations

import abc
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from lsplus_tf.errors import InputError, check_choice, check_fraction, check_number
from lsplus_tf.losses.arrays import held, packed
from lsplus_tf.losses.base import Batch, ClassificationLoss, LossDtype, matrix_product
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.priors import check_prior

__all__ = [
    "ReleasedDCALoss",
    "ReleasedFocalLoss",
    "ReleasedHardLabelLoss",
    "ReleasedLSPlusLoss",
    "ReleasedLabelSmoothingLoss",
    "ReleasedMDCALoss",
    "two_headed",
]

Heads = Literal["both", "softmax"]

_CLIP = 1e-7  # Keras' default epsilon


class _ReleasedLoss(ClassificationLoss):
    """The sum of a loss over the released networks' two outputs; subclasses give both terms.

    Parameters
    ----------
    heads : {"both", "softmax"}
        "both" as released, or "softmax", which leaves out the output of logits.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.
    """

    def __init__(
        self,
        heads: Heads,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            from_logits=True, reduction=reduction, name=name, dtype=dtype, ignore_class=ignore_class
        )
        self.heads = check_choice("heads", heads, Heads)

    @abc.abstractmethod
    def softmax_head(self, batch: Batch) -> tf.Tensor:
        """The losses (...) of the output p."""

    @abc.abstractmethod
    def logits_head(self, batch: Batch) -> tf.Tensor:
        """The losses (...) of the output z."""

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        losses = self.softmax_head(batch)
        return losses + self.logits_head(batch) if self.heads == "both" else losses

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "heads": self.heads}
        del config["from_logits"]  # always so, and no argument
        return config


@registered
class ReleasedHardLabelLoss(_ReleasedLoss):
    """The released hard-label baseline: twice the cross-entropy.

    Told `from_logits=True`, Keras took the second output's logits, so both terms are the
    cross-entropy of the logits. Nothing is wrong but the factor 2, which Adam hardly notices. For
    plain cross-entropy use `lsplus_tf.losses.HardLabelLoss`.

    Parameters
    ----------
    heads : {"both", "softmax"}
        "both", as released, or "softmax" for the second output alone.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        Another `heads`; labels as in `lsplus_tf.losses.LabelSmoothingLoss`; a `y_pred` that is
        known to be a softmax's output.

    Notes
    -----
    `y_pred` holds logits (B, K), always. `y_true` is (B,) or (B, 1) class ids, or (B, K) one-hot
    rows or soft labels.
    Source: `baseline.py` of the LS+ authors' code.

    Examples
    --------
    >>> from lsplus_tf.losses.released import ReleasedHardLabelLoss
    >>> round(float(ReleasedHardLabelLoss()([0], [[2.0, 0.0]])), 4)
    0.2539
    """

    def __init__(
        self,
        heads: Heads = "both",
        *,
        reduction: str = "sum_over_batch_size",
        name: str = "released_hard_labels",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(heads, reduction, name, dtype, ignore_class=ignore_class)

    def softmax_head(self, batch: Batch) -> tf.Tensor:
        return batch.cross_entropy

    def logits_head(self, batch: Batch) -> tf.Tensor:
        return batch.cross_entropy


@registered
class ReleasedFocalLoss(_ReleasedLoss):
    """The released focal loss: alpha (1 - q_y)^gamma (-log q_y) of the softmax, and of z / sum(z).

    Wrong are the second term, in which logits pass for probabilities, and the factor alpha, which
    Keras' focal loss has and the paper's has not. q is clipped to [1e-7, 1 - 1e-7], so that the
    gradient of a confident error vanishes. For the focal loss use `lsplus_tf.losses.FocalLoss`.

    Parameters
    ----------
    gamma : float
        Focusing exponent, >= 0.
    alpha : float
        Factor of the whole loss, >= 0.
    heads : {"both", "softmax"}
        "both", as released, or "softmax", which leaves out the term of z / sum(z).
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        A negative gamma or alpha; otherwise as in `ReleasedHardLabelLoss`.

    Notes
    -----
    `y_pred` holds logits (B, K), always. With soft labels t the loss is that of every class,
    weighted with t. Of logits that sum to 0 the positive have q = 1 - 1e-7 and the others 1e-7, as
    in the original (where 0 / 0 is NaN), and here no gradient, which is NaN there. With a sum near
    0 the second term is ill-conditioned, as in the original.
    Source: `baseline_fl.py` of the LS+ authors' code, run in TensorFlow 2.14.

    Examples
    --------
    >>> from lsplus_tf.losses.released import ReleasedFocalLoss
    >>> round(float(ReleasedFocalLoss()([0], [[1.0, 3.0]])), 4)
    0.5096
    >>> round(float(ReleasedFocalLoss(heads="softmax")([0], [[1.0, 3.0]])), 4)
    0.3633
    """

    def __init__(
        self,
        gamma: float = 3.0,
        *,
        alpha: float = 0.25,
        heads: Heads = "both",
        reduction: str = "sum_over_batch_size",
        name: str = "released_focal",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(heads, reduction, name, dtype, ignore_class=ignore_class)
        self.gamma = check_number("gamma", gamma)
        self.alpha = check_number("alpha", alpha)

    def softmax_head(self, batch: Batch) -> tf.Tensor:
        return self._focal(batch, tf.nn.softmax(batch.values))

    def logits_head(self, batch: Batch) -> tf.Tensor:
        return self._focal(batch, batch.values)

    def _focal(self, batch: Batch, outputs: tf.Tensor) -> tf.Tensor:
        q = _taken_for_probabilities(outputs)
        weights = self.alpha * tf.pow(1.0 - q, self.gamma)
        return -tf.reduce_sum(weights * batch.rows * tf.math.log(q), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma, "alpha": self.alpha}


class _SwappedLoss(_ReleasedLoss):
    """alpha CE + weight * a calibration term that was given labels for predictions and vice versa.

    Keras calls a loss with (y_true, y_pred), the released functions take (logits, labels). The
    network enters the calibration term through its predicted classes only, so the term has a
    value, but no gradient. Subclasses give the term.
    """

    def __init__(
        self,
        alpha: float,
        weight: float,
        heads: Heads,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(heads, reduction, name, dtype, ignore_class=ignore_class)
        self.alpha = check_number("alpha", alpha)
        self.weight = check_number("weight", weight)

    @abc.abstractmethod
    def term(self, batch: Batch, predicted: tf.Tensor) -> tf.Tensor:
        """The calibration term () of the classes (...) that an output predicts."""

    def softmax_head(self, batch: Batch) -> tf.Tensor:
        # Not the logits' classes: a softmax rounds nearly equal logits to equal probabilities.
        predicted = tf.argmax(tf.nn.softmax(batch.values), axis=-1, output_type=tf.int32)
        return self.alpha * batch.cross_entropy + self.weight * self.term(batch, predicted)

    def logits_head(self, batch: Batch) -> tf.Tensor:
        q = _taken_for_probabilities(batch.values)
        cross_entropy = -tf.reduce_sum(batch.rows * tf.math.log(q), axis=-1)
        return self.alpha * cross_entropy + self.weight * self.term(batch, batch.predicted)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "weight": self.weight}


@registered
class ReleasedDCALoss(_SwappedLoss):
    """The released DCA: cross-entropy of the softmax, and of z / sum(z); no calibration gradient.

    DCA's term is the gap between mean confidence and accuracy. With labels and predictions
    swapped it is ``|e / (e + K - 1) - accuracy|`` for hard labels, whose softmax is the same in
    every row; its gradient is zero. What differs from cross-entropy in training is the second term,
    in which logits pass for probabilities. For DCA use `lsplus_tf.losses.DCALoss`.

    Parameters
    ----------
    alpha : float
        Weight of the cross-entropies, >= 0.
    weight : float
        Of the calibration term, >= 0; the authors' beta. It changes the value only.
    heads : {"both", "softmax"}
        "both", as released, or "softmax", which leaves out the output of logits.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        A negative alpha or weight; otherwise as in `ReleasedHardLabelLoss`.

    Notes
    -----
    As in `ReleasedFocalLoss`, for logits whose sum is 0 or near it too. The calibration term is
    that of the batch, added to every sample's loss; sample weights weigh its means.
    Source: `baseline_dca.py` and `metrics.py` of the LS+ authors' code.

    Examples
    --------
    >>> from lsplus_tf.losses.released import ReleasedDCALoss
    >>> round(float(ReleasedDCALoss()([0], [[3.0, 1.0]])), 4)
    5.7934
    >>> round(float(ReleasedDCALoss(heads="softmax")([0], [[3.0, 1.0]])), 4)
    2.8163
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        weight: float = 10.0,
        heads: Heads = "both",
        reduction: str = "sum_over_batch_size",
        name: str = "released_dca",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(alpha, weight, heads, reduction, name, dtype, ignore_class=ignore_class)

    def term(self, batch: Batch, predicted: tf.Tensor) -> tf.Tensor:
        confidence = tf.reduce_max(tf.nn.softmax(batch.rows), axis=-1)
        correct = tf.cast(predicted == batch.classes, self.dtype)
        return tf.abs(batch.mean(confidence) - batch.mean(correct))


@registered
class ReleasedMDCALoss(_SwappedLoss):
    """The released MDCA: a tenth of the cross-entropies as in `ReleasedDCALoss`, nothing else.

    MDCA's term is the mean over classes of the gap between mean probability and frequency. With
    labels and predictions swapped it compares the softmax of the one-hot labels with how often a
    class is predicted; its gradient is zero. alpha, in MDCA's own code a label smoothing weight,
    multiplies the cross-entropies. For MDCA use `lsplus_tf.losses.MDCALoss`.

    Parameters
    ----------
    alpha : float
        Weight of the cross-entropies, >= 0.
    weight : float
        Of the calibration term, >= 0; the authors' beta. It changes the value only.
    heads : {"both", "softmax"}
        "both", as released, or "softmax", which leaves out the output of logits.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        As in `ReleasedDCALoss`.

    Notes
    -----
    As in `ReleasedDCALoss`.
    Source: `baseline_mdca.py` and `metrics.py` of the LS+ authors' code.

    Examples
    --------
    >>> from lsplus_tf.losses.released import ReleasedMDCALoss
    >>> round(float(ReleasedMDCALoss()([0], [[3.0, 1.0]])), 4)
    0.5793
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        weight: float = 1.0,
        heads: Heads = "both",
        reduction: str = "sum_over_batch_size",
        name: str = "released_mdca",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(alpha, weight, heads, reduction, name, dtype, ignore_class=ignore_class)

    def term(self, batch: Batch, predicted: tf.Tensor) -> tf.Tensor:
        mean_rows = batch.mean(tf.nn.softmax(batch.rows))
        frequencies = batch.mean(tf.one_hot(predicted, batch.num_classes, dtype=self.dtype))
        return tf.reduce_mean(tf.abs(mean_rows - frequencies))


class _ReleasedSmoothing(ClassificationLoss):
    """(1 - alpha) CE(y, p) + alpha KL(v || p) with v and p clipped to [1e-7, 1] in the second term.

    The cross-entropy is that of the logits, as Keras takes them from the softmax. Subclasses give
    v, which is not clipped here.
    """

    def __init__(
        self,
        alpha: float,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            from_logits=True, reduction=reduction, name=name, dtype=dtype, ignore_class=ignore_class
        )
        self.alpha = check_fraction("alpha", alpha)

    @abc.abstractmethod
    def prior_of(self, batch: Batch) -> NDArray[np.float64]:
        """v of each class, (K, K)."""

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        prior = np.clip(self.prior_of(batch), _CLIP, 1.0)
        log_p = tf.math.log(tf.clip_by_value(tf.nn.softmax(batch.values), _CLIP, 1.0))
        crossed = tf.reduce_sum(matrix_product(batch.rows, prior) * log_p, axis=-1)
        constants = (prior * np.log(prior)).sum(axis=1)
        divergence = matrix_product(batch.rows, constants) - crossed
        return (1.0 - self.alpha) * batch.cross_entropy + self.alpha * divergence

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "alpha": self.alpha}
        del config["from_logits"]  # always so, and no argument
        return config


@registered
class ReleasedLabelSmoothingLoss(_ReleasedSmoothing):
    """The released LS: 0.9 CE(y, p) + 0.1 KL(u || p), u uniform, p clipped in the second term.

    Where p_j < 1e-7 the second term is flat in p_j, and it stays below log(1e7). Up to that, and
    the constant alpha log K, it is `lsplus_tf.losses.LabelSmoothingLoss`.

    Parameters
    ----------
    alpha : float
        Weight of the second term, in [0, 1].
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        alpha outside [0, 1]; otherwise as in `ReleasedHardLabelLoss`.

    Notes
    -----
    `y_pred` holds logits (B, K), always. A soft label (B, K) takes the matching mixture of the
    classes' losses.
    Source: `distiller.py` (`net='LS'`) of the LS+ authors' code.

    Examples
    --------
    >>> from lsplus_tf.losses.released import ReleasedLabelSmoothingLoss
    >>> round(float(ReleasedLabelSmoothingLoss()([0], [[2.0, 0.0]])), 4)
    0.1576
    >>> both = [float(ReleasedLabelSmoothingLoss()([0], [[z, 0.0]])) for z in (20.0, 90.0)]
    >>> both[0] == both[1]  # bounded, which LabelSmoothingLoss is not
    True
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        reduction: str = "sum_over_batch_size",
        name: str = "released_label_smoothing",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(alpha, reduction, name, dtype, ignore_class=ignore_class)

    def prior_of(self, batch: Batch) -> NDArray[np.float64]:
        return np.full((batch.num_classes, batch.num_classes), 1.0 / batch.num_classes)


@registered
class ReleasedLSPlusLoss(_ReleasedSmoothing):
    """The released LS+: 0.5 CE(y, p) + 0.5 KL(v^y || p), v and p clipped in the second term.

    Where p_j < 1e-7 the second term is flat in p_j, and it stays below log(1e7). Up to that it is
    `lsplus_tf.losses.LSPlusLoss`.

    Parameters
    ----------
    prior : array_like, shape (K, K)
        Row k the distribution v^k; see `lsplus_tf.priors.informed_prior`.
    alpha : float
        Weight of the prior, in [0, 1].
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        A prior that is no prior, as in `LSPlusLoss`, or of another number of classes; otherwise as
        in `ReleasedLabelSmoothingLoss`.

    Notes
    -----
    As in `ReleasedLabelSmoothingLoss`.
    Source: `distiller.py` (`net='ours_alpha05'`) of the LS+ authors' code.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> from lsplus_tf.losses.released import ReleasedLSPlusLoss
    >>> loss = ReleasedLSPlusLoss(lsp.priors.informed_prior([0.9, 0.6]))
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)
    0.0644
    """

    def __init__(
        self,
        prior: ArrayLike,
        *,
        alpha: float = 0.5,
        reduction: str = "sum_over_batch_size",
        name: str = "released_ls_plus",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(alpha, reduction, name, dtype, ignore_class=ignore_class)
        self.prior = held(check_prior(prior))

    def prior_of(self, batch: Batch) -> NDArray[np.float64]:
        if batch.num_classes != len(self.prior):
            raise InputError(
                f"y_pred: expected {len(self.prior)} classes as in the prior, received "
                f"{batch.num_classes}"
            )
        return self.prior

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "prior": packed(self.prior)}


def two_headed(model: keras.Model) -> keras.Model:
    """The released form of a network of logits: outputs "logits" and "softmax", shared layers.

    To train as released, train `model` with a loss of this module; this form is for looking at
    what the authors' networks returned, and for showing that the two train alike.

    Parameters
    ----------
    model : keras.Model
        A functional or built sequential model with one output, logits (B, K).

    Returns
    -------
    keras.Model
        With the inputs, layers and weights of `model` and the outputs
        {"logits": (B, K), "softmax": (B, K)}.

    Raises
    ------
    InputError
        A model that is not built, or has more than one output.

    Examples
    --------
    >>> import keras
    >>> from lsplus_tf.losses.released import two_headed
    >>> model = keras.Sequential([keras.Input([2]), keras.layers.Dense(3)])
    >>> sorted(two_headed(model).output)
    ['logits', 'softmax']
    """
    try:
        outputs = model.outputs
    except (AttributeError, ValueError):
        outputs = []  # a subclassed model, or a sequential one that has seen no input
    if not outputs or len(outputs) != 1:
        raise InputError(
            f"model: expected a functional or built sequential model with one output, received "
            f"{type(model).__name__} '{model.name}' with {len(outputs or [])}"
        )
    softmax = keras.layers.Softmax(dtype="float32")(outputs[0])
    return keras.Model(model.inputs, {"logits": outputs[0], "softmax": softmax})


def _taken_for_probabilities(outputs: tf.Tensor) -> tf.Tensor:
    """What Keras makes of outputs (..., K) that it is told are probabilities."""
    total = tf.reduce_sum(outputs, axis=-1, keepdims=True)
    q = tf.math.divide_no_nan(outputs, total)
    # Over a sum of 0 they become infinite, and are clipped by their sign.
    q = tf.where((total == 0.0) & (outputs > 0.0), tf.ones_like(q), q)
    return tf.clip_by_value(q, _CLIP, 1.0 - _CLIP)
