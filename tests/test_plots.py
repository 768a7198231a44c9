"""What each figure draws, read back from its artists."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import binomtest, norm

mpl.use("agg")
import matplotlib.pyplot as plt

import lsplus_tf as lsp
from lsplus_tf import metrics, plots
from lsplus_tf.errors import InputError


@pytest.fixture(autouse=True)
def _close_figures_and_keep_style():
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == before


def predictions(samples=200, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(samples, classes))
    labels = rng.integers(classes, size=samples)
    logits[np.arange(samples), labels] += 2
    return labels, softmax(logits, axis=1)


def test_reliability_diagram_draws_the_bins():
    labels, probabilities = predictions()
    ax = plots.reliability_diagram(labels, probabilities, num_bins=10, title="HL")
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    bars, gaps = ax.containers[:2]
    (shares,) = ax.child_axes[-1].containers
    position = 0
    for b in range(10):
        inside = (confidence > b / 10) & (confidence <= (b + 1) / 10)
        if not inside.any():
            continue
        bar, gap, share = bars[position], gaps[position], shares[position]
        assert bar.get_x() == pytest.approx(b / 10)
        assert bar.get_height() == pytest.approx(correct[inside].mean())
        assert gap.get_y() + gap.get_height() == pytest.approx(confidence[inside].mean())
        assert gap.get_y() == pytest.approx(bar.get_height())
        assert share.get_height() == pytest.approx(inside.mean())
        position += 1
    assert len(bars) == position
    ece = metrics.expected_calibration_error(labels, probabilities, num_bins=10)
    assert f"ECE {ece:.1%}" in ax.texts[0].get_text()
    assert ax.get_title() == "HL"
    assert ax.get_aspect() == 1


def interval_ends(container):
    """Lower and upper ends of an error bar container's bars."""
    (bars,) = container.lines[2]
    return np.array([segment[:, 1] for segment in bars.get_segments()]).T


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_reliability_diagram_draws_wilson_intervals(level):
    labels, probabilities = predictions()
    ax = plots.reliability_diagram(labels, probabilities, num_bins=10, interval=level)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.ceil(confidence * 10)
    expected = []
    for b in np.unique(bins):
        test = binomtest(int(correct[bins == b].sum()), int((bins == b).sum()))
        expected.append(test.proportion_ci(level, method="wilson"))
    np.testing.assert_allclose(interval_ends(ax.containers[2]), np.transpose(expected), atol=1e-12)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert f"{100 * level:g}% interval (Wilson)" in texts


def test_reliability_diagram_without_intervals():
    ax = plots.reliability_diagram(*predictions(), interval=None)
    assert len(ax.containers) == 2
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["Accuracy", "Gap to confidence", "Fewer than 10 samples", "Calibrated"]


def runs_of_a_method(number=3):
    """Predictions of the same samples that err in different directions."""
    found = []
    for seed in range(number):
        labels, probabilities = predictions(400, seed=0)
        noise = np.random.default_rng(seed).normal(scale=0.5, size=probabilities.shape)
        logits = (0.1 + 0.4 * seed) * np.log(probabilities) + noise
        found.append(lsp.Predictions(labels, softmax(logits, axis=1)))
    return found


def ece_of(run, num_bins):
    """By its definition, with loops."""
    confidence, correct = run.probabilities.max(1), run.probabilities.argmax(1) == run.labels
    total = 0.0
    for b in range(num_bins):
        inside = (confidence > b / num_bins) & (confidence <= (b + 1) / num_bins)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("number", [1, 3, 11])
def test_hatched_parts_sum_to_the_mean_ece_of_the_runs(number):
    runs = runs_of_a_method(number)
    ax = plots.reliability_diagram(runs, num_bins=10)
    ece = np.mean([ece_of(run, 10) for run in runs])
    gaps = np.array([bar.get_height() for bar in ax.containers[1]])
    shares = np.array([bar.get_height() for bar in ax.child_axes[-1].containers[0]])
    assert np.abs(gaps) @ shares == pytest.approx(ece, abs=1e-7)
    assert f"ECE {ece:.1%}" in ax.texts[0].get_text()
    pooled = lsp.Predictions(
        np.concatenate([run.labels for run in runs]),
        np.concatenate([run.probabilities for run in runs]),
    )
    if number == 3:  # what they would show together is another number
        assert ece_of(pooled, 10) < 0.9 * ece
    together = plots.reliability_diagram(pooled, num_bins=10)
    heights = [[bar.get_height() for bar in each.containers[0]] for each in (ax, together)]
    np.testing.assert_allclose(*heights, atol=1e-7)
    same_way = [np.sign(bar.get_height()) for each in (ax, together) for bar in each.containers[1]]
    assert same_way[: gaps.size] == same_way[gaps.size :]


def test_runs_have_dots_and_the_interval_of_one_run():
    runs = runs_of_a_method(3)
    ax = plots.reliability_diagram(runs, num_bins=5)
    (dots,) = [line for line in ax.get_lines() if line.get_label() == "A run's accuracy"]
    drawn = dots.get_xydata()
    totals = np.zeros((5, 2))
    for place, run in enumerate(runs):
        confidence, correct = run.probabilities.max(1), run.probabilities.argmax(1) == run.labels
        for b in np.unique(np.ceil(confidence * 5)).astype(int):
            inside = np.ceil(confidence * 5) == b
            x = (b - 1 + (place + 1) / 4) / 5
            (y,) = drawn[np.isclose(drawn[:, 0], x), 1]
            assert y == pytest.approx(correct[inside].mean())
            totals[b - 1] += correct[inside].sum(), inside.sum()
    ends = interval_ends(ax.containers[2]).T
    for (hits, number), interval in zip(totals[totals[:, 1] > 0], ends, strict=True):
        # Wilson's are where the score test just rejects: (share - p)^2 = z^2 p (1 - p) / n.
        share, cases, z = hits / number, number / 3, norm.ppf(0.975)
        roots = np.roots([1 + z**2 / cases, -2 * share - z**2 / cases, share**2])
        np.testing.assert_allclose(interval, np.sort(roots), atol=1e-7)
    many = plots.reliability_diagram(runs_of_a_method(11))
    assert "A run's accuracy" not in [line.get_label() for line in many.get_lines()]


def test_bins_of_few_samples_are_faint_and_say_their_numbers():
    confidence = np.array([0.61] * 9 + [0.75] * 10)
    ax = plots.reliability_diagram(
        [0] * 19, np.stack([confidence, 1 - confidence], axis=1), num_bins=10
    )
    few, enough = ax.containers[0]
    assert few.get_alpha() < 1
    assert ax.containers[1][0].get_alpha() < 1
    assert enough.get_alpha() is None
    low, high = binomtest(10, 10).proportion_ci(0.95, method="wilson")
    assert enough.get_label() == (
        "_ Confidence 0.70 to 0.80: 10 samples (52.6%), mean confidence 75.0%, accuracy 100.0% "
        f"[{low:.1%}, {high:.1%}]"
    )
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "Fewer than 10 samples" in texts
    assert not any(text.startswith("_") for text in texts)


@pytest.mark.filterwarnings("error")
def test_one_sample():
    one = [0], [[0.9, 0.1]]
    ax = plots.reliability_diagram(*one)
    assert [len(container) for container in ax.containers[:2]] == [1, 1]
    expected = binomtest(1, 1).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(interval_ends(ax.containers[2])[:, 0], expected)
    panels = plots.classwise_reliability(*one).child_axes
    drawn = [panel.containers[0].lines[0].get_xydata().tolist() for panel in panels]
    assert drawn == [[[0.9, 1.0]], [[0.1, 0.0]]]
    assert plots.risk_coverage_curves({"HL": one}).get_lines()[0].get_ydata().tolist() == [0] * 201
    assert plots.retention_curves({"HL": one}).get_lines()[0].get_ydata().tolist() == [1] * 201
    for recipe in ("paper", "plain"):
        plots.confidence_density(*one, recipe=recipe).figure.canvas.draw()
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()


def class_curve(probabilities, labels, j, num_bins):
    """Mean probability of class j and share of it in every bin that has samples, and its ECE."""
    index = np.ceil(probabilities[:, j] * num_bins).clip(1)
    means, shares, error = [], [], 0.0
    for b in np.unique(index):
        inside = index == b
        means.append(probabilities[inside, j].mean())
        shares.append((labels[inside] == j).mean())
        error += inside.mean() * abs(means[-1] - shares[-1])
    return means, shares, error


@pytest.mark.parametrize("classes", [2, 3, 7, 12])
def test_classwise_reliability_draws_a_panel_per_class(classes):
    labels, probabilities = predictions(300, classes)
    names = [f"class of index {j}" for j in range(classes)]
    ax = plots.classwise_reliability(labels, probabilities, num_bins=10, class_names=names)
    assert len(ax.child_axes) == classes
    errors = []
    for j, panel in enumerate(ax.child_axes):
        means, shares, error = class_curve(probabilities, labels, j, 10)
        line = panel.containers[0].lines[0]
        np.testing.assert_allclose(line.get_xdata(), means)
        np.testing.assert_allclose(line.get_ydata(), shares)
        assert panel.get_title() == (
            f"class of index {j}\nECE {error:.1%}, n = {(labels == j).sum()}"
        )
        low, high = interval_ends(panel.containers[0])
        assert (low <= np.array(shares) + 1e-12).all()
        assert (high >= np.array(shares) - 1e-12).all()
        errors.append(error)
    sce = metrics.static_calibration_error(labels, probabilities, num_bins=10)
    assert np.mean(errors) == pytest.approx(sce)
    assert ax.get_title() == f"SCE {sce:.1%}, the mean of {classes} classes"
    assert ax.get_xlabel()
    assert ax.get_ylabel()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classwise_reliability_has_the_bins_of_the_sce_on_exact_edges(dtype):
    column = (np.arange(11) / 10).astype(dtype)
    probabilities, labels = np.stack([column, 1 - column], axis=1), np.arange(11) % 2
    ax = plots.classwise_reliability(labels, probabilities, num_bins=10)
    line = ax.child_axes[0].containers[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0.05, *column[2:]])  # 0 is in the first bin
    np.testing.assert_allclose(line.get_ydata(), [0.5, 1, 0, 1, 0, 1, 0, 1, 0, 1])
    sce = metrics.static_calibration_error(labels, probabilities, num_bins=10)
    assert ax.get_title().startswith(f"SCE {sce:.1%}")


def test_classwise_reliability_of_many_classes_names_the_worst():
    labels, probabilities = predictions(2000, 165)
    labels[labels == 7] = 3  # a class that is predicted and never true
    names = [f"finding {j}" for j in range(165)]
    ax = plots.classwise_reliability(labels, probabilities, class_names=names)
    assert not ax.child_axes
    curves = [class_curve(probabilities, labels, j, 15) for j in range(165)]
    errors = np.array([error for _, _, error in curves])
    worst = np.argsort(-errors)[:5]
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert list(lines)[2:] == [f"finding {j} (ECE {errors[j]:.2%})" for j in worst]
    for j, line in zip(worst, list(lines.values())[2:], strict=True):
        np.testing.assert_allclose(line.get_xdata(), curves[j][0])
        np.testing.assert_allclose(line.get_ydata(), curves[j][1])
    dots = ax.collections[0].get_offsets()
    np.testing.assert_allclose(dots, np.concatenate([np.transpose(c[:2]) for c in curves]))
    every = np.ceil(probabilities * 15).clip(1)
    hits = np.eye(165)[labels]
    together = [[v[every == b].mean() for b in np.unique(every)] for v in (probabilities, hits)]
    np.testing.assert_allclose(lines["All classes"].get_data(), together)
    ax.figure.canvas.draw()


def test_classwise_reliability_cuts_long_names():
    names = ["actinic keratoses and intraepithelial carcinoma", "pneumonoultramicroscopic"]
    ax = plots.classwise_reliability([0], [[0.9, 0.1]], class_names=names)
    titles = [panel.get_title().splitlines() for panel in ax.child_axes]
    assert titles[0][:2] == ["actinic keratoses and", "intraepithelial…"]
    assert all(len(line) <= 22 for title in titles for line in title)


def boxes_overlap(first, second):
    return first.overlaps(second) and not (
        first.x1 - 0.5 <= second.x0
        or second.x1 - 0.5 <= first.x0
        or first.y1 - 0.5 <= second.y0
        or second.y1 - 0.5 <= first.y0
    )


@pytest.mark.parametrize("classes", [2, 3, 10, 12])
def test_no_text_of_the_class_panels_overlaps(classes):
    names = ["actinic keratoses and intraepithelial carcinoma"] * classes
    ax = plots.classwise_reliability(*predictions(100, classes), class_names=names)
    ax.figure.canvas.draw()
    texts = [ax.title, ax.xaxis.label, ax.yaxis.label]
    for panel in ax.child_axes:
        texts += [panel.title, *panel.get_xticklabels(), *panel.get_yticklabels()]
    boxes = [text.get_window_extent() for text in texts if text.get_visible() and text.get_text()]
    frame = ax.figure.bbox
    for i, box in enumerate(boxes):
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1
        assert frame.y0 <= box.y0 <= box.y1 <= frame.y1
        for other in boxes[:i]:
            assert not boxes_overlap(box, other)


def test_risk_coverage_curves_draw_mean_and_band_over_seeds():
    runs = [predictions(200, seed=seed) for seed in range(3)]
    ax = plots.risk_coverage_curves({"HL": runs[0], "LS+": runs})
    single, mean = ax.get_lines()
    curves = [metrics.risk_coverage_curve(*run) for run in runs]
    # 201 coverages from 0: those after the first are the curve's own.
    np.testing.assert_allclose(single.get_xdata()[1:], curves[0][0])
    np.testing.assert_allclose(single.get_ydata()[1:], curves[0][1])
    assert single.get_ydata()[0] == curves[0][1][0]
    risks = np.array([risk for _, risk in curves])
    np.testing.assert_allclose(mean.get_ydata()[1:], risks.mean(axis=0))
    areas = [100 * metrics.aurc(*run) for run in runs]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [f"HL (AURC {areas[0]:.2f})", f"LS+ (AURC {np.mean(areas):.2f})"]
    (band,) = ax.collections
    vertices = band.get_paths()[0].vertices
    at_end = vertices[vertices[:, 0] == 1][:, 1]
    assert at_end.min() == pytest.approx(risks[:, -1].min())
    assert at_end.max() == pytest.approx(risks[:, -1].max())


def test_risk_coverage_curves_of_seeds_of_other_sizes_and_many_classes():
    runs = [predictions(samples, 165, seed=1) for samples in (50, 777)]
    (line,) = plots.risk_coverage_curves({"HL": runs}).get_lines()
    errors = [1 - metrics.accuracy(*run) for run in runs]
    assert line.get_ydata()[-1] == pytest.approx(np.mean(errors))


def test_retention_curves_draw_mean_and_band_over_seeds():
    runs = [predictions(seed=seed) for seed in range(3)]
    ax = plots.retention_curves({"HL": runs[0], "LS+": runs})
    single, mean = ax.get_lines()
    fractions = single.get_xdata()
    curves = [metrics.retention_curve(*run, fractions=fractions)[1] for run in runs]
    np.testing.assert_allclose(single.get_ydata(), curves[0])
    np.testing.assert_allclose(mean.get_ydata(), np.mean(curves, axis=0))
    areas = [100 * metrics.retention_auc(*run) for run in runs]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [f"HL (R-AUC {areas[0]:.2f})", f"LS+ (R-AUC {np.mean(areas):.2f})"]
    (band,) = ax.collections
    vertices = band.get_paths()[0].vertices
    at_end = vertices[vertices[:, 0] == 1][:, 1]
    assert at_end.min() == pytest.approx(min(curve[-1] for curve in curves))
    assert at_end.max() == pytest.approx(max(curve[-1] for curve in curves))
    assert (single.get_color(), mean.get_color()) == plots.METHOD_COLOURS[:2]


def test_confidence_density_draws_both_groups():
    labels, probabilities = predictions()
    ax = plots.confidence_density(labels, probabilities)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    for container, group in zip(ax.containers, (correct, ~correct), strict=True):
        heights, edges = np.histogram(confidence[group], bins=15, density=True)
        np.testing.assert_allclose([bar.get_height() for bar in container], heights)
        np.testing.assert_allclose([bar.get_x() for bar in container], edges[:-1])
    colours = [mpl.colors.to_hex(line.get_color()) for line in ax.get_lines()]
    assert colours == ["#037804", "#aa0504"]


@pytest.mark.parametrize(
    ("rows", "labels", "bars", "lines"),
    [
        ([[0.9, 0.1], [0.7, 0.3]], [0, 0], 1, 1),  # none incorrect
        ([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4]], [0, 0, 1], 1, 2),  # one incorrect
        ([[0.9, 0.1], [0.9, 0.1], [0.8, 0.2]], [0, 0, 1], 0, 2),  # constant
        ([[0.9, 0.1], [0.8, 0.2]], [1, 1], 1, 1),  # none correct
        ([[1.0, 0.0], [np.nextafter(1, 0), 0.0]], [0, 0], 0, 1),  # constant but for rounding
    ],
)
@pytest.mark.filterwarnings("error")
def test_confidence_density_of_degenerate_groups(rows, labels, bars, lines):
    ax = plots.confidence_density(labels, rows)
    assert len(ax.containers) == bars
    assert len(ax.get_lines()) == lines
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    wrong = sum(label != 0 for label in labels)
    assert texts == [f"Correct (n = {len(labels) - wrong})", f"Incorrect (n = {wrong})"]
    ax.figure.canvas.draw()


@pytest.mark.parametrize("classes", [2, 3, 165])
def test_plain_confidence_density_has_the_same_bins_for_both_groups(classes):
    labels, probabilities = predictions(classes=classes)
    ax = plots.confidence_density(labels, probabilities, recipe="plain")
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    edges = np.linspace(1 / classes, 1, 21)
    for stairs, group in zip(ax.patches, (correct, ~correct), strict=True):
        heights, _ = np.histogram(confidence[group], edges, density=True)
        np.testing.assert_allclose(stairs.get_data().values, heights)
        np.testing.assert_allclose(stairs.get_data().edges, edges)
        assert (stairs.get_data().values * np.diff(edges)).sum() == pytest.approx(1)
    assert ax.get_xlim() == (1 / classes, 1)
    first, second = ax.patches
    assert first.get_linestyle() != second.get_linestyle()  # told apart in grey


@pytest.mark.filterwarnings("error")
def test_plain_confidence_density_of_degenerate_groups():
    rows = np.float32([[1, 0], [1, 0], [0.5, 0.5], [0.4998, 0.4998]])  # sums to 1 within 1e-3
    ax = plots.confidence_density([0, 0, 0, 0], rows, recipe="plain")
    (stairs,) = ax.patches
    heights = stairs.get_data().values
    np.testing.assert_allclose(heights[[0, -1]], 20)
    assert not heights[1:-1].any()
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["Correct (n = 4)", "Incorrect (n = 0)"]


def test_soft_label_matrix_draws_and_prints_the_values():
    matrix = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.25, 0.25, 0.5]])
    ax = plots.soft_label_matrix(matrix, ["normal", "serrated", "adenoma"])
    np.testing.assert_array_equal(ax.images[0].get_array(), matrix)
    assert {text.get_position(): text.get_text() for text in ax.texts} == {
        (column, row): f"{matrix[row, column]:.2f}" for row in range(3) for column in range(3)
    }
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["normal", "serrated", "adenoma"]
    assert ax.get_ylabel() == "True class"
    assert len(ax.figure.axes) == 2  # with the colour bar


def test_the_colours_of_a_soft_label_matrix_reach_to_the_largest_that_is_told():
    ax = plots.soft_label_matrix([[0, 0.3], [0.2, 0]], ["a", "b"], largest=0.3, label="Share")
    assert ax.images[0].get_clim() == (0, 0.3)
    assert ax.figure.axes[1].get_ylabel() == "Share"
    assert [text.get_color() for text in ax.texts] == ["black", "white", "white", "black"]


def test_soft_label_matrix_of_many_classes_prints_no_values():
    ax = plots.soft_label_matrix(np.eye(50), [str(k) for k in range(50)])
    assert not ax.texts
    assert len(ax.get_yticks()) < 50


def test_rows_without_a_sample_are_marked():
    matrix = [[0.9, 0.1], [0.5, 0.5]]
    ax = plots.soft_label_matrix(matrix, ["a", "b"], empty=[1])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b †"]
    assert "†" in ax.get_xlabel()
    (hatched,) = ax.patches
    assert hatched.get_hatch()
    assert (hatched.get_xy(), hatched.get_width(), hatched.get_height()) == ((-0.5, 0.5), 2, 1)
    plain = plots.soft_label_matrix(matrix, ["a", "b"])
    assert not plain.patches
    assert "†" not in plain.get_xlabel()


def test_training_curves_average_the_seeds_that_reached_an_epoch():
    histories = {
        "HL": [
            pd.DataFrame({"epoch": [0, 1, 2], "val_accuracy": [0.5, 0.6, 0.8], "val_loss": 1.0}),
            pd.DataFrame({"epoch": [0, 1], "val_accuracy": [0.7, np.nan], "val_loss": 2.0}),
        ],
        "LS": [{"epoch": [0, 1], "val_accuracy": [0.4, 0.5], "val_loss": [3.0, 3.0]}],
    }
    ax = plots.training_curves(histories)
    first, second = ax.get_lines()
    np.testing.assert_allclose(first.get_xdata(), [1, 2, 3])  # logs count from 0
    np.testing.assert_allclose(first.get_ydata(), [0.6, 0.6, 0.8])
    np.testing.assert_allclose(second.get_ydata(), [0.4, 0.5])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["HL", "LS"]
    (band,) = ax.collections
    vertices = band.get_paths()[0].vertices
    assert set(vertices[vertices[:, 0] == 1][:, 1]) == {0.5, 0.7}
    loss = plots.training_curves(histories, metric="val_loss")
    np.testing.assert_allclose(loss.get_lines()[0].get_ydata(), [1.5, 1.5, 1.0])
    assert loss.get_ylabel() == "Validation loss (nats)"


def confidence_history(accuracy, confidence):
    return {
        "epoch": list(range(len(accuracy))),
        "val_accuracy": accuracy,
        "val_mean_confidence": confidence,
    }


def test_confidence_against_accuracy_draws_the_gap_over_epochs():
    histories = {
        "HL": [
            confidence_history([0.5, 0.6, 0.7], [0.5, 0.9, 0.95]),
            confidence_history([0.5, 0.8], [0.7, np.nan]),
        ],
        "LS": pd.DataFrame(confidence_history([0.5, 0.6], [0.4, 0.5])),
    }
    ax = plots.confidence_against_accuracy(histories)
    calibrated, first, second = ax.get_lines()
    assert list(calibrated.get_ydata()) == [0, 0]
    np.testing.assert_allclose(first.get_xdata(), [1, 2, 3])  # logs count from 0
    np.testing.assert_allclose(first.get_ydata(), [0.1, 0.3, 0.25])
    np.testing.assert_allclose(second.get_ydata(), [-0.1, -0.1])
    (band,) = ax.collections
    vertices = band.get_paths()[0].vertices
    np.testing.assert_allclose(np.unique(vertices[vertices[:, 0] == 1][:, 1]), [0, 0.2], atol=1e-12)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["HL", "LS"]
    assert ax.get_ylabel().startswith("Validation confidence - accuracy (fraction)")


def test_confidence_against_accuracy_draws_the_path_beside_the_diagonal():
    histories = {
        "HL": [
            confidence_history([0.5, 0.6, 0.7], [0.5, 0.9, 0.95]),
            confidence_history([0.7, 0.8], [0.7, np.nan]),
        ]
    }
    ax = plots.confidence_against_accuracy(histories, view="path")
    calibrated, path, start, end = ax.get_lines()
    np.testing.assert_array_equal(*calibrated.get_data())
    np.testing.assert_allclose(path.get_xydata(), [[0.6, 0.6], [0.6, 0.9], [0.7, 0.95]])
    np.testing.assert_allclose(start.get_xydata(), [[0.6, 0.6]])
    np.testing.assert_allclose(end.get_xydata(), [[0.7, 0.95]])
    assert start.get_markerfacecolor() != end.get_markerfacecolor()
    assert ax.get_xlim() == ax.get_ylim()
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["Calibrated", "HL", "First epoch", "Last epoch"]


@pytest.mark.parametrize("view", ["gap", "path"])
@pytest.mark.parametrize("confidence", [[0.6], [np.nan]])
@pytest.mark.filterwarnings("error")
def test_confidence_against_accuracy_of_one_epoch_or_none(view, confidence):
    history = {"epoch": [3], "accuracy": [0.5], "sure": confidence}
    ax = plots.confidence_against_accuracy(
        {"HL": history}, accuracy="accuracy", confidence="sure", view=view
    )
    assert ax.get_ylabel().startswith("Training ")
    ax.figure.canvas.draw()


def test_one_epoch_has_one_tick():
    ax = plots.training_curves({"HL": {"epoch": [0], "val_accuracy": [0.5]}})
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]


@pytest.mark.parametrize(("better", "best"), [(-1, 2), (0, None), (1, 0)])
def test_metric_comparison_draws_means_spreads_and_the_best(better, best):
    names, mean, spread = ["HL", "LS", "LS+", "OLS"], [3.9, 2.5, 2.2, np.nan], [0.1, np.nan, 0.7, 1]
    ax = plots.metric_comparison(names, mean, spread, better=better, xlabel="ECE (%)")
    bars, dots, best_bars, best_dots = ax.collections
    rows = [row for row in range(4) if row != best]
    offsets = [(mean[row], row) for row in rows if row != 3]
    np.testing.assert_allclose(dots.get_offsets()[: len(offsets)], offsets)
    assert not np.isfinite(dots.get_offsets()[len(offsets) :].filled(np.nan)).any()
    half = np.nan_to_num(spread)
    drawn = [segment[:, 0] for segment in bars.get_segments() if len(segment)]
    expected = [(mean[r] - half[r], mean[r] + half[r]) for r in rows if r != 3]
    np.testing.assert_allclose([d for d in drawn if np.isfinite(d).all()], expected)
    if best is None:
        assert len(best_dots.get_offsets()) == 0
    else:
        np.testing.assert_allclose(best_dots.get_offsets(), [(mean[best], best)])
        (segment,) = best_bars.get_segments()
        np.testing.assert_allclose(
            segment[:, 0], [mean[best] - half[best], mean[best] + half[best]]
        )
        colour = mpl.colors.to_rgba(plots.METHOD_COLOURS[1])
        np.testing.assert_allclose(best_dots.get_facecolor(), [colour])
    (reference,) = ax.get_lines()
    assert set(reference.get_xdata()) == {3.9}
    assert [label.get_text() for label in ax.get_yticklabels()] == names
    assert ax.yaxis_inverted()
    assert ax.get_xlabel() == "ECE (%)"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mean", [[1.0], [np.nan]])
def test_metric_comparison_of_one_method(mean):
    plots.metric_comparison(["HL"], mean, [np.nan], better=1).figure.canvas.draw()


def test_metric_comparison_draws_runs_where_there_are_few():
    runs = [[1.0, 2.0], [3.0], np.arange(11.0)]
    ax = plots.metric_comparison(["a", "b", "c"], [1.5, 3, 5], [0, 0, 0], runs=runs, reference=None)
    (dots,) = ax.get_lines()
    assert dots.get_xdata().tolist() == [1.0, 2.0]
    assert set(np.round(dots.get_ydata())) == {0}
    line = plots.metric_comparison(["a", "b"], [1, 2], [0, 0], reference=1).get_lines()[0]
    assert set(line.get_xdata()) == {2}


def test_coverage_by_class_draws_the_tables():
    sets = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1], [1, 1, 1]], dtype=bool)
    tables = {
        "LAC": metrics.set_coverage([0, 0, 1, 1, 2], sets),
        "APS": metrics.set_coverage([0, 0, 0, 2, 2], ~sets),  # none of class 1
    }
    ax = plots.coverage_by_class(tables, error_rate=0.1)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["all", "0", "1", "2"]
    assert ax.get_lines()[-2].get_xdata() == [0.9, 0.9]
    for container, table in zip(ax.containers, tables.values(), strict=True):
        rows = table[table["by"].isin(["all", "class"])]
        assert container.lines[0].get_xdata().tolist() == rows["coverage"].tolist()
        ends = np.array([segment[:, 0] for segment in container.lines[2][0].get_segments()])
        assert ends == pytest.approx(rows[["low", "high"]].to_numpy())
    assert np.round(ax.containers[1].lines[0].get_ydata()).tolist() == [0, 1, 3]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["LAC (1.80 classes)", "APS (1.20 classes)"]


def test_metric_by_experiment_draws_each_method_beside_the_others():
    mean = {"HL": [98, 91, np.nan], "LS": [97, 92, 88]}
    spread = {"HL": [1, 2, np.nan], "LS": [np.nan, 2, 3]}
    ax = plots.metric_by_experiment(["0%", "20%", "40%"], mean, spread, ylabel="Accuracy (%)")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0%", "20%", "40%"]
    assert ax.get_ylabel() == "Accuracy (%)"
    for shown, method in zip(ax.containers, mean, strict=True):
        points, _, (bars,) = shown
        assert shown.get_label() == method
        np.testing.assert_allclose(points.get_ydata(), mean[method])
        segments = [segment for segment in bars.get_segments() if len(segment)]
        found = [(segment[1, 1] - segment[0, 1]) / 2 for segment in segments]
        expected = np.nan_to_num(spread[method])[np.isfinite(mean[method])]
        np.testing.assert_allclose(found, expected)
    (first, *_), (second, *_) = ax.containers
    # No two markers are in one place, and each is in that of its experiment.
    assert (second.get_xdata() - first.get_xdata() > 0.1).all()
    np.testing.assert_array_equal(np.round(second.get_xdata()), [0, 1, 2])


def test_metric_comparison_marks_all_that_tie():
    ax = plots.metric_comparison(["HL", "LS", "LS+"], [1, 2, 2], [0, 0, 0], better=1)
    np.testing.assert_allclose(ax.collections[-1].get_offsets(), [(2, 1), (2, 2)])


def test_each_function_draws_on_the_axes_given_and_opens_no_figure():
    labels, probabilities = predictions(20, 2)
    history = {"epoch": [0, 1], "loss": [1.0, 0.5]}
    confidences = {"HL": confidence_history([0.5, 0.6], [0.6, 0.9])}
    many = predictions(50, 20)
    calls = [
        lambda ax: plots.classwise_reliability(labels, probabilities, ax=ax),
        lambda ax: plots.classwise_reliability(*many, ax=ax),
        lambda ax: plots.risk_coverage_curves({"HL": (labels, probabilities)}, ax=ax),
        lambda ax: plots.confidence_density(labels, probabilities, recipe="plain", ax=ax),
        lambda ax: plots.confidence_against_accuracy(confidences, ax=ax),
        lambda ax: plots.confidence_against_accuracy(confidences, view="path", ax=ax),
        lambda ax: plots.reliability_diagram(labels, probabilities, ax=ax),
        lambda ax: plots.retention_curves({"HL": (labels, probabilities)}, ax=ax),
        lambda ax: plots.confidence_density(labels, probabilities, ax=ax),
        lambda ax: plots.soft_label_matrix(np.eye(2), ["a", "b"], ax=ax),
        lambda ax: plots.training_curves({"HL": [history]}, metric="loss", ax=ax),
    ]
    figure, axes = plt.subplots(1, len(calls), figsize=(44, 4))
    for call, ax in zip(calls, axes, strict=True):
        assert call(ax) is ax
        assert ax.get_ylabel()
    assert plt.get_fignums() == [figure.number]
    figure.canvas.draw()


HISTORY = confidence_history([0.5], [0.6])
ONE = ([0], [[0.8, 0.2]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: plots.soft_label_matrix(np.ones((2, 3)), ["a", "b"]),
            r"matrix: expected shape \(K, K\), received \(2, 3\)",
        ),
        (
            lambda: plots.soft_label_matrix([[np.nan, 1], [0, 1]], ["a", "b"]),
            r"matrix: expected numbers in \[0, 1\]",
        ),
        (
            lambda: plots.soft_label_matrix(np.eye(2), ["a"]),
            "class_names: expected 2 names, received 1",
        ),
        (
            lambda: plots.soft_label_matrix(np.eye(2), ["a", "b"], largest=0),
            "largest: expected a number > 0, received 0",
        ),
        (lambda: plots.retention_curves({"HL": []}), "predictions: .*'HL', received none"),
        (lambda: plots.risk_coverage_curves({"HL": []}), "predictions: .*'HL', received none"),
        (lambda: plots.risk_coverage_curves({}), "predictions: expected .*, received none"),
        (lambda: plots.risk_coverage_curves(ONE), "predictions: expected a mapping.*tuple"),
        (
            lambda: plots.risk_coverage_curves({"HL": [np.eye(2), np.eye(2)[0]]}),
            r"predictions: expected .* or a pair \(labels, probabilities\) .*received a ndarray",
        ),
        (lambda: plots.training_curves({"HL": []}), "histories: .*'HL', received none"),
        (lambda: plots.training_curves({}), "histories: expected .*, received none"),
        (lambda: plots.training_curves([HISTORY]), "histories: expected a mapping.*list"),
        (
            lambda: plots.training_curves({"HL": [{"epoch": [0], "loss": [1.0]}]}),
            "histories: .*'val_accuracy'.*'HL', received epoch, loss",
        ),
        (
            lambda: plots.confidence_against_accuracy({"HL": HISTORY}, confidence="sure"),
            "histories: .*'sure'.*'HL', received epoch, val_accuracy, val_mean_confidence",
        ),
        (
            lambda: plots.confidence_against_accuracy({"HL": confidence_history([50.0], [0.6])}),
            r"histories: expected .*\[0, 1\] in column 'val_accuracy' of 'HL', received 50",
        ),
        (
            lambda: plots.confidence_against_accuracy({"HL": HISTORY}, view="both"),
            "view: expected 'gap' or 'path', received 'both'",
        ),
        (lambda: plots.reliability_diagram([2], [[0.8, 0.2]]), "labels: "),
        (
            lambda: plots.reliability_diagram(runs_of_a_method(2), bins="mass"),
            "bins: expected 'width' for several runs, .*received 'mass'",
        ),
        (
            lambda: plots.reliability_diagram(runs_of_a_method(2), sample_weight=[1.0]),
            "sample_weight: expected none",
        ),
        (
            lambda: plots.soft_label_matrix(np.eye(2), ["a", "b"], empty=[2]),
            "empty: expected rows in 0..1, received 2",
        ),
        (
            lambda: plots.metric_comparison(["a"], [1], [0], runs=[]),
            "runs: expected 1, one per name, received 0",
        ),
        (
            lambda: plots.metric_comparison(["a"], [1], [0], reference=1),
            "reference: expected 0..0 or None, received 1",
        ),
        (lambda: plots.reliability_diagram(*ONE, num_bins=0), "num_bins: "),
        (lambda: plots.reliability_diagram(*ONE, interval=95), "interval: .*, received 95"),
        (lambda: plots.reliability_diagram(*ONE, interval=np.nan), "interval: .*, received nan"),
        (lambda: plots.reliability_diagram(*ONE, interval="95%"), "interval: .*, received '95%'"),
        (lambda: plots.classwise_reliability([0], [[1.2, -0.2]]), "probabilities: "),
        (lambda: plots.classwise_reliability(*ONE, num_bins=0.5), "num_bins: .*, received 0.5"),
        (lambda: plots.classwise_reliability(*ONE, interval=0), "interval: .*, received 0"),
        (
            lambda: plots.classwise_reliability(*ONE, class_names=["a"]),
            "class_names: expected 2 names, received 1",
        ),
        (
            lambda: plots.confidence_density(*ONE, recipe="kde"),
            "recipe: expected 'paper' or 'plain', received 'kde'",
        ),
        (
            lambda: plots.metric_comparison(["HL"], [1, 2], [1]),
            r"mean, spread: expected shape \(1,\), .*received \(2,\) and \(1,\)",
        ),
        (lambda: plots.metric_comparison([], [], []), "names: .*, received none"),
        (lambda: plots.metric_by_experiment([], {}, {}), "experiments: .*, received none"),
        (lambda: plots.metric_by_experiment(["a"], {}, {}), "mean: .*, received none"),
        (
            lambda: plots.metric_by_experiment(["a"], {"HL": [1]}, {"LS": [1]}),
            "spread: expected that of HL, received LS",
        ),
        (
            lambda: plots.metric_by_experiment(["a"], {"HL": [1, 2]}, {"HL": [1, 2]}),
            r"mean, spread: expected shape \(1,\) of 'HL', .*received \(2,\) and \(2,\)",
        ),
        (
            lambda: plots.metric_by_experiment(["a"], {"HL": [1]}, {"HL": [-1]}),
            "spread: .*, received -1",
        ),
        (lambda: plots.coverage_by_class({}), "tables: .*, received none"),
        (lambda: plots.coverage_by_class({"LAC": [1]}), "tables: .*, received a list"),
        (
            lambda: plots.coverage_by_class(
                {"LAC": metrics.set_coverage([0], [[True, False]], by="all")}
            ),
            "tables: expected rows by all and by class for 'LAC'",
        ),
        (lambda: plots.metric_comparison(["HL"], [1], [-1]), "spread: .*, received -1"),
        (lambda: plots.metric_comparison(["HL"], [1], [1], better=2), "better: .*, received 2"),
    ],
)
def test_bad_input_is_named_and_opens_no_figure(call, message):
    with pytest.raises(InputError, match=message):
        call()
    assert not plt.get_fignums()
