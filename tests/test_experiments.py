"""Experiments end to end: plans, runs, where a run starts, what it keeps, and resuming."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path
from typing import Any

import forked
import keras
import numpy as np
import pytest
import yaml
from helpers import (
    ALL_SEEDS,
    HARD,
    METHODS,
    NOT_AUGMENTED,
    PLUS,
    RUNS,
    Linear,
    Recorder,
    experiment_with,
    linear_experiment,
    same_predictions,
)
from sklearn.metrics import accuracy_score, recall_score

import lsplus_tf as lsp
from lsplus_tf.backbones import classifier, small_cnn
from lsplus_tf.config import Backbone, Experiment, load_config
from lsplus_tf.datasets import load_dataset
from lsplus_tf.errors import FailedRunsError, InputError, some_of
from lsplus_tf.experiments import Run, plan_runs, run_experiment
from lsplus_tf.manifest import MANIFEST
from lsplus_tf.results import gather
from lsplus_tf.training import run_folder, train
from lsplus_tf.training.environment import import_tensorflow

pytestmark = pytest.mark.usefixtures("float32_afterwards")


# --- plans ----------------------------------------------------------------------------------------


def test_a_plan_follows_the_config():
    assert plan_runs(experiment_with("seeds=[0,1]")) == RUNS


def test_what_a_run_needs_comes_before_it():
    experiment = experiment_with("seeds=[3,1]", methods={"plus": PLUS, "hard": HARD})
    assert plan_runs(experiment) == [
        Run("hard", 3),
        Run("plus", 3),
        Run("hard", 1),
        Run("plus", 1),
    ]


def test_narrowing_adds_what_is_needed():
    experiment = experiment_with()
    assert plan_runs(experiment, ["ls_plus"], [1]) == [Run("hard_labels", 1), Run("ls_plus", 1)]
    assert plan_runs(experiment, ["label_smoothing"], [1]) == [Run("label_smoothing", 1)]
    of_all = experiment_with(methods={"hard": HARD, "plus": ALL_SEEDS})
    hard = [Run("hard", seed) for seed in (0, 1, 2)]
    assert plan_runs(of_all, ["plus"], [1]) == [*hard, Run("plus", 1)]


def test_of_two_hard_label_methods_the_first_is_asked():
    experiment = experiment_with(methods={"plus": PLUS, "b": HARD, "a": HARD})
    assert plan_runs(experiment, ["plus"], [0]) == [Run("b", 0), Run("plus", 0)]


def test_plans_refuse_what_the_config_does_not_have():
    experiment = experiment_with()
    with pytest.raises(InputError, match=r"^--methods: the config has hard_labels, .*; received a"):
        plan_runs(experiment, ["ls_plus", "a"])
    with pytest.raises(InputError, match=r"^--seeds: the config has 0, 1, 2; received 3"):
        plan_runs(experiment, None, [3])


# --- what a run leaves ----------------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.method}-{run.seed}")
def test_a_run_folder_is_consistent(reproduced, run):
    folder = run.folder(reproduced.folder)
    extra = {"ls_plus": {run_folder.PRIOR}, "online_label_smoothing": {run_folder.SOFT_LABELS}}
    assert {path.name for path in folder.iterdir()} == {
        run_folder.SETTINGS,
        run_folder.ENVIRONMENT,
        run_folder.HISTORY,
        run_folder.METRICS,
        run_folder.SUMMARY,
        run_folder.MODEL,
        run_folder.LOG,
        MANIFEST,
        "predictions_validation.npz",
        "predictions_test.npz",
    } | extra.get(run.method, set())

    dataset = load_dataset("digits")
    measured = run_folder.read_json(folder, run_folder.METRICS)
    for split, truth in (("validation", dataset.validation), ("test", dataset.test)):
        p = run_folder.read_predictions(folder, split)
        assert p.logits.dtype == np.float32
        np.testing.assert_array_equal(p.labels, truth.labels)
        np.testing.assert_array_equal(p.ids, truth.ids)
        expected = lsp.evaluate(p.labels, lsp.metrics.softmax(p.logits))
        assert measured[split] == pytest.approx(expected, rel=1e-12)
        accuracy = accuracy_score(p.labels, p.logits.argmax(axis=1))
        assert measured[split]["accuracy"] == pytest.approx(accuracy, rel=1e-12)

    history = run_folder.read_history(folder)
    assert list(history["epoch"]) == [0, 1]
    assert np.isfinite(history).all(axis=None)
    assert measured["validation"]["accuracy"] == pytest.approx(history["val_accuracy"].max())

    summary = run_folder.read_json(folder, run_folder.SUMMARY)
    assert summary["epochs"] == 2
    assert summary["best_epoch"] == history["val_accuracy"].idxmax()
    assert summary["class_names"] == [str(k) for k in range(10)]
    assert summary["samples"] == {s: c.tolist() for s, c in dataset.counts().items()}

    settings = run_folder.read_settings(folder)
    assert settings["method"]["name"] == run.method
    assert settings["seed"] == run.seed
    assert settings["backbone"]["width"] == 0.1
    environment = run_folder.read_json(folder, run_folder.ENVIRONMENT)
    assert environment["packages"]["tensorflow"] == version("tensorflow")
    log = (folder / run_folder.LOG).read_text()
    assert f"{run.method}, seed {run.seed}" in log
    assert "epoch 1: " in log


@pytest.mark.parametrize("seed", [0, 1])
def test_the_prior_of_ls_plus_is_the_hard_label_runs_recall(reproduced, seed):
    hard = run_folder.read_predictions(
        Run("hard_labels", seed).folder(reproduced.folder), "validation"
    )
    recall = recall_score(hard.labels, hard.logits.argmax(axis=1), average=None)
    folder = Run("ls_plus", seed).folder(reproduced.folder)
    record = run_folder.read_json(folder, run_folder.PRIOR)
    np.testing.assert_allclose(record["class_accuracy"], recall, rtol=1e-12)
    np.testing.assert_allclose(record["measured_class_accuracy"], recall, rtol=1e-12)
    assert record["validation_samples"] == np.bincount(hard.labels).tolist()
    assert record["from"] == [f"hard_labels/seed_{seed}"]
    # And the network was trained with it.
    loss = keras.models.load_model(folder / run_folder.MODEL).loss.get_config()
    np.testing.assert_allclose(loss["prior"], lsp.informed_prior(recall, warn=False), rtol=1e-6)
    assert loss["alpha"] == 0.5


def test_soft_labels_of_every_epoch(reproduced):
    for seed in (0, 1):
        folder = Run("online_label_smoothing", seed).folder(reproduced.folder)
        matrices = run_folder.read_soft_labels(folder)
        assert matrices.shape == (2, 10, 10)
        np.testing.assert_allclose(matrices.sum(axis=2), 1, atol=1e-5)
        assert not np.allclose(matrices[0], matrices[1])


def test_methods_start_from_the_same_weights_and_seeds_from_different_ones(reproduced):
    weights = reproduced.initial_weights
    assert set(weights) == {(run.method, run.seed) for run in RUNS}
    for seed in (0, 1):
        for method in METHODS[1:]:
            for ours, hard in zip(weights[method, seed], weights["hard_labels", seed], strict=True):
                np.testing.assert_array_equal(ours, hard)
    assert not np.array_equal(weights["hard_labels", 0][0], weights["hard_labels", 1][0])


# --- in another process ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(reproduced, tmp_path_factory) -> Path:
    """One run of seed 1 trained by itself in a new process, which then loads an older model."""
    out = tmp_path_factory.mktemp("alone") / "digits"
    arguments = ["train", *reproduced.arguments, "--out", str(out)]
    arguments += ["--methods", "online_label_smoothing", "--seeds", "1"]
    model = Run("ls_plus", 0).folder(reproduced.folder) / run_folder.MODEL
    script = f"""
        import sys
        from lsplus_tf import cli
        sys.argv = ["lsplus-tf", *{arguments!r}]
        try:
            cli.main()
        except SystemExit as end:
            assert end.code == 0
        import keras, numpy as np
        from lsplus_tf.datasets import load_dataset
        model = keras.models.load_model({str(model)!r})
        images = load_dataset("digits").test.images.astype("float32")
        np.save({str(out / "logits.npy")!r}, model.predict(images))
    """
    ended = forked.run("-c", textwrap.dedent(script))
    assert ended.returncode == 0, ended.stderr
    return out


def test_a_run_alone_in_another_process_gives_the_same_bits(reproduced, alone):
    run = Run("online_label_smoothing", 1)
    assert same_predictions(run.folder(alone), run.folder(reproduced.folder))
    matrices = [run_folder.read_soft_labels(run.folder(out)) for out in (alone, reproduced.folder)]
    np.testing.assert_array_equal(*matrices)
    assert [path.parent for path in alone.rglob(run_folder.MODEL)] == [run.folder(alone)]


def test_a_saved_model_predicts_the_saved_logits_in_another_process(reproduced, alone):
    saved = run_folder.read_predictions(Run("ls_plus", 0).folder(reproduced.folder), "test")
    np.testing.assert_allclose(np.load(alone / "logits.npy"), saved.logits, rtol=1e-5, atol=1e-5)


def test_a_second_call_trains_nothing_and_does_without_tensorflow(reproduced, tmp_path):
    copy = shutil.copytree(reproduced.folder, tmp_path / "copy")
    models = sorted(copy.rglob(run_folder.MODEL))
    before = [path.stat().st_mtime_ns for path in models]
    script = f"""
        import sys
        from lsplus_tf import cli
        sys.argv = ["lsplus-tf", "reproduce", *{reproduced.arguments!r}, "--out", {str(copy)!r}]
        try:
            cli.main()
        finally:
            modules = {{"tensorflow", "keras", "lsplus_tf.results.report"}}
            print("imported:", modules & set(sys.modules))
    """
    output = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    ).stdout
    assert "0 runs to make, 8 already finished" in output
    assert "imported: {'lsplus_tf.results.report'}" in output
    assert len(models) == 8
    assert [path.stat().st_mtime_ns for path in models] == before


# --- with a linear network, which trains in a second ----------------------------------------------


@pytest.fixture
def linear() -> Linear:
    return Linear()


VARIANTS = {
    "hard": HARD,
    "all_seeds": {"loss": "ls_plus", "class_accuracy": {"seeds": "all", "shrinkage": 6.0}},
    "warm": {"loss": "ls_plus", "start_from": "hard_labels"},
}


@pytest.fixture(scope="module")
def variants(tmp_path_factory) -> tuple[Path, Linear, Recorder]:
    linear, out = Linear(), tmp_path_factory.mktemp("variants") / "deep" / "er"
    return out, linear, linear.run(linear_experiment(methods=VARIANTS), out)


def test_the_observer_is_told(variants):
    _, _, recorder = variants
    runs = [Run(method, seed) for method in ("hard", "all_seeds", "warm") for seed in (0, 1)]
    assert recorder.missing == recorder.started == recorder.ended == runs
    assert recorder.finished == []
    assert recorder.epochs == 3


def test_a_prior_of_all_seeds_is_the_mean_recall_and_shrinks(variants):
    out, _, _ = variants
    recalls, right = [], 0
    for seed in (0, 1):
        p = run_folder.read_predictions(Run("hard", seed).folder(out), "validation")
        recalls.append(recall_score(p.labels, p.logits.argmax(axis=1), average=None))
        right += accuracy_score(p.labels, p.logits.argmax(axis=1)) / 2
    counts, mean = np.bincount(p.labels), np.mean(recalls, axis=0)
    for seed in (0, 1):
        record = run_folder.read_json(Run("all_seeds", seed).folder(out), run_folder.PRIOR)
        assert record["from"] == ["hard/seed_0", "hard/seed_1"]
        assert record["shrinkage"] == 6
        np.testing.assert_allclose(record["measured_class_accuracy"], mean)
        np.testing.assert_allclose(
            record["class_accuracy"], (counts * mean + 6 * right) / (counts + 6)
        )


@pytest.mark.parametrize("seed", [0, 1])
def test_a_warm_start_is_the_hard_label_checkpoint(variants, seed):
    out, linear, _ = variants
    hard, cold, warm = (Run(method, seed) for method in VARIANTS)
    checkpoint = keras.models.load_model(hard.folder(out) / run_folder.MODEL).get_weights()
    for started, ended, first in zip(
        linear.initial[warm], checkpoint, linear.initial[hard], strict=True
    ):
        np.testing.assert_array_equal(started, ended)
        assert not np.array_equal(started, first)
    for started, first in zip(linear.initial[cold], linear.initial[hard], strict=True):
        np.testing.assert_array_equal(started, first)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """The warm run of seed 1 alone, methods in another order, the power gone in its 2nd epoch."""
    linear, out = Linear(), tmp_path_factory.mktemp("interrupted")
    experiment = linear_experiment(methods=dict(reversed(VARIANTS.items())))
    narrow = {"methods": ["warm"], "seeds": [1]}
    with pytest.raises(RuntimeError, match="power"):
        linear.run(experiment, out, fail_after=(Run("warm", 1), 1), **narrow)
    left = sorted(str(path.relative_to(out)) for path in out.rglob("*seed*"))
    return out, {"left": left, "then": linear.run(experiment, out, **narrow)}


def test_an_exception_leaves_no_run_folder_but_what_was_saved(interrupted):
    assert interrupted[1]["left"] == ["hard/seed_1", "warm/.seed_1.training"]
    assert not list(interrupted[0].rglob(".seed*"))  # when the run was finished


def test_a_later_call_makes_what_is_missing(interrupted):
    then = interrupted[1]["then"]
    assert then.finished == [Run("hard", 1)]
    assert then.missing == then.started == then.ended == [Run("warm", 1)]
    assert then.resumed == [(Run("warm", 1), 2)]


@pytest.mark.parametrize("method", ["hard", "warm"])
def test_neither_order_nor_neighbours_nor_interruptions_change_a_bit(variants, interrupted, method):
    run = Run(method, 1)
    assert same_predictions(run.folder(interrupted[0]), run.folder(variants[0]))
    assert not same_predictions(run.folder(variants[0]), Run(method, 0).folder(variants[0]))


# --- checkpoints, stopping, schedule --------------------------------------------------------------


def kept(out: Path, run: Run) -> list[np.ndarray]:
    return keras.models.load_model(run.folder(out) / run_folder.MODEL).get_weights()


def assert_same_weights(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


UNSTEADY = ("protocol.optimizer.learning_rate=3", "protocol.epochs=6", "seeds=[0]")


@pytest.fixture(scope="module")
def unsteady(tmp_path_factory) -> dict[str, tuple[Path, Linear]]:
    """A learning rate so high that the last epoch is not the best, kept both ways."""
    results = {}
    for checkpoint in ("best_validation_accuracy", "last"):
        linear, out = Linear(), tmp_path_factory.mktemp(checkpoint)
        linear.run(linear_experiment(*UNSTEADY, f"protocol.checkpoint={checkpoint}"), out)
        results[checkpoint] = (out, linear)
    return results


@pytest.mark.parametrize("checkpoint", ["best_validation_accuracy", "last"])
def test_the_checkpoint_that_is_kept(unsteady, checkpoint):
    out, linear = unsteady[checkpoint]
    run = Run("hard", 0)
    accuracy = run_folder.read_history(run.folder(out))["val_accuracy"]
    assert accuracy.idxmax() < 5, "the test needs a last epoch that is not the best"
    assert accuracy.max() > accuracy.iloc[5]
    epoch = 5 if checkpoint == "last" else accuracy.idxmax()
    assert_same_weights(kept(out, run), linear.after[run][epoch])
    p = run_folder.read_predictions(run.folder(out), "validation")
    assert accuracy_score(p.labels, p.logits.argmax(axis=1)) == pytest.approx(accuracy[epoch])
    images = load_dataset("digits").validation.images.astype(np.float32)
    model = keras.models.load_model(run.folder(out) / run_folder.MODEL)
    np.testing.assert_allclose(model.predict(images, verbose=0), p.logits, rtol=1e-5, atol=1e-4)
    assert run_folder.read_json(run.folder(out), run_folder.SUMMARY)["best_epoch"] == (
        accuracy.idxmax()
    )


def test_of_equal_epochs_the_first_is_kept_and_training_stops_early(linear, tmp_path):
    experiment = linear_experiment(
        "protocol.optimizer.learning_rate=1e-6",
        "protocol.epochs=9",
        "protocol.early_stopping=2",
        "seeds=[0]",
        NOT_AUGMENTED,
    )
    linear.run(experiment, tmp_path)
    run = Run("hard", 0)
    history = run_folder.read_history(run.folder(tmp_path))
    assert history["val_accuracy"].nunique() == 1, "the test needs epochs that tie"
    assert len(history) == 3  # the first, and two that are not better
    assert not np.array_equal(linear.after[run][0][0], linear.after[run][2][0])
    assert_same_weights(kept(tmp_path, run), linear.after[run][0])
    summary = run_folder.read_json(run.folder(tmp_path), run_folder.SUMMARY)
    assert (summary["best_epoch"], summary["epochs"]) == (0, 3)


def test_the_schedule_counts_the_last_short_batch(linear, variants, tmp_path):
    """Until its epoch begins nothing is different by a bit; from then on nearly nothing moves."""
    experiment = linear_experiment(
        "protocol.schedule={epochs: [2], factor: 1e-7}", "seeds=[0]", "protocol.checkpoint=last"
    )
    linear.run(experiment, tmp_path)
    run = Run("hard", 0)
    ours, without = linear.after[run], variants[1].after[run]
    assert_same_weights(ours[1], without[1])
    np.testing.assert_allclose(ours[2][0], ours[1][0], atol=1e-6)
    assert np.abs(without[2][0] - without[1][0]).max() > 1e-3


def test_validation_by_steps(linear, variants, tmp_path):
    """What is measured after an epoch is a part; nothing is trained or predicted otherwise."""
    steps = ("protocol.validation_steps=2", "protocol.checkpoint=last", "seeds=[0]")
    linear.run(linear_experiment(*steps), tmp_path)
    run = Run("hard", 0)
    assert_same_weights(linear.after[run][2], variants[1].after[run][2])
    p = run_folder.read_predictions(run.folder(tmp_path), "validation")
    assert len(p.labels) == 360
    history = run_folder.read_history(run.folder(tmp_path))
    seen = history["val_accuracy"].iloc[-1] * 200  # two batches of 100
    assert seen == pytest.approx(round(seen), abs=1e-3)
    drawn = np.sort(np.random.default_rng(0).permutation(360)[:200])
    right = (p.logits.argmax(axis=1) == p.labels)[drawn].sum()
    assert round(seen) == right


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_training_that_diverges_is_an_input_error(linear, tmp_path, capfd):
    common = ("protocol.epochs=1", "seeds=[0]", NOT_AUGMENTED)
    experiment = linear_experiment(*common, "protocol.optimizer.learning_rate=1e38")
    with pytest.raises(InputError, match=r"loss became nan.* in epoch 1; lower protocol\.optimiz"):
        linear.run(experiment, tmp_path)
    assert "terminating" not in "".join(capfd.readouterr())  # as Keras has it in a line of its own
    assert not list(tmp_path.rglob("*seed*"))
    # A lower rate may then be tried in the same folder, in which nothing was finished.
    linear.run(linear_experiment(*common, "protocol.optimizer.learning_rate=0.5"), tmp_path)
    assert Run("hard", 0).folder(tmp_path).is_dir()
    assert gather(tmp_path).experiment.protocol.optimizer.learning_rate == 0.5


def test_a_disk_that_is_full_when_a_run_is_written(linear, tmp_path, monkeypatch):
    """The run's training is kept, and the others are made; with room again it is finished."""
    write_json = run_folder.write_json

    def full(path: Path, values: Any) -> None:
        if path.name == run_folder.SUMMARY and "seed_0" in path.parent.name:
            raise OSError(28, "No space left on device", str(path))
        write_json(path, values)

    experiment = linear_experiment("protocol.epochs=1", NOT_AUGMENTED)
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_json", full)
        with pytest.raises(FailedRunsError, match=r"1 of 2 runs failed: hard seed 0 .*No space"):
            linear.run(experiment, tmp_path)
    assert [path.name for path in (tmp_path / "hard").glob("seed*")] == ["seed_1"]
    recorder = linear.run(experiment, tmp_path)
    assert recorder.resumed == [(Run("hard", 0), 1)]
    linear.run(experiment, tmp_path / "new", seeds=[0])
    assert same_predictions(*(Run("hard", 0).folder(out) for out in (tmp_path, tmp_path / "new")))


def test_doubtful_class_accuracies_are_told(reproduced):
    """After two epochs some class is never recognized: the row of its prior is V = 0."""
    doubts = 0
    for seed in (0, 1):
        record = run_folder.read_json(Run("ls_plus", seed).folder(reproduced.folder), "prior.json")
        accuracy = np.array(record["class_accuracy"])
        reasons = {
            "exactly 0": accuracy == 0,
            "exactly 1": accuracy == 1,
            "below 1/10, that of guessing,": (accuracy > 0) & (accuracy < 0.1),
        }
        expected = [
            f"class accuracy {reason} of class {some_of(np.flatnonzero(concerned).tolist())}"
            for reason, concerned in reasons.items()
            if concerned.any()
        ]
        assert record["doubts"] == expected
        doubts += len(expected)
        lines = [line for line in reproduced.stderr.splitlines() if f"ls_plus, seed {seed}" in line]
        assert len(lines) == (1 if expected else 0)
        for line, text in zip(lines * len(expected), expected, strict=True):
            assert text in line
            assert "methods.ls_plus.class_accuracy.shrinkage" in line
    assert doubts, "the test needs a class accuracy of 0 or 1"


def test_ls_plus_needs_class_accuracies(tmp_path):
    with pytest.raises(
        InputError, match=r"class_accuracy: expected \(K,\) for LS\+, received None"
    ):
        train.Training(
            tmp_path / "run", experiment_with(), "ls_plus", 0, load_dataset("digits")
        ).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(precision, tmp_path, monkeypatch):
    def one_block(x: Any, *, width: float) -> Any:
        return small_cnn._residual_block(x, channels=4, stride=2, name="block")

    monkeypatch.setattr(classifier, "small_residual_cnn", one_block)
    experiment = experiment_with(
        f"protocol.precision={precision}",
        "protocol.epochs=1",
        "protocol.schedule=null",
        "protocol.batch_size=512",
        "seeds=[0]",
        NOT_AUGMENTED,
    )
    run = Run("online_label_smoothing", 0)
    run_experiment(experiment, tmp_path, observer=Recorder(), methods=[run.method])
    folder = run.folder(tmp_path)
    history = run_folder.read_history(folder)
    assert np.isfinite(history).all(axis=None)
    assert run_folder.read_predictions(folder, "test").logits.dtype == np.float32
    model = keras.models.load_model(folder / run_folder.MODEL)
    assert model.get_layer("features").compute_dtype == precision.removeprefix("mixed_")
    assert {w.dtype for w in model.weights} == {"float32"}


# --- folders --------------------------------------------------------------------------------------


def refused(experiment: Experiment, out: Path, **narrow: Any) -> str:
    with pytest.raises(InputError) as caught:
        run_experiment(experiment, out, observer=Recorder(), **narrow)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    assert refused(experiment_with(), tmp_path / "out").startswith("--out: expected a folder")


def test_a_folder_with_something_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "holds something that is not an experiment" in refused(experiment_with(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("override", "narrow", "difference"),
    [
        ("protocol.epochs=4", {}, "protocol.epochs = 3 where the config says 4"),
        ("protocol.epochs=4", {"seeds": [0]}, "protocol.epochs = 3 where the config says 4"),
        ("backbone.width=0.25", {}, "backbone.width = 0.5 where the config says 0.25"),
        ("methods.warm.alpha=0.25", {}, "method.alpha = 0.5 where the config says 0.25"),
        (
            "methods.warm.class_accuracy.shrinkage=1",
            {},
            "method.class_accuracy.shrinkage = 0.0 where the config says 1.0",
        ),
        (
            "seeds=[0,1,2]",
            {"methods": ["all_seeds"], "seeds": [0]},
            "method.from.seeds = [0, 1] where the config says [0, 1, 2]",
        ),
    ],
)
def test_results_with_other_settings(variants, tmp_path, override, narrow, difference):
    config = tmp_path / "variants.yaml"
    config.write_text(yaml.safe_dump(linear_experiment(methods=VARIANTS).model_dump(mode="json")))
    message = refused(load_config(config, [override]), variants[0], **narrow)
    assert difference in message
    assert str(variants[0]) in message


def test_where_the_data_lie_makes_no_difference(variants):
    experiment = linear_experiment("dataset.data_dir=/elsewhere", methods=VARIANTS)
    recorder = Recorder()
    run_experiment(experiment, variants[0], observer=recorder)
    assert recorder.started == []
    assert len(recorder.finished) == 6


def test_data_that_cannot_be_had_leave_no_folder(tmp_path):
    message = refused(experiment_with("dataset.name=digitz"), tmp_path / "out")
    assert "did you mean 'digits'?" in message
    assert not (tmp_path / "out").exists()


# --- gathering ------------------------------------------------------------------------------------


def test_gather(reproduced):
    results = gather(reproduced.folder)
    assert list(results.runs) == RUNS
    assert results.missing == ()
    assert results.methods == METHODS
    assert results.of_method("ls_plus") == [Run("ls_plus", 0), Run("ls_plus", 1)]
    frame = results.metrics()
    assert list(zip(frame["method"], frame["seed"], strict=True)) == [
        (run.method, run.seed) for run in RUNS
    ]
    for i, run in enumerate(RUNS):
        path = run.folder(reproduced.folder) / run_folder.METRICS
        measured = json.loads(path.read_text())
        assert frame["ece"][i] == measured["test"]["ece"]
        assert results.metrics("validation")["ece"][i] == measured["validation"]["ece"]


def test_gather_narrows_and_says_what_is_missing(reproduced, alone):
    narrowed = gather(reproduced.folder, ["online_label_smoothing", "label_smoothing"], [1])
    assert [run.method for run in narrowed.runs] == ["label_smoothing", "online_label_smoothing"]
    partly = gather(alone)
    assert list(partly.runs) == [Run("online_label_smoothing", 1)]
    assert list(partly.missing) == [run for run in RUNS if run not in partly.runs]
    assert partly.methods == ["online_label_smoothing"]


def test_gather_refuses(reproduced, tmp_path):
    with pytest.raises(InputError, match="not the folder of an experiment, it has no experiment"):
        gather(tmp_path)
    shutil.copy(reproduced.folder / "experiment.yaml", tmp_path)
    with pytest.raises(InputError, match="no finished run yet"):
        gather(tmp_path)
    (tmp_path / "experiment.yaml").write_text("name: [")
    with pytest.raises(InputError, match=r"experiment\.yaml: "):
        gather(tmp_path)


# --- the process that trains ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "image_size", "given", "expected"),
    [
        ("mobilenet_v2", 32, None, "0"),
        ("mobilenet_v2", 64, None, "1"),
        ("small_residual_cnn", 32, None, "1"),
        ("small_residual_cnn", None, "0", "0"),
    ],
)
@pytest.mark.parametrize(("level", "quiet"), [("3", "3"), (None, "2")])
def test_cpu_kernels_are_chosen_before_tensorflow_is_imported(
    name, image_size, given, expected, level, quiet, tmp_path, monkeypatch
):
    """oneDNN where it is faster, the user's choice where there is one."""
    # In its place a module that notes what it finds when it is imported.
    (tmp_path / "tensorflow.py").write_text(
        "import os\n"
        "found = dict(os.environ)\n"
        "class config:\n"
        "    list_physical_devices = staticmethod(lambda: [])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow")
    for variable, value in (("TF_ENABLE_ONEDNN_OPTS", given), ("TF_CPP_MIN_LOG_LEVEL", level)):
        monkeypatch.setenv(variable, value or "")  # put back afterwards
        if value is None:
            monkeypatch.delenv(variable)
    import_tensorflow(Backbone(name=name), image_size)
    found = os.environ if level else sys.modules["tensorflow"].found  # imported to be quiet
    assert found["TF_ENABLE_ONEDNN_OPTS"] == expected
    assert found["TF_CPP_MIN_LOG_LEVEL"] == quiet


def test_nothing_happens_where_tensorflow_is_imported_already(monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    import_tensorflow(experiment_with().backbone, 8)
    assert "TF_ENABLE_ONEDNN_OPTS" not in os.environ
