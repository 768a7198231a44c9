"""Chaoyang for TensorFlow Datasets."""

import tensorflow_datasets as tfds

from lsplus_tf.datasets.builders.base import OfficialBuilder, instructions
from lsplus_tf.datasets.official import chaoyang


class Builder(OfficialBuilder):
    """Chaoyang, with its slides as groups; "chaoyang/grouped" keeps slides apart."""

    BUILDER_CONFIGS = [  # noqa: RUF012 (a list, as TFDS has it)
        tfds.core.BuilderConfig(
            name="authors", description="The validation split of the authors of LS+, by patch."
        ),
        tfds.core.BuilderConfig(
            name="grouped", description="No slide is in both training and validation."
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions("chaoyang")
    CLASSES = chaoyang.CLASSES
    HAS_GROUPS = True
    HAS_VOTES = True

    def _official_name(self) -> str:
        grouped = self.builder_config.name == "grouped"
        return "chaoyang/grouped" if grouped else "chaoyang"
