"""The metrics against the authors' values, other libraries' values, and slow restatements."""

import inspect
import json
import warnings

import numpy as np
import pytest
from helpers import GOLDEN, SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax as scipy_softmax
from sklearn import metrics as sk

from lsplus_tf import metrics
from lsplus_tf.errors import InputError

NUMPY_FILES = SHARED / "lsplus-artifacts" / "d2_ablation" / "d2_mhist_ecekde" / "resnet34"
SYNTHETIC = ["k2_n500", "k4_n2139", "k7_n1512", "k4_n500_saturated", "k2_bin_edges"]
METHODS = ["baseline", "ls", "baseline_fl", "baseline_dca", "baseline_mdca", "ours_alpha05"]
AUTHORS_NAME = {
    "accuracy": "Tacc",
    "auroc": "Tauc",
    "precision": "Tprecision",
    "recall": "Trecall",
    "f1": "Tf1",
    "ece": "Tece",
    "ace": "Taece",
    "sce": "Tsce",
    "nll": "Tce",
    "brier": "Tbrierloss",
}


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"no golden values at {GOLDEN}")
    values = json.loads((GOLDEN / "golden_metrics.json").read_text())
    with np.load(GOLDEN / "golden_metrics.npz") as arrays:
        return values, {k: arrays[k] for k in arrays.files if k.endswith(("logits", "labels"))}


def golden_synthetic(golden, name):
    _, arrays = golden
    logits = arrays[f"syn/{name}/logits"]
    # TensorFlow's softmax is within an ulp of both. On the bin edges it is the correctly rounded
    # one; where confidences saturate, only a float32 softmax has the ties.
    if name == "k2_bin_edges":
        probabilities = metrics.softmax(logits).astype(np.float32)
    else:
        probabilities = scipy_softmax(logits, axis=1)
        assert probabilities.dtype == np.float32
    return arrays[f"syn/{name}/labels"], probabilities


def random_predictions(samples, classes, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(samples, classes))
    labels = rng.integers(classes, size=samples)
    logits[np.arange(samples), labels] += 2
    return labels, scipy_softmax(logits, axis=1).astype(dtype)


# Slow restatements -------------------------------------------------------------------------------


def slow_binned_gap(values, hits, edges, *, zero_in_first=True):
    total = 0.0
    last = len(edges) - 2
    for b in range(last + 1):
        members = [
            i
            for i, v in enumerate(values)
            if edges[b] < v <= edges[b + 1]
            or (zero_in_first and ((b == 0 and v <= edges[0]) or (b == last and v > edges[-1])))
        ]
        if members:
            confidence = sum(float(values[i]) for i in members) / len(members)
            accuracy = sum(bool(hits[i]) for i in members) / len(members)
            total += len(members) / len(values) * abs(confidence - accuracy)
    return total


def slow_sce(probabilities, labels, edges, *, zero_in_first=True):
    return np.mean(
        [
            slow_binned_gap(probabilities[:, j], labels == j, edges, zero_in_first=zero_in_first)
            for j in range(probabilities.shape[1])
        ]
    )


def slow_ace(probabilities, labels, num_bins):
    """Equal mass by rank, for confidences that are all different."""
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == labels
    order = sorted(range(len(labels)), key=lambda i: -confidence[i])
    total = 0.0
    for b in range(num_bins):
        low, high = b * len(labels) // num_bins, (b + 1) * len(labels) // num_bins
        part = order[low:high]
        total += abs(sum(confidence[i] - hits[i] for i in part)) / len(labels)
    return total


@pytest.mark.parametrize("num_bins", [1, 7, 15, 20])
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_calibration_errors_equal_loops_over_bins(num_bins, classes, dtype):
    labels, probabilities = random_predictions(211, classes, dtype=dtype)
    edges = [b / num_bins for b in range(num_bins + 1)]
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == labels
    assert metrics.expected_calibration_error(
        labels, probabilities, num_bins=num_bins
    ) == pytest.approx(slow_binned_gap(confidence, hits, edges), abs=1e-12)
    assert metrics.static_calibration_error(
        labels, probabilities, num_bins=num_bins
    ) == pytest.approx(slow_sce(probabilities, labels, edges), abs=1e-12)
    assert metrics.adaptive_calibration_error(
        labels, probabilities, num_bins=num_bins
    ) == pytest.approx(slow_ace(probabilities.astype(float), labels, num_bins), abs=1e-12)


def test_maximum_calibration_error_is_the_largest_bin_gap():
    labels, probabilities = random_predictions(211, 3)
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == labels
    gaps = []
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            gaps.append(abs(confidence[inside].mean() - hits[inside].mean()))
    assert metrics.maximum_calibration_error(labels, probabilities) == pytest.approx(max(gaps))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_a_confidence_on_an_edge_belongs_to_the_bin_that_it_closes(dtype):
    # 0.6 closes the bin (0.5333, 0.6] and 0.61 is in the next: two gaps that do not cancel.
    probabilities = np.array([[0.6, 0.4], [0.61, 0.39]], dtype)
    labels = np.array([0, 1])
    high = np.float64(dtype(0.6)), np.float64(dtype(0.61))
    expected = ((1 - high[0]) + high[1]) / 2
    assert metrics.expected_calibration_error(labels, probabilities) == pytest.approx(expected)
    # In one bin they would have cancelled.
    assert metrics.expected_calibration_error(labels, probabilities, num_bins=3) < expected - 0.2


def test_probabilities_of_exactly_0_and_1_are_in_the_first_and_last_bin():
    probabilities, labels = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1])
    assert metrics.expected_calibration_error(labels, probabilities) == pytest.approx(0.5)
    assert metrics.static_calibration_error(labels, probabilities) == pytest.approx(0.5)
    # The authors' code loses the zeros, and with them class 1 altogether.
    paper = metrics.static_calibration_error(labels, probabilities, convention="released_code")
    assert paper == pytest.approx(0.25)
    # Rounding may leave a little more than 1.
    above = np.array([[1.0000002, 0.0], [1.0000002, 0.0]], np.float32)
    assert metrics.expected_calibration_error(labels, above) == pytest.approx(0.5, abs=1e-6)


def test_equal_mass_bins_share_out_tied_confidences():
    probabilities = np.tile([0.75, 0.25], (4, 1))
    for labels in ([0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1]):
        for num_bins in (1, 2, 3, 15):
            error = metrics.adaptive_calibration_error(labels, probabilities, num_bins=num_bins)
            assert error == pytest.approx(0.25)


def test_paper_ace_loses_the_least_confident_sample():
    probabilities, labels = np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1])
    ace = metrics.adaptive_calibration_error
    assert ace(labels, probabilities, num_bins=1) == pytest.approx(0.25)
    # Only the 0.9 counts, which is 0.1 from its accuracy and half of the samples.
    paper = ace(labels, probabilities, num_bins=1, convention="released_code")
    assert paper == pytest.approx(0.05, abs=1e-7)


# scikit-learn and plain formulas ------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_values_equal_scikit_learn(classes):
    labels, probabilities = random_predictions(300, classes)
    predicted, one_hot = probabilities.argmax(1), np.eye(classes)[labels]
    result = metrics.evaluate(labels, probabilities)
    macro = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "auroc": sk.roc_auc_score(one_hot, probabilities, average="macro"),
        "precision": sk.precision_score(labels, predicted, **macro),
        "recall": sk.recall_score(labels, predicted, **macro),
        "f1": sk.f1_score(labels, predicted, **macro),
        "nll": sk.log_loss(labels, probabilities, labels=range(classes)),
        "brier": np.square(probabilities - one_hot).sum(1).mean(),
        "mean_confidence": probabilities.max(1).mean(),
        "top1_error": 1 - sk.accuracy_score(labels, predicted),
    }
    if classes > 2:
        expected["top5_error"] = (
            1 - sk.top_k_accuracy_score(labels, probabilities, k=5, labels=range(classes))
            if classes > 5
            else 0
        )
    assert {k: result[k] for k in expected} == pytest.approx(expected, abs=1e-12)
    if classes == 2:
        assert result["brier"] == pytest.approx(
            2 * sk.brier_score_loss(labels, probabilities[:, 1])
        )


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_balanced_accuracy_equals_scikit_learn(classes):
    labels, probabilities = random_predictions(100, classes)
    predicted = probabilities.argmax(1)
    expected = sk.balanced_accuracy_score(labels, predicted)
    assert metrics.balanced_accuracy(labels, probabilities) == pytest.approx(expected)
    # A class without samples is left out, predicted or not.
    labels[labels == 1] = 0
    expected = np.mean([np.mean(predicted[labels == j] == j) for j in np.unique(labels)])
    assert metrics.balanced_accuracy(labels, probabilities) == pytest.approx(expected)


def test_auroc_with_ties_equals_scikit_learn():
    labels, probabilities = random_predictions(200, 3)
    coarse = np.round(probabilities[:, :2] * 5) / 5
    probabilities = np.column_stack([coarse, 1 - coarse.sum(1)]).clip(0)
    probabilities /= probabilities.sum(1, keepdims=True)
    expected = sk.roc_auc_score(np.eye(3)[labels], probabilities, average="macro")
    assert metrics.auroc(labels, probabilities) == pytest.approx(expected)


@pytest.mark.parametrize("convention", ["standard", "released_code"])
def test_each_public_function_returns_what_evaluate_says(convention):
    labels, probabilities = random_predictions(100, 6, dtype=np.float32)
    result = metrics.evaluate(labels, probabilities, convention=convention)
    single = {}
    for key in result:
        function = getattr(metrics, metrics.METRICS[key].function)
        options = {"k": int(key[3])} if function is metrics.top_k_error else {}
        if "convention" in inspect.signature(function).parameters:
            options["convention"] = convention
        single[key] = function(labels, probabilities, **options)
    assert result == pytest.approx(single, abs=1e-15)
    assert all(type(value) is float for value in result.values())


def test_perfect_predictions():
    labels = np.array([0, 1, 2, 1])
    result = metrics.evaluate(labels, np.eye(3)[labels])
    result = {name: value for name, value in result.items() if not np.isnan(value)}
    ones = ("accuracy", "auroc", "precision", "recall", "f1", "mean_confidence", "retention_auc")
    assert result == {name: float(name in ones) for name in result}
    # -0.0 would be printed as such.
    assert not any(np.signbit(list(result.values())))


def test_a_tied_maximum_is_the_first_class_or_in_the_paper_wrong():
    probabilities, labels = [[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]], [0, 1, 0]
    assert metrics.accuracy(labels, probabilities) == pytest.approx(2 / 3)
    assert metrics.top_k_error(labels, probabilities, k=1) == pytest.approx(1 / 3)
    assert metrics.accuracy(labels, probabilities, convention="released_code") == pytest.approx(
        1 / 3
    )


def test_top_k_error_is_zero_where_k_is_at_least_the_number_of_classes():
    labels, probabilities = random_predictions(50, 4)
    errors = [metrics.top_k_error(labels, probabilities, k=k) for k in (1, 2, 3, 4, 100)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0
    assert errors[3:] == [0, 0]


def test_negative_log_likelihood_of_zero_is_finite():
    probabilities = [[1.0, 0.0]]
    nll = metrics.negative_log_likelihood
    assert nll([1], probabilities) == pytest.approx(708.396, abs=1e-3)
    assert nll([1], probabilities, convention="released_code") == pytest.approx(16.118, abs=1e-3)
    assert nll([0], probabilities, convention="released_code") == pytest.approx(1.19e-7, rel=0.01)


def test_of_many_missing_classes_three_are_named_and_the_number_is_told():
    labels, probabilities = random_predictions(20, 150)
    labels[:] = 149
    with pytest.warns(UserWarning, match="no sample of class 0, 1, 2 and 146 more$"):
        metrics.auroc(labels, probabilities)


def test_a_missing_class_makes_auroc_nan_and_is_named():
    labels, probabilities = random_predictions(20, 5)
    labels[labels == 3] = 0
    labels[labels == 4] = 0
    with pytest.warns(UserWarning, match="auroc is NaN: no sample of class 3, 4") as caught:
        result = metrics.evaluate(labels, probabilities)
    assert caught[0].filename == __file__
    assert np.isnan(result.pop("auroc"))
    assert np.isfinite(list(result.values())).all()
    with pytest.warns(UserWarning, match="class 3, 4") as caught:
        assert np.isnan(metrics.auroc(labels, probabilities))
    assert caught[0].filename == __file__


def test_paper_sce_stops_at_the_largest_label():
    labels, probabilities = random_predictions(60, 3)
    labels[labels == 2] = 0
    edges = np.arange(16) / 15
    per_class = [slow_binned_gap(probabilities[:, j], labels == j, edges) for j in range(3)]
    sce = metrics.static_calibration_error
    assert sce(labels, probabilities) == pytest.approx(np.mean(per_class))
    paper = sce(labels, probabilities, convention="released_code")
    assert paper == pytest.approx(np.mean(per_class[:2]), abs=1e-6)


def test_one_sample_of_one_class():
    with pytest.warns(UserWarning, match="class 1, 2"):
        result = metrics.evaluate([0], [[0.6, 0.3, 0.1]])
    assert (result["ece"], result["ace"]) == pytest.approx((0.4, 0.4))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_low_precision_probabilities_are_accepted_and_close(dtype):
    labels, probabilities = random_predictions(400, 30)
    exact = metrics.evaluate(labels, probabilities)
    rounded = probabilities.astype(dtype)
    kept = rounded.copy()
    # A confidence that rounding moves over a bin edge may move the errors a little more.
    assert metrics.evaluate(labels, rounded) == pytest.approx(exact, abs=3e-3)
    np.testing.assert_array_equal(rounded, kept)


def test_softmax():
    logits = np.array([[1000, 0, -1000], [-2000, -2000, -2000], [0.1, 0.2, 0.3]], np.float32)
    result = metrics.softmax(logits)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result[0], [1, 0, 0])
    np.testing.assert_allclose(result[1], 1 / 3)
    exponentials = np.exp(logits[2].astype(np.float64))
    np.testing.assert_allclose(result[2], exponentials / exponentials.sum(), rtol=1e-14)
    with pytest.raises(
        InputError, match=r"logits: expected finite numbers, received nan at \(1, 0\)"
    ):
        metrics.softmax([[0.0, 1.0], [np.nan, 1.0]])


# Golden values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYNTHETIC)
def test_paper_convention_equals_the_authors_on_synthetic_predictions(golden, name):
    authors = golden[0]["authors_metrics_synthetic"][name]
    labels, probabilities = golden_synthetic(golden, name)
    result = metrics.evaluate(labels, probabilities, convention="released_code")
    ours = {name: result[name] for name in AUTHORS_NAME}
    # 3e-7 is what the authors' float32 sums leave.
    assert ours == pytest.approx({k: authors[v] for k, v in AUTHORS_NAME.items()}, abs=3e-7)
    for bins in (10, 20):
        options = {"num_bins": bins, "convention": "released_code"}
        assert [
            metrics.expected_calibration_error(labels, probabilities, **options),
            metrics.adaptive_calibration_error(labels, probabilities, **options),
            metrics.static_calibration_error(labels, probabilities, **options),
        ] == pytest.approx([authors[f"{k}_{bins}"] for k in ("ece", "aece", "sce")], abs=3e-7)


@pytest.mark.parametrize("run", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_paper_convention_equals_the_authors_on_published_predictions(golden, run, method):
    values, arrays = golden
    (authors,) = (
        row
        for row in values["authors_metrics_published"]
        if (row["arch"], row["run"], row["method"]) == ("resnet34", run, method)
    )
    probabilities = scipy_softmax(arrays[f"pub/resnet34/run{run}/{method}/logits"], axis=1)
    result = metrics.evaluate(arrays["pub/labels"], probabilities, convention="released_code")
    ours = {name: result[name] for name in AUTHORS_NAME}
    assert ours == pytest.approx({k: authors[v] for k, v in AUTHORS_NAME.items()}, abs=3e-7)


def test_published_probabilities_give_the_published_table_row():
    folder = NUMPY_FILES / "1" / "numpy_files"
    if not folder.exists():
        pytest.skip(f"no published predictions at {folder}")
    probabilities = np.load(folder / "test_probabilities_ours_alpha05.npy")
    labels = np.load(folder / "test_testlabels_ours_alpha05.npy").argmax(1)
    result = metrics.evaluate(labels, probabilities, convention="released_code")
    printed = SHARED / "lsplus-artifacts" / "d2_mhist_code" / "resnet34" / "metrics.csv"
    header, *rows = [line.split(",") for line in printed.read_text().split()]
    row = dict(zip(header, next(r for r in rows if r[1] == "OURS_ALPHA05"), strict=True))
    for ours, theirs in AUTHORS_NAME.items():
        assert f"{result[ours]:.4f}".rstrip("0") == row[theirs].rstrip("0"), ours


def test_libraries_that_leave_out_zeros_or_flush_them(golden):
    """The saturated set's values that tests/test_calibration_errors.py leaves out."""
    name = "k4_n500_saturated"
    theirs = golden[0]["other_packages"][name]
    labels, probabilities = golden_synthetic(golden, name)
    # 840 of the 2000 probabilities are 0, which these leave out of every bin.
    edges = (np.arange(16) / 15).astype(np.float32)
    without_zeros = slow_sce(probabilities, labels, edges, zero_in_first=False)
    for key in ("torrvision.ClasswiseECELoss(15)", "mdca.calibration_library.SCELoss(15)"):
        assert without_zeros == pytest.approx(theirs[key], abs=1e-6), key
    # The paper's convention and CDA flush the 114 subnormal ones as well, and torchmetrics does
    # before it ranks.
    paper = metrics.static_calibration_error(labels, probabilities, convention="released_code")
    assert paper == pytest.approx(theirs["cda.get_sce(15)"], abs=1e-6)
    flushed = np.where(probabilities < np.finfo(np.float32).tiny, 0, probabilities)
    auroc = metrics.auroc(labels, flushed)
    assert auroc == pytest.approx(theirs["torchmetrics.multiclass_auroc(macro)"], abs=3e-6)


# Properties ---------------------------------------------------------------------------------------


@st.composite
def predictions(draw):
    samples, classes = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Coarse logits tie often, wide ones saturate.
    logits = np.round(rng.normal(size=(samples, classes)) * draw(st.sampled_from([1, 3, 400])))
    return scipy_softmax(logits, axis=1), rng.integers(classes, size=samples), rng


def quiet_evaluate(probabilities, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return metrics.evaluate(labels, probabilities)


@settings(deadline=None, max_examples=60)
@given(predictions())
def test_permuting_samples_changes_nothing(case):
    probabilities, labels, rng = case
    order = rng.permutation(len(labels))
    assert quiet_evaluate(probabilities[order], labels[order]) == pytest.approx(
        quiet_evaluate(probabilities, labels), abs=1e-12, nan_ok=True
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 40))
def test_permuting_classes_changes_nothing_without_ties(seed, classes, samples):
    labels, probabilities = random_predictions(samples, classes, seed)
    order = np.random.default_rng(seed).permutation(classes)
    renamed = np.argsort(order)[labels]
    assert quiet_evaluate(probabilities[:, order], renamed) == pytest.approx(
        quiet_evaluate(probabilities, labels), abs=1e-12, nan_ok=True
    )


@settings(deadline=None, max_examples=60)
@given(predictions())
def test_ranges_and_bounds(case):
    probabilities, labels, _ = case
    result = quiet_evaluate(probabilities, labels)
    classes = probabilities.shape[1]
    for name, value in result.items():
        low, high = metrics.METRICS[name].bounds
        assert np.isnan(value) or low - 1e-12 <= value <= high + 1e-12, name
    assert result["nll"] <= 708.4
    assert 1 / classes - 1e-12 <= result["mean_confidence"]
    # Every sample is in one bin, so that binning can only hide part of the error.
    overconfidence = abs(result["mean_confidence"] - result["accuracy"])
    assert result["ece"] >= overconfidence - 1e-12
    assert result["ace"] >= overconfidence - 1e-12
    assert metrics.maximum_calibration_error(labels, probabilities) >= result["ece"] - 1e-12
    assert result["top5_error"] <= result["top1_error"] + 1e-12


# Bad input ----------------------------------------------------------------------------------------

GOOD = np.array([[0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])


def with_row(row):
    return np.array([GOOD[0], row, GOOD[2]])


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (with_row([np.nan, 1]), [0, 1, 0], r"probabilities: .*finite.*nan.* at row 1"),
        (with_row([np.inf, 0]), [0, 1, 0], r"probabilities: .*finite.*inf.* at row 1"),
        (with_row([np.inf, -np.inf]), [0, 1, 0], r"probabilities: .*finite.*inf.* at row 1"),
        (with_row([1.2, -0.2]), [0, 1, 0], r"probabilities: .*no negative.*-0\.2.* at row 1"),
        (
            with_row([0.7, 0.7]),
            [0, 1, 0],
            r"probabilities: .*which sum to 1\.4, at row 1",
        ),
        (with_row([80, 20]), [0, 1, 0], r"probabilities: .*sum to 1 .*which sum to 100, at row 1"),
        (GOOD[:, :1], [0, 0, 0], r"probabilities: .*shape \(3, 1\); of two classes .*1 - p, p"),
        (
            GOOD[:, 0],
            [0, 1, 0],
            r"probabilities: .*received shape \(3,\); of two classes",
        ),
        (GOOD[:0], [], r"probabilities: expected at least one row, received shape \(0, 2\)"),
        (GOOD.astype(str), [0, 1, 0], r"probabilities: expected real numbers, .*<U32"),
        (GOOD.astype(complex), [0, 1, 0], r"probabilities: expected real numbers, .*complex"),
        (GOOD, [0, 1], r"labels: expected shape \(3,\).*received shape \(2,\)"),
        (
            GOOD,
            [[0.2, 0.8], [1, 0], [0, 1]],
            r"labels: .* a single one \(of shares or votes .*received \[0\.2 0\.8\] at row 0",
        ),
        (GOOD, [0, 2, 3], r"labels: expected integers from 0 to 1, received 2 at rows 1 and 2"),
        (GOOD, ["HP", "SSA", "HP"], r"labels: .*class_names=\[\.\.\.\].* received 'HP' at rows 0"),
        ([0, 1, 0], GOOD, "labels come first, then probabilities: exchange the two"),
        ([0, 1, 0], GOOD[:, 0], "labels come first, then probabilities: exchange the two"),
        (np.ma.masked_array(GOOD, GOOD > 0.7), [0, 1, 0], "probabilities: .*masked.*~mask"),
        (GOOD, [0, 0, -1], r"labels: expected integers from 0 to 1 .*, received -1 at row 2"),
        (
            GOOD,
            [0.5, 1.0, 0.0],
            r"labels: expected integers .*received '0\.5' at row 0",
        ),
    ],
)
def test_bad_input_is_named_in_one_line(probabilities, labels, message):
    with pytest.raises(InputError, match=message) as caught:
        metrics.evaluate(labels, probabilities)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([np.nan, 1], "finite"),
        ([-0.01, 1.01], "no negative"),
        ([0.5, 0.501001], "sum to 1"),
        ([0.5, 0.498999], "sum to 1"),
    ],
)
def test_a_bad_row_is_found_behind_many_good_ones(row, message):
    for dtype in (np.float32, np.float64):
        probabilities = np.full((20_000, 2), 0.5, dtype)
        probabilities[12_345] = row
        with pytest.raises(InputError, match=f"{message}.* at row 12345"):
            metrics.accuracy(np.zeros(20_000, int), probabilities)


def test_rows_may_be_a_thousandth_off():
    for off in (-0.00099, 0.0006, 0.00099):
        probabilities = np.array([[0.5, 0.5], [0.7, 0.3 + off]])
        for dtype in (np.float32, np.float64):
            assert metrics.accuracy([0, 0], probabilities.astype(dtype)) == 1


def test_a_bad_row_of_many_classes_still_makes_a_short_message():
    probabilities = np.full((2, 1000), np.nan)
    with pytest.raises(InputError, match="rows 0 and 1") as caught:
        metrics.accuracy([0, 0], probabilities)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_bad_options():
    with pytest.raises(
        InputError, match="convention: expected 'standard' or 'released_code', received 'x'"
    ):
        metrics.evaluate([0, 1, 0], GOOD, convention="x")
    for function in (
        metrics.expected_calibration_error,
        metrics.adaptive_calibration_error,
        metrics.static_calibration_error,
        metrics.maximum_calibration_error,
    ):
        for bad in (0, -1, 2.5, True):
            with pytest.raises(InputError, match=f"num_bins: expected an integer .* {bad}"):
                function([0, 1, 0], GOOD, num_bins=bad)
    with pytest.raises(InputError, match="k: expected an integer of at least 1, received 0"):
        metrics.top_k_error([0, 1, 0], GOOD, k=0)


def test_integer_and_boolean_inputs_are_accepted():
    assert metrics.accuracy(np.array([False, True]), [[1, 0], [0, 1]]) == 1
    assert metrics.accuracy(np.array([0, 1, 1], np.uint8), GOOD) == pytest.approx(2 / 3)


def test_labels_may_stand_in_a_column():
    labels = np.array([0, 1, 0])
    column, row = (metrics.evaluate(each, GOOD) for each in (labels[:, np.newaxis], labels))
    np.testing.assert_equal(column, row)


def test_logits_are_recognised_in_the_message():
    with pytest.raises(InputError, match="from_logits=True"):
        metrics.evaluate([0, 1], [[-1.0, 2.0], [0.5, 0.5]])


def test_probabilities_in_16_bits():
    """Rounded softmaxes are taken as they are, also in the dtype that TensorFlow gives."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    exact = scipy_softmax(rng.normal(0, 2, (500, 10)), axis=1)
    labels = rng.integers(0, 10, 500)
    for dtype in (np.float16, ml_dtypes.bfloat16):
        rounded = exact.astype(dtype)
        assert np.abs(rounded.astype(np.float64).sum(axis=1) - 1).max() > 1e-4
        measured = metrics.evaluate(labels, rounded)
        expected = metrics.evaluate(labels, exact)
        assert measured["brier"] == pytest.approx(expected["brier"], rel=0.01)
    with pytest.raises(InputError, match=r"make the last layer float32\), .*sum to 0\.997"):
        metrics.evaluate([0], np.float32([[0.5, 0.497]]))
