"""Hard labels, LS, LS+ and OLS against the authors' values and float64 restatements.

What every loss must hold is in test_losses_all.py.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from helpers import value_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax, rel_entr, xlogy

import lsplus_tf as lsp
from lsplus_tf.errors import InputError

# float32 rounds log(1 + small) by up to half an ulp of 1; nothing computed in float32 does better.
TOLERANCE = {"rtol": 1e-6, "atol": 6e-8}


class Golden:
    def __init__(self, shared: Path) -> None:
        self.arrays = np.load(shared / "golden" / "golden_losses.npz")
        self.facts = json.loads((shared / "golden" / "golden_losses.json").read_text())

    def case(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self.arrays[f"in/{name}/logits"], self.arrays[f"in/{name}/labels"]

    def output(self, loss: str, case: str, what: str) -> np.ndarray:
        return self.arrays[f"{loss}/{case}/{what}"]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    return Golden(shared)


# --- against the original authors' code -----------------------------------------------------------


@pytest.mark.parametrize("case", ["c0", "c2", "c4", "c6"])
@pytest.mark.parametrize(
    ("entry", "loss"),
    [
        ("ce_mean", lsp.HardLabelLoss(from_logits=True)),
        ("ls_mbls_a0.1", lsp.losses.LabelSmoothingLoss(0.1, from_logits=True)),
    ],
)
def test_hard_labels_and_label_smoothing_as_the_originals(golden, entry, loss, case):
    logits, labels = golden.case(case)
    value, gradient = value_and_gradient(loss, labels, logits)
    np.testing.assert_allclose(value, golden.output(entry, case, "loss_f32"), rtol=1e-6)
    np.testing.assert_allclose(value, golden.output(entry, case, "loss_f64"), **TOLERANCE)
    np.testing.assert_allclose(gradient, golden.output(entry, case, "grad_f64"), **TOLERANCE)


LS_PLUS_CASES = [
    ("lsplus_LS_kl_a0.1", "c0"),
    ("lsplus_LS_kl_a0.1", "c2"),
    ("lsplus_LS_kl_a0.1", "c4"),
    ("lsplus_LS_kl_a0.1", "c6"),
    ("lsplus_ours_alpha05_authors_c_d1", "c4"),
    ("lsplus_ours_alpha05_authors_c_d2", "c0"),
    ("lsplus_ours_alpha05_authors_c_d2", "c6"),
    ("lsplus_ours_alpha05_authors_c_d3_resnet34", "c2"),
    ("lsplus_ours_alpha05_authors_c_d3_resnet50", "c2"),
    ("lsplus_ours_alpha05_case_prior", "c0"),
    ("lsplus_ours_alpha05_case_prior", "c2"),
    ("lsplus_ours_alpha05_case_prior", "c4"),
    ("lsplus_ours_alpha05_case_prior", "c6"),
]


def ls_plus_restated(
    logits: np.ndarray, labels: np.ndarray, prior: np.ndarray, alpha: float, clip: float
) -> float:
    """(1 - alpha) CE + alpha KL(v || p), float64; the original clips v and p inside KL."""
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    v = np.maximum(prior[labels], clip)
    log_p_in_kl = np.maximum(log_p, np.log(clip)) if clip else log_p
    kl = (v * (np.log(v) - log_p_in_kl)).sum(axis=1)
    ce = -np.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    return float(np.mean((1 - alpha) * ce + alpha * kl))


@pytest.mark.parametrize(("entry", "case"), LS_PLUS_CASES)
def test_ls_plus_as_the_original(golden, entry, case):
    logits, labels = golden.case(case)
    num_classes = logits.shape[1]
    alpha = golden.facts["losses"][entry]["hyper"]["alpha"]
    if entry.startswith("lsplus_LS"):
        prior = lsp.priors.uniform_prior(num_classes)
    else:
        constants = golden.facts["losses"][entry]["hyper"].get("c")
        prior = lsp.informed_prior(
            golden.arrays[f"in/{case}/prior_vacc"] if constants is None else constants
        )
    loss = lsp.LSPlusLoss(prior, alpha=alpha, from_logits=True)
    value, gradient = value_and_gradient(loss, labels, logits)

    original = golden.output(entry, case, "loss_f32")
    clips = log_softmax(logits.astype(np.float64), axis=1).min() < np.log(1e-7)
    assert clips == (case in ("c4", "c6"))
    if not clips:
        np.testing.assert_allclose(value, original, rtol=1e-6)
        np.testing.assert_allclose(gradient, golden.output(entry, case, "grad_f32"), **TOLERANCE)
    else:  # the restatement equals the original with its clip, and this package without
        np.testing.assert_allclose(
            ls_plus_restated(logits, labels, prior, alpha, clip=1e-7), original, rtol=1e-6
        )
        np.testing.assert_allclose(
            value, ls_plus_restated(logits, labels, prior, alpha, clip=0.0), rtol=1e-6
        )


# --- against float64 restatements, everywhere -----------------------------------------------------


def make_losses(num_classes: int, **options: Any) -> dict[str, tuple[Any, np.ndarray, np.ndarray]]:
    """Every loss with its (K, K) target matrix and (K,) constants, restated in float64."""
    rng = np.random.default_rng(num_classes)
    prior = lsp.informed_prior(rng.uniform(0.2, 1.0, num_classes))
    soft = rng.dirichlet(np.ones(num_classes), num_classes)
    online = lsp.OnlineLabelSmoothingLoss(num_classes, alpha=0.3, **options)
    online.soft_labels.assign(soft)
    online.is_fed = True  # no warning: here nothing is trained
    eye, zeros = np.eye(num_classes), np.zeros(num_classes)
    return {
        "hard": (lsp.HardLabelLoss(**options), eye, zeros),
        "smooth": (
            lsp.LabelSmoothingLoss(0.2, **options),
            0.8 * eye + 0.2 / num_classes,
            zeros,
        ),
        "plus": (
            lsp.LSPlusLoss(prior, alpha=0.4, **options),
            0.6 * eye + 0.4 * prior,
            0.4 * xlogy(prior, prior).sum(axis=1),
        ),
        "online": (online, 0.3 * eye + 0.7 * soft, zeros),
    }


KINDS = ["hard", "smooth", "plus", "online"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(
    logits=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(2, 5)),
        elements=st.floats(-1e4, 1e4, width=32),
    ),
    seed=st.integers(0, 2**16),
)
def test_value_gradient_and_label_forms(kind, logits, seed):
    """Any logits: equals float64; integer, one-hot and mixed labels agree; classes permute."""
    batch, num_classes = logits.shape
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, batch)
    loss, matrix, constants = make_losses(num_classes, from_logits=True)[kind]
    log_p = log_softmax(logits.astype(np.float64), axis=1)

    def restated(weights: np.ndarray) -> tuple[float, np.ndarray]:
        targets = weights @ matrix
        value = np.mean(-(targets * log_p).sum(axis=1) + weights @ constants)
        return value, (np.exp(log_p) - targets) / batch

    onehot = np.eye(num_classes)[labels]
    mixed = rng.dirichlet(np.ones(num_classes), batch)
    for given_labels, weights in (
        (labels, onehot),
        (labels[:, None], onehot),
        (onehot.astype(np.float32), onehot),
        (mixed.astype(np.float32), mixed.astype(np.float32).astype(np.float64)),
    ):
        value, gradient = value_and_gradient(loss, given_labels, logits)
        expected_value, expected_gradient = restated(weights)
        np.testing.assert_allclose(value, expected_value, rtol=3e-6, atol=1e-6)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=3e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_probabilities_are_finite(kind):
    loss, *_ = make_losses(2)[kind]
    value, gradient = value_and_gradient(loss, np.array([0]), np.array([[0.0, 1.0]], np.float32))
    assert np.isfinite(value)
    assert value > 10
    assert np.isfinite(gradient).all()


@pytest.mark.filterwarnings("ignore:.*y_pred is a softmax in")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_softmax_layer_keeps_the_gradient_of_a_confident_error(kind, dtype):
    """A margin of 40 is 0 in float32 probabilities; the logits of the softmax are used."""
    loss, *_ = make_losses(2)[kind]
    z = tf.Variable([[40.0, 0.0]], dtype=dtype)
    with tf.GradientTape() as tape:
        value = loss(np.array([1]), keras.activations.softmax(z))
    reference, *_ = make_losses(2, from_logits=True)[kind]
    expected_value, expected_gradient = value_and_gradient(reference, np.array([1]), z.numpy())
    np.testing.assert_allclose(value, expected_value, rtol=1e-3)
    np.testing.assert_allclose(tape.gradient(value, z), expected_gradient, rtol=1e-3)


def test_logits_declared_for_a_softmax_output_are_refused():
    loss = lsp.HardLabelLoss(from_logits=True)
    with pytest.raises(InputError, match="from_logits=True, but y_pred is the output of a softmax"):
        loss(np.array([0]), keras.activations.softmax(tf.constant([[1.0, 2.0]])))


def test_label_smoothing_is_that_of_keras():
    logits = np.random.default_rng(3).normal(0, 5, (9, 3)).astype(np.float32)
    labels = np.arange(9) % 3
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.15)
    ours = lsp.LabelSmoothingLoss(0.15, from_logits=True)
    np.testing.assert_allclose(ours(labels, logits), theirs(np.eye(3)[labels], logits), rtol=1e-6)


def test_ls_plus_is_the_papers_sum_with_kl():
    """Against SciPy's relative entropy, for a prior that is not of the Eq. 3 form."""
    rng = np.random.default_rng(5)
    prior = rng.dirichlet(np.ones(4), 4)
    logits, labels = rng.normal(size=(7, 4)), rng.integers(0, 4, 7)
    log_p = log_softmax(logits, axis=1)
    kl = rel_entr(prior[labels], np.exp(log_p)).sum(axis=1)
    ce = -log_p[np.arange(7), labels]
    loss = lsp.LSPlusLoss(prior, alpha=0.7, from_logits=True, reduction="none")
    np.testing.assert_allclose(
        loss(labels, logits.astype(np.float32)), 0.3 * ce + 0.7 * kl, rtol=1e-5
    )


# --- online label smoothing's state ---------------------------------------------------------------


def test_accumulation_leaves_out_wrong_bad_and_foreign_rows():
    loss = lsp.OnlineLabelSmoothingLoss(3, from_logits=True)
    logits = np.array([[2, 0, 0], [0, 2, 0], [np.nan, 0, 0], [3, 1, 0], [0, 0, 2]], np.float32)
    labels = np.array([0, 0, 0, 0, 7])

    @tf.function(jit_compile=True)
    def compiled() -> None:
        loss.accumulate(labels, logits)

    for accumulate in (lambda: loss.accumulate(labels, logits), compiled):
        accumulate()
        loss.update_soft_labels()
        p = np.exp(log_softmax(logits[[0, 3]].astype(np.float64), axis=1)).mean(axis=0)
        expected = np.array([p, [1 / 3] * 3, [1 / 3] * 3])
        np.testing.assert_allclose(loss.soft_labels, expected, rtol=1e-6)


def test_a_class_without_correct_predictions_may_keep_its_row():
    loss = lsp.OnlineLabelSmoothingLoss(2, from_logits=True, empty_class="keep")
    before = np.array([[0.9, 0.1], [0.3, 0.7]], np.float32)
    loss.soft_labels.assign(before)
    loss.accumulate([0], [[1.0, 0.0]])
    loss.update_soft_labels()
    np.testing.assert_allclose(loss.soft_labels[1], before[1])
    assert not np.allclose(loss.soft_labels[0], before[0])


def test_a_custom_loop_that_accumulates_is_not_warned(recwarn):
    loss = lsp.OnlineLabelSmoothingLoss(2, from_logits=True)
    z = tf.Variable([[1.0, 0.0]])
    with tf.GradientTape() as tape:
        loss.accumulate([0], z)
        value = loss([0], z)
    tape.gradient(value, z)
    assert not [w for w in recwarn if "accumulates its soft labels" in str(w.message)]


def test_evaluating_alone_is_not_warned_but_training_is(recwarn):
    loss = lsp.OnlineLabelSmoothingLoss(2, from_logits=True)
    loss([0], [[1.0, 0.0]])
    assert not recwarn.list
    value_and_gradient(loss, [0], [[1.0, 0.0]])  # after which it may be accumulated
    assert not recwarn.list
    with pytest.warns(UserWarning, match="nothing accumulates its soft labels"):
        value_and_gradient(loss, [0], [[1.0, 0.0]])


# --- serialization --------------------------------------------------------------------------------


def test_soft_labels_travel_in_weight_files_and_other_losses_do_not_disturb_them(tmp_path):
    def compiled(loss: Any) -> keras.Model:
        model = keras.Sequential([keras.Input([2]), keras.layers.Dense(2)])
        model.compile("sgd", loss)
        return model

    source = lsp.OnlineLabelSmoothingLoss(2, from_logits=True)
    source.soft_labels.assign([[0.8, 0.2], [0.4, 0.6]])
    compiled(source).save_weights(tmp_path / "online.weights.h5")
    target = lsp.OnlineLabelSmoothingLoss(2, from_logits=True)
    compiled(target).load_weights(tmp_path / "online.weights.h5")
    np.testing.assert_array_equal(target.soft_labels, source.soft_labels)

    compiled(lsp.HardLabelLoss(from_logits=True)).save_weights(tmp_path / "hard.weights.h5")
    compiled(target).load_weights(tmp_path / "hard.weights.h5")
    np.testing.assert_array_equal(target.soft_labels, source.soft_labels)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), "0.5", None, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda alpha: lsp.LabelSmoothingLoss(alpha),
        lambda alpha: lsp.LSPlusLoss(np.eye(2), alpha=alpha),
        lambda alpha: lsp.OnlineLabelSmoothingLoss(2, alpha=alpha),
    ],
)
def test_alpha_outside_its_range(make, alpha):
    with pytest.raises(InputError, match=r"alpha: expected a number in \[0, 1\], received"):
        make(alpha)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ([[0.5, 0.4], [0.5, 0.5]], "rows that sum to 1, received 0.9 in row 0"),
        ([[1.5, -0.5], [0.5, 0.5]], r"values >= 0, received -0.5 at \[0, 1\]"),
        ([[0.5, 0.5], [np.nan, 0.5]], r"finite values, received nan at \[1, 0\]"),
        ([0.5, 0.5], r"shape \(K, K\).*informed_prior\(\)"),
        ([[1.0]], "K >= 2"),
        ([[0.5, 0.5]], r"received shape \(1, 2\)"),
        ("good", "matrix of numbers"),
    ],
)
def test_a_prior_that_is_none(prior, message):
    with pytest.raises(InputError, match=f"prior: expected.*{message}"):
        lsp.LSPlusLoss(prior)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_that_do_not_fit(kind):
    loss, *_ = make_losses(3, from_logits=True)[kind]
    with pytest.raises(InputError, match=r"y_true: expected class ids of shape \(batch,\)"):
        loss(np.zeros((2, 4)), np.zeros((2, 3)))
    if kind in ("plus", "online"):
        with pytest.raises(InputError, match=r"y_pred: expected .*3.*received 4"):
            loss(np.zeros(2, int), np.zeros((2, 4)))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_that_were_not_declared(kind):
    """Silently trained on, the loss would fall below any bound."""
    loss, *_ = make_losses(3)[kind]
    graph, xla = tf.function(loss), tf.function(loss, jit_compile=True)
    for logits in ([[0.5, -0.1, 0.6]], [[2.0, 0.1, 0.1]]):
        outputs, labels = np.array(logits, np.float32), np.array([0])
        with pytest.raises(InputError, match=r"expected probabilities .* from_logits=True"):
            loss(labels, outputs)
        with pytest.raises(tf.errors.InvalidArgumentError, match="from_logits=True"):
            graph(labels, outputs)
        assert np.isnan(xla(labels, outputs))


@pytest.mark.parametrize("shape", [(2, 1), (2,), (3, 2, 1)])
def test_one_sigmoid_output(shape):
    """A number for each sample, without an axis too, is not a row of classes."""
    outputs, labels = np.full(shape, 0.5, np.float32), np.zeros(shape)
    with pytest.raises(InputError, match=r"two or more classes.* in place of one sigmoid output"):
        lsp.HardLabelLoss()(labels, outputs)
    with pytest.raises(InputError, match=r"two or more classes.* in place of one sigmoid output"):
        lsp.OnlineLabelSmoothingLoss(2).accumulate(labels, outputs)


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_network_with_one_sigmoid_output(eagerly):
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", lsp.HardLabelLoss(), run_eagerly=eagerly)
    with pytest.raises(InputError, match=r"two or more classes.* in place of one sigmoid output"):
        model.fit(np.ones((2, 4)), np.zeros(2), verbose=0)


def streamed(labels: Any, outputs: Any, weights: Any = None) -> float:
    metric = lsp.metrics.keras.NegativeLogLikelihood(from_logits=True)
    metric.update_state(labels, outputs, weights)
    return float(metric.result())


def accumulated(labels: Any, outputs: Any, weights: Any = None) -> float:
    loss = lsp.OnlineLabelSmoothingLoss(2, from_logits=True)
    loss.accumulate(labels, outputs, sample_weight=weights)
    return float(loss.accumulated().sum())


READERS = {
    "loss": lsp.HardLabelLoss(from_logits=True),
    "metric": streamed,
    "accumulate": accumulated,
}
every_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@every_reader
@pytest.mark.parametrize(
    "given",
    [
        np.array(["0", "1", "1"]),
        np.array([0, 1, 1], object),
        pd.Series(["0", "1", "1"], index=[5, 6, 7]),
        pd.Series([0, 1, 1], dtype="Int64"),
        np.ma.array([0, 1, 1]),
        keras.Variable([0, 1, 1], dtype="int32"),
        tf.Variable([0, 1, 1]),
        np.array([0, 1, 1], ">i2"),
        [0, 1, 1],
    ],
)
def test_labels_that_are_numbers_in_any_form(read, given):
    outputs = np.array([[1, 0], [-0.5, 2], [1, 0]], np.float32)
    assert float(read(given, outputs)) == float(read(np.array([0, 1, 1]), outputs))


@every_reader
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.array(["cat", "dog", "dog"]), "y_true: expected numbers, received text; number cla"),
        (["cat", "dog", "dog"], "y_true: expected numbers, received text; number classes"),
        (np.array(["cat", 1, None], object), "y_true: expected numbers, received objects"),
        (np.ma.array([0, 1, 1], mask=[0, 0, 1]), "y_true: .* received masked ones; leave these"),
        (tf.ragged.constant([[0], [1], [1]]), r"y_true: .* a RaggedTensor; use to_tensor\(\)"),
        (tf.sparse.eye(3, 2), r"y_true: .* a SparseTensor; use tf\.sparse\.to_dense"),
        (np.zeros((2, 3)), r"y_true: .* for y_pred of shape \(3, 2\); received shape \(2, 3\)"),
    ],
)
def test_labels_that_are_no_array_of_numbers(read, given, message):
    with pytest.raises(InputError, match=message):
        read(given, np.zeros((3, 2), np.float32))


@every_reader
def test_labels_and_outputs_exchanged(read):
    with pytest.raises(InputError, match="labels come first, are the two exchanged"):
        read(np.zeros((4, 3), np.float32), np.array([0, 1, 2, 0]))


@every_reader
@pytest.mark.parametrize("shape", [(3,), (5,), (4, 2), (1, 4), (4, 1, 1)])
def test_weights_that_are_not_one_for_each_sample(read, shape):
    message = r"sample_weight: .* shape \(4,\) or \(batch,\).*; received shape \("
    with pytest.raises(InputError, match=message):
        read(np.zeros(4, int), np.zeros((4, 2), np.float32), np.ones(shape))


@pytest.mark.parametrize("read", [READERS["loss"], streamed], ids=["loss", "metric"])
def test_tensors_whose_shape_is_not_known(read):
    """As `tf.py_function` gives them."""
    unknown = tf.TensorSpec(None, tf.int32)
    traced = functools.partial(tf.function, autograph=False)  # which wraps what is raised
    outputs = tf.zeros((2, 2))
    with pytest.raises(InputError, match=r"y_true: .*<unknown>; set it, as with y_true\.set_shape"):
        traced(lambda labels: read(labels, outputs)).get_concrete_function(unknown)
    with pytest.raises(InputError, match=r"sample_weight: .*<unknown>; set it, as with sample_we"):
        traced(lambda w: read([0, 1], outputs, w)).get_concrete_function(unknown)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("execution", [{}, {"run_eagerly": True}, {"jit_compile": True}], ids=str)
def test_a_sigmoid_of_each_class(policy, execution):
    """Keras keeps the sigmoid's logits as it does a softmax's, and takes the softmax of them."""
    dense = keras.layers.Dense(3, activation="sigmoid", dtype=policy)
    model = keras.Sequential([keras.Input([4]), dense])
    model.compile("sgd", lsp.LabelSmoothingLoss(0.1), **execution)
    with pytest.raises(InputError, match="a softmax over the classes, received a sigmoid of each"):
        model.fit(np.ones((2, 4)), np.zeros(2), verbose=0)


def test_other_wrong_arguments():
    with pytest.raises(InputError, match="empty_class: expected 'uniform' or 'keep' or 'zeros'"):
        lsp.OnlineLabelSmoothingLoss(2, empty_class="zero")
    with pytest.raises(InputError, match=r"num_classes: .* at least 2, received 1"):
        lsp.OnlineLabelSmoothingLoss(1)
