"""What the rows of a file are called, and errors that name them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lsplus_tf.errors import InputError

_NAMED = 3
_LONGEST = 300  # characters of a cell


def _as_it_is(rows: Sequence[int]) -> list[int]:
    return list(rows)


@dataclass(frozen=True)
class Rows:
    """The rows of a file, or of arrays.

    Parameters
    ----------
    source : str
        The file, or "" for arrays.
    unit : str
        What is counted: "line" of a text file, from 1; "entry" of a JSON list, from 1; "row" of
        an Excel sheet, as it numbers them; "row", from 0, elsewhere.
    numbers : callable
        The numbers in this unit of some rows.
    unused : tuple of str
        Columns of the file that play no part.
    part : str
        Which part of the file it is, for errors.

    Examples
    --------
    >>> str(Rows("cases.csv", "line").error("labels: expected a value"))
    'cases.csv: labels: expected a value'
    >>> Rows().named(np.array([2, 5]))
    'rows 2 and 5'
    """

    source: str = ""
    unit: str = "row"
    numbers: Callable[[Sequence[int]], list[int]] = _as_it_is
    unused: tuple[str, ...] = ()
    part: str = ""

    def error(self, message: str) -> InputError:
        """An error that names the file."""
        return InputError(f"{self.source}{self.part}: {message}" if self.source else message)

    def named(self, rows: npt.NDArray[np.intp]) -> str:
        """The first few of the rows in words: "lines 3, 5 and 9"."""
        numbers = [str(n) for n in self.numbers(rows[:_NAMED].tolist())]
        if len(numbers) == 1:
            return f"{self.unit} {numbers[0]}"
        units = "entries" if self.unit == "entry" else f"{self.unit}s"
        return f"{units} {', '.join(numbers[:-1])} and {numbers[-1]}"

    def refuse(
        self,
        bad: npt.NDArray[np.bool_],
        what: str,
        expected: str,
        received: Callable[[int], Any],
    ) -> None:
        """Raise an error that counts and names the rows that are `bad` (N,), if any is.

        `received` tells what is in a row, and is asked for the first one.
        """
        rows = np.flatnonzero(bad)
        if rows.size:
            many = f", the first of {rows.size} such" if rows.size > _NAMED else ""
            cell = str(received(int(rows[0])))
            cut = cell if len(cell) <= _LONGEST else f"{cell[:_LONGEST]}..."
            raise self.error(
                f"{what}: expected {expected}, received {cut} at "
                f"{self.named(rows)}{many} (of {bad.size} rows)"
            )

    def take(self, rows: npt.NDArray[np.intp]) -> Rows:
        """Where a choice of the rows came from."""
        return replace(self, numbers=lambda chosen: self.numbers(rows[list(chosen)].tolist()))
