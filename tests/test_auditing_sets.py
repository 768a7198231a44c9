"""Prediction sets in an audit: cross-fitted, told in words, and in tables."""

from __future__ import annotations

import numpy as np
import pytest

import lsplus_tf as lsp
from lsplus_tf.auditing import prediction_sets, shown
from lsplus_tf.auditing.cross_fitting import held_out_folds
from lsplus_tf.auditing.prediction_sets import prediction_sets_of, sets_said
from lsplus_tf.errors import InputError
from lsplus_tf.metrics import set_coverage

NAMES = ["nv", "bkl", "mel"]


def drawn(cases: int, missed: float = 0.0, **more) -> lsp.Predictions:
    """Labels of the model's own probabilities, but for melanomas that it has too low."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(cases, 3)) + np.log([0.5, 0.3, 0.2])
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    logits[:, 2] -= missed
    return lsp.Predictions(labels, logits=logits, class_names=NAMES, **more)


def lac(fitted: lsp.Predictions, judged: lsp.Predictions, rate: float) -> np.ndarray:
    scores = np.sort(1 - fitted.true_probability)
    threshold = scores[int(np.ceil((1 - rate) * (len(fitted) + 1))) - 1]
    return 1 - judged.probabilities <= threshold + 1e-9


@pytest.mark.parametrize("grouped", [False, True])
def test_no_set_is_fitted_on_what_it_is_judged_on(grouped):
    site = np.where(np.arange(400) % 3 == 0, "a", "b")
    model = drawn(400, subgroups={"site": site}, groups=np.arange(400) // 2 if grouped else None)
    found = prediction_sets_of(model, error_rate=0.2, seed=3)
    assert (found.cases, found.error_rate, found.always) == (400, 0.2, ())
    inside = np.empty((400, 3), bool)
    for some, rest in held_out_folds(model, 3):
        if grouped:
            assert not set(model.groups[some]) & set(model.groups[rest])
            sets = lsp.PredictionSets(error_rate=0.2).fit(model.take(some))
            inside[rest] = sets.predict(model.take(rest))
        else:
            inside[rest] = lac(model.take(some), model.take(rest), 0.2)
            empty = ~inside[rest].any(axis=1)
            inside[rest[empty], model.predicted[rest[empty]]] = True
    expected = set_coverage(model, inside, by=["all", "class", "site"])
    table = found.table[found.table["method"] == "lac"].reset_index(drop=True)
    assert table[expected.columns].equals(expected)
    assert found.table["method"].unique().tolist() == ["lac", "lac by class", "aps", "raps"]
    assert found.table["part"].tolist() == ["all", *NAMES, "a", "b"] * 4


def test_a_class_that_is_missed_is_named_first():
    found = prediction_sets_of(drawn(2000, missed=2.0), seed=0)
    rows = found.table.set_index(["method", "part"])
    assert rows["missed"].loc["lac"].tolist() == [False, False, False, True]
    assert rows.loc[("lac by class", "mel"), "coverage"] == pytest.approx(0.9, abs=0.03)
    tone, text = sets_said(found)

    def said(method: str, part: str) -> str:
        row = rows.loc[(method, part)]
        low, high = 100 * row["low"], 100 * row["high"]
        return f"{100 * row['coverage']:.0f}% (95% interval {low:.0f}% to {high:.0f}%)"

    whole = rows.loc[("lac", "all")]
    assert (tone, text) == (
        "bad",
        f"Prediction sets at an error rate of 10%: {said('lac', 'all')} hold the true class, with "
        f"{whole['mean_size']:.1f} classes on average; {100 * whole['singletons']:.0f}% have a "
        f"single one. Of mel only {said('lac', 'mel')} are covered. With a threshold for each "
        f"class {said('lac by class', 'mel')} of mel are covered, at "
        f"{rows.loc[('lac by class', 'mel'), 'mean_size']:.1f} classes on average "
        f"({rows.loc[('lac by class', 'all'), 'mean_size']:.1f} over all cases).",
    )
    tone, text = sets_said(found, ["mel or bkl", "unseen"])
    assert tone == "bad"
    assert text.startswith(
        f"Of mel {said('lac', 'mel')} are covered by prediction sets at an error rate of 10%, of "
        f"bkl {said('lac', 'bkl')}. Of all cases it is {said('lac', 'all')}, with "
    )
    assert "a single one. Of mel it is less than promised. With a threshold for each class" in text
    first, second = shown.sets_table(found), shown.sets_parts_table(found)
    assert [row[0].text for row in first.cells] == [
        "LAC", "LAC, a threshold for each class", "APS", "RAPS",
    ]  # fmt: skip
    assert first.cells[0][1].value == whole["coverage"]
    assert [row[0].text for row in second.cells] == NAMES
    assert [row[2].text.endswith("% *") for row in second.cells] == [False, False, True]
    assert second.cells[2][5].value == rows.loc[("lac by class", "mel"), "coverage"]
    assert "not in each class, subgroup or case" in shown.about_sets(found)


def test_where_none_is_missed_that_is_said():
    found = prediction_sets_of(lsp.Predictions([0, 1] * 50, [[0.6, 0.4], [0.4, 0.6]] * 50), seed=0)
    tone, text = sets_said(found)
    assert tone == "fact"
    assert text.endswith("No class or subgroup is shown to be covered less often.")


def test_a_subgroup_that_is_missed_has_no_remedy_here():
    easy, hard = [[0.98, 0.02], [0.02, 0.98]], [[0.7, 0.3], [0.3, 0.7]]
    model = lsp.Predictions(
        np.concatenate([[0, 1] * 900, [0, 1, 1, 0] * 50]),
        np.concatenate([np.tile(easy, (900, 1)), np.tile(hard, (100, 1))]),
        subgroups={"site": ["north"] * 1800 + ["south"] * 200},
    )
    tone, text = sets_said(prediction_sets_of(model, error_rate=0.08, seed=0))
    assert tone == "bad"
    assert " Of site south only " in text
    assert text.endswith("are covered.")


def test_rare_classes_are_in_every_set_and_noted():
    model = drawn(300)
    labels = np.where((model.labels == 2) & (np.arange(300) > 30), 0, model.labels)
    found = prediction_sets_of(model.replace(labels=labels), error_rate=0.05, seed=0)
    assert found.always == ("mel",)
    assert "Of mel there are too few cases for a threshold" in shown.about_sets(found)
    rows = found.table.set_index(["method", "part"])
    assert rows.loc[("lac by class", "mel"), "coverage"] == 1


def test_of_too_few_there_are_none(monkeypatch):
    assert prediction_sets_of(drawn(49), seed=0) is None
    assert prediction_sets_of(drawn(100, groups=np.arange(100) % 4), seed=0) is None
    assert prediction_sets_of(drawn(100).top_label(), seed=0) is None
    monkeypatch.setattr(prediction_sets, "_VALUES", 600)
    assert prediction_sets_of(drawn(300), seed=0).cases == 200
    grouped = prediction_sets_of(drawn(300, groups=np.arange(300) // 3), seed=0)
    assert 190 < grouped.cases <= 201
    with pytest.raises(InputError, match="error_rate: expected a number between 0 and 1"):
        prediction_sets_of(drawn(60), error_rate=10, seed=0)


@pytest.mark.parametrize("name", ["all", "class", "size"])
def test_a_subgroup_may_be_called_as_a_part_is(name):
    half = np.where(np.arange(400) % 2 == 0, "small", "large")
    site, odd = (
        prediction_sets_of(drawn(400, subgroups={each: half}), seed=0) for each in ("site", name)
    )
    assert odd.table["part"].tolist() == site.table["part"].tolist()
    assert odd.table["coverage"].tolist() == site.table["coverage"].tolist()
    assert sets_said(odd) == sets_said(site)
