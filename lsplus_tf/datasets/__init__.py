"""Data sets in memory, and the input pipeline that feeds them to a network.

Importing this package does not import TensorFlow; `lsplus_tf.datasets.pipeline` does.
"""

from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.catalogue import DatasetInfo, available_datasets
from lsplus_tf.datasets.loading import load_dataset

__all__ = ["DatasetInfo", "ImageDataset", "Split", "available_datasets", "load_dataset"]
