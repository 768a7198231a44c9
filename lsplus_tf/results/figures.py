"""The pictures of a report: each is drawn once, for its page and for its files alike."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lsplus_tf import plots
from lsplus_tf.errors import InputError
from lsplus_tf.page import Picture, draw
from lsplus_tf.predictions import Predictions, concatenated
from lsplus_tf.predictions.positive import one_vs_rest
from lsplus_tf.results import truth
from lsplus_tf.results.features import SILHOUETTE, WITHIN, Compactness
from lsplus_tf.results.finished import Results
from lsplus_tf.results.tables import MAIN, Comparison
from lsplus_tf.results.truth import Truth
from lsplus_tf.training import run_folder

Figures = dict[str, list[Picture]]
Shown = TypeVar("Shown")

MOST_LINES = 6  # in one picture; more cannot be told apart
_SIDE_BY_SIDE = 4
_EPOCHS_SHOWN = 4
_SHARE = "Share of the smoothing mass"
_PERPLEXITY = 30.0  # of t-SNE, which wants some three times as many points


def draw_figures(
    results: Results,
    comparison: Comparison,
    exact: Truth | None,
    compactness: Compactness | None,
) -> Figures:
    """Every picture of a report.

    Parameters
    ----------
    results : Results
    comparison : Comparison
        The table of the results.
    exact : Truth or None
        The comparison with the exact posterior, where that is known.
    compactness : Compactness or None
        Of the training features, where runs kept them.

    Returns
    -------
    dict of str to list of Picture
        PNGs, by the name of the figure that they make together: comparison, reliability and
        reliability_CALIBRATOR, density, retention, decision_curves, training_curves,
        soft_labels_METHOD, features, truth and soft_labels_truth.
    """
    # Some are open together, until they have the same limits.
    with plt.rc_context({"figure.max_open_warning": 0}):
        figures = {"comparison": _comparison(comparison)} | _by_row(results)
        figures["retention"] = _retention(results)
        if results.positive:
            figures["decision_curves"] = _decision_curves(results)
        figures["training_curves"] = _training_curves(results)
        figures |= _soft_labels(results)
        if compactness is not None and compactness.shown:
            figures["features"] = _features(results, compactness)
        if exact is not None:
            figures |= _against_the_truth(results, exact)
    return figures


def side_by_side(pictures: Sequence[Picture]) -> bytes:
    """One PNG of several pictures, in rows of at most four."""
    if len(pictures) == 1:
        return pictures[0].image
    images = [Image.open(io.BytesIO(picture.image)).convert("RGB") for picture in pictures]
    rows = -(-len(images) // _SIDE_BY_SIDE)
    columns = -(-len(images) // rows)
    width, height = (max(sizes) for sizes in zip(*(image.size for image in images), strict=True))
    whole = Image.new("RGB", (columns * width, rows * height), "white")
    for i, image in enumerate(images):
        whole.paste(image, (i % columns * width, i // columns * height))
    file = io.BytesIO()
    whole.save(file, "png", compress_level=1)
    return file.getvalue()


def _comparison(comparison: Comparison) -> list[Picture]:
    pictures = []
    for column in comparison.only(MAIN).columns:
        mean, sd = comparison.mean[column.key], comparison.sd[column.key]
        ax = plots.metric_comparison(comparison.names, mean, sd, better=column.better)
        alt = f"{column.heading} of every row, as in the table."
        pictures.append(_drawn(ax, alt, f"{column.titled()} (x100)"))
    return pictures


def _by_row(results: Results) -> Figures:
    """Reliability of every row, and the confidences of those that are not calibrated."""
    figures: Figures = {"reliability": [], "density": []}
    for row in results.rows:
        runs = results.predictions(row)
        pooled = concatenated(runs)
        title = row.name if len(runs) == 1 else f"{row.name}, {len(runs)} seeds together"
        title = textwrap.fill(title, 36)
        name = f"reliability_{row.calibrators[0].name}" if row.calibrators else "reliability"
        # No intervals: seeds share their images, which would count several times.
        ax = plots.reliability_diagram(pooled, interval=None, title=title)
        picture = _drawn(ax, f"Reliability diagram of {row.name}.")
        figures.setdefault(name, []).append(picture)
        if not row.calibrators:
            ax = plots.confidence_density(pooled, recipe="plain")
            alt = f"Confidence of {row.name} in right and in wrong predictions, as histograms."
            figures["density"].append(_drawn(ax, alt, title))
    return figures


def _retention(results: Results) -> list[Picture]:
    runs = {row.name: results.predictions(row) for row in results.rows if not row.calibrators}
    panels = _panels(runs)
    axes = [plots.retention_curves(shown) for shown in panels]
    alt = "Accuracy against the fraction of images that the model decides, of {}."
    return _alike(axes, panels, alt)


def _decision_curves(results: Results) -> list[Picture]:
    """Of each class of interest that has cases, of the rows that are not calibrated."""
    runs = {row.name: results.predictions(row) for row in results.rows if not row.calibrators}
    pictures = []
    for positive in results.positive:
        name = positive if isinstance(positive, str) else " or ".join(positive)
        if not one_vs_rest(next(iter(runs.values()))[0], positive).outcome.any():
            continue
        for shown in _panels(runs):
            ax = plots.decision_curve(shown, positive=positive)
            alt = f"Decision curves of {name}, of {', '.join(shown)}."
            pictures.append(_drawn(ax, alt, textwrap.fill(name, 48)))
    return pictures


def _training_curves(results: Results) -> list[Picture]:
    titles = results.experiment.titles
    histories = {
        titles[m]: [run_folder.read_history(r.folder(results.folder)) for r in results.of_method(m)]
        for m in results.methods
    }
    if len(histories) > MOST_LINES:
        panels = _panels(histories)
        axes = [plots.training_curves(shown, metric="val_accuracy") for shown in panels]
        return _alike(axes, panels, "Validation accuracy against the epoch, of {}.")
    pictures = []
    for curve in ("loss", "val_loss", "accuracy", "val_accuracy"):
        ax = plots.training_curves(histories, metric=curve)
        pictures.append(_drawn(ax, f"{ax.get_ylabel()} of every method, by epoch."))
    return pictures


def _soft_labels(results: Results) -> Figures:
    """A few epochs' matrices of the first run of each method that has them."""
    titles = results.experiment.titles
    figures: Figures = {}
    for method in results.methods:
        run = results.of_method(method)[0]
        folder = run.folder(results.folder)
        if not run_folder.has(folder, run_folder.SOFT_LABELS):
            continue
        matrices = run_folder.read_soft_labels(folder)
        epochs = np.unique(np.linspace(0, len(matrices) - 1, _EPOCHS_SHOWN).astype(int))
        of_others = results.experiment.methods[method].smooths_towards_others
        largest = float(matrices[epochs].max())  # of all pictures, which are compared
        options: dict[str, Any] = {"largest": largest, "label": _SHARE} if of_others else {}
        pictures = []
        for epoch in epochs:
            ax = plots.soft_label_matrix(matrices[epoch], results.class_names, **options)
            own, most = matrices[epoch].diagonal().mean(), matrices[epoch].max()
            alt = f"Soft labels of {titles[method]} after epoch {epoch}: " + (
                f"the largest share of one of the other classes is {most:.2f}."
                if of_others
                else f"{own:.2f} of a row's probability is its own class's, on average."
            )
            title = f"{titles[method]}, seed {run.seed}, after epoch {epoch}"
            pictures.append(_drawn(ax, alt, title))
        figures[f"soft_labels_{method}"] = pictures
    return figures


def _features(results: Results, compactness: Compactness) -> list[Picture]:
    """A map of the first run of each method that has features."""
    titles = results.experiment.titles
    measured = compactness.runs.set_index(["method", "seed"])
    pictures = []
    for method, run in compactness.shown.items():
        kept = run_folder.read_features(run.folder(results.folder))
        row = measured.loc[(method, run.seed), [WITHIN, SILHOUETTE]]
        within, silhouette = row.to_numpy(float)
        numbers = f"within classes {100 * within:.1f}%, silhouette {silhouette:.2f}"
        if np.isnan(within):
            numbers = "the same for all images"
        title = f"{titles[method]}, seed {run.seed}\n{numbers}"
        alt = f"t-SNE of the training features of {titles[method]}, by class: {numbers}."
        perplexity = min(_PERPLEXITY, (len(kept.labels) - 1) / 3)
        try:
            ax = plots.feature_map(
                kept.features, kept.labels, results.class_names, perplexity=perplexity
            )
        except InputError as error:  # all images are the same to the network, or nearly so
            ax = plt.subplots(figsize=(5.2, 5.2))[1]
            ax.set_axis_off()
            ax.text(0.5, 0.5, textwrap.fill(f"No map. {error}", 40), ha="center", va="center")
        pictures.append(_drawn(ax, alt, title))
    return pictures


def _against_the_truth(results: Results, exact: Truth) -> Figures:
    by_calibrator: dict[str, dict[str, Sequence[Predictions]]] = {}
    for row in results.rows:
        if not row.ensemble:
            name = row.calibrators[0].name if row.calibrators else ""
            by_calibrator.setdefault(name, {})[row.name] = results.predictions(row)
    panels = [shown for rows in by_calibrator.values() for shown in _panels(rows)]
    alt = "Mean exact probability of being right against confidence, of {}."
    pictures = [
        _drawn(plots.true_reliability(shown), alt.format(", ".join(shown))) for shown in panels
    ]
    figures = {"truth": pictures}
    distances = truth.soft_label_distances(results, exact.posterior)
    if distances:
        ax = plots.training_curves(distances, metric="distance")
        ax.set_ylabel("Total variation, mean over classes")
        ax.set_ylim(bottom=0)
        alt = "Distance of the soft labels from the true confusion, by epoch."
        title = "Soft labels against the exact mean posterior of a class"
        figures["soft_labels_truth"] = [_drawn(ax, alt, title)]
    return figures


def _panels(lines: Mapping[str, Shown]) -> list[dict[str, Shown]]:
    """All lines in one picture, or each beside the first where they could not be told apart."""
    if len(lines) <= MOST_LINES:
        return [dict(lines)]
    first, *others = lines
    return [{first: lines[first], name: lines[name]} for name in others]


def _alike(axes: Sequence[Axes], panels: Sequence[Mapping[str, object]], alt: str) -> list[Picture]:
    """The pictures of axes with the same limits; `alt` has a place for the names of the lines."""
    low, high = zip(*(ax.get_ylim() for ax in axes), strict=True)
    for ax in axes:
        ax.set_ylim(min(low), max(high))
    return [
        _drawn(ax, alt.format(", ".join(shown))) for ax, shown in zip(axes, panels, strict=True)
    ]


def _drawn(ax: Axes, alt: str, title: str = "") -> Picture:
    figure = ax.figure
    assert isinstance(figure, Figure)
    if title:  # its place is given, or matplotlib would look for one above all ticks
        ax.set_title(title, fontsize=11, y=1.0)
    if len(figure.axes) == 1:  # which needs one pass, where "constrained" and a `rect` make two
        figure.set_layout_engine("tight", pad=0.5, rect=None)
    return draw(figure, alt, raster=True)
