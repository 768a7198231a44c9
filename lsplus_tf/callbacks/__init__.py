"""What changes during training: Keras callbacks, one per file."""

from lsplus_tf.callbacks.online_label_smoothing import OnlineLabelSmoothing

__all__ = ["OnlineLabelSmoothing"]
