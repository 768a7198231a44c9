"""Training images per second from 512x512 JPEGs to batches of 224x224, against Keras and the floor.

The floor is the faster way of decoding alone, with nothing else done. Contestants take turns,
several rounds of a few seconds each, so that other work on the machine falls on all of them. On a
machine that is not free, look at the processor time per image: images per second then tell mostly
how many threads ask for a share. "of floor" and "of Keras" are speeds as multiples of theirs, by
the clock and by processor time; larger is better.

    python benchmarks/bench_input.py
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import scipy.ndimage
import tensorflow as tf
from PIL import Image
from rich.console import Console
from rich.table import Table

from lsplus_tf.config import Augmentation
from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.pipeline import training_batches

SIDE, TARGET, BATCH = 512, 224, 32
AUGMENTATIONS = {
    "none": Augmentation(),
    "LS+": Augmentation(horizontal_flip=True, zoom=0.2, shift=0.1, shear=0.05, channel_shift=0.1),
    "OLS": Augmentation(horizontal_flip=True, crop=0.125),
}
Batches = Callable[[], Iterable[object]]


def write_images(root: Path, count: int) -> list[Path]:
    """Two classes of images with detail at every scale, as tissue has, in JPEG quality 90."""
    paths = []
    for i in range(count):
        rng = np.random.default_rng(i)
        noise = rng.normal(size=(SIDE, SIDE, 3))
        scales = (0.7, 2, 5, 12, 30)
        image = sum(s * scipy.ndimage.gaussian_filter(noise, (s, s, 0)) for s in scales)
        pixels = np.clip(150 + 45 * image / image.std(), 0, 255).astype(np.uint8)
        paths.append(root / "photos" / str(i % 2) / f"{i}.jpg")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def bare_tensorflow(paths: list[Path]) -> Iterable[object]:
    def read(path: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_jpeg(tf.io.read_file(path), channels=3)

    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).repeat()
    return files.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)


def bare_pillow(paths: list[Path]) -> Iterable[object]:
    def read(path: Path) -> None:
        with Image.open(path) as image:
            image.load()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in itertools.count(step=BATCH):
            yield list(pool.map(read, [paths[(start + i) % len(paths)] for i in range(BATCH)]))


def with_keras(root: Path, augmentation: str, cache: bool) -> Iterable[object]:
    """`image_dataset_from_directory`, and the layers that are nearest to the augmentation."""
    batches = keras.utils.image_dataset_from_directory(
        root / "photos", image_size=(TARGET, TARGET), batch_size=BATCH, verbose=False
    )
    if cache:
        batches = batches.cache()
    layers = {
        "none": [],
        "LS+": [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomZoom((-0.2, 0.2), (-0.2, 0.2), fill_mode="nearest"),
            keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
            # A shift along x of up to tan(0.05 degrees).
            keras.layers.RandomShear(x_factor=0.0009, fill_mode="nearest"),
            # One number for all channels, which is less work than a channel shift.
            keras.layers.RandomBrightness(0.1 / 255),
        ],
        "OLS": [
            # One window for the whole batch, which is less than one for every image.
            keras.layers.RandomCrop(196, 196),
            keras.layers.Resizing(TARGET, TARGET),
            keras.layers.RandomFlip("horizontal"),
        ],
    }[augmentation]
    if layers:
        pipeline = keras.layers.Pipeline(layers)
        batches = batches.map(
            lambda x, y: (pipeline(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE
        )
    return batches.prefetch(tf.data.AUTOTUNE).repeat()


def ours(
    root: Path, augmentation: str, cache: str, interpolation: str = "bilinear"
) -> Iterable[object]:
    dataset = load_dataset(
        f"folder:{root / 'photos'}",
        image_size=TARGET,
        channels=3,
        cache=cache,
        cache_dir=root / "cache",
        interpolation=interpolation,
        validation_fraction=0.01,
        test_fraction=0.01,
    )
    return training_batches(
        dataset.train,
        batch_size=BATCH,
        epochs=10**6,
        seed=0,
        augmentation=AUGMENTATIONS[augmentation],
    )


def measure(batches: Iterable[object], seconds: float) -> tuple[float, float]:
    """Images per second and processor milliseconds per image, after a warm-up of half the time."""
    taken = iter(batches)
    started = time.perf_counter()
    while time.perf_counter() - started < seconds / 2:
        next(taken)
    steps, started, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        next(taken)
        steps += 1
    wall, processor = time.perf_counter() - started, time.process_time() - processor
    return steps * BATCH / wall, 1e3 * processor / (steps * BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = write_images(root, options.images)
        contestants: dict[tuple[str, str], Batches] = {
            ("decoding alone: tf.io.decode_jpeg", "none"): partial(bare_tensorflow, paths),
            ("decoding alone: Pillow", "none"): partial(bare_pillow, paths),
            ("ours, cache none, nearest", "none"): partial(
                ours, root, "none", "none", interpolation="nearest"
            ),
        }
        for augmentation in AUGMENTATIONS:
            for cache in (False, True):
                name = "image_dataset_from_directory" + (", cache()" if cache else "")
                contestants[name, augmentation] = partial(with_keras, root, augmentation, cache)
            for where in ("none", "disk", "memory"):
                name = f"ours, cache {where}"
                contestants[name, augmentation] = partial(ours, root, augmentation, where)
        results: dict[tuple[str, str], list[tuple[float, float]]] = {c: [] for c in contestants}
        for _ in range(options.rounds):
            for contestant, make in contestants.items():
                results[contestant].append(measure(make(), options.seconds))
        size = statistics.mean(path.stat().st_size for path in paths) / 1024
    medians = {
        contestant: [statistics.median(part) for part in zip(*turns, strict=True)]
        for contestant, turns in results.items()
    }
    table = Table(title=f"{SIDE}x{SIDE} JPEGs of {size:.0f} KiB to {TARGET}x{TARGET}")
    ratios_of = ("of floor", "of Keras")
    for heading in ("", "augmentation", "images/s", *ratios_of, "CPU ms", *ratios_of):
        table.add_column(heading, justify="left" if heading == "" else "right")
    floors = [median for (name, _), median in medians.items() if name.startswith("decoding")]
    fastest, least = max(rate for rate, _ in floors), min(cost for _, cost in floors)
    for (name, augmentation), (rate, cost) in medians.items():
        keras_rate, keras_cost = medians["image_dataset_from_directory", augmentation]
        ratios = (rate / fastest, rate / keras_rate, least / cost, keras_cost / cost)
        shown = [f"{ratio:.2f}" for ratio in ratios]
        table.add_row(name, augmentation, f"{rate:.0f}", *shown[:2], f"{cost:.2f}", *shown[2:])
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
