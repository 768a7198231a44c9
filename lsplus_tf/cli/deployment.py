"""The commands that calibrate a trained model and put it to use."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lsplus_tf.cli.console import terminal
from lsplus_tf.cli.options import (
    CalibrationFile,
    ClassNames,
    GroupColumn,
    IdColumn,
    LabelColumn,
    Logits,
    ModelClassNames,
    Normalize,
    Probabilities,
    SplitColumn,
    TakeSplit,
    WeightColumn,
    names,
    with_reading,
)
from lsplus_tf.errors import InputError, counted, did_you_mean, some_of

if TYPE_CHECKING:
    from lsplus_tf.auditing.cross_fitting import CrossFit
    from lsplus_tf.calibrators import Calibrator, LabelShift, PredictionSets
    from lsplus_tf.cli.prediction_sets import SetsAsked
    from lsplus_tf.deployment import TrainedModel
    from lsplus_tf.files import FileKind
    from lsplus_tf.predictions import Columns, Predictions

_NAMED = 3
_REJECTED = 0.05
_SHOWN = 12  # numbers of a calibrator that are printed; more are in its file

ModelPath = Annotated[
    Path,
    typer.Argument(help="The folder of a finished run, or a .keras file.", metavar="MODEL"),
]
CalibratorFile = Annotated[
    Path | None,
    typer.Option(
        "--calibrator",
        help="A calibrator's file, from calibrate or a report.",
        metavar="FILE.json",
    ),
]
AbstainBelow = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Abstain if the confidence is below this.",
        show_default="0; of an export its own",
    ),
]
Sets = Annotated[
    float | None,
    typer.Option(
        help="Also write a set of classes, which misses the true one in this share of "
        "cases, such as 0.1.",
        metavar="ERROR_RATE",
        show_default="no sets; of an export its own",
    ),
]
SetsMethod = Annotated[
    str | None,
    typer.Option(
        help="How sets are made: the smallest ones (lac), or larger ones for harder cases.",
        metavar="lac|aps|raps",
        show_default="lac, the smallest sets",
    ),
]
SetsByClass = Annotated[
    bool,
    typer.Option("--sets-by-class", help="Keep the error rate in each class, with larger sets."),
]
SetsFrom = Annotated[
    Path | None,
    typer.Option(
        help="Held-out predictions with labels, which the thresholds are fitted to; or a "
        "JSON file of fitted lsp.PredictionSets.",
        metavar="FILE",
        show_default="the run's validation predictions",
    ),
]


def calibrate(
    file: CalibrationFile,
    method: Annotated[
        str, typer.Option(help="temperature, dirichlet, vector, isotonic, ...", metavar="NAME")
    ] = "temperature",
    out: Annotated[
        str, typer.Option(help="The calibrator's file.", metavar="FILE.json")
    ] = "calibrator.json",
    probabilities: Probabilities = None,
    logits: Logits = None,
    label: LabelColumn = None,
    case_id: IdColumn = None,
    group: GroupColumn = None,
    weight: WeightColumn = None,
    split: SplitColumn = None,
    take_split: TakeSplit = None,
    class_names: ClassNames = None,
    normalize: Normalize = False,
    prevalence: Annotated[
        str | None,
        typer.Option(
            help="For label_shift: the share of each class where the model is used.",
            metavar="A=0.1,B=0.9",
        ),
    ] = None,
    adapt_to: Annotated[
        Path | None,
        typer.Option(
            help="For label_shift, instead: predictions of the cases where the model is used, "
            "such as those of predict without --calibrator. Their prevalence is "
            "estimated; labels, and the column of --weight, are not read.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Fit a calibrator to the predictions in FILE, and measure its effect on held-out folds.

    FILE has predictions for cases that the model was not trained on, with their labels: a
    validation split, never the cases on which you report the result. The effect is measured by
    cross-fitting: each fifth of the cases is judged by a calibrator fitted to the others. The
    calibrator that is written is fitted to all of FILE.

    Example: lsplus-tf calibrate runs/digits/hard_labels/seed_0/predictions_validation.npz
    """
    from lsplus_tf import files
    from lsplus_tf.auditing.cross_fitting import cross_fit
    from lsplus_tf.calibrators import CALIBRATORS, LabelShift
    from lsplus_tf.calibrators.base import CALIBRATOR
    from lsplus_tf.predictions import Columns, read_predictions

    files.check_output(out, CALIBRATOR, inputs=(file, adapt_to))
    if method not in CALIBRATORS:
        hint = did_you_mean(method, CALIBRATORS)
        raise InputError(
            f"--method: expected one of {', '.join(CALIBRATORS)}, received {method!r}{hint}"
        )
    _check_adaptation(method, prevalence, adapt_to)
    columns = Columns(
        probabilities=probabilities,
        logits=logits,
        label=label,
        id=case_id,
        group=group,
        split=split,
        weight=weight,
        take_split=take_split,
        class_names=names(class_names),
        normalize=normalize,
    )
    predictions = read_predictions(file, columns).counted()
    predictions.need("labels", "probabilities")
    # Whatever may be wrong is told before the fit, which takes long.
    shares = None if prevalence is None else _shares(prevalence, predictions.class_names)
    target = None if adapt_to is None else _target(adapt_to, columns, predictions.class_names)
    if file.name == "predictions_test.npz":
        warnings.warn(
            f"{file}: the test split, on which nothing can be reported once a calibrator is fitted "
            "to it; take predictions_validation.npz",
            stacklevel=1,
        )
    kind = CALIBRATORS[method]
    kind.check_takes(predictions.kind, "--method")
    calibrator = kind().fit(predictions)
    console = terminal()
    console.print(
        f"[bold]{escape(str(file))}[/]  {counted(len(predictions), 'case')}, "
        f"{len(predictions.class_names)} classes",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"{method}, fitted to all of them:", highlight=False)
    for line in _parameters(calibrator):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    if isinstance(calibrator, LabelShift):
        console.print("Before the adaptation to another prevalence:", highlight=False)
    judged = cross_fit(predictions, num_resamples=1000, seed=0, methods=(method,))
    _print_effect(console, method, judged)
    calibrator.held_out_ = None if judged is None else judged.said_of(method)
    if isinstance(calibrator, LabelShift):
        calibrator = _adapted(console, calibrator, predictions, shares, target)
    with files.given_as("--out", "path"):
        calibrator.save(out)
    console.print(
        f"Written: {escape(files.shown(files.expanded(out)))}", highlight=False, soft_wrap=True
    )


@with_reading
def predict(
    model: ModelPath,
    images: Annotated[
        list[Path],
        typer.Argument(help="Image files, or folders of them.", metavar="IMAGES..."),
    ],
    calibrator: CalibratorFile = None,
    abstain_below: AbstainBelow = None,
    sets: Sets = None,
    sets_method: SetsMethod = None,
    sets_by_class: SetsByClass = False,
    sets_from: SetsFrom = None,
    out: Annotated[str, typer.Option(help="The CSV file.", metavar="FILE.csv")] = "predictions.csv",
    unreadable: Annotated[
        str,
        typer.Option(
            help="What to do with images that cannot be read: fail, or skip them.",
            metavar="fail|skip",
        ),
    ] = "fail",
    batch_size: Annotated[
        int, typer.Option(min=1, max=65_536, help="Number of images in a batch.")
    ] = 32,
    class_names: ModelClassNames = None,
    *,
    reading: dict[str, Any],
) -> None:
    """Predict image files with a trained MODEL, and abstain if its confidence is low.

    Images are read and stretched as in the run's training, also for a .keras file of export; for
    other .keras files the options say how. The CSV has a row for each file: the predicted class,
    its probability, whether the model abstains, and the probability of each class. Without
    --calibrator the probabilities are the model's own. A .keras file of export abstains and has
    sets as set at export, unless options change that.

    With --sets it also has the classes that cannot be ruled out. Sets contain the true class as
    often as promised on average over cases like those that they were fitted to, not for each class
    or case.

    Example: lsplus-tf predict runs/digits/ls_plus/seed_0 scans --calibrator calibrator.json
    --abstain-below 0.8
    """
    from lsplus_tf import files
    from lsplus_tf.calibrators import Calibrator
    from lsplus_tf.cli.prediction_sets import SetsAsked, check_beside, described

    inputs = (model, *images, calibrator, sets_from)
    path = files.check_output(out, _predictions_file(), inputs=inputs)
    if unreadable not in ("fail", "skip"):
        raise InputError(f"--unreadable: expected fail or skip, received {unreadable}")
    from lsplus_tf import deployment

    found, others = deployment.find_images(images)
    fitted = None if calibrator is None else Calibrator.load(calibrator)
    asked = SetsAsked(sets, sets_method, sets_by_class, sets_from)
    of_sets = asked.saved()
    if of_sets is not None:
        fitted = check_beside(of_sets, fitted)
    trained = _open(model, fitted, class_names=names(class_names), **reading)
    if fitted is not None:
        deployment.check_calibrator(trained, fitted)
    console = terminal()
    if sets is None and of_sets is None and trained.sets is not None and fitted is not None:
        raise InputError(
            f"--calibrator: expected none, as the sets in {model} were fitted to probabilities "
            "without one; give --sets and --sets-from too"
        )
    of_sets, said = _fitted_sets(asked, of_sets, model, trained, fitted)
    lines = [said] if said else []
    if abstain_below is None and trained.abstain_below > 0:
        lines.append(f"abstains below {trained.abstain_below:g}, as the export says")
    if of_sets is None and trained.sets is not None:
        of_sets = trained.sets
        lines.append(f"{described(of_sets)}, of the export")
    for line in lines:
        console.print(escape(line), highlight=False, soft_wrap=True)
    threshold = trained.abstain_below if abstain_below is None else abstain_below
    if others:
        left_out = counted(others, "file that is not an image is", "files that are not images are")
        console.print(f"{left_out} left out", highlight=False)
    written = _Written(trained.class_names, threshold, of_sets)
    _write_predictions(trained, found, fitted, out, written, batch_size, unreadable, console)
    console.print(written.summary(), highlight=False, soft_wrap=True, markup=False)
    console.print(f"Written: {escape(files.shown(path))}", highlight=False, soft_wrap=True)


@with_reading
def export(
    model: ModelPath,
    out: Annotated[
        str,
        typer.Option(help="NAME.keras, NAME.onnx, or a folder for a SavedModel.", metavar="PATH"),
    ],
    calibrator: CalibratorFile = None,
    abstain_below: AbstainBelow = None,
    sets: Sets = None,
    sets_method: SetsMethod = None,
    sets_by_class: SetsByClass = False,
    sets_from: SetsFrom = None,
    class_names: ModelClassNames = None,
    *,
    reading: dict[str, Any],
) -> None:
    """Write MODEL as one file or folder that contains all that predict needs.

    It takes pixels 0..255 (B, H, W, C). With --calibrator the probabilities are calibrated. Class
    names, how images were read, the threshold of --abstain-below and the sets of --sets are inside:
    predict reads them from a .keras file, and a SavedModel and an ONNX file output the sets and
    the abstention beside the probabilities. These two do not need this package, and contain a
    script, predict_images.py, that reads images as in training and prints predict's CSV.

    Example: lsplus-tf export runs/digits/ls_plus/seed_0 --calibrator calibrator.json
    --abstain-below 0.8 --out served
    """
    from lsplus_tf import deployment, files
    from lsplus_tf.calibrators import Calibrator
    from lsplus_tf.cli.prediction_sets import SetsAsked, check_beside, described
    from lsplus_tf.deployment.exporting import check_out

    path, _ = check_out(out, inputs=(model, calibrator, sets_from))
    fitted = None if calibrator is None else Calibrator.load(calibrator)
    asked = SetsAsked(sets, sets_method, sets_by_class, sets_from)
    of_sets = asked.saved()
    if of_sets is not None:
        fitted = check_beside(of_sets, fitted)
    trained = _open(model, fitted, class_names=names(class_names), **reading)
    if fitted is not None:
        deployment.check_calibrator(trained, fitted)
    of_sets, said = _fitted_sets(asked, of_sets, model, trained, fitted)
    from lsplus_tf.calibrators.keras import is_calibrated  # which imports TensorFlow

    with files.given_as("--out", "out"):
        deployment.export(
            trained, out, calibrator=fitted, abstain_below=abstain_below, sets=of_sets
        )
    height, width, channels = trained.image_shape
    lines = [
        f"{width}x{height} pixels of {counted(channels, 'channel')}, 0..255, to probabilities of "
        f"{', '.join(trained.class_names)}"
    ]
    threshold = trained.abstain_below if abstain_below is None else abstain_below
    if threshold > 0:
        lines.append(f"abstains below {threshold:g}")
    if of_sets is None and trained.sets is not None:
        said = f"{described(trained.sets)}, of the export"
    lines += [said] * bool(said)
    if path.suffix == ".keras" and (fitted is not None or is_calibrated(trained.model)):
        lines.append("Keras loads it where lsplus_tf is installed, as a calibrator is inside")
    lines.append(f"Written: {files.shown(path)}")
    terminal().print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)


def _fitted_sets(
    asked: SetsAsked,
    saved: PredictionSets | None,
    model: Path,
    trained: TrainedModel,
    calibrator: Calibrator | None,
) -> tuple[PredictionSets | None, str]:
    """Sets of the scores that come out, if any are asked for, and what they are."""
    from lsplus_tf import deployment
    from lsplus_tf.cli.prediction_sets import described

    if saved is not None:
        deployment.check_sets(trained, saved, calibrator, argument="--sets-from")
        return saved.on_calibrated(), f"{described(saved)}, from {asked.source}"
    if asked.error_rate is not None:
        return asked.fit(model, trained, calibrator)
    return None, ""


# calibrate ---------------------------------------------------------------------------------------


def _parameters(calibrator: Calibrator) -> list[str]:
    """What was fitted, a line for each kind of number."""
    import numpy as np

    lines = []
    for name in calibrator._fitted:
        if name == "covariance_":  # for intervals
            continue
        value = getattr(calibrator, name)
        what = name.removesuffix("_").replace("_", " ")
        if value is None:
            shown = "none"
        elif isinstance(value, float):
            shown = f"{value:.4g}"
            if calibrator.name == "temperature":
                shown += f", {'above' if value > 1 else 'below'} 1: "
                shown += f"{'lowers' if value > 1 else 'raises'} all confidences"
        else:
            array = np.concatenate([np.ravel(part) for part in value])
            shown = (
                " ".join(f"{number:.4g}" for number in array)
                if array.size <= _SHOWN
                else f"{array.size} numbers"
            )
        lines.append(f"{what} {shown}")
    return lines


def _print_effect(console: Console, method: str, judged: CrossFit | None) -> None:
    from lsplus_tf.auditing.cross_fitting import FEWEST_CASES, FEWEST_WRONG, FOLDS
    from lsplus_tf.metrics import METRICS

    if judged is None:
        console.print(
            f"Its effect cannot be measured: that takes at least {FEWEST_CASES} cases, of which "
            f"{FEWEST_WRONG} are predicted right and {FEWEST_WRONG} wrong, and where there are "
            f"groups {FOLDS} of them.",
            highlight=False,
            soft_wrap=True,
        )
        return
    rows = judged.table.set_index("method")
    before, after = rows.loc["none"], rows.loc[method]
    if after["note"]:
        console.print(f"On held-out folds: {escape(after['note'])}", highlight=False)
    if after["note"].startswith("not fitted"):
        return
    table = Table(
        title=f"On held-out folds, of {judged.cases} cases",
        caption="Each case is judged by a fit to the other folds. 95% intervals.",
        caption_justify="left",
    )
    for heading in ("x100", "before", "after", "change"):
        table.add_column(heading, justify="left" if heading == "x100" else "right")
    intervals = {"brier": ("low", "high"), "ece": ("ece_low", "ece_high")}
    for metric in ("brier", "ece", "nll", "accuracy"):
        change = 100 * (after[metric] - before[metric])
        text = f"{change:+.2f}"
        if metric in intervals:
            low, high = (100 * after[bound] for bound in intervals[metric])
            text += f" [{low:+.2f}, {high:+.2f}]"
        values = (f"{100 * row[metric]:.2f}" for row in (before, after))
        table.add_row(METRICS[metric].heading, *values, text)
    console.print(table)
    if judged.recommended == method:
        said = "It is shown to help: the Brier score is lower on held-out folds."
    elif after["low"] > 0:
        said = "It is shown to harm: the Brier score is higher on held-out folds. Do not use it."
    else:
        said = "It is not shown to help: the Brier score may be no lower on new cases."
    console.print(said, highlight=False, soft_wrap=True)


def _check_adaptation(method: str, prevalence: str | None, adapt_to: Path | None) -> None:
    given = [
        option
        for option, value in (("--prevalence", prevalence), ("--adapt-to", adapt_to))
        if value is not None
    ]
    if given and method != "label_shift":
        raise InputError(f"{given[0]}: expected beside --method label_shift, received {method}")
    if method == "label_shift" and len(given) != 1:
        raise InputError(
            "--method: label_shift needs the shares of the classes where it is used, --prevalence "
            "A=0.1,B=0.9, or predictions of the cases there, --adapt-to FILE; received "
            + (" and ".join(given) or "neither")
            + "; without them it is bias_corrected_temperature"
        )


def _adapted(
    console: Console,
    calibrator: LabelShift,
    predictions: Predictions,
    shares: list[float] | None,
    target: Predictions | None,
) -> LabelShift:
    """The calibrator for the target, and what is known of its prevalence."""
    from lsplus_tf.calibrators import label_shift_test

    if target is None:
        adapted = calibrator.adapt(prevalence=shares)
        named = zip(predictions.class_names, adapted.prevalence_, strict=True)
        console.print(
            "Adapted to " + ", ".join(f"{escape(name)} {share:.4g}" for name, share in named),
            highlight=False,
            soft_wrap=True,
        )
        return adapted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # adapt warns of the same
        found = calibrator.estimate_prevalence(target)
    adapted = calibrator.adapt(target)
    table = Table(
        title=f"Prevalence among the {len(target)} cases of {escape(target.name)}",
        caption="Estimated from their predictions, as if only the prevalence differed (label "
        "shift). 95% intervals.",
        caption_justify="left",
    )
    for heading in ("x100", "where fitted", "estimated", "interval"):
        table.add_column(heading, justify="left" if heading == "x100" else "right")
    for row in (100 * found).itertuples():
        interval = f"[{row.low:.1f}, {row.high:.1f}]"
        table.add_row(
            escape(str(row.Index)), f"{row.source:.1f}", f"{row.prevalence:.1f}", interval
        )
    console.print(table)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        p_value = label_shift_test(predictions, target).p_value
    if p_value < _REJECTED:
        said = (
            f"[bold]No prevalence explains these predictions (p = {p_value:.2g}): the cases of a "
            "class look different there.[/] The estimate may be far off, and the probabilities "
            "worse than before; label some of the cases and compare."
        )
    elif p_value >= _REJECTED:
        said = f"Another prevalence can explain these predictions (p = {p_value:.2g})."
    else:
        why = str(caught[0].message).removeprefix("there is no p value: ") if caught else ""
        said = escape(f"Whether another prevalence explains them cannot be tested: {why}.")
    console.print(said, highlight=False, soft_wrap=True)
    return adapted


def _target(adapt_to: Path, columns: Columns, class_names: tuple[str, ...]) -> Predictions:
    """What --adapt-to has, with the classes in order; not a label is read."""
    from lsplus_tf.calibrators.base import are_unnamed
    from lsplus_tf.predictions import read_predictions

    unused: dict[str, Any] = dict.fromkeys(("id", "split", "take_split", "weight"))
    declared = replace(columns, label="", **unused)
    target = read_predictions(adapt_to, declared).counted()
    if target.kind == "confidence":
        raise InputError(
            f"--adapt-to: expected the probabilities of all classes in {adapt_to}, received the "
            "predicted class and its confidence alone"
        )
    received = target.class_names
    if set(received) == set(class_names):
        target = target.ordered(class_names)
    elif len(received) == len(class_names) and (are_unnamed(received) or are_unnamed(class_names)):
        target = target.replace(class_names=class_names)
    else:
        raise InputError(
            f"--adapt-to: expected predictions of the classes {some_of(class_names, 12)}, as those "
            f"that are fitted to have, received {some_of(received, 12)} in {adapt_to}"
        )
    if len(target) < len(class_names):
        raise InputError(
            f"--adapt-to: expected at least {len(class_names)} cases, of which the prevalence of "
            f"{len(class_names)} classes is estimated together, received {len(target)} in "
            f"{adapt_to}; give --prevalence where it is known"
        )
    return target


def _shares(text: str, class_names: tuple[str, ...]) -> list[float]:
    """The share of each class that --prevalence gives."""
    given: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.rpartition("=")
        try:
            value = float(share)
        except ValueError:
            value = float("nan")
        if name.strip() not in class_names or name.strip() in given or not 0 <= value <= 1:
            raise InputError(
                f"--prevalence: expected CLASS=SHARE once for each of {', '.join(class_names)}, "
                f"received {part.strip()!r}"
            )
        given[name.strip()] = value
    if len(given) < len(class_names) or abs(sum(given.values()) - 1) > 1e-3:
        raise InputError(
            f"--prevalence: expected a share for each of {', '.join(class_names)}, which sum to 1, "
            f"received {text}"
        )
    return [given[name] for name in class_names]


# predict -----------------------------------------------------------------------------------------

_HEADINGS = ["file", "predicted", "confidence", "abstained"]
_SET = "set"
_EACH = "probability_"


def _predictions_file() -> FileKind:
    from lsplus_tf.csv_files import table_kind

    return table_kind(
        "a table of predict",
        lambda headings: (
            headings[:4] == _HEADINGS
            and all(
                heading.startswith(_EACH) or (place == 0 and heading == _SET)
                for place, heading in enumerate(headings[4:])
            )
        ),
    )


class _Written:
    """Rows of the CSV, and what they come to."""

    def __init__(
        self, class_names: tuple[str, ...], abstain_below: float, sets: PredictionSets | None
    ) -> None:
        from lsplus_tf.cli.prediction_sets import separator

        self.class_names, self.abstain_below, self.sets = class_names, abstain_below, sets
        self.separator = "" if sets is None else separator(class_names)
        self.sizes: Counter[int] = Counter()
        self.predicted: Counter[str] = Counter()
        self.abstained = 0
        self.unreadable: dict[Path, str] = {}
        self.remedies: dict[Path, list[str]] = {}

    @property
    def headings(self) -> list[str]:
        each = (f"{_EACH}{name}" for name in self.class_names)
        return [*_HEADINGS, *([] if self.sets is None else [_SET]), *each]

    def rows(self, predictions: Predictions) -> list[list[str]]:
        from lsplus_tf.csv_files import neutral

        assert predictions.ids is not None
        rows = []
        sets = self.sets.predict(predictions) if self.sets else [None] * len(predictions)
        cases = zip(predictions.ids, predictions.probabilities, sets, strict=True)
        for file, row, inside in cases:
            name, confidence = self.class_names[row.argmax()], row.max()
            abstained = confidence < self.abstain_below
            self.predicted[name] += 1
            self.abstained += bool(abstained)
            cells = [neutral(file), neutral(name), f"{confidence:.8g}"]
            cells.append("yes" if abstained else "no")
            if inside is not None:
                among = [name for name, each in zip(self.class_names, inside, strict=True) if each]
                self.sizes[len(among)] += 1
                cells.append(neutral(self.separator.join(among)))
            rows.append([*cells, *(f"{probability:.8g}" for probability in row)])
        return rows

    def summary(self) -> str:
        total = self.predicted.total()
        each = ", ".join(f"{self.predicted[name]} {name}" for name in self.class_names)
        lines = [f"{counted(total, 'image')}: {each}"]
        if self.abstain_below > 0:
            share = self.abstained / total if total else 0.0
            lines.append(
                f"{self.abstained} abstained ({share:.1%}), with a confidence below "
                f"{self.abstain_below:g}"
            )
        if self.sizes:
            sizes = ", ".join(
                f"{self.sizes[size]} of {counted(size, 'class', 'classes')}"
                for size in sorted(self.sizes)
            )
            lines.append(f"sets: {sizes} (classes of one are joined by {self.separator})")
        if self.unreadable:
            lines.append(f"skipped {self.named_unreadable()}")
        return "\n".join(lines)

    def named_unreadable(self) -> str:
        shown = [f"{file} ({why})" for file, why in list(self.unreadable.items())[:_NAMED]]
        more = len(self.unreadable) - len(shown)
        listed = "; ".join(shown) + (f"; and {more} more" if more else "")
        return f"{counted(len(self.unreadable), 'unreadable image')}: {listed}"

    def what_mends(self) -> str:
        """The options that would read unreadable files, and what to do with the others."""
        remedies = {remedy for of_file in self.remedies.values() for remedy in of_file}
        pairs = (remedy.partition("=") for remedy in sorted(remedies))
        options = " ".join(f"--{key.replace('_', '-')} {value}" for key, _, value in pairs)
        said = [f"give {options}"] if options else []
        if len(self.remedies) < len(self.unreadable):
            others = "the others" if options else "them"
            said.append(f"mend {others} or give --unreadable skip")
        return "; ".join(said)


def _write_predictions(
    trained: TrainedModel,
    images: list[Path],
    calibrator: Calibrator | None,
    out: str,
    written: _Written,
    batch_size: int,
    unreadable: str,
    console: Console,
) -> None:
    from rich.progress import Progress

    from lsplus_tf import files
    from lsplus_tf.deployment import predict_files

    with (
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
        files.writing(out, _predictions_file()) as new,
    ):
        task = progress.add_task("predicting", total=len(images))
        with new.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(written.headings)
            for batch in predict_files(
                trained,
                images,
                calibrator=calibrator,
                batch_size=batch_size,
                stop_at_unreadable=unreadable == "fail",
            ):
                if batch.predictions is not None:
                    writer.writerows(written.rows(batch.predictions))
                written.unreadable |= batch.unreadable
                written.remedies |= batch.remedies
                progress.advance(task, batch.size)
        if written.unreadable and unreadable == "fail":
            raise InputError(f"images: {written.named_unreadable()}; {written.what_mends()}")
        if not written.predicted:
            more = f"; {written.what_mends()}" if written.remedies else ""
            raise InputError(f"images: none can be read, {written.named_unreadable()}{more}")


def _open(model: Path, calibrator: Calibrator | None, **options: Any) -> TrainedModel:
    """The model; of one without class names the calibrator's are its own."""
    from lsplus_tf import deployment
    from lsplus_tf.config import Backbone
    from lsplus_tf.training.environment import import_tensorflow

    deployment.find_model(model)  # before TensorFlow is imported, which takes seconds
    import_tensorflow(Backbone(), None)
    trained = deployment.open_model(model, **options)
    unnamed = deployment.unnamed(len(trained.class_names))
    if trained.class_names == unnamed and options["class_names"] is None:
        known = None if calibrator is None else calibrator.class_names_
        if known is not None and len(known) == len(unnamed):
            return replace(trained, class_names=known)
        warnings.warn(
            f"the classes of {model} have no names; give them with --class-names A,B", stacklevel=1
        )
    return trained
