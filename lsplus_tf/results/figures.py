"""The pictures of a report: each is drawn once, for its page and for its files alike."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from lsplus_tf import plots
from lsplus_tf.errors import InputError
from lsplus_tf.page import Picture, Pictures, draw, shared_legend
from lsplus_tf.predictions import Predictions, concatenated
from lsplus_tf.predictions.positive import one_vs_rest
from lsplus_tf.priors import informed_prior
from lsplus_tf.results import truth
from lsplus_tf.results.features import SILHOUETTE, WITHIN, Compactness
from lsplus_tf.results.finished import Results, Row
from lsplus_tf.results.tables import COLUMNS, MAIN, Comparison
from lsplus_tf.results.truth import Truth
from lsplus_tf.training import run_folder

Figures = dict[str, Pictures]
Shown = TypeVar("Shown")

MOST_LINES = 6  # in one picture; more cannot be told apart
_SIDE_BY_SIDE = 4
_EPOCHS_SHOWN = 4
_EVEN = 1e-6  # between the entries of a row of which nothing was learned
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
    dict of str to Pictures
        PNGs, by the name of the figure that they make together, with one legend: comparison,
        reliability and reliability_CALIBRATOR, density, retention, decision_curves,
        training_curves, soft_labels_METHOD, features, truth and soft_labels_truth.
    """
    # Some are open together, until they have the same limits.
    with plt.rc_context({"figure.max_open_warning": 0}):
        figures = {"comparison": _comparison(results, comparison)}
        figures |= _reliability(results) | _densities(results)
        figures["retention"] = _retention(results)
        if (curves := _decision_curves(results)).pictures:
            figures["decision_curves"] = curves
        figures["training_curves"] = _training_curves(results)
        figures |= _soft_labels(results)
        if compactness is not None and compactness.shown:
            figures["features"] = _features(results, compactness)
        if exact is not None:
            figures |= _against_the_truth(results, exact)
    return figures


def side_by_side(pictures: Pictures) -> bytes:
    """One PNG of several pictures, in rows of at most four, below their legend."""
    if len(pictures.pictures) == 1 and pictures.legend is None:
        return pictures.pictures[0].image
    images = [_image(picture) for picture in pictures.pictures]
    rows = -(-len(images) // _SIDE_BY_SIDE)
    columns = -(-len(images) // rows)
    width, height = (max(sizes) for sizes in zip(*(image.size for image in images), strict=True))
    legend = None if pictures.legend is None else _image(pictures.legend)
    top = 0 if legend is None else legend.height
    whole = Image.new("RGB", (columns * width, top + rows * height), "white")
    for i, image in enumerate(images):
        whole.paste(image, (i % columns * width, top + i // columns * height))
    if legend is not None:
        whole.paste(legend, (max(0, (whole.width - legend.width) // 2), 0))
    file = io.BytesIO()
    whole.save(file, "png", compress_level=1)
    return file.getvalue()


def draw_experiments(experiments: Mapping[str, tuple[Results, Comparison]]) -> Pictures:
    """The main metrics of a grid's experiments beside each other, of the rows without calibrator.

    Parameters
    ----------
    experiments : mapping of str to (Results, Comparison)
        By the experiments' names, with their tables.

    Returns
    -------
    Pictures
        One for each of the main metrics that an experiment has, with one legend.
    """
    axes, alts, titles = [], [], []
    for column in COLUMNS:
        if column.key not in MAIN:
            continue
        mean: dict[str, pd.Series] = {}
        sd: dict[str, pd.Series] = {}
        for name, (results, comparison) in experiments.items():
            for row in results.rows:
                if row.calibrators or column not in comparison.columns:
                    continue
                for found, table in ((mean, comparison.mean), (sd, comparison.sd)):
                    empty = pd.Series(np.nan, index=list(experiments))
                    found.setdefault(row.name, empty)[name] = table.loc[row.key, column.key]
        if mean:
            axes.append(plots.metric_by_experiment(list(experiments), mean, sd))
            alts.append(f"{column.heading} of {', '.join(mean)} in each experiment.")
            titles.append(f"{column.titled()} (x100)")
    legend = shared_legend(axes)
    return Pictures([_drawn(*each) for each in zip(axes, alts, titles, strict=True)], legend)


def _image(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.image)).convert("RGB")


def _comparison(results: Results, comparison: Comparison) -> Pictures:
    pictures = []
    for column in comparison.only(MAIN).columns:
        mean, sd = comparison.mean[column.key], comparison.sd[column.key]
        runs = [[100 * each[column.key] for each in results.measured(row)] for row in results.rows]
        ax = plots.metric_comparison(comparison.names, mean, sd, better=column.better, runs=runs)
        alt = f"{column.heading} of every row, as in the table."
        pictures.append(_drawn(ax, alt, f"{column.titled()} (x100)"))
    return Pictures(pictures)


def _title(results: Results, row: Row) -> str:
    runs = len(results.predictions(row))
    return textwrap.fill(row.name if runs == 1 else f"{row.name}, {runs} seeds", 36)


def _reliability(results: Results) -> Figures:
    """Of every row, those with a calibrator apart."""
    names: dict[str, list[str]] = {}
    axes: dict[str, list[Axes]] = {}
    for row in results.rows:
        figure = f"reliability_{row.calibrators[0].name}" if row.calibrators else "reliability"
        runs = results.predictions(row)
        ax = plots.reliability_diagram(runs, title=_title(results, row))
        axes.setdefault(figure, []).append(ax)
        names.setdefault(figure, []).append(row.name)
    strips: list[Any] = [ax.child_axes[-1] for of_figure in axes.values() for ax in of_figure]
    _same_heights(strips)
    figures = {}
    for name, of_figure in axes.items():
        legend = shared_legend(of_figure)
        for ax in of_figure:
            assert isinstance(ax.figure, Figure)
            ax.figure.set_size_inches(4.2, 5.2)
        pictures = [
            _drawn(ax, f"Reliability diagram of {row}: {_in_a_line(ax.texts[0])}.")
            for ax, row in zip(of_figure, names[name], strict=True)
        ]
        figures[name] = Pictures(pictures, legend)
    return figures


def _in_a_line(text: Text) -> str:
    return text.get_text().replace("\n", ", ")


def _densities(results: Results) -> Figures:
    """The confidences of the rows that are not calibrated."""
    axes, alts, titles = [], [], []
    for row in results.rows:
        if not row.calibrators:
            pooled = concatenated(results.predictions(row))
            axes.append(plots.confidence_density(pooled, recipe="plain"))
            right = int(pooled.correct.sum())
            numbers = f"{right:,} correct, {len(pooled) - right:,} incorrect"
            titles.append(f"{_title(results, row)}\n{numbers}")
            alts.append(f"Confidence of {row.name} in right and in wrong predictions: {numbers}.")
    _same_heights(axes)
    for ax in axes:
        own = ax.get_legend()
        assert own is not None
        for text in own.get_texts():  # the numbers are in the titles
            text.set_text(text.get_text().partition(" (")[0])
    legend = shared_legend(axes)
    drawn = [_drawn(*each) for each in zip(axes, alts, titles, strict=True)]
    return {"density": Pictures(drawn, legend)}


def _retention(results: Results) -> Pictures:
    runs = {row.name: results.predictions(row) for row in results.rows if not row.calibrators}
    panels = _panels(runs)
    axes = [plots.retention_curves(shown) for shown in panels]
    alt = "Accuracy against the fraction of images that the model decides, of {}."
    return _alike(axes, panels, alt)


def _decision_curves(results: Results) -> Pictures:
    """Of each class of interest that has cases, of the rows that are not calibrated."""
    runs = {row.name: results.predictions(row) for row in results.rows if not row.calibrators}
    axes, alts, titles = [], [], []
    panels = _panels(runs)
    for positive in results.positive:
        name = positive if isinstance(positive, str) else " or ".join(positive)
        if not one_vs_rest(next(iter(runs.values()))[0], positive).outcome.any():
            continue
        for shown in panels:
            axes.append(plots.decision_curve(shown, positive=positive))
            alts.append(f"Decision curves of {name}, of {', '.join(shown)}.")
            other = f": {_name_the_other(axes[-1])}" if len(panels) > 1 else ""
            titles.append(textwrap.fill(f"{name}{other}", 48))
    legend = shared_legend(axes)
    return Pictures([_drawn(*each) for each in zip(axes, alts, titles, strict=True)], legend)


def _training_curves(results: Results) -> Pictures:
    titles = results.experiment.titles
    histories = {
        titles[m]: [run_folder.read_history(r.folder(results.folder)) for r in results.of_method(m)]
        for m in results.methods
    }
    if len(histories) > MOST_LINES:
        panels = _panels(histories)
        axes = [plots.training_curves(shown, metric="val_accuracy") for shown in panels]
        return _alike(axes, panels, "Validation accuracy against the epoch, of {}.")
    axes = [
        plots.training_curves(histories, metric=curve)
        for curve in ("loss", "val_loss", "accuracy", "val_accuracy")
    ]
    _same_heights(axes[:2])
    _same_heights(axes[2:])
    legend = shared_legend(axes)
    alt = "{} of every method, by epoch."
    return Pictures([_drawn(ax, alt.format(ax.get_ylabel())) for ax in axes], legend)


def _soft_labels(results: Results) -> Figures:
    """What each method's labels are smoothed towards, of its first run.

    Of LS+ the class accuracies and the prior; of those that learn them a few epochs' matrices.
    """
    titles = results.experiment.titles
    figures: Figures = {}
    for method in results.methods:
        run = results.of_method(method)[0]
        folder = run.folder(results.folder)
        pictures = _prior(results, method) if run_folder.has(folder, run_folder.PRIOR) else []
        if pictures:
            figures[f"soft_labels_{method}"] = Pictures(pictures)
        if not run_folder.has(folder, run_folder.SOFT_LABELS):
            continue
        matrices = run_folder.read_soft_labels(folder)
        epochs = np.unique(np.linspace(0, len(matrices) - 1, _EPOCHS_SHOWN).astype(int))
        of_others = results.experiment.methods[method].smooths_towards_others
        largest = float(matrices[epochs].max())  # of all pictures, which are compared
        options: dict[str, Any] = {"largest": largest, "label": _SHARE} if of_others else {}
        even = np.ptp(matrices[epochs], axis=2) < _EVEN
        if of_others:
            even[:] = False
        for epoch, empty in zip(epochs, map(np.flatnonzero, even), strict=True):
            ax = plots.soft_label_matrix(
                matrices[epoch], results.class_names, empty=empty.tolist(), **options
            )
            if even.any() and not empty.size:
                ax.set_xlabel(f"{ax.get_xlabel()}\n")  # as much room as in the others
            own, most = matrices[epoch].diagonal().mean(), matrices[epoch].max()
            alt = f"Soft labels of {titles[method]} after epoch {epoch + 1}: " + (
                f"the largest share of one of the other classes is {most:.2f}."
                if of_others
                else f"{own:.2f} of a row's probability is its own class's, on average."
            )
            title = f"{titles[method]}, seed {run.seed}, after epoch {epoch + 1}"
            pictures.append(_drawn(ax, alt, title))
        figures[f"soft_labels_{method}"] = Pictures(pictures)
    return figures


def _prior(results: Results, method: str) -> list[Picture]:
    """The class accuracies of every run of LS+, and the prior that the first makes of its own."""
    runs, title = results.of_method(method), results.experiment.titles[method]
    read = [run_folder.read_json(run.folder(results.folder), run_folder.PRIOR) for run in runs]
    accuracies = 100 * np.array([each["class_accuracy"] for each in read], np.float64)
    spread = accuracies.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(accuracies.shape[1])
    names = results.class_names
    ax = plots.metric_comparison(
        names, accuracies.mean(axis=0), spread, runs=[*accuracies.T], reference=None
    )
    ax.set_xlim(0, 100)
    over = "one seed" if len(runs) == 1 else f"mean, SD and dots of {len(runs)} seeds"
    ax.set_xlabel(f"Class accuracy (%), {over}")
    in_words = ", ".join(
        f"{name} {mean:.0f}%" for name, mean in zip(names, accuracies.mean(axis=0), strict=True)
    )
    prior = informed_prior(accuracies[0] / 100, warn=False)
    matrix = plots.soft_label_matrix(prior, names, label="Prior (probability)")
    matrix.set_xlabel("Class in the prior")
    assert isinstance(ax.figure, Figure)
    assert isinstance(matrix.figure, Figure)
    ax.figure.set_size_inches(*matrix.figure.get_size_inches())
    alt = f"The prior of {title}: its diagonal is the class accuracies."
    return [
        _drawn(
            ax,
            f"Class accuracies that {title} was given: {in_words}.",
            f"{title}: class accuracies",
        ),
        _drawn(matrix, alt, f"{title}, seed {runs[0].seed}: the prior"),
    ]


def _features(results: Results, compactness: Compactness) -> Pictures:
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
    return Pictures(pictures)


def _against_the_truth(results: Results, exact: Truth) -> Figures:
    by_calibrator: dict[str, dict[str, Sequence[Predictions]]] = {}
    for row in results.rows:
        if not row.ensemble:
            name = row.calibrators[0].name if row.calibrators else ""
            by_calibrator.setdefault(name, {})[row.name] = results.predictions(row)
    panels = [shown for rows in by_calibrator.values() for shown in _panels(rows)]
    axes = [plots.true_reliability(shown) for shown in panels]
    legend = shared_legend(axes) if len(axes) == 1 else None
    alt = "Mean exact probability of being right against confidence, of {}."
    pictures = [
        _drawn(ax, alt.format(", ".join(shown))) for ax, shown in zip(axes, panels, strict=True)
    ]
    figures = {"truth": Pictures(pictures, legend)}
    distances = truth.soft_label_distances(results, exact.posterior)
    if distances:
        ax = plots.training_curves(distances, metric="distance")
        ax.set_ylabel("Total variation, mean over classes")
        ax.set_ylim(bottom=0)
        alt = "Distance of the soft labels from the true confusion, by epoch."
        title = "Soft labels against the exact mean posterior of a class"
        figures["soft_labels_truth"] = Pictures([_drawn(ax, alt, title)])
    return figures


def _panels(lines: Mapping[str, Shown]) -> list[dict[str, Shown]]:
    """All lines in one picture, or each beside the first where they could not be told apart."""
    if len(lines) <= MOST_LINES:
        return [dict(lines)]
    first, *others = lines
    return [{first: lines[first], name: lines[name]} for name in others]


def _same_heights(axes: Sequence[Axes]) -> None:
    """Give axes the same limits upwards, which hold what all of them show."""
    low, high = zip(*(ax.get_ylim() for ax in axes), strict=True)
    for ax in axes:
        ax.set_ylim(min(low), max(high))


_OTHER = "The other, named above"


def _name_the_other(ax: Axes) -> str:
    """What the legend said of the second of two lines, which is above the panel instead."""
    line = ax.get_lines()[1]
    said = str(line.get_label())
    line.set_label(_OTHER)
    return said


def _alike(axes: Sequence[Axes], panels: Sequence[Mapping[str, object]], alt: str) -> Pictures:
    """The pictures of axes with the same limits; `alt` has a place for the names of the lines."""
    _same_heights(axes)
    titles = [""]
    if len(axes) > 1:
        titles = [_name_the_other(ax) for ax in axes]
    legend = shared_legend(axes)
    alts = [alt.format(", ".join(shown)) for shown in panels]
    return Pictures([_drawn(*each) for each in zip(axes, alts, titles, strict=True)], legend)


def _drawn(ax: Axes, alt: str, title: str = "") -> Picture:
    figure = ax.figure
    assert isinstance(figure, Figure)
    if title:  # its place is given, or matplotlib would look for one above all ticks
        ax.set_title(title, fontsize=11, y=1.0)
    if len(figure.axes) == 1:  # which needs one pass, where "constrained" and a `rect` make two
        figure.set_layout_engine("tight", pad=0.5, rect=None)
    return draw(figure, alt, raster=True)
