"""Training on several devices: with the results of one, but for rounding.

A batch is split among the devices. Every device's loss counts by its samples, so that an uneven
split weighs none differently; BatchNormalization takes the statistics of the whole batch; sums over
the batch and over the epoch are over all devices. What the network itself draws at random, such as
Dropout, differs.

A device must not be without samples: on CPUs with oneDNN a convolution of none has the channels of
its input (TensorFlow 2.21), and BatchNormalization then sums what does not belong together.

`keras.Model.fit` does not train on several hosts (keras issue 20585), and ends in an error on
several devices where the first batch cannot be split evenly, which a training that goes on with the
last batch of an epoch meets. So the loop is here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from lsplus_tf.backbones.weights import leaf_layers
from lsplus_tf.config import Protocol
from lsplus_tf.errors import InputError
from lsplus_tf.losses.base import sum_over_replicas
from lsplus_tf.training.several_hosts import connected, hosts

# Takes `part` and `parts`: a host has one of equal slices of every batch.
Batches = Callable[..., tf.data.Dataset]


def strategy_for(protocol: Protocol, samples: int) -> tf.distribute.Strategy:
    """What trains on the devices of this host, or of all hosts; TensorFlow's default on one device.

    Parameters
    ----------
    protocol : Protocol
        The devices, and what has to go with them.
    samples : int
        Training images.

    Raises
    ------
    InputError
        Fewer devices than `protocol.devices`, or settings that do not go with several.
    """
    if hosts().count > 1:
        if protocol.devices is not None:
            raise InputError(
                "protocol.devices: expected null under TF_CONFIG, where every host trains on all "
                f"GPUs that CUDA_VISIBLE_DEVICES leaves it, received {protocol.devices}"
            )
        strategy = connected()
    else:
        gpus = tf.config.list_logical_devices("GPU")
        visible = gpus or tf.config.list_logical_devices("CPU")
        count = protocol.devices or len(gpus) or 1
        if count > len(visible):
            kind = "GPUs" if gpus else "CPU devices, since there is no GPU"
            raise InputError(
                f"protocol.devices: expected at most {len(visible)} ({kind}), received {count}"
            )
        if count == 1:
            return tf.distribute.get_strategy()
        strategy = _mirrored(tuple(device.name for device in visible[:count]))
    replicas = strategy.num_replicas_in_sync
    refused = {
        "jit_compile": protocol.jit_compile is True,
        "steps_per_execution": protocol.steps_per_execution > 1,
    }
    for key, is_set in refused.items():
        if is_set:
            raise InputError(
                f"protocol.{key}: only on one device, expected the default on {replicas}, received "
                f"{getattr(protocol, key)}; protocol.devices: 1 trains on one"
            )
    last = _last_batch(samples, protocol.batch_size)
    if last < replicas:
        raise InputError(
            f"protocol.batch_size: expected batches of at least {replicas} images, one for each "
            f"device, received {protocol.batch_size}, with which the last batch of {samples} "
            f"training images has {last}"
        )
    return strategy


def _last_batch(samples: int, batch_size: int) -> int:
    return samples % batch_size or batch_size


_made: dict[tuple[str, ...], tf.distribute.Strategy] = {}


def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    if devices not in _made:
        if _made:  # TensorFlow would name both groups of devices alike
            raise InputError(
                "protocol.devices: expected as many as this process has trained on before, "
                f"received {len(devices)}; begin another process"
            )
        _made[devices] = tf.distribute.MirroredStrategy(list(devices))
    return _made[devices]


def replicated(model: keras.Model, strategy: tf.distribute.Strategy) -> keras.Model:
    """A copy of a model that is not compiled, with its weights on all devices."""
    with strategy.scope():
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
    for layer in leaf_layers(copy):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    return copy


def evaluation_batch_size(samples: int, batch_size: int, devices: int) -> int:
    """The largest size up to `batch_size` with which every batch has a sample for each device.

    Raises
    ------
    InputError
        There is none.
    """
    for size in range(batch_size, devices - 1, -1):
        if _last_batch(samples, size) >= devices:
            return size
    raise InputError(
        f"protocol.devices: expected no more than the images of the validation, {samples}, "
        f"received {devices}"
    )


def fit(
    model: keras.Model,
    training: Batches,
    validation: Batches,
    callbacks: list[keras.callbacks.Callback],
    *,
    initial_epoch: int,
    epochs: int,
    steps_per_epoch: int,
    validation_steps: int,
) -> None:
    """Train as `keras.Model.fit` does, on the devices of the model's strategy.

    Callbacks are called as there, but for those of single steps of the validation.

    Parameters
    ----------
    model : keras.Model
        Compiled, with an optimizer that is built, within the strategy's scope.
    training, validation : callable
        Batches of the hosts' parts, begun anew when they end.
    callbacks : list of keras.callbacks.Callback
        As in `fit`.
    initial_epoch, epochs, steps_per_epoch, validation_steps : int
        As in `fit`.
    """
    strategy = model.distribute_strategy
    # Callbacks wrap the steps, and have these made anew where a step changes.
    model.train_step = functools.partial(_train_step, model)
    model.test_step = functools.partial(_test_step, model)
    model.make_train_function = functools.partial(_make_train_function, model)
    model.make_test_function = functools.partial(_make_test_function, model)
    listed = keras.callbacks.CallbackList(
        callbacks,
        add_history=True,
        model=model,
        epochs=epochs,
        steps=steps_per_epoch,
        verbose=0,
    )
    model.stop_training = False
    model.make_train_function()
    listed.on_train_begin()
    logs: dict[str, Any] = {}
    if initial_epoch < epochs:
        batches = iter(_distributed(strategy, training))
        held_out = _distributed(strategy, validation)
    for epoch in range(initial_epoch, epochs):
        model.reset_metrics()
        listed.on_epoch_begin(epoch)
        for step in range(steps_per_epoch):
            listed.on_train_batch_begin(step)
            listed.on_train_batch_end(step, model.train_function(batches))
            if model.stop_training:
                break
        logs = dict(model.get_metrics_result())

        listed.on_test_begin()
        model.reset_metrics()
        model.make_test_function()
        validating = iter(held_out)
        for _ in range(validation_steps):
            model.test_function(validating)
        validated = dict(model.get_metrics_result())
        listed.on_test_end(validated)

        logs |= {f"val_{name}": value for name, value in validated.items()}
        listed.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    listed.on_train_end(logs)


def _distributed(strategy: tf.distribute.Strategy, batches: Batches) -> Any:
    """The parts of this host's devices, without end."""

    def of_this_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        host, count = context.input_pipeline_id, context.num_input_pipelines
        devices = context.num_replicas_in_sync // count

        def of_each_device(*whole: tf.Tensor) -> tf.data.Dataset:
            samples = tf.shape(whole[0], tf.int64)[0]

            def of_a_device(device: tf.Tensor) -> tuple[tf.Tensor, ...]:
                first, end = (samples * place // devices for place in (device, device + 1))
                return tuple(x[first:end] for x in whole)

            return tf.data.Dataset.range(devices).map(of_a_device)

        mine = batches(part=host, parts=count)
        return (mine if devices == 1 else mine.flat_map(of_each_device)).repeat()

    return strategy.distribute_datasets_from_function(of_this_host)


def _train_step(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        # Keras divides it by the number of devices.
        loss = model.compute_loss(images, labels, outputs, None, training=True)
        count = tf.cast(tf.shape(images)[0], loss.dtype)
        devices = model.distribute_strategy.num_replicas_in_sync
        share = count * devices / sum_over_replicas(count)
        scaled = model.optimizer.scale_loss(share * loss)
    weights = model.trainable_weights
    model.optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
    _measure(model, images, labels, outputs, loss)
    return sum_over_replicas(share * loss)


def _test_step(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> None:
    outputs = model(images, training=False)
    loss = model.compute_loss(images, labels, outputs, None, training=False)
    _measure(model, images, labels, outputs, loss)


def _make_train_function(model: keras.Model, force: bool = False) -> None:
    if model.train_function is not None and not force:
        return
    strategy = model.distribute_strategy

    @tf.function(reduce_retracing=True)
    def train_function(iterator: Any) -> dict[str, tf.Tensor]:
        losses = strategy.run(model.train_step, args=iterator.get_next())
        return {"loss": strategy.experimental_local_results(losses)[0]}

    model.train_function = train_function


def _make_test_function(model: keras.Model, force: bool = False) -> None:
    if model.test_function is not None and not force:
        return
    strategy = model.distribute_strategy

    @tf.function(reduce_retracing=True)
    def test_function(iterator: Any) -> None:
        strategy.run(model.test_step, args=iterator.get_next())

    model.test_function = test_function


def _measure(
    model: keras.Model, images: tf.Tensor, labels: tf.Tensor, outputs: tf.Tensor, loss: tf.Tensor
) -> None:
    """Update the model's metrics, of which the first is the loss."""
    mean = loss * model.distribute_strategy.num_replicas_in_sync
    model.metrics[0].update_state(mean, sample_weight=tf.shape(images)[0])
    model.compute_metrics(images, labels, outputs, None)
