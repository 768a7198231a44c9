"""Decision curves against dcurves, by formula, and their intervals by simulation."""

import json
from pathlib import Path

import numpy as np
import pytest

from lsplus_tf import metrics
from lsplus_tf.errors import InputError
from lsplus_tf.metrics.intervals import linearised_interval, share_interval
from lsplus_tf.predictions import Predictions

GOLDEN = json.loads(
    (Path(__file__).parent / "data" / "clinical" / "decision.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize(
    "case", GOLDEN["cases"], ids=lambda c: f"{c['positive']}-{c['prevalence']}"
)
def test_dcurves_has_the_same(case):
    curve = metrics.decision_curve(
        GOLDEN["labels"],
        GOLDEN["probabilities"],
        positive=case["positive"],
        thresholds=case["thresholds"],
        prevalence=case["prevalence"],
    )
    for column in ("net_benefit", "treat_all", "interventions_avoided"):
        np.testing.assert_allclose(curve[column], case[column], rtol=1e-9, atol=1e-12)
    better = np.maximum(case["treat_all"], 0)
    np.testing.assert_allclose(curve["gain"], case["net_benefit"] - better, atol=1e-9)


def some_cases(samples=200, seed=0):
    rng = np.random.default_rng(seed)
    groups = rng.integers(40, size=samples)
    shift = rng.normal(size=40)[groups]
    risk = 1 / (1 + np.exp(1.5 - 1.5 * rng.normal(size=samples) - shift))
    labels = (rng.random(samples) < risk).astype(int)
    return labels, np.stack([1 - risk, risk], axis=1), groups, rng.integers(4, size=samples)


def by_hand(labels, risk, threshold, weights):
    """What each case adds to the net benefit, and the weighted mean of that."""
    odds = threshold / (1 - threshold)
    added = (risk >= threshold) * np.where(labels == 1, 1, -odds)
    return added, np.average(added, weights=weights)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.6])
def test_intervals_are_those_of_the_mean_of_what_cases_add(threshold, grouped, weighted):
    labels, rows, groups, counts = some_cases()
    groups = groups if grouped else None
    weights = counts.astype(float) if weighted else np.ones(labels.size)
    found = metrics.net_benefit(
        labels,
        rows,
        positive=1,
        threshold=threshold,
        groups=groups,
        sample_weight=counts if weighted else None,
    )
    added, value = by_hand(labels, rows[:, 1], threshold, weights)
    expected = linearised_interval(value, weights * (added - value) / weights.sum(), groups, 0.95)
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high), abs=1e-12
    )
    assert found.standard_error == pytest.approx(expected.standard_error)
    assert found.method == "linearised"


def test_weights_are_as_if_cases_were_repeated():
    labels, rows, _, counts = some_cases()
    weighted = metrics.decision_curve(labels, rows, positive=1, sample_weight=counts)
    repeated = metrics.decision_curve(
        np.repeat(labels, counts), np.repeat(rows, counts, axis=0), positive=1
    )
    for column in ("net_benefit", "treat_all", "gain", "interventions_avoided"):
        np.testing.assert_allclose(weighted[column], repeated[column], atol=1e-12)


def test_the_gain_is_over_both_and_its_interval_paired():
    labels, rows, groups, _ = some_cases()
    curve = metrics.decision_curve(labels, rows, positive=1, thresholds=[0.2], groups=groups)
    added, value = by_hand(labels, rows[:, 1], 0.2, None)
    of_all = np.where(labels == 1, 1, -0.25)
    over_all = linearised_interval(
        value - of_all.mean(),
        (added - of_all - value + of_all.mean()) / labels.size,
        groups,
        0.95,
    )
    row = curve.iloc[0]
    assert row["gain"] == pytest.approx(min(value, over_all.value))
    assert row["gain_low"] == pytest.approx(min(row["low"], over_all.low))
    assert row["gain_high"] == pytest.approx(min(row["high"], over_all.high))
    prevalence = share_interval(labels.astype(float), groups, 0.95)
    assert row["treat_all_low"] == pytest.approx(prevalence.low - 0.25 * (1 - prevalence.low))


def test_a_known_prevalence_fixes_treat_all_and_narrows():
    labels, rows, _, _ = some_cases()
    known = metrics.decision_curve(
        labels, rows, positive=1, thresholds=[0.1, 0.3], prevalence=labels.mean()
    )
    found = metrics.decision_curve(labels, rows, positive=1, thresholds=[0.1, 0.3])
    np.testing.assert_allclose(known["net_benefit"], found["net_benefit"])
    np.testing.assert_allclose(known["treat_all_low"], known["treat_all"])
    assert (known["standard_error"] < found["standard_error"]).all()
    # The variance of a stratified mean, by hand.
    treated, odds = rows[:, 1] >= 0.3, 3 / 7
    sensitivity, others = treated[labels == 1], treated[labels == 0]
    share = labels.mean()
    variance = share**2 * sensitivity.var() / sensitivity.size
    variance += (odds * (1 - share)) ** 2 * others.var() / others.size
    assert known["standard_error"][1] == pytest.approx(np.sqrt(variance * 200 / 199))


def test_two_models_are_compared_case_by_case():
    labels, rows, groups, _ = some_cases()
    blunt = np.stack([1 - rows[:, 1] ** 2, rows[:, 1] ** 2], axis=1)
    found = metrics.net_benefit_difference(
        labels, rows, blunt, positive=1, thresholds=[0.3, 0.1], groups=groups
    )
    for t, row in zip([0.3, 0.1], found.itertuples(), strict=True):
        one, other = (by_hand(labels, p[:, 1], t, None)[0] for p in (rows, blunt))
        apart = one - other
        expected = linearised_interval(
            apart.mean(), (apart - apart.mean()) / labels.size, groups, 0.95
        )
        assert row.threshold == t
        assert (row.first, row.second) == pytest.approx((one.mean(), other.mean()))
        assert (row.difference, row.low, row.high) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )
    ids = np.arange(labels.size)
    pair = [Predictions(labels, p, ids=ids, groups=groups) for p in (rows, blunt)]
    shuffled = pair[1].take(ids[::-1])
    again = metrics.net_benefit_difference(pair[0], shuffled, positive=1, thresholds=[0.3, 0.1])
    np.testing.assert_allclose(again, found)


def test_a_probability_at_the_threshold_is_treated():
    curve = metrics.decision_curve(
        [1, 0, 1, 0], [[0.7, 0.3], [0.7, 0.3], [0.2, 0.8], [0.9, 0.1]], positive=1, thresholds=[0.3]
    )
    assert curve["net_benefit"][0] == pytest.approx(2 / 4 - 1 / 4 * 3 / 7)


def test_what_the_sample_does_not_show_has_no_bounds():
    labels, rows, _, _ = some_cases()
    rows = rows.clip(0.2, 0.8)
    curve = metrics.decision_curve(labels, rows, positive=1, thresholds=[0.1, 0.5, 0.9])
    assert curve["net_benefit"][2] == 0
    assert curve[["low", "high", "gain_low", "gain_high"]].iloc[2].isna().all()
    assert curve[["gain_low", "gain_high"]].iloc[0].isna().all()
    assert curve[["low", "high"]].iloc[0].notna().all()
    with pytest.warns(UserWarning, match="no case reaches the threshold 0.9"):
        found = metrics.net_benefit(labels, rows, positive=1, threshold=0.9)
    assert found.value == 0 and np.isnan(found.low)
    with pytest.warns(UserWarning, match="has no case of 1") as caught:
        curve = metrics.decision_curve([0] * 9, rows[:9], positive=1, prevalence=0.1)
    assert len(caught) == 1
    assert curve.drop(columns="threshold").isna().all(axis=None)
    alone = metrics.decision_curve([0] * 9, rows[:9], positive=1, thresholds=[0.1])
    assert alone["net_benefit"][0] == pytest.approx(-1 / 9)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"thresholds": [0.1, 1.0]}, "thresholds: expected numbers between 0 and 1, received 1 at"),
        ({"thresholds": []}, r"thresholds: expected shape \(T,\)"),
        ({"thresholds": "high"}, "thresholds: expected"),
        ({"prevalence": 0}, "prevalence: expected a number between 0 and 1, received 0"),
        ({"positive": 2}, "positive: expected a class"),
        ({"groups": [1] * 200}, "groups: expected at least two groups"),
        ({"sample_weight": [-1] * 200}, "sample_weight: "),
        ({"confidence_level": 95}, "confidence_level: "),
    ],
)
def test_bad_arguments_are_refused(given, message):
    labels, rows, _, _ = some_cases()
    with pytest.raises(InputError, match=message):
        metrics.decision_curve(labels, rows, **{"positive": 1} | given)


def test_useful_thresholds_are_runs_of_rows_that_are_shown():
    labels, rows, _, _ = some_cases(2000)
    curve = metrics.decision_curve(labels, rows, positive=1)
    ranges = metrics.useful_thresholds(curve.sample(frac=1, random_state=0))
    inside = np.zeros(len(curve), bool)
    for low, high in ranges:
        inside |= curve["threshold"].between(low, high)
    np.testing.assert_array_equal(inside, curve["gain_low"] > 0)
    assert metrics.useful_thresholds(curve.assign(gain_low=-1.0)) == []


def test_intervals_cover():
    """Short: benchmarks/coverage_decision.py has the whole."""
    covered = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        risk = rng.beta(1, 3, size=300)
        labels = (rng.random(300) < risk).astype(int)
        found = metrics.net_benefit(
            labels, np.stack([1 - risk, risk], axis=1), positive=1, threshold=0.25
        )
        # E[max over t of risk]: P(risk >= t) of Beta(1, 3) is (1 - t)^3, its mean there in closed form.
        treated, t = 0.75**3, 0.25
        mean_risk = t + (1 - t) / 4
        truth = treated * (mean_risk - (1 - mean_risk) / 3)
        covered.append(found.low <= truth <= found.high)
    assert 0.90 <= np.mean(covered) <= 0.99
