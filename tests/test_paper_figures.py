"""The paper's figures from the published files: their numbers, and what is drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from test_paper_comparison import finished

mpl.use("agg")

from lsplus_tf.experiments import Run
from lsplus_tf.page import Picture
from lsplus_tf.paper import figures, run_figures
from lsplus_tf.paper.artifacts import DATASETS, METHODS, Artifacts, Published
from lsplus_tf.paper.published_order import introsort_order
from lsplus_tf.results import gather
from lsplus_tf.training import run_folder

CURVES = "d2_mhist_code/retention_curve_files"
HISTOGRAMS = "d2_mhist_code/histogram_plots"
NUMPY = "d2_ablation/d2_mhist_ecekde/resnet34/1/numpy_files"
# R-AUC of MHIST and ResNet-34 times 100 that the authors' code and NumPy gave when
# shared/reference/methods.md A8 was written: as published, by confidence in run 1, and its mean and
# SD over three runs.
AREAS = {
    "hard_labels": (88.90, 93.95, 92.37, 1.56),
    "label_smoothing": (88.03, 93.71, 93.82, 0.44),
    "focal": (89.67, 93.98, 93.87, 0.98),
    "dca": (88.87, 93.92, 93.31, 0.61),
    "mdca": (89.93, 94.35, 94.31, 0.69),
    "ls_plus": (90.54, 93.98, 93.83, 0.22),
}


@pytest.fixture(scope="module")
def published(shared) -> Artifacts:
    return Artifacts(shared / "lsplus-artifacts")


@pytest.fixture
def some(shared, tmp_path) -> Path:
    """The files of LS, LS+ and focal loss of MHIST, to be damaged."""
    source = shared / "lsplus-artifacts"
    paths = [f"{CURVES}/Resnet34_{name}.txt" for name in ("LS", "FL", "ours")]
    for name in ("LS", "BASELINE_FL", "OURS_ALPHA05"):
        paths += [f"{HISTOGRAMS}/MHIST_Resnet34_{name}_{c}correct.txt" for c in ("", "in")]
        for what in ("logits", "probabilities", "testlabels"):
            paths.append(f"{NUMPY}/test_{what}_{name.lower()}.npy")
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, tmp_path / path)
    return tmp_path


def by_name(found) -> dict[str, tuple[int, int, bool]]:
    return {check.name: (check.matched, check.total, check.passed) for check in found}


# --- the order of the published curves ------------------------------------------------------------


def test_introsort_leaves_equal_values_in_numpys_order():
    # NumPy 2.4's argsort of int16, for which it has the scalar introsort on every processor.
    values = [1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0]
    values += [0, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0]
    expected = [19, 34, 33, 28, 25, 24, 21, 20, 18, 15, 14, 13, 39, 11, 10, 9, 8, 1, 2, 4]
    expected += [3, 37, 36, 35, 32, 31, 30, 29, 26, 12, 5, 23, 22, 6, 7, 38, 17, 16, 27, 0]
    order = introsort_order(values)
    assert order.tolist() == expected
    assert order.tolist() != np.argsort(values, kind="stable").tolist()


@pytest.mark.parametrize("size", [0, 1, 2, 16, 17, 18, 977])
@pytest.mark.parametrize("classes", [1, 2, 7, 10_000])
def test_introsort_sorts(size, classes):
    values = np.random.default_rng(size + classes).integers(classes, size=size)
    order = introsort_order(values)
    assert sorted(order) == list(range(size))
    assert (np.diff(values[order]) >= 0).all()


def test_curve_by_class_of_a_hand_made_case():
    # Predicted 1, 0, 0, 1 of the labels 0, 0, 1, 1: so few are in a stable order, 1, 2, 0, 3, of
    # which the second and the third are wrong.
    probabilities = np.array([[0.1, 0.9], [0.6, 0.4], [0.9, 0.1], [0.2, 0.8]], np.float32)
    run = Published(np.log(probabilities), probabilities, np.array([0, 0, 1, 1]))
    curve = figures.curve_by_class(run)
    first, second, third = (np.searchsorted(4 * figures.FRACTIONS, n) for n in (1, 2, 3))
    assert (curve[:second] == 1).all()
    assert (curve[second:third] == 3 / 4).all()
    assert (curve[third:] == 2 / 4).all()
    assert 0 < first < second < third < 199
    # By confidence the wrong ones come first and second.
    assert figures.curve_by_confidence(run)[second] == 2 / 4


def test_area_is_the_trapezoids():
    line = 1 - figures.FRACTIONS / 2
    assert figures.area(line) == pytest.approx(75)


# --- numbers of the published files ---------------------------------------------------------------


def test_areas_of_mhist(published):
    table = figures.mhist_areas(published).set_index(["backbone", "method"]).loc["resnet34"]
    for method, (published_area, first_run, mean, sd) in AREAS.items():
        row = table.loc[method]
        assert round(row["published"], 2) == published_area
        # Where confidences are tied the two sorts differ.
        assert row["by_confidence"] == pytest.approx(first_run, abs=0.0051)
        assert row["mean"] == pytest.approx(mean, abs=0.0051)
        assert row["sd"] == pytest.approx(sd, abs=0.011)
        if method == "focal":
            assert row["largest_difference"] == pytest.approx(4.1e-3, abs=5e-5)
            assert round(row["by_class"], 2) == 89.62
        else:
            assert row["equal_points"] == 200
            assert row["largest_difference"] == 0
    assert (table["by_class"].idxmax(), table["mean"].idxmax()) == ("ls_plus", "mdca")


def test_every_checkable_number_matches(published):
    found = figures.checks(published)
    assert all(check.passed for check in found)
    curves = len(figures.retention_areas(published))
    networks = figures.mhist_areas(published)["backbone"].nunique()
    assert networks >= 1
    assert [(check.matched, check.total) for check in found] == [
        ((6, 6), (15, 15))[networks - 1],  # printed areas that are known
        (curves, curves),  # ends of curves
        (5 * networks, 5 * networks),  # curves of MHIST
        (networks, networks),  # those of focal loss
        (12 * networks, 12 * networks),  # confidences: 6 methods, correct and incorrect
        (curves, curves),  # shares of correct images
    ]
    assert curves == 18 * networks


def test_printed_areas_are_those_of_the_reference(shared):
    text = (shared / "reference" / "methods.md").read_text(encoding="utf-8")
    for backbone, row in (("resnet34", "| R34 published |"), ("resnet50", "| R50 published |")):
        line = next(line for line in text.splitlines() if line.startswith(row))
        cells = [float(cell.strip(" *")) for cell in line.split("|")[2:-1]]
        assert list(figures.PRINTED_AREAS["mhist", backbone].values()) == cells
    for title, method in (("LS", "label_smoothing"), ("MDCA", "mdca"), ("LS+", "ls_plus")):
        assert f"{title} {figures.PRINTED_AREAS['isic2018', 'resnet50'][method]}" in text


def test_in_words(published):
    areas, mhist = figures.retention_areas(published), figures.mhist_areas(published)
    text = figures.retention_in_words(areas, mhist)
    assert "90.54 (90.54)" in text
    assert "the largest area is LS+'s by class, MDCA's by confidence in run 1 and MDCA's" in text
    assert "**" not in text
    other = figures.retention_in_words(areas.assign(area=areas["area"] + 0.01), mhist)
    assert "**90.55 (90.54)**" in other


# --- figures --------------------------------------------------------------------------------------


def test_retention_figure_draws_the_files(published, shared):
    figure = figures.retention_figure(published)
    panels = {ax.get_title(): ax for ax in figure.axes}
    assert {f"{name}, ResNet-34" for name in ("Chaoyang", "MHIST", "ISIC-2018")} <= set(panels)
    ax = panels["MHIST, ResNet-34"]
    assert ax.get_ylim() == (78, 102)
    assert list(ax.get_yticks()) == [80, 85, 90, 95, 100]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:3] == ["HL: 88.90", "LS: 88.03", "FL: 89.67"]
    assert labels[3:] == ["DCA: 88.87", "MDCA: 89.93", "LS+: 90.54"]
    file = np.loadtxt(shared / "lsplus-artifacts" / CURVES / "Resnet34_ours.txt")
    x, y = ax.get_lines()[-1].get_data()
    np.testing.assert_allclose(y, 100 * file)
    np.testing.assert_allclose(x, [np.log(i) / np.log(200) for i in range(1, 201)])
    for ax in panels.values():
        low, high = ax.get_ylim()
        drawn = np.concatenate([line.get_ydata() for line in ax.get_lines()])
        assert low <= drawn.min() + 0.5
        assert drawn.max() <= high


def test_mhist_figure_has_both_orders(published, shared):
    figure = figures.mhist_retention_figure(published)
    left, right = figure.axes[:2]
    assert "by predicted class" in left.get_title()
    assert "by confidence" in right.get_title()
    lines, crosses = left.get_lines()[: len(METHODS)], left.get_lines()[len(METHODS) :]
    assert len(crosses) == len(METHODS)
    for line, points, method in zip(lines, crosses, METHODS, strict=True):
        distance = np.abs(line.get_ydata()[::8] - points.get_ydata()).max()
        assert distance == 0 or (method == "focal" and distance <= 0.5)
    # By confidence the first fifth is nearly free of errors.
    for line in right.get_lines():
        assert np.interp(0.2, *line.get_data()) > 99
    assert left.get_ylim() == right.get_ylim()


@pytest.mark.parametrize("dataset", DATASETS)
def test_density_figure_draws_the_files(published, shared, dataset):
    figure = figures.density_figure(published, dataset, "resnet34")
    assert [ax.get_title() for ax in figure.axes] == ["HL", "LS", "FL", "DCA", "MDCA", "LS+"]
    assert figure.get_size_inches().tolist() == [16, 3]
    for ax, method in zip(figure.axes, METHODS, strict=True):
        assert ax.get_ylim() == (0, {"chaoyang": 10, "mhist": 10, "isic2018": 8}[dataset])
        np.testing.assert_allclose(ax.get_xticks(), [0.3, 0.6, 0.9])
        if dataset == "mhist":
            assert ax.get_xlim() == (0.45, 1)
        for group, bars in zip(
            published.confidences(dataset, "resnet34", method),
            (ax.patches[:15], ax.patches[15:]),
            strict=True,
        ):
            heights, edges = np.histogram(group, bins=15, density=True)
            np.testing.assert_allclose([bar.get_height() for bar in bars], heights, rtol=1e-9)
            np.testing.assert_allclose([bar.get_x() for bar in bars], edges[:-1])


# --- the same of one's own runs -------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch) -> list:
    """The figures that are written, in order; their files are empty."""
    kept: list = []

    def keep(figure, alt, raster):
        kept.append(figure)
        return Picture(b"", alt, 1)

    monkeypatch.setattr(run_figures, "draw", keep)
    return kept


def test_own_runs_have_the_papers_axes(tmp_path, drawn):
    methods = ["methods.dca.weight=1.0", "methods.dca_released.weight=1.0"]  # not the paper's
    results = finished(tmp_path, "mhist", "seeds=[1,12]", *methods)
    for method in results.methods:
        if method not in ("label_smoothing", "online_label_smoothing"):
            shutil.rmtree(Run(method, 12).folder(tmp_path))
    run_figures.write_figures(gather(tmp_path), tmp_path)
    names = {f"{what}_seed_{seed}.png" for what in ("density", "retention") for seed in (1, 12)}
    assert {path.name for path in tmp_path.glob("*.png")} == names

    density, retention, of_twelve, _ = drawn
    assert density.get_suptitle() == "MHIST, ResNet-50, seed 1"
    titles = ["HL", "LS", "FL, released code", "FL", "DCA, released code", "DCA"]
    titles += ["MDCA, released code", "MDCA", "LS+"]
    other = ("DCA", "DCA, released code")
    assert [ax.get_title() for ax in density.axes] == titles
    assert [bool(ax.texts) for ax in density.axes] == [title in other for title in titles]
    assert [bool(ax.texts) for ax in of_twelve.axes] == [title != "LS" for title in titles]
    assert density.axes[4].texts[0].get_text() == "not the paper's settings"
    assert of_twelve.axes[0].texts[0].get_text() == "not in this report"
    for ax in density.axes:
        assert (ax.get_xlim(), ax.get_ylim()) == ((0.45, 1), (0, 8))
    run = run_folder.read_predictions(Run("label_smoothing", 1).folder(tmp_path), "test")
    largest, right = run.probabilities.max(axis=1), run.probabilities.argmax(axis=1) == run.labels
    heights, edges = np.histogram(largest[right], bins=15, density=True)
    bars = density.axes[1].patches[:15]
    np.testing.assert_allclose([bar.get_height() for bar in bars], heights, rtol=1e-5)
    np.testing.assert_allclose([bar.get_x() for bar in bars], edges[:-1], rtol=1e-5)

    (ax,) = retention.axes
    assert (
        ax.get_title()
        == "MHIST, ResNet-50, seed 1\nby confidence, areas over the paper's 200 steps"
    )
    x, y = ax.get_lines()[1].get_data()
    in_order = right[np.argsort(-largest)]
    decided = [int(len(right) * fraction) for fraction in x]
    expected = [100 * (1 - (~in_order[:n]).sum() / len(right)) for n in decided]
    np.testing.assert_allclose(y, expected)
    # A curve that would leave the paper's axis is seen.
    lowest = min(line.get_ydata().min() for line in ax.get_lines())
    assert lowest < 76
    assert ax.get_ylim() == (pytest.approx(lowest - 2), 102)
    assert ax.get_legend().get_texts()[1].get_text() == f"LS: {figures.area(y / 100):.2f}"


def test_data_and_networks_of_no_paper_have_no_such_figures(tmp_path, drawn):
    for config, changes in (
        ("digits", ("seeds=[0]",)),
        ("mhist", ("seeds=[1]", "backbone.name=vgg19")),
    ):
        folder = tmp_path / config
        run_figures.write_figures(finished(folder, config, *changes), folder)
    assert drawn == []
    assert [*tmp_path.rglob("*.png")] == []


# --- what is missing or damaged -------------------------------------------------------------------


def test_what_is_missing_is_left_out(some):
    artifacts = Artifacts(some)
    assert by_name(figures.checks(artifacts)) == {
        "R-AUC of the published curves, to 2 decimals as printed": (3, 3, True),
        "MHIST curves recomputed from predictions, point for point": (2, 2, True),
        "MHIST curves of focal loss recomputed, within 0.005": (1, 1, True),
        "MHIST confidences of Fig. 2 recomputed, within 3e-06": (6, 6, True),
    }
    assert len(figures.retention_figure(artifacts).axes) == 1
    texts = [[text.get_text() for text in ax.texts] for ax in _density_axes(artifacts)]
    assert texts == [["not in the folder"], [], [], *[["not in the folder"]] * 2, []]
    assert figures.density_figure(artifacts, "chaoyang", "resnet34") is None


def _density_axes(artifacts):
    return figures.density_figure(artifacts, "mhist", "resnet34").axes


def test_what_is_damaged_is_named_and_the_rest_checked(some):
    (some / CURVES / "Resnet34_LS.txt").write_text("1.0\n0.9\n")
    logits = some / NUMPY / "test_logits_ours_alpha05.npy"
    logits.write_bytes(logits.read_bytes()[:500])
    artifacts = Artifacts(some)
    found = by_name(figures.checks(artifacts))
    assert found["R-AUC of the published curves, to 2 decimals as printed"] == (2, 2, True)
    assert "MHIST curves recomputed from predictions, point for point" not in found
    assert found["MHIST confidences of Fig. 2 recomputed, within 3e-06"] == (4, 4, True)
    damaged = {problem.path for problem in artifacts.problems if problem.kind == "damaged"}
    assert damaged == {f"{CURVES}/Resnet34_LS.txt", f"{NUMPY}/test_logits_ours_alpha05.npy"}


def test_other_numbers_do_not_match(some):
    curve = some / CURVES / "Resnet34_ours.txt"
    values = np.loadtxt(curve)
    values[100:] -= 2 / 977
    np.savetxt(curve, values)
    focal = some / CURVES / "Resnet34_FL.txt"
    np.savetxt(focal, np.loadtxt(focal).clip(max=0.9))
    confidences = some / HISTOGRAMS / "MHIST_Resnet34_LS_correct.txt"
    changed = np.loadtxt(confidences)
    changed[3] -= 1e-5
    np.savetxt(confidences, changed)
    assert by_name(figures.checks(Artifacts(some))) == {
        "R-AUC of the published curves, to 2 decimals as printed": (1, 3, False),
        "MHIST curves recomputed from predictions, point for point": (1, 2, False),
        "MHIST curves of focal loss recomputed, within 0.005": (0, 1, False),
        "MHIST confidences of Fig. 2 recomputed, within 3e-06": (5, 6, False),
    }


def test_nothing_there(tmp_path, shared):
    target = tmp_path / "MHIST" / "test_labels.csv"
    target.parent.mkdir()
    shutil.copyfile(shared / "lsplus-artifacts" / "MHIST" / "test_labels.csv", target)
    artifacts = Artifacts(tmp_path)
    assert figures.checks(artifacts) == []
    assert figures.retention_figure(artifacts) is None
    assert figures.mhist_retention_figure(artifacts) is None
    areas, mhist = figures.retention_areas(artifacts), figures.mhist_areas(artifacts)
    assert figures.retention_in_words(areas, mhist) == ""
