"""NPZ files: the arrays that are wanted of one, and text that NumPy keeps as bytes."""

from __future__ import annotations

import ast
import math
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from lsplus_tf.bounded import LFS, LFS_POINTER, check_member, check_unpacked, opened_zip
from lsplus_tf.errors import InputError, MissingDataError, one_line
from lsplus_tf.files import shown

_MOST_OF_A_TEXT = 4096  # bytes

__all__ = ["array_names", "decoded", "read_arrays", "read_text"]

_ENDING = ".npy"
_HEADER = 10_000  # bytes, which is NumPy's own bound; a dtype of many fields has hundreds
_LONGEST_TEXT = 64 * 2**10  # bytes of a value; paths have some 4,000 characters at most
_SHOWN = 60  # characters of a shape


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
    with _opened(path) as archive:
        return [name.removesuffix(_ENDING) for name in archive.namelist()]


def read_arrays(path: Path, names: Iterable[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Some of a file's arrays by their names; no others are loaded.

    Parameters
    ----------
    path : Path
    names : iterable of str, optional
        Of :func:`array_names`; by default all of them.

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If one of them cannot be read, or would take more memory than there is.
    """
    with _opened(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if names is None:
            names = [name.removesuffix(_ENDING) for name in members]
        # NumPy takes the name as it is, too.
        wanted = {name: members[name if name in members else f"{name}{_ENDING}"] for name in names}
        for name, member in wanted.items():
            with _of_array(path, name):
                check_member(member)
                with archive.open(member) as file:
                    _check_header(file, member.file_size)
        sizes = [sum(sizes) for sizes in zip(*map(_sizes, wanted.values()), strict=True)]
        check_unpacked(*sizes or (0, 0))
        return {name: _array(archive, member) for name, member in wanted.items()}


def _sizes(member: zipfile.ZipInfo) -> tuple[int, int]:
    return member.file_size, member.compress_size


@contextmanager
def _of_array(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{shown(path)}: {shown(name)}: {error}") from error


def _check_header(file: IO[bytes], size: int) -> None:
    """Raise `InputError` unless a member begins as an array does that is as large as it claims."""
    start = file.read(10)
    if start[:6] != b"\x93NUMPY" or len(start) < 10:  # another file in the archive
        raise InputError("expected an array, as np.savez writes it")
    length = int.from_bytes(start[8:], "little")
    if start[6] > 1:  # of which others have four bytes
        length += int.from_bytes(file.read(2), "little") << 16
    if length > _HEADER:
        raise InputError(f"its header claims {length} bytes, expected at most {_HEADER}")
    encoding = "utf-8" if start[6] > 2 else "latin-1"
    header = ast.literal_eval(file.read(length).decode(encoding).strip())
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise InputError("its header is not NumPy's")
    shape, kind = header["shape"], np.lib.format.descr_to_dtype(header["descr"])
    if kind.hasobject:
        raise InputError(
            "holds Python objects, as of text of dtype object or rows of different lengths; "
            "save text with .astype(str), and numbers as one array"
        )
    if kind.kind in "US" and kind.itemsize > _LONGEST_TEXT:
        raise InputError(f"holds text of {kind.itemsize} bytes a value, expected names")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise InputError(f"expected a shape, its header has {str(shape)[:_SHOWN]}")
    needed = math.prod(shape) * max(kind.itemsize, 1)
    if needed > size - file.tell():
        raise InputError(
            f"its header claims {needed} bytes of {str(shape)[:_SHOWN]}, it has "
            f"{size - file.tell()}"
        )


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # at its end the checksum is compared
            raise ValueError(f"{shown(member.filename)} goes on after its array")
    return array


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
    with _opened(path) as archive:
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
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    where = shown(path)
    try:
        if path.is_dir():
            raise InputError(f"{where}: expected an .npz file, received a folder")
        if not path.is_file():
            raise MissingDataError(f"{where}: expected an .npz file, there is none")
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                beginning = file.read(1024)
            if beginning.startswith(LFS):
                raise InputError(f"{where}: {LFS_POINTER}")
            raise InputError(
                f"{where}: holds text although it ends in .npz: rename it, as to .csv"
                if _looks_like_text(beginning)
                else f"{where}: cannot be read as NPZ, it may be cut short; write it with np.savez"
            )
        with opened_zip(path) as archive:
            if len({*archive.namelist()}) < len(archive.namelist()):
                raise InputError("it has two arrays of one name")
            yield archive
    # NumPy lets through what Python's tokenizer raises of damaged headers.
    except Exception as error:
        if isinstance(error, InputError) and str(error).startswith(f"{where}: "):
            raise
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
