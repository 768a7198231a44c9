"""Broken and hostile files, and that what reads them does so within bounds."""

from __future__ import annotations

import contextlib
import random
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lsplus_tf.errors import InputError

SECONDS = 3.0  # of processor time, for one file
MEMORY = 200 * 2**20  # bytes, for one file

Make = Callable[[Path], object]


def holding(data: bytes | str | Callable[[], bytes]) -> Make:
    """Makes a file that has these bytes, which may take long to make."""

    def make(path: Path) -> None:
        made = data() if callable(data) else data
        path.write_bytes(made.encode() if isinstance(made, str) else made)

    return make


def broken(whole: bytes) -> dict[str, Make]:
    """Files that a whole one became by accident. Some may still be read, as with a bit flipped."""
    draw = random.Random(0)

    def flipped(count: int) -> bytes:
        data = bytearray(whole)
        for _ in range(count):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        return bytes(data)

    half = len(whole) // 2
    return {
        # Named without the file's length: Excel's has the time in it, and another one every second.
        **{f"cut after {size} bytes": holding(whole[:size]) for size in (1, 3, 8)},
        **{f"cut after {k} quarters": holding(whole[: k * len(whole) // 4]) for k in (1, 2, 3)},
        "cut before the last byte": holding(whole[:-1]),
        **{
            f"{count} bits flipped, {k}": holding(flipped(count)) for count in (1, 9) for k in "abc"
        },
        "zeros in the middle": holding(whole[:half] + bytes(64) + whole[half + 64 :]),
        "its beginning lost": holding(whole[16:]),
        "another beginning": holding(b"\x89PNG\r\n\x1a\n" + whole[8:]),
        "a page of the web": holding("<!DOCTYPE html>\n<html><body>404, Not found</body></html>\n"),
        "noise": holding(draw.randbytes(4096)),
        "zeros": holding(bytes(4096)),
        "twice": holding(whole + whole),
    }


# Of every kind, and never read.
NOTHING: dict[str, Make] = {
    "empty": holding(b""),
    "a folder": Path.mkdir,
    "a link to nothing": lambda path: path.symlink_to(path.with_name("nothing")),
    "a link to itself": lambda path: path.symlink_to(path),
    "there is none": lambda path: None,
}


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    name : str
        Of a file of this kind.
    read : callable
        The public function that reads it.
    whole : bytes
        A file that is read.
    hostile : dict
        What makes those that must be refused.
    """

    name: str
    read: Callable[[Path], Any]
    whole: bytes
    hostile: dict[str, Make]


def refused(kinds: dict[str, Kind]) -> pytest.MarkDecorator:
    """Parametrise a test by each `kind`, and what makes a file that must be refused."""
    return pytest.mark.parametrize(
        ("kind", "make"),
        [
            pytest.param(kind, make, id=f"{name}-{of}")
            for name, kind in kinds.items()
            for of, make in {**NOTHING, **kind.hostile}.items()
        ],
    )


def damaged(kinds: dict[str, Kind]) -> pytest.MarkDecorator:
    """Parametrise a test by each `kind`, and what makes a file that may be refused."""
    return pytest.mark.parametrize(
        ("kind", "make"),
        [
            pytest.param(kind, make, id=f"{name}-{of}")
            for name, kind in kinds.items()
            for of, make in broken(kind.whole).items()
        ],
    )


def check_refused(kind: Kind, make: Make, folder: Path) -> str:
    """The message of the `InputError` of one line that names the file."""
    path = folder / kind.name
    make(path)
    with within_bounds(), pytest.raises(InputError) as caught:
        kind.read(path)
    return _checked(str(caught.value), path)


def check_survived(kind: Kind, make: Make, folder: Path) -> None:
    """That a file is read, or refused as by `check_refused`."""
    path = folder / kind.name
    make(path)
    with within_bounds():
        try:
            kind.read(path)
        except InputError as error:
            _checked(str(error), path)


def _checked(message: str, path: Path) -> str:
    assert message.isprintable(), message
    assert str(path.parent) in message or path.name in message, message
    assert len(message) < 10_000, message
    return message


@contextlib.contextmanager
def within_bounds(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Fail if the block takes more processor time, or more memory beyond what is taken now."""
    clear = Path("/proc/self/clear_refs")  # Linux's: with 5 the peak begins anew
    measured = clear.exists()
    if measured:
        clear.write_text("5")
    before, start = _bytes("VmRSS") if measured else 0, time.process_time()
    yield
    took = time.process_time() - start
    assert took < seconds, f"{took:.1f} seconds"
    if measured:
        more = _bytes("VmHWM") - before
        assert more < memory, f"{more / 2**20:.0f} MiB"


def _bytes(what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


# --- ZIP ------------------------------------------------------------------------------------------

STORED, DEFLATED, BZIP2 = 0, 8, 12


@dataclass(frozen=True)
class Member:
    """A member of a ZIP archive, as its headers claim it.

    Attributes
    ----------
    name : str
    data : bytes
        What is in the file, packed or not.
    method : int
        How it is packed, as the header says.
    claimed : int or None
        How many bytes it has unpacked, as the header says; None for the truth of a stored one.
    crc : int or None
        Its checksum, as the header says; None for the truth of a stored one.
    flags : int
    packed : int or None
        How many bytes it has in the file, as the header says; None for the truth.
    """

    name: str
    data: bytes
    method: int = STORED
    claimed: int | None = None
    crc: int | None = None
    flags: int = 0
    packed: int | None = None


def zip_of(*members: Member, count: int | None = None, directory: int | None = None) -> bytes:
    """A ZIP archive with headers as they are given.

    `count` and `directory` are how many members it says there are, and bytes of their list.
    """
    body, listing = bytearray(), bytearray()
    for each in members:
        name = each.name.encode()
        crc = zlib.crc32(each.data) if each.crc is None else each.crc
        claimed = len(each.data) if each.claimed is None else each.claimed
        packed = len(each.data) if each.packed is None else each.packed
        sizes = struct.pack("<LLLHH", crc, packed, claimed, len(name), 0)
        kind = struct.pack("<HHHHH", 20, each.flags, each.method, 0, 33)
        listing += b"PK\1\2" + struct.pack("<H", 20) + kind + sizes
        listing += struct.pack("<HHHLL", 0, 0, 0, 0, len(body)) + name
        body += b"PK\3\4" + kind + sizes + name + each.data
    total = len(members) if count is None else count
    size = len(listing) if directory is None else directory
    end = struct.pack("<HHHHLLH", 0, 0, total, total, size, len(body), 0)
    return bytes(body + listing) + b"PK\5\6" + end


def deflated(data: bytes, zeros: int = 0) -> bytes:
    """Data and MiB of zeros, packed as ZIP does; the zeros in a thousandth of their size."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush nothing refers to what was before, so that it can be repeated.
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return packed + zeros * block + packer.flush()
