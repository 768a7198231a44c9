"""ONNX files, by the converter tf2onnx."""

from __future__ import annotations

import contextlib
import copy
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
    ".onnx",
)
_INSTALL = 'pip install "lsplus_tf[onnx]"'
# Between probabilities of the converted model and of the other.
_TOLERANCE, _OF_FLOAT16 = 1e-3, 1e-2
# What is as near to a threshold may be on either side of it.
_ROUNDING, _ROUNDING_OF_FLOAT16 = 1e-5, 1e-3


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

    The same pixels are given to both, and the probabilities compared; the other outputs are
    compared with what follows from the converted model's probabilities, but for rounding.

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
    most, rounding = _TOLERANCE, _ROUNDING
    if "float16" in precisions:
        most, rounding = _OF_FLOAT16, _ROUNDING_OF_FLOAT16
    if {*received} != {*expected}:
        raise _refused(f"it gives {', '.join(received)}")
    apart = np.abs(received["probabilities"] - expected["probabilities"]).max()
    if not apart <= most:
        raise _refused(f"its probabilities of the same images differ by {apart:.2g}")
    if wrong := _inconsistent(received, abstain_below, sets, rounding):
        raise _refused(f"what it gives as {wrong} does not follow from its probabilities")
    return content


def _inconsistent(
    received: dict[str, Any], abstain_below: float, sets: PredictionSets | None, rounding: float
) -> str | None:
    """The output that does not follow from the probabilities, if one does not."""
    from lsplus_tf.deployment.graph import inside_sets

    probabilities, predicted = received["probabilities"], received["predicted"]
    top = probabilities.max(axis=1)
    of_predicted = np.take_along_axis(probabilities, predicted[:, np.newaxis], axis=1)[:, 0]
    near = np.abs(top - abstain_below) <= rounding
    wrong = {
        "predicted": of_predicted < top - rounding,
        "confidence": np.abs(received["confidence"] - top) > rounding,
        "abstained": (received["abstained"] != (top < abstain_below)) & ~near,
    }
    if sets is not None:
        fewest, most = copy.copy(sets), copy.copy(sets)
        fewest.thresholds_, most.thresholds_ = (
            sets.thresholds_ - rounding, sets.thresholds_ + rounding,
        )  # fmt: skip
        fewest.allow_empty = True
        least = inside_sets(fewest, probabilities, predicted).numpy()
        largest = inside_sets(most, probabilities, predicted).numpy()
        if not sets.allow_empty:  # a class that alone is inside may be next to its threshold
            largest[np.arange(len(largest)), predicted] = True
        # The ranks of equal probabilities may be others before they are rounded.
        ranked = (np.diff(np.sort(probabilities, axis=1)) > 0).all(axis=1)
        found = received["set"]
        outside = ((least & ~found) | (found & ~largest)).any(axis=1)
        wrong["set"] = outside & (ranked | (sets.method == "lac"))
    return next((name for name, rows in wrong.items() if rows.any()), None)


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
