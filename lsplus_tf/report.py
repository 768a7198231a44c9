"""The tables and figures of an experiment, written into its folder."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from lsplus_tf import metrics, plots, tables
from lsplus_tf.config import OnlineLabelSmoothing
from lsplus_tf.experiments.gather import Results
from lsplus_tf.experiments.plan import Run
from lsplus_tf.training import run_folder

REPORT = "report"
POOLED = (
    "Test split, the predictions of all seeds together, whose errors partly cancel: "
    "the ECE is below the table's mean over seeds"
)


def write_report(results: Results, name: str = REPORT) -> list[Path]:
    """Write the tables and figures of an experiment into its folder `name`, anew.

    Returns
    -------
    The files written: `table.md`, `table.tex`, `table.csv` (mean and SD), `runs.csv` (a row a
    run), and the figures as PNG.
    """
    with run_folder.written_whole(results.folder / name) as partial:
        partial.mkdir()
        comparison = tables.compare(results)
        heading = f"# {results.experiment.name}: test split\n\n"
        text = f"{heading}{tables.markdown_table(comparison)}\n\n{tables.CAPTION}\n"
        (partial / "table.md").write_text(text, encoding="utf-8")
        (partial / "table.tex").write_text(tables.latex_table(comparison) + "\n", encoding="utf-8")
        tables.csv_table(comparison).to_csv(partial / "table.csv", index_label="method")
        results.metrics().to_csv(partial / "runs.csv", index=False)
        for title, figure in _figures(results).items():
            figure.savefig(partial / f"{title}.png", dpi=150, bbox_inches="tight")
            plt.close(figure)
        written = sorted(path.name for path in partial.iterdir())
    return [results.folder / name / file for file in written]


def _figures(results: Results) -> dict[str, Figure]:
    titles = tables.short_names(results.experiment.methods)
    methods = results.methods
    predictions = {m: [_test(results, run) for run in results.of_method(m)] for m in methods}
    pooled = {
        titles[m]: (np.concatenate([p for p, _ in runs]), np.concatenate([y for _, y in runs]))
        for m, runs in predictions.items()
    }
    figures = {}

    figures["reliability"], axes = _panels(len(methods), 3.4, 4.4)
    figures["density"], density_axes = _panels(len(methods), 3.4, 3.0)
    for name in ("reliability", "density"):
        figures[name].suptitle(POOLED, fontsize=10)
    for ax, density_ax, (title, (probabilities, labels)) in zip(
        axes, density_axes, pooled.items(), strict=True
    ):
        plots.reliability_diagram(probabilities, labels, ax=ax, title=title)
        plots.confidence_density(probabilities, labels, ax=density_ax).set_title(title)
        density_ax.set_xlim(0, 1)

    # One legend for all panels.
    handles, names = axes[0].get_legend_handles_labels()
    for legend in figures["reliability"].findobj(Legend):
        legend.remove()
    figures["reliability"].legend(
        handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, frameon=False
    )

    figures["retention"], (ax,) = _panels(1, 5.5, 4.0)
    by_title = {titles[m]: runs for m, runs in predictions.items()}
    plots.retention_curves(by_title, convention="paper", ax=ax)  # as in the table

    histories = {
        titles[m]: [run_folder.read_history(r.folder(results.folder)) for r in results.of_method(m)]
        for m in methods
    }
    curves = ("loss", "val_loss", "accuracy", "val_accuracy")
    figures["training_curves"], axes = _panels(len(curves), 4.0, 3.0)
    figures["training_curves"].suptitle(
        "Mean and range over seeds; the losses of different methods cannot be compared", fontsize=10
    )
    for ax, curve in zip(axes, curves, strict=True):
        plots.training_curves(histories, metric=curve, ax=ax)

    for method in methods:
        if isinstance(results.experiment.methods[method], OnlineLabelSmoothing):
            run = results.of_method(method)[0]
            matrix = run_folder.read_soft_labels(run.folder(results.folder))[-1]
            name = f"soft_labels_{method}"
            figures[name], (ax,) = _panels(1, 5.0, 4.2)
            plots.soft_label_matrix(matrix, tables.class_names(results), ax=ax)
            ax.set_title(f"{titles[method]}: soft labels after the last epoch, seed {run.seed}")
    return figures


def _test(results: Results, run: Run) -> tuple[np.ndarray, np.ndarray]:
    predictions = run_folder.read_predictions(run.folder(results.folder), "test")
    return metrics.softmax(predictions.logits), predictions.labels


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[plt.Axes]]:
    figure, axes = plt.subplots(
        1, count, figsize=(width * count, height), squeeze=False, layout="constrained"
    )
    return figure, list(axes[0])
