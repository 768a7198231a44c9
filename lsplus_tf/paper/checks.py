"""The verdict on a set of numbers: how many of the checkable ones were met."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """Numbers of one kind, compared.

    Attributes
    ----------
    name : what was compared with what.
    matched : how many agree.
    total : how many could be compared; what is missing is not among them.
    expected : how many are known to agree on the authors' files; the rest is explained in `note`.
    note : the known exceptions, or how the comparison is made.
    """

    name: str
    matched: int
    total: int
    expected: int
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.matched >= self.expected
