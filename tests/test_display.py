"""`ReliabilityDisplay`: scikit-learn's names for the reliability diagram."""

from __future__ import annotations

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.calibration import CalibrationDisplay, calibration_curve

import lsplus_tf as lsp
from lsplus_tf.errors import InputError
from lsplus_tf.plots import ReliabilityDisplay

RNG = np.random.default_rng(0)
SCORES = RNG.random(500)
LABELS = (RNG.random(500) < SCORES**2).astype(int)
ROWS = np.stack([1 - SCORES, SCORES], axis=1)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize(("bins", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_its_points_are_scikit_learns_of_the_predicted_class(bins: str, strategy: str):
    display = ReliabilityDisplay.from_predictions(LABELS, ROWS, num_bins=10, bins=bins)
    hit, confidence = ROWS.argmax(axis=1) == LABELS, ROWS.max(axis=1)
    expected = calibration_curve(hit, confidence, n_bins=10, strategy=strategy)
    np.testing.assert_allclose((display.prob_true, display.prob_pred), expected, rtol=1e-12)
    heights = [bar.get_height() for bar in display.ax_.containers[0]]
    np.testing.assert_allclose(heights, display.prob_true)


@pytest.mark.parametrize(
    "given",
    [(LABELS, SCORES), (LABELS.tolist(), ROWS.tolist()), (lsp.Predictions(LABELS, ROWS),)],
    ids=["one column", "lists", "predictions"],
)
def test_it_takes_what_users_have(given):
    display = ReliabilityDisplay.from_predictions(*given, name="mine")
    expected = ReliabilityDisplay.from_predictions(LABELS, ROWS)
    np.testing.assert_array_equal(display.prob_pred, expected.prob_pred)
    assert display.ax_.get_title() == "mine"
    assert display.figure_ is display.ax_.figure


def test_it_draws_on_given_axes_again_and_again():
    display = ReliabilityDisplay.from_predictions(LABELS, ROWS, name="mine")
    first = display.ax_
    _, axes = plt.subplots()
    assert display.plot(ax=axes, name="yours") is display
    assert display.ax_ is axes is not first
    assert (axes.get_title(), first.get_title(), display.name) == ("yours", "mine", "mine")


def test_its_names_are_scikit_learns():
    theirs = set(inspect.signature(CalibrationDisplay.from_predictions).parameters)
    ours = set(inspect.signature(ReliabilityDisplay.from_predictions).parameters)
    assert {"y_true", "y_prob", "name", "ax"} <= theirs & ours
    drawn = vars(CalibrationDisplay.from_predictions(LABELS, SCORES))
    names = {"prob_true", "prob_pred", "ax_", "figure_"}
    assert names <= drawn.keys()
    assert names <= vars(ReliabilityDisplay.from_predictions(LABELS, ROWS)).keys()


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ((LABELS, ROWS), {"bins": "quantile"}, "bins: expected"),
        ((LABELS, ROWS), {"interval": 1.5}, "interval: expected"),
        ((LABELS, 2 * ROWS), {}, "y_prob: "),
        ((LABELS,), {}, "y_prob: expected"),
        ((LABELS, SCORES + 1), {}, "y_prob: "),
    ],
)
def test_what_is_wrong_is_said(given, options, said):
    with pytest.raises(InputError, match=f"^{said}"):
        ReliabilityDisplay.from_predictions(*given, **options)
