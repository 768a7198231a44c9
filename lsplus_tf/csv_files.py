"""CSV files as spreadsheets write them, and ones that they open without running what is in them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from lsplus_tf.atomic import written_whole

__all__ = [
    "neutral",
    "split_heading",
    "write_csv",
]

# With these a cell is a formula to a spreadsheet, or becomes one where a program strips it.
_FORMULA = ("=", "+", "-", "@", "\t")
_DELIMITERS = ",;\t"


def split_heading(line: str) -> tuple[list[str], str]:
    """The cells of a CSV's first line, and what separates them: the mark that makes the most cells.

    Spreadsheets write semicolons where the decimal sign is a comma.

    Examples
    --------
    >>> split_heading('path;label;"group, or patient"')
    (['path', 'label', 'group, or patient'], ';')
    """
    cells = {mark: next(csv.reader([line], delimiter=mark), [""]) for mark in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda mark: len(cells[mark]))
    return [name.strip() for name in cells[delimiter]], delimiter


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table without its index, whole or not at all.

    Text that a spreadsheet would take for a formula, such as a class called "=cmd()", gets an
    apostrophe in front, in cells and headings; a carriage return, which would end the row for some
    readers, becomes a space. Numbers stay as they are.
    """
    safe = table.rename(columns=neutral)
    for column in safe.select_dtypes(exclude="number"):
        safe[column] = safe[column].map(neutral, na_action="ignore")
    with written_whole(path) as partial:
        safe.to_csv(partial, index=False)


def neutral(value: Any) -> Any:
    """Text with an apostrophe in front where it would be a formula; anything else as it is.

    Examples
    --------
    >>> neutral("=1+2"), neutral("scan_1.png"), neutral(-1)
    ("'=1+2", 'scan_1.png', -1)
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
