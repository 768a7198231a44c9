"""Prediction sets against MAPIE, torchcp, the law of their coverage, and the definitions."""

from __future__ import annotations

import json
import re
import warnings
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import NotFittedError

import lsplus_tf as lsp
from lsplus_tf import PredictionSets
from lsplus_tf.calibrators import IsotonicCalibration, TemperatureScaling, prediction_sets
from lsplus_tf.cli.prediction_sets import SetsAsked
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.metrics import set_coverage
from lsplus_tf.metrics.intervals import exact_interval

GOLDEN = json.loads(
    (Path(__file__).parent / "data" / "clinical" / "prediction_sets.json").read_text()
)
METHODS = ("lac", "aps", "raps")


def drawn(cases: int, seed: int, classes: int = 4, **more) -> lsp.Predictions:
    """Labels that are drawn from the probabilities; the ids differ between seeds."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.7), cases)
    labels = (probabilities.cumsum(axis=1) < rng.random((cases, 1))).sum(axis=1)
    ids = [f"{seed}/{i}" for i in range(cases)]
    return lsp.Predictions(labels.clip(0, classes - 1), probabilities, ids=ids, **more)


def unpacked(rows: list[str]) -> np.ndarray:
    return np.array([[each == "1" for each in row] for row in rows])


# Thresholds and sets ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", GOLDEN["found"])
def test_as_mapie_and_torchcp_have_it(key, monkeypatch):
    _, method, *kind, error_rate = key.split()
    expected = GOLDEN["found"][key]
    probabilities, labels = np.array(GOLDEN["probabilities"]), np.array(GOLDEN["labels"])
    parts, fitted = np.array(GOLDEN["parts"]), GOLDEN["fitted"]
    monkeypatch.setattr(prediction_sets, "_uniform", lambda ids, seed: parts[ids.astype(int)])
    of_case = lsp.Predictions(labels, probabilities, ids=np.arange(len(labels)))
    sets = PredictionSets(
        method,
        error_rate=float(error_rate),
        class_conditional="class" in kind,
        randomized="randomized" in kind,
        allow_empty=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if None in expected["thresholds"] else "error")
        sets.fit(of_case.take(np.arange(fitted)))
    thresholds = [np.inf if each is None else each for each in expected["thresholds"]]
    assert sets.thresholds_ == pytest.approx(thresholds, rel=1e-12)
    found = sets.predict(of_case.take(np.arange(fitted, len(labels))))
    assert np.array_equal(found, unpacked(expected["sets"]))


def test_the_threshold_is_the_order_statistic():
    for cases in range(1, 60):
        scores = np.random.default_rng(cases).random(cases)
        for rate in ("0.05", "0.1", "0.2", "0.3", "0.7"):
            place = -((-(1 - Fraction(rate)) * (cases + 1)) // 1)
            expected = np.sort(scores)[int(place) - 1] if place <= cases else np.inf
            assert prediction_sets._quantile(scores, None, float(rate)) == expected
            assert (cases < prediction_sets._fewest(float(rate))) == np.isinf(expected)


def test_each_group_counts_alike():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, 30)
    groups = np.repeat(np.arange(30), sizes)
    scores = rng.random(groups.size)
    found = prediction_sets._quantile(scores, groups, 0.1)

    def share(threshold: float) -> float:
        """Of a new group's scores nothing is known: it may be above all."""
        within = [np.mean(scores[groups == g] <= threshold) for g in range(30)]
        return sum(within) / 31

    below = scores[scores < found].max()
    assert share(found) >= 0.9 > share(below)
    alone = prediction_sets._quantile(scores[:9], np.arange(9), 0.1)
    assert alone == prediction_sets._quantile(scores[:9], None, 0.1)
    assert np.isinf(prediction_sets._quantile(scores, groups, 0.03))


@pytest.mark.parametrize(
    ("method", "randomized"),
    [("lac", False), ("aps", False), ("aps", True), ("raps", False), ("raps", True)],
)
def test_the_score_of_the_true_class_is_that_of_the_set(method, randomized):
    probabilities = np.random.default_rng(1).multinomial(10, [0.4, 0.3, 0.2, 0.1], 200) / 10
    labels = np.random.default_rng(2).integers(4, size=200)  # rounded, so that many are tied
    predictions = lsp.Predictions(labels, probabilities, ids=np.arange(200))
    sets = PredictionSets(method, randomized=randomized)
    every = np.concatenate([scores for _, scores in sets._scores(predictions)])
    own = sets._true_scores(predictions)
    assert own == pytest.approx(every[np.arange(200), labels], abs=1e-12)
    # From the definition, a case at a time.
    part = prediction_sets._uniform(predictions.ids, 0) if randomized else np.ones(200)
    for p, k, u, score in zip(probabilities, labels, part, own, strict=True):
        before = [j for j in range(4) if (p[j], -j) > (p[k], -k)]
        expected = 1 - p[k] if method == "lac" else sum(p[j] for j in before) + u * p[k]
        if method == "raps":
            expected += 0.1 * max(0, len(before) + 1 - 1)
        assert score == pytest.approx(expected, abs=1e-12)


def test_ties_at_the_threshold_are_in_the_set_however_they_are_computed():
    logits = np.random.default_rng(3).normal(size=(5, 7)).round(1)
    many = lsp.Predictions(np.arange(1000) % 7, logits=np.tile(logits, (200, 1)))
    for method in METHODS:
        sets = PredictionSets(method, allow_empty=True).fit(many)
        coverage = set_coverage(many, sets.predict(many)).coverage[0]
        assert coverage >= 0.9
        alone = np.concatenate([sets.predict(many.take([i])) for i in range(35)])
        assert np.array_equal(alone, sets.predict(many)[:35])


def test_the_same_case_gets_the_same_set():
    held_out, new = drawn(400, 0), drawn(300, 1)
    sets = PredictionSets("aps", randomized=True).fit(held_out)
    whole = sets.predict(new)
    order = np.random.default_rng(0).permutation(300)[:100]
    assert np.array_equal(sets.predict(new.take(order)), whole[order])
    other = PredictionSets("aps", randomized=True, seed=1).fit(held_out).predict(new)
    assert not np.array_equal(other, whole)
    uniform = prediction_sets._uniform(drawn(4000, 2).ids, 0)
    assert stats.kstest(uniform, "uniform").pvalue > 0.001


def test_sets_without_a_class_get_the_most_probable_one():
    held_out = lsp.Predictions([0, 1] * 20, [[0.9, 0.1], [0.1, 0.9]] * 20)
    new = lsp.Predictions(None, [[0.6, 0.4], [0.95, 0.05]])
    filled = PredictionSets().fit(held_out).predict(new)
    assert filled.tolist() == [[True, False], [True, False]]
    left = PredictionSets(allow_empty=True).fit(held_out).predict(new)
    assert left.tolist() == [[False, False], [True, False]]


def test_of_too_few_cases_a_set_has_all_classes():
    with pytest.warns(UserWarning, match=r"error rate of 0.1 needs at least 9 cases: all classes"):
        sets = PredictionSets().fit(drawn(8, 0))
    assert sets.predict(drawn(5, 1)).all()
    grouped = drawn(40, 0, groups=np.arange(40) % 8)
    with pytest.warns(UserWarning, match="at least 9 groups: all classes"):
        assert PredictionSets().fit(grouped).predict(drawn(5, 1)).all()
    names = ["a", "b", "c"]
    labels = np.repeat(names, [100, 100, 3])
    rare = np.tile([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], (102, 1))[:203]
    predictions = lsp.Predictions(labels, rare, class_names=names)
    with pytest.warns(UserWarning, match=r"at least 9 cases of it; .*: c \(3\)$"):
        sets = PredictionSets(class_conditional=True).fit(predictions)
    assert sets.predict(predictions)[:, 2].all()
    assert np.isinf(sets.thresholds_).tolist() == [False, False, True]
    again = PredictionSets.from_json(sets.to_json())
    assert np.array_equal(again.thresholds_, sets.thresholds_)


# What they promise --------------------------------------------------------------------------------


@pytest.mark.parametrize("cases", [19, 50])
def test_the_coverage_of_lac_has_its_law(cases):
    """With p uniform and labels drawn from it, P(1 - p_y <= t) = 1 - (1 - t)^2."""
    rng = np.random.default_rng(cases)
    coverage = []
    for _ in range(500):
        p = rng.random(cases)
        labels = (rng.random(cases) < p).astype(int)
        sets = PredictionSets(error_rate=0.1)
        sets.fit(lsp.Predictions(labels, np.stack([1 - p, p], axis=1)))
        coverage.append(1 - (1 - sets.thresholds_[0]) ** 2)
    place = int(np.ceil(0.9 * (cases + 1)))
    law = stats.beta(place, cases + 1 - place)
    assert stats.kstest(coverage, law.cdf).pvalue > 0.01
    assert np.mean(coverage) == pytest.approx(law.mean(), abs=4 * law.std() / 500**0.5)


@pytest.mark.parametrize("method", METHODS)
def test_sets_cover_what_they_promise(method):
    """With ids, as APS is randomized; the expectation is exact but for ties."""
    held_out, new, hits = 79, 100, []
    for seed in range(60):
        every = drawn(held_out + new, seed)
        randomized = method != "lac"
        sets = PredictionSets(method, error_rate=0.2, randomized=randomized, allow_empty=True)
        sets.fit(every.take(np.arange(held_out)))
        judged = every.take(np.arange(held_out, held_out + new))
        hits.append(sets.predict(judged)[np.arange(new), judged.labels].mean())
    # Beta-binomial: of k = 64 of 79 held-out cases, and 100 new ones in each draw.
    law = stats.betabinom(new, 64, 16)
    error = law.std() / new / 60**0.5
    assert np.mean(hits) == pytest.approx(law.mean() / new, abs=3.5 * error)


def test_class_conditional_sets_cover_each_class():
    """A hard class, which marginal sets leave out: its logits are lower than it deserves."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(30_000, 3)) * 2
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    logits[:, 2] -= 3
    predictions = lsp.Predictions(labels, logits=logits, ids=np.arange(30_000))
    first, second = predictions.take(np.arange(15_000)), predictions.take(np.arange(15_000, 30_000))
    marginal = set_coverage(second, PredictionSets().fit(first).predict(second), by="class")
    assert marginal.high[2] < 0.8
    for method in METHODS:
        # Without a random part the score of the last class is 1, in all cases alike.
        sets = PredictionSets(
            method, class_conditional=True, randomized=method != "lac", allow_empty=True
        ).fit(first)
        each = set_coverage(second, sets.predict(second), by="class")
        assert each.coverage.to_numpy() == pytest.approx(0.9, abs=0.02)


def test_groups_get_the_promise_for_a_new_group():
    """Large groups are easy and small ones hard: as cases alone, new groups would be missed."""
    rng = np.random.default_rng(1)
    covered = {True: [], False: []}
    for _ in range(120):
        hard = rng.random(61) < 0.5
        sizes = np.where(hard, 1, 12)
        groups = np.repeat(np.arange(61), sizes)
        p = np.where(np.repeat(hard, sizes), rng.random(groups.size), 0.9 + 0.1 * rng.random(1)[0])
        labels = (rng.random(groups.size) > p).astype(int)
        every = lsp.Predictions(labels, np.stack([p, 1 - p], axis=1), groups=groups)
        new = every.take(groups == 60)
        for with_groups, hits in covered.items():
            fitted = every.take(groups < 60)
            if not with_groups:
                fitted = lsp.Predictions(fitted.labels, fitted.probabilities)
            sets = PredictionSets(error_rate=0.2, allow_empty=True).fit(fitted)
            hits.append(sets.predict(new)[np.arange(len(new)), new.labels].mean())
    error = np.std(covered[True]) / 120**0.5
    assert np.mean(covered[True]) > 0.8 - 3 * error
    assert np.mean(covered[False]) < 0.8 - 3 * error


# Files and mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize("calibrated", [False, True])
def test_what_is_saved_is_loaded(tmp_path, calibrated):
    held_out, new = drawn(200, 0), drawn(50, 1)
    calibrator = IsotonicCalibration().fit(drawn(300, 2)) if calibrated else None
    sets = PredictionSets(
        "raps", penalty=0.05, k_reg=np.int64(2), error_rate=0.2, calibrator=calibrator
    )
    sets.fit(held_out).save(tmp_path / "sets.json")
    again = PredictionSets.load(tmp_path / "sets.json")
    assert again.to_json() == sets.to_json()
    assert np.array_equal(again.predict(new), sets.predict(new))
    if calibrator is not None:
        before = PredictionSets("raps", penalty=0.05, k_reg=2, error_rate=0.2)
        before.fit(calibrator.calibrate(held_out))
        assert np.array_equal(before.thresholds_, sets.thresholds_)
        calibrated_new = calibrator.calibrate(new)
        assert np.array_equal(before.predict(calibrated_new), sets.predict(new))
        assert np.array_equal(sets.on_calibrated().predict(calibrated_new), sets.predict(new))


def test_nothing_else_is_overwritten_or_taken(tmp_path):
    sets = PredictionSets().fit(drawn(100, 0))
    other = tmp_path / "mine.json"
    other.write_text("{}")
    with pytest.raises(InputError, match="path"):
        sets.save(other)
    with pytest.raises(InputError, match=r"mine.json: not prediction sets"):
        PredictionSets.load(other)
    with pytest.raises(MissingDataError, match="expected sets, there is no file"):
        PredictionSets.load(tmp_path / "nowhere.json")
    with pytest.raises(NotFittedError):
        PredictionSets().to_json()
    sets.save(tmp_path / "sets.json")
    sets.save(tmp_path / "sets.json")  # over its own
    assert TemperatureScaling().fit(drawn(50, 0)).to_json()[:12] == sets.to_json()[:12]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 3}, "version"),
        ({"thresholds": [0.1, 0.2]}, "1 threshold"),
        ({"thresholds": ["0.1"]}, "thresholds"),
        ({"thresholds": []}, "1 threshold"),
        ({"thresholds": [True]}, "thresholds"),
        ({"class_names": ["a", "a"]}, "class names"),
        ({"class_names": ["a"]}, "class names"),
        ({"class_names": "ab"}, "class names"),
        ({"class_names": [0, 1]}, "class names"),
        ({"settings": {"method": "lac"}}, "calibrator"),
    ],
)
def test_a_file_that_was_edited_is_refused(change, said):
    document = json.loads(PredictionSets().fit(drawn(100, 0)).to_json())
    with pytest.raises(InputError, match=rf"not prediction sets saved by lsplus_tf .*{said}"):
        PredictionSets.from_json(json.dumps(document | change))


@pytest.mark.parametrize("text", ["", "[]", "3", '{"format": NaN}', "null"])
def test_another_text_is_refused(text):
    with pytest.raises(InputError, match="not prediction sets"):
        PredictionSets.from_json(text)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "thr"}, "method: expected 'lac' or 'aps' or 'raps', received 'thr'"),
        ({"error_rate": 0}, "error_rate: expected a number between 0 and 1, received 0"),
        ({"error_rate": 10}, "error_rate: expected a number between 0 and 1, received 10"),
        ({"class_conditional": 1}, "class_conditional: expected True or False, received 1"),
        ({"randomized": True}, "randomized: expected False with 'lac', which has no random part"),
        ({"method": "raps", "penalty": -1}, "penalty: expected a number >= 0, received -1"),
        ({"method": "raps", "k_reg": 0.5}, "k_reg: expected an integer of at least 0"),
        ({"seed": -1}, "seed: expected an integer of at least 0, received -1"),
        ({"calibrator": "t.json"}, "calibrator: expected a fitted Calibrator, received a str"),
    ],
)
def test_settings_that_are_none(settings, said):
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        PredictionSets(**settings).fit(drawn(50, 0))


def test_predictions_that_do_not_do():
    held_out = drawn(50, 0)
    sets = PredictionSets().fit(held_out)
    with pytest.raises(InputError, match=r"expected lsp.Predictions.* received a ndarray"):
        PredictionSets().fit(held_out.probabilities)
    with pytest.raises(InputError, match="labels: expected predictions with labels"):
        PredictionSets().fit(lsp.Predictions(None, held_out.probabilities))
    with pytest.raises(InputError, match="sample_weight: expected predictions without weights"):
        PredictionSets().fit(
            lsp.Predictions(held_out.labels, held_out.probabilities, sample_weight=np.ones(50))
        )
    with pytest.raises(InputError, match="those of all classes"):
        PredictionSets().fit(held_out.top_label())
    with pytest.raises(InputError, match="expected the sets' classes 0, 1, 2, 3 in this order"):
        sets.predict(drawn(5, 1, classes=3))
    named = drawn(50, 0, class_names=["a", "b", "c", "d"])
    assert sets.predict(named).shape == (50, 4)  # without names, by their number
    with pytest.raises(InputError, match="in this order"):
        PredictionSets().fit(named).predict(named.ordered(["b", "a", "c", "d"]))
    with pytest.raises(InputError, match="expected ids where sets are randomized"):
        PredictionSets("aps", randomized=True).fit(
            lsp.Predictions(held_out.labels, held_out.probabilities)
        )


# Coverage -----------------------------------------------------------------------------------------


def test_coverage_by_part_is_counted():
    names = ["a", "b", "c"]
    labels = np.array([0, 0, 0, 1, 1, 2])
    sets = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1]], dtype=bool)
    predictions = lsp.Predictions(
        labels, np.full((6, 3), 1 / 3), class_names=names, subgroups={"site": list("xxyyyy")}
    )
    table = set_coverage(predictions, sets).set_index(["by", "part"])
    rows = {
        ("all", "all"): (6, 4 / 6, 9 / 6, 2 / 6, 1 / 6),
        ("class", "a"): (3, 2 / 3, 4 / 3, 2 / 3, 0),
        ("class", "b"): (2, 1 / 2, 3 / 2, 0, 1 / 2),
        ("class", "c"): (1, 1, 2, 0, 0),
        ("site", "x"): (2, 1, 3 / 2, 1 / 2, 0),
        ("site", "y"): (4, 1 / 2, 6 / 4, 1 / 4, 1 / 4),
        ("size", "0"): (1, 0, 0, 0, 1),
        ("size", "1"): (2, 1 / 2, 1, 1, 0),
        ("size", "2"): (2, 1, 2, 0, 0),
        ("size", "3"): (1, 1, 3, 0, 0),
    }
    assert table.index.tolist() == list(rows)
    columns = ["cases", "coverage", "mean_size", "singletons", "empty"]
    for key, expected in rows.items():
        assert table.loc[key, columns].tolist() == pytest.approx(list(expected))
        hits = round(expected[0] * expected[1])
        exact = stats.binomtest(hits, expected[0]).proportion_ci(0.95, "exact")
        assert table.loc[key, ["low", "high"]].tolist() == pytest.approx([exact.low, exact.high])
    plain = set_coverage(labels, sets, by=["size", "class"])
    assert plain.part.tolist() == ["0", "1", "2", "3", "0", "1", "2"]
    # A weight of 2 is the same case twice, but for the interval.
    weight = [1, 2, 1, 1, 3, 1]
    repeated = np.repeat(np.arange(6), weight)
    weighted = set_coverage(labels, sets, sample_weight=weight)
    again = set_coverage(labels[repeated], sets[repeated])
    values = ["coverage", "mean_size", "singletons", "empty"]
    assert weighted[values].to_numpy() == pytest.approx(again[values].to_numpy())


def test_intervals_know_of_groups_and_weights():
    rng = np.random.default_rng(0)
    hits = np.repeat(rng.random(40) < 0.8, 5).astype(float)
    groups = np.repeat(np.arange(40), 5)
    # Groups that agree are 40 cases, and of each other's spread 39 degrees of freedom are known.
    known = stats.t.isf(0.025, 199) / stats.t.isf(0.025, 39)
    cases, share = 40 * known**2, hits.mean()
    expected = (
        stats.beta.ppf(0.025, share * cases, (1 - share) * cases + 1),
        stats.beta.ppf(0.975, share * cases + 1, (1 - share) * cases),
    )
    assert exact_interval(hits, groups, 0.95) == pytest.approx(expected)
    assert exact_interval(hits[::5], np.arange(40), 0.95) == pytest.approx(
        exact_interval(hits[::5], None, 0.95)
    )
    assert exact_interval(np.ones(5), np.zeros(5, int), 0.95) == (0, 1)
    # Weights of 0 and 1: half of the cases.
    weights = np.tile([0.0, 1.0], 100)
    half = stats.binomtest(int(hits[1::2].sum()), 100).proportion_ci(0.95, "exact")
    found = exact_interval(hits, None, 0.95, weights)
    assert found == pytest.approx((half.low, half.high), abs=1e-9)
    assert np.isnan(exact_interval(hits, None, 0.95, np.zeros(200))).all()


@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        (([0, 1], [[True, False]]), {}, "labels"),
        (([0, 5], [[True, False]] * 2), {}, "labels"),
        (([0, 1], [[1, 0], [0, 2]]), {}, "sets: expected True or False, or 1 or 0"),
        (([0, 1], [["a", "b"]] * 2), {}, "sets: expected real numbers"),
        (([0, 1], [True, False]), {}, "sets: expected shape"),
        (([0, 1], [[True, False]] * 2), {"by": "site"}, "by: expected of all, class, size"),
        (([0, 1], [[True, False]] * 2), {"by": []}, "by: expected of all, class, size, received n"),
        (([0, 1], [[True, False]] * 2), {"sample_weight": [0, 0]}, "sample_weight"),
        (([0, 1], [[True, False]] * 2), {"groups": [0, 0]}, "groups: expected at least two"),
        (([0, 1], [[True, False]] * 2), {"confidence_level": 95}, "confidence_level"),
    ],
)
def test_what_coverage_refuses(arguments, more, said):
    with pytest.raises(InputError, match=f"^{said}"):
        set_coverage(*arguments, **more)
    with pytest.raises(InputError, match=r"^sets: expected shape \(50, 4\)"):
        set_coverage(drawn(50, 0), np.zeros((50, 3), bool))


def test_sets_of_a_file_have_to_be_possible():
    held_out = lsp.Predictions([0, 1] * 20, [[0.8, 0.2], [0.4, 0.6]] * 20)
    document = json.loads(lsp.PredictionSets().fit(held_out).to_json())
    lsp.PredictionSets.from_json(json.dumps(document))
    for other in (
        {"version": True},
        {"note": "mine"},
        {"thresholds": [1.5]},
        {"thresholds": [-0.1]},
        {"thresholds": [10**400]},
        {"settings": document["settings"] | {"k_reg": 10**30}},
        {"settings": document["settings"] | {"calibrator": {"format": "x"}}},
        {"settings": document["settings"] | {"other": 1}},
    ):
        with pytest.raises(InputError, match="not prediction sets saved by lsplus_tf"):
            lsp.PredictionSets.from_json(json.dumps(document | other))
    for text in ("[" * 200_000, "NaN", "[]", "1"):
        with pytest.raises(InputError, match="not prediction sets saved by lsplus_tf"):
            lsp.PredictionSets.from_json(text)
    regularised = lsp.PredictionSets("raps", penalty=0.9, k_reg=0).fit(held_out)
    assert regularised.thresholds_[0] > 1
    lsp.PredictionSets.from_json(regularised.to_json())


def test_sets_from_what_is_no_such_file_names_no_option_that_predict_lacks(tmp_path):
    trained = SimpleNamespace(class_names=("normal", "ill"))
    (tmp_path / "unlabelled.csv").write_text("probability_normal,probability_ill\n0.9,0.1\n")
    (tmp_path / "unsaid.csv").write_text("label,score_normal,score_ill\nill,0.9,0.1\n")
    for name in ("unlabelled.csv", "unsaid.csv"):
        asked = SetsAsked(0.1, None, False, tmp_path / name)
        assert asked.saved() is None
        with pytest.raises(
            InputError, match=r"^--sets-from: .* columns have no options here"
        ) as raised:
            asked.fit(tmp_path, trained, None)
        assert not {"--label", "--probabilities"} & {*str(raised.value).split()}
    fitted = TemperatureScaling().fit([[2, 0]] * 4, [0, 0, 0, 1])
    fitted.save(tmp_path / "c.json")
    for rate in (0.1, None):
        with pytest.raises(InputError, match=r"received a calibrator, .*c.json; give it as --cal"):
            SetsAsked(rate, None, False, tmp_path / "c.json").saved()


@pytest.mark.parametrize("name", ["all", "class", "size"])
def test_a_subgroup_is_meant_where_it_has_the_name_of_a_part(name):
    half = np.where(np.arange(60) % 2 == 0, "small", "large")
    inside = np.arange(240).reshape(60, 4) % 3 > 0
    model = drawn(60, 0, subgroups={name: half})
    table = set_coverage(model, inside, by=name)
    expected = set_coverage(drawn(60, 0, subgroups={"site": half}), inside, by="site")
    assert table.drop(columns="by").equals(expected.drop(columns="by"))
    every = set_coverage(model, inside)
    assert every["by"].unique().tolist() == ["all", "class", "size"]
    assert every.loc[every["by"] == name, "part"].tolist() == expected["part"].tolist()
