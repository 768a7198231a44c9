"""Data sets in memory, and the input pipeline that feeds them to a network.

Importing this package does not import TensorFlow; `lsplus_tf.datasets.pipeline` does. It offers the
papers' data sets to TensorFlow Datasets: `tfds.load(NAME)`, in whichever order the two are
imported.
"""

from typing import Any

import wrapt

from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.builders import BuilderProvider
from lsplus_tf.datasets.catalogue import DatasetInfo, available_datasets
from lsplus_tf.datasets.loading import load_dataset

__all__ = ["DatasetInfo", "ImageDataset", "Split", "available_datasets", "load_dataset"]


@wrapt.when_imported("tensorflow_datasets.core.registered")
def _offer_builders(registered: Any) -> None:
    # First, as TFDS's own search imports all of its hundreds of builders.
    registered.add_dataset_builder_provider(BuilderProvider(), index=0)
