"""What the documentation shows of TensorBoard and MLflow logs all epochs of all runs."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from helpers import ROOT

import lsplus_tf as lsp
from lsplus_tf.results import Results

SECTION = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
SECTION = SECTION.partition("## TensorBoard and MLflow\n")[2].partition("\n## ")[0]
TENSORBOARD, MLFLOW = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


def scalar(name: str, data: float, step: int) -> None:
    tf.summary.write(name, tf.constant(data, tf.float32), step)


@pytest.fixture
def names(reproduced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the first block leaves to the second, run beside `runs/digits`."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/digits").symlink_to(reproduced.folder, target_is_directory=True)
    # TensorFlow's own needs TensorBoard.
    monkeypatch.setattr(tf.summary, "scalar", scalar)
    names: dict[str, Any] = {}
    exec(compile(TENSORBOARD, "command_line.md", "exec"), names)
    return names


def csv_of(results: Results, run: Any) -> pd.DataFrame:
    return pd.read_csv(run.folder(results.folder) / "history.csv")


def test_tensorboard_has_every_number_of_every_epoch(names: dict[str, Any]):
    results = names["results"]
    assert len(results.runs) > 2
    for run in results.runs:
        (file,) = Path("logs", run.method, f"seed_{run.seed}").iterdir()
        logged: dict[str, dict[int, float]] = defaultdict(dict)
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                logged[value.tag][event.step] = float(tf.make_ndarray(value.tensor))
        expected = csv_of(results, run)
        assert set(logged) == set(expected) - {"epoch"}
        for name, by_epoch in logged.items():
            assert list(by_epoch) == expected["epoch"].tolist()
            np.testing.assert_allclose([*by_epoch.values()], expected[name], rtol=1e-6)


class Mlflow(ModuleType):
    """What the lines call, which keeps what it is given, as strict of types as MLflow."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.runs: list[dict[str, Any]] = []

    def start_run(self, *, run_name: str) -> Mlflow:
        assert isinstance(run_name, str)
        self.runs.append({"name": run_name, "metrics": defaultdict(dict)})
        return self

    def __enter__(self) -> Mlflow:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def log_params(self, params: dict[str, Any]) -> None:
        self.runs[-1]["params"] = params

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            assert re.fullmatch(r"[\w\-. :/]+", name)
            assert step is None or isinstance(step, int)
            self.runs[-1]["metrics"][name][step] = float(value)

    def log_artifacts(self, folder: str | Path) -> None:
        self.runs[-1]["files"] = {path.name for path in Path(folder).iterdir()}


def test_mlflow_has_settings_epochs_results_and_files(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "mlflow", mlflow := Mlflow())
    exec(compile(MLFLOW, "command_line.md", "exec"), names)
    results = names["results"]
    assert [each["name"] for each in mlflow.runs] == [str(run) for run in results.runs]
    for run, logged in zip(results.runs, mlflow.runs, strict=True):
        assert logged["params"] == {"method": run.method, "seed": run.seed}
        expected = csv_of(results, run).set_index("epoch")
        assert logged["metrics"]["val_loss"] == expected["val_loss"].to_dict()
        measured = lsp.evaluate(results.saved(run, "test"))
        assert logged["metrics"]["ece"] == {None: measured["ece"]}
        assert {"model.keras", "config.yaml", "manifest.json"} <= logged["files"]
