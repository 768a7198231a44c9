"""Train one network with one method and one seed, and write its run folder."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import yaml

from lsplus_tf import callbacks, config, metrics, priors
from lsplus_tf.backbones import build_classifier
from lsplus_tf.config.methods import Method
from lsplus_tf.datasets import ImageDataset, Split
from lsplus_tf.datasets.pipeline import evaluation_batches, training_batches
from lsplus_tf.errors import InputError
from lsplus_tf.files import written_whole
from lsplus_tf.predictions import Predictions
from lsplus_tf.training import devices, run_folder
from lsplus_tf.training.devices import evaluation_batch_size, replicated, strategy_for
from lsplus_tf.training.environment import describe_environment, settled_process
from lsplus_tf.training.fine_tuning import FrozenEpochs, freeze
from lsplus_tf.training.methods import build_callback, build_loss
from lsplus_tf.training.optimizers import LossScaleOptimizer, build_optimizer
from lsplus_tf.training.resume import Checkpoints, Progress, SavedTraining, restore
from lsplus_tf.training.several_hosts import chief_says, hosts, told_who_is_missing
from lsplus_tf.training.steps import Speed

_log = logging.getLogger(__name__)

OnEpoch = Callable[[int, dict[str, float]], None]


def train_run(
    folder: Path,
    experiment: config.Experiment,
    method_name: str,
    seed: int,
    dataset: ImageDataset,
    *,
    prior: dict[str, Any] | None = None,
    start_from: Path | None = None,
    teacher: Path | None = None,
    on_resume: OnEpoch | None = None,
    on_epoch: OnEpoch | None = None,
) -> None:
    """Train, predict, measure, and leave a finished run in `folder`.

    A training that was interrupted, however that happened, goes on from where it was saved, to the
    same result. What is saved lies beside `folder` until the run is whole; a training that fails
    before its first epoch is done leaves nothing. Nothing happens if `folder` is there already.
    Hosts that train together, see `lsplus_tf.training.several_hosts`, call it alike, and see one
    `folder`.

    Parameters
    ----------
    folder : where the run is put when it is whole.
    experiment, method_name : the config, and which of its methods.
    seed : of the initial weights, the shuffling and the augmentation.
    dataset : the images.
    prior : for LS+, the record of its class accuracies; `prior["class_accuracy"]` is (K,).
    start_from : a `.keras` model whose weights replace the initial ones.
    teacher : the `.keras` model that self-training learns from.
    on_resume : called with the number of finished epochs, and the logs of the last of them, if the
        training goes on from where another process left it.
    on_epoch : called with the 0-based epoch and the logs after every epoch, which is saved then.

    Raises
    ------
    InputError : a setting that does not fit the images, a training that diverged, or another
        process that trains the same run.
    OSError : the training or the run could not be saved, or another of several hosts has stopped.

    Warns
    -----
    UserWarning : something that was saved cannot be used, or was saved by other versions.
    """
    method, protocol = experiment.methods[method_name], experiment.protocol
    started = time.monotonic()
    with told_who_is_missing(), run_folder.claimed(folder) as training:
        # Made by another process in the meantime.
        if chief_says([folder.exists()]) == [True]:
            return
        settings = experiment.run_settings(method_name, seed)
        if hosts().is_chief:
            with written_whole(training / run_folder.SETTINGS) as file:
                file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        with (
            _logging_to(training / run_folder.LOG),
            settled_process(protocol, seed),
            _told_which_file(),
        ):
            _log.info("%s: %s, seed %d", experiment.name, method_name, seed)
            strategy = strategy_for(protocol, len(dataset.train))
            several = strategy.num_replicas_in_sync > 1
            model = build_classifier(
                image_shape=dataset.image_shape,
                num_classes=dataset.num_classes,
                **experiment.backbone.model_dump(),
            )
            if start_from is not None:
                model.set_weights(keras.models.load_model(start_from, compile=False).get_weights())
            with strategy.scope():
                adapting = build_callback(method, teacher)
                accuracy = _accuracy(method)
            checkpoints = Checkpoints(
                training,
                _identity(settings, prior, dataset),
                keeps_best=protocol.checkpoint == "best_validation_accuracy",
            )
            saved = SavedTraining(protocol, checkpoints, adapting, [accuracy], started)
            if saved.progress.epochs or saved.progress.step:
                _tell_resumed(saved.progress, on_resume)
            speed = Speed(len(dataset.train.labels), protocol.batch_size)
            _fit(
                replicated(model, strategy) if several else model,
                saved,
                method,
                protocol,
                seed,
                dataset,
                prior,
                adapting,
                accuracy,
                speed,
                on_epoch,
            )
            progress = saved.progress
            if not math.isfinite(progress.history[-1]["loss"]):
                if hosts().is_chief:
                    checkpoints.discard()  # the same would come of them
                raise InputError(
                    f"protocol: the training loss became {progress.history[-1]['loss']} in epoch "
                    f"{progress.epochs}; lower protocol.optimizer.learning_rate"
                )
            if hosts().is_chief:
                last = chosen = progress.epochs - 1
                if protocol.checkpoint == "best_validation_accuracy":
                    chosen = progress.best_epoch
                if several:
                    _compile(model, method, protocol, dataset, prior, _accuracy(method))
                if several or chosen != last:
                    restore(model, checkpoints.arrays_after(chosen))
                performance = {
                    "devices": strategy.num_replicas_in_sync,
                    "hosts": hosts().count,
                    "jit_compile": model.jit_compile,
                    "steps_per_execution": model.steps_per_execution,
                    **speed.record(),
                }
                _write(folder, model, protocol, dataset, prior, adapting, saved, performance)
            chief_says([0])  # the others go on when the run is whole


def _write(
    folder: Path,
    model: keras.Model,
    protocol: config.Protocol,
    dataset: ImageDataset,
    prior: dict[str, Any] | None,
    adapting: keras.callbacks.Callback | None,
    saved: SavedTraining,
    performance: dict[str, Any],
) -> None:
    """Predict, measure, and put the run in its folder."""
    training, progress = run_folder.unfinished(folder), saved.progress
    predictions = {
        "validation": _predict(model, dataset.validation, dataset.class_names, protocol.batch_size),
        "test": _predict(model, dataset.test, dataset.class_names, protocol.batch_size),
    }
    measured = {split: metrics.evaluate(found) for split, found in predictions.items()}
    _log.info("test: %s", measured["test"])

    with written_whole(folder) as new:
        new.mkdir()
        shutil.copy(training / run_folder.SETTINGS, new)
        run_folder.write_json(new / run_folder.ENVIRONMENT, describe_environment())
        history = pd.DataFrame(progress.history)
        history.insert(0, "epoch", np.arange(progress.epochs))
        history.to_csv(new / run_folder.HISTORY, index=False)
        for split, p in predictions.items():
            run_folder.write_predictions(new, split, p)
        run_folder.write_json(new / run_folder.METRICS, measured)
        if isinstance(adapting, callbacks.PriorRefresh):
            assert prior is not None
            prior["refreshed"] = [
                {"epoch": epoch, "class_accuracy": values.tolist()}
                for epoch, values in adapting.history
            ]
        elif isinstance(adapting, (callbacks.OnlineLabelSmoothing, callbacks.ConfusionPenalty)):
            matrices = np.stack(adapting.history)
            np.savez_compressed(new / run_folder.SOFT_LABELS, soft_labels=matrices)
        if prior is not None:
            run_folder.write_json(new / run_folder.PRIOR, prior)
        model.save(new / run_folder.MODEL)
        run_folder.write_json(
            new / run_folder.SUMMARY,
            {
                "class_names": list(dataset.class_names),
                "samples": {split: c.tolist() for split, c in dataset.counts().items()},
                "skipped_images": list(dataset.skipped),
                "parameters": model.count_params(),
                "epochs": progress.epochs,
                "best_epoch": progress.best_epoch,
                "seconds": round(saved.seconds(), 2),
                "performance": performance,
            },
        )
        shutil.copy(training / run_folder.LOG, new)


def _fit(
    model: keras.Model,
    saved: SavedTraining,
    method: Method,
    protocol: config.Protocol,
    seed: int,
    dataset: ImageDataset,
    prior: dict[str, Any] | None,
    adapting: keras.callbacks.Callback | None,
    accuracy: keras.metrics.Metric,
    speed: Speed,
    on_epoch: OnEpoch | None,
) -> None:
    """Train `model` from where it was saved to the end, or until its loss is not finite."""
    _compile(model, method, protocol, dataset, prior, accuracy)
    two_stages = protocol.fine_tuning.frozen_epochs > 0
    progress = saved.progress
    over = progress.is_over(protocol)  # then `fit` only gives the callbacks what was saved
    training = partial(
        training_batches,
        dataset.train,
        batch_size=protocol.batch_size,
        epochs=protocol.epochs,
        seed=seed,
        augmentation=protocol.augmentation,
        mixup=method.mixup,
        num_classes=dataset.num_classes,
        class_balanced=protocol.class_balanced,
        first_epoch=progress.epochs - over,
        first_step=progress.step,
    )
    replicas = model.distribute_strategy.num_replicas_in_sync
    validated = len(dataset.validation)
    if protocol.validation_steps is not None:
        validated = min(validated, protocol.validation_steps * protocol.batch_size)
    batch_size = evaluation_batch_size(validated, protocol.batch_size, replicas)
    validation = partial(
        evaluation_batches,
        dataset.validation,
        batch_size=batch_size,
        num_classes=dataset.num_classes if method.mixup else None,
        samples=validated,
    )
    epochs: dict[str, Any] = {
        "initial_epoch": progress.epochs,
        "epochs": progress.epochs if over else protocol.epochs,
        "steps_per_epoch": _steps_per_epoch(dataset, protocol),
        "callbacks": [
            speed,
            keras.callbacks.TerminateOnNaN(),
            # Before it is saved, so that its state is that after the epoch.
            *([] if adapting is None else [adapting]),
            *([FrozenEpochs(protocol, progress.epochs)] if two_stages else []),
            saved,
            keras.callbacks.LambdaCallback(on_epoch_end=_epoch_hook(on_epoch)),
        ],
    }
    if replicas > 1:
        devices.fit(
            model,
            training,
            validation,
            validation_steps=math.ceil(validated / batch_size),
            **epochs,
        )
        return
    model.fit(
        # Without an end, since Keras counts the steps that are passed over among the batches.
        training().repeat(),
        validation_data=validation(),
        shuffle=False,  # the batches come shuffled
        verbose=0,
        **epochs,
    )


def _compile(
    model: keras.Model,
    method: Method,
    protocol: config.Protocol,
    dataset: ImageDataset,
    prior: dict[str, Any] | None,
    accuracy: keras.metrics.Metric,
) -> None:
    if protocol.fine_tuning.freeze != "none":
        freeze(model, protocol.fine_tuning.freeze)
    several = model.distribute_strategy.num_replicas_in_sync > 1
    counts = priors.class_counts(dataset.train.labels, dataset.num_classes)
    # XLA makes these networks slower on a CPU.
    without_xla = several or not tf.config.list_physical_devices("GPU")
    with model.distribute_strategy.scope():
        optimizer = build_optimizer(protocol, _steps_per_epoch(dataset, protocol))
        if several and protocol.precision == "mixed_float16":
            optimizer = LossScaleOptimizer(optimizer)  # on one device Keras adds its own
        model.compile(
            optimizer=optimizer,
            loss=build_loss(
                method,
                counts,
                None if prior is None else prior["class_accuracy"],
                dtype="float64" if model.output.dtype == "float64" else "float32",
            ),
            metrics=[accuracy],
            jit_compile=protocol.jit_compile is True if without_xla else protocol.jit_compile,
            steps_per_execution=protocol.steps_per_execution,
        )
        # Variables made inside the first step would make TensorFlow trace that step twice.
        model.optimizer.build(model.trainable_variables)


def _steps_per_epoch(dataset: ImageDataset, protocol: config.Protocol) -> int:
    return math.ceil(len(dataset.train) / protocol.batch_size)


def _accuracy(method: Method) -> keras.metrics.Metric:
    if method.mixup:
        return keras.metrics.CategoricalAccuracy(name="accuracy")
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def _identity(settings: dict[str, Any], prior: dict[str, Any] | None, dataset: ImageDataset) -> str:
    """A digest of what a training depends on."""
    digest = hashlib.sha256(json.dumps([settings, prior, dataset.image_shape]).encode())
    for _, split in dataset.splits():
        digest.update(split.labels.tobytes())
        digest.update("\n".join(split.ids).encode())
    return digest.hexdigest()


def _tell_resumed(progress: Progress, on_resume: OnEpoch | None) -> None:
    steps = f" and {progress.step} steps" if progress.step else ""
    _log.info("goes on after %d epochs%s", progress.epochs, steps)
    if on_resume is not None:
        on_resume(progress.epochs, progress.history[-1] if progress.history else {})


def _predict(
    model: keras.Model, split: Split, class_names: Sequence[str], batch_size: int
) -> Predictions:
    logits = model.predict(evaluation_batches(split, batch_size=batch_size), verbose=0)
    return Predictions(
        split.labels,
        logits=logits.astype(np.float32),
        class_names=class_names,
        ids=split.ids,
        posterior=split.posterior,
        groups=split.groups,
    )


def _epoch_hook(on_epoch: OnEpoch | None) -> Callable[[int, dict[str, float]], None]:
    def hook(epoch: int, logs: dict[str, float]) -> None:
        numbers = " ".join(f"{name}={value:.4f}" for name, value in logs.items())
        _log.info("epoch %d: %s", epoch, numbers)
        if on_epoch is not None:
            on_epoch(epoch, logs)

    return hook


@contextmanager
def _told_which_file() -> Iterator[None]:
    """Raise again what the input pipeline raised in Python, which TensorFlow makes a traceback."""
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(rf"{InputError.__name__}: (.*)", str(error))
        if found is None:
            raise
        raise InputError(found[1]) from error


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Send what the package logs to a file as well, if this is the chief."""
    if not hosts().is_chief:
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("lsplus_tf")
    level = package.level
    package.setLevel(logging.INFO)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()
