"""MaxSup and ACLS: penalties that see the largest logit; and weights that change by the epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_since import CASES, SEQUENCES, Golden, assert_close
from helpers import value_and_gradient
from scipy.special import log_softmax, softmax

from lsplus_tf import callbacks, losses
from lsplus_tf.errors import InputError
from lsplus_tf.losses.penalty import PenaltyLoss

LOGITS: dict[str, Any] = {"from_logits": True}
PolynomialDecay = keras.optimizers.schedules.PolynomialDecay


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


def at(epoch: int, weight: Any) -> losses.MaxSupLoss:
    loss = losses.MaxSupLoss(weight, **LOGITS)
    loss.set_epoch(epoch)
    return loss


# --- the authors' values --------------------------------------------------------------------------

GOLDEN: dict[str, Callable[[], keras.losses.Loss]] = {
    "maxsup_ffcv_epoch0": lambda: at(0, PolynomialDecay(0.1, 90, 0.2, power=1.0)),
    "maxsup_ffcv_epoch45": lambda: at(45, PolynomialDecay(0.1, 90, 0.2, power=1.0)),
    "maxsup_topk_epoch199of200": lambda: at(199, PolynomialDecay(0.1, 199, 0.2, power=1.0)),
    "acls_m10": lambda: losses.ACLSLoss(**LOGITS),
    "acls_m1": lambda: losses.ACLSLoss(1.0, **LOGITS),
    "acls_m6_pos0.1_neg1_a0.5": lambda: losses.ACLSLoss(
        6.0, weight=0.5, positive_weight=0.1, negative_weight=1.0, **LOGITS
    ),
}
# The steps from 0.1 to 0.2 in three epochs.
SEQUENCES_COMPARED = {"maxsup_ffcv_epochs3": 3, "maxsup_topk_epochs3": 2}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("entry", GOLDEN)
def test_values_and_gradients_are_the_authors(golden, entry, case):
    labels, logits = golden.given(case, "labels"), golden.given(case, "logits")
    # Their topk takes any of tied maxima.
    rows = ~golden.given(case, "tied_max") if "topk" in entry else slice(None)
    assert_close(GOLDEN[entry](), labels, logits, *golden.expected(entry, case), rows=rows)


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("variant", SEQUENCES_COMPARED)
def test_the_weight_follows_the_epochs_as_the_authors_does(golden, variant, sequence):
    steps = SEQUENCES_COMPARED[variant]
    loss = losses.MaxSupLoss(PolynomialDecay(0.1, steps, 0.2, power=1.0), **LOGITS)
    traced = tf.function(loss)
    for epoch, logits, labels in golden.epochs(sequence):
        loss.set_epoch(epoch)
        values, gradients = (
            golden.arrays[f"seq/{sequence}/{variant}/train_{what}_e{epoch}_f64"]
            for what in ("loss", "grad")
        )
        for batch in zip(labels, logits, values, gradients, strict=True):
            assert_close(traced, *batch)


# --- against other computations -------------------------------------------------------------------


def samples(count: int = 40, num_classes: int = 5, scale: float = 4.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    return rng.integers(0, num_classes, count), rng.normal(0, scale, (count, num_classes))


def in_numpy(
    labels: np.ndarray, z: np.ndarray, margin: float, positive: float, negative: float
) -> tuple[float, np.ndarray]:
    """ACLS and its gradient, with the weight inside `positive` and `negative`."""
    value, gradient = 0.0, np.zeros_like(z)
    for i, (y, row) in enumerate(zip(labels, z, strict=True)):
        value -= log_softmax(row)[y]
        gradient[i] = softmax(row) - np.eye(len(row))[y]
        top = row.max()
        for k, logit in enumerate(row):
            if logit == top:
                value += positive * max(top - margin, 0) ** 2
                gradient[i, row.argmax()] += 2 * positive * max(top - margin, 0)
            else:
                below = max(top - logit - margin, 0)
                value += negative / (len(row) - 1) * below**2
                gradient[i, k] -= 2 * negative / (len(row) - 1) * below
    return value / len(z), gradient / len(z)


def test_acls_is_what_its_formula_says():
    labels, logits = samples()
    logits[:4] = np.round(logits[:4] / 4)
    logits[0] = [3, 3, 1, 3, -9]  # three maxima
    options = {"weight": 0.3, "positive_weight": 0.6, "negative_weight": 0.9, "dtype": "float64"}
    value, gradient = value_and_gradient(losses.ACLSLoss(2.0, **options, **LOGITS), labels, logits)
    expected = in_numpy(labels, logits, 2.0, 0.3 * 0.6, 0.3 * 0.9)
    np.testing.assert_allclose(value, expected[0], rtol=1e-13)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-12, atol=1e-15)


def test_of_equal_maxima_the_first_has_the_gradient():
    loss = losses.MaxSupLoss(1.0, base="none", **LOGITS)
    value, gradient = value_and_gradient(loss, [2], np.array([[1.0, 5.0, 5.0, 5.0]], np.float32))
    assert value == 1.0
    np.testing.assert_array_equal(gradient, [[-0.25, 0.75, -0.25, -0.25]])


@pytest.mark.parametrize("alpha", [0.1, 0.35])
def test_maxsup_where_all_are_right_is_label_smoothing(golden, alpha):
    labels, logits = samples()
    given = [
        (golden.given("s6", "labels"), golden.given("s6", "logits").astype(np.float64)),
        (logits.argmax(axis=1), logits),
    ]
    for y, z in given:
        np.testing.assert_array_equal(z.argmax(axis=1), y)
        smoothed, maxsup = (
            value_and_gradient(kind(alpha, dtype="float64", **LOGITS), y, z)
            for kind in (losses.LabelSmoothingLoss, losses.MaxSupLoss)
        )
        np.testing.assert_allclose(maxsup[0], smoothed[0], rtol=1e-14)
        np.testing.assert_allclose(maxsup[1], smoothed[1], rtol=1e-12, atol=1e-16)
    # And where they are not, it is not, nor below cross-entropy.
    apart = [
        float(loss(labels, logits))
        for loss in (
            losses.MaxSupLoss(alpha, **LOGITS),
            losses.LabelSmoothingLoss(alpha, **LOGITS),
            losses.HardLabelLoss(**LOGITS),
        )
    ]
    assert apart[0] > apart[1] + 0.1
    assert apart[0] > apart[2]


# --- which logits ---------------------------------------------------------------------------------


def test_acls_sees_the_size_of_logits_and_maxsup_does_not():
    labels, logits = samples()
    shifts = (-10.0, 0.0, 10.0)
    maxsup, acls = (
        [float(kind(dtype="float64", **LOGITS)(labels, logits + shift)) for shift in shifts]
        for kind in (losses.MaxSupLoss, losses.ACLSLoss)
    )
    np.testing.assert_allclose(maxsup, maxsup[1], rtol=1e-13)
    top = logits.max(axis=1)
    for shift, value in zip(shifts, acls, strict=True):
        added = 0.1 * np.mean(np.maximum(top + shift - 10, 0) ** 2 - np.maximum(top - 10, 0) ** 2)
        np.testing.assert_allclose(value - acls[1], added, rtol=1e-10, atol=1e-13)
    assert acls[2] > acls[1] + 1


def ending_in(activation: Any, loss: keras.losses.Loss, **options: Any) -> keras.Model:
    dense = keras.layers.Dense(3, activation=activation, use_bias=False)
    model = keras.Sequential([keras.Input([3]), dense])
    model.set_weights([np.array([[20.0, 1, 0], [3, 14, 1], [2, -30, 12]], np.float32)])
    model.compile(keras.optimizers.SGD(0.01), loss, **{"jit_compile": False, **options})
    return model


def test_acls_refuses_probabilities_of_which_nobody_has_the_logits():
    x, y = np.eye(3, dtype=np.float32), np.array([0, 2, 2])
    said = r"acls: expected logits, .* from_logits=True, or end it with .*\"softmax\"\)"
    loss = losses.ACLSLoss()
    with pytest.raises(InputError, match=said) as caught:
        loss(y, softmax(x, axis=1))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=said):  # before XLA sees it
        tf.function(loss, autograph=False)(y, softmax(x, axis=1))
    model = ending_in(lambda z: tf.nn.softmax(z), losses.ACLSLoss())
    with pytest.raises(InputError, match=said):
        model.fit(x, y, verbose=0)

    softmaxed = ending_in("softmax", losses.ACLSLoss())
    plain = ending_in(None, losses.ACLSLoss(**LOGITS), run_eagerly=True)  # no tracing
    for model in (softmaxed, plain):
        model.fit(x, y, epochs=2, verbose=0)
    np.testing.assert_allclose(softmaxed.get_weights()[0], plain.get_weights()[0], rtol=1e-6)
    np.testing.assert_allclose(
        softmaxed.evaluate(x, y, verbose=0), plain.evaluate(x, y, verbose=0), rtol=1e-6
    )


@pytest.mark.parametrize(("dtype", "large"), [("float32", 1e14), ("float64", 1e140)])
def test_acls_squares_what_it_can_and_has_the_gradient_of_all(dtype, large):
    options: dict[str, Any] = {"base": "none", "dtype": dtype, **LOGITS}
    loss = losses.ACLSLoss(margin=0.0, weight=1.0, negative_weight=3.0, **options)
    for size in (large, 1e30 if dtype == "float32" else 1e300):
        logits = np.array([[0.0, size, -size]], dtype)
        value, gradient = value_and_gradient(loss, [0], logits)
        np.testing.assert_allclose(gradient, [[-3 * size, 2 * size, -6 * size]], rtol=1e-6)
        if size == large:
            np.testing.assert_allclose(value, (1 + 1.5 * 5) * large**2, rtol=1e-6)
        else:
            largest = np.finfo(dtype).max / 2**28
            np.testing.assert_allclose(value, (1 + 1.5) * largest, rtol=1e-6)


# --- weights that change by the epoch -------------------------------------------------------------

PENALTIES: dict[str, Callable[[Any], Any]] = {
    "ACLSLoss": lambda w: losses.ACLSLoss(1.0, weight=w, **LOGITS),
    "ConfidencePenaltyLoss": lambda w: losses.ConfidencePenaltyLoss(w, **LOGITS),
    "DCALoss": lambda w: losses.DCALoss(w, **LOGITS),
    "DifferentiableECELoss": lambda w: losses.DifferentiableECELoss(w, **LOGITS),
    "ErroneousEntropyLoss": lambda w: losses.ErroneousEntropyLoss(w, **LOGITS),
    "MDCALoss": lambda w: losses.MDCALoss(w, **LOGITS),
    "MMCELoss": lambda w: losses.MMCELoss(w, **LOGITS),
    "MarginLabelSmoothingLoss": lambda w: losses.MarginLabelSmoothingLoss(1.0, weight=w, **LOGITS),
    "MaxSupLoss": lambda w: losses.MaxSupLoss(w, **LOGITS),
    "UniformPenaltyLoss": lambda w: losses.UniformPenaltyLoss(w, **LOGITS),
    "a base's": lambda w: losses.DCALoss(2.0, base=losses.MDCALoss(w), **LOGITS),
    "a base's and its own": lambda w: losses.DCALoss(w, base=losses.MaxSupLoss(w), **LOGITS),
    "beside a base's alpha": lambda w: losses.MaxSupLoss(
        w, base=losses.LabelSmoothingLoss(lambda e: WEIGHTS[e]) if callable(w) else smoothed(w)
    ),
}
WEIGHTS: list[float] = [0.0, 0.5, 0.2]


def smoothed(weight: float) -> losses.LabelSmoothingLoss:
    return losses.LabelSmoothingLoss(weight)


def by_epoch(epoch: int) -> float:
    return WEIGHTS[epoch]


def test_all_penalties_are_here():
    named = {n: getattr(losses, n) for n in losses.__all__ if n.endswith("Loss")}
    kinds = {n for n, kind in named.items() if issubclass(kind, PenaltyLoss)}
    assert kinds <= {*PENALTIES}


@pytest.mark.parametrize("name", PENALTIES)
def test_a_weight_that_is_a_function_of_the_epoch(name):
    """In a step that was traced before too."""
    labels, logits = samples()
    outputs = tf.constant(softmax(logits, axis=1) if "alpha" in name else logits, tf.float32)
    loss = PENALTIES[name](by_epoch)
    assert loss.follows_epochs
    traced = tf.function(loss)
    for epoch in (0, 1, 2, 0):
        loss.set_epoch(epoch)
        fixed = PENALTIES[name](WEIGHTS[epoch])
        assert not fixed.follows_epochs
        np.testing.assert_allclose(traced(labels, outputs), fixed(labels, outputs), rtol=1e-6)
        np.testing.assert_allclose(loss(labels, outputs), fixed(labels, outputs), rtol=1e-6)


RISING = PolynomialDecay(0.1, 2, 0.5, power=1.0)


def model_with(weight: Any, base: Any = "hard_labels", **options: Any) -> keras.Model:
    return ending_in(None, losses.MaxSupLoss(weight, base=base, **LOGITS), **options)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
def test_a_weight_is_saved_and_loaded(tmp_path, name):
    x, y = np.eye(3, dtype=np.float32), np.array([0, 2, 2])
    eagerly = {"run_eagerly": True}
    model = model_with(RISING, run_eagerly=name.endswith(".keras"))
    model.fit(x, y, epochs=3, callbacks=[callbacks.EpochSchedule()], verbose=0)
    kernel = model.get_weights()
    fixed = model_with(0.5, **eagerly)  # what it is in the last epoch
    fixed.set_weights(kernel)
    expected = fixed.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected, rtol=1e-6)
    if name.endswith(".keras"):
        model.save(tmp_path / name)
        loaded = keras.models.load_model(tmp_path / name)
        assert loaded.loss.get_config() == model.loss.get_config()
    else:
        model.save_weights(tmp_path / name)
        loaded = model_with(RISING, **eagerly)
        assert loaded.evaluate(x, y, verbose=0) != pytest.approx(expected, rel=1e-3)
        loaded.load_weights(tmp_path / name)
    np.testing.assert_allclose(loaded.evaluate(x, y, verbose=0), expected, rtol=1e-6)
    loaded.loss.set_epoch(1)
    np.testing.assert_allclose(loaded.loss(y, kernel[0]), model_with(0.3).loss(y, kernel[0]))


def test_what_tells_a_weight_the_epoch():
    x, y = np.eye(3, dtype=np.float32), np.array([0, 2, 2])
    told, eagerly = [callbacks.EpochSchedule()], {"run_eagerly": True}
    with pytest.warns(UserWarning, match=r"it is not given the epoch, so weight stays .*EpochSch"):
        model_with(RISING, **eagerly).fit(x, y, verbose=0)
    with pytest.raises(InputError, match="expected a loss whose alpha or weight is a function of"):
        model_with(0.1, **eagerly).fit(x, y, callbacks=told, verbose=0)
    deep = losses.DCALoss(base=losses.MDCALoss(base=losses.LabelSmoothingLoss(RISING)), **LOGITS)
    model = model_with(0.1, deep, **eagerly)
    given = [callbacks.EpochSchedule(model.loss)]
    model.fit(x, y, epochs=3, callbacks=given, verbose=0)
    assert deep.base.base._now == pytest.approx(0.5)
    with pytest.raises(InputError, match=r"weight\(0\): expected a number >= 0, received -1"):
        losses.DCALoss(lambda epoch: -1)
    with pytest.raises(AttributeError, match=r"weight: .* or give a function of the epoch"):
        model.loss.weight = 0.3
    with pytest.raises(AttributeError, match=r"margin: .* make another one$"):
        losses.ACLSLoss().margin = 3.0


def test_where_keras_asks_for_shapes_the_logits_may_be_missing():
    """As in a strategy, and in `train_on_batch` of a model whose metrics are not built yet."""
    x, y = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32), np.arange(8) % 3

    def compiled(loss: keras.losses.Loss) -> keras.Model:
        layer = keras.layers.Dense(3, activation="softmax", kernel_initializer="ones")
        model = keras.Sequential([keras.Input([5]), layer])
        model.compile(keras.optimizers.SGD(0.0), loss, metrics=["accuracy"], run_eagerly=True)
        return model

    loss = losses.ACLSLoss(0.1)
    logits = x.sum(axis=1, keepdims=True) * np.ones(3, np.float32)
    expected = losses.ACLSLoss(0.1, from_logits=True)(y, logits)
    with tf.distribute.OneDeviceStrategy("cpu:0").scope():
        model = compiled(loss)
    found = model.fit(x, y, batch_size=8, verbose=0).history["loss"]
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
    np.testing.assert_allclose(compiled(loss).train_on_batch(x, y)[0], expected, rtol=1e-5)
