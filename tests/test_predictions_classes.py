"""Of which classes labels and predictions are, however they come: as arrays, in tables, in NPZ."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest

from lsplus_tf.errors import InputError
from lsplus_tf.predictions import Columns, Predictions, read_predictions

WAYS = ("arrays", "csv", "npz")
NAMES = ("0,1,2", "1,2,3", "2,3,4", "-1,0,1", "10,20,30", "a,1,2", "1,b,0", "HP,SSA,TA")
FORMS = {
    "integers": lambda values: np.array(values).astype(int),
    "floats": lambda values: np.array(values).astype(float),
    "text": np.array,
    "text with a point": lambda values: np.array([f"{v}.0" if v.isdigit() else v for v in values]),
    "text with blanks": lambda values: np.array([f" {v} " for v in values], object),
    "objects": lambda values: np.array([int(v) if v.isdigit() else v for v in values], object),
    "bytes": lambda values: np.array([v.encode() for v in values]),
    "a column": lambda values: np.array(values)[:, None],
}


def made(way, folder, arrays, names=None, split=None):
    """Predictions of arrays by their usual names, given in some way."""
    path = folder / f"p.{way}"
    if way == "arrays":
        return Predictions(**arrays, class_names=names)
    if way == "npz":
        arrays = {k: v.astype(str) if v.dtype == object else v for k, v in arrays.items()}
        np.savez(path, **arrays)
    else:
        scores = arrays.get("probabilities", np.empty((len(arrays["labels"]), 0)))
        columns = {k: v.ravel() for k, v in arrays.items() if k != "probabilities"}
        table = pd.DataFrame(
            columns | {f"probability_{names[k]}": scores[:, k] for k in range(scores.shape[1])}
        )
        table.to_csv(path, index=False)
    return read_predictions(path, Columns(class_names=names, take_split=split))


LABELS, PREDICTED = [0, 1, 2, 1, 2], [1, 1, 2, 2, 1]  # the first class is in one of the two alone


def cases():
    """Names, whether the values are names or numbers, their form, and how they are given.

    Of the two kinds of files every other: all names, and all forms, are in both.
    """
    for (i, names), by, (k, form), way in itertools.product(
        enumerate(NAMES), ("name", "number"), enumerate(FORMS), WAYS
    ):
        if way == WAYS[1 + (i + k) % 2]:
            continue
        said = names.split(",") if by == "name" else ["0", "1", "2"]
        are_numbers = all(text.lstrip("-").isdigit() for text in said)
        if (are_numbers or form not in ("integers", "floats")) and (form, way) != ("bytes", "csv"):
            yield pytest.param(names.split(","), said, form, way, id=f"{names}-{by}-{form}-{way}")


@pytest.mark.parametrize(("names", "said", "form", "way"), [*cases()])
@pytest.mark.filterwarnings("ignore:.*spaces around")
def test_all_values_of_the_whole_file_tell_their_classes(tmp_path, names, said, form, way):
    for labels, predicted in ((LABELS, PREDICTED), (PREDICTED, LABELS)):
        first, second = (FORMS[form]([said[k] for k in codes]) for codes in (labels, predicted))
        top = {"labels": first, "predicted": second, "confidence": np.full(5, 0.9)}
        found = made(way, tmp_path, top, names)
        assert (found.labels.tolist(), found.predicted.tolist()) == (labels, predicted)
        if way != "arrays":  # the row that tells is of another split
            top["split"] = np.array(["train", *["test"] * 4])
            found = made(way, tmp_path, top, names, "test")
            assert (found.labels.tolist(), found.predicted.tolist()) == (labels[1:], predicted[1:])
    full = {"labels": FORMS[form]([said[k] for k in LABELS]), "probabilities": np.eye(3)[LABELS]}
    assert made(way, tmp_path, full, names).labels.tolist() == LABELS
    if way != "arrays":
        full["split"] = np.array(["train", *["test"] * 4])
        assert made(way, tmp_path, full, names, "test").labels.tolist() == LABELS[1:]


@pytest.mark.parametrize("way", WAYS)
def test_numbers_beside_names_are_never_taken_for_them(tmp_path, way):
    top = {
        "labels": np.array([0, 1]),
        "predicted": np.array(["B", "A"]),
        "confidence": np.full(2, 0.9),
    }
    found = made(way, tmp_path, top, ("A", "B"))
    assert (found.labels.tolist(), found.predicted.tolist()) == ([0, 1], [1, 0])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", ["integers", "floats", "text"])
def test_two_countings_are_refused_with_both(tmp_path, form, way):
    """Labels counted from 1 beside predictions counted from 0."""
    top = {
        "labels": FORMS[form](["1", "2", "3"]),
        "predicted": FORMS[form](["0", "1", "2"]),
        "confidence": np.full(3, 0.9),
    }
    with pytest.raises(InputError) as caught:
        made(way, tmp_path, top, ("1", "2", "3"))
    message = str(caught.value)
    assert "predicted: expected the classes all by name, '1', '2', '3', or all by n" in message
    assert "beside '3' at " in message
    with pytest.raises(InputError, match=r"count both from 0 or from 1, or .* 4 classes, name all"):
        made(way, tmp_path, top)
    assert made(way, tmp_path, top, ("0", "1", "2", "3")).labels.tolist() == [1, 2, 3]


@pytest.mark.parametrize("way", WAYS)
def test_classes_that_differ_in_capitals_are_told_wherever_they_are(tmp_path, way):
    top = {
        "labels": np.array(["A", "a", "b"]),
        "predicted": np.array(["a", "b", "b"]),
        "confidence": np.full(3, 0.9),
    }
    with pytest.warns(UserWarning, match="spelled nearly alike: 'A' and 'a'"):
        assert made(way, tmp_path, top).class_names == ("A", "a", "b")
    with warnings.catch_warnings(action="error"):  # on insisting
        made(way, tmp_path, top, ("A", "a", "b"))


@pytest.mark.parametrize("names", [("x", "x"), ("1", "1.0"), ("x", " x"), ("\u00e9", "e\u0301")])
def test_names_of_one_form_are_no_two_classes(names):
    with pytest.raises(InputError, match="class_names: expected different names"):
        Predictions([0, 1], np.eye(2), class_names=names)


@pytest.mark.parametrize("way", ["csv", "npz"])
@pytest.mark.parametrize(
    ("splits", "wanted", "expected"),
    [
        ("train,dev,test", "validation", [1]),
        ("train,eval,test", "val", [1]),
        ("train,Dev,tst", "dev", [1]),
        ("train,dev,test", "test", [2]),
        ("train,val,dev", "validation", [1]),
        ("train,val,dev", "dev", [2]),
        ("TEST,train,Testing", "tst", [0, 2]),
        ("fold 1,fold 2,fold 3", "Fold 2", [1]),
    ],
)
def test_splits_are_called_as_those_of_data_sets(tmp_path, splits, wanted, expected, way):
    arrays = {
        "labels": np.array([0, 1, 2]),
        "probabilities": np.eye(3),
        "split": np.array(splits.split(",")),
    }
    found = made(way, tmp_path, arrays, ("a", "b", "c"), wanted)
    assert found.labels.tolist() == expected


def test_of_npz_only_what_is_used_is_loaded(tmp_path):
    features = np.array([[1], [1, 2]], object)  # which cannot be loaded
    np.savez(tmp_path / "p.npz", labels=[0, 1], probabilities=np.eye(2), features=features)
    assert read_predictions(tmp_path / "p.npz").labels.tolist() == [0, 1]
    with pytest.raises(InputError, match=r"p\.npz: \w+: holds Python objects"):
        read_predictions(tmp_path / "p.npz", Columns(subgroups=("features",)))


@pytest.mark.parametrize("score", ["probability", "Probability", "logit"])
def test_columns_of_one_class_that_differ_in_capitals_are_refused(tmp_path, score):
    path = tmp_path / "p.csv"
    path.write_text(f"label,{score}_HP,{score.upper()}_HP,{score}_SSA\nHP,.6,1,.4\n")
    with pytest.raises(InputError, match=f"found '{score}_HP' and '{score.upper()}_HP', both of"):
        read_predictions(path)
    # Of what is not taken no one asks.
    path.write_text(f"label,p_x,P_x,{score}_HP,{score}_SSA\nHP,1,2,.6,.4\n")
    assert read_predictions(path).class_names == ("HP", "SSA")
    path.write_text(f"label,{score}_HP,{score.upper()}_HP,{score}_SSA\nHP,.6,1,.4\n")
    kind = "logits" if score == "logit" else "probabilities"
    taken = read_predictions(path, Columns(**{kind: f"{score}_*"}))
    assert taken.class_names == ("HP", "SSA")


@pytest.mark.parametrize(
    ("declared", "labels", "names"),
    [
        ("my_prob", [0, 1], ("0", "1")),
        ("my_prob", ["other", "my_prob"], ("other", "my_prob")),
        ("ill=my_prob", [0, 1], ("not ill", "ill")),
        ("ill=my_prob", ["well", "ill"], ("well", "ill")),
    ],
)
def test_a_column_is_called_as_its_class_where_something_says_so(tmp_path, declared, labels, names):
    path = tmp_path / "p.csv"
    path.write_text(f"label,my_prob\n{labels[0]},.25\n{labels[1]},.75\n")
    found = read_predictions(path, Columns(probabilities=declared))
    assert (found.class_names, found.labels.tolist()) == (names, [0, 1])
    path.write_text("label,my_prob\nno,.25\nyes,.75\n")
    with pytest.raises(InputError, match=r"a single column of scores: .*--class-names no,yes"):
        read_predictions(path, Columns(probabilities="my_prob"))


def written(folder, table):
    table.to_csv(folder / "p.csv", index=False)
    return folder / "p.csv"


def in_columns(labels, names, true, heading="prob_{}"):
    """A table in which the cases are surely of the classes `true`."""
    columns = {heading.format(name): [float(k == j) for k in true] for j, name in enumerate(names)}
    return pd.DataFrame({"label": labels} | columns)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title])
@pytest.mark.parametrize(
    "names", ["false,true", "no,yes", "neg,pos", "negative,positive", "absent,present"]
)
@pytest.mark.parametrize("labels", [[0, 1], [False, True], ["FALSE", "TRUE"], ["0", "1.0"]])
def test_two_classes_that_mean_no_and_yes(tmp_path, names, spelled, order, labels):
    names = [spelled(name) for name in names.split(",")][::order]
    no = 0 if order == 1 else 1
    path = written(tmp_path, in_columns(labels, names, [no, 1 - no]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_predictions(path)
    assert found.class_names == tuple(names)
    assert found.labels.tolist() == found.predicted.tolist() == [no, 1 - no]
    assert all("capitals alone" in str(each.message) for each in caught)


@pytest.mark.parametrize("table", ["csv", "parquet", "xlsx"])
def test_names_that_differ_from_labels_in_capitals_alone_are_theirs(tmp_path, table):
    frame = in_columns(["NV", "mel", "Bcc"], ["Mel", "BCC", "nv"], [2, 0, 1])
    path = tmp_path / f"p.{table}"
    {"csv": frame.to_csv, "parquet": frame.to_parquet, "xlsx": frame.to_excel}[table](
        path, index=False
    )
    with pytest.warns(UserWarning, match="labels mel, Bcc, NV taken as Mel, BCC, nv, which differ"):
        found = read_predictions(path)
    assert found.labels.tolist() == [2, 0, 1]
    frame = in_columns(["NV", "nv", "mel"], ["nv", "mel"], [0, 0, 1])
    with pytest.raises(InputError, match=r"same classes|received 'NV'"):
        read_predictions(written(tmp_path, frame))


@pytest.mark.parametrize(
    ("column", "second"),
    [("Malignant", "malignant"), ("MALIGNANT", "malignant"), ("Benign", "benign")],
)
@pytest.mark.parametrize("usual", [False, True])
def test_a_single_column_that_differs_from_its_class_in_capitals_alone(
    tmp_path, column, second, usual
):
    name = f"probability_{column}" if usual else column
    path = written(tmp_path, pd.DataFrame({"label": ["malignant", "benign"], name: [0.9, 0.2]}))
    found = read_predictions(path, None if usual else Columns(probabilities=column))
    assert found.class_names[1] == second
    assert {*found.class_names} == {"malignant", "benign"}
    assert found.scores[:, 1].tolist() == [0.9, 0.2]


REMEDY = "bcc=prob_bcc,mel=prob_mel,nv=prob_nv"


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("form", ["integers", "floats", "text"])
def test_numbers_beside_named_columns_are_told(tmp_path, first, form):
    names, true = ["mel", "nv", "bcc"], [0, 1, 2, 2]
    labels = FORMS[form]([str(k + first) for k in true])
    path = written(tmp_path, in_columns(labels, names, true))
    with pytest.warns(UserWarning, match=r"taken as mel, nv, bcc, the order .*--probabilities mel"):
        assert read_predictions(path).labels.tolist() == true
    with pytest.raises(InputError, match=f"--probabilities {REMEDY}"):
        read_predictions(path, Columns(class_names=("bcc", "mel", "nv")))
    with warnings.catch_warnings(action="error"):
        said = read_predictions(path, Columns(class_names=names))
        named = read_predictions(path, Columns(probabilities=REMEDY))
    assert said.labels.tolist() == named.labels.tolist() == true
    assert (named.class_names, named.predicted.tolist()) == (("bcc", "mel", "nv"), [1, 2, 0, 0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 2], "from 0 declare --probabilities mel=.*, from 1 --class-names 1,2,3"),
        ([2, 2, 2], "may be counted from 0 or from 1"),
        ([0, 1, 1], "'0', '1' alone beside 3 classes .*|--label 'true_"),
    ],
)
def test_numbers_that_may_be_counted_in_two_ways_are_asked_for(tmp_path, labels, message):
    names = ["mel", "nv", "bcc"]
    path = written(tmp_path, in_columns(labels, names, labels))
    with pytest.raises(InputError, match=message):
        read_predictions(path)
    assert read_predictions(path, Columns(class_names=names)).labels.tolist() == labels
    if 0 not in labels:
        found = read_predictions(path, Columns(class_names=("1", "2", "3")))
        assert found.labels.tolist() == [k - 1 for k in labels]


@pytest.mark.parametrize(
    ("declared", "heading", "names", "labels"),
    [
        ("prob_0", "prob_0", ("1", "0"), [1, 0]),
        ("P0", "P0", ("1", "0"), [1, 0]),
        ("prob_1", "prob_1", ("0", "1"), [0, 1]),
        ("0=score", "score", ("1", "0"), [1, 0]),
        ("negative=score", "score", ("positive", "negative"), [1, 0]),
    ],
)
def test_a_column_of_one_class_says_which_number_it_is(tmp_path, declared, heading, names, labels):
    path = written(tmp_path, pd.DataFrame({"label": [0, 1], heading: [0.25, 0.75]}))
    found = read_predictions(path, Columns(probabilities=declared))
    assert (found.class_names, found.labels.tolist()) == (names, labels)
    assert found.probabilities[:, 1].tolist() == [0.25, 0.75]


def test_of_a_named_class_beside_numbers_its_number_is_told(tmp_path):
    path = written(tmp_path, pd.DataFrame({"label": [0, 1], "score": [0.25, 0.75]}))
    with pytest.warns(UserWarning, match="if 0 is 'benign', declare --probabilities 0=score"):
        assert read_predictions(path, Columns(probabilities="benign=score")).labels[1] == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ("1,2,1", "0,1,1", "count both from 0 or from 1"),
        ("0,1", "-1,1", "received '-1', which no label is, and no '0'"),
        ("NV,mel", "nv,mel", "are 'NV' and 'nv' one"),
        ("BCC,MEL", "bcc,mel", "are 'BCC' and 'bcc' one"),
        ("nv,mel", "nevus,mel", "'nevus', which no label is, and no 'nv'"),
    ],
)
def test_classes_on_one_side_each_are_refused(tmp_path, way, labels, predicted, message):
    first, second = np.array(labels.split(",")), np.array(predicted.split(","))
    top = {"labels": first, "predicted": second, "confidence": np.full(len(first), 0.9)}
    with pytest.raises(InputError, match=message):
        made(way, tmp_path, top)
    names = tuple(sorted({*first, *second}))
    assert made(way, tmp_path, top, names).class_names == names
    top["predicted"] = np.full(len(first), first[-1])  # that a class is never predicted is usual
    assert len(made(way, tmp_path, top).class_names) == 2


@pytest.mark.parametrize("way", WAYS)
def test_true_is_1_beside_predictions_that_are_numbers(tmp_path, way):
    words, numbers = np.array(["True", "False"]), np.array([0, 1])
    for first, second, expected in ((words, numbers, [1, 0]), (numbers, words, [0, 1])):
        top = {"labels": first, "predicted": second, "confidence": np.full(2, 0.9)}
        found = made(way, tmp_path, top)
        assert (found.class_names, found.labels.tolist()) == (("False", "True"), expected)
        assert found.predicted.tolist() == expected[::-1]


def test_a_column_of_truth_for_each_class(tmp_path):
    frame = in_columns([0, 0, 0], ["mel", "nv", "bcc"], [2, 0, 1])
    for name, true in {"bcc": [1, 0, 0], "mel": [0, 1, 0], "nv": [0, 0, 1]}.items():
        frame[f"true_{name}"] = true
    path = written(tmp_path, frame.drop(columns="label"))
    with pytest.raises(InputError, match=r"a column for each class with --label 'true_\*'"):
        read_predictions(path)
    assert read_predictions(path, Columns(label="true_*")).labels.tolist() == [2, 0, 1]
    path = written(tmp_path, frame.assign(true_nv=1))
    with pytest.raises(InputError, match="rows of zeros and a single one"):
        read_predictions(path, Columns(label="true_*"))


@pytest.mark.parametrize(("heading", "star"), [("{}_prob", "*_prob"), ("{}-p", "*-p")])
def test_columns_with_the_class_in_front_are_recognised(tmp_path, heading, star):
    frame = in_columns(["nv", "mel"], ["mel", "nv"], [1, 0], heading)
    with pytest.raises(InputError, match="declare them with --probabilities '\\*") as caught:
        read_predictions(written(tmp_path, frame))
    assert f"--probabilities {star!r}" in str(caught.value)
    found = read_predictions(tmp_path / "p.csv", Columns(probabilities=star))
    assert found.labels.tolist() == found.predicted.tolist() == [1, 0]


@pytest.mark.parametrize("way", ["csv", "npz"])
def test_percentages_in_one_column(tmp_path, way):
    top = {
        "labels": np.array([0, 1]),
        "predicted": np.array([0, 1]),
        "confidence": np.array([90, 75.5]),
    }
    made(way, tmp_path, {**top, "confidence": np.array([0.9, 0.755])})
    if way == "csv":
        written(tmp_path, pd.DataFrame(top))
    else:
        np.savez(tmp_path / "p.npz", **top)
    with pytest.warns(UserWarning, match="confidence divided by 100"):
        found = read_predictions(tmp_path / f"p.{way}", Columns(normalize=True))
    np.testing.assert_allclose(found.confidence, [0.9, 0.755], rtol=1e-15)


def test_a_column_below_one_half_beside_a_predicted_class_is_no_confidence(tmp_path):
    frame = pd.DataFrame({"y_true": [0, 1] * 5, "y_pred": [0, 1] * 5, "y_prob": [0.2, 0.9] * 5})
    found = read_predictions(written(tmp_path, frame))
    assert found.probabilities[:2, 1].tolist() == [0.2, 0.9]
    with pytest.raises(InputError, match="may be the confidence in the predicted class"):
        read_predictions(written(tmp_path, frame.assign(y_prob=0.9)))


def test_npz_that_is_text_or_transposed(tmp_path):
    path = tmp_path / "p.npz"
    path.write_text("label,p\r\n0,.5\r\n")
    with pytest.raises(InputError, match=r"holds text although it ends in \.npz"):
        read_predictions(path)
    np.savez(path, logits=np.eye(3, 7), labels=np.zeros(7, int))
    with pytest.raises(InputError, match=r"logits: expected shape \(N, K\).* \(3, 7\): transpose"):
        read_predictions(path)
    with pytest.raises(InputError, match="transpose it"):
        Predictions(np.zeros(7, int), logits=np.eye(3, 7))


def test_columns_are_named_by_text(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("label,a,b\na,0.9,0.1\nb,0.2,0.8\n")
    for field in ("probabilities", "label", "group", "take_split"):
        with pytest.raises(InputError, match=f"{field}: expected a name, .* received .'a', 'b'"):
            read_predictions(path, Columns(**{field: ["a", "b"]}))
    assert read_predictions(path, Columns(probabilities="a,b")).class_names == ("a", "b")
