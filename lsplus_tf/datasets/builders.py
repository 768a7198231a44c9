"""TensorFlow Datasets builders of the known data sets of image files: `tfds.load(NAME)` works.

`lsplus_tf.datasets` offers them to TFDS, and makes one from its record when TFDS asks for it, and
not before: TFDS takes longer to import than this package.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.image_files import READ_ERRORS, decode
from lsplus_tf.datasets.known import RECORDS
from lsplus_tf.datasets.record import Record
from lsplus_tf.datasets.splitting import PARTS
from lsplus_tf.errors import InputError, one_line

NAMES = tuple(sorted({r.base_name for r in RECORDS.values() if r.list_files is not None}))
TAGS = ["content.data-type.image", "ml.task.image-classification"]


class BuilderProvider:
    """What TFDS asks for builders that are not its own."""

    def has_dataset(self, name: str) -> bool:
        """Whether there is a builder of this name."""
        return name in NAMES

    def get_builder_cls(self, name: str) -> Any:
        """The builder class of this name."""
        return builder_class(name)


@functools.cache
def builder_class(name: str) -> Any:
    """The builder of a data set, which has a configuration for each of its variants.

    Features are image (as in the file, in colour), label, id (the file's path in the data set)
    and, where the record has them, group and votes.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.dataset_metadata import DatasetMetadata

    records = {r.variant: r for r in RECORDS.values() if r.base_name == name}
    record = RECORDS[name]

    class Builder(tfds.core.GeneratorBasedBuilder):
        name = record.name
        VERSION = tfds.core.Version("1.0.0")
        RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012 (a dict, as TFDS has it)
        BUILDER_CONFIGS = [  # noqa: RUF012 (a list, as TFDS has it)
            tfds.core.BuilderConfig(name=variant, description=record.source)
            for variant, record in records.items()
            if variant
        ]
        MANUAL_DOWNLOAD_INSTRUCTIONS = (
            f"Get the data from {record.get} ({record.licence}). Put {record.contents} into the "
            f"folder for manual downloads, or into a folder {record.folders[0]} in it."
        )

        @classmethod
        def get_metadata(cls) -> Any:
            description = record.description or record.source
            return DatasetMetadata(description=description, citation=record.citation, tags=TAGS)

        def _info(self) -> Any:
            features: dict[str, Any] = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=record.classes or None),
                "id": tfds.features.Text(),
            }
            if record.groups:
                features["group"] = tfds.features.Text()
            if record.votes:
                shape = (len(record.classes),)
                features["votes"] = tfds.features.Tensor(shape=shape, dtype=np.int64)
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
                homepage=record.get,
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            chosen = records[self.builder_config.name if self.builder_config else ""]
            assert chosen.list_files is not None
            files = chosen.list_files(chosen.require(Path(dl_manager.manual_dir)))
            if not record.classes:
                self.info.features["label"].names = list(files.class_names)
            published = [part for part in PARTS if (files.parts == part).any()]
            return {part: self._generate_examples(files, part) for part in published}

        def _generate_examples(
            self, files: FileList, part: str
        ) -> Iterator[tuple[str, dict[str, Any]]]:
            return examples(record, files, part)

    Builder.__doc__ = record.description
    return Builder


def examples(record: Record, files: FileList, part: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The examples of a split, with the features of the record's builder."""
    none = np.zeros(len(files.class_names), np.int64)
    for row in np.flatnonzero(files.parts == part).tolist():
        key, path = str(files.ids[row]), files.path(row)
        try:
            decode(path, channels=3)
        except READ_ERRORS as error:
            raise InputError(f"{path}: cannot be read ({one_line(error)})") from error
        example = {"image": str(path), "label": int(files.labels[row]), "id": key}
        if record.groups:
            example["group"] = "" if files.groups is None else str(files.groups[row])
        if record.votes:
            example["votes"] = none if files.votes is None else files.votes[row]
        yield key, example
