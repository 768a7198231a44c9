"""The wheel holds what the package needs, and works where the repository is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import lsplus_tf

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("lsplus_tf", "configs", "setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in",
           "README.md", "CHANGELOG.md", "LICENSE")  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from the sdist, as `make build` does, but with the setuptools that is installed."""
    folder = tmp_path_factory.mktemp("build")
    for source in SOURCES:
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, folder / source, ignore=ignored)
        else:
            shutil.copyfile(ROOT / source, folder / source)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check", str(folder)],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    return next((folder / "dist").glob("*.whl"))


def test_the_wheel_holds_all_that_is_in_the_package(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        held = {n for n in archive.namelist() if n.startswith("lsplus_tf/")}
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "lsplus_tf").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    configs = {f"lsplus_tf/configs/{path.name}" for path in (ROOT / "configs").iterdir()}
    assert held == package | configs


def test_its_name_and_version_are_the_packages(wheel: Path):
    assert wheel.name == f"lsplus_tf-{lsplus_tf.__version__}-py3-none-any.whl"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == lsplus_tf.__version__


def test_its_commands_know_the_configs_without_the_repository(wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    for arguments, code, said in (
        (["train", "digits", "--methods", "none"], 2, "the config has hard_labels"),
        (["train", "digit"], 2, "the package's own are brain_tumor_mri, chaoyang, digits"),
    ):
        result = subprocess.run(
            [sys.executable, "-m", "lsplus_tf.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        )
        assert (result.returncode, result.stdout) == (code, "")
        assert said in result.stderr
