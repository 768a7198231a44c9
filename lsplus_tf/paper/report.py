"""The report of `lsplus-tf paper`: what was published, recomputed and beside what is printed.

Every section is made from the artefacts on its own; what is missing shortens it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lsplus_tf import files
from lsplus_tf.config.methods import METHODS as SETTINGS
from lsplus_tf.paper import (
    ablations,
    annotators,
    class_accuracy,
    conclusions,
    figures,
    printed,
    table_1,
)
from lsplus_tf.paper.artifacts import BACKBONES, DATASETS, METHODS, Artifacts, Problem
from lsplus_tf.paper.cells import (
    BACKBONE_TITLES,
    CELL,
    RECOMPUTED,
    markdown,
    markdown_panel,
    panels,
    summarise,
)
from lsplus_tf.paper.checks import Check

REPORT = "report.md"
HEADING = "# The LS+ paper's numbers, recomputed from what was published"
NOTHING = "Nothing of this is in the folder."
_begins = files.begins_with(re.escape(HEADING.encode()))
PAPER_REPORT = files.FolderKind(
    "a report of lsplus-tf paper",
    lambda folder: _begins(folder / REPORT),
    re.compile(
        r"report\.md|(table_1_from_(metrics|predictions)|mhist_runs|temperature_scaling|"
        r"temperatures|ece_kde|class_accuracy|retention_areas(_mhist)?|density_inputs|intervals|"
        r"tests|conclusions|annotators_(intervals|tests|by_votes)|checks)\.csv|"
        r"(retention_curves(_mhist)?|densities_\w+|annotators)\.png"
    ),
)


@dataclass(frozen=True)
class Section:
    """A part of the report: Markdown `text`, and files by their names without the ending."""

    title: str
    text: str
    checks: Sequence[Check] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def tally(self) -> str:
        """How many of the section's numbers match, in words."""
        matched = sum(check.matched for check in self.checks)
        total = sum(check.total for check in self.checks)
        if not total:
            return "not in the folder" if self.text == NOTHING else "made; no printed numbers"
        known = sum(check.total - check.expected for check in self.checks)
        text = f"{matched} of {total} numbers match"
        return f"{text}; {known} are known not to" if known else text


def table_1_section(artifacts: Artifacts) -> Section:
    files = table_1.runs_from_files(artifacts)
    predictions = table_1.runs_from_predictions(artifacts)
    sources = {
        "from the published predictions": table_1.cells(predictions),
        "from the published metrics of the runs": table_1.cells(files),
    }
    text = [
        "Percent (NLL, which the paper calls CE, and Brier times 100), mean ± sample SD of three "
        "runs. As the authors did, "
        "every run's metrics are given 4 decimals, and means and SDs are rounded up. In bold is "
        "what differs.",
    ]
    for where, cells in panels(printed.table_1()):
        # From predictions where these give the whole panel; else from the longer of the two.
        given = {source: _panel(table, cells) for source, table in sources.items()}
        source = max(given, key=lambda name: len(given[name]))
        if not given[source].empty:
            text += [f"### {where}, {source}", markdown_panel(given[source], RECOMPUTED)]
    found = list(table_1.checks(files, predictions))
    if not found:
        text = [NOTHING]
    return Section(
        "Table 1",
        "\n\n".join(text),
        found,
        {
            "table_1_from_metrics": sources["from the published metrics of the runs"],
            "table_1_from_predictions": sources["from the published predictions"],
            "mhist_runs": table_1.per_run(files, predictions),
        },
    )


def _panel(table: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    return table.merge(cells[CELL], on=CELL)


def ablations_section(artifacts: Artifacts) -> Section:
    temperature = ablations.temperature_runs(artifacts)
    ece_kde = ablations.ece_kde_runs(artifacts)
    cells = ablations.temperature_cells(temperature)
    text = []
    if not temperature.empty:
        low, high = temperature["temperature"].min(), temperature["temperature"].max()
        text += [
            "The README of the authors' repository has these tables after temperature scaling, "
            f"which the paper has not. The temperatures of the runs are {low:.2f} to {high:.2f}: "
            "they were learned in 300 steps of 0.001 from 1, so that none could go much further, "
            "whatever the best one is."
        ]
    for where, panel in panels(cells):
        text += [f"### Temperature scaling: {where}", markdown_panel(panel, RECOMPUTED)]
    if not ece_kde.empty:
        text += [
            f"### ECE-KDE on MHIST, bandwidth {ablations.ECE_KDE_BANDWIDTH:g}",
            "Times 100, mean ± SD of three runs, rounded up: what metrics_ecekde.csv has, and what "
            "the predictions give. No table of these is printed, in the paper or in the README.",
            _ece_kde_table(ece_kde),
        ]
    return Section(
        "Temperature scaling and ECE-KDE",
        "\n\n".join(text) or NOTHING,
        list(ablations.checks(temperature, ece_kde)),
        {"temperature_scaling": cells, "temperatures": temperature, "ece_kde": ece_kde},
    )


def _ece_kde_table(runs: pd.DataFrame) -> str:
    sources = ["published", "measured"]
    cells = {}
    for source in sources:
        there = runs.dropna(subset=[source]).assign(dataset="mhist")
        for cell in summarise(there, [source]).itertuples():
            cells[cell.backbone, cell.method, source] = f"{cell.mean:.2f} ± {cell.sd:.1f}"
    rows = []
    for backbone, method in product(BACKBONES, METHODS):
        texts = [cells.get((backbone, method, source), "") for source in sources]
        if any(texts):
            rows.append([BACKBONE_TITLES[backbone], SETTINGS[method].short_name, *texts])
    return markdown(["Network", "Method", *sources], rows)


def class_accuracy_section(artifacts: Artifacts) -> Section:
    constants = class_accuracy.beside_constants(artifacts)
    vectors = class_accuracy.script_vectors(artifacts)
    text = [
        "V, the accuracy of the hard-label runs on each class of the validation images (mean of "
        "three runs), beside the constants that stand in the released training script: one vector "
        "in use, others commented out. On Chaoyang and MHIST one script serves both networks, so "
        "the one in use had to be changed by hand. On ISIC-2018 the vectors in use come from runs "
        "with a learning rate of 0.0001, which are not published and cannot be compared.",
        _constants_table(constants),
    ]
    if vectors.empty:
        text.append("The scripts themselves (distiller.py) are not in the folder.")
    elif vectors["found"].all():
        text.append("The scripts in the folder hold these constants.")
    else:
        text.append("Not all of these constants are in the scripts of the folder.")
    return Section(
        "V, the class accuracies of LS+",
        "\n\n".join(text),
        list(class_accuracy.checks(constants, vectors)),
        {"class_accuracy": constants},
    )


def _constants_table(constants: pd.DataFrame) -> str:
    classes = range(constants["class_index"].max() + 1)
    rows = []
    for where, panel in panels(constants):
        means = panel.dropna().set_index("class_index")["mean_of_runs"]
        if len(means):
            rows.append([where, "mean of the runs", *(f"{v:.4f}" for v in means)])
        for (in_use, rate), vector in panel.groupby(["in_use", "learning_rate"], sort=False):
            source = "script, in use" if in_use == "yes" else "script, commented out"
            source += "" if rate == class_accuracy.PUBLISHED_LEARNING_RATE else f" ({rate:g})"
            rows.append([where, source, *(f"{v:.4f}" for v in vector["constant"])])
    width = 2 + len(classes)
    rows = [row + [""] * (width - len(row)) for row in rows]
    return markdown(["Data and network", "", *(f"class {k}" for k in classes)], rows)


def figures_section(artifacts: Artifacts) -> Section:
    areas, mhist = figures.retention_areas(artifacts), figures.mhist_areas(artifacts)
    inputs = figures.density_inputs(artifacts)
    drawn = {
        "retention_curves": figures.retention_figure(artifacts),
        "retention_curves_mhist": figures.mhist_retention_figure(artifacts),
    } | {
        f"densities_{dataset}_{backbone}": figures.density_figure(artifacts, dataset, backbone)
        for dataset, backbone in product(DATASETS, BACKBONES)
    }
    found = {name: figure for name, figure in drawn.items() if figure is not None}
    text = []
    for name in ("retention_curves", "retention_curves_mhist"):
        text += [_image(name)] if name in found else []
    if text:
        text = ["### Retention curves", *text, figures.retention_in_words(areas, mhist)]
    densities = [name for name in found if name.startswith("densities")]
    if densities:
        text += [
            "### Densities of confidence on correct and on incorrect images",
            "Run 1, by the paper's recipe: 15 bins over each group's own range, a density for each "
            "group on its own, cut off at the paper's height.",
            *map(_image, densities),
        ]
    return Section(
        "Figures 1 and 2",
        "\n\n".join(text) or NOTHING,
        figures.checks(artifacts),
        {"retention_areas": areas, "retention_areas_mhist": mhist, "density_inputs": inputs},
        found,
    )


def _image(name: str) -> str:
    return f"![{name.replace('_', ' ')}]({name}.png)"


def conclusions_section(artifacts: Artifacts) -> Section:
    found = conclusions.conclude(artifacts)
    name = "Which conclusions on MHIST survive"
    if found is None:
        return Section(name, NOTHING)
    tables = {
        "intervals": found.intervals,
        "tests": found.tests,
        "conclusions": found.survivors,
    }
    return Section(name, conclusions.in_words(found), tables=tables)


def annotators_section(artifacts: Artifacts) -> Section:
    found = annotators.agree(artifacts)
    name = "Agreement with the annotators of MHIST"
    if found is None:
        return Section(name, NOTHING)
    tables = {
        "annotators_intervals": found.intervals,
        "annotators_tests": found.tests,
        "annotators_by_votes": found.by_votes,
    }
    drawn = {"annotators": annotators.votes_figure(found)}
    text = f"{annotators.in_words(found)}\n\n{_image('annotators')}"
    return Section(name, text, tables=tables, figures=drawn)


SECTIONS: dict[str, Callable[[Artifacts], Section]] = {
    "Table 1": table_1_section,
    "Temperature scaling and ECE-KDE": ablations_section,
    "Figures 1 and 2": figures_section,
    "V, the class accuracies of LS+": class_accuracy_section,
    "Which conclusions on MHIST survive": conclusions_section,
    "Agreement with the annotators of MHIST": annotators_section,
}


def verdict(sections: Sequence[Section], problems: Sequence[Problem]) -> bool:
    """Whether every number that could be compared matched, and no file is damaged.

    False too where nothing could be compared.
    """
    compared = sum(check.total for section in sections for check in section.checks)
    damaged = any(problem.kind == "damaged" for problem in problems)
    return bool(compared) and not damaged and all(section.passed for section in sections)


def missing_by_folder(problems: Sequence[Problem]) -> dict[str, int]:
    """How many files are missing in each folder."""
    return dict(
        Counter(str(Path(problem.path).parent) for problem in problems if problem.kind == "missing")
    )


def write_report(
    sections: Sequence[Section], problems: Sequence[Problem], source: Path, out: str | Path
) -> None:
    """Write the folder `out`: report.md, a CSV of every table, and the figures as PNG.

    Raises
    ------
    InputError
        `out` holds something else than an earlier report, or cannot be written.
    """
    with files.writing(out, PAPER_REPORT, argument="out", inputs=(source,)) as new:
        new.mkdir()
        parts = [HEADING, _summary(sections, problems, source)]
        for section in sections:
            parts += [f"## {section.title}", section.text]
            for name, figure in section.figures.items():
                figure.savefig(new / f"{name}.png", dpi=110, bbox_inches="tight")
                plt.close(figure)
            for name, table in section.tables.items():
                table.to_csv(new / f"{name}.csv", index=False)
            tables = ", ".join(f"[{name}.csv]({name}.csv)" for name in section.tables)
            if tables:
                parts.append(f"Numbers: {tables}")
        _checks_table(sections).to_csv(new / "checks.csv", index=False)
        (new / REPORT).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _checks_table(sections: Sequence[Section]) -> pd.DataFrame:
    rows = [
        (section.title, c.name, c.matched, c.total, c.expected, c.passed, c.note)
        for section in sections
        for c in section.checks
    ]
    columns = ["section", "check", "matched", "total", "expected", "passed", "note"]
    return pd.DataFrame(rows, columns=columns)


def _summary(sections: Sequence[Section], problems: Sequence[Problem], source: Path) -> str:
    checks = [check for section in sections for check in section.checks]
    rows = [
        [check.name, f"{check.matched} of {check.total}", _verdict(check), check.note]
        for check in checks
    ]
    words = "Every number that could be compared matches, but for the known exceptions below."
    if not all(check.passed for check in checks):
        words = "**Not every number that could be compared matches.**"
    elif not checks:
        words = "**Nothing could be compared.**"
    text = [
        f"From `{source}`, a clone of github.com/abhisheksambyal/lsplus or a part of one. {words}",
        markdown(["Compared", "Matches", "All", "Note"], rows, text_columns=4),
    ]
    damaged = [problem for problem in problems if problem.kind == "damaged"]
    if damaged:
        text.append("**Damaged files**, which were left out:")
        text.append("\n".join(f"- `{p.path}`: {p.message}" for p in damaged))
    missing = missing_by_folder(problems)
    if missing:
        text.append("Missing files, whose numbers were not compared:")
        lines = [f"- `{folder}`: {_files(count)}" for folder, count in missing.items()]
        text.append("\n".join(lines))
    return "\n\n".join(text)


def _verdict(check: Check) -> str:
    if not check.passed:
        return "**no**"
    return "yes" if check.matched == check.total else "as known"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
