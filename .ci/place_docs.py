"""Put a release's documentation beside that of the others.

    python .ci/place_docs.py build/docs PAGES v0.1.0

The site goes into the folder 0.1.0 of PAGES, a copy of the branch that is served, and replaces what
is there of that release alone. The front page of PAGES lists all releases, and goes to the newest.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

_RELEASE = re.compile(r"\d+\.\d+\.\d+")
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>lsplus_tf: documentation</title>
{head}<h1>lsplus_tf: documentation of every release</h1>
<ul>
{items}
</ul>
</html>
"""
_TO_NEWEST = '<meta http-equiv="refresh" content="0; url={newest}/">\n'


def place(site: Path, pages: Path, tag: str) -> None:
    """Copy a built site into its folder, and write the two pages that lead to it."""
    version = tag.removeprefix("v")
    if not _RELEASE.fullmatch(version):
        raise SystemExit(f"expected a tag such as v0.1.0, received {tag!r}")
    if not (site / "index.html").is_file():
        raise SystemExit(f"{site}: no index.html; make docs builds the documentation")
    pages.mkdir(exist_ok=True)
    shutil.rmtree(pages / version, ignore_errors=True)
    shutil.copytree(site, pages / version)
    found = [each.name for each in pages.iterdir() if _RELEASE.fullmatch(each.name)]
    releases = sorted(found, key=lambda name: [*map(int, name.split("."))], reverse=True)
    items = "\n".join(f'<li><a href="{each}/">{each}</a></li>' for each in releases)
    (pages / ".nojekyll").touch()  # folders such as _static are served as they are
    (pages / "releases.html").write_text(_PAGE.format(head="", items=items), encoding="utf-8")
    newest = _TO_NEWEST.format(newest=releases[0])
    (pages / "index.html").write_text(_PAGE.format(head=newest, items=items), encoding="utf-8")


if __name__ == "__main__":
    place(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
