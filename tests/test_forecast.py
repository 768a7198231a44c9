"""The dry run: what it reckons is what training then takes, and it leaves nothing behind."""

from __future__ import annotations

import shutil

import keras
import numpy as np
import pytest
from helpers import experiment_with
from PIL import Image

from lsplus_tf.backbones import build_classifier
from lsplus_tf.cli.options import check_command
from lsplus_tf.config import Dataset
from lsplus_tf.errors import InputError, MissingDataError
from lsplus_tf.experiments import Run, Shard, forecasting
from lsplus_tf.experiments.folder import read_experiment
from lsplus_tf.experiments.forecasting import STATES, forecast, image_cache
from lsplus_tf.training import run_folder
from lsplus_tf.training.train import Training


def sizes(found: list) -> dict[str, int]:
    return {size.what: size.bytes for size in found}


@pytest.mark.usefixtures("linear_network")
def test_what_is_finished_and_what_is_left(reproduced, tmp_path):
    experiment = read_experiment(reproduced.folder)
    found = forecast(experiment, reproduced.folder)
    assert [planned.finished for planned in found.runs] == [True] * 8
    assert (found.steps, found.missing) == (0, [])
    assert sizes(found.disk)["finished runs"] == 0
    copy = shutil.copytree(reproduced.folder, tmp_path / "copy")
    for method, seed in (("hard_labels", 1), ("ls_plus", 1)):
        shutil.rmtree(Run(method, seed).folder(copy))
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    found = forecast(experiment, copy, at_once=5)
    assert [planned.run for planned in found.missing] == [Run("hard_labels", 1), Run("ls_plus", 1)]
    assert found.missing[1].needs == (Run("hard_labels", 1),)
    assert found.at_once == 2
    # ceil(1077 / 32), ceil(360 / 32), two epochs of two runs.
    assert (found.steps_per_epoch, found.validation_steps, found.steps) == (34, 12, 4 * 34)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


@pytest.mark.usefixtures("linear_network")
@pytest.mark.parametrize("convention", ["standard", "released_code"])
@pytest.mark.parametrize("batch_size", [100, 359])  # of 1077 images, which is 3 x 359
def test_steps_are_those_of_a_training(convention, batch_size, tmp_path):
    settings = [
        f"convention={convention}",
        f"protocol.batch_size={batch_size}",
        "protocol.epochs=2",
    ]
    experiment = experiment_with(*settings)
    found = forecast(experiment, tmp_path, ["hard_labels"], [0])
    training = Training(tmp_path, experiment, "hard_labels", 0, found.dataset)
    expected = {100: 11 if convention == "standard" else 10, 359: 3}[batch_size]
    assert found.steps_per_epoch == training.steps_per_epoch == expected
    assert found.steps == 2 * expected


def test_sizes_are_those_of_a_run(reproduced, tmp_path):
    experiment = read_experiment(reproduced.folder)
    found = forecast(experiment, tmp_path, ["hard_labels"], [0])
    folder = Run("hard_labels", 0).folder(reproduced.folder)
    summary = run_folder.read_json(folder, run_folder.SUMMARY)
    assert found.parameters == summary["parameters"]
    device, disk = sizes(found.device), sizes(found.disk)
    assert device["network"] == 4 * found.parameters
    assert 2 * device["gradients"] <= device["optimizer"] < 2 * device["gradients"] + 100  # Adam
    model = keras.models.load_model(folder / run_folder.MODEL)
    state = sum(v.numpy().nbytes for v in [*model.variables, *model.optimizer.variables])
    assert disk["unfinished trainings"] == STATES * state
    predictions = [run_folder.read_predictions(folder, part) for part in ("validation", "test")]
    arrays = [a for p in predictions for a in (p.logits, p.labels, p.ids.to_numpy(np.str_))]
    assert disk["finished runs"] == state + sum(array.nbytes for array in arrays)
    assert sizes(found.host)["images"] == 2 * 1797 * 64
    assert sizes(found.host)["predictions"] == 4 * 10 * 720


def test_activations_are_the_outputs_of_all_layers(tmp_path):
    """And their gradients: half as large in half the precision, but for the logits."""
    model = build_classifier("small_residual_cnn", (8, 8, 1), 10, width=0.5)
    backbone = model.get_layer("backbone")
    layers = [layer for layer in model.layers if layer is not backbone] + backbone.layers
    elements = sum(np.prod(layer.output.shape[1:]) for layer in layers)
    for precision, size in (("float32", 4 * elements), ("mixed_bfloat16", 2 * elements + 2 * 10)):
        experiment = experiment_with("protocol.batch_size=7", f"protocol.precision={precision}")
        found = forecast(experiment, tmp_path, ["hard_labels"], [0])
        assert sizes(found.device)["activations"] == 2 * 7 * size


@pytest.mark.usefixtures("linear_network")
def test_what_else_is_told_of_the_plan(tmp_path):
    experiment = experiment_with("protocol.validation_steps=5", "seeds=[0,1]")
    found = forecast(experiment, tmp_path / "new", shard=Shard(1, 8))
    assert [planned.run for planned in found.runs] == [Run("hard_labels", 0)]
    assert found.validation_steps == 5
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="--methods"):
        forecast(experiment, tmp_path, ["none"])
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not an experiment"):
        forecast(experiment, tmp_path)


@pytest.mark.usefixtures("linear_network")
def test_images_are_not_decoded(tmp_path, monkeypatch):
    for part, count in (("train", 6), ("validation", 2), ("test", 4)):
        for i in range(count):
            path = tmp_path / "images" / part / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((40, 40), 10 * i, np.uint8)).save(path)

    def decode(*_, **__):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr("lsplus_tf.datasets.image_files.decode", decode)
    experiment = experiment_with(
        f"dataset.name=folder:{tmp_path / 'images'}",
        "dataset.cache=disk",
        f"dataset.cache_dir={tmp_path / 'cache'}",
        "dataset.unreadable=skip",
        "dataset.drop=[blank,duplicates]",
        "dataset.image_size=20",
    )
    found = forecast(experiment, tmp_path / "out", ["hard_labels"], [0])
    assert len(found.dataset) == 12
    assert found.dataset.image_shape == (20, 20, 1)
    assert "images" not in sizes(found.host)
    assert image_cache(experiment, found.dataset).bytes == 12 * 400
    assert not (tmp_path / "cache").exists()


def test_weights_need_not_be_there(tmp_path):
    """A pretrained network takes three channels."""
    experiment = experiment_with(
        "backbone={name: mobilenet_v2, width: 0.35, weights: nowhere.h5}", "dataset.image_size=32"
    )
    found = forecast(experiment, tmp_path, ["hard_labels"], [0])
    assert found.parameters == 410_208 + 1280 * 10 + 10  # docs/networks.md, and the logits
    assert isinstance(found.refusal, MissingDataError)
    assert found.weights.startswith("The weights of mobilenet_v2 are not there and cannot be had: ")


def test_weights_of_another_width_are_told(tmp_path):
    path = tmp_path / "mine.weights.h5"
    model = build_classifier("small_residual_cnn", (8, 8, 3), 10, width=0.1)
    model.get_layer("backbone").save_weights(path)
    for width, refused in ((0.1, False), (0.2, True)):
        experiment = experiment_with(f"backbone={{width: {width}, weights: {path}}}")
        found = forecast(experiment, tmp_path / "out", ["hard_labels"], [0])
        assert (found.refusal is not None) == refused
    assert "does not fit the backbone: stage1_" in str(found.refusal)
    assert found.weights == f"The weights of small_residual_cnn cannot be used: {path}."


@pytest.mark.usefixtures("linear_network")
def test_finished_runs_need_no_weights(reproduced, tmp_path, monkeypatch):
    experiment = read_experiment(reproduced.folder)
    weights = {"weights": "nowhere.h5"}
    changed = experiment.model_copy(
        update={"backbone": experiment.backbone.model_copy(update=weights)}
    )
    monkeypatch.setattr(forecasting, "check_folder", lambda *_: None)
    found = forecast(changed, reproduced.folder)
    assert (found.missing, found.weights, found.refusal) == ([], None, None)


@pytest.mark.usefixtures("linear_network")
def test_the_dry_run_ends_with_what_a_run_would_fail_of(call, tmp_path, monkeypatch):
    """After all else that it shows, and nothing is written: neither the folder nor the cache."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    def size(url: str, patience: float) -> int:
        if "_0.35_" in url:
            raise OSError("no network")
        return 2**20

    monkeypatch.setattr("lsplus_tf.pretrained._size", size)

    def dry_run(command: str, backbone: str) -> tuple[int, str, str]:
        code, stdout, stderr = call(
            command,
            *("digits", "--dry-run", "--out", tmp_path / "out"),
            *("--set", "dataset.image_size=32", "--set", f"backbone={{{backbone}}}"),
            columns=120,
        )
        lines = stdout.splitlines()
        assert lines[-1] == "Estimates; nothing was trained or written."
        (said,) = [line for line in lines if line.startswith("The ")] or [""]
        assert [path.name for path in tmp_path.iterdir()] == []
        return code, said, stderr

    code, said, stderr = dry_run("train", "name: mobilenet_v2, width: 1.0, weights: imagenet")
    assert (code, stderr) == (0, "")
    assert said.startswith("The ImageNet weights of mobilenet_v2 are not there yet, and are downl")
    assert "_1.0_224_no_top.h5 (1.0 MiB; the host answers) to " in said
    code, said, stderr = dry_run("reproduce", "name: mobilenet_v2, width: 0.35, weights: imagenet")
    assert code == 2
    assert said.startswith("The ImageNet weights of mobilenet_v2 are not there and cannot be had: ")
    assert stderr.startswith("error: backbone.weights: the ImageNet weights of mobilenet_v2 are")
    assert "(no network); download that file elsewhere and put it there or name it wi" in stderr
    code, said, stderr = dry_run("train", "weights: nowhere.h5")
    assert code == 2
    assert stderr.startswith("error: backbone.weights: no such file ")
    code, said, stderr = dry_run("train", "weights: null")
    assert (code, said, stderr) == (0, "", "")


@pytest.mark.usefixtures("linear_network")
def test_the_dry_run_of_the_command_line(call, reproduced, tmp_path):
    out = tmp_path / "out"
    arguments = [*reproduced.arguments, "--out", str(out), "--dry-run", "--workers", "3"]
    for command in ("reproduce", "train"):
        code, stdout, stderr = call(command, *arguments, columns=120)
        assert (code, stderr) == (0, "")
        lines = stdout.splitlines()
        assert lines[0].startswith("digits: 1077 train, 360 validation, 360 test images of 8x8x1")
        assert "8 of 8 runs to make, 3 at once: 34 steps of 32 images in an epoch, 2 ep" in stdout
        for row in ("ls_plus seed 1", "activations", "of 3 processes", "finished runs", "free"):
            assert row in stdout
    assert not out.exists()


@pytest.mark.usefixtures("linear_network")
def test_the_dry_run_says_which_images_and_groups_there_are(call, reproduced, tmp_path):
    for i in range(30):
        path = tmp_path / "images" / "ab"[i % 2] / f"P{i // 3}_{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 5 * i, np.uint8)).save(path)
    name = f"folder:{tmp_path / 'images'}"
    changes = {"name": name, "image_size": "8", "channels": "1", "group_pattern": "P[0-9]+"}
    settings = [word for k, v in changes.items() for word in ("--set", f"dataset.{k}={v}")]
    arguments = [*reproduced.arguments, "--out", str(tmp_path / "out"), "--dry-run", *settings]
    code, stdout, stderr = call("reproduce", *arguments)
    assert (code, stderr) == (0, "")
    lines = stdout.splitlines()
    assert lines[0] == (
        f"{name}: 18 train, 6 validation, 6 test images of 8x8x1, 2 classes. "
        "Groups: 6 train, 2 validation, 2 test."
    )
    checked = f"lsplus-tf datasets check {name} --group-pattern 'P[0-9]+'"
    assert lines[1] == f"The images were not decoded: {checked} finds those that stop a training."
    _, stdout, _ = call("reproduce", *arguments, "--set", "dataset.unreadable=skip")
    assert stdout.splitlines()[1].startswith("Counted before images that cannot be used are left o")


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ({"name": "folder:my scans"}, "'folder:my scans'"),
        (
            {
                "name": "csv:list.csv",
                "label_column": "class",
                "group_column": "",
                "background": "white",
            },
            "csv:list.csv --label-column class --group-column '' --background white",
        ),
        (
            {"name": "csv:a.csv", "label_columns": ["MEL", "NV"], "image_folder": "photos"},
            "csv:a.csv --label-columns MEL,NV --image-folder photos",
        ),
        (
            {"name": "folder:ct", "scaling": {"window": [40, 400]}},
            "folder:ct --scaling window=40,400",
        ),
        ({"name": "isic2018", "data_dir": "/data"}, "isic2018 --data-dir /data"),
    ],
)
def test_the_check_of_a_config_has_its_options(settings, command):
    assert check_command(Dataset(**settings)) == f"lsplus-tf datasets check {command}"
