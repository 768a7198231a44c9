"""A data set: splits of uint8 images, labels and ids, checked when they are made."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsplus_tf.datasets.image_files import ImageFiles
from lsplus_tf.errors import InputError, some_of


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a data set.

    Parameters
    ----------
    images : ndarray or ImageFiles
        uint8, shape (N, H, W, C), C 1 or 3, values 0..255; in memory, mapped from a file
        (numpy.memmap), or decoded whenever they are asked for.
    labels : ndarray
        int64, shape (N,), values 0..K-1.
    ids : ndarray
        str, shape (N,); says which sample a row is, unique within the split.
    groups : ndarray or None
        str, shape (N,): the patient, lesion or slide of each sample.
    votes : ndarray or None
        int64, shape (N, K): how many annotators chose each class.
    posterior : ndarray or None
        float64, shape (N, K): the exact p(y | x), where it is known.
    true_labels : ndarray or None
        int64, shape (N,): the labels before `dataset.label_noise` made some wrong; None without it.

    Raises
    ------
    InputError
        If a shape or dtype is another, the split is empty or an id occurs twice.

    Examples
    --------
    >>> import numpy as np
    >>> split = Split(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), np.array(["a", "b"]))
    >>> len(split)
    2
    """

    images: npt.NDArray[np.uint8] | ImageFiles
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_] | None = None
    votes: npt.NDArray[np.int64] | None = None
    posterior: npt.NDArray[np.float64] | None = None
    true_labels: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        images, labels, ids = self.images, self.labels, self.ids
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise InputError(
                "images: expected uint8 of shape (N, H, W, 1) or (N, H, W, 3), "
                f"received {images.dtype} of shape {images.shape}"
            )
        if len(images) == 0:
            raise InputError("images: empty split, expected at least one image")
        if images.shape[1] == 0 or images.shape[2] == 0:
            raise InputError(f"images: expected at least one pixel, received shape {images.shape}")
        if labels.dtype != np.int64 or labels.shape != (len(images),):
            raise InputError(
                f"labels: expected int64 of shape ({len(images)},), "
                f"received {labels.dtype} of shape {labels.shape}"
            )
        if ids.dtype.kind != "U" or ids.shape != (len(images),):
            raise InputError(
                f"ids: expected str of shape ({len(images)},), "
                f"received {ids.dtype} of shape {ids.shape}"
            )
        values, counts = np.unique(ids, return_counts=True)
        if len(values) != len(ids):
            raise InputError(f"ids: {str(values[counts > 1][0])!r} occurs more than once")
        if self.groups is not None and self.groups.shape != (len(images),):
            raise InputError(
                f"groups: expected shape ({len(images)},), received {self.groups.shape}"
            )
        if self.true_labels is not None and self.true_labels.shape != labels.shape:
            raise InputError(
                f"true_labels: expected shape {labels.shape}, received {self.true_labels.shape}"
            )
        for name, rows in (("votes", self.votes), ("posterior", self.posterior)):
            if rows is not None and (rows.ndim != 2 or len(rows) != len(images)):
                raise InputError(
                    f"{name}: expected shape ({len(images)}, K), received {rows.shape}"
                )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.intp]) -> "Split":
        """Return the samples at `indices` (int, shape (M,)), in that order, as a new split."""
        return Split(
            self.images[indices],
            self.labels[indices],
            self.ids[indices],
            None if self.groups is None else self.groups[indices],
            None if self.votes is None else self.votes[indices],
            None if self.posterior is None else self.posterior[indices],
            None if self.true_labels is None else self.true_labels[indices],
        )

    @property
    def changed_labels(self) -> int | None:
        """How many labels `dataset.label_noise` made wrong; None without it."""
        return None if self.true_labels is None else int((self.labels != self.true_labels).sum())


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """A classification data set with its three splits.

    Parameters
    ----------
    name : str
        The name it was loaded by.
    class_names : tuple of str
        The K >= 2 classes; label k is `class_names[k]`.
    train, validation, test : Split
        All with the same image shape. Every class occurs in `train`.
    skipped : tuple of str
        Ids of files that were left out: unreadable, duplicates or blank, where that was asked for.

    Raises
    ------
    InputError
        If there are fewer than two classes, a label has no class, the image shapes differ or a
        class is missing from the training split.

    Examples
    --------
    >>> from lsplus_tf.datasets import load_dataset
    >>> digits = load_dataset("digits")
    >>> digits.num_classes, digits.image_shape, digits.test.images.dtype.name
    (10, (8, 8, 1), 'uint8')
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise InputError(
                f"{self.name}: expected at least two classes, received {list(self.class_names)}"
            )
        repeated = [name for name, count in Counter(self.class_names).items() if count > 1]
        if repeated:
            raise InputError(f"{self.name}: class names repeat: {some_of(repeated)}")
        for part, split in self.splits():
            bad = np.flatnonzero((split.labels < 0) | (split.labels >= self.num_classes))
            if bad.size:
                raise InputError(
                    f"{self.name}: {part} sample {str(split.ids[bad[0]])!r} has label "
                    f"{split.labels[bad[0]]}, expected 0..{self.num_classes - 1} "
                    f"({bad.size} such samples)"
                )
            if split.images.shape[1:] != self.image_shape:
                raise InputError(
                    f"{self.name}: {part} images have shape {split.images.shape[1:]}, "
                    f"train images {self.image_shape}; set dataset.image_size and dataset.channels"
                )
        missing = [self.class_names[k] for k in np.flatnonzero(self.counts()["train"] == 0)]
        if missing:
            raise InputError(
                f"{self.name}: no training sample of class {some_of(missing)}; leave out the "
                "class, or add samples of it"
            )

    def __len__(self) -> int:
        return sum(len(split) for _, split in self.splits())

    def splits(self) -> Iterator[tuple[str, Split]]:
        """Yield ("train", ...), ("validation", ...) and ("test", ...)."""
        yield "train", self.train
        yield "validation", self.validation
        yield "test", self.test

    @property
    def num_classes(self) -> int:
        """The number of classes, K."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        _, height, width, channels = self.train.images.shape
        return height, width, channels

    def counts(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return the number of samples of each class, shape (K,), by split."""
        return {
            part: np.bincount(split.labels, minlength=self.num_classes)
            for part, split in self.splits()
        }
