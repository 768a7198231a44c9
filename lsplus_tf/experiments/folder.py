"""The folder of an experiment: whose it is, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsplus_tf import config
from lsplus_tf.atomic import locked, written_whole
from lsplus_tf.errors import InputError
from lsplus_tf.experiments.plan import Run, plan_runs
from lsplus_tf.training import run_folder
from lsplus_tf.training.several_hosts import hosts

EXPERIMENT = "experiment.yaml"


def read_experiment(out: Path) -> config.Experiment:
    """The config of the experiment that lies in `out`."""
    path = out / EXPERIMENT
    if not path.is_file():
        raise InputError(f"{out}: not the folder of an experiment, it has no {EXPERIMENT}")
    return config.parse_config(run_folder.read_yaml(out, EXPERIMENT), str(path))


def take_folder(experiment: config.Experiment, out: Path, runs: list[Run]) -> None:
    """Make `out` the folder of this experiment; several processes may do so at once.

    Of hosts that train together the chief does.

    Raises
    ------
    InputError : as `check_folder`, by which it may just have become another's.
    """
    if not hosts().is_chief:
        return
    path, text = out / EXPERIMENT, config.to_yaml(experiment)
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text:
        return
    with locked(path):
        check_folder(experiment, out, runs)
        with written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8")


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
    if any(out.glob("*/seed_*")) or _is_at_work(there, out):  # else nothing could be mixed
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


def _is_at_work(experiment: config.Experiment, out: Path) -> bool:
    """Whether a process is training a run of the experiment that the folder holds."""
    return any(run_folder.is_being_made(run.folder(out)) for run in plan_runs(experiment))


def _refuse_difference(folder: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    difference = _first_difference(there, here)
    if difference:
        raise InputError(
            f"--out: {folder} holds results with {difference}; name another --out, or delete it"
        )


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
