"""A table of the cases beside a file of predictions: what it says of them, found by their ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.errors import InputError, did_you_mean
from lsplus_tf.predictions import checks
from lsplus_tf.predictions.predictions import Predictions
from lsplus_tf.predictions.ranges import in_ranges
from lsplus_tf.tables import Rows, Table, listed, one_form, open_table
from lsplus_tf.tables.headings import called, usual

if TYPE_CHECKING:
    from lsplus_tf.predictions.files import Columns

_SUFFIX = r"\.[A-Za-z][A-Za-z0-9]{0,4}(?:\.gz)?$"
_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_CUT = re.compile(rf"(.+):\s*({_NUMBER}(?:\s*,\s*{_NUMBER})*)\s*")


@dataclass(frozen=True)
class Subgroup:
    """A column of subgroups, as it was declared.

    Attributes
    ----------
    name : str
        What the subgroups are of, in what is shown.
    column : str
    cuts : tuple of float
        Where its numbers are cut into ranges; empty where they are not.
    text : str
        How it was declared.
    """

    name: str
    column: str
    cuts: tuple[float, ...]
    text: str

    def of(self, values: Any, rows: Rows) -> Any:
        """The subgroup of each case: the values as they are, or their ranges."""
        if not self.cuts:
            return values
        return in_ranges(values, self.cuts, named=f"subgroup {self.name}", rows=rows)


def subgroups_said(declared: Sequence[str], names: Sequence[str]) -> list[Subgroup]:
    """The subgroups that are declared, of columns with these names or of others.

    "age:40,60" cuts the numbers of "age", unless a column is called so.

    Raises
    ------
    InputError
        Cuts that are not in ascending order.

    Examples
    --------
    >>> [each.cuts for each in subgroups_said(["sex", "age:40,60"], ["sex", "age"])]
    [(), (40.0, 60.0)]
    """
    found: dict[str, Subgroup] = {}
    for text in map(one_form, declared):
        column, cuts = text, tuple[float, ...]()
        if text not in names and (match := _CUT.fullmatch(text)):
            column = match[1].strip()
            cuts = tuple(map(float, match[2].split(",")))
            if (np.diff(cuts) <= 0).any():
                raise InputError(
                    f"--subgroup: expected the cuts in ascending order, as 'age:40,60', received "
                    f"{text!r}"
                )
        name = text if column in found else column
        found[name] = Subgroup(name, column, cuts, text)
    return [*found.values()]


@dataclass(frozen=True)
class CaseTable:
    """A table with a row for each case, and others.

    Attributes
    ----------
    table : Table
    subgroups : tuple of Subgroup
        Those that are taken from it.
    group, weight : str or None
        The columns that are taken from it.
    id : str or None
        The column of ids, if it was declared.
    order : tuple of str
        The names of all subgroups, also those that the predictions have.
    """

    table: Table
    subgroups: tuple[Subgroup, ...]
    group: str | None
    weight: str | None
    id: str | None
    order: tuple[str, ...]

    @classmethod
    def opened(
        cls, path: Path, columns: Columns, names: Sequence[str], source: str
    ) -> tuple[CaseTable, Columns]:
        """The table with what it has to tell, and the columns that are left to the predictions.

        Parameters
        ----------
        path : Path
        columns : Columns
        names : sequence of str
            What columns, or arrays, the file of predictions has.
        source : str
            What that file is called.
        """
        table = open_table(path, "a table of the cases")

        def is_there(declared: str | None) -> bool:
            """Whether the table has a column that the predictions have not."""
            if declared is None or one_form(declared) in names:
                return False
            return one_form(declared) in table.names

        every = subgroups_said(columns.subgroups, [*names, *table.names])
        here = [each for each in every if is_there(each.column)]
        group, weight = (
            one_form(declared) if declared is not None and is_there(declared) else None
            for declared in (columns.group, columns.weight)
        )
        wanted = [("subgroup", each.column) for each in every]
        wanted += [(role, getattr(columns, role)) for role in ("group", "weight")]
        for role, name in wanted:
            if name is not None and one_form(name) not in (*names, *table.names):
                hint = did_you_mean(name, table.names)
                raise table.rows.error(
                    f"--{role}: expected {name!r} here or in {source}, found here "
                    f"{listed(table.names)}{hint}"
                )
        if not any(name for _, name in wanted):
            raise table.rows.error(
                "expected beside columns that are taken from it, as --subgroup sex, received the "
                f"table alone; it has {listed(table.names)}"
            )
        declared_id = None if columns.id is None else one_form(columns.id)
        own_id = declared_id if declared_id in names or not is_there(columns.id) else None
        if own_id is None and not called(names, "id") and len(paths := usual(names, "path")) == 1:
            own_id = paths[0]
        own = replace(
            columns,
            id=own_id,
            group=None if group else columns.group,
            weight=None if weight else columns.weight,
            subgroups=[each.text for each in every if each not in here],
        )
        order = tuple(each.name for each in every)
        id_here = declared_id if declared_id in table.names else None
        return cls(table, tuple(here), group, weight, id_here, order), own

    def joined_to(self, predictions: Predictions) -> Predictions:
        """The predictions with what the table says of their cases."""
        table = self.table
        if not self.subgroups and self.group is None and self.weight is None:
            return predictions
        if predictions.ids is None:
            raise Rows(predictions.source).error(
                f"expected ids, to find its cases in {table.rows.source}; declare their column "
                "with --id (id=...)"
            )
        ids = [self.id] if self.id else [*called(table.names, "id"), *usual(table.names, "path")]
        if not ids:
            raise table.rows.error(
                f"expected a column of ids, as {predictions.name} has, such as "
                f"{predictions.ids[0]!r}; found {listed(table.names)}; declare it with --id "
                "(id=...)"
            )
        wanted = [each.column for each in self.subgroups]
        wanted += [name for name in (self.group, self.weight) if name]
        numbers = [each.column for each in self.subgroups if each.cuts]
        numbers += [self.weight] if self.weight else []
        table.read([*ids, *wanted], numbers=numbers, names=wanted)
        column, places = self._found(predictions, ids)
        rows = table.rows.take(places)

        def of(name: str) -> pd.Series:
            return table.values(name).iloc[places].reset_index(drop=True)

        samples = len(predictions)
        told = predictions.subgroups | {
            each.name: checks.subgroup(each.name, each.of(of(each.column), rows), samples, rows)
            for each in self.subgroups
        }
        known = {column, *wanted, *usual(table.names, "path", "label", "split")}
        if predictions.groups is not None:
            known |= {*usual(table.names, "group")}
        changes: dict[str, Any] = {
            "subgroups": {name: told[name] for name in self.order},
            "unused": tuple(dict.fromkeys((*predictions.unused, *table.unused(known)))),
        }
        if self.group:
            groups, names = checks.groups(of(self.group), samples, rows)
            changes |= {"groups": groups, "group_names": names}
        if self.weight:
            weights = table.matrix([self.weight])[places, 0]
            changes["sample_weight"] = checks.sample_weight(weights, samples, rows)
        return predictions._changed(**changes)

    def _found(
        self, predictions: Predictions, ids: Sequence[str]
    ) -> tuple[str, npt.NDArray[np.intp]]:
        """The column that has the ids, and the row of each case (N,)."""
        assert predictions.ids is not None
        own = pd.Series(predictions.ids)
        tried = (
            (name, *_matched(form(own), form_here(self.table.values(name))))
            for form, form_here in _FORMS
            for name in ids
        )
        most = -1
        for each in tried:
            found = int(np.count_nonzero(each[1] >= 0))
            if found > most:
                most, (column, places, here) = found, each
            if found == len(own):
                break
        missing = np.flatnonzero(places < 0)
        rows, source = self.table.rows, predictions.source or "the predictions"
        if missing.size == places.size:
            raise rows.error(
                f"expected the cases of {source}, whose ids are such as {predictions.ids[0]!r}, "
                f"found none of them in column {column!r}, with {here.iloc[0]!r}; declare the "
                "column of ids with --id (id=...)"
            )
        if missing.size:
            some = listed(predictions.ids[missing].tolist(), 3)
            raise rows.error(
                f"column {column!r}: expected a row for each of the {places.size:,} cases of "
                f"{source}, found none for {missing.size:,}: {some}"
            )
        again = here.isin(here.iloc[places]) & here.duplicated(keep=False)
        if again.any():
            first = here[again].iloc[0]
            same = np.flatnonzero((here == first).to_numpy(np.bool_))
            raise rows.error(
                f"column {column!r}: expected every case of {source} once, received {first!r} at "
                f"{rows.named(same)}"
            )
        return column, places


def _matched(ids: pd.Series, here: pd.Series) -> tuple[npt.NDArray[np.intp], pd.Series]:
    """Of each id its first row, or -1; and the ids of the table."""
    if not ids.is_unique:  # names of files in several folders
        return np.full(len(ids), -1), here
    known = pd.Series(np.arange(len(here)), here.to_numpy())
    known = known[~known.index.duplicated() & known.index.notna()]
    return known.reindex(ids.to_numpy()).fillna(-1).to_numpy(np.intp), here


def _as_written(values: pd.Series) -> pd.Series:
    """Ids as :func:`lsplus_tf.predictions.checks.ids` has them."""
    text = values.map(lambda value: str(value).strip(), na_action="ignore").astype("str")
    return text.str.replace(r"^(-?(?:0|[1-9][0-9]*))\.0+$", r"\1", regex=True)


def _file_names(values: pd.Series) -> pd.Series:
    """The same without folders."""
    return _as_written(values).str.replace(r"^.*[/\\]", "", regex=True)


def _stems(values: pd.Series) -> pd.Series:
    """The same without folders and the suffix of a file."""
    return _file_names(values).str.replace(_SUFFIX, "", regex=True)


def _last(parts: int, values: pd.Series) -> pd.Series:
    """The last parts of paths; missing where there are fewer."""
    text = _as_written(values).str.replace("\\", "/", regex=False)
    return text.str.extract(rf"(?:^|/)((?:[^/]+/){{{parts - 1}}}[^/]+)$", expand=False)


# Those of the predictions and of the table; of those that match as many the first is taken. Paths
# may begin in other folders: the more of their last parts are the same, the better.
_Form = Callable[[pd.Series], pd.Series]
_FORMS: tuple[tuple[_Form, _Form], ...] = (
    (_as_written, _as_written),
    *((partial(_last, parts),) * 2 for parts in (5, 4, 3, 2)),
    *((form, here) for form in (_file_names, _stems) for here in (_file_names, _stems)),
)
