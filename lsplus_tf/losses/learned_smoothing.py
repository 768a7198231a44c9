"""LS++: label smoothing whose distribution over the other classes is trained with the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from lsplus_tf.errors import check_number
from lsplus_tf.losses.base import Batch, LossDtype, matrix_product
from lsplus_tf.losses.companions import CompanionSGD
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.scheduled import Scheduled, number_config
from lsplus_tf.losses.target_matrix import TargetMatrixLoss
from lsplus_tf.priors import uniform_prior

_LOGITS = "learned_smoothing_logits"
_NEVER = -1e30  # a logit whose share is exactly 0, that of a class among the others


@registered
class LearnedLabelSmoothingLoss(TargetMatrixLoss):
    """LS++: label smoothing towards the other classes in proportions that are learned.

    The targets of class y are t = (1 - alpha) one-hot + alpha C_y. Row y of C has 0 at y itself,
    and elsewhere the softmax of K - 1 free logits, which begin at 0: the other classes share alpha
    evenly. The loss is

        1/2 (- sum_k t_k log(p_k + epsilon)) + 1/2 (- sum_k p_k log(t_k + epsilon)).

    The first half trains the network, with t fixed; the second trains C, with p fixed. So **the
    value is not what the gradient descends**: compare runs, and choose epochs, by another measure.

    The loss holds the free logits and their momentum, and takes a step of SGD on them with every
    training batch, after the batch's loss: `lsplus_tf.callbacks.LearnedLabelSmoothing` shows it the
    batches of `fit`. Training without the callback warns, since C then stays uniform. In a training
    loop of your own call `learn(y_true, y_pred)` after the loss.

    Parameters
    ----------
    num_classes : int
        K >= 2. With 2, C cannot change, and the targets are those of label smoothing of twice the
        alpha.
    alpha : float or callable
        What the other classes have of the targets, in [0, 1]; the authors' 0.1. Or a function of
        the epoch, as in `LabelSmoothingLoss`; the callback tells the loss the epoch.
    learning_rate : float, optional
        That of C, >= 0; None is that of the network's optimizer in the same step, as in the
        authors' code, which trains both with one SGD that begins at 0.1.
    momentum, weight_decay : float
        Of C's SGD, in [0, 1] and >= 0. Weight decay keeps C from getting sharp.
    epsilon : float
        In the logarithms, >= 1e-20.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Attributes
    ----------
    soft_labels : tf.Tensor, shape (K, K)
        The matrix C, rows = true classes, with 0 on the diagonal.
    free_logits : tf.Variable, shape (K, K)
        What C is made of. The diagonal is 0, and not used.

    Raises
    ------
    InputError
        An argument out of range; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    - The half halves the network's gradient: at the same learning rate the network learns as with
      half of it under label smoothing, whose K / (K - 1) alpha has the targets of a uniform C.
    - A lost sample, with p_y far below epsilon, has **almost no gradient**, where cross-entropy has
      its largest. Each logarithm is at least log(epsilon), -13.8.
    - A batch weighs in C as Keras weighs it in the loss: by the reduction and sample weights. What
      multiplies the loss outside of it, as `loss_weights` do, does not reach C. The momentum and
      weight decay of a class act in batches without it too.
    - For predictions that stay, C_yk tends to the mean of p_k over the samples of class y, in
      proportion. OLS takes such means too, but of correct predictions alone, once an epoch, and
      with the true class among them, which here has 1 - alpha always. LS+ has its proportions from
      an informed prior, before training.
    - A soft label (B, K) takes the mixture of the classes' losses.
    - C's logits and their momentum are saved with the model, in `.keras` and `.weights.h5`.

    Source: LS++, BMVC 2024, paper 392, of which only the authors' code was available.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.LearnedLabelSmoothingLoss(num_classes=3, from_logits=True)
    >>> round(float(loss([0], [[2.0, 1.0, 0.0]])), 4)
    0.8153
    >>> loss.learn([0], [[2.0, 1.0, 0.0]])
    >>> loss.soft_labels.numpy().round(3).tolist()[0]
    [0.0, 0.5019999742507935, 0.49799999594688416]
    """

    not_fed = (
        "nothing shows it the batches, so its soft labels stay as they are: give fit "
        "callbacks=[lsplus_tf.callbacks.LearnedLabelSmoothing()], or call "
        "loss.learn(y_true, y_pred) after the loss in your own loop."
    )
    when_fed = "in steps"

    def __init__(
        self,
        num_classes: int,
        *,
        alpha: Scheduled = 0.1,
        learning_rate: float | None = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        epsilon: float = 1e-6,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "learned_label_smoothing",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            None, alpha, from_logits, reduction, name, dtype, ignore_class=ignore_class
        )
        self.num_classes = len(uniform_prior(num_classes))
        # With a smaller one, float32 divides by what rounds to 0.
        self.epsilon = check_number("epsilon", epsilon, least=1e-20)
        first = {_LOGITS: np.zeros((self.num_classes, self.num_classes))}
        self._sgd = CompanionSGD(first, learning_rate, momentum, weight_decay, self.dtype)
        self.learning_rate = self._sgd.learning_rate
        self.momentum = self._sgd.momentum
        self.weight_decay = self._sgd.weight_decay
        self.free_logits = self._sgd.variables[_LOGITS]

    @property
    def soft_labels(self) -> tf.Tensor:
        classes = tf.range(self.num_classes)
        return self._shares(tf.convert_to_tensor(self.free_logits), classes)

    def _shares(self, logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        """The rows of C, (..., K), of `logits` (..., K) of the `classes` (...)."""
        own = tf.one_hot(
            classes, self.num_classes, on_value=_NEVER, off_value=0.0, dtype=self.dtype
        )
        return tf.nn.softmax(logits + own)

    def _shares_of(self, batch: Batch) -> tf.Tensor:
        """The rows of C of the samples' class ids, (..., K)."""
        return self._shares(tf.gather(self.free_logits, batch.labels), batch.labels)

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        self.check_num_classes(batch.num_classes)
        if batch.given_rows is None:
            shares = batch.kept[self] = self._shares_of(batch)
            targets = self._labels(batch) + self._soft * shares
            log_targets = tf.math.log(targets + self.epsilon)
        else:
            of_classes = self._hard * np.eye(self.num_classes, dtype=self.dtype)
            of_classes += self._soft * self.soft_labels
            targets = matrix_product(batch.given_rows, of_classes)
            log_targets = matrix_product(batch.given_rows, tf.math.log(of_classes + self.epsilon))
        of_matrix = tf.reduce_sum(tf.stop_gradient(batch.probabilities * log_targets), axis=-1)
        return self.noticing_training(-0.5 * (self._of_network(batch, targets) + of_matrix))

    def _of_network(self, batch: Batch, targets: tf.Tensor) -> tf.Tensor:
        """sum_k t_k log(p_k + epsilon), (...)."""
        p = batch.probabilities
        values = tf.reduce_sum(targets * tf.math.log(p + self.epsilon), axis=-1)
        if not batch.from_logits:
            return values

        @tf.custom_gradient
        def of_logits(logits: tf.Tensor) -> tuple[tf.Tensor, Any]:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                # Of a sure network the parts of the gradient cancel each other to 1e-3 and less of
                # what they are. So the mean is taken away before, and then what is left of it.
                slopes = targets / (p + self.epsilon)
                slopes -= tf.reduce_sum(p * slopes, axis=-1, keepdims=True)
                slopes -= tf.reduce_sum(p * slopes, axis=-1, keepdims=True)
                return upstream[..., None] * p * slopes

            del logits
            return values, gradient

        return of_logits(batch.values)

    def learn(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        *,
        from_logits: bool | None = None,
        learning_rate: Any = None,
    ) -> None:
        """Take a step on C's free logits with a batch; in a training loop of your own.

        Parameters
        ----------
        y_true, y_pred, sample_weight : array_like
            As the loss takes them. No gradient flows. Rows with NaN, and rows whose label is
            outside 0..K-1, are left out.
        from_logits : bool, optional
            Whether `y_pred` holds logits; None means as in the loss. For a loss inside a
            `PenaltyLoss`, whose `from_logits` counts.
        learning_rate : float or tf.Tensor, optional
            The network's, which a loss with `learning_rate=None` needs.
        """
        batch = self._own_batch(y_true, y_pred, from_logits, sample_weight)
        self.learn_batch(batch, learning_rate)

    def learn_batch(self, batch: Batch, learning_rate: Any = None) -> None:
        """Take a step with a batch that the loss was asked about; for callbacks."""
        self.check_num_classes(batch.num_classes)
        classes = self.num_classes
        p = tf.reshape(tf.stop_gradient(batch.probabilities), [-1, classes])
        counted = tf.math.is_finite(tf.reduce_sum(p, axis=-1))
        if batch.counted is not None:
            counted &= tf.reshape(batch.counted, [-1])
        weights = batch.shares  # once: several devices put it together
        if batch.given_rows is None:
            labels = tf.reshape(batch.labels, [-1])
            shares = batch.kept[self] if self in batch.kept else self._shares_of(batch)
            slopes = self._slopes(tf.reshape(shares, [-1, classes]), p)
            if weights.shape.rank:
                slopes *= tf.reshape(weights, [-1, 1])
            # Segment sums leave out negative ids, and with them the NaN that 0 times it would keep.
            segments = tf.where(counted, labels, -1)
            gradient = tf.math.unsorted_segment_sum(slopes, segments, classes)
        else:
            rows = tf.reshape(batch.given_rows, [-1, classes])
            counted &= tf.math.is_finite(tf.reduce_sum(rows, axis=-1))
            p, rows = (tf.where(counted[:, None], each, 0.0) for each in (p, rows))
            if weights.shape.rank:
                p *= tf.where(counted, tf.reshape(weights, [-1]), 0.0)[:, None]
            sums = matrix_product(tf.transpose(rows), p)
            gradient = self._slopes(self.soft_labels, sums)
        if not weights.shape.rank:
            gradient *= weights
        self._sgd.step({_LOGITS: gradient}, learning_rate)
        self._feeding.renewed = True

    def _slopes(self, shares: tf.Tensor, sums: tf.Tensor) -> tf.Tensor:
        """d/d logits of -1/2 sum_k sums_k log(t_k + epsilon), in each row of C, (..., K)."""
        slopes = -0.5 * self._soft * sums / (self._soft * shares + self.epsilon)
        return shares * (slopes - tf.reduce_sum(shares * slopes, axis=-1, keepdims=True))

    def _state(self) -> dict[str, tf.Variable]:
        return self._sgd.state()

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "alpha": number_config(self.alpha),
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "epsilon": self.epsilon,
        }
