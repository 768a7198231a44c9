"""The verdict on a set of numbers: how many of the checkable ones were met."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """Numbers of one kind, compared.

    Attributes
    ----------
    name : str
        What was compared with what.
    matched : int
        How many agree.
    total : int
        How many could be compared; what is missing is not among them.
    expected : int
        How many are known to agree on the authors' files; the rest is explained in `note`.
    note : str
        The known exceptions, or how the comparison is made.
    """

    name: str
    matched: int
    total: int
    expected: int
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.matched >= self.expected
