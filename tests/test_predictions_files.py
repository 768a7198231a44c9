"""Files of predictions: what is read, and how mistakes in them are told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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
            "column 'probability_HP': expected numbers, received '20%' at line 3 (of 2 rows)",
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
        (HEADING + "a,2,.9,.1\n", "'HP', 'SSA', or 0..1, received '2' at line 2 (of 1 rows)"),
        (HEADING + "a,,.9,.1\n", "labels: expected a value, received none at line 2 (of 1 rows)"),
        (
            HEADING + 'a,HP,.9,.1\n"b\nb",SSA,.2\nc,SSA,.2,.8,.9\n',
            "cannot be read as a table (expected 4 cells in every line: line 4 has 3, "
            "line 5 has 5)",
        ),
        ("", "expected a heading with the names of the columns in line 1, it is empty"),
        (HEADING, "expected at least one row, there is none"),
        (HEADING.encode("utf-16-le"), "is no text; save it as CSV in UTF-8"),
        (
            "label,HP,SSA\n1,.2,.8\n",
            "expected columns probability_CLASS or logit_CLASS, found 'label', 'HP', 'SSA'; "
            "declare others with --probabilities or --logits, such as 'p_*', where the star "
            "stands for the class, or HP,SSA",
        ),
        (
            "truth,logit_a,logit_b\n1,.2,.8\n",
            "expected 'label', found 'truth', 'logit_a', 'logit_b'; declare another name with "
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
        ("label,p,probability_a\n0,x,20\n1,x,30\n", "from 0 to 1 (divide percentages by 100)"),
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


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"probabilities": "p_*"}, "probabilities: expected columns 'p_*', found 'id', 'label'"),
        ({"probabilities": "HP"}, "--probabilities: expected 'HP', found 'id', 'label'"),
        ({"label": "truth"}, "--label: expected 'truth', found 'id', 'label'"),
        (
            {"probabilities": "probability_HP,probability SSA"},
            "--probabilities: expected 'probability SSA', found 'id', 'label', 'probability_HP', "
            "'probability_SSA'; did you mean 'probability_SSA'?",
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
