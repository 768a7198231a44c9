"""Coverage of the 95% intervals of decision curves: `python benchmarks/coverage_decision.py`.

First, in how many samples what audits say of them is false. Then 2,000 samples of 500 cases,
balanced and 1:20, independent and in groups of 5 whose outcomes and probabilities are correlated.
Truths are those of samples of 4 million cases.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from scipy.special import expit

from lsplus_tf import metrics
from lsplus_tf.auditing.decisions import decisions_of
from lsplus_tf.predictions import Predictions

SAMPLES, CASES, GROUP = 2_000, 500, 5
SETTINGS = {  # log-odds of the prevalence, and thresholds to look at
    "balanced": (0.0, [0.2, 0.35, 0.5, 0.65, 0.8]),
    "1:20": (-4.12, [0.02, 0.05, 0.1, 0.2, 0.4]),
}


def draw(rng, cases, intercept, grouped, second=False):
    """Labels, two models' probabilities, and groups: the first is calibrated, the second blunt."""
    size = cases // GROUP
    shared = np.repeat(rng.normal(size=size), GROUP) if grouped else rng.normal(size=cases)
    logit = intercept + 1.2 * shared + 1.2 * rng.normal(size=cases)
    labels = (rng.random(cases) < expit(logit)).astype(int)
    blunt = expit(logit + rng.normal(size=cases))
    groups = np.repeat(np.arange(size), GROUP) if grouped else None
    return labels, expit(logit), blunt, groups


def rows(probability):
    return np.stack([1 - probability, probability], axis=1)


def measure(rng, cases, intercept, grouped, thresholds, prevalence=None):
    labels, sharp, blunt, groups = draw(rng, cases, intercept, grouped)
    given = {"positive": 1, "thresholds": thresholds, "groups": groups}
    curve = metrics.decision_curve(labels, rows(sharp), **given)
    known = metrics.decision_curve(labels, rows(sharp), prevalence=prevalence or 0.1, **given)
    pair = metrics.net_benefit_difference(labels, rows(sharp), rows(blunt), **given)
    return {
        "net_benefit": curve[["net_benefit", "low", "high"]],
        "at 10% prevalence": known[["net_benefit", "low", "high"]],
        "treat_all": curve[["treat_all", "treat_all_low", "treat_all_high"]],
        "gain": curve[["gain", "gain_low", "gain_high"]],
        "difference": pair[["difference", "low", "high"]],
    }


def false_statements() -> None:
    """In how many samples of calibrated models the better of the two is said to be better."""
    rng = np.random.default_rng(1)
    for shape in ((1, 19), (0.5, 9.5)):
        alone = together = 0
        for _ in range(1_000):
            risk = rng.beta(*shape, CASES)
            labels = (rng.random(CASES) < risk).astype(int)
            (found,) = decisions_of(Predictions(labels, rows(risk)), [1])
            alone += bool((found.curve["gain_high"] < 0).any())
            together += bool(found.worse)
        print(
            f"Beta{shape}: each threshold on its own {alone / 10}%, all together {together / 10}%"
        )


def main() -> None:
    false_statements()
    lines = []
    for name, (intercept, thresholds) in SETTINGS.items():
        for grouped in (False, True):
            rng = np.random.default_rng(0)
            large = measure(rng, 4_000_000, intercept, False, thresholds)
            truth = {what: table.to_numpy()[:, 0] for what, table in large.items()}
            covered = {what: np.zeros(len(thresholds)) for what in truth}
            none = dict.fromkeys(truth, 0.0)
            for _ in range(SAMPLES):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    found = measure(rng, CASES, intercept, grouped, thresholds)
                for what, table in found.items():
                    _, low, high = table.to_numpy().T
                    covered[what] += (low <= truth[what]) & (truth[what] <= high)
                    none[what] = none[what] + np.isnan(low)
            for what, hits in covered.items():
                defined = SAMPLES - none[what]
                line = {"cases": name, "groups": grouped, "of": what}
                lines.append(
                    line
                    | {
                        f"{t:g}": round(100 * h / d, 1)
                        for t, h, d in zip(thresholds, hits, defined, strict=True)
                    }
                )
    for name in SETTINGS:
        table = pd.DataFrame([line for line in lines if line["cases"] == name])
        print(table.dropna(axis=1, how="all").to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
