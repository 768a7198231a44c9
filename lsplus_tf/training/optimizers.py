"""From a config to a Keras optimizer, with decoupled or coupled weight decay."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from lsplus_tf.config import SGD, Adam, Protocol
from lsplus_tf.losses.base import sum_over_replicas


class _CoupledWeightDecay:
    """Adds `coupled_weight_decay` times the variable to the gradient (an L2 penalty).

    Keras decays decoupled from the gradient. The papers' SGD is PyTorch's, where the decay of every
    variable is part of the gradient and so passes through momentum.
    """

    def __init__(self, *args: Any, coupled_weight_decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.coupled_weight_decay = coupled_weight_decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        decay = keras.ops.cast(self.coupled_weight_decay, gradient.dtype) * variable
        super().update_step(gradient + decay, variable, learning_rate)  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        base = super().get_config()  # type: ignore[misc]
        return {**base, "coupled_weight_decay": self.coupled_weight_decay}


@keras.saving.register_keras_serializable(package="lsplus_tf")
class CoupledSGD(_CoupledWeightDecay, keras.optimizers.SGD):
    """SGD whose weight decay is part of the gradient."""


@keras.saving.register_keras_serializable(package="lsplus_tf")
class CoupledAdam(_CoupledWeightDecay, keras.optimizers.Adam):
    """Adam whose weight decay is part of the gradient."""


@keras.saving.register_keras_serializable(package="lsplus_tf")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Loss scaling that passes over a step in which any device has a gradient that is not finite.

    Keras's looks at the first device's gradients, before they are summed: those of another reach
    the weights.
    """

    def check_finite(self, grads: Any) -> Any:
        finite = super().check_finite(grads)
        return sum_over_replicas(tf.cast(~finite, tf.float32)) == 0.0


def build_optimizer(protocol: Protocol, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer of a protocol, with its step schedule counted in epochs."""
    settings = protocol.optimizer
    options: dict[str, Any] = {"learning_rate": _learning_rate(protocol, steps_per_epoch)}
    if isinstance(settings, SGD):
        options |= {"momentum": settings.momentum, "nesterov": settings.nesterov}
    classes = {Adam: (keras.optimizers.Adam, CoupledAdam), SGD: (keras.optimizers.SGD, CoupledSGD)}
    plain, coupled = classes[type(settings)]
    if settings.weight_decay == 0:
        return plain(**options)
    if settings.decoupled:
        return plain(weight_decay=settings.weight_decay, **options)
    return coupled(coupled_weight_decay=settings.weight_decay, **options)


def _learning_rate(
    protocol: Protocol, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    start = protocol.optimizer.learning_rate
    schedule = protocol.schedule
    if schedule is None or not schedule.epochs or protocol.fine_tuning.frozen_epochs:
        return start  # with frozen epochs `FrozenEpochs` sets it for each epoch
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        # The old value holds up to and including its boundary: the last step of the epoch before.
        boundaries=[epoch * steps_per_epoch - 1 for epoch in schedule.epochs],
        values=[start * schedule.factor**i for i in range(len(schedule.epochs) + 1)],
    )
