"""JSON, YAML and ZIP archives of others, read within bounds.

A small file can ask for all memory, or for a stack that ends the process: brackets in brackets,
aliases of aliases, a packed gigabyte of zeros. What a file asks for is reckoned here before it is
made. The bounds lie far above what people have; all that is wrong with a file is an `InputError`
of one line, without the file's name, which the caller has.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import math
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from lsplus_tf.errors import InputError, one_line

__all__ = [
    "DOCUMENT",
    "LITTLE_PACKED",
    "UNPACKED",
    "check_member",
    "check_unpacked",
    "json_of",
    "largest_unpacked",
    "opened_zip",
    "read_json",
    "read_member",
    "read_text",
    "read_yaml",
    "yaml_of",
    "yaml_text",
]

DOCUMENT = 64 * 2**20  # bytes of a JSON file that is no table
# How a file begins in whose place Git LFS has left a note, and what that means.
LFS = b"version https://git-lfs"
LFS_POINTER = "is a pointer of Git LFS in place of the file; fetch it, as with git lfs pull"
_TAB = re.compile(r"^ *\t", re.MULTILINE)
_YAML = 4 * 2**20  # bytes; the largest grids have 100 kB
_JSON_DEPTH = 200  # Keras models in models in models have some 80
_YAML_DEPTH = 100  # experiments have 8
# Bytes of a YAML document once aliases are followed, of which each value counts _NODE more.
_FOLLOWED, _NODE = 32 * 2**20, 200
_BLOCK = 2**20  # brackets that are counted at a time
_DIGITS = 308  # of an integer; with one more some are beyond all floats
_DIRECTORY = 8 * 2**20  # bytes of the list of an archive's members, each has 46 and its name
_MEMBERS = 20_000
_DEFLATE = 1032  # times: the most that deflate can pack anything
# What is packed like this is next to constant, as no data are; from a gigabyte on it is refused.
_CONSTANT, _SOME = 900, 2**30
# What unpacked files may have in any case, and times the packed ones of what hardly can be packed.
UNPACKED, LITTLE_PACKED = 64 * 2**20, 20
_MEMORY = 64 * 2**30  # bytes, where the system does not say how much there is


def read_text(path: Path, largest: int = DOCUMENT) -> str:
    """The text of a file in UTF-8.

    Parameters
    ----------
    path : Path
    largest : int
        The most bytes that it may have.

    Raises
    ------
    InputError
        It has more, or is no such text.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(largest + 1)  # a device has no size
    _check_size(len(data), largest)
    return _decoded(data)


def _check_size(size: int, largest: int) -> None:
    if size > largest:
        raise InputError(f"expected at most {_in_words(largest)}, received more")


def _decoded(data: bytes) -> str:
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"expected text in UTF-8 ({one_line(error)})") from error


def _in_words(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


# --- JSON -----------------------------------------------------------------------------------------


def read_json(path: Path, largest: int = DOCUMENT) -> Any:
    """The value of a JSON file, as :func:`json_of` has it.

    Parameters
    ----------
    path, largest
        As in :func:`read_text`.
    """
    return json_of(read_text(path, largest), largest)


def json_of(
    text: str | bytes,
    largest: int = DOCUMENT,
    *,
    finite: bool = True,
    most_values: int | None = None,
) -> Any:
    """The value of a JSON text.

    Parameters
    ----------
    text : str or bytes
        Bytes are UTF-8.
    largest : int
        The most bytes that it may have.
    finite : bool
        Refuse NaN, infinities, and numbers beyond all floats; or let them be floats.
    most_values : int or None
        The most commas and opening brackets that it may have, as each value takes memory and time
        however short it is.

    Raises
    ------
    InputError
        It is no JSON, too large or deep, of too many values, or has a key twice in one object or an
        integer of more than 308 digits.
    """
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    _check_size(len(data), largest)
    if most_values is not None and sum(map(data.count, (b",", b"[", b"{"))) > most_values:
        raise InputError(f"expected at most {most_values} values, received more")
    if _levels(data) > _JSON_DEPTH:
        raise InputError(f"expected JSON of at most {_JSON_DEPTH} levels, received more")
    whole = text if isinstance(text, str) else _decoded(text)
    try:
        return (_FINITE if finite else _NOT_FINITE).decode(whole)
    except InputError:
        raise
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(one_line(error)) from error


def _levels(data: bytes) -> int:
    """How many levels a JSON text has, or 0 if they are few."""
    if data.count(b"[") + data.count(b"{") <= _JSON_DEPTH:
        return 0
    import numpy as np  # which a config does without

    steps = np.zeros(256, np.int64)
    steps[[*b"[{"]], steps[[*b"]}"]] = 1, -1
    # An escaped quotation mark does not end a text, unless the backslash is escaped itself.
    marks = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_MARKS)
    level, most, quotes = 0, 0, 0
    for start in range(0, len(marks), _BLOCK):
        part = np.frombuffer(marks, np.uint8, min(_BLOCK, len(marks) - start), start)
        before = quotes + np.cumsum(part == ord('"'))
        levels = level + np.cumsum(np.where(before % 2 == 0, steps[part], 0))
        level, most, quotes = int(levels[-1]), max(most, int(levels.max())), int(before[-1])
    return most


_NO_MARKS = bytes({*range(256)} - {*b'"[]{}'})


def _refuse_constant(constant: str) -> None:
    raise InputError(f"{constant} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise InputError(f"expected numbers that a float can hold, received {_cut(digits)}")
    return number


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > _DIGITS:
        raise InputError(
            f"expected integers of at most {_DIGITS} digits, received {_cut(digits)} of "
            f"{len(digits)}"
        )
    return int(digits)


def _cut(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:20]}..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise InputError(f"duplicate key {_cut(repr(twice))}")
    return found


# Made once, as there are files with an object in each of a million lines.
_NOT_FINITE = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_object)
_FINITE = json.JSONDecoder(
    parse_int=_integer,
    object_pairs_hook=_object,
    parse_constant=_refuse_constant,
    parse_float=_finite,
)


# --- YAML -----------------------------------------------------------------------------------------

_TAG, _MERGE = "tag:yaml.org,2002:", object()
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|0b[01][01_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_OWN = {f"{_TAG}{kind}" for kind in ("int", "float", "timestamp", "value")}
_READ = {f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}
# libyaml's, where PyYAML has it, is some twenty times as fast.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):
    """YAML 1.1 as PyYAML reads it safely, without what is seldom meant.

    Text are times (12:30, which would be 750) and dates, numbers with a 0 before them (010, which
    would be 8), and "=". 1e-3 is a number, which YAML 1.1 would take for text.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  as PyYAML has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OWN]
        for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(yaml.SafeDumper):
    """PyYAML's, with quotation marks around text that `_Loader` would take for a number."""


def _yaml_integer(loader: Any, node: yaml.ScalarNode) -> int:
    digits = loader.construct_scalar(node).replace("_", "")
    if len(digits) <= 2 * _DIGITS:
        number = int(digits, 0)
        if abs(number) < 10**_DIGITS:
            return number
    raise InputError(
        f"expected integers of at most {_DIGITS} digits, received {_cut(digits)} in line "
        f"{node.start_mark.line + 1}"
    )


def _yaml_float(loader: Any, node: yaml.ScalarNode) -> float:
    digits = loader.construct_scalar(node).replace("_", "").lower()
    return float(re.sub(r"^([-+]?)\.(?=[in])", r"\1", digits))


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        f"{_TAG}int", re.compile(f"(?:{_INTEGER.pattern})$"), [*"-+0123456789"]
    )
    _class.add_implicit_resolver(
        f"{_TAG}float", re.compile(f"(?:{_FLOAT.pattern})$"), [*"-+.0123456789"]
    )
_Loader.add_constructor(f"{_TAG}int", _yaml_integer)
_Loader.add_constructor(f"{_TAG}float", _yaml_float)


class _Keys(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """What `_Loader` takes scalars for, one at a time."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers
    yaml_constructors = _Loader.yaml_constructors

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)

    def value(self, event: yaml.ScalarEvent) -> Any:
        """A scalar's value; `_MERGE` if what it is the key of is merged."""
        tag = event.tag or self.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag == f"{_TAG}merge":
            return _MERGE
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        return event.value if tag == f"{_TAG}str" else self.construct_object(node)


def read_yaml(path: Path) -> Any:
    """The value of a YAML file, as :func:`yaml_of` has it.

    Parameters
    ----------
    path : Path
    """
    return yaml_of(read_text(path, _YAML))


def yaml_of(text: str) -> Any:
    """The value of a YAML text: of lists, dicts, text, numbers, true, false and null.

    Parameters
    ----------
    text : str
        Anchors and `<<` may be in it.

    Raises
    ------
    InputError
        It is no YAML, too large or deep, also once aliases are followed, or has a key twice in one
        mapping or a value of another kind.

    Examples
    --------
    >>> yaml_of("{rate: 1e-3, at: 1:30, on: 2020-01-01, shuffle: yes}")
    {'rate': 0.001, 'at': '1:30', True: '2020-01-01', 'shuffle': True}
    """
    _check_size(len(text), _YAML)
    try:
        _check_events(yaml.parse(text, Loader=_Loader))
        return yaml.load(text, Loader=_Loader)
    except InputError:
        raise
    # PyYAML lets through what Python raises of "!!int x", and of half a character.
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = one_line(error).replace('in "<unicode string>", ', "in ")
        if _TAB.search(text):
            why += "; YAML is indented by blanks: replace the tabs in front of its lines"
        raise InputError(why) from error


class _Open:
    """A sequence or mapping whose end has not come."""

    def __init__(self, anchor: str | None, is_mapping: bool) -> None:
        self.anchor, self.size = anchor, _NODE
        self.keys: set[Any] | None = set() if is_mapping else None
        self.is_key_next = is_mapping


def _check_events(events: Iterator[Any]) -> None:
    """Raise `InputError` for what must not be made; the parser makes nothing but these events."""
    opened: list[_Open] = [_Open(None, False)]  # of the whole
    sizes: dict[str, int] = {}  # of what anchors are of, aliases in it followed
    scalars: dict[str, yaml.ScalarEvent] = {}  # that anchors are of
    keys = _Keys()
    for event in events:
        match event:
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                _check_tag(event)
                _turn(opened[-1])
                opened.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
                if len(opened) > _YAML_DEPTH + 1:  # the whole is the first
                    raise InputError(
                        f"expected YAML of at most {_YAML_DEPTH} levels, received more in line "
                        f"{event.start_mark.line + 1}"
                    )
                continue
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                done = opened.pop()
                anchor, size = done.anchor, done.size
            case yaml.ScalarEvent():
                _check_tag(event)
                _check_key(opened[-1], event, event, keys)
                _turn(opened[-1])
                anchor, size = event.anchor, _NODE + len(event.value)
                if anchor is not None:
                    scalars[anchor] = event
            case yaml.AliasEvent():
                if any(each.anchor == event.anchor for each in opened):
                    raise InputError(
                        f"*{_cut(event.anchor)} in line {event.start_mark.line + 1} is a part of "
                        "itself"
                    )
                if event.anchor in scalars:
                    _check_key(opened[-1], scalars[event.anchor], event, keys)
                _turn(opened[-1])
                anchor, size = None, sizes.get(event.anchor, 0)
            case _:
                continue
        if anchor is not None:
            sizes[anchor] = size
        opened[-1].size += size
        if opened[-1].size > _FOLLOWED:
            raise InputError(
                f"expected at most {_in_words(_FOLLOWED)} once aliases are followed, received more "
                f"in line {event.start_mark.line + 1}"
            )


def _turn(within: _Open) -> None:
    """After a key comes a value, and after a value a key."""
    within.is_key_next = within.keys is not None and not within.is_key_next


def _check_key(within: _Open, scalar: yaml.ScalarEvent, event: Any, keys: _Keys) -> None:
    """Raise `InputError` for a key that means the same as one before: yes, true and True."""
    if within.keys is None or not within.is_key_next:
        return
    key = keys.value(scalar)
    if key is _MERGE:
        return
    if key in within.keys:
        raise InputError(f"duplicate key {_cut(scalar.value)} in line {event.start_mark.line + 1}")
    within.keys.add(key)


def _check_tag(event: Any) -> None:
    if event.tag is not None and event.tag not in _READ:
        raise InputError(
            f"{_cut(event.tag)} in line {event.start_mark.line + 1} is no kind of value that is "
            "read here"
        )


def yaml_text(values: Any) -> str:
    """Values as YAML, which :func:`yaml_of` takes for the same.

    Parameters
    ----------
    values : object

    Examples
    --------
    >>> yaml_text({"names": ["1e3", "no"], "rate": 1e-3})
    "names:\\n- '1e3'\\n- 'no'\\nrate: 0.001\\n"
    """
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False)
    return text


# --- ZIP ------------------------------------------------------------------------------------------


class _Listing:
    """A file of which no more is read at once, until `largest` is None."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.largest: int | None = _DIRECTORY
        self.seek, self.tell, self.close = file.seek, file.tell, file.close
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        if self.largest is not None and size > self.largest:
            raise InputError(
                f"expected a list of members of at most {_in_words(self.largest)}, it claims more"
            )
        return self._file.read(size)


@contextlib.contextmanager
def opened_zip(file: Path | BinaryIO) -> Iterator[zipfile.ZipFile]:
    """A ZIP archive; nothing in it is unpacked. What is wrong with it is told in the block too.

    Parameters
    ----------
    file : Path or BinaryIO

    Raises
    ------
    InputError
        It is none, is damaged, or lists more than 20,000 members or 8 MiB of them.
    """
    with contextlib.ExitStack() as stack:
        binary = stack.enter_context(file.open("rb")) if isinstance(file, Path) else file
        try:
            listing = _Listing(binary)
            archive = stack.enter_context(zipfile.ZipFile(listing))
            listing.largest = None
            packed = sum(member.compress_size for member in archive.infolist())
            if len(archive.infolist()) > _MEMBERS:
                raise InputError(f"expected at most {_MEMBERS} members, received more")
            if packed > binary.seek(0, os.SEEK_END):
                raise InputError("its members claim more bytes than it has")
            yield archive
        except InputError:
            raise
        except (
            EOFError,
            MemoryError,
            NotImplementedError,  # of other ways of packing
            OSError,
            OverflowError,
            RuntimeError,  # of a password
            UnicodeError,
            struct.error,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise InputError(one_line(error)) from error


def read_member(archive: zipfile.ZipFile, name: str, largest: int = DOCUMENT) -> bytes:
    """The bytes of an archive's member, which exists.

    Parameters
    ----------
    archive : ZipFile
    name : str
    largest : int
        The most bytes that it may have, unpacked.

    Raises
    ------
    InputError
        It claims more, or more than its packed bytes can hold.
    """
    member = archive.getinfo(name)
    _check_size(member.file_size, largest)
    check_member(member)
    return archive.read(member)


def check_member(member: zipfile.ZipInfo) -> None:
    """Raise `InputError` for a member that claims more than can be, or more than memory has.

    Parameters
    ----------
    member : ZipInfo
    """
    claimed, packed = member.file_size, member.compress_size
    if member.compress_type == zipfile.ZIP_STORED:
        is_true = claimed == packed
    else:
        is_true = member.compress_type == zipfile.ZIP_DEFLATED and claimed <= _DEFLATE * (
            packed + 1
        )
    if not is_true:
        raise InputError(f"claims {claimed} bytes, packed in {packed}, which cannot be")
    check_unpacked(claimed, packed)


def check_unpacked(claimed: int, packed: int) -> None:
    """Raise `InputError` for what would take all memory, or what is packed as only constants are.

    Parameters
    ----------
    claimed : int
        The bytes that it takes in memory.
    packed : int
        The bytes that it takes in the file.
    """
    if claimed > largest_unpacked(packed):
        raise InputError(
            f"{packed} bytes would become {_in_words(claimed)}, which "
            + (
                "only constants do; leave them out"
                if claimed <= _memory()
                else "is more than the memory here"
            )
        )


def largest_unpacked(packed: int, always: int = _SOME, times: int = _CONSTANT) -> int:
    """The most bytes that what takes so many in a file may have in memory.

    Parameters
    ----------
    packed : int
    always : int
        What any file may have.
    times : int
        So many for each packed one.

    Examples
    --------
    >>> largest_unpacked(10, always=100, times=20), largest_unpacked(1, always=100, times=20)
    (200, 100)
    """
    return min(max(always, times * packed), _memory())


def _memory() -> int:
    """The bytes of memory that this machine has."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _MEMORY
