"""TensorFlow Datasets builders of the papers' data sets, so that `tfds.load("mhist")` works.

`lsplus_tf.datasets` offers them to TFDS. A builder's module is imported when TFDS asks for it, and
not before: TFDS takes longer to import than this package.
"""

import importlib
from typing import Any

__all__ = ["NAMES", "BuilderProvider"]

NAMES = ("chaoyang", "isic2018", "mhist", "radimagenet")


class BuilderProvider:
    """What TFDS asks for builders that are not its own."""

    def has_dataset(self, name: str) -> bool:
        """Whether there is a builder of this name."""
        return name in NAMES

    def get_builder_cls(self, name: str) -> Any:
        """The builder class of this name."""
        module = importlib.import_module(f"{__name__}.{name}.{name}_dataset_builder")
        return module.Builder
