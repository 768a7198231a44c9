"""What comes in with an import: what takes long only where it is needed.

TensorFlow takes seconds; NumPy and pydantic take some tenths, of the 0.3, 0.4 and 1.0 s of
processor time that the package itself, help and a refused config may take.
"""

from __future__ import annotations

import subprocess
import sys

from helpers import DIGITS

# Each step is done in the process of those before it, and may bring in none of the modules.
SLOW = {"tensorflow", "keras"}
ARRAYS = {*SLOW, "numpy", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "PIL"}
FEW_FILES = {"openpyxl"}  # of formats that few files have
READING = {*ARRAYS, "pydantic", "yaml", "filelock"}
STEPS = (
    ("import lsplus_tf", {*READING, "typer", "rich"}),
    ("from lsplus_tf import cli", READING),
    ("command('--help')", READING),
    ("command('reproduce', '--help')", ARRAYS),  # typer's own are pydantic's
    ("command('reproduce', CONFIG, '--set', 'protocol.epoch=3', code=2)", ARRAYS),
    ("command('train', UNKNOWN_KEY, code=2)", ARRAYS),
    ("command('reproduce', WRONG_VALUE, code=2)", ARRAYS),
    ("command('reproduce', NO_YAML, code=2)", ARRAYS),
    ("from lsplus_tf.config import load_config; load_config(CONFIG)", ARRAYS),
    ("from lsplus_tf import datasets; datasets.available_datasets('.')", {*SLOW, "sklearn"}),
    ("import lsplus_tf.geodesic", SLOW),
    (
        "import lsplus_tf.metrics",
        {*SLOW, *FEW_FILES, "matplotlib", "seaborn", "sklearn", "scipy.stats"},
    ),
    ("import lsplus_tf.calibrators", {*SLOW, *FEW_FILES}),
    ("import lsplus_tf.pretrained", {*SLOW, *FEW_FILES}),
    ("import lsplus_tf.plots", {*SLOW, *FEW_FILES}),
    ("import lsplus_tf.auditing", {*SLOW, *FEW_FILES}),
)
COMMAND = """
def command(*arguments, code=0):
    sys.argv = ["lsplus-tf", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        assert end.code == code, (arguments, end.code)
"""


def test_what_takes_long_is_imported_where_it_is_needed(tmp_path):
    whole = DIGITS.read_text()
    configs = {
        "CONFIG": whole,
        "UNKNOWN_KEY": f"{whole}\nwrong: 1\n",
        "WRONG_VALUE": whole.replace("epochs:", "epochs: -", 1),
        "NO_YAML": "a: [",
    }
    lines = ["import sys", COMMAND]
    for name, text in configs.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        lines.append(f"{name} = {str(path)!r}")
    for step, absent in STEPS:
        found = f"{absent!r} & set(sys.modules)"
        lines += [step, f"assert not {found}, ({step!r}, {found})"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
