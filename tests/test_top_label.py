"""Predictions of which the predicted class and its confidence alone are known."""

from __future__ import annotations

import functools
import json
import re

import numpy as np
import pandas as pd
import pytest

import lsplus_tf as lsp
from lsplus_tf import auditing, metrics
from lsplus_tf.auditing.output import as_document
from lsplus_tf.calibrators import TemperatureScaling
from lsplus_tf.errors import InputError
from lsplus_tf.metrics import METRICS
from lsplus_tf.predictions import Columns, Predictions, concatenated
from lsplus_tf.predictions.predictions import of_one_kind

NAMES = ("HP", "SSA", "TA")
OF_ALL = "probabilities: expected those of all classes"
NEED_ALL = {key for key, each in METRICS.items() if each.evaluated and each.needs == "all"}
assert {"auroc", "sce", "nll", "brier", "top5_error"} <= NEED_ALL
QUICK = ("--resamples", "200")


def full(samples=400, classes=3, seed=0, dtype=np.float64, decimals=None, **more) -> Predictions:
    """An overconfident softmax, and the labels that a milder one would have drawn."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(samples, classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    rows = metrics.softmax(2 * logits).astype(dtype)
    if decimals is not None:
        rows = rows.round(decimals)
    return Predictions(labels, rows, **more)


def common_table(predictions: Predictions) -> pd.DataFrame:
    """As many people have it."""
    names = np.array(predictions.class_names)
    return pd.DataFrame(
        {
            "filename": [f"{k}.png" for k in range(len(predictions))],
            "true_label": names[predictions.labels],
            "predicted_label": names[predictions.predicted],
            "confidence": predictions.confidence,
        }
    )


COMMON = ("--label", "true_label", "--predicted", "predicted_label", "--confidence", "confidence")
KINDS = {
    "two classes": lambda: full(classes=2),
    "nine classes, float32": lambda: full(classes=9, dtype=np.float32),
    "16 bits": lambda: full(dtype=np.float16),
    "rounded, with ties": lambda: full(decimals=1, samples=300, classes=2),
    "groups": lambda: full(groups=np.arange(400) // 4),
}


# Values -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*resampl", "ignore:auroc")
@pytest.mark.parametrize("key", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_metric_is_that_of_all_probabilities_or_says_that_it_needs_them(key, kind):
    """What a record says that the metric needs is what it needs: value, interval and test."""
    whole = KINDS[kind]()
    top, record = whole.top_label(), METRICS[key]
    assert record.is_known_of(whole)
    asked = (
        lambda p: record.value(p, "standard"),
        lambda p: metrics.bootstrap_interval(key, p, num_resamples=20),
        lambda p: metrics.paired_bootstrap(key, p, p, num_resamples=20),
        lambda p: metrics.permutation_test(key, p, p, num_permutations=20),
    )
    for ask in asked:
        if record.is_known_of(top):
            assert ask(top) == ask(whole)
        else:
            with pytest.raises(InputError, match=OF_ALL):
                ask(top)


def test_every_public_function_gives_the_same_or_says_what_it_needs():
    whole = full(samples=80)
    options = {"top_k_error": {"k": 2}, "risk_at_coverage": {"coverage": 0.5}}
    options["coverage_at_risk"] = {"risk": 0.1}
    options["decision_curve"] = options["calibration_curve"] = {"positive": 1}
    given = set()
    need_all = {
        *(record.function for record in METRICS.values() if record.needs == "all"),
        *("classwise_adaptive_calibration_error", "kde_calibration_error"),
        *("decision_curve", "calibration_curve"),
    }
    # As they are defined; a wrong record would show in the loop below.
    assert need_all >= {"auroc", "top_k_error", "negative_log_likelihood", "brier_score"}
    for name in metrics.__all__:
        function = getattr(metrics, name)
        wanted = ("_error", "_score", "accuracy", "auroc", "aurc", "augrc", "likelihood", "_curve")
        named = name in ("precision", "recall", "f1", "mean_confidence", "retention_auc")
        if not (named or name in options or name.endswith(wanted)):
            continue
        if name.startswith(("annotator_", "true_")):
            continue
        call = functools.partial(function, **options.get(name, {}))
        if name in need_all:
            with pytest.raises(InputError, match=OF_ALL):
                call(whole.top_label())
        else:
            np.testing.assert_array_equal(call(whole.top_label()), call(whole))
            given.add(name)
    assert len(given) >= 18


def test_values_against_plain_loops():
    confidence = np.array([0.9, 0.55, 0.8, 0.7, 0.95, 0.6, 1.0, 0.5])
    true = np.array(list("aabbacab"))
    predicted = np.array(list("abbbacca"))
    top = Predictions(true, predicted=predicted, confidence=confidence)
    assert top.class_names == ("a", "b", "c")
    correct = true == predicted
    error = 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            error += abs(confidence[inside].sum() - correct[inside].sum()) / 8
    assert metrics.expected_calibration_error(top) == pytest.approx(error, abs=1e-12)
    assert metrics.accuracy(top) == correct.mean()
    assert metrics.mean_confidence(top) == pytest.approx(confidence.mean())
    order = np.argsort(-confidence)
    risks = [1 - correct[order[:n]].mean() for n in range(1, 9)]
    assert metrics.aurc(top) == pytest.approx(np.mean(risks))
    assert metrics.recall(top) == pytest.approx(np.mean([2 / 4, 2 / 3, 1.0]))
    assert metrics.precision(top) == pytest.approx(np.mean([2 / 3, 2 / 3, 1 / 2]))


def test_evaluate_leaves_out_what_is_not_known():
    whole = full()
    found, expected = lsp.evaluate(whole.top_label()), lsp.evaluate(whole)
    assert set(expected) - set(found) == NEED_ALL
    assert found == {key: expected[key] for key in found}
    with pytest.raises(InputError, match=OF_ALL):
        lsp.evaluate(whole.top_label(), convention="released_code")


def test_plots_of_the_confidence_are_the_same():
    whole = full()
    heights = [
        [bar.get_height() for bar in lsp.plots.reliability_diagram(each).patches]
        for each in (whole, whole.top_label())
    ]
    assert heights[0] == heights[1]
    lsp.plots.confidence_density(whole.top_label(), recipe="plain")
    lsp.plots.risk_coverage_curves({"model": whole.top_label()})
    with pytest.raises(InputError, match=OF_ALL):
        lsp.plots.classwise_reliability(whole.top_label())


# What is taken ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "predicted", "more", "names", "found"),
    [
        (["b", "a", "b"], ["c", "a", "b"], {}, ("a", "b", "c"), [1, 0, 1]),
        ([10, 9, 2], [2, 9, 10], {}, ("2", "9", "10"), [2, 1, 0]),
        (["10", "9", "2"], [2, 9, 10], {}, ("2", "9", "10"), [2, 1, 0]),
        (["1.0", "0.0", "1.0"], ["1", "0", "0"], {}, ("0", "1"), [1, 0, 1]),
        ([-1, 1, 1], [1, 1, -1], {}, ("-1", "1"), [0, 1, 1]),
        ([1, 0, 1], ["SSA", "HP", "HP"], {"class_names": ["HP", "SSA"]}, ("HP", "SSA"), [1, 0, 1]),
        (["a", "b", "b"], ["a", "a", "b"], {"class_names": "cba"}, ("c", "b", "a"), [2, 1, 1]),
        ([[0], [1], [1]], [[1], [1], [1]], {}, ("0", "1"), [0, 1, 1]),
        ([b"HP", b"TA", b"TA"], ["TA", "HP", "TA"], {}, ("HP", "TA"), [0, 1, 1]),
        (None, ["a", "b", "b"], {}, ("a", "b"), None),
    ],
)
def test_classes_are_those_that_occur_or_those_that_are_named(
    labels, predicted, more, names, found
):
    given = Predictions(labels, predicted=predicted, confidence=[0.6, 0.9, 1.0], **more)
    assert given.class_names == names
    assert found is None or given.labels.tolist() == found
    expected = [str(np.ravel(each)[0]) for each in predicted]
    assert [names[k] for k in given.predicted] == expected


@pytest.mark.parametrize(
    "confidence",
    [
        pd.Series([0.6, 0.9, 1.0], dtype="double[pyarrow]"),
        np.array([[0.6], [0.9], [1.0]], ">f4"),
        [0.6, 0.9, 1 + 1e-9],
        [0.5 - 1e-9, 1, True],
    ],
)
def test_confidences_as_people_have_them(confidence):
    given = Predictions([0, 1, 1], predicted=[0, 1, 0], confidence=confidence)
    assert given.confidence.max() <= 1
    assert given.confidence.dtype.isnative


def test_a_third_may_be_rounded():
    labels, predicted = ["a", "b", "c"], ["a", "b", "c"]
    for third in (0.33, 0.333, 0.3):
        Predictions(labels, predicted=predicted, confidence=[third, 0.5, 0.9])
    with pytest.raises(InputError, match=r"received 0\.329 at row 0"):
        Predictions(labels, predicted=predicted, confidence=[0.329, 0.5, 0.9])


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"predicted": [0, 1, 0]}, "both; received predicted"),
        ({"confidence": [0.9, 0.8, 0.7]}, "both; received confidence"),
        (
            {"predicted": [0, 1, 0], "confidence": [0.9] * 3, "probabilities": [[0.5, 0.5]] * 3},
            "one of the two, or else predicted and confidence, both; received probabilities, pred",
        ),
        ({}, "received none of them"),
        ({"predicted": [0, 1, 0], "confidence": [90, 80, 70]}, "divide percentages by 100"),
        ({"predicted": [0, 1, 0], "confidence": [0.9, 8.0, -7]}, "from 0 to 1.*8.0 at rows 1 and"),
        ({"predicted": [0, 1, 0], "confidence": [0.9, np.nan, 0.7]}, "finite number.*row 1"),
        ({"predicted": [0, 1, 0], "confidence": [0.9, 0.4, 0.2]}, "at least 1/2.*rows 1 and 2"),
        ({"predicted": [0, 1, 0], "confidence": [0.9, 0.4, 0.2]}, "whatever is predicted, as prob"),
        (
            {"predicted": [0, 2, 0], "confidence": [0.9, 0.9, 0.2], "class_names": "abc"},
            "more classes, name all with",
        ),
        ({"predicted": [0, 1, 0], "confidence": [0.9, 0.8]}, r"expected shape \(2,\), one value"),
        ({"predicted": [0, 1], "confidence": [0.9, 0.8, 0.7]}, r"predicted: expected shape \(3,\)"),
        ({"predicted": [0, 1, 0], "confidence": [[0.9, 0.1]] * 3}, r"confidence: .*shape \(N,\)"),
        ({"predicted": ["a", "b", "a"], "confidence": [0.9] * 3}, "'a' beside '0'; .*class_names="),
        ({"predicted": [0, None, 1], "confidence": [0.9] * 3}, "predicted: expected a value"),
        (
            {"predicted": [0, 3, 1], "confidence": [0.9] * 3, "class_names": "ab"},
            "predicted: expected one of the classes 'a', 'b', or 0..1, received 3 at row 1",
        ),
        (
            {"predicted": [0, 1, 0], "confidence": [0.9] * 3, "votes": [[1, 2]] * 3},
            "votes: expected probabilities or logits of all classes beside it",
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(given, message):
    with pytest.raises(InputError, match=message) as caught:
        Predictions([0, 1, 0], **given)
    assert "\n" not in str(caught.value)


def test_one_class_alone_is_no_set_of_classes():
    with pytest.raises(InputError, match=r"received 'a' alone; name all classes with class_names="):
        Predictions(["a", "a"], predicted=["a", "a"], confidence=[0.9, 0.8])


@pytest.mark.parametrize(
    "ask",
    [
        lambda p: p.scores,
        lambda p: p.probabilities,
        lambda p: p.logits,
        lambda p: p.true_probability,
        lambda p: p.need("probabilities"),
        lambda p: list(p.columns()),
        lambda p: list(p.rankings()),
        lambda p: TemperatureScaling().fit(p),
        metrics.spiegelhalter_test,
        metrics.brier_decomposition,
        lambda p: lsp.audit(p, num_resamples=20, paper=True),
    ],
)
def test_what_needs_more_says_so(ask):
    with pytest.raises(InputError, match=OF_ALL) as caught:
        ask(full().top_label())
    assert "\n" not in str(caught.value)


# What is done with it -----------------------------------------------------------------------------


def test_some_of_them_and_several_together():
    whole = full(class_names=NAMES, ids=np.arange(400))
    top = whole.top_label()
    assert (len(top), top.kind) == (400, "confidence")
    some = top.take([5, 3])
    assert some.ids.tolist() == ["5", "3"]
    np.testing.assert_array_equal(some.predicted, whole.predicted[[5, 3]])
    for parts in ([top, top], [top, whole], [whole, top]):
        both = concatenated(parts)
        assert both.kind == "confidence"
        np.testing.assert_array_equal(both.confidence, np.tile(whole.confidence, 2))
        assert metrics.accuracy(both) == metrics.accuracy(whole)
    again = top.replace(probabilities=whole.probabilities)
    assert metrics.brier_score(again) == metrics.brier_score(whole)
    assert top.replace(labels=["HP"] * 400).labels.tolist() == [0] * 400
    with pytest.raises(ValueError, match="read-only"):
        top.predicted[0] = 1


def test_classes_in_another_order_and_more_of_them():
    top = full(class_names=NAMES).top_label()
    other = top.ordered(["TA", "none", "HP", "SSA"])
    assert lsp.evaluate(other) == pytest.approx(lsp.evaluate(top))
    for classes in (top, other):
        found = np.array(classes.class_names)[classes.predicted]
        np.testing.assert_array_equal(found, np.array(NAMES)[top.predicted])
    for wrong in (["TA", "HP"], ["TA", "HP", "SSA", "SSA"], ["TA", "HP", "none"]):
        with pytest.raises(InputError, match="class_names: expected the classes HP, SSA, TA"):
            top.ordered(wrong)


def test_a_full_one_and_one_without_a_class_are_compared_on_what_both_have():
    whole = full(samples=120, classes=4, class_names=[*NAMES, "none"])
    whole = whole.take((whole.labels < 3) & (whole.predicted < 3) & (whole.confidence > 1 / 3))
    table = common_table(whole)
    top = Predictions(
        table["true_label"], predicted=table["predicted_label"], confidence=table["confidence"]
    )
    assert top.class_names == NAMES
    for first, second in ((whole, top), (top, whole)):
        assert [each.class_names for each in of_one_kind(first, second)] == [(*NAMES, "none")] * 2
        found = lsp.audit(first, second, num_resamples=20).comparison.table
        assert found["metric"].tolist() == ["accuracy", "ece", "retention_auc"]
        assert (found["difference"] == 0).all()
    methods = {"one": [whole], "other": [whole.top_label()]}
    compared = metrics.compare_methods(methods, metrics=["accuracy", "ece"])
    assert (compared["difference"].abs() < 1e-12).all()


# The audit ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audits():
    whole = full(800, class_names=NAMES, subgroups={"site": ["York", "Leeds"] * 400})
    return [lsp.audit(each, num_resamples=50) for each in (whole, whole.top_label())]


def test_an_audit_measures_the_same_without_what_it_cannot_know(audits):
    whole, top = audits
    assert set(whole.metrics.index) - set(top.metrics.index) == NEED_ALL
    pd.testing.assert_frame_equal(top.metrics, whole.metrics.loc[top.metrics.index])
    pd.testing.assert_frame_equal(top.parts, whole.parts)
    pd.testing.assert_frame_equal(top.automatic.steps, whole.automatic.steps)
    assert (top.chance, top.gap, top.calibrators) == (whole.chance, whole.gap, None)
    kept = [f for f in auditing.verdict(whole) if f.topic not in ("calibrator", "sets")]
    assert auditing.verdict(top) == kept


def test_what_is_left_out_is_said_once(audits):
    (note,) = audits[1].notes
    for missing in ("AUROC", "SCE", "Negative log-likelihood", "Brier score", "calibrators"):
        assert missing in note
    assert "They need the probabilities of all classes" in note
    document = as_document(audits[1])
    text = json.dumps({k: v for k, v in document.items() if k != "notes"})
    assert not re.search("nll|brier|auroc|sce", text)
    assert document["settings"]["given as"] == "predicted class and confidence"
    page = auditing.audit_page(audits[1])
    titles = [section.title for section in page.sections]
    assert "Calibrators" not in titles
    assert "Confidence and accuracy" in titles
    others = str(page.sections[1:])
    assert not re.search(r"SCE|Brier|log-likelihood|AUROC|Class by class", others)


def test_a_condition_on_what_is_not_known_is_an_error(audits):
    condition = auditing.parse_condition("brier>0.2")
    assert condition.value(audits[0]) > 0
    with pytest.raises(InputError, match=r"--fail-if: brier needs .*; give --probabilities .* ece"):
        condition.holds(audits[1])


# Files --------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    whole = full(200, class_names=NAMES)
    table = common_table(whole)
    table.to_csv(tmp_path / "common.csv", index=False)
    table.to_parquet(tmp_path / "common.parquet")
    usual = {"true_label": "label", "predicted_label": "predicted", "filename": "id"}
    table.rename(columns=usual).to_csv(tmp_path / "usual.csv", index=False)
    np.savez(
        tmp_path / "usual.npz",
        labels=table["true_label"].to_numpy("S"),
        predicted=table["predicted_label"].to_numpy("U"),
        confidence=table["confidence"],
    )
    return tmp_path


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("name", ["common.csv", "common.parquet", "usual.csv", "usual.npz"])
def test_files_are_read(files, name, declared):
    columns = Columns(label="true_label", predicted="predicted_label", confidence="confidence")
    if "usual" in name:
        columns = Columns(predicted="predicted", confidence="confidence")
    read = lsp.read_predictions(files / name, columns if declared else None)
    whole = full(200, class_names=NAMES)
    assert (read.kind, read.class_names) == ("confidence", NAMES)
    np.testing.assert_array_equal(read.labels, whole.labels)
    np.testing.assert_array_equal(read.predicted, whole.predicted)
    np.testing.assert_allclose(read.confidence, whole.confidence, rtol=1e-15)


def test_the_classes_are_those_of_the_whole_file(files):
    path = files / "split.csv"
    rows = ["test,a,a,0.8", "test,a,b,0.9", "train,c,b,0.4", "test,b,b,0.35"]
    path.write_text("split,label,predicted,confidence\n" + "\n".join(rows) + "\n")
    read = lsp.read_predictions(path, Columns(take_split="test"))
    assert read.class_names == ("a", "b", "c")
    assert len(read) == 3


def test_probabilities_of_all_classes_come_first(files):
    path = files / "both.csv"
    path.write_text("label,predicted,confidence,probability_a,probability_b\na,a,0.8,0.8,0.2\n")
    assert lsp.read_predictions(path).kind == "probabilities"
    columns = Columns(predicted="predicted", confidence="confidence", class_names=["a", "b"])
    assert lsp.read_predictions(path, columns).kind == "confidence"


def test_the_command_audits_it(call, files):
    path = files / "common.csv"
    code, stdout, stderr = call("audit", path, *COMMON, *QUICK, "--out", files / "out", columns=80)
    assert (code, stderr) == (0, "")
    assert "Overconfident: mean confidence is" in stdout
    assert "Not measured: AUROC" in stdout
    assert {path.name for path in (files / "out").iterdir()} == {
        *("audit.html", "audit.json", "metrics.csv", "classes.csv", "confusion.csv"),
        *("parts.csv", "automatic.csv"),
    }
    condition = ("--fail-if", "brier>0.2")
    code, stdout, stderr = call("audit", path, *COMMON, *QUICK, *condition)
    assert (code, stdout) == (2, "")
    assert stderr.startswith("error: --fail-if: brier needs the probabilities of all classes")
    assert stderr.count("\n") == 1
    code, _, _ = call("audit", path, *COMMON, *QUICK, "--fail-if", "accuracy<1")
    assert code == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (COMMON[:4], "error: --confidence: expected beside --predicted, received --predicted al"),
        ((*COMMON[:2], *COMMON[4:]), "error: --predicted: expected beside --confidence"),
        ((*COMMON, "--probabilities", "confidence"), "--predicted: expected the predicted class"),
        (("--take-split", "test"), "expected a column of splits"),
        ((*COMMON, "--normalize"), "expected a column of probabilities for each class"),
        ((*COMMON[:4], "--confidence", "sure"), "--confidence: expected 'sure', found"),
        ((*COMMON, "--votes", "votes_*"), "votes: expected columns 'votes_*'"),
        ((*COMMON, "--paper"), OF_ALL),
        (("--label", "true_label", "--probabilities", "confidence"), "or --predicted and --con"),
    ],
)
def test_wrong_options_are_one_line(call, files, options, message):
    code, stdout, stderr = call("audit", files / "common.csv", *options, *QUICK)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert message in stderr


def test_columns_of_other_names_are_suggested(call, files):
    table = common_table(full(60)).rename(columns={"predicted_label": "the prediction"})
    table.rename(columns={"confidence": "max_prob"}).to_csv(files / "p.csv", index=False)
    code, _, stderr = call("audit", files / "p.csv", *QUICK)
    assert code == 2
    assert "alone with --predicted 'the prediction' --confidence max_prob" in stderr


def test_a_confidence_below_its_least_is_named_with_its_line(call, files):
    path = files / "p.csv"
    path.write_text("label,predicted,confidence\na,a,0.9\nb,a,0.2\n")
    code, _, stderr = call("audit", path, *QUICK)
    assert code == 2
    assert f"error: {path}: confidence: expected at least 1/2" in stderr
    assert "received 0.2 at line 3" in stderr
    assert "--probabilities" in stderr


def test_calibrators_need_more(call, files):
    code, _, stderr = call("calibrate", files / "usual.csv", "--out", files / "c.json")
    assert code == 2
    assert OF_ALL in stderr
    assert not (files / "c.json").exists()


def test_a_column_may_be_said_to_be_of_a_class(call, files):
    """What may be the confidence in the predicted class is asked about, with both its meanings."""
    whole = full(300, classes=2)
    names = np.array(["benign", "malignant"])
    table = pd.DataFrame({"y": names[whole.labels], "score": whole.probabilities[:, 1]})
    table["pred"], table["sure"] = names[whole.predicted], whole.confidence
    table.to_csv(files / "named.csv", index=False)
    table["y"] = whole.labels
    table.to_csv(files / "numbered.csv", index=False)

    def accuracy(name, **columns):
        return metrics.accuracy(lsp.read_predictions(files / name, Columns(label="y", **columns)))

    assert accuracy("named.csv", probabilities="malignant=score") == metrics.accuracy(whole)
    assert accuracy("numbered.csv", probabilities="score") == metrics.accuracy(whole)
    assert accuracy("named.csv", predicted="pred", confidence="sure") == metrics.accuracy(whole)
    # On insisting, it is the probability of this class for all cases.
    assert accuracy("named.csv", probabilities="malignant=sure") == whole.labels.mean()
    for name, options in (
        ("numbered.csv", ()),
        ("named.csv", ("--class-names", "benign,malignant")),
    ):
        declared = ("--label", "y", "--probabilities", "sure", *options)
        code, _, stderr = call("audit", files / name, *declared)
        assert (code, stderr.count("\n")) == (2, 1)
        assert "the confidence in the predicted class" in stderr
        assert re.search(r"--predicted \w+ --confidence", stderr)
        assert re.search(r"if it is the probability of '\w+', .*--probabilities '\w+=\w+'", stderr)
    arrays = {"labels": whole.labels, "p": whole.confidence}
    np.savez(files / "p.npz", **arrays)
    code, _, stderr = call("audit", files / "p.npz", "--probabilities", "p")
    assert code == 2
    assert "with --probabilities '1=COLUMN'" in stderr
    code, _, _ = call("audit", files / "p.npz", "--probabilities", "1=p", *QUICK)
    assert code == 0
    table.assign(sure=100 * table["sure"]).to_csv(files / "percent.csv")
    with pytest.raises(InputError, match="from 0 to 1"):
        accuracy("percent.csv", probabilities="malignant=sure")


@pytest.mark.parametrize("columns", [80, 200])
def test_names_of_classes_are_whole_at_any_width(call, files, columns):
    names = ["actinic_keratosis", "benign_keratosis_like", "wide \u5e73\u5e73"]
    whole = full(200, class_names=names)
    common_table(whole).assign(hospital=["Leeds General", ":brain:"] * 100).to_csv(
        files / "long.csv", index=False
    )
    options = (*COMMON, "--subgroup", "hospital", *QUICK)
    code, stdout, _ = call("audit", files / "long.csv", *options, columns=columns)
    assert code == 0
    table = stdout[stdout.index("Parts of the cases") :]
    for shown in (*names, "hospital: Leeds General", "hospital: :brain:"):
        assert f"\u2502 {shown} " in table
    assert max(map(len, stdout[: stdout.index("note:")].splitlines())) <= columns
    assert ("Confidence \u2503" in table) == (columns == 200)
    assert "p (Holm)" in table


def test_a_true_class_of_probability_0_is_noted():
    rows = [[1.0, 0.0], [0.0, 1.0], [0.4, 0.6]] * 20
    (note,) = lsp.audit(Predictions([0, 0, 1] * 20, rows), num_resamples=20).notes
    assert note.startswith("In 20 of 60 cases the true class has the probability 0")
    assert lsp.audit(Predictions([0, 1, 1] * 20, rows), num_resamples=20).notes == []
