"""`lsp.Predictions`: what it takes, what it refuses with which remedy, and what it computes."""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal, getcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

import lsplus_tf as lsp
from lsplus_tf import metrics
from lsplus_tf.calibrators import PlattScaling, TemperatureScaling
from lsplus_tf.errors import InputError
from lsplus_tf.predictions import Predictions, Rows, as_predictions, checks, concatenated

GOOD = [[0.8, 0.2], [0.3, 0.7], [0.5, 0.5]]


def drawn(samples: int, classes: int, seed: int = 0, **more) -> Predictions:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(samples, classes))
    return Predictions(rng.integers(classes, size=samples), logits=logits, **more)


# What is taken ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "decimals", "dtype"),
    [(k, d, t) for t in (np.float64, np.float32) for k, d in ((2, 2), (4, 2), (9, 3), (200, 4))],
)
def test_rows_that_were_rounded_are_taken(classes, decimals, dtype):
    """As a CSV of others has them: a row of K numbers misses 1 by up to K/2 of its last units."""
    rng = np.random.default_rng(classes)
    rows = rng.dirichlet(np.ones(classes), 500).round(decimals).astype(dtype)
    off = np.abs(rows.sum(axis=1, dtype=float) - 1).max()
    assert classes == 2 or off > 1e-3, "the test needs rows that the plain tolerance refuses"
    taken = Predictions(np.zeros(500, int), rows)
    np.testing.assert_array_equal(taken.probabilities, rows)


def test_what_is_farther_off_than_rounding_is_refused():
    with pytest.raises(InputError, match=r"which sum to 0\.997, at row 0"):
        Predictions([0], [[0.332, 0.333, 0.332]])
    with pytest.raises(InputError, match="sum to 1"):  # of six decimals, not of three
        Predictions([0, 1], [[0.333, 0.333, 0.3325], [0.333333, 0.333333, 0.333334]])
    with pytest.raises(InputError, match=r"sum to 1 within 0\.001 \(most rows do\), .* at row 3 "):
        Predictions([0, 1, 0, 0], [*GOOD, [0.8, 0.6]])


@pytest.mark.parametrize("row", [[1, 1], [0.5, 0.5, 0.4], []])
def test_rows_of_many_classes_are_not_taken_for_rounded_ones(row):
    """Labels of several classes and sigmoids: what was rounded to 0 makes no sum too large."""
    with pytest.raises(InputError, match=r"at row 1 \(of 2 rows\)"):
        Predictions([0, 0], np.array([[1.0] + 39 * [0], row + (40 - len(row)) * [0]]))


def test_what_are_no_values_is_refused_in_a_line():
    lists = np.array([[1], [0, 1]], dtype=object)
    for given in ({"labels": lists}, {"groups": lists}, {"subgroups": {"site": lists}}):
        with pytest.raises(InputError, match="expected text or numbers"):
            Predictions(**{"labels": [0, 1], "probabilities": GOOD[:2], **given})
    with pytest.raises(InputError, match=r"labels: expected integers .*received 'inf' at row 1"):
        Predictions([0, np.inf], GOOD[:2])


def test_a_blank_behind_a_name_makes_no_second_group():
    given = Predictions([0, 1], GOOD[:2], groups=["patient 0 ", "patient 0"], ids=["a ", "b"])
    assert given.groups.tolist() == [0, 0]
    assert given.group_names.tolist() == ["patient 0"]
    assert given.ids.tolist() == ["a", "b"]


def test_a_negative_number_of_rounding_is_zero():
    given = Predictions([0], [[1.0, -1e-9, 1e-9]])
    assert given.probabilities.tolist() == [[1.0, 0.0, 1e-9]]
    with pytest.raises(InputError, match="no negative number"):
        Predictions([0], [[1.00001, -1e-5]])


@pytest.mark.parametrize("dtype", ["Float64", "Float32", "double[pyarrow]"])
def test_pandas_columns_that_may_have_gaps(dtype):
    frame = pd.DataFrame(GOOD).astype(dtype)
    labels = pd.Series([0, 1, 0], dtype="Int64")
    assert metrics.accuracy(labels, frame) == metrics.accuracy([0, 1, 0], GOOD)
    frame.iloc[1, 0] = pd.NA
    with pytest.raises(InputError, match=r"finite number in every column.*row 1"):
        metrics.accuracy(labels, frame)


@pytest.mark.parametrize(
    "objects",
    [
        pd.DataFrame(GOOD, dtype=object),  # as of rows that were appended one by one
        pd.DataFrame([[Decimal(str(p)) for p in row] for row in GOOD]),  # as of a database
        np.array(GOOD, object),
        [[np.float32(0.75), 0.25], [0, 1], [0.5, np.float64(0.5)]],
        np.array([[0.75, 0.25], [0, 1], [0.5, 0.5]], object),
    ],
)
def test_objects_that_are_numbers(objects):
    expected = np.array(objects).astype(np.float64)
    np.testing.assert_array_equal(Predictions([0, 1, 0], objects).probabilities, expected)
    first = [row[0] for row in expected.astype(object)]
    np.testing.assert_array_equal(Predictions([0, 1, 0], first).scores[:, 1], expected[:, 0])
    gap = np.array(objects, object)
    gap[1, 0] = None
    with pytest.raises(InputError, match=r"finite number in every column.* at row 1"):
        Predictions([0, 1, 0], gap)
    gap[1, 0] = "0.3"
    with pytest.raises(InputError, match=r"expected real numbers, .*as with \.astype\(float\)"):
        Predictions([0, 1, 0], gap)


class _Tensor:
    """A tensor as PyTorch's on a GPU, or one with a gradient, which NumPy cannot read."""

    def __init__(self, error: type[Exception], values: Any) -> None:
        self.error, self.shape = error, np.shape(values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise self.error("Use tensor.detach().cpu().numpy() instead.")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda values: _Tensor(TypeError, values), "no array .*Use tensor.detach"),
        (lambda values: _Tensor(RuntimeError, values), "no array .*Use tensor.detach"),
        (lambda values: [*values[:2], [values[2], values[2]]], "no array can be made of it"),
        (lambda values: (each for each in values), "received a generator; make an array of it"),
        (lambda values: set(range(3)), "received a set; make an array of it"),
        (lambda values: dict(enumerate(values)), "received a dict; make an array of it"),
        (lambda values: csr_array(np.eye(3)), "received a csr_array; make an array of it"),
    ],
)
@pytest.mark.parametrize("name", ["labels", "probabilities", "sample_weight"])
@pytest.mark.parametrize(
    "use",
    [
        Predictions,
        metrics.accuracy,
        lambda labels, probabilities, sample_weight: metrics.sensitivity(
            labels, probabilities, positive=1, sample_weight=sample_weight
        ),
        lambda labels, probabilities, sample_weight: TemperatureScaling().fit(
            np.log(GOOD) if probabilities is GOOD else probabilities,
            labels,
            sample_weight,
        ),
    ],
    ids=["Predictions", "accuracy", "sensitivity", "fit"],
)
def test_what_is_no_array_is_refused_in_a_line(use, name, make, message):
    given = {"labels": [0, 1, 0], "probabilities": GOOD, "sample_weight": [1, 2, 1]}
    given[name] = make(given[name])
    named = {"probabilities": "(probabilities|logits)"}.get(name, name)
    with pytest.raises(InputError, match=f"^{named}: .*{message}") as caught:
        use(**given)
    assert "\n" not in str(caught.value)


def test_labels_are_names_or_numbers():
    names = ["HP", "SSA"]
    for labels in (["HP", "SSA", "HP"], [0, 1, 0], [0.0, 1.0, 0.0], np.array([[0], [1], [0]])):
        assert Predictions(labels, GOOD, class_names=names).labels.tolist() == [0, 1, 0]
    # Classes may be called 1 and 2, which are names before they are numbers.
    assert Predictions([1, 2, 1], GOOD, class_names=["1", "2"]).labels.tolist() == [0, 1, 0]


def test_masked_values_are_refused_and_masks_of_none_are_not():
    array = np.ma.masked_array(GOOD, np.zeros((3, 2), bool))
    assert len(Predictions([0, 1, 0], array)) == 3
    with pytest.raises(InputError, match="logits: expected a value in every row, received masked"):
        Predictions([0, 1, 0], logits=np.ma.masked_greater(GOOD, 0.6))


@pytest.mark.parametrize(
    "labels",
    [
        np.eye(2, dtype=int)[[0, 1, 0]],
        np.eye(2, dtype=np.float32)[[0, 1, 0]],
        np.eye(2, dtype=bool)[[0, 1, 0]].tolist(),
        pd.DataFrame(np.eye(2)[[0, 1, 0]], columns=["HP", "SSA"]),
        np.array([b"HP", b"SSA", b"HP"]),
        np.array([b"HP", b"SSA", b"HP"], object),
        pd.Series([b"HP", b"SSA", b"HP"], index=[7, 8, 9]),
        np.array([["HP"], ["SSA"], ["HP"]]),
        pd.Categorical(["HP", "SSA", "HP"], categories=["SSA", "none", "HP"]),
        pd.Series(["HP", "SSA", "HP"], dtype="category"),
        pd.Series(["HP", "SSA", "HP"], dtype="string[pyarrow]"),
        pd.Index(["HP", "SSA", "HP"]),
        pd.array([0, 1, 0], dtype="Int64"),
        pd.Series([0, 1, 0], dtype="int64[pyarrow]"),
        pd.Series([False, True, False], dtype="boolean"),
        pd.Series([0.0, 1.0, 0.0], dtype="Float64"),
        ["0.0", "1.0", "0.0"],
    ],
)
def test_labels_as_people_have_them(labels):
    names = ["HP", "SSA"]
    assert Predictions(labels, GOOD, class_names=names).labels.tolist() == [0, 1, 0]
    if not isinstance(labels, (list, np.ndarray)):
        labels = labels.to_numpy() if isinstance(labels, pd.DataFrame) else list(labels)
        assert Predictions(labels, GOOD, class_names=names).labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize("dtype", ["Float64", "float[pyarrow]", "double[pyarrow]"])
def test_one_column_of_pandas_in_all_its_forms(dtype):
    series = pd.Series([0.2, 0.7, 0.5], dtype=dtype)
    for given in (series, pd.Index(series), series.array, series.to_frame()):
        found = Predictions([0, 1, 0], given).probabilities[:, 1]
        np.testing.assert_allclose(found, [0.2, 0.7, 0.5], rtol=1e-6)
        assert Predictions([0, 1, 0], GOOD, sample_weight=series).sample_weight.sum() > 1


def test_a_column_may_be_beyond_0_or_1_by_rounding():
    given = Predictions([0, 1, 0], [-1e-9, 1 + 1e-9, 0.5])
    assert given.probabilities.tolist() == [[1, 0], [0, 1], [0.5, 0.5]]


# What is not what it was declared as --------------------------------------------------------------


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_confidence_is_not_taken_for_the_probability_of_the_second_class(shape, dtype):
    full = drawn(60, 2)
    column = full.confidence.astype(dtype).reshape(shape)
    with pytest.raises(InputError, match="may be the confidence") as caught:
        Predictions(full.labels, column, class_names=["HP", "SSA"])
    for said in ("predicted=..., confidence=...", "if it is the probability of 'SSA', give np.st"):
        assert said in str(caught.value)
    # Both ways out are open.
    ravelled = column.ravel()
    taken = Predictions(full.labels, predicted=full.predicted, confidence=ravelled)
    assert metrics.accuracy(taken) == metrics.accuracy(full)
    both = np.stack([1 - ravelled, ravelled], axis=1)
    np.testing.assert_array_equal(Predictions(full.labels, both).scores, both)


def test_probabilities_of_the_second_class_are_taken():
    """At any skill and prevalence some case is below 1/2, or few are of the first class."""
    rng = np.random.default_rng(0)
    for prevalence in (0.02, 0.2, 0.5, 0.8, 0.95):
        for skill in (0.5, 1.0, 3.0):
            labels = (rng.random(300) < prevalence).astype(int)
            odds = np.log(prevalence / (1 - prevalence)) + skill * rng.normal(2 * labels - 1)
            Predictions(labels, 1 / (1 + np.exp(-odds)))
    Predictions([0, 1] * 4, [0.6, 0.9] * 4)  # too few to tell
    Predictions([1] * 30, [0.6, 0.9] * 15)
    Predictions([1] * 28 + [0] * 2, [0.6, 0.9] * 15)
    with pytest.raises(InputError, match="3 of 30 cases are '0'"):
        Predictions([1] * 27 + [0] * 3, [0.6, 0.9] * 15)
    # A column of predicted classes beside it is a sign whatever the labels.
    beside = Rows("p.csv", unused=("site", "y_pred"))
    with pytest.raises(InputError, match=r"p\.csv: .*with --predicted y_pred --confidence COLUMN"):
        Predictions([1] * 28 + [0] * 2, [0.6, 0.9] * 15, rows=beside)


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_sigmoids_are_neither_probabilities_nor_logits(classes):
    rng = np.random.default_rng(classes)
    sigmoids = 1 / (1 + np.exp(-3 * rng.normal(size=(40, classes))))
    labels = rng.integers(classes, size=40)
    for given in ({"probabilities": sigmoids}, {"logits": sigmoids}):
        with pytest.raises(InputError, match="sigmoids, one for each class") as caught:
            Predictions(labels, **given)
        assert "declare them as logits" not in str(caught.value)
        assert "divide rows by their sums" in str(caught.value)
    Predictions(labels, sigmoids / sigmoids.sum(axis=1, keepdims=True))
    Predictions(labels, logits=np.log(sigmoids / (1 - sigmoids)))
    Predictions(labels[:9], logits=sigmoids[:9])  # too few to tell
    Predictions(labels, logits=sigmoids / 10)  # a network that was hardly trained


# What is told -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "scores", "remedy"),
    [
        (GOOD, [0, 1, 0], "exchange the two"),
        (GOOD, ["a", "b", "a"], "exchange the two"),
        ([0.2, 0.7, 0.4], [0, 1, 0], "exchange the two"),
        ([[0.9, 0.1], [0, 1], [1, 0]], GOOD, "values.argmax(axis=1)"),
        ([[1, 1], [0, 1], [1, 0]], GOOD, "rows of zeros and a single one"),
        ([[3, 4], [0, 7], [7, 0]], GOOD, "of shares or votes give votes=..."),
        (np.ma.masked_equal([0, 1, 0], 1), GOOD, "labels: expected a value in every row"),
        ([b"\xff", b"b", b"b"], GOOD, "labels: expected text in UTF-8"),
        (pd.DataFrame({"1": [0, 1, 0], "0": [1, 0, 1]}), GOOD, "labels: expected the columns in"),
        ([0, 1, 0], pd.DataFrame(GOOD, columns=[1, 0]), "exchange them, as with frame[class_na"),
        (["a", "b", "a"], GOOD, "class_names=[...]"),
        ([1, 2, 1], GOOD, "class_names=[...]"),  # as of MATLAB and R
        ([-1, 1, -1], GOOD, "class_names=[...]"),  # as of support vector machines
        ([0, 1, 0], [[80, 20], [30, 70], [50, 50]], "divide percentages by 100"),
        ([0, 1, 0], [[80.1, 19.8], [30, 70], [50, 50]], "divide percentages by 100"),
        ([0, 1, 0], [[3.0, -1.0], [0.2, 0.8], [0.5, 0.5]], "declare them as logits"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(labels, scores, remedy):
    for made in (Predictions, metrics.accuracy, lsp.plots.reliability_diagram):
        with pytest.raises(InputError) as caught:
            made(labels, scores)
        assert remedy in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mark", [-1, -100, 255, -1.0, "-1"])
@pytest.mark.parametrize("names", [None, ["cat", "dog"]])
def test_a_mark_of_no_label_is_told_how_to_be_left_out(mark, names):
    with pytest.raises(InputError, match=r"\(if (-1|-100|255) stands for no label, leave those"):
        Predictions([0, mark, 1], GOOD, class_names=names)


@pytest.mark.parametrize(
    ("shape", "dtype", "remedy"),
    [
        ((2, 4, 4, 3), float, "{0}.reshape(-1, 3)"),
        ((5, 6, 2), np.float32, "each pixel or step is a case, give labels.reshape(-1) and {0}"),
        ((7,), int, "lsp.Predictions(labels, predicted=..., confidence=...)"),
        ((7,), str, "lsp.Predictions(labels, predicted=..., confidence=...)"),
        ((7,), float, {"probabilities": "[1 - p, p]", "logits": "[np.zeros_like(z), z]"}),
        ((7, 1), float, {"probabilities": "[1 - p, p]", "logits": "[np.zeros_like(z), z]"}),
    ],
)
@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_scores_of_another_shape_are_refused_with_the_remedy(shape, dtype, remedy, kind):
    scores = np.full(shape, 0.5).astype(dtype)
    remedy = remedy[kind] if isinstance(remedy, dict) else remedy.format(kind)
    labels = np.zeros(shape[:-1] or 1, int) if len(shape) > 2 else np.zeros(shape[0], int)
    with pytest.raises(InputError, match=f"{kind}: expected shape.*{re.escape(remedy)}"):
        metrics.accuracy(labels, scores, from_logits=kind == "logits")
    if len(shape) > 2:
        with pytest.raises(InputError, match=f"{kind}: expected shape.*{re.escape(remedy)}"):
            Predictions(labels, **{kind: scores})


def test_a_single_column_is_taken_where_it_is_declared_and_else_refused_with_the_remedy():
    column = [0.2, 0.7, 0.5]
    expected = np.stack([1 - np.array(column), column], axis=1)
    for given in (column, np.array(column)[:, np.newaxis]):
        np.testing.assert_array_equal(Predictions([0, 1, 0], given).probabilities, expected)
        with pytest.raises(InputError, match=r"of two classes give np\.column_stack\(\[1 - p, p\]"):
            metrics.accuracy([0, 1, 0], given)
    with pytest.raises(InputError, match="numbers from 0 to 1"):
        Predictions([0, 1, 0], [0.2, 1.7, 0.5])


def test_what_is_not_there_is_told():
    without = Predictions(None, GOOD)
    assert without.predicted.tolist() == [0, 1, 0]
    for needs in (metrics.accuracy, lsp.audit, lsp.plots.confidence_density):
        with pytest.raises(InputError, match="labels: expected predictions with labels"):
            needs(without)
    known = Predictions([0, 1, 0], GOOD)
    with pytest.raises(InputError, match="votes: expected predictions with votes"):
        metrics.annotator_brier_score(known)
    with pytest.raises(InputError, match="posterior: expected predictions with posterior"):
        metrics.true_accuracy(known)


def test_weights_are_checked():
    for bad, message in (
        ([1, 2], "shape"),
        ([1, -1, 1], "at row 1"),
        ([0, 0, 0], "above 0"),
        ([1, np.nan, 1], "at row 1"),
    ):
        with pytest.raises(InputError, match=f"sample_weight: .*{message}"):
            Predictions([0, 1, 0], GOOD, sample_weight=bad)


def test_predictions_stand_alone():
    given = Predictions([0, 1, 0], GOOD)
    with pytest.raises(InputError, match="expected nothing beside Predictions"):
        metrics.accuracy(given, GOOD)
    with pytest.raises(InputError, match="Predictions in the second place"):
        metrics.accuracy([0, 1, 0], given)
    with pytest.raises(InputError, match=r"expected \(labels, probabilities\), or one lsp"):
        metrics.accuracy([0, 1, 0])
    with pytest.raises(InputError, match="one of the two"):
        Predictions([0, 1, 0])
    other = Predictions([1, 1, 0], GOOD)
    with pytest.raises(InputError, match="row 0 is '0' there, '1' here"):
        metrics.paired_bootstrap("accuracy", given, other)
    with pytest.raises(InputError, match="received Predictions beside arrays"):
        metrics.paired_bootstrap("accuracy", given, GOOD, GOOD)


# One form for all ---------------------------------------------------------------------------------


def test_every_function_gives_the_same_for_arrays_and_for_predictions():
    given = drawn(80, 3, votes=np.random.default_rng(1).multinomial(5, [0.2, 0.3, 0.5], 80))
    arrays = given.labels, given.scores
    for name in metrics.__all__:
        function = getattr(metrics, name)
        if name.startswith("annotator_"):
            expected = function(given.votes, given.scores, from_logits=True)
        elif name in ("top_k_error", "risk_at_coverage", "coverage_at_risk"):
            options = {"top_k_error": {"k": 2}, "risk_at_coverage": {"coverage": 0.5}}
            options = options.get(name, {"risk": 0.5})
            expected = function(*arrays, from_logits=True, **options)
            assert function(given, **options) == expected
            continue
        elif name.endswith(("_score", "_error", "accuracy", "auroc", "aurc", "likelihood")):
            if name.startswith("true_"):
                continue
            expected = function(*arrays, from_logits=True)
        else:
            continue
        assert function(given) == expected, name
    assert metrics.evaluate(given) == metrics.evaluate(*arrays, from_logits=True)
    grouped = given.replace(groups=np.arange(80) // 4)
    expected = metrics.bootstrap_interval(
        "brier", *arrays, groups=np.arange(80) // 4, num_resamples=50, from_logits=True
    )
    assert metrics.bootstrap_interval("brier", grouped, num_resamples=50) == expected


def test_an_audit_of_two_models_checks_each_once(monkeypatch):
    """What was valid when it was made is not checked again; nor is what was computed of it."""
    checked = []
    scores = checks.scores

    def watched(kind, given, rows):
        checked.append(given)
        return scores(kind, given, rows)

    monkeypatch.setattr(checks, "scores", watched)
    first, second = drawn(300, 3, seed=1), drawn(300, 3, seed=1)
    lsp.audit(first, second, num_resamples=20, paper=True)
    assert len(checked) == 2


# What follows from it -----------------------------------------------------------------------------


def test_nothing_of_it_can_be_changed():
    given = drawn(5, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        given.scores = given.scores
    for name in ("scores", "labels", "probabilities", "predicted", "confidence", "correct"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(given, name)[0] = 0


def test_what_the_user_gave_is_neither_copied_nor_frozen():
    rows = np.array(GOOD)
    given = Predictions([0, 1, 0], rows)
    assert np.shares_memory(given.probabilities, rows)
    rows[0] = [0.9, 0.1]


def test_derived_values_are_computed_once():
    given = drawn(50, 3)
    for name in ("probabilities", "logits", "predicted", "confidence", "correct", "ranked"):
        assert getattr(given, name) is getattr(given, name)


def test_some_of_the_cases():
    given = drawn(
        6,
        3,
        ids=list("abcdef"),
        groups=["x", "y", "x", "z", "y", "z"],
        subgroups={"site": ["S", "T"] * 3},
        sample_weight=np.arange(6.0),
        posterior=np.full((6, 3), 1 / 3),
    )
    some = given.take([5, 1])
    assert some.ids.tolist() == ["f", "b"]
    assert some.group_names[some.groups].tolist() == ["z", "y"]
    assert some.groups.tolist() == [0, 1]
    assert list(some.subgroups["site"]) == ["T", "T"]
    assert some.sample_weight.tolist() == [5, 1]
    np.testing.assert_array_equal(some.scores, given.scores[[5, 1]])
    np.testing.assert_array_equal(some.labels, given.labels[[5, 1]])
    assert given.take(given.groups == 0).ids.tolist() == ["a", "c"]


def test_classes_in_another_order():
    given = drawn(20, 3, class_names=["a", "b", "c"])
    other = given.ordered(["c", "a", "b"])
    assert metrics.evaluate(other) == pytest.approx(metrics.evaluate(given))
    np.testing.assert_array_equal(other.scores[:, 0], given.scores[:, 2])
    with pytest.raises(InputError, match="class_names: expected the classes a, b, c"):
        given.ordered(["a", "b", "d"])


def test_several_together():
    one, two = drawn(10, 3, seed=1), drawn(15, 3, seed=2)
    both = concatenated([one, two])
    assert both.kind == "logits"
    np.testing.assert_array_equal(both.labels, np.concatenate([one.labels, two.labels]))
    mixed = concatenated([one, Predictions(two.labels, two.probabilities)])
    np.testing.assert_array_equal(mixed.probabilities, both.probabilities)


def test_calibrators_take_it_and_give_it():
    given = drawn(200, 3, ids=np.arange(200))
    fitted = TemperatureScaling().fit(given)
    assert fitted.same_as(TemperatureScaling().fit(given.scores, given.labels))
    calibrated = fitted.calibrate(given)
    np.testing.assert_array_equal(calibrated.probabilities, fitted.predict_proba(given.scores))
    assert calibrated.ids is given.ids
    with pytest.raises(InputError, match="labels: expected none beside Predictions"):
        TemperatureScaling().fit(given, given.labels)


def test_messages_call_classes_by_their_names():
    given = drawn(90, 3, class_names=["HP", "SSA", "TA"])
    without = given.take(given.labels != 1)
    with pytest.warns(UserWarning, match="auroc is NaN: no sample of class SSA"):
        metrics.auroc(without)
    with pytest.raises(InputError, match="received none of class SSA; Temperature"):
        PlattScaling().fit(without)


# Rankings -----------------------------------------------------------------------------------------


def exact_log_odds(logits: np.ndarray) -> np.ndarray:
    """With a hundred digits."""
    getcontext().prec = 100
    rows = []
    for row in logits.tolist():
        powers = [Decimal(z).exp() for z in row]
        rows.append([p / (sum(powers) - p) for p in powers])
    return np.array(rows, dtype=object)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_logits_rank_by_their_log_odds(classes, scale):
    """Also where the softmax of many is 1."""
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(60, classes)) * scale
    given = Predictions(np.arange(60) % classes, logits=logits)
    odds = exact_log_odds(logits)
    for k, ranking in given.rankings():
        np.testing.assert_array_equal(rankdata(ranking), rankdata(odds[:, k]))
    areas = [roc_auc_score(given.labels == k, rankdata(odds[:, k])) for k in range(classes)]
    assert metrics.auroc(given) == pytest.approx(np.mean(areas), abs=1e-12)


def test_saturated_logits_have_an_order():
    logits = [[0, 60.2], [0, 61], [0, 60.4], [0, 62.5]]
    assert metrics.auroc([0, 1, 0, 1], logits, from_logits=True) == 1.0
    interval = metrics.bootstrap_interval("auroc", [0, 1, 0, 1] * 5, logits * 5, from_logits=True)
    assert interval.value == interval.high == 1.0
    assert 0.5 < interval.low < 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_ranking_serves_both_of_two_classes(dtype):
    """1 - p rounds to 1 at one end, and p at the other: the smaller of the two ranks."""
    small = np.array([1e-12, 2e-12, 3e-12, 4e-12, 0.3], dtype)
    labels = [0, 0, 1, 1, 1]
    low = Predictions(labels, np.stack([1 - small, small], axis=1))
    high = Predictions(1 - np.array(labels), np.stack([small, 1 - small], axis=1))
    assert metrics.auroc(low) == metrics.auroc(high) == 1.0
    assert metrics.auroc(Predictions(labels, small)) == 1.0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_ranking_of_two_classes_is_that_of_scikit_learn(dtype):
    rng = np.random.default_rng(0)
    second = rng.integers(0, 33, 400) / 32  # exact in every dtype, with ties, 0, 1/2 and 1
    rows = np.stack([1 - second, second], axis=1).astype(dtype)
    labels = rng.integers(0, 2, 400)
    expected = roc_auc_score(labels, second)
    assert metrics.auroc(labels, rows) == pytest.approx(expected, abs=1e-12)


def test_as_predictions_gives_what_it_was_given():
    given = drawn(5, 2)
    assert as_predictions(given) is given


# --- the same cases -------------------------------------------------------------------------------

ROWS = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
SAME = {"class_names": ["HP", "SSA"], "ids": ["a", "b", "c"]}


def compared(first: Predictions, second: Predictions) -> list[Any]:
    return [
        metrics.paired_bootstrap("brier", first, second),
        metrics.permutation_test("brier", first, second),
        metrics.compare_methods({"one": [first], "other": [second]})["difference"][0],
    ]


@pytest.mark.parametrize(
    ("labels", "rows", "changes", "message"),
    [
        (
            [0, 1],
            ROWS[:2],
            {"ids": ["a", "b"]},
            "the 3 cases of .*, received 2",
        ),
        ([0, 1, 0], ROWS, {"class_names": ["HP", "TA"]}, "classes of .*, HP, SSA; received HP, TA"),
        ([0, 1, 0], ROWS, {"ids": ["a", "b", "d"]}, "cases of .*, received none with the id 'c'"),
        ([0, 1, 1], ROWS, {}, "others for 1 of 3 cases: id 'c' is 'HP' there, 'SSA' here"),
    ],
)
def test_what_is_compared_is_of_the_same_cases(labels, rows, changes, message):
    """Also where labels agree by chance: ids and names of classes decide, where both have them."""
    first = Predictions([0, 1, 0], ROWS, **SAME)
    with pytest.raises(InputError, match=message):
        compared(first, Predictions(labels, rows, **SAME | changes))


@pytest.mark.filterwarnings("ignore:.*resampl")
def test_cases_and_classes_in_another_order_are_put_in_order():
    first = Predictions([0, 1, 0], ROWS, **SAME)
    second = Predictions([0, 1, 0], [[0.8, 0.2], [0.3, 0.7], [0.9, 0.1]], **SAME)
    turned = second.take([2, 0, 1]).ordered(["SSA", "HP"])
    assert turned.ids.tolist() == ["c", "a", "b"]
    assert compared(first, turned) == compared(first, second)


def test_of_cases_without_ids_or_names_the_labels_decide():
    first, second = Predictions([0, 1, 0], ROWS, **SAME), Predictions([0, 1, 0], ROWS)
    with pytest.warns(UserWarning, match="all resamples give 0"):
        assert metrics.paired_bootstrap("brier", first, second).difference.value == 0
