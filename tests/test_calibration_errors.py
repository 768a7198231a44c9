"""Calibration errors and their estimators: libraries' values, hand-made cases, restatements."""

import json
import math
import tracemalloc
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from helpers import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.special import softmax
from scipy.stats import beta, dirichlet, norm

from lsplus_tf import metrics
from lsplus_tf.errors import InputError
from lsplus_tf.metrics.bin_totals import bin_index, equal_width_edges

EDGES, SATURATED = "k2_bin_edges", "k4_n500_saturated"
PLAIN = ("k2_n500", "k4_n2139", "k7_n1512")
UNTIED = (*PLAIN, SATURATED)
ALL = (*UNTIED, EDGES)
TWO, MANY = ("k2_n500",), ("k4_n2139", "k7_n1512", SATURATED)


def ece(**options):
    return lambda y, p: metrics.expected_calibration_error(y, p, **options)


def ece_in_double(**options):
    """A library that compares float32 confidences with float64 edges."""
    return lambda y, p: metrics.expected_calibration_error(y, p.astype(float), **options)


def sce(**options):
    return lambda y, p: metrics.static_calibration_error(y, p, **options)


def kde(bandwidth, kind):
    return lambda y, p: metrics.kde_calibration_error(y, p, bandwidth=bandwidth, kind=kind)


def mean_error(convention):
    def mean(y, p):
        fractions = np.arange(len(y) + 1) / len(y)
        curve = metrics.retention_curve(y, p, fractions=fractions, convention=convention)[1]
        return 1 - curve.mean()

    return mean


# Each library's value that follows a convention of ours: our function, and the golden sets on which
# the two conventions are the same. Where a set is missing, the line above says why.
SAME = {
    "torrvision.ECELoss(15)": (ece(), ALL),
    "gpleiss._ECELoss(15)": (ece(), ALL),
    "mdca.calibration_library.ECELoss(15)": (ece(), ALL),
    "mdca.calibration_library.MCELoss(15)": (ece(norm="max"), ALL),
    "mdca.calibration_library.OELoss(15)": (
        lambda y, p: metrics.overconfidence_error(y, p, confidence_weighted=True),
        ALL,
    ),
    "mdca.calibration_library.BrierScore": (metrics.brier_score, ALL),
    "torrvision.AdaptiveECELoss(15)": (
        lambda y, p: metrics.adaptive_calibration_error(y, p, convention="released_code"),
        ALL,
    ),
    # Both leave probabilities of 0 out of every bin (see test_metrics).
    "torrvision.ClasswiseECELoss(15)": (sce(), (*PLAIN, EDGES)),
    "mdca.calibration_library.SCELoss(15)": (sce(), (*PLAIN, EDGES)),
    "torrvision.expected_calibration_error(10)": (ece_in_double(num_bins=10), ALL),
    "torrvision.maximum_calibration_error(10)": (ece_in_double(num_bins=10, norm="max"), ALL),
    "torrvision.expected_calibration_error(15)": (ece_in_double(), ALL),
    "torrvision.maximum_calibration_error(15)": (ece_in_double(norm="max"), ALL),
    "torrvision.l2_error(15)": (ece_in_double(norm=2), ALL),
    "cda.get_ece(10)": (ece_in_double(num_bins=10), ALL),
    "cda.get_ece(15)": (ece_in_double(), ALL),
    "cda.get_brier": (metrics.brier_score, ALL),
    # Probabilities of 0 are in no bin; on the edges its own rounding decides.
    "cda.get_sce(10)": (sce(num_bins=10), PLAIN),
    "cda.get_sce(15)": (sce(), PLAIN),
    "markus93.ECE(1/15)": (ece_in_double(), ALL),
    "markus93.MCE(1/15)": (ece_in_double(norm="max"), ALL),
    "uncertainty_calibration.get_ece(15)": (ece_in_double(), ALL),
    "torchmetrics.multiclass_calibration_error(10,l1)": (ece(num_bins=10, closed="left"), ALL),
    "torchmetrics.multiclass_calibration_error(15,l1)": (ece(closed="left"), ALL),
    "torchmetrics.multiclass_calibration_error(10,max)": (
        ece(num_bins=10, closed="left", norm="max"),
        ALL,
    ),
    "torchmetrics.multiclass_calibration_error(15,max)": (ece(closed="left", norm="max"), ALL),
    # A confidence of exactly 1 has a bin of its own, which only norm 1 does not see.
    "torchmetrics.multiclass_calibration_error(10,l2)": (
        ece(num_bins=10, closed="left", norm=2),
        (EDGES,),
    ),
    "torchmetrics.multiclass_calibration_error(15,l2)": (ece(closed="left", norm=2), (EDGES,)),
    # Of two classes, P(class 1) is what is binned: the SCE, but for edges.
    "torchmetrics.binary_calibration_error(10,l1)": (sce(num_bins=10, closed="left"), TWO),
    "torchmetrics.binary_calibration_error(15,l1)": (sce(closed="left"), (*TWO, EDGES)),
    "netcal.ECE(10)_2col": (sce(num_bins=10), TWO),
    "netcal.ECE(15)_2col": (sce(), TWO),
    "netcal.ECE(10)": (ece(num_bins=10), MANY),
    "netcal.ECE(15)": (ece(), MANY),
    "netcal.MCE(10)": (ece(num_bins=10, norm="max"), MANY),
    "netcal.MCE(15)": (ece(norm="max"), MANY),
    "torchmetrics.multiclass_auroc(macro)": (metrics.auroc, (*PLAIN, EDGES)),  # see test_metrics
    "torchmetrics.multiclass_precision(macro)": (metrics.precision, ALL),
    "torchmetrics.multiclass_recall(macro)": (metrics.recall, ALL),
    "torchmetrics.multiclass_f1(macro)": (metrics.f1, ALL),
    "torchmetrics.multiclass_accuracy(macro)": (metrics.balanced_accuracy, ALL),
    "torchmetrics.multiclass_accuracy(micro)": (metrics.accuracy, ALL),
    "torchmetrics.multiclass_accuracy(micro,top5)": (
        lambda y, p: 1 - metrics.top_k_error(y, p, k=5),
        ("k7_n1512",),
    ),
    "shifts.rejection_curve.mean()  (grouped ties)": (mean_error("standard"), ALL),
    # Ties are in the order of NumPy's unstable sort.
    "shifts.rejection_curve.mean()  (ungrouped)": (mean_error("released_code"), PLAIN),
    # float32 there: NaN where a probability is 0 or 1, and 1e-5 off elsewhere.
    "ece_kde(bw=0.001,p=1,canonical)": (kde(0.001, "canonical"), (*TWO, EDGES)),
    "ece_kde(bw=0.02,p=1,canonical)": (kde(0.02, "canonical"), (*TWO, EDGES)),
    "ece_kde(bw=0.001,p=1,marginal)": (kde(0.001, "marginal"), (EDGES,)),
    "ece_kde(bw=0.02,p=1,marginal)": (kde(0.02, "marginal"), (EDGES,)),
    "ece_kde(bw=0.001,p=1,top_label)": (kde(0.001, "top_label"), (EDGES,)),
    "ece_kde(bw=0.02,p=1,top_label)": (kde(0.02, "top_label"), (EDGES,)),
}

AVERAGE = "the mean of the gaps of the bins that are not empty, whatever their sizes"
OTHER_SIZES = "the larger of bins of nearly equal mass come first, cut between values"
FEWER = "int(N / bins) samples a bin and the rest in the last"
DIFFERENT = {
    "torrvision.average_calibration_error(10)": AVERAGE,
    "torrvision.average_calibration_error(15)": AVERAGE,
    "netcal.ACE(10)": AVERAGE,
    "netcal.ACE(15)": AVERAGE,
    "netcal.ECE(10,equal_intervals=False)": "bins between quantiles, of P(class 1) for K = 2",
    "netcal.ECE(15,equal_intervals=False)": "bins between quantiles, of P(class 1) for K = 2",
    "mdca.calibration_library.ACELoss(15)": FEWER + "; the least probability is in no bin",
    "mdca.calibration_library.TACELoss(15)": "probabilities below the threshold become 0; over N",
    "cda.get_tace(10)": FEWER + "; a class's error is divided by all N",
    "cda.get_tace(15)": FEWER + "; a class's error is divided by all N",
    "cda.uceloss(15)": "of entropy, not of confidence",
    "uncertainty_calibration.get_ece_em(15)": OTHER_SIZES,
    "uncertainty_calibration.get_calibration_error(p=1,debias=False,top-label)": OTHER_SIZES,
    "uncertainty_calibration.get_calibration_error(p=2,debias=False,top-label)": OTHER_SIZES,
    "uncertainty_calibration.get_calibration_error(p=1,debias=False,marginal)": OTHER_SIZES,
    "uncertainty_calibration.get_calibration_error(p=2,debias=False,marginal)": OTHER_SIZES,
    "uncertainty_calibration.get_calibration_error(p=2,debias=True,marginal)": OTHER_SIZES,
    "shifts.prr_classification [ratio %, auc]": "a ratio to an oracle and a random order",
    "shifts.f_beta_metrics [f_auc,f95]": "of an F score of acceptable predictions",
}


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"no golden values at {GOLDEN}")
    with np.load(GOLDEN / "golden_metrics.npz") as file:
        arrays = {k: file[k] for k in file.files if k.endswith(("logits", "labels"))}
    return json.loads((GOLDEN / "golden_metrics.json").read_text()), arrays


def synthetic(arrays, name):
    logits = arrays[f"syn/{name}/logits"]
    # On the edges the correctly rounded softmax, elsewhere a float32 one: see test_metrics.
    probabilities = (
        metrics.softmax(logits).astype(np.float32) if name == EDGES else softmax(logits, axis=1)
    )
    return arrays[f"syn/{name}/labels"], probabilities


def random_predictions(samples, classes, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(samples, classes))
    labels = rng.integers(classes, size=samples)
    logits[np.arange(samples), labels] += 2
    return labels, softmax(logits, axis=1).astype(dtype)


# Libraries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", SAME)
def test_values_of_libraries_of_the_same_convention(golden, key):
    values, arrays = golden
    function, names = SAME[key]
    tolerance = 2e-5 if key.startswith("ece_kde") else 3e-6
    ours = {name: function(*synthetic(arrays, name)) for name in names}
    theirs = {name: values["other_packages"][name][key] for name in names}
    assert ours == pytest.approx(theirs, abs=tolerance)


def test_every_golden_value_is_accounted_for(golden):
    keys = {key for values in golden[0]["other_packages"].values() for key in values}
    assert keys == set(SAME) | set(DIFFERENT)
    assert not set(SAME) & set(DIFFERENT)


@pytest.mark.parametrize("run", [1, 2, 3])
def test_ece_kde_of_the_authors_code(golden, run):
    values, arrays = golden
    rows = [row for row in values["ece_kde_published"] if row["run"] == run]
    rows = [row for row in rows if row["arch"] == "resnet34"]
    assert len(rows) == 6
    for row in rows:
        logits = arrays[f"pub/resnet34/run{run}/{row['method']}/logits"]
        error = metrics.kde_calibration_error(
            arrays["pub/labels"], softmax(logits, axis=1), bandwidth=0.001
        )
        assert error == pytest.approx(row["orig"], abs=2e-5), row["method"]
        assert error == pytest.approx(row["csv"], abs=7e-5), row["method"]


# Of random_predictions(N, K, seed): uncertainty-calibration 0.1.4 with 15 bins, which N is a
# multiple of, so that its bins are ours: debiased, norm 2; not debiased; debiased with norm 1 (mean
# of 30 draws of the noise); marginal, norm 1; debiased with equal width. Last, smECE of
# relplot 1.0.3.
OTHERS = {
    (600, 2, 0): (0.1098743724, 0.1275917029, 0.1096, 0.1139507437, 0.1089074711, 0.0983),
    (600, 4, 1): (0.1317134374, 0.1504662629, 0.1213, 0.0750651855, 0.1293202512, 0.1136),
    (1500, 7, 2): (0.2164740911, 0.2216800447, 0.1990, 0.0647325280, 0.2148902551, 0.2009),
}


@pytest.mark.parametrize("case", OTHERS)
def test_estimators_equal_their_authors_packages(case):
    arguments = random_predictions(*case)
    debiased, plain, debiased_1, classwise, debiased_width, smooth = OTHERS[case]
    error = metrics.debiased_calibration_error
    assert error(*arguments) == pytest.approx(debiased, abs=1e-9)
    assert error(*arguments, binning="equal_width") == pytest.approx(debiased_width, abs=1e-9)
    assert error(*arguments, norm=1) == pytest.approx(debiased_1, abs=5e-4)
    options = {"binning": "equal_mass", "norm": 2}
    assert ece(**options)(*arguments) == pytest.approx(plain, abs=1e-9)
    ace = metrics.classwise_adaptive_calibration_error
    assert ace(*arguments) == pytest.approx(classwise, abs=1e-9)
    # relplot takes the first of ten halvings of the width below its error.
    assert metrics.smooth_calibration_error(*arguments) == pytest.approx(smooth, abs=1e-3)


# Binning, norms and edges -------------------------------------------------------------------------


def slow_gaps(confidence, hits, num_bins, closed):
    """Size and gap of each bin of equal width that is not empty."""
    bins = {}
    for c, hit in zip(confidence, hits, strict=True):
        for b in range(num_bins):
            low, high = b / num_bins, (b + 1) / num_bins
            inside = low < c <= high if closed == "right" else low <= c < high
            if inside or (b == 0 and c <= 0) or (b == num_bins - 1 and c >= 1):
                bins.setdefault(b, []).append(c - hit)
                break
    return [(len(d), abs(sum(d) / len(d))) for d in bins.values()]


@pytest.mark.parametrize("closed", ["right", "left"])
@pytest.mark.parametrize("power", [1, 1.5, 2, 7, "max", math.inf])
def test_norms_and_edges_equal_a_loop(closed, power):
    labels, probabilities = random_predictions(150, 3)
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == labels
    gaps = slow_gaps(confidence, hits, 10, closed)
    if power in ("max", math.inf):
        expected = max(gap for _, gap in gaps)
    else:
        expected = sum(n / 150 * gap**power for n, gap in gaps) ** (1 / power)
    error = metrics.expected_calibration_error(
        labels, probabilities, num_bins=10, norm=power, closed=closed
    )
    assert error == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("closed", ["right", "left"])
@pytest.mark.parametrize("num_bins", [8, 31, 40])
def test_bins_of_many_samples_equal_a_loop(num_bins, closed):
    # Exact edges are among the confidences.
    confidence = np.random.default_rng(0).integers(320, 641, 10_000) / 640
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = (np.random.default_rng(1).random(10_000) > 0.8).astype(int)
    gaps = slow_gaps(confidence, labels == 0, num_bins, closed)
    expected = sum(n * gap for n, gap in gaps) / 10_000
    error = metrics.expected_calibration_error(
        labels, probabilities, num_bins=num_bins, closed=closed
    )
    assert error == pytest.approx(expected, abs=1e-12)
    gaps = slow_gaps(1 - confidence, labels == 1, num_bins, closed)
    expected = (expected + sum(n * gap for n, gap in gaps) / 10_000) / 2
    error = metrics.static_calibration_error(
        labels, probabilities, num_bins=num_bins, closed=closed
    )
    assert error == pytest.approx(expected, abs=1e-12)


def test_a_high_norm_neither_underflows_nor_overflows():
    probabilities, labels = [[0.51, 0.49], [0.49, 0.51]], [0, 0]
    high = ece(norm=1e6)(labels, probabilities)
    assert high == pytest.approx(ece(norm="max")(labels, probabilities), rel=1e-5)
    assert ece(norm=200)([0], [[1.0, 0.0]]) == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("num_bins", [2, 5, 10, 15])
def test_a_confidence_on_every_edge_is_on_the_side_that_is_closed(dtype, num_bins):
    # One sample on each edge above 1/2: right-closed it is the top of a bin, left-closed the bottom
    # of the next. A second sample in the middle of each bin tells which.
    for b in range(num_bins // 2 + 1, num_bins):
        edge, above = dtype(b / num_bins), dtype((b + 0.5) / num_bins)
        probabilities = np.array([[edge, 1 - edge], [above, 1 - above]], dtype)
        together = abs(float(edge) + float(above) - 1) / 2
        apart = (1 - float(edge) + float(above)) / 2
        labels = [0, 1]
        options = {"num_bins": num_bins}
        assert ece(**options)(labels, probabilities) == pytest.approx(apart, abs=1e-9)
        left = ece(closed="left", **options)(labels, probabilities)
        assert left == pytest.approx(together, abs=1e-9)


@pytest.mark.parametrize("closed", ["right", "left"])
def test_probabilities_of_exactly_0_and_1_are_in_the_outer_bins(closed):
    probabilities, labels = np.array([[1.0, 0.0], [0.99, 0.01], [0.0, 1.0]]), [0, 1, 0]
    # Confidences 1, .99 and 1 are in one bin with one hit of three.
    error = metrics.expected_calibration_error(labels, probabilities, closed=closed)
    assert error == pytest.approx((2.99 - 1) / 3)
    # P(class 0) = 1, .99 | 0 with hits 1, 0 | 1; P(class 1) mirrors it.
    error = metrics.static_calibration_error(labels, probabilities, closed=closed)
    assert error == pytest.approx((0.99 + 1) / 3)
    terms = metrics.brier_decomposition(labels, probabilities, closed=closed)
    assert terms.brier_score == pytest.approx(metrics.brier_score(labels, probabilities))


@pytest.mark.parametrize("convention", ["standard", "released_code"])
def test_equal_mass_is_the_adaptive_error(convention):
    arguments = random_predictions(211, 3, dtype=np.float32)
    for num_bins in (1, 7, 15, 300):
        options = {"num_bins": num_bins, "convention": convention}
        both = (
            ece(binning="equal_mass", **options)(*arguments),
            metrics.adaptive_calibration_error(*arguments, **options),
        )
        assert both[0] == both[1]


def test_maximum_calibration_error_is_the_largest_gap():
    arguments = random_predictions(211, 3)
    assert metrics.maximum_calibration_error(*arguments) == ece(norm="max")(*arguments)


def test_over_and_underconfidence_make_up_the_ece():
    # .9, .9 with one hit: .4 over; .6 with a hit: .4 under.
    probabilities, labels = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]], [0, 1, 0]
    over = metrics.overconfidence_error(labels, probabilities)
    assert over == pytest.approx(0.4 * 2 / 3)
    assert metrics.underconfidence_error(labels, probabilities) == pytest.approx(0.4 / 3)
    weighted = metrics.overconfidence_error(labels, probabilities, confidence_weighted=True)
    assert weighted == pytest.approx(0.9 * 0.4 * 2 / 3)


# Classwise, adaptive ------------------------------------------------------------------------------


def slow_classwise(probabilities, labels, num_bins, threshold=0.0):
    """Nixon's ACE with ties in expectation: each takes its group's mean hit rate."""
    errors = []
    for j in range(probabilities.shape[1]):
        kept = [i for i in range(len(labels)) if probabilities[i, j] >= threshold]
        if not kept:
            continue
        values = probabilities[kept, j].astype(float)
        hits = (labels[kept] == j).astype(float)
        shared = np.array([hits[values == v].mean() for v in values])
        order = np.argsort(values, kind="stable")
        total = 0.0
        for b in range(num_bins):
            # Sample i of n is in bin floor(i B / n).
            part = [i for r, i in enumerate(order) if r * num_bins // len(kept) == b]
            total += abs(sum(values[part] - shared[part]))
        errors.append(total / len(kept))
    return np.mean(errors)


@pytest.mark.parametrize("sorted_below", [0, 10_000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("num_bins", [1, 4, 15, 100])
@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.3, 0.9])
def test_classwise_adaptive_error_equals_a_loop(
    dtype, num_bins, threshold, sorted_below, monkeypatch
):
    monkeypatch.setattr("lsplus_tf.metrics.measures._SORTED_BELOW", sorted_below)
    labels, probabilities = random_predictions(67, 4, dtype=dtype)
    tied = np.round(probabilities[:40] * 8) / 8
    tied[:, 0] = (1 - tied[:, 1:].sum(1)).clip(0)
    tied = (tied / tied.sum(1, keepdims=True)).astype(dtype)
    probabilities = np.concatenate([probabilities, tied])
    labels = np.concatenate([labels, labels[:40]])
    error = metrics.classwise_adaptive_calibration_error(
        labels, probabilities, num_bins=num_bins, threshold=threshold
    )
    expected = slow_classwise(probabilities, labels, num_bins, dtype(threshold))
    assert error == pytest.approx(expected, abs=1e-6 if dtype is np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_classwise_adaptive_error_of_many_samples_is_that_of_sorted_ones(dtype):
    labels, probabilities = random_predictions(20_000, 3, dtype=dtype)
    probabilities[:3000] = [1, 0, -0.0]
    probabilities[3000:6000] = [0.5, 0.25, 0.25]
    errors = []
    for k in range(3):
        # In bins of 1000; ties take the mean of their hits.
        values, of_value = np.unique(probabilities[:, k].astype(float), return_inverse=True)
        hits = (np.bincount(of_value, labels == k) / np.bincount(of_value))[of_value]
        order = np.argsort(probabilities[:, k], kind="stable").reshape(20, 1000)
        errors.append(np.abs((values[of_value] - hits)[order].sum(axis=1)).sum() / 20_000)
    error = metrics.classwise_adaptive_calibration_error(labels, probabilities, num_bins=20)
    assert error == pytest.approx(np.mean(errors), abs=1e-12)


def test_a_threshold_leaves_out_classes_that_do_not_reach_it():
    probabilities = np.array([[0.7, 0.25, 0.05], [0.6, 0.3, 0.1]])
    tace = metrics.classwise_adaptive_calibration_error
    error = tace([0, 0], probabilities, num_bins=1, threshold=0.5)
    assert error == pytest.approx(0.35)
    # A probability that is the threshold counts.
    error = tace([0, 0], probabilities, num_bins=1, threshold=0.7)
    assert error == pytest.approx(0.3)
    with pytest.raises(InputError, match=r"threshold: received 0\.9, which no probability reaches"):
        tace([0, 0], probabilities, threshold=0.9)


def test_columns_and_rows_are_worked_on_in_blocks_without_a_seam(monkeypatch):
    arguments = random_predictions(301, 7, dtype=np.float32)

    def values():
        return (
            metrics.classwise_adaptive_calibration_error(*arguments),
            metrics.auroc(*arguments),
            metrics.static_calibration_error(*arguments),
            metrics.top_k_error(*arguments, k=2),
            *metrics.brier_decomposition(*arguments),
            metrics.kde_calibration_error(*arguments, bandwidth=0.05),
        )

    whole = values()
    monkeypatch.setattr("lsplus_tf.predictions.arrays._BLOCK", 50)
    monkeypatch.setattr("lsplus_tf.predictions.predictions._COLUMNS_BLOCK", 700)
    monkeypatch.setattr("lsplus_tf.metrics.estimators._KERNEL_BLOCK", 1000)
    assert values() == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_layout_does_not_matter(order):
    labels, probabilities = random_predictions(200, 5)
    laid_out = np.asarray(probabilities, order=order)
    every_other = np.repeat(probabilities, 2, axis=1)[:, ::2]
    for function in (
        metrics.static_calibration_error,
        metrics.classwise_adaptive_calibration_error,
        metrics.brier_score,
    ):
        expected = function(labels, probabilities)
        assert function(labels, laid_out) == pytest.approx(expected, abs=1e-14)
        assert function(labels, every_other) == pytest.approx(expected, abs=1e-14)


# Estimators ---------------------------------------------------------------------------------------


def test_debiasing_removes_the_bias_of_a_calibrated_model():
    rng = np.random.default_rng(0)
    squares, plain_squares, debiased, plain = [], [], [], []
    for _ in range(200):
        confidence = rng.uniform(0.5, 1, size=300)
        probabilities = np.column_stack([confidence, 1 - confidence])
        labels = (rng.uniform(size=300) > confidence).astype(int)
        options = {"binning": "equal_mass"}
        plain.append(ece(**options)(labels, probabilities))
        plain_squares.append(ece(norm=2, **options)(labels, probabilities) ** 2)
        debiased.append(metrics.debiased_calibration_error(labels, probabilities, norm=1))
        squares.append(metrics.debiased_calibration_error(labels, probabilities) ** 2)
    assert np.mean(plain_squares) > 0.007
    # What is left comes from negative squares, which are cut off at 0.
    assert np.mean(squares) < 0.2 * np.mean(plain_squares)
    assert np.mean(plain) > 0.06
    # The noise adds .80 of its standard deviation to the gap, and twice the noise 1.13.
    assert np.mean(debiased) == pytest.approx((2 - 2**0.5) * np.mean(plain), rel=0.1)


def test_debiased_error_of_one_bin_is_the_formula():
    probabilities, labels = np.tile([0.8, 0.2], (50, 1)), np.repeat([0, 1], [30, 20])
    squared = 0.2**2 - 0.6 * 0.4 / 49
    for binning in ("equal_mass", "equal_width"):
        error = metrics.debiased_calibration_error(
            labels, probabilities, num_bins=1, binning=binning
        )
        assert error == pytest.approx(np.sqrt(squared))
    # Norm 1: twice the gap less the mean size of a normal variable around it.
    noise = np.sqrt(0.6 * 0.4 / 50)
    noisy = norm.expect(abs, loc=0.2, scale=noise)
    error = metrics.debiased_calibration_error(labels, probabilities, num_bins=1, norm=1)
    assert error == pytest.approx(2 * 0.2 - noisy, abs=1e-6)


def test_debiased_error_of_bins_without_noise():
    certain = [[0.9, 0.1]] * 3
    for option in (1, 2):
        error = metrics.debiased_calibration_error([0] * 3, certain, num_bins=1, norm=option)
        assert error == pytest.approx(0.1)
    # One sample a bin: norm 2 has no estimate of the noise.
    assert metrics.debiased_calibration_error([0, 1, 0], certain, num_bins=3) == 0


def slow_sweep(probabilities, labels, power):
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == labels
    order = np.argsort(confidence)
    samples = len(labels)
    best = None
    for bins in range(1, samples + 1):
        index = np.arange(samples) * bins // samples
        parts = [order[index == b] for b in range(bins)]
        accuracy = [hits[part].mean() for part in parts]
        if any(b < a for a, b in pairwise(accuracy)):
            break
        best = [(len(part), abs(confidence[part].mean() - hits[part].mean())) for part in parts]
    return sum(n / samples * gap**power for n, gap in best) ** (1 / power)


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 60), st.integers(2, 4), st.integers(0, 2**32 - 1), st.integers(0, 30))
def test_sweep_equals_a_loop(samples, classes, seed, ordered):
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(scale=2, size=(samples, classes)), axis=1)
    labels = rng.integers(classes, size=samples)
    # The most confident are right and the least confident wrong, for sweeps of many bins.
    ranking = np.argsort(-probabilities.max(1))
    predicted = probabilities.argmax(1)
    labels[ranking[:ordered]] = predicted[ranking[:ordered]]
    wrong = ranking[max(ordered, samples - ordered) :]
    labels[wrong] = (predicted[wrong] + 1) % classes
    for power in (1, 2):
        error = metrics.sweep_calibration_error(labels, probabilities, norm=power)
        assert error == pytest.approx(slow_sweep(probabilities, labels, power), abs=1e-12)


def test_sweep_of_a_model_that_ranks_perfectly_ends_at_one_sample_a_bin():
    confidence = np.linspace(0.51, 0.99, 2000)
    probabilities = np.column_stack([confidence, 1 - confidence])
    labels = (confidence < 0.7).astype(int)
    expected = np.abs(confidence - (confidence >= 0.7)).mean()
    assert metrics.sweep_calibration_error(labels, probabilities) == pytest.approx(expected)
    # One exchange near the end is found as well, in many steps.
    labels[[1, -2]] = 1 - labels[[1, -2]]
    assert 0 < metrics.sweep_calibration_error(labels, probabilities) < expected


def slow_smooth(confidence, hits, width):
    """Mean size of the residuals smoothed by a reflected Gaussian, by quadrature."""
    t = np.linspace(0, 1, 4001)
    kernel = sum(
        norm.pdf(t[:, np.newaxis], 2 * k + sign * confidence, width)
        for k in range(-3, 4)
        for sign in (-1, 1)
    )
    return trapezoid(np.abs(kernel @ (hits - confidence)) / len(hits), t)


@pytest.mark.parametrize("case", [(40, 2, 0), (200, 4, 1), (150, 7, 2)])
def test_smooth_error_is_its_own_width(case):
    labels, probabilities = random_predictions(*case)
    error = metrics.smooth_calibration_error(labels, probabilities)
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == labels
    assert slow_smooth(confidence, hits, error) == pytest.approx(error, abs=1e-5)


def test_smooth_error_of_extremes():
    smooth = metrics.smooth_calibration_error
    assert smooth([0, 1, 2], np.eye(3)) == 0
    assert smooth([1, 2, 0], np.eye(3)) == pytest.approx(1, abs=1e-6)
    # Hits and errors of the same confidence cancel.
    assert smooth([0, 0, 0, 1], [[0.75, 0.25]] * 4) == pytest.approx(0, abs=1e-8)


def slow_kde(probabilities, labels, bandwidth, kind, power):
    samples, classes = probabilities.shape
    total = 0.0
    for i in range(samples):
        others = [j for j in range(samples) if j != i]
        if kind == "canonical":
            weights = [
                dirichlet.pdf(probabilities[i] / probabilities[i].sum(), q / bandwidth + 1)
                for q in probabilities[others]
            ]
            for k in range(classes):
                frequency = np.average(labels[others] == k, weights=weights)
                total += abs(frequency - probabilities[i, k]) ** power
            continue
        columns = range(classes) if kind == "marginal" else [None]
        for k in columns:
            values = probabilities[:, k] if k is not None else probabilities.max(1)
            hits = labels == (k if k is not None else probabilities.argmax(1))
            q = values[others]
            weights = beta.pdf(values[i], q / bandwidth + 1, (1 - q) / bandwidth + 1)
            total += abs(np.average(hits[others], weights=weights) - values[i]) ** power
    return total / samples


@pytest.mark.parametrize("kind", ["canonical", "marginal", "top_label"])
@pytest.mark.parametrize("power", [1, 2])
def test_kde_error_equals_scipys_densities(kind, power):
    labels, probabilities = random_predictions(30, 3)
    for bandwidth in (0.05, 0.5):
        error = metrics.kde_calibration_error(
            labels, probabilities, bandwidth=bandwidth, kind=kind, norm=power
        )
        expected = slow_kde(probabilities, labels, bandwidth, kind, power)
        assert error == pytest.approx(expected, rel=1e-9)


def test_kde_bandwidth_has_the_largest_likelihood():
    labels, probabilities = random_predictions(40, 3)

    def log_likelihood(bandwidth):
        densities = [
            [dirichlet.pdf(p / p.sum(), q / bandwidth + 1) for q in probabilities]
            for p in probabilities
        ]
        return np.log(np.sum(densities - np.diag(np.diag(densities)), axis=1)).sum()

    grid = np.logspace(-3, 0, 13)
    best = grid[np.argmax([log_likelihood(b) for b in grid])]
    assert metrics.kde_calibration_error(labels, probabilities) == pytest.approx(
        metrics.kde_calibration_error(labels, probabilities, bandwidth=best)
    )


@pytest.mark.parametrize("kind", ["canonical", "marginal", "top_label"])
def test_kde_error_is_finite_where_probabilities_are_0_and_1(kind):
    probabilities = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0.2, 0.3, 0.5]], float)
    right = metrics.kde_calibration_error([0, 0, 1, 1, 2], probabilities, bandwidth=0.01, kind=kind)
    wrong = metrics.kde_calibration_error([1, 1, 0, 0, 2], probabilities, bandwidth=0.01, kind=kind)
    assert 0 <= right < wrong <= 3
    if kind == "canonical":
        # Each corner sees the other sample of the corner, and nothing else.
        lonely = wrong - 4 * 2 / 5
        assert right == pytest.approx(lonely, abs=0.5)


# Brier decomposition ------------------------------------------------------------------------------


def test_brier_scales():
    labels, probabilities = random_predictions(50, 4)
    total = metrics.brier_score(labels, probabilities)
    assert metrics.brier_score(labels, probabilities, scale="sum") == total
    assert metrics.brier_score(labels, probabilities, scale="half") == pytest.approx(total / 2)
    assert metrics.brier_score(labels, probabilities, scale="mean") == pytest.approx(total / 4)


@pytest.mark.parametrize("scale", ["sum", "half", "mean"])
@pytest.mark.parametrize("num_bins", [1, 3, 15])
def test_brier_terms_equal_loops_and_make_up_the_score(num_bins, scale):
    labels, probabilities = random_predictions(83, 4)
    terms = metrics.brier_decomposition(labels, probabilities, num_bins=num_bins, scale=scale)
    factor = {"sum": 1, "half": 1 / 2, "mean": 1 / 4}[scale]
    expected = np.zeros(5)
    for j in range(4):
        f, y = probabilities[:, j], (labels == j).astype(float)
        bins = np.ceil(f * num_bins).clip(1)
        for b in np.unique(bins):
            inside = bins == b
            p, o, share = f[inside].mean(), y[inside].mean(), inside.mean()
            expected += [
                share * (p - o) ** 2,
                share * (o - y.mean()) ** 2,
                0,
                share * np.mean((f[inside] - p) ** 2),
                share * 2 * np.mean((f[inside] - p) * (y[inside] - o)),
            ]
        expected[2] += y.mean() * (1 - y.mean())
    np.testing.assert_allclose(terms, expected * factor, atol=1e-12)
    score = metrics.brier_score(labels, probabilities, scale=scale)
    assert terms.brier_score == pytest.approx(score, abs=1e-12)
    three = terms.reliability - terms.generalised_resolution + terms.uncertainty
    assert three == pytest.approx(score, abs=1e-12)


def test_murphys_identity_holds_where_bins_have_one_value():
    rng = np.random.default_rng(0)
    confidence = rng.choice([0.1, 0.35, 0.6, 0.95], size=200)
    labels = (rng.uniform(size=200) > confidence).astype(int)
    terms = metrics.brier_decomposition(labels, np.column_stack([confidence, 1 - confidence]))
    assert terms.within_bin_variance == pytest.approx(0, abs=1e-12)
    assert terms.within_bin_covariance == pytest.approx(0, abs=1e-12)


# Properties and bad input -------------------------------------------------------------------------

TOP_LABEL = {
    "ece, left, norm 2": ece(closed="left", norm=2),
    "ece, equal mass, max": ece(binning="equal_mass", norm="max"),
    "over": metrics.overconfidence_error,
    "under": metrics.underconfidence_error,
    "debiased": metrics.debiased_calibration_error,
    "debiased 1": lambda y, p: metrics.debiased_calibration_error(y, p, norm=1),
    "sweep": metrics.sweep_calibration_error,
    "smooth": metrics.smooth_calibration_error,
    "balanced accuracy": metrics.balanced_accuracy,
}
CLASSWISE = {
    "sce, left": sce(closed="left"),
    "classwise ace": metrics.classwise_adaptive_calibration_error,
    "tace": lambda y, p: metrics.classwise_adaptive_calibration_error(y, p, threshold=0.1),
    "brier reliability": lambda y, p: metrics.brier_decomposition(y, p).reliability / 2,
}
EVERY = {
    **TOP_LABEL,
    **CLASSWISE,
    "kde": lambda y, p: metrics.kde_calibration_error(y, p, bandwidth=0.05) / 2,
    "kde, top label": lambda y, p: metrics.kde_calibration_error(y, p, kind="top_label"),
}


@st.composite
def predictions(draw):
    samples, classes = draw(st.integers(2, 40)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Coarse logits tie often, wide ones saturate.
    logits = np.round(rng.normal(size=(samples, classes)) * draw(st.sampled_from([1, 3, 400])))
    return softmax(logits, axis=1), rng.integers(classes, size=samples), rng


@pytest.mark.parametrize("name", EVERY)
@settings(deadline=None, max_examples=25)
@given(predictions())
def test_values_are_in_range_and_do_not_depend_on_the_order_of_samples(name, case):
    probabilities, labels, rng = case
    value = EVERY[name](labels, probabilities)
    assert type(value) is float
    assert 0 <= value <= 1 + 1e-9
    order = rng.permutation(len(labels))
    shuffled = EVERY[name](labels[order], probabilities[order])
    assert shuffled == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("name", EVERY)
@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(2, 40))
def test_names_of_classes_do_not_matter(name, seed, classes, samples):
    labels, probabilities = random_predictions(samples, classes, seed)
    order = np.random.default_rng(seed).permutation(classes)
    renamed = np.argsort(order)[labels]
    value = EVERY[name](renamed, probabilities[:, order])
    assert value == pytest.approx(EVERY[name](labels, probabilities), abs=1e-7)


@settings(deadline=None, max_examples=50)
@given(predictions())
def test_relations_between_errors(case):
    probabilities, labels, _ = case
    plain = ece()(labels, probabilities)
    parts = (
        metrics.overconfidence_error(labels, probabilities),
        metrics.underconfidence_error(labels, probabilities),
    )
    assert sum(parts) == pytest.approx(plain, abs=1e-12)
    weighted = metrics.overconfidence_error(labels, probabilities, confidence_weighted=True)
    assert weighted <= parts[0] + 1e-12
    norms = [ece(norm=p)(labels, probabilities) for p in (1, 1.5, 2, 10, "max")]
    assert all(b >= a - 1e-12 for a, b in pairwise(norms))
    for option in (1, 2):
        biased = ece(binning="equal_mass", norm=option)(labels, probabilities)
        debiased = metrics.debiased_calibration_error(labels, probabilities, norm=option)
        assert debiased <= biased + 1e-12
    overconfidence = abs(probabilities.max(1).mean() - metrics.accuracy(labels, probabilities))
    assert metrics.sweep_calibration_error(labels, probabilities) >= overconfidence - 1e-12
    # A smooth average is at most the mean residual, and no finer than its total.
    assert metrics.smooth_calibration_error(labels, probabilities) >= overconfidence - 1e-6
    terms = metrics.brier_decomposition(labels, probabilities)
    assert terms.brier_score == pytest.approx(metrics.brier_score(labels, probabilities))


GOOD = np.array([[0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])


@pytest.mark.parametrize("name", EVERY)
def test_bad_predictions_are_refused(name):
    function = EVERY[name]
    for row in ([np.nan, 1], [np.inf, 0], [1.2, -0.2], [0.7, 0.7]):
        with pytest.raises(InputError, match=r"probabilities: .* at row 1"):
            function([0, 1, 0], np.array([GOOD[0], row, GOOD[2]]))
    for labels in ([0, 2, 1], [0, -1, 1]):
        with pytest.raises(InputError, match=r"labels: .* at row 1"):
            function(labels, GOOD)
    with pytest.raises(InputError, match="at least one row"):
        function([], GOOD[:0])
    with pytest.raises(InputError, match="of two classes"):
        function([0, 0, 0], GOOD[:, :1])
    # An absent class is no reason to refuse, and no reason for NaN.
    assert np.isfinite(function([0, 0, 0], np.column_stack([GOOD * 0.9, np.full(3, 0.1)])))


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("expected_calibration_error", {"norm": 0.5}, r"norm: .*at least 1 or 'max'.* 0\.5"),
        ("expected_calibration_error", {"norm": np.nan}, "norm: .*received nan"),
        ("expected_calibration_error", {"norm": "l1"}, "norm: .*received 'l1'"),
        ("expected_calibration_error", {"norm": True}, "norm: .*received True"),
        ("expected_calibration_error", {"closed": "both"}, "closed: expected 'right' or 'left'"),
        ("expected_calibration_error", {"binning": "x"}, "binning: .*'equal_mass', received 'x'"),
        (
            "expected_calibration_error",
            {"closed": "left", "convention": "released_code"},
            "closed: expected 'right', which the paper's bins are",
        ),
        ("static_calibration_error", {"closed": "x"}, "closed: .*received 'x'"),
        ("classwise_adaptive_calibration_error", {"threshold": -1}, r"threshold: .*\[0, 1\]"),
        ("classwise_adaptive_calibration_error", {"threshold": np.nan}, "threshold: .*nan"),
        ("classwise_adaptive_calibration_error", {"num_bins": 0}, "num_bins: .*received 0"),
        ("overconfidence_error", {"num_bins": 0}, "num_bins: .*received 0"),
        ("underconfidence_error", {"num_bins": 1.5}, r"num_bins: .*received 1\.5"),
        ("debiased_calibration_error", {"norm": 3}, "norm: expected 1 or 2, received 3"),
        ("debiased_calibration_error", {"num_bins": 0}, "num_bins: .*received 0"),
        ("sweep_calibration_error", {"norm": 0}, "norm: .*received 0"),
        ("kde_calibration_error", {"bandwidth": 0}, "bandwidth: .*positive.*received 0"),
        ("kde_calibration_error", {"bandwidth": np.nan}, "bandwidth: .*received nan"),
        ("kde_calibration_error", {"norm": "max"}, "norm: .*finite.*received 'max'"),
        ("kde_calibration_error", {"kind": "x"}, "kind: .*'top_label', received 'x'"),
        ("brier_score", {"scale": "x"}, "scale: expected 'sum' or 'half' or 'mean', received 'x'"),
        ("brier_decomposition", {"scale": "x"}, "scale: .*received 'x'"),
        ("brier_decomposition", {"closed": "x"}, "closed: .*received 'x'"),
    ],
)
def test_bad_options_are_named(function, options, message):
    with pytest.raises(InputError, match=message) as caught:
        getattr(metrics, function)([0, 1, 0], GOOD, **options)
    assert "\n" not in str(caught.value)


def test_kde_needs_another_sample():
    with pytest.raises(InputError, match="probabilities: expected at least two rows"):
        metrics.kde_calibration_error([0], GOOD[:1])


@pytest.mark.parametrize("classes", [10, 120])
def test_memory_stays_a_quarter_of_the_input(classes):
    rng = np.random.default_rng(0)
    probabilities = rng.random((100_000, classes), dtype=np.float32)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = rng.integers(classes, size=100_000)
    functions = [metrics.expected_calibration_error, metrics.negative_log_likelihood]
    if classes > 10:  # not where a few arrays of N numbers are already a quarter
        functions += [
            metrics.static_calibration_error,
            metrics.classwise_adaptive_calibration_error,
            metrics.brier_score,
            metrics.aurc,
            partial(metrics.bootstrap_interval, "ece", num_resamples=4),
        ]
    for function in functions:
        tracemalloc.start()
        function(labels, probabilities)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < probabilities.nbytes / 4, function


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("closed", ["right", "left"])
def test_the_bin_of_numbers_on_and_beside_every_edge(dtype, closed):
    """Whichever way it is found: by a search among the edges it is by definition."""
    side = "left" if closed == "right" else "right"
    for num_bins in (*range(1, 40), 63, 85, 200, 1000, 1001):
        edges = equal_width_edges(num_bins, dtype)
        beside = [np.nextafter(edges, edges.dtype.type(towards)) for towards in (2, 0)]
        others = np.random.default_rng(num_bins).random(2000).astype(dtype)
        most = np.array([1.001, np.finfo(dtype).tiny], dtype)
        for values in (np.concatenate([edges, *beside, most]), others):
            expected = np.searchsorted(edges, values, side).clip(1, num_bins)
            found = bin_index(values, edges, closed=closed)
            np.testing.assert_array_equal(found, expected, err_msg=str(num_bins))
