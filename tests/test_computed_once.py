"""What is computed once, or for several at once, is what it is one by one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import average_precision_score, roc_auc_score

import lsplus_tf as lsp
from lsplus_tf.auditing.chance import ece_by_chance
from lsplus_tf.metrics import METRICS, class_metrics, delong_interval, paired_bootstrap
from lsplus_tf.metrics.areas import MeanAuroc, Ranked
from lsplus_tf.metrics.intervals import Share, design_effect, exact_interval, exact_intervals
from lsplus_tf.metrics.statistics import differences_of
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.arrays import LogOdds


def drawn(kind: str, samples: int, classes: int, *, grouped: bool = False, weighted: bool = False):
    rng = np.random.default_rng([samples, classes])
    logits = 1.5 * rng.normal(size=(samples, classes))
    probabilities = special.softmax(logits, axis=1)
    labels = (probabilities.cumsum(axis=1) < rng.random((samples, 1))).sum(axis=1)
    labels[:classes] = np.arange(classes)
    scores = logits if kind == "logits" else probabilities.astype(np.float32)
    return Predictions(
        labels.clip(0, classes - 1),
        **{kind: scores},
        groups=np.arange(samples) // 3 if grouped else None,
        sample_weight=rng.integers(1, 4, samples) if weighted else None,
    )


KINDS = [
    pytest.param(kind, classes, grouped, weighted, id=f"{kind}-{classes}-{grouped}-{weighted}")
    for kind in ("probabilities", "logits")
    for classes in (2, 3, 7)
    for grouped, weighted in ((False, False), (True, False), (False, True))
]


@pytest.mark.parametrize(("kind", "classes", "grouped", "weighted"), KINDS)
def test_areas_that_are_kept_are_those_of_all_classes(kind, classes, grouped, weighted):
    model = drawn(kind, 300, classes, grouped=grouped, weighted=weighted)
    fresh = delong_interval(model)
    table = class_metrics(model)
    assert delong_interval(model) == fresh
    assert fresh == delong_interval(model.take(np.arange(300)))
    scores, own = special.softmax(model.logits, axis=1), model.sample_weight
    for metric, expected in (("auroc", roc_auc_score), ("auprc", average_precision_score)):
        values = table.loc[table["metric"] == metric, "value"]
        by_hand = [
            expected(model.labels == k, special.logit(scores[:, k]), sample_weight=own)
            for k in range(classes)
        ]
        assert values.tolist() == pytest.approx(by_hand, rel=1e-6)
        if metric == "auroc":
            assert fresh.value == pytest.approx(np.mean(by_hand), rel=1e-6)


def test_areas_of_other_groups_or_classes_are_not_those_that_are_kept():
    model = drawn("probabilities", 300, 3)
    alone, groups = delong_interval(model), np.arange(300) % 50
    class_metrics(model, groups=groups)
    assert delong_interval(model) == alone
    assert delong_interval(model, groups=groups) != alone
    class_metrics(model, positive=[[0], [1]])  # not all
    assert delong_interval(model) == alone
    other = drawn("probabilities", 301, 3)
    class_metrics(model)
    assert MeanAuroc.of(other, None).value != MeanAuroc.of(model, None).value


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_an_audit_ranks_by_each_class_once(classes, monkeypatch):
    ranked, made = [], LogOdds.__init__
    of_all = Ranked.__init__

    def counted(self, ranking, *rest):
        ranked.append(ranking.size)
        of_all(self, ranking, *rest)

    def counted_odds(self, scores, **options):
        odds.append(scores.shape)
        made(self, scores, **options)

    odds: list[tuple[int, ...]] = []
    monkeypatch.setattr(Ranked, "__init__", counted)
    monkeypatch.setattr(LogOdds, "__init__", counted_odds)
    lsp.audit(drawn("probabilities", 400, classes), num_resamples=20)
    assert len(ranked) == classes
    assert odds.count((400, classes)) <= 1


SIZES = [(1, 3), (5, 2), (4096, 3), (4097, 7), (9000, 30), (2, 300)]


@pytest.mark.parametrize(("samples", "classes"), SIZES)
@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_log_odds_in_blocks_are_those_of_the_rows(samples, classes, kind):
    model = drawn(kind, max(samples, classes), classes).take(np.arange(samples))
    scores = model.scores.astype(np.longdouble)
    powers = np.exp(scores) if kind == "logits" else scores
    expected = np.log(powers) - np.log(powers.sum(axis=1, keepdims=True) - powers)
    found = LogOdds(model.scores, are_logits=kind == "logits")
    np.testing.assert_allclose(found.of(slice(None)).T, expected, rtol=1e-9, atol=1e-9)
    each = np.concatenate([found.of(slice(k, k + 1)) for k in range(classes)])
    np.testing.assert_array_equal(each, found.of(slice(None)))


def test_exact_intervals_of_several_are_those_of_each():
    rng = np.random.default_rng(0)
    given = []
    for samples in (1, 2, 7, 40, 500):
        for share in (0.0, 0.3, 1.0):
            hits = (rng.random(samples) < share).astype(np.float64)
            groups = rng.integers(max(1, samples // 3), size=samples)
            weights = rng.random(samples)
            given += [(hits, None, None), (hits, groups, None), (hits, groups, weights)]
    low, high = exact_intervals([Share.of(*each) for each in given], 0.9)
    alone = [exact_interval(hits, groups, 0.9, weights) for hits, groups, weights in given]
    np.testing.assert_array_equal(np.stack([low, high], axis=1), alone)
    for (hits, groups, _), bounds in zip(given, alone, strict=True):
        if groups is None:
            test = stats.binomtest(int(hits.sum()), hits.size)
            assert bounds == pytest.approx(tuple(test.proportion_ci(0.9, "exact")), abs=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_design_effect_is_a_ratio_of_variances(weighted):
    rng = np.random.default_rng(0)
    hits, groups = rng.integers(2, size=200).astype(np.float64), rng.integers(30, size=200)
    weights = rng.random(200) if weighted else None
    own = np.ones(200) if weights is None else weights / weights.mean()
    residuals = hits - np.average(hits, weights=own)
    sums = np.array([(own * residuals)[groups == group].sum() for group in range(30)])
    expected = max(1.0, (sums**2).sum() / (own * residuals**2).sum())
    assert design_effect(hits, groups, weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", ["ece", "auroc", "brier"])
@pytest.mark.parametrize("grouped", [False, True])
def test_differences_of_several_models_are_those_of_pairs(metric, grouped):
    base = drawn("logits", 120, 3, grouped=grouped)
    models = [base.replace(logits=factor * base.logits) for factor in (0.5, 1.5, 3.0)]
    found = differences_of(METRICS[metric], models, base, base.groups, num_resamples=50, seed=1)
    pairs = [paired_bootstrap(metric, each, base, num_resamples=50, seed=1) for each in models]
    assert found == pairs


@pytest.mark.parametrize("classes", [2, 5])
def test_chance_is_counted_case_by_case(classes):
    model = drawn("probabilities", 250, classes)
    found = ece_by_chance(model, 3)
    confidence = np.sort(model.confidence)
    right = np.random.default_rng(3).random((1000, 250), np.float32) < confidence
    bins = np.ceil(confidence.astype(np.float64) * 15 - 1e-9).astype(int)
    errors = np.zeros(1000)
    for each in np.unique(bins):
        inside = bins == each
        gaps = right[:, inside].sum(axis=1) - confidence[inside].sum(dtype=np.float64)
        errors += np.abs(gaps) / 250
    assert found.mean == pytest.approx(errors.mean(), rel=1e-9)
    assert found.upper == pytest.approx(np.quantile(errors, 0.95), rel=1e-9)


def test_reading_predictions_needs_no_configs():
    program = (
        "import sys; from lsplus_tf.predictions import read_predictions; "
        "print([name for name in sys.modules if name.startswith(('lsplus_tf.config', "
        "'lsplus_tf.datasets'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
