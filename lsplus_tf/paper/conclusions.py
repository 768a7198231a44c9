"""Which of the LS+ paper's conclusions on MHIST its published predictions support.

Table 1's metrics of every method and network, the mean over three runs, with intervals, and LS+
against each baseline. Both are about the method with new seeds on new images, as
`lsplus_tf.metrics.method_comparison` defines it. Runs of the same number are no pairs: whether they
share initial weights is not known.
The metrics are the sound ones of `lsplus_tf.metrics`: they differ from the printed ones in that the
least confident image is in a bin of the ACE, and that the negative log-likelihood (NLL, the paper's
CE) is not cut off at a probability of 1e-7. On ResNet-34 that moves a run's ACE by 0.0005 and the
NLL of hard labels by up to 0.009.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass, fields

import pandas as pd

from lsplus_tf import metrics
from lsplus_tf.metrics.method_comparison import (
    CONFIDENCE_LEVEL,
    Difference,
    Estimate,
    MeasuredRuns,
    judge,
    measure_runs,
)
from lsplus_tf.paper.artifacts import BACKBONES, METHODS, RUNS, Artifacts, Published
from lsplus_tf.paper.cells import BACKBONE_TITLES, HEADINGS, markdown, title
from lsplus_tf.paper.figures import METHOD_TITLES
from lsplus_tf.paper.table_1 import METRICS
from lsplus_tf.predictions import Predictions

CONTROL = "ls_plus"
# What the paper concludes on, and the family of tests that Holm's correction is over: these metrics
# times five baselines times the networks that are there.
CLAIMED = ("accuracy", "ece", "ace", "sce", "nll", "brier")
BETTER = {key: record.better for key, record in metrics.METRICS.items()}
RESAMPLES = 4000
# A verdict on LS+, and the column of `Conclusions.survivors` with the baselines it is about.
VERDICTS = {"better": "better_than", "worse": "worse_than", "undecided": "undecided"}


@dataclass(frozen=True)
class Conclusions:
    """What `conclude` found.

    Attributes
    ----------
    intervals : DataFrame
        Columns backbone, metric, method, value (mean over runs), low, high, sd (of the runs);
        fractions, NLL in nats.
    tests : DataFrame
        LS+ against each baseline in the metrics of CLAIMED: columns backbone, metric, baseline,
        difference, low, high, p, p_holm, verdict ("better", "worse" or "undecided", of LS+),
        seeds_needed. Empty where LS+ or all baselines are missing.
    survivors : DataFrame
        Columns backbone, metric, best (the method with the best mean), better_than, worse_than and
        undecided (titles of baselines), survives (LS+ is better than every baseline that is there).
    resamples : int
        How many were drawn.
    """

    intervals: pd.DataFrame
    tests: pd.DataFrame
    survivors: pd.DataFrame
    resamples: int


def conclude(
    artifacts: Artifacts, *, resamples: int = RESAMPLES, seed: int = 0
) -> Conclusions | None:
    """Intervals and tests of every network's methods of which all three runs are there."""
    intervals, estimates = [], {}
    for backbone in BACKBONES:
        runs = complete_runs(artifacts, backbone)
        if not runs:
            continue
        every = [
            Predictions(run.labels, run.probabilities) for each in runs.values() for run in each
        ]
        measured = measure_runs(METRICS, every, None, resamples, seed)
        intervals.append(of_backbone(backbone, interval_table(measured, runs)))
        claimed = {metric: measured[metric] for metric in CLAIMED}
        for key, estimate in against_control(claimed, runs).items():
            estimates[backbone, *key] = estimate
    if not intervals:
        return None
    every_interval = pd.concat(intervals, ignore_index=True)
    every_test = test_table(estimates, BETTER)
    return Conclusions(every_interval, every_test, survivors(every_interval, every_test), resamples)


def interval_table(measured: Mapping[str, MeasuredRuns], methods: Collection[str]) -> pd.DataFrame:
    """Columns metric, method, value (mean over runs), low, high, sd (of the runs).

    The intervals are of methods with new seeds on new images, less the resamples' mean deviation,
    since calibration errors of a finite sample are too large.
    """
    rows = []
    for metric, found in measured.items():
        for method, runs in _runs_of(methods).items():
            values, bounds = found.values[runs], found.interval(runs)
            rows.append((metric, method, values.mean(), *bounds, values.std(ddof=1)))
    return pd.DataFrame(rows, columns=["metric", "method", "value", "low", "high", "sd"])


def against_control(
    measured: Mapping[str, MeasuredRuns], methods: Collection[str]
) -> dict[tuple[str, str], Estimate]:
    """LS+ less each other method, by metric and baseline; empty where LS+ is missing."""
    runs = _runs_of(methods)
    return {
        (metric, baseline): found.difference(runs[CONTROL], runs[baseline], paired=False)
        for metric, found in measured.items()
        for baseline in methods
        if CONTROL in methods and baseline != CONTROL
    }


def _runs_of(methods: Collection[str]) -> dict[str, slice]:
    """Where the runs of each method are among all."""
    each = len(RUNS)
    return {method: slice(i * each, (i + 1) * each) for i, method in enumerate(methods)}


def of_backbone(backbone: str, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the backbone as its first column."""
    return pd.concat([pd.Series(backbone, table.index, name="backbone"), table], axis=1)


def test_table(
    estimates: Mapping[tuple[str, str, str], Estimate], better: Mapping[str, int]
) -> pd.DataFrame:
    """LS+ less a baseline, by backbone, metric and baseline: the columns of `Conclusions.tests`.

    All are one family of tests; `better` is 1 for metrics of which more is better, else -1.
    """
    judged = judge(estimates, {key: better[key[1]] for key in estimates})
    keys = ["backbone", "metric", "baseline"]
    columns = [*keys, *(field.name for field in fields(Difference))]
    rows = [(*key, *astuple(found)) for key, found in judged.items()]
    return pd.DataFrame(rows, columns=columns).rename(columns={"value": "difference"})


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
        values = intervals.loc[chosen].set_index("method")["value"] * BETTER[str(metric)]
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
        "Metrics of Table 1 on MHIST in percent (NLL, the paper's CE, times 100), mean over three "
        f"runs, with {CONFIDENCE_LEVEL:.0%} intervals of the method with new seeds on new images: "
        "Student's t, of the spread of the runs and of "
        f"{conclusions.resamples:,} bootstrap resamples of the images. ECE, ACE and SCE of a "
        "finite sample are too large; their intervals, which take that off, may lie below the "
        "value.",
        interval_tables(conclusions.intervals, dict.fromkeys(METRICS, 100.0), HEADINGS),
    ]
    if tests.empty:
        return "\n\n".join(lines)
    lines.append(
        'LS+ against each baseline, with new seeds on new images: "better" and "worse" are p < '
        f"{1 - CONFIDENCE_LEVEL:g} after Holm's correction over all {len(tests)} tests. "
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
