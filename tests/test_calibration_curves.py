"""Calibration intercept, slope, O/E, smooth curves and CORP, against R's rms and statsmodels."""

import dataclasses
import json
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from scipy import special, stats

mpl.use("agg")
import matplotlib.pyplot as plt

from lsplus_tf import metrics, plots
from lsplus_tf.errors import InputError
from lsplus_tf.metrics import calibration_curves, recalibration
from lsplus_tf.metrics.recalibration import ClassCases
from lsplus_tf.predictions import Predictions

GOLDEN = json.loads(
    (Path(__file__).parent / "data/clinical/calibration.json").read_text(encoding="utf-8")
)
R, PYTHON = GOLDEN["r"], GOLDEN["python"]
CASES = {name: np.array(values) for name, values in GOLDEN["given"]["cases"].items()}
P = np.stack([1 - CASES["p"], CASES["p"]], axis=1)
FUNCTIONS = (
    metrics.calibration_intercept,
    metrics.calibration_slope,
    metrics.observed_expected_ratio,
    metrics.logistic_recalibration,
    metrics.calibration_curve,
    metrics.calibration_curve_errors,
    metrics.calibration_summary,
)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def made(samples=400, classes=3, slope=0.6, seed=0):
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(samples, classes))
    drawn = special.softmax(slope * logits, axis=1).cumsum(axis=1)
    return (drawn < rng.uniform(size=(samples, 1))).sum(axis=1).clip(max=classes - 1), logits


def ends(interval):
    return [interval.value, interval.low, interval.high]


# Against tools of the field ----------------------------------------------------------------------


def test_intercept_and_slope_are_those_of_r_and_statsmodels():
    alone = metrics.logistic_recalibration(CASES["y"], P, positive=1)
    grouped = metrics.logistic_recalibration(CASES["y"], P, positive=1, groups=CASES["g"])
    found = [alone.intercept.value, alone.slope.value]
    np.testing.assert_allclose(found, R["slope"], rtol=1e-7)
    np.testing.assert_allclose(found, PYTHON["plain"]["coefficients"], rtol=1e-9)
    # rms::val.prob stops its iterations earlier.
    named = [R["val_prob"]["Intercept"], R["val_prob"]["Slope"]]
    np.testing.assert_allclose(found, named, rtol=1e-6)
    # Theirs lack the factor units / (units - 1).
    errors = [alone.intercept.standard_error, alone.slope.standard_error]
    np.testing.assert_allclose(errors, np.sqrt(300 / 299) * np.array(R["slope_se"]), rtol=1e-6)
    errors = [grouped.intercept.standard_error, grouped.slope.standard_error]
    for expected in (R["slope_se_groups"], PYTHON["plain"]["errors"]):
        np.testing.assert_allclose(errors, np.sqrt(100 / 99) * np.array(expected), rtol=1e-6)


@pytest.mark.parametrize("weights", ["plain", "weighted"])
def test_the_intercept_at_a_slope_of_1(weights):
    expected = PYTHON[weights]
    given = {"sample_weight": CASES["w"]} if weights == "weighted" else {}
    found = metrics.calibration_intercept(CASES["y"], P, positive=1, groups=CASES["g"], **given)
    np.testing.assert_allclose(found.value, expected["intercept"][0], rtol=1e-9)
    error = np.sqrt(100 / 99) * expected["intercept_errors"][0]
    np.testing.assert_allclose(found.standard_error, error, rtol=1e-6)
    if weights == "plain":
        np.testing.assert_allclose(found.value, R["intercept"], rtol=1e-6)
    slope = metrics.calibration_slope(CASES["y"], P, positive=1, groups=CASES["g"], **given)
    np.testing.assert_allclose(slope.value, expected["coefficients"][1], rtol=1e-9)
    error = np.sqrt(100 / 99) * expected["errors"][1]
    np.testing.assert_allclose(slope.standard_error, error, rtol=1e-6)


@pytest.mark.parametrize("size", [1e4, 1e8])
def test_an_intercept_of_probabilities_of_0_and_1_has_no_interval(size):
    """Its standard error would be 1e10 and more, or a division by 0."""
    labels = np.arange(50) % 2
    logits = size * (2 * labels - 1 + 2 * np.random.default_rng(0).normal(size=50))
    given = Predictions(labels, logits=logits)
    with pytest.warns(UserWarning, match="all probabilities are 0 or 1 there"):
        found = metrics.calibration_intercept(given, positive=1)
    assert np.isnan([found.low, found.high]).all()
    # Its value is what gives as many cases as there are: 25 of 50.
    moved = special.expit(logits + found.value)
    assert moved.sum() == pytest.approx(25, abs=1e-6)


def test_the_curve_is_that_of_rms():
    cases = recalibration.one_class(CASES["y"], P, 1, False, None, CASES["g"])
    curve = calibration_curves.curve_of(cases, 4)
    observed, low, high = curve.band(np.array(R["curve_at"], float), 0.95)
    np.testing.assert_allclose(special.logit(observed), R["curve"], rtol=1e-5)
    errors = (special.logit(high) - special.logit(low)) / 2 / stats.t.ppf(0.975, 99)
    np.testing.assert_allclose(
        errors, np.sqrt(100 / 99) * np.array(R["curve_se_groups"]), rtol=1e-5
    )
    found = metrics.calibration_curve_errors(CASES["y"], P, positive=1)
    np.testing.assert_allclose([each.value for each in found], R["errors"], rtol=1e-5)


def test_the_lowess_of_val_prob_is_near():
    """Another smoother: what the docstring says of how far apart they are."""
    found = metrics.calibration_curve_errors(CASES["y"], P, positive=1)
    for name, lowess, within in (
        ("ici", "Eavg", 0.001),
        ("e90", "E90", 0.003),
        ("emax", "Emax", 0.01),
    ):
        assert getattr(found, name).value == pytest.approx(R["val_prob"][lowess], abs=within)


def test_the_multinomial_slope_is_that_of_a_conditional_logit():
    logits, labels = GOLDEN["given"]["logits"], GOLDEN["given"]["labels"]
    table = metrics.multinomial_recalibration(labels, logits, from_logits=True)
    assert table["value"].iloc[-1] == pytest.approx(PYTHON["multinomial"]["coefficients"][2], 1e-6)
    # At a slope of 1, the intercepts make all mean probabilities right.
    moved = special.softmax(np.array(logits) + table["value"].to_numpy()[:3], axis=1)
    np.testing.assert_allclose(moved.mean(axis=0), np.bincount(labels) / len(labels), rtol=1e-9)


@pytest.mark.parametrize("weights", ["plain", "weighted"])
def test_corp_is_that_of_scikit_learn(weights):
    given = {"sample_weight": CASES["w"]} if weights == "weighted" else {}
    terms = metrics.corp_decomposition(CASES["y"], P, positive=1, **given)
    np.testing.assert_allclose(terms, PYTHON[weights]["corp"], rtol=1e-6, atol=1e-9)
    both = metrics.corp_decomposition(CASES["y"], P, **given)
    if not given:
        assert both.brier_score == pytest.approx(metrics.brier_score(CASES["y"], P), abs=1e-12)
        assert terms.brier_score == pytest.approx(R["val_prob"]["Brier"], abs=1e-12)


# By their definitions ----------------------------------------------------------------------------


def test_o_e_and_its_error():
    found = metrics.observed_expected_ratio(CASES["y"], P, positive=1)
    ratio = CASES["y"].sum() / CASES["p"].sum()
    assert found.value == pytest.approx(ratio, abs=1e-12)
    rest = np.array([CASES["y"].sum() - CASES["y"], CASES["p"].sum() - CASES["p"]])
    jackknife = rest[0] / rest[1]
    error = np.sqrt(299 / 300 * np.sum((jackknife - jackknife.mean()) ** 2))
    assert found.standard_error == pytest.approx(error, rel=0.01)
    assert np.log(found.high / ratio) == pytest.approx(np.log(ratio / found.low))


def test_weights_are_repetitions():
    labels, logits = made()
    weights = np.random.default_rng(1).integers(1, 4, labels.size)  # which leaves 4 knots
    repeated = np.repeat(np.arange(labels.size), weights)
    weighted = Predictions(labels, logits=logits, sample_weight=weights)
    given = Predictions(labels[repeated], logits=logits[repeated])
    for positive in (None, [0, 2]):
        one, other = (metrics.calibration_summary(p, positive=positive) for p in (weighted, given))
        np.testing.assert_allclose(one["value"], other["value"], rtol=1e-7)
    one, other = (metrics.calibration_curve(p, positive=1) for p in (weighted, given))
    np.testing.assert_allclose(one["observed"], other["observed"], rtol=1e-7)
    assert one["cases"].sum() == pytest.approx(weights.sum())
    halved = Predictions(labels, logits=logits, sample_weight=weights / 2)
    one, other = (metrics.calibration_summary(p) for p in (weighted, halved))
    np.testing.assert_allclose(one[["value", "low"]], other[["value", "low"]], rtol=1e-7)


def test_log_odds_are_the_logits_own():
    """A hundred times the logits, of which most probabilities round to 0 or 1."""
    labels, logits = made()
    one = metrics.calibration_summary(labels, logits, from_logits=True)
    other = metrics.calibration_summary(labels, 100 * logits, from_logits=True)
    of_slope = one["metric"] == "slope"
    # The log-odds of the larger are those of the largest rival alone.
    assert np.all(other["value"][of_slope] < 0.02 * one["value"][of_slope])
    two = Predictions(labels % 2, logits=logits[:, :2])
    sharp = Predictions(labels % 2, logits=1000 * logits[:, :2])
    found, expected = (metrics.calibration_slope(p, positive=1) for p in (sharp, two))
    np.testing.assert_allclose(1000 * np.array(ends(found)), ends(expected), rtol=1e-9)


def test_probabilities_of_0_and_1_count_as_1e_38():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.4, 0.6], [0.7, 0.3]] * 20)
    labels = np.tile([0, 1, 1, 0, 0, 1, 0, 1, 1, 0], 8)
    found = metrics.calibration_slope(labels, rows, positive=1)
    smallest = np.log(rows.clip(1e-38))
    expected = metrics.calibration_slope(labels, smallest, positive=1, from_logits=True)
    assert ends(found) == pytest.approx(ends(expected))


@pytest.mark.parametrize("grouped", [False, True])
def test_many_cases_are_put_together(monkeypatch, grouped):
    labels, logits = made(5000)
    weights = np.random.default_rng(2).uniform(0.5, 2, labels.size)
    groups = np.arange(labels.size) // 4 if grouped else None
    given = Predictions(labels, logits=logits, sample_weight=weights, groups=groups)
    exact = metrics.calibration_summary(given)
    monkeypatch.setattr(recalibration, "_EXACT", 100)
    found = metrics.calibration_summary(given)
    columns = ["value", "low", "high"]
    np.testing.assert_allclose(found[columns], exact[columns], rtol=5e-3, atol=1e-5)
    np.testing.assert_allclose(found["value"], exact["value"], rtol=1e-3)
    numbers = exact["metric"].isin(["intercept", "slope", "o_e"])
    np.testing.assert_allclose(found[columns][numbers], exact[columns][numbers], atol=2e-5)


def test_single_precision_of_many_classes_is_near(monkeypatch):
    given = Predictions(*made(3000, 4)[:1], logits=made(3000, 4)[1])
    exact = recalibration.multinomial_slope(given, None, 0.95)
    monkeypatch.setattr(recalibration, "_SINGLE", 10)
    found = recalibration.multinomial_slope(given, None, 0.95)
    assert abs(found.value - exact.value) < 1e-3 * exact.standard_error
    assert found.standard_error == pytest.approx(exact.standard_error, rel=1e-4)


def test_two_classes_have_one_multinomial_slope():
    table = metrics.multinomial_recalibration(CASES["y"], P)
    slope = metrics.calibration_slope(CASES["y"], P, positive=1)
    np.testing.assert_allclose(table.iloc[-1, 2:].tolist(), ends(slope), rtol=1e-7)
    intercept = metrics.calibration_intercept(CASES["y"], P, positive=1)
    against_0 = metrics.multinomial_recalibration(CASES["y"], P, reference=0)
    np.testing.assert_allclose(against_0.iloc[1, 2:].tolist(), ends(intercept), rtol=1e-7)
    assert against_0.iloc[0, 2:].tolist() == [0, 0, 0]


def test_the_reference_is_subtracted():
    labels, logits = made()
    tables = [
        metrics.multinomial_recalibration(labels, logits, from_logits=True, reference=k)
        for k in range(3)
    ]
    values = np.array([table["value"][:3] for table in tables])
    np.testing.assert_allclose(
        values, values[0] - np.diag(values[[0] * 3])[[0]] - values[0][:, None]
    )
    assert len({round(table["value"].iloc[-1], 9) for table in tables}) == 1


def test_the_summary_is_made_of_the_measures():
    labels, logits = made()
    names = ["a", "b", "c"]
    given = Predictions(labels, logits=logits, class_names=names, groups=np.arange(400) // 4)
    table = metrics.calibration_summary(given)
    assert table.columns.tolist() == ["class", "metric", "value", "low", "high"]
    keys = ["intercept", "slope", "o_e", "ici", "e50", "e90"]
    assert table["metric"].tolist() == [*keys * 3, "slope", "ici"]
    assert table["class"].tolist() == [n for n in names for _ in keys] + ["", ""]
    rows = table.set_index(["class", "metric"])
    for name in names:
        errors = metrics.calibration_curve_errors(given, positive=name)
        expected = {
            "intercept": metrics.calibration_intercept(given, positive=name),
            "slope": metrics.calibration_slope(given, positive=name),
            "o_e": metrics.observed_expected_ratio(given, positive=name),
            "ici": errors.ici,
            "e50": errors.e50,
            "e90": errors.e90,
        }
        for key, interval in expected.items():
            np.testing.assert_allclose(rows.loc[(name, key)], ends(interval), rtol=1e-9)
    overall = metrics.multinomial_recalibration(given).iloc[-1, 2:].tolist()
    assert rows.loc[("", "slope")].tolist() == overall
    mean = np.mean([rows.loc[(name, "ici"), "value"] for name in names])
    assert rows.loc[("", "ici"), "value"] == pytest.approx(mean)


def test_the_curve_bends_where_a_rare_class_is_probable():
    rng = np.random.default_rng(0)
    odds = -6 + 2.5 * rng.normal(size=20_000)
    true = special.expit(odds + np.sin(odds))
    cases = ClassCases.of(
        "rare", odds, rng.uniform(size=odds.size) < true, np.ones(odds.size), None
    )
    observed, *_ = calibration_curves.curve_of(cases, None).band(odds, 0.95)
    probable = odds > -3
    # With as many knots at quantiles of all cases it is 0.048, as far as the model itself.
    assert np.abs(observed - true)[probable].mean() < 0.02


def test_knots_that_are_all_but_equal_are_one():
    rng = np.random.default_rng(0)
    odds = rng.choice([-1.0, -1.0 + 1e-12, 0.5, 0.5 + 1e-12, 2.0], 400)
    cases = ClassCases.of(
        "a", odds, rng.uniform(size=400) < special.expit(odds), np.ones(400), None
    )
    curve = calibration_curves.curve_of(cases, 5)
    observed, low, high = curve.band(np.array([-1.0, 0.5, 2.0]), 0.95)
    shares = [cases.outcome[np.abs(odds - at) < 0.1].mean() for at in (-1.0, 0.5, 2.0)]
    np.testing.assert_allclose(observed, shares, atol=1e-6)  # three values, three coefficients
    assert np.all(high - low < 0.3)


def test_intervals_cover():
    rng = np.random.default_rng(0)
    hits = {"intercept": 0, "slope": 0, "o_e": 0, "ici": 0, "curve": 0}
    for _ in range(50):
        odds = 1.5 * rng.normal(size=300)
        cases = ClassCases.of(
            "a", odds / 0.7, rng.uniform(size=300) < special.expit(odds), np.ones(300), None
        )
        curve = calibration_curves.curve_of(cases, 3)
        found = {
            "intercept": (recalibration.intercept_of(cases, 0.95), 0.0),
            "slope": (recalibration.recalibration_of(cases, 0.95).slope, 0.7),
            "o_e": (recalibration.ratio_of(cases, 0.95), 1.0),
            "ici": (calibration_curves.errors_of(cases, curve, 0.95).ici, 0.0638),
        }
        for key, (interval, truth) in found.items():
            hits[key] += interval.low <= truth <= interval.high
        _, low, high = curve.band(np.array([1.0]), 0.95)
        hits["curve"] += low[0] <= special.expit(0.7) <= high[0]
    assert min(hits.values()) >= 42  # of 95%, fewer than 1 in 1,000 is below


SKEWED = (  # quantiles of log-odds, and the true ones there
    [-60, -9.0, -6.3, -5.3, -3.7, -2.7, -2.1, -1.6, -1.2, -0.75, 0.02, 1.5, 2.8],
    [-70, -11.4, -7.9, -6.5, -4.5, -3.2, -2.5, -1.9, -1.5, -1.1, -0.7, -0.15, 0.3],
)


def skewed(seed, odds, true, samples=1500):
    places = (np.arange(samples) + 0.5) / samples
    odds, true = (np.interp(places, np.linspace(0, 1, len(odds)), each) for each in (odds, true))
    outcome = np.random.default_rng(seed).uniform(size=samples) < special.expit(true)
    given = ClassCases.of("a", odds, outcome, np.ones(samples), None)
    return given, np.abs(special.expit(true) - special.expit(odds))


def test_a_few_extreme_log_odds_do_not_decide_the_intervals():
    """Probabilities below 0.001 could be anything below it."""
    given, _ = skewed(2, *SKEWED)
    bounded = dataclasses.replace(given, odds=given.odds.clip(-7, None))
    found, expected = (
        calibration_curves.errors_of(each, calibration_curves.curve_of(each, None), 0.95)
        for each in (given, bounded)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(ends(one), ends(other), rtol=0.02)


@pytest.mark.parametrize("extreme", [-87.5, 100.0, 700.0])
def test_probabilities_that_round_to_0_or_1_have_bounds(extreme):
    rng = np.random.default_rng(1)
    odds = np.where(rng.uniform(size=2000) < 0.9, extreme, rng.normal(size=2000))
    outcome = rng.uniform(size=2000) < special.expit(odds)
    given = ClassCases.of("a", odds, outcome, np.ones(2000), None)
    curve = calibration_curves.curve_of(given, None)
    for found in calibration_curves.errors_of(given, curve, 0.95):
        assert 0 <= found.low <= found.value <= found.high < 1


def test_intervals_on_skewed_log_odds():
    """They cover, the lower bound is above 0, and the upper one not beyond a bootstrap's."""
    hits, lows, ratios = [], [], []
    for seed in range(40):
        given, distances = skewed(seed, *SKEWED)
        curve = calibration_curves.curve_of(given, None)
        found = calibration_curves.errors_of(given, curve, 0.95)
        truth = [distances.mean(), *np.quantile(distances, [0.5, 0.9]), distances.max()]
        hits.append([e.low <= t <= e.high for e, t in zip(found, truth, strict=True)])
        lows.append([found.ici.low, found.e90.low])
        ratio = recalibration.ratio_of(given, 0.95)
        ratios.append((1 - ratio.high) * given.probability.mean())
    assert np.sum(hits, axis=0).min() >= 31
    assert (np.array(lows) > 0).all()
    assert (np.array(lows)[:, 0] >= np.array(ratios)).all()
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(40):
        rows = rng.integers(0, given.odds.size, given.odds.size)
        again = ClassCases.of("a", given.odds[rows], given.outcome[rows], given.weights, None)
        fitted = calibration_curves.curve_of(again, None).band(again.odds, 0.95)[0]
        distances = np.abs(fitted - again.probability)
        drawn.append([distances.mean(), *np.quantile(distances, [0.5, 0.9])])
    widest = np.max(drawn, axis=0) - np.mean(drawn, axis=0)
    for interval, most in zip(found[:3], widest, strict=True):
        assert interval.high < interval.value + 2 * most


# What does not exist -----------------------------------------------------------------------------

ROWS = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.5, 0.2, 0.3]] * 10)


@pytest.mark.parametrize(
    ("labels", "rows", "reason"),
    [
        (np.tile([0, 1, 0, 1], 10), ROWS, "no case is of 2"),
        (np.full(40, 2), ROWS, "all cases are of 2"),
        (np.tile([0, 1, 2, 0], 10), ROWS, "without a mistake"),
    ],
)
def test_nan_where_there_is_nothing_to_fit(labels, rows, reason):
    with pytest.warns(UserWarning, match=reason):
        slope = metrics.calibration_slope(labels, rows, positive=2)
    assert np.isnan(ends(slope)).all()
    with pytest.warns(UserWarning, match=reason):
        curve = metrics.calibration_curve(labels, rows, positive=2)
    assert curve[["observed", "low", "high"]].isna().all(axis=None)
    assert curve["predicted"].notna().all()
    with pytest.warns(UserWarning, match=reason):
        errors = metrics.calibration_curve_errors(labels, rows, positive=2)
    assert np.isnan([ends(each) for each in errors]).all()
    with pytest.warns(UserWarning, match=reason) as caught:
        table = metrics.calibration_summary(labels, rows)
    assert len(caught) == 1
    of_class = table[table["class"] == "2"].set_index("metric")["value"]
    assert np.isnan(of_class[["slope", "ici"]]).all()
    assert np.isfinite(of_class["o_e"])
    assert plots.calibration_curve(labels, rows, positive=2).texts[0].get_text().count("n/a") >= 2


def test_one_probability_for_all():
    labels, rows = [1] * 30 + [0] * 70, [[0.8, 0.2]] * 100
    with pytest.warns(UserWarning, match="all probabilities of 1 are equal"):
        slope = metrics.calibration_slope(labels, rows, positive=1)
    assert np.isnan(ends(slope)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = metrics.calibration_curve(labels, rows, positive=1)
        errors = metrics.calibration_curve_errors(labels, rows, positive=1)
        exact = metrics.calibration_curve_errors(labels, [[0.7, 0.3]] * 100, positive=1)
    assert curve.shape == (1, 5)
    assert curve["observed"].tolist() == pytest.approx([0.3])
    assert curve["low"][0] < 0.22 < 0.39 < curve["high"][0]
    assert [each.value for each in errors] == pytest.approx([0.1] * 4)
    assert 0 < errors.ici.low < 0.03 < 0.17 < errors.ici.high < 0.25
    assert exact.ici.low == 0
    assert 0.06 < exact.ici.high < 0.12


def test_constant_probabilities_lack_the_slope_alone():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1], [888, 112]))
    with pytest.warns(UserWarning, match="all probabilities of 1 are equal"):
        table = metrics.calibration_summary(labels, [[0.89, 0.11]] * 1000, positive=1)
    values = table.set_index("metric")["value"]
    assert values["o_e"] == pytest.approx(0.112 / 0.11)
    assert values["intercept"] == pytest.approx(special.logit(0.112) - special.logit(0.11))
    assert values["ici"] == pytest.approx(0.002)
    assert table["low"].isna().tolist() == table["high"].isna().tolist()
    assert table["value"].isna().tolist() == [False, True, False, False, False, False]


@pytest.mark.parametrize("weight", [1, 1e-9])
@pytest.mark.parametrize("positive", ["never", ["sure", "other"]])
def test_nothing_expected_cannot_be_compared(positive, weight):
    """Of a class whose probabilities are all 0, and of all but it."""
    rows = np.array([[1.0, 0.0, 0.0], [0.4, 0.0, 0.6]] * 20, np.float32)
    given = Predictions(
        np.tile([0, 2, 1, 0], 10),
        rows,
        class_names=["sure", "never", "other"],
        sample_weight=np.full(40, weight),
    )
    with pytest.warns(UserWarning, match=r"fewer than 1e-6 cases of .* are expected"):
        intercept = metrics.calibration_intercept(given, positive=positive)
    assert np.isnan(ends(intercept)).all()
    if positive == "never":
        with pytest.warns(UserWarning, match="O/E is NaN: fewer than 1e-6 cases of never"):
            ratio = metrics.observed_expected_ratio(given, positive=positive)
        assert np.isnan(ends(ratio)).all()
    else:
        ratio = metrics.observed_expected_ratio(given, positive=positive)
        assert ratio.value == pytest.approx(0.75)
    with pytest.warns(UserWarning, match="fewer than 1e-6 cases"):
        table = metrics.calibration_summary(given)
    assert table["value"].dropna().abs().max() < 50


def test_weights_count_for_the_knots_too():
    rng = np.random.default_rng(0)
    odds = 2 * rng.normal(size=120)
    labels, rows = rng.uniform(size=120) < special.expit(0.5 * odds), special.expit(odds)
    rows = np.c_[1 - rows, rows]
    one = metrics.calibration_curve_errors(labels, rows, positive=1, sample_weight=[5] * 120)
    repeated = metrics.calibration_curve_errors(
        labels.repeat(5), rows.repeat(5, axis=0), positive=1
    )
    assert [e.value for e in one] == pytest.approx([e.value for e in repeated], rel=1e-7)


def test_a_class_called_all_is_no_row_of_all_classes():
    labels, logits = made()
    given = Predictions(labels, logits=logits, class_names=["all", "b", "c"])
    table = metrics.calibration_summary(given)
    assert not table.duplicated(["class", "metric"]).any()
    assert table["class"].tolist()[-2:] == ["", ""]
    assert not metrics.multinomial_recalibration(given).duplicated(["class", "metric"]).any()


def test_a_class_without_cases_is_left_out_of_the_multinomial():
    labels, rows = np.tile([0, 1, 0, 1, 1], 8), ROWS
    with pytest.warns(UserWarning, match="no case is of 2"):
        found = metrics.multinomial_recalibration(labels, rows)
    assert np.isnan(found["value"].iloc[2])
    two = rows[:, :2] / rows[:, :2].sum(axis=1, keepdims=True)
    slope = metrics.calibration_slope(labels, two, positive=1)
    np.testing.assert_allclose(found.iloc[-1, 2:].tolist(), ends(slope), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [0] * 300}, "groups: expected at least two groups, received one"),
        ({"groups": [0, 1]}, r"groups: expected shape \(300,\)"),
        ({"sample_weight": [-1.0] * 300}, "sample_weight: .* at least 0"),
        ({"sample_weight": [0.0] * 300}, "sample_weight: expected one above 0"),
        ({"confidence_level": 95}, "confidence_level: .*, received 95"),
        ({"positive": "melanoma"}, "positive: expected one of the classes 0, 1"),
        ({"positive": [0, 1]}, "positive: expected at least one class"),
    ],
)
def test_bad_arguments(function, options, message):
    with pytest.raises(InputError, match=message):
        function(CASES["y"], P, **{"positive": 1, **options})


def test_bad_arguments_of_curves():
    for knots in (7, [3], 3.5, "5"):
        with pytest.raises(InputError, match="num_knots: expected 3, 4, 5 or None, received"):
            metrics.calibration_curve(CASES["y"], P, positive=1, num_knots=knots)
    for reference in (2, "melanoma", [0, 1]):
        with pytest.raises(InputError, match="reference: expected one of the classes 0, 1"):
            metrics.multinomial_recalibration(CASES["y"], P, reference=reference)
    with pytest.raises(InputError, match="num_points: expected an integer of at least 2"):
        metrics.calibration_curve(CASES["y"], P, positive=1, num_points=1)
    with pytest.raises(InputError, match="bins: expected 'width' or 'mass' or 'isotonic'"):
        plots.reliability_diagram(CASES["y"], P, bins="equal")
    with pytest.raises(InputError, match="positive: expected one of the classes"):
        plots.calibration_curve(CASES["y"], P, positive="melanoma")
    with pytest.raises(InputError, match="probabilities: expected those of all classes"):
        metrics.calibration_summary(Predictions([0, 1], predicted=[0, 1], confidence=[0.9, 0.8]))
    assert not plt.get_fignums()


# Figures -----------------------------------------------------------------------------------------


def test_the_figure_draws_the_curve_and_the_probabilities():
    ax = plots.calibration_curve(CASES["y"], P, positive=1)
    expected = metrics.calibration_curve(CASES["y"], P, positive=1, num_points=201)
    (line,) = [each for each in ax.lines if each.get_label() == "Smooth curve"]
    np.testing.assert_allclose(line.get_xdata(), expected["predicted"])
    np.testing.assert_allclose(line.get_ydata(), expected["observed"])
    slope = metrics.calibration_slope(CASES["y"], P, positive=1).value
    assert f"slope {slope:.2f}" in ax.texts[0].get_text()
    own, rest = ax.child_axes[-1].patches
    heights = np.histogram(CASES["p"][CASES["y"] == 1], 50, (0, 1))[0] / CASES["y"].sum()
    np.testing.assert_allclose(own.get_data().values ** 2, heights, atol=1e-12)
    assert (rest.get_data().values <= 0).all()


@pytest.mark.parametrize(("classes", "panels"), [(3, 3), (14, 12)])
def test_classes_have_panels(classes, panels):
    labels, logits = made(300, classes)
    names = [f"class {k}" for k in range(classes)]
    given = Predictions(labels, logits=logits, class_names=names)
    ax = plots.calibration_curve(given)
    assert len(ax.child_axes) == panels
    largest = np.sort(np.argsort(-np.bincount(labels), kind="stable")[:panels])
    assert [panel.get_title() for panel in ax.child_axes] == [names[k] for k in largest]
    assert ("12 classes with most cases, of 14" in ax.get_title()) == (classes == 14)


@pytest.mark.parametrize("draw", [plots.calibration_curve, plots.probability_distributions])
def test_chosen_classes_have_panels(draw):
    labels, logits = made(300, 4)
    given = Predictions(labels, logits=logits, class_names=["bcc", "mel", "nv", "scc"])
    ax = draw(given, positive=[["mel"], ["mel", "bcc"], "nv"])
    titles = [panel.get_title().splitlines()[0] for panel in ax.child_axes]
    assert titles == ["mel", "bcc or mel", "nv"]
    alone = draw(given, positive=["mel", "bcc"])
    union = alone.child_axes[-1] if draw is plots.calibration_curve else alone
    panel = ax.child_axes[1]
    panel = panel.child_axes[-1] if draw is plots.calibration_curve else panel
    for one, other in zip(union.patches, panel.patches, strict=True):
        np.testing.assert_array_equal(one.get_data().values, other.get_data().values)
    with pytest.raises(InputError, match="positive: expected one of the classes"):
        draw(given, positive=[["mel"], ["melanoma"]])


def test_the_consistency_band_reaches_as_far_as_the_bars():
    labels, logits = made(500, 30)
    ax = plots.reliability_diagram(labels, special.softmax(logits, axis=1), bins="isotonic")
    bars = ax.containers[0]
    band = ax.collections[0].get_paths()[0].vertices[:, 0]
    assert band.min() == pytest.approx(bars[0].get_x())
    assert band.max() == pytest.approx(bars[-1].get_x() + bars[-1].get_width())
    assert "miscalibration" in ax.texts[0].get_text()


@pytest.mark.parametrize(("bins", "outlined"), [(15, True), (100, False)])
def test_many_bars_have_no_outlines(bins, outlined):
    labels, logits = made(2000)
    ax = plots.reliability_diagram(labels, special.softmax(logits, axis=1), num_bins=bins)
    bars = [*ax.containers[0], *ax.containers[1], *ax.child_axes[-1].containers[0]]
    assert {bar.get_linewidth() > 0 for bar in bars} == {outlined}


@pytest.mark.parametrize("weighted", [False, True])
def test_bars_of_equal_mass(weighted):
    labels, logits = made()
    weights = np.random.default_rng(1).integers(1, 4, 400)
    rows = special.softmax(logits, axis=1)
    if weighted:
        rows, labels = rows.repeat(weights, axis=0), labels.repeat(weights)
    confidence = np.sort(rows.max(axis=1))[::-1]
    cuts = np.arange(6) * confidence.size // 5
    given = {"sample_weight": weights} if weighted else {}
    once = (made()[0], special.softmax(logits, axis=1))
    ax = plots.reliability_diagram(*once, num_bins=5, bins="mass", **given)
    bars, gaps = ax.containers[:2]
    (shares,) = ax.child_axes[-1].containers
    assert len(bars) == 5
    for bar, gap, share, first, last in zip(
        bars, gaps, shares, cuts[-2::-1], cuts[:0:-1], strict=True
    ):
        inside = confidence[first:last]
        assert gap.get_y() + gap.get_height() == pytest.approx(inside.mean())
        assert share.get_height() == pytest.approx(inside.size / confidence.size)
        left, right = bar.get_x(), bar.get_x() + bar.get_width()
        assert left <= inside[-1] + 1e-9
        assert inside[0] <= right + 1e-9
    ace = metrics.adaptive_calibration_error(*once, num_bins=5, **given)
    assert f"ACE {ace:.1%}" in ax.texts[0].get_text()


def test_equal_confidences_are_one_bar():
    ax = plots.reliability_diagram([0, 1] * 20, [[0.7, 0.3]] * 40, bins="mass")
    assert len(ax.containers[0]) == 1
    assert ax.containers[0][0].get_height() == pytest.approx(0.5)
    ax = plots.reliability_diagram([0, 1] * 20, [[0.7, 0.3]] * 40, bins="isotonic")
    assert len(ax.containers[0]) == 1


@pytest.mark.parametrize("bins", ["mass", "isotonic"])
def test_a_sample_that_counts_for_several_bins(bins):
    rows = [[0.9, 0.1], [0.2, 0.8], [1.0, 0.0]]
    ax = plots.reliability_diagram([0, 1, 1], rows, bins=bins, sample_weight=[0, 1, 3.5])
    shares = [bar.get_height() for bar in ax.child_axes[-1].containers[0]]
    assert sum(shares) == pytest.approx(1)
    if bins == "mass":
        low, high = np.array(ax.containers[2].lines[2][0].get_segments())[:, :, 1].T
        assert np.all(high - low > 0.1)


def test_isotonic_bars_are_those_of_scikit_learn():
    from sklearn.isotonic import IsotonicRegression

    labels, logits = made()
    rows = special.softmax(logits, axis=1)
    ax = plots.reliability_diagram(labels, rows, bins="isotonic")
    confidence, correct = rows.max(axis=1), rows.argmax(axis=1) == labels
    fitted = IsotonicRegression().fit(confidence, correct).predict(confidence)
    heights = [bar.get_height() for bar in ax.containers[0]]
    np.testing.assert_allclose(heights, np.unique(fitted.round(12)), atol=1e-9)
    (band,) = ax.collections
    # About the diagonal, not about the bars.
    path = band.get_paths()[0].vertices
    assert np.abs(path[:, 1] - path[:, 0]).max() < 0.5
    assert "MCB" in ax.texts[0].get_text()
