"""Label smoothing that tells the truth about confidence: LS+ and online label smoothing in Keras.

TensorFlow is imported when a name that needs it is first used, so that the command line answers
at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lsplus_tf import (
        auditing,
        backbones,
        calibrators,
        callbacks,
        datasets,
        deployment,
        geodesic,
        losses,
        metrics,
        paper,
        plots,
        predictions,
        priors,
    )
    from lsplus_tf.auditing import audit
    from lsplus_tf.callbacks import OnlineLabelSmoothing
    from lsplus_tf.losses import (
        HardLabelLoss,
        LabelSmoothingLoss,
        LSPlusLoss,
        OnlineLabelSmoothingLoss,
    )
    from lsplus_tf.metrics import evaluate
    from lsplus_tf.predictions import Predictions, read_predictions
    from lsplus_tf.priors import class_accuracy, informed_prior

_SUBPACKAGES = (
    "auditing",
    "backbones",
    "calibrators",
    "callbacks",
    "datasets",
    "deployment",
    "geodesic",
    "losses",
    "metrics",
    "paper",
    "plots",
    "predictions",
    "priors",
)
_MODULE_OF = {
    "audit": "auditing",
    "OnlineLabelSmoothing": "callbacks",
    "HardLabelLoss": "losses",
    "LabelSmoothingLoss": "losses",
    "LSPlusLoss": "losses",
    "OnlineLabelSmoothingLoss": "losses",
    "evaluate": "metrics",
    "Predictions": "predictions",
    "read_predictions": "predictions",
    "class_accuracy": "priors",
    "informed_prior": "priors",
}
__all__ = [
    "HardLabelLoss",
    "LSPlusLoss",
    "LabelSmoothingLoss",
    "OnlineLabelSmoothing",
    "OnlineLabelSmoothingLoss",
    "Predictions",
    "audit",
    "auditing",
    "backbones",
    "calibrators",
    "callbacks",
    "class_accuracy",
    "datasets",
    "deployment",
    "evaluate",
    "geodesic",
    "informed_prior",
    "losses",
    "metrics",
    "paper",
    "plots",
    "predictions",
    "priors",
    "read_predictions",
]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"lsplus_tf.{name}")
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"lsplus_tf.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'lsplus_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
