"""The networks: their sizes, their inputs and outputs, and where their weights come from."""

from __future__ import annotations

import functools
import os
import shutil
import textwrap
import urllib.error

import forked
import keras
import numpy as np
import pytest
from keras import applications

from lsplus_tf.backbones import PixelScaling, build_classifier, classifier
from lsplus_tf.errors import InputError, MissingDataError

pytestmark = pytest.mark.usefixtures("float32_afterwards")


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


def tiny(**options) -> keras.Model:
    settings = {"image_shape": (8, 8, 3), "num_classes": 3, "width": 0.1, **options}
    return build_classifier("small_residual_cnn", **settings)


# --- shapes and sizes -----------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_logits_are_float32_under_a_mixed_policy(precision):
    keras.config.set_dtype_policy(precision)
    model = tiny(head=(4,))
    logits = model(pixels(2, 8, 8, 3))
    assert logits.dtype == "float32"
    assert logits.shape == (2, 3)
    assert model.get_layer("head_1").compute_dtype == precision.removeprefix("mixed_")
    assert {w.dtype for w in model.trainable_variables} == {"float32"}


@pytest.mark.parametrize(
    ("name", "theirs", "width", "features"),
    [
        ("mobilenet_v2", applications.MobileNetV2, 0.35, 1280),
        ("resnet50", applications.ResNet50, 1.0, 2048),
        ("vgg19", applications.VGG19, 1.0, 512),
    ],
)
def test_networks_are_those_of_keras_applications_and_a_head(name, theirs, width, features):
    model = build_classifier(name, (32, 32, 3), num_classes=5, width=width, head=(4, 6))
    options = {"alpha": width} if name == "mobilenet_v2" else {}
    backbone = theirs(include_top=False, weights=None, input_shape=(32, 32, 3), **options)
    head = (features * 4 + 4) + (4 * 6 + 6) + (6 * 5 + 5)
    assert model.count_params() == backbone.count_params() + head
    assert model.output_shape == (None, 5)
    assert model.get_layer("head_1").activation is keras.activations.relu
    assert model.get_layer("logits").activation is keras.activations.linear


def test_the_small_network_has_the_size_it_says():
    model = build_classifier("small_residual_cnn", (8, 8, 1), num_classes=10)
    assert 280_000 < model.count_params() < 320_000
    assert model.get_layer("backbone").output_shape == (None, 2, 2, 128)
    narrow = build_classifier("small_residual_cnn", (7, 9, 1), num_classes=10, width=0.01)
    assert narrow.get_layer("backbone").output_shape == (None, 2, 3, 1)


def test_the_momentum_of_batch_normalization():
    def momenta(**options) -> set[float]:
        model = build_classifier("mobilenet_v2", (32, 32, 3), 2, width=0.1, **options)
        return {
            layer.momentum
            for layer in model.get_layer("backbone").layers
            if isinstance(layer, keras.layers.BatchNormalization)
        }

    assert momenta() == {0.999}
    assert momenta(batch_norm_momentum=0.9) == {0.9}


@pytest.mark.parametrize(
    ("name", "backbone", "totals"),
    [
        ("resnet34", 21_301_696, [22_352_834, 22_353_860, 22_355_399]),
        ("resnet34_preact", 21_302_473, [22_353_611, 22_354_637, 22_356_176]),
        ("resnet50", 23_587_712, [26_211_714, 26_212_740, 26_214_279]),
    ],
)
def test_the_ls_plus_authors_networks_have_the_published_sizes(name, backbone, totals, monkeypatch):
    """Of the pre-activation form and ResNet-50 for 2, 4 and 7 classes, as their code prints them.

    The standard ResNet-34 has torchvision's 21,797,672 less the 513,000 of its layer `fc`, and the
    17,024 moving statistics, which PyTorch does not count.
    """
    assert 21_797_672 - 513_000 + 17_024 == 21_301_696
    # Three heads on one backbone.
    monkeypatch.setattr(classifier, "_backbone", functools.cache(classifier._backbone))
    models = [build_classifier(name, (32, 32, 3), k, head=(1024, 512)) for k in (2, 4, 7)]
    assert [model.count_params() for model in models] == totals
    assert {model.get_layer("backbone").count_params() for model in models} == {backbone}


@pytest.mark.parametrize("name", ["resnet34", "resnet34_preact"])
def test_the_feature_maps_of_resnet34(name):
    model = build_classifier(name, (224, 224, 3), 2).get_layer("backbone")
    sums = [layer.output.shape[1:] for layer in model.layers if isinstance(layer, keras.layers.Add)]
    assert sums == (
        [(56, 56, 64)] * 3 + [(28, 28, 128)] * 4 + [(14, 14, 256)] * 6 + [(7, 7, 512)] * 3
    )
    assert model.output_shape == (None, 7, 7, 512)
    odd = build_classifier(name, (33, 65, 1), 2).get_layer("backbone")
    assert odd.output_shape == (None, 2, 3, 512)


def test_how_the_resnet34s_normalise():
    def settings(name: str) -> set[tuple[float, float]]:
        layers = build_classifier(name, (32, 32, 3), 2).get_layer("backbone").layers
        found = [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
        return {(layer.epsilon, layer.momentum) for layer in found}

    assert settings("resnet34") == {(1e-5, 0.9)}
    assert settings("resnet34_preact") == {(2e-5, 0.99)}


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "resnet34", "resnet34_preact", "resnet50", "vgg19"]
)
def test_images_that_are_too_small(name):
    with pytest.raises(InputError, match=f"image_size: {name} needs .* 32x32 .* received 40x31"):
        build_classifier(name, (40, 31, 3), num_classes=2)


# --- pixels ---------------------------------------------------------------------------------------


def test_pixel_scaling_is_keras_preprocessing():
    images = pixels(2, 4, 5, 3)
    np.testing.assert_array_equal(PixelScaling("unit")(images), images / np.float32(255))
    np.testing.assert_array_equal(PixelScaling("raw")(images), images)
    for mode, theirs in (
        ("symmetric", applications.mobilenet_v2.preprocess_input),
        ("caffe", applications.resnet50.preprocess_input),
        ("caffe", applications.vgg19.preprocess_input),
        ("torch", applications.densenet.preprocess_input),
    ):
        np.testing.assert_allclose(PixelScaling(mode)(images), theirs(images.copy()), atol=1e-5)
    grey = pixels(2, 4, 5, 1)
    np.testing.assert_allclose(PixelScaling("symmetric")(grey), grey / 127.5 - 1, atol=1e-6)


def test_pixel_scaling_refuses():
    with pytest.raises(InputError, match=r"mode: expected 'unit' or .*, received 'bgr'"):
        PixelScaling("bgr")
    for mode in ("caffe", "torch"):
        message = rf"scaling: '{mode}' needs three channels; set dataset\.channels"
        with pytest.raises(InputError, match=message):
            tiny(image_shape=(8, 8, 1), scaling=mode)


@pytest.mark.parametrize("scaling", ["unit", "raw", "symmetric", "caffe", "torch"])
def test_scaling_is_part_of_the_saved_model(tmp_path, scaling):
    model = tiny(scaling=scaling)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.get_layer("pixel_scaling").mode == scaling
    images = pixels(2, 8, 8, 3)
    np.testing.assert_array_equal(copy(images), model(images))


# --- weights --------------------------------------------------------------------------------------


@pytest.fixture
def colour_weights(tmp_path):
    """A colour network and the file with its backbone's weights."""
    model = tiny(scaling="symmetric")
    path = tmp_path / "tiny.weights.h5"
    model.get_layer("backbone").save_weights(path)
    return model, path


def test_weights_of_a_file_replace_the_random_ones(colour_weights):
    source, path = colour_weights
    loaded = tiny(weights=path).get_layer("backbone").get_weights()
    for ours, theirs in zip(loaded, source.get_layer("backbone").get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    fresh = tiny().get_layer("backbone").get_weights()
    assert not np.array_equal(fresh[0], loaded[0])


def test_grey_images_are_repeated_for_weights_of_colour(colour_weights):
    source, path = colour_weights
    grey = tiny(image_shape=(8, 8, 1), weights=str(path), scaling="symmetric")
    grey.get_layer("logits").set_weights(source.get_layer("logits").get_weights())
    images = pixels(4, 8, 8, 1)
    np.testing.assert_allclose(grey(images), source(np.repeat(images, 3, axis=-1)), rtol=1e-5)
    assert tiny(image_shape=(8, 8, 1)).get_layer("backbone").input_shape[-1] == 1


def test_pretrained_weights_are_those_of_the_file(shared):
    path = shared / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
    backbone = build_classifier(
        "mobilenet_v2", (64, 64, 3), 2, weights=str(path), width=0.35, scaling="symmetric"
    ).get_layer("backbone")
    reference = applications.MobileNetV2(
        alpha=0.35, include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    random = reference.get_weights()
    reference.load_weights(path)
    assert len(backbone.weights) == len(reference.weights) == 260
    for ours, theirs in zip(backbone.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Every kernel was replaced: none is still what it was drawn as.
    assert not any(
        np.array_equal(before, after)
        for before, after in zip(random, backbone.get_weights(), strict=True)
        if before.ndim == 4
    )


def test_weights_that_do_not_fit(colour_weights, tmp_path):
    _, path = colour_weights
    message = r"backbone\.weights: .* does not fit the backbone: .+"
    with pytest.raises(InputError, match=message):
        tiny(weights=path, width=0.2)
    with pytest.raises(InputError, match=message):
        build_classifier("mobilenet_v2", (32, 32, 3), 2, weights=path, width=0.1)
    text = tmp_path / "text.weights.h5"
    text.write_text("no HDF5")
    with pytest.raises(InputError, match=r"cannot be read: .*file signature not found"):
        tiny(weights=text)
    with pytest.raises(InputError, match=r"weights: expected a \.weights\.h5 file .*\.txt"):
        tiny(weights=shutil.copy(path, tmp_path / "wrong_ending.txt"))


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(
        MissingDataError, match=r"backbone\.weights: no such file .*no\.weights\.h5"
    ):
        tiny(weights=tmp_path / "no.weights.h5")


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet34_preact"])
def test_imagenet_weights_without_a_network(monkeypatch, tmp_path, name):
    def unreachable(*_, **__):
        raise urllib.error.URLError("no network\nat all")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    message = rf"^backbone\.weights: the ImageNet weights of {name} .*no network at all.*=null$"
    with pytest.raises(MissingDataError, match=message):
        build_classifier(name, (32, 32, 3), 2, weights="imagenet", width=0.35)


def test_the_small_network_trains_on_an_odd_batch_of_few_channels():
    """A strided 1x1 convolution here ended the process: its gradient corrupts memory in oneDNN."""
    script = """
        import keras, numpy as np, lsplus_tf as lsp
        model = lsp.backbones.build_classifier("small_residual_cnn", (32, 32, 1), 2, width=0.2)
        model.compile("adam", lsp.losses.HardLabelLoss(from_logits=True), jit_compile=False)
        images = np.random.default_rng(0).uniform(0, 255, (74, 32, 32, 1)).astype("float32")
        model.fit(images, np.arange(74) % 2, batch_size=37, epochs=2, verbose=0)
    """
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1"}
    ended = forked.run("-c", textwrap.dedent(script), env=environment)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 1e9}, r"width: expected a number in \(0, 32\], received 1000000000"),
        ({"width": float("nan")}, "width: expected a number"),
        ({"head": (10**9,)}, "head: expected an integer of at most 65536"),
        ({"head": (60_000, 60_000)}, r"head: expected a network of at most 1e\+09 parameters"),
        ({"head": (8,) * 16}, "and 16 layers"),
        ({"num_classes": 10**9}, "num_classes: expected an integer of at most 65536"),
    ],
)
def test_networks_that_would_take_all_memory_are_refused_before_they_are_built(options, said):
    with pytest.raises(InputError, match=said):
        build_classifier(
            "small_residual_cnn", (8, 8, 1), **{"num_classes": 3, "width": 0.1, **options}
        )
