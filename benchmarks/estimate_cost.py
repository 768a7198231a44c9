"""What the papers' grids would take on one A100-class GPU: an estimate, nothing is measured.

Runs and steps are those that the packaged grids make, as `--dry-run` shows; multiply-adds and
activations are counted from the networks. What a GPU makes of them is assumed, by the constants
below; `gpu_check.py` measures it where there is a GPU.

    python benchmarks/estimate_cost.py
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass

import keras
from tabulate import tabulate

from lsplus_tf.backbones import build_classifier
from lsplus_tf.config import Experiment, load_grid
from lsplus_tf.datasets.known import RECORDS
from lsplus_tf.experiments import plan_runs

GRIDS = {"LS+": "ls_plus_paper", "OLS": "ols_paper"}
# Assumed: four fifths of RadImageNet train. The paper takes a sample and does not give its size.
TRAINING_IMAGES = {"radimagenet": 1_084_000}
PEAK = 312e12  # operations a second in 16 bits, dense: the A100's data sheet
BANDWIDTH = 1.555e12  # bytes a second, A100 of 40 GB: its data sheet
OF_PEAK, OF_BANDWIDTH = 0.4, 0.8  # assumed: what convolutions and elementwise kernels reach of it
PASSES = (
    5  # assumed: an activation is written, read, read again backward; its gradient likewise once
)
STEP = 0.015  # assumed: seconds that a step takes however small it is, from Python and launches
CORE_SECONDS = 3.7e-3  # measured, bench_input.py: decoding and LS+ augmentation of a 512 px JPEG
CORES = 8  # assumed: beside one GPU
PRICE = 2.0  # assumed: dollars an hour


@dataclass(frozen=True)
class Planned:
    """An experiment of a grid: its default methods with all seeds, without early stopping."""

    paper: str
    experiment: Experiment

    @property
    def network(self) -> tuple[str, tuple[int, ...]]:
        """Its name and the layers of its head."""
        return self.experiment.backbone.name, self.experiment.backbone.head

    @property
    def runs(self) -> int:
        return len(plan_runs(self.experiment))

    @property
    def steps(self) -> int:
        """Of each run, as a forecast counts them."""
        name = self.experiment.dataset.name
        images = TRAINING_IMAGES.get(name) or RECORDS[name].sizes["train"]
        return self.experiment.protocol.epochs * self.experiment.steps_per_epoch(images)


def planned() -> list[Planned]:
    """Every experiment of both papers."""
    return [
        Planned(paper, experiment)
        for paper, grid in GRIDS.items()
        for experiment in load_grid(grid).experiments.values()
    ]


@dataclass(frozen=True)
class Work:
    """Multiply-adds forward and elements of all activations of one image; weights."""

    multiply_adds: int
    activations: int
    weights: int

    def image_seconds(self) -> float:
        """On the GPU, forward and backward, in 16 bits: arithmetic and traffic do not overlap."""
        arithmetic = 3 * 2 * self.multiply_adds / (OF_PEAK * PEAK)
        traffic = PASSES * 2 * self.activations / (OF_BANDWIDTH * BANDWIDTH)
        return arithmetic + traffic

    def gpu_bytes(self, batch: int) -> int:
        """Weights, gradients and two moments in 32 bits, activations in 16."""
        return 4 * 4 * self.weights + 2 * batch * self.activations


def work_of(network: str, head: tuple[int, ...]) -> Work:
    """Counted at 224 x 224 x 3."""
    model = build_classifier(network, (224, 224, 3), 4, head=head)
    multiply_adds = activations = 0
    for layer in _leaves(model):
        outputs = [tuple(t.shape[1:]) for t in keras.tree.flatten(layer.output)]
        activations += sum(math.prod(shape) for shape in outputs)
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            places = math.prod(outputs[0][:-1])
            multiply_adds += places * math.prod(kernel.shape)
    return Work(multiply_adds, activations, model.count_params())


def _leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    experiments = planned()
    works = {network: work_of(*network) for network in (each.network for each in experiments)}
    networks = [
        {
            "network": network + (f", head {list(head)}" if head else ""),
            "10^9 multiply-adds": f"{work.multiply_adds / 1e9:.2f}",
            "10^6 activations": f"{work.activations / 1e6:.1f}",
            "10^6 weights": f"{work.weights / 1e6:.1f}",
            "images/s": f"{1 / work.image_seconds():,.0f}",
            "GiB at batch 64": f"{work.gpu_bytes(64) / 2**30:.1f}",
        }
        for (network, head), work in works.items()
    ]
    print(tabulate(networks, headers="keys", tablefmt="github", disable_numparse=True), "\n")
    rows = []
    for each in experiments:
        batch = each.experiment.protocol.batch_size
        on_gpu = batch * works[each.network].image_seconds()
        decoded_once = each.experiment.dataset.cache != "none"
        on_host = 0 if decoded_once else batch * CORE_SECONDS / CORES
        limits = {"a step's fixed cost": STEP, "the GPU": on_gpu, "decoding": on_host}
        limit = max(limits, key=limits.__getitem__)
        hours = each.runs * each.steps * limits[limit] / 3600
        rows.append(
            {
                "paper": each.paper,
                "data set": each.experiment.dataset.name,
                "network": each.experiment.backbone.name,
                "runs": each.runs,
                "steps of each": f"{each.steps:,}",
                "ms a step": f"{1000 * limits[limit]:.1f}",
                "limited by": limit,
                "GPU hours": f"{hours:,.0f}",
                "dollars": f"{PRICE * hours:,.0f}",
            }
        )
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True), "\n")
    for paper in GRIDS:
        of_paper = [each for each in experiments if each.paper == paper]
        runs = sum(each.runs for each in of_paper)
        steps = sum(each.runs * each.steps for each in of_paper)
        print(f"{paper}: {runs} runs, {steps:,} steps")


if __name__ == "__main__":
    main()
