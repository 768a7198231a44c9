"""The notebooks run from top to bottom, and are stored with what they print and draw."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

import nbformat
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

# What a kernel begins with, and the notebook does not see: networks learn from some of the images.
STARTUP = """
def train_shorter():
    import keras

    fit = keras.Model.fit
    keras.Model.fit = lambda model, x, y, **options: fit(model, x[::8], y[::8], **options)


train_shorter()
del train_shorter
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A kernel's: no network, nothing in the user's folders, figures in the notebook."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "train_shorter.py").write_text(STARTUP)

    def launch(command: list[str], env: dict[str, str], cwd: str, **_: object) -> Forked:
        return Forked(*command[1:], env=env, cwd=Path(cwd))

    monkeypatch.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", launch)
    nowhere = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), nowhere)
    folders = {"IPYTHONDIR": str(startup.parents[1])}
    inline = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    return {**os.environ, **proxies, **folders, **inline}


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(notebook: nbformat.NotebookNode) -> list[set[tuple[str, ...]]]:
    """What each code cell gave, but for the values, and how many: a fuller clone has more."""
    return [
        {(o.output_type, o.get("name", ""), *sorted(o.get("data", {}))) for o in cell.outputs}
        for cell in code_cells(notebook)
    ]


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


def test_there_are_five():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@each_notebook
def test_it_runs_and_gives_what_is_stored(
    path: Path, tmp_path: Path, environment: dict[str, str], request: pytest.FixtureRequest
):
    if path == PAPER:
        artifacts = request.getfixturevalue("shared") / "lsplus-artifacts"
        environment["LSPLUS_ARTIFACTS"] = str(artifacts)
    notebook = executed(path, folder=tmp_path, environment=environment)
    assert complaints(notebook) == []
    assert kinds(notebook) == kinds(nbformat.read(path, as_version=4))


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
    assert [link for link in links if not (FOLDER / link).exists()] == []
