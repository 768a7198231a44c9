"""Make runs that depend on each other, several at once, whatever happens to some of them."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from lsplus_tf.config import Experiment
from lsplus_tf.errors import FailedRunsError, InputError, RefusedRunsError, one_line
from lsplus_tf.experiments.engines import Pool
from lsplus_tf.experiments.folder import check_run
from lsplus_tf.experiments.make import LONGEST, Outcome
from lsplus_tf.experiments.observer import Observer
from lsplus_tf.experiments.plan import Run, needed_runs
from lsplus_tf.training import run_folder

POLL = 1.0  # seconds between looks at what other processes have done


class Schedule:
    """Makes the runs of an experiment that are missing.

    A run is begun when those it needs are finished. One that another process is making is left to
    it, and waited for when nothing else is left; if that process dies, the run is made here.

    Parameters
    ----------
    experiment : Experiment
    out : Path
        The experiment's folder.
    missing : sequence of Run
        The runs to make, in an order of which nothing but preference depends.
    pool : Pool
        What makes them.
    observer : Observer
        Is told of runs and epochs.
    retries : int
        How often a run that failed is begun again, from where it was saved. Those that raised an
        `InputError` are not.
    """

    def __init__(
        self,
        experiment: Experiment,
        out: Path,
        missing: Sequence[Run],
        pool: Pool,
        observer: Observer,
        retries: int,
    ) -> None:
        self._experiment, self._out = experiment, out
        self._pool, self._observer, self._retries = pool, observer, retries
        self._waiting, self._count = list(missing), len(missing)
        self._under_way: dict[Future[Outcome], Run] = {}
        self._failures: Counter[Run] = Counter()
        self._failed: dict[Run, Outcome] = {}
        self._not_made: list[Run] = []
        self._told: set[Run | str] = set()  # runs that are waited for, warnings
        self._followers: dict[Run, _Follower] = {}

    def make_all(self) -> None:
        """Make the runs.

        Raises
        ------
        FailedRunsError
            When all is done that could be, if some failed; a `RefusedRunsError` if none was made
            and each failed of an `InputError`.
        """
        while self._waiting or self._under_way:
            self._begin_runs()
            if self._under_way:
                done, _ = wait(self._under_way, timeout=POLL, return_when=FIRST_COMPLETED)
                for future in done:
                    self._ended(self._under_way.pop(future), future)
            elif self._waiting:  # for other processes
                time.sleep(POLL)
            for run in self._under_way.values():
                self._follow(run)
        if self._failed:
            none_made = len(self._failed) + len(self._not_made) == self._count
            refused = none_made and all(outcome.refused for outcome in self._failed.values())
            raise (RefusedRunsError if refused else FailedRunsError)(self._what_failed())

    def _begin_runs(self) -> None:
        unfinished = {*self._waiting, *self._under_way.values()}
        for run in list(self._waiting):
            if len(self._under_way) >= self._pool.at_once:
                return
            if not unfinished.isdisjoint(needed_runs(self._experiment, run)):
                continue
            folder = run.folder(self._out)
            # In this order: a process that ends in between has made the folder by then.
            if run_folder.is_being_made(folder):
                self._wait_for(run)
            elif folder.exists():  # made by another process
                self._waiting.remove(run)
                self._take(run)
            else:
                self._waiting.remove(run)
                if not self._pool.tells_epochs:
                    self._followers[run] = _Follower(run, self._out, self._observer)
                self._under_way[self._pool.submit(run)] = run

    def _take(self, run: Run) -> None:
        """Take a run that another process has made."""
        try:
            check_run(self._experiment, self._out, run)
        except InputError as error:
            self._fail(run, Outcome(error=one_line(error, LONGEST), refused=True))
        else:
            self._tell_finished(run)

    def _tell_finished(self, run: Run) -> None:
        found = run_folder.read_json(run.folder(self._out), run_folder.METRICS)
        self._observer.run_finished(run, found["validation"]["accuracy"])

    def _wait_for(self, run: Run) -> None:
        if run not in self._told:
            self._told.add(run)
            self._observer.run_waited_for(run)

    def _ended(self, run: Run, future: Future[Outcome]) -> None:
        try:
            outcome = future.result()
        except Exception as error:  # what made it died
            outcome = Outcome(error=one_line(error, LONGEST))
        for text in outcome.warnings:
            if text not in self._told:
                self._told.add(text)
                warnings.warn(text, stacklevel=2)
        if outcome.taken:
            self._waiting.append(run)
            self._wait_for(run)
        elif outcome.error is None:
            self._follow(run)
            self._tell_finished(run)
        else:
            self._fail(run, outcome)

    def _fail(self, run: Run, outcome: Outcome) -> None:
        again = not outcome.refused and self._failures[run] < self._retries
        self._failures[run] += 1
        self._observer.run_failed(run, str(outcome.error), outcome.trace, again)
        if again:
            self._waiting.insert(0, run)
        else:
            self._failed[run] = outcome
            self._give_up_those_that_need(run)

    def _follow(self, run: Run) -> None:
        if run in self._followers:
            self._followers[run].tell()

    def _give_up_those_that_need(self, failed: Run) -> None:
        for run in list(self._waiting):
            if failed in needed_runs(self._experiment, run):
                self._waiting.remove(run)
                self._not_made.append(run)

    def _what_failed(self) -> str:
        by_reason: dict[str | None, list[str]] = {}
        for run, outcome in self._failed.items():
            by_reason.setdefault(outcome.error, []).append(str(run))
        said = "; ".join(f"{', '.join(runs)} ({reason})" for reason, runs in by_reason.items())
        without = ", ".join(map(str, self._not_made))
        return f"{len(self._failed)} of {self._count} runs failed: {said}" + (
            f"; not made, as they need these: {without}" if without else ""
        )


class _Follower:
    """Tells the observer of a run that another process makes, by what is saved of it."""

    def __init__(self, run: Run, out: Path, observer: Observer) -> None:
        self._run, self._folder, self._observer = run, run.folder(out), observer
        self._saved = run_folder.saved_history(self._folder)
        self._begun = False
        self._epochs = len(self._saved)  # that the observer knows of

    def tell(self) -> None:
        """Tell what is new."""
        finished = self._folder.exists()
        if not self._begun and (finished or run_folder.unfinished(self._folder).exists()):
            self._begun = True
            self._observer.run_started(self._run)
            if self._saved:
                self._observer.run_resumed(self._run, len(self._saved), self._saved[-1])
        if finished:
            frame = run_folder.read_history(self._folder).drop(columns="epoch")
            rows = frame.to_numpy(float).tolist()
            history = [dict(zip(frame.columns, row, strict=True)) for row in rows]
        else:
            history = run_folder.saved_history(self._folder)
        for epoch in range(self._epochs, len(history)):
            self._observer.epoch_ended(self._run, epoch, history[epoch])
        self._epochs = max(self._epochs, len(history))
