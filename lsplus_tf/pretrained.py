"""Where pretrained weights are, whether they can be had, and getting them; without TensorFlow.

Published weights lie in Keras's cache, under the names and from the addresses that Keras has for
them. `find` says which file a network needs, `look` whether a run would have it, and `get` has it
there, before anything long begins.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
import queue
import re
import shutil
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py

from lsplus_tf import files, hdf5_files, keras_files
from lsplus_tf.errors import InputError, MissingDataError, one_line

__all__ = [
    "SUFFIXES",
    "Weights",
    "check_input",
    "check_kind",
    "find",
    "get",
    "look",
    "not_published",
]

SUFFIXES = (".keras", ".h5", ".hdf5", ".safetensors")  # .weights.h5 is one of .h5
# Seconds until a host has answered: a run waits, as for a slow proxy, and a dry run is quick.
_PATIENCE = 30.0
_PATIENCE_OF_LOOK = 5.0
_STALLED = 30.0  # seconds without a byte in a download
_LONGEST = 200  # characters of an error
_LEAST_PIXELS = 32  # of a side, which five halvings leave one pixel of

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
# Address and MD5. Keras has no MD5 for MobileNetV2, see `_published`.
_PUBLISHED = {
    "resnet50": (
        f"{_KERAS}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
    "vgg19": (
        f"{_KERAS}/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "253f8cb515780f3b799900260a226db6",
    ),
    # Converted from MXNet by the authors of image-classifiers; for pixels 0..255.
    "resnet34_preact": (
        "https://github.com/qubvel/classification_models/releases/download/0.0.1/"
        "resnet34_imagenet_1000_no_top.h5",
        "8caaa0ad39d927cb8ba5385bf945d582",
    ),
}
# The last layer with a kernel of each network, as files name it: one that no other network has.
_LAST_LAYER = {
    "small_residual_cnn": "stage3_conv2",
    "mobilenet_v2": "Conv_1",
    "resnet34": "layer4_2_conv2",
    "resnet34_preact": "stage4_unit3_conv2",
    "resnet50": "conv5_block3_3_conv",
    "vgg19": "block5_conv4",
}
_MOBILENET_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
_MOBILENET_SIZES = (96, 128, 160, 192)  # pixels, beside 224

SCRATCH = "train from scratch with --set backbone.weights=null"


@dataclass(frozen=True)
class Weights:
    """A file of pretrained weights.

    Attributes
    ----------
    network : str
        The backbone's name.
    path : Path
        Where it is, or is to be put.
    published : bool
        Whether it is one of ImageNet that was published for this network, and not one's own.
    url : str or None
        Where it is downloaded from, if it is not there.
    md5 : str or None
        Of the whole file, if it is known.
    """

    network: str
    path: Path
    published: bool = False
    url: str | None = None
    md5: str | None = None

    @property
    def is_there(self) -> bool:
        return self.path.exists()

    def __str__(self) -> str:
        return f"{'ImageNet weights' if self.published else 'weights'} of {self.network}"


def check_input(
    network: str, image_shape: Sequence[int | None], weights: str | Path | None, scaling: str
) -> None:
    """Raise `InputError` for images that a network, or its pixel scaling, cannot take.

    Parameters
    ----------
    network : str
        The backbone's name.
    image_shape : sequence of int or None, length 3
        (H, W, C), None for what is not known.
    weights, scaling
        As in `lsplus_tf.backbones.build_classifier`.
    """
    height, width, channels = image_shape
    sides = [side for side in (height, width) if side is not None]
    if network != "small_residual_cnn" and sides and min(sides) < _LEAST_PIXELS:
        raise InputError(
            f"dataset.image_size: {network} needs images of at least "
            f"{_LEAST_PIXELS}x{_LEAST_PIXELS} pixels, received {height}x{width}"
        )
    if weights is not None and channels == 1:
        channels = 3  # grey is repeated
    if scaling in ("caffe", "torch") and channels not in (3, None):
        raise InputError(
            f"backbone.scaling: {scaling!r} needs three channels; set dataset.channels: 3"
        )


def find(
    network: str,
    weights: str | Path | None,
    width: float = 1.0,
    image_shape: Sequence[int | None] = (None, None),
) -> Weights | None:
    """The file that a network is to have its weights from, which need not be there.

    Parameters
    ----------
    network, weights, width
        As in `lsplus_tf.backbones.build_classifier`.
    image_shape : sequence of int or None
        Begins with H and W. MobileNetV2 has weights for several sizes.

    Returns
    -------
    Weights or None
        None without weights, and where it depends on a size that is not known.

    Raises
    ------
    InputError
        The network has no published weights, or none of this width.

    Examples
    --------
    >>> find("vgg19", "imagenet").path.name
    'vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5'
    >>> find("mobilenet_v2", "imagenet", 0.35, (96, 96)).path.name
    'mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5'
    """
    if weights is None:
        return None
    published = _published(network, width, image_shape[:2])
    if weights != "imagenet":
        path = files.expanded(weights, "backbone.weights")
        if published is not None and path.name == _file_name(published[0]):
            return Weights(network, path, published=True, md5=published[1])
        return Weights(network, path)
    if published is not None:
        url, md5 = published
        return Weights(network, _place(_file_name(url)), published=True, url=url, md5=md5)
    if network != "mobilenet_v2":
        raise InputError(f"backbone.weights: {network} has no ImageNet weights here, name a file")
    if width not in _MOBILENET_WIDTHS:
        widths = ", ".join(map(str, _MOBILENET_WIDTHS))
        raise InputError(
            f"backbone.width: the ImageNet weights of {network} are of {widths}, received {width:g}"
        )
    return None


def look(weights: Weights) -> str:
    """What a run will find, in a sentence; nothing is written, and no more than a header is asked.

    Parameters
    ----------
    weights : Weights

    Raises
    ------
    InputError
        A run would fail: the file is damaged or of another network, or is not there and cannot be
        had.
    """
    if weights.url is None or weights.is_there:
        _check(weights)
        return f"The {weights} are there: {weights.path}, {_mib(weights.path.stat().st_size)}."
    size = _ask(weights.url, weights, _PATIENCE_OF_LOOK)
    told = "size unknown" if size is None else _mib(size)
    return (
        f"The {weights} are not there yet, and are downloaded from {weights.url} ({told}; the host "
        f"answers) to {weights.path}."
    )


def get(weights: Weights, on_download: Callable[[str], None] = lambda _: None) -> Path:
    """The file of weights, downloaded if it is not there.

    Of several processes one downloads, and the others wait for it. A file is in its place when it
    is whole. What is in its place, and damaged, is left there.

    Parameters
    ----------
    weights : Weights
    on_download : callable, optional
        Told what is downloaded, in a sentence.

    Raises
    ------
    InputError
        The file is damaged or of another network.
    MissingDataError
        It is not there, and cannot be had.
    """
    url = weights.url
    if url is not None and not weights.is_there:
        size = _ask(url, weights, _PATIENCE)
        try:
            with files.locked(weights.path):
                if not weights.is_there:  # by another process
                    told = "" if size is None else f" ({_mib(size)})"
                    on_download(f"Downloading the {weights} from {url}{told}")
                    _download(url, weights, size)
        except (OSError, http.client.HTTPException) as error:
            raise _not_to_be_had(weights, error) from error
    _check(weights)
    return weights.path


def check_kind(path: Path) -> None:
    """Raise `InputError` unless a file of one's own is there, of a kind that can be read here.

    Parameters
    ----------
    path : Path
    """
    if path.is_dir():
        raise InputError(
            f"backbone.weights: expected a file, {path.absolute()} is a folder; name a file with "
            f"--set backbone.weights=FILE, or {SCRATCH}"
        )
    if not path.is_file():
        raise MissingDataError(
            f"backbone.weights: no such file {path.absolute()}; name one that is there with --set "
            f"backbone.weights=FILE, or {SCRATCH}"
        )
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"backbone.weights: expected a .weights.h5 file or one of {', '.join(SUFFIXES)}, "
            f"received {path}"
        )
    if path.suffix == ".safetensors" and importlib.util.find_spec("safetensors") is None:
        raise InputError(
            "backbone.weights: a .safetensors file needs the package safetensors: "
            "pip install 'lsplus_tf[safetensors]'"
        )


# --- what is published ----------------------------------------------------------------------------


def _published(
    network: str, width: float, sides: Sequence[int | None]
) -> tuple[str, str | None] | None:
    """Address and MD5; None where there is none, or it depends on what is not known."""
    if network != "mobilenet_v2":
        return _PUBLISHED.get(network)
    if width not in _MOBILENET_WIDTHS or None in sides:
        return None
    height, across = sides
    size = height if height == across and height in _MOBILENET_SIZES else 224  # as Keras chooses
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(width)}_{size}_no_top.h5"
    return f"{_KERAS}/mobilenet_v2/{name}", None


def _file_name(url: str) -> str:
    return url.rpartition("/")[2]


def _place(name: str) -> Path:
    """Where a published file is in Keras's cache, or is put if it is in none of its folders."""
    home = os.environ.get("KERAS_HOME")
    temporary = Path("/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()) / ".keras"
    if home is None:
        base = os.path.expanduser("~")
        caches = [Path(base) / ".keras"] if os.access(base, os.W_OK) else []
    else:
        caches = [Path(home).expanduser()]
    # Keras's second choice where it cannot write to the first.
    paths = [cache / "models" / name for cache in (*caches, temporary)]
    for path in paths:
        if path.is_file():
            return path
    return next((path for path in paths if _can_be_written(path.parent)), paths[0])


def _can_be_written(folder: Path) -> bool:
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


# --- the network ----------------------------------------------------------------------------------


def _ask(url: str, weights: Weights, patience: float) -> int | None:
    """The bytes of a file that is to be downloaded, None if the host does not say.

    The host is asked once, and has `patience` to answer, looking up its name included.
    """
    answers: queue.SimpleQueue[int | Exception | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_size(url, patience))
        except Exception as error:  # told by the other thread
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=patience)
    except queue.Empty:
        answer = TimeoutError(f"no answer within {patience:g} seconds")
    if isinstance(answer, Exception):
        raise _not_to_be_had(weights, answer) from answer
    return answer


def _size(url: str, patience: float) -> int | None:
    # One byte of the file: hosts that sign their addresses for GET refuse HEAD.
    request = urllib.request.Request(url, headers={"Range": "bytes=0-0"})
    with urllib.request.urlopen(request, timeout=patience) as answer:
        ranged = re.search(r"/(\d+)$", answer.headers.get("Content-Range") or "")
        told = ranged[1] if ranged else answer.headers.get("Content-Length")
        return None if told is None else int(told)


def _download(url: str, weights: Weights, size: int | None) -> None:
    with files.written_whole(weights.path) as partial:
        with (
            urllib.request.urlopen(url, timeout=_STALLED) as answer,
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file)
        received = partial.stat().st_size
        if size is not None and received != size:
            raise ConnectionError(f"it ended after {received} of {size} bytes")
        damage = _damage(partial, weights.md5)
        if damage is not None:
            raise ConnectionError(f"what came is damaged: {damage}")


def _not_to_be_had(weights: Weights, error: Exception) -> MissingDataError:
    inner = getattr(error, "reason", None)  # of urllib's, which has a word around it
    why = one_line(inner if isinstance(inner, Exception) else error, _LONGEST)
    return MissingDataError(
        f"backbone.weights: the {weights} are not there, expected at {weights.path}, and "
        f"cannot be had from {weights.url} ({why}); download that file elsewhere and put it "
        f"there or name it with --set backbone.weights=FILE, or {SCRATCH}"
    )


# --- what is in a file ----------------------------------------------------------------------------


def _check(weights: Weights) -> None:
    """Check a file as far as can be told without the network; see `get` for what is raised."""
    path = weights.path
    if weights.published and path.is_file():
        damage = _damage(path, weights.md5)
        if damage is not None:
            raise not_published(weights, damage)
        return
    check_kind(path)
    try:
        layers = _layer_names(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"backbone.weights: {path} cannot be read: {_why(error)}; name a whole file, or "
            f"{SCRATCH}"
        ) from error
    wanted = _LAST_LAYER[weights.network]
    if layers is not None and wanted not in layers:
        raise InputError(
            f"backbone.weights: {path} is not of {weights.network}, it has no layer {wanted}; name "
            f"another file, or {SCRATCH}"
        )


def not_published(weights: Weights, why: str) -> InputError:
    """The error for a file that lies where a published one belongs.

    Parameters
    ----------
    weights : Weights
    why : str
        What tells it from the published one.
    """
    remedy = f"delete it, and it is downloaded again from {weights.url}" if weights.url else ""
    return InputError(
        f"backbone.weights: {weights.path} is not the file of {weights} that was published "
        f"({why}); {remedy}{', or ' * bool(remedy)}put the whole file there"
    )


def _damage(path: Path, md5: str | None) -> str | None:
    """What is wrong with a published file; None if nothing is."""
    try:
        with hdf5_files.opened(path) as file:
            of_keras_2 = _names_layers(file)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    except (OSError, ValueError) as error:
        return _why(error)
    if md5 is not None and digest.hexdigest() != md5:
        return f"MD5 {md5} expected, received {digest.hexdigest()}"
    return None if of_keras_2 else "a file of Keras 2 expected, it names no layers"


def _why(error: Exception) -> str:
    """Why a file cannot be read, HDF5's words about a file that is cut off in ours."""
    cut = re.search(r"truncated file: eof = (\d+),.*stored_eof = (\d+)", str(error))
    return f"cut off after {cut[1]} of {cut[2]} bytes" if cut else one_line(error, _LONGEST)


def _layer_names(path: Path) -> set[str] | None:
    """The layers that a file names, parts of other names among them; None if it numbers them."""
    match path.suffix:
        case ".keras":
            with keras_files.opened(path) as archive:
                return _named(keras_files.read_json(archive, "config.json"))
        case ".safetensors":
            return _tensor_layers(path)
    with hdf5_files.opened(path) as file:
        group = file.get("model_weights", file)  # of a file with a whole model
        if not _names_layers(file):
            return None  # Keras 3's
        names: set[str] = set()
        group.visit(lambda place: names.update(place.split("/")))
        return names


def _names_layers(file: h5py.File) -> bool:
    """Whether a file is of Keras 2, which lists the layers in one attribute or in several."""
    group = file.get("model_weights", file)  # of a file with a whole model
    return any(key.startswith("layer_names") for key in group.attrs)


def _named(config: object) -> set[str]:
    """All values of "name" in a model's config."""
    if isinstance(config, dict):
        own = {config["name"]} if isinstance(config.get("name"), str) else set()
        return own.union(*map(_named, config.values()))
    return set().union(*map(_named, config)) if isinstance(config, list) else set()


def _tensor_layers(path: Path) -> set[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {key.rpartition(".")[0].replace(".", "_") for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(one_line(error)) from error


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
