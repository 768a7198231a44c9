"""Which kind of table a file is."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from lsplus_tf.bounded import LFS, LFS_POINTER, opened_zip
from lsplus_tf.errors import InputError, MissingDataError, one_line
from lsplus_tf.files import shown
from lsplus_tf.tables.encodings import CSV_IN_UTF_8, binary, suffix_of
from lsplus_tf.tables.other_kinds import LINES_OF_JSON, Excel, Json, Parquet
from lsplus_tf.tables.rows import Rows
from lsplus_tf.tables.table import Table
from lsplus_tf.tables.text import Csv

_EXCEL = (".xlsx", ".xlsm")
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
# Files that are no tables, by how they begin.
_REFUSED = {
    _OLD_EXCEL: f"is an old or protected Excel file; save it as .xlsx, or {CSV_IN_UTF_8}",
    b"\x93NUMPY": "is a single NumPy array; save labels and scores together with np.savez, as .npz",
    b"BZh": "is packed by bzip2; unpack it, or pack it by gzip",
    b"\xfd7zXZ": "is packed by xz; unpack it, or pack it by gzip",
    b"\x28\xb5\x2f\xfd": "is packed by zstd; unpack it, or pack it by gzip",
    LFS: LFS_POINTER,
    b"%PDF": f"is a PDF file; {CSV_IN_UTF_8}",
}


def open_table(path: Path, what: str = "a table") -> Table:
    """Open a table; its columns are read by :meth:`Table.read`.

    Parameters
    ----------
    path : Path
        The file. What it begins with tells Parquet, Excel and gzip, whatever it is called; else
        its suffix tells JSON, and everything else is text.
    what : str
        What is expected there, for messages.

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If it is no table.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels.csv"
    >>> _ = path.write_text("path;label\\na.png;HP\\nb.png;SSA\\n")
    >>> table = open_table(path)
    >>> table.names
    ['path', 'label']
    >>> table.read(["label"])
    >>> table.classes("label", ("HP", "SSA")).tolist()
    [0, 1]
    """
    rows = Rows(shown(path))
    try:
        if path.is_dir():
            raise rows.error(f"expected {what}, received a folder")
        if not path.is_file():
            raise MissingDataError(f"{rows.source}: expected {what}, there is none")
        return _kind(path, rows)(path)
    except InputError:
        raise
    except OSError as error:
        raise rows.error(f"cannot be read ({one_line(error)})") from error


def _kind(path: Path, rows: Rows) -> Callable[[Path], Table]:
    suffix = suffix_of(path)
    with binary(path) as file:
        head = file.read(max(map(len, _REFUSED)))
        if suffix == ".parquet" or (head.startswith(b"PAR1") and _end(file) == b"PAR1"):
            return Parquet
        if suffix in _EXCEL and not head.startswith(_OLD_EXCEL):
            return Excel
        if head.startswith((b"PK\3\4", b"PK\5\6")):
            members: list[str] = []
            with suppress(InputError), opened_zip(file) as archive:  # of a broken one nothing
                members = archive.namelist()
            if any(name.startswith("xl/") for name in members):
                return Excel
            if any(name.endswith(".npy") for name in members):
                raise rows.error("holds arrays of NumPy; call it .npz")
            raise rows.error("is a zip archive; unpack it, and give a table that is in it")
    for start, why in _REFUSED.items():
        if head.startswith(start):
            raise rows.error(why)
    return Json if suffix in (".json", *LINES_OF_JSON) else Csv


def _end(file: BinaryIO) -> bytes:
    file.seek(-4, io.SEEK_END)
    return file.read()
