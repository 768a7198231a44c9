"""Does LS+ doubt where pathologists disagree? MHIST's seven votes beside the published predictions.

The paper's labels are the majority of seven pathologists. Here every method is measured against
the shares of their votes, as `lsplus_tf.metrics.annotators` defines it, and by Spearman's
correlation of its confidence with their agreement (the majority's votes, 4 to 7). Intervals and
tests are those of `lsplus_tf.paper.conclusions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import entr

from lsplus_tf import plots
from lsplus_tf.metrics import forms
from lsplus_tf.metrics.method_comparison import CONFIDENCE_LEVEL, MeasuredRuns
from lsplus_tf.metrics.metric import Form, OfWeights, Values, Weights
from lsplus_tf.metrics.resampling import Cases, resample_forms
from lsplus_tf.paper.artifacts import ANNOTATORS, BACKBONES, METHODS, Artifacts, Published
from lsplus_tf.paper.cells import BACKBONE_TITLES, title
from lsplus_tf.paper.conclusions import (
    RESAMPLES,
    against_control,
    complete_runs,
    interval_table,
    interval_tables,
    of_backbone,
    test_table,
)
from lsplus_tf.paper.figures import METHOD_TITLES

# By which way is better, and the family of tests of Holm's correction: these times five baselines
# times the networks that are there.
METRICS = {"cross_entropy": -1, "brier": -1, "calibration_error": -1, "agreement": 1}
HEADINGS = {
    "cross_entropy": "cross-entropy",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "agreement": "correlation of confidence and agreement",
}


@dataclass(frozen=True)
class Agreement:
    """What `agree` found.

    Attributes
    ----------
    votes : DataFrame
        Columns ssa_votes (0 to 7) and images.
    best_cross_entropy : float
        That of a model that predicts the shares of votes themselves.
    intervals : DataFrame
        Columns backbone, metric (of METRICS), method, value (mean over runs), low, high, sd (of the
        runs).
    tests : DataFrame
        LS+ against each baseline: columns as `conclusions.Conclusions.tests` has them.
    by_votes : DataFrame
        Columns backbone, method, ssa_votes, confidence, ssa_probability (means over the images and
        runs).
    resamples : int
        How many were drawn.
    """

    votes: pd.DataFrame
    best_cross_entropy: float
    intervals: pd.DataFrame
    tests: pd.DataFrame
    by_votes: pd.DataFrame
    resamples: int


def agree(artifacts: Artifacts, *, resamples: int = RESAMPLES, seed: int = 0) -> Agreement | None:
    """Every network's methods of which all three runs are there, against the votes."""
    votes = artifacts.votes()
    runs_of = {backbone: complete_runs(artifacts, backbone) for backbone in BACKBONES}
    runs_of = {backbone: runs for backbone, runs in runs_of.items() if runs}
    if votes is None or not runs_of:
        return None
    shares = votes / votes.sum(axis=1, keepdims=True)
    intervals, estimates, by_votes = [], {}, []
    for backbone, runs in runs_of.items():
        every = [run for each in runs.values() for run in each]
        cases = Cases.all_of(len(votes), None, seed)
        measured = {}
        for metric in METRICS:
            each = [_form(metric, run, shares) for run in every]
            measured[metric] = MeasuredRuns.of(resample_forms(each, cases, resamples, seed))
        intervals.append(of_backbone(backbone, interval_table(measured, runs)))
        for key, estimate in against_control(measured, runs).items():
            estimates[backbone, *key] = estimate
        by_votes += [
            of_backbone(backbone, _means_by_votes(given, votes).assign(method=method))
            for method, given in runs.items()
        ]
    numbers = np.arange(ANNOTATORS + 1)
    images = np.bincount(votes[:, 1], minlength=ANNOTATORS + 1)
    return Agreement(
        pd.DataFrame({"ssa_votes": numbers, "images": images}),
        float(entr(shares).sum(axis=1).mean()),
        pd.concat(intervals, ignore_index=True),
        test_table(estimates, METRICS),
        pd.concat(by_votes, ignore_index=True),
        resamples,
    )


def votes_figure(agreement: Agreement) -> Figure:
    """Mean confidence and mean P(SSA) against the number of votes for SSA; a row a network.

    Dots are the votes themselves: the majority's share, as confidence ought to be, and SSA's.
    """
    rows = dict(list(agreement.by_votes.groupby("backbone", sort=False)))
    figure, axes = plt.subplots(
        len(rows), 2, figsize=(11, 4.2 * len(rows)), squeeze=False, layout="constrained"
    )
    numbers, images = agreement.votes["ssa_votes"], agreement.votes["images"]
    majority = np.maximum(numbers, ANNOTATORS - numbers) / ANNOTATORS
    ticks = [f"{number}\n{count}" for number, count in zip(numbers, images, strict=True)]
    for (left, right), (backbone, table) in zip(axes, rows.items(), strict=True):
        for ax, shares in ((left, majority), (right, numbers / ANNOTATORS)):
            ax.plot(numbers, shares, "o", color="0.6", label="Share of votes")
        for method, means in table.groupby("method", sort=False):
            look = plots.look(METHODS.index(str(method)))
            for ax, column in ((left, "confidence"), (right, "ssa_probability")):
                ax.plot(means["ssa_votes"], means[column], label=METHOD_TITLES[str(method)], **look)
        left.set(ylabel="Mean confidence", ylim=(0.5, 1.02))
        right.set(ylabel="Mean P(SSA)", ylim=(-0.02, 1.02))
        for ax in (left, right):
            ax.set_title(f"{title('mhist', str(backbone))}, mean over three runs")
            ax.set_xticks(numbers, ticks)
            ax.set_xlabel("Votes for SSA of seven, and how many images have them")
            ax.grid(alpha=0.3)
    keys = {line.get_label(): line for ax in axes[:, 1] for line in ax.get_lines()}
    figure.legend(handles=list(keys.values()), loc="outside right center")
    return figure


def in_words(agreement: Agreement) -> str:
    """What came out, in Markdown."""
    images = agreement.votes.set_index("ssa_votes")["images"]
    lines = [
        f"Of {images.sum()} test images the seven pathologists agree on {images[[0, 7]].sum()} and "
        f"are split 4 to 3 on {images[[3, 4]].sum()}. Every method against the shares of their "
        f"votes, mean over three runs with {CONFIDENCE_LEVEL:.0%} intervals, of the method with "
        "new seeds on new images: "
        "lower is better but for the last column, Spearman's correlation of confidence with the "
        "majority's share of votes. No model can have a cross-entropy below "
        f"{agreement.best_cross_entropy:.3f}, the mean entropy of the votes.",
        interval_tables(agreement.intervals, dict.fromkeys(METRICS, 1.0), HEADINGS),
        "LS+ against each baseline, with new seeds on new images, p < "
        f"{1 - CONFIDENCE_LEVEL:g} after Holm's correction over {len(agreement.tests)} "
        "tests, and how much the methods doubt:",
        "\n".join(_findings(agreement)),
    ]
    return "\n\n".join(lines)


def _findings(agreement: Agreement) -> Iterator[str]:
    """A line of a list for each network and metric, and one on doubt."""
    for backbone, tests in agreement.tests.groupby("backbone", sort=False):
        for metric, of_metric in tests.groupby("metric", sort=False):
            parts = []
            for verdict, phrase in (
                ("better", "better than"),
                ("worse", "worse than"),
                ("undecided", "not told apart from"),
            ):
                baselines = of_metric.loc[of_metric["verdict"] == verdict, "baseline"]
                if len(baselines):
                    parts.append(f"{phrase} {', '.join(METHOD_TITLES[m] for m in baselines)}")
            name = f"{BACKBONE_TITLES[str(backbone)]}, {HEADINGS[str(metric)]}"
            yield f"- {name}: LS+ is {'; '.join(parts)}."
    for backbone, means in agreement.by_votes.groupby("backbone", sort=False):
        yield f"- {BACKBONE_TITLES[str(backbone)]}: {_doubt(means, agreement.votes)}."


def _doubt(by_votes: pd.DataFrame, votes: pd.DataFrame) -> str:
    """How confident each method is where all votes agree and where they are split 4 to 3."""
    images = votes["images"].to_numpy()

    def mean(confidence: Values, numbers: list[int]) -> float:
        return float(np.average(confidence[numbers], weights=images[numbers]))

    parts = []
    for method, means in by_votes.groupby("method", sort=False):
        confidence = means["confidence"].to_numpy()
        agreed, split = mean(confidence, [0, 7]), mean(confidence, [3, 4])
        parts.append(f"{METHOD_TITLES[str(method)]} {agreed:.3f} and {split:.3f}")
    return (
        "mean confidence on images with seven votes for one class, where 1 would be agreement, and "
        f"on those split 4 to 3, where it would be {4 / 7:.3f}: {'; '.join(parts)}"
    )


def _means_by_votes(runs: list[Published], votes: NDArray[np.int64]) -> pd.DataFrame:
    probabilities = np.mean([run.probabilities.astype(np.float64) for run in runs], axis=0)
    confidence = np.mean([run.probabilities.max(axis=1) for run in runs], axis=0)
    means = pd.DataFrame(
        {
            "ssa_votes": votes[:, 1],
            "confidence": confidence.astype(np.float64),
            "ssa_probability": probabilities[:, 1],
        }
    )
    # NaN where no image has so many votes.
    every = pd.RangeIndex(ANNOTATORS + 1, name="ssa_votes")
    return means.groupby("ssa_votes").mean().reindex(every).reset_index()


def _form(metric: str, run: Published, shares: Values) -> Form:
    """A metric of METRICS of one run, as it is resampled."""
    probabilities = run.probabilities.astype(np.float64)
    if metric == "cross_entropy":
        logs = np.log(probabilities.clip(np.finfo(np.float64).tiny))
        return forms.mean_of(-(shares * logs).sum(axis=1))
    if metric == "brier":
        return forms.mean_of(((probabilities - shares) ** 2).sum(axis=1))
    confidence, predicted = run.probabilities.max(axis=1), run.probabilities.argmax(axis=1)
    if metric == "calibration_error":
        return forms.width_gap(confidence, shares[np.arange(len(shares)), predicted])
    return _rank_correlation(confidence, shares.max(axis=1))


def _rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> OfWeights:
    """Spearman's correlation of two scores of each image."""
    # Images of equal score share a place.
    places = [np.unique(scores, return_inverse=True)[1] for scores in (first, second)]

    def centred_ranks(place: NDArray[np.intp], weights: Weights) -> Values:
        """The midrank of each image among those drawn, less the mean rank, (M, N)."""
        order = np.argsort(place, kind="stable")
        starts = np.searchsorted(place[order], np.arange(place.max() + 1))
        sizes = np.add.reduceat(weights.take(order, axis=1), starts, axis=1)
        everyone = sizes.sum(axis=1, keepdims=True)
        ranks = np.cumsum(sizes, axis=1) - (sizes + everyone) / 2
        return np.asarray(ranks.take(place, axis=1))

    def of_weights(weights: Weights) -> Values:
        x, y = (centred_ranks(place, weights) for place in places)
        products = [np.einsum("mn,mn,mn->m", weights, a, b) for a, b in ((x, y), (x, x), (y, y))]
        return np.asarray(products[0] / np.sqrt(products[1] * products[2]))

    return of_weights
