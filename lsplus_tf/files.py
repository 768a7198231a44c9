"""What is written: whole or not at all, and never over what is not ours.

The rule, for every command and every function that writes where its user says:

- A file is written where nothing is, or over one that this package wrote, of the same kind.
- A folder is written where nothing is, into an empty one, or in place of one that this package
  wrote, of the same kind, and in which there is nothing else. An experiment's folder is never
  replaced; runs are added to it.
- Nothing is written over an input, where it cannot be written, or under a new name that ends as
  those of files of another kind; that is found before anything is computed.

`check_output` is that rule. `writing` applies it and writes::

    check_output(out, CALIBRATOR)
    ...  # hours
    with writing(out, CALIBRATOR) as new:
        new.write_text(text)

`written_whole` and `locked` are for files inside folders of our own, such as a run's.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import itertools
import os
import re
import shutil
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lsplus_tf.errors import InputError, one_line

__all__ = [
    "FileKind",
    "FolderKind",
    "OutputError",
    "begins_with",
    "check_output",
    "expanded",
    "given_as",
    "locked",
    "make_way",
    "reporting",
    "set_aside",
    "shown",
    "writing",
    "written_whole",
]

_PATIENCE = 1.0  # seconds
_NEW, _OLD, _LOCK = "new", "old", "lock"  # in the hidden folder beside what is being written
_WORK = ".lsplus_tf"  # how that folder's name ends
_LONGEST = 200  # bytes of a name that others are made of; file systems take 255
_HEAD = 4096  # bytes of a file that say what it is
# Of files whose kind people and programs tell by their name.
_SUFFIXES = frozenset(
    (
        *(".csv", ".tsv", ".xlsx", ".xls", ".ods", ".parquet", ".feather", ".json", ".jsonl"),
        *(".yaml", ".yml", ".npz", ".npy", ".pkl", ".h5", ".keras", ".onnx", ".pb", ".gz", ".zip"),
        *(".html", ".md", ".tex", ".pdf", ".docx", ".png", ".jpg", ".jpeg", ".svg", ".tif", ".py"),
    )
)
# What file managers leave, and nobody misses.
_OF_THE_SYSTEM = (".ds_store", "thumbs.db", "desktop.ini")


class OutputError(InputError):
    """Something cannot be written where the user wants it.

    Attributes
    ----------
    argument : str
        What the place was given as, an option or an argument of a function.
    problem : str
        The rest of the line.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument}: {problem}")
        self.argument, self.problem = argument, problem


@dataclass(frozen=True)
class FileKind:
    """A kind of file that this package writes.

    Attributes
    ----------
    what : str
        Such as "a calibrator".
    is_ours : callable
        Whether this package wrote a file, as one of this kind.
    suffix : str
        What its name ends in, such as ".json", or in nothing that is another kind's.
    """

    what: str
    is_ours: Callable[[Path], bool]
    suffix: str


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that this package writes.

    Attributes
    ----------
    what : str
        Such as "an audit".
    is_ours : callable
        Whether this package wrote a folder, as one of this kind.
    parts : re.Pattern or None
        The names of all that it writes there, relative, those of folders with a slash at the end.
        None if the folder is added to, and never replaced.
    """

    what: str
    is_ours: Callable[[Path], bool]
    parts: re.Pattern[str] | None


def begins_with(pattern: bytes) -> Callable[[Path], bool]:
    """Whether a file begins as `pattern` says, which tells its kind.

    Parameters
    ----------
    pattern : bytes
        A regular expression.
    """
    compiled = re.compile(pattern)

    def begins(path: Path) -> bool:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return compiled.match(file.read(_HEAD)) is not None

    return begins


def shown(path: str | Path) -> str:
    """A path as it is printed: what is no printable character, such as a line break, is escaped.

    Parameters
    ----------
    path : str or Path

    Examples
    --------
    >>> shown("two\\nlines")
    'two\\\\nlines'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))


def expanded(given: str | Path, argument: str = "--out") -> Path:
    """The path that a user gave, with the home folder in place of "~".

    Parameters
    ----------
    given : str or Path
    argument : str
        What `given` was given as.

    Raises
    ------
    OutputError
        Nothing was given, or the home folder of a user who is not there.
    """
    text = os.fspath(given)
    if not text.strip() or "\0" in text:
        raise OutputError(argument, f"expected a path, received {text!r}")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise OutputError(
            argument, f"expected a path, there is no home folder {Path(text).parts[0]}"
        ) from None


def check_output(
    out: str | Path,
    kind: FileKind | FolderKind,
    *,
    argument: str = "--out",
    inputs: Iterable[str | Path | None] = (),
    images: Iterable[str | Path] = (),
) -> Path:
    """The path that a user gave for an output; nothing is written.

    Links are followed: what they point to is replaced, they stay.

    Parameters
    ----------
    out : str or Path
        Where.
    kind : FileKind or FolderKind
        What.
    argument : str
        What `out` was given as.
    inputs : iterable of str, Path or None
        What is read, which `out` must not be or hold.
    images : iterable of str or Path
        Folders of images that are read, in which `out` must not lie.

    Raises
    ------
    OutputError
        If `kind` must not be written there, or cannot be.
    """
    path = expanded(out, argument)
    with reporting(path, argument):
        read = [each for each in inputs if each is not None]
        problem = _problem(path, os.fspath(out), kind, read, [*images])
    if problem is not None:
        raise OutputError(argument, problem)
    return path


@contextlib.contextmanager
def writing(
    out: str | Path,
    kind: FileKind | FolderKind,
    *,
    argument: str = "--out",
    inputs: Iterable[str | Path | None] = (),
    patience: float = _PATIENCE,
) -> Iterator[Path]:
    """A temporary path for a file or folder, put in the place of `out` if the block succeeds.

    A process that is killed leaves the old output or the new one, whole, and the next call removes
    what else it left. (Where the file system cannot exchange two folders, the old one has another
    name for a moment; the next call puts it back.)

    Parameters
    ----------
    out, kind, argument, inputs
        As in `check_output`.
    patience : float
        Seconds to wait for another process that writes there; negative waits for ever.

    Raises
    ------
    OutputError
        As `check_output`; or it could not be written, and nothing is left of it.
    """
    inputs = tuple(inputs)
    path = check_output(out, kind, argument=argument, inputs=inputs)
    target = _real(path)
    work = _beside(target)
    with (
        reporting(path, argument, work),
        _parents(target.parent),
        _claimed(work, target, patience, argument),
    ):
        yield work / _NEW
        # Again, as much may have happened since.
        check_output(out, kind, argument=argument, inputs=inputs)
        _to_disk(work / _NEW)
        _put(work, target)
        _sync(target.parent)


@contextlib.contextmanager
def reporting(path: Path, argument: str = "--out", work: Path | None = None) -> Iterator[None]:
    """Raise `OutputError` where the system cannot write `path`.

    Parameters
    ----------
    path : Path
    argument : str
        What `path` was given as.
    work : Path, optional
        Errors about files that lie elsewhere are passed on as they are.
    """
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        if work is not None and isinstance(error.filename, str):
            file = Path(error.filename)
            if work not in (file, *file.parents) and file not in work.parents:
                raise
        reason = error.strerror or one_line(error)
        raise OutputError(argument, f"{shown(path)} cannot be written ({reason})") from error


@contextlib.contextmanager
def given_as(option: str, argument: str) -> Iterator[None]:
    """Let an `OutputError` about an argument of a function name the option that it came from.

    Parameters
    ----------
    option : str
    argument : str
    """
    try:
        yield
    except OutputError as error:
        if error.argument != argument:
            raise
        raise OutputError(option, error.problem) from error


# --- the rule -------------------------------------------------------------------------------------


def _problem(
    path: Path,
    given: str,
    kind: FileKind | FolderKind,
    inputs: list[str | Path],
    images: list[str | Path],
) -> str | None:
    """What is wrong with an output, if anything is."""
    there = _existing(path)
    if not there.exists():
        return f"{shown(there)} is a link to what is not there"
    target = _real(path)
    there = _existing(target)
    if there != target and not there.is_dir():
        return f"expected a path in folders, {shown(there)} is a file"
    if isinstance(kind, FileKind) and given.endswith(("/", "/.", os.sep)):
        return f"expected a file, {shown(given)} is the name of a folder"
    for each in inputs:
        read = _real(each)
        if read == target or _same(read, target):
            return f"{shown(path)} is what is read; name another"
        if isinstance(kind, FolderKind) and kind.parts is not None and target in read.parents:
            return f"{shown(path)} holds {shown(each)}, which is read; name another"
    for each in images:
        if _real(each) in (target, *target.parents):
            return f"{shown(path)} is among the images of {shown(each)}; name another"
    _refuse_long_names(there, target)
    added_to = isinstance(kind, FolderKind) and kind.parts is None
    if there == target:
        if isinstance(kind, FileKind):
            problem = _over_file(path, target, kind)
        else:
            problem = _over_folder(path, target, kind)
        if problem is not None:
            return problem
        there = target if added_to else target.parent
    elif (problem := _of_another_suffix(path, kind)) is not None:
        return problem
    _try_to_write(there, target)
    return None


def _of_another_suffix(path: Path, kind: FileKind | FolderKind) -> str | None:
    """What is wrong with a name that ends as that of a file of another kind."""
    if path.suffix.lower() not in _SUFFIXES:
        return None
    if isinstance(kind, FolderKind):
        return f"expected the name of a folder, as of {kind.what}, received {shown(path)}"
    if path.suffix.lower() == kind.suffix:
        return None
    return f"expected a name that ends in {kind.suffix}, as of {kind.what}, received {shown(path)}"


def _refuse_long_names(there: Path, target: Path) -> None:
    """Raise `OSError` for a name that the file system does not take."""
    if os.name == "posix":
        longest = os.pathconf(there, "PC_NAME_MAX")
        if any(len(os.fsencode(name)) > longest for name in target.relative_to(there).parts):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(target))
    with contextlib.suppress(FileNotFoundError):
        os.lstat(target)  # which finds a path that is too long


def _existing(path: Path) -> Path:
    """The path, or of what is above it the first that is there, be it a link to nothing."""
    while not os.path.lexists(path):
        path = path.parent
    return path


def _real(path: str | Path) -> Path:
    """The path that all links to a file or folder lead to."""
    return Path(os.path.realpath(os.path.expanduser(path)))


def _over_file(path: Path, target: Path, kind: FileKind) -> str | None:
    """What is wrong with a file in the place of what is at `target`."""
    mode = target.stat().st_mode
    if stat.S_ISDIR(mode):
        return f"expected a file, {shown(path)} is a folder; name a file in it"
    if not stat.S_ISREG(mode):
        return f"expected a file, {shown(path)} is a device or pipe"
    if target.stat().st_size and not kind.is_ours(target):
        return (
            f"{shown(path)} is there, and is not {kind.what} that lsplus-tf wrote; name another, "
            "or move it away"
        )
    return None


def _over_folder(path: Path, target: Path, kind: FolderKind) -> str | None:
    """What is wrong with a folder in the place of what is at `target`."""
    if not target.is_dir():
        return f"expected a folder, {shown(path)} is a file"
    if kind.parts is not None:
        current = Path.cwd()
        if target in (current, *current.parents):
            return f"expected a folder of its own, {shown(path)} is or holds the current folder"
        if os.path.ismount(target):
            return f"expected a folder of its own, {shown(path)} is a mount point; name one in it"
    there = sorted(p.name for p in target.iterdir() if not _is_passed_over(p))
    if not there:
        return None
    if not kind.is_ours(target):
        return (
            f"{shown(path)} holds something that is not {kind.what} ({shown(there[0])}); name "
            "another, or an empty folder"
        )
    if kind.parts is not None and (foreign := _first_foreign(target, kind.parts)):
        return (
            f"{shown(path)} holds {shown(foreign)} beside {kind.what}, which is replaced as a "
            "whole; move it away, or name another"
        )
    return None


def _is_passed_over(path: Path) -> bool:
    """Whether a file or folder is nobody's: the system's, or left by a process that was killed."""
    name = path.name.lower()
    return name in _OF_THE_SYSTEM or (name.startswith(".") and name.endswith(_WORK))


def _first_foreign(folder: Path, parts: re.Pattern[str]) -> str | None:
    """Something in a folder that is none of its parts."""

    def fail(error: OSError) -> None:
        raise error

    for where, folders, files in os.walk(folder, onerror=fail):
        for name in sorted([*folders, *files]):
            found = Path(where, name)
            relative = found.relative_to(folder).as_posix()
            part = f"{relative}/" if name in folders else relative
            if found.is_symlink() or not (parts.fullmatch(part) or _is_passed_over(found)):
                return relative
    return None


def _try_to_write(folder: Path, target: Path) -> None:
    """Raise `OSError` where nothing can be written in a folder, or a file is protected."""
    if os.name == "posix":  # also for root, whom the system lets write everything
        for path in (folder, target):
            if path.exists() and not path.stat().st_mode & 0o222:
                raise PermissionError(errno.EACCES, "it is read-only", str(path))
    if target.is_file():
        target.open("r+b").close()
    for place in {folder, target} if target.is_dir() else {folder}:
        with tempfile.TemporaryFile(dir=place) as file:  # without a name, where the system can
            file.write(bytes(_HEAD))


def _same(first: Path, second: Path) -> bool:
    return first.exists() and second.exists() and first.samefile(second)


# --- how it is done -------------------------------------------------------------------------------


def _beside(target: Path) -> Path:
    """The hidden folder in which what becomes `target` is written, on the same disk."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(f".{name}{_WORK}")


@contextlib.contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; those that were made do not stay if the block fails."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()
        raise


@contextlib.contextmanager
def _claimed(work: Path, target: Path, patience: float, argument: str) -> Iterator[None]:
    """The folder `work`, empty and for this process alone, and removed afterwards."""
    lock = FileLock(work / _LOCK, timeout=patience)
    make_way(work, folder=True)
    make_way(work / _LOCK, beside=work)
    try:
        while not lock.is_locked:
            work.mkdir(exist_ok=True)
            # The process that had it may remove the folder just now.
            with contextlib.suppress(FileNotFoundError):
                lock.acquire()
        _put_back(work, target)  # of a process that was killed
        yield
    except Timeout as error:
        raise OutputError(
            argument,
            f"another process is writing {shown(target)}; wait until it has ended, or name another",
        ) from error
    finally:
        if lock.is_locked:
            _put_back(work, target)
            shutil.rmtree(work, ignore_errors=True)  # while it is this process's
            lock.release()
        with contextlib.suppress(OSError):  # NFS keeps a folder with an open file in it
            work.rmdir()


def _put(work: Path, target: Path) -> None:
    """Give what was written its name."""
    new, old = work / _NEW, work / _OLD
    if target.exists():
        shutil.copymode(target, new)
    if not target.is_dir():
        os.replace(new, target)
    elif not _exchange(new, target):
        os.replace(target, old)
        os.replace(new, target)


def _put_back(work: Path, target: Path) -> None:
    """Leave nothing in `work` but its lock; what was moved there is back if nothing replaced it."""
    new, old = work / _NEW, work / _OLD
    if old.exists() and not os.path.lexists(target):
        os.replace(old, target)
    for path in (new, old):
        _remove(path)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE
    return rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0


# --- inside folders of our own --------------------------------------------------------------------


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, in a folder of ours, renamed to it if the block succeeds.

    A file takes the place of another; a folder is only put where nothing is. What a killed process
    left under the temporary name is removed by the next that comes. Where several processes may
    write the same `path`, see `locked`. What was renamed is on the disk, so that it is whole even
    where the power fails.

    Parameters
    ----------
    path : Path
    """
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(partial)
    try:
        yield partial
        _to_disk(partial)
        os.replace(partial, path)
        _sync(path.parent)
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) == partial:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        _remove(partial)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let other processes wait that come to a block for the same `path`.

    Holds between hosts where their shared file system has file locks.

    Parameters
    ----------
    path : Path
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    make_way(Path(lock.lock_file))
    with lock:
        try:
            yield
        finally:
            # While it is held: those that wait for the old file find that it is gone.
            Path(lock.lock_file).unlink(missing_ok=True)


def set_aside(path: Path, beside: Path | None = None) -> Path | None:
    """Give what is in our way, or damaged, another name, under which nothing reads it.

    Parameters
    ----------
    path : Path
        In a folder of ours.
    beside : Path, optional
        A folder that may be removed later, which `path` lies in: it comes beside that.

    Returns
    -------
    Path or None
        Its new place; None if it is gone.
    """
    name = path.name if beside is None else f"{beside.name}_{path.name}"
    folder = (beside or path).parent
    for number in itertools.count(1):
        aside = folder / (f"damaged_{name.lstrip('.')}" + (f"_{number}" if number > 1 else ""))
        if os.path.lexists(aside):
            continue
        try:
            path.rename(aside)
        except FileNotFoundError:
            return None
        return aside
    raise AssertionError  # for type checkers


def make_way(path: Path, *, folder: bool = False, beside: Path | None = None) -> None:
    """Set aside what has the name of a file of ours, or of a `folder`, and is no such thing.

    Parameters
    ----------
    path, beside
        As in `set_aside`.
    folder : bool
        Whether a folder of ours has the name.

    Warns
    -----
    UserWarning
        Something was set aside.
    """
    if not os.path.lexists(path) or (path.is_dir() if folder else path.is_file()):
        return
    aside = set_aside(path, beside)
    if aside is not None:
        warnings.warn(
            f"{path}: expected a {'folder' if folder else 'file'} that lsplus-tf wrote, found "
            f"something else, which is now {aside}",
            stacklevel=3,
        )


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
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
