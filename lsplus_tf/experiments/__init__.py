"""Many runs: what to train and in which order, resuming, and gathering the results."""

from lsplus_tf.experiments.execute import run_experiment
from lsplus_tf.experiments.gather import Results, gather
from lsplus_tf.experiments.plan import Run, plan_runs

__all__ = ["Results", "Run", "gather", "plan_runs", "run_experiment"]
