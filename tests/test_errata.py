"""What docs/errata.md shows is what comes out, entry by entry."""

from __future__ import annotations

import doctest
import re
from typing import Any

import pytest
from golden_since import Golden
from helpers import ROOT

ERRATA = (ROOT / "docs" / "errata.md").read_text(encoding="utf-8")
SECTIONS = {
    text.partition("\n")[0]: text for text in re.split(r"^##+ ", ERRATA, flags=re.MULTILINE)[1:]
}
SET_UP = SECTIONS["Set-up"]
ENTRIES = [heading for heading in SECTIONS if re.match(r"\d+\. ", heading)]
WITH_EXAMPLES = [heading for heading in ENTRIES if ">>> " in SECTIONS[heading]]


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def run(section: str, name: str, names: dict[str, Any]) -> str:
    """Run the examples of a section in `names`, and return what differed."""
    test = doctest.DocTestParser().get_doctest(section, names, name, "docs/errata.md", 0)
    test.globs = names  # get_doctest copies, and the next section goes on with these
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=report.append, clear_globs=False)
    return "".join(report)


@pytest.mark.parametrize("heading", WITH_EXAMPLES)
def test_the_examples_of_an_entry(heading, request, monkeypatch):
    if re.search(r"\b(artifacts|folder)\b", SECTIONS[heading]):
        shared = request.getfixturevalue("shared")
        monkeypatch.setenv("LSPLUS_ARTIFACTS", str(shared / "lsplus-artifacts"))
    names: dict[str, Any] = {}
    assert not run(SET_UP, "Set-up", names)
    assert not run(SECTIONS[heading], heading, names)


def test_a_wrong_number_would_be_noticed():
    assert "Expected" in run(">>> 0.1 + 0.2\n0.3\n", "wrong", {})


def test_the_overview_has_every_entry_in_order():
    rows = re.findall(r"^\| (\d+) \| \[(.+?)\]\(#(.+?)\) \| .+ \|$", ERRATA, flags=re.MULTILINE)
    assert [f"{number}. {title}" for number, title, _ in rows] == ENTRIES
    assert [link for _, _, link in rows] == [anchor(heading) for heading in ENTRIES]
    assert [int(number) for number, _, _ in rows] == list(range(1, len(ENTRIES) + 1))


def test_only_what_no_example_can_show_has_none():
    """Slips in the RadImageNet paper's text, which is not here."""
    without = [heading for heading in ENTRIES if heading not in WITH_EXAMPLES]
    assert without == ["23. RadImageNet: slips"]


def test_the_code_that_was_read_is_what_gave_the_golden_values():
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| (\S+) at ([0-9a-f]{7}) \| [^|]+ \|$", ERRATA, re.M)
    commits = Golden().facts["commits"].items()
    assert {row[1:] for row in rows} == {(name, commit[:7]) for name, commit in commits}
    entries = [heading.partition(".")[0] for heading in ENTRIES]
    assert [number for number, _, _ in rows] == entries[-len(rows) :]


def test_the_files_that_it_links_to_exist():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", ERRATA) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / "docs" / link).exists()]
