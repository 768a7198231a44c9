"""Metrics of classification, calibration and selective prediction, exact and in NumPy.

`lsplus_tf.metrics.keras` has streaming versions for `compile(metrics=...)`; it alone needs
TensorFlow.
"""

import importlib
from types import ModuleType

from lsplus_tf.metrics.annotators import (
    annotator_brier_score,
    annotator_calibration_error,
    annotator_cross_entropy,
    annotator_static_calibration_error,
)
from lsplus_tf.metrics.brier import BrierDecomposition, brier_decomposition, brier_score
from lsplus_tf.metrics.calibration import (
    adaptive_calibration_error,
    classwise_adaptive_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    overconfidence_error,
    static_calibration_error,
    underconfidence_error,
)
from lsplus_tf.metrics.estimators import (
    debiased_calibration_error,
    kde_calibration_error,
    smooth_calibration_error,
    sweep_calibration_error,
)
from lsplus_tf.metrics.functional import (
    accuracy,
    auroc,
    balanced_accuracy,
    evaluate,
    f1,
    mean_confidence,
    negative_log_likelihood,
    precision,
    recall,
    top_k_error,
)
from lsplus_tf.metrics.method_comparison import compare_methods
from lsplus_tf.metrics.selective import (
    augrc,
    aurc,
    coverage_at_risk,
    excess_aurc,
    retention_auc,
    retention_curve,
    risk_at_coverage,
    risk_coverage_curve,
)
from lsplus_tf.metrics.statistics import (
    HypothesisTest,
    Interval,
    PairedDifference,
    bootstrap_interval,
    compare_scores,
    friedman_test,
    holm,
    paired_bootstrap,
    permutation_test,
    spiegelhalter_test,
)
from lsplus_tf.metrics.truth import (
    excess_log_loss,
    total_variation,
    true_accuracy,
    true_calibration_error,
    true_class_confusion,
    true_static_calibration_error,
)
from lsplus_tf.predictions.arrays import softmax

__all__ = [
    "BrierDecomposition",
    "HypothesisTest",
    "Interval",
    "PairedDifference",
    "accuracy",
    "adaptive_calibration_error",
    "annotator_brier_score",
    "annotator_calibration_error",
    "annotator_cross_entropy",
    "annotator_static_calibration_error",
    "augrc",
    "aurc",
    "auroc",
    "balanced_accuracy",
    "bootstrap_interval",
    "brier_decomposition",
    "brier_score",
    "classwise_adaptive_calibration_error",
    "compare_methods",
    "compare_scores",
    "coverage_at_risk",
    "debiased_calibration_error",
    "evaluate",
    "excess_aurc",
    "excess_log_loss",
    "expected_calibration_error",
    "f1",
    "friedman_test",
    "holm",
    "kde_calibration_error",
    "maximum_calibration_error",
    "mean_confidence",
    "negative_log_likelihood",
    "overconfidence_error",
    "paired_bootstrap",
    "permutation_test",
    "precision",
    "recall",
    "retention_auc",
    "retention_curve",
    "risk_at_coverage",
    "risk_coverage_curve",
    "smooth_calibration_error",
    "softmax",
    "spiegelhalter_test",
    "static_calibration_error",
    "sweep_calibration_error",
    "top_k_error",
    "total_variation",
    "true_accuracy",
    "true_calibration_error",
    "true_class_confusion",
    "true_static_calibration_error",
    "underconfidence_error",
]


def __getattr__(name: str) -> ModuleType:
    if name == "keras":
        return importlib.import_module("lsplus_tf.metrics.keras")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
