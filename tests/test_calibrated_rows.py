"""Calibrators as rows of an experiment: fitted to validation alone, and added without training."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from helpers import DIGITS
from scipy.special import logsumexp, softmax

from lsplus_tf import metrics
from lsplus_tf.calibrators import (
    CALIBRATORS,
    Calibrator,
    LabelShift,
    TemperatureScaling,
    label_shift_test,
)
from lsplus_tf.config import CalibratorName, load_config
from lsplus_tf.errors import InputError
from lsplus_tf.manifest import write_manifest
from lsplus_tf.predictions import Predictions
from lsplus_tf.results import Results, gather, tables
from lsplus_tf.training import run_folder


def with_calibrators(folder: Path, *names: str, ensembles: tuple[str, ...] = ()) -> Results:
    """The results of an experiment whose config names these calibrators."""
    results = gather(folder)
    changed = results.experiment.model_copy(update={"calibrators": names, "ensembles": ensembles})
    return dataclasses.replace(results, experiment=changed)


@pytest.fixture(scope="module")
def calibrated(reproduced) -> Results:
    ensembles = ("ls_plus",)
    return with_calibrators(reproduced.folder, "temperature", "weight", ensembles=ensembles)


def test_a_config_names_every_calibrator():
    assert set(get_args(CalibratorName)) == set(CALIBRATORS)
    experiment = load_config(DIGITS, ["calibrators=[temperature,dirichlet]"])
    assert experiment.calibrators == ("temperature", "dirichlet")
    plain = load_config(DIGITS)
    assert experiment.run_settings("ls_plus", 0) == plain.run_settings("ls_plus", 0)
    with pytest.raises(InputError, match=r"calibrators\.0: expected 'temperature'"):
        load_config(DIGITS, ["calibrators=[platts]"])
    with pytest.raises(InputError, match="calibrators: expected different names"):
        load_config(DIGITS, ["calibrators=[weight,weight]"])


def test_each_method_is_followed_by_what_calibrators_make_of_it(calibrated):
    comparison = tables.compare(calibrated)
    assert comparison.names[:4] == ["HL", "HL + temperature", "HL + weight", "LS"]
    assert comparison.names[-3:] == [
        "LS+ ensemble",
        "LS+ ensemble + temperature",
        "LS+ ensemble + weight",
    ]
    assert list(comparison.mean.index[-3:]) == [
        "ls_plus_ensemble",
        "ls_plus_ensemble+temperature",
        "ls_plus_ensemble+weight",
    ]
    assert set(comparison.seeds) == {2}
    assert "fitted to its validation split alone" in comparison.caption
    assert "That split also chose the epoch" in comparison.caption
    bare = tables.compare(with_calibrators(calibrated.folder))
    assert bare.names == ["HL", "LS", "LS+", "OLS"]
    assert bare.caption == tables.CAPTION
    pd.testing.assert_frame_equal(bare.mean, comparison.mean.loc[bare.mean.index])


def test_a_last_epoch_is_not_chosen_on_validation(calibrated):
    protocol = calibrated.experiment.protocol.model_copy(update={"checkpoint": "last"})
    experiment = calibrated.experiment.model_copy(update={"protocol": protocol})
    caption = tables.compare(dataclasses.replace(calibrated, experiment=experiment)).caption
    assert "fitted to its validation split alone" in caption
    assert "chose the epoch" not in caption


def test_numbers_are_those_of_a_temperature_fitted_by_hand(calibrated):
    """Restated: the temperature that a grid finds on validation, used on test."""
    comparison = tables.compare(calibrated)
    values = []
    for seed in (0, 1):
        folder = calibrated.folder / "label_smoothing" / f"seed_{seed}"
        validation = run_folder.read_predictions(folder, "validation")
        logits = validation.logits.astype(float)
        rows = np.arange(len(logits))
        grid = np.geomspace(0.02, 20, 20_001)
        nll = [
            (logsumexp(logits / t, axis=1) - logits[rows, validation.labels] / t).mean()
            for t in grid[::100]
        ]
        coarse = int(np.argmin(nll)) * 100
        near = grid[max(coarse - 100, 0) : coarse + 100]
        fine = [
            (logsumexp(logits / t, axis=1) - logits[rows, validation.labels] / t).mean()
            for t in near
        ]
        test = run_folder.read_predictions(folder, "test")
        probabilities = softmax(test.logits.astype(float) / near[np.argmin(fine)], axis=1)
        values.append(metrics.negative_log_likelihood(test.labels, probabilities))
    row = comparison.mean.index.get_loc("label_smoothing+temperature")
    assert comparison.mean["nll"].iloc[row] == pytest.approx(50 * sum(values), rel=1e-4)
    sd = 100 * abs(values[0] - values[1]) / np.sqrt(2)
    assert comparison.sd["nll"].iloc[row] == pytest.approx(sd, rel=1e-3)
    before = comparison.mean["nll"].loc["label_smoothing"]
    assert comparison.mean["nll"].iloc[row] < before


def test_an_ensemble_is_calibrated_as_a_whole(calibrated):
    row = next(row for row in calibrated.rows if row.key == "ls_plus_ensemble+temperature")
    folders = [calibrated.folder / "ls_plus" / f"seed_{seed}" for seed in (0, 1)]
    mean = {}
    for split in ("validation", "test"):
        each = [run_folder.read_predictions(folder, split) for folder in folders]
        mean[split] = sum(softmax(p.logits.astype(float), axis=1) for p in each) / 2
        labels = each[0].labels
        if split == "validation":
            fitted = TemperatureScaling().fit(np.log(mean[split]), labels)
    (found,) = calibrated.predictions(row)
    np.testing.assert_allclose(found.probabilities, fitted.predict_proba(np.log(mean["test"])))
    np.testing.assert_array_equal(found.labels, labels)


def test_an_ensemble_of_calibrated_members(calibrated):
    """Restated: each run's temperature of its own validation split, then the mean."""
    experiment = calibrated.experiment.model_copy(
        update={"calibrators": ("temperature",), "ensemble_calibration": ("whole", "members")}
    )
    results = dataclasses.replace(calibrated, experiment=experiment)
    assert [(row.key, row.name) for row in results.rows[-3:]] == [
        ("ls_plus_ensemble", "LS+ ensemble"),
        ("ls_plus_ensemble+temperature", "LS+ ensemble + temperature"),
        ("ls_plus+temperature_ensemble", "(LS+ + temperature) ensemble"),
    ]
    row = results.rows[-1]
    members = []
    for seed in (0, 1):
        folder = results.folder / "ls_plus" / f"seed_{seed}"
        validation, test = (
            run_folder.read_predictions(folder, split) for split in ("validation", "test")
        )
        fitted = TemperatureScaling().fit(validation.logits, validation.labels)
        members.append(softmax(test.logits.astype(float) / fitted.temperature_, axis=1))
    (found,) = results.predictions(row)
    np.testing.assert_allclose(found.probabilities, sum(members) / 2, rtol=1e-5)
    whole, _ = results.predictions(results.rows[-2]), results.predictions(row)
    assert np.abs(whole[0].probabilities - found.probabilities).max() > 1e-3
    assert "each member with its own calibrator" in tables.compare(results).caption
    alone = experiment.model_copy(update={"ensemble_calibration": ("members",)})
    keys = [row.key for row in dataclasses.replace(results, experiment=alone).rows]
    assert keys[-2:] == ["ls_plus_ensemble", "ls_plus+temperature_ensemble"]


def test_how_ensembles_are_calibrated_is_checked():
    assert load_config(DIGITS).ensemble_calibration == ("whole",)
    for given in ("[]", "[member]", "[whole,whole]", "members"):
        with pytest.raises(InputError, match="ensemble_calibration"):
            load_config(DIGITS, [f"ensemble_calibration={given}"])


def test_the_test_split_decides_nothing(calibrated, tmp_path):
    """Other test labels and logits leave every calibrator as it is."""
    copy = tmp_path / "copy"
    shutil.copytree(calibrated.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report"))
    for path in copy.glob("*/*/predictions_test.npz"):
        p = run_folder.read_predictions(path.parent, "test")
        wrong = p.replace(logits=-p.logits, labels=(p.labels + 1) % 10)
        run_folder.write_predictions(path.parent, "test", wrong)
        write_manifest(path.parent, {})
    changed = with_calibrators(copy, "temperature", "weight", ensembles=("ls_plus",))
    fitted = [c.to_json() for row in changed.rows for c in row.calibrators]
    assert fitted == [c.to_json() for row in calibrated.rows for c in row.calibrators]
    assert len(fitted) == 2 * (4 * 2 + 1)


def test_what_cannot_be_fitted_is_told_and_left_out(calibrated, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(calibrated.folder, copy, ignore=shutil.ignore_patterns("*.keras", "report"))
    for path in copy.glob("*/*/predictions_validation.npz"):
        p = run_folder.read_predictions(path.parent, "validation")
        run_folder.write_predictions(path.parent, "validation", p.take(p.labels != 3))
        write_manifest(path.parent, {})
    results = with_calibrators(copy, "platt", "temperature")
    message = (
        "calibrators: platt cannot be fitted to the validation split, and is left out of HL, LS, "
        r"LS\+, OLS: labels: PlattScaling needs samples of every class, received none of class 3"
    )
    with pytest.warns(UserWarning, match=message):
        names = [row.name for row in results.rows]
    assert names[:3] == ["HL", "HL + temperature", "LS"]


def test_runs_have_a_line_for_each_calibration(calibrated):
    runs = calibrated.metrics()
    assert len(runs) == 4 * 2 * 3  # methods, seeds, and without, temperature, weight
    assert not calibrated.metrics("validation")["method"].str.contains("+", regex=False).any()
    row = next(row for row in calibrated.rows if row.key == "ls_plus+weight")
    (one,) = runs[(runs["method"] == row.key) & (runs["seed"] == 1)].to_dict("records")
    expected = metrics.brier_score(calibrated.predictions(row)[1])
    assert one["brier"] == pytest.approx(expected, rel=1e-6)


def test_they_are_added_to_a_finished_experiment_without_training(reproduced, tmp_path):
    copy = tmp_path / "digits"
    shutil.copytree(reproduced.folder, copy)
    arguments = [str(copy) if x == str(reproduced.folder) else x for x in reproduced.arguments]
    script = (
        "import sys; from lsplus_tf import cli; sys.argv = ['lsplus-tf', *sys.argv[1:]]\n"
        "try: cli.main()\n"
        "except SystemExit as end: code = end.code\n"
        "sys.exit('tensorflow' in sys.modules or code)"
    )
    command = [sys.executable, "-c", script]
    added = [*command, "reproduce", *arguments, "--set", "calibrators=[temperature]"]
    first = subprocess.run(added, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "0 runs to make, 8 already finished" in first.stdout
    assert "HL + temperature" in first.stdout
    report = copy / "report"
    assert (report / "reliability_temperature.png").is_file()
    # From now on `report` has them too.
    results = gather(copy)
    assert results.experiment.calibrators == ("temperature",)
    pd.testing.assert_frame_equal(pd.read_csv(report / "runs.csv"), results.metrics())
    table = pd.read_csv(report / "table.csv", index_col="method")
    assert "online_label_smoothing+temperature" in table.index
    saved = Calibrator.load(report / "calibrators" / "ls_plus+temperature_seed_1.json")
    row = next(row for row in results.rows if row.key == "ls_plus+temperature")
    assert saved.to_json() == row.calibrators[1].to_json()


def test_label_shift_is_adapted_to_the_test_splits_predictions_and_the_table_says_so(calibrated):
    results = with_calibrators(calibrated.folder, "label_shift")
    (_, row, *_) = results.rows
    assert row.name == "HL + label shift"
    plain = results.rows[0]
    pairs = zip(results.predictions(plain, "validation"), results.predictions(plain), strict=True)
    for calibrator, (held_out, test) in zip(row.calibrators, pairs, strict=True):
        unlabelled = Predictions(None, logits=test.logits)
        expected = LabelShift().fit(held_out).adapt(unlabelled)
        np.testing.assert_allclose(calibrator.prevalence_, expected.prevalence_)
        assert not np.allclose(calibrator.prevalence_, calibrator.source_prevalence_)
    said = "Label shift is also adapted to the test split"
    assert said in tables.compare(results).caption
    assert said not in tables.compare(calibrated).caption
    # What the docs say to look at first.
    pairs = zip(results.predictions(plain, "validation"), results.predictions(plain), strict=True)
    p_values = [label_shift_test(held_out, test).p_value for held_out, test in pairs]
    line = next(line for line in tables.label_shifts(results) if line.startswith(f"{row.name}:"))
    assert line in tables.compare(results).caption
    assert f"p = {', '.join(f'{each:.2g}' for each in p_values)}, where a small p" in line
    share = np.mean([each.prevalence_[0] for each in row.calibrators])
    assert f"adapted to {results.class_names[0]} {share:.1%}" in line
    assert tables.label_shifts(calibrated) == []
