"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsplus_tf.errors import InputError

if TYPE_CHECKING:
    from lsplus_tf.config import Scaling

DataDir = Annotated[
    Path | None,
    typer.Option(help="Where the data files lie, for data sets that are not embedded."),
]

ScalingOption = Annotated[
    str | None,
    typer.Option(
        "--scaling",
        help="How files of more than 8 bits become 8-bit ones: window=CENTRE,WIDTH, range=LOW,HIGH "
        "or percentiles=LOW,HIGH of each image.",
        metavar="KEY=A,B",
    ),
]

# Those of commands that read a file of predictions, see `lsplus_tf.predictions`.
_COLUMNS = "Columns of the file"
PredictionsFile = Annotated[
    Path,
    typer.Argument(
        help="Predictions and labels: .csv, .parquet, .json or .npz; also a run's "
        "predictions_test.npz.",
        metavar="FILE",
    ),
]
CalibrationFile = Annotated[
    Path,
    typer.Argument(
        help="Predictions and labels: .csv, .parquet, .json or .npz; also a run's "
        "predictions_validation.npz.",
        metavar="FILE",
    ),
]
Probabilities = Annotated[
    str | None,
    typer.Option(
        help="Columns of probabilities: a name with a star for the class, such as 'p_*', or all "
        "of them, as HP,SSA. One column is of the second of two classes.",
        metavar="COLUMNS",
        show_default="probability_*",
        rich_help_panel=_COLUMNS,
    ),
]
Logits = Annotated[
    str | None,
    typer.Option(
        help="Columns of logits, instead.",
        metavar="COLUMNS",
        show_default="logit_*",
        rich_help_panel=_COLUMNS,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label",
        help="The true class, by name or as 0..K-1.",
        metavar="COLUMN",
        show_default="label",
        rich_help_panel=_COLUMNS,
    ),
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        "--id",
        help="What a case is called.",
        metavar="COLUMN",
        show_default="id, if there",
        rich_help_panel=_COLUMNS,
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group",
        help="The patient, lesion or slide that a case is of: cases of one are drawn, and kept "
        "out of a fold, together.",
        metavar="COLUMN",
        show_default="group, if there",
        rich_help_panel=_COLUMNS,
    ),
]
SplitColumn = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="The split that a case is of.",
        metavar="COLUMN",
        show_default="split, if there",
        rich_help_panel=_COLUMNS,
    ),
]
VotesColumns = Annotated[
    str | None,
    typer.Option(
        "--votes",
        help="Annotators' votes for each class, as the probabilities.",
        metavar="COLUMNS",
        show_default="votes_*, if there",
        rich_help_panel=_COLUMNS,
    ),
]
TakeSplit = Annotated[
    str | None,
    typer.Option(help="Only the cases of this split.", metavar="NAME", rich_help_panel=_COLUMNS),
]
ClassNames = Annotated[
    str | None,
    typer.Option(
        help="The classes in the order of the columns, separated by commas.",
        metavar="A,B",
        show_default="as the file calls them",
        rich_help_panel=_COLUMNS,
    ),
]
ModelClassNames = Annotated[
    str | None,
    typer.Option(
        help="The model's classes, separated by commas.",
        metavar="A,B",
        show_default="those of the run, or of the export",
    ),
]


def names(text: str | None) -> list[str] | None:
    """What an option lists, separated by commas."""
    return None if text is None else [part.strip() for part in text.split(",")]


def scaling(text: str | None) -> Scaling | None:
    """The scaling that --scaling declares."""
    from lsplus_tf.config import Scaling, checked

    if text is None:
        return None
    key, _, numbers = text.partition("=")
    try:
        values = [float(number) for number in numbers.split(",")]
    except ValueError as error:
        raise InputError(
            f"--scaling: expected a key and two numbers, as window=40,400, received {text}"
        ) from error
    return checked(Scaling, {key.strip(): values}, "--scaling")
