"""Dual focal loss: what a sample weighs depends on the runner-up of its label as well."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

from lsplus_tf.errors import check_choice
from lsplus_tf.losses.base import Batch, LossDtype
from lsplus_tf.losses.focal import FocalLoss, doubt, power
from lsplus_tf.losses.keras_names import registered

Detached = Literal["none", "rival", "weight"]


@registered
class DualFocalLoss(FocalLoss):
    """Dual focal loss (DFL): (1 - p_y + p_j)^gamma * -log p_y, with a rival j of the label y.

    The rival is the most probable of the classes that are strictly less probable than y. Of a
    wrong prediction it is therefore not the predicted class. Where there is none, p_j is 0.

    Parameters
    ----------
    gamma : float
        >= 0; 0 gives cross-entropy exactly. 5 is what the authors tuned for ResNet-50 on CIFAR-10
        and CIFAR-100. Their values for other networks and data lie between 2.3 and 6.1: none is
        universal.
    detached : {"none", "rival", "weight"}
        What of the weight (1 - p_y + p_j)^gamma has no gradient: nothing, which is the method; p_j,
        as in the code of Lin et al. (CVPR 2025); or all of it, as a summary has their paper.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise probabilities.
    reduction, name : str
        As in `keras.losses.Loss`. The authors' code sums over the batch unless told otherwise.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.

    Raises
    ------
    InputError
        gamma below 0 or not a number, another `detached`; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`; a soft label t takes the mixture
    sum_k t_k (1 - p_k + p_j(k))^gamma * -log p_k of the classes' losses, each with its rival. The
    rows are sorted for that, one-hot rows too: class ids are faster.

    Of several rivals the first has the gradient. The loss jumps up where the label's class
    overtakes another, which becomes its rival then: of two classes with gamma 5, where a sample
    becomes right, 31-fold from 0.0219 at p_y = 0.499 to 0.6843 at 0.501.

    With `detached` other than "none" the value is not what the gradient descends: do not stop
    early on it, nor reduce the learning rate where it no longer falls.
    Source: Tao et al., ICML 2023, and their code.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.DualFocalLoss(gamma=2.0)
    >>> round(float(loss([0], [[0.6, 0.3, 0.1]])), 4)
    0.2503
    """

    def __init__(
        self,
        gamma: float = 5.0,
        *,
        detached: Detached = "none",
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "dual_focal",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
    ) -> None:
        super().__init__(
            gamma,
            from_logits=from_logits,
            reduction=reduction,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
        )
        self.detached = check_choice("detached", detached, Detached)

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        if batch.given_rows is None:
            return self._weigh(batch.cross_entropy, _rival_of_label(batch))
        of_classes = self._weigh(-batch.log_probabilities, _rivals_of_classes(batch))
        return tf.reduce_sum(batch.given_rows * of_classes, axis=-1)

    def _weigh(self, nll: tf.Tensor, rival: tf.Tensor) -> tf.Tensor:
        """(1 - p + rival)^gamma * nll, of nll = -log p of any shape."""
        if self.detached == "rival":
            rival = tf.stop_gradient(rival)
        weight = power(doubt(nll) + rival, self.gamma)
        return (tf.stop_gradient(weight) if self.detached == "weight" else weight) * nll

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "detached": self.detached}


def _rival_of_label(batch: Batch) -> tf.Tensor:
    """The probability (...) of the most probable class below the label's, or 0."""
    values, own = batch.values, batch.at(batch.values, batch.labels)
    below = values < own[..., None]
    rival = tf.argmax(tf.where(below, values, values.dtype.min), -1, output_type=tf.int32)
    of_rival = batch.at(values, rival)
    if batch.from_logits:  # two logits and log p_y have it, without all K probabilities
        of_rival = tf.exp(of_rival - own - batch.cross_entropy)
    return tf.where(batch.at(below, rival), of_rival, 0.0)


def _rivals_of_classes(batch: Batch) -> tf.Tensor:
    """The same for each class in the label's place, (..., K)."""
    values = batch.values
    order = tf.argsort(values, direction="DESCENDING")  # of equals the first comes first
    rising = -tf.gather(values, order, batch_dims=-1)
    place = tf.searchsorted(rising, -values, side="right")  # behind the class and its equals
    rivals = tf.gather(order, tf.minimum(place, batch.num_classes - 1), batch_dims=-1)
    of_rivals = tf.gather(batch.probabilities, rivals, batch_dims=-1)
    return tf.where(place < batch.num_classes, of_rivals, 0.0)
