"""Many runs: what to train, in which order and where, and resuming."""

from lsplus_tf.experiments.engines import LocalProcesses
from lsplus_tf.experiments.execute import run_experiment
from lsplus_tf.experiments.grid import run_grid
from lsplus_tf.experiments.observer import Observer
from lsplus_tf.experiments.plan import Run, Shard, plan_runs

__all__ = [
    "LocalProcesses",
    "Observer",
    "Run",
    "Shard",
    "plan_runs",
    "run_experiment",
    "run_grid",
]
