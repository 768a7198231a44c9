"""From a list of image files to a data set: one shape, complete splits, and decoded or not."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lsplus_tf.config import CSV_PREFIX, FOLDER_PREFIX, Dataset, Scaling
from lsplus_tf.datasets import dicom
from lsplus_tf.datasets.base import ImageDataset, Split
from lsplus_tf.datasets.defects import drop_defects
from lsplus_tf.datasets.finding import masks_beside
from lsplus_tf.datasets.image_cache import (
    CACHE_DIR,
    Nowhere,
    check_room,
    decode_all,
    fingerprint,
    on_disk,
)
from lsplus_tf.datasets.image_files import (
    MORE_THAN_8_BITS,
    NEVER_SCALED,
    READ_ERRORS,
    TRANSPARENT,
    Header,
    ImageFiles,
    read_header,
)
from lsplus_tf.datasets.images import check_memory, for_each
from lsplus_tf.datasets.label_noise import look_alikes, with_label_noise
from lsplus_tf.datasets.splitting import PARTS, complete_splits, sample_per_class
from lsplus_tf.errors import InputError, counted, one_line
from lsplus_tf.files import expanded

# Told of the images' shape, see `load_dataset`.
BeforeDecoding = Callable[[tuple[int | None, int | None, int | None]], None]
_NAMED = 3
# What is skipped, in words.
SKIPPED = {
    "blank": "blank image",
    "duplicates": "duplicate",
    "masks": "mask",
    "unreadable": "unreadable image",
}


@dataclass(frozen=True, eq=False)
class FileList:
    """The image files of a data set, with what its labels files or folders say of them.

    Parameters
    ----------
    name : str
        The name it was asked for by.
    root : Path
        The folder.
    class_names : tuple of str
        The K classes.
    ids : ndarray
        str, shape (N,): the files' paths below `root`, with "/", each once.
    labels : ndarray
        int64, shape (N,), values 0..K-1.
    parts : ndarray
        str, shape (N,): "train", "validation" or "test". A split that no file has is carved from
        "train", whole groups at a time where there are groups.
    groups : ndarray or None
        str, shape (N,): patient, lesion or slide.
    votes : ndarray or None
        int64, shape (N, K): how many annotators chose each class.
    """

    name: str
    root: Path
    class_names: tuple[str, ...]
    ids: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    parts: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_] | None = None
    votes: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, index: int) -> Path:
        """Where a file is."""
        return self.root / str(self.ids[index])

    def take(self, indices: npt.NDArray[np.intp]) -> FileList:
        """The files at `indices` (int, shape (M,)), in that order, as a new list."""
        return replace(
            self,
            ids=self.ids[indices],
            labels=self.labels[indices],
            parts=self.parts[indices],
            groups=None if self.groups is None else self.groups[indices],
            votes=None if self.votes is None else self.votes[indices],
        )


def load_files(
    files: FileList,
    settings: Dataset,
    *,
    decode: bool = True,
    before_decoding: BeforeDecoding = lambda shape: None,
) -> ImageDataset:
    """Check the files' headers, complete the splits, and decode what is to be cached.

    Parameters
    ----------
    files : FileList
        N files.
    settings : lsplus_tf.config.Dataset
        How they become arrays and splits.
    decode, before_decoding
        As in `load_dataset`.

    Raises
    ------
    InputError
        If the files do not fit each other or the options; the message names which.
    """
    drop = settings.drop  # also where nothing is decoded, and so nothing dropped
    if not decode:
        settings = settings.model_copy(update={"cache": "none", "drop": ()})
    dicom.check_installed(files.ids.tolist())
    look_alikes(settings, files.class_names)  # what is wrong with them is told first
    before_decoding(settings.image_shape)
    files, dropped = drop_defects(
        files, settings.drop, scaling=settings.scaling, background=settings.background
    )
    if "masks" not in drop and (masks := masks_beside(files.ids.tolist(), files.labels.tolist())):
        many = counted(len(masks), "image looks like a mask", "images look like masks")
        warnings.warn(
            f"{files.name}: {many} of others, such as {files.ids[masks[0]]}: used as images, "
            "unless dataset.drop=[masks]",
            stacklevel=3,
        )
    _warn_of_shared_groups(files)
    broken: dict[str, str] = {}
    headers: dict[str, Header] = {}
    skip = settings.unreadable == "skip"
    # A million headers take minutes: they are read where they decide something.
    if skip or settings.image_size is None or settings.channels is None:
        headers, broken = _read_headers(
            files, sizes_matter=settings.image_size is None, scaling=settings.scaling
        )
    shape = _decide_shape(files.name, headers, settings)
    if None in settings.image_shape:
        before_decoding(shape)
    images = ImageFiles(
        files.root,
        files.ids,
        shape,
        resize=settings.image_size is not None,
        interpolation=settings.interpolation,
        scaling=settings.scaling,
        background=settings.background,
    )
    # All of them at once, also those whose header is whole.
    if broken and not skip and settings.cache != "none":
        decode_all(images, Nowhere(), broken)
    _refuse(broken, settings, files.name)
    splits = complete_splits(listed_splits(files, images, broken), files.class_names, settings)
    splits["train"] = sample_per_class(splits["train"], files.class_names, settings)
    if (settings.cache != "none" or skip) and decode:
        splits = _readable(splits, settings, broken, files.name)
    for what, names in (*dropped.items(), ("unreadable", list(broken))):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            warnings.warn(
                f"{files.name}: skipped {counted(len(names), SKIPPED[what])}: "
                f"{', '.join(names[:_NAMED])}{more}",
                stacklevel=3,
            )
    skipped = (*(name for names in dropped.values() for name in names), *broken)
    return with_label_noise(
        ImageDataset(files.name, files.class_names, **splits, skipped=skipped), settings
    )


def _warn_of_shared_groups(files: FileList) -> None:
    """Warn of groups that the given splits tear apart; where splits are split off none is."""
    if files.groups is None:
        return
    parts: dict[str, set[str]] = defaultdict(set)
    for group, part in zip(files.groups.tolist(), files.parts.tolist(), strict=True):
        parts[group].add(part)
    shared = [group for group, of_group in parts.items() if len(of_group) > 1]
    if shared:
        where = ", ".join(part for part in PARTS if part in parts[shared[0]])
        remedy = ""
        if files.name.startswith((FOLDER_PREFIX, CSV_PREFIX)):
            remedy = ": put each into one split"
        if files.name.startswith(CSV_PREFIX):
            remedy += ", or set dataset.split_column='', which splits by group"
        warnings.warn(
            f"{files.name}: {counted(len(shared), 'group is', 'groups are')} in several splits, "
            f"such as {shared[0]} ({where}), so that results look too good{remedy}",
            stacklevel=4,
        )


def listed_splits(
    files: FileList, images: ImageFiles, broken: Mapping[str, str]
) -> dict[str, Split]:
    """The splits that the list has, without what is broken."""
    good = np.isin(files.ids, list(broken), invert=True)
    splits = {}
    for part in PARTS:
        listed = files.parts == part
        rows = np.flatnonzero(listed & good)
        if rows.size:
            taken = images[rows]
            splits[part] = Split(
                taken,
                files.labels[rows],
                taken.names,  # not a second copy of what may be a million
                None if files.groups is None else files.groups[rows],
                None if files.votes is None else files.votes[rows],
            )
        elif listed.any():
            raise _no_image(files.name, part, broken)
    return splits


def _read_headers(
    files: FileList, *, sizes_matter: bool, scaling: Scaling | None
) -> tuple[dict[str, Header], dict[str, str]]:
    """Read every file's header: what can be used, by id, and why the others cannot."""
    results: list[Header | str] = [""] * len(files)

    def read(index: int) -> None:
        try:
            header = read_header(files.path(index), size_matters=sizes_matter)
            results[index] = header.too_deep(scaling) or header
        except READ_ERRORS as error:
            results[index] = one_line(error)

    for_each(read, len(files))
    headers: dict[str, Header] = {}
    broken: dict[str, str] = {}
    for key, result in zip(files.ids.tolist(), results, strict=True):
        if isinstance(result, str):
            broken[key] = result
        else:
            headers[key] = result
    return headers, broken


def _decide_shape(name: str, headers: dict[str, Header], settings: Dataset) -> tuple[int, int, int]:
    """Return the height, width and number of channels that all images will have."""
    channels: int
    if settings.channels is not None:
        channels = settings.channels
    else:
        grey = [key for key, header in headers.items() if header.grey]
        colour = [key for key, header in headers.items() if not header.grey]
        if grey and colour:
            raise InputError(
                f"{name}: {counted(len(grey), 'grey image')} ({grey[0]}) and "
                f"{counted(len(colour), 'colour image')} ({colour[0]}); "
                "set dataset.channels to 1 or 3"
            )
        channels = 3 if colour else 1
    if settings.image_size is not None:
        return settings.image_size, settings.image_size, channels
    # The commonest size first, so that the example of the other size is an odd one out.
    sizes = Counter(header.size for header in headers.values()).most_common()
    if len(sizes) > 1:
        one, two = (
            next(f"{key} is {w}x{h}" for key, header in headers.items() if header.size == (w, h))
            for (w, h), _ in sizes[:2]
        )
        raise InputError(
            f"{name}: images have {len(sizes)} sizes ({one}, {two}); set dataset.image_size"
        )
    width, height = sizes[0][0] if sizes else (1, 1)
    return height, width, channels


def _readable(
    splits: dict[str, Split], settings: Dataset, broken: dict[str, str], name: str
) -> dict[str, Split]:
    """The splits, their images where they are to be cached, without those that fail.

    What could not be read is added to `broken`.
    """
    if settings.cache == "memory":
        _, height, width, channels = splits["train"].images.shape
        check_memory(sum(map(len, splits.values())), height, width, channels, name)
    folder = expanded(settings.cache_dir or CACHE_DIR, "dataset.cache_dir")
    caches: dict[str, Path] = {}
    if settings.cache == "disk":
        caches = {part: folder / fingerprint(_files(split)) for part, split in splits.items()}
        check_room([splits[p] for p, cache in caches.items() if not cache.exists()], folder, name)
    readable = {}
    for part, split in splits.items():
        files = _files(split)
        images: npt.NDArray[np.uint8] | ImageFiles
        if settings.cache == "memory":
            images = np.empty(files.shape, np.uint8)
            good = decode_all(files, images, broken)
            images = images if good.all() else images[good]
        elif settings.cache == "disk":
            images, good = on_disk(files, caches[part], broken)
        else:
            good = decode_all(files, Nowhere(), broken)
            images = files[np.flatnonzero(good)]
        if good.any():
            kept = split if good.all() else split.take(np.flatnonzero(good))
            readable[part] = replace(kept, images=images)
    _refuse(broken, settings, name)
    for part in splits:
        if part not in readable:
            raise _no_image(name, part, broken)
    return readable


def _files(split: Split) -> ImageFiles:
    assert isinstance(split.images, ImageFiles)
    return split.images


def first_few(damaged: Sequence[str]) -> str:
    """The first of many files with what is wrong with them, and how many more there are."""
    more = [f"and {len(damaged) - _NAMED} more"] if len(damaged) > _NAMED else []
    return "; ".join([*damaged[:_NAMED], *more])


def _refuse(broken: dict[str, str], settings: Dataset, name: str) -> None:
    """Raise an error for files that may not be left out."""
    refused = {
        MORE_THAN_8_BITS: (
            "8 bits per channel, {} has more",
            "set dataset.scaling, or convert them to 8 bits",
        ),
        NEVER_SCALED: ("8 bits per channel, {} has more", "convert them to 8 bits"),
        TRANSPARENT: (
            "no transparent pixels, {} has some",
            "set dataset.background to black or white, whichever belongs behind them",
        ),
    }
    damaged = [f"{key} ({why})" for key, why in broken.items() if why not in refused]
    said = []
    if damaged and settings.unreadable == "fail":
        said.append(
            f"{counted(len(damaged), 'unreadable image')}: {first_few(damaged)}; "
            "mend them or set dataset.unreadable=skip"
        )
    for reason, (expected, remedy) in refused.items():
        such = [key for key, why in broken.items() if why == reason]
        if such:
            many = counted(len(such), "such file")
            said.append(f"expected {expected.format(such[0])} ({many}); {remedy}")
    if said:
        raise InputError(f"{name}: {'; '.join(said)}")


def _no_image(name: str, part: str, broken: Mapping[str, str]) -> InputError:
    return InputError(
        f"{name}: no readable image in the {part} split; unreadable: {', '.join(broken)}"
    )
