"""The manifest of a run's folder: its files with their SHA-256, and what made them.

It is written last. Whatever reads a file of a run calls `check`, or `check_own` for one that the
run must have made, and so sees damage before it is believed. It protects from accidents; whoever
can write the folder can write another manifest.

The folders of versions before it have none and are of format version 0: nothing tells whether their
files are whole.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lsplus_tf.bounded import json_of, read_json
from lsplus_tf.errors import InputError, one_line
from lsplus_tf.files import begins_with, shown

__all__ = [
    "MANIFEST",
    "VERSION",
    "VERSION_KEY",
    "DamagedRunError",
    "Digest",
    "Manifest",
    "check",
    "check_own",
    "find_damage",
    "is_run",
    "read_manifest",
    "write_manifest",
]

MANIFEST = "manifest.json"
VERSION = 1
VERSION_KEY = "format_version"  # of the summary, which tells that there was a manifest
_FORMAT = "lsplus_tf run"
MISSING = "it is missing"
_OWN = "sha256"  # of the manifest itself
_SETTINGS, _SUMMARY = "config.yaml", "summary.json"
_is_manifest = begins_with(rb'\s*\{\s*"format":\s*"' + _FORMAT.encode() + b'"')
_LARGEST = 2**20  # bytes of a manifest, which has some ten files
REMEDY = (
    "give the command that made the run again: it sets this folder aside and makes the run anew"
)


class DamagedRunError(InputError):
    """A file of a finished run is not what the run wrote."""


@dataclass(frozen=True)
class Digest:
    """What a file was when it was written.

    Attributes
    ----------
    bytes : int
        Its size.
    sha256 : str
        In hexadecimal digits.
    """

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Digest:
        """Of a file, read once and never whole in memory.

        Parameters
        ----------
        path : Path
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(file.tell(), digest)


@dataclass(frozen=True)
class Manifest:
    """The files of a run, and what made them.

    Attributes
    ----------
    version : int
        Of the format of the folder.
    made_by : mapping of str to str
        Versions of this package and of those that results depend on.
    files : mapping of str to Digest
        By name, all but the manifest.
    """

    version: int
    made_by: Mapping[str, str]
    files: Mapping[str, Digest]

    def to_json(self) -> str:
        """The text of its file; it ends with a digest of the rest."""
        content = {
            "format": _FORMAT,
            "version": self.version,
            "made_by": dict(self.made_by),
            "files": {name: asdict(digest) for name, digest in self.files.items()},
        }
        return json.dumps({**content, _OWN: _digest_of(content)}, indent=2) + "\n"


def _digest_of(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def write_manifest(folder: Path, made_by: Mapping[str, str]) -> None:
    """Write the manifest of all files that lie in a folder, in place of one that is there.

    Parameters
    ----------
    folder : Path
    made_by : mapping of str to str
        As in `Manifest`.
    """
    # File systems leave files and folders of their own, such as .nfs0001 and @eaDir.
    files = {
        path.name: Digest.of(path)
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST and not path.name.startswith(".") and path.is_file()
    }
    text = Manifest(VERSION, made_by, files).to_json()
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a run; None of a folder of format version 0, which has none.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    DamagedRunError
        It is damaged, or is missing where there was one.
    InputError
        It is of a version that this package does not know.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        if _had_manifest(folder):
            raise DamagedRunError(
                f"{shown(path)}: expected there, it is missing; {REMEDY}"
            ) from None
        return None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise _damaged(path, "it is a folder") from error
    except OSError as error:
        raise _unread(path, error) from error
    newer = False
    try:
        values = json_of(data, _LARGEST)
        rest = {key: value for key, value in values.items() if key != _OWN}
        version = values["version"]
        # Whatever else is in those of later versions, they end with a digest of the rest.
        newer = values[_OWN] == _digest_of(rest) and version > VERSION
        files = {name: Digest(**digest) for name, digest in values["files"].items()}
        if any(name != Path(name).name for name in files):
            raise ValueError("it names files elsewhere")
        found = Manifest(version, values["made_by"], files)
        whole = found.to_json().encode() == data
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if newer:
        raise InputError(
            f"{shown(path)}: the run is of format version {version}, written by a newer lsplus_tf "
            f"than this one, which reads up to {VERSION}; install a newer one"
        )
    if not whole:
        raise _damaged(path, "it is not what was written")
    return found


def check(path: Path) -> None:
    """Raise `DamagedRunError` if a file is a run's, and is not what the run wrote.

    Parameters
    ----------
    path : Path
        Of any file. One that no manifest of a run beside it names is not checked.
    """
    if is_run(path.parent):
        _check(path, read_manifest(path.parent), own=False)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a finished run, whole or damaged, and not any with a manifest.

    Parameters
    ----------
    folder : Path
    """
    return _is_manifest(folder / MANIFEST) or all(
        (folder / name).is_file() for name in (_SETTINGS, _SUMMARY)
    )


def check_own(path: Path) -> None:
    """Raise `DamagedRunError` unless a file of a run's folder is what the run wrote.

    Parameters
    ----------
    path : Path
        A file that a run writes. In a folder of version 0 it is not checked.
    """
    _check(path, read_manifest(path.parent), own=True)


def find_damage(folder: Path) -> dict[str, str]:
    """What is wrong with the files of a run, by their names; nothing where all are whole.

    Parameters
    ----------
    folder : Path
        With or without a manifest; without one nothing is found.

    Raises
    ------
    InputError
        A manifest of a version that this package does not know.
    """
    try:
        found = read_manifest(folder)
    except DamagedRunError as error:
        return {MANIFEST: _why(error, folder / MANIFEST)}
    damage = {}
    for name in found.files if found is not None else ():
        try:
            _check(folder / name, found, own=True)
        except DamagedRunError as error:
            damage[name] = _why(error, folder / name)
    return damage


def _check(path: Path, manifest: Manifest | None, *, own: bool) -> None:
    if manifest is None:
        return
    written = manifest.files.get(path.name)
    if written is None:
        if own and path.exists():
            raise _damaged(path, f"it is not among the files of {MANIFEST}")
        return
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise _damaged(path, "it is no file")
        size = status.st_size
        if size == written.bytes and Digest.of(path) == written:
            return
    except FileNotFoundError:
        raise _damaged(path, MISSING) from None
    except OSError as error:
        raise _unread(path, error) from error
    raise _damaged(
        path,
        "it is not what was written"
        if size == written.bytes
        else f"it has {size} of {written.bytes} bytes",
    )


def _damaged(path: Path, why: str) -> DamagedRunError:
    return DamagedRunError(f"{shown(path)}: damaged, {why}; {REMEDY}")


def _unread(path: Path, error: OSError) -> InputError:
    """What keeps the system from reading a file is no damage, and may be gone the next time."""
    return InputError(
        f"{shown(path)}: cannot be read ({error.strerror or one_line(error)}); make it readable, "
        "and give the command again"
    )


def _why(error: DamagedRunError, path: Path) -> str:
    said = str(error).removeprefix(f"{shown(path)}: ").removesuffix(f"; {REMEDY}")
    return said.removeprefix("damaged, ")


def _had_manifest(folder: Path) -> bool:
    """Whether the summary of a run without a manifest says that there was one."""
    try:
        return VERSION_KEY in read_json(folder / _SUMMARY)
    except (OSError, ValueError, TypeError):
        return False
