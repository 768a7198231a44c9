"""The verdict in words, which claims what the intervals and tests support and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lsplus_tf.auditing.cross_fitting import FEWEST_CASES, FEWEST_WRONG, FOLDS
from lsplus_tf.auditing.gaps import Estimate
from lsplus_tf.auditing.measured import Audit
from lsplus_tf.auditing.prediction_sets import sets_said
from lsplus_tf.metrics import METRICS
from lsplus_tf.page import Tone
from lsplus_tf.predictions import Predictions

_FEWEST = 30
_TOO_WIDE = 0.10  # of the gap's interval, from the middle to an end
_CLOSE = 0.02  # a gap of which no more is possible is small
_WANTED = 0.05
_NAMED = 4
_FIXED = 0.9  # specificity, of the sentence
_ENDS = {"value": "", "low": "_low", "high": "_high"}
_FEW_GROUPS = 10
_MOST_LISTED = 10  # classes in a sentence
_LOW_AUROC = 0.6  # what a ranking that tells nothing is surely below
_ALPHA = 0.05

# The rows of `Audit.metrics`.
METRIC_NAMES = {
    "gap": "Confidence less accuracy",
    **{key: record.name for key, record in METRICS.items() if record.evaluated},
    "coverage": "Decided automatically",
}


@dataclass(frozen=True)
class Finding:
    """A sentence of the verdict, and its tone: good or bad news, a fact, or that nothing is shown.

    Attributes
    ----------
    topic : str
        What it is about: "degenerate", "ranking", "size", "class", "classes", "gap", "ece",
        "calibration", "parts", "automatic", "sets", "operating", "decision", "calibrator",
        "votes" or "comparison".
    tone : {"good", "bad", "fact", "unsure"}
    text : str

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> result = lsp.audit(predictions, num_resamples=20)
    >>> finding = verdict(result)[0]
    >>> finding.topic, finding.tone, finding.text.partition(",")[0]
    ('degenerate', 'bad', 'Predicts 0 for all 100 cases')
    """

    topic: str
    tone: Tone
    text: str


def verdict(audit: Audit) -> list[Finding]:
    """What can be said, the most important first.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    list of Finding
        First that a model predicts one class for all, ranks no better than chance, or takes classes
        for each other as if they were exchanged. Of too few cases only that, what is found of the
        classes of interest, and how the comparison came out.
        Else then what is found of the classes of interest, and which classes are mostly missed.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> result = lsp.audit(predictions, num_resamples=20)
    >>> [finding.topic for finding in verdict(result)][:3]
    ['degenerate', 'ranking', 'classes']
    """
    small = is_too_small(audit)
    findings = [*_degenerate(audit), *(_ranking(audit, small) or _exchanged(audit))]
    if small:
        findings += [_too_small(audit), *_of_interest(audit)]
    else:
        findings += [*_of_interest(audit), *_missed(audit), *_every_class(audit)]
        findings += [_gap(audit), _ece(audit), *_calibration(audit), _parts(audit)]
        findings += [_automatic(audit), *_sets(audit), *_operating(audit), *_decisions(audit)]
        if audit.predictions.kind != "confidence":
            findings.append(_calibrator(audit))
        if audit.votes is not None:
            findings.append(_votes(audit, audit.votes.gap))
    if audit.comparison is not None:
        findings.append(_comparison(audit))
    return findings


def _degenerate(audit: Audit) -> list[Finding]:
    """That one class is predicted for all cases."""
    classes = audit.classes
    if classes.only is None:
        return []
    cases = len(audit.predictions)
    share = percent(classes.of(classes.only, "prevalence")["value"])
    of_all = (
        f"all {cases:,} cases"
        if classes.only_cases == cases
        else (f"{classes.only_cases:,} of {cases:,} cases")
    )
    text = (
        f"Predicts {classes.only} for {of_all}, of which {share} are {classes.only}: as a "
        "classifier it is no better than that constant."
    )
    return [Finding("degenerate", "bad", text)]


def _ranking(audit: Audit, small: bool) -> list[Finding]:
    """What an AUROC at or below 1/2 says."""
    if "auroc" not in audit.metrics.index:
        return []
    value, low, high = map(float, audit.metrics.loc["auroc", ["value", "low", "high"]])
    found = f"the AUROC is {percent(value)} (95% interval {percent(low)} to {percent(high)})"
    if high < 0.5:
        text = (
            f"Worse than chance: {found}. Are the classes exchanged, in the columns or in the "
            "labels?"
        )
    elif low <= 0.5 and high < _LOW_AUROC:
        text = f"The ranking is no better than chance, as far as these cases show: {found}."
    elif low <= 0.5 and not small:
        text = f"The ranking is not shown to be better than chance: {found}."
        return [Finding("ranking", "unsure", text)]
    elif value == 0.5 and pd.isna(low):
        text = "The ranking is no better than chance: the AUROC is 50.0%."
    else:
        return []
    return [Finding("ranking", "bad", text)]


def _exchanged(audit: Audit) -> list[Finding]:
    """Classes of which most cases are predicted as another of them, as if they were exchanged."""
    names = [*map(str, audit.classes.confusion.index)]
    counts = audit.classes.confusion.to_numpy()
    taken_as = counts.argmax(axis=1)
    missed = [audit.classes.of(name, "sensitivity")["high"] < 0.5 for name in names]
    left = missed & (counts.max(axis=1) > counts.sum(axis=1) / 2)
    for _ in names:  # until each is taken for another that is left, and one of these for it
        left = left & left[taken_as] & np.isin(range(len(names)), taken_as[left])
    if not left.any():
        return []
    pairs = [f"of {names[k]} as {names[taken_as[k]]}" for k in np.flatnonzero(left)]
    more = f" and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
    text = (
        f"Most cases are predicted as another class, {', '.join(pairs[:_NAMED])}{more}: are these "
        "classes exchanged, in the columns or in the labels?"
    )
    return [Finding("ranking", "bad", text)]


def _of_interest(audit: Audit) -> list[Finding]:
    """What is found of each class of interest, and what its prediction is worth."""
    findings = []
    for name in audit.classes.positive:
        found, trusted = (audit.classes.of(name, each) for each in ("sensitivity", "ppv"))
        if not found["cases"]:
            findings.append(Finding("class", "unsure", f"{name}: no case is of it."))
            continue
        text = f"{name}: {_found(found)}{_of_few_groups(audit.predictions, name)}."
        if trusted["cases"]:
            text += (
                f" Of {_several(trusted['cases'], 'case')} predicted as {name} "
                f"{_share(trusted)} are right (PPV)."
            )
        findings.append(Finding("class", tone_of(found), text))
    return findings


def _of_few_groups(predictions: Predictions, name: str) -> str:
    """That a class's cases are of few groups, which makes its interval wide."""
    if predictions.groups is None or name not in predictions.class_names:
        return ""
    of_class = predictions.labels == predictions.class_names.index(name)
    groups = len(np.unique(predictions.groups[of_class]))
    return f"; these cases are of {_several(groups, 'group')} only" if groups < _FEW_GROUPS else ""


def _missed(audit: Audit) -> list[Finding]:
    """Classes of which more are missed than found."""
    classes = audit.classes
    found = {
        name: classes.of(name, "sensitivity")
        for name in classes.names
        if name not in classes.positive
    }
    missed = {name: row for name, row in found.items() if row["value"] < 0.5}
    if not missed:
        return []
    worst = sorted(missed, key=lambda name: missed[name]["value"])
    listed = len(audit.predictions.class_names) <= _MOST_LISTED  # the next sentence has the shares
    named = [
        f"{name}: {number(missed[name]['cases'] - missed[name]['hits'])} of "
        f"{number(missed[name]['cases'])} missed"
        + ("" if listed else f", sensitivity {_share(missed[name])}")
        for name in (worst if listed else worst[:_NAMED])
    ]
    more = len(worst) - len(named)
    also = f"; and {_several(more, 'more class', 'more classes')}" if more else ""
    sure = any(row["high"] < 0.5 for row in missed.values())
    return [
        Finding("classes", "bad" if sure else "unsure", f"Mostly missed: {'; '.join(named)}{also}.")
    ]


def _every_class(audit: Audit) -> list[Finding]:
    """The sensitivity of each class, where that fits a sentence."""
    names = audit.predictions.class_names
    if len(names) > _MOST_LISTED:
        return []
    rows = {name: audit.classes.of(name, "sensitivity") for name in audit.classes.names}
    listed = [
        f"{name} {_share(row)}" for name, row in rows.items() if name in names and row["cases"]
    ]
    text = f"Found of each class (sensitivity, 95% interval): {', '.join(listed)}."
    return [Finding("classes", "fact", text)]


def _found(row: dict[str, float]) -> str:
    """How many of a class are found, with the interval."""
    counts = row["hits"], row["cases"], row["cases"] - row["hits"]
    hits, cases, missed = map(number, counts)
    if row["value"] < 0.5:
        return f"{missed} of {cases} missed, a sensitivity of {_share(row)}"
    return f"{hits} of {cases} found, a sensitivity of {_share(row)}; {missed} missed"


def _share(row: dict[str, float]) -> str:
    """A share with its interval."""
    if pd.isna(row["low"]):
        return percent(row["value"])
    return f"{percent(row['value'])} ({100 * row['low']:.1f} to {100 * row['high']:.1f}%)"


def tone_of(sensitivity: dict[str, float]) -> Tone:
    """Bad where more are shown to be missed than found, unsure where that was so here."""
    if sensitivity["value"] < 0.5:
        return "bad" if sensitivity["high"] < 0.5 else "unsure"
    return "fact"


def is_too_small(audit: Audit) -> bool:
    """Whether there are too few cases for a verdict.

    That is fewer than 30, or an interval of the gap that is wider than 10 points to either side.

    Parameters
    ----------
    audit : Audit

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 10, [[0.9, 0.1]] * 20)
    >>> is_too_small(lsp.audit(predictions, num_resamples=20))
    True
    """
    return len(audit.predictions) < _FEWEST or not _half_width(audit.gap) <= _TOO_WIDE


def models(audit: Audit) -> dict[str, Predictions]:
    """The one or two by what they are called: their files, or their folders if those are equal.

    Of the predictions of runs that is METHOD/seed_N.
    """
    first, second = audit.predictions, audit.second
    if second is None:
        return {first.name: first}
    names = first.name, second.name
    if names[0] == names[1]:
        names = f"{first.name} (first)", f"{second.name} (second)"
        one, other = (Path(model.source).absolute().parent.parts for model in (first, second))
        for depth in range(2, max(len(one), len(other)) + 1):
            if one[-depth:] != other[-depth:]:
                names = "/".join(one[-depth:]), "/".join(other[-depth:])
                break
    return {names[0]: first, names[1]: second}


def percent(value: Any, digits: int = 1) -> str:
    """A fraction in percent; a dash where there is none."""
    return "-" if pd.isna(value) else f"{100 * value:.{digits}f}%"


def number(count: float) -> str:
    """How many cases; of sums of weights with a decimal."""
    whole = round(count)
    return f"{whole:,}" if abs(count - whole) < 1e-6 else f"{count:,.1f}"


def metric_name(metric: str) -> str:
    """What a metric of a comparison is called; of a class it is "sensitivity of mel"."""
    return METRIC_NAMES.get(metric, metric[:1].upper() + metric[1:])


def metric_text(metric: str, value: Any) -> str:
    """A metric as it is shown: in percent, unless it is no fraction."""
    if metric in METRICS and METRICS[metric].unit != "fraction" and not pd.isna(value):
        return f"{value:.4f}"
    return percent(value)


def p_text(p_value: Any) -> str:
    """A p value; a dash where there is none."""
    if pd.isna(p_value):
        return "-"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def points(estimate: Estimate) -> str:
    """A difference of fractions in percentage points, with its interval."""
    if pd.isna(estimate.low):
        return f"{100 * estimate.value:+.1f} points (no interval)"
    return (
        f"{100 * estimate.value:+.1f} points (95% interval {100 * estimate.low:+.1f} to "
        f"{100 * estimate.high:+.1f})"
    )


def _half_width(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2


def _too_small(audit: Audit) -> Finding:
    chance = audit.chance
    accuracy = audit.metrics.loc["accuracy"]
    half = _half_width(audit.gap)
    text = (
        f"Too small: {_counted(audit)} do not show whether confidence can be relied on. Accuracy "
        f"may be anything from {percent(accuracy['low'], 0)} to {percent(accuracy['high'], 0)}, "
        f"and a perfectly calibrated model with these confidences would show an ECE of "
        f"{percent(chance.mean)} on average by chance alone."
    )
    if half > _WANTED:
        groups = audit.predictions.groups
        unit = "cases" if groups is None else "groups"
        units = len(audit.predictions) if groups is None else int(groups.max()) + 1
        needed = units * (half / _WANTED) ** 2
        rounded = int(float(f"{needed:.1g}"))
        text += f" About {max(rounded, 100):,} {unit} like these would show it within 5 points."
    return Finding("size", "unsure", text)


def _gap(audit: Audit) -> Finding:
    gap = audit.gap
    means = audit.metrics["value"]
    against = (
        f"mean confidence is {percent(means['mean_confidence'])}, accuracy "
        f"{percent(means['accuracy'])}, {points(gap)}, over {_counted(audit)}"
    )
    if gap.low > 0:
        return Finding("gap", "bad", f"Overconfident: {against}.")
    if gap.high < 0:
        return Finding("gap", "bad", f"Underconfident: {against}.")
    largest = max(abs(gap.low), abs(gap.high))
    if largest <= _CLOSE:
        return Finding(
            "gap",
            "good",
            f"On average confidence agrees with accuracy within {100 * largest:.1f} points: "
            f"{against}.",
        )
    return Finding(
        "gap",
        "unsure",
        f"Neither over- nor underconfidence is shown on average: {against}. The samples do not "
        f"rule out a gap within that interval.",
    )


def _ece(audit: Audit) -> Finding:
    value, chance = audit.metrics.loc["ece", "value"], audit.chance
    by_chance = (
        f"a calibrated model with these confidences would show {percent(chance.mean)} on average "
        f"by chance, and less than {percent(chance.upper)} in 95 of 100 samples"
    )
    if chance.p_value < _ALPHA:
        text = (
            f"Miscalibrated: the ECE of {percent(value)} is more than chance explains "
            f"(p {p_text(chance.p_value)}); {by_chance}."
        )
        if audit.gap.low <= 0 <= audit.gap.high:
            text += (
                " On average over all cases no gap is shown: confidence may be too high in some "
                "places and too low in others."
            )
        return Finding("ece", "bad", text)
    return Finding(
        "ece",
        "unsure",
        f"No miscalibration is shown: the ECE of {percent(value)} is what chance makes; "
        f"{by_chance}. That is no proof of calibration.",
    )


def _calibration(audit: Audit) -> list[Finding]:
    """How far the probabilities of the classes of interest can be taken at their word."""
    if audit.classes.calibration is None:
        return []
    return [_calibration_of(audit, name) for name in audit.classes.positive]


def _calibration_of(audit: Audit, name: str) -> Finding:
    ratio, slope = (audit.classes.calibration_of(name, key) for key in ("o_e", "slope"))
    words = {
        "too high on average": (ratio["high"] < 1, "O/E", ratio),
        "too low on average": (ratio["low"] > 1, "O/E", ratio),
        "too extreme": (slope["high"] < 1, "slope", slope),
        "not extreme enough": (slope["low"] > 1, "slope", slope),
    }
    shown = [
        f"{word} ({_ratio(measure, row)})" for word, (holds, measure, row) in words.items() if holds
    ]
    if shown:
        text = f"The probabilities of {name} are {' and '.join(shown)}."
        return Finding("calibration", "bad", text)
    if pd.isna(ratio["low"]) or pd.isna(slope["low"]):
        text = f"These cases cannot show whether the probabilities of {name} are right."
        return Finding("calibration", "unsure", text)
    text = (
        f"The probabilities of {name} are not shown to be wrong on average "
        f"({_ratio('O/E', ratio)}) or too extreme ({_ratio('slope', slope)})."
    )
    return Finding("calibration", "unsure", text)


def _ratio(measure: str, row: dict[str, float]) -> str:
    interval = f", {row['low']:.2f} to {row['high']:.2f}" if not pd.isna(row["low"]) else ""
    return f"{measure} {row['value']:.2f}{interval}"


def _sets(audit: Audit) -> list[Finding]:
    return (
        []
        if audit.sets is None
        else [Finding("sets", *sets_said(audit.sets, audit.classes.positive))]
    )


def _operating(audit: Audit) -> list[Finding]:
    """What is found of each class of interest where nine in ten of the others are left alone."""
    points, findings = audit.classes.operating, []
    for name in audit.classes.positive if points is not None else ():
        assert points is not None
        found = points.of(name, "specificity", _FIXED)
        if pd.isna(found["sensitivity"]) or pd.isna(found["threshold"]):
            continue
        share = _share({key: found[f"sensitivity{end}"] for key, end in _ENDS.items()})
        where = f"from a probability of {found['threshold']:.2g} on"
        if points.chosen_on:
            text = (
                f"{name}, {where}, the threshold of {100 * _FIXED:g}% specificity in "
                f"{Path(points.chosen_on).name}: a sensitivity of {share} and a specificity of "
                f"{_share({key: found[f'specificity{end}'] for key, end in _ENDS.items()})} here."
            )
        else:
            text = (
                f"{name} at a specificity of {100 * _FIXED:g}%: a sensitivity of {share}, taken "
                f"for it {where}. The threshold was chosen on these very cases."
            )
        findings.append(Finding("operating", "fact", text))
    return findings


def _decisions(audit: Audit) -> list[Finding]:
    return [Finding("decision", each.tone, each.text) for each in audit.classes.decisions]


def _parts(audit: Audit) -> Finding:
    table = audit.parts
    tests = int(table["p"].notna().sum())
    wrong = table[(table["p_holm"] < _ALPHA) & ((table["low"] > 0) | (table["high"] < 0))]
    kinds = " and ".join(dict.fromkeys(table["by"]))
    if wrong.empty:
        return Finding(
            "parts",
            "unsure",
            f"By {kinds}, no part of the cases is shown to be over- or underconfident, after "
            f"Holm's correction for {_several(tests, 'test')}.",
        )
    sentences = []
    for word, found in (
        ("overconfident", wrong[wrong["gap"] > 0].sort_values("gap", ascending=False)),
        ("underconfident", wrong[wrong["gap"] < 0].sort_values("gap")),
    ):
        named = [
            f"{f'predictions of {part}' if by == 'predicted class' else f'{by} {part}'} "
            f"({100 * gap:+.1f} points)"
            for by, part, gap in found[["by", "part", "gap"]].head(_NAMED).itertuples(index=False)
        ]
        if named:
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            sentences.append(f"{word} {', '.join(named)}{more}")
    return Finding(
        "parts",
        "bad",
        f"{len(wrong)} of {_several(tests, 'part')} by {kinds}: {'; '.join(sentences)} (Holm's "
        "correction).",
    )


def _automatic(audit: Audit) -> Finding:
    automatic = audit.automatic
    rate = f"{100 * automatic.error_rate:g}%"
    seen = f"{percent(automatic.observed, 0)} of these cases"
    if automatic.low == 0:
        return Finding(
            "automatic",
            "unsure",
            f"At an error rate of at most {rate}, {seen} could have been decided automatically"
            + (", but " if automatic.observed else "; ")
            + f"no share of future cases is shown to stay within it.{_missed_automatically(audit)}",
        )
    which = (
        "all of them"
        if automatic.low == 1
        else f"{percent(automatic.low, 0)}, those with a confidence of at least "
        f"{automatic.threshold:.6g}"
    )
    return Finding(
        "automatic",
        "fact",
        f"At an error rate of at most {rate}, {seen} could have been decided automatically; of "
        f"future cases of the same kind it is shown, at 95% confidence, for {which}."
        f"{_missed_automatically(audit)}",
    )


def _missed_automatically(audit: Audit) -> str:
    """How many of the classes of interest such decisions would miss."""
    predictions = audit.predictions
    order = np.argsort(-predictions.confidence, kind="stable")
    until = np.cumsum(predictions.weights[order])
    decided = order[until <= audit.automatic.observed * until[-1] * (1 + 1e-9)]
    parts = []
    for name, numbers in zip(audit.classes.positive, audit.classes.numbers, strict=True):
        own = np.isin(predictions.labels[decided], numbers)
        missed = own & ~np.isin(predictions.predicted[decided], numbers)
        weights = predictions.weights[decided]
        parts.append(
            f"{_several(float(weights[own].sum()), 'case')} of {name}, of which "
            f"{number(weights[missed].sum())} would be missed"
        )
    return f" In this sample these hold {'; '.join(parts)}." if parts else ""


def _calibrator(audit: Audit) -> Finding:
    fit = audit.calibrators
    if fit is None:
        correct = audit.predictions.correct
        right, groups = int(correct.sum()), audit.predictions.groups
        found = f"{len(correct):,} cases, {right:,} right and {len(correct) - right:,} wrong"
        if groups is not None:
            found += f", in {groups.max() + 1:,} groups"
        return Finding(
            "calibrator",
            "unsure",
            f"Calibrators were not tried: that takes {FEWEST_CASES} cases, {FEWEST_WRONG} right "
            f"and {FEWEST_WRONG} wrong predictions, and {FOLDS} groups where there are any; there "
            f"are {found}.",
        )
    tried = int(fit.table["brier"].notna().sum()) - 1  # none is in it too
    on = (
        "on held-out folds"
        if fit.cases == len(audit.predictions)
        else f"on held-out folds of {fit.cases:,} cases chosen at random"
    )
    if fit.recommended is None:
        return Finding(
            "calibrator",
            "unsure",
            f"None of {tried} calibrators is shown to lower the Brier score {on} (Holm's "
            "correction).",
        )
    table = fit.table.set_index("method")
    chosen, none = table.loc[fit.recommended], table.loc["none"]
    which = (
        f"the best of {tried} tried"
        if fit.recommended == fit.lowest
        else f"of {tried} tried {fit.lowest} had the lowest, but is not shown to be better"
    )
    return Finding(
        "calibrator",
        "good",
        f"{fit.recommended.capitalize()} calibration helps: {on} it changes the Brier score by "
        f"{chosen['brier_change']:+.4f} (95% interval {chosen['low']:+.4f} to "
        f"{chosen['high']:+.4f}; {which}), and the ECE from {percent(none['ece'])} to "
        f"{percent(chosen['ece'])} ({100 * chosen['ece_change']:+.1f} points, "
        f"{100 * chosen['ece_low']:+.1f} to {100 * chosen['ece_high']:+.1f}). To make it: "
        f"lsplus-tf calibrate VALIDATION --method {fit.recommended}, VALIDATION being predictions "
        "of other cases than are audited, with what the audit was told of the file's columns.",
    )


def _votes(audit: Audit, gap: Estimate) -> Finding:
    assert audit.votes is not None
    against = (
        f"mean confidence {percent(audit.metrics.loc['mean_confidence', 'value'])}, annotators "
        f"agree with {percent(audit.votes.agreement)} of the predictions, {points(gap)}"
    )
    if gap.low > 0:
        return Finding("votes", "bad", f"Surer than the annotators: {against}.")
    if gap.high < 0:
        return Finding("votes", "bad", f"Less sure than the annotators: {against}.")
    return Finding("votes", "unsure", f"No surer or less sure than the annotators: {against}.")


def _comparison(audit: Audit) -> Finding:
    assert audit.comparison is not None
    table = audit.comparison.table
    shown = table[table["p_holm"] < _ALPHA]
    assert audit.second is not None
    second = list(models(audit))[1] if audit.second.source else "the other predictions"
    how = f"on the same {audit.comparison.cases:,} cases"
    if audit.comparison.left_out:
        how += f" ({audit.comparison.left_out:,} that only one of the two has are left out)"
    tests = int(table["p"].notna().sum())
    if shown.empty:
        return Finding(
            "comparison",
            "unsure",
            f"Against {second}, {how}: no difference is shown in any of {tests} metrics "
            "(permutation tests, Holm's correction). That does not make the two equal.",
        )
    listed = ", ".join(
        f"{metric_name(metric)} {metric_text(metric, first)} against {metric_text(metric, other)}"
        for metric, first, other, *_ in shown.itertuples(index=False)
    )
    return Finding(
        "comparison",
        "fact",
        f"Against {second}, {how}, these differ: {listed} (permutation tests, Holm's correction "
        f"for {tests} metrics).",
    )


def _counted(audit: Audit) -> str:
    cases = _several(len(audit.predictions), "case")
    groups = audit.predictions.groups
    return cases if groups is None else f"{cases} of {int(groups.max()) + 1:,} groups"


def _several(count: float, what: str, more: str = "") -> str:
    return f"{number(count)} {what if count == 1 else more or f'{what}s'}"
