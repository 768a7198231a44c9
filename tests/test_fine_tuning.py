"""Frozen weights, the two stages of fine-tuning, and that a training goes on from any epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_resume import dataset

from lsplus_tf import callbacks, losses
from lsplus_tf.backbones import build_classifier
from lsplus_tf.config import Protocol, load_config, parse_config
from lsplus_tf.datasets import ImageDataset
from lsplus_tf.errors import InputError
from lsplus_tf.training import run_folder
from lsplus_tf.training.fine_tuning import FrozenEpochs, freeze
from lsplus_tf.training.optimizers import build_optimizer
from lsplus_tf.training.resume import Progress
from lsplus_tf.training.train import Training

__all__ = ["dataset"]  # the fixture

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 255, (24, 8, 8, 1)).astype("float32")
LABELS = np.arange(24) % 3
OPTIMIZERS = (
    {"name": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
    {"name": "adam", "learning_rate": 0.01, "weight_decay": 0.1, "decoupled": False},
    {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.1},
)


pytestmark = pytest.mark.usefixtures("float32_afterwards")


def protocol(**options: Any) -> Protocol:
    return Protocol.model_validate({"epochs": 4, "batch_size": 8, **options})


def residual_cnn() -> keras.Model:
    return build_classifier("small_residual_cnn", (8, 8, 1), num_classes=3, width=0.1, head=(4,))


def tiny() -> keras.Model:
    """The parts of such a network in a few layers, whose steps are traced in a moment."""
    layers = keras.layers
    inputs, images = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    x = layers.Flatten()(layers.Rescaling(1 / 255)(images))
    x = layers.BatchNormalization(name="stage1_bn")(
        layers.Dense(6, use_bias=False, name="stage1_dense")(x)
    )
    backbone = keras.Model(images, layers.ReLU()(x), name="backbone")
    x = layers.Dense(4, "relu", name="head_1")(backbone(inputs))
    return keras.Model(inputs, layers.Dense(3, name="logits", dtype="float32")(x))


def compiled(
    settings: Protocol,
    loss: keras.losses.Loss | None = None,
    *,
    network: Callable[[], keras.Model] = tiny,
) -> keras.Model:
    """A network like every other of these settings, as `Training` compiles it."""
    keras.utils.set_random_seed(1)
    model = network()
    freeze(model, settings.fine_tuning.freeze)
    model.compile(
        build_optimizer(settings, steps_per_epoch=3),
        loss or losses.HardLabelLoss(from_logits=True),
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model: keras.Model, used: list[keras.callbacks.Callback], begin: int, end: int) -> None:
    options: dict[str, Any] = {"initial_epoch": begin, "epochs": end, "callbacks": used}
    model.fit(IMAGES, LABELS, batch_size=8, shuffle=False, verbose=0, **options)


def arrays(variables: list[Any]) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in variables}


def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {name for name in before if not np.array_equal(before[name], after[name])}


class EpochArrays(keras.callbacks.Callback):
    """The model's weights before training and after every epoch, and each epoch's learning rate."""

    def on_train_begin(self, logs=None):
        self.weights, self.learning_rates = [arrays(self.model.weights)], []

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self.learning_rates.append(float(self.model.optimizer.learning_rate))

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(arrays(self.model.weights))


# --- frozen ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_frozen_backbone_keeps_every_bit_and_its_statistics(optimizer):
    model = compiled(protocol(optimizer=optimizer, fine_tuning={"freeze": "backbone"}))
    before = arrays(model.weights)
    fit(model, [], 0, 2)
    assert moved(before, arrays(model.weights)) == {
        f"{layer}/{weight}" for layer in ("head_1", "logits") for weight in ("kernel", "bias")
    }


def test_frozen_batch_normalizations_keep_every_bit_and_all_else_moves():
    model = compiled(protocol(fine_tuning={"freeze": "batch_norm"}), network=residual_cnn)
    before = arrays(model.weights)
    fit(model, [], 0, 1)
    kept = set(before) - moved(before, arrays(model.weights))
    assert kept == {name for name in before if "_bn/" in name}
    assert len(kept) == 4 * 9


def test_frozen_batch_normalizations_use_their_statistics_in_training():
    """The first batch's loss is that of the same weights in inference."""
    model = compiled(protocol(fine_tuning={"freeze": "batch_norm"}))
    expected = model.evaluate(IMAGES[:8], LABELS[:8], verbose=0)
    np.testing.assert_allclose(model.train_on_batch(IMAGES[:8], LABELS[:8]), expected, rtol=1e-5)
    free = compiled(protocol())
    assert abs(free.train_on_batch(IMAGES[:8], LABELS[:8]) - expected) > 1e-3


# --- two stages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("after", ["none", "batch_norm"])
def test_the_head_alone_and_then_the_backbone_as_well(after):
    settings = protocol(
        fine_tuning={"frozen_epochs": 2, "learning_rate": 0.004, "freeze": after},
        schedule={"epochs": [1, 3], "factor": 0.5},
    )
    model, seen = compiled(settings), EpochArrays()
    fit(model, [FrozenEpochs(settings), seen], 0, 4)
    for epoch in (0, 1):
        changes = moved(seen.weights[epoch], seen.weights[epoch + 1])
        assert changes == {"head_1/kernel", "head_1/bias", "logits/kernel", "logits/bias"}
    for epoch in (2, 3):
        changes = moved(seen.weights[epoch], seen.weights[epoch + 1])
        kept = {name for name in seen.weights[0] if after == "batch_norm" and "_bn/" in name}
        assert changes == set(seen.weights[0]) - kept
    np.testing.assert_allclose(seen.learning_rates, [0.001, 0.0005, 0.002, 0.001], rtol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_second_stage_is_that_of_a_model_compiled_again(optimizer):
    settings = protocol(
        optimizer=optimizer, fine_tuning={"frozen_epochs": 1, "learning_rate": 0.002}
    )
    model, seen = compiled(settings), EpochArrays()
    fit(model, [FrozenEpochs(settings), seen], 0, 3)
    again = compiled(protocol(optimizer={**optimizer, "learning_rate": 0.002}))
    for variable in again.weights:
        variable.assign(seen.weights[1][variable.path])
    fit(again, [], 0, 2)
    assert not moved(arrays(model.weights), arrays(again.weights))


def test_without_a_new_start_adams_first_step_would_depend_on_the_first_stage():
    """Adam's first step is the learning rate, if it counts its steps with those of the moments."""

    class Kept(FrozenEpochs):
        def on_epoch_end(self, epoch, logs=None):
            pass

    def largest_step(callback: type[FrozenEpochs]) -> float:
        settings = protocol(
            optimizer={"name": "adam", "learning_rate": 0.001}, fine_tuning={"frozen_epochs": 2}
        )
        model, kernels = compiled(settings), []
        kernel = model.get_layer("backbone").get_layer("stage1_dense").kernel
        note = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: kernels.append(kernel.numpy())
        )
        fit(model, [callback(settings), note], 0, 3)
        return float(np.abs(kernels[6] - kernels[5]).max())

    assert largest_step(FrozenEpochs) == pytest.approx(0.001, rel=1e-3)
    # Moments of one step, corrected as if of seven. After thousands of steps it would be 3.2 times.
    too_late = (0.1 / (1 - 0.9**7)) / np.sqrt(0.001 / (1 - 0.999**7))
    assert largest_step(Kept) == pytest.approx(0.001 * too_late, rel=1e-3)


def test_soft_labels_go_through_both_stages():
    settings = protocol(fine_tuning={"frozen_epochs": 2})
    model = compiled(settings, losses.OnlineLabelSmoothingLoss(3, from_logits=True))
    smoothing = callbacks.OnlineLabelSmoothing()
    fit(model, [FrozenEpochs(settings), smoothing], 0, 4)
    assert len(smoothing.history) == 4
    for epoch in range(1, 4):
        assert not np.array_equal(smoothing.history[epoch - 1], smoothing.history[epoch])


def test_a_training_goes_on_from_any_epoch():
    settings = protocol(fine_tuning={"frozen_epochs": 2, "learning_rate": 0.002})

    def state(model: keras.Model) -> list[np.ndarray]:
        return [variable.numpy() for variable in (*model.weights, *model.optimizer.variables)]

    whole, states = compiled(settings), []
    save = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: states.append(state(whole))
    )
    fit(whole, [FrozenEpochs(settings), save], 0, 4)
    for stop in (1, 2, 3):
        model = compiled(settings)
        variables = (*model.weights, *model.optimizer.variables)
        for variable, value in zip(variables, states[stop - 1], strict=True):
            variable.assign(value)
        fit(model, [FrozenEpochs(settings, stop)], stop, 4)
        for ours, theirs in zip(state(model), states[-1], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_loss_scale_of_mixed_precision_survives_the_new_start():
    keras.config.set_dtype_policy("mixed_float16")
    settings = protocol(fine_tuning={"frozen_epochs": 1})
    model = compiled(settings)
    scale = float(model.optimizer.dynamic_scale)
    fit(model, [FrozenEpochs(settings)], 0, 1)
    assert float(model.optimizer.dynamic_scale) == scale > 1
    inner = model.optimizer.inner_optimizer
    assert all(not np.any(variable.numpy()) for variable in inner.variables)
    fit(model, [FrozenEpochs(settings, 1)], 1, 2)
    assert float(inner.learning_rate) == pytest.approx(0.001)
    assert int(inner.iterations) > 0


# --- by config ------------------------------------------------------------------------------------


def experiment(weights: str | None, fine_tuning: dict[str, Any]) -> Any:
    values = {
        "name": "fine_tuned",
        "dataset": {"name": "digits"},
        "backbone": {"name": "small_residual_cnn", "width": 0.1, "weights": weights},
        "protocol": {
            "epochs": 2,
            "batch_size": 256,
            "checkpoint": "last",
            "fine_tuning": fine_tuning,
        },
        "methods": {"hard_labels": {"loss": "hard_labels"}},
        "seeds": [0],
    }
    return parse_config(values, "test")


@pytest.mark.parametrize(
    ("fine_tuning", "message"),
    [
        ({"frozen_epochs": 2}, "frozen_epochs: expected fewer than epochs, 2, received 2"),
        ({"frozen_epochs": 1, "freeze": "backbone"}, "frozen_epochs: expected 0 where freeze is b"),
        ({"learning_rate": 0.1}, "learning_rate: set frozen_epochs"),
        ({"freeze": "all"}, "freeze: expected 'none', 'batch_norm' or 'backbone'"),
    ],
)
def test_what_does_not_fit_together(fine_tuning, message):
    with pytest.raises(InputError, match=message):
        experiment("weights.weights.h5", fine_tuning)


def test_random_weights_are_not_frozen():
    with pytest.raises(InputError, match=r"fine_tuning: frozen weights would be random; set back"):
        experiment(None, {"frozen_epochs": 1})


@pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eager")
@pytest.mark.parametrize("fine_tuning", [{"freeze": "backbone"}, {"frozen_epochs": 1}])
def test_a_run_is_fine_tuned_as_its_config_says(tmp_path, dataset: ImageDataset, fine_tuning):
    """The second stage in a graph, which is traced anew for it."""
    source = build_classifier("small_residual_cnn", (8, 8, 3), num_classes=2, width=0.1)
    source.get_layer("backbone").save_weights(tmp_path / "backbone.weights.h5")
    settings = experiment(str(tmp_path / "backbone.weights.h5"), fine_tuning)
    tf.config.run_functions_eagerly("freeze" in fine_tuning)
    try:
        Training(tmp_path / "run", settings, "hard_labels", 0, dataset).run()
    finally:
        tf.config.run_functions_eagerly(False)
    trained = keras.models.load_model(tmp_path / "run" / run_folder.MODEL, compile=False)
    same = [
        np.array_equal(*pair)
        for pair in zip(
            trained.get_layer("backbone").get_weights(),
            source.get_layer("backbone").get_weights(),
            strict=True,
        )
    ]
    assert all(same) if "freeze" in fine_tuning else not any(same)


def test_patience_begins_when_the_backbone_is_trained():
    settings = protocol(epochs=9, early_stopping=2, fine_tuning={"frozen_epochs": 4})

    def is_over(accuracies: list[float]) -> bool:
        history = [{"val_accuracy": accuracy} for accuracy in accuracies]
        return Progress(history).is_over(settings)

    assert not is_over([0.5, 0.1, 0.1, 0.1])
    assert not is_over([0.5, 0.1, 0.1, 0.1, 0.1])
    assert is_over([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert not is_over([0.5, 0.1, 0.1, 0.1, 0.6, 0.1])
    assert is_over([0.5, 0.1, 0.1, 0.1, 0.6, 0.1, 0.1])


@pytest.mark.parametrize("name", ["chest_xray_3", "brain_tumor_mri"])
def test_configs_of_pretrained_networks(name, request):
    settings = load_config(request.config.rootpath / "configs" / f"{name}.yaml")
    assert settings.backbone.weights == "imagenet"
    assert settings.backbone.scaling == "symmetric"  # what MobileNetV2's weights expect
