"""One class, or several together, against the rest: the outcome, its probability and its rank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from lsplus_tf.errors import InputError, did_you_mean, some_of
from lsplus_tf.predictions.arrays import LogOdds, one_ranking
from lsplus_tf.predictions.predictions import Predictions

Positive = str | int | Sequence[str | int]
"""A class by name or number, or several that count as one."""


@dataclass(frozen=True)
class OneVsRest:
    """Predictions of whether a case is of a class, or of one of several.

    Attributes
    ----------
    name : str
        Of the class; of several with " or " between them.
    outcome : ndarray of bool, shape (N,)
        Whether a case is of it.
    predicted : ndarray of bool, shape (N,)
        Whether the most probable class is one of them.
    probability : ndarray of float64, shape (N,)
        That it is. Of several classes it is rounded as :func:`in_precision` does.
    ranking : ndarray, shape (N,)
        Numbers in the order of the log-odds, which tell cases apart whose probabilities round to 1;
        they are no log-odds themselves.
    """

    name: str
    outcome: npt.NDArray[np.bool_]
    predicted: npt.NDArray[np.bool_]
    probability: npt.NDArray[np.float64]
    ranking: npt.NDArray[Any]


def positive_classes(positive: Positive, class_names: Sequence[str]) -> list[int]:
    """The numbers of the classes that `positive` says, in order.

    Raises
    ------
    InputError
        None, all of the classes, one twice, one that there is not, or several whose names with
        " or " between them are that of another class.

    Examples
    --------
    >>> positive_classes(["mel", 0], ["bcc", "mel", "nv"])
    [0, 1]
    """
    given: list[str | int] = [positive]  # type: ignore[list-item]
    if isinstance(positive, Iterable) and not isinstance(positive, str):
        given = list(positive)
    numbers = []
    for each in given:
        if isinstance(each, str) and each in class_names:
            numbers.append(list(class_names).index(each))
        elif isinstance(each, int | np.integer) and not isinstance(each, bool | np.bool_):
            if not 0 <= each < len(class_names):
                raise InputError(
                    f"positive: expected a class in [0, {len(class_names)}), received {each}"
                )
            numbers.append(int(each))
        else:
            kind = "" if isinstance(each, str) or each is None else f" (a {type(each).__name__})"
            raise InputError(
                f"positive: expected one of the classes {some_of(class_names, 12)}, or its number, "
                f"or several such in a list, received {each!r}{kind}"
                + (did_you_mean(each, class_names) if isinstance(each, str) else "")
            )
    if not numbers or len(set(numbers)) < len(numbers) or len(numbers) == len(class_names):
        raise InputError(
            "positive: expected at least one class, each once, and one left for the rest of "
            f"{some_of(class_names, 12)}, received {positive!r}"
        )
    together = " or ".join(class_names[k] for k in sorted(numbers))
    if len(numbers) > 1 and together in class_names:
        raise InputError(
            f"positive: expected classes whose names together are no class's, received "
            f"{together!r}, which is one; rename it"
        )
    return sorted(numbers)


def in_precision(
    numbers: npt.ArrayLike, predictions: Predictions, positive: Positive
) -> npt.NDArray[np.float64]:
    """Thresholds or sums as the probability of a class, or of several, has them.

    The probability of one class has the type of the scores: 0.7 in 32 bits is a little less than in
    64. A sum over classes is rounded to the decimals that the scores know (7 of 32 bits, 14 of 64),
    as .1 + .2 is a little more than .3, and .7 + .1 a little less than .8. What is equal as it was
    written is equal then: a case reaches a threshold where ``probability >= in_precision(..)``.

    Examples
    --------
    >>> predictions = Predictions([0, 1, 2], [[0.2, 0.7, 0.1], [0.7, 0.2, 0.1], [0.1, 0.7, 0.2]])
    >>> found = one_vs_rest(predictions, [1, 2])
    >>> (found.probability >= in_precision(0.8, predictions, [1, 2])).tolist()
    [True, False, True]
    """
    dtype = predictions.probabilities.dtype
    if len(positive_classes(positive, predictions.class_names)) == 1:
        return np.asarray(numbers, dtype).astype(np.float64)
    return _decimals(np.asarray(numbers, np.float64), 7 if dtype.itemsize < 8 else 14)


def _decimals(numbers: npt.NDArray[np.float64], digits: int) -> npt.NDArray[np.float64]:
    """Rounded to significant decimals."""
    found = np.zeros_like(numbers)
    some = numbers > 0
    powers = np.floor(np.log10(numbers[some]))
    leading = np.round(numbers[some] / 10.0**powers, digits - 1)
    carried = leading >= 10  # so that 9.99.. of one power is 1 of the next
    found[some] = np.where(carried, 1.0, leading) * 10.0 ** (powers + carried)
    return found


def one_vs_rest(predictions: Predictions, positive: Positive) -> OneVsRest:
    """Some classes of predictions against all others.

    Parameters
    ----------
    predictions : Predictions
        With labels and the probabilities of all classes.
    positive : str, int, or sequence
        A class, or several that count as one.

    Returns
    -------
    OneVsRest

    Raises
    ------
    InputError
        `positive` is not such, or the predictions lack labels or probabilities.

    Examples
    --------
    >>> predictions = Predictions([0, 1, 2], [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.1, 0.5, 0.4]])
    >>> found = one_vs_rest(predictions, [1, 2])
    >>> found.outcome.tolist(), found.probability.round(2).tolist()
    ([False, True, True], [0.3, 0.9, 0.9])
    """
    predictions.need("labels", "probabilities")
    names = predictions.class_names
    chosen = positive_classes(positive, names)
    inside = np.zeros(len(names), bool)
    inside[chosen] = True
    scores, are_logits = predictions.scores, predictions.kind == "logits"
    probability = predictions.probabilities[:, inside].sum(axis=1, dtype=np.float64)
    probability = in_precision(probability, predictions, chosen)
    if len(names) == 2:
        ranking = one_ranking(scores, are_logits)
        ranking = ranking if chosen == [1] else -ranking
    elif not are_logits:
        ranking = probability
    elif len(chosen) == 1:
        ranking = LogOdds(scores).of(slice(chosen[0], chosen[0] + 1))[0]
    else:
        logits = scores.astype(np.float64)
        ranking = logsumexp(logits[:, inside], axis=1) - logsumexp(logits[:, ~inside], axis=1)
    return OneVsRest(
        " or ".join(names[k] for k in chosen),
        inside[predictions.labels],
        inside[predictions.predicted],
        probability.clip(0, 1),
        ranking,
    )
