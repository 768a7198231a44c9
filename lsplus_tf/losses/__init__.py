"""What a network is trained against: `keras.losses.Loss` subclasses, one family per file."""

from lsplus_tf.losses.online import OnlineLabelSmoothingLoss
from lsplus_tf.losses.smoothing import HardLabelLoss, LabelSmoothingLoss, LSPlusLoss

__all__ = ["HardLabelLoss", "LSPlusLoss", "LabelSmoothingLoss", "OnlineLabelSmoothingLoss"]
