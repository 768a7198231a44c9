"""RadImageNet for TensorFlow Datasets."""

from lsplus_tf.datasets.builders.base import OfficialBuilder, instructions


class Builder(OfficialBuilder):
    """RadImageNet; its class names are those of the training list."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions("radimagenet")
