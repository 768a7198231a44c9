"""What is imported is required, what is required is pinned, and the wheel holds the package."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import lsplus_tf

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("lsplus_tf", "configs", "setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in",
           "README.md", "CHANGELOG.md", "LICENSE")  # fmt: skip


# --- requirements ---------------------------------------------------------------------------------

# Of these extras, `make test` installs what the others bring for users.
TESTED_EXTRAS = ("test", "dicom", "docs", "onnx", "ray", "safetensors")
# Where the name of a module is not that of its distribution.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "markdown_it": "markdown-it-py",
    "skimage": "scikit-image",
    "pydantic_core": "pydantic",  # each pydantic pins its own
}


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def required(section: str, key: str) -> dict[str, Requirement]:
    """What setup.cfg asks for, by name."""
    lines = [line.split("#")[0].strip() for line in setup_cfg()[section][key].splitlines()]
    return {canonicalize_name(r.name): r for r in map(Requirement, filter(None, lines))}


def pinned(*files: str) -> dict[str, Requirement]:
    lines = [line.split("#")[0].strip() for f in files for line in (ROOT / f).open()]
    return {canonicalize_name(r.name): r for r in map(Requirement, filter(None, lines))}


@pytest.mark.parametrize(
    ("files", "extras"),
    [
        (("requirements.txt",), ()),
        (("requirements-oldest.txt",), ()),
        (("requirements.txt", "requirements-test.txt"), TESTED_EXTRAS),
    ],
)
def test_what_is_required_is_pinned_in_its_range(files: tuple[str, ...], extras: tuple[str, ...]):
    asked = [required("options", "install_requires")]
    asked += [required("options.extras_require", extra) for extra in extras]
    pins = pinned(*files)
    for requirements in asked:
        missing = sorted(requirements.keys() - pins.keys())
        assert not missing, f"in setup.cfg and not in {' or '.join(files)}: {missing}"
        for name, requirement in requirements.items():
            (pin,) = pins[name].specifier
            assert pin.operator == "=="
            assert requirement.specifier.contains(pin.version), (files, name)


def test_the_oldest_pins_are_the_oldest_of_the_ranges():
    pins = pinned("requirements-oldest.txt")
    for name, requirement in required("options", "install_requires").items():
        (lowest,), (pin,) = requirement.specifier, pins[name].specifier
        assert lowest.operator == ">="
        assert Version(pin.version) == Version(lowest.version), name


def statements(within: list[Any]) -> Iterator[Any]:
    """Those of some code at every depth; their expressions, which are many more, are left out."""
    for node in within:
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from statements(getattr(node, part, []))


def imported(folder: str) -> dict[str, str]:
    """Distributions that a folder's Python imports, each with a file that does."""
    paths = [*(ROOT / folder).rglob("*.py"), *(ROOT / "docs").rglob("*.py")]
    ours = {path.stem for path in paths} | {"lsplus_tf"}
    found = {}
    for path in (ROOT / folder).rglob("*.py"):
        for node in statements(ast.parse(path.read_text(encoding="utf-8")).body):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [str(node.module)]
            for name in names:
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top not in ours:
                    found[canonicalize_name(DISTRIBUTIONS.get(top, top))] = path.name
    return found


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("lsplus_tf", ("dicom", "onnx", "ray", "safetensors")),
        ("tests", TESTED_EXTRAS),
        ("docs", TESTED_EXTRAS),
    ],
)
def test_what_is_imported_is_required(folder: str, extras: tuple[str, ...]):
    """The tests may not bring what the package needs: a user does not have it."""
    declared = set(required("options", "install_requires"))
    for extra in extras:
        declared |= set(required("options.extras_require", extra))
    files = imported(folder)
    assert len(files) > 3
    missing = {name: files[name] for name in sorted(files.keys() - declared)}
    assert not missing, f"imported and not in setup.cfg: {missing}"


def test_every_installation_of_the_makefile_is_checked():
    """Nothing comes unasked (--no-deps), and pip check names what a requirements file lacks."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipes = re.findall(r"^\$\(VENV\)/installed\S*:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert len(recipes) == 2
    for recipe in recipes:
        commands = recipe.split("\n\t")
        installs = [i for i, command in enumerate(commands) if "$(PIP_INSTALL)" in command]
        assert installs
        assert commands[max(installs) + 1].strip() == "$(BIN)/pip check"
    assert re.search(r"^PIP_INSTALL := .*--no-deps$", makefile, re.MULTILINE)


# --- the wheel ------------------------------------------------------------------------------------


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
        (["train", "digit"], 2, "own are brain_tumor_mri, chaoyang, chest_xray_3, digits"),
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
