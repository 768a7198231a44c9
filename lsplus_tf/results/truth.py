"""The runs of an experiment against the exact posterior of its images, where that is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lsplus_tf import metrics
from lsplus_tf.config.methods import LSPlusOnline, OnlineLabelSmoothing
from lsplus_tf.predictions import Predictions
from lsplus_tf.results import tables
from lsplus_tf.results.finished import Results
from lsplus_tf.results.tables import Column, Comparison
from lsplus_tf.training import run_folder


def _from_labels(key: str) -> Column:
    record = metrics.METRICS[key]
    return Column(key, f"{record.heading} from labels", record.better)


COLUMNS = (
    Column("true_accuracy", metrics.METRICS["accuracy"].heading, 1),
    _from_labels("ece"),
    Column("true_calibration_error", "ECE, exact", -1),
    _from_labels("sce"),
    Column("true_static_calibration_error", "SCE, exact", -1),
    Column("excess_log_loss", "Excess log loss", -1),
    Column("total_variation", "Total variation", -1),
)
POSTERIOR = "posterior"
CAPTION = (
    "Test metrics times 100 against the exact class probabilities of the images, mean and sample "
    "SD over seeds. ACC is the expected accuracy, the mean exact probability of the predicted "
    "class. ECE and SCE have 15 bins, once with the drawn labels, as for any data set, and once "
    "with the exact probabilities in their place. Excess log loss is the mean KL(p* || p) in nats, "
    "total variation the mean distance to p*. The posterior's entries are of p* itself: its ACC is "
    "the Bayes accuracy on these images, and its ECE from labels is the noise of the labels alone."
)


@dataclass(frozen=True)
class Truth:
    """An experiment's test split against its exact posterior.

    Attributes
    ----------
    comparison : Comparison
        The table; its last row is the posterior itself, which is never marked as best.
    runs : pandas.DataFrame
        One row a run, as fractions.
    posterior : ndarray of float64, shape (N, K)
        Of the test split.
    """

    comparison: Comparison
    runs: pd.DataFrame
    posterior: NDArray[np.float64]

    @property
    def bayes_accuracy(self) -> tuple[float, float]:
        """The mean largest probability over the test images, and its standard error.

        The error is that of the mean as an estimate of the Bayes accuracy of all images that there
        could be.
        """
        largest = self.posterior.max(axis=1)
        return float(largest.mean()), float(largest.std(ddof=1) / np.sqrt(largest.size))


def compare_with_truth(results: Results) -> Truth | None:
    """The finished runs against the exact posterior; None for a data set that has none."""
    first = results.saved(results.runs[0], "test")
    posterior = first.posterior
    if posterior is None:
        return None
    measured = {
        row.key: [
            {**values, **_measure(each)}
            for values, each in zip(results.measured(row), results.predictions(row), strict=True)
        ]
        for row in results.rows
    }
    runs = pd.DataFrame(
        [
            {"method": row.key, "seed": seed, **{c.key: values[c.key] for c in COLUMNS}}
            for row in results.rows
            if not row.ensemble
            for seed, values in zip(row.seeds, measured[row.key], strict=True)
        ]
    )
    text = tables.caption(results, CAPTION)
    comparison = tables.summarise(results, COLUMNS, lambda row: measured[row.key], text)
    itself = first.computed("probabilities", posterior)
    from_labels = {key: metrics.METRICS[key].value(itself, "standard") for key in ("ece", "sce")}
    values = {**from_labels, **_measure(itself)}
    comparison.mean.loc[POSTERIOR] = [100 * values[column.key] for column in COLUMNS]
    comparison.sd.loc[POSTERIOR], comparison.best.loc[POSTERIOR] = np.nan, False
    comparison.names.append("Posterior")
    comparison.seeds.append(0)
    return Truth(comparison, runs, posterior)


def markdown_text(truth: Truth, name: str) -> str:
    """The table of an experiment with this name as the text of a file."""
    accuracy, error = truth.bayes_accuracy
    return (
        f"# {name}: test split against the exact posterior\n\n"
        f"{tables.markdown_table(truth.comparison)}\n\n{truth.comparison.caption}\n\n"
        f"Bayes accuracy, estimated from these {len(truth.posterior):,} images: "
        f"{100 * accuracy:.2f} ± {100 * error:.2f} (standard error).\n"
    )


def soft_label_distances(
    results: Results, posterior: NDArray[np.float64]
) -> dict[str, list[pd.DataFrame]]:
    """How far online label smoothing's soft labels are from the true confusion, by epoch.

    Parameters
    ----------
    results : Results
        The finished runs.
    posterior : ndarray of float64, shape (N, K)
        Of the test split.

    Returns
    -------
    dict of str to list of pandas.DataFrame
        For each such method, and each of the two confusions of `metrics.true_class_confusion`, a
        frame a run with the columns "epoch" and "distance": the mean over classes of the total
        variation distance between the rows. Beside them how far one-hot labels are, which do not
        change. Empty without such a method.
    """
    titles = results.experiment.titles
    kinds = (OnlineLabelSmoothing, LSPlusOnline)
    online = [m for m in results.methods if isinstance(results.experiment.methods[m], kinds)]
    confusions = {
        "all images": metrics.true_class_confusion(posterior),
        "those classified correctly": metrics.true_class_confusion(posterior, correct_only=True),
    }
    distances = {}
    for images, confusion in confusions.items():
        for method in online:
            distances[f"{titles[method]} to {images}"] = [
                _distances(run_folder.read_soft_labels(run.folder(results.folder)), confusion)
                for run in results.of_method(method)
            ]
        if online:
            one_hot = np.eye(len(confusion))
            epochs = results.experiment.protocol.epochs
            distances[f"One-hot to {images}"] = [
                _distances(np.stack([one_hot] * epochs), confusion)
            ]
    return distances


def _distances(soft_labels: NDArray[np.floating], confusion: NDArray[np.float64]) -> pd.DataFrame:
    """The total variation distance of each epoch's (K, K) matrix, mean over its rows."""
    distance = np.abs(soft_labels - confusion).sum(axis=2).mean(axis=1) / 2
    return pd.DataFrame({"epoch": np.arange(len(distance)), "distance": distance})


def _measure(predictions: Predictions) -> dict[str, float]:
    """What takes the exact posterior; all else is in the results."""
    return {
        "true_accuracy": metrics.true_accuracy(predictions),
        "true_calibration_error": metrics.true_calibration_error(predictions),
        "true_static_calibration_error": metrics.true_static_calibration_error(predictions),
        "excess_log_loss": metrics.excess_log_loss(predictions),
        "total_variation": metrics.total_variation(predictions),
    }
