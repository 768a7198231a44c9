"""Any image classification set of TensorFlow Datasets that is prepared on this machine."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsplus_tf.config import TFDS_PREFIX, Dataset
from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.images import check_memory, to_array, to_pillow
from lsplus_tf.datasets.splitting import complete_splits, match_splits
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.files import expanded


def load_tfds(settings: Dataset) -> ImageDataset:
    """Load a TFDS data set with features 'image' and 'label'; ids are TFDS's own record ids.

    Parameters
    ----------
    settings : lsplus_tf.config.Dataset
        Its name is "tfds:" and "name", "name/config" or "name/config:version"; `data_dir` is TFDS's
        data folder, or None for TFDS's default.

    Raises
    ------
    MissingDataError
        If the set is not prepared and `download` is false.
    InputError
        If TFDS has no such set, or it is no single-label set of uint8 images.
    """
    name, data_dir = settings.name, settings.data_dir
    builder = _find_builder(
        name.removeprefix(TFDS_PREFIX),
        None if data_dir is None else expanded(data_dir, "data_dir"),
    )
    if not _is_prepared(builder):
        if not settings.download:
            raise MissingDataError(
                f"{name}: not prepared under {builder.data_dir}; give the folder that holds it "
                "with --data-dir, or let a training download it with dataset.download=true"
            )
        builder.download_and_prepare()
    class_names = _check_features(builder.info.features, name)
    splits = {
        part: _read_split(builder, found, settings, len(class_names))
        for part, found in match_splits(list(builder.info.splits), name).items()
    }
    splits = complete_splits(splits, class_names, settings)
    return ImageDataset(name, class_names, **splits, skipped=())


def _is_prepared(builder: Any) -> bool:
    """Whether it is, without TFDS's own warning beside our line."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return bool(builder.is_prepared())
    finally:
        log.setLevel(level)


def _find_builder(tfds_name: str, data_dir: Path | None) -> Any:
    """Return the TFDS builder, without touching the network."""
    # TFDS imports TensorFlow as soon as it reads, and takes a while itself.
    import tensorflow_datasets as tfds

    if re.match(r"[\w.]+:[A-Za-z]", tfds_name):
        raise InputError(
            f"tfds:{tfds_name}: community sets (namespace:name) are looked up on the network "
            "and are not supported, expected name, name/config or name/config:version"
        )
    try:
        return tfds.builder(tfds_name, try_gcs=False, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(
            f"tfds:{tfds_name}: TFDS has no data set of this name and none is prepared under "
            f"{data_dir or 'its data folder'}; if the builder is your own, import its module first"
        ) from error
    # What TFDS raises for a name it cannot parse, an unknown configuration or version.
    except (ValueError, AssertionError) as error:
        raise InputError(f"tfds:{tfds_name}: {str(error).splitlines()[0]}") from error


def _check_features(features: Any, name: str) -> tuple[str, ...]:
    """Return the class names of a set whose features are those of image classification."""
    import tensorflow_datasets as tfds

    found = dict(features.items())
    image, label = found.get("image"), found.get("label")
    if not isinstance(image, tfds.features.Image) or not isinstance(
        label, tfds.features.ClassLabel
    ):
        present = ", ".join(f"{key!r} ({type(value).__name__})" for key, value in found.items())
        raise InputError(
            f"{name}: expected features 'image' (Image) and 'label' (ClassLabel), "
            f"received {present}"
        )
    if image.np_dtype != np.uint8:
        raise InputError(f"{name}: expected uint8 images, received {np.dtype(image.np_dtype)}")
    return tuple(label.names)


def _read_split(builder: Any, tfds_split: str, settings: Dataset, num_classes: int) -> Split:
    """Read one split into memory, in TFDS's own fixed order."""
    import tensorflow_datasets as tfds

    name, size = settings.name, settings.image_size
    count = builder.info.splits[tfds_split].num_examples
    if not count:
        raise InputError(f"{name}: split {tfds_split!r} is empty")
    # Written in place when the first image has told the shape.
    images: NDArray[np.uint8] = np.empty(0, np.uint8)
    labels = np.empty(count, np.int64)
    ids: list[str] = []
    examples = builder.as_dataset(
        split=tfds_split,
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding({"image": True, "label": True}),
        read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
    )
    for index, example in enumerate(examples.as_numpy_iterator()):
        ids.append(example["tfds_id"].decode())
        labels[index] = example["label"]
        if not 0 <= labels[index] < num_classes:
            raise InputError(
                f"{name}: {tfds_split} sample {ids[-1]!r} has label {labels[index]}, expected "
                f"0..{num_classes - 1}; splits without labels cannot be used"
            )
        height, width, depth = example["image"].shape
        if depth not in (1, 3):
            raise InputError(
                f"{name}: {tfds_split} sample {ids[-1]!r} has {depth} channels, expected 1 or 3"
            )
        shape = (size or height, size or width, settings.channels or depth)
        if index == 0:
            check_memory(count, *shape, name)
            images = np.empty((count, *shape), np.uint8)
        elif shape != images.shape[1:]:
            raise InputError(
                f"{name}: images differ in shape ({ids[0]!r} is {images.shape[1:]}, "
                f"{ids[-1]!r} is {shape}); set dataset.image_size and dataset.channels"
            )
        images[index] = to_array(
            to_pillow(example["image"]),
            channels=shape[2],
            image_size=size,
            interpolation=settings.interpolation,
        )
    return Split(images, labels, np.array(ids))
