"""Arrays in configs, which Keras writes as JSON: lists where they are small, else packed."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

# As a list of numbers, 1,000 classes' prior takes 22 MB and 2 seconds.
_LARGE = 10_000


def held(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """`array` as it comes back from a config: large ones with the precision of float32."""
    return array.astype(np.float32).astype(np.float64) if array.size > _LARGE else array


def storage_dtype(array: NDArray[np.float64]) -> type[np.floating]:
    """In which dtype an array that is `held` loses nothing."""
    return np.float32 if array.size > _LARGE else np.float64


def packed(array: NDArray[np.float64]) -> Any:
    """What a config holds of an array that is `held`."""
    if array.size <= _LARGE:
        return array.tolist()
    data = zlib.compress(np.ascontiguousarray(array, np.dtype("<f4")).tobytes())
    return {"float32": base64.b64encode(data).decode("ascii"), "shape": list(array.shape)}


def unpacked(value: Any) -> Any:
    """The array of what `packed` gave; anything else as it is."""
    if not isinstance(value, dict) or set(value) != {"float32", "shape"}:
        return value
    data = zlib.decompress(base64.b64decode(value["float32"]))
    return np.frombuffer(data, "<f4").reshape(value["shape"]).astype(np.float64)
