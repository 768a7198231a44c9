"""Whether prediction sets cover what they promise, and whether their intervals do.

    python benchmarks/coverage_sets.py [DRAWS]

Sets: 1,000 draws of 500 held-out cases and 500 new ones of five classes, of which the rarest is one
in twenty, and an overconfident model. The mean coverage over the draws is held against the promise:
k / (n + 1) on average, where scores are not tied and empty sets are left. Of groups, 150 of 1 to 12
cases, the small ones hard, coverage is that of new groups.

Intervals: 2,000 samples of 500 cases of which 90% are covered, and of 25 cases (one in twenty); in
groups of five, a beta distribution of the groups' coverage with a correlation of 0.3.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np

from lsplus_tf import Predictions, PredictionSets
from lsplus_tf.metrics.intervals import exact_interval

CASES, CLASSES, RATE = 500, 5, 0.1
KINDS = (("lac", False), ("aps", True), ("aps", False), ("raps", True), ("raps", False))


def drawn(rng: np.random.Generator, cases: int) -> Predictions:
    logits = 2 * rng.normal(size=(cases, CLASSES)) + np.log([0.35, 0.3, 0.2, 0.1, 0.05])
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    ids = rng.integers(2**62, size=cases)
    return Predictions(labels, logits=1.7 * logits, ids=ids)


def in_groups(rng: np.random.Generator, groups: int) -> Predictions:
    hard = rng.random(groups) < 0.5
    sizes = np.where(hard, rng.integers(1, 3, groups), rng.integers(5, 13, groups))
    codes = np.repeat(np.arange(groups), sizes)
    p = np.where(hard[codes], rng.random(codes.size), 0.8 + 0.2 * rng.random(groups)[codes])
    labels = (rng.random(codes.size) > p).astype(int)
    return Predictions(labels, np.stack([p, 1 - p], axis=1), groups=codes, ids=np.arange(p.size))


def sets_of(draws: int) -> None:
    for method, randomized in KINDS:
        for conditional in (False, True):
            for allow_empty in (True, False):
                sets = PredictionSets(
                    method,
                    error_rate=RATE,
                    randomized=randomized,
                    class_conditional=conditional,
                    allow_empty=allow_empty,
                )
                rng, coverage, sizes = np.random.default_rng(0), [], []
                hits, counts, promised = np.zeros(CLASSES), np.zeros(CLASSES), []
                for _ in range(draws):
                    held_out, new = drawn(rng, CASES), drawn(rng, CASES)
                    found = sets.fit(held_out).predict(new)
                    covered = found[np.arange(CASES), new.labels]
                    coverage.append(covered.mean())
                    sizes.append(found.sum(axis=1).mean())
                    hits += np.bincount(new.labels, covered, CLASSES)
                    counts += new.class_counts
                    promised.append(_promised(held_out.class_counts if conditional else CASES))
                error = np.std(coverage) / draws**0.5
                name = f"{method}{' randomized' * randomized}{' by class' * conditional}"
                each = " ".join(f"{100 * share:.1f}" for share in hits / counts)
                print(
                    f"{name:24} empty sets {'left  ' if allow_empty else 'filled'} "
                    f"{100 * np.mean(coverage):.2f} +- {100 * error:.2f}, size "
                    f"{np.mean(sizes):.2f}; by class {each}; promised "
                    f"{100 * np.mean(promised, axis=0).round(5)}",
                    flush=True,
                )


def _promised(counts: np.ndarray | int) -> np.ndarray:
    counts = np.asarray(counts)
    place = np.ceil((counts + 1) * (1 - RATE) - 1e-9)
    return np.minimum(place / (counts + 1), 1)


def groups_of(draws: int) -> None:
    rng, coverage = np.random.default_rng(1), {True: [], False: []}
    for _ in range(draws):
        held_out, new = in_groups(rng, 150), in_groups(rng, 50)
        for known, found in coverage.items():
            given = held_out
            if not known:
                given = Predictions(held_out.labels, held_out.probabilities)
            sets = PredictionSets(error_rate=RATE, allow_empty=True).fit(given).predict(new)
            covered = sets[np.arange(len(new)), new.labels]
            sums, sizes = np.bincount(new.groups, covered), np.bincount(new.groups)
            found.append((sums / sizes).mean())
    for known, found in coverage.items():
        error = np.std(found) / draws**0.5
        what = "groups known" if known else "groups not known"
        print(f"{what}: {100 * np.mean(found):.2f} +- {100 * error:.2f} of new groups", flush=True)


def intervals_of(samples: int) -> None:
    for cases in (500, 25):
        for size in (1, 5):
            rng, held = np.random.default_rng(2), 0
            groups = np.repeat(np.arange(cases // size), size)
            for _ in range(samples):
                share = np.full(groups.size, 0.9)
                if size > 1:  # a correlation of 1 / (1 + a + b) = 0.3
                    share = rng.beta(0.9 * 7 / 3, 0.1 * 7 / 3, cases // size)[groups]
                hits = (rng.random(cases) < share).astype(float)
                low, high = exact_interval(hits, groups if size > 1 else None, 0.95)
                held += low <= 0.9 <= high
            print(f"{cases} cases in groups of {size}: {100 * held / samples:.1f}%", flush=True)


if __name__ == "__main__":
    DRAWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    warnings.simplefilter("ignore", UserWarning)  # of classes with too few held-out cases
    intervals_of(2 * DRAWS)
    groups_of(DRAWS)
    sets_of(DRAWS)
