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
        found = {
            "intercept": recalibration.intercept_of(cases, 0.95),
            "slope": recalibration.recalibration_of(cases, 0.95).slope,
            "o_e": recalibration.ratio_of(cases, 0.95),
            **calibration_curves.errors_of(cases, curve, 0.95)._asdict(),
        }
        del found["emax"]
        for key, interval in found.items():
            if not np.isnan(interval.low):
                hits[key].append(bool(interval.low <= expected[key] <= interval.high))
        if curve is not None:
            _, low, high = curve.band(points, 0.95)
            for q, below, above in zip(PLACES, low, high, strict=True):
                key = f"curve at {q:g}"
                hits[key].append(bool(below <= expected[key] <= above))
    return {key: (float(np.mean(each)), len(each)) for key, each in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000)
    samples = parser.parse_args().samples
    warnings.simplefilter("ignore", UserWarning)
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
