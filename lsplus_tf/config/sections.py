"""The sections of a config, each with what must hold within it.

Their docstrings and descriptions are the configuration reference of the documentation.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lsplus_tf.config.settings import (
    BelowOne,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Settings,
)
from lsplus_tf.errors import MOST, MOST_BATCH, MOST_DEVICES

# Bounds, far above what images of this kind are classified with; a training of so many parameters
# takes 16 GB for them, their gradients and Adam's moments.
MOST_PARAMETERS = 10**9
MOST_WIDTH = 32.0
MOST_UNITS = 2**16
MOST_LAYERS = 16
# Parameters at width 1, those of convolutions grow with its square; and features of an image.
_SIZES = {
    "small_residual_cnn": (300_000, 128),
    "mobilenet_v2": (2_300_000, 1280),
    "resnet34": (21_300_000, 512),
    "resnet34_preact": (21_300_000, 512),
    "resnet50": (23_600_000, 2048),
    "vgg19": (20_000_000, 512),
}


def count_parameters(name: str, width: float, head: Sequence[int]) -> float:
    """About how many parameters a network has, but for its logits, without building it."""
    backbone, features = _SIZES[name]
    layers = [features * width, *head]
    return backbone * width**2 + sum(a * b for a, b in itertools.pairwise(layers))


class Backbone(Settings):
    """The network; see `lsplus_tf.backbones.build_classifier`."""

    name: Literal[
        "small_residual_cnn", "mobilenet_v2", "resnet34", "resnet34_preact", "resnet50", "vgg19"
    ] = Field(default="small_residual_cnn", description="the architecture")
    weights: str | None = Field(
        default=None,
        description="null, 'imagenet', or the path of a .weights.h5, .keras, .h5 or .safetensors "
        "file",
    )
    width: Annotated[float, Field(gt=0, le=MOST_WIDTH, strict=True)] = Field(
        default=1.0, description="multiplier of the channel counts"
    )
    head: tuple[Annotated[int, Field(gt=0, le=MOST_UNITS, strict=True)], ...] = Field(
        default=(),
        max_length=MOST_LAYERS,
        description="units of hidden ReLU layers between pooling and the logits",
    )
    scaling: Literal["unit", "raw", "symmetric", "caffe", "torch"] = Field(
        default="unit",
        description="pixels to [0, 1], 0..255, to [-1, 1], BGR minus the ImageNet mean, or [0, 1] "
        "minus the ImageNet mean over its SD",
    )
    batch_norm_momentum: Fraction | None = Field(
        default=None, description="null keeps the architecture's own"
    )

    @model_validator(mode="after")
    def _only_what_the_network_has(self) -> Backbone:
        if self.width != 1.0 and self.name not in ("small_residual_cnn", "mobilenet_v2"):
            raise ValueError(f"width: {self.name} has one width, expected 1.0")
        count = count_parameters(self.name, self.width, self.head)
        if count > MOST_PARAMETERS:
            raise ValueError(
                f"head: with width {self.width:g} and {list(self.head)} the network has about "
                f"{count:.1e} parameters, expected at most {MOST_PARAMETERS:.0e}"
            )
        if self.weights == "imagenet" and self.name == "small_residual_cnn":
            raise ValueError("weights: small_residual_cnn has no ImageNet weights")
        if self.weights == "imagenet" and self.name == "resnet34":
            raise ValueError(
                "weights: resnet34 takes its ImageNet weights from a .safetensors file with "
                "torchvision's names; 'imagenet' is for resnet34_preact"
            )
        return self


class Augmentation(Settings):
    """Random changes of the training images, new in every epoch. All are off by default."""

    horizontal_flip: bool = Field(default=False, description="with probability 0.5")
    vertical_flip: bool = Field(default=False, description="with probability 0.5")
    rotation: Annotated[float, Field(ge=0, le=180, strict=True)] = Field(
        default=0.0, description="+- degrees"
    )
    zoom: BelowOne = Field(
        default=0.0, description="x and y factors independent in [1 - zoom, 1 + zoom]"
    )
    shift: BelowOne = Field(default=0.0, description="+- fraction of width and height")
    shear: Annotated[float, Field(ge=0, lt=90, strict=True)] = Field(
        default=0.0, description="+- degrees"
    )
    crop: BelowOne = Field(
        default=0.0, description="a random window of side 1 - crop, resized back"
    )
    channel_shift: Annotated[float, Field(ge=0, le=255, strict=True)] = Field(
        default=0.0, description="+- added to each channel, on the 0..255 scale"
    )


class Adam(Settings):
    """Adam; `weight_decay` decoupled (AdamW) or coupled (an L2 gradient)."""

    name: Literal["adam"] = "adam"
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 0.0
    decoupled: bool = True


class SGD(Settings):
    """Stochastic gradient descent with momentum; `weight_decay` decoupled or coupled."""

    name: Literal["sgd"]
    learning_rate: Positive = 0.1
    momentum: BelowOne = 0.9
    nesterov: bool = False
    weight_decay: NotNegative = 0.0
    decoupled: bool = False


class StepSchedule(Settings):
    """The learning rate is multiplied by `factor` when each of `epochs` (0-based) begins."""

    epochs: tuple[Count, ...] = Field(description="increasing")
    factor: Fraction = Field(default=0.1, description="what the learning rate is multiplied by")

    @model_validator(mode="after")
    def _increasing(self) -> StepSchedule:
        if list(self.epochs) != sorted(set(self.epochs)):
            raise ValueError(f"epochs: expected increasing numbers, received {list(self.epochs)}")
        return self


class FineTuning(Settings):
    """Which pretrained weights of the backbone are trained, and from when on.

    A frozen layer keeps its weights, and its BatchNormalization the statistics, which it then
    normalises with in training too.
    """

    freeze: Literal["none", "batch_norm", "backbone"] = Field(
        default="none", description="what stays frozen: the BatchNormalizations, or all"
    )
    frozen_epochs: Annotated[int, Field(ge=0, le=MOST, strict=True)] = Field(
        default=0, description="first epochs in which the head alone is trained"
    )
    learning_rate: Positive | None = Field(
        default=None,
        description="after the frozen epochs, before the schedule's factors; null keeps the "
        "optimizer's",
    )

    @model_validator(mode="after")
    def _two_stages(self) -> FineTuning:
        if self.frozen_epochs and self.freeze == "backbone":
            raise ValueError("frozen_epochs: expected 0 where freeze is backbone, for all epochs")
        if self.learning_rate is not None and not self.frozen_epochs:
            raise ValueError(
                "learning_rate: set frozen_epochs, after which it holds; before and without them "
                "it is protocol.optimizer.learning_rate"
            )
        return self


class Protocol(Settings):
    """How every method of the comparison is trained."""

    optimizer: Annotated[Adam | SGD, Field(discriminator="name")] = Adam()
    schedule: StepSchedule | None = Field(default=None, description="null keeps the learning rate")
    epochs: Count = Field(description="how often the training images are passed, at most")
    batch_size: Annotated[int, Field(gt=0, le=MOST_BATCH, strict=True)] = Field(
        description="training images of a step"
    )
    checkpoint: Literal["best_validation_accuracy", "last"] = Field(
        default="best_validation_accuracy", description="of equal accuracies the earlier epoch"
    )
    early_stopping: Count | None = Field(
        default=None, description="epochs without a better validation accuracy"
    )
    validation_steps: Count | None = Field(
        default=None,
        description="batches of validation images that are measured after every epoch, drawn once, "
        "the same for all runs; null takes all. What is predicted at the end is the whole split",
    )
    augmentation: Augmentation = Augmentation()
    fine_tuning: FineTuning = FineTuning()
    class_balanced: bool = Field(
        default=False,
        description="every training sample is of a class drawn evenly, and drawn from it evenly",
    )
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = Field(
        default="float32", description="of the layers' computations, as Keras's dtype policy"
    )
    devices: Annotated[int, Field(gt=0, le=MOST_DEVICES, strict=True)] | None = Field(
        default=None,
        description="how many GPUs train together, or CPU devices where there is no GPU; null "
        "takes all visible GPUs, or one CPU",
    )
    jit_compile: Literal["auto", True, False] = Field(
        default="auto",
        description="XLA; auto is true on one GPU where `deterministic` is false",
    )
    steps_per_execution: Count = Field(
        default=1, description="training steps that TensorFlow does in one go, on one device"
    )
    deterministic: bool = Field(default=True, description="the same seed gives the same bits")
    save_every_minutes: Positive = Field(
        default=10.0,
        description="how long an epoch goes on before the training is saved within it, to go on "
        "from there if it is interrupted; after an epoch it is always saved",
    )

    @model_validator(mode="after")
    def _fine_tuning_fits(self) -> Protocol:
        if self.fine_tuning.frozen_epochs >= self.epochs:
            raise ValueError(
                f"fine_tuning.frozen_epochs: expected fewer than epochs, {self.epochs}, received "
                f"{self.fine_tuning.frozen_epochs}; fine_tuning.freeze: backbone is for all epochs"
            )
        return self

    @model_validator(mode="after")
    def _xla_fits(self) -> Protocol:
        if self.jit_compile is True and self.deterministic:  # Keras would train without it
            raise ValueError(
                "jit_compile: set deterministic: false, which TensorFlow does not promise with XLA"
            )
        return self
