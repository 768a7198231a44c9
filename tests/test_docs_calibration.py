"""What docs/calibration.md shows runs: its commands and its Python, on a trained run."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from lsplus_tf import cli
from lsplus_tf.calibrators import CALIBRATORS
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.images import to_pillow

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    return [shlex.split(block.replace("\\\n", " ")) for block in blocks]


@pytest.fixture(scope="module")
def place(reproduced, tmp_path_factory) -> Path:
    """A folder with what the page has: a finished experiment, and images."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(reproduced.folder, folder / "runs" / "digits")
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "scans").mkdir()
    for index, image in enumerate(load_dataset("digits").test.images[:20]):
        to_pillow(image).save(folder / "scans" / f"{index}.png")
    return folder


@pytest.mark.parametrize("command", commands()[1:], ids=lambda command: command[1])
def test_the_commands_run_one_after_the_other(place, monkeypatch, command):
    monkeypatch.chdir(place)
    assert command[0] == "lsplus-tf"
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert Path(command[command.index("--out") + 1]).exists()


def test_the_experiments_config_is_valid():
    """Its run is tested in test_calibrated_rows, on a smaller network."""
    from lsplus_tf.config import load_config

    (first, *_) = commands()
    assert first[:2] == ["lsplus-tf", "reproduce"]
    load_config(ROOT / first[2], [first[4]])


def test_the_python_runs(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    names: dict[str, object] = {"run": Path("runs/digits/hard_labels/seed_0")}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "calibration.md", "exec"), names)
    assert "20 images, " in capsys.readouterr().out
    assert Path("calibrated.keras").is_file()


def test_every_calibrator_has_a_line():
    assert set(CALIBRATORS) <= set(re.findall(r"`(\w+)`", TEXT))
