"""The command that recomputes the LS+ paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from lsplus_tf.cli.console import terminal


def paper(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A clone of github.com/abhisheksambyal/lsplus, or a part of one.", metavar="DIR"
        ),
    ],
    out: Annotated[str, typer.Option(help="The report's folder.", metavar="DIR")] = "paper_report",
) -> None:
    """Recompute the LS+ paper's numbers and figures from what its authors published in DIR.

    Nothing is trained. The published predictions, metrics of the runs, retention curves and
    confidences give Table 1, Figures 1 and 2, V, and, from their repository, temperature scaling
    and ECE-KDE, each beside the published values; then intervals, tests and agreement with MHIST's
    annotators. The report is OUT/report.md, with a CSV of every table and the figures.

    A file that is missing is reported and its numbers are left out; MHIST/annotations.csv, the
    annotators' votes, comes with MHIST itself.

    The exit code is 0 if every number that could be compared matched, except the known exceptions
    that the report names; 1 if one did not, or a file is damaged; 2 for a folder that is not the
    authors', and for an --out that cannot be written.

    Example: git clone https://github.com/abhisheksambyal/lsplus; lsplus-tf paper lsplus
    """
    from lsplus_tf import files
    from lsplus_tf.paper import report as paper_report
    from lsplus_tf.paper.artifacts import Artifacts

    path = files.check_output(out, paper_report.PAPER_REPORT, inputs=(folder,))
    artifacts = Artifacts(folder)
    console = terminal()
    sections = []
    for title, make in paper_report.SECTIONS.items():
        with console.status(f"{title} ..."):
            section = make(artifacts)
        sections.append(section)
        style = "green" if section.passed else "bold red"
        console.print(f"[bold]{escape(title)}:[/] [{style}]{section.tally}[/]", highlight=False)
    with files.given_as("--out", "out"):
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
    console.print(f"Written: {escape(files.shown(path / paper_report.REPORT))}", highlight=False)
    if not paper_report.verdict(sections, artifacts.problems):
        raise typer.Exit(1)
