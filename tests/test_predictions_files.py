"""Files of predictions: what is read, and how mistakes in them are told."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lsplus_tf as lsp
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.predictions import Columns, Predictions, read_predictions

HEADING = "id,label,probability_HP,probability_SSA\n"
PROBABILITIES = [[0.9, 0.1], [0.25, 0.75]]


def written(folder: Path, text: str | bytes, name: str = "p.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def read(tmp_path):
    def run(text: str | bytes, **columns):
        return read_predictions(written(tmp_path, text), Columns(**columns))

    return run


@pytest.fixture
def refused(tmp_path):
    """The message for a CSV, without the file's name."""

    def run(text: str | bytes, **columns) -> str:
        path = written(tmp_path, text)
        with pytest.raises(InputError) as error:
            read_predictions(path, Columns(**columns))
        message = str(error.value)
        assert "\n" not in message
        assert message.startswith(f"{path}: ")
        return message.removeprefix(f"{path}: ")

    return run


# What is read -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        HEADING + "a,HP,.9,.1\nb,SSA,.25,.75\n",
        "\ufeff" + HEADING + "a,HP,.9,.1\nb,SSA,.25,.75\n",
        HEADING.replace(",", ";") + "a;HP;0,9;0,1\nb;SSA;0,25;0,75\n",
        HEADING.replace(",", ";") + "a;HP;0.9;0.1\nb;SSA;0.25;0.75\n",
        HEADING.replace(",", "\t") + "a\tHP\t.9\t.1\nb\tSSA\t.25\t.75\n",
        HEADING.replace(",", ", ") + 'a,0,.9,.1\n\n"b",1,.25,.75\r\n',
    ],
    ids=["plain", "byte-order mark", "decimal comma", "semicolon", "tab", "indices"],
)
def test_csv_of_many_kinds(read, text):
    predictions = read(text)
    np.testing.assert_array_equal(predictions.scores, PROBABILITIES)
    assert predictions.kind == "probabilities"
    assert predictions.class_names == ("HP", "SSA")
    assert predictions.labels.tolist() == [0, 1]
    assert predictions.ids.tolist() == ["a", "b"]


def test_all_columns_of_a_csv(read):
    text = "id,label,group,site,age,split,logit_b,logit_a,votes_a,votes_b\n"
    rows = [
        "007,a,p1,York,1,Test,2,-1,3,4",
        "8,b,p2,,2,testing,0,5,7,0",
        "9,a,p2,York,2,val,0,1,1,1",
    ]
    predictions = read(text + "\n".join(rows), take_split="test", subgroups=("site", "age"))
    assert predictions.kind == "logits"
    assert predictions.class_names == ("b", "a")
    assert predictions.scores.tolist() == [[2, -1], [0, 5]]
    assert predictions.labels.tolist() == [1, 0]
    assert predictions.ids.tolist() == ["007", "8"]
    assert predictions.groups.tolist() == [0, 1]
    assert predictions.votes.tolist() == [[4, 3], [0, 7]]
    assert list(predictions.subgroups["site"]) == ["York", "(missing)"]
    assert list(predictions.subgroups["age"]) == ["1", "2"]


def test_columns_that_are_listed_name_the_classes(read):
    predictions = read("obs,HP,SSA\n1,.25,.75\n0,.9,.1\n", probabilities="HP,SSA", label="obs")
    assert predictions.class_names == ("HP", "SSA")
    assert predictions.labels.tolist() == [1, 0]
    renamed = read(
        "label,x1,x2\nB,.25,.75\nA,.9,.1\n", probabilities="x1,x2", class_names=("A", "B")
    )
    assert renamed.labels.tolist() == [1, 0]


@pytest.mark.parametrize("name_of", [str, lambda k: f"class {k}"])
def test_names_come_before_indices(read, name_of):
    names = [name_of(k) for k in (1, 2, 3)]
    heading = ",".join(["label", *(f"logit_{name}" for name in names)])
    predictions = read(f"{heading}\n{names[2]},0,0,9\n{names[0]},9,0,0\n")
    assert predictions.labels.tolist() == [2, 0]
    assert read(f"{heading}\n0,0,0,9\n2,9,0,0\n").labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("labels", "names"),
    [(("benign", "malignant"), ("benign", "malignant")), ((0, 1), ("not malignant", "malignant"))],
)
def test_one_column_is_of_the_second_class(read, labels, names):
    text = f"label,probability_malignant\n{labels[0]},.25\n{labels[1]},.5\n"
    predictions = read(text)
    assert predictions.scores.tolist() == [[0.75, 0.25], [0.5, 0.5]]
    assert predictions.labels.tolist() == [0, 1]
    assert predictions.class_names == names
    margins = read(text.replace("probability", "logit"))
    np.testing.assert_allclose(margins.probabilities[:, 1], 1 / (1 + np.exp([-0.25, -0.5])))


def test_parquet_keeps_float32(tmp_path):
    frame = pd.DataFrame(PROBABILITIES, columns=["probability_HP", "probability_SSA"])
    frame = frame.astype(np.float32).assign(label=["SSA", "HP"], site=[1.0, np.nan])
    frame.to_parquet(tmp_path / "p.parquet")
    predictions = read_predictions(tmp_path / "p.parquet", Columns(subgroups=("site",)))
    assert predictions.scores.dtype == np.float32
    np.testing.assert_array_equal(predictions.scores, np.float32(PROBABILITIES))
    assert predictions.labels.tolist() == [1, 0]
    assert list(predictions.subgroups["site"]) == ["1", "(missing)"]


def test_npz_and_the_names_beside_a_run(tmp_path):
    path = tmp_path / "predictions_test.npz"
    np.savez(path, logits=np.float32([[1, 2], [3, 1]]), labels=[[0], [1]], ids=["a", "b"])
    assert read_predictions(path).class_names == ("0", "1")
    (tmp_path / "summary.json").write_text(json.dumps({"class_names": ["HP", "SSA"]}))
    predictions = read_predictions(path)
    assert predictions.class_names == ("HP", "SSA")
    assert predictions.labels.tolist() == [0, 1]
    assert predictions.scores.dtype == np.float32
    np.savez(path, probs=PROBABILITIES, labels=["x", "y"], class_names=["x", "y"], group=[5, 6])
    predictions = read_predictions(path, Columns(probabilities="probs"))
    assert predictions.labels.tolist() == [0, 1]
    assert predictions.groups.tolist() == [0, 1]


def test_npz_and_tables_ask_the_same_of_one_score_beside_predictions(tmp_path):
    arrays = {"y_true": [0, 1, 0, 1], "y_pred": [0, 1, 0, 1], "y_score": [0.9, 0.2, 0.3, 0.4]}
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(InputError, match="'y_score' beside 'y_pred' may be the confidence"):
        read_predictions(tmp_path / "p.npz")
    found = read_predictions(tmp_path / "p.npz", Columns(probabilities="1=y_score"))
    assert found.scores[:, 1].tolist() == arrays["y_score"]


def test_a_finished_run_is_read(reproduced):
    (path,) = reproduced.folder.glob("hard_labels*/**/*0/predictions_test.npz")
    predictions = read_predictions(path)
    assert predictions.kind == "logits"
    assert len(predictions.ids) == len(predictions.labels) == len(predictions.scores)


def test_logits_of_probabilities_and_back():
    given = Predictions([0, 1, 0], [[0.9, 0.1], [0.2, 0.8], [1.0, 0.0]])
    assert given.logits[2].tolist() == [0.0, np.log(1e-38)]
    back = Predictions([0, 1, 0], logits=given.logits)
    np.testing.assert_allclose(back.probabilities, given.probabilities, atol=1e-12)


# Names and forms that no option declares ----------------------------------------------------------


@pytest.mark.parametrize(
    "label",
    ["labels", "Label", "y_true", "True Label", "TARGET", "ground-truth", "trueClass", "dx"],
)
@pytest.mark.parametrize(
    "scores",
    ["prob_{}", "Prob_{}", "proba_{}", "p_{}", "y_prob_{}", "probabilities_{}", "logit_{}"],
)
def test_usual_names_are_found(read, label, scores):
    heading = ",".join(["note", scores.format("HP"), label, scores.format("SSA")])
    kind, a, b = ("logits", 3, 1) if "logit" in scores else ("probabilities", 0.75, 0.25)
    predictions = read(f"{heading}\nx,{a},SSA,{b}\ny,{b},HP,{a}\n")
    assert predictions.class_names == ("HP", "SSA")
    assert predictions.labels.tolist() == [1, 0]
    assert predictions.scores.tolist() == [[a, b], [b, a]]
    assert predictions.kind == kind
    assert predictions.unused == ("note",)


@pytest.mark.parametrize("true", ["class", "Category", "class_name"])
@pytest.mark.parametrize("predicted", ["predicted_class", "y_pred", "cnn predictions"])
def test_a_class_beside_the_predicted_one_is_the_label(read, true, predicted):
    predictions = read(f"{predicted},prob_a,{true},prob_b\na,.75,b,.25\nb,.25,a,.75\n")
    assert predictions.labels.tolist() == [1, 0]


@pytest.mark.parametrize("other", ["class", "level", "category"])
def test_a_class_beside_a_label_is_not_it(read, other):
    assert read(f"{other},label,prob_a,prob_b\na,b,.5,.5\nb,a,.5,.5\n").labels.tolist() == [1, 0]


def test_of_two_labels_the_one_that_is_declared_as_something_else_is_none(read):
    text = "label,diagnosis,prob_a,prob_b\na,mild,.5,.5\nb,severe,.5,.5\n"
    predictions = read(text, subgroups=("diagnosis",))
    assert predictions.labels.tolist() == [0, 1]


@pytest.mark.parametrize("scores", ["y_prob", "y_score", "Score", "probability", "prob"])
@pytest.mark.parametrize("labels", [(0, 1), ("False", "TRUE"), (0.0, 1.0)])
def test_a_usual_column_of_one_score(read, scores, labels):
    predictions = read(f"y_true,{scores}\n{labels[0]},.25\n{labels[1]},.5\n")
    assert predictions.scores.tolist() == [[0.75, 0.25], [0.5, 0.5]]
    assert predictions.labels.tolist() == [0, 1]
    assert predictions.class_names == ("0", "1")


def test_what_is_documented_comes_first(read):
    text = "label,p_a,p_b,score,probability_a,probability_b\na,.5,.5,3,.75,.25\nb,.5,.5,3,.25,.75\n"
    predictions = read(text)
    assert predictions.scores.tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert predictions.unused == ("p_a", "p_b", "score")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "label,y_true,logit_a,logit_b\n0,1,2,3\n",
            "label: found 'label', 'y_true', each of which may be it: declare one with --label "
            "NAME (label=...)",
        ),
        (
            "label,diagnosis,logit_a,logit_b\n0,1,2,3\n",
            "label: found 'label', 'diagnosis', each of which may be it",
        ),
        (
            "class,score\n0,.5\n1,.5\n",
            "label: 'class' may be the true class or the predicted one: declare --label class "
            "(label=...) if it is the true one, else the column that has the true one",
        ),
        ("class,category,y_pred,logit_a,logit_b\n0,1,0,2,3\n", "found 'class', 'category', each"),
        (
            "y_true,cnn_prediction,score\n0,0,.9\n1,1,.8\n",
            "'score' beside 'cnn_prediction' may be the confidence in the predicted class",
        ),
        (
            "label,prob_a,prob_b,p_a,p_b\n0,.5,.5,.5,.5\n",
            "holds columns prob_* and p_*: declare which to take, with --probabilities 'prob_*' or "
            "--probabilities 'p_*'",
        ),
        (
            "label,y_prob,score\n0,.5,.5\n",
            "holds columns y_prob and score: declare which to take, with --probabilities 'y_prob' "
            "or --probabilities 'score'",
        ),
        ("label,p_value,logit\n0,.5,.5\nx,1,2\n", "labels 0 and 1, received '0', 'x'; say which"),
        (
            "label,p_value,p_rank\ncat,.5,.5\ndog,.5,.5\n",
            "found columns 'p_*' of 'value', 'rank', and labels 'cat', 'dog', which are not the "
            "same classes: declare the columns with --probabilities or --logits, and what the "
            "classes are called with --class-names",
        ),
        (
            "label,p_cat,p_dog,p_value\ncat,.5,.5,.1\ndog,.5,.5,.1\n",
            "found columns 'p_*' of 'cat', 'dog', 'value', and labels 'cat', 'dog', which are not",
        ),
        (
            "y_true,y_pred,score\n0,0,.9\n1,1,.8\n",
            "'score' beside 'y_pred' may be the confidence in the predicted class, and then "
            "declare --predicted y_pred --confidence score; or else the score of one class, and "
            "then declare --probabilities CLASS=score",
        ),
        (
            "label,y_prob\nno,.9\nyes,.8\n",
            "found a single column of scores: expected the labels 0 and 1, received 'no', 'yes'; "
            "say which of the two the scores are of: --class-names no,yes (class_names) if it is "
            "'yes', --class-names yes,no if it is 'no'",
        ),
        ("label,y_prob\n-1,.9\n1,.8\n", "--class-names -1,1 (class_names) if it is '1'"),
        ("label,y_prob\n1,.9\n2,.8\n", "--class-names 1,2 (class_names) if it is '2'"),
        (
            "label,probability_a\nb,.9\nc,.8\n",
            "a single column of scores, of class 'a': expected the labels 0 and 1, received 'b'",
        ),
        (
            "label,y_prob\na,.9\nb,.8\nc,.8\n",
            "expected labels of two classes, received 'a', 'b', 'c'; with more classes every one",
        ),
    ],
)  # fmt: skip
def test_what_may_be_two_things_is_asked_for(refused, text, message):
    assert message in refused(text)


@pytest.mark.parametrize(
    ("labels", "class_names"),
    [
        (("benign", "malignant"), ("benign", "malignant")),
        ((-1, 1), ("-1", "1")),
        (("no", "yes"), ("no", "yes")),
        ((1, 2), ("1", "2")),
        ((1.0, 2.0), ("1", "2")),
        ((0, 1), ("healthy", "ill")),
        (("A", "a"), ("A", "a")),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.filterwarnings("ignore:.*capitals")
def test_class_names_say_what_a_single_column_is_of(read, labels, class_names, turned):
    names = class_names[::-1] if turned else class_names
    text = f"label,score\n{labels[0]},.25\n{labels[1]},.5\n"
    predictions = read(text, class_names=names)
    assert predictions.class_names == names
    expected = [1, 0] if turned and labels != (0, 1) else [0, 1]
    assert predictions.labels.tolist() == expected
    assert predictions.scores[:, 1].tolist() == [0.25, 0.5]


def test_a_class_and_its_column(read, refused):
    text = "label,score,pred\nb,.25,x\nm,.5,x\n"
    predictions = read(text, probabilities="m=score")
    assert predictions.class_names == ("b", "m")
    assert predictions.scores.tolist() == [[0.75, 0.25], [0.5, 0.5]]
    both = read("label,x,y\nb,.25,.75\n", probabilities="m=x,b=y")
    assert (both.class_names, both.labels.tolist()) == (("m", "b"), [1])
    message = refused(text, probabilities="m=score", class_names=("m", "b"))
    assert "the scores are of class 'm', which has to be the second" in message


@pytest.mark.parametrize(
    ("names", "class_names"),
    [
        (("HP", "SSA"), ("SSA", "HP")),
        (("a", "b", "c"), ("b", "c", "a")),
        (("0", "1"), ("1", "0")),
        (("a", "b", "c"), ("b", "x", "y")),
    ],
)
def test_class_names_do_not_exchange_the_columns(refused, tmp_path, names, class_names):
    """In one order of the two the classes would be wrong, and no one would notice."""
    heading = ",".join(["label", *(f"logit_{name}" for name in names)])
    message = refused(f"{heading}\n0{',1' * len(names)}\n", class_names=class_names)
    assert message.startswith("class_names: expected the classes in the order of the columns, ")
    assert "; leave --class-names out, as the columns are named" in message
    if set(names) == set(class_names):
        option = ",".join(f"{name}=logit_{name}" for name in class_names)
        assert message.endswith(f"numbers, declare instead --logits {option} (logits=)")
    path = tmp_path / "p.npz"
    np.savez(path, logits=np.eye(len(names)), labels=range(len(names)), class_names=names)
    with pytest.raises(InputError, match="which would exchange some"):
        read_predictions(path, Columns(class_names=class_names))


def test_class_names_of_columns_without_names(read):
    text = "label,p0,p1,p2\nHP,1,0,0\nSSA,0,0,1\n"
    predictions = read(text, probabilities="p*", class_names=("HP", "TA", "SSA"))
    assert predictions.labels.tolist() == [0, 2]
    text = "label,p1,p2\n0,.75,.25\n1,.5,.5\n"  # counted from 1 there, from 0 here
    assert read(text, probabilities="p*", class_names=("0", "1")).labels.tolist() == [0, 1]


def test_names_of_classes_are_asked_for(tmp_path):
    path = tmp_path / "p.npz"
    np.savez(path, probabilities=PROBABILITIES, labels=["HP", "SSA"])
    with pytest.raises(InputError, match=r"labels: expected integers from 0 to 1, .*--class-names"):
        read_predictions(path)
    assert read_predictions(path, Columns(class_names=("SSA", "HP"))).labels.tolist() == [1, 0]


def test_a_label_of_no_class_is_not_taken_for_a_number(refused):
    rows = [f"{label},{part},1,2,3" for label, part in zip("12301", "aaabb", strict=True)]
    text = "\n".join(["label,split,logit_1,logit_2,logit_3", *rows])
    message = refused(text, take_split="b")
    assert "all by name, '1', '2', '3', or all by number, 0..2, received '0' beside '3'" in message
    assert "at line 5 " in message


@pytest.mark.parametrize(
    ("rows", "expected", "sums"),
    [
        (["90,10", "25,75"], [[0.9, 0.1], [0.25, 0.75]], "100 to 100"),
        (["0.7,0.7", "1,3"], [[0.5, 0.5], [0.25, 0.75]], "1.4 to 4"),
        (["0.3,0.6", "-1e-9,2"], [[1 / 3, 2 / 3], [0, 1]], "0.9 to 2"),
    ],
)
def test_rows_are_divided_by_their_sums_on_request(read, refused, rows, expected, sums):
    text = "label,probability_a,probability_b\n" + "\n".join(f"a,{row}" for row in rows)
    message = refused(text)
    assert message.endswith("; --normalize (normalize=True) divides each row by its sum")
    with pytest.warns(UserWarning, match=f"rows divided by their sums, {sums}$"):
        scores = read(text, normalize=True).scores
    np.testing.assert_allclose(scores, expected, atol=1e-9)
    assert (scores >= 0).all()


def test_the_command_takes_what_it_is_told(call, tmp_path):
    """Options and warnings reach the terminal, each in a line."""
    rows = [f"{'ab'[k % 2]}{' ' * (k < 3)},{50 + k},{50 - k},p{k // 2}" for k in range(40)]
    heading = "true_label,prob_a,prob_b,patient"
    path = written(tmp_path, "\n".join([heading, *rows]))
    code, _, stderr = call("audit", path, columns=400)
    assert (code, stderr.count("\n")) == (2, 2)
    assert f"warning: {path}: spaces around 3 cells of 'true_label' removed\n" in stderr
    assert "(they sum to 100: divide percentages by 100)" in stderr
    assert stderr.endswith("; --normalize (normalize=True) divides each row by its sum\n")
    options = ("--normalize", "--group", "patient", "--resamples", "200")
    code, stdout, _ = call("audit", path, *options)
    assert code == 0
    assert "over 40 cases of 20 groups" in " ".join(stdout.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("probability_a,probability_b\n0,.5,.5\n1,0,0", "one of them above 0, .* at line 3"),
        ("probability_a,probability_b\n0,.5,.5\n1,-1,3", r"received \[-1\. +3\.\] at line 3"),
        ("probability_a,probability_b\n0,.5,.5\n1,,3", "a finite number in every column"),
        ("probability_a\n0,.5", r"normalize=True.*: expected a column .* for each class"),
        ("logit_a,logit_b\n0,1,2", "expected a column of probabilities .* received logits"),
    ],
)
def test_rows_that_have_no_sum_to_divide_by(refused, text, message):
    assert re.search(message, refused(f"label,{text}\n", normalize=True))


@pytest.mark.parametrize(
    "scores",
    [["[0.1, 0.9]", "[0.25, 0.75]"], ["[0.1 0.9]", "[0.25 0.75]"], [[0.1, 0.9], [0.25, 0.75]]],
)
@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "parquet", "xlsx"])
def test_a_list_of_scores_in_a_cell(tmp_path, scores, suffix):
    path = tmp_path / f"p.{suffix}"
    table = pd.DataFrame({"label": ["SSA", "HP"], "probabilities": scores, "predicted": 1})
    {
        "csv": lambda: table.to_csv(path, index=False),
        "json": lambda: table.to_json(path, orient="records"),
        "jsonl": lambda: table.to_json(path, orient="records", lines=True),
        "parquet": lambda: table.to_parquet(path),
        "xlsx": lambda: table.to_excel(path, index=False),
    }[suffix]()
    predictions = read_predictions(path, Columns(class_names=("HP", "SSA")))
    assert predictions.scores.tolist() == [[0.1, 0.9], [0.25, 0.75]]
    assert predictions.labels.tolist() == [1, 0]


@pytest.mark.parametrize(("classes", "decimals"), [(3, 3), (9, 3), (4, 2), (200, 4), (2, 1)])
def test_rounded_numbers_are_read(tmp_path, classes, decimals):
    """As R and spreadsheets write them; -1e-9 is no negative number."""
    rounded = np.random.default_rng(classes).dirichlet(np.ones(classes), 200).round(decimals)
    assert classes == 2 or np.abs(rounded.sum(axis=1) - 1).max() > 0.5 * 10**-decimals
    table = pd.DataFrame(rounded, columns=[f"probability_{k}" for k in range(classes)])
    table.assign(label=0).to_csv(tmp_path / "p.csv", index=False)
    np.testing.assert_array_equal(read_predictions(tmp_path / "p.csv").scores, rounded)
    table.where(table > 0, -1e-9).assign(label=0).to_csv(tmp_path / "n.csv", index=False)
    np.testing.assert_array_equal(read_predictions(tmp_path / "n.csv").scores, rounded)


@pytest.mark.parametrize("floats", ["float64", "Float64", "Float32", "double[pyarrow]"])
@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (["SSA", "HP"], "category"),
        (["SSA", "HP"], "string"),
        (["SSA", "HP"], "string[pyarrow]"),
        ([1, 0], "Int64"),
        ([1, 0], "uint8[pyarrow]"),
        ([1.0, 0.0], "float64"),
        ([True, False], "boolean"),
    ],
)
def test_types_of_pandas(tmp_path, floats, labels, dtype):
    scores = pd.DataFrame([[0.25, 0.75], [0.5, 0.5]], columns=["probability_HP", "probability_SSA"])
    table = scores.astype(floats).assign(label=pd.Series(labels, dtype=dtype))
    table.to_parquet(tmp_path / "p.parquet")
    predictions = read_predictions(tmp_path / "p.parquet")
    assert predictions.scores.tolist() == scores.to_numpy().tolist()
    assert predictions.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": np.array([b"SSA", b"HP"]), "class_names": np.array([b"HP", b"SSA"])},
        {"labels": np.array(["SSA", "HP"]), "class_names": np.array(["HP", "SSA"])},
        {"labels": [[1], [0]], "class_names": ["HP", "SSA"]},
        {"labels": [[0, 1], [1, 0]], "class_names": ["HP", "SSA"]},
        {"y_true": [1.0, 0.0], "class_names": ["HP", "SSA"], "split": np.array([b"test"] * 2)},
    ],
)
@pytest.mark.parametrize("name", ["probabilities", "probs", "y_prob"])
def test_forms_of_npz(tmp_path, arrays, name):
    path = tmp_path / "p.npz"
    np.savez(path, **{name: PROBABILITIES}, ids=[b"a", b"b"], **arrays)
    predictions = read_predictions(path)
    assert predictions.class_names == ("HP", "SSA")
    assert predictions.labels.tolist() == [1, 0]
    assert predictions.ids.tolist() == ["a", "b"]
    np.savez(path, **{name: PROBABILITIES}, labels=[0, 1], split="test")
    with pytest.raises(InputError, match=r"split: expected shape \(2,\), .* received shape \(1,\)"):
        read_predictions(path)


def test_one_column_of_npz(tmp_path):
    path = tmp_path / "p.npz"
    np.savez(path, y_score=[0.25, 0.5], y_true=["no", "yes"])
    with pytest.raises(InputError, match="--class-names no,yes"):
        read_predictions(path)
    assert read_predictions(path, Columns(class_names=("yes", "no"))).labels.tolist() == [1, 0]
    np.savez(path, y_score=[[0.25], [0.5]], y_true=["no", "yes"], class_names=["no", "yes"])
    assert read_predictions(path).labels.tolist() == [0, 1]


# In any dialect -----------------------------------------------------------------------------------

TEXTS = ["nv", "HP", "a b", "Caf\u00e9", "-1+2", "\u65e5", "x,y", "it's", 'a "b"', "p;q", "r|s"]
GROUPS = ["7", "007", "12", "p 1", *TEXTS]


class Dialect(NamedTuple):
    """How a text file is written."""

    separator: str
    decimal: str
    quoting: int
    end: str
    encoding: str
    blanks: str  # around cells
    index: bool  # whether there is one in front
    below: int  # blank rows

    def write(self, table: pd.DataFrame) -> bytes:
        if self.index:
            table = table.reset_index(names="")
        file = io.StringIO(newline="")
        writer = csv.writer(
            file, delimiter=self.separator, quoting=self.quoting, lineterminator=self.end
        )
        writer.writerow([self.blanks + name for name in table.columns])
        for row in table.itertuples(index=False):
            writer.writerow(map(self.cell, row))
        for _ in range(self.below):
            writer.writerow([None] * len(table.columns))
        text = file.getvalue()
        in_cp1252 = text.encode("cp1252", "ignore").decode("cp1252") == text
        return text.encode(self.encoding if in_cp1252 else self.encoding.replace("cp1252", "utf-8"))

    def cell(self, value: Any) -> Any:
        if value is None:
            return None
        text = str(value)
        if isinstance(value, float):
            text = text.replace(".", self.decimal)
        return self.blanks + text + self.blanks


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    separator = draw(st.sampled_from(",;\t|"))
    return Dialect(
        separator,
        draw(st.sampled_from("." if separator == "," else ".,")),
        draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        draw(st.sampled_from(["\n", "\r\n", "\r"])),
        draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"])),
        draw(st.sampled_from(["", "", " ", "\u00a0 "])),
        draw(st.booleans()),
        draw(st.integers(0, 2)),
    )


class Written(NamedTuple):
    """Predictions, and the table that is written of them."""

    table: pd.DataFrame
    class_names: list[str]
    labels: list[int]
    scores: list[list[float]]
    groups: list[str]
    form: str  # of the scores: a column of each class, a list in a cell, or of one of two classes
    are_named: bool  # the labels


@st.composite
def predictions_of_all_forms(draw: st.DrawFn) -> Written:
    form = draw(st.sampled_from(["columns"] * 4 + ["list", "single"]))
    samples, classes = draw(st.integers(2, 5)), 2 if form == "single" else draw(st.integers(2, 4))
    are_named, rng = draw(st.booleans()), np.random.default_rng(draw(st.integers(0, 2**32)))
    names = rng.permutation([*TEXTS, *("12" if are_named and form != "single" else "")])[
        :classes
    ].tolist()
    scores = rng.dirichlet(np.ones(classes), samples).round(draw(st.integers(6, 15))).tolist()
    labels = rng.integers(classes, size=samples).tolist()
    groups = rng.permutation(GROUPS)[: samples - 1].tolist()
    groups = [*groups, groups[0] if samples > 2 else "another"]
    table: dict[str, Any] = {
        "label": [names[label] if are_named else label for label in labels],
        "group": groups,
        "id": [f"case {k}" for k in range(samples)],
    }
    if form == "columns":
        table |= {f"probability_{name}": [r[k] for r in scores] for k, name in enumerate(names)}
    else:
        name = "probabilities" if form == "list" else "y_prob"
        table[name] = scores if form == "list" else [row[1] for row in scores]
    if draw(st.booleans()):
        table |= {"note": ['a, "b"; c\td|e\nf'] * samples, "age": [None] * samples}
    order = {name: rng.integers(9) for name in table}
    if not are_named:  # they count the columns
        order |= {f"probability_{name}": 5 for name in names if form == "columns"}
    frame = pd.DataFrame(table, dtype=object)[sorted(table, key=order.__getitem__)]
    return Written(frame, names, labels, scores, groups, form, are_named)


def in_json(table: pd.DataFrame, **options: Any) -> bytes:
    return table.to_json(orient="records", double_precision=15, **options).encode()


def in_excel(table: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    table.to_excel(file, index=False)
    return file.getvalue()


@settings(max_examples=170, deadline=None)
@given(
    written=predictions_of_all_forms(),
    kind=st.sampled_from(["csv"] * 8 + ["json", "jsonl", "parquet", "xlsx"]),
    dialect=dialects(),
    is_packed=st.booleans(),
)
@pytest.mark.filterwarnings("ignore")
def test_any_dialect_is_read_alike(written, kind, dialect, is_packed):
    """As it was written, or refused where it may mean two things."""
    table, columns = written.table, Columns()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"p.{kind}{'.gz' if is_packed else ''}"
        data = {
            "csv": lambda: dialect.write(table),
            "json": lambda: in_json(table),
            "jsonl": lambda: in_json(table, lines=True),
            "parquet": lambda: table.infer_objects().to_parquet(),
            "xlsx": lambda: in_excel(table),
        }[kind]()
        path.write_bytes(gzip.compress(data) if is_packed else data)
        if written.form != "columns":
            columns = Columns(class_names=written.class_names)
            if written.form == "single" and written.are_named:
                with pytest.raises(InputError, match=r"labels of two classes|--class-names"):
                    read_predictions(path)
        if written.form == "columns" and not written.are_named:
            numbers, classes = {*written.labels}, len(written.class_names)
            if 0 not in numbers or (numbers <= {0, 1} and classes > 2):
                with suppress(InputError):  # the names may be numbers, which say what they are
                    found = read_predictions(path).ordered(written.class_names)
                    assert found.labels.tolist() == written.labels
                columns = Columns(class_names=written.class_names)
        found = read_predictions(path, columns)
        found = found.ordered(written.class_names)
    given = slice(1 if written.form == "single" else 0, None)  # the classes
    expected = np.array(written.scores)[:, given]
    np.testing.assert_allclose(found.scores[:, given], expected, rtol=0, atol=1e-14)
    assert found.labels.tolist() == written.labels
    assert [found.group_names[k] for k in found.groups] == written.groups
    assert found.ids.tolist() == [f"case {k}" for k in range(len(expected))]


# How mistakes are told ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEADING + "a,HP,90,10\nb,SSA,20,80\n",
            "probabilities: expected rows that sum to 1 within 0.001 (they sum to 100: divide "
            "percentages by 100), received [90. 10.], which sum to 100, at lines 2 and 3 (of 2 "
            "rows)",
        ),
        (
            HEADING + "a,HP,.9,.1\nb,SSA,-1.5,2.5\n",
            "probabilities: expected no negative number (if they are logits, declare them as "
            "logits, or give from_logits=True), received [-1.5  2.5] at line 3 (of 2 rows)",
        ),
        (
            HEADING + "a,HP,3.5,1.5\nb,SSA,.2,.8\n",
            "(if they are logits, declare them as logits, or give from_logits=True), received "
            "[3.5 1.5], which sum to 5, at line 2",
        ),
        (
            HEADING + "a,HP,.9,.115\nb,SSA,.2,.8\n",
            "if they were rounded, write more decimals or divide each row by its sum",
        ),
        (
            HEADING + "a,HP,.9,.1\n\nb,SSA,,.8\nc,HP,nan,.3\nd,HP,.2,.8\ne,HP,,.3\nf,HP,NA,.3\n",
            "probabilities: expected a finite number in every column, received [nan 0.8] at lines "
            "4, 5 and 7, the first of 4 such (of 6 rows)",
        ),
        (
            HEADING + "a,HP,.9,.1\nb,SSA,20%,.8\n",
            "column 'probability_HP': expected numbers without % (write 0.2, or 20 and "
            "--normalize), received '20%' at line 3 (of 2 rows)",
        ),
        (
            HEADING + "a,HP,.9,.1\nb,SSA,.2,.8\na,HP,.2,.8\n",
            "ids: expected every case once, received 'a' at lines 2 and 4 (1 of 3 rows repeat an "
            "id; if it names a patient, declare it as the group)",
        ),
        (
            HEADING + "a,HP,.9,.1\nb,polyp,.2,.8\n",
            "labels: expected one of the classes 'HP', 'SSA', or 0..1, received 'polyp' at line 3",
        ),
        (HEADING + "a,3,.9,.1\n", "'HP', 'SSA', or 0..1, received '3' at line 2 (of 1 rows)"),
        (HEADING + "a,,.9,.1\n", "labels: expected a value, received none at line 2 (of 1 rows)"),
        (
            HEADING + 'a,HP,.9,.1\n"b\nb",SSA,.2\nc,SSA,.2,.8,.9\n',
            "cannot be read as a table (expected 4 cells in every line: line 4 has 3, "
            "line 5 has 5)",
        ),
        ("", "expected a heading with the names of the columns in line 1, it is empty"),
        ("a,0.9,.1\nb,.2,.8\n", "line seems to be no heading: write the names of the columns"),
        ("x.png,HP\ny.jpg,SSA\n", "line seems to be no heading: write the names of the columns"),
        (HEADING, "expected at least one row, there is none"),
        (HEADING.encode("utf-16-le"), "is no text; save it as CSV in UTF-8"),
        (
            "label,HP,SSA\n1,.2,.8\n",
            "expected columns probability_CLASS or logit_CLASS, found 'label', 'HP', 'SSA'; "
            "declare others with --probabilities or --logits, such as 'p_*', where the star "
            "stands for the class, or HP,SSA",
        ),
        (
            "outcome,logit_a,logit_b\n1,.2,.8\n",
            "expected 'label', found 'outcome', 'logit_a', 'logit_b'; declare another name with "
            "--label",
        ),
        ("label,logit_a,logit_b\n0,.25,.75\n1,.5,.5\n", "sum to 1: declare them as probabilities"),
        ("label,logit_a,probability_a\n0,.25,.75\n", "holds columns probability_* and logit_*"),
        (
            "label,split,logit_a,logit_b\n0,train,2,.75\n1,test,.5,.5\n",
            "split: holds 'test', 'train': choose one with --take-split",
        ),
        ("label,label,logit_a,logit_b\n0,1,2,3\n", "expected one column 'label', found 2"),
        ("label,group,logit_a,logit_b\n0,x,2,3\n1,x,2,3\n", "groups: expected two or more"),
        ("label,p,probability_a\n0,x,20\n1,x,30\n", "by 100, as --normalize (normalize=True) does"),
        ("label,votes_a,logit_a,logit_b\n0,1,2,3\n", "votes: expected a column for each class"),
        (
            "label,votes_a,votes_b,logit_a,logit_b\n0,1,0,2,3\n0,0,0,2,3\n",
            "votes: expected a vote in every row, received [0. 0.] at line 3",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_lines_and_what_mends_it(refused, text, message):
    assert message in refused(text)


def test_a_mistake_in_a_split_is_named_by_the_line_of_the_file(refused):
    text = "label,split,logit_a,logit_b\n0,train,2,.75\nx,train,1,1\n0,test,1,2\nz,test,.5,.5\n"
    assert "received 'z' at line 5 (of 2 rows)" in refused(text, take_split="test")
    assert "expected 'validation', found 'test', 'train'" in refused(text, take_split="validation")


def test_blanks_beside_a_star_are_no_part_of_a_class(read):
    text = "label,score cat,score dog,score  red fox\ncat,.7,.2,.1\nred fox,.1,.2,.7\n"
    found = read(text, probabilities="score*")
    assert found.class_names == ("cat", "dog", "red fox")
    assert found.labels.tolist() == [0, 2]


@pytest.mark.parametrize("decimals", [2, 3, 4])
def test_rounded_probabilities_that_are_called_logits(refused, decimals):
    rows = np.random.default_rng(0).dirichlet([1, 1, 1], 40).round(decimals)
    lines = [f"{k % 3}," + ",".join(f"{p:.{decimals}f}" for p in row) for k, row in enumerate(rows)]
    message = refused("\n".join(["label,logit_a,logit_b,logit_c", *lines]))
    assert "declare them as probabilities" in message


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"probabilities": "p_*"}, "probabilities: expected columns 'p_*', found 'id', 'label'"),
        ({"probabilities": "HP"}, "--probabilities: expected 'HP', found 'id', 'label'"),
        ({"label": "truth"}, "--label: expected 'truth', found 'id', 'label'"),
        (
            {"probabilities": "probability_HP,probability SSA"},
            "--probabilities: expected 'probability SSA', found 'id', 'label', 'probability_HP', "
            "'probability_SSA', did you mean 'probability_SSA'?",
        ),
        (
            {"group": "patient"},
            "--group: expected 'patient', found 'id', 'label', 'probability_HP'",
        ),
        ({"subgroups": ("site",)}, "--subgroup: expected 'site', found 'id', 'label'"),
        ({"class_names": ("a", "b", "c")}, "class_names: expected 2 names"),
        ({"take_split": "test"}, "expected a column of splits, to take 'test' of; found none"),
    ],
)
def test_a_wrong_declaration_is_told(refused, columns, message):
    assert message in refused(HEADING + "a,HP,.9,.1\nb,SSA,.2,.8\n", **columns)


def test_other_files_are_told(tmp_path):
    with pytest.raises(MissingDataError, match="expected a file of predictions, there is none"):
        read_predictions(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"received a folder \(of a run: its predictions_vali"):
        read_predictions(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read as an Excel file .* ends in \.csv"):
        read_predictions(written(tmp_path, b"PK\x03\x04\x9c\xff\x00", "p.xlsx"))
    for name, what in (("p.npz", "NPZ"), ("p.parquet", "Parquet")):
        with pytest.raises(InputError, match=f"cannot be read as {what}"):
            read_predictions(written(tmp_path, "junk", name))
    ragged = np.array([[1, 2], [3]], dtype=object)
    np.savez(tmp_path / "r.npz", logits=ragged, labels=[0, 1])
    with pytest.raises(InputError, match="rows of different lengths"):
        read_predictions(tmp_path / "r.npz")
    np.savez(tmp_path / "b.npz", logits=[[1, 2.0]], probabilities=[[0.5, 0.5]], labels=[0])
    with pytest.raises(InputError, match="found both; declare which"):
        read_predictions(tmp_path / "b.npz")
    np.savez(tmp_path / "g.npz", logits=[[1, 2.0]], labels=[0], groups=[0])
    with pytest.raises(InputError, match=r"--group: expected 'patient', .*did you mean 'groups'\?"):
        read_predictions(tmp_path / "g.npz", Columns(group="patient"))
    np.savez(tmp_path / "s.npz", logits=[[1, 2.0], [3, 4]], labels=[0, 1, 1])
    with pytest.raises(InputError, match=r"labels: expected shape \(2,\), .*received shape \(3,\)"):
        read_predictions(tmp_path / "s.npz")


def test_arrays_are_checked_alike():
    with pytest.raises(InputError, match="one of the two"):
        lsp.Predictions([0, 1])
    with pytest.raises(InputError, match=r"received shape \(2, 2, 1\)"):
        lsp.Predictions([0, 1], logits=np.zeros((2, 2, 1)))
    with pytest.raises(InputError, match="at most 50 different values"):
        lsp.Predictions(
            [0] * 60, logits=np.arange(120.0).reshape(60, 2), subgroups={"age": np.arange(60)}
        )


@pytest.mark.parametrize(
    "truth", ["truth", "true", "actual", "ground_truth", "Reference", "target", "y_true", "dx"]
)
@pytest.mark.parametrize("label", ["label", "Labels"])
def test_a_label_beside_the_truth_may_be_the_predicted_class(tmp_path, truth, label):
    path = tmp_path / "table.csv"
    path.write_text(f"{truth},{label},score\n0,0,.8\n1,1,.7\n0,1,.6\n")
    with pytest.raises(InputError, match=f"label: found '{truth}', '{label}', each of which may"):
        read_predictions(path)
    for column, expected in ((truth, [0, 1, 0]), (label, [0, 1, 1])):
        assert read_predictions(path, Columns(label=column)).labels.tolist() == expected
    told = read_predictions(path, Columns(predicted=label, confidence="score"))
    assert told.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["0.0", "1.0", "2.0"], ["0", "1", "2"]),
        (["0", "1", "2"], ["0", "1", "2"]),
        (["0.5", "1.0", "2.0"], ["0.5", "1.0", "2.0"]),
        (["007", "1.0", "2.0"], ["007", "1.0", "2.0"]),
        (["a", "1.0", "2.0"], ["a", "1.0", "2.0"]),
        ([0.0, 1.0, 2.0], ["0", "1", "2"]),
        ([0, 1, 2], ["0", "1", "2"]),
    ],
)
def test_ids_that_are_whole_floats(written, expected):
    found = Predictions([0, 1, 0], logits=np.eye(3)[:, :2], ids=written)
    assert found.ids.tolist() == expected


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"patients": [1, 2], "model": "x"}, ("patients",)),
        ({"classes": ["HP", "SSA"], "groups": [1, 2], "ids": [3, 4]}, ("classes",)),
        ({}, ()),
    ],
)
def test_arrays_that_are_not_used_are_named(tmp_path, arrays, expected):
    scores = [[0.9, 0.1], [0.2, 0.8]]
    np.savez(tmp_path / "p.npz", labels=[0, 1], probabilities=scores, **arrays)
    assert read_predictions(tmp_path / "p.npz").unused == expected


@pytest.mark.parametrize("missing", ["nan", "NaN", " nan", ""])
@pytest.mark.parametrize("array", ["groups", "labels"])
def test_what_is_missing_is_no_name(tmp_path, array, missing):
    """As `astype(str)` writes it: the cases without a patient would be one patient's."""
    arrays = {"labels": ["a", "b", "b"], "groups": ["1", "2", "2"]}
    arrays[array] = [missing, *arrays[array][1:]]
    predicted = {"predicted": ["a", "b", "b"], "confidence": [0.9, 0.8, 0.7]}
    np.savez(tmp_path / "p.npz", **arrays, **predicted)
    with pytest.raises(InputError, match=f"{array}: expected a value, received none at row 0 "):
        read_predictions(tmp_path / "p.npz")


@pytest.mark.parametrize(
    "cell",
    [
        "[{0}, {1}]",
        "({0}, {1})",
        "[np.float64({0}), np.float32({1})]",
        "(np.float64({0}), np.float64({1}))",
        "array([{0}, {1}])",
        "array([{0}, {1}], dtype=float32)",
        "np.array([[{0}, {1}]])",
        "tensor([{0}, {1}])",
        "tensor([{0}, {1}], device='cuda:0')",
        "tensor([{0}, {1}], grad_fn=<SoftmaxBackward0>)",
        "[tensor({0}), tensor({1}, device='cuda:0')]",
        " [{0} {1}] ",
    ],
)
def test_lists_in_cells_as_libraries_write_them(read, cell):
    rows = [(0.9, 0.1), ("2.5e-1", 0.75)]
    lines = [f'{k},"{cell.format(*row)}"' for k, row in enumerate(rows)]
    found = read("label,probabilities\n" + "\n".join(lines) + "\n")
    np.testing.assert_array_equal(found.probabilities, PROBABILITIES)


@pytest.mark.parametrize(
    ("names", "option"),
    [
        (["score_a", "score_b"], "--probabilities 'score_*',"),
        (["softmax_a", "softmax_b"], "--probabilities 'softmax_*',"),
        (["y_pred_0", "y_pred_1"], "--probabilities 'y_pred_*',"),
        (["p(a)", "p(b)"], "--probabilities 'p(*)',"),
        (["P(class=a)", "P(class=b)"], "--probabilities 'P(class=*)',"),
        (["Prob. a", "Prob. b"], "--probabilities 'Prob. *',"),
        (["probability of a", "probability of b"], "--probabilities 'probability of *',"),
        (["prob0", "prob1"], "--probabilities 'prob*',"),
        (["logit0", "logit1"], "--logits 'logit*',"),
        (["Class 0", "Class 1"], "--probabilities 'Class *',"),
        (["a_score", "b_score"], "--probabilities '*_score',"),
        (["0", "1"], "--probabilities 0,1"),
        ([".pred_a", ".pred_b", ".pred_class"], "--probabilities a=.pred_a,b=.pred_b"),
        (["p0", "p1", "patient"], "--probabilities 0=p0,1=p1"),
    ],
)
def test_columns_that_seem_to_be_of_classes_are_named_as_an_option(refused, read, names, option):
    classes = ["0", "1"] if any(map(str.isdigit, "".join(names))) else ["a", "b"]
    kind, _, declared = option.removeprefix("--").partition(" ")
    cells = ["0.9", "0.1", "x"] if kind == "probabilities" else ["2", "-1"]
    text = f"label,{','.join(names)}\n" + "".join(
        f"{label},{','.join(cells[: len(names)])}\n" for label in classes
    )
    message = refused(text)
    assert f"declare them with {option}" in message
    found = read(text, **{kind: declared.strip("',")})
    assert found.class_names == tuple(classes)
    assert found.labels.tolist() == [0, 1]


@pytest.mark.parametrize("label", ["label_id", "gt_label", "target_class", "true_dx"])
def test_the_one_column_that_may_be_the_label_is_named(refused, label):
    message = refused(f"{label},probability_HP,probability_SSA\nHP,0.9,0.1\n")
    assert message.endswith(f"declare another name with --label {label} (label=...)")


@pytest.mark.parametrize("odd", ["NA", "Total", "zzz"])
@pytest.mark.filterwarnings("ignore:.*taken as a name")
def test_the_labels_that_are_no_class_are_named(refused, odd):
    rows = "".join(f"{name},0.5,0.25,0.25\n" for name in ["AD", "HP", "SSA", odd])
    message = refused(f"label,prob_AD,prob_HP,prob_SSA\n{rows}")
    assert f"and labels {odd!r}, which are not the same classes: mend these labels, or" in message


def test_percentages_in_one_column_are_told_what_mends_them(refused):
    message = refused("label,probability\n0,12.5\n1,90\n")
    assert "divide percentages by 100, as --normalize" in message
    assert "by its sum" not in message


@pytest.mark.parametrize("shape", [(4, 1, 3), (4, 3, 1), (1, 4, 3), (2, 2, 3)])
def test_arrays_of_three_axes_say_what_was_expected(tmp_path, shape):
    np.savez(tmp_path / "p.npz", labels=[0, 1, 2, 0], probabilities=np.full(shape, 1 / 3))
    squeezed = ", as probabilities.squeeze() has" if 1 in shape else ""
    with pytest.raises(InputError) as error:
        read_predictions(tmp_path / "p.npz")
    expected = f"expected shape (N, K), a row for each case and a column for each class{squeezed}, "
    assert f"{expected}received shape {shape}" in str(error.value)
