"""`lsplus-tf paper`: the report it writes, what it says of the folder, and its exit code."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from lsplus_tf import cli
from lsplus_tf.paper import annotators, conclusions, report
from lsplus_tf.paper.artifacts import Problem
from lsplus_tf.paper.checks import Check

METRICS = "d2_mhist_code/resnet34/metrics.csv"
CURVE = "d2_mhist_code/retention_curve_files/Resnet34_LS.txt"
NUMPY = "d2_ablation/d2_mhist_ecekde/resnet34/1/numpy_files"
PREDICTIONS = [f"{NUMPY}/test_{what}_ls.npy" for what in ("logits", "probabilities", "testlabels")]


@dataclass
class Called:
    code: int
    stdout: str
    stderr: str


def call(*arguments: str | Path) -> Called:
    """The command line in this process, with few resamples of the images."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr("sys.argv", ["lsplus-tf", "paper", *map(str, arguments)])
        patch.setenv("COLUMNS", "100")
        few = functools.partial(conclusions.conclude, resamples=50)
        patch.setattr(conclusions, "conclude", few)
        patch.setattr(annotators, "agree", functools.partial(annotators.agree, resamples=50))
        with (
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            pytest.raises(SystemExit) as ended,
        ):
            cli.main()
    return Called(ended.value.code, stdout.getvalue(), stderr.getvalue())


@pytest.fixture(scope="module")
def whole(shared, tmp_path_factory) -> tuple[Called, Path]:
    """The report of all artefacts that are there."""
    out = tmp_path_factory.mktemp("paper") / "report"
    called = call(shared / "lsplus-artifacts", "--out", out)
    assert plt.get_fignums() == []
    return called, out


@pytest.fixture
def some(shared, tmp_path) -> Path:
    """A few of the files, to be damaged."""
    folder = tmp_path / "lsplus"
    for path in (METRICS, METRICS.replace("resnet34", "resnet50"), CURVE, *PREDICTIONS):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shared / "lsplus-artifacts" / path, folder / path)
    return folder


# --- the whole ------------------------------------------------------------------------------------


def test_everything_that_is_there_matches(whole):
    called, out = whole
    assert called.code == 0, called.stdout + called.stderr
    assert called.stderr == ""
    assert "not matched" not in called.stdout
    assert "damaged" not in called.stdout
    assert "Table 1: 1019 of 1020 numbers match" in called.stdout
    assert "missing: " in called.stdout  # ResNet-50's predictions, and the scripts
    assert str(out / "report.md") in called.stdout.replace("\n", "")
    checks = pd.read_csv(out / "checks.csv")
    assert checks["passed"].all()
    table_1 = checks[checks["section"] == "Table 1"]
    assert table_1[["matched", "total"]].sum().tolist() == [1019, 1020]


def test_the_report_holds_its_parts(whole):
    _, out = whole
    text = (out / "report.md").read_text(encoding="utf-8")
    assert text.startswith(report.HEADING)
    for title in report.SECTIONS:
        assert f"\n## {title}\n" in text
    # What it links to and shows is there, and nothing else but the checks.
    links = set(re.findall(r"\]\(([^)]+)\)", text))
    assert links | {"checks.csv", "report.md"} == {path.name for path in out.iterdir()}
    for name in links:
        if name.endswith(".png"):
            with Image.open(out / name) as image:
                image.load()
                assert min(image.size) > 250
        else:
            assert len(pd.read_csv(out / name))
    assert report.NOTHING not in text
    assert "nan" not in re.findall(r"[a-z]+", text)
    assert "`d2_ablation/d2_mhist_ecekde/resnet50/1/numpy_files`: 18 files" in text


def test_the_tables_show_printed_beside_recomputed(whole):
    _, out = whole
    text = (out / "report.md").read_text(encoding="utf-8")
    panel = text.split("### ISIC-2018, ResNet-34")[1].split("###")[0]
    lines = [
        [c.strip() for c in line.split("|")[1:-1]] for line in panel.splitlines() if "|" in line
    ]
    assert lines[0][:3] == ["Method", "", ["ACC", "↑"][0]]
    assert lines[4][:3] == ["LS", "printed", "**73.19 ± 0.1**"]
    assert lines[5][:3] == ["", "recomputed", "**73.19 ± 1.1**"]
    assert sum("**" in cell for line in lines for cell in line) == 2
    for printed, recomputed in zip(lines[2::2], lines[3::2], strict=True):
        same = [a == b for a, b in zip(printed[2:], recomputed[2:], strict=True)]
        assert all(same) or printed[0] == "LS"
    assert "### MHIST, ResNet-34, from the published predictions" in text
    assert "### MHIST, ResNet-50, from the published metrics of the runs" in text


def test_a_report_replaces_an_earlier_report_only(some, tmp_path):
    out = tmp_path / "report"
    assert call(some, "--out", out).code == 0
    assert call(some, "--out", out).code == 0
    (out / "mine.csv").write_text("")
    refused = call(some, "--out", out)
    assert refused.code == 2
    assert "holds mine.csv beside a report" in refused.stderr
    (out / "mine.csv").unlink()

    (out / "report.md").write_text("my own report")
    refused = call(some, "--out", out)
    assert refused.code == 2
    assert "holds something that is not a report" in refused.stderr
    assert (out / "report.md").read_text() == "my own report"
    for wrong in (some, out / "report.md", "."):
        assert call(some, "--out", wrong).code == 2


# --- exit codes -----------------------------------------------------------------------------------


def test_a_part_is_checked_and_the_rest_reported_as_missing(some, tmp_path):
    called = call(some, "--out", tmp_path / "report")
    assert called.code == 0
    # 4 x 60 cells from the metrics of the runs, and one run's 10 metrics from its predictions.
    assert "Table 1: 250 of 250 numbers match" in called.stdout
    assert "V, the class accuracies of LS+: 4 of 4 numbers match" in called.stdout
    assert "Which conclusions on MHIST survive: not in the folder" in called.stdout
    text = (tmp_path / "report" / "report.md").read_text()
    assert "`d3_skin_code/resnet50`: 1 file" in text


def test_a_number_that_differs(some, tmp_path):
    table = pd.read_csv(some / METRICS)
    table.loc[2, "Tce"] += 0.01
    table.to_csv(some / METRICS, index=False)
    called = call(some, "--out", tmp_path / "report")
    assert called.code == 1
    assert (
        "not matched: Table 1, MHIST, ResNet-34, from metrics of the runs: means: 59 of 60, "
        "expected 60" in called.stdout
    )
    text = (tmp_path / "report" / "report.md").read_text()
    assert "**Not every number that could be compared matches.**" in text
    assert "59 of 60 | **no**" in re.sub(" +", " ", text)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def without_a_column(file: Path) -> None:
    pd.read_csv(file).drop(columns="Tsce").to_csv(file, index=False)


def with_a_hole(file: Path) -> None:
    table = pd.read_csv(file)
    table.loc[5, "Tsce"] = np.nan
    table.to_csv(file, index=False)


def with_a_word(file: Path) -> None:
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:9], "word", *lines[10:]]))


@pytest.mark.parametrize(
    ("path", "damage", "words", "matched"),
    [
        (PREDICTIONS[0], truncate, "damaged: ", 240),
        (METRICS, without_a_column, "lacks Tsce", 120),
        (METRICS, with_a_hole, "column Tsce: expected numbers; received nan in line 7", 120),
        (CURVE, with_a_word, "word", 250),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_checked(some, tmp_path, path, damage, words, matched):
    damage(some / path)
    called = call(some, "--out", tmp_path / "report")
    assert called.code == 1
    assert called.stderr == ""
    assert f"damaged: {path}: " in called.stdout
    assert words in called.stdout
    assert f"Table 1: {matched} of {matched} numbers match" in called.stdout
    text = (tmp_path / "report" / "report.md").read_text()
    assert f"- `{path}`: " in text


def test_a_foreign_folder(tmp_path):
    called = call(tmp_path, "--out", tmp_path / "report")
    assert called.code == 2
    assert called.stdout == ""
    assert called.stderr.startswith(f"error: {tmp_path}: expected a clone of github.com/")
    assert not (tmp_path / "report").exists()
    assert call(tmp_path / "nowhere").code == 2


def test_nothing_to_compare_is_no_success(shared, tmp_path):
    shutil.copytree(shared / "lsplus-artifacts" / "MHIST", tmp_path / "lsplus" / "MHIST")
    called = call(tmp_path / "lsplus", "--out", tmp_path / "report")
    assert called.code == 1
    assert "Nothing could be compared" in (tmp_path / "report" / "report.md").read_text()


def test_the_verdict():
    right, known = Check("a", 5, 5, 5), Check("b", 4, 5, 4, "one is wrong")
    wrong = Check("c", 3, 5, 4, "one is wrong")
    missing, damaged = Problem("x", "missing", ""), Problem("y", "damaged", "")

    def sections(*checks: Check) -> Iterator[report.Section]:
        yield report.Section("first", "", checks)

    assert report.verdict(list(sections(right, known)), [])
    assert report.verdict(list(sections(right, known)), [missing])
    assert not report.verdict(list(sections(right, wrong)), [])
    assert not report.verdict(list(sections(right)), [missing, damaged])
    assert not report.verdict(list(sections()), [missing])
    (section,) = sections(right, known)
    assert section.tally == "9 of 10 numbers match; 1 are known not to"


def test_neither_help_nor_a_report_needs_tensorflow(some, tmp_path):
    script = f"""
import sys
from lsplus_tf import cli
for arguments in (["--help"], [{str(some)!r}, "--out", {str(tmp_path / "report")!r}]):
    sys.argv = ["lsplus-tf", "paper", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        assert ended.code == 0, ended.code
assert not {{"tensorflow", "keras"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "exit code" in done.stdout
    assert (tmp_path / "report" / "report.md").is_file()
