"""Bias-corrected temperature, label shift and its test, against restatements and optimisers."""

from __future__ import annotations

import json
import warnings
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from lsplus_tf import Predictions, cli, metrics
from lsplus_tf.calibrators import (
    BiasCorrectedTemperature,
    Calibrator,
    LabelShift,
    label_shift_test,
)
from lsplus_tf.calibrators.prior_shift import _Mixture
from lsplus_tf.errors import InputError
from lsplus_tf.predictions import Columns, read_predictions


def drawn(
    cases: int,
    prevalence: list[float],
    *,
    seed: int = 0,
    distance: float = 1.5,
    too_large: float = 2.5,
    **more,
) -> Predictions:
    """Classes that are Gaussians; the network gives `too_large` times the logits that hold."""
    rng = np.random.default_rng(seed)
    classes = len(prevalence)
    labels = rng.choice(classes, cases, p=prevalence)
    seen = distance * np.eye(classes)[labels] + rng.normal(size=(cases, classes))
    return Predictions(labels, logits=too_large * 1.5 * seen, **more)


def mean_nll(scores: np.ndarray, labels: np.ndarray) -> float:
    return -float(log_softmax(scores, axis=1)[np.arange(len(labels)), labels].mean())


# --- bias-corrected temperature -------------------------------------------------------------------


@pytest.mark.parametrize("prevalence", [[0.7, 0.3], [0.6, 0.3, 0.1], [0.2] * 5])
def test_it_is_the_maximum_likelihood_of_another_optimiser(prevalence):
    held_out = drawn(600, prevalence)
    logits, labels = held_out.logits, held_out.labels
    classes = len(prevalence)

    def nll(parameters):
        return mean_nll(logits * parameters[0] + parameters[1:], labels)

    exact = minimize(nll, np.r_[1, np.zeros(classes)], method="BFGS", options={"gtol": 1e-7}).x
    fitted = BiasCorrectedTemperature().fit(held_out)
    assert fitted.temperature_ == pytest.approx(1 / exact[0], rel=1e-4)
    np.testing.assert_allclose(fitted.bias_, exact[1:] - exact[1:].mean(), atol=2e-4)
    assert fitted.bias_.sum() == pytest.approx(0, abs=1e-12)
    # What label shift starts from: each class has its share in the mean.
    shares = np.bincount(labels, minlength=classes) / len(labels)
    np.testing.assert_allclose(fitted.predict_proba(logits).mean(axis=0), shares, atol=1e-6)


def test_of_two_classes_it_is_scikit_learns_logistic_regression():
    held_out = drawn(500, [0.8, 0.2])
    margins = np.diff(held_out.logits, axis=1)
    regression = LogisticRegression(C=np.inf, tol=1e-8).fit(margins, held_out.labels)
    fitted = BiasCorrectedTemperature().fit(held_out)
    theirs = regression.predict_proba(margins)
    np.testing.assert_allclose(fitted.predict_proba(held_out.logits), theirs, atol=1e-5)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_no_best_temperature_is_told_and_stays_finite(size):
    labels = np.arange(60) % 3
    right = (np.eye(3)[labels] * 4 + np.random.default_rng(0).normal(size=(60, 3)) * 0.1) * size
    for logits, message in ((right, "without an error"), (-right, "nothing about the labels")):
        with pytest.warns(UserWarning, match=message):
            fitted = BiasCorrectedTemperature().fit(logits, labels)
        assert np.isfinite(np.log(fitted.predict_proba(right))).all()
        assert 0 < fitted.temperature_ < np.inf


# --- a prevalence that is known -------------------------------------------------------------------


def test_a_known_prevalence_is_bayes_rule():
    fitted = LabelShift().fit(drawn(400, [0.5, 0.3, 0.2]))
    new = drawn(50, [1 / 3] * 3, seed=1).logits
    before = fitted.predict_proba(new)
    np.testing.assert_array_equal(
        before, BiasCorrectedTemperature().fit(drawn(400, [0.5, 0.3, 0.2])).predict_proba(new)
    )
    target = [0.05, 0.9, 0.05]
    adapted = fitted.adapt(prevalence=target)
    for row, old in zip(adapted.predict_proba(new), before, strict=True):
        parts = [
            p * q / pi for p, q, pi in zip(old, target, fitted.source_prevalence_, strict=True)
        ]
        np.testing.assert_allclose(row, [part / sum(parts) for part in parts], rtol=1e-10)
    # The first stays as it is, a class may not occur at all, and a file keeps it.
    np.testing.assert_array_equal(fitted.predict_proba(new), before)
    never = fitted.adapt(prevalence=[0.5, 0.5, 0])
    assert (never.predict_proba(new)[:, 2] == 0).all()
    assert np.isfinite(never.predict_proba(new)).all()
    again = Calibrator.from_json(never.to_json())
    np.testing.assert_array_equal(again.predict_proba(new), never.predict_proba(new))
    np.testing.assert_allclose(
        fitted.adapt(prevalence=fitted.source_prevalence_).predict_proba(new), before
    )


def test_where_the_shift_is_known_the_network_at_the_target_is_met():
    """Gaussians a distance apart: the posterior at any prevalence is known in closed form."""
    fitted = LabelShift().fit(drawn(200_000, [0.7, 0.3]))
    new = drawn(1000, [0.1, 0.9], seed=1)
    exact = softmax(new.logits / 2.5 + np.log([0.1, 0.9]), axis=1)
    np.testing.assert_allclose(
        fitted.adapt(prevalence=[0.1, 0.9]).predict_proba(new.logits), exact, atol=0.01
    )


def test_without_a_fit_the_probabilities_are_taken_as_they_are():
    new = drawn(50, [0.5, 0.3, 0.2], too_large=1)
    source, target = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.1, 0.8])
    taken = LabelShift.uncalibrated(source)
    np.testing.assert_allclose(taken.predict_proba(new.logits), new.probabilities, atol=1e-12)
    adapted = taken.adapt(prevalence=target)
    joint = new.probabilities * target / source
    expected = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(adapted.calibrate(new).probabilities, expected, atol=1e-12)
    again = Calibrator.from_json(adapted.to_json())
    np.testing.assert_array_equal(
        again.predict_proba(new.logits), adapted.predict_proba(new.logits)
    )
    for shares, message in (
        ([0.5, 0.5, 0.0], "source_prevalence: expected shares > 0"),
        ([1.0], "of two classes or more"),
        ([[0.5, 0.5]], "source_prevalence: expected shape"),
        ([0.5, 0.6], "source_prevalence: expected shares >= 0 that sum to 1"),
    ):
        with pytest.raises(InputError, match=message):
            LabelShift.uncalibrated(shares)


# --- a prevalence that is estimated ---------------------------------------------------------------


def exact_em(ratios: list[list[Fraction]], start: list[Fraction], steps: int) -> list[Fraction]:
    """Saerens et al.'s EM as they write it, in fractions."""
    shares = start
    for _ in range(steps):
        posteriors = []
        for row in ratios:
            joint = [share * ratio for share, ratio in zip(shares, row, strict=True)]
            posteriors.append([each / sum(joint) for each in joint])
        shares = [sum(column) / len(ratios) for column in zip(*posteriors, strict=True)]
    return shares


def test_a_step_is_that_of_saerens_in_fractions():
    ratios = [[1, 2, 4], [3, 1, 1], [1, 5, 2], [2, 2, 1]]
    start = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)]
    mixture = _Mixture(np.log(np.array(ratios, float)), np.ones(4))
    received = np.array([float(each) for each in start])
    for steps in (1, 2, 3):
        received, _ = mixture.step(received)
        expected = exact_em([[Fraction(each) for each in row] for row in ratios], start, steps)
        np.testing.assert_allclose(received, [float(each) for each in expected], rtol=1e-14)


@pytest.mark.parametrize("ones", [90, 120, 200, 230])
@pytest.mark.filterwarnings("ignore:the 300 cases say little")
def test_two_kinds_of_cases_have_a_closed_form(ones):
    """x is 0 or 1, with P(x = 1 | k) = 0.2 and 0.8: q = (share of ones - 0.2) / 0.6."""
    zero, one = [[2, 0], [0, 2]]
    fitted = LabelShift().fit([zero] * 50 + [one] * 50, [0] * 40 + [1] * 10 + [0] * 10 + [1] * 40)
    target = [one] * ones + [zero] * (300 - ones)
    row = fitted.estimate_prevalence(target).loc["1"]
    exact = (ones / 300 - 0.2) / 0.6
    assert row["prevalence"] == pytest.approx(exact, abs=1e-5)  # BCTS is found to 1e-6
    # Of the target's share of ones, and of the 0.2 and 0.8, each seen in 50 cases.
    variances = [ones / 300 * (1 - ones / 300) / 300, *[0.2 * 0.8 / 50] * 2]
    error = np.sqrt(np.array([1, (1 - exact) ** 2, exact**2]) @ variances * 301 / 300) / 0.6
    assert row["standard_error"] == pytest.approx(error, rel=1e-3)
    odds = np.log(exact / (1 - exact))
    half = stats.t.ppf(0.975, 300) * error / (exact * (1 - exact))
    bounds = [1 / (1 + np.exp(-odds - side * half)) for side in (-1, 1)]
    np.testing.assert_allclose(row[["low", "high"]], bounds, rtol=1e-3)


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_it_is_scipys_maximum_of_the_mixtures_likelihood(classes):
    rng = np.random.default_rng(classes)
    prevalence = rng.dirichlet(np.ones(classes))
    ratios = softmax(drawn(300, [*prevalence], seed=1, too_large=1).logits, axis=1)
    weights = rng.integers(0, 4, 300).astype(float)
    found = _Mixture(np.log(ratios), weights).most_likely(np.full(classes, 1 / classes))

    def fall(free):
        shares = softmax(free)
        return -weights @ np.log(ratios @ shares)

    best = min(
        (minimize(fall, rng.normal(size=classes), options={"gtol": 1e-9}) for _ in range(3)),
        key=lambda result: result.fun,
    )
    likelihood = weights @ np.log(ratios @ found)
    assert likelihood >= -best.fun - 1e-8
    np.testing.assert_allclose(found, softmax(best.x), atol=1e-5)
    # As if each case were repeated.
    repeated = np.repeat(ratios, weights.astype(int), axis=0)
    again = _Mixture(np.log(repeated), np.ones(len(repeated)))
    np.testing.assert_allclose(again.most_likely(np.full(classes, 1 / classes)), found, atol=1e-7)


def test_no_step_lowers_the_likelihood_and_the_last_is_none():
    """Classes that are hardly told apart, where EM itself takes thousands of steps."""
    target = drawn(400, [0.6, 0.1, 0.3], distance=0.2, too_large=0.15)
    mixture = _Mixture(log_softmax(target.logits, axis=1), np.ones(400))
    seen = []
    step = mixture.step

    def watched(shares):
        after, likelihood = step(shares)
        seen.append((shares, after, likelihood))
        return after, likelihood

    mixture.step = watched
    found = mixture.most_likely(np.array([0.2, 0.2, 0.6]))
    assert len(seen) < 3000
    for _, after, likelihood in seen:
        assert mixture.log_likelihood(after) >= likelihood - 1e-9
    np.testing.assert_allclose(step(found)[0], found, atol=1e-9)
    firsts = [likelihood for _, _, likelihood in seen[::3]]
    assert all(np.diff(firsts) >= -1e-9)


def test_under_label_shift_the_prevalence_is_found_and_calibration_mended():
    fitted = LabelShift().fit(drawn(3000, [0.5, 0.3, 0.2]))
    target = drawn(3000, [0.05, 0.15, 0.8], seed=1)
    table = fitted.estimate_prevalence(target)
    np.testing.assert_allclose(table["prevalence"], [0.05, 0.15, 0.8], atol=0.03)
    assert ((table["low"] < [0.05, 0.15, 0.8]) & (table["high"] > [0.05, 0.15, 0.8])).all()
    adapted = fitted.adapt(target)
    np.testing.assert_allclose(adapted.prevalence_, table["prevalence"], atol=1e-12)
    before, after = (metrics.evaluate(each.calibrate(target)) for each in (fitted, adapted))
    assert before["ece"] > 0.05
    assert after["ece"] < 0.03
    for key in ("nll", "brier"):
        assert after[key] < before[key]
    assert after["accuracy"] > before["accuracy"]
    # The mean adapted probability is the prevalence by construction: it is no check.
    mean = adapted.calibrate(target).probabilities.mean(axis=0)
    np.testing.assert_allclose(mean, table["prevalence"], atol=1e-6)


def test_labels_of_the_target_are_not_looked_at_and_order_does_not_matter():
    fitted = LabelShift().fit(drawn(500, [0.6, 0.4]))
    target = drawn(200, [0.2, 0.8], seed=1)
    expected = fitted.adapt(target).prevalence_
    for other in (
        target.replace(labels=1 - target.labels),
        Predictions(None, logits=target.logits),
        Predictions(None, probabilities=softmax(target.logits, axis=1)),
        target.logits + 7.0,
        target.take(np.arange(200)[::-1]),
    ):
        np.testing.assert_allclose(fitted.adapt(other).prevalence_, expected, atol=1e-8)


def test_weights_count_as_repetitions_and_groups_widen():
    fitted = LabelShift().fit(drawn(100_000, [0.6, 0.4]))
    rng = np.random.default_rng(2)
    weights = rng.integers(1, 4, 300)
    target = drawn(300, [0.2, 0.8], seed=1)
    weighed = Predictions(None, logits=target.logits, sample_weight=weights)
    repeated = target.take(np.repeat(np.arange(300), weights))
    np.testing.assert_allclose(
        fitted.estimate_prevalence(weighed)["prevalence"],
        fitted.estimate_prevalence(repeated)["prevalence"],
        atol=1e-8,
    )
    # Each case twice, in a group of its own, is what each is once.
    twice = Predictions(
        None, logits=np.repeat(target.logits, 2, axis=0), groups=np.repeat(np.arange(300), 2)
    )
    once, grouped = (fitted.estimate_prevalence(each) for each in (target, twice))
    np.testing.assert_allclose(grouped, once, atol=1e-8)
    apart = fitted.estimate_prevalence(twice, groups=np.arange(600))
    narrower = apart["high"] - apart["low"]
    assert (narrower < 0.75 * (once["high"] - once["low"])).all()


# --- where nothing can be said --------------------------------------------------------------------


def test_an_absent_class_has_clopper_and_pearsons_bound_and_no_probability_of_zero():
    """Of classes told apart for certain the cases are counted."""
    fitted = LabelShift().fit(*certain([40, 40, 20]))
    with pytest.warns(UserWarning, match=r"no case of the class '2' is found among the 200"):
        table = fitted.estimate_prevalence(certain([150, 50, 0])[0])
    row = table.loc["2"]
    exact = stats.binomtest(0, 200).proportion_ci(method="exact").high
    assert (row["prevalence"], row["low"]) == (0, 0)
    assert exact < row["high"] < 1.1 * exact  # one of 50 is mistaken
    assert np.isnan(row["standard_error"])
    np.testing.assert_allclose(table["prevalence"][:2], [0.75, 0.25], atol=0.01)
    with pytest.warns(UserWarning, match="give the prevalence where it is known"):
        adapted = fitted.adapt(certain([150, 50, 0])[0])
    assert adapted.prevalence_[2] == pytest.approx(0.5 / 200, rel=0.01)
    assert (adapted.predict_proba(certain([1, 1, 1])[0]) > 0).all()
    with pytest.warns(UserWarning, match="no case of the 2 classes"):
        only = fitted.estimate_prevalence(certain([200, 0, 0])[0])
    assert only.loc["0", "prevalence"] == 1
    assert 0.9 < only.loc["0", "low"] < 1 == only.loc["0", "high"]


def certain(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Logits of classes that are told apart, but for one of 20 where there are as many."""
    labels = np.repeat(np.arange(len(counts)), counts)
    given = labels.copy()
    if min(counts) >= 20:
        given[np.cumsum(counts) - 1] = (given[np.cumsum(counts) - 1] + 1) % len(counts)
    return 9.0 * np.eye(len(counts))[given], labels


def test_the_bound_of_an_absent_class_is_where_the_likelihood_has_fallen():
    """With two classes nothing else moves, so that it can be searched for anew."""
    fitted = LabelShift().fit(drawn(2000, [0.5, 0.5]))
    target = drawn(100, [1.0, 0.0], seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        row = fitted.estimate_prevalence(target).loc["1"]
    assert row["prevalence"] == 0
    posterior = fitted.predict_proba(target.logits) / fitted.source_prevalence_
    ratio = posterior[:, 1] / posterior[:, 0]

    def likelihood(share):
        return np.log(1 - share + share * ratio).sum()

    bound = brentq(lambda share: likelihood(share) - np.log(0.025), 1e-9, 0.9)
    assert row["high"] == pytest.approx(bound, rel=1e-4)


def test_what_says_little_is_told():
    fitted = LabelShift().fit(drawn(500, [0.6, 0.4]))
    with pytest.warns(
        UserWarning, match="the 4 cases say little .* that of the class '0' may be 0% to"
    ):
        fitted.adapt(drawn(4, [0.5, 0.5], seed=3))
    with pytest.warns(UserWarning, match="do not separate the classes"):
        table = fitted.estimate_prevalence(np.tile([1.0, 1.0], (50, 1)) * fitted_flat(fitted))
    assert table[["low", "high"]].isna().all(axis=None)


def fitted_flat(fitted: LabelShift) -> np.ndarray:
    """Logits at which both classes are as likely as where it was fitted."""
    return (np.log(fitted.source_prevalence_) - fitted.bias_) * fitted.temperature_


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of the two, received neither"),
        ({"target": np.ones((9, 2)), "prevalence": [0.5, 0.5]}, "received both"),
        ({"target": [[1.0, 2.0]]}, "expected at least 2 cases.*received 1"),
        ({"target": np.ones((9, 3))}, "expected 2 columns"),
        (
            {"target": Predictions([0, 1], predicted=[0, 1], confidence=[0.9, 0.8])},
            "probabilities: expected",
        ),
        ({"prevalence": [0.5, 0.6]}, "shares >= 0 that sum to 1"),
        ({"prevalence": [1.5, -0.5]}, "shares >= 0 that sum to 1"),
        ({"prevalence": [np.nan, 1]}, "shares >= 0 that sum to 1"),
        ({"prevalence": [1.0]}, r"expected shape \(2,\)"),
        ({"prevalence": ["a", "b"]}, "prevalence: expected 2 numbers"),
    ],
)
def test_what_adapt_refuses(arguments, message):
    fitted = LabelShift().fit(drawn(100, [0.6, 0.4]))
    with pytest.raises(InputError, match=message):
        fitted.adapt(**arguments)


# --- whether it is label shift --------------------------------------------------------------------


def test_the_test_is_pearsons_where_the_target_alone_is_random():
    """A source without end: the shares of cells are compared with known ones, in closed form."""
    one, two = (
        np.array([3, 1, 1, 5]),
        np.array([1, 4, 2, 3]),
    )
    margins = np.array([-2.0, -1.0, 1.0, 2.0])

    def cases(counts):
        margin = np.repeat(margins, counts)
        return np.stack([-margin, margin], axis=1)

    source = Predictions(
        np.repeat([0, 1], [10 * 10**5, 10 * 10**5]),
        logits=np.concatenate([cases(one * 10**5), cases(two * 10**5)]),
    )
    observed = np.array([80, 100, 90, 130])
    found = label_shift_test(source, Predictions(None, logits=cases(observed)))

    def neyman(share):  # the variance at the observed shares
        expected = 400 * ((1 - share) * one + share * two) / 10
        return ((observed - expected) ** 2 / observed).sum()

    least = minimize_scalar(neyman, bounds=(-2, 3), method="bounded")
    assert found.degrees_of_freedom == 2
    assert found.statistic == pytest.approx(least.fun, rel=2e-3)
    assert found.p_value == pytest.approx(stats.chi2.sf(found.statistic, 2), abs=0.005)
    np.testing.assert_allclose(found.table["share"], observed[[1, 0, 2, 3]] / 400)
    assert found.table["expected"].sum() == pytest.approx(1)


def test_it_rejects_harder_cases_and_seldom_another_prevalence(monkeypatch):
    monkeypatch.setattr("lsplus_tf.calibrators.shift_test._DRAWS", 99)
    rejected = {1.5: 0, 0.8: 0}
    for seed in range(40):
        source = drawn(500, [0.4, 0.4, 0.2], seed=seed)
        for distance in rejected:
            target = drawn(500, [0.1, 0.2, 0.7], seed=1000 + seed, distance=distance)
            rejected[distance] += label_shift_test(source, target).p_value < 0.05
    assert rejected[1.5] <= 6  # 1% of samples have more than 6 of 40 at 5%
    assert rejected[0.8] >= 34


def test_weights_and_groups_of_the_test():
    rng = np.random.default_rng(0)
    source, target = drawn(900, [0.5, 0.5]), drawn(900, [0.4, 0.6], seed=1)
    plain = label_shift_test(source, target)
    twice = label_shift_test(
        *(
            Predictions(
                np.repeat(each.labels, 2),
                logits=np.repeat(each.logits, 2, axis=0),
                groups=np.repeat(np.arange(900), 2),
            )
            for each in (source, target)
        )
    )
    assert twice.statistic == pytest.approx(plain.statistic, rel=5e-3)
    assert twice.p_value == pytest.approx(plain.p_value, abs=0.05)
    weighed = Predictions(None, logits=target.logits, sample_weight=rng.integers(1, 4, 900))
    found = label_shift_test(source, weighed)
    repeated = target.take(np.repeat(np.arange(900), weighed.weights.astype(int)))
    cells = label_shift_test(source, repeated).table
    assert found.table["share"].sum() == pytest.approx(1)
    assert len(cells) == len(found.table)


def test_what_the_test_refuses():
    source = drawn(100, [0.5, 0.5])
    with pytest.raises(InputError, match="target: expected the source's classes 0, 1"):
        label_shift_test(source, drawn(100, [0.5, 0.3, 0.2]))
    with pytest.raises(InputError, match="received none of 1"):
        label_shift_test(source.replace(labels=np.zeros(100, int)), source)
    with pytest.raises(InputError, match="labels"):
        label_shift_test(Predictions(None, logits=source.logits), source)
    with pytest.raises(InputError, match=r"target: expected lsp\.Predictions, received a ndarray"):
        label_shift_test(source, source.logits)
    for other, message in (
        (source.replace(groups=np.zeros(100, int)), "target has 1 group, and .* at least 5 groups"),
        (source.take([0]), "target has 1 case, and the test needs at least 5 cases"),
    ):
        with pytest.warns(UserWarning, match=message):
            assert np.isnan(label_shift_test(source, other).p_value)
    few = source.take(np.arange(15))
    with pytest.warns(UserWarning, match="some 80 in all"):
        assert np.isnan(label_shift_test(few, few).p_value)


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """Labelled held-out predictions, and the unlabelled ones of predict, its classes swapped."""
    names = ("normal", "ill")
    held_out = drawn(500, [0.6, 0.4])
    np.savez(
        tmp_path / "held_out.npz",
        logits=held_out.logits,
        labels=held_out.labels,
        class_names=names,
    )
    target = drawn(300, [0.1, 0.9], seed=1)
    rows = ["file,predicted,confidence,abstained,probability_ill,probability_normal"]
    for k, (a, b) in enumerate(target.probabilities):
        rows.append(f"{k}.png,{names[int(b > a)]},{max(a, b):.8g},no,{b:.8g},{a:.8g}")
    (tmp_path / "target.csv").write_text("\n".join(rows))
    return tmp_path


def calibrate(folder, monkeypatch, capsys, *options):
    monkeypatch.setattr(
        "sys.argv",
        [
            *("lsplus-tf", "calibrate", str(folder / "held_out.npz")),
            *("--out", str(folder / "c.json")),
            *options,
        ],
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_calibrate_adapts_to_a_file_or_to_shares(files, monkeypatch, capsys):
    held_out = read_predictions(files / "held_out.npz")
    fitted = LabelShift().fit(held_out)
    target = read_predictions(files / "target.csv", Columns(label="")).ordered(("normal", "ill"))
    with pytest.raises(InputError, match="with labels"):
        target.need("labels")
    code, out, _ = calibrate(
        files, monkeypatch, capsys, "--method", "label_shift", "--adapt-to",
        str(files / "target.csv"),
    )  # fmt: skip
    assert code == 0
    loaded = LabelShift.load(files / "c.json")
    assert loaded.same_as(fitted.adapt(target))
    assert loaded.held_out_["cases"] == 500  # before it is adapted
    assert "Prevalence among the 300 cases of target.csv" in out
    ill = 100 * fitted.estimate_prevalence(target).loc["ill"]
    assert f"[{ill['low']:.1f}, {ill['high']:.1f}]" in out
    assert "Another prevalence can explain" in " ".join(out.split())
    shares = ("--method", "label_shift", "--prevalence", "ill=0.9, normal=0.1")
    code, out, _ = calibrate(files, monkeypatch, capsys, *shares)
    assert code == 0
    assert "Adapted to normal 0.1, ill 0.9" in out
    assert LabelShift.load(files / "c.json").prevalence_.tolist() == [0.1, 0.9]


def test_calibrate_says_where_no_prevalence_explains_the_target(files, monkeypatch, capsys):
    harder = drawn(500, [0.4, 0.6], seed=2, distance=0.8)
    np.savez(files / "harder.npz", logits=harder.logits)
    code, out, _ = calibrate(
        files, monkeypatch, capsys, "--method", "label_shift", "--adapt-to",
        str(files / "harder.npz"), "--class-names", "normal,ill",
    )  # fmt: skip
    assert code == 0
    assert "No prevalence explains these predictions" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prevalence", "ill=1"), "--prevalence: expected beside --method label_shift"),
        (("--method", "label_shift"), "--adapt-to FILE; received neither"),
        (
            ("--method", "label_shift", "--prevalence", "ill=1", "--adapt-to", "x.csv"),
            "received --prevalence and --adapt-to",
        ),
        (("--method", "label_shift", "--prevalence", "ill=0.5"), "a share for each of normal, ill"),
        (("--method", "label_shift", "--prevalence", "sick=0.5"), "received 'sick=0.5'"),
        (("--method", "label_shift", "--prevalence", "ill=x,normal=1"), "received 'ill=x'"),
        (("--method", "label_shift", "--prevalence", "ill=-1,normal=2"), "received 'ill=-1'"),
        (("--method", "label_shift", "--prevalence", "ill=0.5,normal=0.6"), "which sum to 1"),
        (("--method", "label_shift", "--prevalence", "ill=nan,normal=1"), "received 'ill=nan'"),
        (("--method", "label_shift", "--adapt-to", "none.csv"), "none.csv"),
        (("--method", "label_shift", "--adapt-to", "conf.csv"), "probabilities of all classes in"),
        (
            ("--method", "label_shift", "--adapt-to", "three.npz"),
            "--adapt-to: expected predictions of the classes normal, ill, as those that are fitted "
            "to have, received 0, 1, 2 in",
        ),
        (
            ("--method", "label_shift", "--adapt-to", "other.npz"),
            "received normal, cancer in",
        ),
        (("--method", "label_shift", "--adapt-to", "one.npz"), "at least 2 cases, of which"),
        (("--method", "label_shift", "--adapt-to", "empty.csv"), "empty.csv"),
    ],
)
def test_what_calibrate_refuses(files, monkeypatch, capsys, options, message):
    """Before anything is fitted."""

    def refuse(*given):
        raise AssertionError("fitted")

    (files / "conf.csv").write_text("predicted,confidence\nill,0.9\nnormal,0.8\nill,0.7\n")
    (files / "empty.csv").write_text("")
    np.savez(files / "three.npz", logits=3 * np.eye(3))
    np.savez(files / "one.npz", logits=[[0.0, 1.0]])
    np.savez(files / "other.npz", logits=3 * np.eye(2), class_names=["normal", "cancer"])
    monkeypatch.chdir(files)
    monkeypatch.setattr(LabelShift, "fit", refuse)
    code, _, err = calibrate(files, monkeypatch, capsys, *options)
    assert code == 2
    assert message in " ".join(err.split())
    assert not (files / "c.json").exists()


def test_a_file_with_the_wrong_shares_is_refused():
    document = json.loads(LabelShift().fit(drawn(100, [0.6, 0.4])).to_json())
    for shares in ([0.0, 0.0], [-1.0, 2.0], [0.2, 0.3, 0.5]):
        document["fitted"]["prevalence_"] = shares
        with pytest.raises(InputError, match="not a calibrator saved by lsplus_tf"):
            Calibrator.from_json(json.dumps(document))


def test_a_class_of_next_to_nothing_has_no_interval_of_everything():
    """On the scale of the logit it went from 0 to 1, as the estimate is far below its error."""
    fitted = LabelShift().fit(drawn(2000, [0.4, 0.3, 0.3], distance=0.8))
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for seed in range(30):
            target = drawn(300, [0.5, 0.48, 0.02], distance=0.8, seed=seed)
            found.append(fitted.estimate_prevalence(target).iloc[2])
    small = [row for row in found if 0 < row["prevalence"] < 0.5 * row["standard_error"]]
    assert len(small) > 3
    assert all(row["low"] == 0 and row["high"] < 0.5 for row in small)


# --- weights, groups and names --------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1 / 400, 1.0, 7.0])
def test_the_scale_of_weights_changes_nothing_and_weight_0_is_absent(scale):
    held_out, target = drawn(400, [0.6, 0.4]), drawn(400, [0.99, 0.01], seed=1)
    weights = np.random.default_rng(2).integers(1, 4, 400)

    def both(factor, more=0):
        """With cases of weight 0 after them, which have another class and a group of their own."""
        return [
            Predictions(
                np.r_[each.labels, np.ones(more, int)],
                logits=np.vstack([each.logits, np.full((more, 2), [9.0, 0.0])]),
                sample_weight=np.r_[factor * weights, np.zeros(more)],
                groups=np.r_[np.arange(400) // 4, np.full(more, 1000)],
            )
            for each in (held_out, target)
        ]

    expected, found = both(1.0), both(scale, more=50)
    fitted, same = LabelShift().fit(expected[0]), LabelShift().fit(found[0])
    for name in ("covariance_", "bias_", "source_prevalence_"):
        np.testing.assert_allclose(getattr(same, name), getattr(fitted, name), atol=1e-6)
    np.testing.assert_allclose(
        same.estimate_prevalence(found[1]), fitted.estimate_prevalence(expected[1]), atol=1e-6
    )
    tests = [label_shift_test(*each) for each in (expected, found)]
    assert tests[1].p_value == pytest.approx(tests[0].p_value)
    assert tests[1].statistic == pytest.approx(tests[0].statistic)


def test_label_shift_is_fitted_to_weights_as_to_repeated_cases():
    held_out = drawn(300, [0.6, 0.3, 0.1])
    weights = np.random.default_rng(1).integers(1, 4, 300)
    weighed = LabelShift().fit(held_out.weighted(weights.astype(float)))
    rows = np.repeat(np.arange(300), weights)
    repeated = LabelShift().fit(held_out.take(rows).replace(groups=rows))
    for name in ("temperature_", "bias_", "source_prevalence_"):
        np.testing.assert_allclose(getattr(weighed, name), getattr(repeated, name), rtol=1e-5)
    # A case that counts thrice is one case: the covariance is that of groups.
    np.testing.assert_allclose(
        repeated.covariance_, weighed.covariance_ * 300 / 299, rtol=1e-4, atol=1e-9
    )


def test_the_fits_error_is_that_of_its_groups():
    held_out = drawn(200, [0.6, 0.4])
    once = LabelShift().fit(held_out)
    tenfold = held_out.take(np.repeat(np.arange(200), 10))
    grouped = LabelShift().fit(tenfold.replace(groups=np.repeat(np.arange(200), 10)))
    np.testing.assert_allclose(grouped.covariance_, once.covariance_ * 200 / 199, rtol=1e-4)
    apart = LabelShift().fit(tenfold)
    np.testing.assert_allclose(apart.covariance_, once.covariance_ / 10, rtol=1e-4)
    with pytest.warns(UserWarning, match="of a single group"):
        LabelShift().fit(held_out.replace(groups=np.zeros(200, int)))


def test_intervals_cover_where_each_group_of_the_fit_has_one_label():
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = rng.choice(2, 50, p=[0.6, 0.4])
        groups = np.repeat(np.arange(50), 10)
        seen = 1.5 * np.eye(2)[labels[groups]] + rng.normal(size=(500, 2))
        held_out = Predictions(labels[groups], logits=1.5 * seen, groups=groups)
        target = drawn(2000, [0.3, 0.7], seed=1000 + seed)
        row = LabelShift().fit(held_out).estimate_prevalence(target.logits / 2.5).iloc[0]
        covered += row["low"] <= 0.3 <= row["high"]
    assert covered >= 52  # of 57 at 95%; 1% of samples have fewer than 53


def test_a_calibrator_keeps_the_names_of_its_classes():
    named = drawn(300, [0.6, 0.4]).replace(class_names=["normal", "ill"])
    swapped = named.ordered(["ill", "normal"])
    other = named.replace(class_names=["normal", "cancer"])
    fitted = LabelShift().fit(named)
    for calibrator in (fitted, Calibrator.from_json(fitted.to_json())):
        assert calibrator.class_names_ == ("normal", "ill")
        for given in (swapped, other):
            for use in (calibrator.calibrate, calibrator.adapt, calibrator.estimate_prevalence):
                with pytest.raises(InputError, match="classes normal, ill in this order, received"):
                    use(given)
        unnamed = named.replace(class_names=["0", "1"])
        np.testing.assert_array_equal(
            calibrator.calibrate(unnamed).probabilities, calibrator.calibrate(named).probabilities
        )
        assert [*calibrator.estimate_prevalence(unnamed).index] == ["normal", "ill"]
    with pytest.raises(InputError, match=r"ordered puts them in another order"):
        label_shift_test(named, swapped)
    # What was fitted to no names, or is of a file without them, fits any.
    for free in (LabelShift().fit(named.logits, named.labels), LabelShift().fit(unnamed)):
        assert free.class_names_ is None
        free.calibrate(swapped)
    document = json.loads(fitted.to_json())
    del document["class_names"]
    assert Calibrator.from_json(json.dumps(document)).class_names_ is None
    for names in (["normal"], ["a", "a"], [1, 2], "ab"):
        with pytest.raises(InputError, match="class names are not 2 different texts"):
            Calibrator.from_json(json.dumps(document | {"class_names": names}))


def test_predictions_that_say_nothing_leave_the_prevalence_and_are_told():
    fitted = LabelShift().fit(drawn(500, [0.5, 0.3, 0.2]))
    with pytest.warns(UserWarning, match="do not separate the classes"):
        table = fitted.estimate_prevalence(np.zeros((50, 3)))
    np.testing.assert_array_equal(table["prevalence"], fitted.source_prevalence_)
    assert table[["low", "high", "standard_error"]].isna().all(axis=None)


def test_messages_show_no_type_of_numpy():
    fitted = LabelShift().fit(drawn(100, [0.6, 0.4]))
    for shares in ([np.float64(0.5), "x"], np.array([0.5, 0.6]), [np.float64(-1), np.float64(2)]):
        with pytest.raises(InputError, match="prevalence: expected") as raised:
            fitted.adapt(prevalence=shares)
        assert "np." not in str(raised.value)


# --- the level of the test ------------------------------------------------------------------------


def few_groups(rng, groups, prevalence):
    labels = rng.choice(2, 400, p=prevalence)
    codes = np.repeat(np.arange(groups), 400 // groups)
    seen = 1.5 * np.eye(2)[labels] + rng.normal(size=(400, 2))
    seen += 0.7 * rng.normal(size=(groups, 2))[codes]
    return Predictions(labels, logits=1.5 * seen, groups=codes)


@pytest.mark.parametrize("kind", ["small source", "rare class", "few groups"])
def test_label_shift_is_seldom_rejected(kind, monkeypatch):
    monkeypatch.setattr("lsplus_tf.calibrators.shift_test._DRAWS", 99)
    rejected = 0
    for seed in range(60):
        if kind == "small source":  # 31% where chi-squared's distribution was taken
            pair = (
                drawn(300, [0.4, 0.3, 0.2, 0.1], seed=seed),
                drawn(5000, [0.1, 0.2, 0.3, 0.4], seed=1000 + seed),
            )
        elif kind == "rare class":
            pair = drawn(100, [0.5, 0.5], seed=seed), drawn(5000, [0.2, 0.8], seed=1000 + seed)
        else:  # 32%
            rng = np.random.default_rng(seed)
            pair = few_groups(rng, 8, [0.6, 0.4]), few_groups(rng, 8, [0.3, 0.7])
        rejected += label_shift_test(*pair).p_value <= 0.05
    assert rejected <= 8  # 0.5% of samples have more of 60 at 5%


def test_ten_classes_of_few_hundred_cases_have_a_p_value():
    source = drawn(360, [0.1] * 10, distance=2.5)
    alike, harder = (
        label_shift_test(source, drawn(360, [*np.arange(1, 11) / 55], distance=each, seed=1))
        for each in (2.5, 1.2)
    )
    assert alike.degrees_of_freedom > 10
    assert alike.p_value > 0.01 >= harder.p_value
