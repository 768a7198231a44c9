"""From a YAML file and `key=value` overrides to an experiment, or to an error of one line."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import Tag, ValidationError

from lsplus_tf import bounded
from lsplus_tf.config.experiment import Experiment
from lsplus_tf.config.settings import Settings
from lsplus_tf.errors import InputError, MissingDataError, did_you_mean, one_line
from lsplus_tf.files import expanded, shown

# What was expected, by pydantic's kinds of errors, in words of a YAML file and not of Python.
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a section with keys",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_type": "an integer",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "model_attributes_type": "a section with keys",
    "model_type": "a section with keys",
    "path_type": "a path",
    "string_too_long": "at most {max_length} characters",
    "string_type": "text",
    "too_long": "at most {max_length} of them",
    "too_short": "at least one",  # the schema asks for no more
    "tuple_type": "a list",
}
_PATTERNS = {
    r"^[a-z][a-z0-9_]*$": "a name of small letters, digits and _, beginning with a letter",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "a name of letters, digits, _, . and -, beginning with a "
    "letter or a digit",
}
# A key with the keys that it is below, such as a.b or a[b].
_KEY = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[[^.\[\]]+\])*")
_DEEPEST = 20  # keys below keys; experiments have 5
_MOST_NAMED = 20  # mistakes, of which each is compared with all keys
_LONGEST = 200  # characters of a wrong key or value
AnySettings = TypeVar("AnySettings", bound=Settings)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment from YAML, with `key.subkey=value` overrides.

    Parameters
    ----------
    path : str or Path
        The YAML file, or the name of one that comes with the package, such as "digits".
    overrides : sequence of str
        Such as "protocol.epochs=3" or "methods.ls_plus.alpha=0.3"; values are YAML.

    Raises
    ------
    InputError
        No such file, not YAML, an unknown key, or a wrong value; of those the first 20 are named.

    Examples
    --------
    >>> from lsplus_tf.config import load_config
    >>> experiment = load_config("digits", ["protocol.epochs=3", "seeds=[0, 1]"])
    >>> experiment.protocol.epochs, experiment.seeds
    (3, (0, 1))
    >>> load_config("digits", ["protocol.epoch=3"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: --set protocol.epoch=3: protocol.epoch: unknown key, did you ...
    """
    path = config_file(path)
    values = read_yaml(path)
    if "grid" in values:
        raise InputError(
            f"{path}: it is a grid of experiments, which lsplus_tf.config.load_grid reads"
        )
    return parse_config(with_overrides(values, overrides), str(path), overrides)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file."""
    try:
        values = bounded.read_yaml(path)
    except (InputError, OSError) as error:
        raise InputError(f"{path}: {one_line(error)}") from error
    if values is None:  # an empty one
        return {}
    if not isinstance(values, dict):
        received = "a list" if isinstance(values, list) else repr(values)
        if isinstance(values, str):  # perhaps a secret, of a file that a grid of others names
            received = "text"
        raise InputError(f"{path}: expected keys with values, received {received}")
    _refuse_interpolation(values, str(path))
    return values


def _refuse_interpolation(values: Any, source: str) -> None:
    """Raise `InputError` for `${...}`, of which others read a key or the environment."""
    for text in _texts(values):
        if "${" in text:
            raise InputError(
                f"{source}: expected values as they are, received {_received(text)}: interpolation "
                "is not read; to say something once, give it an anchor (&name), and repeat *name"
            )


def _texts(values: Any) -> Iterator[str]:
    """All text in nested values, keys too."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(values, list):
        for value in values:
            yield from _texts(value)


def with_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The values with `overrides`."""
    for override in overrides:
        check_override(override)
        key, _, text = override.partition("=")
        source = f"--set {override}"
        try:
            names = names_of(override)
            if not _KEY.fullmatch(key) or len(names) > _DEEPEST:
                raise InputError(
                    f"expected a key such as protocol.epochs, received {_received(key)}"
                )
            # Of "key=''" a shell leaves "key=", which YAML takes for null.
            change = bounded.yaml_of(text) if text else ""
            _check_no_list(values, names)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
        _refuse_interpolation(change, source)
        for name in reversed(names):
            change = {name: change}
        values = merged(values, change)
    return values


def names_of(override: str) -> list[str]:
    """The keys of an override, from the outermost."""
    return re.findall(r"[^.\[\]]+", override.partition("=")[0])


def _check_no_list(values: Any, names: list[str]) -> None:
    """Refuse the key of a section where the config has a list."""
    for i, key in enumerate(names[:-1], start=1):
        values = values.get(key) if isinstance(values, dict) else None
        if isinstance(values, list):
            whole = ".".join(names[:i])
            raise InputError(
                f"{whole} is a list here, {_received(values)}; replace it as a whole: {whole}=..."
            )


def merged(values: Any, changes: Any) -> Any:
    """The values with what `changes` has, section by section; a list replaces a section."""
    if not (isinstance(values, dict) and isinstance(changes, dict)):
        return changes
    return values | {key: merged(values.get(key), change) for key, change in changes.items()}


def check_override(override: str) -> None:
    """Refuse what is no `key=value`."""
    if "=" not in override.lstrip("="):
        raise InputError(f"--set: expected key=value, received {override!r}")


def packaged_configs() -> dict[str, Path]:
    """The configs that come with the package, by name.

    Examples
    --------
    >>> from lsplus_tf.config import packaged_configs
    >>> "digits" in packaged_configs()
    True
    """
    package = Path(__file__).parents[1]
    # In a clone they lie beside the package.
    folders = (package / "configs", package.parent / "configs")
    folder = next(filter(Path.is_dir, folders), folders[0])
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def config_file(path: str | Path) -> Path:
    """The file of a config: the path itself, or a packaged one of that name."""
    path = expanded(path, "config")
    if path.is_file():
        return path
    packaged = packaged_configs()
    if str(path) in packaged:
        return packaged[str(path)]
    if path.is_dir():
        raise InputError(
            f"config: expected a YAML file, {path} is a folder; for the images in it, take a "
            f"config with dataset.name=folder:{path}"
        )
    if path.stem in packaged:
        hint = f"; the package's own of this name is taken by {path.stem!r} alone"
    else:
        hint = f"; the package's own are {', '.join(packaged)}"
    raise MissingDataError(f"config: no such file {path}{hint}")


def parse_config(values: Any, source: str, overrides: Sequence[str] = ()) -> Experiment:
    """Validate an experiment's `values`; `source` is named in the error.

    Parameters
    ----------
    values : mapping
        As YAML has them.
    source : str
        What the error calls them.
    overrides : sequence of str
        Those that are among the values already, and are named for the keys that they set.
    """
    return checked(Experiment, values, source, overrides)


def checked(
    kind: type[AnySettings], values: Any, source: str = "", overrides: Sequence[str] = ()
) -> AnySettings:
    """Validate the values of a section, or of the whole.

    Parameters
    ----------
    kind : class
        The section, such as `Dataset`.
    values : dict
        Its keys with their values.
    source : str
        Where they come from, for the message.
    overrides : sequence of str
        Those of the values that come from `--set key=value`.

    Raises
    ------
    InputError
        An unknown key or a wrong value; the first 20 are named.

    Examples
    --------
    >>> from lsplus_tf.config import Dataset
    >>> checked(Dataset, {"name": "digits", "cash": "disk"})
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: cash: unknown key, did you mean 'cache'?
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        said: dict[str, list[str]] = {}
        mistakes = [mistake for mistake in error.errors() if not _follows(mistake)]
        named = mistakes[:_MOST_NAMED]
        for mistake, phrase in zip(named, _complaints(named, kind), strict=True):
            where = _blamed(mistake, phrase, source, overrides)
            said.setdefault(where, []).append(phrase)
        more = f"; and {len(mistakes) - _MOST_NAMED} more" * (len(mistakes) > _MOST_NAMED)
        lines = [
            f"{where}: {'; '.join(phrases)}" if where else "; ".join(phrases)
            for where, phrases in said.items()
        ]
        raise InputError("; ".join(lines) + more) from error


def _blamed(mistake: Any, phrase: str, source: str, overrides: Sequence[str]) -> str:
    """Where a wrong value comes from: a `--set`, the file, or one of the two beside the other."""
    keys = _keys_of(mistake["loc"])
    told = phrase.partition(":")[0].split(".")  # of a section's check the key is in its words
    for override in reversed(overrides):
        names = names_of(override)
        if names in (keys[: len(names)], told[: len(names)]):
            return f"--set {override}"
        if names[: len(keys)] == keys:
            both = mistake["type"] != "extra_forbidden"  # of which the file has nothing
            return f"{source} with --set {override}" if both else f"--set {override}"
    return source


def to_yaml(settings: Settings) -> str:
    """The settings as YAML, in the order of the schema.

    Parameters
    ----------
    settings : Settings
    """
    return bounded.yaml_text(settings.model_dump(mode="json"))


def _follows(mistake: Any) -> bool:
    """Whether a list is called too short only since what is in it is wrong, which is told."""
    return mistake["type"] == "too_short" and (
        len(mistake["input"]) >= mistake["ctx"]["min_length"]
    )


def _complaints(mistakes: Sequence[Any], whole: type[Settings]) -> list[str]:
    """One phrase per mistake: the key as written in the file, what was expected, what came."""
    phrases = []
    for mistake in mistakes:
        keys = _keys_of(mistake["loc"])
        where = ".".join(keys) or "config"
        if mistake["type"] == "extra_forbidden":
            known = _known_keys(mistake["loc"], whole)
            elsewhere = [*_places(whole, keys[-1])]
            if elsewhere:
                hint = f", did you mean {' or '.join(map(repr, elsewhere))}?"
            else:
                hint = did_you_mean(keys[-1], known) or f" (known: {', '.join(known)})"
            phrases.append(f"{where}: unknown key{hint}")
        elif mistake["type"] in ("union_tag_invalid", "union_tag_not_found"):
            tag = mistake["ctx"]["discriminator"].strip("'")
            expected = mistake["ctx"].get("expected_tags")
            if expected is None:
                phrases.append(f"{where}.{tag}: field required")
                continue
            received = mistake["input"][tag]
            word = str(received)[:_LONGEST]
            hint = did_you_mean(word, expected.replace("'", "").split(", "))
            phrases.append(
                f"{where}.{tag}: received {_received(received)}{hint} (expected one of {expected})"
            )
        elif mistake["type"] == "value_error":
            text = mistake["msg"].removeprefix("Value error, ")
            joint = ": " if text.startswith("expected") else "."  # else it begins with a key
            phrases.append(text if where == "config" else f"{where}{joint}{text}")
        else:
            received = (
                "" if mistake["type"] == "missing" else f", received {_received(mistake['input'])}"
            )
            phrases.append(f"{where}: {_expected(mistake)}{received}")
    return phrases


def _received(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python prints no integer of so many digits
        return (
            f"a number of {value.bit_length()} bits" if isinstance(value, int) else "such numbers"
        )
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _expected(mistake: Any) -> str:
    """What was expected, in the words of the other errors."""
    context = mistake.get("ctx", {})
    if mistake["type"] == "string_pattern_mismatch":
        return f"expected {_PATTERNS[context['pattern']]}"
    if mistake["type"] in ("string_type", "invalid_key") and isinstance(
        mistake["input"], bool | int | float
    ):
        return "expected text, which needs quotation marks where YAML takes it for something else"
    expected = _EXPECTED.get(mistake["type"])
    if expected is not None:
        numbers = {k: f"{v:.12g}" for k, v in context.items() if isinstance(v, (int, float))}
        return f"expected {expected.format(**numbers)}"
    message = mistake["msg"]
    return re.sub("^input should be", "expected", message[0].lower() + message[1:])


def _keys_of(location: tuple[int | str, ...]) -> list[str]:
    """The path of a key in the file: pydantic adds the chosen member of a union after its key."""
    keys = [shown(str(part)[:_LONGEST]) for part in location]
    if len(keys) > 2 and (keys[0] == "methods" or keys[:2] == ["protocol", "optimizer"]):
        del keys[2]
    if keys[0:1] == ["methods"] and keys[2:3] == ["class_accuracy"]:
        del keys[3:4]
    return keys


def _known_keys(location: tuple[int | str, ...], whole: type[Settings]) -> list[str]:
    """The keys that the schema has in the place where `location` has an unknown one."""
    place: Any = whole
    for part in location[:-1]:
        place = _descend(place, part)
    return list(place.model_fields)


def _places(section: type[Settings], key: str, path: str = "") -> Iterator[str]:
    """Where the sections that a config always has know a key."""
    for name, field in section.model_fields.items():
        if name == key and path:
            yield f"{path}{name}"
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            yield from _places(inner, key, f"{path}{name}.")


def _descend(annotation: Any, part: int | str) -> Any:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    if get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            if Tag(str(part)) in get_args(member):
                return get_args(member)[0]
        return next(
            member
            for member in get_args(annotation)
            if any(part in get_args(field.annotation) for field in member.model_fields.values())
        )
    below = annotation.model_fields[part].annotation
    if types.NoneType in get_args(below):  # `Section | None`: a key is unknown to the section
        return get_args(below)[0]
    return below
