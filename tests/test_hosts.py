"""Two processes that train together, as hosts of one training, give what one process gives."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import STDOUT
from typing import Any

import keras
import pytest
from forked import Forked
from rounding import ONE_STEP, assert_equal_but_for_rounding, assert_exact_step, network

from lsplus_tf.config import Experiment, load_config, to_yaml
from lsplus_tf.datasets import load_dataset
from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run, run_experiment
from lsplus_tf.training import run_folder, train
from lsplus_tf.training import several_hosts as module
from lsplus_tf.training.several_hosts import Hosts, chief_says, hosts

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 600  # seconds, after which a process is killed
RUNS = [Run(method, 0) for method in ("hard", "online", "refreshed")]
METHODS = {
    "hard": {"loss": "hard_labels"},
    "online": {"loss": "online_label_smoothing"},
    "refreshed": {
        "loss": "ls_plus",
        "refresh_every": 1,
        "class_accuracy": {"shrinkage": 5.0},
    },
}
# Batches of 250 of 1077 images, the last of 77; saved after every second step.
TRAINING = [
    "protocol.epochs=2",
    "protocol.batch_size=250",
    "protocol.optimizer={name: sgd, learning_rate: 0.1}",
    "protocol.augmentation={shift: 0.1, rotation: 10, channel_shift: 5}",
    "protocol.save_every_minutes=1e-9",
]


def write_config(path: Path, settings: Sequence[str], methods: dict[str, Any]) -> Path:
    settings = ["protocol.schedule=null", "seeds=[0]", *settings]
    values = load_config(ROOT / "configs" / "digits.yaml", settings).model_dump(mode="json")
    path.write_text(to_yaml(Experiment.model_validate({**values, "methods": methods})))
    return path


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def tf_config(index: int, ports: list[int]) -> str:
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


@contextmanager
def two_hosts(*commands: str, second_dies_after: int = -1) -> Iterator[list[Forked]]:
    """Two processes, as hosts of the trainings that on_two_hosts.py is told."""
    ports, processes = free_ports(2), []
    try:
        for index, dies_after in enumerate((-1, second_dies_after)):
            environment = dict(os.environ, COLUMNS="200", TF_CONFIG=tf_config(index, ports))
            command = [str(ROOT / "tests" / "on_two_hosts.py"), str(dies_after), *commands]
            processes.append(Forked(*command, env=environment, stderr=STDOUT))
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def ended(processes: list[Forked]) -> list[tuple[int, str]]:
    """Exit codes, and what was said."""
    said = [process.communicate(timeout=LONGEST)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def on_one_host(config: Path, out: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "build_classifier", network("float64"))
        try:
            run_experiment(load_config(config), out)
        finally:
            keras.config.set_floatx("float32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """On one host, and on two of which the second was killed, with the same command again."""
    folder = tmp_path_factory.mktemp("hosts")
    config = write_config(folder / "config.yaml", TRAINING, METHODS)
    one_step = [*ONE_STEP, "protocol.batch_size=1077"]
    step = write_config(folder / "step.yaml", one_step, {"hard": METHODS["hard"]})
    outs = {name: folder / name for name in ("one", "two", "step")}
    on_two = f"float64,{config},{outs['two']}"
    # Two epochs of hard labels with three states each, one of online, four steps of the next.
    with two_hosts(on_two, second_dies_after=6 + 3 + 2) as processes:
        # Beside them, since the first waits until it knows that the second is gone.
        on_one_host(config, outs["one"])
        killed = ended(processes)
    left = sorted(path.name for path in (outs["two"] / "online").iterdir())
    with two_hosts(on_two, f"float32,{step},{outs['step']}") as processes:
        again = ended(processes)
    return {**outs, "killed": killed, "left": left, "again": again}


def test_a_host_that_dies_ends_the_training_of_the_other(trained):
    (code, said), (killed, _) = trained["killed"]
    assert killed == -9
    assert code == 1, said[-3000:]
    assert "another host of this training has stopped; give the same command on all" in said
    assert trained["left"] == [".seed_0.training"]


def test_the_same_command_goes_on_from_the_last_state(trained):
    for code, said in trained["again"]:
        assert code == 0, said[-3000:]
        assert "online, seed 0 goes on after 1 of 2 epochs" in said
    log = (RUNS[1].folder(trained["two"]) / run_folder.LOG).read_text()
    assert "goes on after 1 epochs and 4 steps" in log
    assert not list(trained["two"].glob("*/.seed_0*"))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.method)
def test_two_hosts_give_what_one_gives(trained, run):
    one, two = (run.folder(trained[out]) for out in ("one", "two"))
    assert_equal_but_for_rounding(two, one)
    if run.method == "refreshed":
        ours, theirs = (run_folder.read_json(folder, run_folder.PRIOR) for folder in (two, one))
        assert len(ours["refreshed"]) == 2
        assert ours["refreshed"] == theirs["refreshed"]
    performance = run_folder.read_json(two, run_folder.SUMMARY)["performance"]
    assert (performance["devices"], performance["hosts"]) == (2, 2)


def test_a_step_of_two_hosts_is_as_exact_as_that_of_one(trained):
    split = load_dataset("digits").train
    assert len(split) == 1077
    assert_exact_step(RUNS[0].folder(trained["step"]), split)


# --- TF_CONFIG ------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    hosts.cache_clear()
    yield monkeypatch
    hosts.cache_clear()


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        ({"worker": ["a:1", "b:1"]}, ("worker", 0), Hosts(2, is_chief=True)),
        ({"worker": ["a:1", "b:1"]}, ("worker", 1), Hosts(2, is_chief=False)),
        ({"chief": ["a:1"], "worker": ["b:1"]}, ("chief", 0), Hosts(2, is_chief=True)),
        ({"chief": ["a:1"], "worker": ["b:1"]}, ("worker", 0), Hosts(2, is_chief=False)),
        ({"worker": ["a:1"]}, ("worker", 0), Hosts(1, is_chief=True)),
    ],
)
def test_hosts_of_a_cluster(environment, cluster, task, expected):
    task = dict(zip(("type", "index"), task, strict=True))
    environment.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert hosts() == expected


def test_the_cluster_that_the_documentation_shows(environment):
    documented = (ROOT / "docs" / "multi_gpu.md").read_text()
    shown = re.findall(r"```json\n(.*?)```", documented, re.DOTALL)
    shown += re.findall(r"TF_CONFIG='(.*)'", documented)
    assert len(shown) == 2
    for text in shown:
        environment.setenv("TF_CONFIG", text)
        hosts.cache_clear()
        assert hosts() == Hosts(2, is_chief=True)


def test_without_a_cluster_a_host_is_its_own_chief(environment):
    environment.delenv("TF_CONFIG", raising=False)
    assert hosts() == Hosts(1, is_chief=True)
    assert chief_says([3, True]) == [3, True]
    environment.setenv("TF_CONFIG", " ")
    hosts.cache_clear()
    assert hosts().count == 1


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_what_is_no_cluster_is_told(environment, text):
    environment.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=r'TF_CONFIG: expected {"cluster": .* received') as told:
        hosts()
    assert "\n" not in str(told.value)


def test_tensorflow_that_was_used_before_is_told(monkeypatch):
    import tensorflow as tf

    def fail() -> None:
        raise RuntimeError("Collective ops must be configured at program startup")

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", fail)
    with pytest.raises(InputError, match="before TensorFlow does anything else; call lsplus_tf"):
        module.connected()
