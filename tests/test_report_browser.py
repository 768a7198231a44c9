"""The page of an experiment in a browser, with the browser of `test_page`."""

from __future__ import annotations

from test_page import browser, opened  # noqa: F401  a fixture


def test_the_experiments_page_in_a_browser(browser, reproduced):  # noqa: F811
    path = reproduced.folder / "report" / "report.html"
    tab, heard = opened(browser, path, viewport={"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    table = tab.locator("table").first
    heading = table.locator("thead th", has_text="ECE")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    cells = table.locator("tbody td:nth-child(4)").all_inner_texts()
    values = [float(cell.split()[0]) for cell in cells]
    assert len(values) == 4
    assert values == sorted(values)
    assert heard == []
