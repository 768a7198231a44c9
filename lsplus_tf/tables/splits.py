"""What splits are called, in columns, arrays and folders."""

from __future__ import annotations

from collections.abc import Iterable

from lsplus_tf.errors import InputError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "val": "validation",
    "valid": "validation",
    "validate": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
    "tst": "test",
}
# They mean the validation split where nothing else does.
PERHAPS_VALIDATION = ("dev", "eval")


def split_meanings(found: Iterable[str], where: str) -> dict[str, str]:
    """The split that each of these names means, in any case of letters; others are left out.

    Parameters
    ----------
    found : iterable of str
        Such as "Training", "val" or "fold 3". "dev" and "eval" mean the validation split, where
        there are other splits and none of them is called so.
    where : str
        What has them, for messages.

    Returns
    -------
    dict of str to str
        "train", "validation" or "test", by name.

    Raises
    ------
    InputError
        If "dev" or "eval" could mean two splits.
    """
    names = sorted(found)
    plain = {name: name.strip().lower() for name in names}
    known = {name: SPLIT_NAMES[plain[name]] for name in names if plain[name] in SPLIT_NAMES}
    perhaps = [name for name in names if plain[name] in PERHAPS_VALIDATION]
    if not known or not perhaps:
        return known
    validation = [name for name, part in known.items() if part == "validation"]
    if validation or len({plain[name] for name in perhaps}) > 1:
        one, two = [*validation, *perhaps][:2]
        raise InputError(
            f"{where}: {one!r} and {two!r} could both be the validation split; call one "
            "validation, and the other test, or leave it out"
        )
    return known | dict.fromkeys(perhaps, "validation")
