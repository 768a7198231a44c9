"""What changes during training: Keras callbacks, one per file."""

from lsplus_tf.callbacks.online_label_smoothing import OnlineLabelSmoothing
from lsplus_tf.callbacks.teacher import TeacherLogits
from lsplus_tf.callbacks.validation import ConfusionPenalty, PriorRefresh

__all__ = ["ConfusionPenalty", "OnlineLabelSmoothing", "PriorRefresh", "TeacherLogits"]
