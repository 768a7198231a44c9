"""`lsplus-tf`, in a process that dies where it is told to; run by test_hosts.py."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from lsplus_tf import cli
from lsplus_tf.cli.progress import TerminalProgress
from lsplus_tf.experiments import Run

dies_after, *sys.argv[1:] = sys.argv[1:]
run_started = TerminalProgress.run_started
left = int(dies_after)


def begins(self: TerminalProgress, run: Run) -> None:
    """Not before, since the command line imports TensorFlow when it has read the config."""
    from lsplus_tf.training import resume

    TerminalProgress.run_started = run_started  # type: ignore[method-assign]
    resume.ASK_EVERY_STEPS = 2
    save = resume.SavedTraining._save

    def dying(saved: Any) -> None:
        """Of the chief and of the others, after so many states."""
        global left
        save(saved)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    resume.SavedTraining._save = dying  # type: ignore[method-assign]
    run_started(self, run)


TerminalProgress.run_started = begins  # type: ignore[method-assign]
cli.main()
