"""The phantom: its posterior against brute force, against its labels, and against networks."""

import math

import keras
import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import eagerly
from scipy.stats import chi2, norm
from typer.testing import CliRunner

from lsplus_tf import metrics
from lsplus_tf.cli import app
from lsplus_tf.config import Dataset, Phantom, parse_config
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.known.phantom import (
    PhantomDistribution,
    load_phantom,
    log_grey_level_probabilities,
)
from lsplus_tf.errors import InputError
from lsplus_tf.results import gather, truth
from lsplus_tf.training import run_folder

SMALL = Phantom(
    classes=4, separation=[1.5, 2.5], prior=[1.0, 2.0, 3.0, 2.0], image_size=6, rotations=3
)


def grey_level_probability(level, mean, noise):
    """P(pixel = level), from the complementary error function of the standard library."""

    def below(x):
        return 0.5 * math.erfc(-x / math.sqrt(2))

    low = -math.inf if level == 0 else (level - 0.5 - mean) / noise
    high = math.inf if level == 255 else (level + 0.5 - mean) / noise
    if low > 0:  # above the mean: mirrored, where differences have their digits
        low, high = -high, -low
    return below(high) - below(low)


def brute_force_posterior(distribution, image):
    weights = []
    for prior, poses in zip(distribution.prior, distribution.templates, strict=True):
        logs = [
            math.fsum(
                math.log(grey_level_probability(int(x), int(m), distribution.settings.noise))
                for x, m in zip(image.ravel(), template.ravel(), strict=True)
            )
            for template in poses
        ]
        weights.append((math.log(prior), logs))
    highest = max(max(logs) for _, logs in weights)
    joint = [
        math.fsum(math.exp(log_prior + log - highest) for log in logs)
        for log_prior, logs in weights
    ]
    return np.array(joint) / math.fsum(joint)


# --- the posterior --------------------------------------------------------------------------------


def test_the_posterior_equals_brute_force():
    distribution = PhantomDistribution(SMALL)
    drawn, _ = distribution.sample("test", 16)
    rng = np.random.default_rng(0)
    unlikely = rng.integers(0, 256, (4, 6, 6, 1)).astype(np.uint8)
    bounds = np.stack([np.zeros((6, 6, 1), np.uint8), np.full((6, 6, 1), 255, np.uint8)])
    images = np.concatenate([drawn, unlikely, bounds])
    expected = [brute_force_posterior(distribution, image) for image in images]
    posterior = distribution.posterior(images)
    np.testing.assert_allclose(posterior, expected, rtol=0, atol=1e-10)
    assert posterior.max(axis=1).min() < 0.6  # some are hard
    assert ((drawn == 0) | (drawn == 255)).any()  # both tails are met


def test_the_posterior_of_clipped_pixels_equals_brute_force():
    distribution = PhantomDistribution(SMALL.model_copy(update={"noise": 150.0}))
    images, _ = distribution.sample("test", 8)
    assert ((images == 0) | (images == 255)).mean() > 0.3
    expected = [brute_force_posterior(distribution, image) for image in images]
    np.testing.assert_allclose(distribution.posterior(images), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("noise", [0.1, 3.0, 25.0, 1000.0])
def test_grey_levels_are_differences_of_distribution_functions(noise):
    logs = log_grey_level_probabilities(noise)
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1, atol=1e-12)
    assert np.isfinite(logs).all()
    for mean in (0, 1, 100, 254, 255):
        for level in (0, 1, 99, 100, 101, 130, 254, 255):
            probability = grey_level_probability(level, mean, noise)
            if probability > 1e-290:  # else the plain difference underflows
                assert logs[mean, level] == pytest.approx(math.log(probability), rel=1e-9, abs=1e-9)
    # Far out the density at the near side times the width of decay, log(phi(z) / z).
    far = log_grey_level_probabilities(3.0)[0, 250]
    z = 249.5 / 3
    assert far == pytest.approx(norm.logpdf(z) - math.log(z), abs=1e-3)


def chi_square_of_labels(posterior, labels):
    """How far counts of labels are from what the posterior says, in ten bins for each class."""
    p_values = []
    for k in range(posterior.shape[1]):
        of_class = posterior[:, k]
        statistic = 0.0
        for rows in np.array_split(np.argsort(of_class), 10):
            p = of_class[rows]
            if p.sum() < 5:  # hardly any label to count
                p_values.append(1.0)
                continue
            difference = (labels[rows] == k).sum() - p.sum()
            statistic += difference**2 / (p * (1 - p)).sum()
        p_values.append(chi2.sf(statistic, 10))
    return min(p_values)


def test_labels_are_distributed_as_the_posterior_says():
    distribution = PhantomDistribution(SMALL)
    images, labels = distribution.sample("test", 20_000)
    posterior = distribution.posterior(images)
    assert chi_square_of_labels(posterior, labels) > 1e-3
    # The test would have seen a posterior that is a little too sure, or that forgets the prior.
    for wrong in (posterior**1.3, posterior / distribution.prior**0.5):
        wrong = wrong / wrong.sum(axis=1, keepdims=True)
        assert chi_square_of_labels(wrong, labels) < 1e-6
    np.testing.assert_allclose(posterior.mean(axis=0), distribution.prior, atol=0.01)


def test_bayes_accuracy_is_that_of_the_best_classifier():
    distribution = PhantomDistribution(SMALL)
    accuracy, error = distribution.bayes_accuracy(20_000)
    images, labels = distribution.sample("test", 20_000)
    simulated = (distribution.posterior(images).argmax(axis=1) == labels).mean()
    tolerance = 4 * math.hypot(error, math.sqrt(simulated * (1 - simulated) / 20_000))
    assert simulated == pytest.approx(accuracy, abs=tolerance)
    assert 0 < error < 0.003


def test_bayes_accuracy_of_two_templates_is_known():
    settings = Phantom(classes=2, separation=[1.4], shift=0, noise=10.0)
    distribution = PhantomDistribution(settings)
    one, other = distribution.templates[:, 0].astype(float)
    # Rounding adds the variance of a uniform error; at this noise hardly a pixel is clipped.
    known = norm.cdf(np.linalg.norm(one - other) / 2 / math.sqrt(100 + 1 / 12))
    accuracy, error = distribution.bayes_accuracy(20_000)
    assert accuracy == pytest.approx(known, abs=4 * error)
    assert 0.7 < known < 0.95


# --- images ---------------------------------------------------------------------------------------


def test_an_image_depends_on_its_number_alone():
    distribution = PhantomDistribution(SMALL)
    images, labels = distribution.sample("train", 200)
    for count, start in ((1, 0), (63, 0), (64, 0), (65, 0), (1, 64), (100, 63), (70, 130)):
        part, part_labels = PhantomDistribution(SMALL).sample("train", count, start=start)
        assert part.tobytes() == images[start : start + count].tobytes()
        assert part_labels.tolist() == labels[start : start + count].tolist()
    assert len(np.unique(images.reshape(200, -1), axis=0)) == 200


def test_seeds_and_splits_differ():
    distribution = PhantomDistribution(SMALL)
    train, _ = distribution.sample("train", 5)
    assert not np.array_equal(train, distribution.sample("test", 5)[0])
    other = PhantomDistribution(SMALL.model_copy(update={"seed": 1}))
    assert not np.array_equal(other.templates, distribution.templates)


def test_look_alikes_differ_by_their_separation():
    settings = Phantom(classes=5, separation=[1.0, 4.0], image_size=24)
    templates = PhantomDistribution(settings).templates[:, 0].astype(float)
    assert PhantomDistribution(settings).class_names == ("1.1", "1.2", "1.3", "2.1", "2.2")

    def distance(a, b):
        return np.linalg.norm(templates[a] - templates[b]) / settings.noise

    # Of two blobs that do not overlap, the distance is their length times the root of 2.
    assert distance(0, 1) == pytest.approx(math.sqrt(2), rel=0.25)
    assert distance(3, 4) == pytest.approx(4 * math.sqrt(2), rel=0.25)
    assert min(distance(a, b) for a in (0, 1, 2) for b in (3, 4)) > 8


def test_poses_are_shifts_and_rotations():
    settings = Phantom(image_size=9, shift=1, rotations=4)
    templates = PhantomDistribution(settings).templates
    assert templates.shape == (6, 36, 9, 9)
    upright, shifted, turned = templates[:, 0], templates[:, 1:9], templates[:, 9]
    moved = [
        (down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)
    ]
    inner = slice(1, -1)
    expected = {np.roll(upright, move, axis=(1, 2))[:, inner, inner].tobytes() for move in moved}
    assert {shifted[:, i, inner, inner].tobytes() for i in range(8)} == expected
    quarters = [np.rot90(upright, turns, axes=(1, 2)) for turns in (1, 3)]
    assert any(np.array_equal(turned, quarter) for quarter in quarters)


def test_load_phantom():
    settings = SMALL.model_copy(update={"train": 90, "validation": 30, "test": 40})
    dataset = load_phantom(settings, channels=3)
    assert dataset.image_shape == (6, 6, 3)
    assert [len(split) for _, split in dataset.splits()] == [90, 30, 40]
    assert dataset.test.ids[39] == "phantom-test-000039"
    distribution = PhantomDistribution(settings)
    for name, split in dataset.splits():
        images, labels = distribution.sample(name, len(split))
        np.testing.assert_array_equal(split.images, np.repeat(images, 3, axis=3))
        np.testing.assert_array_equal(split.labels, labels)
        np.testing.assert_array_equal(split.posterior, distribution.posterior(images))
    by_name = load_dataset("phantom", phantom=settings)
    np.testing.assert_array_equal(by_name.test.images, dataset.test.images[..., :1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": 1}, "classes"),
        ({"classes": 2, "separation": [1.0, 1.0, 1.0]}, "at most 2 groups .*received 3"),
        ({"prior": [1.0, 2.0]}, r"prior: expected 6 numbers \(classes\), received 2"),
        ({"prior": [1.0, 2.0, 0.0, 1.0, 1.0, 1.0]}, "prior"),
        ({"shift": 8}, "shift: expected less than half of image_size 16, received 8"),
        ({"noise": 0.0}, "noise"),
    ],
)
def test_wrong_settings_are_named(values, message):
    wrong = {
        "name": "wrong",
        "dataset": {"name": "phantom", "phantom": values},
        "protocol": {"epochs": 1, "batch_size": 8},
        "methods": {"hard_labels": {"loss": "hard_labels"}},
        "seeds": [0],
    }
    with pytest.raises(InputError, match=message):
        parse_config(wrong, "wrong.yaml")


def test_the_settings_are_of_the_phantom_alone():
    assert Dataset(name="phantom").phantom == Phantom()
    assert Dataset(name="digits").phantom is None
    with pytest.raises(ValueError, match="only the data set phantom"):
        Dataset(name="digits", phantom={})
    with pytest.raises(ValueError, match=r"set phantom\.image_size"):
        Dataset(name="phantom", image_size=32)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match=r"classes 1\.\d and 1\.\d look the same"):
        PhantomDistribution(Phantom(separation=[0.001, 2.0]))
    distribution = PhantomDistribution(SMALL)
    with pytest.raises(InputError, match="count: expected an integer of at least 1, received 0"):
        distribution.sample("test", 0)
    with pytest.raises(InputError, match=r"split: expected 'templates' or .* received 'tset'"):
        distribution.sample("tset", 1)
    with pytest.raises(InputError, match=r"images: expected uint8 of shape \(N, 6, 6, 1\)"):
        distribution.posterior(np.zeros((2, 6, 6, 3), np.uint8))
    with pytest.raises(InputError, match="samples: expected an integer of at least 2"):
        distribution.bayes_accuracy(1)
    with pytest.raises(InputError, match=r"image_size: .* set phantom\.image_size"):
        load_dataset("phantom", image_size=8)
    with pytest.raises(InputError, match=r"samples_per_class: .* set phantom\.train"):
        load_dataset("phantom", samples_per_class=8)


# --- networks -------------------------------------------------------------------------------------


def test_a_network_approaches_the_posterior_with_more_data():
    # In one pose the posterior is all but a softmax of linear functions, which one layer learns.
    distribution = PhantomDistribution(Phantom(separation=[2.0, 3.0], image_size=8, shift=0))
    images, _ = distribution.sample("test", 2000)
    posterior = distribution.posterior(images)

    def scaled(images):
        return ((images - 127.5) / 40).reshape(len(images), -1).astype(np.float32)

    def errors(samples):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input([64]), keras.layers.Dense(6)])
        steps, batch = 1200, 256
        decay = keras.optimizers.schedules.CosineDecay(0.02, steps)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(decay), loss, steps_per_execution=50)
        train, labels = distribution.sample("train", samples)
        rows = np.resize(np.arange(samples), steps * batch)
        model.fit(scaled(train[rows]), labels[rows], batch, shuffle=False, verbose=0)
        logits = model.predict_on_batch(scaled(images))
        return [
            metric(posterior, logits, from_logits=True)
            for metric in (metrics.excess_log_loss, metrics.true_calibration_error)
        ]

    few, many = errors(1024), errors(40_960)
    assert many[0] < min(0.025, few[0] / 5)
    assert many[1] < min(0.012, few[1] / 4)


def test_the_report_measures_runs_against_the_truth(tmp_path):
    phantom = {"train": 256, "validation": 64, "test": 400, "image_size": 8, "classes": 4}
    values = {
        "name": "tiny",
        "dataset": {"name": "phantom", "phantom": {**phantom, "separation": [2.0, 3.0]}},
        "backbone": {"width": 0.1},
        "protocol": {"epochs": 2, "batch_size": 64, "checkpoint": "last"},
        "methods": {"ols": {"loss": "online_label_smoothing"}},
        "seeds": [0],
    }
    config, out = tmp_path / "tiny.yaml", tmp_path / "tiny"
    config.write_text(yaml.safe_dump(values))
    with eagerly():
        result = CliRunner().invoke(app, ["reproduce", str(config), "--out", str(out)])
    assert result.exit_code == 0, result.output

    settings = Phantom.model_validate(values["dataset"]["phantom"])
    distribution = PhantomDistribution(settings)
    images, labels = distribution.sample("test", 400)
    posterior = distribution.posterior(images)
    table = pd.read_csv(out / "report" / "truth.csv", index_col="method")
    assert table.index.tolist() == ["ols", "posterior"]
    predictions = run_folder.read_predictions(out / "ols" / "seed_0", "test")
    np.testing.assert_array_equal(predictions.posterior, posterior)
    p = metrics.softmax(predictions.logits)
    expected = {
        "true_accuracy": posterior[np.arange(400), p.argmax(axis=1)].mean(),
        "ece": metrics.expected_calibration_error(labels, p),
        "true_calibration_error": metrics.true_calibration_error(posterior, p),
        "excess_log_loss": (posterior * np.log(posterior / p)).sum(axis=1).mean(),
        "total_variation": np.abs(posterior - p).sum(axis=1).mean() / 2,
    }
    for key, value in expected.items():
        assert table.loc["ols", f"{key}_mean"] == pytest.approx(100 * value, rel=1e-6)
    assert table.loc["posterior", "true_accuracy_mean"] == pytest.approx(
        100 * posterior.max(axis=1).mean()
    )
    assert table.loc["posterior", "excess_log_loss_mean"] == pytest.approx(0, abs=1e-10)
    text = (out / "report" / "truth.md").read_text()
    assert "Bayes accuracy, estimated from these 400 images" in text
    assert "**" not in "".join(line for line in text.splitlines() if "Posterior" in line)

    soft_labels = run_folder.read_soft_labels(out / "ols" / "seed_0")
    confusion = [(posterior[:, [k]] * posterior).sum(0) / posterior[:, k].sum() for k in range(4)]
    distances = truth.soft_label_distances(gather(out), posterior)
    assert distances["OLS to all images"][0]["distance"].tolist() == pytest.approx(
        [np.abs(matrix - confusion).sum() / 8 for matrix in soft_labels]
    )
    # Of a one-hot row the distance is what the confusion has beside its diagonal.
    one_hot = distances["One-hot to all images"][0]["distance"].tolist()
    assert one_hot == pytest.approx([1 - np.diag(confusion).mean()] * 2)
    for figure in ("truth.png", "soft_labels_truth.png"):
        assert (out / "report" / figure).stat().st_size > 10_000
