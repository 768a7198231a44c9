"""The losses with batch statistics against the originals, float64 restatements and two devices."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import forked
import numpy as np
import pytest
import tensorflow as tf
from helpers import value_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit, softmax, xlogy

import lsplus_tf as lsp
from lsplus_tf.errors import InputError
from lsplus_tf.losses import (
    DCALoss,
    DifferentiableECELoss,
    ErroneousEntropyLoss,
    FocalLoss,
    LabelSmoothingLoss,
    MDCALoss,
    MMCELoss,
)

# --- against the original authors' code -----------------------------------------------------------


def released_meep(**options: Any) -> Callable[[int], Any]:
    return lambda k: ErroneousEntropyLoss(
        0.3, convention="released_code", from_logits=True, **options
    )


# Each entry of the golden values and, for a number of classes, the loss that equals it.
GOLDEN: dict[str, Callable[[int], Any]] = {
    "mmce_torrvision_l1": lambda k: MMCELoss(1.0, from_logits=True),
    "mmce_torrvision_l2": lambda k: MMCELoss(2.0, from_logits=True),
    "mmce_w_torrvision_l2": lambda k: MMCELoss(2.0, weighted=True, from_logits=True),
    "mmce_w_mdca_b2": lambda k: MMCELoss(2.0, weighted=True, from_logits=True),
    "dca_original_a1_b1": lambda k: DCALoss(1.0, from_logits=True),
    "dca_original_a1_b10": lambda k: DCALoss(10.0, from_logits=True),
    "dca_mdcarepo_b1": lambda k: DCALoss(1.0, from_logits=True),
    "dca_mdcarepo_b10": lambda k: DCALoss(10.0, from_logits=True),
    "mdca_term": lambda k: MDCALoss(1.0, base="none", from_logits=True),
    "nll_mdca_b1": lambda k: MDCALoss(1.0, from_logits=True),
    "nll_mdca_b10": lambda k: MDCALoss(10.0, from_logits=True),
    "fl_mdca_g1_b1": lambda k: MDCALoss(1.0, base=FocalLoss(1.0), from_logits=True),
    "fl_mdca_g3_b1": lambda k: MDCALoss(1.0, base=FocalLoss(3.0), from_logits=True),
    # Its label smoothing spreads alpha over the other classes only.
    "ls_mdca_aux_a0.1_b1": lambda k: MDCALoss(
        1.0, base=LabelSmoothingLoss(0.1 * k / (k - 1)), from_logits=True
    ),
    "dece_b15_ta100_tb0.01": lambda k: DifferentiableECELoss(
        weight=1.0, base="none", from_logits=True
    ),
    "ce_plus_half_dece": lambda k: DifferentiableECELoss(weight=0.5, from_logits=True),
    "meep_bce_ME_u0.3": released_meep(samples="all"),
    "meep_bce_MEEP_u0.3": released_meep(),
    "meep_bce_MEEP_KL_u0.3": released_meep(divergence="kl"),
}


@pytest.mark.parametrize("case", ["c0", "c2", "c4", "c6"])
@pytest.mark.parametrize("entry", GOLDEN)
def test_as_the_original(shared, entry, case):
    arrays = np.load(shared / "golden" / "golden_losses.npz")
    logits, labels = arrays[f"in/{case}/logits"], arrays[f"in/{case}/labels"]
    loss = GOLDEN[entry](logits.shape[1])
    value, gradient = value_and_gradient(loss, labels, logits)
    assert np.isfinite(gradient).all()
    if entry.startswith("mmce_w") and case == "c0":
        # The original cannot take a batch of one: it asks for the two largest of one number.
        assert f"{entry}/{case}/loss_f64" not in arrays
        expected = value_and_gradient(lsp.HardLabelLoss(from_logits=True), labels, logits)
        assert value == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])
        return
    if entry in ("meep_bce_MEEP_u0.3", "meep_bce_MEEP_KL_u0.3") and case in ("c0", "c6"):
        # Nothing is misclassified, and the original divides by 0.
        assert np.isnan(arrays[f"{entry}/{case}/loss_f32"])
        none = ErroneousEntropyLoss(0.0, convention="released_code", from_logits=True)
        assert value == value_and_gradient(none, labels, logits)[0]
        return
    # MEEP runs in float32 only.
    precision = "f32" if entry.startswith("meep") else "f64"
    # float32 rounds a probability near 1 by 6e-8, in the base and once more in the penalty.
    tolerance = {"rtol": 1e-6, "atol": 6e-8 * (loss.weight + (loss.base != "none"))}
    np.testing.assert_allclose(value, arrays[f"{entry}/{case}/loss_{precision}"], **tolerance)
    np.testing.assert_allclose(gradient, arrays[f"{entry}/{case}/grad_{precision}"], **tolerance)


# --- against float64 restatements -----------------------------------------------------------------


def dca(p, rows, w):
    r, c = top(p, rows)
    return abs((w * (r - c)).sum() / w.sum())


def mdca(p, rows, w):
    return np.abs((w[:, None] * (p - rows)).sum(axis=0) / w.sum()).mean()


def mmce(p, rows, w):
    r, c = top(p, rows)
    return over_pairs(r, w * (c - r) / w.sum())


def mmce_paper(p, rows, w):
    return np.sqrt(mmce(p, rows, w))


def mmce_weighted(p, rows, w, twice=True):
    """Every sum over its number of pairs; the released code divides again, by 1e-5 more."""
    r, c = top(p, rows)
    m, n = (w * c).sum(), (w * (1 - c)).sum()
    if m == 0 or n == 0:
        return 0.0
    right, wrong = w * c * (1 - r), w * (1 - c) * r
    rr, ww = over_pairs(r, right), over_pairs(r, wrong)
    cross = over_pairs(r, right - wrong) - rr - ww
    sums = [(rr, m * m), (ww, n * n), (cross, m * n)]
    return np.sqrt(max(sum(t / b / (b + 1e-5 if twice else 1) for t, b in sums), 0.0))


def mmce_weighted_paper(p, rows, w):
    return mmce_weighted(p, rows, w, twice=False)


def dece(p, rows, w, t_a=100.0, t_b=0.01, bins=15):
    r, _ = top(p, rows)
    y = rows.argmax(axis=1)
    index = np.arange(len(y))
    p_y = p[index, y]
    others = expit(t_a * (p - p_y[:, None]))
    others[index, y] = 0
    right = np.maximum(2 - (1 + others.sum(axis=1)), 0)
    edges = np.linspace(0, 1, bins + 1)[:-1]
    membership = softmax((r[:, None] * np.arange(1, bins + 1) - np.cumsum(edges)) / t_b, axis=1)
    membership = w[:, None] * (membership + 1e-6) / (1 + (bins + 1) * 1e-6)
    mass = membership.sum(axis=0)
    accuracy = (membership * right[:, None]).sum(axis=0) / mass
    confidence = (membership * r[:, None]).sum(axis=0) / mass
    return (mass / w.sum() * np.abs(accuracy - confidence)).sum()


def meep(p, rows, w):
    wrong = w * (p.argmax(axis=1) != rows.argmax(axis=1))
    entropy = -xlogy(p, p).sum(axis=1)
    return -(wrong * entropy).sum() / wrong.sum() if wrong.any() else 0.0


def maximum_entropy(p, rows, w):
    return -(w * -xlogy(p, p).sum(axis=1)).sum() / w.sum()


def meep_kl(p, rows, w):
    wrong = w * (p.argmax(axis=1) != rows.argmax(axis=1))
    u = 1 / p.shape[1]
    kl = (u * (np.log(u) - np.log(p))).sum(axis=1)
    return (wrong * kl).sum() / wrong.sum() if wrong.any() else 0.0


def top(p: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidence, and what the labels give the predicted class."""
    predicted = p.argmax(axis=1)
    return p.max(axis=1), rows[np.arange(len(p)), predicted]


def over_pairs(r: np.ndarray, v: np.ndarray) -> float:
    return max(0.0, float(v @ np.exp(-np.abs(r[:, None] - r) / 0.4) @ v))


ALONE = {"base": "none", "from_logits": True, "reduction": "sum"}
# Each penalty alone, and its restatement.
PENALTIES: dict[str, tuple[Any, Callable[..., float]]] = {
    "dca": (DCALoss(1.0, **ALONE), dca),
    "mdca": (MDCALoss(1.0, **ALONE), mdca),
    "mmce": (MMCELoss(1.0, **ALONE), mmce),
    "mmce paper": (MMCELoss(1.0, convention="standard", **ALONE), mmce_paper),
    "mmce weighted": (MMCELoss(1.0, weighted=True, **ALONE), mmce_weighted),
    "mmce weighted paper": (
        MMCELoss(1.0, weighted=True, convention="standard", **ALONE),
        mmce_weighted_paper,
    ),
    "dece": (DifferentiableECELoss(weight=1.0, **ALONE), dece),
    "meep": (ErroneousEntropyLoss(1.0, **ALONE), meep),
    "all": (ErroneousEntropyLoss(1.0, samples="all", **ALONE), maximum_entropy),
    "kl": (ErroneousEntropyLoss(1.0, divergence="kl", **ALONE), meep_kl),
}


def penalty(kind: str, labels: Any, logits: Any, weights: Any = None) -> tuple[float, np.ndarray]:
    """The penalty and its gradient; every sample's loss contains it once."""
    total = np.size(logits) // np.shape(logits)[-1] if weights is None else np.sum(weights)
    value, gradient = value_and_gradient(PENALTIES[kind][0], labels, logits, weights)
    return value / total, gradient / total


@pytest.mark.parametrize("kind", PENALTIES)
@settings(max_examples=10, deadline=None)
@given(
    logits=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(2, 5)),
        # Not so close that softmax makes them equal, and another class the predicted one.
        elements=st.integers(-40 * 1024, 40 * 1024).map(lambda n: n / 1024),
    ),
    seed=st.integers(0, 2**16),
    soft=st.booleans(),
)
def test_values(kind, logits, seed, soft):
    """Any logits: as in float64, with hard and soft labels, with and without weights."""
    batch, num_classes = logits.shape
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, batch)
    rows = np.eye(num_classes, dtype=np.float32)[labels]
    if soft:
        rows = labels = rng.dirichlet(np.ones(num_classes), batch).astype(np.float32)
    weights = rng.integers(0, 3, batch).astype(np.float32)
    weights[0] = 1
    p = softmax(logits.astype(np.float64), axis=1)
    # A root makes much of a rounding error near 0.
    power = 2 if kind in ("mmce paper", "mmce weighted", "mmce weighted paper") else 1
    for w in (None, weights):
        value, gradient = penalty(kind, labels, logits, w)
        ones = np.ones(batch) if w is None else w
        expected = PENALTIES[kind][1](p, rows.astype(np.float64), ones)
        # Soft labels may leave next to nothing right, and the fourth power of that to divide by.
        rtol = 1e-4 if kind.startswith("mmce weighted") and soft else 1e-5
        np.testing.assert_allclose(value**power, expected**power, rtol=rtol, atol=1e-6)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("kind", PENALTIES)
def test_gradients(kind, soft):
    """Against differences of the float64 values, where nothing is near a kink."""
    rng = np.random.default_rng(7)
    logits = rng.normal(0, 1.5, (12, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 12)
    rows = np.eye(4, dtype=np.float32)[labels]
    if soft:
        rows = labels = rng.dirichlet(np.full(4, 0.3), 12).astype(np.float32)
    weights = rng.uniform(0.2, 2.0, 12).astype(np.float32)
    _, gradient = penalty(kind, labels, logits, weights)
    step = 1e-5
    differences = np.zeros_like(gradient)
    for index in np.ndindex(*logits.shape):
        at = [logits.astype(np.float64) for _ in range(2)]
        at[0][index] += step
        at[1][index] -= step
        values = [
            PENALTIES[kind][1](softmax(z, axis=1), rows.astype(np.float64), weights) for z in at
        ]
        differences[index] = (values[0] - values[1]) / (2 * step)
    # Only the confidence and the rank of DECE, where the temperatures are steep, round visibly.
    atol = 1e-4 if kind == "dece" else 1e-6
    np.testing.assert_allclose(gradient, differences, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("kind", PENALTIES)
def test_samples_without_weight_and_pixels(kind):
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (2, 3, 4, 5)).astype(np.float32)
    labels = rng.integers(0, 5, (2, 3, 4))
    weights = rng.uniform(0, 2, (2, 3, 4)).astype(np.float32)
    weights[0, 1] = 0
    keep = weights > 0
    value, gradient = penalty(kind, labels, logits, weights)
    kept, kept_gradient = penalty(kind, labels[keep], logits[keep], weights[keep])
    np.testing.assert_allclose(value, kept, rtol=2e-6)
    np.testing.assert_allclose(gradient[keep], kept_gradient, rtol=1e-4, atol=1e-7)
    assert not gradient[~keep].any()
    alone, _ = penalty(kind, labels, logits)
    flat, _ = penalty(kind, labels.reshape(-1), logits.reshape(-1, 5))
    np.testing.assert_allclose(alone, flat, rtol=1e-6)


@pytest.mark.parametrize("kind", PENALTIES)
@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("margin", [2.0, 1e4])
def test_all_right_or_all_wrong(kind, batch, margin):
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, batch)
    for shown in (labels, (labels + 1) % 3):
        logits = (margin * np.eye(3)[shown]).astype(np.float32)
        value, gradient = penalty(kind, labels, logits)
        rows, p = np.eye(3)[labels], softmax(logits.astype(np.float64), axis=1)
        if margin < 1e4 or kind != "kl":  # of which log p is -1e4, and p in float64 is 0
            expected = PENALTIES[kind][1](p, rows, np.ones(batch))
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=2e-5)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        if kind.startswith("mmce weighted") or (kind in ("meep", "kl") and shown is labels):
            assert value == 0
            assert not gradient.any()


@pytest.mark.parametrize("kind", PENALTIES)
def test_nothing_has_weight(kind):
    logits = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)
    value, gradient = value_and_gradient(
        PENALTIES[kind][0], np.arange(4) % 3, logits, np.zeros(4, np.float32)
    )
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize(
    ("make", "weight"),
    [
        (DCALoss, 10.0),
        (MDCALoss, 1.0),
        (MMCELoss, 2.0),
        (DifferentiableECELoss, 0.5),
        (ErroneousEntropyLoss, 0.3),
    ],
)
def test_every_sample_has_the_penalty_once(make, weight):
    rng = np.random.default_rng(6)
    logits, labels = rng.normal(size=(6, 3)).astype(np.float32), np.arange(6) % 3
    each = make(from_logits=True, reduction="none")(labels, logits)
    cross_entropy = lsp.HardLabelLoss(from_logits=True, reduction="none")(labels, logits)
    alone = make(weight=1.0, **{**ALONE, "reduction": "none"})(labels, logits)
    np.testing.assert_allclose(alone, alone[0])
    np.testing.assert_allclose(each, cross_entropy + weight * alone, rtol=1e-6)
    off = make(weight=0.0, from_logits=True, reduction="none")(labels, logits)
    np.testing.assert_array_equal(off, cross_entropy)


def test_equal_confidences_do_not_pull_on_each_other():
    """MMCE's cumulative sums have the gradient of the pairs, also where confidences are equal."""
    rng = np.random.default_rng(8)
    logits = np.round(rng.normal(0, 1, (40, 2)) * 2).astype(np.float32) / 2
    logits[:8] = 0
    labels = rng.integers(0, 2, 40)
    _, gradient = penalty("mmce", labels, logits)
    z = tf.Variable(logits, dtype=tf.float64)
    with tf.GradientTape() as tape:
        predicted = tf.argmax(z, axis=-1)
        r = tf.gather(tf.nn.softmax(z), predicted, batch_dims=1)
        v = (tf.cast(predicted == labels, tf.float64) - r) / 40
        pairs = v[:, None] * v * tf.exp(-tf.abs(r[:, None] - r) / 0.4)
        value = tf.reduce_sum(pairs)
    np.testing.assert_allclose(gradient, tape.gradient(value, z), rtol=1e-5, atol=1e-8)


def test_a_batch_of_pixels_is_no_trouble_for_mmce():
    """200,000 samples, whose pairs would take 160 GB."""
    rng = np.random.default_rng(9)
    p = rng.uniform(0.5, 1.0, 200_000)
    logits = np.stack([np.log(p), np.log1p(-p)], axis=1).astype(np.float32)
    value, gradient = penalty("mmce", (rng.uniform(size=p.size) > p).astype(int), logits)
    assert 0 < value < 1e-4  # calibrated; its expected value is the mean of p (1 - p) over B
    assert np.isfinite(gradient).all()


# --- several devices ------------------------------------------------------------------------------

TWO_DEVICES = """
import json
import keras, numpy as np, tensorflow as tf
from lsplus_tf.losses import *

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2

losses = {
    "dca": DCALoss(10.0, from_logits=True),
    "mdca": MDCALoss(5.0, from_logits=True),
    "mmce": MMCELoss(20.0, from_logits=True),
    "mmce_weighted": MMCELoss(20.0, weighted=True, from_logits=True),
    # At the default temperatures rounding is large.
    "dece": DifferentiableECELoss(
        5.0, num_bins=5, accuracy_temperature=5.0, bin_temperature=0.1, from_logits=True
    ),
    "meep": ErroneousEntropyLoss(1.0, from_logits=True),
    "meep_kl": ErroneousEntropyLoss(
        1.0, divergence="kl", convention="released_code", from_logits=True
    ),
}
samples = 24
rng = np.random.default_rng(0)
x = rng.normal(size=(samples, 5)).astype(np.float32)
y = rng.integers(0, 3, samples)
weights = rng.uniform(0, 2, samples).astype(np.float32)
weights[:3] = 0
start = rng.normal(size=(5, 3)).astype(np.float32)

def fit(losses, weights, run_eagerly):
    # One layer per loss, so that they train apart, and one trace for all. One step, since rounding
    # may grow with every other.
    inputs = keras.Input([5])
    model = keras.Model(inputs, [keras.layers.Dense(3, name=name)(inputs) for name in losses])
    for name in losses:
        model.get_layer(name).kernel.assign(start)
    model.compile(keras.optimizers.SGD(1.0), list(losses.values()), run_eagerly=run_eagerly,
                  jit_compile=False)
    data = (x, (y,) * len(losses))
    if weights is not None:
        data += ((weights,) * len(losses),)
    data = tf.data.Dataset.from_tensor_slices(data).batch(samples)
    history = model.fit(data, verbose=0).history
    return {name: model.get_layer(name).kernel.numpy() for name in losses}, history

# Without weights, a sum over the batch and a gathered batch stand for all.
few = {name: losses[name] for name in ("dca", "mmce")}
for chosen, weights in ((losses, weights), (few, None)):
    one, one_history = fit(chosen, weights, True)  # which needs no tracing
    with strategy.scope():
        two, two_history = fit(chosen, weights, False)
    for name in chosen:
        moved, apart = np.abs(one[name] - start).max(), np.abs(one[name] - two[name]).max()
        loss = [history[name + "_loss"] for history in (one_history, two_history)]
        print("RESULT", json.dumps([name, float(moved), float(apart), *loss]))
"""


def test_two_devices_train_as_one():
    """With and without weights: the statistics and their gradients are those of the whole batch."""
    done = forked.run("-c", TWO_DEVICES)
    assert done.returncode == 0, done.stderr[-3000:]
    results = [json.loads(s[7:]) for s in done.stdout.splitlines() if s.startswith("RESULT")]
    assert len(results) == 9
    for name, moved, apart, loss_of_one, loss_of_two in results:
        assert moved > 0.1, name
        assert apart < 5e-6, name
        np.testing.assert_allclose(loss_of_two, loss_of_one, rtol=1e-5, err_msg=name)


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (DCALoss, {"weight": -1}, r"weight: expected a number >= 0, received -1"),
        (MDCALoss, {"base": "focal"}, r"base: expected .*, received 'focal'"),
        (
            MMCELoss,
            {"convention": "code"},
            r"convention: expected 'standard' or 'released_code', received 'code'",
        ),
        (DifferentiableECELoss, {"num_bins": 0}, r"num_bins: .* at least 1, received 0"),
        (DifferentiableECELoss, {"num_bins": 1.5}, r"num_bins: .*, received 1.5"),
        (
            DifferentiableECELoss,
            {"accuracy_temperature": 0.0},
            r"accuracy_temperature: expected a number > 0, received 0.0",
        ),
        (DifferentiableECELoss, {"bin_temperature": -1}, r"bin_temperature: .*, received -1"),
        (
            ErroneousEntropyLoss,
            {"divergence": "js"},
            r"divergence: expected 'entropy' or 'kl', received 'js'",
        ),
        (ErroneousEntropyLoss, {"samples": None}, r"samples: expected .*, received None"),
        (
            ErroneousEntropyLoss,
            {"convention": "keras"},
            r"convention: expected .*, received 'keras'",
        ),
    ],
)
def test_bad_arguments(make, options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_the_released_weighted_mmce_with_one_wrong_sample():
    """Restated from the code of Kumar et al.: every sum over its pairs, twice, and 1e-5 more."""
    logits = np.array([[2, 0, 0], [2, 0, 0], [0, 1, 0]], np.float64)
    labels = np.array([0, 0, 2])
    p = softmax(logits, axis=1)
    r, c = p.max(axis=1), p.argmax(axis=1) == labels
    kernel = np.exp(-np.abs(r[:, None] - r[None, :]) / 0.4)
    right, wrong = c * (1 - r), ~c * r
    m, n = c.sum(), (~c).sum()
    sums = [
        (right @ kernel @ right, m * m, 1),
        (wrong @ kernel @ wrong, n * n, 1),
        (right @ kernel @ wrong, m * n, -2),
    ]
    expected = np.sqrt(sum(k * t / (b * (b + 1e-5)) for t, b, k in sums) + 1e-10)
    loss = MMCELoss(1.0, weighted=True, base="none", from_logits=True)
    np.testing.assert_allclose(loss(labels, logits.astype(np.float32)), expected, rtol=1e-6)
