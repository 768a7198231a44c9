"""Experiments in several processes: they end with the bits that one process gives."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Forked
from helpers import Recorder, same_predictions

from lsplus_tf.experiments import LocalProcesses, Run, engines, run_experiment
from lsplus_tf.experiments.folder import read_experiment
from lsplus_tf.experiments.make import Outcome
from lsplus_tf.training import run_folder


def lsplus_tf(*arguments: str) -> Forked:
    """The command line in a process of its own."""
    return Forked("-m", "lsplus_tf.cli", *arguments, env={**os.environ, "COLUMNS": "200"})


def test_a_worker_that_is_killed(reproduced, tmp_path, monkeypatch):
    """Its run is begun again, the other worker's goes on, and all give the same bits."""
    make, killed = engines._Worker.make, []

    def dying_first(worker: engines._Worker, run: Run) -> Outcome:
        if not killed:
            killed.append(run)
            # Long before it has imported TensorFlow.
            threading.Timer(0.5, lambda: worker._process.kill()).start()
        return make(worker, run)

    monkeypatch.setattr(engines._Worker, "make", dying_first)
    recorder = Recorder()
    methods = ["hard_labels", "label_smoothing", "ls_plus"]
    run_experiment(
        read_experiment(reproduced.folder),
        tmp_path,
        observer=recorder,
        methods=methods,
        seeds=[0],
        engine=LocalProcesses(2),
        retries=1,
    )
    ((run, error, again),) = recorder.failed
    assert [run] == killed
    assert error == "its process was killed (SIGKILL); the memory may have been too small"
    assert again
    assert set(recorder.ended) == {Run(method, 0) for method in methods}
    for run in recorder.ended:
        assert same_predictions(run.folder(tmp_path), run.folder(reproduced.folder))
        assert not run_folder.unfinished(run.folder(tmp_path)).exists()


def wait_until(condition: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def test_a_process_that_has_grown_is_begun_anew(monkeypatch, tmp_path):
    """By a process that answers at once, and whose memory is made up."""
    answers = "import sys; [print('{}', flush=True) for line in sys.stdin]"
    started: list[int] = []

    def start(worker: engines._Worker) -> subprocess.Popen:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-c", answers], **pipes)
        started.append(process.pid)
        return process

    sizes = iter([5, 5 + engines.GROWTH, 6 + engines.GROWTH, 7 * engines.GROWTH, 0])
    monkeypatch.setattr(engines._Worker, "_start", start)
    monkeypatch.setattr(engines, "_resident_memory", lambda process: next(sizes))
    worker = engines._Worker({}, None, tmp_path / "notices")
    at_run = []
    for seed in range(5):
        assert worker.make(Run("hard_labels", seed)).error is None
        at_run.append(len(started))
    # The third run is beyond it, the fourth the first of a new process, however large.
    assert at_run == [1, 1, 1, 2, 2]
    worker.kill()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell")
def test_the_memory_of_a_process():
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert most / 4 < engines._resident_memory(os.getpid()) <= 1.1 * most
    assert engines._resident_memory(2**30) == 0


def test_a_command_that_is_killed_takes_its_workers_with_it(reproduced, tmp_path):
    """Another then goes on from what one of them has saved."""
    out = tmp_path / "out"
    more = ["--out", str(out), "--methods", "hard_labels", "--workers", "2"]
    often = ["--set", "protocol.save_every_minutes=1e-9"]
    command = lsplus_tf("train", *reproduced.arguments, *more, *often)
    folders = [Run("hard_labels", seed).folder(out) for seed in (0, 1)]
    unfinished = [run_folder.unfinished(folder) for folder in folders]
    try:
        wait_until(lambda: any(map(run_folder.has_checkpoints, unfinished)))
    finally:
        os.kill(command.pid, signal.SIGKILL)
        command.communicate()
    wait_until(lambda: not any(map(run_folder.is_being_made, folders)), 10)
    seed = next(seed for seed in (0, 1) if run_folder.has_checkpoints(unfinished[seed]))
    recorder = Recorder()
    run_experiment(
        read_experiment(reproduced.folder),
        out,
        observer=recorder,
        methods=["hard_labels"],
        seeds=[seed],
    )
    run = Run("hard_labels", seed)
    assert recorder.ended == [run]
    assert [resumed for resumed, _ in recorder.resumed] == [run]
    assert same_predictions(run.folder(out), run.folder(reproduced.folder))


def test_shards_in_one_folder_at_once(reproduced, tmp_path):
    """LS+ of one needs the run of the other. No run is made twice; the last shard reports."""
    out = tmp_path / "out"
    more = ["--out", str(out), "--methods", "hard_labels,ls_plus", "--seeds", "0"]
    shards = [
        lsplus_tf("reproduce", *reproduced.arguments, *more, "--shard", f"{i}/2") for i in (1, 2)
    ]
    try:
        said = [shard.communicate(timeout=900) for shard in shards]
    finally:
        for shard in shards:
            shard.kill()
    for shard, (_, stderr) in zip(shards, said, strict=True):
        assert shard.returncode == 0, stderr
    for method in ("hard_labels", "ls_plus"):
        run = Run(method, 0)
        assert same_predictions(run.folder(out), run.folder(reproduced.folder))
        log = (run.folder(out) / run_folder.LOG).read_text()
        assert len(re.findall(f"digits: {method}, seed 0", log)) == 1
    tables = [stdout for stdout, _ in said if "digits, test split" in stdout]
    assert tables
    for stdout, _ in said:
        assert ("digits, test split" in stdout) != ("of other shards" in stdout)
    assert (out / "report_selected" / "table.md").is_file()
    assert not list(out.rglob(".*"))
