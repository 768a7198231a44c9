"""The bytes of a file: unpacked, and as text in UTF-8."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from lsplus_tf.bounded import UNPACKED, largest_unpacked
from lsplus_tf.errors import InputError, one_line
from lsplus_tf.files import shown
from lsplus_tf.tables.rows import Rows

BLOCK = 2**20  # bytes that Arrow reads at a time, in which a row has to fit
_TIMES = 200  # what gzip unpacks; CSV of 0 and 1 is packed to a fiftieth, zeros to a thousandth
_END = b"\x1a"  # of a text, in DOS
CSV_IN_UTF_8 = "save it as CSV in UTF-8"


def suffix_of(path: Path) -> str:
    """In small letters, without that of gzip."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == ".gz" else suffix


def binary(path: Path) -> BinaryIO:
    """The file, unpacked where it is packed by gzip."""
    file = path.open("rb")
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not packed:
        return file
    with file:
        try:
            return _unpacked(path, file)
        except InputError:
            raise
        except (EOFError, MemoryError, OSError, zlib.error) as error:
            raise InputError(
                f"{shown(path)}: cannot be unpacked by gzip ({one_line(error)}); copy or download "
                "it again"
            ) from error


def _unpacked(path: Path, file: BinaryIO) -> BinaryIO:
    packed = path.stat().st_size
    unpacked, most = io.BytesIO(), largest_unpacked(packed, UNPACKED, _TIMES)
    with gzip.open(file) as blocks:
        while block := blocks.read(BLOCK):
            unpacked.write(block)
            if unpacked.tell() > most:
                raise InputError(
                    f"{shown(path)}: its {packed} bytes, packed by gzip, become more than {most}, "
                    f"{_TIMES} times as many, as no table does; unpack it, if it is one"
                )
    unpacked.seek(0)
    return unpacked


def utf_8(path: Path) -> tuple[Callable[[], BinaryIO], list[str]]:
    """A function that opens a file's text, in UTF-8, and what is to be said of it."""
    rows = Rows(shown(path))
    with binary(path) as file:
        file = _without_end_mark(file)
        if _is_utf_8(file):
            if isinstance(file, io.BytesIO):  # what was unpacked
                return partial(io.BytesIO, file.getvalue()), []
            return partial(binary, path), []
        file.seek(0)
        data = file.read()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            data = data.decode("utf-16").encode()
        except UnicodeError as error:
            raise rows.error(f"cannot be read as UTF-16; {CSV_IN_UTF_8}") from error
    if b"\0" in data:
        raise rows.error(f"is no text; {CSV_IN_UTF_8}, or as .xlsx or .parquet with that suffix")
    try:
        data.decode()
        return partial(io.BytesIO, data), []
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    # Text in Latin-1 has no control characters, and hardly ever what would be a letter in UTF-8.
    try:
        text = data.decode("cp1252")
        mixed = not data.decode(errors="ignore").isascii()
    except UnicodeDecodeError:
        mixed = True
    if mixed or re.search(rb"[\x01-\x08\x0e-\x1f\x7f]", data):
        raise rows.error(f"cannot be read as UTF-8 (line {line}), nor as Latin-1; {CSV_IN_UTF_8}")
    said = [
        "read as Latin-1 (Windows-1252), as it is not in UTF-8: if letters come out wrong, "
        f"{CSV_IN_UTF_8}"
    ]
    return partial(io.BytesIO, text.encode()), said


def _without_end_mark(file: BinaryIO) -> BinaryIO:
    """The file, in memory where DOS marked its end."""
    file.seek(max(0, file.seek(0, io.SEEK_END) - len(_END + b"\r\n")))
    marked = file.read().rstrip().endswith(_END)
    file.seek(0)
    if not marked or file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        file.seek(0)
        return file
    file.seek(0)
    return io.BytesIO(file.read().rstrip(_END + b"\r\n"))


def _is_utf_8(file: BinaryIO) -> bool:
    """Whether a file is text in UTF-8; the same memory is used again and again."""
    block, decoder = bytearray(BLOCK), codecs.getincrementaldecoder("utf-8")()
    with suppress(UnicodeDecodeError):
        while size := file.readinto(block):  # type: ignore[attr-defined]
            part = block if size == len(block) else block[:size]
            if 0 in part:
                return False
            decoder.decode(part)
        decoder.decode(b"", final=True)
        return True
    return False
