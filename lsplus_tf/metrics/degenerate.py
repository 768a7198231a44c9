"""A classifier that predicts one class for all."""

from __future__ import annotations

import numpy as np

from lsplus_tf.predictions import Predictions

_ALL_BUT = 0.01


def constant_class(predictions: Predictions) -> int | None:
    """The class that is predicted for all cases, which are of several; None if there is none.

    Also one that is predicted for all but 1% at most, if the model is right no more often than
    that constant would be.

    Parameters
    ----------
    predictions : Predictions

    Examples
    --------
    >>> constant_class(Predictions([0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]))
    0
    """
    weights, labels = predictions.weights, predictions.labels
    shares = np.bincount(predictions.predicted, weights) / weights.sum()
    largest = int(shares.argmax())
    constant = float(weights[labels == largest].sum() / weights.sum())
    if constant == 1 or shares[largest] < 1 - _ALL_BUT:
        return None
    right = float(weights[predictions.correct].sum() / weights.sum())
    return largest if np.count_nonzero(shares) == 1 or right <= constant else None
