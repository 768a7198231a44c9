"""Losses of each sample for itself, against the original authors' values and float64 restatements.

Focal losses, Brier score, confidence penalties, margin-based and class-wise label smoothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import value_and_gradient
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax, xlogy

from lsplus_tf import losses
from lsplus_tf.errors import InputError

# float32 rounds log(1 + small) by up to half an ulp of 1; nothing computed in float32 does better.
TOLERANCE = {"rtol": 1e-6, "atol": 6e-8}
LOGITS: dict[str, Any] = {"from_logits": True}
SUM: dict[str, Any] = {"from_logits": True, "reduction": "sum"}


# --- against the original authors' code -----------------------------------------------------------


@dataclass
class Case:
    """The inputs of one golden case."""

    logits: np.ndarray
    labels: np.ndarray
    prior_vacc: np.ndarray
    cls_freq: np.ndarray

    @property
    def num_classes(self) -> int:
        return self.logits.shape[1]

    @property
    def one_hot(self) -> np.ndarray:
        return np.eye(self.num_classes)[self.labels]


Mapping = Callable[[Case], tuple[Any, np.ndarray]]


def with_ids(make: Callable[[Case], Any]) -> Mapping:
    return lambda case: (make(case), case.labels)


def smoothed_without_true_class(alpha: float) -> Mapping:
    """Smoothing mass alpha / (K - 1) on the other classes only, as a weight of alpha / K on all."""

    def mapping(case: Case) -> tuple[Any, np.ndarray]:
        k = case.num_classes
        return losses.LabelSmoothingLoss(alpha * k / (k - 1), **LOGITS), case.labels

    return mapping


def mixed_up(case: Case) -> tuple[Any, np.ndarray]:
    soft = 0.3 * case.one_hot + 0.7 * case.one_hot[::-1]
    return losses.HardLabelLoss(**LOGITS), soft.astype(np.float32)


def smoothed_by_vector(case: Case) -> tuple[Any, np.ndarray]:
    """Class k smoothed by 1 - V_k, which CDA-LS does for counts in proportion to 1 - V."""
    wrong = 1 - case.prior_vacc
    loss = losses.ClassDistributionLabelSmoothingLoss(wrong, alpha=0, gamma=wrong.max(), **SUM)
    return loss, case.labels


# Golden entry -> what of ours is to equal it.
GOLDEN: dict[str, Mapping] = {
    "ce_mean": with_ids(lambda c: losses.HardLabelLoss(**LOGITS)),
    "ls_mbls_a0.05": with_ids(lambda c: losses.LabelSmoothingLoss(0.05, **LOGITS)),
    "ls_mbls_a0.1": with_ids(lambda c: losses.LabelSmoothingLoss(0.1, **LOGITS)),
    "ls_mdca_a0.05": smoothed_without_true_class(0.05),
    "ls_mdca_a0.1": smoothed_without_true_class(0.1),
    "ls_tfkd_a0.1": smoothed_without_true_class(0.1),
    "ls_ankandrew_a0.1": smoothed_without_true_class(0.1),
    "ls_olsrepo_a0.1": with_ids(lambda c: losses.LabelSmoothingLoss(0.1, **LOGITS)),
    "focal_torrvision_g1_mean": with_ids(lambda c: losses.FocalLoss(1, **LOGITS)),
    "focal_torrvision_g2_mean": with_ids(lambda c: losses.FocalLoss(2, **LOGITS)),
    "focal_torrvision_g3_mean": with_ids(lambda c: losses.FocalLoss(3, **LOGITS)),
    "focal_torrvision_g3_sum": with_ids(lambda c: losses.FocalLoss(3, **SUM)),
    "flsd53_torrvision_mean": with_ids(lambda c: losses.SampleDependentFocalLoss(**LOGITS)),
    "flsd_mdca_mean": with_ids(lambda c: losses.SampleDependentFocalLoss(**LOGITS)),
    "brier_torrvision": with_ids(lambda c: losses.BrierLoss(**LOGITS)),
    "mbls_margin_m10_a0.1": with_ids(lambda c: losses.MarginLabelSmoothingLoss(**LOGITS)),
    "mbls_margin_m6_a0.1": with_ids(lambda c: losses.MarginLabelSmoothingLoss(6, **LOGITS)),
    "mbls_margin_m0_a0.05": with_ids(
        lambda c: losses.MarginLabelSmoothingLoss(0, weight=0.05, **LOGITS)
    ),
    # This code averages the entropy over the classes.
    "ecp_mbls_a0.1": with_ids(
        lambda c: losses.ConfidencePenaltyLoss(0.1 / c.num_classes, **LOGITS)
    ),
    "ecp_mbls_a1": with_ids(lambda c: losses.ConfidencePenaltyLoss(1 / c.num_classes, **LOGITS)),
    "ecp_torchuncertainty_w0.1": with_ids(lambda c: losses.ConfidencePenaltyLoss(0.1, **LOGITS)),
    "penalty_l1_mbls_a1": with_ids(lambda c: losses.UniformPenaltyLoss(1.0, **LOGITS)),
    "cda_ls_f0.1_g0.01": with_ids(
        lambda c: losses.ClassDistributionLabelSmoothingLoss(
            c.cls_freq, alpha=0.1, gamma=0.01, **LOGITS
        )
    ),
    "cda_ls_f0.1_g0.1": with_ids(
        lambda c: losses.ClassDistributionLabelSmoothingLoss(
            c.cls_freq, alpha=0.1, gamma=0.1, **LOGITS
        )
    ),
    "mixup_ce": mixed_up,
    "soft_ce_vector_ls_metacal_sum": smoothed_by_vector,
}


def class_distribution_smoothing(gamma: float) -> Callable[[Case, bool], Any]:
    """The original spreads by the column's class what belongs to the row's: rows miss sum 1."""

    def restated(case: Case, as_original: bool) -> tuple[np.ndarray, np.ndarray]:
        smoothing = 0.1 + gamma * case.cls_freq.astype(np.float64) / case.cls_freq.max()
        smoothing = smoothing[None, :] if as_original else smoothing[case.labels][:, None]
        targets = case.one_hot * (1 - smoothing) + smoothing / case.num_classes
        log_p = log_softmax(case.logits.astype(np.float64), axis=1)
        value = -(targets * log_p).sum(axis=1).mean()
        gradient = np.exp(log_p) * targets.sum(axis=1, keepdims=True) - targets
        return value, gradient / len(log_p)

    return restated


def entropy_with_epsilon(case: Case, as_original: bool) -> tuple[np.ndarray, np.ndarray]:
    """The original adds 1e-6 to p inside the logarithm, and the constant weight * log K."""
    log_p = log_softmax(case.logits.astype(np.float64), axis=1)
    p, t, epsilon = np.exp(log_p), case.one_hot, 1e-6 if as_original else 0.0
    logarithm = np.log(p + epsilon) if as_original else log_p
    constant = np.log(case.num_classes) if as_original else 0.0
    penalty = (p * logarithm).sum(axis=1) + constant
    value = (-(t * log_p).sum(axis=1) + 0.1 * penalty).mean()
    slope = logarithm + np.divide(p, p + epsilon, where=p > 0, out=np.ones_like(p))
    gradient = p - t + 0.1 * through_softmax(p, slope)
    return value, gradient / len(p)


# Golden entries that differ from ours by a named defect: (case, as_original) -> value, gradient.
DEFECTS: dict[str, Callable[[Case, bool], Any]] = {
    "cda_ls_f0.1_g0.01": class_distribution_smoothing(0.01),
    "cda_ls_f0.1_g0.1": class_distribution_smoothing(0.1),
    "ecp_torchuncertainty_w0.1": entropy_with_epsilon,
}


@dataclass
class Golden:
    arrays: Any
    facts: dict[str, Any]

    def case(self, name: str) -> Case:
        names = ("logits", "labels", "prior_vacc", "cls_freq")
        return Case(*(self.arrays[f"in/{name}/{what}"] for what in names))


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    folder = shared / "golden"
    facts = json.loads((folder / "golden_losses.json").read_text())
    return Golden(dict(np.load(folder / "golden_losses.npz")), facts["losses"])


@pytest.mark.parametrize("case", ["c0", "c2", "c4", "c6"])
@pytest.mark.parametrize("entry", GOLDEN)
def test_as_the_original(golden, entry, case):
    inputs = golden.case(case)
    loss, labels = GOLDEN[entry](inputs)
    value, gradient = value_and_gradient(loss, labels, inputs.logits)
    expected = [golden.arrays[f"{entry}/{case}/{what}"] for what in ("loss_f64", "grad_f64")]
    if entry in DEFECTS:
        # The restatement equals the original with its defect, and this package without.
        for mine, theirs in zip(DEFECTS[entry](inputs, True), expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-8)
        expected = DEFECTS[entry](inputs, False)
    tolerance = dict(TOLERANCE)
    if loss.reduction == "sum":
        tolerance["atol"] *= len(inputs.logits)
    np.testing.assert_allclose(value, expected[0], **tolerance)
    np.testing.assert_allclose(gradient, expected[1], **tolerance)


@pytest.mark.parametrize("entry", DEFECTS)
def test_the_defect_shows(golden, entry):
    with_defect, without = (DEFECTS[entry](golden.case("c0"), as_it) for as_it in (True, False))
    assert abs(with_defect[0] - without[0]) > 1e-6


@pytest.mark.parametrize("case", ["c4", "c6"])
def test_smoothing_is_finite_where_the_logarithm_of_a_softmax_is_not(golden, case):
    """The original in float32 takes log(softmax) of large margins, and log 0 = -inf."""
    inputs = golden.case(case)
    assert np.isinf(golden.arrays[f"ls_olsrepo_a0.1/{case}/loss_f32"])
    loss, labels = GOLDEN["ls_olsrepo_a0.1"](inputs)
    assert np.isfinite(loss(labels, inputs.logits))


# --- against float64 restatements, everywhere -----------------------------------------------------

# A restatement takes logits and targets t, (B, K) float64, and gives the losses (B,) and their
# gradients (B, K).
Restated = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def through_softmax(p: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The gradient for the logits of what has the gradient `slope` for the probabilities."""
    return p * (slope - (p * slope).sum(axis=1, keepdims=True))


def focal(gamma: float, gamma_low: float | None = None) -> Restated:
    def restated(z: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nll = -log_softmax(z, axis=1)
        p, q = np.exp(-nll), -np.expm1(-nll)
        g = np.where(p < 0.2, gamma if gamma_low is None else gamma_low, gamma)
        # nll / (1 - p) goes to 1 where p goes to 1.
        ratio = np.divide(nll, q, where=q > 0, out=np.ones_like(q))
        slope = t * q**g * (1 + g * p * ratio)
        return (t * q**g * nll).sum(axis=1), p * slope.sum(axis=1, keepdims=True) - slope

    return restated


def brier(z: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = np.exp(log_softmax(z, axis=1))
    return ((p - t) ** 2).sum(axis=1), through_softmax(p, 2 * (p - t))


def penalized(weight: float, penalty: Callable[[np.ndarray], Any]) -> Restated:
    """Cross-entropy and a penalty, which is a function of the logits alone."""

    def restated(z: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ce, ce_gradient = against(np.eye(z.shape[1]))(z, t)
        value, gradient = penalty(z)
        return ce + weight * value, ce_gradient + weight * gradient

    return restated


def negative_entropy(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    log_p = log_softmax(z, axis=1)
    p = np.exp(log_p)
    return xlogy(p, p).sum(axis=1), through_softmax(p, log_p + 1)


def distance_from_uniform(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = np.exp(log_softmax(z, axis=1))
    excess = p - 1 / z.shape[1]
    sign = np.where(np.abs(excess) < 1e-9, 0, np.sign(excess))
    return np.abs(excess).sum(axis=1), through_softmax(p, sign)


def beyond_margin(margin: float) -> Callable[[np.ndarray], Any]:
    def penalty(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        excess = z.max(axis=1, keepdims=True) - z - margin
        over = (excess > 0).astype(float)
        first = np.eye(z.shape[1])[z.argmax(axis=1)]
        gradient = first * over.mean(axis=1, keepdims=True) - over / z.shape[1]
        return np.maximum(excess, 0).mean(axis=1), gradient

    return penalty


def against(matrix: np.ndarray) -> Restated:
    """Cross-entropy with the rows of a matrix as targets of the classes."""

    def restated(z: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_p, targets = log_softmax(z, axis=1), t @ matrix
        gradient = np.exp(log_p) * targets.sum(axis=1, keepdims=True) - targets
        return -(targets * log_p).sum(axis=1), gradient

    return restated


def smoothing_matrix(counts: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    rows = []
    for k, count in enumerate(counts):
        smoothing = alpha + gamma * count / max(counts)
        row = np.full(len(counts), smoothing / len(counts))
        row[k] += 1 - smoothing
        rows.append(row)
    return np.array(rows)


def make_losses(num_classes: int, **options: Any) -> dict[str, tuple[Any, Restated]]:
    """Every loss of this file with its restatement."""
    counts = np.arange(num_classes) * 10.0
    return {
        "focal0": (losses.FocalLoss(0, **options), focal(0)),
        "focal0.3": (losses.FocalLoss(0.3, **options), focal(0.3)),
        "focal3": (losses.FocalLoss(**options), focal(3)),
        "flsd": (losses.SampleDependentFocalLoss(**options), focal(3, 5)),
        "flsd0.5": (
            losses.SampleDependentFocalLoss(2, gamma_low_confidence=0.5, **options),
            focal(2, 0.5),
        ),
        "brier": (losses.BrierLoss(**options), brier),
        "entropy": (
            losses.ConfidencePenaltyLoss(0.3, **options),
            penalized(0.3, negative_entropy),
        ),
        "uniform": (
            losses.UniformPenaltyLoss(0.7, **options),
            penalized(0.7, distance_from_uniform),
        ),
        "margin0": (
            losses.MarginLabelSmoothingLoss(0, weight=0.2, **options),
            penalized(0.2, beyond_margin(0)),
        ),
        "margin3": (
            losses.MarginLabelSmoothingLoss(3, weight=0.2, **options),
            penalized(0.2, beyond_margin(3)),
        ),
        "class_distribution": (
            losses.ClassDistributionLabelSmoothingLoss(counts, alpha=0.05, gamma=0.2, **options),
            against(smoothing_matrix(counts, 0.05, 0.2)),
        ),
    }


KINDS = list(make_losses(2))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None)
@given(
    # Eighths, whose differences float32 has exactly, and among which ties and margins of 3 abound.
    eighths=hnp.arrays(
        np.int16, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.integers(-200, 200)
    ),
    scale=st.sampled_from([1, 1, 1, 16, 1024]),
    seed=st.integers(0, 2**16),
)
@example(eighths=np.zeros((2, 4), np.int16), scale=1, seed=0)
def test_value_gradient_and_label_forms(kind, eighths, scale, seed):
    """Equals float64, whether given class ids, their one-hot rows, or soft labels."""
    logits = (eighths * (scale / 8)).astype(np.float32)
    batch, num_classes = logits.shape
    z = logits.astype(np.float64)
    p = np.exp(log_softmax(z, axis=1))
    if kind.startswith("flsd"):
        assume(np.abs(p - 0.2).min() > 1e-6)
    if kind == "uniform":  # exactly 1 / K, or so far from it that float32 can tell
        excess = np.abs(p * num_classes - 1)
        assume(((excess < 1e-9) | (excess > 3e-6)).all())
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, batch)
    loss, restated = make_losses(num_classes, **LOGITS, reduction="none")[kind]
    one_hot = np.eye(num_classes, dtype=np.float32)[labels]
    mixed = rng.dirichlet(np.ones(num_classes), batch).astype(np.float32)
    for given_labels, t in ((labels, one_hot), (one_hot, one_hot), (mixed, mixed)):
        value, gradient = value_and_gradient(loss, given_labels, logits)
        expected_value, expected_gradient = restated(z, t.astype(np.float64))
        np.testing.assert_allclose(value, expected_value, rtol=3e-6, atol=1e-6)
        # Of p - t in float32 some units of the last place of 1 are lost, however small it is.
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_restatements_gradients_are_those_of_their_values(kind):
    rng = np.random.default_rng(0)
    z, t = rng.normal(0, 3, (5, 4)), rng.dirichlet(np.ones(4), 5)
    _, restated = make_losses(4)[kind]
    step = 1e-6 * np.eye(4)
    numeric = [(restated(z + h, t)[0] - restated(z - h, t)[0]) / 2e-6 for h in step]
    np.testing.assert_allclose(restated(z, t)[1], np.stack(numeric, axis=1), atol=1e-7)


# --- what each promises ---------------------------------------------------------------------------


def random_batch(num_classes: int = 4, batch: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, num_classes, batch)
    return labels, rng.normal(0, 4, (batch, num_classes)).astype(np.float32)


@pytest.mark.parametrize(
    "loss",
    [
        losses.FocalLoss(0, **LOGITS),
        losses.SampleDependentFocalLoss(0, gamma_low_confidence=0, **LOGITS),
        losses.ConfidencePenaltyLoss(0, **LOGITS),
        losses.UniformPenaltyLoss(0, **LOGITS),
        losses.MarginLabelSmoothingLoss(weight=0, **LOGITS),
        losses.MarginLabelSmoothingLoss(margin=1e4, **LOGITS),
        losses.ClassDistributionLabelSmoothingLoss([1, 2, 3, 4], alpha=0, gamma=0, **LOGITS),
    ],
)
def test_switched_off_they_are_cross_entropy_exactly(loss):
    labels, logits = random_batch()
    for y in (labels, np.eye(4, dtype=np.float32)[labels]):
        theirs = value_and_gradient(losses.HardLabelLoss(**LOGITS), y, logits)
        for mine, expected in zip(value_and_gradient(loss, y, logits), theirs, strict=True):
            np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize(
    ("gamma", "jit"),
    # Compiling takes seconds: for exponents that XLA writes as other operations, and for others.
    [*((gamma, False) for gamma in (0, 1e-3, 0.3, 0.999, 1, 7, 1e4)), (0.3, True), (1, True)],
)
def test_focal_is_finite_for_any_gamma_and_margin(gamma, jit):
    """Where p_y rounds to 1, (1 - p_y)^gamma has an infinite slope for gamma < 1."""
    margins = np.array([0, 1e-6, 15, 17, 40, 90, 1e4, 1e30], np.float32)
    logits = tf.constant(np.stack([margins, -margins, 0 * margins], axis=1))
    every = [
        losses.FocalLoss(gamma, **SUM),
        losses.SampleDependentFocalLoss(gamma, gamma_low_confidence=gamma, **SUM),
    ]

    def compute(*forms):
        found = []
        for loss in every:
            for labels in forms:
                with tf.GradientTape() as tape:
                    tape.watch(logits)
                    value = loss(labels, logits)
                found += [value, tape.gradient(value, logits)]
        return found

    if jit:
        compute = tf.function(compute, jit_compile=True)
    for label in (0, 1):
        ids = np.full(len(margins), label)
        for number in compute(ids, np.eye(3, dtype=np.float32)[ids]):
            assert np.isfinite(number).all()


def test_focal_keeps_the_gradient_of_samples_that_are_nearly_sure():
    """1 - exp(-ce) rounds to multiples of 6e-8; the doubt of these samples lies around that."""
    z = np.array([[14.0, 0.0], [16.0, 0.0], [18.0, 0.0]])
    t = np.eye(2)[[0, 0, 0]]
    loss = losses.FocalLoss(0.5, from_logits=True, reduction="none")
    value, gradient = value_and_gradient(loss, t.astype(np.float32), z.astype(np.float32))
    expected_value, expected_gradient = focal(0.5)(z, t)
    np.testing.assert_allclose(value, expected_value, atol=1e-9)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-9)


def test_focal_is_that_of_keras_without_its_alpha():
    labels, logits = random_batch()
    theirs = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, from_logits=True)
    mine = losses.FocalLoss(2.0, **LOGITS)
    # Theirs clips probabilities at 1e-7, which these logits do not reach.
    np.testing.assert_allclose(mine(labels, logits), theirs(np.eye(4)[labels], logits), rtol=1e-5)


def test_sample_dependent_focal_takes_its_gamma_by_the_labels_probability():
    probabilities = np.array([[0.1, 0.9], [0.3, 0.7], [0.9, 0.1]], np.float32)
    loss = losses.SampleDependentFocalLoss(
        2, gamma_low_confidence=4, threshold=0.5, reduction="none"
    )
    p = probabilities[:, 0].astype(np.float64)
    expected = (1 - p) ** np.array([4, 4, 2]) * -np.log(p)
    np.testing.assert_allclose(loss([0, 0, 0], probabilities), expected, rtol=1e-6)
    never = losses.SampleDependentFocalLoss(
        2, gamma_low_confidence=4, threshold=0.0, reduction="none"
    )
    plain = losses.FocalLoss(2, reduction="none")
    np.testing.assert_array_equal(never([0, 0, 0], probabilities), plain([0, 0, 0], probabilities))


def test_of_equal_logits_the_first_has_the_margins_gradient():
    loss = losses.MarginLabelSmoothingLoss(margin=1, weight=1, base="none", **LOGITS)
    _, gradient = value_and_gradient(loss, [2], np.array([[0.0, 3.0, 3.0, 1.5]], np.float32))
    np.testing.assert_allclose(gradient, [[-0.25, 0.5, 0.0, -0.25]])


def test_the_margin_of_probabilities_is_that_of_their_logits():
    labels, logits = random_batch()
    probabilities = np.exp(log_softmax(logits, axis=1))
    np.testing.assert_allclose(
        losses.MarginLabelSmoothingLoss(2)(labels, probabilities),
        losses.MarginLabelSmoothingLoss(2, **LOGITS)(labels, logits),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("loss", "uniform", "sure"),
    [
        (losses.ConfidencePenaltyLoss(1, base="none"), -np.log(4), 0),
        (losses.UniformPenaltyLoss(1, base="none"), 0, 1.5),
        (losses.MarginLabelSmoothingLoss(0, weight=1, base="none"), 0, 0.75 * -np.log(2.0**-126)),
        (losses.BrierLoss(), 0.75, 0),
    ],
)
def test_at_uniform_and_at_sure_predictions(loss, uniform, sure):
    np.testing.assert_allclose(loss([0], np.full((1, 4), 0.25, np.float32)), uniform, atol=1e-7)
    np.testing.assert_allclose(loss([0], np.eye(4, dtype=np.float32)[:1]), sure, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [losses.ConfidencePenaltyLoss, losses.UniformPenaltyLoss, losses.MarginLabelSmoothingLoss],
)
def test_a_penalty_on_top_of_another_loss(make):
    labels, logits = random_batch()
    smooth = losses.LabelSmoothingLoss(0.2, **LOGITS)
    alone = make(weight=0.3, base="none", **LOGITS)(labels, logits)
    both = make(weight=0.3, base=smooth, **LOGITS)(labels, logits)
    np.testing.assert_allclose(both, smooth(labels, logits) + alone, rtol=1e-6)


def test_equal_class_counts_give_label_smoothing():
    labels, logits = random_batch()
    mine = losses.ClassDistributionLabelSmoothingLoss([7, 7, 7, 7], alpha=0.1, gamma=0.05, **LOGITS)
    theirs = losses.LabelSmoothingLoss(0.15, **LOGITS)
    np.testing.assert_allclose(mine(labels, logits), theirs(labels, logits), rtol=1e-6)


# --- bad input ------------------------------------------------------------------------------------

AT_LEAST_0 = "expected a number >= 0, received"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.FocalLoss(-1), f"gamma: {AT_LEAST_0} -1"),
        (lambda: losses.FocalLoss("3"), f"gamma: {AT_LEAST_0} '3'"),
        (lambda: losses.FocalLoss(np.inf), f"gamma: {AT_LEAST_0} inf"),
        (lambda: losses.SampleDependentFocalLoss(np.nan), f"gamma: {AT_LEAST_0} nan"),
        (
            lambda: losses.SampleDependentFocalLoss(gamma_low_confidence=None),
            f"gamma_low_confidence: {AT_LEAST_0} None",
        ),
        (
            lambda: losses.SampleDependentFocalLoss(threshold=20),
            r"threshold: expected a number in \[0, 1\], received 20",
        ),
        (lambda: losses.ConfidencePenaltyLoss(-0.1), f"weight: {AT_LEAST_0} -0.1"),
        (lambda: losses.UniformPenaltyLoss(True), f"weight: {AT_LEAST_0} True"),
        (lambda: losses.MarginLabelSmoothingLoss(-1), f"margin: {AT_LEAST_0} -1"),
        (lambda: losses.MarginLabelSmoothingLoss(weight=-1), f"weight: {AT_LEAST_0} -1"),
        (
            lambda: losses.ConfidencePenaltyLoss(base="focal"),
            "base: expected 'hard_labels', 'none' or a loss of lsplus_tf, received 'focal'",
        ),
    ],
)
def test_arguments_outside_their_range(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"class_counts": [1]},
            r"class_counts: expected shape \(K,\) with K >= 2, received shape \(1,\)",
        ),
        (
            {"class_counts": [[1, 2]]},
            r"class_counts: expected shape \(K,\) .* received shape \(1, 2\)",
        ),
        ({"class_counts": "many"}, r"class_counts: expected \(K,\) numbers, received 'many'"),
        (
            {"class_counts": [3, -1]},
            r"class_counts: expected finite numbers >= 0, received -1.0 at \[1\]",
        ),
        (
            {"class_counts": [np.nan, 1]},
            r"class_counts: expected finite numbers >= 0, received nan at \[0\]",
        ),
        (
            {"class_counts": [0, 0]},
            "class_counts: expected a class with samples, received only zeros",
        ),
        (
            {"class_counts": [1, 2], "alpha": 1.5},
            r"alpha: expected a number in \[0, 1\], received 1.5",
        ),
        ({"class_counts": [1, 2], "gamma": -1}, f"gamma: {AT_LEAST_0} -1"),
        (
            {"class_counts": [1, 2], "alpha": 0.9, "gamma": 0.2},
            "gamma: expected at most 1 - alpha, received 0.2 with alpha=0.9",
        ),
    ],
)
def test_class_counts_and_smoothing_that_cannot_be(arguments, message):
    with pytest.raises(InputError, match=message):
        losses.ClassDistributionLabelSmoothingLoss(**arguments)


def test_all_smoothing_that_there_is():
    for tenths in range(11):  # 0.9 + 0.1 and the like must not be refused for their rounding
        losses.ClassDistributionLabelSmoothingLoss(
            [1, 2], alpha=tenths / 10, gamma=(10 - tenths) / 10
        )


def test_another_number_of_classes_than_counted():
    loss = losses.ClassDistributionLabelSmoothingLoss([1, 2, 3], **LOGITS)
    message = "y_pred: expected 3 classes as in class_counts, received 4"
    for labels in ([0], np.eye(4)[:1]):
        with pytest.raises(InputError, match=message):
            loss(labels, np.zeros((1, 4), np.float32))
