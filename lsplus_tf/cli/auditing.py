"""The command that audits predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from lsplus_tf.cli.console import terminal, whole_tables
from lsplus_tf.cli.options import (
    ClassNames,
    ConfidenceColumn,
    GroupColumn,
    IdColumn,
    LabelColumn,
    Logits,
    Normalize,
    PredictedColumn,
    PredictionsFile,
    Probabilities,
    SplitColumn,
    TakeSplit,
    VotesColumns,
    WeightColumn,
    names,
)
from lsplus_tf.errors import InputError

if TYPE_CHECKING:
    from lsplus_tf.auditing import Audit
    from lsplus_tf.page import Table as PageTable

_SIGNS = {"good": "[green]✓[/]", "bad": "[red]![/]", "unsure": "[yellow]?[/]", "fact": "[blue]i[/]"}
_MOST_ROWS = 20
# Columns that are on the page alone, and those that a narrow terminal leaves to it, in this order.
_NEVER = ("Brier", "NLL", "ACC", "Note")
_SPARE = ("p", "Confidence", "Accuracy", "ECE", "AUPRC", "F1", "NPV", "Prevalence", "Specificity")


def audit(
    file: PredictionsFile,
    second: Annotated[
        Path | None,
        typer.Argument(
            help="Another model's predictions of the same cases, with the same columns.",
            metavar="[FILE2]",
            show_default=False,
        ),
    ] = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(
            help="The class that matters most, such as mel: the verdict begins with it; "
            "mel,bcc counts both as one. Repeat for more.",
            metavar="CLASS",
        ),
    ] = None,
    thresholds_from: Annotated[
        Path | None,
        typer.Option(
            help="The same model's predictions of other cases, such as a run's "
            "predictions_validation.npz, with the same columns: the thresholds at which --positive "
            "has a fixed specificity or sensitivity are chosen on them.",
            metavar="FILE",
            show_default="FILE itself",
        ),
    ] = None,
    calibrator: Annotated[
        Path | None,
        typer.Option(
            help="A file of calibrate, fitted to other cases: audits the calibrated probabilities, "
            "as they will be used.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    error_rate: Annotated[
        float, typer.Option(help="Accepted error rate among automatically decided cases.")
    ] = 0.05,
    out: Annotated[
        str | None,
        typer.Option(help="Write audit.html, audit.json and CSV tables here.", metavar="DIR"),
    ] = None,
    model_card: Annotated[
        str | None,
        typer.Option(
            help="Write the evaluation part of a model card here, with metadata that model hubs "
            "read, such as README.md; with --dataset.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="What the model card calls the cases, such as 'HAM10000, test split'.",
            metavar="NAME",
        ),
    ] = None,
    model_name: Annotated[
        str | None,
        typer.Option(
            help="What the model card calls the model.",
            metavar="NAME",
            show_default="FILE's name",
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with code 1 if this holds: of a metric, 'ece>0.05', of a bound of its "
            "interval, 'accuracy.low<0.9', or of a class, 'sensitivity(mel)<0.8'; repeat "
            "for more.",
            metavar="CONDITION",
        ),
    ] = None,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper", help="Also show the metrics as the LS+ paper's code computes them."
        ),
    ] = False,
    resamples: Annotated[
        int, typer.Option(min=200, max=100_000, help="Resamples of each bootstrap interval.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random draws.")] = 0,
    probabilities: Probabilities = None,
    logits: Logits = None,
    predicted: PredictedColumn = None,
    confidence: ConfidenceColumn = None,
    label: LabelColumn = None,
    id_column: IdColumn = None,
    group: GroupColumn = None,
    subgroup: Annotated[
        list[str] | None,
        typer.Option(
            help="Report results separately by this column, such as site or sex; age:40,60 cuts "
            "numbers into below 40, 40 to below 60, and 60 and above. Repeat for more.",
            metavar="COLUMN",
            rich_help_panel="Columns of the file",
        ),
    ] = None,
    cases: Annotated[
        Path | None,
        typer.Option(
            help="Another table of the cases, found there by their ids: for --subgroup, --group "
            "and --weight, where FILE has no such column.",
            metavar="TABLE",
            rich_help_panel="Columns of the file",
        ),
    ] = None,
    weight: WeightColumn = None,
    votes: VotesColumns = None,
    split: SplitColumn = None,
    take_split: TakeSplit = None,
    class_names: ClassNames = None,
    normalize: Normalize = False,
) -> None:
    """Report how reliable the confidences in FILE are, with intervals.

    FILE has a row for each case: the true label, and the probabilities or logits of any model from
    any framework, or the predicted class and its confidence alone. The audit reports the
    sensitivity of each class, those of --positive first; the gap between confidence and accuracy,
    overall, by class and by subgroup, compared with a calibrated model; the share of cases that
    could be decided automatically; and which calibrator helps on held-out folds; all with 95%
    intervals. With FILE2, the two models are compared on the same cases.

    The exit code is 0; 1 if a condition of --fail-if holds; 2 for an invalid file or option, and
    for an --out that cannot be written.

    Example: lsplus-tf audit predictions.csv --subgroup site --fail-if 'ece>0.05' --out audit
    """
    from lsplus_tf import auditing, files
    from lsplus_tf.auditing.card import MODEL_CARD
    from lsplus_tf.auditing.output import AUDIT
    from lsplus_tf.calibrators import Calibrator
    from lsplus_tf.predictions import Columns, read_predictions

    inputs = (file, second, cases, thresholds_from, calibrator)
    if out is not None:
        files.check_output(out, AUDIT, inputs=inputs)
    if model_card is not None:
        if not (dataset or "").strip():
            raise InputError(
                "--model-card: expected --dataset NAME beside it, what the card calls the cases"
            )
        files.check_output(
            model_card,
            MODEL_CARD,
            argument="--model-card",
            inputs=inputs,
        )
    elif dataset is not None or model_name is not None:
        option = "--model-name" if dataset is None else "--dataset"
        raise InputError(f"{option}: expected --model-card FILE beside it, received it alone")
    fitted = None if calibrator is None else Calibrator.load(calibrator)
    conditions = [auditing.parse_condition(text) for text in fail_if or ()]
    columns = Columns(
        probabilities=probabilities,
        logits=logits,
        predicted=predicted,
        confidence=confidence,
        label=label,
        id=id_column,
        group=group,
        split=split,
        weight=weight,
        votes=votes,
        subgroups=subgroup or (),
        take_split=take_split,
        class_names=names(class_names),
        normalize=normalize,
    )
    console = terminal()
    with console.status("reading ..."):
        predictions = read_predictions(file, columns, cases=cases)
        for condition in conditions:
            condition.check(predictions)
        of_interest = [_positive(text, predictions.class_names) for text in positive or ()]
        other = None if second is None else read_predictions(second, columns, cases=cases)
        chosen_on = None
        if thresholds_from is not None:
            fewer = replace(columns, subgroups=(), group=None, take_split=None)
            chosen_on = read_predictions(
                thresholds_from, fewer, cases=None if weight is None else cases
            )
    with console.status("measuring ..."):
        result = auditing.audit(
            predictions,
            other,
            positive=of_interest,
            thresholds_from=chosen_on,
            calibrator=fitted,
            error_rate=error_rate,
            paper=paper,
            num_resamples=resamples,
            seed=seed,
        )
    failed = [condition for condition in conditions if condition.holds(result)]
    given = {"calibrator": calibrator, "table of the cases": cases}
    said = {what: str(path) for what, path in given.items() if path is not None}
    for each in conditions:
        holds = "holds" if each in failed else "does not hold"
        said[f"condition {each.text}"] = f"{holds}: it is {each.value(result):.4g}"
    result = replace(result, settings=result.settings | said)
    written: list[Path] = []
    if out is not None:
        with files.given_as("--out", "folder"):
            written = auditing.write_audit(result, out)
    if model_card is not None and dataset is not None:
        with files.given_as("--model-card", "file"):
            named = (model_name or "").strip() or None
            written.append(
                auditing.write_model_card(result, model_card, dataset=dataset, name=named)
            )
    _print(console, result)
    for path in written:
        console.print(f"Written: {escape(files.shown(path))}", highlight=False, soft_wrap=True)
    for condition in failed:
        console.print(
            f"[bold red]failed:[/] {escape(condition.text)}: it is {condition.value(result):.4g}",
            highlight=False,
        )
    if failed:
        raise typer.Exit(1)


def _positive(text: str, class_names: Sequence[str]) -> list[int]:
    """A class, or several with commas between them."""
    from lsplus_tf.auditing.conditions import classes_said

    try:
        return classes_said(text, class_names)
    except InputError as error:
        raise InputError(f"--{error}".replace(", or its number,", ",")) from None


def _print(console: Console, result: Audit) -> None:
    from lsplus_tf import auditing
    from lsplus_tf.auditing import shown

    for finding in auditing.verdict(result):
        grid = Table.grid(padding=(0, 1))
        grid.add_row(_SIGNS[finding.tone], escape(finding.text))
        console.print(Padding(grid, (0, 0, 1, 0)), highlight=False)
    tables = [shown.classes_table(result, intervals=False)]
    if result.classes.operating is not None:
        tables.append(shown.operating_table(result.classes.operating))
    tables.append(shown.metrics_table(result))
    if result.votes is not None:
        tables.append(shown.votes_table(result.votes))
    if result.paper_metrics is not None:
        tables.append(shown.paper_table(result.paper_metrics))
    tables.append(shown.parts_table(result, joined=True))
    if len(result.classes.by_subgroup):
        tables.append(shown.subgroups_table(result))
    if result.calibrators is not None:
        tables.append(shown.calibrators_table(result.calibrators))
    if result.comparison is not None:
        tables.append(shown.comparison_table(result.comparison))
    with whole_tables(console):
        for table in tables:
            console.print(_rich(table, console.width))
    console.print(shown.about_metrics(result), highlight=False, style="dim")
    for note in result.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)


def _rich(table: PageTable, width: int) -> Table:
    """A table for a terminal of this width: without its spare columns where it is narrow.

    Nothing is cut: cells have more lines, and the words in what the rows are called break last.
    """
    rows = [[cell.text for cell in row] for row in table.cells[:_MOST_ROWS]]
    cells = [*zip(table.headings, *rows, strict=True)]
    widths = [max(map(cell_len, column)) for column in cells]
    columns = [k for k, heading in enumerate(table.headings) if heading not in _NEVER]
    for spare in _SPARE:
        if sum(widths[k] + 3 for k in columns) + 1 > width:
            columns = [k for k in columns if table.headings[k] != spare]
    fits = sum(widths[k] + 3 for k in columns) + 1 <= width
    words = [" ".join(column).split() or [""] for column in cells]
    longest = [max(map(cell_len, each)) for each in words]
    room = width - 4 - sum(longest[k] + 3 for k in columns if k)
    of_names = None if fits else max(1, min(widths[0], room, max(width // 3, longest[0])))
    more = len(table.rows) - _MOST_ROWS
    drawn = Table(
        title=table.caption,
        title_justify="left",
        caption=f"and {more} more: see --out" if more > 0 else None,
        caption_justify="left",
    )
    for k in columns:
        drawn.add_column(
            table.headings[k],
            justify="right" if table.numeric[k] else "left",
            overflow="fold",
            width=of_names if k == 0 else None,
        )
    for row in rows:
        drawn.add_row(*(escape(row[k]) for k in columns))
    return drawn
