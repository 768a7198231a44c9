"""Text in CSV files that people open with a spreadsheet."""

from __future__ import annotations

_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_text(value: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula: after a ' if it could be one.

    Source: OWASP, "CSV Injection".

    Examples
    --------
    >>> as_text("=1+2"), as_text("scan_1.png")
    ("'=1+2", 'scan_1.png')
    """
    return f"'{value}" if value.startswith(_STARTS_A_FORMULA) else value
