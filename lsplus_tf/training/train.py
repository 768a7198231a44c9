"""Train one network with one method and one seed, and write its run folder."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
import yaml

from lsplus_tf import callbacks, config, metrics, priors
from lsplus_tf.atomic import written_whole
from lsplus_tf.backbones import build_classifier
from lsplus_tf.datasets import ImageDataset, Split
from lsplus_tf.datasets.pipeline import evaluation_batches, training_batches
from lsplus_tf.errors import InputError
from lsplus_tf.training import run_folder
from lsplus_tf.training.environment import describe_environment, settled_process
from lsplus_tf.training.fine_tuning import FrozenEpochs, freeze
from lsplus_tf.training.methods import build_callback, build_loss
from lsplus_tf.training.optimizers import build_optimizer
from lsplus_tf.training.resume import Checkpoints, Progress, SavedTraining, restore
from lsplus_tf.training.run_folder import Predictions

_log = logging.getLogger(__name__)
_SPARSE_ACCURACY = keras.metrics.SparseCategoricalAccuracy

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
    OSError : the training or the run could not be saved.

    Warns
    -----
    UserWarning : something that was saved cannot be used, or was saved by other versions.
    """
    method, protocol = experiment.methods[method_name], experiment.protocol
    started = time.monotonic()
    with run_folder.claimed(folder) as training:
        if folder.exists():  # made by another process in the meantime
            return
        settings = experiment.run_settings(method_name, seed)
        with written_whole(training / run_folder.SETTINGS) as file:
            file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        with (
            _logging_to(training / run_folder.LOG),
            settled_process(protocol, seed),
            _told_which_file(),
        ):
            _log.info("%s: %s, seed %d", experiment.name, method_name, seed)
            model = build_classifier(
                image_shape=dataset.image_shape,
                num_classes=dataset.num_classes,
                **experiment.backbone.model_dump(),
            )
            if start_from is not None:
                model.set_weights(keras.models.load_model(start_from, compile=False).get_weights())
            adapting = build_callback(method, teacher)
            checkpoints = Checkpoints(
                training,
                _identity(settings, prior, dataset),
                keeps_best=protocol.checkpoint == "best_validation_accuracy",
            )
            kind = keras.metrics.CategoricalAccuracy if method.mixup else _SPARSE_ACCURACY
            accuracy = kind(name="accuracy")
            saved = SavedTraining(protocol, checkpoints, adapting, [accuracy], started)
            if saved.progress.epochs or saved.progress.step:
                _tell_resumed(saved.progress, on_resume)
            _fit(model, saved, method, protocol, seed, dataset, prior, adapting, accuracy, on_epoch)
            progress = saved.progress
            if not math.isfinite(progress.history[-1]["loss"]):
                checkpoints.discard()  # the same would come of them
                raise InputError(
                    f"protocol: the training loss became {progress.history[-1]['loss']} in epoch "
                    f"{progress.epochs}; lower protocol.optimizer.learning_rate"
                )
            if (
                protocol.checkpoint == "best_validation_accuracy"
                and progress.best_epoch != progress.epochs - 1
            ):
                restore(model, checkpoints.arrays_after(progress.best_epoch))
            predictions = {
                "validation": _predict(model, dataset.validation, protocol.batch_size),
                "test": _predict(model, dataset.test, protocol.batch_size),
            }
            measured = {
                split: metrics.evaluate(p.logits, p.labels, convention="paper", from_logits=True)
                for split, p in predictions.items()
            }
            _log.info("test: %s", measured["test"])

            with written_whole(folder) as partial:
                partial.mkdir()
                shutil.copy(training / run_folder.SETTINGS, partial)
                run_folder.write_json(partial / run_folder.ENVIRONMENT, describe_environment())
                history = pd.DataFrame(progress.history)
                history.insert(0, "epoch", np.arange(progress.epochs))
                history.to_csv(partial / run_folder.HISTORY, index=False)
                for split, p in predictions.items():
                    run_folder.write_predictions(partial, split, p)
                run_folder.write_json(partial / run_folder.METRICS, measured)
                if isinstance(adapting, callbacks.PriorRefresh):
                    assert prior is not None
                    prior["refreshed"] = [
                        {"epoch": epoch, "class_accuracy": values.tolist()}
                        for epoch, values in adapting.history
                    ]
                elif isinstance(
                    adapting, (callbacks.OnlineLabelSmoothing, callbacks.ConfusionPenalty)
                ):
                    matrices = np.stack(adapting.history)
                    np.savez_compressed(partial / run_folder.SOFT_LABELS, soft_labels=matrices)
                if prior is not None:
                    run_folder.write_json(partial / run_folder.PRIOR, prior)
                model.save(partial / run_folder.MODEL)
                run_folder.write_json(
                    partial / run_folder.SUMMARY,
                    {
                        "class_names": list(dataset.class_names),
                        "samples": {split: c.tolist() for split, c in dataset.counts().items()},
                        "skipped_images": list(dataset.skipped),
                        "parameters": model.count_params(),
                        "epochs": progress.epochs,
                        "best_epoch": progress.best_epoch,
                        "seconds": round(saved.seconds(), 2),
                    },
                )
                shutil.copy(training / run_folder.LOG, partial)


def _fit(
    model: keras.Model,
    saved: SavedTraining,
    method: config.Method,
    protocol: config.Protocol,
    seed: int,
    dataset: ImageDataset,
    prior: dict[str, Any] | None,
    adapting: keras.callbacks.Callback | None,
    accuracy: keras.metrics.Metric,
    on_epoch: OnEpoch | None,
) -> None:
    """Train `model` from where it was saved to the end, or until its loss is not finite."""
    steps = -(-len(dataset.train.labels) // protocol.batch_size)
    counts = priors.class_counts(dataset.train.labels, dataset.num_classes)
    if protocol.fine_tuning.freeze != "none":
        freeze(model, protocol.fine_tuning.freeze)
    model.compile(
        optimizer=build_optimizer(protocol, steps),
        loss=build_loss(method, counts, None if prior is None else prior["class_accuracy"]),
        metrics=[accuracy],
        # XLA makes these networks slower on a CPU.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
    )
    # Variables made inside the first step would make TensorFlow trace that step twice.
    model.optimizer.build(model.trainable_variables)
    two_stages = protocol.fine_tuning.frozen_epochs > 0
    progress = saved.progress
    over = progress.is_over(protocol)  # then `fit` only gives the callbacks what was saved
    batches = training_batches(
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
    model.fit(
        # Without an end, since Keras counts the steps that are passed over among the batches.
        batches.repeat(),
        initial_epoch=progress.epochs,
        epochs=progress.epochs if over else protocol.epochs,
        steps_per_epoch=steps,
        validation_data=evaluation_batches(
            dataset.validation,
            batch_size=protocol.batch_size,
            num_classes=dataset.num_classes if method.mixup else None,
        ),
        callbacks=[
            keras.callbacks.TerminateOnNaN(),
            # Before it is saved, so that its state is that after the epoch.
            *([] if adapting is None else [adapting]),
            *([FrozenEpochs(protocol, progress.epochs)] if two_stages else []),
            saved,
            keras.callbacks.LambdaCallback(on_epoch_end=_epoch_hook(on_epoch)),
        ],
        shuffle=False,  # the batches come shuffled
        verbose=0,
    )


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


def _predict(model: keras.Model, split: Split, batch_size: int) -> Predictions:
    logits = model.predict(evaluation_batches(split, batch_size=batch_size), verbose=0)
    return Predictions(
        logits.astype(np.float32), split.labels, split.ids, split.posterior, split.groups
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
    """Send what the package logs to a file as well."""
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
