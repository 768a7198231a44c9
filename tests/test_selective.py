"""Retention and risk-coverage curves against the authors' values and slow restatements."""

import itertools
import json

import numpy as np
import pytest
from helpers import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from lsplus_tf import metrics
from lsplus_tf.errors import InputError

PAPER_FRACTIONS = np.log(np.arange(1, 201)) / np.log(200)
METHODS = ["baseline", "ls", "baseline_fl", "baseline_dca", "baseline_mdca", "ours_alpha05"]
# reference/methods.md A8, x100: ResNet-34 run 1, and mean and SD of three runs.
CORRECT_AUC = {
    "baseline": (93.95, 92.37, 1.56),
    "ls": (93.71, 93.82, 0.44),
    "baseline_fl": (93.98, 93.87, 0.98),
    "baseline_dca": (93.92, 93.31, 0.61),
    "baseline_mdca": (94.35, 94.31, 0.69),
    "ours_alpha05": (93.98, 93.83, 0.22),
}


@pytest.fixture(scope="module")
def arrays():
    if not GOLDEN.exists():
        pytest.skip(f"no golden values at {GOLDEN}")
    with np.load(GOLDEN / "golden_metrics.npz") as file:
        return {key: file[key] for key in file.files}


def published(arrays, run, method):
    return arrays["pub/labels"], softmax(arrays[f"pub/resnet34/run{run}/{method}/logits"], axis=1)


def random_predictions(samples, classes, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(scale=2, size=(samples, classes)), axis=1)
    return rng.integers(classes, size=samples), probabilities


def correct_in_order(probabilities, labels, order):
    return [int(np.argmax(probabilities[i]) == labels[i]) for i in order]


def retention_in_order(correct, fractions):
    samples = len(correct)
    return [
        (sum(correct[: int(samples * f)]) + samples - int(samples * f)) / samples for f in fractions
    ]


def orders_by_confidence(probabilities):
    """Every order of the samples that is descending in confidence."""
    confidence = probabilities.max(axis=1)
    groups = [np.flatnonzero(confidence == c) for c in sorted(set(confidence), reverse=True)]
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield list(itertools.chain(*parts))


@pytest.mark.parametrize("convention", ["standard", "released_code"])
def test_retention_equals_a_loop_without_ties(convention):
    labels, probabilities = random_predictions(97, 4)
    order = sorted(range(97), key=lambda i: -probabilities[i].max())
    expected = retention_in_order(correct_in_order(probabilities, labels, order), PAPER_FRACTIONS)
    fractions, accuracy = metrics.retention_curve(
        labels, probabilities, fractions=PAPER_FRACTIONS, convention=convention
    )
    np.testing.assert_array_equal(fractions, PAPER_FRACTIONS)
    np.testing.assert_allclose(accuracy, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", np.longdouble])
def test_ranks_do_not_depend_on_the_dtype(dtype):
    confidence = np.array([0.5, 0.75, 1.0, 0.625, 0.9375, 0.75])
    probabilities = np.stack([confidence, 1 - confidence], axis=1).astype(dtype)
    # From the top: 1.0 and .9375 right, of the two of .75 one, .625 wrong, .5 right.
    labels = [0, 1, 0, 1, 0, 0]
    risk = metrics.risk_coverage_curve(labels, probabilities)[1]
    np.testing.assert_allclose(risk, [0, 0, 0.5 / 3, 1 / 4, 2 / 5, 2 / 6])


def test_ties_are_averaged_over_all_orders():
    probabilities = np.array(
        [[0.9, 0.1], [0.7, 0.3], [0.3, 0.7], [0.7, 0.3], [0.6, 0.4], [0.6, 0.4]]
    )
    labels = np.array([0, 0, 0, 1, 1, 0])
    correct = [
        correct_in_order(probabilities, labels, o) for o in orders_by_confidence(probabilities)
    ]
    assert len(correct) == 12
    retained = np.mean(np.cumsum(correct, axis=1), axis=0)
    fractions, accuracy = metrics.retention_curve(labels, probabilities)
    np.testing.assert_allclose(fractions, np.arange(7) / 6)
    np.testing.assert_allclose(accuracy[1:], (retained + 6 - np.arange(1, 7)) / 6)
    coverage, risk = metrics.risk_coverage_curve(labels, probabilities)
    np.testing.assert_allclose(coverage, np.arange(1, 7) / 6)
    np.testing.assert_allclose(risk, 1 - retained / np.arange(1, 7))
    assert metrics.aurc(labels, probabilities) == pytest.approx(risk.mean())
    assert metrics.retention_auc(labels, probabilities) == pytest.approx(
        np.mean((accuracy[1:] + accuracy[:-1]) / 2)
    )


@pytest.mark.parametrize("samples", [1, 3, 49, 98, 107, 1000])
def test_default_fractions_retain_one_more_sample_each(samples):
    # 49 * (1 / 49) is less than 1 in floating point.
    labels, probabilities = random_predictions(samples, 3)
    order = np.argsort(-probabilities.max(axis=1))
    correct = np.array(correct_in_order(probabilities, labels, order))
    _, accuracy = metrics.retention_curve(labels, probabilities)
    expected = 1 - np.concatenate([[0], np.cumsum(1 - correct)]) / samples
    np.testing.assert_allclose(accuracy, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("run", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_published_predictions_give_the_golden_curve(arrays, run, method):
    fractions, accuracy = metrics.retention_curve(
        *published(arrays, run, method), convention="released_code"
    )
    np.testing.assert_array_equal(fractions, PAPER_FRACTIONS)
    expected = arrays[f"pub/resnet34/run{run}/{method}/retention_by_conf"]
    np.testing.assert_allclose(accuracy, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_areas_equal_the_correct_table(arrays, method):
    # The table's float32 ties (218 of 977 for HL, run 2) were in another order; "standard" has
    # all points instead of 200.
    for convention, tolerance in (("released_code", 0.011), ("standard", 0.03)):
        areas = [
            100 * metrics.retention_auc(*published(arrays, run, method), convention=convention)
            for run in (1, 2, 3)
        ]
        summary = areas[0], np.mean(areas), np.std(areas, ddof=1)
        assert summary == pytest.approx(CORRECT_AUC[method], abs=tolerance), convention


@pytest.mark.parametrize("name", ["k2_n500", "k4_n2139", "k7_n1512"])
def test_synthetic_predictions_give_the_golden_curve(arrays, name):
    probabilities = softmax(arrays[f"syn/{name}/logits"], axis=1)
    labels = arrays[f"syn/{name}/labels"]
    expected = arrays[f"syn/{name}/retention_by_conf"]
    _, accuracy = metrics.retention_curve(labels, probabilities, convention="released_code")
    np.testing.assert_allclose(accuracy, expected, rtol=0, atol=1e-12)
    values = json.loads((GOLDEN / "golden_metrics.json").read_text())
    area = metrics.retention_auc(labels, probabilities, convention="released_code")
    authors = values["authors_metrics_synthetic"][name]["rauc_by_conf"]
    assert area == pytest.approx(authors, abs=1e-12)


def test_heavily_tied_predictions_bracket_the_golden_curve(arrays):
    """NumPy's unstable sort chose one order of the ties; every order is between best and worst."""
    probabilities = softmax(arrays["syn/k2_bin_edges/logits"], axis=1)
    labels = arrays["syn/k2_bin_edges/labels"]
    golden = arrays["syn/k2_bin_edges/retention_by_conf"]
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    assert np.unique(confidence).size == 10
    best, worst = (
        retention_in_order(correct[np.lexsort((sign * correct, -confidence))], PAPER_FRACTIONS)
        for sign in (-1, 1)
    )
    for convention in ("standard", "released_code"):
        _, accuracy = metrics.retention_curve(
            labels, probabilities, fractions=PAPER_FRACTIONS, convention=convention
        )
        for curve in (accuracy, golden):
            assert (curve <= np.array(best) + 1e-12).all()
            assert (curve >= np.array(worst) - 1e-12).all()
        # Between groups the order does not matter.
        settled = np.isclose(best, worst)
        assert settled.sum() == 5
        np.testing.assert_allclose(accuracy[settled], golden[settled])


@pytest.mark.parametrize("name", ["k2_n500", "k4_n2139", "k7_n1512", "k2_bin_edges"])
def test_mean_error_equals_shifts_with_grouped_ties(arrays, name):
    values = json.loads((GOLDEN / "golden_metrics.json").read_text())["other_packages"][name]
    probabilities = softmax(arrays[f"syn/{name}/logits"], axis=1)
    _, accuracy = metrics.retention_curve(arrays[f"syn/{name}/labels"], probabilities)
    expected = values["shifts.rejection_curve.mean()  (grouped ties)"]
    assert 1 - accuracy.mean() == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 2**32 - 1), st.sampled_from([1, 1000]))
def test_properties(samples, classes, seed, spread):
    rng = np.random.default_rng(seed)
    probabilities = softmax(np.round(rng.normal(size=(samples, classes)) * 2) * spread, axis=1)
    labels = rng.integers(classes, size=samples)
    fractions, accuracy = metrics.retention_curve(labels, probabilities)
    assert accuracy[0] == 1
    assert accuracy[-1] == pytest.approx(metrics.accuracy(labels, probabilities))
    # One more sample in the model's hands costs at most that sample.
    steps = np.diff(accuracy)
    assert (steps <= 1e-12).all()
    assert (steps >= -1 / samples - 1e-12).all()
    area = metrics.retention_auc(labels, probabilities)
    assert (1 + accuracy[-1]) / 2 - 0.5 - 1e-12 <= area <= 1
    coverage, risk = metrics.risk_coverage_curve(labels, probabilities)
    np.testing.assert_allclose(coverage, fractions[1:])
    np.testing.assert_allclose(coverage * risk, 1 - accuracy[1:], atol=1e-12)
    assert 0 <= metrics.aurc(labels, probabilities) <= 1
    order = rng.permutation(samples)
    shuffled = metrics.aurc(labels[order], probabilities[order])
    assert shuffled == pytest.approx(metrics.aurc(labels, probabilities), abs=1e-12)


def tied_predictions():
    probabilities = np.array(
        [[0.9, 0.1], [0.7, 0.3], [0.3, 0.7], [0.7, 0.3], [0.6, 0.4], [0.6, 0.4], [0.5, 0.5]]
    )
    return np.array([0, 0, 0, 1, 1, 0, 1]), probabilities


def test_areas_equal_the_mean_over_all_orders_of_ties():
    labels, probabilities = tied_predictions()
    errors = np.array(
        [
            np.cumsum(1 - np.array(correct_in_order(probabilities, labels, order)))
            for order in orders_by_confidence(probabilities)
        ]
    )
    assert len(errors) == 12
    samples, wrong = len(labels), errors[0, -1]
    answered = np.arange(1, samples + 1)
    risk = errors / answered
    best = np.maximum(0, answered - (samples - wrong)) / answered
    excess = metrics.excess_aurc(labels, probabilities)
    assert excess == pytest.approx(np.mean(risk.mean(1) - best.mean()))
    generalised = np.concatenate([np.zeros((12, 1)), errors / samples], axis=1)
    areas = (generalised[:, 1:] + generalised[:, :-1]).sum(1) / 2 / samples
    assert metrics.augrc(labels, probabilities) == pytest.approx(areas.mean())
    for i in range(1, samples + 1):
        at_coverage = metrics.risk_at_coverage(labels, probabilities, coverage=i / samples)
        assert at_coverage == pytest.approx(risk.mean(0)[i - 1])
    for target in (0, 0.2, 0.25, 1 / 3, 0.4, 0.5, 1):
        allowed = [i for i in answered if risk.mean(0)[i - 1] <= target + 1e-12]
        coverage = metrics.coverage_at_risk(labels, probabilities, risk=target)
        assert coverage == pytest.approx(max(allowed, default=0) / samples)


@pytest.mark.parametrize("samples", [1, 3, 49, 98, 107])
def test_a_coverage_of_i_of_n_answers_i(samples):
    labels, probabilities = random_predictions(samples, 3)
    _, risk = metrics.risk_coverage_curve(labels, probabilities)
    for i in range(1, samples + 1):
        assert metrics.risk_at_coverage(labels, probabilities, coverage=i / samples) == risk[i - 1]
        # A little more needs one more sample.
        more = min(i, samples - 1)
        coverage = min(1, (i + 1e-3) / samples)
        assert metrics.risk_at_coverage(labels, probabilities, coverage=coverage) == risk[more]
    assert metrics.risk_at_coverage(labels, probabilities, coverage=0) == risk[0]


def test_best_and_worst_order():
    confidence = np.array([0.95, 0.9, 0.85, 0.8, 0.75])
    probabilities = np.column_stack([confidence, 1 - confidence])
    good, bad = [0, 0, 0, 1, 1], [1, 1, 0, 0, 0]
    assert metrics.excess_aurc(good, probabilities) == 0
    assert metrics.excess_aurc(bad, probabilities) == pytest.approx(
        metrics.aurc(bad, probabilities) - metrics.aurc(good, probabilities)
    )
    # Generalised risk: 0 up to coverage 3/5, then up to 2/5; or up to 2/5 first.
    assert metrics.augrc(good, probabilities) == pytest.approx(0.4 * 0.4 / 2)
    assert metrics.augrc(bad, probabilities) == pytest.approx(0.4 * 0.4 / 2 + 0.6 * 0.4)
    assert metrics.coverage_at_risk(good, probabilities, risk=0) == pytest.approx(0.6)
    assert metrics.coverage_at_risk(bad, probabilities, risk=0.39) == 0
    # The risk comes down again: the last coverage counts.
    assert metrics.coverage_at_risk(bad, probabilities, risk=0.4) == 1
    perfect = metrics.augrc([0, 1], np.eye(2)), metrics.excess_aurc([0, 1], np.eye(2))
    assert perfect == (0, 0)
    wrong = metrics.augrc([1, 0], np.eye(2)), metrics.excess_aurc([1, 0], np.eye(2))
    assert wrong == (0.5, 0)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 60), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_relations_of_the_areas(samples, classes, seed):
    rng = np.random.default_rng(seed)
    probabilities = softmax(np.round(rng.normal(size=(samples, classes)) * 2), axis=1)
    labels = rng.integers(classes, size=samples)
    area = metrics.augrc(labels, probabilities)
    assert 0 <= area <= 0.5
    assert area == pytest.approx(1 - metrics.retention_auc(labels, probabilities), abs=1e-12)
    # Traub et al.: it is made of the accuracy and of the AUROC of telling hits from errors.
    correct = probabilities.argmax(1) == labels
    accuracy = correct.mean()
    if 0 < accuracy < 1:
        auroc = roc_auc_score(correct, probabilities.max(1))
        expected = (1 - auroc) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
        assert area == pytest.approx(expected, abs=1e-12)
    excess = metrics.excess_aurc(labels, probabilities)
    assert 0 <= excess <= metrics.aurc(labels, probabilities) + 1e-12
    order = rng.permutation(samples)
    for function in (metrics.augrc, metrics.excess_aurc):
        shuffled = function(labels[order], probabilities[order])
        assert shuffled == pytest.approx(function(labels, probabilities), abs=1e-12)
    error = 1 - accuracy
    assert metrics.risk_at_coverage(labels, probabilities, coverage=1) == pytest.approx(
        error, abs=1e-12
    )
    assert metrics.coverage_at_risk(labels, probabilities, risk=min(1, error + 1e-9)) == 1
    for target in (0, 0.1, 0.5):
        coverage = metrics.coverage_at_risk(labels, probabilities, risk=target)
        assert 0 <= coverage <= 1
        if coverage:
            risk = metrics.risk_at_coverage(labels, probabilities, coverage=coverage)
            assert risk <= target + 1e-11


def test_bad_levels():
    good = [[0.8, 0.2], [0.3, 0.7]]
    for bad in (-0.1, 1.5, np.nan, "half", True):
        with pytest.raises(InputError, match=r"coverage: expected a number in \[0, 1\], received"):
            metrics.risk_at_coverage([0, 1], good, coverage=bad)
        with pytest.raises(InputError, match=r"risk: expected a number in \[0, 1\], received"):
            metrics.coverage_at_risk([0, 1], good, risk=bad)


def test_bad_input():
    good = [[0.8, 0.2], [0.3, 0.7]]
    with pytest.raises(InputError, match=r"fractions: .*\[0, 1\], received 1\.5 at position 1"):
        metrics.retention_curve([0, 1], good, fractions=[0.5, 1.5])
    with pytest.raises(InputError, match=r"fractions: .*received nan at position 0"):
        metrics.retention_curve([0, 1], good, fractions=[np.nan])
    for wrong in (0.5, [[0.5]], []):
        with pytest.raises(InputError, match=r"fractions: expected shape \(M,\)"):
            metrics.retention_curve([0, 1], good, fractions=wrong)
    for function in (
        metrics.retention_auc,
        metrics.risk_coverage_curve,
        metrics.aurc,
        metrics.excess_aurc,
        metrics.augrc,
        lambda y, p: metrics.risk_at_coverage(y, p, coverage=0.5),
        lambda y, p: metrics.coverage_at_risk(y, p, risk=0.5),
    ):
        with pytest.raises(InputError, match=r"probabilities: expected at least one row"):
            function([], np.zeros((0, 2)))
        with pytest.raises(InputError, match=r"probabilities: .*finite.* at row 0"):
            function([0, 1], [[np.nan, 1], [0.3, 0.7]])
        with pytest.raises(InputError, match=r"labels: .*received 2 at row 1"):
            function([0, 2], good)
