"""Batches: order, resuming, and augmentation against affine maps that SciPy applies."""

import functools
import gc
import hashlib
from itertools import pairwise

import forked
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from helpers import ROOT

from lsplus_tf.config import Augmentation
from lsplus_tf.datasets import Split
from lsplus_tf.datasets.augment import augment_batch
from lsplus_tf.datasets.mixup import mixup_batch
from lsplus_tf.datasets.pipeline import evaluation_batches, training_batches
from lsplus_tf.errors import InputError

EVERYTHING = Augmentation(
    horizontal_flip=True,
    vertical_flip=True,
    rotation=40,
    zoom=0.3,
    shift=0.1,
    shear=20,
    crop=0.2,
    channel_shift=20,
)
# A kind of each: a mirror, a map, and colours. More take longer to be traced.
SOME = Augmentation(horizontal_flip=True, shift=0.1, channel_shift=20)
HEIGHT, WIDTH = 21, 31


def numbered(count, *, shape=(4, 5, 3)):
    """Make a split in which image i is made of pixels i, with label i % 3."""
    index = np.arange(count)
    images = np.broadcast_to(index[:, None, None, None], (count, *shape)).astype(np.uint8)
    return Split(images, index % 3, index.astype(np.str_))


def noise(count, *, seed=0, shape=(HEIGHT, WIDTH, 3)):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return Split(images, np.arange(count) % 2, np.arange(count).astype(np.str_))


def ramps(count):
    """Make images whose first channel is x and second y: resampled, they tell the map."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    return tf.constant(np.broadcast_to(np.stack([x, y], -1), (count, HEIGHT, WIDTH, 2)))


def fitted_maps(augmentation, seed, count=64):
    """Return each image's 3x3 map from result (x, y, 1) to source, from resampled ramps alone."""
    sources = augment_batch(ramps(count), augmentation, tf.constant(seed)).numpy()
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    points = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
    maps = []
    for source in sources.reshape(count, -1, 2):
        # Where the source lies beyond the border, the ramp tells the border and not the source.
        inside = (source > 1e-3).all(1) & (source < [WIDTH - 1.001, HEIGHT - 1.001]).all(1)
        solution = np.linalg.lstsq(points[inside], source[inside], rcond=None)[0]
        np.testing.assert_allclose(points[inside] @ solution, source[inside], atol=1e-3)
        maps.append(np.vstack([solution.T, [0, 0, 1]]))
    return np.array(maps)


def collect(batches):
    return [(images.numpy(), labels.numpy()) for images, labels in batches]


def run(split=None, **changes):
    options = {"batch_size": 4, "epochs": 3, "seed": 5, "augmentation": SOME} | changes
    return collect(training_batches(split or noise(10), **options))


@functools.cache
def uninterrupted(**changes):
    """What `run` gives, for those that compare something with it."""
    return run(**changes)


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a, b)
        for pair in zip(first, second, strict=True)
        for a, b in zip(*pair, strict=True)
    )


def test_every_epoch_is_a_permutation():
    batches = training_batches(
        numbered(10), batch_size=4, epochs=3, seed=0, augmentation=Augmentation()
    )
    assert len(batches) == 9
    collected = collect(batches)
    assert [len(labels) for _, labels in collected] == [4, 4, 2] * 3
    images = np.concatenate([images for images, _ in collected])
    labels = np.concatenate([labels for _, labels in collected])
    assert (images.dtype, labels.dtype) == (np.float32, np.int32)
    assert images.shape == (30, 4, 5, 3)
    # Without augmentation the pixels are untouched.
    assert (images == images[:, :1, :1, :1]).all()
    numbers = images[:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(labels, numbers % 3)
    epochs = numbers.reshape(3, 10)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(10), (3, 1)))
    assert not any(np.array_equal(a, b) for a, b in pairwise(epochs))


@pytest.mark.parametrize("balanced", [False, True])
def test_fewer_steps_are_the_first_of_an_epoch(balanced):
    """What is left over of the epoch's order is not seen in it; with another order, in others."""
    of_all = uninterrupted(class_balanced=balanced)  # 4, 4, 2 of 10, in each of three epochs
    whole = [batch for batch in of_all if len(batch[1]) == 4]
    fewer = run(class_balanced=balanced, steps_per_epoch=2)
    assert same(fewer, whole)
    assert same(run(class_balanced=balanced, steps_per_epoch=3), of_all)
    assert same(
        run(class_balanced=balanced, steps_per_epoch=2, first_epoch=1, first_step=1), fewer[3:]
    )
    for steps in (0, 4):
        with pytest.raises(
            InputError, match=rf"steps_per_epoch: expected 1\.\.3, received {steps}"
        ):
            run(steps_per_epoch=steps)
    with pytest.raises(InputError, match=r"first_step: expected 0\.\.2 \(steps\), received 3"):
        run(steps_per_epoch=2, first_step=3)


def test_first_place_is_uniform():
    batches = training_batches(
        numbered(5), batch_size=5, epochs=1000, seed=1, augmentation=Augmentation()
    )
    first = [int(images[0, 0, 0, 0]) for images, _ in batches]
    # 200 of each expected; the standard deviation is 12.6.
    assert np.abs(np.bincount(first, minlength=5) - 200).max() < 60


@pytest.mark.parametrize("first_epoch", [0, 1, 2, 3])
def test_resuming_gives_what_an_uninterrupted_run_gives(first_epoch):
    everything = {"augmentation": EVERYTHING} if first_epoch == 1 else {}
    rest = run(first_epoch=first_epoch, **everything)
    assert same(rest, uninterrupted(**everything)[3 * first_epoch :])


def test_more_epochs_do_not_change_the_earlier_ones():
    assert same(run(epochs=2), uninterrupted()[:6])


def imbalanced():
    """300 images of class 0, 60 of class 2, 12 of class 5; image i is made of pixels i."""
    index = np.arange(372)
    labels = np.repeat([0, 2, 5], [300, 60, 12])[np.random.default_rng(0).permutation(372)]
    pixels = np.stack([index // 256, index % 256, index], axis=1).astype(np.uint8)
    return Split(pixels[:, None, None, :], labels, index.astype(np.str_))


def drawn(split, **changes):
    """The samples of each epoch, (epochs, N), with class-balanced sampling."""
    options = {"batch_size": 100, "epochs": 30, "seed": 7, "augmentation": Augmentation()}
    batches = training_batches(split, class_balanced=True, **(options | changes))
    pixels, labels = (np.concatenate(part) for part in zip(*collect(batches), strict=True))
    index = (256 * pixels[:, 0, 0, 0] + pixels[:, 0, 0, 1]).astype(int)
    np.testing.assert_array_equal(labels, split.labels[index])
    return index.reshape(-1, len(split))


def test_class_balanced_draws_are_even_over_classes_and_within_each():
    split = imbalanced()
    index = drawn(split)
    counts = np.bincount(index.ravel(), minlength=len(split))
    by_class = [counts[split.labels == k] for k in (0, 2, 5)]
    assert scipy.stats.chisquare([c.sum() for c in by_class]).pvalue > 1e-3
    for within in by_class:
        assert scipy.stats.chisquare(within).pvalue > 1e-3


def test_class_balanced_draws_depend_on_seed_and_epoch_alone():
    split = imbalanced()
    index = drawn(split)
    np.testing.assert_array_equal(index, drawn(split, batch_size=37))
    np.testing.assert_array_equal(index[20:], drawn(split, first_epoch=20))
    np.testing.assert_array_equal(index[:5], drawn(split, epochs=5))
    assert len(np.unique(index, axis=0)) == 30
    assert not np.array_equal(index, drawn(split, seed=8))


def test_seed_decides():
    assert same(run(augmentation=EVERYTHING), uninterrupted(augmentation=EVERYTHING))
    assert not same(uninterrupted(), run(seed=6))
    assert not same(run(seed=0), run(seed=2**62))


def digest():
    batches = uninterrupted(augmentation=EVERYTHING)
    return hashlib.sha256(b"".join(part.tobytes() for pair in batches for part in pair)).hexdigest()


def test_same_in_another_process_with_deterministic_ops():
    code = (
        "import sys; sys.path.insert(0, 'tests'); import tensorflow as tf; "
        "tf.keras.utils.set_random_seed(99); tf.config.experimental.enable_op_determinism(); "
        "import test_datasets_pipeline as t; print(t.digest())"
    )
    done = forked.run("-c", code, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == digest()


def test_evaluation_is_in_order():
    batches = evaluation_batches(numbered(10), batch_size=4)
    assert len(batches) == 3
    collected = collect(batches)
    assert [len(labels) for _, labels in collected] == [4, 4, 2]
    images = np.concatenate([images for images, _ in collected])
    np.testing.assert_array_equal(images, numbered(10).images)
    assert images.dtype == np.float32
    labels = np.concatenate([labels for _, labels in collected])
    np.testing.assert_array_equal(labels, np.arange(10) % 3)
    assert labels.dtype == np.int32


def test_evaluation_of_some_samples():
    """A sample of the whole split, which is in the order of its classes, and always the same."""
    index = np.arange(1000)
    pixels = np.stack([index // 256, index % 256, index * 0], -1).astype(np.uint8)
    split = Split(pixels[:, None, None], index // 500, index.astype(np.str_))
    collected = collect(evaluation_batches(split, batch_size=64, samples=256))
    assert [len(labels) for _, labels in collected] == [64] * 4
    images, labels = (np.concatenate(each) for each in zip(*collected, strict=True))
    drawn = (256 * images[:, 0, 0, 0] + images[:, 0, 0, 1]).astype(int)
    assert len(set(drawn)) == 256
    np.testing.assert_array_equal(labels, drawn // 500)
    assert 90 < labels.sum() < 166  # 5 SDs about the half
    again = collect(evaluation_batches(split, batch_size=64, samples=256, num_classes=2))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in again]), images)
    np.testing.assert_array_equal(np.concatenate([y for _, y in again]), np.eye(2)[labels])
    whole = collect(evaluation_batches(split, batch_size=64))
    for samples in (1000, 9999):  # no fewer than there are
        every = collect(evaluation_batches(split, batch_size=64, samples=samples))
        for ours, theirs in zip(every, whole, strict=True):
            np.testing.assert_array_equal(ours[0], theirs[0])
    with pytest.raises(InputError, match="samples: expected an integer of at least 1, received 0"):
        evaluation_batches(split, batch_size=64, samples=0)


def test_shapes_are_known_to_keras():
    training = training_batches(
        noise(3), batch_size=2, epochs=1, seed=0, augmentation=EVERYTHING
    ).element_spec
    for images, labels in (training, evaluation_batches(noise(3), batch_size=2).element_spec):
        assert images.shape.as_list() == [None, HEIGHT, WIDTH, 3]
        assert labels.shape.as_list() == [None]


@pytest.mark.parametrize(
    ("option", "axis"), [("horizontal_flip", 2), ("vertical_flip", 1)], ids=["left-right", "up"]
)
def test_flips_are_exact(option, axis):
    images = noise(40).images.astype(np.float32)
    flipped = augment_batch(
        tf.constant(images), Augmentation(**{option: True}), tf.constant([1, 2])
    )
    mirrored = np.flip(images, axis)
    kept = [np.array_equal(a, b) for a, b in zip(flipped, images, strict=True)]
    turned = [np.array_equal(a, b) for a, b in zip(flipped, mirrored, strict=True)]
    assert all(k != t for k, t in zip(kept, turned, strict=True))
    # 20 expected; the standard deviation is 3.2.
    assert 8 < sum(turned) < 32


def test_zoom_and_crop_keep_axes():
    centre = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    zoom = fitted_maps(Augmentation(zoom=0.2), [0, 1])
    np.testing.assert_allclose(zoom[:, [0, 1], [1, 0]], 0, atol=1e-3)
    factors = zoom[:, [0, 1], [0, 1]]
    assert (np.abs(factors - 1) < 0.201).all()
    assert (np.ptp(factors, axis=0) > 0.3).all()
    # Independent in x and y.
    assert np.abs(np.corrcoef(factors.T)[0, 1]) < 0.5
    np.testing.assert_allclose(zoom[:, :2, 2], centre - factors * centre, atol=1e-2)

    crop = fitted_maps(Augmentation(crop=0.25), [0, 2])
    np.testing.assert_allclose(crop[:, :2, :2], np.tile(0.75 * np.eye(2), (64, 1, 1)), atol=1e-3)
    # The window's outer corner: half a pixel before the centre of the first pixel.
    corner = crop[:, :2, :2] @ [-0.5, -0.5] + crop[:, :2, 2] + 0.5
    room = 0.25 * np.array([WIDTH, HEIGHT])
    assert (corner > -0.01).all()
    assert (corner < room + 0.01).all()
    assert (np.ptp(corner, axis=0) > 0.8 * room).all()


def test_rotation_shear_and_shift():
    centre = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    rotation = fitted_maps(Augmentation(rotation=30), [0, 3])
    turns = rotation[:, :2, :2]
    np.testing.assert_allclose(
        turns @ turns.transpose(0, 2, 1), np.tile(np.eye(2), (64, 1, 1)), atol=1e-3
    )
    angles = np.degrees(np.arctan2(turns[:, 1, 0], turns[:, 0, 0]))
    assert np.abs(angles).max() < 30.1
    assert np.ptp(angles) > 50
    np.testing.assert_allclose(
        turns @ centre + rotation[:, :2, 2], np.tile(centre, (64, 1)), atol=0.01
    )

    shear = fitted_maps(Augmentation(shear=30), [0, 4])
    np.testing.assert_allclose(shear[:, 1], np.tile([0, 1, 0], (64, 1)), atol=1e-2)
    slopes = np.degrees(np.arctan(shear[:, 0, 1]))
    assert np.abs(slopes).max() < 30.1
    assert np.ptp(slopes) > 50

    shift = fitted_maps(Augmentation(shift=0.2), [0, 5])
    np.testing.assert_allclose(shift[:, :2, :2], np.tile(np.eye(2), (64, 1, 1)), atol=1e-3)
    share = shift[:, :2, 2] / [WIDTH, HEIGHT]
    assert np.abs(share).max() < 0.201
    assert (np.ptp(share, axis=0) > 0.3).all()


def test_all_together_are_the_product_of_each_alone():
    seed = [3, 4]
    options = {
        "crop": 0.1,
        "shift": 0.1,
        "rotation": 30,
        "shear": 15,
        "zoom": 0.2,
        "horizontal_flip": True,
        "vertical_flip": True,
    }
    product = np.eye(3)
    for option, value in options.items():
        product = product @ fitted_maps(Augmentation(**{option: value}), seed, count=16)
    together = fitted_maps(Augmentation(**options), seed, count=16)
    np.testing.assert_allclose(together, product, atol=0.02)


def test_resampling_is_scipys():
    seed = [5, 6]
    options = EVERYTHING.model_copy(update={"channel_shift": 0.0})
    images = noise(8).images.astype(np.float32)
    # Smooth, so that the error of the fitted map does not matter.
    images = scipy.ndimage.gaussian_filter(images, (0, 2, 2, 0))
    augmented = augment_batch(tf.constant(images), options, tf.constant(seed)).numpy()
    for image, result, fitted in zip(images, augmented, fitted_maps(options, seed, 8), strict=True):
        swapped = fitted[[1, 0]][:, [1, 0, 2]]  # SciPy counts (y, x)
        for channel in range(3):
            expected = scipy.ndimage.affine_transform(
                image[..., channel], swapped[:, :2], swapped[:, 2], order=1, mode="nearest"
            )
            np.testing.assert_allclose(result[..., channel], expected, atol=0.05)


def test_channel_shift_adds_and_clips():
    images = noise(50).images.astype(np.float32)
    shifted = augment_batch(
        tf.constant(images), Augmentation(channel_shift=40), tf.constant([7, 8])
    ).numpy()
    assert shifted.min() >= 0
    assert shifted.max() <= 255
    untouched = (images > 41) & (images < 214)
    offsets = np.where(untouched, shifted - images, np.nan)
    low, high = np.nanmin(offsets, (1, 2)), np.nanmax(offsets, (1, 2))
    np.testing.assert_allclose(low, high, atol=1e-4)
    assert low.shape == (50, 3)
    assert -40 <= low.min() < -30
    assert 30 < low.max() <= 40
    expected = np.clip(images + low[:, None, None, :], 0, 255)
    np.testing.assert_allclose(shifted, expected, atol=1e-3)


def test_one_options_numbers_do_not_depend_on_another():
    alone = fitted_maps(Augmentation(zoom=0.2), [1, 1], count=4)
    both = fitted_maps(Augmentation(zoom=0.2, shift=0.1), [1, 1], count=4)
    np.testing.assert_allclose(alone[:, :2, :2], both[:, :2, :2], atol=1e-3)


def test_grey_and_single_pixels():
    for shape in ((9, 9, 1), (1, 1, 3)):
        ((images, _),) = run(noise(3, shape=shape), epochs=1, augmentation=EVERYTHING)
        assert images.shape == (3, *shape)
        assert np.isfinite(images).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1, received 0"),
        ({"epochs": 0}, "epochs: expected an integer of at least 1, received 0"),
        ({"seed": -1}, r"seed: expected 0\.\.2\*\*63-1, received -1"),
        ({"first_epoch": 4}, r"first_epoch: expected 0\.\.3 \(epochs\), received 4"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        run(**arguments)
    with pytest.raises(
        InputError, match="batch_size: expected an integer of at least 1, received 0"
    ):
        evaluation_batches(numbered(3), batch_size=0)


def test_images_are_let_go_of_without_garbage_collection():
    """A process that trains many networks must not keep the images of each run."""
    shape = (7, 4, 5, 3)
    gc.collect()
    gc.disable()
    try:
        run(numbered(7, shape=shape[1:]))
        eager = type(tf.constant(0))  # symbolic ones hold no data
        kept = [o for o in gc.get_objects() if type(o) is eager and o.shape == shape]
    finally:
        gc.enable()
    assert not kept


# --- mixup ----------------------------------------------------------------------------------------


def mixed_batches(split, *, mixup, epochs=2, seed=3, first_epoch=0, batch_size=5):
    batches = training_batches(
        split,
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        augmentation=Augmentation(),
        mixup=mixup,
        num_classes=3,
        first_epoch=first_epoch,
    )
    return [(x.numpy(), y.numpy()) for x, y in batches]


def test_mixup_blends_images_and_labels_by_one_factor_a_batch():
    """Image i is made of pixels i: what a blend is made of can be read from it."""
    split = numbered(12)
    plain = training_batches(split, batch_size=5, epochs=2, seed=3, augmentation=Augmentation())
    factors = []
    for (mixed, soft), (images, labels) in zip(mixed_batches(split, mixup=1.0), plain, strict=True):
        count = len(images)
        onehot = np.eye(3)[labels.numpy()]
        assert soft.shape == (count, 3)
        np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)
        pixel, first = mixed[:, 0, 0, 0], images.numpy()[:, 0, 0, 0]
        assert np.ptp(mixed, axis=(1, 2, 3)).max() == 0
        # Some permutation and some factor explain all of the batch.
        matrix = np.stack([pixel, *soft.T])
        fits = [
            factor
            for factor in np.linspace(0, 1, 401)
            if np.allclose(
                np.sort((matrix - factor * np.stack([first, *onehot.T])).T, axis=0),
                np.sort((1 - factor) * np.stack([first, *onehot.T]).T, axis=0),
                atol=2e-2,
            )
        ]
        assert fits
        factors.append(fits[0])
    assert len(set(factors)) > 1


def test_mixup_is_a_function_of_seed_and_epoch_and_can_start_anywhere():
    split = noise(12)
    one, again = (mixed_batches(split, mixup=0.4) for _ in range(2))
    for (x, y), (u, v) in zip(one, again, strict=True):
        np.testing.assert_array_equal(x, u)
        np.testing.assert_array_equal(y, v)
    for (x, y), (u, v) in zip(one[3:], mixed_batches(split, mixup=0.4, first_epoch=1), strict=True):
        np.testing.assert_array_equal(x, u)
        np.testing.assert_array_equal(y, v)
    assert not np.array_equal(one[0][1], mixed_batches(split, mixup=0.4, seed=4)[0][1])


@pytest.mark.parametrize("alpha", [0.1, 1.0, 4.0])
def test_the_factor_of_mixup_is_beta_distributed(alpha):
    images, labels = tf.constant([[[[1.0]]], [[[0.0]]]]), tf.constant([0, 1])
    blend = tf.function(lambda seed: mixup_batch(images, labels, 2, alpha, seed))
    factors = []
    for i in range(400):
        mixed, soft = (part.numpy() for part in blend(tf.constant([5, i])))
        np.testing.assert_allclose(mixed[:, 0, 0, 0], soft[:, 0])
        if mixed[0, 0, 0, 0] != 1:  # else the permutation left both in place
            factors.append(float(mixed[0, 0, 0, 0]))
    assert scipy.stats.kstest(factors, scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-4


def test_a_tiny_alpha_of_mixup_gives_no_nan():
    images, labels = tf.ones((4, 2, 2, 1)), tf.constant([0, 1, 2, 0])
    for i in range(20):
        mixed, soft = mixup_batch(images, labels, 3, 1e-4, tf.constant([0, i]))
        np.testing.assert_allclose(mixed, 1, rtol=1e-6)
        np.testing.assert_allclose(tf.reduce_sum(soft, axis=1), 1, rtol=1e-6)


def test_evaluation_labels_as_rows():
    (_, labels), *_ = evaluation_batches(numbered(4), batch_size=4, num_classes=3)
    np.testing.assert_array_equal(labels, np.eye(3)[[0, 1, 2, 0]])


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [-1, 0, 0, 0], [0.0, 0.5, 1.0, 2.0]])
def test_class_ids_that_mixup_does_not_know(labels):
    images, seed = np.ones((4, 2, 2, 1), np.uint8), [0, 0]
    with pytest.raises(InputError, match=r"labels: expected class ids in 0\.\.2, received"):
        mixup_batch(images, np.array(labels), 3, 1.0, seed)
    batches = tf.data.Dataset.from_tensors((images, np.array(labels)))
    mixed = batches.map(lambda x, y: mixup_batch(x, y, 3, 1.0, seed))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected class ids in 0\.\.2"):
        list(mixed)


def test_mixup_of_usual_forms():
    """uint8 images, class ids in a column and one-hot rows: the same blend."""
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((2, 2, 1), np.uint8)
    ids, seed = np.array([0, 1, 2, 0]), [3, 4]
    expected = mixup_batch(tf.cast(images, tf.float32), tf.constant(ids), 3, 1.0, seed)
    for labels in (ids[:, None], np.eye(3)[ids], ids.tolist(), ids.astype(np.float32)):
        for one, other in zip(mixup_batch(images, labels, 3, 1.0, seed), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


def test_mixup_that_cannot_be():
    with pytest.raises(InputError, match="seed: expected two integers"):
        mixup_batch(tf.ones((1, 2, 2, 1)), tf.constant([0]), 2, 1.0, 7)
    with pytest.raises(InputError, match=r"labels: expected shape \(batch,\) or \(batch, 3\)"):
        mixup_batch(tf.ones((1, 2, 2, 1)), tf.eye(2)[:1], 3, 1.0, [0, 0])
    with pytest.raises(InputError, match="mixup: expected a number >= 0, received -1"):
        mixed_batches(numbered(4), mixup=-1)
    with pytest.raises(InputError, match="alpha: expected a number > 0, received 0"):
        mixup_batch(tf.ones((1, 2, 2, 1)), tf.constant([0]), 2, 0, tf.constant([0, 0]))
    with pytest.raises(InputError, match="num_classes: expected the number of classes for mixup"):
        training_batches(
            numbered(4), batch_size=2, epochs=1, seed=0, augmentation=Augmentation(), mixup=1.0
        )
