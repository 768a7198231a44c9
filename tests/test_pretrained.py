"""Pretrained weights without a network: where they are, whether they can be had, getting them.

What is published is downloaded here from a server of the test, and the files are small.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers import experiment_with
from PIL import Image

from lsplus_tf import pretrained
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.experiments.make import load_data

NETWORKS = ["mobilenet_v2", "resnet50", "vgg19", "resnet34_preact"]
SHAPE = (224, 224, 3)
EACH_NETWORK = pytest.mark.parametrize("network", NETWORKS)


def write_weights(path: Path, *layers: str) -> Path:
    """A file as Keras 2 wrote it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name in layers:
            file.create_group(name).create_dataset(f"{name}/kernel:0", data=np.ones((30, 30)))
    return path


@dataclass
class Host:
    """A server of files; `served` says how it goes wrong, and `asked` what it was asked for."""

    address: str
    content: bytes
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, range
    served: str = "whole"

    @property
    def downloads(self) -> list[str]:
        return [path for path, ranged in self.asked if not ranged]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of Keras's."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "keras" / "models"


def publish(monkeypatch: pytest.MonkeyPatch, address: str, content: bytes) -> None:
    """Have the weights of all networks come from an address."""
    md5 = hashlib.md5(content).hexdigest()
    for network, (url, _) in pretrained._PUBLISHED.items():
        moved = (f"{address}/{url.rpartition('/')[2]}", md5)
        monkeypatch.setitem(pretrained._PUBLISHED, network, moved)
    monkeypatch.setattr(pretrained, "_KERAS", address)


@pytest.fixture
def host(tmp_path, cache, monkeypatch) -> Iterator[Host]:
    content = write_weights(tmp_path / "published.h5", "conv").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ranged = self.headers.get("Range", "")
            found.asked.append((self.path, ranged))
            if found.served == "nothing":
                self.send_error(404)
                return
            body = {"damaged": content[::-1], "cut": content[:-9]}.get(found.served, content)
            if ranged and found.served != "without ranges":
                self.send_response(206)
                self.send_header("Content-Range", f"bytes 0-0/{len(content)}")
                body = body[:1]
            else:
                self.send_response(200)
                length = len(body) if ranged else len(content)
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Host(f"http://127.0.0.1:{server.server_port}", content)
    publish(monkeypatch, found.address, content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def nobody(cache, monkeypatch) -> str:
    """The address of a port at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    publish(monkeypatch, address, b"")
    return address


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


# --- where ----------------------------------------------------------------------------------------


def test_kerass_folders(tmp_path, monkeypatch):
    def place() -> Path:
        found = pretrained.find("vgg19", "imagenet")
        assert found is not None
        return found.path.parent

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    assert place() == tmp_path / ".keras" / "models"
    monkeypatch.setenv("KERAS_HOME", "~/elsewhere")
    assert place() == tmp_path / "elsewhere" / "models"
    # Keras's second choice, where the first cannot be written.
    monkeypatch.setattr(
        pretrained, "_can_be_written", lambda folder: "elsewhere" not in str(folder)
    )
    assert place() == Path("/tmp/.keras/models")
    # A file that is there counts where it is.
    write_weights(tmp_path / "elsewhere/models" / pretrained.find("vgg19", "imagenet").path.name)
    assert place() == tmp_path / "elsewhere" / "models"


def test_what_no_file_is_found_for():
    assert pretrained.find("resnet50", None) is None
    # It has weights for several sizes.
    assert pretrained.find("mobilenet_v2", "imagenet", 0.35, (None, None, 3)) is None
    for network in ("small_residual_cnn", "resnet34"):
        with pytest.raises(InputError, match=rf"^backbone\.weights: {network} has no ImageNet"):
            pretrained.find(network, "imagenet", 1.0, SHAPE)
    for shape in (SHAPE, (None, None, None)):
        with pytest.raises(InputError, match=r"^backbone\.width: .*0\.35, 0\.5, .* received 0\.4"):
            pretrained.find("mobilenet_v2", "imagenet", 0.4, shape)


# --- published weights ----------------------------------------------------------------------------


@EACH_NETWORK
@pytest.mark.parametrize("served", ["whole", "without ranges"])
def test_weights_are_downloaded_once(host, cache, network, served):
    host.served = served
    found, told = pretrained.find(network, "imagenet", 1.0, SHAPE), []
    size = f"{len(host.content) / 2**20:.1f} MiB"
    said = pretrained.look(found)
    assert found.url in said
    assert f"({size}; the host answers) to {cache / found.path.name}." in said
    assert (host.downloads, left(cache)) == ([], [])
    for _ in range(2):
        assert pretrained.get(found, told.append) == cache / found.path.name
    assert found.path.read_bytes() == host.content
    assert len(host.downloads) == 1
    assert host.address + host.downloads[0] == found.url
    assert told == [f"Downloading the ImageNet weights of {network} from {found.url} ({size})"]
    assert left(cache) == [found.path.name]
    assert pretrained.look(found).endswith(f"are there: {found.path}, {size}.")


def test_one_of_many_downloads_and_the_others_wait(host, cache):
    found, paths = pretrained.find("resnet50", "imagenet"), []
    threads = [
        threading.Thread(target=lambda: paths.append(pretrained.get(found))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [found.path] * 5
    assert (len(host.downloads), left(cache)) == (1, [found.path.name])


@pytest.mark.parametrize(
    ("served", "message"),
    [
        ("nothing", r"\(HTTP Error 404: Not Found\)"),
        ("cut", r"\(it ended after \d+ of \d+ bytes\)|IncompleteRead"),
        ("damaged", r"\(what came is damaged: .*file signature not found"),
    ],
)
@EACH_NETWORK
def test_a_download_that_fails_leaves_nothing(host, cache, network, served, message):
    host.served = served
    found = pretrained.find(network, "imagenet", 1.0, SHAPE)
    with pytest.raises(MissingDataError, match=message) as caught:
        pretrained.get(found)
    text = str(caught.value)
    assert text.startswith(
        f"backbone.weights: the ImageNet weights of {network} are not there, expected at "
        f"{found.path}, and cannot be had from {found.url} ("
    )
    assert text.endswith(
        "download that file elsewhere and put it there or name it with --set "
        "backbone.weights=FILE, or train from scratch with --set backbone.weights=null"
    )
    assert "\n" not in text
    assert left(cache) == []


def test_other_bytes_than_those_published(host, cache, monkeypatch):
    url, _ = pretrained._PUBLISHED["vgg19"]
    monkeypatch.setitem(pretrained._PUBLISHED, "vgg19", (url, 32 * "0"))
    with pytest.raises(MissingDataError, match=f"damaged: MD5 {32 * '0'} expected, received"):
        pretrained.get(pretrained.find("vgg19", "imagenet"))
    assert left(cache) == []


@EACH_NETWORK
def test_a_host_that_is_not_there(nobody, cache, network):
    found = pretrained.find(network, "imagenet", 1.0, SHAPE)
    for ask in (pretrained.look, pretrained.get):
        with pytest.raises(MissingDataError, match=rf"{nobody}/\S+ \(.*Connection refused\)"):
            ask(found)
    assert left(cache.parent) == []


def test_a_host_that_does_not_answer(cache, monkeypatch):
    """It is asked once, and not for long."""
    assert (pretrained._PATIENCE, pretrained._PATIENCE_OF_LOOK) == (30, 5)
    monkeypatch.setattr(pretrained, "_PATIENCE", 0.3)
    monkeypatch.setattr(pretrained, "_PATIENCE_OF_LOOK", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        publish(monkeypatch, f"http://127.0.0.1:{deaf.getsockname()[1]}", b"")
        for ask, patience in ((pretrained.look, "0.2"), (pretrained.get, "0.3")):
            message = rf"\((no answer within {patience} s|timed out)"
            with pytest.raises(MissingDataError, match=message):
                ask(pretrained.find("resnet50", "imagenet"))
    monkeypatch.setattr(pretrained, "_size", lambda *_: threading.Event().wait(2))  # of a name
    for ask, patience in ((pretrained.look, "0.2"), (pretrained.get, "0.3")):
        with pytest.raises(MissingDataError, match=rf"\(no answer within {patience} seconds\)"):
            ask(pretrained.find("resnet50", "imagenet"))


@EACH_NETWORK
def test_a_damaged_file_in_the_cache_is_told_and_left(host, network):
    found = pretrained.find(network, "imagenet", 1.0, SHAPE)
    found.path.parent.mkdir(parents=True)
    found.path.write_bytes(host.content[:-100])
    whole = len(host.content)
    message = f"published (cut off after {whole - 100} of {whole} bytes); delete it, and"
    for ask in (pretrained.look, pretrained.get):
        with pytest.raises(InputError) as caught:
            ask(found)
        assert message in str(caught.value)
        assert f"it is downloaded again from {found.url}, or put the whole" in str(caught.value)
    assert found.path.read_bytes() == host.content[:-100]
    assert host.asked == []


def test_a_file_of_the_published_name_is_the_published_file(host, tmp_path):
    """Which Keras's loader takes; the same bytes are expected."""
    path = tmp_path / "mine" / pretrained.find("resnet50", "imagenet").path.name
    path.parent.mkdir()
    path.write_bytes(host.content)
    found = pretrained.find("resnet50", path)
    assert (found.path, found.published, found.url) == (path, True, None)
    assert pretrained.get(found) == path
    write_weights(path, "another")
    with pytest.raises(InputError, match=r"is not the file .*\(MD5 \w+ expected, received \w+\)"):
        pretrained.get(found)
    with pytest.raises(InputError, match=r"received \w+\); put the whole file there$"):
        pretrained.get(found)
    path.unlink()
    with pytest.raises(MissingDataError, match=f"no such file {path}"):
        pretrained.get(found)
    assert host.asked == []


# --- one's own ------------------------------------------------------------------------------------


def test_a_file_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given, place in (("no.h5", tmp_path), ("~/no.h5", tmp_path / "home")):
        for ask in (pretrained.look, pretrained.get):
            with pytest.raises(MissingDataError) as caught:
                ask(pretrained.find("resnet50", given))
            assert str(caught.value) == (
                f"backbone.weights: no such file {place / 'no.h5'}; name one that is there with "
                "--set backbone.weights=FILE, or train from scratch with --set "
                "backbone.weights=null"
            )


@pytest.mark.parametrize("given", ["mine", "mine.h5", "imagenet", "the published name"])
def test_a_folder_is_no_file(cache, tmp_path, given):
    if "imagenet" in given or "published" in given:
        path = pretrained.find("resnet50", "imagenet").path
    else:
        path = tmp_path / given
    path.mkdir(parents=True)
    for ask in (pretrained.look, pretrained.get):
        with pytest.raises(InputError, match=f"weights: expected a file, {path} is a folder; name"):
            ask(pretrained.find("resnet50", "imagenet" if given == "imagenet" else path))


def save_keras(path: Path, layer: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", f'{{"layers": [{{"config": {{"name": "{layer}"}}}}]}}')
        archive.writestr("model.weights.h5", "")


def save_tensors(path: Path, layer: str) -> None:
    numpy = pytest.importorskip("safetensors.numpy", reason="needs lsplus_tf[safetensors]")
    numpy.save_file({f"{layer.replace('_', '.')}.weight": np.ones(500)}, path)


WRITERS = {
    "mine.h5": write_weights,
    "mine.hdf5": write_weights,
    "mine.weights.h5": write_weights,
    "mine.keras": save_keras,
    "mine.safetensors": save_tensors,
}


@pytest.mark.parametrize("name", WRITERS)
def test_own_files_of_all_kinds(tmp_path, name):
    path = tmp_path / name
    found = pretrained.find("resnet34", path)
    WRITERS[name](path, "layer4_2_conv2")
    assert pretrained.get(found) == path
    assert pretrained.look(found).startswith(f"The weights of resnet34 are there: {path}, 0.0 M")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=rf"^backbone\.weights: {path} cannot be read: .+; name a"):
        pretrained.look(found)
    WRITERS[name](path, "block5_conv4")
    with pytest.raises(InputError, match=r"mine\.\S+ is not of resnet34, it has no layer layer4_2"):
        pretrained.look(found)


def test_what_keras_3_saved_numbers_its_layers(tmp_path):
    path = tmp_path / "mine.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/conv2d_12/vars/0"] = np.ones(3)
    assert pretrained.get(pretrained.find("resnet34", path)) == path


# --- before images are decoded --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "shape", "weights", "scaling", "message"),
    [
        ("vgg19", (31, 40, 3), None, "unit", "dataset.image_size: vgg19 needs .* received 31x40"),
        ("resnet34", (16, 16, None), "x.h5", "unit", "dataset.image_size: .* received 16x16"),
        ("small_residual_cnn", (8, 8, 1), None, "torch", "backbone.scaling: 'torch' needs three"),
        ("small_residual_cnn", (None, None, 1), None, "caffe", "backbone.scaling: 'caffe' needs"),
        ("small_residual_cnn", (8, 8, 1), None, "unit", None),
        ("small_residual_cnn", (8, 8, 1), "x.h5", "caffe", None),  # grey is repeated
        ("resnet50", (None, None, None), None, "caffe", None),
    ],
)
def test_images_that_a_network_cannot_take(network, shape, weights, scaling, message):
    if message is None:
        pretrained.check_input(network, shape, weights, scaling)
    else:
        with pytest.raises(InputError, match=message):
            pretrained.check_input(network, shape, weights, scaling)


@pytest.fixture
def images(tmp_path, monkeypatch) -> Path:
    """A folder of images of 40x40 pixels that nobody may decode."""

    def decode(*_: object, **__: object) -> None:
        raise AssertionError("an image was decoded")

    for i in range(12):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 40), 10 * i, np.uint8)).save(path)
    monkeypatch.setattr("lsplus_tf.datasets.image_files.decode", decode)
    monkeypatch.setattr("lsplus_tf.datasets.image_files.decode_whole", decode)
    return tmp_path / "images"


# What is known of the images' shape from the start, and what only they say.
KNOWN = ["dataset.image_size=48", "dataset.channels=3"]
GIVEN = [[], KNOWN, [*KNOWN, "dataset.drop=[blank]"], KNOWN[:1]]


@pytest.mark.parametrize("settings", GIVEN, ids=" ".join)
@EACH_NETWORK
def test_weights_are_had_before_images_are_decoded(nobody, images, network, settings):
    """Whether the config says what shape the images have or only they do."""
    experiment = experiment_with(
        f"dataset.name=folder:{images}",
        f"backbone={{name: {network}, weights: imagenet, width: 1.0}}",
        *settings,
    )
    for decode in (True, False):
        with pytest.raises(MissingDataError, match=r"^backbone\.weights: the ImageNet weights of"):
            load_data(experiment, decode=decode)


@pytest.mark.parametrize("settings", GIVEN, ids=" ".join)
def test_own_weights_are_looked_for_before_images_are_decoded(images, settings):
    experiment = experiment_with(
        f"dataset.name=folder:{images}",
        "backbone={name: vgg19, weights: nowhere.h5, width: 1.0}",
        *settings,
        "dataset.drop=[blank]",  # for which images are decoded before their shape is known
    )
    with pytest.raises(MissingDataError, match=r"^backbone\.weights: no such file .*nowhere\.h5"):
        load_data(experiment)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("{name: vgg19, width: 1.0}", r"dataset\.image_size: vgg19 needs .* received 24x24"),
        ("{scaling: caffe}", r"backbone\.scaling: 'caffe' needs three channels"),
    ],
)
def test_shapes_are_checked_before_images_are_decoded(images, backbone, message):
    settings = ["dataset.image_size=24", f"dataset.name=folder:{images}", f"backbone={backbone}"]
    with pytest.raises(InputError, match=message):
        load_data(experiment_with(*settings))


@pytest.mark.parametrize("command", ["train", "reproduce"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_without_weights_ends_at_once(call, nobody, images, tmp_path, command, workers):
    out = tmp_path / "out"
    code, _, stderr = call(
        command,
        "digits",
        *("--out", out),
        *("--workers", workers),
        *("--set", f"dataset.name=folder:{images}"),
        *("--set", "backbone={name: resnet34_preact, weights: imagenet, width: 1.0}"),
    )
    assert code == 2
    assert stderr.startswith(
        "error: backbone.weights: the ImageNet weights of resnet34_preact are "
    )
    assert stderr.count("\n") == 1
    assert not out.exists()


def test_a_run_tells_of_the_download(call, host, images, tmp_path):
    """And that what came does not fit, before images are decoded."""
    code, stdout, stderr = call(
        "train",
        "digits",
        *("--out", tmp_path / "out"),
        *("--set", f"dataset.name=folder:{images}"),
        *("--set", "backbone={name: mobilenet_v2, weights: imagenet, width: 1.0}"),
    )
    assert code == 2
    assert "\nDownloading the ImageNet weights of mobilenet_v2 from http://127.0.0.1" in stdout
    assert stderr.startswith("error: backbone.weights: ")
    assert "was published (Layer count mismatch" in stderr
    assert not (tmp_path / "out").exists()
