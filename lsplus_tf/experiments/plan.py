"""Which runs an experiment has, and in which order they can be made."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsplus_tf.config import Experiment
from lsplus_tf.errors import InputError


@dataclass(frozen=True)
class Run:
    """One training: a method, by its name in the config, and a seed.

    Attributes
    ----------
    method : str
    seed : int

    Examples
    --------
    >>> run = Run("ls_plus", 0)
    >>> str(run), run.folder(Path("runs/digits")).as_posix()
    ('ls_plus seed 0', 'runs/digits/ls_plus/seed_0')
    """

    method: str
    seed: int

    def folder(self, out: str | Path) -> Path:
        """Where the run lies in the experiment's folder."""
        return Path(out) / self.method / f"seed_{self.seed}"

    def __str__(self) -> str:
        return f"{self.method} seed {self.seed}"


@dataclass(frozen=True)
class Shard:
    """The `index`-th of `count` parts of an experiment's runs, counted from 1.

    Attributes
    ----------
    index : int
    count : int

    Raises
    ------
    InputError
        `index` is not in 1..`count`.

    Examples
    --------
    >>> from lsplus_tf.config import load_config
    >>> experiment = load_config("digits")
    >>> all_runs = plan_runs(experiment)
    >>> parts = [plan_runs(experiment, shard=Shard(index, 4)) for index in (1, 2, 3, 4)]
    >>> set(all_runs) == set().union(*parts)
    True
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise InputError(
                f"--shard: expected I/N with I from 1 to N, received {self.index}/{self.count}"
            )


def plan_runs(
    experiment: Experiment,
    methods: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
    shard: Shard | None = None,
) -> list[Run]:
    """The runs in an order in which every run comes after those it needs.

    Parameters
    ----------
    experiment : Experiment
        The config.
    methods, seeds : collection, optional
        Narrow the runs; None takes all seeds, and all methods but the optional ones. Runs that are
        needed are added: LS+ takes its class accuracies from hard-label runs, self-training its
        teacher.
    shard : Shard, optional
        Of these runs, a part. The runs that need no others are dealt out first, one to each shard
        in turn, then the others. A shard begins with its runs of the first kind; what the others
        need comes before them, if another shard has it too.

    Raises
    ------
    InputError
        A method or seed that the config does not have.

    Examples
    --------
    >>> from lsplus_tf.config import load_config
    >>> [str(run) for run in plan_runs(load_config("digits"), ["ls_plus"], [0])]
    ['hard_labels seed 0', 'ls_plus seed 0']
    """
    check_names("methods", methods, experiment.methods)
    check_names("seeds", seeds, experiment.seeds)
    chosen = experiment.usual_methods if methods is None else methods
    wanted = [
        Run(method, seed)
        for method in experiment.methods
        for seed in experiment.seeds
        if method in chosen and (seeds is None or seed in seeds)
    ]
    runs = _after_what_they_need(experiment, wanted)
    if shard is None:
        return runs
    dealt = sorted(runs, key=lambda run: bool(needed_runs(experiment, run)))
    return _after_what_they_need(experiment, dealt[shard.index - 1 :: shard.count])


def _after_what_they_need(experiment: Experiment, runs: Sequence[Run]) -> list[Run]:
    ordered: dict[Run, None] = {}
    for run in runs:
        ordered |= dict.fromkeys([*needed_runs(experiment, run), run])
    return list(ordered)


def needed_runs(experiment: Experiment, run: Run) -> list[Run]:
    """The runs whose results a run starts from. They need no others."""
    sources = experiment.source_seeds(run.method, run.seed)
    hard_labels = experiment.hard_label_method
    assert hard_labels is not None or not sources  # the config was checked
    return [Run(str(hard_labels), seed) for seed in sources]


def check_names(what: str, chosen: Collection[object] | None, known: Collection[object]) -> None:
    """Raise `InputError` for a method or seed, as `what` says, that the config does not have."""
    for item in chosen or ():
        if item not in known:
            names = ", ".join(dict.fromkeys(map(str, known)))
            hint = "; add seeds with --set seeds=[0,1,2]" if what == "seeds" else ""
            raise InputError(f"--{what}: the config has {names}; received {item}{hint}")
