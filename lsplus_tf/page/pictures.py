"""Pictures of a page: figures drawn, with the numbers of their bars, and their shared legend."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image

_DPI = 150  # of PNGs, which are sharp on screens with small pixels too
_MARKED = "_ "  # begins the label of a bar whose numbers are shown


@dataclass(frozen=True)
class Mark:
    """A part of a picture, and its numbers, which are shown where a pointer is on it.

    Attributes
    ----------
    text : str
    left, top, width, height : float
        In percent of the picture.
    """

    text: str
    left: float
    top: float
    width: float
    height: float


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
    marks : sequence of Mark
        Parts of it with their numbers.
    """

    image: bytes
    alt: str
    width: int
    caption: str = ""
    marks: Sequence[Mark] = ()

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        kind = "png" if self.image.startswith(b"\x89PNG") else "svg+xml"
        return f"data:image/{kind};base64,{base64.b64encode(self.image).decode('ascii')}"


def draw(figure: Figure, alt: str, caption: str = "", *, raster: bool = False) -> Picture:
    """The picture of a figure, which is drawn once and closed.

    Bars with a label that begins with an underscore and a blank are marked with it. Characters that
    no font has are boxes in it, of which one warning tells.

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
        image, marks = _drawn(figure, raster)
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
    return Picture(image, alt, round(96 * figure.get_figwidth()), caption, marks)


def _drawn(figure: Figure, raster: bool) -> tuple[bytes, list[Mark]]:
    if raster:
        figure.set_dpi(_DPI)
    # Here and not in savefig, which would draw the figure once more for it.
    if figure.axes:
        (figure.get_layout_engine() or ConstrainedLayoutEngine()).execute(figure)
    figure.set_layout_engine(None)
    marks = _marks(figure)
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
    return file.getvalue(), marks


def _marks(figure: Figure) -> list[Mark]:
    """Of each bar with numbers the whole column, as a low bar is hard to hit."""
    whole = figure.bbox
    marks = []
    for ax in figure.axes:
        for bar in ax.patches:
            text = str(bar.get_label())
            if isinstance(bar, Rectangle) and text.startswith(_MARKED):
                x, column = bar.get_window_extent(), ax.get_window_extent()
                left, width = 100 * x.x0 / whole.width, 100 * x.width / whole.width
                top, height = 1 - column.y1 / whole.height, column.height / whole.height
                place = (round(each, 2) for each in (left, 100 * top, width, 100 * height))
                marks.append(Mark(text.removeprefix(_MARKED), *place))
    return marks


def shared_legend(axes: Sequence[Axes]) -> Picture | None:
    """One legend of what axes show, each label once, in place of each one's own.

    Parameters
    ----------
    axes : sequence of matplotlib.axes.Axes
        Whose legends are removed.

    Returns
    -------
    Picture or None
        None if there is nothing to explain.
    """
    found: dict[str, Artist] = {}
    for ax in axes:
        legend = ax.get_legend()
        handles, labels = ax.get_legend_handles_labels()
        if legend is not None:
            if not handles:  # made for the legend alone
                handles = [artist for artist in legend.legend_handles if artist is not None]
                labels = [text.get_text() for text in legend.get_texts()]
            legend.remove()
        for handle, label in zip(handles, labels, strict=True):
            found.setdefault(label, handle)
    if not found:
        return None
    longest = max(map(len, found))
    columns = max(1, min(len(found), 132 // (2 * longest + 13)))
    # As wide as a phone.
    figure = plt.figure(figsize=(4.2, 0.1 + 0.25 * -(-len(found) // columns)))
    size = 9.5 * min(1, 50 / longest)
    figure.legend(
        [*found.values()], [*found], loc="center", ncols=columns, frameon=False, fontsize=size
    )
    return draw(figure, f"Legend: {', '.join(found)}.", raster=True)
