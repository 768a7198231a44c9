"""Train one network with one method and one seed, and write its run folder."""

from __future__ import annotations

import logging
import re
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
from lsplus_tf.backbones import build_classifier
from lsplus_tf.datasets import ImageDataset, Split
from lsplus_tf.datasets.pipeline import evaluation_batches, training_batches
from lsplus_tf.errors import InputError
from lsplus_tf.training import run_folder
from lsplus_tf.training.environment import describe_environment, settled_process
from lsplus_tf.training.methods import build_callback, build_loss
from lsplus_tf.training.optimizers import build_optimizer
from lsplus_tf.training.run_folder import Predictions

_log = logging.getLogger(__name__)
_MONITOR = "val_accuracy"
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
    on_epoch: OnEpoch | None = None,
) -> None:
    """Train, predict, measure, and leave a finished run in `folder`, or nothing.

    Parameters
    ----------
    folder : where the run is put when it is whole.
    experiment, method_name : the config, and which of its methods.
    seed : of the initial weights, the shuffling and the augmentation.
    dataset : the images.
    prior : for LS+, the record of its class accuracies; `prior["class_accuracy"]` is (K,).
    start_from : a `.keras` model whose weights replace the initial ones.
    teacher : the `.keras` model that self-training learns from.
    on_epoch : called with the 0-based epoch and the logs after every epoch.

    Raises
    ------
    InputError : a setting that does not fit the images, or a training that diverged.
    """
    method, protocol = experiment.methods[method_name], experiment.protocol
    with run_folder.written_whole(folder) as partial:
        partial.mkdir()
        with (
            _logging_to(partial / run_folder.LOG),
            settled_process(protocol, seed),
            _told_which_file(),
        ):
            _log.info("%s: %s, seed %d", experiment.name, method_name, seed)
            started = time.perf_counter()
            model = build_classifier(
                image_shape=dataset.image_shape,
                num_classes=dataset.num_classes,
                **experiment.backbone.model_dump(),
            )
            if start_from is not None:
                model.set_weights(keras.models.load_model(start_from, compile=False).get_weights())
            history, adapting = _fit(
                model, partial, method, protocol, seed, dataset, prior, teacher, on_epoch
            )
            predictions = {
                "validation": _predict(model, dataset.validation, protocol.batch_size),
                "test": _predict(model, dataset.test, protocol.batch_size),
            }
            measured = {
                split: metrics.evaluate(p.logits, p.labels, convention="paper", from_logits=True)
                for split, p in predictions.items()
            }
            _log.info("test: %s", measured["test"])

            settings = experiment.run_settings(method_name, seed)
            (partial / run_folder.SETTINGS).write_text(yaml.safe_dump(settings, sort_keys=False))
            run_folder.write_json(partial / run_folder.ENVIRONMENT, describe_environment())
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
            elif isinstance(adapting, (callbacks.OnlineLabelSmoothing, callbacks.ConfusionPenalty)):
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
                    "epochs": len(history),
                    "best_epoch": int(history[_MONITOR].argmax()),  # of equals the first
                    "seconds": round(time.perf_counter() - started, 2),
                },
            )


def _fit(
    model: keras.Model,
    folder: Path,
    method: config.Method,
    protocol: config.Protocol,
    seed: int,
    dataset: ImageDataset,
    prior: dict[str, Any] | None,
    teacher: Path | None,
    on_epoch: OnEpoch | None,
) -> tuple[pd.DataFrame, keras.callbacks.Callback | None]:
    """Train `model`, leave it with the chosen checkpoint's weights; its history and callback."""
    steps = -(-len(dataset.train.labels) // protocol.batch_size)
    counts = priors.class_counts(dataset.train.labels, dataset.num_classes)
    accuracy = keras.metrics.CategoricalAccuracy if method.mixup else _SPARSE_ACCURACY
    model.compile(
        optimizer=build_optimizer(protocol, steps),
        loss=build_loss(method, counts, None if prior is None else prior["class_accuracy"]),
        metrics=[accuracy(name="accuracy")],
        # XLA makes these networks slower on a CPU.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
    )
    # Variables made inside the first step would make TensorFlow trace that step twice.
    model.optimizer.build(model.trainable_variables)
    used: list[keras.callbacks.Callback] = [
        keras.callbacks.LambdaCallback(on_epoch_end=_epoch_hook(on_epoch)),
        keras.callbacks.TerminateOnNaN(),
    ]
    adapting = build_callback(method, teacher)
    if adapting is not None:
        # Before the checkpoint, which then holds the soft labels of its epoch.
        used.append(adapting)
    checkpoint = folder / "checkpoint.weights.h5"
    if protocol.checkpoint == "best_validation_accuracy":
        # Strictly better only: of equal accuracies the earlier epoch stays.
        used.append(
            keras.callbacks.ModelCheckpoint(
                checkpoint, _MONITOR, mode="max", save_best_only=True, save_weights_only=True
            )
        )
    if protocol.early_stopping is not None:
        used.append(
            keras.callbacks.EarlyStopping(_MONITOR, mode="max", patience=protocol.early_stopping)
        )
    history = model.fit(
        training_batches(
            dataset.train,
            batch_size=protocol.batch_size,
            epochs=protocol.epochs,
            seed=seed,
            augmentation=protocol.augmentation,
            mixup=method.mixup,
            num_classes=dataset.num_classes,
            class_balanced=protocol.class_balanced,
        ),
        epochs=protocol.epochs,
        steps_per_epoch=steps,
        validation_data=evaluation_batches(
            dataset.validation,
            batch_size=protocol.batch_size,
            num_classes=dataset.num_classes if method.mixup else None,
        ),
        callbacks=used,
        shuffle=False,  # the batches come shuffled
        verbose=0,
    ).history
    if not np.isfinite(history["loss"]).all():
        raise InputError(
            f"protocol: the training loss became {history['loss'][-1]} in epoch "
            f"{len(history['loss'])}; lower protocol.optimizer.learning_rate"
        )
    if checkpoint.exists():
        model.load_weights(checkpoint)
        checkpoint.unlink()
    frame = pd.DataFrame({"epoch": np.arange(len(history["loss"])), **history})
    return frame, adapting


def _predict(model: keras.Model, split: Split, batch_size: int) -> Predictions:
    logits = model.predict(evaluation_batches(split, batch_size=batch_size), verbose=0)
    return Predictions(logits.astype(np.float32), split.labels, split.ids)


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
