"""What the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden values and data beside the project; not in a user's clone."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}, which a clone does not have")
    return SHARED
