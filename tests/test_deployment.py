"""From a trained model to calibrated probabilities of image files: calibrate and predict."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from lsplus_tf import metrics
from lsplus_tf.backbones import fingerprint
from lsplus_tf.calibrators import (
    CALIBRATORS,
    Calibrator,
    IsotonicCalibration,
    PredictionSets,
    TemperatureScaling,
    VectorScaling,
)
from lsplus_tf.cli.prediction_sets import separator
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.images import to_pillow
from lsplus_tf.deployment import (
    TrainedModel,
    check_calibrator,
    export,
    find_images,
    open_model,
    predict_files,
)
from lsplus_tf.errors import InputError
from lsplus_tf.predictions import Predictions, read_predictions
from lsplus_tf.training import run_folder


@pytest.fixture(scope="module")
def run(reproduced) -> Path:
    """A finished run on 8x8 grey images."""
    return reproduced.folder / "label_smoothing" / "seed_1"


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """The test split as PNG files, in two folders, with a hidden and another file beside them."""
    folder = tmp_path_factory.mktemp("files") / "scans"
    test = load_dataset("digits").test
    (folder / "b").mkdir(parents=True)
    for index, image in enumerate(test.images):
        to_pillow(image).save(folder / ("b" if index >= 200 else "") / f"{index:04d}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def temperature(run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("calibrator") / "temperature.json"
    p = run_folder.read_predictions(run, "validation")
    TemperatureScaling().fit(p.logits, p.labels).save(path)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def probabilities_of(rows: list[dict[str, str]]) -> np.ndarray:
    names = [name for name in rows[0] if name.startswith("probability_")]
    return np.array([[float(row[name]) for name in names] for row in rows])


# --- calibrate ------------------------------------------------------------------------------------


def test_calibrate_fits_all_of_the_file_and_measures_on_held_out_folds(call, run, tmp_path):
    file, out = run / "predictions_validation.npz", tmp_path / "calibrator.json"
    code, stdout, stderr = call("calibrate", file, "--out", out)
    assert (code, stderr) == (0, "")
    p = run_folder.read_predictions(run, "validation")
    fitted = TemperatureScaling.load(out)
    assert fitted.temperature_ == TemperatureScaling().fit(p.logits, p.labels).temperature_
    assert fitted.model_ == fingerprint(keras.models.load_model(run / "model.keras"))
    assert (fitted.kind_, fitted.data_) == ("logits", {"digest": p.digest(), "cases": 360})
    assert f"temperature {fitted.temperature_:.4g}, below 1: raises all confidences" in stdout
    brier = next(line for line in stdout.splitlines() if "Brier" in line)
    before, after = (float(cell) for cell in brier.split("│")[2:4])
    own = metrics.brier_score(p.labels, p.logits, from_logits=True)
    assert before == pytest.approx(100 * own, abs=0.0051)
    # Restated: each fifth judged by a fit to the others, on any folds about the same.
    judged = np.empty(p.logits.shape)
    for fold in range(5):
        held_out = np.arange(len(p.labels)) % 5 == fold
        fit = TemperatureScaling().fit(p.logits[~held_out], p.labels[~held_out])
        judged[held_out] = fit.predict_proba(p.logits[held_out])
    assert after == pytest.approx(100 * metrics.brier_score(p.labels, judged), abs=0.3)
    said = fitted.held_out_
    assert said["brier"]["before"] == pytest.approx(own, rel=1e-6)
    assert (said["cases"], said["folds"], round(100 * said["brier"]["after"], 2)) == (360, 5, after)
    low, high = said["brier"]["change"]
    assert low < said["brier"]["after"] - own < high
    assert said["shown_to_help"] == ("It is shown to help" in stdout)
    accuracy = (p.logits.argmax(axis=1) == p.labels).mean()
    assert said["accuracy"] == pytest.approx({"before": accuracy, "after": accuracy})
    # On the data it was fitted to it looks better than that.
    assert after > 100 * metrics.brier_score(p.labels, fitted.predict_proba(p.logits))


@pytest.mark.parametrize("method", CALIBRATORS)
def test_every_method_can_be_fitted_to_a_file_of_logits(call, tmp_path, method):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 3)) * 3
    labels = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    np.savez(tmp_path / "logits.npz", logits=logits, labels=labels)
    out = tmp_path / "fitted.json"
    file = tmp_path / "logits.npz"
    more = ("--adapt-to", file) if method == "label_shift" else ()
    code, stdout, _ = call("calibrate", file, "--method", method, "--out", out, *more)
    assert code == 0
    assert "On held-out folds, of 300 cases" in stdout
    assert Calibrator.load(out).name == method


def test_a_csv_of_probabilities(call, tmp_path):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 2)) * 3
    labels = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    probabilities = softmax(logits, axis=1)
    lines = ["truth,p_HP,p_SSA"]
    lines += [
        f"{['HP', 'SSA'][y]},{a:.9f},{b:.9f}"
        for y, (a, b) in zip(labels, probabilities, strict=True)
    ]
    (tmp_path / "file.csv").write_text("\n".join(lines))
    out = tmp_path / "fitted.json"
    arguments = (tmp_path / "file.csv", "--probabilities", "p_*", "--label", "truth", "--out", out)
    code, stdout, _ = call("calibrate", *arguments)
    assert code == 0
    assert "Its effect cannot be measured: that takes at least 50 cases" in stdout
    exact = TemperatureScaling().fit(logits, labels).temperature_
    assert TemperatureScaling.load(out).temperature_ == pytest.approx(exact, rel=1e-5)
    out.unlink()
    code, _, stderr = call("calibrate", *arguments, "--method", "vector")
    assert code == 2
    assert "--method: vector is a function of the logits" in stderr
    code, _, stderr = call("calibrate", *arguments, "--method", "none")
    assert code == 2
    assert "--method: expected one of temperature, " in stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("method", "sharper", "said"),
    [
        ("temperature", 1.0, "It is not shown to help: the Brier score may be no lower"),
        ("temperature", 3.0, "It is shown to help: the Brier score is lower on held-out folds"),
        ("histogram", 1.0, "It is shown to harm: the Brier score is higher on held-out folds"),
    ],
)
def test_calibrate_says_whether_it_is_shown_to_help(call, tmp_path, method, sharper, said):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 6)) * 2
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # as their softmax says
    np.savez(tmp_path / "p.npz", logits=sharper * logits, labels=labels)
    arguments = ("--method", method, "--out", tmp_path / "fitted.json")
    code, stdout, stderr = call("calibrate", tmp_path / "p.npz", *arguments, columns=200)
    assert (code, stderr) == (0, "")
    assert said in stdout
    change = next(line for line in stdout.splitlines() if "Brier" in line).split("│")[4]
    low, high = (float(bound) for bound in change.split("[")[1].split("]")[0].split(","))
    assert ("to help: the" in said, "harm" in said) == (
        high < 0 or "not" in said,
        low > 0,
    )


def test_calibrate_is_for_the_validation_split(call, run, tmp_path):
    arguments = ("--out", tmp_path / "fitted.json")
    code, _, stderr = call("calibrate", run / "predictions_test.npz", *arguments)
    assert code == 0
    assert "warning: " in stderr
    assert "the test split, on which nothing can be reported" in stderr
    assert "take predictions_validation.npz" in stderr
    code, _, stderr = call("calibrate", run, *arguments)
    assert code == 2
    assert "of a run: its predictions_validation.npz to calibrate" in stderr
    _, stdout, _ = call("calibrate", "--help", columns=200)
    assert "a run's predictions_validation.npz" in stdout
    assert "predictions_test" not in stdout
    _, stdout, _ = call("predict", "--help", columns=200)
    assert stdout.count("[default: (the model's)]") == 2


# --- another model than the calibrator's ----------------------------------------------------------


def test_commands_warn_of_a_calibrator_and_of_sets_of_another_model(
    call, reproduced, run, scans, tmp_path
):
    validation = run_folder.read_predictions(run, "validation")
    TemperatureScaling().fit(validation).save(tmp_path / "own.json")
    PredictionSets().fit(validation).save(tmp_path / "sets.json")
    image, other = scans / "0000.png", reproduced.folder / "label_smoothing" / "seed_0"
    said = "fitted to the outputs of another model"
    for number, (model, warned) in enumerate(((run, False), (other, True))):
        commands = {
            "calibrator": (
                ("predict", model, image, "--calibrator", tmp_path / "own.json"),
                ("export", model, "--calibrator", tmp_path / "own.json"),
            ),
            "sets": (("predict", model, image, "--sets-from", tmp_path / "sets.json"),),
        }
        for what, arguments in commands.items():
            for each in arguments:
                suffix = "keras" if each[0] == "export" else "csv"
                out = tmp_path / f"{each[0]}_{what}_{number}.{suffix}"
                code, _, stderr = call(*each, "--out", out)
                assert code == 0
                assert (f"warning: {what}: {said}" in stderr) == warned
                assert stderr.count("warning") == warned


# --- predict --------------------------------------------------------------------------------------


def test_files_get_the_probabilities_of_the_run(call, run, scans, tmp_path):
    out = tmp_path / "new" / "predictions.csv"
    code, stdout, stderr = call("predict", run, scans, "--out", out, "--batch-size", 50)
    assert (code, stderr) == (0, "")
    assert "1 file that is not an image is left out" in stdout
    test = run_folder.read_predictions(run, "test")
    rows = rows_of(out)
    assert [row["file"] for row in rows] == [
        str(scans / ("b" if index >= 200 else "") / f"{index:04d}.png") for index in range(360)
    ]
    expected = softmax(test.logits.astype(float), axis=1)
    np.testing.assert_allclose(probabilities_of(rows), expected, rtol=1e-4, atol=1e-6)
    assert [row["predicted"] for row in rows] == [str(k) for k in expected.argmax(axis=1)]
    assert {row["abstained"] for row in rows} == {"no"}
    assert f"360 images: {np.sum(expected.argmax(axis=1) == 0)} 0, " in stdout
    assert [path.name for path in out.parent.iterdir()] == ["predictions.csv"]


def test_calibrated_and_abstaining(call, run, scans, temperature, tmp_path):
    out = tmp_path / "predictions.csv"
    test = run_folder.read_predictions(run, "test")
    expected = TemperatureScaling.load(temperature).predict_proba(test.logits[200:])
    threshold = round(float(np.median(expected.max(axis=1))), 3)
    code, stdout, _ = call(
        "predict", run / "model.keras", scans / "b", "--calibrator", temperature,
        "--abstain-below", threshold, "--out", out,
    )  # fmt: skip
    assert code == 0
    rows = rows_of(out)
    np.testing.assert_allclose(probabilities_of(rows), expected, rtol=1e-4, atol=1e-6)
    confidence = np.array([float(row["confidence"]) for row in rows])
    np.testing.assert_allclose(confidence, expected.max(axis=1), rtol=1e-4)
    abstained = np.array([row["abstained"] for row in rows])
    np.testing.assert_array_equal(abstained == "yes", confidence < threshold)
    assert set(abstained) == {"yes", "no"}
    assert f"{np.sum(confidence < threshold)} abstained" in stdout


def test_sets_are_those_of_the_run_and_of_any_held_out_predictions(call, run, scans, tmp_path):
    out, saved = tmp_path / "predictions.csv", tmp_path / "sets.json"
    validation, test = (run_folder.read_predictions(run, split) for split in ("validation", "test"))
    temperature = TemperatureScaling().fit(validation)
    temperature.save(tmp_path / "calibrator.json")
    common = ("predict", run, scans / "b", "--out", out)

    def written() -> list[list[str]]:
        return [row["set"].split("|") for row in rows_of(out)]

    def expected(sets: PredictionSets) -> list[list[str]]:
        inside = sets.predict(test.take(np.arange(200, 360)))
        return [[str(k) for k in np.flatnonzero(row)] for row in inside]

    code, stdout, stderr = call(*common, "--sets", 0.05)
    assert (code, stderr) == (0, "")
    lac = PredictionSets(error_rate=0.05).fit(validation)
    assert written() == expected(lac)
    assert "lac sets at an error rate of 0.05, fitted to 360 validation cases of the run" in stdout
    assert ", which also chose its epoch: new cases may be covered a little less often" in stdout
    sizes = Counter(len(each) for each in written())
    listed = ", ".join(f"{sizes[k]} of {k} class{'es' * (k > 1)}" for k in sorted(sizes))
    assert f"sets: {listed} (classes of one are joined by |)" in stdout
    # Of scores that a calibrator changes, and of another file.
    by_class = PredictionSets(
        "raps", error_rate=0.2, class_conditional=True, calibrator=temperature
    )
    by_class.fit(validation).save(saved)
    more = "--calibrator", tmp_path / "calibrator.json"
    code, _, stderr = call(
        *common, *more, "--sets", 0.2, "--sets-method", "raps", "--sets-by-class",
    )  # fmt: skip
    assert code == 0
    assert "if --calibrator was fitted to the run's validation split too" in stderr
    assert written() == expected(by_class)
    code, stdout, stderr = call(*common, "--sets-from", saved)
    assert (code, stderr, written()) == (0, "", expected(by_class))
    assert "raps sets with a threshold for each class at an error rate of 0.2, from" in stdout
    calibrated = temperature.calibrate(test.take(np.arange(200, 360))).probabilities
    np.testing.assert_allclose(probabilities_of(rows_of(out)), calibrated, rtol=1e-4, atol=1e-6)
    # Of other cases: a threshold that is the score of a case itself is met or not by rounding.
    file = run / "predictions_validation.npz"
    code, stdout, stderr = call(*common, "--sets", 0.1, "--sets-from", file)
    assert (code, stderr) == (0, "")
    assert written() == expected(PredictionSets(error_rate=0.1).fit(validation))
    assert f"fitted to 360 cases of {file}" in stdout


def test_what_sets_are_refused(call, run, scans, temperature, tmp_path):
    def refused(*arguments: object, model: Path = run) -> str:
        code, stdout, stderr = call(
            "predict", model, scans / "0000.png", *arguments, "--out", tmp_path / "out.csv"
        )
        assert (code, stdout, stderr.count("\n")) == (2, "", 1)
        assert not (tmp_path / "out.csv").exists()
        return stderr

    validation = run_folder.read_predictions(run, "validation")
    lac, other = tmp_path / "lac.json", tmp_path / "other.json"
    PredictionSets().fit(validation).save(lac)
    isotonic = IsotonicCalibration().fit(validation)
    PredictionSets(calibrator=isotonic).fit(validation).save(other)
    assert "--sets: expected a number between 0 and 1, received 10" in refused("--sets", 10)
    of_none = refused("--sets", 0.1, "--sets-method", "thr")
    assert "--sets-method: expected one of lac, aps, raps, received 'thr'" in of_none
    for option in (("--sets-method", "aps"), ("--sets-by-class",), ("--sets-from", "file.npz")):
        assert f"{option[0]}: expected --sets beside it" in refused(*option)
    assert "--sets: expected 0.1, for which" in refused("--sets", 0.2, "--sets-from", lac)
    assert "which are lac sets at" in refused("--sets-method", "aps", "--sets-from", lac)
    assert "--sets-by-class: expected none" in refused("--sets-by-class", "--sets-from", lac)
    beside = refused("--sets-from", lac, "--calibrator", temperature)
    assert "--calibrator: expected none, as the sets in --sets-from were fitted to" in beside
    beside = refused("--sets-from", other, "--calibrator", temperature)
    assert "--calibrator: expected that of the sets, received another" in beside
    three = tmp_path / "three.npz"
    np.savez(three, labels=np.arange(30) % 3, probabilities=np.full((30, 3), 1 / 3))
    of_three = refused("--sets", 0.1, "--sets-from", three)
    assert "--sets-from: expected the model's classes 0, 1, 2" in of_three
    sets_of_three = tmp_path / "three.json"
    PredictionSets().fit(read_predictions(three)).save(sets_of_three)
    assert "--sets-from: expected the model's classes 0, 1" in refused("--sets-from", sets_of_three)
    alone = tmp_path / "alone.keras"
    shutil.copy(run / "model.keras", alone)
    unnamed = refused("--sets", 0.1, "--class-names", "0,1,2,3,4,5,6,7,8,9", model=alone)
    assert "--sets: expected --sets-from FILE beside it" in unnamed


@pytest.mark.parametrize(
    ("names", "expected"), [(("a", "b c"), "|"), (("a|b", "c"), ";"), (("a|;", "b"), "/")]
)
def test_what_stands_between_classes_is_in_no_name(names, expected):
    assert separator(names) == expected
    with pytest.raises(InputError, match="--sets: expected class names without one of"):
        separator(("|;/&", "b"))


def test_unreadable_files_are_named_and_refused_or_skipped(call, run, scans, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = (scans / "0000.png").read_bytes()
    (folder / "good.png").write_bytes(good)
    (folder / "cut.png").write_bytes(good[:-30])
    (folder / "text.jpg").write_text("no image")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "colour.png")
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(folder / "larger.png")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "deep.png")
    out = tmp_path / "predictions.csv"
    code, stdout, stderr = call("predict", run, folder, "--out", out)
    assert (code, stdout) == (2, "")
    assert "5 unreadable images: " in stderr
    assert "colour.png (it is colour, not grey; channels=1 converts it)" in stderr
    assert "and 2 more; give --channels 1 --image-size 8 --scaling window=40,400; " in stderr
    assert stderr.endswith("mend the others or give --unreadable skip\n")
    assert not out.exists()
    arguments = ("predict", run, folder, "--out", out, "--unreadable", "skip")
    code, stdout, _ = call(*arguments)
    assert code == 0
    assert "skipped 5 unreadable images" in stdout
    assert [Path(row["file"]).name for row in rows_of(out)] == ["good.png"]
    code, stdout, _ = call(*arguments, "--image-size", 8, "--channels", 1)
    assert [Path(row["file"]).name for row in rows_of(out)] == [
        "colour.png",
        "good.png",
        "larger.png",
    ]
    (folder / "good.png").unlink()
    code, _, stderr = call(*arguments)
    assert code == 2
    assert "none can be read, 5 unreadable images" in stderr


def test_all_that_options_mend_is_told_at_once(call, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    inputs = keras.Input((6, 6, 3))
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(inputs))
    keras.Model(inputs, outputs).save(run / run_folder.MODEL)
    dataset = {"image_size": None, "channels": None, "interpolation": "bilinear"}
    (run / run_folder.SETTINGS).write_text(json.dumps({"dataset": dataset}))
    run_folder.write_json(run / run_folder.SUMMARY, {"class_names": ["a", "b"]})
    for sides in ((6, 6), (7, 5)):
        (tmp_path / "scans").mkdir(exist_ok=True)
        deep = np.arange(sides[0] * sides[1], dtype=np.uint16).reshape(sides)
        Image.fromarray(deep).save(tmp_path / f"scans/{sides[0]}.png")
    arguments = ("predict", run, tmp_path / "scans", "--out", tmp_path / "p.csv")
    options = ("--channels", 3, "--image-size", 6, "--scaling", "window=40,400")
    for more in ((), ("--unreadable", "skip")):
        code, _, stderr = call(*arguments, *more)
        assert code == 2
        assert "6.png (it is grey, not colour; channels=3 converts it; more than 8 bits" in stderr
        assert stderr.endswith(f"; give {' '.join(map(str, options))}\n")
    code, stdout, _ = call(*arguments, *options)
    assert (code, stdout.startswith("2 images: ")) == (0, True)
    never = np.zeros((5, 7), ">u2").tobytes()
    (tmp_path / "scans/never.pgm").write_bytes(b"P5 7 5 4095\n" + never)
    _, _, stderr = call(*arguments)
    assert "scaling window=40,400; mend the others or give --unreadable skip" in stderr


def test_images_are_stretched_as_in_training(tmp_path):
    """A run trained on resized files: the pixels that the model gets are those of its data set."""
    rng = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for name in ("a", "b"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for index in range(2):
                pixels = rng.integers(0, 256, (70, 50, 3), dtype=np.uint8)
                file = tmp_path / "set" / split / name / f"{index}.jpg"
                Image.fromarray(pixels).save(file)
    for interpolation in ("bilinear", "nearest"):
        run = tmp_path / interpolation
        run.mkdir()
        inputs = keras.Input((20, 20, 1))
        keras.Model(inputs, keras.layers.Flatten()(inputs)).save(run / run_folder.MODEL)
        settings = {"image_size": 20, "channels": 1, "interpolation": interpolation}
        (run / run_folder.SETTINGS).write_text(json.dumps({"dataset": settings}))
        names = [f"pixel {k}" for k in range(400)]
        run_folder.write_json(run / run_folder.SUMMARY, {"class_names": names})
        dataset = load_dataset(f"folder:{tmp_path / 'set'}", **settings)
        trained = open_model(run)
        assert trained.class_names == tuple(names)
        files = [tmp_path / "set" / str(name) for name in dataset.test.ids]
        (batch,) = predict_files(trained, files)
        expected = softmax(dataset.test.images.reshape(4, 400).astype(float), axis=1)
        np.testing.assert_allclose(batch.predictions.probabilities, expected, atol=1e-12)


def test_a_scaling_travels_with_the_run_and_with_the_export(call, tmp_path):
    """Each model gives the softmax of the pixels that it gets."""
    values = np.random.default_rng(0).integers(0, 4096, (3, 6, 6), dtype=np.uint16)
    (tmp_path / "scans").mkdir()
    for k, one in enumerate(values):
        Image.fromarray(one).save(tmp_path / f"scans/{k}.png")
    run = tmp_path / "run"
    run.mkdir()
    inputs = keras.Input((6, 6, 1))
    flat = keras.layers.Flatten()(inputs)
    keras.Model(inputs, keras.layers.Rescaling(0.02)(flat)).save(run / run_folder.MODEL)
    dataset = {"image_size": None, "channels": None, "interpolation": "bilinear"}
    settings = {"dataset": {**dataset, "scaling": {"window": [1000, 1600]}}}
    (run / run_folder.SETTINGS).write_text(json.dumps(settings))
    names = [f"pixel {k}" for k in range(36)]
    run_folder.write_json(run / run_folder.SUMMARY, {"class_names": names})

    def expected(low: float, high: float) -> np.ndarray:
        grey = np.round(np.clip((values.astype(float) - low) * 255 / (high - low), 0, 255))
        return softmax(0.02 * grey.reshape(3, 36), axis=1)

    out = tmp_path / "p.csv"
    fitted = TemperatureScaling().fit(2 * np.eye(36)[[0, 0, 0, 0]], [0, 0, 0, 1])
    fitted.temperature_ = 1.0
    export(open_model(run), tmp_path / "one.keras", calibrator=fitted)
    (tmp_path / "plain.keras").write_bytes((run / run_folder.MODEL).read_bytes())
    option = ("--scaling", "range=0,4000")
    for model, options, limits in (
        (run, (), (200, 1800)),
        (tmp_path / "one.keras", (), (200, 1800)),
        (run, option, (0, 4000)),
        (tmp_path / "plain.keras", option, (0, 4000)),
    ):
        assert call("predict", model, tmp_path / "scans", "--out", out, *options)[0] == 0
        found = probabilities_of(rows_of(out))
        np.testing.assert_allclose(found, expected(*limits), rtol=1e-4, atol=1e-7)
    code, _, stderr = call("predict", tmp_path / "plain.keras", tmp_path / "scans", "--out", out)
    assert code == 2
    assert "0.png (more than 8 bits per channel; scaling, as window=40,400, scales it)" in stderr


@pytest.mark.parametrize(
    "end",
    [
        lambda: [keras.layers.Dense(2, activation="softmax")],
        lambda: [keras.Sequential([keras.layers.Dense(2), keras.layers.Softmax()])],
        lambda: [keras.layers.Dense(1, activation="sigmoid")],
        lambda: [keras.layers.Dense(2, activation="softmax", dtype="mixed_float16")],
    ],
    ids=["softmax", "nested", "sigmoid", "float16"],
)
@pytest.mark.filterwarnings("ignore:.*gives probabilities in float16")
def test_any_keras_model(call, scans, tmp_path, end):
    """One that gives probabilities, of another size, without a run: stretched, calibrated, sent."""
    inputs = keras.Input((6, 6, 3))
    outputs = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    keras.utils.set_random_seed(1)
    for layer in end():
        outputs = layer(outputs)
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "mine.keras")
    arguments = (tmp_path / "mine.keras", scans / "0000.png", scans / "0001.png")
    out = tmp_path / "out.csv"
    assert call("predict", *arguments, "--out", out)[0] == 0
    rows = rows_of(out)
    assert set(rows[0]) >= {"probability_class_0", "probability_class_1"}
    pixels = np.stack(
        [
            np.asarray(Image.open(path).convert("RGB").resize((6, 6), Image.Resampling.BILINEAR))
            for path in arguments[1:]
        ]
    )
    own = model(pixels.astype(np.float32)).numpy().astype(float)
    if own.shape[1] == 1:
        own = np.concatenate([1 - own, own], axis=1)
    np.testing.assert_allclose(probabilities_of(rows), own, rtol=1e-5)
    fitted = TemperatureScaling().fit([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1])
    fitted.save(tmp_path / "t.json")
    code, _, _ = call(
        "predict", *arguments, "--out", out, "--class-names", "=HP,SSA", "--calibrator",
        tmp_path / "t.json",
    )  # fmt: skip
    assert code == 0
    rows = rows_of(out)
    assert {row["predicted"] for row in rows} <= {"'=HP", "SSA"}
    expected = fitted.predict_proba(np.log(own))
    np.testing.assert_allclose(probabilities_of(rows), expected, rtol=1e-5)
    one = tmp_path / "one.keras"
    code, _, _ = call(
        "export", tmp_path / "mine.keras", "--calibrator", tmp_path / "t.json", "--out", one,
        "--class-names", "HP,SSA",
    )  # fmt: skip
    assert code == 0
    assert call("predict", one, *arguments[1:], "--out", out)[0] == 0
    np.testing.assert_allclose(probabilities_of(rows_of(out)), expected, rtol=1e-5)


def test_what_predict_refuses(call, run, scans, temperature, tmp_path):
    def refused(*arguments: object) -> str:
        code, stdout, stderr = call("predict", *arguments, "--out", tmp_path / "out.csv")
        assert (code, stdout, stderr.count("\n")) == (2, "", 1)
        assert not (tmp_path / "out.csv").exists()
        return stderr

    one = scans / "0000.png"
    three = tmp_path / "three.json"
    TemperatureScaling().fit([[1.0, 0, 0], [0, 2, 0], [1, 0, 0]], [0, 1, 1]).save(three)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.keras").write_text("no model")
    assert "there is no" in refused(run, tmp_path / "nowhere")
    assert "images: no .png, .jpg, " in refused(run, tmp_path / "empty")
    assert "the folder of a finished run or a .keras file" in refused(tmp_path, one)
    assert "it is an experiment: name one of its runs" in refused(run.parents[1], one)
    of_a_method = refused(run.parent, one)
    assert (
        f"it is a method of an experiment: name one of its runs, such as {run.parent}"
        in of_a_method
    )
    script = tmp_path / "served" / "assets.extra" / "predict_images.py"
    script.parent.mkdir(parents=True)
    script.touch()
    of_an_export = refused(tmp_path / "served", one)
    assert f"use python {script} {tmp_path / 'served'} IMAGES" in of_an_export
    none = refused(run, one, "--calibrator", tmp_path / "none.json")
    assert "none.json: expected a calibrator, there is no file" in none
    assert "expected a .keras file" in refused(one, one)
    assert "cannot be loaded as a Keras model" in refused(tmp_path / "text.keras", one)
    assert "one of 10 classes, as the model has" in refused(run, one, "--calibrator", three)
    assert "not a calibrator" in refused(run, one, "--calibrator", run / "summary.json")
    assert "image_size: expected 8" in refused(run, one, "--image-size", 9)
    assert "channels: expected 1" in refused(run, one, "--channels", 3)
    assert "--channels: expected 1 or 3" in refused(run, one, "--channels", 2)
    assert "--unreadable: expected fail or skip" in refused(run, one, "--unreadable", "ask")
    assert "10 different names" in refused(run, one, "--class-names", "a,b")


def test_models_that_cannot_be_used(tmp_path):
    inputs = keras.Input((6, 6, 3))
    flat = keras.layers.Flatten()(inputs)

    def refused(model: keras.Model) -> str:
        model.save(tmp_path / "model.keras")
        with pytest.raises(InputError) as error:
            open_model(tmp_path / "model.keras")
        return str(error.value)

    sigmoid = keras.layers.Dense(2, activation="sigmoid")(flat)
    assert "a sigmoid for each class" in refused(keras.Model(inputs, sigmoid))
    assert "or (B, 1) of one sigmoid" in refused(keras.Model(inputs, keras.layers.Dense(1)(flat)))
    vector = keras.Input((5,))
    assert "a model of images" in refused(keras.Model(vector, keras.layers.Dense(2)(vector)))
    # A calibrator of logits is no use where there are none, and one is enough.
    logits, labels = [[2.0, 0], [0, 2], [2, 0], [0, 2], [2, 0]], [0, 1, 0, 1, 1]
    for calibrator, last, message in (
        (VectorScaling(), keras.layers.Dense(2, activation="softmax"), "function of the logits"),
        (TemperatureScaling(), TemperatureScaling().fit(logits, labels).to_layer(), "calibrated"),
    ):
        before = keras.layers.Dense(2)(flat)
        keras.Model(inputs, last(before)).save(tmp_path / "model.keras")
        trained = open_model(tmp_path / "model.keras")
        with pytest.raises(InputError, match=message):
            list(predict_files(trained, [], calibrator=calibrator.fit(logits, labels)))


def test_files_are_found_once_and_in_order(scans):
    files, others = find_images([scans / "0003.png", scans, scans / "b" / "0200.png"])
    assert len(files) == 360
    assert files[:2] == [scans / "0003.png", scans / "0000.png"]
    assert others == 1


def test_a_calibrator_of_other_classes_is_refused():
    """Columns in another order, or other names, would give wrong numbers without a word."""
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    held_out = Predictions([0, 1] * 10, logits=[[2, 0], [1, 0]] * 10, class_names=["ill", "well"])
    fitted = TemperatureScaling().fit(held_out)
    for names in (("well", "ill"), ("ill", "healthy")):
        trained = TrainedModel(model, names, False, False, False, "nearest")
        with pytest.raises(InputError, match="calibrator: expected the model's classes"):
            check_calibrator(trained, fitted)
    for names in (("ill", "well"), ("class_0", "class_1"), ("0", "1")):
        check_calibrator(TrainedModel(model, names, False, False, False, "nearest"), fitted)


def test_a_name_that_begins_with_a_tilde_is_no_home_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    trained = TrainedModel(model, ("a", "b"), False, True, True, "bilinear")
    Image.new("L", (4, 4)).save("~tmp.png")
    found, _ = find_images(["."])
    for files in (found, ["~tmp.png"]):
        (batch,) = predict_files(trained, files)
        assert [*batch.predictions.ids] == ["~tmp.png"]
    with pytest.raises(InputError, match="images: expected a path, there is no home folder ~tmp"):
        find_images(["~tmp.png"])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_images(["~"])[0] == [tmp_path / "~tmp.png"]


@pytest.mark.parametrize("name", ["my model", "Modèle", "m\x1b[31m", "_m", "診断"])
def test_models_of_any_name_and_of_one_named_output_are_used(tmp_path, name):
    inputs = keras.Input((4, 4, 1))
    scores = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, {"p": scores}, name=name)
    model.save(tmp_path / "mine.keras")
    Image.new("L", (4, 4), 100).save(tmp_path / "grey.png")
    (batch,) = predict_files(open_model(tmp_path / "mine.keras"), [tmp_path / "grey.png"])
    expected = model(np.full((1, 4, 4, 1), 100, np.float32))["p"]
    np.testing.assert_allclose(batch.predictions.probabilities, expected, rtol=1e-6)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(InputError, match=r"x\.png is a device or pipe$"):
        find_images([tmp_path / "x.png"])


def test_a_model_of_any_size_is_used_at_one_that_is_given(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Resizing(8, 8)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.save(tmp_path / "mine.keras")
    with pytest.raises(InputError, match="image_size and channels say what it does not"):
        open_model(tmp_path / "mine.keras")
    trained = open_model(tmp_path / "mine.keras", image_size=16)
    assert trained.image_shape == (16, 16, 3)
    assert fingerprint(trained.model) == fingerprint(model)
    Image.new("RGB", (20, 10), (200, 100, 0)).save(tmp_path / "a.png")
    (batch,) = predict_files(trained, [tmp_path / "a.png"])
    expected = model(np.full((1, 16, 16, 3), (200, 100, 0), np.float32))
    np.testing.assert_allclose(batch.predictions.logits, expected, rtol=1e-5)


def test_models_that_do_not_say_what_they_take_are_named(tmp_path):
    @keras.saving.register_keras_serializable(package="test_deployment")
    class Own(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.last = keras.layers.Dense(2)

        def call(self, images):
            return self.last(keras.ops.mean(images, axis=(1, 2)))

    model = Own()
    model(np.zeros((1, 4, 4, 1), np.float32))
    model.save(tmp_path / "own.keras")
    with pytest.raises(InputError, match="expected a model of images"):
        open_model(tmp_path / "own.keras")
