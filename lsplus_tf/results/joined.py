"""What the finished runs of a grid show: the tables of its experiments in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from lsplus_tf import files
from lsplus_tf.config import Grid
from lsplus_tf.config.experiment import REPORT
from lsplus_tf.errors import InputError
from lsplus_tf.experiments.grid import plan_grid, read_grid
from lsplus_tf.experiments.plan import Run, plan_runs
from lsplus_tf.page import Block, Page, Pictures, Section, Text, render
from lsplus_tf.results import tables
from lsplus_tf.results.figures import draw_experiments, side_by_side
from lsplus_tf.results.finished import Results, gather
from lsplus_tf.results.page import comparison_table
from lsplus_tf.results.questions import answers_frame, answers_in_words
from lsplus_tf.results.report import PAGE, Report

_begins = files.begins_with(rb"# [\w.-]+: test splits\n")
JOINED_FOLDER = files.FolderKind(
    "a joined report",
    lambda folder: _begins(folder / "table.md"),
    re.compile(r"(table|paper)\.(md|csv)|questions\.csv|experiments\.png|report\.html"),
)


@dataclass(frozen=True)
class GridResults:
    """A grid and the finished runs of its experiments.

    Attributes
    ----------
    grid : Grid
        The config.
    folder : Path
        The grid's.
    results : dict of str to Results
        Of the experiments that have a finished run, by their names.
    missing : dict of str to list of Run
        What is not finished, of the experiments of which that is something.

    Examples
    --------
    `gather_grid` makes it of a folder. Here of one in which nothing is finished:

    >>> from lsplus_tf.config import load_grid
    >>> grid = load_grid("ols_paper", ["seeds=[1]"])
    >>> missing = {part.key: part.runs for part in plan_grid(grid, Path("out"))}
    >>> len(GridResults(grid, Path("out"), {}, missing).missing_in_words())
    3
    """

    grid: Grid
    folder: Path
    results: dict[str, Results]
    missing: dict[str, list[Run]]

    def missing_in_words(self) -> list[str]:
        """A line for each experiment of which something is not finished."""
        lines = []
        for key, runs in self.missing.items():
            seeds: dict[str, list[str]] = {}
            for run in runs:
                seeds.setdefault(run.method, []).append(str(run.seed))
            named = ", ".join(
                f"{method} seed{'s' * (len(each) > 1)} {' '.join(each)}"
                for method, each in seeds.items()
            )
            lines.append(f"{key}: {named if key in self.results else f'all {len(runs)} runs'}")
        return lines


def gather_grid(
    folder: str | Path,
    methods: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
) -> GridResults:
    """The results that lie in a grid's folder.

    Parameters
    ----------
    folder : str or Path
        Of `run_grid`.
    methods, seeds : collection, optional
        Narrow the runs, as in `gather`.

    Raises
    ------
    InputError
        Not the folder of a grid, no finished run in it, or one that was made with other settings.

    Examples
    --------
    >>> gather_grid(Path("nowhere"))
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: nowhere: not the folder of a grid, it has no grid.yaml
    """
    folder = files.expanded(folder, "folder")
    grid = read_grid(folder)
    found, missing = {}, {}
    for part in plan_grid(grid, folder, methods, seeds):
        runs = plan_runs(part.experiment, part.methods or part.experiment.methods, part.seeds)
        if any(run.folder(part.folder).is_dir() for run in runs):
            found[part.key] = gather(
                part.folder,
                part.methods,
                part.seeds,
                experiment=part.experiment,
                title=f"{grid.name}, {part.key}",
            )
        left = [*found[part.key].missing] if part.key in found else part.runs
        if left:
            missing[part.key] = left
    if not found:
        raise InputError(f"{folder}: no finished run yet")
    return GridResults(grid, folder, found, missing)


class JoinedReport:
    """What the finished runs of a grid show.

    Parameters
    ----------
    gathered : GridResults

    Attributes
    ----------
    reports : dict of str to Report
        Of the experiments that have a finished run, by their names.

    Examples
    --------
    ``JoinedReport(gather_grid("runs/ls_plus_paper")).write()`` is what lsplus-tf report does, which
    adds the papers' numbers.

    >>> JoinedReport(gather_grid(Path("nowhere")))
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: nowhere: not the folder of a grid, it has no grid.yaml
    """

    def __init__(self, gathered: GridResults) -> None:
        self.gathered = gathered
        self.reports = {key: Report(results) for key, results in gathered.results.items()}

    @cached_property
    def pictures(self) -> Pictures | None:
        """The main metrics of the experiments beside each other, where there are several."""
        if len(self.reports) < 2:
            return None
        tables_of = {key: (each.results, each.comparison) for key, each in self.reports.items()}
        return draw_experiments(tables_of)

    def write(
        self,
        name: str = REPORT,
        extra: Sequence[Callable[[Path], None]] = (),
        sections: Sequence[Section] = (),
    ) -> list[Path]:
        """Write the joined tables and page into the grid's folder `name`, anew.

        Parameters
        ----------
        name : str
            Of the folder, which may hold an earlier joined report and nothing else.
        extra : sequence of callable
            What else writes files: each is given the new folder before it is put in place.
        sections : sequence of Section
            What the page shows first.

        Returns
        -------
        list of Path
            The files written: `table.md` and `table.csv` with the mean and SD of every metric, in
            the standard definitions, `questions.csv` where a config has questions,
            `experiments.png` where several experiments have a finished run, `report.html`, and
            those of `extra`.

        Raises
        ------
        InputError
            The folder holds something else, or cannot be written.
        """
        folder = self.gathered.folder / name
        with files.writing(folder, JOINED_FOLDER, argument="name", patience=-1) as new:
            new.mkdir()
            (new / "table.md").write_text(self._markdown(), encoding="utf-8")
            self._frame().to_csv(new / "table.csv", index=False)
            if (questions := self._questions()) is not None:
                questions.to_csv(new / "questions.csv", index=False)
            if self.pictures is not None:
                (new / "experiments.png").write_bytes(side_by_side(self.pictures))
            (new / PAGE).write_text(render(self._page(name, sections)), encoding="utf-8")
            for write in extra:
                write(new)
            written = sorted(path.name for path in new.iterdir())
        return [folder / file for file in written]

    def _markdown(self) -> str:
        parts = [f"# {self.gathered.grid.name}: test splits"]
        captions = {report.comparison.caption for report in self.reports.values()}
        for key, report in self.reports.items():
            parts += [f"## {key}", tables.markdown_table(report.comparison)]
            if len(captions) > 1:
                parts.append(report.comparison.caption)
        if len(captions) == 1:
            parts += captions
        if self.gathered.missing:
            parts += [
                "## Not finished",
                "\n".join(f"- {each}" for each in self.gathered.missing_in_words()),
            ]
        return "\n\n".join(parts) + "\n"

    def _frame(self) -> pd.DataFrame:
        """A row for each experiment and method, two columns a metric."""
        frames = []
        for key, report in self.reports.items():
            table = tables.csv_table(report.comparison).rename_axis("method").reset_index()
            table.insert(0, "experiment", key)
            table.insert(2, "seeds", report.comparison.seeds)
            frames.append(table)
        return pd.concat(frames)

    def _questions(self) -> pd.DataFrame | None:
        """The tests of all experiments' questions, each with its experiment's name."""
        frames = []
        for key, report in self.reports.items():
            if report.answers:
                frames.append(answers_frame(report.answers))
                frames[-1].insert(0, "experiment", key)
        return pd.concat(frames) if frames else None

    def _page(self, name: str, sections: Sequence[Section]) -> Page:
        runs = sum(len(report.results.runs) for report in self.reports.values())
        left = sum(map(len, self.gathered.missing.values()))
        found = [
            replace(text, text=f"{key}: {text.text}")
            for key, report in self.reports.items()
            for text in answers_in_words(report.answers)
        ]
        doubts: dict[str, list[str]] = {}
        for key, report in self.reports.items():
            for doubt in report.results.doubts():
                doubts.setdefault(doubt, []).append(key)
        summary: list[Block] = [
            *sorted(found, key=lambda text: text.tone == "unsure"),
            Text(
                "The tables of all experiments. Each has a report of its own, with intervals, "
                f"tests and figures: EXPERIMENT/{name}/{PAGE} in the grid's folder."
            ),
            *(
                Text(f"Not finished: {each}.", "unsure")
                for each in self.gathered.missing_in_words()
            ),
            *(Text(f"{', '.join(keys)}: {doubt}.", "unsure") for doubt, keys in doubts.items()),
        ]
        of_experiments = [
            Section(key, self._of_experiment(report)) for key, report in self.reports.items()
        ]
        subtitle = (
            f"{len(self.reports)} of {len(self.gathered.grid.experiments)} experiments, "
            f"{runs} of {runs + left} runs"
        )
        whole = [Section("Summary", summary), *sections]
        if self.pictures is not None:
            beside = "Mean and SD over seeds, of the rows without a calibrator."
            whole.append(Section("Experiments side by side", [self.pictures, Text(beside, "note")]))
        whole += of_experiments
        return Page(f"Grid {self.gathered.grid.name}", whole, subtitle)

    def _of_experiment(self, report: Report) -> list[Block]:
        comparison = report.comparison
        seeds = "one seed" if report.results.one_seed else "mean and SD over seeds"
        blocks: list[Block] = [
            comparison_table(f"All metrics times 100, {seeds}", comparison),
            Text(comparison.caption, "note"),
            report.figures["comparison"],
            *answers_in_words(report.answers),
        ]
        if features := report.figures.get("features"):
            blocks.append(features)
        return blocks
