"""Figures of calibration, selective prediction, soft labels, features and training, from arrays.

Every function draws on the ``ax`` given, or on a new figure of a fitting size, and returns the
axes (:class:`ReliabilityDisplay` has them as scikit-learn's displays do); nothing is shown, saved
or changed globally. Predictions are true classes (N,) and softmax outputs (N, K), or one
:class:`~lsplus_tf.predictions.Predictions`, as in :mod:`lsplus_tf.metrics`, and
:class:`~lsplus_tf.errors.InputError` says what is wrong with any that are not. The colours are
Okabe and Ito's, and whatever a colour tells, a line style, a marker or a hatch tells too.
"""

from lsplus_tf.plots._shared import METHOD_COLOURS, History, Runs, look
from lsplus_tf.plots.calibration import reliability_diagram
from lsplus_tf.plots.classwise import classwise_reliability
from lsplus_tf.plots.curves import calibration_curve
from lsplus_tf.plots.decision import decision_curve
from lsplus_tf.plots.density import confidence_density
from lsplus_tf.plots.display import ReliabilityDisplay
from lsplus_tf.plots.distributions import probability_distributions
from lsplus_tf.plots.experiments import metric_by_experiment
from lsplus_tf.plots.features import feature_map
from lsplus_tf.plots.images import contact_sheet
from lsplus_tf.plots.methods import metric_comparison, soft_label_matrix
from lsplus_tf.plots.selective import retention_curves, risk_coverage_curves
from lsplus_tf.plots.sets import coverage_by_class
from lsplus_tf.plots.training import confidence_against_accuracy, training_curves
from lsplus_tf.plots.truth import true_reliability

__all__ = [
    "METHOD_COLOURS",
    "History",
    "ReliabilityDisplay",
    "Runs",
    "calibration_curve",
    "classwise_reliability",
    "confidence_against_accuracy",
    "confidence_density",
    "contact_sheet",
    "coverage_by_class",
    "decision_curve",
    "feature_map",
    "look",
    "metric_by_experiment",
    "metric_comparison",
    "probability_distributions",
    "reliability_diagram",
    "retention_curves",
    "risk_coverage_curves",
    "soft_label_matrix",
    "training_curves",
    "true_reliability",
]
