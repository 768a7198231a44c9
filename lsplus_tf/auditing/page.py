"""The page of an audit."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lsplus_tf import plots
from lsplus_tf.auditing import shown
from lsplus_tf.auditing.checklist import ABOUT, checklist_table
from lsplus_tf.auditing.comparison import Comparison
from lsplus_tf.auditing.cross_fitting import CrossFit
from lsplus_tf.auditing.decisions import ABOUT_DECISIONS
from lsplus_tf.auditing.measured import Audit
from lsplus_tf.auditing.prediction_sets import CrossFitSets
from lsplus_tf.auditing.verdicts import is_too_small, models, percent, verdict
from lsplus_tf.errors import some_of
from lsplus_tf.metrics.definitions import GLOSSARY
from lsplus_tf.metrics.resampling import random_part
from lsplus_tf.page import Block, Facts, Page, Picture, Pictures, Section, Text, draw, shared_legend
from lsplus_tf.predictions import Predictions

_MOST_PARTS_DRAWN = 40
_SIGNS = "! is bad news that is shown, ? what these cases cannot decide, i a fact, ✓ good news."
_MOST_PANELS = 12  # of curves of classes
_FEWEST_DRAWN = 20_000  # cases
_VALUES_DRAWN = 3_000_000  # cases times classes, of which curves are drawn in a second or two
_MOST_CONFUSED = 20  # classes in a table of their confusion


def audit_page(audit: Audit) -> Page:
    """The page that shows an audit.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    Page
        For `lsplus_tf.page.write_page`; its pictures are in it.

    Examples
    --------
    >>> import lsplus_tf as lsp
    >>> predictions = lsp.Predictions([0, 1] * 50, [[0.9, 0.1]] * 100)
    >>> result = lsp.audit(predictions, num_resamples=20)
    >>> [section.title for section in audit_page(result).sections[:3]]
    ['Verdict', 'Found and missed', 'Metrics']
    """
    predictions = audit.predictions
    findings = [Text(finding.text, finding.tone) for finding in verdict(audit)]
    groups = "" if predictions.groups is None else f" of {predictions.groups.max() + 1:,} groups"
    sections = [
        Section("Verdict", [*findings, Text(_SIGNS, "note"), *_notes(audit)]),
        _classes(audit),
        *_operating(audit),
        _metrics(audit),
        _reliability(audit),
        *_calibration(audit),
        *_decisions(audit),
        _parts(audit),
        _automatic(audit),
    ]
    if audit.sets is not None:
        sections.append(_sets(audit.sets))
    if audit.calibrators is not None:
        sections.append(_calibrators(audit.calibrators))
    if audit.comparison is not None:
        sections.append(_comparison(audit, audit.comparison))
    sections += [_method(audit), _checklist(audit)]
    return Page(
        f"Audit of {next(iter(models(audit)))}",
        sections,
        f"{len(predictions):,} cases{groups}, {len(predictions.class_names)} classes: "
        f"{some_of(predictions.class_names, 8)}",
        GLOSSARY,
    )


def _notes(audit: Audit) -> list[Text]:
    return [Text(note, "note") for note in audit.notes]


def _classes(audit: Audit) -> Section:
    blocks: list[Block] = [
        Text(
            "Each class against all others. A case is found where its class is the most probable "
            "one. Sensitivity and specificity are of cases like these, PPV and NPV of this "
            "prevalence too. In brackets 95% intervals."
        ),
        shown.classes_table(audit),
    ]
    if len(audit.predictions.class_names) <= _MOST_CONFUSED:
        blocks.append(shown.confusion_table(audit))
    return Section("Found and missed", blocks)


def _operating(audit: Audit) -> list[Section]:
    found = audit.classes.operating
    if found is None:
        return []
    return [
        Section(
            "Fixed specificity or sensitivity",
            [
                Text(
                    "What is found of a class where at least this share of the other cases is not "
                    "taken for it, and how many of these are not where at least this share of it "
                    "is found. A case is taken for the class from the threshold on. "
                    f"{shown.about_operating(found)}"
                ),
                shown.operating_table(found),
            ],
        )
    ]


def _metrics(audit: Audit) -> Section:
    blocks: list[Block] = [shown.metrics_table(audit), Text(shown.about_metrics(audit), "note")]
    if audit.votes is not None:
        blocks.append(shown.votes_table(audit.votes))
    if audit.paper_metrics is not None:
        blocks.append(shown.paper_table(audit.paper_metrics))
    return Section("Metrics", blocks)


def _reliability(audit: Audit) -> Section:
    predictions = audit.predictions
    both = models(audit)
    titles = [_literal(title) if len(both) > 1 else None for title in both]
    shown = [*zip(both.values(), titles, strict=True)]
    diagrams = [plots.reliability_diagram(model, title=title) for model, title in shown]
    alts = [f"Reliability diagram of {title}. {_in_words(both[title])}" for title in both]
    isotonic = [
        plots.reliability_diagram(model, bins="isotonic", title=title)
        for model, title in shown
        if model.kind != "confidence"
    ]
    of_isotonic = [
        f"Reliability diagram of {title} with the bins of isotonic regression."
        for title, model in both.items()
        if model.kind != "confidence"
    ]
    densities = [plots.confidence_density(model, recipe="plain") for model, _ in shown]
    heights = [ax.get_ylim()[1] for ax in densities]
    for ax, title in zip(densities, titles, strict=True):
        ax.set_ylim(0, max(heights))  # which can be compared
        if title is not None:
            ax.set_title(title)
    of_densities = [
        f"Histogram of the confidence of {title} in right and in wrong predictions."
        for title in both
    ]
    alone = "" if predictions.groups is None else ", and their intervals take cases as independent"
    blocks: list[Block] = [
        Text(
            "Bars are the accuracy of cases of similar confidence, hatched is what is missing to "
            "(or beyond) their mean confidence; on the diagonal the two agree. Read the intervals "
            f"before the bars, of which those of fewer than 10 cases are faint{alone}; a pointer "
            "on a bar shows its numbers."
        ),
        _with_one_legend(diagrams, alts),
    ]
    if isotonic:
        blocks += [
            Text(
                "The same with bins that isotonic regression chooses (CORP): grey is where the "
                "bars of a calibrated model would end."
            ),
            _with_one_legend(isotonic, of_isotonic),
        ]
    drawn = [draw(_figure(ax), alt) for ax, alt in zip(densities, of_densities, strict=True)]
    blocks += [
        Text("Confidence in right and in wrong predictions; the two should differ."),
        Pictures(drawn),
    ]
    if predictions.kind != "confidence":
        by_class = draw(
            _figure(plots.classwise_reliability(_named_literally(predictions))),
            "Observed share of each class against the probability that it was given.",
            "Class by class, over all cases: how often a case is of the class, against the "
            "probability that it was given.",
        )
        blocks.append(by_class)
    return Section("Confidence and accuracy", blocks)


def _calibration(audit: Audit) -> list[Section]:
    """Each class's probability: intercept and slope, smooth curves, distributions."""
    if audit.classes.calibration is None:
        return []
    predictions = audit.predictions
    most = max(_FEWEST_DRAWN, _VALUES_DRAWN // len(predictions.class_names))
    rows = random_part(len(predictions), most, predictions.groups, 0)
    drawn_of = ""
    if rows.size < len(predictions):
        predictions = predictions.take(rows)
        drawn_of = f" Drawn of {rows.size:,} cases chosen at random."
    predictions, shown_first = _named_literally(predictions), _interest_first(audit)
    return [
        Section(
            "Calibration of each class",
            [
                Text(
                    "How far the probability of a class can be taken at its word, over all cases. "
                    "Calibrated are an intercept of 0, a slope of 1 and an O/E of 1. The curves "
                    "are smooth: how often a case is of the class, against its probability, with "
                    f"95% bands for each point.{drawn_of}"
                ),
                shown.calibration_table(audit),
                draw(
                    _figure(plots.calibration_curve(predictions, positive=shown_first)),
                    "Smooth calibration curves of the classes with bands.",
                ),
                draw(
                    _figure(plots.probability_distributions(predictions, positive=shown_first)),
                    "Histograms of each class's probability among its cases and the others.",
                    "The probability of a class among cases of it, above, and of others, below.",
                ),
            ],
        )
    ]


def _interest_first(audit: Audit) -> list[list[int]] | None:
    """What has a panel each: the classes of interest, and of the others those with most cases."""
    interest = [list(each) for each in audit.classes.numbers][:_MOST_PANELS]
    if not interest and len(audit.predictions.class_names) <= _MOST_PANELS:
        return None
    counts = audit.predictions.class_counts
    others = [k for k in np.argsort(-counts, kind="stable").tolist() if [k] not in interest]
    return interest + [[k] for k in sorted(others[: _MOST_PANELS - len(interest)])]


def _decisions(audit: Audit) -> list[Section]:
    found = audit.classes.decisions
    if not found:
        return []
    both = {_literal(name): _named_literally(model) for name, model in models(audit).items()}
    pictures = []
    for each in found:
        ax = plots.decision_curve(both, positive=[*map(_literal, each.classes)])
        ax.set_title(_literal(each.name))
        pictures.append(draw(_figure(ax), f"Decision curve of {each.name}. {each.text}"))
    return [
        Section(
            "Decision curves",
            [
                Text(f"{ABOUT_DECISIONS} Net benefit is in true positives per case."),
                *([] if is_too_small(audit) else [Text(each.text, each.tone) for each in found]),
                Pictures(pictures),
            ],
        )
    ]


def _with_one_legend(axes: list[Axes], alts: list[str]) -> Pictures:
    legend = shared_legend(axes)
    for ax in axes:
        _figure(ax).set_size_inches(4.2, 5.2)
    return Pictures([draw(_figure(ax), alt) for ax, alt in zip(axes, alts, strict=True)], legend)


def _in_words(model: Predictions) -> str:
    """Mean confidence and accuracy of four ranges, for who cannot see the diagram."""
    confidence, correct = model.confidence.astype(np.float64), model.correct
    texts = []
    for low, high in ((0.0, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.0)):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            texts.append(
                f"confidence {low:g} to {high:g}: {inside.sum():,} cases, mean "
                f"{percent(confidence[inside].mean())}, accuracy {percent(correct[inside].mean())}"
            )
    return "; ".join(texts) + "."


def _parts(audit: Audit) -> Section:
    blocks: list[Block] = [
        Text(
            "The gap is mean confidence less accuracy in percentage points: above 0 the model is "
            "overconfident there. By class means among the cases that the model says are of the "
            "class. The intervals are of each part alone; p is corrected for all of them."
        ),
        shown.parts_table(audit),
    ]
    if 1 < len(audit.parts) <= _MOST_PARTS_DRAWN:
        blocks.insert(1, _gap_picture(audit.parts))
    if len(audit.classes.by_subgroup):
        blocks += [
            Text(
                "What is found of the classes of interest in each subgroup, where the class is the "
                "most probable one. Each interval is of its part alone: of twenty parts that do "
                "not differ, one leaves out the value of all on average."
            ),
            shown.subgroups_table(audit),
        ]
    return Section("Classes and subgroups", blocks)


def _gap_picture(table: pd.DataFrame) -> Picture:
    figure, ax = plt.subplots(figsize=(6.2, 1.1 + 0.32 * len(table)), layout="constrained")
    places = np.arange(len(table))
    gaps, low, high = (
        100 * table[column].to_numpy(np.float64) for column in ("gap", "low", "high")
    )
    significant = (table["p_holm"] < 0.05).to_numpy()
    for chosen, marker, label in (
        (significant, "D", "significant (Holm)"),
        (~significant, "o", "not significant"),
    ):
        if chosen.any():
            ax.hlines(places[chosen], low[chosen], high[chosen], color="0.4", linewidth=1.5)
            ax.plot(
                gaps[chosen],
                places[chosen],
                marker,
                color=plots.METHOD_COLOURS[1 if chosen is significant else 0],
                label=label,
            )
    ax.axvline(0, color="black", linewidth=1)
    # The axis is that of intervals that tell something.
    wide = np.array([*map(shown.is_too_wide, table["low"], table["high"])])
    ends = np.concatenate([gaps, low[~wide], high[~wide], [0.0]])
    margin = 0.05 * np.ptp(ends[~np.isnan(ends)]) or 1.0
    ax.set_xlim(np.nanmin(ends) - margin, np.nanmax(ends) + margin)
    names = [shown.part_name(by, part) for by, part in zip(table["by"], table["part"], strict=True)]
    ax.set_yticks(
        places, [_literal(name if len(name) <= 32 else f"{name[:31]}…") for name in names]
    )
    ax.set_ylim(len(table) - 0.5, -0.5)  # the first row on top, none on the frame
    ax.set_xlabel("Confidence less accuracy (points)\nunderconfident below 0, overconfident above")
    ax.grid(axis="x", alpha=0.3)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize="small", frameon=False)
    return draw(
        figure,
        "The gaps of the table below with their 95% intervals.",
        "Lines that leave the picture are of parts with too few cases." if wide.any() else "",
    )


def _automatic(audit: Audit) -> Section:
    automatic = audit.automatic
    ax = plots.risk_coverage_curves({_literal(n): model for n, model in models(audit).items()})
    rate = f"{100 * automatic.error_rate:g}%"
    ax.axhline(automatic.error_rate, color="0.3", linestyle=":", label=f"{rate} accepted")
    ax.legend()
    return Section(
        "Automatic decisions",
        [
            Text(
                "If the model decides its most confident cases alone and passes the others to a "
                "person: how many errors it makes among those that it decides. The intervals hold "
                "for all rows together at 95%, as the share is chosen after looking."
            ),
            draw(
                _figure(ax),
                f"Error rate among the cases decided against their share. At most {rate} is "
                f"accepted, which {percent(automatic.observed, 0)} of these cases meet.",
            ),
            shown.automatic_table(audit),
        ],
    )


def _sets(found: CrossFitSets) -> Section:
    tables = [shown.sets_table(found), shown.sets_parts_table(found)]
    return Section("Prediction sets", [Text(shown.about_sets(found)), *tables])


def _calibrators(fit: CrossFit) -> Section:
    return Section(
        "Calibrators",
        [
            Text(
                f"Each was fitted on four fifths of {fit.cases:,} cases and judged on the fifth "
                "that it had not seen, five times over; with groups, no group is on both sides. "
                "Changes are against no calibrator, negative is better, with 95% intervals. "
                "The best of several looks a little better than it is."
            ),
            shown.calibrators_table(fit),
        ],
    )


def _comparison(audit: Audit, found: Comparison) -> Section:
    matched = f"{found.cases:,} cases, matched by {found.by}"
    if found.left_out:
        matched += f"; {found.left_out:,} that only one of the two has are left out"
    first, second = models(audit)
    return Section(
        "Comparison",
        [
            Text(
                f"First {first}, second {second}: {matched}. Differences are first less second, "
                "with paired bootstrap intervals; p is of permutation tests."
            ),
            shown.comparison_table(found),
        ],
    )


def _method(audit: Audit) -> Section:
    unit = "cases" if audit.predictions.groups is None else "groups"
    chance = (
        "draws each case right with its confidence"
        if audit.predictions.groups is None
        else "takes the bins' gaps of resampled groups about the observed ones"
    )
    return Section(
        "How it was made",
        [
            Text(
                f"Intervals draw {unit} with replacement, or use the variance between them. Those "
                "of shares, as the accuracy, and of gaps are Agresti and Coull's, as if two more "
                "cases had been right and two wrong. What chance makes of the ECE is from a "
                f"simulation that {chance}. The cases must be ones that the model was neither "
                "trained nor tuned on, and the verdict is of cases like these: this hospital, this "
                "prevalence."
            ),
            Facts("Settings", audit.settings),
        ],
    )


def _checklist(audit: Audit) -> Section:
    return Section("Reporting checklist", [Text(ABOUT, "note"), checklist_table(audit)])


def _literal(text: str) -> str:
    """Text that Matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def _named_literally(predictions: Predictions) -> Predictions:
    return predictions.replace(class_names=[*map(_literal, predictions.class_names)])


def _figure(ax: Any) -> Figure:
    return ax.figure
