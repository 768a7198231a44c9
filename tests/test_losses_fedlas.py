"""FedLAS and FedLAS+ against their authors' code, and how features get from a model to the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from golden_since import CASES, SEQUENCES, Golden, assert_close

from lsplus_tf import losses
from lsplus_tf.losses import FedLASLoss

GOLDEN: dict[str, dict[str, Any]] = {
    "fedlas_a0.05_b4_train": {},
    "fedlas_a0.1_b4_m0.5_train": {"smoothing": 0.1, "momentum": 0.5},
    "fedlas_a0.05_b4_eval": {},
    "fedlasplus_a0.1_b0.5_m6_train": {"smoothing": 0.1, "slope": 0.5, "margin": 6.0},
}
SEQUENCES_COMPARED: dict[str, dict[str, Any]] = {
    "fedlas_a0.05_b4_m0.95": {},
    "fedlas_a0.1_b4_m0.5": {"smoothing": 0.1, "momentum": 0.5},
    "fedlasplus_a0.1_b0.5_m0.001_margin6": {
        "smoothing": 0.1,
        "slope": 0.5,
        "momentum": 0.001,
        "margin": 6.0,
    },
}
# Our names, those of the authors' arrays (the first layer and the second), transposed or not.
PARTS = {
    "hidden_kernel": ("in", "weight"),
    "hidden_bias": ("in", "bias"),
    "output_kernel": ("out", "weight"),
    "output_bias": ("out", "bias"),
}


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


def beginning(golden: Golden, prefix: str, num_classes: int, **arguments: Any) -> FedLASLoss:
    """A loss with the gate of a case or sequence."""
    loss = FedLASLoss(num_classes, from_logits=True, **arguments)
    for name, (layer, part) in PARTS.items():
        loss.gate[name].assign(golden.arrays[f"{prefix}/dcg_{layer}_{part}"].T)
    return loss


def called_with(features: np.ndarray, loss: FedLASLoss, *, training: bool) -> Callable[..., Any]:
    def call(labels: Any, logits: Any) -> tf.Tensor:
        outputs = losses.with_features(logits, features)
        if not training:
            loss.is_fed = True
            return loss(labels, outputs)
        with loss.training():
            return loss(labels, outputs)

    return call


def assert_state(loss: FedLASLoss, mean: float, std: float) -> None:
    np.testing.assert_allclose(loss.norm_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(loss.norm_std, std, rtol=2e-6)


# --- the authors' values --------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("entry", GOLDEN)
def test_golden(golden, entry, case):
    features = golden.given(case, "features")
    labels, logits = golden.given(case, "labels"), golden.given(case, "logits")
    arguments = {**GOLDEN[entry], "gate_learning_rate": 1.0, "gate_weight_decay": 0.0}
    loss = beginning(golden, f"in/{case}", logits.shape[1], **arguments)
    before = {name: variable.numpy() for name, variable in loss.gate.items()}
    call = called_with(features, loss, training=entry.endswith("train"))
    # Which of equal maxima has FedLAS+'s gradient is arbitrary.
    rows = ~golden.given(case, "tied_max") if loss.margin is not None else slice(None)
    assert_close(call, labels, logits, *golden.expected(entry, case), rows)
    state = [
        golden.arrays[f"{entry}/{case}/state_NCI_batch_{what}_f64"] for what in ("mean", "std")
    ]
    assert_state(loss, *state)
    if entry.endswith("eval"):
        for name, variable in loss.gate.items():
            np.testing.assert_array_equal(variable, before[name])
        return
    expected = {
        name: golden.arrays[f"{entry}/{case}/grad_DCG_fc_{layer}_{part}_f64"].T
        for name, (layer, part) in PARTS.items()
    }
    largest = max(np.abs(each).max() for each in expected.values())
    for name, gradient in expected.items():
        # With a rate of 1 and no decay, the velocity is the gradient.
        found = loss._sgd.velocities[name].numpy()
        np.testing.assert_allclose(found, gradient, rtol=0, atol=2e-6 * largest)


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("variant", SEQUENCES_COMPARED)
def test_sequences(golden, variant, sequence):
    """Three epochs of statistics and of the gate's SGD; the evaluations between change neither."""
    num_classes = golden.facts["sequences"][sequence]["K"]
    arguments = {**SEQUENCES_COMPARED[variant], "dtype": "float64"}
    loss = beginning(golden, f"seq/{sequence}/in", num_classes, **arguments)

    def expected(what: str, epoch: int) -> np.ndarray:
        return golden.arrays[f"seq/{sequence}/{variant}/{what}_e{epoch}_f64"]

    for epoch, logits, labels in golden.epochs(sequence):
        features = golden.arrays[f"seq/{sequence}/in/train_features_e{epoch}"]
        for i, (z, y, f) in enumerate(zip(logits, labels, features, strict=True)):
            z = tf.Variable(z, dtype=tf.float64)
            with tf.GradientTape() as tape, loss.training():
                value = loss(y, losses.with_features(z, f.astype(np.float64)))
            gradient = expected("train_grad", epoch)[i]
            np.testing.assert_allclose(value, expected("train_loss", epoch)[i], rtol=1e-6)
            np.testing.assert_allclose(
                tape.gradient(value, z), gradient, rtol=0, atol=1e-6 * np.abs(gradient).max()
            )
            assert_state(loss, expected("norm_mean", epoch)[i], expected("norm_std", epoch)[i])
        for name, (layer, part) in PARTS.items():
            found = expected(f"DCG_fc_{layer}_{part}_after", epoch).T
            np.testing.assert_allclose(loss.gate[name], found, rtol=1e-6, atol=1e-9)
        value = loss(labels[0], losses.with_features(logits[0], features[0]))
        found = expected("eval_loss_on_train_batch0", epoch)
        np.testing.assert_allclose(value, found, rtol=1e-6)
