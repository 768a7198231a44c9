"""The sections of a config, each with what must hold within it.

Their docstrings and descriptions are the configuration reference of the documentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lsplus_tf.config.settings import (
    BelowOne,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Seed,
    Settings,
)


class Phantom(Settings):
    """Synthetic images with an exact posterior; see `lsplus_tf.datasets.phantom`."""

    seed: Seed = Field(default=0, description="of the templates and of all images")
    classes: Annotated[int, Field(ge=2, strict=True)] = Field(
        default=6, description="the number of classes"
    )
    separation: tuple[Positive, ...] = Field(
        default=(1.8, 2.8),
        min_length=1,
        description="one number for each group of look-alikes, which share the classes evenly: the "
        "length of the part that is a class's own, in SDs of the noise",
    )
    prior: tuple[Positive, ...] | None = Field(
        default=None, description="relative frequencies of the classes; null makes them equal"
    )
    image_size: Annotated[int, Field(ge=4, strict=True)] = Field(
        default=16, description="height and width in pixels"
    )
    shift: Annotated[int, Field(ge=0, strict=True)] = Field(
        default=1, description="largest shift in pixels, along each axis"
    )
    rotations: Count = Field(default=1, description="orientations, evenly over the circle")
    noise: Annotated[float, Field(ge=0.1, le=1000, strict=True)] = Field(
        default=25.0, description="SD of the noise in grey levels"
    )
    train: Count = Field(default=4000, description="training images")
    validation: Count = Field(default=1000, description="validation images")
    test: Count = Field(default=4000, description="test images")

    @model_validator(mode="after")
    def _fits_the_classes(self) -> Phantom:
        if len(self.separation) > self.classes:
            raise ValueError(
                f"separation: expected at most {self.classes} groups (classes), "
                f"received {len(self.separation)}"
            )
        if self.prior is not None and len(self.prior) != self.classes:
            raise ValueError(
                f"prior: expected {self.classes} numbers (classes), received {len(self.prior)}"
            )
        if self.shift >= self.image_size / 2:
            raise ValueError(
                f"shift: expected less than half of image_size {self.image_size}, "
                f"received {self.shift}"
            )
        return self


class Dataset(Settings):
    """Which images, and how they become arrays; see `lsplus_tf.datasets.load_dataset`."""

    name: str = Field(
        description="'digits', 'phantom', a MedMNIST or MedMNIST+ name, 'mhist', 'chaoyang', "
        "'chaoyang/grouped', 'isic2018', 'radimagenet', 'folder:PATH', 'csv:PATH' or 'tfds:NAME'"
    )
    data_dir: Path | None = Field(
        default=None, description="where the files of a data set with a name of its own lie"
    )
    image_size: Annotated[int, Field(ge=4, strict=True)] | None = Field(
        default=None,
        description="height and width that images are stretched to; null: all have one size",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1 makes grey, 3 makes colour; null: as the files are"
    )
    split_seed: Seed = Field(default=0, description="which images a carved split takes")
    validation_fraction: Fraction = Field(
        default=0.2, description="carved from training where there is no validation split"
    )
    test_fraction: Fraction = Field(
        default=0.2, description="carved from training where there is no test split"
    )
    unreadable: Literal["fail", "skip"] = Field(
        default="fail", description="whether files that cannot be read are an error or left out"
    )
    download: bool = Field(default=False, description="let TensorFlow Datasets use the network")
    interpolation: Literal["bilinear", "nearest"] = Field(
        default="bilinear", description="how images are stretched"
    )
    cache: Literal["memory", "disk", "none"] = Field(
        default="memory", description="where decoded image files are kept"
    )
    cache_dir: Path | None = Field(
        default=None, description="for cache: disk; null is ~/.cache/lsplus_tf/images"
    )
    group_pattern: str | None = Field(
        default=None,
        description="for folder:PATH, a regular expression whose first parenthesis, in a file's "
        "path, is its group, such as the patient: groups are not split",
    )
    samples_per_class: Count | None = Field(
        default=None, description="train on a random sample of so many of each class"
    )
    drop: tuple[Literal["duplicates", "blank"], ...] = Field(
        default=(), description="images to leave out before splits are carved"
    )
    unlisted: Literal["fail", "ignore"] = Field(
        default="fail", description="for csv:PATH, whether images without a row are an error"
    )
    phantom: Phantom | None = Field(
        default=None, description="what the data set named phantom is, and of no other"
    )

    @model_validator(mode="before")
    @classmethod
    def _phantom_in_full(cls, values: Any) -> Any:
        # So that the settings of a run hold the defaults that it had.
        if isinstance(values, dict) and values.get("name") == "phantom":
            return {**values, "phantom": values.get("phantom") or {}}
        return values

    @model_validator(mode="after")
    def _phantom_alone(self) -> Dataset:
        if self.name != "phantom" and self.phantom is not None:
            raise ValueError(f"phantom: only the data set phantom has it, not {self.name}")
        if self.name == "phantom" and self.image_size is not None:
            # Resized images would have another posterior.
            raise ValueError("image_size: set phantom.image_size, at which the images are made")
        return self


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
    width: Positive = Field(default=1.0, description="multiplier of the channel counts")
    head: tuple[Count, ...] = Field(
        default=(), description="units of hidden ReLU layers between pooling and the logits"
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
    frozen_epochs: Annotated[int, Field(ge=0, strict=True)] = Field(
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
    batch_size: Count = Field(description="training images of a step")
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
    devices: Count | None = Field(
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
