"""How often intervals of an estimated prevalence cover it, and label_shift_test rejects in vain.

    python benchmarks/coverage_shift.py [--samples 2000]

Simulated: the classes are Gaussians, the network gives 2.5 times the true logits, half of the
cases that the calibrator is fitted to are of class 0, and the target has 500 cases.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

from lsplus_tf import Predictions
from lsplus_tf.calibrators import LabelShift, label_shift_test

OVERCONFIDENT = 2.5
CASES, GROUP = 500, 5


def drawn(
    rng: np.random.Generator,
    cases: int,
    prevalence: np.ndarray,
    distance: float,
    *,
    grouped: bool = False,
) -> Predictions:
    """Predictions of cases, and the labels; half of what differs is common to a group."""
    classes = len(prevalence)
    unit = np.arange(cases) // GROUP if grouped else np.arange(cases)
    labels = rng.choice(classes, cases, p=prevalence)
    noise = rng.normal(size=(cases, classes))
    if grouped:
        of_group = rng.choice(classes, cases, p=prevalence)[unit]
        labels = np.where(rng.random(cases) < 0.5, of_group, labels)
        noise = (noise + rng.normal(size=(cases, classes))[unit]) / np.sqrt(2)
    seen = distance * np.eye(classes)[labels] + noise
    logits = distance * seen + np.log(trained_at(classes))
    groups = unit if grouped else None
    return Predictions(labels, logits=OVERCONFIDENT * logits, groups=groups)


def trained_at(classes: int) -> np.ndarray:
    """The prevalence at which the network was trained."""
    return np.array([0.5, *[0.5 / (classes - 1)] * (classes - 1)])


def target_of(classes: int, rare: bool) -> np.ndarray:
    """Of the target: even, or the last class in one of 20 cases."""
    if not rare:
        return np.full(classes, 1 / classes)
    return np.array([*[0.95 / (classes - 1)] * (classes - 1), 0.05])


def coverage(
    samples: int, classes: int, *, rare: bool, grouped: bool, fitted_to: int, seed: int = 0
) -> tuple[float, float]:
    """The share of samples whose interval of the last class covers, and its mean width."""
    rng = np.random.default_rng(seed)
    source, target = trained_at(classes), target_of(classes, rare)
    fitted = LabelShift().fit(drawn(rng, 200_000, source, 1.5))
    covered, widths = [], []
    for _ in range(samples):
        if fitted_to:
            fitted = LabelShift().fit(drawn(rng, fitted_to, source, 1.5))
        found = fitted.estimate_prevalence(drawn(rng, CASES, target, 1.5, grouped=grouped))
        row = found.iloc[-1]
        covered.append(row["low"] <= target[-1] <= row["high"])
        widths.append(row["high"] - row["low"])
    return float(np.mean(covered)), float(np.mean(widths))


def rejected(
    samples: int,
    classes: int,
    *,
    rare: bool,
    grouped: bool = False,
    distance: float = 1.5,
    seed: int = 0,
) -> float:
    """The share of samples that label_shift_test rejects at 5%; at a distance of 1.5 in vain."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(samples):
        source = drawn(rng, CASES, trained_at(classes), 1.5)
        target = drawn(rng, CASES, target_of(classes, rare), distance, grouped=grouped)
        found.append(label_shift_test(source, target).p_value < 0.05)
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000)
    samples = parser.parse_args().samples
    warnings.simplefilter("ignore", UserWarning)
    for classes in (2, 3):
        for rare in (False, True):
            for grouped in (False, True):
                case = f"{classes} classes, {'1:20' if rare else 'even'}, grouped {grouped}"
                for fitted_to in (0, 500):
                    share, width = coverage(
                        samples, classes, rare=rare, grouped=grouped, fitted_to=fitted_to
                    )
                    to = f"fitted to {fitted_to}" if fitted_to else "calibrator known"
                    print(f"{case}, {to}: {share:.3f}, width {width:.3f}", flush=True)
                vain = rejected(samples, classes, rare=rare, grouped=grouped)
                seen = rejected(samples, classes, rare=rare, grouped=grouped, distance=1.0)
                print(f"{case}: rejected {vain:.3f} in vain, {seen:.3f} of harder", flush=True)


if __name__ == "__main__":
    main()
