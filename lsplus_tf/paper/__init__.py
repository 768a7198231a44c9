"""The papers behind this package: what they print, what was published, what their code does.

`released_losses` has what the LS+ paper's released code trained where that differs from the
paper. The other modules recompute the papers' numbers from the authors' published files, for
`lsplus-tf paper`; they need no TensorFlow, so that it is imported with the losses alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("lsplus_tf.paper.released_losses"), name)
    raise AttributeError(f"module 'lsplus_tf.paper' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
