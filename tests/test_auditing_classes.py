"""What an audit says first: a model that is no use, and what is found of each class."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, precision_score, recall_score

import lsplus_tf as lsp
from lsplus_tf import auditing
from lsplus_tf.auditing.conditions import parse_condition
from lsplus_tf.errors import InputError
from lsplus_tf.page import Table

NAMES = ["benign", "malignant", "normal"]


def model(found: float = 0.2, samples: int = 500, seed: int = 0, **more) -> lsp.Predictions:
    """A model that finds a share of 25 malignant cases and is right in 80% of the others."""
    rng = np.random.default_rng(seed)
    labels = np.r_[np.ones(25, int), rng.choice([0, 2], samples - 25)]
    right = rng.random(samples) < 0.8
    right[:25] = np.arange(25) < round(25 * found)
    predicted = np.where(right, labels, np.where(labels == 0, 2, 0))
    probabilities = rng.dirichlet([1, 1, 1], samples)
    probabilities = np.take_along_axis(probabilities, probabilities.argsort(), axis=1)
    places = np.argsort(predicted[:, None] == np.arange(3), axis=1, kind="stable")
    rows = np.empty_like(probabilities)
    np.put_along_axis(rows, places, probabilities, axis=1)
    return lsp.Predictions(labels, rows, class_names=NAMES, **more)


def told(predictions: lsp.Predictions, **options) -> list[auditing.Finding]:
    return auditing.verdict(lsp.audit(predictions, num_resamples=50, **options))


def test_a_class_that_is_mostly_missed_is_told_before_the_calibration():
    first, second, *rest = told(model(0.08))
    assert (first.topic, first.tone) == ("classes", "bad")
    assert first.text == "Mostly missed: malignant: 23 of 25 missed."
    assert second.text.startswith("Found of each class (sensitivity, 95% interval): benign ")
    assert "malignant 8.0% (0.4 to 27.1%)" in second.text
    assert [finding.topic for finding in rest][:2] == ["gap", "ece"]


def test_a_declared_class_leads():
    predictions = model(0.6)
    first = told(predictions, positive=["malignant"])[0]
    assert (first.topic, first.tone) == ("class", "fact")
    right = int((predictions.predicted == 1).sum())
    assert first.text.startswith("malignant: 15 of 25 found, a sensitivity of 60.0% (")
    assert "; 10 missed." in first.text
    assert f"Of {right} cases predicted as malignant " in first.text
    both = told(predictions, positive=[["benign", "malignant"], "normal"])
    assert both[0].text.startswith("benign or malignant: ")
    assert both[1].text.startswith("normal: ")


def test_one_class_for_all_is_told_before_anything_else():
    rng = np.random.default_rng(3)
    labels = rng.choice(3, 300, p=[0.2, 0.2, 0.6])
    rows = np.c_[rng.uniform(0.1, 0.2, (300, 2)), np.zeros(300)]
    rows[:, 2] = 1 - rows.sum(axis=1)
    first, second, *_ = told(lsp.Predictions(labels, rows, class_names=NAMES))
    share = f"{(labels == 2).mean():.1%}"
    assert first.text == (
        f"Predicts normal for all 300 cases, of which {share} are normal: as a classifier it is no "
        "better than that constant."
    )
    assert "no better than chance" in second.text
    assert {first.tone, second.tone} == {"bad"}
    # A class that all cases are of is no sign of it.
    alone = lsp.Predictions(np.full(60, 2), rows[:60], class_names=NAMES)
    assert told(alone)[0].topic != "degenerate"


def test_ten_rows_are_too_small_and_say_what_was_found():
    small = model(0.2, samples=500).take(np.r_[0:4, 490:496])
    topics = [finding.topic for finding in told(small, positive=["malignant"])]
    assert topics[:2] == ["size", "class"]
    assert "gap" not in topics


def test_a_class_without_cases():
    predictions = model().take(np.arange(25, 200))
    first = told(predictions, positive=["malignant"])[0]
    assert (first.tone, first.text) == ("unsure", "malignant: no case is of it.")


def test_the_numbers_are_those_of_scikit_learn():
    predictions = model(0.4)
    result = lsp.audit(predictions, num_resamples=20)
    table = result.classes.table.pivot(index="class", columns="metric", values="value").loc[NAMES]
    truth, predicted = predictions.labels, predictions.predicted
    recall = recall_score(truth, predicted, average=None)
    assert table["sensitivity"].to_numpy() == pytest.approx(recall)
    precision = precision_score(truth, predicted, average=None)
    assert table["ppv"].to_numpy() == pytest.approx(precision)
    expected = confusion_matrix(truth, predicted)
    assert (result.classes.confusion.to_numpy() == expected).all()


def test_the_confidence_alone_tells_what_is_found():
    full = model(0.08)
    less = lsp.Predictions(
        full.labels, predicted=full.predicted, confidence=full.confidence, class_names=NAMES
    )
    assert told(less)[0].text == told(full)[0].text
    result = lsp.audit(less, num_resamples=20)
    assert "auroc" not in set(result.classes.table["metric"])
    assert auditing.audit_page(result).sections[1].title == "Found and missed"


@pytest.mark.parametrize("positive", [["malign"], [3], [[]], [["benign", "malignant", "normal"]]])
def test_what_is_no_class_is_refused(positive):
    with pytest.raises(InputError, match=r"^positive: expected"):
        lsp.audit(model(), positive=positive, num_resamples=20)


def test_conditions_on_a_class():
    result = lsp.audit(model(0.08), num_resamples=20)
    condition = parse_condition("sensitivity(malignant).high < 0.5")
    assert condition.value(result) == result.classes.of("malignant", "sensitivity")["high"]
    assert condition.holds(result)
    assert not parse_condition("specificity(malignant)<0.5").holds(result)
    both = parse_condition("sensitivity(malignant,benign) > 0.5")
    hits = np.isin(result.predictions.predicted, [0, 1])[np.isin(result.predictions.labels, [0, 1])]
    assert both.value(result) == pytest.approx(hits.mean())
    slope = parse_condition("slope(malignant).high < 1").value(result)
    assert slope == result.classes.calibration_of("malignant", "slope")["high"]
    with pytest.raises(InputError, match="expected one of the classes benign, malignant, normal"):
        parse_condition("ppv(malign)>0").value(result)
    with pytest.raises(InputError, match="expected a metric of a class, one of sensitivity, "):
        parse_condition("ece(malignant)>0")


def test_every_number_of_the_page_is_defined():
    site = np.where(np.arange(500) % 2, "York", "Leeds")
    votes = np.eye(3)[model().labels] + 1
    full = model(subgroups={"site": site}, votes=votes)
    result = lsp.audit(full, model(0.6), positive=["malignant"], num_resamples=20, paper=True)
    page = auditing.audit_page(result)
    tables = [b for s in page.sections for b in s.blocks if isinstance(b, Table)]
    assert len(tables) > 8
    for table in tables:
        if table.headings[0] == "Metric":
            named = [row[0].text for row in table.cells]
            own = ["Annotators who agree", "Confidence less agreement", "Cross-entropy"]
        else:
            headings = zip(table.headings, table.numeric, strict=True)
            named = [heading for heading, numeric in headings if numeric]
            own = NAMES if table.headings[0] == "True class" else []
        known = page.terms(table)
        assert [n for n in named if n not in own and not any(k in n for k in known)] == []


def test_the_command_line(call, tmp_path):
    predictions = model(0.08)
    table = pd.DataFrame(predictions.probabilities, columns=[f"probability_{n}" for n in NAMES])
    table.insert(0, "label", [NAMES[k] for k in predictions.labels])
    table.to_csv(tmp_path / "p.csv", index=False)
    audit = functools.partial(call, "audit", tmp_path / "p.csv", "--resamples", "200", columns=200)
    code, stdout, stderr = audit("--positive", "benign,malignant", "--positive", "malignant")
    assert (code, stderr) == (0, "")
    lines = [line for line in stdout.splitlines() if line.strip()]
    assert lines[0].startswith("i benign or malignant: ")
    assert lines[1].startswith("! malignant: 23 of 25 missed, a sensitivity of 8.0% (")
    assert audit("--fail-if", "sensitivity(malignant)<0.5")[0] == 1
    code, _, stderr = audit("--positive", "melanoma")
    assert code == 2
    assert "--positive: expected one of the classes benign, malignant, normal" in stderr


def test_the_name_of_several_is_no_class():
    names = ["a", "b", "a or b"]
    predictions = model().replace(class_names=names)
    with pytest.raises(InputError, match=r"^positive: .*'a or b', which is one; rename it"):
        lsp.audit(predictions, positive=[["a", "b"]], num_resamples=20)
