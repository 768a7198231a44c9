"""Whether another prevalence of the classes explains the predictions of other cases."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special
from scipy.sparse import csr_array

from lsplus_tf.calibrators.base import Floats, Groups, check_classes
from lsplus_tf.errors import InputError, counted
from lsplus_tf.predictions import Predictions

_BINS = 4  # of the confidence, for each predicted class
_IN_A_BIN = 20  # cases of both together, at least, where a predicted class has several bins
_FEWEST_UNITS = 5  # of the source and of the target
_DRAWS = 999
_DRAWS_OF_MANY = 199
_MANY = 60  # cells
_AT_ONCE = 2**22  # numbers of a batch of draws
_LEAST = 1e-9  # of a share, where weights are extreme
_STEPS = 300  # of EM


@dataclass(frozen=True, kw_only=True)
class LabelShiftTest:
    """Whether some prevalence explains the predictions of a target.

    Attributes
    ----------
    p_value : float
        Of as large a difference where p(x | y) is the same; NaN where there are too few cells,
        cases or groups.
    statistic : float
        The squared differences of the cells' shares from those of the mixture that comes closest,
        over their variance. Of grouped or weighted cases it is divided by how much larger the
        variance is than that of as many independent cases.
    degrees_of_freedom : int
        Cells less classes.
    table : DataFrame
        A row for each cell: predicted class, from and to which confidence, its share of the target
        and that of the mixture.

    Examples
    --------
    Of targets that are drawn from the same cases, a prevalence explains the predictions.

    >>> import lsplus_tf as lsp
    >>> from lsplus_tf.calibrators import label_shift_test
    >>> rows = [[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.2, 0.8]] * 50
    >>> held_out = lsp.Predictions([0, 0, 1, 1] * 50, rows)
    >>> found = label_shift_test(held_out, held_out)
    >>> found.p_value > 0.05
    True
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
        Predictions without the probabilities of all classes, other classes, or a class without
        samples in the source.

    Warns
    -----
    UserWarning
        Too few cells, cases or groups: there is no p value.

    Notes
    -----
    A small p value says that no prevalence explains the target: do not estimate one. A large one is
    no proof: a change of p(x | y) that looks like another prevalence cannot be seen without labels.

    The closest mixture is that of generalised least squares. The distribution of the statistic is
    that of 999 draws (199 where there are more than 60 cells) of both sets of cells from the
    mixture that fits them best, so that small sets keep the level: chi-squared's distribution
    does not know that the cells of each class are estimated. With groups or weights the variance is
    that of the sums over groups, and the p value the larger one of that of the draws, of as many
    cases as say as much, and of Rao and Scott's F distribution with the groups' degrees of freedom
    (Annals of Statistics 1984; Thomas and Rao, JASA 1987).

    At 5% it rejected these shares of 1,000 simulated pairs (with 199 draws) where only the
    prevalence differs: 4.5% of held-out sets of 300 cases of four classes (.4 .3 .2 .1) and targets
    of 5,000 (the other way round), 4.0% of the same without a shift, 5.5% of 100 and 5,000 of two
    classes, 6.6% where one of ten held-out cases is ill and half of the target, 4.2% of 500 and 500
    ([.95 .05] to half), 4.1 and 5.3% of ten classes of 360 and of 1,000 cases; in 5, 8, 20 and 100
    groups in each set 2.3, 3.0, 3.5 and 2.8%; in 5 and 10 groups of the target alone 5.9 and 3.4%;
    4.4 to 6.1% where each group has one label, and 4.7% of held-out sets that were enriched and
    weighted. Where the classes are a third closer together it rejected 90% of pairs of 500 cases of
    two classes, 71% of three, and all of 1,000 of ten.

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
    >>> label_shift_test(source, drawn(1000, 0.5, harder=0.5)).p_value < 0.01
    True
    """
    for name, given in (("source", source), ("target", target)):
        if not isinstance(given, Predictions):
            raise InputError(f"{name}: expected lsp.Predictions, received a {type(given).__name__}")
        given.need("probabilities")
    source.need("labels")
    check_classes("target", target.class_names, source.class_names, "the source's")
    source, target = source.counted(), target.counted()
    absent = [source.class_names[k] for k in np.flatnonzero(source.class_counts == 0)]
    if absent:
        raise InputError(f"source: expected samples of every class, received none of {absent[0]}")
    cells, described = _cells(source, target)
    counts = _Counts.of(source, target, cells, len(described))
    freedom = max(0, len(described) - len(source.class_names))
    statistic = p_value = float("nan")
    found = counts.compared(counts.of_class[np.newaxis], counts.shares[np.newaxis])
    why = _too_few(source, target, len(described))
    if why:
        warnings.warn(f"there is no p value: {why}", stacklevel=2)
    else:
        p_value, statistic = _judged(counts, found, source, target, cells, freedom)
    expected = counts.of_class @ found.mixed[0]
    return LabelShiftTest(
        p_value=p_value,
        statistic=statistic,
        degrees_of_freedom=freedom,
        table=described.assign(share=counts.shares, expected=expected),
    )


def _too_few(source: Predictions, target: Predictions, cells: int) -> str:
    """What there is too little of for a p value, and how much would do; "" if there is enough."""
    for name, given in (("source", source), ("target", target)):
        units = len(given) if given.groups is None else int(given.groups.max()) + 1
        if units < _FEWEST_UNITS:
            unit = "case" if given.groups is None else "group"
            return (
                f"{name} has {counted(units, unit)}, and the test needs at least {_FEWEST_UNITS} "
                f"{unit}s"
            )
    classes = len(source.class_names)
    if cells <= classes:
        return (
            f"the predictions fall into {counted(cells, 'cell')}, which some prevalence of "
            f"{classes} classes always explains; it needs {2 * _IN_A_BIN} cases of both together "
            f"of each predicted class, some {2 * _IN_A_BIN * classes} in all, whose confidences "
            "differ"
        )
    return ""


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
        bins = max(1, min(_BINS, inside.size // _IN_A_BIN))
        edges = np.unique(np.quantile(of_these, np.arange(1, bins) / bins))
        place = np.searchsorted(edges, of_these, side="left")
        present, place = np.unique(place, return_inverse=True)
        for number in range(present.size):
            here = of_these[place == number]
            rows.append({"predicted": name, "from": here.min(), "to": here.max()})
        cells[inside] = len(rows) - present.size + place
    return cells, pd.DataFrame(rows)


@dataclass(frozen=True)
class _Found:
    """The mixtures (R, K) that come closest, and their distances (R,)."""

    mixed: Floats
    distance: Floats


@dataclass(frozen=True)
class _Counts:
    """What falls into B cells, of each of K classes of the source and of the target.

    Attributes
    ----------
    of_class : ndarray, shape (B, K)
        Shares, as `shares`, shape (B,), of the target.
    sizes : ndarray, shape (K,)
        How many independent cases they are of, as `size` of the target.
    """

    of_class: Floats
    shares: Floats
    sizes: Floats
    size: float

    @classmethod
    def of(
        cls, source: Predictions, target: Predictions, cells: NDArray[np.intp], count: int
    ) -> _Counts:
        classes, labels = len(source.class_names), source.labels
        here, there = cells[: len(source)], cells[len(source) :]
        totals = np.bincount(labels, source.weights, classes)
        of_class = np.zeros((count, classes))
        np.add.at(of_class, (here, labels), source.weights / totals[labels])
        return cls(
            of_class,
            np.bincount(there, target.weights, count) / target.weights.sum(),
            totals**2 / np.bincount(labels, source.weights**2, classes),
            float(target.weights.sum() ** 2 / (target.weights**2).sum()),
        )

    @property
    def usual(self) -> Floats:
        """A share (B,) for each cell, above 0, which estimates are drawn to by a single case."""
        return np.maximum((self.of_class.mean(axis=1) + self.shares) / 2, _LEAST)

    def compared(self, of_class: Floats, shares: Floats) -> _Found:
        """Draws of shares, (R, B, K) and (R, B), with the closest mixtures of the classes."""
        mixed = np.empty((len(shares), len(self.sizes)))
        distance = np.empty(len(shares))
        for r in range(0, len(shares), step := max(1, _AT_ONCE // of_class[0].shape[0] ** 2)):
            rows = slice(r, r + step)
            mixed[rows], distance[rows] = self._closest(of_class[rows], shares[rows])
        return _Found(mixed, distance)

    def _closest(self, of_class: Floats, shares: Floats) -> tuple[Floats, Floats]:
        drawn = self.usual[:, np.newaxis]
        each = (self.sizes * of_class + drawn) / (self.sizes + 1)
        own = (self.size * shares + drawn[:, 0]) / (self.size + 1)
        of_target = _multinomial(own, np.full(len(own), 1 / self.size))
        spread, mixed = of_target, np.zeros((len(own), len(self.sizes)))
        differing = of_class[:, :-1, :-1] - of_class[:, :-1, -1:]
        left = shares[:, :-1] - of_class[:, :-1, -1]
        for again in range(2):
            if again:
                spread = of_target + _mixed(each, mixed**2 / self.sizes)
            both = np.linalg.solve(spread, np.concatenate([differing, left[..., None]], axis=2))
            across = np.swapaxes(differing, 1, 2) @ both
            some = (
                np.linalg.pinv(across[:, :, :-1], rcond=1e-10, hermitian=True) @ across[:, :, -1:]
            )
            mixed = np.concatenate([some[..., 0], 1 - some.sum(axis=1)], axis=1)
        rest = left - (differing @ some)[..., 0]
        return mixed, np.einsum("rb,rb->r", rest, both[..., -1] - (both[..., :-1] @ some)[..., 0])

    def left_over(self, mixed: Floats) -> Floats:
        """What maps the covariance (B - 1, B - 1) of differences to how large the distance is."""
        each = (self.sizes * self.of_class + self.usual[:, np.newaxis]) / (self.sizes + 1)
        own = (self.size * self.shares + self.usual) / (self.size + 1)
        spread = _multinomial(own[np.newaxis], np.array([1 / self.size]))[0]
        spread += _mixed(each[np.newaxis], (mixed**2 / self.sizes)[np.newaxis])[0]
        inverse = np.linalg.inv(spread)
        differing = self.of_class[:-1, :-1] - self.of_class[:-1, -1:]
        across = inverse @ differing
        return (
            inverse
            - across @ np.linalg.pinv(differing.T @ across, rcond=1e-10, hermitian=True) @ across.T
        )

    def drawn_p_value(self, statistic: float, inflated: float) -> float:
        """The share of draws from the best mixture with as large a distance.

        `inflated` is how much larger variances are than those of independent cases, so that there
        are fewer of these.
        """
        sizes = np.maximum(1, np.round(self.sizes / inflated)).astype(int)
        size = max(1, round(self.size / inflated))
        of_class, mixed = self._best()
        draws = _DRAWS if len(self.shares) <= _MANY else _DRAWS_OF_MANY
        rng = np.random.default_rng(0)
        again = np.stack(
            [rng.multinomial(n, p, draws) / n for n, p in zip(sizes, of_class.T, strict=True)],
            axis=2,
        )
        shares = rng.multinomial(size, of_class @ mixed, draws) / size
        alike = _Counts(self.of_class, self.shares, sizes.astype(float), float(size))
        distances = alike.compared(again, shares).distance
        return float((1 + (distances >= statistic * (1 - 1e-9)).sum()) / (1 + draws))

    def _best(self) -> tuple[Floats, Floats]:
        """The cells of the classes, and the mixture, that both sets together make most likely."""
        seen = self.sizes * self.of_class + self.usual[:, np.newaxis]
        of_class, mixed = seen / seen.sum(axis=0), np.full(len(self.sizes), 1 / len(self.sizes))
        for _ in range(_STEPS):
            joint = of_class * mixed
            joint *= (self.size * self.shares / joint.sum(axis=1))[:, np.newaxis]
            mixed = joint.sum(axis=0) / joint.sum()
            of_class = (seen + joint) / (seen + joint).sum(axis=0)
        return of_class, mixed


def _mixed(shares: Floats, factors: Floats) -> Floats:
    """The sum over classes of their covariances, of shares (R, B, K) and factors (R, K)."""
    some = shares[:, :-1] * factors[:, np.newaxis]
    found = -some @ np.swapaxes(shares[:, :-1], 1, 2)
    places = np.arange(some.shape[1])
    found[:, places, places] += some.sum(axis=2)
    return found


def _multinomial(shares: Floats, factor: Floats) -> Floats:
    """The covariances (R, B - 1, B - 1) of shares (R, B), times a factor (R,)."""
    some = shares[:, :-1]
    found = -some[:, :, np.newaxis] * some[:, np.newaxis]
    places = np.arange(some.shape[1])
    found[:, places, places] += some
    return found * factor[:, np.newaxis, np.newaxis]


def _judged(
    counts: _Counts,
    found: _Found,
    source: Predictions,
    target: Predictions,
    cells: NDArray[np.intp],
    freedom: int,
) -> tuple[float, float]:
    """The p value and the statistic."""
    distance, mixed = float(found.distance[0]), found.mixed[0]
    as_they_are = all(
        each.groups is None and each.sample_weight is None for each in (source, target)
    )
    if as_they_are:
        return counts.drawn_p_value(distance, 1.0), distance
    labels, here, there = source.labels, cells[: len(source)], cells[len(source) :]
    totals = np.bincount(labels, source.weights, len(mixed))
    of_source, units = _covariance(
        source.weights / totals[labels] * mixed[labels],
        here, counts.of_class, labels, source.groups,
    )  # fmt: skip
    of_target, other_units = _covariance(
        target.weights / target.weights.sum(),
        there, counts.shares[:, np.newaxis], np.zeros_like(there), target.groups,
    )  # fmt: skip
    left_over = counts.left_over(mixed)
    parts = [left_over @ each[:-1, :-1] for each in (of_source, of_target)]
    both = parts[0] + parts[1]
    size = float(np.trace(both))
    # Satterthwaite's degrees of freedom, of the differences and of what their variance is of.
    own = min(freedom, size**2 / np.trace(both @ both))
    known = size**2 / sum(
        np.trace(each) ** 2 / (count - 1)
        for each, count in zip(parts, (units, other_units), strict=True)
    )
    inflated = max(1.0, size / freedom)
    statistic = distance * freedom / size
    p_value = float(special.fdtrc(own, own * known, distance / size))
    return max(p_value, counts.drawn_p_value(statistic, inflated)), statistic


def _covariance(
    weights: Floats,
    cells: NDArray[np.intp],
    shares: Floats,
    columns: NDArray[np.intp],
    groups: Groups,
) -> tuple[Floats, int]:
    """Of the cells' shares, by the sums over groups, and how many of these there are.

    Each case deviates from its column's shares.

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
    sums = csr_array((weights, (units, cells)), (count, len(shares)))
    by_column = csr_array((weights, (units, columns)), (count, shares.shape[1]))
    expected = shares @ (by_column.T @ sums).toarray()
    squares = shares @ (by_column.T @ by_column).toarray() @ shares.T
    spread = (sums.T @ sums).toarray() - expected - expected.T + squares
    return spread * count / (count - 1), count
