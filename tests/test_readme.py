"""What the README shows runs, and what it says was measured is what was committed."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest

import lsplus_tf as lsp

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 6))

    def samples(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(count) % 3
        return (centres[y] + 0.3 * rng.normal(size=(count, 6))).astype(np.float32), y

    def build_model() -> keras.Model:
        model = keras.Sequential([keras.Input([6]), keras.layers.Dense(3, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    names: dict[str, object] = {"build_model": build_model, "model": build_model()}
    for split in ("train", "val", "test"):
        names[f"x_{split}"], names[f"y_{split}"] = samples(30)
    names["run"], names["other_model"] = tmp_path, build_model()
    names["logits_model"] = keras.Sequential([keras.Input([6]), keras.layers.Dense(3)])
    network = lsp.backbones.build_classifier("small_residual_cnn", (8, 8, 1), 3, width=0.1)
    network.save(tmp_path / "model.keras")
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 7
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "reliability.png").stat().st_size > 0
    plt.close("all")


def test_the_files_that_it_links_to_exist():
    links = [x for x in re.findall(r"\]\(([^)]+)\)", README) if "://" not in x]
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def test_its_table_is_the_one_that_was_measured():
    folder = ROOT / "docs" / "results" / "pneumoniamnist"
    table = (folder / "table.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) > 10
    assert "\n".join(rows) in README


@pytest.mark.parametrize("config", re.findall(r"configs/(\w+)\.yaml", README))
def test_the_configs_that_it_names_exist(config):
    assert (ROOT / "configs" / f"{config}.yaml").is_file()
