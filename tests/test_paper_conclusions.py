"""Intervals, paired tests and annotators on the published predictions."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from collections.abc import Mapping
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from scipy import stats

mpl.use("agg")

from lsplus_tf import metrics
from lsplus_tf.metrics.method_comparison import MeasuredRuns, measure_runs
from lsplus_tf.metrics.metric import Sums
from lsplus_tf.metrics.resampling import Resampled
from lsplus_tf.paper import annotators, conclusions
from lsplus_tf.paper.artifacts import METHODS, Artifacts, Published
from lsplus_tf.paper.table_1 import METRICS
from lsplus_tf.predictions import Predictions

IMAGES = 400
# Cross-entropy clips at other places in the paper, ACE leaves out a sample: see `conclusions`.
PRINTED_WITHIN = {"nll": 0.7, "ace": 0.1}


def resampled(form, weights):
    """A form (M,) of how often each image is drawn (M, N)."""
    if isinstance(form, Sums):
        return form.finish(weights.sum(axis=1).astype(float), form.terms.T @ weights.T)
    return form(weights)


def measure_of(metric, run, weights):
    predictions = Predictions(run.labels, run.probabilities)
    return resampled(metrics.METRICS[metric].form(predictions), weights)


class Made:
    """Artefacts of made-up predictions: every method has a sharpness and a noise."""

    def __init__(
        self, methods: Mapping[str, tuple[float, float]], backbones=("resnet34",), without=()
    ):
        rng = np.random.default_rng(1)
        self.latent = rng.normal(scale=1.5, size=IMAGES)
        self.labels = (rng.random(IMAGES) < 1 / (1 + np.exp(-self.latent))).astype(np.int64)
        self.methods, self.backbones, self.without = methods, backbones, without
        votes = rng.binomial(7, 1 / (1 + np.exp(-self.latent)))
        self.ssa = np.where(self.labels == 1, np.maximum(votes, 4), np.minimum(votes, 3))

    def predictions(self, backbone, method, run):
        if backbone not in self.backbones or method not in self.methods:
            return None
        if (method, run) in self.without:
            return None
        sharpness, noise = self.methods[method]
        rng = np.random.default_rng(10 * METHODS.index(method) + run)
        logit = sharpness * (self.latent + rng.normal(scale=noise, size=IMAGES))
        logits = np.column_stack([np.zeros(IMAGES), logit])
        probabilities = metrics.softmax(logits).astype(np.float32)
        return Published(logits.astype(np.float32), probabilities, self.labels)

    def votes(self):
        return np.column_stack([7 - self.ssa, self.ssa])


@pytest.fixture(scope="module")
def published(shared) -> Artifacts:
    return Artifacts(shared / "lsplus-artifacts")


@pytest.fixture(scope="module")
def found(published) -> conclusions.Conclusions:
    return conclusions.conclude(published, resamples=500)


@pytest.fixture(scope="module")
def agreement(published) -> annotators.Agreement:
    return annotators.agree(published, resamples=500)


def drawn_counts(size, resamples=5, seed=0):
    """Resamples as rows of indices, and as counts (resamples, size)."""
    drawn = np.random.default_rng(seed).integers(size, size=(resamples, size))
    counts = np.stack([np.bincount(row, minlength=size) for row in drawn])
    return drawn, counts.astype(np.int32)


# --- measures -------------------------------------------------------------------------------------


def sklearn_metric(metric, probabilities, labels):
    predicted, true = probabilities.argmax(axis=1), labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if metric == "accuracy":
            return sklearn.metrics.accuracy_score(true, predicted)
        if metric == "auroc":
            return sklearn.metrics.roc_auc_score(true, probabilities[:, 1])
        if metric in ("precision", "recall", "f1"):
            score = getattr(sklearn.metrics, f"{metric}_score")
            return score(true, predicted, average="macro")
        if metric == "nll":
            return -np.log(probabilities[np.arange(len(true)), true].astype(np.float64)).mean()
        if metric == "brier":
            return 2 * sklearn.metrics.brier_score_loss(true, probabilities[:, 1])
    confidence, correct = probabilities.max(axis=1).astype(np.float64), predicted == true
    if metric == "ace":
        # Ties in the order of their index; the resamples' ties are of copies of the same image.
        order = np.argsort(-confidence, kind="stable")
        ends = [b * len(true) // 15 for b in range(16)]
        gaps = (confidence - correct)[order]
        return sum(abs(gaps[a:b].sum()) for a, b in pairwise(ends)) / len(true)
    scores = [(confidence, correct)]
    if metric == "sce":
        scores = [(probabilities[:, k].astype(np.float64), true == k) for k in (0, 1)]
    total = 0.0
    for score, hit in scores:
        for b in range(15):
            inside = (score > np.float32(b / 15)) & (score <= np.float32((b + 1) / 15))
            total += abs((score - hit)[inside].sum())
    return total / len(true) / len(scores)


@pytest.mark.parametrize("metric", METRICS)
def test_measures_of_resamples(metric):
    run = Made({"ls_plus": (0.8, 0.5)}).predictions("resnet34", "ls_plus", 1)
    drawn, counts = drawn_counts(IMAGES)
    values = measure_of(metric, run, counts)
    expected = [sklearn_metric(metric, run.probabilities[row], run.labels[row]) for row in drawn]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("metric", ["auroc", "ace"])
def test_measures_with_ties(metric):
    run = Made({"ls_plus": (0.8, 0.5)}).predictions("resnet34", "ls_plus", 1)
    coarse = run.probabilities.round(1)
    tied = Published(run.logits, coarse, run.labels)
    values = measure_of(metric, tied, drawn_counts(IMAGES)[1])
    for value, row in zip(values, drawn_counts(IMAGES)[0], strict=True):
        exact = metrics.evaluate(run.labels[row], coarse[row])[metric]
        assert value == pytest.approx(exact, rel=1e-5)
    everyone = measure_of(metric, tied, np.ones((1, IMAGES), np.int32))
    if metric == "auroc":
        expected = sklearn.metrics.roc_auc_score(run.labels, coarse[:, 1])
        assert everyone[0] == pytest.approx(expected, rel=1e-6)


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(2)
    first, second = rng.random(300).round(2), rng.integers(4, 8, size=300) / 7
    drawn, counts = drawn_counts(300)
    values = annotators._rank_correlation(first, second)(counts)
    expected = [stats.spearmanr(first[row], second[row]).statistic for row in drawn]
    np.testing.assert_allclose(values, expected, rtol=1e-9)


def test_annotator_measures_of_a_hand_made_case():
    probabilities = np.array([[0.75, 0.25], [0.75, 0.25], [0.4, 0.6]], np.float32)
    run = Published(np.log(probabilities), probabilities, np.array([0, 0, 1]))
    shares = np.array([[3, 4], [7, 0], [0, 7]]) / 7
    once = np.ones((1, 3), np.int32)
    value = {
        metric: resampled(annotators._form(metric, run, shares), once)[0]
        for metric in annotators.METRICS
    }
    logs = np.log([0.75, 0.25, 0.6])
    assert value["cross_entropy"] == pytest.approx(
        -(3 / 7 * logs[0] + 4 / 7 * logs[1] + logs[0] + logs[2]) / 3
    )
    assert value["brier"] == pytest.approx(
        2 * ((0.75 - 3 / 7) ** 2 + 0.25**2 + 0.4**2) / 3, rel=1e-6
    )
    # 0.75 twice, with shares 3/7 and 1, and 0.6 with a share of 1.
    assert value["calibration_error"] == pytest.approx((abs(1.5 - 10 / 7) + 0.4) / 3, rel=1e-6)
    assert value["agreement"] == pytest.approx(
        stats.spearmanr([0.75, 0.75, 0.6], [4 / 7, 1, 1]).statistic
    )


# --- resampling -----------------------------------------------------------------------------------


def test_intervals_of_methods():
    """Of runs that new images move by nothing Student's t; a bias of the resamples is taken off."""
    values, methods = np.array([1, 2, 4.5]), ["ls_plus"]
    drawn = np.tile(values[:, np.newaxis], 100)
    expected = stats.ttest_1samp([1, 2, 4.5], 0).confidence_interval()
    for bias in (0.0, 0.25):
        runs = MeasuredRuns.of(Resampled(values, drawn + bias, 9, drawn))
        row = conclusions.interval_table({"m": runs}, methods).iloc[0]
        assert (row["low"], row["high"]) == pytest.approx(np.array(tuple(expected)) - bias)
        assert row[["value", "sd"]].tolist() == pytest.approx([2.5, np.std([1, 2, 4.5], ddof=1)])


def test_differences_are_those_of_compare_methods():
    made = Made({"ls_plus": (1.0, 0.3), "focal": (0.85, 0.9)})
    runs = {
        method: [
            Predictions(run.labels, run.probabilities)
            for run in (made.predictions("resnet34", method, number) for number in (1, 2, 3))
        ]
        for method in ("focal", "ls_plus")
    }
    every = [run for each in runs.values() for run in each]
    measured = measure_runs(["brier"], every, None, 1000, 0)
    found = conclusions.against_control(measured, list(runs))["brier", "focal"]
    (expected,) = metrics.compare_methods(runs, metrics=["brier"]).to_dict("records")
    assert found.value == pytest.approx(expected["difference"], rel=1e-9)
    assert found.p_value == pytest.approx(expected["p"], rel=1e-6)
    assert found.interval()[0] == pytest.approx(expected["low"], rel=1e-9)
    assert conclusions.against_control(measured, ["focal", "dca"]) == {}


# --- conclusions ----------------------------------------------------------------------------------


def test_a_clear_difference_is_found_and_none_is_not():
    # The same runs under two names, and hard labels four times as sharp.
    made = Made({"ls_plus": (0.9, 0.3), "hard_labels": (4.0, 0.3)})
    whole = conclusions.conclude(made, resamples=2000)
    verdicts = whole.tests.set_index("metric")["verdict"]
    assert verdicts[["ece", "ace", "sce", "nll", "brier"]].tolist() == ["better"] * 5
    claims = whole.survivors.set_index("metric")
    assert claims.loc["nll", "survives"]
    assert claims.loc["nll", "better_than"] == "HL"
    text = conclusions.in_words(whole)
    assert "over all 6 tests" in text
    assert "ResNet-50" not in text


def test_worse_is_said():
    made = Made({"ls_plus": (4.0, 0.3), "focal": (0.9, 0.3)}, backbones=("resnet50",))
    whole = conclusions.conclude(made, resamples=1000)
    claims = whole.survivors.set_index("metric")
    assert set(whole.tests["backbone"]) == {"resnet50"}
    assert claims.loc["nll", ["best", "worse_than", "survives"]].tolist() == ["focal", "FL", False]


def test_incomplete_methods_are_left_out():
    methods = {"ls_plus": (0.9, 0.3), "focal": (0.8, 0.3), "dca": (0.8, 0.3)}
    whole = conclusions.conclude(Made(methods, without={("focal", 2)}), resamples=50)
    assert set(whole.intervals["method"]) == {"ls_plus", "dca"}
    alone = conclusions.conclude(Made({"dca": (0.8, 0.3)}), resamples=50)
    assert alone.tests.empty
    assert "### MHIST, ResNet-34" in conclusions.in_words(alone)
    assert conclusions.conclude(Made({}), resamples=50) is None


def test_two_networks_are_one_family():
    made = Made({"ls_plus": (0.9, 0.3), "dca": (0.85, 0.4)}, backbones=("resnet34", "resnet50"))
    tests = conclusions.conclude(made, resamples=200).tests
    assert len(tests) == 12
    np.testing.assert_allclose(tests["p_holm"], metrics.holm(tests["p"]))


def test_means_are_the_printed_ones(found, shared):
    printed = pd.read_csv(shared / "reference" / "printed_tables.csv")
    chosen = (printed["table"] == "table_1") & (printed["dataset"] == "mhist")
    chosen &= printed["paper"] == "ls_plus"
    printed = printed[chosen].replace({"metric": {"acc": "accuracy", "ce": "nll"}})
    both = found.intervals.merge(printed, on=["backbone", "method", "metric"])
    assert len(both) == len(found.intervals) == 60 * found.intervals["backbone"].nunique()
    within = both["metric"].map(PRINTED_WITHIN).fillna(0.02)
    assert (np.abs(100 * both["value"] - both["mean"]) < within).all()
    # The paper's claim that is tested, in the printed table itself.
    for row in found.survivors.to_dict("records"):
        cells = both[(both["backbone"] == row["backbone"]) & (both["metric"] == row["metric"])]
        best = cells.set_index("method")["mean"] * conclusions.BETTER[row["metric"]]
        assert best.idxmax() == row["best"]


def test_same_seed_same_result(published, found):
    again = conclusions.conclude(published, resamples=500)
    pd.testing.assert_frame_equal(again.tests, found.tests)
    assert conclusions.in_words(again) == conclusions.in_words(found)


# --- annotators -----------------------------------------------------------------------------------


def test_values_against_the_votes(published, agreement):
    votes = published.votes()
    majority = votes.max(axis=1) / 7
    values = agreement.intervals.set_index(["backbone", "metric", "method"])
    for method in METHODS:
        runs = [published.predictions("resnet34", method, run) for run in (1, 2, 3)]
        assert all(np.array_equal(run.labels, votes.argmax(axis=1)) for run in runs)
        expected = {
            "cross_entropy": [
                metrics.annotator_cross_entropy(votes, r.probabilities) for r in runs
            ],
            "brier": [metrics.annotator_brier_score(votes, r.probabilities) for r in runs],
            "calibration_error": [
                metrics.annotator_calibration_error(votes, r.probabilities) for r in runs
            ],
            "agreement": [
                stats.spearmanr(r.probabilities.max(axis=1), majority).statistic for r in runs
            ],
        }
        for metric, of_runs in expected.items():
            row = values.loc["resnet34", metric, method]
            assert row["value"] == pytest.approx(np.mean(of_runs), rel=1e-6)
            assert row["sd"] == pytest.approx(np.std(of_runs, ddof=1), rel=1e-5)
            assert row["low"] < row["high"]


def test_votes_of_the_file(agreement, shared):
    file = pd.read_csv(shared / "lsplus-artifacts" / "MHIST" / "annotations.csv")
    ssa = file.loc[file["Partition"] == "test", file.columns[2]]
    assert agreement.votes["images"].tolist() == [(ssa == n).sum() for n in range(8)]
    entropy = stats.entropy(np.stack([ssa / 7, 1 - ssa / 7]), axis=0).mean()
    assert agreement.best_cross_entropy == pytest.approx(entropy)


def test_means_by_votes(agreement, published):
    ssa = published.votes()[:, 1]
    runs = [published.predictions("resnet34", "focal", run) for run in (1, 2, 3)]
    table = agreement.by_votes.query("backbone == 'resnet34' and method == 'focal'")
    table = table.set_index("ssa_votes")
    for number in range(8):
        chosen = [run.probabilities[ssa == number] for run in runs]
        assert table.loc[number, "confidence"] == pytest.approx(
            np.mean([p.max(axis=1).mean() for p in chosen]), rel=1e-5
        )
        assert table.loc[number, "ssa_probability"] == pytest.approx(
            np.mean([p[:, 1].mean() for p in chosen]), rel=1e-5
        )


def test_votes_figure(agreement):
    figure = annotators.votes_figure(agreement)
    networks = agreement.by_votes["backbone"].nunique()
    assert len(figure.axes) == 2 * networks
    left, right = figure.axes[:2]
    dots, *lines = right.get_lines()
    np.testing.assert_allclose(dots.get_ydata(), np.arange(8) / 7)
    np.testing.assert_allclose(
        left.get_lines()[0].get_ydata(), np.array([7, 6, 5, 4, 4, 5, 6, 7]) / 7
    )
    assert [line.get_label() for line in lines] == ["HL", "LS", "FL", "DCA", "MDCA", "LS+"]
    focal = agreement.by_votes[
        (agreement.by_votes["backbone"] == "resnet34") & (agreement.by_votes["method"] == "focal")
    ]
    np.testing.assert_allclose(lines[2].get_ydata(), focal["ssa_probability"])
    assert left.get_xticklabels()[0].get_text() == "0\n186"


def test_in_words_follows_the_numbers(agreement):
    text = annotators.in_words(agreement)
    assert "agree on 323 and are split 4 to 3 on 164" in text
    assert "HL 0.959 and 0.915" in text
    line = "- ResNet-34, cross-entropy: LS+ is "
    for verdict, phrase in (("better", "better than"), ("undecided", "not told apart from")):
        tests = agreement.tests.assign(verdict=verdict)
        other = annotators.in_words(dataclasses.replace(agreement, tests=tests))
        assert f"{line}{phrase} HL, LS, FL, DCA, MDCA." in other


def test_doubt_that_is_known():
    # Noise in the logits of LS+ only: its confidence tells less of the votes.
    made = Made({"ls_plus": (1.0, 3.0), "dca": (1.0, 0.1)})
    result = annotators.agree(made, resamples=1000)
    row = result.tests.set_index("metric").loc["agreement"]
    assert row["verdict"] == "worse"
    assert row["difference"] < 0


def test_without_votes_or_predictions(shared, tmp_path):
    (tmp_path / "MHIST").mkdir()
    labels = "MHIST/test_labels.csv"
    shutil.copyfile(shared / "lsplus-artifacts" / labels, tmp_path / labels)
    artifacts = Artifacts(tmp_path)
    assert annotators.agree(artifacts) is None
    assert conclusions.conclude(artifacts) is None
    assert "MHIST/annotations.csv" in {problem.path for problem in artifacts.problems}
