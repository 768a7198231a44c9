"""Tf-KD against the original authors' values, float64 restatements, and a replay of `fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import value_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax, rel_entr, softmax

from lsplus_tf.callbacks import OnlineLabelSmoothing, TeacherLogits
from lsplus_tf.conventions import Convention
from lsplus_tf.errors import InputError
from lsplus_tf.losses import (
    DCALoss,
    HardLabelLoss,
    OnlineLabelSmoothingLoss,
    TfKDRegularizationLoss,
    TfKDSelfTrainingLoss,
    with_teacher_logits,
)

pytestmark = pytest.mark.usefixtures("nondeterministic")


# --- against the original authors' code -----------------------------------------------------------


def released_regularization(**options: Any) -> TfKDRegularizationLoss:
    return TfKDRegularizationLoss(convention="released_code", from_logits=True, **options)


def released_self_training(**options: Any) -> TfKDSelfTrainingLoss:
    return TfKDSelfTrainingLoss(convention="released_code", from_logits=True, **options)


GOLDEN: dict[str, Any] = {
    "tfkd_reg_a0.95_T40_m1": lambda: released_regularization(alpha=0.95, temperature=40),
    "tfkd_reg_a0.1_T20_m100": lambda: released_regularization(
        alpha=0.1, temperature=20, multiplier=100
    ),
    "tfkd_reg_a0.1_T40_m50": lambda: released_regularization(
        alpha=0.1, temperature=40, multiplier=50
    ),
    "tfkd_reg_olsrepo_a0.95_T40": lambda: released_regularization(alpha=0.95, temperature=40),
    "tfkd_self_a0.95_T20_m1": lambda: released_self_training(
        alpha=0.95, temperature=20, multiplier=1
    ),
    "tfkd_self_a0.95_T6_m50": lambda: released_self_training(
        alpha=0.95, temperature=6, multiplier=50
    ),
    "tfkd_self_a0.9_T20_m100": lambda: released_self_training(
        alpha=0.9, temperature=20, multiplier=100
    ),
    "kd_a0.9_T20": lambda: released_self_training(alpha=0.9, temperature=20),
}


@pytest.mark.parametrize("case", ["c0", "c2", "c4", "c6"])
@pytest.mark.parametrize("entry", GOLDEN)
def test_as_the_originals(shared: Path, entry: str, case: str) -> None:
    arrays = np.load(shared / "golden" / "golden_losses.npz")
    logits, labels = arrays[f"in/{case}/logits"], arrays[f"in/{case}/labels"]
    loss = GOLDEN[entry]()
    if isinstance(loss, TfKDSelfTrainingLoss):
        labels = with_teacher_logits(labels, arrays[f"in/{case}/teacher_logits"])
    value, gradient = value_and_gradient(loss, labels, logits)
    # KL is a difference of numbers near log K, each rounded in float32, times the factor.
    tolerance = {"rtol": 1e-6, "atol": 6e-8 * max(1.0, loss.factor())}
    np.testing.assert_allclose(value, arrays[f"{entry}/{case}/loss_f64"], **tolerance)
    np.testing.assert_allclose(gradient, arrays[f"{entry}/{case}/grad_f64"], **tolerance)


# --- against float64 restatements of the paper ----------------------------------------------------


def softened(logits: np.ndarray, temperature: float) -> np.ndarray:
    return softmax(np.asarray(logits, np.float64) / temperature, axis=-1)


def virtual_teacher(num_classes: int, correct: float, temperature: float) -> np.ndarray:
    """Row k is the softened teacher of class k."""
    p = np.full((num_classes, num_classes), (1 - correct) / (num_classes - 1))
    np.fill_diagonal(p, correct)
    with np.errstate(divide="ignore"):
        return softened(np.log(p), temperature)


def restated(
    logits: np.ndarray,
    weights: np.ndarray,
    teachers: np.ndarray,
    alpha: float,
    temperature: float,
    multiplier: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(1 - alpha) CE + alpha m KL of every sample, and the gradients.

    `weights` (B, K) are the labels; `teachers` (B, M, K) and their shares (B, M) in `weights`, or
    (B, K) with one teacher each.
    """
    z = logits.astype(np.float64)
    log_p, log_p_t = log_softmax(z, axis=1), log_softmax(z / temperature, axis=1)
    if teachers.ndim == 2:
        teachers, shares = teachers[:, None], np.ones((len(z), 1))
    else:
        shares = weights
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(teachers > 0, teachers * (np.log(teachers) - log_p_t[:, None]), 0.0)
    kl = (shares * terms.sum(axis=2)).sum(axis=1)
    q = (shares[..., None] * teachers).sum(axis=1)
    values = -(1 - alpha) * (weights * log_p).sum(axis=1) + alpha * multiplier * kl
    gradients = (1 - alpha) * (np.exp(log_p) * weights.sum(axis=1, keepdims=True) - weights)
    scale = alpha * multiplier / temperature
    return values, gradients + scale * (np.exp(log_p_t) * q.sum(axis=1, keepdims=True) - q)


def make(kind: str, **options: Any) -> tuple[Any, Any]:
    """A loss, and what makes its y_true of labels and K."""
    if kind == "regularization":
        return TfKDRegularizationLoss(**options), lambda labels, num_classes: labels

    def pack(labels: Any, num_classes: int) -> Any:
        rng = np.random.default_rng(1)
        size = (*np.shape(labels)[:1], num_classes)
        return with_teacher_logits(labels, rng.normal(0, 3, size))

    return TfKDSelfTrainingLoss(**options), pack


KINDS = ["regularization", "self_training"]
CONVENTIONS = get_args(Convention)


arguments = {
    "logits": hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(2, 5)),
        elements=st.floats(-1e4, 1e4, width=32),
    ),
    "alpha": st.floats(0, 1),
    "temperature": st.floats(0.25, 100),
    "multiplier": st.floats(0, 100),
    "seed": st.integers(0, 2**16),
}


def label_forms(labels: np.ndarray, num_classes: int, rng: Any) -> list[tuple[Any, np.ndarray]]:
    """Labels as a loss takes them, with what they mean as rows."""
    onehot = np.eye(num_classes)[labels]
    mixed = rng.dirichlet(np.ones(num_classes), len(labels)).astype(np.float32)
    return [
        (labels, onehot),
        (labels[:, None], onehot),
        (onehot.astype(np.float32), onehot),
        (mixed, mixed.astype(np.float64)),
    ]


def assert_equals(loss: Any, y_true: Any, logits: np.ndarray, expected: Any) -> None:
    value, gradient = value_and_gradient(loss, y_true, logits)
    values, gradients = expected
    # KL is a difference of numbers near log K, each rounded in float32.
    scale = 1 + loss.alpha * loss.factor() * max(1.0, 1 / loss.temperature)
    np.testing.assert_allclose(value, values.mean(), rtol=3e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(gradient, gradients / len(logits), rtol=1e-5, atol=3e-6 * scale)


@settings(max_examples=10, deadline=None)
@given(**arguments, correct=st.floats(0.01, 1))
def test_regularization_is_the_papers(logits, alpha, temperature, multiplier, seed, correct):
    batch, num_classes = logits.shape
    rng = np.random.default_rng(seed)
    loss = TfKDRegularizationLoss(
        alpha,
        temperature=temperature,
        correct_probability=correct,
        multiplier=multiplier,
        from_logits=True,
    )
    teachers = virtual_teacher(num_classes, correct, temperature)
    teachers = np.broadcast_to(teachers, (batch, num_classes, num_classes))
    for y_true, rows in label_forms(rng.integers(0, num_classes, batch), num_classes, rng):
        expected = restated(logits, rows, teachers, alpha, temperature, multiplier)
        assert_equals(loss, y_true, logits, expected)


@settings(max_examples=10, deadline=None)
@given(**arguments, size=st.floats(0, 1e3))
def test_self_training_is_the_papers(logits, alpha, temperature, multiplier, seed, size):
    batch, num_classes = logits.shape
    rng = np.random.default_rng(seed)
    loss = TfKDSelfTrainingLoss(
        alpha, temperature=temperature, multiplier=multiplier, from_logits=True
    )
    teacher = (size * rng.normal(size=logits.shape)).astype(np.float32)
    for labels, rows in label_forms(rng.integers(0, num_classes, batch), num_classes, rng):
        y_true = with_teacher_logits(labels, teacher)
        expected = restated(
            logits, rows, softened(teacher, temperature), alpha, temperature, multiplier
        )
        assert_equals(loss, y_true, logits, expected)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_no_multiplier_is_temperature_squared(temperature):
    """In both conventions, as in the authors' plain distillation (above, kd_a0.9_T20)."""
    rng = np.random.default_rng(5)
    logits, teacher = rng.normal(0, 3, (2, 6, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 6)
    y_true, rows = with_teacher_logits(labels, teacher), np.eye(4)[labels]
    for convention, classes in (("standard", 1), ("released_code", 4)):
        loss = TfKDSelfTrainingLoss(
            0.7, temperature=temperature, convention=convention, from_logits=True
        )
        assert loss.get_config()["multiplier"] is None
        q, factor = softened(teacher, temperature), temperature**2 / classes
        assert_equals(loss, y_true, logits, restated(logits, rows, q, 0.7, temperature, factor))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_constant_added_to_all_logits_is_not_seen(kind, convention):
    """Also where division by the temperature rounds: 3e5 / 3 is a multiple of 0.0078."""
    logits = np.array([[0.0, 0.125, -1.5], [2.0, 0.25, 0.0]], np.float32)
    loss, _ = make(kind, alpha=0.9, temperature=3.0, convention=convention, from_logits=True)
    results = []
    for shift in (0.0, 3e5):
        labels = np.array([0, 2])
        y_true = labels
        if kind == "self_training":
            y_true = with_teacher_logits(labels, logits[::-1] + np.float32(shift))
        results.append(value_and_gradient(loss, y_true, logits + np.float32(shift)))
    np.testing.assert_allclose(results[1][0], results[0][0], rtol=1e-6)
    np.testing.assert_allclose(results[1][1], results[0][1], rtol=1e-6, atol=1e-8)


def test_the_papers_sum_with_scipys_relative_entropy():
    rng = np.random.default_rng(0)
    logits, teacher = rng.normal(0, 3, (2, 6, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 6)
    ce = -log_softmax(logits, axis=1)[np.arange(6), labels]
    kl = rel_entr(softened(teacher, 3), softened(logits, 3)).sum(axis=1)
    loss = TfKDSelfTrainingLoss(
        0.7, temperature=3, multiplier=1, from_logits=True, reduction="none"
    )
    packed = with_teacher_logits(labels, teacher)
    np.testing.assert_allclose(loss(packed, logits), 0.3 * ce + 0.7 * kl, rtol=1e-5)
    virtual = np.full((6, 4), 0.02)
    virtual[np.arange(6), labels] = 0.94
    kl = rel_entr(softened(np.log(virtual), 3), softened(logits, 3)).sum(axis=1)
    loss = TfKDRegularizationLoss(
        0.7, temperature=3, correct_probability=0.94, from_logits=True, reduction="none"
    )
    np.testing.assert_allclose(loss(labels, logits), 0.3 * ce + 0.7 * kl, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_weight_zero_is_cross_entropy(kind, convention):
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(0, 4, (8, 3)).astype(np.float32), rng.integers(0, 3, 8)
    reference = value_and_gradient(HardLabelLoss(from_logits=True), labels, logits)
    loss, pack = make(kind, alpha=0.0, convention=convention, from_logits=True)
    value, gradient = value_and_gradient(loss, pack(labels, 3), logits)
    assert value == reference[0]
    np.testing.assert_array_equal(gradient, reference[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_probabilities_give_the_same_as_logits(kind, convention):
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(0, 3, (8, 4)).astype(np.float32), rng.integers(0, 4, 8)
    options = {"alpha": 0.6, "temperature": 4.0, "convention": convention}
    loss, pack = make(kind, **options, from_logits=True)
    expected, gradient = value_and_gradient(loss, pack(labels, 4), logits)
    loss, _ = make(kind, **options)
    probabilities = softmax(logits, axis=1)
    np.testing.assert_allclose(loss(pack(labels, 4), probabilities), expected, rtol=1e-5)
    # A softmax layer's logits are used.
    z = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(pack(labels, 4), keras.activations.softmax(z))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(value, z), gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("correct", [0.99, 1.0])
def test_extreme_logits_are_finite(kind, convention, correct):
    options: dict[str, Any] = {
        "alpha": 0.9,
        "multiplier": 100,
        "convention": convention,
        "from_logits": True,
    }
    if kind == "regularization":
        options["correct_probability"] = correct
    loss, pack = make(kind, **options)
    logits = np.array([[1e30, -1e30, 0], [88, -88, 0], [0, 0, 0]], np.float32)
    labels = np.array([1, 0, 2])
    y_true = pack(labels, 3) if kind == "regularization" else with_teacher_logits(labels, -logits)
    value, gradient = value_and_gradient(loss, y_true, logits)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", KINDS)
def test_sample_weights_and_pixels(kind):
    rng = np.random.default_rng(4)
    logits, labels = rng.normal(size=(6, 3)).astype(np.float32), rng.integers(0, 3, 6)
    loss, pack = make(kind, alpha=0.5, temperature=2.0, from_logits=True, reduction="none")
    y_true = pack(labels, 3)
    each = loss(y_true, logits).numpy()
    assert each.shape == (6,)
    weights = np.array([1, 0, 2, 0, 0, 0.5], np.float32)
    np.testing.assert_allclose(loss(y_true, logits, weights), weights * each, rtol=1e-6)
    pixels = y_true.reshape(2, 3, *y_true.shape[1:])
    np.testing.assert_allclose(loss(pixels, logits.reshape(2, 3, 3)), each.reshape(2, 3), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_config_round_trip(kind):
    options: dict[str, Any] = {
        "alpha": 0.3,
        "temperature": 7.0,
        "multiplier": 2.0,
        "convention": "released_code",
        "from_logits": True,
        "reduction": "sum",
        "name": "teacher",
    }
    if kind == "regularization":
        options["correct_probability"] = 0.8
    loss, _ = make(kind, **options)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config() == {**loss.get_config(), **options}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("alpha", 1.1),
        ("alpha", -0.1),
        ("alpha", "0.1"),
        ("temperature", 0),
        ("temperature", -1.0),
        ("temperature", np.inf),
        ("temperature", np.nan),
        ("multiplier", -1),
        ("convention", "code"),
    ],
)
def test_arguments_that_are_refused(kind, argument, value):
    with pytest.raises(InputError, match=f"^{argument}: expected .*, received"):
        make(kind, **{argument: value})


@pytest.mark.parametrize("value", [0.0, 1.01, np.nan])
def test_a_virtual_teacher_that_is_none(value):
    with pytest.raises(InputError, match=r"^correct_probability: expected a number .*, received"):
        TfKDRegularizationLoss(correct_probability=value)


# --- labels with a teacher's logits ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_labels_out_of_range(kind):
    """Eager and graph mode raise; XLA cannot, and makes the loss NaN: never a plausible value."""
    loss, pack = make(kind, from_logits=True)
    graph, xla = tf.function(loss), tf.function(loss, jit_compile=True)
    logits = np.zeros((2, 3), np.float32)
    for bad in ([0, 3], [-1, 0], [0.0, np.nan]):
        with pytest.raises(InputError, match=r"y_true: expected class ids in 0\.\.2, received"):
            loss(pack(np.array(bad), 3), logits)
        y_true = pack(np.array(bad, np.float32), 3)  # of one type, so that it is traced once
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"class ids in 0\.\.2"):
            graph(y_true, logits)
        assert np.isnan(xla(y_true, logits))


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 3), (2, 5), (2, 7)])
def test_labels_without_teacher(shape):
    loss = TfKDSelfTrainingLoss(from_logits=True)
    with pytest.raises(
        InputError, match=r"\(batch, 4\) or \(batch, 6\), received shape .*TeacherLogits\(teacher\)"
    ):
        loss(np.zeros(shape), np.zeros((2, 3), np.float32))


def test_one_sigmoid_output():
    with pytest.raises(InputError, match=r"two or more classes.* in place of one sigmoid output"):
        TfKDSelfTrainingLoss()(np.zeros((2, 2)), np.array([[0.2], [0.9]], np.float32))


def test_no_gradient_reaches_the_teacher():
    teacher = tf.Variable([[1.0, 2.0, 0.0]])
    with tf.GradientTape() as tape:
        value = TfKDSelfTrainingLoss(from_logits=True)(
            with_teacher_logits([1], teacher), tf.zeros((1, 3))
        )
    assert tape.gradient(value, teacher) is None


def test_packing():
    logits = np.array([[0.5, 2.0, -1.0], [0.0, 1.0, 2.0]])
    for labels in ([2, 1], [[2], [1]]):
        for dtype, expected in (("float64", "float64"), ("float32", "float32"), ("i4", "float32")):
            values = logits.astype(dtype)
            packed = with_teacher_logits(labels, values)
            assert isinstance(packed, np.ndarray)
            assert packed.dtype == expected
            np.testing.assert_array_equal(packed, np.hstack([[[2], [1]], values]))
    rows = np.array([[0, 0.5, 0.5], [1, 0, 0]])
    np.testing.assert_array_equal(with_teacher_logits(rows, logits), np.hstack([rows, logits]))
    assert tf.is_tensor(with_teacher_logits(tf.constant([2, 1]), logits))
    assert tf.is_tensor(with_teacher_logits([2, 1], tf.constant(logits, tf.float16)))
    data = tf.data.Dataset.from_tensor_slices(([2, 1], logits)).batch(2).map(with_teacher_logits)
    assert data.element_spec.shape[1] == 4


@pytest.mark.parametrize(
    ("labels", "logits"),
    [((2, 2), (2, 3)), ((3,), (2, 3)), ((2, 3, 1), (2, 3)), ((), ()), ((2,), (2, 4, 3))],
)
def test_packing_shapes_that_do_not_fit(labels, logits):
    with pytest.raises(InputError, match="labels: expected class ids"):
        with_teacher_logits(np.zeros(labels), np.zeros(logits))


# --- the callback, through `fit` ------------------------------------------------------------------

SAMPLES, FEATURES, CLASSES, BATCH, EPOCHS, RATE = 40, 4, 3, 16, 2, 0.5
ALPHA, TEMPERATURE, MULTIPLIER = 0.6, 2.0, 3.0


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, SAMPLES)
    centres = rng.normal(0, 1.0, (CLASSES, FEATURES))
    return {
        "x": (centres[y] + rng.normal(size=(SAMPLES, FEATURES))).astype(np.float32),
        "y": y,
        "weights": rng.uniform(0, 2, SAMPLES).astype(np.float32),
        "student": rng.normal(0, 0.3, (FEATURES, CLASSES)).astype(np.float32),
        "teacher": rng.normal(0, 2.0, (FEATURES, CLASSES)).astype(np.float32),
    }


def linear(kernel: np.ndarray, activation: str | None = None) -> keras.Model:
    dense = keras.layers.Dense(CLASSES, use_bias=False, activation=activation)
    model = keras.Sequential([keras.Input([FEATURES]), dense])
    model.set_weights([kernel])
    return model


def self_training() -> TfKDSelfTrainingLoss:
    return TfKDSelfTrainingLoss(
        ALPHA, temperature=TEMPERATURE, multiplier=MULTIPLIER, from_logits=True
    )


def build(data: dict[str, np.ndarray], loss: Any = None, **options: Any) -> keras.Model:
    model = linear(data["student"])
    model.compile(keras.optimizers.SGD(RATE), loss or self_training(), **options)
    return model


def replay(
    data: dict[str, np.ndarray],
    rows: np.ndarray,
    weights: np.ndarray | None = None,
    inputs: list[np.ndarray] | None = None,
) -> tuple[np.ndarray, list[float], list[float]]:
    """SGD in float64: the final kernel, every epoch's loss, and the loss of all data after it.

    `inputs`: the batches that a data set gave, epoch after epoch; else those of data["x"].
    """
    kernel, teacher = data["student"].astype(np.float64), data["teacher"].astype(np.float64)
    weights = np.ones(SAMPLES) if weights is None else weights.astype(np.float64)
    losses, afterwards = [], []

    def both(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        q = softened(x @ teacher, TEMPERATURE)
        return restated(x @ kernel, y, q, ALPHA, TEMPERATURE, MULTIPLIER)

    for epoch in range(EPOCHS):
        total = 0.0
        for i, start in enumerate(range(0, SAMPLES, BATCH)):
            part = slice(start, start + BATCH)
            x = data["x"][part] if inputs is None else inputs[epoch * -(-SAMPLES // BATCH) + i]
            values, gradients = both(x.astype(np.float64), rows[part])
            total += (weights[part] * values).sum()
            kernel = kernel - RATE * x.T @ (weights[part][:, None] * gradients) / len(x)
        losses.append(total / SAMPLES)
        afterwards.append(both(data["x"].astype(np.float64), rows)[0].mean())
    return kernel, losses, afterwards


class NestedEvaluate(keras.callbacks.Callback):
    def __init__(self, data: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.data = data
        self.losses: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.losses.append(self.model.evaluate(self.data["x"], self.data["y"], verbose=0))


EAGER: dict[str, Any] = {"run_eagerly": True}  # where tracing takes longer, and shows nothing more


@pytest.mark.parametrize(
    ("compile_options", "fit_options"),
    [
        pytest.param({"jit_compile": False}, {}, id="graph"),
        pytest.param(EAGER, {}, id="eager"),
        pytest.param({"jit_compile": True}, {}, id="xla"),
        pytest.param({"steps_per_execution": 3}, {}, id="steps-per-execution"),
        pytest.param(EAGER, {"sample_weight": True}, id="sample-weight"),
        pytest.param(EAGER, {"class_weight": True}, id="class-weight"),
        pytest.param({}, {"nested": True}, id="nested-evaluate"),
        pytest.param(EAGER, {"labels": "column"}, id="column"),
        pytest.param(EAGER, {"labels": "mixed"}, id="mixed-labels"),
        pytest.param({}, {"augmented": True}, id="augmented-tf-data"),
        pytest.param(EAGER, {"teacher": "softmax"}, id="softmax-teacher"),
        pytest.param(EAGER, {"teacher": "probabilities"}, id="probabilities-teacher"),
    ],
)
def test_fit_is_the_replay(data, compile_options, fit_options):
    x, y, weights = data["x"], data["y"], None
    rows = np.eye(CLASSES)[y]
    nested, recorded = NestedEvaluate(data), []
    teacher = linear(data["teacher"], "softmax" if "teacher" in fit_options else None)
    if fit_options.get("teacher") == "probabilities":
        # A layer between, after which Keras no longer knows the logits.
        teacher = keras.Sequential([teacher, keras.layers.Identity(), keras.layers.Reshape([-1])])
    teacher.trainable = False
    callback = TeacherLogits(
        teacher, teacher_from_logits=fit_options.get("teacher") != "probabilities"
    )
    options: dict[str, Any] = {"callbacks": [callback]}
    metrics = None if "labels" in fit_options else ["accuracy"]
    if "nested" in fit_options:
        metrics = None
        options["callbacks"] = [nested, callback]
    if "sample_weight" in fit_options:
        weights = options["sample_weight"] = data["weights"]
    if "class_weight" in fit_options:
        options["class_weight"] = {0: 0.5, 1: 1.0, 2: 2.0}
        weights = np.array([0.5, 1.0, 2.0])[y]
    if "labels" in fit_options:
        rows = np.random.default_rng(1).dirichlet(np.ones(CLASSES), SAMPLES)
        y = rows.astype(np.float32)
    if fit_options.get("labels") == "column":
        rows, y = np.eye(CLASSES)[data["y"]], data["y"][:, None]
    arguments: tuple[Any, ...] = (x, y)
    if "augmented" in fit_options:
        rng = np.random.default_rng(2)

        def augmented():
            for start in range(0, SAMPLES, BATCH):
                batch = x[start : start + BATCH]
                recorded.append((batch + rng.normal(size=batch.shape)).astype(np.float32))
                yield recorded[-1], y[start : start + BATCH]

        signature = (tf.TensorSpec([None, FEATURES]), tf.TensorSpec([None], tf.int64))
        batches = tf.data.Dataset.from_generator(augmented, output_signature=signature)
        arguments = (batches.apply(tf.data.experimental.assert_cardinality(-(-SAMPLES // BATCH))),)
    else:
        options |= {"batch_size": BATCH, "shuffle": False}

    model = build(data, metrics=metrics, **compile_options)
    history = model.fit(
        *arguments, epochs=EPOCHS, verbose=0, validation_data=(x, y), **options
    ).history

    kernel, losses, afterwards = replay(data, rows, weights, recorded or None)
    np.testing.assert_allclose(model.get_weights()[0], kernel, atol=1e-5)
    np.testing.assert_allclose(history["val_loss"], afterwards, rtol=1e-5)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    if nested.losses:
        np.testing.assert_allclose(nested.losses, afterwards, rtol=1e-5)
    if metrics:  # which see the labels as they were given
        right = (x @ model.get_weights()[0]).argmax(axis=1) == data["y"]
        np.testing.assert_allclose(history["val_accuracy"][-1], right.mean(), rtol=1e-6)
    np.testing.assert_array_equal(teacher.get_weights()[0], data["teacher"])
    assert not teacher.trainable
    assert "compute_loss" not in vars(model)


def test_labels_that_were_packed_give_the_same_as_the_callback(data):
    packed = with_teacher_logits(data["y"], data["x"] @ data["teacher"])
    model = build(data, **EAGER)
    model.fit(data["x"], packed, BATCH, EPOCHS, shuffle=False, verbose=0)
    kernel, _, afterwards = replay(data, np.eye(CLASSES)[data["y"]])
    np.testing.assert_allclose(model.get_weights()[0], kernel, atol=1e-5)
    value = model.evaluate(data["x"], packed, verbose=0)
    np.testing.assert_allclose(value, afterwards[-1], rtol=1e-5)


def fit(model: keras.Model, data: dict[str, np.ndarray], *callbacks: Any) -> dict[str, Any]:
    return model.fit(
        data["x"], data["y"], BATCH, EPOCHS, callbacks=list(callbacks), shuffle=False, verbose=0,
        validation_data=(data["x"], data["y"]),
    ).history  # fmt: skip


def test_evaluate_and_a_second_fit(data):
    model, callback = build(data), TeacherLogits(linear(data["teacher"]))
    kernel, _, afterwards = replay(data, np.eye(CLASSES)[data["y"]])
    for _ in range(2):
        model.set_weights([data["student"]])
        fit(model, data, callback)
        np.testing.assert_allclose(model.get_weights()[0], kernel, atol=1e-5)
        for _ in range(2):
            value = model.evaluate(data["x"], data["y"], callbacks=[callback], verbose=0)
            np.testing.assert_allclose(value, afterwards[-1], rtol=1e-5)
            assert "compute_loss" not in vars(model)
        with pytest.raises(InputError, match="Give fit or evaluate callbacks="):
            model.evaluate(data["x"], data["y"], verbose=0)
        with pytest.raises(InputError, match="Give fit or evaluate callbacks="):
            model.fit(data["x"], data["y"], verbose=0)
    # Another teacher is another loss.
    other = TeacherLogits(linear(-data["teacher"]))
    value = model.evaluate(data["x"], data["y"], callbacks=[other], verbose=0)
    assert abs(value - afterwards[-1]) > 0.1


def test_after_a_training_that_was_interrupted(data):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raise KeyboardInterrupt

    model, wrong = build(data), TeacherLogits(linear(-data["teacher"]))
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, wrong, Interrupt())
    model.set_weights([data["student"]])
    history = fit(model, data, TeacherLogits(linear(data["teacher"])))
    kernel, _, afterwards = replay(data, np.eye(CLASSES)[data["y"]])
    np.testing.assert_allclose(model.get_weights()[0], kernel, atol=1e-5)
    np.testing.assert_allclose(history["val_loss"], afterwards, rtol=1e-5)

    with pytest.raises(KeyboardInterrupt):
        fit(model, data, wrong, Interrupt())
    model.set_weights([data["student"]])
    model.compile(keras.optimizers.SGD(RATE), HardLabelLoss(from_logits=True), **EAGER)
    fit(model, data)
    plain = build(data, HardLabelLoss(from_logits=True), **EAGER)
    fit(plain, data)
    np.testing.assert_array_equal(model.get_weights()[0], plain.get_weights()[0])

    model.compile("sgd", OnlineLabelSmoothingLoss(CLASSES, from_logits=True), **EAGER)
    fit(model, data, OnlineLabelSmoothing())
    assert "train_step" not in vars(model)


def test_the_teacher_is_not_saved_with_the_model(data, tmp_path):
    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.save(tmp_path / "model.keras")

    model = build(data, **EAGER)
    fit(model, data, TeacherLogits(linear(data["teacher"])), Save())
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.count_params() == model.count_params()
    assert again.loss.get_config() == model.loss.get_config()
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    fit(again, data, TeacherLogits(linear(data["teacher"])))


def test_the_teacher_evaluates_and_learns_nothing(data):
    """Dropout is off and the moving statistics stay, also where the teacher is trainable."""
    teacher = keras.Sequential(
        [
            keras.Input([FEATURES]),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=0),
            keras.layers.Dense(CLASSES),
        ]
    )
    before = [w.copy() for w in teacher.get_weights()]
    model = build(data)
    fit(model, data, TeacherLogits(teacher))
    for then, now in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(then, now)
    assert teacher.trainable
    packed = with_teacher_logits(data["y"], teacher(data["x"]).numpy())
    step, again = build(data, **EAGER), build(data, **EAGER)
    callbacks = [TeacherLogits(teacher)]
    step.fit(data["x"], data["y"], SAMPLES, callbacks=callbacks, shuffle=False, verbose=0)
    again.train_on_batch(data["x"], packed)
    np.testing.assert_allclose(again.get_weights()[0], step.get_weights()[0], atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(data, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        callback = TeacherLogits(linear(data["teacher"]))
        assert callback.logits(data["x"]).dtype == tf.float32
        model = build(data)
        model.fit(data["x"], data["y"], SAMPLES, callbacks=[callback], verbose=0)  # one step
        x = data["x"].astype(np.float64)
        q, rows = softened(x @ data["teacher"], TEMPERATURE), np.eye(CLASSES)[data["y"]]
        gradients = restated(x @ data["student"], rows, q, ALPHA, TEMPERATURE, MULTIPLIER)[1]
        step = -RATE * x.T @ gradients / SAMPLES
        found = model.get_weights()[0] - data["student"]
        np.testing.assert_allclose(found, step, atol=0.02 * np.abs(step).max())
    finally:
        keras.config.set_dtype_policy(before)


# --- what the callback refuses --------------------------------------------------------------------


@pytest.mark.parametrize("teacher", [None, lambda x: x, keras.Sequential([keras.layers.Dense(3)])])
def test_a_teacher_that_is_none(teacher):
    with pytest.raises(InputError, match="teacher: expected a built Keras model, received"):
        TeacherLogits(teacher)


@pytest.mark.parametrize("loss", [HardLabelLoss(from_logits=True), "mse"])
def test_another_loss_is_refused(data, loss):
    with pytest.raises(InputError, match="expected a model compiled with one TfKDSelfTrainingLoss"):
        fit(build(data, loss), data, TeacherLogits(linear(data["teacher"])))


class Subclassed(keras.Model):
    """Whose output shape Keras does not know before the first step."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(units)

    def call(self, x):
        return self.dense(x)


def test_outputs_of_another_shape_are_refused(data):
    message = r"teacher: expected outputs of shape \(None, 3\).*received \(None, 5\)"
    teacher = keras.Sequential([keras.Input([FEATURES]), keras.layers.Dense(5)])
    with pytest.raises(InputError, match=message):
        fit(build(data), data, TeacherLogits(teacher))
    model = Subclassed(CLASSES)
    model.compile("sgd", self_training())
    # A class id beside 5 logits would pass for a label row beside 3.
    with pytest.raises(InputError, match=r"teacher: expected outputs of shape .*3"):
        fit(model, data, TeacherLogits(teacher))
    inputs = keras.Input([FEATURES])
    several = keras.Model(inputs, [keras.layers.Dense(CLASSES)(inputs) for _ in range(2)])
    with pytest.raises(InputError, match="teacher: expected outputs of shape"):
        fit(build(data), data, TeacherLogits(several))
    with pytest.raises(InputError, match="teacher: expected one output, received several"):
        TeacherLogits(several).logits(data["x"])


def test_a_subclassed_model_learns_too(data):
    model = Subclassed(CLASSES)
    model.compile("sgd", self_training())
    fit(model, data, TeacherLogits(linear(data["teacher"])))


def test_a_teacher_that_would_change_is_refused(data):
    model = build(data)
    for teacher in (model, keras.Model(model.inputs, model.outputs)):
        with pytest.raises(InputError, match="teacher: expected a model of its own"):
            fit(model, data, TeacherLogits(teacher))


def test_logits_that_are_said_to_be_probabilities_are_refused(data):
    callback = TeacherLogits(linear(data["teacher"]), teacher_from_logits=False)
    with pytest.raises(InputError, match="teacher: expected probabilities; of logits say"):
        fit(build(data, run_eagerly=True), data, callback)
    with pytest.raises(tf.errors.InvalidArgumentError, match="teacher: expected probabilities"):
        fit(build(data), data, callback)


def test_two_teachers_are_refused(data):
    with pytest.raises(InputError, match="callbacks: expected one TeacherLogits, received two"):
        fit(build(data), data, *(TeacherLogits(linear(data["teacher"])) for _ in range(2)))


def test_a_compute_loss_that_something_else_replaced_is_refused(data):
    model = build(data)
    model.compute_loss = model.compute_loss
    with pytest.raises(InputError, match="compute_loss, which another callback has replaced"):
        fit(model, data, TeacherLogits(linear(data["teacher"])))
    with pytest.raises(InputError, match="expected a model compiled with OnlineLabelSmoothing"):
        fit(build(data), data, OnlineLabelSmoothing())


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("temperature", [1.0, 6.0, 20.0, 40.0])
def test_a_student_near_its_teacher_keeps_its_digits(convention, temperature):
    """At high temperatures KL is 1e-4 of the entropies that it is the difference of."""
    rng = np.random.default_rng(0)
    for num_classes in (2, 3, 7):
        logits = rng.normal(0, 1.5, (5, num_classes)).astype(np.float32)
        teacher = (logits + rng.normal(0, 0.3, logits.shape)).astype(np.float32)
        labels = rng.integers(0, num_classes, 5)
        loss = TfKDSelfTrainingLoss(
            1.0,
            temperature=temperature,
            multiplier=50.0,
            convention=convention,
            from_logits=True,
            reduction="sum",
        )
        value, gradient = value_and_gradient(loss, with_teacher_logits(labels, teacher), logits)
        q, p = softened(teacher, temperature), softened(logits, temperature)
        scale = 50.0 * (temperature**2 / num_classes if convention == "released_code" else 1.0)
        np.testing.assert_allclose(value, scale * rel_entr(q, p).sum(), rtol=2e-6)
        expected = scale * (p - q) / temperature
        np.testing.assert_allclose(
            gradient, expected, rtol=2e-6, atol=2e-6 * np.abs(expected).max()
        )


def test_a_penalty_on_top_of_self_training():
    """The teacher's logits reach the base, and the callback finds it."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)).astype(np.float32), rng.integers(0, 3, 24)
    teacher = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    student = keras.models.clone_model(teacher)
    plain = TfKDSelfTrainingLoss(0.5, temperature=2.0, from_logits=True)
    both = DCALoss(2.0, base=TfKDSelfTrainingLoss(0.5, temperature=2.0), from_logits=True)
    alone = DCALoss(2.0, base="none", from_logits=True)
    packed = with_teacher_logits(y, teacher(x))
    logits = student(x)
    np.testing.assert_allclose(
        both(packed, logits), plain(packed, logits) + alone(y, logits), rtol=1e-6
    )
    student.compile("sgd", both)
    history = student.fit(x, y, callbacks=[TeacherLogits(teacher)], verbose=0)
    assert np.isfinite(history.history["loss"]).all()
