"""Each package says in `__all__` what it offers, and no module hides behind a name of its own."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType

import jedi
import pytest

import lsplus_tf as lsp

ROOT = Path(lsp.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py"))
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]
# What users import from: packages, modules directly below lsplus_tf, and these.
OFFERING = [
    *PACKAGES,
    *sorted(ROOT.glob("[!_]*.py")),
    *(ROOT / name for name in ("calibrators/keras.py", "losses/released.py", "metrics/keras.py")),
]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def made(path: Path) -> set[str]:
    """The functions, classes and other names that a module makes, with _private ones."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def taken(path: Path) -> set[str]:
    """The names that a package takes from its own modules: its functions, classes and data."""
    package = name_of(path)
    return {
        alias.asname or alias.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}.")
        for alias in node.names
    }


@pytest.mark.parametrize("path", OFFERING, ids=name_of)
def test_what_is_offered_is_listed(path):
    module = importlib.import_module(name_of(path))
    own = {
        name
        for name, value in vars(module).items()
        if name[0] != "_" and callable(value) and value.__module__ == module.__name__
    }
    listed = getattr(module, "__all__", [])
    assert own <= set(listed)  # what is imported and not listed, ruff finds
    assert [name for name in listed if not hasattr(module, name)] == []
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_is_hidden_by_a_name(path):
    """As `package.audit` would be, where `package/__init__.py` has a function `audit`."""
    if path.name != "__init__.py":
        assert path.stem not in made(path)
    else:
        modules = {each.stem for each in path.parent.glob("*.py")}
        modules |= {each.parent.name for each in path.parent.glob("*/__init__.py")}
        assert modules & (made(path) | taken(path)) == set()


def test_the_rooms_that_are_offered_are_modules():
    rooms = {path.stem for path in ROOT.iterdir()} & set(lsp.__all__)
    assert "losses" in rooms
    assert all(isinstance(getattr(lsp, room), ModuleType) for room in rooms)


def test_what_is_made_with_many_arguments_takes_all_but_the_first_by_name():
    offering = (
        "losses",
        "losses.released",
        "metrics.keras",
        "callbacks",
        "calibrators",
    )
    made = {
        getattr(module, name)
        for module in (importlib.import_module(f"lsplus_tf.{each}") for each in offering)
        for name in module.__all__
        if inspect.isclass(getattr(module, name))
    }
    assert len(made) > 40
    positional = {
        kind.__name__: [
            parameter.name
            for parameter in inspect.signature(kind).parameters.values()
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]
        for kind in made
    }
    assert {name: names for name, names in positional.items() if len(names) > 1} == {}


def loads_late(path: Path) -> bool:
    """Whether a package imports some of its names when they are first used."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in nodes)


LATE = [path for path in PACKAGES if loads_late(path)]


@pytest.mark.parametrize("path", LATE, ids=name_of)
def test_names_that_are_loaded_late_are_completed(path):
    """In a notebook by `dir`, in editors by what their analysis finds, here Jedi's."""
    module = importlib.import_module(name_of(path))
    there = {name for name in dir(module) if name[0] != "_"}
    assert set(module.__all__) <= there
    completed = jedi.Script(f"import {module.__name__} as it\nit.").complete()
    assert set(module.__all__) <= {each.name for each in completed}


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("lsp.losses.LSPlus", "LSPlusLoss"),
        ("lsp.losses.LSPlusLoss([[1.0]], al", "alpha="),
        ("lsp.metrics.keras.ExpectedC", "ExpectedCalibrationError"),
        ("lsp.calibrators.att", "attach"),
        ("lsp.Predictions([0], [[1.0]]).conf", "confidence"),
        ("lsp.plots.ReliabilityDisplay.from_pred", "from_predictions"),
    ],
)
def test_what_a_user_types_is_completed(typed: str, completed: str):
    script = jedi.Script(f"import lsplus_tf as lsp\n{typed}")
    assert completed in [each.name for each in script.complete()]
