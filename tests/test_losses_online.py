"""Online label smoothing's variants against their originals, its blend with LS+, and CPLS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from helpers import value_and_gradient
from scipy.special import log_softmax, softmax

import lsplus_tf as lsp
from lsplus_tf.errors import InputError
from lsplus_tf.losses import ConfusionPenaltyLoss, OnlineLabelSmoothingLoss

# float32 rounds log(1 + small) by up to half an ulp of 1; nothing computed in float32 does better.
TOLERANCE = {"rtol": 1e-6, "atol": 6e-8}
EPOCHS = 3
EMPTY = {"uniform": 1.0, "zeros": 0.0}  # what an empty class's row sums to


class Original(NamedTuple):
    """How this package says what a program does, and what is particular to the program."""

    options: dict[str, Any]
    columns: bool = False  # its matrix has a class in a column
    loses_duplicates: bool = False


# Five programs, three sequences of three epochs each (K 2, 4, and 7 with a class never right).
VARIANTS = {
    # Zhang et al.'s CIFAR script. From zeros, so that the first epoch has half the loss it should.
    "cifar_zeros_init": Original({"alpha": 0.5, "initial": "zeros"}),
    # The same from the paper's uniform matrix.
    "cifar_uniform_init": Original({"alpha": 0.5}),
    # Their fine-grained solver: the weights sum to 2, and confident rows are frozen.
    "finegrained": Original({"alpha": 1.0, "soft_weight": 1.0, "freeze_above": 0.88}),
    # ankandrew/online-label-smoothing-pt: an empty class loses its soft term.
    "ankandrew": Original(
        {"alpha": 0.5, "initial": "label_smoothed", "empty_class": "zeros"}, columns=True
    ),
    # Kurumi233/OnlineLabelSmoothing: no hard labels, so that nothing is learnt from zeros in the
    # first epoch; `grad[labels] += p` keeps the last of a class's predictions in a batch, a defect.
    "kurumi233": Original(
        {"alpha": 0.0, "soft_weight": 1.0, "initial": "zeros", "empty_class": "zeros"},
        loses_duplicates=True,
    ),
}
GOLDEN_OLS = {
    (sequence, variant): original
    for sequence in ("k2", "k4", "k7dead")
    for variant, original in VARIANTS.items()
}


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "golden_losses.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith("ols/")}


def means_of_correct(
    batches: np.ndarray, labels: np.ndarray, loses_duplicates: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The mean softmax of the correct predictions of every class (K, K), and their number (K,)."""
    num_classes = batches.shape[-1]
    sums = np.zeros((num_classes, num_classes))
    for logits, y in zip(batches, labels, strict=True):
        p = softmax(logits.astype(np.float64), axis=1)
        correct = p.argmax(axis=1) == y
        if loses_duplicates:
            sums[y[correct]] += p[correct]
        else:
            np.add.at(sums, y[correct], p[correct])
    counts = sums.sum(axis=1)
    return sums / np.where(counts, counts, 1.0)[:, None], counts


# --- against the originals ------------------------------------------------------------------------


@pytest.mark.parametrize(("sequence", "variant"), GOLDEN_OLS)
def test_variants_as_the_originals(golden, sequence, variant):
    original = GOLDEN_OLS[sequence, variant]
    given, expected = f"ols/{sequence}/in", f"ols/{sequence}/{variant}"
    num_classes = golden[f"{given}/logits_e0"].shape[-1]
    loss = OnlineLabelSmoothingLoss(num_classes, from_logits=True, **original.options)
    hard = original.options["alpha"]
    soft = original.options.get("soft_weight", 1 - hard)
    for e in range(EPOCHS):
        batches, labels = golden[f"{given}/logits_e{e}"], golden[f"{given}/labels_e{e}"]
        for i, (logits, y) in enumerate(zip(batches, labels, strict=True)):
            loss.accumulate(y, logits)
            value, gradient = value_and_gradient(loss, y, logits)
            np.testing.assert_allclose(value, golden[f"{expected}/loss_e{e}"][i], **TOLERANCE)
            np.testing.assert_allclose(gradient, golden[f"{expected}/grad_e{e}"][i], **TOLERANCE)
            terms = soft * golden[f"{expected}/soft_e{e}"][i]
            if hard:  # kurumi233 has none, and NaN in its place
                terms += hard * golden[f"{expected}/hard_e{e}"][i]
            np.testing.assert_allclose(value, terms, **TOLERANCE)
        if f"{expected}/count_e{e}" in golden:
            counts = loss._sums.numpy().sum(axis=1)
            np.testing.assert_allclose(counts, golden[f"{expected}/count_e{e}"], rtol=1e-6)
        loss.update_soft_labels()
        matrix = golden[f"{expected}/matrix_after_e{e}"]
        matrix = matrix.T if original.columns else matrix
        if original.loses_duplicates:
            # The defect, restated, explains the original's matrix; ours is the intended one.
            with_defect, _ = means_of_correct(batches, labels, loses_duplicates=True)
            np.testing.assert_allclose(with_defect, matrix, rtol=1e-6, atol=1e-7)
            intended, _ = means_of_correct(batches, labels)
            np.testing.assert_allclose(loss.soft_labels, intended, **TOLERANCE)
            assert np.abs(matrix - intended).max() > 0.01
            loss.soft_labels.assign(matrix)  # so that the next epoch's losses are the original's
        else:
            np.testing.assert_allclose(loss.soft_labels, matrix, **TOLERANCE)


def test_the_golden_sequences_reach_what_the_variants_differ_in(golden):
    """A row is frozen, and a class is empty."""
    frozen = [golden[f"ols/k2/finegrained/matrix_after_e{e}"] for e in (1, 2)]
    np.testing.assert_array_equal(frozen[0][1], frozen[1][1])
    assert not golden["ols/k7dead/ankandrew/matrix_after_e1"][:, 3].any()
    np.testing.assert_allclose(golden["ols/k7dead/finegrained/matrix_after_e1"][3], 1 / 7)


# --- against float64 restatements -----------------------------------------------------------------


def updated(
    before: np.ndarray, batches: np.ndarray, labels: np.ndarray, options: dict[str, Any]
) -> np.ndarray:
    """The matrix after an epoch, class by class."""
    means, counts = means_of_correct(batches, labels)
    num_classes = len(means)
    prior, weight = options.get("prior"), options.get("prior_weight", 0.5)
    after = np.empty_like(before)
    for k in range(num_classes):
        freeze_above = options.get("freeze_above")
        frozen = freeze_above is not None and before[k].max() >= freeze_above
        if frozen if counts[k] else options.get("empty_class") == "keep":
            after[k] = before[k]
        else:
            empty = EMPTY.get(options.get("empty_class", "uniform"), 1.0) / num_classes
            after[k] = means[k] if counts[k] else empty
            if prior is not None:
                after[k] = (1 - weight) * after[k] + weight * prior[k]
    return after


PRIOR = np.array([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4]])


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"alpha": 0.3, "soft_weight": 0.7, "initial": PRIOR}, id="a-matrix"),
        pytest.param({"alpha": 0.2, "soft_weight": 2.5}, id="weights"),
        pytest.param({"alpha": 1.0, "soft_weight": 0.0}, id="no-soft-term"),
        pytest.param({"initial": "label_smoothed", "freeze_above": 0.6}, id="freeze"),
        pytest.param({"initial": "zeros", "empty_class": "keep"}, id="zeros-keep"),
        pytest.param({"empty_class": "zeros"}, id="empty-zeros"),
        pytest.param({"prior": PRIOR}, id="prior"),
        pytest.param({"prior": PRIOR, "prior_weight": 0.2, "freeze_above": 0.85}, id="both"),
        pytest.param({"prior": PRIOR, "prior_weight": 0.7, "empty_class": "keep"}, id="keep"),
        pytest.param({"prior": PRIOR, "empty_class": "zeros"}, id="prior-empty-zeros"),
    ],
)
def test_matrix_value_and_gradient_restated(options):
    """Class 2 is never right in the second epoch; labels as ids, one-hot and mixed."""
    rng = np.random.default_rng(0)
    loss = OnlineLabelSmoothingLoss(3, from_logits=True, **options)
    hard = options.get("alpha", 0.5)
    soft = options.get("soft_weight", 1 - hard)
    matrix = {
        "uniform": np.full((3, 3), 1 / 3),
        "zeros": np.zeros((3, 3)),
        "label_smoothed": np.full((3, 3), 0.05) + 0.85 * np.eye(3),
    }.get(str(options.get("initial", "uniform")), PRIOR)
    matrix = options.get("prior", matrix)
    np.testing.assert_allclose(loss.soft_labels, matrix, rtol=1e-6)
    for epoch in range(3):
        batches = rng.normal(0, 2, (4, 8, 3)).astype(np.float32)
        labels = rng.integers(0, 3, (4, 8))
        if epoch == 1:
            batches[..., 2] = -9.0
        for logits, y in zip(batches, labels, strict=True):
            loss.accumulate(y, logits)
        loss.update_soft_labels()
        matrix = updated(matrix, batches, labels, options)
        np.testing.assert_allclose(loss.soft_labels, matrix, rtol=2e-6, atol=1e-7)

        log_p = log_softmax(batches[0].astype(np.float64), axis=1)
        onehot = np.eye(3)[labels[0]]
        mixed = rng.dirichlet(np.ones(3), 8).astype(np.float32).astype(np.float64)
        for given, weights in ((labels[0], onehot), (onehot, onehot), (mixed, mixed)):
            targets = weights @ (hard * np.eye(3) + soft * matrix)
            value, gradient = value_and_gradient(loss, given, batches[0])
            expected = np.exp(log_p) * targets.sum(axis=1, keepdims=True) - targets
            np.testing.assert_allclose(value, -(targets * log_p).sum() / 8, rtol=3e-6)
            np.testing.assert_allclose(gradient, expected / 8, rtol=1e-5, atol=1e-7)


# --- together with LS+ ----------------------------------------------------------------------------


def trained(loss: OnlineLabelSmoothingLoss) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Value, gradient and matrix in every epoch, with the same predictions for any loss."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(EPOCHS):
        logits, labels = rng.normal(0, 2, (12, 3)), rng.integers(0, 3, 12)
        loss.accumulate(labels, logits)
        found.append((*value_and_gradient(loss, labels, logits), loss.soft_labels.numpy()))
        loss.update_soft_labels()
    return found


def test_a_prior_without_weight_is_where_plain_ols_starts():
    blend = OnlineLabelSmoothingLoss(3, alpha=0.4, from_logits=True, prior=PRIOR, prior_weight=0.0)
    plain = OnlineLabelSmoothingLoss(3, alpha=0.4, from_logits=True, initial=PRIOR)
    for ours, expected in zip(trained(blend), trained(plain), strict=True):
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_prior_with_all_the_weight_is_ls_plus_less_its_constant():
    loss = OnlineLabelSmoothingLoss(3, alpha=0.4, from_logits=True, prior=PRIOR, prior_weight=1.0)
    plus = lsp.LSPlusLoss(PRIOR, alpha=0.6, from_logits=True)
    rng = np.random.default_rng(1)
    for value, gradient, matrix in trained(loss):
        logits, labels = rng.normal(0, 2, (12, 3)), rng.integers(0, 3, 12)
        expected, expected_gradient = value_and_gradient(plus, labels, logits)
        constant = 0.6 * np.sum(PRIOR * np.log(PRIOR), axis=1)[labels].mean()
        np.testing.assert_allclose(value, expected - constant, rtol=1e-6)
        np.testing.assert_allclose(gradient, expected_gradient, **TOLERANCE)
        np.testing.assert_allclose(matrix, PRIOR, rtol=1e-6)


# --- confusion penalty ----------------------------------------------------------------------------


def test_the_errors_of_a_class_share_its_smoothing_mass():
    loss = ConfusionPenaltyLoss(4, alpha=0.3, from_logits=True)
    evenly = (1 - np.eye(4)) / 3
    np.testing.assert_allclose(loss.soft_labels, evenly, rtol=1e-6)
    confusion = np.array([[5, 1, 3, 0], [0, 9, 0, 0], [0, 0, 0, 0], [2, 2, 2, 0]])
    rows = np.array([[0, 0.25, 0.75, 0], evenly[1], evenly[2], [1 / 3, 1 / 3, 1 / 3, 0]])
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(0, 2, (9, 4)).astype(np.float32), rng.integers(0, 4, 9)
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    for given in (confusion, confusion.tolist(), confusion / 7):
        loss.update_from_confusion(given)
        np.testing.assert_allclose(loss.soft_labels, rows, rtol=1e-6)
        targets = (0.7 * np.eye(4) + 0.3 * rows)[labels]
        for y in (labels, np.eye(4)[labels]):
            value, gradient = value_and_gradient(loss, y, logits)
            np.testing.assert_allclose(value, -(targets * log_p).sum() / 9, rtol=1e-6)
            np.testing.assert_allclose(gradient, (np.exp(log_p) - targets) / 9, **TOLERANCE)


def test_training_a_confusion_penalty_without_confusion_is_said(recwarn):
    loss = ConfusionPenaltyLoss(2, from_logits=True)
    with pytest.warns(UserWarning, match=r"ConfusionPenaltyLoss is being .*ConfusionPenalty\(\)"):
        value_and_gradient(loss, [0], [[1.0, 0.0]])
    loss.update_from_confusion(np.eye(2))
    recwarn.clear()
    value_and_gradient(loss, [0], [[1.0, 0.0]])
    assert not recwarn.list


# --- serialization --------------------------------------------------------------------------------

CONFIGURED = {
    "matrix": lambda: OnlineLabelSmoothingLoss(
        3, soft_weight=0.7, initial=PRIOR, freeze_above=0.9, empty_class="zeros"
    ),
    "name": lambda: OnlineLabelSmoothingLoss(3, initial="label_smoothed"),
    "prior": lambda: OnlineLabelSmoothingLoss(3, prior=PRIOR, prior_weight=0.25),
    "confusion": lambda: ConfusionPenaltyLoss(3, alpha=0.2, reduction="sum", name="mine"),
}


@pytest.mark.parametrize("make", CONFIGURED.values(), ids=CONFIGURED)
def test_a_config_round_trip_keeps_every_argument(make):
    loss = make()
    copy = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
    np.testing.assert_array_equal(copy.soft_labels, loss.soft_labels)


def compiled(loss: Any) -> keras.Model:
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", loss, run_eagerly=True)
    return model


@pytest.mark.parametrize("make", CONFIGURED.values(), ids=CONFIGURED)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in-a-penalty"])
def test_rows_and_sums_are_saved_with_the_model(tmp_path, make, inside):
    loss = make()
    rng = np.random.default_rng(3)
    state = {name: rng.dirichlet(np.ones(3), 3) for name in loss._state()}
    for name, variable in loss._state().items():
        variable.assign(state[name])
    outer = lsp.losses.ConfidencePenaltyLoss(base=loss) if inside else loss
    model = compiled(outer)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    again = copy.loss.base if inside else copy.loss
    for name, variable in again._state().items():
        np.testing.assert_allclose(variable, state[name], rtol=1e-6)
    x, y = rng.normal(size=(9, 2)), rng.integers(0, 3, 9)
    assert copy.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_rows_of_one_loss_are_not_taken_for_those_of_another(tmp_path):
    online, confusion = OnlineLabelSmoothingLoss(3), ConfusionPenaltyLoss(3)
    for loss, name in ((online, "online"), (confusion, "confusion")):
        compiled(loss).save_weights(tmp_path / f"{name}.weights.h5")
    for loss, name in ((online, "confusion"), (confusion, "online")):
        before = loss.soft_labels.numpy()
        compiled(loss).load_weights(tmp_path / f"{name}.weights.h5")
        np.testing.assert_array_equal(loss.soft_labels, before)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"soft_weight": -1}, r"soft_weight: expected a number >= 0, received -1"),
        ({"soft_weight": "1"}, r"soft_weight: expected a number >= 0, received '1'"),
        ({"freeze_above": 1.5}, r"freeze_above: expected a number in \[0, 1\], received 1.5"),
        ({"initial": "ones"}, r"initial: expected 'uniform' or 'zeros' or .*received 'ones'"),
        ({"initial": PRIOR[:2, :2] * 0}, "initial: expected rows that sum to 1, received 0"),
        ({"initial": np.eye(2)}, r"initial: expected shape \(3, 3\), .*received shape \(2, 2\)"),
        ({"prior": np.eye(2)}, r"prior: expected shape \(3, 3\), .*received shape \(2, 2\)"),
        ({"prior": -np.eye(3)}, r"prior: expected values >= 0, received -1.0 at \[0, 0\]"),
        ({"prior": PRIOR, "initial": PRIOR}, "initial: expected none beside prior.*received"),
        ({"prior": PRIOR, "initial": "zeros"}, "initial: expected none beside .*'zeros'"),
        ({"prior_weight": 1.2}, r"prior_weight: expected a number in \[0, 1\], received 1.2"),
        ({"empty_class": "zero"}, "empty_class: expected .* or 'zeros', received 'zero'"),
    ],
)
def test_arguments_of_online_label_smoothing(options, message):
    with pytest.raises(InputError, match=message):
        OnlineLabelSmoothingLoss(3, **options)


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        (np.eye(3), r"expected shape \(2, 2\), received shape \(3, 3\)"),
        ([[1, -2], [0, 1]], r"expected finite counts >= 0, received -2.0 at \[0, 1\]"),
        ([[1, 0], [np.nan, 1]], r"expected finite counts >= 0, received nan at \[1, 0\]"),
        ("none", "expected counts, received 'none'"),
    ],
)
def test_a_confusion_matrix_that_is_none(confusion, message):
    loss = ConfusionPenaltyLoss(2)
    with pytest.raises(InputError, match=f"confusion: {message}"):
        loss.update_from_confusion(confusion)


def test_arguments_of_confusion_penalty():
    with pytest.raises(InputError, match=r"num_classes: .* at least 2, received 1"):
        ConfusionPenaltyLoss(1)
    with pytest.raises(InputError, match=r"alpha: expected a number in \[0, 1\], received 2"):
        ConfusionPenaltyLoss(3, alpha=2)


def test_logits_that_were_not_declared_are_not_accumulated():
    """Nor are they in the loss."""
    loss = OnlineLabelSmoothingLoss(3)
    with pytest.raises(InputError, match=r"expected probabilities .* from_logits=True"):
        loss.accumulate([0], np.array([[5.0, -1.0, 0.0]], np.float32))
    loss.accumulate([0], np.array([[5.0, -1.0, 0.0]], np.float32), from_logits=True)
    np.testing.assert_allclose(loss.accumulated(), [1, 0, 0], rtol=1e-6)
