"""Decision curves against dcurves, by formula, and their intervals by simulation."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lsplus_tf import metrics
from lsplus_tf.errors import InputError
from lsplus_tf.metrics import decision
from lsplus_tf.metrics.intervals import share_interval
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
    # dcurves does not treat a sum that is written as the threshold and rounds to less.
    inside = np.isin(range(3), case["positive"])
    sums = np.array(GOLDEN["probabilities"])[:, inside].sum(axis=1)[:, np.newaxis]
    thresholds = np.array(case["thresholds"])
    alike = ~((sums < thresholds) & (sums > thresholds - 1e-12)).any(axis=0)
    assert alike.sum() >= alike.size - 1
    for column in ("net_benefit", "treat_all", "interventions_avoided"):
        expected = np.array(case[column])[alike]
        np.testing.assert_allclose(curve[column][alike], expected, rtol=1e-9, atol=1e-12)
    gain = np.array(case["net_benefit"]) - np.maximum(case["treat_all"], 0)
    np.testing.assert_allclose(curve["gain"][alike], gain[alike], atol=1e-9)


def some_cases(samples=200, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.arange(samples) % 40
    shift = rng.normal(size=40)[groups]
    risk = 1 / (1 + np.exp(1.5 - 1.5 * rng.normal(size=samples) - shift))
    labels = (rng.random(samples) < risk).astype(int)
    return labels, np.stack([1 - risk, risk], axis=1), groups, rng.integers(4, size=samples)


def adds(labels, treated, threshold):
    """What each case adds to the net benefit."""
    odds = threshold / (1 - threshold)
    return np.where(treated, np.where(labels == 1, 1, -odds), 0.0)


def by_hand(values, made_up, groups, weights=None):
    """Mean, low and high of values, as if made-up cases, which count 2 together, had been there."""
    if weights is None:
        weights = np.ones(values.size)
    else:  # cases of weight 0 are not there
        kept = weights > 0
        values, weights = values[kept], weights[kept] / weights[kept].mean()
        groups = None if groups is None else np.unique(groups[kept], return_inverse=True)[1]
    each = 2 / len(made_up)
    total = values.size + 2
    centre = (weights @ values + each * np.sum(made_up)) / total
    residuals = weights * (values - centre)
    units = residuals if groups is None else np.bincount(groups, residuals)
    number = len(units) + 2
    squares = np.sum(units**2) + each * np.sum((made_up - centre) ** 2)
    half = stats.t.ppf(0.975, number - 1) * np.sqrt(squares * number / (number - 1)) / total
    return np.average(values, weights=weights), centre - half, centre + half


EVERY = np.array([1, 1, 0, 0]), np.array([True, False, True, False])  # outcomes and decisions


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.6])
def test_intervals_add_half_a_case_of_each_kind(threshold, grouped, weighted):
    labels, rows, groups, counts = some_cases()
    groups = groups if grouped else None
    counts = counts if weighted else None
    found = metrics.net_benefit(
        labels, rows, positive=1, threshold=threshold, groups=groups, sample_weight=counts
    )
    values = adds(labels, rows[:, 1] >= threshold, threshold)
    expected = by_hand(values, adds(*EVERY, threshold), groups, counts)
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-12)


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
    treated = rows[:, 1] >= 0.2
    values = adds(labels, treated, 0.2) - adds(labels, True, 0.2)
    over_all = by_hand(values, adds(*EVERY, 0.2) - adds(EVERY[0], True, 0.2), groups)
    row = curve.iloc[0]
    over_none = row[["net_benefit", "low", "high"]]
    assert [*row[["gain", "gain_low", "gain_high"]]] == pytest.approx(
        [*np.minimum(over_none, over_all)]
    )
    prevalence = share_interval(labels.astype(float), groups, 0.95)
    assert row["treat_all_low"] == pytest.approx(prevalence.low - 0.25 * (1 - prevalence.low))


def test_a_known_prevalence_is_a_mean_of_two_samples():
    """Restated: sensitivity and the false positives' share with one more case of either kind."""
    labels, rows, _, _ = some_cases()
    found = metrics.net_benefit(labels, rows, positive=1, threshold=0.3, prevalence=0.1)
    treated, odds = rows[:, 1] >= 0.3, 3 / 7
    value = centre = squares = 0
    for outcome, worth in ((1, 0.1), (0, -0.9 * odds)):
        of_it = treated[labels == outcome]
        share = (of_it.sum() + 1) / (of_it.size + 2)
        value += worth * of_it.mean()
        centre += worth * share
        squares += worth**2 * share * (1 - share) / (of_it.size + 2)
    half = stats.t.ppf(0.975, 203) * np.sqrt(squares * 204 / 203)
    assert (found.value, found.low, found.high) == pytest.approx(
        (value, centre - half, centre + half)
    )
    curve = metrics.decision_curve(labels, rows, positive=1, prevalence=0.1)
    np.testing.assert_allclose(curve["treat_all_low"], curve["treat_all"])


def test_two_models_are_compared_case_by_case():
    labels, rows, groups, _ = some_cases()
    blunt = np.stack([1 - rows[:, 1] ** 2, rows[:, 1] ** 2], axis=1)
    found = metrics.net_benefit_difference(
        labels, rows, blunt, positive=1, thresholds=[0.3, 0.1], groups=groups
    )
    outcomes = np.repeat([1, 0], 4)
    decisions = np.tile([True, True, False, False], 2), np.tile([True, False], 4)
    for t, row in zip([0.3, 0.1], found.itertuples(), strict=True):
        one, other = (adds(labels, p[:, 1] >= t, t) for p in (rows, blunt))
        made_up = adds(outcomes, decisions[0], t) - adds(outcomes, decisions[1], t)
        assert row.threshold == t
        assert (row.first, row.second) == pytest.approx((one.mean(), other.mean()))
        assert (row.difference, row.low, row.high) == pytest.approx(
            by_hand(one - other, made_up, groups)
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


def test_what_no_case_shows_has_an_interval_of_some_width():
    """No case reaches 0.9: how few would, in others, 200 cases tell to a few percent."""
    labels, rows, _, _ = some_cases()
    curve = metrics.decision_curve(
        labels, rows.clip(0.2, 0.8), positive=1, thresholds=[0.1, 0.3, 0.9]
    )
    none, every = curve.iloc[2], curve.iloc[0]
    assert none["net_benefit"] == none["gain"] == every["gain"] == 0
    for row in (none, every):
        assert row["gain_low"] < 0 < row["gain_high"]
    assert none["low"] < -0.05
    # No more than the share of true positives, none of 200 and half a case more of 4 kinds.
    share = by_hand(np.zeros(200), [1.0, 0, 0, 0], None)[2]
    assert none["high"] == pytest.approx(share)
    assert share < 0.01
    assert metrics.useful_thresholds(curve) == [(0.3, 0.3)]


def test_a_class_without_a_case():
    rows = some_cases()[1][:9]
    with pytest.warns(UserWarning, match="has no case of 1") as caught:
        curve = metrics.decision_curve([0] * 9, rows, positive=1, prevalence=0.1)
    assert len(caught) == 1
    assert curve.drop(columns="threshold").isna().all(axis=None)
    with pytest.warns(UserWarning, match="has no case that is not of 1"):
        metrics.net_benefit([1] * 9, rows, positive=1, threshold=0.2, prevalence=0.1)
    known = metrics.decision_curve([0] * 9, rows, positive=1, thresholds=[0.1])
    treated = np.mean(rows[:, 1] >= 0.1)
    assert known["net_benefit"][0] == pytest.approx(-treated / 9)


@pytest.mark.parametrize(
    ("given", "message"),
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
    with pytest.raises(InputError, match=r"curve: expected the table .*, received a ndarray"):
        metrics.useful_thresholds(curve.to_numpy())
    with pytest.raises(InputError, match="received one without the column threshold"):
        metrics.useful_thresholds(curve.drop(columns="threshold"))
    with pytest.raises(InputError, match=r"a list of one, \[0.2\], received 0.2"):
        metrics.decision_curve([0, 1], [[0.5, 0.5]] * 2, positive=1, thresholds=0.2)


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
        # Beta(1, 3) is at least t with (1 - t)^3, and there t + (1 - t) / 4 on average.
        treated, t = 0.75**3, 0.25
        mean_risk = t + (1 - t) / 4
        truth = treated * (mean_risk - (1 - mean_risk) / 3)
        covered.append(found.low <= truth <= found.high)
    assert 0.90 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize("grouped", [False, True])
def test_the_simultaneous_level_is_that_of_the_largest_deviation(grouped):
    """The covariance by hand from the cases; the level between one threshold's and Bonferroni's."""
    labels, rows, groups, _ = some_cases()
    model = Predictions(labels, rows, groups=groups if grouped else None)
    cases = decision._Cases([model], 1, None, None, None, 0.95)
    none, every = cases.benefit(0), cases.benefit_of_all
    found = cases.covariance([none, lambda some: none(some) - every(some)])
    thresholds = np.arange(1, 100) / 100
    treated = rows[:, 1:] >= thresholds
    over_none = np.stack([adds(labels, *each) for each in zip(treated.T, thresholds, strict=True)])
    everyone = np.stack([adds(labels, np.ones(200, bool), t) for t in thresholds])
    made_up = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])  # outcome, treated; half a case each
    odds = thresholds[:, np.newaxis] / (1 - thresholds[:, np.newaxis])
    worth = np.where(made_up[:, 0] == 1, 1.0, -odds)
    extra = np.where(made_up[:, 1] == 1, worth, 0.0)
    values = np.concatenate([over_none, over_none - everyone])
    added = np.concatenate([extra, extra - worth])
    mean = (values.sum(axis=1) + added.sum(axis=1) / 2) / 202
    values, added = ((each - mean[:, np.newaxis]) / 202 for each in (values, added))
    if grouped:
        values = np.stack([values[:, groups == g].sum(axis=1) for g in range(40)], axis=1)
    np.testing.assert_allclose(found, values @ values.T + added @ added.T / 2, atol=1e-12)
    level = decision.simultaneous_level(model, 1)
    assert 0.99 < level < 1 - 0.05 / 198
