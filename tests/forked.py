"""Python processes that begin with TensorFlow and this package imported: forks of one that has.

A new process imports for five seconds of processor time, and the tests need some forty. What looks
at the imports themselves, or at the installed command, starts a process of its own.
"""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import matplotlib

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "tensorflow",
        "keras",
        "lsplus_tf.backbones",
        "lsplus_tf.callbacks",
        "lsplus_tf.experiments",
        "lsplus_tf.metrics.keras",
        "lsplus_tf.results",
        "lsplus_tf.training.train",
    ]
)


class Forked:
    """A process as `subprocess.Popen` has it, of text; `arguments` are those of `python`.

    It has a group of its own, which Jupyter kills with a kernel.
    """

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str] = os.environ,
        cwd: Path | None = None,
        stderr: int | None = None,
    ) -> None:
        (read, write), (out, to_out), (error, to_error) = os.pipe(), os.pipe(), os.pipe()
        # Which multiprocessing hands over to a process that is no child of this one.
        theirs = [
            Connection(read, writable=False),
            Connection(to_out, readable=False),
            Connection(to_error, readable=False),
        ]
        self.stdin: IO[str] = os.fdopen(write, "w")
        self.stdout: IO[str] = os.fdopen(out)
        self.stderr: IO[str] = os.fdopen(error)
        together = stderr == subprocess.STDOUT
        self._process = SERVER.Process(
            target=_begin, args=(arguments, dict(env), str(cwd or Path.cwd()), theirs, together)
        )
        self._process.start()
        for connection in theirs:
            connection.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        while os.getpgid(self.pid) != self.pid:
            time.sleep(0.001)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it writes, until it ends."""
        said = ["", ""]

        def read(place: int, stream: IO[str]) -> None:
            said[place] = stream.read()

        streams = (self.stdout, self.stderr)
        threads = [threading.Thread(target=read, args=each) for each in enumerate(streams)]
        self.stdin.close()
        for thread in threads:
            thread.start()
        self.wait(timeout)
        for thread in threads:
            thread.join()
        return said[0], said[1]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`Forked` to its end."""
    process = Forked(*arguments, **options)
    stdout, stderr = process.communicate(timeout=900)
    assert process.returncode is not None
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def _begin(
    arguments: tuple[str, ...],
    env: dict[str, str],
    cwd: str,
    streams: list[Connection],
    together: bool,
) -> None:
    """In the new process: become `python ARGUMENTS`."""
    os.setpgid(0, 0)
    gc.freeze()  # as in conftest.py
    gc.set_threshold(20_000, 20, 20)
    for place, connection in enumerate(streams):
        os.dup2(connection.fileno(), place)
        connection.close()
    if together:
        os.dup2(1, 2)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.environ.clear()
    os.environ.update(env)
    if "MPLBACKEND" in env:  # which matplotlib, that TensorFlow imports, reads when it is imported
        matplotlib.rcParams["backend"] = env["MPLBACKEND"]
    os.chdir(cwd)
    kind, *rest = arguments
    try:
        if kind == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif kind == "-c":
            sys.argv = ["-c", *rest[1:]]
            sys.path.insert(0, "")
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(rest[0], "<string>", "exec"), main.__dict__)
        else:
            sys.argv = list(arguments)
            sys.path.insert(0, str(Path(kind).parent))
            runpy.run_path(kind, run_name="__main__")
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
