"""The folder of one run: what is in it, and that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from lsplus_tf.atomic import written_whole as written_whole
from lsplus_tf.errors import InputError

SETTINGS = "config.yaml"
ENVIRONMENT = "environment.json"
HISTORY = "history.csv"
METRICS = "metrics.json"
SUMMARY = "summary.json"
PRIOR = "prior.json"
SOFT_LABELS = "soft_labels.npz"
MODEL = "model.keras"
LOG = "log.txt"


@dataclass(frozen=True)
class Predictions:
    """A model's `logits` (N, K) float32 of a split, with `labels` (N,) int64 and `ids` (N,) str."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.str_]


def write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_predictions(folder: Path, split: str, predictions: Predictions) -> None:
    np.savez_compressed(
        _predictions_file(folder, split),
        logits=predictions.logits,
        labels=predictions.labels,
        ids=predictions.ids,
    )


_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    yaml.YAMLError,
)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say which file of a run could not be read."""
    try:
        yield
    except _UNREADABLE as error:
        why = " ".join(str(error).split())
        raise InputError(f"{path}: not the file of a finished run ({why})") from error


def read_predictions(folder: Path, split: str) -> Predictions:
    """The predictions of a finished run for "validation" or "test"."""
    path = _predictions_file(folder, split)
    with _reading(path), np.load(path, allow_pickle=False) as arrays:
        return Predictions(arrays["logits"], arrays["labels"], arrays["ids"])


def read_json(folder: Path, name: str) -> Any:
    with _reading(folder / name):
        return json.loads((folder / name).read_text(encoding="utf-8"))


def read_yaml(folder: Path, name: str) -> dict[str, Any]:
    with _reading(folder / name):
        values = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it has no keys")
        return values


def read_history(folder: Path) -> pd.DataFrame:
    with _reading(folder / HISTORY):
        return pd.read_csv(folder / HISTORY)


def read_soft_labels(folder: Path) -> NDArray[np.float32]:
    """The soft labels after every epoch, (epochs, K, K)."""
    path = folder / SOFT_LABELS
    with _reading(path), np.load(path, allow_pickle=False) as arrays:
        return arrays["soft_labels"]


def _predictions_file(folder: Path, split: str) -> Path:
    return folder / f"predictions_{split}.npz"
