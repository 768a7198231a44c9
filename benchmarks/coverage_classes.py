"""How often 95% intervals of a class against the rest cover what they are of.

    python benchmarks/coverage_classes.py [--samples 2000]

Simulated: 500 cases, the class in half of them or in one of 21. The log-odds of cases of the class
are normal and lie `distance` standard deviations above those of the others. In groups of 5, 40% of
the variance of the scores is common to a group, and so is half of what decides its cases' classes.
The same of three and seven classes for the mean AUROC; of two models whose scores share two thirds
of their variance for the paired test, which should find a difference in 5% of the samples.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from scipy import special, stats

from lsplus_tf.metrics import auroc, class_metrics, delong_interval, delong_test
from lsplus_tf.predictions import Predictions

CASES, GROUP = 500, 5


def in_groups(rng: np.random.Generator, shape: tuple[int, ...], share: float, grouped: bool):
    """Standard normal numbers, a share of whose variance is common to a group."""
    own = rng.normal(size=shape)
    if not grouped:
        return own
    common = rng.normal(size=(-(-shape[0] // GROUP), *shape[1:])).repeat(GROUP, axis=0)[: shape[0]]
    return np.sqrt(share) * common + np.sqrt(1 - share) * own


def drawn(
    rng: np.random.Generator,
    prevalence: np.ndarray,
    distance: float,
    *,
    grouped: bool = False,
    cases: int = CASES,
) -> Predictions:
    """Predictions of cases, and the labels."""
    classes = len(prevalence)
    latent = special.ndtr(in_groups(rng, (cases,), 0.5, grouped))
    labels = np.searchsorted(np.cumsum(prevalence)[:-1], latent)
    noise = in_groups(rng, (cases, 1 if classes == 2 else classes), 0.4, grouped)
    if classes == 2:
        score = distance * (distance * labels + noise[:, 0] - distance / 2)
        logits = np.stack([np.zeros(cases), score], axis=1) + np.log(prevalence)
    else:
        logits = distance * (distance * np.eye(classes)[labels] + noise) + np.log(prevalence)
    groups = np.arange(cases) // GROUP if grouped else None
    return Predictions(labels, logits=logits, groups=groups)


def of_one_class(samples: int) -> None:
    for distance in (1.5, 2.5):
        for rare in (False, True):
            share = 1 / 21 if rare else 0.5
            prevalence = np.array([1 - share, share])
            large = drawn(np.random.default_rng(9), prevalence, distance, cases=4_000_000)
            truth = class_metrics(large, positive=1).set_index("metric")["value"]
            for grouped in (False, True):
                rng = np.random.default_rng(1)
                found, wald = [], []
                for _ in range(samples):
                    table = class_metrics(
                        drawn(rng, prevalence, distance, grouped=grouped), positive=1
                    )
                    bounds = table[["low", "high"]].to_numpy(float)
                    inside = (bounds[:, 0] <= truth) & (truth <= bounds[:, 1])
                    found.append(np.where(np.isnan(bounds[:, 0]), np.nan, inside))
                rng = np.random.default_rng(1)
                for _ in range(samples):
                    one = delong_interval(drawn(rng, prevalence, distance, grouped=grouped))
                    off = abs(one.value - truth["auroc"])
                    wald.append(off <= stats.norm.ppf(0.975) * one.standard_error)
                shares = dict(zip(truth.index, np.nanmean(found, axis=0), strict=True))
                listed = ", ".join(f"{key} {share:.1%}" for key, share in shares.items())
                print(
                    f"distance {distance}, 1:{20 if rare else 1}"
                    f"{', groups' if grouped else ''} (AUROC {truth['auroc']:.3f}, "
                    f"AUPRC {truth['auprc']:.3f}): {listed}; "
                    f"DeLong's plain AUROC {np.mean(wald):.1%}",
                    flush=True,
                )


def of_the_mean(samples: int) -> None:
    for distance in (1.0, 2.0):
        for shares in ([1, 1, 1], [10, 10, 1], [67, 11, 11, 5, 3, 2, 1]):
            prevalence = np.array(shares) / sum(shares)
            large = drawn(np.random.default_rng(9), prevalence, distance, cases=1_000_000)
            truth = auroc(large)
            for grouped in (False, True):
                rng = np.random.default_rng(1)
                found = []
                for _ in range(samples):
                    one = delong_interval(drawn(rng, prevalence, distance, grouped=grouped))
                    if not np.isnan(one.low):
                        found.append(one.low <= truth <= one.high)
                print(
                    f"mean of {shares}, distance {distance}{', groups' if grouped else ''} "
                    f"(AUROC {truth:.3f}): {np.mean(found):.1%} of {len(found)}",
                    flush=True,
                )


def of_a_difference(samples: int) -> None:
    for rare in (False, True):
        share = 1 / 21 if rare else 0.5
        for grouped in (False, True):
            rng = np.random.default_rng(1)
            rejected = []
            for _ in range(samples):
                first = drawn(rng, np.array([1 - share, share]), 2.0, grouped=grouped)
                odds = first.logits[:, 1] - first.logits[:, 0]
                models = [
                    first.replace(
                        logits=odds + np.sqrt(2) * in_groups(rng, odds.shape, 0.4, grouped)
                    )
                    for _ in range(2)
                ]
                rejected.append(delong_test(*models).p_value < 0.05)
            print(
                f"paired test, 1:{20 if rare else 1}{', groups' if grouped else ''}: "
                f"{np.mean(rejected):.1%} rejected",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2000)
    samples = parser.parse_args().samples
    warnings.simplefilter("ignore", UserWarning)  # of classes that are never predicted
    of_one_class(samples)
    of_the_mean(samples)
    of_a_difference(samples)


if __name__ == "__main__":
    main()
