"""Metrics against the exact posterior: direct formulas, and what must hold of the truth itself."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from lsplus_tf import metrics, plots
from lsplus_tf.errors import InputError

FUNCTIONS = (
    metrics.true_accuracy,
    metrics.true_calibration_error,
    metrics.true_static_calibration_error,
    metrics.excess_log_loss,
    metrics.total_variation,
)


def random_truth(samples, classes, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(samples, classes))
    posterior = softmax(logits + rng.normal(scale=1, size=(samples, classes)), axis=1)
    return logits, posterior


def drawn_labels(posterior, rng):
    return (posterior.cumsum(axis=1) < rng.random((len(posterior), 1))).sum(axis=1)


def test_values_equal_plain_loops():
    logits, posterior = random_truth(150, 4)
    probabilities = softmax(logits, axis=1)
    right = kl = distance = 0.0
    top = [[] for _ in range(15)]
    static = [[[] for _ in range(15)] for _ in range(4)]
    for p, q in zip(probabilities.tolist(), posterior.tolist(), strict=True):
        k = p.index(max(p))
        right += q[k] / 150
        kl += sum(b * math.log(b / a) for a, b in zip(p, q, strict=True)) / 150
        distance += sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2 / 150
        top[math.ceil(p[k] * 15) - 1].append(p[k] - q[k])
        for j in range(4):
            static[j][math.ceil(p[j] * 15) - 1].append(p[j] - q[j])
    assert metrics.true_accuracy(posterior, probabilities) == pytest.approx(right, abs=1e-12)
    assert metrics.excess_log_loss(posterior, probabilities) == pytest.approx(kl, abs=1e-12)
    assert metrics.total_variation(posterior, probabilities) == pytest.approx(distance, abs=1e-12)
    assert metrics.true_calibration_error(posterior, probabilities) == pytest.approx(
        sum(abs(sum(gaps)) for gaps in top) / 150, abs=1e-12
    )
    assert metrics.true_static_calibration_error(posterior, probabilities) == pytest.approx(
        sum(abs(sum(gaps)) for bins in static for gaps in bins) / (150 * 4), abs=1e-12
    )


def test_the_truth_is_without_error():
    _, posterior = random_truth(200, 5)
    for function in FUNCTIONS[1:]:
        assert function(posterior, posterior) == pytest.approx(0, abs=1e-15)
        assert function(posterior, np.log(posterior), from_logits=True) == pytest.approx(
            0, abs=1e-14
        )
    assert metrics.true_accuracy(posterior, posterior) == pytest.approx(posterior.max(1).mean())
    assert metrics.true_calibration_error(posterior, posterior[:, ::-1]) > 0.1


def test_a_posterior_of_zeros_and_ones_is_labels():
    logits, _ = random_truth(120, 3)
    probabilities, labels = softmax(logits, axis=1), np.arange(120) % 3
    certain = np.eye(3)[labels]
    pairs = {
        metrics.true_accuracy: metrics.accuracy,
        metrics.true_calibration_error: metrics.expected_calibration_error,
        metrics.true_static_calibration_error: metrics.static_calibration_error,
        metrics.excess_log_loss: metrics.negative_log_likelihood,
    }
    for exact, plain in pairs.items():
        assert exact(certain, probabilities) == pytest.approx(plain(labels, probabilities))
    assert metrics.excess_log_loss([[0.0, 1.0]], [[1.0, 0.0]]) == pytest.approx(708.396, abs=1e-3)


def test_they_are_the_expectation_over_labels():
    logits, posterior = random_truth(400, 3)
    probabilities, rng = softmax(logits, axis=1), np.random.default_rng(1)
    draws = [drawn_labels(posterior, rng) for _ in range(400)]

    def over_draws(metric):
        values = np.array([metric(labels, probabilities) for labels in draws])
        return values.mean(), 5 * values.std(ddof=1) / np.sqrt(len(draws))

    mean, tolerance = over_draws(metrics.accuracy)
    assert mean == pytest.approx(metrics.true_accuracy(posterior, probabilities), abs=tolerance)
    mean, tolerance = over_draws(metrics.negative_log_likelihood)
    entropy = -(posterior * np.log(posterior)).sum(axis=1).mean()
    excess = metrics.excess_log_loss(posterior, probabilities)
    assert mean - entropy == pytest.approx(excess, abs=tolerance)
    # The size of a gap is convex, so that the noise of labels can only add to its expectation.
    mean, tolerance = over_draws(metrics.expected_calibration_error)
    assert mean > metrics.true_calibration_error(posterior, probabilities) + tolerance


@pytest.mark.parametrize("correct_only", [False, True])
def test_class_confusion_is_the_mean_posterior_of_a_class(correct_only):
    _, posterior = random_truth(3000, 3, seed=2)
    confusion = metrics.true_class_confusion(posterior, correct_only=correct_only)
    np.testing.assert_allclose(confusion.sum(axis=1), 1, atol=1e-12)
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(200):
        labels = drawn_labels(posterior, rng)
        counted = labels == posterior.argmax(axis=1) if correct_only else labels >= 0
        drawn.append([posterior[counted & (labels == k)].mean(axis=0) for k in range(3)])
    error = np.std(drawn, axis=0, ddof=1) / np.sqrt(200)
    assert (np.abs(np.mean(drawn, axis=0) - confusion) < 5 * error + 1e-4).all()


def test_class_confusion_by_hand():
    posterior = [[0.6, 0.4, 0.0], [0.2, 0.8, 0.0]]
    both = metrics.true_class_confusion(posterior)
    np.testing.assert_allclose(both[0], [(0.36 + 0.04) / 0.8, (0.24 + 0.16) / 0.8, 0])
    np.testing.assert_allclose(both[1], [(0.24 + 0.16) / 1.2, (0.16 + 0.64) / 1.2, 0])
    assert np.isnan(both[2]).all()  # of which there is no image
    correct = metrics.true_class_confusion(posterior, correct_only=True)
    np.testing.assert_allclose(correct[:2], posterior)
    assert np.isnan(correct[2]).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_properties(samples, classes, seed):
    logits, posterior = random_truth(samples, classes, seed)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(samples), rng.permutation(classes)
    highest = posterior.max(axis=1).mean()
    variation = metrics.total_variation(posterior, logits, from_logits=True)
    excess = metrics.excess_log_loss(posterior, logits, from_logits=True)
    top_label = metrics.true_calibration_error(posterior, logits, from_logits=True)
    assert variation <= math.sqrt(excess / 2) + 1e-12  # Pinsker and Jensen
    assert top_label <= variation + 1e-12
    assert metrics.true_accuracy(posterior, logits, from_logits=True) <= highest + 1e-12
    for function in FUNCTIONS:
        value = function(posterior, logits, from_logits=True)
        assert type(value) is float
        assert value >= 0
        assert function(posterior, softmax(logits, axis=1)) == pytest.approx(value, abs=1e-12)
        shuffled = function(posterior[rows][:, columns], logits[rows][:, columns], from_logits=True)
        assert shuffled == pytest.approx(value, abs=1e-12)


def test_float32_predictions_are_measured_in_float64():
    _, posterior = random_truth(500, 6)
    rounded = posterior.astype(np.float32)
    assert 0 <= metrics.excess_log_loss(posterior, rounded) < 1e-12
    assert metrics.total_variation(posterior, rounded) < 1e-7


@pytest.mark.parametrize(
    ("posterior", "message"),
    [
        ([[0.5, 0.5]], r"posterior: expected shape \(2, 2\), .* received \(1, 2\)"),
        ([["a", "b"], ["a", "b"]], "posterior: expected real numbers"),
        (
            [[0.5, 0.5], [np.nan, 1]],
            "posterior: expected a finite number .*, .* at row 1",
        ),
        ([[0.5, 0.5], [-0.5, 1.5]], "posterior: expected no negative numbers, .* at row 1"),
        ([[0.5, 0.5], [0.5, 0.50001]], r"posterior: expected rows that sum to 1 .* at row 1"),
    ],
)
def test_a_posterior_that_is_none_is_refused(posterior, message):
    for function in FUNCTIONS:
        with pytest.raises(InputError, match=message):
            function(posterior, [[0.5, 0.5], [0.5, 0.5]])


def test_options_are_those_of_the_ece():
    logits, posterior = random_truth(100, 3)
    probabilities = softmax(logits, axis=1)
    largest = metrics.true_calibration_error(posterior, probabilities, num_bins=10, norm="max")
    plain = metrics.true_calibration_error(posterior, probabilities, num_bins=10)
    whole = metrics.true_calibration_error(posterior, probabilities, num_bins=1)
    assert largest > plain > whole
    right = metrics.true_accuracy(posterior, probabilities)
    assert whole == pytest.approx(abs(probabilities.max(axis=1).mean() - right))
    with pytest.raises(InputError, match="binning"):
        metrics.true_calibration_error(posterior, probabilities, binning="even")
    with pytest.raises(InputError, match="correct_only"):
        metrics.true_class_confusion(posterior, correct_only="yes")


def test_the_reliability_figure_shows_the_means_of_bins():
    logits, posterior = random_truth(300, 3)
    probabilities = softmax(logits, axis=1)
    ax = plots.true_reliability({"HL": [(posterior, probabilities)]}, num_bins=5)
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    exact, points = posterior[np.arange(300), predicted], []
    for low in np.arange(5) / 5:
        inside = (confidence > low) & (confidence <= low + 0.2)
        if inside.any():
            points.append([confidence[inside].mean(), exact[inside].mean()])
    np.testing.assert_allclose(ax.get_lines()[1].get_xydata(), points)
    plt.close(ax.figure)
    with pytest.raises(InputError, match="at least one method"):
        plots.true_reliability({})
