"""Trainings that were interrupted, in whatever moment, give what they would have given."""

from __future__ import annotations

import io
import json
import resource
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from forked import Forked
from helpers import DIGITS, NOT_AUGMENTED
from rich.console import Console

from lsplus_tf import losses
from lsplus_tf.backbones import PixelScaling
from lsplus_tf.cli.progress import TerminalProgress
from lsplus_tf.config import Augmentation, Experiment, load_config, to_yaml
from lsplus_tf.datasets import ImageDataset, load_dataset
from lsplus_tf.datasets.base import Split
from lsplus_tf.datasets.pipeline import training_batches
from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run, run_experiment
from lsplus_tf.manifest import MANIFEST
from lsplus_tf.training import resume, run_folder, train
from lsplus_tf.training.resume import Checkpoints, Progress

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_f")

EPOCHS, STEPS = 4, 3
# A save after every step. Two epochs, in the second of which a method has what it learned.
OFTEN = "protocol.save_every_minutes=1e-9"
SHORT = (OFTEN, NOT_AUGMENTED, "protocol.epochs=2", "protocol.schedule={epochs: [1], factor: 0.5}")
METHODS: dict[str, dict[str, Any]] = {
    "learned": {"loss": "learned_label_smoothing", "learning_rate": None},
    "hard": {"loss": "hard_labels"},
    "online": {"loss": "online_label_smoothing"},
    "confusion": {"loss": "confusion_penalty", "mixup": 0.4},
    "fedlas": {"loss": "fedlas", "margin": 1.0},
    "cals": {"loss": "cals", "margin": 0.5, "update_every": 1},
    "adaptive": {"loss": "adaptive_focal", "num_bins": 5},
    "refreshed": {
        "loss": "ls_plus",
        "refresh_every": 2,
        "class_accuracy": {"shrinkage": 5.0},
    },
    "scheduled": {"loss": "maxsup"},
}
PRIOR = {"class_accuracy": np.linspace(0.5, 0.95, 10).tolist()}


class PowerCut(BaseException):
    """What nothing catches."""


def experiment(*overrides: str) -> Experiment:
    common = [
        f"protocol.epochs={EPOCHS}",
        "protocol.schedule={epochs: [2], factor: 0.5}",
        "protocol.batch_size=50",  # of 120: three steps, the last of 20 images
        "protocol.optimizer.learning_rate=0.02",
        "seeds=[0]",
    ]
    values = load_config(DIGITS, [*common, *overrides]).model_dump(mode="json")
    return Experiment.model_validate({**values, "methods": METHODS})


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    """A part of the digits, with samples of all classes."""
    whole = load_dataset("digits")

    def first(split: Split, count: int) -> Split:
        return Split(split.images[:count], split.labels[:count], split.ids[:count])

    return ImageDataset(
        whole.name,
        whole.class_names,
        first(whole.train, 120),
        first(whole.validation, 100),
        first(whole.test, 60),
    )


def with_dropout(*, image_shape: tuple[int, ...], num_classes: int, **_: Any) -> keras.Model:
    """Dropout draws random numbers, BatchNormalization keeps statistics."""
    inputs = keras.Input(image_shape)
    x = keras.layers.Flatten()(PixelScaling("unit")(inputs))
    layers = [
        keras.Input(x.shape[1:]),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.BatchNormalization(),
    ]
    x = keras.layers.Dropout(0.5)(keras.Sequential(layers, name="backbone")(x))
    return keras.Model(inputs, keras.layers.Dense(num_classes, dtype="float32")(x))


@dataclass
class Whole:
    """A run without interruption, and the folder of its training after each state was saved."""

    folder: Path
    states: dict[tuple[int, int], Path]

    def killed_after(self, epochs: int, steps: int, folder: Path) -> None:
        """What is left of a training of `folder` that was killed when this state was saved."""
        shutil.copytree(self.states[epochs, steps], run_folder.unfinished(folder))


class Session:
    """One process's part of a training; remembers what was told."""

    def __init__(self, dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dataset = dataset
        self._patch = monkeypatch

    def train(
        self,
        folder: Path,
        settings: Experiment,
        method: str = "hard",
        cut_after: int | None = None,
        *,
        graph: bool = False,
        states: dict[tuple[int, int], Path] | None = None,
    ) -> list[int]:
        """The epochs that were trained; with the power cut when so many states were saved.

        Run eagerly, where a step is slower but those of each process need not be traced, or in a
        graph. `states` gets a copy of the training's folder after every save.
        """
        trained: list[int] = []
        self.resumed: tuple[int, dict[str, float]] | None = None
        save, saves = Checkpoints.save, 0

        def counting_save(checkpoints: Checkpoints, *arguments: Any) -> None:
            nonlocal saves
            save(checkpoints, *arguments)
            saves += 1
            if states is not None:
                copy = folder.with_name(f"state_{saves}")
                states[last_saved(folder)] = shutil.copytree(run_folder.unfinished(folder), copy)
            if saves == cut_after:
                raise PowerCut

        def on_resume(epochs: int, logs: dict[str, float]) -> None:
            self.resumed = (epochs, logs)

        with self._patch.context() as patch:
            patch.setattr(train, "build_classifier", with_dropout)
            patch.setattr(Checkpoints, "save", counting_save)
            tf.config.run_functions_eagerly(not graph)
            try:
                train.Training(
                    folder,
                    settings,
                    method,
                    0,
                    self.dataset,
                    prior=PRIOR if method == "refreshed" else None,
                ).run(on_resume=on_resume, on_epoch=lambda epoch, _: trained.append(epoch))
            except PowerCut:
                assert cut_after is not None
                assert not folder.exists()
            finally:
                tf.config.run_functions_eagerly(False)
        return trained


@pytest.fixture
def session(dataset, monkeypatch) -> Session:
    return Session(dataset, monkeypatch)


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory) -> Callable[..., Whole]:
    """Runs of some settings and method without interruption, each made once."""
    made: dict[tuple[str, bool], Whole] = {}

    def run(settings: Experiment, method: str, *, graph: bool = False) -> Whole:
        key = json.dumps(settings.run_settings(method, 0)), graph
        if key not in made:
            whole = made[key] = Whole(tmp_path_factory.mktemp("undisturbed") / "run", {})
            with pytest.MonkeyPatch.context() as patch:
                trained = Session(dataset, patch).train(
                    whole.folder, settings, method, graph=graph, states=whole.states
                )
            assert trained == list(range(len(trained)))
        return made[key]

    return run


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Files byte for byte, and the saved model's every variable, the optimizer's among them."""
    names = {path.name for path in theirs.iterdir()}
    assert {path.name for path in ours.iterdir()} == names
    # They hold times, or digests of what does.
    differing = {run_folder.MODEL, run_folder.LOG, run_folder.SUMMARY, MANIFEST}
    for name in names - differing:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    summaries = [run_folder.read_json(folder, run_folder.SUMMARY) for folder in (ours, theirs)]
    for summary in summaries:
        del summary["seconds"], summary["performance"]
    assert summaries[0] == summaries[1]
    models = [keras.models.load_model(folder / run_folder.MODEL) for folder in (ours, theirs)]
    for ours_of, theirs_of in (
        [m.weights for m in models],
        [m.optimizer.variables for m in models],
    ):
        for a, b in zip(ours_of, theirs_of, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), a.path)


# --- to the same bits -----------------------------------------------------------------------------


# One of each mechanism: in the steps, in the steps with a network of its own, after the validation,
# and of a prior. What the others hold is saved as these, and compared in test_callback_state.py.
@pytest.mark.parametrize(
    "method",
    [
        *("online", "fedlas", "adaptive", "refreshed"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("confusion", "learned", "cals")),
    ],
)
def test_within_an_epoch_between_epochs_and_before_the_evaluation(
    session, undisturbed, tmp_path, method
):
    """With a save after every step, and after every epoch."""
    settings = experiment(*SHORT)
    whole, folder = undisturbed(settings, method), tmp_path / "run"
    whole.killed_after(1, 0, folder)
    assert session.train(folder, settings, method, cut_after=1) == []
    assert session.resumed[0] == 1
    assert last_saved(folder) == (1, 1)
    # The rest of the epoch, whose end is saved before it is told.
    assert session.train(folder, settings, method, cut_after=STEPS - 1) == []
    assert session.resumed[0] == 1
    assert last_saved(folder) == (2, 0)
    assert session.train(folder, settings, method) == []
    assert_same_run(folder, whole.folder)
    last = run_folder.read_history(folder).iloc[-1]
    assert session.resumed == (2, pytest.approx(last.drop("epoch").to_dict()))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    log = (folder / run_folder.LOG).read_text()
    for told in ("1 epochs\n", "1 epochs and 1 steps", "2 epochs\n"):
        assert f"goes on after {told}" in log


def test_a_weight_that_follows_the_epochs(session, undisturbed, tmp_path):
    settings = experiment(*SHORT, "protocol.checkpoint=last")
    whole, folder = undisturbed(settings, "scheduled"), tmp_path / "run"
    whole.killed_after(1, 1, folder)
    session.train(folder, settings, "scheduled")
    assert_same_run(folder, whole.folder)
    x, y = np.array([[3.0] + 9 * [0.0]], np.float32), [1]
    trained = keras.models.load_model(folder / run_folder.MODEL).loss
    expected = losses.MaxSupLoss(0.2, from_logits=True)(y, x)  # as in the last epoch
    np.testing.assert_allclose(trained(y, x), expected, rtol=1e-6)


def last_saved(folder: Path) -> tuple[int, int]:
    """Epochs, and steps of the next."""
    path = max(run_folder.unfinished(folder).glob(run_folder.CHECKPOINTS))
    _, epochs, _, steps, _ = path.name.split("_")
    return int(epochs), int(steps)


UNSTEADY = (
    "protocol.optimizer.learning_rate=2",
    "protocol.schedule=null",
    "protocol.epochs=8",
    "protocol.early_stopping=2",
)


def test_the_best_epoch_and_the_patience(session, undisturbed, tmp_path):
    settings = experiment(*UNSTEADY)
    whole = undisturbed(settings, "online", graph=True)
    history = run_folder.read_history(whole.folder)
    best = int(history["val_accuracy"].idxmax())
    assert 0 < best == len(history) - 3 < 5, "the test needs a training that stops early"
    folder = tmp_path / "run"
    whole.killed_after(best + 2, 0, folder)  # one epoch after the best
    assert session.train(folder, settings, "online", cut_after=1, graph=True) == []
    # And when it had stopped.
    assert session.train(folder, settings, "online", graph=True) == []
    assert_same_run(folder, whole.folder)


MIXED = (*SHORT, "protocol.precision=mixed_float16", "protocol.checkpoint=last")
TWO_STAGES = (
    *SHORT,
    "protocol.optimizer={name: sgd, learning_rate: 0.1}",
    "backbone.weights=mine.weights.h5",
    "protocol.fine_tuning.frozen_epochs=1",
)


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [(MIXED, 0), (TWO_STAGES, 2)],
    ids=["loss scale", "momentum, two stages"],
)
def test_what_the_optimizer_holds(session, undisturbed, tmp_path, overrides, steps):
    settings = experiment(*overrides)
    whole = undisturbed(settings, "hard")
    whole.killed_after(1, steps, tmp_path / "run")
    assert session.train(tmp_path / "run", settings, "hard") == [1]
    assert_same_run(tmp_path / "run", whole.folder)


def test_the_loss_scale_is_saved(undisturbed):
    """It was halved, or counts its steps."""
    (path,) = undisturbed(experiment(*MIXED), "hard").states[0, 1].glob(run_folder.CHECKPOINTS)
    with np.load(path) as file:
        scalars = {float(file[n]) for n in file.files if file[n].shape == () and n != "about"}
    assert {2.0**15, 2.0**14, 2.0**13} & scalars


@pytest.mark.parametrize(
    ("at_once", "cut_after", "position"),
    # Of a training that was killed after a step: 2 of 3 steps at once are step 2, the end of the
    # epoch, then 2 steps and the end of the next, then 2 steps.
    [(2, 5, (2, 2)), (7, 3, (3, 0))],
)
def test_several_steps_in_an_execution(
    session, undisturbed, tmp_path, at_once, cut_after, position
):
    """Which neither divide nor fit an epoch's, and of which another number goes on."""
    whole = undisturbed(experiment(OFTEN, "protocol.epochs=3"), "online", graph=True)
    folder = tmp_path / "run"
    whole.killed_after(0, 1, folder)
    several = experiment(OFTEN, "protocol.epochs=3", f"protocol.steps_per_execution={at_once}")
    session.train(folder, several, "online", cut_after=cut_after, graph=True)
    assert last_saved(folder) == position
    # How often a training is saved is no setting of its result either.
    session.train(folder, experiment("protocol.epochs=3"), "online", graph=True)
    assert_same_run(folder, whole.folder)


def test_a_training_that_diverges_after_it_was_saved_leaves_nothing(
    session, undisturbed, tmp_path, monkeypatch
):
    folder, settings = tmp_path / "run", experiment(*SHORT)
    undisturbed(settings, "online").killed_after(1, 0, folder)
    load = Checkpoints.load

    def with_broken_weights(*arguments: Any) -> Any:
        progress, arrays = load(*arguments)
        for name, array in arrays.items():
            if name.startswith("model/") and array.dtype == np.float32:
                array[...] = np.nan
        return progress, arrays

    monkeypatch.setattr(Checkpoints, "load", with_broken_weights)
    with pytest.raises(InputError, match="loss became nan in epoch 2; lower"):
        session.train(folder, settings, "online")
    assert list(tmp_path.iterdir()) == []


# --- killed ---------------------------------------------------------------------------------------

# One process that has imported everything forks a child for every life of the experiment.
KILLED = """
import json, os, pathlib, sys, warnings
import keras, numpy as np, sklearn.datasets, tensorflow as tf
sys.path.insert(0, {tests!r})
from helpers import NOT_AUGMENTED
from test_resume import Silent, experiment, with_dropout
from lsplus_tf.results import report
from lsplus_tf.config import Experiment
from lsplus_tf.experiments import run_experiment
from lsplus_tf.page import Page
from lsplus_tf.results import gather
from lsplus_tf.training import resume, train

values = experiment(
    "protocol.epochs=2", "protocol.schedule=null", NOT_AUGMENTED
).model_dump(mode="json")
values["methods"] = {{"hard": {{"loss": "hard_labels"}}, "plus": {{"loss": "ls_plus"}}}}
values["protocol"]["batch_size"] = 400  # three steps
train.build_classifier = with_dropout
warnings.filterwarnings("ignore", "Even though the `tf.config")
tf.config.run_functions_eagerly(True)


def die(*_):
    os.kill(os.getpid(), 9)


def live(out, moment, count, often):
    left = [count]

    def dying(kind, function, before=lambda *a, **k: die()):
        def wrapped(*arguments, **options):
            if kind == moment:
                left[0] -= 1
                if left[0] == 0:
                    before(*arguments, **options)
            result = function(*arguments, **options)
            return result
        return wrapped

    replace, savez = os.replace, np.savez

    def replacing(source, target):
        name = pathlib.Path(target).name
        kind = {{"experiment.yaml": "beginning", "seed_0": "finishing"}}.get(name, "renaming")
        if kind != "finishing":
            return dying(kind, replace)(source, target)
        replace(source, target)
        dying(kind, lambda: None)()

    def write_half(file, **arrays):
        savez(file, **arrays)
        file.truncate(file.tell() // 2)
        file.flush()
        die()

    os.replace = replacing
    np.savez = dying("saving", savez, write_half)
    saved = resume.SavedTraining
    saved.on_train_batch_end = dying("training", saved.on_train_batch_end)
    keras.Model.evaluate = dying("validating", keras.Model.evaluate)
    keras.Model.save = dying("writing", keras.Model.save)
    train.Training._predict = dying("predicting", train.Training._predict)
    report.draw_figures = dying("gathering", lambda *_: {{}})
    report.experiment_page = lambda *_: Page("Runs", [])
    values["protocol"]["save_every_minutes"] = 1e-9 if often else 10.0
    run_experiment(Experiment.model_validate(values), out, observer=Silent())
    if moment in (None, "gathering"):
        report.Report(gather(out)).write()


for line in sys.stdin:
    out, moment, count, often = json.loads(line)
    child = os.fork()
    if child == 0:
        live(pathlib.Path(out), moment, count, often)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def test_killed_at_ten_moments_and_begun_again(tmp_path):
    rng = np.random.default_rng(7)
    kinds = ["training", "saving", "renaming", "validating"]
    moments = [str(kind) for kind in rng.permutation([*kinds, "training", "saving"])]
    moments = ["beginning", *moments, "predicting", "writing", "finishing", "gathering"]
    lives = [
        (moment, int(rng.integers(1, 4)) if moment in kinds else 1, bool(rng.integers(2)))
        for moment in moments
    ]
    assert len(lives) > 10
    process = Forked("-c", KILLED.format(tests=str(Path(__file__).parent)))

    def live(out: str, moment: str | None, count: int = 1, often: bool = False) -> int:
        print(
            json.dumps([str(tmp_path / out), moment, count, often]), file=process.stdin, flush=True
        )
        return int(process.stdout.readline())

    try:
        assert live("undisturbed", None) == 0
        for moment, count, often in lives:
            assert live("killed", moment, count, often) == 9, moment
        assert live("killed", None) == 0
    finally:
        process.kill()
        process.wait()
    for run in ("hard", "plus"):
        assert_same_run(*(tmp_path / out / run / "seed_0" for out in ("killed", "undisturbed")))
    left = {
        out: sorted(str(p.relative_to(tmp_path / out)) for p in (tmp_path / out).rglob("*"))
        for out in ("killed", "undisturbed")
    }
    assert left["killed"] == left["undisturbed"]


# --- what was saved cannot be used ----------------------------------------------------------------


ACCURACIES = (0.5, 0.7, 0.6, 0.65)


def saved_epochs(folder: Path, count: int, identity: str = "mine") -> Checkpoints:
    """The states of a training whose second epoch was its best."""
    checkpoints = Checkpoints(folder, identity, keeps_best=True)
    checkpoints.load()
    for epochs in range(1, count + 1):
        history = [{"loss": 1.0, "val_accuracy": a} for a in ACCURACIES[:epochs]]
        checkpoints.save(Progress(history, 0, 2.0 * epochs), {"model/0": state_after(epochs)})
    return checkpoints


def state_after(epochs: int) -> np.ndarray:
    return np.random.default_rng(epochs).normal(size=(100, 10)).astype(np.float32)


def loaded(folder: Path, identity: str = "mine") -> int | None:
    """The epochs of the state that is used; it is the one that was saved."""
    found = Checkpoints(folder, identity, keeps_best=True).load()
    if found is None:
        return None
    progress, arrays = found
    assert [logs["val_accuracy"] for logs in progress.history] == [*ACCURACIES[: progress.epochs]]
    assert progress.seconds == 2.0 * progress.epochs
    np.testing.assert_array_equal(arrays["model/0"], state_after(progress.epochs))
    return progress.epochs


def kept(folder: Path) -> list[int]:
    return sorted(int(path.name.split("_")[1]) for path in folder.iterdir())


@pytest.mark.parametrize(("count", "files"), [(1, [1]), (2, [1, 2]), (3, [2, 3]), (4, [2, 3, 4])])
def test_the_last_two_states_and_the_best_are_kept(tmp_path, count, files):
    checkpoints = saved_epochs(tmp_path, count)
    assert kept(tmp_path) == files
    assert loaded(tmp_path) == count
    if count > 1:
        np.testing.assert_array_equal(checkpoints.arrays_after(1)["model/0"], state_after(2))


def test_states_within_an_epoch_replace_each_other(tmp_path):
    checkpoints = saved_epochs(tmp_path, 3)
    history = [{"loss": 1.0, "val_accuracy": a} for a in ACCURACIES[:3]]
    for step in (2, 9, 10):
        checkpoints.save(Progress(history, step), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "after_000002_epochs_000000000_steps.npz",  # the best epoch
        "after_000003_epochs_000000009_steps.npz",
        "after_000003_epochs_000000010_steps.npz",
    ]
    assert Checkpoints(tmp_path, "mine", keeps_best=True).load()[0].step == 10


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def garble(content: bytes) -> bytes:
    middle = len(content) // 2
    garbled = bytes(byte ^ 255 for byte in content[middle : middle + 8])
    return content[:middle] + garbled + content[middle + 8 :]


DAMAGES = {"cut": cut, "garbled": garble, "empty": lambda _: b"", "text": lambda _: b"after"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_state_before_a_damaged_one_is_used(tmp_path, damage):
    saved_epochs(tmp_path, 4)
    last = max(tmp_path.iterdir())
    last.write_bytes(DAMAGES[damage](last.read_bytes()))
    with pytest.warns(
        UserWarning, match=f"{last.name}: not a saved training [^;]*; the training goes"
    ):
        assert loaded(tmp_path) == 3


def test_a_state_whose_best_epoch_is_damaged_is_not_used(tmp_path):
    saved_epochs(tmp_path, 3)
    best = min(tmp_path.iterdir())
    best.write_bytes(garble(best.read_bytes()))
    with pytest.warns(UserWarning, match=f"{best.name}: not a saved training") as told:
        assert loaded(tmp_path) is None
    assert len(told) == 2


def test_an_array_alone_is_no_state(tmp_path):
    with (tmp_path / "after_000001_epochs_000000000_steps.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.warns(UserWarning, match="not a saved training"):
        assert loaded(tmp_path) is None


def test_the_state_of_another_training_is_not_used(tmp_path):
    tmp_path = tmp_path / "training"
    saved_epochs(tmp_path, 2)
    with pytest.warns(UserWarning, match="expected a training on these images, .* found another"):
        assert loaded(tmp_path, identity="other") is None
    saved_epochs(tmp_path, 1, identity="other")
    assert kept(tmp_path) == [1]
    assert loaded(tmp_path, identity="other") == 1
    aside = [path for path in tmp_path.parent.iterdir() if path != tmp_path]
    assert [path.name for path in sorted(aside)] == [
        f"damaged_training_after_{epochs:06d}_epochs_{0:09d}_steps.npz" for epochs in (1, 2)
    ]


def test_what_a_training_depends_on(dataset, tmp_path):
    """Settings, class accuracies, labels and ids."""
    train_split = dataset.train

    def with_train(split: Split) -> ImageDataset:
        return ImageDataset(
            dataset.name, dataset.class_names, split, dataset.validation, dataset.test
        )

    def identity(
        settings: Experiment,
        method: str = "refreshed",
        prior: dict[str, Any] = PRIOR,
        images: ImageDataset = dataset,
    ) -> str:
        return train.Training(tmp_path, settings, method, 0, images, prior=dict(prior)).identity

    images, labels, ids = train_split.images, train_split.labels, train_split.ids
    identities = [
        identity(experiment()),
        identity(experiment(), "hard"),
        identity(experiment("protocol.epochs=5")),
        identity(experiment(), prior={"class_accuracy": [0.9] * 10}),
        identity(experiment(), images=with_train(Split(images, np.roll(labels, 1), ids))),
        identity(experiment(), images=with_train(Split(images, labels, np.roll(ids, 1)))),
    ]
    assert len(set(identities)) == len(identities)
    again = experiment("dataset.data_dir=/elsewhere", "protocol.save_every_minutes=3")
    assert identity(again) == identities[0]


def test_other_versions_are_told(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(resume, "package_versions", lambda: {"keras": "3.0.0"})
        saved_epochs(tmp_path, 1)
    with pytest.warns(UserWarning, match="saved with keras 3.0.0; with .* may not give the bits"):
        assert loaded(tmp_path) == 1


class Silent:
    """An observer who is not asked anything."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def test_other_settings_are_refused_before_anything_happens(tmp_path):
    training = run_folder.unfinished(Run("hard", 0).folder(tmp_path))
    training.mkdir(parents=True)
    saved_epochs(training, 2)
    settings = experiment().run_settings("hard", 0)
    (training / run_folder.SETTINGS).write_text(yaml.safe_dump(settings))
    (tmp_path / "experiment.yaml").write_text(to_yaml(experiment("protocol.epochs=5")))
    before = contents(tmp_path)
    with pytest.raises(
        InputError, match=rf"{training} holds .* protocol\.epochs = 4 where the config says 5"
    ):
        run_experiment(experiment("protocol.epochs=5"), tmp_path, observer=Silent())
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- disks ----------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path):
    """The system refuses files beyond a size, which a state exceeds."""
    checkpoints = saved_epochs(tmp_path, 2)
    before = contents(tmp_path)
    history = [{"loss": 1.0, "val_accuracy": a} for a in ACCURACIES[:3]]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"could not be saved \(.*\); what was saved before is k"):
            checkpoints.save(Progress(history), {"model/0": state_after(3)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(tmp_path) == before
    assert loaded(tmp_path) == 2


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    """Where its name is a file's, which stops root too."""
    (tmp_path / "hard").write_text("")
    folder = tmp_path / "hard" / "seed_0"
    with pytest.raises(OSError, match=str(tmp_path / "hard")), run_folder.claimed(folder):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["hard"]


# --- two processes --------------------------------------------------------------------------------


def test_a_second_process_is_refused_until_the_first_has_died(tmp_path):
    folder = tmp_path / "seed_0"
    script = f"""
        import pathlib, time
        from lsplus_tf.training import run_folder
        with run_folder.claimed(pathlib.Path({str(folder)!r})) as training:
            saved = training / "after_000001_epochs_000000000_steps.npz"
            saved.write_text("whole")
            print("claimed", flush=True)
            time.sleep(600)
    """
    other = Forked("-c", textwrap.dedent(script))
    try:
        assert other.stdout.readline() == "claimed\n"
        with (
            pytest.raises(InputError, match=f"another process is training {folder}; wait until"),
            run_folder.claimed(folder),
        ):
            pass
        assert run_folder.unfinished(folder).is_dir()  # which is the other's
    finally:
        other.kill()
        other.wait()
    with run_folder.claimed(folder) as training:
        assert run_folder.has_checkpoints(training)


def test_what_a_training_leaves(tmp_path):
    """Nothing if nothing was saved, or the run is whole; otherwise what was saved."""
    folder = tmp_path / "seed_0"

    def fail(epochs: int) -> None:
        with run_folder.claimed(folder) as training:
            saved_epochs(training, epochs)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail(0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError):
        fail(1)
    assert run_folder.has_checkpoints(run_folder.unfinished(folder))
    with run_folder.claimed(folder):
        folder.mkdir()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_run_that_another_process_has_finished_stays_as_it_is(session, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").write_text("theirs")
    assert session.train(tmp_path / "run", experiment()) == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "run"]


# --- what is shown --------------------------------------------------------------------------------


def test_the_display_says_from_where_a_run_goes_on():
    text = io.StringIO()
    runs = [Run("hard", 0), Run("hard", 1)]
    with TerminalProgress(Console(file=text, width=200, force_terminal=True)) as progress:
        progress.planned(runs, [], epochs=10)
        progress.run_started(runs[0])
        progress.run_resumed(runs[0], 9, {"val_accuracy": 0.75})
        (task,) = progress._progress.tasks
        assert (task.completed, task.total) == (0, 11)  # what is left, from which the time is told
        assert task.description == "run 1 of 2: hard, seed 0, epoch 9/10"
        progress.run_finished(runs[0], 0.75)
        assert (task.completed, task.total) == (1, 11)
        progress.run_started(runs[1])
        progress.epoch_ended(runs[1], 0, {"val_accuracy": 0.5})
        assert (task.completed, task.total) == (2, 11)
    assert "run 1 of 2: hard, seed 0 goes on after 9 of 10 epochs" in text.getvalue()
    assert "hard, seed 0 finished, validation accuracy 0.7500\n" in text.getvalue()


# --- batches from within an epoch -----------------------------------------------------------------


@pytest.mark.parametrize("class_balanced", [False, True])
def test_batches_go_on_within_an_epoch(dataset, class_balanced):
    def batches(**start: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [
            (images.numpy(), labels.numpy())
            for images, labels in training_batches(
                dataset.train,
                batch_size=50,
                epochs=3,
                seed=3,
                augmentation=Augmentation(shift=0.2),
                mixup=0.3,
                num_classes=10,
                class_balanced=class_balanced,
                **start,
            )
        ]

    whole = batches()
    assert len(whole) == 3 * STEPS
    for epoch, step in ((0, 1), (1, 2), (2, 0), (2, STEPS)):
        rest = batches(first_epoch=epoch, first_step=step)
        assert len(rest) == 3 * STEPS - epoch * STEPS - step
        for ours, theirs in zip(rest, whole[epoch * STEPS + step :], strict=True):
            np.testing.assert_array_equal(ours[0], theirs[0])
            np.testing.assert_array_equal(ours[1], theirs[1])
    with pytest.raises(InputError, match=r"first_step: expected 0\.\.3 \(steps\), received 4"):
        batches(first_step=4)


def test_progress_knows_when_a_training_is_over():
    def progress(*accuracies: float) -> Progress:
        return Progress([{"val_accuracy": a} for a in accuracies])

    protocol = experiment("protocol.early_stopping=2").protocol
    assert not progress().is_over(protocol)
    assert not progress(0.5, 0.4).is_over(protocol)
    assert progress(0.5, 0.4, 0.5).is_over(protocol)  # as good is not better
    assert not progress(0.5, 0.4, 0.6).is_over(protocol)
    assert progress(0.1, 0.2, 0.3, 0.4).is_over(protocol)  # all epochs
    assert progress(0.5, 0.6, 0.6).best_epoch == 1
