"""What an audit says of decisions, and which items of the reporting guidelines it answers."""

import re

import numpy as np
import pandas as pd
import pytest

import lsplus_tf as lsp
from lsplus_tf.auditing import checklist
from lsplus_tf.auditing.decisions import Decisions, decisions_of
from lsplus_tf.page import Table


def some_predictions(samples=600, **given):
    rng = np.random.default_rng(0)
    risk = rng.beta(1, 3, size=samples)
    labels = (rng.random(samples) < risk).astype(int)
    rows = np.stack([1 - risk, risk], axis=1)
    return lsp.Predictions(labels, rows, class_names=["nv", "mel"], **given)


def of_bounds(low, high):
    thresholds = np.arange(1, 1 + len(low)) / 10
    curve = pd.DataFrame({"threshold": thresholds, "gain_low": low, "gain_high": high})
    return Decisions("mel", ("mel",), 5, curve.assign(gain_low=-9.0, gain_high=9.0), curve)


@pytest.mark.parametrize(
    ("low", "high", "tone", "text"),
    [
        (
            [-1, 1, 1, -1, 1],
            [1, 2, 2, 1, 2],
            "good",
            "Acting on the model's probability of mel is better than acting in all cases or in "
            "none at thresholds from 0.20 to 0.30 and of 0.50 (95% confidence for all thresholds "
            "together).",
        ),
        (
            [-1, -1],
            [1, 0],
            "unsure",
            "At no threshold is acting on the model's probability of mel shown to be better than "
            "acting in all cases or in none.",
        ),
        (
            [-2, 1, -2, -2],
            [1, 2, -1, -1],
            "bad",
            "Acting on the model's probability of mel is better than acting in all cases or in "
            "none at thresholds of 0.20 (95% confidence for all thresholds together). It is worse "
            "than the better of the two at thresholds from 0.30 to 0.40: its probabilities cannot "
            "be taken at their word there.",
        ),
        ([1, -1] * 4, [2, 1] * 4, "good", "between 0.10 and 0.70, with gaps"),
        ([np.nan, np.nan], [np.nan, np.nan], "unsure", "At no threshold"),
    ],
)
def test_sentences_say_what_the_intervals_show(low, high, tone, text):
    found = of_bounds(low, high)
    assert found.tone == tone
    assert text in found.text


def test_each_class_of_interest_has_its_curve():
    predictions = some_predictions()
    mel, nv = decisions_of(predictions, ["mel", 0])
    assert (mel.name, nv.name, mel.cases) == ("mel", "nv", int(predictions.labels.sum()))
    pd.testing.assert_frame_equal(mel.curve, lsp.metrics.decision_curve(predictions, positive=1))
    assert (mel.together["gain_low"] < mel.curve["gain_low"]).all()
    assert mel.together["gain"].equals(mel.curve["gain"])
    assert mel.tone == "good"
    assert "from 0.1" in mel.text
    blind = lsp.Predictions(predictions.labels, np.full((600, 2), 0.5), class_names=["nv", "mel"])
    (found,) = decisions_of(blind, ["mel"])
    assert found.tone == "bad"
    assert not found.better
    assert decisions_of(predictions.top_label(), ["mel"]) == []


def test_a_class_without_cases_or_without_others_has_no_curve():
    rows = np.full((60, 3), 1 / 3)
    absent = lsp.Predictions([0, 1] * 30, rows)
    assert [each.name for each in decisions_of(absent, [2, 0, [0, 1]])] == ["0"]
    weighed = lsp.Predictions([0, 1] * 30, rows, sample_weight=[1, 0] * 30)
    assert decisions_of(weighed, [0, 1]) == []


def test_a_calibrated_model_is_seldom_said_to_be_worse():
    """The 99 thresholds are searched: on their own they would say it in 5 to 11%."""
    rng, false, pointwise = np.random.default_rng(1), 0, 0
    for _ in range(40):
        risk = rng.beta(1, 19, size=500)
        labels = (rng.random(500) < risk).astype(int)
        model = lsp.Predictions(labels, np.stack([1 - risk, risk], axis=1))
        (found,) = decisions_of(model, [1])
        false += bool(found.worse)
        pointwise += bool((found.curve["gain_high"] < 0).any())
    assert false <= 2 < pointwise


def here(table, guideline, items):
    (text,) = (row[3] for row in table.rows if row[:2] == [guideline, items])
    return text


def test_answers_follow_what_the_audit_has():
    predictions = some_predictions(
        subgroups={"site": np.arange(600) % 2}, groups=np.arange(600) // 2
    )
    bare = checklist.checklist_table(lsp.audit(some_predictions(), num_resamples=20))
    other = some_predictions().replace(groups=np.arange(600) // 2)
    full = checklist.checklist_table(
        lsp.audit(predictions, other, positive=["mel"], num_resamples=20)
    )
    tripod, claim = checklist.TRIPOD, checklist.CLAIM
    assert "no groups were declared" in here(bare, tripod, "23a")
    assert "--subgroup" in here(bare, tripod, "23a")
    measured = "by site only accuracy, the confidence gap, and sensitivity and specificity for mel"
    assert measured in here(full, tripod, "23a")
    assert "take the cases of a group together" in here(full, claim, "37, 38")
    assert "mel each against the rest" in here(full, claim, "37, 38")
    three = lsp.Predictions(np.arange(90) % 3, np.full((90, 3), 1 / 3))
    none = checklist.checklist_table(lsp.audit(three, num_resamples=20))
    assert "declare classes of interest" in here(none, tripod, "12e")
    assert "Decision curves" in here(full, tripod, "12e")
    assert "Comparison" in here(full, tripod, "12e")
    assert "Comparison" not in here(bare, claim, "29")
    assert here(bare, tripod, "12d, 23b").startswith("Not here: ")
    assert "600 cases of 300 groups" in here(full, tripod, "20a, 21")
    assert here(full, tripod, "17") == here(bare, claim, "31") == checklist.UNKNOWN
    for table in (bare, full):
        assert all(len(row) == len(table.headings) for row in table.rows)


@pytest.mark.parametrize("kind", ["bare", "full", "confidence"])
def test_answers_name_sections_that_the_page_has(kind):
    given = some_predictions(subgroups={"site": np.arange(600) % 2})
    if kind == "confidence":
        given = given.top_label()
    second = some_predictions() if kind == "full" else None
    audit = lsp.audit(given, second, num_resamples=20)
    page = lsp.auditing.audit_page(audit)
    titles = {section.title for section in page.sections}
    every = titles | {
        "Verdict",
        "Found and missed",
        "Metrics",
        "Confidence and accuracy",
        "Calibration of each class",
        "Decision curves",
        "Classes and subgroups",
        "Automatic decisions",
        "Calibrators",
        "Comparison",
        "How it was made",
    }
    (table,) = (
        block
        for section in page.sections
        if section.title == "Reporting checklist"
        for block in section.blocks
        if isinstance(block, Table)
    )
    answers = " ".join(row[3] for row in table.rows)
    named = {title for title in every if title in answers}
    assert named <= titles
    assert len(named) >= 5


def test_items_are_those_of_the_guidelines():
    """Each item of the two once: TRIPOD+AI has 27 with 52 parts, CLAIM's update 44."""

    def numbers(guideline):
        found = []
        for entry in checklist.ENTRIES:
            if entry.guideline != guideline:
                continue
            for part in entry.items.split(", "):
                first, _, last = part.partition("-")
                letters = re.fullmatch(r"(\d+)([a-z])", first)
                if letters and last:
                    ends = ord(letters[2]), ord(last[-1])
                    found += [f"{letters[1]}{chr(c)}" for c in range(ends[0], ends[1] + 1)]
                elif last:
                    found += [str(i) for i in range(int(first), int(last) + 1)]
                else:
                    found.append(part)
        return found

    lettered = {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}
    tripod = [
        f"{item}{'abcdefg'[part] if item in lettered else ''}"
        for item in range(1, 28)
        for part in range(lettered.get(item, 1))
    ]
    assert len(tripod) == 52
    assert sorted(numbers(checklist.TRIPOD)) == sorted(tripod)
    assert numbers(checklist.CLAIM) == [str(item) for item in range(1, 45)]
