"""`lsplus-tf`, in a process that dies where it is told to; run by test_hosts.py."""

from __future__ import annotations

import os
import signal
import sys

from lsplus_tf import cli
from lsplus_tf.experiments import Run
from lsplus_tf.progress import TerminalProgress

dies, *sys.argv[1:] = sys.argv[1:]
epoch_ended = TerminalProgress.epoch_ended


def dying(self: TerminalProgress, run: Run, epoch: int, logs: dict[str, float]) -> None:
    epoch_ended(self, run, epoch, logs)
    if f"{run.method} {epoch}" == dies:
        os.kill(os.getpid(), signal.SIGKILL)


TerminalProgress.epoch_ended = dying  # type: ignore[method-assign]
cli.main()
