"""The map of features, read back from its artists and compared with scikit-learn's t-SNE."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

mpl.use("agg")
import matplotlib.pyplot as plt

from lsplus_tf import plots
from lsplus_tf.errors import InputError

NAMES = [f"class {k}" for k in range(9)]


def clusters(classes=(0, 1, 7, 8), samples=12):
    """Points about a centre of their own for each class, classes in turn."""
    rng = np.random.default_rng(0)
    labels = np.tile(classes, samples)
    centres = 10 * rng.normal(size=(9, 5))
    return centres[labels] + rng.normal(size=(labels.size, 5)), labels


def test_points_names_and_looks():
    features, labels = clusters()
    ax = plots.feature_map(features, labels, NAMES, perplexity=5, seed=3)
    with threadpool_limits(1):
        tsne = TSNE(perplexity=5, init="pca", random_state=3)
        expected = tsne.fit_transform(features)
    assert [points.get_label() for points in ax.collections] == [NAMES[k] for k in (0, 1, 7, 8)]
    for k, points, name in zip((0, 1, 7, 8), ax.collections, ax.texts, strict=True):
        np.testing.assert_allclose(points.get_offsets(), expected[labels == k], rtol=1e-6)
        np.testing.assert_allclose(name.get_position(), np.median(expected[labels == k], axis=0))
        assert name.get_text() == NAMES[k]
        colour = plots.METHOD_COLOURS[k % 7]
        assert tuple(points.get_edgecolor()[0][:3]) == to_rgb(colour)
        assert (len(points.get_facecolor()) == 0) == (k >= 7)  # hollow in the second turn
    first, eighth = ax.collections[0], ax.collections[2]
    assert len(first.get_paths()[0]) != len(eighth.get_paths()[0])  # another marker


def test_clusters_that_are_far_apart_stay_together():
    features, labels = clusters(classes=(0, 1), samples=40)
    ax = plots.feature_map(features, labels, NAMES[:2], perplexity=10)
    first, second = (np.asarray(points.get_offsets()) for points in ax.collections)
    own = np.linalg.norm(first - first.mean(axis=0), axis=1).max()
    assert np.linalg.norm(first[:, None] - second, axis=2).min() > own


def test_names_of_classes_that_lie_upon_each_other_are_apart():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 30)
    ax = plots.feature_map(rng.normal(size=(180, 4)), labels, NAMES[:6])
    points = np.concatenate([points.get_offsets() for points in ax.collections])
    names = np.array([name.get_position() for name in ax.texts])
    apart = np.abs(names[:, None] - names) / np.ptp(points, axis=0)
    np.fill_diagonal(apart[..., 0], 1)
    assert ((apart[..., 0] >= 0.1) | (apart[..., 1] >= 0.05)).all()


def test_many_classes_have_numbers():
    labels = np.repeat(np.arange(40), 2)
    features = np.random.default_rng(0).normal(size=(80, 1))  # and PCA has one coordinate
    names = [f"a finding with a long name, {k}" for k in range(40)]
    ax = plots.feature_map(features, labels, names, perplexity=5)
    assert [text.get_text() for text in ax.texts] == [str(k) for k in range(40)]
    assert [points.get_label() for points in ax.collections] == names
    assert ax.texts[0].get_bbox_patch() is None  # which would hide the few points of a class
    shown = plots.feature_map(features[:56], labels[:56], names, perplexity=5)
    assert shown.texts[27].get_text() == names[27]


def test_it_draws_on_the_axes_given():
    features, labels = clusters()
    given = plt.subplots()[1]
    assert plots.feature_map(features, labels, NAMES, perplexity=5, ax=given) is given


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.ones(48)}, r"features: .*shape \(48,\)"),
        ({"features": np.ones((48, 0))}, r"features: .*shape \(48, 0\)"),
        ({"features": np.full((48, 5), np.nan)}, "features: .*NaN"),
        # On which scikit-learn's t-SNE crashes, and Python with it.
        ({"features": np.full((48, 5), 0.3)}, "features: .*that differ, .* difference is 0"),
        ({"features": 1e-30 * np.eye(48)}, "features: .*that differ, .* difference is 1e-30"),
        ({"labels": np.zeros(47, int)}, r"labels: .*\(48,\).*\(47,\)"),
        ({"labels": np.zeros(48)}, "labels: expected integers"),
        ({"labels": np.full(48, 9)}, r"labels: expected 0\.\.8"),
        ({"labels": np.full(48, -1)}, r"labels: expected 0\.\.8"),
        ({"perplexity": 48}, "perplexity: .*48 samples, received 48"),
        ({"perplexity": 0}, "perplexity: "),
    ],
)
def test_what_it_refuses(change, message):
    features, labels = clusters()
    given = {"features": features, "labels": labels, "perplexity": 5} | change
    with pytest.raises(InputError, match=message):
        plots.feature_map(class_names=NAMES, **given)
