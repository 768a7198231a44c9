"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

__all__ = [
    "locked",
    "written_whole",
]


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file or folder name beside `path`, renamed to `path` if the block succeeds.

    What a killed process left under the temporary name is removed by the next that comes. Where
    several processes may write the same `path`, see `locked`. What was renamed is on the disk, so
    that it is whole even where the power fails.
    """
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(partial)
    try:
        yield partial
        _to_disk(partial)
        if path.is_dir() or partial.is_dir():  # only a file replaces a file in one step
            _remove(path)
        os.replace(partial, path)
        _sync(path.parent)
    finally:
        _remove(partial)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let other processes wait that come to a block for the same `path`.

    Holds between hosts where their shared file system has file locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with lock:
        try:
            yield
        finally:
            # While it is held: those that wait for the old file find that it is gone.
            Path(lock.lock_file).unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Wait until the system has written a file or folder: a rename may come to the disk sooner."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        _sync(file)
    _sync(path)


def _sync(path: Path) -> None:
    if os.name != "posix":  # where neither folders nor files open for reading can be synced
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # which some file systems cannot sync
            raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
