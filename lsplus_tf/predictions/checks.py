"""Whether arrays can be predictions and what belongs to them; a mistake is told with its rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.predictions.arrays import FloatArray, row_blocks
from lsplus_tf.tables import Rows

Kind = Literal["probabilities", "logits"]

# float32 softmaxes stay within 1e-5 of a sum of 1; those of 16 bits were seen to be off by 2e-3
# (float16) and 6e-3 (bfloat16). Logits and percentages are off by far more.
_ROW_SUM_TOLERANCE = 1e-3
_ROW_SUM_TOLERANCE_16_BITS = 1e-2
_POSTERIOR_SUM_TOLERANCE = 1e-6  # it is computed, in float64
_MOST_DECIMALS = 6  # of numbers that were rounded; more leave a sum within the tolerance
_NEGATIVE_BY_ROUNDING = 1e-6
_MOST_SUBGROUPS = 50
_MISSING = "(missing)"
_DECLARE_LOGITS = "if they are logits, declare them as logits, or give from_logits=True"


def scores(kind: Kind, given: Any, rows: Rows) -> FloatArray:
    """Probabilities or logits (N, K): 16, 32 or 64 bit floats as they came, others in float64."""
    array = numbers(kind, given, rows)
    of_16_bits = array.dtype.itemsize == 2
    if array.dtype.name == "bfloat16":  # what TensorFlow gives, of no kind that NumPy knows
        array = array.astype(np.float32)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # ranked by its bits
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or array.shape[1] == 0:
        raise rows.error(
            f"{kind}: expected shape (N, K), a row for each case and a column for each class, "
            f"received shape {np.shape(given)}"
        )
    if len(array) == 0:
        raise rows.error(f"{kind}: expected at least one row, received shape {array.shape}")
    tolerance = _ROW_SUM_TOLERANCE_16_BITS if of_16_bits else _ROW_SUM_TOLERANCE
    if kind == "logits":
        rows.refuse(~np.isfinite(_row_sums(array)), kind, *_finite(array))
        if array.shape[1] == 1:
            return _both_classes(kind, array, rows)
        if len(array) > 1 and _are_surely_distributions(array, 2 * tolerance):
            raise rows.error(
                "logits: received rows of numbers from 0 to 1 that sum to 1: declare them as "
                "probabilities, or leave out from_logits"
            )
        return array
    if array.shape[1] == 1:
        rows.refuse(~np.isfinite(array[:, 0]), kind, *_finite(array))
        return _both_classes(kind, array, rows)
    if _are_surely_distributions(array, tolerance):
        return array
    return _distributions(array, tolerance, rows)


def numbers(name: str, given: Any, rows: Rows) -> npt.NDArray[Any]:
    """An array of real numbers, also of pandas' columns that may have gaps."""
    if isinstance(given, np.ma.MaskedArray):
        if np.ma.getmaskarray(given).any():
            raise rows.error(
                f"{name}: expected numbers, received masked ones; leave the masked rows out, as "
                "with values[~mask]"
            )
        given = given.data
    array = np.asarray(given)
    if array.dtype.kind == "O" and isinstance(given, (pd.DataFrame, pd.Series)):
        kinds = [given.dtype] if isinstance(given, pd.Series) else given.dtypes
        if all(pd.api.types.is_numeric_dtype(dtype) for dtype in kinds):
            array = given.to_numpy(np.float64, na_value=np.nan)
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise rows.error(f"{name}: expected real numbers, received dtype {array.dtype}")
    return array


def _finite(array: FloatArray) -> tuple[str, Any]:
    return "a finite number in every column", lambda row: _shown(array[row])


def _shown(row: npt.NDArray[Any]) -> str:
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


def _distributions(array: FloatArray, tolerance: float, rows: Rows) -> FloatArray:
    """The array, with 0 in place of what rounding made negative."""
    sums = _row_sums(array)
    rows.refuse(~np.isfinite(sums), "probabilities", *_finite(array))
    lowest = array.min()
    if lowest < -_NEGATIVE_BY_ROUNDING:
        negative = np.concatenate(
            [(array[block] < -_NEGATIVE_BY_ROUNDING).any(axis=1) for block in row_blocks(array)]
        )
        expected = f"no negative number ({_DECLARE_LOGITS})"
        rows.refuse(negative, "probabilities", expected, lambda row: _shown(array[row]))
    elif lowest < 0:
        array = array.clip(min=0)
        sums = _row_sums(array)
    off = np.abs(sums - 1) > tolerance
    if off.any():
        # A row of K numbers that were rounded misses 1 by up to K/2 units of its last place.
        off &= np.abs(sums - 1) > _of_rounding(array[off], array.shape[1]) + 1e-9
    if not off.any():
        return array
    if (np.abs(sums / 100 - 1) <= _ROW_SUM_TOLERANCE).all():
        hint = "they sum to 100: divide percentages by 100"
    elif np.abs(sums - 1).max() <= 0.01 * array.shape[1]:
        hint = "if they were rounded, write more decimals or divide each row by its sum"
        if array.dtype.itemsize < 8:
            hint += "; of a model that computes in 16 bits, make the last layer float32"
    else:
        hint = _DECLARE_LOGITS
    rows.refuse(
        off,
        "probabilities",
        f"rows that sum to 1 within {tolerance:g} ({hint})",
        lambda row: f"{_shown(array[row])}, which sum to {sums[row]:.6g},",
    )
    return array


def _of_rounding(array: FloatArray, classes: int) -> float:
    """By how much rows miss 1 if all numbers were rounded to as few decimals as they have."""
    if array.dtype.itemsize == 2:  # too few decimals to tell
        return 0.0
    noise = 4 * float(np.finfo(array.dtype).eps)
    for decimals in range(1, _MOST_DECIMALS + 1):
        units = array.astype(np.float64) * 10**decimals
        if (np.abs(units - units.round()) <= noise * 10**decimals).all():
            return classes / 2 * 10.0**-decimals
    return 0.0


def _both_classes(kind: Kind, column: FloatArray, rows: Rows) -> FloatArray:
    """Scores (N, 2) from those of the second class alone, (N, 1)."""
    if column.dtype.itemsize == 2:  # of which 1 - p would lose digits
        column = column.astype(np.float32)
    outside = ((column < 0) | (column > 1))[:, 0]
    if kind == "logits":
        if len(column) >= 10 and not outside.any():
            raise rows.error(
                "logits: received a column of numbers from 0 to 1: declare it as probabilities"
            )
        return np.concatenate([np.zeros_like(column), column], axis=1)
    hint = (
        "divide percentages by 100"
        if column.min() >= 0 and column.max() <= 100
        else _DECLARE_LOGITS
    )
    rows.refuse(outside, kind, f"numbers from 0 to 1 ({hint})", lambda row: column[row, 0])
    return np.concatenate([1 - column, column], axis=1)


def exchanged(labels: Any, given: Any, rows: Rows) -> None:
    """Refuse labels that are probabilities, beside probabilities that are labels."""
    first, second = np.asarray(labels), np.asarray(given)
    if first.dtype.kind == "f" and second.dtype.kind in "iubOUT" and second.ndim == 1:
        fractions = (first.ndim == 2 and first.shape[1] > 1) or (
            first.ndim == 1 and first.size > 0 and not np.equal(np.floor(first), first).all()
        )
        if fractions:
            raise rows.error(
                f"labels: expected a class for each case, received shape {first.shape} of "
                f"{first.dtype}, and labels in place of the scores; labels come first, then "
                "probabilities: exchange the two"
            )


def several_columns(given: Any, rows: Rows) -> None:
    """Refuse a single column, which may be a mistake where no one said what it is."""
    shape = np.shape(given)
    if len(shape) != 2 or shape[1] < 2:
        raise rows.error(
            "probabilities: expected shape (N, K), a column for each class, received shape "
            f"{shape}; of two classes give np.stack([1 - p, p], axis=1), or lsp.Predictions of p"
        )


def labels(
    given: Any, names: tuple[str, ...], are_named: bool, samples: int, rows: Rows
) -> npt.NDArray[np.int64]:
    """True classes (N,) in [0, K), of names or integers."""
    array = np.asarray(given)
    if array.ndim == 2 and array.shape[1] == len(names) and array.dtype.kind in "fiub":
        raise rows.error(
            f"labels: expected shape ({samples},), a class for each case, received shape "
            f"{array.shape}; of one-hot rows give labels.argmax(axis=1)"
        )
    values = column("labels", given, samples, rows)
    if array.dtype.kind in "iub" and not (are_named and any(map(str.isdigit, names))):
        integers = np.asarray(values)
        outside = np.zeros(samples, bool)
        if integers.min() < 0 or integers.max() >= len(names):
            outside = np.asarray((integers < 0) | (integers >= len(names)))
        expected = _classes_expected(names) if are_named else f"integers from 0 to {len(names) - 1}"
        rows.refuse(outside, "labels", expected, lambda row: repr(int(integers[row])))
        return integers.astype(np.int64, copy=False)
    return _of_names(values, names, are_named, rows)


def _of_names(
    values: Any, names: tuple[str, ...], are_named: bool, rows: Rows
) -> npt.NDArray[np.int64]:
    numbered, distinct = codes("labels", values, rows)
    texts = [_text(value) for value in distinct]
    position = {name: k for k, name in enumerate(names)}
    by_name = np.array([position.get(text, -1) for text in texts], np.int64)
    by_index = np.array([_as_index(text, len(names)) for text in texts], np.int64)
    # Names first: classes may be called 1, 2 and 3.
    indexed = np.count_nonzero(by_index >= 0) > np.count_nonzero(by_name >= 0)
    classes = by_index if indexed else by_name
    if (classes < 0).any():
        wrong = np.isin(numbered, np.flatnonzero(classes < 0))
        expected = (
            _classes_expected(names)
            if are_named
            else f"integers from 0 to {len(names) - 1}, or classes that "
            "lsp.Predictions(labels, ..., class_names=[...]) names"
        )
        rows.refuse(wrong, "labels", expected, lambda row: repr(texts[numbered[row]]))
    return classes[numbered]


def _classes_expected(names: tuple[str, ...]) -> str:
    shown = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
    return f"one of the classes {shown}, or 0..{len(names) - 1}"


def class_names(given: Sequence[str] | None, classes: int, rows: Rows) -> tuple[str, ...]:
    """K different names, by default "0", "1" and so on."""
    names = tuple(map(str, range(classes) if given is None else given))
    if len(names) != classes:
        raise rows.error(f"class_names: expected {classes} names, received {len(names)}")
    if len(set(names)) != classes:
        raise rows.error(f"class_names: expected different names, received {', '.join(names)}")
    return names


def column(name: str, given: Any, samples: int, rows: Rows) -> Any:
    """Values (N,), as pandas has them if they are of pandas."""
    values: Any = given if isinstance(given, (pd.Index, pd.Series)) else np.asarray(given)
    if values.shape == (samples, 1):  # as MedMNIST and Keras store labels
        values = values[:, 0]
    if values.shape != (samples,):
        raise rows.error(
            f"{name}: expected shape ({samples},), one value for each case, received shape "
            f"{values.shape}"
        )
    return values


def codes(name: str, values: Any, rows: Rows) -> tuple[npt.NDArray[np.intp], Any]:
    """A number for each value, and the different values; none may be missing."""
    found, distinct = pd.factorize(values)
    empty = (pd.Series(distinct).astype("str").str.strip() == "").to_numpy(np.bool_)
    rows.refuse((found < 0) | np.isin(found, np.flatnonzero(empty)), name, "a value", _none)
    return found, distinct


def _none(_: int) -> str:
    return "none"


def _text(value: Any) -> str:
    if isinstance(value, (float, np.floating)) and value == np.round(value):
        return str(int(value))  # what pandas makes of integers beside a missing one
    return str(value).strip()


def _as_index(text: str, classes: int) -> int:
    if classes == 2 and text.lower() in ("false", "true"):
        return int(text.lower() == "true")
    number = re.fullmatch(r"(\d+)(?:\.0*)?", text)
    return int(number[1]) if number and int(number[1]) < classes else -1


def ids(given: Any, samples: int, rows: Rows) -> pd.Index:
    """Names of the cases as text, each once."""
    values = pd.Series(column("ids", given, samples, rows))
    rows.refuse(values.isna().to_numpy(), "ids", "a value", _none)
    found = pd.Index(values.astype("str"))  # so that 7 in one file is "7" in another
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
    return found, pd.Index(distinct).astype("str")


def subgroup(name: str, given: Any, samples: int, rows: Rows) -> pd.Categorical:
    """What a case is told apart by; missing values are a subgroup of their own."""
    found, distinct = pd.factorize(column(f"subgroup {name}", given, samples, rows))
    texts = [_text(value) or _MISSING for value in distinct] + [_MISSING]  # where a code is -1
    names, position = np.unique(texts, return_inverse=True)
    categorical = pd.Categorical.from_codes(position[found], names.tolist())
    categorical = categorical.remove_unused_categories()
    if len(categorical.categories) > _MOST_SUBGROUPS:
        raise rows.error(
            f"subgroup {name}: expected at most {_MOST_SUBGROUPS} different values, received "
            f"{len(categorical.categories)}; put numbers such as ages into a few ranges"
        )
    return categorical


def votes(given: Any, shape: tuple[int, ...], rows: Rows) -> npt.NDArray[Any]:
    """Votes (N, K), finite, not negative and not all 0 in any row; not divided."""
    array = _beside_the_scores("votes", given, shape, rows)
    sums = _row_sums(array)
    rows.refuse(sums == 0, "votes", "a vote in every row", lambda row: _shown(array[row]))
    return array


def posterior(given: Any, shape: tuple[int, ...], rows: Rows) -> npt.NDArray[np.float64]:
    """The exact p(y | x) (N, K): rows sum to 1 within 1e-6."""
    array = _beside_the_scores("posterior", given, shape, rows).astype(np.float64, copy=False)
    sums = _row_sums(array)
    rows.refuse(
        np.abs(sums - 1) > _POSTERIOR_SUM_TOLERANCE,
        "posterior",
        "rows that sum to 1 (within 1e-6)",
        lambda row: f"{_shown(array[row])}, which sum to {sums[row]:.8g},",
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
    rows.refuse(~np.isfinite(_row_sums(array)), name, *_finite(array))
    if array.min() < 0:
        negative = np.asarray((array < 0).any(axis=1))
        rows.refuse(negative, name, "no negative numbers", lambda row: _shown(array[row]))
    return array


def sample_weight(given: Any, samples: int, rows: Rows) -> npt.NDArray[np.float64]:
    """A weight (N,) for each case, not negative and not all 0."""
    array = numbers("sample_weight", given, rows).astype(np.float64)
    if array.shape != (samples,):
        raise rows.error(
            f"sample_weight: expected shape ({samples},), one for each case, received shape "
            f"{array.shape}"
        )
    bad = ~(np.isfinite(array) & (array >= 0))
    rows.refuse(bad, "sample_weight", "finite numbers of at least 0", lambda row: array[row])
    if not array.any():
        raise rows.error("sample_weight: expected one above 0, received 0 for every case")
    return array
