"""MaxSup and ACLS: penalties that see the largest logit; and weights that change by the epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_since import CASES, SEQUENCES, Golden, assert_close
from helpers import value_and_gradient
from scipy.special import log_softmax, softmax

from lsplus_tf import callbacks, losses
from lsplus_tf.errors import InputError

LOGITS: dict[str, Any] = {"from_logits": True}
PolynomialDecay = keras.optimizers.schedules.PolynomialDecay


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


def at(epoch: int, weight: Any) -> losses.MaxSupLoss:
    loss = losses.MaxSupLoss(weight, **LOGITS)
    loss.set_epoch(epoch)
    return loss


# --- the authors' values --------------------------------------------------------------------------

GOLDEN: dict[str, Callable[[], keras.losses.Loss]] = {
    "maxsup_ffcv_epoch0": lambda: at(0, PolynomialDecay(0.1, 90, 0.2, power=1.0)),
    "maxsup_ffcv_epoch45": lambda: at(45, PolynomialDecay(0.1, 90, 0.2, power=1.0)),
    "maxsup_topk_epoch199of200": lambda: at(199, PolynomialDecay(0.1, 199, 0.2, power=1.0)),
    "acls_m10": lambda: losses.ACLSLoss(**LOGITS),
    "acls_m1": lambda: losses.ACLSLoss(1.0, **LOGITS),
    "acls_m6_pos0.1_neg1_a0.5": lambda: losses.ACLSLoss(
        6.0, weight=0.5, positive_weight=0.1, negative_weight=1.0, **LOGITS
    ),
}
# The steps from 0.1 to 0.2 in three epochs.
SEQUENCES_COMPARED = {"maxsup_ffcv_epochs3": 3, "maxsup_topk_epochs3": 2}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("entry", GOLDEN)
def test_values_and_gradients_are_the_authors(golden, entry, case):
    labels, logits = golden.given(case, "labels"), golden.given(case, "logits")
    # Their topk takes any of tied maxima.
    rows = ~golden.given(case, "tied_max") if "topk" in entry else slice(None)
    assert_close(GOLDEN[entry](), labels, logits, *golden.expected(entry, case), rows=rows)


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("variant", SEQUENCES_COMPARED)
def test_the_weight_follows_the_epochs_as_the_authors_does(golden, variant, sequence):
    steps = SEQUENCES_COMPARED[variant]
    loss = losses.MaxSupLoss(PolynomialDecay(0.1, steps, 0.2, power=1.0), **LOGITS)
    traced = tf.function(loss)
    for epoch, logits, labels in golden.epochs(sequence):
        loss.set_epoch(epoch)
        values, gradients = (
            golden.arrays[f"seq/{sequence}/{variant}/train_{what}_e{epoch}_f64"]
            for what in ("loss", "grad")
        )
        for batch in zip(labels, logits, values, gradients, strict=True):
            assert_close(traced, *batch)
