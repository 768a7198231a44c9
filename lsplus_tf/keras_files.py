"""`.keras` files, which may come from elsewhere: the one place that opens and loads them.

Such a file is a ZIP archive of a model's description in JSON and its weights in HDF5. `load` has
Keras build the model only when all of these are whole, within bounds, and agree in size. Keras's
safe mode, which refuses Python code, is always on. What a model computes, and how long, is not
bounded; and a class that the caller has registered with Keras does what it does.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import re
import shutil
import tempfile
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsplus_tf import bounded, hdf5_files
from lsplus_tf.errors import InputError, one_line
from lsplus_tf.files import shown

if TYPE_CHECKING:
    import keras

__all__ = ["load", "opened", "read_json"]

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
# Bytes that the members may have: so many, and so many for each byte of the file. Keras does not
# compress them; weights hardly can be.
_ALWAYS = 64 * 2**20
_FOR_A_BYTE = 20
# Numbers that a model may have beyond those in its file, such as the seeds of random layers.
_MORE_NUMBERS = 2**20
_LONGEST = 300  # characters of an error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive of a `.keras` file, within bounds and with all that Keras needs.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        It is damaged, or is not used; the message does not name the file.
    """
    with bounded.opened_zip(path) as archive:
        _check_members(archive, path.stat().st_size)
        yield archive


def read_json(archive: zipfile.ZipFile, name: str) -> Any:
    """A member's JSON.

    Parameters
    ----------
    archive : zipfile.ZipFile
        From `opened`.
    name : str
    """
    try:
        # Descriptions of models have numbers that are not finite, such as limits that are none.
        return bounded.json_of(bounded.read_member(archive, name), finite=False)
    except InputError as error:
        raise InputError(f"its {name}: {error}") from error


def load(path: Path, named: str) -> keras.Model:
    """The model of a `.keras` file, not compiled.

    Classes of this package that a file may name must have been imported.

    Parameters
    ----------
    path : Path
    named : str
        What the file is called, for messages.

    Raises
    ------
    InputError
        It is damaged, or no model that can be loaded here.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.keras"
    >>> _ = path.write_text("no model")
    >>> load(path, "model: mine.keras")
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: model: mine.keras: cannot be loaded as a Keras model (File is
    not a zip file)
    """
    import keras

    try:
        with _uncompiled(path, _checked(path)) as plain:
            model = keras.models.load_model(plain, compile=False, safe_mode=True)
    except Exception as error:  # a description may make Keras fail in any way
        # Keras puts the whole description before what is wrong with it.
        why = re.sub(r".*Exception encountered: ", "", one_line(error))[:_LONGEST]
        raise InputError(f"{named}: cannot be loaded as a Keras model ({why})") from error
    if not isinstance(model, keras.Model):
        raise InputError(
            f"{named}: cannot be loaded as a Keras model (it is a {type(model).__name__})"
        )
    return model


# --- the archive ----------------------------------------------------------------------------------


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    for name in (_CONFIG, _WEIGHTS):
        if name not in names:
            raise InputError(f"it has no {name}, which Keras writes; it is no model of Keras 3")
    if len(set(names)) < len(names):
        raise InputError("it has two members of one name")
    for name in names:
        if re.search(r"^/|^[A-Za-z]:|\\|(^|/)\.\.(/|$)", name):
            raise InputError(f"its member {shown(name)} would be outside of a folder")
    claimed, most = sum(member.file_size for member in members), _ALWAYS + _FOR_A_BYTE * size
    if claimed > most:
        raise InputError(
            f"its {size} bytes claim members of {claimed} bytes, expected up to {most}; it is "
            "damaged or made to fill the memory"
        )


# --- the model ------------------------------------------------------------------------------------


def _checked(path: Path) -> dict[str, Any]:
    """The description in a file; refuse one of which Keras would load more than there is."""
    with opened(path) as archive:
        # Whole members are read, so that their checksums are compared: Keras does not for weights.
        config = read_json(archive, _CONFIG)
        if not isinstance(config, dict):
            raise InputError(f"its {_CONFIG} does not describe a model")
        code = next(_code(config), None)
        if code is not None:
            raise InputError(
                f"it has {code}, which is not run here; build the model with a layer of Keras or a "
                "registered class in its place, and save it again"
            )
        for name in archive.namelist():
            if name not in (_CONFIG, _WEIGHTS):
                archive.read(name)
        with hdf5_files.opened(archive.read(_WEIGHTS)) as weights:
            numbers = hdf5_files.size_of_arrays(weights)
    described = _numbers_described(config)
    if described > numbers + _MORE_NUMBERS:
        raise InputError(
            f"its {_CONFIG} describes a model of {described} weights, its {_WEIGHTS} has {numbers} "
            "numbers; one of them is damaged or of another model"
        )
    return config


@contextlib.contextmanager
def _uncompiled(path: Path, config: dict[str, Any]) -> Iterator[Path]:
    """The file, or one in its place in which no model within the model is compiled.

    Keras leaves out how the outermost was compiled, and makes the optimizers and metrics of the
    others, however large they are.
    """
    plain = _without_compilation(config)
    if plain == {key: value for key, value in config.items() if key != "compile_config"}:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / "model.keras"
        with opened(path) as archive, zipfile.ZipFile(new, "w") as copy:
            copy.writestr(_CONFIG, json.dumps(plain))
            for name in archive.namelist():
                if name != _CONFIG:
                    with archive.open(name) as old, copy.open(name, "w", force_zip64=True) as into:
                        shutil.copyfileobj(old, into)
        yield new


def _without_compilation(config: Any) -> Any:
    """A description of which no part says how it was compiled."""
    if isinstance(config, list):
        return [_without_compilation(value) for value in config]
    if not isinstance(config, dict):
        return config
    left_out = "compile_config" if "class_name" in config else None
    return {key: _without_compilation(value) for key, value in config.items() if key != left_out}


def _code(config: object) -> Iterator[str]:
    """What is code in a description, in words. Later releases of Keras refuse all of it too."""
    if isinstance(config, dict):
        match config.get("class_name"):
            case "__lambda__":
                yield "a Lambda layer, Python code"
            case "TFSMLayer":
                yield "a TFSMLayer, another model in a folder of its own"
        for value in config.values():
            yield from _code(value)
    elif isinstance(config, list):
        for value in config:
            yield from _code(value)


def _numbers_described(config: dict[str, Any]) -> int:
    """How many numbers the variables have that a description asks for, without the memory."""
    import keras
    from keras.src.backend.common import global_state

    # In this scope Keras makes variables without values. It keeps a list of them, to give them
    # values later, which these must not get. Initialisers draw their seeds from Python's generator.
    waiting, drawn = "uninitialized_variables", random.getstate()
    before = list(global_state.get_global_attribute(waiting) or [])
    global_state.set_global_attribute(waiting, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            keras.saving.deserialize_keras_object(_without_compilation(config), safe_mode=True)
    except Exception as error:
        # A class of the caller's may give its variables values; what comes behind it is not
        # counted. Of Keras's own only optimizers do, which no uncompiled model has.
        if "create a variable while in a stateless scope" not in str(error) or _of_keras(error):
            raise
    finally:
        described = global_state.get_global_attribute(waiting)
        global_state.set_global_attribute(waiting, before)
        random.setstate(drawn)
    return sum(math.prod(variable.shape) for variable in described)


def _of_keras(error: BaseException | None) -> bool:
    """Whether no code of the caller's led to an error, but for this module's."""
    modules: set[str] = set()
    while error is not None:  # Keras raises others in its place
        modules |= {
            frame.f_globals.get("__name__", "").partition(".")[0]
            for frame, _ in traceback.walk_tb(error.__traceback__)
        }
        error = error.__context__
    return modules <= {"contextlib", "functools", "keras", "lsplus_tf", "tensorflow"}
