"""Two processes that train together, as hosts of one training, give what one process gives."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsplus_tf.config import Experiment, load_config, to_yaml
from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run
from lsplus_tf.training import run_folder
from lsplus_tf.training import several_hosts as module
from lsplus_tf.training.several_hosts import Hosts, chief_says, hosts

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 600  # seconds, after which a process is killed
RUNS = [Run(method, 0) for method in ("hard", "online", "refreshed")]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Batches of 250 of 1149 images, the last of five smaller; saved after every second step."""
    settings = ["protocol.save_every_minutes=1e-9", "protocol.epochs=3"]
    settings += ["protocol.schedule=null", "protocol.batch_size=250"]
    # Not Adam, which makes whole steps of gradients that are nothing but rounding. And the same
    # background in all images would have whole regions on one or the other side of a ReLU's 0.
    settings += ["protocol.optimizer={name: sgd, learning_rate: 0.1}"]
    settings += ["protocol.augmentation={shift: 0.1, rotation: 10, channel_shift: 5}"]
    settings += ["backbone.width=0.1", "seeds=[0]"]
    values = load_config(ROOT / "configs" / "digits.yaml", settings).model_dump(mode="json")
    values["methods"] = {
        "hard": {"loss": "hard_labels"},
        "online": {"loss": "online_label_smoothing"},
        "refreshed": {
            "loss": "ls_plus",
            "refresh_every": 1,
            "class_accuracy": {"shrinkage": 5.0},
        },
    }
    path = tmp_path_factory.mktemp("hosts") / "config.yaml"
    path.write_text(to_yaml(Experiment.model_validate(values)))
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


def train(
    config: Path, outs: list[Path], dies: tuple[int, int] | None = None
) -> list[tuple[int, str]]:
    """Exit codes, and what was said, of as many processes as there are folders."""
    ports, processes = free_ports(len(outs)), []
    for index, out in enumerate(outs):
        environment = dict(os.environ, COLUMNS="200")
        if len(outs) > 1:
            environment["TF_CONFIG"] = tf_config(index, ports)
        after = dies[1] if dies is not None and dies[0] == index else -1
        command = [sys.executable, str(ROOT / "tests" / "on_two_hosts.py"), str(after)]
        processes.append(
            subprocess.Popen(
                [*command, "train", str(config), "--out", str(out)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                cwd=ROOT,
            )
        )
    try:
        said = [process.communicate(timeout=LONGEST)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def trained(config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """On one host, and on two of which the second was killed, with the same command again."""
    folder = tmp_path_factory.mktemp("trained")
    one, two = folder / "one", folder / "two"
    ((code, said),) = train(config, [one])
    assert code == 0, said[-3000:]
    # Three epochs of hard labels with three states each, one of online, four steps of the next.
    killed = train(config, [two, two], dies=(1, 9 + 3 + 2))
    left = sorted(path.name for path in (two / "online").iterdir())
    again = train(config, [two, two])
    return {"one": one, "two": two, "killed": killed, "left": left, "again": again}


def test_a_host_that_dies_ends_the_training_of_the_other(trained):
    (code, said), (killed, _) = trained["killed"]
    assert killed == -9
    assert code == 1, said[-3000:]
    assert "another host of this training has stopped; give the same command on all" in said
    assert trained["left"] == [".seed_0.training"]


def test_the_same_command_goes_on_from_the_last_state(trained):
    for code, said in trained["again"]:
        assert code == 0, said[-3000:]
        assert "online, seed 0 goes on after 1 of 3 epochs" in said
    log = (RUNS[1].folder(trained["two"]) / run_folder.LOG).read_text()
    assert "goes on after 1 epochs and 4 steps" in log
    assert not list(trained["two"].glob("*/.seed_0*"))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.method)
def test_two_hosts_give_what_one_gives(trained, run):
    # Hard labels differ by 1e-4. If rounding turns one image from wrong to right, the targets of
    # the others change too: 0.02 in logits was seen. Two hosts repeat their own bits, and differ by
    # 1e-6 if interrupted.
    one, two = (run.folder(trained[out]) for out in ("one", "two"))
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    np.testing.assert_allclose(
        run_folder.read_history(two), run_folder.read_history(one), rtol=1e-2, atol=1e-2
    )
    for split in ("validation", "test"):
        ours, theirs = (run_folder.read_predictions(folder, split) for folder in (two, one))
        np.testing.assert_allclose(ours.logits, theirs.logits, atol=5e-2)
        np.testing.assert_array_equal(ours.ids, theirs.ids)
    if run.method == "online":
        soft = [run_folder.read_soft_labels(folder) for folder in (two, one)]
        np.testing.assert_allclose(*soft, atol=5e-3)
        assert np.abs(soft[0][-1] - soft[0][0]).max() > 0.01
    if run.method == "refreshed":
        ours, theirs = (run_folder.read_json(folder, run_folder.PRIOR) for folder in (two, one))
        assert len(ours["refreshed"]) == len(theirs["refreshed"]) == 3
        for a, b in zip(ours["refreshed"], theirs["refreshed"], strict=True):
            np.testing.assert_allclose(a["class_accuracy"], b["class_accuracy"], atol=5e-2)
    performance = run_folder.read_json(two, run_folder.SUMMARY)["performance"]
    assert (performance["devices"], performance["hosts"]) == (2, 2)


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
