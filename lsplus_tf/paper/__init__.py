"""What the LS+ paper's released code did where it differs from the paper."""

from lsplus_tf.paper.released_losses import (
    ReleasedDCALoss,
    ReleasedFocalLoss,
    ReleasedHardLabelLoss,
    ReleasedMDCALoss,
    two_headed,
)

__all__ = [
    "ReleasedDCALoss",
    "ReleasedFocalLoss",
    "ReleasedHardLabelLoss",
    "ReleasedMDCALoss",
    "two_headed",
]
