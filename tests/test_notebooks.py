"""The notebooks run from top to bottom, and print what is stored with them.

Words have to be equal, numbers within a tolerance (`TOLERANCE`). Figures are not compared, only
that they are there.
"""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

import nbformat
import numpy as np
import pytest
from forked import Forked
from helpers import ROOT
from nbclient.exceptions import CellExecutionError

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PAPER = FOLDER / "04_table_and_figures_of_the_ls_plus_paper.ipynb"
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
executed = runpy.run_path(str(FOLDER / "store.py"))["executed"]

# What a stored output must not hold: where it was made, and that something went wrong.
UNWANTED = re.compile(
    r"(?<![\w.:/])/(home|root|work|tmp|usr|opt|var|private|mnt|Users)/|[A-Z]:\\\\|warning|traceback",
    re.IGNORECASE,
)

# How long a notebook says that it trains, and what the test says. Numbers of trained networks are
# not compared, as they depend on the processor and its number of threads: few epochs do.
SHORTER = {
    "01": ("epochs=20", "epochs=2"),
    "02": ("EPOCHS = 40 ", "EPOCHS = 6 "),
    "03": ("EARLY, MIDDLE, EPOCHS = 5, 15, 40 ", "EARLY, MIDDLE, EPOCHS = 1, 3, 6 "),
    "06": ("EPOCHS = 40 ", "EPOCHS = 8 "),
}
# How far a number may be from the stored one: of the number, and at least. All but those of trained
# networks depend on rounding alone.
TOLERANCE = dict.fromkeys((*SHORTER, "07"), (0.0, np.inf))
OF_ROUNDING = (1e-3, 2e-4)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])", re.IGNORECASE)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A kernel's: no network, nothing in the user's folders, figures in the notebook."""

    def launch(command: list[str], env: dict[str, str], cwd: str, **_: object) -> Forked:
        return Forked(*command[1:], env=env, cwd=Path(cwd))

    monkeypatch.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", launch)
    nowhere = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), nowhere)
    folders = {"IPYTHONDIR": str(tmp_path / "ipython")}
    inline = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    given = {key: value for key, value in os.environ.items() if key != "HAM10000_TABLE"}
    return {**given, **proxies, **folders, **inline}


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(notebook: nbformat.NotebookNode) -> list[set[tuple[str, ...]]]:
    """What each code cell gave, but for the values, and how many: a fuller clone has more."""
    return [
        {(o.output_type, o.get("name", ""), *sorted(o.get("data", {}))) for o in cell.outputs}
        for cell in code_cells(notebook)
    ]


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """What each code cell gave, without figures.

    Nothing of cells with the tag "varies": sentences that depend on a trained network.
    """
    return [
        "" if "varies" in cell.metadata.get("tags", ()) else "\n".join(map(text_of, cell.outputs))
        for cell in code_cells(notebook)
    ]


def text_of(output: nbformat.NotebookNode) -> str:
    """Of tables the cells of their HTML: as plain text they depend on the terminal's width."""
    data = output.get("data", {})
    if "text/html" in data:
        return re.sub(r"<style.*?</style>|<[^>]*>", " ", data["text/html"], flags=re.DOTALL)
    if "image/png" in data:
        return ""
    return str(output.get("text") or data.get("text/markdown") or data.get("text/plain", ""))


def differences(found: str, stored: str, tolerance: tuple[float, float]) -> list[str]:
    """Words that differ, or else numbers that differ by more than the tolerance."""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (found, stored)]
    if words[0] != words[1]:
        return [f"{words[0]!r} is not {words[1]!r}"]
    relative, absolute = tolerance
    pairs = zip(NUMBER.findall(found), NUMBER.findall(stored), strict=True)
    return [
        f"{new} is not {old}"
        for new, old in pairs
        if number(new) != pytest.approx(number(old), rel=relative, abs=absolute)
    ]


def number(text: str) -> float:
    return float(text.replace(",", ""))


def complaints(notebook: nbformat.NotebookNode) -> list[str]:
    """Outputs that no reader should find: errors, standard error, warnings, absolute paths."""
    found = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(str(output))
            data = output.get("data", {})
            texts = [output.get("text", "")] + [data[key] for key in data if key != "image/png"]
            found += [text for text in texts if UNWANTED.search(str(text))]
    return found


def shorter(path: Path, folder: Path) -> Path:
    """A copy that trains for fewer epochs, if it trains."""
    if path.stem[:2] not in SHORTER:
        return path
    said, other = SHORTER[path.stem[:2]]
    text = path.read_text(encoding="utf-8")
    assert said in text, f"{path.name} does not say for how long it trains"
    copy = folder / path.name
    copy.write_text(text.replace(said, other), encoding="utf-8")
    return copy


def test_there_are_seven():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07"]


@each_notebook
def test_it_runs_and_gives_what_is_stored(
    path: Path, tmp_path: Path, environment: dict[str, str], request: pytest.FixtureRequest
):
    if path == PAPER:
        artifacts = request.getfixturevalue("shared") / "lsplus-artifacts"
        environment["LSPLUS_ARTIFACTS"] = str(artifacts)
    stored = nbformat.read(path, as_version=4)
    notebook = executed(shorter(path, tmp_path), folder=tmp_path, environment=environment)
    assert complaints(notebook) == []
    assert kinds(notebook) == kinds(stored)
    tolerance = TOLERANCE.get(path.stem[:2], OF_ROUNDING)
    anew = f"python notebooks/store.py notebooks/{path.name}"
    for cell, (new, old) in enumerate(zip(texts(notebook), texts(stored), strict=True)):
        assert differences(new, old, tolerance) == [], f"cell {cell}: {anew}"


@pytest.mark.parametrize(
    ("found", "stored", "equal"),
    [
        ("ECE 0.0238, p = 0.014", "ECE 0.0238, p = 0.014", True),
        ("ECE 0.0238", "ECE   0.0238\n", True),
        ("ECE 0.02381", "ECE 0.0238", True),
        ("ECE 0.0248", "ECE 0.0238", False),
        ("-0.02 [-0.03, +0.01]", "+0.02 [-0.03, +0.01]", False),
        ("of 1,077 images", "of 1,078 images", True),  # within a thousandth
        ("of 1,077 images", "of 1,177 images", False),
        ("p 5.908e-14", "p 5.908e-14", True),
        ("top5_error 0.1", "top1_error 0.1", False),
        ("ISIC_0024306.jpg", "ISIC_0024307.jpg", False),
        ("better", "worse", False),
        ("0.1 0.2", "0.1", False),
    ],
)
def test_outputs_are_compared(found: str, stored: str, equal: bool):
    assert (differences(found, stored, OF_ROUNDING) == []) is equal


@each_notebook
def test_it_is_stored_with_its_outputs(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert complaints(notebook) == []
    pictures = [o for cell in cells for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 1
    assert notebook.metadata.kernelspec.name == "python3"
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("text", "unwanted"),
    [
        ("saved in /home/someone/x.npz", True),
        ("UserWarning: ECE", True),
        ("Traceback (most recent call last)", True),
        ("C:\\\\Users\\\\x", True),
        ("d2_ablation/home/x and accuracy/work/y, https://x.org/home/", False),
    ],
)
def test_complaints_are_seen(text: str, unwanted: bool):
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    cell = nbformat.v4.new_code_cell("print()", outputs=[output])
    assert bool(complaints(nbformat.v4.new_notebook(cells=[cell]))) == unwanted


def test_the_paper_says_what_it_needs_where_the_folder_is_missing(
    tmp_path: Path, environment: dict[str, str]
):
    environment["LSPLUS_ARTIFACTS"] = str(tmp_path / "nothing")
    with pytest.raises(CellExecutionError, match=r"nothing.*abhisheksambyal/lsplus"):
        executed(PAPER, folder=tmp_path, environment=environment)


@pytest.mark.parametrize("path", [*NOTEBOOKS, FOLDER / "README.md"], ids=lambda path: path.stem)
def test_the_notebooks_that_it_links_to_exist(path: Path):
    links = re.findall(r"\]\((?!http)([^)\s]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (FOLDER / link.partition("#")[0]).exists()] == []
