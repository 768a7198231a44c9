"""ISIC 2018 task 3 for TensorFlow Datasets."""

from lsplus_tf.datasets.builders.base import OfficialBuilder, instructions
from lsplus_tf.datasets.official import isic2018


class Builder(OfficialBuilder):
    """ISIC 2018 task 3, with lesions as groups where they are known."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions("isic2018")
    CLASSES = isic2018.CLASSES
    HAS_GROUPS = True
