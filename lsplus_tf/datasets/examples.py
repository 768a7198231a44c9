"""A few images to look at: of every class, or near copies."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from lsplus_tf.config import Background, Scaling
from lsplus_tf.datasets import dicom
from lsplus_tf.datasets.base import ImageDataset
from lsplus_tf.datasets.check import CheckReport, place
from lsplus_tf.datasets.file_list import FileList, first_few
from lsplus_tf.datasets.image_files import (
    MORE_THAN_8_BITS,
    READ_ERRORS,
    TRANSPARENT,
    decode,
)
from lsplus_tf.errors import InputError, counted, did_you_mean, one_line

Images = list[npt.NDArray[np.uint8]]
_REMEDIES = {
    MORE_THAN_8_BITS: "give --scaling, as window=40,400, for those of more than 8 bits",
    TRANSPARENT: "give --background black or white, what belongs behind transparent pixels",
}


def choose_examples(
    dataset: FileList | ImageDataset,
    *,
    split: str,
    count: int,
    seed: int,
    scaling: Scaling | None = None,
    background: Background | None = None,
) -> dict[str, Images]:
    """Draw images of every class, as they are: not resized.

    Parameters
    ----------
    dataset : FileList or ImageDataset
        Of a list only the files that are drawn are decoded, in colour.
    split : str
        One that the data set has.
    count : int
        Images of each class; of a class with fewer, all.
    seed : int
        The same seed draws the same ones.
    scaling : Scaling, optional
        How more than 8 bits become 8; without it such files are left out.
    background : {"black", "white"}, optional
        What transparent pixels show; without it files that have any are left out.

    Returns
    -------
    dict of str to list of ndarray
        By class name: uint8, shape (H, W, C), in the data set's order; without the files that
        were drawn and cannot be read, which a warning names.

    Raises
    ------
    InputError
        If there is no such split, nothing that was drawn can be read, or there are DICOM files and
        no pydicom.
    """
    if isinstance(dataset, FileList):
        dicom.check_installed(dataset.ids.tolist())
        places = np.flatnonzero(dataset.parts == split)
        labels = dataset.labels[places]
        have = sorted(set(dataset.parts.tolist()))
    else:
        splits = dict(dataset.splits())
        labels = splits[split].labels if split in splits else np.array([], np.int64)
        places, have = np.arange(len(labels)), list(splits)
    if not len(places):
        raise InputError(
            f"{dataset.name}: split: expected one of {have}, received {split!r}"
            + did_you_mean(split, have)
        )
    rng = np.random.default_rng(seed)
    examples: dict[str, Images] = {}
    unreadable: list[str] = []
    remedies: dict[str, None] = {}
    for label, class_name in enumerate(dataset.class_names):
        members = places[labels == label]
        drawn = np.sort(rng.permutation(members)[:count])
        examples[class_name] = []
        for index in drawn.tolist():
            try:
                image = _image(dataset, split, index, scaling, background)
                examples[class_name].append(image)
            except READ_ERRORS as error:
                assert isinstance(dataset, FileList)
                why = one_line(error)
                if why in _REMEDIES:
                    remedies[_REMEDIES[why]] = None
                unreadable.append(f"{dataset.ids[index]} ({why})")
    if unreadable:
        left_out = f"{counted(len(unreadable), 'image')} that cannot be read: " + first_few(
            unreadable
        )
        remedy = "".join(f"; {each}" for each in remedies)
        if not any(examples.values()):
            raise InputError(f"{dataset.name}: drew nothing but {left_out}{remedy}")
        warnings.warn(f"{dataset.name}: left out {left_out}{remedy}", stacklevel=2)
    return examples


def choose_near_copies(
    dataset: FileList | ImageDataset,
    report: CheckReport,
    *,
    count: int,
    scaling: Scaling | None = None,
    background: Background | None = None,
) -> dict[str, Images]:
    """The first `count` near copies that a check reports, each beside the image that it is like.

    Parameters
    ----------
    dataset : FileList or ImageDataset
        That was checked.
    report : CheckReport
        Of its check.
    count : int
    scaling, background : optional
        As the check had them.

    Returns
    -------
    dict of str to list of ndarray
        By the names of both: two images, uint8, shape (H, W, C).
    """
    rows = {}
    if isinstance(dataset, FileList):
        rows = {name: row for row, name in enumerate(dataset.ids.tolist())}
    in_split = report.images.groupby("split").cumcount()
    pairs: dict[str, Images] = {}
    for pair in report.near[:count]:
        images = []
        for index in pair:
            row = rows.get(report.images.at[index, "id"], int(in_split[index]))
            split = str(report.images.at[index, "split"])
            images.append(_image(dataset, split, row, scaling, background))
        pairs["\n".join(place(report.images, index) for index in pair)] = images
    return pairs


def _image(
    dataset: FileList | ImageDataset,
    split: str,
    index: int,
    scaling: Scaling | None,
    background: Background | None,
) -> npt.NDArray[np.uint8]:
    if isinstance(dataset, FileList):
        path = dataset.path(index)
        return decode(path, channels=3, scaling=scaling, background=background)
    images = dict(dataset.splits())[split].images
    assert isinstance(images, np.ndarray)
    return images[index]
