"""Which of the LS+ paper's conclusions on MHIST its published predictions support.

Table 1's metrics of every method and network, the mean over three runs, with intervals, and LS+
against each baseline on the same images; `run_comparison` says what is resampled. The metrics are
the sound ones of `lsplus_tf.metrics`: they differ from the printed ones in that the least confident
image is in a bin of the ACE, and that the cross-entropy is not cut off at a probability of 1e-7.
On ResNet-34 that moves a run's ACE by 0.0005 and the CE of hard labels by up to 0.009.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from lsplus_tf import run_comparison
from lsplus_tf.paper.artifacts import BACKBONES, METHODS, RUNS, Artifacts, Published
from lsplus_tf.paper.cells import BACKBONE_TITLES, HEADINGS, markdown, title
from lsplus_tf.paper.figures import METHOD_TITLES
from lsplus_tf.paper.table_1 import METRICS

CONTROL = "ls_plus"
# What the paper concludes on, by which way is better, and the family of tests that Holm's
# correction is over: these metrics times five baselines times the networks that are there.
CLAIMED = {"accuracy": 1, "ece": -1, "ace": -1, "sce": -1, "ce": -1, "brier": -1}
# A verdict on LS+, and the column of `Conclusions.survivors` with the baselines it is about.
VERDICTS = {"better": "better_than", "worse": "worse_than", "undecided": "undecided"}


@dataclass(frozen=True)
class Conclusions:
    """What `conclude` found.

    Attributes
    ----------
    intervals : columns backbone, metric, method, value (mean over runs), low, high, sd (of the
        runs); fractions, CE in nats.
    tests : LS+ against each baseline in the metrics of CLAIMED: columns backbone, metric,
        baseline, difference, low, high, p, runs_better (of 9 pairs), better (1: higher is better,
        -1: lower), p_holm, verdict ("better", "worse" or "undecided", of LS+). Empty where LS+ or
        all baselines are missing.
    survivors : columns backbone, metric, best (the method with the best mean), better_than,
        worse_than and undecided (titles of baselines), survives (LS+ is better than every baseline
        that is there).
    resamples : how many were drawn.
    """

    intervals: pd.DataFrame
    tests: pd.DataFrame
    survivors: pd.DataFrame
    resamples: int


def conclude(
    artifacts: Artifacts, *, resamples: int = run_comparison.RESAMPLES, seed: int = 0
) -> Conclusions | None:
    """Intervals and tests of every network's methods of which all three runs are there."""
    intervals, tests = [], []
    for backbone in BACKBONES:
        runs = complete_runs(artifacts, backbone)
        if not runs:
            continue
        measures = {
            (metric, method): [
                run_comparison.measure_of(metric, run.labels, run.probabilities) for run in given
            ]
            for metric in METRICS
            for method, given in runs.items()
        }
        images = next(iter(runs.values()))[0].labels.size
        resampled = run_comparison.resample(measures, images, resamples, seed)
        intervals.append(run_comparison.intervals(resampled).assign(backbone=backbone))
        tests.append(run_comparison.compare(resampled, CONTROL, CLAIMED).assign(backbone=backbone))
    if not intervals:
        return None
    every_interval = _backbone_first(pd.concat(intervals, ignore_index=True))
    every_test = _backbone_first(run_comparison.corrected(pd.concat(tests, ignore_index=True)))
    return Conclusions(every_interval, every_test, survivors(every_interval, every_test), resamples)


def complete_runs(artifacts: Artifacts, backbone: str) -> dict[str, list[Published]]:
    """The methods of which all three runs' MHIST predictions are there."""
    complete: dict[str, list[Published]] = {}
    for method in METHODS:
        found = [artifacts.predictions(backbone, method, run) for run in RUNS]
        runs = [run for run in found if run is not None]
        if len(runs) == len(RUNS):
            complete[method] = runs
    return complete


def survivors(intervals: pd.DataFrame, tests: pd.DataFrame) -> pd.DataFrame:
    """For each network and metric, what the tests leave of "LS+ is the best"."""
    rows = []
    for (backbone, metric), group in tests.groupby(["backbone", "metric"], sort=False):
        chosen = (intervals["backbone"] == backbone) & (intervals["metric"] == metric)
        values = intervals.loc[chosen].set_index("method")["value"] * group["better"].iloc[0]
        rows.append(
            {
                "backbone": backbone,
                "metric": metric,
                "best": values.idxmax(),
                **{
                    column: ", ".join(METHOD_TITLES[m] for m in _with(group, verdict))
                    for verdict, column in VERDICTS.items()
                },
                "survives": bool((group["verdict"] == "better").all()),
            }
        )
    return pd.DataFrame(rows)


def _with(tests: pd.DataFrame, verdict: str) -> list[str]:
    return list(tests.loc[tests["verdict"] == verdict, "baseline"])


def in_words(conclusions: Conclusions) -> str:
    """What the intervals and tests say, in Markdown."""
    tests, claims = conclusions.tests, conclusions.survivors
    lines = [
        "Metrics of Table 1 on MHIST in percent (CE times 100), mean over three runs, with "
        f"{run_comparison.CONFIDENCE_LEVEL:.0%} bootstrap intervals: {conclusions.resamples:,} "
        "resamples of the images, the same for all methods and runs. ECE, ACE and SCE of a finite "
        "sample are too large; their intervals, which take that off, may lie below the value. The "
        "trained networks are taken as they are: how much training anew would change is not in the "
        "intervals.",
        interval_tables(conclusions.intervals, dict.fromkeys(METRICS, 100.0), HEADINGS),
    ]
    if tests.empty:
        return "\n\n".join(lines)
    lines.append(
        'LS+ against each baseline on the same resamples: "better" and "worse" are p < '
        f"{run_comparison.SIGNIFICANCE:g} after Holm's correction over all {len(tests)} tests. "
        f"LS+ has the best mean in {(claims['best'] == CONTROL).sum()} of {len(claims)} "
        "combinations of network and metric; that it is better than every baseline is shown in "
        f"{claims['survives'].sum()}."
    )
    rows = [
        [
            BACKBONE_TITLES[row["backbone"]],
            HEADINGS[row["metric"]],
            METHOD_TITLES[row["best"]],
            *(row[verdict].replace(", ", "; ") or "-" for verdict in VERDICTS.values()),
            "yes" if row["survives"] else "no",
        ]
        for row in claims.to_dict("records")
    ]
    headings = ["Network", "Metric", "Best mean", "LS+ better than", "worse than", "undecided"]
    lines.append(markdown([*headings, "LS+ the best: shown"], rows, text_columns=7))
    return "\n\n".join(lines)


def interval_tables(
    intervals: pd.DataFrame, factors: Mapping[str, float], headings: Mapping[str, str]
) -> str:
    """A Markdown table for each network: a row a method, values times `factors` by metric."""
    tables = []
    for backbone, of_backbone in intervals.groupby("backbone", sort=False):
        rows = []
        for method, of_method in of_backbone.groupby("method", sort=False):
            cells = of_method.set_index("metric")
            row = [METHOD_TITLES[str(method)]]
            for metric, factor in factors.items():
                value, low, high = factor * cells.loc[metric, ["value", "low", "high"]]
                digits = 2 if factor == 100 else 3
                row.append(f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]")
            rows.append(row)
        table = markdown(["Method", *(headings[m] for m in factors)], rows, text_columns=1)
        tables += [f"### {title('mhist', str(backbone))}", table]
    return "\n\n".join(tables)


def _backbone_first(table: pd.DataFrame) -> pd.DataFrame:
    return table[["backbone", *table.columns.drop("backbone")]]
