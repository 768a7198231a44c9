"""The LS+ paper's figures, drawn anew from the published files: retention curves and densities.

Fig. 1 shows run 1's retention curves: the accuracy when the model decides a fraction of the test
images and an expert the others. Fig. 2 shows the density of run 1's confidences on the correctly
and on the wrongly classified test images. For MHIST both are also recomputed from the published
predictions. What is not in the folder is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lsplus_tf import metrics, plots
from lsplus_tf.config.methods import METHODS as SETTINGS
from lsplus_tf.paper.artifacts import (
    BACKBONES,
    DATASETS,
    METHODS,
    NUM_CLASSES,
    RUNS,
    Artifacts,
    Published,
)
from lsplus_tf.paper.cells import BACKBONE_TITLES, markdown, title
from lsplus_tf.paper.checks import Check
from lsplus_tf.paper.published_order import introsort_order
from lsplus_tf.predictions import Predictions

FloatArray = NDArray[np.float64]

METHOD_TITLES = {method: SETTINGS[method].short_name for method in METHODS}

# At i = 1..200: dense near 1.
FRACTIONS = np.log(np.arange(1, 201)) / np.log(200)
FOCAL_TOLERANCE = 5e-3  # see `published_order`
CONFIDENCE_TOLERANCE = 3e-6

# The areas times 100 in the legends of the figures in 01_retention_curves.ipynb (commit 403854e),
# which are pixels alone, as far as they were read off: MHIST, and the three methods named here of
# ISIC-2018.
PRINTED_AREAS: dict[tuple[str, str], dict[str, float]] = {
    ("mhist", "resnet34"): dict(
        zip(METHODS, (88.90, 88.03, 89.67, 88.87, 89.93, 90.54), strict=True)
    ),
    ("mhist", "resnet50"): dict(
        zip(METHODS, (90.15, 89.73, 88.74, 90.36, 90.23, 91.48), strict=True)
    ),
    ("isic2018", "resnet50"): {"label_smoothing": 83.57, "mdca": 83.54, "ls_plus": 83.47},
}
# What the panels of Fig. 1 show. The notebook has 78 to 102 for Chaoyang and MHIST; the curves of
# ISIC-2018 go down to 73.
CURVE_LIMITS = {"chaoyang": (78, 102), "mhist": (78, 102), "isic2018": (68, 102)}
# Where Fig. 2 cuts the densities off.
DENSITY_LIMITS = {
    ("chaoyang", "resnet34"): 10,
    ("chaoyang", "resnet50"): 8,
    ("mhist", "resnet34"): 10,
    ("mhist", "resnet50"): 8,
    ("isic2018", "resnet34"): 8,
    ("isic2018", "resnet50"): 10,
}


# Retention curves --------------------------------------------------------------------------------


def area(curve: FloatArray) -> float:
    """R-AUC times 100 of a curve at FRACTIONS, as the paper prints it."""
    return 100 * float(np.trapezoid(curve, FRACTIONS))


def curve_by_class(published: Published) -> FloatArray:
    """The retention curve as it was published: ordered by predicted class, not by confidence."""
    predicted = published.probabilities.argmax(axis=1)
    errors = (predicted != published.labels)[introsort_order(predicted)]
    among_first = np.concatenate(([0], np.cumsum(errors)))
    size = len(errors)
    wrong = among_first[(size * FRACTIONS).astype(np.intp)]
    return np.asarray((size - wrong) / size)


def curve_by_confidence(run: Published | Predictions) -> FloatArray:
    """The retention curve as the paper's text has it: the most confident first."""
    return metrics.retention_curve(run.labels, run.probabilities, convention="released_code")[1]


def retention_areas(artifacts: Artifacts) -> pd.DataFrame:
    """R-AUC of every published curve.

    Returns
    -------
    DataFrame
        Columns dataset, backbone, method, area (times 100), printed (NaN where not known), accuracy
        (where the curve ends: the model decides all) and run_accuracy (run 1's in metrics.csv,
        which has 4 decimals; NaN where that file is missing).
    """
    rows = []
    for dataset, backbone, method in product(DATASETS, BACKBONES, METHODS):
        curve = artifacts.retention_curve(dataset, backbone, method)
        if curve is None:
            continue
        printed = PRINTED_AREAS.get((dataset, backbone), {}).get(method, np.nan)
        accuracy = _run_accuracy(artifacts, dataset, backbone, method)
        rows.append((dataset, backbone, method, area(curve), printed, curve[-1], accuracy))
    columns = ["dataset", "backbone", "method", "area", "printed", "accuracy", "run_accuracy"]
    return pd.DataFrame(rows, columns=columns)


def retention_figure(artifacts: Artifacts) -> Figure | None:
    """Fig. 1 from the published curves: a panel for each data set and network."""
    panels = {}
    for dataset, backbone in product(DATASETS, BACKBONES):
        curves = _curves(artifacts, dataset, backbone)
        if curves:
            panels[dataset, backbone] = curves
    if not panels:
        return None
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.2 * len(panels), 5), squeeze=False, layout="constrained"
    )
    for ax, ((dataset, backbone), curves) in zip(axes[0], panels.items(), strict=True):
        _draw_published(ax, curves, CURVE_LIMITS[dataset])
        ax.set_title(title(dataset, backbone))
    return figure


def mhist_areas(artifacts: Artifacts) -> pd.DataFrame:
    """R-AUC times 100 of MHIST, published and recomputed from the published predictions.

    Returns
    -------
    DataFrame
        Columns backbone, method, published and by_class (run 1, in the published order),
        equal_points and largest_difference between these two curves, by_confidence (run 1), mean
        and sd of the area by confidence over the runs that are there. NaN where a file is missing.
    """
    rows = []
    for backbone, method in product(BACKBONES, METHODS):
        file = artifacts.retention_curve("mhist", backbone, method)
        runs = {run: artifacts.predictions(backbone, method, run) for run in RUNS}
        given = {run: published for run, published in runs.items() if published is not None}
        if not given:
            continue
        by_confidence = {run: area(curve_by_confidence(one)) for run, one in given.items()}
        areas = np.array(list(by_confidence.values()))
        row = {
            "backbone": backbone,
            "method": method,
            "by_confidence": by_confidence.get(1, np.nan),
            "mean": areas.mean(),
            "sd": areas.std(ddof=1) if areas.size > 1 else np.nan,
        }
        if 1 in given:
            recomputed = curve_by_class(given[1])
            row["by_class"] = area(recomputed)
            if file is not None:
                # Both divide whole numbers: equal to the last bit or off by a sample or more.
                row["equal_points"] = np.count_nonzero(recomputed == file)
                row["largest_difference"] = np.abs(recomputed - file).max()
        if file is not None:
            row["published"] = area(file)
        rows.append(row)
    columns = ["backbone", "method", "published", "by_class", "equal_points"]
    columns += ["largest_difference", "by_confidence", "mean", "sd"]
    return pd.DataFrame(rows, columns=columns)


def mhist_retention_figure(artifacts: Artifacts) -> Figure | None:
    """Run 1's curves on MHIST in the published order and, beside them, by confidence.

    Crosses on the left are points of the published files. A row for each network.
    """
    rows = {}
    for backbone in BACKBONES:
        runs = {method: artifacts.predictions(backbone, method, 1) for method in METHODS}
        rows[backbone] = {method: run for method, run in runs.items() if run is not None}
    rows = {backbone: given for backbone, given in rows.items() if given}
    if not rows:
        return None
    figure, axes = plt.subplots(
        len(rows), 2, figsize=(10.5, 5 * len(rows)), squeeze=False, layout="constrained"
    )
    for (left, right), (backbone, given) in zip(axes, rows.items(), strict=True):
        by_class = {method: curve_by_class(run) for method, run in given.items()}
        by_confidence = {method: curve_by_confidence(run) for method, run in given.items()}
        for ax, curves, order in (
            (left, by_class, "as published: by predicted class"),
            (right, by_confidence, "as the text says: by confidence"),
        ):
            _draw_published(ax, curves, CURVE_LIMITS["mhist"])
            ax.set_title(f"{title('mhist', backbone)}\n{order}")
        for method, curve in _curves(artifacts, "mhist", backbone).items():
            colour = plots.look(METHODS.index(method))["color"]
            left.plot(FRACTIONS[::8], 100 * curve[::8], "x", color=colour, markersize=4)
    return figure


def _curves(artifacts: Artifacts, dataset: str, backbone: str) -> dict[str, FloatArray]:
    files = {method: artifacts.retention_curve(dataset, backbone, method) for method in METHODS}
    return {method: curve for method, curve in files.items() if curve is not None}


def _draw_published(
    ax: Axes, curves: Mapping[str, FloatArray], limits: tuple[float, float]
) -> None:
    # The looks are the same in every figure whatever is missing.
    named = {METHOD_TITLES[method]: curve for method, curve in curves.items()}
    draw_curves(ax, named, [*map(METHODS.index, curves)], limits)


def draw_curves(
    ax: Axes,
    curves: Mapping[str, FloatArray],
    places: Sequence[int],
    limits: tuple[float, float],
) -> None:
    """Draw a panel of Fig. 1.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    curves : mapping of str to ndarray
        By the method's name: the accuracy at each of FRACTIONS.
    places : sequence of int
        The place of each method, for its look.
    limits : tuple of float
        What the panel shows, in percent.
    """
    for (name, curve), place in zip(curves.items(), places, strict=True):
        label = f"{name}: {area(curve):.2f}"
        ax.plot(FRACTIONS, 100 * curve, label=label, **plots.look(place))
    ticks = [tick for tick in range(0, 101, 5) if tick >= limits[0]]
    ax.set(xlabel="Retention fraction", ylabel="Accuracy (%)", ylim=limits, yticks=ticks)
    ax.grid()
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncol=2, title="R-AUC x 100")


def _run_accuracy(artifacts: Artifacts, dataset: str, backbone: str, method: str) -> float:
    """Run 1's test accuracy in metrics.csv; NaN where the file is missing."""
    runs = artifacts.run_metrics(dataset, backbone)
    if runs is None:
        return float("nan")
    return float(runs.loc[(runs["method"] == method) & (runs["run"] == 1), "Tacc"].item())


def retention_in_words(areas: pd.DataFrame, mhist: pd.DataFrame) -> str:
    """The areas of `retention_areas` and `mhist_areas` in Markdown, and what they mean."""
    lines = []
    if not areas.empty:
        lines.append(
            "R-AUC times 100 of the published curves of run 1, and the printed one in brackets as "
            "far as it is known; in bold where they differ."
        )
        rows = []
        for (dataset, backbone), group in areas.groupby(["dataset", "backbone"], sort=False):
            cells = {
                row["method"]: _area_cell(row["area"], row["printed"])
                for row in group.to_dict("records")
            }
            where = title(str(dataset), str(backbone))
            rows.append([where, *(cells.get(method, "") for method in METHODS)])
        lines.append(markdown(["Data and network", *METHOD_TITLES.values()], rows, text_columns=1))
    if not mhist.empty:
        lines.append(
            "The paper orders the images by confidence; its code ordered them by the number of the "
            "predicted class, so that the published curves do not tell how well confidence ranks. "
            "MHIST in both orders, from the published predictions:"
        )
        rows = [
            [
                BACKBONE_TITLES[row["backbone"]],
                METHOD_TITLES[row["method"]],
                *(_number(row[column]) for column in ("published", "by_class")),
                _number(row["equal_points"], 0),
                *(_number(row[column]) for column in ("by_confidence", "mean", "sd")),
            ]
            for row in mhist.to_dict("records")
        ]
        headings = [
            "Network",
            "Method",
            "published",
            "by class",
            f"equal points of {len(FRACTIONS)}",
        ]
        headings += ["by confidence", "mean of 3 runs", "SD"]
        lines.append(markdown(headings, rows))
        lines += ["\n".join(_best_in_either_order(mhist))]
    return "\n\n".join(lines)


def _best_in_either_order(mhist: pd.DataFrame) -> Iterator[str]:
    for backbone, group in mhist.groupby("backbone", sort=False):
        by_method = group.set_index("method")
        best = {
            column: METHOD_TITLES[str(by_method[column].idxmax())]
            for column in ("by_class", "by_confidence", "mean")
            if by_method[column].notna().any()
        }
        if len(best) == 3:
            yield (
                f"- {BACKBONE_TITLES[str(backbone)]}: the largest area is {best['by_class']}'s by "
                f"class, {best['by_confidence']}'s by confidence in run 1 and {best['mean']}'s in "
                "the mean over the runs."
            )


def _area_cell(recomputed: float, printed: float) -> str:
    text = _number(recomputed)
    if np.isnan(printed):
        return text
    text += f" ({printed:.2f})"
    return text if round(recomputed, 2) == printed else f"**{text}**"


def _number(value: float, digits: int = 2) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


# Densities ---------------------------------------------------------------------------------------


def density_figure(artifacts: Artifacts, dataset: str, backbone: str) -> Figure | None:
    """Fig. 2's row of a data set and network, from run 1's published confidences."""
    groups = {method: artifacts.confidences(dataset, backbone, method) for method in METHODS}
    if all(given is None for given in groups.values()):
        return None
    panels = {
        METHOD_TITLES[method]: "not in the folder"
        if given is None
        else _as_predictions(*given, classes=NUM_CLASSES[dataset])
        for method, given in groups.items()
    }
    return draw_densities(panels, title(dataset, backbone), dataset, backbone)


def draw_densities(
    panels: Mapping[str, Predictions | str], heading: str, dataset: str, backbone: str
) -> Figure:
    """A row of Fig. 2 with the paper's axes: densities of confidences, a panel a method.

    15 bins over each group's own range and seaborn's kernel density estimate, cut off at the
    paper's height; for MHIST from 0.45 on.

    Parameters
    ----------
    panels : mapping of str to Predictions or str
        By the method's name; where there are none, why not.
    heading : str
        Of the whole figure.
    dataset, backbone : str
        One of the paper's pairs, as in DENSITY_LIMITS.
    """
    size = (16 * len(panels) / len(METHODS), 3)
    figure, axes = plt.subplots(1, len(panels), figsize=size, layout="constrained", squeeze=False)
    figure.suptitle(heading, fontsize=10)
    for ax, (name, predictions) in zip(axes[0], panels.items(), strict=True):
        if isinstance(predictions, str):
            ax.text(0.5, 0.5, predictions, ha="center", transform=ax.transAxes)
        else:
            plots.confidence_density(predictions, recipe="paper", ax=ax)
            ax.legend(handles=ax.get_legend().legend_handles, fontsize=6, loc="upper left")
        ax.set(title=name, xlabel="Confidence", ylabel="")
        ax.set(ylim=(0, DENSITY_LIMITS[dataset, backbone]), xticks=(0.3, 0.6, 0.9))
        if dataset == "mhist":
            ax.set_xlim(0.45, 1)
    axes[0, 0].set_ylabel("Density")
    return figure


def density_inputs(artifacts: Artifacts) -> pd.DataFrame:
    """MHIST's published confidences beside those of run 1's predictions.

    Returns
    -------
    DataFrame
        Columns backbone, method, group ("correct" or "incorrect"), file and predictions (how many
        images) and largest_difference, which is NaN where the two differ in number. A row for each
        file whose predictions are there too.
    """
    rows = []
    for backbone, method in product(BACKBONES, METHODS):
        files = artifacts.confidences("mhist", backbone, method)
        run = artifacts.predictions(backbone, method, 1)
        if files is None or run is None:
            continue
        confidence = run.probabilities.max(axis=1)
        correct = run.probabilities.argmax(axis=1) == run.labels
        for group, file, chosen in zip(
            ("correct", "incorrect"), files, (correct, ~correct), strict=True
        ):
            ours = confidence[chosen]
            same = file.size == ours.size
            difference = float(np.abs(file - ours).max(initial=0)) if same else np.nan
            rows.append((backbone, method, group, file.size, ours.size, difference))
    columns = ["backbone", "method", "group", "file", "predictions", "largest_difference"]
    return pd.DataFrame(rows, columns=columns)


def _as_predictions(correct: FloatArray, incorrect: FloatArray, classes: int) -> Predictions:
    """Predictions of class 0 that have these confidences, and labels that make them so.

    The published files tell the largest probability alone, and the density is of that alone; the
    other classes share the rest.
    """
    confidence = np.concatenate([correct, incorrect])
    probabilities = np.repeat((1 - confidence[:, np.newaxis]) / (classes - 1), classes, axis=1)
    probabilities[:, 0] = confidence
    labels = np.repeat([0, 1], [correct.size, incorrect.size])
    return Predictions(labels, probabilities)


# Checks ------------------------------------------------------------------------------------------


def checks(artifacts: Artifacts) -> list[Check]:
    """How far the figures' numbers are those that were printed and published."""
    return [check for check in _checks(artifacts) if check.total]


def _checks(artifacts: Artifacts) -> Iterator[Check]:
    areas = retention_areas(artifacts)
    printed = areas.dropna(subset="printed")
    yield _all_of(
        "R-AUC of the published curves, to 2 decimals as printed",
        printed["area"].round(2) == printed["printed"],
        f"{len(areas)} curves are there; the printed areas of {len(printed)} of them are known, as "
        "they are pixels of a notebook's figures",
    )
    runs = areas.dropna(subset="run_accuracy")
    yield _all_of(
        "Published curves end at run 1's accuracy in metrics.csv",
        runs["accuracy"].round(4) == runs["run_accuracy"],
    )
    recomputed = mhist_areas(artifacts).dropna(subset="largest_difference")
    focal = recomputed["method"] == "focal"
    yield _all_of(
        "MHIST curves recomputed from predictions, point for point",
        recomputed.loc[~focal, "equal_points"] == len(FRACTIONS),
        "in the published order, by predicted class; all methods but focal loss",
    )
    yield _all_of(
        f"MHIST curves of focal loss recomputed, within {FOCAL_TOLERANCE:g}",
        recomputed.loc[focal, "largest_difference"] <= FOCAL_TOLERANCE,
        "its order within a class is that of NumPy's sort on processors with AVX-512",
    )
    inputs = density_inputs(artifacts)
    whole = inputs["largest_difference"] <= CONFIDENCE_TOLERANCE
    yield _all_of(
        f"MHIST confidences of Fig. 2 recomputed, within {CONFIDENCE_TOLERANCE:g}",
        whole,
        "files of correct and of incorrect images; where the numbers differ, none agree",
    )
    yield _all_of(
        "Fig. 2's share of correct images is run 1's accuracy in metrics.csv",
        pd.Series(list(_shares_agree(artifacts)), dtype=bool),
    )


def _shares_agree(artifacts: Artifacts) -> Iterator[bool]:
    for dataset, backbone, method in product(DATASETS, BACKBONES, METHODS):
        groups = artifacts.confidences(dataset, backbone, method)
        accuracy = _run_accuracy(artifacts, dataset, backbone, method)
        if groups is not None and not np.isnan(accuracy):
            correct, incorrect = groups
            yield round(correct.size / (correct.size + incorrect.size), 4) == accuracy


def _all_of(name: str, agree: pd.Series, note: str = "") -> Check:
    return Check(name, int(agree.sum()), len(agree), len(agree), note)
