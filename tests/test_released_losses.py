"""The losses of the LS+ authors' released baselines: golden values, restatements, two heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import value_and_gradient
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax

import lsplus_tf as lsp
from lsplus_tf.errors import InputError
from lsplus_tf.losses.released import (
    ReleasedDCALoss,
    ReleasedFocalLoss,
    ReleasedHardLabelLoss,
    ReleasedLabelSmoothingLoss,
    ReleasedLSPlusLoss,
    ReleasedMDCALoss,
    two_headed,
)

# The golden entries: the loss that has their values, and by how much float32 rounds these; DCA's
# term is times 10, MDCA's a small difference.
GOLDEN: dict[str, tuple[Any, float]] = {
    "lsplus_HL_two_head": (ReleasedHardLabelLoss(), 0.0),
    "lsplus_HL_softmax_head": (ReleasedHardLabelLoss(heads="softmax"), 0.0),
    "lsplus_FL_two_head": (ReleasedFocalLoss(), 0.0),
    "lsplus_FL_softmax_head": (ReleasedFocalLoss(heads="softmax"), 0.0),
    "lsplus_DCA_two_head": (ReleasedDCALoss(), 6e-7),
    "lsplus_DCA_softmax_head": (ReleasedDCALoss(heads="softmax"), 6e-7),
    "lsplus_MDCA_two_head": (ReleasedMDCALoss(), 6e-8),
    "lsplus_MDCA_softmax_head": (ReleasedMDCALoss(heads="softmax"), 6e-8),
}
CASES = ["c0", "c2", "c4", "c6"]
LOSSES = [ReleasedHardLabelLoss, ReleasedFocalLoss, ReleasedDCALoss, ReleasedMDCALoss]
CLIP = 1e-7


@pytest.fixture(scope="module")
def golden(shared: Path) -> Any:
    return np.load(shared / "golden" / "golden_losses.npz")


# --- against the authors' code --------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("entry", GOLDEN)
def test_as_the_original(golden, entry, case):
    logits, labels = golden[f"in/{case}/logits"], golden[f"in/{case}/labels"]
    loss, atol = GOLDEN[entry]
    value, gradient = value_and_gradient(loss, labels, logits)
    original = golden[f"{entry}/{case}/grad_f32"]
    np.testing.assert_allclose(value, golden[f"{entry}/{case}/loss_f32"], rtol=1e-6, atol=atol)
    # Both are float32: where p is nearly 1, 1 - p is all rounding.
    np.testing.assert_allclose(gradient, original, rtol=1e-6, atol=6e-8)
    np.testing.assert_array_equal(gradient == 0, original == 0)  # where a clip was reached


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["HL", "FL", "DCA", "MDCA"])
def test_the_logits_head_alone_as_the_original(golden, kind, case):
    logits, labels = golden[f"in/{case}/logits"], golden[f"in/{case}/labels"]
    two_heads, _ = GOLDEN[f"lsplus_{kind}_two_head"]
    softmax_head, _ = GOLDEN[f"lsplus_{kind}_softmax_head"]
    both = float(two_heads(labels, logits))
    alone = both - float(softmax_head(labels, logits))
    original = golden[f"lsplus_{kind}_two_head/{case}/logits_head"]
    np.testing.assert_allclose(alone, original, rtol=1e-6, atol=2e-7 * both)


# The constants of LS+'s entries; None is the case's own.
LS_PLUS: dict[str, list[float] | None] = {
    "case_prior": None,
    "authors_c_d1": [0.8319, 0.6548, 0.9882, 0.7264],
    "authors_c_d2": [0.9256, 0.6561],
    "authors_c_d3_resnet34": [0.375, 0.8222, 0.8787, 0.5, 0.6825, 0.9539, 0.5],
    "authors_c_d3_resnet50": [0.6667, 0.8222, 0.8333, 0.5, 0.8412, 0.9539, 0.7778],
}


SMOOTHED = [
    *(("LS_kl_a0.1", case) for case in CASES),
    *(("ours_alpha05_case_prior", case) for case in CASES),
    ("ours_alpha05_authors_c_d1", "c4"),
    ("ours_alpha05_authors_c_d2", "c0"),
    ("ours_alpha05_authors_c_d2", "c6"),
    ("ours_alpha05_authors_c_d3_resnet34", "c2"),
    ("ours_alpha05_authors_c_d3_resnet50", "c2"),
]


@pytest.mark.parametrize(("entry", "case"), SMOOTHED)
def test_smoothing_as_the_original(golden, entry, case):
    logits, labels = golden[f"in/{case}/logits"], golden[f"in/{case}/labels"]
    loss: Any = ReleasedLabelSmoothingLoss()
    if entry.startswith("ours"):
        constants = LS_PLUS[entry.removeprefix("ours_alpha05_")]
        given = golden[f"in/{case}/prior_vacc"] if constants is None else constants
        loss = ReleasedLSPlusLoss(lsp.priors.informed_prior(given, warn=False))
    value, gradient = value_and_gradient(loss, labels, logits)
    original = golden[f"lsplus_{entry}/{case}/grad_f32"]
    np.testing.assert_allclose(value, golden[f"lsplus_{entry}/{case}/loss_f32"], rtol=2e-6)
    np.testing.assert_allclose(gradient, original, rtol=1e-6, atol=6e-8)


# --- against float64 restatements -----------------------------------------------------------------


def cross_entropy(q: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The losses (B,) of probabilities q, and what they change by with every q, (B, K)."""
    return -(targets * np.log(q)).sum(axis=1), -targets / q


def focal(q: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    losses = -(targets * (1 - q) ** 3 * np.log(q)).sum(axis=1) / 4
    return losses, targets * (3 * (1 - q) ** 2 * np.log(q) - (1 - q) ** 3 / q) / 4


def gap_of_dca(targets: np.ndarray, outputs: np.ndarray) -> float:
    accuracy = np.mean(targets.argmax(axis=1) == outputs.argmax(axis=1))
    return abs(softmax(targets, axis=1).max(axis=1).mean() - accuracy)


def gap_of_mdca(targets: np.ndarray, outputs: np.ndarray) -> float:
    predicted = np.eye(targets.shape[1])[outputs.argmax(axis=1)]
    return np.abs(softmax(targets, axis=1).mean(axis=0) - predicted.mean(axis=0)).mean()


def restated(loss: Any, z: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """The value of both heads, and its gradient (B, K)."""
    p, total = softmax(z, axis=1), z.sum(axis=1, keepdims=True)
    raw = z / total
    q = np.clip(raw, CLIP, 1 - CLIP)
    inside = q == raw
    ce, _ = cross_entropy(p, targets)
    ce_gradient = p * targets.sum(axis=1, keepdims=True) - targets

    def through_the_quotient(slope: np.ndarray) -> np.ndarray:
        slope = slope * inside
        return (slope - (slope * raw).sum(axis=1, keepdims=True)) / total

    if isinstance(loss, ReleasedHardLabelLoss):
        losses, gradient = 2 * ce, 2 * ce_gradient
    elif isinstance(loss, ReleasedFocalLoss):
        from_p, slope_p = focal(np.clip(p, CLIP, 1 - CLIP), targets)
        slope_p = slope_p * ((p > CLIP) & (p < 1 - CLIP))
        from_q, slope_q = focal(q, targets)
        losses = from_p + from_q
        gradient = p * (slope_p - (slope_p * p).sum(axis=1, keepdims=True))
        gradient = gradient + through_the_quotient(slope_q)
    else:
        dca = isinstance(loss, ReleasedDCALoss)
        alpha, weight, gap = (1.0, 10.0, gap_of_dca) if dca else (0.1, 1.0, gap_of_mdca)
        from_q, slope_q = cross_entropy(q, targets)
        losses = alpha * (ce + from_q) + weight * (gap(targets, p) + gap(targets, z))
        gradient = alpha * (ce_gradient + through_the_quotient(slope_q))
    return losses.mean(), gradient / len(z)


@pytest.mark.parametrize("make", LOSSES)
@settings(max_examples=10, deadline=None)
@given(
    logits=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(2, 5)),
        elements=st.integers(-400, 400).map(lambda i: i / 32),
    ),
    seed=st.integers(0, 2**16),
)
def test_value_gradient_and_label_forms(make, logits, seed):
    """Wherever sum(z) is not nearly 0: equals float64, for ids, one-hot rows and soft labels."""
    z = logits.astype(np.float64)
    assume((np.abs(z.sum(axis=1)) >= 0.05 * np.abs(z).sum(axis=1) + 0.1).all())
    rng = np.random.default_rng(seed)
    batch, num_classes = z.shape
    labels = rng.integers(0, num_classes, batch)
    onehot, mixed = np.eye(num_classes)[labels], rng.dirichlet(np.ones(num_classes), batch)
    loss = make()
    for form, targets in (
        (labels, onehot),
        (labels[:, None], onehot),
        (onehot, onehot),
        (mixed.astype(np.float32), mixed.astype(np.float32).astype(np.float64)),
    ):
        value, gradient = value_and_gradient(loss, form, logits)
        expected_value, expected_gradient = restated(loss, z, targets)
        np.testing.assert_allclose(value, expected_value, rtol=5e-6, atol=2e-6)
        # Of p - 1 in float32 a few units of the last place of 1 are lost, however small it is.
        atol = max(2e-5 * abs(expected_gradient).max(), 5e-7)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=2e-5, atol=atol)


# --- what is wrong with them ----------------------------------------------------------------------


@pytest.mark.parametrize("make", [ReleasedDCALoss, ReleasedMDCALoss])
def test_the_calibration_term_has_a_value_and_no_gradient(make):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(3, 1, (8, 3)), rng.integers(0, 3, 8)
    value, gradient = value_and_gradient(make(), labels, logits)
    without, same_gradient = value_and_gradient(make(weight=0.0), labels, logits)
    assert value > without
    np.testing.assert_array_equal(gradient, same_gradient)


@pytest.mark.parametrize("make", [ReleasedDCALoss, ReleasedMDCALoss, ReleasedFocalLoss])
def test_with_a_negative_sum_the_logits_head_lowers_the_true_logit(make):
    logits, labels = [[-5.0, -3.0, -4.0]], [0]
    both = value_and_gradient(make(), labels, logits)[1]
    softmax_alone = value_and_gradient(make(heads="softmax"), labels, logits)[1]
    assert softmax_alone[0, 0] < 0 < (both - softmax_alone)[0, 0]


def test_the_softmax_head_predicts_from_rounded_probabilities():
    """As the original: logits that differ by less than the softmax shows are a tie."""
    value = float(ReleasedDCALoss(alpha=0.0, heads="softmax")([1], [[0.0, 1e-9]]))
    np.testing.assert_allclose(value, 10 * np.e / (np.e + 1), rtol=1e-6)


def test_a_clip_stops_the_gradient():
    confident_error = [[30.0, 2.0, 1.0]]
    _, gradient = value_and_gradient(ReleasedFocalLoss(heads="softmax"), [1], confident_error)
    assert not gradient.any()
    negative_share = [[5.0, -1.0]]  # q = 1.25 and -0.25
    for label in (0, 1):
        both = value_and_gradient(ReleasedDCALoss(), [label], negative_share)[1]
        alone = value_and_gradient(ReleasedDCALoss(heads="softmax"), [label], negative_share)[1]
        np.testing.assert_array_equal(both, alone)


@pytest.mark.parametrize("make", LOSSES)
@pytest.mark.parametrize(
    "row", [[0.0, 0.0], [2.0, -2.0], [1e30, -1e30], [3e38, 3e38], [1e-30, 1e-30], [88.0, -1e4]]
)
def test_finite_where_the_original_divides_by_zero_or_overflows(make, row):
    for label in (0, 1):
        value, gradient = value_and_gradient(make(), [label], [row])
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    if sum(row) == 0 and make is ReleasedDCALoss:
        alone = float(make(heads="softmax")([0], [row]))
        term = 10 * abs(np.e / (np.e + 1) - 1.0)
        # z / 0 is infinite, and clipped by its sign; 0 / 0, NaN there, counts as the lower clip.
        q = 1 - 1e-7 if row[0] > 0 else 1e-7
        np.testing.assert_allclose(
            float(make()([0], [row])) - alone, term - np.log(q), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("make", LOSSES)
def test_nan_logits_make_the_loss_nan(make):
    assert np.isnan(float(make()([0, 1], [[np.nan, 1.0], [1.0, 2.0]])))


# --- label smoothing and LS+ ----------------------------------------------------------------------

PRIOR = np.array([[0.9, 0.05, 0.05], [0.2, 0.6, 0.2], [0.0, 0.0, 1.0]])
SMOOTHING = [
    (ReleasedLabelSmoothingLoss, {"alpha": 0.3}, np.full((3, 3), 1 / 3)),
    (ReleasedLSPlusLoss, {"alpha": 0.4, "prior": PRIOR}, PRIOR),
]


@pytest.mark.parametrize(("make", "arguments", "prior"), SMOOTHING)
def test_smoothing_by_its_formula_for_every_form_of_labels(make, arguments, prior):
    rng = np.random.default_rng(5)
    z, labels = rng.normal(0, 8, (20, 3)), rng.integers(0, 3, 20)
    mixed, alpha = rng.dirichlet(np.ones(3), 20), arguments["alpha"]
    p = softmax(z, axis=1)
    v, q = np.clip(prior, CLIP, 1), np.clip(p, CLIP, 1)
    assert (p < CLIP).any()
    of_classes = np.stack(  # (B, K): what a sample's loss is if it is of class k
        [
            -(1 - alpha) * np.log(p[:, k]) + alpha * (v[k] * np.log(v[k] / q)).sum(1)
            for k in (0, 1, 2)
        ],
        axis=1,
    )
    loss = make(**arguments, reduction="none", dtype="float64")
    for form, rows in (
        (labels, np.eye(3)[labels]),
        (labels[:, None], np.eye(3)[labels]),
        (np.eye(3)[labels], np.eye(3)[labels]),
        (mixed, mixed),
    ):
        np.testing.assert_allclose(loss(form, z), (rows * of_classes).sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize(("make", "arguments", "prior"), SMOOTHING)
def test_below_the_clip_the_second_term_is_flat_and_bounded(make, arguments, prior):
    """By hand: two classes' p is 1e-26 and 1e-30, and counts as 1e-7."""
    loss = make(**arguments | {"alpha": 1.0}, dtype="float64")
    for label in (0, 1, 2):
        value, gradient = value_and_gradient(loss, [label], [[60.0, 0.0, -9.0]])
        v = np.clip(prior[label], CLIP, 1)
        by_hand = (v * np.log(v)).sum() + (v[1] + v[2]) * 7 * np.log(10)
        np.testing.assert_allclose(value, by_hand, rtol=1e-9)
        assert value < 7 * np.log(10)
        np.testing.assert_allclose(gradient, 0, atol=1e-20)
        # Further away nothing changes; the cross-entropy of the whole loss still has its gradient.
        assert float(loss([label], [[90.0, 0.0, -9.0]])) == pytest.approx(float(value), rel=1e-12)
    _, gradient = value_and_gradient(make(**arguments, dtype="float64"), [1], [[60.0, 0.0, -9.0]])
    np.testing.assert_allclose(
        gradient, [[1 - arguments["alpha"], arguments["alpha"] - 1, 0]], atol=1e-20
    )


@pytest.mark.parametrize(("make", "arguments", "prior"), SMOOTHING)
def test_where_nothing_is_clipped_smoothing_is_the_package_s_own(make, arguments, prior):
    rng = np.random.default_rng(6)
    z, labels = rng.normal(0, 2, (20, 3)), rng.integers(0, 2, 20)  # class 2's prior is clipped
    ours = lsp.LSPlusLoss(prior, alpha=arguments["alpha"], from_logits=True, dtype="float64")
    released = value_and_gradient(make(**arguments, dtype="float64"), labels, z)
    for one, other in zip(released, value_and_gradient(ours, labels, z), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize(("make", "arguments", "prior"), SMOOTHING)
def test_smoothing_is_a_keras_loss(make, arguments, prior):
    del prior
    loss = make(**arguments, name="mine", ignore_class=255)
    copy = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert type(copy) is make
    assert copy.get_config() == loss.get_config()
    rng = np.random.default_rng(7)
    logits, labels = rng.normal(0, 8, (6, 3)).astype(np.float32), np.arange(6) % 3
    compiled = tf.function(lambda z: loss(labels, z), jit_compile=True)
    np.testing.assert_allclose(compiled(logits), loss(labels, logits), rtol=1e-5)
    keep = np.array([1, 1, 0, 1, 0, 1], bool)
    ignored = loss(np.where(keep, labels, 255), logits)
    np.testing.assert_allclose(ignored, copy(labels[keep], logits[keep]), rtol=1e-6)
    with pytest.raises(InputError, match=r"alpha: expected a number in \[0, 1\], received 1.5"):
        make(**arguments | {"alpha": 1.5})


def test_a_prior_of_other_classes():
    with pytest.raises(InputError, match="y_pred: expected 3 classes as in the prior, received 2"):
        ReleasedLSPlusLoss(PRIOR)([0], [[1.0, 2.0]])
    with pytest.raises(InputError, match="prior: expected rows that sum to 1"):
        ReleasedLSPlusLoss(2 * PRIOR)


# --- the two-headed network -----------------------------------------------------------------------


def keras_loss(make: Any) -> Any:
    """The loss as the authors gave it to Keras, in Keras' terms: one function of an output."""
    ce = keras.losses.CategoricalCrossentropy()
    if make is ReleasedHardLabelLoss:
        return keras.losses.CategoricalCrossentropy(from_logits=True)
    if make is ReleasedFocalLoss:
        return keras.losses.CategoricalFocalCrossentropy(gamma=3)

    def dca(rows: Any, outputs: Any) -> Any:
        right = keras.ops.equal(keras.ops.argmax(rows, 1), keras.ops.argmax(outputs, 1))
        accuracy = keras.ops.mean(keras.ops.cast(right, "float32"))
        confidence = keras.ops.mean(keras.ops.max(keras.ops.softmax(rows), axis=1))
        return ce(rows, outputs) + 10.0 * keras.ops.abs(confidence - accuracy)

    def mdca(rows: Any, outputs: Any) -> Any:
        predicted = keras.ops.one_hot(keras.ops.argmax(outputs, 1), rows.shape[1])
        gaps = keras.ops.mean(keras.ops.softmax(rows), 0) - keras.ops.mean(predicted, 0)
        return 0.1 * ce(rows, outputs) + keras.ops.mean(keras.ops.abs(gaps))

    return dca if make is ReleasedDCALoss else mdca


@pytest.mark.filterwarnings("ignore:.*received `from_logits=True`")  # as the authors' run did
@pytest.mark.parametrize("make", LOSSES)
def test_one_output_trains_as_the_released_two(make):
    """Keras' own losses on both outputs, and the sum on one: the same steps from any weights."""
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(4, 8, 5)).astype(np.float32), rng.integers(0, 3, (4, 8))
    rows = np.eye(3, dtype=np.float32)[labels]

    def network() -> keras.Model:
        layers = [keras.layers.Dense(8, "tanh"), keras.layers.Dense(3)]
        return keras.Sequential([keras.Input([5]), *layers])

    one, other = network(), network()
    two, loss = two_headed(other), keras_loss(make)
    one.compile(keras.optimizers.SGD(0.05), make())
    two.compile(keras.optimizers.SGD(0.05), {"logits": loss, "softmax": loss})
    for i in range(len(x)):
        start = [rng.normal(0, 0.5, w.shape).astype(np.float32) for w in one.get_weights()]
        start[-1] += 4.0  # sum(z) stays away from 0
        one.set_weights(start)
        other.set_weights(start)
        ours = one.train_on_batch(x[i], labels[i])
        theirs, *_ = two.train_on_batch(x[i], {"logits": rows[i], "softmax": rows[i]})
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        for before, ours_after, theirs_after in zip(
            start, one.get_weights(), other.get_weights(), strict=True
        ):
            np.testing.assert_allclose(ours_after, theirs_after, rtol=1e-5, atol=1e-6)
            assert np.abs(ours_after - before).max() > 1e-4


def test_two_headed_shares_the_layers():
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(3)])
    two = two_headed(model)
    x = np.ones((4, 2), np.float32)
    model.layers[-1].bias.assign([1.0, 2.0, 3.0])
    outputs = two.predict(x, verbose=0)
    np.testing.assert_allclose(outputs["logits"], model.predict(x, verbose=0), rtol=1e-6)
    np.testing.assert_allclose(outputs["softmax"], softmax(outputs["logits"], axis=1), rtol=1e-6)


def test_two_headed_needs_one_output():
    x = keras.Input([2])
    two_outputs = keras.Model(x, [keras.layers.Dense(2)(x), keras.layers.Dense(2)(x)])
    for model in (two_outputs, keras.Sequential([keras.layers.Dense(2)]), keras.Model()):
        with pytest.raises(InputError, match="model: expected a functional or built sequential"):
            two_headed(model)


# --- as Keras losses ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", LOSSES)
def test_a_config_round_trip_keeps_every_argument(make):
    settings = {
        ReleasedFocalLoss: {"gamma": 2.0, "alpha": 0.5},
        ReleasedDCALoss: {"alpha": 0.5, "weight": 3.0},
        ReleasedMDCALoss: {"alpha": 0.5, "weight": 3.0},
    }.get(make, {})
    settings = {
        **settings,
        "heads": "softmax",
        "reduction": "sum",
        "name": "mine",
        "dtype": "float64",
        "ignore_class": 255,
    }
    loss = make(**settings)
    copy = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert type(copy) is make
    assert copy.get_config() == loss.get_config() == settings


def test_a_saved_model_keeps_its_loss(tmp_path):
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(3)])
    model.compile("sgd", ReleasedDCALoss())
    x, y = np.ones((4, 2), np.float32), np.arange(4) % 3
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))


@pytest.mark.parametrize("make", LOSSES)
def test_compiled_by_xla_it_is_the_same(make):
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(2, 1, (6, 3)).astype(np.float32), np.arange(6) % 3
    loss = make()
    compiled = tf.function(lambda z: loss(labels, z), jit_compile=True)
    value, gradient = value_and_gradient(loss, labels, logits)
    xla_value, xla_gradient = value_and_gradient(lambda _, z: compiled(z), labels, logits)
    np.testing.assert_allclose(xla_value, value, rtol=1e-5)
    np.testing.assert_allclose(xla_gradient, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", LOSSES)
def test_what_has_no_weight_has_no_say(make):
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(3, 1, (6, 3)).astype(np.float32), np.arange(6) % 3
    keep = np.array([1, 1, 0, 1, 0, 1], bool)
    weighed = make(reduction="sum")(labels, logits, keep.astype(np.float32))
    alone = make(reduction="sum")(labels[keep], logits[keep])
    np.testing.assert_allclose(weighed, alone, rtol=1e-6)


def test_bad_arguments():
    with pytest.raises(InputError, match="heads: expected 'both' or 'softmax', received 'logits'"):
        ReleasedHardLabelLoss(heads="logits")
    for make, name in (
        (ReleasedFocalLoss, "gamma"),
        (ReleasedFocalLoss, "alpha"),
        (ReleasedDCALoss, "alpha"),
        (ReleasedMDCALoss, "weight"),
    ):
        for bad in (-1.0, float("nan"), "1"):
            with pytest.raises(InputError, match=f"{name}: expected a number >= 0, received"):
                make(**{name: bad})


@pytest.mark.parametrize("make", LOSSES)
def test_bad_outputs_and_labels(make):
    with pytest.raises(InputError, match="y_pred is the output of a softmax"):
        make()([0], keras.activations.softmax(tf.constant([[1.0, 2.0]])))
    with pytest.raises(InputError, match=r"y_true: expected class ids in 0\.\.1, received 2"):
        make()([2], [[1.0, 2.0]])
    with pytest.raises(InputError, match="y_true: expected class ids of shape"):
        make()(np.zeros((2, 4)), np.zeros((2, 3)))


def test_the_package_s_own_baselines_are_the_methods_themselves():
    """The released hard-label loss is twice the real one; nothing else here is a default."""
    logits, labels = np.array([[1.0, 2.0, 4.0]], np.float32), [0]
    real = value_and_gradient(lsp.HardLabelLoss(from_logits=True), labels, logits)
    released = value_and_gradient(ReleasedHardLabelLoss(), labels, logits)
    np.testing.assert_allclose(released[0], 2 * real[0], rtol=1e-6)
    np.testing.assert_allclose(released[1], 2 * real[1], rtol=1e-6)
