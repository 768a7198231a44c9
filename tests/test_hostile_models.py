"""Files of models and weights that are broken, or made to harm: one line each, and little memory.

HDF5 as Keras 2 and Keras 3 write it, `.keras`, and safetensors.
"""

from __future__ import annotations

import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from hostile import NOTHING, Kind, broken, check_survived, within_bounds

from lsplus_tf import hdf5_files, keras_files, pretrained
from lsplus_tf.backbones import build_classifier, load_weights
from lsplus_tf.deployment import open_model
from lsplus_tf.errors import InputError

LAYER = "stage1_conv1"  # of the backbone, with one kernel


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    model = build_classifier("small_residual_cnn", (8, 8, 1), 3, width=0.1)
    return model.get_layer("backbone")


def write_keras_2(file: h5py.File, backbone: keras.Model, **options: Any) -> None:
    names = []
    for layer in backbone.layers:
        for weight in layer.weights:
            place = f"{layer.name}/{layer.name}/{weight.name}:0"
            file.create_dataset(place, data=weight.numpy(), **options)
            names.append(layer.name)
    file.attrs["layer_names"] = sorted(set(names))


def refused(call: Callable[[], object]) -> str:
    with within_bounds(), pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 800
    return text


# --- HDF5 -----------------------------------------------------------------------------------------


def _virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "array", (4,))
    group.create_virtual_dataset("more", layout)


def _inflates(group: h5py.Group) -> None:
    array = group.create_dataset("more", (10_000,), "f4", chunks=(10_000,), compression="gzip")
    array.id.write_direct_chunk((0,), zlib.compress(bytes(100_000_000), 1))


def _other_filter(group: h5py.Group) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((4,))
    made.set_filter(32_015, h5py.h5z.FLAG_OPTIONAL, ())  # Zstandard, which is a plugin
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(group.id, b"more", h5py.h5t.NATIVE_FLOAT, space, made)


def _array(*arguments: Any, **options: Any) -> Callable[[h5py.Group], None]:
    return lambda group: group.create_dataset("more", *arguments, **options) and None


# What is put into a layer of a file that is good otherwise, and what is said of it.
HDF5: dict[str, tuple[Callable[[h5py.Group], Any], str]] = {
    "external storage": (
        _array((4,), "f4", external=[("/etc/hostname", 0, 16)]),
        "more is stored in another file",
    ),
    "external link": (
        lambda group: group.__setitem__("more", h5py.ExternalLink("/etc/hostname", "/")),
        "more is a link to another file",
    ),
    "soft link": (
        lambda group: group.__setitem__("more", h5py.SoftLink("/" + LAYER)),
        "more is a soft link",
    ),
    "soft link to nothing": (
        lambda group: group.__setitem__("more", h5py.SoftLink("/nowhere")),
        "more is a soft link",
    ),
    "virtual": (_virtual, "more is made of arrays of other files"),
    "another filter": (_other_filter, "more is compressed in a way that is not read here"),
    "LZF": (
        _array(np.zeros(9), compression="lzf"),
        "more is compressed in a way that is not read here; write it anew with h5py, without comp",
    ),
    "many pieces": (
        _array(data=np.zeros(11_000, "f4"), chunks=(1,), compression="gzip"),
        r"its arrays are of more than 10\d\d\d pieces; write it anew with h5py",
    ),
    "huge": (_array((2**40,), "f4"), r"bytes claim arrays of more than \d+ bytes"),
    "huge and packed": (
        _array((2**40,), "f4", chunks=(2**10,), compression="gzip"),
        r"bytes claim arrays of more than \d+ bytes",
    ),
    "a huge chunk": (
        _array((4,), "f4", maxshape=(None,), chunks=(2**29,)),
        r"bytes claim arrays of more than \d+ bytes",
    ),
    "huge items": (_array((1,), "S2000000000"), r"bytes claim arrays of more than \d+ bytes"),
    "longer than it says": (_inflates, "more is longer than it says"),
    "text": (_array(data=["a", "b"]), "more: expected numbers, received text"),
    "complex": (_array(data=[1j]), "more: expected numbers, received complex numbers"),
    "references": (_array((2,), h5py.ref_dtype), "more: expected numbers, received references"),
    "regions": (_array((2,), h5py.regionref_dtype), "more: expected numbers, received references"),
    "rows of any length": (_array((2,), h5py.vlen_dtype("f4")), "more: expected numbers"),
    "deep": (lambda group: group.create_group("/".join("a" * 100)), "more than 64 deep"),
}


@pytest.mark.parametrize("kind", HDF5)
@pytest.mark.parametrize("name", ["mine.h5", "mine.weights.h5"])
def test_hdf5_that_is_not_used(tmp_path, backbone, kind, name):
    make, message = HDF5[kind]
    path = tmp_path / name
    if kind == "huge" and name == "mine.weights.h5":
        backbone.save_weights(path)  # as Keras 3 writes it
    else:
        with h5py.File(path, "w") as file:
            write_keras_2(file, backbone)
    with h5py.File(path, "a") as file:
        make(file.require_group(LAYER))
    before = backbone.get_weights()
    for call in (
        lambda: load_weights(backbone, path),
        lambda: pretrained.get(pretrained.find("small_residual_cnn", path)),
    ):
        text = refused(call)
        assert text.startswith(f"backbone.weights: {path} cannot be read: ")
        assert re.search(message, text)
    for old, new in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_fresh_optimizer_is_let_through(tmp_path):
    """Its zeros are packed to a thousandth."""
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        for k in range(12):
            file.create_dataset(f"{k}", data=np.zeros(2 * 10**6, "f4"), compression="gzip")
    assert path.stat().st_size < 400_000
    with hdf5_files.opened(path) as file:
        assert hdf5_files.size_of_arrays(file) == 24 * 10**6


def test_a_local_file_does_not_become_weights(tmp_path, backbone):
    """What is stored elsewhere would be read as the kernel of a layer, with its very shape."""
    kernel = backbone.get_layer(LAYER).kernel
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(1, 253)) * 9)
    for name in ("mine.h5", "mine.weights.h5", "mine.keras"):
        path = tmp_path / name
        if name == "mine.h5":
            with h5py.File(path, "w") as file:
                write_keras_2(file, backbone)
        else:
            backbone.save(path) if name == "mine.keras" else backbone.save_weights(path)
        content = io.BytesIO(members(path)["model.weights.h5"] if name == "mine.keras" else b"")
        with h5py.File(content if name == "mine.keras" else path, "a") as file:
            place = next(
                item.name
                for item in _arrays(file)
                if item.shape == tuple(kernel.shape) and item.size * 4 < 2000
            )
            del file[place]
            file.create_dataset(
                place, kernel.shape, "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
            )
        if name == "mine.keras":
            write_members(path, {**members(path), "model.weights.h5": content.getvalue()})
        assert "is stored in another file" in refused(
            lambda path=path: load_weights(backbone, path)
        )


def _arrays(group: h5py.Group) -> list[h5py.Dataset]:
    found: list[h5py.Dataset] = []
    group.visititems(lambda _, item: found.append(item) if hasattr(item, "shape") else None)
    return found


def test_hdf5_that_is_damaged(tmp_path, backbone):
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        write_keras_2(file, backbone, compression="gzip", shuffle=True, fletcher32=True)
    load_weights(backbone, path)  # packed, which is read
    survive("mine.h5", lambda path: load_weights(backbone, path), path.read_bytes(), tmp_path)


def survive(name: str, read: Callable[[Path], Any], whole: bytes, folder: Path) -> None:
    """What broken files hold may lie between the arrays, and they be read."""
    for make in broken(whole).values():
        check_survived(Kind(name, read, whole, {}), make, folder)


def test_many_groups(tmp_path, backbone, monkeypatch):
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        write_keras_2(file, backbone)
        for k in range(1000):
            file.create_group(f"{LAYER}/{k}")
    load_weights(backbone, path)
    monkeypatch.setattr(hdf5_files, "_MOST_OBJECTS", 1000)
    assert "more than 1000 groups and arrays" in refused(lambda: load_weights(backbone, path))


def test_groups_that_lead_back_to_themselves(tmp_path, backbone):
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        write_keras_2(file, backbone)
        file[f"{LAYER}/{LAYER}/again"] = file[LAYER]
    with within_bounds():
        load_weights(backbone, path)


@pytest.mark.parametrize("given", [3, None, b"\xff", ["mine.h5"], {}])
def test_what_is_no_path(backbone, given):
    text = refused(lambda: load_weights(backbone, given))
    assert text.startswith("path: expected a str or Path of a file of weights, received ")


def test_a_path_as_text(tmp_path, backbone):
    backbone.save_weights(tmp_path / "mine.weights.h5")
    load_weights(backbone, str(tmp_path / "mine.weights.h5"))
    for name in ("", "a\0b", str(tmp_path / "no.h5"), str(tmp_path)):
        refused(lambda name=name: load_weights(backbone, name))


# --- .keras ---------------------------------------------------------------------------------------


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path: Path, content: Any, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        with zipfile.ZipFile(path, "w", **options) as archive:
            for name, data in content.items() if isinstance(content, dict) else content:
                archive.writestr(name, data)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inputs = keras.Input((8, 8, 1))
    hidden = keras.layers.Flatten()(keras.layers.Conv2D(2, 3, name="conv")(inputs))
    path = tmp_path_factory.mktemp("models") / "mine.keras"
    keras.Model(inputs, keras.layers.Dense(3, name="head")(hidden)).save(path)
    return path


def _layer(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Another description of the head."""
    return lambda config: config["config"]["layers"][-1].update(changes)


def _setting(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["config"]["layers"][-1]["config"].update(changes)


def _convolution(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["config"]["layers"][1]["config"].update(changes)


CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a huge layer": (_setting(units=10**12), r"a model of \d+ weights, its model.weights.h5 has"),
    "beyond all numbers": (_setting(units=10**30), r"a model of \d+ weights"),
    "a large layer": (_setting(units=10**6), r"a model of 73000020 weights"),
    "too many digits": (_setting(units=10**400), "integers of at most 308 digits"),
    "a negative layer": (_setting(units=-1), "units=-1"),
    "a layer of text": (_setting(units="many"), "units=many"),
    "a huge kernel": (
        _convolution(kernel_size=[10**6, 10**6]),
        "kernel shape",
    ),
    "a program": (_layer(module="os", class_name="system", config={"c": "ls"}), "system"),
    "a download": (
        _layer(module="keras.utils", class_name="get_file", config={"origin": "http://a"}),
        "",
    ),
    "safety off": (
        _layer(module="keras.config", class_name="enable_unsafe_deserialization", config={}),
        "",
    ),
    "a network's weights": (
        _layer(module="keras.applications", class_name="ResNet50", config={"weights": "imagenet"}),
        "ResNet50",
    ),
    "a file's lines": (
        _layer(
            module="keras.layers",
            class_name="StringLookup",
            config={"vocabulary": "/etc/hostname"},
        ),
        "vocabulary",
    ),
    "another model": (
        _layer(module="keras.layers", class_name="TFSMLayer", config={"filepath": "/tmp"}),
        "it has a TFSMLayer, another model in a folder",
    ),
    "no such class": (
        _layer(module="mine", class_name="Mine", registered_name="mine>Mine"),
        "Mine",
    ),
    "no model": (lambda config: config.clear(), "cannot be loaded as a Keras model"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_models_that_describe_what_is_not_loaded(tmp_path, good, kind):
    change, message = CONFIGS[kind]
    content = members(good)
    config = json.loads(content["config.json"])
    change(config)
    path = write_members(
        tmp_path / "mine.keras", {**content, "config.json": json.dumps(config).encode()}
    )
    text = refused(lambda: open_model(path))
    assert text.startswith(f"{path}: cannot be loaded as a Keras model (")
    assert re.search(message, text)


@keras.saving.register_keras_serializable("mine")
class Scaled(keras.layers.Layer):
    """A class of the caller's that gives a variable its value at once."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scale = keras.Variable(3.0)

    def call(self, inputs: Any) -> Any:
        return self.scale * inputs


def with_an_inner_model(path: Path, *first: keras.layers.Layer) -> Path:
    inner = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3)])
    inner.compile("adam", "mse", metrics=[keras.metrics.MeanIoU(2)])
    inputs = hidden = keras.Input((8, 8, 1))
    for layer in first:
        hidden = layer(hidden)
    hidden = keras.layers.Flatten()(inner(hidden))
    keras.Model(inputs, keras.layers.Dense(3, name="head")(hidden)).save(path)
    return path


LARGE = (b'"units": 3', b'"units": 10000000')


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (*LARGE, r"a model of 370000010 weights, its model.weights.h5 has"),
        # An optimizer has a variable with a value, from which on nothing would be counted.
        (
            b'"activation": "linear"',
            b'"activation": {"module": "keras.optimizers", "class_name": "Adam", "config": {}}',
            "create a variable while in a stateless scope",
        ),
        # As a metric of a layer it is no weight of the model.
        (
            b'"activation": "linear"',
            b'"activation": {"module": "keras.metrics", "class_name": "MeanIoU", "config": '
            b'{"num_classes": 20000}}',
            r"a model of \d+ weights",
        ),
    ],
)
def test_an_inner_model_that_is_compiled_hides_nothing(tmp_path, old, new, message):
    path = with_an_inner_model(tmp_path / "mine.keras")
    content = members(path)
    config = content["config.json"].replace(old, new)
    assert config != content["config.json"]
    if old != LARGE[0]:
        config = config.replace(*LARGE)
    write_members(path, {**content, "config.json": config})
    assert re.search(message, refused(lambda: open_model(path)))


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_how_an_inner_model_was_compiled_is_left_out(tmp_path):
    """Its metric would take all memory."""
    path = with_an_inner_model(tmp_path / "mine.keras")
    image = np.arange(64.0).reshape(1, 8, 8, 1)
    expected = keras.models.load_model(path, compile=False)(image)
    content = members(path)
    config = content["config.json"].replace(b'"num_classes": 2', b'"num_classes": 1000000')
    assert config != content["config.json"]
    write_members(path, {**content, "config.json": config})
    loaded = keras_files.load(path, "mine")
    assert not any(getattr(layer, "compiled", False) for layer in loaded.layers)
    np.testing.assert_allclose(loaded(image), expected)


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_a_class_of_the_caller_may_give_values(tmp_path):
    path = with_an_inner_model(tmp_path / "mine.keras", Scaled())
    image = np.arange(64.0).reshape(1, 8, 8, 1)
    expected = keras.models.load_model(path, compile=False)(image)
    np.testing.assert_allclose(keras_files.load(path, "mine")(image), expected)


def test_a_model_of_huge_images(tmp_path):
    """It is refused before it is tried with some."""
    inputs = keras.Input((8, 8, 1))
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)).save(tmp_path / "mine.keras")
    content = members(tmp_path / "mine.keras")
    config = content["config.json"].replace(b"[null, 8, 8, 1]", b"[null, 1000000, 1000000, 1]")
    path = write_members(tmp_path / "mine.keras", {**content, "config.json": config})
    text = refused(lambda: open_model(path))
    assert "expected a model of images of up to 33554432 pixels, it takes 1000000x1000000" in text


def test_python_code_is_named_and_not_run(tmp_path):
    inputs = keras.Input((8, 8, 1))
    doubled = keras.layers.Lambda(lambda x: 2 * x)(inputs)
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(doubled))
    keras.Model(inputs, outputs).save(tmp_path / "mine.keras")
    text = refused(lambda: open_model(tmp_path / "mine.keras"))
    assert "it has a Lambda layer, Python code, which is not run here; build" in text


def _archives(content: dict[str, bytes]) -> dict[str, tuple[Any, dict[str, Any], str]]:
    config, deflated = content["config.json"], {"compression": zipfile.ZIP_DEFLATED}
    lone = {name: {k: v for k, v in content.items() if k != name} for name in content}
    with_config = {
        "empty": b"",
        "cut": config[:-10],
        "a list": b"[]",
        "bytes": b"\xff\xfe{",
        "deep": b"[" * 10**6,
        "deep objects": b'{"a":' * 10**5,
        "twice the same key": config[:-1] + b', "class_name": "Functional"}',
    }
    found = {
        f"config.json: {kind}": ({**content, "config.json": data}, {}, "config.json")
        for kind, data in with_config.items()
    }
    return found | {
        "no config.json": (lone["config.json"], {}, "it has no config.json"),
        "no weights": (lone["model.weights.h5"], {}, "it has no model.weights.h5"),
        "nothing": ({}, {}, "it has no config.json"),
        "weights of text": ({**content, "model.weights.h5": b"no"}, {}, "file signature not found"),
        "a way out": ({**content, "../../mine": b""}, {}, "would be outside of a folder"),
        "from the root": ({**content, "/mine": b""}, {}, "would be outside of a folder"),
        "twice": ([*content.items(), ("config.json", config)], {}, "two members of one name"),
        "weights that inflate": (
            {**content, "model.weights.h5": bytes(80_000_000)},
            deflated,
            "claim members of",
        ),
        "assets that inflate": ({**content, "assets/a": bytes(80_000_000)}, deflated, "claim"),
        "JSON that inflates": ({**content, "config.json": b" " * 67_500_000}, deflated, "claim"),
    }


def test_archives_that_are_not_used(tmp_path, good):
    for kind, (content, options, message) in _archives(members(good)).items():
        path = write_members(tmp_path / "mine.keras", content, **options)
        assert message in refused(lambda path=path: open_model(path)), kind


def test_archives_that_are_damaged(tmp_path, good):
    survive("mine.keras", open_model, good.read_bytes(), tmp_path)


@pytest.mark.parametrize("kind", NOTHING)
def test_what_is_no_file(tmp_path, backbone, kind):
    for name in ("mine.keras", "mine.h5", "mine.weights.h5", "mine.safetensors"):
        NOTHING[kind](tmp_path / name)
        refused(lambda name=name: load_weights(backbone, tmp_path / name))
    refused(lambda: open_model(tmp_path / "mine.keras"))


def test_looking_at_a_model_leaves_nothing(good):
    """The weights that are only described are not made later, and no random number is drawn."""
    import random

    keras.utils.set_random_seed(0)
    expected = random.random()
    keras.utils.set_random_seed(0)
    keras_files._checked(good)
    assert random.random() == expected
    with keras.StatelessScope():  # whose end gives values to the variables that wait for them
        pass
    assert keras_files.load(good, "mine").count_params() == 20 + 219


# --- safetensors ----------------------------------------------------------------------------------


def _tensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _one(**changes: Any) -> dict[str, Any]:
    return {"conv.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


SAFETENSORS = {
    "empty": b"",
    "no header": bytes(7),
    "a header of nothing": bytes(8),
    "a huge header": struct.pack("<Q", 2**63) + b"{}",
    "a header of a gigabyte": struct.pack("<Q", 2**30) + b"{}",
    "a header that is longer": struct.pack("<Q", 100) + b"{}",
    "deep": _tensors(b"[" * 100_000),
    "deep objects": _tensors(b'{"a":' * 100_000),
    "a list": _tensors([]),
    "bytes": _tensors(b"\xff\xfe"),
    "a huge shape": _tensors(_one(shape=[2**62])),
    "a shape beyond all numbers": _tensors(_one(shape=[2**40, 2**40, 2**40])),
    "a negative shape": _tensors(_one(shape=[-2]), bytes(8)),
    "offsets outside": _tensors(_one(data_offsets=[0, 2**40])),
    "offsets turned round": _tensors(_one(data_offsets=[8, 0]), bytes(8)),
    "a gap": _tensors(_one(data_offsets=[8, 16]), bytes(16)),
    "more than it says": _tensors(_one(), bytes(100)),
    "less than it says": _tensors(_one(), bytes(4)),
    "one place twice": _tensors({**_one(), "b.weight": _one()["conv.weight"]}, bytes(8)),
    "no such type": _tensors(_one(dtype="F99"), bytes(8)),
    "a type of text": _tensors(_one(dtype=3), bytes(8)),
    "no offsets": _tensors({"conv.weight": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "bfloat16 of a wrong name": _tensors(
        {"conv.scale": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}, bytes(8)
    ),
    "a wrong name": _tensors({"conv.scale": _one()["conv.weight"]}, bytes(8)),
    "no name": _tensors({"": _one()["conv.weight"]}, bytes(8)),
    "three axes": _tensors(_one(shape=[1, 2, 1]), bytes(8)),
    "by two names": _tensors(
        {**_one(), "conv.gamma.weight": _one()["conv.weight"], "a": 3}, bytes(8)
    ),
    "of another network": _tensors(_one(), bytes(8)),
    "text": b"no weights, but text of some length",
}


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_safetensors_that_are_not_used(tmp_path, backbone, kind):
    pytest.importorskip("safetensors", reason="needs lsplus_tf[safetensors]")
    path = tmp_path / "mine.safetensors"
    path.write_bytes(SAFETENSORS[kind])
    assert refused(lambda: load_weights(backbone, path)).startswith(f"backbone.weights: {path} ")
    refused(lambda: pretrained.get(pretrained.find("small_residual_cnn", path)))


def test_names_that_no_network_has(tmp_path, backbone):
    tensors = pytest.importorskip("safetensors.numpy", reason="needs lsplus_tf[safetensors]")
    path = tmp_path / "mine.safetensors"
    for wrong, message in (
        (
            {"a.scale": np.ones(2, "f4")},
            r"its tensor a\.scale of shape \(2,\) does not belong to a network",
        ),
        ({"a.weight": np.ones((1, 2, 3), "f4")}, r"its tensor a\.weight of shape \(1, 2, 3\)"),
        ({"a.b.bias": np.ones(2, "f4"), "a_b.bias": np.ones(2, "f4")}, "is there twice"),
    ):
        tensors.save_file(wrong, path)
        with pytest.raises(InputError, match=message):
            load_weights(backbone, path)
