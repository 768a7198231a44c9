"""A page to show to others: one HTML file that needs nothing else, for screens, phones and print.

A page is a title and sections of blocks::

    page = Page("Audit of model.csv", [Section("Verdict", [Text("Overconfident.", "bad")])])
    write_page(page, Path("audit.html"))

Everything that is shown is escaped; blocks hold plain text, no HTML. Nothing is loaded from a
network, which the page's own content security policy forbids too.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import jinja2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from lsplus_tf.files import FileKind, begins_with, writing
from lsplus_tf.version import __version__

__all__ = [
    "Block",
    "Cell",
    "Facts",
    "Page",
    "Picture",
    "Pictures",
    "Section",
    "Table",
    "Text",
    "Tone",
    "draw",
    "render",
    "write_page",
]

_MADE_BY = rb'(?s)\s*<!DOCTYPE html>.*<meta name="generator" content="lsplus_tf '
_PAGE = FileKind("a page", begins_with(_MADE_BY))

_DPI = 150  # of PNGs, which are sharp on screens with small pixels too

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
class Picture:
    """A figure, and in words for who cannot see it; :func:`draw` makes one.

    Attributes
    ----------
    image : bytes
        Of an SVG or PNG file.
    alt : str
        What it shows, in words.
    width : int
        As it is meant to be seen, in pixels of a page.
    caption : str
        Below it.
    """

    image: bytes
    alt: str
    width: int
    caption: str = ""

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        kind = "png" if self.image.startswith(b"\x89PNG") else "svg+xml"
        return f"data:image/{kind};base64,{base64.b64encode(self.image).decode('ascii')}"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side where there is room.

    Attributes
    ----------
    pictures : sequence of Picture
    """

    pictures: Sequence[Picture]


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


def draw(figure: Figure, alt: str, caption: str = "", *, raster: bool = False) -> Picture:
    """The picture of a figure, which is drawn once and closed.

    Characters that no font has are boxes in it, of which one warning tells.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    alt : str
        What it shows, in words.
    caption : str
        Below it.
    raster : bool
        PNG in place of SVG, for figures of many thousand marks, and for files.

    Returns
    -------
    Picture
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = _drawn(figure, raster)
    for each in caught:
        if not str(each.message).startswith("Glyph "):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if any(str(each.message).startswith("Glyph ") for each in caught):
        # The same text from this very line, which Python tells once for all figures.
        warnings.warn(
            "figures: some characters of names are drawn as boxes, as Matplotlib's font lacks "
            "them; name one that has them in rcParams['font.family']",
            stacklevel=1,
        )
    return Picture(image, alt, round(96 * figure.get_figwidth()), caption)


def _drawn(figure: Figure, raster: bool) -> bytes:
    if raster:
        figure.set_dpi(_DPI)
    # Here and not in savefig, which would draw the figure once more for it.
    (figure.get_layout_engine() or ConstrainedLayoutEngine()).execute(figure)
    figure.set_layout_engine(None)
    file = io.BytesIO()
    if raster:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        image.save(file, "png", compress_level=1)
    else:
        # The same figure gives the same bytes: no date, no random names.
        with plt.rc_context({"svg.hashsalt": "lsplus_tf"}):
            figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    return file.getvalue()


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
