"""Keras callbacks for the losses that change during training, or need a teacher."""

from lsplus_tf.callbacks.epoch_schedule import EpochSchedule
from lsplus_tf.callbacks.fedlas import FedLAS
from lsplus_tf.callbacks.learned_label_smoothing import LearnedLabelSmoothing
from lsplus_tf.callbacks.online_label_smoothing import OnlineLabelSmoothing
from lsplus_tf.callbacks.teacher import TeacherLogits
from lsplus_tf.callbacks.validation import ConfusionPenalty, PriorRefresh, ValidationFeedback

__all__ = [
    "ConfusionPenalty",
    "EpochSchedule",
    "FedLAS",
    "LearnedLabelSmoothing",
    "OnlineLabelSmoothing",
    "PriorRefresh",
    "TeacherLogits",
    "ValidationFeedback",
]
