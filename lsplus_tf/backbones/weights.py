"""Weights of a backbone from a file: Keras's three formats, and safetensors in PyTorch's names.

A file is matched layer by layer and weight by weight, by name, except Keras 3's `.weights.h5`,
which counts the layers of each class and which Keras itself reads.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from lsplus_tf import files, hdf5_files, keras_files
from lsplus_tf.errors import InputError, one_line, some_of
from lsplus_tf.pretrained import SCRATCH, Weights, check_kind, not_published

# The arrays of a file: by layer, then by weight.
Layers = dict[str, dict[str, NDArray[np.generic]]]

_LONGEST = 300  # characters of an error
_SHOWN = 5


def load_weights(backbone: keras.Model, path: str | Path) -> None:
    """Give every layer of `backbone` the weights that a file has for it.

    Parameters
    ----------
    backbone : keras.Model
        A network without its head.
    path : str or Path
        A `.weights.h5` file of the backbone; a `.keras` model; an `.h5` or `.hdf5` file that Keras
        2 wrote, with weights or a whole model, such as those of RadImageNet and of
        image-classifiers; a `.safetensors` file with torchvision's names. Dense layers of the file
        that the backbone does not have are its head, and are left.

    Raises
    ------
    MissingDataError
        No such file.
    InputError
        The file cannot be read; or it lacks weights, has others, or of other shapes, each of which
        is named.

    Examples
    --------
    >>> import tempfile
    >>> from lsplus_tf.backbones import build_classifier, load_weights
    >>> model = build_classifier("small_residual_cnn", (8, 8, 1), num_classes=3, width=0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "mine.weights.h5"
    ...     model.get_layer("backbone").save_weights(path)
    ...     load_weights(model.get_layer("backbone"), path)
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"path: expected a str or Path of a file of weights, received {path!r}")
    path = files.expanded(path, "path")
    check_kind(path)
    readers = {
        ".keras": _read_keras,
        ".h5": _read_keras_2,
        ".hdf5": _read_keras_2,
        ".safetensors": _read_safetensors,
    }
    try:
        if path.name.endswith(".weights.h5") and not _is_of_keras_2(path):
            _load_keras_3(backbone, path)
            return
        found = readers[path.suffix](path)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"backbone.weights: {path} cannot be read: {one_line(error, _LONGEST)}"
        ) from error
    _assign(backbone, found, path)


def load_published(backbone: keras.Model, weights: Weights) -> None:
    """Load a file that Keras published for one of its own networks, as Keras does."""
    try:
        with hdf5_files.opened(weights.path):
            pass
        backbone.load_weights(weights.path)  # layer by layer, in the network's order
    except (OSError, ValueError, KeyError) as error:
        raise not_published(weights, one_line(error, _LONGEST)) from error
    _check_loaded(backbone, weights.path)


def _assign(backbone: keras.Model, found: Layers, path: Path) -> None:
    pairs, misfits = [], []
    for layer in backbone.layers:
        if not layer.weights:
            continue
        arrays = found.pop(layer.name, None)
        if arrays is None:
            misfits.append(f"{layer.name} is not in the file")
            continue
        for variable in layer.weights:
            array = arrays.pop(variable.name, None)
            if array is None:
                misfits.append(f"{layer.name} has no {variable.name} in the file")
            elif array.dtype.kind not in "biuf":
                misfits.append(f"{layer.name}: {variable.name} holds no real numbers")
            elif array.shape != tuple(variable.shape):
                misfits.append(
                    f"{layer.name}: {variable.name} of shape {tuple(variable.shape)} expected, "
                    f"received {array.shape}"
                )
            else:
                pairs.append((variable, array))
        misfits += [f"{layer.name} has a {weight} in the file only" for weight in arrays]
    misfits += [f"{name} is in the file only" for name in found if not _is_dense(found[name])]
    if misfits:
        raise _misfit(path, misfits)
    _check_finite(((variable.path, array) for variable, array in pairs), path)
    for variable, array in pairs:
        variable.assign(array)


def _check_loaded(backbone: keras.Model, path: Path) -> None:
    """Of what Keras's own loaders have loaded already."""
    _check_finite(((weight.path, weight.numpy()) for weight in backbone.weights), path)


def _check_finite(named: Iterable[tuple[str, NDArray[np.generic]]], path: Path) -> None:
    """Refuse arrays that are not finite in float32, before a training becomes NaN of them."""
    with np.errstate(over="ignore"):
        wrong = [name for name, array in named if not np.isfinite(array.astype(np.float32)).all()]
    if wrong:
        raise InputError(
            f"backbone.weights: {path} holds values that are not finite ({some_of(wrong)}); name "
            f"another file, or {SCRATCH}"
        )


def _is_dense(arrays: dict[str, NDArray[np.generic]]) -> bool:
    return {array.ndim for array in arrays.values()} in ({2}, {1, 2})


def _misfit(path: Path, misfits: list[str]) -> InputError:
    shown = "; ".join(misfits[:_SHOWN])
    more = f"; and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
    return InputError(f"backbone.weights: {path} does not fit the backbone: {shown}{more}")


# --- Keras 3 --------------------------------------------------------------------------------------


def _load_keras_3(backbone: keras.Model, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            # Keras also looks for the layers under its private containers, and says so 160 times
            # where a file names them under `layers` alone. A layer that is missing raises.
            warnings.filterwarnings("ignore", "Skipping nested container")
            backbone.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise _misfit(path, _keras_3_misfits(str(error)) or [one_line(error, _LONGEST)]) from error
    _check_loaded(backbone, path)


def _keras_3_misfits(message: str) -> list[str]:
    """The layers that Keras's error names, the first with what is wrong with it."""
    layers = re.findall(r"<\w+ name=([^,>]+)", message.rpartition("could not be loaded:")[2])
    first = re.search(r"for object <\w+ name=([^,>]+)", message)
    if first is None:
        return []
    shapes = re.search(r"variable\.shape=(\(.*?\)), Received: value\.shape=(\(.*?\))", message)
    counts = re.search(r"expected (\d+) variables, but received (\d+)", message)
    if shapes:
        why = f"shape {shapes[1]} expected, received {shapes[2]}"
    elif counts:
        why = f"{counts[1]} weights expected, received {counts[2]}"
    else:
        why = "it does not fit"
    return [
        f"{first[1]}: {why}",
        *(f"{name} does not fit either" for name in layers if name != first[1]),
    ]


def _read_keras(path: Path) -> Layers:
    found: Layers = {}
    for layer in leaf_layers(keras_files.load(path, f"backbone.weights: {path}")):
        if layer.weights:
            if layer.name in found:
                raise ValueError(f"it has two layers {layer.name}")
            found[layer.name] = {weight.name: weight.numpy() for weight in layer.weights}
    return found


def leaf_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers of a model that are no models themselves, those of models within it too."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaf_layers(layer)
        else:
            yield layer


# --- Keras 2 --------------------------------------------------------------------------------------


def _is_of_keras_2(path: Path) -> bool:
    with hdf5_files.opened(path) as file:
        return _names_layers(file.get("model_weights", file))


def _names_layers(group: h5py.Group) -> bool:
    # The attribute is split into layer_names0, layer_names1, ... where it is too long.
    return "layer_names" in group.attrs or "layer_names0" in group.attrs


def _read_keras_2(path: Path) -> Layers:
    with hdf5_files.opened(path) as file:
        group = file.get("model_weights", file)  # of a file with a whole model
        if not _names_layers(group):
            raise ValueError("it is no file of Keras 2; those of Keras 3 end in .weights.h5")
        found: dict[str, dict[str, NDArray[np.generic]]] = defaultdict(dict)
        for name, layer in group.items():
            if not isinstance(layer, h5py.Group):
                raise ValueError(f"it has an array {name} where Keras 2 has a layer")
            arrays = {tuple(place.split("/")[-2:]): item[()] for place, item in _datasets(layer)}
            # A model in the model is one group with all its layers. Else the group's name counts:
            # Keras 2 numbered names inside that occurred in another model of the process.
            nested = len({inner for inner, _ in arrays}) > 1
            for (inner, weight), array in arrays.items():
                # The kernel of a depthwise convolution had a name of its own.
                weight = weight.removesuffix(":0").removeprefix("depthwise_")
                found[inner if nested else name][weight] = array
        return dict(found)


def _datasets(group: h5py.Group) -> list[tuple[str, h5py.Dataset]]:
    """All arrays below a group, with their paths from the root."""
    found: list[tuple[str, h5py.Dataset]] = []

    def collect(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((item.name, item))

    group.visititems(collect)
    return found


# --- PyTorch --------------------------------------------------------------------------------------

_OF_PYTORCH = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def _read_safetensors(path: Path) -> Layers:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, TypeError, KeyError, AttributeError) as error:  # the latter of dtypes
        raise ValueError(one_line(error)) from error
    found: dict[str, dict[str, NDArray[np.generic]]] = defaultdict(dict)
    for key, tensor in tensors.items():
        layer, _, weight = key.rpartition(".")
        arrays = found[layer.replace(".", "_")]
        match tensor.ndim:
            case 4:  # (out, in, height, width)
                name, array = "kernel", tensor.transpose(2, 3, 1, 0)
            case 2:
                name, array = "kernel", tensor.T
            case 1 if weight in _OF_PYTORCH:
                name, array = _OF_PYTORCH[weight], tensor
            case 0:  # num_batches_tracked, which nothing depends on
                continue
            case _:
                raise ValueError(
                    f"its tensor {key} of shape {tensor.shape} does not belong to a network "
                    f"here: expected kernels, and vectors that are called {', '.join(_OF_PYTORCH)}"
                )
        if name in arrays:
            raise ValueError(f"its tensor {key} is there twice, by two names")
        arrays[name] = array
    return dict(found)
