"""The how-to of the audit does what it shows."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from helpers import ROOT

from lsplus_tf import cli

TEXT = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", TEXT, re.DOTALL)


def test_the_blocks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    codes = []
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, "audit.md", "exec"), names)
            continue
        for line in block.splitlines():
            command, _, expected = line.partition("  # exit code ")
            monkeypatch.setattr("sys.argv", shlex.split(command))
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert ended.value.code == int(expected or 0), capsys.readouterr()
            codes.append(ended.value.code)
    assert codes == [0, 0, 0, 0, 1, 0, 0, 0]
    assert (tmp_path / "audit" / "audit.html").stat().st_size > 10_000
    assert json.loads((tmp_path / "audit" / "audit.json").read_text())["cases"] > 400
    assert "model-index" in (tmp_path / "README.md").read_text()
    assert "Overconfident" in capsys.readouterr().out
