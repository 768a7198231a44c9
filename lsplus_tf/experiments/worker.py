"""Make runs for another process: what it sends, and what comes back.

A local process is given lines of JSON: the job, then a run at a time, each of which it answers
with an `Outcome`. On other machines Ray calls `make`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import queue
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from lsplus_tf import config
from lsplus_tf.datasets import ImageDataset
from lsplus_tf.errors import InputError
from lsplus_tf.experiments.make import Outcome, attempt, load_data, make_run
from lsplus_tf.experiments.plan import Run
from lsplus_tf.training.environment import import_tensorflow
from lsplus_tf.version import __version__

Job = dict[str, Any]  # plain values


def describe_job(experiment: config.Experiment, out: Path) -> Job:
    """What a process has to know of an experiment to make its runs."""
    return {
        "experiment": experiment.model_dump(mode="json"),
        "out": str(out.absolute()),
        "working_folder": str(Path.cwd()),  # where relative paths in the config begin
        "version": __version__,
    }


def make(job: Job, run: Run) -> Outcome:
    """Make a run of a job in this process, and say what was warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        outcome = attempt(lambda: _make(job, run))
    texts = dict.fromkeys(str(w.message) for w in told if issubclass(w.category, UserWarning))
    return dataclasses.replace(outcome, warnings=tuple(texts))


def _make(job: Job, run: Run) -> None:
    experiment, dataset = _prepare(json.dumps(job))
    make_run(experiment, Path(job["out"]), run, dataset)


@functools.lru_cache(maxsize=1)  # a process makes many runs
def _prepare(text: str) -> tuple[config.Experiment, ImageDataset]:
    job: Job = json.loads(text)
    if job["version"] != __version__:
        raise InputError(
            f"lsplus_tf: version {__version__} is installed where the run is made, and "
            f"{job['version']} where the command was given; install the same"
        )
    try:
        os.chdir(job["working_folder"])
    except OSError as error:
        raise InputError(
            f"{job['working_folder']}: not a folder where the run is made ({error.strerror}); "
            "begin in a folder that all machines share, with --out and the data"
        ) from error
    experiment = config.parse_config(job["experiment"], "the experiment")
    dataset = load_data(experiment)
    import_tensorflow(experiment.backbone, dataset.image_shape[0])
    return experiment, dataset


def main() -> None:
    """Answer the lines of standard input until it is closed, as it is when its writer dies."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)  # in the middle of a training too, which is saved

    threading.Thread(target=read, daemon=True).start()
    job = json.loads(lines.get())
    while True:
        method, seed = json.loads(lines.get())
        outcome = make(job, Run(method, seed))
        print(json.dumps(dataclasses.asdict(outcome)), file=answers, flush=True)
