"""Published weights: files in the layouts that they come in, and what the networks then compute.

The files are made here, with numbers that depend on a weight's published name alone. The outputs
were computed with these numbers by other code: for the standard ResNet-34 by PyTorch 2.13's
`torch.nn.functional`, for the pre-activation form by image-classifiers 1.0.0 itself.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import applications

from lsplus_tf import pretrained
from lsplus_tf.backbones import build_classifier, load_weights
from lsplus_tf.backbones.weights import Layers
from lsplus_tf.errors import InputError

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
IMAGES = np.random.default_rng(7).uniform(0, 255, (2, 40, 75, 3)).astype("float32")


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers for a weight, positive for variances and factors."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) == 4:
        return rng.normal(0, 0.03, shape).astype("float32")
    if name.endswith(("gamma", "moving_variance", "running_var", "weight")):
        return rng.uniform(0.5, 1.5, shape).astype("float32")
    return rng.normal(0, 0.1, shape).astype("float32")


def all_drawn(shapes: dict[str, dict[str, tuple[int, ...]]]) -> Layers:
    return {
        layer: {weight: drawn(f"{layer}/{weight}", shape) for weight, shape in weights.items()}
        for layer, weights in shapes.items()
    }


def image_classifiers() -> dict[str, dict[str, tuple[int, ...]]]:
    """The layers of image-classifiers' ResNet-34 that have weights, as its file names them."""

    def normalisation(channels: int) -> dict[str, tuple[int, ...]]:
        weights = ("gamma", "beta", "moving_mean", "moving_variance")
        return dict.fromkeys(weights, (channels,))

    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "bn_data": dict.fromkeys(("beta", "moving_mean", "moving_variance"), (3,)),
        "conv0": {"kernel": (7, 7, 3, 64)},
        "bn0": normalisation(64),
    }
    before = 64
    for stage, (channels, units) in enumerate(STAGES, start=1):
        for unit in range(1, units + 1):
            name = f"stage{stage}_unit{unit}"
            shapes[f"{name}_bn1"] = normalisation(before)
            if unit == 1:
                shapes[f"{name}_sc"] = {"kernel": (1, 1, before, channels)}
            shapes[f"{name}_conv1"] = {"kernel": (3, 3, before, channels)}
            shapes[f"{name}_bn2"] = normalisation(channels)
            shapes[f"{name}_conv2"] = {"kernel": (3, 3, channels, channels)}
            before = channels
    return {**shapes, "bn1": normalisation(512)}


@functools.cache
def _image_classifiers_drawn() -> Layers:
    return all_drawn(image_classifiers())


def image_classifiers_drawn() -> Layers:
    """Drawn once for all tests, which change layers and no array in place."""
    return {layer: dict(arrays) for layer, arrays in _image_classifiers_drawn().items()}


def torchvision() -> dict[str, np.ndarray]:
    """The state of torchvision's ResNet-34."""
    state = {"fc.weight": drawn("fc.weight", (1000, 512)), "fc.bias": drawn("fc.bias", (1000,))}

    def convolution(name: str, out: int, into: int, size: int) -> None:
        state[f"{name}.weight"] = drawn(f"{name}.weight", (out, into, size, size))

    def normalisation(name: str, channels: int) -> None:
        for weight in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{weight}"] = drawn(f"{name}.{weight}", (channels,))
        state[f"{name}.num_batches_tracked"] = np.array(5)

    convolution("conv1", 64, 3, 7)
    normalisation("bn1", 64)
    before = 64
    for layer, (channels, blocks) in enumerate(STAGES, start=1):
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            convolution(f"{name}.conv1", channels, before, 3)
            normalisation(f"{name}.bn1", channels)
            convolution(f"{name}.conv2", channels, channels, 3)
            normalisation(f"{name}.bn2", channels)
            if before != channels:
                convolution(f"{name}.downsample.0", channels, before, 1)
                normalisation(f"{name}.downsample.1", channels)
            before = channels
    return state


def write_keras_2(
    path: Path, layers: Layers, *, whole_model: bool = False, inner: str = ""
) -> Path:
    """A file as Keras 2 wrote it: weights alone, or a whole model; `inner` ends the inner names."""
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if whole_model else file
        if whole_model:
            file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {}})
        for holder in {file, group}:
            holder.attrs["keras_version"], holder.attrs["backend"] = b"2.4.0", b"tensorflow"
        group.attrs["layer_names"] = [name.encode() for name in ("input_1", *layers)]
        group.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for name, arrays in layers.items():
            layer = group.create_group(name)
            names = [f"{name}{inner}/{weight}:0" for weight in arrays]
            layer.attrs["weight_names"] = [n.encode() for n in names]
            for weight_name, array in zip(names, arrays.values(), strict=True):
                layer.create_dataset(weight_name, data=array)
    return path


def backbone(name: str, size: int = 32, **options: Any) -> keras.Model:
    return build_classifier(name, (size, size, 3), 2, **options).get_layer("backbone")


def arrays_of(model: keras.Model) -> Layers:
    return {
        layer.name: {weight.name: weight.numpy() for weight in layer.weights}
        for layer in model.layers
        if layer.weights
    }


def assert_same(ours: Layers, theirs: Layers) -> None:
    assert set(ours) == set(theirs)
    for layer, arrays in ours.items():
        assert set(arrays) == set(theirs[layer])
        for weight, array in arrays.items():
            np.testing.assert_array_equal(array, theirs[layer][weight])


# --- ResNet-34 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("whole_model", "inner"), [(True, ""), (False, "_1")])
def test_the_preactivation_network_computes_what_image_classifiers_does(
    tmp_path, whole_model, inner
):
    layers = image_classifiers_drawn()
    path = write_keras_2(tmp_path / "no_top.h5", layers, whole_model=whole_model, inner=inner)
    model = build_classifier("resnet34_preact", (40, 75, 3), 2, weights=path, scaling="raw")
    features = model.get_layer("backbone")(IMAGES, training=False).numpy()
    assert features.shape == (2, 2, 3, 512)
    np.testing.assert_allclose([features.mean(), features.std()], [55.043407, 87.54749], rtol=1e-4)
    np.testing.assert_allclose(
        [features[1, 1, 2, :6], features[0, 0, 1, :6]],
        [
            [75.79922485, 0.0, 106.48995972, 305.18185425, 0.0, 0.0],
            [118.77471161, 0.0, 91.67101288, 48.46904373, 0.0, 222.5316925],
        ],
        rtol=1e-3,
    )


def test_the_standard_network_computes_what_pytorch_does(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="needs lsplus_tf[safetensors]")
    path = tmp_path / "model.safetensors"
    numpy.save_file(torchvision(), path)
    model = build_classifier("resnet34", (40, 75, 3), 2, weights=path, scaling="torch")
    features = model.get_layer("backbone")(IMAGES / 255, training=False).numpy()
    assert features.shape == (2, 2, 3, 512)
    np.testing.assert_allclose([features.mean(), features.std()], [6.1839614, 7.658756], rtol=1e-4)
    np.testing.assert_allclose(
        [features[1, 1, 2, :6], features[0, 0, 1, :6]],
        [
            [3.79131484, 16.79500198, 9.43601704, 22.10861588, 2.96568394, 0.0],
            [6.65683508, 12.20323563, 7.68578053, 0.0, 1.34036994, 0.0],
        ],
        rtol=1e-3,
        atol=1e-4,
    )


def published(
    name: str, monkeypatch: pytest.MonkeyPatch, cache: Path, layers: Layers
) -> pretrained.Weights:
    """Put weights into the cache as those that are published for a network."""
    monkeypatch.setenv("KERAS_HOME", str(cache))
    found = pretrained.find(name, "imagenet", 1.0, (32, 32))
    found.path.parent.mkdir(parents=True)
    write_keras_2(found.path, layers)
    if name in pretrained._PUBLISHED:
        md5 = hashlib.md5(found.path.read_bytes()).hexdigest()
        monkeypatch.setitem(pretrained._PUBLISHED, name, (found.url, md5))
    return found


def test_published_weights_of_the_preactivation_network(tmp_path, monkeypatch):
    release = "https://github.com/qubvel/classification_models/releases/download/0.0.1/"
    found = pretrained.find("resnet34_preact", "imagenet")
    assert found.url == f"{release}resnet34_imagenet_1000_no_top.h5"
    assert found.md5 == "8caaa0ad39d927cb8ba5385bf945d582"
    layers = image_classifiers_drawn()
    published("resnet34_preact", monkeypatch, tmp_path, layers)
    assert_same(arrays_of(backbone("resnet34_preact", weights="imagenet", scaling="raw")), layers)


# --- Keras's own ----------------------------------------------------------------------------------


class Asked(Exception):  # noqa: N818  no error: it ends what Keras was about to do
    """What Keras would download: address, hash, and where to."""


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("resnet50", 40, {}),
        ("vgg19", 40, {}),
        ("mobilenet_v2", 96, {"width": 0.35}),
        ("mobilenet_v2", 128, {"width": 0.5}),
        ("mobilenet_v2", 160, {"width": 0.75}),
        ("mobilenet_v2", 192, {"width": 1.3}),
        ("mobilenet_v2", 224, {"width": 1.4}),
        ("mobilenet_v2", 40, {}),  # of a size that it has no weights for
    ],
)
def test_what_keras_would_download(tmp_path, monkeypatch, name, size, options):
    """From where, with which MD5, and to which path, as Keras itself has it."""
    from keras.src.utils import file_utils

    def ask(origin: str, target: str, *_: Any) -> None:
        raise Asked(origin, Path(target))

    get_file, hashes = file_utils.get_file, []

    def spied(*arguments: Any, **given: Any) -> str:
        hashes.append(given.get("file_hash"))
        return get_file(*arguments, **given)

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    monkeypatch.setattr(file_utils, "get_file", spied)
    monkeypatch.setattr(file_utils, "urlretrieve", ask)
    builder = {
        "resnet50": applications.ResNet50,
        "vgg19": applications.VGG19,
        "mobilenet_v2": applications.MobileNetV2,
    }[name]
    alpha = {"alpha": options["width"]} if options else {}
    with pytest.raises(Asked) as asked:
        builder(include_top=False, input_shape=(size, size, 3), **alpha)
    found = pretrained.find(name, "imagenet", image_shape=(size, size), **options)
    assert (found.url, found.path) == asked.value.args
    assert [found.md5] == hashes


@pytest.mark.parametrize("name", ["vgg19", "mobilenet_v2"])
def test_weights_in_kerass_cache(tmp_path, monkeypatch, name):
    """Keras's loader goes by the order of layers: the names in its files may be others."""
    shapes = {
        layer: {weight: array.shape for weight, array in arrays.items()}
        for layer, arrays in arrays_of(backbone(name)).items()
    }
    layers = all_drawn(shapes)
    published(name, monkeypatch, tmp_path, {f"old_{n}": arrays for n, arrays in layers.items()})
    assert_same(arrays_of(backbone(name, weights="imagenet")), layers)
    # A file with fewer layers than the network has.
    monkeypatch.undo()
    published(name, monkeypatch, tmp_path / "short", dict([*layers.items()][:-1]))
    with pytest.raises(
        InputError, match=r"\.h5 is not the file of .* \(.*\); delete it, and it is"
    ):
        backbone(name, weights="imagenet")


def test_a_file_of_keras_3_under_a_published_name(tmp_path, monkeypatch):
    found = published("mobilenet_v2", monkeypatch, tmp_path, {})
    network = backbone("mobilenet_v2")
    network.save_weights(tmp_path / "mine.weights.h5")
    (tmp_path / "mine.weights.h5").replace(found.path)
    with pytest.raises(InputError) as caught:
        backbone("mobilenet_v2", weights="imagenet")
    assert str(caught.value) == (
        f"backbone.weights: {found.path} is not the file of ImageNet weights of mobilenet_v2 that "
        "was published (a file of Keras 2 expected, it names no layers); delete it, and it is "
        f"downloaded again from {found.url}, or put the whole file there"
    )


# --- values that are not finite -------------------------------------------------------------------

OF_PYTORCH = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def in_pytorch(kernel: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


@pytest.mark.parametrize(
    ("kind", "value"),
    [(".h5", value) for value in (np.nan, np.inf, -np.inf, 1e39)]
    + [(kind, np.nan) for kind in (".keras", ".weights.h5", ".safetensors", "published")],
)
def test_weights_that_are_not_finite_are_refused(tmp_path, monkeypatch, kind, value):
    """1e39 is none in float32."""
    of_keras = kind == "published"
    name, width = ("mobilenet_v2", 1.0) if of_keras else ("small_residual_cnn", 0.1)
    network = backbone(name, width=width)
    layers = arrays_of(network)
    wrong = [*layers][2]
    weight = max(layers[wrong])
    array = layers[wrong][weight].astype("float64")
    array.flat[-1] = value
    layers[wrong][weight] = array
    path = tmp_path / f"mine{kind}"
    match kind:
        case "published":
            path = published(name, monkeypatch, tmp_path, layers).path
        case ".h5":
            write_keras_2(path, layers)
        case ".safetensors":
            numpy = pytest.importorskip("safetensors.numpy")
            tensors = {
                f"{layer}.{OF_PYTORCH.get(w, w)}": in_pytorch(array) if array.ndim == 4 else array
                for layer, arrays in layers.items()
                for w, array in arrays.items()
            }
            numpy.save_file(tensors, path)
        case _:
            for variable in network.get_layer(wrong).weights:
                variable.assign(layers[wrong][variable.name])
            (network.save if kind == ".keras" else network.save_weights)(path)
    with pytest.raises(InputError) as caught:
        backbone(name, width=width, weights="imagenet" if of_keras else path)
    assert str(caught.value) == (
        f"backbone.weights: {path} holds values that are not finite ({wrong}/{weight}); name "
        "another file, or train from scratch with --set backbone.weights=null"
    )


# --- files of Keras 2 -----------------------------------------------------------------------------


def test_a_radimagenet_file_is_loaded_as_keras_loads_it(tmp_path):
    """A whole ResNet-50 without its head: layers conv1_conv, conv2_block1_1_conv and so on."""
    shapes = {
        layer.name: {weight.name: tuple(weight.shape) for weight in layer.weights}
        for layer in applications.ResNet50(include_top=False, weights=None).layers
        if layer.weights
    }
    assert {"conv1_conv", "conv2_block1_0_bn", "conv5_block3_3_conv"} < set(shapes)
    layers = all_drawn(shapes)
    path = write_keras_2(tmp_path / "RadImageNet-ResNet50_notop.h5", layers, whole_model=True)
    ours = arrays_of(backbone("resnet50", weights=path))
    reference = applications.ResNet50(include_top=False, weights=str(path))
    assert_same(ours, arrays_of(reference))
    assert_same(ours, layers)


def test_depthwise_kernels_and_a_head_that_is_left(tmp_path):
    layers = arrays_of(applications.MobileNetV2(alpha=0.35, classes=7, weights=None))
    expected = {name: arrays for name, arrays in layers.items() if name != "predictions"}
    in_file = {
        name: {
            "depthwise_kernel" if name.endswith("depthwise") else w: a for w, a in arrays.items()
        }
        for name, arrays in layers.items()
    }
    path = write_keras_2(tmp_path / "mobilenet_v2.weights.h5", in_file)
    assert_same(arrays_of(backbone("mobilenet_v2", weights=path, width=0.35)), expected)


def test_a_network_inside_another_model(tmp_path):
    inner = applications.VGG19(include_top=False, weights=None)
    layers = arrays_of(inner)
    path = tmp_path / "nested.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"vgg19", b"dense"]
        for name, arrays in layers.items():
            for weight, array in arrays.items():
                file[f"vgg19/{name}/{weight}:0"] = array
        file["dense/dense/kernel:0"], file["dense/dense/bias:0"] = np.ones((512, 2)), np.ones(2)
    assert_same(arrays_of(backbone("vgg19", weights=path)), layers)


# --- files of Keras 3 -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small_residual_cnn", "mobilenet_v2"])
def test_the_model_of_another_run(tmp_path, name):
    """Its head and its number of classes are other ones."""
    other = build_classifier(name, (32, 32, 3), 5, width=0.1, head=(4,))
    other.save(tmp_path / "model.keras")
    ours = backbone(name, weights=tmp_path / "model.keras", width=0.1)
    assert_same(arrays_of(ours), arrays_of(other.get_layer("backbone")))


def test_a_keras_model_with_layers_of_one_name(tmp_path):
    first, second = backbone("small_residual_cnn"), backbone("small_residual_cnn")
    first.name, second.name = "one", "two"
    inputs = keras.Input((32, 32, 3))
    both = keras.layers.Concatenate()([first(inputs), second(inputs)])
    keras.Model(inputs, both).save(tmp_path / "both.keras")
    with pytest.raises(InputError, match=r"both\.keras cannot be read: it has two layers stage1_"):
        backbone("small_residual_cnn", weights=tmp_path / "both.keras")


# --- files that do not fit ------------------------------------------------------------------------


def test_every_misfit_is_named(tmp_path):
    layers = image_classifiers_drawn()
    del layers["stage1_unit2_conv1"], layers["bn0"]["gamma"]
    layers["conv0"]["kernel"] = np.zeros((7, 7, 1, 64), "float32")
    layers["conv0"]["bias"] = np.zeros(64, "float32")
    layers["stage5_unit1_conv1"] = {"kernel": np.zeros((3, 3, 8, 8), "float32")}
    path = write_keras_2(tmp_path / "other.h5", layers)
    with pytest.raises(InputError) as caught:
        backbone("resnet34_preact", weights=path)
    assert str(caught.value) == (
        f"backbone.weights: {path} does not fit the backbone: "
        "conv0: kernel of shape (7, 7, 3, 64) expected, received (7, 7, 1, 64); "
        "conv0 has a bias in the file only; bn0 has no gamma in the file; "
        "stage1_unit2_conv1 is not in the file; stage5_unit1_conv1 is in the file only"
    )


def test_a_file_that_does_not_fit_changes_nothing(tmp_path):
    layers = image_classifiers_drawn()
    del layers["bn1"]
    model = backbone("resnet34_preact")
    before = arrays_of(model)
    with pytest.raises(InputError, match="bn1 is not in the file"):
        load_weights(model, write_keras_2(tmp_path / "other.h5", layers))
    assert_same(arrays_of(model), before)


def test_weights_of_another_network(tmp_path):
    layers = arrays_of(applications.VGG19(include_top=False, weights=None))
    path = write_keras_2(tmp_path / "vgg19.h5", layers)
    with pytest.raises(InputError, match=r"is not of resnet50, it has no layer conv5_block3_3_con"):
        backbone("resnet50", weights=path)
    message = r"conv1_conv is not in the file; .*; and \d+ more"
    with pytest.raises(InputError, match=message):
        load_weights(backbone("resnet50"), path)


def test_weights_of_keras_3_that_do_not_fit(tmp_path):
    path = tmp_path / "tiny.weights.h5"
    backbone("small_residual_cnn", width=0.1).save_weights(path)
    with pytest.raises(InputError) as caught:
        backbone("small_residual_cnn", width=0.2, weights=path)
    text = str(caught.value)
    assert len(text) < 600
    assert "(3, 3, 3, 6) expected, received (3, 3, 3, 3)" in text
    assert "stage1_conv1" in text
    assert text.endswith("and 13 more")  # of 18 layers


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.h5", "cannot be read: .*file signature not found"),
        ("text.keras", "cannot be read"),
        ("text.safetensors", "cannot be read"),
        ("text.pth", r"expected a \.weights\.h5 file or one of \.keras, \.h5, .* received .*\.pth"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, name, message):
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors", reason="needs lsplus_tf[safetensors]")
    (tmp_path / name).write_text("no weights")
    with pytest.raises(InputError, match=message):
        backbone("small_residual_cnn", weights=tmp_path / name)


def test_a_file_of_keras_3_under_the_name_of_keras_2(tmp_path):
    backbone("small_residual_cnn").save_weights(tmp_path / "tiny.weights.h5")
    path = (tmp_path / "tiny.weights.h5").rename(tmp_path / "tiny.h5")
    with pytest.raises(InputError, match=r"no file of Keras 2; those of Keras 3 end in \.weights"):
        backbone("small_residual_cnn", weights=path)


def test_without_the_package_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"needs the package safetensors: pip install 'lsplus_tf\["
    ):
        backbone("resnet34", weights=tmp_path / "model.safetensors")
