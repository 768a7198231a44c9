"""A `str` is as good as a `Path` in every public function."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import DIGITS, experiment_with, made_up_runs
from PIL import Image

import lsplus_tf as lsp
from lsplus_tf import config, page
from lsplus_tf.calibrators import PredictionSets, TemperatureScaling
from lsplus_tf.experiments import Run
from lsplus_tf.files import FolderKind, check_output

ROOMS = [
    name
    for name in (*lsp.__all__, "config", "page", "paper", "csv_files")
    if inspect.ismodule(getattr(lsp, name, None)) or name not in lsp.__all__
]
# What this package calls itself, with a Path.
CALLED_BY_US = {"experiments.LocalProcesses.begin", "experiments.Observer.run_set_aside"}


def functions_of(room: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Public functions and methods; what a dataclass is made of is no place that a user names."""
    module = importlib.import_module(f"lsplus_tf.{room}" if room else "lsplus_tf")
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if inspect.isfunction(thing):
            yield f"{room}.{name}", thing
        elif inspect.isclass(thing):
            own = [kind for kind in thing.__mro__ if kind.__module__.startswith("lsplus_tf.")]
            for each, member in [pair for kind in own for pair in vars(kind).items()]:
                function = getattr(member, "__func__", member)
                made = each == "__init__" and not dataclasses.is_dataclass(thing)
                if inspect.isfunction(function) and (made or not each.startswith("_")):
                    yield f"{room}.{name}.{each}", function


def takes_paths_alone(function: Callable[..., Any]) -> list[str]:
    """The arguments whose annotations have `Path` and not `str`; callables are given a Path."""
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if re.search(r"\bPath\b", str(parameter.annotation))
        and not re.search(r"\bstr\b|\bCallable\b", str(parameter.annotation))
    ]


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_no_public_function_takes_paths_alone(room):
    found = {name: takes_paths_alone(function) for name, function in functions_of(room)}
    assert room != "experiments" or {*found} > CALLED_BY_US  # they are there
    wrong = {name: arguments for name, arguments in found.items() if arguments}
    assert {*wrong} <= CALLED_BY_US


def test_the_walk_finds_them():
    def alone(first: Path, second: Path | None, third: str | Path) -> None: ...

    assert takes_paths_alone(alone) == ["first", "second"]
    assert "deployment.predict_files" in dict(functions_of("deployment"))
    assert "calibrators.TemperatureScaling.load" in dict(functions_of("calibrators"))


# --- and works with it ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A home folder with something of each kind."""
    place = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    logits = rng.normal(size=(60, 2)).astype(np.float32) + 2 * np.eye(2)[labels]
    predictions = lsp.Predictions(labels, logits=logits)
    TemperatureScaling().fit(predictions).save(place / "c.json")
    PredictionSets().fit(predictions).save(place / "s.json")
    frame = pd.DataFrame(predictions.probabilities, columns=["probability_0", "probability_1"])
    frame.assign(label=labels).to_csv(place / "p.csv", index=False)
    (place / "digits.yaml").write_text(DIGITS.read_text())
    made_up_runs(experiment_with("seeds=[0]"), place / "runs", 3)
    for name in "ab":
        (place / "images" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (8, 8), 20 * i).save(place / "images" / name / f"{i}.png")
    return place


TEXTS = FolderKind("texts", lambda _: True, re.compile("a"))
# Each with a place relative to the home folder.
CALLS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "read_predictions": ("p.csv", lsp.read_predictions),
    "calibrators.load": ("c.json", TemperatureScaling.load),
    "sets.load": ("s.json", PredictionSets.load),
    "load_config": ("digits.yaml", config.load_config),
    "gather": ("runs", lsp.results.gather),
    "run_folder": ("runs", lambda path: Run("ls_plus", 0).folder(path)),
    "find_images": ("images", lambda path: lsp.deployment.find_images([path])),
    "load_dataset": ("images", lambda path: lsp.datasets.load_dataset(f"folder:{path}")),
    "check_output": ("new", lambda path: check_output(path, TEXTS)),
    "write_page": ("page.html", lambda path: page.write_page(page.Page("Mine", []), path)),
}


@pytest.mark.parametrize(("name", "call"), CALLS.values(), ids=CALLS)
def test_a_str_is_taken(place, monkeypatch, name, call):
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    for given in (name, str(place / name), Path(name), f"~/{name}"):
        call(given)
