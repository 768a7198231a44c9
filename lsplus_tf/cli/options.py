"""Options that several commands take."""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lsplus_tf.errors import InputError

if TYPE_CHECKING:
    from lsplus_tf.config import Dataset, Scaling

DataDir = Annotated[
    Path | None,
    typer.Option(help="The folder of the data files, for data sets that are not embedded."),
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

BackgroundOption = Annotated[
    Literal["black", "white"] | None,
    typer.Option(
        "--background",
        help="What image files show where they are transparent.",
        metavar="black|white",
    ),
]

# Those of commands that read a file of predictions, see `lsplus_tf.predictions`.
_COLUMNS = "Columns of the file"
PredictionsFile = Annotated[
    Path,
    typer.Argument(
        help="Predictions and labels: .csv, .xlsx, .parquet, .json, .jsonl or .npz; also a run's "
        "predictions_test.npz.",
        metavar="FILE",
    ),
]
CalibrationFile = Annotated[
    Path,
    typer.Argument(
        help="Predictions and labels: .csv, .xlsx, .parquet, .json, .jsonl or .npz; also a run's "
        "predictions_validation.npz.",
        metavar="FILE",
    ),
]
Probabilities = Annotated[
    str | None,
    typer.Option(
        help="Columns of probabilities: a name with a star for the class, such as 'p_*', "
        "or all of them, as HP,SSA. One column is read as the probability of class 2 "
        "of 2, or of the class in SSA=COLUMN, or has a list in each cell.",
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
PredictedColumn = Annotated[
    str | None,
    typer.Option(
        "--predicted",
        help="Instead, if nothing else is known: the predicted class, with --confidence.",
        metavar="COLUMN",
        show_default="predicted",
        rich_help_panel=_COLUMNS,
    ),
]
ConfidenceColumn = Annotated[
    str | None,
    typer.Option(
        "--confidence",
        help="The probability of the predicted class, with --predicted.",
        metavar="COLUMN",
        show_default="confidence",
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
        help="The id of a case.",
        metavar="COLUMN",
        show_default="id, if there",
        rich_help_panel=_COLUMNS,
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group",
        help="The patient, lesion or slide of a case: cases of one are resampled, and kept"
        " out of a fold, together.",
        metavar="COLUMN",
        show_default="group, if there",
        rich_help_panel=_COLUMNS,
    ),
]
WeightColumn = Annotated[
    str | None,
    typer.Option(
        "--weight",
        help="The weight of a case: 3 counts as three copies of it.",
        metavar="COLUMN",
        show_default="none; of an NPZ file sample_weight, if there",
        rich_help_panel=_COLUMNS,
    ),
]
SplitColumn = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="The split of a case.",
        metavar="COLUMN",
        show_default="split, if there",
        rich_help_panel=_COLUMNS,
    ),
]
VotesColumns = Annotated[
    str | None,
    typer.Option(
        "--votes",
        help="Annotators' votes for each class, given like the probabilities.",
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
        help="The classes in the order of the columns, separated by commas; for one column"
        " of scores NEGATIVE,POSITIVE.",
        metavar="A,B",
        show_default="as the file calls them",
        rich_help_panel=_COLUMNS,
    ),
]
Normalize = Annotated[
    bool,
    typer.Option(
        "--normalize",
        help="Divide each row of probabilities by its sum, such as percentages.",
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


# Those of commands that list image files: keys of `lsplus_tf.config.Dataset`, in its words. They
# are not made from it, as help would have to wait for pydantic.
def _of_table(kind: Any, text: str, metavar: str, default: str | None = None) -> Any:
    more: dict[str, Any] = {} if default is None else {"show_default": default}
    panel = "For csv:PATH"
    return Annotated[
        kind | None, typer.Option(help=text, metavar=metavar, rich_help_panel=panel, **more)
    ]


LISTING = {
    "class_pattern": Annotated[
        str | None,
        typer.Option(
            help="A regular expression for a file's path below the folder; its first "
            "parenthesis is the file's class, in place of the folder's name.",
            metavar="REGEX",
        ),
    ],
    "group_pattern": Annotated[
        str | None,
        typer.Option(
            help="A regular expression for a file's path below the folder; its first "
            "parenthesis is the file's group.",
            metavar="REGEX",
        ),
    ],
    "path_column": _of_table(
        str, "The image file; a missing suffix is found.", "COLUMN", "path, or a usual name"
    ),
    "label_column": _of_table(str, "The class.", "COLUMN", "label, or a usual name"),
    "label_columns": _of_table(
        str, "Instead, a column for each class, with one 1 in every row.", "COLUMNS"
    ),
    "group_column": _of_table(
        str, "The patient, lesion or slide; '' for none.", "COLUMN", "group, or a usual name"
    ),
    "split_column": _of_table(str, "The split; '' for none.", "COLUMN", "split, or a usual name"),
    "image_folder": _of_table(
        Path,
        "Where paths start, relative to the table's folder or to this one.",
        "FOLDER",
        "the table's folder, or one beside it",
    ),
}


# Those of commands that read images for a model, as `lsplus_tf.deployment.open_model` takes them.
_READING_PANEL = "How images are read, where the model does not say"
READING = {
    "image_size": Annotated[
        int | None,
        typer.Option(
            min=1,
            max=8192,
            help="Stretch images to this size, even where the run's config names none.",
            show_default="the model's",
            rich_help_panel=_READING_PANEL,
        ),
    ],
    "channels": Annotated[
        int | None,
        typer.Option(
            help="Convert images to 1 (grey) or 3 (colour) channels, even where the run's config "
            "names none.",
            show_default="the model's",
            rich_help_panel=_READING_PANEL,
        ),
    ],
    "interpolation": Annotated[
        str | None,
        typer.Option(
            help="How images are stretched.",
            metavar="bilinear|nearest",
            show_default="as in the run's training; of another model bilinear",
            rich_help_panel=_READING_PANEL,
        ),
    ],
    "scaling": ScalingOption,
    "background": BackgroundOption,
}


def with_listing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `LISTING`: those that are given are its argument `listing`."""

    def listing(given: dict[str, Any]) -> None:
        if "label_columns" in given:
            given["label_columns"] = names(given["label_columns"])

    return _collecting(command, "listing", LISTING, listing)


def with_reading(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `READING`: those that are given are its argument `reading`."""

    def reading(given: dict[str, Any]) -> None:
        for key, allowed in (("interpolation", ("bilinear", "nearest")), ("channels", (1, 3))):
            if key in given and given[key] not in allowed:
                expected = " or ".join(map(str, allowed))
                raise InputError(f"--{key}: expected {expected}, received {given[key]}")
        if "scaling" in given:
            given["scaling"] = scaling(given["scaling"])

    return _collecting(command, "reading", READING, reading)


def _collecting(
    command: Callable[..., None],
    argument: str,
    options: dict[str, Any],
    convert: Callable[[dict[str, Any]], None],
) -> Callable[..., None]:
    """Give a command options, of which those that are given are one argument, after `convert`."""

    @functools.wraps(command)
    def with_options(*arguments: Any, **keywords: Any) -> None:
        every = {key: keywords.pop(key) for key in options}
        given = {key: value for key, value in every.items() if value is not None}
        convert(given)
        command(*arguments, **{argument: given}, **keywords)

    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.name != argument]
    shared = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for key, option in options.items()
    ]
    with_options.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    return with_options


def check_command(settings: Dataset) -> str:
    """The command that checks what a config has, with the options that its settings are."""
    words = ["lsplus-tf", "datasets", "check", settings.name]
    for key in ("data_dir", *LISTING, "background"):
        value = getattr(settings, key)
        if value not in (None, ()):
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            words += [f"--{key.replace('_', '-')}", text]
    if settings.scaling is not None:
        for key, (low, high) in settings.scaling.model_dump(exclude_none=True).items():
            words += ["--scaling", f"{key}={low:g},{high:g}"]
    return shlex.join(words)


def names(text: str | None) -> list[str] | None:
    """What an option lists, separated by commas."""
    return None if text is None else [part.strip() for part in text.split(",")]


def scaling(text: str | None) -> Scaling | None:
    """The scaling that --scaling declares."""
    from lsplus_tf.config import Scaling, checked

    return None if text is None else checked(Scaling, text, "--scaling")
