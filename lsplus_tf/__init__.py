"""Label smoothing that tells the truth about confidence: LS+ and online label smoothing in Keras.

TensorFlow is imported when a name that needs it is first used, so that the command line answers
at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lsplus_tf.version import __version__ as __version__

if TYPE_CHECKING:
    from lsplus_tf import (
        auditing,
        backbones,
        calibrators,
        callbacks,
        datasets,
        deployment,
        experiments,
        geodesic,
        losses,
        metrics,
        plots,
        predictions,
        priors,
        results,
    )
    from lsplus_tf.auditing import audit
    from lsplus_tf.backbones import fingerprint
    from lsplus_tf.calibrators import PredictionSets
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
    "experiments",
    "geodesic",
    "losses",
    "metrics",
    "plots",
    "predictions",
    "priors",
    "results",
)
_MODULE_OF = {
    "audit": "auditing",
    "fingerprint": "backbones",
    "PredictionSets": "calibrators",
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
    "PredictionSets",
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
    "experiments",
    "fingerprint",
    "geodesic",
    "informed_prior",
    "losses",
    "metrics",
    "plots",
    "predictions",
    "priors",
    "read_predictions",
    "results",
]


if not TYPE_CHECKING:  # to which every name would be known

    def __getattr__(name: str) -> Any:
        if name in _SUBPACKAGES:
            return importlib.import_module(f"lsplus_tf.{name}")
        if name in _MODULE_OF:
            return getattr(importlib.import_module(f"lsplus_tf.{_MODULE_OF[name]}"), name)
        raise AttributeError(f"module 'lsplus_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
