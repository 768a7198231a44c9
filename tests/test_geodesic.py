"""Geodesic soft labels: by hand, against other programs, against the authors' loss, in training."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import cdist
from skimage.graph import MCP_Geometric

import lsplus_tf as lsp
from lsplus_tf.errors import InputError
from lsplus_tf.geodesic import geodesic_distance, geodesic_maps, geodesic_soft_labels


def scene(seed: int, shape: tuple[int, ...] = (9, 12)) -> tuple[np.ndarray, np.ndarray]:
    """An image in [0, 1] and a mask of a tenth of its pixels, at least one."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < 0.1
    mask[tuple(rng.integers(0, shape))] = True
    return rng.random(shape), mask


# --- the distance ---------------------------------------------------------------------------------


def test_a_distance_by_hand():
    """A 3-4-5 step into the bright square, and the way round it where that is shorter."""
    image = np.zeros((3, 3))
    image[1, 1] = 0.4
    mask = np.zeros((3, 3), bool)
    mask[1, 0] = True
    diagonal = 3 * np.sqrt(2)
    expected = [
        [3, diagonal, 3 + diagonal],
        [0, 5, 2 * diagonal],  # straight through the square it is 5 + 5
        [3, diagonal, 3 + diagonal],
    ]
    found = geodesic_distance(image, mask, intensity_weight=10, spacing=3)
    np.testing.assert_allclose(found, expected)
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("shape", "spacing"), [((9, 12), 1.0), ((9, 12), (0.5, 2.0)), ((4, 5, 6), (2.5, 1.0, 1.0))]
)
def test_without_intensities_it_is_scikit_image_s_path_length(shape, spacing):
    image, mask = scene(0, shape)
    sizes = spacing if isinstance(spacing, tuple) else (spacing,) * len(shape)
    expected, _ = MCP_Geometric(np.ones(shape), sampling=sizes).find_costs(np.argwhere(mask))
    found = geodesic_distance(image, mask, intensity_weight=0, spacing=spacing)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_without_intensities_it_is_nearly_the_straight_line(seed):
    image, mask = scene(seed)
    straight = distance_transform_edt(~mask)
    found = geodesic_distance(image, mask, intensity_weight=0)
    assert (found >= straight - 1e-12).all()
    assert (found <= straight / np.cos(np.pi / 8) + 1e-12).all()  # 8.24 % at 22.5 degrees


@pytest.mark.parametrize("shape", [(5, 6), (3, 3, 4)])
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_against_all_pairs_shortest_paths(shape, channels):
    """Floyd and Warshall's algorithm on a dense matrix of step costs."""
    rng = np.random.default_rng(1)
    sizes = np.arange(1, len(shape) + 1)
    image = rng.random((*shape, channels) if channels else shape)
    mask = scene(1, shape)[1]
    places = np.array(list(itertools.product(*map(range, shape))))
    intensities = image.reshape(len(places), -1)
    costs = np.hypot(cdist(places * sizes, places * sizes), 4 * cdist(intensities, intensities))
    costs[cdist(places, places, "chebyshev") > 1] = np.inf
    for between in range(len(places)):
        costs = np.minimum(costs, costs[:, [between]] + costs[[between]])
    expected = costs[:, mask.ravel()].min(axis=1).reshape(shape)
    found = geodesic_distance(image, mask, intensity_weight=4, spacing=sizes.tolist())
    np.testing.assert_allclose(found, expected)


def test_a_wall_is_walked_round():
    mask = np.zeros((15, 11), bool)
    mask[7, 2] = True
    flat, wall, closed = np.zeros((3, 15, 11))
    wall[3:12, 5] = closed[:, 5] = 1.0
    direct, round_it, through = (
        geodesic_distance(image, mask, intensity_weight=100)[7, 8] for image in (flat, wall, closed)
    )
    assert direct == 6
    assert direct < round_it < 20 < through
    np.testing.assert_allclose(through, 4 + 2 * np.hypot(1, 100))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), weight=st.floats(0, 100), more=st.floats(0, 100))
def test_monotone(seed, weight, more):
    """0 in the region alone; shorter for a larger region; longer for a larger weight."""
    image, mask = scene(seed)
    larger = mask | scene(seed + 1)[1]
    found = geodesic_distance(image, mask, weight)
    np.testing.assert_array_equal(found == 0, mask)
    assert (geodesic_distance(image, larger, weight) <= found).all()
    assert (geodesic_distance(image, mask, weight + more) >= found - 1e-9).all()


def test_integers_and_constants_do_not_matter():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (6, 7), np.uint8)  # whose differences must not wrap
    mask = scene(2, (6, 7))[1]
    found = geodesic_distance(image, mask, 0.1)
    np.testing.assert_allclose(geodesic_distance(image.astype(float) + 9, mask, 0.1), found)
    np.testing.assert_allclose(geodesic_distance(image / 255, mask, 25.5), found)


# --- maps and soft labels -------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.none() | st.floats(0.1, 100))
def test_maps(seed, scale):
    rng = np.random.default_rng(seed)
    image, labels = rng.random((6, 7)), rng.choice([0, 1, 3], (6, 7))
    labels[0, :3] = [0, 1, 3]
    maps = geodesic_maps(labels, image, num_classes=4, scale=scale)
    assert maps.shape == (6, 7, 4)
    assert maps.dtype == np.float32
    assert ((maps >= 0) & (maps <= 1)).all()
    assert not maps[..., 2].any()  # a class that is absent
    np.testing.assert_array_equal(np.take_along_axis(maps, labels[..., None], -1), 1.0)
    for k in (0, 1, 3):
        distance = geodesic_distance(image, labels == k)
        expected = np.exp(-distance / (scale or distance.mean()))
        np.testing.assert_allclose(maps[..., k], expected, rtol=1e-6, atol=1e-37)


def test_maps_of_an_image_of_one_class():
    maps = geodesic_maps(np.ones((3, 4), int), np.zeros((3, 4)), num_classes=2)
    np.testing.assert_array_equal(maps, np.broadcast_to([0.0, 1.0], (3, 4, 2)))


def test_maps_of_a_volume_and_of_channels():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, (3, 4, 5))
    grey = rng.random((3, 4, 5))
    maps = geodesic_maps(labels, grey, num_classes=2, spacing=(2.5, 1, 1))
    assert maps.shape == (3, 4, 5, 2)
    same = geodesic_maps(labels, grey[..., None], num_classes=2, spacing=(2.5, 1, 1))
    np.testing.assert_array_equal(maps, same)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), alpha=st.floats(0, 1))
def test_soft_labels(seed, alpha):
    rng = np.random.default_rng(seed)
    labels, image = rng.integers(0, 3, (2, 5, 6)), rng.random((2, 5, 6))
    maps = np.stack([geodesic_maps(labels[i], image[i], 3) for i in range(2)])
    onehot = np.eye(3)[labels]
    released = geodesic_soft_labels(labels, maps, alpha, normalize=False)
    np.testing.assert_allclose(released, (1 - alpha) * onehot + alpha * maps, rtol=1e-6, atol=1e-7)
    soft = geodesic_soft_labels(labels, maps, alpha)
    shares = maps / maps.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(soft, (1 - alpha) * onehot + alpha * shares, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(soft.sum(axis=-1), 1.0, rtol=1e-6)
    own = np.take_along_axis(soft, labels[..., None], -1)[..., 0]
    np.testing.assert_array_equal(own, soft.max(axis=-1))  # the label stays the first choice
    assert soft.dtype == np.float32


def test_soft_labels_leave_the_maps_alone():
    maps = np.array([[1.0, 0.5]], np.float32)
    geodesic_soft_labels([0], maps)
    np.testing.assert_array_equal(maps, [[1.0, 0.5]])


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_the_loss_is_the_authors(shared: Path, alpha):
    """Their axes are (B, K, D, H, W); their predictions are logits."""
    golden = np.load(shared / "golden" / "golden_losses.npz")
    predictions, maps = (
        np.moveaxis(golden[f"geols/{name}"], 1, -1) for name in ("predictions", "maps")
    )
    rows = geodesic_soft_labels(golden["geols/targets"], maps, alpha, normalize=False)
    z = tf.Variable(predictions)
    with tf.GradientTape() as tape:
        value = lsp.HardLabelLoss(from_logits=True)(rows, z)
    np.testing.assert_allclose(value, golden[f"geols/alpha{alpha}/loss"], rtol=1e-6)
    gradient = np.moveaxis(tape.gradient(value, z).numpy(), -1, 1)
    np.testing.assert_allclose(gradient, golden[f"geols/alpha{alpha}/grad"], rtol=1e-6, atol=6e-9)


# --- in training ----------------------------------------------------------------------------------


def segmentation() -> tuple[np.ndarray, np.ndarray]:
    """Noisy images (8, 12, 12, 1) of a bright rectangle on dark ground, and its mask."""
    rng = np.random.default_rng(4)
    labels = np.zeros((8, 12, 12), int)
    for i, (top, left) in enumerate(rng.integers(0, 6, (8, 2))):
        labels[i, top : top + 5, left : left + 5] = 1
    images = labels[..., None] + rng.normal(0, 0.3, (8, 12, 12, 1))
    return images.astype(np.float32), labels


def trained(loss: Any, y: np.ndarray, callbacks: Any = ()) -> tuple[float, list[float]]:
    """Pixel accuracy on the training images, and the losses of the epochs."""
    images, labels = segmentation()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input([12, 12, 1]), keras.layers.Conv2D(2, 3, padding="same")])
    model.compile(keras.optimizers.Adam(0.05), loss)
    fit = model.fit(images, y, batch_size=4, epochs=15, verbose=0, callbacks=list(callbacks))
    predicted = model(images).numpy().argmax(axis=-1)
    return float(np.mean(predicted == labels)), fit.history["loss"]


@pytest.mark.parametrize("normalize", [True, False])
def test_a_segmentation_learns_from_soft_labels(normalize):
    images, labels = segmentation()
    maps = np.stack([geodesic_maps(labels[i], images[i], 2) for i in range(8)])
    rows = geodesic_soft_labels(labels, maps, 0.1, normalize)
    accuracy, losses = trained(lsp.HardLabelLoss(from_logits=True), rows)
    assert accuracy > 0.9
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", ["ls", "ls_plus", "online"])
def test_a_segmentation_learns_from_class_indexed_losses(kind):
    """Ids (B, H, W), each pixel a sample; online label smoothing learns from the correct ones."""
    _, labels = segmentation()
    callbacks = []
    if kind == "ls":
        loss = lsp.LabelSmoothingLoss(0.1, from_logits=True)
    elif kind == "ls_plus":
        loss = lsp.LSPlusLoss(lsp.informed_prior([0.95, 0.8]), from_logits=True)
    else:
        loss = lsp.OnlineLabelSmoothingLoss(2, from_logits=True)
        callbacks = [lsp.OnlineLabelSmoothing()]
    accuracy, losses = trained(loss, labels, callbacks)
    assert accuracy > 0.9
    assert losses[-1] < losses[0]
    if kind == "online":
        rows = loss.soft_labels.numpy()
        np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-5)
        assert (np.diag(rows) > 0.6).all()


# --- bad input ------------------------------------------------------------------------------------

IMAGE, MASK, LABELS = np.zeros((2, 3)), np.ones((2, 3), bool), np.array([[0, 1, 0], [1, 1, 0]])
MAPS = np.full((2, 3, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: geodesic_distance(np.zeros((3, 2)), MASK), r"image: .*\(2, 3\).*\(3, 2\)"),
        (lambda: geodesic_distance(np.zeros((2, 3, 1, 1)), MASK), r"image: .*\(2, 3, 1, 1\)"),
        (lambda: geodesic_distance(np.zeros(2), MASK), r"image: .*received float64 of shape \(2,"),
        (lambda: geodesic_distance(IMAGE * 1j, MASK), "image: expected numbers.*complex128"),
        (lambda: geodesic_distance(IMAGE + np.nan, MASK), "image: expected finite.*received nan"),
        (lambda: geodesic_distance(IMAGE - np.inf, MASK), "image: expected finite.*received -inf"),
        (lambda: geodesic_distance(IMAGE, ~MASK), "mask: expected at least one pixel.*none"),
        (lambda: geodesic_distance(IMAGE, LABELS), "mask: expected booleans.*received int64"),
        (lambda: geodesic_distance(IMAGE[0], MASK[0]), r"mask: .*\(H, W\).*received .*\(3,\)"),
        (lambda: geodesic_distance(IMAGE, MASK, -1), "intensity_weight: .* >= 0, received -1"),
        (lambda: geodesic_distance(IMAGE, MASK, np.nan), "intensity_weight: .*received nan"),
        (lambda: geodesic_distance(IMAGE, MASK, "1"), "intensity_weight: .*received '1'"),
        (lambda: geodesic_distance(IMAGE, MASK, spacing=0), "spacing: .*> 0.*received 0"),
        (lambda: geodesic_distance(IMAGE, MASK, spacing=(1, 1, 1)), r"spacing: .*\(1, 1, 1\)"),
        (lambda: geodesic_distance(IMAGE, MASK, spacing="a"), "spacing: .*received 'a'"),
        (lambda: geodesic_maps(LABELS + 1, IMAGE, 2), r"labels: .*0\.\.1, received 2"),
        (lambda: geodesic_maps(LABELS - 1, IMAGE, 2), r"labels: .*0\.\.1, received -1"),
        (lambda: geodesic_maps(LABELS * 1.0, IMAGE, 2), "labels: expected integer.*float64"),
        (lambda: geodesic_maps(LABELS[0], IMAGE[0], 2), r"labels: .*\(H, W\).*received .*\(3,\)"),
        (lambda: geodesic_maps(LABELS, IMAGE, 1), r"num_classes: .* at least 2, received 1"),
        (lambda: geodesic_maps(LABELS, IMAGE, 2.0), "num_classes: .*integer .*, received 2.0"),
        (lambda: geodesic_maps(LABELS, IMAGE.T, 2), r"image: .*\(2, 3\).*\(3, 2\)"),
        (lambda: geodesic_maps(LABELS, IMAGE, 2, scale=0), "scale: .*> 0, received 0"),
        (lambda: geodesic_maps(LABELS, IMAGE, 2, -1), "intensity_weight: .*received -1"),
        (lambda: geodesic_soft_labels(LABELS, MAPS, 1.1), r"alpha: .*\[0, 1\], received 1.1"),
        (lambda: geodesic_soft_labels(LABELS, MAPS, np.nan), "alpha: .*received nan"),
        (lambda: geodesic_soft_labels(LABELS, MAPS * 3), r"maps: .*\[0, 1\], received 1.5"),
        (lambda: geodesic_soft_labels(LABELS, -MAPS), r"maps: .*\[0, 1\], received -0.5"),
        (lambda: geodesic_soft_labels(LABELS, MAPS * np.nan), r"maps: .*received nan"),
        (lambda: geodesic_soft_labels(LABELS, MAPS * 0), r"maps: .*above 0 .*at \(0, 0\)"),
        (lambda: geodesic_soft_labels(LABELS, MAPS[:1]), r"maps: .*\(2, 3\).*\(1, 3, 2\)"),
        (lambda: geodesic_soft_labels(0, [0.5, 0.5]), r"maps: .*K >= 2, received .*\(2,\)"),
        (lambda: geodesic_soft_labels(LABELS + 1, MAPS), r"labels: .*0\.\.1, received 2"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
