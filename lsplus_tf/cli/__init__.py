"""The command line. TensorFlow is imported when training begins: help and errors are quick."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from lsplus_tf.cli import auditing, datasets, deployment, experiments, papers
from lsplus_tf.errors import FailedRunsError, InputError, one_line
from lsplus_tf.version import __version__

__all__ = [
    "app",
    "main",
]

app = typer.Typer(
    name="lsplus-tf",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train image classifiers whose probabilities can be believed, and compare how."""


app.command()(experiments.reproduce)
app.command()(experiments.train)
app.command()(experiments.report)
app.command()(auditing.audit)
app.command()(deployment.calibrate)
app.command()(deployment.predict)
app.command()(deployment.export)
app.command()(papers.paper)
app.command("methods")(experiments.list_methods)
app.add_typer(datasets.app, name="datasets")


def _print_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    Console(stderr=True).print(
        f"[yellow]warning:[/] {escape(str(message))}", highlight=False, soft_wrap=True
    )


def main() -> None:
    """Run the command line.

    What went wrong is told on one line, with exit code 2 if it was the user's mistake, else 1.
    """
    warnings.showwarning = _print_warning  # type: ignore[assignment]
    try:
        app()
    # OSError: a read-only folder, a full disk.
    except (InputError, OSError, FailedRunsError) as error:
        Console(stderr=True).print(
            f"[bold red]error:[/] {escape(one_line(error))}", highlight=False, soft_wrap=True
        )
        sys.exit(2 if isinstance(error, InputError) else 1)
