"""Whatever is damaged of an unfinished experiment: the same command ends it, to the same bits."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from helpers import NOT_AUGMENTED
from test_resume import (
    PowerCut,
    Silent,
    assert_same_run,
    dataset,
    experiment,
    with_dropout,
)

from lsplus_tf.bounded import yaml_text
from lsplus_tf.config import Experiment, load_config, to_yaml
from lsplus_tf.errors import FailedRunsError, InputError
from lsplus_tf.experiments import Run, engines, run_experiment
from lsplus_tf.experiments import folder as experiment_folder
from lsplus_tf.experiments.folder import EXPERIMENT
from lsplus_tf.training import resume, run_folder, train
from lsplus_tf.training.resume import Checkpoints

__all__ = ["dataset"]  # the fixture

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_f")

METHOD = "refreshed"  # with state in its loss and its callback
GIVEN = {
    "loss": "ls_plus",
    "refresh_every": 1,
    "class_accuracy": np.linspace(0.5, 0.95, 10).tolist(),
}


class Watching(Silent):
    """An observer who minds mistakes of the package."""

    def run_failed(self, run: Run, error: str, trace: str, again: bool) -> None:
        assert "\n" not in error
        assert trace == ""


@functools.cache
def settings(*overrides: str) -> Experiment:
    """Of one step in an epoch."""
    common = ("protocol.epochs=3", "protocol.batch_size=120", NOT_AUGMENTED)
    values = experiment(*common, *overrides).model_dump(mode="json")
    return Experiment.model_validate({**values, "methods": {METHOD: GIVEN}})


@functools.cache
def settings_text() -> str:
    return to_yaml(settings())


@pytest.fixture(scope="module")
def train_in(dataset) -> Iterator[Callable[..., None]]:
    """The command, in this process; with the power cut when so many states were saved."""
    save = Checkpoints.save

    def command(out: Path, cut_after: int | None = None, then: Callable[[], None] | None = None):
        saves = 0

        def counting_save(*arguments: Any) -> None:
            nonlocal saves
            save(*arguments)
            saves += 1
            if saves == cut_after:
                if then is None:
                    raise PowerCut
                then()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpoints, "save", counting_save)
            run_experiment(settings(), out, observer=Watching())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "load_data", lambda *_, **__: dataset)
        patch.setattr(train, "build_classifier", with_dropout)
        tf.config.run_functions_eagerly(True)  # few steps, of which each is of another training
        yield command
        tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def undisturbed(train_in, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    train_in(out)
    return out


@pytest.fixture(scope="module")
def broken_off(train_in, tmp_path_factory) -> Path:
    """After two of three epochs."""
    out = tmp_path_factory.mktemp("broken_off")
    with pytest.raises(PowerCut):
        train_in(out, cut_after=2)
    return out


# --- damaged files --------------------------------------------------------------------------------


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    content = path.read_bytes() if path.is_file() else b"ab"
    path.write_bytes(content[: len(content) // 2])


def garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(300))


def other_json(path: Path) -> None:
    path.write_bytes(b'[{"progress": 1}]')


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "mine").write_text("the user's")


def gone(path: Path) -> None:
    path.unlink(missing_ok=True)


def link_to_nothing(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("nowhere")


def test_settings_that_were_cut_say_nothing_wherever_they_were_cut(tmp_path):
    """Most of what is left of a YAML file at the end of a line is YAML, too."""
    text = yaml_text(load_config("digits").run_settings("ls_plus", 1))
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert experiment_folder._settings(tmp_path)["seed"] == 1
    for end in (i + 1 for i, character in enumerate(text[:-1]) if character in ":\n"):
        path.write_text(text[:end])
        assert experiment_folder._settings(tmp_path) is None, text[:end]


DAMAGES = (empty, cut, garbage, other_json, folder, gone, link_to_nothing)
# Beside those that are there: what processes leave that are killed, or hold while they work.
LEFT = (
    ".at_work.0123",
    f".{EXPERIMENT}.lock",
    f".{EXPERIMENT}.partial",
    f"{METHOD}/.seed_0.partial",
    f"{METHOD}/.seed_0.training/.config.yaml.partial",
    f"{METHOD}/.seed_0.training/.after_000003_epochs_000000000_steps.npz.partial",
)
FIRST, LAST = (f"after_{epochs:06d}_epochs_{0:09d}_steps.npz" for epochs in (1, 2))


def names_in(out: Path) -> list[str]:
    there = [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()]
    assert {EXPERIMENT, f"{METHOD}/.seed_0.training/lock"} < {*there}
    return [*there, *LEFT]


@pytest.fixture
def copied(broken_off, tmp_path) -> Path:
    return shutil.copytree(broken_off, tmp_path / "out")


@pytest.fixture
def not_trained(undisturbed, monkeypatch) -> None:
    """A training ends at once, with the run of another folder."""

    def run(training: train.Training, unfinished: Path, *_: Any) -> None:
        Checkpoints(unfinished, training.identity, keeps_best=True).load()
        finished = Run(METHOD, 0).folder(undisturbed)
        with train.written_whole(training.folder) as new:  # type: ignore[attr-defined]
            shutil.copytree(finished, new)

    monkeypatch.setattr(train.Training, "_run", run)


@pytest.mark.filterwarnings("ignore")  # which the next test looks at
@pytest.mark.parametrize("damage", DAMAGES)
def test_each_file_damaged_alone(train_in, not_trained, broken_off, tmp_path, damage):
    for number, name in enumerate(names_in(broken_off)):
        out = shutil.copytree(broken_off, tmp_path / str(number))
        damage(out / name)
        train_in(out)
        if damage is folder and name.endswith(".partial"):  # the names of what is thrown away
            assert (Run(METHOD, 0).folder(out) / run_folder.METRICS).is_file()
        else:
            assert_left(out, has_folder=damage is folder)


def assert_left(out: Path, *, has_folder: bool = False) -> None:
    """Nothing but the run, and what was set aside and says so; nothing of the user's is lost."""
    assert {path.name.partition("_")[0] for path in (out / METHOD).iterdir()} <= {"seed", "damaged"}
    assert (out / METHOD / "seed_0" / run_folder.METRICS).is_file()
    assert (out / EXPERIMENT).read_text() == settings_text()
    mine = list(out.rglob("mine"))
    assert len(mine) == has_folder
    aside = ("damaged_", ".at_work.")  # the latter is in nobody's way
    assert not has_folder or any(part.startswith(aside) for part in mine[0].parts)


@pytest.mark.filterwarnings("ignore:the class accuracies")
@pytest.mark.parametrize("damage", [cut, garbage, folder, gone])
def test_every_file_damaged_but_one_state(train_in, copied, undisturbed, damage):
    for name in names_in(copied):
        if not name.endswith(FIRST) and not (damage is folder and name == LEFT[0]):
            damage(copied / name)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train_in(copied)
    said = "\n".join(str(each.message) for each in told)
    assert (LAST in said) == (damage is not gone)
    assert (f"{EXPERIMENT}: " in said) == (damage is not gone)
    log = (copied / METHOD / "seed_0" / run_folder.LOG).read_text(errors="replace")
    assert "goes on after 1 epochs" in log
    assert_same_run(*(Run(METHOD, 0).folder(out) for out in (copied, undisturbed)))


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d not in (folder, gone)])
def test_the_folder_of_the_training_is_none(train_in, not_trained, copied, damage):
    shutil.rmtree(copied / METHOD / ".seed_0.training")
    damage(copied / METHOD / ".seed_0.training")
    with pytest.warns(UserWarning, match=r"seed_0\.training: expected a folder .* which is now"):
        train_in(copied)
    assert_left(copied)
    assert os.path.lexists(copied / METHOD / "damaged_seed_0.training")


@pytest.mark.parametrize("content", ["", "other", "gone"])
def test_settings_of_a_training_without_states(train_in, not_trained, copied, content):
    training = copied / METHOD / ".seed_0.training"
    for path in training.glob(run_folder.CHECKPOINTS):
        path.unlink()
    (training / run_folder.SETTINGS).write_text("seed: 7\n" if content == "other" else "")
    if content == "gone":
        gone(training / run_folder.SETTINGS)
    train_in(copied)
    assert_left(copied)


def test_a_file_of_the_users_in_the_folder_of_a_training_stays(train_in, not_trained, copied):
    notes = copied / METHOD / ".seed_0.training" / "notes.txt"
    notes.write_text("mine")
    train_in(copied)
    assert notes.read_text() == "mine"


def test_a_damaged_config_of_an_experiment_whose_runs_are_whole(train_in, undisturbed, tmp_path):
    """It is written anew, if the runs are of this experiment, and of no other."""
    for number, damage in enumerate(DAMAGES):
        out = shutil.copytree(undisturbed, tmp_path / str(number))
        damage(out / EXPERIMENT)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train_in(out)
        assert_left(out, has_folder=damage is folder)
        for path in out.glob("damaged_*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        damage(out / EXPERIMENT)
        with pytest.raises(InputError, match=r"seed_0 holds results with protocol\.epochs = 3 whe"):
            run_experiment(settings("protocol.epochs=4"), out, observer=Silent())
    # As another program's folders are called.
    out = tmp_path / "others"
    (out / "ppo" / "seed_0").mkdir(parents=True)
    with pytest.raises(InputError, match="holds something that is not an experiment"):
        train_in(out)


# --- states that are whole, and do not fit --------------------------------------------------------


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A file of NumPy's, with checksums that are right."""
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)


def about(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        values = json.loads(str(arrays[run_folder.ABOUT]))
        values["progress"] |= changes
        arrays[run_folder.ABOUT] = np.array(json.dumps(values))

    return change


def about_is(text: str) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.update({run_folder.ABOUT: np.array(text)})


def changed(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[dict[str, Any]], None]:
    def apply(arrays: dict[str, Any]) -> None:
        arrays[name] = change(arrays[name])

    return apply


def with_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[0] = np.nan
    return array


PARTS = ("model/0", "optimizer/3", "metrics/0", "loss_0/prior", "callback/prior")
ROW = {"loss": 1.0, "val_accuracy": 0.5}
UNFIT: dict[str, Callable[[dict[str, Any]], None]] = {
    **{f"{name} missing": lambda arrays, name=name: arrays.pop(name) for name in PARTS},
    **{f"{name} of another shape": changed(name, lambda a: np.stack([a, a])) for name in PARTS},
    **{f"{name} of text": changed(name, lambda a: np.full(a.shape, "x")) for name in PARTS},
    **{f"{name} of NaN": changed(name, with_nan) for name in PARTS},
    "model/0 of float64": changed("model/0", lambda a: a.astype(np.float64)),
    "an unknown array": lambda arrays: arrays.update({"model/999": np.zeros(3)}),
    "an array of nothing": lambda arrays: arrays.update({"x": np.zeros(3)}),
    "another callback's": lambda arrays: arrays.update({"callback/history": np.zeros(3)}),
    "no distribution": changed("callback/prior", lambda a: a * 7),
    "refreshes without accuracies": changed("callback/epochs", lambda a: a[:1]),
    "no history": about(history=[]),
    "a history of text": about(history=["loss", "val_accuracy"]),
    "a history without what is compared": about(history=[{"loss": 1.0}] * 2),
    "a history of two trainings": about(history=[ROW, {**ROW, "more": 1.0}]),
    "a history with text in it": about(history=[ROW, {**ROW, "loss": "1"}]),
    "more epochs than it says": about(history=[ROW] * 3),
    "a step of nothing": about(step=-1),
    "no step": about(step="0"),
    "no time": about(seconds=float("nan")),
    "more keys": about(more=1),
    "a list": about_is("[]"),
    "a number": about_is("3"),
    "packages that are none": about_is('{"identity": "x", "packages": 3, "progress": {}}'),
    "nothing": lambda arrays: arrays.clear(),
    "no JSON": about_is("{"),
}


@pytest.fixture(scope="module")
def problem(dataset) -> Iterator[resume.Problem]:
    """What the training asks of a state."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "build_classifier", with_dropout)
        accuracies = np.array(GIVEN["class_accuracy"])
        training = train.Training(
            Path("run"), settings(), METHOD, 0, dataset, prior={"class_accuracy": accuracies}
        )
        model, accuracy = training._build(), training._accuracy()
        training._compile(model, accuracy)
        callback = train.build_callback(training.method, None)  # type: ignore[attr-defined]
        state = resume.State(model, [accuracy], callback)
        yield lambda progress, arrays: state.problem(progress.epochs, arrays)


def identity_of(path: Path) -> str:
    with np.load(path) as file:
        return json.loads(str(file[run_folder.ABOUT]))["identity"]


@pytest.mark.parametrize("kind", UNFIT)
def test_a_state_that_does_not_fit_is_passed_over(copied, problem, kind):
    folder = copied / METHOD / ".seed_0.training"
    checkpoints = Checkpoints(folder, identity_of(folder / LAST), keeps_best=False)
    progress, _ = checkpoints.load(problem)
    assert progress.epochs == 2
    rewritten(folder / LAST, UNFIT[kind])
    with pytest.warns(UserWarning, match=rf"{LAST}: not a saved training.*; the training goes on"):
        progress, _ = checkpoints.load(problem)
    assert progress.epochs == 1
    run_folder.saved_history(copied / METHOD / "seed_0")  # which the display reads
    assert (copied / METHOD / f"damaged_seed_0.training_{LAST}").is_file()


@pytest.mark.filterwarnings("ignore:the class accuracies")
def test_no_state_fits(train_in, copied, undisturbed):
    """Then the training begins anew, to the same bits."""
    for name in (FIRST, LAST):
        rewritten(copied / METHOD / ".seed_0.training" / name, UNFIT["optimizer/3 of NaN"])
    with pytest.warns(UserWarning, match=r"optimizer/3 has NaN"):
        train_in(copied)
    assert_same_run(*(Run(METHOD, 0).folder(out) for out in (copied, undisturbed)))


# --- folders that are removed while a run is trained ----------------------------------------------


@pytest.mark.filterwarnings("ignore:the class accuracies")
@pytest.mark.parametrize(
    ("removed", "after"),
    [("", 1), ("", 3), (METHOD, 1), (f"{METHOD}/.seed_0.training", 2), (EXPERIMENT, 1)],
)
def test_what_is_removed_while_a_run_is_trained(train_in, undisturbed, tmp_path, removed, after):
    """It goes on, or ends in a line; the same command then makes what is missing."""
    out = tmp_path / "out"

    def remove() -> None:
        shutil.rmtree(out / removed) if (out / removed).is_dir() else (out / removed).unlink()

    with contextlib.suppress(FailedRunsError, InputError, OSError):  # each of which is a line
        train_in(out, cut_after=after, then=remove)
    train_in(out)
    assert_same_run(*(Run(METHOD, 0).folder(each) for each in (out, undisturbed)))
    assert_left(out)
