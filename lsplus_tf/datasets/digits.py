"""The handwritten digits that come with scikit-learn: a small real set that is always there."""

import numpy as np

from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.images import Interpolation, fit_images
from lsplus_tf.datasets.splitting import complete_splits

CLASSES = tuple("0123456789")


def load_digits(
    *,
    image_size: int | None,
    channels: int | None,
    interpolation: Interpolation,
    split_seed: int,
    validation_fraction: float,
    test_fraction: float,
) -> ImageDataset:
    """Load the 1,797 scans of 8x8 pixels, grey levels 0..16 scaled to 0..255.

    Test and validation splits are carved, stratified, as shares of the whole. Ids are
    "digits-0000" on, by scikit-learn's order. Parameters are `load_dataset`'s.
    """
    # Imported here: it costs a second, and listing the data sets does not need it.
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    whole = Split(
        fit_images(
            images,
            image_size=image_size,
            channels=channels,
            interpolation=interpolation,
            name="digits",
        ),
        bunch.target.astype(np.int64),
        np.array([f"digits-{index:04d}" for index in range(len(images))]),
    )
    splits = complete_splits(
        {"train": whole},
        CLASSES,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        split_seed=split_seed,
        name="digits",
    )
    return ImageDataset(
        name="digits",
        class_names=CLASSES,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )
