"""The folder of an experiment: whose it is, and what is in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lsplus_tf import config, files, manifest
from lsplus_tf.bounded import read_yaml, yaml_text
from lsplus_tf.config import FOLDER_PREFIX
from lsplus_tf.config.experiment import REPORT, REPORT_SELECTED
from lsplus_tf.errors import InputError, MissingDataError, one_line, some_of
from lsplus_tf.experiments.plan import Run, needed_runs, plan_runs
from lsplus_tf.manifest import MISSING, DamagedRunError
from lsplus_tf.training import run_folder
from lsplus_tf.training.several_hosts import hosts

EXPERIMENT = "experiment.yaml"
_AT_WORK = ".at_work."  # how the name of a file begins that a process holds while it is at work
_SEED = re.compile(r"seed_(0|[1-9]\d*)")
_NAMED = 3  # differences that an error names


# What the folder of a method has in it, and the files that begin so beside these folders.
_OF_A_METHOD = re.compile(r"seed_\d+|\.seed_\d+\.\w+|damaged_seed_\d+[.\w]*")
_BESIDE = (EXPERIMENT, f".{EXPERIMENT}.", f"damaged_{EXPERIMENT}", _AT_WORK)


def _is_experiment(folder: Path) -> bool:
    # It may have been removed while a run was trained, which made the folder of the run again, or
    # a process was killed when there was nothing but temporary files.
    return (folder / EXPERIMENT).is_file() or all(_is_part(p) for p in folder.iterdir())


def _is_part(path: Path) -> bool:
    """Whether something in the folder of an experiment is ours."""
    if path.name.startswith(_BESIDE) or not path.is_dir():
        return path.name.startswith(_BESIDE)
    if path.name in (REPORT, REPORT_SELECTED):
        return REPORT_FOLDER.is_ours(path)
    runs = [*path.iterdir()]
    return bool(runs) and all(
        _OF_A_METHOD.fullmatch(run.name)
        and (not run.name.startswith("seed_") or (run / run_folder.SETTINGS).is_file())
        for run in runs
    )


# A grid's name stands before that of its experiment.
_begins = files.begins_with(rb"# [\w.-]+(, \w+)?: test split\n")
EXPERIMENT_FOLDER = files.FolderKind("an experiment", _is_experiment, parts=None)
REPORT_FOLDER = files.FolderKind(
    "a report",
    lambda folder: _begins(folder / "table.md"),
    re.compile(
        r"(table|paper|truth)\.(md|csv)|table\.tex|report\.html|"
        r"(runs|intervals|classes|features|questions|truth_runs)\.csv|((density|retention)_seed_\d+|features)\.png|"
        r"(reliability\w*|density|retention|training_curves|decision_curves|comparison|soft_labels_\w+|truth)\.png|"
        r"calibrators/([a-z][a-z0-9_]*\+[a-z_]+(_seed_\d+)?\.json)?"
    ),
)


def read_experiment(out: Path) -> config.Experiment:
    """The config of the experiment that lies in `out`."""
    path = out / EXPERIMENT
    if not path.is_file():
        hint = "; the command that made its runs writes it again" if _has_runs(out) else ""
        raise InputError(f"{out}: not the folder of an experiment, it has no {EXPERIMENT}{hint}")
    values = run_folder.read_yaml(path, "the config of an experiment")
    return config.parse_config(values, str(path))


@contextlib.contextmanager
def take_folder(experiment: config.Experiment, out: Path, runs: list[Run]) -> Iterator[None]:
    """Make `out` the folder of this experiment, of which no other can make it its own in the block.

    Several processes may do so at once, if their experiments are the same. Of hosts that train
    together the chief does.

    Raises
    ------
    InputError
        As `check_folder`, by which it may just have become another's.
    """
    if not hosts().is_chief:
        yield
        return
    path = out / EXPERIMENT
    text = config.to_yaml(experiment)
    claim = FileLock(out / f"{_AT_WORK}{uuid.uuid4().hex}")
    with files.reporting(out), files.locked(path):
        check_folder(experiment, out, runs)
        _held(out)  # which removes what processes left that died
        claim.acquire()
        while not Path(claim.lock_file).exists():  # taken for one whose process has died
            claim.release()
            claim.acquire()
        if os.path.lexists(path) and _found(out) is None:
            aside = files.set_aside(path)
            warnings.warn(
                f"{path}: not the config of an experiment; it is written anew, and what it was is "
                f"now {aside}",
                stacklevel=3,
            )
        if _found(out) != experiment:
            with files.written_whole(path) as partial:
                partial.write_text(text, encoding="utf-8")
    try:
        yield
        if out.is_dir() and not path.exists():  # somebody removed it, and runs went on
            with files.reporting(out), files.locked(path), files.written_whole(path) as partial:
                partial.write_text(text, encoding="utf-8")
    finally:
        claim.release()
        Path(claim.lock_file).unlink(missing_ok=True)


def check_folder(experiment: config.Experiment, out: Path, runs: list[Run]) -> None:
    """Raise `InputError` unless `out` is new, or holds runs of this experiment."""
    name = experiment.dataset.name
    images = [name.removeprefix(FOLDER_PREFIX)] if name.startswith(FOLDER_PREFIX) else []
    files.check_output(out, EXPERIMENT_FOLDER, images=images)
    there = _found(out)
    if there is None:
        if os.path.lexists(out / EXPERIMENT) and not _has_runs(out):
            with _another_out():
                read_experiment(out)
        _refuse_other_runs(experiment, out)
    else:
        _refuse_other_experiment(experiment, there, out)
    _check_classes(experiment, out, runs)
    for run in runs:
        folder = run.folder(out)
        if os.path.lexists(folder.parent) and not folder.parent.is_dir():
            raise InputError(
                f"--out: expected {folder.parent} to be a folder, or nothing; name another --out"
            )
        if folder.exists():
            with contextlib.suppress(DamagedRunError):  # which is made anew
                check_run(experiment, out, run)
        training = run_folder.unfinished(folder)
        # Damaged ones say nothing; what is saved of another training is found when it is read.
        settings = _settings(training)
        if settings is not None and run_folder.has_checkpoints(training):
            _refuse_difference(training, settings, experiment.run_settings(run.method, run.seed))


def _found(out: Path) -> config.Experiment | None:
    """The config that lies in `out`; None if there is none, or it is damaged."""
    try:
        return read_experiment(out)
    except InputError:
        return None


def _has_runs(out: Path) -> bool:
    """Whether there are runs, finished or not, so that a damaged config beside them is ours."""
    found = itertools.chain(out.glob("*/seed_*"), out.glob("*/.seed_*.training"))
    return any(
        (run / run_folder.SETTINGS).is_file()
        or manifest.is_run(run)
        or run_folder.has_checkpoints(run)
        for run in found
    )


def _settings(folder: Path) -> dict[str, Any] | None:
    """What a run's folder says that was run; None if it does not say so, or cannot be read."""
    try:
        settings = run_folder.read_yaml(folder / run_folder.SETTINGS, "the settings of a run")
    except InputError:
        return None
    # A file that was cut may still be YAML; the seed is written last.
    return None if settings.get("seed") is None else settings


def _refuse_other_experiment(
    experiment: config.Experiment, there: config.Experiment, out: Path
) -> None:
    """Raise `InputError` if what the folder's config says cannot become this experiment."""
    if there != experiment:
        with _another_out():
            _refuse_by_hand(out / EXPERIMENT)
    different = _differences(there.all_settings(), experiment.all_settings())
    if different and _is_at_work(there, out):
        raise InputError(
            f"--out: in {out} another process is at work with {different}; wait until it has "
            "ended, or name another --out"
        )
    if any(out.glob("*/seed_*")):  # else nothing could be mixed
        different = _differences(there.shared_settings(), experiment.shared_settings())
        if different:
            raise InputError(
                f"--out: {out / EXPERIMENT} has {different}; name another --out, or if the file "
                "was changed by hand, put it back"
            )


def _refuse_other_runs(experiment: config.Experiment, out: Path) -> None:
    """Raise `InputError` if a folder without a config has finished runs of another experiment."""
    shared = experiment.shared_settings()
    del shared["protocol"]["early_stopping"]  # which methods may have of their own
    for folder in sorted(out.glob("*/seed_*")):
        settings = _settings(folder)
        if settings is None:
            continue
        there = {key: settings.get(key) for key in shared}
        if isinstance(there["protocol"], dict):
            there["protocol"].pop("early_stopping", None)
        _refuse_difference(folder, there, shared)


def _check_classes(experiment: config.Experiment, out: Path, runs: list[Run]) -> None:
    """Raise `InputError` if a finished run has not the classes that the config names."""
    for run in runs:
        folder = run.folder(out)
        if folder.exists():
            with contextlib.suppress(DamagedRunError):  # of the first that is whole
                found = run_folder.read_summary(folder)["class_names"]
                experiment.check_classes(found)
                return


def check_run(experiment: config.Experiment, out: Path, run: Run) -> None:
    """Raise `InputError` unless a finished run, whoever made it, is of this experiment.

    Raises
    ------
    DamagedRunError
        What it was made with cannot be read.
    """
    folder = run.folder(out)
    settings = experiment.run_settings(run.method, run.seed)
    _refuse_difference(folder, run_folder.read_settings(folder), settings)


def find_runs(folder: Path) -> list[Path]:
    """The folders of finished runs: of a run itself, an experiment or a grid.

    Raises
    ------
    InputError
        It is none of these, or no run is finished.
    """
    if not folder.is_dir():
        received = "received a file" if folder.exists() else "there is none"
        raise MissingDataError(f"{files.shown(folder)}: expected a folder, {received}")
    if manifest.is_run(folder) and not (folder / EXPERIMENT).exists():
        return [folder]
    found = [
        path
        for depth in ("", "*/", "*/*/")  # a method's, an experiment's, a grid's
        for path in sorted(folder.glob(f"{depth}seed_*"), key=_by_number)
        if path.is_dir() and _SEED.fullmatch(path.name)
    ]
    if not found:
        raise InputError(
            f"{files.shown(folder)}: expected the folder of a run, an experiment or a grid, found "
            "no finished run"
        )
    return found


def out_of_place(folder: Path) -> str | None:
    """Why a run is not where it belongs, by its settings and the experiment's; None if it is."""
    settings = run_folder.read_settings(folder)
    try:
        method, seed = str(settings["method"]["name"]), settings["seed"]
    except (KeyError, TypeError):
        return "it does not say its method and seed"
    if (folder.parent.name, folder.name) != (method, f"seed_{seed}"):
        return f"it is {method}, seed {seed}"
    out = folder.parent.parent
    if not (out / EXPERIMENT).exists():
        return None
    try:
        experiment = read_experiment(out)
        if method not in experiment.methods:
            return f"{EXPERIMENT} has no method {method}"
        check_run(experiment, out, Run(method, seed))
    except InputError as error:
        return one_line(error)
    return None


def _by_number(path: Path) -> tuple[Path, int, str]:
    number = path.name.removeprefix("seed_")
    return path.parent, int(number) if number.isdecimal() else -1, path.name


def find_damaged(
    experiment: config.Experiment, out: Path, runs: list[Run]
) -> dict[Run, dict[str, str]]:
    """The finished runs that are to be made anew, and what is wrong with their files by name.

    A run of which nothing is gone but what no report reads, such as its network, stays as it is,
    unless a run that is to be made begins from that network.

    Raises
    ------
    DamagedRunError
        On several hosts, which would not agree on what is there while one of them moves it.

    Warns
    -----
    UserWarning
        Something is gone of runs that stay.
    """
    found = {run: run_folder.find_damage(run.folder(out)) for run in runs if _is_there(run, out)}
    lacking = {run: names for run, why in found.items() if (names := _only_gone(why))}
    damaged = {run: why for run, why in found.items() if why and run not in lacking}
    asked = {
        source
        for run in runs
        if (run in damaged or not _is_there(run, out)) and experiment.needs_network(run.method)
        for source in needed_runs(experiment, run)
    }
    damaged |= {run: found[run] for run in lacking if run in asked}
    if damaged and hosts().count > 1:
        run, why = next(iter(damaged.items()))
        name, said = next(iter(why.items()))
        raise DamagedRunError(
            f"{run.folder(out) / name}: {said}; give the command on one host alone, without "
            "TF_CONFIG, which makes the run anew"
        )
    kept = [run for run in lacking if run not in asked]
    if kept:
        names = sorted({name for run in kept for name in lacking[run]})
        warnings.warn(
            f"{out}: {', '.join(names)} of {some_of(kept)} is missing; they are kept, as no report "
            "reads that, and are made anew once their folders are deleted",
            stacklevel=3,
        )
    return damaged


def _is_there(run: Run, out: Path) -> bool:
    return run.folder(out).is_dir()


def _only_gone(damage: dict[str, str]) -> list[str]:
    """The files that are gone, if no others are damaged, and no report reads them."""
    spare = (run_folder.MODEL, run_folder.METRICS, run_folder.LOG)
    if all(name in spare and why.endswith(MISSING) for name, why in damage.items()):
        return [*damage]
    return []


def set_aside(out: Path, run: Run) -> Path | None:
    """Move a damaged run, unless another process has just made it anew; where to, if it was."""
    folder = run.folder(out)
    with contextlib.suppress(run_folder.BeingMadeError), run_folder.claimed(folder):
        if folder.is_dir() and run_folder.find_damage(folder):
            return files.set_aside(folder)
    return None


@contextlib.contextmanager
def _another_out() -> Iterator[None]:
    """Let the error about a file in the folder say what helps."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; name another --out, or delete that file") from error


def _refuse_by_hand(path: Path) -> None:
    """Raise `InputError` for a config with what only a person writes, such as comments."""
    if yaml_text(read_yaml(path)) != path.read_text(encoding="utf-8"):
        raise InputError(f"--out: {path} differs from the config, and was edited by hand")


def _is_at_work(experiment: config.Experiment, out: Path) -> bool:
    """Whether a process makes the runs of the experiment that the folder holds."""
    return bool(_held(out)) or any(
        run_folder.is_being_made(run.folder(out))
        for run in plan_runs(experiment, experiment.methods)
    )


def _held(out: Path) -> list[Path]:
    """The claims of processes that are at work in a folder; those of dead ones are removed."""
    held = []
    for path in out.glob(f"{_AT_WORK}*"):
        if not path.is_file():
            continue
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
        except Timeout:
            held.append(path)
    return held


def _refuse_difference(folder: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    different = _differences(there, here)
    if different:
        raise InputError(
            f"--out: {folder} holds results with {different}; name another --out, or, to make "
            "them anew, delete that folder"
        )


def _differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """The keys in which two nested settings differ, in words; nothing if they are equal."""
    found = [
        f"{key} = {before!r} where the config says {now!r}"
        for key, before, now in different_settings(there, here)
    ]
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more


def different_settings(there: Any, here: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The keys in which two nested settings differ, with dots, and both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in dict.fromkeys([*here, *there]):
            below = f"{key}.{name}" if key else str(name)
            yield from different_settings(there.get(name), here.get(name), below)
    elif there != here:
        yield key, there, here
