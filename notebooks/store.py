"""Run notebooks from top to bottom and store them with what they print and draw.

python notebooks/store.py                          # all of them
python notebooks/store.py notebooks/01_quickstart.ipynb
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent


def executed(
    path: Path, *, folder: Path = FOLDER, environment: Mapping[str, str] = os.environ
) -> nbformat.NotebookNode:
    """The notebook with the outputs of a new kernel that starts in `folder`.

    Raises
    ------
    nbclient.exceptions.CellExecutionError : a cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        # TensorFlow's C++ code writes notices about the machine past its own log level: they are
        # none of the notebook's outputs. Python's warnings are, and stay.
        extra_arguments=["--IPKernelApp.capture_fd_output=False"],
    )
    client.execute(env=dict(environment))
    # Without the version of the Python that happened to run it.
    notebook.metadata.language_info = {"name": "python"}
    return notebook


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(executed(Path(name)), name)
        print(f"{name}: {Path(name).stat().st_size / 1000:.0f} kB")
