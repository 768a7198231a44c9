"""The command line. TensorFlow is imported when training begins: help and errors are quick."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_origin

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from lsplus_tf import __version__
from lsplus_tf.errors import InputError

if TYPE_CHECKING:
    from lsplus_tf.config import Experiment
    from lsplus_tf.experiments.gather import Results

app = typer.Typer(
    name="lsplus-tf",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

ConfigFile = Annotated[Path, typer.Argument(help="The experiment's YAML file.", metavar="CONFIG")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Where the data files lie, for data sets that are not embedded."),
]
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


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train image classifiers whose probabilities can be believed, and compare how."""


@app.command()
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


@app.command()
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


@app.command()
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


@app.command("methods")
def list_methods() -> None:
    """List the methods that a config can name, with their settings and defaults.

    Example: lsplus-tf methods
    """
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


@app.command()
def datasets(data_dir: DataDir = None) -> None:
    """List the data sets: what they hold, whether they are here, and where to get them.

    Example: lsplus-tf datasets --data-dir ~/data
    """
    from lsplus_tf.datasets import available_datasets

    console = Console()
    for info in available_datasets(data_dir):
        here = {True: "[green]here[/]", False: "[yellow]not here[/]", None: ""}[info.present]
        console.print(f"[bold]{escape(info.name)}[/]  {here}", highlight=False)
        details = Table.grid(padding=(0, 2, 0, 2))
        details.add_row("images", info.source)
        if info.sizes:
            details.add_row("splits", ", ".join(f"{n} {split}" for split, n in info.sizes.items()))
        if info.classes:
            details.add_row("classes", "; ".join(info.classes))
        for what in ("licence", "get", "put"):
            details.add_row(what, escape(getattr(info, what)))
        console.print(details)
        console.print()


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


def _print_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    Console(stderr=True).print(
        f"[yellow]warning:[/] {escape(str(message))}", highlight=False, soft_wrap=True
    )


def main() -> None:
    """Run the command line; mistakes are told on one line, with exit code 2."""
    warnings.showwarning = _print_warning  # type: ignore[assignment]
    try:
        app()
    except (InputError, OSError) as error:  # OSError: a read-only folder, a full disk
        Console(stderr=True).print(
            f"[bold red]error:[/] {escape(' '.join(str(error).split()))}",
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    main()
