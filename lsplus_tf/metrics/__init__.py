"""Metrics of classification, calibration and selective prediction, exact and in NumPy."""

from lsplus_tf.metrics.calibration import (
    adaptive_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    static_calibration_error,
)
from lsplus_tf.metrics.functional import (
    accuracy,
    auroc,
    brier_score,
    evaluate,
    f1,
    mean_confidence,
    negative_log_likelihood,
    precision,
    recall,
    softmax,
    top_k_error,
)
from lsplus_tf.metrics.selective import aurc, retention_auc, retention_curve, risk_coverage_curve

__all__ = [
    "accuracy",
    "adaptive_calibration_error",
    "aurc",
    "auroc",
    "brier_score",
    "evaluate",
    "expected_calibration_error",
    "f1",
    "maximum_calibration_error",
    "mean_confidence",
    "negative_log_likelihood",
    "precision",
    "recall",
    "retention_auc",
    "retention_curve",
    "risk_coverage_curve",
    "softmax",
    "static_calibration_error",
    "top_k_error",
]
