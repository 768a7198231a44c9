"""The folder of one run: what is in it, and that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from lsplus_tf import bounded, manifest, predictions
from lsplus_tf.bounded import json_of, read_text
from lsplus_tf.errors import InputError, one_line
from lsplus_tf.files import make_way
from lsplus_tf.manifest import DamagedRunError
from lsplus_tf.npz_files import read_arrays
from lsplus_tf.predictions import Predictions
from lsplus_tf.training.several_hosts import hosts

SETTINGS = "config.yaml"
ENVIRONMENT = "environment.json"
HISTORY = "history.csv"
METRICS = "metrics.json"
SUMMARY = "summary.json"
PRIOR = "prior.json"
SOFT_LABELS = "soft_labels.npz"
FEEDBACK = "feedback.npz"
FEATURES = "features.npz"
MODEL = "model.keras"
LOG = "log.txt"
SPLITS = ("validation", "test")  # whose predictions are kept
MONITOR = "val_accuracy"  # by which epochs are compared
CHECKPOINTS = "after_*.npz"  # in the folder of an unfinished training, see `resume.py`
ABOUT = "about"  # the array of a checkpoint that says in JSON what it is
_LOCK = "lock"
_PATIENCE = 1.0  # seconds, within which a process that only asks has let go of a lock

_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Features:
    """What a network makes of some training images before its last layer.

    Attributes
    ----------
    features : ndarray of float32, shape (N, D)
    labels : ndarray of int64, shape (N,)
    ids : ndarray of str, shape (N,)
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.str_]


class BeingMadeError(InputError):
    """Another process is training a run."""


def unfinished(folder: Path) -> Path:
    """Where the training of a run is kept until the run is whole."""
    return folder.with_name(f".{folder.name}.training")


def has_checkpoints(training: Path) -> bool:
    return any(training.glob(CHECKPOINTS))


def saved_history(folder: Path) -> list[dict[str, float]]:
    """The logs of the epochs that the unfinished training of a run has saved, none without any."""
    for path in sorted(unfinished(folder).glob(CHECKPOINTS), reverse=True):
        # Another process may be replacing the file, or it is damaged, which `resume.py` tells.
        with contextlib.suppress(*_UNREADABLE):
            about = json_of(str(read_arrays(path, [ABOUT])[ABOUT]), finite=False)
            return checked_history(about["progress"]["history"])
    return []


def checked_history(history: Any) -> list[dict[str, float]]:
    """The logs of epochs as a file has them; `ValueError` unless they are those of a training."""
    if not isinstance(history, list) or not all(
        isinstance(logs, dict)
        and logs.keys() == history[0].keys() >= {"loss", MONITOR}
        and all(type(value) is float for value in logs.values())
        for logs in history
    ):
        raise ValueError("its history is not that of a training")
    return history


@contextlib.contextmanager
def claimed(folder: Path, patience: float = _PATIENCE) -> Iterator[Path]:
    """The `unfinished` folder of a run, for this process alone, or for several hosts together.

    It stays if the block ends before the run is whole, and something was saved to go on from.
    Between hosts it holds where their shared file system has file locks.

    Raises
    ------
    BeingMadeError
        Another process has it.
    """
    training = unfinished(folder)
    if not hosts().is_chief:
        yield training
        return
    lock = FileLock(training / _LOCK, timeout=patience)
    while not lock.is_locked:
        make_way(training, folder=True)
        training.mkdir(parents=True, exist_ok=True)
        named = (training / name for name in (_LOCK, SETTINGS, LOG))
        for path in [*named, *training.glob(CHECKPOINTS)]:
            make_way(path, beside=training)
        # The process that had it may remove the folder just now.
        with contextlib.suppress(FileNotFoundError):
            try:
                # The system lets go of the lock when a process dies, however it does.
                lock.acquire()
            except Timeout as error:
                raise BeingMadeError(
                    f"--out: another process is training {folder}; wait until it has ended, or "
                    "name another --out"
                ) from error
    try:
        yield training
    finally:
        if folder.exists() or not has_checkpoints(training):
            discard_training(folder)  # while it is this process's
        lock.release()
        with contextlib.suppress(OSError):  # NFS keeps a folder with an open file in it
            training.rmdir()


def is_being_made(folder: Path) -> bool:
    """Whether a process is training a run just now."""
    if not (unfinished(folder) / _LOCK).exists():
        return False
    try:
        with claimed(folder, patience=0):
            return False
    except BeingMadeError:
        return True


def discard_training(folder: Path) -> None:
    """Remove the `unfinished` folder of a run, if there is one."""
    training = unfinished(folder)
    of_dead_processes = training.glob(".*.partial")
    named = (training / name for name in (SETTINGS, LOG, _LOCK))
    for path in [*training.glob(CHECKPOINTS), *of_dead_processes, *named]:
        # What cannot be removed does no harm, and another process may be removing it too.
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(OSError):
        training.rmdir()


def write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_predictions(folder: Path, split: str, found: Predictions) -> None:
    """Write logits, labels and ids; the posterior, groups and model where they are known."""
    arrays: dict[str, Any] = {
        "logits": found.logits,
        "labels": found.labels,
        "class_names": np.array(found.class_names),
    }
    if found.ids is not None:
        arrays["ids"] = found.ids.to_numpy(np.str_)
    if found.posterior is not None:
        arrays["posterior"] = found.posterior
    if found.groups is not None and found.group_names is not None:
        arrays["groups"] = found.group_names.to_numpy(np.str_)[found.groups]
    if found.model is not None:
        arrays["model"] = found.model
    np.savez_compressed(_predictions_file(folder, split), **arrays)


def write_features(folder: Path, kept: Features) -> None:
    np.savez_compressed(folder / FEATURES, **vars(kept))


@contextlib.contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Say which file could not be read, and what it was expected to be."""
    try:
        yield
    except _UNREADABLE as error:
        raise InputError(f"{path}: not {expected} ({_why(error, path)})") from error


@contextlib.contextmanager
def _reading_finished(path: Path) -> Iterator[None]:
    """Check a file of a finished run against its manifest, and say if it cannot be read."""
    manifest.check_own(path)
    with _of_a_finished_run(path):
        yield


@contextlib.contextmanager
def _of_a_finished_run(path: Path) -> Iterator[None]:
    try:
        yield
    except DamagedRunError:
        raise
    except _UNREADABLE as error:
        # Such as no permission, or a disk that is away, which is no damage.
        if isinstance(error, OSError) and not isinstance(error, (InputError, *_NOT_THERE)):
            raise InputError(f"{path}: cannot be read ({_why(error, path)})") from error
        raise DamagedRunError(
            f"{path}: not the file of a finished run ({_why(error, path)}); {manifest.REMEDY}"
        ) from error


def _why(error: Exception, path: Path) -> str:
    why = one_line(error).removeprefix(f"{path}: ")
    # Advice for a file of the user's own is none here.
    return why.partition("; ")[0] if isinstance(error, InputError) else why


def check_model(folder: Path) -> Path:
    """The file of a finished run's network, whole."""
    with _reading_finished(folder / MODEL):
        if not zipfile.is_zipfile(folder / MODEL):
            raise ValueError("it is no .keras file")
    return folder / MODEL


def find_damage(folder: Path) -> dict[str, str]:
    """What is wrong with a finished run's files, by their names; nothing where all are whole.

    Of a folder of format version 0, without a manifest, that is what cannot be read, and what
    is missing that every report reads.

    Raises
    ------
    InputError
        The run was written by a newer version of this package.
    """
    found = manifest.find_damage(folder)
    if found or (folder / manifest.MANIFEST).exists():
        return found
    readers: dict[str, Callable[[], Any]] = {
        SETTINGS: lambda: read_settings(folder),
        SUMMARY: lambda: read_summary(folder),
        HISTORY: lambda: read_history(folder),
        **{
            _predictions_file(folder, split).name: partial(read_predictions, folder, split)
            for split in SPLITS
        },
    }
    may_be_gone = {
        ENVIRONMENT: lambda: read_json(folder, ENVIRONMENT),
        METRICS: lambda: read_json(folder, METRICS),
        PRIOR: lambda: read_json(folder, PRIOR),
        SOFT_LABELS: lambda: read_soft_labels(folder),
        FEEDBACK: lambda: read_feedback(folder),
        FEATURES: lambda: read_features(folder),
        MODEL: lambda: check_model(folder),
    }
    readers |= {name: read for name, read in may_be_gone.items() if (folder / name).exists()}
    for name, read in readers.items():
        try:
            read()
        except DamagedRunError as error:
            found[name] = (
                one_line(error)
                .removeprefix(f"{folder / name}: ")
                .removesuffix(f"; {manifest.REMEDY}")
            )
    return found


def has(folder: Path, name: str) -> bool:
    """Whether a finished run has a file that not all have; one that is missing is there to read."""
    found = manifest.read_manifest(folder)
    return (folder / name).exists() if found is None else name in found.files


def read_predictions(folder: Path, split: str) -> Predictions:
    """The predictions of a finished run for "validation" or "test"."""
    path = _predictions_file(folder, split)
    with _of_a_finished_run(path):  # which are checked where they are read
        return predictions.read_predictions(path)


def read_json(folder: Path, name: str) -> Any:
    with _reading_finished(folder / name):
        return json_of(read_text(folder / name), finite=False)  # a metric may be NaN


def read_summary(folder: Path) -> dict[str, Any]:
    """What a finished run says of its training; its classes and the images left out are checked."""
    path = folder / SUMMARY
    with _reading_finished(path):
        values = json_of(read_text(path), finite=False)
        if not isinstance(values, dict):
            raise ValueError("it has no keys")
        values.setdefault("skipped_images", [])  # which first versions did not tell
        for key in ("class_names", "skipped_images"):
            found = values[key]
            if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
                raise ValueError(f"its {key} are no list of names")
        return values


def read_settings(folder: Path) -> dict[str, Any]:
    """What a finished run was made with."""
    with _reading_finished(folder / SETTINGS):
        return _mapping(folder / SETTINGS)


def read_yaml(path: Path, expected: str) -> dict[str, Any]:
    """The keys and values of a YAML file that is of no finished run."""
    with reading(path, expected):
        return _mapping(path)


def _mapping(path: Path) -> dict[str, Any]:
    values = bounded.read_yaml(path)
    if not isinstance(values, dict):
        raise ValueError("it has no keys")
    return values


def read_history(folder: Path) -> pd.DataFrame:
    with _reading_finished(folder / HISTORY):
        return pd.read_csv(folder / HISTORY)


def read_soft_labels(folder: Path) -> NDArray[np.float32]:
    """The soft labels after every epoch, (epochs, K, K)."""
    path = folder / SOFT_LABELS
    with _reading_finished(path):
        return read_arrays(path, ["soft_labels"])["soft_labels"]


def read_feedback(folder: Path) -> dict[str, NDArray[Any]]:
    """What validations made of the loss's state after every epoch, (epochs, ...) by their names."""
    path = folder / FEEDBACK
    with _reading_finished(path):
        return read_arrays(path)


def read_features(folder: Path) -> Features:
    path = folder / FEATURES
    with _reading_finished(path):
        kept = Features(**read_arrays(path, ["features", "labels", "ids"]))
        if kept.features.ndim != 2 or not np.isfinite(kept.features).all():
            raise ValueError("expected finite features of shape (N, D)")
        shape = kept.features.shape[:1]
        if kept.labels.shape != shape or kept.ids.shape != shape:
            raise ValueError(f"expected labels and ids of shape {shape}")
        return kept


def _predictions_file(folder: Path, split: str) -> Path:
    return folder / f"predictions_{split}.npz"
