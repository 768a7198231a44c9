"""`lsplus-tf train`, in a process that dies where it is told to; run by test_hosts.py.

on_two_hosts.py DIES_AFTER_STATES DTYPE,CONFIG,OUT... trains one config after the other, with the
network of rounding.py.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from lsplus_tf import cli
from lsplus_tf.cli.progress import TerminalProgress
from lsplus_tf.experiments import Run

dies_after, *commands = sys.argv[1:]
run_started = TerminalProgress.run_started
left = int(dies_after)
dtype = ""


def begins(self: TerminalProgress, run: Run) -> None:
    """Not before, since the command line imports TensorFlow when it has read the config."""
    import rounding

    from lsplus_tf.training import resume, train

    train.build_classifier = rounding.network(dtype)  # type: ignore[attr-defined]
    run_started(self, run)
    if resume.ASK_EVERY_STEPS == 2:
        return
    resume.ASK_EVERY_STEPS = 2
    save = resume.SavedTraining._save

    def dying(saved: Any) -> None:
        """Of the chief and of the others, after so many states."""
        global left
        save(saved)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    resume.SavedTraining._save = dying


TerminalProgress.run_started = begins
for command in commands:
    dtype, config, out = command.split(",")
    sys.argv = ["lsplus-tf", "train", config, "--out", out]
    try:
        cli.main()
    except SystemExit as ended:
        if ended.code:
            raise
