"""The process that trains: CPU kernels, precision, seeds, and what it was run on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

from lsplus_tf.config import Backbone, Protocol

_REPORTED_PACKAGES = ("lsplus_tf", "tensorflow", "keras", "numpy", "scikit-learn", "scipy")


def choose_cpu_kernels(backbone: Backbone, image_size: int | None) -> None:
    """Turn on oneDNN's CPU kernels where they were measured to be faster.

    TensorFlow leaves them off on some processors, where they train the networks here 1.1 to 6
    times as fast, except MobileNetV2 on images of about 32 px, whose depthwise convolutions they
    slow down to 0.65 (`benchmarks/bench_cpu_kernels.py`). Must be called before TensorFlow is
    imported; `TF_ENABLE_ONEDNN_OPTS` in the environment decides if it is set.
    """
    slower = backbone.name == "mobilenet_v2" and image_size is not None and image_size < 48
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0" if slower else "1")


def quiet_tensorflow() -> None:
    """Keep TensorFlow's start-up notices off the terminal, unless the user set the level."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def start_run(protocol: Protocol, seed: int) -> None:
    """Set seeds, precision and determinism; what earlier runs of the process left is dropped."""
    import keras
    import tensorflow as tf

    keras.backend.clear_session()
    keras.config.set_dtype_policy(protocol.precision)
    keras.utils.set_random_seed(seed)
    if protocol.deterministic:
        tf.config.experimental.enable_op_determinism()


def describe_environment() -> dict[str, Any]:
    """Versions and hardware, for a run's record."""
    import tensorflow as tf

    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _REPORTED_PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpus": [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.list_physical_devices("GPU")
        ],
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "TensorFlow's choice"),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
    except OSError:  # not Linux
        names = []
    return names[0] if names else platform.processor()
