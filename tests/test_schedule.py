"""Many runs at once: shards, dependencies, failures, and what other processes are doing."""

from __future__ import annotations

import io
import json
import re
import sys
import textwrap
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
import yaml
from forked import Forked
from helpers import ALL_SEEDS, HARD, METHODS, PLUS, Recorder, experiment_with
from rich.console import Console

from lsplus_tf.cli.progress import TerminalProgress
from lsplus_tf.config import Experiment, to_yaml
from lsplus_tf.errors import FailedRunsError, InputError, RefusedRunsError
from lsplus_tf.experiments import Run, Shard, engines, plan_runs, ray_cluster, schedule, worker
from lsplus_tf.experiments.folder import EXPERIMENT, read_experiment, take_folder
from lsplus_tf.experiments.make import Outcome, attempt
from lsplus_tf.experiments.plan import needed_runs
from lsplus_tf.experiments.schedule import Schedule
from lsplus_tf.training import run_folder

# --- shards ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5, 12, 20])
@pytest.mark.parametrize("plus", [PLUS, ALL_SEEDS])
def test_shards_share_the_runs(count, plus):
    methods = {"plus": plus, "hard": HARD, "smooth": {"loss": "label_smoothing"}}
    experiment = experiment_with("seeds=[0,1,2,3]", methods=methods)
    whole = plan_runs(experiment)
    shards = [plan_runs(experiment, shard=Shard(i + 1, count)) for i in range(count)]
    assert {run for runs in shards for run in runs} == set(whole)
    for runs in shards:
        assert len(set(runs)) == len(runs) <= len(whole)
        for i, run in enumerate(runs):
            assert set(needed_runs(experiment, run)) <= set(runs[:i])
    # None twice, but for those that others need; and none has more than its part of the others.
    for method in ("plus", "smooth"):
        dealt = [[run for run in runs if run.method == method] for runs in shards]
        assert sum(map(len, dealt)) == 4
        assert max(map(len, dealt)) <= -(-4 // count) + 1


def test_a_shard_begins_with_what_needs_nothing():
    experiment = experiment_with("seeds=[0,1]")
    assert plan_runs(experiment, shard=Shard(2, 2)) == [
        Run("hard_labels", 1),
        Run("label_smoothing", 1),
        Run("online_label_smoothing", 1),
        Run("ls_plus", 1),
    ]
    assert plan_runs(experiment, ["ls_plus"], [1], Shard(2, 2)) == [
        Run("hard_labels", 1),
        Run("ls_plus", 1),
    ]
    assert plan_runs(experiment, shard=Shard(9, 9)) == []


@pytest.mark.parametrize(("index", "count"), [(0, 2), (3, 2), (1, 0)])
def test_a_shard_that_is_none(index, count):
    with pytest.raises(InputError, match=f"--shard: .* received {index}/{count}"):
        Shard(index, count)


# --- the schedule, with a pool that does as it is told --------------------------------------------


MEASURED = {"validation": {"accuracy": 0.5}}


class Pool:
    """Ends runs as `outcomes` says, the first that was begun first; others are made."""

    tells_epochs = False

    def __init__(self, out: Path, at_once: int = 2, **outcomes: list[Outcome | Exception]) -> None:
        self.out, self.at_once, self.outcomes = out, at_once, outcomes
        self.begun: list[Run] = []
        self.under_way: list[tuple[Run, Future[Outcome]]] = []
        self.most = 0

    def submit(self, run: Run) -> Future[Outcome]:
        self.begun.append(run)
        future: Future[Outcome] = Future()
        self.under_way.append((run, future))
        self.most = max(self.most, len(self.under_way))
        return future

    def end_one(self) -> None:
        run, future = self.under_way.pop(0)
        planned = self.outcomes.get(f"{run.method}_{run.seed}", [])
        outcome = planned.pop(0) if planned else Outcome()
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
            return
        if outcome.error is None and not outcome.taken:
            finish(run.folder(self.out))
        future.set_result(outcome)


def finish(folder: Path, epochs: int = 2) -> None:
    folder.mkdir(parents=True)
    rows = [f"{epoch},0.1,0.2,0.3,0.{epoch}" for epoch in range(epochs)]
    lines = ["epoch,loss,accuracy,val_loss,val_accuracy", *rows]
    (folder / run_folder.HISTORY).write_text("\n".join(lines) + "\n")
    run_folder.write_json(folder / run_folder.METRICS, MEASURED)


@pytest.fixture
def make_all(tmp_path, monkeypatch):
    """Runs the schedule on a pool, in which something ends whenever it waits for that."""

    def run(experiment: Experiment, pool: Pool, retries: int = 0, tell=None) -> Recorder:
        wait = schedule.wait  # type: ignore[attr-defined]

        def ending(futures, **_):
            pool.end_one()
            return wait(futures, timeout=0)

        monkeypatch.setattr(schedule, "wait", ending)
        monkeypatch.setattr(schedule, "POLL", 0.01)
        recorder = Recorder()
        runs = plan_runs(experiment)
        Schedule(experiment, tmp_path, runs, pool, tell or recorder, retries).make_all()
        return recorder

    return run


def test_runs_wait_for_those_they_need(make_all, tmp_path):
    experiment = experiment_with("seeds=[0,1]", methods={"plus": ALL_SEEDS, "hard": HARD})
    pool = Pool(tmp_path, at_once=3)
    recorder = make_all(experiment, pool)
    hard = [Run("hard", 0), Run("hard", 1)]
    assert pool.begun[:2] == hard
    assert pool.begun[2:] == [Run("plus", 0), Run("plus", 1)]
    assert pool.most == 2
    assert recorder.started == recorder.ended == pool.begun


def test_a_failed_run_stops_only_those_that_need_it(make_all, tmp_path):
    experiment = experiment_with(
        "seeds=[0,1]",
        methods={"hard": HARD, "plus": PLUS, "smooth": {"loss": "label_smoothing"}},
    )
    failures = [Outcome(error="no luck", trace="where"), RuntimeError("its process\ndied")]
    pool = Pool(tmp_path, hard_0=failures, smooth_1=[Outcome(error="no luck")] * 3)
    told = Recorder()
    with pytest.raises(FailedRunsError) as caught:
        make_all(experiment, pool, retries=1, tell=told)
    assert not isinstance(caught.value, InputError)
    assert str(caught.value) == (
        "2 of 6 runs failed: hard seed 0 (its process died), smooth seed 1 (no luck); "
        "not made, as they need these: plus seed 0"
    ).replace("), smooth", "); smooth")
    assert told.failed == [
        (Run("hard", 0), "no luck", True),
        (Run("hard", 0), "its process died", False),
        (Run("smooth", 1), "no luck", True),
        (Run("smooth", 1), "no luck", False),
    ]
    assert set(told.ended) == {Run("hard", 1), Run("plus", 1), Run("smooth", 0)}


def test_what_was_given_wrongly_is_not_tried_again(make_all, tmp_path):
    refusal = Outcome(error="dataset: none", refused=True)
    pool = Pool(tmp_path, hard_0=[refusal], hard_1=[refusal])
    with pytest.raises(RefusedRunsError) as caught:
        make_all(experiment_with("seeds=[0,1]", methods={"hard": HARD}), pool, retries=5)
    assert isinstance(caught.value, InputError)
    assert str(caught.value) == "2 of 2 runs failed: hard seed 0, hard seed 1 (dataset: none)"
    assert len(pool.begun) == 2


def test_a_run_refused_beside_one_that_is_made_is_a_failed_one(make_all, tmp_path):
    experiment = experiment_with("seeds=[0]", methods={"hard": HARD, "plus": PLUS})
    pool = Pool(tmp_path, plus_0=[Outcome(error="prior: none", refused=True)])
    with pytest.raises(FailedRunsError, match="1 of 2 runs failed: plus seed 0") as caught:
        make_all(experiment, pool)
    assert not isinstance(caught.value, InputError)
    pool = Pool(tmp_path, hard_0=[Outcome(error="dataset: none", refused=True)])
    with pytest.raises(RefusedRunsError, match="not made, as they need these: plus seed 0"):
        make_all(experiment, pool)


def test_warnings_are_told_once(make_all, tmp_path):
    pool = Pool(tmp_path, hard_0=[Outcome(warnings=("a", "b"))], hard_1=[Outcome(warnings=("a",))])
    with pytest.warns(UserWarning, match="^[ab]$") as told:
        make_all(experiment_with("seeds=[0,1]", methods={"hard": HARD}), pool)
    assert [str(w.message) for w in told] == ["a", "b"]


OTHER = """
    import pathlib, sys
    from lsplus_tf.training import run_folder
    with run_folder.claimed(pathlib.Path({folder!r})) as training:
        print("claimed", flush=True)
        if sys.stdin.readline() != "die\\n":
            pathlib.Path({made!r}).rename({folder!r})
        else:
            import os
            os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("end", ["finish", "die", "finish something else"])
def test_what_another_process_is_making_is_waited_for(make_all, tmp_path, end):
    """It is left to the other, made here if that dies, and not taken if it is another run."""
    experiment = experiment_with("seeds=[0,1]", methods={"hard": HARD})
    folder, made = Run("hard", 0).folder(tmp_path), tmp_path / "made"
    made.mkdir()
    settings = experiment.run_settings("hard", 1 if end.endswith("else") else 0)
    (made / run_folder.SETTINGS).write_text(yaml.safe_dump(settings))
    run_folder.write_json(made / run_folder.METRICS, MEASURED)
    script = textwrap.dedent(OTHER.format(folder=str(folder), made=str(made)))
    other = Forked("-c", script)
    try:
        assert other.stdout.readline() == "claimed\n"
        assert run_folder.is_being_made(folder)
        pool = Pool(tmp_path)
        recorder = Recorder()

        def waiting(run: Run) -> None:
            recorder.waited_for.append(run)
            threading.Timer(0.3, lambda: print(end, file=other.stdin, flush=True)).start()

        told = Recorder()
        told.run_waited_for = waiting
        if end.endswith("else"):
            with pytest.raises(FailedRunsError, match="seed = 1 where the config says 0"):
                make_all(experiment, pool, tell=told)
            assert told.ended == [Run("hard", 1)]
            return
        make_all(experiment, pool, tell=told)
    finally:
        other.kill()
        other.wait()
    assert recorder.waited_for == [Run("hard", 0)]
    assert set(told.ended) == {Run("hard", 0), Run("hard", 1)}
    assert pool.begun == [Run("hard", 1), *([Run("hard", 0)] if end == "die" else [])]


def test_a_run_that_another_was_quicker_to_begin_is_tried_later(make_all, tmp_path):
    pool = Pool(tmp_path, at_once=1, hard_0=[Outcome(taken=True)])
    recorder = make_all(experiment_with("seeds=[0,1]", methods={"hard": HARD}), pool)
    assert pool.begun == [Run("hard", 0), Run("hard", 1), Run("hard", 0)]
    assert recorder.waited_for == [Run("hard", 0)]


def test_the_outcomes_of_an_attempt(tmp_path):
    def outcome(error: BaseException | None) -> Outcome:
        def make() -> None:
            if error is not None:
                raise error

        return attempt(make)

    assert outcome(None) == Outcome()
    assert outcome(run_folder.BeingMadeError("x")) == Outcome(taken=True)
    assert outcome(InputError("a\n b")) == Outcome(error="a b", refused=True)
    assert outcome(OSError(28, "full", "f")) == Outcome(error="[Errno 28] full: 'f'")
    bug = outcome(KeyError("k" * 1000))
    assert bug.error.startswith("KeyError: 'kkk")
    assert len(bug.error) < 600
    assert "Traceback" in bug.trace
    with pytest.raises(KeyboardInterrupt):
        outcome(KeyboardInterrupt())


def test_the_display_of_runs_beside_each_other():
    text = io.StringIO()
    runs = [Run("hard", seed) for seed in range(4)]
    with TerminalProgress(Console(file=text, width=200, force_terminal=True)) as progress:
        progress.planned(runs, [], epochs=10)
        (task,) = progress._progress.tasks
        progress.run_started(runs[1])
        progress.run_resumed(runs[1], 4, {"val_accuracy": 0.25})
        progress.run_started(runs[0])
        progress.epoch_ended(runs[0], 0, {"val_accuracy": 0.5})
        progress.epoch_ended(runs[1], 4, {"val_accuracy": 0.5})
        assert (task.completed, task.total) == (2, 36)
        assert task.description == "0 of 4 runs finished, 2 under way"
        progress.run_failed(runs[0], "died [1]", "", again=True)
        assert task.description == "run 2 of 4: hard, seed 1, epoch 5/10"
        progress.run_started(runs[0])
        progress.run_resumed(runs[0], 1, {"val_accuracy": 0.5})
        progress.run_finished(runs[0], 0.5)
        progress.run_finished(runs[1], 0.75)
        progress.run_finished(runs[2], 0.25)  # of which nothing was heard
        assert task.description == "3 of 4 runs finished, 0 under way"
        assert (task.completed, task.total) == (16, 26)
    said = text.getvalue()
    assert "run 1 of 4: hard, seed 0 failed: died [1]; it is begun again\n" in said
    assert "run 1 of 4: hard, seed 0 finished, validation accuracy 0.5000\n" in said
    assert "run 3 of 4: hard, seed 2 finished by another process, validation accuracy 0.25" in said


def test_a_log_has_a_line_at_once_and_then_each_minute(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("lsplus_tf.cli.progress.monotonic", lambda: clock[0])
    text = io.StringIO()
    runs = [Run("hard", 0), Run("hard", 1)]
    with TerminalProgress(Console(file=text, width=80)) as progress:
        progress.planned(runs, [], epochs=100)
        progress.run_started(runs[0])
        for epoch in range(100):  # of 7 seconds
            clock[0] += 7.0
            progress.epoch_ended(runs[0], epoch, {"val_accuracy": 0.5})
    lines = text.getvalue().splitlines()
    assert lines[1:4] == [f"run 1 of 2: hard, seed 0, epoch {n}/100" for n in (0, 9, 18)]
    assert len(lines) == 2 + 100 // 9


# --- what goes to another process -----------------------------------------------------------------


def test_a_job_for_another_version_or_another_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # which the worker changes
    experiment = experiment_with("seeds=[0]")
    job = worker.describe_job(experiment, Path("runs"))
    assert job["out"] == str(tmp_path / "runs")
    assert json.loads(json.dumps(job)) == job
    assert Experiment.model_validate(job["experiment"]) == experiment
    outcome = worker.make({**job, "version": "0"}, Run("hard_labels", 0))
    assert outcome.refused
    assert "lsplus_tf: version" in outcome.error
    outcome = worker.make({**job, "working_folder": "/nowhere"}, Run("hard_labels", 0))
    assert outcome.refused
    assert outcome.error.startswith("/nowhere: not a folder where the run is made")


def test_gpus_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-8932f937")
    assert engines.visible_gpus() == ["2", "GPU-8932f937"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert engines.visible_gpus() == []


def test_gpus_are_those_of_the_driver(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engines.visible_gpus() == []
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 0\necho 1\n")
    smi.chmod(0o755)
    assert engines.visible_gpus() == ["0", "1"]


def test_the_processes_share_the_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    pool = engines._Processes({}, 3, tmp_path)
    assert [w._gpu for w in pool._all] == ["4", "5", "4"]
    pool.close()


def test_the_environment_for_ray(monkeypatch):
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_CONFIG", "CUDA_VISIBLE_DEVICES", "PYTHONPATH"):
        monkeypatch.setenv(name, "1")
    passed = ray_cluster._environment()
    assert {"TF_NUM_INTRAOP_THREADS", "PYTHONPATH"} <= set(passed)
    assert not {"TF_CONFIG", "CUDA_VISIBLE_DEVICES", "HOME"} & set(passed)


def test_ray_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--executor: ray needs pip install 'lsplus_tf\[ray\]'"):
        ray_cluster.RayCluster()


# --- one folder -----------------------------------------------------------------------------------

# Each of several processes takes new folders at the same moments as the others, and keeps each
# until all have tried.
TAKE = """
    import json, pathlib, sys, time
    from lsplus_tf.config import load_config
    from lsplus_tf.errors import InputError
    from lsplus_tf.experiments.folder import take_folder
    me, count, root, config, changes = sys.argv[1:]
    root, experiments = pathlib.Path(root), [load_config(config, c) for c in json.loads(changes)]

    def meet(what):
        (root / f"{what}_{me}").touch()
        while len(list(root.glob(f"{what}_?"))) < int(count):
            time.sleep(0.001)

    for i, experiment in enumerate(experiments * 7):
        meet(f"begin_{i}")
        try:
            with take_folder(experiment, root / str(i), []):
                print("taken", flush=True)
                meet(f"end_{i}")
        except InputError as error:
            print(error, flush=True)
            meet(f"end_{i}")
"""
DIFFERENT = {  # what one of two processes changes, then the other, and what they differ in
    r"protocol\.epochs = (3|4) where": (["protocol.epochs=3"], ["protocol.epochs=4"]),
    r"methods\.ls_plus\.alpha = 0\.\d+ where": ([], ["methods.ls_plus.alpha=0.3"]),
    r"seeds = \[0(, 1)?\] where": (["seeds=[0]"], ["seeds=[0,1]"]),
}


@pytest.mark.parametrize(
    "changes",
    [[*zip(*DIFFERENT.values(), strict=True)], [[[]], [[]], [["dataset.data_dir=there"]]]],
)
def test_processes_that_begin_in_a_new_folder_at_once(tmp_path, changes):
    """Of one experiment they share it; of different ones, one goes on and the other is refused."""
    config = tmp_path / "digits.yaml"
    config.write_text(to_yaml(experiment_with()))
    begin, of = ["-c", textwrap.dedent(TAKE)], [str(len(changes)), str(tmp_path), str(config)]
    processes = [Forked(*begin, str(me), *of, json.dumps(each)) for me, each in enumerate(changes)]
    try:
        said = [process.communicate(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, stderr) in zip(processes, said, strict=True):
        assert process.returncode == 0, stderr
    texts = [[to_yaml(experiment_with(*change)) for change in each] * 7 for each in changes]
    lines = [stdout.splitlines() for stdout, _ in said]
    assert [len(each) for each in lines] == [len(each) for each in texts]
    for i, answers in enumerate(zip(*lines, strict=True)):
        out = tmp_path / str(i)
        assert [path.name for path in out.iterdir()] == [EXPERIMENT]
        taken = [text[i] for text, line in zip(texts, answers, strict=True) if line == "taken"]
        assert (out / EXPERIMENT).read_text() in taken
        if len(changes) == 2:
            (refused,) = [line for line in answers if line != "taken"]
            assert refused.startswith(f"--out: in {out} another process is at work with ")
            assert re.search([*DIFFERENT][i % 3], refused)
        else:
            assert len(taken) == 3


def test_a_folder_in_which_others_train_something_else(tmp_path):
    """Nothing is finished there yet."""
    other = experiment_with("protocol.epochs=3", "protocol.batch_size=7")
    differences = (
        r"protocol\.epochs = 25 where the config says 3, "
        r"protocol\.batch_size = \d+ where the config says 7; wait"
    )

    def refuse() -> None:
        with pytest.raises(InputError, match=differences), take_folder(other, tmp_path, []):
            pass

    with take_folder(experiment_with(), tmp_path, []):
        refuse()
    # The command was killed, and what it had begun goes on.
    (tmp_path / ".at_work.killed").touch()
    with run_folder.claimed(Run(METHODS[0], 0).folder(tmp_path)):
        refuse()
    with take_folder(other, tmp_path, plan_runs(other)):
        assert len([*tmp_path.glob(".at_work.*")]) == 1
    assert read_experiment(tmp_path) == other
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [EXPERIMENT]
