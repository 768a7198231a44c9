"""The commands that train and compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_origin

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from lsplus_tf.cli.options import DataDir
from lsplus_tf.errors import InputError

if TYPE_CHECKING:
    from lsplus_tf.config import Experiment
    from lsplus_tf.experiments.gather import Results

ConfigFile = Annotated[Path, typer.Argument(help="The experiment's YAML file.", metavar="CONFIG")]
Out = Annotated[
    Path | None, typer.Option(help="The experiment's folder.", show_default="runs/NAME")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
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


def reproduce(
    config: ConfigFile,
    data_dir: DataDir = None,
    out: Out = None,
    overrides: Overrides = None,
    methods: Methods = None,
    seeds: Seeds = None,
) -> None:
    """Train every method and seed of CONFIG, then print the table and draw the figures.

    Runs that are already finished in the folder are kept, so a second call takes seconds and an
    interrupted one goes on where it was.

    Example: lsplus-tf reproduce configs/digits.yaml
    """
    experiment, folder = _read(config, data_dir, out, overrides)
    _train(experiment, folder, methods, seeds)
    _report(folder, methods, seeds)


def train(
    config: ConfigFile,
    data_dir: DataDir = None,
    out: Out = None,
    overrides: Overrides = None,
    methods: Methods = None,
    seeds: Seeds = None,
) -> None:
    """Train like reproduce, without the report.

    LS+ needs the class accuracies of hard-label runs; those are made first if they are missing.

    Example: lsplus-tf train configs/digits.yaml --methods ls_plus --seeds 0
    """
    experiment, folder = _read(config, data_dir, out, overrides)
    _train(experiment, folder, methods, seeds)


def report(
    runs: Annotated[Path, typer.Argument(help="The experiment's folder.", metavar="RUNS")],
    methods: Methods = None,
    seeds: Seeds = None,
) -> None:
    """Print the table of the finished runs in RUNS and write tables and figures to RUNS/report.

    With --methods or --seeds they go to RUNS/report_selected.

    Example: lsplus-tf report runs/digits
    """
    _report(runs, methods, seeds)


def list_methods() -> None:
    """List the methods that a config can name, with their settings and defaults, and calibrators.

    Example: lsplus-tf methods
    """
    from lsplus_tf.config import CalibratorName
    from lsplus_tf.methods import METHODS, MethodSettings

    console = Console()
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
    names = ", ".join(get_args(CalibratorName))
    console.print(f"\n[bold]calibrators[/] takes: {names}", highlight=False)


def _read(
    path: Path, data_dir: Path | None, out: Path | None, overrides: list[str] | None
) -> tuple[Experiment, Path]:
    from lsplus_tf.config import load_config

    changes = list(overrides or ())
    if data_dir is not None:
        # In quotes: a path may look like a number or a list to YAML.
        changes.append(f"dataset.data_dir={json.dumps(str(data_dir), ensure_ascii=False)}")
    experiment = load_config(path, changes)
    return experiment, out if out is not None else Path("runs") / experiment.name


def _train(experiment: Experiment, folder: Path, methods: str | None, seeds: str | None) -> None:
    from lsplus_tf.experiments import run_experiment
    from lsplus_tf.progress import TerminalProgress

    with TerminalProgress(Console()) as observer:
        run_experiment(
            experiment,
            folder,
            observer=observer,
            methods=_names(methods),
            seeds=_numbers(seeds),
        )


def _report(folder: Path, methods: str | None, seeds: str | None) -> None:
    from lsplus_tf.experiments import gather
    from lsplus_tf.paper import comparison
    from lsplus_tf.report import REPORT, write_report
    from lsplus_tf.tables import compare, rich_table

    results: Results = gather(folder, _names(methods), _numbers(seeds))
    console = Console()
    if results.missing:
        names = ", ".join(f"{run.method} seed {run.seed}" for run in results.missing)
        console.print(
            f"Not finished, and not in the table: {names}", highlight=False, soft_wrap=True
        )
    # What was narrowed does not replace the whole.
    name = REPORT if methods is None and seeds is None else f"{REPORT}_selected"
    written = write_report(results, name)
    console.print(rich_table(compare(results), f"{results.experiment.name}, test split"))
    beside = comparison.beside_printed(results)
    if beside is not None:
        console.print(comparison.rich_table(beside))
    console.print("Written:", highlight=False)
    for path in written:
        console.print(f"  {escape(str(path))}", highlight=False, soft_wrap=True)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


def _numbers(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--seeds: expected numbers such as 0,1,2; received {text!r}") from error
