"""What docs/calibration.md shows runs: its commands and its Python, on a trained run."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT

from lsplus_tf import cli
from lsplus_tf.calibrators import CALIBRATORS
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.images import to_pillow
from lsplus_tf.deployment import predict_images

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
    test = load_dataset("digits").test
    for name, image in zip(test.ids, test.images, strict=True):
        to_pillow(image).save(folder / "scans" / f"{name}.png")
    return folder


def test_the_experiments_config_is_valid():
    """Its run is tested in test_calibrated_rows, on a smaller network."""
    from lsplus_tf.config import load_config

    (first, *_) = commands()
    assert first[:2] == ["lsplus-tf", "reproduce"]
    load_config(ROOT / first[2], [first[4]])


def test_the_commands_and_then_the_python_run(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for program, *arguments in commands()[1:]:
        if program == "python":  # tests/test_export.py runs it in a process of its own
            script, *arguments, out = [each for each in arguments if each != ">"]
            assert Path(script).read_text() == Path(predict_images.__file__).read_text()
            capsys.readouterr()
            assert predict_images.main(arguments) == 0
            Path(out).write_text(capsys.readouterr().out)
            continue
        assert program == "lsplus-tf"
        monkeypatch.setattr("sys.argv", [program, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0, arguments
        assert Path(arguments[arguments.index("--out") + 1]).exists()
    predicted, served = pd.read_csv("predictions.csv"), pd.read_csv("served.csv")
    np.testing.assert_allclose(served.iloc[:, -10:], predicted.iloc[:, -10:], atol=1e-6)
    names: dict[str, object] = {"run": Path("runs/digits/hard_labels/seed_0")}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 7
    for block in blocks:
        if "import onnxruntime" in block:
            continue
        block = block.replace("scans/{name}", "scans/{name}.png")  # arrays have no files
        exec(compile(block, "calibration.md", "exec"), names)
        if "same = " in block:
            assert len(names["same"]) == len(names["audited"].ids)
            given = names["calibrator"].predict_proba(names["audited"].logits)
            np.testing.assert_allclose(names["same"], given, atol=1e-5)
        if "served.serve" in block:  # without the package, the same numbers
            assert names["files"] == list(predicted["file"])
            given = names["given"]["probabilities"]
            np.testing.assert_allclose(given, predicted.iloc[:, -10:], atol=1e-6)
    sys.modules.pop("predict_images")
    assert "32 images, " in capsys.readouterr().out
    assert Path("calibrated.keras").is_file()


def test_every_calibrator_has_a_line():
    assert set(CALIBRATORS) <= set(re.findall(r"`(\w+)`", TEXT))
