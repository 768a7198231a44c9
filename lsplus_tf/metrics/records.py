"""Every metric's record, and :func:`evaluate`, which goes through them.

A record stands under its definition, in the modules that are listed here; tables, pages, tests,
intervals and options take them from :data:`METRICS`.
"""

import numpy.typing as npt

from lsplus_tf.conventions import Convention
from lsplus_tf.metrics import brier, calibration, functional, selective
from lsplus_tf.metrics.conventions import predictions_for
from lsplus_tf.metrics.metric import Metric
from lsplus_tf.predictions import Predictions

__all__ = ["METRICS", "Metric", "evaluate"]

_MODULES = (functional, calibration, brier, selective)
_RECORDS = {record.key: record for module in _MODULES for record in module.RECORDS}
# The LS+ paper's Table 1 first, as it has them.
_FIRST = ("accuracy", "auroc", "precision", "recall", "f1", "ece", "ace", "sce", "nll", "brier")

#: Every metric's record, by its key, in the order of tables.
METRICS: dict[str, Metric] = {key: _RECORDS[key] for key in dict.fromkeys((*_FIRST, *_RECORDS))}

# The public functions that are a metric whole, without an argument that they need.
OF_FUNCTIONS = [
    (getattr(module, record.function), record)
    for module in _MODULES
    for record in module.RECORDS
    if record.function != "top_k_error"
]


def evaluate(
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None = None,
    *,
    convention: Convention = "standard",
    from_logits: bool = False,
    sample_weight: npt.ArrayLike | None = None,
) -> dict[str, float]:
    """All metrics of one set of predictions, as fractions.

    Parameters
    ----------
    labels : array_like of int, shape (N,), or Predictions
        True classes in [0, K).
    probabilities : array_like, shape (N, K), optional
        Softmax outputs, or logits.
    convention : {"standard", "released_code"}
        Sound definitions, or those of the LS+ paper's released code; the table at the head of
        :mod:`lsplus_tf.metrics.functional` says how they differ.
    from_logits : bool
        Whether the rows are logits, whose softmax is taken first.
    sample_weight : array_like, shape (N,), optional
        How often each sample counts; see :mod:`lsplus_tf.metrics.weighted`.

    Returns
    -------
    dict of str to float
        By their keys, such as accuracy, auroc, ece, nll (in nats) and brier (0 to 2), the metrics
        of :data:`METRICS` that are `evaluated`; of predictions with the predicted class and its
        confidence alone, those that need no more.

    Raises
    ------
    InputError
        If the predictions are not valid.

    Warns
    -----
    UserWarning
        If a class has no sample; auroc is then NaN.

    Examples
    --------
    >>> metrics = evaluate([0, 1], [[0.9, 0.1], [0.3, 0.7]])
    >>> metrics["accuracy"], round(metrics["ece"], 4), round(metrics["brier"], 4)
    (1.0, 0.2, 0.1)
    """
    predictions = predictions_for(convention, labels, probabilities, from_logits, sample_weight)
    values = {}
    for key, record in METRICS.items():
        if record.evaluated and record.is_known_of(predictions):
            values[key] = record.value(predictions, convention)
    return values
