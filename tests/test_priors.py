"""Class accuracies and priors against scikit-learn and their formulas by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score

from lsplus_tf.errors import InputError
from lsplus_tf.priors import (
    check_prior,
    class_accuracy,
    class_counts,
    doubtful_estimates,
    informed_prior,
    shrink_class_accuracy,
    uniform_prior,
)


@settings(max_examples=60, deadline=None)
@given(num_classes=st.integers(2, 7), extra=st.integers(0, 40), seed=st.integers(0, 2**16))
def test_class_accuracy_is_scikit_learns_recall(num_classes, extra, seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, extra)])
    rng.shuffle(labels)
    logits = rng.normal(size=(len(labels), num_classes))
    expected = recall_score(labels, logits.argmax(axis=1), average=None, zero_division=0)
    np.testing.assert_allclose(class_accuracy(labels, logits, num_classes), expected)
    np.testing.assert_allclose(class_accuracy(labels, logits.argmax(axis=1), num_classes), expected)


def test_class_accuracy_of_a_class_never_predicted_right_is_0():
    assert class_accuracy([0, 0, 1, 2], [0, 0, 2, 2], 3).tolist() == [1, 0, 1]


def test_class_counts():
    assert class_counts(np.array([3, 0, 3], np.uint8), 5).tolist() == [1, 0, 0, 2, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_one_hot_labels_beside_scores(dtype):
    labels = np.array([0, 1, 2, 1, 0])
    scores = np.random.default_rng(0).normal(size=(5, 3))
    rows = np.eye(3, dtype=dtype)[labels]
    np.testing.assert_array_equal(class_counts(rows, 3), [2, 2, 1])
    np.testing.assert_array_equal(
        class_accuracy(rows, scores, 3), class_accuracy(labels, scores, 3)
    )
    with pytest.raises(InputError, match="labels: expected shape"):
        class_accuracy(np.eye(3)[labels] * 0.9, scores, 3)


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 1, 2], [0, 1, 1], r"labels: expected class ids in 0\.\.1, received 2 at index 2"),
        ([0, -1], [0, 1], "labels: expected class ids .* received -1 at index 1"),
        ([0, 1], [0, 2], "predictions: expected class ids .* received 2 at index 1"),
        ([0.0, 1.0], [0, 1], "labels: expected integer class ids, received dtype float64"),
        ([0, 1], [0.1, 0.9], "predictions: expected integer class ids, received dtype float64"),
        ([], [], "labels: expected shape .* received shape .0,."),
        ([[0, 1]], [0, 1], "labels: expected shape"),
        ([0, 1], [0, 1, 1], "predictions: expected 2 entries, one per label, received 3"),
        (np.eye(2), [0, 1], r"labels: expected a class for each sample, .* exchange the two"),
        ([0, 1], np.zeros((2, 3)), r"predictions: expected .*\(2, 2\), received shape \(2, 3\)"),
        ([0, 1], np.zeros((3, 2)), r"predictions: expected .*\(2, 2\), received shape \(3, 2\)"),
        ([0, 1], [[0, 1], [np.nan, 0]], "predictions: expected finite values, .* in row 1"),
        ([0, 0], [0, 1], r"labels: expected samples of every class, found none of \[1\]"),
    ],
)
def test_class_accuracy_refuses(labels, predictions, message):
    with pytest.raises(InputError, match=message):
        class_accuracy(labels, predictions, 2)


# --- the prior ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:the class accuracies behind the prior")
@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_informed_prior_is_equation_3(values):
    prior = informed_prior(values)
    num_classes = len(values)
    for k, v in enumerate(values):
        row = [(1 - v) / (num_classes - 1)] * num_classes
        row[k] = v
        np.testing.assert_allclose(prior[k], row, rtol=1e-12)
    np.testing.assert_allclose(prior.sum(axis=1), 1, rtol=1e-12)
    assert prior.dtype == np.float64
    check_prior(prior)


def test_at_chance_the_informed_prior_is_the_uniform_one():
    np.testing.assert_allclose(informed_prior([0.25] * 4), uniform_prior(4))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, 1.1], r"values in \[0, 1\], received 1.1 for class 1"),
        ([-0.1, 0.5], "received -0.1 for class 0"),
        ([0.5, float("nan")], "received nan for class 1"),
        ([0.5], r"shape \(K,\) with K >= 2, received shape \(1,\)"),
        ([[0.5, 0.5]], r"received shape \(1, 2\)"),
        (0.5, "received shape"),
        (["good", "bad"], "expected numbers, received"),
        (None, "class_accuracy: expected"),
    ],
)
def test_class_accuracies_that_are_none(values, message):
    for function in (
        informed_prior,
        lambda v: shrink_class_accuracy(v, [1, 1], 1),
        lambda v: doubtful_estimates(v, [1, 1]),
    ):
        with pytest.raises(InputError, match=message):
            function(values)


def test_uniform_prior_needs_two_classes():
    np.testing.assert_array_equal(uniform_prior(4), np.full((4, 4), 0.25))
    with pytest.raises(InputError, match=r"num_classes: .* at least 2, received 1"):
        uniform_prior(1)


def test_the_callers_array_is_not_touched():
    given_values = np.array([0.2, 0.7])
    informed_prior(given_values)
    shrink_class_accuracy(given_values, [3, 4], 0)[0] = 9
    assert given_values.tolist() == [0.2, 0.7]


def test_check_prior_tolerates_rounding_and_copies():
    rounded = np.array([[1 / 3] * 3] * 3, np.float32)
    checked = check_prior(rounded)
    assert checked.dtype == np.float64
    checked[0, 0] = 9
    assert rounded[0, 0] < 1
    with pytest.raises(InputError, match=r"received 1\.001 in row 1"):
        check_prior([[0.5, 0.5], [0.501, 0.5]])


# --- few samples ----------------------------------------------------------------------------------


def test_shrinkage_by_hand():
    """Class 0: 6 of 8 right; class 1: 2 of 2; together 8 of 10. Strength 4 adds 3.2 of 4."""
    shrunk = shrink_class_accuracy([6 / 8, 1.0], [8, 2], strength=4)
    np.testing.assert_allclose(shrunk, [(6 + 3.2) / 12, (2 + 3.2) / 6])


def test_shrinkage_0_changes_nothing_and_much_gives_the_overall_accuracy():
    values, counts = [0.2, 0.9, 1.0], [10, 20, 2]
    np.testing.assert_array_equal(shrink_class_accuracy(values, counts, 0), values)
    overall = (2 + 18 + 2) / 32
    np.testing.assert_allclose(shrink_class_accuracy(values, counts, 1e12), overall)


def test_shrinkage_gives_a_class_without_samples_the_overall_accuracy():
    np.testing.assert_allclose(shrink_class_accuracy([0.0, 0.5], [0, 10], 2)[0], 0.5)


@pytest.mark.parametrize(
    ("counts", "strength", "message"),
    [
        ([1], 1, "counts: expected 2 numbers"),
        ([1, -1], 1, "counts: expected 2 numbers"),
        ([0, 0], 1, "not all 0"),
        ([1, float("nan")], 1, "counts: expected 2 numbers"),
        ([1, 1], -1, "strength: expected a number >= 0, received -1"),
        ([1, 1], float("nan"), "strength: expected .* received nan"),
        ([1, 1], float("inf"), "strength: expected .* received inf"),
    ],
)
def test_shrinkage_refuses(counts, strength, message):
    with pytest.raises(InputError, match=message):
        shrink_class_accuracy([0.5, 0.5], counts, strength)


def test_doubtful_estimates():
    assert doubtful_estimates([0.5, 0.99], [5, 100]) == []
    assert doubtful_estimates([0.0, 1.0, 0.5, 1.0], [4, 5, 0, 9]) == [
        "fewer than 5 validation samples of class 0, 2",
        "class accuracy exactly 0 of class 0",
        "class accuracy exactly 1 of class 1, 3",
    ]
    with pytest.raises(InputError, match="counts: expected 2 numbers"):
        doubtful_estimates([0.5, 0.5], [1, 2, 3])


@pytest.mark.parametrize("classes", [2, 5, 165])
def test_accuracies_below_chance_are_doubtful(classes):
    accuracy = np.full(classes, 0.9)
    accuracy[1] = 1 / classes
    assert doubtful_estimates(accuracy, [9] * classes) == []
    accuracy[1] *= 0.99
    assert doubtful_estimates(accuracy, [9] * classes) == [
        f"class accuracy below 1/{classes}, that of guessing, of class 1"
    ]


def test_of_many_doubtful_classes_three_are_named():
    assert doubtful_estimates(np.ones(150), [4] * 150) == [
        "fewer than 5 validation samples of class 0, 1, 2 and 147 more",
        "class accuracy exactly 1 of class 0, 1, 2 and 147 more",
    ]


@pytest.mark.parametrize(
    ("values", "doubts"),
    [
        ([0, 1, 0], ["exactly 0 of class 0, 2", "exactly 1 of class 1"]),
        ([0.0, 0.5], ["exactly 0 of class 0"]),
        ([0.5, 1.0], ["exactly 1 of class 1"]),
        ([1e-9, 1 - 1e-9], ["below 1/2, that of guessing, of class 0"]),
    ],
)
def test_the_prior_of_a_collapsed_network_is_told(values, doubts):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        quiet = informed_prior(values, warn=False)
        np.testing.assert_array_equal(informed_prior(values), quiet)
    assert len(told) == bool(doubts)
    for warning in told:
        text = str(warning.message)
        assert warning.filename == __file__
        assert "are doubtful (" + "; ".join(f"class accuracy {each}" for each in doubts) in text
        assert "shrink_class_accuracy(accuracy, counts, strength=5)" in text
    assert doubtful_estimates(values, [9] * len(values)) == [
        f"class accuracy {each}" for each in doubts
    ]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_shrinking_cannot_change_is_not_told_to_be_shrunk(value):
    """Of a network that is always right, or never, however often it is shrunk."""
    shrunk = shrink_class_accuracy([value] * 3, [1, 50, 200], strength=5)
    np.testing.assert_array_equal(shrunk, value)
    with pytest.warns(
        UserWarning, match="exactly . of class 0, 1, 2.*samples that the network has"
    ):
        informed_prior(shrunk)


def test_few_samples_that_were_shrunk_are_not_doubtful():
    accuracy, counts = [0.9, 1.0, 0.5], [100, 1, 3]
    assert len(doubtful_estimates(accuracy, counts)) == 2
    shrunk = shrink_class_accuracy(accuracy, counts, strength=5)
    assert doubtful_estimates(shrunk, counts, shrinkage=5) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        informed_prior(shrunk)
    with pytest.raises(InputError, match="shrinkage: expected a number >= 0, received -1"):
        doubtful_estimates(accuracy, counts, shrinkage=-1)


@pytest.mark.parametrize(
    ("shrinkage", "few"), [(0, "0, 1, 2"), (1e-9, "0, 1, 2"), (1, "0, 1"), (4, "0"), (5, "")]
)
def test_few_samples_are_those_that_shrinking_has_not_made_up_to_five(shrinkage, few):
    expected = [f"fewer than 5 validation samples of class {few}"] if few else []
    assert doubtful_estimates([0.5] * 4, [0, 1, 4, 5], shrinkage=shrinkage) == expected


def test_labels_may_stand_in_a_column():
    labels, predictions = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    column = class_accuracy(labels[:, None], predictions, num_classes=2)
    np.testing.assert_array_equal(column, class_accuracy(labels, predictions, num_classes=2))
