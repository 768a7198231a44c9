"""The same number has the same interval from a function, in an audit and in a report."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import lsplus_tf as lsp
from lsplus_tf.errors import InputError
from lsplus_tf.metrics import METRICS, bootstrap_interval, resampling
from lsplus_tf.predictions import Predictions
from lsplus_tf.results.finished import Row
from lsplus_tf.results.uncertainty import measure_uncertainty

ROW = Row("model", "Model", "hard_labels", (0,))


def drawn(seed, samples, classes, *, sharp=1.5, group_size=None, logits=False):
    """An overconfident model's predictions, and the labels that its softmax would have drawn."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(samples, classes)) * sharp
    labels = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    groups = None if group_size is None else np.arange(samples) // group_size
    given = {"logits": 2 * scores} if logits else {"probabilities": lsp.metrics.softmax(2 * scores)}
    return Predictions(labels, **given, groups=groups)


def right_but_for(wrong, samples=60):
    """Two classes; the most probable is wrong in so many cases."""
    labels = np.arange(samples) % 2
    right = np.where(np.arange(samples) < wrong, 1 - labels, labels)
    return Predictions(labels, np.where(right[:, None] == [0, 1], 0.9, 0.1))


SETS = {
    "few cases": lambda: drawn(0, 40, 2),
    "two classes": lambda: drawn(1, 400, 2),
    "groups": lambda: drawn(2, 600, 3, group_size=7),
    "logits, many classes": lambda: drawn(3, 500, 30, logits=True),
    "saturated": lambda: drawn(4, 300, 3, sharp=60.0, logits=True),
    "blocks of cases": lambda: drawn(5, 700, 4),
    "a part is ranked": lambda: drawn(6, 1400, 3),
    "a part of the groups, in blocks": lambda: drawn(7, 1500, 3, group_size=2),
    "all right": lambda: right_but_for(0),
    "one wrong": lambda: right_but_for(1),
    "a class of two cases": lambda: Predictions(
        np.arange(60) // 58, logits=np.random.default_rng(9).normal(size=(60, 2))
    ),
    "a class without a case": lambda: Predictions([0, 1] * 30, [[0.6, 0.3, 0.1]] * 60),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SETS)
def test_a_number_has_one_interval(name, monkeypatch):
    # Reached by fewer cases than the 5,000 and 10,000 that it takes otherwise.
    monkeypatch.setattr(resampling, "BLOCKS", 600)
    monkeypatch.setattr(resampling, "RANKED", 1200)
    predictions = SETS[name]()
    audited = lsp.audit(predictions).metrics
    results = SimpleNamespace(
        rows=[ROW],
        runs=["run"],
        predictions=lambda row: [predictions],
        saved=lambda run, split: predictions,
    )
    reported = measure_uncertainty(results)
    assert reported.single == {"model"}
    for key, record in METRICS.items():
        found = bootstrap_interval(key, predictions)
        again = bootstrap_interval(key, predictions, method=record.interval)
        bounds = found.low, found.high
        assert found.method == record.interval
        np.testing.assert_equal(vars(found), vars(again))
        lowest, highest = record.bounds
        assert np.isnan(found.low) or lowest <= found.low <= found.high <= highest, key
        if record.evaluated:
            np.testing.assert_array_equal(audited.loc[key, ["low", "high"]], bounds, key)
            np.testing.assert_allclose(audited.loc[key, "value"], found.value, rtol=1e-12)
        if key in ("accuracy", "auroc", "ece", "nll", "brier"):
            nothing = np.nan, np.nan
            np.testing.assert_equal(reported.intervals.get(("model", key), nothing), bounds, key)


@pytest.mark.filterwarnings("ignore")
def test_a_report_of_images_that_are_all_of_one_group_takes_them_as_independent():
    """An audit refuses them, and bootstrap_interval does."""
    alone = drawn(1, 100, 2)
    one_group = alone.replace(groups=["patient"] * 100)
    found = [
        measure_uncertainty(
            SimpleNamespace(
                rows=[ROW],
                runs=["run"],
                predictions=lambda row, given=given: [given],
                saved=lambda run, split, given=given: given,
            )
        ).intervals
        for given in (alone, one_group)
    ]
    assert found[0] == found[1]
    with pytest.raises(InputError, match="groups: expected at least two groups"):
        bootstrap_interval("ece", one_group)


def test_a_seed_and_the_number_of_resamples_are_the_same_everywhere():
    predictions = drawn(8, 300, 3)
    audited = lsp.audit(predictions, num_resamples=50, seed=4).metrics
    for key in ("ece", "auroc", "brier"):
        found = bootstrap_interval(key, predictions, num_resamples=50, seed=4)
        assert tuple(audited.loc[key, ["low", "high"]]) == (found.low, found.high)


def test_shares_have_width_where_all_resamples_are_alike():
    """Agresti and Coull's; of n cases that are all right, about 1 - 4 / n at the lower end."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bootstrap_interval("accuracy", right_but_for(0))
    assert found.value == found.high == 1
    assert 0.9 < found.low < 0.95
    error = bootstrap_interval("top1_error", right_but_for(0))
    assert (error.low, error.high) == pytest.approx((1 - found.high, 1 - found.low))


def test_agresti_and_coull_is_for_shares():
    with pytest.raises(InputError, match=r"method: 'agresti_coull' is for shares .* for brier"):
        bootstrap_interval("brier", drawn(0, 40, 2), method="agresti_coull")
    with pytest.raises(InputError, match="for a function"):
        bootstrap_interval(lambda *rows: 0.5, drawn(0, 40, 2), method="agresti_coull")


# Blocks and parts ---------------------------------------------------------------------------------


def test_many_cases_have_the_intervals_that_their_number_gives(monkeypatch):
    model = drawn(8, 6000, 2)
    names = {name: METRICS[name].interval for name in ("brier", "ece", "retention_auc")}
    names |= {"auroc": "percentile"}
    monkeypatch.setattr(resampling, "BLOCKS", 10_000)
    whole = {
        name: bootstrap_interval(name, model, method=method, num_resamples=400)
        for name, method in names.items()
    }
    monkeypatch.setattr(resampling, "BLOCKS", 500)
    monkeypatch.setattr(resampling, "RANKED", 1500)
    quick = {
        name: bootstrap_interval(name, model, method=method, num_resamples=400)
        for name, method in names.items()
    }
    for name in names:
        width = whole[name].high - whole[name].low
        assert quick[name].value == whole[name].value
        assert quick[name].high - quick[name].low == pytest.approx(width, rel=0.25)
        assert quick[name].low == pytest.approx(whole[name].low, abs=0.2 * width)


def test_what_sorts_takes_a_part_and_narrows_it(monkeypatch):
    monkeypatch.setattr(resampling, "RANKED", 1000)
    model = drawn(8, 4000, 2, group_size=4)
    options = {"method": "percentile", "num_resamples": 100}
    found = bootstrap_interval("auroc", model, **options)
    part = resampling.rows_to_rank(model, model.groups, seed=0)
    expected = bootstrap_interval("auroc", model.take(part), **options)
    narrower = np.sqrt(np.unique(model.groups[part]).size / 1000)
    assert narrower < 0.6
    for bound in ("low", "high"):
        deviation = getattr(expected, bound) - expected.value
        assert getattr(found, bound) == pytest.approx(found.value + narrower * deviation)


def test_blocks_and_parts_are_of_whole_groups(monkeypatch):
    monkeypatch.setattr(resampling, "BLOCKS", 10)
    monkeypatch.setattr(resampling, "RANKED", 1000)
    groups = np.random.default_rng(0).integers(0, 500, 5000)
    groups = np.unique(groups, return_inverse=True)[1]
    model = drawn(8, 5000, 2)
    cases = resampling.Cases.all_of(5000, groups, seed=0)
    assert len(set(zip(groups, cases.unit, strict=True))) == groups.max() + 1
    assert np.unique(cases.unit).size == cases.units == 10
    part = resampling.Cases.to_rank(model, groups, seed=0)
    assert 900 < part.rows.size <= 1000
    assert not set(groups[part.rows]) & set(np.delete(groups, part.rows))
    assert part.narrower == pytest.approx(
        np.sqrt(np.unique(groups[part.rows]).size / (groups.max() + 1))
    )


@pytest.mark.parametrize("key", ["brier", "auroc"])
def test_a_part_and_blocks_cost_a_permutation_test_little(key, monkeypatch):
    rng = np.random.default_rng(3)
    a = drawn(9, 3000, 2)
    b = a.replace(probabilities=lsp.metrics.softmax(a.logits + rng.normal(size=(3000, 2))))
    whole = lsp.metrics.permutation_test(key, a, b, num_permutations=400)
    assert 0 < whole.p_value < 1
    spread = resampling.exchange(METRICS[key], [a, b], None, 400, 0).std()
    monkeypatch.setattr(resampling, "BLOCKS", 500)
    monkeypatch.setattr(resampling, "RANKED", 1000)
    quick = resampling.exchange(METRICS[key], [a, b], None, 400, 0).std()
    assert quick == pytest.approx(spread, rel=0.25)
    found = lsp.metrics.permutation_test(key, a, b, num_permutations=400)
    assert found.statistic == whole.statistic


def test_a_part_has_its_fill_of_every_class():
    """Or the AUROC is not defined on it, though it is of all cases."""
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(300), 10)  # of which the first choice would be a third
    logits = rng.normal(size=(labels.size, 300))
    models = []
    for strength in (0.5, 2.0):
        scores = logits.copy()
        scores[np.arange(labels.size), labels] += strength
        models.append(Predictions(labels, logits=scores))
    assert resampling.rows_to_rank(models[0], None, seed=0).size == labels.size
    interval = bootstrap_interval("auroc", models[0], method="percentile", num_resamples=20)
    assert interval.low < interval.value < interval.high
    test = lsp.metrics.permutation_test("auroc", *models, num_permutations=19)
    assert test.p_value == 0.05
    # Of rare classes among many cases some 30, and of groups that hold a class alone all.
    rare = Predictions(rng.permutation([0] * 29_700 + [1] * 300), rng.dirichlet([1, 1], 30_000))
    assert resampling.rows_to_rank(rare, None, seed=0).size == 10_000
    rarer = Predictions(rng.permutation([0] * 29_940 + [1] * 60), rng.dirichlet([1, 1], 30_000))
    assert resampling.rows_to_rank(rarer, None, seed=0).size == 15_000
    labels = np.array([0] * 29_700 + [1] * 300)
    apart = Predictions(labels, rng.dirichlet([1, 1], 30_000), groups=np.arange(30_000) // 300)
    sizes = {resampling.rows_to_rank(apart, apart.groups, seed=seed).size for seed in range(20)}
    assert 30_000 in sizes
    assert min(sizes) < 11_000
