"""A class against the rest: values and variances of other tools, intervals, what is not there."""

from __future__ import annotations

import json
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from lsplus_tf.errors import InputError
from lsplus_tf.metrics import (
    areas,
    auroc,
    average_precision,
    bootstrap_interval,
    class_metrics,
    compare_methods,
    confusion_matrix,
    decision_curve,
    delong_interval,
    delong_test,
    negative_predictive_value,
    net_benefit,
    one_vs_rest_metrics,
    operating_point,
    paired_bootstrap,
    permutation_test,
    positive_predictive_value,
    prevalence,
    resampling,
    sensitivity,
    specificity,
)
from lsplus_tf.metrics.areas import Auroc, AveragePrecision, Ranked, Units
from lsplus_tf.metrics.intervals import share_interval
from lsplus_tf.metrics.method_comparison import measure_runs
from lsplus_tf.predictions import Predictions

GOLDEN = json.loads((Path(__file__).parent / "data/clinical/classes.json").read_text("utf-8"))
LABELS, A, B = (np.array(GOLDEN[name]) for name in ("labels", "a", "b"))
WEIGHTS = np.array(GOLDEN["weights"])
KEYS = ["sensitivity", "specificity", "ppv", "npv", "prevalence", "f1", "auroc", "auprc"]


def drawn(seed, cases=300, classes=3, *, group_size=None, weighted=False):
    """Predictions with ties, labels that fit them, and mixed groups."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(cases, classes)).round(1)
    labels = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    return Predictions(
        labels,
        logits=scores,
        groups=None if group_size is None else rng.permutation(cases) // group_size,
        sample_weight=rng.uniform(0.2, 2, cases) if weighted else None,
    )


def rows(p):
    """Of two classes, from the probability of the second."""
    p = np.asarray(p, float)
    return np.stack([1 - p, p], axis=1)


KINDS = {
    "cases": {},
    "groups": {"group_size": 4},
    "weights": {"weighted": True},
    "groups and weights": {"group_size": 4, "weighted": True},
}


# Values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["cases", "weights"])
def test_values_are_those_of_scikit_learn(weights):
    table = class_metrics(LABELS, A, sample_weight=weights)
    assert list(table.columns) == ["class", "metric", "value", "low", "high", "hits", "cases"]
    assert table["class"].tolist() == np.repeat(["0", "1", "2"], 8).tolist()
    assert table["metric"].tolist() == KEYS * 3
    expected = GOLDEN["scikit-learn" if weights is None else "weighted"]
    for k, each in enumerate(expected):
        values = table[table["class"] == str(k)].set_index("metric")["value"]
        assert values.to_dict() == pytest.approx(each, rel=1e-12)
    shares = table[table["hits"].notna()]
    assert (shares["hits"] / shares["cases"]).tolist() == pytest.approx(shares["value"].tolist())
    matrix = confusion_matrix(LABELS, A, sample_weight=weights)
    name = "confusion_matrix" if weights is None else "weighted_confusion_matrix"
    np.testing.assert_array_equal(matrix, GOLDEN[name])
    assert (matrix.index.name, matrix.columns.name) == ("true", "predicted")


def test_each_metric_has_a_function_and_a_record():
    functions = {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": positive_predictive_value,
        "npv": negative_predictive_value,
        "prevalence": prevalence,
        "auroc": delong_interval,
        "auprc": average_precision,
    }
    predictions = drawn(0, group_size=4, weighted=True)
    for positive in (1, [0, 2]):
        table = class_metrics(predictions, positive=[positive, [0]]).set_index("metric")
        lines = table[table["class"] != "0"]
        records = one_vs_rest_metrics(positive)
        assert list(records) == KEYS
        for key, record in records.items():
            expected = lines.loc[key, ["value", "low", "high"]].tolist()
            found = bootstrap_interval(record, predictions)
            assert [found.value, found.low, found.high] == pytest.approx(expected, rel=1e-12)
            if key in functions:
                found = functions[key](predictions, positive=positive)
                assert [found.value, found.low, found.high] == pytest.approx(expected, rel=1e-12)


def test_several_classes_are_one_or_a_list_of_some():
    names = ["bcc", "mel", "nv"]
    predictions = Predictions(LABELS, A, class_names=names)
    one = class_metrics(predictions, positive=["mel", "nv"])
    assert one["class"].unique().tolist() == ["mel or nv"]
    two = class_metrics(predictions, positive=[["mel", "nv"], "bcc"])
    assert two["class"].unique().tolist() == ["mel or nv", "bcc"]
    # The rest of a class: what is found of one is what is not found of the other.
    values = two.set_index(["class", "metric"])["value"]
    assert values["mel or nv", "sensitivity"] == values["bcc", "specificity"]
    assert values["mel or nv", "ppv"] == values["bcc", "npv"]
    # Sums of probabilities that tie may differ by their rounding.
    assert values["mel or nv", "auroc"] == pytest.approx(values["bcc", "auroc"], abs=2e-3)


def test_a_threshold_decides():
    table = class_metrics(LABELS, A, threshold=0.25).set_index(["class", "metric"])
    for k in range(3):
        taken = A[:, k] >= 0.25
        hits, cases = table.loc[(str(k), "ppv"), ["hits", "cases"]]
        assert (hits, cases) == ((taken & (k == LABELS)).sum(), taken.sum())
    # 0.7 in 32 bits is a little less than in 64.
    p = np.array([[0.3, 0.7], [0.4, 0.6]], np.float32)
    assert sensitivity([1, 1], p, threshold=0.7).value == 0.5


def test_two_classes_and_logits_that_saturate():
    logits = np.array([[0.0, 50.0], [0.0, 60.0], [0.0, 40.0], [0.0, 70.0]])
    with pytest.warns(UserWarning, match="NaN are ppv as no case is taken for class 0"):
        table = class_metrics([0, 1, 0, 1], logits, from_logits=True)
    values = table.set_index(["class", "metric"])["value"]
    assert (values["0", "auroc"], values["1", "auroc"], values["0", "auprc"]) == (1, 1, 1)
    assert delong_interval([0, 1, 0, 1], logits, from_logits=True).value == 1


def test_auroc_over_the_classes_that_are_there():
    assert auroc(LABELS, A) == pytest.approx(GOLDEN["macro_auroc"], rel=1e-12)
    own = [each["auroc"] for each in GOLDEN["scikit-learn"]]
    np.testing.assert_allclose(auroc(LABELS, A, average=None), own, rtol=1e-12)
    few = np.where(LABELS == 2, 1, LABELS)
    with pytest.warns(UserWarning, match="auroc is NaN: no sample of class 2"):
        areas = auroc(few, A, average=None)
    assert np.isnan(areas).tolist() == [False, False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert auroc(few, A, average="present") == pytest.approx(areas[:2].mean())
        found = delong_interval(few, A, average="present")
    assert found.value == pytest.approx(areas[:2].mean())
    assert found.low < found.value < found.high
    with pytest.raises(
        InputError, match="average: expected 'macro', 'present' or None, received 'all'"
    ):
        auroc(LABELS, A, average="all")


# Variances ---------------------------------------------------------------------------------------


def test_delong_is_that_of_proc():
    for k, expected in enumerate(GOLDEN["pROC"]):
        a, b = (delong_interval(LABELS, model, positive=k) for model in (A, B))
        assert (a.value, b.value) == pytest.approx((expected["auc_a"], expected["auc_b"]))
        errors = a.standard_error**2, b.standard_error**2
        assert errors == pytest.approx((expected["var_a"], expected["var_b"]), rel=1e-9)
        found = delong_test(LABELS, A, B, positive=k)
        z = found.difference.value / found.difference.standard_error
        assert z == pytest.approx(expected["z"], rel=1e-9)
        # pROC takes the normal distribution; here Student's t of the class's cases.
        positives = np.count_nonzero(k == LABELS)
        freedom = min(positives, LABELS.size - positives) - 1
        assert 2 * stats.norm.sf(abs(z)) == pytest.approx(expected["p"], rel=1e-9)
        assert found.p_value == pytest.approx(2 * stats.t.sf(abs(z), freedom), rel=1e-9)
        low, _, high = expected["ci_a"]
        assert (a.low, a.high) == pytest.approx((low, high), abs=0.03)


def test_other_intervals_are_near():
    """statsmodels takes z where t is taken here, confidenceinterval another formula for F1."""
    table = class_metrics(LABELS, A).set_index(["class", "metric"])
    for k, each in enumerate(GOLDEN["intervals"]):
        for key, bounds in each.items():
            found = table.loc[(str(k), key), ["low", "high"]].tolist()
            assert found == pytest.approx(bounds, abs=0.05 if key == "f1" and k == 2 else 0.035)


def test_groups_have_the_variance_of_obuchowski():
    """By her definition, over all pairs."""
    predictions = drawn(1, 240, 2, group_size=6)
    score, y, groups = (
        predictions.logits[:, 1] - predictions.logits[:, 0],
        predictions.labels,
        (predictions.groups),
    )
    x, z = score[y == 1], score[y == 0]
    wins = (x[:, None] > z) + 0.5 * (x[:, None] == z)
    area = wins.mean()
    of_x, of_z = np.zeros(40), np.zeros(40)
    np.add.at(of_x, groups[y == 1], wins.mean(axis=1) - area)
    np.add.at(of_z, groups[y == 0], wins.mean(axis=0) - area)
    units = [np.unique(groups[y == k]).size for k in (1, 0)]
    of_x, of_z = of_x / x.size, of_z / z.size
    parts = [(each**2).sum() * n / (n - 1) for each, n in zip((of_x, of_z), units, strict=True)]
    variance = sum(parts) + 2 * 40 / 39 * (of_x @ of_z)
    found = delong_interval(predictions)
    assert found.value == pytest.approx(area)
    assert found.standard_error**2 == pytest.approx(variance, rel=0.01)
    assert not np.isclose(
        found.standard_error,
        delong_interval(y, predictions.probabilities).standard_error,
        rtol=0.02,
    )


@pytest.mark.parametrize("kind", ["cases", "weights"])
def test_influences_are_derivatives(kind):
    """By how much a little more weight of a case moves scikit-learn's value."""
    predictions = drawn(2, 40, 2, **KINDS[kind])
    ranking = predictions.logits[:, 1] - predictions.logits[:, 0]
    y, weights = predictions.labels, predictions.weights
    ranked, units = Ranked(ranking, np.flatnonzero(y), weights), Units.of(None, 40)
    for measure, found in (
        (average_precision_score, AveragePrecision.of(ranked, units).influences),
        (roc_auc_score, Auroc.of(ranked, units).influences),
    ):
        value = measure(y, ranking, sample_weight=weights)
        step, moved = 1e-6, []
        for i in range(40):
            more = weights.copy()
            more[i] *= 1 + step
            moved.append((measure(y, ranking, sample_weight=more) - value) / step)
        for own in (y == 0, y == 1):
            scale = 1.0
            if measure is roc_auc_score:  # DeLong's divides by one case less of each kind
                scale = np.sqrt(39 / 40 * own.sum() / (own.sum() - 1))
            np.testing.assert_allclose(found[own], scale * np.array(moved)[own], atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_shares_have_the_interval_of_their_cases(kind):
    predictions = drawn(3, **KINDS[kind])
    weights, groups = predictions.weights, predictions.groups
    table = class_metrics(predictions).set_index(["class", "metric"])
    for k in range(3):
        y, taken = predictions.labels == k, predictions.predicted == k
        subsets = {
            "sensitivity": (y, taken),
            "specificity": (~y, ~taken),
            "ppv": (taken, y),
            "npv": (~taken, ~y),
            "prevalence": (np.ones_like(y), y),
            "f1": (y | taken, y & taken),
        }
        for key, (cases, hits) in subsets.items():
            own = None if groups is None else groups[cases]
            one = share_interval(hits[cases].astype(float), own, 0.95, weights[cases])
            expected = np.array([one.value, one.low, one.high])
            if key == "f1":
                expected = 2 * expected / (1 + expected)
            np.testing.assert_allclose(
                table.loc[(str(k), key), ["value", "low", "high"]].tolist(), expected, rtol=1e-9
            )


@pytest.mark.parametrize("kind", KINDS)
def test_resamples_vary_as_the_formulas_say(kind):
    predictions = drawn(4, 400, **KINDS[kind])
    for key, record in one_vs_rest_metrics(1).items():
        exact = bootstrap_interval(record, predictions)
        found = bootstrap_interval(record, predictions, method="percentile", num_resamples=400)
        assert found.value == pytest.approx(exact.value, rel=1e-12)
        assert found.standard_error == pytest.approx(exact.standard_error, rel=0.15), key
    exact = delong_interval(predictions)
    found = bootstrap_interval("auroc", predictions, method="percentile", num_resamples=400)
    assert found.standard_error == pytest.approx(exact.standard_error, rel=0.15)
    other = predictions.replace(logits=predictions.logits + drawn(5, 400).logits)
    exact = delong_test(predictions, other)
    found = paired_bootstrap("auroc", predictions, other, num_resamples=400)
    assert found.difference.value == pytest.approx(exact.difference.value)
    assert found.difference.standard_error == pytest.approx(
        exact.difference.standard_error, rel=0.15
    )


def test_bounds_are_where_the_value_is_t_errors_away():
    """The variance at a bound: Hanley and McNeil's, by how much DeLong's is larger."""

    def simple(theta, m, n):
        q = theta / (2 - theta), 2 * theta**2 / (1 + theta)
        mean = (m + n) / 2 - 1  # Newcombe's choice in place of n - 1 and m - 1
        return (theta * (1 - theta) + mean * (q[0] + q[1] - 2 * theta**2)) / (m * n)

    found = delong_interval(LABELS, A, positive=2)
    m = np.count_nonzero(LABELS == 2)
    n, own = LABELS.size - m, m - 1
    excess = (own * found.standard_error**2 / simple(found.value, m, n) + 4) / (own + 4)
    for bound in (found.low, found.high):
        error = np.sqrt(excess * simple(bound, m, n))
        assert abs(found.value - bound) == pytest.approx(stats.t.ppf(0.975, own + 4) * error)
    apart = delong_interval([0] * 10 + [1] * 8, rows(np.linspace(0, 1, 18)))
    assert (apart.value, apart.high, apart.standard_error) == (1, 1, 0)
    error = np.sqrt(simple(apart.low, 8, 10))
    assert 1 - apart.low == pytest.approx(stats.t.ppf(0.975, 11) * error)
    below = delong_interval([1] * 10 + [0] * 8, rows(np.linspace(0, 1, 18)))
    assert (below.value, below.low) == (0, 0)
    assert below.high == pytest.approx(
        1 - delong_interval([0] * 8 + [1] * 10, rows(np.linspace(0, 1, 18))).low
    )


def test_intervals_cover():
    """benchmarks/coverage_classes.py has longer runs."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(200):
        labels = rng.choice(3, 300, p=[0.6, 0.3, 0.1])
        logits = 2 * (np.eye(3)[labels] * 2 + rng.normal(size=(300, 3)))
        predictions = Predictions(labels, logits=logits)
        found = (
            delong_interval(predictions),
            delong_interval(predictions, positive=2),
            average_precision(predictions, positive=2),
        )
        # Of a million cases.
        truth = (0.9680, 0.9680, 0.8361)
        inside.append([each.low <= t <= each.high for each, t in zip(found, truth, strict=True)])
    shares = np.mean(inside, axis=0)
    assert ((shares > 0.9) & (shares < 0.99)).all(), shares


# What is not there -------------------------------------------------------------------------------


def test_what_does_not_exist_is_nan_and_says_why():
    labels, p = [0, 0, 1, 1], [[0.7, 0.2, 0.1]] * 3 + [[0.2, 0.7, 0.1]]
    message = (
        r"class_metrics: NaN are sensitivity, auprc as no case is of class 2; "
        r"ppv as no case is taken for class 2; f1 as .* or taken for it; auroc as no case, or all, "
        r"are of class 2$"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        table = class_metrics(labels, p).set_index(["class", "metric"])
    assert len(caught) == 1
    absent = table.loc["2"]
    assert absent.index[absent["value"].isna()].tolist() == [
        "sensitivity",
        "ppv",
        "f1",
        "auroc",
        "auprc",
    ]
    assert absent.loc[absent["value"].isna(), ["low", "high"]].isna().all(axis=None)
    assert absent.loc["prevalence", "value"] == 0
    assert absent.loc["prevalence", "high"] > 0
    with pytest.warns(UserWarning, match="sensitivity: NaN are sensitivity as no case is of class"):
        assert np.isnan(sensitivity(labels, p, positive=2).value)
    with pytest.warns(UserWarning, match="delong_interval is NaN: no case of class 2"):
        assert np.isnan(delong_interval(labels, p).low)
    with pytest.warns(UserWarning, match="delong_test is NaN: no case of class 2"):
        assert np.isnan(delong_test(labels, p, p).p_value)
    with pytest.warns(UserWarning, match="ppv of 2: NaN are ppv as no case is taken for class 2"):
        assert np.isnan(bootstrap_interval(one_vs_rest_metrics(2)["ppv"], labels, p).value)


def test_equal_probabilities_rank_nothing():
    labels = [0, 1] * 20
    with pytest.warns(UserWarning, match="no bounds: nothing shows how the area varies"):
        found = delong_interval(labels, [[0.5, 0.5]] * 40)
    assert (found.value, np.isnan(found.low), np.isnan(found.high)) == (0.5, True, True)
    with pytest.warns(UserWarning, match=r"auroc \(the interval\), as .* or all rank alike"):
        table = class_metrics(labels, [[0.5, 0.5]] * 40).set_index(["class", "metric"])
    assert table.loc[("1", "auprc"), "value"] == 0.5
    with pytest.warns(UserWarning, match="no p value"):
        apart = delong_test(labels, [[0.5, 0.5]] * 40, np.eye(2)[labels])
    assert np.isnan([apart.p_value, apart.difference.low]).all()
    same = delong_test(LABELS, A, A)
    assert (same.difference.low, same.difference.high, same.p_value) == (0, 0, 1)


def test_a_class_of_one_case_or_one_group():
    labels = [0] * 30 + [1]
    p = np.linspace(0.1, 0.9, 31)[::-1]
    found = delong_interval(labels, rows(p))
    assert (found.value, found.low) == (0, 0)
    assert 0.5 < found.high < 1
    with pytest.warns(UserWarning, match="no p value: one case"):
        assert np.isnan(delong_test(labels, rows(p), rows(p**2 % 0.3)).p_value)
    # Groups that hold one class only.
    labels, groups = np.repeat([0, 1, 0, 1], 10), np.repeat([0, 1, 2, 3], 10)
    scores = np.random.default_rng(0).normal(size=(40, 2))
    table = class_metrics(labels, scores, from_logits=True, groups=groups).set_index("metric")
    assert table["low"].notna().all()
    groups = np.repeat([0, 1, 2, 1], 10)  # all positives are of one group
    with pytest.warns(UserWarning, match=r"sensitivity.* \(the interval\), as too few cases"):
        table = class_metrics(labels, scores, from_logits=True, groups=groups, positive=1)
    table = table.set_index("metric")
    assert np.isnan(table.loc["sensitivity", "low"])
    assert table.loc["auroc", "high"] - table.loc["auroc", "low"] > 0.5


def test_predictions_with_the_confidence_alone():
    full = Predictions(LABELS, A)
    with pytest.warns(UserWarning, match="auroc, auprc as .* of all classes"):
        less = class_metrics(full.top_label())
    table = class_metrics(full)
    known = ~table["metric"].isin(["auroc", "auprc"])
    columns = ["value", "low", "high", "hits", "cases"]
    np.testing.assert_array_equal(less.loc[known, columns], table.loc[known, columns])
    assert less.loc[~known, "value"].isna().all()
    assert sensitivity(full.top_label(), positive=1).value == sensitivity(full, positive=1).value
    with pytest.raises(InputError, match="probabilities: expected those of all classes"):
        average_precision(full.top_label(), positive=1)


def test_cases_of_weight_0_are_not_there():
    weights = np.where(np.arange(LABELS.size) % 3 == 0, 0.0, 1.0)
    kept = weights > 0
    found = class_metrics(LABELS, A, sample_weight=weights)
    expected = class_metrics(LABELS[kept], A[kept])
    np.testing.assert_allclose(found.iloc[:, 2:], expected.iloc[:, 2:], rtol=1e-12)
    whole = delong_test(LABELS, A, B, sample_weight=weights)
    assert whole.p_value == pytest.approx(delong_test(LABELS[kept], A[kept], B[kept]).p_value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_metrics(LABELS, A, threshold=1.5), "threshold: expected a number in"),
        (lambda: one_vs_rest_metrics(1, threshold=-0.1), "threshold: expected a number in"),
        (lambda: class_metrics(LABELS, A, positive=7), "positive: expected a class in"),
        (lambda: sensitivity(LABELS, A), "positive: expected one of the classes"),
        (
            lambda: class_metrics(LABELS, A, groups=np.zeros(240, int)),
            "groups: expected at least two groups, received one for all cases$",
        ),
        *(
            (
                call,
                r"positive: expected one .* or several such in a list, received 1.0 \(a float\)$",
            )
            for call in (
                lambda: sensitivity(LABELS, A, positive=1.0),
                lambda: class_metrics(LABELS, A, positive=1.0),
                lambda: class_metrics(LABELS, A, positive=[0, 1.0]),
                lambda: one_vs_rest_metrics(1.0)["ppv"].value(Predictions(LABELS, A), None),
                lambda: net_benefit(LABELS, A, positive=1.0, threshold=0.5),
            )
        ),
        (lambda: class_metrics(LABELS, A, positive=[None]), "positive: .*, received None$"),
        (lambda: decision_curve(LABELS, A, positive=None), "positive: .*, received None$"),
        (lambda: sensitivity(LABELS, A, positive=True), r"received True \(a bool\)$"),
        (lambda: auroc(LABELS, A, average="micro"), "'macro', 'present' or None, received 'micro'"),
        (lambda: class_metrics(LABELS, A, confidence_level=95), "confidence_level: expected"),
        (lambda: class_metrics(LABELS, A, sample_weight=[0] * 240), "sample_weight"),
        (lambda: delong_interval(LABELS, A, average="all"), "average: expected 'macro' or"),
        (lambda: operating_point(LABELS, A, positive=1), "expected exactly one of them, received"),
        (
            lambda: operating_point(LABELS, A, positive=1, threshold=0.5, specificity=0.9),
            "received threshold and specificity",
        ),
        (lambda: operating_point(LABELS, A, positive=1, sensitivity=90), "sensitivity: expected"),
        (
            lambda: bootstrap_interval("brier", LABELS, A, method="linearised"),
            "method: 'linearised' is for auroc, received it for brier",
        ),
        (
            lambda: bootstrap_interval("auroc", LABELS, A, method="linearised", stratify=True),
            "stratify: expected a method that draws",
        ),
        (lambda: bootstrap_interval("brier", LABELS, A, stratify=1), "stratify: expected"),
        (
            lambda: compare_methods(
                {"a": [(LABELS, A)], "b": [(LABELS, B)]},
                metrics=[one_vs_rest_metrics(1)["prevalence"]],
            ),
            "metrics: expected some of",
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    with pytest.raises(InputError, match=message):
        call()


# Records -----------------------------------------------------------------------------------------


def test_records_are_compared_and_tested():
    rng = np.random.default_rng(0)
    runs = {
        name: [(LABELS, np.exp(np.log(p + 0.01) + 0.2 * rng.normal(size=p.shape))) for _ in "123"]
        for name, p in (("a", A), ("b", B))
    }
    runs = {
        name: [(y, p / p.sum(axis=1, keepdims=True)) for y, p in each]
        for name, each in runs.items()
    }
    records = one_vs_rest_metrics([1, 2])
    chosen = [records["sensitivity"], records["auprc"], "brier"]
    table = compare_methods(runs, metrics=chosen, num_resamples=50)
    assert table["metric"].tolist() == ["sensitivity of 1 or 2", "auprc of 1 or 2", "brier"]
    measured = measure_runs(chosen, [Predictions(*run) for run in runs["a"]], None, 50, 0)
    assert list(measured) == table["metric"].tolist()
    of_a = measured["sensitivity of 1 or 2"].values
    assert of_a == pytest.approx([sensitivity(*run, positive=[1, 2]).value for run in runs["a"]])
    found = permutation_test(records["auroc"], LABELS, A, B, num_permutations=99)
    areas = [delong_interval(LABELS, model, positive=[1, 2]).value for model in (A, B)]
    assert found.statistic == pytest.approx(areas[0] - areas[1])


# Resamples with all classes ----------------------------------------------------------------------


def test_stratified_resamples_lack_no_class():
    labels = np.array([0] * 97 + [1] * 3)
    p = rows(np.random.default_rng(0).uniform(size=100))
    with pytest.warns(UserWarning, match="a class may be absent"):
        bootstrap_interval("auroc", labels, p, method="percentile")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bootstrap_interval("auroc", labels, p, stratify=True)
    assert (found.method, found.num_undefined) == ("percentile", 0)
    assert found.low < found.value < found.high
    # The class counts are fixed: an accuracy varies as its classes' hits do, each on its own.
    predictions = drawn(6, 400)
    stratified = bootstrap_interval("accuracy", predictions, stratify=True, num_resamples=2000)
    hits = [predictions.correct[predictions.labels == k] for k in range(3)]
    variance = sum(each.size * each.mean() * (1 - each.mean()) for each in hits) / 400**2
    assert stratified.standard_error == pytest.approx(np.sqrt(variance), rel=0.06)
    share = one_vs_rest_metrics(1)["prevalence"]
    with pytest.warns(UserWarning, match="all resamples give"):
        assert np.isnan(bootstrap_interval(share, predictions, stratify=True).low)
    other = predictions.replace(logits=-predictions.logits)
    paired = paired_bootstrap("accuracy", predictions, other, stratify=True, num_resamples=100)
    assert paired.difference.low < paired.difference.value < paired.difference.high


@pytest.mark.parametrize("group_size", [None, 3])
def test_blocks_of_strata_keep_the_classes_apart(group_size, monkeypatch):
    monkeypatch.setattr(resampling, "BLOCKS", 150)
    rng = np.random.default_rng(1)
    labels = rng.choice(3, 2400, p=[0.6, 0.395, 0.005])
    groups = None if group_size is None else np.arange(2400) // group_size
    cases = resampling.Cases.all_of(2400, groups, 0, labels)
    codes = np.arange(2400) if groups is None else groups
    assert cases.units < 260
    assert np.unique(cases.unit).tolist() == list(range(cases.units))
    # Whole groups, and of each its rarest class.
    assert len(set(zip(codes, cases.unit, strict=True))) == codes.max() + 1
    rarity = np.argsort(np.argsort(np.bincount(labels)))
    rarest = np.array([rarity[labels[codes == g]].min() for g in range(codes.max() + 1)])
    np.testing.assert_array_equal(cases.strata[cases.unit], rarest[codes])
    draws = resampling._drawing(cases)(np.random.default_rng(0), 5)
    for row in cases.strata[draws]:
        np.testing.assert_array_equal(np.bincount(row), np.bincount(cases.strata))


# Operating points --------------------------------------------------------------------------------


def test_operating_points_are_those_of_proc():
    for k, expected in enumerate(GOLDEN["pROC"]):
        found = operating_point(LABELS, A, positive=k, sensitivity=0.9).set_index("metric")
        assert found.loc["sensitivity", "value"] >= 0.9
        assert found.loc["specificity", "value"] == pytest.approx(
            expected["best_specificity_at_90"]
        )
        found = operating_point(LABELS, A, positive=k, specificity=0.9).set_index("metric")
        assert found.loc["specificity", "value"] >= 0.9
        assert found.loc["sensitivity", "value"] == pytest.approx(
            expected["best_sensitivity_at_90"]
        )


def test_ties_stay_together():
    labels = [0, 0, 1, 0, 1, 1, 1, 0]
    p = rows([0.1, 0.2, 0.3, 0.3, 0.3, 0.6, 0.8, 0.8])
    for wanted, threshold, value in ((0.25, 0.8, 0.25), (0.5, 0.6, 0.5), (0.6, 0.3, 1.0)):
        table = operating_point(labels, p, sensitivity=wanted)
        assert (table["threshold"] == threshold).all()
        assert table.loc[0, "value"] == value
    for wanted, threshold, value in ((0.5, 0.3, 0.5), (0.6, 0.6, 0.75), (0.75, 0.6, 0.75)):
        table = operating_point(labels, p, specificity=wanted).set_index("metric")
        assert (table["threshold"] == threshold).all()
        assert table.loc["specificity", "value"] == value
    with pytest.warns(UserWarning, match="NaN are ppv as no case is taken for class 1"):
        above = operating_point(labels, p, specificity=1.0).set_index("metric")
    assert 0.8 < above["threshold"].iloc[0] < 0.8 + 1e-12
    assert above.loc["sensitivity", "value"] == 0


@pytest.mark.filterwarnings("ignore:operating_point. NaN are ppv")
def test_a_threshold_is_the_same_when_it_is_given_back():
    single = A.astype(np.float32)
    for wanted in ({"sensitivity": 0.8}, {"specificity": 0.8}, {"specificity": 1.0}):
        for positive in (1, [0, 1]):
            found = operating_point(LABELS, single, positive=positive, **wanted)
            threshold = found["threshold"].iloc[0]
            again = operating_point(LABELS, single, positive=positive, threshold=threshold)
            table = class_metrics(LABELS, single, positive=positive, threshold=threshold)
            assert again.equals(found)
            shared = table.set_index("metric").loc[found["metric"]].reset_index()
            assert shared[found.columns.drop("threshold")].equals(found.drop(columns="threshold"))


def test_no_threshold_gives_what_is_wanted():
    with pytest.warns(UserWarning, match="no threshold in .0, 1. has a specificity of 1.0"):
        table = operating_point([0, 1, 1], rows([1.0, 0.9, 0.4]), specificity=1.0)
    assert table[["threshold", "value", "low", "high", "hits", "cases"]].isna().all(axis=None)
    with pytest.warns(UserWarning, match="no threshold in .0, 1. has a sensitivity of 0.9"):
        operating_point([0, 0], rows([0.2, 0.9]), sensitivity=0.9)
    with pytest.warns(UserWarning, match="operating_point: NaN are sensitivity"):
        operating_point([0, 0], rows([0.2, 0.9]), threshold=0.9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probabilities_that_equal_the_threshold_as_written_are_taken_by_all(dtype):
    """Of one class or of a sum, whichever way it rounds: .1 + .2, .7 + .1, .35 + .35."""
    tenths = np.array([[i, j, 10 - i - j] for i in range(11) for j in range(11 - i)])
    labels = np.arange(len(tenths)) % 3
    model = Predictions(labels, (tenths / 10).astype(dtype))
    for positive, sums in ((0, tenths[:, 0]), ([0, 1], tenths[:, :2].sum(axis=1))):
        inside = np.isin(labels, positive)
        record = one_vs_rest_metrics(positive, threshold=0.5)["sensitivity"]
        assert record.value(model, None) == (inside & (sums >= 5)).sum() / inside.sum()
        for tenth in range(1, 10):
            threshold, taken = tenth / 10, sums >= tenth
            expected = (inside & taken).sum() / inside.sum()
            given = {"positive": positive, "threshold": threshold}
            assert sensitivity(model, **given).value == pytest.approx(expected, abs=1e-12)
            point = operating_point(model, **given).set_index("metric")
            assert point.loc["sensitivity", "value"] == pytest.approx(expected, abs=1e-12)
            odds = threshold / (1 - threshold)
            benefit = ((inside & taken).sum() - odds * (~inside & taken).sum()) / len(sums)
            assert net_benefit(model, **given).value == pytest.approx(benefit, abs=1e-12)
        assert delong_interval(model, positive=positive).value == pytest.approx(
            roc_auc_score(inside, sums), abs=1e-12
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("positive", [0, [0, 1]])
@pytest.mark.filterwarnings("ignore:operating_point. NaN are ppv")
def test_a_threshold_that_an_operating_point_tells_gives_the_same_again(dtype, positive):
    rows = np.random.default_rng(0).dirichlet([1, 1, 1], 200).astype(dtype)
    model = Predictions(np.arange(200) % 3, rows)
    for wanted in ({"sensitivity": 0.8}, {"specificity": 1.0}, {"specificity": 0.7}):
        found = operating_point(model, positive=positive, **wanted)
        again = operating_point(model, positive=positive, threshold=found.loc[0, "threshold"])
        pd.testing.assert_frame_equal(found, again)


def test_weights_that_round_leave_shares_and_areas_within_their_range():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels, weights = rng.integers(2, size=40), rng.random(40)
        right = np.stack([1 - labels, labels], axis=1)
        for rows in (right, 1 - right):
            table = class_metrics(labels, rows, sample_weight=weights).dropna(subset="value")
            assert table[["value", "low", "high"]].min().min() >= 0
            assert table[["value", "low", "high"]].max().max() <= 1
            assert (table["hits"].dropna() >= 0).all()
            for key, record in one_vs_rest_metrics(1).items():
                model = Predictions(labels, rows, sample_weight=weights)
                assert 0 <= record.value(model, None) <= 1, key


def test_of_one_group_no_standard_error_is_known():
    labels, rows = [1, 1, 0, 0, 0], [[0.2, 0.8], [0.6, 0.4], [0.9, 0.1], [0.3, 0.7], [0.8, 0.2]]
    with pytest.warns(UserWarning, match="sensitivity: NaN are"):
        found = sensitivity(labels, rows, groups=[0, 0, 1, 2, 3])
    assert found.value == 0.5
    assert np.isnan([found.low, found.high, found.standard_error]).all()


@pytest.mark.parametrize("share", [0.005, 0.5])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_cases_are_placed_among_the_levels_of_a_rare_and_of_a_frequent_class(share, dtype):
    rng = np.random.default_rng(0)
    ranking = rng.integers(-60, 60, size=2000).astype(dtype)
    own = np.flatnonzero(rng.random(2000) < share)
    levels = np.unique(ranking[own])
    assert (levels.size * areas._FEW < 2000) == (share < 0.1)
    expected = [(level < ranking) * 1 + (level <= ranking) for level in levels]
    np.testing.assert_array_equal(areas._places(ranking, levels), np.sum(expected, axis=0))


def test_a_test_of_many_classes_holds_the_influences_of_a_few():
    samples, classes = 20_000, 40
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=samples)
    first, second = (
        Predictions(labels, rng.dirichlet(np.ones(classes), samples).astype("float32"))
        for _ in range(2)
    )
    tracemalloc.start()
    try:
        delong_test(first, second)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 * 8 * samples  # those of one model's classes are 40
