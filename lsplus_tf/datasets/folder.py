"""Image files in one folder per class, with or without folders per split around them.

The folders directly below the data folder, or below a split's, are the classes. An image lies in
its class's folder or at any depth below it, as in CLASS/patient/image.png. Where it is otherwise, a
pattern finds the class in an image's path.
"""

import os
import re
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsplus_tf.config import FOLDER_PREFIX, Dataset
from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.finding import (
    Found,
    check_encoding,
    find_below,
    image_of_mask,
    look_into,
    of_masks,
    said_of_dicom,
)
from lsplus_tf.datasets.labels_file import found_in_paths
from lsplus_tf.datasets.splitting import (
    PARTS,
    SEVERAL,
    longer_meanings,
    match_splits,
)
from lsplus_tf.errors import InputError, MissingDataError, some_of
from lsplus_tf.files import expanded, shown
from lsplus_tf.tables.names import alike
from lsplus_tf.tables.splits import SPLIT_NAMES, split_meanings

_ARCHIVE = re.compile(r"\.(?:zip|tar|tgz|gz|bz2|xz|7z|rar)/*$", re.I)
_FOLD = re.compile(r"(?:k?[ _-]?folds?|cv|split|part|partition)[ _-]?\d+", re.I)


def list_folder(settings: Dataset) -> FileList:
    """List a folder of image files; the documentation says what is accepted.

    Parameters
    ----------
    settings : lsplus_tf.config.Dataset
        Its name is "folder:PATH", PATH relative to the current folder or absolute; "~" is the home
        folder. `class_pattern` and `group_pattern` are searched for in every file's path below the
        folder.

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
    if settings.class_pattern is not None:
        return _list_by_pattern(settings, root, top)
    part_folders = _part_folders(root, top, name)
    outside, beside = list(top.images), list(top.others)
    parts: dict[str, dict[str, Found]] = {}
    for part, folder in part_folders.items():
        here = look_into(root / folder) if folder else top
        if folder:
            outside += [f"{folder}/{image}" for image in here.images]
            beside += [f"{folder}/{other}" for other in here.others]
        parts[part] = _by_class(root, folder, here.folders)
    _refuse_splits_within(parts, part_folders, name)
    _refuse_other_depths(parts["train"], part_folders["train"], name)
    _refuse_masks_as_classes(parts["train"], name)
    class_names = tuple(sorted(parts["train"]))
    _check_classes(root, parts, part_folders, outside, name)
    ids: list[str] = []
    labels: list[int] = []
    split_names: list[str] = []
    for part, by_class in parts.items():
        for label, class_name in enumerate(class_names):
            images = by_class[class_name].images if class_name in by_class else []
            ids += images
            labels += [label] * len(images)
            split_names += [part] * len(images)
    others = [*beside, *(other for found in _all(parts) for other in found.others)]
    sayings = (
        _said_of_unused(top, part_folders),
        _said_of_others(root, outside, others),
        _said_of_same_folders(parts["train"], 1 + bool(part_folders["train"])),
        *_said_of_depths(parts, part_folders),
        alike(class_names),
    )
    for said in filter(None, sayings):
        warnings.warn(f"{name}: {said}", stacklevel=4)
    return FileList(
        name,
        root,
        class_names,
        np.array(ids),
        np.array(labels, np.int64),
        np.array(split_names),
        groups=_groups(ids, settings),
    )


def _groups(ids: list[str], settings: Dataset) -> npt.NDArray[np.str_] | None:
    if settings.group_pattern is None:
        return None
    return found_in_paths(ids, settings, "group_pattern")


def _list_by_pattern(settings: Dataset, root: Path, top: Found) -> FileList:
    """The image files below a folder, whose paths say their classes."""
    name = settings.name
    has_splits = bool(split_meanings(top.folders, name))
    part_folders = match_splits(top.folders, name) if has_splits else {"train": ""}
    found = {part: find_below(root, folder) for part, folder in part_folders.items()}
    _refuse_splits_within({part: {"": each} for part, each in found.items()}, part_folders, name)
    for part, each in found.items():
        if not each.images:
            where = f" in {part_folders[part]}/" if has_splits else ""
            away = f"; move the folder away, and a {part} split is split off from train"
            raise InputError(f"{name}: no image file{where}{'' if part == 'train' else away}")
    ids = [image for each in found.values() for image in each.images]
    split_names = np.repeat([*found], [len(each.images) for each in found.values()])
    classes = np.array([*map(_plain, found_in_paths(ids, settings, "class_pattern").tolist())])
    class_names, labels = np.unique(classes, return_inverse=True)
    absent = set(class_names.tolist()) - set(classes[split_names == "train"].tolist())
    if absent:
        first = min(absent)
        example = ids[int(np.argmax(classes == first))]
        trained = some_of(sorted(set(class_names.tolist()) - absent))
        raise InputError(
            f"{name}: class {first!r}, found in {example} by dataset.class_pattern="
            f"{settings.class_pattern!r}, has no training image; the training split has {trained}"
        )
    others = [other for each in found.values() for other in each.others]
    sayings = (
        _said_of_unused(top, part_folders),
        _said_of_others(root, top.images if has_splits else [], others),
        alike(class_names.tolist()),
    )
    for said in filter(None, sayings):
        warnings.warn(f"{name}: {said}", stacklevel=5)
    return FileList(
        name,
        root,
        tuple(class_names.tolist()),
        np.array(ids),
        labels.astype(np.int64),
        split_names,
        groups=_groups(ids, settings),
    )


def _existing(name: str) -> Path:
    """The folder that a name means."""
    given = name.removeprefix(FOLDER_PREFIX)
    root = expanded(given or ".", FOLDER_PREFIX)
    check_encoding(root)
    if not given or not os.path.isdir(root):
        if not os.path.isfile(root):
            what = "none"
        elif _ARCHIVE.search(given):
            what = "an archive; unpack it, and name the folder"
        else:
            what = "a file; a table of images is named csv:FILE"
        raise MissingDataError(f"{name}: expected a folder, {root.absolute()} is {what}")
    return root


def _part_folders(root: Path, top: Found, name: str) -> dict[str, str]:
    """The name of each split's folder; without any, the whole, "", is the training split."""
    if not top.folders:
        raise InputError(
            f"{name}: expected one folder per class, as PATH/CLASS/* or PATH/train/CLASS/*, found "
            f"no folder and {len(top.images)} images; make such folders, or a table of the images "
            "(csv:FILE), or, if their names say the class, set dataset.class_pattern "
            "(--class-pattern)"
        )
    _refuse_folds(root, top.folders, name)
    certain = split_meanings(top.folders, name)
    longer = longer_meanings(folder for folder in top.folders if folder not in certain)
    meant = certain | longer
    parts = list(meant.values())
    if not longer or not (certain or "train" in parts or len(set(parts)) > 1):
        return match_splits(top.folders, name) if certain else {"train": ""}
    classes = [sorted(map(_plain, look_into(root / folder).folders)) for folder in top.folders]
    if len(meant) < len(top.folders) or not classes[0] or any(c != classes[0] for c in classes):
        wrong = "not every folder is such a split, or they do not hold the same class folders"
    elif SEVERAL in parts:
        wrong = "one is of several (called train, others are split off from it)"
    elif len(set(parts)) < len(parts):
        wrong = "two are of one split"
    elif "train" not in parts:
        wrong = "none is of training images"
    else:
        return {part: folder for part in PARTS for folder in meant if meant[folder] == part}
    raise InputError(
        f"{name}: {', '.join(f'{folder}/' for folder in sorted(meant))} seem to be splits, but "
        f"{wrong}; call the splits' folders train, validation and test, as in PATH/train/CLASS/*, "
        "and move the others away, or make a table of the images (csv:FILE); if they are classes, "
        "give them other names"
    )


def _refuse_folds(root: Path, folders: list[str], name: str) -> None:
    """Refuse folders of folds, which hold the folders of classes."""
    if len(folders) < 2 or not all(_FOLD.fullmatch(folder) for folder in folders):
        return
    if all(len(look_into(root / folder).folders) > 1 for folder in folders):
        raise InputError(
            f"{name}: {', '.join(folders[:3])} seem to be folds, which hold the folders of "
            "classes; make a table of the images with a column split (csv:FILE)"
        )


def _plain(folder: str) -> str:
    # Systems write one name in several forms of Unicode.
    return unicodedata.normalize("NFC", folder).strip() or folder


def _by_class(root: Path, part_folder: str, folders: list[str]) -> dict[str, Found]:
    """What lies in and below the folders of a split, by class."""
    by_class: dict[str, Found] = {}
    for folder in folders:
        below = find_below(root, f"{part_folder}/{folder}" if part_folder else folder)
        there = by_class.setdefault(_plain(folder), Found())
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
    images = [one for one in by_class if re.fullmatch("(?:images?|imgs?)", one, re.I)]
    if len(by_class) == 2 and images and any(map(of_masks, by_class)):
        raise InputError(
            f"{name}: expected one folder per class, found images and their masks; name the folder "
            "above, if its folders are the classes, or make a table of the images (csv:FILE)"
        )
    if len(by_class) != 1:
        return
    ((only, found),) = by_class.items()
    where = only = found.folders[0]
    if part_folder:
        where = f"{part_folder}/{only}"
    while True:  # down to where there is more than one folder
        depth = where.count("/") + 1
        below = {image.split("/")[depth] for image in found.images if image.count("/") > depth}
        direct = any(image.count("/") == depth for image in found.images)
        if len(below) != 1 or direct:
            break
        (folder,) = below
        where, only = f"{where}/{folder}", f"{only}/{folder}"
    if len(below) > 1 and not direct:
        few = ", ".join(sorted(below)[:3]) + (", ..." if len(below) > 3 else "")
        up = f"move these up into {part_folder}/"
        remedy = up if part_folder else f"name {name.rstrip('/')}/{only}"
        raise InputError(
            f"{name}: expected at least two class folders, found {where}/ alone, with the "
            f"folders {few}; if these are the classes, {remedy}"
        )


def _refuse_masks_as_classes(by_class: dict[str, Found], name: str) -> None:
    """Refuse a folder CLASS_mask beside CLASS, if its images are called as those of the class."""
    for class_name, found in by_class.items():
        image_class = image_of_mask(class_name)
        if image_class is None or image_class not in by_class or not found.images:
            continue
        stems = {Path(image).stem for image in by_class[image_class].images}
        if all(stems & {Path(mask).stem, image_of_mask(Path(mask).stem)} for mask in found.images):
            raise InputError(
                f"{name}: class folder {found.folders[0]} seems to hold masks of {image_class}, "
                "as its images are called as those; move it away, or, if it is a class, give it "
                "another name"
            )


def _check_classes(
    root: Path,
    parts: dict[str, dict[str, Found]],
    part_folders: dict[str, str],
    outside: list[str],
    name: str,
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
                hint = "; add the class to the training images, or move the folder away"
                if other:
                    hint = f"; is it {other!r}? Give both folders the same name"
                raise InputError(
                    f"{name}: class folder {folder} has no "
                    f"counterpart in the training split, which has {some_of(class_names)}{hint}"
                )
            if part == "train" and not found.images:
                raise InputError(
                    f"{name}: class folder {folder} holds no image file "
                    f"({len(found.others)} others)"
                    + (said_of_dicom(root, found.others) or "; remove the folder, or move it away")
                )
        if not any(found.images for found in by_class.values()):
            hint = ""
            if part != "train":
                flat = sum(image.startswith(prefix) for image in outside)
                what = f", and {flat} images without a class" if flat else ""
                hint = f"{what}; move {prefix} away, and a {part} split is split off from train"
            raise InputError(
                f"{name}: no image file in {prefix}CLASS/, "
                f"class folders found: {some_of(sorted(by_class)) or 'none'}{hint}"
            )


def _said_of_unused(top: Found, part_folders: dict[str, str]) -> str:
    """In words: folders beside those of the splits."""
    unused = sorted(set(top.folders) - set(part_folders.values()))
    if not unused or "" in part_folders.values():
        return ""
    return (
        f"the images in {some_of([f'{folder}/' for folder in unused])} are not used, "
        f"as the splits are in {', '.join(f'{folder}/' for folder in part_folders.values())}; "
        "to use them as a split, call the folder train, validation or test"
    )


def _said_of_others(root: Path, outside: list[str], others: list[str]) -> str:
    """In words: images outside of class folders, and files in them that are no images."""
    ignored = outside + others
    if not ignored:
        return ""
    example = shown(min(ignored))
    return (
        f"{len(ignored)} files that are not images in a class folder are ignored, such as {example}"
        f"{said_of_dicom(root, others)}"
    )


def _said_of_same_folders(by_class: dict[str, Found], depth: int) -> str:
    """In words: folders that all class folders hold, as where these are patients."""
    held = [
        {image.split("/")[depth] for image in found.images if image.count("/") > depth}
        for found in by_class.values()
    ]
    same = sorted(held[0])
    if len(held) < 2 or len(same) < 2 or any(folders != held[0] for folders in held):
        return ""
    if any(map(of_masks, same)):  # beside their images
        return ""
    few = ", ".join(same[:3]) + (", ..." if len(same) > 3 else "")
    pattern = "^" + "[^/]+/" * depth + "([^/]+)/"
    return (
        f"each class folder holds the same folders ({few}): if these are the classes, "
        f"set dataset.class_pattern to '{pattern}' (--class-pattern)"
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
