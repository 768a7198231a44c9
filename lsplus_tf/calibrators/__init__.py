"""Post-hoc calibration: from the logits of a trained model to probabilities that hold.

`fit(logits, labels)` on held-out predictions, then `predict_proba(logits)`. All take logits; of a
model that gives probabilities p, log p is as good, as it differs by a constant in each row
(`np.log(np.maximum(p, 1e-38))` where p can be 0), but for `ClassDistributionTemperature`,
`VectorScaling` and `MatrixScaling`, which that constant changes (`ignores_constants` is False).

=============================== ================ ============ ====================================
calibrator                      parameters       same class?  short name
=============================== ================ ============ ====================================
`TemperatureScaling`            1                yes          temperature
`ClassDistributionTemperature`  1                no           class_distribution_temperature
`BiasCorrectedTemperature`      K + 1            no           bias_corrected_temperature
`VectorScaling`                 2 K              no           vector
`MatrixScaling`                 K^2 + K          no           matrix
`DirichletCalibration`          K^2 + K          no           dirichlet
`PlattScaling`                  2 K              no           platt
`IsotonicCalibration`           any              no           isotonic
`HistogramBinning`              K bins           no           histogram
`WeightScaling`                 bins             yes          weight
`LogitNormalization`            2                yes          logit_normalization
`LabelShift`                    2 K + 1          no           label_shift
=============================== ================ ============ ====================================

`LabelShift` is then adapted to the prevalence of a target, which is known, or estimated from its
predictions without labels; `label_shift_test` asks whether another prevalence explains them.

`CALIBRATORS` has them by short name. `Calibrator.load` reads any that was saved. `attach` and
`CalibrationLayer`, which put one into a Keras model, alone need TensorFlow.

`PredictionSets` makes sets of classes of probabilities, calibrated or not, which hold the true one
as often as promised.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lsplus_tf.calibrators.affine import (
    BiasCorrectedTemperature,
    DirichletCalibration,
    MatrixScaling,
    VectorScaling,
)
from lsplus_tf.calibrators.base import CALIBRATORS, Calibrator
from lsplus_tf.calibrators.logit_normalization import LogitNormalization
from lsplus_tf.calibrators.one_vs_rest import HistogramBinning, IsotonicCalibration, PlattScaling
from lsplus_tf.calibrators.prediction_sets import PredictionSets
from lsplus_tf.calibrators.prior_shift import LabelShift
from lsplus_tf.calibrators.shift_test import LabelShiftTest, label_shift_test
from lsplus_tf.calibrators.temperature import ClassDistributionTemperature, TemperatureScaling
from lsplus_tf.calibrators.weight_scaling import WeightScaling

if TYPE_CHECKING:
    from lsplus_tf.calibrators.keras import CalibrationLayer, attach

__all__ = [
    "CALIBRATORS",
    "BiasCorrectedTemperature",
    "CalibrationLayer",
    "Calibrator",
    "ClassDistributionTemperature",
    "DirichletCalibration",
    "HistogramBinning",
    "IsotonicCalibration",
    "LabelShift",
    "LabelShiftTest",
    "LogitNormalization",
    "MatrixScaling",
    "PlattScaling",
    "PredictionSets",
    "TemperatureScaling",
    "VectorScaling",
    "WeightScaling",
    "attach",
    "label_shift_test",
]


if not TYPE_CHECKING:  # to which every name would be known

    def __getattr__(name: str) -> Any:
        if name in ("CalibrationLayer", "attach"):
            return getattr(importlib.import_module("lsplus_tf.calibrators.keras"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
