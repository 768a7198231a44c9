"""The reports of experiments and grids, in the terminal and in their folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from lsplus_tf.cli.console import terminal, whole_tables
from lsplus_tf.errors import counted

if TYPE_CHECKING:
    from lsplus_tf.paper.comparison import BesidePrinted
    from lsplus_tf.results import Report


def report_experiment(
    folder: Path,
    methods: Collection[str] | None,
    seeds: Collection[int] | None,
    *,
    name: str | None = None,
    whole: bool = False,
) -> None:
    """The report of what is finished of an experiment; with `whole` only if that is all."""
    from lsplus_tf.paper import comparison
    from lsplus_tf.results import Report, gather

    results = gather(folder, methods, seeds)
    if whole and results.missing:
        _tell_of_shards(len(results.missing), folder)
        return
    console = terminal()
    if results.missing:
        missing = ", ".join(f"{run.method} seed {run.seed}" for run in results.missing)
        console.print(
            f"Not finished, and not in the table: {missing}", highlight=False, soft_wrap=True
        )
    report, beside = Report(results), comparison.compare(results.experiment, results)
    written = _write(report, beside, name or report_name(methods, seeds))
    with whole_tables(console):
        report.print(console)
    if beside is not None:
        _print_beside([beside])
    _tell_of_files(written)


def report_grid(
    folder: Path,
    methods: Collection[str] | None,
    seeds: Collection[int] | None,
    *,
    name: str | None = None,
    whole: bool = False,
    only: Collection[str] | None = None,
) -> None:
    """The joined report of a grid, and of its experiments those of `only`.

    With `whole` only if all of these are finished.
    """
    from lsplus_tf.paper import comparison
    from lsplus_tf.results import JoinedReport, gather_grid

    gathered = gather_grid(folder, methods, seeds)
    chosen = gathered.grid.only(only).experiments
    left = sum(len(gathered.missing.get(key, ())) for key in chosen)
    if whole and left:
        _tell_of_shards(left, folder)
        return
    console, name = terminal(), name or report_name(methods, seeds)
    for each in gathered.missing_in_words():
        console.print(f"Not finished: {escape(each)}", highlight=False, soft_wrap=True)
    joined, compared, written = JoinedReport(gathered), [], []
    for key, experiment in gathered.grid.experiments.items():
        results = gathered.results.get(key)
        beside = comparison.compare(experiment, results, gathered.missing.get(key, ()))
        if beside is not None:
            compared.append(beside)
        if results is not None and key in chosen:
            report = joined.reports[key]
            with console.status(f"The report of {key} ..."):
                files_of = _write(report, beside, name)
            written.append(next(path for path in files_of if path.suffix == ".html"))
            if beside is None:
                with whole_tables(console):
                    report.print(console)
            elif report.answers:
                console.print(f"{results.title}:", highlight=False, markup=False)
                report.print_answers(console)
    if compared:
        heading = f"{gathered.grid.name}: measured beside the paper's tables"
        extra = [partial(comparison.write_files, compared, heading=heading)]
        written += joined.write(name, extra, [comparison.page_section(compared)])
        _print_beside(compared)
    else:
        written += joined.write(name)
    _tell_of_files(written)


def check_reports(out: Path, experiments: Collection[Path], name: str) -> None:
    """Find before the training what is in the way of the reports after it.

    Parameters
    ----------
    out : Path
        The folder of the experiment, or of the grid.
    experiments : collection of Path
        In a grid, those of the experiments.
    name : str
        Of the reports' folders.
    """
    from lsplus_tf import files
    from lsplus_tf.experiments.folder import REPORT_FOLDER
    from lsplus_tf.results.joined import JOINED_FOLDER

    kinds = dict.fromkeys(experiments, REPORT_FOLDER)
    kinds[out] = JOINED_FOLDER if experiments else REPORT_FOLDER
    for folder, kind in kinds.items():
        if os.path.lexists(folder / name):
            files.check_output(folder / name, kind)


def report_name(methods: Collection[str] | None, seeds: Collection[int] | None) -> str:
    """The name of the report's folder: what was narrowed does not replace the whole."""
    from lsplus_tf.config.experiment import REPORT, REPORT_SELECTED

    return REPORT if methods is None and seeds is None else REPORT_SELECTED


def _write(report: Report, beside: BesidePrinted | None, name: str) -> list[Path]:
    """Write an experiment's report, with the paper's numbers beside where there are some."""
    from lsplus_tf.paper import comparison, run_figures

    extra = [partial(run_figures.write_figures, report.results)]
    if beside is not None:
        extra.append(partial(comparison.write_files, [beside]))
    return report.write(name, extra)


def _print_beside(compared: Sequence[BesidePrinted]) -> None:
    """The table beside the papers', and what a reader has to know before all else."""
    from lsplus_tf.paper import comparison

    console = terminal()
    with whole_tables(console):
        console.print(comparison.rich_table(compared))
    for beside in compared:
        for said in () if beside.rows.empty else (*beside.left_out, *beside.different):
            line = f"{escape(beside.title)}: {escape(said)}"
            console.print(line, highlight=False, soft_wrap=True)


def _tell_of_shards(missing: int, folder: Path) -> None:
    others = ("run of other shards is", "runs of other shards are")
    terminal().print(
        f"{counted(missing, *others)} not finished; the last shard prints the table, and "
        f"lsplus-tf report {escape(str(folder))} what there is.",
        highlight=False,
        soft_wrap=True,
    )


def _tell_of_files(written: Collection[Path]) -> None:
    from lsplus_tf import files

    console = terminal()
    console.print("Written:", highlight=False)
    for path in written:
        console.print(f"  {escape(files.shown(path))}", highlight=False, soft_wrap=True)
