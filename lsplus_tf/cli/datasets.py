"""The commands that look at data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lsplus_tf.cli.console import terminal
from lsplus_tf.cli.options import (
    BackgroundOption,
    DataDir,
    ScalingOption,
    names,
    scaling,
    with_listing,
)
from lsplus_tf.errors import InputError, counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from lsplus_tf.config import Defect
    from lsplus_tf.datasets.base import ImageDataset
    from lsplus_tf.datasets.check import CheckReport
    from lsplus_tf.datasets.file_list import FileList
    from lsplus_tf.files import FileKind

_NAMED = 3
_PAIRS = 30  # of near copies, on a sheet
_SHEET_TITLE = "lsplus_tf contact sheet"  # in the file, which shows that it is one

app = typer.Typer(rich_markup_mode="markdown")

DatasetName = Annotated[
    str,
    typer.Argument(
        help="As in a config: a name, folder:PATH, csv:PATH or npz:PATH.", metavar="NAME"
    ),
]


@app.callback(invoke_without_command=True)
def list_datasets(context: typer.Context, data_dir: DataDir = None) -> None:
    """List the data sets: their contents, whether they are available, and where to get them.

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
    background: BackgroundOption = None,
    *,
    listing: dict[str, Any],
    drop: Annotated[
        str | None,
        typer.Option(
            help="First leave out what dataset.drop leaves out in a training: duplicates, "
            "blank, masks.",
            metavar="WHAT,WHAT",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Write a CSV with a row per problem.", metavar="FILE.csv")
    ] = None,
    sheet: Annotated[
        str | None,
        typer.Option(
            help="Draw the near copies, each beside the image that it is like, as a PNG: the "
            f"first {_PAIRS}.",
            metavar="FILE.png",
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            help="Write a new table of the images, for csv:FILE.csv, whose groups hold copies and "
            "near copies together.",
            metavar="FILE.csv",
        ),
    ] = None,
) -> None:
    """Check all images of NAME for problems that make results wrong.

    Every image is decoded. The check counts the images of each class and split, beside the
    official numbers if known, and reports too few classes, images of a class or groups; files that
    cannot be read, have transparent pixels or more than 8 bits; masks; blank images; identical
    images, and near copies, in several splits or classes; groups, such as patients, that are in
    several splits; and images without a row in the table. It says which problems stop a training,
    and which setting of the config resolves them.

    The exit code is 0 if no problem was found, 1 if one was, 2 for a data set that cannot be
    listed, and for a file that cannot be written.

    Example: lsplus-tf datasets check folder:~/mri --out problems.csv --sheet near_copies.png
    """
    from rich.progress import Progress

    from lsplus_tf import files
    from lsplus_tf.csv_files import table_kind, write_csv
    from lsplus_tf.datasets import check
    from lsplus_tf.datasets.file_list import FileList

    if out is not None:
        kind = table_kind("a table of datasets check", lambda headings: headings == check.COLUMNS)
        files.check_output(out, kind, inputs=(_source(name), data_dir))
    if sheet is not None:
        _check_sheet(sheet, "--sheet", name, data_dir)
    if table is not None:
        files.check_output(table, _table_of_images(), argument="--table")
    console = terminal()
    declared = scaling(scale)
    leave_out = names(drop) or []
    dataset = _list_or_load(name, data_dir, listing, drop=leave_out)
    if table is not None and not isinstance(dataset, FileList):
        raise InputError(f"--table: expected image files, {name} has none")
    official = _official_sizes(name, data_dir)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("looking at images", total=len(dataset))
        report = check.check_dataset(
            dataset,
            official=official,
            drop=cast("list[Defect]", leave_out),
            scaling=declared,
            background=background,
            on_image=lambda: progress.advance(task),
        )
    _print_counts(console, dataset.name, report, official)
    _print_images(console, report)
    _print_problems(console, dataset, report, official)
    if out is not None:
        write_csv(report.table, out, argument="--out")
        _print_written(console, out)
    if sheet is not None and report.near:
        from lsplus_tf.datasets.examples import choose_near_copies

        pairs = choose_near_copies(
            dataset, report, count=_PAIRS, scaling=declared, background=background
        )
        _write_sheet(pairs, sheet, "--sheet")
        _print_written(console, sheet)
    elif sheet is not None:
        _say(console, "no near copies to draw: --sheet is not written")
    if table is not None:
        assert isinstance(dataset, FileList)
        # Names as they are, or their files would not be found.
        with files.writing(table, _table_of_images(), argument="--table") as new:
            report.table_of_images.to_csv(new, index=False)
        _print_written(console, table)
        root = escape(files.shown(dataset.root))
        _say(console, f"to use it: csv:{escape(table)}, with dataset.image_folder: {root}")
    if report.problems:
        raise typer.Exit(1)


@app.command("show")
@with_listing
def show_dataset(
    name: DatasetName,
    data_dir: DataDir = None,
    scale: ScalingOption = None,
    background: BackgroundOption = None,
    *,
    listing: dict[str, Any],
    out: Annotated[
        str, typer.Option(help="The PNG file.", metavar="FILE.png")
    ] = "contact_sheet.png",
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    count: Annotated[int, typer.Option(min=1, max=100, help="Number of images of each class.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random draw.")] = 0,
) -> None:
    """Draw a contact sheet of NAME: random images of every class, as a PNG.

    Example: lsplus-tf datasets show folder:~/mri --out sheet.png
    """
    _check_sheet(out, "--out", name, data_dir)

    from lsplus_tf.datasets.examples import choose_examples

    declared = scaling(scale)
    dataset = _list_or_load(name, data_dir, listing)
    examples = choose_examples(
        dataset, split=split, count=count, seed=seed, scaling=declared, background=background
    )
    _write_sheet(examples, out, "--out")
    _print_written(terminal(), out)


def _table_of_images() -> FileKind:
    """A file that is there is never replaced: a user's own table has the same headings."""
    from lsplus_tf import files

    return files.FileKind("a table of images", lambda _: False, ".csv")


def _sheet_kind() -> FileKind:
    from lsplus_tf import files

    ours = files.begins_with(rb"(?s)\x89PNG\r\n.*" + _SHEET_TITLE.encode())
    return files.FileKind("a contact sheet", ours, ".png")


def _check_sheet(out: str, argument: str, name: str, data_dir: Path | None) -> None:
    """Refuse a sheet that cannot be written, or lies among the images of a folder."""
    from lsplus_tf import files

    source = _source(name)
    images = [source] if source is not None and name.startswith("folder:") else []
    files.check_output(
        out, _sheet_kind(), argument=argument, inputs=(source, data_dir), images=images
    )


def _write_sheet(
    examples: Mapping[str, Sequence[npt.NDArray[np.uint8]]], out: str, argument: str
) -> None:
    import matplotlib.pyplot as plt

    from lsplus_tf import files
    from lsplus_tf.plots import contact_sheet

    contact_sheet(examples)
    with files.writing(out, _sheet_kind(), argument=argument) as new:
        plt.savefig(
            new, format="png", dpi="figure", bbox_inches="tight", metadata={"Title": _SHEET_TITLE}
        )
    plt.close()


def _print_written(console: Console, out: str) -> None:
    from lsplus_tf import files

    path = files.shown(files.expanded(out))
    console.print(f"Written: {escape(path)}", highlight=False, soft_wrap=True)


def _source(name: str) -> str | None:
    """The folder or file that a data set is read from, if its name says so."""
    kind, _, path = name.partition(":")
    return path if kind in ("folder", "csv", "npz") else None


def _list_or_load(
    name: str, data_dir: Path | None, listing: Mapping[str, Any], drop: Sequence[str] = ()
) -> FileList | ImageDataset:
    """The list of a data set's files; without files, its images."""
    from lsplus_tf.config import CSV_PREFIX
    from lsplus_tf.datasets import load_dataset
    from lsplus_tf.datasets.loading import list_files

    # What a table leaves out is told by the check, and nothing against showing the rest.
    unlisted = "ignore" if name.startswith(CSV_PREFIX) else "fail"
    files = list_files(name, data_dir=data_dir, unlisted=unlisted, drop=drop, **listing)
    return load_dataset(name, data_dir=data_dir, drop=drop) if files is None else files


def _official_sizes(name: str, data_dir: Path | None) -> Mapping[str, int]:
    from lsplus_tf.datasets import available_datasets

    return next((i.sizes for i in available_datasets(data_dir) if i.name == name), {})


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _print_counts(
    console: Console, name: str, report: CheckReport, official: Mapping[str, int]
) -> None:
    """Images of each class and split, and what is known of the splits."""
    from lsplus_tf.datasets.file_list import SKIPPED

    counts = report.counts
    _say(console, f"[bold]{escape(name)}[/]  {counted(len(report.images), 'image')}")
    if any(report.dropped.values()):
        each = (counted(len(ids), SKIPPED[what]) for what, ids in report.dropped.items() if ids)
        _say(console, f"left out by --drop: {', '.join(each)}")
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
        _say(console, f"official: {expected}")
    carved = [part for part in ("validation", "test") if part not in counts.columns]
    if carved:
        _say(console, f"split off from train when the images are loaded: {', '.join(carved)}")
    _say(console, _describe_groups(report.group_sizes))


def _print_images(console: Console, report: CheckReport) -> None:
    """Sizes and channels of the images."""
    sizes = report.sizes.most_common()
    shown = ", ".join(f"{w}x{h} ({count})" for (w, h), count in sizes[:_NAMED])
    more = f" and {counted(len(sizes) - _NAMED, 'other')}" if len(sizes) > _NAMED else ""
    needs = " (training needs dataset.image_size)" if len(sizes) > 1 else ""
    _say(console, f"width x height: {shown}{more}{needs}")
    colours = ", ".join(f"{kind} ({count})" for kind, count in report.colours.most_common())
    needs = " (training needs dataset.channels: 1 or 3)" if len(report.colours) > 1 else ""
    _say(console, f"channels: {colours}{needs}\n")


def _print_problems(
    console: Console,
    dataset: FileList | ImageDataset,
    report: CheckReport,
    official: Mapping[str, int],
) -> None:
    """Each kind of problem: how many, what a training does of it, and the first few."""
    from lsplus_tf.config import CSV_PREFIX
    from lsplus_tf.datasets import check
    from lsplus_tf.datasets.file_list import FileList

    is_table = dataset.name.startswith(CSV_PREFIX)
    of_files = isinstance(dataset, FileList)
    consequences = dict(check.CONSEQUENCES if of_files else check.CONSEQUENCES_OF_ARRAYS)
    if not is_table:
        del consequences[check.UNLISTED]
    applies = {
        check.SHARED_GROUP: not report.group_sizes.empty,
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
        consequence = consequences.get(kind) if found else None
        _say(console, f"{kind}: {count}" + (f" ({escape(consequence)})" if consequence else ""))
        if kind == check.IDENTICAL and found:
            _print_copies(console, report)
        if kind == check.NEAR and found:
            _print_near_copies(console, report)
        for problem in found[:_NAMED]:
            where = f"{problem.file}: " if problem.file else ""
            _say(console, f"  {escape(where + problem.detail)}")
        if len(found) > _NAMED:
            _say(console, f"  and {len(found) - _NAMED} more")
        if within:
            pairs = counted(within, "more pair")
            _say(
                console,
                f"  {pairs} of near copies within a class that stay in one split: no problem",
            )


def _print_copies(console: Console, report: CheckReport) -> None:
    groups = counted(len(report.identical), "group")
    _say(
        console,
        f"  {groups} of identical images, {report.identical_across('split')} of them across "
        f"splits, {report.identical_across('class_name')} across classes",
    )


def _print_near_copies(console: Console, report: CheckReport) -> None:
    pairs = counted(report.near_across_splits, "pair")
    _say(console, f"  {pairs} across splits, {report.near_across_classes} across classes")
    if report.near_undrawn:
        more = counted(report.near_undrawn, "more pair")
        _say(
            console,
            f"  {more} without a common group, which may come into different splits, as one is yet "
            "to be drawn",
        )


def _describe_groups(sizes: pd.Series) -> str:
    """How many groups, such as patients, there are, from the number of images of each."""
    if sizes.empty:
        return "groups, such as patients: none declared"
    low, high = sizes.min(), sizes.max()
    each = f"{low} to {high}" if low < high else f"{low}"
    images = "image" if high == 1 else "images"
    return f"groups, such as patients: {len(sizes)}, with {each} {images} each"
