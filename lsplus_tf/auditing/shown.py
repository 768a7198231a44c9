"""The tables of an audit as they are shown, on its page and in a terminal."""

from __future__ import annotations

import pandas as pd

from lsplus_tf.auditing.comparison import Comparison
from lsplus_tf.auditing.cross_fitting import CrossFit
from lsplus_tf.auditing.measured import Audit, Votes
from lsplus_tf.auditing.operating import OperatingPoints
from lsplus_tf.auditing.prediction_sets import BY_CLASS, MARGINAL, CrossFitSets, rows_of
from lsplus_tf.auditing.verdicts import (
    METRIC_NAMES,
    metric_name,
    metric_text,
    number,
    p_text,
    percent,
)
from lsplus_tf.errors import some_of
from lsplus_tf.metrics import METRICS
from lsplus_tf.page import Cell, Table


def about_metrics(audit: Audit) -> str:
    """What to know of the numbers in :func:`metrics_table`."""
    keys = audit.metrics.index
    *names, last = (METRICS[key].name for key in ("ece", "ace", "sce") if key in keys)
    binned = f"{', '.join(names)} and {last}"
    text = ""
    if any(_leaves_out(*row) for row in audit.metrics.itertuples()):
        text = (
            "* The value is outside its interval: the metric of so few cases is biased by more "
            f"than it varies. Of the {binned} the interval is the better guess. "
        )
    text += f"{binned} with 15 bins; "
    if "brier" in keys:
        text += "Brier score summed over classes; negative log-likelihood in nats; "
    return text + (
        f"R-AUC is the area under the retention curve. The intervals of the {binned} are "
        "reflected: the value less the resamples' deviations, because a calibration error of few "
        "cases is too large, and that of their resamples larger still."
    )


def _leaves_out(metric: str, value: float, low: float, high: float) -> bool:
    """Whether the value is seen to be outside its interval, in the digits that are printed."""
    end = low if value < low else high
    outside = value < low or value > high
    return outside and metric_text(metric, value) != metric_text(metric, end)


def metrics_table(audit: Audit) -> Table:
    """All metrics with their intervals, and what chance makes of the ECE."""
    rows: list[list[str | Cell]] = []
    for name, value, low, high in audit.metrics.itertuples():
        if name == "top1_error" or (
            name in METRICS and METRICS[name].fewest_classes > len(audit.predictions.class_names)
        ):
            continue  # what the accuracy tells, or always 0
        label = METRIC_NAMES[name]
        if name == "coverage":
            label += f" at {100 * audit.automatic.error_rate:g}% errors"
        chance = audit.chance.mean if name == "ece" else None
        rows.append(
            [
                label,
                Cell(metric_text(name, value), value),
                Cell(_interval(name, low, high) + " *" * _leaves_out(name, value, low, high), low),
                Cell("" if chance is None else percent(chance), chance),
            ]
        )
    return Table(
        "Metrics with their intervals", ["Metric", "Value", "95% interval", "By chance"], rows
    )


def paper_table(metrics: dict[str, float]) -> Table:
    """Metrics in the paper's convention."""
    return Table(
        "By the LS+ paper's code",
        ["Metric", "Value"],
        [[METRIC_NAMES[name], Cell(metric_text(name, v), v)] for name, v in metrics.items()],
    )


def votes_table(votes: Votes) -> Table:
    """Agreement with annotators."""
    return Table(
        "Against the annotators' votes",
        ["Metric", "Value"],
        [
            ["Annotators who agree", Cell(percent(votes.agreement), votes.agreement)],
            [
                "Confidence less agreement",
                Cell(f"{100 * votes.gap.value:+.1f} points", votes.gap.value),
            ],
            ["ECE", Cell(percent(votes.ece), votes.ece)],
            ["Cross-entropy", Cell(f"{votes.cross_entropy:.4f}", votes.cross_entropy)],
            ["Brier score", Cell(f"{votes.brier:.4f}", votes.brier)],
        ],
    )


def parts_table(audit: Audit, *, joined: bool = False) -> Table:
    """The gap by predicted class and subgroup; `joined`, the subgroup is named with its part."""
    rows = [
        [
            *([part_name(by, part)] if joined else [part, by]),
            Cell(f"{cases:,}", cases),
            Cell(percent(confidence), confidence),
            Cell(percent(accuracy), accuracy),
            Cell(f"{100 * gap:+.1f}", gap),
            Cell(_gap_interval(low, high), low),
            Cell(p_text(p_holm), p_holm),
        ]
        for by, part, cases, confidence, accuracy, gap, low, high, _, p_holm in (
            audit.parts.itertuples(index=False)
        )
    ]
    headings = ["Part", "By", "Cases", "Confidence", "Accuracy", "Gap", "95% interval", "p (Holm)"]
    if joined:
        headings.remove("By")
    return Table("Parts of the cases", headings, rows)


def part_name(by: str, part: str) -> str:
    """A part with what it is a part by."""
    return part if by == "predicted class" else f"{by}: {part}"


_OF_A_CLASS = {
    "prevalence": "Prevalence",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}


def classes_table(audit: Audit, *, intervals: bool = True) -> Table:
    """Each class against the rest, those of interest first.

    Parameters
    ----------
    audit : Audit
    intervals : bool
        Of every number; else of the sensitivity alone.
    """
    classes = audit.classes
    measured = set(classes.table["metric"])
    known = [key for key in _OF_A_CLASS if key in measured]
    rows: list[list[str | Cell]] = []
    for name in classes.names:
        cases = classes.of(name, "sensitivity")["cases"]
        cells: list[str | Cell] = [name, Cell(number(cases), cases)]
        for key in known:
            line = classes.of(name, key)
            text = percent(line["value"])
            if (intervals or key == "sensitivity") and not pd.isna(line["low"]):
                text += f" ({100 * line['low']:.1f} to {100 * line['high']:.1f})"
            cells.append(Cell(text, line["value"]))
        rows.append(cells)
    headings = ["Class", "Cases", *(_OF_A_CLASS[key] for key in known)]
    return Table("Each class against the rest, with 95% intervals", headings, rows)


def about_operating(found: OperatingPoints) -> str:
    """What to know of the numbers in :func:`operating_table`."""
    if found.chosen_on:
        return (
            f"Each threshold was chosen on {found.chosen_on} and applied here, so that the rate "
            "that is fixed is met there, and here as it comes; all intervals take the threshold as "
            "given."
        )
    return (
        "Each threshold was chosen on these very cases: the rate that is fixed is met by "
        "construction and has no interval, and the threshold may bring other rates elsewhere. The "
        "interval of the other rate is that of a threshold chosen anew on as many such cases. With "
        "--thresholds-from the thresholds are chosen on other cases, such as a validation split."
    )


def operating_table(found: OperatingPoints) -> Table:
    """The classes of interest at fixed specificities and sensitivities."""
    rows: list[list[str | Cell]] = []
    for row in found.table.to_dict(orient="records"):
        cells: list[str | Cell] = [
            f"{row['class']}, {row['fixed']} {100 * row['rate']:g}%",
            Cell("-" if pd.isna(row["threshold"]) else f"{row['threshold']:.4f}", row["threshold"]),
        ]
        for name in ("sensitivity", "specificity", "ppv"):
            text = percent(row[name])
            if not pd.isna(row[f"{name}_low"]):
                text += f" ({100 * row[f'{name}_low']:.1f} to {100 * row[f'{name}_high']:.1f})"
            cells.append(Cell(text, row[name]))
        rows.append(cells)
    fixed = "Fixed on other cases, at least" if found.chosen_on else "Fixed, at least"
    headings = [fixed, "Threshold", "Sensitivity", "Specificity", "PPV"]
    return Table("At a fixed specificity or sensitivity, with 95% intervals", headings, rows)


def subgroups_table(audit: Audit) -> Table:
    """What is found of the classes of interest in each subgroup."""
    table, several = audit.classes.by_subgroup, len(audit.classes.positive) > 1
    rows: list[list[str | Cell]] = []
    keys = ["class", "by", "part"]
    for (name, by, part), both in table.groupby(keys, sort=False):
        cells: list[str | Cell] = [f"{name}, {by}: {part}" if several else f"{by}: {part}"]
        for metric in ("sensitivity", "specificity"):
            line = both.set_index("metric").loc[metric]
            text = percent(line["value"])
            if not pd.isna(line["low"]):
                text += f" ({100 * line['low']:.1f} to {100 * line['high']:.1f})"
            cells += [Cell(number(line["cases"]), line["cases"]), Cell(text, line["value"])]
        rows.append(cells)
    of = "the classes of interest" if several else audit.classes.positive[0]
    headings = ["Part", "Cases", "Sensitivity", "Others", "Specificity"]
    return Table(f"What is found of {of} in each subgroup, with 95% intervals", headings, rows)


_OF_CALIBRATION = {
    "intercept": "Intercept",
    "slope": "Slope",
    "o_e": "O/E",
    "ici": "ICI",
    "e50": "E50",
    "e90": "E90",
}


def calibration_table(audit: Audit) -> Table:
    """The calibration of each class's probability, those of interest first."""
    rows: list[list[str | Cell]] = []
    for name in (*audit.classes.names, ""):
        cells: list[str | Cell] = [name or "all together"]
        for key in _OF_CALIBRATION:
            if not name and key not in ("slope", "ici"):
                cells.append(Cell("", None))
                continue
            line = audit.classes.calibration_of(name, key)
            cells.append(Cell(_calibration_text(key, line), line["value"]))
        rows.append(cells)
    headings = ["Class", *_OF_CALIBRATION.values()]
    return Table("Calibration of each class's probability, with 95% intervals", headings, rows)


def _calibration_text(key: str, line: dict[str, float]) -> str:
    if pd.isna(line["value"]):
        return "-"
    scale, decimals, unit = (100, 1, "%") if key in ("ici", "e50", "e90") else (1, 2, "")
    value, low, high = (f"{scale * line[which]:.{decimals}f}" for which in ("value", "low", "high"))
    return f"{value}{unit}" if pd.isna(line["low"]) else f"{value}{unit} ({low} to {high})"


def confusion_table(audit: Audit) -> Table:
    """How many cases of each class are predicted as each."""
    confusion = audit.classes.confusion
    rows: list[list[str | Cell]] = [
        [
            str(name),
            *(Cell(f"{n:,.6g}", n, bold=k == own) for k, n in enumerate(line)),
        ]
        for own, (name, *line) in enumerate(confusion.itertuples())
    ]
    headings = ["True class", *map(str, confusion.columns)]
    return Table("Cases of each class, in the columns of the predicted ones", headings, rows)


def automatic_table(audit: Audit) -> Table:
    """The error rate among the most confident cases, for shares of them."""
    automatic = audit.automatic
    rows: list[list[str | Cell]] = [
        [
            Cell(percent(coverage, 0), coverage),
            Cell(f"{threshold:.4f}", threshold),
            Cell(number(cases), cases),
            Cell(percent(error), error),
            Cell(f"{percent(low)} to {percent(high)}", low),
            "yes" if high <= automatic.error_rate else "not proven",
        ]
        for coverage, threshold, cases, error, low, high in automatic.steps.itertuples(index=False)
    ]
    within = f"At most {100 * automatic.error_rate:g}%"
    headings = ["Decided", "Confidence from", "Cases", "Error rate", "Interval", within]
    return Table("Error rates of the most confident cases", headings, rows)


def calibrators_table(fit: CrossFit) -> Table:
    """Calibrators on held-out folds; the first five columns are the main ones."""
    measured = ("ece", "brier", "nll", "accuracy")
    rows: list[list[str | Cell]] = [
        [
            str(row["method"]),
            _change(row["brier_change"], row["low"], row["high"]),
            Cell(p_text(row["p_holm"]), row["p_holm"]),
            _change(row["ece_change"], row["ece_low"], row["ece_high"]),
            *(Cell(metric_text(m, row[m]), row[m]) for m in measured),
            str(row["note"]),
        ]
        for row in fit.table.to_dict(orient="records")
    ]
    headings = ["Method", "Brier change", "p (Holm)", "ECE change"]
    headings += [*(METRICS[m].heading for m in measured), "Note"]
    if not any(row[-1] for row in rows):
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    return Table("Calibrators on held-out folds", headings, rows)


SETS_NAMES = {
    "lac": "LAC",
    "lac by class": "LAC, a threshold for each class",
    "aps": "APS",
    "raps": "RAPS",
}


def about_sets(found: CrossFitSets) -> str:
    """What to know of the numbers in :func:`sets_table` and :func:`sets_parts_table`."""
    text = (
        "A prediction set has the classes that cannot be ruled out. Each is fitted to the other "
        f"folds of these cases, and promises to hold the true class in {1 - found.error_rate:.0%}: "
        "on average over cases like these, not in each class, subgroup or case. Intervals are "
        "exact (Clopper and Pearson); where cases have groups they are wider, those of as many "
        "independent cases as would vary as much. A star marks a class or subgroup that is shown "
        "to be covered less often than promised, with Bonferroni's correction for all of them "
        "in the column: an interval on its own may exclude what is promised without a star. "
        "LAC takes the classes whose probability is above a "
        "threshold; APS the most probable ones up to a sum of probabilities, RAPS with a cost for "
        "each after the first, both without their random part, so that APS covers more than it "
        "promises. A set without a class gets the most probable one."
    )
    if found.always:
        few = "it is" if len(found.always) == 1 else "they are"
        text += (
            f" Of {some_of(found.always, 8)} there are too few cases for a threshold of its own: "
            f"{few} in every set of the last columns."
        )
    return text


def sets_table(found: CrossFitSets) -> Table:
    """Coverage and size of prediction sets by method."""
    rows: list[list[str | Cell]] = [
        [
            SETS_NAMES[str(row["method"])],
            Cell(percent(row["coverage"]), row["coverage"]),
            Cell(f"{percent(row['low'])} to {percent(row['high'])}", row["low"]),
            Cell(f"{row['mean_size']:.2f}", row["mean_size"]),
            Cell(percent(row["singletons"]), row["singletons"]),
        ]
        for row in found.table[found.table["by"] == "all"].to_dict(orient="records")
    ]
    headings = ["Sets", "Coverage", "95% interval", "Classes, mean", "One class"]
    return Table(f"Prediction sets at an error rate of {found.error_rate:.3g}", headings, rows)


def sets_parts_table(found: CrossFitSets) -> Table:
    """Coverage by class and subgroup, of one threshold and of one for each class."""
    rows: list[list[str | Cell]] = []
    marginal, by_class = (rows_of(found, method) for method in (MARGINAL, BY_CLASS))
    for (by, part), row in marginal.items():
        if by == "all":
            continue
        name = part if by == "class" else f"{by}: {part}"
        cells: list[str | Cell] = [name, Cell(f"{row['cases']:,}", row["cases"])]
        for each in (row, by_class[by, part]):
            marked = percent(each["coverage"]) + (" *" if each["missed"] else "")
            cells += [
                Cell(marked, each["coverage"]),
                Cell(f"{percent(each['low'])} to {percent(each['high'])}", each["low"]),
                Cell(f"{each['mean_size']:.2f}", each["mean_size"]),
            ]
        rows.append(cells)
    one = ["Coverage", "95% interval", "Classes"]
    headings = ["Part", "Cases", *one, *(f"{each}, by class" for each in one)]
    return Table("Prediction sets by class and subgroup; * less than promised", headings, rows)


def comparison_table(comparison: Comparison) -> Table:
    """Two models on the same cases."""
    rows: list[list[str | Cell]] = [
        [
            metric_name(metric),
            Cell(metric_text(metric, first), first),
            Cell(metric_text(metric, second), second),
            _change(difference, low, high),
            Cell(p_text(p), p),
            Cell(p_text(p_holm), p_holm),
        ]
        for metric, first, second, difference, low, high, p, p_holm in (
            comparison.table.itertuples(index=False)
        )
    ]
    headings = ["Metric", "First", "Second", "First less second", "p", "p (Holm)"]
    return Table("Two models on the same cases", headings, rows)


def _interval(name: str, low: float, high: float) -> str:
    return "-" if pd.isna(low) else f"{metric_text(name, low)} to {metric_text(name, high)}"


def _gap_interval(low: float, high: float) -> str:
    if pd.isna(low):
        return "-"
    few = " (too few)" if is_too_wide(low, high) else ""
    return f"{100 * low:+.1f} to {100 * high:+.1f}{few}"


def is_too_wide(low: float, high: float) -> bool:
    """Whether a gap may be as large as any, since its part has too few cases or groups."""
    return low <= -1 or high >= 1


def _change(value: float, low: float, high: float) -> Cell:
    if pd.isna(value):
        return Cell("-", value)
    bounds = "" if pd.isna(low) else f" ({low:+.4f} to {high:+.4f})"
    return Cell(f"{value:+.4f}{bounds}", value)
