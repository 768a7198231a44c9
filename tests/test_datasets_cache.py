"""Image files in memory, in a file on disk, or decoded when asked for: the same data set."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
import yaml
from forked import Forked
from PIL import Image

from lsplus_tf.config import Augmentation, Dataset, Experiment
from lsplus_tf.datasets import ImageDataset, Split, load_dataset
from lsplus_tf.datasets.file_list import FileList, load_files
from lsplus_tf.datasets.image_files import ImageFiles, decode
from lsplus_tf.datasets.pipeline import evaluation_batches, training_batches
from lsplus_tf.errors import InputError
from lsplus_tf.training import run_folder, train
from lsplus_tf.training.train import Training

CACHES = ("memory", "disk", "none")
ORIENTATION = 0x0112
FAST = {"name": "adam", "learning_rate": 0.003}
PAPER = Augmentation(horizontal_flip=True, zoom=0.2, shift=0.1, shear=0.05, channel_shift=0.1)


def photo(seed: int, *, height: int = 40, width: int = 48) -> np.ndarray:
    """Something smooth with detail, (H, W, 3), that JPEG keeps about as it is."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(height, width, 3))
    layers = [s * scipy.ndimage.gaussian_filter(noise, (s, s, 0)) for s in (1, 3, 9)]
    image = np.sum(layers, axis=0)
    return np.clip(128 + 50 * image / image.std(), 0, 255).astype(np.uint8)


def write_photos(root: Path, *, count: int = 6) -> Path:
    """Two classes without splits: JPEGs and PNGs of several sizes, modes and orientations."""
    for k, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            image = Image.fromarray(photo(10 * k + i, height=41 + 8 * i))
            exif = Image.Exif()
            if i == 1:
                exif[ORIENTATION] = 6
            if i % 2:
                image.save(root / name / f"{i}.jpg", quality=95, exif=exif)
            else:
                image.convert(("RGB", "L", "RGBA")[i // 2 % 3]).save(root / name / f"{i}.png")
    return root


def load(root: Path, cache: str, **options) -> ImageDataset:
    given = {"image_size": 16, "channels": 3, "cache_dir": root.parent / "cache"} | options
    return load_dataset(f"folder:{root}", cache=cache, **given)


def pixels(split) -> np.ndarray:
    if isinstance(split.images, ImageFiles):
        return split.images.read(np.arange(len(split)))
    return np.asarray(split.images)


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


# --- the three are one ----------------------------------------------------------------------------


def test_pixels_are_pillows(tmp_path):
    """Restated: a JPEG of twice the size reduced first, in colour, stretched, upright."""
    root = write_photos(tmp_path / "photos")
    dataset = load(root, "memory")
    seen = 0
    for _, split in dataset.splits():
        for name, image in zip(split.ids, split.images, strict=True):
            file = Image.open(root / str(name))
            # A half, a quarter or an eighth, of which no side is less than 16.
            factor = max(f for f in (1, 2, 4, 8) if min(file.size) // f >= 16)
            factor = factor if file.format == "JPEG" else 1
            box = (0, 0, file.width / factor, file.height / factor)
            if factor > 1:
                file.draft("RGB", (file.width // factor, file.height // factor))
            expected = file.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR, box)
            if file.getexif().get(ORIENTATION) == 6:
                expected = expected.transpose(Image.Transpose.ROTATE_270)
                seen += 1
            np.testing.assert_array_equal(image, np.asarray(expected))
    assert seen == 2


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_pixels_and_batches_are_the_same_bits(tmp_path, interpolation):
    root = write_photos(tmp_path / "photos")
    memory, *others = (load(root, cache, interpolation=interpolation) for cache in CACHES)
    assert [type(d.train.images) for d in (memory, *others)] == [np.ndarray, np.memmap, ImageFiles]

    ways: list[dict[str, Any]] = [{}]
    if interpolation == "bilinear":  # which makes no difference to what follows
        ways.append({"class_balanced": True, "mixup": 0.4, "num_classes": 2})

    def batches(dataset: ImageDataset) -> list[np.ndarray]:
        training = [
            training_batches(
                dataset.train, batch_size=4, epochs=2, seed=3, augmentation=PAPER, **options
            )
            for options in ways
        ]
        evaluation = evaluation_batches(dataset.test, batch_size=2)
        return [part.numpy() for b in (*training, evaluation) for pair in b for part in pair]

    expected = batches(memory)
    for other in others:
        for (_, one), (_, two) in zip(memory.splits(), other.splits(), strict=True):
            assert list(one.ids) == list(two.ids)
            np.testing.assert_array_equal(one.labels, two.labels)
            np.testing.assert_array_equal(pixels(one), pixels(two))
        assert same(expected, batches(other))


def experiment(**protocol) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "photos",
            "dataset": {"name": "folder:photos"},
            "backbone": {"width": 0.05},
            "protocol": {
                "epochs": 2,
                "batch_size": 4,
                "checkpoint": "last",
                **protocol,
            },
            "methods": {"hard": {"loss": "hard_labels"}, "taught": {"loss": "tf_kd_self_training"}},
            "seeds": [0],
        }
    )


@pytest.fixture
def small(monkeypatch) -> None:
    """One convolution in the network's place: its training takes a second."""

    def build(*, image_shape: tuple[int, ...], num_classes: int, **_: Any) -> keras.Model:
        inputs = keras.Input(image_shape)
        x = keras.layers.Conv2D(4, 3, 2)(keras.layers.Rescaling(1 / 255)(inputs))
        return keras.Model(inputs, keras.layers.Dense(num_classes)(keras.layers.Flatten()(x)))

    monkeypatch.setattr(train, "build_classifier", build)


@pytest.mark.usefixtures("small")
def test_trained_weights_are_the_same_bits(tmp_path):
    root = write_photos(tmp_path / "photos")
    for cache in CACHES:
        Training(tmp_path / cache, experiment(epochs=1), "hard", 0, load(root, cache)).run()

    def weights(cache: str) -> list[np.ndarray]:
        model = tmp_path / cache / run_folder.MODEL
        return keras.models.load_model(model, compile=False).get_weights()

    for cache in ("disk", "none"):
        assert same(weights("memory"), weights(cache))
        for split in ("validation", "test"):
            expected, found = (
                run_folder.read_predictions(tmp_path / c, split) for c in ("memory", cache)
            )
            np.testing.assert_array_equal(expected.logits, found.logits)
            np.testing.assert_array_equal(expected.ids, found.ids)


@pytest.mark.usefixtures("small")
def test_a_teacher_sees_images_that_are_decoded_when_asked_for(tmp_path):
    dataset = load(write_photos(tmp_path / "photos"), "none")
    Training(tmp_path / "hard", experiment(epochs=1), "hard", 0, dataset).run()
    teacher = tmp_path / "hard" / run_folder.MODEL
    taught = experiment(epochs=1)
    Training(tmp_path / "taught", taught, "taught", 0, dataset, teacher=teacher).run()
    losses = [run_folder.read_history(tmp_path / run)["loss"][0] for run in ("hard", "taught")]
    assert losses[0] != losses[1]


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_batches_are_read_side_by_side_in_deterministic_runs():
    """TensorFlow's determinism would do one after the other what it takes for stateful."""
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    two = threading.Barrier(2, timeout=30)  # broken if one waits alone

    class Meeting(ImageFiles):
        def read(self, indices):
            two.wait()
            return np.zeros((len(indices), *self.shape[1:]), np.uint8)

    names = np.arange(32).astype(np.str_)
    split = Split(Meeting(Path(), names, (4, 4, 3), resize=True), np.arange(32) % 2, names)
    batches = training_batches(split, batch_size=4, epochs=1, seed=0, augmentation=Augmentation())
    assert len(list(batches)) == 8


# --- the cache on disk ----------------------------------------------------------------------------


def caches(root: Path) -> set[Path]:
    return {path for path in (root.parent / "cache").iterdir() if path.is_dir()}


def mark(root: Path) -> None:
    """Change the first cached pixel of every cache that there is."""
    for cache in caches(root):
        array = np.load(cache / "images.npy", mmap_mode="r+")
        array[0, 0, 0, 0] ^= 255
        array.flush()


def test_a_cache_is_used_again(tmp_path):
    root = write_photos(tmp_path / "photos")
    first = load(root, "disk")
    assert len(caches(root)) == 3
    expected = np.array(first.train.images)
    expected[0, 0, 0, 0] ^= 255
    mark(root)
    np.testing.assert_array_equal(load(root, "disk").train.images, expected)
    assert len(caches(root)) == 3


def test_a_cache_is_made_again_when_a_file_changes(tmp_path):
    root = write_photos(tmp_path / "photos")
    first = load(root, "disk")
    mark(root)
    name = str(first.train.ids[0])
    status = (root / name).stat()
    Image.fromarray(photo(99)).save(root / name)
    os.utime(root / name, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    second = load(root, "disk")
    assert len(caches(root)) == 4  # validation and test as before
    np.testing.assert_array_equal(second.train.images, pixels(load(root, "none").train))
    assert not np.array_equal(first.train.images[0], second.train.images[0])


def test_other_pixels_are_another_cache(tmp_path):
    root = write_photos(tmp_path / "photos")
    for count, options in enumerate(
        ({}, {"image_size": 17}, {"interpolation": "nearest"}, {"channels": 1}), start=1
    ):
        found = load(root, "disk", **options).train
        assert len(caches(root)) == 3 * count
        np.testing.assert_array_equal(found.images, pixels(load(root, "memory", **options).train))


def test_half_a_cache_is_ignored_and_removed(tmp_path):
    root = write_photos(tmp_path / "photos")
    expected = np.array(load(root, "disk").train.images)
    for cache in caches(root):
        mark(root)
        (cache / "unreadable.json").unlink()
        cache.rename(cache.with_name(f".{cache.name}.partial"))  # as a killed process leaves it
    np.testing.assert_array_equal(load(root, "disk").train.images, expected)
    assert not list((root.parent / "cache").glob(".*"))


def _replace(name, content):
    return lambda cache: (cache / name).write_bytes(content)


def _with_other_images(cache):
    np.save(cache / "images.npy", np.zeros((1, 2, 2, 3), np.uint8))


@pytest.mark.parametrize(
    "damage",
    [
        lambda cache: os.truncate(cache / "images.npy", 200),
        lambda cache: os.truncate(cache / "images.npy", 0),
        lambda cache: (cache / "images.npy").unlink(),
        lambda cache: (cache / "unreadable.json").unlink(),
        _with_other_images,
        _replace("images.npy", b"\x93NUMPY\x01\x00\x76\x00{" + b"(" * 117),
        _replace("unreadable.json", b""),
        _replace("unreadable.json", b"[" * 10**6),
        _replace("unreadable.json", b"[]"),
        _replace("unreadable.json", b'{"no such file.png": 1}'),
    ],
)
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    root = write_photos(tmp_path / "photos")
    expected = np.array(load(root, "disk").train.images)
    for cache in caches(root):
        damage(cache)
    np.testing.assert_array_equal(load(root, "disk").train.images, expected)


def test_what_is_not_of_the_cache_is_not_deleted(tmp_path):
    root = write_photos(tmp_path / "photos")
    load(root, "disk")
    for cache in caches(root):
        os.truncate(cache / "images.npy", 200)
        (cache / "mine.txt").touch()
    with pytest.raises(InputError, match=r"cache/\w+: damaged image cache \(.*\); delete it, or"):
        load(root, "disk")


def test_two_processes_that_want_the_same_cache(tmp_path):
    root = write_photos(tmp_path / "photos", count=40)
    code = (
        "import sys, numpy as np; from lsplus_tf.datasets import load_dataset; name, cache = "
        "sys.argv[1:]; options = dict(image_size=16, channels=3, cache='disk', cache_dir=cache); "
        "print(int(np.sum(load_dataset(name, **options).train.images)))"
    )
    command = ["-c", code, f"folder:{root}", str(root.parent / "cache")]
    both = [Forked(*command) for _ in range(2)]
    sums = [int(process.communicate()[0]) for process in both]
    assert sums == [int(pixels(load(root, "memory").train).sum())] * 2
    assert len(caches(root)) == 3


def test_no_room_on_the_disk(tmp_path, monkeypatch):
    root = write_photos(tmp_path / "photos")
    needed = 12 * 16 * 16 * 3
    usage = type("usage", (), {"free": needed - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(
        InputError, match=r"dataset\.cache: disk needs 0\.0 GiB in .*cache, .*dataset\.cache_dir"
    ):
        load(root, "disk")
    assert not caches(root)
    usage.free = needed
    load(root, "disk")
    # What is there already needs no room.
    usage.free = 0
    load(root, "disk")


def test_a_cache_folder_that_is_a_file(tmp_path):
    root = write_photos(tmp_path / "photos")
    (root.parent / "cache").touch()
    with pytest.raises(InputError, match=r"dataset\.cache_dir: no folder can be there .*cache"):
        load(root, "disk")


# --- files that cannot be read --------------------------------------------------------------------


def cut(path: Path, keep: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])


def break_some(root: Path) -> list[str]:
    """One file without a header, two cut within the pixels."""
    (root / "cat/0.png").write_bytes(b"")
    cut(root / "cat/3.jpg", 0.6)
    cut(root / "dog/4.png", 0.6)
    return ["cat/0.png", "cat/3.jpg", "dog/4.png"]


@pytest.mark.parametrize("cache", CACHES)
def test_what_is_skipped_does_not_depend_on_the_cache(tmp_path, cache):
    root = write_photos(tmp_path / "photos", count=10)
    broken = break_some(root)
    for _ in range(2):  # once more from the cache
        with pytest.warns(UserWarning, match="3 unreadable"):
            dataset = load(root, cache, unreadable="skip")
        assert sorted(dataset.skipped) == broken
        with pytest.warns(UserWarning, match="3 unreadable"):
            memory = load(root, "memory", unreadable="skip")
        for (_, one), (_, two) in zip(memory.splits(), dataset.splits(), strict=True):
            assert list(one.ids) == list(two.ids)
            np.testing.assert_array_equal(pixels(one), pixels(two))
    assert sum(len(split) for _, split in dataset.splits()) == 17


@pytest.mark.parametrize("cache", ["memory", "disk"])
@pytest.mark.parametrize("image_size", [16, None])
def test_all_broken_files_are_told_at_once(tmp_path, cache, image_size):
    root = write_photos(tmp_path / "photos")
    for name in ("cat", "dog"):
        for path in (root / name).iterdir():
            Image.fromarray(photo(0)).save(path)
    break_some(root)
    with pytest.raises(
        InputError, match=r"3 unreadable images: .*cat/0.* set dataset\.unreadable=skip"
    ):
        load(root, cache, image_size=image_size)


@pytest.mark.parametrize("cache", CACHES)
def test_no_readable_file_in_a_split(tmp_path, cache):
    root = tmp_path / "photos"
    for part in ("train", "validation", "test"):
        write_photos(root / part, count=2)
    for path in (root / "test").rglob("*.*g"):
        cut(path, 0.6)
    with pytest.raises(InputError, match="no readable image in the test split; unreadable: test/"):
        load(root, cache, unreadable="skip")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_file_that_breaks_after_loading_is_named(tmp_path, part):
    """In a step, and in a prediction after the last epoch."""
    root = write_photos(tmp_path / "photos")
    dataset = load(root, "none")
    name = str(getattr(dataset, part).ids[-1])
    cut(root / name, 0.6)
    out = tmp_path / "runs" / "run"
    with pytest.raises(InputError, match=rf"^{root / name}: cannot be read \(.*\)$"):
        Training(out, experiment(epochs=1), "hard", 0, dataset).run()
    assert not out.exists()


def test_the_command_line_names_it_on_one_line(tmp_path):
    root = write_photos(tmp_path / "photos")
    settings = experiment(epochs=1).model_dump(mode="json")
    settings["dataset"] = {
        "name": f"folder:{root}", "image_size": 16, "channels": 3, "cache": "none"
    }  # fmt: skip
    settings["methods"] = {"hard": {"loss": "hard_labels"}}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    (root / "dog/4.png").unlink()
    (root / "dog/4.png").symlink_to(root / "dog/5.jpg")
    cut(root / "dog/5.jpg", 0.6)
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    script = f"""
        import sys
        from lsplus_tf import cli
        from lsplus_tf.config import Backbone
        from lsplus_tf.training.environment import import_tensorflow
        import_tensorflow(Backbone(), 16)
        from lsplus_tf.training import train
        sys.path.append({str(Path(__file__).parent)!r})
        from helpers import Linear
        train.build_classifier = Linear().build
        sys.argv = ["lsplus-tf", "train", {str(config)!r}, "--out", {str(tmp_path / "o")!r}]
        cli.main()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error:" in line]
    assert line.startswith(f"error: 1 of 1 runs failed: hard seed 0 ({root}/dog/")
    assert "cannot be read (" in line


# --- decoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("size", [(512, 512), (224, 300), (100, 333), (224, 224)])
def test_nearest_is_the_authors(tmp_path, size, suffix):
    """Keras's loader is theirs; the pixel taken lies under the middle of the one it becomes.

    Pillow finds that middle by adding up steps, which decides where it falls between two pixels.
    """
    height, width = size
    path = tmp_path / f"one.{suffix}"
    Image.fromarray(photo(1, height=height, width=width)).save(path)
    found = decode(path, channels=3, image_size=224, interpolation="nearest")
    theirs = keras.utils.load_img(path, target_size=(224, 224), interpolation="nearest")
    np.testing.assert_array_equal(found, np.asarray(theirs))
    whole = np.asarray(Image.open(path))
    steps = [np.concatenate(([side / 224 * 0.5], np.full(223, side / 224))) for side in size]
    rows, columns = (np.add.accumulate(step).astype(int) for step in steps)
    np.testing.assert_array_equal(found, whole[rows][:, columns])
    exact = [(2 * np.arange(224) + 1) * side / 448 for side in size]
    for taken, middle in zip((rows, columns), exact, strict=True):
        assert (np.abs(taken + 0.5 - middle) <= 0.5).all()


@pytest.mark.parametrize("size", [(512, 512), (461, 449), (233, 210)])
def test_a_jpeg_reduced_while_decoded_is_nearly_what_the_whole_gives(tmp_path, size):
    """Measured: up to 23 of 255, 3 in the mean, on this noise; 18 and 1 on the MRI at 64 px."""
    path = tmp_path / "one.jpg"
    Image.fromarray(photo(2, height=size[0], width=size[1])).save(path, quality=90)
    target = 224 if min(size) >= 448 else 64
    found = decode(path, channels=3, image_size=target).astype(int)
    whole = Image.open(path).resize((target, target), Image.Resampling.BILINEAR)
    difference = np.abs(found - np.asarray(whole))
    assert 0 < difference.max() <= 30
    assert difference.mean() < 4


# --- a real one -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_training_on_mri_improves_on_chance(shared, tmp_path):
    folder = shared / "data" / "brain_tumor_mri"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    dataset = load_dataset(f"folder:{folder}", image_size=32, samples_per_class=60)
    assert dataset.counts()["train"].tolist() == [60] * 4
    settings = experiment(epochs=4, batch_size=16, optimizer=FAST)
    Training(tmp_path / "run", settings, "hard", 0, dataset).run()
    found = run_folder.read_predictions(tmp_path / "run", "validation")
    right = int((found.logits.argmax(axis=1) == found.labels).sum())
    largest = dataset.counts()["validation"].max() / len(found.labels)
    assert scipy.stats.binomtest(right, len(found.labels), largest, "greater").pvalue < 1e-6


# --- a long list ----------------------------------------------------------------------------------


def test_memory_stays_flat_over_a_million_files(tmp_path):
    """A million names, over links of a few files, so that any of them can be read."""
    digits = "0123456789abcdef"
    for digit in digits:
        (tmp_path / digit).symlink_to(".")
    for k in range(4):
        Image.fromarray(photo(k, height=8, width=8)).save(tmp_path / f"{k}.png")
    count = 1_000_000
    index = np.arange(count)
    labels = index % 4
    ids = np.array([f"{'/'.join(f'{i:05x}')}/{i % 4}.png" for i in range(count)])
    parts = np.where(index < 100, "validation", np.where(index < 200, "test", "train"))
    files = FileList("links", tmp_path, ("0", "1", "2", "3"), ids, labels, parts)
    dataset = load_files(files, Dataset(name="links", image_size=32, channels=3, cache="none"))
    assert len(dataset.train) == count - 200
    batches = iter(
        training_batches(dataset.train, batch_size=64, epochs=2, seed=0, augmentation=PAPER)
    )
    by_class = np.stack(
        [decode(tmp_path / f"{k}.png", channels=3, image_size=32) for k in range(4)]
    )
    plain = training_batches(
        dataset.train, batch_size=64, epochs=1, seed=0, augmentation=Augmentation()
    )
    for images, batch_labels in plain.take(3):
        np.testing.assert_array_equal(images, by_class[batch_labels.numpy()])
    for _ in range(20):
        next(batches)
    process = psutil.Process()
    before = process.memory_info().rss
    # Not by tracemalloc: starting or stopping it while TensorFlow's threads call Python can end the
    # process (a race in CPython). Kept, the names, images and batches would be 75 MB.
    for _ in range(100):
        next(batches)
    assert process.memory_info().rss - before < 20 * 2**20
