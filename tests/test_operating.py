"""Sensitivity at a fixed specificity, and the other way round: values, intervals, and the audit."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_curve

import lsplus_tf as lsp
from lsplus_tf.auditing import audit_page
from lsplus_tf.auditing.operating import RATES
from lsplus_tf.errors import InputError
from lsplus_tf.metrics import (
    bootstrap_interval,
    class_metrics,
    compare_methods,
    fixed_rate_metric,
    operating_point,
    paired_bootstrap,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)

NAMES = ["nv", "bcc", "mel"]
KINDS = ("specificity", "sensitivity")


def measured(fixed, rate, *given, **options):
    function = sensitivity_at_specificity if fixed == "specificity" else specificity_at_sensitivity
    return function(*given, **{fixed: rate}, **options)


def by_scikit_learn(fixed, rate, outcome, scores, weights=None):
    false, true, _ = roc_curve(outcome, scores, sample_weight=weights, drop_intermediate=False)
    if fixed == "specificity":
        return true[false <= 1 - rate + 1e-9].max()
    return 1 - false[true >= rate - 1e-9].min()


def drawn(samples=300, seed=0, **given):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(samples, 3)) + np.array([1.5, 0, 0])
    labels = (1.5 * logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return lsp.Predictions(labels, logits=logits, class_names=NAMES, **given)


@pytest.mark.parametrize("fixed", KINDS)
@pytest.mark.parametrize("decimals", [1, 2, 6])
@pytest.mark.parametrize("weighted", [False, True])
def test_values_are_those_of_scikit_learns_curve(fixed, decimals, weighted):
    rng = np.random.default_rng(decimals)
    for _ in range(60):
        samples = int(rng.integers(5, 120))
        outcome = rng.random(samples) < rng.uniform(0.1, 0.9)
        outcome[:2] = [False, True]
        scores = np.clip(rng.normal(0.4 + 0.2 * outcome, 0.2), 0, 1).round(decimals)
        weights = rng.integers(1, 5, samples) / 2 if weighted else None
        rate = float(rng.choice([0.3, 0.5, 0.8, 0.9, 0.95, 1.0]))
        rows = np.stack([1 - scores, scores], axis=1)
        given = lsp.Predictions(outcome.astype(int), rows, sample_weight=weights)
        record = fixed_rate_metric(1, **{fixed: rate})
        expected = by_scikit_learn(fixed, rate, outcome, scores, weights)
        assert record.value(given, "standard") == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("fixed", KINDS)
@pytest.mark.parametrize("positive", ["mel", ["mel", "bcc"]])
def test_a_class_or_several_against_the_rest(fixed, positive):
    given = drawn()
    chosen = [NAMES.index(name) for name in ([positive] if positive == "mel" else positive)]
    scores = given.probabilities[:, chosen].sum(axis=1)
    expected = by_scikit_learn(fixed, 0.9, np.isin(given.labels, chosen), scores)
    found = measured(fixed, 0.9, given, positive=positive)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    again = measured(fixed, 0.9, given.labels, given.scores, positive=chosen, from_logits=True)
    assert (again.low, again.high) == (found.low, found.high)
    other = KINDS[1 - KINDS.index(fixed)]
    table = operating_point(given, positive=positive, **{fixed: 0.9}).set_index("metric")
    assert table["value"][other] == pytest.approx(found.value)
    # The threshold was chosen on the cases, which the interval knows of.
    assert found.high - found.low > table["high"][other] - table["low"][other]
    assert table["value"][fixed] >= 0.9


@pytest.mark.parametrize("fixed", KINDS)
def test_on_every_resample_the_threshold_is_chosen_anew(fixed):
    given = drawn(60)
    record = fixed_rate_metric("mel", **{fixed: 0.8})
    form, scores = record.form(given), given.probabilities[:, 2]
    counts = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=40)
    found = form(counts.astype(np.int32))
    for value, count in zip(found, counts, strict=True):
        rows = np.repeat(np.arange(60), count)
        expected = by_scikit_learn(fixed, 0.8, given.labels[rows] == 2, scores[rows])
        assert value == pytest.approx(expected)


def test_groups_vary_together_and_weights_count():
    given = drawn(200)
    twice = lsp.Predictions(
        np.repeat(given.labels, 4), logits=np.repeat(given.scores, 4, axis=0), class_names=NAMES
    )
    alone = sensitivity_at_specificity(given, positive="mel")
    groups = np.repeat(np.arange(200), 4)
    grouped = sensitivity_at_specificity(twice, positive="mel", groups=groups)
    naive = sensitivity_at_specificity(twice, positive="mel")
    assert alone.value == pytest.approx(grouped.value) == pytest.approx(naive.value)
    width = alone.high - alone.low
    assert naive.high - naive.low < 0.7 * width
    assert 0.8 * width < grouped.high - grouped.low < 1.2 * width
    weighted = sensitivity_at_specificity(given.weighted(np.full(200, 4.0)), positive="mel")
    assert weighted.value == pytest.approx(alone.value)


def test_the_interval_covers_the_truth():
    """Normal scores: the sensitivity at a specificity s is Phi(d - z_s)."""
    rng, rate, apart = np.random.default_rng(0), 0.9, 1.8
    truth, covered = norm.cdf(apart - norm.ppf(rate)), 0
    labels = np.arange(300) < 60
    for _ in range(40):
        scores = 1 / (1 + np.exp(-apart * labels - rng.normal(size=300)))
        rows = np.stack([1 - scores, scores], axis=1)
        found = sensitivity_at_specificity(labels.astype(int), rows, specificity=rate)
        covered += found.low <= truth <= found.high
    assert covered >= 34


def test_all_found_or_none_has_an_interval_of_some_width():
    labels = np.array([0] * 40 + [1] * 20)
    second = np.where(labels, 0.9, 0.1)
    found = sensitivity_at_specificity(labels, np.stack([1 - second, second], axis=1))
    assert found.value == 1 == found.high
    assert 0.7 < found.low < 0.95
    blind = np.full((60, 2), 0.5)
    assert sensitivity_at_specificity(labels, blind).value == 0
    assert specificity_at_sensitivity(labels, blind).value == 0
    sure = np.tile([0.0, 1.0], (60, 1))  # above which there is no threshold
    assert sensitivity_at_specificity(labels, sure).value == 0


@pytest.mark.parametrize("fixed", KINDS)
def test_of_a_class_without_cases_nothing_is_known(fixed):
    rows = np.tile([0.6, 0.3, 0.1], (20, 1))
    with pytest.warns(UserWarning, match=r"is NaN: no case, or all, are of class 2"):
        found = measured(fixed, 0.9, [0, 1] * 10, rows, positive=2)
    assert np.isnan([found.value, found.low, found.high]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: sensitivity_at_specificity(p), "positive: expected one of the classes"),
        (lambda p: sensitivity_at_specificity(p, positive="x"), "positive: expected one of"),
        (
            lambda p: sensitivity_at_specificity(p, positive="mel", specificity=90),
            "specificity: expected .*received 90",
        ),
        (lambda p: specificity_at_sensitivity(p, positive="mel", sensitivity=0), "sensitivity: "),
        (lambda p: sensitivity_at_specificity(p.top_label(), positive="mel"), "probabilities: "),
        (lambda p: fixed_rate_metric("mel"), "expected exactly one of them, received none"),
        (
            lambda p: fixed_rate_metric("mel", specificity=0.9, sensitivity=0.9),
            "received specificity and sensitivity",
        ),
        (
            lambda p: sensitivity_at_specificity(p, positive="mel", groups=np.zeros(300)),
            "at least two groups",
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    with pytest.raises(InputError, match=message) as error:
        call(drawn())
    assert "\n" not in str(error.value)


def test_the_record_is_compared_and_tested():
    record = fixed_rate_metric("mel", specificity=0.9)
    assert record.heading == "Sensitivity at 90% specificity"
    given, other = drawn(), drawn().replace(logits=0.1 * drawn(seed=1).scores)
    interval = bootstrap_interval(record, given)
    own = sensitivity_at_specificity(given, positive="mel")
    assert (interval.low, interval.high) == (own.low, own.high)
    drawn_anew = bootstrap_interval(record, given, method="percentile", num_resamples=300)
    assert drawn_anew.low == pytest.approx(own.low, abs=0.06)
    paired = paired_bootstrap(record, given, other, num_resamples=100)
    values = [sensitivity_at_specificity(each, positive="mel").value for each in (given, other)]
    assert [paired.value_a, paired.value_b] == pytest.approx(values)
    others = [given.replace(logits=each * given.scores**3) for each in (0.2, -0.1, -0.2)]
    runs = {"a": [given, others[0]], "b": others[1:]}
    table = compare_methods(runs, metrics=[record], num_resamples=50)
    assert table["metric"].tolist() == ["sensitivity of mel at a specificity of 0.9"]


# Audits ------------------------------------------------------------------------------------------


def test_an_audit_has_the_classes_of_interest_at_fixed_rates():
    given = drawn(400, groups=np.arange(400) // 2)
    result = lsp.audit(given, positive=["mel", ["bcc", "mel"]], num_resamples=20)
    table = lsp.auditing.tables(result)["operating"]
    assert table["class"].unique().tolist() == ["mel", "bcc or mel"]
    assert len(table) == 2 * 2 * len(RATES)
    for row in table.itertuples():
        positive = row[1].split(" or ")
        found = measured(row.fixed, row.rate, given, positive=positive)
        other = KINDS[1 - KINDS.index(row.fixed)]
        bounds = [getattr(row, f"{other}{end}") for end in ("", "_low", "_high")]
        assert bounds == [found.value, found.low, found.high]
        assert np.isnan([getattr(row, f"{row.fixed}_low"), row.ppv_low]).all()
        assert getattr(row, row.fixed) >= row.rate
    (told, _) = (f.text for f in lsp.auditing.verdict(result) if f.topic == "operating")
    assert told.startswith("mel at a specificity of 90%: a sensitivity of ")
    assert told.endswith("The threshold was chosen on these very cases.")
    titles = [section.title for section in audit_page(result).sections]
    assert "Fixed specificity or sensitivity" in titles
    bare = lsp.audit(given, num_resamples=20)
    assert "operating" not in lsp.auditing.tables(bare)
    confidence = lsp.audit(given.top_label(), positive=["mel"], num_resamples=20)
    assert "operating" not in lsp.auditing.tables(confidence)


def test_thresholds_of_other_cases_are_applied():
    given, other = drawn(400, 0, ids=range(400)), drawn(400, 1, ids=range(1000, 1400))
    turned = other.ordered(NAMES[::-1])
    result = lsp.audit(given, positive=["mel"], thresholds_from=turned, num_resamples=20)
    table = lsp.auditing.tables(result)["operating"]
    for row in table.itertuples():
        chosen = operating_point(other, positive="mel", **{row.fixed: row.rate})
        assert row.threshold == pytest.approx(chosen["threshold"][0], rel=1e-6)
        here = operating_point(given, positive="mel", threshold=row.threshold).set_index("metric")
        for metric in ("sensitivity", "specificity", "ppv"):
            bounds = [getattr(row, f"{metric}{end}") for end in ("", "_low", "_high")]
            expected = here.loc[metric, ["value", "low", "high"]].astype(float).tolist()
            assert bounds == pytest.approx(expected)
    (told,) = (f.text for f in lsp.auditing.verdict(result) if f.topic == "operating")
    assert "the threshold of 90% specificity in other cases" in told
    assert result.settings["thresholds chosen on"] == "other arrays"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.take(range(300)), "expected other cases than those of .*300 of the same"),
        (lambda p: p.top_label(), "probabilities of|probabilities: expected"),
        (lambda p: drawn(50).replace(class_names=["a", "b", "c"]), "expected the classes nv, bcc"),
        (
            lambda p: drawn(50).replace(model="sha256:" + "1" * 64),
            "expected predictions of the model of",
        ),
    ],
)
def test_thresholds_of_what_does_not_fit_are_refused(change, message):
    given = drawn(400, ids=range(400), model="sha256:" + "0" * 64)
    with pytest.raises(InputError, match=rf"thresholds_from .--thresholds-from.: .*({message})"):
        lsp.audit(given, positive=["mel"], thresholds_from=change(given), num_resamples=20)
    with pytest.raises(InputError, match="expected beside classes of interest"):
        lsp.audit(given, thresholds_from=drawn(50), num_resamples=20)


def test_what_is_found_in_each_subgroup():
    site = np.where(np.arange(400) < 3, "few", np.where(np.arange(400) % 3, "York", "Leeds"))
    given = drawn(400, subgroups={"site": site}, groups=np.arange(400) // 2)
    result = lsp.audit(given, positive=["mel", [0, 1]], num_resamples=20)
    table = lsp.auditing.tables(result)["subgroups"]
    for (name, part), both in table.groupby(["class", "part"]):
        own = given.take(np.flatnonzero(site == part))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what is NaN
            expected = class_metrics(own, positive=name.split(" or ")).set_index("metric")
        for row in both.itertuples():
            wanted = expected.loc[row.metric]
            assert (row.hits, row.cases) == (wanted["hits"], wanted["cases"])
            bounds = [wanted["value"], wanted["low"], wanted["high"]]
            assert [row.value, row.low, row.high] == pytest.approx(bounds, nan_ok=True)
    bare = lsp.audit(given, num_resamples=20)
    assert "subgroups" not in lsp.auditing.tables(bare)


def test_the_command_takes_thresholds_of_another_file(call, tmp_path):
    for name, seed in (("validation", 1), ("test", 0)):
        each = drawn(300, seed)
        table = pd.DataFrame(each.probabilities, columns=[f"p_{name}" for name in NAMES])
        table = table.assign(label=np.array(NAMES)[each.labels], case=range(seed, 600 + seed, 2))
        table.assign(site=np.arange(300) % 2).to_csv(tmp_path / f"{name}.csv", index=False)
    files = tmp_path / "test.csv", "--thresholds-from", tmp_path / "validation.csv"
    options = ("--id", "case", "--positive", "mel", "--resamples", "200", "--out", tmp_path / "o")
    code, stdout, stderr = call("audit", *files, *options, "--subgroup", "site", columns=200)
    assert code == 0, stderr
    assert "the threshold of 90% specificity in validation.csv" in stdout
    assert "mel, sensitivity 95%" in stdout
    assert "site: 1" in stdout
    assert len(pd.read_csv(tmp_path / "o" / "operating.csv")) == 6
    same = (tmp_path / "test.csv", "--thresholds-from", tmp_path / "test.csv", *options)
    code, _, stderr = call("audit", *same, columns=200)
    assert code == 2
    assert "300 of the same" in stderr
