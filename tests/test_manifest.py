"""A finished run's manifest: whatever is changed in the folder is seen, and made anew."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import (
    HARD,
    NOT_AUGMENTED,
    PLUS,
    Linear,
    linear_experiment,
    made_up_runs,
    same_predictions,
)

from lsplus_tf import manifest, results
from lsplus_tf.config import Experiment
from lsplus_tf.datasets import load_dataset
from lsplus_tf.deployment import find_model
from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run, engines, run_experiment
from lsplus_tf.experiments.make import make_run
from lsplus_tf.manifest import MANIFEST, DamagedRunError
from lsplus_tf.predictions import read_predictions
from lsplus_tf.training import run_folder

pytestmark = pytest.mark.usefixtures("float32_afterwards")

# What a report reads of a run; its numbers are computed from predictions.
READ_BY_REPORTS = {
    MANIFEST,
    run_folder.SETTINGS,
    run_folder.ENVIRONMENT,
    run_folder.HISTORY,
    run_folder.SUMMARY,
    run_folder.PRIOR,
    run_folder.SOFT_LABELS,
    "predictions_validation.npz",
    "predictions_test.npz",
}
NEVER_READ = {run_folder.METRICS, run_folder.MODEL, run_folder.LOG}


@pytest.fixture
def experiment(reproduced, tmp_path) -> Path:
    """Of finished runs, a copy to damage."""
    return shutil.copytree(reproduced.folder, tmp_path / "digits")


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << place % 8
    path.write_bytes(content)


def test_a_manifest_names_every_file_and_what_made_them(reproduced):
    folder = Run("ls_plus", 0).folder(reproduced.folder)
    found = manifest.read_manifest(folder)
    assert found.version == manifest.VERSION == 1
    assert {"lsplus_tf", "tensorflow", "keras", "numpy"} <= set(found.made_by)
    assert set(found.files) == {path.name for path in folder.iterdir()} - {MANIFEST}
    assert manifest.find_damage(folder) == {}
    digest = json.loads((folder / MANIFEST).read_text())["files"][run_folder.LOG]["sha256"]
    assert digest == hashlib.sha256((folder / run_folder.LOG).read_bytes()).hexdigest()


def test_every_byte_that_is_flipped_is_seen(experiment):
    folder = Run("ls_plus", 0).folder(experiment)
    files = sorted(folder.iterdir())
    assert {path.name for path in files} <= READ_BY_REPORTS | NEVER_READ
    rng = np.random.default_rng(0)
    for number in range(200):
        path = files[number % len(files)]
        place = int(rng.integers(path.stat().st_size))
        flip(path, place)
        assert [*run_folder.find_damage(folder)] == [path.name], place
        flip(path, place)
    assert run_folder.find_damage(folder) == {}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", sorted(READ_BY_REPORTS | NEVER_READ))
def test_what_a_report_reads_it_checks(experiment, call, name):
    method = "online_label_smoothing" if name == run_folder.SOFT_LABELS else "ls_plus"
    path = Run(method, 0).folder(experiment) / name
    flip(path, path.stat().st_size // 2)
    code, stdout, stderr = call("verify", experiment)
    assert code == 1
    assert f"damaged  {path}: " in stdout
    assert "7 runs whole, made by lsplus_tf " in stdout
    if name in NEVER_READ:
        return
    code, stdout, stderr = call("report", experiment, "--methods", method, "--seeds", "0")
    assert code == 2
    (line,) = stderr.splitlines()
    assert line.startswith(f"error: {path}: damaged, it is not what was written; give the command")
    assert not stdout


def test_numbers_of_reports_are_those_of_predictions(experiment, reproduced):
    for path in experiment.glob("*/seed_*/metrics.json"):
        path.write_text(path.read_text().replace("0.", "0.9"))
    ours, theirs = (results.gather(each).metrics() for each in (experiment, reproduced.folder))
    assert ours.equals(theirs)


@pytest.mark.parametrize("why", ["it is missing", "it has 10 of", "it is a folder", "not among"])
def test_damage_of_every_kind_is_named(experiment, why):
    folder = Run("hard_labels", 0).folder(experiment)
    path = folder / run_folder.HISTORY
    if why == "it has 10 of":
        path.write_bytes(path.read_bytes()[:10])
    elif why == "not among":
        path = folder / run_folder.SOFT_LABELS  # which hard labels do not have
        np.savez(path, soft_labels=np.zeros((2, 10, 10)))
        assert not run_folder.has(folder, path.name)
        assert run_folder.find_damage(folder) == {}  # a file of the user's harms nobody
        with pytest.raises(DamagedRunError, match="not among the files of manifest"):
            run_folder.read_soft_labels(folder)
        return
    else:
        path.unlink()
        if why == "it is a folder":
            path.mkdir()
    assert [*run_folder.find_damage(folder)] == [path.name]
    with pytest.raises(DamagedRunError, match=r"history\.csv: damaged, .*makes the run anew$"):
        run_folder.read_history(folder)


@pytest.mark.usefixtures("undrawn")
def test_a_file_that_not_all_runs_have_is_missed(experiment, call):
    path = Run("ls_plus", 0).folder(experiment) / run_folder.PRIOR
    path.unlink()
    code, _, stderr = call("report", experiment, "--methods", "ls_plus", "--seeds", "0")
    assert code == 2
    assert f"{path}: damaged, it is missing" in stderr


def test_predictions_of_a_run_are_checked_wherever_they_are_read(experiment, call, tmp_path):
    path = Run("hard_labels", 0).folder(experiment) / "predictions_test.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez_compressed(path, **{**arrays, "labels": arrays["labels"][::-1]})
    with pytest.raises(DamagedRunError):
        read_predictions(path)
    for command in ("audit", "calibrate"):
        code, _, stderr = call(command, path, "--out", tmp_path / "out")
        assert code == 2
        assert "predictions_test.npz: damaged, it " in stderr
    copied = Path(shutil.copy(path, tmp_path))  # is anybody's
    assert read_predictions(copied).labels.tolist() == arrays["labels"][::-1].tolist()


def test_a_manifest_of_another_program_is_none(tmp_path, call):
    (tmp_path / MANIFEST).write_text('{"name": "my web app", "version": 3}')
    (tmp_path / "predictions.csv").write_text("label,p_a,p_b\na,0.9,0.1\nb,0.7,0.3\n")
    assert len(read_predictions(tmp_path / "predictions.csv")) == 2
    code, _, stderr = call("verify", tmp_path)
    assert code == 2
    assert "found no finished run" in stderr


def test_what_the_system_cannot_read_is_no_damage(experiment, monkeypatch):
    folder = Run("hard_labels", 0).folder(experiment)

    def fail(path: Path) -> manifest.Digest:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(manifest.Digest, "of", fail)
    with pytest.raises(InputError, match=r"cannot be read \(Input/output error\)") as caught:
        run_folder.find_damage(folder)
    assert not isinstance(caught.value, DamagedRunError)


def test_what_file_systems_leave_is_not_in_a_manifest(tmp_path):
    (tmp_path / "log.txt").write_text("all is well")
    (tmp_path / ".nfs0001").write_text("")
    (tmp_path / "@eaDir").mkdir()
    manifest.write_manifest(tmp_path, {})
    assert [*manifest.read_manifest(tmp_path).files] == ["log.txt"]


@pytest.mark.parametrize("name", ["../config.yaml", "/dev/zero"])
def test_a_manifest_names_files_beside_it_alone(tmp_path, name):
    digest = manifest.Digest(0, "0" * 64)
    text = manifest.Manifest(1, {}, {name: digest}).to_json()
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(DamagedRunError):
        manifest.read_manifest(tmp_path)


def test_other_files_beside_a_run_and_configs_beside_runs(experiment, call, tmp_path):
    folder = Run("hard_labels", 0).folder(experiment)
    mine = Path(shutil.copy(folder / run_folder.MODEL, folder / "mine.keras"))
    assert find_model(mine) == (None, mine)
    assert find_model(folder / run_folder.MODEL)[0] == folder
    (folder / run_folder.SUMMARY).unlink()
    assert find_model(folder / run_folder.MODEL)[0] == folder  # which is then found to be damaged
    (experiment / run_folder.SETTINGS).write_text("mine: 1\n")
    code, stdout, _ = call("verify", experiment)
    assert code == 1
    assert "7 runs whole" in stdout


def test_runs_that_are_exchanged_are_named(experiment, call):
    first, second = (Run("ls_plus", seed).folder(experiment) for seed in (0, 1))
    first.rename(experiment / "between")
    second.rename(first)
    (experiment / "between").rename(second)
    code, stdout, _ = call("verify", experiment, columns=300)
    assert code == 1
    assert f"misplaced  {first}: it is ls_plus, seed 1" in stdout
    assert "2 runs where another belongs; move them" in stdout
    assert "6 runs whole" in stdout
    assert "damaged" not in stdout


def test_a_manifest_that_is_gone_is_missed(experiment, call):
    folder = Run("hard_labels", 0).folder(experiment)
    (folder / MANIFEST).unlink()
    assert run_folder.find_damage(folder) == {MANIFEST: "expected there, it is missing"}
    assert call("report", experiment).code == 2


def test_a_run_of_a_newer_version_is_refused_and_kept(experiment, call, reproduced):
    folder = Run("hard_labels", 0).folder(experiment)
    found = manifest.read_manifest(folder)
    text = manifest.Manifest(2, found.made_by, found.files).to_json()
    (folder / MANIFEST).write_text(text)
    arguments = [reproduced.arguments[0], "--out", experiment, *reproduced.arguments[3:]]
    for command in (["verify", folder], ["report", experiment], ["reproduce", *arguments]):
        code, _, stderr = call(*command)
        assert code == 2
        assert "is of format version 2, written by a newer lsplus_tf" in stderr
    assert (folder / MANIFEST).read_text() == text


def test_older_runs_are_read_and_their_version_is_named(tmp_path, call):
    experiment = linear_experiment(methods={"hard": HARD})
    made_up_runs(experiment, tmp_path / "old", num_classes=10)
    folder = Run("hard", 0).folder(tmp_path / "old")
    assert manifest.read_manifest(folder) is None
    assert results.gather(tmp_path / "old").methods == ["hard"]
    doubts = results.gather(tmp_path / "old").doubts()
    assert any("2 runs are of format version 0" in doubt for doubt in doubts)
    # What a report needs, or what cannot be read, is found all the same.
    (folder / run_folder.METRICS).write_text("{")
    assert set(run_folder.find_damage(folder)) == {
        run_folder.METRICS,
        run_folder.HISTORY,
        "predictions_validation.npz",
    }
    code, stdout, _ = call("verify", folder)
    assert code == 1
    assert "history.csv" in stdout


@pytest.mark.parametrize("summary", ["{}", "[]", "5", "null", '{"class_names": 5}', "{"])
def test_older_runs_that_say_nothing_are_damaged(tmp_path, call, summary):
    made_up_runs(linear_experiment(methods={"hard": HARD}), tmp_path / "old", num_classes=10)
    path = Run("hard", 0).folder(tmp_path / "old") / run_folder.SUMMARY
    path.write_text(summary)
    assert run_folder.SUMMARY in run_folder.find_damage(path.parent)
    code, _, stderr = call("report", tmp_path / "old")
    assert code == 2
    assert stderr.startswith(f"error: {path}: not the file of a finished run (")


def test_a_run_of_other_images_is_refused(experiment, call):
    folder = Run("label_smoothing", 1).folder(experiment)
    found = run_folder.read_predictions(folder, "test")
    run_folder.write_predictions(folder, "test", found.take(np.arange(100)))
    manifest.write_manifest(folder, {})
    code, _, stderr = call("report", experiment)
    assert code == 2
    assert f"{folder}: expected test predictions of the 360 images of hard_labels s" in stderr


def test_verify_tells_versions_and_takes_runs_experiments_and_grids(reproduced, call, tmp_path):
    grid = tmp_path / "grid"
    grid.mkdir()
    shutil.copytree(reproduced.folder, grid / "digits")
    folder = Run("hard_labels", 1).folder(grid / "digits")
    for place, count in ((folder, "1 run"), (folder.parent, "2 runs"), (grid, "8 runs")):
        code, stdout, _ = call("verify", place)
        assert code == 0
        assert f"{count} whole, made by lsplus_tf " in stdout
    (folder / MANIFEST).unlink()
    summary = folder / run_folder.SUMMARY
    values = json.loads(summary.read_text())
    del values[manifest.VERSION_KEY]
    summary.write_text(json.dumps(values))
    code, stdout, _ = call("verify", grid)
    assert code == 0
    assert "1 run of format version 0, without a manifest" in stdout
    for place, why in ((tmp_path / "no", "there is none"), (summary, "received a file")):
        code, _, stderr = call("verify", place)
        assert code == 2
        assert why in stderr
    (tmp_path / "empty").mkdir()
    code, _, stderr = call("verify", tmp_path / "empty")
    assert code == 2
    assert "found no finished run" in stderr


METHODS = {"hard": HARD, "plus": PLUS, "smooth": {"loss": "label_smoothing"}}


def of_methods(**more: dict[str, str]) -> Experiment:
    short = ("protocol.epochs=1", "seeds=[0]", NOT_AUGMENTED)
    return linear_experiment(*short, methods=METHODS | more)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs of a linear network."""
    out = tmp_path_factory.mktemp("trained") / "out"
    Linear().run(of_methods(), out)
    return out


@pytest.fixture
def out(trained, tmp_path) -> Path:
    """A copy of them to damage."""
    return shutil.copytree(trained, tmp_path / "out")


def test_the_same_call_makes_anew_what_is_damaged_and_keeps_the_rest(trained, out):
    hard, plus = (Run(method, 0).folder(out) for method in ("hard", "plus"))
    flip(hard / run_folder.MODEL, 1000)
    (plus / run_folder.METRICS).write_text("{}")
    kept = {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in out.rglob("*")
        if path.is_file() and path.parent not in (hard, plus)
    }
    recorder = Linear().run(of_methods(), out)
    assert recorder.ended == [Run("hard", 0), Run("plus", 0)]
    assert [(str(run), [*why]) for run, _, why in recorder.set_aside] == [
        ("hard seed 0", [run_folder.MODEL]),
        ("plus seed 0", [run_folder.METRICS]),
    ]
    for folder in (hard, plus):
        assert run_folder.find_damage(folder) == {}
        assert same_predictions(folder, trained / folder.relative_to(out))
        assert folder.with_name(f"damaged_{folder.name}").is_dir()
    assert (plus.with_name("damaged_seed_0") / run_folder.METRICS).read_text() == "{}"
    for path, (content, changed) in kept.items():
        assert path.read_bytes() == content
        assert path.stat().st_mtime_ns == changed
    assert results.gather(out).missing == ()
    # And again, beside what was set aside before; a settings file that cannot be read is no bar.
    (hard / run_folder.SETTINGS).write_bytes(b"\0")
    Linear().run(of_methods(), out)
    assert hard.with_name("damaged_seed_0_2").is_dir()
    assert yaml.safe_load((hard / run_folder.SETTINGS).read_text())["seed"] == 0


def test_runs_without_their_networks_stay_until_one_is_needed(out):
    """People delete networks, which are large; reports do not need them."""
    linear = Linear()
    hard = Run("hard", 0).folder(out)
    for method in ("hard", "plus"):
        (Run(method, 0).folder(out) / run_folder.MODEL).unlink()
    with pytest.warns(UserWarning, match=r"model\.keras of .* is missing; they are kept"):
        again = linear.run(of_methods(), out)
    assert again.missing == []
    learns = {"loss": "ls_plus", "start_from": "hard_labels"}
    with pytest.warns(UserWarning, match=r"model\.keras of plus seed 0 is missing"):
        more = linear.run(of_methods(learns=learns), out)
    assert more.ended == [Run("hard", 0), Run("learns", 0)]
    assert run_folder.find_damage(hard) == {}


def test_a_damaged_run_stays_where_its_data_are_gone(out, monkeypatch):
    folder = Run("hard", 0).folder(out)
    flip(folder / run_folder.LOG, 0)

    def gone(*_: object, **__: object) -> None:
        raise InputError("dataset.data_dir: the images are gone")

    monkeypatch.setattr(engines, "load_data", gone)
    with pytest.raises(InputError, match="the images are gone"):
        run_experiment(of_methods(), out)
    assert [*run_folder.find_damage(folder)] == [run_folder.LOG]


@pytest.mark.parametrize("kind", ["a file", "a link to nothing"])
def test_what_is_no_folder_in_the_place_of_a_run_makes_way(out, kind):
    folder = Run("hard", 0).folder(out)
    shutil.rmtree(folder)
    if kind == "a file":
        folder.write_text("mine")
    else:
        folder.symlink_to(out / "nowhere")
    with pytest.warns(UserWarning, match="expected a folder that lsplus-tf wrote"):
        Linear().run(of_methods(), out)
    assert run_folder.find_damage(folder) == {}
    assert os.path.lexists(folder.with_name("damaged_seed_0"))


def test_a_run_that_starts_from_a_damaged_one_does_not(out):
    """What is damaged while others are made is seen where it is read."""
    shutil.rmtree(Run("plus", 0).folder(out))
    flip(Run("hard", 0).folder(out) / "predictions_validation.npz", 500)
    with pytest.raises(InputError, match=r"predictions_validation\.npz: damaged"):
        make_run(of_methods(), out, Run("plus", 0), load_dataset("digits"))
