"""Training features that runs keep: which, what they are, how compact, and what a report shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import HARD, eagerly, experiment_with
from sklearn import metrics as sk
from test_forecast import sizes

from lsplus_tf import metrics
from lsplus_tf.config import Experiment, to_yaml
from lsplus_tf.datasets.splitting import drawn_evenly
from lsplus_tf.errors import InputError
from lsplus_tf.experiments import Run, run_experiment
from lsplus_tf.experiments.forecasting import forecast
from lsplus_tf.experiments.make import load_data
from lsplus_tf.manifest import write_manifest
from lsplus_tf.page import Pictures, Table, Text
from lsplus_tf.results import Results, figures, gather, page
from lsplus_tf.results.features import compare_features
from lsplus_tf.training import run_folder

COUNT = 34  # of ten classes, of which four give one image more
SMALL = ("protocol.epochs=1", "protocol.schedule=null", "dataset.samples_per_class=8")
METHODS = {"hard": HARD, "smooth": {"loss": "label_smoothing"}, "focal": {"loss": "focal"}}


def experiment(*changes: str) -> Experiment:
    return experiment_with(
        *SMALL, "backbone.width=0.125", "backbone.head=[6]", "seeds=[0,1]", *changes,
        methods=METHODS,
    )  # fmt: skip


# --- compactness ----------------------------------------------------------------------------------


@pytest.fixture
def clusters() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    return labels, 3 * rng.normal(size=(4, 5))[labels] + rng.normal(size=(60, 5))


def test_within_class_share_is_what_the_class_means_leave_unexplained(clusters):
    labels, features = clusters
    means = pd.DataFrame(features).groupby(labels).transform("mean")
    explained = sk.r2_score(features, means, multioutput="variance_weighted")
    assert metrics.within_class_share(labels, features) == pytest.approx(1 - explained, rel=1e-12)
    # A shuffled label says nothing: (K - 1) / (N - 1) of the variance is then between classes.
    shares = [
        metrics.within_class_share(np.random.default_rng(i).permutation(labels), features)
        for i in range(50)
    ]
    assert np.mean(shares) == pytest.approx(1 - 3 / 59, abs=0.01)


def test_scale_shift_and_rotation_do_not_matter(clusters):
    labels, features = clusters
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    share = metrics.within_class_share(labels, features)
    assert metrics.within_class_share(labels, 1e-6 * features @ rotation + 2e-6) == pytest.approx(
        share, rel=1e-6
    )
    # Along one direction it does: this is no measure of what a linear layer can tell apart.
    assert metrics.within_class_share(labels, features * [9, 1, 1, 1, 1]) != pytest.approx(share)


@pytest.mark.parametrize(
    ("features", "share"),
    [
        ([[2.0], [2.0], [5.0], [5.0]], 0.0),
        ([[1.0], [3.0], [3.0], [1.0]], 1.0),
        (np.full((4, 3), 0.1, np.float32), np.nan),
        ([[0.1 + 0.2], [0.3], [0.3], [0.3]], np.nan),  # rounding
    ],
)
def test_the_ends_of_the_share(features, share):
    assert metrics.within_class_share([0, 0, 1, 1], features) == pytest.approx(share, nan_ok=True)


def test_what_the_share_refuses():
    for labels, features, message in (
        ([0, 1], [1.0, 2.0], r"features: .*\(2,\)"),
        ([0, 1], [[1.0], [np.inf]], "features: .*infinity"),
        ([0], [[1.0], [2.0]], "labels: "),
        ([0.0, 1.0], [[1.0], [2.0]], "labels: expected integers"),
        ([0, 1], np.ma.masked_equal([[1.0], [2.0]], 2), "features: .* received masked ones"),
        ([0, 1], [[1.0], [2.0, 3.0]], "features: no array can be made of it"),
    ):
        with pytest.raises(InputError, match=message):
            metrics.within_class_share(labels, features)


# --- which images ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 7, 12, 40, 99, 500])
def test_images_are_drawn_evenly(count):
    labels = np.random.default_rng(count).permutation(np.repeat([0, 2, 3, 7], [2, 5, 60, 33]))
    drawn = drawn_evenly(labels, count)
    assert (np.diff(drawn) > 0).all()
    assert len(drawn) == min(count, 100)
    taken = np.bincount(labels[drawn], minlength=8)[[0, 2, 3, 7]]
    most = taken.max()
    for got, size in zip(taken, (2, 5, 60, 33), strict=True):
        assert got in (most, most - 1) or got == size
    np.testing.assert_array_equal(drawn, drawn_evenly(labels, count))


def test_the_images_of_a_class_are_drawn_at_random():
    drawn = drawn_evenly(np.repeat([0, 1], 1000), 400)
    first = drawn[drawn < 1000]
    # The mean of 200 of 0..999 has a standard error of 18.
    assert abs(first.mean() - 499.5) < 4 * 18


def test_too_few_for_every_class_are_refused_before_the_training(tmp_path):
    assert load_data(experiment("features=20")).num_classes == 10
    message = "features: expected at least two .* each of 10 classes, 20, received 19"
    with pytest.raises(InputError, match=message):
        load_data(experiment("features=19"))
    with pytest.raises(InputError, match=message):
        forecast(experiment("features=19"), tmp_path)


# --- what a run keeps -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """An experiment's folder with one run that kept features."""
    folder = tmp_path_factory.mktemp("features") / "runs"
    with eagerly():
        run_experiment(experiment(f"features={COUNT}"), folder, methods=["hard"], seeds=[0])
    return folder


def test_features_are_what_the_last_layer_makes_logits_of(trained):
    import keras

    folder = Run("hard", 0).folder(trained)
    kept = run_folder.read_features(folder)
    assert kept.features.dtype == np.float32
    assert kept.features.shape == (COUNT, 6)  # of the head's last layer
    train = load_data(experiment()).train
    place = {name: i for i, name in enumerate(train.ids)}
    chosen = [place[name] for name in kept.ids]
    np.testing.assert_array_equal(kept.labels, train.labels[chosen])
    assert sorted(np.bincount(kept.labels)) == [3] * 6 + [4] * 4
    model = keras.models.load_model(folder / run_folder.MODEL)
    logits = model(train.images[chosen].astype(np.float32), training=False).numpy()
    kernel, bias = model.get_layer("logits").get_weights()
    np.testing.assert_allclose(kept.features @ kernel + bias, logits, rtol=1e-4, atol=1e-5)
    assert np.ptp(logits) > 0.1


def test_the_forecast_counts_them(trained, tmp_path):
    kept = run_folder.read_features(Run("hard", 0).folder(trained))
    asked, without = (
        sizes(forecast(experiment(f"features={count}"), tmp_path, ["hard"], [0]).disk)
        for count in (5000, "null")
    )
    of_all = 80 * kept.features[0].nbytes
    assert asked["finished runs"] - without["finished runs"] == of_all


def test_they_change_no_result_and_no_run_is_made_anew_for_them(trained):
    asked, other = experiment(f"features={COUNT}"), experiment()
    assert asked.shared_settings() == other.shared_settings()
    assert asked.run_settings("hard", 0) == other.run_settings("hard", 0)
    # But two processes at work in one folder must not differ in it.
    assert asked.all_settings() != other.all_settings()
    settings = run_folder.read_settings(Run("hard", 0).folder(trained))
    assert settings == asked.run_settings("hard", 0)


# --- what a report shows --------------------------------------------------------------------------


def copies(trained: Path, folder: Path, runs: list[Run], features: int | None) -> Results:
    """An experiment's folder in which the trained run stands for several."""
    folder.mkdir()
    of_config = experiment(f"features={features or 'null'}")
    (folder / "experiment.yaml").write_text(to_yaml(of_config))
    for run in runs:
        shutil.copytree(Run("hard", 0).folder(trained), run.folder(folder))
        settings = yaml.safe_dump(of_config.run_settings(run.method, run.seed))
        (run.folder(folder) / run_folder.SETTINGS).write_text(settings)
        write_manifest(run.folder(folder), {})
    return gather(folder)


def change(results: Results, run: Run, **arrays: np.ndarray) -> None:
    folder = run.folder(results.folder)
    kept = run_folder.read_features(folder)
    run_folder.write_features(folder, run_folder.Features(**{**vars(kept), **arrays}))
    write_manifest(folder, {})


def test_a_report_says_which_runs_lack_them_and_mixes_no_images(trained, tmp_path):
    runs = [Run("hard", 0), Run("hard", 1), Run("smooth", 0), Run("focal", 1)]
    hard, again, smooth, focal = runs
    results = copies(trained, tmp_path / "runs", runs, None)
    kept = run_folder.read_features(hard.folder(results.folder))
    noise = np.random.default_rng(0).normal(size=kept.features.shape).astype(np.float32)
    change(results, again, features=kept.features + noise)
    change(results, smooth, ids=np.char.add(kept.ids, "other"))
    (focal.folder(results.folder) / run_folder.FEATURES).unlink()
    write_manifest(focal.folder(results.folder), {})

    found = compare_features(results)
    assert found.without == (focal,)
    assert found.other_images == (smooth,)
    assert found.shown == {"hard": hard}
    assert [*zip(found.runs["method"], found.runs["seed"], strict=True)] == [
        ("hard", 0),
        ("hard", 1),
    ]
    assert (found.runs["images"] == COUNT).all()
    for features, (_, row) in zip(
        (kept.features, kept.features + noise), found.runs.iterrows(), strict=True
    ):
        assert row["within_class_share"] == metrics.within_class_share(kept.labels, features)
        assert row["silhouette"] == pytest.approx(sk.silhouette_score(features, kept.labels))

    blocks = page._features(results, found, {"features": Pictures([])})
    text = [block.text for block in blocks if isinstance(block, Text)]
    assert text[0].startswith("Runs without features")
    assert text[0].endswith(": focal seed 1.")
    assert text[1].endswith("other images than most runs': smooth seed 0.")
    (table,) = (block for block in blocks if isinstance(block, Table))
    share = 100 * found.runs["within_class_share"]
    (name, seeds, within, _) = table.rows[0]
    assert (name, seeds.text) == ("HL", "2")
    assert within.text == f"{share.mean():.2f} ± {share.std():.2f}"
    # The map is that of the first run.
    (picture,) = figures._features(results, found).pictures
    assert f"within classes {share[0]:.1f}%" in picture.alt


def test_where_no_run_has_any(trained, tmp_path):
    results = copies(trained, tmp_path / "runs", [Run("hard", 0)], COUNT)
    (Run("hard", 0).folder(results.folder) / run_folder.FEATURES).unlink()
    write_manifest(Run("hard", 0).folder(results.folder), {})
    found = compare_features(results)
    assert found.without == (Run("hard", 0),)
    assert found.shown == {}
    (block,) = page._features(results, found, {})
    assert "hard seed 0" in block.text
    # And where the config does not ask for them there is nothing to say.
    unasked = results.experiment.model_copy(update={"features": None})
    assert compare_features(Results(unasked, results.folder, results.runs, ())) is None


def test_a_network_that_makes_the_same_of_all_images_has_no_map(trained, tmp_path):
    results = copies(trained, tmp_path / "runs", [Run("hard", 0)], COUNT)
    change(results, Run("hard", 0), features=np.zeros((COUNT, 6), np.float32))
    found = compare_features(results)
    assert np.isnan(found.runs["within_class_share"][0])
    (picture,) = figures._features(results, found).pictures
    assert picture.alt.endswith("the same for all images.")


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": np.zeros(COUNT - 1, np.int64)},
        {"ids": np.array(["a"])},
        {"features": np.zeros(COUNT, np.float32)},
        {"features": np.full((COUNT, 2), np.inf, np.float32)},
    ],
)
def test_arrays_that_do_not_fit_are_named(trained, tmp_path, arrays):
    results = copies(trained, tmp_path / "runs", [Run("hard", 0)], COUNT)
    change(results, Run("hard", 0), **arrays)
    with pytest.raises(InputError, match=r"features\.npz: not the file of a finished run \(expect"):
        compare_features(results)
