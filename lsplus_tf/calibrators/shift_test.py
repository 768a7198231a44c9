"""Whether another prevalence of the classes explains the predictions of other cases."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import chi2

from lsplus_tf.calibrators.base import Floats
from lsplus_tf.errors import InputError, counted, some_of
from lsplus_tf.predictions import Predictions, as_predictions

Groups = NDArray[np.intp] | None

_BINS = 4  # of the confidence, for each predicted class
_IN_A_BIN = 20  # cases of both together, for each class: of many cells each has to be well known


@dataclass(frozen=True, kw_only=True)
class LabelShiftTest:
    """Whether some prevalence explains the predictions of a target.

    Attributes
    ----------
    p_value : float
        Of as large a difference where p(x | y) is the same; NaN where there are too few cells.
    statistic : float
        Chi-squared: the squared differences of the cells' shares from those of the mixture that
        comes closest, over their variance.
    degrees_of_freedom : int
        Cells less classes.
    table : DataFrame
        A row for each cell: predicted class, from and to which confidence, its share of the target
        and that of the mixture.
    """

    p_value: float
    statistic: float
    degrees_of_freedom: int
    table: pd.DataFrame


def label_shift_test(source: Predictions, target: Predictions) -> LabelShiftTest:
    """Test whether the target's predictions are a mixture of those of the source's classes.

    Under label shift they are, whatever the prevalence. The predicted classes and up to four bins
    of the confidence in each are counted, and compared with the mixture that comes closest.

    Parameters
    ----------
    source : Predictions
        Held-out predictions with labels, as for `LabelShift.fit`.
    target : Predictions
        Of the same model and classes; labels are not looked at. Groups and sample weights of both
        count.

    Returns
    -------
    LabelShiftTest

    Raises
    ------
    InputError
        Predictions without the probabilities of all classes, other classes, a class without
        samples in the source, or a single group.

    Warns
    -----
    UserWarning
        Too few cells, as of few cases: there is no p value.

    Notes
    -----
    A small p value says that no prevalence explains the target: do not estimate one. A large one is
    no proof: a change of p(x | y) that looks like another prevalence cannot be seen without labels.
    At 5% it rejected 4.8 to 6.0% of 2,000 simulated pairs of 500 cases where only the prevalence
    differs, of two and three classes, even and 1:20, each on its own and in groups of five; and all
    of those whose classes are a third closer together.

    The closest mixture is that of generalised least squares, whose differences are chi-squared
    with as many degrees of freedom as there are cells more than classes (Hansen, Econometrica
    1982); the covariance is that of the sums over groups.

    Examples
    --------
    >>> import numpy as np
    >>> from lsplus_tf import Predictions
    >>> from lsplus_tf.calibrators import label_shift_test
    >>> rng = np.random.default_rng(0)
    >>> def drawn(cases, share, harder=1.0):
    ...     labels = (rng.random(cases) < share).astype(int)
    ...     margins = harder * (2 * labels - 1) + rng.normal(size=cases)
    ...     return Predictions(labels, logits=np.stack([-margins, margins], axis=1))
    >>> source = drawn(1000, 0.5)
    >>> label_shift_test(source, drawn(1000, 0.1)).p_value > 0.05
    True
    >>> label_shift_test(source, drawn(1000, 0.5, harder=0.5)).p_value < 0.001
    True
    """
    as_predictions(source).need("probabilities")
    target.need("probabilities")
    if source.class_names != target.class_names:
        raise InputError(
            f"target: expected the classes of the source, {some_of(source.class_names, 12)}, "
            f"received {some_of(target.class_names, 12)}"
        )
    absent = [source.class_names[k] for k in np.flatnonzero(source.class_counts == 0)]
    if absent:
        raise InputError(f"source: expected samples of every class, received none of {absent[0]}")
    cells, described = _cells(source, target)
    here, there = cells[: len(source)], cells[len(source) :]
    labels, classes = source.labels, len(source.class_names)
    totals = np.bincount(labels, source.weights, classes)
    of_class = np.zeros((len(described), classes))
    np.add.at(of_class, (here, labels), source.weights / totals[labels])
    shares = np.bincount(there, target.weights, len(described)) / target.weights.sum()
    own = target.weights / target.weights.sum()
    covariance = _covariance(own, there, shares[:, np.newaxis], np.zeros_like(there), target.groups)

    freedom = len(described) - classes
    found = _closest(of_class, shares, np.diag(np.maximum(shares, 1e-12)))
    statistic = p_value = float("nan")
    if freedom > 0:
        for _ in range(2):
            each = source.weights / totals[labels] * found[labels]
            of_source = _covariance(each, here, of_class, labels, source.groups)
            found = _closest(of_class, shares, covariance + of_source)
        differences = shares - of_class @ found
        spread = np.linalg.pinv(covariance + of_source, rcond=1e-10, hermitian=True)
        statistic = float(differences @ spread @ differences)
        p_value = float(chi2.sf(statistic, freedom))
    else:
        warnings.warn(
            f"the predictions fall into {counted(len(described), 'cell')}, which some prevalence "
            f"of {classes} classes always explains: there is no p value, give more cases",
            stacklevel=2,
        )
        freedom = 0
    described = described.assign(share=shares, expected=of_class @ found)
    return LabelShiftTest(
        p_value=p_value, statistic=statistic, degrees_of_freedom=freedom, table=described
    )


def _cells(source: Predictions, target: Predictions) -> tuple[NDArray[np.intp], pd.DataFrame]:
    """The cell of each case of both, one after the other, and what the cells are."""
    predicted = np.concatenate([source.predicted, target.predicted])
    confidence = np.concatenate([source.confidence, target.confidence]).astype(np.float64)
    cells, rows = np.zeros(predicted.size, np.intp), []
    for k, name in enumerate(source.class_names):
        inside = np.flatnonzero(predicted == k)
        if inside.size == 0:
            continue
        of_these = confidence[inside]
        bins = max(1, min(_BINS, inside.size // (_IN_A_BIN * len(source.class_names))))
        edges = np.unique(np.quantile(of_these, np.arange(1, bins) / bins))
        place = np.searchsorted(edges, of_these, side="left")
        present, place = np.unique(place, return_inverse=True)
        for number in range(present.size):
            here = of_these[place == number]
            rows.append({"predicted": name, "from": here.min(), "to": here.max()})
        cells[inside] = len(rows) - present.size + place
    return cells, pd.DataFrame(rows)


def _covariance(
    weights: Floats,
    cells: NDArray[np.intp],
    shares: Floats,
    columns: NDArray[np.intp],
    groups: Groups,
) -> Floats:
    """Of the cells' shares, by the sums over groups; each case deviates from its column's shares.

    Parameters
    ----------
    weights : ndarray, shape (N,)
        What each case adds to the share of its cell.
    cells, columns : ndarray of int, shape (N,)
    shares : ndarray, shape (B, C)
    groups : ndarray of int, shape (N,), or None
    """
    units = np.arange(cells.size) if groups is None else groups
    count = int(units.max()) + 1
    if count < 2:
        raise InputError("groups: expected at least two groups, received only one")
    sums = csr_array((weights, (units, cells)), (count, len(shares)))
    by_column = csr_array((weights, (units, columns)), (count, shares.shape[1]))
    expected = shares @ (by_column.T @ sums).toarray()
    squares = shares @ (by_column.T @ by_column).toarray() @ shares.T
    spread = (sums.T @ sums).toarray() - expected - expected.T + squares
    return spread * count / (count - 1)


def _closest(of_class: Floats, shares: Floats, covariance: Floats) -> Floats:
    """The weights of the classes, of sum 1, whose mixture is closest to the shares."""
    spread = np.linalg.pinv(covariance, rcond=1e-10, hermitian=True)
    base, others = of_class[:, -1], of_class[:, :-1] - of_class[:, -1:]
    found = np.linalg.pinv(others.T @ spread @ others) @ (others.T @ spread @ (shares - base))
    return np.append(found, 1 - found.sum())
