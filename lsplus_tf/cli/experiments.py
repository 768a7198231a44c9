"""The commands that train and compare."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.progress import track
from rich.table import Table

from lsplus_tf.cli import reports
from lsplus_tf.cli.console import terminal
from lsplus_tf.cli.options import DataDir, names
from lsplus_tf.errors import FailedRunsError, InputError, check_count, counted

if TYPE_CHECKING:
    from lsplus_tf.config import Experiment, Grid
    from lsplus_tf.experiments.engines import Engine
    from lsplus_tf.experiments.plan import Shard


class Executor(StrEnum):
    """Where runs are made."""

    LOCAL = "local"
    RAY = "ray"


ConfigFile = Annotated[
    Path,
    typer.Argument(
        help="The experiment's YAML file, or the name of a packaged one, such as digits.",
        metavar="CONFIG",
    ),
]
Out = Annotated[
    str | None,
    typer.Option(help="The experiment's folder.", metavar="DIR", show_default="runs/NAME"),
]


def _check_overrides(overrides: list[str] | None) -> list[str] | None:
    """Tell of `--set epochs 3` before the 3 is told to be one argument too many."""
    from lsplus_tf.config.loading import check_override

    for override in overrides or ():
        check_override(override)
    return overrides


Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        callback=_check_overrides,
        help="Change a key of the config, such as protocol.epochs=3; repeat for more.",
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(help="Only these methods, separated by commas.", metavar="A,B"),
]
Seeds = Annotated[
    str | None, typer.Option(help="Only these seeds, separated by commas.", metavar="0,1")
]
RunsBy = Annotated[
    Executor, typer.Option("--executor", help="Make the runs on this machine, or on a Ray cluster.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Number of runs at once on this machine, each in its own process, and on its "
        "own GPU if there are several.",
        show_default="one after the other, in this process; of a grid in one beside",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="The address of the Ray cluster.", metavar="HOST:PORT", show_default="auto"),
]
CpusPerRun = Annotated[
    int | None,
    typer.Option(help="Cores that a run asks the Ray cluster for.", show_default="1"),
]
Retries = Annotated[
    int | None,
    typer.Option(
        help="How often a failed run is retried from its saved state. Invalid settings or "
        "data are not retried.",
        show_default="2; 0 in this process",
    ),
]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard",
        help="Only the I-th of N parts of the runs, for N calls side by side.",
        metavar="I/N",
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        help="Only these experiments of a grid, separated by commas: their names, or parts"
        " of them, such as resnet50.",
        metavar="A,B",
    ),
]
AllMethods = Annotated[
    bool, typer.Option("--all-methods", help="Also train the config's optional methods.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show the runs, steps, memory and disk space; train nothing."),
]


def reproduce(
    config: ConfigFile,
    data_dir: DataDir = None,
    out: Out = None,
    overrides: Overrides = None,
    only: Only = None,
    methods: Methods = None,
    all_methods: AllMethods = False,
    seeds: Seeds = None,
    executor: RunsBy = Executor.LOCAL,
    workers: Workers = None,
    address: Address = None,
    cpus_per_run: CpusPerRun = None,
    retries: Retries = None,
    shard: ShardOf = None,
    dry_run: DryRun = False,
) -> None:
    """Train every method and seed of CONFIG, then print the table and draw the figures.

    Finished runs in the folder are kept, so a second call takes seconds and an interrupted run
    continues where it was. Several calls may share the runs of a folder. With --shard, the call
    that ends last prints the table.

    CONFIG may be a grid of experiments, such as ls_plus_paper and ols_paper: the data sets and
    networks of a paper. Each experiment has its own folder, and the table joins them.

    Example: lsplus-tf reproduce configs/digits.yaml
    """
    job = _job(config, data_dir, out, overrides, only, methods, all_methods, seeds, shard)
    engine = _engine(executor, workers, address, cpus_per_run)
    if dry_run:
        job.forecast(workers or 1)
        return
    from lsplus_tf import files
    from lsplus_tf.training.several_hosts import hosts

    with files.given_as("--out", "name"):
        job.check_reports()
        try:
            job.train(engine, retries)
        except FailedRunsError:
            with contextlib.suppress(InputError):  # no run is finished
                job.report()
            raise
        if hosts().is_chief:
            job.report(whole=shard is not None)


def train(
    config: ConfigFile,
    data_dir: DataDir = None,
    out: Out = None,
    overrides: Overrides = None,
    only: Only = None,
    methods: Methods = None,
    all_methods: AllMethods = False,
    seeds: Seeds = None,
    executor: RunsBy = Executor.LOCAL,
    workers: Workers = None,
    address: Address = None,
    cpus_per_run: CpusPerRun = None,
    retries: Retries = None,
    shard: ShardOf = None,
    dry_run: DryRun = False,
) -> None:
    """Train like reproduce, without the report.

    LS+ needs the class accuracies of hard-label runs; those are made first if they are missing.

    Example: lsplus-tf train configs/digits.yaml --methods ls_plus --seeds 0
    """
    job = _job(config, data_dir, out, overrides, only, methods, all_methods, seeds, shard)
    engine = _engine(executor, workers, address, cpus_per_run)
    if dry_run:
        job.forecast(workers or 1)
        return
    job.train(engine, retries)


def report(
    runs: Annotated[
        str, typer.Argument(help="The folder of an experiment, or of a grid.", metavar="RUNS")
    ],
    methods: Methods = None,
    seeds: Seeds = None,
) -> None:
    """Print the table of the finished runs in RUNS and write tables and figures to RUNS/report.

    With --methods or --seeds they go to RUNS/report_selected.

    Example: lsplus-tf report runs/digits
    """
    from lsplus_tf import files
    from lsplus_tf.experiments.grid import is_grid

    with files.given_as("RUNS", "name"):
        folder = files.expanded(runs, "RUNS")
        make = reports.report_grid if is_grid(folder) else reports.report_experiment
        make(folder, names(methods), _numbers(seeds))


def verify(
    folder: Annotated[
        str,
        typer.Argument(
            help="The folder of a finished run, of an experiment, or of a grid.", metavar="FOLDER"
        ),
    ],
) -> None:
    """Check every file of the finished runs in FOLDER against what was written.

    A run's manifest.json has the SHA-256 of its other files, and the versions that made them. Exit
    code 1 means that a run is damaged, or is in the place of another. The command that made a
    damaged run sets it aside and makes it anew. Runs of versions before the manifest are only read.

    Example: lsplus-tf verify runs/digits
    """
    from lsplus_tf import files
    from lsplus_tf.experiments.folder import find_runs, out_of_place
    from lsplus_tf.manifest import read_manifest
    from lsplus_tf.training import run_folder

    place, console = files.expanded(folder, "FOLDER"), terminal()
    damaged, misplaced, unmarked, made_by = 0, 0, 0, set()
    runs = find_runs(place)
    for run in track(
        runs,
        description="verifying",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        damage = run_folder.find_damage(run)
        # A run by itself may have any name.
        if not damage and run != place and (why := out_of_place(run)) is not None:
            misplaced += 1
            console.print(
                f"[bold red]misplaced[/]  {escape(files.shown(run))}: {escape(why)}",
                highlight=False,
                soft_wrap=True,
            )
            continue
        damaged += bool(damage)
        for name, why in damage.items():
            console.print(
                f"[bold red]damaged[/]  {escape(files.shown(run / name))}: {escape(why)}",
                highlight=False,
                soft_wrap=True,
            )
        if not damage:
            found = read_manifest(run)
            unmarked += found is None
            if found is not None:
                made_by.add(", ".join(f"{name} {each}" for name, each in found.made_by.items()))
    if unmarked:
        console.print(
            f"{counted(unmarked, 'run')} of format version 0, without a manifest: the files can be "
            "read, but not checked against what was written.",
            highlight=False,
            soft_wrap=True,
        )
    whole = len(runs) - damaged - misplaced - unmarked
    if whole:
        console.print(
            f"{counted(whole, 'run')} whole, made by {escape('; or '.join(sorted(made_by)))}",
            highlight=False,
            soft_wrap=True,
        )
    if damaged:
        console.print(
            f"{counted(damaged, 'run')} damaged. Give the command that made them again: it "
            "sets them aside and makes them anew.",
            highlight=False,
            soft_wrap=True,
        )
    if misplaced:
        console.print(
            f"{counted(misplaced, 'run')} where another belongs; move them to where they belong, "
            "or away.",
            highlight=False,
            soft_wrap=True,
        )
    if damaged or misplaced:
        raise typer.Exit(1)


def list_methods() -> None:
    """List the methods and calibrators that a config can name, with settings and defaults.

    Example: lsplus-tf methods
    """
    from lsplus_tf.config import CalibratorName
    from lsplus_tf.config.methods import METHODS, MethodSettings

    console = terminal()
    for name, kind in METHODS.items():
        console.print(f"[bold]{name}[/]  {escape(str(kind.__doc__))}", highlight=False)
        settings = Table.grid(padding=(0, 2))
        for key, field in kind.model_fields.items():
            if key not in ("loss", *MethodSettings.model_fields):
                default = "null" if field.default is None else escape(str(field.default))
                choices = (
                    get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
                )
                notes = [" or ".join(choices), field.description or ""]
                settings.add_row(key, default, escape("; ".join(filter(None, notes))))
        console.print(Padding(settings, (0, 0, 1, 4)))
    mixup = MethodSettings.model_fields["mixup"]
    console.print(
        f"All take [bold]mixup[/] ({mixup.default}): {mixup.description}", highlight=False
    )
    calibrators = ", ".join(get_args(CalibratorName))
    console.print(f"\n[bold]calibrators[/] takes: {calibrators}", highlight=False)


@dataclass(frozen=True)
class _Job:
    """What a command makes: an experiment or a grid, in a folder, or some of it."""

    config: Experiment | Grid
    folder: Path
    only: list[str] | None
    methods: list[str] | None
    seeds: list[int] | None
    shard: Shard | None
    report_name: str

    def forecast(self, at_once: int) -> None:
        from lsplus_tf.cli.forecast import refuse, show_forecast, show_grid_forecast
        from lsplus_tf.config import Experiment

        some = (self.methods, self.seeds, self.shard, at_once)
        if isinstance(self.config, Experiment):
            refuse([show_forecast(self.config, self.folder, *some)])
        else:
            refuse(show_grid_forecast(self.config, self.folder, self.only, *some))

    def train(self, engine: Engine | None, retries: int | None) -> None:
        from lsplus_tf.cli.progress import TerminalProgress
        from lsplus_tf.config import Experiment
        from lsplus_tf.experiments import LocalProcesses, run_experiment
        from lsplus_tf.experiments.grid import Part, run_grid
        from lsplus_tf.training.several_hosts import hosts

        if engine is None and not isinstance(self.config, Experiment) and hosts().count == 1:
            engine = LocalProcesses(1)  # of many trainings, whose memory is not given back
        if retries is None:
            retries = 0 if engine is None else 2
        check_count("--retries", retries, least=0)
        console = terminal()
        some: dict[str, Any] = {
            "methods": self.methods,
            "seeds": self.seeds,
            "shard": self.shard,
            "engine": engine,
            "retries": retries,
        }
        if isinstance(self.config, Experiment):
            with TerminalProgress(console) as observer:
                run_experiment(self.config, self.folder, observer=observer, **some)
            return

        def observe(part: Part) -> TerminalProgress:
            console.print(f"[bold]{escape(part.key)}[/]", highlight=False)
            return TerminalProgress(console)

        look = TerminalProgress(console)
        run_grid(self.config, self.folder, only=self.only, observer=look, observe=observe, **some)

    def check_reports(self) -> None:
        """Find before the training what is in the way of the reports after it."""
        from lsplus_tf.config import Experiment

        keys = (
            () if isinstance(self.config, Experiment) else self.config.only(self.only).experiments
        )
        reports.check_reports(self.folder, [self.folder / key for key in keys], self.report_name)

    def report(self, *, whole: bool = False) -> None:
        from lsplus_tf.config import Experiment

        some: dict[str, Any] = {"name": self.report_name, "whole": whole}
        if isinstance(self.config, Experiment):
            reports.report_experiment(self.folder, self.methods, self.seeds, **some)
        else:
            reports.report_grid(self.folder, self.methods, self.seeds, only=self.only, **some)


def _job(
    path: Path,
    data_dir: Path | None,
    out: str | None,
    overrides: list[str] | None,
    only: str | None,
    methods: str | None,
    all_methods: bool,
    seeds: str | None,
    shard: str | None,
) -> _Job:
    from lsplus_tf.config import Experiment

    found, folder = _read(path, data_dir, out, overrides)
    single = isinstance(found, Experiment)
    if only is not None and single:
        raise InputError(f"--only: {path} is one experiment, expected a grid of them")
    if all_methods and methods is not None:
        raise InputError("--all-methods: expected this or --methods, received both")
    chosen, numbers = names(methods), _numbers(seeds)
    name = reports.report_name(chosen, numbers)
    if all_methods:
        every = [found] if isinstance(found, Experiment) else found.experiments.values()
        chosen = list(dict.fromkeys(method for each in every for method in each.methods))
    return _Job(found, folder, names(only), chosen, numbers, _shard(shard), name)


def _read(
    path: Path, data_dir: Path | None, out: str | None, overrides: list[str] | None
) -> tuple[Experiment | Grid, Path]:
    from lsplus_tf import files
    from lsplus_tf.config import read_config

    changes = list(overrides or ())
    if data_dir is not None:
        # In quotes: a path may look like a number or a list to YAML.
        changes.append(f"dataset.data_dir={json.dumps(str(data_dir), ensure_ascii=False)}")
    found = read_config(path, changes)
    return found, files.expanded(Path("runs") / found.name if out is None else out)


def _engine(
    executor: Executor, workers: int | None, address: str | None, cpus_per_run: int | None
) -> Engine | None:
    """What makes the runs; None is this process."""
    if executor is Executor.RAY:
        if workers is not None:
            raise InputError("--workers: the Ray cluster decides how many runs it makes at once")
        from lsplus_tf.experiments.ray_cluster import RayCluster

        return RayCluster(address or "auto", 1 if cpus_per_run is None else cpus_per_run)
    for option, value in (("--address", address), ("--cpus-per-run", cpus_per_run)):
        if value is not None:
            raise InputError(f"{option}: only --executor ray takes it")
    if workers is None:
        return None
    from lsplus_tf.experiments import LocalProcesses

    return LocalProcesses(workers)


def _shard(text: str | None) -> Shard | None:
    from lsplus_tf.experiments import Shard

    if text is None:
        return None
    numbers = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if numbers is None:
        raise InputError(f"--shard: expected I/N such as 1/4, received {text!r}")
    return Shard(int(numbers[1]), int(numbers[2]))


def _numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--seeds: expected numbers such as 0,1,2; received {text!r}") from error
