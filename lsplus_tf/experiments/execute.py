"""Make the runs of an experiment that are not there yet."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lsplus_tf import config, priors
from lsplus_tf.atomic import written_whole
from lsplus_tf.datasets import ImageDataset, load_dataset
from lsplus_tf.datasets.catalogue import TFDS_PREFIX
from lsplus_tf.errors import InputError
from lsplus_tf.experiments.plan import Run, needed_runs, plan_runs
from lsplus_tf.methods import NeedsClassAccuracy, TfKDSelfTraining
from lsplus_tf.training import run_folder
from lsplus_tf.training.environment import import_tensorflow
from lsplus_tf.training.hosts import hosts

EXPERIMENT = "experiment.yaml"


class Observer(Protocol):
    """Is told how an experiment goes, to show it."""

    def planned(self, missing: list[Run], finished: list[Run], epochs: int) -> None: ...
    def data_loaded(self, dataset: ImageDataset) -> None: ...
    def run_started(self, run: Run) -> None: ...
    def run_resumed(self, run: Run, epochs: int, logs: dict[str, float]) -> None: ...
    def epoch_ended(self, run: Run, epoch: int, logs: dict[str, float]) -> None: ...
    def run_finished(self, run: Run) -> None: ...


def run_experiment(
    experiment: config.Experiment,
    out: Path,
    *,
    observer: Observer,
    methods: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
) -> None:
    """Train what is missing in `out`; finished runs of the same settings are kept.

    A run that was interrupted goes on from its last epoch.

    Parameters
    ----------
    experiment : the config.
    out : the experiment's folder, made if needed.
    observer : is told of runs and epochs.
    methods, seeds : narrow the runs, see `plan_runs`.

    Raises
    ------
    InputError : `out` holds something else, a run with other settings, or data that cannot be used;
        another process is training one of the runs.
    """
    runs = plan_runs(experiment, methods, seeds)
    check_folder(experiment, out, runs)
    missing = [run for run in runs if not run.folder(out).exists()]
    finished = [run for run in runs if run not in missing]
    observer.planned(missing, finished, experiment.protocol.epochs)
    if missing:
        # TFDS reads with TensorFlow; hosts meet before they read, which may take one of them long.
        if experiment.dataset.name.startswith(TFDS_PREFIX) or hosts().count > 1:
            import_tensorflow(experiment.backbone, experiment.dataset.image_size)
        dataset = load_dataset(**dict(experiment.dataset))
        observer.data_loaded(dataset)
        import_tensorflow(experiment.backbone, dataset.image_shape[0])
    if hosts().is_chief:
        with written_whole(out / EXPERIMENT) as partial:
            partial.write_text(config.to_yaml(experiment), encoding="utf-8")
        for run in finished:
            # Of a process that died just before it did.
            run_folder.discard_training(run.folder(out))
    for run in missing:
        observer.run_started(run)
        _train(experiment, out, run, dataset, observer)
        observer.run_finished(run)


def check_folder(experiment: config.Experiment, out: Path, runs: list[Run]) -> None:
    """Raise `InputError` unless `out` is new, or holds runs of this experiment."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out: expected a folder, {out} is a file")
    # A process may have been killed when there was nothing but a temporary file.
    if not out.exists() or all(path.name.startswith(".") for path in out.iterdir()):
        return
    if not (out / EXPERIMENT).exists():
        raise InputError(f"--out: {out} holds something that is not an experiment; name another")
    there = read_experiment(out)
    if any(out.glob("*/seed_*")):  # without a finished run, nothing could be mixed
        _refuse_difference(out, there.shared_settings(), experiment.shared_settings())
    for run in runs:
        folder = run.folder(out)
        training = run_folder.unfinished(folder)
        for there_is, place in (
            (folder.exists(), folder),
            (run_folder.has_checkpoints(training), training),
        ):
            if there_is:
                before = run_folder.read_yaml(place, run_folder.SETTINGS)
                _refuse_difference(place, before, experiment.run_settings(run.method, run.seed))


def _refuse_difference(folder: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    difference = _first_difference(there, here)
    if difference:
        raise InputError(
            f"--out: {folder} holds results with {difference}; name another --out, or delete it"
        )


def _train(
    experiment: config.Experiment, out: Path, run: Run, dataset: ImageDataset, observer: Observer
) -> None:
    # Imports TensorFlow, which a second call that finds everything finished does not need.
    from lsplus_tf.training.train import train_run

    method = experiment.methods[run.method]
    prior = start_from = teacher = None
    hard_labels = Run(str(experiment.hard_label_method), run.seed).folder(out) / run_folder.MODEL
    if isinstance(method, NeedsClassAccuracy):
        prior = _prior_record(experiment, method, out, run, dataset.class_names)
    if getattr(method, "start_from", None) == "hard_labels":
        start_from = hard_labels
    if isinstance(method, TfKDSelfTraining):
        teacher = hard_labels
    train_run(
        run.folder(out),
        experiment,
        run.method,
        run.seed,
        dataset,
        prior=prior,
        start_from=start_from,
        teacher=teacher,
        on_resume=lambda epochs, logs: observer.run_resumed(run, epochs, logs),
        on_epoch=lambda epoch, logs: observer.epoch_ended(run, epoch, logs),
    )


def _prior_record(
    experiment: config.Experiment,
    method: NeedsClassAccuracy,
    out: Path,
    run: Run,
    class_names: tuple[str, ...],
) -> dict[str, Any]:
    """The class accuracies of the hard-label runs, how they were had, and what is doubtful."""
    num_classes = len(class_names)
    sources = needed_runs(experiment, run)
    estimates = []
    for source in sources:
        p = run_folder.read_predictions(source.folder(out), "validation")
        estimates.append(priors.class_accuracy(p.labels, p.logits, num_classes))
        counts = priors.class_counts(p.labels, num_classes)
    measured = np.mean(estimates, axis=0)
    used = priors.shrink_class_accuracy(measured, counts, method.class_accuracy.shrinkage)
    doubts = priors.doubtful_estimates(used, counts)
    if doubts:
        warnings.warn(
            f"{run.method}, seed {run.seed}: the class accuracies behind its prior are doubtful "
            f"({'; '.join(doubts)}). To draw them towards the overall accuracy, add "
            f"--set methods.{run.method}.class_accuracy.shrinkage=5",
            stacklevel=2,
        )
    return {
        "class_names": list(class_names),
        "class_accuracy": used.tolist(),
        "measured_class_accuracy": measured.tolist(),
        "validation_samples": counts.tolist(),
        "from": [f"{source.method}/seed_{source.seed}" for source in sources],
        "shrinkage": method.class_accuracy.shrinkage,
        "doubts": doubts,
    }


def _first_difference(there: Any, here: Any, key: str = "") -> str | None:
    """The first key in which two nested settings differ, in words; None if they are equal."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in dict.fromkeys([*here, *there]):
            below = f"{key}.{name}" if key else str(name)
            difference = _first_difference(there.get(name), here.get(name), below)
            if difference:
                return difference
        return None
    return None if there == here else f"{key} = {there!r} where the config says {here!r}"


def read_experiment(out: Path) -> config.Experiment:
    """The config of the experiment that lies in `out`."""
    path = out / EXPERIMENT
    if not path.is_file():
        raise InputError(f"{out}: not the folder of an experiment, it has no {EXPERIMENT}")
    return config.parse_config(run_folder.read_yaml(out, EXPERIMENT), str(path))
