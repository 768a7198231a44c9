"""What a loss trains of its own beside the network: small variables, and PyTorch's SGD for them.

Keras's optimizer holds the network's variables alone. So a callback shows the loss the batches of
the training steps, and the loss takes a step of its own with each, after it was computed with the
values before: as in PyTorch, where the loss comes first, then its gradient, then the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lsplus_tf.errors import InputError, check_fraction, check_number
from lsplus_tf.losses.base import replicas, sum_over_replicas
from lsplus_tf.losses.scheduled import variable_of


class CompanionSGD:
    """SGD for variables that a loss holds, with PyTorch's momentum and coupled weight decay.

    g += weight_decay * w; v = momentum * v + g; w -= rate * v, where v begins at 0. In eager mode,
    traced, compiled by XLA, and on several devices, on which the variables stay alike.

    Parameters
    ----------
    values : dict of str to ndarray
        The first values, by names.
    learning_rate : float, optional
        The rate, >= 0; None is what every step is given, that of the network's optimizer.
    momentum, weight_decay : float
        In [0, 1]; >= 0.
    dtype : str
        Of the variables.

    Attributes
    ----------
    variables, velocities : dict of str to tf.Variable
        w and v, by the names of `values`.
    """

    def __init__(
        self,
        values: dict[str, NDArray[Any]],
        learning_rate: float | None,
        momentum: float,
        weight_decay: float,
        dtype: str,
    ) -> None:
        if learning_rate is not None:
            learning_rate = check_number("learning_rate", learning_rate)
        self.learning_rate = learning_rate
        self.momentum = check_fraction("momentum", momentum)
        self.weight_decay = check_number("weight_decay", weight_decay)
        self.variables = {
            name: variable_of(np.asarray(value, dtype), name) for name, value in values.items()
        }
        self.velocities = {
            name: variable_of(np.zeros(np.shape(value), dtype), f"{name}_velocity")
            for name, value in values.items()
        }

    def step(self, gradients: dict[str, tf.Tensor], learning_rate: Any = None) -> None:
        """Take a step.

        Parameters
        ----------
        gradients : dict of str to tf.Tensor
            This device's part of each variable's gradient: the parts of all devices are summed.
        learning_rate : float or tf.Tensor, optional
            The network's; needed where there is no rate of one's own.
        """
        rate = learning_rate if self.learning_rate is None else self.learning_rate
        if rate is None:
            raise InputError(
                "learning_rate: expected the rate of the network's optimizer, which "
                "learning_rate=None stands for, received None"
            )
        names = list(gradients)
        summed: Sequence[tf.Tensor] = [sum_over_replicas(gradients[name]) for name in names]
        if replicas() == 1:
            self._step(dict(zip(names, summed, strict=True)), rate)
            return

        def once(strategy: tf.distribute.Strategy, rate: Any, *summed: Any) -> None:
            first = [strategy.experimental_local_results(each)[0] for each in (rate, *summed)]
            self._step(dict(zip(names, first[1:], strict=True)), first[0])

        # All devices meet here, and one step is taken, of variables of no strategy too.
        rate = tf.convert_to_tensor(rate)
        tf.distribute.get_replica_context().merge_call(once, args=(rate, *summed))

    def _step(self, gradients: dict[str, tf.Tensor], rate: Any) -> None:
        for name, gradient in gradients.items():
            variable, velocity = self.variables[name], self.velocities[name]
            value, moving = tf.convert_to_tensor(variable), tf.convert_to_tensor(velocity)
            moving = self.momentum * moving + gradient + self.weight_decay * value
            velocity.assign(moving)
            variable.assign(value - tf.cast(rate, value.dtype) * moving)

    def state(self) -> dict[str, tf.Variable]:
        """What has to be saved, by names."""
        velocities = {f"{name}_velocity": v for name, v in self.velocities.items()}
        return {**self.variables, **velocities}


def rate_of(optimizer: Any) -> Any:
    """The learning rate of a Keras optimizer in the step that is running or traced; None if none.

    Of a schedule that of the step. What the optimizer scales losses by plays no part.
    """
    rate = getattr(optimizer, "learning_rate", None)
    return None if rate is None else tf.convert_to_tensor(rate)
