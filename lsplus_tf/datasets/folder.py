"""Image files in one folder per class, with or without folders per split around them."""

import re
import warnings
from pathlib import Path

import numpy as np

from lsplus_tf.datasets.file_list import FileList
from lsplus_tf.datasets.image_files import SUFFIXES
from lsplus_tf.datasets.splitting import SPLIT_NAMES, match_splits
from lsplus_tf.errors import InputError, MissingDataError


def list_folder(folder: str, group_pattern: str | None = None) -> FileList:
    """List a folder of image files; `load_dataset` says what is accepted.

    Parameters
    ----------
    folder : str
        The folder, relative to the current one or absolute; "~" is the home folder.
    group_pattern : str or None
        A regular expression that is found in every file's path below the folder; its first
        parenthesis, or all that it matches, is the sample's group.

    Raises
    ------
    MissingDataError
        If there is no such folder.
    InputError
        If the layout or a name does not fit; the message names which.
    """
    name = f"folder:{folder}"
    root = Path(folder).expanduser()
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
    others: list[str] = []
    for part, by_class in parts.items():
        before = len(ids)
        for class_name, class_folder in by_class.items():
            found = [p for p in sorted(class_folder.iterdir()) if p.is_file() and p.name[0] != "."]
            usable = [p for p in found if p.suffix.lower() in SUFFIXES]
            others += [p.relative_to(root).as_posix() for p in found if p not in usable]
            if part == "train" and not usable:
                raise InputError(
                    f"{name}: class folder {class_folder.relative_to(root).as_posix()} holds no "
                    f"{', '.join(SUFFIXES)} file ({len(found)} other files)"
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
            f"{name}: {len(others)} files that are no {', '.join(SUFFIXES)} are ignored, such as "
            f"{others[0]}",
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
    if folders and not any(found.lower() in SPLIT_NAMES for found in folders):
        return {"train": root}
    matched = match_splits(list(folders), name)
    ignored = sorted(set(folders) - set(matched.values()))
    if ignored:
        warnings.warn(f"{name}: folders that are no split are ignored: {ignored}", stacklevel=5)
    return {part: folders[found] for part, found in matched.items()}


def _subfolders(folder: Path) -> dict[str, Path]:
    return {p.name: p for p in sorted(folder.iterdir()) if p.is_dir() and p.name[0] != "."}


def _groups(ids: list[str], pattern: str, name: str) -> np.ndarray:
    """The group of every file, from its path."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{name}: dataset.group_pattern={pattern!r}: {error}") from error
    found = [compiled.search(file) for file in ids]
    missing = [file for file, match in zip(ids, found, strict=True) if match is None]
    if missing:
        raise InputError(
            f"{name}: dataset.group_pattern={pattern!r} is not found in {missing[0]} "
            f"({len(missing)} such files)"
        )
    return np.array([match[min(1, compiled.groups)] for match in found if match is not None])
