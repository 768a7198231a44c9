"""Conditions on an audit that make a pipeline fail, such as "ece>0.05"."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass

import numpy as np

from lsplus_tf.auditing.measured import Audit
from lsplus_tf.auditing.verdicts import METRIC_NAMES
from lsplus_tf.errors import InputError, some_of
from lsplus_tf.metrics import METRICS
from lsplus_tf.predictions import Predictions

_OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_WRITTEN = re.compile(
    r"\s*([a-z0-9_]+)(?:\((.+)\))?(?:\.(low|high))?\s*(>=|<=|>|<)\s*([-+.\deE]+)\s*"
)
# Of a class against the rest.
_OF_A_CLASS = ("sensitivity", "specificity", "ppv", "npv", "prevalence", "f1", "auroc", "auprc")


@dataclass(frozen=True)
class Condition:
    """A metric, or a bound of its interval, compared with a number.

    Attributes
    ----------
    text : str
        As it was written.
    metric : str
        A row of `Audit.metrics`, or of a class in `Audit.classes`.
    of_class : str or None
        The class.
    bound : {"value", "low", "high"}
        A column of it.
    compare : {">=", "<=", ">", "<"}
    number : float
        A fraction, where the metric is one.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> result = lsp.audit(predictions, num_resamples=20)
    >>> condition = parse_condition("gap > 0.05")
    >>> condition.holds(result), round(condition.value(result), 2)
    (True, 0.4)
    """

    text: str
    metric: str
    of_class: str | None
    bound: str
    compare: str
    number: float

    def holds(self, audit: Audit) -> bool:
        """Whether it holds of an audit; also where the metric is not defined, to be safe."""
        value = self.value(audit)
        return bool(np.isnan(value) or _OPERATORS[self.compare](value, self.number))

    def value(self, audit: Audit) -> float:
        """What is compared."""
        self.check(audit.predictions)
        if self.of_class is not None:
            return float(audit.classes.of(self.of_class, self.metric)[self.bound])
        return float(audit.metrics[self.bound][self.metric])

    def check(self, predictions: Predictions) -> None:
        """Raise `InputError` if these predictions do not tell the metric."""
        if self.of_class is not None:
            if self.of_class not in predictions.class_names:
                raise InputError(
                    f"--fail-if: expected one of the classes "
                    f"{some_of(predictions.class_names, 12)}, received {self.of_class!r}"
                )
            if self.metric in ("auroc", "auprc"):
                predictions.need("probabilities")
            return
        known = [
            key
            for key in METRIC_NAMES
            if key not in METRICS or METRICS[key].is_known_of(predictions)
        ]
        if self.metric not in known:
            raise InputError(
                f"--fail-if: {self.metric} needs the probabilities of all classes, received the "
                "predicted class and its confidence alone; give --probabilities or --logits, or a "
                f"condition on one of {', '.join(known)}"
            )


def parse_condition(text: str) -> Condition:
    """A condition as it is written: METRIC>NUMBER, or METRIC.low, METRIC.high of its interval.

    METRIC(CLASS) is that of a class against the rest: its sensitivity, specificity, ppv, npv,
    prevalence, f1, auroc or auprc.

    Parameters
    ----------
    text : str

    Raises
    ------
    InputError
        If it is not written so, or there is no such metric.

    Examples
    --------
    >>> parse_condition("ece.low > 0.05").bound
    'low'
    >>> parse_condition("sensitivity(mel) < 0.8").of_class
    'mel'
    """
    match = _WRITTEN.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        metric, of_class, bound, compare, number = match.groups()
        condition = Condition(
            text.strip(), metric, of_class, bound or "value", compare, float(number)
        )
    except ValueError:
        raise InputError(
            "--fail-if: expected a condition such as 'ece>0.05' or 'accuracy.low<0.9', received "
            f"{text!r}"
        ) from None
    known = METRIC_NAMES if condition.of_class is None else _OF_A_CLASS
    if condition.metric not in known:
        of = "" if condition.of_class is None else " of a class"
        raise InputError(
            f"--fail-if: expected a metric{of}, one of {', '.join(known)}, received "
            f"{condition.metric!r}"
        )
    return condition
