"""README is short, and what it says was measured is what was committed."""

from __future__ import annotations

from helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows_of(text: str, first: str) -> list[dict[str, str]]:
    """The table whose first heading is `first`."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} "))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_it_is_short():
    assert README.count("\n") < 200


def test_its_table_is_the_one_that_was_measured():
    path = ROOT / "docs" / "results" / "pneumoniamnist" / "table.md"
    measured = rows_of(path.read_text(encoding="utf-8"), "Method")
    shown = rows_of(README, "Method")
    assert len(shown) == len(measured) == 8
    for told, row in zip(shown, measured, strict=True):
        assert {"Method", "ACC ↑", "ECE ↓", "Brier ↓"} <= told.keys()
        assert told.items() <= row.items()
