"""Runs on the machines of a Ray cluster, which begins and ends them and knows what is free."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lsplus_tf import config
from lsplus_tf.errors import MOST_WORKERS, InputError, check_count, one_line
from lsplus_tf.experiments.engines import Pool
from lsplus_tf.experiments.make import Outcome, load_data
from lsplus_tf.experiments.observer import Observer
from lsplus_tf.experiments.plan import Run
from lsplus_tf.experiments.worker import Job, describe_job, make

# Of the environment, what decides how a run is made.
_PASSED_ON = ("KERAS_", "OMP_", "TF_", "XLA_")


class RayCluster:
    """Every run is a task of a Ray cluster: one GPU each where the cluster has some.

    `lsplus_tf` is to be installed on all machines, and the folder in which the command is given,
    the experiment's and the data's are to be on a file system that all of them share. A machine
    that dies fails the runs that it was making.

    Parameters
    ----------
    address : str
        Of the cluster, as `ray.init` takes it; "auto" finds the one of this machine.
    cpus_per_run : int
        Cores that a run asks for.

    Raises
    ------
    InputError
        Ray is not installed, or `cpus_per_run` is less than one.
    """

    def __init__(self, address: str = "auto", cpus_per_run: int = 1) -> None:
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise InputError(
                "--executor: ray needs pip install 'lsplus_tf[ray]', here and on all machines"
            ) from error
        check_count("--cpus-per-run", cpus_per_run, most=MOST_WORKERS)
        self._address, self._cpus = address, cpus_per_run

    @contextmanager
    def begin(self, experiment: config.Experiment, out: Path, observer: Observer) -> Iterator[Pool]:
        import ray

        observer.data_loaded(load_data(experiment, decode=False, observer=observer))
        try:
            ray.init(
                address=self._address,
                runtime_env={"env_vars": _environment()},
                log_to_driver=False,  # what libraries print; a run has its own log
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError) as error:
            raise InputError(
                f"--address: no Ray cluster at {self._address!r} ({one_line(error)}); "
                "begin one with ray start --head"
            ) from error
        try:
            yield _Tasks(describe_job(experiment, out), self._cpus)
        finally:
            ray.shutdown()  # ends the tasks too


class _Tasks:
    tells_epochs = False
    at_once = 10**6  # Ray lets those wait for which there is no room

    def __init__(self, job: Job, cpus: int) -> None:
        import ray

        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        # Begun again by the schedule, if at all, which also tells.
        self._make: Any = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(make)
        self._job = job

    def submit(self, run: Run) -> Future[Outcome]:
        return self._make.remote(self._job, run).future()


def _environment() -> dict[str, str]:
    """For the processes of Ray, which do not inherit that of this one."""
    return {
        name: value
        for name, value in os.environ.items()
        if (name.startswith(_PASSED_ON) or name == "PYTHONPATH") and name != "TF_CONFIG"
    }
