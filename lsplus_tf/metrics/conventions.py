"""The sound definitions, and those of the LS+ paper's released code."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lsplus_tf.conventions import Convention
from lsplus_tf.errors import check_choice
from lsplus_tf.predictions import Predictions, as_predictions


def predictions_for(
    convention: Convention,
    labels: npt.ArrayLike | Predictions,
    probabilities: npt.ArrayLike | None,
    from_logits: bool,
    sample_weight: npt.ArrayLike | None,
) -> Predictions:
    """What a metric was given, as it is measured in a convention.

    "released_code" has float32 probabilities with subnormals flushed to zero, as the TensorFlow 2.4
    of the LS+ authors did.
    """
    check_choice("convention", convention, Convention)
    given = as_predictions(
        labels, probabilities, from_logits=from_logits, sample_weight=sample_weight
    )
    if convention == "standard":
        return given
    given.refuse_weights("the LS+ paper's code (convention='released_code')")
    single = given.probabilities.astype(np.float32)
    single[single < np.finfo(np.float32).tiny] = 0
    return given.computed("probabilities", single)
