"""Train one network with one method and one seed, and write its run folder."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from lsplus_tf import callbacks, config, keras_files, metrics, priors
from lsplus_tf.backbones import build_classifier, carrying_features, fingerprint
from lsplus_tf.backbones.carrying import features_behind
from lsplus_tf.bounded import yaml_text
from lsplus_tf.callbacks.renewing import SoftLabelsCallback
from lsplus_tf.config.methods import Method
from lsplus_tf.datasets import ImageDataset, Split
from lsplus_tf.datasets.pipeline import evaluation_batches, training_batches
from lsplus_tf.datasets.splitting import drawn_evenly
from lsplus_tf.errors import InputError
from lsplus_tf.files import written_whole
from lsplus_tf.manifest import VERSION, VERSION_KEY, write_manifest
from lsplus_tf.predictions import Predictions
from lsplus_tf.training import devices, run_folder
from lsplus_tf.training.devices import evaluation_batch_size, replicated, strategy_for
from lsplus_tf.training.environment import (
    describe_environment,
    logging_to,
    package_versions,
    settled_process,
    told_which_file,
)
from lsplus_tf.training.fine_tuning import FrozenEpochs, freeze
from lsplus_tf.training.methods import build_callback, build_loss
from lsplus_tf.training.optimizers import LossScaleOptimizer, build_optimizer
from lsplus_tf.training.resume import Checkpoints, Progress, SavedTraining, State, restore
from lsplus_tf.training.several_hosts import chief_says, hosts, told_who_is_missing
from lsplus_tf.training.steps import Speed, StopsAtNaN
from lsplus_tf.version import __version__

_log = logging.getLogger(__name__)

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, eq=False)
class Training:
    """One run of an experiment: what it is. All that it leaves follows from this.

    Parameters
    ----------
    folder : Path
        Where the run is put when it is whole.
    experiment : Experiment
        The config.
    method_name : str
        Which of its methods.
    seed : int
        Of the initial weights, the shuffling and the augmentation.
    dataset : ImageDataset
        The images.
    prior : dict, optional
        For LS+, the record of its class accuracies; `prior["class_accuracy"]` is (K,).
    start_from : Path, optional
        A `.keras` model whose weights replace the initial ones.
    teacher : Path, optional
        The `.keras` model that self-training learns from.
    """

    folder: Path
    experiment: config.Experiment
    method_name: str
    seed: int
    dataset: ImageDataset
    prior: dict[str, Any] | None = None
    start_from: Path | None = None
    teacher: Path | None = None

    @property
    def method(self) -> Method:
        return self.experiment.methods[self.method_name]

    @property
    def protocol(self) -> config.Protocol:
        return self.experiment.protocol_of(self.method_name)

    @property
    def settings(self) -> dict[str, Any]:
        """What the run's folder says that was run."""
        return self.experiment.run_settings(self.method_name, self.seed)

    @property
    def steps_per_epoch(self) -> int:
        return self.experiment.steps_per_epoch(len(self.dataset.train))

    @property
    def samples_per_epoch(self) -> int:
        return min(len(self.dataset.train), self.steps_per_epoch * self.protocol.batch_size)

    @property
    def keeps_best(self) -> bool:
        """Whether the network of the best epoch is wanted, and not that of the last."""
        return self.protocol.checkpoint == "best_validation_accuracy"

    @property
    def identity(self) -> str:
        """A digest of what the training depends on."""
        depends_on = [self.settings, self.prior, self.dataset.image_shape]
        digest = hashlib.sha256(json.dumps(depends_on).encode())
        for _, split in self.dataset.splits():
            digest.update(split.labels.tobytes())
            digest.update("\n".join(split.ids).encode())
        return digest.hexdigest()

    def run(self, *, on_resume: OnEpoch | None = None, on_epoch: OnEpoch | None = None) -> None:
        """Train, predict, measure, and leave a finished run in the folder.

        A training that was interrupted, however that happened, goes on from where it was saved, to
        the same result. What is saved lies beside the folder until the run is whole; a training
        that fails before its first epoch is done leaves nothing. Nothing happens if the folder is
        there already. Hosts that train together, see `lsplus_tf.training.several_hosts`, call it
        alike, and see one folder.

        Parameters
        ----------
        on_resume : callable, optional
            Called with the number of finished epochs, and the logs of the last of them, if the
            training goes on from where another process left it.
        on_epoch : callable, optional
            Called with the 0-based epoch and the logs after every epoch, which is saved then.

        Raises
        ------
        InputError
            A setting that does not fit the images, a training that diverged, or another process
            that trains the same run.
        OSError
            The training or the run could not be saved, or another of several hosts has stopped.

        Warns
        -----
        UserWarning
            Something that was saved cannot be used, or was saved by other versions.
        """
        started = time.monotonic()
        with told_who_is_missing(), run_folder.claimed(self.folder) as unfinished:
            # Made by another process in the meantime.
            if chief_says([self.folder.exists()]) == [True]:
                return
            if hosts().is_chief:
                self._begin(unfinished)
            with (
                logging_to(unfinished / run_folder.LOG),
                settled_process(self.protocol, self.seed),
                told_which_file(),
            ):
                _log.info("%s: %s, seed %d", self.experiment.name, self.method_name, self.seed)
                self._run(unfinished, started, on_resume, on_epoch)

    def _begin(self, unfinished: Path) -> None:
        """Write what is run, and a log with nothing in it unless there is one."""
        with written_whole(unfinished / run_folder.SETTINGS) as file:
            file.write_text(yaml_text(self.settings), "utf-8")
        (unfinished / run_folder.LOG).touch()

    def _run(
        self, unfinished: Path, started: float, on_resume: OnEpoch | None, on_epoch: OnEpoch | None
    ) -> None:
        strategy = strategy_for(self.protocol, self.samples_per_epoch)
        several = strategy.num_replicas_in_sync > 1
        model = self._build()
        with strategy.scope():
            adapting = build_callback(self.method, self.teacher)
            accuracy = self._accuracy()

        trained = replicated(model, strategy) if several else model
        self._compile(trained, accuracy)

        checkpoints = Checkpoints(unfinished, self.identity, keeps_best=self.keeps_best)
        state = State(trained, [accuracy], adapting)
        saved = SavedTraining(self.protocol, checkpoints, state, self.steps_per_epoch, started)
        progress = saved.progress
        if progress.epochs or progress.step:
            _tell_resumed(progress, on_resume)

        speed = Speed(self.samples_per_epoch, self.protocol.batch_size)
        two_stages = self.protocol.fine_tuning.frozen_epochs > 0
        used = [
            speed,
            StopsAtNaN(),
            # Before it is saved, so that its state is that after the epoch.
            *([] if adapting is None else [adapting]),
            *([FrozenEpochs(self.protocol, progress.epochs)] if two_stages else []),
            saved,
            keras.callbacks.LambdaCallback(on_epoch_end=_epoch_hook(on_epoch)),
        ]
        self._fit(trained, progress, used)
        if not math.isfinite(progress.history[-1]["loss"]):
            if hosts().is_chief:
                checkpoints.discard()  # the same would come of them
            raise InputError(
                f"protocol: the training loss became {progress.history[-1]['loss']} in epoch "
                f"{progress.epochs}; lower protocol.optimizer.learning_rate"
            )

        if hosts().is_chief:
            last = progress.epochs - 1
            chosen = progress.best_epoch if self.keeps_best else last
            if several:
                self._compile(model, self._accuracy())
            if several or chosen != last:
                restore(model, checkpoints.arrays_after(chosen))
            performance = {
                "devices": strategy.num_replicas_in_sync,
                "hosts": hosts().count,
                "jit_compile": model.jit_compile,
                "steps_per_execution": model.steps_per_execution,
                **speed.record(),
            }
            self._write(model, adapting, saved, performance)
        chief_says([0])  # the others go on when the run is whole

    def _build(self) -> keras.Model:
        model = build_classifier(
            image_shape=self.dataset.image_shape,
            num_classes=self.dataset.num_classes,
            **self.experiment.backbone.model_dump(),
        )
        if self.start_from is not None:
            start = keras_files.load(self.start_from, str(self.start_from))
            model.set_weights(start.get_weights())
        return carrying_features(model) if self.method.needs_features else model

    def _accuracy(self) -> keras.metrics.Metric:
        if self.method.mixup:
            return keras.metrics.CategoricalAccuracy(name="accuracy")
        return keras.metrics.SparseCategoricalAccuracy(name="accuracy")

    def _compile(self, model: keras.Model, accuracy: keras.metrics.Metric) -> None:
        protocol = self.protocol
        if protocol.fine_tuning.freeze != "none":
            freeze(model, protocol.fine_tuning.freeze)
        several = model.distribute_strategy.num_replicas_in_sync > 1
        # XLA makes these networks slower on a CPU.
        without_xla = several or not tf.config.list_physical_devices("GPU")
        with model.distribute_strategy.scope():
            optimizer = build_optimizer(protocol, self.steps_per_epoch)
            if several and protocol.precision == "mixed_float16":
                optimizer = LossScaleOptimizer(optimizer)  # on one device Keras adds its own
            loss = build_loss(
                self.method,
                priors.class_counts(self.dataset.train.labels, self.dataset.num_classes),
                None if self.prior is None else self.prior["class_accuracy"],
                # In float64 for a network in it, which no protocol asks for, but tests do.
                dtype="float64" if model.output.dtype == "float64" else "float32",
                epochs=protocol.epochs,
            )
            model.compile(
                optimizer=optimizer,
                loss=loss,
                metrics=[accuracy],
                jit_compile=protocol.jit_compile is True if without_xla else protocol.jit_compile,
                steps_per_execution=protocol.steps_per_execution,
            )
            # Variables made inside the first step would make TensorFlow trace that step twice.
            model.optimizer.build(model.trainable_variables)

    def _fit(
        self, model: keras.Model, progress: Progress, used: list[keras.callbacks.Callback]
    ) -> None:
        """Train `model` from where it was saved to the end, or until its loss is not finite."""
        protocol, dataset = self.protocol, self.dataset
        over = progress.is_over(protocol)  # then `fit` only gives the callbacks what was saved
        training = partial(
            training_batches,
            dataset.train,
            batch_size=protocol.batch_size,
            epochs=protocol.epochs,
            steps_per_epoch=self.steps_per_epoch,
            seed=self.seed,
            augmentation=protocol.augmentation,
            mixup=self.method.mixup,
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
            num_classes=dataset.num_classes if self.method.mixup else None,
            samples=validated,
        )
        epochs: dict[str, Any] = {
            "initial_epoch": progress.epochs,
            "epochs": progress.epochs if over else protocol.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "callbacks": used,
        }
        if replicas > 1:
            steps = math.ceil(validated / batch_size)
            devices.fit(model, training, validation, validation_steps=steps, **epochs)
            return
        model.fit(
            # Without an end, since Keras counts the steps that are passed over among the batches.
            training().repeat(),
            validation_data=validation(),
            shuffle=False,  # the batches come shuffled
            verbose=0,
            **epochs,
        )

    def _predict(self, model: keras.Model, split: Split) -> Predictions:
        batches = evaluation_batches(split, batch_size=self.protocol.batch_size)
        return Predictions(
            split.labels,
            logits=model.predict(batches, verbose=0).astype(np.float32),
            class_names=self.dataset.class_names,
            ids=split.ids,
            posterior=split.posterior,
            groups=split.groups,
            model=fingerprint(model),
        )

    def _features(self, model: keras.Model) -> run_folder.Features | None:
        """The features before the logits, of the training images that the config asks for."""
        if self.experiment.features is None:
            return None
        train = self.dataset.train
        shown = train.take(drawn_evenly(train.labels, self.experiment.features))
        batches = evaluation_batches(shown, batch_size=self.protocol.batch_size)
        penultimate = keras.Model(model.inputs, features_behind(model))
        penultimate.jit_compile = model.jit_compile
        features = penultimate.predict(batches, verbose=0).astype(np.float32)
        return run_folder.Features(features, shown.labels, shown.ids)

    def _write(
        self,
        model: keras.Model,
        adapting: keras.callbacks.Callback | None,
        saved: SavedTraining,
        performance: dict[str, Any],
    ) -> None:
        """Predict, measure, and put the run in its folder."""
        unfinished, progress = run_folder.unfinished(self.folder), saved.progress
        predictions = {
            "validation": self._predict(model, self.dataset.validation),
            "test": self._predict(model, self.dataset.test),
        }
        features = self._features(model)
        measured = {split: metrics.evaluate(found) for split, found in predictions.items()}
        _log.info("test: %s", measured["test"])
        history = pd.DataFrame(progress.history)
        history.insert(0, "epoch", np.arange(progress.epochs))

        self._begin(unfinished)  # again, as the folder may have been removed in the meantime
        with written_whole(self.folder) as new:
            new.mkdir()
            shutil.copy(unfinished / run_folder.SETTINGS, new)
            run_folder.write_json(new / run_folder.ENVIRONMENT, describe_environment())
            history.to_csv(new / run_folder.HISTORY, index=False)
            for split, found in predictions.items():
                run_folder.write_predictions(new, split, found)
            run_folder.write_json(new / run_folder.METRICS, measured)
            if features is not None:
                run_folder.write_features(new, features)
            self._write_targets(new, adapting)
            model.save(new / run_folder.MODEL)
            summary = {
                VERSION_KEY: VERSION,
                "class_names": list(self.dataset.class_names),
                "samples": {split: c.tolist() for split, c in self.dataset.counts().items()},
                "skipped_images": list(self.dataset.skipped),
                "changed_labels": {
                    part: split.changed_labels
                    for part, split in self.dataset.splits()
                    if split.changed_labels is not None
                },
                "parameters": model.count_params(),
                "epochs": progress.epochs,
                "best_epoch": progress.best_epoch,
                "seconds": round(saved.seconds(), 2),
                "performance": performance,
            }
            run_folder.write_json(new / run_folder.SUMMARY, summary)
            shutil.copy(unfinished / run_folder.LOG, new)
            write_manifest(new, {"lsplus_tf": __version__, **package_versions()})

    def _write_targets(self, new: Path, adapting: keras.callbacks.Callback | None) -> None:
        """What the method's targets came from, and what became of them."""
        prior = self.prior
        if isinstance(adapting, callbacks.PriorRefresh):
            refreshed = [
                {"epoch": epoch, "class_accuracy": values.tolist()}
                for epoch, values in adapting.history
            ]
            assert prior is not None  # it is of LS+ alone
            prior = {**prior, "refreshed": refreshed}
        elif isinstance(adapting, SoftLabelsCallback):
            matrices = np.stack(adapting.history)
            np.savez_compressed(new / run_folder.SOFT_LABELS, soft_labels=matrices)
        elif isinstance(adapting, callbacks.ValidationFeedback):
            states: dict[str, Any] = adapting.training_state()
            np.savez_compressed(new / run_folder.FEEDBACK, **states)
        if prior is not None:
            run_folder.write_json(new / run_folder.PRIOR, prior)


def _tell_resumed(progress: Progress, on_resume: OnEpoch | None) -> None:
    steps = f" and {progress.step} steps" if progress.step else ""
    _log.info("goes on after %d epochs%s", progress.epochs, steps)
    if on_resume is not None:
        on_resume(progress.epochs, progress.history[-1] if progress.history else {})


def _epoch_hook(on_epoch: OnEpoch | None) -> Callable[[int, dict[str, float]], None]:
    def hook(epoch: int, logs: dict[str, float]) -> None:
        numbers = " ".join(f"{name}={value:.4f}" for name, value in logs.items())
        _log.info("epoch %d: %s", epoch, numbers)
        if on_epoch is not None:
            on_epoch(epoch, logs)

    return hook
