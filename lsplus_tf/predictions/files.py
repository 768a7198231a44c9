"""Reading predictions from tables and NPZ files."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf import manifest
from lsplus_tf.bounded import read_json
from lsplus_tf.errors import InputError, did_you_mean, one_line
from lsplus_tf.files import expanded, shown
from lsplus_tf.npz_files import array_names, decoded, read_arrays, read_text
from lsplus_tf.predictions import checks
from lsplus_tf.predictions.case_table import CaseTable, Subgroup, subgroups_said
from lsplus_tf.predictions.checks import Kind, ScoreKind
from lsplus_tf.predictions.predictions import Predictions
from lsplus_tf.tables import Rows, Table, listed, one_form, open_table
from lsplus_tf.tables.headings import Role, called, if_no_heading, look_predicted, usual
from lsplus_tf.tables.names import WRONG
from lsplus_tf.tables.splits import SPLIT_NAMES, split_meanings

# Of scores the first are what the documentation names; others have to be of several classes.
_COLUMN_OF_EACH_CLASS: dict[ScoreKind, tuple[str, ...]] = {
    "probabilities": ("probability_*", "probabilities_*", "proba_*", "prob_*", "p_*", "y_prob_*"),
    "logits": ("logit_*", "logits_*"),
}
_KINDS: tuple[ScoreKind, ...] = ("probabilities", "logits")
# A column that is declared alone, such as "prob_0".
_AFTER_ITS_CLASS = re.compile(
    r"(?:y_)?(?:probabilities|probability|proba|probs|prob|p|logits|logit)[_ .-]?(.+)",
    re.IGNORECASE,
)
_SCORE = r"(?:p|probs?|proba|probability|probabilities|logits?|scores?)"
_AROUND_A_CLASS = (
    re.compile(rf"(?P<what>{_SCORE}[_ .-])(.+)", re.IGNORECASE),
    re.compile(rf"(.+)(?P<what>[_ .-]{_SCORE})", re.IGNORECASE),
)
# Of several columns, "softmax_HP", "p(HP)", ".pred_HP", "prob0" or "Class 0".
_OF_SEVERAL = re.compile(
    rf"(?P<what>(?:.*[\W_])?(?:(?:{_SCORE}|softmax|sigmoid|outputs?|preds?|predictions?|conf|"
    r"confidences?|posteriors?|class(?=[\W_]*[0-9]+$|=))(?:[\W_]+(?:of[\W_]+)?|(?=[0-9]))))"
    r"(?P<class>.+?)(?P<end>[)\]]?)",
    re.IGNORECASE,
)
_MOST_IN_AN_OPTION = 20  # columns
_TRUTH = re.compile(r"((?:y_)?(?:true|truth|label|target|gt)[_ .-]).+", re.IGNORECASE)
_SHARE_BELOW_HALF = 0.1  # of numbers, from which on they are no confidences of two classes
_TOP_LABEL: tuple[Role, ...] = ("predicted", "confidence")


@dataclass(frozen=True)
class Columns:
    """What the columns of a table, or the arrays of an NPZ file, are called; None: as usual.

    Parameters
    ----------
    probabilities, logits : str, optional
        In a table either a name with a star, which stands for the class ("probability_*",
        "logit_*" as usual), or all names, separated by commas ("HP,SSA"), which are then those of
        the classes; CLASS=COLUMN names both. A single column is the score of class 2 of 2, or
        has a list of numbers in each cell. In an NPZ file the array's name ("probabilities",
        "logits").
    predicted, confidence : str, optional
        In place of these, the predicted class and its probability, where no more is known; as
        usual "predicted" and "confidence".
    label, id, group, split : str, optional
        As usual "label", "id", "group", "split", or their plurals; the label also "y_true",
        "true_label", "truth", "actual", "target", "ground_truth", "diagnosis" or "dx", and beside
        a predicted class "class" or "category". With a star the columns of 0 and 1 of each class.
        A label of "" is none: predictions without labels, whatever the file holds.
    weight : str, optional
        What each case counts. Of a table it is never guessed; in an NPZ file as usual
        "sample_weight".
    votes : str, optional
        As the probabilities; as usual "votes_*", in an NPZ file "votes".
    subgroups : sequence of str
        Columns by which results are reported separately. "age:40,60" cuts the numbers of a column
        into ranges, below 40, 40 to below 60, and 60 and above.
    take_split : str, optional
        Keep only these rows, such as "test".
    class_names : sequence of str, optional
        The classes, in the order of the columns; in place of what the file calls them. Of a single
        column of scores the other class, and the one that they are of.
    normalize : bool
        Divide each row of probabilities by its sum, such as percentages, or numbers that were
        rounded; a single column of percentages by 100.

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
    weight: str | None = None
    votes: str | None = None
    subgroups: Sequence[str] = ()
    take_split: str | None = None
    class_names: Sequence[str] | None = None
    normalize: bool = False


def read_predictions(
    path: str | Path, columns: Columns | None = None, *, cases: str | Path | None = None
) -> Predictions:
    """Read predictions and labels from a file, and what another table says of the cases.

    Parameters
    ----------
    path : str or Path
        A table (text, `.parquet`, `.json`, `.jsonl` or `.xlsx`, also packed by gzip), or an `.npz`
        file; see the head of :mod:`lsplus_tf.predictions`.
    columns : Columns, optional
        Names that are not as usual.
    cases : str or Path, optional
        Another table, with a row for each case and perhaps for others: subgroups, a group and a
        weight that are declared, and that the file has not, are its. Rows are found by the ids of
        the cases: as they are, as paths from different folders, or as names of files without
        folders and suffix.

    Returns
    -------
    Predictions

    Raises
    ------
    MissingDataError
        If there is no such file.
    InputError
        If it does not hold what it should; the message names the first lines that do not. Or it is
        of a finished run, and is not what the run wrote.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "predictions.csv"
    >>> _ = path.write_text("label,p_HP,p_SSA\\nSSA,0.9,0.1\\nHP,0.7,0.3\\n")
    >>> predictions = read_predictions(path, Columns(probabilities="p_*"))
    >>> predictions.class_names, predictions.labels.tolist()
    (('HP', 'SSA'), [1, 0])
    """
    path, columns = expanded(path, "path"), columns or Columns()
    _check_declared(columns)
    try:
        if path.is_dir():
            raise InputError(
                f"{shown(path)}: expected a file, received a folder (of a run: its "
                "predictions_validation.npz to calibrate, its predictions_test.npz to audit)"
            )
        is_npz = path.suffix.lower() == ".npz" and path.is_file()
    except OSError as error:  # as of a name that is too long
        raise InputError(f"{shown(path)}: cannot be read ({one_line(error)})") from error
    manifest.check(path)
    table = None if is_npz else open_table(path, "a file of predictions")
    if cases is None:
        return _read_npz(path, columns) if table is None else _read_table(table, columns)
    names = array_names(path) if table is None else table.names
    beside, own = CaseTable.opened(expanded(cases, "cases"), columns, names, shown(path))
    return beside.joined_to(_read_npz(path, own) if table is None else _read_table(table, own))


def _check_declared(columns: Columns) -> None:
    """Refuse what is no name, two declarations of what the scores are, or half of one."""
    for field in fields(columns):
        value = getattr(columns, field.name)
        if field.type == "str | None" and not isinstance(value, str | None):
            raise InputError(
                f"{field.name}: expected a name, or several in one text, as 'HP,SSA', received "
                f"{value!r}"
            )
    of_all = [kind for kind in _KINDS if getattr(columns, kind) is not None]
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


def _top_label(names: list[str], columns: Columns, rows: Rows) -> dict[str, str]:
    """The predicted class and its confidence, as declared or as usual; empty where not there."""
    if columns.predicted is not None:
        return {role: _need(names, getattr(columns, role), role, rows) for role in _TOP_LABEL}
    found = {role: usual(names, role) for role in _TOP_LABEL}
    if any(len(each) != 1 for each in found.values()):
        return {}
    return {role: name for role, (name,) in found.items()}


# Tables ------------------------------------------------------------------------------------------


def _read_table(table: Table, columns: Columns) -> Predictions:
    kind, scores, pattern = _score_columns(table, columns)
    one_hot = _one_hot_columns(table, columns.label)
    names = {
        role: _find(table.names, role, columns, table.rows)
        for role in ("label", "id", "group", "split")
        if role != "label" or not (one_hot or columns.label == "")
    }
    top = scores if kind == "confidence" else {}
    votes = {} if top and columns.votes is None else _votes_columns(table, columns.votes)
    subgroups = _subgroups(table.names, columns, table.rows)
    weight = []
    if columns.weight is not None:
        weight = [_need(table.names, columns.weight, "weight", table.rows)]
    wanted = [*scores.values(), *votes.values(), *filter(None, names.values())]
    wanted += [*one_hot.values(), *weight, *(each.column for each in subgroups)]
    measured = [name for role, name in scores.items() if not top or role == "confidence"]
    measured_too = [*votes.values(), *one_hot.values(), *weight]
    measured_too += [each.column for each in subgroups if each.cuts]
    few = [each.column for each in subgroups] + [name for name in [names["group"]] if name]
    table.read(wanted, numbers=[*measured, *measured_too], names=few)

    matrix = table.matrix(measured)
    labels = _labels_of(table, names.get("label"), one_hot)
    predicted = table.values(top["predicted"]) if top else None
    if pattern and matrix.shape[1] == 1:
        _check_single(table.names, kind, pattern, matrix, labels, table.rows)
    in_columns = [*scores] if matrix.shape[1] == len(scores) else None
    order = None
    if in_columns and kind != "confidence":
        order = checks.Order(_is_order_said(columns), kind, tuple(scores.values()))
    class_names = (
        _top_class_names(None, labels, predicted, columns, table.rows)
        if top
        else _class_names(in_columns, matrix.shape[1], labels, columns, table.rows, order)
    )
    if pattern and class_names is not None:
        _check_classes(pattern, class_names, labels, order, table.rows)
    classes = class_names or [*map(str, range(max(2, matrix.shape[1])))]
    optional = {
        "ids": names["id"] and table.text(names["id"]),
        "groups": names["group"] and table.text(names["group"]),
        "predicted": predicted,
        "sample_weight": table.matrix(weight)[:, 0] if weight else None,
        "votes": _votes(table, votes, columns.votes, [*scores] if len(scores) > 1 else classes),
    }
    found = _labelled(
        kind,
        matrix,
        labels,
        class_names,
        optional,
        {each.name: each.of(table.values(each.column), table.rows) for each in subgroups},
        names["split"] and table.values(names["split"]),
        columns,
        replace(table.rows, unused=table.unused(wanted)),
        _class_is_said(columns, table.names),
        order,
    )
    if found.group_names is not None and len(found.group_names) < 2:
        raise table.rows.error(
            f"groups: expected two or more, received only {found.group_names[0]!r}"
        )
    return found


def _score_columns(table: Table, columns: Columns) -> tuple[Kind, dict[str, str], str]:
    """What the scores are, the column of each class, and by which usual name they were found.

    Of the predicted class alone, the columns of :func:`_top_label`.
    """
    top = _top_label(table.names, columns, table.rows)
    if columns.predicted is not None:
        return "confidence", top, ""
    for kind in _KINDS:
        declared = getattr(columns, kind)
        if declared is not None:
            found = _matching(table, declared, kind)
            if not found:
                raise table.rows.error(
                    f"{kind}: expected columns {declared!r}, found {listed(table.names)}"
                )
            return kind, found, ""
    patterns = [
        (kind, pattern, found)
        for kind, each in _COLUMN_OF_EACH_CLASS.items()
        for place, pattern in enumerate(each)
        if len(found := _matching(table, pattern, kind, any_case=True)) > (place > 0)
    ]
    documented = [each for each in patterns if each[1] == _COLUMN_OF_EACH_CLASS[each[0]][0]]
    single = [(kind, name, {name: name}) for kind in _KINDS for name in usual(table.names, kind)]
    if top and not patterns:
        return "confidence", top, ""
    choice = documented or patterns or single
    if not choice:
        if option := _of_classes(table.names):
            raise table.rows.error(
                f"expected columns probability_CLASS or logit_CLASS, found {listed(table.names)}; "
                f"if those are of classes, declare them with {option}"
            )
        raise table.rows.error(
            "expected columns probability_CLASS or logit_CLASS, found "
            f"{listed(table.names)}; declare others with --probabilities or --logits, such as "
            "'p_*', where the star stands for the class, or HP,SSA; of the predicted class and "
            f"its probability alone with {_top_label_hint(table.names)}{if_no_heading(table.names)}"
        )
    if len(choice) > 1:
        raise table.rows.error(
            f"holds columns {' and '.join(pattern for _, pattern, _ in choice)}: declare which to "
            f"take, with {' or '.join(f'--{kind} {pattern!r}' for kind, pattern, _ in choice)}"
        )
    kind, pattern, found = choice[0]
    if choice is not single:
        _check_capitals(table, kind, pattern, found)
    return kind, found, "" if choice is documented else pattern


def _one_hot_columns(table: Table, declared: str | None) -> dict[str, str]:
    """The column of each class with 1 where a case is of it, if they are declared by a star."""
    if declared is None or "*" not in declared or one_form(declared) in table.names:
        return {}
    return _matching(table, declared, "label")


def _labels_of(table: Table, name: str | None, one_hot: dict[str, str]) -> pd.Series | None:
    """The labels; of a column for each class what the classes are called. None where none are."""
    if one_hot:
        found = checks.of_one_hot(table.matrix([*one_hot.values()]), table.rows, "labels")
        return pd.Series(np.array([*one_hot], object)[found])
    return None if name is None else table.values(name)


def _of_classes(names: Sequence[str]) -> str:
    """The option for columns that seem to be of classes, by their names; or ""."""
    groups = {("", ""): [name for name in names if name.isdigit()]}  # with the class, if beside it
    for name in names:
        match = _OF_SEVERAL.fullmatch(name)
        if match and not look_predicted([name]):
            column = f"{match['class']}={name}"
            groups.setdefault((match["what"], match["end"]), []).append(column)
    for (what, end), found in groups.items():
        if len(found) < 2:
            continue
        kind = "logits" if "logit" in what.lower() else "probabilities"
        if sum(name.startswith(what) and name.endswith(end) for name in names) == len(found):
            return f"--{kind} {f'{what}*{end}'!r}, where the star stands for the class"
        if len(found) <= _MOST_IN_AN_OPTION:
            return f"--{kind} {shlex.quote(','.join(found))}"
    for pattern in _AROUND_A_CLASS:
        there = [match for name in names if (match := pattern.fullmatch(name))]
        # A single one may be the confidence in the predicted class.
        if there and (len(there) > 1 or not look_predicted(names)):
            kind = "logits" if "logit" in there[0]["what"].lower() else "probabilities"
            star = there[0].re.groupindex["what"] == 1
            what = there[0]["what"]
            starred = f"{what}*" if star else f"*{what}"
            return f"--{kind} {starred!r}, where the star stands for the class"
    return ""


def _top_label_hint(names: list[str]) -> str:
    """The options that declare it, with the columns that are called so."""
    predicted = look_predicted(names)
    confidence = [name for name in names if re.search("conf|prob|score", name, re.IGNORECASE)]
    first, second = (
        shlex.quote(found[0]) if found else "COLUMN" for found in (predicted, confidence)
    )
    return f"--predicted {first} --confidence {second}"


def _class_is_said(columns: Columns, names: list[str]) -> bool:
    """Whether "CLASS=COLUMN" says of which class a column is: then it is no confidence."""
    declared = columns.probabilities or ""
    return "=" in declared and one_form(declared) not in names


def _of_both(scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The probabilities of both classes, (N, 2), where those of the second are a single column."""
    column = scores.reshape(len(scores), -1)
    if column.shape[1] > 1 or not ((column >= 0) & (column <= 1)).all():
        return scores
    return np.hstack([1 - column, column])


def _is_surely_of_second(scores: npt.NDArray[Any], labels: Any) -> bool:
    """Whether a column is no confidence: of two classes the larger probability is above 1/2."""
    distinct = {text.lower() for text in checks.distinct_classes(labels)}
    return (
        len(scores) >= checks.FEWEST_ROWS
        and distinct <= {"0", "1", "false", "true"}
        and scores.dtype.kind == "f"
        and bool((scores >= 0).all() and (scores <= 1).all())
        and float((scores < 0.49).mean()) >= _SHARE_BELOW_HALF
    )


def _check_single(
    names: list[str], kind: Kind, column: str, scores: npt.NDArray[Any], labels: Any, rows: Rows
) -> None:
    """Refuse scores that no one declared, and that may be of the predicted class."""
    predicted = look_predicted(names)
    if predicted and not _is_surely_of_second(scores, labels):
        raise rows.error(
            f"{column!r} beside {predicted[0]!r} may be the confidence in the predicted "
            f"class, and then declare --predicted {predicted[0]} --confidence {column}; or else "
            f"the score of one class, and then declare --{kind} CLASS={column}"
        )


def _matching(table: Table, pattern: str, role: str, *, any_case: bool = False) -> dict[str, str]:
    """The column of each class that a name with a star, or a list of names, declares."""
    if "*" in pattern:
        declared = _with_star(pattern, any_case=any_case)
        found = {here[1]: name for name in table.names if (here := declared.fullmatch(name))}
        # Blanks beside a star are between the words of a heading, and no part of a class's name.
        bare = {name.strip(): column for name, column in found.items()}
        return bare if len(bare) == len(found) and "" not in bare else found
    found = {}
    for each in pattern.split(","):
        name, _, column = each.partition("=")
        if column and one_form(each) not in table.names:  # CLASS=COLUMN
            found[one_form(name)] = _need(table.names, column, role, table.rows)
        else:
            column = _need(table.names, each, role, table.rows)
            found[column] = column
    return found


def _with_star(pattern: str, *, any_case: bool) -> re.Pattern[str]:
    start, _, end = one_form(pattern).partition("*")
    flags = re.DOTALL | (re.IGNORECASE if any_case else 0)
    return re.compile(f"{re.escape(start)}(.+){re.escape(end)}", flags)


def _check_capitals(table: Table, kind: str, pattern: str, found: dict[str, str]) -> None:
    """Refuse two columns of one class, found by a usual name in any case of letters."""
    for name in table.names:
        here = _with_star(pattern, any_case=True).fullmatch(name)
        if here and name not in found.values():
            other = found.get(here[1], found.get(here[1].strip()))
            raise table.rows.error(
                f"{kind}: found {name!r} and {other!r}, both of class {here[1]!r}; "
                f"declare which to take, as with --{kind} '{name.removesuffix(here[1])}*'"
            )


def _votes_columns(table: Table, declared: str | None) -> dict[str, str]:
    """The column of each class's votes; none where there are none."""
    found = _matching(table, declared or "votes_*", "votes")
    if not found and declared is not None:
        raise table.rows.error(f"votes: expected columns {declared!r}, found {listed(table.names)}")
    return found


def _votes(
    table: Table, found: dict[str, str], declared: str | None, classes: Sequence[str]
) -> npt.NDArray[Any] | None:
    """Votes in the order of the classes, None where there are none."""
    if not found:
        return None
    in_order = declared is not None and "*" not in declared and len(found) in (1, len(classes))
    if not in_order and set(found) != set(classes):
        raise table.rows.error(
            f"votes: expected a column for each class, {listed(classes)}, found those of "
            f"{listed([*found])}"
        )
    return table.matrix([*found.values()] if in_order else [found[name] for name in classes])


# Classes -----------------------------------------------------------------------------------------


def _class_names(
    found: list[str] | None,
    classes: int,
    labels: Any,
    columns: Columns,
    rows: Rows,
    order: checks.Order | None = None,
) -> list[str] | None:
    """The names of the classes: declared, or as the file calls them; None where it has none."""
    given = None if columns.class_names is None else [*map(one_form, columns.class_names)]
    if classes == 1:
        declared = one_form(columns.probabilities or columns.logits or "")
        return _two_classes(None if found is None else found[0], labels, given, declared, rows)
    if given is None or found is None:
        return given or found
    # Numbers may be counted from 0 in one place and from 1 in the other.
    if sorted(given) == sorted(found) or not all(map(str.isdigit, found)):
        for k, name in enumerate(given):
            if name in found and found.index(name) != k:
                remedy = "leave --class-names out, as the columns are named"
                if order is not None and set(given) == set(found):
                    places = [found.index(each) for each in given]
                    named = order._replace(columns=tuple(order.columns[k] for k in places))
                    remedy += (
                        ", or if it is the order of labels that are numbers, declare instead "
                        f"{named.declared(given)}"
                    )
                raise rows.error(
                    f"class_names: expected the classes in the order of the columns, "
                    f"{listed(found)}, received {listed(given)}, which would exchange some; "
                    f"{remedy}"
                )
    return given


def _is_order_said(columns: Columns) -> bool:
    """Whether someone named all classes, or their columns, in the order that labels count."""
    declared = columns.probabilities or columns.logits or "*"
    return columns.class_names is not None or ("*" not in declared and "," in declared)


def _two_classes(
    column: str | None, labels: Any, given: list[str] | None, declared: str, rows: Rows
) -> list[str] | None:
    """The two classes where a single column, which may be declared, gives the scores of one."""
    distinct = checks.distinct_classes(labels)
    of = None if column is None or usual([column], *_KINDS) else column
    spelled = [text for text in distinct if of is not None and text.casefold() == of.casefold()]
    of = spelled[0] if len(spelled) == 1 else of
    if of == declared and of not in distinct:  # what the column is called may be no class
        end = _AFTER_ITS_CLASS.fullmatch(of)
        of = next((each for each in distinct if end and each.lower() == end[1].lower()), None)
    if given is not None:
        if of in given[:-1]:
            raise rows.error(
                f"class_names: the scores are of class {of!r}, which has to be the second, "
                f"received {listed(given)}"
            )
        return given
    others = [text for text in distinct if text != of]
    if len(distinct) == 2 and len(others) == 1:
        return [*others, str(of)]
    if {text.lower() for text in distinct} <= {"0", "1", "false", "true"}:
        return None if of is None else [checks.other_of_two(of), of]
    scores = "a single column of scores" + ("" if of is None else f", of class {of!r}")
    if len(distinct) != 2:
        raise rows.error(
            f"found {scores}: expected labels of two classes, received "
            f"{listed(distinct, WRONG)}; with more classes every one needs a column, or "
            "--predicted and --confidence the predicted class and its probability"
        )
    raise rows.error(
        f"found {scores}: expected the labels 0 and 1, received {listed(distinct)}; say which of "
        f"the two the scores are of: --class-names {distinct[0]},{distinct[1]} (class_names) if it "
        f"is {distinct[1]!r}, --class-names {distinct[1]},{distinct[0]} if it is {distinct[0]!r}"
    )


def _top_class_names(
    found: list[str] | None, labels: Any, predicted: Any, columns: Columns, rows: Rows
) -> list[str]:
    """The classes: declared, as the file calls them, or those that occur, also in other splits."""
    if columns.class_names is not None:
        return [*map(one_form, columns.class_names)]
    return found or [*checks.occurring(labels, predicted, len(predicted), rows)]


def _check_classes(
    pattern: str, class_names: list[str], labels: Any, order: checks.Order | None, rows: Rows
) -> None:
    """Refuse columns that no one declared, and that are not of the labels' classes."""
    distinct = checks.distinct_classes(labels)
    found = checks.resolve(distinct, class_names, order)
    # A column p_value would be one class more.
    lacks = pattern == "p_*" and len({*found.values()}) < len(class_names)
    if lacks or len(found) < len(distinct):
        unknown = [text for text in distinct if text not in found]
        raise rows.error(
            f"found columns {pattern!r} of {listed(class_names)}, and labels "
            f"{listed(unknown or distinct, WRONG)}, which are not the same classes: "
            + ("mend these labels, or " * (0 < len(unknown) < len(distinct)))
            + "declare the columns with --probabilities or --logits, and what the classes are "
            "called with --class-names"
        )


# NPZ ---------------------------------------------------------------------------------------------


def _read_npz(path: Path, columns: Columns) -> Predictions:
    rows = Rows(shown(path))
    there = array_names(path)
    kind, name = _score_array(there, columns, rows)
    top = _top_label(there, columns, rows) if kind == "confidence" else {}
    names = {
        role: _find(there, role, columns, rows)
        for role in ("label", "id", "group", "split", "votes")
        if role != "label" or columns.label != ""
    }
    subgroups = _subgroups(there, columns, rows)
    weight = "sample_weight"
    if columns.weight is not None:
        weight = _need(there, columns.weight, "weight", rows)
    plain = {"class_names", "posterior", weight}.intersection(there)
    used = {name, *top.values(), *filter(None, names.values()), *plain}
    used |= {each.column for each in subgroups}
    rows = replace(rows, unused=tuple(each for each in there if each not in {*used, "model"}))
    arrays = {
        each: np.atleast_1d(decoded(array, f"{rows.source}: {each}"))
        for each, array in read_arrays(path, sorted(used)).items()
    }
    given = {role: arrays[name] for role, name in names.items() if name is not None}
    scores, found = arrays[name], _npz_class_names(path, arrays)
    if scores.ndim > 2:
        few = f", as {name}.squeeze() has" if np.squeeze(scores).ndim == 2 else ""
        raise rows.error(
            f"{kind}: expected shape (N, K), a row for each case and a column for each class{few}, "
            f"received shape {scores.shape}"
        )
    predicted = arrays[top["predicted"]] if top else None
    classes = 1 if scores.ndim < 2 else scores.shape[1]
    is_declared = (columns.probabilities or columns.logits) is not None
    if classes == 1 and not top and not is_declared:
        _check_single(there, kind, name, scores, given.get("label"), rows)
    if classes == 1 and found is not None and not top:
        columns, found = replace(columns, class_names=columns.class_names or found), None
    class_names = (
        _top_class_names(found, given.get("label"), predicted, columns, rows)
        if top
        else _class_names(found, classes, given.get("label"), columns, rows)
    )
    predictions = _labelled(
        kind,
        scores,
        given.get("label"),
        class_names,
        {
            "predicted": predicted,
            "ids": given.get("id"),
            "groups": given.get("group"),
            "votes": None if top and columns.votes is None else given.get("votes"),
            "posterior": None if top else arrays.get("posterior"),
            "sample_weight": arrays.get(weight),
        },
        {each.name: each.of(arrays[each.column], rows) for each in subgroups},
        given.get("split"),
        columns,
        rows,
        _class_is_said(columns, there),
    )
    # Of other files an array of this name is something else, and is none of ours.
    model = None if columns.normalize else read_text(path, "model")
    return predictions.replace(model=model) if checks.is_fingerprint(model) else predictions


def _score_array(names: list[str], columns: Columns, rows: Rows) -> tuple[Kind, str]:
    """What the scores are, and the array's name."""
    top = _top_label(names, columns, rows)
    if columns.predicted is not None:
        return "confidence", top["confidence"]
    for kind in _KINDS:
        declared = getattr(columns, kind)
        if declared is not None:
            if _class_is_said(columns, names):
                declared = declared.partition("=")[2]
            return kind, _need(names, declared, kind, rows)
    found = [(kind, name) for kind in _KINDS for name in usual(names, kind)]
    if top and not found:
        return "confidence", top["confidence"]
    if len(found) != 1:
        what = "both" if len(found) == 2 else listed([name for _, name in found] or names)
        raise rows.error(
            f"expected an array probabilities or logits, found {what}; declare which with "
            "--probabilities NAME or --logits NAME"
        )
    return found[0]


def _npz_class_names(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> list[str] | None:
    """Those in the file; of a run's predictions, those in its summary."""
    if "class_names" in arrays:
        return [one_form(str(name)) for name in arrays["class_names"].ravel()]
    summary = path.with_name("summary.json")
    if path.name.startswith("predictions_") and summary.is_file():
        manifest.check(summary)
        try:
            return [*map(str, read_json(summary)["class_names"])]
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return None


# Both --------------------------------------------------------------------------------------------


def _labelled(
    kind: Kind,
    scores: npt.NDArray[Any],
    labels: Any,
    class_names: Sequence[str] | None,
    optional: dict[str, Any],
    subgroups: dict[str, Any],
    split: Any,
    columns: Columns,
    rows: Rows,
    class_is_said: bool,
    order: checks.Order | None = None,
) -> Predictions:
    given = {"labels": labels, "predicted": optional.pop("predicted", None)}
    of_classes = {what: values for what, values in given.items() if values is not None}
    optional = {what: values for what, values in optional.items() if values is not None}
    count = len(class_names or ()) if kind == "confidence" else max([2, *scores.shape[1:]])
    names = checks.class_names(class_names, count, rows)
    checks.transposed(labels, kind, scores, rows)
    chosen = _rows_of_split(split, columns.take_split, len(scores), rows)
    # Labels by the whole file, before a split is taken, and then by the names of their classes.
    in_a_column = {
        what: values
        for what, values in of_classes.items()
        if np.ndim(values) == 1 or np.shape(values)[1:] == (1,)
    }
    found = checks.classes(in_a_column, names, len(scores), rows, chosen, order)
    if chosen is not None:
        rest = {what: values for what, values in of_classes.items() if what not in found}
        for what, values in (*rest.items(), *optional.items(), *subgroups.items()):
            if len(values) != len(scores):
                raise rows.error(f"{what}: expected {len(scores)} rows, received {len(values)}")
        scores, rows = scores[chosen], rows.take(chosen)
        of_classes, optional, subgroups = (
            {what: values[chosen] for what, values in each.items()}
            for each in (rest, optional, subgroups)
        )
    of_classes |= {what: np.array(names, object)[classes] for what, classes in found.items()}
    of_classes.setdefault("labels", None)
    if columns.normalize:
        scores = _normalized(kind, scores, rows)
    if class_is_said:
        scores = _of_both(scores)
    given_scores: dict[str, Any] = {kind: scores}
    try:
        return Predictions(
            **of_classes,
            **given_scores,
            class_names=names,
            subgroups=subgroups,
            rows=rows,
            **optional,
        )
    except InputError as error:
        why = str(error)
        several = kind == "probabilities" and scores.shape[1:] not in ((), (1,))
        if several and ("which sum to" in why or "percentages" in why):
            raise InputError(
                f"{error}; --normalize (normalize=True) divides each row by its sum"
            ) from None
        raise


def _normalized(kind: Kind, scores: npt.NDArray[Any], rows: Rows) -> npt.NDArray[np.float64]:
    """Each row divided by its sum; of a single column percentages as fractions."""
    if (
        kind != "logits"
        and scores.dtype.kind in "fiu"
        and (scores.ndim == 1 or scores.shape[1] == 1)
        and scores.size
        and scores.min() >= 0
        and 1 + checks.OUTSIDE_BY_ROUNDING < scores.max() <= 100
    ):
        warnings.warn(f"{rows.source}: {kind} divided by 100", stacklevel=2)
        return scores.astype(np.float64) / 100
    if (
        kind != "probabilities"
        or scores.ndim != 2
        or scores.shape[1] < 2
        or scores.dtype.kind not in "fiu"
    ):
        raise rows.error(
            "--normalize (normalize=True): expected a column of probabilities for each class, "
            f"or percentages up to 100, received {kind} of shape {scores.shape}"
        )
    sums = scores.sum(axis=1, dtype=np.float64)

    rows.refuse(~np.isfinite(sums), kind, *checks.finite(scores))
    rows.refuse(
        (scores < -checks.OUTSIDE_BY_ROUNDING).any(axis=1) | (sums <= 0),
        kind,
        "numbers of at least 0, one of them above 0, to divide each row by its sum",
        lambda row: checks.shown_row(scores[row]),
    )
    warnings.warn(
        f"{rows.source}: rows divided by their sums, {sums.min():.4g} to {sums.max():.4g}",
        stacklevel=2,
    )
    return scores / sums[:, np.newaxis]


def _rows_of_split(
    split: Any, wanted: str | None, samples: int, rows: Rows
) -> npt.NDArray[np.intp] | None:
    """The rows of a split, None for all."""
    if split is None:
        if wanted is not None:
            raise rows.error(
                f"expected a column of splits, to take {wanted!r} of; found none; declare it with "
                "--split (split)"
            )
        return None
    codes, distinct = pd.factorize(checks.column("split", split, samples, rows))
    rows.refuse(codes < 0, "split", "a value", lambda _: "none")
    texts = [str(value).strip().lower() for value in distinct]
    meant = _split_names(texts)
    found = [meant[text] for text in texts]
    if wanted is None:
        if len(set(found)) > 1:
            raise rows.error(
                f"split: holds {listed(sorted(set(found)))}: choose one with --take-split "
                "(take_split)"
            )
        return None
    name = wanted.strip().lower()
    name = meant.get(name, SPLIT_NAMES.get(name, name))
    if name not in found:
        raise rows.error(f"split: expected {wanted!r}, found {listed(sorted(set(found)))}")
    return np.flatnonzero(np.isin(codes, [i for i, each in enumerate(found) if each == name]))


def _split_names(texts: Sequence[str]) -> dict[str, str]:
    """The split that each text means, itself where it means none that is known."""
    own = {text: SPLIT_NAMES.get(text, text) for text in texts}
    with suppress(InputError):  # where several may be the validation split, each is its own
        return own | split_meanings(texts, "split")
    return own


def _find(names: list[str], role: str, columns: Columns, rows: Rows) -> str | None:
    """The name of what plays a role: as declared, or as usual; the label's is needed."""
    declared = getattr(columns, role)
    if declared is not None:
        return _need(names, declared, role, rows)
    found = called(names, role) if role != "label" else _labels(names, columns, rows)
    if len(found) > 1:
        declared = (columns.predicted, columns.id, columns.group, columns.split, columns.weight)
        others = {*declared, *columns.subgroups}
        found = [name for name in found if name not in others] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise rows.error(
            f"{role}: found {listed(found)}, each of which may be it: declare one with "
            f"--{role} NAME ({role}=...)"
        )
    if role == "label":
        truths = [match for name in names if (match := _TRUTH.fullmatch(name))]
        star = f"; a column for each class with --label '{truths[0][1]}*'" if truths[1:] else ""
        one = f" {shlex.quote(truths[0][0])}" if len(truths) == 1 else ""
        raise rows.error(
            f"expected {role!r}, found {listed(names)}; declare another name with --{role}{one} "
            f"({role}=...){star}"
        )
    return None


def _labels(names: list[str], columns: Columns, rows: Rows) -> list[str]:
    """The names of what may be the label."""
    if usual(names, "label"):
        return usual(names, "label", "truth")
    found = [name for name in usual(names, "class") if name != columns.predicted]
    if found and columns.predicted is None and not look_predicted(names):
        raise rows.error(
            f"label: {found[0]!r} may be the true class or the predicted one: declare --label "
            f"{shlex.quote(found[0])} (label=...) if it is the true one, else the column that has "
            "the true one"
        )
    return found


def _subgroups(names: list[str], columns: Columns, rows: Rows) -> list[Subgroup]:
    """The columns of subgroups, each of which must be there."""
    found = subgroups_said(columns.subgroups, names)
    for each in found:
        _need(names, each.column, "subgroup", rows)
    return found


def _need(names: list[str], name: str, role: str, rows: Rows) -> str:
    """The name, which an option declares; `InputError` where there is none such."""
    wanted = one_form(name)
    if wanted in names:
        return wanted
    usual = [each for each in (role, f"{role}s") if each in names]
    hint = did_you_mean(name, names) or did_you_mean(role, usual)
    if not hint and role in ("subgroup", "group", "weight"):
        hint = "; what another table has of these cases is taken with --cases TABLE (cases=...)"
    raise rows.error(f"--{role}: expected {name!r}, found {listed(names)}{hint}")
