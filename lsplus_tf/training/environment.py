"""The process that trains: CPU kernels, precision, seeds, and what it was run on."""

from __future__ import annotations

import gc
import logging
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lsplus_tf.config import Backbone, Protocol
from lsplus_tf.errors import InputError
from lsplus_tf.training.several_hosts import connected, hosts

_REPORTED_PACKAGES = ("lsplus_tf", "tensorflow", "keras", "numpy", "scikit-learn", "scipy")


def import_tensorflow(backbone: Backbone, image_size: int | None) -> None:
    """Import TensorFlow with the CPU kernels that suit the network, and without its notices.

    GPU memory is taken as it is needed, so that processes can share a GPU and its peak tells what a
    training needs, unless `TF_FORCE_GPU_ALLOW_GROWTH` in the environment says otherwise.

    oneDNN's kernels, which TensorFlow turns on by itself on some processors only, train the
    networks here 1.1 to 6 times as fast, except MobileNetV2 on images of about 32 px, whose
    depthwise convolutions they slow down to 0.7 (`benchmarks/bench_cpu_kernels.py`). If it is set
    in the environment, `TF_ENABLE_ONEDNN_OPTS` decides. The kernels stay as they are if TensorFlow
    is imported already.

    Several hosts are connected then, see `lsplus_tf.training.several_hosts`.
    """
    # Holds until TensorFlow first touches a GPU, which importing it does not.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if "tensorflow" not in sys.modules:
        _import_quietly(backbone, image_size)
    if hosts().count > 1:
        connected()


def _import_quietly(backbone: Backbone, image_size: int | None) -> None:
    slower = backbone.name == "mobilenet_v2" and image_size is not None and image_size < 48
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0" if slower else "1")
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") in ("0", "1"):  # somebody wants to know
        return
    # Most notices are written before the log level applies, so the process's standard error is
    # turned away meanwhile; what was written is shown if the import fails.
    sys.stderr.flush()
    # An import leaves little to collect, and looking for it takes a sixth of its time.
    collects = gc.isenabled()
    gc.disable()
    with tempfile.TemporaryFile() as notices:
        stderr = os.dup(2)
        os.dup2(notices.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            notices.seek(0)
            os.write(stderr, notices.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if collects:
                gc.enable()


@contextmanager
def settled_process(protocol: Protocol, seed: int) -> Iterator[None]:
    """Seeds, precision and determinism of a run; what earlier runs of the process left is dropped.

    The precision policy is put back afterwards; seeds and determinism, which TensorFlow cannot
    unset, stay. TensorFlow's advice on retracing is left out: each run has functions of its own.
    """
    import keras
    import tensorflow as tf

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    if protocol.deterministic:
        tf.config.experimental.enable_op_determinism()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(protocol.precision)
    tf.get_logger().addFilter(_not_about_retracing)
    try:
        yield
    finally:
        tf.get_logger().removeFilter(_not_about_retracing)
        keras.config.set_dtype_policy(before)


def _not_about_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


@contextmanager
def told_which_file() -> Iterator[None]:
    """Raise again what the input pipeline raised in Python, which TensorFlow makes a traceback."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(rf"{InputError.__name__}: (.*)", str(error))
        if found is None:
            raise
        raise InputError(found[1]) from error


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Send what the package logs to a file as well, if this is the chief."""
    if not hosts().is_chief:
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("lsplus_tf")
    level = package.level
    package.setLevel(logging.INFO)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()


def package_versions() -> dict[str, str]:
    """The versions of the packages that results depend on."""
    return {name: version(name) for name in _REPORTED_PACKAGES}


def describe_environment() -> dict[str, Any]:
    """Versions and hardware, for a run's record."""
    import tensorflow as tf

    return {
        "python": platform.python_version(),
        "packages": package_versions(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpus": [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.list_physical_devices("GPU")
        ],
        # Whether GPUs that can multiply float32 matrices with 11 significant bits.
        "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled()
        and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0",
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
