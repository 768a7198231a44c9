"""Intervals and tests against SciPy, simulations, closed forms and slow restatements."""

import warnings
from functools import partial, wraps

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lsplus_tf import metrics
from lsplus_tf.errors import InputError
from lsplus_tf.metrics import METRICS
from lsplus_tf.metrics.statistics import (
    bootstrap_interval,
    compare_scores,
    friedman_test,
    holm,
    intervals_of,
    paired_bootstrap,
    permutation_test,
    spiegelhalter_test,
)
from lsplus_tf.predictions import Predictions

FUNCTIONS = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "auroc": metrics.auroc,
    "precision": metrics.precision,
    "recall": metrics.recall,
    "f1": metrics.f1,
    "ece": metrics.expected_calibration_error,
    "mce": metrics.maximum_calibration_error,
    "ace": metrics.adaptive_calibration_error,
    "sce": metrics.static_calibration_error,
    "nll": metrics.negative_log_likelihood,
    "brier": metrics.brier_score,
    "top1_error": partial(metrics.top_k_error, k=1),
    "top2_error": partial(metrics.top_k_error, k=2),
    "top5_error": partial(metrics.top_k_error, k=5),
    "mean_confidence": metrics.mean_confidence,
    "retention_auc": metrics.retention_auc,
    "aurc": metrics.aurc,
}
# As functions of anybody, which are evaluated on the rows of each resample: ours alone are known as
# the metrics that they are.
FUNCTIONS = {key: partial(function) for key, function in FUNCTIONS.items()}


def random_predictions(samples, classes, seed=0, signal=1.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(samples, classes))
    labels = rng.integers(classes, size=samples)
    logits[np.arange(samples), labels] += signal
    return labels, metrics.softmax(logits)


def two_models(samples, classes=3, seed=0):
    labels, first = random_predictions(samples, classes, seed)
    noise = np.random.default_rng(seed + 1).normal(size=first.shape)
    return labels, first, metrics.softmax(np.log(first) + noise)


def of_hits(hits):
    """Predictions whose accuracy is the mean of the hits."""
    return 1 - np.asarray(hits).astype(int), np.tile([0.8, 0.2], (len(hits), 1))


def bounds(interval):
    return interval.low, interval.high


# Resamples ---------------------------------------------------------------------------------------


def test_every_record_says_what_the_number_is():
    assert {key for key, record in METRICS.items() if not record.definition} == set()


def test_every_metric_of_evaluate_has_a_name():
    assert set(metrics.evaluate(*random_predictions(50, 3))) <= METRICS.keys()
    assert FUNCTIONS.keys() == METRICS.keys()


RANKED = [key for key, record in METRICS.items() if record.ranks]

# Exact edges, ties, saturation and a class without samples are among the predictions.
EDGES = np.array([[0.6, 0.4, 0], [1, 0, 0], [0, 1, 0], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]])


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("name", sorted(METRICS))
def test_names_equal_their_functions_on_every_resample(name, method, grouped):
    labels, probabilities = random_predictions(60, 7)
    labels[:40] %= 4
    if name == "top5_error":
        labels = 6 - labels
    else:
        # The AUROC needs all classes.
        probabilities, labels = np.tile(EDGES, (12, 1)), labels % (3 if name == "auroc" else 2)
    groups = np.arange(60) // 4 * 7 % 13 if grouped else None
    options = {"method": method, "num_resamples": 40, "groups": groups, "seed": 3}
    fast = bootstrap_interval(name, labels, probabilities, **options)
    slow = bootstrap_interval(FUNCTIONS[name], labels, probabilities, **options)
    assert fast.value == pytest.approx(FUNCTIONS[name](labels, probabilities), abs=1e-12)
    assert vars(fast) == pytest.approx(vars(slow), abs=1e-9)


@pytest.mark.parametrize("name", ["ece", "brier", "f1", "mce", "sce", *RANKED])
def test_differences_and_swaps_by_sums_equal_those_one_by_one(name):
    labels, a, b = two_models(60)
    options = {"groups": np.arange(60) // 2, "seed": 5}
    fast = paired_bootstrap(name, labels, a, b, num_resamples=50, method="bca", **options)
    slow = paired_bootstrap(
        FUNCTIONS[name], labels, a, b, num_resamples=50, method="bca", **options
    )
    assert vars(fast.difference) == pytest.approx(vars(slow.difference), abs=1e-9)
    assert (fast.value_a, fast.value_b) == pytest.approx(
        (FUNCTIONS[name](labels, a), FUNCTIONS[name](labels, b))
    )
    assert fast.p_value == pytest.approx(slow.p_value)
    fast = permutation_test(name, labels, a, b, num_permutations=50, **options)
    slow = permutation_test(FUNCTIONS[name], labels, a, b, num_permutations=50, **options)
    assert vars(fast) == pytest.approx(vars(slow))


@pytest.mark.parametrize("name", ["ece", "auroc"])
def test_the_seed_decides_everything_and_blocks_nothing(name, monkeypatch):
    predictions, options = random_predictions(80, 2), {"method": "percentile", "num_resamples": 60}
    first = bootstrap_interval(name, *predictions, seed=7, **options)
    monkeypatch.setattr("lsplus_tf.metrics.resampling._CACHED", 700)
    assert bootstrap_interval(name, *predictions, seed=7, **options) == first
    assert bounds(bootstrap_interval(name, *predictions, seed=8, **options)) != bounds(first)


@pytest.mark.parametrize("name", ["ece", "auroc"])
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_groups_of_one_sample_change_nothing(name, method):
    predictions = random_predictions(60, 2)
    options = {"method": method, "num_resamples": 50}
    names = [f"patient {i}" for i in range(60)]
    grouped = bootstrap_interval(name, *predictions, groups=names, **options)
    single = bootstrap_interval(name, *predictions, **options)
    assert vars(grouped) == pytest.approx(vars(single), abs=1e-12)


def test_copies_of_a_sample_in_its_group_are_no_evidence():
    labels, probabilities = random_predictions(100, 3)
    single = bootstrap_interval("brier", labels, probabilities)
    tripled = bootstrap_interval(
        "brier",
        np.repeat(labels, 3),
        np.repeat(probabilities, 3, axis=0),
        groups=np.repeat(np.arange(100), 3),
    )
    assert vars(tripled) == pytest.approx(vars(single))


# Intervals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "share"), [("percentile", 0.7), ("bca", 0.7), ("bca", 0.95)])
def test_intervals_of_the_accuracy_equal_scipy(method, share):
    hits = np.random.default_rng(0).random(300) < share
    theirs = stats.bootstrap(
        (hits,),
        np.mean,
        n_resamples=9999,
        method=method,
        rng=np.random.default_rng(1),
        vectorized=True,
        axis=-1,
    )
    ours = bootstrap_interval("accuracy", *of_hits(hits), method=method, num_resamples=9999)
    # The standard error of a 2.5% quantile of 9,999 normal values is 0.027 of their deviation; the
    # values are multiples of 1/300, 0.13 to 0.27 of it.
    assert bounds(ours) == pytest.approx(tuple(theirs.confidence_interval), abs=1.01 / 300)
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.03)


def test_bca_of_a_skewed_metric_equals_scipy():
    # The log loss of a few saturated samples is skewed, and continuous.
    losses = np.random.default_rng(0).exponential(size=60) ** 1.5
    predictions = np.zeros(60, int), np.stack([np.exp(-losses), 1 - np.exp(-losses)], axis=1)
    theirs = stats.bootstrap(
        (losses,), np.mean, method="bca", n_resamples=50_000, rng=np.random.default_rng(1)
    )
    bca = bootstrap_interval("nll", *predictions, method="bca", num_resamples=50_000)
    plain = bootstrap_interval("nll", *predictions, num_resamples=50_000)
    close = 0.1 * theirs.standard_error
    assert bounds(bca) == pytest.approx(tuple(theirs.confidence_interval), abs=close)
    assert bca.high > plain.high + 3 * close  # skewed enough to tell them apart


def test_bca_equals_percentile_where_all_is_symmetric():
    predictions = of_hits([0, 1] * 100)
    plain = bootstrap_interval("accuracy", *predictions, num_resamples=20_000, method="percentile")
    bca = bootstrap_interval("accuracy", *predictions, num_resamples=20_000, method="bca")
    assert bounds(bca) == pytest.approx(bounds(plain), abs=1.01 / 200)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_cover_the_accuracy_as_often_as_they_say(method):
    rng = np.random.default_rng(0)
    samples, repetitions, accuracy = 300, 400, 0.8
    covered = 0
    for seed in range(repetitions):
        predictions = of_hits(rng.random(samples) < accuracy)
        interval = bootstrap_interval(
            "accuracy", *predictions, num_resamples=400, method=method, seed=seed
        )
        covered += interval.low <= accuracy <= interval.high
    # The share's own standard error is 1.1%.
    assert 0.93 <= covered / repetitions <= 0.97


@pytest.mark.filterwarnings("ignore:.* are below the value:UserWarning")
def test_the_ece_is_covered_as_often_as_the_docstring_says():
    rng = np.random.default_rng(0)

    def coverage(gap, repetitions, method):
        covered = 0
        for seed in range(repetitions):
            confidence = rng.uniform(0.5, 1, 200)
            labels = (rng.random(200) >= confidence - gap).astype(int)
            probabilities = np.stack([confidence, 1 - confidence], axis=1)
            interval = bootstrap_interval("ece", labels, probabilities, method=method, seed=seed)
            covered += interval.low <= gap <= interval.high
        return covered / repetitions

    said = " ".join(bootstrap_interval.__doc__.split())
    assert "covered 0.05 in 90% of samples of N = 200 (percentile: 27%, BCa: 81%)" in said
    # Three and a half standard errors of 400 and 200 repetitions, with the default number of
    # resamples.
    assert coverage(0.05, 400, None) == pytest.approx(0.90, abs=0.053)
    assert coverage(0.05, 200, "percentile") == pytest.approx(0.27, abs=0.11)
    assert coverage(0.05, 200, "bca") == pytest.approx(0.81, abs=0.097)
    assert coverage(0.0, 50, None) == pytest.approx(0.6, abs=0.2)
    assert coverage(0.0, 25, "percentile") == 0


@pytest.mark.filterwarnings("ignore:.* are below the value:UserWarning")
@pytest.mark.parametrize(("samples", "gap"), [(100, 0.1), (500, 0.05), (1000, 0.02)])
def test_reflected_calibration_errors_cover_the_true_ones_where_percentiles_do_not(samples, gap):
    """All of a model's errors are the gap: of 60 samples the percentiles miss it in most."""
    rng = np.random.default_rng(samples)
    covered = dict.fromkeys(("reflected", "percentile"), 0)
    for seed in range(60):
        confidence = rng.uniform(0.5, 1, samples)
        labels = (rng.random(samples) >= confidence - gap).astype(int)
        predictions = Predictions(labels, np.stack([confidence, 1 - confidence], axis=1))
        for method in covered:
            (found,) = intervals_of(
                [METRICS["mce"]], predictions, num_resamples=200, method=method, seed=seed
            )
            covered[method] += found.low <= gap <= found.high
    assert covered["reflected"] > 0.65 * 60
    assert covered["percentile"] < 0.15 * 60


def test_the_standard_error_is_the_closed_form_of_a_mean():
    hits = np.random.default_rng(0).random(500) < 0.7
    options = {"method": "percentile"}
    interval = bootstrap_interval("accuracy", *of_hits(hits), num_resamples=5000, **options)
    assert interval.standard_error == pytest.approx(hits.std() / np.sqrt(500), rel=0.05)
    with pytest.warns(UserWarning, match="no interval"):
        single = bootstrap_interval("accuracy", *of_hits(hits), num_resamples=1, **options)
    assert np.isnan(single.standard_error)


def test_a_higher_confidence_level_is_a_wider_interval():
    predictions = random_predictions(200, 3)
    narrow, wide = (
        bootstrap_interval("brier", *predictions, confidence_level=level, method="bca")
        for level in (0.8, 0.99)
    )
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_a_value_below_nearly_all_resamples_warns(method):
    predictions = of_hits([1, 1, 1, 1, 0] * 200)  # with a confidence of 0.8: the ECE is 0
    with pytest.warns(UserWarning, match=r"1\.\d% of the resampled values are below"):
        bootstrap_interval("ece", *predictions, method=method)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_resamples_that_are_all_alike_give_no_interval(method):
    with pytest.warns(UserWarning, match="all resamples give 1: there is no interval"):
        interval = bootstrap_interval("accuracy", *of_hits([1] * 20), method=method)
    assert (interval.value, interval.standard_error) == (1, 0)
    assert np.isnan(bounds(interval)).all()


def test_scores_that_are_all_alike_give_no_interval_of_the_auroc():
    with pytest.warns(UserWarning, match="no interval of auroc: .* or all rank alike"):
        interval = bootstrap_interval("auroc", [0, 1] * 10, np.full((20, 2), 0.5))
    assert interval.value == 0.5
    assert np.isnan(bounds(interval)).all()


def test_resamples_without_a_class_are_left_out_and_counted():
    labels, probabilities = random_predictions(60, 2)
    labels[:] = 0
    labels[:5] = 1
    with pytest.warns(UserWarning, match=r"NaN on \d+ of 1000 resamples, which are left out"):
        interval = bootstrap_interval("auroc", labels, probabilities, method="percentile")
    # (1 - 5/60)^60 of the resamples have none of the five.
    expected = 1000 * (55 / 60) ** 60
    assert interval.num_undefined == pytest.approx(expected, abs=4 * np.sqrt(expected))
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_no_bounds_where_too_many_resamples_lack_a_class(method):
    labels, probabilities = random_predictions(40, 2)
    labels[:] = 0
    labels[:2] = 1  # absent from 13% of the resamples
    with pytest.warns(UserWarning, match="NaN on"):
        interval = bootstrap_interval("auroc", labels, probabilities, method=method)
    assert interval.value == metrics.auroc(labels, probabilities)
    assert np.isnan([*bounds(interval), interval.standard_error]).all()
    with pytest.warns(UserWarning, match="NaN on"):
        wide = bootstrap_interval(
            "auroc", labels, probabilities, method="percentile", confidence_level=0.8
        )
    assert wide.low < wide.value < wide.high


def test_an_undefined_metric_has_neither_interval_nor_p():
    labels, probabilities = random_predictions(20, 2)
    two, zeros = (probabilities, probabilities), labels * 0
    message = "auroc is NaN: no sample of class 1"
    with pytest.warns(UserWarning, match=message):
        interval = bootstrap_interval(
            "auroc", zeros, probabilities, method="percentile", num_resamples=20
        )
    with pytest.warns(UserWarning, match=message):
        analytic = bootstrap_interval("auroc", zeros, probabilities)
    with pytest.warns(UserWarning, match=message):
        paired = paired_bootstrap("auroc", zeros, *two)
    with pytest.warns(UserWarning, match=message):
        test = permutation_test("auroc", zeros, *two)
    assert np.isnan([interval.value, *bounds(interval)]).all()
    assert np.isnan([analytic.value, *bounds(analytic)]).all()
    assert interval.num_undefined == 20
    assert np.isnan([paired.difference.value, paired.p_value, test.statistic, test.p_value]).all()


# Two models --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ece", "auroc"])
def test_a_model_does_not_differ_from_itself(name):
    labels, probabilities = random_predictions(60, 2)
    with pytest.warns(UserWarning, match="no width"):
        paired = paired_bootstrap(name, labels, probabilities, probabilities, num_resamples=50)
    assert (paired.difference.value, *bounds(paired.difference), paired.p_value) == (0, 0, 0, 1)
    test = permutation_test(name, labels, probabilities, probabilities, num_permutations=50)
    assert (test.statistic, test.p_value) == (0, 1)


def test_exchanging_the_models_mirrors_the_results():
    labels, a, b = two_models(200)
    forth = paired_bootstrap("brier", labels, a, b)
    back = paired_bootstrap("brier", labels, b, a)
    assert bounds(back.difference) == pytest.approx(
        [-bound for bound in bounds(forth.difference)][::-1]
    )
    assert back.p_value == pytest.approx(forth.p_value)
    forth, back = permutation_test("brier", labels, a, b), permutation_test("brier", labels, b, a)
    assert (back.statistic, back.p_value) == pytest.approx((-forth.statistic, forth.p_value))


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_p_value_is_where_the_interval_begins_to_hold_zero(method):
    labels, a, b = two_models(100, seed=1)
    options = {"method": method, "num_resamples": 2000}
    p_value = paired_bootstrap("accuracy", labels, a, b, **options).p_value
    assert 0.002 < p_value < 0.5
    for level, holds in ((1 - p_value - 0.02, False), (1 - p_value + 0.02, True)):
        interval = paired_bootstrap(
            "accuracy", labels, a, b, confidence_level=level, **options
        ).difference
        assert (interval.low < 0 < interval.high) == holds or 0 in bounds(interval)


def test_a_better_model_is_found_and_p_stops_at_its_resolution():
    labels, a = random_predictions(300, 3, signal=3)
    _, b = random_predictions(300, 3, seed=1, signal=0)
    paired = paired_bootstrap("accuracy", labels, a, b, num_resamples=400)
    assert paired.difference.low > 0.3
    assert paired.p_value == pytest.approx(2 / 401)
    assert permutation_test("accuracy", labels, a, b, num_permutations=400).p_value == 1 / 401


def test_permutation_p_values_are_uniform_under_the_null():
    p_values = []
    rng = np.random.default_rng(0)
    for seed in range(400):
        labels, base = random_predictions(50, 3, seed)
        a, b = (metrics.softmax(np.log(base) + rng.normal(size=base.shape)) for _ in range(2))
        test = permutation_test("brier", labels, a, b, num_permutations=199, seed=seed)
        p_values.append(test.p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_permutation_equals_the_exact_sign_flip_test():
    # Of a mean, swapping is flipping the signs of the samples' differences.
    labels, a, b = two_models(10)
    differences = [
        metrics.brier_score(labels[[i]], a[[i]]) - metrics.brier_score(labels[[i]], b[[i]])
        for i in range(10)
    ]
    exact = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    ours = permutation_test("brier", labels, a, b, num_permutations=20_000)
    assert ours.statistic == pytest.approx(exact.statistic)
    assert ours.p_value == pytest.approx(exact.pvalue, abs=0.015)


def test_groups_are_swapped_together():
    labels, a, b = two_models(20)
    # With two groups there are the observed assignment, its mirror image, and two more.
    groups = np.arange(20) % 2
    mixed = np.where(groups[:, np.newaxis], a, b), np.where(groups[:, np.newaxis], b, a)
    swapped, observed = (
        metrics.brier_score(labels, x) - metrics.brier_score(labels, y) for x, y in (mixed, (a, b))
    )
    share = 1 if abs(swapped) >= abs(observed) else 0.5
    test = permutation_test("brier", labels, a, b, groups=groups, num_permutations=4000)
    assert test.p_value == pytest.approx(share, abs=0.04)


# Calibration -------------------------------------------------------------------------------------


def test_spiegelhalter_equals_the_binary_formula():
    labels, probabilities = random_predictions(200, 2)
    p = probabilities[:, 1]
    z = np.sum((labels - p) * (1 - 2 * p)) / np.sqrt(np.sum((1 - 2 * p) ** 2 * p * (1 - p)))
    test = spiegelhalter_test(labels, probabilities)
    assert test.statistic == pytest.approx(z)
    assert test.p_value == pytest.approx(2 * stats.norm.cdf(-abs(z)))


def test_spiegelhalter_by_hand():
    # p = 0.8 and 25 samples of which 15 are hits: (15 * 0.2 - 10 * 0.8) * -0.6 = 3, and the
    # variance is 25 * 0.36 * 0.16 = 1.44.
    test = spiegelhalter_test([1] * 15 + [0] * 10, np.tile([0.2, 0.8], (25, 1)))
    assert test.statistic == pytest.approx(2.5)


@pytest.mark.parametrize("classes", [2, 5])
def test_spiegelhalter_is_standard_normal_under_the_null(classes):
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(1000):
        probabilities = metrics.softmax(rng.normal(scale=1.5, size=(200, classes)))
        labels = (probabilities.cumsum(axis=1) < rng.random((200, 1))).sum(axis=1)
        scores.append(spiegelhalter_test(labels.clip(max=classes - 1), probabilities).statistic)
    assert stats.kstest(scores, "norm").pvalue > 0.01


def test_spiegelhalter_is_positive_for_overconfidence():
    labels, probabilities = random_predictions(500, 4)
    logits = np.log(probabilities)
    assert spiegelhalter_test(labels, metrics.softmax(3 * logits)).statistic > 3
    assert spiegelhalter_test(labels, metrics.softmax(0.2 * logits)).statistic < -3


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_spiegelhalter_where_nothing_varies(dtype):
    one_hot = np.eye(3, dtype=dtype)
    uniform = np.full((3, 3), 1 / 3, dtype)
    for probabilities in (one_hot, uniform, np.concatenate([one_hot, uniform])):
        labels = np.arange(len(probabilities)) % 3
        with pytest.warns(UserWarning, match="spiegelhalter_test is NaN"):
            assert np.isnan(spiegelhalter_test(labels, probabilities).p_value)
    impossible = spiegelhalter_test([0, 1, 0], one_hot)
    assert (impossible.statistic, impossible.p_value) == (np.inf, 0)


# Several methods ---------------------------------------------------------------------------------


def test_holm_by_hand():
    # In order 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1 gives 0.02, 0.03, 0.06, 0.04, and the
    # last is raised to what comes before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1, 1]
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).size == 0


SCORES = pd.DataFrame(
    {
        "HL": [8.1, 7.9, 8.8, 6.5, 7.0, 9.1, 8.3],
        "LS": [5.0, 5.2, 4.7, 7.1, 6.6, 5.9, 4.1],
        "LS+": [3.2, 3.4, 2.8, 4.0, 3.9, 3.3, 2.9],
    }
)


@pytest.mark.parametrize("test", ["wilcoxon", "t"])
def test_methods_are_compared_pair_by_pair_as_scipy_does(test):
    table = compare_scores(SCORES, test=test)
    assert list(zip(table["method_a"], table["method_b"], strict=True)) == [
        ("HL", "LS"),
        ("HL", "LS+"),
        ("LS", "LS+"),
    ]
    for row in table.itertuples():
        a, b = SCORES[row.method_a], SCORES[row.method_b]
        assert row.difference == pytest.approx(a.mean() - b.mean())
        theirs = stats.wilcoxon(a - b) if test == "wilcoxon" else stats.ttest_rel(a, b)
        assert row.p == pytest.approx(theirs.pvalue)
    assert table["p_holm"].tolist() == holm(table["p"]).tolist()


def test_a_control_is_compared_with_each_other_method():
    table = compare_scores(SCORES, control="LS+")
    assert table["method_a"].tolist() == ["LS+", "LS+"]
    assert table["method_b"].tolist() == ["HL", "LS"]
    # All seven differences are negative.
    assert table["p"].tolist() == [2 / 2**7] * 2
    assert table["p_holm"].tolist() == [4 / 2**7] * 2


def test_scores_are_paired_by_their_index():
    shuffled = {name: SCORES[name].sample(frac=1, random_state=i) for i, name in enumerate(SCORES)}
    pd.testing.assert_frame_equal(compare_scores(shuffled), compare_scores(SCORES))
    lists = {name: SCORES[name].tolist() for name in SCORES}
    pd.testing.assert_frame_equal(compare_scores(lists), compare_scores(SCORES))


def test_few_rows_cannot_reach_significance_with_wilcoxon():
    with pytest.warns(UserWarning, match=r"with 5 rows .* below 0\.0625; test='t' can"):
        table = compare_scores(SCORES[:5])
    assert table["p"].min() == 2 / 2**5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compare_scores(SCORES[:5], test="t")["p"].min() < 0.01


@pytest.mark.parametrize("test", ["wilcoxon", "t"])
def test_equal_methods_have_p_1(test):
    # 0.1 + 0.2 is not 0.3, by rounding alone.
    scores = {"a": [0.1 + 0.2, 0.5, 0.7] * 2, "b": [0.3, 0.5, 0.7] * 2}
    assert compare_scores(scores, test=test)["p"].tolist() == [1]


def test_friedman_equals_scipy_and_demsars_formula():
    test = friedman_test(SCORES)
    theirs = stats.friedmanchisquare(*SCORES.to_numpy().T)
    assert (test.statistic, test.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))
    ranks = SCORES.rank(axis=1).mean().to_numpy()
    rows, methods = SCORES.shape
    factor = 12 * rows / (methods * (methods + 1))
    assert test.statistic == pytest.approx(
        factor * (np.sum(ranks**2) - methods * (methods + 1) ** 2 / 4)
    )
    tied = friedman_test({name: [1, 2, 3] for name in "abc"})
    assert (tied.statistic, tied.p_value) == (0, 1)


# Bad input ---------------------------------------------------------------------------------------

GOOD = np.array([[0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])
LABELS = [0, 1, 0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"metric": "acuracy"},
            "metric: expected a function or one of accuracy, .*received 'acuracy'",
        ),
        ({"metric": ["ece"]}, r"metric: expected a function or one of .*received \['ece'\]"),
        ({"metric": lambda y, p: p[:, 0]}, r"metric: .* returns a number, received \[0\.8"),
        ({"metric": lambda y, p: "0.5"}, "metric: .* returns a number, received 0.5"),
        ({"probabilities": GOOD * np.nan}, "probabilities: .*finite.*nan.* at rows 0, 1 and 2"),
        ({"probabilities": GOOD * np.inf}, "probabilities: .*finite.*inf.* at rows 0, 1 and 2"),
        ({"probabilities": GOOD / 2}, r"probabilities: .*which sum to 0\.5, at rows 0, 1 and 2"),
        ({"labels": [0, 1, 2]}, "labels: expected integers from 0 to 1, received 2 at row 2"),
        ({"groups": [0, 1]}, r"groups: expected shape \(3,\), .* received shape \(2,\)"),
        ({"groups": [4, 4, 4]}, "groups: expected at least two groups, received one"),
        ({"groups": [0, np.nan, 1]}, "groups: expected a value, received none at row 1"),
        ({"groups": ["a", None, "b"]}, "groups: expected a value, received none at row 1"),
        ({"groups": ["a", " ", "b"]}, "groups: expected a value, received none at row 1"),
        ({"groups": np.ma.masked_equal([3, 4, 5], 4)}, "groups: .* received masked ones"),
        ({"groups": [["a"], ["b", "c"], ["d"]]}, "groups: no array can be made of it"),
        ({"seed": -1}, "seed: expected an integer of at least 0, received -1"),
        ({"seed": 0.5}, "seed: expected an integer of at least 0, received 0.5"),
    ],
)
@pytest.mark.parametrize("function", [bootstrap_interval, paired_bootstrap, permutation_test])
def test_bad_input_is_named_in_one_line(function, changed, message):
    given = {"metric": "ece", "probabilities": GOOD, "labels": LABELS} | changed
    if function is not bootstrap_interval:
        given["probabilities_a"] = GOOD
        given["probabilities_b"] = given.pop("probabilities")
        message = message.replace("probabilities:", "probabilities_b:")
    with pytest.raises(InputError, match=message) as caught:
        function(**given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 260


@pytest.mark.parametrize("function", [bootstrap_interval, paired_bootstrap])
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"confidence_level": 0.0}, "confidence_level: .*between 0 and 1, received 0.0"),
        ({"confidence_level": 1.0}, "confidence_level: .*between 0 and 1, received 1.0"),
        ({"confidence_level": 95}, "confidence_level: .*between 0 and 1, received 95"),
        ({"confidence_level": np.nan}, "confidence_level: .*between 0 and 1, received nan"),
        ({"method": "basic"}, "method: expected 'percentile' or 'bca' or .*, received 'basic'"),
        ({"num_resamples": 0}, "num_resamples: expected an integer of at least 1, received 0"),
        ({"num_resamples": 1e3}, "num_resamples: expected an integer .* received 1000.0"),
    ],
)
def test_bad_options_of_the_bootstrap(function, option, message):
    models = [GOOD] if function is bootstrap_interval else [GOOD, GOOD]
    with pytest.raises(InputError, match=message):
        function("ece", *models, LABELS, **option)


def test_other_bad_input():
    with pytest.raises(InputError, match="probabilities: expected at least two rows, received 1"):
        bootstrap_interval("ece", [0], GOOD[:1])
    with pytest.raises(
        InputError, match=r"probabilities_b: expected the classes of .*, 0, 1; received 0, 1, 2"
    ):
        paired_bootstrap("ece", LABELS, GOOD, np.eye(3))
    with pytest.raises(InputError, match=r"probabilities_a: .*finite"):
        permutation_test("ece", LABELS, GOOD * np.nan, GOOD)
    with pytest.raises(InputError, match="num_permutations: expected an integer of at least 1"):
        permutation_test("ece", LABELS, GOOD, GOOD, num_permutations=0)
    with pytest.raises(InputError, match=r"probabilities: .*sum to 1"):
        spiegelhalter_test(LABELS, GOOD / 2)


@pytest.mark.parametrize(
    ("p_values", "message"),
    [
        ([0.5, np.nan], "received nan at position 1"),
        ([0.5, 1.1], "received 1.1 at position 1"),
        ([-0.1], "received -0.1 at position 0"),
        (0.5, r"expected shape \(M,\), received \(\)"),
    ],
)
def test_bad_p_values(p_values, message):
    with pytest.raises(InputError, match=f"p_values: .*{message}"):
        holm(p_values)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"a": [1, 2]}, "scores: expected at least two rows and 2 methods .*received 2 rows of a"),
        ({"a": [1], "b": [2]}, "scores: expected at least two rows .*received 1 rows of a, b"),
        ({}, "scores: expected at least two rows .*received 0 rows of no method"),
        ({"a": [1, 2], "b": [1]}, "scores: expected a column of numbers for each method"),
        ({"a": [1, 2], "b": ["x", 1]}, "scores: expected a column of numbers for each method"),
        ({"a": [1, 2], "b": [1, np.inf]}, "scores: .*received inf of b in row 1"),
        (
            {"a": pd.Series([1, 2], [7, 8]), "b": pd.Series([1, 2], [7, 9])},
            "scores: .*received nan of b in row 8",
        ),
    ],
)
def test_bad_scores(scores, message):
    with pytest.raises(InputError, match=message):
        compare_scores(scores)


def test_bad_choices_between_methods():
    with pytest.raises(InputError, match="test: expected 'wilcoxon' or 't', received 'u'"):
        compare_scores(SCORES, test="u")
    with pytest.raises(InputError, match="control: expected one of HL, LS, LS\\+, received 'x'"):
        compare_scores(SCORES, control="x")
    with pytest.raises(InputError, match=r"differences that vary .*received -1 in each .*a and b"):
        compare_scores({"a": [1, 2, 3], "b": [2, 3, 4]}, test="t")
    with pytest.raises(InputError, match="scores: expected at least two rows and 3 methods"):
        friedman_test(SCORES[["HL", "LS"]])


@pytest.mark.parametrize("key", ["ece", "accuracy", "brier", "mce"])
def test_a_function_of_ours_is_the_metric(key):
    """With the interval that is right for it, and not that of any function."""
    rng = np.random.default_rng(3)
    rows = rng.dirichlet([2, 1], 60)
    labels = (rng.random(60) > rows[:, 0]).astype(int)
    name = metrics.METRICS[key].function
    expected = bootstrap_interval(key, labels, rows)
    function = getattr(metrics, name)
    assert bootstrap_interval(function, labels, rows) == expected

    @wraps(function)
    def another(labels, probabilities):
        return 0.5 * function(labels, probabilities)

    assert bootstrap_interval(another, labels, rows).value == 0.5 * expected.value
