"""Figs. 1 and 2 of the LS+ paper, in its axes, of the runs of an experiment."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

from lsplus_tf.experiments.plan import Run
from lsplus_tf.page import draw
from lsplus_tf.paper.artifacts import METHODS
from lsplus_tf.paper.cells import title
from lsplus_tf.paper.comparison import Match, dataset_of, network_of
from lsplus_tf.paper.figures import (
    CURVE_LIMITS,
    DENSITY_LIMITS,
    METHOD_TITLES,
    curve_by_confidence,
    draw_curves,
    draw_densities,
)
from lsplus_tf.predictions import Predictions
from lsplus_tf.results import Results


def write_figures(results: Results, folder: Path) -> None:
    """Write `density_seed_N.png` and `retention_seed_N.png` of every seed with finished runs.

    Nothing is written where the LS+ paper does not have the data and network.

    Parameters
    ----------
    results : Results
    folder : Path
        Of a report.
    """
    experiment = results.experiment
    dataset, backbone = dataset_of(experiment), network_of(experiment)
    if (dataset, backbone) not in DENSITY_LIMITS:
        return
    for seed in experiment.seeds:
        panels = _panels(results, dataset, seed)
        given = {name: found for name, found in panels.items() if not isinstance(found, str)}
        if not given:
            continue
        heading = f"{title(dataset, backbone)}, seed {seed}"
        figure = draw_densities(panels, heading, dataset, backbone)
        (folder / f"density_seed_{seed}.png").write_bytes(draw(figure, "", raster=True).image)

        curves = {name: curve_by_confidence(found) for name, found in given.items()}
        low, high = CURVE_LIMITS[dataset]
        lowest = 100 * min(curve.min() for curve in curves.values())
        figure, ax = plt.subplots(figsize=(6, 5.6), layout="constrained")
        # The paper's axis, further down where a curve would leave it.
        places = [[*panels].index(name) for name in curves]
        draw_curves(ax, curves, places, (min(low, lowest - 2), high))
        ax.set_title(f"{heading}\nby confidence, areas over the paper's 200 steps")
        (folder / f"retention_seed_{seed}.png").write_bytes(draw(figure, "", raster=True).image)


def _panels(results: Results, dataset: str, seed: int) -> dict[str, Predictions | str]:
    """The test predictions of a seed, or why there are none, in the paper's order of its methods.

    A method of the paper may be there several times, as released and as published, or not at all.
    """
    methods = {
        name: method
        for name, method in results.experiment.methods.items()
        if name in results.experiment.usual_methods or name in results.methods
    }
    titles = results.experiment.titles
    panels: dict[str, Predictions | str] = {}
    for printed in METHODS:
        found = {m: Match.of(methods[m], dataset) for m in methods}
        ours = [m for m, match in found.items() if match.printed_method == printed]
        if not ours:
            panels[METHOD_TITLES[printed]] = "not in the config"
        for method in ours:
            if found[method].reason:
                panels[titles[method]] = "not the paper's settings"
                continue
            run = Run(method, seed)
            is_there = run in results.runs
            panels[titles[method]] = (
                results.saved(run, "test") if is_there else "not in this report"
            )
    return panels
