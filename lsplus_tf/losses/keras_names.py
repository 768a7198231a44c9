"""Names by which Keras finds losses and streaming metrics: in files, and as strings."""

from __future__ import annotations

import importlib
from typing import TypeVar

import keras

Kind = TypeVar("Kind", bound="type[keras.losses.Loss] | type[keras.metrics.Metric]")


def registered(kind: Kind) -> Kind:
    """Register a class as `lsplus_tf>NAME`, for files and for `compile(loss="lsplus_tf>NAME")`."""
    room = "losses" if issubclass(kind, keras.losses.Loss) else "metrics"
    # Keras looks up strings in tables of its own and not among what is registered. It has no
    # public way into them: without them a string is its `ValueError`, and all else works.
    table = getattr(importlib.import_module(f"keras.src.{room}"), "ALL_OBJECTS_DICT", {})
    table[f"lsplus_tf>{kind.__name__}"] = kind
    return keras.saving.register_keras_serializable(package="lsplus_tf")(kind)
