"""MHIST for TensorFlow Datasets."""

from lsplus_tf.datasets.builders.base import OfficialBuilder, instructions
from lsplus_tf.datasets.official import mhist


class Builder(OfficialBuilder):
    """MHIST, with the votes of its seven pathologists."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions("mhist")
    CLASSES = mhist.CLASSES
    HAS_VOTES = True
