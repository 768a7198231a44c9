"""The folder of one run: what is in it, and that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

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
SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Predictions:
    """What a model says of a split: `logits` (N, K) float32, `labels` (N,) int64, `ids` (N,) str."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.str_]


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file or folder name beside `path`, renamed to `path` if the block succeeds.

    What a killed process left under the temporary name is removed by the next that comes.
    """
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(partial)
    try:
        yield partial
        _remove(path)
        os.replace(partial, path)
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_predictions(folder: Path, split: str, predictions: Predictions) -> None:
    np.savez_compressed(
        _predictions_file(folder, split),
        logits=predictions.logits,
        labels=predictions.labels,
        ids=predictions.ids,
    )


def read_predictions(folder: Path, split: str) -> Predictions:
    """The predictions of a finished run for "validation" or "test"."""
    path = _predictions_file(folder, split)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Predictions(arrays["logits"], arrays["labels"], arrays["ids"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"{path}: not the predictions of a finished run ({error})") from error


def read_json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / name}: not a file of a finished run ({error})") from error


def read_settings(folder: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{folder / SETTINGS}: not a file of a finished run ({error})") from error


def read_history(folder: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(folder / HISTORY)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / HISTORY}: not a file of a finished run ({error})") from error


def read_soft_labels(folder: Path) -> NDArray[np.float32]:
    """The soft labels after every epoch, (epochs, K, K)."""
    try:
        with np.load(folder / SOFT_LABELS, allow_pickle=False) as arrays:
            return arrays["soft_labels"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"{folder / SOFT_LABELS}: not a file of a finished run ({error})"
        ) from error


def _predictions_file(folder: Path, split: str) -> Path:
    return folder / f"predictions_{split}.npz"
