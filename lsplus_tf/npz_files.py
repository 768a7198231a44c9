"""NPZ files: the arrays that are wanted of one, and text that NumPy keeps as bytes."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsplus_tf.errors import InputError, MissingDataError, one_line
from lsplus_tf.files import shown

_MOST_OF_A_TEXT = 4096  # bytes

__all__ = ["array_names", "decoded", "read_arrays", "read_text"]


def array_names(path: Path) -> list[str]:
    """The names of a file's arrays, in its order.

    Parameters
    ----------
    path : Path

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If it is no NPZ file.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "some.npz"
    >>> np.savez(path, labels=[0, 1], logits=[[1.0, 2.0], [3.0, 4.0]])
    >>> array_names(path), read_arrays(path, ["labels"])
    (['labels', 'logits'], {'labels': array([0, 1])})
    """
    with _opened(path) as file:
        return list(file)


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """Some of a file's arrays by their names; no others are loaded.

    Parameters
    ----------
    path : Path
    names : iterable of str
        Of :func:`array_names`.

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If one of them cannot be read.
    """
    with _opened(path) as file:
        arrays = {name: file[name] for name in names}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # another file in the archive
            raise InputError(f"{shown(path)}: {name}: expected an array, as np.savez writes it")
    return arrays


def read_text(path: Path, name: str) -> str | None:
    """The one short text that an array holds, or None where there is no such array.

    Parameters
    ----------
    path : Path
    name : str

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "some.npz"
    >>> np.savez(path, model="sha256:0a", labels=[0, 1])
    >>> read_text(path, "model"), read_text(path, "labels"), read_text(path, "split")
    ('sha256:0a', None, None)
    """
    with zipfile.ZipFile(path) as archive:
        sizes = {each.filename: each.file_size for each in archive.infolist()}
    # Larger ones are something else, and are not unpacked.
    if sizes.get(f"{name}.npy", math.inf) > _MOST_OF_A_TEXT:
        return None
    with suppress(InputError):  # as of Python objects
        array = np.asarray(decoded(read_arrays(path, [name])[name], name))
        if array.size == 1 and array.dtype.kind == "U":
            return str(array.item())
    return None


def _looks_like_text(beginning: bytes) -> bool:
    with suppress(UnicodeDecodeError):
        return (
            b"\n" in beginning
            and beginning.decode("ascii")
            .replace("\n", " ")
            .replace("\r", " ")
            .replace("\t", " ")
            .isprintable()
        )
    return False


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    where = shown(path)
    try:
        if path.is_dir():
            raise InputError(f"{where}: expected an .npz file, received a folder")
        if not path.is_file():
            raise MissingDataError(f"{where}: expected an .npz file, there is none")
        if not zipfile.is_zipfile(path):
            with path.open("rb") as beginning:
                is_text = _looks_like_text(beginning.read(1024))
            raise InputError(
                f"{where}: holds text although it ends in .npz: rename it, as to .csv"
                if is_text
                else f"{where}: cannot be read as NPZ, it may be cut short; write it with np.savez"
            )
        with np.load(path, allow_pickle=False) as file:
            yield file
    except InputError:
        raise
    # NumPy lets through what zipfile, zlib and Python's tokenizer raise of damaged files.
    except Exception as error:
        if "bject arrays" in str(error):
            raise InputError(
                f"{where}: an array holds Python objects, as of text of dtype object or rows of "
                "different lengths; save text with .astype(str), and numbers as one array"
            ) from error
        raise InputError(
            f"{where}: cannot be read as NPZ, it may be damaged ({one_line(error)}); write it with "
            "np.savez"
        ) from error


def decoded(values: Any, named: str) -> Any:
    """Values (N, ...) with text in place of bytes, as HDF5 and NumPy keep it; others as they are.

    Parameters
    ----------
    values : array_like
        The first value tells bytes.
    named : str
        What they are called, for messages.

    Raises
    ------
    InputError
        If bytes are no text in UTF-8.

    Examples
    --------
    >>> decoded(np.array([b"HP", b"SSA"]), "labels").tolist()
    ['HP', 'SSA']
    """
    first = np.ravel(values[:1] if np.ndim(values) else values)
    if first.dtype.kind not in "SO" or not isinstance(next(first.flat, None), bytes):
        return values
    array = np.asarray(values)
    try:
        texts = [each.decode() if isinstance(each, bytes) else each for each in array.flat]
    except UnicodeDecodeError as error:
        raise InputError(f"{named}: expected text in UTF-8 ({one_line(error)})") from error
    return np.array(texts, "U" if array.dtype.kind == "S" else object).reshape(array.shape)
