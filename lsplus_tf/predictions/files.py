"""Reading predictions from CSV, Parquet and NPZ files."""

from __future__ import annotations

import difflib
import json
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.datasets.splitting import SPLIT_NAMES
from lsplus_tf.errors import InputError, MissingDataError, one_line
from lsplus_tf.predictions.checks import occurring
from lsplus_tf.predictions.predictions import Predictions
from lsplus_tf.tables import Rows, Table, listed, open_table

_TOP_LABEL = ("predicted", "confidence")


@dataclass(frozen=True)
class Columns:
    """What the columns of a table, or the arrays of an NPZ file, are called; None: as usual.

    Parameters
    ----------
    probabilities, logits : str, optional
        In a table either a name with a star, which stands for the class ("probability_*",
        "logit_*" as usual), or all names, separated by commas ("HP,SSA"), which are then those of
        the classes. A single column is of the second of two classes; "SSA=score" says that the
        column score is of the class SSA. In an NPZ file the array's name ("probabilities",
        "logits").
    predicted, confidence : str, optional
        In place of these, the predicted class and its probability, where no more is known; as
        usual "predicted" and "confidence".
    label, id, group, split : str, optional
        As usual "label", "id", "group", "split", or their plurals.
    votes : str, optional
        As the probabilities; as usual "votes_*", in an NPZ file "votes".
    subgroups : sequence of str
        Columns by which results are told apart.
    take_split : str, optional
        Keep only these rows, such as "test".
    class_names : sequence of str, optional
        The classes, in the order of the columns; in place of what the file calls them.

    Examples
    --------
    Of a table with the columns truth, p_HP, p_SSA and hospital:

    >>> columns = Columns(probabilities="p_*", label="truth", subgroups=("hospital",))
    >>> columns.label
    'truth'
    """

    probabilities: str | None = None
    logits: str | None = None
    predicted: str | None = None
    confidence: str | None = None
    label: str | None = None
    id: str | None = None
    group: str | None = None
    split: str | None = None
    votes: str | None = None
    subgroups: Sequence[str] = ()
    take_split: str | None = None
    class_names: Sequence[str] | None = None


def read_predictions(path: str | Path, columns: Columns | None = None) -> Predictions:
    """Read predictions and labels from a file.

    Parameters
    ----------
    path : str or Path
        A table (CSV with commas, semicolons or tabs in UTF-8, `.parquet`, or `.json`, a list of
        objects), or an `.npz` file; see the head of :mod:`lsplus_tf.predictions`.
    columns : Columns, optional
        Names that are not as usual.

    Returns
    -------
    Predictions

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If it does not hold what it should; the message names the first lines that do not.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "predictions.csv"
    >>> _ = path.write_text("label,p_HP,p_SSA\\nSSA,0.9,0.1\\nHP,0.7,0.3\\n")
    >>> predictions = read_predictions(path, Columns(probabilities="p_*"))
    >>> predictions.class_names, predictions.labels.tolist()
    (('HP', 'SSA'), [1, 0])
    """
    path, columns = Path(path).expanduser(), columns or Columns()
    _check_declared(columns)
    if path.is_dir():
        raise InputError(
            f"{path}: expected a file, received a folder (of a run: its predictions_validation.npz "
            "to calibrate, its predictions_test.npz to audit)"
        )
    if not path.is_file():
        raise MissingDataError(f"{path}: expected a file of predictions, there is none")
    if path.suffix.lower() == ".npz":
        return _read_npz(path, columns)
    return _read_table(path, columns)


def _check_declared(columns: Columns) -> None:
    """Refuse two declarations of what the scores are, or half of one."""
    of_all = [kind for kind in ("probabilities", "logits") if getattr(columns, kind) is not None]
    top = [role for role in _TOP_LABEL if getattr(columns, role) is not None]
    if len(of_all) == 2:
        raise InputError("expected probabilities or logits to be declared, received both")
    if of_all and top:
        raise InputError(
            f"--{top[0]}: expected the predicted class and its confidence to be declared, or "
            f"--{of_all[0]}, received both"
        )
    if len(top) == 1:
        other = next(role for role in _TOP_LABEL if role not in top)
        raise InputError(f"--{other}: expected beside --{top[0]}, received --{top[0]} alone")


def _top_label_names(names: list[str], columns: Columns, rows: Rows) -> dict[str, str] | None:
    """What the predicted class and its confidence are called, if they are declared or as usual.

    Scores of all classes tell more, and come first where nothing is declared.
    """
    if columns.predicted is None and (
        columns.probabilities is not None
        or columns.logits is not None
        or not set(_TOP_LABEL) <= set(names)
        or any(name.startswith(("probabilit", "logit")) for name in names)
    ):
        return None
    return {role: _need(names, getattr(columns, role) or role, role, rows) for role in _TOP_LABEL}


# Tables ------------------------------------------------------------------------------------------


def _read_table(path: Path, columns: Columns) -> Predictions:
    table = open_table(path, "a file of predictions")
    top = _top_label_names(table.names, columns, table.rows)
    kind, scores = ("confidence", {}) if top else _score_columns(table, columns)
    names = {
        role: _find(table.names, role, getattr(columns, role), table.rows, needed=role == "label")
        for role in ("label", "id", "group", "split")
    }
    votes = [] if top and not columns.votes else _votes_columns(table, columns.votes, scores)
    subgroups = [_need(table.names, name, "subgroup", table.rows) for name in columns.subgroups]
    measured = [top["confidence"]] if top else list(scores.values())
    others = [top["predicted"]] if top else []
    wanted = [*measured, *others, *votes, *subgroups, *filter(None, names.values())]
    table.read(wanted, numbers=[*measured, *votes])

    matrix = table.matrix(measured)
    assert names["label"] is not None  # it is needed
    labels = table.values(names["label"])
    class_names = list(scores)
    if len(scores) == 1:
        class_names = _two_classes(class_names[0], labels, table.rows)
        matrix = _both_where_the_class_is_said(matrix, columns, table.names)
    predicted = table.values(top["predicted"]) if top else None
    if top and columns.class_names is None:  # also those of other splits
        class_names = list(occurring(labels, predicted, len(table), table.rows))
    if columns.class_names is not None:
        class_names = list(columns.class_names)
    optional = {
        "ids": names["id"] and table.text(names["id"]),
        "groups": names["group"] and table.text(names["group"]),
        "predicted": predicted,
        "votes": table.matrix(votes) if votes else None,
    }
    unused = tuple(name for name in table.names if name not in wanted)
    found = _labelled(
        kind,
        matrix,
        labels,
        class_names,
        optional,
        {name: table.values(name) for name in columns.subgroups},
        names["split"] and table.values(names["split"]),
        columns,
        replace(table.rows, unused=unused),
    )
    if found.group_names is not None and len(found.group_names) < 2:
        raise table.rows.error(
            f"groups: expected two or more, received only {found.group_names[0]!r}"
        )
    return found


def _score_columns(table: Table, columns: Columns) -> tuple[str, dict[str, str]]:
    """What the scores are, and the column of each class."""
    for kind in ("probabilities", "logits"):
        declared = getattr(columns, kind)
        if declared is not None:
            found = _matching(table, declared, kind)
            if not found:
                raise table.rows.error(
                    f"{kind}: expected columns {declared!r}, found {listed(table.names)}"
                )
            return kind, found
    usual = {"probabilities": "probability_*", "logits": "logit_*"}
    found_of = {kind: _matching(table, pattern, kind) for kind, pattern in usual.items()}
    there = [kind for kind, found in found_of.items() if found]
    if len(there) == 2:
        raise table.rows.error(
            "holds columns probability_* and logit_*: declare which to take, with "
            "--probabilities 'probability_*' or --logits 'logit_*'"
        )
    if not there:
        raise table.rows.error(
            "expected columns probability_CLASS or logit_CLASS, found "
            f"{listed(table.names)}; declare others with --probabilities or --logits, such as "
            "'p_*', where the star stands for the class, or HP,SSA; of the predicted class and "
            f"its probability alone with {_top_label_hint(table.names)}"
        )
    return there[0], found_of[there[0]]


def _matching(table: Table, pattern: str, role: str) -> dict[str, str]:
    """The column of each class that a name with a star, or a list of names, declares."""
    if "*" in pattern:
        before, _, after = pattern.partition("*")
        return {
            name[len(before) : len(name) - len(after)]: name
            for name in table.names
            if len(name) > len(before) + len(after)
            and name.startswith(before)
            and name.endswith(after)
        }
    found = {}
    for name in (each.strip() for each in pattern.split(",")):
        of_class, said, column = name.partition("=")
        if name in table.names or not said:
            of_class = column = name
        found[of_class.strip()] = _need(table.names, column.strip(), role, table.rows)
    return found


def _top_label_hint(names: list[str]) -> str:
    """The options that declare it, with the columns that are called so."""
    predicted = [name for name in names if re.search("pred(?!.*prob)", name, re.IGNORECASE)]
    confidence = [name for name in names if re.search("conf|prob|score", name, re.IGNORECASE)]
    first, second = (found[0] if found else "COLUMN" for found in (predicted, confidence))
    return f"--predicted {first} --confidence {second}"


def _both_where_the_class_is_said(
    scores: npt.NDArray[Any], columns: Columns, names: list[str]
) -> npt.NDArray[Any]:
    """The probabilities of both classes, (N, 2), if "CLASS=COLUMN" says what a column is."""
    declared = columns.probabilities or ""
    if "=" not in declared or declared in names:
        return scores
    column = scores.reshape(len(scores), -1)
    if column.shape[1] > 1 or not ((column >= 0) & (column <= 1)).all():
        return scores
    return np.concatenate([1 - column, column], axis=1)


def _votes_columns(table: Table, declared: str | None, scores: dict[str, str]) -> list[str]:
    """The columns of the votes, in the order of the classes; none where there are none."""
    found = _matching(table, declared or "votes_*", "votes")
    if not found:
        if declared is not None:
            raise table.rows.error(
                f"votes: expected columns {declared!r}, found {listed(table.names)}"
            )
        return []
    if declared is not None and "*" not in declared and len(found) == len(scores):
        return list(found.values())
    if set(found) != set(scores):
        raise table.rows.error(
            f"votes: expected a column for each class, {listed(list(scores))}, found those of "
            f"{listed(list(found))}"
        )
    return [found[name] for name in scores]


def _two_classes(name: str, labels: Any, rows: Rows) -> list[str]:
    """The two classes where a single column gives the scores of one."""
    distinct = [str(value) for value in pd.unique(pd.Series(labels).dropna())]
    others = [value for value in distinct if value != name]
    if name in distinct and len(distinct) == 2:
        return [others[0], name]
    if set(distinct) <= {"0", "1", "0.0", "1.0", "True", "False", "true", "false", "TRUE", "FALSE"}:
        return [f"not {name}", name]
    remedy = (
        f"if it is the confidence in the predicted class, --predicted COLUMN --confidence {name}"
    )
    if len(distinct) == 2:
        of = max(distinct)
        remedy = f"if it is the probability of {of!r}, --probabilities '{of}={name}'; {remedy}"
    else:
        remedy = f"with more classes every one needs a column; {remedy}"
    raise rows.error(
        f"found a single column of scores, of class {name!r}: expected the labels {name!r} and one "
        f"other, or 0 and 1, received {listed(distinct)}; {remedy}"
    )


# NPZ ---------------------------------------------------------------------------------------------


def _read_npz(path: Path, columns: Columns) -> Predictions:
    rows = Rows(str(path))
    arrays = _load_npz(path, rows)
    top = _top_label_names(list(arrays), columns, rows)
    kinds = ("probabilities", "logits")
    declared = {kind: getattr(columns, kind) for kind in kinds if getattr(columns, kind)}
    said = declared.get("probabilities", "")
    if "=" in said and said not in arrays:  # CLASS=NAME
        declared["probabilities"] = said.partition("=")[2]
    found = {kind: _need(list(arrays), name, kind, rows) for kind, name in declared.items()} or {
        kind: kind for kind in kinds if kind in arrays
    }
    if top:
        found = {"confidence": top["confidence"]}
    if len(found) != 1:
        what = "both" if found else listed(list(arrays))
        raise rows.error(
            f"expected an array probabilities or logits, found {what}; declare which with "
            "--probabilities NAME or --logits NAME"
        )
    ((kind, name),) = found.items()
    names = {
        role: _find(list(arrays), role, getattr(columns, role), rows, needed=role == "label")
        for role in ("label", "id", "group", "split", "votes")
    }
    given = {role: arrays[name] for role, name in names.items() if name is not None}
    class_names = columns.class_names or _npz_class_names(path, arrays)
    predicted = arrays[top["predicted"]] if top else None
    if top and class_names is None:  # also those of other splits
        class_names = occurring(given["label"], predicted, len(arrays[name]), rows)
    return _labelled(
        kind,
        _both_where_the_class_is_said(arrays[name], columns, list(arrays)),
        given["label"],
        class_names,
        {
            "predicted": predicted,
            "ids": given.get("id"),
            "groups": given.get("group"),
            "votes": None if top and not columns.votes else given.get("votes"),
            "posterior": None if top else arrays.get("posterior"),
            "sample_weight": arrays.get("sample_weight"),
        },
        {name: arrays[_need(list(arrays), name, "subgroup", rows)] for name in columns.subgroups},
        given.get("split"),
        columns,
        rows,
    )


def _load_npz(path: Path, rows: Rows) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "Object arrays" in str(error):
            raise rows.error(
                "an array holds Python objects, as of rows of different lengths or strings of "
                "dtype object; make it an array of numbers, or of dtype str"
            ) from error
        raise rows.error(f"cannot be read as NPZ ({one_line(error)})") from error


def _npz_class_names(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> list[str] | None:
    """Those in the file; of a run's predictions, those in its summary."""
    if "class_names" in arrays:
        return [str(name) for name in arrays["class_names"].ravel()]
    summary = path.with_name("summary.json")
    if path.name.startswith("predictions_") and summary.is_file():
        try:
            return list(json.loads(summary.read_text(encoding="utf-8"))["class_names"])
        except (ValueError, KeyError, TypeError):
            return None
    return None


# Both --------------------------------------------------------------------------------------------


def _labelled(
    kind: str,
    scores: npt.NDArray[Any],
    labels: Any,
    class_names: Sequence[str] | None,
    optional: dict[str, Any],
    subgroups: dict[str, Any],
    split: Any,
    columns: Columns,
    rows: Rows,
) -> Predictions:
    chosen = _rows_of_split(split, columns.take_split, len(scores), rows)
    if chosen is not None:
        for what, values in (*optional.items(), *subgroups.items(), ("labels", labels)):
            if values is not None and len(values) != len(scores):
                raise rows.error(f"{what}: expected {len(scores)} rows, received {len(values)}")
        scores, labels, rows = scores[chosen], labels[chosen], rows.take(chosen)
        optional = {k: None if v is None else v[chosen] for k, v in optional.items()}
        subgroups = {k: v[chosen] for k, v in subgroups.items()}
    return Predictions(
        labels,
        **{kind: scores},
        class_names=class_names,
        subgroups=subgroups,
        rows=rows,
        **optional,
    )


def _rows_of_split(
    split: Any, wanted: str | None, samples: int, rows: Rows
) -> npt.NDArray[np.intp] | None:
    """The rows of a split, None for all."""
    if split is None:
        if wanted is not None:
            raise rows.error(f"expected a column of splits, to take {wanted!r} of; found none")
        return None
    if len(split) != samples:
        raise rows.error(f"split: expected {samples} rows, received {len(split)}")
    codes, distinct = pd.factorize(split)
    rows.refuse(codes < 0, "split", "a value", lambda _: "none")
    found = [_split_name(str(value)) for value in distinct]
    if wanted is None:
        if len(set(found)) > 1:
            raise rows.error(
                f"split: holds {listed(sorted(set(found)))}: choose one with --take-split"
            )
        return None
    if _split_name(wanted) not in found:
        raise rows.error(f"split: expected {wanted!r}, found {listed(sorted(set(found)))}")
    taken = [i for i, name in enumerate(found) if name == _split_name(wanted)]
    return np.flatnonzero(np.isin(codes, taken))


def _split_name(text: str) -> str:
    text = text.strip().lower()
    return SPLIT_NAMES.get(text, text)


def _find(
    names: list[str], role: str, declared: str | None, rows: Rows, *, needed: bool
) -> str | None:
    """The name of what plays a role: as declared, or as usual."""
    if declared is not None:
        return _need(names, declared, role, rows)
    for usual in (role, f"{role}s"):
        if usual in names:
            return usual
    if needed:
        raise rows.error(
            f"expected {role!r}, found {listed(names)}; declare another name with --{role}"
        )
    return None


def _need(names: list[str], name: str, role: str, rows: Rows) -> str:
    """The name, which an option declares; `InputError` where there is none such."""
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        close = close or [usual for usual in (role, f"{role}s") if usual in names]
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise rows.error(f"--{role}: expected {name!r}, found {listed(names)}{hint}")
    return name
