"""Decoding all of a data set's image files, into memory or into a folder that is kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL

from lsplus_tf import bounded
from lsplus_tf.datasets import dicom
from lsplus_tf.datasets.base import Split
from lsplus_tf.datasets.image_files import READ_ERRORS, ImageFiles
from lsplus_tf.datasets.images import for_each
from lsplus_tf.errors import InputError, one_line
from lsplus_tf.files import reporting, written_whole

CACHE_DIR = Path("~/.cache/lsplus_tf/images")
_PIXELS, _FAILED = "images.npy", "unreadable.json"
_MOST_FAILED = 2**30  # bytes of JSON, of a million files that cannot be read


class Nowhere:
    """Takes images without keeping them."""

    def __setitem__(self, index: int, image: npt.NDArray[np.uint8]) -> None:
        pass


def decode_all(
    images: ImageFiles, into: npt.NDArray[np.uint8] | Nowhere, broken: dict[str, str]
) -> npt.NDArray[np.bool_]:
    """Decode all files into an array (N, H, W, C); which could be read, (N,).

    Those that could not are added to `broken`, their rows unset; those in it are not tried.
    """
    failures: dict[int, str] = {}
    names = images.names.tolist()

    def decode(index: int) -> None:
        if names[index] not in broken:
            try:
                into[index] = images.decode_one(index)
            except READ_ERRORS as error:
                failures[index] = one_line(error)

    for_each(decode, len(images))
    broken.update((names[index], failures[index]) for index in sorted(failures))
    return np.array([name not in broken for name in names])


def check_room(splits: list[Split], folder: Path, name: str) -> None:
    """Refuse to cache the images of the splits where there is no room for them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"dataset.cache_dir: no folder can be there ({error})") from error
    needed = sum(int(np.prod(split.images.shape)) for split in splits)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{name}: dataset.cache: disk needs {needed / 2**30:.1f} GiB in {folder}, "
            f"which has {free / 2**30:.1f} GiB; set dataset.cache_dir, a smaller "
            "dataset.image_size or dataset.cache=none"
        )


def on_disk(
    images: ImageFiles, cache: Path, broken: dict[str, str]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The readable images, mapped from the folder `cache`, which is made if there is none.

    Also which those are. What could not be read is added to `broken`.
    """
    with reporting(cache.parent, "dataset.cache_dir"), _one_process_at_a_time(cache):
        if cache.exists():
            try:
                return _read_cache(images, cache, broken)
            except Exception as error:  # NumPy and JSON stumble in all ways on damaged bytes
                _remove_damaged(cache, error)
        with written_whole(cache) as partial:
            partial.mkdir()
            _write_cache(images, partial)
        return _read_cache(images, cache, broken)


def _read_cache(
    images: ImageFiles, cache: Path, broken: dict[str, str]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    failed = bounded.read_json(cache / _FAILED, _MOST_FAILED)
    pixels = np.lib.format.open_memmap(cache / _PIXELS, mode="r")
    if not isinstance(failed, dict) or not all(isinstance(why, str) for why in failed.values()):
        raise ValueError(f"{_FAILED} does not say what failed")
    good = np.isin(images.names, list(failed), invert=True)
    expected = (int(good.sum()), *images.shape[1:])
    if pixels.dtype != np.uint8 or pixels.shape != expected or not pixels.flags.c_contiguous:
        raise ValueError(f"{_PIXELS} does not hold uint8 of shape {expected}")
    broken.update(failed)
    return pixels, good


def _remove_damaged(cache: Path, error: Exception) -> None:
    """Make room for a new cache, unless there is something that this package did not write."""
    if not cache.is_dir() or {path.name for path in cache.iterdir()} - {_PIXELS, _FAILED}:
        raise InputError(
            f"{cache}: damaged image cache ({one_line(error)}); delete it, or set dataset.cache_dir"
        ) from error
    shutil.rmtree(cache)


@contextlib.contextmanager
def _one_process_at_a_time(cache: Path) -> Iterator[None]:
    """Let a second process that wants the same cache wait, and then find it."""
    try:
        import fcntl
    except ImportError as error:
        raise InputError(
            "dataset.cache: 'disk' needs file locks as on Linux and macOS; set memory or none"
        ) from error
    with cache.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed, be it by a crash
        yield


def _write_cache(images: ImageFiles, folder: Path) -> None:
    failed: dict[str, str] = {}
    good = decode_all(images, _mapped(folder, images), failed)
    if failed:  # rarely: once more, without them
        readable = images[np.flatnonzero(good)]
        decode_all(readable, _mapped(folder, readable), {})
    (folder / _FAILED).write_text(json.dumps(failed), encoding="utf-8")


def _mapped(folder: Path, images: ImageFiles) -> npt.NDArray[np.uint8]:
    """An array for the images that is a file."""
    return np.lib.format.open_memmap(folder / _PIXELS, "w+", np.uint8, images.shape)


def fingerprint(images: ImageFiles) -> str:
    """Changes with the files, their sizes and times, and with how they are decoded."""
    names = images.names.tolist()
    readers = [PIL.__version__]
    if any(map(dicom.is_named, names)):
        readers.append(version("pydicom"))
    how = (images.shape, images.resize, images.interpolation, images.scaling, readers)
    digest = hashlib.sha256(repr((*how, images.background)).encode())
    for name in names:
        path = images.root.resolve() / name
        try:
            stat = path.stat()
            state = f"{stat.st_size}|{stat.st_mtime_ns}"
        except OSError:  # told with all that cannot be decoded
            state = "missing"
        digest.update(f"{path}|{state}\n".encode())
    return digest.hexdigest()[:32]
