"""What reporting guidelines ask of a study, what an audit answers of it, and what it cannot know.

The items are those of TRIPOD+AI (27 items with 52 parts) and of CLAIM's update of 2024 (44 items),
by their numbers there. What they ask is in words of ours: the published checklists are what a paper
hands in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lsplus_tf.auditing.measured import Audit
from lsplus_tf.errors import some_of
from lsplus_tf.page import Table
from lsplus_tf.version import __version__

TRIPOD = "TRIPOD+AI"
CLAIM = "CLAIM 2024"
ABOUT = (
    "What TRIPOD+AI (Collins et al., BMJ 2024;385:e078378) and CLAIM (2024 update, Tejani et al., "
    "Radiology: Artificial Intelligence 2024;6(4):e240300) ask, by their item numbers and in our "
    "words, and what of it is on this page. It is no filled-in checklist: that needs the study."
)
UNKNOWN = "Cannot be known from predictions"
_NEEDS_SUBGROUPS = "Not here: declare a column, such as a site or sex, with --subgroup"


Answer = Callable[[Audit], str]


@dataclass(frozen=True)
class Entry:
    """One or several items of a guideline.

    Attributes
    ----------
    guideline : {"TRIPOD+AI", "CLAIM 2024"}
    items : str
        Their numbers.
    asks : str
        In our words.
    answer : callable or None
        Where the page answers it; None where it cannot be known from predictions.
    """

    guideline: str
    items: str
    asks: str
    answer: Answer | None = None


def checklist_table(audit: Audit) -> Table:
    """The guidelines' items, and where the page of this audit answers them.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    Table
        Guideline, items, what they ask, and where it is.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> table = checklist_table(lsp.audit(predictions, num_resamples=20))
    >>> [row[3] for row in table.rows if row[:2] == ["TRIPOD+AI", "17"]]
    ['Cannot be known from predictions']
    """
    rows = [
        [
            each.guideline,
            each.items,
            each.asks,
            UNKNOWN if each.answer is None else each.answer(audit),
        ]
        for each in ENTRIES
    ]
    return Table("Reporting guidelines", ["Guideline", "Items", "What is asked", "Here"], rows)


# Answers -----------------------------------------------------------------------------------------


def _outcome(audit: Audit) -> str:
    classes = some_of(audit.predictions.class_names, 8)
    text = f"In part: the classes are {classes}; how they were established cannot be known"
    return text + ("; Metrics, against the annotators' votes" if audit.votes else "")


def _size(audit: Audit) -> str:
    return (
        f"In part: {_counted(audit)}; the Verdict says where they are too few to tell. How the "
        "number was arrived at cannot be known"
    )


def _numbers(audit: Audit) -> str:
    return (
        f"In part: {_counted(audit)}, by class in Found and missed, by part in Classes and "
        "subgroups. Who was left out before cannot be known"
    )


def _counted(audit: Audit) -> str:
    predictions = audit.predictions
    text = f"{len(predictions):,} cases"
    if predictions.groups is not None:
        text += f" of {int(predictions.groups.max()) + 1:,} groups"
    return text


def _measures(audit: Audit) -> str:
    found = ["Discrimination in Metrics and Found and missed"]
    calibration = "calibration in Confidence and accuracy"
    if audit.classes.calibration is not None:
        calibration += " and Calibration of each class"
    found.append(calibration)
    if audit.classes.decisions:
        found.append("clinical utility in Decision curves")
    if audit.comparison is not None:
        found.append("two models in Comparison")
    text = f"{'; '.join(found)}. The rationale is the authors'"
    if not audit.classes.decisions:
        text += ". Nothing on clinical utility: "
        text += (
            "it takes the probabilities of all classes"
            if audit.predictions.kind == "confidence"
            else "declare classes of interest with --positive"
        )
    return text


def _intervals(audit: Audit) -> str:
    text = "Metrics and Found and missed, with 95% intervals"
    if audit.predictions.groups is not None:
        text += " that take the cases of a group together"
    else:
        text += ", if the cases are independent: no groups were declared"
    if audit.classes.positive:
        text += f"; {some_of(audit.classes.positive, 4)} each against the rest"
    return text


def _intervals_by_subgroup(audit: Audit) -> str:
    names = [*audit.predictions.subgroups]
    if not names:
        return f"{_intervals(audit)}. By subgroup n{_NEEDS_SUBGROUPS[1:]}"
    return (
        f"In part: {_intervals(audit)}; by {some_of(names, 4)} only {_of_subgroups(audit)}, in "
        "Classes and subgroups"
    )


def _of_subgroups(audit: Audit) -> str:
    """What is measured in each subgroup."""
    if audit.classes.positive:
        return (
            "accuracy, the confidence gap, and sensitivity and specificity for "
            f"{some_of(audit.classes.positive, 4)}"
        )
    return "accuracy and the confidence gap"


def _significance(audit: Audit) -> str:
    text = _intervals(audit)
    if audit.comparison is not None:
        text += "; permutation tests with Holm's correction in Comparison"
    return text


def _subgroups(audit: Audit) -> str:
    names = [*audit.predictions.subgroups]
    if not names:
        return _NEEDS_SUBGROUPS
    return f"In part: {_of_subgroups(audit)} by {some_of(names, 4)} in Classes and subgroups"


def _fairness(audit: Audit) -> str:
    return f"{_subgroups(audit)}. What was done for fairness cannot be known"


def _updating(audit: Audit) -> str:
    if audit.calibrators is None:
        return "Not here: calibrators were not tried on these cases"
    return "In part: Calibrators, tried on held-out folds; which is used cannot be known"


def _origin(audit: Audit) -> str:
    if "SHA-256" not in audit.settings:
        return UNKNOWN
    return "In part: the file and its SHA-256 in the settings, not how it was computed"


def _output(audit: Audit) -> str:
    text = f"In part: {audit.settings['given as']}"
    if audit.classes.decisions:
        text += "; what each threshold brings in Decision curves"
    if audit.classes.operating is not None:
        text += "; those of fixed rates, and where they were chosen, in Fixed specificity or "
        text += "sensitivity"
    return text + ". Which threshold is used, and why, cannot be known"


def _code(audit: Audit) -> str:
    return f"In part: this page is made by lsplus_tf {__version__}; data and model cannot be known"


def _interpretation(audit: Audit) -> str:
    return "In part: the Verdict, which claims what the intervals support and no more"


def _limitations(audit: Audit) -> str:
    return "In part: the notes below the Verdict, and How it was made"


def _failures(audit: Audit) -> str:
    return (
        "In part: Found and missed has how many cases of each class are missed, Classes and "
        "subgroups where confidence is wrong. The cases themselves are not on this page"
    )


def _annotators(audit: Audit) -> str:
    if audit.votes is None:
        return UNKNOWN
    return "In part: agreement with the predictions in Metrics, against the annotators' votes"


def _robustness(audit: Audit) -> str:
    return f"{_subgroups(audit)}. Other data or settings cannot be known"


ENTRIES = (
    Entry(TRIPOD, "1, 2", "Title and abstract: kind of study, target population, outcome"),
    Entry(TRIPOD, "3a-3c", "Clinical context, intended use and users, known inequalities"),
    Entry(TRIPOD, "4", "Aims, and whether a model is developed or evaluated"),
    Entry(TRIPOD, "5a, 5b", "Sources of the data, how representative they are, dates"),
    Entry(TRIPOD, "6a-6c", "Setting and centres, who was eligible, treatments"),
    Entry(TRIPOD, "7", "Preparation and quality checks of the data"),
    Entry(TRIPOD, "8a-8c", "The outcome: definition, who assessed it, blinding", _outcome),
    Entry(TRIPOD, "9a-9c", "The predictors, here the images: choice, acquisition, blinding"),
    Entry(TRIPOD, "10", "Sample size, and why it is enough", _size),
    Entry(TRIPOD, "11", "Missing data, and cases that were left out"),
    Entry(TRIPOD, "12a-12c", "How the data were divided, the kind of model, how it was built"),
    Entry(TRIPOD, "12d, 23b", "Differences between clusters, such as hospitals", _subgroups),
    Entry(
        TRIPOD,
        "12e",
        "Measures and plots: discrimination, calibration, clinical utility, comparisons",
        _measures,
    ),
    Entry(
        TRIPOD, "12f, 24", "Updating of the model, such as recalibration, and its effect", _updating
    ),
    Entry(TRIPOD, "12g", "How the predictions were computed", _origin),
    Entry(TRIPOD, "13", "What was done about class imbalance"),
    Entry(TRIPOD, "14", "What was done for fairness", _fairness),
    Entry(TRIPOD, "15", "What the model puts out, and how thresholds were chosen", _output),
    Entry(TRIPOD, "16", "How development and evaluation data differ"),
    Entry(TRIPOD, "17", "Ethical approval and consent"),
    Entry(TRIPOD, "18a-18d", "Funding, conflicts of interest, protocol, registration"),
    Entry(TRIPOD, "18e, 18f", "Where data and code are to be had", _code),
    Entry(TRIPOD, "19", "Involvement of patients and the public"),
    Entry(TRIPOD, "20a, 21", "Flow of participants, numbers with each outcome", _numbers),
    Entry(TRIPOD, "20b, 20c", "Characteristics of the participants, beside the development data"),
    Entry(TRIPOD, "22", "The whole model, so that others can use it"),
    Entry(
        TRIPOD,
        "23a",
        "Performance with confidence intervals, also of subgroups",
        _intervals_by_subgroup,
    ),
    Entry(TRIPOD, "25", "Interpretation of the main results", _interpretation),
    Entry(TRIPOD, "26", "Limitations", _limitations),
    Entry(TRIPOD, "27a-27c", "Use in care: poor input, expertise of users, next steps"),
    Entry(CLAIM, "1, 2", "Title and abstract: the kind of AI, design, results"),
    Entry(CLAIM, "3, 4", "Background, role of the AI, aims and hypotheses"),
    Entry(CLAIM, "5, 6", "Prospective or retrospective, goal of the study"),
    Entry(
        CLAIM,
        "7-13",
        "The data: sources, eligibility, preprocessing, subsets, de-identification, missing data, "
        "acquisition",
    ),
    Entry(CLAIM, "14-17", "The reference standard: definition, rationale, annotators", _outcome),
    Entry(CLAIM, "18", "How far annotators vary", _annotators),
    Entry(CLAIM, "19, 20", "How the data were partitioned, and at which level disjoint"),
    Entry(CLAIM, "21", "Intended sample size", _size),
    Entry(CLAIM, "22-24", "The model, its software and initial weights"),
    Entry(CLAIM, "25-27", "Training, selection of the model, ensembles"),
    Entry(CLAIM, "28", "Measures of performance", _measures),
    Entry(CLAIM, "29", "Measures of significance and uncertainty", _significance),
    Entry(CLAIM, "30", "Robustness or sensitivity", _robustness),
    Entry(CLAIM, "31", "Methods of explanation"),
    Entry(CLAIM, "32, 33", "Whether the test data are internal or external"),
    Entry(CLAIM, "34", "Registration as a clinical trial"),
    Entry(CLAIM, "35", "Patients or examinations included and excluded", _numbers),
    Entry(CLAIM, "36", "Demographic and clinical characteristics of each partition"),
    Entry(CLAIM, "37, 38", "Performance and diagnostic estimates with their precision", _intervals),
    Entry(CLAIM, "39", "Analysis of the cases that the model gets wrong", _failures),
    Entry(CLAIM, "40", "Limitations", _limitations),
    Entry(CLAIM, "41", "Implications for practice, intended use"),
    Entry(CLAIM, "42-44", "Protocol, availability of software, model and data, funding", _code),
)
"""All items, in the order of the guidelines."""
