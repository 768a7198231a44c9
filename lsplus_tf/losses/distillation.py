"""Teacher-free knowledge distillation (Tf-KD): a designed teacher, or the network's own past."""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import softmax, xlogy

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import (
    InputError,
    check_choice,
    check_number,
    check_positive,
)
from lsplus_tf.losses.base import Batch, LossDtype, at_least_float32
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.scheduled import AlphaLoss, Scheduled, number_config, variable_of


class DistillationLoss(AlphaLoss):
    """(1 - alpha) CE(y, p) + weight * KL(q || p softened); subclasses give the teacher's q.

    Parameters
    ----------
    alpha, temperature, convention
        As in `TfKDRegularizationLoss`.
    from_logits, reduction, name, dtype, ignore_class
        As in `ClassificationLoss`.
    """

    multiplier: float | None

    def __init__(
        self,
        alpha: Scheduled,
        temperature: float,
        convention: Convention,
        from_logits: bool,
        reduction: str,
        name: str,
        dtype: LossDtype,
        *,
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(alpha, from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self._alpha: Any = self._now
        if callable(alpha):
            self._alpha = variable_of(np.array(self._now, self.dtype))
        self.temperature = check_positive("temperature", temperature)
        self.convention = check_choice("convention", convention, Convention)

    @abc.abstractmethod
    def divergence(self, batch: Batch, student: tf.Tensor) -> tf.Tensor:
        """KL(q || p) (...) from the teacher's q to the softmax p of the softened `student`."""

    def student_temperature(self) -> float:
        """What divides the logits in the KL term."""
        return self.temperature

    def use_number(self, number: float) -> None:
        self._alpha.assign(number)

    def divergence_weight(self, num_classes: int) -> Any:
        """What the KL term, summed over classes, is multiplied by."""
        # PyTorch's mean, which the released code takes, is over classes as well as samples.
        released = self.convention == "released_code"
        return self._alpha * self.factor() / (num_classes if released else 1)

    @abc.abstractmethod
    def factor(self) -> float:
        """What the KL term has beside alpha."""

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        weight = self.divergence_weight(batch.num_classes)
        if not callable(self.alpha) and not weight:
            return (1.0 - self._alpha) * batch.cross_entropy
        logits = batch.values if batch.from_logits else batch.log_probabilities
        divergence = self.divergence(batch, _softened(logits, self.student_temperature()))
        losses = (1.0 - self._alpha) * batch.cross_entropy + weight * divergence
        return self.noticing_training(losses)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha": number_config(self.alpha),
            "temperature": self.temperature,
            "multiplier": self.multiplier,
            "convention": self.convention,
        }


@registered
class TfKDRegularizationLoss(DistillationLoss):
    """Tf-KD with a virtual teacher: (1 - alpha) CE(y, p) + alpha KL(p^d_T || p_T).

    The virtual teacher p^d gives the true class `correct_probability` and the others the rest
    evenly. p^d_T is softmax(log p^d / T), p_T the student's softmax(z / T); KL is summed over
    classes. There is no T^2, so that the KL term's gradient falls with T^2: with alpha 0.1 and T 20
    the loss is cross-entropy at 0.9 of the learning rate, and no more.

    Parameters
    ----------
    alpha : float or callable
        Weight of the teacher in [0, 1]; 0 gives cross-entropy. Or a function of the epoch, as in
        `LabelSmoothingLoss`.
    temperature : float
        T > 0. The defaults of `alpha` and `temperature` are the authors' for ShuffleNetV2.
    correct_probability : float
        What the virtual teacher gives the true class, in (0, 1].
    multiplier : float
        Of the KL term, >= 0; the paper has none.
    convention : {"standard", "released_code"}
        "standard", or "released_code": the authors' program, which divides KL by K, does not soften
        the student, and takes softmax(p^d / T) for the teacher, nearly uniform at any T. That is
        label smoothing; give `alpha`, `temperature` and `multiplier` as the authors did.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities, of which the logarithms are
        softened.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        An argument out of range; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`; a soft label (B, K) takes the matching mixture of the
    classes' losses.

    With the defaults the loss is least where the true class has 0.992 (K = 2 to 7) or 0.997
    (K = 165), and on a trained network's logits the KL term's gradient is 0.6 (K = 2) to 0.05
    (K = 165) of the cross-entropy term's. That has the weight 1 - alpha = 0.05: with SGD the steps
    are that much smaller than those of hard labels at the same learning rate.

    The authors' program ran on 100 classes with convention="released_code" and, for ResNet-18,
    alpha 0.1, temperature 20, multiplier 100; for MobileNetV2 0.95, 40 and 1; for ShuffleNetV2
    0.95, 10 and 1. With m the multiplier it is then label smoothing of about
    (alpha m / K) / (1 - alpha + alpha m / K): 0.1 for ResNet-18 on 100 classes, 0.06 on 165, but
    0.85 on two. ResNet-18's multiplier undoes the division by K: of K classes that is multiplier=K.
    docs/methods.md measures all of the authors' settings in both conventions.
    Source: Yuan et al., CVPR 2020, "Revisiting Knowledge Distillation via Label Smoothing
    Regularization", section 5.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.TfKDRegularizationLoss(alpha=0.5, temperature=2.0, from_logits=True)
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)
    0.113
    """

    def __init__(
        self,
        alpha: Scheduled = 0.95,
        *,
        temperature: float = 10.0,
        correct_probability: float = 0.99,
        multiplier: float = 1.0,
        convention: Convention = "standard",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "tf_kd_regularization",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            alpha,
            temperature,
            convention,
            from_logits,
            reduction,
            name,
            dtype,
            ignore_class=ignore_class,
        )
        self.multiplier: float = check_number("multiplier", multiplier)
        self.correct_probability = check_positive(
            "correct_probability", correct_probability, most=1.0
        )

    def student_temperature(self) -> float:
        return self.temperature if self.convention == "standard" else 1.0

    def factor(self) -> float:
        return self.multiplier

    def virtual_teacher(self, num_classes: int) -> NDArray[np.float64]:
        """The softened teacher's row (K,) of class 0; other classes' have the first entry moved."""
        row = np.full(num_classes, (1.0 - self.correct_probability) / (num_classes - 1))
        row[0] = self.correct_probability
        with np.errstate(divide="ignore"):  # a class without probability keeps none
            scores = np.log(row) if self.convention == "standard" else row
        return softmax(scores / self.temperature)

    def divergence(self, batch: Batch, student: tf.Tensor) -> tf.Tensor:
        row = self.virtual_teacher(batch.num_classes)
        true, other = row[:2].tolist()
        if batch.labels is not None and other > 0.0:
            teacher = tf.one_hot(
                batch.labels,
                batch.num_classes,
                on_value=math.log(true),
                off_value=math.log(other),
                dtype=self.dtype,
            )
            return _divergence(teacher, student)
        # Of a mixture of classes, whose rows need not sum to 1, or a teacher without doubt.
        rows = batch.rows
        total = tf.reduce_sum(rows, axis=-1)
        targets = (true - other) * rows + other * total[..., None]
        cross_entropy = -tf.reduce_sum(targets * tf.nn.log_softmax(student), axis=-1)
        return cross_entropy + float(xlogy(row, row).sum()) * total

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "correct_probability": self.correct_probability}


@registered
class TfKDSelfTrainingLoss(DistillationLoss):
    """Tf-KD by self-training: (1 - alpha) CE(y, p) + alpha KL(p^t_T || p_T).

    The teacher p^t is a network of the same kind, trained with hard labels. p^t_T and p_T are the
    softmaxes of the teacher's and the student's logits over T; KL is summed over classes. The
    teacher's logits come with the labels: `lsplus_tf.callbacks.TeacherLogits` adds them to every
    step of `fit`, and `with_teacher_logits` to labels of your own.

    Parameters
    ----------
    alpha : float or callable
        Weight of the teacher in [0, 1]; 0 gives cross-entropy. Or a function of the epoch, as in
        `LabelSmoothingLoss`.
    temperature : float
        T > 0. The defaults of `alpha` and `temperature` are the authors' for ResNeXt-29.
    multiplier : float, optional
        Of the KL term, >= 0. None is T^2, as in the authors' program and in plain knowledge
        distillation: the term's gradient falls with T^2, which makes up for it, and alpha keeps its
        meaning at any temperature. The paper's formula has 1.
    convention : {"standard", "released_code"}
        "standard", or "released_code": the authors' program, which divides KL by K and multiplies
        it by T^2, and by `multiplier` where one is given.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities, of which the logarithms are
        softened.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        An argument out of range; labels without teacher's logits; otherwise as in
        `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is (B, 1 + K), a class id and the teacher's logits, or (B, 2K), a one-hot or soft label
    and the teacher's logits. No gradient flows to the teacher. Keras's metrics and `class_weight`
    know nothing of this packing; with the callback they see the labels as they were given.

    With the defaults the loss is least near the teacher's own probabilities, and on a trained
    network's logits the KL term's gradient is 38 (K = 2) to 3 (K = 165) times the cross-entropy
    term's; with multiplier=1 it is 0.1 to 0.007 of it.

    The authors' program ran on 100 classes with convention="released_code" and, for ResNeXt-29,
    alpha 0.9, temperature 20, multiplier 100, which undoes the division by K and is what the
    defaults are; for ResNet-18 0.95, 6 and 50; for MobileNetV2 and ShuffleNetV2 0.95, 20 and 1.
    docs/methods.md measures all of them.
    Source: Yuan et al., CVPR 2020, "Revisiting Knowledge Distillation via Label Smoothing
    Regularization", section 5.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.TfKDSelfTrainingLoss(alpha=0.5, temperature=2.0, from_logits=True)
    >>> y_true = lsp.losses.with_teacher_logits([0], [[3.0, 0.0]])
    >>> round(float(loss(y_true, [[2.0, 0.0]])), 4)
    0.1047
    """

    def __init__(
        self,
        alpha: Scheduled = 0.9,
        *,
        temperature: float = 20.0,
        multiplier: float | None = None,
        convention: Convention = "standard",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "tf_kd_self_training",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            alpha,
            temperature,
            convention,
            from_logits,
            reduction,
            name,
            dtype,
            ignore_class=ignore_class,
        )
        self.multiplier = None if multiplier is None else check_number("multiplier", multiplier)

    def factor(self) -> float:
        if self.multiplier is None:
            return self.temperature**2
        released = self.convention == "released_code"
        return self.multiplier * (self.temperature**2 if released else 1.0)

    def split_labels(
        self, y_true: tf.Tensor, y_pred: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        num_classes = y_pred.shape[-1]
        if num_classes is None or num_classes < 2:
            return y_true, None  # `class_ids` refuses such outputs
        widths = (1 + num_classes, 2 * num_classes)
        if y_true.shape.rank != y_pred.shape.rank or y_true.shape[-1] not in widths:
            raise InputError(
                f"y_true: expected labels beside a teacher's logits, of shape (batch, {widths[0]}) "
                f"or (batch, {widths[1]}), received shape {tuple(y_true.shape)}. Give fit or "
                "evaluate callbacks=[lsplus_tf.callbacks.TeacherLogits(teacher)], or make y_true "
                "with lsplus_tf.losses.with_teacher_logits(labels, teacher_logits); to evaluate "
                "without a teacher, compile the model with another loss"
            )
        return y_true[..., :-num_classes], tf.stop_gradient(y_true[..., -num_classes:])

    def divergence(self, batch: Batch, student: tf.Tensor) -> tf.Tensor:
        if batch.teacher_logits is None:
            raise InputError(
                f"{self.name}: expected labels with teacher's logits, which another loss that "
                "contains this one does not pass on"
            )
        return _divergence(_softened(batch.teacher_logits, self.temperature), student)


def with_teacher_logits(labels: Any, teacher_logits: Any) -> Any:
    """What `TfKDSelfTrainingLoss` takes as `y_true`: the labels, then the teacher's logits.

    Parameters
    ----------
    labels : array_like, shape (...) or (..., 1)
        Class ids, or (..., K) one-hot or soft labels.
    teacher_logits : array_like, shape (..., K)
        Of the same samples. Of probabilities take the logarithm before.

    Returns
    -------
    ndarray or tf.Tensor, shape (..., 1 + K) or (..., 2K)
        Float64 where the teacher's logits are and otherwise float32: a tensor if one of the
        arguments is one, as in the map of a `tf.data.Dataset`, otherwise an array.

    Raises
    ------
    InputError
        Shapes that do not fit.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> lsp.losses.with_teacher_logits([1], [[0.5, 2.0]]).tolist()
    [[1.0, 0.5, 2.0]]
    """
    is_tensor = tf.is_tensor(labels) or tf.is_tensor(teacher_logits)
    logits = at_least_float32(teacher_logits)
    labels = tf.cast(labels, logits.dtype)
    rank = logits.shape.rank
    columns = labels[..., None] if labels.shape.rank == rank - 1 else labels
    if (
        rank == 0
        or columns.shape.rank != rank
        or columns.shape[-1] not in (1, logits.shape[-1])
        or not columns.shape[:-1].is_compatible_with(logits.shape[:-1])
    ):
        raise InputError(
            "labels: expected class ids of shape (batch,) or (batch, 1), or rows like the "
            f"teacher's logits, of shape {tuple(logits.shape)}; received shape "
            f"{tuple(labels.shape)}"
        )
    packed = tf.concat([columns, logits], axis=-1)
    return packed if is_tensor or not tf.executing_eagerly() else packed.numpy()


def _softened(logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """`logits` (..., K) over the temperature, less a constant that no softmax sees."""
    # Differences of large logits are exact before the division and rounded after it.
    largest = tf.stop_gradient(tf.reduce_max(logits, axis=-1, keepdims=True))
    return (logits - largest) / temperature


@tf.custom_gradient
def _divergence(teacher: tf.Tensor, student: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """KL(q || p) (...) of the softmaxes of two logits (..., K), exact where they are close too.

    At high temperatures both are nearly uniform: cross-entropy and entropy are then near log K, and
    float32 keeps nothing of their difference. With d the difference of the logits less its mean
    under q, it is log sum q e^d = log1p sum q (e^d - 1 - d), whose terms are all small.
    """
    log_q, log_p = tf.nn.log_softmax(teacher), tf.nn.log_softmax(student)
    q = tf.exp(log_q)
    d = student - teacher
    d -= tf.reduce_sum(q * d, axis=-1, keepdims=True)
    # e^d - 1 - d by its series where the difference would lose more than the series leaves out.
    small = 0.25 if d.dtype == tf.float32 else 0.01
    series = d * d * (1 / 2 + d * (1 / 6 + d * (1 / 24 + d * (1 / 120 + d / 720))))
    excess = tf.where(tf.abs(d) < small, series, tf.math.expm1(d) - d)
    close = tf.reduce_max(tf.abs(d), axis=-1) < 1.0
    divergence = tf.where(
        close,
        tf.math.log1p(tf.reduce_sum(q * excess, axis=-1)),
        tf.reduce_sum(q * (log_q - log_p), axis=-1),
    )

    def gradient(upstream: tf.Tensor) -> tuple[None, tf.Tensor]:
        difference = tf.where(
            close[..., None],
            q * tf.math.expm1(d - divergence[..., None]),
            tf.exp(log_p) - q,
        )
        return None, upstream[..., None] * difference

    return divergence, gradient
