"""What each figure draws, read back from its artists."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

mpl.use("agg")
import matplotlib.pyplot as plt

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
    return softmax(logits, axis=1), labels


def test_reliability_diagram_draws_the_bins():
    probabilities, labels = predictions()
    ax = plots.reliability_diagram(probabilities, labels, num_bins=10, title="HL")
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
    ece = metrics.expected_calibration_error(probabilities, labels, num_bins=10)
    assert f"ECE {ece:.1%}" in ax.texts[0].get_text()
    assert ax.get_title() == "HL"
    assert ax.get_aspect() == 1


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
    probabilities, labels = predictions()
    ax = plots.confidence_density(probabilities, labels)
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
    ax = plots.confidence_density(rows, labels)
    assert len(ax.containers) == bars
    assert len(ax.get_lines()) == lines
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    wrong = sum(label != 0 for label in labels)
    assert texts == [f"Correct (n = {len(labels) - wrong})", f"Incorrect (n = {wrong})"]
    ax.figure.canvas.draw()


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


def test_soft_label_matrix_of_many_classes_prints_no_values():
    ax = plots.soft_label_matrix(np.eye(50), [str(k) for k in range(50)])
    assert not ax.texts
    assert len(ax.get_yticks()) < 50


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
    np.testing.assert_allclose(first.get_xdata(), [0, 1, 2])
    np.testing.assert_allclose(first.get_ydata(), [0.6, 0.6, 0.8])
    np.testing.assert_allclose(second.get_ydata(), [0.4, 0.5])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["HL", "LS"]
    (band,) = ax.collections
    vertices = band.get_paths()[0].vertices
    assert set(vertices[vertices[:, 0] == 0][:, 1]) == {0.5, 0.7}
    loss = plots.training_curves(histories, metric="val_loss")
    np.testing.assert_allclose(loss.get_lines()[0].get_ydata(), [1.5, 1.5, 1.0])
    assert loss.get_ylabel() == "Validation loss (nats)"


def test_each_function_draws_on_the_axes_given_and_opens_no_figure():
    probabilities, labels = predictions(20, 2)
    history = {"epoch": [0, 1], "loss": [1.0, 0.5]}
    calls = [
        lambda ax: plots.reliability_diagram(probabilities, labels, ax=ax),
        lambda ax: plots.retention_curves({"HL": (probabilities, labels)}, ax=ax),
        lambda ax: plots.confidence_density(probabilities, labels, ax=ax),
        lambda ax: plots.soft_label_matrix(np.eye(2), ["a", "b"], ax=ax),
        lambda ax: plots.training_curves({"HL": [history]}, metric="loss", ax=ax),
    ]
    figure, axes = plt.subplots(1, len(calls), figsize=(20, 4))
    for call, ax in zip(calls, axes, strict=True):
        assert call(ax) is ax
        assert ax.get_ylabel()
    assert plt.get_fignums() == [figure.number]
    figure.canvas.draw()


def test_bad_input():
    with pytest.raises(InputError, match=r"matrix: expected shape \(K, K\), received \(2, 3\)"):
        plots.soft_label_matrix(np.ones((2, 3)), ["a", "b"])
    with pytest.raises(InputError, match=r"matrix: expected numbers in \[0, 1\]"):
        plots.soft_label_matrix([[np.nan, 1], [0, 1]], ["a", "b"])
    with pytest.raises(InputError, match="class_names: expected 2 names, received 1"):
        plots.soft_label_matrix(np.eye(2), ["a"])
    with pytest.raises(InputError, match=r"predictions: .*'HL', received none"):
        plots.retention_curves({"HL": []})
    with pytest.raises(InputError, match=r"histories: .*'HL', received none"):
        plots.training_curves({"HL": []})
    with pytest.raises(
        InputError, match=r"histories: .*'val_accuracy'.*'HL', received epoch, loss"
    ):
        plots.training_curves({"HL": [{"epoch": [0], "loss": [1.0]}]})
    with pytest.raises(InputError, match="labels: "):
        plots.reliability_diagram([[0.8, 0.2]], [2])
    with pytest.raises(InputError, match="num_bins: "):
        plots.reliability_diagram([[0.8, 0.2]], [0], num_bins=0)
