"""Draw the pictures of docs/gallery.md with the own lines: python docs/pictures/gallery.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

DOCS = Path(__file__).resolve().parent.parent
# A block, and the picture right below it, if there is one.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n!\[[^]]*\]\(([^)]+)\))?", re.M | re.S)


def main() -> None:
    plt.switch_backend("agg")
    names: dict[str, Any] = {}
    for text, picture in BLOCK.findall((DOCS / "gallery.md").read_text(encoding="utf-8")):
        exec(compile(text, "gallery.md", "exec"), names)
        if picture:
            plt.savefig(DOCS / picture, dpi=80)
            plt.close("all")


if __name__ == "__main__":
    main()
