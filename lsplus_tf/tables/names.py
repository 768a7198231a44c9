"""Names of columns and classes: their one form, their order, and how messages list them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from decimal import Decimal

from lsplus_tf.errors import some_of

_LISTED = 20
_LONGEST = 80  # characters of a name
WRONG = 3  # of values that are wrong, enough to show what they are
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_ZEROS = re.compile(r"(?<![0-9.,])0+(?=[0-9])")  # in front
_BETWEEN_WORDS = re.compile(r"(?<=[^\W\d_])[-_](?=[^\W\d_])")


def listed(names: Sequence[str], most: int = _LISTED) -> str:
    """Names for a message; of many the first.

    Parameters
    ----------
    names : sequence of str
    most : int
        So many are named.

    Examples
    --------
    >>> listed(["path", "label"])
    "'path', 'label'"
    """
    return ", ".join(repr(_cut(name)) for name in names[:most]) + (
        ", ..." if len(names) > most else ""
    )


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."


def one_form(text: str) -> str:
    """Text without blanks around it, in the one Unicode form (NFC) of its several.

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> one_form(" Cafe\\u0301") == "Caf\\xe9"
    True
    """
    return unicodedata.normalize("NFC", text.strip())


def spelled_alike(names: Iterable[str]) -> list[list[str]]:
    """Different names that are the same to a reader, group by group.

    They differ in capitals, blanks, characters without a width, zeros in front of a number, or what
    is between words alone; or they are one number.

    Parameters
    ----------
    names : iterable of str

    Examples
    --------
    >>> spelled_alike(["HP", "ssa", "hp", "HP", "S S A"])
    [['HP', 'hp'], ['ssa', 'S S A']]
    >>> spelled_alike(["1.5", "P01", "no_tumor", "1.50", "no tumor", "P1", "P10"])
    [['1.5', '1.50'], ['P01', 'P1'], ['no_tumor', 'no tumor']]
    """
    by_letters: dict[Hashable, list[str]] = {}
    for name in dict.fromkeys(names):
        by_letters.setdefault(_letters(name), []).append(name)
    return [same for same in by_letters.values() if len(same) > 1]


def _letters(name: str) -> Hashable:
    """What of a name is left if all is taken away that a reader passes over."""
    if not name.isascii():
        plain = unicodedata.normalize("NFKC", name)
        name = "".join(c for c in plain if unicodedata.category(c) != "Cf")  # of no width
    name = name.strip()
    if _NUMBER.fullmatch(name):
        return Decimal(name)
    words = _BETWEEN_WORDS.sub("", _ZEROS.sub("", name))
    return "".join(words.split()).casefold()


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct classes, sorted: by value if all are integers, else as text.

    Parameters
    ----------
    names : iterable of str

    Examples
    --------
    >>> class_order(["10", "9", "10"]), class_order(["10", "9", "b"])
    (('9', '10'), ('10', '9', 'b'))
    """
    found = sorted(set(names))
    if all(re.fullmatch(r"-?[0-9]+", name) for name in found):
        found.sort(key=int)
    return tuple(found)


def alike(class_names: Sequence[str]) -> str:
    """In words: classes whose names are spelled nearly alike; "" if there are none."""
    same = some_of([" and ".join(map(repr, names)) for names in spelled_alike(class_names)])
    return same and f"classes whose names are spelled nearly alike: {same}"
