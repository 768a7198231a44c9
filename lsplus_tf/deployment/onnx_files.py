"""ONNX files, by the converter tf2onnx."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from lsplus_tf.calibrators import Calibrator, PredictionSets
from lsplus_tf.deployment.model import TrainedModel
from lsplus_tf.errors import one_line
from lsplus_tf.files import FileKind, OutputError, begins_with
from lsplus_tf.version import __version__

_PRODUCER = "lsplus_tf export"
_LENGTH = bytes([len(_PRODUCER)])
# Protocol buffers: field 1 is the version of the format, field 2 the producer's name.
ONNX_FILE = FileKind(
    "an ONNX file of export",
    begins_with(rb"(?s)\x08.\x12" + _LENGTH + _PRODUCER.encode()),
)
_INSTALL = 'pip install "lsplus_tf[onnx]"'
# Between probabilities of the converted model and of the other.
_TOLERANCE, _OF_FLOAT16 = 1e-3, 1e-2


def check_installed(argument: str) -> None:
    """Raise `OutputError` unless the packages are there that write ONNX files."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise OutputError(
            argument,
            f"an ONNX file needs the packages tf2onnx, onnx and onnxruntime; {_INSTALL} "
            f"({one_line(error)})",
        ) from error


def convert(
    trained: TrainedModel,
    calibrator: Calibrator | None,
    abstain_below: float,
    sets: PredictionSets | None,
    metadata: dict[str, str],
) -> bytes:
    """The model as the content of an ONNX file, whose outputs are those of `graph.outputs`.

    The same pixels are given to both, and the outputs compared.

    Raises
    ------
    OutputError
        Something in the model cannot be converted.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    from lsplus_tf.deployment.graph import OnnxOps, outputs

    precisions = {layer.compute_dtype for layer in trained.model._flatten_layers()}
    if "bfloat16" in precisions:
        raise OutputError(
            "out",
            "expected a network that computes in float32 or float16, which tf2onnx converts, "
            "received one in bfloat16; a SavedModel takes it",
        )
    pixels = tf.TensorSpec((None, *trained.image_shape), tf.float32, name="pixels")
    of_pixels = tf.function(
        outputs(trained, calibrator, abstain_below, sets, OnnxOps()), input_signature=[pixels]
    )
    with _quiet():
        try:
            proto, _ = tf2onnx.convert.from_function(of_pixels, [pixels])
        except Exception as error:  # converters stumble in all ways
            raise _refused(one_line(error, 200)) from error
    proto.producer_name, proto.producer_version = _PRODUCER, __version__
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(proto, metadata)
    content: bytes = proto.SerializeToString()
    random = np.random.default_rng(0).integers(0, 256, (3, *trained.image_shape))
    expected = {name: each.numpy() for name, each in of_pixels(random.astype("float32")).items()}
    received = _run(content, random.astype(np.float32))
    most = _OF_FLOAT16 if "float16" in precisions else _TOLERANCE
    apart = np.abs(received["probabilities"] - expected["probabilities"]).max()
    if not apart <= most or {*received} != {*expected}:
        raise _refused(f"its probabilities of the same images differ by {apart:.2g}")
    return content


def _run(content: bytes, pixels: Any) -> dict[str, Any]:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {"pixels": pixels}), strict=True))
    except Exception as error:  # of its own kinds, which it does not name
        raise _refused(one_line(error, 200)) from error


def _refused(why: str) -> OutputError:
    return OutputError(
        "out",
        f"expected a model that tf2onnx converts, it cannot this one ({why}); a SavedModel takes "
        "it",
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converter's log, which says in many lines what an error says in one."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
