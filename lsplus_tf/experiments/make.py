"""Make one run of an experiment, in this process."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lsplus_tf import config, pretrained, priors
from lsplus_tf.config import TFDS_PREFIX
from lsplus_tf.config.methods import NeedsClassAccuracy, TfKDSelfTraining
from lsplus_tf.datasets import ImageDataset, load_dataset
from lsplus_tf.datasets.file_list import BeforeDecoding, load_files
from lsplus_tf.datasets.loading import list_files
from lsplus_tf.errors import InputError, one_line
from lsplus_tf.experiments.folder import check_folder, check_run
from lsplus_tf.experiments.observer import Observer
from lsplus_tf.experiments.plan import Run, needed_runs
from lsplus_tf.training import run_folder
from lsplus_tf.training.environment import import_tensorflow
from lsplus_tf.training.several_hosts import hosts

LONGEST = 500  # characters of an error that are told in its line

OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a run ended: the run is made, unless `taken` or `error` says otherwise.

    Attributes
    ----------
    taken : bool
        Another process is making the run.
    error : str or None
        Why it failed, on one line.
    refused : bool
        The same would come of another attempt, as what the user gave cannot be used.
    trace : str
        Where in the code it failed, for the errors that are no user's.
    warnings : tuple of str
        What was warned of, if another process made the attempt.
    """

    taken: bool = False
    error: str | None = None
    refused: bool = False
    trace: str = ""
    warnings: tuple[str, ...] = ()


def attempt(make: Callable[[], None]) -> Outcome:
    """What comes of calling `make`, whatever it raises."""
    try:
        make()
    except run_folder.BeingMadeError:
        return Outcome(taken=True)
    except InputError as error:
        return Outcome(error=one_line(error, LONGEST), refused=True)
    except OSError as error:  # a full disk, a folder that cannot be written
        return Outcome(error=one_line(error, LONGEST))
    except Exception as error:
        line = f"{type(error).__name__}: {one_line(error, LONGEST)}"
        return Outcome(error=line, trace=traceback.format_exc())
    return Outcome()


def load_data(
    experiment: config.Experiment, *, decode: bool = True, observer: Observer | None = None
) -> ImageDataset:
    """The data set of an experiment, and before its images are decoded its network's weights.

    Parameters
    ----------
    experiment : Experiment
        The config.
    decode : bool
        That of `load_dataset`. If the images are decoded here, the network is built first, with
        its weights, so that what does not fit is told before.
    observer : Observer, optional
        Is told of a download.
    """
    ready = partial(_get_weights, experiment.backbone, observer or Observer(), decode)
    return read_data(experiment, decode=decode, before_decoding=ready)


def read_data(
    experiment: config.Experiment, *, decode: bool, before_decoding: BeforeDecoding | None = None
) -> ImageDataset:
    """The data set of an experiment alone, with arguments as those of `load_dataset`.

    Raises
    ------
    InputError
        As `load_dataset`; a list of class accuracies that is not of these classes, before images
        are decoded; no training step; or fewer training features than classes allow.
    """
    # TFDS reads with TensorFlow; hosts meet before they read, which may take one of them long.
    if experiment.dataset.name.startswith(TFDS_PREFIX) or hosts().count > 1:
        import_tensorflow(experiment.backbone, experiment.dataset.image_size)
    ready = before_decoding or (lambda shape: None)
    files = list_files(**dict(experiment.dataset))
    if files is None:
        dataset = load_dataset(**dict(experiment.dataset), decode=decode, before_decoding=ready)
        experiment.check_classes(dataset.class_names)
    else:
        experiment.check_classes(files.class_names)
        dataset = load_files(files, experiment.dataset, decode=decode, before_decoding=ready)
    experiment.steps_per_epoch(len(dataset.train))
    least = 2 * dataset.num_classes
    if experiment.features is not None and experiment.features < least:
        raise InputError(
            f"features: expected at least two training images of each of {dataset.num_classes} "
            f"classes, {least}, received {experiment.features}"
        )
    return dataset


def _get_weights(
    backbone: config.Backbone,
    observer: Observer,
    build: bool,
    image_shape: tuple[int | None, int | None, int | None],
) -> None:
    """Get the weights of a network for images of a shape, and with `build` try them."""
    pretrained.check_input(backbone.name, image_shape, backbone.weights, backbone.scaling)
    weights = pretrained.find(backbone.name, backbone.weights, backbone.width, image_shape)
    if weights is None:
        return
    pretrained.get(weights, observer.weights_downloaded)
    known = [size for size in image_shape if size is not None]
    if build and len(known) == len(image_shape):
        import_tensorflow(backbone, known[0])
        from lsplus_tf.backbones import build_classifier

        build_classifier(image_shape=known, num_classes=2, **backbone.model_dump())


def make_run(
    experiment: config.Experiment,
    out: Path,
    run: Run,
    dataset: ImageDataset,
    *,
    on_resume: OnEpoch | None = None,
    on_epoch: OnEpoch | None = None,
) -> None:
    """Train a run whose needed runs are finished; see `Training.run`, also for what it raises."""
    check_folder(experiment, out, [run])  # which another process may have made its own
    # Imports TensorFlow, which a second call that finds everything finished does not need.
    from lsplus_tf.training.train import Training

    method = experiment.methods[run.method]
    prior = start_from = teacher = None
    if isinstance(method, NeedsClassAccuracy):
        prior = _prior_record(experiment, method, out, run, dataset.class_names)
    if getattr(method, "start_from", None) == "hard_labels":
        start_from = _hard_label_model(experiment, out, run)
    if isinstance(method, TfKDSelfTraining):
        teacher = _hard_label_model(experiment, out, run)
    training = Training(
        run.folder(out),
        experiment,
        run.method,
        run.seed,
        dataset,
        prior=prior,
        start_from=start_from,
        teacher=teacher,
    )
    training.run(on_resume=on_resume, on_epoch=on_epoch)
    check_run(experiment, out, run)  # which another process may have made in the meantime


def _hard_label_model(experiment: config.Experiment, out: Path, run: Run) -> Path:
    """The network of the hard-label run of a run's seed, which the config has for who needs it."""
    method = experiment.hard_label_method
    assert method is not None
    return run_folder.check_model(Run(method, run.seed).folder(out))


def _prior_record(
    experiment: config.Experiment,
    method: NeedsClassAccuracy,
    out: Path,
    run: Run,
    class_names: tuple[str, ...],
) -> dict[str, Any]:
    """The class accuracies, given or of the hard-label runs, and what is doubtful about them."""
    setting = f"methods.{run.method}.class_accuracy"
    if method.given_accuracies is not None:
        doubts = priors.doubtful_values(method.given_accuracies, class_names)
        _warn_of_doubts(run, doubts, f"Give others in {setting}")
        return {
            "class_names": list(class_names),
            "class_accuracy": list(method.given_accuracies),
            "from": "given",
            "doubts": doubts,
        }
    num_classes = len(class_names)
    sources = needed_runs(experiment, run)
    estimates = []
    for source in sources:
        p = run_folder.read_predictions(source.folder(out), "validation")
        estimates.append(priors.class_accuracy(p.labels, p.logits, num_classes))
        counts = priors.class_counts(p.labels, num_classes)
    measured = np.mean(estimates, axis=0)
    used = priors.shrink_class_accuracy(measured, counts, method.shrinkage)
    doubts = priors.doubtful_estimates(used, counts, class_names, shrinkage=method.shrinkage)
    if priors.can_shrink(measured):
        remedy = f"To draw them towards the overall accuracy, add --set {setting}.shrinkage=5"
    else:
        remedy = f"All are the same, so shrinkage changes none; --set {setting}=[..] gives others"
    _warn_of_doubts(run, doubts, remedy)
    return {
        "class_names": list(class_names),
        "class_accuracy": used.tolist(),
        "measured_class_accuracy": measured.tolist(),
        "validation_samples": counts.tolist(),
        "from": [f"{source.method}/seed_{source.seed}" for source in sources],
        "shrinkage": method.shrinkage,
        "doubts": doubts,
    }


def _warn_of_doubts(run: Run, doubts: list[str], remedy: str) -> None:
    if doubts:
        warnings.warn(
            f"{run.method}, seed {run.seed}: the class accuracies behind its prior are doubtful "
            f"({'; '.join(doubts)}). {remedy}",
            stacklevel=3,
        )
