"""The commands that look at data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lsplus_tf.cli.console import terminal
from lsplus_tf.cli.options import DataDir, ScalingOption, scaling, with_listing
from lsplus_tf.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from lsplus_tf.datasets.base import ImageDataset
    from lsplus_tf.datasets.check import CheckReport
    from lsplus_tf.datasets.file_list import FileList

app = typer.Typer(rich_markup_mode="markdown")

DatasetName = Annotated[
    str,
    typer.Argument(
        help="As in a config: a name, folder:PATH, csv:PATH or npz:PATH.", metavar="NAME"
    ),
]


@app.callback(invoke_without_command=True)
def list_datasets(context: typer.Context, data_dir: DataDir = None) -> None:
    """List the data sets: what they hold, whether they are here, and where to get them.

    Example: lsplus-tf datasets --data-dir ~/data
    """
    from lsplus_tf.datasets import available_datasets

    if context.invoked_subcommand is not None:
        if data_dir is not None:
            raise InputError(f"--data-dir: expected after {context.invoked_subcommand!r}")
        return
    console = terminal()
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


@app.command("check")
@with_listing
def check_dataset(
    name: DatasetName,
    data_dir: DataDir = None,
    scale: ScalingOption = None,
    *,
    listing: dict[str, Any],
    out: Annotated[
        str | None, typer.Option(help="Write a CSV with a row per problem.", metavar="FILE.csv")
    ] = None,
) -> None:
    """Look through all images of NAME for what makes results wrong.

    Every image is decoded. Told are the images of each class and split, beside the official
    numbers where they are known; too few classes, images of a class or groups; files that cannot
    be read, with an alpha channel or more than 8 bits; masks; blank images; those with the same
    pixels, and near copies, in several splits or classes; groups, such as patients, that are in
    several splits; and images without a row in the table. Told is also which of it stops a
    training, and the key of the config that gets over it.

    The exit code is 0 where nothing was found, 1 where something was, 2 for a data set that
    cannot be listed, and for an --out that cannot be written.

    Example: lsplus-tf datasets check folder:~/mri --out problems.csv
    """
    from rich.progress import Progress

    from lsplus_tf import files
    from lsplus_tf.csv_files import table_kind, write_csv
    from lsplus_tf.datasets import check

    if out is not None:
        kind = table_kind("a table of datasets check", lambda headings: headings == check.COLUMNS)
        files.check_output(out, kind, inputs=(_source(name), data_dir))
    console = terminal()
    declared = scaling(scale)
    dataset = _list_or_load(name, data_dir, listing)
    official = _official_sizes(name, data_dir)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("looking at images", total=len(dataset))
        report = check.check_dataset(
            dataset,
            official=official,
            scaling=declared,
            on_image=lambda: progress.advance(task),
        )
    _print_check(console, dataset, report, official)
    if out is not None:
        write_csv(report.table, out, argument="--out")
        _print_written(console, out)
    if report.problems:
        raise typer.Exit(1)


@app.command("show")
@with_listing
def show_dataset(
    name: DatasetName,
    data_dir: DataDir = None,
    scale: ScalingOption = None,
    *,
    listing: dict[str, Any],
    out: Annotated[
        str, typer.Option(help="The PNG file.", metavar="FILE.png")
    ] = "contact_sheet.png",
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    count: Annotated[int, typer.Option(min=1, max=100, help="Images of each class.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Which are drawn.")] = 0,
) -> None:
    """Draw a contact sheet of NAME: random images of every class, as a PNG.

    Example: lsplus-tf datasets show folder:~/mri --out sheet.png
    """
    from lsplus_tf import files

    title = "lsplus_tf contact sheet"  # in the file, which shows that it is one
    ours = files.begins_with(rb"(?s)\x89PNG\r\n.*" + title.encode())
    kind = files.FileKind("a contact sheet", ours)
    source = _source(name)
    images = [source] if source is not None and name.startswith("folder:") else []
    files.check_output(out, kind, inputs=(source, data_dir), images=images)

    import matplotlib.pyplot as plt

    from lsplus_tf.datasets.examples import choose_examples
    from lsplus_tf.plots import contact_sheet

    declared = scaling(scale)
    dataset = _list_or_load(name, data_dir, listing)
    examples = choose_examples(dataset, split=split, count=count, seed=seed, scaling=declared)
    contact_sheet(examples)
    with files.writing(out, kind) as new:
        plt.savefig(new, format="png", dpi="figure", bbox_inches="tight", metadata={"Title": title})
    plt.close()
    _print_written(terminal(), out)


def _print_written(console: Console, out: str) -> None:
    from lsplus_tf import files

    path = files.shown(files.expanded(out))
    console.print(f"Written: {escape(path)}", highlight=False, soft_wrap=True)


def _source(name: str) -> str | None:
    """The folder or file that a data set is read from, if its name says so."""
    kind, _, path = name.partition(":")
    return path if kind in ("folder", "csv", "npz") else None


def _list_or_load(
    name: str, data_dir: Path | None, listing: Mapping[str, Any]
) -> FileList | ImageDataset:
    """The list of a data set's files; without files, its images."""
    from lsplus_tf.config import CSV_PREFIX
    from lsplus_tf.datasets import load_dataset
    from lsplus_tf.datasets.loading import list_files

    # What a table leaves out is told by the check, and nothing against showing the rest.
    unlisted = "ignore" if name.startswith(CSV_PREFIX) else "fail"
    files = list_files(name, data_dir=data_dir, unlisted=unlisted, **listing)
    return load_dataset(name, data_dir=data_dir) if files is None else files


def _official_sizes(name: str, data_dir: Path | None) -> Mapping[str, int]:
    from lsplus_tf.datasets import available_datasets

    return next((i.sizes for i in available_datasets(data_dir) if i.name == name), {})


def _print_check(
    console: Console,
    dataset: FileList | ImageDataset,
    report: CheckReport,
    official: Mapping[str, int],
) -> None:
    from lsplus_tf.config import CSV_PREFIX
    from lsplus_tf.datasets import check
    from lsplus_tf.datasets.file_list import FileList

    counts = report.counts
    console.print(
        f"[bold]{escape(dataset.name)}[/]  {len(report.images)} images",
        highlight=False,
        soft_wrap=True,
    )
    table = Table()
    table.add_column("class", overflow="fold")
    for split in counts.columns:
        table.add_column(split, justify="right", no_wrap=True)
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
        console.print(
            f"split off from train when the images are loaded: {', '.join(carved)}",
            highlight=False,
        )
    groups = report.group_sizes
    console.print(_describe_groups(groups), highlight=False)
    sizes = report.sizes.most_common()
    shown = ", ".join(f"{w}x{h} ({count})" for (w, h), count in sizes[:3])
    more = f" and {len(sizes) - 3} others" if len(sizes) > 3 else ""
    needs = " (training needs dataset.image_size)" if len(sizes) > 1 else ""
    console.print(f"width x height: {shown}{more}{needs}", highlight=False, soft_wrap=True)
    colours = ", ".join(f"{kind} ({count})" for kind, count in report.colours.most_common())
    needs = " (training needs dataset.channels: 1 or 3)" if len(report.colours) > 1 else ""
    console.print(f"channels: {colours}{needs}\n", highlight=False, soft_wrap=True)
    is_table = dataset.name.startswith(CSV_PREFIX)
    applies = {
        check.SHARED_GROUP: not groups.empty,
        check.UNLISTED: is_table,
        check.COUNT: bool(official),
        **dict.fromkeys(check.TOLD_IF_FOUND, False),
    }
    for kind in check.KINDS:
        found = [problem for problem in report.problems if problem.problem == kind]
        within = report.near_within if kind == check.NEAR else 0
        if not found and not within and not applies.get(kind, True):
            continue
        count = f"[red]{len(found)}[/]" if found else "[green]none[/]"
        consequence = ""
        if found and isinstance(dataset, FileList) and (kind != check.UNLISTED or is_table):
            consequence = check.CONSEQUENCES.get(kind, "")
        said = f" ({escape(consequence)})" if consequence else ""
        console.print(f"{kind}: {count}{said}", highlight=False, soft_wrap=True)
        if kind == check.IDENTICAL and found:
            console.print(
                f"  {len(report.identical)} groups of identical images, "
                f"{report.identical_across('split')} of them across splits, "
                f"{report.identical_across('class_name')} across classes",
                highlight=False,
            )
        if kind == check.NEAR and found:
            console.print(
                f"  {report.near_across_splits} pairs across splits, "
                f"{report.near_across_classes} across classes",
                highlight=False,
            )
        for problem in found[:3]:
            where = f"{problem.file}: " if problem.file else ""
            console.print(f"  {escape(where + problem.detail)}", highlight=False, soft_wrap=True)
        if len(found) > 3:
            console.print(f"  and {len(found) - 3} more", highlight=False)
        if within:
            console.print(
                f"  {within} more pairs of near copies within a split and class, which are no "
                "problem unless a split is still to be split off",
                highlight=False,
                soft_wrap=True,
            )


def _describe_groups(sizes: pd.Series) -> str:
    """How many groups, such as patients, there are, from the number of images of each."""
    if sizes.empty:
        return "groups, such as patients: none declared"
    low, high = sizes.min(), sizes.max()
    each = f"{low} to {high}" if low < high else f"{low}"
    return f"groups, such as patients: {len(sizes)}, with {each} images each"
