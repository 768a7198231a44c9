"""Dual focal loss, BSCE-GRA, FCL and SA-FCL, against their authors' values and float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from golden_since import CASES, Golden, assert_close
from helpers import value_and_gradient
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax, softmax
from test_losses_pointwise import Restated, brier, focal, through_softmax

from lsplus_tf import losses
from lsplus_tf.config.methods import BrierScaledCrossEntropy, DualFocal, FocalCalibration
from lsplus_tf.errors import InputError

LOGITS: dict[str, Any] = {"from_logits": True}
NONE: dict[str, Any] = {"from_logits": True, "reduction": "none"}


# --- against the original authors' code -----------------------------------------------------------


def detached_focal(gamma: float) -> Callable[..., tf.Tensor]:
    """(1 - p_y)^gamma without gradient, times cross-entropy: FL-GRA."""
    loss = losses.BrierScaledCrossEntropyLoss(1, gamma=gamma, **LOGITS)
    return lambda labels, outputs: loss(labels, outputs) / 2**gamma


# Golden entry -> what of ours is to equal it.
GOLDEN: dict[str, Callable[..., Any]] = {
    "dual_focal_g5": losses.DualFocalLoss(**LOGITS),
    "dual_focal_g2.3": losses.DualFocalLoss(2.3, **LOGITS),
    "dual_focal_gra_g3": losses.DualFocalLoss(3, detached="rival", **LOGITS),
    "focal_gra_g3": detached_focal(3),
    "bsce_gra_norm2_g2": losses.BrierScaledCrossEntropyLoss(**LOGITS),
    "bsce_gra_norm2_g4": losses.BrierScaledCrossEntropyLoss(gamma=4, **LOGITS),
    "bsce_gra_norm1_g1": losses.BrierScaledCrossEntropyLoss(1, gamma=1, **LOGITS),
    "bsce_norm2_g2_undetached": losses.BrierScaledCrossEntropyLoss(detached=False, **LOGITS),
    "fcl_g2_l1": losses.FocalCalibrationLoss(**LOGITS),
    "fcl_g3_l0.5": losses.FocalCalibrationLoss(3, weight=0.5, **LOGITS),
    "safcl_g2_c2_l1": losses.FocalCalibrationLoss(gate=2, **LOGITS),
    "safcl_g2_c2_l1_undetached": losses.FocalCalibrationLoss(gate=2, gate_detached=False, **LOGITS),
}
SEQUENCES_COMPARED: list[str] = []  # none of these losses changes in training


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("entry", GOLDEN)
def test_as_the_original(golden, entry, case):
    logits, labels = golden.given(case, "logits"), golden.given(case, "labels")
    assert_close(GOLDEN[entry], labels, logits, *golden.expected(entry, case))


# --- against float64 restatements, everywhere -----------------------------------------------------


def dual_focal(gamma: float, detached: str = "none") -> Restated:
    def restated(z: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, gradient = np.zeros(len(z)), np.zeros(z.shape)
        for b, k in np.ndindex(*z.shape):
            nll = -log_softmax(z[b])
            p, units = np.exp(-nll), np.eye(len(nll))
            base, slope = -np.expm1(-nll[k]), -p[k] * (units[k] - p)
            below = [j for j in range(len(p)) if z[b, j] < z[b, k]]
            if below:
                j = max(below, key=lambda j: (z[b, j], -j))
                base += p[j]
                slope += p[j] * (units[j] - p) * (detached == "none")
            weight = base**gamma
            if base > 0 and detached != "weight":
                gradient[b] += t[b, k] * nll[k] * gamma * base ** (gamma - 1) * slope
            gradient[b] += t[b, k] * weight * (p - units[k])
            value[b] += t[b, k] * weight * nll[k]
        return value, gradient

    return restated


def brier_scaled(norm: float, gamma: float, detached: bool = True) -> Restated:
    def restated(z: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_p = log_softmax(z, axis=1)
        p = np.exp(log_p)
        away = np.where(t == 1, np.expm1(log_p), p - t)
        distance = (np.abs(away) ** norm).sum(axis=1, keepdims=True) ** (1 / norm)
        weight, ce = distance**gamma, -(t * log_p).sum(axis=1, keepdims=True)
        gradient = weight * (p * t.sum(axis=1, keepdims=True) - t)
        if not detached:
            known = np.where(distance > 0, distance, 1)
            slope = gamma * weight / known * (np.abs(away) / known) ** (norm - 1) * np.sign(away)
            gradient += ce * through_softmax(p, slope)
        return (weight * ce)[:, 0], gradient

    return restated


def focal_calibration(
    gamma: float, weight: float, gate: float | None = None, detached: bool = True
) -> Restated:
    def restated(z: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, second = focal(gamma)(z, t), brier(z, t)
        log_p = log_softmax(z, axis=1)
        p, q = np.exp(log_p), -np.expm1(log_p)
        factor, slope = np.ones(len(z)), np.zeros(z.shape)
        if gate is not None:
            factor = (t * q**gate).sum(axis=1)
            if not detached:
                slope = -t * gate * np.where(q > 0, q, 1) ** (gate - 1)
        gradient = factor[:, None] * second[1] + second[0][:, None] * through_softmax(p, slope)
        return first[0] + weight * factor * second[0], first[1] + weight * gradient

    return restated


PAIRS: dict[str, tuple[Callable[..., Any], Restated]] = {
    "dual": (lambda **o: losses.DualFocalLoss(2.5, **o), dual_focal(2.5)),
    "dual, small gamma": (lambda **o: losses.DualFocalLoss(0.3, **o), dual_focal(0.3)),
    "dual, rival": (
        lambda **o: losses.DualFocalLoss(2, detached="rival", **o),
        dual_focal(2, "rival"),
    ),
    "dual, weight": (
        lambda **o: losses.DualFocalLoss(2, detached="weight", **o),
        dual_focal(2, "weight"),
    ),
    "scaled": (lambda **o: losses.BrierScaledCrossEntropyLoss(**o), brier_scaled(2, 2)),
    "scaled, small gamma": (
        lambda **o: losses.BrierScaledCrossEntropyLoss(3, gamma=0.3, **o),
        brier_scaled(3, 0.3),
    ),
    "scaled, with gradient": (
        lambda **o: losses.BrierScaledCrossEntropyLoss(detached=False, **o),
        brier_scaled(2, 2, detached=False),
    ),
    "scaled, norm 1.5 with gradient": (
        lambda **o: losses.BrierScaledCrossEntropyLoss(1.5, gamma=1, detached=False, **o),
        brier_scaled(1.5, 1, detached=False),
    ),
    "calibration": (lambda **o: losses.FocalCalibrationLoss(**o), focal_calibration(2, 1)),
    "calibration, gate": (
        lambda **o: losses.FocalCalibrationLoss(3, weight=0.5, gate=2, **o),
        focal_calibration(3, 0.5, 2),
    ),
    "calibration, gate with gradient": (
        lambda **o: losses.FocalCalibrationLoss(3, weight=0.5, gate=2, gate_detached=False, **o),
        focal_calibration(3, 0.5, 2, detached=False),
    ),
    "calibration, small gamma": (
        lambda **o: losses.FocalCalibrationLoss(0.4, weight=0.5, gate=1, **o),
        focal_calibration(0.4, 0.5, 1),
    ),
}


@pytest.mark.parametrize("kind", PAIRS)
@settings(max_examples=5, deadline=None)
@given(
    # Eighths, whose differences float32 has exactly, and among which ties abound.
    eighths=hnp.arrays(
        np.int16, st.tuples(st.integers(1, 5), st.integers(2, 5)), elements=st.integers(-200, 200)
    ),
    scale=st.sampled_from([1, 1, 1, 16, 1024]),
    seed=st.integers(0, 2**16),
)
@example(eighths=np.zeros((2, 4), np.int16), scale=1, seed=0)
@example(eighths=np.array([[0, 9, 9, 9], [8, 8, 0, 0]], np.int16), scale=1, seed=0)
def test_value_gradient_and_label_forms(kind, eighths, scale, seed):
    """Equals float64, whether given class ids, their one-hot rows, or soft labels."""
    logits = (eighths * (scale / 8)).astype(np.float32)
    num_classes = logits.shape[1]
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, len(logits))
    one_hot = np.eye(num_classes, dtype=np.float32)[labels]
    mixed = rng.dirichlet(np.ones(num_classes), len(logits)).astype(np.float32)
    make, restated = PAIRS[kind]
    loss = make(**NONE)
    for given_labels, t in ((labels, one_hot), (one_hot, one_hot), (mixed, mixed)):
        value, gradient = value_and_gradient(loss, given_labels, logits)
        expected = restated(logits.astype(np.float64), t.astype(np.float64))
        np.testing.assert_allclose(value, expected[0], rtol=3e-6, atol=1e-6)
        # Of p - t in float32 some units of the last place of 1 are lost, however small it is; a
        # weight's gradient is that of p, times the cross-entropy.
        factor = 1 + -(t * log_softmax(logits, axis=1)).sum(axis=1, keepdims=True)
        apart = np.abs(gradient - expected[1]) / factor
        np.testing.assert_array_less(apart, 2e-6 + 1e-5 * np.abs(expected[1]))


DETACHED = {
    "dual, rival",
    "dual, weight",
    "scaled",
    "scaled, small gamma",
    "calibration, gate",
    "calibration, small gamma",
}


@pytest.mark.parametrize("kind", PAIRS)
def test_the_restatements_gradients_are_those_of_their_values(kind):
    rng = np.random.default_rng(0)
    z, t = rng.normal(0, 3, (5, 4)), rng.dirichlet(np.ones(4), 5)
    _, restated = PAIRS[kind]
    numeric = [
        (restated(z + step, t)[0] - restated(z - step, t)[0]) / 2e-6 for step in 1e-6 * np.eye(4)
    ]
    apart = np.abs(restated(z, t)[1] - np.stack(numeric, axis=1)).max()
    assert apart > 1e-3 if kind in DETACHED else apart < 1e-7


# --- what each promises ---------------------------------------------------------------------------


def random_batch(num_classes: int = 4, batch: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, num_classes, batch)
    return labels, rng.normal(0, 4, (batch, num_classes)).astype(np.float32)


def assert_equal(mine: Any, theirs: Any, labels: Any, outputs: Any, **tolerance: Any) -> None:
    """Value and gradient; to the last bit where no tolerance is given."""
    for found, expected in zip(
        value_and_gradient(mine, labels, outputs),
        value_and_gradient(theirs, labels, outputs),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, **{"rtol": 0, **tolerance})


@pytest.mark.parametrize("rows", [False, True], ids=["class-ids", "rows"])
@pytest.mark.parametrize(
    "loss",
    [
        losses.DualFocalLoss(0, **LOGITS),
        losses.DualFocalLoss(0, detached="weight", **LOGITS),
        losses.BrierScaledCrossEntropyLoss(3, gamma=0, **LOGITS),
        losses.BrierScaledCrossEntropyLoss(gamma=0, detached=False, **LOGITS),
        losses.FocalCalibrationLoss(0, weight=0, gate=2, **LOGITS),
    ],
)
def test_switched_off_they_are_cross_entropy_exactly(loss, rows):
    labels, logits = random_batch()
    y = np.eye(4, dtype=np.float32)[labels] if rows else labels
    assert_equal(loss, losses.HardLabelLoss(**LOGITS), y, logits)


@pytest.mark.parametrize("gate", [None, 2])
def test_focal_calibration_of_weight_0_is_focal_loss_exactly(gate):
    labels, logits = random_batch()
    mixed = np.random.default_rng(0).dirichlet(np.ones(4), len(labels)).astype(np.float32)
    for y in (labels, mixed):
        loss = losses.FocalCalibrationLoss(2.5, weight=0, gate=gate, **LOGITS)
        assert_equal(loss, losses.FocalLoss(2.5, **LOGITS), y, logits)


def test_focal_calibration_without_focus_is_cross_entropy_and_the_brier_score():
    labels, logits = random_batch()
    for y in (labels, np.random.default_rng(0).dirichlet(np.ones(4), len(labels))):
        loss = losses.FocalCalibrationLoss(0, weight=0.7, **LOGITS)
        parts = (losses.HardLabelLoss(**LOGITS), losses.BrierLoss(**LOGITS))
        expected = float(parts[0](y, logits)) + 0.7 * float(parts[1](y, logits))
        assert float(loss(y, logits)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.3, 1, 2.5])
@pytest.mark.parametrize(
    ("num_classes", "norm"), [(4, 1), (165, 1), (2, 1), (2, 1.5), (2, 2), (2, 7), (2, 1e9)]
)
def test_at_norm_1_and_with_two_classes_bsce_is_detached_focal_loss(num_classes, norm, gamma):
    """Times 2^(gamma / norm); the gradient of focal loss without that of its weight."""
    labels, logits = random_batch(num_classes)
    p = softmax(logits.astype(np.float64), axis=1)
    of_label = p[np.arange(len(labels)), labels]
    weight = (1 - of_label) ** gamma * 2 ** (gamma / norm)
    loss = losses.BrierScaledCrossEntropyLoss(norm, gamma=gamma, **NONE)
    value, gradient = value_and_gradient(loss, labels, logits)
    np.testing.assert_allclose(value, weight * -np.log(of_label), rtol=2e-5, atol=1e-8)
    expected = weight[:, None] * (p - np.eye(num_classes)[labels])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


def test_the_weight_of_bsce_is_the_brier_score():
    labels, logits = random_batch()
    mixed = np.random.default_rng(0).dirichlet(np.ones(4), len(labels)).astype(np.float32)
    for y in (labels, mixed):
        brier_scores = losses.BrierLoss(**NONE)(y, logits)
        ce = losses.HardLabelLoss(**NONE)(y, logits)
        found = losses.BrierScaledCrossEntropyLoss(**NONE)(y, logits)
        np.testing.assert_allclose(found, brier_scores * ce, rtol=1e-5, atol=1e-7)


def test_the_norm_of_a_high_order_is_the_largest_distance():
    """Whose powers float32 cannot hold."""
    probabilities = np.array([[0.9, 0.09, 0.01], [0.3, 0.5, 0.2]])
    loss = losses.BrierScaledCrossEntropyLoss(1e4, gamma=1, reduction="none")
    labels = np.array([[1, 0, 0], [0.6, 0.1, 0.3]])
    expected = np.array([0.1, 0.4]) * -(labels * np.log(probabilities)).sum(axis=1)
    np.testing.assert_allclose(loss(labels, probabilities), expected, rtol=1e-3)


def test_what_is_detached_does_not_change_the_value():
    labels, logits = random_batch()
    of = losses.DualFocalLoss, losses.BrierScaledCrossEntropyLoss, losses.FocalCalibrationLoss
    groups = [
        [of[0](2, detached=d, **NONE) for d in ("none", "rival", "weight")],
        [of[1](detached=d, **NONE) for d in (False, True)],
        [of[2](gate=2, gate_detached=d, **NONE) for d in (False, True)],
    ]
    for first, *others in groups:
        value, gradient = value_and_gradient(first, labels, logits)
        for other in others:
            other_value, other_gradient = value_and_gradient(other, labels, logits)
            np.testing.assert_array_equal(other_value, value)
            assert np.abs(other_gradient - gradient).max() > 1e-2


@pytest.mark.parametrize(
    ("probabilities", "label", "rival"),
    [
        ([0.6, 0.3, 0.1], 0, 0.3),
        ([0.6, 0.3, 0.1], 1, 0.1),  # wrong: not the predicted class, but the best below the label
        ([0.6, 0.3, 0.1], 2, 0.0),  # below the label is none
        ([0.4, 0.4, 0.2], 0, 0.2),  # a class as probable as the label is none either
        ([0.25, 0.25, 0.25, 0.25], 1, 0.0),
        ([0.0, 0.5, 0.5], 1, 0.0),
    ],
)
def test_the_rival_is_the_best_class_below_the_label(probabilities, label, rival):
    p_y, loss = probabilities[label], losses.DualFocalLoss(1.5)
    expected = (1 - p_y + rival) ** 1.5 * -np.log(p_y)
    one_hot = np.eye(len(probabilities))[[label]]
    for y in ([label], one_hot):
        value = loss(y, np.array([probabilities], np.float32))
        assert float(value) == pytest.approx(expected, rel=1e-5)


def test_of_equal_rivals_one_has_the_gradient():
    for y in ([0], np.eye(4, dtype=np.float32)[[0]]):
        loss = losses.DualFocalLoss(2)
        _, gradient = value_and_gradient(loss, y, np.array([[0.4, 0.2, 0.2, 0.2]], np.float32))
        expected = 2 * (1 - 0.4 + 0.2) * -np.log(0.4)
        np.testing.assert_allclose(sorted(gradient[0, 1:]), [0, 0, expected], rtol=1e-6)


@pytest.mark.parametrize(("small", "jit"), [(1e-3, False), (0.999, False), (1, False), (0.3, True)])
def test_finite_where_p_rounds_to_1_and_to_0(small, jit):
    """(1 - p_y)^gamma has an infinite slope there for gamma below 1, in the authors' code too."""
    margins = np.array([0, 1e-6, 15, 17, 40, 90, 200, 1e4, 1e30], np.float32)
    logits = np.stack([margins, -margins, 0 * margins], axis=1)
    made = [
        lambda o: losses.DualFocalLoss(small, **o),
        lambda o: losses.BrierScaledCrossEntropyLoss(2, gamma=small, detached=False, **o),
        lambda o: losses.BrierScaledCrossEntropyLoss(1.5, gamma=small, detached=False, **o),
        lambda o: losses.FocalCalibrationLoss(small, gate=small, gate_detached=False, **o),
    ]
    kinds = [(True, logits), (False, softmax(logits, axis=1))]
    for from_logits, outputs in kinds[:1] if jit else kinds:  # compiling takes seconds
        every = [make({"from_logits": from_logits, "reduction": "sum"}) for make in made]

        def compute(labels, outputs, every=every):
            found = []
            for loss in every:
                with tf.GradientTape() as tape:
                    tape.watch(outputs)
                    value = loss(labels, outputs)
                found += [value, tape.gradient(value, outputs)]
            return found

        if jit:
            compute = tf.function(compute, jit_compile=True)
        for label in (0, 1):
            ids = np.full(len(margins), label)
            for labels in (ids,) if jit else (ids, np.eye(3, dtype=np.float32)[ids]):
                for number in compute(labels, tf.constant(outputs)):
                    assert np.isfinite(number).all()


# --- names and bad input --------------------------------------------------------------------------


def test_titles_in_tables():
    dual, scaled, calibration = "dual_focal", "brier_scaled_cross_entropy", "focal_calibration"
    assert [
        DualFocal(loss=dual).title,
        DualFocal(loss=dual, detached="rival").title,
        DualFocal(loss=dual, detached="weight", mixup=1.0).title,
        BrierScaledCrossEntropy(loss=scaled).title,
        BrierScaledCrossEntropy(loss=scaled, detached=False).title,
        FocalCalibration(loss=calibration).title,
        FocalCalibration(loss=calibration, gate=2.0).title,
    ] == [
        "DFL",
        "DFL, rival detached",
        "DFL-GRA + mixup",
        "BSCE-GRA",
        "BSCE",
        "FCL",
        "SA-FCL",
    ]


AT_LEAST_0 = "expected a number >= 0, received"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.DualFocalLoss(-1), f"gamma: {AT_LEAST_0} -1"),
        (
            lambda: losses.DualFocalLoss(detached=True),
            "detached: expected 'none' or 'rival' or 'weight', received True",
        ),
        (
            lambda: losses.BrierScaledCrossEntropyLoss(0.5),
            "norm: expected a number >= 1, received 0.5",
        ),
        (
            lambda: losses.BrierScaledCrossEntropyLoss(np.inf),
            "norm: expected a number >= 1, received inf",
        ),
        (
            lambda: losses.BrierScaledCrossEntropyLoss(gamma="2"),
            r"gamma: expected a number in \[0, 100\], received '2'",
        ),
        (
            lambda: losses.BrierScaledCrossEntropyLoss(detached="rival"),
            "detached: expected True or False, received 'rival'",
        ),
        (lambda: losses.FocalCalibrationLoss(np.nan), f"gamma: {AT_LEAST_0} nan"),
        (lambda: losses.FocalCalibrationLoss(weight=-1), f"weight: {AT_LEAST_0} -1"),
        (lambda: losses.FocalCalibrationLoss(gate=True), f"gate: {AT_LEAST_0} True"),
        (
            lambda: losses.FocalCalibrationLoss(gate_detached=None),
            "gate_detached: expected True or False, received None",
        ),
    ],
)
def test_arguments_outside_their_range(make, message):
    with pytest.raises(InputError, match=message):
        make()
