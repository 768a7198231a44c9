"""What the pages of clinical questions show runs."""

from __future__ import annotations

import re

import pytest
from helpers import ROOT

PAGES = ("clinical.md", "prevalence.md")


def blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize(("page", "index"), [(p, k) for p in PAGES for k in range(len(blocks(p)))])
def test_each_block_runs_alone(page, index, capsys):
    exec(compile(blocks(page)[index], page, "exec"), {})
    assert capsys.readouterr().out
