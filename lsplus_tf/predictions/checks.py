"""Whether arrays can be predictions and what belongs to them; a mistake is told with its rows."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.errors import one_line
from lsplus_tf.npz_files import decoded
from lsplus_tf.predictions.arrays import FloatArray, of_impossible, row_blocks
from lsplus_tf.tables import Rows, class_order, listed, one_form, spelled_alike
from lsplus_tf.tables.headings import look_predicted
from lsplus_tf.tables.names import alike

ScoreKind = Literal["probabilities", "logits"]
Kind = ScoreKind | Literal["confidence"]

# float32 softmaxes stay within 1e-5 of a sum of 1; those of 16 bits were seen to be off by 2e-3
# (float16) and 6e-3 (bfloat16). Logits and percentages are off by far more.
_ROW_SUM_TOLERANCE = 1e-3
_ROW_SUM_TOLERANCE_16_BITS = 1e-2
_POSTERIOR_SUM_TOLERANCE = 1e-6  # it is computed, in float64
_HALF_OF_TWO_DECIMALS = 0.005  # by which a number is off that was rounded so
_MOST_DECIMALS = 6  # of numbers that were rounded; more leave a sum within the tolerance
OUTSIDE_BY_ROUNDING = 1e-6  # of [0, 1]
FEWEST_ROWS = 10  # from which on the values of a column can show what it is not
_SHARE_OF_FIRST = 0.1  # of the cases; a model that hardly meets a class may never predict it
_MOST_SUBGROUPS = 50
_LEAST_WEIGHT = 1e-100  # in all; the squares of smaller and of larger ones are no floats
_MISSING = "(missing)"
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NO_LABEL = re.compile(r"-[0-9]+|255")  # as many mark what has none
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
# What pandas calls objects that are numbers, or gaps among them.
_OF_NUMBERS = frozenset(
    ("floating", "integer", "integer-na", "mixed-integer-float", "decimal", "boolean", "empty")
)
_SIGMOIDS = (
    "sigmoids, one for each class? of exclusive classes divide rows by their sums, or take each "
    "class as one of two"
)
_DECLARE_LOGITS = "if they are logits, declare them as logits, or give from_logits=True"


# Of two classes that are called so the second is what 1 and true mean.
_MEANINGS = (
    ("false", "true"),
    ("no", "yes"),
    ("neg", "pos"),
    ("negative", "positive"),
    ("absent", "present"),
    ("0", "1"),
)


class Order(NamedTuple):
    """How labels that are numbers go with classes that a table's columns are called after."""

    said: bool  # whether someone named all classes, or their columns, in the order of the numbers
    option: ScoreKind  # that names the columns
    columns: tuple[str, ...]  # one for each class, or that of the second of two

    def declared(self, names: Sequence[str]) -> str:
        """The option that declares the columns, each with its class."""
        columns = ",".join(
            column if name == column else f"{name}={column}"
            for name, column in zip(names, self.columns, strict=True)
        )
        return f"--{self.option} {shlex.quote(columns)} ({self.option}=)"


class Checked(NamedTuple):
    """What predictions are made of: the scores, or the predicted class and its confidence."""

    kind: Kind
    samples: int
    scores: FloatArray | None
    predicted: npt.NDArray[np.unsignedinteger[Any]] | None
    confidence: FloatArray | None
    labels: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...]


# Scores ------------------------------------------------------------------------------------------


def all_classes(
    given_labels: Any, kind: ScoreKind, given: Any, names: Sequence[str] | None, rows: Rows
) -> Checked:
    """Predictions of which the scores of all classes are known."""
    if given_labels is not None:
        exchanged(given_labels, kind, given, rows)
        transposed(given_labels, kind, given, rows)
    found = scores(kind, given, rows)
    chosen = class_names(names, found.shape[1], rows)
    _of_other_order(kind, given, chosen, rows)
    true = classes({"labels": given_labels}, chosen, len(found), rows).get("labels")
    if true is not None and kind == "probabilities" and np.shape(given)[1:] in ((), (1,)):
        _perhaps_confidence(found[:, 1], true, chosen, rows)
    return Checked(kind, len(found), found, None, None, true, chosen)


def scores(kind: ScoreKind, given: Any, rows: Rows) -> FloatArray:
    """Probabilities or logits (N, K): 16, 32 or 64 bit floats as they came, others in float64."""
    array = numbers(kind, given, rows)
    of_16_bits = array.dtype.itemsize == 2
    array = _floats(array)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or array.shape[1] == 0:
        hint = f"; {_further_axes(kind, array)}" if array.ndim > 2 else ""
        raise rows.error(
            f"{kind}: expected shape (N, K), a row for each case and a column for each class, "
            f"received shape {np.shape(given)}{hint}"
        )
    if len(array) == 0:
        raise rows.error(f"{kind}: expected at least one row, received shape {array.shape}")
    tolerance = _ROW_SUM_TOLERANCE_16_BITS if of_16_bits else _ROW_SUM_TOLERANCE
    if kind == "logits":
        expected, shown = finite(array)
        hint = of_impossible(array)
        expected += f" ({hint})" if hint else ""
        rows.refuse(~np.isfinite(_row_sums(array)), kind, expected, shown)
        if array.shape[1] == 1:
            return _both_classes(kind, array, rows)
        if len(array) > 1 and _are_surely_distributions(array, 2 * tolerance):
            raise rows.error(
                "logits: received rows of numbers from 0 to 1 that sum to 1: declare them as "
                "probabilities, or leave out from_logits"
            )
        # Of sigmoids some are above 1/2; logits of a network that was hardly trained are near 0.
        if len(array) >= FEWEST_ROWS and _are_fractions(array) and array.max() > 0.5:
            if np.abs(_row_sums(array) - 1).max() <= _HALF_OF_TWO_DECIMALS * array.shape[1]:
                raise rows.error(
                    "logits: received rows of numbers from 0 to 1 that sum to 1 but for rounding: "
                    "declare them as probabilities, or leave out from_logits"
                )
            raise rows.error(
                f"logits: expected numbers of any size, received numbers from 0 to 1: {_SIGMOIDS}"
            )
        return array
    if array.shape[1] == 1:
        rows.refuse(~np.isfinite(array[:, 0]), kind, *finite(array))
        return _both_classes(kind, array, rows)
    if _are_surely_distributions(array, tolerance):
        return array
    return _distributions(array, tolerance, rows)


def numbers(name: str, given: Any, rows: Rows) -> npt.NDArray[Any]:
    """An array of real numbers, also of pandas' columns that may have gaps."""
    array = _array(name, given, rows)
    # As of pandas' columns with gaps, tables that were made row by row, and databases.
    if array.dtype.kind == "O" and pd.api.types.infer_dtype(array.ravel()) in _OF_NUMBERS:
        array = pd.to_numeric(array.ravel()).reshape(array.shape)
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        hint = "; make floats of them, as with .astype(float)" if array.dtype.kind in "OSTU" else ""
        raise rows.error(f"{name}: expected real numbers, received dtype {array.dtype}{hint}")
    return array


def _array(name: str, given: Any, rows: Rows) -> npt.NDArray[Any]:
    """What NumPy makes of something, unless that is no array of values."""
    try:
        array = np.asarray(_unmasked(name, given, rows))
    except (TypeError, ValueError, RuntimeError) as error:  # ragged rows, a tensor on a GPU
        raise rows.error(f"{name}: no array can be made of it ({one_line(error, 160)})") from error
    if array.ndim == 0 and array.dtype.kind == "O":
        raise rows.error(
            f"{name}: expected an array or a list of values, received a {type(given).__name__}; "
            "make an array of it"
        )
    return array


def _unmasked(name: str, given: Any, rows: Rows) -> Any:
    """Refuse an array with masked values, which NumPy would take for values."""
    if not isinstance(given, np.ma.MaskedArray):
        return given
    if np.ma.getmaskarray(given).any():
        raise rows.error(
            f"{name}: expected a value in every row, received masked ones; leave the masked rows "
            "out, as with values[~mask]"
        )
    return given.data


def _floats(array: npt.NDArray[Any]) -> FloatArray:
    """Floats of 16, 32 or 64 bits as they came, other numbers in float64."""
    kind = array.dtype.kind
    if kind not in "fiub" and array.dtype.name == "bfloat16":  # of TensorFlow, unknown to NumPy
        array = array.astype(np.float32)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if not array.dtype.isnative:  # ranked by its bits
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def finite(array: FloatArray) -> tuple[str, Any]:
    return "a finite number in every column", lambda row: shown_row(array[row])


def shown_row(row: npt.NDArray[Any]) -> str:
    """A row as text; one of a thousand classes would bury the message."""
    return np.array2string(np.asarray(row), threshold=8, edgeitems=4, max_line_width=10_000)


def _row_sums(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """In float64; of NaN or infinity in a row they are not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.einsum("nk->n", array, dtype=np.float64)


def _are_surely_distributions(array: FloatArray, tolerance: float) -> bool:
    """Whether no number is negative and all rows sum to 1 within half the tolerance.

    Sums in float32 are exact enough for that; NaN and infinity survive them.
    """
    for block_rows in row_blocks(array):
        block = array[block_rows]
        with np.errstate(invalid="ignore", over="ignore"):
            sums = np.einsum("nk->n", block, dtype=np.promote_types(array.dtype, np.float32))
            close = np.abs(sums - 1) <= tolerance / 2
        if not close.all() or block.min() < 0:
            return False
    return True


def _are_fractions(array: FloatArray) -> bool:
    """Whether all numbers are from 0 to 1."""
    return all(array[block].min() >= 0 and array[block].max() <= 1 for block in row_blocks(array))


def _of_other_order(name: str, given: Any, names: tuple[str, ...], rows: Rows) -> None:
    """Refuse columns that are called as the classes, in another order."""
    if isinstance(given, pd.DataFrame):
        columns = tuple(map(str, given.columns))
        if columns != names and set(columns) == set(names):
            raise rows.error(
                f"{name}: expected the columns in the order of the classes, {', '.join(names)}, "
                f"received {', '.join(columns)}; exchange them, as with frame[class_names]"
            )


def _distributions(array: FloatArray, tolerance: float, rows: Rows) -> FloatArray:
    """The array, with 0 in place of what rounding made negative."""
    sums = _row_sums(array)
    rows.refuse(~np.isfinite(sums), "probabilities", *finite(array))
    lowest = array.min()
    if lowest < -OUTSIDE_BY_ROUNDING:
        negative = np.concatenate(
            [(array[block] < -OUTSIDE_BY_ROUNDING).any(axis=1) for block in row_blocks(array)]
        )
        expected = f"no negative number ({_DECLARE_LOGITS})"
        rows.refuse(negative, "probabilities", expected, lambda row: shown_row(array[row]))
    elif lowest < 0:
        array = array.clip(min=0)
        sums = _row_sums(array)
    off = np.abs(sums - 1) > tolerance
    if off.any():
        # A row of K numbers that were rounded misses 1 by up to K/2 units of its last place; what
        # became 0 made it no larger.
        half = _half_unit(array[off])
        rounded = np.where(sums > 1, np.count_nonzero(array, axis=1), array.shape[1])
        off &= (np.abs(sums - 1) > half * rounded + 1e-9) | (sums == 0)
    if not off.any():
        return array
    if np.abs(sums / 100 - 1).max() <= _ROW_SUM_TOLERANCE_16_BITS:  # they are often rounded
        hint = "they sum to 100: divide percentages by 100"
    elif np.abs(sums - 1).max() <= 0.01 * array.shape[1]:
        hint = "if they were rounded, write more decimals or divide each row by its sum"
        if array.dtype.itemsize < 8:
            hint += "; of a model that computes in 16 bits, make the last layer float32"
    elif array.max() <= 1:
        hint = _SIGMOIDS if off.mean() > 0.5 else "most rows do"
    else:
        hint = _DECLARE_LOGITS
    rows.refuse(
        off,
        "probabilities",
        f"rows that sum to 1 within {tolerance:g} ({hint})",
        lambda row: f"{shown_row(array[row])}, which sum to {sums[row]:.6g},",
    )
    return array


def _half_unit(array: FloatArray) -> float:
    """By how much each number may be off if all were rounded to as few decimals as they have."""
    if array.dtype.itemsize == 2:  # too few decimals to tell
        return 0.0
    noise = 4 * float(np.finfo(array.dtype).eps)
    for decimals in range(1, _MOST_DECIMALS + 1):
        units = array.astype(np.float64) * 10**decimals
        if (np.abs(units - units.round()) <= noise * 10**decimals).all():
            return 10.0**-decimals / 2
    return 0.0


def _both_classes(kind: ScoreKind, column: FloatArray, rows: Rows) -> FloatArray:
    """Scores (N, 2) from those of the second class alone, (N, 1)."""
    if column.dtype.itemsize == 2:  # of which 1 - p would lose digits
        column = column.astype(np.float32)
    if kind == "logits":
        if len(column) >= FEWEST_ROWS and _are_fractions(column):
            raise rows.error(
                "logits: received a column of numbers from 0 to 1: declare it as probabilities"
            )
        return np.concatenate([np.zeros_like(column), column], axis=1)
    column = _fractions(kind, column[:, 0], _DECLARE_LOGITS, rows)
    return np.stack([1 - column, column], axis=1)


def _fractions(name: str, values: FloatArray, hint: str, rows: Rows) -> FloatArray:
    """Values (N,) from 0 to 1, but for rounding."""
    low, high = values.min(), values.max()
    if low >= 0 and high <= 1:
        return values
    if low >= 0 and high <= 100:
        hint = "divide percentages by 100"
        if rows.source:
            hint += ", as --normalize (normalize=True) does"
    outside = (values < -OUTSIDE_BY_ROUNDING) | (values > 1 + OUTSIDE_BY_ROUNDING)
    rows.refuse(outside, name, f"numbers from 0 to 1 ({hint})", lambda row: values[row])
    return values.clip(0, 1)


def _perhaps_confidence(
    second: FloatArray, true: npt.NDArray[np.int64], names: tuple[str, ...], rows: Rows
) -> None:
    """Refuse a single column, (N,), that looks like the confidence in the predicted class.

    That has no value below 1/2, and so has the probability of the second class of a model that
    never predicts the first: then too few cases are of the first class to tell, or the user says
    which it is.
    """
    first = np.count_nonzero(true == 0)
    beside = next(iter(look_predicted(rows.unused)), None)
    if (
        len(second) < FEWEST_ROWS
        or second.min() < 0.5
        or not 0 < first < len(second)
        or (first < _SHARE_OF_FIRST * len(second) and beside is None)
    ):
        return
    if rows.source:
        confidence = f"declare it with --predicted {beside or 'COLUMN'} --confidence COLUMN"
        probability = f"with --probabilities '{names[1]}=COLUMN'"
    else:
        confidence = "give predicted=..., confidence=..."
        probability = "give np.stack([1 - p, p], axis=1)"
    raise rows.error(
        f"probabilities: expected those of {names[1]!r}, received no number below 0.5 although "
        f"{first} of {len(second)} cases are {names[0]!r}: it may be the confidence in the "
        f"predicted class, and then {confidence}; if it is the probability of {names[1]!r}, "
        f"{probability}"
    )


# The predicted class and its confidence ----------------------------------------------------------


def top_label(
    given_labels: Any, predicted: Any, confidence: Any, names: Sequence[str] | None, rows: Rows
) -> Checked:
    """Predictions of which the most probable class is known, and its probability."""
    array = numbers("confidence", confidence, rows)
    of_16_bits = array.dtype.itemsize == 2
    array = _floats(array)
    if array.shape[1:] == (1,):
        array = array[:, 0]
    if array.ndim != 1 or array.size == 0:
        raise rows.error(
            "confidence: expected shape (N,), the probability of the predicted class for each "
            f"case, received shape {np.shape(confidence)}"
        )
    samples = len(array)
    rows.refuse(~np.isfinite(array), "confidence", "a finite number", lambda row: array[row])
    array = _fractions("confidence", array, "the probability of the predicted class", rows)
    if names is None:
        names = occurring(given_labels, predicted, samples, rows)
    chosen = class_names(names, len(names), rows)
    if len(chosen) < 2:
        raise rows.error(
            f"class_names: expected two or more, received {chosen[0]!r} alone; name all classes "
            f"with {_naming(rows)}"
        )
    both = classes({"labels": given_labels, "predicted": predicted}, chosen, samples, rows)
    _are_maxima(array, len(chosen), of_16_bits, rows)
    few_bits = both["predicted"].astype(np.min_scalar_type(len(chosen) - 1))
    return Checked("confidence", samples, None, few_bits, array, both.get("labels"), chosen)


def _naming(rows: Rows) -> str:
    return "--class-names A,B" if rows.source else "class_names=[...]"


def _are_maxima(confidence: FloatArray, classes: int, of_16_bits: bool, rows: Rows) -> None:
    """Refuse confidences below 1/K, which no largest of K probabilities has."""
    tolerance = _ROW_SUM_TOLERANCE_16_BITS if of_16_bits else _ROW_SUM_TOLERANCE
    low = confidence < 1 / classes - tolerance
    if not low.any():
        return
    low &= confidence < 1 / classes - _half_unit(confidence[low]) - 1e-9
    if classes == 2 and rows.source:
        hint = "declare the probability of one class, whatever is predicted, with --probabilities"
    elif classes == 2:
        hint = "give the probability of one class, whatever is predicted, as probabilities"
    else:
        hint = "it may be that of another class than the predicted one"
    hint += f"; if the model has more classes, name all with {_naming(rows)}"
    rows.refuse(
        low,
        "confidence",
        f"at least 1/{classes}, as the largest of {classes} probabilities has ({hint})",
        lambda row: confidence[row],
    )


def occurring(given_labels: Any, predicted: Any, samples: int, rows: Rows) -> tuple[str, ...]:
    """The classes in the labels and in the predictions."""
    given = {"labels": given_labels, "predicted": predicted}
    found = {
        what: distinct_classes(codes(what, column(what, values, samples, rows), rows)[1])
        for what, values in given.items()
        if values is not None
    }
    names = class_order(set().union(*found.values()))
    sets = [*map(set, found.values())]
    if len(sets) < 2:
        return names
    of_words, of_numbers = (
        [each for each in sets if {text.lower() for text in each} <= kind]
        for kind in ({"false", "true"}, {"0", "1"})
    )
    if of_words and of_numbers:  # true is 1
        (words,) = of_words
        return tuple(
            next((text for text in words if text.lower() == word), word)
            for word in ("false", "true")
        )
    only = [class_order(sets[k] - sets[1 - k]) for k in (0, 1)]
    from_0, from_1 = ({str(k + first) for k in range(len(names) - 1)} for first in (0, 1))
    if len(names) > 2 and sets in ([from_0, from_1], [from_1, from_0]):
        raise rows.error(
            f"predicted: expected classes counted as the labels are, {listed(found['labels'])}, "
            f"received {listed(found['predicted'])}; count both from 0 or from 1, or if these are "
            f"{len(names)} classes, name all with {_naming(rows)}"
        )
    nearly_alike = spelled_alike(names)
    if not set.intersection(*sets) and not nearly_alike:
        true, other = (found[what][0] for what in given)
        raise rows.error(
            f"predicted: expected classes that the labels have, received none, such as {other!r} "
            f"beside {true!r}; if some are numbers of classes, name these with {_naming(rows)}"
        )
    if all(only):
        pair = next((each for each in nearly_alike if set(each) & set(only[0])), None)
        one = (
            f"are {' and '.join(map(repr, pair))} one? then write them alike"
            if pair
            else ("if some are one class, write them alike")
        )
        raise rows.error(
            f"predicted: expected classes that the labels have, received {listed(only[1])}, which "
            f"no label is, and no {listed(only[0])}, which labels are: {one}; if all are classes, "
            f"name them with {_naming(rows)}"
        )
    if same := alike(names):
        warnings.warn(str(rows.error(same)), stacklevel=4)
    return names


# Labels ------------------------------------------------------------------------------------------


def exchanged(
    labels: Any,
    name: str,
    given: Any,
    rows: Rows,
    order: str = "labels come first, then probabilities",
) -> None:
    """Refuse labels that are probabilities, beside probabilities that are labels."""
    first, second = _array("labels", labels, rows), _array(name, given, rows)
    if first.dtype.kind == "f" and second.dtype.kind in "iubOUT" and second.ndim == 1:
        fractions = (first.ndim == 2 and first.shape[1] > 1) or (
            first.ndim == 1 and first.size > 0 and not np.equal(np.floor(first), first).all()
        )
        if fractions:
            raise rows.error(
                f"labels: expected a class for each case, received shape {first.shape} of "
                f"{first.dtype}, and labels in place of the scores; {order}: exchange the two"
            )


def transposed(labels: Any, name: str, given: Any, rows: Rows) -> None:
    """Refuse scores (K, N) beside N labels."""
    shape, samples = np.shape(given), np.size(labels)
    if len(shape) == 2 and shape[0] < samples == shape[1] and np.shape(labels)[:1] == (samples,):
        raise rows.error(
            f"{name}: expected shape (N, K), a row for each of the {samples} labels, received "
            f"shape {shape}: transpose it, as with {name}.T"
        )


def several_columns(kind: ScoreKind, given: Any, rows: Rows) -> None:
    """Refuse a single column, which may be a mistake where no one said what it is."""
    array = _array(kind, given, rows)
    if array.ndim == 2 and array.shape[1] > 1:
        return
    if array.ndim > 2:
        hint = _further_axes(kind, array)
    elif array.dtype.kind in "iuOSU":
        hint = (
            "of predicted classes and their confidence make "
            "lsp.Predictions(labels, predicted=..., confidence=...)"
        )
    elif kind == "logits":
        hint = "of one column z of two classes give np.column_stack([np.zeros_like(z), z])"
    else:
        hint = "of two classes give np.column_stack([1 - p, p]), or lsp.Predictions of p"
    raise rows.error(
        f"{kind}: expected shape (N, K), a column for each class, received shape {array.shape}; "
        f"{hint}"
    )


def _further_axes(name: str, array: npt.NDArray[Any]) -> str:
    """What to do with pixels and steps."""
    return (
        f"where each pixel or step is a case, give labels.reshape(-1) and "
        f"{name}.reshape(-1, {array.shape[-1]})"
    )


def classes(
    given: Mapping[str, Any],
    names: tuple[str, ...],
    samples: int,
    rows: Rows,
    chosen: npt.NDArray[np.intp] | None = None,
    order: Order | None = None,
) -> dict[str, npt.NDArray[np.int64]]:
    """Classes in [0, K) of labels and predicted classes, (N,); of what is None there are none.

    They come by name, by number, or as rows (N, K) of zeros and a single one. Where names are
    numbers too, such as 1, 2 and 3, all values of all that is given tell which: a split, or the
    predictions, may have 1 and 2 alone. Only those of the `chosen` rows need a class. Without an
    `order` numbers are those of the names.
    """
    numbers = _numbers(names)
    # A name that is the number of another class can be read in two ways.
    two_ways = names != _unnamed(len(names)) and any(
        numbers.get(_form(name).lower(), k) != k for k, name in enumerate(names)
    )
    taken = rows if chosen is None else rows.take(chosen)
    found, texts = {}, {}
    for what, values in given.items():
        if values is None:
            continue
        array = _array(what, values, rows)
        if array.shape == (samples, len(names)) and array.dtype.kind in "fiub":
            _of_other_order(what, values, names, rows)
            found[what] = of_one_hot(array, rows, what)
            continue
        in_a_column = column(what, values, samples, rows)
        if not two_ways and order is None and array.dtype.kind in "iu":
            array = np.asarray(in_a_column)
            if array.size == 0 or (array.min() >= 0 and array.max() < len(names)):
                array = array if chosen is None else array[chosen]
                found[what] = array.astype(np.int64, copy=False)
                continue
        texts[what] = _factorized(what, in_a_column, rows)
    beside = [value for _, distinct in texts.values() for value in distinct]
    said = []
    for what, (numbered, distinct) in texts.items():
        values = {*map(_form, beside if two_ways else distinct)} - {""}
        of = _readings(values, names, order)
        if order is not None and not order.said:
            _ask_for_order(what, values, of[0], names, order, rows)
        said += _taken(what, of[0], names, order)
        numbered = numbered if chosen is None else numbered[chosen]
        found[what] = _of_values(what, numbered, distinct, *of, names, taken)
    if said:
        warnings.warn(str(rows.error("; ".join(dict.fromkeys(said)))), stacklevel=4)
    return found


def resolve(
    texts: Iterable[str], names: Sequence[str], order: Order | None = None
) -> dict[str, int]:
    """The class of each text that has one: all by name, or all by number where that fits more.

    Examples
    --------
    >>> resolve(["1", "2"], ["1", "2", "3"]), resolve(["0", "1", "2"], ["1", "2", "3"])
    ({'1': 0, '2': 1}, {'0': 0, '1': 1, '2': 2})
    >>> resolve(["True", "False"], ["TRUE", "FALSE"])
    {'False': 1, 'True': 0}
    """
    return _readings(texts, names, order)[0]


def _readings(
    texts: Iterable[str], names: Sequence[str], order: Order | None = None
) -> tuple[dict[str, int], dict[str, int]]:
    """The classes of texts, and those of the other reading, which fits no more of them."""
    texts = sorted(texts)  # so that messages are the same each time
    position, numbers = {_form(name): k for k, name in enumerate(names)}, _numbers(names)
    if order is not None:
        numbers |= _numbers_of_columns(texts, names, order)
    by_name = {text: position[text] for text in texts if text in position}
    by_number = {text: numbers[text.lower()] for text in texts if text.lower() in numbers}
    # Names that differ in capitals alone are the same, where each is that of one other.
    letters = {name.casefold(): k for name, k in position.items()}
    if len(letters) == len(position) and len({text.casefold() for text in texts}) == len(texts):
        by_name = {text: letters[text.casefold()] for text in texts if text.casefold() in letters}
    # Names first: classes may be called 1, 2 and 3.
    return (by_number, by_name) if len(by_number) > len(by_name) else (by_name, by_number)


def _numbers(names: Sequence[str]) -> dict[str, int]:
    numbers = {str(k): k for k in range(len(names))}
    if len(names) != 2:
        return numbers
    first = _is_second_first(names)
    return numbers | {"false": int(first), "true": int(not first)}


def other_of_two(name: str) -> str:
    """What the other of two classes is called."""
    for pair in _MEANINGS:
        if name.lower() in pair:
            return pair[1 - pair.index(name.lower())]
    return f"not {name}"


def _is_second_first(names: Sequence[str]) -> bool:
    """Whether two classes are called as no and yes, the second of them first."""
    return tuple(name.lower() for name in reversed(names)) in _MEANINGS


def _numbers_of_columns(texts: Sequence[str], names: Sequence[str], order: Order) -> dict[str, int]:
    """Numbers by what two classes mean, or counted from 1 where the last shows it."""
    last = len(names)
    if _is_second_first(names) and not order.said:
        return {"0": 1, "1": 0}
    if str(last) in texts and "0" not in texts and not _are_numbers(names):
        return {str(k + 1): k for k in range(last)}
    return {}


def _are_numbers(names: Iterable[str]) -> bool:
    return all(re.fullmatch(r"-?[0-9]+", name) for name in names)


def _ask_for_order(
    what: str,
    texts: set[str],
    of: dict[str, int],
    names: tuple[str, ...],
    order: Order,
    rows: Rows,
) -> None:
    """Refuse numbers that may go with named classes in two ways."""
    last = len(names)
    if not texts or texts != set(of) or not _are_numbers(texts) or len(order.columns) != last:
        return
    if _are_numbers(names) or texts <= set(names):  # by name
        return
    from_0 = order.declared(names)
    if last > 2 and texts <= {"0", "1"}:
        raise rows.error(
            f"{what}: found {listed(sorted(texts))} alone beside {last} classes, {listed(names)}: "
            f"if these are numbers of classes, name the columns in their order, as with {from_0}; "
            "if each class has a column of 0 and 1, declare all of them, as with --label 'true_*'"
        )
    if "0" not in texts and str(last) not in texts and not _mean_something(names):
        counted = ",".join(str(k + 1) for k in range(last))
        raise rows.error(
            f"{what}: found {listed(class_order(texts))} alone of {last} classes, {listed(names)}, "
            f"which may be counted from 0 or from 1: from 0 declare {from_0}, from 1 "
            f"--class-names {counted} (class_names=)"
        )


def _mean_something(names: Sequence[str]) -> bool:
    lower = tuple(name.lower() for name in names)
    return lower in _MEANINGS or lower[::-1] in _MEANINGS


def _taken(what: str, of: dict[str, int], names: tuple[str, ...], order: Order | None) -> list[str]:
    """What is to be said of the classes that values were taken as."""
    texts = sorted(of, key=lambda text: of[text])
    classes = [names[of[text]] for text in texts]
    pairs = f"{what} {', '.join(texts[:10])} taken as {', '.join(classes[:10])}"
    if not texts or _are_numbers(names):
        return []
    if all(
        text.casefold() == _form(name).casefold() for text, name in zip(texts, classes, strict=True)
    ):
        alike = all(text == _form(name) for text, name in zip(texts, classes, strict=True))
        return [] if alike else [f"{pairs}, which differ in capitals alone"]
    if order is None:
        return []
    if order.said:  # no is 1 then
        strange = _is_second_first(names) and texts[0] == "0"
        return [f"{pairs}, the order in which they are declared"] if strange else []
    if _mean_something(names):
        return []
    if len(order.columns) == 1:
        other = shlex.quote(f"0={order.columns[0]}")
        return [
            f"{pairs}: if 0 is {names[1]!r}, declare --{order.option} {other} ({order.option}=)"
        ]
    return [
        f"{pairs}, the order of the columns; if they mean others, name the columns in the order of "
        f"the numbers, as these are with {order.declared(names)}"
    ]


def distinct_classes(values: Any) -> list[str]:
    """The different labels as text, sorted; 1, 1.0 and " 1" are one."""
    return sorted({*map(_form, pd.Series(np.ravel(values)).dropna().unique())} - {""})


def _form(value: Any) -> str:
    """A class as text, in the one form of its several."""
    if isinstance(value, (float, np.floating)) and value.is_integer():
        return str(int(value))  # what pandas makes of integers beside a missing one
    text = one_form(str(value))
    whole = re.fullmatch(r"(-?[0-9]+)\.0*", text)
    return whole[1] if whole else text


def of_one_hot(array: npt.NDArray[Any], rows: Rows, name: str) -> npt.NDArray[np.int64]:
    ones = array == 1
    rows.refuse(
        ~((ones | (array == 0)).all(axis=1) & (np.count_nonzero(ones, axis=1) == 1)),
        name,
        "a class for each case, or rows of zeros and a single one (of shares or votes give "
        "votes=..., or as labels values.argmax(axis=1))",
        lambda row: shown_row(array[row]),
    )
    return ones.argmax(axis=1).astype(np.int64, copy=False)


def _of_values(
    name: str,
    numbered: npt.NDArray[np.intp],
    distinct: Any,
    of: dict[str, int],
    other: dict[str, int],
    names: tuple[str, ...],
    rows: Rows,
) -> npt.NDArray[np.int64]:
    """Classes of values that are numbered; -1 is none. The other reading is for the message."""
    texts = [_form(value) for value in distinct]
    missing = np.array([*(text == "" for text in texts), True])
    rows.refuse(missing[numbered], name, "a value", _none)
    found = np.array([*(of.get(text, -1) for text in texts), -1], np.int64)[numbered]
    if (found >= 0).all():
        return found
    are_integers = [isinstance(value, (int, np.integer)) for value in distinct]
    called = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
    last = len(names) - 1
    if names == _unnamed(len(names)):
        expected = f"integers from 0 to {last}"
        if rows.source:
            expected += (
                ", or what the classes are called to be declared with --class-names A,B "
                "(class_names)"
            )
        elif not all(are_integers) or ("0" not in texts and len(texts) <= len(names)):
            expected += ", or classes that lsp.Predictions(labels, ..., class_names=[...]) names"
    elif any(text in other and text not in of for text in texts):
        expected = f"the classes all by name, {called}, or all by number, 0..{last}"
    else:
        expected = f"one of the classes {called}, or 0..{last}"
    marks = [text for text in texts if _NO_LABEL.fullmatch(text) and text not in of]
    if marks:
        expected += f" (if {marks[0]} stands for no label, leave those rows out)"

    def received(row: int) -> str:
        text, is_integer = texts[numbered[row]], are_integers[numbered[row]]
        said = text if is_integer else repr(text)
        beside = next((repr(each) for each in of if each not in other), "")
        return f"{said} beside {beside}" if beside and text in other else said

    rows.refuse(found < 0, name, expected, received)
    return found


def class_names(given: Sequence[str] | None, classes: int, rows: Rows) -> tuple[str, ...]:
    """K different names, by default "0", "1" and so on."""
    if given is None:
        return _unnamed(classes)
    names = tuple(map(str, given))
    if len(names) != classes:
        raise rows.error(f"class_names: expected {classes} names, received {len(names)}")
    if len({*map(_form, names)}) != classes:
        raise rows.error(f"class_names: expected different names, received {', '.join(names)}")
    return names


def _unnamed(classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(classes)))


def column(name: str, given: Any, samples: int, rows: Rows) -> Any:
    """Values (N,), as pandas has them if they are of pandas."""
    is_of_pandas = isinstance(given, (pd.Index, pd.Series))
    values: Any = given if is_of_pandas else _array(name, given, rows)
    if values.shape == (samples, 1):  # as MedMNIST and Keras store labels
        values = values[:, 0]
    if values.shape != (samples,):
        raise rows.error(
            f"{name}: expected shape ({samples},), one value for each case, received shape "
            f"{values.shape}"
        )
    return decoded(values, f"{rows.source}: {name}" if rows.source else name)


def codes(name: str, values: Any, rows: Rows) -> tuple[npt.NDArray[np.intp], Any]:
    """A number for each value, and the different values; none may be missing."""
    found, distinct = _factorized(name, values, rows)
    texts = pd.Series(distinct).astype("str").str.strip()
    empty = texts.isin(["", "nan", "NaN"]).to_numpy(np.bool_)  # of a missing one as text
    rows.refuse((found < 0) | np.isin(found, np.flatnonzero(empty)), name, "a value", _none)
    return found, distinct


def _factorized(name: str, values: Any, rows: Rows) -> tuple[npt.NDArray[np.intp], Any]:
    try:
        return pd.factorize(values)
    except TypeError as error:  # as of lists
        raise rows.error(f"{name}: expected text or numbers ({one_line(error)})") from error


def is_fingerprint(value: Any) -> bool:
    """Whether a value is a text such as `lsplus_tf.fingerprint` and `Predictions.digest` give."""
    return isinstance(value, str) and _FINGERPRINT.fullmatch(value) is not None


def fingerprint(given: Any, rows: Rows) -> str:
    if not is_fingerprint(given):
        raise rows.error(
            "model: expected a fingerprint, as lsp.fingerprint(model) makes it, received "
            f"{given!r:.80}"
        )
    return str(given)


def _none(_: int) -> str:
    return "none"


def ids(given: Any, samples: int, rows: Rows) -> pd.Index:
    """Names of the cases as text, each once."""
    values = pd.Series(column("ids", given, samples, rows))
    rows.refuse(values.isna().to_numpy(), "ids", "a value", _none)
    # So that 7 in one file is "7" in another, with a blank behind or without.
    found = pd.Index(values.astype("str").str.strip())
    if found.str.fullmatch(r"-?(0|[1-9][0-9]*)(\.0+)?").all():  # and 7.0, of a column of floats
        found = found.str.replace(r"\.0+$", "", regex=True)
    again = np.asarray(found.duplicated(keep=False))
    if again.any():
        first = found[int(again.argmax())]
        same = np.flatnonzero(np.asarray(found == first))
        count = np.count_nonzero(np.asarray(found.duplicated()))
        raise rows.error(
            f"ids: expected every case once, received {first!r} at {rows.named(same)} "
            f"({count} of {samples} rows repeat an id; if it names a patient, declare it as the "
            "group)"
        )
    return found


def groups(given: Any, samples: int, rows: Rows) -> tuple[npt.NDArray[np.intp], pd.Index]:
    """A number for each case's group, and what the groups are called."""
    found, distinct = codes("groups", column("groups", given, samples, rows), rows)
    # One patient may be written with a blank behind, and without.
    merged, names = pd.factorize(pd.Index(distinct).astype("str").str.strip())
    return merged[found], names


def subgroup(name: str, given: Any, samples: int, rows: Rows) -> pd.Categorical:
    """The subgroup of each case; missing values are a subgroup of their own, the last.

    In the order of its categories if it has some, else of numbers, or of text.
    """
    named = f"subgroup {name}"
    found, distinct = _factorized(named, column(named, given, samples, rows), rows)
    texts = [_form(value) or _MISSING for value in distinct] + [_MISSING]  # where a code is -1
    kind = getattr(given, "dtype", None)
    order = [*texts]
    if isinstance(kind, pd.CategoricalDtype):
        order = [_form(value) for value in kind.categories]
    elif all(map(_NUMBER.fullmatch, {*texts} - {_MISSING})):
        order.sort(key=lambda text: float("inf") if text == _MISSING else float(text))
    else:
        order.sort()
    names = [
        *dict.fromkeys(text for text in order if text not in ("", _MISSING)),
        _MISSING,
    ]
    position = pd.Index(names).get_indexer(pd.Index(texts))
    categorical = pd.Categorical.from_codes(position[found], cast(Any, names))
    categorical = categorical.remove_unused_categories()
    if len(categorical.categories) > _MOST_SUBGROUPS:
        cut = ""
        if all(map(_NUMBER.fullmatch, {*categorical.categories} - {_MISSING})):
            cut = f"; cut numbers into ranges, as with --subgroup {name}:40,60"
        raise rows.error(
            f"subgroup {name}: expected at most {_MOST_SUBGROUPS} different values, received "
            f"{len(categorical.categories)}{cut}"
        )
    return categorical


def votes(given: Any, shape: tuple[int, ...], rows: Rows) -> npt.NDArray[Any]:
    """Votes (N, K), finite, not negative and not all 0 in any row; not divided."""
    array = _beside_the_scores("votes", given, shape, rows)
    sums = _row_sums(array)
    rows.refuse(sums == 0, "votes", "a vote in every row", lambda row: shown_row(array[row]))
    return array


def posterior(given: Any, shape: tuple[int, ...], rows: Rows) -> npt.NDArray[np.float64]:
    """The exact p(y | x) (N, K): rows sum to 1 within 1e-6."""
    array = _beside_the_scores("posterior", given, shape, rows).astype(np.float64, copy=False)
    sums = _row_sums(array)
    rows.refuse(
        np.abs(sums - 1) > _POSTERIOR_SUM_TOLERANCE,
        "posterior",
        "rows that sum to 1 (within 1e-6)",
        lambda row: f"{shown_row(array[row])}, which sum to {sums[row]:.8g},",
    )
    return array


def _beside_the_scores(
    name: str, given: Any, shape: tuple[int, ...], rows: Rows
) -> npt.NDArray[Any]:
    array = numbers(name, given, rows)
    if array.shape != shape:
        raise rows.error(
            f"{name}: expected shape {shape}, as the scores have, received {array.shape}"
        )
    rows.refuse(~np.isfinite(_row_sums(array)), name, *finite(array))
    if array.min() < 0:
        negative = np.asarray((array < 0).any(axis=1))
        rows.refuse(negative, name, "no negative numbers", lambda row: shown_row(array[row]))
    return array


def sample_weight(given: Any, samples: int, rows: Rows) -> npt.NDArray[np.float64]:
    """A weight (N,) for each case, not negative and not all 0."""
    array = numbers("sample_weight", given, rows).astype(np.float64)
    if array.shape == (samples, 1):  # as labels may be
        array = array[:, 0]
    if array.shape != (samples,):
        raise rows.error(
            f"sample_weight: expected shape ({samples},), one for each case, received shape "
            f"{array.shape}"
        )
    bad = ~(np.isfinite(array) & (array >= 0))
    rows.refuse(bad, "sample_weight", "finite numbers of at least 0", lambda row: array[row])
    if not array.any():
        raise rows.error("sample_weight: expected one above 0, received 0 for every case")
    if not _LEAST_WEIGHT <= (total := float(array.sum())) <= 1 / _LEAST_WEIGHT:
        raise rows.error(
            f"sample_weight: expected a sum from {_LEAST_WEIGHT:g} to {1 / _LEAST_WEIGHT:g}, "
            f"received {total:g}; divide them by their mean"
        )
    return array
