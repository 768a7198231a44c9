"""What the builders of the papers' data sets have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.image_files import READ_ERRORS, decode
from lsplus_tf.datasets.official import list_official
from lsplus_tf.datasets.official.folders import ORIGINS
from lsplus_tf.datasets.splitting import PARTS
from lsplus_tf.errors import InputError, one_line


def instructions(name: str) -> str:
    """What TFDS tells who has not got the data."""
    known = ORIGINS[name]
    return (
        f"Get the data from {known.get} ({known.licence}). Put {known.contents} into the folder "
        f"for manual downloads, or into a folder {known.names[0]} in it."
    )


class OfficialBuilder(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """A data set of image files, listed as `lsplus_tf.datasets.official` does.

    Features are image (as in the file, in colour), label, id (the file's path in the data set)
    and, for those that set them below, group and votes.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}

    # The K classes; none where the data tell.
    CLASSES: tuple[str, ...] | None = None
    HAS_GROUPS = False
    HAS_VOTES = False

    def _info(self) -> Any:
        features: dict[str, Any] = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=self.CLASSES),
            "id": tfds.features.Text(),
        }
        if self.HAS_GROUPS:
            features["group"] = tfds.features.Text()
        if self.HAS_VOTES and self.CLASSES is not None:
            features["votes"] = tfds.features.Tensor(shape=(len(self.CLASSES),), dtype=np.int64)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage=ORIGINS[self.name].get,
        )

    def _official_name(self) -> str:
        return str(self.name)

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        files = list_official(self._official_name(), Path(dl_manager.manual_dir))
        if self.CLASSES is None:
            self.info.features["label"].names = list(files.class_names)
        return {
            part: self._generate_examples(files, np.flatnonzero(files.parts == part))
            for part in PARTS
        }

    def _generate_examples(
        self, files: FileList, rows: np.ndarray
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in rows.tolist():
            key, path = str(files.ids[row]), files.path(row)
            try:
                decode(path, channels=3)
            except READ_ERRORS as error:
                raise InputError(f"{path}: cannot be read ({one_line(error)})") from error
            example = {"image": str(path), "label": int(files.labels[row]), "id": key}
            if self.HAS_GROUPS:
                example["group"] = "" if files.groups is None else str(files.groups[row])
            if self.HAS_VOTES:
                none = np.zeros(len(files.class_names), np.int64)
                example["votes"] = none if files.votes is None else files.votes[row]
            yield key, example
