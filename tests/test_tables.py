"""The comparison as a table: its numbers, its marks, and every form in which it is written."""

from __future__ import annotations

import io
import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from rich.console import Console

from lsplus_tf.config import load_config, parse_config
from lsplus_tf.config.methods import short_names
from lsplus_tf.experiments import Run
from lsplus_tf.results import Report, Results, gather, tables
from lsplus_tf.training import run_folder

KEYS = [column.key for column in tables.COLUMNS]
METHODS = {
    "hard_labels": {"loss": "hard_labels"},
    "ls_weak": {"loss": "label_smoothing", "alpha": 0.05},
    "ls_strong": {"loss": "label_smoothing", "alpha": 0.2},
    "plus": {"loss": "ls_plus"},
}


def make_results(
    folder: Path, metrics: dict[str, list[dict[str, float]]], num_classes: int = 7
) -> Results:
    """An experiment whose finished runs have these test metrics, one dict a seed."""
    seeds = list(range(max(len(runs) for runs in metrics.values())))
    experiment = parse_config(
        {
            "name": "made_up",
            "dataset": {"name": "digits"},
            "protocol": {"epochs": 1, "batch_size": 1},
            "methods": METHODS,
            "seeds": seeds,
        },
        "test",
    )
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    for method, runs in metrics.items():
        for seed in range(len(runs)):
            run = Run(method, seed).folder(folder)
            run.mkdir(parents=True)
            settings = experiment.run_settings(method, seed)
            (run / run_folder.SETTINGS).write_text(yaml.safe_dump(settings))
            names = [f"c{k}" for k in range(num_classes)]
            run_folder.write_json(run / run_folder.SUMMARY, {"class_names": names})
    found = gather(folder)

    class MadeUp(Results):
        def measured(self, row, split="test"):
            return metrics[row.method]

    return MadeUp(found.experiment, found.folder, found.runs, found.missing)


@pytest.fixture
def numbers() -> dict[str, list[dict[str, float]]]:
    """Three seeds of three methods."""
    rng = np.random.default_rng(0)
    return {
        method: [dict(zip(KEYS, rng.uniform(0.1, 0.9, len(KEYS)), strict=True)) for _ in range(3)]
        for method in ("hard_labels", "ls_weak", "plus")
    }


@pytest.fixture
def results(tmp_path, numbers) -> Results:
    return make_results(tmp_path, numbers)


# --- numbers --------------------------------------------------------------------------------------


def test_mean_and_sample_sd_by_hand(results, numbers):
    comparison = tables.compare(results)
    assert comparison.seeds == [3, 3, 3]
    for method, runs in numbers.items():
        for key in KEYS:
            a, b, c = (100 * run[key] for run in runs)
            mean = (a + b + c) / 3
            sd = (((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2) / 2) ** 0.5
            assert comparison.mean[key][method] == pytest.approx(mean)
            assert comparison.sd[key][method] == pytest.approx(sd)


def test_methods_are_called_by_their_loss_where_only_one_has_it(results):
    assert tables.compare(results).names == ["HL", "ls_weak", "LS+"]
    experiment = results.experiment
    assert short_names(experiment.methods) == {
        "hard_labels": "HL",
        "ls_weak": "ls_weak",
        "ls_strong": "ls_strong",
        "plus": "LS+",
    }


def test_of_several_with_one_title_the_one_that_is_not_optional_has_it():
    changes = ["methods.ls_plus_mild.loss=ls_plus", "methods.ls_plus_mild.alpha=0.1"]
    experiment = load_config("digits", [*changes, "optional_methods=[ls_plus_mild]"])
    assert experiment.titles["ls_plus"] == "LS+"
    assert experiment.titles["ls_plus_mild"] == "ls_plus_mild"
    assert load_config("digits", changes).titles["ls_plus"] == "ls_plus"


def test_the_best_are_marked_per_column_and_direction(results):
    comparison = tables.compare(results)
    for column in comparison.columns:
        marked = set(comparison.mean.index[comparison.best[column.key]])
        means = comparison.mean[column.key]
        best = {1: {means.idxmax()}, -1: {means.idxmin()}, 0: set()}[column.better]
        assert marked == best, column.heading
    assert not comparison.best["mean_confidence"].any()


def test_the_direction_of_every_metric():
    """A perfect prediction against a poor one: all that has a direction prefers the perfect."""
    from lsplus_tf.metrics import evaluate

    labels = np.arange(60) % 6
    right = evaluate(labels, np.eye(6)[labels])
    wrong = np.random.default_rng(0).dirichlet(np.ones(6), 60)
    poor = evaluate(labels, wrong)
    assert set(KEYS) == set(right)
    for column in tables.COLUMNS:
        if column.better:
            assert column.better * (right[column.key] - poor[column.key]) > 0, column.heading


def test_what_prints_the_same_is_a_tie(tmp_path):
    metrics = {
        "hard_labels": [dict.fromkeys(KEYS, 0.51231)],
        "ls_weak": [dict.fromkeys(KEYS, 0.51234)],
        "plus": [dict.fromkeys(KEYS, 0.5)],
    }
    comparison = tables.compare(make_results(tmp_path, metrics))
    assert comparison.best["accuracy"].tolist() == [True, True, False]
    assert comparison.best["ece"].tolist() == [False, False, True]


def test_one_method_is_not_the_best_of_anything(tmp_path, numbers):
    only = {"hard_labels": numbers["hard_labels"]}
    assert not tables.compare(make_results(tmp_path, only)).best.any(axis=None)


@pytest.mark.parametrize(("num_classes", "shown"), [(2, False), (5, False), (6, True)])
def test_top_5_is_left_out_where_it_says_nothing(tmp_path, numbers, num_classes, shown):
    comparison = tables.compare(make_results(tmp_path, numbers, num_classes))
    assert ("top5_error" in [column.key for column in comparison.columns]) == shown
    assert ("Top-5 error" in tables.markdown_table(comparison)) == shown
    assert ("top5_error_mean" in tables.csv_table(comparison)) == shown


def test_one_seed_has_no_sd(tmp_path, numbers):
    numbers["plus"] = numbers["plus"][:1]
    comparison = tables.compare(make_results(tmp_path, numbers))
    assert comparison.seeds == [3, 3, 1]
    row = comparison.cells("{}", " ± ")[2]
    assert row[:3] == ["LS+", "1", f"{100 * numbers['plus'][0]['accuracy']:.2f}"]
    assert not any("±" in cell or "nan" in cell for cell in row)
    assert tables.csv_table(comparison).loc["plus", "accuracy_sd"] != 0  # missing, not zero
    assert "nan" not in tables.markdown_table(comparison)


# --- forms ----------------------------------------------------------------------------------------


def parsed(cell: str) -> tuple[float, float]:
    mean, sd = re.fullmatch(r"(\d+\.\d\d) (?:±|\$\\pm\$) (\d+\.\d\d)", cell).groups()
    return float(mean), float(sd)


def check_rows(rows: list[list[str]], comparison: tables.Comparison, bold: str) -> None:
    """The cells hold the comparison's numbers, to two decimals, and the best are bold."""
    for i, (name, seeds, *cells) in enumerate(rows):
        method = comparison.mean.index[i]
        assert (name, int(seeds)) == (comparison.names[i], comparison.seeds[i])
        assert len(cells) == len(comparison.columns)
        for column, cell in zip(comparison.columns, cells, strict=True):
            inside = re.fullmatch(bold, cell)
            assert bool(inside) == comparison.best[column.key][method]
            mean, sd = parsed(inside[1] if inside else cell)
            assert mean == pytest.approx(comparison.mean[column.key][method], abs=0.0051)
            assert sd == pytest.approx(comparison.sd[column.key][method], abs=0.0051)


def test_markdown_holds_the_numbers(results):
    comparison = tables.compare(results)
    head, rule, *lines = tables.markdown_table(comparison).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *lines)]
    assert cells[0] == ["Metric (x100)", "HL", "ls_weak", "LS+"]
    first = [row[0] for row in cells]
    assert first[1:4] == ["Seeds", "ACC ↑", "AUROC ↑"]
    assert "ECE ↓" in first
    assert "Confidence" in first
    assert re.fullmatch(r"\|:-+(\|-+:)+\|", rule)  # the numbers to the right
    by_method = [list(column) for column in zip(*cells, strict=True)]
    check_rows(by_method[1:], comparison, r"\*\*(.*)\*\*")


def test_latex_holds_the_numbers_and_escapes_names(results):
    comparison = tables.compare(results)
    text = tables.latex_table(comparison)
    assert text.startswith(r"\begin{tabular}{lr")
    assert text.rstrip().endswith(r"\end{tabular}")
    lines = [line.rstrip("\\ ") for line in text.splitlines() if "&" in line]
    cells = [[cell.strip() for cell in line.split("&")] for line in lines]
    assert cells[0][2] == r"ACC $\uparrow$"
    assert [row[0] for row in cells[1:]] == ["HL", r"ls\_weak", "LS+"]
    assert not re.search(r"(?<!\\)_", text)
    unescaped = [[row[0].replace("\\", ""), *row[1:]] for row in cells[1:]]
    check_rows(unescaped, comparison, r"\\textbf\{(.*)\}")


def test_csv_holds_the_numbers_unrounded(results):
    comparison = tables.compare(results)
    buffer = io.StringIO()
    tables.csv_table(comparison).to_csv(buffer, index_label="method")
    read = pd.read_csv(io.StringIO(buffer.getvalue()), index_col="method")
    assert list(read.columns[:4]) == ["accuracy_mean", "accuracy_sd", "auroc_mean", "auroc_sd"]
    for key in KEYS:
        for method in comparison.mean.index:
            assert read[f"{key}_mean"][method] == pytest.approx(comparison.mean[key][method])
            assert read[f"{key}_sd"][method] == pytest.approx(comparison.sd[key][method])


def test_the_terminals_table_fits_and_holds_the_numbers(results):
    comparison = tables.compare(results)
    console = Console(width=80, file=io.StringIO())
    console.print(tables.rich_table(comparison, "made_up, test split", console))
    text = console.file.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "[bold" not in text
    line = next(line for line in text.splitlines() if "ECE" in line and "│" in line)
    cells = [cell.strip() for cell in line.strip("│ ").split("│")]
    assert cells[0] == "ECE ↓"
    for cell, mean in zip(cells[1:], comparison.mean["ece"], strict=True):
        assert parsed(cell)[0] == pytest.approx(mean, abs=0.0051)


@pytest.mark.parametrize("width", [60, 80, 100, 10_000])
def test_no_word_of_the_terminals_table_is_cut(results, width):
    comparison = tables.compare(results)
    console = Console(width=width, file=io.StringIO())
    console.print(tables.rich_table(comparison, "made_up, test split", console))
    assert "…" not in console.file.getvalue()


def test_terminal_table_marks_the_best(results):
    comparison = tables.compare(results)
    console = Console(width=100, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(tables.rich_table(comparison, "made_up, test split", console))
    marked = console.file.getvalue().count("\x1b[1;32m")
    assert marked == comparison.best.to_numpy().sum()


# --- the report -----------------------------------------------------------------------------------

FIGURES = {
    "comparison.png",
    "density.png",
    "reliability.png",
    "retention.png",
    "soft_labels_ls_plus.png",
    "soft_labels_online_label_smoothing.png",
    "training_curves.png",
}


def test_the_report_of_a_real_experiment(reproduced):
    report = reproduced.folder / "report"
    names = {path.name for path in report.iterdir()}
    assert names == FIGURES | {
        "classes.csv",
        "intervals.csv",
        "report.html",
        "runs.csv",
        "table.csv",
        "table.md",
        "table.tex",
    }
    for name in FIGURES:
        with Image.open(report / name) as image:
            image.load()
            assert image.format == "PNG"
            assert min(image.size) > 250
            # A figure that was drawn has more than paper and ink.
            assert len(image.convert("RGB").resize((200, 200)).getcolors(1 << 20)) > 20

    results = gather(reproduced.folder)
    comparison = tables.compare(results)
    assert comparison.names == ["HL", "LS", "LS+", "OLS"]
    text = (report / "table.md").read_text()
    assert text.startswith("# digits: test split\n\n")
    assert tables.markdown_table(comparison) in text
    assert tables.CAPTION in text
    assert (report / "table.tex").read_text().strip() == tables.latex_table(comparison)
    runs = pd.read_csv(report / "runs.csv")
    pd.testing.assert_frame_equal(runs, results.metrics())
    table = pd.read_csv(report / "table.csv", index_col="method")
    means = 100 * runs.groupby("method")["ece"].mean()
    for method in table.index:
        assert table["ece_mean"][method] == pytest.approx(means[method])


def test_a_report_replaces_the_one_before_and_leaves_no_open_figures(reproduced):
    results = gather(reproduced.folder)
    stale = reproduced.folder / "report" / "soft_labels_gone.png"
    stale.write_text("")
    written = Report(results).write()
    assert not stale.exists()
    assert written == sorted((reproduced.folder / "report").iterdir())
    assert matplotlib.pyplot.get_fignums() == []
