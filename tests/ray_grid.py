"""A grid of runs on a Ray cluster of two nodes on this machine, one of which is killed midway.

Run by `test_ray.py` in a process of its own, which it can end whatever happens in here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from lsplus_tf.config import load_config
from lsplus_tf.experiments import Run, run_experiment
from lsplus_tf.experiments.ray_cluster import RayCluster

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
# A node is known to be dead after three seconds instead of half a minute.
HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}


class Killer:
    """An observer that kills the second node when two runs are under way, one on each."""

    def __init__(self, kill: Callable[[], None]) -> None:
        self._kill = kill
        self._under_way: set[Run] = set()
        self.killed = False
        self.finished: list[str] = []
        self.failed: list[tuple[str, str, bool]] = []

    def run_started(self, run: Run) -> None:
        self._under_way.add(run)
        if len(self._under_way) == 2 and not self.killed:
            self.killed = True
            self._kill()

    def run_finished(self, run: Run, accuracy: float) -> None:
        self._under_way.discard(run)
        self.finished.append(str(run))

    def run_failed(self, run: Run, error: str, trace: str, again: bool) -> None:
        self._under_way.discard(run)
        self.failed.append((str(run), error, again))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None  # what else it is told


def main(config: str, out: str, *overrides: str) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "_system_config": HEALTH})
    try:
        second = cluster.add_node(**NODE)
        killer = Killer(lambda: cluster.remove_node(second, allow_graceful=False))
        run_experiment(
            load_config(config, overrides),
            Path(out),
            observer=killer,
            # Two that can begin at once, and one that needs the first.
            methods=["hard_labels", "label_smoothing", "ls_plus"],
            seeds=[0],
            engine=RayCluster(cluster.address),
            retries=3,
        )
        told = {"killed": killer.killed, "finished": killer.finished, "failed": killer.failed}
        print(json.dumps(told))
    finally:
        ray.shutdown()
        cluster.shutdown()


main(*sys.argv[1:])
