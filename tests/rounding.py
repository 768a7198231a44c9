"""How trainings are compared whose sums are taken in different orders, as on one device and on two.

In float32 their ends cannot be: what rounding makes of a step, and the training of that, is another
thing on every processor. So a network in float64 is trained, with its loss. Of one in float32 the
gradient of one step is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lsplus_tf.backbones import PixelScaling
from lsplus_tf.datasets.base import Split
from lsplus_tf.training import run_folder


def network(dtype: str | None) -> Callable[..., keras.Model]:
    """In place of `build_classifier`; None is the dtype of the policy, but for a float32 head.

    With BatchNormalization, and smooth: a ReLU makes much of a little rounding around 0. Where it
    is in float64, so is what Keras computes beside it, which `keras.config.floatx` decides.
    """

    def build(*, image_shape: tuple[int, ...], num_classes: int, **_: Any) -> keras.Model:
        keras.config.set_floatx(dtype or "float32")
        inputs = keras.Input(image_shape)
        x = PixelScaling("unit", dtype=dtype)(inputs)
        layers = [
            keras.Input(x.shape[1:]),
            keras.layers.Conv2D(4, 3, use_bias=False, dtype=dtype),
            keras.layers.BatchNormalization(dtype=dtype),
            keras.layers.Activation("tanh", dtype=dtype),
            keras.layers.Flatten(dtype=dtype),
        ]
        x = keras.Sequential(layers, name="backbone")(x)
        return keras.Model(inputs, keras.layers.Dense(num_classes, dtype=dtype or "float32")(x))

    return build


def assert_equal_but_for_rounding(ours: Path, theirs: Path, atol: float = 1e-9) -> None:
    """Two runs of a network in float64 that has learnt something."""
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
    np.testing.assert_allclose(
        run_folder.read_history(ours), run_folder.read_history(theirs), rtol=max(1e-8, atol)
    )
    for split in ("validation", "test"):
        a, b = (run_folder.read_predictions(folder, split) for folder in (ours, theirs))
        np.testing.assert_allclose(a.logits, b.logits, rtol=1e-6, atol=1e-6)  # kept in float32
        np.testing.assert_array_equal(a.ids, b.ids)
        assert b.logits.std() > 0.2
    if (theirs / run_folder.SOFT_LABELS).exists():
        soft = [run_folder.read_soft_labels(folder) for folder in (ours, theirs)]
        np.testing.assert_allclose(*soft, rtol=0, atol=atol)
        assert np.abs(soft[0][-1] - soft[0][0]).max() > 0.01
    models = [keras.models.load_model(folder / run_folder.MODEL) for folder in (ours, theirs)]
    for x, y in zip(*map(variables, models), strict=True):
        # But for the optimizer's own name, which counts those of the process.
        assert x.path.split("/")[1:] == y.path.split("/")[1:]
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=0, atol=atol, err_msg=x.path)
    assert models[0].get_config().keys() == models[1].get_config().keys()


def variables(model: keras.Model) -> list[Any]:
    return model.weights + model.optimizer.variables


# Of a training whose only step leaves its gradient as SGD's momentum, of the images as they are.
ONE_STEP = (
    "protocol.epochs=1",
    "protocol.optimizer={name: sgd, learning_rate: 1.0}",
    "protocol.augmentation={shift: 0.0, rotation: 0.0, zoom: 0.0, channel_shift: 0.0}",
)


def assert_exact_step(folder: Path, split: Split) -> None:
    """`ONE_STEP` is as close to the gradient in float64 as float32 on one device is.

    The run is of seed 0, with hard labels, of `network("float32")` and one batch of all images of
    `split`. Keras's own loss gives the others.
    """
    trained = keras.models.load_model(folder / run_folder.MODEL)
    momenta = [-v.numpy() for v in trained.optimizer.variables if "momentum" in v.path]
    shape, num_classes = split.images.shape[1:], trained.output_shape[-1]
    keras.utils.set_random_seed(0)
    initial = network("float32")(image_shape=shape, num_classes=num_classes).get_weights()

    def gradients(dtype: str) -> list[np.ndarray]:
        model = network(dtype)(image_shape=shape, num_classes=num_classes)
        model.set_weights(initial)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)
        with tf.GradientTape() as tape:
            value = loss(split.labels, model(split.images.astype(dtype), training=True))
        found = [g.numpy() for g in tape.gradient(value, model.trainable_weights)]
        assert {g.dtype.name for g in found} == {dtype}
        return found

    exact = gradients("float64")
    several, one = (
        # Of each tensor, relative to its largest entry.
        max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, exact, strict=True))
        for found in (momenta, gradients("float32"))
    )
    assert one < 1e-4, "the test needs a step in which little is lost"
    assert several < 10 * max(one, 1e-6)
