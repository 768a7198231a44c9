"""What columns are usually called."""

from __future__ import annotations

import pytest

from lsplus_tf.tables.headings import called, look_predicted, usual


@pytest.mark.parametrize("heading", ["y_true", "Y True", "y-true", " yTrue"])
def test_headings_are_compared_but_for_capitals_and_what_is_between_words(heading):
    assert usual(["id", heading, heading, "yes_true"], "label") == [heading]


def test_the_names_of_a_role_and_its_own():
    names = ["Patient_ID", "groups", "Group", "grouped", "class"]
    assert usual(names, "group") == names[:3]
    assert called(names, "group") == names[1:3]
    assert usual(names, "label") == []
    assert usual(names, "label", "class") == ["class"]


@pytest.mark.parametrize(
    ("name", "predicted"),
    [
        *[(name, True) for name in ("pred", "y_pred", "Predicted Label", "PredictedClass")],
        *[(name, True) for name in ("cnn_prediction", "preds", "model-predicted-classes")],
        *[(name, False) for name in ("pred_prob", "prob_pred", "predictor", "predisposition")],
        *[(name, False) for name in ("prediction_score", "predicted_age", "class", "spread")],
    ],
)
def test_what_speaks_of_a_predicted_class(name, predicted):
    assert look_predicted([name]) == [name] * predicted


@pytest.mark.parametrize("name", ["truth", "Actual", "true_label", "Ground Truth"])
def test_what_is_the_label_by_itself(name):
    assert usual([name, "score"], "label") == [name]
