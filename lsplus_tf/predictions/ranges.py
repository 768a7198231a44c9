"""Numbers as subgroups: the ranges that cuts make of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.errors import InputError
from lsplus_tf.tables import Rows


def in_ranges(
    values: npt.ArrayLike,
    cuts: Sequence[float],
    *,
    named: str = "values",
    rows: Rows | None = None,
) -> pd.Categorical:
    """The range that contains each number, such as an age, for subgroups.

    Parameters
    ----------
    values : array_like, shape (N,)
        Numbers, also as text; missing ones are in no range.
    cuts : sequence of float
        Where a range ends and the next begins, ascending. A number that equals a cut is in the
        range that begins there.
    named : str
        What the values are called, for messages.
    rows : Rows, optional
        What the rows are called, for messages.

    Returns
    -------
    Categorical
        For `Predictions(subgroups=...)`, with the ranges in order.

    Raises
    ------
    InputError
        Cuts that are not ascending numbers, or a value that is no number.

    Examples
    --------
    >>> in_ranges([35, 40, 85, None], [40, 60]).tolist()
    ['below 40', '40 to below 60', '60 and above', nan]
    """
    given = [*map(float, cuts)]
    if not given or not np.isfinite(given).all() or (np.diff(given) <= 0).any():
        raise InputError(f"cuts: expected one or more ascending numbers, received {list(cuts)!r}")
    cells = pd.Series(np.asarray(values, object).ravel())
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
    empty = (cells.isna() | (cells.astype("str").str.strip() == "")).to_numpy(np.bool_)
    expected = "numbers, as they are to be cut, or an empty cell"
    (rows or Rows()).refuse(
        np.isnan(numbers) & ~empty, named, expected, lambda row: repr(cells[row])
    )
    texts = [f"{cut:g}" if float(f"{cut:g}") == cut else repr(cut) for cut in given]
    between = [f"{low} to below {high}" for low, high in pairwise(texts)]
    names = [f"below {texts[0]}", *between, f"{texts[-1]} and above"]
    codes = np.searchsorted(given, numbers, side="right")
    return pd.Categorical.from_codes(np.where(np.isnan(numbers), -1, codes), cast(Any, names))
