"""Batches for `model.fit`, a pure function of (seed, epoch, position), and for evaluation."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from lsplus_tf.datasets.augment import augment_batch
from lsplus_tf.datasets.base import Split
from lsplus_tf.datasets.image_files import ImageFiles
from lsplus_tf.datasets.mixup import mixup_batch
from lsplus_tf.errors import MOST_BATCH, InputError, check_count, check_number

if TYPE_CHECKING:
    from lsplus_tf.config import Augmentation

_MIXUP_STREAM = 1  # of random numbers, apart from those of the augmentation


def training_batches(
    split: Split,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    augmentation: "Augmentation",
    mixup: float = 0.0,
    num_classes: int | None = None,
    class_balanced: bool = False,
    steps_per_epoch: int | None = None,
    first_epoch: int = 0,
    first_step: int = 0,
    part: int = 0,
    parts: int = 1,
) -> tf.data.Dataset:
    """Return all training batches of a run, one epoch after the other.

    Parameters
    ----------
    split : Split
        N samples.
    batch_size : int
        Samples in a batch, at least 1; the last batch of an epoch has what is left.
    epochs : int
        Epochs of the whole run, at least 1.
    seed : int
        Order and augmentation depend on it, 0..2**63-1.
    augmentation : lsplus_tf.config.Augmentation
        Random changes of the images.
    mixup : float
        Blend every batch with itself by a factor from Beta(mixup, mixup), see `mixup_batch`; 0
        does not.
    num_classes : int or None
        K, which only mixup needs.
    class_balanced : bool
        Draw every sample of an epoch from a class drawn evenly among those of the split, instead
        of a permutation of all.
    steps_per_epoch : int or None
        Only so many batches of an epoch's order, at most ceil(N / batch_size), which None gives.
    first_epoch : int
        Start at this epoch, 0..epochs: what comes is exactly what an uninterrupted run gives
        from there on.
    first_step : int
        Leave out so many batches of the first epoch, 0..steps_per_epoch; they are not read.
    part, parts : int
        Of every batch the `part`-th, from 0, of `parts` slices, whose sizes differ by 1 at most.
        Other images are not read, but with mixup all are.

    Returns
    -------
    tf.data.Dataset
        (epochs - first_epoch) * steps_per_epoch - first_step pairs of images, float32
        (B, H, W, C), 0..255, and labels, int32 (B,), or with mixup soft labels, float32 (B, K).
        Every epoch is a permutation of all samples, or N class-balanced draws. Give `model.fit`
        the same steps_per_epoch.

    Raises
    ------
    InputError
        If a number is out of range.

    Examples
    --------
    >>> from lsplus_tf.config import Augmentation
    >>> from lsplus_tf.datasets import load_dataset
    >>> train = load_dataset("digits").train
    >>> batches = training_batches(
    ...     train, batch_size=64, epochs=2, seed=0, augmentation=Augmentation()
    ... )
    >>> len(batches)
    34
    """
    check_count("batch_size", batch_size, most=MOST_BATCH)
    check_count("epochs", epochs)
    if not 0 <= seed < 2**63:
        raise InputError(f"seed: expected 0..2**63-1, received {seed}")
    if not 0 <= first_epoch <= epochs:
        raise InputError(f"first_epoch: expected 0..{epochs} (epochs), received {first_epoch}")
    check_number("mixup", mixup)
    if mixup and num_classes is None:
        raise InputError("num_classes: expected the number of classes for mixup, received None")
    count = len(split)
    all_steps = math.ceil(count / batch_size)
    steps = all_steps if steps_per_epoch is None else steps_per_epoch
    if not 1 <= steps <= all_steps:
        raise InputError(f"steps_per_epoch: expected 1..{all_steps}, received {steps_per_epoch}")
    most = steps if first_epoch < epochs else 0
    if not 0 <= first_step <= most:
        raise InputError(f"first_step: expected 0..{most} (steps), received {first_step}")

    order_of = _balanced_order(split) if class_balanced else _permutation

    def run_batches(fetch: Fetch, labels: tf.Tensor) -> tf.data.Dataset:
        def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
            epoch_seed = tf.stack([tf.constant(seed, tf.int64), epoch])
            order = order_of(count, epoch_seed)

            def batch(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                chosen = order[start : start + batch_size]
                whole = tf.size(chosen)
                first, end = _slice(whole, part, parts)
                batch_seed = tf.random.fold_in(epoch_seed, start)
                if not mixup or num_classes is None:
                    chosen = chosen[first:end]
                    images = tf.cast(fetch(chosen), tf.float32)
                    augmented = augment_batch(
                        images, augmentation, batch_seed, first=first, whole=whole
                    )
                    return augmented, tf.gather(labels, chosen)
                images = tf.cast(fetch(chosen), tf.float32)
                augmented = augment_batch(images, augmentation, batch_seed)
                mixup_seed = tf.random.fold_in(batch_seed, _MIXUP_STREAM)
                mixed, rows = mixup_batch(
                    augmented, tf.gather(labels, chosen), num_classes, mixup, mixup_seed
                )
                return mixed[first:end], rows[first:end]

            skipped = tf.where(epoch == first_epoch, first_step * batch_size, 0)
            skipped = tf.cast(skipped, tf.int64)
            starts = tf.data.Dataset.range(skipped, steps * batch_size, batch_size)
            return starts.map(batch, num_parallel_calls=tf.data.AUTOTUNE)

        return tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_batches)

    return _from_source(split, run_batches, length=(epochs - first_epoch) * steps - first_step)


def evaluation_batches(
    split: Split,
    *,
    batch_size: int,
    num_classes: int | None = None,
    part: int = 0,
    parts: int = 1,
    samples: int | None = None,
) -> tf.data.Dataset:
    """Return the samples of a split in order, without augmentation.

    Parameters
    ----------
    split : Split
        N samples.
    batch_size : int
        Samples in a batch, at least 1; the last batch has what is left.
    num_classes : int or None
        K for labels as one-hot rows, None for class ids.
    part, parts : int
        As in `training_batches`.
    samples : int or None
        Only so many, drawn at random from all of the split, each time the same; None, and more
        than there are, gives all.

    Returns
    -------
    tf.data.Dataset
        ceil(N / batch_size) pairs, or as `samples` needs, of images, float32 (B, H, W, C), 0..255,
        and labels, int32 (B,) or float32 (B, K).

    Raises
    ------
    InputError
        If `batch_size` or `samples` is less than 1.

    Examples
    --------
    >>> from lsplus_tf.datasets import load_dataset
    >>> len(evaluation_batches(load_dataset("digits").test, batch_size=64))
    6
    """
    check_count("batch_size", batch_size, most=MOST_BATCH)
    count = len(split)
    drawn: npt.NDArray[np.int32] | None = None
    if samples is not None:
        check_count("samples", samples)
        if samples < count:
            order = np.random.default_rng(0).permutation(count)
            count = samples
            # In order, which is faster to read from a file.
            drawn = np.sort(order[:count]).astype(np.int32)

    def run_batches(fetch: Fetch, labels: tf.Tensor) -> tf.data.Dataset:
        def batch(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            first, end = _slice(tf.minimum(count - start, batch_size), part, parts)
            chosen = tf.range(start + first, start + end)
            if drawn is not None:
                chosen = tf.gather(drawn, chosen)
            ids = tf.gather(labels, chosen)
            shown = ids if num_classes is None else tf.one_hot(ids, num_classes)
            return tf.cast(fetch(chosen), tf.float32), shown

        starts = tf.data.Dataset.range(0, count, batch_size)
        return starts.map(batch, num_parallel_calls=tf.data.AUTOTUNE)

    return _from_source(split, run_batches, length=math.ceil(count / batch_size))


def _slice(whole: tf.Tensor, part: int, parts: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the `part`-th of `parts` slices of a batch of `whole` samples begins and ends."""
    return whole * part // parts, whole * (part + 1) // parts


def _permutation(count: int, seed: tf.Tensor) -> tf.Tensor:
    """All samples in random order, int32 (N,).

    Sorting random keys is a permutation that depends on nothing but the seed. Stable, so that
    equal keys do not leave the order to chance.
    """
    keys = tf.random.stateless_uniform((count,), seed, minval=None, maxval=None, dtype=tf.int64)
    return tf.argsort(keys, stable=True)


def _balanced_order(split: Split) -> Callable[[int, tf.Tensor], tf.Tensor]:
    """N draws: a class evenly among those present, then one of its samples."""
    _, counts = np.unique(split.labels, return_counts=True)
    by_class = np.argsort(split.labels, kind="stable").astype(np.int32)
    first = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int32)

    def order(count: int, seed: tf.Tensor) -> tf.Tensor:
        class_seed, sample_seed = tf.unstack(tf.random.split(seed))
        drawn = tf.random.stateless_uniform((count,), class_seed, 0, len(counts), tf.int32)
        size = tf.gather(tf.constant(counts, tf.float64), drawn)
        within = tf.random.stateless_uniform((count,), sample_seed, dtype=tf.float64) * size
        return tf.gather(by_class, tf.gather(first, drawn) + tf.cast(within, tf.int32))

    return order


Fetch = Callable[[tf.Tensor], tf.Tensor]  # indices (B,) to images, uint8 (B, H, W, C)

# What makes batches decides nothing by a tensor. To translate its source, as TensorFlow would do
# with every function in it, takes a process longer than to make the batches.
_as_written = tf.autograph.experimental.do_not_convert


def _from_source(
    split: Split,
    run_batches: Callable[[Fetch, tf.Tensor], tf.data.Dataset],
    *,
    length: int,
) -> tf.data.Dataset:
    """Return the `length` batches that `run_batches` makes of all images and labels.

    Images in memory are a uint8 tensor where tf.data runs, and are passed on by reference:
    neither a batch nor the graph copies them. They come as the one element of a data set and not
    as captured variables, since captured ones live in reference cycles, so that every run of a
    process would leave its images behind until Python collects garbage. Others are read a batch
    at a time, by Python: Pillow and NumPy work without holding the interpreter's lock.
    """
    images, shape = split.images, split.images.shape[1:]
    with tf.device("CPU:0"):
        labels = tf.constant(split.labels, tf.int32)
        if isinstance(images, (ImageFiles, np.memmap)):
            read = images.read if isinstance(images, ImageFiles) else images.__getitem__

            def fetch(chosen: tf.Tensor) -> tf.Tensor:
                # Of what calls itself stateful, deterministic TensorFlow reads one batch at a time.
                read_images = tf.numpy_function(read, [chosen], tf.uint8, stateful=False)
                return tf.ensure_shape(read_images, (None, *shape))

            batches = tf.data.Dataset.from_tensors(labels).flat_map(
                _as_written(lambda all_labels: run_batches(fetch, all_labels))
            )
        else:
            # A tensor fresh from NumPy drags a second copy along; identity lets go of it.
            whole = tf.data.Dataset.from_tensors((tf.identity(tf.constant(images)), labels))
            batches = whole.flat_map(
                _as_written(
                    lambda all_images, all_labels: run_batches(
                        lambda chosen: tf.gather(all_images, chosen), all_labels
                    )
                )
            )
    batches = batches.apply(tf.data.experimental.assert_cardinality(length))
    options = tf.data.Options()
    options.deterministic = True
    # Rewriting the graph would copy the images, and fuses nothing here.
    options.experimental_optimization.apply_default_optimizations = False
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)
