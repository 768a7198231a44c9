"""Whether a tag may be released: `python .ci/check_release.py v0.1.0`, with exit code 1 if not.

The tag is the version of the package and of CITATION.cff, and CHANGELOG.md has a section of it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """What has to be mended before the tag is released, a line each."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        return [f"expected a tag such as v0.1.0, received {tag!r}"]
    version = tag[1:]
    found = []
    for file, pattern in (
        ("lsplus_tf/version.py", r'^__version__ = "(.*)"$'),
        ("CITATION.cff", r"^version: (.*)$"),
    ):
        match = re.search(pattern, (root / file).read_text(encoding="utf-8"), re.MULTILINE)
        if match is None or match[1] != version:
            found.append(f"{file}: expected version {version}, found {match and match[1]}")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    section = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if section is None or not re.search(r"^- ", section[1], re.MULTILINE):
        found.append(f"CHANGELOG.md: expected a section '## [{version}] - YYYY-MM-DD' with entries")
    return found


if __name__ == "__main__":
    found = problems(sys.argv[1])
    sys.exit("\n".join(found) or None)
