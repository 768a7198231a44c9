"""README is short; that its table is what was measured is tested with the pages of results."""

from __future__ import annotations

from helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short():
    assert README.count("\n") < 200
