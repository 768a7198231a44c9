"""A page to show to others: one HTML file that needs nothing else, for screens, phones and print.

A page is a title and sections of blocks::

    page = Page("Audit of model.csv", [Section("Verdict", [Text("Overconfident.", "bad")])])
    write_page(page, Path("audit.html"))

Everything that is shown is escaped; blocks hold plain text, no HTML. Nothing is loaded from a
network, which the page's own content security policy forbids too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import jinja2

from lsplus_tf.files import FileKind, begins_with, writing
from lsplus_tf.page.pictures import Mark, Picture, draw, shared_legend
from lsplus_tf.version import __version__

__all__ = [
    "Block",
    "Cell",
    "Facts",
    "Mark",
    "Page",
    "Picture",
    "Pictures",
    "Section",
    "Table",
    "Text",
    "Tone",
    "draw",
    "render",
    "shared_legend",
    "write_page",
]

_MADE_BY = rb'(?s)\s*<!DOCTYPE html>.*<meta name="generator" content="lsplus_tf '
_PAGE = FileKind("a page", begins_with(_MADE_BY), ".html")

_SHORT = 32  # characters

Tone = Literal["plain", "good", "bad", "unsure", "fact", "note"]


@dataclass(frozen=True)
class Text:
    """A paragraph: plain, in small print ("note"), or one of a list of findings with a sign.

    Attributes
    ----------
    text : str
    tone : {"plain", "good", "bad", "unsure", "fact", "note"}
    """

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Cell:
    """What a cell of a table shows, and the number that the column is sorted by.

    Attributes
    ----------
    text : str
    value : float or None
    bold : bool
    """

    text: str
    value: float | None = None
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table that the reader can sort by any column.

    Attributes
    ----------
    caption : str
    headings : sequence of str, length M
    rows : sequence of (sequence of str or Cell, length M)
        The first cell names the row. A column with a `Cell` that has a value is one of numbers.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]

    @property
    def short_names(self) -> bool:
        """Whether what names the rows has room in one line of a screen."""
        return all(len(row[0].text) <= _SHORT for row in self.cells)

    @property
    def cells(self) -> list[list[Cell]]:
        """All rows, with a `Cell` in each column."""
        return [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in self.rows]

    @property
    def numeric(self) -> list[bool]:
        """Which columns are of numbers, (M,)."""
        rows = self.cells
        return [
            any(row[column].value is not None for row in rows)
            for column in range(len(self.headings))
        ]


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side where there is room.

    Attributes
    ----------
    pictures : sequence of Picture
    legend : Picture or None
        What the colours and signs of all of them mean.
    """

    pictures: Sequence[Picture]
    legend: Picture | None = None

    @property
    def columns(self) -> int:
        """How many are side by side at most, so that rows are full where they can be."""
        number = len(self.pictures)
        return 2 if number in (2, 4) else min(number, 3)


@dataclass(frozen=True)
class Facts:
    """Names with values, such as settings and versions, folded away until asked for.

    Attributes
    ----------
    title : str
    facts : mapping of str to str
    """

    title: str
    facts: Mapping[str, str]


Block = Text | Table | Picture | Pictures | Facts


@dataclass(frozen=True)
class Section:
    """A heading and what is below it.

    Attributes
    ----------
    title : str
    blocks : sequence of Block
    """

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """What links within the page call it."""
        return _anchor(self.title)


def _anchor(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """What :func:`render` makes HTML of.

    Attributes
    ----------
    title : str
    sections : sequence of Section
    subtitle : str
    glossary : mapping of str to str
        Definitions by the names that tables have in their headings and first columns. Those that
        are used stand at the page's end, and a link below each table leads there.
    """

    title: str
    sections: Sequence[Section]
    subtitle: str = ""
    glossary: Mapping[str, str] = field(default_factory=dict)

    def terms(self, table: Table) -> list[str]:
        """What of the glossary a table has in its headings and first column, each once."""
        texts = [*table.headings, *(row[0].text for row in table.cells)]
        found = (text if text in self.glossary else _bare(text) for text in texts)
        return list(dict.fromkeys(text for text in found if text in self.glossary))

    @property
    def definitions(self) -> dict[str, str]:
        """That part of the glossary which the page's tables use."""
        tables = [
            block
            for section in self.sections
            for block in section.blocks
            if isinstance(block, Table)
        ]
        used = dict.fromkeys(term for table in tables for term in self.terms(table))
        return {term: self.glossary[term] for term in used}


# What stands behind a term in a heading: an arrow, a unit, a mark, a setting, a class.
_BEHIND = re.compile(r"(\s*(,\s*%|, by class|of .*|[↑↓*]|\(.*\)|at \S+% errors))+$")


def _bare(text: str) -> str:
    """A heading, or a row's name, without what is no part of the term."""
    return _BEHIND.sub("", text)


def render(page: Page) -> str:
    """The page as HTML.

    Parameters
    ----------
    page : Page

    Examples
    --------
    >>> html = render(Page("A < B", [Section("Verdict", [Text("Nothing found.", "unsure")])]))
    >>> "<h1>A &lt; B</h1>" in html
    True
    """
    return _template().render(page=page, version=__version__)


def write_page(page: Page, path: str | Path) -> None:
    """Write the page to a file, whole or not at all.

    A file that is there is replaced if it is such a page; `OutputError` is raised for any other.

    Parameters
    ----------
    page : Page
    path : str or Path
    """
    text = render(page)
    with writing(path, _PAGE, argument="path") as new:
        new.write_text(text, encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lsplus_tf", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A block is told by the name of its class.
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["anchor"] = _anchor
    return environment.get_template("page.html.jinja")
