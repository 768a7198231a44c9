"""HDF5 files that come from elsewhere, checked before anything of them is used.

HDF5 can do more than hold arrays: a file may name others, on this machine, whose bytes become its
arrays; its groups may run in circles; and a few bytes may claim terabytes. Files of weights have no
need of that. `opened` looks at every object of a file, and reads no array, before it hands it out.
What it cannot see are faults of the HDF5 library itself.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from lsplus_tf.bounded import LITTLE_PACKED, largest_unpacked
from lsplus_tf.errors import one_line
from lsplus_tf.files import shown

__all__ = ["opened", "size_of_arrays"]

# The largest networks of Keras have some 9,000 groups and arrays, with their optimizer's state.
_MOST_OBJECTS = 30_000
# Pieces of arrays: so many, and one for so many bytes, as h5py makes none smaller of large arrays.
# Each takes some 50 us to look at.
_MOST_CHUNKS, _BYTES_OF_A_CHUNK = 10_000, 8 * 2**10
_DEEPEST = 64  # groups in groups; a model within a model within a model has 12
# Bytes of arrays that any file may hold, such as an optimizer's, which are zeros at first. Weights
# hardly compress, those of which nine in ten are zero about tenfold.
_ALWAYS = 256 * 2**20
# Others are loaded from a folder of plugins, or may make any number of bytes of a few.
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_CHECKSUM = 4  # bytes, which Fletcher's filter puts behind a chunk

_OTHER_FILES = "files of weights hold their arrays themselves, do not use this one"
# HDF5's own h5repack lacks filters that h5py has.
_ANEW = "write it anew with h5py, without compression and chunks"


@contextlib.contextmanager
def opened(source: Path | bytes) -> Iterator[h5py.File]:
    """A file that is open for reading, and all of which is in itself and within bounds.

    Parameters
    ----------
    source : Path or bytes
        The file, or what is in it.

    Raises
    ------
    ValueError
        It is damaged, or is not used; the message, of one line, does not name the file.
    OSError
        It cannot be opened as HDF5.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.h5"
    >>> with h5py.File(path, "w") as file:
    ...     file["conv/kernel"] = [1.0, 2.0]
    ...     file["theirs"] = h5py.ExternalLink("other.h5", "conv")
    >>> with opened(path) as file:
    ...     pass
    Traceback (most recent call last):
    ValueError: theirs is a link to another file; files of weights hold their arrays themselves, do
    not use this one
    """
    place: Any = source
    if isinstance(source, bytes):
        place, size = io.BytesIO(source), len(source)
    else:
        size = source.stat().st_size
    with _reporting(), h5py.File(place) as file:
        _check(file, size)
        yield file


def size_of_arrays(file: h5py.File) -> int:
    """How many numbers the arrays of a file have that `opened` gave.

    Parameters
    ----------
    file : h5py.File
    """
    arrays = (item for _, item in _objects(file) if isinstance(item, h5py.Dataset))
    return sum(array.size or 0 for array in arrays)  # None of an array that is empty


@contextlib.contextmanager
def _reporting() -> Iterator[None]:
    """On damaged bytes h5py stumbles in all ways."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"it may be damaged ({one_line(error)})") from error


def _check(file: h5py.File, size: int) -> None:
    most, claimed, chunks = largest_unpacked(size, _ALWAYS, LITTLE_PACKED), 0, 0
    for name, item in _objects(file):
        if not isinstance(item, h5py.Dataset):
            continue
        _check_layout(item, name)
        chunk = _bytes_of(item.chunks, item) if item.chunks else 0
        claimed += max(_bytes_of(item.shape or (), item), chunk)
        if claimed > most:
            raise ValueError(
                f"its {size} bytes claim arrays of more than {most} bytes, {name} among them; it "
                f"is damaged or made to fill the memory"
            )
        if chunk:
            chunks += item.id.get_num_chunks()
            most_chunks = _MOST_CHUNKS + claimed // _BYTES_OF_A_CHUNK
            if chunks > most_chunks:
                raise ValueError(f"its arrays are of more than {most_chunks} pieces; {_ANEW}")
            _check_chunks(item, name, chunk)


def _objects(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """All groups and arrays with their paths, each once, whatever leads to it."""
    groups: list[tuple[str, h5py.Group, int]] = [("", file, 0)]
    met = {h5py.h5o.get_info(file.id).addr}
    links = 0
    while groups:
        place, group, depth = groups.pop()
        if depth > _DEEPEST:
            raise ValueError(f"it has groups within groups, more than {_DEEPEST} deep")
        for key in itertools.islice(group, _MOST_OBJECTS + 1):
            links += 1
            if links > _MOST_OBJECTS:
                raise ValueError(f"it has more than {_MOST_OBJECTS} groups and arrays")
            name = shown(f"{place}{key}")
            if key in ("", ".") or "/" in key:
                raise ValueError(f"{name!r} is no name of a group or an array")
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ValueError(f"{name} is a link to another file; {_OTHER_FILES}")
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{name} is a soft link, which files of weights do not have")
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in met:
                continue
            met.add(address)
            if isinstance(item, h5py.Group):
                groups.append((f"{place}{key}/", item, depth + 1))
            yield name, item


def _check_layout(dataset: h5py.Dataset, name: str) -> None:
    made = dataset.id.get_create_plist()
    if made.get_external_count():
        raise ValueError(f"{name} is stored in another file; {_OTHER_FILES}")
    if made.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError(f"{name} is made of arrays of other files; {_OTHER_FILES}")
    # References, and text or rows of any length; of complex numbers Keras keeps the real parts.
    if dataset.dtype.hasobject or dataset.dtype.kind == "c":
        raise ValueError(f"{name}: expected numbers, received {_kind(dataset)}")
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if not _FILTERS.issuperset(filters) or len(filters) > len(set(filters)):
        raise ValueError(f"{name} is compressed in a way that is not read here; {_ANEW}")


def _kind(dataset: h5py.Dataset) -> str:
    if h5py.check_string_dtype(dataset.dtype):
        return "text"
    if dataset.dtype.kind == "c":
        return "complex numbers"
    return "references" if h5py.check_ref_dtype(dataset.dtype) else "Python objects"


def _bytes_of(shape: tuple[int, ...], dataset: h5py.Dataset) -> int:
    return math.prod(shape) * dataset.dtype.itemsize


def _check_chunks(dataset: h5py.Dataset, name: str, chunk: int) -> None:
    """Refuse compressed pieces that are longer than the array says: HDF5 would inflate them all."""
    made = dataset.id.get_create_plist()
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if h5py.h5z.FILTER_DEFLATE not in filters:
        return
    pieces: list[h5py.h5d.StoreInfo] = []
    dataset.id.chunk_iter(pieces.append)  # which goes on while None is returned
    deflate = filters.index(h5py.h5z.FILTER_DEFLATE)
    for piece in pieces:
        if piece.filter_mask >> deflate & 1:  # this one is not compressed
            continue
        _, stored = dataset.id.read_direct_chunk(piece.chunk_offset)
        inflater = zlib.decompressobj()
        try:
            inflater.decompress(stored, chunk + _CHECKSUM)
            longer = bool(inflater.decompress(inflater.unconsumed_tail, 1))
        except zlib.error as error:
            raise ValueError(f"{name} is damaged ({one_line(error)})") from error
        if longer:
            raise ValueError(f"{name} is longer than it says; it is damaged")
