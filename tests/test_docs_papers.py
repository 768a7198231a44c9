"""docs/papers.md: the files, tests, keys and public names that its tables name are there."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from helpers import ROOT
from test_errata import ENTRIES, ERRATA

from lsplus_tf.config import load_config

PAGE = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
CONFIGS = {  # of each paper's section
    "The LS+ paper": ("chaoyang", "mhist", "isic2018"),
    "Online label smoothing": ("radimagenet",),
    "The RadImageNet paper": ("radimagenet",),
}
SECTIONS = {text.partition("\n")[0]: text for text in re.split(r"^## ", PAGE, flags=re.M)}
SECTION, WHOLE = "dataset|backbone|protocol|methods", "seeds|convention|features"
KEY = re.compile(rf"((?:{SECTION})\.[\w.]+|{WHOLE})(?:: (.+))?")
COMMANDS = {"lsplus-tf paper", "lsplus-tf reproduce ls_plus_paper", "lsplus-tf reproduce ols_paper"}


def rows(section: str) -> Iterator[str]:
    """The lines of its tables, without headings."""
    for table in re.findall(r"^\|:--.*\n((?:\|.*\n)+)", SECTIONS[section], re.M):
        yield from table.splitlines()


def is_there(token: str, section: str) -> bool:
    """Whether what stands between backticks exists, by its form; no form is no."""
    if match := re.fullmatch(r"(test_\w+\.py)::(test_\w+)", token):
        return match[2] in functions_in(match[1])
    if match := KEY.fullmatch(token):
        return is_set(match[1], match[2], CONFIGS[section])
    if match := re.fullmatch(r"lsp\.([\w.]+)\.(\w+)", token):
        return match[2] in public_names(f"lsplus_tf.{match[1]}")
    if "/" in token:
        return (ROOT / token).is_file()
    return token in COMMANDS | {"fit"}


@functools.cache
def functions_in(file: str) -> set[str]:
    path = ROOT / "tests" / file
    tree = ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def public_names(module: str) -> list[str]:
    """What it offers; read, where a list stands there, since losses import TensorFlow."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AugAssign):
            return list(importlib.import_module(module).__all__)
    listed = re.search(r"^__all__ = (\[.*?\])", path.read_text(encoding="utf-8"), re.M | re.S)
    return ast.literal_eval(listed[1]) if listed else []


@functools.cache
def settings_of(config: str) -> dict[str, Any]:
    return load_config(config).model_dump(mode="json")


def is_set(key: str, value: str | None, configs: tuple[str, ...]) -> bool:
    """Whether configs have the key, all with the value; the name of the data is that of one."""
    found = []
    for config in configs:
        place: Any = settings_of(config)
        for part in key.split("."):
            if not isinstance(place, dict) or part not in place:
                return False
            place = place[part]
        found.append(place)
    if value is None:
        return True
    same = [each == yaml.safe_load(value) for each in found]
    return any(same) if key == "dataset.name" else all(same)


@pytest.mark.parametrize("section", CONFIGS)
def test_what_the_tables_name_exists(section: str):
    lines = list(rows(section))
    assert len(lines) >= 5
    assert {line.count("|") for line in lines} == {4}
    tokens = [token for line in lines for token in re.findall(r"`([^`]+)`", line)]
    assert [token for token in tokens if not is_there(token, section)] == []


@pytest.mark.parametrize("section", CONFIGS)
def test_every_row_says_how_it_is_checked(section: str):
    """By a test, the errata, a command or a file; or that and why it is not."""
    checked = r"`test_|`lsplus-tf|`docs/|\berrata \d|the same tests|as above"
    not_checked = r"cannot be|not (done|made) here"
    lasts = [line.split("|")[3] for line in rows(section)]
    assert [last for last in lasts if not re.search(f"{checked}|{not_checked}", last)] == []


def test_the_errata_that_it_names_exist():
    numbers = re.findall(r"\berrata ((?:\d+, )*\d+)", PAGE)
    named = {int(number) for each in numbers for number in each.split(", ")}
    # Every entry of these papers is a statement that somebody has to know of.
    of_papers, _ = ERRATA.split("\n## Methods since\n")
    count = sum(f"\n### {heading}\n" in of_papers for heading in ENTRIES)
    assert named == set(range(1, count + 1))
    assert count == 23


@pytest.mark.parametrize(
    "token",
    [
        "test_losses.py::test_nothing",
        "test_nothing.py::test_nothing",
        "protocol.epoch",
        "protocol.epochs: 100",
        "backbone.name: vgg19",
        "lsp.losses.NothingLoss",
        "lsp.metrics.nothing",
        "lsplus_tf/nothing.py",
        "nothing",
    ],
)
def test_what_is_not_there_would_be_noticed(token: str):
    assert not is_there(token, "The LS+ paper")
