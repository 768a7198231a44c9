"""Coverage of 95% intervals with sample weights: `python benchmarks/coverage_weights.py`.

2,000 samples of 500 cases, balanced and 1:20, independent and in groups of 5 whose outcomes and
probabilities are correlated. Weights are exponential, and three times as large where the class that
is predicted is the wrong one, so that the weighted metrics are others than the plain ones. Truths
are those of 4 million cases.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from lsplus_tf.metrics import METRICS
from lsplus_tf.metrics.statistics import intervals_of
from lsplus_tf.predictions import Predictions

SAMPLES, CASES, GROUP, RESAMPLES = 2_000, 500, 5, 200
PREVALENCES = {"balanced": 0.0, "1:20": -4.35}
COVERED = ("accuracy", "mean_confidence", "nll", "brier", "auroc", "balanced_accuracy", "aurc")


def draw(
    rng: np.random.Generator, cases: int, intercept: float, grouped: bool
) -> tuple[Predictions, npt.NDArray[np.intp] | None]:
    """Weighted predictions, and groups."""
    size = cases // GROUP
    shared = np.repeat(rng.normal(size=size), GROUP) if grouped else rng.normal(size=cases)
    logit = intercept + 1.2 * shared + 1.2 * rng.normal(size=cases)
    labels = (rng.random(cases) < expit(logit)).astype(int)
    rows = np.stack([expit(-1.5 * logit), expit(1.5 * logit)], axis=1)
    weights = rng.exponential(size=cases) * np.where(rows.argmax(axis=1) == labels, 1, 3)
    groups = np.repeat(np.arange(size), GROUP) if grouped else None
    return Predictions(labels, rows, sample_weight=weights), groups


def main() -> None:
    records = [METRICS[key] for key in COVERED]
    lines = []
    for name, intercept in PREVALENCES.items():
        for grouped in (False, True):
            rng = np.random.default_rng(0)
            large, _ = draw(rng, 4_000_000, intercept, False)
            truth = np.array([record.value(large, "standard") for record in records])
            covered = np.zeros(len(records))
            for _ in range(SAMPLES):
                predictions, groups = draw(rng, CASES, intercept, grouped)
                found = intervals_of(records, predictions, num_resamples=RESAMPLES, groups=groups)
                covered += [
                    each.low <= value <= each.high for each, value in zip(found, truth, strict=True)
                ]
            shares = dict(zip(COVERED, 100 * covered / SAMPLES, strict=True))
            lines.append({"cases": name, "grouped": grouped, **shares})
    print(pd.DataFrame(lines).round(1).to_string(index=False))


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)  # of resamples without a class
    main()
