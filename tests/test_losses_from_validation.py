"""CALS and AdaFocal: their authors' values and sequences, and what a validation changes."""

from __future__ import annotations

import warnings
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
from lsplus_tf.losses.validation_loss import ConfusionCounts

pytestmark = pytest.mark.usefixtures("nondeterministic")

# Arguments, and whether the state is that of the case.
GOLDEN: dict[str, tuple[dict[str, Any], bool]] = {
    "cals_phr_m10_init": ({"margin": 10.0}, False),
    "cals_phr_m10_case": ({"margin": 10.0}, True),
    "cals_phr_m1_case": ({"margin": 1.0}, True),
    "cals_p2_m1_case": ({"margin": 1.0, "penalty": "p2"}, True),
    "cals_p3_m1_case": ({"margin": 1.0, "penalty": "p3"}, True),
    "cals_phr_m4_case_unnormalized": ({"margin": 4.0, "normalize": False}, True),
    "adafocal_init_sum": ({}, False),
    "adafocal_case_sum": ({}, True),
}
SEQUENCES_COMPARED: dict[str, dict[str, Any]] = {
    "cals_phr_m10_rhostep1": {"margin": 10.0, "update_every": 1},
    "cals_phr_m10_rhostep10": {"margin": 10.0},
    "cals_phr_m3_rhostep1": {"margin": 3.0, "update_every": 1},
    "cals_p2_m3_rhostep1": {"margin": 3.0, "penalty": "p2", "update_every": 1},
    "cals_p3_m3_rhostep2": {"margin": 3.0, "penalty": "p3", "update_every": 2},
    "adafocal_default": {},
    "adafocal_lambda5": {"rate": 5.0},
    "adafocal_switch": {"rate": 8.0, "gamma_initial": 0.3},
}


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


def made(entry: str, num_classes: int, arguments: dict[str, Any]) -> Any:
    """Fed, so far as its warnings go."""
    if entry.startswith("cals"):
        loss: Any = losses.CALSLoss(num_classes, from_logits=True, **arguments)
    else:
        loss = losses.AdaptiveFocalLoss(from_logits=True, reduction="sum", **arguments)
    loss.is_fed = True
    return loss


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("entry", GOLDEN)
def test_values_and_gradients_of_the_authors_code(golden, entry, case):
    arguments, of_case = GOLDEN[entry]
    logits, labels = golden.given(case, "logits"), golden.given(case, "labels")
    loss = made(entry, logits.shape[1], arguments)
    if of_case and entry.startswith("cals"):
        loss.multipliers.assign(golden.given(case, "cals_lambda"))
        loss.penalty_parameters.assign(golden.given(case, "cals_rho"))
    elif of_case:
        loss.gammas.assign(golden.given(case, "ada_gamma"))
        lower, upper = golden.given(case, "ada_lower"), golden.given(case, "ada_upper")
        loss.bin_edges.assign(np.append(lower, upper[-1]))
    assert_close(loss, labels, logits, *golden.expected(entry, case))


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("variant", SEQUENCES_COMPARED)
def test_sequences_of_the_authors_code(golden, variant, sequence):
    num_classes = golden.facts["sequences"][sequence]["K"]
    loss = made(variant, num_classes, SEQUENCES_COMPARED[variant])
    is_cals, total = variant.startswith("cals"), "" if variant.startswith("cals") else "_sum"
    # AdaFocal's code averages bins in float32: 1e-6 of gamma per unit of the rate and epoch.
    off = 0.0 if is_cals else 3e-6 * loss.rate
    for epoch, logits, labels in golden.epochs(sequence):

        def after(what: str, now: int = epoch) -> np.ndarray:
            return golden.arrays[f"seq/{sequence}/{variant}/{what}_e{now}_f64"]

        for batch in range(len(labels)):
            value, slope = value_and_gradient(loss, labels[batch], logits[batch])
            expected = after(f"train_grad{total}")[batch]
            np.testing.assert_allclose(
                value, after(f"train_loss{total}")[batch], rtol=1e-6 + off, atol=6e-8
            )
            largest = np.abs(expected).max()
            # Of a batch that is all right and sure, float32 keeps of p_y - 1 what p_y has.
            rounding = 1.2e-7 * (1 / len(labels[batch]) if is_cals else 1.0)
            np.testing.assert_allclose(
                slope, expected, rtol=0, atol=(1e-6 + off) * largest + rounding
            )
        for y, z in golden.validation(sequence, epoch):
            loss.accumulate_validation(y, z)
        loss.update_from_validation()
        if is_cals:
            names = {"multipliers": "lambda_after", "penalty_parameters": "rho_after"}
            for name, of_code in {**names, "constraints": "constraint"}.items():
                expected = after(of_code)
                np.testing.assert_allclose(
                    loss.state()[name], expected, rtol=0, atol=1e-6 * np.abs(expected).max()
                )
            continue
        edges = np.append(after("lower_after"), after("upper_after")[-1])
        np.testing.assert_allclose(loss.bin_edges, edges, rtol=0, atol=1e-6)
        np.testing.assert_allclose(loss.gaps, after("gap"), rtol=0, atol=1e-6)
        np.testing.assert_allclose(loss.gammas, after("gamma_after"), rtol=1e-6 * loss.rate * 3)


def samples(count: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, classes)).astype(np.float32)
    return rng.integers(0, classes, count), logits


def fed(loss: Any) -> Any:
    loss.is_fed = True
    return loss


def cals(*, is_fed: bool = True, **arguments: Any) -> Any:
    loss = losses.CALSLoss(3, **{"margin": 0.7, "from_logits": True, **arguments})
    return fed(loss) if is_fed else loss


def adaptive(*, is_fed: bool = True, **arguments: Any) -> Any:
    loss = losses.AdaptiveFocalLoss(**{"num_bins": 4, "from_logits": True, **arguments})
    return fed(loss) if is_fed else loss


class Confusions(losses.CALSLoss):
    """What a loss sums that counts predictions."""

    def sums(self) -> Any:
        return ConfusionCounts(3).sums()

    def add(self, *given: Any) -> None:
        ConfusionCounts(3).add(*given)


def confusions() -> Any:
    return fed(Confusions(3, from_logits=True))


# --- the losses -----------------------------------------------------------------------------------


def test_without_multipliers_phr_is_cross_entropy():
    """To the last bit; the other penalties are in `test_losses_all.py`."""
    labels, logits = samples(64)
    loss = cals(multiplier_min=0.0, penalty_parameter_min=0.0)
    expected = value_and_gradient(losses.HardLabelLoss(from_logits=True), labels, logits)
    value, gradient = value_and_gradient(loss, labels, logits)
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])
    assert float(cals()(labels, logits)) > value


@pytest.mark.parametrize("penalty", ["phr", "p2", "p3"])
def test_multipliers_become_the_mean_slope_of_the_penalty(penalty):
    """Which the loss's own gradient has, and the golden values; see also `test_losses_all.py`."""
    _, logits = samples(50)
    logits = np.append(logits, np.full((50, 1), 40.0, np.float32), axis=1)  # the largest of all
    bounds = {"multiplier_min": 0.01, "multiplier_max": 9.0}
    loss = fed(losses.CALSLoss(4, margin=20.0, penalty=penalty, from_logits=True, **bounds))
    loss.multipliers.assign([0.5, 0.0, 1.5, 0.3])
    loss.penalty_parameters.assign([1.0, 3.0, 2.0, 0.5])
    ids = np.full(50, 3)
    _, gradient = value_and_gradient(loss, ids, logits)
    _, of_cross_entropy = value_and_gradient(losses.HardLabelLoss(from_logits=True), ids, logits)
    # d mean_i mean_k P / dz = -P'(h) / (50 * 4 * margin).
    slopes = -(gradient - of_cross_entropy)[:, :3] * 50 * 4 * 20.0
    loss.accumulate_validation(ids, logits)
    loss.update_from_validation()
    expected = np.clip(slopes, 0.01, 9.0).mean(axis=0)
    np.testing.assert_allclose(loss.multipliers[:3], expected, rtol=1e-4)
    np.testing.assert_allclose(loss.constraints[3], -1.0)


def test_logits_apart_from_each_other_matter_and_not_where_they_lie():
    labels, logits = samples(20)
    value, gradient = value_and_gradient(cals(), labels, logits)
    moved, its_gradient = value_and_gradient(cals(), labels, logits + 32.0)
    np.testing.assert_allclose(moved, value, rtol=1e-5)
    np.testing.assert_allclose(its_gradient, gradient, atol=1e-6)


def test_tied_largest_logits_share_the_gradient():
    loss = cals(dtype="float64")
    loss.multipliers.assign([0.5, 0.2, 1.5])
    _, slope = value_and_gradient(loss, [0], tf.constant([[2.0, 2.0, -3.0]], tf.float64))
    p = softmax([2.0, 2.0, -3.0])
    of_penalty = slope[0] - (p - [1.0, 0.0, 0.0])
    h = np.array([-1.0, -1.0, 5.0 / 0.7 - 1.0])
    slopes = np.maximum(np.array([0.5, 0.2, 1.5]) + h, 0.0) / (3 * 0.7)
    np.testing.assert_allclose(of_penalty, slopes.sum() * np.array([0.5, 0.5, 0]) - slopes)


@pytest.mark.parametrize("penalty", ["phr", "p2", "p3"])
def test_logits_that_are_far_apart_have_finite_values_and_states(penalty):
    loss = cals(penalty=penalty)
    far = np.array([[1e30, -1e30, 0.0], [0.0, 1e30, 1e30]], np.float32)
    for _ in range(3):
        value, gradient = value_and_gradient(loss, [1, 0], far)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        loss.accumulate_validation([1, 0], far)
        loss.update_from_validation()
        assert all(np.isfinite(part).all() for part in loss.state().values())
    # Where it is exact: a cubic term of 3e20.
    value = float(cals(penalty="p2", margin=1.0)([1], [[1e7, 0.0, 0.0]]))
    assert value == pytest.approx(2 * 1e21 / 6 / 3, rel=1e-5)


GAMMAS = np.array([0.3, -1.2, -0.4, 2.5])
EDGES = np.array([0.2, 0.3, 0.6, 0.9, 1.0])


def with_gammas(**arguments: Any) -> Any:
    loss = adaptive(**arguments)
    loss.gammas.assign(GAMMAS)
    loss.bin_edges.assign(EDGES)
    return loss


def focal_terms(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each probability, and its slope by p, with its gamma fixed."""
    g = GAMMAS[(p[..., None] >= EDGES[1:-1]).sum(axis=-1)]
    base, sign = 1.0 - np.sign(g) * p, np.sign(g)
    value = -(base ** abs(g)) * np.log(p)
    slope = abs(g) * base ** (abs(g) - 1) * sign * np.log(p) - base ** abs(g) / p
    return value, slope


def test_gamma_is_that_of_the_bin_and_has_no_gradient():
    labels, logits = samples(300)
    p = softmax(logits.astype(np.float64), axis=1)
    p_y = p[np.arange(300), labels]
    assert set(np.digitize(p_y, EDGES[1:-1])) == {0, 1, 2, 3}
    value, slope = focal_terms(p_y)
    by_logits = (slope * p_y)[:, None] * (np.eye(3)[labels] - p) / 300
    found, gradient = value_and_gradient(with_gammas(), labels, logits)
    np.testing.assert_allclose(found, value.mean(), rtol=1e-6)
    np.testing.assert_allclose(gradient, by_logits, rtol=1e-4, atol=1e-8)


def test_a_soft_label_mixes_the_classes_losses():
    _, logits = samples(50)
    rows = np.random.default_rng(1).dirichlet(np.ones(3), 50).astype(np.float32)
    value, _ = focal_terms(softmax(logits.astype(np.float64), axis=1))
    found = float(with_gammas()(rows, logits))
    np.testing.assert_allclose(found, (rows * value).sum(axis=1).mean(), rtol=1e-6)


def test_a_gamma_near_0_is_finite_where_p_rounds_to_1():
    loss = adaptive(gamma_initial=0.2)
    value, gradient = value_and_gradient(loss, [0, 0], np.float32([[200, 0, 0], [25, 0, 0]]))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


# --- the validation -------------------------------------------------------------------------------


def equal_mass(logits: np.ndarray, labels: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges and gaps, with all confidences at hand."""
    p = softmax(logits.astype(np.float64), axis=1)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    n = len(confidence)
    edges = np.interp(np.arange(bins + 1) * n / bins, np.arange(n), np.sort(confidence))
    places = np.searchsorted(edges, confidence, side="left") - 1
    members = [places == b for b in range(bins)]
    gaps = [confidence[of].mean() - right[of].mean() if of.any() else 0.0 for of in members]
    return edges, np.array(gaps)


@pytest.mark.parametrize("scale", [0.5, 4.0, 12.0])
def test_a_large_validation_in_cells(scale):
    """20,000 confidences, of which many share a cell; with scale 12 half lie above 0.9999."""
    labels, logits = samples(20_000, 5)
    logits *= scale / 3
    labels = np.where(np.arange(20_000) % 3 > 0, logits.argmax(axis=1), labels)
    loss = adaptive(num_bins=15)
    for start in range(0, 20_000, 3000):
        loss.accumulate_validation(labels[start : start + 3000], logits[start : start + 3000])
    loss.update_from_validation()
    edges, gaps = equal_mass(logits, labels, 15)
    np.testing.assert_allclose(loss.bin_edges, edges, rtol=0, atol=1e-6)
    # A sample that shares its cell with an edge may be in the bin beside it, of 1,333.
    np.testing.assert_allclose(loss.gaps, gaps, rtol=0, atol=2 / 1333)


def test_bins_that_are_empty_keep_their_gamma():
    loss = adaptive()
    logits = np.tile(np.float32([[3.0, 0.0, 0.0]]), (7, 1))
    loss.accumulate_validation([0] * 7, logits)
    loss.update_from_validation()
    # All confidences are the lowest, which belongs to no bin.
    np.testing.assert_array_equal(loss.gaps, np.zeros(4))
    np.testing.assert_array_equal(loss.gammas, np.ones(4))
    np.testing.assert_allclose(loss.bin_edges, np.full(5, softmax([3, 0, 0])[0]), rtol=1e-9)


KINDS = {"cals": cals, "adaptive": adaptive}
each_kind = pytest.mark.parametrize("kind", KINDS)


def learned(kind: str, labels: Any, logits: Any, batches: int = 1, **options: Any) -> np.ndarray:
    loss = KINDS[kind](**options)
    for y, z in zip(np.array_split(labels, batches), np.array_split(logits, batches), strict=True):
        loss.accumulate_validation(y, z)
    loss.update_from_validation()
    return np.concatenate([np.ravel(part) for part in loss.state().values()])


@each_kind
def test_batches_count_by_their_samples(kind):
    labels, logits = samples(50)
    whole = learned(kind, labels, logits)
    np.testing.assert_allclose(learned(kind, labels, logits, batches=7), whole, rtol=1e-6)
    rows = np.eye(3)[labels]
    np.testing.assert_allclose(learned(kind, rows, logits), whole, rtol=1e-6)
    pixels = learned(kind, labels.reshape(5, 2, 5), logits.reshape(5, 2, 5, 3))
    np.testing.assert_allclose(pixels, whole, rtol=1e-6)
    p = softmax(logits.astype(np.float64), axis=1)
    from_probabilities = learned(kind, labels, p, from_logits=False, dtype="float64")
    np.testing.assert_allclose(from_probabilities, whole, rtol=1e-5, atol=1e-6)


@each_kind
def test_what_is_left_out_of_a_validation(kind):
    labels, logits = samples(50)
    whole = learned(kind, labels, logits)
    extra = np.float32([[np.nan, 0, 0], [np.inf, 0, 0], [9, 0, 0], [0, 9, 0]])
    more_labels, more_logits = np.append(labels, [0, 0, 255, 7]), np.append(logits, extra, axis=0)
    found = learned(kind, more_labels, more_logits, ignore_class=255)
    np.testing.assert_allclose(found, whole, rtol=1e-6)
    rows = np.append(np.eye(3)[labels], np.zeros((4, 3)), axis=0)
    np.testing.assert_allclose(learned(kind, rows, more_logits), whole, rtol=1e-6)


@each_kind
def test_in_fit_every_sample_counts_once_whatever_its_weight(kind):
    labels, x = samples(50)
    loss, callback = KINDS[kind](), callbacks.ValidationFeedback()
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(3, use_bias=False)])
    model.set_weights([np.eye(3)])
    model.compile(keras.optimizers.SGD(0.0), loss, jit_compile=False)
    weighed = (x, labels, np.arange(50) % 3)
    model.fit(x, labels, 16, validation_data=weighed, callbacks=[callback], epochs=3, verbose=0)
    again = KINDS[kind]()
    for state in callback.history:
        again.accumulate_validation(labels, x)
        again.update_from_validation()
        assert state.keys() == again.state().keys()
        for name, values in again.state().items():
            np.testing.assert_allclose(state[name], values, rtol=1e-5, atol=1e-7, err_msg=name)
    # As the package's own training saves it, after so many epochs.
    saved = callback.training_state()
    other = callbacks.ValidationFeedback(loss)
    assert other.problem(saved, 3, loss) is None
    assert "the callback has {" in str(other.problem(saved, 2, loss))
    assert other.problem({}, 0, loss) is None
    name, *rest = saved
    less = {each: saved[each] for each in rest}
    for wrong in ({}, less, {**less, "junk": saved[name]}, {**less, name: saved[name][..., None]}):
        assert other.problem(wrong, 3, loss) is not None
    other.resume(saved)
    assert [*map(sorted, other.history)] == [*map(sorted, callback.history)]
    np.testing.assert_equal(other.history, callback.history)


def test_one_callback_feeds_all_such_losses():
    labels, x = samples(50)
    inputs = keras.Input([3])
    model = keras.Model(inputs, [keras.layers.Dense(3, name=name)(inputs) for name in "ab"])
    model.compile("sgd", [cals(), adaptive()], jit_compile=False)
    callback = callbacks.ValidationFeedback(max_history=2)
    y = [labels, labels]
    model.fit(x, y, validation_data=(x, y), callbacks=[callback], epochs=3, verbose=0)
    assert len(callback.history) == 2
    with pytest.raises(InputError, match=r"ValidationFeedback: expected one loss, .* received 2"):
        callback.training_state()
    assert [set(state) & {"multipliers", "gammas"} for state in callback.history[-1]] == [
        {"multipliers"},
        {"gammas"},
    ]
    model.compile("sgd", [losses.HardLabelLoss(), losses.HardLabelLoss()])
    with pytest.raises(InputError, match="expected a model compiled with CALSLoss or Ada"):
        model.fit(x, y, callbacks=[callbacks.ValidationFeedback()], verbose=0)


@each_kind
def test_what_is_missing_is_said(kind):
    labels, x = samples(20)
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(3)])
    loss = KINDS[kind](is_fed=False)
    model.compile("sgd", loss, jit_compile=False)
    with pytest.warns(UserWarning, match=r"stay: give fit validation_data and .*Feedback\(\)\]"):
        model.fit(x, labels, verbose=0)
    with pytest.warns(UserWarning, match="expected by ValidationFeedback in fit, received no"):
        model.fit(x, labels, callbacks=[callbacks.ValidationFeedback()], verbose=0)
    with pytest.raises(InputError, match="expected a validation of one sample or more before"):
        loss.update_from_validation()


def test_a_step_of_ones_own_in_fit_without_the_callback():
    """No loop of one's own can follow, so that it is said at once."""

    class Mine(keras.Model):
        def train_step(self, data: Any) -> dict[str, tf.Tensor]:
            x, y = data
            with tf.GradientTape() as tape:
                value = self.loss(y, self(x, training=True))
            gradients = tape.gradient(value, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": value}

    inputs, (labels, x) = keras.Input([3]), samples(20)
    model = Mine(inputs, keras.layers.Dense(3)(inputs))
    model.compile("sgd", cals(is_fed=False), run_eagerly=True)
    with pytest.warns(UserWarning, match="so they stay: give fit validation_data"):
        model.fit(x, labels, validation_data=(x, labels), verbose=0)


class Breaks(keras.callbacks.Callback):
    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        raise KeyboardInterrupt


def test_sums_are_not_kept_longer_than_their_validation():
    """Those of AdaFocal are 25 MB on every device."""
    labels, x = samples(20)
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(3)])
    model.compile("sgd", adaptive(), run_eagerly=True)
    first = callbacks.ValidationFeedback(max_history=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, labels, validation_data=(x, labels), callbacks=[first, Breaks()], verbose=0)
    kept = callbacks.ValidationFeedback(max_history=1)
    model.fit(x, labels, validation_data=(x, labels), callbacks=[kept], epochs=2, verbose=0)
    assert first._sums == kept._sums == []
    # Its history is of one epoch, with which it can go on.
    assert kept.problem(kept.training_state(), 2, kept.only_loss(model)) is None
    loss = adaptive()
    for _ in range(2):
        loss.accumulate_validation(labels, x)
        loss.update_from_validation()
        assert loss._own_sums is None


def test_each_device_adds_its_own_samples():
    labels, logits = samples(20)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        loss = cals()
        with pytest.raises(InputError, match=r"accumulate_validation: .* function that you give"):
            loss.accumulate_validation(labels, logits)
        strategy.run(lambda: loss.accumulate_validation(labels, logits))
        loss.update_from_validation()
    np.testing.assert_allclose(
        np.concatenate([np.ravel(part) for part in loss.state().values()]),
        learned("cals", labels, logits),
        rtol=1e-6,
    )


def test_many_sure_samples_are_added_exactly():
    """In whole numbers, of which 2^32 samples in a cell have a sum below 2^53."""
    loss = adaptive()
    loss.accumulate_validation([0, 0, 1, 0], np.diag([0.0, 1, 2, 40])[:, :3].astype(np.float32))
    cells = loss._own_sums.totals()["cells"]
    above = cells[:, 2]
    np.testing.assert_array_equal(above, np.round(above))
    assert np.all(np.abs(above) <= 2**21 * cells[:, 0])
    assert cells[:, 0].sum() == 4


def in_a_loop(loss: Any, *, accumulate: bool, update: bool) -> None:
    """Two epochs of a traced loop of one's own, and their validations."""
    labels, x = samples(40)
    kernel = tf.Variable(np.eye(3, dtype=np.float32))

    @tf.function
    def train(y: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(y, features @ kernel)
        return tape.gradient(value, kernel)

    @tf.function
    def validate(y: tf.Tensor, features: tf.Tensor) -> None:
        loss.accumulate_validation(y, features @ kernel)

    for _ in range(2):
        for start in (0, 20):
            train(tf.constant(labels[start : start + 20]), tf.constant(x[start : start + 20]))
        if accumulate:
            validate(tf.constant(labels), tf.constant(x))
        if update:
            loss.update_from_validation()


@each_kind
def test_a_loop_of_ones_own(kind):
    loss, again = KINDS[kind](is_fed=False), KINDS[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        in_a_loop(loss, accumulate=True, update=True)
        loss._feeding.at_end()
    labels, logits = samples(40)
    for _ in range(2):
        again.accumulate_validation(labels, logits)
        again.update_from_validation()
    for name, values in again.state().items():
        np.testing.assert_allclose(loss.state()[name], values, rtol=1e-5, err_msg=name)


@each_kind
def test_what_a_loop_of_ones_own_lacks(kind):
    for accumulate, said in ((False, "so they stay: give fit"), (True, "never became its")):
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            loss = KINDS[kind](is_fed=False)
            in_a_loop(loss, accumulate=accumulate, update=False)
            loss._feeding.at_end()  # which a traced loss comes to at the end of the program
        assert [said in str(w.message) for w in given] == [True]


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes: expected an integer of at least 2, received 1"),
        ({"margin": 0.0}, r"margin: expected a number in \[1e-06, 1e\+06\], received 0.0"),
        ({"penalty": "p4"}, "penalty: expected 'phr' or 'p2' or 'p3', received 'p4'"),
        ({"update_every": 0}, "update_every: expected an integer of at least 1, received 0"),
        ({"growth": 0.9}, "growth: expected a number >= 1, received 0.9"),
        ({"multiplier_max": 1e-9}, "multiplier_max: expected a number >= 1e-06, received"),
        ({"penalty_parameter_max": 0.5}, "penalty_parameter_max: expected a number >= 1, rec"),
    ],
)
def test_wrong_arguments_of_cals(arguments, message):
    with pytest.raises(InputError, match=message):
        losses.CALSLoss(**{"num_classes": 3, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_bins": 0}, "num_bins: expected an integer of at least 1, received 0"),
        ({"rate": -1.0}, "rate: expected a number >= 0, received -1.0"),
        ({"gamma_min": 0.5}, r"gamma_min: expected a number in \[-100, 0\], received 0.5"),
        ({"gamma_min": -np.inf}, r"gamma_min: expected a number in \[-100, 0\], received -inf"),
        ({"switch": 5.0}, r"switch: expected a number in \[0, 2\], received 5.0"),
        ({"gamma_max": 0.1}, r"switch: expected a number in \[0, 0.1\], received 0.2"),
        ({"gamma_initial": 30.0}, r"gamma_initial: expected a number in \[-2, 20\], received"),
    ],
)
def test_wrong_arguments_of_adafocal(arguments, message):
    with pytest.raises(InputError, match=message):
        losses.AdaptiveFocalLoss(**arguments)


def test_other_classes_than_cals_was_made_for():
    message = "expected 3 classes as in num_classes, received 4"
    for call in (cals(), cals().accumulate_validation):
        with pytest.raises(InputError, match=message):
            call([0], np.zeros((1, 4), np.float32))


def test_none_keeps_the_penalty_parameters():
    for every, grown in ((None, False), (1, True)):
        loss = cals(update_every=every, margin=0.5)
        for _ in range(3):
            loss.accumulate_validation(*samples(30))
            loss.update_from_validation()
        assert (loss.penalty_parameters.numpy() > 1).any() == grown


def test_log_probabilities_stand_for_logits():
    labels, logits = samples(20)
    p = np.exp(log_softmax(logits.astype(np.float64), axis=1)).astype(np.float32)
    expected = float(cals()(labels, logits))
    np.testing.assert_allclose(float(cals(from_logits=False)(labels, p)), expected, rtol=1e-5)


@pytest.mark.parametrize("made", [cals, adaptive, confusions])
def test_rows_without_a_softmax_are_left_out_of_a_validation(made):
    """And they alone: logits of -inf have one, where a larger one is finite."""
    labels, logits = samples(20)
    logits[:, 0] = -np.inf
    bad = np.array([[-np.inf] * 3, [np.inf, 0, 0], [np.nan, 0, 0]], np.float32)
    expected, found = made(), made()
    expected.accumulate_validation(labels, logits)
    found.accumulate_validation(np.r_[labels, 0, 1, 2], np.r_[logits, bad])
    for sums in (expected._own_sums, found._own_sums):
        assert sums.totals()["samples"] == 20
    for name, total in expected._own_sums.totals().items():
        assert np.isfinite(total).all()
        np.testing.assert_array_equal(found._own_sums.totals()[name], total)


def test_cals_takes_no_constraint_from_a_logit_of_minus_infinity():
    """Its class has the means of the other rows, and its state stays where there are none."""
    labels, logits = samples(20)
    masked = logits.copy()
    masked[:5, 1], masked[:, 2] = -np.inf, -np.inf
    loss = cals(update_every=1, multiplier_min=0.25)
    loss.accumulate_validation(labels, logits)
    loss.update_from_validation()
    before = loss.state()
    loss.accumulate_validation(labels, masked)
    loss.update_from_validation()
    h = (masked.max(axis=1, keepdims=True) - masked - 0.7) / 0.7
    h = h.astype(np.float64)[:, :2]
    rho = before["penalty_parameters"].astype(np.float64)[:2]
    slopes = np.clip(before["multipliers"][:2] + rho * h, 0.25, 1e6)
    means = [slopes[:, 0].mean(), slopes[5:, 1].mean(), before["multipliers"][2]]
    np.testing.assert_allclose(loss.multipliers, means, rtol=1e-5)
    means = [h[:, 0].mean(), h[5:, 1].mean(), before["constraints"][2]]
    np.testing.assert_allclose(loss.constraints, means, rtol=1e-5)
    assert loss.penalty_parameters[2] == before["penalty_parameters"][2]


def test_confidences_on_edges_are_in_the_bin_below_and_equal_ones_in_none():
    loss = adaptive(num_bins=2, from_logits=False)
    p = np.array([0.6, 0.7, 0.8, 0.9])  # with edges at 0.6, 0.8 and 0.9
    loss.accumulate_validation([0, 1, 0, 0], np.stack([p, 1 - p], axis=1))
    loss.update_from_validation()
    np.testing.assert_allclose(loss.gaps, [(0.7 + 0.8) / 2 - 1 / 2, 0.9 - 1], atol=1e-6)
    before = loss.gammas.numpy()
    loss.accumulate_validation([0, 0, 0], [[0.75, 0.25]] * 3)
    loss.update_from_validation()
    np.testing.assert_array_equal(loss.gammas, before)
    np.testing.assert_array_equal(loss.gaps, [0.0, 0.0])
