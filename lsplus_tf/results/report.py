"""The tables and figures of an experiment, written into its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from lsplus_tf import files, plots
from lsplus_tf.config.experiment import REPORT
from lsplus_tf.config.methods import short_names
from lsplus_tf.errors import InputError
from lsplus_tf.experiments.folder import REPORT_FOLDER
from lsplus_tf.page import render
from lsplus_tf.predictions import Predictions, concatenated
from lsplus_tf.results import tables, truth
from lsplus_tf.results.finished import Results, Row
from lsplus_tf.results.page import experiment_page, range_over_seeds
from lsplus_tf.results.uncertainty import measure_uncertainty
from lsplus_tf.training import run_folder

PAGE = "report.html"
CALIBRATORS = "calibrators"
PANELS_IN_A_ROW = 6
TEST = "Test split"
POOLED = f"{TEST}, the predictions of all seeds together"
CANCEL = (
    "; their errors partly cancel, so that an ECE here may lie below the table's mean over seeds"
)


def write_report(
    results: Results, name: str = REPORT, extra: Sequence[Callable[[Path], None]] = ()
) -> list[Path]:
    """Write the tables and figures of an experiment into its folder `name`, anew.

    Parameters
    ----------
    results : from `gather`.
    name : of the folder in the experiment's, which may hold an earlier report and nothing else.
    extra : what else writes files: each is given the report's folder before it is put in place.

    Returns
    -------
    The files written: `table.md`, `table.tex`, `table.csv` (mean and SD), `runs.csv` (a row a
    run), `intervals.csv` (intervals, and tests against the first row), the figures as PNG, and
    `report.html` with all of it on one page. `calibrators` holds the fitted ones of the table, for
    `Calibrator.load`. `truth.md`, `truth.csv` and `truth_runs.csv` are there where the images'
    exact posterior is known.

    Raises
    ------
    InputError : the folder holds something else, or cannot be written.

    Examples
    --------
    Of an experiment of a small network on a few images:

    >>> from tempfile import TemporaryDirectory
    >>> from lsplus_tf.config import load_config
    >>> from lsplus_tf.experiments import run_experiment
    >>> from lsplus_tf.results import gather
    >>> changes = ["protocol.epochs=1", "dataset.samples_per_class=8", "backbone.width=0.125"]
    >>> experiment = load_config("digits", changes)
    >>> with TemporaryDirectory() as folder:
    ...     run_experiment(experiment, Path(folder), methods=["hard_labels"], seeds=[0])
    ...     written = write_report(gather(Path(folder)))
    >>> "report.html" in [file.name for file in written]
    True
    """
    if Path(name).name != name or name in results.experiment.methods:
        raise InputError(f"name: expected that of a folder for the report, received {name!r}")
    folder = results.folder / name
    # Of several processes that make the runs together each writes the report.
    with files.writing(folder, REPORT_FOLDER, argument="name", patience=-1) as new:
        new.mkdir()
        comparison = tables.compare(results)
        heading = f"# {results.experiment.name}: test split\n\n"
        text = f"{heading}{tables.markdown_table(comparison)}\n\n{comparison.caption}\n"
        (new / "table.md").write_text(text, encoding="utf-8")
        (new / "table.tex").write_text(tables.latex_table(comparison) + "\n", encoding="utf-8")
        tables.csv_table(comparison).to_csv(new / "table.csv", index_label="method")
        results.metrics().to_csv(new / "runs.csv", index=False)
        _save_calibrators(results, new / CALIBRATORS)
        figures = _figures(results, comparison)
        exact = truth.compare_with_truth(results)
        if exact is not None:
            text = truth.markdown_text(exact, results.experiment.name)
            (new / "truth.md").write_text(text, encoding="utf-8")
            tables.csv_table(exact.comparison).to_csv(new / "truth.csv", index_label="method")
            exact.runs.to_csv(new / "truth_runs.csv", index=False)
            figures |= _truth_figures(results, exact)
        for title, figure in figures.items():
            figure.savefig(new / f"{title}.png", dpi=150, bbox_inches="tight")
        _write_page(results, comparison, figures, exact, new)
        for figure in figures.values():
            plt.close(figure)
        for write in extra:
            write(new)
        written = sorted(path.name for path in new.iterdir())
    return [folder / file for file in written]


def _write_page(
    results: Results,
    comparison: tables.Comparison,
    figures: dict[str, Figure],
    exact: truth.Truth | None,
    folder: Path,
) -> None:
    uncertainty = measure_uncertainty(results)
    uncertainty.frame().to_csv(folder / "intervals.csv", index=False)
    page = experiment_page(results, comparison, uncertainty, figures, exact)
    (folder / PAGE).write_text(render(page), encoding="utf-8")


def _save_calibrators(results: Results, folder: Path) -> None:
    if any(row.calibrators for row in results.rows):
        folder.mkdir()
    for row in results.rows:
        seeds = [""] if row.ensemble else [f"_seed_{seed}" for seed in row.seeds]
        for seed, calibrator in zip(seeds, row.calibrators, strict=bool(row.calibrators)):
            text = calibrator.to_json() + "\n"
            (folder / f"{row.key}{seed}.json").write_text(text, encoding="utf-8")


def _figures(results: Results, comparison: tables.Comparison) -> dict[str, Figure]:
    titles = short_names(results.experiment.methods)
    methods = results.methods
    groups = _by_calibrator(results)
    predictions = {row.name: results.predictions(row) for row in groups[""]}
    figures = {}

    for name, rows in groups.items():
        figures[f"reliability_{name}" if name else "reliability"] = _reliability(
            {row.name: results.predictions(row) for row in rows},
            TEST if results.one_seed else POOLED + CANCEL,
        )
    figures["density"], axes = _panels(len(predictions), 3.4, 3.0)
    figures["density"].suptitle(TEST if results.one_seed else POOLED, fontsize=10)
    for ax, (title, runs) in zip(axes, predictions.items(), strict=True):
        plots.confidence_density(concatenated(runs), ax=ax).set_title(title)
        ax.set_xlim(0, 1)

    histories = {
        titles[m]: [run_folder.read_history(r.folder(results.folder)) for r in results.of_method(m)]
        for m in methods
    }
    if len(predictions) > PANELS_IN_A_ROW:  # so many lines in one panel cannot be told apart
        figures |= _beside_the_first(predictions, histories, range_over_seeds(results))
    else:
        figures["retention"], (ax,) = _panels(1, 5.5, 4.0)
        plots.retention_curves(predictions, convention="released_code", ax=ax)  # as in the table
        curves = ("loss", "val_loss", "accuracy", "val_accuracy")
        figures["training_curves"], axes = _panels(len(curves), 4.0, 3.0)
        figures["training_curves"].suptitle(
            f"{range_over_seeds(results)}; the losses of different methods cannot be compared",
            fontsize=10,
        )
        for ax, curve in zip(axes, curves, strict=True):
            plots.training_curves(histories, metric=curve, ax=ax)

    main, first = comparison.only(tables.MAIN), comparison.names[0]
    height = 1.4 + 0.24 * len(main.names)
    figures["comparison"], axes = _panels(len(main.columns), 2.9, height)
    for ax, column, heading in zip(axes, main.columns, main.headings()[2:], strict=True):
        plots.metric_comparison(
            main.names,
            main.mean[column.key],
            main.sd[column.key],
            ax=ax,
            better=column.better,
        ).set_title(f"{heading} (x100)", fontsize=10)
        ax.tick_params(labelleft=ax is axes[0])
    figures["comparison"].suptitle(
        f"One seed; dashed is {first}, a diamond the best"
        if results.one_seed
        else f"Mean and SD over seeds; dashed the mean of {first}, a diamond the best mean",
        fontsize=10,
    )

    for method in methods:
        run = results.of_method(method)[0]
        if (run.folder(results.folder) / run_folder.SOFT_LABELS).exists():
            matrix = run_folder.read_soft_labels(run.folder(results.folder))[-1]
            figures[f"soft_labels_{method}"], (ax,) = _panels(1, 5.0, 4.2)
            plots.soft_label_matrix(matrix, tables.class_names(results), ax=ax)
            ax.set_title(f"{titles[method]}: soft labels after the last epoch, seed {run.seed}")
    return figures


def _by_calibrator(results: Results) -> dict[str, list[Row]]:
    """The rows as they are, under "", and those of each calibrator."""
    groups: dict[str, list[Row]] = {}
    for row in results.rows:
        groups.setdefault(row.calibrators[0].name if row.calibrators else "", []).append(row)
    return groups


def _reliability(predictions: Mapping[str, Sequence[Predictions]], title: str) -> Figure:
    """A reliability diagram of each, with one legend for all."""
    figure, axes = _panels(len(predictions), 3.4, 4.4)
    figure.suptitle(title, fontsize=10)
    for ax, (name, runs) in zip(axes, predictions.items(), strict=True):
        # No intervals: seeds share their samples, which would count several times.
        plots.reliability_diagram(concatenated(runs), interval=None, ax=ax, title=name)
    handles, names = axes[0].get_legend_handles_labels()
    for legend in figure.findobj(Legend):
        legend.remove()
    figure.legend(
        handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, frameon=False
    )
    return figure


def _truth_figures(results: Results, exact: truth.Truth) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    panels: list[Mapping[str, Sequence[Predictions]]] = []
    for rows in _by_calibrator(results).values():
        predictions = {row.name: results.predictions(row) for row in rows if not row.ensemble}
        if len(predictions) <= PANELS_IN_A_ROW:
            panels.append(predictions)
        else:  # so many lines in one panel cannot be told apart
            first = next(iter(predictions))
            panels += [{first: predictions[first], title: p} for title, p in predictions.items()]
    figures["truth"], axes = _panels(len(panels), 4.6, 4.6)
    seeds = "" if results.one_seed else ", all seeds together"
    figures["truth"].suptitle(f"{TEST}{seeds}, without labels", fontsize=10)
    for ax, shown in zip(axes, panels, strict=True):
        plots.true_reliability(shown, ax=ax)
    distances = truth.soft_label_distances(results, exact.posterior)
    if distances:
        figures["soft_labels_truth"], (ax,) = _panels(1, 6.0, 4.0)
        plots.training_curves(distances, metric="distance", ax=ax)
        ax.set_ylabel("Total variation, mean over classes")
        ax.set_title("Soft labels against the exact mean posterior of a class", fontsize=10)
        ax.set_ylim(bottom=0)
    return figures


def _beside_the_first(
    predictions: Mapping[str, Sequence[Predictions]],
    histories: Mapping[str, Sequence[pd.DataFrame]],
    seeds: str,
) -> dict[str, Figure]:
    """Retention and training curves, a panel a method, each beside the first method's."""
    first = next(iter(predictions))
    figures = {}
    figures["retention"], axes = _panels(len(predictions), 3.4, 3.0)
    for ax, (title, runs) in zip(axes, predictions.items(), strict=True):
        shown = {first: predictions[first], title: runs}
        plots.retention_curves(shown, convention="released_code", ax=ax).set_title(
            title
        )  # as in the table
    figures["training_curves"], axes = _panels(len(histories), 3.4, 3.0)
    for ax, (title, logs) in zip(axes, histories.items(), strict=True):
        shown_logs = {first: histories[first], title: logs}
        plots.training_curves(shown_logs, metric="val_accuracy", ax=ax).set_title(title)
    for figure in figures.values():
        axes = figure.axes
        figure.suptitle(f"{seeds}, beside {first}", fontsize=10)
        figure.supxlabel(axes[0].get_xlabel(), fontsize=10)
        figure.supylabel(axes[0].get_ylabel(), fontsize=10)
        limits = [ax.get_ylim() for ax in axes]
        for ax in axes:
            ax.legend(fontsize=7, loc="lower left")
            ax.set(xlabel="", ylabel="", ylim=(min(limits)[0], max(high for _, high in limits)))
    return figures


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[plt.Axes]]:
    """A figure with `count` axes of a size in inches, at most six side by side."""
    columns = min(count, PANELS_IN_A_ROW)
    rows = -(-count // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(width * columns, height * rows),
        squeeze=False,
        layout="constrained",
    )
    axes = list(grid.flat)
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]
