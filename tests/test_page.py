"""The page: what is escaped, what it holds, and how it behaves in a browser."""

from __future__ import annotations

import re
import warnings

import matplotlib.pyplot as plt
import pytest

from lsplus_tf.page import (
    Cell,
    Facts,
    Mark,
    Page,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    draw,
    render,
    shared_legend,
    write_page,
)

EVIL = "<img src=x onerror=alert(1)>\"'&"


@pytest.fixture
def page() -> Page:
    figure, ax = plt.subplots(figsize=(2, 2))
    ax.plot([0, 1])
    photo, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, 1])
    pictures = [draw(figure, f"a line {EVIL}", EVIL), draw(photo, "in pixels", raster=True)]
    rows = [
        ["b10", Cell("2.5%", 0.025), "x"],
        [EVIL, Cell("-", float("nan")), "z"],
        ["b9", Cell("10%", 0.1), "y"],
        ["a", Cell("-1%", -0.01), EVIL],
    ]
    return Page(
        f"T {EVIL}",
        [
            Section("One & two", [Text(EVIL, "bad"), Text("quiet", "note")]),
            Section("Table", [Table(EVIL, ["Name", "Value", EVIL], rows)]),
            Section("Rest", [Pictures(pictures), pictures[0], Facts("Settings", {EVIL: EVIL})]),
        ],
        EVIL,
    )


def test_everything_is_escaped(page):
    html = render(page)
    assert "<img src=x" not in html
    assert 'onerror=alert(1)>"' not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") == 15


def test_nothing_is_fetched(page):
    html = render(page)
    assert "default-src 'none'" in html
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "@import" not in html
    assert "url(" not in html


def test_pictures_have_words_and_the_same_bytes(page):
    figures = [plt.subplots(figsize=(1, 1))[0] for _ in range(2)]
    first, second = (draw(figure, "empty") for figure in figures)
    assert first == second
    assert first.uri.startswith("data:image/svg+xml;base64,")
    assert not plt.fignum_exists(figures[0].number)
    html = render(page)
    images = re.findall(r"<img src=\"data:[^>]*>", html)
    assert len(images) == 3
    assert all(re.search(r' alt="[^"]+"', image) for image in images)


def test_it_is_written_whole(page, tmp_path):
    write_page(page, tmp_path / "new" / "page.html")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8") == render(page)


def test_bars_are_marked_with_their_numbers():
    """Where they are in the picture, in the whole height of their axes."""
    figure, ax = plt.subplots(figsize=(4, 2))
    ax.set_position((0.25, 0.1, 0.5, 0.8))
    ax.set_xlim(0, 10)
    bars = ax.bar([0, 5], [1, 2], 2, align="edge", label="Bars")
    bars[1].set_label(f"_ {EVIL}")
    figure.set_layout_engine("none")
    (mark,) = draw(figure, "bars").marks
    assert mark == Mark(EVIL, 50, 10, 10, 80)
    html = render(Page("T", [Section("One", [Picture(b"", "bars", 9, marks=[mark])])]))
    assert 'data-text="&lt;img src=x' in html


def test_one_legend_explains_all_axes():
    figures = [plt.subplots() for _ in range(2)]
    for (_, ax), names in zip(figures, (("a", "b"), ("b", "c")), strict=True):
        for name in names:
            ax.plot([0, 1], label=name)
        ax.legend()
    axes = [ax for _, ax in figures]
    legend = shared_legend(axes)
    assert legend.alt == "Legend: a, b, c."
    assert [ax.get_legend() for ax in axes] == [None, None]
    assert shared_legend([plt.subplots()[1]]) is None
    shown = Pictures([draw(figure, "x") for figure, _ in figures], legend)
    html = render(Page("T", [Section("One", [shown])]))
    assert html.count(legend.uri) == 1


@pytest.mark.parametrize(("number", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (6, 3), (7, 3)])
def test_pictures_make_full_rows(number, columns):
    assert Pictures([Picture(b"", "x", 9)] * number).columns == columns


@pytest.mark.parametrize("width", [390, 1280])
def test_numbers_of_a_bar_are_shown_in_a_browser(open_page, tmp_path, width):
    figure, ax = plt.subplots(figsize=(4, 4))
    bars = ax.bar(range(12), 1)
    for i, bar in enumerate(bars):
        bar.set_label(f"_ Bin {i}: 12 samples (52.6%), mean confidence 75.0%, accuracy 100.0%")
    path = tmp_path / "page.html"
    write_page(Page("T", [Section("One", [Pictures([draw(figure, "bars")] * 3)])]), path)
    tab, heard = open_page(path, viewport={"width": width, "height": 844})
    content = "e => getComputedStyle(e, '::after').content"
    for mark in tab.locator(".drawn").first.locator(".mark").all():
        assert mark.evaluate(content) == "none"
        mark.hover()
        assert "12 samples" in mark.evaluate(content)
        assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.locator(".mark").count() == 36
    assert heard == []


def column(tab, number: int) -> list[str]:
    cells = tab.locator(f"tbody tr > :nth-child({number})")
    return cells.all_inner_texts()


def test_in_a_browser(open_page, page, tmp_path):
    path = tmp_path / "page.html"
    write_page(page, path)
    tab, heard = open_page(path, viewport={"width": 390, "height": 844})

    # Nothing is wider than a phone; all pictures are there.
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")

    # A table that goes on beyond an edge has a shadow there; what names its rows stays in view.
    region = tab.locator(".scroll").first
    assert region.evaluate("e => e.scrollWidth > e.clientWidth")
    attachment = region.evaluate("e => getComputedStyle(e).backgroundAttachment")
    assert attachment == "local, local, scroll, scroll"
    first = [tab.locator(cell).first for cell in ("thead th", "tbody th", "caption")]
    before = [cell.bounding_box()["x"] for cell in first]
    region.evaluate("e => { e.scrollLeft = 60; }")
    assert [cell.bounding_box()["x"] for cell in first] == before
    region.evaluate("e => { e.scrollLeft = 0; }")

    # By mouse and by keyboard; numbers by their value, those without one last.
    names = column(tab, 1)
    heading = tab.locator("thead th").nth(1)
    assert heading.get_attribute("aria-sort") == "none"
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(tab, 2) == ["-1%", "2.5%", "10%", "-"]
    heading.get_by_role("button").focus()
    tab.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(tab, 2) == ["10%", "2.5%", "-1%", "-"]
    tab.get_by_role("button", name="Name").click()
    assert heading.get_attribute("aria-sort") == "none"
    assert column(tab, 1) == [EVIL, "a", "b9", "b10"]
    assert sorted(column(tab, 1)) == sorted(names)

    dark, more = open_page(path, color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    assert tab.evaluate(colour) == "rgb(255, 255, 255)"
    assert dark.evaluate(colour) == "rgb(23, 23, 23)"
    dark.emulate_media(media="print")
    assert dark.evaluate(colour) == "rgb(255, 255, 255)"
    assert dark.evaluate("getComputedStyle(document.images[0]).filter") == "none"
    assert heard + more == []


def test_definitions_are_one_click_away():
    table = Table(
        "T", ["Metric", "ECE ↓", "Other"], [["AUROC", "1", "2"], ["Sensitivity, %", "", ""]]
    )
    glossary = {"AUROC": "area <b>", "ECE": "error", "Sensitivity": "share", "Unused": "nothing"}
    page = Page("T", [Section("One", [table]), Section("Two", [table])], glossary=glossary)
    html = render(page)
    assert page.terms(table) == ["ECE", "AUROC", "Sensitivity"]
    for term in page.terms(table):
        assert html.count(f'href="#define-{term.lower()}"') == 2
        assert html.count(f'id="define-{term.lower()}"') == 1
    assert "area &lt;b&gt;" in html
    assert "nothing" not in html
    assert "Definitions" not in render(Page("T", [Section("One", [table])]))


def test_characters_that_no_font_has_are_told_once():
    figure, ax = plt.subplots()
    ax.set_title("黒色腫 と 母斑")
    ax.set_xlabel("色素")
    with pytest.warns(
        UserWarning, match="^figures: some characters of names are drawn as boxes"
    ) as caught:
        draw(figure, "A title.")
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(plt.subplots()[0], "Nothing.")
