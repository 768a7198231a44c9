"""The page of an experiment, and how sure its rows are."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import DIGITS
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats

from lsplus_tf import metrics
from lsplus_tf.config import load_config
from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run
from lsplus_tf.manifest import write_manifest
from lsplus_tf.results import Report, Results, figures, gather, page, tables
from lsplus_tf.results.page import classes_in_words
from lsplus_tf.results.uncertainty import METRICS, Uncertainty, measure_uncertainty
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


def by_image(results: Results, metric: str) -> dict[str, np.ndarray]:
    """Accuracy, cross-entropy or Brier score of each run and image, (R, N), of every row."""
    values = {
        "accuracy": lambda p, y: p.argmax(axis=1) == y,
        "nll": lambda p, y: -np.log(p[np.arange(len(y)), y].clip(1e-300)),
        "brier": lambda p, y: ((p - np.eye(10)[y]) ** 2).sum(axis=1),
    }[metric]
    return {
        row.key: np.stack([values(p.probabilities, p.labels) for p in results.predictions(row)])
        for row in results.rows
    }


def expected_half_width(scores: list[np.ndarray], level: float) -> float:
    """Of the interval of the first row's mean, less the second's if there is one.

    Written out for means over images, whose variances are those of the images' scores: of each row
    that of the runs, at least what a run's own errors explain, and what different runs share.
    """
    parts, shared = [], 0.0
    for each in scores:
        runs, images = each.shape
        covariance = np.cov(each) / images
        alike = np.mean(covariance[~np.eye(runs, dtype=bool)])
        own = np.mean(np.diag(covariance)) - alike
        parts.append((max(each.mean(axis=1).var(ddof=1), own) / runs, runs - 1))
        shared += alike
    if len(scores) == 2:
        shared -= 2 * np.cov(*(each.mean(axis=0) for each in scores))[0, 1] / images
    of_runs = sum(part for part, _ in parts)
    freedom = of_runs**2 / sum(part**2 / own for part, own in parts)
    squares = stats.t.ppf(1 - level / 2, [freedom, images - 1]) ** 2
    return np.sqrt(squares @ [of_runs, max(shared, 0)])


@pytest.mark.parametrize("metric", ["accuracy", "nll", "brier"])
def test_intervals_of_methods(results, uncertainty, metric):
    for row, scores in by_image(results, metric).items():
        width = 2 * expected_half_width([scores], 0.05)
        low, high = scores.mean() - width / 2, scores.mean() + width / 2
        found = uncertainty.intervals[row, metric]
        largest = {"accuracy": 1, "nll": np.inf, "brier": 2}[metric]
        assert found[0] == pytest.approx(max(low, 0), abs=0.05 * width)
        assert found[1] == pytest.approx(min(high, largest), abs=0.05 * width)
    assert uncertainty.single == frozenset()
    assert set(uncertainty.frame()["about"]) == {"method"}


def test_differences_of_methods(results, uncertainty):
    """With Holm's correction over the rows; rows of the same networks are compared in pairs."""
    scores = by_image(results, "brier")
    first, *others = [row.key for row in results.rows]
    found = {row: uncertainty.differences[row, "brier"] for row in others}
    for row, difference in found.items():
        pair = [scores[row], scores[first]]
        if row == f"{first}+temperature":
            pair = [pair[0] - pair[1]]
        value = np.mean(scores[row]) - np.mean(scores[first])
        half = expected_half_width(pair, 0.05)
        assert difference.value == pytest.approx(value, abs=1e-6)
        assert difference.low == pytest.approx(value - half, abs=0.1 * half)
        assert difference.high == pytest.approx(value + half, abs=0.1 * half)
        assert expected_half_width(pair, difference.p) == pytest.approx(abs(value), rel=0.1)
        better = difference.p_holm < 0.05 and difference.value < 0
        assert (difference.verdict == "better") == better
    corrected = metrics.holm([difference.p for difference in found.values()])
    np.testing.assert_allclose(corrected, [difference.p_holm for difference in found.values()])
    # A temperature changes no prediction.
    same = uncertainty.differences[f"{first}+temperature", "accuracy"]
    assert (same.value, same.low, same.high, same.p, same.verdict) == (0, 0, 0, 1, "undecided")


def test_it_is_what_compare_methods_says(results, uncertainty):
    rows = [row for row in results.rows if not row.calibrators]
    runs = {row.key: results.predictions(row) for row in rows}
    table = metrics.compare_methods(runs)
    for row in table.to_dict("records"):
        found = uncertainty.differences[row["method"], row["metric"]]
        for value, column in (("value", "difference"), ("low", "low"), ("high", "high")):
            assert getattr(found, value) == pytest.approx(row[column], rel=1e-9)


@pytest.mark.usefixtures("undrawn")
def test_one_seed_says_nothing_of_methods(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report*"))
    alone = gather(copy, methods=["hard_labels", "label_smoothing"], seeds=[0])
    found = measure_uncertainty(alone)
    assert found.single == {row.key for row in alone.rows}
    for difference in found.differences.values():
        assert np.isnan([difference.p, difference.p_holm, difference.low, difference.high]).all()
        assert difference.verdict == "undecided"
    Report(alone).write()
    text = (copy / "report" / "report.html").read_text(encoding="utf-8")
    assert "Nothing can be said of the methods: that takes several seeds of each." in text
    assert "not tested" in text
    assert "The intervals are about these networks on new images" in text
    assert "compared with HL" not in text
    table = pd.read_csv(copy / "report" / "intervals.csv")
    assert set(table["about"]) == {"networks"}
    assert table["difference_p"].isna().all()


def test_groups_of_the_runs_are_used(results, uncertainty, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report*"))
    for path in copy.glob("*/*/predictions_test.npz"):
        p = run_folder.read_predictions(path.parent, "test")
        assert p.groups is None
        groups = np.array([f"patient {i // 20}" for i in range(len(p.labels))])
        run_folder.write_predictions(path.parent, "test", p.replace(groups=groups))
        write_manifest(path.parent, {})
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
        write_manifest(path.parent, {})
    found = measure_uncertainty(gather(copy, methods=["hard_labels", "label_smoothing"]))
    assert {metric for _, metric in found.intervals} == set(METRICS) - {"auroc"}
    assert {metric for _, metric in found.differences} == set(METRICS) - {"auroc"}


def test_a_report_reads_each_file_and_draws_each_picture_once(results, tmp_path, monkeypatch):
    """However often it is shown; its files hold the pictures of its page."""
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report*"))
    fresh = dataclasses.replace(gather(copy), experiment=results.experiment)
    drawn, draw = [], Figure.draw
    read, read_predictions = [], run_folder.read_predictions

    def watched(figure, *arguments, **options):
        drawn.append(figure)
        return draw(figure, *arguments, **options)

    def watched_file(folder, split):
        read.append((folder, split))
        return read_predictions(folder, split)

    monkeypatch.setattr(Figure, "draw", watched)
    monkeypatch.setattr(run_folder, "read_predictions", watched_file)
    report = Report(fresh)
    report.write()
    report.write("report_selected")
    assert sorted(read) == sorted((p, s) for p in copy.glob("*/seed_*") for s in SPLITS)
    text = (copy / "report" / "report.html").read_text(encoding="utf-8")
    of_page = re.findall(r'<img src="data:image/png;base64,([^"]+)"', text)
    assert len(drawn) == len(of_page) == text.count("<img ")
    pictures = [picture for figure in report.figures.values() for picture in figure.pictures]
    legends = [figure.legend for figure in report.figures.values() if figure.legend is not None]
    shown = [base64.b64encode(picture.image).decode() for picture in (*pictures, *legends)]
    assert sorted(of_page) == sorted(shown)
    assert len({picture.image for picture in pictures}) == len(pictures)
    for name, figure in report.figures.items():
        with Image.open(copy / "report" / f"{name}.png") as file:
            whole = np.asarray(file.convert("RGB"))
        singles = [np.asarray(Image.open(io.BytesIO(each.image))) for each in figure.pictures]
        height, width, _ = singles[0].shape
        top = 0
        if figure.legend is not None:  # once, above all
            legend = np.asarray(Image.open(io.BytesIO(figure.legend.image)))
            top, left = len(legend), max(0, (whole.shape[1] - legend.shape[1]) // 2)
            np.testing.assert_array_equal(whole[:top, left : left + legend.shape[1]], legend)
        cells = [
            whole[y : y + height, x : x + width]
            for y in range(top, len(whole), height)
            for x in range(0, whole.shape[1], width)
        ]
        np.testing.assert_array_equal(cells[: len(singles)], singles)


def test_reliability_panels_have_the_ece_of_the_table(results):
    """Of several seeds together it would be another."""
    comparison = Report(results).comparison
    found = figures._reliability(results)
    panels = [panel for name in found for panel in found[name].pictures]
    for row in results.rows:
        start = f"Reliability diagram of {row.name}: "
        (panel,) = [each for each in panels if each.alt.startswith(start)]
        assert f"ECE {comparison.mean['ece'][row.key]:.1f}%" in panel.alt
        assert panel.marks
    assert len(panels) == len(results.rows)


@pytest.mark.usefixtures("undrawn")
def test_the_numbers_come_from_the_predictions(results, tmp_path):
    """In the standard convention, whatever a run's metrics.json says."""
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report*"))
    for path in copy.glob("*/*/metrics.json"):
        path.write_text("{}")
    for path in copy.glob("hard_labels/*/predictions_test.npz"):
        p = run_folder.read_predictions(path.parent, "test")
        run_folder.write_predictions(path.parent, "test", p.replace(logits=99 * p.logits))
        write_manifest(path.parent, {})
    found = gather(copy, methods=["hard_labels"])
    written = {path.name: path for path in Report(found).write()}
    standard, released = (
        100
        * np.mean(
            [
                [metrics.evaluate(p, convention=convention)[key] for key in ("nll", "ace")]
                for p in found.predictions(found.rows[0])
            ],
            axis=0,
        )
        for convention in ("standard", "released_code")
    )
    assert released[0] < 0.9 * standard[0]
    assert released[1] != pytest.approx(standard[1])
    table = pd.read_csv(written["table.csv"], index_col="method")
    means = table.loc["hard_labels", ["nll_mean", "ace_mean"]].to_numpy(float)
    assert means == pytest.approx(standard)
    runs = pd.read_csv(written["runs.csv"]).groupby("method")["nll"].mean()
    assert 100 * runs["hard_labels"] == pytest.approx(standard[0])
    for name in ("table.md", "report.html"):
        assert f"{standard[0]:.2f}" in written[name].read_text(encoding="utf-8")


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
        "Found and missed",
        "Methods and metrics",
        "Differences",
        "Reliability",
        "Selective prediction",
        "Soft labels",
        "Training",
        "Settings and versions",
        "Definitions",
    ]
    comparison = tables.compare(results)
    start = next(k for k, row in enumerate(seen.rows) if row[1:2] == ["ACC ↑"]) + 1
    table = {row[0]: row[1:] for row in seen.rows[start : start + len(results.rows)]}
    assert list(table) == comparison.names
    for row in results.rows:
        low, high = (100 * bound for bound in uncertainty.intervals[row.key, "ece"])
        ece = comparison.mean["ece"][row.key]
        assert table[row.name][2] == f"{ece:.2f} [{low:.1f}, {high:.1f}]"
        start = f"Reliability diagram of {row.name}: ECE {ece:.1f}%"
        assert [alt.startswith(start) for alt in seen.pictures].count(True) == 1
    in_bold = re.findall(r"<td[^>]*><strong>(.*?)</strong></td>", text)
    markdown = page.with_name("table.md").read_text(encoding="utf-8")
    assert "best means in bold" in text
    assert len(in_bold) > 5
    assert sorted(in_bold) == sorted(re.findall(r"\*\*(.+?)\*\*", markdown))
    assert sum("Soft labels of OLS after epoch" in alt for alt in seen.pictures) >= 2
    assert "protocol.batch_size" in text
    assert "mean and SD over seeds" in text
    assert "released code" not in text
    assert "tensorflow" in text
    assert str(results.folder) not in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)


def test_the_classes_that_matter_lead(results):
    changed = results.experiment.model_copy(update={"positive": ("8", ("3", "5"))})
    found = dataclasses.replace(results, experiment=changed)
    classes = Report(found).classes
    assert classes.positive == ("8", "3 or 5")
    first, second, *_ = classes_in_words(classes)
    predictions = found.predictions(found.rows[0])
    labels = predictions[0].labels
    shares = [np.mean(each.predicted[labels == 8] == 8) for each in predictions]
    line = classes.of("8", "sensitivity")[found.rows[0].key]
    assert (line["mean"], line["sd"]) == pytest.approx((np.mean(shares), np.std(shares, ddof=1)))
    # Agresti and Coull's over the images, and Student's t with the variance of all methods' runs.
    found_by = np.mean([each.predicted[labels == 8] == 8 for each in predictions], axis=0)
    n, seeds = found_by.size, len(predictions)
    centre = (found_by.sum() + 2) / (n + 4)
    squares = np.sum((found_by - centre) ** 2) + 2 * centre**2 + 2 * (1 - centre) ** 2
    error = np.sqrt(squares * (n + 4) / (n + 3)) / (n + 4)
    plain = [found.predictions(row) for row in found.rows if not row.calibrators]
    spread = np.mean(
        [np.var([np.mean(p.predicted[labels == 8] == 8) for p in runs], ddof=1) for runs in plain]
    )
    of_seeds = stats.t.ppf(0.975, len(plain) * (seeds - 1)) * np.sqrt(spread / seeds)
    of_images = stats.t.ppf(0.975, n + 3) * error
    low, high = max(centre - of_images, 0), min(centre + of_images, 1)
    middle, half = (low + high) / 2, np.hypot((high - low) / 2, of_seeds)
    assert line["low"] == pytest.approx(max(middle - half, 0))
    assert line["high"] == pytest.approx(min(middle + half, 1))
    assert first.text.startswith(
        f"Found of 8 ({(labels == 8).sum()} test images; sensitivity, 95% interval): "
        f"{found.rows[0].name} {np.mean(shares):.1%} ["
    )
    both = [np.isin(each.predicted[np.isin(labels, [3, 5])], [3, 5]).mean() for each in predictions]
    assert f": {found.rows[0].name} {np.mean(both):.1%} [" in second.text
    # Rows with a calibrator have numbers, and no words.
    assert "temperature" not in first.text
    assert "hard_labels+temperature" in classes.of("8", "slope")
    wrong = results.experiment.model_copy(update={"positive": ("melanoma",)})
    report = Report(dataclasses.replace(results, experiment=wrong))
    with pytest.raises(InputError, match=r"^positive: expected one of the classes 0, 1, "):
        report.classes  # noqa: B018


def test_a_network_that_predicts_one_class_is_named(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report*"))
    path = copy / "hard_labels" / "seed_1" / "predictions_test.npz"
    with np.load(path) as arrays:
        saved = dict(arrays)
    saved["logits"] = np.tile(3 * np.eye(10, dtype=np.float32)[4], (len(saved["labels"]), 1))
    np.savez(path, **saved)
    write_manifest(path.parent, {})
    words = classes_in_words(Report(gather(copy)).classes)
    assert words[0].text == "HL seed 1 predicts 4 for all images."


@pytest.mark.usefixtures("undrawn")
def test_one_row_has_nothing_to_be_compared_with(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report*"))
    Report(gather(copy, methods=["hard_labels"], seeds=[1])).write()
    text = (copy / "report" / "report.html").read_text(encoding="utf-8")
    assert "One row: there is nothing to compare it with." in text
    assert ">Differences<" not in text
    assert "Test split, times 100: one seed and 95% interval" in text
    assert "Test metrics times 100, of one seed: ECE, ACE and SCE" in text
    assert "SD over seeds" not in text
    assert "range over seeds" not in text
    assert "all seeds' predictions" not in text


@pytest.mark.usefixtures("undrawn")
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
    for path in copy.glob("*/seed_*"):
        write_manifest(path, {})
    found = gather(copy, methods=["hard_labels", "ls_plus"], seeds=[0, 1])
    assert found.doubts() == [
        "4 images were left out: a/<1>.png, a/2.png, b/3.png ...",
        "The prior of ls_plus seed 1 is doubtful: accuracy 0 of 3",
    ]
    Report(found).write()
    text = (copy / "report" / "report.html").read_text(encoding="utf-8")
    assert "4 images were left out: a/&lt;1&gt;.png" in text
    assert "The prior of ls_plus seed 1 is doubtful: accuracy 0 of 3." in text


def test_in_a_browser(open_page, reproduced):
    path = reproduced.folder / "report" / "report.html"
    tab, heard = open_page(path, viewport={"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    table = tab.locator("table", has_text="Test split").first
    heading = table.locator("thead th", has_text="ECE")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    cells = table.locator("tbody td:nth-child(4)").all_inner_texts()
    values = [float(cell.split()[0]) for cell in cells]
    assert len(values) == 4
    assert values == sorted(values)
    assert heard == []


def test_what_soft_labels_are_is_told_of_each_kind(tmp_path, monkeypatch):
    """Those of LS++ and CPLS are not targets, but shares of the other classes."""
    names, matrix = ("a", "b", "c"), np.array([[0, 0.7, 0.3], [0.5, 0, 0.5], [0.4, 0.6, 0]])
    kinds = ("learned_label_smoothing", "confusion_penalty", "online_label_smoothing")
    methods = {kind: {"loss": kind} for kind in kinds}
    experiment = load_config(DIGITS, [f"methods={json.dumps(methods)}"])
    runs = {kind: Run(kind, 0) for kind in kinds}
    shown = SimpleNamespace(
        experiment=experiment,
        methods=kinds,
        class_names=names,
        folder=tmp_path,
        of_method=lambda method: [runs[method]],
    )
    for run in runs.values():
        run.folder(tmp_path).mkdir(parents=True)
        np.savez(run.folder(tmp_path) / run_folder.SOFT_LABELS, soft_labels=matrix[None])
    drawn = []
    kept = figures.plots.soft_label_matrix
    monkeypatch.setattr(
        figures.plots,
        "soft_label_matrix",
        lambda *given, **options: drawn.append(kept(*given, **options)) or drawn[-1],
    )
    pictures = figures._soft_labels(shown)
    limits = [ax.images[0].get_clim() for ax in drawn]
    assert limits == [(0, 0.7), (0, 0.7), (0, 1)]
    words = [ax.images[0].colorbar.ax.get_ylabel() for ax in drawn]
    assert words == ["Share of the smoothing mass"] * 2 + ["Soft label (probability)"]
    for kind, of_others in zip(kinds, (True, True, False), strict=True):
        (picture,) = pictures[f"soft_labels_{kind}"].pictures
        said = "the largest share of one of the other classes is 0.70."
        assert (said in picture.alt) == of_others
    texts = [block.text for block in page._soft_labels(shown, pictures)[::2]]
    assert ["shares of the other classes" in text for text in texts] == [True, True, False]
    assert not any("the target of each class" in text for text in texts)
