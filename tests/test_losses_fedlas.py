"""FedLAS and FedLAS+ against their authors' code, and how features get from a model to the loss."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_since import CASES, SEQUENCES, Golden, assert_close

import lsplus_tf as lsp
from lsplus_tf import losses
from lsplus_tf.backbones import CarryFeatures, build_classifier, carrying_features
from lsplus_tf.backbones.carrying import features_behind
from lsplus_tf.calibrators.keras import model_output
from lsplus_tf.callbacks import FedLAS
from lsplus_tf.errors import InputError
from lsplus_tf.losses import FedLASLoss
from lsplus_tf.losses.features import features_of

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
        loss.is_fed = True
        return loss.learn(labels, outputs) if training else loss(labels, outputs)

    return call


def assert_state(loss: FedLASLoss, mean: float, std: float) -> None:
    rtol = 1e-9 if loss.dtype == "float64" else 1e-6
    np.testing.assert_allclose(loss.norm_mean, mean, rtol=rtol)
    np.testing.assert_allclose(loss.norm_std, std, rtol=rtol)


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
        np.testing.assert_allclose(found, gradient, rtol=0, atol=1e-6 * largest)


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        *((variant, "float64") for variant in SEQUENCES_COMPARED),
        ("fedlas_a0.05_b4_m0.95", "float32"),
    ],
)
def test_sequences(golden, variant, dtype, sequence):
    """Three epochs of statistics and of the gate's SGD; the evaluations between change neither."""
    num_classes = golden.facts["sequences"][sequence]["K"]
    arguments = {**SEQUENCES_COMPARED[variant], "dtype": dtype}
    # Of a sure sample, float32 keeps of p_y - 1 what p_y has.
    off, rounding = (1e-9, 0.0) if dtype == "float64" else (1e-6, 1.2e-7)
    loss = beginning(golden, f"seq/{sequence}/in", num_classes, **arguments)

    def expected(what: str, epoch: int) -> np.ndarray:
        return golden.arrays[f"seq/{sequence}/{variant}/{what}_e{epoch}_f64"]

    for epoch, logits, labels in golden.epochs(sequence):
        features = golden.arrays[f"seq/{sequence}/in/train_features_e{epoch}"]
        for i, (z, y, f) in enumerate(zip(logits, labels, features, strict=True)):
            z = tf.Variable(z, dtype=dtype)
            with tf.GradientTape() as tape:
                value = loss.learn(y, losses.with_features(z, f.astype(dtype)))
            gradient = expected("train_grad", epoch)[i]
            np.testing.assert_allclose(value, expected("train_loss", epoch)[i], rtol=off)
            np.testing.assert_allclose(
                tape.gradient(value, z),
                gradient,
                rtol=0,
                atol=off * np.abs(gradient).max() + rounding / len(y),
            )
            assert_state(loss, expected("norm_mean", epoch)[i], expected("norm_std", epoch)[i])
        for name, (layer, part) in PARTS.items():
            found = expected(f"DCG_fc_{layer}_{part}_after", epoch).T
            atol = 3 * off * np.abs(found).max()
            np.testing.assert_allclose(loss.gate[name], found, rtol=0, atol=atol)
        value = loss(labels[0], losses.with_features(logits[0], features[0]))
        found = expected("eval_loss_on_train_batch0", epoch)
        np.testing.assert_allclose(value, found, rtol=off)


# --- what the loss learns, and when ---------------------------------------------------------------

X = np.random.default_rng(0).normal(0, 1, (12, 6)).astype(np.float32)
Y = np.arange(12) % 3
KERNEL = np.random.default_rng(1).normal(0, 1, (6, 3)).astype(np.float32)
NORMS = np.abs(X.astype(np.float64)).sum(axis=1)


def fresh(**arguments: Any) -> FedLASLoss:
    return FedLASLoss(3, **{"momentum": 1.0, "from_logits": True, **arguments})


def test_a_batch_of_one_keeps_the_deviation_and_none_keeps_both():
    loss = fresh()
    outputs = losses.with_features(X @ KERNEL, X)
    for weights in (np.eye(12)[5], np.zeros(12)):
        assert np.isfinite(loss.learn(Y, outputs, weights))
        assert_state(loss, NORMS[5], 100.0)
    gate = {name: variable.numpy() for name, variable in loss.gate.items()}
    assert all(np.isfinite(each).all() for each in gate.values())
    loss.learn(Y[:1], losses.with_features(X[:1] @ KERNEL, X[:1]))
    assert_state(loss, NORMS[0], 100.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_does_not_stay(value):
    loss = fresh()
    x = np.where(X.max() == X, value, X).astype(np.float32)
    assert np.isnan(loss.learn(Y, losses.with_features(tf.matmul(x, KERNEL), x)))
    assert_state(loss, 20.0, 100.0)
    for part in loss.gate.values():
        assert np.isfinite(part).all()


def test_the_statistics_are_of_the_samples_that_are_there():
    """Of weight 0, masked, of the ignored class, or labelled by zeros: whatever it holds."""
    features, logits = X.copy(), X @ KERNEL
    features[8:], logits[8:] = np.nan, np.nan
    mean, std = NORMS[:8].mean(), NORMS[:8].std(ddof=1)
    weights = np.array([2.0] * 8 + [0.0] * 4)  # a weight is not a number of samples
    expected = None
    masked = losses.with_features(logits, features)
    masked._keras_mask = tf.constant(weights > 0)
    plain = losses.with_features(logits, features)
    ignored = np.where(weights > 0, Y, 7)
    for labels, outputs, given in (
        (Y, plain, weights),
        (Y, masked, None),
        (ignored, plain, None),
        (np.eye(8)[ignored][:, :3], plain, None),
    ):
        loss = fresh(ignore_class=7 if labels is ignored else None, reduction="sum")
        value = loss.learn(labels, outputs, given) / (1.0 if given is None else 2.0)
        assert_state(loss, mean, std)
        expected = value if expected is None else expected
        np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_the_gate_passes_the_sign_as_the_difference_of_its_softmax():
    """The gate's gradient against that of TensorFlow with the estimator written out."""
    loss = fresh(dtype="float64", gate_learning_rate=1.0, gate_weight_decay=0.0, slope=0.7)
    logits, features = (X @ KERNEL).astype(np.float64), X.astype(np.float64)
    weights = np.linspace(0.5, 2.0, 12)
    gate = {name: tf.Variable(variable.numpy()) for name, variable in loss.gate.items()}
    with tf.GradientTape() as tape:
        hidden = tf.nn.leaky_relu(logits @ gate["hidden_kernel"] + gate["hidden_bias"], 0.01)
        shares = tf.nn.softmax(hidden @ gate["output_kernel"] + gate["output_bias"])
        soft = shares[:, 1] - shares[:, 0]
        sign = soft + tf.stop_gradient(tf.sign(soft) - soft)
        centred = (NORMS - NORMS.mean()) / (NORMS.std(ddof=1) + 1e-3)
        r = 0.1 * tf.sigmoid(0.7 * sign * centred)
        log_p = tf.nn.log_softmax(logits)
        each = -(1 - r) * tf.gather(log_p, Y, batch_dims=1) - r * tf.reduce_mean(log_p, axis=1)
        value = tf.reduce_mean(weights * each)
    expected = tape.gradient(value, gate)
    found = loss.learn(Y, losses.with_features(logits, features), weights)
    np.testing.assert_allclose(found, value, rtol=1e-12)
    for name, gradient in expected.items():
        assert np.abs(gradient).max() > 0
        np.testing.assert_allclose(loss._sgd.velocities[name], gradient, rtol=1e-9, atol=1e-12)


def test_what_learns_in_a_loop_of_ones_own_is_said_in_the_loop():
    """Traced, on a device of a strategy; whatever was traced before, and in no evaluation."""
    with tf.distribute.OneDeviceStrategy("cpu:0").scope() as scope:
        loss = fresh(momentum=0.5)
    kernel = tf.Variable(KERNEL)

    @tf.function
    def evaluate(x: tf.Tensor) -> tf.Tensor:
        return loss(Y, losses.with_features(x @ kernel, x))

    @tf.function
    def train(x: tf.Tensor) -> tf.Tensor:
        def step() -> tf.Tensor:
            with tf.GradientTape() as tape:
                value = loss.learn(Y, losses.with_features(x @ kernel, x))
            return tf.reduce_sum(tf.abs(tape.gradient(value, kernel)))

        return scope.run(step)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = evaluate(X)
        assert_state(loss, 20.0, 100.0)
        assert train(X) > 0
        mean, std = (20.0 + NORMS.mean()) / 2, (100.0 + NORMS.std(ddof=1)) / 2
        assert_state(loss, mean, std)
        assert evaluate(X) != before
        assert_state(loss, mean, std)
        train(X)
        assert_state(loss, (mean + NORMS.mean()) / 2, (std + NORMS.std(ddof=1)) / 2)
        loss._feeding.at_end()
    assert not loss.is_fed
    # A step that only calls it learns nothing, and says so.
    outputs = losses.with_features(tf.constant(X) @ kernel, X)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        value = loss(Y, outputs)
    with pytest.warns(UserWarning, match=r"take loss\.learn\(y_true, y_pred\) in place"):
        tape.gradient(value, outputs)


def test_training_without_the_callback_is_said():
    model = carrying("functional")
    model.compile("sgd", fresh(), run_eagerly=True)
    with pytest.warns(UserWarning, match=r"FedLASLoss is being .*callbacks\.FedLAS\(\)"):
        model.fit(X, Y, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes: expected"),
        ({"smoothing": 0.6}, "smoothing: expected"),
        ({"slope": -1.0}, "slope: expected"),
        ({"momentum": 1.5}, "momentum: expected"),
        ({"margin": np.nan}, "margin: expected"),
        ({"gate_learning_rate": -1.0}, "gate_learning_rate: expected"),
        ({"seed": -1}, "seed: expected"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        FedLASLoss(**{"num_classes": 3, **arguments})


# --- from a model to the loss ---------------------------------------------------------------------


class OwnStep(keras.Model):
    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            value = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(value, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": value}


def logits_of(inputs: Any, name: str | None = None, dtype: Any = None) -> Any:
    layer = keras.layers.Dense(3, use_bias=False, name=name, dtype=dtype)
    layer.build((None, 6))
    layer.kernel.assign(KERNEL)
    return layer(inputs)


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(3, use_bias=False)
        self.dense.build((None, 6))
        self.dense.kernel.assign(KERNEL)
        self.carry = CarryFeatures()

    def call(self, inputs: Any) -> Any:
        return self.carry([self.dense(inputs), inputs])


def carrying(structure: str) -> keras.Model:
    """Its features are its inputs."""
    if structure == "subclassed":
        return Subclassed()
    inputs = keras.Input([6])
    if structure in ("list", "dict"):
        both = [CarryFeatures(name=n)([logits_of(inputs, f"of_{n}"), inputs]) for n in ("a", "b")]
        return keras.Model(inputs, both if structure == "list" else {"a": both[0], "b": both[1]})
    outputs = CarryFeatures()([logits_of(inputs), inputs])
    if structure == "own step":
        return OwnStep(inputs, outputs)
    model = keras.Model(inputs, outputs)
    if structure == "nested":
        again = keras.Input([6])
        return keras.Model(again, keras.Sequential([keras.Input([6]), model])(again))
    if structure == "softmax behind":
        return keras.Sequential([keras.Input([6]), model, keras.layers.Softmax()])
    if structure == "softmax before":
        logits = logits_of(inputs)
        return keras.Model(inputs, CarryFeatures()([keras.layers.Softmax()(logits), inputs]))
    return model


WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        structure: (structure, {})
        for structure in (
            "functional",
            "subclassed",
            "nested",
            "own step",
            "softmax behind",
            "softmax before",
            "list",
            "dict",
        )
    },
    "eager": ("functional", {"run_eagerly": True}),
    "xla": ("functional", {"jit_compile": True}),
    "steps_per_execution": ("functional", {"steps_per_execution": 2}),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_features_reach_the_loss_in_every_way_of_keras(way):
    """Statistics and gate learn in training, and neither in validation nor in an evaluation."""
    structure, options = WAYS[way]
    model, several = carrying(structure), structure in ("list", "dict")
    arguments = {"from_logits": not structure.startswith("softmax"), "momentum": 0.5}
    made = [fresh(**arguments) for _ in range(1 + several)]
    loss, y = (made, [Y, Y]) if several else (made[0], Y)
    if structure == "dict":
        loss, y = dict(zip("ab", made, strict=True)), {"a": Y, "b": Y}
    model.compile(keras.optimizers.SGD(0.0), loss, **{"jit_compile": False, **options})
    evaluated = tf.data.Dataset.from_tensors((X * 9, tuple(y) if isinstance(y, list) else y))
    model.fit(
        X,
        y,
        batch_size=6,
        shuffle=False,
        verbose=0,
        callbacks=[FedLAS()],
        validation_data=evaluated,
    )
    mean, std = 20.0, 100.0
    replay = fresh(momentum=0.5)
    for batch in (slice(0, 6), slice(6, 12)):
        mean, std = (mean + NORMS[batch].mean()) / 2, (std + NORMS[batch].std(ddof=1)) / 2
        replay.learn(Y[batch], losses.with_features(X[batch] @ KERNEL, X[batch]))
    expected = float(replay(Y, losses.with_features(9 * X @ KERNEL, 9 * X)))
    for each in made:
        assert_state(each, mean, std)
        for name, variable in each.gate.items():
            np.testing.assert_allclose(variable, replay.gate[name], rtol=1e-5, atol=1e-6)
    found = [model.evaluate(evaluated, verbose=0, return_dict=True)["loss"]]
    assert_state(made[0], mean, std)
    outputs = model(X)
    if way == "functional":  # what the others would trace again
        found.append(model.test_on_batch(X * 9, y, return_dict=True)["loss"])
        outputs = model.predict(X, verbose=0)
    np.testing.assert_allclose(found, (1 + several) * expected, rtol=1e-5)
    first = keras.tree.flatten(outputs)[0]
    np.testing.assert_array_equal(np.argmax(first, axis=1), (X @ KERNEL).argmax(axis=1))


def test_a_classifier_of_ours_carries_what_its_logits_are_made_of():
    model = build_classifier("small_residual_cnn", (8, 8, 1), 3, width=0.1, head=(4,))
    carried = carrying_features(model)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.float32)
    outputs, features = carried(images), keras.Model(model.inputs, features_behind(carried))(images)
    np.testing.assert_array_equal(outputs, model(images))
    np.testing.assert_array_equal(features_of(outputs), features)
    assert features.shape == (5, 4)
    np.testing.assert_allclose(model.get_layer("logits")(features), outputs, rtol=1e-6)
    assert lsp.fingerprint(carried) == lsp.fingerprint(model)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_policies(policy):
    """The features are as the layer before gives them, and their sum is float32's."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input([6], dtype="float32")
        features = keras.layers.Activation("relu")(inputs)
        logits = logits_of(features, dtype="float32")
        model = keras.Model(inputs, CarryFeatures()([logits, features]))
    finally:
        keras.config.set_dtype_policy(before)
    assert model.output.dtype == "float32"
    loss = fresh()
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=policy != "mixed_float16")
    x = np.full((12, 6), 9000.0)  # whose sum float16 does not have
    x[:, 0] *= np.arange(12) % 2
    model.fit(x, Y, batch_size=12, verbose=0, callbacks=[FedLAS()])
    np.testing.assert_allclose(loss.norm_mean, x.sum(axis=1).mean(), rtol=0.01)


def test_a_softmax_that_casts_goes_before_the_layer():
    """As mixed precision needs it; behind the layer it loses the features, which is said."""
    inputs = keras.Input([6])
    logits = logits_of(inputs, dtype="mixed_float16")
    softmax = keras.layers.Activation("softmax", dtype="float32")
    right = keras.Model(inputs, CarryFeatures()([softmax(logits), inputs]))
    wrong = keras.Model(inputs, softmax(CarryFeatures()([logits, inputs])))
    for model in (right, wrong):
        model.compile(keras.optimizers.SGD(0.0), fresh(from_logits=False), run_eagerly=True)
    right.fit(X, Y, verbose=0, callbacks=[FedLAS()])
    assert_state(right.loss, NORMS.mean(), NORMS.std(ddof=1))
    with pytest.raises(InputError, match=r"CarryFeatures\(\)\(\[softmax, features\]\) behind it"):
        wrong.fit(X, Y, verbose=0, callbacks=[FedLAS()])


def test_outputs_that_carry_no_features_are_told():
    inputs = keras.Input([6])
    lost = [
        keras.Model(inputs, logits_of(inputs)),
        keras.Sequential([keras.Input([6]), carrying("functional"), keras.layers.Rescaling(2.0)]),
    ]
    for model in lost:
        model.compile("sgd", fresh())
        with pytest.raises(
            InputError, match=r"fedlas: expected outputs that carry .*CarryFeatures"
        ):
            model.fit(X, Y, verbose=0, callbacks=[FedLAS()])
    with pytest.raises(InputError, match=r"A tf\.function around the model loses them"):
        fresh()(Y, tf.function(carrying("functional"))(X))
    for wrong in (inputs, [inputs], [inputs] * 3):
        with pytest.raises(InputError, match=r"CarryFeatures: expected .* on \[logits, features\]"):
            CarryFeatures()(wrong)
        with pytest.raises(InputError, match=r"CarryFeatures: expected .* on \[logits, features\]"):
            CarryFeatures()(keras.tree.map_structure(lambda _: X, wrong))
    with pytest.raises(InputError, match=r"features: expected a row .*\(12, 3\); received .*\(6,"):
        losses.with_features(X @ KERNEL, X[:6])
    with pytest.raises(InputError, match=r"expected logits, .* received probabilities"):
        fresh(from_logits=False)(Y, losses.with_features(np.full((12, 3), 1 / 3), X))
    with pytest.raises(InputError, match="expected 3 classes as in num_classes, received 2"):
        fresh()(Y % 2, losses.with_features(X[:, :2], X))


def test_steps_by_hand_and_a_mask():
    """Keras asks the loss for its shape before the first of them, with outputs it has made up."""
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    inputs = keras.Input([3], dtype="int32")
    vectors = keras.layers.Embedding(4, 6, mask_zero=True)(inputs)
    model = keras.Model(inputs, CarryFeatures()([logits_of(vectors), vectors]))
    loss = fresh()
    model.compile(keras.optimizers.SGD(0.0), loss)
    callback = FedLAS()
    callback.set_model(model)
    callback.set_params({})
    callback.on_train_begin()
    model.train_on_batch(tokens, np.zeros((2, 3)))
    callback.on_train_end()
    norms = np.abs(model.layers[1].embeddings.numpy()).sum(axis=1)[[1, 2, 3]]
    assert_state(loss, norms.mean(), norms.std(ddof=1))


def test_a_saved_model_is_the_same_in_a_new_process(tmp_path):
    """With statistics and gate, to go on with; and its calibrator knows its logits."""
    model = carrying("functional")
    model.compile("sgd", fresh(), run_eagerly=True)
    model.fit(X, Y, verbose=0, callbacks=[FedLAS()])
    assert model_output(model).kind == "logits"
    plain = keras.Model(model.inputs, model.layers[1].output)
    assert lsp.fingerprint(plain) == lsp.fingerprint(model)
    np.testing.assert_array_equal(plain.predict(X, verbose=0), model.predict(X, verbose=0))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", X)
    model.fit(X, Y, verbose=0, callbacks=[FedLAS()])  # with the gate's momentum
    expected = [
        model.evaluate(X, Y, verbose=0),
        *(v.numpy().sum() for v in model.loss.gate.values()),
    ]
    script = f"""
        import keras, numpy as np, lsplus_tf.backbones, lsplus_tf.callbacks
        x = np.load({str(tmp_path / "x.npy")!r})
        y = np.arange(12) % 3
        model = keras.models.load_model({str(tmp_path / "model.keras")!r})
        model.fit(x, y, verbose=0, callbacks=[lsplus_tf.callbacks.FedLAS()])
        gate = [v.numpy().sum() for v in model.loss.gate.values()]
        print(*map(float, [model.evaluate(x, y, verbose=0), *gate]))
    """
    printed = forked.run("-c", textwrap.dedent(script)).stdout.splitlines()[-1]
    np.testing.assert_allclose([float(each) for each in printed.split()], expected, rtol=1e-5)
