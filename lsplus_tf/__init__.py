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
        backbones,
        calibrators,
        callbacks,
        datasets,
        geodesic,
        losses,
        metrics,
        paper,
        plots,
        priors,
    )
    from lsplus_tf.callbacks import OnlineLabelSmoothing
    from lsplus_tf.losses import (
        HardLabelLoss,
        LabelSmoothingLoss,
        LSPlusLoss,
        OnlineLabelSmoothingLoss,
    )
    from lsplus_tf.metrics import evaluate
    from lsplus_tf.priors import class_accuracy, informed_prior

_SUBPACKAGES = (
    "backbones",
    "calibrators",
    "callbacks",
    "datasets",
    "geodesic",
    "losses",
    "metrics",
    "paper",
    "plots",
    "priors",
)
_MODULE_OF = {
    "OnlineLabelSmoothing": "callbacks",
    "HardLabelLoss": "losses",
    "LabelSmoothingLoss": "losses",
    "LSPlusLoss": "losses",
    "OnlineLabelSmoothingLoss": "losses",
    "evaluate": "metrics",
    "class_accuracy": "priors",
    "informed_prior": "priors",
}
__all__ = [
    "HardLabelLoss",
    "LSPlusLoss",
    "LabelSmoothingLoss",
    "OnlineLabelSmoothing",
    "OnlineLabelSmoothingLoss",
    "backbones",
    "calibrators",
    "callbacks",
    "class_accuracy",
    "datasets",
    "evaluate",
    "geodesic",
    "informed_prior",
    "losses",
    "metrics",
    "paper",
    "plots",
    "priors",
]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"lsplus_tf.{name}")
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"lsplus_tf.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'lsplus_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
