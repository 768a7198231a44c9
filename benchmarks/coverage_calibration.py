"""Coverage of the 95% intervals of calibration intercept, slope, O/E and curves, by simulation.

Run from the repository root::

    python benchmarks/coverage_calibration.py --samples 2000
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special, stats
from scipy.optimize import brentq

from lsplus_tf.metrics import calibration_curves, recalibration
from lsplus_tf.metrics.intervals import Interval
from lsplus_tf.metrics.recalibration import ClassCases

Array = npt.NDArray[np.float64]
CASES, GROUP = 500, 5
# The true log-odds: their mean for half of the cases and for one in 21 of the class.
MEANS = {"balanced": 0.0, "1:20": -4.05}
SPREAD = 1.5
# The model's log-odds from the true ones.
MODELS: dict[str, Callable[[Array], Array]] = {
    "calibrated": lambda odds: odds,
    "overconfident": lambda odds: 1.4 * odds + 0.3,
}
# Log-odds that an image classifier trained on HAM10000 gave to 2,038 other cases, at quantiles, and
# those of the curve that was fitted: melanoma (11% of the cases), vascular lesions (1.5%).
SKEWED_CASES = 2038
QUANTILES = np.array([0, 0.005, *np.linspace(0.025, 0.975, 20), 0.985, 0.99, 0.995, 1])
# fmt: off
SKEWED: dict[str, tuple[list[float], list[float]]] = {
    "melanoma": (
        [-11.51, -8.95, -7.64, -6.83, -6.27, -5.76, -5.27, -4.65, -3.73, -3.08, -2.68, -2.35, -2.1,
         -1.82, -1.6, -1.42, -1.21, -1.0, -0.75, -0.39, 0.02, 0.74, 0.99, 1.25, 1.51, 2.77],
        [-14.77, -11.39, -9.66, -8.6, -7.85, -7.18, -6.53, -5.72, -4.51, -3.68, -3.18, -2.78, -2.49,
         -2.18, -1.93, -1.74, -1.53, -1.33, -1.13, -0.91, -0.7, -0.43, -0.34, -0.24, -0.15, 0.3],
    ),
    "vascular lesion": (
        [-87.5, -11.51, -10.41, -9.11, -8.33, -7.89, -7.51, -7.16, -6.89, -6.54, -6.33, -6.07,
         -5.83, -5.6, -5.34, -5.12, -4.89, -4.61, -4.32, -3.88, -3.33, -2.28, -1.86, -1.41, -0.87,
         0.84],
        [-251.91, -24.68, -21.39, -17.51, -15.18, -13.84, -12.69, -11.65, -10.85, -9.8, -9.18,
         -8.42, -7.73, -7.07, -6.38, -5.81, -5.27, -4.65, -4.09, -3.39, -2.73, -1.88, -1.61, -1.32,
         -0.97, 0.13],
    ),
}
# fmt: on
PLACES = (0.1, 0.5, 0.95)  # of the whole distribution, at which the curve's band is looked up


def drawn(
    rng: np.random.Generator, mean: float, grouped: bool
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """True log-odds and outcomes; in groups both are correlated by one half."""
    shape = CASES // GROUP, GROUP

    def normal() -> Array:
        if not grouped:
            return rng.standard_normal(CASES)
        shared = rng.standard_normal((shape[0], 1))
        return ((shared + rng.standard_normal(shape)) / np.sqrt(2)).ravel()

    odds = mean + SPREAD * normal()
    return odds, stats.norm.cdf(normal()) < special.expit(odds)


def truth(mean: float, model: Callable[[Array], Array]) -> dict[str, float]:
    """Of the whole distribution, by its quantiles."""
    odds = mean + SPREAD * stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    true, given = special.expit(odds), model(odds)
    distances = np.abs(true - special.expit(given))
    # Of a straight line in the log-odds.
    slope = 1 / (model(np.ones(1)) - model(np.zeros(1)))[0]
    return {
        "intercept": brentq(lambda a: special.expit(given + a).mean() - true.mean(), -5, 5),
        "slope": slope,
        "o_e": true.mean() / special.expit(given).mean(),
        "ici": distances.mean(),
        "e50": float(np.quantile(distances, 0.5)),
        "e90": float(np.quantile(distances, 0.9)),
        **{f"curve at {q:g}": float(special.expit(np.quantile(odds, q))) for q in PLACES},
    }


def coverage(
    samples: int, mean: float, model: Callable[[Array], Array], grouped: bool
) -> dict[str, tuple[float, int]]:
    """The share of the intervals that have the truth inside, and how many there are."""
    expected = truth(mean, model)
    rng = np.random.default_rng(1)
    hits: dict[str, list[bool]] = {key: [] for key in expected}
    groups = np.arange(CASES) // GROUP if grouped else None
    points = np.array([model(np.array([mean + SPREAD * stats.norm.ppf(q)]))[0] for q in PLACES])
    for _ in range(samples):
        odds, outcome = drawn(rng, mean, grouped)
        cases = ClassCases.of("it", model(odds), outcome, np.ones(CASES), groups)
        curve = calibration_curves.curve_of(cases, None)
        for key, interval in measured(cases, curve).items():
            if key in expected and not np.isnan(interval.low):
                hits[key].append(bool(interval.low <= expected[key] <= interval.high))
        if curve is not None:
            _, low, high = curve.band(points, 0.95)
            for q, below, above in zip(PLACES, low, high, strict=True):
                key = f"curve at {q:g}"
                hits[key].append(bool(below <= expected[key] <= above))
    return {key: (float(np.mean(each)), len(each)) for key, each in hits.items()}


def measured(cases: ClassCases, curve: calibration_curves.Curve | None) -> dict[str, Interval]:
    return {
        "intercept": recalibration.intercept_of(cases, 0.95),
        "slope": recalibration.recalibration_of(cases, 0.95).slope,
        "o_e": recalibration.ratio_of(cases, 0.95),
        **calibration_curves.errors_of(cases, curve, 0.95)._asdict(),
    }


def of_skewed(samples: int, given: Array, true: Array, grouped: bool) -> str:
    """The same of the distances, with how often the lower bound is 0, and the upper ones."""
    # The same cases each time, at equal steps through the quantiles.
    places = (np.arange(SKEWED_CASES) + 0.5) / SKEWED_CASES
    odds, chance = (np.interp(places, QUANTILES, each) for each in (given, true))
    chance = special.expit(chance)
    distances = np.abs(chance - special.expit(odds))
    expected = {
        "ici": distances.mean(),
        "e50": float(np.quantile(distances, 0.5)),
        "e90": float(np.quantile(distances, 0.9)),
        "emax": distances.max(),
    }
    rng = np.random.default_rng(1)
    # Of a group of two neighbours half share the random number that decides.
    groups = np.arange(SKEWED_CASES) // 2 if grouped else None
    found: dict[str, list[tuple[float, float]]] = {key: [] for key in expected}
    for _ in range(samples):
        uniform = rng.uniform(size=SKEWED_CASES)
        if grouped:
            shared = np.repeat(rng.uniform(size=SKEWED_CASES // 2) < 0.5, 2)
            uniform = np.where(shared, np.repeat(uniform[::2], 2), uniform)
        cases = ClassCases.of("it", odds, uniform < chance, np.ones(SKEWED_CASES), groups)
        curve = calibration_curves.curve_of(cases, None)
        for key, interval in measured(cases, curve).items():
            if key in found and not np.isnan(interval.low):
                found[key].append((interval.low, interval.high))
    words = []
    for key, true_value in expected.items():
        low, high = np.array(found[key]).T
        inside = np.mean((low <= true_value) & (true_value <= high))
        words.append(
            f"{key} {true_value:.1%}: {inside:.1%}, above in {np.mean(low > true_value):.1%}, "
            f"lower bound 0 in {np.mean(low == 0):.1%}, upper {np.median(high):.1%}, at most "
            f"{high.max():.1%}"
        )
    return "; ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000)
    samples = parser.parse_args().samples
    warnings.simplefilter("ignore", UserWarning)
    for name, (given, true) in SKEWED.items():
        for kind, right in (("as fitted", true), ("calibrated", given)):
            for grouped in (False, True):
                words = of_skewed(samples, np.array(given), np.array(right), grouped)
                where = "groups of 2" if grouped else "independent"
                print(f"{name}, {kind}, {where}: {words}", flush=True)
    for name, mean in MEANS.items():
        for kind, model in MODELS.items():
            for grouped in (False, True):
                found = coverage(samples, mean, model, grouped)
                words = ", ".join(f"{key} {share:.1%}" for key, (share, _) in found.items())
                fewest = min(count for _, count in found.values())
                where = f"groups of {GROUP}" if grouped else "independent"
                print(
                    f"{name}, {kind}, {where}: {words}; {fewest} of {samples} defined", flush=True
                )


if __name__ == "__main__":
    main()
