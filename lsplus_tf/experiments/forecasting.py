"""What an experiment will take: runs, steps, memory and disk space, without training."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsplus_tf import config, pretrained
from lsplus_tf.datasets import ImageDataset, Split
from lsplus_tf.datasets.image_cache import CACHE_DIR
from lsplus_tf.errors import InputError
from lsplus_tf.experiments.engines import ask_gpu_driver
from lsplus_tf.experiments.folder import check_folder, find_damaged
from lsplus_tf.experiments.make import read_data
from lsplus_tf.experiments.plan import Run, Shard, needed_runs, plan_runs
from lsplus_tf.files import expanded
from lsplus_tf.training import run_folder
from lsplus_tf.training.environment import import_tensorflow

# What a process takes before it has any images or network, measured: 0.55 GiB.
TENSORFLOW = 600 * 2**20
# States of an unfinished training that may be on the disk at once: the last two, the best, and the
# one that is being written.
STATES = 4


@dataclass(frozen=True)
class Planned:
    """A run of the plan: `saved` of its epochs are made, all of them if it is `finished`."""

    run: Run
    needs: tuple[Run, ...]
    saved: int
    finished: bool


@dataclass(frozen=True)
class Size:
    """So many bytes of something, and how they are reckoned."""

    what: str
    bytes: int
    how: str


@dataclass(frozen=True)
class Forecast:
    """What the runs of an experiment will take.

    Attributes
    ----------
    dataset : ImageDataset
        The images, without those decoded that lie in files.
    runs : list of Planned
        In the order in which they are begun.
    epochs, steps_per_epoch, validation_steps : int
        Of each run.
    parameters : int
        Of the network.
    host : list of Size
        Memory that one process takes in the machine.
    device : list of Size
        Memory that training takes on the GPU, or in the machine where there is none.
    disk : list of Size
        Room that is needed in the experiment's folder until all is finished.
    at_once : int
        How many runs are made at once, on one machine.
    weights : str or None
        Where the pretrained weights are, or come from, in a sentence; None where no run needs any.
    refusal : InputError or None
        Why every run that is left would fail, as far as is known now: of its pretrained weights.
    """

    dataset: ImageDataset
    runs: list[Planned]
    epochs: int
    steps_per_epoch: int
    validation_steps: int
    parameters: int
    host: list[Size]
    device: list[Size]
    disk: list[Size]
    at_once: int
    weights: str | None
    refusal: InputError | None

    @property
    def missing(self) -> list[Planned]:
        return [planned for planned in self.runs if not planned.finished]

    @property
    def steps(self) -> int:
        """Training steps of all runs that are left, whole epochs of those that are begun."""
        return sum(self.epochs - planned.saved for planned in self.missing) * self.steps_per_epoch


def forecast(
    experiment: config.Experiment,
    out: Path,
    methods: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
    shard: Shard | None = None,
    at_once: int = 1,
) -> Forecast:
    """Reckon what `run_experiment` with these arguments would take; nothing is written.

    Weights that are not there, cannot be had or do not fit are no error here: `Forecast.refusal`
    says so.

    Raises
    ------
    InputError
        As `run_experiment`, but for what is found only when images are decoded.
    """
    runs = plan_runs(experiment, methods, seeds, shard)
    check_folder(experiment, out, runs)
    damaged = find_damaged(experiment, out, runs)
    planned = [
        Planned(
            run,
            tuple(needed_runs(experiment, run)),
            saved=len(run_folder.saved_history(run.folder(out))),
            finished=run not in damaged and run.folder(out).is_dir(),
        )
        for run in runs
    ]
    dataset = read_data(experiment, decode=False)
    protocol = experiment.protocol
    missing = sum(not each.finished for each in planned)
    weights, refusal = _weights(experiment.backbone, dataset) if missing else (None, None)
    parameters, state, width, device = _network(experiment, dataset)
    at_once = min(at_once, max(missing, 1))
    return Forecast(
        dataset,
        planned,
        protocol.epochs,
        experiment.steps_per_epoch(len(dataset.train)),
        min(
            math.ceil(len(dataset.validation) / protocol.batch_size),
            protocol.validation_steps or sys.maxsize,
        ),
        parameters,
        _host(experiment, dataset),
        device,
        _disk(experiment, dataset, state, width, missing, at_once),
        at_once,
        weights,
        refusal,
    )


def _weights(
    backbone: config.Backbone, dataset: ImageDataset
) -> tuple[str | None, InputError | None]:
    """What a run will find of its pretrained weights, and why it would fail of them."""
    pretrained.check_input(backbone.name, dataset.image_shape, backbone.weights, backbone.scaling)
    weights = pretrained.find(backbone.name, backbone.weights, backbone.width, dataset.image_shape)
    if weights is None:
        return None, None
    try:
        said = pretrained.look(weights)
        if weights.is_there:
            import_tensorflow(backbone, dataset.image_shape[0])
            from lsplus_tf.backbones import build_classifier

            build_classifier(
                image_shape=dataset.image_shape,
                num_classes=dataset.num_classes,
                **backbone.model_dump(),
            )
    except InputError as error:
        where = f", or from {weights.url}" if weights.url else ""
        problem = "cannot be used" if weights.is_there else "are not there and cannot be had"
        return f"The {weights} {problem}: {weights.path}{where}.", error
    return said, None


def _network(
    experiment: config.Experiment, dataset: ImageDataset
) -> tuple[int, int, int, list[Size]]:
    """Parameters, bytes of a saved state, features, and what training takes on the device."""
    import_tensorflow(experiment.backbone, dataset.image_shape[0])
    import keras

    from lsplus_tf.backbones import build_classifier
    from lsplus_tf.backbones.weights import leaf_layers
    from lsplus_tf.training.environment import settled_process
    from lsplus_tf.training.optimizers import build_optimizer

    height, width, channels = dataset.image_shape
    backbone = experiment.backbone.model_dump()
    if backbone["weights"] is not None:  # they need not be here, and take three channels
        backbone["weights"], channels = None, 3
    protocol = experiment.protocol
    with settled_process(protocol, seed=0):
        model = build_classifier(
            image_shape=(height, width, channels), num_classes=dataset.num_classes, **backbone
        )
        optimizer = build_optimizer(protocol, steps_per_epoch=1)
        optimizer.build(model.trainable_variables)
        weights, trained, slots = (
            sum(math.prod(v.shape) * _item_bytes(v.dtype) for v in variables)
            for variables in (model.variables, model.trainable_variables, optimizer.variables)
        )
        outputs = protocol.batch_size * sum(
            math.prod(tensor.shape[1:]) * _item_bytes(layer.compute_dtype)
            for layer in leaf_layers(model)
            for tensor in keras.tree.flatten(layer.output)
        )
    sizes = [
        Size("network", weights, "weights"),
        Size("gradients", trained, "as large as what is trained"),
        Size("optimizer", slots, f"{protocol.optimizer.name}'s own variables"),
        Size(
            "activations",
            2 * outputs,
            f"all layers' outputs for a batch of {protocol.batch_size}, and their gradients; at "
            "most, as not all are kept at once",
        ),
    ]
    return model.count_params(), weights + slots, model.layers[-1].input.shape[-1], sizes


def _item_bytes(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize  # which NumPy does not know


def _host(experiment: config.Experiment, dataset: ImageDataset) -> list[Size]:
    splits = [split for _, split in dataset.splits()]
    batch = 4 * experiment.protocol.batch_size * math.prod(dataset.image_shape)
    cores = os.cpu_count() or 1
    sizes = [
        Size("TensorFlow", TENSORFLOW, "a process without images"),
        Size("names", sum(map(_names_bytes, splits)), "labels and ids of all images"),
        Size("batches", cores * batch, f"float32, one for each of {cores} cores"),
        Size(
            "predictions",
            4 * dataset.num_classes * (len(dataset.validation) + len(dataset.test)),
            "logits of validation and test",
        ),
    ]
    if experiment.dataset.cache == "memory":
        pixels = [math.prod(split.images.shape) for split in splits]
        sizes.insert(
            1,
            Size("images", 2 * sum(pixels), "decoded, and TensorFlow's copy of what it reads"),
        )
    return sizes


def _names_bytes(split: Split) -> int:
    return split.ids.nbytes + split.labels.nbytes


def _disk(
    experiment: config.Experiment,
    dataset: ImageDataset,
    state: int,
    width: int,
    missing: int,
    at_once: int,
) -> list[Size]:
    evaluated = (dataset.validation, dataset.test)
    predictions = sum(
        _names_bytes(split) + 4 * dataset.num_classes * len(split) for split in evaluated
    )
    features = 4 * width * min(experiment.features or 0, len(dataset.train))
    return [
        Size(
            "unfinished trainings",
            STATES * state * at_once,
            f"at most {STATES} states of {at_once} at once",
        ),
        Size(
            "finished runs",
            (state + predictions + features) * missing,
            "models and predictions" + (", and features" if features else ""),
        ),
    ]


def image_cache(experiment: config.Experiment, dataset: ImageDataset) -> Size | None:
    """What the decoded images take in `dataset.cache_dir`, where they are cached on disk."""
    if experiment.dataset.cache != "disk":
        return None
    pixels = sum(math.prod(split.images.shape) for _, split in dataset.splits())
    return Size("decoded images", pixels, "once for all runs, unless they are there already")


def cache_folder(experiment: config.Experiment) -> Path:
    """Where decoded images are cached on disk."""
    return expanded(experiment.dataset.cache_dir or CACHE_DIR, "dataset.cache_dir")


def free_disk(folder: Path) -> int:
    """Bytes that are free where the folder is, or will be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def free_memory() -> int | None:
    """Bytes of memory that are free on this machine; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        return None
    return next((1024 * int(line.split()[1]) for line in lines if "MemAvailable" in line), None)


def free_gpu_memory() -> list[int]:
    """Bytes that are free on each GPU, as the driver says; none without one."""
    return [2**20 * int(number) for number in ask_gpu_driver("memory.free")]
