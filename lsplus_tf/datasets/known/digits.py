"""The handwritten digits that come with scikit-learn: a small real set that is always there."""

from pathlib import Path

import numpy as np

from lsplus_tf.config import Dataset
from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.images import fit_images
from lsplus_tf.datasets.record import Record
from lsplus_tf.datasets.splitting import complete_splits


def load_digits(settings: Dataset, folder: Path) -> ImageDataset:
    """Load the 1,797 scans of 8x8 pixels, grey levels 0..16 scaled to 0..255.

    Test and validation splits are carved, stratified, as shares of the whole. Ids are
    "digits-0000" on, by scikit-learn's order.
    """
    # Imported here: it costs a second, and listing the data sets does not need it.
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    whole = Split(
        fit_images(images, settings),
        bunch.target.astype(np.int64),
        np.array([f"digits-{index:04d}" for index in range(len(images))]),
    )
    splits = complete_splits({"train": whole}, DIGITS.classes, settings)
    return ImageDataset(settings.name, DIGITS.classes, **splits, skipped=())


DIGITS = Record(
    name="digits",
    source="handwritten digits, 8x8 grey, from scikit-learn",
    licence="CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits)",
    get="comes with scikit-learn",
    classes=tuple("0123456789"),
    sizes={"all": 1797},
    load=load_digits,
)
RECORDS = (DIGITS,)
