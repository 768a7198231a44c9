"""What a network is trained against: `keras.losses.Loss` subclasses, one family per file."""

from lsplus_tf.losses.acls import ACLSLoss
from lsplus_tf.losses.adaptive_focal import AdaptiveFocalLoss
from lsplus_tf.losses.brier import BrierLoss
from lsplus_tf.losses.brier_scaled import BrierScaledCrossEntropyLoss
from lsplus_tf.losses.calibration import DCALoss, DifferentiableECELoss, MDCALoss, MMCELoss
from lsplus_tf.losses.cals import CALSLoss
from lsplus_tf.losses.confidence_penalty import ConfidencePenaltyLoss, UniformPenaltyLoss
from lsplus_tf.losses.confusion import ConfusionPenaltyLoss
from lsplus_tf.losses.distillation import (
    TfKDRegularizationLoss,
    TfKDSelfTrainingLoss,
    with_teacher_logits,
)
from lsplus_tf.losses.dual_focal import DualFocalLoss
from lsplus_tf.losses.erroneous_entropy import ErroneousEntropyLoss
from lsplus_tf.losses.features import with_features
from lsplus_tf.losses.fedlas import FedLASLoss
from lsplus_tf.losses.focal import FocalLoss, SampleDependentFocalLoss
from lsplus_tf.losses.focal_calibration import FocalCalibrationLoss
from lsplus_tf.losses.learned_smoothing import LearnedLabelSmoothingLoss
from lsplus_tf.losses.margin import MarginLabelSmoothingLoss
from lsplus_tf.losses.maxsup import MaxSupLoss
from lsplus_tf.losses.online import OnlineLabelSmoothingLoss
from lsplus_tf.losses.smoothing import (
    ClassDistributionLabelSmoothingLoss,
    HardLabelLoss,
    LabelSmoothingLoss,
    LSPlusLoss,
)

__all__ = [
    "ACLSLoss",
    "AdaptiveFocalLoss",
    "BrierLoss",
    "BrierScaledCrossEntropyLoss",
    "CALSLoss",
    "ClassDistributionLabelSmoothingLoss",
    "ConfidencePenaltyLoss",
    "ConfusionPenaltyLoss",
    "DCALoss",
    "DifferentiableECELoss",
    "DualFocalLoss",
    "ErroneousEntropyLoss",
    "FedLASLoss",
    "FocalCalibrationLoss",
    "FocalLoss",
    "HardLabelLoss",
    "LSPlusLoss",
    "LabelSmoothingLoss",
    "LearnedLabelSmoothingLoss",
    "MDCALoss",
    "MMCELoss",
    "MarginLabelSmoothingLoss",
    "MaxSupLoss",
    "OnlineLabelSmoothingLoss",
    "SampleDependentFocalLoss",
    "TfKDRegularizationLoss",
    "TfKDSelfTrainingLoss",
    "UniformPenaltyLoss",
    "with_features",
    "with_teacher_logits",
]
