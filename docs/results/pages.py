"""Write the pages whose numbers come from reports: none of these numbers is typed.

    python docs/results/pages.py                            # write every page anew
    python docs/results/pages.py take RUNS/report ham10000  # take a report's files, then write
    python docs/results/pages.py take RUNS/report_selected ham10000/open_ends  # a part of a page

A page is the template beside it, `README.md.jinja`, filled with the files that `lsplus-tf report`
wrote. The README and the pages of configs have parts of this kind as well, between two comments, of
which the first says what it is filled with. A test fills them all again and compares.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from tabulate import tabulate

import lsplus_tf as lsp
from lsplus_tf.config import load_config, load_grid
from lsplus_tf.errors import listed
from lsplus_tf.metrics import METRICS
from lsplus_tf.paper.printed import cells_of
from lsplus_tf.results.truth import COLUMNS as TRUTH
from lsplus_tf.results.truth import POSTERIOR

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

import reference  # noqa: E402

# What a page has of a report, where the report has it.
TAKEN = (
    *("table.md", "table.csv", "runs.csv", "intervals.csv", "classes.csv"),
    *("questions.csv", "features.csv", "truth.md", "truth.csv", "truth_runs.csv"),
)
_MARKED = re.compile(r"(<!-- pages\.py: (.*?) -->\n).*?(<!-- pages\.py ends -->)", re.DOTALL)
_OF_FEATURES = {
    "within_class_share": "Variance within classes",
    "silhouette": "Silhouette (from -1 to 1)",
}
_MOST_SEEDS = 1000  # that anyone would train
_VERDICTS = {"better": "better", "worse": "worse"}


class Results:
    """What a report says, as text for a page; every share is times 100.

    Of a grid's joined report it is what one of its experiments says, of `truth.csv` the comparison
    with the exact probabilities, of `validation.csv` the means on validation images. A part of a
    page is another report of the same runs, in a folder of its own.
    """

    def __init__(
        self,
        page: str,
        experiment: str | None = None,
        *,
        part: str = "",
        table: str = "table.csv",
    ) -> None:
        self.folder = HERE / page / part
        self._experiment = experiment
        self._table = table
        if experiment is None:
            self._titles = load_config(page).titles
        else:
            self._titles = load_grid(page).experiments[experiment].titles

    def title(self, row: str) -> str:
        """What a row is called."""
        if row == POSTERIOR:
            return "The exact probabilities"
        method, *calibrator = row.split("+")
        method, ensemble = method.removesuffix("_ensemble"), method.endswith("_ensemble")
        title = self._titles[method]
        if ensemble:
            title += f", ensemble of {(self._read('runs.csv')['method'] == method).sum()}"
        return " + ".join([title, *calibrator])

    def _read(self, name: str) -> pd.DataFrame:
        table = pd.read_csv(self.folder / name)
        if self._experiment is not None:
            table = table[table["experiment"] == self._experiment].drop(columns="experiment")
        return table

    def _cell(self, row: str, column: str) -> float:
        table = self._read(self._table).set_index("method")
        return float(table.loc[row, column])

    def mean(self, row: str, metric: str, decimals: int = 1) -> str:
        """The mean over the seeds of a row of the table."""
        return f"{self._cell(row, f'{metric}_mean'):.{decimals}f}"

    def sd(self, row: str, metric: str, decimals: int = 1) -> str:
        """The sample SD over the seeds of a row of the table."""
        return f"{self._cell(row, f'{metric}_sd'):.{decimals}f}"

    def gap(self, row: str, decimals: int = 1) -> str:
        """Confidence less accuracy, with its sign."""
        return f"{self._gap(row):+.{decimals}f}"

    def off(self, row: str, decimals: int = 1) -> str:
        """How far confidence and accuracy are apart."""
        return f"{abs(self._gap(row)):.{decimals}f}"

    def _gap(self, row: str) -> float:
        return self._cell(row, "mean_confidence_mean") - self._cell(row, "accuracy_mean")

    def lowest(self, metric: str, decimals: int = 1, *, of: list[str]) -> str:
        """The smallest mean of some rows."""
        return f"{min(self._cell(row, f'{metric}_mean') for row in of):.{decimals}f}"

    def highest(self, metric: str, decimals: int = 1, *, of: list[str]) -> str:
        """The largest mean of some rows."""
        return f"{max(self._cell(row, f'{metric}_mean') for row in of):.{decimals}f}"

    def between(
        self, metric: str, decimals: int = 1, *, of: list[str], calibrator: str | None = None
    ) -> str:
        """The smallest and the largest mean of some rows, or of them with a calibrator."""
        rows = of if calibrator is None else [f"{row}+{calibrator}" for row in of]
        low, high = self.lowest(metric, decimals, of=rows), self.highest(metric, decimals, of=rows)
        return f"{low} to {high}"

    def table(self, metrics: list[str], rows: list[str] | None = None) -> str:
        """Means and SDs, a row for each of `rows`, by default all."""
        of_truth = {each.key: each for each in TRUTH}
        columns = METRICS if self._table == "table.csv" else of_truth
        table = self._read(self._table).set_index("method")
        table = table.loc[list(table.index) if rows is None else rows]
        cells = []
        for key in table.index:
            line = [self.title(key)]
            for metric in metrics:
                mean, sd = table.loc[key, [f"{metric}_mean", f"{metric}_sd"]]
                text = f"{mean:.2f}" if pd.isna(sd) else f"{mean:.2f} ± {sd:.2f}"
                better = columns[metric].better
                means = table[f"{metric}_mean"].drop(POSTERIOR, errors="ignore")
                printed = (better * means).round(2)
                best = better and printed.get(key) == printed.max()
                line.append(f"**{text}**" if best else text)
            cells.append(line)
        arrows = {1: " ↑", -1: " ↓", 0: ""}
        records = [columns[metric] for metric in metrics]
        headings = ["Method", *(each.heading + arrows[each.better] for each in records)]
        return _markdown(headings, cells)

    def questions(self, *names: str) -> str:
        """What is found of some questions, all tests of theirs between methods that were run."""
        table = self._read("questions.csv").dropna(subset="difference")
        cells = [
            [
                title_of(each.metric),
                self.title(each.method),
                self.title(each.baseline),
                *_found(each),
            ]
            for each in table[table["question"].isin(names)].itertuples()
        ]
        headings = ["Metric", "Method", "Less", "Difference x100", "p", "The method is"]
        return _markdown(headings, cells)

    def answer(self, question: str, metric: str, baseline: str) -> str:
        """One test of a question, in words."""
        difference, p, verdict = _found(self._test(question, metric, baseline))
        return f"{difference}, p {p}: {verdict}" if p else f"{difference}: {verdict}"

    def verdict(self, question: str, metric: str, baseline: str) -> str:
        """That a method is "better" or "worse" than a baseline, or "undecided"."""
        return str(self._test(question, metric, baseline).verdict)

    def _test(self, question: str, metric: str, baseline: str) -> Any:
        table = self._read("questions.csv")
        chosen = (table["question"] == question) & (table["metric"] == metric)
        (found,) = table[chosen & (table["baseline"] == baseline)].itertuples()
        return found

    def rows_that_are(self, verdict: str, metric: str, *, calibrated: bool = False) -> str:
        """The rows that are better (or worse) than the first one in a metric, or "none"."""
        table = self._read("intervals.csv")
        if "about" not in table:  # of a page whose report knew networks alone
            table = pd.read_csv(HERE / "methods.csv")
            table = table[table["page"] == self.folder.name]
            table = table.rename(columns={"verdict": "difference_verdict"})
        chosen = (table["metric"] == metric) & (table["difference_verdict"] == verdict)
        rows = [row for row in table[chosen]["method"] if calibrated or "+" not in row]
        return listed([self.title(row) for row in rows]) if rows else "none"

    def differences(self, *metrics: str) -> str:
        """Which rows are significantly better or worse than the first one in some metrics."""
        said = []
        for verdict in _VERDICTS:
            found = {metric: self.rows_that_are(verdict, metric) for metric in metrics}
            each = [f"in {title_of(key)}, {rows}" for key, rows in found.items() if rows != "none"]
            if each:
                said.append(f"Significantly {verdict} than hard labels are, {'; '.join(each)}.")
        if said:
            return " ".join(said)
        named = listed([title_of(metric) for metric in metrics])
        return f"No method is significantly better or worse than hard labels in any of {named}."

    def of_class(self, row: str, name: str, metric: str, decimals: int = 1) -> str:
        """A metric of a class against the rest, with its interval."""
        table = self._read("classes.csv").set_index(["method", "class", "metric"])
        found = table.loc[(row, name, metric)]
        text = f"{100 * found['mean']:.{decimals}f}"
        if pd.isna(found["low"]):
            return text
        return f"{text} [{100 * found['low']:.{decimals}f}, {100 * found['high']:.{decimals}f}]"

    def share(self, file: str, column: str, decimals: int = 1, **where: object) -> str:
        """A share of one of the files, in percent: that of the row with these values."""
        return f"{100 * self._row(file, where)[column]:.{decimals}f}"

    def interval(self, file: str, columns: list[str], decimals: int = 1, **where: object) -> str:
        """A share with its interval, from three columns of the row with these values."""
        row = self._row(file, where)
        value, low, high = (f"{100 * row[column]:.{decimals}f}" for column in columns)
        return f"{value} [{low}, {high}]"

    def _row(self, file: str, where: dict[str, object]) -> pd.Series:
        table = self._read(file)
        for key, value in where.items():
            table = table[table[key] == value]
        ((_, found),) = table.iterrows()
        return found


def printed(dataset: str, backbone: str, method: str, metric: str) -> str:
    """The mean that a paper prints, in percent."""
    cells = cells_of(dataset, backbone).set_index(["method", "metric"])
    return f"{cells.loc[(method, metric), 'mean']:.1f}"


def title_of(metric: str) -> str:
    return _OF_FEATURES.get(metric) or METRICS[metric].heading


def _found(test: Any) -> tuple[str, str, str]:
    """Difference with interval, p after Holm's correction, and what follows."""
    value = f"{100 * test.difference:+.1f}"
    if pd.isna(test.p):
        return value, "", "nothing can be said"
    interval = f"{value} [{100 * test.low:+.1f}, {100 * test.high:+.1f}]"
    p = "< 0.001" if test.p_holm < 0.001 else f"{test.p_holm:.3f}"
    if test.verdict in _VERDICTS:
        return interval, p, _VERDICTS[test.verdict]
    needed = test.seeds_needed
    if needed <= _MOST_SEEDS:
        more = f"{needed:.0f} seeds would"
    elif needed < float("inf"):
        more = f"not even {_MOST_SEEDS:,} seeds would"
    else:
        more = "more images would"
    return interval, p, f"not decided; {more}"


def _markdown(headings: list[str], cells: list[list[str]]) -> str:
    align = ["left"] + ["right"] * (len(headings) - 1)
    return tabulate(cells, headings, tablefmt="pipe", colalign=align, disable_numparse=True)


_ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # what is written is Markdown
)


def _filled(template: Path) -> str:
    return _ENVIRONMENT.from_string(template.read_text(encoding="utf-8")).render()


_ENVIRONMENT.globals |= {
    "config_reference": reference.config_reference,
    "packaged_configs_table": reference.packaged_configs_table,
    "results": Results,
    "printed": printed,
    "summary": lambda page: _filled(HERE / page / "summary.jinja"),
}


def filled() -> dict[Path, str]:
    """Every page, and what it has to be."""
    templates = sorted(ROOT.joinpath("docs").rglob("*.md.jinja"))
    texts = {template.with_suffix(""): _filled(template) for template in templates}
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        if page not in texts and _MARKED.search(text := page.read_text(encoding="utf-8")):
            texts[page] = _MARKED.sub(_fill, text)
    return texts


def _fill(part: re.Match[str]) -> str:
    begin, expression, end = part.groups()
    filled = _ENVIRONMENT.compile_expression(expression)().rstrip("\n")
    return f"{begin}{filled}\n{end}"


def take(report: Path, page: str, figures: list[str]) -> None:
    """Copy what a page has of a report, and of the runs that it is of the means on validation."""
    folder = HERE / page
    folder.mkdir(exist_ok=True)
    for name in [*TAKEN, *figures]:
        if (report / name).is_file():
            shutil.copyfile(report / name, folder / name)
    if (report.parent / "experiment.yaml").is_file():  # no grid
        runs = lsp.results.gather(report.parent).metrics("validation").drop(columns="seed")
        runs = runs[runs["method"].isin(pd.read_csv(report / "table.csv")["method"])]
        means = (100 * runs.groupby("method", sort=False).agg(["mean", "std"])).rename(
            columns={"std": "sd"}
        )
        means.columns = ["_".join(each) for each in means.columns]
        means.to_csv(folder / "validation.csv", float_format="%.6f")


if __name__ == "__main__":
    if sys.argv[1:2] == ["take"]:
        take(Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
    for path, text in filled().items():
        path.write_text(text, encoding="utf-8")
