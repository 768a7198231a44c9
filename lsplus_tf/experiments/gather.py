"""Collect what the finished runs of an experiment left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lsplus_tf import metrics
from lsplus_tf.config import Experiment
from lsplus_tf.errors import InputError
from lsplus_tf.experiments.folder import read_experiment
from lsplus_tf.experiments.plan import Run, plan_runs
from lsplus_tf.training import run_folder


@dataclass(frozen=True)
class Results:
    """An experiment and its finished runs.

    Attributes
    ----------
    experiment : the config.
    folder : where the runs lie.
    runs : the finished ones, in the config's order of methods and seeds.
    missing : runs of the config that are not finished.
    """

    experiment: Experiment
    folder: Path
    runs: tuple[Run, ...]
    missing: tuple[Run, ...]

    @property
    def methods(self) -> list[str]:
        """Methods with at least one finished run, in the config's order."""
        return list(dict.fromkeys(run.method for run in self.runs))

    def of_method(self, method: str) -> list[Run]:
        return [run for run in self.runs if run.method == method]

    @property
    def ensembles(self) -> list[str]:
        """The config's ensembles of which at least two runs are finished."""
        return [m for m in self.experiment.ensembles if len(self.of_method(m)) > 1]

    def probabilities(
        self, run: Run, split: str = "test"
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The probabilities (N, K) that a run gave the samples of a split, and labels (N,)."""
        predictions = run_folder.read_predictions(run.folder(self.folder), split)
        return metrics.softmax(predictions.logits), predictions.labels

    def ensemble(
        self, method: str, split: str = "test"
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The mean probabilities (N, K) of a method's runs, a deep ensemble, and labels (N,).

        Source: Lakshminarayanan et al., NeurIPS 2017.
        """
        each = [self.probabilities(run, split) for run in self.of_method(method)]
        return np.mean([p for p, _ in each], axis=0), each[0][1]

    def metrics(self, split: str = "test") -> pd.DataFrame:
        """One row a run: method, seed, and the metrics as fractions."""
        return pd.DataFrame(
            [
                {
                    "method": run.method,
                    "seed": run.seed,
                    **run_folder.read_json(run.folder(self.folder), run_folder.METRICS)[split],
                }
                for run in self.runs
            ]
        )


def gather(
    folder: Path,
    methods: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
) -> Results:
    """The results that lie in an experiment's folder.

    Raises
    ------
    InputError : not the folder of an experiment, or no finished run in it.
    """
    experiment = read_experiment(folder)
    planned = plan_runs(experiment, methods, seeds)
    wanted = [
        Run(method, seed)
        for method in experiment.methods
        for seed in experiment.seeds
        if Run(method, seed) in planned
    ]
    runs = tuple(run for run in wanted if run.folder(folder).is_dir())
    if not runs:
        raise InputError(f"{folder}: no finished run yet")
    missing = tuple(run for run in wanted if run not in runs)
    return Results(experiment, folder, runs, missing)
