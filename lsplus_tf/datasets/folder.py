"""Image files in one folder per class, with or without folders per split around them.

The folders directly below the data folder, or below a split's, are the classes. An image lies in
its class's folder or at any depth below it, as in CLASS/patient/image.png.
"""

import os
import re
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lsplus_tf.config import FOLDER_PREFIX, Dataset
from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.finding import Found, check_encoding, find_below, look_into
from lsplus_tf.datasets.labels_file import alike
from lsplus_tf.datasets.splitting import SPLIT_NAMES, match_splits, split_meanings
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.files import expanded, shown


def list_folder(settings: Dataset) -> FileList:
    """List a folder of image files; the documentation says what is accepted.

    Parameters
    ----------
    settings : lsplus_tf.config.Dataset
        Its name is "folder:PATH", PATH relative to the current folder or absolute; "~" is the home
        folder. `group_pattern` is searched for in every file's path below the folder.

    Raises
    ------
    MissingDataError
        If there is no such folder.
    InputError
        If the layout or a name does not fit; the message names which.
    """
    name = settings.name
    root = _existing(name)
    top = look_into(root)
    part_folders = _part_folders(top, name)
    ignored = sorted(set(top.folders) - set(part_folders.values()))
    if ignored and "" not in part_folders.values():
        warnings.warn(f"{name}: folders that are no split are ignored: {ignored}", stacklevel=4)
    outside = list(top.images)
    parts: dict[str, dict[str, Found]] = {}
    for part, folder in part_folders.items():
        here = look_into(root / folder) if folder else top
        if folder:
            outside += [f"{folder}/{image}" for image in here.images]
        parts[part] = _by_class(root, folder, here.folders)
    _refuse_splits_within(parts, part_folders, name)
    _refuse_other_depths(parts["train"], part_folders["train"], name)
    class_names = tuple(sorted(parts["train"]))
    _check_classes(parts, part_folders, name)
    ids: list[str] = []
    labels: list[int] = []
    split_names: list[str] = []
    for part, by_class in parts.items():
        for label, class_name in enumerate(class_names):
            images = by_class[class_name].images if class_name in by_class else []
            ids += images
            labels += [label] * len(images)
            split_names += [part] * len(images)
    others = [other for found in _all(parts) for other in found.others]
    for said in (_said_of_others(outside, others), *_said_of_depths(parts, part_folders)):
        if said:
            warnings.warn(f"{name}: {said}", stacklevel=4)
    if same := alike(class_names):
        warnings.warn(f"{name}: {same}", stacklevel=4)
    return FileList(
        name,
        root,
        class_names,
        np.array(ids),
        np.array(labels, np.int64),
        np.array(split_names),
        groups=None if settings.group_pattern is None else _groups(ids, settings),
    )


def _existing(name: str) -> Path:
    """The folder that a name means."""
    given = name.removeprefix(FOLDER_PREFIX)
    root = expanded(given or ".", FOLDER_PREFIX)
    check_encoding(root)
    if not given or not os.path.isdir(root):
        what = "a file; a table of images is named csv:FILE" if os.path.isfile(root) else "none"
        raise MissingDataError(f"{name}: expected a folder, {root.absolute()} is {what}")
    return root


def _part_folders(top: Found, name: str) -> dict[str, str]:
    """The name of each split's folder; without any, the whole, "", is the training split."""
    if not top.folders:
        raise InputError(
            f"{name}: expected one folder per class, as PATH/CLASS/* or PATH/train/CLASS/*, found "
            f"no folder and {len(top.images)} images; make such folders, or a table of the images "
            "(csv:FILE)"
        )
    return match_splits(top.folders, name) if split_meanings(top.folders, name) else {"train": ""}


def _by_class(root: Path, part_folder: str, folders: list[str]) -> dict[str, Found]:
    """What lies in and below the folders of a split, by class."""
    by_class: dict[str, Found] = {}
    for folder in folders:
        below = find_below(root, f"{part_folder}/{folder}" if part_folder else folder)
        # Systems write one name in several forms of Unicode.
        class_name = unicodedata.normalize("NFC", folder).strip() or folder
        there = by_class.setdefault(class_name, Found())
        there.folders.append(folder)
        there.images.extend(below.images)
        there.others.extend(below.others)
    return by_class


def _all(parts: dict[str, dict[str, Found]]) -> Iterator[Found]:
    return (found for by_class in parts.values() for found in by_class.values())


def _refuse_splits_within(
    parts: dict[str, dict[str, Found]], part_folders: dict[str, str], name: str
) -> None:
    """Refuse folders called as splits in the folders of classes, and say what is meant."""
    has_splits = "" not in part_folders.values()
    holders: dict[str, set[str]] = {}  # folders, and those in them that are called as a split
    for found in _all(parts):
        for image in found.images:
            folders = image.split("/")[:-1]
            for depth in range(1 + has_splits, len(folders)):  # none in most data sets
                if folders[depth].lower() in SPLIT_NAMES:
                    holders.setdefault("/".join(folders[:depth]), set()).add(folders[depth])
                    break
    if not holders:
        return
    least = min(holder.count("/") for holder in holders)
    first, *more = sorted(holder for holder in holders if holder.count("/") == least)
    inside = sorted(holders[first])
    listed = ", ".join(f"{first}/{split}" for split in inside)
    if has_splits:
        raise InputError(
            f"{name}: folders called as splits lie within a class: {listed}; move their images "
            "up, or rename the folders"
        )
    deeper = f"{name.rstrip('/')}/{first}"
    is_set = "train" in {SPLIT_NAMES[split.lower()] for split in inside}
    if is_set and not more:
        raise InputError(f"{name}: the splits lie one level deeper: {listed}; name {deeper}")
    alternative = f", or, of several data sets, name one: {deeper}" if is_set else ""
    raise InputError(
        f"{name}: expected PATH/train/CLASS/*, found splits below classes: {listed}; put the "
        f"split's folder around the class's{alternative}, or make a table of the images (csv:FILE)"
    )


def _refuse_other_depths(by_class: dict[str, Found], part_folder: str, name: str) -> None:
    """Refuse a folder around the classes, or in one of them, in place of that of the classes."""
    if {class_name.lower() for class_name in by_class} == {"images", "masks"}:
        raise InputError(
            f"{name}: expected one folder per class, found images and their masks; name the folder "
            "above, if its folders are the classes, or make a table of the images (csv:FILE)"
        )
    if len(by_class) != 1:
        return
    ((only, found),) = by_class.items()
    where = f"{part_folder}/{only}" if part_folder else only
    depth = where.count("/") + 1
    below = {image.split("/")[depth] for image in found.images if image.count("/") > depth}
    direct = any(image.count("/") == depth for image in found.images)
    if len(below) > 1 and not direct:
        few = ", ".join(sorted(below)[:3]) + (", ..." if len(below) > 3 else "")
        up = f"move these up into {part_folder}/"
        remedy = up if part_folder else f"name {name.rstrip('/')}/{only}"
        raise InputError(
            f"{name}: expected at least two class folders, found {where}/ alone, with the "
            f"folders {few}; if these are the classes, {remedy}"
        )


def _check_classes(
    parts: dict[str, dict[str, Found]], part_folders: dict[str, str], name: str
) -> None:
    """Refuse classes without training images, and splits without images."""
    class_names = sorted(parts["train"])
    by_case = {class_name.lower(): class_name for class_name in class_names}
    for part, by_class in parts.items():
        prefix = f"{part_folders[part]}/" if part_folders[part] else ""
        for class_name, found in by_class.items():
            folder = f"{prefix}{found.folders[0]}"
            if class_name not in class_names:
                other = by_case.get(class_name.lower())
                hint = f"; is it {other!r}? Give both folders the same name" if other else ""
                raise InputError(
                    f"{name}: class folder {folder} has no "
                    f"counterpart in the training split, which has {class_names}{hint}"
                )
            if part == "train" and not found.images:
                raise InputError(
                    f"{name}: class folder {folder} holds no image file "
                    f"({len(found.others)} others)"
                )
        if not any(found.images for found in by_class.values()):
            raise InputError(
                f"{name}: no image file in {prefix}CLASS/, "
                f"class folders found: {sorted(by_class) or 'none'}"
            )


def _said_of_others(outside: list[str], others: list[str]) -> str:
    """In words: images outside of class folders, and files in them that are no images."""
    ignored = outside + others
    if not ignored:
        return ""
    example = shown(min(ignored))
    return (
        f"{len(ignored)} files that are no images in a class folder are ignored, such as {example}"
    )


def _said_of_depths(
    parts: dict[str, dict[str, Found]], part_folders: dict[str, str]
) -> Iterator[str]:
    """In words: the class folders with images both in them and in folders below."""
    for part, by_class in parts.items():
        depth = 1 + bool(part_folders[part])
        for class_name, found in by_class.items():
            deeper = [image for image in found.images if image.count("/") > depth]
            direct = len(found.images) - len(deeper)
            if direct and deeper:
                yield (
                    f"class {class_name!r} has {direct} images in its folder and {len(deeper)} in "
                    f"folders below, such as {deeper[0]}: all are taken"
                )


def _groups(ids: list[str], settings: Dataset) -> np.ndarray:
    """The group of every file, from its path."""
    pattern = settings.group_pattern
    assert pattern is not None
    option = f"{settings.name}: dataset.group_pattern={pattern!r}"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{option}: {error}") from error
    matches = [compiled.search(file) for file in ids]
    missing = [file for file, match in zip(ids, matches, strict=True) if match is None]
    if missing:
        raise InputError(f"{option} is not found in {missing[0]} ({len(missing)} such files)")
    # A parenthesis that takes no part in the match, or matches nothing, names no group.
    which = min(1, compiled.groups)
    groups = [match[which] if match else None for match in matches]
    empty = [file for file, group in zip(ids, groups, strict=True) if not group]
    if empty:
        what = "its first parenthesis" if which else "what it matches"
        raise InputError(
            f"{option} is found in {empty[0]}, but {what} is empty there ({len(empty)} such "
            "files); the group is what the first parenthesis matches"
        )
    return np.array(groups, np.str_)
