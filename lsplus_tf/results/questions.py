"""What an experiment's runs answer to the questions of its config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lsplus_tf.auditing.verdicts import p_text
from lsplus_tf.config import Question
from lsplus_tf.config.experiment import method_of
from lsplus_tf.config.questions import OF_FEATURES
from lsplus_tf.errors import listed
from lsplus_tf.metrics import METRICS
from lsplus_tf.metrics.method_comparison import (
    CONFIDENCE_LEVEL,
    Contrast,
    Estimate,
    MeasuredRuns,
    family_of_tests,
    too_few_classes,
)
from lsplus_tf.page import Block, Cell, Table, Text
from lsplus_tf.results.features import MEASURES, Compactness
from lsplus_tf.results.finished import Results
from lsplus_tf.results.tables import Column
from lsplus_tf.results.uncertainty import MeasuredRows

_NOTHING = Estimate(float("nan"), (), float("nan"), 0)


@dataclass(frozen=True)
class Answer:
    """A question and the tests that answer it.

    Attributes
    ----------
    name : str
        The question's, in the config.
    heading : str
        The question in words.
    titles : dict of str to str
        What its rows are called, by their keys.
    tests : pandas.DataFrame
        A line for each row that is compared with and each metric, as fractions: question, metric,
        method, baseline, mean, baseline_mean, and the other columns of
        `lsplus_tf.metrics.compare_methods`. Holm's correction is over all of them.
    """

    name: str
    heading: str
    titles: dict[str, str]
    tests: pd.DataFrame


def asked_metrics(results: Results) -> list[str]:
    """The metrics of test images that the config's questions are about."""
    questions = (results.experiment.questions or {}).values()
    asked = dict.fromkeys(metric for question in questions for metric in question.metrics)
    return [metric for metric in asked if metric not in OF_FEATURES]


def answer_questions(
    results: Results, measured: MeasuredRows, compactness: Compactness | None
) -> list[Answer]:
    """The answers to the config's questions, as far as its rows are there.

    Parameters
    ----------
    results : Results
    measured : MeasuredRows
        With the metrics that are asked for.
    compactness : Compactness or None
        Of the training features.
    """
    titles = results.experiment.titles | {row.key: row.name for row in results.rows}
    answers = []
    for name, question in (results.experiment.questions or {}).items():
        found = [
            _measured_of_features(metric, question.better, baseline, results, compactness)
            if metric in OF_FEATURES
            else _measured_of_images(metric, question.better, baseline, results, measured)
            for metric in question.metrics
            for baseline in question.than
        ]
        tests = family_of_tests([each.contrast for each in found])
        tests.insert(0, "question", name)
        tests.insert(4, "mean", [each.mean for each in found])
        tests.insert(5, "baseline_mean", [each.baseline_mean for each in found])
        rows = (question.better, *question.than)
        named = {row: titles.get(row, row) for row in rows}
        asked = " ".join((question.asks or "").split())  # in one line
        answers.append(Answer(name, asked or _in_words(question, named), named, tests))
    return answers


def answers_frame(answers: Sequence[Answer]) -> pd.DataFrame:
    """The tests of all questions, for a CSV file."""
    return pd.concat([answer.tests for answer in answers], ignore_index=True)


# What is tested ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Measured:
    contrast: Contrast
    mean: float
    baseline_mean: float


def _measured_of_images(
    metric: str, better: str, baseline: str, results: Results, measured: MeasuredRows
) -> _Measured:
    record, pair = METRICS[metric], (better, baseline)
    missing = [row for row in pair if row not in measured.rows]
    means = [np.nan if row in missing else measured.mean(metric, row) for row in pair]
    seeds = [0 if row in missing else len(measured.rows[row].seeds) for row in pair]
    if missing:
        note, estimate = _why_missing(missing, results), _NOTHING
    else:
        note = too_few_classes(record, results.saved(results.runs[0], "test"))
        estimate = measured.difference(metric, better, baseline)
    contrast = Contrast(
        metric, better, baseline, estimate, record.better, (seeds[0], seeds[1]), note
    )
    return _Measured(contrast, means[0], means[1])


def _measured_of_features(
    metric: str, better: str, baseline: str, results: Results, compactness: Compactness | None
) -> _Measured:
    """Of training images, which are the same for all runs, so that the seeds alone vary."""
    pair, values, images = (better, baseline), {}, 0
    if compactness is not None and len(compactness.runs):
        images = int(compactness.runs["images"].iloc[0])
        for method, of_method in compactness.runs.groupby("method"):
            values[method] = of_method[metric].to_numpy(float)
    of_pair = [values.get(method_of(row), np.empty(0)) for row in pair]
    means = [each.mean() if each.size else np.nan for each in of_pair]
    without = [row for row, each in zip(pair, of_pair, strict=True) if not each.size]
    note, estimate = "", _NOTHING
    if without:
        missing = [row for row in without if method_of(row) not in results.methods]
        note = (
            _why_missing(missing, results) if missing else f"no features of {' and '.join(without)}"
        )
    elif np.isnan(means).any():
        note = f"{metric} is not defined of some runs' features"
    else:
        every, first = np.concatenate(of_pair), of_pair[0].size
        nothing = np.zeros((every.size, every.size))
        measured = MeasuredRuns(every, nothing[0], nothing, images)
        estimate = measured.difference(slice(first), slice(first, None), paired=False)
    seeds = (of_pair[0].size, of_pair[1].size)
    contrast = Contrast(metric, better, baseline, estimate, MEASURES[metric].better, seeds, note)
    return _Measured(contrast, *means)


def _why_missing(rows: Sequence[str], results: Results) -> str:
    without = [row for row in rows if method_of(row) not in results.methods]
    if without:
        return f"no finished run of {' and of '.join(without)} in this report"
    return f"not in the table: {' and '.join(rows)}, whose calibrator could not be fitted"


# In words ----------------------------------------------------------------------------------------


def answers_in_words(answers: Sequence[Answer]) -> list[Text]:
    """A line for each question: what is shown, and what cannot be told; undecided ones last.

    Parameters
    ----------
    answers : sequence of Answer
    """
    texts = []
    for answer in answers:
        tests = answer.tests
        tested = tests[tests["p"].notna()]
        parts = [
            f"shown {verdict} {_pairs('than', answer, tested[tested['verdict'] == verdict])}"
            for verdict in ("better", "worse")
            if (tested["verdict"] == verdict).any()
        ]
        undecided = tested[tested["verdict"] == "undecided"]
        if len(undecided):
            parts.append(f"cannot be told apart {_pairs('from', answer, undecided)}")
        if len(tested) < len(tests):
            notes = "; ".join(dict.fromkeys(tests.loc[tests["p"].isna(), "note"]))
            some = f"{len(tests) - len(tested)} of {len(tests)} " if parts else ""
            parts.append(f"{some}not tested ({notes})")
        method = answer.titles[tests["method"].iloc[0]]
        shown = len(tested) > len(undecided)
        text = f"{answer.heading} {method}: {'; '.join(parts)}."
        texts.append(Text(text, "fact" if shown else "unsure"))
    return sorted(texts, key=lambda text: text.tone == "unsure")


def questions_section(answers: Sequence[Answer]) -> list[Block]:
    """A table for each question, and what its columns are.

    Parameters
    ----------
    answers : sequence of Answer
    """
    level = f"{1 - CONFIDENCE_LEVEL:g}"
    return [
        *(_table(answer) for answer in answers),
        Text(
            "All times 100. Each line is a test about methods with new seeds on new images: "
            "Welch's t test of the seeds with the variance of the images added, of rows with the "
            "same networks seed by seed. Measures of training features vary with the seeds alone. "
            "p is two-sided, after Holm's correction over the lines of a question that are tested; "
            f"below {level} a row is shown to be better or worse. The 95% intervals are not "
            "corrected. Rows that cannot be told apart may be equal or not: how many seeds of each "
            "would show a difference of the size seen, with 80% power, or that it would take more "
            "images.",
            "note",
        ),
    ]


def _table(answer: Answer) -> Table:
    rows: list[list[str | Cell]] = []
    for test in answer.tests.to_dict("records"):
        difference = "-" if np.isnan(test["difference"]) else f"{100 * test['difference']:+.2f}"
        if not np.isnan(test["p"]):
            difference += f" [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}]"
        rows.append(
            [
                _column(test["metric"]).titled(),
                answer.titles[test["baseline"]],
                _mean(test["mean"]),
                _mean(test["baseline_mean"]),
                Cell(difference, test["difference"]),
                Cell(p_text(test["p_holm"]), test["p_holm"]),
                _verdict(test),
            ]
        )
    method = answer.titles[answer.tests["method"].iloc[0]]
    headings = ["Metric", "Compared with", method, "The other", "Difference", "p (Holm)"]
    return Table(answer.heading, [*headings, "Verdict"], rows)


def _mean(value: float) -> Cell:
    return Cell("-" if np.isnan(value) else f"{100 * value:.2f}", value)


def _verdict(test: Mapping[Any, Any]) -> str:
    """What a line shows, and what it would take to show more."""
    if np.isnan(test["p"]):
        return str(test["note"])
    if test["verdict"] != "undecided":
        return f"shown {test['verdict']}"
    text = "cannot be told apart"
    if not test["difference"]:
        return text
    needed = test["seeds_needed"]
    if np.isfinite(needed):
        return f"{text}: {needed:.0f} seeds of each would decide"
    return f"{text}: it would take more images"


def _pairs(word: str, answer: Answer, tests: pd.DataFrame) -> str:
    """Than LS in ECE and NLL, than HL in ECE."""
    parts = [
        f"{word} {answer.titles[str(baseline)]} in {listed([*of_row['metric'].map(_heading)])}"
        for baseline, of_row in tests.groupby("baseline", sort=False)
    ]
    return ", ".join(parts)


def _in_words(question: Question, titles: dict[str, str]) -> str:
    others = listed([titles[row] for row in question.than])
    measured = listed([_heading(metric) for metric in question.metrics])
    return f"Is {titles[question.better]} better than {others} in {measured}?"


def _heading(metric: str) -> str:
    return _column(metric).heading


def _column(metric: str) -> Column:
    return MEASURES[metric] if metric in MEASURES else Column.of(METRICS[metric])
