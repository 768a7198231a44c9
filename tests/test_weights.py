"""Sample weights count as repetitions, in every metric, interval, calibrator, audit and figure."""

from __future__ import annotations

import inspect
import re
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from sklearn import metrics as sk

import lsplus_tf as lsp
from lsplus_tf import auditing, metrics
from lsplus_tf.auditing.cross_fitting import cross_fit
from lsplus_tf.calibrators import CALIBRATORS, Calibrator
from lsplus_tf.errors import InputError
from lsplus_tf.metrics import METRICS
from lsplus_tf.metrics.records import OF_FUNCTIONS
from lsplus_tf.metrics.resampling import Cases, _Drawn, _on
from lsplus_tf.predictions import Columns, Predictions, read_predictions

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of classes that are absent

# Every public metric, with the options that change what is computed; of the truth that each takes.
OF_LABELS = {
    **{function.__name__: [function] for function, _ in OF_FUNCTIONS},
    **{
        name: [getattr(metrics, name)]
        for name in (
            "augrc",
            "evaluate",
            "excess_aurc",
            "risk_coverage_curve",
            "smooth_calibration_error",
            "underconfidence_error",
        )
    },
    "brier_score": [metrics.brier_score, partial(metrics.brier_score, scale="mean")],
    "brier_decomposition": [
        metrics.brier_decomposition,
        partial(metrics.brier_decomposition, num_bins=3, closed="left"),
    ],
    "classwise_adaptive_calibration_error": [
        metrics.classwise_adaptive_calibration_error,
        partial(metrics.classwise_adaptive_calibration_error, threshold=0.1, num_bins=4),
    ],
    "coverage_at_risk": [partial(metrics.coverage_at_risk, risk=risk) for risk in (0.2, 0.6)],
    "debiased_calibration_error": [
        partial(metrics.debiased_calibration_error, norm=norm, binning=binning, num_bins=5)
        for norm in (1, 2)
        for binning in ("equal_mass", "equal_width")
    ],
    "expected_calibration_error": [
        metrics.expected_calibration_error,
        partial(metrics.expected_calibration_error, binning="equal_mass", norm=2),
        partial(metrics.expected_calibration_error, norm="max", num_bins=4, closed="left"),
    ],
    "kde_calibration_error": [
        partial(metrics.kde_calibration_error, bandwidth=0.1, kind="marginal", norm=2),
        partial(metrics.kde_calibration_error, bandwidth=0.1),
        partial(metrics.kde_calibration_error, kind="top_label"),
    ],
    "overconfidence_error": [
        partial(metrics.overconfidence_error, confidence_weighted=chosen) for chosen in (0, 1)
    ],
    "retention_curve": [
        metrics.retention_curve,
        partial(metrics.retention_curve, fractions=[0, 0.13, 0.5, 1]),
    ],
    "risk_at_coverage": [partial(metrics.risk_at_coverage, coverage=c) for c in (0, 0.37, 1)],
    "static_calibration_error": [
        metrics.static_calibration_error,
        partial(metrics.static_calibration_error, closed="left"),
    ],
    "sweep_calibration_error": [partial(metrics.sweep_calibration_error, norm=p) for p in (1, 2)],
    "top_k_error": [partial(metrics.top_k_error, k=k) for k in (1, 2)],
}
OF_ROWS = {
    **{
        name: [getattr(metrics, name)]
        for name in (
            "annotator_brier_score",
            "annotator_cross_entropy",
            "annotator_static_calibration_error",
            "excess_log_loss",
            "total_variation",
            "true_accuracy",
            "true_static_calibration_error",
        )
    },
    **{
        name: [partial(getattr(metrics, name), binning=b) for b in ("equal_width", "equal_mass")]
        for name in ("annotator_calibration_error", "true_calibration_error")
    },
    "true_class_confusion": [
        lambda rows, _, **options: metrics.true_class_confusion(rows, **options),
        lambda rows, _, **options: metrics.true_class_confusion(rows, correct_only=True, **options),
    ],
}
# Their values do not grow with repetitions, or are tested below.
ELSEWHERE = {
    "bootstrap_interval",
    "compare_methods",
    "paired_bootstrap",
    "permutation_test",
    "spiegelhalter_test",
}
ALL = [
    pytest.param(function, of_rows, id=f"{name}-{number}")
    for of_rows, each in ((False, OF_LABELS), (True, OF_ROWS))
    for name, functions in each.items()
    for number, function in enumerate(functions)
]


def test_every_metric_takes_weights():
    taking = set()
    for name in metrics.__all__:
        function = getattr(metrics, name)
        if not inspect.isfunction(function):
            continue
        parameters = inspect.signature(function).parameters
        if {"probabilities", "probabilities_a", "posterior", "runs"} & set(parameters):
            kind = parameters["sample_weight"].kind
            assert kind is inspect.Parameter.KEYWORD_ONLY, name
            taking.add(name)
    # Those of other files say themselves how they are tested.
    assert set(OF_LABELS) | set(OF_ROWS) | ELSEWHERE <= taking
    assert {n for n in taking if getattr(metrics, n).__module__ in OWN} == (
        set(OF_LABELS) | set(OF_ROWS) | ELSEWHERE
    )


OWN = {
    f"lsplus_tf.metrics.{name}"
    for name in (
        "annotators",
        "brier",
        "calibration",
        "estimators",
        "functional",
        "method_comparison",
        "records",
        "selective",
        "statistics",
        "truth",
    )
}


def sample(seed, of_rows=False):
    """Few distinct values, so that there are ties, and sometimes classes that are absent."""
    rng = np.random.default_rng(seed)
    samples, classes = int(rng.integers(4, 24)), int(rng.integers(2, 6))
    rows = np.round(10 * rng.dirichlet(np.full(classes, 0.7), samples)) / 10 + 1e-3
    rows /= rows.sum(axis=1, keepdims=True)
    if of_rows:
        return rng.permutation(rows), rows
    return rng.integers(classes, size=samples), rows


def value(function, truth, rows, **options):
    found = function(truth, rows, **options)
    return np.asarray(list(found.values()) if isinstance(found, dict) else found, np.float64)


def assert_same(first, second):
    assert first.shape == second.shape
    np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("function", "of_rows"), ALL)
def test_weights_are_repetitions(function, of_rows):
    differs = False
    for seed in range(12):
        truth, rows = sample(seed, of_rows)
        samples, rng = len(rows), np.random.default_rng(100 + seed)
        plain = value(function, truth, rows)

        whole = rng.integers(0, 4, samples)
        whole[0] = 3
        repeated = np.repeat(np.arange(samples), whole)
        weighted = value(function, truth, rows, sample_weight=whole)
        assert_same(weighted, value(function, truth[repeated], rows[repeated]))
        differs |= weighted.shape != plain.shape or not np.allclose(weighted, plain, equal_nan=True)

        # Not only whole numbers: equal ones are none, their scale says nothing, 0 is not there.
        for equal in (1, 0.3):
            weights = np.full(samples, equal)
            assert_same(value(function, truth, rows, sample_weight=weights), plain)
        weights = rng.exponential(size=samples) * (rng.random(samples) < 0.7)
        weights[:2] = 0.2, 0.3
        found = value(function, truth, rows, sample_weight=weights)
        assert_same(value(function, truth, rows, sample_weight=weights * 3.7e5), found)
        kept = weights > 0
        assert_same(value(function, truth[kept], rows[kept], sample_weight=weights[kept]), found)
        if not of_rows:
            assert_same(
                value(lambda p, _: function(p), Predictions(truth, rows, sample_weight=weights), 0),
                found,
            )
    assert differs


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_ties_and_weights(data):
    samples = data.draw(st.integers(2, 9))
    values = st.lists(st.integers(0, 4), min_size=samples, max_size=samples)
    labels = np.array(data.draw(st.lists(st.integers(0, 1), min_size=samples, max_size=samples)))
    second = np.array(data.draw(values)) / 4
    weights = np.array(data.draw(values))
    weights[0] += 1
    rows = np.stack([1 - second, second], axis=1)
    repeated = np.repeat(np.arange(samples), weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, functions in OF_LABELS.items():
            if name == "kde_calibration_error" and repeated.size < 2:
                continue
            for function in functions:
                if isinstance(function, partial) and "threshold" in function.keywords:
                    continue
                found = value(function, labels, rows, sample_weight=weights)
                assert_same(found, value(function, labels[repeated], rows[repeated]))


def weighted_sample(samples=300, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.ones(classes), samples).round(2) + 1e-4
    rows /= rows.sum(axis=1, keepdims=True)
    return rng.integers(classes, size=samples), rows, rng.exponential(size=samples)


def test_against_scikit_learn():
    labels, rows, weights = weighted_sample()
    predicted = rows.argmax(axis=1)
    macro = partial(sk.precision_recall_fscore_support, average="macro", zero_division=0)
    precision, recall, f1, _ = macro(labels, predicted, sample_weight=weights)
    one_hot = np.eye(4)[labels]
    areas = [sk.roc_auc_score(labels == k, rows[:, k], sample_weight=weights) for k in range(4)]
    peers = {
        "accuracy": sk.accuracy_score(labels, predicted, sample_weight=weights),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "auroc": np.mean(areas),
        "nll": sk.log_loss(labels, rows, sample_weight=weights),
        "brier": np.average(((rows - one_hot) ** 2).sum(axis=1), weights=weights),
        "mean_confidence": np.average(rows.max(axis=1), weights=weights),
    }
    found = metrics.evaluate(labels, rows, sample_weight=weights)
    assert found == {
        **found,
        **{key: pytest.approx(peer, abs=1e-10) for key, peer in peers.items()},
    }
    assert metrics.balanced_accuracy(labels, rows, sample_weight=weights) == pytest.approx(
        sk.balanced_accuracy_score(labels, predicted, sample_weight=weights), abs=1e-12
    )
    # Which of equal classes come first is another's choice.
    rows += np.random.default_rng(0).uniform(0, 1e-6, rows.shape)
    assert metrics.top_k_error(labels, rows, k=2, sample_weight=weights) == pytest.approx(
        1 - sk.top_k_accuracy_score(labels, rows, k=2, sample_weight=weights), abs=1e-12
    )


def test_weights_that_are_not_whole_by_their_definition():
    """Slow restatements: N is the number of samples, between whole numbers sums are straight."""
    labels, rows, weights = weighted_sample(samples=40, classes=3)
    labels, rows, weights = labels[:40], rows[:40], weights[:40]
    confidence, correct = rows.max(axis=1), rows.argmax(axis=1) == labels
    scaled = weights * 40 / weights.sum()

    def up_to(rank, values, order):
        """The sum of values over the first `rank` samples, ties in proportion."""
        total, left = 0.0, rank
        for level in order:
            tied = confidence == level
            size = scaled[tied].sum()
            total += (scaled[tied] @ values[tied]) * min(1.0, left / size)
            left -= min(left, size)
        return total

    down = np.unique(confidence)[::-1]
    hits = np.array([up_to(i, correct, down) for i in range(1, 41)])
    risk = 1 - hits / np.arange(1, 41)
    given_so = {"sample_weight": weights}
    np.testing.assert_allclose(metrics.risk_coverage_curve(labels, rows, **given_so)[1], risk)
    assert metrics.aurc(labels, rows, **given_so) == pytest.approx(risk.mean(), abs=1e-12)
    best = [max(0.0, i - scaled @ correct) / i for i in range(1, 41)]
    assert metrics.excess_aurc(labels, rows, **given_so) == pytest.approx(
        risk.mean() - np.mean(best), abs=1e-12
    )
    ends = [40 * b // 15 for b in range(16)]
    gaps = [up_to(end, confidence - correct, down) for end in ends]
    assert metrics.adaptive_calibration_error(labels, rows, **given_so) == pytest.approx(
        np.abs(np.diff(gaps)).sum() / 40, abs=1e-12
    )
    total = 0.0
    for low in np.arange(5) / 5:
        own = (confidence > low) & (confidence <= low + 0.2)
        if not own.any():
            continue
        w = weights[own]
        accuracy = np.average(correct[own], weights=w)
        gap = np.average(confidence[own], weights=w) - accuracy
        kish = w.sum() ** 2 / (w**2).sum()
        if kish > 1 + 1e-9:
            excess = gap**2 - accuracy * (1 - accuracy) / (kish - 1)
            total += w.sum() / weights.sum() * excess
    found = metrics.debiased_calibration_error(
        labels, rows, num_bins=5, binning="equal_width", **given_so
    )
    assert found == pytest.approx(np.sqrt(max(0.0, total)), abs=1e-12)
    # Each sample leaves itself out as a whole.
    kernel = np.exp(
        [[np.sum(np.log(a) * b / 0.2) - _log_beta(b / 0.2 + 1) for b in rows] for a in rows]
    )
    np.fill_diagonal(kernel, 0)
    frequency = kernel @ (weights[:, None] * np.eye(3)[labels]) / (kernel @ weights)[:, None]
    expected = np.average(np.abs(frequency - rows).sum(axis=1), weights=weights)
    assert metrics.kde_calibration_error(labels, rows, bandwidth=0.2, **given_so) == pytest.approx(
        expected, abs=1e-9
    )


def _log_beta(concentration):
    from scipy.special import gammaln

    return gammaln(concentration).sum() - gammaln(concentration.sum())


def test_spiegelhalter_takes_rows_as_evidence():
    labels, rows, weights = weighted_sample(classes=2)
    p, y = rows[:, 1], labels
    z = np.sum(weights * (y - p) * (1 - 2 * p)) / np.sqrt(
        np.sum(weights**2 * (1 - 2 * p) ** 2 * p * (1 - p))
    )
    found = metrics.spiegelhalter_test(labels, rows, sample_weight=weights)
    assert found.statistic == pytest.approx(z, abs=1e-10)
    for scale in (5, 1e-9):
        other = metrics.spiegelhalter_test(labels, rows, sample_weight=weights * scale)
        assert other.statistic == pytest.approx(z, abs=1e-10)
    weights[:50] = 0
    without = metrics.spiegelhalter_test(labels[50:], rows[50:], sample_weight=weights[50:])
    assert metrics.spiegelhalter_test(labels, rows, sample_weight=weights) == without


# --- the resampler --------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("key", METRICS)
def test_forms_weigh_what_is_drawn(key, whole):
    """A form of how often each case is drawn is the metric of the rows that are drawn."""
    metric = METRICS[key]
    for seed in range(6):
        labels, rows = sample(seed)
        rng = np.random.default_rng(seed)
        weights = rng.integers(1, 4, len(rows)) if whole else rng.exponential(size=len(rows))
        predictions = Predictions(labels, rows, sample_weight=weights)
        counts = np.vstack([np.ones((1, len(rows))), rng.integers(0, 3, (5, len(rows)))])
        counts[:, 0] += 1
        counts = counts.astype(np.int32)
        cases = Cases.all_of(len(rows), None, 0)
        statistic = _on(metric.form(predictions), cases)
        drawn = [predictions.take(np.repeat(np.arange(len(rows)), each)) for each in counts]
        expected = [metric.value(each, "standard") for each in drawn]
        np.testing.assert_allclose(statistic.of(_Drawn(counts, cases)), expected, atol=1e-11)
        expected = [
            metric.value(predictions.take(np.delete(np.arange(len(rows)), i)), "standard")
            for i in range(len(rows))
        ]
        np.testing.assert_allclose(statistic.without_one(), expected, atol=1e-11)


def interval(metric, labels, rows, **options):
    found = metrics.bootstrap_interval(metric, labels, rows, num_resamples=60, **options)
    return [found.value, found.low, found.high, found.standard_error]


@pytest.mark.parametrize("metric", ["accuracy", "auroc", "ece", "ace", "aurc", "f1"])
def test_intervals_with_weights(metric):
    labels, rows, weights = weighted_sample(samples=120)
    groups = np.arange(120) // 3
    plain = interval(metric, labels, rows, groups=groups)
    ones = interval(metric, labels, rows, groups=groups, sample_weight=np.full(120, 0.5))
    np.testing.assert_allclose(ones, plain, atol=1e-9)
    weights[:30] = 0
    found = interval(metric, labels, rows, groups=groups, sample_weight=weights)
    for other in (
        interval(metric, labels, rows, groups=groups, sample_weight=weights * 4e3),
        interval(metric, labels[30:], rows[30:], groups=groups[30:], sample_weight=weights[30:]),
    ):
        np.testing.assert_allclose(other, found, atol=1e-9)
    assert found[1] <= found[0] <= found[2] or metric in ("ece", "ace")


def test_a_weight_is_no_more_evidence():
    labels, rows, _ = weighted_sample(samples=200)
    plain = metrics.bootstrap_interval("brier", labels, rows)
    tenfold = metrics.bootstrap_interval("brier", labels, rows, sample_weight=np.full(200, 10))
    assert (tenfold.low, tenfold.high) == pytest.approx((plain.low, plain.high), abs=1e-9)
    # One case that counts as much as 50 others makes it wider.
    uneven = np.ones(200)
    uneven[::50] = 50
    wide = metrics.bootstrap_interval("brier", labels, rows, sample_weight=uneven)
    assert wide.high - wide.low > 1.5 * (plain.high - plain.low)


def test_two_models_share_weights():
    labels, rows, weights = weighted_sample(samples=100)
    other = np.roll(rows, 1, axis=0)
    paired = metrics.paired_bootstrap(
        "ece", labels, rows, other, sample_weight=weights, num_resamples=50
    )
    assert paired.value_a == metrics.expected_calibration_error(labels, rows, sample_weight=weights)
    weighted = Predictions(labels, rows, sample_weight=weights)
    for second in (weighted.computed("probabilities", other), Predictions(labels, other)):
        assert (
            metrics.paired_bootstrap("ece", weighted, second, num_resamples=50).value_b
            == paired.value_b
        )
    test = metrics.permutation_test("auroc", weighted, weighted, num_permutations=20)
    assert test.statistic == 0
    assert test.p_value == 1
    unlike = Predictions(labels, other, sample_weight=weights[::-1])
    with pytest.raises(InputError, match="sample_weight: expected the weights of probabilities_a"):
        metrics.paired_bootstrap("ece", weighted, unlike)
    with pytest.raises(InputError, match="sample_weight: expected none beside Predictions"):
        metrics.paired_bootstrap("ece", weighted, weighted, sample_weight=weights)


def test_functions_of_ones_own_get_the_weights():
    labels, rows, weights = weighted_sample(samples=60)
    given_so = {"sample_weight": weights, "num_resamples": 20}

    def share(labels, rows, sample_weight=None):
        return np.average(rows.argmax(axis=1) == labels, weights=sample_weight)

    own = metrics.bootstrap_interval(share, labels, rows, **given_so)
    ours = metrics.bootstrap_interval("accuracy", labels, rows, method="percentile", **given_so)
    assert (own.value, own.low, own.high) == pytest.approx((ours.value, ours.low, ours.high))
    with pytest.raises(InputError, match="metric: expected a function that takes sample_weight="):
        metrics.bootstrap_interval(lambda y, p: 1.0, labels, rows, **given_so)


def test_methods_with_weights():
    labels, rows, weights = weighted_sample(samples=60)
    runs = {
        name: [(labels, np.roll(rows, first + k, axis=0)) for k in range(2)]
        for name, first in (("a", 0), ("b", 3))
    }
    options = {"metrics": ["accuracy", "auroc"], "num_resamples": 20}
    table = metrics.compare_methods(runs, sample_weight=weights, **options)
    of_runs = [
        [metrics.accuracy(*run, sample_weight=weights) for run in each] for each in runs.values()
    ]
    assert table["difference"][0] == pytest.approx(np.mean(of_runs[1]) - np.mean(of_runs[0]))
    first = [Predictions(*runs["a"][0], sample_weight=weights), *runs["a"][1:]]
    np.testing.assert_array_equal(
        metrics.compare_methods({**runs, "a": first}, **options)["difference"], table["difference"]
    )
    unlike = [Predictions(*runs["b"][0], sample_weight=weights + 1), runs["b"][1]]
    with pytest.raises(
        InputError, match=r"sample_weight: expected the weights of runs\['a'\]\[0\]"
    ):
        metrics.compare_methods({"a": first, "b": unlike}, **options)


def numbers_of(found):
    """Every number of a result that does not say how many cases there are."""
    if isinstance(found, pd.DataFrame):
        counts = ["hits", "cases"]
        return found.select_dtypes("number").drop(columns=counts, errors="ignore").to_numpy(float)
    if isinstance(found, float):
        return np.array([found])
    if isinstance(found, tuple):
        return np.concatenate([numbers_of(each) for each in found])
    if isinstance(found, float):
        return np.array([found])
    if isinstance(found, metrics.PairedDifference):
        both = [found.value_a, found.value_b, found.p_value]
        return np.concatenate([both, numbers_of(found.difference)])
    return np.array([found.value, found.low, found.high])


OTHERS = sorted(
    name
    for name in metrics.__all__
    if inspect.isfunction(getattr(metrics, name))
    and "sample_weight" in inspect.signature(getattr(metrics, name)).parameters
    and name not in {*OF_LABELS, *OF_ROWS, *ELSEWHERE}
)


@pytest.mark.parametrize("name", OTHERS)
def test_functions_with_intervals_of_their_own(name):
    """Values are of repeated rows, intervals of rows above 0; scales say nothing."""
    function = getattr(metrics, name)
    known = inspect.signature(function).parameters
    labels, rows, weights = weighted_sample(samples=150, classes=3)
    labels = np.where(np.arange(150) % 3, rows.argmax(axis=1), labels)
    options = {
        option: chosen
        for option, chosen in {
            "positive": 1,
            "threshold": 0.3,
            "thresholds": [0.1, 0.3],
            "num_knots": 3,
        }.items()
        if option in known
    }

    def of(chosen, weights=None):
        given = [labels[chosen], rows[chosen]]
        if name == "set_coverage":
            given[1] = given[1] > 0.3
        if "probabilities_b" in known:
            given.append(np.roll(rows, 1, axis=0)[chosen])
        grouped = {"groups": chosen // 3} if "groups" in known else {}
        found = function(*given, **options, **grouped, sample_weight=weights)
        return found / found.to_numpy().sum() if name == "confusion_matrix" else found

    every = np.arange(150)
    whole = np.random.default_rng(2).integers(0, 3, 150)
    found, expected = of(every, whole), of(np.repeat(every, whole))
    if isinstance(found, pd.DataFrame):
        bounds = [column for column in found if re.search("low|high|error", column)]
        found, expected = (each.drop(columns=bounds) for each in (found, expected))
    elif isinstance(found, metrics.Interval):
        found, expected = found.value, expected.value
    elif isinstance(found, metrics.CalibrationCurveErrors):  # whose bounds depend on the rows
        found, expected = (tuple(each.value for each in errors) for errors in (found, expected))
    elif isinstance(found, metrics.PairedDifference):
        found, expected = found.difference.value, expected.difference.value
    if not isinstance(found, float):
        found, expected = numbers_of(found), numbers_of(expected)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose(
        numbers_of(of(every, np.full(150, 0.3))), numbers_of(of(every)), atol=1e-7
    )
    weights[::4] = 0
    found = numbers_of(of(every, weights))
    kept = np.flatnonzero(weights)
    for other in (of(every, weights * 4e3), of(kept, weights[kept])):
        np.testing.assert_allclose(numbers_of(other), found, atol=1e-7)


# --- what is wrong with them ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            [1, -1, 1],
            "sample_weight: expected finite numbers of at least 0, received -1.0 at row 1",
        ),
        ([1, np.nan, 1], "sample_weight: expected finite numbers of at least 0, received nan"),
        ([1, np.inf, 1], "sample_weight: expected finite numbers of at least 0, received inf"),
        ([0, 0, 0], "sample_weight: expected one above 0, received 0 for every case"),
        ([1e200, 0, 1], r"sample_weight: expected a sum from 1e-100 to 1e\+100, received 1e\+200"),
        ([1, 2], r"sample_weight: expected shape \(3,\)"),
        (["a", "b", "c"], "sample_weight: expected real numbers"),
    ],
)
def test_bad_weights(weights, message):
    labels, rows = [0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    for function in (
        metrics.evaluate,
        metrics.aurc,
        metrics.spiegelhalter_test,
        partial(metrics.bootstrap_interval, "ece"),
        lsp.plots.reliability_diagram,
        lambda y, p, **weights: metrics.true_class_confusion(p, **weights),
        lambda y, p, **weights: CALIBRATORS["temperature"]().fit(np.log(p), y, **weights),
    ):
        with pytest.raises(InputError, match=message) as caught:
            function(labels, rows, sample_weight=weights)
        assert "\n" not in str(caught.value)


def test_a_column_of_weights_is_one_for_each_case():
    """As labels and Keras's weights may be."""
    labels, rows = [0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    expected = metrics.evaluate(labels, rows, sample_weight=[1, 2, 3])
    assert metrics.evaluate(labels, rows, sample_weight=[[1], [2], [3]]) == expected
    with pytest.raises(InputError, match=r"received shape \(1, 3\)"):
        metrics.evaluate(labels, rows, sample_weight=[[1, 2, 3]])


def test_what_cannot_take_weights_says_so():
    weighted = Predictions([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], sample_weight=[1, 2, 1])
    taking = [
        getattr(metrics, name)
        for name in metrics.__all__
        if inspect.isfunction(getattr(metrics, name))
        and "convention" in inspect.signature(getattr(metrics, name)).parameters
    ]
    assert len(taking) >= 8
    for function in taking:
        with pytest.raises(InputError, match=r"^sample_weight: the LS\+ paper's code .*no weights"):
            function(weighted, convention="released_code")
    with pytest.raises(InputError, match=r"paper's code .* or leave out --paper"):
        lsp.audit(weighted, paper=True)
    with pytest.raises(InputError, match=r"sample_weight: .* at most 100,000,000 for a curve"):
        metrics.risk_coverage_curve([0, 1], [[0.9, 0.1], [0.8, 0.2]], sample_weight=[1, 2e8])
    assert metrics.aurc([0, 1], [[0.9, 0.1], [0.8, 0.2]], sample_weight=[1, 1e15]) > 0.99
    for weights, groups in (([0, 3, 0], None), ([1, 1, 0], [0, 0, 1])):
        with pytest.raises(InputError, match=r"^sample_weight: expected .*received 1$"):
            metrics.bootstrap_interval(
                "ece", [0, 1, 1], weighted.scores, sample_weight=weights, groups=groups
            )


# --- calibrators ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, one in CALIBRATORS.items() if one.takes_weights])
def test_calibrators_take_weights(name):
    labels, rows, weights = weighted_sample(samples=150, classes=3)
    # Labels that the logits tell something of.
    labels = np.where(np.arange(150) % 3, rows.argmax(axis=1), labels)
    logits = np.log(rows)
    whole = np.random.default_rng(1).integers(0, 4, 150)
    repeated = np.repeat(np.arange(150), whole)
    calibrator = CALIBRATORS[name]
    plain = calibrator().fit(logits, labels).predict_proba(logits)
    found = calibrator().fit(logits, labels, sample_weight=whole).predict_proba(logits)
    expected = calibrator().fit(logits[repeated], labels[repeated]).predict_proba(logits)
    np.testing.assert_allclose(found, expected, atol=2e-5)  # of optimisers that stop
    assert np.abs(found - plain).max() > 1e-3
    equal = calibrator().fit(logits, labels, sample_weight=np.full(150, 0.3)).predict_proba(logits)
    np.testing.assert_allclose(equal, plain, atol=2e-5)
    weights[::4] = 0
    kept = weights > 0
    found = calibrator().fit(logits, labels, sample_weight=weights).predict_proba(logits)
    for other in (
        calibrator().fit(logits[kept], labels[kept], sample_weight=weights[kept]),
        calibrator().fit(Predictions(labels, logits=logits, sample_weight=weights * 900)),
    ):
        np.testing.assert_allclose(other.predict_proba(logits), found, atol=2e-5)


def test_a_calibrator_that_takes_none_refuses_them():
    logits, labels = np.log(weighted_sample()[1]), weighted_sample()[0]
    for each in CALIBRATORS.values():
        if not each.takes_weights:
            with pytest.raises(InputError, match=r"^sample_weight: .* takes no weights"):
                each().fit(logits, labels, sample_weight=np.ones(len(labels)))

    class Fixed(Calibrator):
        def _fit(self, logits, labels):
            pass

        def _probabilities(self, logits, xp):
            return lsp.metrics.softmax(logits)

        def _samples_needed(self, num_classes):
            return 1

    assert Fixed().fit([[2, 0], [0, 2]], [0, 1]).n_classes_ == 2
    with pytest.raises(InputError, match="sample_weight: Fixed takes no weights"):
        Fixed().fit([[2, 0], [0, 2]], [0, 1], sample_weight=[1, 2])
    with pytest.raises(InputError, match="sample_weight: expected none beside Predictions"):
        Fixed().fit(Predictions([0, 1], logits=[[2, 0], [0, 2]]), sample_weight=[1, 2])


# --- files ----------------------------------------------------------------------------------------


def test_a_table_has_weights_where_one_is_declared(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("label,probability_a,probability_b,weight\na,0.9,0.1,2\nb,0.3,0.7,0.5\n")
    assert read_predictions(path, Columns(weight="weight")).sample_weight.tolist() == [2, 0.5]
    undeclared = read_predictions(path)
    assert undeclared.sample_weight is None
    assert undeclared.unused == ("weight",)
    with pytest.raises(InputError, match=r"--weight: expected 'wieght'.* did you mean 'weight'\?"):
        read_predictions(path, Columns(weight="wieght"))
    path.write_text("label,probability_a,probability_b,w\na,0.9,0.1,2\nb,0.3,0.7,-1\n")
    with pytest.raises(InputError, match=r"line 3"):
        read_predictions(path, Columns(weight="w"))
    path.write_text("label,probability_a,probability_b,w\na,0.9,0.1,2\nb,0.3,0.7,\n")
    with pytest.raises(InputError, match="w"):
        read_predictions(path, Columns(weight="w"))
    archive = tmp_path / "predictions.npz"
    arrays = {"labels": [0, 1], "probabilities": [[0.9, 0.1], [0.3, 0.7]]}
    np.savez(archive, **arrays, sample_weight=[1.0, 3.0], survey=[4.0, 5.0])
    assert read_predictions(archive).sample_weight.tolist() == [1, 3]
    assert read_predictions(archive, Columns(weight="survey")).sample_weight.tolist() == [4, 5]


def test_a_split_takes_its_weights(tmp_path):
    path = tmp_path / "predictions.csv"
    lines = ["a,0.9,0.1,2,test", "b,0.3,0.7,1,train", "b,0.2,0.8,3,test"]
    path.write_text("\n".join(["label,probability_a,probability_b,w,split", *lines]))
    found = read_predictions(path, Columns(weight="w", take_split="test"))
    assert found.sample_weight.tolist() == [2, 3]


# --- the audit ------------------------------------------------------------------------------------


def numbers(result):
    """All that is measured of the cases themselves."""
    return [
        *result.metrics["value"],
        *result.parts[["confidence", "accuracy", "gap"]].to_numpy().ravel(),
        result.automatic.observed,
        *result.automatic.steps[["threshold", "error_rate"]].to_numpy()[-1],
        *(result.votes.__dict__[key] for key in ("agreement", "ece", "cross_entropy", "brier")),
        result.votes.gap.value,
    ]


@pytest.mark.parametrize("grouped", [False, True])
def test_an_audit_counts_weights(grouped):
    samples = 48  # too few for calibrators, which take seconds
    labels, rows, weights = weighted_sample(samples=samples, classes=3)
    votes = np.random.default_rng(3).integers(1, 5, (samples, 3))
    every = np.arange(samples)

    def of(chosen, weights):
        predictions = Predictions(
            labels[chosen],
            rows[chosen],
            sample_weight=weights,
            votes=votes[chosen],
            groups=chosen // 4 if grouped else None,
            subgroups={"site": np.where(chosen % 2, "x", "y")},
        )
        return lsp.audit(predictions, positive=[0], num_resamples=50)

    whole = np.random.default_rng(4).integers(0, 3, samples)
    found, repeated = of(every, whole), of(np.repeat(every, whole), None)
    np.testing.assert_allclose(numbers(found), numbers(repeated), atol=1e-9)
    # "3 of 15 missed", as if they were there so often.
    said = [
        next(each.text for each in auditing.verdict(result) if each.topic == "class").split(",")[0]
        for result in (found, repeated)
    ]
    assert said[0] == said[1]
    assert len(found.predictions) == np.count_nonzero(whole)
    assert "of weight 0 are left out" in found.notes[0]
    # Equal weights are none, also in intervals and tests.
    plain, equal = of(every, None), of(every, np.full(samples, 0.25))
    for name in ("metrics", "parts"):
        one, other = (getattr(each, name).select_dtypes("number") for each in (plain, equal))
        np.testing.assert_allclose(one, other, atol=1e-8)
    np.testing.assert_allclose(plain.automatic.steps, equal.automatic.steps, atol=1e-9)
    assert equal.chance.mean == pytest.approx(plain.chance.mean, abs=1e-9)
    # Their scale says nothing; uneven ones are less evidence.
    scaled, uneven = of(every, weights * 1e4), of(every, weights)
    for name in ("metrics", "parts"):
        one, other = (getattr(each, name).select_dtypes("number") for each in (scaled, uneven))
        np.testing.assert_allclose(one, other, atol=1e-8)
    assert uneven.gap.high - uneven.gap.low > 1.15 * (plain.gap.high - plain.gap.low)
    assert auditing.verdict(uneven)
    assert uneven.settings["cases"] == "count by their sample weights"


def test_chance_with_weights():
    """The expectation of a calibrated model's ECE, from one bin: that of a normal deviation."""
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=400)
    rows = np.tile([0.78, 0.22], (400, 1))
    labels = (rng.random(400) < 0.22).astype(int)
    variance = 0.78 * 0.22 * (weights**2).sum() / weights.sum() ** 2
    expected = np.sqrt(2 / np.pi * variance)
    found = auditing.chance.ece_by_chance(Predictions(labels, rows, sample_weight=weights), 0)
    assert found.mean == pytest.approx(expected, rel=0.1)
    # In pairs that are alike it is that of half as many.
    half = Predictions(
        np.repeat(labels, 2),
        np.repeat(rows, 2, axis=0),
        groups=np.repeat(np.arange(400), 2),
        sample_weight=np.repeat(weights, 2),
    )
    assert auditing.chance.ece_by_chance(half, 0).mean == pytest.approx(expected, rel=0.2)


def test_two_weighted_models_in_an_audit():
    labels, rows, weights = weighted_sample(samples=120, classes=3)
    ids = np.arange(120).astype(str)
    first = Predictions(labels, rows, ids=ids, sample_weight=weights)
    other = np.roll(rows, 1, axis=0)
    order = np.random.default_rng(5).permutation(120)
    second = Predictions(labels, other, ids=ids, sample_weight=weights).take(order)
    table = lsp.audit(first, second, num_resamples=20).comparison.table.set_index("metric")
    for metric in ("accuracy", "ece"):
        found = [METRICS[metric].value(each, "standard") for each in (first, second)]
        assert table.loc[metric, ["first", "second"]].tolist() == pytest.approx(found)
    with pytest.raises(InputError, match="sample_weight: expected weights in both, received them"):
        lsp.audit(first, Predictions(labels, other, ids=ids), num_resamples=20)
    unlike = Predictions(labels, other, ids=ids, sample_weight=weights * 2)
    with pytest.raises(InputError, match="sample_weight: expected the weights of the first in"):
        lsp.audit(first, unlike, num_resamples=20)


def test_calibrators_are_judged_by_weights():
    """Overconfident where weights are large, and calibrated elsewhere."""
    rng = np.random.default_rng(0)
    samples, heavy = 1200, np.arange(1200) < 300
    confidence = rng.uniform(0.6, 0.95, samples)
    right = rng.random(samples) < np.where(heavy, confidence - 0.25, confidence)
    rows = np.stack([confidence, 1 - confidence], axis=1)
    weights = np.where(heavy, 20.5, 0.5)
    predictions = Predictions((~right).astype(int), rows, sample_weight=weights)
    fit = cross_fit(predictions, num_resamples=20, seed=0, methods=("temperature",))
    row = fit.table.set_index("method").loc["temperature"]
    assert fit.recommended == "temperature"
    assert row["brier_change"] < -0.01
    none = fit.table.set_index("method").loc["none"]
    without = Predictions(predictions.labels, rows)
    equal = Predictions(predictions.labels, rows, sample_weight=np.full(samples, 0.5))
    tables = [
        cross_fit(each, num_resamples=20, seed=0, methods=("temperature",)).table
        for each in (without, equal)
    ]
    np.testing.assert_allclose(*(each.select_dtypes("number") for each in tables), atol=1e-9)
    assert abs(tables[0]["brier_change"][1]) < 0.5 * abs(row["brier_change"])
    assert none["brier"] == pytest.approx(METRICS["brier"].value(predictions, "standard"))


def test_the_command_takes_a_column_of_weights(tmp_path, call):
    labels, rows, _ = weighted_sample(samples=90, classes=2)
    weights = np.random.default_rng(0).integers(1, 4, 90)
    lines = [f"{y},{p},{q},{w}" for y, (p, q), w in zip(labels, rows, weights, strict=True)]
    path = tmp_path / "p.csv"
    path.write_text("\n".join(["label,probability_0,probability_1,times", *lines]))
    code, out, err = call("audit", path, "--weight", "times", "--resamples", "200", columns=200)
    assert code == 0, err
    accuracy = np.average(rows.argmax(axis=1) == labels, weights=weights)
    assert f"{100 * accuracy:.1f}%" in out
    assert "Cases count by their sample weights, 1 to 3" in out
    code, out, err = call("audit", path, "--weight", "often", columns=200)
    assert code == 2
    assert "--weight: expected 'often'" in err


# --- figures --------------------------------------------------------------------------------------


def test_figures_count_weights():
    labels, rows, _ = weighted_sample(samples=80, classes=3)
    weights = np.random.default_rng(0).integers(0, 4, 80)
    repeated = np.repeat(np.arange(80), weights)
    weighted = Predictions(labels, rows, sample_weight=weights)
    plain = Predictions(labels[repeated], rows[repeated])

    def heights(draw, given):
        ax = draw(given)
        found = [patch.get_height() for patch in ax.patches if hasattr(patch, "get_height")]
        found += [x for line in ax.get_lines() for x in np.ravel(line.get_xydata())]
        for child in ax.child_axes:
            found += [patch.get_height() for patch in child.patches]
            found += [x for line in child.get_lines() for x in np.ravel(line.get_xydata())]
        steps = [p for p in ax.patches if hasattr(p, "get_data")]
        found += [x for step in steps for x in step.get_data().values]
        plt.close(ax.figure)
        return found

    for draw in (
        partial(lsp.plots.reliability_diagram, interval=None),
        partial(lsp.plots.classwise_reliability, interval=None),
        partial(lsp.plots.confidence_density, recipe="plain"),
        lambda given: lsp.plots.retention_curves({"HL": given}),
        lambda given: lsp.plots.risk_coverage_curves({"HL": given}),
    ):
        found = heights(draw, weighted)
        assert len(found) > 3
        np.testing.assert_allclose(found, heights(draw, plain), atol=1e-9)
    # Intervals are of rows, whose evidence uneven weights lessen.
    bars = {}
    for name, each in {"even": Predictions(labels, rows), "weighted": weighted}.items():
        ax = lsp.plots.reliability_diagram(each, num_bins=1)
        (segment,) = ax.containers[2].lines[2][0].get_segments()
        bars[name] = np.ptp(segment[:, 1])
        plt.close(ax.figure)
    assert bars["weighted"] > 1.1 * bars["even"]
    truth = np.random.default_rng(1).dirichlet(np.ones(3), 80)
    once, again = (
        Predictions(None, rows[some], posterior=truth[some], sample_weight=w)
        for some, w in ((np.arange(80), weights), (repeated, None))
    )
    lines = [
        lsp.plots.true_reliability({"HL": each}).get_lines()[1].get_xydata()
        for each in (once, again)
    ]
    np.testing.assert_allclose(*lines, atol=1e-12)
    plt.close("all")
