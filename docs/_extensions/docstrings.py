"""From this package's docstrings to reStructuredText.

They have NumPy's sections. An entry is either NumPy's `name : type` with the text below, or
`name : text`, the text going on below; which of the two is seen from whether its first line was
full.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator

from sphinx.application import Sphinx

ENTRIES = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns")
FULL = 85  # of 100 columns, less the deepest indentation of a docstring

Lines = list[str]


def sections(lines: Lines) -> Iterator[tuple[str, Lines]]:
    """The title and the lines of each section; the first has no title."""
    title, begin = "", 0
    for number, (line, below) in enumerate(itertools.pairwise(lines)):
        if line and below == "-" * len(line):
            yield title, lines[begin:number]
            title, begin = line, number + 2
    yield title, lines[begin:]


def entries(lines: Lines) -> Iterator[tuple[str, Lines]]:
    """The first line of each entry, and the lines below it without their indentation."""
    starts = [n for n, line in enumerate(lines) if line and not line[0].isspace()]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield lines[start], inspect.cleandoc("\n".join(["", *lines[start + 1 : end]])).split("\n")


def entry(first: str, below: Lines) -> Lines:
    """One entry as a definition: its name in bold, its type in italics, its text."""
    name, colon, rest = first.partition(" : ")
    if not colon:
        return [name, *(f"    {line}" for line in below)]
    words = below[0].split()
    goes_on = bool(words) and len(first) + 1 + len(words[0]) > FULL
    if goes_on or not words:
        return [f"**{name}**", *(f"    {line}" for line in [rest, *below])]
    return [f"**{name}** : *{rest}*", *(f"    {line}" for line in below)]


def plain(line: str) -> str:
    """What reStructuredText would take for markup, and is meant as it stands, outside of code."""
    if line.lstrip().startswith((">>>", "...")):
        return line
    parts = re.split(r"(``.+?``|:\w+:`.+?`|`.+?`)", line)
    parts[::2] = [re.sub(r"\||(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def process(lines: Lines) -> Lines:
    made: Lines = []
    for title, text in sections(lines):
        if title:
            made += ["", f".. rubric:: {title}", ""]
        if title in ENTRIES:
            for first, below in entries(text):
                made += ["", *map(plain, entry(first, below)), ""]
        else:
            in_example = False
            for line in text:
                in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
                made.append(line if in_example else plain(line))
    return made


def setup(app: Sphinx) -> dict[str, bool]:
    def on_docstring(
        app: Sphinx, what: str, name: str, obj: object, options: object, lines: Lines
    ) -> None:
        lines[:] = process(lines)

    app.connect("autodoc-process-docstring", on_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
