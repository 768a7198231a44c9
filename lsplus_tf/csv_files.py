"""CSV files that a spreadsheet opens without running what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lsplus_tf.atomic import written_whole

# With these a cell is a formula to a spreadsheet, or becomes one where a program strips it.
_FORMULA = ("=", "+", "-", "@", "\t")


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
