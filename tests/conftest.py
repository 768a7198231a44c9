"""What the tests share."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import pickle
import shutil
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from filelock import FileLock
from helpers import DIGITS, SHARED, Linear, leave_out_pictures
from hypothesis import settings

# The same examples in every run, so that nobody's fails of a draw that no one has seen; others are
# drawn with --hypothesis-profile=default.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# On a GPU the tests' own networks are compared with NumPy, in float32.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
# Each process of the tests, and those that it starts, has one core to itself.
for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Importing TensorFlow and tracing its graphs make so many objects that up to a fifth of the time
# would go into looking for garbage among them.
gc.set_threshold(20_000, 20, 20)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
# Without the flags about the background, a closed network is asked for Google's hosts.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Programs that tests start.
collect_ignore = ["on_two_devices.py", "on_two_hosts.py", "ray_grid.py"]


# The files that take longest, which begin first so that no process waits for another at the end.
# Workers that are given whole files keep this order with --no-loadscope-reorder.
LONGEST = [
    "test_resume.py",
    "test_methods.py",
    "test_notebooks.py",
    "test_devices.py",
    "test_ray.py",
    "test_ways_of_keras.py",
    "test_losses_all.py",
    "test_experiments.py",
    "test_states_left.py",
    "test_callback_state.py",
    "test_backbones_weights.py",
    "test_metrics_keras.py",
    "test_hosts.py",
    "test_docs.py",
    "test_processes.py",
    "test_files.py",
    "test_datasets_cache.py",
    "test_callbacks_validation.py",
    "test_grid.py",
    "test_export.py",
    "test_masks.py",
    "test_fine_tuning.py",
    "test_distillation.py",
    "test_backbones.py",
    "test_losses_batch.py",
    "test_losses_fedlas.py",
    "test_calibrators_keras.py",
    "test_cli_audit.py",
    "test_label_noise.py",
    "test_grid_official.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not look through TensorFlow again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden values and data beside the project; not in a user's clone."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}, which a clone does not have")
    return SHARED


@dataclass
class Reproduced:
    """What `lsplus-tf reproduce` left, said, and started its networks from."""

    folder: Path
    arguments: list[str]
    stdout: str = ""
    stderr: str = ""
    initial_weights: dict[tuple[str, int], list[np.ndarray]] = field(default_factory=dict)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Reproduced:
    """configs/digits.yaml with a tiny network, 2 epochs and 2 seeds: trained once for all tests.

    The first of the tests' processes to ask makes it for all. Tests leave its folder as it is.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of all workers
    made = root / "reproduced.pickle"
    with FileLock(root / "reproduced.lock"):
        if not made.exists():
            made.write_bytes(pickle.dumps(reproduce(root / "reproduced" / "digits")))
    return pickle.loads(made.read_bytes())


def reproduce(folder: Path) -> Reproduced:
    from lsplus_tf import cli
    from lsplus_tf.training import train

    settings = ["protocol.epochs=2", "protocol.schedule=null", "backbone.width=0.1", "seeds=[0,1]"]
    arguments = [str(DIGITS), "--out", str(folder)]
    for setting in settings:
        arguments += ["--set", setting]
    result = Reproduced(folder, arguments)
    fit = train.Training._fit

    def recording_fit(training, model, *rest):
        weights = [w.copy() for w in model.get_weights()]
        result.initial_weights[training.method.loss, training.seed] = weights
        return fit(training, model, *rest)

    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("default")
        patch.setattr(train.Training, "_fit", recording_fit)
        patch.setattr("sys.argv", ["lsplus-tf", "reproduce", *arguments])
        patch.setenv("COLUMNS", "120")
        with (
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            pytest.raises(SystemExit) as ended,
        ):
            cli.main()
    assert ended.value.code == 0, stderr.getvalue()
    result.stdout, result.stderr = stdout.getvalue(), stderr.getvalue()
    return result


class Called(NamedTuple):
    """How a call of the command line ended."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process: exit code, standard output, standard error."""
    from lsplus_tf import cli

    def run(*arguments: object, columns: int = 100) -> Called:
        monkeypatch.setattr("sys.argv", ["lsplus-tf", *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back afterwards
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Called(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def linear_network(monkeypatch) -> None:
    """Trainings and forecasts take a linear classifier for the network.

    Grids, which train each experiment in a new process, train it in this one.
    """
    from lsplus_tf import backbones, experiments
    from lsplus_tf.training import train

    for module in (backbones, train):
        monkeypatch.setattr(module, "build_classifier", Linear().build)
    monkeypatch.setattr(experiments, "LocalProcesses", lambda _: None)


@pytest.fixture
def without_pictures(monkeypatch) -> None:
    """Reports as `leave_out_pictures` has them."""
    leave_out_pictures(monkeypatch)


@pytest.fixture
def without_the_papers_figures(monkeypatch) -> None:
    """Reports on a paper's data lack its figures, of every seed, where they are not looked at."""
    monkeypatch.setattr("lsplus_tf.paper.run_figures.write_figures", lambda *_: None)


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Figures are made and not drawn: each picture is one white pixel."""
    from matplotlib import pyplot as plt
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (1, 1), "white").save(file, "png")

    def drawn(figure: Any, raster: bool) -> tuple[bytes, list[Any]]:
        plt.close(figure)
        return file.getvalue(), []

    monkeypatch.setattr("lsplus_tf.page.pictures._drawn", drawn)


@pytest.fixture
def nondeterministic() -> None:
    """Without what earlier tests of the process may have left: deterministic Keras refuses XLA."""
    from tensorflow.python.framework import config

    config.disable_op_determinism()


@pytest.fixture
def float32_afterwards():
    """Another policy of a test does not reach the next."""
    import keras

    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True)
def closed_figures():
    """No figure of a test is left open for the next."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def open_page():
    """Open a file in headless Chromium: a tab, and what it asked the network or complained of.

    No wait is longer than 30 seconds.
    """
    if CHROMIUM is None:
        pytest.skip("needs Chromium, which is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=30_000)

        def run(path: Path, **settings: Any) -> tuple[Any, list[str]]:
            context = chromium.new_context(**settings)
            context.set_default_timeout(20_000)
            tab, heard = context.new_page(), []
            own = ("data:", path.as_uri())
            tab.on("console", lambda message: heard.append(f"console: {message.text}"))
            tab.on("pageerror", lambda error: heard.append(f"error: {error}"))
            tab.on("dialog", lambda dialog: (heard.append("dialog"), dialog.dismiss()))
            tab.on(
                "request",
                lambda request: (
                    request.url.startswith(own) or heard.append(f"request: {request.url}")
                ),
            )
            tab.goto(path.as_uri())
            return tab, heard

        yield run
        chromium.close()
