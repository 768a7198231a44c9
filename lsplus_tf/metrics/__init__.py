"""Metrics of classification, calibration and selective prediction, exact and in NumPy.

`lsplus_tf.metrics.keras` has streaming versions for `compile(metrics=...)`; it alone needs
TensorFlow.
"""

# ruff: noqa: F403
# What a module of this room offers stands in its `__all__`, and nowhere else.

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from lsplus_tf.metrics import (
    annotators,
    brier,
    calibration,
    calibration_curves,
    corp,
    decision,
    delong,
    estimators,
    features,
    functional,
    method_comparison,
    one_vs_rest,
    operating,
    recalibration,
    records,
    selective,
    sets,
    statistics,
    truth,
)
from lsplus_tf.metrics.annotators import *
from lsplus_tf.metrics.brier import *
from lsplus_tf.metrics.calibration import *
from lsplus_tf.metrics.calibration_curves import *
from lsplus_tf.metrics.corp import *
from lsplus_tf.metrics.decision import *
from lsplus_tf.metrics.delong import *
from lsplus_tf.metrics.estimators import *
from lsplus_tf.metrics.features import *
from lsplus_tf.metrics.functional import *
from lsplus_tf.metrics.method_comparison import *
from lsplus_tf.metrics.one_vs_rest import *
from lsplus_tf.metrics.operating import *
from lsplus_tf.metrics.recalibration import *
from lsplus_tf.metrics.records import *
from lsplus_tf.metrics.selective import *
from lsplus_tf.metrics.sets import *
from lsplus_tf.metrics.statistics import *
from lsplus_tf.metrics.truth import *
from lsplus_tf.predictions.arrays import softmax

__all__ = ["softmax"]
__all__ += annotators.__all__
__all__ += brier.__all__
__all__ += calibration.__all__
__all__ += decision.__all__
__all__ += calibration_curves.__all__
__all__ += delong.__all__
__all__ += corp.__all__
__all__ += estimators.__all__
__all__ += features.__all__
__all__ += functional.__all__
__all__ += method_comparison.__all__
__all__ += one_vs_rest.__all__
__all__ += operating.__all__
__all__ += recalibration.__all__
__all__ += records.__all__
__all__ += selective.__all__
__all__ += sets.__all__
__all__ += statistics.__all__
__all__ += truth.__all__


if TYPE_CHECKING:
    from lsplus_tf.metrics import keras as keras
else:

    def __getattr__(name: str) -> ModuleType:
        if name == "keras":
            return importlib.import_module("lsplus_tf.metrics.keras")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "keras"})
