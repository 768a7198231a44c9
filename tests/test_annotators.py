"""Metrics against votes: one vote each is the plain metric, and slow restatements."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy

from lsplus_tf import metrics
from lsplus_tf.errors import InputError

FUNCTIONS = (
    metrics.annotator_cross_entropy,
    metrics.annotator_brier_score,
    metrics.annotator_calibration_error,
    metrics.annotator_static_calibration_error,
)


def random_votes(samples, classes, seed=0, annotators=5):
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(scale=2, size=(samples, classes)), axis=1)
    votes = rng.multinomial(annotators, softmax(rng.normal(size=classes)), size=samples)
    return votes, probabilities


def test_votes_that_agree_are_labels():
    _, probabilities = random_votes(120, 4)
    labels = np.random.default_rng(1).integers(4, size=120)
    votes = 3 * np.eye(4, dtype=int)[labels]
    assert metrics.annotator_cross_entropy(votes, probabilities) == pytest.approx(
        metrics.negative_log_likelihood(labels, probabilities)
    )
    for scale in ("sum", "half", "mean"):
        assert metrics.annotator_brier_score(votes, probabilities, scale=scale) == pytest.approx(
            metrics.brier_score(labels, probabilities, scale=scale)
        )
    for options in (
        {},
        {"binning": "equal_mass", "norm": 2},
        {"num_bins": 4, "closed": "left", "norm": "max"},
    ):
        error = metrics.annotator_calibration_error(votes, probabilities, **options)
        plain = metrics.expected_calibration_error(labels, probabilities, **options)
        assert error == pytest.approx(plain, abs=1e-12)
    for static_options in ({}, {"num_bins": 4, "closed": "left"}):
        error = metrics.annotator_static_calibration_error(votes, probabilities, **static_options)
        plain = metrics.static_calibration_error(labels, probabilities, **static_options)
        assert error == pytest.approx(plain, abs=1e-12)


def test_static_error_equals_a_loop_over_classes_and_bins():
    votes, probabilities = random_votes(200, 3)
    shares, errors = votes / votes.sum(1, keepdims=True), []
    for p, v in zip(probabilities.T, shares.T, strict=True):
        bins = np.ceil(p * 15)
        errors.append(sum(abs((p - v)[bins == b].sum()) for b in range(1, 16)) / 200)
    error = metrics.annotator_static_calibration_error(votes, probabilities)
    assert error == pytest.approx(np.mean(errors), abs=1e-12)


def test_values_equal_the_expectation_over_annotators():
    votes, probabilities = random_votes(60, 3)
    shares = votes / votes.sum(1, keepdims=True)
    cross_entropy = brier = 0.0
    for p, v in zip(probabilities, shares, strict=True):
        for k in range(3):
            cross_entropy -= v[k] * np.log(p[k]) / 60
            brier += v[k] * np.square(p - np.eye(3)[k]).sum() / 60
    assert metrics.annotator_cross_entropy(votes, probabilities) == pytest.approx(cross_entropy)
    disagreement = 1 - np.square(shares).sum(1).mean()
    score = metrics.annotator_brier_score(votes, probabilities)
    assert score == pytest.approx(brier - disagreement)


def test_the_votes_themselves_are_the_best_prediction():
    votes, _ = random_votes(80, 4)
    shares = votes / votes.sum(1, keepdims=True)
    lowest = entropy(shares, axis=1).mean()
    assert metrics.annotator_cross_entropy(votes, shares) == pytest.approx(lowest)
    assert metrics.annotator_brier_score(votes, shares) == pytest.approx(0, abs=1e-15)
    for binning in ("equal_width", "equal_mass"):
        error = metrics.annotator_calibration_error(votes, shares, binning=binning)
        assert error == pytest.approx(0, abs=1e-12)


def test_calibration_error_equals_a_loop():
    votes, probabilities = random_votes(100, 3)
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    agreement = votes[np.arange(100), predicted] / votes.sum(1)
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence > low) & (confidence <= low + 0.1)
        expected += abs(np.sum(confidence[inside] - agreement[inside])) / 100
    error = metrics.annotator_calibration_error(votes, probabilities, num_bins=10)
    assert error == pytest.approx(expected, abs=1e-12)


def test_certain_and_wrong_predictions_are_finite():
    value = metrics.annotator_cross_entropy([[0, 2]], [[1.0, 0.0]])
    assert value == pytest.approx(708.396, abs=1e-3)
    assert metrics.annotator_cross_entropy([[2, 0]], [[1.0, 0.0]]) == 0
    assert metrics.annotator_brier_score([[0, 2]], [[1.0, 0.0]]) == 2
    assert metrics.annotator_calibration_error([[0, 2]], [[1.0, 0.0]]) == 1


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_properties(samples, classes, seed, annotators):
    votes, probabilities = random_votes(samples, classes, seed, annotators)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(samples), rng.permutation(classes)
    weights = rng.uniform(0.5, 20, size=(samples, 1))
    for function in FUNCTIONS:
        value = function(votes, probabilities)
        assert type(value) is float
        assert 0 <= value <= {"annotator_brier_score": 2}.get(function.__name__, 708.4)
        # Only shares count, and neither the order of samples nor the names of classes.
        assert function(votes * weights, probabilities) == pytest.approx(value, abs=1e-9)
        assert function(votes[rows], probabilities[rows]) == pytest.approx(value, abs=1e-9)
        renamed = function(votes[:, columns], probabilities[:, columns])
        assert renamed == pytest.approx(value, abs=1e-9)


def test_many_rows_are_worked_on_in_blocks_without_a_seam(monkeypatch):
    arguments = random_votes(101, 7)
    whole = [function(*arguments) for function in FUNCTIONS]
    monkeypatch.setattr("lsplus_tf.predictions.arrays._BLOCK", 50)
    assert [function(*arguments) for function in FUNCTIONS] == pytest.approx(whole, abs=1e-12)


GOOD = np.array([[0.8, 0.2], [0.3, 0.7]])


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("probabilities", "votes", "message"),
    [
        (GOOD, [[1, 0], [0, 0]], "votes: expected a vote in every row, received .* at row 1"),
        (GOOD, [[1, 0], [2, -1]], "votes: expected no negative numbers, .* at row 1"),
        (
            GOOD,
            [[1, 0], [np.nan, 1]],
            "votes: expected a finite number .*, .*nan.* at row 1",
        ),
        (
            GOOD,
            [[1, 0], [np.inf, 1]],
            "votes: expected a finite number .*, .*inf.* at row 1",
        ),
        (GOOD, [0, 1], r"votes: expected shape \(2, 2\).*received \(2,\)"),
        (GOOD, [[1, 0, 0], [0, 1, 0]], r"votes: expected shape \(2, 2\).*received \(2, 3\)"),
        (GOOD, [["1", "0"], ["1", "0"]], "votes: expected real numbers, received dtype"),
        ([[0.8, 0.2], [0.7, 0.7]], [[1, 0], [0, 1]], "probabilities: .*sum to 1.* at row 1"),
        (GOOD[:0], np.zeros((0, 2)), "probabilities: expected at least one row"),
        (GOOD[:, :1], [[1], [1]], "probabilities: .*of two classes"),
    ],
)
def test_bad_input_is_named(function, probabilities, votes, message):
    with pytest.raises(InputError, match=message) as caught:
        function(votes, probabilities)
    assert "\n" not in str(caught.value)


def test_bad_options_are_named():
    votes = [[1, 0], [0, 1]]
    for option, value in (
        ("num_bins", 0),
        ("binning", "x"),
        ("closed", "x"),
        ("norm", 0.5),
    ):
        with pytest.raises(InputError, match=f"{option}: .*received {value!r}"):
            metrics.annotator_calibration_error(votes, GOOD, **{option: value})
    with pytest.raises(InputError, match=r"scale: .*received 'x'"):
        metrics.annotator_brier_score(votes, GOOD, scale="x")
