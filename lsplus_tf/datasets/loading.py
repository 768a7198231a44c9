"""One door to every data set."""

from __future__ import annotations

import inspect
import os
import textwrap
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import numpy as np

from lsplus_tf.config import CSV_PREFIX, FOLDER_PREFIX, NPZ_PREFIX, TFDS_PREFIX, Dataset, checked
from lsplus_tf.datasets.base import ImageDataset
from lsplus_tf.datasets.catalogue import reject_name
from lsplus_tf.datasets.file_list import BeforeDecoding, FileList, load_files
from lsplus_tf.datasets.folder import list_folder
from lsplus_tf.datasets.known import RECORDS
from lsplus_tf.datasets.label_noise import with_label_noise
from lsplus_tf.datasets.npz import load_npz
from lsplus_tf.datasets.splitting import sample_per_class
from lsplus_tf.datasets.table import list_table
from lsplus_tf.datasets.tfds import load_tfds
from lsplus_tf.errors import InputError
from lsplus_tf.files import expanded

_TABLES = (".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".json", ".jsonl")

Function = TypeVar("Function", bound=Callable[..., Any])


def with_options(function: Function) -> Function:
    """Give a function that takes the options of a data set their names and descriptions."""
    name, *others, _ = inspect.signature(function).parameters.values()  # the last is **options
    options = {key: field for key, field in Dataset.model_fields.items() if key != "name"}
    parameters = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=field.default)
        for key, field in options.items()
    ]
    signature = inspect.Signature([name, *parameters, *others])
    function.__signature__ = signature  # type: ignore[attr-defined]
    described = [f"name : str\n{_described(Dataset.model_fields['name'].description)}"]
    described += [
        f"{key} : {_type(field.annotation)}, default {field.default!r}\n"
        f"{_described(field.description)}"
        for key, field in options.items()
    ]
    if function.__doc__:  # which python -OO leaves out
        text = inspect.cleandoc(function.__doc__)
        function.__doc__ = text.replace("{options}", "\n".join(described))
    return function


def _described(description: str | None) -> str:
    text = (description or "").strip()
    sentence = f"{text[0].upper()}{text[1:]}."
    return textwrap.indent(textwrap.fill(sentence, 92, break_on_hyphens=False), "    ")


def _type(annotation: Any) -> str:
    """A type as docstrings have it."""
    arguments, origin = get_args(annotation), get_origin(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return f"{{{', '.join(map(repr, arguments))}}}"
    if origin is tuple:
        return f"sequence of {_type(arguments[0])}"
    if arguments:
        return " or ".join(map(_type, arguments))
    return "None" if annotation is type(None) else annotation.__name__


@with_options
def load_dataset(
    name: str, *, decode: bool = True, before_decoding: BeforeDecoding | None = None, **options: Any
) -> ImageDataset:
    """Load a data set as uint8 images of one shape.

    The arguments are the keys of the section `dataset` of a config.

    Parameters
    ----------
    {options}
    decode : bool, optional
        False only lists image files: they are decoded when they are asked for, whatever `cache`
        says, `drop` is passed over, and of unreadable ones those are found whose header is needed.
    before_decoding : callable, optional
        Called with (height, width, channels) of the images when it is known which there are, None
        for what only they say; in that case again when it is known.

    Returns
    -------
    ImageDataset
        With `train`, `validation` and `test`.

    Raises
    ------
    MissingDataError
        If the data is not there; the message says where to get and put it.
    InputError
        If an argument or the data cannot be used; the message names it.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> len(digits.train), len(digits.validation), len(digits.test), digits.image_shape
    (1077, 360, 360, (8, 8, 1))
    """
    settings = _settings(name, options)
    tell = before_decoding or (lambda shape: None)
    files = _list_files(settings)
    if files is not None:
        return load_files(files, settings, decode=decode, before_decoding=tell)
    load = _array_loader(settings)  # a name that nobody knows is told first
    for option, none in (
        ("cache", "'memory'"),
        ("drop", "none"),
        ("scaling", "none"),
        ("background", "none"),
    ):
        if getattr(settings, option) != Dataset.model_fields[option].default:
            raise InputError(
                f"{option}: expected {none} for {name!r}, which is no list of image files"
            )
    tell(settings.image_shape)  # those of TFDS are decoded for the first time
    dataset = load()
    if None in settings.image_shape:
        tell(dataset.image_shape)
    train = sample_per_class(dataset.train, dataset.class_names, settings)
    return with_label_noise(replace(dataset, train=train), settings)


@with_options
def list_files(name: str, **options: Any) -> FileList | None:
    """List the image files of a data set; None for those that are no image files.

    Parameters
    ----------
    {options}

    Raises
    ------
    MissingDataError
        If the data is not there.
    InputError
        If an argument, the layout or the labels do not fit; the message names what.
    """
    return _list_files(_settings(name, options))


def _settings(name: str, options: dict[str, Any]) -> Dataset:
    values = {"name": name, **options}
    numbers = {key: v.item() for key, v in values.items() if isinstance(v, np.generic)}
    return checked(Dataset, {**values, **numbers})


def _list_files(settings: Dataset) -> FileList | None:
    name = settings.name
    if name.startswith(FOLDER_PREFIX):
        return list_folder(settings)
    if name.startswith(CSV_PREFIX):
        return list_table(settings)
    record = RECORDS.get(name)
    if record is None or record.list_files is None:
        return None
    return record.list_files(record.require(_folder(settings)))


def _array_loader(settings: Dataset) -> Callable[[], ImageDataset]:
    """What loads a data set that is no list of image files."""
    if settings.name.startswith(TFDS_PREFIX):
        return partial(load_tfds, settings)
    if settings.name.startswith(NPZ_PREFIX):
        path = expanded(settings.name.removeprefix(NPZ_PREFIX), NPZ_PREFIX)
        _refuse_other_file(path)
        return partial(load_npz, path, settings)
    folder, record = _folder(settings), RECORDS.get(settings.name)
    if record is not None:
        load = record.load
        assert load is not None
        return lambda: load(settings, record.require(folder))
    # A misspelt name gets a suggestion, while the file of a set not known here is read.
    if folder is not None and (path := folder / f"{settings.name}.npz").is_file():
        return partial(load_npz, path, settings)
    raise _without_prefix(settings.name) or reject_name(settings.name)


def _refuse_other_file(path: Path) -> None:
    """Refuse what is there, but as its name says no .npz file."""
    if not os.path.isfile(path):
        return
    if path.suffix.lower() == ".npy":
        raise InputError(
            f"{path}: is a single array; save images and labels in one file: "
            "np.savez('mine.npz', train_images=images, train_labels=labels)"
        )
    if path.suffix.lower() in _TABLES:
        raise InputError(f"{path}: is a table; name {CSV_PREFIX}{path}")


def _without_prefix(name: str) -> InputError | None:
    """The error for a path that its kind is missing before."""
    path = os.path.expanduser(name)
    if os.path.isdir(path):
        prefix = FOLDER_PREFIX
    elif not os.path.isfile(path):
        return None
    else:
        prefix = NPZ_PREFIX if path.lower().endswith(".npz") else CSV_PREFIX
    return InputError(f"dataset {name!r}: unknown name; did you mean {prefix}{name}?")


def _folder(settings: Dataset) -> Path | None:
    return None if settings.data_dir is None else expanded(settings.data_dir, "data_dir")
