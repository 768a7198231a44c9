"""Who imports whom: the rooms of the package stand on floors, and import what is below them.

A room is a package or a module directly below `lsplus_tf`. All imports count: those inside
functions, which keep the start quick, and those for type checkers, since what a room is described
in terms of is what it depends on.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections import defaultdict
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOF = "lsplus_tf"  # its own names, which users import, and no room does

# From top to bottom. A room imports from the floors below its own, not from its neighbours.
FLOORS = (
    {"cli"},
    {"paper"},
    {"results"},
    {"experiments"},
    {"auditing", "deployment"},
    {"calibrators", "plots", "training"},
    {"metrics"},
    {"predictions"},
    {"datasets"},
    {"backbones", "callbacks"},
    {"losses"},
    {"config", "geodesic", "page", "pretrained", "priors"},
    {"csv_files", "keras_files", "manifest", "npz_files", "tables"},
    {"hdf5_files"},
    {"bounded", "files"},
    {"conventions", "errors", "version"},
)
IMPORTED_BY_NOBODY = {"cli", "paper"}

# What does not hold yet. An entry that is no longer needed fails, and goes.
UPWARDS: set[tuple[str, str]] = set()
PRIVATE: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Import:
    """A module of a room that imports, or reads, `name` of another room's `module`.

    Modules are named as below `lsplus_tf`, which is itself "lsplus_tf"; `name` is "" where the
    module itself is imported.
    """

    by: str
    module: str
    name: str

    @property
    def rooms(self) -> tuple[str, str]:
        return self.by.split(".")[0], self.module.split(".")[0]

    @property
    def private(self) -> bool:
        return any(re.match(r"_(?!_)", part) for part in [*self.module.split("."), self.name])


def read_imports(root: Path) -> set[Import]:
    """The imports across rooms of the package `lsplus_tf` in a folder."""
    modules = {_name(path.relative_to(root)): path for path in root.glob("lsplus_tf/**/*.py")}
    found = set()
    for by, path in modules.items():
        package = by if path.name == "__init__.py" else by.rpartition(".")[0]
        for module, name in _imports(ast.parse(path.read_text(encoding="utf-8")), package, modules):
            each = Import(_below(by), _below(module), name)
            if each.rooms[0] != each.rooms[1]:
                found.add(each)
    return found


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _below(module: str) -> str:
    return module.removeprefix("lsplus_tf.")


def _imports(tree: ast.AST, package: str, modules: dict[str, Path]) -> set[tuple[str, str]]:
    """Pairs of a module of `lsplus_tf` and a name in it, "" for the module."""
    found: set[tuple[str, str]] = set()
    bound: dict[str, str] = {}  # names in the file that are modules
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {(alias.name, "") for alias in names}
                bound |= {alias.asname: alias.name for alias in names if alias.asname}
            case ast.ImportFrom(module=module, names=names, level=level):
                parts = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*parts, *([module] if module else [])])
                for alias in names:
                    whole = f"{base}.{alias.name}"
                    found.add((whole, "") if whole in modules else (base, alias.name))
                    if whole in modules:
                        bound[alias.asname or alias.name] = whole
            # importlib.import_module("lsplus_tf.metrics.keras")
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                found.add((module, ""))
    for node in ast.walk(tree):  # module._private
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in bound:
                found.add((bound[name], attribute))
    return {(module, name) for module, name in found if module.split(".")[0] == "lsplus_tf"}


@pytest.fixture(scope="module")
def imports() -> set[Import]:
    return read_imports(ROOT)


def test_every_room_has_a_floor():
    rooms = {path.stem for path in (ROOT / "lsplus_tf").glob("*.py")} - {"__init__"}
    rooms |= {path.parent.name for path in (ROOT / "lsplus_tf").glob("*/__init__.py")}
    assert sorted(room for floor in FLOORS for room in floor) == sorted(rooms)


def test_the_picture_shows_the_floors():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = re.search(r"\n## The floors\n.*?\n```text\n(.*?)\n```\n", text, flags=re.S)
    floors = []
    for line in picture.group(1).splitlines():
        rooms, _, meaning = line.partition("   ")
        assert meaning.strip(), line
        kinds = dict(re.findall(r"(\w+)(/|\.py)", rooms))
        for room, kind in kinds.items():
            path = ROOT / "lsplus_tf" / f"{room}{kind}"
            assert path.is_dir() if kind == "/" else path.is_file(), room
        floors.append(set(kinds))
    assert tuple(floors) == FLOORS


def test_a_room_imports_what_stands_below_it(imports):
    height = {room: -i for i, floor in enumerate(FLOORS) for room in floor}
    upwards = defaultdict(set)
    for each in imports:
        by, room = each.rooms
        if by != ROOF and (room == ROOF or height[by] <= height[room]):
            upwards[by, room].add(f"{each.by} imports {each.name} of {each.module}")
    assert {rooms: upwards[rooms] for rooms in upwards.keys() - UPWARDS} == {}
    assert UPWARDS - upwards.keys() == set(), "no longer needed"


def test_there_is_no_circle(imports):
    below = defaultdict(set)
    for each in imports:
        below[each.rooms[0]].add(each.rooms[1])
    TopologicalSorter(below).prepare()


def test_the_papers_and_the_command_line_are_imported_by_nobody(imports):
    found = {each.rooms for each in imports if each.rooms[1] in IMPORTED_BY_NOBODY}
    assert found <= {("cli", "paper")}


def test_what_is_private_stays_in_its_room(imports):
    private = defaultdict(set)
    for each in imports:
        if each.private:
            private[each.by, each.module].add(each.name)
    assert {key: private[key] for key in private.keys() - PRIVATE} == {}
    assert PRIVATE - private.keys() == set(), "no longer needed"


def test_the_reader_of_imports_sees_them_all(tmp_path):
    files = {
        "__init__.py": "from lsplus_tf.a import name",
        "a/__init__.py": "from . import inner\nfrom .inner import name",
        "a/inner.py": "from ..b import _hidden, shown",
        "a/_own.py": "import numpy\nfrom lsplus_tf.a import inner\nfrom lsplus_tf import __doc__",
        "b.py": """
            import importlib
            from typing import TYPE_CHECKING
            if TYPE_CHECKING:
                from lsplus_tf.c.deep import Kind
            def late():
                import lsplus_tf.a as a
                a._secret
                importlib.import_module("lsplus_tf.d")
            """,
        "c/__init__.py": "",
        "c/deep.py": "import lsplus_tf.a._own",
        "d.py": "from lsplus_tf import a, c",
    }
    for name, text in files.items():
        path = tmp_path / "lsplus_tf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    found = read_imports(tmp_path)
    assert found == {
        Import("lsplus_tf", "a", "name"),
        Import("a.inner", "b", "_hidden"),
        Import("a.inner", "b", "shown"),
        Import("a._own", "lsplus_tf", "__doc__"),
        Import("b", "c.deep", "Kind"),
        Import("b", "a", ""),
        Import("b", "a", "_secret"),
        Import("b", "d", ""),
        Import("c.deep", "a._own", ""),
        Import("d", "a", ""),
        Import("d", "c", ""),
    }
    assert {each for each in found if each.private} == {
        Import("a.inner", "b", "_hidden"),
        Import("b", "a", "_secret"),
        Import("c.deep", "a._own", ""),
    }
    with pytest.raises(ValueError, match="cycle"):
        test_there_is_no_circle(found)
