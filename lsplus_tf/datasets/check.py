"""Looking through a data set for what makes its results wrong: every image is decoded."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from lsplus_tf.datasets.base import ImageDataset
from lsplus_tf.datasets.defects import equal_keys, identical_files, is_blank
from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.image_files import READ_ERRORS, read_header
from lsplus_tf.datasets.images import for_each, to_pillow
from lsplus_tf.datasets.labels_file import image_files_beside
from lsplus_tf.datasets.splitting import PARTS
from lsplus_tf.errors import one_line

# What a check looks for, in the order of its report.
UNREADABLE = "unreadable"
BLANK = "blank"
ALPHA = "alpha channel"
DEEP = "more than 8 bits"
IDENTICAL = "identical to another"
SHARED_GROUP = "group in several splits"
UNLISTED = "image without a row"
COUNT = "other than the official number"
KINDS = (UNREADABLE, BLANK, ALPHA, DEEP, IDENTICAL, SHARED_GROUP, UNLISTED, COUNT)
COLUMNS = ["problem", "split", "class", "file", "detail"]
# What a training with these image files does, and what to do about it.
CONSEQUENCES = {
    UNREADABLE: "training stops: mend them or set dataset.unreadable=skip",
    BLANK: "used as they are, unless dataset.drop=[blank]",
    ALPHA: "training needs dataset.channels: 1 or 3, which drops it",
    DEEP: "training stops: convert them to 8 bits",
    IDENTICAL: "used as they are, unless dataset.drop=[duplicates]",
    UNLISTED: "training stops: add them or set dataset.unlisted=ignore",
}


@dataclass(frozen=True)
class Problem:
    """One thing found, as a row of `CheckReport.table`.

    Attributes
    ----------
    problem : str
        One of `KINDS`.
    split, class_name, file : str
        Where; empty where it is about more than one file.
    detail : str
        What exactly.
    """

    problem: str
    split: str
    class_name: str
    file: str
    detail: str


@dataclass(frozen=True, eq=False)
class CheckReport:
    """What a check found.

    Attributes
    ----------
    counts : pandas.DataFrame
        Images of each class (rows) in each split that the data set has (columns).
    sizes : Counter
        How many images have a (width, height).
    colours : Counter
        How many images are "grey" and how many "colour".
    identical : list of list of int
        Groups of images with the same bytes, as rows of `images`.
    images : pandas.DataFrame
        All images: id, split, class_name and, where they are known, group.
    problems : list of Problem
        In the order of `KINDS`.
    """

    counts: pd.DataFrame
    sizes: Counter[tuple[int, int]]
    colours: Counter[str]
    identical: list[list[int]]
    images: pd.DataFrame
    problems: list[Problem] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """One row per problem: problem, split, class, file, detail."""
        rows = [(p.problem, p.split, p.class_name, p.file, p.detail) for p in self.problems]
        return pd.DataFrame(rows, columns=COLUMNS)

    @property
    def group_sizes(self) -> pd.Series:
        """How many images each group has; empty where no groups are known."""
        return self.images.get("group", pd.Series(dtype=object)).value_counts()

    def identical_across(self, column: str) -> int:
        """How many groups of identical images have more than one "split" or "class_name"."""
        values = self.images[column].to_numpy()
        return sum(len(set(values[group])) > 1 for group in self.identical)


@dataclass(frozen=True, eq=False)
class _Look:
    """What one image shows: (width, height), None where it cannot be read, and what is wrong."""

    size: tuple[int, int] | None
    grey: bool = False
    wrong: tuple[tuple[str, str], ...] = ()


def check_dataset(
    dataset: FileList | ImageDataset,
    *,
    official: Mapping[str, int] | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> CheckReport:
    """Decode every image, and compare them with each other and with the official counts.

    Parameters
    ----------
    dataset : FileList or ImageDataset
        Files are decoded in full; identical ones have the same bytes. Images in memory are
        identical if their pixels are.
    official : mapping of str to int, optional
        Images in "train", "validation" and "test", or "all". Where the data set has other splits,
        as one is carved when it is loaded, only the sums are compared.
    on_image : callable
        Called, from several threads, when an image has been looked at.
    """
    if isinstance(dataset, FileList):
        images = _rows(dataset.ids, dataset.parts, dataset.labels, dataset.groups)
        looks, identical = _look_at_files(dataset, on_image), identical_files(dataset)
        unlisted = sorted(image_files_beside(dataset.root, dataset.ids) - set(dataset.ids.tolist()))
    else:
        images = pd.concat(
            [_rows(s.ids, part, s.labels, s.groups) for part, s in dataset.splits()],
            ignore_index=True,
        )
        looks, identical = _look_at_arrays(dataset, on_image)
        unlisted = []
    images["class_name"] = np.array(dataset.class_names)[images["label"]]
    counts = (
        pd.crosstab(images["class_name"], images["split"])
        .reindex(index=dataset.class_names, fill_value=0)
        .reindex(columns=[part for part in PARTS if part in set(images["split"])])
    )
    sizes = Counter(look.size for look in looks if look.size is not None)
    colours = Counter("grey" if look.grey else "colour" for look in looks if look.size is not None)
    problems = [
        *_wrong_images(images, looks),
        *_copies(images, identical),
        *_shared_groups(images),
        *(Problem(UNLISTED, "", "", name, "has no label") for name in unlisted),
        *_wrong_counts(counts, official or {}),
    ]
    problems.sort(key=lambda problem: KINDS.index(problem.problem))
    return CheckReport(counts, sizes, colours, identical, images, problems)


def _rows(
    ids: npt.NDArray[np.str_],
    split: npt.NDArray[np.str_] | str,
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.str_] | None,
) -> pd.DataFrame:
    rows = pd.DataFrame({"id": ids, "split": split, "label": labels})
    return rows if groups is None else rows.assign(group=groups)


def _look_at_files(files: FileList, on_image: Callable[[], None]) -> list[_Look]:
    looks: list[_Look] = [_Look(None)] * len(files)

    def look(index: int) -> None:
        try:
            header = read_header(files.path(index), size_matters=True)
            with Image.open(files.path(index)) as image:
                image.load()
                found = {
                    BLANK: "an even area" if is_blank(image) else "",
                    ALPHA: f"mode {image.mode}" if header.alpha else "",
                    DEEP: "per channel" if header.deep else "",
                }
            wrong = tuple((kind, detail) for kind, detail in found.items() if detail)
            looks[index] = _Look(header.size, header.grey, wrong)
        except READ_ERRORS as error:
            looks[index] = _Look(None, wrong=((UNREADABLE, one_line(error)),))
        on_image()

    for_each(look, len(files))
    return looks


def _look_at_arrays(
    dataset: ImageDataset, on_image: Callable[[], None]
) -> tuple[list[_Look], list[list[int]]]:
    looks: list[_Look] = []
    digests: list[bytes] = []
    for _, split in dataset.splits():
        assert isinstance(split.images, np.ndarray)
        for image in split.images:
            wrong = ((BLANK, "an even area"),) if is_blank(to_pillow(image)) else ()
            looks.append(_Look(image.shape[1::-1], image.shape[2] == 1, wrong))
            digests.append(hashlib.sha256(image.tobytes()).digest())
            on_image()
    return looks, equal_keys(digests)


def _wrong_images(images: pd.DataFrame, looks: list[_Look]) -> list[Problem]:
    return [
        _problem(images, index, kind, detail)
        for index, look in enumerate(looks)
        for kind, detail in look.wrong
    ]


def _copies(images: pd.DataFrame, identical: list[list[int]]) -> list[Problem]:
    """A problem for every file that repeats another."""
    problems = []
    for first, *others in identical:
        original = images.loc[first]
        detail = f"same as {original['id']} ({original['split']}, {original['class_name']})"
        problems += [_problem(images, index, IDENTICAL, detail) for index in others]
    return problems


def _shared_groups(images: pd.DataFrame) -> list[Problem]:
    """A problem for every group that has images in more than one split."""
    if "group" not in images:
        return []
    problems = []
    for group, members in images.dropna(subset="group").groupby("group"):
        counts = members["split"].value_counts()
        if len(counts) > 1:
            where = ", ".join(f"{counts[part]} in {part}" for part in PARTS if part in counts)
            problems.append(Problem(SHARED_GROUP, "", "", "", f"{group}: {where}"))
    return problems


def _wrong_counts(counts: pd.DataFrame, official: Mapping[str, int]) -> list[Problem]:
    if not official:
        return []
    found = {str(part): int(number) for part, number in counts.sum().items()}
    if set(found) != set(official):
        found, official = {"all": sum(found.values())}, {"all": sum(official.values())}
    return [
        Problem(COUNT, part, "", "", f"{found[part]} images, officially {number}")
        for part, number in official.items()
        if found[part] != number
    ]


def _problem(images: pd.DataFrame, index: int, kind: str, detail: str) -> Problem:
    split, class_name, name = images.loc[index, ["split", "class_name", "id"]]
    return Problem(kind, str(split), str(class_name), str(name), detail)
