"""What share of the cases a model could decide alone at an error rate that is accepted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lsplus_tf.auditing.gaps import LEVEL
from lsplus_tf.errors import check_fraction
from lsplus_tf.metrics import coverage_at_risk
from lsplus_tf.metrics.intervals import Share, exact_intervals
from lsplus_tf.predictions import Predictions

_STEPS = 20


@dataclass(frozen=True)
class Automatic:
    """The share of cases that could be decided automatically, the most confident.

    Attributes
    ----------
    error_rate : float
        That is accepted among them.
    observed : float
        The largest share whose error rate in this sample is no larger.
    low, high : float
        95% interval of what it is beyond the sample, in steps of 5%: the largest share whose error
        rate is shown to be accepted, and the smallest from which on it is shown to be too high; 1
        where it is not shown for all cases.
    threshold : float
        The confidence from which on a case is among `low`; NaN where that is 0.
    steps : DataFrame
        coverage, threshold, cases, error_rate, low and high of each step.
    """

    error_rate: float
    observed: float
    low: float
    high: float
    threshold: float
    steps: pd.DataFrame


def automatic_share(predictions: Predictions, error_rate: float) -> Automatic:
    """Clopper and Pearson's intervals of the error rate at 20 coverages, which hold together.

    The coverage is chosen after the errors were seen, so that each interval has the level
    1 - 0.05 / 20 (Bonferroni). Cases of equal confidence are answered together. With groups, the
    intervals are those of as many independent cases as have the same variance. So they are with
    sample weights, by which coverages and error rates count.
    """
    check_fraction("error_rate", error_rate)
    groups, weights = predictions.groups, predictions.sample_weight
    order = np.argsort(-predictions.confidence, kind="stable")
    confidence = predictions.confidence[order].astype(np.float64)
    wrong = (~predictions.correct[order]).astype(np.float64)
    own = predictions.weights[order]
    of_group = None if groups is None else groups[order]
    answered_until, errors_until = np.cumsum(own), np.cumsum(own * wrong)
    samples = answered_until[-1]
    rows, shares = [], []
    for step in range(1, _STEPS + 1):
        # Rounding may put the last place that is wanted an ulp beyond the last case.
        wanted = step * samples / _STEPS * (1 - 1e-12)
        threshold = confidence[np.searchsorted(answered_until, wanted)]
        cases = int(np.searchsorted(-confidence, -threshold, side="right"))
        share = Share.of(
            wrong[:cases],
            None if of_group is None else of_group[:cases],
            None if weights is None else own[:cases],
        )
        counted = answered_until[cases - 1]
        rows.append(
            (
                counted / samples,
                threshold,
                cases if weights is None else counted,
                errors_until[cases - 1] / counted,
            )
        )
        shares.append(share)
    steps = pd.DataFrame(rows, columns=["coverage", "threshold", "cases", "error_rate"])
    steps["low"], steps["high"] = exact_intervals(shares, 1 - (1 - LEVEL) / _STEPS)
    steps = steps.drop_duplicates("cases", ignore_index=True)
    shown = steps[steps["high"] <= error_rate]
    possible = np.flatnonzero(steps["low"] <= error_rate)
    beyond = int(possible[-1]) + 1 if possible.size else 0
    return Automatic(
        error_rate,
        coverage_at_risk(predictions, risk=error_rate),
        float(shown["coverage"].max()) if len(shown) else 0.0,
        float(steps["coverage"].iloc[beyond]) if beyond < len(steps) else 1.0,
        float(shown["threshold"].min()) if len(shown) else float("nan"),
        steps,
    )
