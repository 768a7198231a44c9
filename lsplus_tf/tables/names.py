"""Names of columns and classes: their one form, their order, and how messages list them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from lsplus_tf.errors import some_of

_LISTED = 20
_LONGEST = 80  # characters of a name
WRONG = 3  # of values that are wrong, enough to show what they are


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
    """Different names that are the same but for capitals and blanks, group by group.

    Parameters
    ----------
    names : iterable of str

    Examples
    --------
    >>> spelled_alike(["HP", "ssa", "hp", "HP", "S S A"])
    [['HP', 'hp'], ['ssa', 'S S A']]
    """
    by_letters: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        by_letters.setdefault("".join(name.split()).casefold(), []).append(name)
    return [same for same in by_letters.values() if len(same) > 1]


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
    """In words: classes whose names differ in capitals or blanks alone; "" if there are none."""
    same = some_of([" and ".join(map(repr, names)) for names in spelled_alike(class_names)])
    return same and f"classes whose names differ in capitals or blanks alone: {same}"
