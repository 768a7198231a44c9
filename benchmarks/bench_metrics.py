"""Time and memory of the package's metrics against other libraries', in one process.

Peers get the same float32 probabilities as we do. Calls take turns, and a ratio is that of the
medians, peer over ours: above 1 this package is faster. Memory is the peak of what Python and NumPy
allocate during one call (tracemalloc), as a share of the probabilities' size. Peers that are not
installed are left out; `pip install lsplus_tf[benchmark]` installs them.

    python benchmarks/bench_metrics.py [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import functools
import importlib.util
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import scipy.stats
import sklearn.metrics
import tensorflow as tf
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lsplus_tf import metrics
from lsplus_tf.metrics import keras as streaming
from lsplus_tf.metrics.statistics import bootstrap_interval

SIZES = ((2_000, 7), (100_000, 10), (200_000, 165), (50_000, 1_000))
LARGEST = (1_350_000, 165)
LARGEST_NEEDS = 8e9  # bytes, some of them for the peers' copies
NUM_BINS = 15
RESAMPLES = 1_000
TORCHMETRICS_RESAMPLES = 10
BATCH, BATCHES = 256, 100
ROUNDS_SECONDS = 4.0  # for all rounds of a row; one that takes longer is not repeated
REPEATED_BELOW = 20.0  # seconds of a first call that does not count
PEER_LIMIT = 60.0  # seconds beyond which a peer is left out of the largest size
OURS = "ours"
PEERS = ("torchmetrics", "netcal", "scikit-learn", "NumPy, SciPy", "Keras")
MODULES = {"torchmetrics": ("torch", "torchmetrics"), "netcal": ("torch", "netcal")}
MISSING = {
    peer
    for peer, modules in MODULES.items()
    if any(importlib.util.find_spec(module) is None for module in modules)
}


@dataclass(frozen=True, eq=False)
class Data:
    """Probabilities (N, K) float32 and labels (N,)."""

    probabilities: np.ndarray
    labels: np.ndarray

    @property
    def num_classes(self) -> int:
        return self.probabilities.shape[1]

    def torch(self) -> tuple[Any, Any]:
        import torch

        return torch.from_numpy(self.probabilities), torch.from_numpy(self.labels)

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, min(len(self.labels), BATCH * BATCHES), BATCH):
            rows = slice(start, start + BATCH)
            yield self.labels[rows], self.probabilities[rows]


Make = Callable[[Data], Callable[[], float]]


def make_data(samples: int, num_classes: int) -> Data:
    """Softmax outputs of a model that is right about nine times in ten."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, samples)
    probabilities = rng.standard_normal((samples, num_classes), dtype=np.float32)
    probabilities *= 2
    probabilities[np.arange(samples), labels] += 2 + 2 * np.sqrt(2 * np.log(num_classes))
    for start in range(0, samples, 10_000):
        block = probabilities[start : start + 10_000]
        np.exp(block, out=block)
        block /= block.sum(axis=1, keepdims=True)
    return Data(probabilities, labels)


def function(metric: Callable[..., float], **options: Any) -> Make:
    """One of this package's functions."""
    return lambda data: functools.partial(metric, data.labels, data.probabilities, **options)


# Peers' measures ----------------------------------------------------------------------------------


def torchmetrics_ece(data: Data) -> Callable[[], float]:
    from torchmetrics.functional.classification import multiclass_calibration_error

    probabilities, labels = data.torch()
    classes = data.num_classes
    return lambda: float(multiclass_calibration_error(probabilities, labels, classes, NUM_BINS))


def netcal_ece(data: Data) -> Callable[[], float]:
    from netcal.metrics import ECE

    return lambda: float(ECE(NUM_BINS).measure(data.probabilities, data.labels))


def torchmetrics_sce(data: Data) -> Callable[[], float]:
    """Its binary calibration error of each class in turn; it has no classwise one."""
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    probabilities, labels = data.torch()

    def measure() -> float:
        errors = [
            binary_calibration_error(probabilities[:, k], (labels == k).long(), NUM_BINS)
            for k in range(data.num_classes)
        ]
        return float(torch.stack(errors).mean())

    return measure


def netcal_classwise(equal_intervals: bool) -> Make:
    """Its binary ECE of each class in turn; it has no classwise one."""

    def make(data: Data) -> Callable[[], float]:
        from netcal.metrics import ECE

        def measure() -> float:
            error = ECE(NUM_BINS, equal_intervals=equal_intervals)
            columns = enumerate(data.probabilities.T)
            return float(np.mean([error.measure(c, (data.labels == k) * 1) for k, c in columns]))

        return measure

    return make


def numpy_ece(confidence: np.ndarray, correct: np.ndarray) -> float:
    """ECE of one class, as it is often written."""
    index = (confidence * NUM_BINS).astype(int).clip(0, NUM_BINS - 1)
    gaps = np.bincount(index, confidence) - np.bincount(index, correct)
    return float(np.abs(gaps).sum() / confidence.size)


def numpy_sce(data: Data) -> Callable[[], float]:
    columns = data.probabilities.T
    return lambda: float(
        np.mean([numpy_ece(column, data.labels == k) for k, column in enumerate(columns)])
    )


def numpy_classwise_ace(data: Data) -> Callable[[], float]:
    """A sort of each class; equal probabilities stay in the order of the samples."""
    ends = np.arange(NUM_BINS) * len(data.labels) // NUM_BINS

    def measure() -> float:
        errors = []
        for k, column in enumerate(data.probabilities.T):
            order = np.argsort(column)
            gaps = column[order].astype(np.float64) - (data.labels[order] == k)
            errors.append(np.abs(np.add.reduceat(gaps, ends)).sum() / gaps.size)
        return float(np.mean(errors))

    return measure


def numpy_aurc(data: Data) -> Callable[[], float]:
    """A sort and a cumulative sum; equal confidences stay in the order of the samples."""

    def measure() -> float:
        confidence = data.probabilities.max(axis=1)
        errors = data.probabilities.argmax(axis=1) != data.labels
        cumulative = np.cumsum(errors[np.argsort(-confidence)])
        return float(np.mean(cumulative / np.arange(1, errors.size + 1)))

    return measure


def sklearn_nll(data: Data) -> Callable[[], float]:
    classes = np.arange(data.num_classes)
    return lambda: float(sklearn.metrics.log_loss(data.labels, data.probabilities, labels=classes))


def sklearn_brier(data: Data) -> Callable[[], float]:
    classes = np.arange(data.num_classes)
    return lambda: float(
        sklearn.metrics.brier_score_loss(
            data.labels, data.probabilities, labels=classes, scale_by_half=False
        )
    )


def our_bootstrap(data: Data) -> Callable[[], float]:
    arguments = data.labels, data.probabilities
    return lambda: bootstrap_interval("ece", *arguments, num_resamples=RESAMPLES).high


def torchmetrics_bootstrap(data: Data) -> Callable[[], float]:
    """A hundredth of the resamples."""
    from torchmetrics.classification import MulticlassCalibrationError
    from torchmetrics.wrappers import BootStrapper

    probabilities, labels = data.torch()

    def measure() -> float:
        metric = BootStrapper(
            MulticlassCalibrationError(data.num_classes, NUM_BINS),
            num_bootstraps=TORCHMETRICS_RESAMPLES,
            quantile=0.975,
            sampling_strategy="multinomial",
        )
        metric.update(probabilities, labels)
        return float(metric.compute()["quantile"])

    return measure


def scipy_bootstrap(data: Data) -> Callable[[], float]:
    """Of `numpy_ece`, all resamples, confidences taken once."""

    def measure() -> float:
        confidence = data.probabilities.max(axis=1)
        correct = data.probabilities.argmax(axis=1) == data.labels
        result = scipy.stats.bootstrap(
            (confidence, correct),
            numpy_ece,
            n_resamples=RESAMPLES,
            batch=10,
            vectorized=False,
            paired=True,
            method="percentile",
            rng=0,
        )
        return float(result.confidence_interval.high)

    return measure


# Streams ------------------------------------------------------------------------------------------


def keras_stream(metric: Callable[[int], keras.metrics.Metric]) -> Make:
    """Reset, an update for each batch in graph mode, and the result."""

    def make(data: Data) -> Callable[[], float]:
        instance = metric(data.num_classes)
        update = tf.function(instance.update_state, reduce_retracing=True)
        batches = [tuple(map(tf.constant, batch)) for batch in data.batches()]

        def measure() -> float:
            instance.reset_state()
            for labels, probabilities in batches:
                update(labels, probabilities)
            return float(instance.result())

        return measure

    return make


def torchmetrics_stream(data: Data) -> Callable[[], float]:
    import torch
    from torchmetrics.classification import MulticlassCalibrationError

    metric = MulticlassCalibrationError(data.num_classes, NUM_BINS)
    batches = [tuple(map(torch.from_numpy, batch)) for batch in data.batches()]

    def measure() -> float:
        metric.reset()
        for labels, probabilities in batches:
            metric.update(probabilities, labels)
        return float(metric.compute())

    return measure


def torchmetrics_classwise_stream(data: Data) -> Callable[[], float]:
    """A binary calibration error for each class; it has no classwise one."""
    import torch
    from torchmetrics.classification import BinaryCalibrationError

    errors = [BinaryCalibrationError(NUM_BINS) for _ in range(data.num_classes)]
    batches = [tuple(map(torch.from_numpy, batch)) for batch in data.batches()]

    def measure() -> float:
        for error in errors:
            error.reset()
        for labels, probabilities in batches:
            for k, error in enumerate(errors):
                error.update(probabilities[:, k], (labels == k).long())
        return float(torch.stack([error.compute() for error in errors]).mean())

    return measure


ONCE: dict[str, dict[str, Make]] = {
    "ECE": {
        OURS: function(metrics.expected_calibration_error),
        "torchmetrics": torchmetrics_ece,
        "netcal": netcal_ece,
    },
    "SCE": {
        OURS: function(metrics.static_calibration_error),
        "torchmetrics": torchmetrics_sce,
        "netcal": netcal_classwise(equal_intervals=True),
        "NumPy, SciPy": numpy_sce,
    },
    "classwise ACE": {
        OURS: function(metrics.classwise_adaptive_calibration_error),
        "netcal": netcal_classwise(equal_intervals=False),
        "NumPy, SciPy": numpy_classwise_ace,
    },
    "AURC": {OURS: function(metrics.aurc), "NumPy, SciPy": numpy_aurc},
    "NLL": {OURS: function(metrics.negative_log_likelihood), "scikit-learn": sklearn_nll},
    "Brier": {OURS: function(metrics.brier_score), "scikit-learn": sklearn_brier},
    f"ECE, {RESAMPLES} resamples": {
        OURS: our_bootstrap,
        "torchmetrics": torchmetrics_bootstrap,
        "NumPy, SciPy": scipy_bootstrap,
    },
}
STREAMED: dict[str, dict[str, Make]] = {
    "ECE, stream": {
        OURS: keras_stream(lambda _: streaming.ExpectedCalibrationError()),
        "torchmetrics": torchmetrics_stream,
        "Keras": keras_stream(lambda _: keras.metrics.SparseCategoricalAccuracy()),
    },
    "SCE, stream": {
        OURS: keras_stream(lambda k: streaming.StaticCalibrationError(num_classes=k)),
        "torchmetrics": torchmetrics_classwise_stream,
        "Keras": keras_stream(lambda _: keras.metrics.SparseCategoricalAccuracy()),
    },
}
# Time of which this many are wanted over the time of the call.
EXTRAPOLATED = {(f"ECE, {RESAMPLES} resamples", "torchmetrics"): RESAMPLES / TORCHMETRICS_RESAMPLES}


# Measuring ----------------------------------------------------------------------------------------


def timed(call: Callable[[], float]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def medians(calls: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median seconds of a call, all measured in turn after one that loads, traces and allocates."""
    seconds = {name: [timed(call)] for name, call in calls.items()}
    repeated = [name for name in calls if seconds[name][0] < REPEATED_BELOW]
    for name in repeated:
        seconds[name] = [timed(calls[name])]
    one_round = sum(seconds[name][0] for name in repeated)
    rounds = min(200, int(ROUNDS_SECONDS / max(one_round, 1e-9)))
    for _ in range(rounds if one_round > ROUNDS_SECONDS else max(2, rounds)):
        for name in repeated:
            seconds[name].append(timed(calls[name]))
    return {name: float(np.median(values)) for name, values in seconds.items()}


def peak_share(call: Callable[[], float], data: Data) -> float:
    """Peak of what is allocated during a call, over the size of the probabilities."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / data.probabilities.nbytes


def measure(
    name: str, makes: dict[str, Make], data: Data, per_element: dict[tuple[str, str], float]
) -> list[str]:
    """A row of the table; `per_element` keeps the seconds of calls, to foresee the largest's."""
    size = data.probabilities.size
    used = {
        peer: make
        for peer, make in makes.items()
        if peer not in MISSING
        and (data.probabilities.shape != LARGEST or per_element[name, peer] * size < PEER_LIMIT)
    }
    calls = {peer: make(data) for peer, make in used.items()}
    seconds = medians(calls)
    if data.num_classes == LARGEST[1]:
        per_element.update({(name, peer): value / size for peer, value in seconds.items()})
    memory = "" if name in STREAMED else f"{peak_share(calls[OURS], data):.0%}"
    cells = [name, "{:,} x {:,}".format(*data.probabilities.shape)]
    cells += [f"{1000 * seconds[OURS]:,.1f}", memory]
    for peer in PEERS:
        if peer not in makes:
            cells.append("")
        elif peer in MISSING:
            cells.append("not installed")
        elif peer not in seconds:
            cells.append(f"> {PEER_LIMIT:.0f} s")
        else:
            factor = EXTRAPOLATED.get((name, peer), 1.0)
            ratio = factor * seconds[peer] / seconds[OURS]
            text = f"{'~' if factor > 1 else ''}{ratio:.{2 if ratio < 10 else 0}f}"
            cells.append(f"[red]{text} ![/]" if ratio < 1 else text)
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out the largest size")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if "torchmetrics" not in MISSING:
        import torch

        # On a machine with other work, a second thread made it up to twenty times slower.
        torch.set_num_threads(1)
    progress = Console(stderr=True)
    sizes = list(SIZES)
    if not options.quick:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if free >= LARGEST_NEEDS:
            sizes.append(LARGEST)
        else:
            needed = f"{LARGEST_NEEDS / 1e9:.0f} GB"
            progress.print(f"{LARGEST} is left out: {free / 1e9:.0f} GB are free, not {needed}")
    rows: dict[str, list[list[str]]] = {name: [] for name in ONCE | STREAMED}
    per_element: dict[tuple[str, str], float] = {}
    for samples, num_classes in sizes:
        data = make_data(samples, num_classes)
        measured = ONCE if (samples, num_classes) == LARGEST else ONCE | STREAMED
        for name in track(measured, f"{samples:,} x {num_classes:,}", console=progress):
            rows[name].append(measure(name, measured[name], data, per_element))
    table = Table(
        title="Metrics: ours in ms, peers as multiples of ours (below 1 the peer is faster)"
    )
    for heading in ("Measure", "Size", "Ours, ms", "Peak/input", *PEERS):
        table.add_column(heading, justify="left" if heading == "Measure" else "right")
    for group in rows.values():
        for row in group:
            table.add_row(*row, end_section=row is group[-1])
    Console(width=None if Console().is_terminal else 140).print(table)
    print(
        f"Streams: {BATCHES} batches of {BATCH} at most, and the result. "
        f"~: extrapolated from {TORCHMETRICS_RESAMPLES} resamples."
    )


if __name__ == "__main__":
    main()
