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
    from lsplus_tf.datasets.base import ImageDataset
    from lsplus_tf.datasets.check import CheckReport
    from lsplus_tf.datasets.file_list import FileList
    from lsplus_tf.datasets.table import Unlisted
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
DatasetName = Annotated[
    str,
    typer.Argument(help="As in a config: a name, folder:PATH or csv:PATH.", metavar="NAME"),
]
GroupPattern = Annotated[
    str | None,
    typer.Option(
        help="For folder:PATH, a regular expression: its first parenthesis, in a file's path "
        "below PATH, is the file's group.",
        metavar="REGEX",
    ),
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


datasets = typer.Typer(rich_markup_mode="markdown")
app.add_typer(datasets, name="datasets")


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


@app.command()
def paper(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A clone of github.com/abhisheksambyal/lsplus, or a part of one.", metavar="DIR"
        ),
    ],
    out: Annotated[Path, typer.Option(help="The report's folder.")] = Path("paper_report"),
) -> None:
    """Recompute the LS+ paper's numbers and figures from what its authors published in DIR.

    Nothing is trained. The published predictions, metrics of the runs, retention curves and
    confidences give Table 1, Figures 1 and 2, the temperature-scaling and ECE-KDE tables and V,
    each beside what is printed; and, beyond the paper, intervals, paired tests and agreement with
    MHIST's annotators. The report is OUT/report.md, with a CSV of every table and the figures.

    A file that is missing is reported and its numbers are left out; MHIST/annotations.csv, the
    annotators' votes, comes with MHIST itself.

    The exit code is 0 where every number that could be compared matched, but for the known
    exceptions that the report names; 1 where one did not, or a file is damaged; 2 for a folder
    that is not the authors'.

    Example: git clone https://github.com/abhisheksambyal/lsplus; lsplus-tf paper lsplus
    """
    from lsplus_tf.paper import report as paper_report
    from lsplus_tf.paper.artifacts import Artifacts

    artifacts = Artifacts(folder)
    paper_report.check_output(out)
    console = Console()
    sections = []
    for title, make in paper_report.SECTIONS.items():
        with console.status(f"{title} ..."):
            section = make(artifacts)
        sections.append(section)
        style = "green" if section.passed else "bold red"
        console.print(f"[bold]{escape(title)}:[/] [{style}]{section.tally}[/]", highlight=False)
    paper_report.write_report(sections, artifacts.problems, folder, out)
    for section in sections:
        for check in section.checks:
            if not check.passed:
                console.print(
                    f"[bold red]not matched:[/] {escape(check.name)}: {check.matched} of "
                    f"{check.total}, expected {check.expected}",
                    highlight=False,
                    soft_wrap=True,
                )
    for problem in artifacts.problems:
        if problem.kind == "damaged":
            console.print(
                f"[bold red]damaged:[/] {escape(problem.path)}: {escape(problem.message)}",
                highlight=False,
                soft_wrap=True,
            )
    missing = paper_report.missing_by_folder(artifacts.problems)
    if missing:
        console.print(
            f"missing: {sum(missing.values())} files in {len(missing)} folders, listed in the "
            "report; their numbers were not compared",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"Written: {escape(str(out / paper_report.REPORT))}", highlight=False)
    if not paper_report.verdict(sections, artifacts.problems):
        raise typer.Exit(1)


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


@datasets.callback(invoke_without_command=True)
def list_datasets(context: typer.Context, data_dir: DataDir = None) -> None:
    """List the data sets: what they hold, whether they are here, and where to get them.

    Example: lsplus-tf datasets --data-dir ~/data
    """
    from lsplus_tf.datasets import available_datasets

    if context.invoked_subcommand is not None:
        if data_dir is not None:
            raise InputError(f"--data-dir: expected after {context.invoked_subcommand!r}")
        return
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


@datasets.command("check")
def check_dataset(
    name: DatasetName,
    data_dir: DataDir = None,
    group_pattern: GroupPattern = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a CSV with a row per problem.", metavar="FILE.csv")
    ] = None,
) -> None:
    """Look through all images of NAME for what makes results wrong.

    Every image is decoded. Told are the images of each class and split, beside the official
    numbers where they are known; files that cannot be read, with an alpha channel or more than
    8 bits; blank images; identical ones, and how many of them are in several splits or classes;
    groups, such as patients, that are in several splits; and images without a label.

    The exit code is 0 where nothing was found, 1 where something was, 2 for a data set that
    cannot be listed.

    Example: lsplus-tf datasets check folder:~/mri --out problems.csv
    """
    from rich.progress import Progress

    from lsplus_tf.atomic import written_whole
    from lsplus_tf.datasets import check

    console = Console()
    dataset = _list_or_load(name, data_dir, group_pattern)
    official = _official_sizes(name, data_dir)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("looking at images", total=len(dataset))
        report = check.check_dataset(
            dataset, official=official, on_image=lambda: progress.advance(task)
        )
    _print_check(console, name, report, official)
    if out is not None:
        with written_whole(out) as partial:
            report.table.to_csv(partial, index=False)
        console.print(f"Written: {escape(str(out))}", highlight=False, soft_wrap=True)
    if report.problems:
        raise typer.Exit(1)


@datasets.command("show")
def show_dataset(
    name: DatasetName,
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help="The PNG file.")] = Path("contact_sheet.png"),
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    count: Annotated[int, typer.Option(min=1, max=100, help="Images of each class.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Which are drawn.")] = 0,
) -> None:
    """Draw a contact sheet of NAME: random images of every class, as a PNG.

    Example: lsplus-tf datasets show folder:~/mri --out sheet.png
    """
    import matplotlib.pyplot as plt

    from lsplus_tf.atomic import written_whole
    from lsplus_tf.datasets.examples import choose_examples
    from lsplus_tf.plots import contact_sheet

    dataset = _list_or_load(name, data_dir)
    examples = choose_examples(dataset, split=split, count=count, seed=seed)
    contact_sheet(examples)
    with written_whole(out) as partial:
        plt.savefig(partial, format="png", dpi="figure", bbox_inches="tight")
    plt.close()
    Console().print(f"Written: {escape(str(out))}", highlight=False, soft_wrap=True)


def _list_or_load(
    name: str, data_dir: Path | None, group_pattern: str | None = None
) -> FileList | ImageDataset:
    """The list of a data set's files; without files, its images."""
    from lsplus_tf.datasets import load_dataset
    from lsplus_tf.datasets.catalogue import CSV_PREFIX
    from lsplus_tf.datasets.loading import list_files

    folder = None if data_dir is None else data_dir.expanduser()
    # What a table leaves out is told by the check, and nothing against showing the rest.
    unlisted: Unlisted = "ignore" if name.startswith(CSV_PREFIX) else "fail"
    files = list_files(name, folder, group_pattern=group_pattern, unlisted=unlisted)
    return load_dataset(name, data_dir=folder) if files is None else files


def _official_sizes(name: str, data_dir: Path | None) -> dict[str, int]:
    from lsplus_tf.datasets import available_datasets

    return next((i.sizes for i in available_datasets(data_dir) if i.name == name), {})


def _print_check(
    console: Console, name: str, report: CheckReport, official: dict[str, int]
) -> None:
    from lsplus_tf.datasets import check

    counts = report.counts
    console.print(
        f"[bold]{escape(name)}[/]  {len(report.images)} images", highlight=False, soft_wrap=True
    )
    table = Table()
    table.add_column("class")
    for split in counts.columns:
        table.add_column(split, justify="right")
    for class_name, row in counts.iterrows():
        table.add_row(escape(str(class_name)), *map(str, row))
    table.add_section()
    table.add_row("all", *map(str, counts.sum()))
    console.print(table)
    if official:
        expected = ", ".join(f"{number} {split}" for split, number in official.items())
        console.print(f"official: {expected}", highlight=False)
    carved = [part for part in ("validation", "test") if part not in counts.columns]
    if carved:
        console.print(f"carved from train when loaded: {', '.join(carved)}", highlight=False)
    sizes = report.sizes.most_common()
    shown = ", ".join(f"{w}x{h} ({count})" for (w, h), count in sizes[:3])
    more = f" and {len(sizes) - 3} others" if len(sizes) > 3 else ""
    console.print(f"width x height: {shown}{more}\n", highlight=False)
    for kind in check.KINDS:
        found = [problem for problem in report.problems if problem.problem == kind]
        count = f"[red]{len(found)}[/]" if found else "[green]none[/]"
        console.print(f"{kind}: {count}", highlight=False)
        if kind == check.IDENTICAL and found:
            console.print(
                f"  {len(report.identical)} groups of identical images, "
                f"{report.identical_across('split')} of them across splits, "
                f"{report.identical_across('class_name')} across classes",
                highlight=False,
            )
        for problem in found[:3]:
            where = f"{problem.file}: " if problem.file else ""
            console.print(f"  {escape(where + problem.detail)}", highlight=False, soft_wrap=True)
        if len(found) > 3:
            console.print(f"  and {len(found) - 3} more", highlight=False)


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
