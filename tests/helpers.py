"""Constants, builders and comparisons that several test files use.

TensorFlow is imported by those that need it: conftest.py settles its environment before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from lsplus_tf.config import Experiment, load_config, to_yaml
from lsplus_tf.datasets import ImageDataset
from lsplus_tf.experiments import Run, run_experiment
from lsplus_tf.predictions import Predictions
from lsplus_tf.training import run_folder

if TYPE_CHECKING:
    import keras

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
DIGITS = CONFIGS / "digits.yaml"
# Golden values and data beside the project; not in a user's clone: see the fixture `shared`.
SHARED = ROOT.parent / "shared"
GOLDEN = SHARED / "golden"


# --- losses ---------------------------------------------------------------------------------------


def value_and_gradient(
    loss: Any, labels: Any, outputs: Any, *weights: Any
) -> tuple[np.ndarray, np.ndarray]:
    """A loss and its gradient by the network's outputs; a single number where it is reduced."""
    import tensorflow as tf

    z = tf.Variable(outputs)
    with tf.GradientTape() as tape:
        value = loss(labels, z, *weights)
    return value.numpy(), tape.gradient(value, z).numpy()


# --- experiments ----------------------------------------------------------------------------------

# What configs/digits.yaml compares, and its runs of two seeds.
METHODS = ["hard_labels", "label_smoothing", "ls_plus", "online_label_smoothing"]
RUNS = [Run(method, seed) for method in METHODS for seed in (0, 1)]
PLUS, HARD = {"loss": "ls_plus"}, {"loss": "hard_labels"}
NOT_AUGMENTED = "protocol.augmentation={shift: 0.0, rotation: 0.0, zoom: 0.0}"
ALL_SEEDS = {"loss": "ls_plus", "class_accuracy": {"seeds": "all"}}


def experiment_with(*overrides: str, methods: dict[str, Any] | None = None) -> Experiment:
    experiment = load_config(DIGITS, overrides)
    if methods is None:
        return experiment
    return Experiment.model_validate({**experiment.model_dump(mode="json"), "methods": methods})


def linear_experiment(*overrides: str, methods: dict[str, Any] | None = None) -> Experiment:
    common = [
        "protocol.epochs=3",
        "protocol.schedule=null",
        "protocol.batch_size=100",  # which does not divide the 1077 images
        "protocol.optimizer.learning_rate=0.02",
        "seeds=[0,1]",
    ]
    return experiment_with(*common, *overrides, methods=methods or {"hard": HARD})


def made_up_runs(
    experiment: Experiment,
    folder: Path,
    num_classes: int,
    class_names: list[str] | None = None,
    skipped: Sequence[str] = (),
) -> None:
    """The folder of an experiment whose runs are all finished, with made-up predictions."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "experiment.yaml").write_text(to_yaml(experiment))
    rng = np.random.default_rng(0)
    names = class_names or [f"c{k}" for k in range(num_classes)]
    labels = np.arange(20 + num_classes) % num_classes
    for method in experiment.methods:
        for seed in experiment.seeds:
            run = Run(method, seed).folder(folder)
            run.mkdir(parents=True)
            settings = experiment.run_settings(method, seed)
            (run / run_folder.SETTINGS).write_text(yaml.safe_dump(settings))
            summary = {"class_names": names, "skipped_images": [*skipped]}
            run_folder.write_json(run / run_folder.SUMMARY, summary)
            logits = rng.normal(size=(len(labels), num_classes)).astype(np.float32)
            ids = np.arange(len(labels)).astype(str)
            found = Predictions(labels, logits=logits, ids=ids, class_names=names)
            run_folder.write_predictions(run, "test", found)


def leave_out_pictures(patch: pytest.MonkeyPatch) -> None:
    """Reports get neither pictures nor a page, which take most of their time."""
    from lsplus_tf.page import Page, Picture, Pictures

    pictures = Pictures([Picture(b"\x89PNG", "nothing", 1)])
    patch.setattr("lsplus_tf.results.report.draw_figures", lambda *_: {"comparison": pictures})
    patch.setattr("lsplus_tf.results.report.experiment_page", lambda *_: Page("Runs", []))


class Recorder:
    """An observer that keeps what it is told, and raises when a run begins an epoch, if asked."""

    def __init__(self, fail_after: tuple[Run, int] | None = None) -> None:
        self.fail_after = fail_after
        self.started: list[Run] = []
        self.ended: list[Run] = []
        self.resumed: list[tuple[Run, int]] = []
        self.failed: list[tuple[Run, str, bool]] = []
        self.waited_for: list[Run] = []
        self.set_aside: list[tuple[Run, Path, dict[str, str]]] = []
        self.on_epoch: Callable[[Run, int], None] = lambda run, epoch: None

    def planned(self, missing: list[Run], finished: list[Run], epochs: int) -> None:
        self.missing, self.finished, self.epochs = missing, finished, epochs

    def run_set_aside(self, run: Run, aside: Path, damage: dict[str, str]) -> None:
        self.set_aside.append((run, aside, damage))

    def weights_downloaded(self, what: str) -> None:
        self.downloaded = what

    def data_loaded(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def run_started(self, run: Run) -> None:
        self.started.append(run)

    def run_resumed(self, run: Run, epochs: int, logs: dict[str, float]) -> None:
        self.resumed.append((run, epochs))

    def epoch_ended(self, run: Run, epoch: int, logs: dict[str, float]) -> None:
        assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(logs)
        self.on_epoch(run, epoch)
        if (run, epoch) == self.fail_after:
            raise RuntimeError("the power is gone")

    def run_finished(self, run: Run, accuracy: float) -> None:
        self.ended.append(run)

    def run_failed(self, run: Run, error: str, trace: str, again: bool) -> None:
        self.failed.append((run, error, again))

    def run_waited_for(self, run: Run) -> None:
        self.waited_for.append(run)


@contextmanager
def eagerly() -> Iterator[None]:
    """Keras runs steps as they come: a few cost less than the graph of one."""
    import keras

    compiled = keras.Model.compile

    def compile_eager(model: keras.Model, *given: Any, **settings: Any) -> None:
        compiled(model, *given, **{**settings, "run_eagerly": True})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "compile", compile_eager)
        yield


def same_predictions(a: Path, b: Path) -> bool:
    return all(
        np.array_equal(
            run_folder.read_predictions(a, split).logits,
            run_folder.read_predictions(b, split).logits,
        )
        for split in ("validation", "test")
    )


class Linear:
    """Trains experiments with a linear classifier, and keeps its weights at every point."""

    def __init__(self) -> None:
        self.model: keras.Model | None = None
        self.initial: dict[Run, list[np.ndarray]] = {}
        self.after: dict[Run, list[list[np.ndarray]]] = {}

    def build(self, *, image_shape: tuple[int, ...], num_classes: int, **_: Any) -> keras.Model:
        import keras

        from lsplus_tf.backbones import PixelScaling

        inputs = keras.Input(image_shape)
        x = keras.layers.Flatten()(PixelScaling("unit")(inputs))
        self.model = keras.Model(inputs, keras.layers.Dense(num_classes, dtype="float32")(x))
        return self.model

    def weights(self) -> list[np.ndarray]:
        return [w.copy() for w in self.model.get_weights()]

    def run(
        self,
        experiment: Experiment,
        out: Path,
        fail_after: tuple[Run, int] | None = None,
        **narrow: Any,
    ) -> Recorder:
        recorder = Recorder(fail_after)
        recorder.on_epoch = lambda run, _: self.after.setdefault(run, []).append(self.weights())
        from lsplus_tf.training import train

        fit = train.Training._fit

        def recording_fit(*args: Any) -> Any:
            self.initial[recorder.started[-1]] = self.weights()
            return fit(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train, "build_classifier", self.build)
            patch.setattr(train.Training, "_fit", recording_fit)
            run_experiment(experiment, out, observer=recorder, **narrow)
        return recorder
