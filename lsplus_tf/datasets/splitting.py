"""Naming the splits, and carving a missing one, stratified by class, from the training split."""

import math
import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from lsplus_tf.config import Dataset
from lsplus_tf.datasets.base import Split
from lsplus_tf.errors import InputError
from lsplus_tf.tables.splits import PERHAPS_VALIDATION, SPLIT_NAMES, split_meanings

PARTS = ("train", "validation", "test")
# What people add to a split's name, as in "01_train_images" and "TestSet".
_ADDED = r"(?:data|sets?|images?|imgs?|split)+"
SEVERAL = "several splits"  # what "train_val" means


def longer_meanings(found: Iterable[str]) -> dict[str, str]:
    """The splits that longer names seem to mean, such as "train_set" or "02_Val-Images".

    Parameters
    ----------
    found : iterable of str

    Returns
    -------
    dict of str to str
        "train", "validation", "test" or `SEVERAL`, by name; others are left out.

    Examples
    --------
    >>> longer_meanings(["TrainSet", "02_val_images", "trainval", "cats"])
    {'TrainSet': 'train', '02_val_images': 'validation', 'trainval': 'several splits'}
    """
    known = SPLIT_NAMES | dict.fromkeys(PERHAPS_VALIDATION, "validation")
    meant = {}
    for name in found:
        # Letters of other alphabets stay, so that a word with them is no split's.
        plain = re.sub(r"[\W\d_]+", "", name.lower())
        plain = re.sub(rf"^{_ADDED}|{_ADDED}$", "", plain)
        if plain in known:
            meant[name] = known[plain]
        elif any(plain.removeprefix(one) in known for one in known if plain.startswith(one)):
            meant[name] = SEVERAL
    return meant


def match_splits(found: list[str], name: str) -> dict[str, str]:
    """Find out which of the names `found` are the splits, in any case of letters.

    Parameters
    ----------
    found : list of str
        Folders or TFDS splits, such as "Training" or "val". Others are left out.
    name : str
        The data set, for messages.

    Returns
    -------
    dict of str to str
        "train" and, where found, "validation" and "test", to the name found.

    Raises
    ------
    InputError
        If there is no training split, or two names for one split.
    """
    matched: dict[str, str] = {}
    for candidate, part in split_meanings(found, name).items():
        if part in matched:
            raise InputError(
                f"{name}: {matched[part]!r} and {candidate!r} are both a {part} split; keep one"
            )
        matched[part] = candidate
    if "train" not in matched:
        raise InputError(
            f"{name}: expected a split 'train' or 'training', found {sorted(found) or 'none'}; "
            "call what is to be trained on train"
        )
    return {part: matched[part] for part in PARTS if part in matched}


def complete_splits(
    splits: dict[str, Split],
    class_names: tuple[str, ...],
    settings: Dataset,
) -> dict[str, Split]:
    """Carve the test split, then the validation split, from "train" where they are missing.

    Parameters
    ----------
    splits : dict of str to Split
        At least "train". Labels within 0..K-1.
    class_names : tuple of str
        The K classes, for messages.
    settings : lsplus_tf.config.Dataset
        The sizes of carved splits, as shares of the training split as given, rounded up; the seed
        that decides which samples are taken; and the data set's name, for messages.

    Returns
    -------
    dict of str to Split
        "train", "validation" and "test"; carved ones are stratified and keep the order of
        samples. Where the training split has groups, whole groups are taken, of 1/fraction
        (rounded) folds of them one, so that the size is only about what was asked for.

    Raises
    ------
    InputError
        If a class has too few samples, or groups, to be in every part.
    """
    complete = dict(splits)
    total = len(splits["train"])
    for part, fraction in (
        ("test", settings.test_fraction),
        ("validation", settings.validation_fraction),
    ):
        if part in complete:
            continue
        pool = complete["train"]
        rest, taken = stratified_indices(
            pool.labels,
            math.ceil(fraction * total),
            class_names,
            seed=settings.split_seed,
            purpose=f"{settings.name}: {part}_fraction={fraction}",
            groups=pool.groups,
        )
        complete["train"], complete[part] = pool.take(rest), pool.take(taken)
    return complete


def stratified_indices(
    labels: npt.NDArray[np.int64],
    size: int,
    class_names: tuple[str, ...],
    *,
    seed: int,
    purpose: str,
    groups: npt.NDArray[np.str_] | None,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return sorted indices of the rest and of `size` samples, both with every class present."""
    # Imported here: it costs a second, and listing the data sets does not need it.
    from sklearn.model_selection import StratifiedGroupKFold, train_test_split

    counts = np.bincount(labels, minlength=len(class_names))
    present = np.flatnonzero(counts)
    smallest = present[np.argmin(counts[present])]
    if counts[smallest] < 2:
        raise InputError(
            f"{purpose}: class {class_names[smallest]!r} has {counts[smallest]} sample "
            "to split, expected at least 2"
        )
    if min(size, len(labels) - size) < len(present):
        raise InputError(
            f"{purpose}: splits {len(labels)} samples into {len(labels) - size} and {size}, "
            f"expected at least one of each of {len(present)} classes in both"
        )

    def lacking(part: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
        return np.setdiff1d(present, labels[part])

    if groups is None:
        rest, taken = train_test_split(
            np.arange(len(labels)), test_size=size, random_state=seed, stratify=labels
        )
    else:
        distinct = len(np.unique(groups))
        folds = max(2, round(len(labels) / size))
        if distinct < folds:
            raise InputError(
                f"{purpose}: expected at least {folds} groups to split, received {distinct}"
            )
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        candidates = list(splitter.split(labels, labels, groups))
        # A rare class is not in every fold.
        complete = (pair for pair in candidates if not any(lacking(part).size for part in pair))
        rest, taken = next(complete, candidates[0])
    for part in (rest, taken):
        absent = lacking(part)
        if absent.size:
            raise InputError(
                f"{purpose}: class {class_names[absent[0]]!r} has too few samples "
                f"({counts[absent[0]]}){' or groups' if groups is not None else ''} "
                "to be in both parts"
            )
    return np.sort(rest), np.sort(taken)


def hold_out(
    parts: npt.NDArray[np.str_],
    labels: npt.NDArray[np.int64],
    class_names: tuple[str, ...],
    *,
    fraction: float,
    seed: int,
    name: str,
    groups: npt.NDArray[np.str_] | None = None,
) -> npt.NDArray[np.str_]:
    """Move some training images to the validation split, stratified by class.

    The LS+ authors did so where the publisher of a data set has no validation split.

    Parameters
    ----------
    parts : ndarray
        str, shape (N,): "train" or "test".
    labels : ndarray
        int64, shape (N,).
    class_names : tuple of str
        The K classes, for messages.
    fraction : float
        Share of the training images, rounded up.
    seed : int
        The seed of scikit-learn's splitter, which sees the training images in their order.
    name : str
        The data set, for messages.
    groups : ndarray or None
        str, shape (N,). With them whole groups are moved, and the share is only about right.

    Returns
    -------
    ndarray
        str, shape (N,): "train", "validation" or "test".

    Raises
    ------
    InputError
        If a class has too few training images.
    """
    train = np.flatnonzero(parts == "train")
    _, taken = stratified_indices(
        labels[train],
        math.ceil(fraction * len(train)),
        class_names,
        seed=seed,
        purpose=f"{name}: validation split of {fraction:.0%}",
        groups=None if groups is None else groups[train],
    )
    divided = parts.astype("<U10")
    divided[train[taken]] = "validation"
    return divided


def sample_per_class(split: Split, class_names: tuple[str, ...], settings: Dataset) -> Split:
    """Draw the same number of samples of every class, without replacement.

    Parameters
    ----------
    split : Split
        N samples.
    class_names : tuple of str
        The K classes, for the message.
    settings : lsplus_tf.config.Dataset
        How many samples of each class; the seed that decides which; and the data set's name, for
        the message.

    Returns
    -------
    Split
        K * count samples, in their order; all where no count is given.

    Raises
    ------
    InputError
        If a class has fewer.
    """
    count = settings.samples_per_class
    if count is None:
        return split
    counts = np.bincount(split.labels, minlength=len(class_names))
    scarce = np.flatnonzero(counts < count)
    if scarce.size:
        raise InputError(
            f"{settings.name}: dataset.samples_per_class={count}, but class "
            f"{class_names[scarce[0]]!r} has {counts[scarce[0]]} training samples "
            f"({scarce.size} such classes)"
        )
    rng = np.random.default_rng(settings.split_seed)
    shuffled = rng.permutation(len(split))
    by_class = shuffled[np.argsort(split.labels[shuffled], kind="stable")]
    first = np.concatenate(([0], np.cumsum(counts)[:-1]))
    drawn = by_class[(first[:, np.newaxis] + np.arange(count)).ravel()]
    return split.take(np.sort(drawn))


def drawn_evenly(labels: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.intp]:
    """Samples drawn evenly over the classes, the same ones each time.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
    count : int
        How many to draw; all are where there are fewer.

    Returns
    -------
    ndarray of int, shape (min(count, N),)
        Increasing. A class that has fewer than its share gives all, and the others more.

    Examples
    --------
    >>> labels = np.array([0, 0, 0, 0, 1, 2, 2, 2])
    >>> np.bincount(labels[drawn_evenly(labels, 5)]).tolist()
    [2, 1, 2]
    """
    shuffled = np.random.default_rng(0).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, first, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    # The first of every class, then the second of each that has one, and so on.
    place = np.arange(len(labels)) - np.repeat(first, sizes)
    return np.sort(by_class[np.argsort(place, kind="stable")[:count]])
