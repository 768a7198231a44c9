"""The reader of the authors' files: what it reads, and what it says of files it cannot use."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lsplus_tf.errors import InputError
from lsplus_tf.paper.artifacts import BACKBONES, DATASETS, METHODS, RUNS, Artifacts

METRICS = "d2_mhist_code/resnet34/metrics.csv"
NUMPY = "d2_ablation/d2_mhist_ecekde/resnet34/1/numpy_files"
CURVE = "d1_chaoyang_code/retention_curve_files/Resnet34_LS.txt"
CORRECT = "d2_mhist_code/histogram_plots/MHIST_Resnet34_BASELINE_correct.txt"
INCORRECT = "d2_mhist_code/histogram_plots/MHIST_Resnet34_BASELINE_incorrect.txt"
PREDICTIONS = [f"{NUMPY}/test_{what}_ls.npy" for what in ("logits", "probabilities", "testlabels")]


@pytest.fixture(scope="session")
def published(shared) -> Path:
    return shared / "lsplus-artifacts"


@pytest.fixture
def some(published, tmp_path) -> Path:
    """A few of the files, to be damaged."""
    for path in (METRICS, CURVE, CORRECT, INCORRECT, *PREDICTIONS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(published / path, tmp_path / path)
    return tmp_path


# --- what is there --------------------------------------------------------------------------------


def test_metrics_of_the_runs(published):
    artifacts = Artifacts(published)
    for dataset, backbone in product(DATASETS, BACKBONES):
        table = artifacts.run_metrics(dataset, backbone)
        assert len(table) == 18
        assert set(zip(table["method"], table["run"], strict=True)) == set(product(METHODS, RUNS))
    # The eighth line of the file: run 2 of hard labels.
    line = (published / METRICS).read_text().splitlines()[7].split(",")
    table = artifacts.run_metrics("mhist", "resnet34").set_index(["method", "run"])
    assert line[1] == "BASELINE"
    assert table.loc[("hard_labels", 2)].tolist() == [float(cell) for cell in line[3:]]
    assert artifacts.problems == []


def test_metrics_after_temperature_scaling_and_ece_kde(published):
    artifacts = Artifacts(published)
    table = artifacts.temperature_metrics("chaoyang", "resnet50").set_index(["method", "run"])
    # There the file writes ResNet50 for some, Resnet50 for others.
    assert table.loc[("hard_labels", 1), "Temperature"] == 1.2518293
    assert len(table) == 18
    kde = artifacts.ece_kde_metrics("resnet34").set_index(["method", "run"])
    assert kde.loc[("ls_plus", 3), "Tecekde"] == 0.1642
    assert artifacts.problems == []


def test_predictions(published):
    artifacts = Artifacts(published)
    for method, run in product(METHODS, RUNS):
        predictions = artifacts.predictions("resnet34", method, run)
        assert predictions.logits.shape == predictions.probabilities.shape == (977, 2)
        assert np.bincount(predictions.labels).tolist() == [617, 360]
    third = artifacts.predictions("resnet34", "focal", 3)
    folder = published / "d2_ablation/d2_mhist_ecekde/resnet34/3/numpy_files"
    np.testing.assert_array_equal(third.logits, np.load(folder / "test_logits_baseline_fl.npy"))
    labels = pd.read_csv(published / "MHIST/test_labels.csv")["label"]
    np.testing.assert_array_equal(third.labels, labels == "SSA")


def test_curves_and_confidences(published):
    artifacts = Artifacts(published)
    for dataset, method in product(DATASETS, METHODS):
        curve = artifacts.retention_curve(dataset, "resnet34", method)
        assert curve.shape == (200,)
        assert curve[0] == 1
        correct, incorrect = artifacts.confidences(dataset, "resnet34", method)
        accuracy = artifacts.run_metrics(dataset, "resnet34").query(
            "method == @method and run == 1"
        )["Tacc"]
        # Run 1's share of correct images, to the 4 decimals of its metrics.
        share = len(correct) / (len(correct) + len(incorrect))
        assert round(share, 4) == accuracy.item()
    assert artifacts.problems == []


def test_votes_are_in_the_order_of_the_predictions(published):
    votes = Artifacts(published).votes()
    assert votes.shape == (977, 2)
    assert (votes.sum(axis=1) == 7).all()
    labels = Artifacts(published).predictions("resnet34", "dca", 2).labels
    np.testing.assert_array_equal(votes.argmax(axis=1), labels)
    annotations = pd.read_csv(published / "MHIST/annotations.csv").set_index("Image Name")
    paths = pd.read_csv(published / "MHIST/test_labels.csv")["path"]
    column = "Number of Annotators who Selected SSA (Out of 7)"
    for i in (0, 500, 976):
        assert votes[i, 1] == annotations.loc[Path(paths[i]).name, column]


# --- what is not there ----------------------------------------------------------------------------


def test_the_other_network_is_read_from_the_same_places(published, tmp_path):
    """Nothing is special to ResNet-34: its files under ResNet-50's names are ResNet-50's."""
    shutil.copytree(
        published / "d2_ablation/d2_mhist_ecekde/resnet34",
        tmp_path / "d2_ablation/d2_mhist_ecekde/resnet50",
    )
    for folder in ("retention_curve_files", "histogram_plots"):
        (tmp_path / "d2_mhist_code" / folder).mkdir(parents=True)
        for file in (published / "d2_mhist_code" / folder).iterdir():
            name = file.name.replace("Resnet34", "Resnet50")
            shutil.copyfile(file, tmp_path / "d2_mhist_code" / folder / name)
    here, there = Artifacts(tmp_path), Artifacts(published)
    for method, run in product(METHODS, RUNS):
        np.testing.assert_array_equal(
            here.predictions("resnet50", method, run).logits,
            there.predictions("resnet34", method, run).logits,
        )
    for method in METHODS:
        np.testing.assert_array_equal(
            here.retention_curve("mhist", "resnet50", method),
            there.retention_curve("mhist", "resnet34", method),
        )
        assert here.confidences("mhist", "resnet50", method) is not None
    assert here.ece_kde_metrics("resnet50").equals(there.ece_kde_metrics("resnet34"))
    assert here.problems == []


def test_missing_files_are_noted_once(some):
    artifacts = Artifacts(some)
    for _ in range(2):
        assert artifacts.run_metrics("isic2018", "resnet50") is None
        assert artifacts.predictions("resnet34", "dca", 1) is None
        assert artifacts.votes() is None
    assert {problem.kind for problem in artifacts.problems} == {"missing"}
    assert [problem.path for problem in artifacts.problems] == [
        "d3_skin_code/resnet50/metrics.csv",
        *(f"{NUMPY}/test_{x}_baseline_dca.npy" for x in ("logits", "probabilities", "testlabels")),
        "MHIST/test_labels.csv",
        "MHIST/annotations.csv",
    ]
    assert artifacts.run_metrics("mhist", "resnet34") is not None


def test_a_foreign_folder(tmp_path):
    (tmp_path / "README.md").write_text("something else")
    (tmp_path / "d2_mhist_code").mkdir()
    with pytest.raises(InputError, match=r"abhisheksambyal/lsplus.* none of them is there"):
        Artifacts(tmp_path)
    with pytest.raises(InputError, match="expected a folder"):
        Artifacts(tmp_path / "nowhere")
    with pytest.raises(InputError, match="expected a folder"):
        Artifacts(tmp_path / "README.md")


# --- what is damaged ------------------------------------------------------------------------------


def damaged(artifacts: Artifacts, path: str) -> str:
    """The message on the one damaged file; the others are read as before."""
    found = [problem for problem in artifacts.problems if problem.kind == "damaged"]
    assert [problem.path for problem in found] == [path]
    return found[0].message


@pytest.mark.parametrize("keep", [0, 5, 60, 130, 4000])
@pytest.mark.parametrize("path", PREDICTIONS)
def test_a_truncated_npy(some, path, keep):
    (some / path).write_bytes((some / path).read_bytes()[:keep])
    artifacts = Artifacts(some)
    assert artifacts.predictions("resnet34", "label_smoothing", 1) is None
    assert artifacts.run_metrics("mhist", "resnet34") is not None
    assert damaged(artifacts, path)


def test_arrays_that_are_not_predictions(some):
    logits, probabilities, labels = (some / path for path in PREDICTIONS)

    def message(path: Path, array: np.ndarray) -> str:
        before = np.load(path)
        np.save(path, array)
        artifacts = Artifacts(some)
        assert artifacts.predictions("resnet34", "label_smoothing", 1) is None
        np.save(path, before)
        return damaged(artifacts, str(path.relative_to(some)))

    assert "(976, 2)" in message(logits, np.load(logits)[:-1])
    holes = np.load(logits)
    holes[3, 1] = np.nan
    assert "NaN" in message(logits, holes)
    assert "allow_pickle" in message(logits, np.array([{"a": 1}]))
    assert "softmax of the logits" in message(probabilities, np.load(probabilities)[::-1])

    nothing = np.load(labels)
    nothing[0] = 0
    np.save(labels, nothing)
    artifacts = Artifacts(some)
    assert artifacts.predictions("resnet34", "label_smoothing", 1) is None
    assert "one-hot" in damaged(artifacts, PREDICTIONS[1])


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Tece,", "", "as many names as columns"),
        ("Tece,", "other,", "lacks Tece"),
        ("Dataset,", "", "as many names as columns"),
        ("Name,", "Title,", "lacks Name"),
        ("0.8235", "", "column Tce: expected numbers; received nan in line 2"),
        ("0.8235", "word", "column Tce: expected numbers; received word in line 2"),
        ("0.8235", "inf", "column Tce: expected numbers; received inf in line 2"),
        ("MHIST,LS,", "MHIST,LX,", "column Name: expected 3 rows of each"),
    ],
)
def test_a_damaged_csv(some, old, new, words):
    change(some / METRICS, old, new)
    artifacts = Artifacts(some)
    assert artifacts.run_metrics("mhist", "resnet34") is None
    assert artifacts.retention_curve("chaoyang", "resnet34", "label_smoothing") is not None
    assert words in damaged(artifacts, METRICS)


def test_a_csv_without_a_column(some):
    table = pd.read_csv(some / METRICS)
    table.drop(columns=["Tbrierloss", "VaccK1"]).to_csv(some / METRICS, index=False)
    artifacts = Artifacts(some)
    assert artifacts.run_metrics("mhist", "resnet34") is None
    assert "lacks VaccK1, Tbrierloss" in damaged(artifacts, METRICS)


def test_a_csv_that_ends_early(some):
    lines = (some / METRICS).read_text().splitlines()
    (some / METRICS).write_text("\n".join(lines[:-3]))
    artifacts = Artifacts(some)
    assert artifacts.run_metrics("mhist", "resnet34") is None
    assert "received 15 rows" in damaged(artifacts, METRICS)
    (some / METRICS).write_text("")
    artifacts = Artifacts(some)
    assert artifacts.run_metrics("mhist", "resnet34") is None
    assert damaged(artifacts, METRICS)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("\n9", "\nword\n9", "word"),
        ("\n9", "\nnan\n9", "from 0 to 1"),
        ("\n9", "\n1.5e+00\n9", "from 0 to 1"),
        ("1.000000000000000000e+00\n", "", "expected 200 numbers; received 199"),
    ],
)
def test_a_damaged_curve(some, old, new, words):
    change(some / CURVE, old, new)
    artifacts = Artifacts(some)
    assert artifacts.retention_curve("chaoyang", "resnet34", "label_smoothing") is None
    assert artifacts.run_metrics("mhist", "resnet34") is not None
    assert words in damaged(artifacts, CURVE)


def test_confidences_below_chance(some):
    values = np.loadtxt(some / CORRECT)
    np.savetxt(some / CORRECT, np.r_[0.4, values[1:]])
    artifacts = Artifacts(some)
    assert artifacts.confidences("mhist", "resnet34", "hard_labels") is None
    (problem,) = artifacts.problems
    assert problem.message == "expected largest probabilities, 0.500 to 1; received 0.4"


def test_predictions_of_other_images(some, published):
    listed = "MHIST/test_labels.csv"
    (some / "MHIST").mkdir()
    shutil.copyfile(published / listed, some / listed)
    artifacts = Artifacts(some)
    assert artifacts.predictions("resnet34", "label_smoothing", 1) is not None
    labels = np.load(some / PREDICTIONS[2])
    np.save(some / PREDICTIONS[2], labels[::-1])
    artifacts = Artifacts(some)
    assert artifacts.predictions("resnet34", "label_smoothing", 1) is None
    (problem,) = artifacts.problems
    assert problem.kind == "damaged"
    assert listed in problem.message


def test_damaged_confidences(some):
    lines = (some / INCORRECT).read_text().splitlines()
    (some / INCORRECT).write_text("\n".join(lines[:-1]))
    artifacts = Artifacts(some)
    assert artifacts.confidences("mhist", "resnet34", "hard_labels") is None
    assert "expected 977 test images" in damaged(artifacts, CORRECT)
    (some / CORRECT).write_text("")
    artifacts = Artifacts(some)
    assert artifacts.confidences("mhist", "resnet34", "hard_labels") is None
    assert damaged(artifacts, CORRECT)


@pytest.mark.parametrize(
    ("change_votes", "words"),
    [
        (lambda table, column: table.assign(**{column: table[column] + 1}), "from 0 to 7"),
        (lambda table, column: table.assign(**{column: 7 - table[column]}), "majority"),
        (lambda table, column: table[table["Partition"] == "train"], "lacks MHIST_"),
        (lambda table, column: table.drop(columns=column), "lacks Number of Annotators"),
        (lambda table, column: pd.concat([table, table[:1]]), "received one twice"),
    ],
)
def test_damaged_votes(published, tmp_path, change_votes, words):
    shutil.copytree(published / "MHIST", tmp_path / "MHIST")
    file = tmp_path / "MHIST" / "annotations.csv"
    column = "Number of Annotators who Selected SSA (Out of 7)"
    change_votes(pd.read_csv(file), column).to_csv(file, index=False)
    artifacts = Artifacts(tmp_path)
    assert artifacts.votes() is None
    assert words in damaged(artifacts, "MHIST/annotations.csv")
