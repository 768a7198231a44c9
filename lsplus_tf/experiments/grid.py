"""The experiments of a grid, made one after the other, each in its own folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from lsplus_tf import files
from lsplus_tf.config import Experiment, Grid, load_grid
from lsplus_tf.errors import FailedRunsError, InputError, MissingDataError, RefusedRunsError
from lsplus_tf.experiments.engines import Engine
from lsplus_tf.experiments.execute import run_experiment
from lsplus_tf.experiments.folder import check_folder
from lsplus_tf.experiments.make import load_data
from lsplus_tf.experiments.observer import Observer
from lsplus_tf.experiments.plan import Run, Shard, check_names, plan_runs
from lsplus_tf.training.several_hosts import hosts

Made = TypeVar("Made")

GRID = "grid.yaml"
GRID_FOLDER = files.FolderKind(
    "a grid of experiments",
    # A process may have been killed when there was nothing but temporary files.
    lambda folder: (
        (folder / GRID).is_file() or all(p.name.startswith(f".{GRID}") for p in folder.iterdir())
    ),
    parts=None,
)


@dataclass(frozen=True)
class Part:
    """What is to be made of one experiment of a grid; `plan_runs` takes the last three.

    Attributes
    ----------
    key : str
        Its name in the grid.
    experiment : Experiment
    folder : pathlib.Path
        Its own, in the grid's.
    methods, seeds : tuple or None
        Those that are made, where they were narrowed.
    shard : Shard or None
        The part of these runs.
    """

    key: str
    experiment: Experiment
    folder: Path
    methods: tuple[str, ...] | None
    seeds: tuple[int, ...] | None
    shard: Shard | None

    @property
    def runs(self) -> list[Run]:
        return plan_runs(self.experiment, self.methods, self.seeds, self.shard)


def plan_grid(
    grid: Grid,
    out: Path,
    methods: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
    shard: Shard | None = None,
) -> list[Part]:
    """What is made of each experiment, in the grid's order.

    Parameters
    ----------
    grid : Grid
    out : Path
        The grid's folder.
    methods, seeds : collection, optional
        Narrow the runs, as in `plan_runs`; each is to be one of some experiment.
    shard : Shard, optional
        Of all runs together, a part: each experiment's are dealt out in turn, the first of them to
        the shard after that which had the last of the experiment before.

    Returns
    -------
    list of Part
        Without the experiments that have none of the methods, or of the seeds.

    Raises
    ------
    InputError
        A method or seed that no experiment has, or no experiment that has both.
    """
    every = grid.experiments.values()
    check_names("methods", methods, [m for each in every for m in each.methods])
    check_names("seeds", seeds, [seed for each in every for seed in each.seeds])
    parts, dealt = [], 0
    for key, experiment in grid.experiments.items():
        part = Part(
            key,
            experiment,
            out / key,
            None if methods is None else tuple(m for m in experiment.methods if m in methods),
            None if seeds is None else tuple(s for s in experiment.seeds if s in seeds),
            None,
        )
        if shard is not None:
            count = len(part.runs)
            turn = Shard((shard.index - 1 - dealt) % shard.count + 1, shard.count)
            part, dealt = replace(part, shard=turn), dealt + count
        parts.append(part)
    chosen = [part for part in parts if part.methods != () and part.seeds != ()]
    if not chosen:
        raise InputError("--methods: expected some with --seeds, no experiment has both")
    return chosen


def run_grid(
    grid: Grid,
    out: str | Path,
    *,
    only: Collection[str] | None = None,
    methods: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
    shard: Shard | None = None,
    observer: Observer | None = None,
    observe: Callable[[Part], AbstractContextManager[Observer]] | None = None,
    engine: Engine | None = None,
    retries: int = 0,
) -> None:
    """Train what is missing of every experiment, as `run_experiment` does of one.

    What is in the way of any of them is told before the first is begun: data and weights that are
    not there, folders that hold something else. An experiment that fails later does not keep the
    others from being made.

    Parameters
    ----------
    grid : Grid
        The config.
    out : str or Path
        The grid's folder, in which each experiment has its own.
    only : collection of str, optional
        Some of the experiments; see `Grid.only`.
    methods, seeds, shard
        As in `plan_grid`.
    observer : Observer, optional
        Is told of what is downloaded before the first run.
    observe : callable, optional
        Gives, for each experiment, a context manager with the observer of its runs.
    engine, retries
        As in `run_experiment`.

    Raises
    ------
    InputError
        As in `run_experiment`, and for a folder that holds another grid.
    FailedRunsError
        Some runs could not be made; all others are.
    RefusedRunsError
        It is both errors: no experiment could be made, each of an `InputError`.

    Examples
    --------
    What is in the way is told first:

    >>> from lsplus_tf.config import load_grid
    >>> try:
    ...     run_grid(load_grid("ols_paper").only(["vgg19"]), "out")
    ... except InputError as error:
    ...     print("expected a folder with" in str(error))
    True
    """
    out = check_grid(grid, out)
    parts = plan_grid(grid.only(only), out, methods, seeds, shard)

    def look(part: Part) -> None:
        if not all(run.folder(part.folder).exists() for run in part.runs):
            load_data(part.experiment, decode=False, observer=observer)

    each_part(parts, look)
    if hosts().is_chief:
        _write_grid(grid, out)
    failures: dict[str, Exception] = {}
    for part in parts:
        with (observe or _unobserved)(part) as told:
            try:
                run_experiment(
                    part.experiment,
                    part.folder,
                    observer=told,
                    methods=part.methods,
                    seeds=part.seeds,
                    shard=part.shard,
                    engine=engine,
                    retries=retries,
                )
            except (InputError, FailedRunsError) as error:
                failures[part.key] = error
    if failures:
        said = "; ".join(f"{key}: {error}" for key, error in failures.items())
        refused = all(isinstance(error, InputError) for error in failures.values())
        raise (RefusedRunsError if refused and len(failures) == len(parts) else FailedRunsError)(
            said
        )


def each_part(parts: Collection[Part], make: Callable[[Part], Made]) -> list[Made]:
    """What `make` gives for each part; of all parts together, the data that are missing."""
    made, missing = [], {}
    for part in parts:
        try:
            made.append(make(part))
        except MissingDataError as error:
            missing[part.key] = str(error)
        except InputError as error:
            raise InputError(f"{part.key}: {error}") from error
    if missing:
        by_text: dict[str, list[str]] = {}
        for key, text in missing.items():
            by_text.setdefault(text, []).append(key)
        said = "; ".join(f"{', '.join(keys)}: {text}" for text, keys in by_text.items())
        there = [part.key for part in parts if part.key not in missing]
        hint = f"; to make the others alone, add --only {','.join(there)}" if there else ""
        raise MissingDataError(f"{said}{hint}")
    return made


def read_grid(out: Path) -> Grid:
    """The grid that lies in `out`."""
    if not is_grid(out):
        raise InputError(f"{out}: not the folder of a grid, it has no {GRID}")
    return load_grid(out / GRID)


def is_grid(out: Path) -> bool:
    """Whether a folder is a grid's."""
    return (out / GRID).is_file()


def check_grid(grid: Grid, out: str | Path) -> Path:
    """The grid's folder, whose experiments all have the settings of those that lie there.

    Raises
    ------
    InputError
        It holds something else, or runs with other settings, of whichever experiment; or another
        process is at work there with other settings.
    """
    out = files.check_output(out, GRID_FOLDER)
    there = read_grid(out).experiments if is_grid(out) else {}
    others = [key for key in there if key not in grid.experiments]
    if others:
        raise InputError(
            f"--out: {out} holds a grid with {', '.join(others)}, which this one has not; name "
            "another --out"
        )
    for key, experiment in grid.experiments.items():
        try:
            check_folder(experiment, out / key, plan_runs(experiment, experiment.methods))
        except InputError as error:
            raise InputError(
                f"{error}; --set grid.NAME.KEY=VALUE changes one experiment alone"
            ) from error
    return out


def _write_grid(grid: Grid, out: Path) -> None:
    """Write `grid.yaml` if it says something else."""
    path, text = out / GRID, grid.to_yaml()
    with files.reporting(out), files.locked(path):
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        check_grid(grid, out)
        with files.written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _unobserved(part: Part) -> Iterator[Observer]:
    yield Observer()
