"""Labels that are made wrong on purpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lsplus_tf.config import Dataset, LabelNoise
from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.splitting import PARTS
from lsplus_tf.errors import InputError, some_of

_NAMED = 10  # classes that an error names


def look_alikes(settings: Dataset, class_names: tuple[str, ...]) -> list[npt.NDArray[np.intp]]:
    """The classes that the changed labels of each of the K classes are drawn from.

    Parameters
    ----------
    settings : lsplus_tf.config.Dataset
        Its `label_noise`, and the data set's name, for messages.
    class_names : tuple of str

    Returns
    -------
    list of ndarray
        int, increasing, without the class itself; empty for a class that keeps its labels, as all
        do where there is no noise.

    Raises
    ------
    InputError
        If look-alikes are no classes of this data set.

    Examples
    --------
    >>> noise = LabelNoise(share=0.2, confused={"a": ["c", "b"]})
    >>> alike = look_alikes(Dataset(name="made", label_noise=noise), ("a", "b", "c"))
    >>> [classes.tolist() for classes in alike]
    [[1, 2], [], []]
    """
    noise, every = settings.label_noise, np.arange(len(class_names))
    if noise is None:
        return [every[:0] for _ in every]
    if noise.confused is None:
        return [np.delete(every, k) for k in every]
    named = dict.fromkeys(name for key, alike in noise.confused.items() for name in (key, *alike))
    unknown = [name for name in named if name not in class_names]
    if unknown:
        raise InputError(
            f"dataset.label_noise.confused: expected classes of {settings.name}, "
            f"{some_of(class_names, _NAMED)}, received {some_of(unknown)}"
        )
    return [
        np.flatnonzero(np.isin(class_names, noise.confused.get(name, ()))) for name in class_names
    ]


def with_label_noise(dataset: ImageDataset, settings: Dataset) -> ImageDataset:
    """The data set with the wrong labels that its settings ask for.

    Of the n labels of a class in a split round(share * n) are drawn, without replacement, and each
    becomes a class drawn evenly. It depends on the split's ids and labels, and not on their order.

    Parameters
    ----------
    dataset : ImageDataset
        With labels as they are.
    settings : lsplus_tf.config.Dataset
        Its `label_noise`, and the data set's name, for messages.

    Raises
    ------
    InputError
        If look-alikes are no classes of this data set, or a class loses its last training label.
    """
    noise = settings.label_noise
    if noise is None:
        return dataset
    alike = look_alikes(settings, dataset.class_names)
    splits = {
        part: _with_noise(split, alike, noise, stream=PARTS.index(part))
        if part in noise.splits
        else split
        for part, split in dataset.splits()
    }
    left = np.bincount(splits["train"].labels, minlength=dataset.num_classes)
    lost = [dataset.class_names[k] for k in np.flatnonzero(left == 0)]
    if lost:
        raise InputError(
            f"{settings.name}: dataset.label_noise.share={noise.share:.12g} leaves no training "
            f"label of {some_of(lost)}; set a smaller share"
        )
    return ImageDataset(dataset.name, dataset.class_names, **splits, skipped=dataset.skipped)


def _with_noise(
    split: Split, alike: list[npt.NDArray[np.intp]], noise: LabelNoise, *, stream: int
) -> Split:
    """The split with some wrong labels."""
    labels = split.labels.copy()
    for k, classes in enumerate(alike):
        members = np.flatnonzero(split.labels == k)
        members = members[np.argsort(split.ids[members])]
        # A class of a split has a stream of its own, of which a larger share takes more.
        rng = np.random.default_rng(np.random.SeedSequence(noise.seed, spawn_key=(stream, k)))
        drawn = rng.permutation(members)
        if len(classes):
            count = round(noise.share * len(members))
            labels[drawn[:count]] = rng.choice(classes, size=len(members))[:count]
    return replace(split, labels=labels, true_labels=split.labels)
