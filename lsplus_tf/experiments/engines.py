"""Where runs are made: in this process, or in several on this machine. Ray has its own module."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from lsplus_tf import config
from lsplus_tf.datasets import ImageDataset
from lsplus_tf.errors import MOST_WORKERS, check_count
from lsplus_tf.experiments.make import Outcome, attempt, load_data, make_run
from lsplus_tf.experiments.observer import Observer
from lsplus_tf.experiments.plan import Run
from lsplus_tf.experiments.worker import Job, describe_job
from lsplus_tf.training.environment import import_tensorflow

# Bytes by which a process may grow: TensorFlow keeps what each training made, of a ResNet 0.3 GiB.
GROWTH = 4 * 2**30


class Pool(Protocol):
    """Makes runs of one experiment.

    Attributes
    ----------
    at_once : int
        How many are given to it at once.
    tells_epochs : bool
        Whether it tells the observer of a run's epochs and its begin itself.
    """

    at_once: int
    tells_epochs: bool

    def submit(self, run: Run) -> Future[Outcome]:
        """Begin with a run. The future raises if what made the run has died."""


class Engine(Protocol):
    """Makes the runs of experiments."""

    def begin(
        self, experiment: config.Experiment, out: Path, observer: Observer
    ) -> AbstractContextManager[Pool]:
        """A pool for the runs of an experiment in the folder `out`; at its end nothing runs on."""


class InThisProcess:
    """One run after the other, in this process."""

    @contextmanager
    def begin(self, experiment: config.Experiment, out: Path, observer: Observer) -> Iterator[Pool]:
        dataset = load_data(experiment, observer=observer)
        observer.data_loaded(dataset)
        import_tensorflow(experiment.backbone, dataset.image_shape[0])
        yield _ThisProcess(experiment, out, dataset, observer)


class _ThisProcess:
    at_once = 1
    tells_epochs = True

    def __init__(
        self, experiment: config.Experiment, out: Path, dataset: ImageDataset, observer: Observer
    ) -> None:
        self._experiment, self._out = experiment, out
        self._dataset, self._observer = dataset, observer

    def submit(self, run: Run) -> Future[Outcome]:
        observer = self._observer
        observer.run_started(run)
        future: Future[Outcome] = Future()
        future.set_result(
            attempt(
                lambda: make_run(
                    self._experiment,
                    self._out,
                    run,
                    self._dataset,
                    on_resume=lambda epochs, logs: observer.run_resumed(run, epochs, logs),
                    on_epoch=lambda epoch, logs: observer.epoch_ended(run, epoch, logs),
                )
            )
        )
        return future


class LocalProcesses:
    """Several runs at once on this machine, each in a process of its own.

    Where there are GPUs, each of several processes sees one of them, in turn. A process that dies
    fails the run that it was making, and none of the others. One whose memory has grown by 4 GiB
    since its first run, which is never given back, ends before the next. All of them end with this
    one, however it does.

    Parameters
    ----------
    workers : int
        How many.

    Raises
    ------
    InputError
        Less than one.

    Examples
    --------
    `run_experiment` takes it, as ``run_experiment(..., engine=LocalProcesses(2))``.

    >>> LocalProcesses(0)
    Traceback (most recent call last):
    lsplus_tf.errors.InputError: --workers: expected an integer of at least 1, received 0
    """

    def __init__(self, workers: int) -> None:
        self._workers = check_count("--workers", workers, most=MOST_WORKERS)

    @contextmanager
    def begin(self, experiment: config.Experiment, out: Path, observer: Observer) -> Iterator[Pool]:
        observer.data_loaded(load_data(experiment, decode=False, observer=observer))
        with tempfile.TemporaryDirectory() as notices:
            pool = _Processes(describe_job(experiment, out), self._workers, Path(notices))
            try:
                yield pool
            finally:
                pool.close()


class _Processes:
    tells_epochs = False

    def __init__(self, job: Job, workers: int, notices: Path) -> None:
        gpus = visible_gpus()
        self.at_once = workers
        several = bool(gpus) and workers > 1  # one alone sees all, as this process would
        self._all = [
            _Worker(job, gpus[i % len(gpus)] if several else None, notices / str(i))
            for i in range(workers)
        ]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers)

    def submit(self, run: Run) -> Future[Outcome]:
        return self._threads.submit(self._make, run)

    def _make(self, run: Run) -> Outcome:
        worker = self._idle.get()
        try:
            return worker.make(run)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        for worker in self._all:
            worker.kill()
        self._threads.shutdown()


class _Worker:
    """A process that makes one run after the other, begun when there is one to make."""

    def __init__(self, job: Job, gpu: str | None, notices: Path) -> None:
        self._job, self._gpu = job, gpu
        self._notices = notices  # what it writes to standard error
        self._process: subprocess.Popen[str] | None = None
        self._first = 0  # bytes of memory after its first run
        self._closed = False

    def make(self, run: Run) -> Outcome:
        """Give the run to the process; raises `RuntimeError` if it dies of it."""
        if self._process is None or self._process.poll() is not None:
            self._process, self._first = self._start(), 0
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([run.method, run.seed]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(self._how_it_died())
        now = _resident_memory(self._process.pid)
        self._first = self._first or now
        if now > self._first + GROWTH:
            self._process.kill()
            self._process.wait()
        return Outcome(**json.loads(answer))

    def kill(self) -> None:
        self._closed = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[str]:
        gpu = {} if self._gpu is None else {"CUDA_VISIBLE_DEVICES": self._gpu}
        # It finds what this process finds, and not what lies in the current folder.
        begin = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            "from lsplus_tf.experiments.worker import main; main()"
        )
        with self._notices.open("wb") as notices:
            process = subprocess.Popen(
                [sys.executable, "-c", begin],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=notices,
                text=True,
                encoding="utf-8",
                env={**os.environ, **gpu},
                start_new_session=True,  # Ctrl-C is for the process that began it, which ends it
            )
        if self._closed:
            process.kill()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # which the first run tells
            process.stdin.write(json.dumps(self._job) + "\n")
        return process

    def _how_it_died(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "its process was killed (SIGKILL); the memory may have been too small"
        if code < 0:
            return f"its process died of {signal.Signals(-code).name}"
        lines = self._notices.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing was said")
        return f"its process ended with exit code {code}: {last}"


def _resident_memory(process: int) -> int:
    """Bytes of memory that a process takes; 0 where the system does not tell."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux, or it has just died
        return 0


def visible_gpus() -> list[str]:
    """The GPUs that TensorFlow would see, as `CUDA_VISIBLE_DEVICES` names them, without it."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return ask_gpu_driver("index")


def ask_gpu_driver(query: str) -> list[str]:
    """What NVIDIA's driver answers for each GPU, without units; nothing where there is none."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return answer.stdout.split()
