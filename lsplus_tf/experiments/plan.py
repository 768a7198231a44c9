"""Which runs an experiment has, and in which order they can be made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lsplus_tf.config import Experiment
from lsplus_tf.errors import InputError


@dataclass(frozen=True)
class Run:
    """One training: a method and a seed."""

    method: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Where the run lies in the experiment's folder."""
        return out / self.method / f"seed_{self.seed}"


def plan_runs(
    experiment: Experiment,
    methods: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
) -> list[Run]:
    """The runs in an order in which every run comes after those it needs.

    Parameters
    ----------
    experiment : the config.
    methods, seeds : narrow the runs; None takes all. Runs that are needed are added: LS+ takes its
        class accuracies from hard-label runs, self-training its teacher.

    Raises
    ------
    InputError : a method or seed that the config does not have.
    """
    _check("methods", methods, experiment.methods)
    _check("seeds", seeds, experiment.seeds)
    wanted = [
        Run(method, seed)
        for method in experiment.methods
        for seed in experiment.seeds
        if (methods is None or method in methods) and (seeds is None or seed in seeds)
    ]
    ordered: dict[Run, None] = {}
    for run in wanted:
        ordered |= dict.fromkeys([*needed_runs(experiment, run), run])
    return list(ordered)


def needed_runs(experiment: Experiment, run: Run) -> list[Run]:
    """The runs whose results a run starts from. They need no others."""
    sources = experiment.source_seeds(run.method, run.seed)
    hard_labels = experiment.hard_label_method
    assert hard_labels is not None or not sources  # the config was checked
    return [Run(str(hard_labels), seed) for seed in sources]


def _check(what: str, chosen: Collection[object] | None, known: Collection[object]) -> None:
    for item in chosen or ():
        if item not in known:
            names = ", ".join(str(k) for k in known)
            hint = "; add seeds with --set seeds=[0,1,2]" if what == "seeds" else ""
            raise InputError(f"--{what}: the config has {names}; received {item}{hint}")
