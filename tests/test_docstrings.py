"""That docstrings are in one dialect, numpydoc; they are read as text, nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from helpers import ROOT

PACKAGE = ROOT / "lsplus_tf"
# Where `with_options` puts those of data sets, the name and what is taken as **options.
OPTIONS = "{options}"
# A word of a type: these, numbers, and names of classes.
WORD = re.compile(
    r"""array_like | ndarray | str | bytes | int | float | bool | object | callable | slice
    | sequence | class | mapping | collection | iterable | iterator | list | tuple | dict | set
    | csr_array | of | to | or | in | shape | length | optional
    | \d+ | u?(int|float)\d+ | (\w+\.)*[A-Z]\w*""",
    re.VERBOSE,
)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def sections(text: str) -> dict[str, str]:
    """The text of each section by its title; of what is above them, by ""."""
    above, *parts = re.split(r"^(\S.*)\n-{3,}$", text, flags=re.MULTILINE)
    return {"": above} | dict(zip(parts[::2], parts[1::2], strict=True))


def entries(text: str) -> Iterator[tuple[str, str]]:
    """The first line of each entry of a section, and the indented lines below it."""
    _, *parts = re.split(r"^(\S.*)$", text, flags=re.MULTILINE)
    return zip(parts[::2], map(str.strip, parts[1::2]), strict=True)


def is_type(text: str) -> bool:
    """Whether a text is a type, such as `array_like of int, shape (N, K), optional`.

    In brackets stand symbols, `(N, K - 1)`, or types, `(list of Path, int)`.
    """
    text = re.sub(r'"[^"]*"', "0", text)
    while (match := re.search(r"[({\[]([^(){}\[\]]*)[)}\]]", text)) is not None:
        inside = match.group(1)
        if re.search(r"[a-z] +[a-z]", inside) and not is_type(inside):
            return False
        text = text[: match.start()] + " 0 " + text[match.end() :]
    words = re.findall(r"[^\s,]+", text)
    return bool(words) and all(map(WORD.fullmatch, words))


def problems(text: str) -> Iterator[str]:
    """What in a docstring is not of the dialect."""
    for title, section in sections(text).items():
        if title in FORMS:
            for head, below in entries(section):
                if head == OPTIONS:
                    continue
                if not FORMS[title](head, below):
                    yield head
                if re.match(r"\w\.\s|\w\.$", below):
                    yield f"{head}: {below!r} is an item of a list in reStructuredText"
        elif title not in ("", "Notes", "Examples", "References", "See Also"):
            yield f"section {title!r}"


def is_named(head: str, below: str) -> bool:
    """`name : type`; or `name` alone, which is "As in" some other docstring."""
    names, colon, kind = head.partition(" : ")
    known = is_type(kind) if colon else below.startswith("As ")
    return known and re.fullmatch(r"\*{0,2}\w+(, \*{0,2}\w+)*", names) is not None


def is_result(head: str, below: str) -> bool:
    """A type; or as a parameter."""
    return is_type(head) or is_named(head, below)


def is_raised(head: str, below: str) -> bool:
    """A class, and below it when."""
    return below != "" and re.fullmatch(r"(\w+\.)*[A-Z]\w*", head) is not None


NAMED = ("Parameters", "Attributes")
FORMS = dict.fromkeys(NAMED, is_named)
FORMS |= {"Returns": is_result, "Yields": is_result, "Raises": is_raised, "Warns": is_raised}


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its path below it."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def public() -> Iterator[tuple[str, Definition]]:
    """The functions and classes that a module of the package has in its `__all__`."""
    trees = modules()
    for path, tree in trees.items():
        for name in _offered(tree):
            found = _definition(trees, path, name)
            if found is not None:
                yield f"{path}: {name}", found


def _offered(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def _definition(trees: dict[str, ast.Module], path: str, name: str) -> Definition | None:
    """Where a name of a module is defined, there or in what it imports the name from."""
    for node in reversed(trees[path].body):  # a function comes after its overloads
        if isinstance(node, Definition) and node.name == name:
            if any(ast.unparse(each) == "overload" for each in node.decorator_list):
                continue  # the types of some arguments; what it does comes after
            return node
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lsplus_tf."):
            place = "/".join((node.module or "").split(".")[1:])
            for alias in node.names:
                for source in (f"{place}.py", f"{place}/__init__.py"):
                    if (alias.asname or alias.name) == name and source in trees:
                        return _definition(trees, source, alias.name)
    return None


def arguments(node: Definition) -> list[str]:
    """What a function takes, or the making of a class; a class without a word on it, nothing."""
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                return arguments(inner)
        marks = [re.sub(r"\(.*", "", ast.unparse(mark)) for mark in node.decorator_list]
        if "dataclass" in marks or "NamedTuple" in map(ast.unparse, node.bases):
            return [
                ast.unparse(inner.target)
                for inner in node.body
                if isinstance(inner, ast.AnnAssign)
                and "ClassVar" not in ast.unparse(inner)
                and not ast.unparse(inner.target).startswith("_")
            ]
        return []
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [argument.arg for argument in given if argument.arg not in ("self", "cls")]


def described(node: Definition, *titles: str) -> set[str]:
    """The names in some sections of a docstring."""
    found = sections(ast.get_docstring(node) or "")
    heads = [head for title in titles for head, _ in entries(found.get(title, ""))]
    heads = ["name : str" if head == OPTIONS else head for head in heads]
    return {name for head in heads for name in head.partition(" : ")[0].split(", ")}


@pytest.mark.parametrize(
    "section",
    [
        "Parameters\n----------\nlabels : array_like of int, shape (N,) or (N, 1), or Predictions",
        'Parameters\n----------\nmode : {"a", "b c"}, optional\n    The way.',
        "Parameters\n----------\n*args, **kwargs\n    As in `keras.layers.Layer`.",
        "Attributes\n----------\nshare : float, in [0, 1]\n    Of what : ever.\n\n    More.",
        "Returns\n-------\ntuple of (list of Path, int)",
        "Returns\n-------\ncoverage, risk : ndarray of float64, shape (ceil(N/2), 3)\n    Both.",
        "Raises\n------\nInputError\n    No file.\nkeras.Error\n    Other.",
        "Examples\n--------\na : dict of things\nfree text",
    ],
)
def test_numpydoc_passes(section: str):
    assert list(problems(f"What it is.\n\n{section}")) == []


@pytest.mark.parametrize(
    "section",
    [
        "Parameters\n----------\nlabels : (N,) true class ids, 0..K-1.",
        "Parameters\n----------\nnum_classes : int.",
        "Parameters\n----------\nnum_classes : int\n    K.",
        "Parameters\n----------\nmode : how it is done\n    Text.",
        "Parameters\n----------\nsize : int (of the image)\n    Text.",
        "Parameters\n----------\nsize\n    The size.",
        "Parameters\n----------\nsize : int\nThe size.",
        'Attributes\n----------\nname : such as "a".',
        "Returns\n-------\nThe sum.",
        "Returns\n-------\n(N, K) probabilities",
        "Raises\n------\nInputError : no file.",
        "Raises\n------\nInputError",
        "Parameter\n---------\nsize : int",
    ],
)
def test_what_is_no_numpydoc_is_found(section: str):
    assert list(problems(f"What it is.\n\n{section}")) != []


def test_every_docstring_is_numpydoc():
    wrong = [
        f"lsplus_tf/{path}:{getattr(node, 'lineno', 1)}: {what}"
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | Definition)
        for what in problems(ast.get_docstring(node) or "")
    ]
    assert wrong == []


def test_every_public_name_says_what_it_takes():
    names = dict(public())
    assert len(names) > 100
    assert [name for name, node in names.items() if not ast.get_docstring(node)] == []
    wrong = {}
    for name, node in names.items():
        taken = set(arguments(node))
        lacks = taken - described(node, *NAMED)
        has_more = described(node, "Parameters") - taken if taken else set()
        if lacks or has_more:
            wrong[name] = (lacks, has_more)
    assert wrong == {}
