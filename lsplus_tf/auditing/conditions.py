"""Conditions on an audit that make a pipeline fail, such as "ece>0.05"."""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lsplus_tf.auditing.measured import Audit
from lsplus_tf.auditing.verdicts import METRIC_NAMES
from lsplus_tf.errors import InputError, did_you_mean
from lsplus_tf.metrics import METRICS, calibration_summary, class_metrics
from lsplus_tf.metrics.statistics import intervals_of
from lsplus_tf.predictions import Predictions
from lsplus_tf.predictions.positive import positive_classes

_OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_WRITTEN = re.compile(
    r"\s*([a-z0-9_]+)(?:\((.+)\))?(?:\.(low|high))?\s*(>=|<=|>|<)\s*([-+.\deE]+)\s*"
)
# Of a class against the rest.
_OF_A_CLASS = ("sensitivity", "specificity", "ppv", "npv", "prevalence", "f1", "auroc", "auprc")
_OF_CALIBRATION = ("intercept", "slope", "o_e", "ici", "e50", "e90")
# Those of an audit's table, and those that it has no room for.
_KNOWN = tuple(dict.fromkeys((*METRIC_NAMES, *METRICS)))


@dataclass(frozen=True)
class Condition:
    """A metric, or a bound of its interval, compared with a number.

    Attributes
    ----------
    text : str
        As it was written.
    metric : str
        A row of `Audit.metrics`, another key of `lsplus_tf.metrics.METRICS`, or of a class in
        `Audit.classes`.
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
            classes = classes_said(self.of_class, audit.predictions.class_names)
            measure = class_metrics if self.metric in _OF_A_CLASS else calibration_summary
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of what NaN tells
                table = measure(audit.predictions, positive=classes)
            return float(table.set_index("metric")[self.bound][self.metric])
        if self.metric in audit.metrics.index:
            return float(audit.metrics[self.bound][self.metric])
        predictions = audit.predictions
        (found,) = intervals_of([METRICS[self.metric]], predictions, groups=predictions.groups)
        return float(getattr(found, self.bound))

    def check(self, predictions: Predictions) -> None:
        """Raise `InputError` if these predictions do not tell the metric."""
        if self.of_class is not None:
            try:
                classes_said(self.of_class, predictions.class_names)
            except InputError as error:
                raise InputError(f"--fail-if: {error}") from None
            if self.metric not in _OF_A_CLASS or self.metric in ("auroc", "auprc"):
                predictions.need("probabilities")
            return
        known = [
            key for key in _KNOWN if key not in METRICS or METRICS[key].is_known_of(predictions)
        ]
        if self.metric not in known:
            raise InputError(
                f"--fail-if: {self.metric} needs the probabilities of all classes, received the "
                "predicted class and its confidence alone; give --probabilities or --logits, or a "
                f"condition on one of {', '.join(known)}"
            )


def classes_said(text: str, class_names: Sequence[str]) -> list[int]:
    """The numbers of a class, or of several with commas between them, as options have them.

    Parameters
    ----------
    text : str
    class_names : sequence of str

    Raises
    ------
    InputError
        There is no such class.
    """
    given = [text] if text in class_names else [part.strip() for part in text.split(",")]
    return positive_classes(given, class_names)


def parse_condition(text: str) -> Condition:
    """A condition as it is written: METRIC>NUMBER, or METRIC.low, METRIC.high of its interval.

    METRIC(CLASS) is that of a class against the rest: its sensitivity, specificity, ppv, npv,
    prevalence, f1, auroc or auprc, or its calibration: intercept, slope, o_e, ici, e50 or e90.
    METRIC(CLASS,CLASS) counts several as one.

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
    of_class = (*_OF_A_CLASS, *_OF_CALIBRATION)
    known = _KNOWN if condition.of_class is None else of_class
    if condition.metric not in known:
        of = "" if condition.of_class is None else " of a class"
        raise InputError(
            f"--fail-if: expected a metric{of}, one of {', '.join(known)}, received "
            f"{condition.metric!r}{did_you_mean(condition.metric, known)}"
        )
    return condition
