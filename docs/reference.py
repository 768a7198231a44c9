"""Tables made from what they describe: the schema of the configs, and the configs.

`docs/results/pages.py` writes them into the pages.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lsplus_tf.config import Experiment, packaged_configs
from lsplus_tf.config.methods import MethodSettings
from lsplus_tf.config.settings import Settings

NAMES = {
    bool: "true or false",
    dict: "keys with values",
    float: "number",
    int: "integer",
    str: "text",
    Path: "path",
    type(None): "null",
}
# Upper bounds that are none to a reader: of 32 bits, and of floats.
UNSAID = (2**31 - 1, 1e38)
BOUNDS = {"gt": "> {}", "ge": ">= {}", "lt": "< {}", "le": "<= {}"}


def config_reference() -> str:
    """The schema as Markdown: a heading and a table for each section of a config."""
    return "\n".join(_sections("", (Experiment,)))


def _sections(path: str, kinds: tuple[type[Settings], ...]) -> Iterator[str]:
    """A section of the schema and those below it; of several kinds, each by its own name."""
    for kind in kinds:
        tag = _tag(kind) if len(kinds) > 1 else ""
        title = f"`{path}`" if path else "The whole"
        yield f"## {title}{f' with `{tag}`' if tag else ''}\n\n{_text(kind)}\n"
        yield from _table(kind)
    below = {}  # of several kinds that have the same section, once
    for kind in kinds:
        for key, field in kind.model_fields.items():
            if inside := tuple(_settings_in(field.annotation)):
                name = ".NAME" if get_origin(field.annotation) is dict else ""
                below[f"{path}.{key}".lstrip(".") + name] = inside
    for inner, inside in below.items():
        yield from _sections(inner, inside)


def _table(kind: type[Settings]) -> Iterator[str]:
    yield "| key | values | default | |\n|:--|:--|:--|:--|"
    for key, field in kind.model_fields.items():
        cells = (f"`{key}`", _values(field), _default(field), field.description or "")
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
    yield ""


def _values(field: FieldInfo) -> str:
    return _type(field.annotation, field.metadata)


def _type(annotation: Any, metadata: list[Any]) -> str:
    """A type and its bounds in words."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _type(inner, [*more, *metadata])
    bounds = ", ".join(_bounds(metadata))
    return f"{_name(annotation)}{f' {bounds}' if bounds else ''}"


def _name(annotation: Any) -> str:
    arguments, origin = get_args(annotation), get_origin(annotation)
    if origin in (types.UnionType, Union):
        return " or ".join(
            dict.fromkeys(
                "a section" if any(_settings_in(argument)) else _type(argument, [])
                for argument in arguments
            )
        )
    if origin is Literal:
        return ", ".join(f"`{_yaml(choice)}`" for choice in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0], [])}"
    if origin is dict:
        if any(_settings_in(annotation)):
            return "sections, by names of your choice"
        return f"names, each with a {_type(arguments[1], [])}"
    if issubclass(annotation, Settings):
        return "a section"
    return NAMES[annotation]


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for entry in metadata:
        if isinstance(entry, FieldInfo):
            yield from _bounds(entry.metadata)
        for bound, text in BOUNDS.items():
            if (value := getattr(entry, bound, None)) is not None:
                if value in UNSAID:
                    continue
                yield text.format(value if value < 2**31 else f"2^{value.bit_length() - 1}")
        if getattr(entry, "min_length", None):
            yield "(at least one)"
        if getattr(entry, "pattern", None):
            yield f"like `{entry.pattern}`"


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "*required*"
    return "see there" if isinstance(default, Settings) else f"`{_yaml(default)}`"


def _yaml(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple():
            return f"[{', '.join(map(_yaml, value))}]"
    return str(value)


def _settings_in(annotation: Any) -> Iterator[type[Settings]]:
    """The sections that a key can hold."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for argument in get_args(annotation):
        yield from _settings_in(argument)


def _tag(kind: type[Settings]) -> str:
    """What names the kind where there are several: its literal key."""
    key = "loss" if issubclass(kind, MethodSettings) else "name"
    return f"{key}: {get_args(kind.model_fields[key].annotation)[0]}"


def _text(kind: type[Settings]) -> str:
    text, _, _ = (kind.__doc__ or "").partition("Examples\n")
    return re.sub(r"\s*\n\s*", " ", text).strip().replace("|", r"\|")


def packaged_configs_table() -> str:
    """Every packaged config as a row of a Markdown table: its name and its first line."""
    rows = ["| config | |", "|:--|:--|"]
    for name, path in packaged_configs().items():
        first = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        rows.append(f"| [`{name}`](../configs/{name}.yaml) | {first} |")
    return "\n".join(rows)
