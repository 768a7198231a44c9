"""What the built site must hold beyond Sphinx's own checks; what does not hold fails the build."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import lsplus_tf

FETCHED = re.compile(
    r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=\"(?:https?:)?//[^\"]+\""
    r"|url\([\"']?(?:https?:)?//|@import"
)
# A link tells the browser where a page lies, and fetches nothing.
HARMLESS = re.compile(r'rel="(?:canonical|license|author)"')


def public_modules() -> dict[str, ModuleType]:
    """The modules whose names are public: those that `import lsplus_tf` offers, and two more."""
    offered = [
        name for name in lsplus_tf.__all__ if isinstance(getattr(lsplus_tf, name), ModuleType)
    ]
    names = [f"lsplus_tf.{name}" for name in [*offered, "losses.released", "metrics.keras"]]
    return {name: importlib.import_module(name) for name in names}


def public_names() -> Iterator[tuple[str, object]]:
    """What the public modules offer, with the full names."""
    for module_name, module in public_modules().items():
        own = [n for n, value in vars(module).items() if _is_of(value, module) and n[0] != "_"]
        for name in getattr(module, "__all__", own):
            yield f"{module_name}.{name}", getattr(module, name)


def undocumented(documented: set[str]) -> Iterator[str]:
    """The public names that no page of the API reference has."""
    return (name for name, _ in public_names() if name not in documented)


def _is_of(value: object, module: ModuleType) -> bool:
    """Whether a function or class was defined in `module`."""
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def fetched(folder: Path) -> Iterator[str]:
    """What pages and style sheets would fetch from a network."""
    for path in sorted([*folder.rglob("*.html"), *folder.rglob("*.css")]):
        for match in FETCHED.finditer(path.read_text(encoding="utf-8")):
            if not HARMLESS.search(match.group()):
                yield f"{path.relative_to(folder)}: {match.group()}"


def _check(app: Sphinx, failure: Exception | None) -> None:
    if failure is not None or app.builder.format != "html":
        return
    documented = set(app.env.domaindata["py"]["objects"])
    problems = [f"{name} is public and in no page of docs/api" for name in undocumented(documented)]
    problems += [f"needs a network: {what}" for what in fetched(Path(app.outdir))]
    if problems:
        raise ExtensionError("\n".join(problems))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
