"""What docs/calibration.md shows runs: its commands and its Python, on a trained run."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT
from PIL import ExifTags, Image, ImageOps

from lsplus_tf import cli
from lsplus_tf.calibrators import CALIBRATORS
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.image_files import decode
from lsplus_tf.datasets.images import to_pillow

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


def test_the_experiments_config_is_valid():
    """Its run is tested in test_calibrated_rows, on a smaller network."""
    from lsplus_tf.config import load_config

    (first, *_) = commands()
    assert first[:2] == ["lsplus-tf", "reproduce"]
    load_config(ROOT / first[2], [first[4]])


def test_the_commands_and_then_the_python_run(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    for command in commands()[1:]:
        assert command[0] == "lsplus-tf"
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0, command
        assert Path(command[command.index("--out") + 1]).exists()
    predicted = pd.read_csv("predictions.csv")
    names: dict[str, object] = {"run": Path("runs/digits/hard_labels/seed_0")}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "calibration.md", "exec"), names)
        if "served.serve" in block:  # without the package, the same numbers
            assert [str(path) for path in names["files"]] == list(predicted["file"])
            np.testing.assert_allclose(names["probabilities"], predicted.iloc[:, -10:], atol=1e-6)
    assert "20 images, " in capsys.readouterr().out
    assert Path("calibrated.keras").is_file()


def test_files_are_read_as_in_training(tmp_path):
    """The page's function, which is for those who do not have this package."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (233, 210, 3), np.uint8)).resize((420, 466))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    photo.save(tmp_path / "large.jpg")
    photo.save(tmp_path / "turned.jpg", exif=turned)
    photo.save(tmp_path / "whole.png")
    photo.convert("LA").save(tmp_path / "grey_alpha.png")
    (source,) = (b for b in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "draft" in b)
    function = re.search(r"^def read_image.*?^    return [^\n]*", source, re.M | re.S)
    for channels in (1, 3):
        names = {"height": 64, "width": 64, "channels": channels}
        names |= {"np": np, "Image": Image, "ImageOps": ImageOps}
        exec(function[0], names)
        for path in tmp_path.iterdir():
            expected = decode(path, channels=channels, image_size=64)
            np.testing.assert_array_equal(names["read_image"](path), expected)


def test_every_calibrator_has_a_line():
    assert set(CALIBRATORS) <= set(re.findall(r"`(\w+)`", TEXT))
