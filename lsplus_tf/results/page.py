"""The page of an experiment: its tables and figures in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lsplus_tf import metrics
from lsplus_tf.auditing.decisions import ABOUT_DECISIONS
from lsplus_tf.auditing.verdicts import p_text, percent, tone_of
from lsplus_tf.config.methods import LSPlus
from lsplus_tf.errors import listed
from lsplus_tf.metrics.definitions import GLOSSARY
from lsplus_tf.metrics.method_comparison import CONFIDENCE_LEVEL, Difference
from lsplus_tf.page import Block, Cell, Facts, Page, Section, Table, Text, Tone
from lsplus_tf.plots.features import MOST_NAMES
from lsplus_tf.results.classes import ByClass
from lsplus_tf.results.features import SILHOUETTE, WITHIN, Compactness
from lsplus_tf.results.figures import MOST_LINES, Figures
from lsplus_tf.results.finished import Results
from lsplus_tf.results.questions import Answer, answers_in_words, questions_section
from lsplus_tf.results.tables import Comparison
from lsplus_tf.results.truth import Truth
from lsplus_tf.results.uncertainty import METRICS, Uncertainty
from lsplus_tf.training import run_folder

_LEVEL = 1 - CONFIDENCE_LEVEL
_CLAIMS = {key: metrics.METRICS[key].name for key in ("accuracy", "ece", "brier")}


def experiment_page(
    results: Results,
    comparison: Comparison,
    uncertainty: Uncertainty,
    classes: ByClass,
    figures: Figures,
    truth: Truth | None,
    compactness: Compactness | None,
    answers: Sequence[Answer] = (),
) -> Page:
    """The page of a report.

    Parameters
    ----------
    results : Results
    comparison : Comparison
        The table of the results.
    uncertainty : Uncertainty
        Of its main metrics.
    classes : ByClass
        What the rows find of each class.
    figures : dict of str to Pictures
        Of `draw_figures`.
    truth : Truth or None
        The comparison with the exact posterior, where that is known.
    compactness : Compactness or None
        Of the training features, where runs kept them.
    answers : sequence of Answer
        To the config's questions.

    Returns
    -------
    Page
    """
    experiment = results.experiment
    sections = [
        Section(
            "Summary",
            [
                *answers_in_words(answers),
                *_summary(results, uncertainty),
                *_no_ranking(results, uncertainty),
                *classes_in_words(classes),
                *_doubts(results),
            ],
        ),
    ]
    if answers:
        sections.append(Section("Questions", questions_section(answers)))
    sections += [
        Section("Found and missed", _classes(results, classes, figures)),
        Section("Methods and metrics", _metrics(results, comparison, uncertainty, figures)),
    ]
    if uncertainty.differences:
        sections.append(Section("Differences", _differences(results, uncertainty)))
    if truth is not None:
        sections.append(Section("Against the truth", _truth(truth, figures)))
    sections += [
        Section("Reliability", _reliability(results, figures)),
        Section("Selective prediction", _selective(results, figures)),
    ]
    soft_labels = _soft_labels(results, figures)
    if soft_labels:
        sections.append(Section("Soft labels", soft_labels))
    if compactness is not None:
        sections.append(Section("Features", _features(results, compactness, figures)))
    sections += [
        Section("Training", _training(results, figures)),
        Section("Settings and versions", _settings(results)),
    ]
    subtitle = (
        f"{experiment.dataset.name}, {len(results.class_names)} classes, "
        f"{uncertainty.images:,} test images; {experiment.backbone.name}; "
        f"{len(results.methods)} methods, {len(results.runs)} runs"
    )
    return Page(f"Experiment {results.title}", sections, subtitle, GLOSSARY)


def classes_in_words(classes: ByClass) -> list[Text]:
    """What is found of the classes of interest, and which others are mostly missed.

    Parameters
    ----------
    classes : ByClass
    """
    texts = [
        Text(f"{which} predicts {name} for all images.", "bad")
        for which, name in classes.constant.items()
    ]
    for name in classes.positive:
        lines = classes.of(name, "sensitivity")
        of_rows = [lines[key] for key in classes.plain]
        found = ", ".join(
            f"{row} {_found(line)}"
            for row, line in zip(classes.plain.values(), of_rows, strict=True)
        )
        images = _images(lines)
        tones = {tone_of({"value": line["mean"], "high": line["high"]}) for line in of_rows}
        text = f"Found of {name} ({images:,} test images; sensitivity, 95% interval): {found}."
        if images:
            tone: Tone = "fact" if "fact" in tones else "bad" if tones == {"bad"} else "unsure"
            texts.append(Text(text, tone))
        else:
            texts.append(Text(f"No test image is of {name}.", "unsure"))
    missed, sure = [], False
    for name in classes.shown:
        lines = classes.of(name, "sensitivity")
        fewer = [key for key in classes.plain if lines[key]["mean"] < 0.5]
        if name in classes.positive or not fewer:
            continue
        everywhere = len(fewer) == len(classes.plain) > 1
        which = "all rows" if everywhere else listed([classes.plain[key] for key in fewer])
        sure = sure or any(_is_missed(lines[key]) for key in fewer)
        shares = [lines[key]["mean"] for key in fewer]
        low, high = percent(min(shares)), percent(max(shares))
        between = low if low == high else f"{low} to {high}"
        missed.append(f"{name} ({_images(lines):,} images): {between} found by {which}")
    if missed:
        text = f"Mostly missed: {'; '.join(missed)}."
        texts.append(Text(text, "bad" if sure else "unsure"))
    return texts


def _is_missed(line: dict[str, float]) -> bool:
    """Whether more of a class is shown to be missed than found."""
    return tone_of({"value": line["mean"], "high": line["high"]}) == "bad"


def _no_ranking(results: Results, uncertainty: Uncertainty) -> list[Text]:
    """Rows whose ranking is not shown to be better than chance."""
    texts = []
    for row in results.rows:
        low, high = uncertainty.intervals.get((row.key, "auroc"), (1.0, 1.0))
        if low <= 0.5 and not row.calibrators:
            text = (
                f"{row.name}: the ranking is not shown to be better than chance, the AUROC may be "
                f"anything from {percent(low)} to {percent(high)}."
            )
            texts.append(Text(text, "bad" if high < 0.6 else "unsure"))
    return texts


def _images(lines: dict[str, dict[str, float]]) -> int:
    return int(next(iter(lines.values()))["images"])


def _found(line: dict[str, float]) -> str:
    text = percent(line["mean"])
    if not np.isnan(line["low"]):
        text += f" [{100 * line['low']:.0f}, {100 * line['high']:.0f}]"
    return text


_OF_INTEREST = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "intercept": "Intercept",
    "slope": "Slope",
    "o_e": "O/E",
    "ici": "ICI",
}
_NO_FRACTIONS = ("intercept", "slope", "o_e")


def _of_interest(results: Results, classes: ByClass, name: str) -> Table:
    """What a class of interest is told by, a row for each of the results."""
    lines = {metric: classes.of(name, metric) for metric in _OF_INTEREST}
    rows: list[list[str | Cell]] = []
    for row in results.rows:
        cells: list[str | Cell] = [row.name]
        for metric, of_metric in lines.items():
            mean, sd = of_metric[row.key]["mean"], of_metric[row.key]["sd"]
            scale, decimals = (1, 2) if metric in _NO_FRACTIONS else (100, 1)
            text = "-" if np.isnan(mean) else f"{scale * mean:.{decimals}f}"
            if not np.isnan(sd):
                text += f" ± {scale * sd:.{decimals}f}"
            cells.append(Cell(text, mean))
        rows.append(cells)
    over = "one seed" if results.one_seed else "mean and SD over seeds"
    caption = f"{name} against the rest: {over}; shares times 100"
    return Table(caption, ["Method", *_OF_INTEREST.values()], rows)


def _classes(results: Results, classes: ByClass, figures: Figures) -> list[Block]:
    """Sensitivities, a column for each class that is shown, and more of those of interest."""
    rows: list[list[str | Cell]] = []
    lines = {name: classes.of(name, "sensitivity") for name in classes.shown}
    for row in results.rows:
        if row.calibrators:
            continue
        cells: list[str | Cell] = [row.name]
        for of_class in lines.values():
            line = of_class[row.key]
            cells.append(Cell(_found(line).replace("%", ""), line["mean"]))
        rows.append(cells)
    headings = [f"{name} ({_images(of_class):,})" for name, of_class in lines.items()]
    left_out = len(results.class_names) - sum(name in results.class_names for name in classes.shown)
    more = f" The other {left_out} classes are in classes.csv." if left_out > 0 else ""
    one = "one seed" if results.one_seed else "mean over seeds"
    return [
        Table(
            f"Sensitivity, times 100: share of each class's test images that is found, {one} and "
            "95% interval",
            ["Method", *headings],
            rows,
        ),
        Text(
            "In brackets how many test images are of the class. An image is found where its class "
            "is the most probable. The intervals are Agresti and Coull's over the images, or over "
            "the groups that these have, with the spread of the seeds, which is taken to be alike "
            "in all methods; of a single prediction they say nothing of new seeds. "
            "Specificity, PPV, NPV, F1, AUROC and AUPRC of every class are in classes.csv, and the "
            "rows with a calibrator."
            f"{more}",
            "note",
        ),
        *(_of_interest(results, classes, name) for name in classes.positive),
        *_decision_curves(results, figures),
    ]


def _decision_curves(results: Results, figures: Figures) -> list[Block]:
    pictures = figures.get("decision_curves")
    if pictures is None or not pictures.pictures:
        return []
    band = (
        "Bands are 95% intervals over the images."
        if results.one_seed
        else "Lines are means over seeds, bands their range."
    )
    return [
        Text(f"{ABOUT_DECISIONS} {band}"),
        pictures,
    ]


def _doubts(results: Results) -> list[Text]:
    """What the results are not of, and what they were made with that a reader has to know."""
    missing: dict[str, list[str]] = {}
    for run in results.missing:
        missing.setdefault(run.method, []).append(str(run.seed))
    named = "; ".join(
        f"{method} seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"
        for method, seeds in missing.items()
    )
    texts = [Text(f"Not finished, and not on this page: {named}.", "unsure")] if named else []
    return texts + [Text(f"{doubt}.", "unsure") for doubt in results.doubts()]


def _summary(results: Results, uncertainty: Uncertainty) -> list[Block]:
    """What was found of accuracy and calibration, that which is shown first."""
    blocks: list[Block] = []
    first = results.rows[0].name
    names = {row.key: row.name for row in results.rows}
    for metric, title in _CLAIMS.items():
        verdicts = {
            names[row]: difference.verdict
            for (row, measured), difference in uncertainty.differences.items()
            if measured == metric and not np.isnan(difference.p)
        }
        if not verdicts:
            continue
        parts = []
        for verdict in ("better", "worse"):
            rows = [name for name, found in verdicts.items() if found == verdict]
            if rows:
                parts.append(f"{verdict} are {listed(rows)}")
        undecided = list(verdicts.values()).count("undecided")
        if undecided:
            parts.append(f"{undecided} of the {len(verdicts)} other rows cannot be told apart")
        tone: Tone = "unsure" if undecided == len(verdicts) else "fact"
        blocks.append(Text(f"{title} compared with {first}: {'; '.join(parts)}.", tone))
    blocks.sort(key=lambda block: isinstance(block, Text) and block.tone == "unsure")
    if not uncertainty.differences:
        return blocks or [Text("One row: there is nothing to compare it with.")]
    if all(np.isnan(difference.p) for difference in uncertainty.differences.values()):
        blocks.append(
            Text(
                "Nothing can be said of the methods: that takes several seeds of each. Whether two "
                "of these networks differ on new images, lsplus-tf audit FILE FILE2 tells of their "
                "runs' predictions_test.npz.",
                "unsure",
            )
        )
        return blocks
    blocks.append(
        Text(
            "Better and worse are about each method with new seeds on new images, as far as "
            f"{_seeds(results)} can tell: p < {_LEVEL:g} after Holm's correction over the rows.",
            "note",
        )
    )
    return blocks


def _metrics(
    results: Results, comparison: Comparison, uncertainty: Uncertainty, figures: Figures
) -> list[Block]:
    rows: list[list[str | Cell]] = []
    for row in results.rows:
        cells: list[str | Cell] = [row.name]
        for metric in METRICS:
            value = float(comparison.mean[metric][row.key])
            text = f"{value:.2f}"
            if (row.key, metric) in uncertainty.intervals:
                low, high = uncertainty.intervals[row.key, metric]
                text += f" [{100 * low:.1f}, {100 * high:.1f}]"
            cells.append(Cell(text, value))
        rows.append(cells)
    headings = ["Method", *(column.titled() for column in METRICS.values())]
    drawn = "the test images"
    independent = (
        " Images are taken as independent: where patients have several, intervals are too narrow."
    )
    if uncertainty.groups is not None:
        drawn, independent = f"the test split's {uncertainty.groups:,} groups of images", ""
    measured = {metric for _, metric in uncertainty.intervals}
    without = [METRICS[metric].heading for metric in METRICS if metric not in measured]
    none = (
        f" No intervals of {listed(without)}: more than 5% of the resamples lack a class, or, with "
        "many runs, ranking the cases of all would take minutes."
        if without
        else ""
    )
    one, first = results.one_seed, results.rows[0].name
    mean = "one seed" if one else "mean over seeds"
    about = (
        "The intervals are about the method with new seeds on new images: Student's t, of the "
        f"spread of the seeds and of {uncertainty.resamples:,} bootstrap resamples of {drawn}."
    )
    if uncertainty.single:
        names = listed([row.name for row in results.rows if row.key in uncertainty.single])
        of_networks = (
            f"about these networks on new images, from {uncertainty.resamples:,} bootstrap "
            f"resamples of {drawn} alone (of the accuracy, Agresti and Coull's), and say nothing "
            "of what new seeds would give"
        )
        if len(uncertainty.single) == len(results.rows):
            about = f"The intervals are {of_networks}."
        else:
            about += f" Of {names}, each a single prediction, they are {of_networks}."
    return [
        Table(f"Test split, times 100: {mean} and 95% interval", headings, rows),
        Text(
            f"{about} A calibration error of few images is too large, and that of "
            "their resamples larger still, so that the resamples' mean deviation is taken off; "
            f"such an interval may lie below the value.{independent}{none}",
            "note",
        ),
        Text(
            f"One seed; dashed is {first}, a diamond the best."
            if one
            else f"Mean and SD over seeds; dashed is {first}, a diamond the best mean."
        ),
        figures["comparison"],
        comparison_table(
            f"All metrics times 100, {'one seed' if one else 'mean and SD over seeds'}", comparison
        ),
        Text(comparison.caption, "note"),
    ]


def comparison_table(caption: str, comparison: Comparison) -> Table:
    keys = [column.key for column in comparison.columns]
    rows: list[list[str | Cell]] = []
    for i, (name, seeds, *cells) in enumerate(comparison.cells("{}", " ± ")):
        means = [float(mean) for mean in comparison.mean[keys].iloc[i]]
        best = [bool(it) for it in comparison.best[keys].iloc[i]]
        rows.append([name, Cell(seeds, int(seeds)), *map(Cell, cells, means, best)])
    return Table(caption, comparison.headings(), rows)


def _differences(results: Results, uncertainty: Uncertainty) -> list[Block]:
    first = results.rows[0].name
    tests = uncertainty.differences
    measured = [metric for metric in METRICS if (results.rows[1].key, metric) in tests]
    signs = {"better": "✓ ", "worse": "✗ ", "undecided": ""}
    rows: list[list[str | Cell]] = []
    for row in results.rows[1:]:
        cells: list[str | Cell] = [row.name]
        for metric in measured:
            test = tests[row.key, metric]
            cells.append(Cell(f"{signs[test.verdict]}{_difference(test)}", test.value))
        rows.append(cells)
    return [
        Table(
            f"Each row less {first}, times 100, with new seeds on new images",
            ["Method", *(METRICS[metric].titled() for metric in measured)],
            rows,
        ),
        Text(
            "95% intervals; p two-sided, after Holm's correction over the rows, metric by metric: "
            "Welch's t test of the seeds with the variance of the images added, of rows with the "
            f"same networks seed by seed. ✓ is shown to be better than {first}, ✗ worse (p < "
            f"{_LEVEL:g}); the others may be either. Of these, how many seeds of each would show a "
            "difference of the size seen, with 80% power, or that it would take more images. "
            "Not tested is what has a single run.",
            "note",
        ),
    ]


def _difference(test: Difference) -> str:
    """With interval and p in two lines; that nothing can be said, where that is so."""
    if np.isnan(test.p):
        return f"{100 * test.value:+.2f}\nnot tested"
    text = f"{100 * test.value:+.2f} [{100 * test.low:+.1f}, {100 * test.high:+.1f}]"
    text += f"\np {p_text(test.p_holm)}"
    if test.verdict == "undecided" and test.value:
        needed = test.seeds_needed
        text += f", {needed:.0f} seeds" if np.isfinite(needed) else ", more images"
    return text


def _truth(truth: Truth, figures: Figures) -> list[Block]:
    comparison = truth.comparison
    return [
        comparison_table("Against the exact posterior, times 100", comparison),
        Text(comparison.caption, "note"),
        figures["truth"],
        *([figures["soft_labels_truth"]] if "soft_labels_truth" in figures else []),
    ]


def _reliability(results: Results, figures: Figures) -> list[Block]:
    together = (
        ""
        if results.one_seed
        else " Bars are of all seeds' predictions together, dots of each seed. As the errors of "
        "seeds may cancel, the hatched part is the mean of the seeds' gaps, and the ECE the mean "
        "of the seeds' own, as in the table."
    )
    blocks: list[Block] = [
        Text(
            "Bars are the accuracy of images of similar confidence; hatched is what is missing to, "
            f"or beyond, their mean confidence.{together} Intervals are Wilson's, of independent "
            "images; bins of fewer than 10 images are faint. A pointer on a bar shows its numbers."
        )
    ]
    blocks += [pictures for name, pictures in figures.items() if name.startswith("reliability")]
    return blocks


def _selective(results: Results, figures: Figures) -> list[Block]:
    return [
        Text(
            "How accurate model and expert are together where the model decides its most "
            "confident images and an expert, who is always right, the others. "
            f"{_range_over_seeds(results)}; R-AUC is the area under the curve, times 100."
        ),
        figures["retention"],
        Text("Confidence in right and in wrong predictions; the two should differ."),
        figures["density"],
    ]


def _soft_labels(results: Results, figures: Figures) -> list[Block]:
    titles = results.experiment.titles
    blocks: list[Block] = []
    for method in results.methods:
        if pictures := figures.get(f"soft_labels_{method}"):
            if isinstance(results.experiment.methods[method], LSPlus):
                what = (
                    "the class accuracies that it was given, those of a run with hard labels on "
                    "validation images, and the prior that they make, whose diagonal they are. The "
                    "training goes towards the prior and the hard label, in the proportion that "
                    "the config sets."
                )
            elif results.experiment.methods[method].smooths_towards_others:
                what = (
                    "what the smoothing mass of each class, a row, goes to: shares of the other "
                    "classes, after some epochs. The class itself keeps the rest of its target."
                )
            else:
                what = (
                    "the soft labels of each class, a row, after some epochs. The training goes "
                    "towards them and the hard label, in the proportion that the config sets. "
                    "Hatched are classes of which no image was predicted correctly in that epoch."
                )
            blocks += [Text(f"{titles[method]}: {what}"), pictures]
    return blocks


def _features(results: Results, compactness: Compactness, figures: Figures) -> list[Block]:
    blocks: list[Block] = []
    left_out = {
        "Runs without features, as the config did not ask for them then": compactness.without,
        "Left out, as their features are of other images than most runs'": compactness.other_images,
    }
    for why, runs in left_out.items():
        if runs:
            named = ", ".join(f"{run.method} seed {run.seed}" for run in runs)
            blocks.append(Text(f"{why}: {named}.", "unsure"))
    if not compactness.shown:
        return blocks
    titles = results.experiment.titles
    rows: list[list[str | Cell]] = []
    for method in compactness.shown:
        of_method = compactness.runs[compactness.runs["method"] == method]
        within, silhouette = 100 * of_method[WITHIN], of_method[SILHOUETTE]
        rows.append(
            [
                titles[method],
                Cell(str(len(of_method)), len(of_method)),
                _mean_and_sd(within, 2),
                _mean_and_sd(silhouette, 3),
            ]
        )
    images = compactness.runs["images"].iloc[0]
    numbered = (
        " The numbers are the classes, in the order of class_names in summary.json, from 0."
        if len(results.class_names) > MOST_NAMES
        else ""
    )
    return [
        *blocks,
        Table(
            f"Features of {images:,} training images, "
            + ("one seed" if results.one_seed else "mean and SD over seeds"),
            ["Method", "Seeds", "Within classes, % ↓", "Silhouette ↑"],
            rows,
        ),
        Text(
            "Features are the outputs of the layer before the logits, of the same training images "
            "for every run, without augmentation. Within classes is the share of their variance "
            "about the classes' means: 0 where every class is one point. The silhouette, from -1 "
            "to 1, compares each image's distance to its own class with that to the nearest other "
            "one, so that it falls where classes overlap. Both are of training images: they say "
            "nothing of new images or of calibration, and label smoothing makes classes compact "
            "whether or not that helps.",
            "note",
        ),
        Text(
            "t-SNE of the first run of each method with features: which images are neighbours can "
            f"be read from it, distances between classes and their sizes cannot.{numbered}"
        ),
        figures["features"],
    ]


def _mean_and_sd(values: pd.Series[float], decimals: int) -> Cell:
    mean, sd = values.mean(skipna=False), values.std(skipna=False)
    text = f"{mean:.{decimals}f}"
    return Cell(text if len(values) == 1 else f"{text} ± {sd:.{decimals}f}", float(mean))


def _training(results: Results, figures: Figures) -> list[Block]:
    rows: list[list[str | Cell]] = []
    for run in results.runs:
        summary = results.summary(run)
        minutes = summary["seconds"] / 60
        whole = [run.seed, summary["epochs"], summary["best_epoch"] + 1]
        accuracies = [
            metrics.accuracy(results.saved(run, split)) for split in ("validation", "test")
        ]
        rows.append(
            [
                run.method,
                *(Cell(str(number), number) for number in whole),
                Cell(f"{minutes:.1f}", minutes),
                *(Cell(f"{accuracy:.4f}", accuracy) for accuracy in accuracies),
            ]
        )
    headings = ["Method", "Seed", "Epochs", "Best epoch", "Minutes"]
    headings += ["Validation accuracy", "Test accuracy"]
    shown = (
        "each method beside the first."
        if len(results.methods) > MOST_LINES
        else "the losses of different methods cannot be compared."
    )
    return [
        Text(f"{_range_over_seeds(results)}; {shown}"),
        figures["training_curves"],
        Table("The runs; epochs are counted from 1", headings, rows),
    ]


def _settings(results: Results) -> list[Block]:
    experiment = results.experiment
    settings = experiment.model_dump(mode="json")
    keys = "seeds", "ensembles", "calibrators", "ensemble_calibration", "features"
    of_the_table = {key: settings[key] for key in keys}
    environments = [
        run_folder.read_json(run.folder(results.folder), run_folder.ENVIRONMENT)
        for run in results.runs
    ]
    blocks: list[Block] = [
        Facts("Config", _flat(experiment.shared_settings() | of_the_table)),
        Facts("Methods", {name: _inline(value) for name, value in settings["methods"].items()}),
        Facts("Versions and machine, of the first run", _flat(environments[0])),
    ]
    if any(environment != environments[0] for environment in environments):
        blocks.append(Text("Not all runs were made with the same versions and machine.", "unsure"))
    return blocks


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as one level of names with dots."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = _inline(value)
    return flat


def _inline(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    )


def _seeds(results: Results) -> str:
    seeds = sorted({len(results.of_method(method)) for method in results.methods})
    number = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return f"{number} seed{'' if seeds == [1] else 's'} of each method"


def _range_over_seeds(results: Results) -> str:
    """What curves of these results show."""
    return "One seed" if results.one_seed else "Mean and range over seeds"
