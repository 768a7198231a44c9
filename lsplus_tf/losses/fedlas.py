"""FedLAS: label smoothing whose strength follows the norm of a sample's features."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lsplus_tf.errors import InputError, check_count, check_fraction, check_number, check_seed
from lsplus_tf.losses.base import (
    Batch,
    ClassificationLoss,
    LossDtype,
    matrix_product,
    replicas,
    sum_over_replicas,
)
from lsplus_tf.losses.companions import CompanionSGD
from lsplus_tf.losses.feeding import Feeding
from lsplus_tf.losses.keras_names import registered
from lsplus_tf.losses.margin import beyond_margin
from lsplus_tf.losses.renewed import RenewedLoss
from lsplus_tf.losses.scheduled import variable_of
from lsplus_tf.losses.steps import learns, step

_FIRST_MEAN, _FIRST_STD = 20.0, 100.0  # of the norms, whatever the network
_NEVER_ZERO = 1e-3  # added to the norms' standard deviation
_LEAK = 0.01  # of the gate's leaky ReLU


class _Gated(NamedTuple):
    """What the gate says of the samples: (...), and of its layers (..., H)."""

    before_leak: tf.Tensor
    hidden: tf.Tensor
    difference: tf.Tensor  # of its two softmax outputs
    slope: tf.Tensor  # of r by the sign, which stands for the difference in the gradient
    strength: tf.Tensor  # r


@registered
class FedLASLoss(RenewedLoss):
    """FedLAS: (1 - r) CE + r mean_k(-log p_k), where r follows the norm of a sample's features.

    r = 2 smoothing sigmoid(slope s c): c is how far the sum of the features' absolute values lies
    from its running mean, in running standard deviations, and s = -1, 0 or 1 is the sign of what a
    small network, the gate, says of the logits. With a `margin` it is FedLAS+: r weighs
    mean_k relu(max_j z_j - z_k - margin) instead, and cross-entropy still 1 - r.

    The model's output has to carry the features: its last layer is
    `lsplus_tf.backbones.CarryFeatures`, or in a loop of your own `with_features(outputs, features)`
    gives it them. `lsplus_tf.callbacks.FedLAS` tells the loss during `fit` that it trains: then the
    running statistics take in the batch before they are used, and the gate takes a step of SGD
    after. In a training loop of your own take `loss.learn(y_true, y_pred)` in place of
    `loss(y_true, y_pred)`, which leaves both as they are.

    Parameters
    ----------
    num_classes : int
        K >= 2.
    smoothing : float
        r where c is 0, in [0, 0.5]; r lies between 0 and twice this. 0 gives cross-entropy.
    slope : float
        How fast r changes with c, >= 0.
    momentum : float
        Weight of the **new** batch in the running statistics, in [0, 1].
    margin : float, optional
        Distance between logits that costs nothing, >= 0, of FedLAS+; None is FedLAS.
    from_logits : bool
        Whether `y_pred` holds logits (B, K); otherwise it is the output of a softmax layer, whose
        logits are used. Probabilities alone do not tell what the gate sees.
    reduction, name : str
        As in `keras.losses.Loss`.
    dtype : {"float32", "float64"}
        What is computed in.
    ignore_class : int, optional
        Label of samples that are left out as if they were not there; see `LabelSmoothingLoss`.
    gate_learning_rate, gate_momentum, gate_weight_decay : float
        Of the gate's SGD.
    seed : int
        Of the gate's first weights, which are uniform within 1 / sqrt(inputs) of 0.

    Attributes
    ----------
    gate : dict of str to tf.Variable
        `hidden_kernel` (K, K // 2), `hidden_bias`, `output_kernel` (K // 2, 2) and `output_bias`.
    norm_mean, norm_std : tf.Variable, shape ()
        The running statistics, at first 20 and 100.

    Raises
    ------
    InputError
        An argument out of range; outputs that carry no features, or are probabilities without
        logits; otherwise as in `LabelSmoothingLoss`.

    Notes
    -----
    `y_true` is as in `LabelSmoothingLoss`. No gradient flows through r to the network, nor into the
    features; r is constant between the gate's changes of sign, so the gradient is that of the
    value. The gate's gradient passes the sign as if it were the difference of the gate's softmax
    outputs, and lowers this loss: no target of calibration is involved.

    The statistics are of the whole batch on all devices, of samples whose weight is not 0. A batch
    of one has no standard deviation, and keeps the one there is. Statistics, gate and its momentum
    are saved with the model, in `.keras` and `.weights.h5`. They change from epoch to epoch, and
    the loss with them: compare epochs by another measure than `val_loss`.
    `EarlyStopping(restore_best_weights=True)` restores weights, not losses: they stay those of the
    last epoch.

    Source: arXiv 2606.28654 and its code. There is nothing federated about it. The defaults are of
    the code's CIFAR-10 config; there FedLAS+ has smoothing 0.1, slope 0.5 and margin 6. In the code
    the gate has the network's optimizer, and its schedule; here a rate of its own.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> loss = lsp.losses.FedLASLoss(num_classes=2, from_logits=True)
    >>> outputs = lsp.losses.with_features([[2.0, 0.0]], [[15.0, -5.0]])
    >>> round(float(loss([0], outputs)), 4)
    0.1769
    """

    state_is = "statistics and gate"
    not_fed = (
        "it does not learn here, so its statistics and its gate stay as they are: give "
        "fit callbacks=[lsplus_tf.callbacks.FedLAS()], or take loss.learn(y_true, y_pred) in place "
        "of loss(y_true, y_pred) in your own loop."
    )

    def __init__(
        self,
        num_classes: int,
        *,
        smoothing: float = 0.05,
        slope: float = 4.0,
        momentum: float = 0.95,
        margin: float | None = None,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "fedlas",
        dtype: LossDtype = "float32",
        ignore_class: int | None = None,
        gate_learning_rate: float = 0.1,
        gate_momentum: float = 0.9,
        gate_weight_decay: float = 5e-4,
        seed: int = 0,
    ) -> None:
        super().__init__(from_logits, reduction, name, dtype, ignore_class=ignore_class)
        self.num_classes = check_count("num_classes", num_classes, least=2)
        self.smoothing = check_number("smoothing", smoothing, most=0.5)
        self.slope = check_number("slope", slope)
        self.momentum = check_fraction("momentum", momentum)
        self.margin = None if margin is None else check_number("margin", margin)
        self.gate_learning_rate = check_number("gate_learning_rate", gate_learning_rate)
        self.gate_momentum = check_fraction("gate_momentum", gate_momentum)
        self.gate_weight_decay = check_number("gate_weight_decay", gate_weight_decay)
        self.seed = check_seed(seed)
        self._sgd = CompanionSGD(
            _first_gate(self.num_classes, self.seed),
            self.gate_learning_rate,
            self.gate_momentum,
            self.gate_weight_decay,
            self.dtype,
        )
        self.gate = self._sgd.variables
        self.norm_mean = variable_of(np.array(_FIRST_MEAN, self.dtype), "norm_mean")
        self.norm_std = variable_of(np.array(_FIRST_STD, self.dtype), "norm_std")
        self._watch(Feeding(type(self).__name__, self.not_fed))

    def learn(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        """The loss of a batch that is trained with; in a training loop of your own.

        The running statistics take in the batch first, and the gate takes its step after. A loss
        inside a `PenaltyLoss` learns in `fit` alone.

        Parameters
        ----------
        y_true, y_pred, sample_weight : array_like
            As the loss takes them.

        Returns
        -------
        tf.Tensor
            What a call gives, of which to take the network's gradient.

        Examples
        --------
        >>> import lsplus_tf as lsp
        >>> loss = lsp.losses.FedLASLoss(num_classes=2, momentum=1.0, from_logits=True)
        >>> outputs = lsp.losses.with_features([[2.0, 0.0], [0.0, 1.0]], [[3.0, 1.0], [-6.0, 2.0]])
        >>> value = loss.learn([0, 1], outputs)
        >>> loss.norm_mean.numpy().item()  # of 4 and 8
        6.0
        """
        with step([_OwnLoop(self)], training=True):
            return self(y_true, y_pred, sample_weight)

    def sample_losses(self, batch: Batch) -> tf.Tensor:
        trains, norms = learns(self), self._norms(batch)
        mean, std = (tf.convert_to_tensor(each) for each in (self.norm_mean, self.norm_std))
        if trains:
            mean, std = self._renewed(batch, norms, mean, std)
        gated = self._gated(batch, (norms - mean) / (std + _NEVER_ZERO))
        cross_entropy, pull = batch.cross_entropy, self._pull(batch)
        losses = (1.0 - gated.strength) * cross_entropy + gated.strength * pull
        if trains:
            self._train_gate(batch, gated, tf.stop_gradient(pull - cross_entropy))
            self._feeding.renewed = True
            self.warn_of_lost_state()
            return losses
        return self.noticing_training(losses)

    def _norms(self, batch: Batch) -> tf.Tensor:
        """The sums of the features' absolute values, (...)."""
        if not batch.from_logits:
            raise InputError(
                f"{self.name}: expected logits, of which a gate decides, received probabilities; "
                "make the loss with from_logits=True and the model without a softmax"
            )
        self.check_num_classes(batch.num_classes)
        if batch.features is None:
            raise InputError(
                f"{self.name}: expected outputs that carry the features, received "
                "outputs without; make lsplus_tf.backbones.CarryFeatures()([logits, features]) the "
                "model's last layer, or give the loss lsplus_tf.losses.with_features(outputs, "
                "features). A tf.function around the model loses them, and so does a softmax of "
                "another dtype behind the layer: put CarryFeatures()([softmax, features]) behind it"
            )
        return tf.reduce_sum(tf.abs(batch.features), axis=-1)

    def _pull(self, batch: Batch) -> tf.Tensor:
        """What r weighs, (...)."""
        if self.margin is None:
            return -tf.reduce_mean(batch.log_probabilities, axis=-1)
        return beyond_margin(batch, self.margin)

    def _renewed(
        self, batch: Batch, norms: tf.Tensor, mean: tf.Tensor, std: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The running statistics with this batch; those that it cannot tell stay."""
        present = tf.ones_like(norms, tf.bool) if batch.counted is None else batch.counted
        if batch.weights is not None:
            present &= batch.weights != 0.0

        def summed(values: tf.Tensor) -> tf.Tensor:
            return sum_over_replicas(tf.reduce_sum(tf.where(present, values, 0.0)))

        count = summed(tf.ones_like(norms))
        of_batch = tf.math.divide_no_nan(summed(norms), count)
        spread = tf.sqrt(tf.math.divide_no_nan(summed((norms - of_batch) ** 2), count - 1.0))
        renewed = (
            self._moved(mean, of_batch, known=count > 0.0),
            self._moved(std, spread, known=count > 1.0),
        )
        if replicas() == 1:
            self.norm_mean.assign(renewed[0])
            self.norm_std.assign(renewed[1])
            return renewed

        def once(strategy: tf.distribute.Strategy, *values: Any) -> None:
            for variable, each in zip((self.norm_mean, self.norm_std), values, strict=True):
                variable.assign(strategy.experimental_local_results(each)[0])

        # All devices meet here, when all have read what there was.
        tf.distribute.get_replica_context().merge_call(once, args=renewed)
        return renewed

    def _moved(self, before: tf.Tensor, of_batch: tf.Tensor, *, known: tf.Tensor) -> tf.Tensor:
        moved = self.momentum * of_batch + (1.0 - self.momentum) * before
        # What is not finite once would be so for ever.
        return tf.where(known & tf.math.is_finite(moved), moved, before)

    def _gated(self, batch: Batch, centred: tf.Tensor) -> _Gated:
        """r of norms that are `centred`, (...), and in float64 what the gate's gradient needs."""
        hidden_bias, output_bias = (
            tf.cast(self.gate[name], tf.float64) for name in ("hidden_bias", "output_bias")
        )
        logits = tf.cast(tf.stop_gradient(batch.values), tf.float64)
        before = matrix_product(logits, self.gate["hidden_kernel"]) + hidden_bias
        hidden = tf.nn.leaky_relu(before, _LEAK)
        outputs = matrix_product(hidden, self.gate["output_kernel"]) + output_bias
        # The difference of two softmax outputs.
        difference = tf.tanh((outputs[..., 1] - outputs[..., 0]) / 2.0)
        steep = self.slope * tf.cast(centred, tf.float64)
        # A sign or a slope of 0 counts, however far off the norm is.
        share = tf.sigmoid(tf.math.multiply_no_nan(steep, tf.sign(difference)))
        slope = tf.math.multiply_no_nan(steep, share * (1.0 - share))
        return _Gated(
            before,
            hidden,
            difference,
            tf.stop_gradient(2.0 * self.smoothing * slope),
            tf.cast(tf.stop_gradient(2.0 * self.smoothing * share), self.dtype),
        )

    def _train_gate(self, batch: Batch, gated: _Gated, by_strength: tf.Tensor) -> None:
        """A step of SGD, where `by_strength` (...) is the gradient of the losses by r."""
        difference = gated.difference
        by_losses = tf.cast(by_strength * batch.shares, tf.float64)
        by_second = by_losses * gated.slope * (1.0 - difference**2) / 2.0
        by_second = tf.reshape(by_second, [-1, 1])
        by_outputs = tf.concat([-by_second, by_second], axis=-1)
        width = gated.hidden.shape[-1]
        hidden, before = (
            tf.reshape(each, [-1, width]) for each in (gated.hidden, gated.before_leak)
        )
        by_hidden = matrix_product(by_outputs, tf.transpose(self.gate["output_kernel"]))
        by_hidden *= tf.where(before > 0.0, tf.ones_like(before), _LEAK)
        logits = tf.cast(tf.reshape(batch.values, [-1, self.num_classes]), tf.float64)
        gradients = {
            "hidden_kernel": matrix_product(tf.transpose(logits), by_hidden),
            "hidden_bias": tf.reduce_sum(by_hidden, axis=0),
            "output_kernel": matrix_product(tf.transpose(hidden), by_outputs),
            "output_bias": tf.reduce_sum(by_outputs, axis=0),
        }
        gradients = {n: tf.cast(tf.stop_gradient(g), self.dtype) for n, g in gradients.items()}
        # In mixed_float16 a batch may overflow whose step the network's optimizer passes over.
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients.values()])
        self._sgd.step({name: tf.where(finite, g, 0.0) for name, g in gradients.items()})

    def _state(self) -> dict[str, tf.Variable]:
        gate = {f"gate_{name}": variable for name, variable in self._sgd.state().items()}
        return {"norm_mean": self.norm_mean, "norm_std": self.norm_std, **gate}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "smoothing": self.smoothing,
            "slope": self.slope,
            "momentum": self.momentum,
            "margin": self.margin,
            "gate_learning_rate": self.gate_learning_rate,
            "gate_momentum": self.gate_momentum,
            "gate_weight_decay": self.gate_weight_decay,
            "seed": self.seed,
        }


class _OwnLoop:
    """The observer of a loss in a loop of one's own."""

    def __init__(self, loss: FedLASLoss) -> None:
        self._loss = loss

    def follows(self, loss: ClassificationLoss) -> bool:
        return loss is self._loss

    def see(self, loss: ClassificationLoss, batch: Batch, *, training: bool) -> None:
        """The loss learns when it is computed."""


def _first_gate(num_classes: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Uniform within 1 / sqrt(inputs), as PyTorch's linear layers begin."""
    rng, width = np.random.default_rng(seed), num_classes // 2

    def drawn(inputs: int, *shape: int) -> NDArray[np.float64]:
        return rng.uniform(-1.0, 1.0, shape) / np.sqrt(inputs)

    return {
        "hidden_kernel": drawn(num_classes, num_classes, width),
        "hidden_bias": drawn(num_classes, width),
        "output_kernel": drawn(width, width, 2),
        "output_bias": drawn(width, 2),
    }
