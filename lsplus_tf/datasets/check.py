"""Looking through a data set for what makes its results wrong: every image is decoded."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from lsplus_tf.config import Background, Dataset, Defect, Scaling
from lsplus_tf.datasets import dicom
from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.defects import (
    drop_defects,
    equal_keys,
    is_blank,
    pixel_digest,
)
from lsplus_tf.datasets.file_list import FileList, listed_splits
from lsplus_tf.datasets.finding import masks_beside
from lsplus_tf.datasets.image_files import (
    MORE_THAN_8_BITS,
    NEVER_SCALED,
    READ_ERRORS,
    Header,
    ImageFiles,
    Whole,
    decode_whole,
)
from lsplus_tf.datasets.images import for_each, to_pillow
from lsplus_tf.datasets.labels_file import image_files_beside
from lsplus_tf.datasets.near_copies import (
    Bits,
    Joined,
    near_pairs,
    perceptual_hash,
    thumbnail,
)
from lsplus_tf.datasets.splitting import PARTS, complete_splits
from lsplus_tf.errors import InputError, counted, one_line
from lsplus_tf.tables import spelled_alike

# What a check looks for, in the order of its report.
ONE_CLASS = "fewer than two classes"
SPELLING = "class names that are spelled nearly alike"
LONE = "class of one image"
ABSENT = "class missing from a split"
FEW = "split of a few images"
CARVING = "split that cannot be split off"
UNREADABLE = "unreadable"
MASKS = "mask beside its image"
BLANK = "blank"
TRANSPARENT = "transparent pixels"
DEEP = "more than 8 bits"
UNSCALABLE = "more than 8 bits, never scaled"
MIXED = "8 and more bits mixed"
IDENTICAL = "identical to another"
NEAR = "near copy of another"
SHARED_GROUP = "group in several splits"
UNLISTED = "image without a row"
COUNT = "other than the official number"
KINDS = (
    *(ONE_CLASS, SPELLING, LONE, ABSENT, FEW, CARVING),
    *(UNREADABLE, MASKS, BLANK, TRANSPARENT, DEEP, UNSCALABLE, MIXED),
    *(IDENTICAL, NEAR, SHARED_GROUP, UNLISTED, COUNT),
)
# Nothing is said of these where they are not found.
TOLD_IF_FOUND = (ONE_CLASS, SPELLING, LONE, ABSENT, FEW, CARVING, MASKS, UNSCALABLE, MIXED)
COLUMNS = ["problem", "split", "class", "file", "other_file", "detail"]
# What a training with these image files does, and what to do about it.
CONSEQUENCES = {
    ONE_CLASS: "training stops: there is only one class",
    SPELLING: "used as different classes: give them one name, if they are one",
    LONE: "training stops where a split is split off: add images, or leave the class out",
    ABSENT: "training stops if it is train; of others no accuracy of the class is known",
    FEW: "used as it is, but what is measured on it says nothing: add images",
    CARVING: "training stops",
    UNREADABLE: "training stops: mend them or set dataset.unreadable=skip",
    MASKS: "used as images, unless dataset.drop=[masks]",
    BLANK: "used as they are, unless dataset.drop=[blank]",
    TRANSPARENT: "training stops: set dataset.background (here --background) to black or white",
    DEEP: "training stops: set dataset.scaling (here --scaling), or convert them to 8 bits",
    UNSCALABLE: "training stops: convert them to 8 bits",
    MIXED: "only those of more than 8 bits are scaled: is a value the same in both?",
    IDENTICAL: "used as they are, unless dataset.drop=[duplicates]",
    NEAR: "used as they are: look at them (--sheet), and keep one of each, or all in one split "
    "(--table)",
    SHARED_GROUP: "used as they are, and tests look too good: put each into one split, as "
    "dataset.split_column='' of a table does, such as that of --table",
    UNLISTED: "training stops: add them or set dataset.unlisted=ignore",
}
# Of arrays, where no key of the config leaves any out.
CONSEQUENCES_OF_ARRAYS = CONSEQUENCES | {
    **dict.fromkeys((BLANK, IDENTICAL), "used as they are"),
    NEAR: "used as they are: look at them (--sheet)",
}
# Images of fewer pixels along a side are not compared for being near copies: too little is seen.
SMALLEST_COMPARED = 32
_THUMBNAILS = 4096  # that are kept at a time
# Images, or groups, of each class with which splits can surely be split off: no need to try, which
# takes scikit-learn longer than decoding thousands of images.
_PLENTY = 50


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
    other_file : str
        What the file is a copy, or near copy, of.
    """

    problem: str
    split: str
    class_name: str
    file: str
    detail: str
    other_file: str = ""


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
        Groups of images with the same pixels, as rows of `images`.
    near_within : int
        How many pairs of near copies are within a class, and stay within a split.
    near_across_splits, near_across_classes : int
        How many are not, which are among the problems.
    near_undrawn : int
        How many more may come into different splits, since one is yet to be carved from `train`
        and they share no group; these are among the problems, too.
    images : pandas.DataFrame
        All images: id, split, class_name and, where they are known, group.
    near : list of (int, int)
        Each of these problems: the row of its image, and of the nearest that it is like.
    joined : ndarray
        int, shape (N,): of each image the first that it is joined to, by a group, or as a copy or
        near copy, directly or through others.
    problems : list of Problem
        In the order of `KINDS`.
    dropped : dict of str to list of str
        Ids of what was left out first, by defect.
    """

    counts: pd.DataFrame
    sizes: Counter[tuple[int, int]]
    colours: Counter[str]
    identical: list[list[int]]
    near_within: int
    near_across_splits: int
    near_across_classes: int
    near_undrawn: int
    images: pd.DataFrame
    near: list[tuple[int, int]]
    joined: npt.NDArray[np.intp]
    problems: list[Problem] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)

    @property
    def table(self) -> pd.DataFrame:
        """One row per problem: problem, split, class, file, other_file, detail."""
        rows = [
            (p.problem, p.split, p.class_name, p.file, p.other_file, p.detail)
            for p in self.problems
        ]
        return pd.DataFrame(rows, columns=COLUMNS)

    @property
    def table_of_images(self) -> pd.DataFrame:
        """path, label and group of every image, in which what is `joined` has one group."""
        names = self.images.get("group", self.images["id"]).to_numpy()
        columns = {"path": self.images["id"], "label": self.images["class_name"]}
        return pd.DataFrame({**columns, "group": names[self.joined]})

    @property
    def group_sizes(self) -> pd.Series:
        """How many images each group has; empty where no groups are known."""
        return self.images.get("group", pd.Series(dtype=object)).value_counts()

    def identical_across(self, column: str) -> int:
        """How many groups of identical images have more than one "split" or "class_name"."""
        values = self.images[column].to_numpy()
        return sum(len(set(values[group])) > 1 for group in self.identical)


@dataclass(frozen=True, eq=False, slots=True)
class _Look:
    """What one image shows: its header, None where it cannot be read, and what is wrong."""

    header: Header | None
    key: int | None = None  # the same of identical images
    compared: bool = False  # whether it is looked for near copies
    wrong: tuple[tuple[str, str], ...] = ()


def check_dataset(
    dataset: FileList | ImageDataset,
    *,
    official: Mapping[str, int] | None = None,
    drop: Collection[Defect] = (),
    scaling: Scaling | None = None,
    background: Background | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> CheckReport:
    """Decode every image, and compare them with each other and with the official counts.

    Parameters
    ----------
    dataset : FileList or ImageDataset
        Files are decoded in full. Images are identical if their pixels are, and near copies if
        their perceptual hashes nearly are.
    official : mapping of str to int, optional
        Images in "train", "validation" and "test", or "all". Where the data set has other splits,
        as one is carved when it is loaded, only the sums are compared.
    drop : collection of str, optional
        What `drop_defects` leaves out first, of files.
    scaling : Scaling, optional
        How more than 8 bits would become 8.
    background : {"black", "white"}, optional
        What transparent pixels would show.
    on_image : callable
        Called, from several threads, when an image has been looked at.

    Raises
    ------
    InputError
        If there are DICOM files, and no pydicom.
    """
    dropped: dict[str, list[str]] = {}
    if isinstance(dataset, FileList):
        dicom.check_installed(dataset.ids.tolist())
        listed = dataset.ids
        dataset, dropped = drop_defects(dataset, drop, scaling=scaling, background=background)
        images = _rows(dataset.ids, dataset.parts, dataset.labels, dataset.groups)
        read = partial(_read_file, dataset, scaling, background)
        unlisted = sorted(image_files_beside(dataset.root, listed) - set(listed.tolist()))
        loaded, structure = _as_loaded(dataset)
        masks = masks_beside(dataset.ids.tolist(), dataset.labels.tolist())
    else:
        images = pd.concat(
            [_rows(s.ids, part, s.labels, s.groups) for part, s in dataset.splits()],
            ignore_index=True,
        )
        arrays = [image for _, split in dataset.splits() for image in np.asarray(split.images)]
        read = partial(_read_array, arrays)
        unlisted, structure, masks = [], [], []
        loaded = dataset.counts()
    images["class_name"] = np.array(dataset.class_names)[images["label"]]
    counts = (
        pd.crosstab(images["class_name"], images["split"])
        .reindex(index=dataset.class_names, fill_value=0)
        .reindex(columns=[part for part in PARTS if part in set(images["split"])])
    )
    looks, hashes = _look_at_all(read, len(images), scaling, on_image)
    identical = _identical(looks, read)
    headers = [look.header for look in looks if look.header is not None]
    near = _near_copies(images, looks, hashes, identical)
    problems = [
        *structure,
        *_class_names(dataset.class_names),
        *_unlike_counts(dataset.class_names, loaded),
        *_wrong_images(images, looks),
        *(_problem(images, index, MASKS, "by its name") for index in masks),
        *_mixed_depths(headers),
        *_copies(images, identical),
        *(_copy(images, index, NEAR, "like", other) for index, other in near.pairs),
        *_shared_groups(images),
        *(Problem(UNLISTED, "", "", name, "has no label") for name in unlisted),
        *_wrong_counts(counts, official or {}),
    ]
    problems.sort(key=lambda problem: KINDS.index(problem.problem))
    return CheckReport(
        counts,
        Counter(header.size for header in headers),
        Counter("grey" if header.grey else "colour" for header in headers),
        identical,
        near.within,
        near.across_splits,
        near.across_classes,
        near.undrawn,
        images,
        near.pairs,
        near.joined,
        problems,
        dropped,
    )


def _rows(
    ids: npt.NDArray[np.str_],
    split: npt.NDArray[np.str_] | str,
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.str_] | None,
) -> pd.DataFrame:
    rows = pd.DataFrame({"id": ids, "split": split, "label": labels})
    return rows if groups is None else rows.assign(group=groups)


def _read_file(
    files: FileList, scaling: Scaling | None, background: Background | None, index: int
) -> Whole:
    return decode_whole(files.path(index), scaling, background)


def _read_array(arrays: list[npt.NDArray[np.uint8]], index: int) -> Whole:
    image = arrays[index]
    grey = image.shape[2] == 1
    return Whole(Header(image.shape[1::-1], grey, alpha=False, deep=False), to_pillow(image), None)


def _look_at_all(
    read: Callable[[int], Whole],
    count: int,
    scaling: Scaling | None,
    on_image: Callable[[], None],
) -> tuple[list[_Look], list[Bits]]:
    """What every image shows, and the hashes of those that are compared."""
    looks: list[_Look] = [_Look(None)] * count
    hashes: list[Bits] = []
    for start in range(0, count, _THUMBNAILS):
        thumbnails: dict[int, Image.Image] = {}

        def look(offset: int, start: int = start, into: Any = thumbnails) -> None:
            index = start + offset
            try:
                looks[index], into[index] = _look_at(read(index), scaling)
            except READ_ERRORS as error:
                looks[index] = _Look(None, wrong=((UNREADABLE, one_line(error)),))
            on_image()

        for_each(look, min(_THUMBNAILS, count - start))
        # One after the other, which takes half as long as between the decoding of images.
        compared = [index for index in sorted(thumbnails) if looks[index].compared]
        hashes += [perceptual_hash(thumbnails[index]) for index in compared]
    return looks, hashes


def _look_at(whole: Whole, scaling: Scaling | None) -> tuple[_Look, Image.Image]:
    """What an image shows, and its thumbnail."""
    header = whole.header
    too_deep = header.too_deep(scaling)
    small = thumbnail(whole.picture)
    low, high = cast("tuple[float, float]", small.getextrema())
    # One whose thumbnail varies so much has a larger SD than a blank one: no need to look closer.
    blank = high - low < 64 and is_blank(whole.picture)
    found = {
        BLANK: "an even area" if blank and too_deep is None and not whole.transparent else "",
        TRANSPARENT: "no background is declared" if whole.transparent else "",
        DEEP: "no scaling is declared" if too_deep == MORE_THAN_8_BITS else "",
        UNSCALABLE: "only grey PNG, TIFF and DICOM files are" if too_deep == NEVER_SCALED else "",
    }
    wrong = tuple((kind, detail) for kind, detail in found.items() if detail)
    if not whole.comparable:
        return _Look(header, wrong=wrong), small
    compared = not blank and min(header.size) >= SMALLEST_COMPARED
    return _Look(header, hash((header.size, small.tobytes())), compared, wrong), small


def _identical(looks: list[_Look], read: Callable[[int], Whole]) -> list[list[int]]:
    """Groups of images with the same pixels: those that look the same are read again."""
    alike = equal_keys([look.key for look in looks])
    candidates = [index for group in alike for index in group]
    digests: list[bytes | None] = [None] * len(looks)

    def digest(position: int) -> None:
        with contextlib.suppress(*READ_ERRORS):  # as good as the first time, unless it is gone
            digests[candidates[position]] = pixel_digest(read(candidates[position]))

    for_each(digest, len(candidates))
    return equal_keys(digests)


def _as_loaded(
    files: FileList,
) -> tuple[dict[str, npt.NDArray[np.int64]], list[Problem]]:
    """Images of each class in each split when missing ones are split off, or why they cannot be."""
    if len(files.class_names) < 2:
        found = ", ".join(files.class_names) or "none"
        return {}, [Problem(ONE_CLASS, "", "", "", f"only {found}")]
    not_decoded = ImageFiles(files.root, files.ids, (1, 1, 1), resize=False)
    splits = listed_splits(files, not_decoded, {})
    problems = []
    if len(splits) < len(PARTS) and not _are_plenty(splits["train"], len(files.class_names)):
        try:
            splits = complete_splits(splits, files.class_names, Dataset(name=files.name))
        except InputError as error:
            why = one_line(error).removeprefix(f"{files.name}: ")
            problems = [Problem(CARVING, "", "", "", why)]
    classes = len(files.class_names)
    counts = {
        part: np.bincount(splits[part].labels, minlength=classes)
        for part in PARTS
        if part in splits
    }
    return counts, problems


def _are_plenty(train: Split, classes: int) -> bool:
    """Whether each class has so many images, or groups, that splits can be split off."""
    each = train.ids if train.groups is None else train.groups
    distinct = pd.DataFrame({"label": train.labels, "of": each}).drop_duplicates()["label"]
    return bool(np.bincount(distinct, minlength=classes).min() >= _PLENTY)


def _class_names(class_names: tuple[str, ...]) -> list[Problem]:
    """A problem for all names that are the same to a reader."""
    return [
        Problem(SPELLING, "", "", "", " and ".join(map(repr, names)))
        for names in spelled_alike(class_names)
    ]


def _unlike_counts(
    class_names: tuple[str, ...], counts: Mapping[str, npt.NDArray[np.int64]]
) -> list[Problem]:
    """What cannot be measured, or learned, with so few images of each class in each split."""
    problems = []
    for label, class_name in enumerate(class_names if counts else ()):
        if sum(of_part[label] for of_part in counts.values()) == 1:
            problems.append(Problem(LONE, "", class_name, "", f"{class_name} has 1 image"))
            continue
        for part, of_part in counts.items():
            if of_part[label] == 0:
                detail = f"no image of {class_name} in {part}"
                problems.append(Problem(ABSENT, part, class_name, "", detail))
    for part, of_part in counts.items():
        if of_part.sum() <= len(class_names):
            detail = f"{counted(of_part.sum(), 'image')} of {len(class_names)} classes in {part}"
            problems.append(Problem(FEW, part, "", "", detail))
    return problems


def _mixed_depths(headers: list[Header]) -> list[Problem]:
    deep = sum(header.deep for header in headers)
    if not 0 < deep < len(headers):
        return []
    return [
        Problem(
            MIXED, "", "", "", f"{counted(len(headers) - deep, 'image')} of 8 bits, {deep} of more"
        )
    ]


@dataclass(frozen=True)
class _Near:
    """Near copies that are not identical: pairs within a split and class, and others.

    The last two are `CheckReport.near` and `joined`.
    """

    within: int
    across_splits: int
    across_classes: int
    undrawn: int
    pairs: list[tuple[int, int]]
    joined: npt.NDArray[np.intp]


def _near_copies(
    images: pd.DataFrame, looks: list[_Look], hashes: list[Bits], identical: list[list[int]]
) -> _Near:
    """Every image with an earlier near copy in another split or class: its row, and the nearest's.

    So it is for one in a split that others are yet to be carved from, unless they share a group. Of
    all pairs no more than the numbers is kept, as there may be as many as images, squared.
    """
    rows = np.flatnonzero([look.compared for look in looks])
    same = np.arange(len(looks))
    for group in identical:
        same[group] = group[0]
    split, label = (pd.factorize(images[column])[0] for column in ("split", "label"))
    nearest = np.full(len(looks), 256)
    partner = np.zeros(len(looks), np.intp)
    within = across_splits = across_classes = undrawn = 0
    # Splits that are missing are carved from "train", and keep groups whole.
    carved = (images["split"] == "train").to_numpy() & (images["split"].nunique() < len(PARTS))
    of_group = np.arange(len(looks))
    if "group" in images:
        of_group = pd.factorize(images["group"])[0]
    joined = Joined(len(looks))
    joined.add(np.arange(len(looks)), same)
    joined.add(np.arange(len(looks)), np.unique(of_group, return_index=True)[1][of_group])
    for one, other, distance in near_pairs(np.stack(hashes)) if hashes else ():
        one, other = rows[one], rows[other]
        joined.add(one, other)
        differ = same[one] != same[other]
        one, other, distance = one[differ], other[differ], distance[differ]
        splits, classes = split[one] != split[other], label[one] != label[other]
        across = splits | classes
        across_splits += int(splits.sum())
        across_classes += int(classes.sum())
        parted = ~across & carved[one] & carved[other] & (of_group[one] != of_group[other])
        undrawn += int(parted.sum())
        across |= parted
        within += int((~across).sum())
        # The nearest of each, and of equally near ones the first.
        one, other, distance = one[across], other[across], distance[across]
        order = np.lexsort((one, distance, other))
        kept, first = np.unique(other[order], return_index=True)
        best = order[first]
        better = distance[best] < nearest[kept]
        nearest[kept[better]] = distance[best][better]
        partner[kept[better]] = one[best][better]
    found = np.flatnonzero(nearest < 256)
    pairs = list(zip(found.tolist(), partner[found].tolist(), strict=True))
    return _Near(within, across_splits, across_classes, undrawn, pairs, joined.first())


def _wrong_images(images: pd.DataFrame, looks: list[_Look]) -> list[Problem]:
    return [
        _problem(images, index, kind, detail)
        for index, look in enumerate(looks)
        for kind, detail in look.wrong
    ]


def _copies(images: pd.DataFrame, identical: list[list[int]]) -> list[Problem]:
    """A problem for every file that repeats another."""
    return [
        _copy(images, index, IDENTICAL, "same as", first)
        for first, *others in identical
        for index in others
    ]


def _shared_groups(images: pd.DataFrame) -> list[Problem]:
    """A problem for every group that has images in more than one split."""
    if "group" not in images:
        return []
    counts = pd.crosstab(images["group"], images["split"])
    shared = counts[(counts > 0).sum(axis=1) > 1]
    problems = []
    for group, row in shared.iterrows():
        where = ", ".join(f"{row[part]} in {part}" for part in PARTS if row.get(part))
        problems.append(Problem(SHARED_GROUP, "", "", "", f"{group}: {where}"))
    return problems


def _wrong_counts(counts: pd.DataFrame, official: Mapping[str, int]) -> list[Problem]:
    if not official:
        return []
    found = {str(part): int(number) for part, number in counts.sum().items()}
    if set(found) != set(official):
        found, official = {"all": sum(found.values())}, {"all": sum(official.values())}
    return [
        Problem(COUNT, part, "", "", f"{counted(found[part], 'image')}, officially {number}")
        for part, number in official.items()
        if found[part] != number
    ]


def place(images: pd.DataFrame, index: int) -> str:
    """The name of an image, its split and its class, as a reader is told."""
    split, class_name, name = _where(images, index)
    return f"{name} ({split}, {class_name})"


def _copy(images: pd.DataFrame, index: int, kind: str, how: str, other: int) -> Problem:
    detail = f"{how} {place(images, other)}"
    return Problem(kind, *_where(images, index), detail, _where(images, other)[2])


def _problem(images: pd.DataFrame, index: int, kind: str, detail: str) -> Problem:
    return Problem(kind, *_where(images, index), detail)


def _where(images: pd.DataFrame, index: int) -> tuple[str, str, str]:
    """The split, class and name of an image."""
    split, class_name, name = (images.at[index, key] for key in ("split", "class_name", "id"))
    return str(split), str(class_name), str(name)
