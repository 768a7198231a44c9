"""What an audit measures, against other computations and simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

import lsplus_tf as lsp
from lsplus_tf.auditing import cross_fitting
from lsplus_tf.auditing.automatic import automatic_share
from lsplus_tf.auditing.chance import ece_by_chance
from lsplus_tf.auditing.comparison import compare, match
from lsplus_tf.auditing.gaps import gap_estimate, gaps_by_part, mean_estimate
from lsplus_tf.calibrators import CALIBRATORS, TemperatureScaling
from lsplus_tf.errors import InputError
from lsplus_tf.metrics.intervals import design_effect
from lsplus_tf.predictions import Predictions


def drawn(rng: np.random.Generator, samples: int, classes: int, sharper: float = 1.0, **more):
    """Labels that are drawn from probabilities, and a model whose logits are times `sharper`."""
    logits = 1.5 * rng.normal(size=(samples, classes))
    probabilities = lsp.metrics.softmax(logits)
    labels = (probabilities.cumsum(axis=1) < rng.random((samples, 1))).sum(axis=1)
    labels = labels.clip(0, classes - 1)
    return lsp.Predictions(labels, logits=sharper * logits, **more)


# Means and gaps -----------------------------------------------------------------------------------


def test_a_mean_is_students():
    values = np.random.default_rng(0).normal(0.3, 1, 40)
    found, expected = mean_estimate(values, None), stats.ttest_1samp(values, 0)
    interval = expected.confidence_interval(0.95)
    assert found.value == pytest.approx(values.mean(), rel=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(interval), rel=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_groups_of_equal_size_are_their_means():
    means = np.random.default_rng(0).normal(0.3, 1, 12)
    values = (means[:, None] + [[-1.0, 0.0, 1.0]]).ravel()
    found = mean_estimate(values, np.repeat(np.arange(12), 3))
    expected = stats.ttest_1samp(means, 0)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p_value == pytest.approx(expected.pvalue)


def test_a_gap_is_agresti_and_coulls():
    correct = np.array([1.0] * 17 + [0.0] * 3)
    found = gap_estimate(np.full(20, 0.9), correct, None)
    share = 19 / 24
    # As the sandwich variance has it, with 23 degrees of freedom.
    half = stats.t.ppf(0.975, 23) * np.sqrt(share * (1 - share) / 23)
    assert found.value == pytest.approx(0.05)
    assert (found.low, found.high) == pytest.approx((0.9 - share - half, 0.9 - share + half))
    predictions = Predictions(1 - correct.astype(int), [[0.9, 0.1]] * 20)
    right = lsp.metrics.bootstrap_interval("accuracy", predictions)
    assert (right.value, right.low) == pytest.approx((0.85, share - half))
    assert right.high == pytest.approx(share + half)


def test_no_gap_is_beyond_one():
    # Two groups: Student's t with one degree of freedom is wide.
    found = gap_estimate(np.array([0.4, 0.5, 0.6]), np.array([1.0, 0, 1]), np.array([0, 0, 1]))
    assert (found.low, found.high) == (-1, 1)
    assert -1 < found.value < 1
    assert found.p_value > 0.05
    alone = gap_estimate(np.array([0.4]), np.array([1.0]), np.array([0]))
    assert np.isnan([alone.low, alone.high]).all()


@pytest.mark.parametrize("mean", [0.6, 0.9, 0.98])
@pytest.mark.parametrize("samples", [20, 100, 500])
def test_calibrated_models_are_rarely_called_otherwise(mean, samples):
    rng = np.random.default_rng(int(100 * mean) + samples)
    trials, found = 1500, 0
    for _ in range(trials):
        confidence = rng.beta(8 * mean, 8 * (1 - mean), samples)
        correct = (rng.random(samples) < confidence).astype(float)
        gap = gap_estimate(confidence, correct, None)
        assert (gap.p_value < 0.05) == (gap.low > 0 or gap.high < 0)
        found += gap.p_value < 0.05
    assert found / trials < 0.07  # three standard errors above 5%


def test_groups_widen_the_interval_as_they_should():
    rng = np.random.default_rng(1)
    covered = {"groups": 0, "cases": 0}
    for _ in range(400):
        # All ten cases of a patient are right or all are wrong.
        correct = np.repeat(rng.random(60) < 0.8, 10).astype(float)
        for name, groups in (("groups", np.repeat(np.arange(60), 10)), ("cases", None)):
            gap = gap_estimate(np.full(600, 0.8), correct, groups)
            covered[name] += gap.low <= 0 <= gap.high
    assert covered["groups"] / 400 > 0.92
    assert covered["cases"] / 400 < 0.6
    assert design_effect(correct, np.repeat(np.arange(60), 10)) == pytest.approx(10)
    assert design_effect(correct, None) == 1


def test_nothing_is_shown_by_a_single_unit_or_values_that_are_alike():
    for values, groups in (([0.3], None), ([0.3] * 9, None), ([0.1, 0.2], np.zeros(2, int))):
        found = mean_estimate(np.array(values), groups)
        assert np.isnan([found.low, found.high, found.p_value]).all()


def test_gaps_by_part():
    rng = np.random.default_rng(2)
    site = rng.choice(["A", "B"], 900)
    model = drawn(rng, 900, 3, 1.5, subgroups={"site": site}, class_names=["x", "y", "z"])
    confidence, correct = model.confidence, model.correct.astype(float)
    table = gaps_by_part(model)
    assert table["by"].tolist() == ["predicted class"] * 3 + ["site"] * 2
    assert table["part"].tolist() == ["x", "y", "z", "A", "B"]
    inside = {"x": model.predicted == 0, "B": site == "B"}
    for part, rows in inside.items():
        row = table.set_index("part").loc[part]
        assert row["cases"] == rows.sum()
        assert row["gap"] == pytest.approx(confidence[rows].mean() - correct[rows].mean())
    ordered = np.sort(table["p"])
    expected = np.maximum.accumulate(ordered * np.arange(5, 0, -1)).clip(max=1)
    np.testing.assert_allclose(np.sort(table["p_holm"]), expected)


# Chance -------------------------------------------------------------------------------------------


def test_chance_makes_the_mean_deviation_of_a_binomial():
    checked = Predictions([0] * 35 + [1] * 15, [[0.7, 0.3]] * 50)
    found = ece_by_chance(checked, seed=0)
    hits = np.arange(51)
    errors, weights = np.abs(hits / 50 - 0.7), stats.binom.pmf(hits, 50, 0.7)
    mean = np.sum(errors * weights)
    spread = np.sqrt(np.sum(errors**2 * weights) - mean**2)
    assert found.mean == pytest.approx(mean, abs=4 * spread / np.sqrt(1000))
    assert found.p_value == 1.0  # the ECE is 0


def test_the_p_value_of_a_calibrated_model_is_uniform():
    rng = np.random.default_rng(3)
    values = []
    for trial in range(150):
        model = drawn(rng, 120, 3)
        checked = model
        values.append(ece_by_chance(checked, seed=trial).p_value)
    assert stats.kstest(values, "uniform").pvalue > 0.001


def test_with_groups_chance_makes_more():
    rng = np.random.default_rng(4)
    confidence = np.full(600, 0.8)
    correct = np.repeat(rng.random(60) < 0.8, 10)
    checked = Predictions(~correct, np.stack([confidence, 1 - confidence], axis=1))
    alone = ece_by_chance(checked, seed=0)
    together = ece_by_chance(checked.replace(groups=np.repeat(np.arange(60), 10)), seed=0)
    # The mean of |normal| with the standard error of 60 cases, not of 600.
    expected = np.sqrt(2 / np.pi) * np.sqrt(correct.mean() * (1 - correct.mean()) / 60)
    assert together.mean == pytest.approx(expected, rel=0.1)
    assert together.mean > 2.5 * alone.mean
    assert together.p_value > alone.p_value


# Automatic decisions ------------------------------------------------------------------------------


def test_bounds_are_clopper_and_pearsons():
    model = drawn(np.random.default_rng(5), 400, 2, 1.2)
    checked = model
    found = automatic_share(checked, 0.2)
    order = np.argsort(-checked.confidence, kind="stable")
    for coverage, threshold, cases, error, low, high in found.steps.itertuples(index=False):
        wrong = int((~checked.correct[order[:cases]]).sum())
        exact = stats.binomtest(wrong, cases).proportion_ci(1 - 0.05 / 20, "exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))
        assert error == wrong / cases
        assert coverage == cases / 400
        assert (checked.confidence >= threshold).sum() == cases
    assert found.observed == lsp.metrics.coverage_at_risk(
        model.labels, model.probabilities, risk=0.2
    )
    within = found.steps[found.steps["high"] <= 0.2]
    assert found.low == within["coverage"].max()
    assert found.threshold == within["threshold"].min()
    assert found.low <= found.observed <= found.high
    assert found.high == 1.0  # even of all cases it is not shown that there are too many errors


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        # Six of a thousand right cases come first; even the first 50 have too many errors.
        (slice(6, 1000), (0.0, 0.05)),
        # All are right, and nothing speaks against deciding all.
        (slice(0, 0), (1.0, 1.0)),
    ],
    ids=["hardly any", "all"],
)
def test_the_interval_holds_the_share_that_was_seen(wrong, expected):
    labels = np.zeros(1000, dtype=int)
    labels[wrong] = 1
    confidence = np.linspace(0.99, 0.6, 1000)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    found = automatic_share(Predictions(labels, probabilities), 0.05)
    assert (found.low, found.high) == expected
    assert found.low <= found.observed <= found.high


def test_what_is_shown_holds_for_future_cases():
    rng = np.random.default_rng(6)
    future = drawn(rng, 100_000, 2)
    checked = future
    broken = shown = 0
    for _ in range(100):
        model = drawn(rng, 1500, 2)
        found = automatic_share(model, 0.1)
        if found.low > 0:
            shown += 1
            answered = checked.confidence >= found.threshold
            broken += (~checked.correct[answered]).mean() > 0.1
    assert shown > 75
    assert broken / shown < 0.05


def test_cases_of_equal_confidence_are_answered_together():
    checked = Predictions([0] * 100, [[0.9, 0.1]] * 30 + [[0.6, 0.4]] * 70)
    steps = automatic_share(checked, 0.5).steps
    assert steps["cases"].tolist() == [30, 100]


# Calibrators --------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True])
def test_none_is_fitted_on_what_it_is_judged_on(monkeypatch, grouped):
    rng = np.random.default_rng(9)
    groups = rng.integers(0, 40, 300) if grouped else None
    model = drawn(rng, 300, 3, 2.0, groups=groups)
    row_of = {logits.tobytes(): row for row, logits in enumerate(model.logits)}
    fitted, judged = [], []
    fit, calibrate = TemperatureScaling.fit, TemperatureScaling.calibrate

    def watched_fit(self, predictions):
        fitted.append({row_of[row.tobytes()] for row in predictions.logits})
        return fit(self, predictions)

    def watched_calibrate(self, predictions):
        judged.append({row_of[row.tobytes()] for row in predictions.logits})
        return calibrate(self, predictions)

    monkeypatch.setattr(TemperatureScaling, "fit", watched_fit)
    monkeypatch.setattr(TemperatureScaling, "calibrate", watched_calibrate)
    assert cross_fitting.cross_fit(model, num_resamples=100, seed=0) is not None
    assert len(fitted) == len(judged) == 5
    for seen, held_out in zip(fitted, judged, strict=True):
        assert not seen & held_out
        assert seen | held_out == set(range(300))
        if groups is not None:
            assert not {groups[i] for i in seen} & {groups[i] for i in held_out}
    assert sum(map(len, judged)) == 300


def test_the_gain_of_temperature_scaling_is_that_of_scipy(monkeypatch):
    model = drawn(np.random.default_rng(10), 400, 3, 2.0)
    monkeypatch.setattr(cross_fitting, "_METHODS", ("temperature",))
    monkeypatch.setattr(cross_fitting, "_ONE_AGAINST_REST", ())
    monkeypatch.setattr(cross_fitting, "_MATRICES", ())
    found = cross_fitting.cross_fit(model, num_resamples=100, seed=0)
    onehot = np.eye(3)[model.labels]
    before = ((lsp.metrics.softmax(model.logits) - onehot) ** 2).sum(axis=1)
    after = np.empty(400)
    for seen, held_out in cross_fitting.held_out_folds(model, seed=0):
        best = optimize.minimize_scalar(
            lambda log, seen=seen: lsp.metrics.negative_log_likelihood(
                model.labels[seen], model.logits[seen] / np.exp(log), from_logits=True
            ),
            bounds=(-3, 3),
            options={"xatol": 1e-10},
            method="bounded",
        )
        calibrated = lsp.metrics.softmax(model.logits[held_out] / np.exp(best.x))
        after[held_out] = ((calibrated - onehot[held_out]) ** 2).sum(axis=1)
    row = found.table.set_index("method").loc["temperature"]
    expected = stats.ttest_1samp(after - before, 0)
    assert row["brier"] == pytest.approx(after.mean(), rel=1e-6)
    assert row["brier_change"] == pytest.approx((after - before).mean(), rel=1e-4)
    assert row["p_holm"] == pytest.approx(expected.pvalue, rel=1e-3)
    assert found.recommended == found.lowest == "temperature"


def test_matrix_scaling_of_probabilities_is_dirichlets_and_is_fitted_once():
    of_logits = drawn(np.random.default_rng(14), 300, 3, 2.0)
    model = of_logits.computed("probabilities", of_logits.probabilities)
    both = cross_fitting.cross_fit(
        model, num_resamples=100, seed=0, methods=["matrix", "dirichlet"]
    )
    table = both.table.set_index("method").select_dtypes("number")
    np.testing.assert_allclose(table.loc["matrix"], table.loc["dirichlet"], rtol=1e-9)
    found = cross_fitting.cross_fit(model, num_resamples=100, seed=0).table["method"]
    assert set(found) & {"matrix", "dirichlet"} == {"dirichlet"}
    found = cross_fitting.cross_fit(of_logits, num_resamples=100, seed=0).table["method"]
    assert {"matrix", "dirichlet"} <= set(found)


def test_a_calibrated_model_is_left_alone_and_the_simplest_is_recommended():
    rng = np.random.default_rng(11)
    calibrated = cross_fitting.cross_fit(drawn(rng, 500, 3), num_resamples=100, seed=0)
    assert calibrated.recommended is None
    overconfident = cross_fitting.cross_fit(drawn(rng, 500, 3, 2.5), num_resamples=100, seed=0)
    assert overconfident.recommended == "temperature"
    assert set(overconfident.table["method"]) == {
        "none",
        *set(CALIBRATORS)
        - {"class_distribution_temperature", "logit_normalization", "label_shift"}
        - {"bias_corrected_temperature"},
    }


def test_too_little_to_calibrate():
    rng = np.random.default_rng(12)
    assert cross_fitting.cross_fit(drawn(rng, 49, 2), num_resamples=100, seed=0) is None
    few_groups = drawn(rng, 200, 2, groups=np.arange(200) % 4)
    assert cross_fitting.cross_fit(few_groups, num_resamples=100, seed=0) is None
    right = lsp.Predictions([0] * 200, logits=[[5.0, 0.0]] * 200)
    assert cross_fitting.cross_fit(right, num_resamples=100, seed=0) is None
    rare = drawn(rng, 200, 3)
    rare = rare.replace(labels=np.where(rare.labels == 2, 0, rare.labels))
    table = cross_fitting.cross_fit(rare, num_resamples=100, seed=0).table.set_index("method")
    assert "samples of every class" in table.loc["platt", "note"]
    assert np.isnan(table.loc["platt", "brier"])
    assert table.loc["temperature", "brier"] > 0


# Comparison ---------------------------------------------------------------------------------------


def two_models(samples: int = 300):
    rng = np.random.default_rng(13)
    first = drawn(
        rng, samples, 3, class_names=["a", "b", "c"], ids=[f"i{k}" for k in range(samples)]
    )
    order, columns = rng.permutation(samples), [2, 0, 1]
    worse = first.logits + rng.normal(size=(samples, 3))
    second = lsp.Predictions(
        np.array(["a", "b", "c"])[first.labels[order]],
        logits=worse[order][:, columns],
        class_names=["c", "a", "b"],
        ids=first.ids[order],
    )
    return first, second, worse


def test_cases_are_matched_by_id_and_classes_by_name():
    first, second, worse = two_models()
    matched = match(first, second)
    np.testing.assert_array_equal(matched.second.logits, worse)
    np.testing.assert_array_equal(matched.second.labels, first.labels)
    assert (matched.left_out, matched.by) == (0, "id")
    numbered = first.take(np.arange(9))
    by_number = lsp.Predictions(numbered.labels, logits=numbered.logits, ids=np.arange(9))
    as_text = lsp.Predictions(numbered.labels, logits=numbered.logits, ids=list("012345678"))
    assert match(by_number, as_text).by == "id"
    fewer = match(first.take(np.arange(0, 200)), second)
    assert fewer.left_out == 100
    np.testing.assert_array_equal(fewer.second.logits, worse[:200])


def test_differences_are_those_of_the_metrics():
    first, second, worse = two_models()
    found = compare(first, second, num_resamples=200, seed=1)
    better = lsp.evaluate(first.labels, first.probabilities)
    other = lsp.evaluate(first.labels, lsp.metrics.softmax(worse))
    for metric, a, b, difference, low, high, p, p_holm in found.table.itertuples(index=False):
        assert (a, b) == pytest.approx((better[metric], other[metric]))
        assert difference == pytest.approx(a - b)
        assert low < high
        assert p <= p_holm
    row = found.table.set_index("metric").loc["brier"]
    assert row["high"] < 0
    assert row["p_holm"] < 0.05
    same = compare(first, first, num_resamples=200, seed=1).table
    assert (same["difference"] == 0).all()
    assert (same["p_holm"] == 1).all()


def test_what_does_not_belong_together_is_refused():
    first, _, _ = two_models()
    arrays = lsp.Predictions(first.labels[:-1], logits=first.logits[:-1])
    with pytest.raises(InputError, match=r"expected 300 cases.*give both files a column id"):
        match(first, arrays)
    other = lsp.Predictions(
        np.roll(first.labels, 1), logits=first.logits, class_names=["a", "b", "c"]
    )
    with pytest.raises(InputError, match="received others for"):
        match(first, other)
    renamed = lsp.Predictions(first.labels, logits=first.logits, class_names=["a", "b", "d"])
    with pytest.raises(InputError, match="expected the classes of"):
        match(first, renamed)
    unknown = lsp.Predictions(first.labels, logits=first.logits, ids=np.arange(300))
    with pytest.raises(InputError, match="no id is in both"):
        match(first, unknown)


# The verdict --------------------------------------------------------------------------------------


def test_exchanged_classes_are_told_first():
    right = drawn(np.random.default_rng(0), 200, 2)
    exchanged = right.replace(labels=1 - right.labels)
    first = {p: lsp.auditing.verdict(lsp.audit(p, num_resamples=50))[0] for p in (right, exchanged)}
    assert first[right].topic != "ranking"
    assert first[exchanged].topic == "ranking"
    assert first[exchanged].text.endswith(
        "Are the classes exchanged, in the columns or in the labels?"
    )


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([1, 0, 2, 3, 4, 5], "of 0 as 1, of 1 as 0"),
        ([1, 2, 0, 3, 4, 5], "of 0 as 1, of 1 as 2, of 2 as 0"),
        ([1, 1, 2, 3, 4, 5], None),  # one class is hardly found, which exchanges nothing
        ([0, 1, 2, 3, 4, 5], None),
    ],
)
@pytest.mark.parametrize("known", ["all", "top"])
def test_some_exchanged_classes_of_many_are_told_first(order, said, known):
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(6), 30)
    logits = 3 * np.eye(6)[np.array(order)[labels]] + rng.normal(size=(180, 6))
    given = lsp.Predictions(labels, logits=logits)
    given = given if known == "all" else given.top_label()
    first = lsp.auditing.verdict(lsp.audit(given, num_resamples=20))[0]
    assert (first.topic == "ranking") == (said is not None)
    if said:
        assert first.text.startswith(f"Most cases are predicted as another class, {said}: are ")
