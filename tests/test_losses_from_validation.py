"""CALS and AdaFocal: their authors' values and sequences, and what a validation changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden_since import CASES, SEQUENCES, Golden, assert_close
from helpers import value_and_gradient

from lsplus_tf import losses

pytestmark = pytest.mark.usefixtures("nondeterministic")

# Arguments, and whether the state is that of the case.
GOLDEN: dict[str, tuple[dict[str, Any], bool]] = {
    "cals_phr_m10_init": ({"margin": 10.0}, False),
    "cals_phr_m10_case": ({"margin": 10.0}, True),
    "cals_phr_m1_case": ({"margin": 1.0}, True),
    "cals_p2_m1_case": ({"margin": 1.0, "penalty": "p2"}, True),
    "cals_p3_m1_case": ({"margin": 1.0, "penalty": "p3"}, True),
    "cals_phr_m4_case_unnormalized": ({"margin": 4.0, "normalize": False}, True),
    "adafocal_init_sum": ({}, False),
    "adafocal_case_sum": ({}, True),
}
SEQUENCES_COMPARED: dict[str, dict[str, Any]] = {
    "cals_phr_m10_rhostep1": {"margin": 10.0, "update_every": 1},
    "cals_phr_m10_rhostep10": {"margin": 10.0},
    "cals_phr_m3_rhostep1": {"margin": 3.0, "update_every": 1},
    "cals_p2_m3_rhostep1": {"margin": 3.0, "penalty": "p2", "update_every": 1},
    "cals_p3_m3_rhostep2": {"margin": 3.0, "penalty": "p3", "update_every": 2},
    "adafocal_default": {},
    "adafocal_lambda5": {"rate": 5.0},
    "adafocal_switch": {"rate": 8.0, "gamma_initial": 0.3},
}


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


def made(entry: str, num_classes: int, arguments: dict[str, Any]) -> Any:
    """Fed, so far as its warnings go."""
    if entry.startswith("cals"):
        loss: Any = losses.CALSLoss(num_classes, from_logits=True, **arguments)
    else:
        loss = losses.AdaptiveFocalLoss(from_logits=True, reduction="sum", **arguments)
    loss.is_fed = True
    return loss


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("entry", GOLDEN)
def test_values_and_gradients_of_the_authors_code(golden, entry, case):
    arguments, of_case = GOLDEN[entry]
    logits, labels = golden.given(case, "logits"), golden.given(case, "labels")
    loss = made(entry, logits.shape[1], arguments)
    if of_case and entry.startswith("cals"):
        loss.multipliers.assign(golden.given(case, "cals_lambda"))
        loss.penalty_parameters.assign(golden.given(case, "cals_rho"))
    elif of_case:
        loss.gammas.assign(golden.given(case, "ada_gamma"))
        lower, upper = golden.given(case, "ada_lower"), golden.given(case, "ada_upper")
        loss.bin_edges.assign(np.append(lower, upper[-1]))
    assert_close(loss, labels, logits, *golden.expected(entry, case))


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("variant", SEQUENCES_COMPARED)
def test_sequences_of_the_authors_code(golden, variant, sequence):
    num_classes = golden.facts["sequences"][sequence]["K"]
    loss = made(variant, num_classes, SEQUENCES_COMPARED[variant])
    is_cals, total = variant.startswith("cals"), "" if variant.startswith("cals") else "_sum"
    # AdaFocal's code averages bins in float32: 1e-6 of gamma per unit of the rate and epoch.
    off = 0.0 if is_cals else 3e-6 * loss.rate
    for epoch, logits, labels in golden.epochs(sequence):

        def after(what: str, now: int = epoch) -> np.ndarray:
            return golden.arrays[f"seq/{sequence}/{variant}/{what}_e{now}_f64"]

        for batch in range(len(labels)):
            value, slope = value_and_gradient(loss, labels[batch], logits[batch])
            expected = after(f"train_grad{total}")[batch]
            np.testing.assert_allclose(
                value, after(f"train_loss{total}")[batch], rtol=1e-6 + off, atol=6e-8
            )
            largest = np.abs(expected).max()
            # Of a batch that is all right and sure, float32 keeps of p_y - 1 what p_y has.
            rounding = 1.2e-7 * (1 / len(labels[batch]) if is_cals else 1.0)
            np.testing.assert_allclose(
                slope, expected, rtol=0, atol=(1e-6 + off) * largest + rounding
            )
        for y, z in golden.validation(sequence, epoch):
            loss.accumulate_validation(y, z)
        loss.update_from_validation()
        if is_cals:
            names = {"multipliers": "lambda_after", "penalty_parameters": "rho_after"}
            for name, of_code in {**names, "constraints": "constraint"}.items():
                expected = after(of_code)
                np.testing.assert_allclose(
                    loss.state()[name], expected, rtol=0, atol=1e-6 * np.abs(expected).max()
                )
            continue
        edges = np.append(after("lower_after"), after("upper_after")[-1])
        np.testing.assert_allclose(loss.bin_edges, edges, rtol=0, atol=1e-6)
        np.testing.assert_allclose(loss.gaps, after("gap"), rtol=0, atol=1e-6)
        np.testing.assert_allclose(loss.gammas, after("gamma_after"), rtol=1e-6 * loss.rate * 3)
