"""What the finished runs of an experiment show, in a terminal and in files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from rich.console import Console

from lsplus_tf import files
from lsplus_tf.config.experiment import REPORT
from lsplus_tf.errors import InputError
from lsplus_tf.experiments.folder import REPORT_FOLDER
from lsplus_tf.page import Page, render
from lsplus_tf.results import tables, truth
from lsplus_tf.results.classes import ByClass, measure_classes
from lsplus_tf.results.features import Compactness, compare_features
from lsplus_tf.results.figures import Figures, draw_figures, side_by_side
from lsplus_tf.results.finished import Results
from lsplus_tf.results.page import classes_in_words, experiment_page
from lsplus_tf.results.questions import (
    Answer,
    answer_questions,
    answers_frame,
    answers_in_words,
    asked_metrics,
)
from lsplus_tf.results.tables import Comparison
from lsplus_tf.results.truth import Truth
from lsplus_tf.results.uncertainty import (
    MeasuredRows,
    Uncertainty,
    groups_of_images,
    measure_rows,
    measure_uncertainty,
)

PAGE = "report.html"
CALIBRATORS = "calibrators"


class Report:
    """What the finished runs of an experiment show: each part is computed and drawn once.

    Parameters
    ----------
    results : Results
        From `gather`.

    Examples
    --------
    Of an experiment of a small network on a few images:

    >>> from tempfile import TemporaryDirectory
    >>> from lsplus_tf.config import load_config
    >>> from lsplus_tf.experiments import run_experiment
    >>> from lsplus_tf.results import gather
    >>> changes = ["protocol.epochs=1", "dataset.samples_per_class=8", "backbone.width=0.125"]
    >>> experiment = load_config("digits", changes)
    >>> with TemporaryDirectory() as folder:
    ...     run_experiment(experiment, Path(folder), methods=["hard_labels"], seeds=[0])
    ...     report = Report(gather(Path(folder)))
    ...     written = report.write()
    >>> report.comparison.names
    ['HL']
    >>> "report.html" in [file.name for file in written]
    True
    """

    def __init__(self, results: Results) -> None:
        self.results = results

    @cached_property
    def comparison(self) -> Comparison:
        """The table."""
        return tables.compare(self.results)

    @cached_property
    def measured(self) -> MeasuredRows:
        """The main metrics, and those that questions are about, on resamples of the images."""
        return measure_rows(self.results, asked_metrics(self.results))

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """Intervals of the main metrics, and tests against the first row."""
        return measure_uncertainty(self.results, self.measured)

    @cached_property
    def answers(self) -> list[Answer]:
        """To the config's questions."""
        if not self.results.experiment.questions:
            return []
        return answer_questions(self.results, self.measured, self.compactness)

    @cached_property
    def classes(self) -> ByClass:
        """What each row finds of each class."""
        return measure_classes(self.results, groups_of_images(self.results))

    @cached_property
    def truth(self) -> Truth | None:
        """The comparison with the images' exact posterior, where that is known."""
        return truth.compare_with_truth(self.results)

    @cached_property
    def compactness(self) -> Compactness | None:
        """The training features that the runs kept, where the config asked for them."""
        return compare_features(self.results)

    @cached_property
    def figures(self) -> Figures:
        """The pictures, by the name of the figure that they make together."""
        return draw_figures(self.results, self.comparison, self.truth, self.compactness)

    @cached_property
    def page(self) -> Page:
        """Tables and pictures on one page."""
        return experiment_page(
            self.results,
            self.comparison,
            self.uncertainty,
            self.classes,
            self.figures,
            self.truth,
            self.compactness,
            self.answers,
        )

    def print(self, console: Console | None = None) -> None:
        """Print what is found of the classes of interest, the table, and answers to questions.

        Parameters
        ----------
        console : rich.console.Console, optional
            Default: the terminal.
        """
        title = f"{self.results.title}, test split"
        console = console or Console(emoji=False)
        for text in classes_in_words(self.classes):
            console.print(text.text, highlight=False, markup=False)
        console.print(tables.rich_table(self.comparison, title, console))
        self.print_answers(console)

    def print_answers(self, console: Console) -> None:
        """Print a line for each question of the config.

        Parameters
        ----------
        console : rich.console.Console
        """
        for text in answers_in_words(self.answers):
            console.print(text.text, highlight=False, markup=False, soft_wrap=True)

    def write(self, name: str = REPORT, extra: Sequence[Callable[[Path], None]] = ()) -> list[Path]:
        """Write tables, figures and page into the experiment's folder `name`, anew.

        Parameters
        ----------
        name : str
            Of the folder in the experiment's, which may hold an earlier report and nothing else.
        extra : sequence of callable
            What else writes files: each is given the report's folder before it is put in place.

        Returns
        -------
        list of pathlib.Path
            The files written: `table.md`, `table.tex`, `table.csv` (mean and SD), `runs.csv` (a row
            a run), `intervals.csv` (intervals, and tests against the first row), `classes.csv`
            (each class against the rest), the figures as PNG, and `report.html` with all of it on
            one page. `calibrators` holds the fitted ones of the table, for `Calibrator.load`.
            `truth.md`, `truth.csv` and `truth_runs.csv` are there where the images' exact posterior
            is known, `features.csv` (a row a run) where runs kept training features, and
            `questions.csv` (a row a test) where the config has questions.

        Raises
        ------
        InputError
            The folder holds something else, or cannot be written.
        """
        experiment = self.results.experiment
        if Path(name).name != name or name in experiment.methods:
            raise InputError(f"name: expected that of a folder for the report, received {name!r}")
        folder = self.results.folder / name
        # Of several processes that make the runs together each writes the report.
        with files.writing(folder, REPORT_FOLDER, argument="name", patience=-1) as new:
            new.mkdir()
            self._write_tables(new)
            _save_calibrators(self.results, new / CALIBRATORS)
            for title, pictures in self.figures.items():
                (new / f"{title}.png").write_bytes(side_by_side(pictures))
            (new / PAGE).write_text(render(self.page), encoding="utf-8")
            for write in extra:
                write(new)
            written = sorted(path.name for path in new.iterdir())
        return [folder / file for file in written]

    def _write_tables(self, folder: Path) -> None:
        name, comparison, exact = self.results.title, self.comparison, self.truth
        text = f"# {name}: test split\n\n{tables.markdown_table(comparison)}\n\n"
        (folder / "table.md").write_text(f"{text}{comparison.caption}\n", encoding="utf-8")
        (folder / "table.tex").write_text(tables.latex_table(comparison) + "\n", encoding="utf-8")
        tables.csv_table(comparison).to_csv(folder / "table.csv", index_label="method")
        self.results.metrics().to_csv(folder / "runs.csv", index=False)
        self.uncertainty.frame().to_csv(folder / "intervals.csv", index=False)
        self.classes.frame.to_csv(folder / "classes.csv", index=False)
        if self.compactness is not None:
            self.compactness.runs.to_csv(folder / "features.csv", index=False)
        if self.answers:
            answers_frame(self.answers).to_csv(folder / "questions.csv", index=False)
        if exact is not None:
            text = truth.markdown_text(exact, name)
            (folder / "truth.md").write_text(text, encoding="utf-8")
            tables.csv_table(exact.comparison).to_csv(folder / "truth.csv", index_label="method")
            exact.runs.to_csv(folder / "truth_runs.csv", index=False)


def _save_calibrators(results: Results, folder: Path) -> None:
    if any(row.calibrators for row in results.rows):
        folder.mkdir()
    for row in results.rows:
        whole = row.ensemble and not row.by_member
        seeds = [""] if whole else [f"_seed_{seed}" for seed in row.seeds]
        for seed, calibrator in zip(seeds, row.calibrators, strict=bool(row.calibrators)):
            text = calibrator.to_json() + "\n"
            (folder / f"{row.key}{seed}.json").write_text(text, encoding="utf-8")
