"""The commands that train and compare."""

from __future__ import annotations

import contextlib
import json
import os
import re
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_origin

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from lsplus_tf.cli.console import terminal
from lsplus_tf.cli.forecast import show_forecast
from lsplus_tf.cli.options import DataDir, names
from lsplus_tf.errors import FailedRunsError, InputError, check_count, counted

if TYPE_CHECKING:
    from lsplus_tf.config import Experiment
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
        help="So many runs at once on this machine, each in a process and on a GPU of its own.",
        show_default="1, in this process",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="Of the Ray cluster.", metavar="HOST:PORT", show_default="auto"),
]
CpusPerRun = Annotated[
    int | None,
    typer.Option(help="Cores that a run asks the Ray cluster for.", show_default="1"),
]
Retries = Annotated[
    int | None,
    typer.Option(
        help="How often a run that failed is begun again, from where it was saved. Wrong settings "
        "or data are not tried again.",
        show_default="2; 0 in this process",
    ),
]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard",
        help="Only the I-th of N parts of the runs, for N calls beside each other.",
        metavar="I/N",
    ),
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
    methods: Methods = None,
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

    Runs that are already finished in the folder are kept, so a second call takes seconds and an
    interrupted one goes on where it was. Several calls may share the runs of a folder. With
    --shard, the call that ends last prints the table.

    Example: lsplus-tf reproduce configs/digits.yaml
    """
    experiment, folder = _read(config, data_dir, out, overrides)
    engine, part = _engine(executor, workers, address, cpus_per_run), _shard(shard)
    if dry_run:
        show_forecast(experiment, folder, names(methods), _numbers(seeds), part, workers or 1)
        return
    from lsplus_tf import files
    from lsplus_tf.training.several_hosts import hosts

    with files.given_as("--out", "name"):
        _check_report(folder, methods, seeds)
        try:
            _train(experiment, folder, methods, seeds, part, engine, retries)
        except FailedRunsError:
            with contextlib.suppress(InputError):  # no run is finished
                _report(folder, methods, seeds)
            raise
        if hosts().is_chief:
            _report(folder, methods, seeds, whole=part is not None)


def train(
    config: ConfigFile,
    data_dir: DataDir = None,
    out: Out = None,
    overrides: Overrides = None,
    methods: Methods = None,
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
    experiment, folder = _read(config, data_dir, out, overrides)
    engine, part = _engine(executor, workers, address, cpus_per_run), _shard(shard)
    if dry_run:
        show_forecast(experiment, folder, names(methods), _numbers(seeds), part, workers or 1)
        return
    _train(experiment, folder, methods, seeds, part, engine, retries)


def report(
    runs: Annotated[str, typer.Argument(help="The experiment's folder.", metavar="RUNS")],
    methods: Methods = None,
    seeds: Seeds = None,
) -> None:
    """Print the table of the finished runs in RUNS and write tables and figures to RUNS/report.

    With --methods or --seeds they go to RUNS/report_selected.

    Example: lsplus-tf report runs/digits
    """
    from lsplus_tf import files

    with files.given_as("RUNS", "name"):
        _report(files.expanded(runs, "RUNS"), methods, seeds)


def list_methods() -> None:
    """List the methods that a config can name, with their settings and defaults, and calibrators.

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


def _read(
    path: Path, data_dir: Path | None, out: str | None, overrides: list[str] | None
) -> tuple[Experiment, Path]:
    from lsplus_tf import files
    from lsplus_tf.config import load_config

    changes = list(overrides or ())
    if data_dir is not None:
        # In quotes: a path may look like a number or a list to YAML.
        changes.append(f"dataset.data_dir={json.dumps(str(data_dir), ensure_ascii=False)}")
    experiment = load_config(path, changes)
    return experiment, files.expanded(Path("runs") / experiment.name if out is None else out)


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
    if workers in (None, 1):
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


def _train(
    experiment: Experiment,
    folder: Path,
    methods: str | None,
    seeds: str | None,
    shard: Shard | None,
    engine: Engine | None,
    retries: int | None,
) -> None:
    from lsplus_tf.cli.progress import TerminalProgress
    from lsplus_tf.experiments import run_experiment

    if retries is None:
        retries = 0 if engine is None else 2
    check_count("--retries", retries, least=0)
    with TerminalProgress(terminal()) as observer:
        run_experiment(
            experiment,
            folder,
            observer=observer,
            methods=names(methods),
            seeds=_numbers(seeds),
            shard=shard,
            engine=engine,
            retries=retries,
        )


def _report(folder: Path, methods: str | None, seeds: str | None, *, whole: bool = False) -> None:
    """The report of what is finished; with `whole` only if that is all."""
    from lsplus_tf import files
    from lsplus_tf.paper import comparison, run_figures
    from lsplus_tf.results import Report, gather

    results = gather(folder, names(methods), _numbers(seeds))
    console = terminal()
    if whole and results.missing:
        others = ("run of other shards is", "runs of other shards are")
        console.print(
            f"{counted(len(results.missing), *others)} not finished; the last shard prints the "
            f"table, and lsplus-tf report {escape(str(folder))} what there is.",
            highlight=False,
            soft_wrap=True,
        )
        return
    if results.missing:
        missing = ", ".join(f"{run.method} seed {run.seed}" for run in results.missing)
        console.print(
            f"Not finished, and not in the table: {missing}", highlight=False, soft_wrap=True
        )
    beside = comparison.beside_printed(results)
    extra = [] if beside is None else [partial(comparison.write_files, beside)]
    extra.append(partial(run_figures.write_figures, results))
    report = Report(results)
    written = report.write(_report_name(methods, seeds), extra)
    report.print(console)
    if beside is not None:
        console.print(comparison.rich_table(beside))
    console.print("Written:", highlight=False)
    for path in written:
        console.print(f"  {escape(files.shown(path))}", highlight=False, soft_wrap=True)


def _check_report(folder: Path, methods: str | None, seeds: str | None) -> None:
    """Find before the training what is in the way of the report after it."""
    from lsplus_tf import files
    from lsplus_tf.experiments.folder import REPORT_FOLDER

    report = folder / _report_name(methods, seeds)
    if os.path.lexists(report):
        files.check_output(report, REPORT_FOLDER)


def _report_name(methods: str | None, seeds: str | None) -> str:
    from lsplus_tf.config.experiment import REPORT, REPORT_SELECTED

    # What was narrowed does not replace the whole.
    return REPORT if methods is None and seeds is None else REPORT_SELECTED


def _numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--seeds: expected numbers such as 0,1,2; received {text!r}") from error
