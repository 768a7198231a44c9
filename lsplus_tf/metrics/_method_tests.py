"""Tests between methods over seeds or data sets, public in :mod:`lsplus_tf.metrics.statistics`."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lsplus_tf.errors import InputError, check_choice, did_you_mean

PairedTest = Literal["wilcoxon", "t"]


@dataclass(frozen=True)
class HypothesisTest:
    """A test's statistic and its p value.

    Attributes
    ----------
    statistic : float
        What it is, the test says; NaN where it is not defined.
    p_value : float
        In [0, 1]; NaN where the statistic is.

    Examples
    --------
    >>> from lsplus_tf.metrics import spiegelhalter_test
    >>> test = spiegelhalter_test([0] * 25 + [1] * 25, [[0.9, 0.1]] * 50)
    >>> test.statistic > 0, test.p_value < 0.01
    (True, True)
    """

    statistic: float
    p_value: float


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Holm's adjusted p values: those below alpha are significant with familywise error alpha.

    Parameters
    ----------
    p_values : array_like, shape (M,)
        In [0, 1], under any dependence.

    Returns
    -------
    ndarray of float64, shape (M,)
        In [0, 1], in the same order.

    Raises
    ------
    InputError
        If a p value is NaN or outside [0, 1].

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979.

    Examples
    --------
    >>> holm([0.02, 0.01, 0.04]).tolist()
    [0.04, 0.03, 0.04]
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"p_values: expected shape (M,), received {values.shape}")
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"p_values: expected numbers in [0, 1], received {values[row]} at position {row}"
        )
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    steps = values[order] * np.arange(values.size, 0, -1)
    adjusted[order] = np.maximum.accumulate(steps).clip(max=1)
    return adjusted


def compare_scores(
    scores: pd.DataFrame | Mapping[str, Any],
    *,
    test: PairedTest = "wilcoxon",
    control: str | None = None,
) -> pd.DataFrame:
    """Paired tests between methods over seeds or data sets, with Holm's correction.

    Every row, a seed or a data set, pairs the methods' scores. Rows should be independent: of
    several seeds on several data sets, average over the seeds first.

    Parameters
    ----------
    scores : DataFrame or mapping, shape (M, methods)
        One metric, a column or key for each method, a row for each seed or data set. Values of a
        mapping are sequences in the same order of rows, or Series that are aligned by their index.
    test : {"wilcoxon", "t"}
        Wilcoxon's signed-rank test asks only that the differences' distribution is symmetric, and
        is Demšar's choice for data sets, whose scores are of different scales. Its p cannot be
        below 2 / 2^M, so that with fewer than six rows nothing is significant at 0.05, which a
        warning says. The paired t test assumes normal differences and is for few seeds of one
        data set.
    control : str, optional
        Compare this method with each of the others only, which costs fewer corrections; by default
        all pairs.

    Returns
    -------
    DataFrame
        method_a, method_b, difference (mean of a less b), p and p_holm for each pair. Where all
        differences are zero p is 1.

    Raises
    ------
    InputError
        If there are fewer than two methods or rows, a score is missing or not finite, or, in the
        t test, all differences of a pair are the same but not zero: its variance is not known.

    Warns
    -----
    UserWarning
        If "wilcoxon" has fewer than six rows.

    References
    ----------
    Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006; Holm,
    Scandinavian Journal of Statistics 6, 1979.

    Examples
    --------
    >>> scores = {"LS": [5.1, 4.9, 5.3], "LS+": [3.0, 3.1, 3.3], "HL": [8.2, 7.9, 8.8]}
    >>> compare_scores(scores, test="t", control="LS+").round(4)
      method_a method_b  difference       p  p_holm
    0      LS+       LS     -1.9667  0.0020  0.0031
    1      LS+       HL     -5.1667  0.0015  0.0031
    """
    frame = _check_scores(scores)
    check_choice("test", test, PairedTest)
    if control is not None and control not in frame.columns:
        hint = did_you_mean(str(control), map(str, frame.columns))
        raise InputError(f"control: expected one of {_listed(frame)}, received {control!r}{hint}")
    if test == "wilcoxon" and len(frame) < 6:
        warnings.warn(
            f"with {len(frame)} rows Wilcoxon's test cannot give a p value below "
            f"{2 / 2 ** len(frame):g}; test='t' can, for normal differences",
            stacklevel=2,
        )
    pairs = (
        list(combinations(frame.columns, 2))
        if control is None
        else [(control, other) for other in frame.columns if other != control]
    )
    rows = []
    for a, b in pairs:
        # Rounding keeps equal differences equal, as 0.3 - 0.2 and 0.2 - 0.1 are not.
        differences = (frame[a] - frame[b]).to_numpy().round(12)
        rows.append((a, b, differences.mean(), _paired_p(differences, test, (a, b))))
    table = pd.DataFrame(rows, columns=["method_a", "method_b", "difference", "p"])
    return table.assign(p_holm=holm(table["p"]))


def friedman_test(scores: pd.DataFrame | Mapping[str, Any]) -> HypothesisTest:
    """Friedman's test whether any of three or more methods differ, by their ranks in each row.

    Demšar's first step before :func:`compare_scores`. Its p value comes from the chi-squared
    distribution and is approximate below some ten rows.

    Parameters
    ----------
    scores : DataFrame or mapping, shape (M, methods)
        As :func:`compare_scores` takes them.

    Returns
    -------
    HypothesisTest
        Chi-squared and p; 0 and 1 where all methods tie in every row.

    Raises
    ------
    InputError
        If there are fewer than three methods or two rows, or a score is missing or not finite.

    References
    ----------
    Friedman, JASA 32, 1937; Demšar, JMLR 7, 2006.

    Examples
    --------
    >>> scores = {"LS": [5.1, 4.9, 5.3], "LS+": [3.0, 3.1, 3.3], "HL": [8.2, 7.9, 8.8]}
    >>> result = friedman_test(scores)
    >>> round(result.statistic, 4), round(result.p_value, 4)
    (6.0, 0.0498)
    """
    values = _check_scores(scores, at_least=3).to_numpy().round(12)
    if (values == values[:, :1]).all():
        return HypothesisTest(0.0, 1.0)
    from scipy import stats  # which takes long, and nothing else needs

    result = stats.friedmanchisquare(*values.T)
    return HypothesisTest(float(result.statistic), float(result.pvalue))


def _check_scores(scores: pd.DataFrame | Mapping[str, Any], at_least: int = 2) -> pd.DataFrame:
    try:
        frame = pd.DataFrame(scores).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"scores: expected a column of numbers for each method, received {error}"
        ) from error
    if frame.shape[0] < 2 or frame.shape[1] < at_least or not frame.columns.is_unique:
        raise InputError(
            f"scores: expected at least two rows and {at_least} methods of different names, "
            f"received {frame.shape[0]} rows of {_listed(frame)}"
        )
    values = frame.to_numpy()
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            "scores: expected a finite number of every method in every row, received "
            f"{values[row, column]} of {frame.columns[column]} in row {frame.index[row]}"
        )
    return frame


def _listed(frame: pd.DataFrame) -> str:
    return ", ".join(map(str, frame.columns)) or "no method"


def _paired_p(differences: npt.NDArray[np.float64], test: str, names: tuple[str, str]) -> float:
    from scipy import stats  # which takes long, and nothing else needs

    if not differences.any():
        return 1.0
    if test == "wilcoxon":
        return float(stats.wilcoxon(differences).pvalue)
    if np.ptp(differences) == 0:
        raise InputError(
            "scores: expected differences that vary between rows, received "
            f"{differences[0]:g} in each between {names[0]} and {names[1]}"
        )
    return float(stats.ttest_1samp(differences, 0).pvalue)
