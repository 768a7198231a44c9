"""Processor time until the package, help, and a refused config answer, and of Python doing nothing.

Each is a process of its own; they take turns. Medians and least of the repeats, in seconds; typer
with rich, which is what help is made of, is beside them.

    python benchmarks/bench_start.py [--repeats 9]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

REFUSED = "wrong: 1\n"
COMMAND = ("-m", "lsplus_tf.cli")


def seconds(arguments: tuple[str, ...]) -> float:
    """Processor time of a Python process, with the system's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "refused.yaml")
        config.write_text(REFUSED)
        started = {
            "Python": ("-c", "pass"),
            "typer and rich": ("-c", "import typer.rich_utils, typer.main"),
            "import lsplus_tf": ("-c", "import lsplus_tf"),
            "--help": (*COMMAND, "--help"),
            "a refused config": (*COMMAND, "reproduce", str(config)),
        }
        found: dict[str, list[float]] = {name: [] for name in started}
        for _ in range(options.repeats):
            for name, arguments in started.items():
                found[name].append(seconds(arguments))
    for name, values in found.items():
        print(f"{name:18}{np.median(values):6.2f}{min(values):6.2f}")


if __name__ == "__main__":
    main()
