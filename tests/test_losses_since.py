"""Every value of the methods since 2022 that the golden file has is compared by some test."""

from __future__ import annotations

import golden_since
import test_losses_fedlas
import test_losses_focal_kin
import test_losses_from_validation
import test_losses_learned
import test_losses_max_logits

MODULES = (
    test_losses_fedlas,
    test_losses_focal_kin,
    test_losses_from_validation,
    test_losses_learned,
    test_losses_max_logits,
)


def test_every_entry_of_the_golden_file_is_compared():
    """Each by one file alone, and none that the golden file does not have."""
    compared = sorted(entry for module in MODULES for entry in module.GOLDEN)
    assert compared == sorted(golden_since.Golden().facts["losses"])


def test_every_sequence_of_the_golden_file_is_compared():
    compared = sorted(
        variant for module in MODULES for variant in getattr(module, "SEQUENCES_COMPARED", ())
    )
    for sequence in golden_since.SEQUENCES:
        variants = golden_since.Golden().facts["sequences"][sequence]["variants"]
        assert compared == sorted(variants), sequence
