"""The command line. TensorFlow is imported when training begins: help and errors are quick."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import traceback
import warnings
from typing import Annotated

import typer
from rich.markup import escape

from lsplus_tf.cli import auditing, datasets, deployment, experiments, papers
from lsplus_tf.cli.console import EscapingConsole, terminal
from lsplus_tf.errors import FailedRunsError, InputError, one_line
from lsplus_tf.version import __version__

__all__ = [
    "app",
    "main",
]

_LONGEST = 4000  # characters of an error

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
    """Train image classifiers with calibrated probabilities, and compare the methods."""


app.command()(experiments.reproduce)
app.command()(experiments.train)
app.command()(experiments.report)
app.command()(experiments.verify)
app.command()(auditing.audit)
app.command()(deployment.calibrate)
app.command()(deployment.predict)
app.command()(deployment.export)
app.command()(papers.paper)
app.command("methods")(experiments.list_methods)
app.add_typer(datasets.app, name="datasets")


def _print_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    terminal(stderr=True).print(
        f"[yellow]warning:[/] {escape(str(message))}", highlight=False, soft_wrap=True
    )


def _escape_help() -> None:
    """Let help and usage errors be printed as all else is, by what typer imports for them alone.

    That takes a third of the start of a command, which prints neither.
    """
    name = "typer.rich_utils"
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        spec.loader = importlib.util.LazyLoader(spec.loader)  # what is set before it loads stays
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    sys.modules[name].Console = EscapingConsole  # type: ignore[attr-defined]


def main() -> None:
    """Run the command line.

    Exit codes: 0; 1 where a check found something or runs failed; 2 where what was given cannot be
    used, read or written, in one line; 3 for a mistake of the package, with its traceback; 130
    after Ctrl-C; 141 where nobody reads the output any more. 1 means nothing else, so that a
    pipeline may rely on it.
    """
    warnings.showwarning = _print_warning  # type: ignore[assignment]
    _escape_help()
    _write_anywhere()
    # Of odd bytes in a file that is read all the same: they do not say in which.
    warnings.filterwarnings("ignore", module=r"(PIL|pydicom)\.")
    try:
        app()
    except (InputError, OSError, FailedRunsError) as error:
        terminal(stderr=True).print(
            f"[bold red]error:[/] {escape(_in_a_line(error))}", highlight=False, soft_wrap=True
        )
        failed = isinstance(error, FailedRunsError) and not isinstance(error, InputError)
        sys.exit(1 if failed else 2)
    except SystemExit as end:
        sys.exit(_code(end))
    except KeyboardInterrupt:  # before typer runs the command
        sys.exit(130)
    except Exception:
        terminal(stderr=True).print(
            traceback.format_exc(), end="", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(3)


def _write_anywhere() -> None:
    """Let output be written where it lacks letters, as in ASCII, and where its width is 0."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it
    if os.environ.get("COLUMNS") == "0":  # of a terminal that does not know it
        del os.environ["COLUMNS"]


def _code(end: SystemExit) -> int | str | None:
    """Typer and Rich end with 1 where the output is closed, as by `head`, and after Ctrl-C."""
    cause = end.__context__
    while cause is not None:
        if isinstance(cause, BrokenPipeError):
            return 141
        if isinstance(cause, KeyboardInterrupt):
            return 130
        cause = cause.__cause__ or cause.__context__
    return end.code


def _in_a_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return one_line(OSError(f"{error.filename}: {error.strerror}"), _LONGEST)
    return one_line(error, _LONGEST)
