"""The page of an experiment, and how sure its rows are."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from lsplus_tf import metrics, run_comparison, tables
from lsplus_tf.experiments import Results, gather
from lsplus_tf.experiments.uncertainty import (
    METRICS,
    Uncertainty,
    _measure,
    _number_of_resamples,
    measure_uncertainty,
)
from lsplus_tf.report import write_report
from lsplus_tf.training import run_folder

SPLITS = ("validation", "test")


@pytest.fixture(scope="module")
def results(reproduced) -> Results:
    found = gather(reproduced.folder)
    changed = found.experiment.model_copy(update={"calibrators": ("temperature",)})
    return dataclasses.replace(found, experiment=changed)


@pytest.fixture(scope="module")
def uncertainty(results) -> Uncertainty:
    return measure_uncertainty(results)


# --- intervals and tests --------------------------------------------------------------------------


def test_values_are_those_of_the_table(results):
    """What is resampled is, on the images themselves, the table's metric."""
    comparison = tables.compare(results)
    for row in results.rows:
        for metric in METRICS:
            once = [
                _measure(metric, each)(np.ones((len(each), 1)))[0]
                for each in results.predictions(row)
            ]
            expected = comparison.mean[metric][row.key]
            assert 100 * np.mean(once) == pytest.approx(expected, abs=2e-4), (row.key, metric)


def test_intervals_of_means_are_those_of_the_normal_distribution(results, uncertainty):
    """Accuracy, cross-entropy and Brier are means: the standard error is known."""
    for row in results.rows:
        predictions = [(p.labels, p.probabilities) for p in results.predictions(row)]
        labels = predictions[0][0]
        each = {
            "accuracy": [p.argmax(axis=1) == y for y, p in predictions],
            "ce": [-np.log(p[np.arange(len(y)), y].clip(1e-7)) for y, p in predictions],
            "brier": [((p - np.eye(10)[y]) ** 2).sum(axis=1) for y, p in predictions],
        }
        for metric, values in each.items():
            mean = np.mean(values, axis=0)  # over the seeds, of each image
            error = mean.std() / np.sqrt(len(labels))
            low, high = uncertainty.intervals[row.key, metric]
            assert low == pytest.approx(mean.mean() - 1.96 * error, abs=0.25 * error)
            assert high == pytest.approx(mean.mean() + 1.96 * error, abs=0.25 * error)


def test_differences_are_paired(results, uncertainty):
    """Against a t test of the images' differences, and Holm's correction over the rows."""
    brier = {
        row.key: np.mean(
            [
                ((p.probabilities - np.eye(10)[p.labels]) ** 2).sum(axis=1)
                for p in results.predictions(row)
            ],
            axis=0,
        )
        for row in results.rows
    }
    first, *others = [row.key for row in results.rows]
    found = {row: uncertainty.differences[row, "brier"] for row in others}
    for row, difference in found.items():
        gaps = brier[row] - brier[first]
        assert difference.value == pytest.approx(gaps.mean(), abs=1e-6)
        error = gaps.std() / np.sqrt(gaps.size)
        assert difference.low == pytest.approx(gaps.mean() - 1.96 * error, abs=0.3 * error)
        assert difference.high == pytest.approx(gaps.mean() + 1.96 * error, abs=0.3 * error)
        expected = stats.ttest_1samp(gaps, 0).pvalue
        assert difference.p == pytest.approx(expected, abs=0.03)
        better = difference.p_holm < 0.05 and difference.value < 0
        assert (difference.verdict == "better") == better
    corrected = metrics.holm([difference.p for difference in found.values()])
    np.testing.assert_allclose(corrected, [difference.p_holm for difference in found.values()])
    # A temperature changes no prediction.
    same = uncertainty.differences[f"{first}+temperature", "accuracy"]
    assert (same.value, same.low, same.high, same.p, same.verdict) == (0, 0, 0, 1, "undecided")


@pytest.mark.parametrize("rows", [2, 9, 52, 300])
@pytest.mark.parametrize("work", [1e3, 1e6, 1e9])
def test_something_can_be_shown_however_many_rows_there_are(rows, work):
    """Even if a difference that all resamples but one agree on is the only one of them."""
    differences = np.ones(_number_of_resamples(work, rows))
    differences[0] = -1
    p = [run_comparison.two_sided_p(differences), *np.ones(rows - 2)]
    assert metrics.holm(p)[0] < run_comparison.SIGNIFICANCE


def test_the_interval_of_the_auroc_is_that_of_one_model(results, uncertainty):
    """Of one seed the bootstrap of `lsplus_tf.metrics`, reflected."""
    alone = dataclasses.replace(results, runs=tuple(r for r in results.runs if r.seed == 0))
    found = measure_uncertainty(alone)
    predictions = alone.predictions(alone.rows[0])[0]
    one = metrics.bootstrap_interval("auroc", predictions, num_resamples=2000)
    low, high = found.intervals[alone.rows[0].key, "auroc"]
    assert low == pytest.approx(2 * one.value - one.high, abs=0.2 * one.standard_error)
    assert high == pytest.approx(2 * one.value - one.low, abs=0.2 * one.standard_error)


def test_whole_groups_are_drawn():
    """Ten copies of each of forty values: the interval is that of forty, not of four hundred."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(40), 10)
    groups = np.repeat([f"patient {i}" for i in range(40)], 10)
    measures = {"mean": [run_comparison.mean_of(values)]}
    by_group = run_comparison.resample(measures, 400, 2000, 0, groups)["mean"].drawn.std()
    assert by_group == pytest.approx(values.std() / np.sqrt(40), rel=0.08)
    by_image = run_comparison.resample(measures, 400, 2000, 0)["mean"].drawn.std()
    assert by_image == pytest.approx(values.std() / np.sqrt(400), rel=0.08)


def test_groups_of_the_runs_are_used(results, uncertainty, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report*"))
    for path in copy.glob("*/*/predictions_test.npz"):
        p = run_folder.read_predictions(path.parent, "test")
        assert p.groups is None
        groups = np.array([f"patient {i // 20}" for i in range(len(p.labels))])
        run_folder.write_predictions(path.parent, "test", p.replace(groups=groups))
        again = run_folder.read_predictions(path.parent, "test")
        np.testing.assert_array_equal(again.group_names[again.groups], groups)
    grouped = measure_uncertainty(gather(copy))
    assert (uncertainty.groups, grouped.groups) == (None, 18)
    assert (
        grouped.intervals["hard_labels", "brier"] != uncertainty.intervals["hard_labels", "brier"]
    )


def test_a_class_that_resamples_lack_has_no_auroc(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report*"))
    for path in copy.glob("*/*/predictions_test.npz"):
        p = run_folder.read_predictions(path.parent, "test")
        kept = (p.labels != 9) | (np.cumsum(p.labels == 9) == 1)
        run_folder.write_predictions(path.parent, "test", p.take(kept))
    found = measure_uncertainty(gather(copy, methods=["hard_labels", "label_smoothing"]))
    assert {metric for _, metric in found.intervals} == set(METRICS) - {"auroc"}
    assert {metric for _, metric in found.differences} == set(METRICS) - {"auroc"}


def test_a_report_reads_each_file_of_predictions_once(results, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report*"))
    fresh = dataclasses.replace(gather(copy), experiment=results.experiment)
    read, read_predictions = [], run_folder.read_predictions

    def watched(folder, split):
        read.append((folder, split))
        return read_predictions(folder, split)

    monkeypatch.setattr(run_folder, "read_predictions", watched)
    write_report(fresh)
    assert sorted(read) == sorted((p, s) for p in copy.glob("*/seed_*") for s in SPLITS)


# --- the page -------------------------------------------------------------------------------------


class Seen(HTMLParser):
    """Headings, rows of tables, and pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.rows: list[list[str]] = []
        self.pictures: list[str] = []
        self._into: str | None = None

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag == "img":
            assert given["src"].startswith("data:image/")
            self.pictures.append(given["alt"])
        self._into = tag if tag in ("th", "td", "h2") else self._into
        if tag == "h2":
            self.sections.append("")

    def handle_endtag(self, tag):
        if tag == self._into:
            self._into = None

    def handle_data(self, data):
        if self._into == "h2":
            self.sections[-1] += data
        elif self._into:
            self.rows[-1][-1] += data.strip()


def test_the_page_has_the_experiments_numbers(reproduced, uncertainty):
    results = gather(reproduced.folder)
    page = reproduced.folder / "report" / "report.html"
    text = page.read_text(encoding="utf-8")
    seen = Seen()
    seen.feed(text)
    assert seen.sections == [
        "Summary",
        "Methods and metrics",
        "Differences",
        "Reliability",
        "Selective prediction",
        "Soft labels",
        "Training",
        "Settings and versions",
    ]
    comparison = tables.compare(results)
    table = {row[0]: row[1:] for row in seen.rows[1 : 1 + len(results.rows)]}
    assert list(table) == comparison.names
    for row in results.rows:
        low, high = (100 * bound for bound in uncertainty.intervals[row.key, "ece"])
        ece = comparison.mean["ece"][row.key]
        assert table[row.name][2] == f"{ece:.2f} [{low:.1f}, {high:.1f}]"
        assert f"Reliability diagram of {row.name}." in seen.pictures
    assert sum("Soft labels of OLS after epoch" in alt for alt in seen.pictures) >= 2
    assert "protocol.batch_size" in text
    assert "mean and SD over seeds" in text
    assert "These definitions are those of the paper&#39;s released code" in text
    assert "tensorflow" in text
    assert str(results.folder) not in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)


def test_one_row_has_nothing_to_be_compared_with(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report*"))
    write_report(gather(copy, methods=["hard_labels"], seeds=[1]))
    text = (copy / "report" / "report.html").read_text(encoding="utf-8")
    assert "One row: there is nothing to compare it with." in text
    assert ">Differences<" not in text
    assert "Test split, times 100: one seed and 95% interval" in text
    assert "Test metrics times 100, of one seed, as the LS+ paper defines them" in text
    assert "SD over seeds" not in text
    assert "range over seeds" not in text
    assert "all seeds together" not in text


def test_the_page_names_what_is_doubtful(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report*"))
    for path in copy.glob("*/*/summary.json"):
        skipped = ["a/<1>.png", "a/2.png", "b/3.png", "b/4.png"]
        run_folder.write_json(path, json.loads(path.read_text()) | {"skipped_images": skipped})
    path = copy / "ls_plus" / "seed_1" / "prior.json"
    run_folder.write_json(path, json.loads(path.read_text()) | {"doubts": ["accuracy 0 of 3"]})
    path = copy / "ls_plus" / "seed_0" / "prior.json"
    run_folder.write_json(path, json.loads(path.read_text()) | {"doubts": []})
    found = gather(copy, methods=["hard_labels", "ls_plus"], seeds=[0, 1])
    assert found.doubts() == [
        "4 images were left out: a/<1>.png, a/2.png, b/3.png ...",
        "The prior of ls_plus seed 1 is doubtful: accuracy 0 of 3",
    ]
    write_report(found)
    text = (copy / "report" / "report.html").read_text(encoding="utf-8")
    assert "4 images were left out: a/&lt;1&gt;.png" in text
    assert "The prior of ls_plus seed 1 is doubtful: accuracy 0 of 3." in text


def test_in_a_browser(open_page, reproduced):
    path = reproduced.folder / "report" / "report.html"
    tab, heard = open_page(path, viewport={"width": 390, "height": 844})
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
