"""What the command line prints with: no name that it prints can steer the terminal."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

_ANY_WIDTH = 10_000


class EscapingConsole(Console):
    """A console that shows control characters, such as those of a class name, as `\\x1b`.

    Text is escaped where it becomes renderable, so that tables have room for it, and what came
    another way where it is written. Rich's own colours and cursor movements are no text.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        return super()._render_buffer(
            segment if segment.control else Segment(printable(segment.text), segment.style)
            for segment in buffer
        )


def printable(text: str) -> str:
    """The text with all escaped but what has a shape or is a space, and line breaks.

    Examples
    --------
    >>> printable("a\\x1b[31mb\\n\\u202ec")
    'a\\\\x1b[31mb\\n\\\\u202ec'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" or unicodedata.category(c) == "Zs" else ascii(c)[1:-1]
        for c in text
    )


def terminal(*, stderr: bool = False) -> Console:
    """Standard output or error; ":brain:" in a name stays as it is, and is no picture."""
    return EscapingConsole(stderr=stderr, emoji=False)


@contextmanager
def whole_tables(console: Console) -> Iterator[None]:
    """Meanwhile tables are as wide as they need where they go to a file or a pipe."""
    if console.is_terminal or "COLUMNS" in os.environ:
        yield
        return
    width, console.width = console.width, _ANY_WIDTH
    try:
        yield
    finally:
        console.width = width
