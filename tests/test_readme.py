"""README is short, and what it says was measured is what was committed."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short():
    assert README.count("\n") < 200


def test_its_table_is_the_one_that_was_measured():
    folder = ROOT / "docs" / "results" / "pneumoniamnist"
    table = (folder / "table.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) > 10
    assert "\n".join(rows) in README
