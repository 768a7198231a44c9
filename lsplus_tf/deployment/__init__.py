"""A trained model put to use: image files to calibrated probabilities, and one model to pass on."""

from lsplus_tf.deployment.exporting import export
from lsplus_tf.deployment.model import (
    TrainedModel,
    calibrator_beside,
    check_calibrator,
    check_sets,
    find_model,
    open_model,
    unnamed,
)
from lsplus_tf.deployment.prediction import PredictedBatch, find_images, predict_files

__all__ = [
    "PredictedBatch",
    "TrainedModel",
    "calibrator_beside",
    "check_calibrator",
    "check_sets",
    "export",
    "find_images",
    "find_model",
    "open_model",
    "predict_files",
    "unnamed",
]
