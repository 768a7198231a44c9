"""The grid of runs on a Ray cluster."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_experiments import Recorder, same_predictions

from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run, run_experiment
from lsplus_tf.experiments.folder import read_experiment
from lsplus_tf.experiments.ray_cluster import RayCluster

TESTS = Path(__file__).parent
SECONDS = 900  # of a cluster that hangs; on two cores with much beside it takes six minutes


@pytest.fixture(scope="module", autouse=True)
def _ray() -> None:
    pytest.importorskip("ray", reason="needs pip install 'lsplus_tf[ray]'")


def test_a_node_that_is_killed(reproduced, tmp_path):
    """All runs end finished, with the bits that one process gives."""
    settings = reproduced.arguments[4::2]
    out = tmp_path / "out"
    command = [sys.executable, "ray_grid.py", reproduced.arguments[0], str(out), *settings]
    # Begun in the tests' folder, and with the package that is tested on the path of the nodes.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with subprocess.Popen(
        command,
        cwd=TESTS,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=SECONDS)
        finally:
            # Ray's processes too, where they are left.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, stderr[-3000:]
    # Ray may print what it has to say after it.
    (line,) = [line for line in stdout.splitlines() if line.startswith('{"killed"')]
    told = json.loads(line)
    runs = [Run(method, 0) for method in ("hard_labels", "label_smoothing", "ls_plus")]
    assert told["killed"]
    assert told["failed"]
    assert all(again for _, _, again in told["failed"])
    assert sorted(told["finished"]) == sorted(map(str, runs))
    for run in runs:
        assert same_predictions(run.folder(out), run.folder(reproduced.folder))


def test_no_cluster(reproduced, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where a running one would be noted
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Ray looks among all processes too, where another's cluster may be.
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", functools.cache(set))
    with pytest.raises(InputError, match="--address: no Ray cluster at 'auto'"):
        run_experiment(
            read_experiment(reproduced.folder),
            tmp_path / "out",
            observer=Recorder(),
            engine=RayCluster(),
        )
    assert not (tmp_path / "out").exists()
