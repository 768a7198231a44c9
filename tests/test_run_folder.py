"""A run's files are there whole or not at all, and damaged ones are named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lsplus_tf import manifest
from lsplus_tf.errors import InputError
from lsplus_tf.files import written_whole
from lsplus_tf.predictions import Predictions
from lsplus_tf.training import run_folder


def write(path: Path, form: str, text: str) -> None:
    """A file with `text`, or a folder with such a file in it."""
    if form == "folder":
        path.mkdir()
        path = path / "file"
    path.write_text(text)


def read(path: Path, form: str) -> str:
    return (path / "file" if form == "folder" else path).read_text()


@pytest.mark.parametrize("form", ["file", "folder"])
def test_what_is_written_appears_at_the_end(tmp_path, form):
    path = tmp_path / "new" / "result"
    with written_whole(path) as partial:
        write(partial, form, "whole")
        assert not path.exists()
        assert partial.parent == path.parent  # on the same disk, where a rename is atomic
    assert read(path, form) == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("form", ["file", "folder"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_nothing(tmp_path, form, error):
    path = tmp_path / "result"

    def fail() -> None:
        with written_whole(path) as partial:
            write(partial, form, "half")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []
    # Nor does it touch what was there.
    write(path, form, "old")
    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == [path]
    assert read(path, form) == "old"


def test_only_a_file_replaces_a_file(tmp_path):
    path = tmp_path / "result"
    write(path, "file", "old")
    with written_whole(path) as partial:
        write(partial, "file", "new")
    assert read(path, "file") == "new"
    for before, form in (("file", "folder"), ("folder", "file"), ("folder", "folder")):
        path = tmp_path / f"{form}_over_a_{before}"
        write(path, before, "old")
        with pytest.raises(OSError, match=path.name), written_whole(path) as partial:
            write(partial, form, "new")
        assert read(path, before) == "old"
        assert ".partial" not in str([*tmp_path.iterdir()])


def test_what_a_killed_process_left_is_removed(tmp_path):
    script = f"""
import os, pathlib
from lsplus_tf.files import written_whole
with written_whole(pathlib.Path({str(tmp_path / "result")!r})) as partial:
    partial.mkdir()
    (partial / "old").write_text("half")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    assert left[0].name != "result"
    with written_whole(tmp_path / "result") as partial:
        assert not partial.exists()
        write(partial, "folder", "whole")
    assert list(tmp_path.rglob("*")) == [tmp_path / "result", tmp_path / "result" / "file"]


# --- reading --------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 3, 50)
    ids = np.array([f"Röntgen {i}" for i in range(50)])
    run_folder.write_predictions(tmp_path, "test", Predictions(labels, logits=logits, ids=ids))
    np.savez_compressed(tmp_path / run_folder.SOFT_LABELS, soft_labels=logits)
    np.savez_compressed(tmp_path / run_folder.FEEDBACK, gammas=logits, gaps=labels)
    run_folder.write_features(tmp_path, run_folder.Features(logits, labels, ids))
    run_folder.write_json(tmp_path / run_folder.METRICS, {"test": {"auroc": float("nan")}})
    (tmp_path / run_folder.HISTORY).write_text("epoch,loss\n0,1.5\n1,0.5\n")
    (tmp_path / run_folder.SETTINGS).write_text("seed: 1\n")
    return tmp_path


READERS = {
    "predictions_test.npz": lambda folder: run_folder.read_predictions(folder, "test"),
    run_folder.SOFT_LABELS: run_folder.read_soft_labels,
    run_folder.FEEDBACK: run_folder.read_feedback,
    run_folder.FEATURES: run_folder.read_features,
    run_folder.METRICS: lambda folder: run_folder.read_json(folder, run_folder.METRICS),
    run_folder.HISTORY: run_folder.read_history,
    run_folder.SETTINGS: run_folder.read_settings,
}


def test_what_is_written_is_read(finished):
    rng = np.random.default_rng(0)
    predictions = run_folder.read_predictions(finished, "test")
    np.testing.assert_array_equal(predictions.logits, rng.normal(size=(50, 3)).astype(np.float32))
    np.testing.assert_array_equal(predictions.labels, rng.integers(0, 3, 50))
    assert predictions.ids[7] == "Röntgen 7"
    np.testing.assert_array_equal(run_folder.read_soft_labels(finished), predictions.logits)
    feedback = {"gammas": predictions.logits, "gaps": predictions.labels}
    np.testing.assert_equal(run_folder.read_feedback(finished), feedback)
    kept = run_folder.read_features(finished)
    np.testing.assert_array_equal(kept.features, predictions.logits)
    np.testing.assert_array_equal(kept.labels, predictions.labels)
    assert kept.ids[7] == "Röntgen 7"
    assert np.isnan(run_folder.read_json(finished, run_folder.METRICS)["test"]["auroc"])
    assert run_folder.read_history(finished)["loss"].tolist() == [1.5, 0.5]
    assert READERS[run_folder.SETTINGS](finished) == {"seed": 1}


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def garble(content: bytes) -> bytes:
    """Change bytes in the middle, where a compressed file has its data."""
    middle = len(content) // 3
    return content[:middle] + b"\xff\x00\xfe" * 20 + content[middle + 60 :]


DAMAGES = {
    "empty": lambda _: b"",
    "binary": lambda _: b"\xff\xfe\x00[",
    "cut": cut,
    "garbled": garble,
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in READERS
        for damage in ["missing", *DAMAGES]
        if damage != "cut" or name.endswith((".npz", ".json"))  # half a text may be a whole one
    ],
)
def test_damaged_files_are_named(finished, name, damage):
    path = finished / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(DAMAGES[damage](content))
    with pytest.raises(InputError) as caught:
        READERS[name](finished)
    text = str(caught.value)
    assert text.startswith(f"{path}: not the file of a finished run (")
    assert text.endswith(f"); {manifest.REMEDY}")
    assert "np.savez" not in text
    assert "\n" not in text


def test_an_archive_without_the_arrays_is_named(finished):
    np.savez(finished / "predictions_test.npz", logits=np.zeros(2))
    with pytest.raises(InputError, match=r"predictions_test\.npz: .*'label'"):
        run_folder.read_predictions(finished, "test")


def test_pickled_arrays_are_not_loaded(finished):
    np.savez(
        finished / "predictions_test.npz",
        logits=np.array([print], dtype=object),
        labels=np.zeros(1),
        ids=np.zeros(1),
    )
    with pytest.raises(InputError, match="pickle"):
        run_folder.read_predictions(finished, "test")
