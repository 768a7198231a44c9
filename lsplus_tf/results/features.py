"""How compact the classes are in the training features that runs keep."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lsplus_tf import metrics
from lsplus_tf.config.questions import OF_FEATURES
from lsplus_tf.experiments.plan import Run
from lsplus_tf.results.finished import Results
from lsplus_tf.results.tables import Column
from lsplus_tf.training import run_folder

WITHIN, SILHOUETTE = OF_FEATURES
MEASURES = {
    WITHIN: Column(WITHIN, "Within classes", -1),
    SILHOUETTE: Column(SILHOUETTE, "Silhouette", 1),
}


@dataclass(frozen=True)
class Compactness:
    """What the features of an experiment's runs show.

    Attributes
    ----------
    runs : pandas.DataFrame
        One row a run with features: method, seed, images, within_class_share and silhouette.
    shown : dict of str to Run
        The first run with features of each method that has one.
    without : tuple of Run
        Finished runs that kept none.
    other_images : tuple of Run
        Runs whose features are of other images than most runs', and are left out.
    """

    runs: pd.DataFrame
    shown: dict[str, Run]
    without: tuple[Run, ...]
    other_images: tuple[Run, ...]


def compare_features(results: Results) -> Compactness | None:
    """The features of the finished runs; None where none has any, and the config asks for none."""
    folders = {run: run.folder(results.folder) for run in results.runs}
    kept = [run for run in results.runs if run_folder.has(folders[run], run_folder.FEATURES)]
    if not kept and results.experiment.features is None:
        return None
    # Read anew for the figure: those of all runs together may not fit into memory.
    images, measured = {}, {}
    for run in kept:
        of_run = run_folder.read_features(folders[run])
        images[run] = tuple(of_run.ids)
        measured[run] = {
            "method": run.method,
            "seed": run.seed,
            "images": len(of_run.ids),
            WITHIN: metrics.within_class_share(of_run.labels, of_run.features),
            SILHOUETTE: _silhouette(of_run),
        }
    most = Counter(images.values()).most_common(1)
    compared = [run for run in kept if images[run] == most[0][0]]
    shown: dict[str, Run] = {}
    for run in compared:
        shown.setdefault(run.method, run)
    return Compactness(
        pd.DataFrame(
            [measured[run] for run in compared],
            columns=["method", "seed", "images", WITHIN, SILHOUETTE],
        ),
        shown,
        tuple(run for run in results.runs if run not in kept),
        tuple(run for run in kept if run not in compared),
    )


def _silhouette(of_run: run_folder.Features) -> float:
    """The mean silhouette; NaN where no class has two images, or only one class has any."""
    if not 1 < len(np.unique(of_run.labels)) < len(of_run.labels):
        return float("nan")
    # Imported here: it costs a second, and most reports have no features.
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(of_run.features, of_run.labels))
