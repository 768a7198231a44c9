"""Image files in one folder per class, with or without folders per split around them."""

import re
import warnings
from pathlib import Path

import numpy as np

from lsplus_tf.config import FOLDER_PREFIX, Dataset
from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.image_files import SUFFIXES
from lsplus_tf.datasets.splitting import SPLIT_NAMES, match_splits
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.files import expanded

_OF_THE_SYSTEM = ("thumbs.db", "desktop.ini")  # Windows puts them into folders


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
    name, group_pattern = settings.name, settings.group_pattern
    folder = name.removeprefix(FOLDER_PREFIX)
    root = expanded(folder or ".", FOLDER_PREFIX)
    if not folder or not root.is_dir():
        raise MissingDataError(f"{name}: expected a folder, {root.absolute()} is none")
    part_folders = _part_folders(root, name)
    parts = {part: _subfolders(folder) for part, folder in part_folders.items()}
    class_names = tuple(parts["train"])
    for by_class in parts.values():
        for class_name, class_folder in by_class.items():
            if class_name not in class_names:
                raise InputError(
                    f"{name}: class folder {class_folder.relative_to(root).as_posix()} has no "
                    f"counterpart in the training split, which has {list(class_names)}"
                )
    ids: list[str] = []
    labels: list[int] = []
    split_names: list[str] = []
    others = [p for p in root.iterdir() if _is_image(p)]
    for part, by_class in parts.items():
        before = len(ids)
        if part_folders[part] != root:
            others += [p for p in part_folders[part].iterdir() if _is_image(p)]
        for class_name, class_folder in by_class.items():
            usable, ignored = _image_files(class_folder)
            others += ignored
            if part == "train" and not usable:
                raise InputError(
                    f"{name}: class folder {class_folder.relative_to(root).as_posix()} holds no "
                    f"{', '.join(SUFFIXES)} file ({len(ignored)} others)"
                )
            ids += [p.relative_to(root).as_posix() for p in usable]
            labels += [class_names.index(class_name)] * len(usable)
        if len(ids) == before:
            where = (part_folders[part].relative_to(root) / "CLASS").as_posix()
            raise InputError(
                f"{name}: no {', '.join(SUFFIXES)} file in {where}/, "
                f"class folders found: {sorted(by_class) or 'none'}"
            )
        split_names += [part] * (len(ids) - before)
    if others:
        warnings.warn(
            f"{name}: {len(others)} files that are no {', '.join(SUFFIXES)} in a class folder are "
            f"ignored, such as {min(others).relative_to(root).as_posix()}",
            stacklevel=4,
        )
    return FileList(
        name,
        root,
        class_names,
        np.array(ids),
        np.array(labels, np.int64),
        np.array(split_names),
        groups=None if group_pattern is None else _groups(ids, group_pattern, name),
    )


def _part_folders(root: Path, name: str) -> dict[str, Path]:
    """The folder of each split; without any, the whole is the training split."""
    folders = _subfolders(root)
    if not folders:
        count = sum(map(_is_image, root.iterdir()))
        raise InputError(
            f"{name}: expected one folder per class, as PATH/CLASS/* or PATH/train/CLASS/*, found "
            f"no folder and {count} images; make such folders, or a table of the images (csv:FILE)"
        )
    if not any(found.lower() in SPLIT_NAMES for found in folders):
        return {"train": root}
    matched = match_splits(list(folders), name)
    ignored = sorted(set(folders) - set(matched.values()))
    if ignored:
        warnings.warn(f"{name}: folders that are no split are ignored: {ignored}", stacklevel=5)
    return {part: folders[found] for part, found in matched.items()}


def _subfolders(folder: Path) -> dict[str, Path]:
    return {p.name: p for p in sorted(folder.iterdir()) if p.is_dir() and p.name[0] != "."}


def _image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images directly in a folder, and what else is there that a user put there."""
    images: list[Path] = []
    others: list[Path] = []
    for found in sorted(folder.iterdir()):
        if found.name[0] != "." and found.name.lower() not in _OF_THE_SYSTEM:
            (images if _is_image(found) else others).append(found)
    return images, others


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


def _groups(ids: list[str], pattern: str, name: str) -> np.ndarray:
    """The group of every file, from its path."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{name}: dataset.group_pattern={pattern!r}: {error}") from error
    matches = [compiled.search(file) for file in ids]
    # A parenthesis that takes no part in the match, or matches nothing, names no group.
    groups = [match[min(1, compiled.groups)] if match else None for match in matches]
    missing = [file for file, group in zip(ids, groups, strict=True) if not group]
    if missing:
        raise InputError(
            f"{name}: dataset.group_pattern={pattern!r} is not found in {missing[0]} "
            f"({len(missing)} such files)"
        )
    return np.array(groups, np.str_)
