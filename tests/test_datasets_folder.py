"""Folders of image files."""

import errno
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import SHARED
from PIL import Image

from lsplus_tf.datasets import load_dataset
from lsplus_tf.datasets.finding import masks_beside
from lsplus_tf.datasets.image_files import read_header
from lsplus_tf.datasets.loading import list_files
from lsplus_tf.deployment.prediction import find_images
from lsplus_tf.errors import InputError, MissingDataError


def save(path, *, mode="L", size=(5, 4), value=7, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in "L1I;16" else (value,) * len(mode)).save(path, **options)
    return path


def fill(root, *, splits=("train", "val", "test"), classes=("cat", "dog"), count=2, **options):
    for split in splits:
        for k, class_name in enumerate(classes):
            for i in range(count):
                save(root / split / class_name / f"{i}.png", value=10 * k + i, **options)
    return root


def test_layout(tmp_path, monkeypatch):
    root = fill(tmp_path / "set", splits=("Training", "VALID", "testing"))
    save(root / "Training/dog/photo.JPEG", value=99)
    save(root / "Training/dog/.hidden.png")
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset("folder:set")
    assert dataset.name == "folder:set"
    assert dataset.class_names == ("cat", "dog")
    assert dataset.image_shape == (4, 5, 1)
    assert list(dataset.train.ids) == [
        "Training/cat/0.png",
        "Training/cat/1.png",
        "Training/dog/0.png",
        "Training/dog/1.png",
        "Training/dog/photo.JPEG",
    ]
    assert list(dataset.train.labels) == [0, 0, 1, 1, 1]
    assert list(dataset.train.images[:, 2, 3, 0]) == [0, 1, 10, 11, 99]
    assert dataset.skipped == ()
    assert load_dataset(f"folder:{root}").test.ids[0] == "testing/cat/0.png"


def test_missing_splits_are_carved_from_train(tmp_path):
    fill(tmp_path, splits=("train",), count=10)
    dataset = load_dataset(f"folder:{tmp_path}", validation_fraction=0.1, test_fraction=0.2)
    assert {part: list(c) for part, c in dataset.counts().items()} == {
        "train": [7, 7],
        "validation": [1, 1],
        "test": [2, 2],
    }
    every = [str(i) for _, split in dataset.splits() for i in split.ids]
    assert sorted(every) == sorted(f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(10))


def test_classes_without_splits(tmp_path):
    for class_name, count in (("cat", 10), ("dog", 20)):
        for i in range(count):
            save(tmp_path / class_name / f"{i:02}.png", value=i)
    dataset = load_dataset(f"folder:{tmp_path}", split_seed=3)
    assert {part: list(c) for part, c in dataset.counts().items()} == {
        "train": [6, 12],
        "validation": [2, 4],
        "test": [2, 4],
    }
    every = {str(i) for _, split in dataset.splits() for i in split.ids}
    assert every == {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")}
    again = load_dataset(f"folder:{tmp_path}", split_seed=3)
    other = load_dataset(f"folder:{tmp_path}", split_seed=4)
    assert again.test.ids.tolist() == dataset.test.ids.tolist() != other.test.ids.tolist()
    (tmp_path / "eel").mkdir()
    with pytest.raises(InputError, match=r"class folder eel holds no image file \(0 others"):
        load_dataset(f"folder:{tmp_path}")
    save(tmp_path / "eel/1.png")
    with pytest.raises(InputError, match="class 'eel' has 1 sample to split, expected at least 2"):
        load_dataset(f"folder:{tmp_path}")


def test_groups_from_the_names(tmp_path):
    for i in range(60):
        save(tmp_path / f"{'ab'[i % 2]}/slide{i // 4}-IMG{i:03}.png", value=i)
    name = f"folder:{tmp_path}"
    dataset = load_dataset(name, group_pattern="([^/]*)-IMG")
    groups = [set(split.groups.tolist()) for _, split in dataset.splits()]
    assert set.union(*groups) == {f"slide{i}" for i in range(15)}
    assert sum(map(len, groups)) == 15
    assert dataset.test.groups[0] == dataset.test.ids[0].split("/")[1].split("-")[0]
    whole = load_dataset(name, group_pattern=r"slide\d+").train.groups
    assert set(whole) < {f"slide{i}" for i in range(15)}
    save(tmp_path / "a/IMG7.png")
    with pytest.raises(InputError, match=r"='slide' is not found in a/IMG7\.png \(1 such files\)"):
        load_dataset(name, group_pattern="slide")
    with pytest.raises(InputError, match=r"\(X\|\^.* makes each a group of its own"):
        load_dataset(name, group_pattern=r"slide\d+")
    mended = load_dataset(name, group_pattern=r"(slide\d+|^(?!.*slide\d+).*)")
    groups = {group for _, split in mended.splits() for group in split.groups.tolist()}
    assert groups == {f"slide{i}" for i in range(15)} | {"a/IMG7.png"}
    for pattern, what in (
        ("(slide)?IMG7|(IMG)", "its first parenthesis"),
        ("(s?)[l-m]*IMG", "its first parenthesis"),
        ("x*", "what it matches"),
    ):
        with pytest.raises(
            InputError, match=rf"is found in a/.*png, but {what} is empty there \(\d+ such files\);"
        ):
            load_dataset(name, group_pattern=pattern)
    with pytest.raises(InputError, match=r"group_pattern='\(': missing \)"):
        load_dataset(name, group_pattern="(")


IN_PATHS = {
    "a folder of styles around the classes": (
        ["ink/cat/1.png", "ink/dog/1.png", "oil/cat/1.png", "oil/dog/2/1.png"],
        "^[^/]+/([^/]+)/",
        ["cat", "dog", "cat", "dog"],
    ),
    "the last folder": (["a/b/cat/1.png", "c/dog/2.png"], "([^/]+)/[^/]+$", ["cat", "dog"]),
    "the beginning of a name": (
        ["cat.1.png", "cat.2.png", "dog.1.png"],
        "^[a-z]+",
        ["cat", "cat", "dog"],
    ),
    "a name's end, one of several": (["1_mel.png", "2_nv.png"], "(mel|nv)[.]", ["mel", "nv"]),
    "splits": (
        ["train/ink/cat/1.png", "train/oil/dog/1.png", "test/ink/dog/1.png"],
        "([^/]+)/[^/]+$",
        ["cat", "dog", "dog"],
    ),
    "forms of one name": (
        ["x/e\u0301/1.png", "y/\u00e9/2.png", "z/a/3.png"],
        "/(.+)/",
        [*"éé", "a"],
    ),
}


@pytest.mark.parametrize("kind", IN_PATHS)
def test_a_pattern_finds_the_class_in_a_path(tmp_path, kind):
    paths, pattern, classes = IN_PATHS[kind]
    for value, path in enumerate(paths):
        save(tmp_path / path, value=value)
    files = list_files(f"folder:{tmp_path}", class_pattern=pattern)
    found = dict(zip(files.ids.tolist(), files.labels.tolist(), strict=True))
    named = {path: files.class_names[label] for path, label in found.items()}
    assert named == dict(zip(paths, classes, strict=True))
    assert files.class_names == tuple(sorted(files.class_names))
    parts = dict(zip(files.ids.tolist(), files.parts.tolist(), strict=True))
    assert parts == {path: "test" if path.startswith("test/") else "train" for path in paths}


def test_classes_in_paths_that_cannot_be_right(tmp_path):
    for path in ("ink/cat/1.png", "ink/dog/1.png", "oil/cat/1.png", "oil/dog/1.png"):
        save(tmp_path / "styles" / path)
    name = f"folder:{tmp_path / 'styles'}"
    with pytest.warns(
        UserWarning, match=r"same folders .*class_pattern to '\^\[\^/\]\+/\("
    ) as said:
        assert list_files(name).class_names == ("ink", "oil")
    named = str(said[0].message).split("'")[1]
    assert list_files(name, class_pattern=named).class_names == ("cat", "dog")
    grouped = list_files(name, class_pattern=named, group_pattern="[^/]+/[^/]+$")
    assert sorted(grouped.groups.tolist()) == ["cat/1.png", "cat/1.png", "dog/1.png", "dog/1.png"]
    with pytest.raises(
        InputError, match=r"class_pattern='cat' is not found in ink/dog/1.png \(2 s"
    ):
        list_files(name, class_pattern="cat")
    with pytest.raises(InputError, match=r"class is what the first parenthesis matches"):
        list_files(name, class_pattern="(x?)ink|oil")
    with pytest.raises(InputError, match=r"class_pattern='\(': missing \)"):
        list_files(name, class_pattern="(")
    with pytest.raises(
        InputError, match="class_pattern: expected none for 'digits', which is no fo"
    ):
        load_dataset("digits", class_pattern="x")
    last = "([^/]+)/[^/]+$"
    save(tmp_path / "split/train/a/cat/1.png")
    save(tmp_path / "split/test/a/dog/1.png")
    with pytest.raises(
        InputError, match=r"class 'dog', found in test/a/dog/1.png by .*split has cat"
    ):
        list_files(f"folder:{tmp_path / 'split'}", class_pattern=last)
    save(tmp_path / "deep/a/train/cat/1.png")
    save(tmp_path / "deep/b/test/dog/1.png")
    with pytest.raises(InputError, match="found splits below classes: a/train"):
        list_files(f"folder:{tmp_path / 'deep'}", class_pattern=last)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"none: no image file$"):
        list_files(f"folder:{tmp_path / 'none'}", class_pattern=last)


def test_duplicates_in_a_folder_are_dropped(tmp_path):
    for i in range(8):
        for class_name in ("cat", "dog"):
            save(tmp_path / class_name / f"{i}.png", value=20 * i + (class_name == "dog"))
    (tmp_path / "dog/9.png").write_bytes((tmp_path / "dog/3.png").read_bytes())
    with pytest.warns(UserWarning, match=r"skipped 1 duplicate: dog/9\.png"):
        dataset = load_dataset(f"folder:{tmp_path}", drop=["duplicates"])
    assert len(dataset) == 16


def test_resized_images_are_pillows(tmp_path):
    fill(tmp_path, mode="RGB")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "test/dog/1.png")
    expected = Image.fromarray(pixels).resize((6, 6), Image.Resampling.BILINEAR)
    dataset = load_dataset(f"folder:{tmp_path}", image_size=6)
    np.testing.assert_array_equal(dataset.test.images[-1], np.asarray(expected))
    grey = load_dataset(f"folder:{tmp_path}", image_size=6, channels=1)
    expected = Image.fromarray(pixels).convert("L").resize((6, 6), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(grey.test.images[-1, :, :, 0], np.asarray(expected))


def test_exif_orientation_is_followed(tmp_path):
    fill(tmp_path)
    pixels = np.zeros((5, 4), np.uint8)
    pixels[0] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees: the first row becomes the last column
    Image.fromarray(pixels).save(tmp_path / "test/dog/1.png", exif=exif)
    turned = load_dataset(f"folder:{tmp_path}").test.images[-1, :, :, 0]
    assert turned.shape == (4, 5)
    assert (turned[:, 4] == 200).all()
    assert (turned[:, :4] == 0).all()


def test_channels(tmp_path):
    fill(tmp_path)
    name = f"folder:{tmp_path}"
    save(tmp_path / "train/cat/c.png", mode="RGB", value=50)
    with pytest.raises(InputError, match=r"12 grey images|set dataset\.channels to 1 or 3"):
        load_dataset(name)
    assert load_dataset(name, channels=3).image_shape == (4, 5, 3)
    assert load_dataset(name, channels=1).train.images[2, 0, 0, 0] == 50
    Image.new("LA", (5, 4), (50, 255)).save(tmp_path / "train/cat/c.png")
    assert load_dataset(name).train.images[2, 0, 0, 0] == 50


def write_16_bit_rgb(path):
    """Write a PNG of 5x4 pixels with 16 bits per channel, by hand: Pillow cannot."""
    import struct
    import zlib

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + b"\1\2" * 15 for _ in range(4)))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def test_more_than_8_bits_are_refused(tmp_path):
    fill(tmp_path)
    save(tmp_path / "val/cat/1.png", mode="I;16", value=300)
    with pytest.raises(InputError, match=r"expected 8 bits per channel, val/cat/1\.png has more"):
        load_dataset(f"folder:{tmp_path}", channels=1)
    write_16_bit_rgb(tmp_path / "val/cat/1.png")
    with pytest.raises(InputError, match=r"expected 8 bits per channel, val/cat/1\.png has more"):
        load_dataset(f"folder:{tmp_path}", channels=3)


@pytest.mark.parametrize("size", [None, 4])
def test_more_than_8_bits_are_refused_whatever_is_skipped(tmp_path, size):
    """Also where all is told already, so that no header is read."""
    name = f"folder:{fill(tmp_path)}"
    save(tmp_path / "val/cat/1.png", mode="I;16", value=300)
    options = {"image_size": size, "channels": 1}
    remedy = r"val/cat/1\.png has more \(1 such file\); set dataset\.scaling, or convert them to"
    for unreadable in ("fail", "skip"):
        with pytest.raises(InputError, match=remedy) as refusal:
            load_dataset(name, unreadable=unreadable, **options)
        assert "unreadable" not in str(refusal.value)
    (tmp_path / "val/cat/0.png").write_bytes(b"")
    with pytest.raises(
        InputError, match=rf"1 unreadable image: val/cat/0.*unreadable=skip; .*{remedy}"
    ):
        load_dataset(name, **options)
    with pytest.raises(InputError, match=remedy) as refusal:
        load_dataset(name, unreadable="skip", **options)
    assert "unreadable" not in str(refusal.value)
    with pytest.raises(InputError, match=remedy):
        load_dataset(name, unreadable="skip", cache="none", **options)
    assert read_header(tmp_path / "val/cat/1.png", size_matters=False).grey


def test_sizes_must_agree(tmp_path):
    fill(tmp_path)
    save(tmp_path / "test/cat/0.png", size=(9, 4))
    with pytest.raises(
        InputError, match=r"2 sizes \(train/cat/0.png is 5x4, test/cat/0.png is 9x4\).*image_size"
    ):
        load_dataset(f"folder:{tmp_path}")
    assert load_dataset(f"folder:{tmp_path}", image_size=4).image_shape == (4, 4, 1)


def break_files(root):
    for i in range(2, 7):
        whole = save(root / f"train/dog/{i}.png", size=(5, 4)).read_bytes()
        # Cut within the header, or within the pixels.
        (root / f"train/dog/{i}.png").write_bytes(whole[:20] if i % 2 else whole[:-30])
    (root / "test/cat/1.png").write_bytes(b"")
    return [f"train/dog/{i}.png" for i in range(2, 7)] + ["test/cat/1.png"]


def test_unreadable_files(tmp_path):
    broken = break_files(fill(tmp_path))
    with pytest.raises(InputError, match=r"6 unreadable images: .*and 3 more.*unreadable=skip"):
        load_dataset(f"folder:{tmp_path}")
    with pytest.warns(
        UserWarning, match="skipped 6 unreadable images: train/dog/2.png, .* and 3 more"
    ) as record:
        dataset = load_dataset(f"folder:{tmp_path}", unreadable="skip")
    assert record[0].filename == __file__
    assert sorted(dataset.skipped) == sorted(broken)
    assert list(dataset.counts()["train"]) == [2, 2]
    assert list(dataset.test.ids) == ["test/cat/0.png", "test/dog/0.png", "test/dog/1.png"]
    assert list(dataset.test.images[:, 0, 0, 0]) == [0, 10, 11]


def test_a_split_with_no_readable_file(tmp_path):
    fill(tmp_path)
    for path in (tmp_path / "val").rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(
        InputError, match="no readable image in the validation split; unreadable: val/cat/0"
    ):
        load_dataset(f"folder:{tmp_path}", unreadable="skip")
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(InputError, match="12 unreadable images"):
        load_dataset(f"folder:{tmp_path}")


def test_missing_folder(tmp_path):
    with pytest.raises(MissingDataError, match=r"expected a folder, .*nowhere is none"):
        load_dataset(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(MissingDataError, match="folder:: expected a folder"):
        load_dataset("folder:")


def test_layout_errors(tmp_path):
    name = f"folder:{tmp_path}"
    layouts = r"as PATH/CLASS/\* or PATH/train/CLASS/\*"
    with pytest.raises(InputError, match=f"{layouts}, found no folder and 0 images"):
        load_dataset(name)
    save(tmp_path / "single/1.png")
    with pytest.raises(
        InputError, match=rf"{layouts}, found no folder and 1 images; .* \(csv:FILE"
    ):
        load_dataset(f"folder:{tmp_path / 'single'}")
    shutil.rmtree(tmp_path / "single")
    fill(tmp_path, splits=("test",))
    with pytest.raises(InputError, match=r"expected a split 'train'.*found \['test'\]"):
        load_dataset(name)
    fill(tmp_path, splits=("train", "Training"))
    with pytest.raises(InputError, match="'Training' and 'train' are both a train split"):
        load_dataset(name)


def test_class_errors(tmp_path):
    fill(tmp_path)
    name = f"folder:{tmp_path}"
    (tmp_path / "train/eel").mkdir()
    (tmp_path / "train/eel/a.txt").touch()
    with pytest.raises(InputError, match=r"train/eel holds no image file \(1 other"):
        load_dataset(name)
    save(tmp_path / "train/eel/1.png")
    save(tmp_path / "test/fox/1.png")
    with pytest.raises(InputError, match=r"test/fox has no counterpart in the training.* eel; add"):
        load_dataset(name)
    (tmp_path / "empty/train").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no .* file in train/CLASS/, class folders found: none"):
        load_dataset(f"folder:{tmp_path / 'empty'}")
    fill(tmp_path / "one", classes=("cat",))
    with pytest.raises(InputError, match=r"expected at least two classes, received \['cat'\]"):
        load_dataset(f"folder:{tmp_path / 'one'}")


def test_what_is_ignored_is_said(tmp_path):
    fill(tmp_path, splits=("train", "test"), count=5)
    (tmp_path / "Holdout").mkdir()
    (tmp_path / "train/cat/notes.txt").touch()
    with (
        pytest.warns(UserWarning, match=r"images in Holdout/ are not used, as .* call the folder"),
        pytest.warns(
            UserWarning, match=r"1 files that are not images in a class folder .*cat/notes\.txt"
        ),
    ):
        load_dataset(f"folder:{tmp_path}")
    (tmp_path / "train/cat/notes.txt").rename(tmp_path / "train/cat/Thumbs.db")
    (tmp_path / "Thumbs.db").touch()
    (tmp_path / "train/dog/desktop.ini").touch()
    with pytest.warns(UserWarning, match="are not used") as record:
        load_dataset(f"folder:{tmp_path}")
    assert len(record) == 1
    (tmp_path / "train/cat/notes.txt").touch()
    save(tmp_path / "train/cat/deeper/1.png")
    save(tmp_path / "train/1.png")
    save(tmp_path / "0.png")
    with (
        pytest.warns(UserWarning, match="are not used"),
        pytest.warns(UserWarning, match=r"3 files that are not .* ignored, such as 0\.png"),
        pytest.warns(
            UserWarning, match=r"'cat' has 5 images .* and 1 in folders below, such as .*deeper/1"
        ),
    ):
        assert len(load_dataset(f"folder:{tmp_path}").train.ids) > 5


# --- folders as people have them ------------------------------------------------------------------


def tree(root, *files, name=""):
    """Empty files: listing opens none. Returns the data set's name."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return f"folder:{root}{name}"


def listed(name):
    files = list_files(name)
    classes = [files.class_names[label] for label in files.labels]
    return list(zip(files.parts.tolist(), classes, files.ids.tolist(), strict=True))


@pytest.mark.parametrize("other", ["README.txt", "labels.csv", "train/notes.md", "test/x.json"])
def test_files_beside_class_folders_are_said(tmp_path, other):
    fill(tmp_path, splits=("train", "test"), count=5)
    (tmp_path / other).touch()
    with pytest.warns(UserWarning, match=rf"1 files that are not images .* such as {other}$"):
        list_files(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "val", "test"),
        ("TRAINING", "valid", "Testing"),
        ("trn", "validation", "tst"),
        ("train", "Validate", "test"),
        ("Train", "dev", "test"),
        ("train", "Eval", "TEST"),
        ("train_set", "val_set", "TestSet"),
        ("01_train", "02-val", "03 test"),
        ("train_images", "dev_images", "test-imgs"),
        ("Training Data", "valid", "test_split"),
        ("Train ", "Val ", "test"),
    ],
)
def test_names_of_splits(tmp_path, folders):
    found = listed(tree(tmp_path, *(f"{f}/{c}/1.png" for f in folders for c in "ab")))
    parts = ("train", "validation", "test")
    assert found == [
        (part, c, f"{f}/{c}/1.png") for part, f in zip(parts, folders, strict=True) for c in "ab"
    ]


@pytest.mark.parametrize("below", ["{}", "images/{}", "patient {}/x", "p{}/images/2020/x"])
@pytest.mark.parametrize("split", ["", "train/"])
def test_images_at_any_depth_below_a_class(tmp_path, below, split):
    ids = [f"{split}{c}/{below.format(i)}.png" for c in ("cat", "dog") for i in range(3)]
    found = listed(tree(tmp_path, *ids))
    assert found == [("train", i.removeprefix(split).split("/")[0], i) for i in sorted(ids)]


def of(*classes, under="", file="1.png"):
    return [f"{under}{c}/{file}" for c in classes]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        # One level too high, also with what a Mac adds to its archives.
        (
            [
                *of("a", "b", under="set/train/"),
                *of("a", "b", under="set/test/"),
                "__MACOSX/x/1.png",
            ],
            r"lie one level deeper: set/test, set/train; name folder:.*/set$",
        ),
        (
            of("a", "b", under="archive/set/Training/"),
            r": archive/set/Training; name .*archive/set$",
        ),
        (
            [*of("a", "b", under="set/train/"), *of("a", "b", under="set/set/train/")],
            r"one level deeper: set/train; name folder:.*/set$",
        ),
        (
            of("cat", "dog", under="images/"),
            r"found images/ alone, with the folders cat, dog; .* name",
        ),
        (
            of("cat", "dog", under="train/images/"),
            r"train/images/ alone, .*move these up into train/",
        ),
        # Splits below classes.
        (
            of("a/train", "a/test", "b/train", "b/test"),
            r"splits below classes: a/test, a/train; put .*around .*folder:.*/a, or .*csv:FILE",
        ),
        (of("train/a/val", "train/b"), r"called as splits lie within a class: train/a/val; move"),
        (of("a/test", "b"), r"found splits below classes: a/test; .*csv:FILE"),
        # One level too low.
        (of("images", "masks"), r"found images and their masks; name the folder above"),
        # Splits and classes in two ways.
        (
            [*of("a", under="train/"), *of("a", under="val/"), *of("a", under="dev/")],
            "'val' and 'dev'",
        ),
        (
            [*of("a", under="train/"), *of("a", under="dev/"), *of("a", under="eval/")],
            "'dev' and 'eval'",
        ),
        ([*of("Cat", under="train/"), *of("cat", under="test/")], "is it 'Cat'.* same name"),
        # Longer names of splits that are not certain.
        (
            [*of("a", "b", under="train_set/"), *of("a", "c", under="test_set/")],
            "test_set/, train_set/ seem to be splits, .*do not hold the same class folders; call",
        ),
        (of("train_images", "test_images"), "seem to be splits, .*same class folders.*csv:FILE"),
        (
            [*of("a", under="train/"), *of("a", under="set/"), *of("a", under="val_set/")],
            "not every",
        ),
        ([*of("a", under="train/"), *of("a", under="train_2/")], "two are of one split"),
        ([*of("a", under="test/"), *of("a", under="trainval/")], "several .called train"),
        ([*of("a", under="test_set/"), *of("a", under="val_set/")], "none is of training images"),
        (
            [*of("a", "b", under="fold_1/"), *of("a", "b", under="fold_2/")],
            "fold_1, fold_2 seem to be folds, .*column split",
        ),
        # Masks as classes.
        (of("a", "b", "a_mask", "b_mask"), "a_mask seems to hold masks of a, .*move it away"),
        (of("images", "Ground_Truth"), r"found images and their masks"),
        # What to do.
        (
            of("a", "b", under="dataset/images/"),
            r"dataset/images/ alone, .*name .*/dataset/images$",
        ),
        (
            [*of("a", "b"), "logs/x.txt"],
            r"logs holds no .*\(1 others\); remove the folder, or move",
        ),
        (
            [*of("a", "b", under="train/"), "test/1.png", "test/2.png"],
            "2 images without a class; move test/ away, and a test split is split off",
        ),
        (
            [*of("a", "b", under="train/"), *of("a", "c", under="test/")],
            "test/c has no counterpart .*add the class to the training images, or move the folder",
        ),
        ([*of("a", under="val/"), *of("a", under="test/")], "call what is to be trained on train"),
    ],
)
def test_other_layouts_are_refused_with_the_remedy(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        listed(tree(tmp_path, *files))


def test_the_remedy_is_one(tmp_path):
    """What a message says can be done, does."""
    name = tree(tmp_path, *of("a", "b", under="set/train/"), *of("a", "b", under="set/test/"))
    with pytest.raises(InputError, match="one level deeper") as refusal:
        listed(name)
    remedy = str(refusal.value).rpartition(" ")[2]
    assert {part for part, *_ in listed(remedy)} == {"train", "test"}


@pytest.mark.parametrize("classes", [("test 1", "test 2"), ("cat", "set 1"), ("face", "face_mask")])
def test_what_is_alike_is_a_class(tmp_path, classes):
    files = [f"{c}/{c} of {i}.png" for c in classes for i in range(2)]
    assert {c for _, c, _ in listed(tree(tmp_path, *files))} == set(classes)


@pytest.mark.parametrize(("below", "said"), [("ab", True), ("a", False), (("images", "GT"), False)])
def test_folders_that_all_classes_hold_are_told(tmp_path, recwarn, below, said):
    listed(tree(tmp_path, *(f"{c}/{b}/{i}.png" for c in ("P1", "P2") for b in below for i in "12")))
    messages = [str(warning.message) for warning in recwarn]
    assert said == any("holds the same folders (a, b): if these" in text for text in messages)


def test_dicom_without_a_suffix_is_told(tmp_path):
    tree(tmp_path, *of("a", "b"), "b/x.txt")
    (tmp_path / "a/1.png").unlink()
    (tmp_path / "a/IM0001").write_bytes(bytes(128) + b"DICM")
    for read in (lambda: listed(f"folder:{tmp_path}"), lambda: find_images([tmp_path / "a"])):
        with pytest.raises(InputError, match=r"1 others\); they are DICOM: add \.dcm to their"):
            read()
    tree(tmp_path, "a/1.png")
    with pytest.warns(UserWarning, match=r"a/IM0001; they are DICOM: add \.dcm"):
        listed(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("file", "name", "message"),
    [
        ("x/1.png", "x", "did you mean folder:.*/x?"),
        ("x.csv", "x.csv", "did you mean csv:.*x.csv?"),
        ("x.npz", "x.npz", "did you mean npz:.*x.npz?"),
        ("x.npy", "npz:x.npy", "is a single array; .*np.savez"),
        ("x.csv", "npz:x.csv", "is a table; name csv:.*x.csv$"),
    ],
)
def test_names_without_their_prefix_or_with_another(tmp_path, file, name, message):
    tree(tmp_path, file)
    prefix, _, path = name.rpartition(":")
    with pytest.raises(InputError, match=message):
        load_dataset(f"{prefix}{':' if prefix else ''}{tmp_path / path}")


def test_a_name_of_a_validation_split_alone_is_a_class(tmp_path):
    assert [c for _, c, _ in listed(tree(tmp_path, *of("dev", "eval")))] == ["dev", "eval"]


SYSTEM = [
    *("Thumbs.db", ".DS_Store", "._1.png", "desktop.ini", "ehthumbs.db", ".hidden.png"),
    *("__MACOSX/1.png", "@eaDir/1.png", "$RECYCLE.BIN/1.png", ".git/1.png", "lost+found/1.png"),
]


def test_what_systems_leave_is_passed_over(tmp_path, recwarn):
    places = ("", "train/", "train/a/", "train/a/deep/")
    name = tree(tmp_path, *(place + file for place in places for file in SYSTEM))
    tree(tmp_path, *of("a", "b", under="train/"), "train/a/deep/2.png")
    (tmp_path / "train/a/1.png").unlink()
    assert [i for *_, i in listed(name)] == ["train/a/deep/2.png", "train/b/1.png"]
    assert not recwarn.list
    found, others = find_images([tmp_path])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "train/a/deep/2.png",
        "train/b/1.png",
    ]
    assert others == 0
    tree(tmp_path, "train/a/notes.txt", "train/a/deep/empty/more.csv")
    with pytest.warns(UserWarning, match=r"2 files that .* such as train/a/deep/empty/more\.csv"):
        listed(name)


def test_predictions_and_data_sets_find_the_same(tmp_path):
    name = tree(tmp_path, *of("a", "b"), "a/B.JPG", "a/a/2.png", "a/a.png", "b/n.txt", "b/c/1.jpeg")
    with pytest.warns(UserWarning, match="ignored|folders below"):
        ids = [i for *_, i in listed(name)]
    found, others = find_images([tmp_path])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ids
    assert ids == sorted(ids, key=lambda i: Path(i).parts)
    assert others == 1


@pytest.mark.parametrize(
    "mask",
    [
        *("a/benign (1)_mask.png", "a/benign (1)_mask_1.png", "a/benign (1)_MASK.png"),
        *("a/benign (1)_seg.png", "a/benign (1)-segmentation.jpg", "a/benign (1) mask 2.png"),
        *("a/masks/benign (1).png", "a/Mask/benign (1)_mask.png"),
        *(f"a/benign (1){end}.png" for end in ("_gt", "_label", "_roi", "_overlay", "_lesion")),
        *(f"a/benign (1){end}.png" for end in ("_annotation", "_anno", ".mask", "_ground_truth")),
        *(f"a/{folder}/benign (1).png" for folder in ("lung masks", "lung_masks", "GT", "labels")),
        *(f"a/{folder}/benign (1).png" for folder in ("Ground_Truth", "ground truth")),
        "a/annotations/benign (1)_anno.png",
    ],
)
def test_masks_beside_images(tmp_path, mask):
    images = ["a/benign (1).png", "a/b_mask.png", "a/seg.png", "b/benign (1).png"]
    found = sorted([*images, mask], key=lambda i: Path(i).parts)
    assert [found[i] for i in masks_beside(found, ["ab".index(i[0]) for i in found])] == [mask]


def test_a_class_of_masks_is_none_of_masks(tmp_path):
    """Faces with and without one, numbered alike."""
    assert masks_beside(["mask/1.png", "no/1.png"], [0, 1]) == []
    assert masks_beside(["x/images/1.png", "x/masks/1.png"], [0, 0]) == [1]
    assert masks_beside(["mask.png", "masks/2.png", "3_mask.png"]) == []


def test_masks_in_a_folder_are_told_and_dropped(tmp_path):
    for class_name in ("benign", "malignant"):
        for i in range(6):
            save(tmp_path / class_name / f"({i}).png", value=10 * i)
            save(tmp_path / class_name / f"({i})_mask.png", value=200)
    name = f"folder:{tmp_path}"
    with pytest.warns(UserWarning, match=r"12 images look like masks .*drop=\[masks\]") as record:
        assert len(load_dataset(name)) == 24
    assert record[0].filename == __file__
    with pytest.warns(UserWarning, match="skipped 12 masks") as record:
        assert len(load_dataset(name, drop=["masks"])) == 12
    assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of advice that was followed
        assert len(load_dataset(name, drop=["masks"], decode=False)) == 24


def test_forms_of_unicode_are_one_class(tmp_path):
    name = tree(tmp_path, "train/Caf\u00e9/1.png", "train/b/1.png", "test/Cafe\u0301/2.png")
    assert {c for _, c, _ in listed(name)} == {"Caf\u00e9", "b"}
    tree(tmp_path, "test/b /3.png", "train/Cafe\u0301/4.png")
    cafe = "Caf\u00e9"
    assert [c for _, c, _ in listed(name)] == [cafe, cafe, "b", cafe, "b"]


def test_classes_that_differ_in_case_are_told(tmp_path):
    name = tree(tmp_path, *of("A", "a"))
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system ignores case")
    with pytest.warns(UserWarning, match="spelled nearly alike: 'A' and 'a'"):
        listed(name)


@pytest.mark.parametrize("where", ["a/caf\udce9.png", "caf\udce9/1.png", "a/caf\udce9/1.png"])
def test_names_that_are_not_utf_8(tmp_path, where):
    name = tree(tmp_path, *of("a", "b"))
    try:
        tree(tmp_path, where)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system takes UTF-8 alone")
    for call in (lambda: listed(name), lambda: load_dataset(name), lambda: find_images([tmp_path])):
        with pytest.raises(
            InputError, match=r"the name b'caf\\xe9(\.png)?' .*not UTF-8.*rename"
        ) as no:
            call()
        str(no.value).encode("utf-8")
    with pytest.raises(InputError, match=r"b'.*caf\\xe9.*': expected names in UTF-8"):
        find_images([tmp_path / where])
    (tmp_path / "labels.csv").write_text("path,label\na/1.png,x\n", encoding="utf-8")
    if where.startswith("a/"):
        with pytest.raises(InputError, match="not UTF-8"):
            list_files(f"csv:{tmp_path / 'labels.csv'}")


def test_links(tmp_path):
    name = tree(tmp_path / "set", *of("a", "b"), "a/p/2.png", "a/.store/3.png")
    tree(tmp_path / "elsewhere", "4.png", "p/5.png")
    root = tmp_path / "set"
    loops = {"a/loop": root / "a", "a/p/up": root, "b/self": "self", "b/beside": root / "b"}
    links = {**loops, "a/out": tmp_path / "elsewhere", "a/again": tmp_path / "elsewhere"}
    links |= {"a/to_hidden": root / "a/.store", "b/gone.png": "nowhere.png", "b/x.png": "x.png"}
    for link, target in links.items():
        (root / link).symlink_to(target)
    with pytest.warns(UserWarning, match="1 files that are not images|in its folder and") as record:
        ids = [i for *_, i in listed(name)]
    assert ids == [
        *("a/1.png", "a/again/4.png", "a/again/p/5.png", "a/p/2.png", "a/to_hidden/3.png"),
        *("b/1.png", "b/gone.png", "b/x.png"),  # told when they are read
    ]
    assert any("such as b/self" in str(each.message) for each in record)
    with pytest.raises(InputError, match=r"2 unreadable images: .*b/gone\.png \("):
        load_dataset(f"folder:{fill_linked(tmp_path / 'sound')}", image_size=4, channels=1)


@pytest.mark.parametrize("target", ["..", "../..", "."])
def test_a_class_that_is_a_link_up(tmp_path, target):
    name = tree(tmp_path / "above/set", *of("a", "b"))
    (tmp_path / "above/set/up").symlink_to(target)
    with pytest.raises(InputError, match=r"set/up: the link leads up, to .*; remove it"):
        listed(name)


def fill_linked(root):
    for class_name in ("a", "b"):
        for i in range(5):
            save(root / class_name / f"{i}.png")
    (root / "b/gone.png").symlink_to("nowhere.png")
    (root / "b/x.png").symlink_to("x.png")
    return root


def a_pipe(root):
    tree(root, *of("a", "b"))
    os.mkfifo(root / "a/pipe.png")


BROKEN_TREES = {
    "nothing": lambda root: root.mkdir(exist_ok=True),
    "an empty class": lambda root: (tree(root, *of("a")), (root / "b").mkdir()),
    "empty splits": lambda root: [(root / f).mkdir(parents=True) for f in ("train", "test")],
    "empty classes": lambda root: [(root / f).mkdir(parents=True) for f in ("train/a", "test/a")],
    "no training": lambda root: tree(root, *of("a", "b", under="test/")),
    "a file as a split": lambda root: tree(root, "train", *of("a", "b", under="val/")),
    "two training splits": lambda root: tree(root, "train/a/1.png", "Training/a/1.png"),
    "images alone": lambda root: tree(root, "1.png", "2.png"),
    "text alone": lambda root: tree(root, "a/1.txt", "b/2.csv"),
    "a class of the system": lambda root: tree(root, "__MACOSX/1.png"),
    "a link to nowhere": lambda root: (root.mkdir(exist_ok=True), (root / "a").symlink_to("b")),
    "hidden classes": lambda root: tree(root, ".a/1.png", ".b/1.png"),
    "another class in test": lambda root: tree(
        root, "train/a/1.png", "train/b/1.png", "test/c/1.png"
    ),
}


@pytest.mark.parametrize("kind", BROKEN_TREES)
def test_broken_trees_are_refused_in_a_line(tmp_path, kind):
    BROKEN_TREES[kind](tmp_path)
    with pytest.raises(InputError) as refusal:
        list_files(f"folder:{tmp_path}")
    assert "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore:.*files that are not images")
@pytest.mark.parametrize(
    "name", ["'; rm -rf .png", "a\nb.png", "\u202egnp.1", "%s{0}.png", "=1.png"]
)
def test_hostile_names(tmp_path, name):
    found = listed(tree(tmp_path, *of("a", "b"), f"a/{name}", f"{name}x/1.png"))
    assert ("train", f"{name}x", f"{name}x/1.png") in found
    assert (f"a/{name}" in {i for *_, i in found}) == name.endswith(".png")


def test_a_pipe_is_no_image(tmp_path):
    a_pipe(tmp_path)
    with pytest.warns(UserWarning, match=r"1 files that are not images .* such as a/pipe\.png"):
        assert len(listed(f"folder:{tmp_path}")) == 2


def test_folders_that_cannot_be_listed(tmp_path, monkeypatch):
    name = tree(tmp_path, *of("a", "b"))
    scandir = os.scandir

    def refuse(path):  # what no mode makes the system do for root
        if str(path).endswith("/a"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for call in (lambda: listed(name), lambda: find_images([tmp_path])):
        with pytest.raises(InputError, match=r"/a: cannot be listed \(.*Permission denied"):
            call()


def test_a_file_is_no_folder(tmp_path):
    tree(tmp_path, "table.csv")
    with pytest.raises(MissingDataError, match=r"table\.csv is a file; .*csv:FILE"):
        listed(f"folder:{tmp_path}/table.csv")


def test_pbc_96():
    folder = SHARED / "data/pbc_96"
    if not folder.is_dir():
        pytest.skip("../shared/data/pbc_96 is not there")
    files = list_files(f"folder:{folder}")
    # ../shared/README.md: 17,092 cells of 8 classes, 1,214 to 3,329 of each.
    counts = np.bincount(files.labels)
    assert (len(files), len(counts), counts.min(), counts.max()) == (17092, 8, 1214, 3329)


def test_memory_guard(tmp_path, monkeypatch):
    fill(tmp_path)
    monkeypatch.setattr("os.sysconf", lambda key: 10)
    with pytest.raises(InputError, match=r"12 images of 4x5x1 need .* set a smaller dataset"):
        load_dataset(f"folder:{tmp_path}")


def test_brain_tumor_mri():
    folder = SHARED / "data/brain_tumor_mri"
    if not folder.is_dir():
        pytest.skip("../shared/data/brain_tumor_mri is not there")
    dataset = load_dataset(f"folder:{folder}", image_size=32)
    counts = dataset.counts()
    # Counted with `ls | wc -l`.
    assert list(counts["train"] + counts["validation"]) == [826, 822, 395, 827]
    assert list(counts["test"]) == [100, 115, 105, 74]
    assert len(dataset.validation) == 574
    assert dataset.image_shape == (32, 32, 1)
    assert dataset.class_names[2] == "no_tumor"


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "X.ZIP", "x.7z", "x.zip/"])
def test_an_archive_is_to_be_unpacked(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(MissingDataError, match="is an archive; unpack it, and name the folder"):
        load_dataset(f"folder:{tmp_path}/{name}")
