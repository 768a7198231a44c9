"""What comes in with an import: TensorFlow, which takes seconds, only where it is needed."""

from __future__ import annotations

import subprocess
import sys

from helpers import DIGITS

# Each step is done in the process of those before it, and may bring in none of the modules.
SLOW = {"tensorflow", "keras"}
STEPS = (
    (f"from lsplus_tf.config import load_config; load_config({str(DIGITS)!r})", SLOW),
    ("from lsplus_tf import datasets; datasets.available_datasets('.')", {*SLOW, "sklearn"}),
    ("import lsplus_tf.geodesic", SLOW),
    ("import lsplus_tf.metrics", {*SLOW, "matplotlib", "seaborn"}),
    ("import lsplus_tf.calibrators", SLOW),
    ("import lsplus_tf.pretrained", SLOW),
    ("import lsplus_tf.plots", SLOW),
)


def test_what_needs_no_tensorflow_does_not_import_it():
    lines = ["import sys"]
    for step, absent in STEPS:
        lines += [step, f"assert not {absent!r} & set(sys.modules), {step!r}"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
