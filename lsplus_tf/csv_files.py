"""CSV files that spreadsheets open without running what is in them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lsplus_tf.files import FileKind, writing

__all__ = [
    "neutral",
    "table_kind",
    "without_formulas",
    "write_csv",
]

# With these a cell is a formula to a spreadsheet, or becomes one where a program strips it.
_FORMULA = ("=", "+", "-", "@", "\t")


def table_kind(what: str, is_ours: Callable[[Sequence[str]], bool]) -> FileKind:
    """The CSV files of a kind, which their headings tell.

    Parameters
    ----------
    what : str
        Such as "a table of predictions".
    is_ours : callable
        Whether a file with these headings is one.
    """

    def begins(path: Path) -> bool:
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return is_ours(next(csv.reader(file), []))
        except (UnicodeDecodeError, csv.Error):
            return False

    return FileKind(what, begins, ".csv")


def write_csv(table: pd.DataFrame, path: str | Path, *, argument: str = "path") -> None:
    """Write a table without its index, whole or not at all.

    A file that is there is replaced if it has the same headings; `OutputError`, which names
    `argument`, is raised for any other. Formulas are written as :func:`without_formulas` has them.

    Parameters
    ----------
    table : DataFrame
    path : str or Path
    argument : str
        What the error calls the path.
    """
    safe = without_formulas(table)
    kind = table_kind("such a table", lambda headings: headings == [*map(str, safe.columns)])
    with writing(path, kind, argument=argument) as new:
        safe.to_csv(new, index=False)


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The table as spreadsheets may open it.

    Text that a spreadsheet would take for a formula, such as a class called "=cmd()", gets an
    apostrophe in front, in cells and headings; a carriage return, which would end the row for some
    readers, becomes a space. Numbers stay as they are.

    Parameters
    ----------
    table : DataFrame
    """
    safe = table.rename(columns=neutral)
    for column in safe.select_dtypes(exclude="number"):
        safe[column] = safe[column].map(neutral, na_action="ignore")
    return safe


def neutral(value: Any) -> Any:
    """Text with an apostrophe in front where it would be a formula; anything else as it is.

    Parameters
    ----------
    value : object

    Examples
    --------
    >>> neutral("=1+2"), neutral("scan_1.png"), neutral(-1)
    ("'=1+2", 'scan_1.png', -1)
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
